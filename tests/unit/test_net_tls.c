/*
 * test_net_tls.c - TLS to a server thread (OpenSSL, blocking) with certificates made here.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/stream.h"
#include "net/tls.h"
#include "tls_int.h"

/* --- certificates --- */

struct identity {
    EVP_PKEY *key;
    X509 *cert;
};

static char tmp_dir[] = "/tmp/net-test-XXXXXX";
static char ca_path[64], other_ca_path[64], cert_path[64], key_path[64];
static struct identity ca, other_ca, server;

static void extension_add(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

/* issuer NULL: a CA that signs itself. */
static struct identity identity_new(const char *name, const struct identity *issuer, const char *alt_names)
{
    static long serial = 1;
    struct identity id = {EVP_EC_gen("P-256"), X509_new()};
    X509_set_version(id.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(id.cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(id.cert), 86400);
    X509_set_pubkey(id.cert, id.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(id.cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    const struct identity *signer = issuer != NULL ? issuer : &id;
    X509_set_issuer_name(id.cert, X509_get_subject_name(signer->cert));
    extension_add(id.cert, signer->cert, NID_basic_constraints,
                  issuer != NULL ? "CA:FALSE" : "critical,CA:TRUE");
    if (alt_names != NULL)
        extension_add(id.cert, signer->cert, NID_subject_alt_name, alt_names);
    assert_true(X509_sign(id.cert, signer->key, EVP_sha256()) > 0);
    return id;
}

static void identity_free(struct identity *id)
{
    X509_free(id->cert);
    EVP_PKEY_free(id->key);
}

static void cert_write(const char *path, X509 *cert)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    PEM_write_X509(f, cert);
    fclose(f);
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(tmp_dir));
    snprintf(ca_path, sizeof(ca_path), "%s/ca.pem", tmp_dir);
    snprintf(other_ca_path, sizeof(other_ca_path), "%s/other.pem", tmp_dir);
    snprintf(cert_path, sizeof(cert_path), "%s/cert.pem", tmp_dir);
    snprintf(key_path, sizeof(key_path), "%s/key.pem", tmp_dir);
    ca = identity_new("test CA", NULL, NULL);
    other_ca = identity_new("other CA", NULL, NULL);
    server = identity_new("db.example.test", &ca, "DNS:db.example.test,IP:127.0.0.1,IP:::1");
    cert_write(ca_path, ca.cert);
    cert_write(other_ca_path, other_ca.cert);
    cert_write(cert_path, server.cert);
    FILE *f = fopen(key_path, "w");
    assert_non_null(f);
    PEM_write_PrivateKey(f, server.key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(ca_path), unlink(other_ca_path), unlink(cert_path), unlink(key_path);
    rmdir(tmp_dir);
    identity_free(&ca), identity_free(&other_ca), identity_free(&server);
    return 0;
}

/* --- the server --- */

enum behaviour { ECHO, SAY_AND_CLOSE, SAY_AND_VANISH, UPDATE_KEYS };

struct server_thread {
    pthread_t thread;
    int fd;
    enum behaviour behaviour;
    int max_version;
    bool saw_close_notify, is_connected;
    char sni[64];
};

static void server_echo(SSL *ssl, struct server_thread *t)
{
    static uint8_t buf[20000];
    int n;
    for (int turn = 0; (n = SSL_read(ssl, buf, sizeof(buf))) > 0; turn++) {
        if (t->behaviour == UPDATE_KEYS && turn % 5 == 0)
            SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
        if (SSL_write(ssl, buf, n) != n)
            return;
    }
    t->saw_close_notify = SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN;
    SSL_shutdown(ssl);
}

static void *server_main(void *arg)
{
    struct server_thread *t = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(ctx, server.cert);
    SSL_CTX_use_PrivateKey(ctx, server.key);
    SSL_CTX_set_max_proto_version(ctx, t->max_version);
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, t->fd);
    if (SSL_accept(ssl) == 1) {
        t->is_connected = true;
        const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
        snprintf(t->sni, sizeof(t->sni), "%s", sni != NULL ? sni : "");
        if (t->behaviour == ECHO || t->behaviour == UPDATE_KEYS)
            server_echo(ssl, t);
        else
            SSL_write(ssl, "hello", 5);
        if (t->behaviour == SAY_AND_CLOSE) {
            char c;
            SSL_shutdown(ssl);
            while (SSL_read(ssl, &c, 1) > 0)
                ;
        }
    }
    ERR_clear_error();
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(t->fd);
    return NULL;
}

/* --- the client --- */

struct client {
    struct stream stream; /* first */
    struct loop loop;
    struct server_thread server;
    int handshake; /* result of the last stream_tls_handshake() */
    char error[256];
    uint64_t received, expected;
    bool is_intact, is_slow;
    int end; /* STREAM_EOF or STREAM_ERROR, 0 */
    int drains;
};

static uint8_t pattern(uint64_t i)
{
    return (uint8_t)(i * 13 + (i >> 9));
}

static void client_handshake(struct client *c)
{
    c->handshake = stream_tls_handshake(&c->stream);
    if (c->handshake == STREAM_AGAIN)
        return;
    snprintf(c->error, sizeof(c->error), "%s", c->handshake == 1 ? "" : stream_tls_error());
    loop_stop(c->stream.loop);
}

/* A slow reader takes a few bytes and stops reading with plaintext left: starting again must bring it. */
static void client_read(struct client *c)
{
    struct stream *s = &c->stream;
    uint8_t *buf = s->loop->read_buffer;
    int n = stream_recv(s, buf, c->is_slow ? 700 : LOOP_READ_BUFFER_BYTES);
    if (n == STREAM_AGAIN)
        return;
    if (n < 0) {
        c->end = n;
        stream_read_stop(s);
        loop_stop(s->loop);
        return;
    }
    for (int i = 0; i < n; i++)
        if (buf[i] != pattern(c->received + (uint64_t)i))
            c->is_intact = false;
    c->received += (uint64_t)n;
    if (c->expected != 0 && c->received >= c->expected)
        loop_stop(s->loop);
    if (stream_has_unread(s)) {
        stream_read_stop(s);
        assert_false(stream_is_quiet(s));
        assert_true(stream_read_start(s));
    }
}

static void on_read(struct stream *s)
{
    struct client *c = container_of(s, struct client, stream);
    if (c->handshake == 1)
        client_read(c);
    else
        client_handshake(c);
}

static void on_drain(struct stream *s)
{
    struct client *c = container_of(s, struct client, stream);
    if (c->handshake == 1)
        c->drains++;
    else
        client_handshake(c);
}

static void on_error(struct stream *s, int err)
{
    fail_msg("sending failed: %s, %s", strerror(err), stream_tls_error());
    stream_close(s);
}

static const struct stream_ops ops = {on_read, on_drain, on_error};

static void no_mail(struct loop *loop, struct mail *m)
{
    (void)loop, (void)m;
}

static struct tls_context *context_new(const struct tls_options *o, char *err, size_t err_size)
{
    struct tls_maker m;
    tls_maker_init(&m);
    struct tls_context *ctx = tls_maker_get(&m, o, err, err_size);
    tls_maker_free(&m);
    return ctx;
}

/* Starts a server and shakes hands with it. */
static void client_open(struct client *c, const struct tls_options *o, const char *host,
                        enum behaviour behaviour, int max_version)
{
    int fds[2], small = 4096;
    char err[256] = "";
    memset(c, 0, sizeof(*c));
    c->is_intact = true;
    assert_true(loop_init(&c->loop, no_mail, NULL));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    c->server.fd = fds[1];
    c->server.behaviour = behaviour;
    c->server.max_version = max_version;
    struct tls_context *ctx = context_new(o, err, sizeof(err));
    assert_string_equal(err, "");
    assert_non_null(ctx);
    stream_init(&c->stream, &c->loop, fds[0], &ops);
    assert_true(stream_tls_start(&c->stream, ctx, host, 5432));
    tls_context_unref(ctx); /* the connection keeps what it needs */
    assert_int_equal(pthread_create(&c->server.thread, NULL, server_main, &c->server), 0);
    client_handshake(c);
    loop_run(&c->loop);
}

static void client_close(struct client *c)
{
    stream_close(&c->stream);
    pthread_join(c->server.thread, NULL);
    loop_destroy(&c->loop);
}

static const struct tls_options plain_options = {.ca_file = "",
                                                 .cert_file = "",
                                                 .key_file = "",
                                                 .protocols = "secure",
                                                 .ciphers = "default",
                                                 .tls13_ciphers = ""};

/* --- tests --- */

static const struct verify_row {
    enum tls_verify verify;
    const char *ca; /* ca_path or other_ca_path */
    const char *host;
    const char *error; /* NULL: must succeed */
    const char *sni;
} verify_rows[] = {
    {TLS_VERIFY_NONE, other_ca_path, "db.example.test", NULL, "db.example.test"},
    {TLS_VERIFY_NONE, other_ca_path, "127.0.0.1", NULL, ""},
    {TLS_VERIFY_NONE, other_ca_path, NULL, NULL, ""},
    {TLS_VERIFY_CA, ca_path, "elsewhere.example.test", NULL, "elsewhere.example.test"},
    {TLS_VERIFY_CA, other_ca_path, "db.example.test", "certificate verify failed: unable to get", NULL},
    {TLS_VERIFY_FULL, ca_path, "db.example.test", NULL, "db.example.test"},
    {TLS_VERIFY_FULL, ca_path, "DB.example.TEST", NULL, "DB.example.TEST"},
    {TLS_VERIFY_FULL, ca_path, "127.0.0.1", NULL, ""},
    {TLS_VERIFY_FULL, ca_path, "::1", NULL, ""},
    {TLS_VERIFY_FULL, ca_path, "127.0.0.2", "certificate verify failed: IP address mismatch", NULL},
    {TLS_VERIFY_FULL, ca_path, "evil.example.test", "certificate verify failed: hostname mismatch", NULL},
    {TLS_VERIFY_FULL, other_ca_path, "db.example.test", "certificate verify failed: unable to get", NULL},
};

static void test_verification(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(verify_rows) / sizeof(verify_rows[0]); i++) {
        const struct verify_row *row = &verify_rows[i];
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            struct tls_options o = plain_options;
            struct client c;
            char text[100];
            o.verify = row->verify;
            o.ca_file = row->ca;
            client_open(&c, &o, row->host, ECHO, version);
            stream_tls_describe(&c.stream, text, sizeof(text));
            if (row->error == NULL) {
                assert_string_equal(c.error, "");
                assert_int_equal(c.handshake, 1);
                assert_int_equal(strncmp(text, version == TLS1_2_VERSION ? "TLSv1.2/" : "TLSv1.3/", 8), 0);
            } else {
                assert_int_equal(c.handshake, STREAM_ERROR);
                assert_int_equal(strncmp(c.error, row->error, strlen(row->error)), 0);
                assert_string_equal(text, "");
            }
            client_close(&c);
            if (row->error == NULL) {
                assert_true(c.server.saw_close_notify);
                assert_string_equal(c.server.sni, row->sni);
            }
        }
    }
}

