/*
 * negotiation.c - the first bytes of a connection.
 *
 * Threads: none; works on what it is given.
 */
#include "wire/negotiation.h"

#include <string.h>

#define TLS_HANDSHAKE_BYTE 0x16 /* of a ClientHello; a start-up packet so long there cannot be */

static enum negotiation_verdict take_ssl_request(struct negotiation *n, enum negotiation_policy policy,
                                                 uint32_t behind_bytes)
{
    if (n->ssl_asked || n->is_tls)
        return NEGOTIATION_TWICE;
    n->ssl_asked = true;
    if (policy == NEGOTIATE_NO_TLS)
        return NEGOTIATION_NO;
    return behind_bytes > 0 ? NEGOTIATION_INJECTED : NEGOTIATION_TLS;
}

static enum negotiation_verdict take_gss_request(struct negotiation *n)
{
    if (n->gss_asked || n->is_tls)
        return NEGOTIATION_TWICE;
    n->gss_asked = true;
    return NEGOTIATION_NO;
}

enum negotiation_verdict negotiation_take(struct negotiation *n, enum negotiation_policy policy,
                                          const uint8_t *data, uint32_t len_bytes, struct startup_packet *p)
{
    bool is_first = !n->has_begun && !n->is_tls;

    if (is_first && len_bytes > 0 && data[0] == TLS_HANDSHAKE_BYTE) {
        memset(p, 0, sizeof(*p));
        n->has_begun = true;
        return policy == NEGOTIATE_NO_TLS ? NEGOTIATION_NO_TLS_HERE : NEGOTIATION_DIRECT;
    }
    enum startup_kind kind = startup_parse(data, len_bytes, p);
    if (kind != STARTUP_INCOMPLETE)
        n->has_begun = true;
    switch (kind) {
    case STARTUP_INCOMPLETE: return NEGOTIATION_MORE;
    case STARTUP_SSL: return take_ssl_request(n, policy, len_bytes - p->len_bytes);
    case STARTUP_GSSENC: return take_gss_request(n);
    /* also in clear where TLS is required, as in PostgreSQL: libpq before 17 has no other way */
    case STARTUP_CANCEL: return NEGOTIATION_CANCEL;
    case STARTUP_V3:
        return policy == NEGOTIATE_MUST_TLS && !n->is_tls ? NEGOTIATION_TLS_REQUIRED : NEGOTIATION_STARTUP;
    case STARTUP_OLD: return NEGOTIATION_OLD;
    case STARTUP_UNSUPPORTED: return NEGOTIATION_UNSUPPORTED;
    case STARTUP_TOO_LONG: return NEGOTIATION_TOO_LONG;
    case STARTUP_MALFORMED: break;
    }
    return NEGOTIATION_MALFORMED;
}

void negotiation_tls_done(struct negotiation *n)
{
    n->is_tls = true;
}
