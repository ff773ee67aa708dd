/*
 * test_failures.c - failed logins: what is held back, what is blocked, and that the table is bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "session/failures.h"

#define S USEC_PER_SEC

static const struct failure_limits limits = {.delay_us = S, .period_us = 60 * S, .limit = 3};
static const uint8_t one[16] = {10, 0, 0, 1}, two[16] = {10, 0, 0, 2};

static void test_delay_and_block(void **state)
{
    struct failures *f = failures_new();
    struct failure_key app = failure_key(AF_INET, one, "app"), bob = failure_key(AF_INET, one, "bob");
    struct failure_key elsewhere = failure_key(AF_INET, two, "app");
    struct failure_verdict v = failures_note(f, &app, &limits, 100 * S);
    (void)state;

    assert_int_equal(v.delay_us, 0);
    v = failures_note(f, &app, &limits, 101 * S);
    assert_int_equal(v.delay_us, S);
    assert_false(v.user_blocked);
    assert_false(failures_are_blocked(f, &app, &limits, 101 * S));
    v = failures_note(f, &app, &limits, 102 * S);
    assert_true(v.user_blocked);
    assert_true(failures_are_blocked(f, &app, &limits, 102 * S));
    assert_false(failures_are_blocked(f, &bob, &limits, 102 * S));
    assert_false(failures_are_blocked(f, &elsewhere, &limits, 102 * S));
    v = failures_note(f, &app, &limits, 102 * S);
    assert_false(v.user_blocked); /* said once */
    assert_true(failures_are_blocked(f, &app, &limits, 161 * S));
    assert_false(failures_are_blocked(f, &app, &limits, 162 * S));
    v = failures_note(f, &app, &limits, 163 * S);
    assert_int_equal(v.delay_us, 0); /* begins anew; so does the address, after a minute without */
    failures_free(f);
}

static void test_no_limit(void **state)
{
    struct failures *f = failures_new();
    struct failure_limits none = {.delay_us = 0, .period_us = 60 * S, .limit = 0};
    struct failure_key app = failure_key(AF_INET, one, "app");
    (void)state;

    for (int i = 0; i < 100; i++) {
        struct failure_verdict v = failures_note(f, &app, &none, S);
        assert_false(v.user_blocked || v.address_blocked || v.delay_us > 0);
    }
    assert_false(failures_are_blocked(f, &app, &none, S));
    failures_free(f);
}

static void test_many_users_of_one_address(void **state)
{
    struct failures *f = failures_new();
    struct failure_key key;
    int at = 0;
    (void)state;

    for (int i = 1; i <= 3 * FAILURE_USERS; i++) {
        char user[16];
        snprintf(user, sizeof(user), "u%d", i);
        key = failure_key(AF_INET, one, user);
        assert_false(failures_are_blocked(f, &key, &limits, S));
        if (failures_note(f, &key, &limits, S).address_blocked)
            at = i;
    }
    assert_int_equal(at, 3 * FAILURE_USERS);
    key = failure_key(AF_INET, one, "another");
    assert_true(failures_are_blocked(f, &key, &limits, S));
    failures_forget(f);
    assert_false(failures_are_blocked(f, &key, &limits, S));
    failures_free(f);
}

static void test_success_forgives(void **state)
{
    struct failures *f = failures_new();
    struct failure_key app = failure_key(AF_INET, one, "app");
    (void)state;

    failures_note(f, &app, &limits, S);
    failures_note(f, &app, &limits, S);
    failures_forgive(f, &app);
    assert_false(failures_note(f, &app, &limits, S).user_blocked);
    assert_false(failures_are_blocked(f, &app, &limits, S));
    failures_free(f);
}

static void test_addresses(void **state)
{
    static const uint8_t a[16] = {0x20, 1, 0, 0, 0, 0, 0, 1, 9}, b[16] = {0x20, 1, 0, 0, 0, 0, 0, 1, 7};
    static const uint8_t c[16] = {0x20, 1, 0, 0, 0, 0, 0, 2, 9};
    (void)state;

    assert_true(failure_key(AF_INET6, a, "x").both == failure_key(AF_INET6, b, "x").both);
    assert_true(failure_key(AF_INET6, a, "x").both != failure_key(AF_INET6, c, "x").both);
    assert_true(failure_key(AF_INET, one, "x").both != failure_key(AF_INET, one, "y").both);
    assert_true(failure_key(AF_UNIX, a, "x").both == failure_key(AF_UNIX, c, "x").both);
}

/* A flood of names and addresses pushes out what is old, and nothing grows. */
static void test_flood(void **state)
{
    struct failures *f = failures_new();
    struct failure_key app = failure_key(AF_INET, one, "app");
    (void)state;

    for (int i = 0; i < 3; i++)
        failures_note(f, &app, &limits, S);
    for (int i = 0; i < 200000; i++) {
        uint8_t addr[16] = {11, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        struct failure_key key = failure_key(AF_INET, addr, "guess");
        failures_note(f, &key, &limits, 2 * S);
    }
    assert_false(failures_are_blocked(f, &app, &limits, 3 * S));
    for (int i = 0; i < 3; i++)
        failures_note(f, &app, &limits, 3 * S);
    assert_true(failures_are_blocked(f, &app, &limits, 3 * S));
    failures_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delay_and_block),
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_many_users_of_one_address),
        cmocka_unit_test(test_success_forgives),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
