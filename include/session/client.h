/*
 * client.h - a client session.
 *
 * Belongs to its worker for life. Small: tens of thousands of idle ones are
 * normal, so what only a login or a wait needs lives outside and is freed after.
 */
#ifndef SESSION_CLIENT_H
#define SESSION_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "config/config.h"
#include "net/stream.h"
#include "session/shard.h"

struct client_login;
struct pin;
struct listening;
struct statement_names;
struct tracking;

/* Why the rest of the input was not forwarded, though there is a server. */
enum client_hold {
    HOLD_NONE,
    HOLD_TURN,      /* others wait: not beyond this Sync */
    HOLD_FULL,      /* too many requests unanswered */
    HOLD_STATEMENT, /* it is not certain yet which statements there are */
    HOLD_SETTINGS,  /* its settings are being SET (ahead.c), or RESET (tracking.h) */
};

/* What is dropped of a client's input since it has cancelled the request that it begins with. */
enum client_skip {
    SKIP_NONE,
    SKIP_REQUEST, /* nothing of it has been seen: a Query is all of it, other messages go on to a Sync */
    SKIP_TO_SYNC,
    SKIP_REST, /* of the message that ends it */
};

/* Its transaction was ended by a timeout (timeout_action = cancel): see lost_transaction.c. */
enum client_lost {
    LOST_NOTHING,
    LOST_UNTOLD,   /* its next statement fails with the reason */
    LOST_SKIPPING, /* has been told; what follows is dropped up to its Sync */
    LOST_TOLD,     /* needs a server with a failed transaction, in which PostgreSQL answers the rest */
};

/* What the start-up packet asked for with "replication": see replication.c. */
enum replication {
    REPLICATION_NONE,
    REPLICATION_PHYSICAL,
    REPLICATION_LOGICAL, /* "database" */
};

struct client {
    /* [owner thread], all */
    struct stream stream;
    struct list node; /* shard->client_lists[state], oldest in the state first */
    struct shard *shard;
    struct pool *pool;            /* NULL until authenticated, and for the console */
    struct pool_user *login_user; /* counted there and in its pool and database; NULL when not: places.c */
    struct server *server;        /* linked; cleared by server_unlink() */
    struct params *params;        /* what this session has, where it is not as servers begin */
    struct params *startup;       /* what it had at its login; NULL until then */
    struct tracking *tracking;    /* changes of its settings that are under way: tracking.h; NULL: none */
    struct buf *input;            /* received and not yet forwarded; NULL when there is none */
    struct client_login *login;   /* during CLIENT_LOGIN and LOGIN_WAIT; freed by client_login_free() */
    struct mail_cancel *cancel; /* CANCEL: its request; in the mail, or another worker's: only its atomics */
    uint8_t
        *unnamed;    /* the Parse of its unnamed statement, when it may be needed again: prepared_unnamed.c */
    struct pin *pin; /* why it keeps its server; NULL: nothing ties it to one */
    char *unnamed_text;            /* of its unnamed statement, if it may tie it to a server, or free it */
    struct statement_names *names; /* its prepared statements, where servers are shared; NULL when none */
    struct notify_name *notifying; /* its statements that notify, as far as they are seen: notify.c */
    struct listening *listening;   /* channels; NULL: it has never said LISTEN, where servers are shared */
    struct ticket ticket;
    struct deferred deferred;
    uint64_t handle;
    uint64_t last_server; /* id of the server that it had last; 0: none yet */
    uint64_t id;          /* for the log and SHOW CLIENTS */
    uint64_t cancel_key;  /* our own BackendKeyData (its first eight bytes); 0: none yet */
    uint8_t *long_key;    /* protocol 3.2: CANCEL_LONG_KEY_BYTES; NULL with 3.0 */
    char *console_user;   /* CONSOLE: who */
    int64_t connected_us;
    int64_t request_us; /* last request received */
    int64_t state_since_us;
    struct config_timeouts timeouts; /* in effect for database and user */
    uint32_t remain_bytes;           /* of the message that is being forwarded (or dropped) */
    uint32_t wanted_bytes;           /* of input, before there is any use in looking at it again */
    uint32_t unnamed_number;         /* counts its unnamed statements, and their ends: prepared_unnamed.c */
    uint16_t peer_port;
    uint8_t peer_addr[16];
    uint8_t peer_family;     /* AF_INET, AF_INET6, AF_UNIX */
    uint8_t state;           /* enum client_state */
    uint8_t pool_mode;       /* enum config_pool_mode in effect */
    uint8_t hold;            /* enum client_hold */
    uint8_t skip;            /* enum client_skip */
    uint8_t lost;            /* enum client_lost */
    uint8_t lost_why;        /* enum close_reason: the timeout that took its transaction */
    uint8_t replication;     /* enum replication */
    uint8_t session_state;   /* enum config_session_state in effect */
    bool keeps_server;       /* in session mode, or pinned: a server stays with it when a transaction ends */
    bool watches_state;      /* what it sends is looked at for what would tie it to a server: pin_watch.c */
    bool watches_settings;   /* and for what it does to its settings: tracking.c */
    bool is_strict;          /* ... and the server is asked, too: strict.c */
    bool maps_statements;    /* named statements stand for others: prepared.c */
    bool unnamed_sets;       /* its unnamed statement may change settings: prepared_setting.c */
    bool maps_sql;           /* and those of PREPARE in SQL */
    bool maps_listen;        /* LISTEN is ours: listen.c */
    bool listen_is_watching; /* all of its texts are looked at for what ends a LISTEN */
    bool is_dropping;        /* remain_bytes are not forwarded: COPY data that came too late */
    bool is_mid_message;     /* a server's message has been sent in part: no error can be inserted */
    bool is_counted;         /* in instance->clients */
    bool is_refused;         /* in instance->refused and shard->refused: beyond max_client_conn */
    bool console_busy;       /* CONSOLE: input is with the control thread */
    bool read_is_held;       /* reading stopped: enough input is kept, or the server is slow */
    bool wait_is_notified;   /* WAITING: has been told that it is queued */
    bool told_fatal;         /* the server's own FATAL has been forwarded: nothing to add */
    bool is_admin, is_stats; /* CONSOLE */
};

/* Texts for logs: "C-12: db/user@addr:port". */
void client_describe(const struct client *c, char *out, size_t size);
void client_peer_text(const struct client *c, char *out, size_t size);
void client_log(const struct client *c, int level, const char *fmt, ...) printf_like(3, 4) cold_path;

/* Names of prepared statements that it has, where servers are shared. */
uint32_t client_prepared_count(const struct client *c);

/*
 * The one way out. Tells the client (when the reason has an SQLSTATE and the stream is at a message
 * boundary), returns or closes its server, leaves the queue, counts and logs. detail (may be NULL) goes
 * behind the reason. The object is freed at the end of the turn, or after the client has read its message; do
 * not use it after.
 */
void client_close(struct client *c, enum close_reason why, const char *detail) cold_path;
/* As client_close() with an error of our own making: SQLSTATE and text of a server, say. */
void client_close_error(struct client *c, enum close_reason why, const char *sqlstate, const char *message,
                        const char *hint) cold_path;

#endif
