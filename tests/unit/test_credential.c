/*
 * test_credential.c - classifying secrets, checking passwords, md5 login.
 *
 * The SCRAM secrets in check_rows were made by PostgreSQL 15 (CREATE ROLE ... PASSWORD).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "config.h"

#include "auth/credential.h"
#include "auth/md5.h"

#define SALT   "W22ZaJ0SNY7soEsUEjb6gQ=="
#define STORED "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define SERVER "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define KEYS   "$" STORED ":" SERVER
#define MD5    "md58bbf3f45673bf67d02e4214911f3417f" /* pencil, user m */

static const struct {
    const char *secret;
    enum credential_kind kind;
} kind_rows[] = {
    {NULL, CREDENTIAL_NONE},
    {"", CREDENTIAL_NONE},
    {"x", CREDENTIAL_PLAIN},
    {"pass word \"", CREDENTIAL_PLAIN},
    {MD5, CREDENTIAL_MD5},
    {"md5", CREDENTIAL_PLAIN},
    {"md58bbf3f45673bf67d02e4214911f3417", CREDENTIAL_PLAIN},   /* one digit short */
    {"md58bbf3f45673bf67d02e4214911f3417f0", CREDENTIAL_PLAIN}, /* one too many */
    {"md58BBF3F45673BF67D02E4214911F3417F", CREDENTIAL_PLAIN},  /* upper case */
    {"MD58bbf3f45673bf67d02e4214911f3417f", CREDENTIAL_PLAIN},
    {"md58bbf3f45673bf67d02e4214911f3417g", CREDENTIAL_PLAIN},
    {"SCRAM-SHA-256$4096:" SALT KEYS, CREDENTIAL_SCRAM},
    {"SCRAM-SHA-256$1:YQ==" KEYS, CREDENTIAL_SCRAM},
    {"SCRAM-SHA-256$10000000:" SALT KEYS, CREDENTIAL_SCRAM},
    {"SCRAM-SHA-256", CREDENTIAL_PLAIN},
    {"SCRAM-SHA-256$", CREDENTIAL_PLAIN},
    {"SCRAM-SHA-256$4096", CREDENTIAL_PLAIN},
    {"SCRAM-SHA-256$4096:" SALT, CREDENTIAL_PLAIN},
    {"SCRAM-SHA-256$4096:" SALT "$" STORED, CREDENTIAL_PLAIN},
    {"SCRAM-SHA-256$4096:" SALT "$" STORED ":", CREDENTIAL_PLAIN},
    {"SCRAM-SHA-256$:" SALT KEYS, CREDENTIAL_PLAIN},
    {"SCRAM-SHA-256$4096:" KEYS, CREDENTIAL_PLAIN}, /* no salt */
    {"SCRAM-SHA-256$-1:" SALT KEYS, CREDENTIAL_PLAIN},
    {"SCRAM-SHA-256$4k:" SALT KEYS, CREDENTIAL_PLAIN},
    {"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=" KEYS, CREDENTIAL_PLAIN},       /* padding cut */
    {"SCRAM-SHA-256$4096:W22ZaJ0S NY7soEsUEjb6gQ==" KEYS, CREDENTIAL_PLAIN},     /* white space */
    {"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gR==" KEYS, CREDENTIAL_PLAIN},      /* bits of no byte */
    {"SCRAM-SHA-256$4096:W2==aJ0SNY7soEsUEjb6gQ==" KEYS, CREDENTIAL_PLAIN},      /* padding inside */
    {"SCRAM-SHA-256$4096:W===" KEYS, CREDENTIAL_PLAIN},                          /* too much padding */
    {"SCRAM-SHA-256$4096:" SALT "$YWJj:" SERVER, CREDENTIAL_PLAIN},              /* short key */
    {"SCRAM-SHA-256$4096:" SALT "$" STORED ":YWJj", CREDENTIAL_PLAIN},           /* short key */
    {"SCRAM-SHA-256$4096:" SALT "$" STORED ":" SERVER "AAAA", CREDENTIAL_PLAIN}, /* long key */
    {"scram-sha-256$4096:" SALT KEYS, CREDENTIAL_PLAIN},                         /* prefix in lower case */
    {"SCRAM-SHA-256$0:" SALT KEYS, CREDENTIAL_NONE}, /* past our limits: no login */
    {"SCRAM-SHA-256$10000001:" SALT KEYS, CREDENTIAL_NONE},
    {"SCRAM-SHA-256$99999999999999999999:" SALT KEYS, CREDENTIAL_NONE},
};

