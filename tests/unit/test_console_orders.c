/*
 * test_console_orders.c - orders that wait: done, cancelled, given up, two at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops_harness.h"
#include "wire/codec.h"

#define CANCELLED(what) "E ERROR 57014 " what "\nZ I\n"

static int setup(void **state)
{
    harness_setup_admin(state);

    struct harness *h = *state;
    harness_open(h, 1, 2, true);
    free(harness_trace(h));
    h->servers_left = true;
    return 0;
}

/* Client 2, of worker 1. */
static void query_by_other(struct harness *h, const char *sql)
{
    struct buf b;

    buf_init(&b, 0);
    wire_put_query(&b, sql);
    harness_data(h, 1, 2, b.data, b.len);
    buf_free(&b);
}

static void tick(struct harness *h)
{
    console_tick(h->console, h->now_us);
}

/* Sends sql, which is to wait. */
static void begin(struct harness *h, const char *sql, const char *calls)
{
    harness_query(h, sql);
    check_calls(h, calls);
    check_trace(h, "");
    assert_true(console_is_waiting(h->console));
    tick(h);
    check_trace(h, "");
}

static void test_done(void **state)
{
    static const struct {
        const char *sql, *calls, *tag;
    } rows[] = {
        {"PAUSE app", "pause app;", "C PAUSE\nZ I\n"},
        {"WAIT_CLOSE app", "", "C WAIT_CLOSE\nZ I\n"},
        {"WAIT_CLOSE", "", "C WAIT_CLOSE\nZ I\n"},
        {"PAUSE", "pause *;", "C PAUSE\nZ I\n"},
    };
    struct harness *h = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        h->servers_left = true;
        begin(h, rows[i].sql, rows[i].calls);
        h->servers_left = false;
        tick(h);
        check_trace(h, rows[i].tag);
        assert_false(console_is_waiting(h->console));
    }
}

#define N_SUSPEND                                                                                            \
    "N NOTICE 00000 SUSPEND is PAUSE here: it waits for transactions to end and closes server connections\n"

static void test_suspend(void **state)
{
    struct harness *h = *state;

    begin(h, "SUSPEND", "pause *;");
    h->servers_left = false;
    tick(h);
    check_trace(h, N_SUSPEND "C SUSPEND\nZ I\n");
    harness_query(h, "SUSPEND");
    check_trace(h, "E ERROR 55000 already suspended/paused\nZ I\n");
    harness_query(h, "RESUME; SUSPEND");
    check_trace(h, "C RESUME\n" N_SUSPEND "C SUSPEND\nZ I\n");
    check_calls(h, "resume *;pause *;");
}

static void test_pause_ended_by_resume(void **state)
{
    struct harness *h = *state;

    begin(h, "PAUSE other", "pause other;");
    query_by_other(h, "RESUME other");
    check_trace(h, "C RESUME\nZ I\n");
    tick(h);
    check_trace(h, CANCELLED("PAUSE was ended by RESUME"));
}

static void test_pause_given_up(void **state)
{
    struct harness *h = *state;

    begin(h, "PAUSE", "pause *;");
    harness_cancel(h, 0, 1);
    check_trace(h, CANCELLED("PAUSE was cancelled: what it had paused goes on"));
    check_calls(h, "resume *;");
    harness_cancel(h, 0, 1); /* too late */
    check_trace(h, "");

    begin(h, "PAUSE app", "pause app;");
    harness_gone(h, 0, 1);
    check_calls(h, "resume app;");
    assert_false(console_is_waiting(h->console));
}

/* What somebody else wants too is not undone before he gives it up as well. */
static void test_pause_of_two(void **state)
{
    struct harness *h = *state;

    begin(h, "PAUSE app", "pause app;");
    query_by_other(h, "PAUSE app");
    check_calls(h, "pause app;");
    harness_cancel(h, 0, 1);
    check_trace(h, CANCELLED("PAUSE was cancelled: the pause stays, as others have asked for it too"));
    check_calls(h, "");
    harness_cancel(h, 1, 2);
    check_trace(h, CANCELLED("PAUSE was cancelled: what it had paused goes on"));
    check_calls(h, "resume app;");
}

/* One that was there before is not undone by who only waits for it. */
static void test_pause_that_was_there(void **state)
{
    struct harness *h = *state;

    h->servers_left = false;
    query_by_other(h, "PAUSE app");
    check_trace(h, "C PAUSE\nZ I\n");
    check_calls(h, "pause app;");
    h->servers_left = true;
    begin(h, "PAUSE app", "pause app;");
    harness_gone(h, 0, 1);
    check_calls(h, "");
}

