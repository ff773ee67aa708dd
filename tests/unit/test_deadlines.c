/*
 * test_deadlines.c - when connections have to be looked at, and which timeout strikes first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "session/deadlines.h"

static void test_nothing_in_force(void **state)
{
    (void)state;
    struct deadlines d = {0};

    deadlines_configure(&d, 0, 1000);
    assert_false(deadlines_join(&d, 1000));
    assert_int_equal(d.due_us, 0);
    assert_false(deadlines_is_due(&d, INT64_MAX));
}

static void test_walks_are_put_off(void **state)
{
    (void)state;
    struct deadlines d = {0};

    deadlines_configure(&d, 100, 1000);
    assert_true(deadlines_is_due(&d, 1000)); /* new settings: at once */
    deadlines_walk_begin(&d);
    deadlines_walk_end(&d, true, 1000);
    assert_int_equal(d.due_us, 0); /* nobody is there: no walk, no waking */

    assert_true(deadlines_join(&d, 2000));
    assert_int_equal(d.due_us, 2100);
    assert_false(deadlines_join(&d, 2050)); /* later ones change nothing */
    assert_false(deadlines_is_due(&d, 2099));
    assert_true(deadlines_is_due(&d, 2100));

    deadlines_walk_begin(&d);
    deadlines_walk_see(&d, 2150);
    deadlines_walk_see(&d, 2120);
    deadlines_walk_see(&d, DEADLINE_NEVER);
    deadlines_walk_end(&d, false, 2100);
    assert_int_equal(d.due_us, 2120);

    deadlines_walk_begin(&d);
    deadlines_walk_see(&d, DEADLINE_NEVER);
    deadlines_walk_end(&d, false, 2120);
    assert_int_equal(d.due_us, 2220); /* what begins from now on is not due before */
}

/* The last one whose timeout it was has gone by it. */
static void test_no_timeout_is_left_behind_a_walk(void **state)
{
    (void)state;
    struct deadlines d = {.shortest_us = 100, .due_us = 2100};

    deadlines_walk_begin(&d);
    deadlines_configure(&d, 0, 2100);
    deadlines_walk_see(&d, DEADLINE_NEVER);
    deadlines_walk_end(&d, false, 2100);
    assert_int_equal(d.due_us, 0);
}

/* One that has waited for a server brings along when it began. */
static void test_joins_late(void **state)
{
    (void)state;
    struct deadlines d = {.shortest_us = 100, .due_us = 2100};

    assert_true(deadlines_join(&d, 1950));
    assert_int_equal(d.due_us, 2050);
}

static void test_turned_off(void **state)
{
    (void)state;
    struct deadlines d = {.shortest_us = 100, .due_us = 2100};

    deadlines_configure(&d, 0, 2000);
    assert_false(deadlines_is_due(&d, 5000));
}

struct row {
    const char *text;
    struct deadline_times since;
    struct config_timeouts timeouts;
    int64_t at_us;
    enum close_reason why;
};

static const struct row rows[] = {
    {"nothing",
     {0},
     {.query_us = 1, .transaction_us = 1, .idle_transaction_us = 1, .client_idle_us = 1},
     DEADLINE_NEVER,
     CLOSE_NONE},
    {"no limit", {.query_us = 10, .xact_us = 10}, {.idle_transaction_us = 5}, DEADLINE_NEVER, CLOSE_NONE},
    {"a query", {.query_us = 10, .xact_us = 10}, {.query_us = 5}, 15, CLOSE_QUERY_TIMEOUT},
    {"a query in a long transaction",
     {.query_us = 100, .xact_us = 10},
     {.query_us = 5, .transaction_us = 20},
     30,
     CLOSE_TRANSACTION_TIMEOUT},
    {"a long query in a transaction",
     {.query_us = 20, .xact_us = 10},
     {.query_us = 5, .transaction_us = 20},
     25,
     CLOSE_QUERY_TIMEOUT},
    {"both at once: the query",
     {.query_us = 10, .xact_us = 10},
     {.query_us = 5, .transaction_us = 5},
     15,
     CLOSE_QUERY_TIMEOUT},
    {"idle in a transaction",
     {.in_xact_us = 30, .xact_us = 10},
     {.query_us = 1, .idle_transaction_us = 5, .transaction_us = 50, .client_idle_us = 1},
     35,
     CLOSE_IDLE_TRANSACTION_TIMEOUT},
    {"idle",
     {.idle_us = 40},
     {.query_us = 1, .idle_transaction_us = 1, .client_idle_us = 7},
     47,
     CLOSE_CLIENT_IDLE_TIMEOUT},
};

static void test_earliest(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *r = &rows[i];
        struct deadline d = deadline_earliest(&r->since, &r->timeouts);
        if (d.at_us != r->at_us || d.why != r->why)
            fail_msg("%s: %lld, %s", r->text, (long long)d.at_us, close_reason_name(d.why));
    }
}

/* ---- against a model: nothing is ever seen too late, and a walk is rare ---- */

#define N      20
#define END_US 200000

struct member {
    int64_t since_us; /* 0: not in the list */
    int64_t timeout_us;
};

/* As a shard does it: 1 = each was struck at the first tick after its deadline. */
static int run_model(unsigned seed, int64_t shortest_us, int *n_walks)
{
    struct member m[N] = {0};
    struct deadlines d = {0};

    *n_walks = 0;
    deadlines_configure(&d, shortest_us, 1);
    for (int64_t now = 1; now < END_US; now += 20) {
        int i = rand_r(&seed) % N;
        if (m[i].since_us == 0) {
            m[i] = (struct member){now - rand_r(&seed) % 3 * (now > 100 ? 10 : 0),
                                   shortest_us + rand_r(&seed) % (4 * shortest_us)};
            (void)deadlines_join(&d, m[i].since_us);
        } else if (rand_r(&seed) % 16 != 0) {
            m[i].since_us = now; /* goes on: its time begins anew */
        } else {
            m[i].since_us = 0;
        }
        if (deadlines_is_due(&d, now)) {
            int n_left = 0;
            ++*n_walks;
            deadlines_walk_begin(&d);
            for (int k = 0; k < N; k++) {
                if (m[k].since_us == 0)
                    continue;
                if (m[k].since_us + m[k].timeout_us <= now) {
                    m[k].since_us = 0;
                    continue;
                }
                n_left++;
                deadlines_walk_see(&d, m[k].since_us + m[k].timeout_us);
            }
            deadlines_walk_end(&d, n_left == 0, now);
        }
        for (int k = 0; k < N; k++)
            if (m[k].since_us != 0 && m[k].since_us + m[k].timeout_us <= now)
                return 0;
    }
    return 1;
}

static void test_model(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        int n_walks;
        assert_true(run_model(seed, 50 + seed * 37, &n_walks));
    }
}

/* Everybody comes and goes much faster than the timeout: the walks are as far apart as it is long. */
static void test_walks_are_rare(void **state)
{
    (void)state;
    int n_walks;
    assert_true(run_model(7, 20000, &n_walks));
    assert_true(n_walks <= 2 * END_US / 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_in_force),
        cmocka_unit_test(test_walks_are_put_off),
        cmocka_unit_test(test_no_timeout_is_left_behind_a_walk),
        cmocka_unit_test(test_joins_late),
        cmocka_unit_test(test_turned_off),
        cmocka_unit_test(test_earliest),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_walks_are_rare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
