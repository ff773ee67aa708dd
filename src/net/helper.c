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
/* [control thread] */
static pthread_t *threads;
static int thread_count;

/* Waits for a job; NULL when the helpers stop. */
static struct helper_job *queue_take(void)
{
    pthread_mutex_lock(&queue_mutex);
    while (queue_head == NULL && !is_stopping)
        pthread_cond_wait(&queue_cond, &queue_mutex);
    struct helper_job *job = is_stopping ? NULL : queue_head;
    if (job != NULL) {
        queue_head = job->next;
        if (queue_head == NULL)
            queue_tail = &queue_head;
        job->next = NULL;
    }
    pthread_mutex_unlock(&queue_mutex);
    return job;
}

static void *helper_main(void *arg)
{
    (void)arg;
    for (;;) {
        struct helper_job *job = queue_take();
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
    threads = calloc((size_t)n_threads, sizeof(*threads));
    if (threads == NULL)
        return false;
    sigset_t set, old;
    log_thread_signals(&set);
    pthread_sigmask(SIG_SETMASK, &set, &old);
    bool ok = true;
    for (thread_count = 0; ok && thread_count < n_threads;) {
        if (pthread_create(&threads[thread_count], NULL, helper_main, NULL) == 0)
            thread_count++;
        else
            ok = false;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (ok)
        return true;
    (void)!helpers_stop(60); /* they have nothing to do yet, so they end at once */
    return false;
}

bool helpers_stop(int64_t wait_us)
{
    struct timespec until = clock_wall_in(wait_us);

    pthread_mutex_lock(&queue_mutex);
    is_stopping = true;
    pthread_cond_broadcast(&queue_cond);
    pthread_mutex_unlock(&queue_mutex);
    for (; thread_count > 0; thread_count--)
        if (pthread_timedjoin_np(threads[thread_count - 1], NULL, &until) != 0)
            return false;
    free(threads);
    threads = NULL;

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
