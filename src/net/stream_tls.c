/*
 * stream_tls.c - the TLS transport: OpenSSL between the stream's bytes and ours.
 *
 * OpenSSL never sees the descriptor; a BIO of ours stands in between. What is received goes from one recv()
 * into a buffer that the loop's TLS streams share, and from there into OpenSSL, record by record: one system
 * call for many records, and none that only finds that there is no more. What OpenSSL does not take
 * (bytes behind the handshake; a reader with a small buffer) is kept with the stream.
 *
 * What OpenSSL writes during one call of ours is gathered in the other shared buffer and goes to the kernel
 * at once when the call ends, and what the kernel does not take to the stream's pending output: so for
 * OpenSSL writing never blocks. With OpenSSL on the bare descriptor a record can be stuck half-sent, and a
 * key update that the peer asks for at that moment kills the connection ("bad length"): its answer may not be
 * written before the rest of the record. Not to read until then would be no cure, as the peer may be blocked
 * sending to us.
 *
 * An idle connection holds no buffer: the shared ones are the loop's, and OpenSSL frees its own
 * (SSL_MODE_RELEASE_BUFFERS).
 *
 * After a fatal error OpenSSL's object may only be freed: quiet shutdown marks it, so that
 * nothing more is written.
 *
 * Threads: the stream's owner; the error text is per thread.
 * Not here: contexts (tls.c).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/str.h"
#include "stream_tls_int.h"

/* Where the sessions go that a server gives us. */
struct tls_client {
    struct tls_context *context; /* a reference */
    char server[TLS_SERVER_NAME_BYTES];
};

static _Thread_local char last_error[256];

const char *stream_tls_error(void)
{
    return last_error;
}

void tls_note_error(const char *text)
{
    str_copy(last_error, text, sizeof(last_error));
}

void tls_out_of_memory(void)
{
    tls_note_error("out of memory");
    errno = ENOMEM;
}

/* Why a call has failed for good; sets last_error and errno. */
static void failure_note(SSL *ssl, int ssl_error, int err)
{
    long verify = SSL_get_verify_result(ssl);
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    if (SSL_in_init(ssl) && verify != X509_V_OK && (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) != 0)
        snprintf(last_error, sizeof(last_error), "certificate verify failed: %s",
                 X509_verify_cert_error_string(verify));
    else if (reason != NULL)
        str_copy(last_error, reason, sizeof(last_error));
    else if (ssl_error == SSL_ERROR_SYSCALL && err != 0)
        str_copy(last_error, strerror(err), sizeof(last_error));
    else
        str_copy(last_error, "TLS connection closed unexpectedly", sizeof(last_error));
    ERR_clear_error();
    SSL_set_quiet_shutdown(ssl, 1);
    errno = ssl_error == SSL_ERROR_SYSCALL && err != 0 ? err : EPROTO;
}

/* --- bytes below OpenSSL --- */

/* Leftovers in OpenSSL's queue of errors would be taken for those of our call. */
static inline void errors_clear(void)
{
    if (unlikely(ERR_peek_error() != 0))
        ERR_clear_error();
    errno = 0;
}

struct tls_buffers *tls_enter(struct stream *s)
{
    struct loop *loop = s->loop;

    s->tls->stream = s;
    if (unlikely(loop->tls_buffers == NULL)) {
        loop->tls_buffers = calloc(1, sizeof(*loop->tls_buffers));
        if (loop->tls_buffers == NULL) {
            tls_out_of_memory();
            return NULL;
        }
    }
    loop->tls_buffers->out_len = 0;
    return loop->tls_buffers;
}

bool tls_flush(struct stream *s, struct tls_buffers *b)
{
    struct iovec iov = {b->out, b->out_len};

    if (b->out_len == 0)
        return true;
    b->out_len = 0;
    if (stream_send_raw(s, &iov, 1))
        return true;
    str_copy(last_error, strerror(errno), sizeof(last_error));
    return false;
}

/* Shows OpenSSL what was kept, or what comes from the socket. Bytes, or STREAM_AGAIN, STREAM_EOF,
 * STREAM_ERROR. */
