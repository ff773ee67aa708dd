/*
 * test_tls13.c - records of our own making, against the numbers of RFC 8448 and against OpenSSL as the peer.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "stream_tls_int.h"

/* ---- numbers ---- */

static void from_hex(const char *text, uint8_t *out)
{
    unsigned byte;
    for (; *text != '\0'; text += 2, out++) {
        assert_int_equal(sscanf(text, "%2x", &byte), 1);
        *out = (uint8_t)byte;
    }
}

/* RFC 8448, section 3. */
static void test_keys_of_the_standard(void **state)
{
    static const struct {
        const char *secret, *key, *iv;
    } rows[] = {
        {"9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
         "17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9"},
        {"a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
         "9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984"},
    };
    const struct tls13_suite *suite = tls13_suite_find(TLS1_3_CK_AES_128_GCM_SHA256);
    (void)state;

    assert_non_null(suite);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t secret[32], key[16], iv[12];
        struct tls13_keys k = {.seq = 7};
        from_hex(rows[i].secret, secret), from_hex(rows[i].key, key), from_hex(rows[i].iv, iv);
        assert_true(tls13_keys_set(&k, suite, secret));
        assert_memory_equal(k.key, key, sizeof(key));
        assert_memory_equal(k.iv, iv, sizeof(iv));
        assert_int_equal(k.seq, 7);
        assert_true(tls13_keys_update(&k, suite));
        assert_memory_not_equal(k.key, key, sizeof(key));
        assert_int_equal(k.seq, 0);
    }
}

static const uint32_t suite_ids[] = {TLS1_3_CK_AES_128_GCM_SHA256, TLS1_3_CK_AES_256_GCM_SHA384,
                                     TLS1_3_CK_CHACHA20_POLY1305_SHA256};

static void test_seal_and_open(void **state)
{
    static const uint32_t sizes[] = {0, 1, 15, 16, 17, 1000, TLS13_CONTENT_BYTES};
    static uint8_t record[TLS13_CONTENT_BYTES + TLS13_EXTRA_BYTES], plain[TLS13_CONTENT_BYTES];
    const uint8_t secret[TLS13_SECRET_BYTES] = {1, 2, 3};
    (void)state;

    RAND_bytes(plain, sizeof(plain));
    for (size_t s = 0; s < ARRAY_SIZE(suite_ids); s++) {
        struct tls13_ciphers here = {0}, there = {0};
        struct tls13_keys out = {0}, in = {0};
        const struct tls13_suite *suite = tls13_suite_find(suite_ids[s]);
        assert_true(tls13_keys_set(&out, suite, secret) && tls13_keys_set(&in, suite, secret));
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            uint8_t type = 0;
            memcpy(record + TLS13_HEADER_BYTES, plain, sizes[i]);
            uint32_t n = tls13_seal(&here, suite, &out, TLS13_DATA, record, sizes[i]);
            assert_int_equal(n, sizes[i] + TLS13_EXTRA_BYTES);
            assert_int_equal(tls13_open(&there, suite, &in, record, n, &type), sizes[i]);
            assert_int_equal(type, TLS13_DATA);
            assert_memory_equal(record + TLS13_HEADER_BYTES, plain, sizes[i]);
        }
        assert_int_equal(in.seq, ARRAY_SIZE(sizes));
        tls13_ciphers_free(&here);
        tls13_ciphers_free(&there);
    }
    assert_null(tls13_suite_find(TLS1_3_CK_AES_128_CCM_SHA256));
}

