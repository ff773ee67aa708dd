/*
 * auth_int.h - what the rest of session/ needs to know of logins that wait for another thread or for a
 * server.
 */
#ifndef SESSION_AUTH_INT_H
#define SESSION_AUTH_INT_H

#include "session_int.h"

/* lookup.c */
/* Its client waits for a server to run auth_query on: s does so now. False: it waits for something else. */
bool lookup_takes(struct server *s, struct client *c) must_check;
/* The server is closed in the middle of a look-up. */
void lookup_server_lost(struct server *s, enum close_reason why);
/* client_lookup.c */
void client_lookup_on_mail(struct shard *sh, struct mail *m);
/* The client goes, perhaps from the queue for a server to ask. */
void client_lookup_leave(struct client *c);
/* Is it in that queue? Then it is nobody yet, and is told nothing of servers. */
bool client_is_looking_up(const struct client *c) must_check;
/* There is no server to ask: it and all who wait for the answer go. text: why, for the log. */
void client_lookup_failed(struct client *c, const char *text);

/* client_check.c */
void client_check_on_mail(struct shard *sh, struct mail *m);
/* The client goes: nobody wants the answer any more. */
void client_check_leave(struct client *c);

/* client_failed.c */
void client_failed_tick(struct shard *sh, int64_t now_us);
/* Not held back any more. */
void client_failed_leave(struct client *c);

/* client_rules.c */
void client_peer_on_mail(struct shard *sh, struct mail *m);

#endif