static int input_begin(struct stream *s, struct tls_buffers *b, int max_bytes)
{
    struct stream_tls *t = s->tls;

    if (unlikely(t->kept != NULL)) {
        t->in = t->kept + t->kept_at;
        t->in_len = t->kept_len;
        return (int)t->in_len;
    }
    /* room for a record of which OpenSSL has the beginning already */
    int n = max_bytes > 2 * TLS_RECORD_BYTES ? max_bytes - TLS_RECORD_BYTES : max_bytes;
    if (n > (int)sizeof(b->in))
        n = sizeof(b->in);
    n = stream_raw_transport.recv(s, b->in, n);
    t->in = b->in;
    t->in_len = n > 0 ? (uint32_t)n : 0;
    return n;
}

/* Keeps what OpenSSL has not taken. */
static bool input_end(struct stream_tls *t)
{
    uint32_t left = t->in_len;

    t->in_len = 0;
    if (likely(t->kept == NULL && left == 0))
        return true;
    if (t->kept == NULL) {
        t->kept = malloc(left);
        if (t->kept == NULL) {
            tls_out_of_memory();
            return false;
        }
        memcpy(t->kept, t->in, left);
        t->kept_at = 0;
    } else {
        t->kept_at += t->kept_len - left;
    }
    t->kept_len = left;
    if (left == 0) {
        free(t->kept);
        t->kept = NULL;
    }
    return true;
}

/* --- receiving --- */

/* Turns a failed SSL_read() into a result. */
static int read_failed(struct stream_tls *t, int ret)
{
    int err = errno;
    int ssl_error = SSL_get_error(t->ssl, ret);

    if (ssl_error == SSL_ERROR_WANT_READ)
        return STREAM_AGAIN;
    if (ssl_error == SSL_ERROR_ZERO_RETURN)
        return STREAM_EOF;
    failure_note(t->ssl, ssl_error, err);
    return STREAM_ERROR;
}

/* Decrypts into buf what there is room for: bytes, with *result STREAM_AGAIN, or why there are no more. */
static int decrypt(struct stream_tls *t, uint8_t *buf, int len_bytes, int *result)
{
    int total = 0;

    *result = STREAM_AGAIN;
    while (total < len_bytes) {
        errors_clear();
        int n = SSL_read(t->ssl, buf + total, len_bytes - total);
        if (n <= 0) {
            *result = read_failed(t, n);
            break;
        }
        total += n;
        if (t->in_len == 0 && SSL_pending(t->ssl) == 0)
            break;
    }
    return total;
}

static int tls_recv(struct stream *s, void *buf, int len_bytes)
{
    struct stream_tls *t = s->tls;
    struct tls_buffers *b = tls_enter(s);
    int result;

    if (b == NULL)
        return STREAM_ERROR;
    if (unlikely(t->end != TLS_OPEN)) {
        errno = EPROTO;
        return t->end == TLS_ENDED ? STREAM_EOF : STREAM_ERROR;
    }
    if (t->kept != NULL || SSL_pending(t->ssl) == 0) {
        result = input_begin(s, b, len_bytes);
        if (result <= 0)
            return result; /* an end without a goodbye in TLS is an end, too: messages have their own lengths
                            */
    }
    int total = decrypt(t, buf, len_bytes, &result);
    if (!input_end(t) || !tls_flush(s, b))
        result = STREAM_ERROR;
    if (result == STREAM_AGAIN)
        return total > 0 ? total : STREAM_AGAIN;
    t->end = result == STREAM_EOF ? TLS_ENDED : TLS_FAILED;
    if (total == 0)
        return result;
    /* the end, or a failure, behind the data: no event will come for it, so we make one */
    if (s->is_reading)
        event_active(&s->read_event, EV_READ, 1);
    return total;
}

static bool tls_has_unread(const struct stream *s)
{
    const struct stream_tls *t = s->tls;
    return t->kept != NULL || t->end != TLS_OPEN || SSL_pending(t->ssl) > 0;
}