/* Any bit of it, another place in the order, other keys, less of it. */
static void test_forged(void **state)
{
    static const uint8_t secret[TLS13_SECRET_BYTES] = {9};
    (void)state;

    for (size_t s = 0; s < ARRAY_SIZE(suite_ids); s++) {
        const struct tls13_suite *suite = tls13_suite_find(suite_ids[s]);
        struct tls13_ciphers c = {0};
        struct tls13_keys out = {0}, in = {0};
        uint8_t good[64], record[64], type;
        assert_true(tls13_keys_set(&out, suite, secret) && tls13_keys_set(&in, suite, secret));
        memcpy(good + TLS13_HEADER_BYTES, "hello", 5);
        uint32_t n = tls13_seal(&c, suite, &out, TLS13_DATA, good, 5);
        for (uint32_t bit = 0; bit < n * 8; bit++) {
            memcpy(record, good, n);
            record[bit / 8] ^= (uint8_t)(1u << bit % 8);
            in.seq = 0;
            assert_int_equal(tls13_open(&c, suite, &in, record, n, &type), -1);
        }
        for (uint32_t len = TLS13_HEADER_BYTES; len < n; len++) {
            memcpy(record, good, n);
            in.seq = 0;
            assert_int_equal(tls13_open(&c, suite, &in, record, len, &type), -1);
        }
        memcpy(record, good, n);
        in.seq = 1;
        assert_int_equal(tls13_open(&c, suite, &in, record, n, &type), -1);
        memcpy(record, good, n);
        in.seq = 0;
        assert_int_equal(tls13_open(&c, suite, &in, record, n, &type), 5);
        assert_true(tls13_keys_update(&in, suite));
        memcpy(record, good, n);
        assert_int_equal(tls13_open(&c, suite, &in, record, n, &type), -1);
        tls13_ciphers_free(&c);
    }
}

/* More connections than contexts, in turn: each finds its own key, also where another was put in. */
static void test_contexts_in_turn(void **state)
{
    enum { N = 3 * TLS13_CACHED };
    static struct tls13_keys out[N], in[N];
    struct tls13_ciphers c = {0};
    (void)state;

    for (int i = 0; i < N; i++) {
        uint8_t secret[TLS13_SECRET_BYTES] = {(uint8_t)i, 77};
        const struct tls13_suite *suite = tls13_suite_find(suite_ids[i % 3]);
        assert_true(tls13_keys_set(&out[i], suite, secret) && tls13_keys_set(&in[i], suite, secret));
    }
    for (int turn = 0; turn < 4 * N; turn++) {
        int i = turn * 7 % N;
        const struct tls13_suite *suite = tls13_suite_find(suite_ids[i % 3]);
        uint8_t record[64], type;
        memcpy(record + TLS13_HEADER_BYTES, &turn, sizeof(turn));
        uint32_t n = tls13_seal(&c, suite, &out[i], TLS13_DATA, record, sizeof(turn));
        assert_int_equal(tls13_open(&c, suite, &in[i], record, n, &type), sizeof(turn));
        assert_memory_equal(record + TLS13_HEADER_BYTES, &turn, sizeof(turn));
        if (turn % 5 == 0)
            tls13_ciphers_forget(&c, &in[i], &out[i]);
    }
    tls13_ciphers_free(&c);
}

/* ---- a stream behind a handshake, and a peer that makes its own records ---- */

static void no_mail(struct loop *loop, struct mail *m)
{
    (void)loop, (void)m;
    abort();
}

static const struct stream_ops no_ops;

struct ours {
    struct loop loop;
    struct stream stream;
    int peer_fd;
    const struct tls13_suite *suite;
    struct tls13_ciphers peer;
    struct tls13_keys in, out; /* of the peer */
};

