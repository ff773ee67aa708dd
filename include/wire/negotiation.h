/*
 * negotiation.h - what may come before a start-up packet, and what is said to it: SSLRequest, GSSENCRequest,
 * or TLS from the first byte on.
 *
 * Pure: bytes in, verdict out. Source: protocol documentation, sections "SSL Session Encryption" and "GSSAPI
 * Session Encryption".
 */
#ifndef WIRE_NEGOTIATION_H
#define WIRE_NEGOTIATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "wire/startup.h"

/* What a connection of this kind may and must do. */
enum negotiation_policy {
    NEGOTIATE_NO_TLS, /* also on Unix sockets */
    NEGOTIATE_MAY_TLS,
    NEGOTIATE_MUST_TLS,
};

/* Zeroed: nothing has been said yet. */
struct negotiation {
    bool has_begun; /* a packet has been taken */
    bool ssl_asked, gss_asked;
    bool is_tls; /* inside TLS; set by negotiation_tls_done() */
};

enum negotiation_verdict {
    NEGOTIATION_MORE,   /* the packet is not complete */
    NEGOTIATION_NO,     /* answer N; the connection goes on in clear */
    NEGOTIATION_TLS,    /* answer S; a handshake follows */
    NEGOTIATION_DIRECT, /* the handshake has begun: nothing of data is used up */
    NEGOTIATION_STARTUP,
    NEGOTIATION_CANCEL,
    /* refused: */
    NEGOTIATION_INJECTED, /* bytes in clear behind the SSLRequest that is granted (CVE-2021-23222) */
    NEGOTIATION_NO_TLS_HERE,
    NEGOTIATION_TLS_REQUIRED,
    NEGOTIATION_TWICE, /* asked for encryption again, or inside TLS */
    NEGOTIATION_OLD,
    NEGOTIATION_UNSUPPORTED,
    NEGOTIATION_TOO_LONG,
    NEGOTIATION_MALFORMED,
};

/* The next packet, at data, of which len_bytes have arrived; p is filled in (but for NEGOTIATION_DIRECT). */
enum negotiation_verdict negotiation_take(struct negotiation *n, enum negotiation_policy policy,
                                          const uint8_t *data, uint32_t len_bytes, struct startup_packet *p);
void negotiation_tls_done(struct negotiation *n);

#endif
