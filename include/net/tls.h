/*
 * tls.h - TLS contexts for connections to servers and from clients.
 *
 * A context is immutable and reference-counted (atomic); connections keep the one
 * they began with. Made on the control thread (reads files).
 *
 * Contexts are made together by a tls_maker, so that CA files are parsed once, and one whose options and
 * files are what they were is taken over: tickets and sessions that were given out by it stay good, and
 * whoever compares pointers knows what has changed.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

enum tls_side { TLS_CLIENT, TLS_SERVER };

enum tls_verify {
    TLS_VERIFY_NONE,
    TLS_VERIFY_OPTIONAL, /* server: a certificate that is shown is checked, and the result kept; nobody is
                            refused */
    TLS_VERIFY_CA,
    TLS_VERIFY_FULL, /* client: the host name too; server: as TLS_VERIFY_CA */
};

/* Strings may be NULL or "" for the default. */
struct tls_options {
    enum tls_side side; /* ours */
    enum tls_verify verify;
    bool is_compact;       /* server: connections of TLS 1.3 keep nothing of OpenSSL but its ciphers */
    bool is_in_kernel;     /* server: the kernel encrypts what they send, where it can */
    bool needs_alpn;       /* client: asks for PostgreSQL's protocol by ALPN */
    const char *ca_file;   /* client: by default the system's */
    const char *cert_file; /* by default none, which a server cannot do with */
    const char *key_file;  /* by default in cert_file */
    const char *protocols; /* PgBouncer's words: secure, legacy, all, tlsv1.2, tlsv1.3, lists with ',' ':' ' '
                              and '!' */
    const char *ciphers;   /* default, secure, fast, normal, all, or an OpenSSL list; TLS 1.2 and below */
    const char *tls13_ciphers;
    const char *dheparams; /* server: auto, none, legacy */
    const char *ecdhcurve; /* server: auto, none (TLS 1.2 and below), or OpenSSL's names of curves */
};

struct tls_context;

struct tls_maker {
    struct tls_context **known; /* references */
    size_t n_known;
};

void tls_maker_init(struct tls_maker *m);
void tls_maker_free(struct tls_maker *m);
/* One that is in force; c may be NULL. */
void tls_maker_know(struct tls_maker *m, struct tls_context *c);
/* A reference; NULL and a text in err when a file or word is not usable. */
struct tls_context *tls_maker_get(struct tls_maker *m, const struct tls_options *o, char *err,
                                  size_t err_size) must_check;
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c);
/* The kernel has a TLS of its own, now; it is asked at each call. */
bool tls_kernel_is_there(void);
/* Checks PgBouncer's word list; false when it cannot be understood. */
bool tls_protocols_valid(const char *protocols);

#endif
