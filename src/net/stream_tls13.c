/*
 * stream_tls13.c - the transport of a TLS 1.3 connection after its handshake, without OpenSSL's object of it.
 *
 * OpenSSL makes the handshake and tells the traffic secrets; with them a connection goes on here, and
 * OpenSSL's object, which takes more memory than all the rest of a client, is freed at once. Where the
 * secrets are not told, or the cipher is none of ours, OpenSSL goes on.
 *
 * What may come behind a handshake: data, the end (close_notify), alerts, and KeyUpdate. Anything else ends
 * the connection with an alert, as in RFC 8446. Keys of ours that are worn out are changed by a KeyUpdate.
 *
 * Records are opened where they were received and made where they are sent from, in the loop's buffers; a
 * part of one that has come is kept with the stream.
 *
 * Where it is asked for, and there, the kernel makes the records that we send (is_in_kernel): data goes to
 * the socket as it is, and so does pending output. What comes is opened here as ever. Keys that are in the
 * kernel are not changed: a peer that wants new ones is closed, with an alert.
 *
 * Threads: the stream's owner.
 * Not here: keys and ciphers (tls13.c), handshakes and TLS 1.2 (stream_tls.c).
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "base/str.h"
#include "ktls_int.h"
#include "stream_tls_int.h"

enum {
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_BAD_RECORD_MAC = 20,
    ALERT_RECORD_OVERFLOW = 22,
    ALERT_DECODE_ERROR = 50,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_USER_CANCELED = 90,
};
#define ALERT_WARNING 1
#define ALERT_FATAL   2

#define MESSAGE_KEY_UPDATE 24
#define KEY_UPDATE_BYTES   5

/* Records in a row that bring no data: a peer has no use for more, and each costs us more than it costs him.
 */
#define MAX_WITHOUT_DATA 32

static const struct transport tls13_transport;

const char *tls13_cipher_name(const struct stream_tls *t)
{
    return tls13_suite_name(t->compact->suite);
}

/* ---- sending ---- */

/* Where the content of a record of len_bytes goes. NULL: what was there before could not be sent. */
static uint8_t *record_room(struct stream *s, struct tls_buffers *b, uint32_t len_bytes)
{
    if (sizeof(b->out) - b->out_len < len_bytes + TLS13_EXTRA_BYTES && !tls_flush(s, b))
        return NULL;
    return b->out + b->out_len + TLS13_HEADER_BYTES;
}

/* Its content is in its place. */
static bool record_end(struct stream *s, struct tls_buffers *b, enum tls13_type type, uint32_t len_bytes)
{
    struct tls13 *c = s->tls->compact;
    uint32_t n = tls13_seal(&b->ciphers, c->suite, &c->out, type, b->out + b->out_len, len_bytes);

    if (n == 0) {
        tls_note_error("the cryptographic library failed");
        errno = EPROTO;
        return false;
    }
    b->out_len += n;
    return true;
}

static bool put_small(struct stream *s, struct tls_buffers *b, enum tls13_type type, const uint8_t *data,
                      uint32_t len_bytes)
{
    uint8_t *room = record_room(s, b, len_bytes);

    if (room == NULL)
        return false;
    memcpy(room, data, len_bytes);
    return record_end(s, b, type, len_bytes);
}

/* Our keys change. */
static bool update_keys(struct stream *s, struct tls_buffers *b)
{
    static const uint8_t message[KEY_UPDATE_BYTES] = {MESSAGE_KEY_UPDATE, 0, 0, 1, 0};
    struct tls13 *c = s->tls->compact;

    c->owes_update = false;
    if (!put_small(s, b, TLS13_HANDSHAKE, message, sizeof(message)))
        return false;
    tls13_ciphers_forget(&b->ciphers, NULL, &c->out);
    if (tls13_keys_update(&c->out, c->suite))
        return true;
    tls_note_error("key update failed");
    errno = EPROTO;
    return false;
}

static bool tls13_sendv(struct stream *s, const struct iovec *iov, int n)
{
    struct tls13 *c = s->tls->compact;
    struct tls_buffers *b = tls_enter(s);
    size_t offset = 0;

    if (b == NULL)
        return false;
    if (unlikely(c->has_sent_end)) {
        tls_note_error("TLS connection closed");
        errno = EPIPE;
        return false;
    }
    for (int i = 0; i < n;) {
        if (unlikely(c->out.seq >= c->max_records) && !update_keys(s, b))
            return false;
        uint8_t *room = record_room(s, b, TLS13_CONTENT_BYTES);
        uint32_t len = 0;
        if (room == NULL)
            return false;
        while (i < n && len < TLS13_CONTENT_BYTES) {
            size_t take = iov[i].iov_len - offset;
            if (take > TLS13_CONTENT_BYTES - len)
                take = TLS13_CONTENT_BYTES - len;
            if (take > 0)
                memcpy(room + len, (const uint8_t *)iov[i].iov_base + offset, take);
            len += (uint32_t)take;
            offset += take;
            if (offset == iov[i].iov_len) {
                i++;
                offset = 0;
            }
        }
        if (len > 0 && !record_end(s, b, TLS13_DATA, len))
            return false;
    }
    return tls_flush(s, b);
}

