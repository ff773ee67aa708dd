/*
 * test_scram_errors.c - each way in which a SCRAM message can be wrong is a row; the valid numbers are
 * those of RFC 7677, section 3.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "auth/scram.h"

#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define NONCE        CLIENT_NONCE SERVER_NONCE
#define SALT         "W22ZaJ0SNY7soEsUEjb6gQ=="
#define PENCIL                                                                                               \
    "SCRAM-SHA-256$4096:" SALT "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                              \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define PROOF "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define FIRST "n,,n=user,r=" CLIENT_NONCE
#define FINAL "c=biws,r=" NONCE

static const uint8_t process_secret[SCRAM_PROCESS_SECRET_BYTES] = "a process secret";
static const struct scram_binding binding = {(const uint8_t *)"0123456789abcdef0123456789abcdef", 32};
static const struct scram_binding no_binding = {NULL, 0};

#define PLAIN_LINK SCRAM_SHA_256, false
#define TLS_LINK   SCRAM_SHA_256, true
#define PLUS_LINK  SCRAM_SHA_256_PLUS, true

static const struct {
    enum scram_mechanism mechanism;
    bool has_binding;
    const char *first;
    enum scram_error error; /* SCRAM_ERROR_NONE: server-first is sent */
} first_rows[] = {
    {PLAIN_LINK, FIRST, SCRAM_ERROR_NONE},
    {PLAIN_LINK, "y,,n=,r=abc", SCRAM_ERROR_NONE},
    {PLAIN_LINK, "n,,n=,r=a", SCRAM_ERROR_NONE},
    {PLAIN_LINK, "n,,n=,r=abc,x=ext,y=", SCRAM_ERROR_NONE}, /* optional extensions */
    {PLAIN_LINK, "n,,n=*,r=!~+/=", SCRAM_ERROR_NONE},
    {TLS_LINK, "n,,n=,r=abc", SCRAM_ERROR_NONE},
    {PLUS_LINK, "p=tls-server-end-point,,n=,r=abc", SCRAM_ERROR_NONE},
    {PLAIN_LINK, "", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n,", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n,,", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n,x,n=,r=abc", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, ",,n=,r=abc", SCRAM_ERROR_GS2_FLAG},
    {PLAIN_LINK, "x,,n=,r=abc", SCRAM_ERROR_GS2_FLAG},
    {PLAIN_LINK, "nn,,n=,r=abc", SCRAM_ERROR_GS2_FLAG},
    {PLAIN_LINK, "p,,n=,r=abc", SCRAM_ERROR_GS2_FLAG},
    {PLAIN_LINK, "n,a=bob,n=,r=abc", SCRAM_ERROR_AUTHZID},
    {PLAIN_LINK, "n,,m=x,n=,r=abc", SCRAM_ERROR_EXTENSION},
    {PLAIN_LINK, "n,,r=abc", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n,,r=abc,n=", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n,,n=", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n,,n=,", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n,,n=,r", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n,,n,r=abc", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n,,n=,r=", SCRAM_ERROR_NONCE},
    {PLAIN_LINK, "n,,n=,r=a b", SCRAM_ERROR_NONCE},
    {PLAIN_LINK, "n,,n=,r=a\x7f", SCRAM_ERROR_NONCE},
    {PLAIN_LINK, "n,,n=,r=\xc3\xa4", SCRAM_ERROR_NONCE},
    {PLAIN_LINK, "n,,n=,r=abc,", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n,,n=,r=abc,1=x", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "n,,n=,r=abc,xyz", SCRAM_ERROR_MALFORMED},
    {PLAIN_LINK, "p=tls-server-end-point,,n=,r=abc", SCRAM_ERROR_BINDING_UNEXPECTED},
    {TLS_LINK, "p=tls-server-end-point,,n=,r=abc", SCRAM_ERROR_BINDING_UNEXPECTED},
    {SCRAM_SHA_256_PLUS, false, "p=tls-server-end-point,,n=,r=abc", SCRAM_ERROR_BINDING_UNEXPECTED},
    {TLS_LINK, "y,,n=,r=abc", SCRAM_ERROR_BINDING_DOWNGRADE},
    {PLUS_LINK, "n,,n=,r=abc", SCRAM_ERROR_BINDING_MISSING},
    {PLUS_LINK, "y,,n=,r=abc", SCRAM_ERROR_BINDING_MISSING},
    {PLUS_LINK, "p=tls-unique,,n=,r=abc", SCRAM_ERROR_BINDING_TYPE},
    {PLUS_LINK, "p=,,n=,r=abc", SCRAM_ERROR_BINDING_TYPE},
    {PLUS_LINK, "p=tls-server-end-point", SCRAM_ERROR_MALFORMED},
};

static const struct {
    const char *final;
    enum scram_error error;
} final_rows[] = {
    {FINAL ",p=" PROOF, SCRAM_ERROR_NONE},
    {"", SCRAM_ERROR_MALFORMED},
    {"c=biws", SCRAM_ERROR_MALFORMED},
    {FINAL, SCRAM_ERROR_MALFORMED},
    {FINAL ",", SCRAM_ERROR_MALFORMED},
    {FINAL ",x=y", SCRAM_ERROR_MALFORMED},
    {FINAL ",p=" PROOF ",", SCRAM_ERROR_MALFORMED},
    {FINAL ",p=" PROOF ",x=y", SCRAM_ERROR_MALFORMED},
    {"r=" NONCE ",c=biws,p=" PROOF, SCRAM_ERROR_MALFORMED},
    {"c=biws,p=" PROOF, SCRAM_ERROR_MALFORMED},
    {"c=eSws,r=" NONCE ",p=" PROOF, SCRAM_ERROR_BINDING_MISMATCH},
    {"c=,r=" NONCE ",p=" PROOF, SCRAM_ERROR_BINDING_MISMATCH},
    {"c=biwsAA==,r=" NONCE ",p=" PROOF, SCRAM_ERROR_BINDING_MISMATCH},
    {"c=biws,r=" NONCE "x,p=" PROOF, SCRAM_ERROR_NONCE_MISMATCH},
    {"c=biws,r=" CLIENT_NONCE ",p=" PROOF, SCRAM_ERROR_NONCE_MISMATCH},
    {"c=biws,r=,p=" PROOF, SCRAM_ERROR_NONCE_MISMATCH},
    {FINAL ",p=", SCRAM_ERROR_PROOF},
    {FINAL ",p=dHzb", SCRAM_ERROR_PROOF},
    {FINAL ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ", SCRAM_ERROR_PROOF},  /* no padding */
    {FINAL ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVR=", SCRAM_ERROR_PROOF}, /* bits of no byte */
    {FINAL ",p=dHzbZapWIk4jUhN-Ute9ytag9zjfMHgsqmmiz7AndVQ=", SCRAM_ERROR_PROOF},
    {FINAL ",p=" PROOF PROOF, SCRAM_ERROR_PROOF},
    {FINAL ",p=eHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", SCRAM_ERROR_PASSWORD},
    {FINAL ",x=y,p=" PROOF, SCRAM_ERROR_PASSWORD}, /* extensions are signed, so the proof is another */
};

static const struct {
    const char *first;
    enum scram_error error;
} server_first_rows[] = {
    {"r=" NONCE ",s=" SALT ",i=4096", SCRAM_ERROR_NONE},
    {"r=" NONCE ",s=YQ==,i=1", SCRAM_ERROR_NONE},
    {"", SCRAM_ERROR_MALFORMED},
    {"x", SCRAM_ERROR_MALFORMED},
    {"m=x,r=" NONCE ",s=" SALT ",i=4096", SCRAM_ERROR_EXTENSION},
    {"s=" SALT ",i=4096", SCRAM_ERROR_MALFORMED},
    {"r=" NONCE, SCRAM_ERROR_MALFORMED},
    {"r=" NONCE ",s=" SALT, SCRAM_ERROR_MALFORMED},
    {"r=" NONCE ",i=4096,s=" SALT, SCRAM_ERROR_MALFORMED},
    {"r=" NONCE ",s=" SALT ",i=4096,", SCRAM_ERROR_MALFORMED},
    {"r=" NONCE ",s=" SALT ",i=4096,x=y", SCRAM_ERROR_MALFORMED},
    {"r=,s=" SALT ",i=4096", SCRAM_ERROR_NONCE},
    {"r=" NONCE " ,s=" SALT ",i=4096", SCRAM_ERROR_NONCE},
    {"r=" CLIENT_NONCE ",s=" SALT ",i=4096", SCRAM_ERROR_NONCE_MISMATCH}, /* the server added nothing */
    {"r=x" NONCE ",s=" SALT ",i=4096", SCRAM_ERROR_NONCE_MISMATCH},
    {"r=rOpr,s=" SALT ",i=4096", SCRAM_ERROR_NONCE_MISMATCH},
    {"r=" NONCE ",s=,i=4096", SCRAM_ERROR_SALT},
    {"r=" NONCE ",s=***,i=4096", SCRAM_ERROR_SALT},
    {"r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ,i=4096", SCRAM_ERROR_SALT},
    {"r=" NONCE ",s=" SALT ",i=", SCRAM_ERROR_ITERATIONS},
    {"r=" NONCE ",s=" SALT ",i=0", SCRAM_ERROR_ITERATIONS},
    {"r=" NONCE ",s=" SALT ",i=-1", SCRAM_ERROR_ITERATIONS},
    {"r=" NONCE ",s=" SALT ",i=4096x", SCRAM_ERROR_ITERATIONS},
    {"r=" NONCE ",s=" SALT ",i=10000001", SCRAM_ERROR_ITERATIONS},
    {"r=" NONCE ",s=" SALT ",i=4294967297", SCRAM_ERROR_ITERATIONS},
};

static const struct {
    const char *final;
    enum scram_error error;
} server_final_rows[] = {
    {"v=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg=", SCRAM_ERROR_NONE},
    {"", SCRAM_ERROR_MALFORMED},
    {"v", SCRAM_ERROR_MALFORMED},
    {"v=", SCRAM_ERROR_MALFORMED},
    {"v=3HO6", SCRAM_ERROR_MALFORMED},
    {"v=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg=,x=y", SCRAM_ERROR_MALFORMED},
    {"x=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg=", SCRAM_ERROR_MALFORMED},
    {"e=invalid-proof", SCRAM_ERROR_SERVER_REFUSED},
    {"v=4HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg=", SCRAM_ERROR_SERVER_SIGNATURE},
};

static struct scram_server *new_server(enum scram_mechanism mechanism, bool has_binding,
                                       const struct credential *c)
{
    struct scram_server *s =
        scram_server_new(&(struct scram_server_params){.mechanism = mechanism,
                                                       .binding = has_binding ? binding : no_binding,
                                                       .user = "user",
                                                       .credential = c,
                                                       .iterations = 4096,
                                                       .process_secret = process_secret,
                                                       .test_nonce = SERVER_NONCE});
    assert_non_null(s);
    return s;
}

static struct scram_client *new_client(void)
{
    struct scram_client *c =
        scram_client_new(&(struct scram_client_params){.password = "pencil", .test_nonce = CLIENT_NONCE});
    assert_non_null(c);
    return c;
}

/* After an error: nothing sent, a text and a class, and no way on. */
static void check_server(struct scram_server *s, const char *message, enum scram_error expected,
                         enum scram_result good, size_t row)
{
    struct buf out;
    buf_init(&out, 0);
    enum scram_result r = scram_server_step(s, message, strlen(message), &out);
    if (r != (expected == SCRAM_ERROR_NONE ? good : SCRAM_ERR) || scram_server_error(s) != expected)
        fail_msg("row %zu: result %d, %s", row, r, scram_error_text(scram_server_error(s)));
    if (r == SCRAM_ERR) {
        struct scram_keys keys;
        assert_int_equal(out.len, 0);
        assert_false(scram_server_keys(s, &keys));
        assert_int_equal(scram_server_step(s, FIRST, strlen(FIRST), &out), SCRAM_ERR);
        assert_int_equal(scram_server_error(s), SCRAM_ERROR_SEQUENCE);
    }
    buf_free(&out);
}

static void test_client_first(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(first_rows); i++) {
        struct scram_server *s = new_server(first_rows[i].mechanism, first_rows[i].has_binding, NULL);
        check_server(s, first_rows[i].first, first_rows[i].error, SCRAM_AGAIN, i);
        scram_server_free(s);
    }
}

/* A made-up secret must fail in exactly the same places as a real one, and otherwise at the proof. */
static void test_client_final(void **state)
{
    struct credential pencil;
    (void)state;
    assert_true(credential_parse(&pencil, PENCIL));
    for (int mock = 0; mock < 2; mock++) {
        for (size_t i = 0; i < ARRAY_SIZE(final_rows); i++) {
            enum scram_error expected = final_rows[i].error;
            struct scram_server *s = new_server(PLAIN_LINK, mock ? NULL : &pencil);
            check_server(s, FIRST, SCRAM_ERROR_NONE, SCRAM_AGAIN, i);
            if (mock && expected == SCRAM_ERROR_NONE)
                expected = SCRAM_ERROR_PASSWORD;
            check_server(s, final_rows[i].final, expected, SCRAM_OK, i);
            scram_server_free(s);
        }
    }
    credential_wipe(&pencil);
}

static void check_client(struct scram_client *c, const char *message, enum scram_error expected,
                         enum scram_result good, size_t row)
{
    struct buf out;
    buf_init(&out, 0);
    enum scram_result r = scram_client_step(c, message, message ? strlen(message) : 0, &out);
    if (r != (expected == SCRAM_ERROR_NONE ? good : SCRAM_ERR) || scram_client_error(c) != expected)
        fail_msg("row %zu: result %d, %s", row, r, scram_error_text(scram_client_error(c)));
    if (r == SCRAM_ERR) {
        struct scram_keys keys;
        assert_int_equal(out.len, 0);
        assert_false(scram_client_keys(c, &keys));
        assert_int_equal(scram_client_step(c, "v=", 2, &out), SCRAM_ERR);
        assert_int_equal(scram_client_error(c), SCRAM_ERROR_SEQUENCE);
    }
    buf_free(&out);
}

static void test_server_first(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(server_first_rows); i++) {
        struct scram_client *c = new_client();
        check_client(c, NULL, SCRAM_ERROR_NONE, SCRAM_AGAIN, i);
        check_client(c, server_first_rows[i].first, server_first_rows[i].error, SCRAM_AGAIN, i);
        scram_client_free(c);
    }
}

static void test_server_final(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(server_final_rows); i++) {
        struct scram_client *c = new_client();
        check_client(c, NULL, SCRAM_ERROR_NONE, SCRAM_AGAIN, i);
        check_client(c, server_first_rows[0].first, SCRAM_ERROR_NONE, SCRAM_AGAIN, i);
        check_client(c, server_final_rows[i].final, server_final_rows[i].error, SCRAM_OK, i);
        scram_client_free(c);
    }
}

/* Lengths, NUL bytes and messages out of turn; both sides. */
static void test_server_bounds(void **state)
{
    char message[SCRAM_CLIENT_MESSAGE_MAX + 2];
    struct buf out;
    (void)state;
    buf_init(&out, 0);
    memset(message, 'x', sizeof(message));
    memcpy(message, "n,,n=,r=", 8);
    struct scram_server *s = new_server(PLAIN_LINK, NULL);
    assert_int_equal(scram_server_step(s, message, SCRAM_CLIENT_MESSAGE_MAX, &out), SCRAM_AGAIN);
    /* data left out is for the first message only */
    assert_int_equal(scram_server_step(s, NULL, 0, &out), SCRAM_ERR);
    assert_int_equal(scram_server_error(s), SCRAM_ERROR_MALFORMED);
    scram_server_free(s);

    s = new_server(PLAIN_LINK, NULL);
    assert_int_equal(scram_server_step(s, message, SCRAM_CLIENT_MESSAGE_MAX + 1, &out), SCRAM_ERR);
    assert_int_equal(scram_server_error(s), SCRAM_ERROR_TOO_LONG);
    scram_server_free(s);

    s = new_server(PLAIN_LINK, NULL);
    assert_int_equal(scram_server_step(s, FIRST, sizeof(FIRST), &out), SCRAM_ERR); /* with its NUL */
    assert_int_equal(scram_server_error(s), SCRAM_ERROR_MALFORMED);
    scram_server_free(s);

    s = new_server(PLAIN_LINK, NULL);
    buf_clear(&out);
    assert_int_equal(scram_server_step(s, NULL, 0, &out), SCRAM_AGAIN);
    assert_int_equal(out.len, 0);
    check_server(s, FIRST, SCRAM_ERROR_NONE, SCRAM_AGAIN, 0);
    scram_server_free(s);
    buf_free(&out);
    scram_server_free(NULL);
}

static void test_client_bounds(void **state)
{
    static char message[SCRAM_SERVER_MESSAGE_MAX + 1];
    struct buf out;
    (void)state;
    buf_init(&out, 0);
    memset(message, 'x', sizeof(message));
    struct scram_client *c = new_client();
    check_client(c, NULL, SCRAM_ERROR_NONE, SCRAM_AGAIN, 0);
    assert_int_equal(scram_client_step(c, message, sizeof(message), &out), SCRAM_ERR);
    assert_int_equal(scram_client_error(c), SCRAM_ERROR_TOO_LONG);
    scram_client_free(c);

    c = new_client();
    check_client(c, NULL, SCRAM_ERROR_NONE, SCRAM_AGAIN, 0);
    check_client(c, NULL, SCRAM_ERROR_MALFORMED, SCRAM_AGAIN, 0);
    scram_client_free(c);

    c = new_client();
    check_client(c, "r=x", SCRAM_ERROR_SEQUENCE, SCRAM_AGAIN, 0);
    scram_client_free(c);

    c = scram_client_new(&(struct scram_client_params){.mechanism = SCRAM_SHA_256});
    check_client(c, NULL, SCRAM_ERROR_NO_SECRET, SCRAM_AGAIN, 0);
    scram_client_free(c);

    c = scram_client_new(&(struct scram_client_params){.mechanism = SCRAM_SHA_256_PLUS, .password = "x"});
    check_client(c, NULL, SCRAM_ERROR_BINDING_MISSING, SCRAM_AGAIN, 0);
    scram_client_free(c);
    buf_free(&out);
    scram_client_free(NULL);
}

/* An answer that does not fit is an error, not a half message. */
static void test_small_buffer(void **state)
{
    struct buf out;
    (void)state;
    buf_init(&out, 10);
    struct scram_server *s = new_server(PLAIN_LINK, NULL);
    assert_int_equal(scram_server_step(s, FIRST, strlen(FIRST), &out), SCRAM_ERR);
    assert_int_equal(scram_server_error(s), SCRAM_ERROR_MEMORY);
    assert_int_equal(out.len, 0);
    scram_server_free(s);
    buf_clear(&out);
    struct scram_client *c = new_client();
    assert_int_equal(scram_client_step(c, NULL, 0, &out), SCRAM_ERR);
    assert_int_equal(scram_client_error(c), SCRAM_ERROR_MEMORY);
    scram_client_free(c);
    buf_free(&out);
}

static void test_params(void **state)
{
    static const uint8_t data[SCRAM_BINDING_MAX + 1];
    (void)state;
    assert_null(
        scram_client_new(&(struct scram_client_params){.binding = {data, sizeof(data)}, .password = "x"}));
    struct scram_server_params p = {.user = "u", .iterations = 4096, .process_secret = process_secret};
    p.binding = (struct scram_binding){data, sizeof(data)};
    assert_null(scram_server_new(&p));
    p.binding = no_binding;
    p.iterations = 0;
    assert_null(scram_server_new(&p));
    p.iterations = SCRAM_ITERATIONS_MAX + 1;
    assert_null(scram_server_new(&p));
}

/* Every error has its own text and a class. */
static void test_error_table(void **state)
{
    (void)state;
    for (int e = 0; e < SCRAM_ERROR_COUNT; e++) {
        assert_non_null(scram_error_text(e));
        assert_true((scram_error_class(e) == SCRAM_CLASS_NONE) == (e == SCRAM_ERROR_NONE));
        for (int f = 0; f < e; f++)
            assert_string_not_equal(scram_error_text(e), scram_error_text(f));
    }
    assert_int_equal(scram_error_class(SCRAM_ERROR_PASSWORD), SCRAM_CLASS_PASSWORD);
    assert_int_equal(scram_error_class(SCRAM_ERROR_MALFORMED), SCRAM_CLASS_PROTOCOL);
    assert_int_equal(scram_error_class(SCRAM_ERROR_MEMORY), SCRAM_CLASS_SYSTEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_first),  cmocka_unit_test(test_client_final),
        cmocka_unit_test(test_server_first),  cmocka_unit_test(test_server_final),
        cmocka_unit_test(test_server_bounds), cmocka_unit_test(test_client_bounds),
        cmocka_unit_test(test_small_buffer),  cmocka_unit_test(test_params),
        cmocka_unit_test(test_error_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
