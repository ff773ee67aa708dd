/*
 * slot.h - what the ledger of a pool is made of: slots, tickets, and the acts that it asks for.
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
 * Who may change a slot: MOVING, the worker to which the mail is addressed; CLOSING and CONNECTING, the
 * worker that CLOSE and CONNECT name; ACTIVE and TESTING, the owner; IDLE, anybody.
 *
 * A ticket is a client's place in the queue. It is embedded in the client, and
 * linked here while it waits. A granted ticket is not linked; the slot that is on its way
 * carries a copy (struct grant) and finds the client by handle, so a client may go at any time.
 *
 * Threads: fields stand by who may touch them; pool.lock is the lock of the slot's pool.
 * Not here: what changes them (pool.h), and the server behind a slot (session/).
 */
#ifndef POOL_SLOT_H
#define POOL_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "stats/close_reason.h"

#define POOL_MAX_WORKERS 64
#define POOL_NO_WORKER   255 /* the control thread */
#define POOL_MAX_ACTS    8

struct pool;
struct limits;

/* What the servers of a pool are for. Only those of POOL_FOR_CLIENTS are linked to clients. */
enum pool_purpose {
    POOL_FOR_CLIENTS,
    POOL_FOR_LOOKUPS, /* auth_query, and nothing else */
    /* the one that listens for all clients: idle as the ledger sees it, but it does not give way to others */
    POOL_FOR_LISTENING,
};

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
    uint64_t client;  /* handle in the table of its worker; 0 = nobody */
    uint64_t number;  /* ticket number: place in the queue */
    int64_t since_us; /* when it began to wait */
    uint8_t worker;
};

struct slot {
    struct pool *pool; /* constant */
    /* [pool.lock] */
    struct list node; /* idle[owner] while IDLE, pool->free_slots while FREE, pool->to_close while CLOSING
                         with the act still to be handed out, else pool->used_slots */
    enum slot_state state;
    uint8_t owner; /* worker that holds the server; for MOVING the one to which the mail is addressed */
    int lifetime_permille; /* its own share of lifetime_us, 900 to 1100 */
    int64_t opened_us;     /* CONNECTING began */
    int64_t connected_us;  /* login done */
    int64_t idle_since_us;
    bool is_pinned;     /* ACTIVE, TESTING: its client keeps it beyond its transactions (pins.h) */
    bool from_reserve;  /* opened beyond the limit: for the log; constant from CONNECTING on */
    struct grant grant; /* MOVING: for whom */
    enum close_reason close_reason; /* CLOSING: why; else CLOSE_NONE, or why it must close on release */
    /* [owner], as `server`: written while CONNECTING */
    uint64_t endpoint; /* which address of which host it is connected to */
    void *server;      /* session's half */
};

enum ticket_state { TICKET_NONE, TICKET_WAITING, TICKET_GRANTED };

struct ticket {
    struct list node;   /* [pool.lock] pool->waiters */
    uint64_t client;    /* constant while in use: handle */
    uint64_t number;    /* [pool.lock] */
    int64_t since_us;   /* [pool.lock] */
    uint8_t worker;     /* constant */
    uint8_t state;      /* [pool.lock] enum ticket_state */
    uint16_t overtaken; /* [pool.lock] later tickets that were served first (policy.c) */
};

enum pool_act_kind {
    POOL_ACT_LINK,    /* slot is ACTIVE for grant.client, both on the calling worker: link and send */
    POOL_ACT_IDLE,    /* slot is IDLE on the calling worker; nothing to do */
    POOL_ACT_HANDOFF, /* slot is MOVING and the caller has the server: detach it, mail ADOPT to `worker` */
    POOL_ACT_YIELD,   /* slot is MOVING: mail YIELD to `worker`, which has the server (may be the caller) */
    POOL_ACT_CONNECT, /* slot is CONNECTING: `worker` is to open it (may be the caller) */
    POOL_ACT_CLOSE,   /* slot is CLOSING for slot->close_reason: `worker` has the server and is to close it */
    POOL_ACT_FAIL,    /* grant's client waits in vain: tell `worker`; cause: pool_last_error() */
    POOL_ACT_PUMP,  /* act.pool, another one, has got headroom: call pool_pump(act.pool) with no lock held */
    POOL_ACT_EVICT, /* act.pool starves under a limit: call limits_evict(act.limits, act.pool, ...) likewise
                     */
};

struct pool_act {
    enum pool_act_kind kind;
    uint8_t worker;
    struct slot *slot;
    struct pool *pool;
    struct limits *limits;
    struct grant grant;
};

/*
 * What is to be done, in order. Each call overwrites it: it need not be initialized, and is performed before
 * the next call. When `more` is set the caller, having performed these, calls pool_pump(pool). Every act must
 * be performed, PUMP and EVICT too: the pools that starve rely on it.
 */
struct pool_acts {
    int n;
    bool more;
    struct pool_act act[POOL_MAX_ACTS];
};

#endif
