/*
 * session_int.h - what the files of session/ share among themselves.
 */
#ifndef SESSION_INT_H
#define SESSION_INT_H

#include "base/log.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/mail.h"
#include "session/peer.h"
#include "session/server.h"
#include "session/shard.h"
#include "wire/codec.h"

#define SESSION_LINGER_US         (2 * USEC_PER_SEC) /* for a client to read why it was closed */
#define SESSION_SERVER_CLOSE_US   (1 * USEC_PER_SEC) /* for PostgreSQL to close its end */
#define SESSION_MAX_INPUT_BYTES   131072u            /* kept for a client that has no server yet */
#define SESSION_MAX_LOGIN_BYTES   16384u
#define SESSION_MAX_CONSOLE_BYTES 65536u
/* A server that was granted is microseconds away; after so long its mail has been lost (out of memory). */
#define SESSION_LOST_GRANT_US (5 * USEC_PER_SEC)
#define SESSION_TICK_US       (20 * USEC_PER_MSEC)

static inline const struct settings *shard_settings(const struct shard *sh)
{
    return sh->settings;
}

/* Reads the clock; every callback and mail that reaches the sessions begins with it. What follows within that
 * callback uses sh->now_us. */
static inline int64_t shard_touch(struct shard *sh)
{
    return sh->now_us = clock_now_us();
}

/* shard.c */
/* The next tick is at most SESSION_TICK_US away. */
void shard_arm_tick(struct shard *sh);
/* The next tick comes in time for sh->idle and sh->linked. */
void shard_arm_deadlines(struct shard *sh);
/* n more clients have a pin (or fewer): pin_idle_timeout wakes the loop only while there are any. */
void shard_count_pin(struct shard *sh, int n);

/* orders.c */
void orders_on_mail(struct shard *sh, struct mail_order *m);
/* Shutting down, but not at once: closes as many as may go now. False: it is not. */
bool orders_tick(struct shard *sh, int64_t now_us);
/* Shutting down, and now, between two transactions, this client is to go. True counts it. */
bool shard_ends_client(struct shard *sh, const struct client *c) must_check hot_path;

/* acts.c: the ledger's decisions, performed one after the other, never nested. */
void shard_perform(struct shard *sh, struct pool *pool, struct pool_acts *acts) hot_path;
/* From any thread; sh is NULL on the control thread. */
void act_mail(struct instance *in, struct shard *sh, const struct pool_act *act, struct pool *pool);
void acts_on_mail(struct shard *sh, struct mail *m);

/* client.c */
struct client *client_new(struct shard *sh, int fd);
void client_set_state(struct client *c, enum client_state state) hot_path;
void client_free(struct client *c);
struct stats_shard *client_stats(struct client *c) hot_path;
/* Keeps bytes for later; closes the client and returns false when that cannot be. */
bool client_keep_input(struct client *c, const uint8_t *data, uint32_t len_bytes);
void client_drop_input(struct client *c);
void client_tick(struct shard *sh, int64_t now_us);
/* Takes what the client keeps of the settings from those of its worker, or from cfg if they lack its
 * database. */
void client_apply_config(struct client *c, const struct config *cfg);
/* Sets client->keeps_server. */
void client_keeps_configure(struct client *c);

/* Away at once, without a word. */
void client_drop(struct client *c, enum close_reason why);

/* places.c */
/* Authenticated as user, for c->pool: counted in pool, database and user; or why there is no place. */
enum close_reason places_take(struct client *c, struct pool_user *user) must_check;
/* Nothing when it has none. */
void places_give_back(struct client *c);
/* There is no place among max_client_conn: a login of an address that has more than its share gives up its
 * own to one of this address. False: all have their share, of those on this worker. */
bool places_take_over(struct shard *sh, int family, const uint8_t *addr) must_check;
/* A new client beyond max_client_conn, for which one was added to instance->refused. */
void places_refused_enter(struct client *c);
/* It goes, or is in the console now. Nothing when it is none of them. */
void places_refused_leave(struct client *c);

/* client_login.c, client_auth.c */
void client_login_input(struct client *c, uint8_t *data, uint32_t len_bytes);
void client_login_free(struct client *c);
void client_login_forget(struct last_login *last); /* at the end of its worker */
/* A server of the pool is at hand (or its parameters are known): the login ends. server: the one that stays
 * with the client, or NULL. */
