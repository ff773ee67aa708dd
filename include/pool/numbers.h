/*
 * numbers.h - figures of a pool, for SHOW, metrics and whoever watches over pools.
 *
 * Threads: any; pool_read() takes pool->lock.
 */
#ifndef POOL_NUMBERS_H
#define POOL_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "pool/slot.h"

struct pool_numbers {
    int count[SLOT_STATES];
    int nslots, limit, n_waiters;
    int to_close;      /* closing, or marked to close when they come free */
    int reserve, lent; /* reserve_pool_size, and how much of it is in use */
    int pinned, max_pinned;
    int used;               /* of the idle: idle for longer than check_delay_us */
    int64_t oldest_wait_us; /* age of the head of the queue; 0 = nobody */
    bool is_paused;
    bool was_connected;       /* there has been a server */
    int64_t reached_us;       /* one was well then; 0 = not known */
    int64_t failing_since_us; /* 0 = the last attempt to connect succeeded, or there was none */
    bool is_refused;          /* ... and PostgreSQL refuses for good */
    double utilization_now;
    double utilization[4]; /* 1, 5, 15, 60 minutes */
    int peak;
    int64_t saturated_us;
};
void pool_read(struct pool *pool, int64_t check_delay_us, int64_t now_us, struct pool_numbers *out);

#endif
