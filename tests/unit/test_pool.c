/*
 * test_pool.c - what the ledger of one pool decides, situation by situation. Interleavings: tests/sim.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pool/registry.h"

#define W0 0
#define W1 1

struct fixture {
    struct registry *registry;
    struct pool *pool;
    struct pool_config config;
    struct ticket tickets[64];
    int n_tickets;
    int64_t now_us;
    struct pool_acts acts;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    bool is_new;

    f->registry = registry_new(3);
    f->pool = registry_get_pool(f->registry, "d", "u", &is_new);
    f->config = (struct pool_config){.limit = 3, .login_retry_us = USEC_PER_SEC};
    f->now_us = clock_now_us();
    pool_configure(f->pool, &f->config, f->now_us, &f->acts);
    f->pool->ramp = 3;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    assert_true(pool_check(f->pool));
    registry_destroy(f->registry);
    free(f);
    return 0;
}

static struct ticket *checkout(struct fixture *f, uint8_t worker)
{
    struct ticket *t = &f->tickets[f->n_tickets++];
    t->client = (uint64_t)f->n_tickets;
    t->worker = worker;
    pool_checkout(f->pool, t, f->now_us, &f->acts);
    return t;
}

/* The only act there is, of that kind. */
static const struct pool_act *only(struct fixture *f, enum pool_act_kind kind)
{
    assert_int_equal(f->acts.n, 1);
    assert_int_equal(f->acts.act[0].kind, kind);
    assert_false(f->acts.more);
    return &f->acts.act[0];
}

static struct slot *open_linked(struct fixture *f, uint8_t worker)
{
    checkout(f, worker);
    struct slot *slot = only(f, POOL_ACT_CONNECT)->slot;
    assert_int_equal(f->acts.act[0].worker, worker);
    pool_connected(f->pool, slot, NULL, f->now_us, &f->acts);
    only(f, POOL_ACT_LINK);
    return slot;
}

static struct slot *open_idle(struct fixture *f, uint8_t worker)
{
    struct slot *slot = open_linked(f, worker);
    pool_release(f->pool, slot, CLOSE_NONE, f->now_us, &f->acts);
    only(f, POOL_ACT_IDLE);
    return slot;
}

static void test_lifo_and_round_robin(void **state)
{
    struct fixture *f = *state;
    struct slot *a = open_linked(f, W0), *b = open_linked(f, W0);

    pool_release(f->pool, a, CLOSE_NONE, f->now_us, &f->acts);
    pool_release(f->pool, b, CLOSE_NONE, f->now_us, &f->acts);
    checkout(f, W0);
    assert_ptr_equal(only(f, POOL_ACT_LINK)->slot, b);
    pool_release(f->pool, b, CLOSE_NONE, f->now_us, &f->acts);
    f->config.round_robin = true;
    pool_configure(f->pool, &f->config, f->now_us, &f->acts);
    checkout(f, W0);
    assert_ptr_equal(only(f, POOL_ACT_LINK)->slot, a);
}

static void test_queue_and_handoff(void **state)
{
    struct fixture *f = *state;
    struct slot *slots[3] = {open_linked(f, W0), open_linked(f, W0), open_linked(f, W0)};
    struct ticket *far = checkout(f, W1);

    assert_int_equal(f->acts.n, 0);
    struct ticket *near = checkout(f, W0);
    assert_int_equal(f->pool->waiting_hint, 2);
    pool_release(f->pool, slots[0], CLOSE_NONE, f->now_us, &f->acts);
    const struct pool_act *act = only(f, POOL_ACT_HANDOFF);
    assert_int_equal(act->worker, W1);
    assert_int_equal(act->grant.client, far->client);
    assert_int_equal(far->state, TICKET_GRANTED);
    assert_false(pool_cancel_if_waiting(f->pool, far, f->now_us));
    pool_adopt(f->pool, slots[0], far, f->now_us, &f->acts);
    assert_int_equal(only(f, POOL_ACT_LINK)->grant.client, far->client);
    pool_release(f->pool, slots[1], CLOSE_NONE, f->now_us, &f->acts);
    assert_int_equal(only(f, POOL_ACT_LINK)->grant.client, near->client);
    assert_int_equal(near->state, TICKET_NONE);
}

