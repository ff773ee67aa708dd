/*
 * worker.h - the worker threads: a shard of sessions each, and its thread.
 *
 * Made, started and joined by the control thread. What a running worker is to do goes to it by mail.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <pthread.h>
#include <stdbool.h>

#include "base/buf.h"
#include "session/mail.h"
#include "session/shard.h"

struct worker {
    struct shard shard;
    pthread_t thread;
    bool is_running; /* thread is to be joined */
};

/* Workers for in->n_workers; each has a reference to config. Fills in->shards. NULL when the system has
 * no resources. Signals are blocked in them: the control thread's business. */
struct worker *workers_start(struct instance *in, struct session_config *config) must_check;
/* After every worker has got its ORDER_STOP. Joins the threads; the shards live on until workers_free(),
 * since others may still post to them. */
void workers_join(struct instance *in, struct worker *workers);
void workers_free(struct instance *in, struct worker *workers);

/* Hands an accepted descriptor to the worker with the fewest clients. Control thread. Closes it when memory
 * is out. */
void workers_dispatch(struct instance *in, int fd, bool is_unix, bool is_over_limit);

/* Has every worker's loop come round lately? What does not is written to why, a line each. Each one that has
 * answered the last time is asked anew, by mail, so that the next question finds who takes none: a worker
 * that does not come out of the wait has no turn that takes long. Control thread. */
bool workers_are_live(struct instance *in, struct buf *why);
/* For how long a worker has given no sign of life: since a turn began that is not over, since a mail was sent
 * that it has not taken; each 0 = there is none. */
int64_t worker_silent_us(int64_t turn_started_us, int64_t asked_us, int64_t now_us);

/* All mail of a worker; its loop's on_mail. */
void worker_on_mail(struct loop *loop, struct mail *m);

/* Fills m with what its kinds ask for, and sends it back. The shard's thread. */
void worker_describe(struct shard *sh, struct mail_gather *m);

#endif