static bool send_alert(struct stream *s, struct tls_buffers *b, int level, int what)
{
    const uint8_t alert[2] = {(uint8_t)level, (uint8_t)what};

    s->tls->compact->has_sent_end = true;
    if (s->tls->compact->is_in_kernel) /* ahead of pending output, for which there is no use then */
        return ktls_send(s->fd, TLS13_ALERT, alert, sizeof(alert));
    return put_small(s, b, TLS13_ALERT, alert, sizeof(alert)) && tls_flush(s, b);
}

static void tls13_send_end(struct stream *s)
{
    struct tls_buffers *b;

    if (s->loop == NULL || s->tls->compact->has_sent_end || (b = tls_enter(s)) == NULL)
        return;
    (void)!send_alert(s, b, ALERT_WARNING, ALERT_CLOSE_NOTIFY);
}

/* ---- receiving ---- */

/* Ends the connection: an alert tells the peer why. */
static int fail(struct stream *s, struct tls_buffers *b, int alert, const char *text)
{
    if (!s->tls->compact->has_sent_end)
        (void)!send_alert(s, b, ALERT_FATAL, alert);
    tls_note_error(text);
    errno = EPROTO;
    return STREAM_ERROR;
}

/* STREAM_AGAIN: go on. */
static int take_alert(struct stream *s, struct tls_buffers *b, const uint8_t *data, int len)
{
    if (len != 2)
        return fail(s, b, ALERT_DECODE_ERROR, "malformed alert");
    if (data[1] == ALERT_CLOSE_NOTIFY)
        return STREAM_EOF;
    if (data[1] == ALERT_USER_CANCELED) /* the end is behind it; Java's TLS says so when it closes */
        return STREAM_AGAIN;
    s->tls->compact->has_sent_end = true; /* all are fatal, and there is nothing to be said */
    return fail(s, b, 0, "the peer sent an alert");
}

static int take_message(struct stream *s, struct tls_buffers *b, const uint8_t *data, int len)
{
    struct tls13 *c = s->tls->compact;

    if (len != KEY_UPDATE_BYTES || data[0] != MESSAGE_KEY_UPDATE)
        return fail(s, b, ALERT_UNEXPECTED_MESSAGE, "unexpected message");
    if (data[1] != 0 || data[2] != 0 || data[3] != 1 || data[4] > 1)
        return fail(s, b, ALERT_DECODE_ERROR, "malformed key update");
    tls13_ciphers_forget(&b->ciphers, &c->in, NULL);
    if (!tls13_keys_update(&c->in, c->suite))
        return fail(s, b, ALERT_INTERNAL_ERROR, "key update failed");
    if (c->is_in_kernel && data[4] == 1)
        return fail(s, b, ALERT_INTERNAL_ERROR,
                    "the peer wants new keys, which the kernel's TLS cannot make");
    /* one answer will do for all that have come (RFC 8446, 4.6.3), and it must not go out behind an alert */
    c->owes_update = c->owes_update || data[4] == 1;
    return STREAM_AGAIN;
}

/* Where the records that have come are, and what of them has been read. */
struct input {
    uint8_t *at;
    uint32_t len;
};

/* Bytes of the record that input begins with, all of which have come; 0: not all have; -1: it is none. */
static int whole_record(const struct input *in)
{
    if (in->len < TLS13_HEADER_BYTES)
        return 0;
    uint32_t len = (uint32_t)in->at[3] << 8 | in->at[4];
    if (in->at[0] != TLS13_DATA || len > TLS13_SEALED_BYTES)
        return -1;
    return in->len < TLS13_HEADER_BYTES + len ? 0 : (int)(TLS13_HEADER_BYTES + len);
}

static int bad_record(struct stream *s, struct tls_buffers *b, const struct input *in)
{
    return in->at[0] != TLS13_DATA ? fail(s, b, ALERT_UNEXPECTED_MESSAGE, "unexpected record")
                                   : fail(s, b, ALERT_RECORD_OVERFLOW, "record too long");
}

