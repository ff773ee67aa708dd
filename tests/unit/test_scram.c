/*
 * test_scram.c - SCRAM that succeeds or ends with a wrong password: the example of RFC 7677, both sides
 * against each other, keys instead of passwords, made-up secrets. Broken messages: test_scram_errors.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "auth/scram.h"

#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define NONCE        CLIENT_NONCE SERVER_NONCE
#define SALT         "W22ZaJ0SNY7soEsUEjb6gQ=="
#define SERVER_FIRST "r=" NONCE ",s=" SALT ",i=4096"
#define PENCIL                                                                                               \
    "SCRAM-SHA-256$4096:" SALT "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                              \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static const uint8_t process_secret[SCRAM_PROCESS_SECRET_BYTES] = "a process secret";
static const uint8_t binding_data[] = "0123456789abcdef0123456789abcdef";
static const struct scram_binding binding = {binding_data, 32};
static const struct scram_binding no_binding = {NULL, 0};

static const uint8_t pencil_client_key[SCRAM_KEY_BYTES] = {
    0xa6, 0x0f, 0xc9, 0x23, 0xd6, 0x7e, 0x86, 0x44, 0xa9, 0x2d, 0x16, 0xb9, 0x6e, 0xda, 0x5e, 0xf4,
    0x65, 0x6b, 0x0c, 0x72, 0x5c, 0x48, 0x43, 0x74, 0xbe, 0x25, 0x53, 0x55, 0x76, 0x99, 0x6e, 0x8b};

static const struct {
    enum scram_mechanism mechanism;
    bool client_has_binding, server_has_binding;
    const char *first, *final, *verdict;
} vector_rows[] = {
    /* RFC 7677, section 3: server side only, since our client sends no user name */
    {SCRAM_SHA_256, false, false, "n,,n=user,r=" CLIENT_NONCE,
     "c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
     "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
    /* the same numbers without the name and with other headers, computed independently */
    {SCRAM_SHA_256, false, true, "n,,n=,r=" CLIENT_NONCE,
     "c=biws,r=" NONCE ",p=qvT2SWdEH5Q06albL+hjSYuUhCG7VndFyzIb7CK4n9k=",
     "v=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg="},
    {SCRAM_SHA_256, true, false, "y,,n=,r=" CLIENT_NONCE,
     "c=eSws,r=" NONCE ",p=VpuC5DGQa5ro9tXE9MnKs69NH1nxnuregZZcclqIGfM=",
     "v=FOmOj9BpTGwvnzwBtWQjBaPmVxT9I8IeHBOhcIPu3us="},
    {SCRAM_SHA_256_PLUS, true, true, "p=tls-server-end-point,,n=,r=" CLIENT_NONCE,
     "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=,r=" NONCE
     ",p=kb2EMtgtJg4mtTuB2IZWKuwmfVB/oGtl7PdVrIarcj4=",
     "v=HW72IeWERAJMVzKadMKkqLsTF2U6Zcqo1D4FNrDP49w="},
};

/* One step; the answer lands in reply. */
static enum scram_result server_step(struct scram_server *s, const char *message, struct buf *reply)
{
    buf_clear(reply);
    return scram_server_step(s, message, message ? strlen(message) : 0, reply);
}

static enum scram_result client_step(struct scram_client *c, const char *message, struct buf *reply)
{
    buf_clear(reply);
    return scram_client_step(c, message, message ? strlen(message) : 0, reply);
}

static struct scram_server *new_server(const struct credential *c, const char *user)
{
    struct scram_server *s = scram_server_new(&(struct scram_server_params){
        .user = user, .credential = c, .iterations = 4096, .process_secret = process_secret});
    assert_non_null(s);
    return s;
}

static struct scram_client *new_client(const char *password, const struct scram_keys *keys)
{
    struct scram_client *c =
        scram_client_new(&(struct scram_client_params){.password = password, .keys = keys});
    assert_non_null(c);
    return c;
}

/* Both sides until one fails or both succeed; tells how the server and the client ended. */
static void run_exchange(struct scram_client *c, struct scram_server *s, enum scram_result *client_end,
                         enum scram_result *server_end)
{
    struct buf up, down;
    buf_init(&up, 0);
    buf_init(&down, 0);
    *server_end = SCRAM_AGAIN;
    *client_end = client_step(c, NULL, &up);
    while (*client_end == SCRAM_AGAIN && *server_end == SCRAM_AGAIN) {
        *server_end = server_step(s, buf_cstr(&up), &down);
        if (*server_end != SCRAM_ERR)
            *client_end = client_step(c, buf_cstr(&down), &up);
    }
    buf_free(&up);
    buf_free(&down);
}