static void test_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kind_rows); i++) {
        struct credential c;
        const char *secret = kind_rows[i].secret;
        assert_true(credential_parse(&c, secret));
        if (c.kind != kind_rows[i].kind)
            fail_msg("row %zu (%s): kind %d", i, secret ? secret : "NULL", c.kind);
        if (secret != NULL && secret[0] != '\0')
            assert_string_equal(c.secret, secret);
        else
            assert_null(c.secret);
        credential_wipe(&c);
        assert_int_equal(c.kind, CREDENTIAL_NONE);
        assert_null(c.secret);
    }
}

static void test_scram_parts(void **state)
{
    static const uint8_t salt[] = {0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e,
                                   0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81};
    struct credential c;
    (void)state;
    assert_true(credential_parse(&c, "SCRAM-SHA-256$4096:" SALT KEYS));
    assert_int_equal(c.scram.iterations, 4096);
    assert_int_equal(c.scram.salt_len, sizeof(salt));
    assert_memory_equal(c.scram.salt, salt, sizeof(salt));
    assert_int_equal(c.scram.stored_key[0], 0x58);
    assert_int_equal(c.scram.stored_key[31], 0xa6);
    assert_int_equal(c.scram.server_key[0], 0xc1);
    assert_int_equal(c.scram.server_key[31], 0xd5);
    credential_wipe(&c);
}

/* The salt's limit lies between 128 and 129 bytes; a much longer one must not overrun anything. */
static void test_salt_lengths(void **state)
{
    static const struct {
        size_t groups; /* of 3 bytes */
        const char *rest;
        enum credential_kind kind;
    } rows[] = {
        {42, "YWI=", CREDENTIAL_SCRAM}, /* 128 bytes */
        {43, "", CREDENTIAL_NONE},      /* 129 bytes */
        {341, "", CREDENTIAL_NONE},     /* 1023 bytes */
        {341, "YQ==", CREDENTIAL_NONE}, /* 1024 bytes */
        {342, "", CREDENTIAL_NONE},     {3000, "", CREDENTIAL_NONE}, {40, "Y", CREDENTIAL_PLAIN},
    };
    static char text[16384];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct credential c;
        strcpy(text, "SCRAM-SHA-256$4096:");
        for (size_t g = 0; g < rows[i].groups; g++)
            strcat(text, "YWJj");
        strcat(text, rows[i].rest);
        strcat(text, KEYS);
        assert_true(credential_parse(&c, text));
        assert_int_equal(c.kind, rows[i].kind);
        credential_wipe(&c);
    }
}