/* Gives the reader what it has room for and keeps the rest. */
static int give(struct tls13 *c, uint8_t *buf, int room, const uint8_t *data, int len)
{
    int n = len < room ? len : room;

    memcpy(buf, data, (size_t)n);
    if (likely(n == len))
        return n;
    c->plain = malloc((size_t)(len - n));
    if (c->plain == NULL) {
        tls_out_of_memory();
        return -1;
    }
    memcpy(c->plain, data + n, (size_t)(len - n));
    c->plain_at = 0;
    c->plain_len = (uint32_t)(len - n);
    return n;
}

/* What one record has brought, which has been opened. As open_records(), for one. */
static int take_record(struct stream *s, struct tls_buffers *b, uint8_t type, const uint8_t *content, int len,
                       uint8_t *buf, int room, int *result)
{
    struct tls13 *c = s->tls->compact;
    int n = 0;

    if (len < 0) {
        *result = fail(s, b, ALERT_BAD_RECORD_MAC, "decryption failed or bad record mac");
    } else if (len > TLS13_CONTENT_BYTES) {
        *result = fail(s, b, ALERT_RECORD_OVERFLOW, "record too long");
    } else if (likely(type == TLS13_DATA && len > 0)) {
        c->n_without_data = 0;
        n = give(c, buf, room, content, len);
        if (n < 0)
            *result = STREAM_ERROR;
    } else if (c->n_without_data++ == MAX_WITHOUT_DATA) {
        *result = fail(s, b, ALERT_UNEXPECTED_MESSAGE, "too many records without data");
    } else if (type == TLS13_ALERT) {
        *result = take_alert(s, b, content, len);
    } else if (type == TLS13_HANDSHAKE) {
        *result = take_message(s, b, content, len);
    } else if (type != TLS13_DATA) {
        *result = fail(s, b, ALERT_UNEXPECTED_MESSAGE, "unexpected record");
    }
    return n > 0 ? n : 0;
}

/* Opens records into buf, until it is full or there is none: bytes, with *result STREAM_AGAIN, or why there
 * are no more. */
static int open_records(struct stream *s, struct tls_buffers *b, struct input *in, uint8_t *buf, int room,
                        int *result)
{
    struct tls13 *c = s->tls->compact;
    int total = 0, size;

    *result = STREAM_AGAIN;
    while (*result == STREAM_AGAIN && total < room && c->plain == NULL && (size = whole_record(in)) != 0) {
        uint8_t type = 0, *record = in->at;
        if (size < 0) {
            *result = bad_record(s, b, in);
            break;
        }
        int len = tls13_open(&b->ciphers, c->suite, &c->in, record, (uint32_t)size, &type);
        in->at += size;
        in->len -= (uint32_t)size;
        total += take_record(s, b, type, record + TLS13_HEADER_BYTES, len, buf + total, room - total, result);
    }
    return total;
}

static bool has_whole_record(const struct stream_tls *t)
{
    struct input in = {t->kept != NULL ? t->kept + t->kept_at : NULL, t->kept != NULL ? t->kept_len : 0};
    return whole_record(&in) != 0;
}

/* What was kept, with what has come behind it, in b->in. Bytes received, or STREAM_AGAIN and so on. */
static int receive(struct stream *s, struct tls_buffers *b, int room, struct input *in)
{
    struct stream_tls *t = s->tls;
    uint32_t kept = t->kept != NULL ? t->kept_len : 0;
    int n = room > 2 * TLS_RECORD_BYTES ? room - TLS_RECORD_BYTES : TLS_RECORD_BYTES;
    bool needs_more = !has_whole_record(t);

    if (kept > sizeof(b->in)) { /* bytes behind a handshake: as many as fit there */
        errno = ENOBUFS;
        return STREAM_ERROR;
    }
    if (kept > 0)
        memcpy(b->in, t->kept + t->kept_at, kept);
    *in = (struct input){b->in, kept};
    if (!needs_more)
        return (int)kept;
    if (n > (int)(sizeof(b->in) - kept))
        n = (int)(sizeof(b->in) - kept);
    n = stream_raw_transport.recv(s, b->in + kept, n);
    if (n > 0)
        in->len += (uint32_t)n;
    return n;
}

/* Keeps what has not been opened. */
static bool keep(struct stream_tls *t, const struct tls_buffers *b, const struct input *in)
{
    if (t->kept != NULL && in->at == b->in && in->len == t->kept_len && t->kept_at == 0)
        return true; /* none has been opened, and none has come */
    free(t->kept);
    t->kept = NULL;
    t->kept_at = t->kept_len = 0;
    if (in->len == 0)
        return true;
    t->kept = malloc(in->len);
    if (t->kept == NULL) {
        tls_out_of_memory();
        return false;
    }
    memcpy(t->kept, in->at, in->len);
    t->kept_len = in->len;
    return true;
}

