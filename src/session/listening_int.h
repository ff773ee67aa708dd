/*
 * listening_int.h - what the rest of session/ needs of LISTEN and notifications (listen_int.h).
 */
#ifndef LISTENING_INT_H
#define LISTENING_INT_H

#include "session/client.h"
#include "session/server.h"

/* listen.c, channels.c */
void listen_client_configure(struct client *c);
/* Its server goes to somebody else. */
void listen_unlink(struct client *c);
/* What has been kept for it goes out, if it is between two transactions. */
void listening_flush(struct client *c);
void listening_free(struct client *c);
/* True: it has waited for a channel, without a server; not any more. */
bool listening_cancel(struct client *c) must_check;
void channels_tick(struct shard *sh, int64_t now_us);
void channels_destroy(struct shard *sh);

/* notify.c */
void notify_client_free(struct client *c);

/* listen_server.c */
/* Acts for the pool of a listening connection: LINK, IDLE, FAIL; and the ticket of a grant for it. */
void listen_server_link(struct shard *sh, struct pool *pool, struct slot *slot);
void listen_server_idle(struct shard *sh, struct pool *pool, struct slot *slot);
void listen_server_failed(struct shard *sh, struct pool *pool, const struct grant *grant);
struct ticket *listen_server_ticket(struct shard *sh, const struct pool *pool, const struct grant *grant);
/* s->listens: it is being closed. */
void listen_server_lost(struct server *s);
bool listen_servers_have_deadlines(const struct shard *sh) must_check;
void listen_servers_tick(struct shard *sh, int64_t now_us);
/* The worker stops: none is wanted any more. */
void listen_servers_stop(struct shard *sh);
void listen_servers_destroy(struct shard *sh);

#endif
