/*
 * helper.h - a few threads for calls that block (getaddrinfo), so that workers never do.
 */
#ifndef NET_HELPER_H
#define NET_HELPER_H

#include <stdbool.h>

#include "net/loop.h"

/* Embedded in a request. `work` runs on a helper thread; then `mail` is posted to `reply_to`. When `reply_to`
 * is NULL nothing is posted, and the job may be freed or submitted again from the moment `work` gives it
 * away. */
struct helper_job {
    struct helper_job *next; /* [queue lock] */
    void (*work)(struct helper_job *job);
    struct loop *reply_to;
    struct mail mail; /* type set by the caller */
};

/* Threads with all signals blocked. False when a thread cannot be made (then there are none). */
bool helpers_start(int n_threads) must_check;
/* Waits for jobs that run; jobs not begun are dropped. After the loops have ended and before they are
 * destroyed, since a job that runs still posts its mail. False when one still runs after wait_us (a
 * name server that does not answer): then nothing that a job may touch can be freed, and the process ends. */
bool helpers_stop(int64_t wait_us) must_check;
/* Any thread. */
void helper_submit(struct helper_job *job);

#endif