static void test_full_needs_host(void **state)
{
    (void)state;
    struct tls_options o = plain_options;
    struct loop loop;
    struct stream s;
    int fds[2];
    char err[256];
    o.verify = TLS_VERIFY_FULL;
    o.ca_file = ca_path;
    struct tls_context *ctx = context_new(&o, err, sizeof(err));
    assert_non_null(ctx);
    assert_true(loop_init(&loop, no_mail, NULL));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    stream_init(&s, &loop, fds[0], &ops);
    assert_false(stream_tls_start(&s, ctx, NULL, 5432));
    assert_non_null(strstr(stream_tls_error(), "host name"));
    stream_close(&s);
    close(fds[1]);
    loop_destroy(&loop);
    tls_context_unref(ctx);
}

/* Two million bytes both ways at once, in odd pieces, through tiny socket buffers, and key updates on the
 * way. */
static void test_large_both_ways(void **state)
{
    (void)state;
    enum { TOTAL = 2000000 };
    static uint8_t data[TOTAL];
    for (size_t i = 0; i < TOTAL; i++)
        data[i] = pattern(i);
    static const struct {
        enum behaviour behaviour;
        int version;
        bool is_slow;
    } cases[] = {
        {ECHO, TLS1_2_VERSION, false}, {ECHO, TLS1_3_VERSION, true}, {UPDATE_KEYS, TLS1_3_VERSION, false}};
    for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
        struct client c;
        client_open(&c, &plain_options, "db.example.test", cases[k].behaviour, cases[k].version);
        assert_int_equal(c.handshake, 1);
        c.is_slow = cases[k].is_slow;
        c.expected = TOTAL;
        for (uint32_t at = 0, step = 1; at < TOTAL; at += step, step = step * 5 % 49999 + 1) {
            if (step > TOTAL - at)
                step = TOTAL - at;
            uint32_t third = step / 3;
            struct iovec iov[4] = {{data + at, third},
                                   {data + at, 0},
                                   {data + at + third, third},
                                   {data + at + 2 * third, step - 2 * third}};
            assert_true(stream_sendv(&c.stream, iov, 4));
        }
        loop_run(&c.loop);
        assert_int_equal(c.received, TOTAL);
        assert_true(c.is_intact);
        assert_true(c.drains >= 1);
        assert_true(stream_is_drained(&c.stream));
        client_close(&c);
        assert_true(c.server.saw_close_notify);
    }
}

