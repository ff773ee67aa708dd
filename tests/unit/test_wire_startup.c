/*
 * test_wire_startup.c - start-up packets, good and bad, and the options parameter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/codec.h"
#include "wire/startup.h"

#define BYTES(s) s, sizeof(s) - 1
#define V3_0     "\0\3\0\0"
#define V3_2     "\0\3\0\2"

/* body: the packet without its length word, which the test puts before it. */
static const struct row {
    const char *name;
    const char *body;
    size_t len;
    enum startup_kind kind;
    /* "user|database|options|replication|minor|negotiate|n_parameters|n_unknown" */
    const char *facts;
} rows[] = {
    {"3.0", BYTES(V3_0 "user\0u\0database\0d\0\0"), STARTUP_V3, "u|d|-|-|0|0|0|0"},
    {"3.2", BYTES(V3_2 "user\0u\0database\0d\0\0"), STARTUP_V3, "u|d|-|-|2|0|0|0"},
    {"3.1", BYTES("\0\3\0\1user\0u\0\0"), STARTUP_V3, "u|u|-|-|1|0|0|0"},
    {"newer minor", BYTES("\0\3\0\3user\0u\0\0"), STARTUP_V3, "u|u|-|-|3|1|0|0"},
    {"much newer minor", BYTES("\0\3\x27\x0fuser\0u\0\0"), STARTUP_V3, "u|u|-|-|9999|1|0|0"},
    {"database is the user's", BYTES(V3_0 "user\0u\0\0"), STARTUP_V3, "u|u|-|-|0|0|0|0"},
    {"empty database", BYTES(V3_0 "user\0u\0database\0\0\0"), STARTUP_V3, "u|u|-|-|0|0|0|0"},
    {"database before user", BYTES(V3_0 "database\0d\0user\0u\0\0"), STARTUP_V3, "u|d|-|-|0|0|0|0"},
    {"no user", BYTES(V3_0 "database\0d\0\0"), STARTUP_V3, "-|d|-|-|0|0|0|0"},
    {"empty user", BYTES(V3_0 "user\0\0\0"), STARTUP_V3, "-|-|-|-|0|0|0|0"},
    {"nothing", BYTES(V3_0 "\0"), STARTUP_V3, "-|-|-|-|0|0|0|0"},
    {"the last one counts", BYTES(V3_0 "user\0a\0user\0b\0\0"), STARTUP_V3, "b|b|-|-|0|0|0|0"},
    {"options and others", BYTES(V3_0 "user\0u\0options\0-c a=b\0application_name\0x\0replication\0true\0\0"),
     STARTUP_V3, "u|u|-c a=b|true|0|0|1|0"},
    {"empty value", BYTES(V3_0 "user\0u\0TimeZone\0\0\0"), STARTUP_V3, "u|u|-|-|0|0|1|0"},
    {"unknown protocol options",
     BYTES(V3_0 "user\0u\0_pq_.a\0"
                "1\0_pq_.b\0\0\0"),
     STARTUP_V3, "u|u|-|-|0|1|0|2"},
    {"ssl", BYTES("\x04\xd2\x16\x2f"), STARTUP_SSL, NULL},
    {"gss", BYTES("\x04\xd2\x16\x30"), STARTUP_GSSENC, NULL},
    {"ssl, too long",
     BYTES("\x04\xd2\x16\x2f"
           "x"),
     STARTUP_MALFORMED, NULL},
    {"gss, too long",
     BYTES("\x04\xd2\x16\x30"
           "x"),
     STARTUP_MALFORMED, NULL},
    {"unknown request", BYTES("\x04\xd2\x16\x31"), STARTUP_UNSUPPORTED, NULL},
    {"version 2", BYTES("\0\2\0\0whatever"), STARTUP_OLD, NULL},
    {"version 1", BYTES("\0\1\0\0"), STARTUP_OLD, NULL},
    {"version 0", BYTES("\0\0\0\0"), STARTUP_OLD, NULL},
    {"version 4", BYTES("\0\4\0\0user\0u\0\0"), STARTUP_UNSUPPORTED, NULL},
    {"no terminator at all", BYTES(V3_0), STARTUP_MALFORMED, NULL},
    {"no terminator", BYTES(V3_0 "user\0u\0"), STARTUP_MALFORMED, NULL},
    {"value without end", BYTES(V3_0 "user\0u"), STARTUP_MALFORMED, NULL},
    {"name without end", BYTES(V3_0 "user"), STARTUP_MALFORMED, NULL},
    {"name without value", BYTES(V3_0 "user\0"), STARTUP_MALFORMED, NULL},
    {"name and terminator", BYTES(V3_0 "user\0\0"), STARTUP_MALFORMED, NULL},
    {"bytes behind the terminator", BYTES(V3_0 "user\0u\0\0x"), STARTUP_MALFORMED, NULL},
    {"two terminators", BYTES(V3_0 "user\0u\0\0\0"), STARTUP_MALFORMED, NULL},
    {"empty name in the middle", BYTES(V3_0 "user\0u\0\0v\0database\0d\0\0"), STARTUP_MALFORMED, NULL},
    {"cancel without key", BYTES("\x04\xd2\x16\x2e\0\0\0\1"), STARTUP_MALFORMED, NULL},
    {"cancel without pid", BYTES("\x04\xd2\x16\x2e"), STARTUP_MALFORMED, NULL},
    {"cancel, 3 bytes", BYTES("\x04\xd2\x16\x2e\0\0\0\1abc"), STARTUP_MALFORMED, NULL},
};

