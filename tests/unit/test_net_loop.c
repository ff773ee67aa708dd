/*
 * test_net_loop.c - mail between threads, mail to oneself, deferred work, counters.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/helper.h"
#include "net/loop.h"

#define SENDERS          4
#define MAILS_PER_SENDER 25000

struct numbered_mail {
    struct mail mail;
    int sender;
    int number;
};

struct receiver {
    struct loop loop;
    int next[SENDERS];
    int count;
    bool is_ordered;
};

static void count_mail(struct loop *loop, struct mail *m)
{
    struct receiver *r = loop->arg;
    struct numbered_mail *n = container_of(m, struct numbered_mail, mail);
    assert_ptr_equal(loop_current(), loop);
    if (n->number != r->next[n->sender])
        r->is_ordered = false;
    r->next[n->sender] = n->number + 1;
    free(n);
    if (++r->count == SENDERS * MAILS_PER_SENDER)
        loop_stop(loop);
}

struct sender {
    struct loop *to;
    int index;
};

static void *sender_main(void *arg)
{
    struct sender *s = arg;
    for (int i = 0; i < MAILS_PER_SENDER; i++) {
        struct numbered_mail *n = calloc(1, sizeof(*n));
        n->sender = s->index;
        n->number = i;
        loop_post(s->to, &n->mail);
    }
    return NULL;
}

/* No mail is lost, and the mail of each sender arrives in the order in which it was posted. */
static void test_mail_is_fifo_per_sender(void **state)
{
    (void)state;
    struct receiver r = {.is_ordered = true};
    pthread_t threads[SENDERS];
    struct sender senders[SENDERS];
    assert_true(loop_init(&r.loop, count_mail, &r));
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&r.loop, i};
        assert_int_equal(pthread_create(&threads[i], NULL, sender_main, &senders[i]), 0);
    }
    loop_run(&r.loop);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(r.count, SENDERS * MAILS_PER_SENDER);
    assert_true(r.is_ordered);
    assert_true(atomic_load(&r.loop.turns) > 0);
    assert_int_equal(atomic_load(&r.loop.turn_started_us), 0);
    assert_null(loop_current());
    loop_destroy(&r.loop);
}

/* --- one thread: what happens in which order, as a string --- */

struct trace {
    struct loop loop;
    char text[64];
    struct mail mails[4];
    struct deferred deferred[3];
    struct event timer;
    uint64_t turns_at[8];
};

static void trace_add(struct trace *t, char c)
{
    size_t n = strlen(t->text);
    t->turns_at[n] = atomic_load(&t->loop.turns);
    t->text[n] = c;
}

static void deferred_a(struct deferred *d)
{
    trace_add(container_of(d, struct trace, deferred[0]), 'A');
}

static void deferred_c(struct deferred *d)
{
    trace_add(container_of(d, struct trace, deferred[2]), 'C');
}

/* Defers more, which belongs to the next turn. */
static void deferred_b(struct deferred *d)
{
    struct trace *t = container_of(d, struct trace, deferred[1]);
    trace_add(t, 'B');
    t->deferred[2].run = deferred_c;
    loop_defer(&t->loop, &t->deferred[2]);
}

static void trace_mail(struct loop *loop, struct mail *m)
{
    struct trace *t = loop->arg;
    trace_add(t, (char)('0' + m->type));
    if (m->type == 1)
        loop_post(loop, &t->mails[3]); /* handled in the next turn */
    if (m->type == 3)
        loop_stop(loop);
}

static void trace_timer_cb(evutil_socket_t fd, short what, void *arg)
{
    struct trace *t = arg;
    (void)fd, (void)what;
    loop_enter(&t->loop);
    t->deferred[0].run = deferred_a;
    t->deferred[1].run = deferred_b;
    loop_defer(&t->loop, &t->deferred[0]);
    loop_post(&t->loop, &t->mails[1]);
    loop_defer(&t->loop, &t->deferred[1]);
    loop_post(&t->loop, &t->mails[2]);
    trace_add(t, 'e');
}