static void test_ends(void **state)
{
    (void)state;
    static const enum behaviour behaviours[] = {SAY_AND_CLOSE, SAY_AND_VANISH};
    for (size_t i = 0; i < 2; i++) {
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            struct client c;
            client_open(&c, &plain_options, "db.example.test", behaviours[i], version);
            assert_int_equal(c.handshake, 1);
            if (c.end == 0) /* it may have come with the end of the handshake */
                loop_run(&c.loop);
            assert_int_equal(c.received, 5);
            assert_int_equal(c.end, STREAM_EOF);
            client_close(&c);
        }
    }
}

/* Half-close: what was sent before arrives, the answer can still be read, then the end. */
static void test_shutdown_write(void **state)
{
    (void)state;
    enum { TOTAL = 100000 };
    static uint8_t data[TOTAL];
    for (size_t i = 0; i < TOTAL; i++)
        data[i] = pattern(i);
    struct client c;
    client_open(&c, &plain_options, "db.example.test", ECHO, TLS1_3_VERSION);
    assert_true(stream_send(&c.stream, data, TOTAL));
    stream_shutdown_write(&c.stream);
    loop_run(&c.loop);
    assert_int_equal(c.end, STREAM_EOF);
    assert_int_equal(c.received, TOTAL);
    assert_true(c.is_intact);
    client_close(&c);
    assert_true(c.server.saw_close_notify);
}

