/*
 * limits.h - how many server connections a database or a user may have, over all pools.
 *
 * A pool that has waiters and free places of its own, but finds a limit full, starves: it joins the
 * ring of that limit, and an idle server of another pool under the same limit gives way
 * (limits_evict, or the next server that would become idle). Who frees a place has the pool at the head of
 * the ring pumped after dropping its own lock. While the ring is not empty, nobody but the
 * pool whose turn it is may take a free place; a pool that no longer needs one passes its turn on.
 *
 * A pool whose own clients go on waiting would never have a server to spare. So when a server comes free that
 * has served it for a turn (LIMITS_TURN_US), it goes too, if a starving pool has none at all, or at least two
 * fewer: where places are scarce, pools without any take turns, and others differ by one.
 *
 * Invariants: while a ring is not empty and there is room, a PUMP for its head is on the way;
 *             a pool is in one ring at a time, oldest hunger first.
 * Threads: any. Ring, members and each taking of a place: limits.lock (rank 30), taken only when a
 *          connection is opened or closed; the atomics are for a look without it.
 */
#ifndef POOL_LIMITS_H
#define POOL_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/lock.h"

/* How long a server at least serves a pool with waiting clients before it gives way to another pool: long
 * against the time of a login, short against a client's patience. */
#define LIMITS_TURN_US (200 * 1000)

struct pool;
struct pool_acts;

struct limits {
    _Atomic int count;     /* connections, CONNECTING and CLOSING ones included; grows under the lock only */
    _Atomic int leaving;   /* of these CLOSING: places that will come free */
    _Atomic int max;       /* 0 = no limit */
    _Atomic int starving;  /* pools in the ring */
    struct lock lock;      /* rank LIMITS */
    struct list ring;      /* [lock] starving pools, oldest first */
    struct pool **members; /* [lock] all pools under this limit */
    int n_members, members_capacity; /* [lock] */
};

void limits_init(struct limits *l);
void limits_destroy(struct limits *l);

/* Any thread, no lock held: sets the limit; 0 = none. Acts: PUMP and EVICT for the pools that starve for it.
 */
void limits_set_max(struct limits *l, int max, struct pool_acts *acts);

/* Any thread, no lock held: makes one idle server of another pool under l close, the one that has been idle
 * longest. Acts (at most one CLOSE) are performed by the caller. False when there is none, or no need any
 * more. */
bool limits_evict(struct limits *l, struct pool *starving, int64_t now_us, struct pool_acts *acts);

#endif
