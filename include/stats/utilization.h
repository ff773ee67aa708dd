/*
 * utilization.h - how busy a pool was: active servers over the limit, weighted by time.
 *
 * Every change of (active, limit, waiting) integrates what was true since the last
 * change, so a burst between two samples is not missed; a tick every ten seconds
 * keeps the integrals of the last hour, and a window is the difference of two.
 *
 * Pure: no lock, no allocation, no clock. The caller holds the pool's lock.
 */
#ifndef STATS_UTILIZATION_H
#define STATS_UTILIZATION_H

#include <stdbool.h>
#include <stdint.h>

#define UTIL_TICK_US    INT64_C(10000000)
#define UTIL_HOUR_TICKS 360

/* Integrals from birth to time_us. */
struct util_point {
    int64_t time_us;
    uint64_t active_us;    /* servers * us */
    uint64_t limit_us;     /* servers * us */
    uint64_t saturated_us; /* active >= limit while a client waited */
    uint32_t peak;         /* most active servers since the point before */
};

struct utilization {
    struct util_point now; /* at the last change; peak since the last tick */
    uint32_t active;       /* since now.time_us */
    uint32_t limit;
    bool waiting;   /* somebody waits for a server */
    uint32_t peak;  /* most active servers ever */
    uint32_t first; /* oldest point in the ring */
    uint32_t count; /* points in the ring; the birth is the first one */
    struct util_point ring[UTIL_HOUR_TICKS + 1];
};

struct util_window {
    int64_t span_us;  /* what the window really covers */
    double ratio;     /* active / limit, 0..1 (above 1 while a lowered limit shrinks the pool) */
    double saturated; /* part of the time in which all servers were active and clients waited, 0..1 */
    double active;    /* active servers, mean */
    uint32_t peak;    /* most active servers */
};

void util_init(struct utilization *u, int64_t now_us, uint32_t limit);
/* Call at each change of the number of active servers, of the limit, or of whether clients wait. O(1). */
void util_change(struct utilization *u, int64_t now_us, uint32_t active, uint32_t limit, bool waiting);
/* Call each UTIL_TICK_US. O(1). */
void util_tick(struct utilization *u, int64_t now_us);
/*
 * The last `seconds` (60, 300, 900, 3600), begun at the nearest tick; since birth when the pool is younger.
 * Walks the window's ticks (at most 360) for the peak.
 */
void util_window(const struct utilization *u, int64_t now_us, uint32_t seconds, struct util_window *w);
/* Seconds since birth in which all servers were active while clients waited. */
double util_saturated_seconds(const struct utilization *u, int64_t now_us);

#endif