static const struct {
    const char *secret;
    const char *password;
    enum credential_match match;
    bool needs_saslprep;
} check_rows[] = {
    {NULL, "x", CREDENTIAL_MISMATCH, false},
    {"", "", CREDENTIAL_MISMATCH, false},
    {"pencil", "pencil", CREDENTIAL_MATCH, false},
    {"pencil", "pencil2", CREDENTIAL_MISMATCH, false},
    {"pencil", "pencik", CREDENTIAL_MISMATCH, false},
    {"pencil", "", CREDENTIAL_MISMATCH, false},
    {MD5, "pencil", CREDENTIAL_MATCH, false},
    {MD5, "Pencil", CREDENTIAL_MISMATCH, false},
    {MD5, MD5, CREDENTIAL_MISMATCH, false}, /* the stored text is not the password */
    {"SCRAM-SHA-256$4096:izsZgOLFteZ1Sf+5DJUBSQ==$QISfl6mstdsL5BcHqCZOSGosSMrs4oR+4v/Q86RcRTc=:"
     "d/2zVyXqzkGfOifM5sIZwvUyt64Qw4bqksya93L1uaA=",
     "pencil", CREDENTIAL_MATCH, false},
    {"SCRAM-SHA-256$4096:izsZgOLFteZ1Sf+5DJUBSQ==$QISfl6mstdsL5BcHqCZOSGosSMrs4oR+4v/Q86RcRTc=:"
     "d/2zVyXqzkGfOifM5sIZwvUyt64Qw4bqksya93L1uaA=",
     "pencil ", CREDENTIAL_MISMATCH, false},
    /* soft hyphen: mapped to nothing */
    {"SCRAM-SHA-256$4096:B9YIZACrdaAAu+vKpi6OkQ==$t9l1fsyy1urEstGcBoxWUcnnIRWMtIKE1wGj/Y38AW8=:"
     "fx6xZgf8qSvLY5jCUYU+wVYH9RQoK0vd/HfrHj8hwQk=",
     "I\u00adX", CREDENTIAL_MATCH, true},
    {"SCRAM-SHA-256$4096:B9YIZACrdaAAu+vKpi6OkQ==$t9l1fsyy1urEstGcBoxWUcnnIRWMtIKE1wGj/Y38AW8=:"
     "fx6xZgf8qSvLY5jCUYU+wVYH9RQoK0vd/HfrHj8hwQk=",
     "IX", CREDENTIAL_MATCH, false},
    /* Roman numeral nine: NFKC */
    {"SCRAM-SHA-256$4096:pAmX7tdqHDLmiQC5sHTnxQ==$S3wQRGEUT1Et5lfr1/+DVC7y9jPuDexuftnu2m0nupA=:"
     "Gllp/KT45+KVf0g0/egd6D99OCtEI/xdMvFvg8c5Iss=",
     "\u2168", CREDENTIAL_MATCH, true},
    {"SCRAM-SHA-256$4096:pAmX7tdqHDLmiQC5sHTnxQ==$S3wQRGEUT1Et5lfr1/+DVC7y9jPuDexuftnu2m0nupA=:"
     "Gllp/KT45+KVf0g0/egd6D99OCtEI/xdMvFvg8c5Iss=",
     "IX", CREDENTIAL_MATCH, false},
    /* no-break space, umlaut */
    {"SCRAM-SHA-256$4096:+0a/knkbuMOIwtktlhm9xQ==$mnv8/FPVyCgRfz3WfM0LJ5cBzpRZsUSmXuNYbAaT068=:"
     "BXWQJiKpoLScmZ6LW63HIYaCKZ2G2jW0FVq7+RDCGn4=",
     "pass wort\u00e4", CREDENTIAL_MATCH, false},
    /* unassigned in Unicode 3.2: raw */
    {"SCRAM-SHA-256$4096:X/dEKbec/JMAS9pipiYDzQ==$3bWYjloTTxeKcj92T+v4gpHVBWA47Mb/N9HcTh/pMpk=:"
     "45Ney/FI7DdvyDihQWERVa6568HLhY6rZIxzNWaN2xQ=",
     "\u0221x", CREDENTIAL_MATCH, false},
    /* right-to-left text that ends in a digit: prohibited, raw */
    {"SCRAM-SHA-256$4096:PneDY6LuNXUW26+GrRW32Q==$YE7HYzmDIjJF8Hbv9jyiswM69AabQFTrvKI8x2NdBek=:"
     "p1LwE5lkHg6tQCJ9a9MbTCY0ptPWVfqLPYxygrBJJhs=",
     "\u06271", CREDENTIAL_MATCH, false},
    /* would become empty: raw */
    {"SCRAM-SHA-256$4096:JCtz71Z5n+xjZ4p+Akyh8g==$giLOxXX3i2Pz4WGfSwRB6mvD6yzz3YaSnjijXXaMPow=:"
     "4XT0EIvR8KwLIACh3gnxKsXOgqoG/XX8fH0ogHo46SQ=",
     "\u00ad", CREDENTIAL_MATCH, false},
    /* ASCII control character: left alone */
    {"SCRAM-SHA-256$4096:DS2OwqAbC494S+rmcEescA==$ql7aLgHSritbcnVo5CsEh3mmj1/iYRE2ENegNr194uY=:"
     "K2gWW8d+YhIglX8m7Zn2EMCSJbbIitCGHjrWN1FBHU4=",
     "ctl\001x", CREDENTIAL_MATCH, false},
    /* a and ring become one character, sharp s stays */
    {"SCRAM-SHA-256$4096:DBtOxtxLrT1weupqwJRfEw==$f7AVzTL9oNSFHlsLLgNkyDQVTuaXYJADcNq/p6mIh8g=:"
     "bldM8GE5+9bT241F+lAwgA/hsw65enx/zcT/iaM3QVQ=",
     "a\u030a\u00df", CREDENTIAL_MATCH, true},
    /* not UTF-8: raw, and no match */
    {"SCRAM-SHA-256$4096:DBtOxtxLrT1weupqwJRfEw==$f7AVzTL9oNSFHlsLLgNkyDQVTuaXYJADcNq/p6mIh8g=:"
     "bldM8GE5+9bT241F+lAwgA/hsw65enx/zcT/iaM3QVQ=",
     "\xe5\xff\xc3", CREDENTIAL_MISMATCH, false},
};

