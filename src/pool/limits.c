/*
 * limits.c - places for server connections under one database or user, and who starves for them.
 *
 * No wake-up is lost because a pool looks for a place and joins the ring under the same
 * hold of the lock, and who makes room looks at the ring under it. The chain of PUMPs
 * goes on until there is no room or nobody in the ring: each taker and each leaver calls the next.
 *
 * A pool in the ring is fed by a place that is free or comes free (leaving), or else by a
 * server that gives way. The deficit says for how many there is neither. It grows only when a pool
 * joins, the limit falls, or an older pool comes from another ring; all of them ask for an eviction; and
 * while it is above 0 no server becomes idle (pool_settle). So no server stays idle next to a starving pool.
 *
 * Invariants: see limits.h. A pool's ring, starves_for and starving_since_us change under its own
 *             lock and that of the limit, by itself only.
 * Threads: any. limits->lock ranks above pool->lock, so a pool is never locked in here, but in
 * limits_evict(), which holds at most one lock at a time.
 */
#include "pool_int.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define EVICT_TRIES  3
#define SHARE_WINDOW 32 /* starving pools looked at */

void limits_init(struct limits *l)
{
    memset(l, 0, sizeof(*l));
    lock_init(&l->lock, LOCK_RANK_LIMITS);
    list_init(&l->ring);
}

void limits_destroy(struct limits *l)
{
    free(l->members);
    l->members = NULL;
    lock_destroy(&l->lock);
}

/* Places that are free; below 0 when the limit has been lowered. */
static int room(struct limits *l)
{
    int max = atomic_load(&l->max);
    return max <= 0 ? INT_MAX : max - atomic_load(&l->count);
}

static int deficit(struct limits *l)
{
    int starving = atomic_load(&l->starving);
    if (starving == 0 || atomic_load(&l->max) <= 0)
        return 0;
    return starving - room(l) - atomic_load(&l->leaving);
}

static struct pool *ring_head(struct limits *l)
{
    return list_first_entry(&l->ring, struct pool, ring);
}

/* The next one's turn, if there is a next one and a place for it. */
static void call_next(struct limits *l, const struct pool *self, struct pool_acts *acts)
{
    struct pool *head = ring_head(l);
    if (head != NULL && head != self && room(l) > 0)
        acts_add_pump(acts, head);
}

static void ring_join(struct limits *l, struct pool *pool, int64_t now_us)
{
    struct list *pos = l->ring.prev;

    assert(pool->starves_for == NULL);
    if (pool->starving_since_us == 0)
        pool->starving_since_us = now_us;
    while (pos != &l->ring && list_entry(pos, struct pool, ring)->starving_since_us > pool->starving_since_us)
        pos = pos->prev;
    list_insert_after(pos, &pool->ring);
    pool->starves_for = l;
    atomic_fetch_add(&l->starving, 1);
}

static void ring_leave(struct limits *l, struct pool *pool)
{
    assert(pool->starves_for == l);
    list_del(&pool->ring);
    pool->starves_for = NULL;
    atomic_fetch_sub(&l->starving, 1);
}

/* Nobody is in the ring, or pool is the head, or it comes from another ring and is older than the head. */
static bool is_turn_of(struct limits *l, const struct pool *pool)
{
    const struct pool *head = ring_head(l);
    return head == NULL || head == pool ||
           (pool->starving_since_us != 0 && pool->starving_since_us < head->starving_since_us);
}

bool limits_take(struct limits *l, struct pool *pool, bool join, int64_t now_us, struct pool_acts *acts)
{
    bool ok;

    lock_acquire(&l->lock);
    ok = room(l) > 0 && is_turn_of(l, pool);
    if (ok) {
        atomic_fetch_add(&l->count, 1);
        if (pool->starves_for == l)
            ring_leave(l, pool);
        else if (deficit(l) > 0) /* it came from another ring, and took what fed the head of this one */
            acts_add_evict(acts, l, ring_head(l));
        call_next(l, pool, acts);
    } else if (join && pool->starves_for != l) {
        ring_join(l, pool, now_us);
        if (deficit(l) > 0)
            acts_add_evict(acts, l, pool);
    }
    lock_release(&l->lock);
    return ok;
}

void limits_give_back(struct limits *l, const struct pool *self, struct pool_acts *acts)
{
    lock_acquire(&l->lock);
    atomic_fetch_sub(&l->count, 1);
    call_next(l, self, acts);
    lock_release(&l->lock);
}

void limits_leave(struct pool *pool, struct pool_acts *acts)
{
    struct limits *l = pool->starves_for;

    if (l == NULL)
        return;
    lock_acquire(&l->lock);
    if (acts != NULL || ring_head(l) != pool || room(l) <= 0) {
        ring_leave(l, pool);
        pool->starving_since_us = 0;
        if (acts != NULL)
            call_next(l, pool, acts);
    }
    lock_release(&l->lock);
}

bool limits_is_over(struct limits *l)
{
    int max = atomic_load(&l->max);
    return max > 0 && atomic_load(&l->count) - atomic_load(&l->leaving) > max;
}

