/*
 * pool.h - the ledger of server connections of one (database, user).
 *
 * Decides who gets which server, when to connect and when to wait. Touches no
 * socket: each call changes the ledger under pool->lock and returns acts, which the
 * caller performs after the call, itself or by mail to the worker that the act names.
 *
 * The life of a slot:
 *
 *   FREE -> CONNECTING -> (ACTIVE | MOVING | IDLE | CLOSING | FREE)
 *   IDLE -> ACTIVE (taken by its own worker), MOVING (granted to a waiter), CLOSING
 *   ACTIVE -> TESTING (reset query), IDLE, ACTIVE (linked to the next), MOVING, CLOSING
 *   TESTING -> as ACTIVE
 *   MOVING -> ACTIVE (adopted), IDLE, MOVING (on to the next), CLOSING (server died on the way)
 *   CLOSING -> FREE
 *
 * A ticket is a client's place in the queue. It is embedded in the client, and
 * linked here while it waits. A granted ticket is not linked; the slot that is on its way
 * carries a copy (struct grant) and finds the client by handle, so a client may go at any time.
 *
 * Threads: any worker and the control thread. All state is protected by pool->lock
 * (rank 20) unless a field says otherwise. Pools are found through registry.h.
 *
 * Invariants (tests/sim):
 *   connecting + idle + active + testing + moving + closing == nslots;
 *   a slot is opened only while nslots < limit and under the limits of its database and user
 *     (limits may fall on reload; slots then close on release);
 *   no idle server while someone waits, unless paused;
 *   tickets are granted in order of their numbers, but for policy.h's bounded overtaking.
 */
#ifndef POOL_POOL_H
#define POOL_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/lock.h"
#include "pool/limits.h"
#include "stats/close_reason.h"
#include "stats/pool_stats.h"
#include "stats/utilization.h"
#include "wire/params.h"

#define POOL_MAX_WORKERS 64
#define POOL_ERROR_BYTES 256
#define POOL_MAX_ACTS 4

struct pool;

enum slot_state {
    SLOT_FREE,
    SLOT_CONNECTING,
    SLOT_IDLE,
    SLOT_ACTIVE,
    SLOT_TESTING,
    SLOT_MOVING,
    SLOT_CLOSING,
    SLOT_STATES
};

/* A ticket's identity as it travels with a slot. */
struct grant {
    uint64_t client;   /* handle in the table of its worker; 0 = nobody */
    uint64_t number;   /* ticket number: place in the queue */
    int64_t since_us;  /* when it began to wait */
    uint8_t worker;
};

struct slot {
    struct pool *pool;     /* constant */
    /* [pool.lock] */
    struct list node;      /* idle[owner] while IDLE, pool->free_slots while FREE, else pool->used_slots */
    enum slot_state state;
    uint8_t owner;         /* worker that holds the server; for MOVING the one to which the mail is addressed */
    uint32_t config_generation;
    int64_t opened_us;     /* CONNECTING began */
    int64_t connected_us;  /* login done */
    int64_t idle_since_us;
    struct grant grant;    /* MOVING: for whom */
    enum close_reason close_reason; /* CLOSING: why; else CLOSE_NONE, or why it must close on release */
    /* [owner] */
    void *server;          /* session's half */
};

enum ticket_state { TICKET_NONE, TICKET_WAITING, TICKET_GRANTED };

struct ticket {
    struct list node;    /* [pool.lock] pool->waiters */
    uint64_t client;     /* constant while in use: handle */
    uint64_t number;     /* [pool.lock] */
    int64_t since_us;    /* [pool.lock] */
    uint8_t worker;      /* constant */
    uint8_t state;       /* [pool.lock] enum ticket_state */
    bool overtaken_done; /* [pool.lock] free for policy.c */
};

enum pool_act_kind {
    POOL_ACT_LINK,    /* slot is ACTIVE for grant.client, both on the calling worker: link and send */
    POOL_ACT_IDLE,    /* slot is IDLE on the calling worker; nothing to do */
    POOL_ACT_HANDOFF, /* slot is MOVING and the caller has the server: detach it, mail ADOPT to `worker` */
    POOL_ACT_YIELD,   /* slot is MOVING: mail YIELD to `worker`, which has the server (may be the caller) */
    POOL_ACT_CONNECT, /* slot is CONNECTING: `worker` is to open it (may be the caller) */
    POOL_ACT_CLOSE,   /* slot is CLOSING for slot->close_reason: `worker` has the server and is to close it */
    POOL_ACT_FAIL,    /* grant's client waits in vain: tell `worker`; cause: pool_last_error() */
    POOL_ACT_PUMP,    /* another pool (act.pool) has got headroom: call pool_pump(act.pool) with no lock held */
    POOL_ACT_EVICT,   /* pool starves under a database or user limit: call limits_evict(act.limits, pool, ...) */
};

