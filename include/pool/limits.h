/*
 * limits.h - how many server connections a database or a user may have, over all pools.
 *
 * Counting is a compare-and-swap. A pool that has waiters and free places of its own, but finds
 * a limit full, starves: it joins the ring of that limit, and an idle server of another
 * pool under the same limit gives way (limits_evict). Who frees a place takes the next
 * pool from the ring and has it served after dropping its own lock. While
 * the ring is not empty, nobody but the pool whose turn it is may take a free place.
 *
 * Threads: any. Ring and members: limits.lock (rank 30).
 */
#ifndef POOL_LIMITS_H
#define POOL_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/lock.h"

struct pool;
struct pool_acts;

struct limits {
    _Atomic int count; /* connections, CONNECTING and CLOSING ones included */
    _Atomic int max;   /* 0 = no limit */
    _Atomic int starving; /* pools in the ring, for a look without the lock */
    struct lock lock;  /* rank LIMITS */
    struct list ring;  /* [lock] starving pools, oldest first */
    struct pool **members; /* [lock] all pools under this limit */
    int n_members, members_capacity; /* [lock] */
    int next_victim;   /* [lock] where limits_evict looks first */
};

void limits_init(struct limits *l);
void limits_destroy(struct limits *l);

/* Control thread or registry, no pool lock held: makes one idle server of another pool under l close.
 * Acts (at most one CLOSE) are performed by the caller. False when there is none. */
bool limits_evict(struct limits *l, struct pool *starving, int64_t now_us, struct pool_acts *acts);

#endif