static void test_move(void **state)
{
    (void)state;
    struct loop second;
    struct client c;
    uint8_t data[300];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = pattern(i);
    client_open(&c, &plain_options, "db.example.test", ECHO, TLS1_3_VERSION);
    assert_true(loop_init(&second, no_mail, NULL));
    assert_true(stream_is_quiet(&c.stream));
    stream_detach(&c.stream);
    assert_true(stream_attach(&c.stream, &second));
    c.expected = sizeof(data);
    assert_true(stream_send(&c.stream, data, sizeof(data)));
    loop_run(&second);
    assert_int_equal(c.received, sizeof(data));
    assert_true(c.is_intact);
    client_close(&c);
    loop_destroy(&second);
}

/* The other side speaks no TLS at all. */
static void test_garbage(void **state)
{
    (void)state;
    struct client c = {0};
    char err[256] = "";
    int fds[2];
    struct tls_context *ctx = context_new(&plain_options, err, sizeof(err));
    assert_non_null(ctx);
    assert_true(loop_init(&c.loop, no_mail, NULL));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    stream_init(&c.stream, &c.loop, fds[0], &ops);
    assert_true(stream_tls_start(&c.stream, ctx, "db.example.test", 5432));
    assert_int_equal(write(fds[1], "EFATAL: no thanks\n", 18), 18);
    client_handshake(&c);
    if (c.handshake == STREAM_AGAIN)
        loop_run(&c.loop);
    assert_int_equal(c.handshake, STREAM_ERROR);
    assert_true(c.error[0] != '\0');
    stream_close(&c.stream);
    close(fds[1]);
    tls_context_unref(ctx);
    loop_destroy(&c.loop);
}

static const struct context_row {
    const char *ca, *cert, *key, *protocols, *ciphers, *tls13;
    const char *error; /* NULL: fine */
} context_rows[] = {
    {"", "", "", "", "", "", NULL},
    {"", "", "", "secure", "default", "", NULL},
    {"", "", "", "tlsv1.2", "secure", "", NULL},
    {"", "", "", "TLSv1.3", "fast", "TLS_AES_256_GCM_SHA384", NULL},
    {"", "", "", "all,!tlsv1.0:!tlsv1.1", "normal", "", NULL},
    {"", "", "", "!tlsv1.0 !tlsv1.1", "all", "", NULL},
    {"", "", "", "legacy", "HIGH", "", NULL},
    {"", "", "", "tlsv9", "", "", "invalid TLS protocols \"tlsv9\""},
    {"", "", "", "secure,!secure", "", "", "invalid TLS protocols"},
    {"", "", "", "secure", "no-such-cipher", "", "invalid TLS ciphers \"no-such-cipher\""},
    {"", "", "", "secure", "", "no-such-cipher", "invalid TLS 1.3 ciphers"},
    {ca_path, cert_path, key_path, "secure", "", "", NULL},
    {"/nonexistent", "", "", "secure", "", "", "could not load CA file \"/nonexistent\""},
    {"", "/nonexistent", key_path, "secure", "", "", "could not load certificate file \"/nonexistent\""},
    {"", cert_path, "/nonexistent", "secure", "", "", "could not load key file \"/nonexistent\""},
    {"", "", key_path, "secure", "", "", "TLS key file"},
    {"", ca_path, key_path, "secure", "", "", "could not load key file"},
};