struct pool_act {
    enum pool_act_kind kind;
    uint8_t worker;
    struct slot *slot;
    struct pool *pool;
    struct limits *limits;
    struct grant grant;
};

/* What is to be done, in order. When `more` is set the caller, having performed these, calls pool_pump(pool). */
struct pool_acts {
    int n;
    bool more;
    struct pool_act act[POOL_MAX_ACTS];
};

/* Set by the control thread from the configuration. */
struct pool_config {
    int limit;               /* pool_size */
    int min_size;            /* min_pool_size */
    bool round_robin;        /* server_round_robin */
    uint32_t generation;     /* grows when connection data change: older servers close when free */
    int64_t lifetime_us;     /* server_lifetime; 0 = for ever */
    int64_t idle_timeout_us; /* server_idle_timeout; 0 = for ever */
    int64_t login_retry_us;  /* server_login_retry: longest pause between attempts to connect */
    int64_t overtake_us;     /* policy: handoff_slack */
    int overtake_max;        /* policy: handoff_burst */
};

struct pool_database;
struct pool_user;

struct pool {
    /* constant */
    struct pool_database *database;
    struct pool_user *user;
    int n_workers;
    struct pool_stats stats;      /* per-worker shards, each written by its worker */

    struct lock lock; /* rank POOL */
    /* [lock] */
    struct pool_config config;
    bool is_paused;
    bool is_removed;              /* database or user has gone from the configuration: drain */
    struct list *idle;            /* [n_workers]; newest first */
    struct list used_slots;       /* all that are neither IDLE nor FREE */
    struct list free_slots;
    struct list waiters;          /* tickets, by number */
    uint64_t next_ticket;
    int count[SLOT_STATES];       /* slots by state; FREE is not counted */
    int nslots;                   /* sum of count[] */
    int n_waiters;
    int ramp;                     /* connections that may be in progress at a time: 1, 2, 4, ... */
    int64_t retry_us;             /* no connecting before this; 0 = at once */
    int64_t backoff_us;           /* the pause after the next failure */
    bool is_refused;              /* last failure was for good (class 28, 3D000): newcomers fail until retry_us */
    char last_error[POOL_ERROR_BYTES];    /* "" when the last connection succeeded */
    char last_error_sqlstate[6];
    struct params *welcome;       /* all parameters a server of this pool reports at login; NULL before the first */
    struct utilization util;
    struct list db_ring, user_ring; /* [limits.lock] in the ring of starving pools of database and user */

    /* [atomic] */
    _Atomic int waiting_hint;     /* n_waiters, for a look without the lock */
    _Atomic int clients;          /* client sessions logged in to this pool: reference count */
};

/* Checkout: ticket has client and worker set. Acts: LINK when a server of this worker was idle; otherwise the
 * ticket waits (state WAITING or GRANTED), with YIELD, CONNECT or EVICT where that helps; FAIL when logins are being
 * refused for good. n == 0: wait. */
void pool_checkout(struct pool *pool, struct ticket *ticket, int64_t now_us, struct pool_acts *acts);

/* Client goes or gives up: leaves the queue. False when it was GRANTED: the slot that is on its way will find nobody
 * and serve the next (do not reuse the ticket's number; the ticket becomes NONE). */
bool pool_cancel(struct pool *pool, struct ticket *ticket, int64_t now_us);
/* For a timer: true (and cancelled) only when the ticket is WAITING; a granted one is left alone. */
bool pool_cancel_if_waiting(struct pool *pool, struct ticket *ticket, int64_t now_us);
/* Back to its old place: the server granted (or linked and found dead by a check) has gone. */
void pool_requeue(struct pool *pool, struct ticket *ticket, const struct grant *grant, int64_t now_us,
                  struct pool_acts *acts);

/* The calling worker has done with an ACTIVE or TESTING slot, in a clean state. why != CLOSE_NONE: it must be closed.
 * Acts: LINK, HANDOFF, IDLE or CLOSE for this slot, first; then others. */
void pool_release(struct pool *pool, struct slot *slot, enum close_reason why, int64_t now_us,
                  struct pool_acts *acts);
