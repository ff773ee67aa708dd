/*
 * pool.h - the ledger of server connections of one (database, user).
 *
 * Decides who gets which server, when to connect and when to wait. Touches no
 * socket: each call changes the ledger under pool->lock and returns acts, which the
 * caller performs after the call, itself or by mail to the worker that the act names.
 *
 * slot.h says how a slot lives, what a ticket is, and what acts there are.
 *
 * Threads: any worker and the control thread. All state is protected by pool->lock
 * (rank 20) unless a field says otherwise. Pools are found through registry.h.
 *
 * Invariants (tests/sim):
 *   connecting + idle + active + testing + moving + closing == nslots;
 *   a slot is opened only while nslots < limit, or, as one of `reserve` more, for a waiter that has waited
 *     for reserve_after_us; and always under the limits of its database and user
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
#include "pool/accepted.h"
#include "pool/cancel_gauge.h"
#include "pool/limits.h"
#include "pool/numbers.h"
#include "pool/pins.h"
#include "pool/slot.h"
#include "stats/pool_stats.h"
#include "stats/utilization.h"

#define POOL_ERROR_BYTES 256

/* Set by the control thread from the configuration. */
struct pool_config {
    int limit;                     /* pool_size */
    int reserve;                   /* reserve_pool_size: places beyond limit for those who wait long */
    int64_t reserve_after_us;      /* reserve_pool_timeout: how long that is; 0 = the reserve is not used */
    int min_size;                  /* min_pool_size */
    int max_pinned;                /* max_pinned: servers that clients may keep beyond their transactions */
    bool round_robin;              /* server_round_robin */
    int64_t lifetime_us;           /* server_lifetime; 0 = for ever, but for is_for_one_use */
    bool is_for_one_use;           /* server_lifetime = 0: a server closes when it comes free */
    int64_t idle_timeout_us;       /* server_idle_timeout; 0 = for ever */
    int64_t login_retry_us;        /* server_login_retry: longest pause between attempts to connect */
    int64_t overtake_us;           /* policy: handoff_slack */
    int overtake_max;              /* policy: handoff_burst */
    bool keep_min_without_clients; /* min_size holds with no client there (forced user) */
};

struct found_user;
struct pool_database;
struct pool_user;

struct pool {
    /* constant */
    struct pool_database *database;
    struct pool_user *user;
    const char *label; /* who, in SHOW and metrics: the user; "USER (auth_query)", "USER (listen)" */
    enum pool_purpose purpose;
    int n_workers;
    struct pool_stats stats; /* per-worker shards, each written by its worker */

    struct lock lock; /* rank POOL */
    /* [lock] */
    struct pool_config config;
    bool is_paused;
    bool is_removed;           /* database or user has gone from the configuration: drain */
    struct list *idle;         /* [n_workers]; newest first */
    struct list used_slots;    /* all that are neither IDLE nor FREE */
    struct list to_close;      /* CLOSING slots whose CLOSE act is still to be handed out (`more`) */
    struct list free_slots;    /* that have been used before */
    struct slot_chunk *chunks; /* memory of the slots; grows with the limit, freed with the pool */
    int slots_allocated;
    struct list waiters; /* tickets, by number */
    uint64_t next_ticket;
    int count[SLOT_STATES]; /* slots by state; FREE is not counted */
    int nslots;             /* sum of count[] */
    int lent;               /* places taken from the reserve and not given back: how far nslots may lie
                               above limit; 0..reserve */
    int n_waiters;
    int n_pinned;             /* slots that are pinned: pins.h */
    int ramp;                 /* connections that may be in progress at a time: 1, 2, 4, ... */
    int64_t retry_us;         /* no connecting before this; 0 = at once */
    int64_t backoff_us;       /* the pause after the next failure */
    bool is_refused;          /* last failure was for good (class 28, 3D000): until retry_us waiters and
                                 newcomers fail, unless servers are left that can serve them */
    int64_t failed_us;        /* the last attempt that failed; 0 = the last one succeeded */
    int64_t failing_since_us; /* ... and the first one since one succeeded */
    int64_t reached_us; /* a server was well then: logged in, or closed because it was not needed; 0 = never,
                           or what happened since casts doubt on it */
    char last_error[POOL_ERROR_BYTES]; /* "" when the last connection succeeded */
    char last_error_sqlstate[6];
    struct params *welcome; /* all parameters a server of this pool reports at login; NULL before the first */
    struct pool_accepted accepted;
    struct utilization util;    /* the control thread ticks it, under the lock */
    uint64_t random;            /* state of the jitter */
    struct limits *starves_for; /* the limit in whose ring this pool is, or NULL; at most one */
    int64_t shared_us;          /* when it was last looked whether another pool has fewer servers */
    int64_t starving_since_us;  /* its age in the ring; kept when it goes from one ring to the other */
    struct list ring;           /* [limits.lock too] */
    struct found_user *secret;  /* of its user, when a database has told it; else NULL */
    bool has_client_key;        /* ... and a client has proved to know it: its SCRAM key */
    uint8_t client_key[32];