bool limits_is_starved(struct limits *l)
{
    bool is_starved;

    if (atomic_load(&l->starving) == 0)
        return false;
    lock_acquire(&l->lock);
    is_starved = deficit(l) > 0;
    lock_release(&l->lock);
    return is_starved;
}

/* [l->lock] */
static bool has_needier(const struct limits *l, const struct pool *pool, int held)
{
    int looked = 0;

    LIST_FOR_EACH (it, &l->ring) {
        const struct pool *other = list_entry(it, const struct pool, ring);
        int others = atomic_load_explicit(&other->slots_hint, memory_order_relaxed);
        if (other != pool && (others == 0 || others + 2 <= held))
            return true;
        if (++looked == SHARE_WINDOW)
            break;
    }
    return false;
}

bool limits_must_share(struct limits *l, struct pool *pool, int held)
{
    bool must;

    if (atomic_load(&l->starving) == 0)
        return false;
    lock_acquire(&l->lock);
    must = deficit(l) > 0 && has_needier(l, pool, held);
    /* With room it is the head's turn, and a PUMP on its way: the head stays where it is. */
    if (must && pool->starves_for == l && (ring_head(l) != pool || room(l) <= 0)) {
        ring_leave(l, pool);
        pool->starving_since_us = 0;
    }
    lock_release(&l->lock);
    return must;
}

void limits_set_max(struct limits *l, int max, struct pool_acts *acts)
{
    acts_begin(acts);
    lock_acquire(&l->lock);
    atomic_store(&l->max, max);
    call_next(l, NULL, acts);
    if (deficit(l) > 0)
        acts_add_evict(acts, l, ring_head(l));
    lock_release(&l->lock);
}

bool limits_reserve_member(struct limits *l)
{
    struct pool **members, **old;
    int capacity;

    lock_acquire(&l->lock);
    capacity = l->n_members < l->members_capacity ? 0 : 2 * l->members_capacity + 4;
    lock_release(&l->lock);
    if (capacity == 0)
        return true;
    members = calloc((size_t)capacity, sizeof(struct pool *));
    if (members == NULL)
        return false;
    /* Only the registry adds members, one at a time. */
    lock_acquire(&l->lock);
    old = l->members;
    if (l->n_members > 0)
        memcpy(members, old, (size_t)l->n_members * sizeof(struct pool *));
    l->members = members;
    l->members_capacity = capacity;
    lock_release(&l->lock);
    free(old);
    return true;
}

void limits_add_member(struct limits *l, struct pool *pool)
{
    lock_acquire(&l->lock);
    assert(l->n_members < l->members_capacity);
    l->members[l->n_members++] = pool;
    lock_release(&l->lock);
}

/* Members are only ever added, so walking by index sees each. */
static struct pool *member(struct limits *l, int i)
{
    struct pool *pool;

    lock_acquire(&l->lock);
    pool = i < l->n_members ? l->members[i] : NULL;
    lock_release(&l->lock);
    return pool;
}

/* [pool.lock] The slot that pool could give up, or NULL. */
static struct slot *victim_of(struct pool *pool)
{
    return pool->n_waiters == 0 && pool->purpose != POOL_FOR_LISTENING ? slot_find_longest_idle(pool) : NULL;
}

/* The pool that asked is not spared: if nobody waits there any more, others may starve for what it has. */
static struct pool *find_victim(struct limits *l)
{
    struct pool *pool, *best = NULL;
    int64_t best_us = INT64_MAX;

    for (int i = 0; (pool = member(l, i)) != NULL; i++) {
        lock_acquire(&pool->lock);
        const struct slot *slot = victim_of(pool);
        if (slot != NULL && slot->idle_since_us < best_us) {
            best = pool;
            best_us = slot->idle_since_us;
        }
        lock_release(&pool->lock);
    }
    return best;
}

static bool close_victim(struct pool *pool, int64_t now_us, struct pool_acts *acts)
{
    struct slot *slot;

    lock_acquire(&pool->lock);
    slot = victim_of(pool);
    if (slot != NULL) {
        slot_move(slot, SLOT_CLOSING, now_us);
        slot->close_reason = CLOSE_OVER_LIMIT;
        acts_add_slot(acts, POOL_ACT_CLOSE, slot->owner, slot);
        pool_note(pool, now_us);
    }
    lock_release(&pool->lock);
    return slot != NULL;
}

bool limits_evict(struct limits *l, struct pool *starving, int64_t now_us, struct pool_acts *acts)
{
    acts_begin(acts);
    for (int i = 0; i < EVICT_TRIES; i++) {
        struct pool *victim;
        if (!limits_is_starved(l))
            return false;
        victim = find_victim(l);
        if (victim == NULL)
            return false;
        if (close_victim(victim, now_us, acts)) {
            if (limits_is_starved(l))
                acts_add_evict(acts, l, starving);
            return true;
        }
    }
    /* Others were quicker each time; ask again rather than look for ever. */
    acts_add_evict(acts, l, starving);
    return true;
}
