/*
 * test_reach.c - can a database be reached; and when the log says that it cannot: once, once a minute, and at
 * the end.
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

/* Attempts follow each other closely; the first of a kind is news, and one after a long silence. */
static void test_failures_that_are_news(void **state)
{
    static const struct {
        int64_t at_s;
        enum close_reason why; /* CLOSE_NONE: the outage has been said */
        bool is_news;
    } rows[] = {
        {100, CLOSE_CONNECT_FAILED, true},   {100, CLOSE_CONNECT_FAILED, false},
        {115, CLOSE_CONNECT_FAILED, false},  {116, CLOSE_CONNECT_TIMEOUT, true},
        {130, CLOSE_CONNECT_TIMEOUT, false}, {205, CLOSE_CONNECT_TIMEOUT, false},
        {206, CLOSE_CONNECT_TIMEOUT, true},  {260, CLOSE_NONE, false},
        {349, CLOSE_CONNECT_TIMEOUT, false}, {350, CLOSE_CONNECT_TIMEOUT, true},
    };
    struct failure_said said = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].why == CLOSE_NONE)
            failure_was_said(&said, rows[i].at_s * S);
        else if (failure_is_news(&said, rows[i].why, rows[i].at_s * S) != rows[i].is_news)
            fail_msg("row %zu", i);
    }
}

/* ---- what pools say ---- */

struct fixture {
    struct registry *registry;
    struct pool *pool;
    struct pool_acts acts;
    int64_t now_us;
};

static int setup(void **state)
{
    static struct fixture f;
    const struct pool_config config = {.limit = 3, .login_retry_us = S, .idle_timeout_us = 10 * S};
    bool is_new;

    f.registry = registry_new(1);
    f.pool = registry_get_pool(f.registry, "d", "u", &is_new);
    f.now_us = clock_now_us();
    pool_configure(f.pool, &config, f.now_us, &f.acts);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    assert_true(pool_check(f->pool));
    registry_destroy(f->registry);
    return 0;
}

static struct slot *begin_connect(struct fixture *f)
{
    pool_want_one(f->pool, 0, f->now_us, &f->acts);
    assert_int_equal(f->acts.n, 1);
    assert_int_equal(f->acts.act[0].kind, POOL_ACT_CONNECT);
    return f->acts.act[0].slot;
}

static struct slot *connect_one(struct fixture *f)
{
    struct slot *slot = begin_connect(f);
    pool_connected(f->pool, slot, NULL, f->now_us, &f->acts);
    assert_int_equal(f->acts.act[0].kind, POOL_ACT_IDLE);
    return slot;
}

static enum reach look(struct fixture *f, bool *is_recent)
{
    struct reach_report report;
    enum reach reach = registry_reach(f->registry, f->pool->database, f->now_us, &report);

    *is_recent = reach_is_recent(&report, f->now_us);
    return reach;
}

/* The ledger closes its last server for why, and it has gone. */
static void close_last(struct fixture *f, struct slot *slot, enum close_reason why)
{
    if (why == CLOSE_SERVER_IDLE_TIMEOUT)
        pool_maintain(f->pool, 0, f->now_us, &f->acts);
    else if (why == CLOSE_CONFIG_CHANGED || why == CLOSE_POOL_IDLE)
        pool_recycle(f->pool, why, f->now_us, &f->acts);
    else
        assert_true(pool_closing(f->pool, slot, why, f->now_us));
    assert_int_equal(slot->state, SLOT_CLOSING);
    assert_int_equal(slot->close_reason, why);
    pool_closed(f->pool, slot, f->now_us, &f->acts);
}

/* A server that was not needed any more was well until then; one that was lost was not. */
static void test_what_a_last_server_leaves(void **state)
{
    static const struct {
        enum close_reason why;
        bool is_recent;
    } rows[] = {
        {CLOSE_SERVER_IDLE_TIMEOUT, true}, {CLOSE_SERVER_LIFETIME, true},  {CLOSE_POOL_IDLE, true},
        {CLOSE_SERVER_CRASHED, false},     {CLOSE_PROTOCOL_SERVER, false}, {CLOSE_RECONNECT, false},
        {CLOSE_CONFIG_CHANGED, false}, /* it may be another one now */
    };
    struct fixture *f = *state;
    bool is_recent;

    assert_int_equal(look(f, &is_recent), REACH_UNTRIED);
    assert_false(is_recent);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slot *slot = connect_one(f);
        f->now_us += 3600 * S;
        assert_int_equal(look(f, &is_recent), REACH_OK);
        close_last(f, slot, rows[i].why);
        f->now_us += 60 * S;
        assert_int_equal(look(f, &is_recent), REACH_UNTRIED);
        if (is_recent != rows[i].is_recent)
            fail_msg("after %s: %d", close_reason_name(rows[i].why), is_recent);
        registry_retire(f->registry, f->pool); /* its pool is not shown any more: no matter */
        assert_int_equal(look(f, &is_recent), REACH_UNTRIED);
        assert_int_equal(is_recent, rows[i].is_recent);
        atomic_store(&f->pool->is_retired, false);
        f->now_us += 61 * S;
        assert_int_equal(look(f, &is_recent), REACH_UNTRIED);
        assert_false(is_recent);
    }
}

/* The question has an attempt made; how that ends counts more than what was. */
static void test_an_attempt_that_fails_counts(void **state)
{
    struct fixture *f = *state;
    bool is_recent;

    close_last(f, connect_one(f), CLOSE_POOL_IDLE);
    struct slot *slot = begin_connect(f);
    assert_int_equal(look(f, &is_recent), REACH_UNTRIED);
    assert_true(is_recent);
    pool_connect_failed(f->pool, slot, false, false, "08001", "connect failed", f->now_us, &f->acts);
    assert_int_equal(look(f, &is_recent), REACH_FAILS);
    assert_false(is_recent);
}

/* A server that goes because of new settings may still be closing, or have gone before they came. */
static void test_new_settings_without_a_server(void **state)
{
    struct fixture *f = *state;
    bool is_recent;

    close_last(f, connect_one(f), CLOSE_POOL_IDLE);
    pool_recycle(f->pool, CLOSE_CONFIG_CHANGED, f->now_us, &f->acts);
    assert_int_equal(look(f, &is_recent), REACH_UNTRIED);
    assert_false(is_recent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_a_minute),
        cmocka_unit_test(test_what_is_no_outage),
        cmocka_unit_test(test_failures_that_are_news),
        cmocka_unit_test_setup_teardown(test_what_a_last_server_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_attempt_that_fails_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_new_settings_without_a_server, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