static void test_granted_client_gone(void **state)
{
    struct fixture *f = *state;
    struct slot *slot = open_linked(f, W0);

    open_linked(f, W0), open_linked(f, W0);
    struct ticket *gone = checkout(f, W1), *next = checkout(f, W0);
    pool_release(f->pool, slot, CLOSE_NONE, f->now_us, &f->acts);
    assert_false(pool_cancel(f->pool, gone, f->now_us));
    pool_adopt(f->pool, slot, gone, f->now_us, &f->acts); /* a ticket that is NONE is as good as none */
    assert_int_equal(only(f, POOL_ACT_HANDOFF)->grant.client, next->client);
    assert_int_equal(slot->owner, W0);
    assert_true(pool_cancel(f->pool, checkout(f, W0), f->now_us));
}

static void test_steal(void **state)
{
    struct fixture *f = *state;
    struct slot *slot = open_idle(f, W0);
    struct ticket *t = checkout(f, W1);
    struct grant failed;

    assert_int_equal(only(f, POOL_ACT_YIELD)->worker, W0);
    assert_int_equal(t->state, TICKET_GRANTED);
    assert_false(pool_closing(f->pool, slot, CLOSE_SERVER_CRASHED, f->now_us));
    pool_yield(f->pool, slot, NULL, true, CLOSE_NONE, &failed, f->now_us, &f->acts);
    assert_int_equal(only(f, POOL_ACT_HANDOFF)->worker, W1);
    assert_int_equal(failed.client, 0);
    pool_adopt(f->pool, slot, t, f->now_us, &f->acts);
    only(f, POOL_ACT_LINK);
}

static void test_stolen_server_dead(void **state)
{
    struct fixture *f = *state;
    struct slot *slot = open_idle(f, W0);
    struct grant failed;

    f->config.limit = 1;
    pool_configure(f->pool, &f->config, f->now_us, &f->acts);
    struct ticket *first = checkout(f, W1), *second = checkout(f, W1);
    pool_yield(f->pool, slot, NULL, false, CLOSE_SERVER_CRASHED, &failed, f->now_us, &f->acts);
    assert_int_equal(f->acts.n, 0);
    assert_int_equal(failed.client, first->client);
    assert_int_equal(slot->state, SLOT_CLOSING);
    assert_false(pool_closing(f->pool, slot, CLOSE_SERVER_CRASHED, f->now_us));
    pool_requeue(f->pool, first, &failed, f->now_us, &f->acts);
    assert_int_equal(f->acts.n, 0); /* CLOSING still counts */
    assert_ptr_equal(list_first_entry(&f->pool->waiters, struct ticket, node), first);
    pool_closed(f->pool, slot, f->now_us, &f->acts);
    assert_int_equal(only(f, POOL_ACT_CONNECT)->worker, W1);
    assert_int_equal(second->state, TICKET_WAITING);
}

/* Another thread has served a waiter of the server's own worker: YIELD comes, and there is nothing to hand
 * off. */
static void test_yield_to_own_worker(void **state)
{
    struct fixture *f = *state;
    struct slot *slot = open_idle(f, W0);
    struct ticket *t = checkout(f, W1);
    struct grant failed;

    only(f, POOL_ACT_YIELD);
    slot->grant.worker = t->worker = W0;
    pool_yield(f->pool, slot, t, true, CLOSE_NONE, &failed, f->now_us, &f->acts);
    assert_int_equal(only(f, POOL_ACT_LINK)->grant.client, t->client);
    assert_int_equal(failed.client, 0);
}

static void test_connections_in_progress(void **state)
{
    static const int ramps[] = {2, 4, 7, 7};
    struct fixture *f = *state;

    f->config.limit = 7;
    pool_configure(f->pool, &f->config, f->now_us, &f->acts);
    f->pool->ramp = 1;
    checkout(f, W0);
    struct slot *slot = only(f, POOL_ACT_CONNECT)->slot;
    checkout(f, W0);
    assert_int_equal(f->acts.n, 0); /* one at a time */
    for (size_t i = 0; i < ARRAY_SIZE(ramps); i++) {
        pool_connected(f->pool, slot, NULL, f->now_us, &f->acts);
        assert_int_equal(f->acts.act[0].kind, POOL_ACT_LINK);
        assert_int_equal(f->pool->ramp, ramps[i]);
        assert_int_equal(f->pool->count[SLOT_CONNECTING], f->pool->n_waiters); /* no more than wait */
        checkout(f, W0);
        slot = list_entry(f->pool->used_slots.next, struct slot, node);
    }
}

static void fail_one(struct fixture *f, bool for_good)
{
    struct slot *slot = f->acts.act[0].slot;
    assert_int_equal(f->acts.act[0].kind, POOL_ACT_CONNECT);
    pool_connect_failed(f->pool, slot, for_good, false, for_good ? "28P01" : "08001", "went wrong", f->now_us,
                        &f->acts);
}

