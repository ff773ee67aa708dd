/*
 * clock.h - time in microseconds. Signed 64 bit everywhere; 0 means "never".
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define USEC_PER_SEC  INT64_C(1000000)
#define USEC_PER_MSEC INT64_C(1000)

/* Monotonic; for intervals and deadlines. */
int64_t clock_now_us(void);
/* What the calling thread has worked; for bounds on work, which a busy machine is not to be taken for. */
int64_t clock_thread_us(void);
/* Since the epoch; for people. */
int64_t clock_wall_us(void);
/* The wall clock so many microseconds from now, as the timed waits of pthread take it. */
struct timespec clock_wall_in(int64_t us);

#endif
