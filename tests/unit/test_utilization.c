/*
 * test_utilization.c - integrals and windows of a pool's utilization, also against a
 * brute force that looks at every millisecond.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "stats/utilization.h"

#define SEC USEC_PER_SEC

static int is_near(double a, double b)
{
    return fabs(a - b) < 1e-9;
}

static void young_pool_is_measured_since_birth(void **state)
{
    struct utilization u;
    struct util_window w;

    (void)state;
    util_init(&u, 100 * SEC, 10);
    util_window(&u, 100 * SEC, 60, &w);
    assert_true(w.span_us == 0 && w.ratio == 0 && w.saturated == 0 && w.peak == 0);
    util_change(&u, 101 * SEC, 5, 10, false);
    util_change(&u, 103 * SEC, 10, 10, true);
    util_window(&u, 104 * SEC, 3600, &w); /* 1 s of 0, 2 s of 5, 1 s of 10 */
    assert_true(w.span_us == 4 * SEC);
    assert_true(is_near(w.ratio, 0.5));
    assert_true(is_near(w.active, 5));
    assert_true(is_near(w.saturated, 0.25));
    assert_int_equal(w.peak, 10);
    assert_true(is_near(util_saturated_seconds(&u, 104 * SEC), 1));
}

/* Saturated means all servers are active and somebody waits: neither alone. */
static void saturation_needs_both(void **state)
{
    static const struct {
        uint32_t active, limit;
        int waiting;
        double seconds;
    } rows[] = {
        {10, 10, 0, 0}, {9, 10, 1, 0}, {10, 10, 1, 1}, {11, 10, 1, 1}, {0, 10, 1, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct utilization u;

        util_init(&u, SEC, 10);
        util_change(&u, SEC, rows[i].active, rows[i].limit, rows[i].waiting != 0);
        assert_true(is_near(util_saturated_seconds(&u, 2 * SEC), rows[i].seconds));
    }
}

static void changes_of_the_limit_are_weighted(void **state)
{
    struct utilization u;
    struct util_window w;

    (void)state;
    util_init(&u, SEC, 10);
    util_change(&u, SEC, 10, 10, false);
    util_change(&u, 2 * SEC, 10, 30, false);
    util_window(&u, 3 * SEC, 60, &w); /* 20 of 40 server seconds */
    assert_true(is_near(w.ratio, 0.5));
    util_init(&u, SEC, 0); /* no limit: no ratio, and no division by zero */
    util_change(&u, SEC, 4, 0, false);
    util_window(&u, 3 * SEC, 60, &w);
    assert_true(w.ratio == 0 && is_near(w.active, 4));
}

/* A clock that was read before the lock was had may be behind: nothing may be counted twice. */
static void time_does_not_go_back(void **state)
{
    struct utilization u;
    struct util_window w;

    (void)state;
    util_init(&u, 10 * SEC, 2);
    util_change(&u, 12 * SEC, 1, 2, false);
    util_change(&u, 11 * SEC, 2, 2, false);
    util_tick(&u, 9 * SEC);
    util_window(&u, 14 * SEC, 60, &w);
    assert_true(w.span_us == 4 * SEC);
    assert_true(is_near(w.active, 1)); /* 2 s of 0, 2 s of 2 */
}

/* The peak of a window forgets what came before it; servers that are still active stay in it. */
static void peak_belongs_to_the_window(void **state)
{
    struct utilization u;
    struct util_window w;

    (void)state;
    util_init(&u, 0, 10);
    util_change(&u, 1 * SEC, 9, 10, false);
    util_change(&u, 2 * SEC, 3, 10, false);
    for (int i = 1; i <= 12; i++)
        util_tick(&u, i * UTIL_TICK_US);
    util_window(&u, 121 * SEC, 60, &w);
    assert_int_equal(w.peak, 3);
    util_window(&u, 121 * SEC, 300, &w);
    assert_int_equal(w.peak, 9);
    assert_int_equal(u.peak, 9);
}

enum { MS_TOTAL = 4500 * 1000, TICK_MS = 10000 };

/* Prefix sums per millisecond: the truth. */
static uint64_t active_sum[MS_TOTAL + 1], limit_sum[MS_TOTAL + 1], saturated_sum[MS_TOTAL + 1];

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* More than an hour of random changes and uneven ticks; windows of all lengths at odd moments. */
static void windows_equal_brute_force(void **state)
{
    static const uint32_t seconds[] = {60, 300, 900, 3600};
    static int64_t ticks_ms[MS_TOTAL / TICK_MS + 2];
    static struct utilization u;
    uint64_t x = 2463534242u;
    uint32_t active = 0, limit = 20;
    bool waiting = false;
    int n_ticks = 0, next_change = 1, next_tick = TICK_MS, checked = 0;

    (void)state;
    util_init(&u, 0, limit);
    ticks_ms[n_ticks++] = 0;
    for (int ms = 0; ms < MS_TOTAL; ms++) {
        if (ms == next_change) {
            limit = next_random(&x) % 50 == 0 ? 5 + (uint32_t)(next_random(&x) % 30) : limit;
            active = (uint32_t)(next_random(&x) % (limit + 1));
            waiting = next_random(&x) % 3 == 0;
            util_change(&u, ms * USEC_PER_MSEC, active, limit, waiting);
            next_change = ms + 1 + (int)(next_random(&x) % 700);
        }
        if (ms == next_tick) {
            util_tick(&u, ms * USEC_PER_MSEC);
            ticks_ms[n_ticks++] = ms;
            next_tick = n_ticks * TICK_MS + (int)(next_random(&x) % 900);
        }
        if (ms % 77777 == 3) {
            for (size_t i = 0; i < ARRAY_SIZE(seconds); i++) {
                struct util_window w;
                int64_t want = ms - (int64_t)seconds[i] * 1000, from = 0;
                double span;

                for (int t = n_ticks > 361 ? n_ticks - 361 : 0; t < n_ticks; t++) {
                    if (llabs(ticks_ms[t] - want) <= llabs(from - want) || t == n_ticks - 361)
                        from = ticks_ms[t];
                }
                util_window(&u, ms * USEC_PER_MSEC, seconds[i], &w);
                span = (double)(ms - from);
                assert_true(w.span_us == (ms - from) * USEC_PER_MSEC);
                assert_true(llabs(w.span_us / 1000 - seconds[i] * INT64_C(1000)) <= 6000 || from == 0);
                if (span <= 0)
                    continue;
                assert_true(is_near(w.active, (double)(active_sum[ms] - active_sum[from]) / span));
                assert_true(is_near(w.saturated, (double)(saturated_sum[ms] - saturated_sum[from]) / span));
                assert_true(is_near(w.ratio, (double)(active_sum[ms] - active_sum[from]) /
                                                 (double)(limit_sum[ms] - limit_sum[from])));
                checked++;
            }
        }
        active_sum[ms + 1] = active_sum[ms] + active;
        limit_sum[ms + 1] = limit_sum[ms] + limit;
        saturated_sum[ms + 1] = saturated_sum[ms] + (waiting && active >= limit);
    }
    assert_true(checked > 200);
    assert_int_equal(u.count, UTIL_HOUR_TICKS + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(young_pool_is_measured_since_birth), cmocka_unit_test(saturation_needs_both),
        cmocka_unit_test(changes_of_the_limit_are_weighted),  cmocka_unit_test(time_does_not_go_back),
        cmocka_unit_test(peak_belongs_to_the_window),         cmocka_unit_test(windows_equal_brute_force),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