static void test_backoff(void **state)
{
    static const int64_t pauses_ms[] = {100, 200, 400, 800, 1000, 1000};
    struct fixture *f = *state;
    char sqlstate[6], text[32];

    checkout(f, W0);
    for (size_t i = 0; i < ARRAY_SIZE(pauses_ms); i++) {
        fail_one(f, false);
        assert_int_equal(f->acts.n, 0);
        int64_t pause_us = f->pool->retry_us - f->now_us;
        assert_in_range(pause_us, pauses_ms[i] * 800, pauses_ms[i] * 1200);
        assert_int_equal(f->pool->retry_hint_us, f->pool->retry_us);
        f->now_us += pause_us - 1;
        pool_pump(f->pool, POOL_NO_WORKER, f->now_us, &f->acts);
        assert_int_equal(f->acts.n, 0);
        f->now_us++;
        pool_pump(f->pool, POOL_NO_WORKER, f->now_us, &f->acts);
        only(f, POOL_ACT_CONNECT);
        assert_int_equal(f->pool->retry_hint_us, 0);
    }
    pool_last_error(f->pool, sqlstate, text, sizeof(text));
    assert_string_equal(sqlstate, "08001");
    assert_string_equal(text, "went wrong");
    pool_connected(f->pool, f->acts.act[0].slot, NULL, f->now_us, &f->acts);
    pool_last_error(f->pool, sqlstate, text, sizeof(text));
    assert_string_equal(text, "");
    assert_true(f->pool->retry_us == 0 && f->pool->backoff_us == 0);
}

/* PostgreSQL had let it in, and counts it until it has closed its end. */
static void test_failed_after_login(void **state)
{
    struct fixture *f = *state;

    f->config.limit = 1;
    f->config.login_retry_us = 0;
    pool_configure(f->pool, &f->config, f->now_us, &f->acts);
    checkout(f, W0);
    struct slot *slot = only(f, POOL_ACT_CONNECT)->slot;
    pool_connect_failed(f->pool, slot, false, true, "57P01", "went away", f->now_us, &f->acts);
    assert_int_equal(f->acts.n, 0);
    assert_int_equal(slot->state, SLOT_CLOSING);
    f->now_us += USEC_PER_SEC;
    pool_pump(f->pool, POOL_NO_WORKER, f->now_us, &f->acts);
    assert_int_equal(f->acts.n, 0);
    pool_closed(f->pool, slot, f->now_us, &f->acts);
    only(f, POOL_ACT_CONNECT);
}

static void test_refused_for_good(void **state)
{
    struct fixture *f = *state;
    int n_failed = 0;

    f->pool->ramp = 1;
    checkout(f, W0);
    struct pool_acts connect = f->acts;
    for (int i = 0; i < 11; i++)
        checkout(f, W1);
    f->acts = connect;
    fail_one(f, true);
    for (;;) {
        for (int i = 0; i < f->acts.n; i++)
            n_failed += f->acts.act[i].kind == POOL_ACT_FAIL;
        if (!f->acts.more)
            break;
        pool_pump(f->pool, W0, f->now_us, &f->acts);
    }
    assert_int_equal(n_failed, 12);
    struct ticket *newcomer = checkout(f, W0);
    assert_int_equal(only(f, POOL_ACT_FAIL)->grant.client, newcomer->client);
    assert_int_equal(newcomer->state, TICKET_NONE);
    f->now_us = f->pool->retry_us;
    checkout(f, W0); /* one attempt */
    only(f, POOL_ACT_CONNECT);
    connect = f->acts;
    checkout(f, W0);
    assert_int_equal(f->acts.n, 0);
}

/* While servers are left, those who wait are served by them. */
static void test_refused_with_servers_left(void **state)
{
    struct fixture *f = *state;
    struct slot *slot = open_linked(f, W0);

    struct ticket *t = checkout(f, W0);
    fail_one(f, true);
    assert_int_equal(f->acts.n, 0);
    pool_release(f->pool, slot, CLOSE_NONE, f->now_us, &f->acts);
    assert_int_equal(only(f, POOL_ACT_LINK)->grant.client, t->client);
    t = checkout(f, W0);
    assert_int_equal(t->state, TICKET_WAITING);
    assert_true(pool_closing(f->pool, slot, CLOSE_SERVER_CRASHED, f->now_us));
    pool_closed(f->pool, slot, f->now_us, &f->acts);
    only(f, POOL_ACT_FAIL);
}

enum change { PAUSE, REMOVE, RECYCLE, LIMIT, LIFETIME, ONE_USE, WHY, NOTHING };