static void test_vectors_server(void **state)
{
    struct credential c;
    struct buf out;
    (void)state;
    buf_init(&out, 0);
    assert_true(credential_parse(&c, PENCIL));
    for (size_t i = 0; i < ARRAY_SIZE(vector_rows); i++) {
        struct scram_keys keys;
        struct scram_server *s = scram_server_new(
            &(struct scram_server_params){.mechanism = vector_rows[i].mechanism,
                                          .binding = vector_rows[i].server_has_binding ? binding : no_binding,
                                          .user = "user",
                                          .credential = &c,
                                          .iterations = 4096,
                                          .process_secret = process_secret,
                                          .test_nonce = SERVER_NONCE});
        assert_non_null(s);
        assert_int_equal(server_step(s, vector_rows[i].first, &out), SCRAM_AGAIN);
        assert_string_equal(buf_cstr(&out), SERVER_FIRST);
        assert_false(scram_server_keys(s, &keys));
        assert_int_equal(server_step(s, vector_rows[i].final, &out), SCRAM_OK);
        assert_string_equal(buf_cstr(&out), vector_rows[i].verdict);
        assert_int_equal(scram_server_error(s), SCRAM_ERROR_NONE);
        assert_true(scram_server_keys(s, &keys));
        assert_memory_equal(keys.client_key, pencil_client_key, SCRAM_KEY_BYTES);
        assert_memory_equal(&keys.secret, &c.scram, sizeof(c.scram));
        scram_server_free(s);
    }
    credential_wipe(&c);
    buf_free(&out);
}

static void test_vectors_client(void **state)
{
    struct buf out;
    (void)state;
    buf_init(&out, 0);
    for (size_t i = 1; i < ARRAY_SIZE(vector_rows); i++) {
        struct scram_keys keys;
        struct scram_client *c = scram_client_new(
            &(struct scram_client_params){.mechanism = vector_rows[i].mechanism,
                                          .binding = vector_rows[i].client_has_binding ? binding : no_binding,
                                          .password = "pencil",
                                          .test_nonce = CLIENT_NONCE});
        assert_non_null(c);
        assert_int_equal(client_step(c, NULL, &out), SCRAM_AGAIN);
        assert_string_equal(buf_cstr(&out), vector_rows[i].first);
        assert_int_equal(client_step(c, SERVER_FIRST, &out), SCRAM_AGAIN);
        assert_string_equal(buf_cstr(&out), vector_rows[i].final);
        assert_false(scram_client_keys(c, &keys));
        assert_int_equal(client_step(c, vector_rows[i].verdict, &out), SCRAM_OK);
        assert_int_equal(out.len, 0);
        assert_true(scram_client_keys(c, &keys));
        assert_memory_equal(keys.client_key, pencil_client_key, SCRAM_KEY_BYTES);
        scram_client_free(c);
    }
    buf_free(&out);
}

static const struct {
    const char *secret; /* of the server */
    const char *password;
    enum scram_result client_end, server_end;
} pair_rows[] = {
    {PENCIL, "pencil", SCRAM_OK, SCRAM_OK},
    {PENCIL, "Pencil", SCRAM_AGAIN, SCRAM_ERR},
    {PENCIL, PENCIL, SCRAM_AGAIN, SCRAM_ERR},
    {"pencil", "pencil", SCRAM_OK, SCRAM_OK},
    {"pencil", "pencil2", SCRAM_AGAIN, SCRAM_ERR},
    {"p\xc3\xa4ss", "p\xc3\xa4ss", SCRAM_OK, SCRAM_OK},
    {"\xff\xfe", "\xff\xfe", SCRAM_OK, SCRAM_OK}, /* not UTF-8: as it is */
    {"md58bbf3f45673bf67d02e4214911f3417f", "pencil", SCRAM_AGAIN, SCRAM_ERR},
    {"", "", SCRAM_AGAIN, SCRAM_ERR},
    {NULL, "pencil", SCRAM_AGAIN, SCRAM_ERR},
    {"SCRAM-SHA-256$0:" SALT "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
     "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
     "pencil", SCRAM_AGAIN, SCRAM_ERR},
};

