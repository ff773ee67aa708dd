/*
 * tracking.h - settings of clients that share servers (session_state).
 *
 * What a client's texts do to its session is read as they pass (wire/session_ops.h), and counts when the
 * server has performed it: what has been sent is kept in order with its place in the tracker's ring, and each
 * CommandComplete finds what it belongs to. A journal holds the changes of the open transaction
 * (wire/session_changes.h). When it is committed they go into the sets of parameters of client and server;
 * whatever differs is SET or RESET when a server gets another client, as for what servers report.
 *
 * A client that changes nothing has no struct tracking, and its server is not watched.
 *
 * Threads: the owner's of client and server.
 */
#ifndef TRACKING_H
#define TRACKING_H

#include "prepared_int.h"
#include "wire/session_changes.h"

/* A request under way that does something to the session. */
struct tracked_request {
    struct list node;        /* tracking->sent, in the order of sending */
    uint32_t position;       /* in the tracker's ring */
    uint32_t n_completed;    /* statements of it that have been performed */
    bool is_refused;         /* sent to fail, in place of the client's: session_state = error */
    struct session_ops *ops; /* a reference; NULL when refused */
};

/* A statement or portal of the extended protocol that does. */
struct tracked_name {
    struct list node; /* tracking->names */
    struct session_ops *ops;
    bool is_portal;
    bool is_fresh;      /* made in a batch that may fail yet */
    bool is_gone;       /* ended in one */
    bool is_unsure;     /* it had failed: perhaps it is another one of that name that is there */
    uint32_t settled;   /* by which ReadyForQuery, as tracking->n_ready counts them, that batch ends */
    uint64_t text_hash; /* of a statement: of the text that it had */
    uint32_t name_bytes;
    char name[];
};

#define TRACKED_NAMES_MAX 1000 /* of one client */

struct tracking {
    struct session_changes changes;
    struct list sent;
    struct list names;
    uint32_t n_names, n_gone;
    uint32_t n_ready;         /* those ReadyForQuery that have come while the server was watched; wraps */
    bool is_unsettled;        /* a name is fresh or gone */
    bool has_lost_names;      /* more are gone than are kept */
    struct session_ops *next; /* of the message at hand, until it has been sent; a reference */
    bool has_failed;          /* an error since the last ReadyForQuery */
    bool is_refusing;         /* it answers a request of ours that was to fail */
    bool is_doubtful;         /* a setting has, or may have, a value that only the server knows */
    bool is_nameless;         /* ... or one with a dot in its name, which nobody does */
    bool resets;              /* something sent since the server was last quiet does */
    bool is_reset;   /* in this transaction, the server has its own value where the client has another */
    struct buf told; /* ParameterStatus messages that the client is to get ahead of ReadyForQuery */
    struct params *in_force;    /* what was found last, and of what; NULL: to be found anew */
    struct params *in_force_of; /* references */
};

/* tracking.c: what the client sends */
/* When its pool mode or the settings have changed. */
void tracking_configure(struct client *c);
void tracking_client_free(struct client *c);
/*
 * The message at data[at..], of which the header is there. PLAIN: it goes its way, and when it has gone
 * tracking_sent() is to be told; TAKEN: refused, something else has been sent in its place.
 */
enum prepared_step tracking_take(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                 uint32_t len_bytes, uint32_t *used) must_check;
/* It has been noted by the tracker as the last one. False: no memory. */
bool tracking_sent(struct client *c, struct server *s) must_check;
/* What is about to go may change this setting ("": who knows which), and no text tells what it becomes: the
 * server is asked after it. False: no memory. */
bool tracking_doubt(struct client *c, struct server *s, const char *name) must_check;
/* The same for a text in which an EXECUTE runs that statement, and for a Bind of one that is not among the
 * names. */
bool tracking_execute(struct client *c, struct server *s, struct statement *statement) must_check;
/* session_state = pin: has the client reset what pinned it? Then that reason is gone. */
void tracking_unpin(struct client *c);
/* Client and server part. */
void tracking_unlink(struct server *s, struct client *c);
/* Nothing to watch for? Then the client is as one that never changed anything. */
void tracking_trim(struct client *c);
bool tracking_ensure(struct client *c) must_check;
void tracking_drop_request(struct tracked_request *r);
/* The same for these acts. */
bool tracking_doubt_ops(struct client *c, struct server *s, const struct session_ops *ops) must_check;
/* May the text change a setting of PostgreSQL's own, for its session or transaction? True, too, where nobody
 * can know. Also where settings are not followed. */