static void test_must_close(void **state)
{
    static const enum close_reason expect[] = {[PAUSE] = CLOSE_PAUSED,
                                               [REMOVE] = CLOSE_DATABASE_REMOVED,
                                               [RECYCLE] = CLOSE_RECONNECT,
                                               [LIMIT] = CLOSE_OVER_LIMIT,
                                               [LIFETIME] = CLOSE_SERVER_LIFETIME,
                                               [ONE_USE] = CLOSE_SERVER_LIFETIME,
                                               [WHY] = CLOSE_UNCLEAN,
                                               [NOTHING] = CLOSE_NONE};
    struct fixture *f;

    for (int change = PAUSE; change <= NOTHING; change++) {
        setup((void **)&f);
        struct slot *active = open_linked(f, W0), *idle = open_idle(f, W0);
        f->config.lifetime_us = change == LIFETIME ? 1000000 : 0;
        f->config.is_for_one_use = change == ONE_USE;
        f->config.limit = change == LIMIT ? 0 : 3;
        pool_configure(f->pool, &f->config, f->now_us, &f->acts);
        if (change == PAUSE)
            pool_set_paused(f->pool, true, f->now_us, &f->acts);
        else if (change == REMOVE)
            pool_set_removed(f->pool, true, f->now_us, &f->acts);
        else if (change == RECYCLE)
            pool_recycle(f->pool, CLOSE_RECONNECT, f->now_us, &f->acts);
        if (change < LIFETIME) {
            assert_ptr_equal(only(f, POOL_ACT_CLOSE)->slot, idle);
            assert_int_equal(idle->close_reason, expect[change]);
        }
        f->now_us += 1100000;
        pool_release(f->pool, active, change == WHY ? CLOSE_UNCLEAN : CLOSE_NONE, f->now_us, &f->acts);
        only(f, change == NOTHING ? POOL_ACT_IDLE : POOL_ACT_CLOSE);
        assert_int_equal(active->close_reason, expect[change]);
        teardown((void **)&f);
    }
    (void)state;
}

/* Only the servers at the named endpoints, or only those at none of them; idle at once, others on release. */
static void test_recycle_at(void **state)
{
    static const struct {
        uint64_t endpoints[2];
        int n;
        bool is_listed;
        bool goes[3]; /* the slots at 10, 20, 30 */
    } rows[] = {
        {{10}, 1, true, {true, false, false}},    {{10}, 1, false, {false, true, true}},
        {{10, 30}, 2, true, {true, false, true}}, {{10, 30}, 2, false, {false, true, false}},
        {{99}, 1, true, {false, false, false}},   {{0}, 0, false, {true, true, true}},
    };
    struct fixture *f;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        setup((void **)&f);
        struct slot *slots[3] = {open_linked(f, W0), open_linked(f, W0), open_linked(f, W0)};
        for (int k = 0; k < 3; k++)
            slots[k]->endpoint = 10 * (uint64_t)(k + 1);
        pool_release(f->pool, slots[2], CLOSE_NONE, f->now_us, &f->acts);
        slots[1]->close_reason = CLOSE_RECONNECT; /* it goes anyway, for the first reason */
        pool_recycle_at(f->pool, rows[i].endpoints, rows[i].n, rows[i].is_listed, CLOSE_ROLE_CHANGED,
                        f->now_us, &f->acts);
        assert_int_equal(f->acts.n, rows[i].goes[2]);
        assert_int_equal(slots[2]->state, rows[i].goes[2] ? SLOT_CLOSING : SLOT_IDLE);
        assert_int_equal(slots[0]->close_reason, rows[i].goes[0] ? CLOSE_ROLE_CHANGED : CLOSE_NONE);
        assert_int_equal(slots[1]->close_reason, CLOSE_RECONNECT);
        pool_release(f->pool, slots[0], CLOSE_NONE, f->now_us, &f->acts);
        only(f, rows[i].goes[0] ? POOL_ACT_CLOSE : POOL_ACT_IDLE);
        teardown((void **)&f);
    }
    (void)state;
}