static void ours_begin(struct ours *o)
{
    static const struct tls_secrets secrets = {.of_client = {1}, .of_server = {2}};
    int fds[2];

    memset(o, 0, sizeof(*o));
    o->suite = tls13_suite_find(suite_ids[0]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    o->peer_fd = fds[1];
    assert_true(loop_init(&o->loop, no_mail, NULL));
    stream_init(&o->stream, &o->loop, fds[0], &no_ops);
    o->stream.tls = calloc(1, sizeof(*o->stream.tls));
    assert_true(tls13_begin(&o->stream, o->suite, &secrets, 0));
    assert_true(tls13_keys_set(&o->in, o->suite, secrets.of_server));
    assert_true(tls13_keys_set(&o->out, o->suite, secrets.of_client));
}

static void ours_end(struct ours *o)
{
    stream_close(&o->stream);
    loop_destroy(&o->loop);
    tls13_ciphers_free(&o->peer);
    close(o->peer_fd);
}

static uint32_t peer_seal(struct ours *o, enum tls13_type type, const void *data, uint32_t len, uint8_t *out)
{
    memcpy(out + TLS13_HEADER_BYTES, data, len);
    uint32_t n = tls13_seal(&o->peer, o->suite, &o->out, type, out, len);
    if (type == TLS13_HANDSHAKE)
        assert_true(tls13_keys_update(&o->out, o->suite));
    return n;
}

static void peer_send(struct ours *o, enum tls13_type type, const void *data, uint32_t len)
{
    uint8_t record[600];
    uint32_t n = peer_seal(o, type, data, len, record);
    assert_int_equal(write(o->peer_fd, record, n), n);
}

/* The type of the next record that we have sent, with its first bytes; 0: none. */
static uint8_t peer_next(struct ours *o, uint8_t first[8])
{
    uint8_t record[600], type = 0;

    if (recv(o->peer_fd, record, TLS13_HEADER_BYTES, MSG_DONTWAIT) != TLS13_HEADER_BYTES)
        return 0;
    ssize_t n = (ssize_t)record[3] << 8 | record[4];
    assert_int_equal(recv(o->peer_fd, record + TLS13_HEADER_BYTES, (size_t)n, MSG_WAITALL), n);
    assert_true(tls13_open(&o->peer, o->suite, &o->in, record, TLS13_HEADER_BYTES + (uint32_t)n, &type) >= 0);
    memcpy(first, record + TLS13_HEADER_BYTES, 8);
    if (type == TLS13_HANDSHAKE)
        assert_true(tls13_keys_update(&o->in, o->suite));
    return type;
}

/* All that is there: bytes, or why there will be no more. */
static int take_all(struct ours *o, uint8_t *buf, int room, int piece)
{
    int total = 0, n;

    while ((n = stream_recv(&o->stream, buf + total, room - total < piece ? room - total : piece)) > 0)
        if ((total += n) == room || (piece < room && !stream_has_unread(&o->stream)))
            return total;
    return n == STREAM_AGAIN ? total : n;
}

/* Two records in three pieces, cut everywhere: what was kept of one may be as long as what is to be kept of
 * the next. */
static void test_cut_anywhere(void **state)
{
    enum { LEN = 8, RECORD = LEN + TLS13_EXTRA_BYTES, ALL = 2 * RECORD };
    (void)state;

    for (int piece = 3; piece <= 100; piece += 97) {
        struct ours o;
        ours_begin(&o);
        for (int i = 0; i <= ALL; i++)
            for (int j = i; j <= ALL; j++) {
                uint8_t sent[2 * LEN], got[2 * LEN] = {0}, wire[ALL];
                const int ends[] = {i, j, ALL};
                RAND_bytes(sent, sizeof(sent));
                assert_int_equal(peer_seal(&o, TLS13_DATA, sent, LEN, wire), RECORD);
                assert_int_equal(peer_seal(&o, TLS13_DATA, sent + LEN, LEN, wire + RECORD), RECORD);
                int total = 0, at = 0;
                for (int k = 0; k < 3; at = ends[k++]) {
                    assert_int_equal(write(o.peer_fd, wire + at, (size_t)(ends[k] - at)), ends[k] - at);
                    int n = total < 2 * LEN ? take_all(&o, got + total, 2 * LEN - total, piece) : 0;
                    assert_true(n >= 0);
                    total += n;
                }
                assert_int_equal(total, 2 * LEN);
                assert_memory_equal(got, sent, sizeof(sent));
            }
        ours_end(&o);
    }
}

static const uint8_t update[] = {24, 0, 0, 1, 0}, update_both[] = {24, 0, 0, 1, 1};

static void test_key_updates_at_once(void **state)
{
    uint8_t buf[64], first[8];
    struct ours o;
    (void)state;

    ours_begin(&o);
    for (int i = 0; i < 5; i++)
        peer_send(&o, TLS13_HANDSHAKE, update_both, sizeof(update_both));
    peer_send(&o, TLS13_DATA, "hello", 5);
    assert_int_equal(take_all(&o, buf, sizeof(buf), sizeof(buf)), 5);
    assert_true(stream_send(&o.stream, "answered", 8));
    assert_int_equal(peer_next(&o, first), TLS13_HANDSHAKE);
    assert_memory_equal(first, update, sizeof(update)); /* once, and not asked back */
    assert_int_equal(peer_next(&o, first), TLS13_DATA);
    assert_memory_equal(first, "answered", 8);
    assert_int_equal(peer_next(&o, first), 0);
    ours_end(&o);
}

/* What costs us work and brings nothing has a bound; what comes between data has none. */
static void test_nothing_but_noise(void **state)
{
    enum { BOUND = 32 };
    static const struct {
        enum tls13_type type;
        uint8_t data[5];
        uint32_t len;
    } rows[] = {{TLS13_HANDSHAKE, {24, 0, 0, 1, 0}, 5}, {TLS13_DATA, {0}, 0}, {TLS13_ALERT, {1, 90}, 2}};
    uint8_t buf[200], first[8];
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ours o;
        ours_begin(&o);
        for (int turn = 0; turn < 3; turn++) {
            for (int n = 0; n < BOUND; n++)
                peer_send(&o, rows[i].type, rows[i].data, rows[i].len);
            peer_send(&o, TLS13_DATA, "x", 1);
            assert_int_equal(take_all(&o, buf, sizeof(buf), sizeof(buf)), 1);
        }
        for (int n = 0; n <= BOUND; n++)
            peer_send(&o, rows[i].type, rows[i].data, rows[i].len);
        assert_int_equal(take_all(&o, buf, sizeof(buf), sizeof(buf)), STREAM_ERROR);
        assert_string_equal(stream_tls_error(), "too many records without data");
        assert_int_equal(peer_next(&o, first), TLS13_ALERT);
        assert_int_equal(first[1], SSL_AD_UNEXPECTED_MESSAGE);
        ours_end(&o);
    }
}

