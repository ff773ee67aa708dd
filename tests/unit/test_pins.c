/*
 * test_pins.c - the bound of pinned servers, and when a pin ends. Interleavings: tests/sim.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pool/registry.h"

#define POOL_SIZE 4

static struct registry *registry;
static struct pool *pool;
static struct pool_config config;
static struct ticket tickets[POOL_SIZE];
static struct slot *slots[POOL_SIZE];
static struct pool_acts acts;
static int64_t now_us;

static void configure(int max_pinned)
{
    config.max_pinned = max_pinned;
    pool_configure(pool, &config, now_us, &acts);
}

/* Four servers, each linked to a client. */
static int setup(void **state)
{
    bool is_new;

    (void)state;
    registry = registry_new(1);
    pool = registry_get_pool(registry, "d", "u", &is_new);
    config = (struct pool_config){.limit = POOL_SIZE, .login_retry_us = USEC_PER_SEC};
    now_us = clock_now_us();
    configure(2);
    pool->ramp = POOL_SIZE;
    for (int i = 0; i < POOL_SIZE; i++) {
        tickets[i] = (struct ticket){.client = (uint64_t)i + 1};
        pool_checkout(pool, &tickets[i], now_us, &acts);
        assert_int_equal(acts.act[0].kind, POOL_ACT_CONNECT);
        slots[i] = acts.act[0].slot;
    }
    for (int i = 0; i < POOL_SIZE; i++) {
        pool_connected(pool, slots[i], NULL, now_us, &acts);
        assert_int_equal(acts.act[0].kind, POOL_ACT_LINK);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_true(pool_check(pool));
    registry_destroy(registry);
    return 0;
}

static int pinned(void)
{
    struct pool_numbers n;

    assert_true(pool_check(pool));
    pool_read(pool, 0, now_us, &n);
    assert_int_equal(n.max_pinned, config.max_pinned);
    return n.pinned;
}

static void test_bound(void **state)
{
    (void)state;
    assert_true(pool_pin(pool, slots[0]));
    assert_true(pool_pin(pool, slots[1]));
    assert_true(pool_pin(pool, slots[1])); /* is already */
    assert_int_equal(pinned(), 2);
    assert_false(pool_pin(pool, slots[2]));
    assert_int_equal(pinned(), 2);
    pool_unpin(pool, slots[0]);
    pool_unpin(pool, slots[0]);
    pool_unpin(pool, slots[3]); /* never was */
    assert_int_equal(pinned(), 1);
    assert_true(pool_pin(pool, slots[2]));
    configure(1); /* who has one keeps it */
    assert_int_equal(pinned(), 2);
    assert_true(pool_pin(pool, slots[2]));
    assert_false(pool_pin(pool, slots[3]));
    configure(0);
    pool_unpin(pool, slots[1]);
    pool_unpin(pool, slots[2]);
    assert_false(pool_pin(pool, slots[1]));
    assert_int_equal(pinned(), 0);
}

/* While what a client has left is cleaned up, its server is none that others could have. */
static void test_ends_when_the_server_comes_free(void **state)
{
    (void)state;
    assert_true(pool_pin(pool, slots[0]) && pool_pin(pool, slots[1]));
    pool_testing(pool, slots[0], now_us);
    assert_int_equal(pinned(), 2);
    assert_false(pool_pin(pool, slots[2]));
    pool_release(pool, slots[0], CLOSE_NONE, now_us, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_IDLE);
    assert_int_equal(pinned(), 1);
    assert_true(pool_closing(pool, slots[1], CLOSE_SERVER_CRASHED, now_us));
    assert_int_equal(pinned(), 0);
    pool_closed(pool, slots[1], now_us, &acts);
}

/* Whoever gets the server next has no pin. */
static void test_next_client(void **state)
{
    struct ticket next = {.client = 9};

    (void)state;
    assert_true(pool_pin(pool, slots[0]));
    pool_checkout(pool, &next, now_us, &acts);
    assert_int_equal(acts.n, 0);
    pool_release(pool, slots[0], CLOSE_NONE, now_us, &acts);
    assert_int_equal(acts.act[0].kind, POOL_ACT_LINK);
    assert_ptr_equal(acts.act[0].slot, slots[0]);
    assert_int_equal(pinned(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bound, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ends_when_the_server_comes_free, setup, teardown),
        cmocka_unit_test_setup_teardown(test_next_client, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
