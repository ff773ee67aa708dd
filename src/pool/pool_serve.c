/*
 * pool_serve.c - who waits is served: by an idle server, one that comes free, or a new connection.
 *
 * pool_settle() decides about one server that has come free. pool_serve() brings the
 * pool to rest: after it, unless acts->more is set, nobody waits next to an idle server or
 * next to room for a connection, and the pool is in a ring exactly if only a limit of its database or user
 * keeps it from connecting.
 *
 * Threads: any, pool->lock held throughout.
 */
#include "pool_int.h"

#include <assert.h>
#include <string.h>

#define CONNECT_WINDOW 16 /* tickets looked at for the worker of a new connection */

struct grant ticket_grant(const struct ticket *ticket)
{
    return (struct grant){.client = ticket->client,
                          .number = ticket->number,
                          .since_us = ticket->since_us,
                          .worker = ticket->worker};
}

/* Mostly at the end; a ticket that comes back has a low number, so both ends are near. */
void pool_enqueue(struct pool *pool, struct ticket *ticket)
{
    struct list *pos = pool->waiters.prev;

    assert(ticket->state != TICKET_WAITING);
    if (pos != &pool->waiters && list_entry(pos, struct ticket, node)->number > ticket->number) {
        pos = &pool->waiters;
        while (list_entry(pos->next, struct ticket, node)->number < ticket->number)
            pos = pos->next;
    }
    list_insert_after(pos, &ticket->node);
    ticket->state = TICKET_WAITING;
    pool->n_waiters++;
}

void pool_dequeue(struct pool *pool, struct ticket *ticket, enum ticket_state state)
{
    assert(ticket->state == TICKET_WAITING);
    list_del(&ticket->node);
    ticket->state = (uint8_t)state;
    pool->n_waiters--;
}

/* Gives the slot's server to a waiter. caller: the calling worker, which may have the server, or not. */
static void give_slot(struct pool *pool, struct slot *slot, struct ticket *ticket, uint8_t caller,
                      int64_t now_us, struct pool_acts *acts)
{
    struct grant grant = ticket_grant(ticket);
    enum pool_act_kind kind = POOL_ACT_YIELD;
    uint8_t to = slot->owner;

    if (slot->owner == caller && grant.worker == caller) {
        pool_dequeue(pool, ticket, TICKET_NONE);
        slot_move(slot, SLOT_ACTIVE, now_us);
        acts_add_grant(acts, POOL_ACT_LINK, caller, slot, pool, &grant);
        return;
    }
    pool_dequeue(pool, ticket, TICKET_GRANTED);
    slot_move(slot, SLOT_MOVING, now_us);
    slot->grant = grant;
    if (slot->owner == caller) {
        kind = POOL_ACT_HANDOFF;
        to = slot->owner = grant.worker;
    }
    acts_add_grant(acts, kind, to, slot, pool, &grant);
}

/* With nobody waiting here, a server is kept unless another pool starves under the same limit. */
static enum close_reason must_give_way(struct pool *pool)
{
    if (pool->purpose == POOL_FOR_LISTENING)
        return CLOSE_NONE;
    if (limits_is_starved(&pool->database->limits) || limits_is_starved(&pool->user->limits))
        return CLOSE_OVER_LIMIT;
    return CLOSE_NONE;
}

/* With clients waiting here, it is kept for a turn while other pools have fewer. */
static enum close_reason must_share(struct pool *pool, const struct slot *slot, int64_t now_us)
{
    int held = pool->nslots - pool->count[SLOT_CLOSING];

    if (now_us - slot->connected_us < LIMITS_TURN_US || now_us - pool->shared_us < LIMITS_TURN_US)
        return CLOSE_NONE;
    pool->shared_us = now_us;
    if (limits_must_share(&pool->database->limits, pool, held) ||
        limits_must_share(&pool->user->limits, pool, held))
        return CLOSE_OVER_LIMIT;
    return CLOSE_NONE;
}

