/*
 * tls_int.h - inside of a TLS context.
 */
#ifndef NET_TLS_INT_H
#define NET_TLS_INT_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "net/tls.h"

struct tls_context {
    _Atomic int refs;
    SSL_CTX *ctx; /* each SSL holds a reference of its own to it */
    enum tls_verify verify;
};

#endif
