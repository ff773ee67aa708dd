/*
 * pool.c - the ledger of server connections of one (database, user): what clients and servers do.
 *
 * Decides who gets which server, when to connect and when to wait. Touches
 * no socket: it returns acts and the caller performs them.
 *
 * Threads: any worker. All state is protected by pool->lock (rank 20). Each function
 * takes the lock, changes the ledger, lets pool_serve() bring it to rest, and takes note of what changed.
 * Invariant: connecting + idle + active + testing + moving + closing == nslots <= limit + lent
 *            (the limit may fall on reload; slots then close on release).
 * Not here: fds and TLS (session/), limits across pools (limits.c), what the
 *           control thread sets (pool_admin.c).
 */
#include "pool_int.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static void enter(struct pool *pool, struct pool_acts *acts)
{
    acts_begin(acts);
    lock_acquire(&pool->lock);
}

static void leave(struct pool *pool, int64_t now_us)
{
    pool_note(pool, now_us);
    lock_release(&pool->lock);
}

void pool_checkout(struct pool *pool, struct ticket *ticket, int64_t now_us, struct pool_acts *acts)
{
    struct slot *slot;
    struct grant grant;

    enter(pool, acts);
    assert(ticket->state == TICKET_NONE);
    ticket->number = ++pool->next_ticket;
    ticket->since_us = now_us;
    ticket->overtaken = 0;
    grant = ticket_grant(ticket);
    if (pool_is_failing(pool, now_us)) {
        acts_add_grant(acts, POOL_ACT_FAIL, ticket->worker, NULL, pool, &grant);
    } else if (pool->n_waiters == 0 && !pool->is_paused && !list_is_empty(&pool->idle[ticket->worker])) {
        slot = slot_find_idle(pool, ticket->worker, ticket->worker);
        slot_move(slot, SLOT_ACTIVE, now_us);
        acts_add_grant(acts, POOL_ACT_LINK, ticket->worker, slot, pool, &grant);
    } else {
        pool_enqueue(pool, ticket);
        pool_serve(pool, ticket->worker, now_us, acts);
    }
    leave(pool, now_us);
}

/* [lock] */
static void give_up(struct pool *pool, struct ticket *ticket, int64_t now_us)
{
    pool_dequeue(pool, ticket, TICKET_NONE);
    if (!pool_wants_connection(pool, now_us))
        limits_leave(pool, NULL);
}

bool pool_cancel(struct pool *pool, struct ticket *ticket, int64_t now_us)
{
    bool was_granted;

    lock_acquire(&pool->lock);
    was_granted = ticket->state == TICKET_GRANTED;
    if (ticket->state == TICKET_WAITING)
        give_up(pool, ticket, now_us);
    ticket->state = TICKET_NONE;
    leave(pool, now_us);
    return !was_granted;
}

bool pool_cancel_if_waiting(struct pool *pool, struct ticket *ticket, int64_t now_us)
{
    bool is_waiting;

    lock_acquire(&pool->lock);
    is_waiting = ticket->state == TICKET_WAITING;
    if (is_waiting)
        give_up(pool, ticket, now_us);
    leave(pool, now_us);
    return is_waiting;
}

void pool_requeue(struct pool *pool, struct ticket *ticket, const struct grant *grant, int64_t now_us,
                  struct pool_acts *acts)
{
    enter(pool, acts);
    ticket->number = grant->number;
    ticket->since_us = grant->since_us;
    pool_enqueue(pool, ticket);
    pool_serve(pool, ticket->worker, now_us, acts);
    leave(pool, now_us);
}

void pool_release(struct pool *pool, struct slot *slot, enum close_reason why, int64_t now_us,
                  struct pool_acts *acts)
{
    uint8_t worker;

    enter(pool, acts);
    assert(slot->state == SLOT_ACTIVE || slot->state == SLOT_TESTING);
    worker = slot->owner; /* a hand-off changes it */
    pool_settle(pool, slot, why, now_us, acts);
    pool_serve(pool, worker, now_us, acts);
    leave(pool, now_us);
}

void pool_testing(struct pool *pool, struct slot *slot, int64_t now_us)
{
    lock_acquire(&pool->lock);
    slot_move(slot, SLOT_TESTING, now_us);
    leave(pool, now_us);
}

void pool_connected(struct pool *pool, struct slot *slot, struct params *welcome, int64_t now_us,
                    struct pool_acts *acts)
{
    struct params *old = NULL;
    uint8_t worker;
    int most;

    enter(pool, acts);
    assert(slot->state == SLOT_CONNECTING);
    worker = slot->owner;
    slot->connected_us = pool->reached_us = now_us;
    if (welcome != NULL) {
        old = pool->welcome;
        pool->welcome = params_ref(welcome);
    }
    pool->last_error[0] = pool->last_error_sqlstate[0] = '\0';
    pool->failed_us = pool->failing_since_us = 0;
    pool->is_refused = false;
    pool->retry_us = pool->backoff_us = 0;
    most = pool->config.limit + pool->config.reserve;
    pool->ramp = pool->ramp <= most / 2 ? 2 * pool->ramp : most;
    if (pool->ramp < 1)
        pool->ramp = 1;
    pool_settle(pool, slot, CLOSE_NONE, now_us, acts);
    pool_serve(pool, worker, now_us, acts);
    leave(pool, now_us);
    params_unref(old); /* may free, so not under the lock */
}

/* [lock] The pause before the next attempt. Connections that were tried together fail together: one failure.
 */