static const char *dash(const char *s)
{
    return s ? s : "-";
}

/* Exact heap copies, so that the sanitizer sees each byte read past the end. */
static uint8_t *packet(const char *body, size_t len)
{
    uint8_t *data = malloc(len + 4);
    assert_non_null(data);
    wire_set_u32(data, (uint32_t)len + 4);
    memcpy(data + 4, body, len);
    return data;
}

static void test_packets(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t *data = packet(rows[i].body, rows[i].len);
        struct startup_packet p;
        if (startup_parse(data, (uint32_t)rows[i].len + 4, &p) != rows[i].kind || p.kind != rows[i].kind)
            fail_msg("%s: kind %d", rows[i].name, p.kind);
        assert_int_equal(p.len_bytes, rows[i].len + 4);
        if (rows[i].facts) {
            char facts[128];
            snprintf(facts, sizeof(facts), "%s|%s|%s|%s|%u|%d|%u|%u", dash(p.user), dash(p.database),
                     dash(p.options), dash(p.replication), p.minor, p.negotiate, p.n_parameters, p.n_unknown);
            assert_string_equal(facts, rows[i].facts);
        }
        free(data);
    }
}

static void test_every_beginning_is_incomplete(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (uint32_t n = 0; n < rows[i].len + 4; n++) {
            uint8_t *whole = packet(rows[i].body, rows[i].len);
            uint8_t *data = malloc(n ? n : 1);
            struct startup_packet p;
            assert_non_null(data);
            memcpy(data, whole, n);
            assert_int_equal(startup_parse(data, n, &p), STARTUP_INCOMPLETE);
            assert_int_equal(p.len_bytes, n < 4 ? 0 : rows[i].len + 4);
            free(data);
            free(whole);
        }
    }
}

static void test_bytes_behind_the_packet(void **unused)
{
    (void)unused;
    static const char data[] = "\0\0\0\x10\0\3\0\0user\0u\0\0"
                               "p\0\0\0\4";
    struct startup_packet p;
    assert_int_equal(startup_parse((const uint8_t *)data, sizeof(data) - 1, &p), STARTUP_V3);
    assert_int_equal(p.len_bytes, 16);
    assert_string_equal(p.user, "u");
}

static const struct {
    uint32_t length;
    enum startup_kind kind;
} lengths[] = {
    {0, STARTUP_MALFORMED},
    {4, STARTUP_MALFORMED},
    {7, STARTUP_MALFORMED},
    {8, STARTUP_INCOMPLETE},
    {STARTUP_MAX_BYTES + 4, STARTUP_INCOMPLETE},
    {STARTUP_MAX_BYTES + 5, STARTUP_TOO_LONG},
    {0x47455420, STARTUP_TOO_LONG}, /* "GET " */
    {0x16030102, STARTUP_TOO_LONG}, /* TLS */
    {0xffffffff, STARTUP_TOO_LONG},
};