static void test_order_within_turns(void **state)
{
    (void)state;
    struct trace t = {0};
    struct timeval soon = {0, 1000};
    assert_true(loop_init(&t.loop, trace_mail, &t));
    for (uint32_t i = 0; i < 4; i++)
        t.mails[i].type = i;
    evtimer_assign(&t.timer, t.loop.base, trace_timer_cb, &t);
    evtimer_add(&t.timer, &soon);
    loop_run(&t.loop);
    assert_string_equal(t.text, "e12AB3C");
    assert_int_equal(t.turns_at[4], t.turns_at[0]);     /* B in the turn of the event */
    assert_int_equal(t.turns_at[5], t.turns_at[0] + 1); /* 3 in the next, without waiting */
    assert_true(atomic_load(&t.loop.turns) >= 2);
    loop_take_max_turn_us(&t.loop);
    assert_int_equal(loop_take_max_turn_us(&t.loop), 0);
    loop_destroy(&t.loop);
}

static int n_destroyed;
static void count_destroyed(struct deferred *d)
{
    (void)d;
    n_destroyed++;
}

/* What is deferred after the loop has ended is run all the same: it is usually a free. */
static void test_destroy_runs_deferred(void **state)
{
    (void)state;
    struct loop loop;
    struct deferred d = {.run = count_destroyed};
    assert_true(loop_init(&loop, trace_mail, NULL));
    loop_defer(&loop, &d);
    loop_destroy(&loop);
    assert_int_equal(n_destroyed, 1);
    loop_destroy(&loop); /* harmless */
}

static void test_ignores_environment(void **state)
{
    (void)state;
    struct loop loop;
    setenv("EVENT_EPOLL_USE_CHANGELIST", "1", 1);
    setenv("EVENT_NOEPOLL", "1", 1);
    assert_true(loop_init(&loop, trace_mail, NULL));
    assert_string_equal(event_base_get_method(loop.base), "epoll");
    loop_destroy(&loop);
    unsetenv("EVENT_EPOLL_USE_CHANGELIST");
    unsetenv("EVENT_NOEPOLL");
}

/* --- helpers --- */

#define JOBS 200

struct test_job {
    struct helper_job job;
    int value;
};

static void job_work(struct helper_job *job)
{
    struct test_job *t = container_of(job, struct test_job, job);
    t->value *= 2;
}

struct answers {
    int count;
    int sum;
};

static void job_mail(struct loop *loop, struct mail *m)
{
    struct answers *a = loop->arg;
    struct test_job *t = container_of(m, struct test_job, job.mail);
    a->sum += t->value;
    if (++a->count == JOBS)
        loop_stop(loop);
}

static void test_helpers_answer(void **state)
{
    (void)state;
    struct answers a = {0};
    struct loop loop;
    static struct test_job jobs[JOBS];
    assert_true(loop_init(&loop, job_mail, &a));
    assert_true(helpers_start(3));
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct test_job){.job = {.work = job_work, .reply_to = &loop}, .value = i};
        helper_submit(&jobs[i].job);
    }
    loop_run(&loop);
    assert_true(helpers_stop(60 * USEC_PER_SEC));
    assert_int_equal(a.sum, JOBS * (JOBS - 1));
    loop_destroy(&loop);
}

static atomic_bool has_begun, may_end;

static void slow_work(struct helper_job *job)
{
    (void)job;
    atomic_store(&has_begun, true);
    while (!atomic_load(&may_end))
        usleep(1000);
}

/* The end of the program does not wait for a name server that does not answer. */
static void test_helpers_stop_in_bounded_time(void **state)
{
    (void)state;
    struct helper_job job = {.work = slow_work};
    assert_true(helpers_start(2));
    helper_submit(&job);
    while (!atomic_load(&has_begun))
        usleep(1000);
    assert_false(helpers_stop(0));
    atomic_store(&may_end, true);
    assert_true(helpers_stop(60 * USEC_PER_SEC));
}

/* Who has nothing to do is waited for: on a busy machine it may not have had a processor yet. */
static void test_helpers_that_are_idle(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        assert_true(helpers_start(3));
        assert_true(helpers_stop(0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mail_is_fifo_per_sender), cmocka_unit_test(test_order_within_turns),
        cmocka_unit_test(test_destroy_runs_deferred),   cmocka_unit_test(test_ignores_environment),
        cmocka_unit_test(test_helpers_answer),          cmocka_unit_test(test_helpers_stop_in_bounded_time),
        cmocka_unit_test(test_helpers_that_are_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