void pool_settle(struct pool *pool, struct slot *slot, enum close_reason why, int64_t now_us,
                 struct pool_acts *acts)
{
    struct ticket *ticket = NULL;

    if (why == CLOSE_NONE)
        why = slot_must_close(slot, now_us);
    if (why == CLOSE_NONE)
        why = pool->n_waiters > 0 ? must_share(pool, slot, now_us) : must_give_way(pool);
    if (why == CLOSE_NONE && pool->n_waiters > 0)
        ticket = policy_pick(pool, slot->owner, now_us);
    if (why != CLOSE_NONE) {
        slot_close(slot, why, now_us);
        acts_add_slot(acts, POOL_ACT_CLOSE, slot->owner, slot);
    } else if (ticket != NULL) {
        give_slot(pool, slot, ticket, slot->owner, now_us, acts);
    } else {
        slot_move(slot, SLOT_IDLE, now_us);
        acts_add_slot(acts, POOL_ACT_IDLE, slot->owner, slot);
    }
}

bool pool_is_failing(const struct pool *pool, int64_t now_us)
{
    const int *count = pool->count;

    if (pool->is_removed)
        return true;
    return pool->is_refused && now_us < pool->retry_us &&
           count[SLOT_IDLE] + count[SLOT_ACTIVE] + count[SLOT_TESTING] + count[SLOT_MOVING] == 0;
}

void pool_fail_some(struct pool *pool, struct pool_acts *acts)
{
    struct ticket *ticket;

    while ((ticket = list_first_entry(&pool->waiters, struct ticket, node)) != NULL) {
        struct grant grant = ticket_grant(ticket);
        if (acts_room(acts) == 0) {
            acts->more = true;
            return;
        }
        pool_dequeue(pool, ticket, TICKET_NONE);
        acts_add_grant(acts, POOL_ACT_FAIL, grant.worker, NULL, pool, &grant);
    }
}

bool pool_may_connect(const struct pool *pool, int64_t now_us)
{
    return !pool->is_paused && !pool->is_removed && pool->count[SLOT_CONNECTING] < pool->ramp &&
           pool->nslots < pool->config.limit && now_us >= pool->retry_us;
}

/* The first waiter for whom no connection is in progress, as far as is looked; there is one. */
static const struct ticket *next_unserved(const struct pool *pool)
{
    int skip = pool->count[SLOT_CONNECTING] < CONNECT_WINDOW ? pool->count[SLOT_CONNECTING] : CONNECT_WINDOW;
    const struct list *it = pool->waiters.next;

    while (skip-- > 0 && it->next != &pool->waiters)
        it = it->next;
    return list_entry(it, const struct ticket, node);
}

/* From when on a connection may be opened for a waiter; INT64_MAX: not as long as all stays as it is. Only
 * time is missing before. */
static int64_t connection_due_us(const struct pool *pool)
{
    const struct pool_config *config = &pool->config;
    int64_t due_us = pool->retry_us;

    if (pool->is_paused || pool->is_removed || pool->n_waiters <= pool->count[SLOT_CONNECTING] ||
        pool->count[SLOT_CONNECTING] >= pool->ramp)
        return INT64_MAX;
    if (pool->nslots >= config->limit) {
        if (config->reserve_after_us <= 0 || pool->nslots >= config->limit + config->reserve)
            return INT64_MAX;
        int64_t waited_us = next_unserved(pool)->since_us + config->reserve_after_us;
        due_us = waited_us > due_us ? waited_us : due_us;
    }
    return due_us;
}

bool pool_wants_connection(const struct pool *pool, int64_t now_us)
{
    return connection_due_us(pool) <= now_us;
}