    /* [atomic] */
    _Atomic int waiting_hint;        /* n_waiters, for a look without the lock */
    _Atomic int slots_hint;          /* nslots, likewise: a pause is complete when it is 0 */
    _Atomic int64_t retry_hint_us;   /* somebody waits for this time: from then on a worker whose clients
                                       wait calls pool_pump; 0 = nobody */
    _Atomic int clients;             /* client sessions logged in to this pool: reference count */
    _Atomic int64_t unused_since_us; /* its last client left, or look-up began, then; 0 = it has had none */
    _Atomic bool is_retired;         /* see registry_retire() */
    _Atomic uint32_t turn;           /* of the next connection among the hosts of a list */
    _Atomic int64_t suspected_us;    /* when a server was last thought to have changed its role */
    struct cancel_gauge cancels;     /* against servers of this pool */
};

/* Checkout: ticket has client and worker set. Acts: LINK when a server of this worker was idle; otherwise the
 * ticket waits (state WAITING or GRANTED), with YIELD, CONNECT or EVICT where that helps; FAIL (state NONE)
 * when logins are being refused for good, or the pool is removed. n == 0: wait. The ticket's state is NONE
 * before; it needs no list_init. */
void pool_checkout(struct pool *pool, struct ticket *ticket, int64_t now_us, struct pool_acts *acts) hot_path;

/* Client goes or gives up: leaves the queue. False when it was GRANTED: the slot that is on its way will find
 * nobody and serve the next (the ticket becomes NONE). A ticket that is NONE stays so: a FAIL that is on its
 * way finds nobody. */
bool pool_cancel(struct pool *pool, struct ticket *ticket, int64_t now_us);
/* For a timer: true (and cancelled) only when the ticket is WAITING; a granted one is left alone. */
bool pool_cancel_if_waiting(struct pool *pool, struct ticket *ticket, int64_t now_us);
/* Back to its old place: the server granted (or linked and found dead by a check) has gone. grant: as it came
 * with the act or from pool_yield; the caller has seen that ticket->number is grant->number. Acts as for
 * pool_checkout; a LINK is for any waiter of this worker. */
void pool_requeue(struct pool *pool, struct ticket *ticket, const struct grant *grant, int64_t now_us,
                  struct pool_acts *acts);

/* The calling worker has done with an ACTIVE or TESTING slot, in a clean state. why != CLOSE_NONE: it must be
 * closed. Acts: LINK, HANDOFF, IDLE or CLOSE for this slot, first; then others. */
void pool_release(struct pool *pool, struct slot *slot, enum close_reason why, int64_t now_us,
                  struct pool_acts *acts) hot_path;
/* ACTIVE -> TESTING: a reset query runs on the server, for no client. */
void pool_testing(struct pool *pool, struct slot *slot, int64_t now_us);

/* A login has ended well: CONNECTING -> as pool_release. welcome: all reported parameters (a reference is
 * taken). */
void pool_connected(struct pool *pool, struct slot *slot, struct params *welcome, int64_t now_us,
                    struct pool_acts *acts);
/* ... or not: slot is FREE; or CLOSING when PostgreSQL had let it in (is_in) and counts it: pool_closed()
 * follows. for_good: the server refused (class 28, 3D000). All waiters get FAIL acts then
 * (use `more`). error: one line. */
void pool_connect_failed(struct pool *pool, struct slot *slot, bool for_good, bool is_in,
                         const char *sqlstate, const char *error, int64_t now_us, struct pool_acts *acts);

/* ADOPT has arrived at the grant's worker: ticket is the client's if its handle and number still match, else
 * NULL (its state is checked here). Acts as for pool_release, LINK when the client is there. */
void pool_adopt(struct pool *pool, struct slot *slot, struct ticket *ticket, int64_t now_us,
                struct pool_acts *acts);
/* YIELD has arrived at the owner, or (server_alive = false) ADOPT at a worker that cannot use the server.
 * server_alive: act HANDOFF (or LINK when the grant is for this worker and
 * ticket is there, ticket as for pool_adopt, NULL otherwise; acts as for pool_release when it has gone);
 * failed->client is 0. Dead: slot is CLOSING with why and there is no act for it (the caller closes it and
 * calls pool_closed); *failed is the grant, whose worker, which may be the caller, is to be told
 * (GRANT_FAILED; it calls pool_requeue). */
