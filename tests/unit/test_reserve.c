/*
 * test_reserve.c - places beyond the limit for those who wait long: when one is lent, and how it goes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <limits.h>
#include <string.h>

#include "pool/registry.h"

#define AFTER_US 5000

static struct registry *registry;
static struct pool *pool;
static struct pool_config config;
static struct ticket tickets[16];
static int n_tickets;
static struct pool_acts acts;

static int setup(void **state)
{
    bool is_new;

    (void)state;
    registry = registry_new(2);
    pool = registry_get_pool(registry, "d", "u", &is_new);
    config = (struct pool_config){
        .limit = 1, .reserve = 2, .reserve_after_us = AFTER_US, .login_retry_us = 1000000};
    pool_configure(pool, &config, 1, &acts);
    pool->ramp = 4;
    memset(tickets, 0, sizeof(tickets));
    n_tickets = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_true(pool_check(pool));
    registry_destroy(registry);
    return 0;
}

static struct ticket *checkout(int64_t now_us)
{
    struct ticket *t = &tickets[n_tickets++];
    t->client = (uint64_t)n_tickets;
    pool_checkout(pool, t, now_us, &acts);
    return t;
}

static struct slot *connected(int64_t now_us)
{
    assert_int_equal(acts.n, 1);
    assert_int_equal(acts.act[0].kind, POOL_ACT_CONNECT);
    struct slot *slot = acts.act[0].slot;
    pool_connected(pool, slot, NULL, now_us, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_LINK);
    return slot;
}

static struct slot *open_first(void)
{
    checkout(10);
    assert_false(acts.act[0].slot->from_reserve);
    return connected(10);
}

/* Each place is lent for one client that has waited so long itself. */
static void test_one_for_each_who_waited(void **state)
{
    (void)state;
    open_first();
    checkout(100);
    checkout(200);
    assert_int_equal(acts.n, 0);
    assert_int_equal(pool->retry_hint_us, 100 + AFTER_US);
    pool_pump(pool, 0, 99 + AFTER_US, &acts);
    assert_int_equal(acts.n, 0);
    pool_pump(pool, 0, 100 + AFTER_US, &acts);
    assert_int_equal(acts.n, 1);
    assert_int_equal(acts.act[0].kind, POOL_ACT_CONNECT);
    assert_true(acts.act[0].slot->from_reserve);
    assert_int_equal(pool->lent, 1);
    assert_int_equal(pool->retry_hint_us, 200 + AFTER_US); /* the second one's time */
    struct slot *slot = acts.act[0].slot;
    pool_pump(pool, 0, 200 + AFTER_US, &acts);
    assert_int_equal(acts.n, 1);
    assert_int_equal(pool->lent, 2);
    assert_int_equal(pool->retry_hint_us, 0);
    checkout(201 + AFTER_US);
    pool_pump(pool, 0, 1000000, &acts); /* nothing is left to lend */
    assert_int_equal(acts.n, 0);
    pool_connected(pool, slot, NULL, 1000000, &acts);
    assert_int_equal(pool->nslots, 3);
}

static void test_off(void **state)
{
    (void)state;
    open_first();
    config.reserve_after_us = 0;
    pool_configure(pool, &config, 20, &acts);
    checkout(30);
    pool_pump(pool, 0, INT64_MAX / 2, &acts);
    assert_int_equal(acts.n, 0);
    assert_int_equal(pool->retry_hint_us, 0);
}

/* It stays as any other server while it is used; what ends first gives the place back. */
static void test_goes_back_with_what_ends_first(void **state)
{
    struct slot *first = open_first();

    (void)state;
    checkout(100);
    pool_pump(pool, 0, 100 + AFTER_US, &acts);
    struct slot *second = connected(101 + AFTER_US);
    pool_release(pool, second, CLOSE_NONE, 6000, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_IDLE); /* until server_idle_timeout, as in PgBouncer */
    pool_release(pool, first, CLOSE_UNCLEAN, 6001, &acts);
    assert_int_equal(pool->lent, 1);
    pool_closed(pool, first, 6002, &acts);
    assert_int_equal(pool->lent, 0);
    checkout(6003);
    assert_int_equal(acts.act[0].kind, POOL_ACT_LINK);
    checkout(6004);
    assert_int_equal(acts.n, 0); /* the next has to wait as long */
    assert_int_equal(pool->retry_hint_us, 6004 + AFTER_US);
}