/* ---- against OpenSSL ---- */

static char tmp_dir[] = "/tmp/tls13-test-XXXXXX";
static char cert_path[64], key_path[64];

static int setup(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    (void)state;

    signal(SIGPIPE, SIG_IGN);
    assert_non_null(mkdtemp(tmp_dir));
    snprintf(cert_path, sizeof(cert_path), "%s/cert.pem", tmp_dir);
    snprintf(key_path, sizeof(key_path), "%s/key.pem", tmp_dir);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *f = fopen(cert_path, "w");
    assert_non_null(f);
    PEM_write_X509(f, cert);
    fclose(f);
    f = fopen(key_path, "w");
    assert_non_null(f);
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(cert);
    EVP_PKEY_free(key);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(cert_path), unlink(key_path);
    return rmdir(tmp_dir);
}

/* Sends back what comes. */
struct echo {
    struct loop loop;
    struct stream stream;
    int handshake, end;
    int piece;            /* bytes that it reads at a time */
    uint64_t max_records; /* 0: as it is */
    uint64_t max_seq;
    char error[128];
    char described[64];
};

static void echo_handshake(struct echo *e)
{
    e->handshake = stream_tls_handshake(&e->stream);
    if (e->handshake == 1 && e->max_records > 0)
        e->stream.tls->compact->max_records = e->max_records;
    if (e->handshake == 1)
        stream_tls_describe(&e->stream, e->described, sizeof(e->described));
    if (e->handshake == STREAM_ERROR || e->handshake == STREAM_EOF)
        loop_stop(&e->loop);
}

static void echo_read(struct stream *s)
{
    struct echo *e = container_of(s, struct echo, stream);
    static uint8_t buf[LOOP_READ_BUFFER_BYTES];

    if (e->handshake == STREAM_AGAIN) {
        echo_handshake(e);
        return;
    }
    do {
        int n = stream_recv(s, buf, e->piece);
        if (n == STREAM_AGAIN)
            return;
        if (n <= 0) {
            e->end = n;
            snprintf(e->error, sizeof(e->error), "%s", n == STREAM_ERROR ? stream_tls_error() : "");
            loop_stop(&e->loop);
            return;
        }
        if (!stream_send(s, buf, (uint32_t)n)) {
            e->end = STREAM_ERROR;
            loop_stop(&e->loop);
            return;
        }
        if (s->tls->compact != NULL && s->tls->compact->out.seq > e->max_seq)
            e->max_seq = s->tls->compact->out.seq;
    } while (stream_has_unread(s));
}

static void echo_drain(struct stream *s)
{
    struct echo *e = container_of(s, struct echo, stream);
    if (e->handshake == STREAM_AGAIN)
        echo_handshake(e);
}

static void echo_error(struct stream *s, int err)
{
    struct echo *e = container_of(s, struct echo, stream);
    (void)err;
    e->end = STREAM_ERROR;
    loop_stop(&e->loop);
}