bool pool_open_one(struct pool *pool, uint8_t worker, bool join, int64_t now_us, struct pool_acts *acts)
{
    struct limits *database = &pool->database->limits, *user = &pool->user->limits;
    /* Where it starves it may have the turn: that place first, so that the turn is not lost to the other
     * limit. */
    struct limits *first = pool->starves_for == user ? user : database;
    struct limits *second = first == user ? database : user;
    struct slot *slot;

    if (!limits_take(first, pool, join, now_us, acts))
        return false;
    if (!limits_take(second, pool, join, now_us, acts)) {
        limits_give_back(first, NULL, acts);
        return false;
    }
    pool->starving_since_us = 0;
    slot = slot_get_free(pool);
    assert(slot != NULL);
    slot->owner = worker;
    slot->lifetime_permille = 900 + (int)pool_random(pool, 201);
    slot->opened_us = now_us;
    slot->from_reserve = pool->nslots >= pool->config.limit;
    slot->connected_us = 0;
    if (slot->from_reserve)
        pool->lent = pool->nslots + 1 - pool->config.limit;
    slot_move(slot, SLOT_CONNECTING, now_us);
    acts_add_slot(acts, POOL_ACT_CONNECT, worker, slot);
    return true;
}

static void hand_out_closes(struct pool *pool, struct pool_acts *acts)
{
    while (!list_is_empty(&pool->to_close)) {
        struct slot *slot = list_entry(pool->to_close.next, struct slot, node);
        if (acts_room(acts) == 0) {
            acts->more = true;
            return;
        }
        list_del(&slot->node);
        list_push_front(&pool->used_slots, &slot->node);
        acts_add_slot(acts, POOL_ACT_CLOSE, slot->owner, slot);
    }
}

static void grant_idle(struct pool *pool, uint8_t worker, int64_t now_us, struct pool_acts *acts)
{
    while (pool->n_waiters > 0 && pool->count[SLOT_IDLE] > 0) {
        struct ticket *head = list_first_entry(&pool->waiters, struct ticket, node);
        if (acts_room(acts) == 0) {
            acts->more = true;
            return;
        }
        give_slot(pool, slot_find_idle(pool, head->worker, worker), head, worker, now_us, acts);
    }
}

static void open_connections(struct pool *pool, int64_t now_us, struct pool_acts *acts)
{
    while (pool_wants_connection(pool, now_us)) {
        if (acts_room(acts) < ACTS_PER_OPEN) {
            acts->more = true;
            return;
        }
        if (!pool_open_one(pool, next_unserved(pool)->worker, true, now_us, acts))
            return;
    }
}

void pool_serve(struct pool *pool, uint8_t worker, int64_t now_us, struct pool_acts *acts)
{
    lock_assert_held(&pool->lock);
    if (likely(pool->n_waiters == 0 && list_is_empty(&pool->to_close) && pool->starves_for == NULL))
        return; /* nobody wants anything */
    hand_out_closes(pool, acts);
    if (pool_is_failing(pool, now_us)) {
        pool_fail_some(pool, acts);
    } else if (!pool->is_paused && pool->n_waiters > 0) {
        grant_idle(pool, worker, now_us, acts);
        open_connections(pool, now_us, acts);
    }
    if (pool->starves_for != NULL && !pool_wants_connection(pool, now_us)) {
        if (acts_room(acts) > 0)
            limits_leave(pool, acts);
        else
            acts->more = true;
    }
}

void pool_note(struct pool *pool, int64_t now_us)
{
    const int *count = pool->count;
    uint32_t active = (uint32_t)(count[SLOT_ACTIVE] + count[SLOT_TESTING] + count[SLOT_MOVING]);
    uint32_t limit = (uint32_t)pool->config.limit;
    bool is_waiting = pool->n_waiters > 0;
    int64_t due_us = is_waiting && pool->starves_for == NULL ? connection_due_us(pool) : INT64_MAX;
    int64_t retry_us = due_us != INT64_MAX ? due_us : 0;

    atomic_store_explicit(&pool->retry_hint_us, retry_us, memory_order_relaxed);
    atomic_store_explicit(&pool->waiting_hint, pool->n_waiters, memory_order_relaxed);
    atomic_store_explicit(&pool->slots_hint, pool->nslots, memory_order_relaxed);
    if (pool->util.active != active || pool->util.limit != limit || pool->util.waiting != is_waiting)
        util_change(&pool->util, now_us, active, limit, is_waiting);
}
