/*
 * server_role_int.h - what a server is, a primary or a standby: server_role.c. Included by session_int.h.
 */
#ifndef SESSION_SERVER_ROLE_INT_H
#define SESSION_SERVER_ROLE_INT_H

#include "session/server.h"

/* in_hot_standby or default_transaction_read_only was reported. */
void server_role_reported(struct server *s, const char *name, const char *value);
void server_role_error(struct server *s, const char *sqlstate, bool is_fatal);
void server_role_row(struct server *s, const uint8_t *body, uint32_t len_bytes);
/* After a batch: what it has told of the role is acted upon. */
void server_role_act(struct server *s);
/* Quiet, in use: asks the server itself. Its client's input waits. */
void server_verify_begin(struct server *s);
void server_verify_done(struct server *s);
/* All servers of s's pool at its endpoint are replaced as they come free. */
void server_role_recycle(struct server *s);

#endif