/* --- sending --- */

/* Where a walk over the pieces stands. */
struct cursor {
    const struct iovec *iov;
    int n;
    int index;
    size_t offset;
};

/* The next bytes to write: in place when a piece is large or the last one, else small pieces gathered into
 * one record. NULL at the end. */
static const void *cursor_gather(const struct cursor *c, uint8_t *scratch, size_t *len)
{
    int i = c->index;
    size_t offset = c->offset;
    while (i < c->n && offset == c->iov[i].iov_len) {
        i++;
        offset = 0;
    }
    if (i == c->n)
        return NULL;
    const uint8_t *first = (const uint8_t *)c->iov[i].iov_base + offset;
    size_t first_len = c->iov[i].iov_len - offset;
    if (i == c->n - 1 || first_len >= TLS_RECORD_BYTES) {
        *len = first_len < INT_MAX ? first_len : INT_MAX;
        return first;
    }
    size_t have = 0;
    for (; i < c->n && have < TLS_RECORD_BYTES; i++, offset = 0) {
        size_t take = c->iov[i].iov_len - offset;
        if (take > TLS_RECORD_BYTES - have)
            take = TLS_RECORD_BYTES - have;
        memcpy(scratch + have, (const uint8_t *)c->iov[i].iov_base + offset, take);
        have += take;
    }
    *len = have;
    return scratch;
}

static void cursor_advance(struct cursor *c, size_t bytes)
{
    while (bytes > 0) {
        size_t left = c->iov[c->index].iov_len - c->offset;
        size_t step = bytes < left ? bytes : left;
        c->offset += step;
        bytes -= step;
        if (c->offset == c->iov[c->index].iov_len && bytes > 0) {
            c->index++;
            c->offset = 0;
        }
    }
}

static bool tls_sendv(struct stream *s, const struct iovec *iov, int n)
{
    uint8_t scratch[TLS_RECORD_BYTES];
    struct cursor c = {iov, n, 0, 0};
    struct stream_tls *t = s->tls;
    struct tls_buffers *b = tls_enter(s);
    size_t len;
    const void *data;

    if (b == NULL)
        return false;
    while ((data = cursor_gather(&c, scratch, &len)) != NULL) {
        errors_clear();
        int written = SSL_write(t->ssl, data, (int)len);
        if (unlikely(written <= 0)) {
            int err = errno;
            failure_note(t->ssl, SSL_get_error(t->ssl, written), err);
            return false;
        }
        cursor_advance(&c, (size_t)written);
    }
    return tls_flush(s, b);
}

/* Says goodbye in TLS, once. */
static void tls_send_end(struct stream *s)
{
    SSL *ssl = s->tls->ssl;
    struct tls_buffers *b = s->loop != NULL ? tls_enter(s) : NULL;

    if (SSL_in_init(ssl) || (SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN) != 0 ||
        (b == NULL && s->loop != NULL))
        return;
    ERR_clear_error();
    SSL_shutdown(ssl);
    ERR_clear_error();
    if (b != NULL)
        (void)!tls_flush(s, b);
}

static void client_free(struct tls_client *c)
{
    if (c == NULL)
        return;
    tls_context_unref(c->context);
    free(c);
}

static void tls_free(struct stream *s)
{
    SSL_free(s->tls->ssl);
    tls13_free(s);
    tls_secrets_free(s->tls);
    tls_result_free(s->tls);
    client_free(s->tls->client);
    free(s->tls->kept);
    free(s->tls);
    s->tls = NULL;
}

static void tls_close(struct stream *s)
{
    /* Behind pending output, which is dropped now, it would not arrive. */
    if (s->output == NULL)
        tls_send_end(s);
    tls_free(s);
}

static const struct transport tls_transport = {
    .recv = tls_recv,
    .sendv = tls_sendv,
    .has_unread = tls_has_unread,
    .send_end = tls_send_end,
    .shutdown = stream_raw_shutdown,
    .close = tls_close,
};

/* --- the BIO below OpenSSL --- */