static int give_plain(struct tls13 *c, uint8_t *buf, int len_bytes)
{
    uint32_t n = c->plain_len < (uint32_t)len_bytes ? c->plain_len : (uint32_t)len_bytes;

    memcpy(buf, c->plain + c->plain_at, n);
    c->plain_at += n;
    c->plain_len -= n;
    if (c->plain_len == 0) {
        secret_wipe(c->plain, c->plain_at);
        free(c->plain);
        c->plain = NULL;
    }
    return (int)n;
}

static int tls13_recv(struct stream *s, void *buf, int len_bytes)
{
    struct stream_tls *t = s->tls;
    struct tls_buffers *b = tls_enter(s);
    struct input in;
    int result;

    if (b == NULL)
        return STREAM_ERROR;
    if (unlikely(t->compact->plain != NULL))
        return give_plain(t->compact, buf, len_bytes);
    if (unlikely(t->end != TLS_OPEN)) {
        errno = EPROTO;
        return t->end == TLS_ENDED ? STREAM_EOF : STREAM_ERROR;
    }
    result = receive(s, b, len_bytes, &in);
    if (result <= 0)
        return result;
    int total = open_records(s, b, &in, buf, len_bytes, &result);
    if (unlikely(t->compact->owes_update && !t->compact->has_sent_end) && !update_keys(s, b))
        result = STREAM_ERROR;
    if (!keep(t, b, &in) || !tls_flush(s, b))
        result = STREAM_ERROR;
    if (unlikely(t->result != NULL)) /* a login: it may have been a password */
        secret_wipe(b->in, (size_t)(in.at - b->in));
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

static bool tls13_has_unread(const struct stream *s)
{
    const struct stream_tls *t = s->tls;
    return t->end != TLS_OPEN || t->compact->plain != NULL || has_whole_record(t);
}

/* ---- beginning and end ---- */

void tls13_free(struct stream *s)
{
    struct tls13 *c = s->tls->compact;

    if (c == NULL)
        return;
    if (s->loop != NULL && s->loop->tls_buffers != NULL)
        tls13_ciphers_forget(&s->loop->tls_buffers->ciphers, &c->in, &c->out);
    if (c->plain != NULL)
        secret_wipe(c->plain, c->plain_at + c->plain_len);
    free(c->plain);
    secret_wipe(c, sizeof(*c));
    free(c);
    s->tls->compact = NULL;
}

static void tls13_close(struct stream *s)
{
    /* Behind pending output, which is dropped now, it would not arrive. */
    if (s->output == NULL)
        tls13_send_end(s);
    stream_tls_give_up(s);
}

static const struct transport tls13_transport = {
    .recv = tls13_recv,
    .sendv = tls13_sendv,
    .has_unread = tls13_has_unread,
    .send_end = tls13_send_end,
    .shutdown = stream_raw_shutdown,
    .close = tls13_close,
};

/* ---- with the kernel's records ---- */

static bool kernel_sendv(struct stream *s, const struct iovec *iov, int n)
{
    if (unlikely(s->tls->compact->has_sent_end)) {
        tls_note_error("TLS connection closed");
        errno = EPIPE;
        return false;
    }
    if (likely(stream_send_raw(s, iov, n)))
        return true;
    tls_note_error(strerror(errno));
    return false;
}

/* The end goes behind the last byte, so that pending output comes first. */
static void kernel_send_end(struct stream *s)
{
    (void)s;
}

/* The socket stays open: of records that the kernel has made, some may still wait for room behind those that
 * TCP has, and a FIN would overtake them. */
static bool kernel_shutdown(struct stream *s)
{
    static const uint8_t alert[2] = {ALERT_WARNING, ALERT_CLOSE_NOTIFY};
    struct tls13 *c = s->tls->compact;

    if (!c->has_sent_end)
        c->has_sent_end = ktls_send(s->fd, TLS13_ALERT, alert, sizeof(alert)) || errno != EAGAIN;
    return c->has_sent_end;
}

static void kernel_close(struct stream *s)
{
    if (s->output == NULL)
        (void)kernel_shutdown(s);
    stream_tls_give_up(s);
}

static const struct transport kernel_transport = {
    .recv = tls13_recv,
    .sendv = kernel_sendv,
    .has_unread = tls13_has_unread,
    .send_end = kernel_send_end,
    .shutdown = kernel_shutdown,
    .close = kernel_close,
};

/* Our keys go into the kernel, if all that was made with them so far is there already. */
static void kernel_take_over(struct stream *s)
{
    struct tls13 *c = s->tls->compact;

    if (s->output != NULL || !ktls_begin(s->fd, c->suite, &c->out))
        return;
    secret_wipe(&c->out, sizeof(c->out));
    c->is_in_kernel = true;
    s->transport = &kernel_transport;
}

/* ---- from a handshake ---- */

void tls_secrets_free(struct stream_tls *t)
{
    if (t->secrets != NULL)
        secret_wipe(t->secrets, sizeof(*t->secrets));
    free(t->secrets);
    t->secrets = NULL;
}

void tls_result_free(struct stream_tls *t)
{
    if (t->result != NULL) {
        X509_free(t->result->verified);
        X509_free(t->result->own);
    }
    free(t->result);
    t->result = NULL;
}

/* 0: they are not all digits, or too many. */
static uint32_t hex_decode(const char *text, uint8_t *out, uint32_t max_bytes)
{
    uint32_t n = 0;

    for (; n < max_bytes && text[2 * (size_t)n] != '\0'; n++) {
        const int high = OPENSSL_hexchar2int((uint8_t)text[2 * (size_t)n]);
        const int low = OPENSSL_hexchar2int((uint8_t)text[2 * (size_t)n + 1]);
        if (high < 0 || low < 0)
            return 0;
        out[n] = (uint8_t)(high << 4 | low);
    }
    return text[2 * (size_t)n] == '\0' ? n : 0;
}

/* "LABEL random secret", in hexadecimal digits */
void tls13_keylog_cb(const SSL *ssl, const char *line)
{
    static const char of_client[] = "CLIENT_TRAFFIC_SECRET_0 ", of_server[] = "SERVER_TRAFFIC_SECRET_0 ";
    struct stream_tls *t = BIO_get_data(SSL_get_rbio(ssl));
    const char *secret = strrchr(line, ' ');
    bool is_client = str_has_prefix(line, of_client);

    if (secret == NULL || (!is_client && !str_has_prefix(line, of_server)))
        return;
    if (t->secrets == NULL && (t->secrets = calloc(1, sizeof(*t->secrets))) == NULL)
        return;
    if (is_client)
        t->secrets->client_len = hex_decode(secret + 1, t->secrets->of_client, TLS13_SECRET_BYTES);
    else
        t->secrets->server_len = hex_decode(secret + 1, t->secrets->of_server, TLS13_SECRET_BYTES);
}

/* All that is to be known of the handshake, but how it is called. */
static struct tls_handshake *result_new(const struct stream *s, SSL *ssl)
{
    struct tls_handshake *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->own = SSL_get_certificate(ssl);
    if (r->own != NULL)
        X509_up_ref(r->own);
    r->is_resumed = stream_tls_is_resumed(s);
    r->has_alpn = stream_tls_has_alpn(s);
    if ((SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) != 0 && SSL_get_verify_result(ssl) == X509_V_OK)
        r->verified = SSL_get_peer_certificate(ssl);
    return r;
}

bool tls13_begin(struct stream *s, const struct tls13_suite *suite, const struct tls_secrets *x,
                 uint32_t n_sent)
{
    struct tls13 *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return false;
    c->suite = suite;
    c->max_records = TLS13_MAX_RECORDS;
    c->out.seq = n_sent;
    if (tls13_keys_set(&c->in, suite, x->of_client) && tls13_keys_set(&c->out, suite, x->of_server)) {
        s->tls->compact = c;
        s->transport = &tls13_transport;
        if (s->tls->wants_kernel)
            kernel_take_over(s);
        return true;
    }
    secret_wipe(c, sizeof(*c));
    free(c);
    return false;
}

void tls13_take_over(struct stream *s, uint32_t n_sent)
{
    struct stream_tls *t = s->tls;
    const struct tls_secrets *x = t->secrets;
    const SSL_CIPHER *cipher = SSL_get_current_cipher(t->ssl);
    const struct tls13_suite *suite = cipher != NULL ? tls13_suite_find(SSL_CIPHER_get_id(cipher)) : NULL;

    if (suite != NULL && SSL_version(t->ssl) == TLS1_3_VERSION && SSL_pending(t->ssl) == 0 &&
        x->client_len == tls13_suite_secret_bytes(suite) && x->server_len == x->client_len &&
        (t->result = result_new(s, t->ssl)) != NULL) {
        if (tls13_begin(s, suite, x, n_sent)) {
            SSL_free(t->ssl);
            t->ssl = NULL;
        } else {
            tls_result_free(t);
        }
    }
    tls_secrets_free(t);
}
