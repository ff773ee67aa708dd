/*
 * shard.h - the sessions of one worker thread: its clients, its servers, its loop.
 *
 * Everything here belongs to the worker's thread. Other threads know a shard by
 * its loop (for mail) and read its atomic figures.
 *
 * Objects move between the lists of their states by client_set_state() and
 * server_set_state() only. Closed objects are freed at the end of the turn.
 */
#ifndef SESSION_SHARD_H
#define SESSION_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/handle.h"
#include "base/mem.h"
#include "session/cancel_key.h"
#include "session/deadlines.h"
#include "session/instance.h"

struct listen_server;
struct listen_set;

enum client_state {
    CLIENT_LOGIN,      /* start-up packet, authentication */
    CLIENT_LOGIN_WAIT, /* authenticated; waits for the pool's first server to learn its parameters */
    CLIENT_IDLE,       /* in, no server */
    CLIENT_WAITING,    /* has a ticket */
    CLIENT_ACTIVE,     /* linked to a server */
    CLIENT_CONSOLE,    /* talks to the admin console */
    CLIENT_CANCEL,     /* its cancel request is being worked on */
    CLIENT_CLOSING,    /* told why; read on briefly so that the message arrives */
    CLIENT_STATES
};

enum server_state {
    SERVER_CONNECTING, /* name, socket, TLS, login, connect_query */
    SERVER_IDLE,
    SERVER_SETUP,   /* linked; check query or SET run before the client may send */
    SERVER_ACTIVE,  /* linked */
    SERVER_BARRED,  /* linked, but nothing of the client's may come: a cancel is under way, or it has to hear
                       first  that its transaction has ended */
    SERVER_RESET,   /* no client; server_reset_query runs */
    SERVER_HELD,    /* done, but a cancel request for its last client is still under way */
    SERVER_MOVING,  /* on its way to another worker; in no list */
    SERVER_CLOSING, /* Terminate sent; waits for PostgreSQL to close its end */
    SERVER_STATES
};

/* An act of the ledger that is still to be performed. */
struct pending_act {
    struct pool *pool;
    struct pool_act act;
};

/* Connections beyond max_client_conn that are being told so, or log in to the console: at most about so many,
 * and at most so many per worker. */
#define SESSION_MAX_REFUSED   64
#define SESSION_LEAST_REFUSED 8

/* TLS handshakes with clients: src/session/client_tls.c. */
struct handshakes {
    struct list ready;   /* something has come from the client; in the order of coming */
    struct list waiting; /* not begun, for want of a place; in the order of coming */
    struct list silent;  /* the client has to say something; the longest silent first */
    int n;               /* begun and not over */
    bool is_deferred;
    struct deferred deferred; /* works on ready at the end of the turn */
};

struct mail_client;

/* The question whether a worker takes its mail: worker.c. Lies in the shard, so one is under way at a time.
 */
struct pulse {
    struct mail mail;
    _Atomic int64_t asked_us; /* since when it is: the worker's until it makes this 0 */
};

/* What the last login came to, as the next one is mostly like it. References; NULL: none yet. */
struct last_login {
    struct params *welcome; /* the pool's, */
    struct params *all;     /* with the client's own settings over it: */
    struct params *mine;    /* what the client keeps of that */
    struct params *told;    /* what it was told, */
    struct buf status;      /* as ParameterStatus messages */
};

struct shard {
    /* constant */
    struct loop loop;
    struct instance *instance;
    uint8_t index;

    /* [owner thread] */
    struct session_config *config;
    const struct settings *settings; /* of config: shard_apply_config() */
    struct slab client_slab;
    struct handle_table clients;
    struct list client_lists[CLIENT_STATES];
    struct list server_lists[SERVER_STATES];
    struct deadlines idle;   /* of the clients in IDLE */
    struct deadlines linked; /* of the servers in ACTIVE and BARRED */
    int n_pinned;            /* clients with a pin: pin.h */
    struct event tick_event; /* runs only while some deadline may come */
    int64_t tick_at_us;      /* when it will; 0: not armed */
    int64_t now_us;          /* time of the event that is being handled: shard_touch() */
    bool is_stopping;        /* closing everything; the loop ends when all have gone */
    int64_t stopping_since_us;
    struct mail_order *stop_order; /* acknowledged when that is so */
    struct pending_act *acts;      /* performed in order by shard_perform() */
    uint32_t acts_head, acts_tail, acts_capacity;
    bool acts_are_draining;
    struct server
        *current; /* whose input is being handled; NULL again once it has been handed to another worker */
    struct client *refused[SESSION_MAX_REFUSED]; /* clients beyond max_client_conn, oldest first: places.c */
    int n_refused;
    int64_t said_crowded_us;         /* when it was last said that an address has too many logins; 0: never */
    struct cancel_table cancel_keys; /* of its clients */
    struct list cancels;             /* struct cancel: under way */
    struct list held_back;           /* struct client_login that has failed, oldest first: client_failed.c */
    int n_held_back;
    struct list cancels_queued; /* ... and those that wait for a place, oldest first */
    int n_cancel_clients;       /* clients in CLIENT_CANCEL */
    struct handshakes handshakes;
    struct last_login last_login;
    struct listen_set *listen_sets;       /* channels that its clients listen to: channels.c */
    struct list listen_waiting;           /* struct listening: their LISTEN waits for a channel */
    struct list listen_doomed;            /* ... that are to be closed */
    struct listen_server *listen_servers; /* listening connections that are this worker's: listen_server.c */

    /* [atomic], written by the owner */
    _Atomic int n_clients;
    _Atomic int n_dispatched; /* mailed to us first and not yet counted in any n_clients; raised by the
                                 control thread, lowered by the worker whose client it has become */
    _Atomic int n_servers;
    _Atomic uint64_t handoffs;      /* servers mailed to another worker's waiter on release */
    _Atomic uint64_t steals;        /* idle servers of other workers taken by our clients */
    _Atomic uint64_t adopted;       /* servers that arrived */
    _Atomic int n_listeners;        /* channels that its clients listen to, of all clients together */
    _Atomic uint64_t notifications; /* kept for or sent to clients */

    struct pulse pulse;
};

/* Boot; false when the system has no resources for it. on_mail gets all mail of the thread (loop->arg is the
 * shard) and gives shard_on_mail() what is a session's business. Takes over the reference to config. */
bool shard_init(struct shard *sh, struct instance *in, uint8_t index, struct session_config *config,
                void (*on_mail)(struct loop *, struct mail *)) must_check;
/* After its thread has ended. */
void shard_destroy(struct shard *sh);
/* A typed message for this shard; the loop's on_mail hands everything here that is a session's business.
 * False when the type is not one of them. */
bool shard_on_mail(struct shard *sh, struct mail *m);
/* A connected client, accepted by the control thread; a place in instance->clients is reserved
 * (is_over_limit: none was). m is freed, or on its way to the next worker. */
void shard_accept(struct shard *sh, struct mail_client *m);
/* A place among max_client_conn, from any thread. */
bool places_take_client(struct instance *in, int max_client_conn) must_check;
/* How many clients beyond max_client_conn a worker of n_workers has at a time. */
int places_refused_share(int n_workers);
/* All clients and servers go, now (immediate shutdown). */
void shard_close_all(struct shard *sh, enum close_reason why);
/* Re-reads what clients keep of the settings, after sh->config was swapped. */
void shard_apply_config(struct shard *sh);

#endif