static void test_pairs(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pair_rows); i++) {
        struct credential cred;
        enum scram_result client_end, server_end;
        assert_true(credential_parse(&cred, pair_rows[i].secret));
        struct scram_server *s = new_server(&cred, "m");
        struct scram_client *c = new_client(pair_rows[i].password, NULL);
        run_exchange(c, s, &client_end, &server_end);
        if (client_end != pair_rows[i].client_end || server_end != pair_rows[i].server_end)
            fail_msg("row %zu: client %d (%s), server %d (%s)", i, client_end,
                     scram_error_text(scram_client_error(c)), server_end,
                     scram_error_text(scram_server_error(s)));
        if (server_end == SCRAM_ERR)
            assert_int_equal(scram_server_error(s), SCRAM_ERROR_PASSWORD);
        scram_client_free(c);
        scram_server_free(s);
        credential_wipe(&cred);
    }
}

/* A client logs in to us, and we log in to PostgreSQL with what its login gave. */
static void test_pass_through(void **state)
{
    struct credential cred, other;
    struct scram_keys keys, again;
    enum scram_result client_end, server_end;
    (void)state;
    assert_true(credential_parse(&cred, PENCIL));
    struct scram_server *s = new_server(&cred, "user");
    struct scram_client *c = new_client("pencil", NULL);
    run_exchange(c, s, &client_end, &server_end);
    assert_true(scram_server_keys(s, &keys));
    scram_server_free(s);
    scram_client_free(c);

    s = new_server(&cred, "user");
    c = new_client(NULL, &keys);
    run_exchange(c, s, &client_end, &server_end);
    assert_int_equal(client_end, SCRAM_OK);
    assert_int_equal(server_end, SCRAM_OK);
    assert_true(scram_client_keys(c, &again));
    assert_memory_equal(&again, &keys, sizeof(keys));
    scram_server_free(s);
    scram_client_free(c);

    /* Same password, another salt: an error without the password, a derivation with it. */
    assert_true(credential_parse(&other, "pencil"));
    s = new_server(&other, "user");
    c = new_client(NULL, &keys);
    run_exchange(c, s, &client_end, &server_end);
    assert_int_equal(client_end, SCRAM_ERR);
    assert_int_equal(scram_client_error(c), SCRAM_ERROR_KEYS_DIFFER);
    scram_server_free(s);
    scram_client_free(c);

    s = new_server(&other, "user");
    c = new_client("pencil", &keys);
    run_exchange(c, s, &client_end, &server_end);
    assert_int_equal(client_end, SCRAM_OK);
    assert_true(scram_client_keys(c, &again));
    assert_int_equal(again.secret.salt_len, SCRAM_SALT_BYTES);
    assert_memory_not_equal(again.secret.salt, keys.secret.salt, SCRAM_SALT_BYTES);
    scram_server_free(s);
    scram_client_free(c);
    credential_wipe(&cred);
    credential_wipe(&other);
}

/* Keys take precedence over the password where salt and iterations are theirs: no derivation. */
static void test_cached_client_keys(void **state)
{
    struct credential cred;
    enum scram_result client_end, server_end;
    (void)state;
    assert_true(credential_parse(&cred, PENCIL));
    struct scram_keys keys = {.secret = cred.scram};
    memcpy(keys.client_key, pencil_client_key, SCRAM_KEY_BYTES);
    struct scram_server *s = new_server(&cred, "user");
    struct scram_client *c = new_client("wrong", &keys);
    run_exchange(c, s, &client_end, &server_end);
    assert_int_equal(client_end, SCRAM_OK);
    scram_server_free(s);
    scram_client_free(c);
    credential_wipe(&cred);
}

/* A caller may keep the keys of a PLAIN credential; they are used as long as scram_iterations stays. */
static void test_cached_server_secret(void **state)
{
    struct credential plain;
    (void)state;
    assert_true(credential_parse(&plain, "pencil"));
    struct scram_server *s = new_server(&plain, "user");
    struct scram_secret derived = *scram_server_secret(s);
    scram_server_free(s);

    derived.stored_key[0] ^= 1; /* marks the cached one */
    for (uint32_t iterations = 4096; iterations <= 4097; iterations++) {
        s = scram_server_new(&(struct scram_server_params){.user = "user",
                                                           .credential = &plain,
                                                           .iterations = iterations,
                                                           .derived = &derived,
                                                           .process_secret = process_secret});
        assert_non_null(s);
        assert_int_equal(scram_server_secret(s)->iterations, iterations);
        assert_int_equal(memcmp(scram_server_secret(s), &derived, sizeof(derived)) == 0, iterations == 4096);
        scram_server_free(s);
    }
    credential_wipe(&plain);
}