static const struct stream_ops echo_ops = {echo_read, echo_drain, echo_error};

#define SUITE_OF_OPENSSL 3 /* none that we know */

/* The peer: OpenSSL, in a thread, blocking. */
struct peer {
    pthread_t thread;
    int fd;
    uint32_t suite;
    int (*talk)(struct peer *p, SSL *ssl); /* 0: as expected; else the line that was not */
    const void *arg;
    int failed;
    struct tls_secrets told;
};

static void keep_secrets_cb(const SSL *ssl, const char *line)
{
    struct peer *p = SSL_get_app_data(ssl);
    const char *secret = strrchr(line, ' ');

    if (secret != NULL && strncmp(line, "CLIENT_TRAFFIC_SECRET_0", 23) == 0)
        from_hex(secret + 1, p->told.of_client);
    if (secret != NULL && strncmp(line, "SERVER_TRAFFIC_SECRET_0", 23) == 0)
        from_hex(secret + 1, p->told.of_server);
}

static void *peer_main(void *arg)
{
    struct peer *p = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    const char *const names[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                 "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_CCM_SHA256"};

    SSL_CTX_set_ciphersuites(ctx, names[p->suite]);
    SSL_CTX_set_keylog_callback(ctx, keep_secrets_cb);
    SSL *ssl = SSL_new(ctx);
    SSL_set_app_data(ssl, p);
    SSL_set_fd(ssl, p->fd);
    p->failed = SSL_connect(ssl) == 1 ? p->talk(p, ssl) : __LINE__;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(p->fd);
    return NULL;
}

/* Runs to the end of the connection. */
static void run(struct echo *e, struct peer *p, bool is_compact)
{
    struct tls_options o = {
        .side = TLS_SERVER,
        .is_compact = is_compact,
        .cert_file = cert_path,
        .key_file = key_path,
        .tls13_ciphers = p->suite == SUITE_OF_OPENSSL ? "TLS_AES_128_CCM_SHA256" : NULL,
    };
    struct tls_maker m;
    char err[256] = "";
    int fds[2];

    tls_maker_init(&m);
    struct tls_context *ctx = tls_maker_get(&m, &o, err, sizeof(err));
    assert_string_equal(err, "");
    tls_maker_free(&m);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    p->fd = fds[1];
    if (e->piece == 0)
        e->piece = LOOP_READ_BUFFER_BYTES;
    e->handshake = STREAM_AGAIN;
    assert_true(loop_init(&e->loop, no_mail, NULL));
    stream_init(&e->stream, &e->loop, fds[0], &echo_ops);
    assert_true(stream_tls_accept(&e->stream, ctx, NULL, 0));
    tls_context_unref(ctx);
    assert_true(stream_read_start(&e->stream));
    assert_int_equal(pthread_create(&p->thread, NULL, peer_main, p), 0);
    loop_run(&e->loop);
    assert_int_equal(e->handshake, 1);
    assert_int_equal(e->stream.tls->ssl == NULL, is_compact && p->suite != SUITE_OF_OPENSSL);
    stream_close(&e->stream);
    loop_destroy(&e->loop);
    pthread_join(p->thread, NULL);
    if (p->failed != 0)
        fail_msg("the peer failed in line %d, we with \"%s\"", p->failed, e->error);
}

#define EXPECT(what)                                                                                         \
    do {                                                                                                     \
        if (!(what))                                                                                         \
            return __LINE__;                                                                                 \
    } while (0)

static int say(SSL *ssl, size_t len)
{
    uint8_t *out = malloc(len), *in = malloc(len);
    size_t at = 0;
    int n = 0;

    RAND_bytes(out, (int)len);
    int ok = SSL_write(ssl, out, (int)len) == (int)len;
    while (ok && at < len && (n = SSL_read(ssl, in + at, (int)(len - at))) > 0)
        at += (size_t)n;
    ok = ok && at == len && memcmp(in, out, len) == 0;
    free(out);
    free(in);
    return ok;
}