void pool_yield(struct pool *pool, struct slot *slot, struct ticket *ticket, bool server_alive,
                enum close_reason why, struct grant *failed, int64_t now_us, struct pool_acts *acts);

/* The owner found the server dead or wants it closed, in whatever state: CLOSING. False when the slot is
 * MOVING away under a YIELD that has not arrived, or is CLOSING already, by an act that may still be on its
 * way: mark the server dead and let that mail decide. (Freed at once, the slot could be another server's by
 * the time the CLOSE comes.) */
bool pool_closing(struct pool *pool, struct slot *slot, enum close_reason why, int64_t now_us) must_check;
/* PostgreSQL has closed its end (or the wait for that is over): CLOSING -> FREE; serves whoever the place
 * helps. */
void pool_closed(struct pool *pool, struct slot *slot, int64_t now_us, struct pool_acts *acts);

/* Serves waiters as far as possible: after RESUME, a raised limit, a retry that is due, POOL_ACT_PUMP. Any
 * thread; worker: the calling worker, or POOL_NO_WORKER for the control thread (then no act is LINK or
 * HANDOFF). */
void pool_pump(struct pool *pool, uint8_t worker, int64_t now_us, struct pool_acts *acts);

/* Gone from the configuration: servers close when free, waiters and newcomers fail (FAIL acts). */
bool pool_is_removed(struct pool *pool);
void pool_set_removed(struct pool *pool, bool removed, int64_t now_us, struct pool_acts *acts);

/* Once a second or so from the control thread: idle timeout, lifetime of idle servers, min_pool_size
 * (connects on worker prefer_worker), over-limit idle servers. Never closes below min_size
 * for idleness. */
void pool_maintain(struct pool *pool, uint8_t prefer_worker, int64_t now_us, struct pool_acts *acts);

/* Opens a server on worker when the pool has none and nothing keeps it from trying: to know whether it can.
 */
void pool_want_one(struct pool *pool, uint8_t worker, int64_t now_us, struct pool_acts *acts);
/* Opens one though nobody has asked, when the last attempt failed a while ago for another reason than a
 * refusal. True: it has failed, whenever. */
bool pool_retry_failed(struct pool *pool, uint8_t worker, int64_t now_us, struct pool_acts *acts);

/* Allocates slots, so: outside all locks. When memory is out, the limit stays at what there are slots for.
 * Acts as for pool_pump by the control thread. */
void pool_configure(struct pool *pool, const struct pool_config *config, int64_t now_us,
                    struct pool_acts *acts);
/* Pausing closes idle servers (acts CLOSE) and makes others close on release; resuming pumps. */
void pool_set_paused(struct pool *pool, bool paused, int64_t now_us, struct pool_acts *acts);
/* Would the slot close if it came free now? For server_fast_close. */
bool pool_slot_is_outdated(struct pool *pool, const struct slot *slot, int64_t now_us);
/* Marked to close when it comes free, by pool_recycle(), or closing. */
bool pool_slot_is_marked(struct pool *pool, const struct slot *slot);
/* All servers close when they come free, with why: changed connection data, a pool that is not used any more.
 */
void pool_recycle(struct pool *pool, enum close_reason why, int64_t now_us, struct pool_acts *acts);
/* The same for the servers at these endpoints, or (is_listed false) for those at none of them. One that is
 * still connecting is left alone. Any thread; acts as for pool_pump by the control thread. */
void pool_recycle_at(struct pool *pool, const uint64_t *endpoints, int n, bool is_listed,
                     enum close_reason why, int64_t now_us, struct pool_acts *acts);
/* Waiters get FAIL acts. True: more waiters are left than acts fit; perform these and call it again. */
bool pool_fail_waiters(struct pool *pool, int64_t now_us, struct pool_acts *acts);

/* Copies of what is protected. */
struct params *pool_welcome(struct pool *pool); /* a reference, or NULL before the first login */
void pool_last_error(struct pool *pool, char sqlstate[6], char *text, size_t size);

/* How servers of this pool are logged in to, where auth_file does not say it. A reference is taken;
 * client_key (32 bytes) NULL: not known by this login. */
void pool_keep_secret(struct pool *pool, struct found_user *secret, const uint8_t *client_key);
/* A reference, or NULL; *has_key: client_key (32 bytes) is set. */
struct found_user *pool_secret(struct pool *pool, uint8_t *client_key, bool *has_key) must_check;

/* Recounts everything; for tests and debug builds. Caller does not hold the lock. */
bool pool_check(struct pool *pool);

#endif