/* server-first of a user, behind the nonce. */
static void salt_and_iterations(const struct credential *c, const char *user, uint32_t iterations,
                                char out[128])
{
    struct buf reply;
    buf_init(&reply, 0);
    struct scram_server *s = scram_server_new(&(struct scram_server_params){.user = user,
                                                                            .credential = c,
                                                                            .iterations = iterations,
                                                                            .process_secret = process_secret,
                                                                            .test_nonce = "x"});
    assert_non_null(s);
    assert_int_equal(server_step(s, "n,,n=,r=abc", &reply), SCRAM_AGAIN);
    assert_true(reply.len < 128);
    strcpy(out, buf_cstr(&reply));
    scram_server_free(s);
    buf_free(&reply);
}

/* An unknown user looks like one with a plain password: same message, same salt at each try. */
static void test_mock(void **state)
{
    struct credential plain;
    char unknown[128], again[128], known[128], other[128];
    (void)state;
    assert_true(credential_parse(&plain, "pencil"));
    salt_and_iterations(NULL, "alice", 5000, unknown);
    salt_and_iterations(NULL, "alice", 5000, again);
    salt_and_iterations(&plain, "alice", 5000, known);
    salt_and_iterations(NULL, "bob", 5000, other);
    assert_string_equal(unknown, again);
    assert_string_equal(unknown, known);
    assert_string_not_equal(unknown, other);
    assert_non_null(strstr(unknown, ",i=5000"));
    assert_non_null(strstr(unknown, "=="));
    credential_wipe(&plain);

    struct scram_server *s = new_server(NULL, "alice");
    assert_null(scram_server_secret(s));
    scram_server_free(s);
}

/* Nonces are new each time, and 24 characters. */
static void test_nonces(void **state)
{
    struct buf a, b;
    (void)state;
    buf_init(&a, 0);
    buf_init(&b, 0);
    struct scram_client *c = new_client("x", NULL), *d = new_client("x", NULL);
    assert_int_equal(client_step(c, NULL, &a), SCRAM_AGAIN);
    assert_int_equal(client_step(d, NULL, &b), SCRAM_AGAIN);
    assert_int_equal(a.len, strlen("n,,n=,r=") + 24);
    assert_string_not_equal(buf_cstr(&a), buf_cstr(&b));
    struct scram_server *s = new_server(NULL, "u"), *t = new_server(NULL, "u");
    assert_int_equal(server_step(s, "n,,n=,r=abc", &a), SCRAM_AGAIN);
    assert_int_equal(server_step(t, "n,,n=,r=abc", &b), SCRAM_AGAIN);
    assert_memory_equal(buf_cstr(&a), "r=abc", 5);
    assert_int_equal(strcspn(buf_cstr(&a), ","), 5 + 24);
    assert_memory_not_equal(buf_cstr(&a), buf_cstr(&b), 5 + 24);
    scram_client_free(c);
    scram_client_free(d);
    scram_server_free(s);
    scram_server_free(t);
    buf_free(&a);
    buf_free(&b);
}

static void test_derive_limits(void **state)
{
    static const struct {
        uint32_t salt_len, iterations;
        bool ok;
    } rows[] = {
        {16, 1, true},  {SCRAM_SALT_MAX, 1, true},
        {0, 1, false},  {SCRAM_SALT_MAX + 1, 1, false},
        {16, 0, false}, {16, SCRAM_ITERATIONS_MAX + 1, false},
    };
    static const uint8_t salt[SCRAM_SALT_MAX + 1] = "salt";
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct scram_secret secret;
        assert_int_equal(scram_secret_derive(&secret, "x", salt, rows[i].salt_len, rows[i].iterations),
                         rows[i].ok);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_server),
        cmocka_unit_test(test_vectors_client),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_pass_through),
        cmocka_unit_test(test_cached_client_keys),
        cmocka_unit_test(test_cached_server_secret),
        cmocka_unit_test(test_mock),
        cmocka_unit_test(test_nonces),
        cmocka_unit_test(test_derive_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
