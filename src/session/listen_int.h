/*
 * listen_int.h - LISTEN and notifications where servers are shared.
 *
 *   listen.c        what clients say: LISTEN and UNLISTEN in their texts, and whether they count
 *   listen_names.c  statements and portals of the extended protocol that are such commands
 *   channels.c      a worker's table: which of its clients listen to what; their queues
 *   listen_server.c the server connection that listens for all clients of one database and user
 *   notifiers.c     which client a server's process id stands for
 *
 * The listening connection belongs to one worker, which is the same for the life of the pool
 * (listen_owner()). The other workers and this one itself tell it by mail what they want to hear
 * (MAIL_LISTEN), and get answers and notifications in one ordered stream (MAIL_LISTEN_NEWS).
 */
#ifndef LISTEN_INT_H
#define LISTEN_INT_H

#include "prepared_int.h"
#include "wire/listen_sql.h"

#define LISTEN_MAX_CHANNELS 10000u /* of one client */
#define LISTEN_MAX_NAMES    1000u  /* the oldest go */

struct channel;

/* That a client listens to a channel, or may be about to. */
struct subscription {
    struct list client_node;  /* listening->subscriptions */
    struct list channel_node; /* channel->subscriptions */
    struct client *client;
    struct channel *channel;
    bool is_committed; /* the client's LISTEN has taken effect */
};

/* A statement or portal of the extended protocol that is a command. */
struct listen_name {
    struct list node; /* listening->names */
    struct listen_command command;
    bool is_portal;
    uint32_t position; /* a portal's: of its Bind in the tracker's ring, or of what goes ahead of that */
    uint32_t name_bytes;
    char name[];
};

/* A client's; client->listening, NULL while it has never said LISTEN. */
struct listening {
    struct client *client;
    struct pool *pool;         /* of the listening connection */
    struct list subscriptions; /* struct subscription */
    uint32_t n_subscriptions;
    struct list changes; /* struct listen_change: what its transaction has done */
    /* the text that was sent last */
    struct listen_command *commands;
    uint32_t n_commands, next;
    uint32_t n_completed; /* statements of a Query that have been performed */
    bool is_query;
    bool has_failed; /* an error since the last ReadyForQuery */
    /* struct listen_name: portals that have not been executed, and statements that prepared.c does not keep
     */
    struct list names;
    uint32_t n_names;
    /* waiting for channels, with the message as its input */
    struct list wait_node; /* shard->listen_waiting */
    int64_t waits_since_us;
    /* notifications that could not be passed on yet: whole messages */
    struct buf queue;
    bool is_unsure;          /* there may be some in it that it has no right to */
    struct list doomed_node; /* it does not read, or cannot be written to: closed after the batch */
    bool is_overflowing;
    uint64_t warned_at; /* listen_set.n_losses of which it has been told */
};

/* ---- listen.c ---- */

/* A Bind of a statement with that text. PLAIN: it may go. */
enum prepared_step listen_bind_text(struct client *c, struct server *s, const struct statement_message *m,
                                    const char *text, uint32_t text_bytes) must_check;
/* A Query, or a Parse that we do not keep under its name, at data[at..]. MORE: not all of it has arrived. */
enum prepared_step listen_message(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                  uint32_t len_bytes) must_check;
/* A Bind of a statement that we do not keep. */
enum prepared_step listen_bind(struct client *c, struct server *s, const struct outgoing *o, uint32_t at,
                               uint32_t len_bytes) must_check;
/* An Execute, while client->listen_is_watching. HOLD: not yet. */
enum prepared_step listen_execute(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                  uint32_t len_bytes) must_check;
/* Ahead of a server: the message that the input begins with needs channels that do not stand yet? Then it
 * waits for them without one. */
bool listen_waits_first(struct client *c, const uint8_t *data, uint32_t len_bytes) must_check;
/* Messages of the server to its client, while server->listen_is_watching. */
void listen_on_complete(struct server *s, const uint8_t *body, uint32_t len_bytes);
void listen_on_error(struct server *s);
void listen_on_ready(struct server *s);

/* ---- listen_names.c ---- */

struct listen_name *listen_name_find(const struct listening *l, bool is_portal, const char *name,
                                     uint32_t name_bytes);
void listen_name_drop(struct listening *l, struct listen_name *n);
/* From now on it is this command; NULL: none. */
enum prepared_step listen_name_set(struct listening *l, bool is_portal, const char *name, uint32_t name_bytes,
                                   const struct listen_command *command, uint32_t position) must_check;
/* A transaction has ended, and with it the portals that were bound ahead of that position. */
void listen_portals_end(struct listening *l, uint32_t position);
void listen_names_free(struct listening *l);

/* notify.c: somebody listens; a message is about to go to the server. */
void notify_look(struct client *c, struct server *s, const uint8_t *message, uint32_t here_bytes);
/* What the client knows as its own process id. */
static inline uint32_t client_pid(const struct client *c)
{
    return (uint32_t)(c->cancel_key >> 32);
}

/* ---- channels.c ---- */

enum channel_answer { CHANNEL_STANDS, CHANNEL_WAITS, CHANNEL_REFUSED, CHANNEL_TOO_MANY, CHANNEL_NO_MEMORY };

/* client->listening; NULL: no memory. */
struct listening *listening_ensure(struct client *c) must_check;
/* A subscription, which does not count yet; the listening connection is asked for the channel when it is the
 * first one here. */
enum channel_answer listening_want(struct client *c, const char *name) must_check;
/* It waits, from now on unless it does already; and does not any more. */
void listening_wait(struct client *c);
void listening_wait_end(struct client *c);
struct subscription *listening_find(const struct listening *l, const char *name);
/* What its transaction has done counts. False: it believes that it listens to a channel that the listening
 * connection could not have. */
bool listening_apply(struct listening *l) must_check;
/* Subscriptions that do not count, and notifications for them, go. keep: those that its transaction has made
 * stay, as they may count yet. */
void listening_settle(struct listening *l, bool keep);

/* ---- listen_server.c ---- */

/* Which worker has the listening connection of that pool. */
uint8_t listen_owner(const struct instance *in, const struct pool *pool) must_check;

/* What a MAIL_LISTEN_NEWS consists of: messages as on the wire (type, length), of these types. */
enum {
    LISTEN_NEWS_NOTIFICATION = 'A', /* as it goes to clients */
    LISTEN_NEWS_STANDS = 'L',       /* a name */
    LISTEN_NEWS_REFUSED = 'R',      /* a name: PostgreSQL says the same to the client's own LISTEN */
    LISTEN_NEWS_FAILED = 'F',       /* SQLSTATE, text: those who wait get no connection */
    LISTEN_NEWS_LOST = 'W',         /* the connection was lost, and all channels stand again */
};

/* MAIL_LISTEN */
struct mail_listen {
    struct mail mail;
    struct pool *pool;
    uint8_t worker;
    bool is_wanted;
    char channel[SQL_NAME_BYTES];
};

/* MAIL_LISTEN_NEWS */
struct mail_listen_news {
    struct mail mail;
    struct pool *pool;
    struct buf news;
};

void listen_on_mail(struct shard *sh, struct mail_listen *m);
void listen_on_news(struct shard *sh, struct mail_listen_news *m);

#endif
