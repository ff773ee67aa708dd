/*
 * server.h - a server connection: session's half of a slot.
 *
 * Belongs to the worker that owns the slot; moves by mail, when it is quiet.
 */
#ifndef SESSION_SERVER_H
#define SESSION_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "net/dial.h"
#include "net/stream.h"
#include "session/shard.h"
#include "session/target.h"
#include "wire/tracker.h"

#define SERVER_KEY_MAX_BYTES 256

struct listen_server;
struct notifier;
struct prepared;
struct server_lookup;
struct server_login;

/* SETUP: which query of ours runs. */
enum server_step {
    STEP_NONE,
    STEP_CHECK,    /* the check query */
    STEP_SETTINGS, /* SETs for what client and server do not agree on */
    STEP_VERIFY,   /* the question about its role; its client has had its answer */
    STEP_ROLLBACK, /* its client's transaction has been ended by a timeout */
    STEP_FAIL,     /* makes the failed transaction in which its client believes itself */
    STEP_PINS,     /* the question what still ties its client to it, which has had its answer */
    STEP_RESTORE,  /* in a transaction: values of the client's after a RESET */
    STEP_STRICT,   /* which settings has the session? Its client has had its answer */
    STEP_LOOKUP,   /* auth_query; it has no client, and its stream is lookup.c's */
};

/* Its client's settings, SET ahead of the first request: ahead.c. */
enum server_ahead {
    AHEAD_NONE,
    AHEAD_OPEN, /* not answered; the request goes behind them */
    AHEAD_FULL, /* not answered; all of the request has gone */
};

/* Does what its client has sent change settings, that is to say since when? */
enum server_setting {
    SETTING_NOTHING,
    SETTING_BEFORE, /* in this transaction; it has been answered */
    SETTING_NOW,    /* under way */
};

