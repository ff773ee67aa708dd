/*
 * test_worker.c - who is thought to live: a worker whose turn ends, and who takes its mail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "worker/worker.h"

#define S USEC_PER_SEC

static void test_for_how_long_it_is_silent(void **state)
{
    static const struct {
        int64_t turn_s, asked_s, now_s, silent_s;
    } rows[] = {
        {0, 0, 1000, 0},      /* waits for events, and nobody has asked */
        {990, 0, 1000, 10},   /* a turn takes long */
        {0, 985, 1000, 15},   /* it does not come out of the wait */
        {999, 985, 1000, 15}, /* ... or has just done so */
        {980, 999, 1000, 20}, /* asked while the turn was under way */
        {1000, 0, 1000, 0},   /* just begun */
        {0, 1001, 1000, 0},   /* later than the clock was read */
        {1001, 1001, 1000, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t us = worker_silent_us(rows[i].turn_s * S, rows[i].asked_s * S, rows[i].now_s * S);
        if (us != rows[i].silent_s * S)
            fail_msg("row %zu: %lld us", i, (long long)us);
    }
}

/* ---- two workers whose threads are the test's: they run when it says so ---- */

#define WORKERS 2

static int n_mails;

static void take_pulse(struct loop *loop, struct mail *m)
{
    assert_int_equal(m->type, MAIL_PULSE);
    n_mails++;
    worker_on_mail(loop, m);
    loop_stop(loop);
}

static int setup(void **state)
{
    struct instance *in = calloc(1, sizeof(*in));

    in->n_workers = WORKERS;
    for (int i = 0; i < WORKERS; i++) {
        in->shards[i] = calloc(1, sizeof(*in->shards[i]));
        in->shards[i]->index = (uint8_t)i;
        assert_true(loop_init(&in->shards[i]->loop, take_pulse, in->shards[i]));
    }
    n_mails = 0;
    *state = in;
    return 0;
}

static int teardown(void **state)
{
    struct instance *in = *state;

    for (int i = 0; i < WORKERS; i++) {
        loop_destroy(&in->shards[i]->loop);
        free(in->shards[i]);
    }
    free(in);
    return 0;
}

/* "" when all live. */
static const char *look(struct instance *in)
{
    static char text[200];
    struct buf why;

    buf_init(&why, 200);
    bool ok = workers_are_live(in, &why);
    assert_int_equal(ok, why.len == 0);
    snprintf(text, sizeof(text), "%s", buf_cstr(&why));
    buf_free(&why);
    return text;
}

static void test_a_turn_that_does_not_end(void **state)
{
    struct instance *in = *state;

    atomic_store(&in->shards[1]->loop.turn_started_us, clock_now_us() - 9 * S);
    assert_string_equal(look(in), "");
    atomic_store(&in->shards[1]->loop.turn_started_us, clock_now_us() - 12 * S);
    assert_string_equal(look(in), "worker 1 has not turned for 12 s\n");
    atomic_store(&in->shards[1]->loop.turn_started_us, 0);
    assert_string_equal(look(in), "");
}

/* No turn is under way, and the mail lies there. */
static void test_mail_that_is_not_taken(void **state)
{
    struct instance *in = *state;
    struct shard *alive = in->shards[0], *stuck = in->shards[1];

    assert_string_equal(look(in), "");
    assert_true(atomic_load(&stuck->pulse.asked_us) != 0);
    loop_run(&alive->loop);
    assert_int_equal(n_mails, 1);
    assert_int_equal(atomic_load(&alive->pulse.asked_us), 0);

    atomic_store(&stuck->pulse.asked_us, clock_now_us() - 9 * S);
    assert_string_equal(look(in), ""); /* asks the one again, and not the other */
    loop_run(&alive->loop);
    assert_int_equal(n_mails, 2);
    atomic_store(&stuck->pulse.asked_us, clock_now_us() - 11 * S);
    assert_string_equal(look(in), "worker 1 has not turned for 11 s\n");
    loop_run(&alive->loop);

    loop_run(&stuck->loop); /* it was asked once, however many questions there were */
    assert_int_equal(n_mails, 4);
    assert_string_equal(look(in), "");
    loop_run(&stuck->loop);
    assert_int_equal(n_mails, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_for_how_long_it_is_silent),
        cmocka_unit_test_setup_teardown(test_a_turn_that_does_not_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mail_that_is_not_taken, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
