/*
 * stream_tls.c - the TLS transport: OpenSSL reads from the descriptor and writes through the stream.
 *
 * What OpenSSL writes goes to the kernel at once, and what the kernel does not take to
 * the stream's pending output (a BIO of ours does that), so for OpenSSL writing never
 * blocks. With OpenSSL on the bare descriptor a record can be stuck half-sent, and
 * a key update that the peer asks for at that moment kills the connection ("bad length"):
 * its answer may not be written before the rest of the record. Not to read until then would
 * be no cure, as the peer may be blocked sending to us.
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
#include <string.h>
#include <sys/socket.h>

#include "base/str.h"
#include "stream_int.h"
#include "tls_int.h"

#define TLS_RECORD_BYTES 16384

static _Thread_local char last_error[256];

const char *stream_tls_error(void)
{
    return last_error;
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

/* The peer closed the connection without saying goodbye in TLS. */
static bool is_plain_eof(int ssl_error, int err)
{
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING
    (void)err;
    return ssl_error == SSL_ERROR_SSL &&
           ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
#else
    return ssl_error == SSL_ERROR_SYSCALL && err == 0 && ERR_peek_last_error() == 0;
#endif
}

/* Turns a failed SSL_read() into a result. */
static int read_failed(struct stream *s, int ret)
{
    int err = errno;
    int ssl_error = SSL_get_error(s->ssl, ret);
    if (ssl_error == SSL_ERROR_WANT_READ)
        return STREAM_AGAIN;
    if (ssl_error == SSL_ERROR_ZERO_RETURN) {
        s->is_tls_eof = true;
        return STREAM_EOF;
    }
    if (is_plain_eof(ssl_error, err)) {
        failure_note(s->ssl, ssl_error, err);
        return STREAM_EOF;
    }
    failure_note(s->ssl, ssl_error, err);
    return STREAM_ERROR;
}

/* Reads on while records come full, so that a large result moves in large pieces, and not one system call
 * more than that for a small one. */
static int tls_recv(struct stream *s, void *buf, int len_bytes)
{
    int total = 0;
    while (total < len_bytes) {
        ERR_clear_error();
        errno = 0;
        int n = SSL_read(s->ssl, (uint8_t *)buf + total, len_bytes - total);
        if (n <= 0) {
            int result = read_failed(s, n);
            if (total == 0)
                return result;
            /* The end, or a failure, behind the data: no event will come for it, so we make one. */
            if (result != STREAM_AGAIN && s->is_reading)
                event_active(&s->read_event, EV_READ, 1);
            break;
        }
        total += n;
        if (n < TLS_RECORD_BYTES && SSL_pending(s->ssl) == 0)
            break;
    }
    return total;
}

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
    size_t len;
    const void *data;
    while ((data = cursor_gather(&c, scratch, &len)) != NULL) {
        ERR_clear_error();
        errno = 0;
        int written = SSL_write(s->ssl, data, (int)len);
        if (written <= 0) {
            int err = errno;
            failure_note(s->ssl, SSL_get_error(s->ssl, written), err);
            return false;
        }
        cursor_advance(&c, (size_t)written);
    }
    return true;
}

static bool tls_has_unread(const struct stream *s)
{
    return SSL_pending(s->ssl) > 0;
}

/* Says goodbye in TLS, once. */
static void tls_send_end(struct stream *s)
{
    SSL *ssl = s->ssl;
    if (SSL_in_init(ssl) || (SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN) != 0)
        return;
    ERR_clear_error();
    SSL_shutdown(ssl);
    ERR_clear_error();
}

static void tls_close(struct stream *s)
{
    /* Behind pending output, which is dropped now, it would not arrive. */
    if (s->output == NULL)
        tls_send_end(s);
    SSL_free(s->ssl);
    s->ssl = NULL;
}

static const struct transport tls_transport = {
    .recv = tls_recv,
    .sendv = tls_sendv,
    .has_unread = tls_has_unread,
    .send_end = tls_send_end,
    .close = tls_close,
};

/* --- the BIO that writes through the stream --- */

static int stream_bio_write(BIO *bio, const char *data, int len_bytes)
{
    struct stream *s = BIO_get_data(bio);
    struct iovec iov = {(void *)data, (size_t)len_bytes};
    if (len_bytes <= 0)
        return 0;
    if (s->loop == NULL) /* detached and being closed: as far as it goes */
        return send(s->fd, data, (size_t)len_bytes, MSG_NOSIGNAL) >= 0 ? len_bytes : -1;
    return stream_send_raw(s, &iov, 1) ? len_bytes : -1;
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
    BIO_meth_set_write(m, stream_bio_write);
    BIO_meth_set_ctrl(m, stream_bio_ctrl);
    stream_bio_method = m; /* for the life of the process */
}

static bool bios_set(SSL *ssl, struct stream *s)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    if (CRYPTO_THREAD_run_once(&once, stream_bio_method_make) != 1 || stream_bio_method == NULL)
        return false;
    BIO *out = BIO_new(stream_bio_method);
    if (out == NULL)
        return false;
    BIO_set_data(out, s);
    BIO_set_init(out, 1);
    SSL_set0_wbio(ssl, out);
    return SSL_set_rfd(ssl, s->fd) == 1;
}

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

bool stream_tls_start(struct stream *s, const struct tls_context *ctx, const char *host)
{
    ERR_clear_error();
    str_copy(last_error, "could not set up TLS", sizeof(last_error));
    SSL *ssl = SSL_new(ctx->ctx);
    if (ssl == NULL)
        return false;
    if (!host_set(ssl, ctx, host) || !bios_set(ssl, s)) {
        ERR_clear_error();
        SSL_free(ssl);
        return false;
    }
    SSL_set_connect_state(ssl);
    s->ssl = ssl;
    s->transport = &tls_transport;
    return true;
}

int stream_tls_handshake(struct stream *s)
{
    ERR_clear_error();
    errno = 0;
    int ret = SSL_do_handshake(s->ssl);
    int err = errno;
    if (ret == 1)
        return stream_read_start(s) ? 1 : STREAM_ERROR;
    int ssl_error = SSL_get_error(s->ssl, ret);
    if (ssl_error == SSL_ERROR_WANT_READ)
        return stream_read_start(s) ? STREAM_AGAIN : STREAM_ERROR;
    failure_note(s->ssl, ssl_error, err);
    return STREAM_ERROR;
}

void stream_tls_describe(const struct stream *s, char *out, size_t size)
{
    if (size == 0)
        return;
    out[0] = '\0';
    if (s->ssl != NULL && !SSL_in_init(s->ssl))
        snprintf(out, size, "%s/%s", SSL_get_version(s->ssl), SSL_get_cipher_name(s->ssl));
}