static int stream_bio_read(BIO *bio, char *data, int len_bytes)
{
    struct stream_tls *t = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (t->in_len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (len_bytes > (int)t->in_len)
        len_bytes = (int)t->in_len;
    memcpy(data, t->in, (size_t)len_bytes);
    t->in += len_bytes;
    t->in_len -= (uint32_t)len_bytes;
    return len_bytes;
}

static int stream_bio_write(BIO *bio, const char *data, int len_bytes)
{
    struct stream_tls *t = BIO_get_data(bio);
    struct stream *s = t->stream;

    if (len_bytes <= 0)
        return 0;
    if (s->loop == NULL) /* detached and being closed: as far as it goes */
        return send(s->fd, data, (size_t)len_bytes, MSG_NOSIGNAL) >= 0 ? len_bytes : -1;
    struct tls_buffers *b = s->loop->tls_buffers;
    if ((size_t)len_bytes > sizeof(b->out) - b->out_len) {
        tls_secrets_free(
            t); /* count_records() would miss some, and a number used twice gives the keys away */
        if (!tls_flush(s, b))
            return -1;
    }
    if ((size_t)len_bytes > sizeof(b->out)) {
        struct iovec iov = {(void *)data, (size_t)len_bytes};
        return stream_send_raw(s, &iov, 1) ? len_bytes : -1;
    }
    memcpy(b->out + b->out_len, data, (size_t)len_bytes);
    b->out_len += (uint32_t)len_bytes;
    return len_bytes;
}

static long stream_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio, (void)num, (void)ptr;
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *stream_bio_method;

static void stream_bio_method_make(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    if (m == NULL)
        return;
    BIO_meth_set_read(m, stream_bio_read);
    BIO_meth_set_write(m, stream_bio_write);
    BIO_meth_set_ctrl(m, stream_bio_ctrl);
    stream_bio_method = m; /* for the life of the process */
}

static bool bio_set(SSL *ssl, struct stream_tls *t)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    if (CRYPTO_THREAD_run_once(&once, stream_bio_method_make) != 1 || stream_bio_method == NULL)
        return false;
    BIO *bio = BIO_new(stream_bio_method);
    if (bio == NULL)
        return false;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio); /* takes over the one reference */
    return true;
}

/* --- beginning --- */

/* Names the peer to SNI and to verification. */
static bool host_set(SSL *ssl, const struct tls_context *ctx, const char *host)
{
    struct in6_addr ip;
    bool has_host = host != NULL && host[0] != '\0';
    bool is_ip = has_host && (inet_pton(AF_INET, host, &ip) == 1 || inet_pton(AF_INET6, host, &ip) == 1);
    if (has_host && !is_ip && SSL_set_tlsext_host_name(ssl, host) != 1)
        return false;
    if (ctx->verify != TLS_VERIFY_FULL)
        return true;
    if (!has_host) {
        str_copy(last_error, "verify-full needs a host name", sizeof(last_error));
        return false;
    }
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return (is_ip ? X509_VERIFY_PARAM_set1_ip_asc(param, host)
                  : X509_VERIFY_PARAM_set1_host(param, host, 0)) == 1;
}

/* An SSL on the stream, which is neither client nor server yet. NULL with last_error. */
static SSL *begin(struct stream *s, const struct tls_context *ctx)
{
    ERR_clear_error();
    str_copy(last_error, "could not set up TLS", sizeof(last_error));
    struct stream_tls *t = calloc(1, sizeof(*t));
    SSL *ssl = t != NULL ? SSL_new(ctx->ctx) : NULL;
    if (ssl != NULL && bio_set(ssl, t)) {
        t->ssl = ssl;
        t->stream = s;
        s->tls = t;
        s->transport = &tls_transport;
        return ssl;
    }
    ERR_clear_error();
    SSL_free(ssl);
    free(t);
    return NULL;
}

int stream_tls_new_session_cb(SSL *ssl, SSL_SESSION *session)
{
    struct stream_tls *t = BIO_get_data(SSL_get_rbio(ssl));

    if (t->client == NULL || !SSL_SESSION_is_resumable(session))
        return 0;
    tls_sessions_put(t->client->context->sessions, t->client->server, session);
    return 1; /* the reference is ours */
}