static void test_lengths(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        uint8_t data[4];
        struct startup_packet p;
        wire_set_u32(data, lengths[i].length);
        assert_int_equal(startup_parse(data, 4, &p), lengths[i].kind);
    }
}

static void test_cancel_keys(void **unused)
{
    (void)unused;
    char body[8 + 300] = "\x04\xd2\x16\x2e\x01\x02\x03\x04";
    for (int i = 0; i < 300; i++)
        body[8 + i] = (char)i;
    for (uint32_t n = 0; n <= 300; n++) {
        uint8_t *data = packet(body, 8 + n);
        struct startup_packet p;
        bool is_ok = n >= 4 && n <= 256;
        assert_int_equal(startup_parse(data, 12 + n, &p), is_ok ? STARTUP_CANCEL : STARTUP_MALFORMED);
        if (is_ok) {
            assert_int_equal(p.cancel_pid, 0x01020304);
            assert_int_equal(p.cancel_key_bytes, n);
            assert_memory_equal(p.cancel_key, body + 8, n);
        }
        free(data);
    }
}

static void test_too_many_parameters(void **unused)
{
    (void)unused;
    static const char *const names[] = {"p", "_pq_.p"};
    for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
        for (uint32_t n = STARTUP_MAX_PARAMETERS; n <= STARTUP_MAX_PARAMETERS + 1; n++) {
            const char *all_names[STARTUP_MAX_PARAMETERS + 1], *values[STARTUP_MAX_PARAMETERS + 1];
            struct startup_packet p;
            struct buf b;
            for (uint32_t i = 0; i < n; i++) {
                all_names[i] = names[k];
                values[i] = "v";
            }
            buf_init(&b, 0);
            wire_put_startup(&b, 0x00030000, all_names, values, n);
            assert_int_equal(startup_parse(b.data, b.len, &p),
                             n <= STARTUP_MAX_PARAMETERS ? STARTUP_V3 : STARTUP_MALFORMED);
            buf_free(&b);
        }
    }
}

/* ------------------------------------------------------------------ */

static const struct {
    const char *text;
    const char *settings; /* "name=value;..." */
    bool is_ok;
} options[] = {
    {"", "", true},
    {"   ", "", true},
    {"-c a=b", "a=b;", true},
    {"-ca=b", "a=b;", true},
    {"--a=b", "a=b;", true},
    {"  -c  a=b\t--c=d\n", "a=b;c=d;", true},
    {"-c a=", "a=;", true},
    {"-c a=b=c", "a=b=c;", true},
    {"--search-path=x", "search_path=x;", true},
    {"-c search-path=x-y", "search_path=x-y;", true},
    {"-c a=b\\ c", "a=b c;", true},
    {"-c a=b\\\\c", "a=b\\c;", true},
    {"-c a=b\\xc", "a=bxc;", true},
    {"-c a=b\\", "a=b;", true},
    {"-c a=\\\\\\ x --d=e", "a=\\ x;d=e;", true},
    {"-c a='b", "a='b;", true},
    {"-c a=b stray", "a=b;", false},
    {"-c", "", false},
    {"-c a", "", false},
    {"-c =b", "", false},
    {"--a", "", false},
    {"--", "", false},
    {"--=b", "", false},
    {"-", "", false},
    {"-d 5", "", false},
    {"-c stop=1 -c a=b", "stop=1;", false},
    {"a=b", "", false},
};

static bool note(void *arg, const char *name, const char *value)
{
    char *out = arg;
    snprintf(out + strlen(out), 128 - strlen(out), "%s=%s;", name, value);
    return strcmp(name, "stop") != 0;
}

static void test_options(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        char got[128] = "";
        char *scratch = malloc(strlen(options[i].text) + 1);
        assert_non_null(scratch);
        if (startup_walk_options(options[i].text, scratch, note, got) != options[i].is_ok ||
            strcmp(got, options[i].settings) != 0)
            fail_msg("\"%s\": \"%s\"", options[i].text, got);
        free(scratch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packets),
        cmocka_unit_test(test_every_beginning_is_incomplete),
        cmocka_unit_test(test_bytes_behind_the_packet),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_cancel_keys),
        cmocka_unit_test(test_too_many_parameters),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
