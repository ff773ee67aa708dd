/*
 * helper.h - a few threads for calls that block (getaddrinfo), so that workers never do.
 */
#ifndef NET_HELPER_H
#define NET_HELPER_H

#include <stdbool.h>

#include "net/loop.h"

/* Embedded in a request. `work` runs on a helper thread; then `mail` is posted to `reply_to`. */
struct helper_job {
    struct helper_job *next;
    void (*work)(struct helper_job *job);
    struct loop *reply_to;
    struct mail mail; /* type set by the caller */
};

bool helpers_start(int n_threads) must_check;
/* Waits for jobs that run; jobs not begun are dropped. After the loops have ended. */
void helpers_stop(void);
void helper_submit(struct helper_job *job);

#endif