/* A refusal will most likely be repeated; but a database that is down comes back, and clients wait for it. */
static void back_off(struct pool *pool, bool for_good, int64_t now_us)
{
    int64_t most_us = pool->config.login_retry_us;

    if (!for_good && most_us > POOL_MOST_PAUSE_DOWN_US)
        most_us = POOL_MOST_PAUSE_DOWN_US;
    pool->ramp = 1;
    if (now_us < pool->retry_us)
        return;
    if (most_us < POOL_LEAST_PAUSE_US)
        most_us = POOL_LEAST_PAUSE_US;
    pool->backoff_us = pool->backoff_us == 0 ? POOL_FIRST_PAUSE_US : 2 * pool->backoff_us;
    if (pool->backoff_us > most_us)
        pool->backoff_us = most_us;
    pool->retry_us = now_us + pool->backoff_us / 1000 * (800 + pool_random(pool, 401));
}

void pool_connect_failed(struct pool *pool, struct slot *slot, bool for_good, bool is_in,
                         const char *sqlstate, const char *error, int64_t now_us, struct pool_acts *acts)
{
    uint8_t worker;

    enter(pool, acts);
    assert(slot->state == SLOT_CONNECTING);
    worker = slot->owner;
    slot_move(slot, is_in ? SLOT_CLOSING : SLOT_FREE, now_us);
    pool->is_refused = for_good;
    pool->failed_us = now_us;
    pool->reached_us = 0;
    if (pool->failing_since_us == 0)
        pool->failing_since_us = now_us;
    snprintf(pool->last_error, sizeof(pool->last_error), "%s", error);
    snprintf(pool->last_error_sqlstate, sizeof(pool->last_error_sqlstate), "%s", sqlstate);
    back_off(pool, for_good, now_us);
    if (is_in) {
        slot->close_reason = CLOSE_SERVER_LOGIN_FAILED;
    } else {
        limits_give_back(&pool->database->limits, pool, acts);
        limits_give_back(&pool->user->limits, pool, acts);
    }
    pool_serve(pool, worker, now_us, acts);
    leave(pool, now_us);
}

/* [lock] */
static bool is_granted(const struct slot *slot, const struct ticket *ticket)
{
    return ticket != NULL && ticket->state == TICKET_GRANTED && ticket->number == slot->grant.number &&
           ticket->client == slot->grant.client;
}

/* [lock] The server is on the worker of its grant: to the client, if it is still there. */
static void end_move(struct pool *pool, struct slot *slot, struct ticket *ticket, int64_t now_us,
                     struct pool_acts *acts)
{
    struct grant grant = slot->grant;
    uint8_t worker = slot->owner;

    if (is_granted(slot, ticket)) {
        ticket->state = TICKET_NONE;
        slot_move(slot, SLOT_ACTIVE, now_us);
        acts_add_grant(acts, POOL_ACT_LINK, worker, slot, pool, &grant);
    } else {
        pool_settle(pool, slot, CLOSE_NONE, now_us, acts);
    }
    pool_serve(pool, worker, now_us, acts);
}

void pool_adopt(struct pool *pool, struct slot *slot, struct ticket *ticket, int64_t now_us,
                struct pool_acts *acts)
{
    enter(pool, acts);
    assert(slot->state == SLOT_MOVING && slot->owner == slot->grant.worker);
    end_move(pool, slot, ticket, now_us, acts);
    leave(pool, now_us);
}

void pool_yield(struct pool *pool, struct slot *slot, struct ticket *ticket, bool server_alive,
                enum close_reason why, struct grant *failed, int64_t now_us, struct pool_acts *acts)
{
    enter(pool, acts);
    assert(slot->state == SLOT_MOVING);
    memset(failed, 0, sizeof(*failed));
    if (!server_alive) {
        uint8_t worker = slot->owner;
        *failed = slot->grant;
        slot_close(slot, why, now_us);
        pool_serve(pool, worker, now_us, acts);
    } else if (slot->grant.worker == slot->owner) {
        end_move(pool, slot, ticket, now_us, acts);
    } else {
        slot->owner = slot->grant.worker;
        acts_add_grant(acts, POOL_ACT_HANDOFF, slot->owner, slot, pool, &slot->grant);
    }
    leave(pool, now_us);
}

bool pool_closing(struct pool *pool, struct slot *slot, enum close_reason why, int64_t now_us)
{
    bool ok;

    lock_acquire(&pool->lock);
    ok = slot->state != SLOT_MOVING && slot->state != SLOT_CLOSING;
    if (ok) {
        slot_close(slot, why, now_us);
    }
    leave(pool, now_us);
    return ok;
}

void pool_closed(struct pool *pool, struct slot *slot, int64_t now_us, struct pool_acts *acts)
{
    uint8_t worker;

    enter(pool, acts);
    assert(slot->state == SLOT_CLOSING);
    worker = slot->owner;
    slot_move(slot, SLOT_FREE, now_us);
    limits_give_back(&pool->database->limits, pool, acts);
    limits_give_back(&pool->user->limits, pool, acts);
    pool_serve(pool, worker, now_us, acts);
    leave(pool, now_us);
}

void pool_pump(struct pool *pool, uint8_t worker, int64_t now_us, struct pool_acts *acts)
{
    enter(pool, acts);
    pool_serve(pool, worker, now_us, acts);
    leave(pool, now_us);
}

struct params *pool_welcome(struct pool *pool)
{
    struct params *welcome = NULL;

    lock_acquire(&pool->lock);
    if (pool->welcome != NULL)
        welcome = params_ref(pool->welcome);
    lock_release(&pool->lock);
    return welcome;
}

void pool_last_error(struct pool *pool, char sqlstate[6], char *text, size_t size)
{
    lock_acquire(&pool->lock);
    memcpy(sqlstate, pool->last_error_sqlstate, sizeof(pool->last_error_sqlstate));
    snprintf(text, size, "%s", pool->last_error);
    lock_release(&pool->lock);
}