static void test_settings_change(void **state)
{
    struct slot *first = open_first();

    (void)state;
    checkout(100);
    pool_pump(pool, 0, 100 + AFTER_US, &acts);
    struct slot *second = connected(101 + AFTER_US);
    config.limit = 2; /* a higher limit takes in what was lent */
    pool_configure(pool, &config, 7000, &acts);
    assert_int_equal(pool->lent, 0);
    config.limit = 1; /* a lower one lends nothing: one has to go */
    pool_configure(pool, &config, 7001, &acts);
    pool_release(pool, second, CLOSE_NONE, 7002, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_CLOSE);
    assert_int_equal(second->close_reason, CLOSE_OVER_LIMIT);
    pool_release(pool, first, CLOSE_NONE, 7003, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_IDLE);
}

/* Less reserve: what was lent beyond it goes when it comes free. */
static void test_less_reserve(void **state)
{
    (void)state;
    open_first();
    checkout(100);
    pool_pump(pool, 0, 100 + AFTER_US, &acts);
    struct slot *second = connected(101 + AFTER_US);
    config.reserve = 0;
    pool_configure(pool, &config, 7000, &acts);
    assert_int_equal(pool->lent, 0);
    pool_release(pool, second, CLOSE_NONE, 7001, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_CLOSE);
}

/* The limits of the database and of the user hold over the reserve, too. */
static void test_limit_of_the_database(void **state)
{
    struct limits *l = &pool->database->limits;

    (void)state;
    open_first();
    limits_set_max(l, 1, &acts);
    checkout(100);
    pool_pump(pool, 0, 100 + AFTER_US, &acts);
    assert_int_equal(acts.n, 1);
    assert_int_equal(acts.act[0].kind, POOL_ACT_EVICT);
    assert_ptr_equal(pool->starves_for, l);
    assert_int_equal(pool->lent, 0);
    assert_int_equal(pool->retry_hint_us, 0); /* whoever makes room calls it */
    limits_set_max(l, 2, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_PUMP);
    pool_pump(pool, 0, 101 + AFTER_US, &acts);
    assert_true(acts.act[0].slot->from_reserve);
}

/* While PostgreSQL refuses or is down, the reserve is for nobody; nor while the pool is paused. */
static void test_not_while_failing(void **state)
{
    (void)state;
    open_first();
    checkout(100);
    pool_set_paused(pool, true, 200, &acts);
    pool_pump(pool, 0, 100 + AFTER_US, &acts);
    assert_int_equal(acts.n, 0);
    assert_int_equal(pool->retry_hint_us, 0);
    pool_set_paused(pool, false, 101 + AFTER_US, &acts);
    assert_int_equal(acts.n, 1);
    pool_connect_failed(pool, acts.act[0].slot, false, false, "08001", "down", 102 + AFTER_US, &acts);
    assert_int_equal(acts.n, 0);
    assert_int_equal(pool->lent, 0);
    assert_true(pool->retry_us > 102 + AFTER_US);
    assert_int_equal(pool->retry_hint_us, pool->retry_us);
}

static void test_huge_numbers(void **state)
{
    (void)state;
    config.limit = 3;
    config.reserve = INT_MAX;
    pool->slots_allocated = INT_MAX; /* as if there were memory */
    pool_configure(pool, &config, 2, &acts);
    assert_int_equal(pool->config.limit, 3);
    assert_int_equal(pool->config.limit + pool->config.reserve, 262143);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_for_each_who_waited, setup, teardown),
        cmocka_unit_test_setup_teardown(test_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_goes_back_with_what_ends_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_settings_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_less_reserve, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit_of_the_database, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_while_failing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_huge_numbers, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
