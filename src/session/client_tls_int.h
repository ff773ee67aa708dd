/*
 * client_tls_int.h - what client_tls.c offers beyond the login.
 */
#ifndef SESSION_CLIENT_TLS_INT_H
#define SESSION_CLIENT_TLS_INT_H

#include "session_int.h"

void handshakes_init(struct shard *sh);
void handshakes_tick(struct shard *sh, int64_t now_us);
/* A handshake is due or under way: nothing else can be said to the client. */
bool client_tls_is_busy(const struct client *c);
/* "TLSv1.3/CIPHER", or "no", for the log. */
const char *client_tls_text(const struct client *c, char *out, size_t size);

#endif