void client_login_finish(struct client *c, const struct server *server);
/* Is this within the handling of its input, so that client_resume() follows when the login has ended? */
bool client_login_is_stepping(const struct client *c) must_check;
/* In LOGIN_WAIT: does the server that it gets stay with it? And does it wait for it as a query would? */
bool client_login_links_server(const struct client *c) must_check;
bool client_login_waits_as_query(const struct client *c) must_check;
/* Its settings are known to be taken by servers of its pool. False: one has to be asked, which is SETUP of a
 * server with a client in LOGIN_WAIT; or the client has gone. */
bool client_login_is_settled(struct client *c);
/* A server has taken them, and c->params are as it spells them. */
void client_login_accepted(struct client *c);
/* ... of a replication client, whose own server has said this. False: the client has gone. */
bool client_login_finish_replication(struct client *c, struct params *welcome) must_check;

/* client_flow.c */
extern const struct stream_ops client_stream_ops;
void client_process(struct client *c, const uint8_t *data, uint32_t len_bytes) hot_path;
/* Its request has been cancelled before a server got any of it: told so (57014), and the request is dropped.
 */
void client_cancel_unsent(struct client *c, const char *message);
/* Is its input a request of which no server has got anything? */
static inline bool client_has_unsent(const struct client *c)
{
    return c->skip == SKIP_NONE && c->input != NULL;
}
/* Goes on with what was kept: linked, answered, drained. */
void client_resume(struct client *c) hot_path;

/* Bytes of input that are kept before reading stops. */
static inline uint32_t client_input_limit(const struct client *c)
{
    return c->wanted_bytes > SESSION_MAX_INPUT_BYTES ? c->wanted_bytes : SESSION_MAX_INPUT_BYTES;
}
/* Puts bytes that have been forwarded ahead of what is kept; as client_keep_input(). */
bool client_put_back_input(struct client *c, const uint8_t *data, uint32_t len_bytes);

/* prepared.c; what the flow of messages needs of it is in prepared_int.h */
void prepared_client_configure(struct client *c); /* when its pool mode or the settings have changed */
void prepared_client_free(struct client *c);
void prepared_server_free(struct server *s);
/* Would its client's HOLD_STATEMENT be said again? */
bool prepared_must_wait(const struct server *s) must_check;
/* Answers of ours to its client whose turn has come, if nothing else is owed. */
void prepared_answer_alone(struct server *s) hot_path;
/* What the client's Query needs has been sent ahead of it and answered: its turn has come. */
bool prepared_sql_is_resumed(const struct server *s) must_check;
/* Its client goes. */
void prepared_sql_unlink(struct server *s);

/* server.c */
struct server *server_new(struct shard *sh, struct pool *pool, struct slot *slot);
void server_set_state(struct server *s, enum server_state state) hot_path;
void server_free(struct server *s);
void server_begin_close(struct server *s, enum close_reason why); /* slot is CLOSING already */
/* Terminate; the rest happens when PostgreSQL has closed its end, or after a second. */
void server_say_goodbye(struct server *s);
void server_finish_close(struct server *s) cold_path;
void server_log_close(struct server *s, enum close_reason why, const char *detail);
void server_tick(struct shard *sh, int64_t now_us);
struct stats_shard *server_stats(struct server *s);

/* What is kept for a session that has `all`: the settable part, without the server's own read-only default.
 * own: what the server reported at its login. NULL when memory is out. */
struct params *session_params(struct params *all, const struct params *own) must_check;

/* server_login.c */
void server_login_tick(struct server *s, int64_t now_us);
void server_connect(struct shard *sh, struct pool *pool, struct slot *slot);
void server_login_failed(struct server *s, enum close_reason why, const char *sqlstate, const char *text);
/* Nobody's fault: nothing is noted against the pool. */
void server_login_abort(struct server *s, enum close_reason why);
void server_login_free(struct server *s);

/* replication.c */
/* A server that was granted to a replication client, which is in LOGIN_WAIT: it makes way for a connection of
 * the client's own, in the same slot. */