static void test_pause_and_resume(void **state)
{
    struct fixture *f = *state;

    f->config.limit = 20;
    pool_configure(f->pool, &f->config, f->now_us, &f->acts);
    f->pool->ramp = 20;
    struct slot *slots[12];
    for (int i = 0; i < 12; i++)
        slots[i] = open_linked(f, W0);
    for (int i = 0; i < 12; i++)
        pool_release(f->pool, slots[i], CLOSE_NONE, f->now_us, &f->acts);
    pool_set_paused(f->pool, true, f->now_us, &f->acts);
    assert_int_equal(f->acts.n, POOL_MAX_ACTS);
    assert_true(f->acts.more);
    assert_int_equal(f->pool->count[SLOT_CLOSING], 12);
    pool_pump(f->pool, POOL_NO_WORKER, f->now_us, &f->acts);
    assert_int_equal(f->acts.n, 12 - POOL_MAX_ACTS);
    assert_false(f->acts.more);
    checkout(f, W1);
    assert_int_equal(f->acts.n, 0);
    for (int i = 0; i < 12; i++)
        pool_closed(f->pool, slots[i], f->now_us, &f->acts);
    assert_int_equal(f->pool->slots_hint, 0);
    pool_set_paused(f->pool, false, f->now_us, &f->acts);
    assert_int_equal(only(f, POOL_ACT_CONNECT)->worker, W1);
    assert_false(pool_fail_waiters(f->pool, f->now_us, &f->acts));
    only(f, POOL_ACT_FAIL);
}

static void test_maintain(void **state)
{
    struct fixture *f = *state;

    f->config.min_size = 1;
    f->config.idle_timeout_us = 1000;
    pool_configure(f->pool, &f->config, f->now_us, &f->acts);
    pool_maintain(f->pool, W1, f->now_us, &f->acts);
    assert_int_equal(f->acts.n, 0); /* no client is there */
    f->pool->clients = 1;
    pool_maintain(f->pool, W1, f->now_us, &f->acts);
    assert_int_equal(only(f, POOL_ACT_CONNECT)->worker, W1);
    pool_connected(f->pool, f->acts.act[0].slot, NULL, f->now_us, &f->acts);
    only(f, POOL_ACT_IDLE);
    checkout(f, W1); /* takes the one that is idle */
    struct slot *first = only(f, POOL_ACT_LINK)->slot;
    struct slot *a = open_linked(f, W0), *b = open_linked(f, W0);
    pool_release(f->pool, first, CLOSE_NONE, f->now_us, &f->acts);
    pool_release(f->pool, a, CLOSE_NONE, f->now_us + 1, &f->acts);
    pool_release(f->pool, b, CLOSE_NONE, f->now_us + 2, &f->acts);
    f->now_us += 5000;
    pool_maintain(f->pool, W1, f->now_us, &f->acts);
    assert_int_equal(f->acts.n, 2);
    assert_int_equal(f->pool->count[SLOT_IDLE], f->config.min_size);
    assert_int_equal(b->state, SLOT_IDLE); /* the youngest stays */
}

/* What is written for "no limit" is no reason for memory to run out, which would leave a pool of none. */
static void test_the_largest_limits(void **state)
{
    struct fixture *f = *state;
    bool is_new;

    f->pool = registry_get_pool(f->registry, "d", "largest", &is_new);
    f->config.limit = f->config.reserve = INT_MAX;
    pool_configure(f->pool, &f->config, f->now_us, &f->acts);
    checkout(f, W0);
    only(f, POOL_ACT_CONNECT);
}

static void test_read(void **state)
{
    struct fixture *f = *state;
    struct pool_numbers numbers;

    open_linked(f, W0), open_linked(f, W0), open_linked(f, W0);
    checkout(f, W0);
    pool_read(f->pool, 1000, f->now_us + 60000000, &numbers);
    assert_int_equal(numbers.count[SLOT_ACTIVE], 3);
    assert_int_equal(numbers.nslots, 3);
    assert_int_equal(numbers.n_waiters, 1);
    assert_int_equal(numbers.oldest_wait_us, 60000000);
    assert_int_equal(numbers.peak, 3);
    assert_in_range((int)(100 * numbers.utilization_now), 100, 100);
    assert_in_range((int)(100 * numbers.utilization[0]), 99, 100);
    assert_in_range(numbers.saturated_us, 59900000, 60000000);
    assert_null(pool_welcome(f->pool));
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lifo_and_round_robin),
        TEST(test_queue_and_handoff),
        TEST(test_granted_client_gone),
        TEST(test_steal),
        TEST(test_stolen_server_dead),
        TEST(test_yield_to_own_worker),
        TEST(test_connections_in_progress),
        TEST(test_backoff),
        TEST(test_failed_after_login),
        TEST(test_refused_for_good),
        TEST(test_refused_with_servers_left),
        cmocka_unit_test(test_must_close),
        cmocka_unit_test(test_recycle_at),
        TEST(test_pause_and_resume),
        TEST(test_maintain),
        TEST(test_the_largest_limits),
        TEST(test_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