/* ACTIVE -> TESTING: a reset query runs on the server, for no client. */
void pool_testing(struct pool *pool, struct slot *slot, int64_t now_us);

/* A login has ended well: CONNECTING -> as pool_release. welcome: all reported parameters (a reference is taken). */
void pool_connected(struct pool *pool, struct slot *slot, struct params *welcome, int64_t now_us,
                    struct pool_acts *acts);
/* ... or not: slot is FREE. for_good: the server refused (class 28, 3D000). All waiters get FAIL acts then (use
 * `more`). error: one line. */
void pool_connect_failed(struct pool *pool, struct slot *slot, bool for_good, const char *sqlstate,
                         const char *error, int64_t now_us, struct pool_acts *acts);

/* ADOPT has arrived at the grant's worker: ticket is the client's if its handle and number still match, else NULL.
 * Acts as for pool_release, LINK when the client is there. */
void pool_adopt(struct pool *pool, struct slot *slot, struct ticket *ticket, int64_t now_us,
                struct pool_acts *acts);
/* YIELD has arrived at the owner. server_alive: act HANDOFF (or LINK when the grant is for this worker and ticket
 * is there; ticket as for pool_adopt, NULL otherwise). Dead: slot is CLOSING with why, *failed is the grant, whose worker is to be
 * told (GRANT_FAILED; it calls pool_requeue). */
void pool_yield(struct pool *pool, struct slot *slot, struct ticket *ticket, bool server_alive,
                enum close_reason why, struct grant *failed, int64_t now_us, struct pool_acts *acts);

/* The owner found the server dead or wants it closed, in whatever state: CLOSING. False when the slot is MOVING
 * away under a YIELD that has not arrived: mark the server dead and let that mail decide. */
bool pool_closing(struct pool *pool, struct slot *slot, enum close_reason why, int64_t now_us) must_check;
/* PostgreSQL has closed its end (or the wait for that is over): CLOSING -> FREE; serves whoever the place helps. */
void pool_closed(struct pool *pool, struct slot *slot, int64_t now_us, struct pool_acts *acts);

/* Serves waiters as far as possible: after RESUME, a raised limit, a retry that is due, POOL_ACT_PUMP. Any thread;
 * worker: the calling worker, or POOL_NO_WORKER for the control thread (then no act is LINK or HANDOFF). */
#define POOL_NO_WORKER 255
void pool_pump(struct pool *pool, uint8_t worker, int64_t now_us, struct pool_acts *acts);

/* Once a second or so from the control thread: idle timeout, lifetime of idle servers, min_pool_size (connects on
 * worker prefer_worker), over-limit and old-generation idle servers. Never closes below min_size for idleness. */
void pool_maintain(struct pool *pool, uint8_t prefer_worker, int64_t now_us, struct pool_acts *acts);

void pool_configure(struct pool *pool, const struct pool_config *config, int64_t now_us, struct pool_acts *acts);
/* Pausing closes idle servers (acts CLOSE) and makes others close on release; resuming pumps. */
void pool_set_paused(struct pool *pool, bool paused, int64_t now_us, struct pool_acts *acts);
/* All servers close when they come free, with why (RECONNECT, KILL). */
void pool_recycle(struct pool *pool, enum close_reason why, int64_t now_us, struct pool_acts *acts);
/* Every waiter gets a FAIL act (use `more`: it calls pool_fail_waiters again is the caller's duty). Returns false when none is left. */
bool pool_fail_waiters(struct pool *pool, int64_t now_us, struct pool_acts *acts);

/* Copies of what is protected. */
struct params *pool_welcome(struct pool *pool); /* a reference, or NULL before the first login */
void pool_last_error(struct pool *pool, char sqlstate[6], char *text, size_t size);

struct pool_numbers {
    int count[SLOT_STATES];
    int nslots, limit, n_waiters;
    int used;                 /* of the idle: idle for longer than check_delay_us */
    int64_t oldest_wait_us;   /* age of the head of the queue; 0 = nobody */
    bool is_paused;
    double utilization_now;
    double utilization[4];    /* 1, 5, 15, 60 minutes */
    int peak;
    int64_t saturated_us;
};
void pool_read(struct pool *pool, int64_t check_delay_us, int64_t now_us, struct pool_numbers *out);

/* Recounts everything; for tests and debug builds. Caller does not hold the lock. */
bool pool_check(struct pool *pool);

#endif