static void test_kill(void **state)
{
    struct harness *h = *state;

    begin(h, "KILL app", "kill app;");
    h->order.outstanding = 0;
    tick(h);
    check_trace(h, ""); /* servers are left */
    check_calls(h, "forget;");
    h->servers_left = false;
    tick(h);
    check_trace(h, "C KILL\nZ I\n");

    /* resumed meanwhile: what was there has gone all the same */
    h->servers_left = true;
    begin(h, "KILL", "kill *;");
    query_by_other(h, "RESUME");
    free(harness_trace(h));
    h->order.outstanding = 0;
    tick(h);
    check_trace(h, "C KILL\nZ I\n");
    check_calls(h, "resume *;forget;");
}

static void test_kill_given_up(void **state)
{
    struct harness *h = *state;

    begin(h, "KILL app", "kill app;");
    harness_cancel(h, 0, 1);
    check_trace(h, CANCELLED("KILL was cancelled: what it has closed stays closed and paused"));
    check_calls(h, "forget;");
    begin(h, "KILL app", "kill app;");
    harness_gone(h, 0, 1);
    check_calls(h, "forget;");
}

/* A PAUSE that waits, and the KILL that helps it: its pause is not undone any more. */
static void test_kill_takes_over_a_pause(void **state)
{
    struct harness *h = *state;

    begin(h, "PAUSE app", "pause app;");
    query_by_other(h, "KILL app");
    check_calls(h, "kill app;");
    harness_gone(h, 0, 1);
    check_calls(h, "");
}

static void test_kill_client(void **state)
{
    struct harness *h = *state;

    begin(h, "KILL_CLIENT 77", "kill_client 77;");
    h->order.outstanding = 0;
    h->order.n_found = 1;
    tick(h);
    check_trace(h, "C KILL_CLIENT\nZ I\n");
    check_calls(h, "forget;");

    begin(h, "KILL_CLIENT 78", "kill_client 78;");
    h->order.outstanding = 0;
    tick(h);
    check_trace(h, "E ERROR 42704 no such client DETAIL SHOW CLIENTS lists the clients; id is their number.\n"
                   "Z I\n");
    check_calls(h, "forget;");
}

static void test_wait_close_given_up(void **state)
{
    struct harness *h = *state;

    begin(h, "WAIT_CLOSE app", "");
    harness_cancel(h, 0, 1);
    check_trace(h, CANCELLED("WAIT_CLOSE was cancelled"));
    check_calls(h, "");
}

static void test_answered_at_once(void **state)
{
    static const struct {
        const char *sql, *answer;
    } rows[] = {
        {"RECONNECT", "C RECONNECT\n"},
        {"RECONNECT app", "C RECONNECT\n"},
        {"RECONNECT nowhere", "E ERROR 3D000 no such database: nowhere\n"},
        {"RECONNECT pgbouncer", "E ERROR 42809 cannot do that to the admin database: pgbouncer\n"},
        {"KILL nowhere", "E ERROR 3D000 no such database: nowhere\n"},
        {"KILL pgsluice", "E ERROR 42809 cannot do that to the admin database: pgsluice\n"},
        {"WAIT_CLOSE nowhere", "E ERROR 3D000 no such database: nowhere\n"},
        {"KILL_CLIENT x", "E ERROR 22P02 invalid client id: \"x\"\n"},
        {"KILL_CLIENT -1", "E ERROR 22P02 invalid client id: \"-1\"\n"},
        {"KILL_CLIENT", "E ERROR 42601 syntax error at end of input\n"},
        {"KILL_CLIENT 1 2", "E ERROR 42601 syntax error at or near \"2\"\n"},
    };
    struct harness *h = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char expected[256];

        harness_query(h, rows[i].sql);
        snprintf(expected, sizeof(expected), "%sZ I\n", rows[i].answer);
        check_trace(h, expected);
    }
    check_calls(h, "reconnect *;reconnect app;");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_done),
        TEST(test_suspend),
        TEST(test_pause_ended_by_resume),
        TEST(test_pause_given_up),
        TEST(test_pause_of_two),
        TEST(test_pause_that_was_there),
        TEST(test_kill),
        TEST(test_kill_given_up),
        TEST(test_kill_takes_over_a_pause),
        TEST(test_kill_client),
        TEST(test_wait_close_given_up),
        TEST(test_answered_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
