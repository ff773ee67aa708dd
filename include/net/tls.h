/*
 * tls.h - TLS contexts for connections to servers.
 *
 * A context is immutable and reference-counted (atomic); connections keep the one
 * they began with. Made on the control thread (reads files).
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

enum tls_verify { TLS_VERIFY_NONE, TLS_VERIFY_CA, TLS_VERIFY_FULL };

struct tls_client_options {
    enum tls_verify verify;
    const char *ca_file;   /* "" = the system's */
    const char *cert_file; /* "" = none */
    const char *key_file;
    const char *protocols; /* PgBouncer's words: secure, legacy, all, tlsv1.2, tlsv1.3, lists with ',' ':' ' '
                              and '!' */
    const char *ciphers;   /* default, secure, fast, normal, all, or an OpenSSL list; TLS 1.2 and below */
    const char *tls13_ciphers; /* "" = default */
};

struct tls_context;

/* NULL and a text in err when a file or word is not usable. */
struct tls_context *tls_client_context_new(const struct tls_client_options *o, char *err,
                                           size_t err_size) must_check;
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c);
/* Checks PgBouncer's word list; false when it cannot be understood. */
bool tls_protocols_valid(const char *protocols);

#endif