struct server {
    struct mail mail; /* ADOPT, YIELD or CLOSE_SERVER: one at a time, as the slot's state says */
    struct deferred deferred;
    /* [owner thread] */
    struct stream stream;
    struct list node; /* shard->server_lists[state] */
    struct shard *shard;
    struct pool *pool;     /* constant */
    struct slot *slot;     /* constant; NULL once the ledger has it back */
    struct client *client; /* linked */
    struct tracker tracker;
    struct params *params;         /* what this connection has now, settable ones */
    struct params *strict;         /* during STEP_STRICT: what it has said so far */
    struct prepared *prepared;     /* statements under names of ours; NULL until there are any */
    struct server_login *login;    /* while CONNECTING */
    struct server_lookup *lookup;  /* during STEP_LOOKUP */
    struct listen_server *listens; /* it listens for clients, and its stream is listen_server.c's */
    struct notifier *notifier;     /* whose its notifications are: notifiers.c; NULL: not known */
    struct dial dial;              /* while CONNECTING */
    struct buf partial;            /* head of a message that has not arrived whole */
    struct buf ahead;              /* our Query that goes with the next that is forwarded */
    uint64_t id;                   /* for the log */
    uint32_t remain_bytes;         /* of the message that is being passed on (or dropped) */
    uint64_t unlisted_of;    /* 0, or the client that may have left settings without a known name: strict.c */
    uint64_t unnamed_of;     /* id of the client whose unnamed statement this is; 0: nobody's, or none */
    uint32_t unnamed_number; /* which of that client's */
    uint32_t unnamed_position; /* of its Parse in the tracker's ring */
    uint32_t flushed_tail;     /* of the tracker, when the server was asked last for what it keeps back */
    uint32_t backend_pid;
    uint8_t *key; /* cancel key */
    uint16_t key_bytes;
    uint8_t state;          /* enum server_state */
    uint8_t replication;    /* enum replication: its client's, for whom it was opened */
    bool is_dropping;       /* remain_bytes are not for the client */
    bool is_dead;           /* lost while MOVING away: the YIELD mail decides */
    bool setup_failed;      /* an ErrorResponse to our own query */
    bool is_fresh;          /* has just connected: needs no check query */
    uint8_t step;           /* enum server_step */
    bool is_first;          /* linked, and nothing of its client's has been sent yet */
    bool runs_reset_query;  /* RESET: server_reset_query, behind what else there is to remove */
    bool may_skip_reset;    /* linked, and nothing has come that DISCARD ALL would have to take back */
    bool has_inert_unnamed; /* ... and nothing that its unnamed statement would */
    bool needs_reset;       /* its last client was in session mode: server_reset_query is due */
    char setup_sqlstate[6]; /* of that ErrorResponse */
    char setup_error[200];
    bool is_cut;                 /* PostgreSQL has part of a message whose rest will not come */
    bool in_batch;               /* input is being handled: what a lost client means is decided after it */
    bool was_ready;              /* a ReadyForQuery came and no request since: may be released */
    bool sent_fatal;             /* PostgreSQL's last word was FATAL: it is going */
    bool is_suspect;             /* its role may have changed: asked when it is quiet */
    bool must_recycle;           /* its role has changed: all servers there are replaced after the batch */
    uint8_t wanted;              /* enum config_target_session_attrs */
    struct server_role role;     /* as far as it is known */
    struct server_role verified; /* the answer to the question */
    bool pins_known;             /* the answer to the question has come: */
    uint8_t pins_found;          /* enum pin_reason */
    uint8_t left;                /* what its last client has left behind: enum pin_reason */
    uint8_t ahead_state;         /* enum server_ahead */
    uint8_t n_unread;      /* a text went that was not read to its end: 1, and 1 more for each tag since */
    bool refuses;          /* a statement of its client's was replaced by one that fails: pin_watch.c */
    bool may_be_hit;       /* a cancel request may hit it yet: not for another client */
    struct cancel *cancel; /* the cancel request under way against it, or queued; NULL: none */
    /* who looks into what it says; together, since each message asks for them */
    bool prepared_is_watching; /* prepared statements have an interest in the next message: prepared.c */
    bool is_tracked;           /* changes of its client's settings are under way: tracking.h */
    bool has_pin;              /* its client has one */
    bool listen_is_watching;   /* its client's LISTEN or UNLISTEN is under way: listen.c */
    bool awaits_tags;          /* PREPARE or DEALLOCATE of its client's is under way: prepared_sql.c */
    bool has_sql_portals;      /* ... or may be executed later: prepared_sql_portals.c */
    bool has_parsed;           /* a statement of prepared.c's, since the last ReadyForQuery */
    bool unnamed_is_ours;      /* its unnamed statement has been parsed by us, for its client */
    uint8_t setting;           /* enum server_setting: prepared_setting.c */
    bool is_compared;          /* has said which settings it has since its client's last request: strict.c */
    bool has_listened;         /* ... and so it listens itself, until its client has done with it */
    uint8_t n_answers;         /* bytes of `answers` that go ahead of what is passed on next */
    uint8_t answers[60];
    enum close_reason close_reason;
    int64_t connected_us;
    int64_t state_since_us;
    int64_t idle_since_us; /* kept while it moves, for server_check_delay */
    int64_t request_us;    /* linked or last request */
    int64_t turn_us;   /* when the client's turn came or ended: its last message, or the end of its query */
    int64_t struck_us; /* when the query was cancelled for that timeout */
    enum close_reason struck; /* the timeout that has struck the query or transaction; CLOSE_NONE: none */
    int64_t query_start_us;   /* 0: none is running */
    int64_t xact_start_us;    /* 0: no transaction */
    int64_t idle_in_xact_us;  /* since when its client is idle in a transaction; 0: is not */
    struct sockaddr_storage peer;
    socklen_t peer_bytes;
    int port; /* as configured when it was opened */
    char host[256];
};

void server_describe(const struct server *s, char *out, size_t size);
void server_log(const struct server *s, int level, const char *fmt, ...) printf_like(3, 4) cold_path;

/* Prepared statements that it has under names of ours. */
uint32_t server_prepared_count(const struct server *s);

/* The one way out, in any state. Its client, if any, is closed with the reason (or the server's own last
 * words). */
void server_close(struct server *s, enum close_reason why, const char *detail) cold_path;

#endif
