/*
 * helper.c - the queue of blocking calls and the threads that take from it.
 *
 * Threads: any thread submits. queue_mutex is a leaf: nothing else is taken, called
 * or allocated while it is held. It is a plain mutex, as a condition variable needs one.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "net/helper.h"

static pthread_mutex_t queue_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_cond = PTHREAD_COND_INITIALIZER;
/* [queue_mutex] */
static struct helper_job *queue_head;
static struct helper_job **queue_tail = &queue_head;
static bool is_stopping;

struct helper {
    pthread_t thread;
    bool has_ended;  /* [control thread] and been joined */
    bool is_at_work; /* [queue_mutex] */
};
/* [control thread] */
static struct helper *helpers;
static int helper_count;

/* Waits for a job; NULL when the helpers stop. */
static struct helper_job *queue_take(struct helper *self)
{
    pthread_mutex_lock(&queue_mutex);
    self->is_at_work = false;
    while (queue_head == NULL && !is_stopping)
        pthread_cond_wait(&queue_cond, &queue_mutex);
    struct helper_job *job = is_stopping ? NULL : queue_head;
    if (job != NULL) {
        queue_head = job->next;
        if (queue_head == NULL)
            queue_tail = &queue_head;
        job->next = NULL;
        self->is_at_work = true;
    }
    pthread_mutex_unlock(&queue_mutex);
    return job;
}

static void *helper_main(void *arg)
{
    for (;;) {
        struct helper_job *job = queue_take(arg);
        if (job == NULL)
            return NULL;
        struct loop *reply_to = job->reply_to;
        job->work(job);
        if (reply_to != NULL)
            loop_post(reply_to, &job->mail);
    }
}

bool helpers_start(int n_threads)
{
    helpers = calloc((size_t)n_threads, sizeof(*helpers));
    if (helpers == NULL)
        return false;
    sigset_t set, old;
    log_thread_signals(&set);
    pthread_sigmask(SIG_SETMASK, &set, &old);
    bool ok = true;
    for (helper_count = 0; ok && helper_count < n_threads;) {
        struct helper *h = &helpers[helper_count];
        if (pthread_create(&h->thread, NULL, helper_main, h) == 0)
            helper_count++;
        else
            ok = false;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (ok)
        return true;
    (void)!helpers_stop(60); /* they have nothing to do yet, so they end at once */
    return false;
}

static bool is_at_work(const struct helper *h)
{
    pthread_mutex_lock(&queue_mutex);
    const bool is = h->is_at_work;
    pthread_mutex_unlock(&queue_mutex);
    return is;
}

bool helpers_stop(int64_t wait_us)
{
    struct timespec until = clock_wall_in(wait_us);

    pthread_mutex_lock(&queue_mutex);
    is_stopping = true;
    pthread_cond_broadcast(&queue_cond);
    pthread_mutex_unlock(&queue_mutex);
    for (int i = 0; i < helper_count; i++) {
        if (helpers[i].has_ended || is_at_work(&helpers[i]))
            continue;
        (void)pthread_join(helpers[i].thread, NULL); /* it ends when it gets a processor */
        helpers[i].has_ended = true;
    }
    for (int i = 0; i < helper_count; i++)
        if (!helpers[i].has_ended && pthread_timedjoin_np(helpers[i].thread, NULL, &until) != 0)
            return false;
    free(helpers);
    helpers = NULL;
    helper_count = 0;

    pthread_mutex_lock(&queue_mutex);
    is_stopping = false;
    queue_head = NULL;
    queue_tail = &queue_head;
    pthread_mutex_unlock(&queue_mutex);
    return true;
}

void helper_submit(struct helper_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&queue_mutex);
    *queue_tail = job;
    queue_tail = &job->next;
    pthread_cond_signal(&queue_cond);
    pthread_mutex_unlock(&queue_mutex);
}
