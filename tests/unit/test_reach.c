/*
 * test_reach.c - when the log says that a database cannot be reached: once, once a minute, and at the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pool/reach.h"

#define S USEC_PER_SEC

struct step {
    int64_t at_s;
    enum reach reach;
    int64_t failing_since_s;
    bool is_refused, was_reached;
    enum outage_news news;
    int64_t since_s; /* with news */
};

static void play(const struct step *steps, size_t n)
{
    struct outage o = {0};
    for (size_t i = 0; i < n; i++) {
        const struct step *s = &steps[i];
        struct reach_report report = {
            .failing_since_us = s->failing_since_s * S,
            .is_refused = s->is_refused,
            .was_reached = s->was_reached,
        };
        enum outage_news news = outage_step(&o, s->reach, &report, s->at_s * S);
        if (news != s->news)
            fail_msg("step %zu: %d, not %d", i, (int)news, (int)s->news);
        if (news != OUTAGE_NO_NEWS)
            assert_int_equal(o.since_us, s->since_s * S);
    }
}

static void test_once_a_minute(void **state)
{
    static const struct step steps[] = {
        {100, REACH_UNTRIED, 0, false, false, OUTAGE_NO_NEWS, 0},
        {101, REACH_OK, 0, false, false, OUTAGE_NO_NEWS, 0},
        {102, REACH_FAILS, 101, false, false, OUTAGE_BEGINS, 101},
        {103, REACH_FAILS, 101, false, false, OUTAGE_NO_NEWS, 0},
        {161, REACH_FAILS, 101, false, false, OUTAGE_NO_NEWS, 0},
        {162, REACH_FAILS, 101, false, false, OUTAGE_LASTS, 101},
        {163, REACH_FAILS, 150, false, false, OUTAGE_NO_NEWS, 0}, /* another pool of it */
        {222, REACH_FAILS, 150, false, false, OUTAGE_LASTS, 101},
        {230, REACH_OK, 0, false, false, OUTAGE_ENDS, 101},
        {231, REACH_OK, 0, false, false, OUTAGE_NO_NEWS, 0},
        {240, REACH_FAILS, 239, false, false, OUTAGE_BEGINS, 239},
        {241, REACH_UNTRIED, 0, false, true, OUTAGE_ENDS, 239}, /* and its server has gone again */
    };
    (void)state;
    play(steps, sizeof(steps) / sizeof(steps[0]));
}

static void test_what_is_no_outage(void **state)
{
    static const struct step steps[] = {
        /* PostgreSQL is there: a wrong password of one pool */
        {100, REACH_FAILS, 99, true, false, OUTAGE_NO_NEWS, 0},
        {101, REACH_OK, 0, false, false, OUTAGE_NO_NEWS, 0},
        /* nobody asks any more: nothing is known about an end */
        {110, REACH_FAILS, 109, false, false, OUTAGE_BEGINS, 109},
        {111, REACH_UNTRIED, 0, false, false, OUTAGE_NO_NEWS, 0},
        {112, REACH_OK, 0, false, false, OUTAGE_NO_NEWS, 0},
    };
    (void)state;
    play(steps, sizeof(steps) / sizeof(steps[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_a_minute),
        cmocka_unit_test(test_what_is_no_outage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