/* Takes up the last session with this server, and keeps a place for the next one. */
static bool session_set(struct stream_tls *t, struct tls_context *ctx, const char *host, int port)
{
    struct tls_client *c = malloc(sizeof(*c));

    if (c == NULL)
        return false;
    c->context = tls_context_ref(ctx);
    snprintf(c->server, sizeof(c->server), "%s:%d", host != NULL ? host : "", port);
    t->client = c;
    SSL_SESSION *session = tls_sessions_take(ctx->sessions, c->server);
    if (session != NULL && SSL_set_session(t->ssl, session) != 1)
        ERR_clear_error(); /* a full handshake, then */
    if (session != NULL && SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION)
        tls_sessions_put(ctx->sessions, c->server, session); /* good for many, and not given anew each time */
    else
        SSL_SESSION_free(session);
    return true;
}

bool stream_tls_start(struct stream *s, struct tls_context *ctx, const char *host, int port)
{
    SSL *ssl = begin(s, ctx);

    if (ssl == NULL)
        return false;
    if (!host_set(ssl, ctx, host) || !session_set(s->tls, ctx, host, port)) {
        ERR_clear_error();
        stream_tls_give_up(s);
        return false;
    }
    SSL_set_connect_state(ssl);
    return true;
}

bool stream_tls_accept(struct stream *s, const struct tls_context *ctx, const void *data, uint32_t len_bytes)
{
    uint8_t *kept = len_bytes > 0 ? malloc(len_bytes) : NULL;
    SSL *ssl = len_bytes == 0 || kept != NULL ? begin(s, ctx) : NULL;

    if (ssl == NULL) {
        free(kept);
        return false;
    }
    if (kept != NULL)
        memcpy(kept, data, len_bytes);
    s->tls->kept = kept;
    s->tls->kept_len = len_bytes;
    s->tls->wants_kernel = ctx->is_in_kernel;
    SSL_set_accept_state(ssl);
    return true;
}

void stream_tls_login(struct stream *s, bool is_on)
{
    if (s->tls == NULL)
        return;
    if (!is_on)
        tls_result_free(s->tls);
    if (s->tls->ssl != NULL && is_on)
        SSL_set_options(s->tls->ssl, SSL_OP_CLEANSE_PLAINTEXT);
    else if (s->tls->ssl != NULL)
        SSL_clear_options(s->tls->ssl, SSL_OP_CLEANSE_PLAINTEXT);
}

void tls_buffers_free(struct tls_buffers *b)
{
    if (b == NULL)
        return;
    tls13_ciphers_free(&b->ciphers);
    free(b);
}

void stream_tls_give_up(struct stream *s)
{
    tls_free(s);
    s->transport = &stream_raw_transport;
}

/* Records among what OpenSSL has written that are encrypted. When a handshake ends these are the tickets: the
 * server's own part of it has been sent before, as the client's has come in answer to it. */
static uint32_t count_records(const struct tls_buffers *b)
{
    uint32_t n = 0;

    for (uint32_t at = 0; at + TLS13_HEADER_BYTES <= b->out_len;
         at += TLS13_HEADER_BYTES + ((uint32_t)b->out[at + 3] << 8 | b->out[at + 4]))
        n += b->out[at] == TLS13_DATA;
    return n;
}