static void test_contexts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(context_rows) / sizeof(context_rows[0]); i++) {
        const struct context_row *row = &context_rows[i];
        char err[256] = "";
        struct tls_options o = {.verify = TLS_VERIFY_CA,
                                .ca_file = row->ca,
                                .cert_file = row->cert,
                                .key_file = row->key,
                                .protocols = row->protocols,
                                .ciphers = row->ciphers,
                                .tls13_ciphers = row->tls13};
        struct tls_context *ctx = context_new(&o, err, sizeof(err));
        if (row->error == NULL) {
            assert_string_equal(err, "");
            assert_non_null(ctx);
            assert_ptr_equal(tls_context_ref(ctx), ctx);
            tls_context_unref(ctx);
        } else {
            assert_null(ctx);
            assert_int_equal(strncmp(err, row->error, strlen(row->error)), 0);
        }
        tls_context_unref(ctx);
        assert_int_equal(ERR_peek_error(), 0);
    }
}

/* --- as server --- */

/* A client on OpenSSL, blocking: shakes hands, says hello, and waits for the end. */
struct peer_thread {
    pthread_t thread;
    int fd;
    const struct identity *identity; /* NULL: shows no certificate */
};

static void *peer_main(void *arg)
{
    struct peer_thread *t = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    char byte;

    if (t->identity != NULL) {
        SSL_CTX_use_certificate(ctx, t->identity->cert);
        SSL_CTX_use_PrivateKey(ctx, t->identity->key);
    }
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, t->fd);
    if (SSL_connect(ssl) == 1 && SSL_write(ssl, "hello", 5) == 5)
        while (SSL_read(ssl, &byte, 1) > 0)
            ;
    ERR_clear_error();
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(t->fd);
    return NULL;
}

static const struct accept_row {
    enum tls_verify verify;
    int peer; /* 0: no certificate, 1: of the CA, 2: of another, 3: of the CA, with a NUL in its name */
    const char *error; /* NULL: lets it in */
    const char *cn;    /* NULL: proves nothing */
} accept_rows[] = {
    {TLS_VERIFY_NONE, 0, NULL, NULL},
    {TLS_VERIFY_NONE, 1, NULL, NULL},
    {TLS_VERIFY_OPTIONAL, 0, NULL, NULL},
    {TLS_VERIFY_OPTIONAL, 1, NULL, "somebody"},
    {TLS_VERIFY_OPTIONAL, 2, NULL, NULL},
    {TLS_VERIFY_OPTIONAL, 3, NULL, NULL},
    {TLS_VERIFY_CA, 0, "peer did not return a certificate", NULL},
    {TLS_VERIFY_CA, 1, NULL, "somebody"},
    {TLS_VERIFY_CA, 2, "certificate verify failed", NULL},
    {TLS_VERIFY_FULL, 1, NULL, "somebody"},
};

/* The beginning of the handshake has been read before it is known to be one; what is said right behind it is
 * not lost. */