static void test_check_password(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(check_rows); i++) {
        struct credential c;
#ifndef HAVE_LIBIDN
        if (check_rows[i].needs_saslprep)
            continue;
#endif
        assert_true(credential_parse(&c, check_rows[i].secret));
        enum credential_match m = credential_check_password(&c, "m", check_rows[i].password);
        if (m != check_rows[i].match)
            fail_msg("row %zu (%s): %d", i, check_rows[i].password, m);
        credential_wipe(&c);
    }
}

static const struct {
    const char *secret;
    const char *response;
    enum credential_match match;
} md5_rows[] = {
    {"pencil", "md524abddb395a75a8644bbf4304554ae47", CREDENTIAL_MATCH},
    {MD5, "md524abddb395a75a8644bbf4304554ae47", CREDENTIAL_MATCH},
    {"pencil", "md524abddb395a75a8644bbf4304554ae48", CREDENTIAL_MISMATCH},
    {"pencil", "md524abddb395a75a8644bbf4304554ae4", CREDENTIAL_MISMATCH},
    {"pencil", "md524abddb395a75a8644bbf4304554ae470", CREDENTIAL_MISMATCH},
    {"pencil", "", CREDENTIAL_MISMATCH},
    {"pencil", "pencil", CREDENTIAL_MISMATCH},
    {MD5, MD5, CREDENTIAL_MISMATCH},
    {"pencil2", "md524abddb395a75a8644bbf4304554ae47", CREDENTIAL_MISMATCH},
    {NULL, "md524abddb395a75a8644bbf4304554ae47", CREDENTIAL_MISMATCH},
    {"SCRAM-SHA-256$4096:" SALT KEYS, "md524abddb395a75a8644bbf4304554ae47", CREDENTIAL_MISMATCH},
};

static const uint8_t md5_salt[MD5_SALT_BYTES] = {1, 2, 0xfe, 0};

static void test_md5_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(md5_rows); i++) {
        struct credential c;
        assert_true(credential_parse(&c, md5_rows[i].secret));
        enum credential_match m = md5_check_response(&c, "m", md5_salt, md5_rows[i].response);
        if (m != md5_rows[i].match)
            fail_msg("row %zu: %d", i, m);
        credential_wipe(&c);
    }
}

static void test_md5_make(void **state)
{
    char text[MD5_TEXT_BYTES];
    struct credential c;
    (void)state;
    assert_true(md5_make_secret("pencil", "m", text));
    assert_string_equal(text, MD5);

    static const char *const able[] = {"pencil", MD5};
    for (size_t i = 0; i < ARRAY_SIZE(able); i++) {
        assert_true(credential_parse(&c, able[i]));
        assert_true(md5_make_response(&c, "m", md5_salt, text));
        assert_string_equal(text, "md524abddb395a75a8644bbf4304554ae47");
        credential_wipe(&c);
    }
    static const char *const unable[] = {NULL, "SCRAM-SHA-256$4096:" SALT KEYS};
    for (size_t i = 0; i < ARRAY_SIZE(unable); i++) {
        assert_true(credential_parse(&c, unable[i]));
        assert_false(md5_make_response(&c, "m", md5_salt, text));
        credential_wipe(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),        cmocka_unit_test(test_scram_parts),
        cmocka_unit_test(test_salt_lengths), cmocka_unit_test(test_check_password),
        cmocka_unit_test(test_md5_check),    cmocka_unit_test(test_md5_make),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