/* One turn of the handshake with the bytes that there are. */
static int handshake_step(struct stream *s, struct tls_buffers *b)
{
    struct stream_tls *t = s->tls;
    int n = input_begin(s, b, TLS_RECORD_BYTES);

    if (n == STREAM_AGAIN && (SSL_is_server(t->ssl) || SSL_get_state(t->ssl) != TLS_ST_BEFORE))
        return STREAM_AGAIN;
    if (n == STREAM_EOF || n == STREAM_ERROR) {
        str_copy(last_error, n == STREAM_EOF ? "the peer closed the connection" : strerror(errno),
                 sizeof(last_error));
        return n;
    }
    errors_clear();
    int ret = SSL_do_handshake(t->ssl);
    int err = errno, result = 1;
    if (ret != 1) {
        int ssl_error = SSL_get_error(t->ssl, ret);
        result = ssl_error == SSL_ERROR_WANT_READ ? STREAM_AGAIN : STREAM_ERROR;
        if (result == STREAM_ERROR)
            failure_note(t->ssl, ssl_error, err);
    }
    uint32_t n_sent = count_records(b);
    /* an alert goes out in any case, and a failure keeps its reason */
    bool is_sent = tls_flush(s, b);
    if (result == STREAM_ERROR)
        return result;
    if (!input_end(t) || !is_sent)
        return STREAM_ERROR;
    if (result == 1 && t->secrets != NULL)
        tls13_take_over(s, n_sent);
    return result;
}

int stream_tls_handshake(struct stream *s)
{
    struct tls_buffers *b = tls_enter(s);
    int result = b != NULL ? handshake_step(s, b) : STREAM_ERROR;

    if (result == STREAM_ERROR || result == STREAM_EOF)
        return result;
    bool was_reading = s->is_reading;
    if (!stream_read_start(s))
        return STREAM_ERROR;
    if (result == 1 && was_reading && s->transport->has_unread(s))
        event_active(&s->read_event, EV_READ, 1);
    return result;
}

/* --- what is known of the connection --- */

void stream_tls_describe(const struct stream *s, char *out, size_t size)
{
    if (size == 0)
        return;
    out[0] = '\0';
    if (s->tls != NULL && s->tls->compact != NULL)
        snprintf(out, size, "TLSv1.3/%s%s", tls13_cipher_name(s->tls),
                 s->tls->compact->is_in_kernel ? "/kernel" : "");
    else if (s->tls != NULL && !SSL_in_init(s->tls->ssl))
        snprintf(out, size, "%s/%s", SSL_get_version(s->tls->ssl), SSL_get_cipher_name(s->tls->ssl));
}

bool stream_tls_is_resumed(const struct stream *s)
{
    if (s->tls == NULL || s->tls->ssl == NULL)
        return s->tls != NULL && s->tls->result != NULL && s->tls->result->is_resumed;
    return SSL_session_reused(s->tls->ssl) == 1;
}

bool stream_tls_has_alpn(const struct stream *s)
{
    const unsigned char *name = NULL;
    unsigned len = 0;

    if (s->tls == NULL || s->tls->ssl == NULL)
        return s->tls != NULL && s->tls->result != NULL && s->tls->result->has_alpn;
    SSL_get0_alpn_selected(s->tls->ssl, &name, &len);
    return len > 0;
}

/* The first common name of a certificate. */
static bool common_name(X509 *cert, char *out, size_t size)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    X509_NAME_ENTRY *entry = at >= 0 ? X509_NAME_get_entry(subject, at) : NULL;
    unsigned char *text = NULL;
    int len = entry != NULL ? ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(entry)) : -1;
    /* a NUL in it would hide what comes behind */
    bool is_fine = len > 0 && (size_t)len < size && memchr(text, '\0', (size_t)len) == NULL;

    if (is_fine) {
        memcpy(out, text, (size_t)len);
        out[len] = '\0';
    }
    OPENSSL_free(text);
    return is_fine;
}

bool stream_peer_cn(const struct stream *s, char *out, size_t size)
{
    SSL *ssl = s->tls != NULL ? s->tls->ssl : NULL;

    if (s->tls != NULL && s->tls->result != NULL)
        return s->tls->result->verified != NULL && common_name(s->tls->result->verified, out, size);
    /* without verification OpenSSL's result is "OK", too */
    if (ssl == NULL || SSL_in_init(ssl) || (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) == 0 ||
        SSL_get_verify_result(ssl) != X509_V_OK)
        return false;
    X509 *cert = SSL_get_peer_certificate(ssl);
    bool is_fine = cert != NULL && common_name(cert, out, size);
    X509_free(cert);
    ERR_clear_error();
    return is_fine;
}
