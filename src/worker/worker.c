/*
 * worker.c - the body of a worker thread, and the dispatch of new clients.
 *
 * Threads: each function says whose.
 */
#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#define STUCK_US (10 * USEC_PER_SEC)

/* What a shard does not know is about describing it, and whether it lives. */
void worker_on_mail(struct loop *loop, struct mail *m)
{
    struct shard *sh = loop->arg;

    if (m->type == MAIL_GATHER)
        worker_describe(sh, container_of(m, struct mail_gather, mail));
    else if (m->type == MAIL_PULSE)
        atomic_store_explicit(&sh->pulse.asked_us, 0,
                              memory_order_release); /* may be sent again from here on */
    else if (!shard_on_mail(sh, m))
        log_error("worker %d: unknown mail %u", sh->index, m->type);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    char name[16];

    snprintf(name, sizeof(name), "worker-%d", w->shard.index);
    (void)pthread_setname_np(pthread_self(), name);
    loop_run(&w->shard.loop);
    return NULL;
}

struct worker *workers_start(struct instance *in, struct session_config *config)
{
    struct worker *workers = xcalloc((size_t)in->n_workers, sizeof(*workers));
    sigset_t set, before;
    bool ok = true;

    for (int i = 0; i < in->n_workers; i++) {
        if (!shard_init(&workers[i].shard, in, (uint8_t)i, session_config_ref(config), worker_on_mail))
            return NULL;
        in->shards[i] = &workers[i].shard;
    }
    log_thread_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    for (int i = 0; i < in->n_workers && ok; i++) {
        ok = pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) == 0;
        workers[i].is_running = ok;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok ? workers : NULL;
}

void workers_join(struct instance *in, struct worker *workers)
{
    for (int i = 0; i < in->n_workers; i++) {
        if (workers[i].is_running)
            pthread_join(workers[i].thread, NULL);
        workers[i].is_running = false;
    }
}

void workers_free(struct instance *in, struct worker *workers)
{
    for (int i = 0; i < in->n_workers; i++)
        shard_destroy(&workers[i].shard);
    free(workers);
}

void workers_dispatch(struct instance *in, int fd, bool is_unix, bool is_over_limit)
{
    struct shard *best = in->shards[0];
    struct mail_client *m = calloc(1, sizeof(*m));

    if (m == NULL) {
        close(fd);
        atomic_fetch_sub(is_over_limit ? &in->refused : &in->clients, 1);
        return;
    }
    for (int i = 1; i < in->n_workers; i++)
        if (atomic_load_explicit(&in->shards[i]->n_clients, memory_order_relaxed) +
                atomic_load_explicit(&in->shards[i]->n_dispatched, memory_order_relaxed) <
            atomic_load_explicit(&best->n_clients, memory_order_relaxed) +
                atomic_load_explicit(&best->n_dispatched, memory_order_relaxed))
            best = in->shards[i];
    atomic_fetch_add_explicit(&best->n_dispatched, 1, memory_order_relaxed);
    m->mail.type = MAIL_CLIENT;
    m->fd = fd;
    m->is_unix = is_unix;
    m->is_over_limit = is_over_limit;
    m->home = best;
    loop_post(&best->loop, &m->mail);
}

int64_t worker_silent_us(int64_t turn_started_us, int64_t asked_us, int64_t now_us)
{
    int64_t since_us = turn_started_us;

    if (since_us == 0 || (asked_us != 0 && asked_us < since_us))
        since_us = asked_us;
    return since_us == 0 || since_us > now_us ? 0 : now_us - since_us;
}

/* Asks again, unless it has been asked and has not answered. */
static void ask(struct shard *sh, int64_t now_us)
{
    if (atomic_load_explicit(&sh->pulse.asked_us, memory_order_acquire) != 0)
        return;
    atomic_store_explicit(&sh->pulse.asked_us, now_us, memory_order_relaxed);
    sh->pulse.mail.type = MAIL_PULSE;
    loop_post(&sh->loop, &sh->pulse.mail);
}

bool workers_are_live(struct instance *in, struct buf *why)
{
    int64_t now_us = clock_now_us();
    bool ok = true;

    for (int i = 0; i < in->n_workers; i++) {
        struct shard *sh = in->shards[i];
        if (sh == NULL)
            continue;
        int64_t silent_us =
            worker_silent_us(atomic_load_explicit(&sh->loop.turn_started_us, memory_order_relaxed),
                             atomic_load_explicit(&sh->pulse.asked_us, memory_order_relaxed), now_us);
        ask(sh, now_us);
        if (silent_us < STUCK_US)
            continue;
        ok = false;
        buf_printf(why, "worker %d has not turned for %lld s\n", i, (long long)(silent_us / USEC_PER_SEC));
    }
    return ok;
}