void replication_link(struct server *s, struct client *c);
/* The connection that was to make way has ended, or not in time: on with the login. */
void replication_go_on(struct server *s);
/* Logged in: the client's login ends. */
void replication_ready(struct server *s, struct params *welcome);
/* The login has failed: tells the client, if it is still there; s is gone. */
void replication_failed(struct server *s, enum close_reason why, const char *sqlstate, const char *text);

/* server_flow.c */
extern const struct stream_ops server_stream_ops;
void server_read(struct server *s) hot_path;
/* The client has been told ReadyForQuery, by its server or for it: figures and times. */
void server_query_answered(struct server *s) hot_path;

/* link.c */
/* Sends a query of our own. False: memory is out, or the server is not at rest. */
bool server_send_internal(struct server *s, const char *sql) must_check;
/* The query of ours before the client's first message has been answered: what is next? */
void server_setup_finish(struct server *s) hot_path;
void server_link(struct server *s, struct client *c, const struct grant *grant) hot_path;
/* Its client goes: the server is released when it is clean, else closed. */
void server_client_gone(struct server *s);
/* Everything is answered: client and server part, the server goes to the next. */
void server_release(struct server *s) hot_path;
void server_setup_done(struct server *s);
/* Runs after a batch of messages: release if the tracker says so. */
void server_after_batch(struct server *s) hot_path;
/* The client's message, which nobody wants any more, has ended: the release that waited for it. */
void server_release_late(struct server *s);
/* Takes the client away from a server that must not be used on; the server is then closed by the caller. */
struct client *server_detach_client(struct server *s) hot_path;
/* Gives an idle, clean server back to the ledger. */
void server_give_back(struct server *s, enum close_reason why) hot_path;

/* reset_skip.c: linked; s->may_skip_reset from then on */
void reset_skip_begin(struct server *s) hot_path;
void reset_skip_look(struct server *s, uint8_t type, const uint8_t *message, uint32_t here_bytes,
                     uint32_t len);

/* cancel.c: requests and keys */
void cancel_request(struct client *c, uint32_t pid, const uint8_t *key, uint32_t key_bytes);
void cancel_on_mail(struct shard *sh, struct mail_cancel *m);
void cancel_on_done(struct shard *sh, struct mail_cancel *m);
void cancel_drop(struct mail_cancel *m); /* on its way when the worker stopped */
/* The request has ended: its requester is told. Takes m over. */
void cancel_answer(struct shard *sh, struct mail_cancel *m, enum close_reason outcome);
/* Sets the client's BackendKeyData, and takes it back. pid: that of its server, or 0. False: no memory. */
bool cancel_make_key(struct client *c, bool is_long, uint32_t pid) must_check;
void cancel_forget_key(struct client *c);

/* cancel_carry.c: the connections that carry requests */
/* Asks PostgreSQL to cancel what s, a server of this worker, is doing; from when it has been sent until its
 * end s is held. m: taken over and answered then; NULL when no client asked. False: it cannot be asked (no
 * key, no memory). */
bool cancel_send(struct server *s, struct mail_cancel *m) must_check;
/* Forwards m, whose hops have been counted, to a peer. m: as for cancel_send(). */
bool cancel_forward(struct shard *sh, struct peer *peer, const struct peer_config *line,
                    struct mail_cancel *m) must_check;
/* The server's client is done with it. False: it is to be held, cancel_carry.c releases it. */
bool cancel_lets_go(struct server *s) must_check;
/* s has a cancel request: it may go now, if it has waited for what went ahead of its client's request. */
void cancel_goes_on(struct server *s);
/* The server is freed. */
void cancel_server_gone(struct server *s);
void cancel_tick(struct shard *sh);
void cancel_close_all(struct shard *sh);

/* console_client.c */
bool console_open(struct client *c, const char *user, bool is_admin) must_check;
void console_input(struct client *c, const uint8_t *data, uint32_t len_bytes);
void console_output(struct shard *sh, struct mail_console_output *m);
/* A cancel request for the console's command. */
void console_cancel(struct client *c);
void console_gone(struct client *c);

#include "listening_int.h"
#include "server_role_int.h"
#include "timeouts_int.h"

#endif