static void test_accept(void **state)
{
    (void)state;
    struct identity peers[] = {
        {NULL, NULL},
        identity_new("somebody", &ca, NULL),
        identity_new("somebody", &other_ca, NULL),
        identity_new("some", &ca, NULL),
    };
    X509_NAME_add_entry_by_txt(X509_get_subject_name(peers[3].cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"x\0y", 3, 0, 0);
    X509_NAME_ENTRY_free(X509_NAME_delete_entry(X509_get_subject_name(peers[3].cert), 1));
    assert_true(X509_sign(peers[3].cert, ca.key, EVP_sha256()) > 0);
    for (size_t i = 0; i < sizeof(accept_rows) / sizeof(accept_rows[0]); i++) {
        const struct accept_row *row = &accept_rows[i];
        struct tls_options o = plain_options;
        struct client c = {.is_intact = true};
        struct peer_thread peer = {.identity = row->peer > 0 ? &peers[row->peer] : NULL};
        char err[256] = "", first[7], cn[64] = "";
        int fds[2];
        o.side = TLS_SERVER;
        o.verify = row->verify;
        o.ca_file = ca_path;
        o.cert_file = cert_path;
        o.key_file = key_path;
        struct tls_context *ctx = context_new(&o, err, sizeof(err));
        assert_string_equal(err, "");
        assert_true(loop_init(&c.loop, no_mail, NULL));
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        peer.fd = fds[1];
        assert_int_equal(pthread_create(&peer.thread, NULL, peer_main, &peer), 0);
        assert_int_equal(recv(fds[0], first, sizeof(first), MSG_WAITALL), sizeof(first));
        stream_init(&c.stream, &c.loop, fds[0], &ops);
        assert_false(stream_is_tls(&c.stream));
        assert_true(stream_tls_accept(&c.stream, ctx, first, sizeof(first)));
        assert_true(stream_is_tls(&c.stream) && !stream_tls_has_alpn(&c.stream));
        tls_context_unref(ctx);
        c.expected = 5;
        client_handshake(&c);
        if (c.handshake == STREAM_AGAIN)
            loop_run(&c.loop);
        if (row->error == NULL) {
            assert_string_equal(c.error, "");
            if (c.received < 5)
                loop_run(&c.loop);
            assert_int_equal(c.received, 5);
        } else {
            assert_int_equal(c.handshake, STREAM_ERROR);
            assert_int_equal(strncmp(c.error, row->error, strlen(row->error)), 0);
        }
        assert_int_equal(stream_peer_cn(&c.stream, cn, sizeof(cn)), row->cn != NULL);
        assert_string_equal(cn, row->cn != NULL ? row->cn : "");
        assert_false(row->cn != NULL && stream_peer_cn(&c.stream, cn, strlen(row->cn)));
        stream_close(&c.stream);
        pthread_join(peer.thread, NULL);
        loop_destroy(&c.loop);
    }
    for (size_t i = 1; i < 4; i++)
        identity_free(&peers[i]);
}

static struct tls_context *made(struct tls_maker *m, const struct tls_options *o)
{
    char err[256] = "";
    struct tls_context *ctx = tls_maker_get(m, o, err, sizeof(err));
    assert_string_equal(err, "");
    assert_non_null(ctx);
    return ctx;
}

/* A context is taken over when nothing has changed, down to the contents of the files; CA files are shared.
 */
static void test_maker(void **state)
{
    (void)state;
    struct tls_options o = plain_options, other;
    struct tls_maker m;
    o.verify = TLS_VERIFY_CA;
    o.ca_file = ca_path;
    other = o;
    other.verify = TLS_VERIFY_FULL;

    tls_maker_init(&m);
    struct tls_context *a = made(&m, &o), *same = made(&m, &o), *b = made(&m, &other);
    assert_ptr_equal(a, same);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(a->authorities, b->authorities);
    tls_context_unref(same);
    tls_maker_free(&m);

    tls_maker_init(&m); /* a reload */
    tls_maker_know(&m, NULL);
    tls_maker_know(&m, a);
    tls_maker_know(&m, a);
    tls_maker_know(&m, b);
    assert_int_equal(m.n_known, 2);
    same = made(&m, &o);
    assert_ptr_equal(a, same);
    tls_context_unref(same);
    struct tls_context *changed[2]; /* in one byte of a file */
    for (int i = 0; i < 2; i++) {
        cert_write(ca_path, ca.cert);
        FILE *f = fopen(ca_path, "a");
        fprintf(f, "# %d\n", i);
        fclose(f);
        changed[i] = made(&m, &o);
    }
    assert_ptr_not_equal(a, changed[0]);
    assert_ptr_not_equal(changed[0], changed[1]);
    assert_ptr_not_equal(changed[0]->authorities, changed[1]->authorities);
    tls_context_unref(changed[0]);
    tls_context_unref(changed[1]);
    cert_write(ca_path, ca.cert);
    tls_maker_free(&m);
    tls_context_unref(a);
    tls_context_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verification),    cmocka_unit_test(test_full_needs_host),
        cmocka_unit_test(test_large_both_ways), cmocka_unit_test(test_ends),
        cmocka_unit_test(test_shutdown_write),  cmocka_unit_test(test_move),
        cmocka_unit_test(test_garbage),         cmocka_unit_test(test_accept),
        cmocka_unit_test(test_maker),           cmocka_unit_test(test_contexts),
    };
    signal(SIGPIPE, SIG_IGN);
    alarm(120);
    return cmocka_run_group_tests(tests, setup, teardown);
}