/* Sizes around those of records and buffers; key updates of all kinds in between; the end. */
static int talk_all(struct peer *p, SSL *ssl)
{
    static const size_t sizes[] = {1, 2, 100, 16383, 16384, 16385, 40000, 70000, 5};
    size_t max = p->arg != NULL ? *(const size_t *)p->arg : SIZE_MAX;

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        EXPECT(sizes[i] > max || say(ssl, sizes[i]));
    for (int i = 0; i < 5; i++) {
        EXPECT(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
        EXPECT(say(ssl, 100));
        EXPECT(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1);
        EXPECT(say(ssl, max < 20000 ? max : 20000));
    }
    SSL_shutdown(ssl);
    uint8_t byte;
    EXPECT(SSL_read(ssl, &byte, 1) <= 0 && (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN) != 0);
    return 0;
}

static void test_echo(void **state)
{
    static const int pieces[] = {LOOP_READ_BUFFER_BYTES, 40000, 16384, 1000, 1};
    static const size_t little = 200;
    (void)state;

    for (uint32_t suite = 0; suite <= SUITE_OF_OPENSSL; suite++)
        for (size_t i = 0; i < ARRAY_SIZE(pieces); i++)
            for (int is_compact = 0; is_compact < 2; is_compact++) {
                struct echo e = {.piece = pieces[i]};
                struct peer p = {.suite = suite, .talk = talk_all};
                if (pieces[i] == 1)
                    p.arg = &little; /* each byte becomes a record */
                run(&e, &p, is_compact != 0);
                assert_int_equal(e.end, STREAM_EOF);
                assert_int_equal(strncmp(e.described, "TLSv1.3/TLS_", 12), 0);
            }
}

/* Bytes of the wire as they are, behind a message that was right. */
struct forged {
    const char *hex; /* NULL: a good record, cut short */
    int alert;       /* what OpenSSL calls it; 0: none */
    const char *error;
};

static int talk_forged(struct peer *p, SSL *ssl)
{
    const struct forged *f = p->arg;
    uint8_t raw[600] = {0}, byte;
    size_t len = strlen(f->hex) / 2;

    EXPECT(say(ssl, 10));
    from_hex(f->hex, raw);
    len = f->error[0] == 'r' ? sizeof(raw) : len;
    EXPECT(write(p->fd, raw, len) == (ssize_t)len);
    if (f->alert == 0)
        shutdown(p->fd, SHUT_WR);
    EXPECT(SSL_read(ssl, &byte, 1) <= 0);
    unsigned long e = ERR_peek_error();
    EXPECT(f->alert == 0 || ERR_GET_REASON(e) == SSL_AD_REASON_OFFSET + f->alert);
    ERR_clear_error();
    return 0;
}

static void test_forged_records(void **state)
{
    static const struct forged rows[] = {
        {"170303001500112233445566778899aabbccddeeff0011223344", SSL_AD_BAD_RECORD_MAC, "decryption failed"},
        {"17030300021122", SSL_AD_BAD_RECORD_MAC, "decryption failed"}, /* no room for a tag */
        {"1703030000", SSL_AD_BAD_RECORD_MAC, "decryption failed"},
        {"1703034101", SSL_AD_RECORD_OVERFLOW, "record too long"},        /* one byte more than may be */
        {"140303000101", SSL_AD_UNEXPECTED_MESSAGE, "unexpected record"}, /* ChangeCipherSpec */
        {"16030300050000000000", SSL_AD_UNEXPECTED_MESSAGE, "unexpected record"},
        {"15030300020100", SSL_AD_UNEXPECTED_MESSAGE, "unexpected record"}, /* the end, in clear: anybody's */
        {"ff", 0, ""},             /* less than a header, and the end */
        {"1703030020aabb", 0, ""}, /* part of a record, and the end */
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct echo e = {0};
        struct peer p = {.suite = 1, .talk = talk_forged, .arg = &rows[i]};
        run(&e, &p, true);
        assert_int_equal(e.end, rows[i].alert != 0 ? STREAM_ERROR : STREAM_EOF);
        assert_int_equal(strncmp(e.error, rows[i].error, strlen(rows[i].error)), 0);
    }
}

/* What is right by its keys, and wrong by what it says: with a peer that makes its own records, too. */
struct spoken {
    uint8_t type;
    const char *hex;
    int alert; /* that comes back; -1: none, but the end */
};

static int talk_spoken(struct peer *p, SSL *ssl)
{
    const struct spoken *w = p->arg;
    const struct tls13_suite *suite = tls13_suite_find(suite_ids[1]);
    struct tls13_ciphers c = {0};
    struct tls13_keys out = {0}, in = {0};
    uint8_t record[600], type = 0;
    (void)ssl;

    EXPECT(tls13_keys_set(&out, suite, p->told.of_client) && tls13_keys_set(&in, suite, p->told.of_server));
    from_hex(w->hex, record + TLS13_HEADER_BYTES);
    uint32_t n = tls13_seal(&c, suite, &out, (enum tls13_type)w->type, record, (uint32_t)strlen(w->hex) / 2);
    EXPECT(write(p->fd, record, n) == (ssize_t)n);
    /* the ticket first, then what it says to us */
    int len = 0;
    do {
        if (recv(p->fd, record, TLS13_HEADER_BYTES, MSG_WAITALL) != TLS13_HEADER_BYTES)
            break;
        n = (uint32_t)record[3] << 8 | record[4];
        EXPECT(n <= sizeof(record) - TLS13_HEADER_BYTES);
        EXPECT(recv(p->fd, record + TLS13_HEADER_BYTES, n, MSG_WAITALL) == (ssize_t)n);
        len = tls13_open(&c, suite, &in, record, TLS13_HEADER_BYTES + n, &type);
        EXPECT(len >= 0);
    } while (type != TLS13_ALERT);
    tls13_ciphers_free(&c);
    if (w->alert < 0)
        EXPECT(type != TLS13_ALERT || record[TLS13_HEADER_BYTES + 1] == 0);
    else
        EXPECT(type == TLS13_ALERT && len == 2 && record[TLS13_HEADER_BYTES] == 2 &&
               record[TLS13_HEADER_BYTES + 1] == w->alert);
    return 0;
}

static void test_spoken_out_of_turn(void **state)
{
    static const struct spoken rows[] = {
        {TLS13_ALERT, "0100", -1}, /* the end */
        {TLS13_ALERT, "0228", -1}, /* an alert is not answered */
        {TLS13_ALERT, "01", SSL_AD_DECODE_ERROR},
        {TLS13_ALERT, "010001", SSL_AD_DECODE_ERROR},
        {TLS13_HANDSHAKE, "1800000102", SSL_AD_DECODE_ERROR},
        {TLS13_HANDSHAKE, "1800000200", SSL_AD_DECODE_ERROR},
        {TLS13_HANDSHAKE, "180000", SSL_AD_UNEXPECTED_MESSAGE},
        {TLS13_HANDSHAKE, "18000001001800000100",
         SSL_AD_UNEXPECTED_MESSAGE},                                /* keys change at the end of a record */
        {TLS13_HANDSHAKE, "0100000100", SSL_AD_UNEXPECTED_MESSAGE}, /* ClientHello: renegotiation */
        {TLS13_HANDSHAKE, "", SSL_AD_UNEXPECTED_MESSAGE},
        {99, "00", SSL_AD_UNEXPECTED_MESSAGE},
        {0, "", SSL_AD_BAD_RECORD_MAC}, /* nothing but padding */
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct echo e = {0};
        struct peer p = {.suite = 1, .talk = talk_spoken, .arg = &rows[i]};
        run(&e, &p, true);
        assert_int_equal(e.end, rows[i].alert == -1 && rows[i].hex[1] == '1' ? STREAM_EOF : STREAM_ERROR);
    }
}

/* Keys that are worn out are changed before the next record; the peer hardly notices. */
static void test_worn_out_keys(void **state)
{
    (void)state;
    for (uint32_t suite = 0; suite < ARRAY_SIZE(suite_ids); suite++) {
        struct echo e = {.max_records = 3};
        struct peer p = {.suite = suite, .talk = talk_all};
        run(&e, &p, true);
        assert_int_equal(e.end, STREAM_EOF);
        assert_true(e.max_seq <= 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_of_the_standard),
        cmocka_unit_test(test_seal_and_open),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_contexts_in_turn),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_key_updates_at_once),
        cmocka_unit_test(test_nothing_but_noise),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_forged_records),
        cmocka_unit_test(test_spoken_out_of_turn),
        cmocka_unit_test(test_worn_out_keys),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
