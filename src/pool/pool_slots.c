/*
 * pool_slots.c - the slots of a pool: their states, lists, counts and memory.
 *
 * Invariant: count[] and nslots agree with the states of the slots, and each slot is in
 *            the list that belongs to its state.
 * Threads: any. Everything is protected by pool->lock, except the allocation of more slots, which is done
 *          outside and linked in under it. Slots are never freed while the pool lives.
 */
#include "pool_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Slots are used from the front, so that the memory of a large pool is touched only as far as it is needed.
 */
struct slot_chunk {
    struct slot_chunk *next;
    int n;
    int used;
    struct slot slots[];
};

#define TO(state) (1u << SLOT_##state)

static const unsigned legal_moves[SLOT_STATES] = {
    [SLOT_FREE] = TO(CONNECTING),
    [SLOT_CONNECTING] = TO(ACTIVE) | TO(MOVING) | TO(IDLE) | TO(CLOSING) | TO(FREE),
    [SLOT_IDLE] = TO(ACTIVE) | TO(MOVING) | TO(CLOSING),
    [SLOT_ACTIVE] = TO(TESTING) | TO(IDLE) | TO(ACTIVE) | TO(MOVING) | TO(CLOSING),
    [SLOT_TESTING] = TO(IDLE) | TO(ACTIVE) | TO(MOVING) | TO(CLOSING),
    [SLOT_MOVING] = TO(ACTIVE) | TO(IDLE) | TO(MOVING) | TO(CLOSING),
    [SLOT_CLOSING] = TO(FREE),
};

/* What was borrowed goes back first: with the next slot that ends, whichever it is. */
void slot_count_lent(struct pool *pool)
{
    int over = pool->nslots - pool->config.limit;

    if (pool->lent > over)
        pool->lent = over > 0 ? over : 0;
    if (pool->lent > pool->config.reserve)
        pool->lent = pool->config.reserve;
}

static void count_move(struct pool *pool, enum slot_state from, enum slot_state to)
{
    if (from == SLOT_FREE)
        pool->nslots++;
    else
        pool->count[from]--;
    if (to == SLOT_FREE)
        pool->nslots--;
    else
        pool->count[to]++;
    if (unlikely(pool->lent > 0))
        slot_count_lent(pool);
}

static void count_leaving(struct pool *pool, int n)
{
    atomic_fetch_add(&pool->database->limits.leaving, n);
    atomic_fetch_add(&pool->user->limits.leaving, n);
}

void slot_move(struct slot *slot, enum slot_state to, int64_t now_us)
{
    struct pool *pool = slot->pool;

    lock_assert_held(&pool->lock);
    /* In every build: one server given to two clients would be worse than an end. */
    assert(legal_moves[slot->state] & (1u << to));
    if (slot->state == SLOT_CLOSING)
        count_leaving(pool, -1);
    if (to == SLOT_CLOSING)
        count_leaving(pool, 1);
    count_move(pool, slot->state, to);
    slot->state = to;
    if (unlikely(slot->is_pinned) && to != SLOT_TESTING)
        slot_unpin(slot);
    list_del(&slot->node);
    switch (to) {
    case SLOT_IDLE:
        slot->idle_since_us = now_us;
        list_push_front(&pool->idle[slot->owner], &slot->node);
        break;
    case SLOT_FREE:
        slot->server = NULL;
        slot->close_reason = CLOSE_NONE;
        list_push_front(&pool->free_slots, &slot->node);
        break;
    default: list_push_front(&pool->used_slots, &slot->node);
    }
    if (to != SLOT_MOVING)
        slot->grant.client = 0;
}

void slot_note_end(struct pool *pool, enum close_reason why, int64_t now_us)
{
    switch (why) {
    case CLOSE_SERVER_IDLE_TIMEOUT:
    case CLOSE_SERVER_LIFETIME:
    case CLOSE_POOL_IDLE:
    case CLOSE_OVER_LIMIT:
    case CLOSE_STATE_LEFT:
    case CLOSE_UNCLEAN:
    case CLOSE_AUTH_QUERY_DONE:
        if (pool->reached_us != 0)
            pool->reached_us = now_us;
        return;
    default: pool->reached_us = 0;
    }
}

void slot_close(struct slot *slot, enum close_reason why, int64_t now_us)
{
    slot_move(slot, SLOT_CLOSING, now_us);
    slot->close_reason = why;
    slot_note_end(slot->pool, why, now_us);
}