bool tracking_may_set(struct client *c, const struct server *s, const char *text,
                      uint32_t text_bytes) must_check;

/* tracking_names.c */
struct tracked_name *tracking_find_name(const struct client *c, bool is_portal, const char *name,
                                        uint32_t name_bytes);
/* Takes the reference to ops. */
enum prepared_step tracking_add_name(struct client *c, struct server *s, bool is_portal, const char *name,
                                     uint32_t name_bytes, struct session_ops *ops) must_check;
void tracking_forget_name(struct client *c, struct server *s, bool is_portal, const char *name,
                          uint32_t name_bytes);
void tracking_drop_name(struct client *c, struct tracked_name *n);
/* The server has gone, or has another client. */
void tracking_leave_names(struct client *c);
/* Bind of a statement that is not found: may it be one of those that perhaps are there? False: no memory. */
bool tracking_use_unsure(struct client *c, struct server *s, const char *name,
                         uint32_t name_bytes) must_check;
/* ReadyForQuery, counted already; has_ended: the transaction, and its portals. False: no memory. */
bool tracking_settle_names(struct client *c, struct server *s, bool has_ended) must_check;

/* May the message do anything to the session, as far as its head says? look: at its text, bits of sql_look().
 */
static inline bool tracking_may_matter(const struct client *c, const uint8_t *message, uint32_t here_bytes,
                                       uint8_t type, unsigned look)
{
    if (unlikely(c->tracking != NULL))
        return type == 'Q' || type == 'P' || type == 'B' || type == 'E' || type == 'C';
    if (likely((look & (SQL_LOOK_CLOSELY | SQL_LOOK_TRANSACTION)) == 0))
        return false;
    /* a named statement may be used when there is something to be taken back */
    return (look & SQL_LOOK_CLOSELY) != 0 ||
           (type == 'P' && here_bytes > WIRE_HEADER_BYTES && message[WIRE_HEADER_BYTES] != 0);
}

/* tracking_answers.c: what the server answers, while server->is_tracked */
/* A message is about to be told to the tracker. body: NULL when it is not there whole. */
void tracking_on_message(struct server *s, uint8_t type, const uint8_t *body, uint32_t len_bytes);
/* It has been told; position: of the request that it answered. */
void tracking_on_copy(struct server *s, uint32_t position);
/* ReadyForQuery. What the client is to hear ahead of it is in tracking->told then. */
void tracking_on_ready(struct server *s, bool is_internal);
/* The error at hand is that of a request that was sent to fail: what the client sees instead, to be freed by
 * the caller. */
bool tracking_takes_error(struct server *s, struct buf *instead) must_check;
/* Quiet, and the client keeps its server: may they have come to differ, by a RESET of the client's? In a
 * transaction that is what it has RESET there. */
static inline bool tracking_may_differ(const struct server *s)
{
    const struct client *c = s->client;
    if (s->tracker.tx_status != 'I')
        return c->tracking != NULL && unlikely(c->tracking->is_reset);
    return unlikely(s->params != c->params) && c->keeps_server && c->watches_settings;
}
/* A RESET is under way, and what it leaves is to be made the client's own ahead of its next request. */
static inline bool tracking_must_wait(const struct client *c, const struct server *s)
{
    return unlikely(c->tracking != NULL) && c->tracking->resets && tracker_is_busy(&s->tracker) &&
           !s->tracker.is_open;
}
/* Then it is told what it needs, in SETUP. False: nothing. */
bool tracking_restore_begin(struct server *s) must_check;
void tracking_restore_done(struct server *s);
/* The settings in force now, SET LOCAL included; borrowed, NULL: no memory. */
struct params *tracking_params(struct client *c) must_check hot_path;

/* strict.c: what the server says that its session has set, compared with what is kept */
static inline bool strict_is_due(const struct server *s)
{
    const struct client *c = s->client;
    return unlikely(c->is_strict || (c->tracking != NULL && c->tracking->is_doubtful)) && !s->is_compared;
}
void strict_begin(struct server *s);
void strict_on_row(struct server *s, const uint8_t *body, uint32_t len_bytes);
void strict_done(struct server *s);

#endif
