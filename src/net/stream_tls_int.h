/*
 * stream_tls_int.h - what the two halves of TLS share: OpenSSL's (stream_tls.c) and ours, behind a handshake
 * of TLS 1.3 (stream_tls13.c).
 */
#ifndef NET_STREAM_TLS_INT_H
#define NET_STREAM_TLS_INT_H

#include <openssl/ssl.h>

#include "stream_int.h"
#include "tls13_int.h"
#include "tls_int.h"

#define TLS_RECORD_BYTES 16384
/* Four full records with their headers, tags and padding. */
#define TLS_OUT_BYTES (4 * (TLS_RECORD_BYTES + 512))

/* Ciphertext on its way, within one call; and what encrypts it. Of a loop. */
struct tls_buffers {
    uint8_t in[LOOP_READ_BUFFER_BYTES];
    uint8_t out[TLS_OUT_BYTES];
    uint32_t out_len;
    struct tls13_ciphers ciphers;
};

enum tls_end { TLS_OPEN, TLS_ENDED, TLS_FAILED };

struct stream_tls {
    SSL *ssl;              /* NULL: compact is what there is */
    struct stream *stream; /* ours; set anew at each call, see tls_enter() */
    const uint8_t *in;     /* what OpenSSL may read now */
    uint32_t in_len;
    uint32_t kept_at, kept_len;
    uint8_t *kept;               /* received, and not taken yet: kept_len bytes from kept_at on; NULL: none */
    uint8_t end;                 /* enum tls_end: found behind bytes that were read first */
    bool wants_kernel;           /* the kernel is to encrypt what compact sends, if it can */
    struct tls_client *client;   /* NULL: we are the server */
    struct tls13 *compact;       /* stream_tls13.c; NULL: OpenSSL does it */
    struct tls_secrets *secrets; /* of a handshake that may become compact; wiped behind it */
    struct tls_handshake *result; /* compact: what is to be known of the handshake during a login */
};

/* What is left of a connection of TLS 1.3 behind its handshake. */
struct tls13 {
    const struct tls13_suite *suite;
    struct tls13_keys in, out;
    uint64_t max_records; /* by one key of ours */
    uint8_t *plain; /* opened, and too much for the reader: plain_len bytes from plain_at on; NULL: none */
    uint32_t plain_at, plain_len;
    uint8_t n_without_data; /* records in a row */
    bool owes_update;       /* the peer has asked us to change our keys */
    bool has_sent_end;
    bool is_in_kernel; /* out is: what we send is encrypted there */
};

/* The traffic secrets that OpenSSL tells, of each direction. */
struct tls_secrets {
    uint8_t of_client[TLS13_SECRET_BYTES], of_server[TLS13_SECRET_BYTES];
    uint32_t client_len, server_len;
};

struct tls_handshake {
    bool is_resumed, has_alpn;
    X509 *own;      /* the certificate that the peer was shown; a reference */
    X509 *verified; /* the peer's certificate, if it has been checked against our CA; a reference */
};

/* The loop's buffers, and the stream for the BIO. NULL (ENOMEM) when memory is out. */
struct tls_buffers *tls_enter(struct stream *s);
/* Sends what has been written. */
bool tls_flush(struct stream *s, struct tls_buffers *b);
/* For stream_tls_error(). */
void tls_note_error(const char *text);
void tls_out_of_memory(void);

/* ---- stream_tls13.c ---- */

/* OpenSSL's keylog_callback. */
void tls13_keylog_cb(const SSL *ssl, const char *line);
/* A handshake of ours as server has succeeded, in which OpenSSL has written n_sent records with the new keys
 * (s->tls->secrets is there): takes over from OpenSSL where that can be. */
void tls13_take_over(struct stream *s, uint32_t n_sent);
/* From the secrets of a handshake to a connection: s->tls is there. False: out of memory, or the library has
 * failed. */
bool tls13_begin(struct stream *s, const struct tls13_suite *suite, const struct tls_secrets *x,
                 uint32_t n_sent) must_check;
void tls13_free(struct stream *s);
void tls_secrets_free(struct stream_tls *t);
void tls_result_free(struct stream_tls *t);
const char *tls13_cipher_name(const struct stream_tls *t);

#endif