void slot_doom(struct slot *slot, enum close_reason why, int64_t now_us)
{
    slot_close(slot, why, now_us);
    list_del(&slot->node);
    list_push_back(&slot->pool->to_close, &slot->node);
}

struct slot *slot_get_free(struct pool *pool)
{
    if (!list_is_empty(&pool->free_slots))
        return list_entry(pool->free_slots.next, struct slot, node);
    for (struct slot_chunk *c = pool->chunks; c != NULL; c = c->next) {
        if (c->used == c->n)
            continue;
        struct slot *slot = &c->slots[c->used++];
        slot->pool = pool;
        list_init(&slot->node);
        return slot;
    }
    return NULL;
}

static struct slot *idle_of(struct pool *pool, uint8_t worker)
{
    struct list *idle = &pool->idle[worker];
    if (list_is_empty(idle))
        return NULL;
    return list_entry(pool->config.round_robin ? idle->prev : idle->next, struct slot, node);
}

struct slot *slot_find_idle(struct pool *pool, uint8_t first, uint8_t second)
{
    struct slot *slot;

    if (pool->count[SLOT_IDLE] == 0)
        return NULL;
    if (first < pool->n_workers && (slot = idle_of(pool, first)) != NULL)
        return slot;
    if (second < pool->n_workers && (slot = idle_of(pool, second)) != NULL)
        return slot;
    /* From the neighbour on, so that not all workers take from the first. */
    for (int i = 1; i <= pool->n_workers; i++)
        if ((slot = idle_of(pool, (uint8_t)((first + i) % pool->n_workers))) != NULL)
            return slot;
    return NULL;
}

struct slot *slot_find_longest_idle(struct pool *pool)
{
    struct slot *best = NULL;

    for (int w = 0; w < pool->n_workers; w++) {
        if (list_is_empty(&pool->idle[w]))
            continue;
        struct slot *oldest = list_entry(pool->idle[w].prev, struct slot, node);
        if (best == NULL || oldest->idle_since_us < best->idle_since_us)
            best = oldest;
    }
    return best;
}

enum close_reason slot_must_close(const struct slot *slot, int64_t now_us)
{
    struct pool *pool = slot->pool;
    const struct pool_config *config = &pool->config;

    if (slot->close_reason != CLOSE_NONE)
        return slot->close_reason;
    if (pool->is_removed)
        return CLOSE_DATABASE_REMOVED;
    if (pool->is_paused)
        return CLOSE_PAUSED;
    /* Those that are closing already make room: no more than needed may go. */
    if (pool->nslots - pool->count[SLOT_CLOSING] > config->limit + pool->lent)
        return CLOSE_OVER_LIMIT;
    if (limits_is_over(&pool->database->limits) || limits_is_over(&pool->user->limits))
        return CLOSE_OVER_LIMIT;
    if (config->is_for_one_use && (slot->state == SLOT_ACTIVE || slot->state == SLOT_TESTING))
        return CLOSE_SERVER_LIFETIME;
    if (config->lifetime_us > 0 &&
        now_us - slot->connected_us >= config->lifetime_us / 1000 * slot->lifetime_permille)
        return CLOSE_SERVER_LIFETIME;
    return CLOSE_NONE;
}

bool pool_allocate_slots(struct pool *pool, int limit)
{
    struct slot_chunk *chunk;
    int missing;

    lock_acquire(&pool->lock);
    missing = limit - pool->slots_allocated;
    lock_release(&pool->lock);
    if (missing <= 0)
        return true;
    chunk = calloc(1, sizeof(*chunk) + (size_t)missing * sizeof(struct slot));
    if (chunk == NULL)
        return false;
    chunk->n = missing;
    /* Two threads may configure at a time; then there are slots to spare. */
    lock_acquire(&pool->lock);
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    pool->slots_allocated += missing;
    lock_release(&pool->lock);
    return true;
}

void pool_free_slots(struct pool *pool)
{
    while (pool->chunks != NULL) {
        struct slot_chunk *next = pool->chunks->next;
        free(pool->chunks);
        pool->chunks = next;
    }
}

/* splitmix64; a state per pool, so that a simulation can be repeated. */
uint32_t pool_random(struct pool *pool, uint32_t n)
{
    uint64_t z = (pool->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z >> 32) % n);
}
