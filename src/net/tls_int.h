/*
 * tls_int.h - inside of a TLS context.
 */
#ifndef NET_TLS_INT_H
#define NET_TLS_INT_H

#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "net/tls.h"

struct stream;

struct tls_context {
    _Atomic int refs;
    SSL_CTX *ctx; /* each SSL holds a reference of its own to it */
    enum tls_verify verify;
    bool is_in_kernel;
    uint8_t digest[SHA256_DIGEST_LENGTH];    /* of the options and of what was in the files */
    uint8_t ca_digest[SHA256_DIGEST_LENGTH]; /* of what was in the CA file */
    X509_STORE *authorities;                 /* shared among contexts with the same CA file; NULL: none */
    struct tls_sessions *sessions;           /* client: for the next connections; NULL: server */
};

static inline bool tls_is_set(const char *s)
{
    return s != NULL && s[0] != '\0';
}

/* ---- tls_sessions.c ---- */

#define TLS_SERVER_NAME_BYTES 272 /* "HOST:PORT" */

struct tls_sessions *tls_sessions_new(void);
void tls_sessions_free(struct tls_sessions *t);
/* Takes the reference over. */
void tls_sessions_put(struct tls_sessions *t, const char *server, SSL_SESSION *session);
/* A reference, or NULL. */
SSL_SESSION *tls_sessions_take(struct tls_sessions *t, const char *server);

/* ---- tls_tickets.c ---- */

#define TLS_TICKET_LIFE_S   7200 /* how long a ticket is good; OpenSSL's own default */
#define TLS_TICKET_KEY_US   (INT64_C(3600) * USEC_PER_SEC) /* how long new tickets get the same key */
#define TLS_TICKET_KEYS     4 /* the newest, and those of tickets that may be good */
#define TLS_TICKET_IV_BYTES 16

struct tls_ticket_key {
    int64_t made_us; /* 0: none */
    uint8_t name[16];
    uint8_t cipher[32];
    uint8_t mac[32];
};

struct tls_tickets *tls_tickets_new(void);
void tls_tickets_free(struct tls_tickets *t);
/* Gives a server's context keys, which are freed with it. */
bool tls_tickets_apply(SSL_CTX *ctx) must_check;
/* The key for new tickets. Wipe it after use. */
void tls_tickets_newest(struct tls_tickets *t, int64_t now_us, struct tls_ticket_key *out);
/* The key by this name, if tickets of it may still be good. Wipe it after use. */
bool tls_tickets_find(struct tls_tickets *t, const uint8_t *name, int64_t now_us,
                      struct tls_ticket_key *out) must_check;

/* ---- tls_end_point.c ---- */

/* As stream_tls_end_point(), of a certificate; NULL gives 0. */
uint32_t tls_end_point(X509 *cert, uint8_t *out);

/* ---- stream_tls.c ---- */

/* A server has given a session; OpenSSL's new_session_cb. */
int stream_tls_new_session_cb(SSL *ssl, SSL_SESSION *session);

/* ---- tls_words.c ---- */

/* The set that a list stands for; 0 when it cannot be understood or leaves nothing. A list that begins with
 * a negation takes away from all. */
unsigned tls_protocols_parse(const char *list);
void tls_protocols_apply(SSL_CTX *ctx, unsigned set);
/* OpenSSL's words for ours. */
const char *tls_cipher_list(const char *ciphers);
/* False when the word is none of ours. */
bool tls_dheparams_apply(SSL_CTX *ctx, const char *word);

#endif
