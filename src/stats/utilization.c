/*
 * utilization.c - time-weighted utilization of a pool and its last hour.
 *
 * Invariant: ring[first] .. ring[first + count - 1] (modulo its size) rise in time
 *            and in every integral; count >= 1 after util_init(), when the only
 *            point is the birth; all are <= u->now.
 * Threads: none of its own; the caller holds the pool's lock.
 */
#include "stats/utilization.h"

#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"

#define RING_SIZE (UTIL_HOUR_TICKS + 1)

/*
 * Advances p to now_us under the state of u. A caller reads the clock before it
 * takes the lock, so time may seem to go back by the time spent waiting: then
 * nothing has passed.
 */
static void integrate(const struct utilization *u, struct util_point *p, int64_t now_us)
{
    uint64_t dt;

    if (now_us <= p->time_us)
        return;
    dt = (uint64_t)(now_us - p->time_us);
    p->active_us += dt * u->active;
    p->limit_us += dt * u->limit;
    if (u->waiting && u->active >= u->limit)
        p->saturated_us += dt;
    p->time_us = now_us;
}

static const struct util_point *ring_at(const struct utilization *u, uint32_t i)
{
    return &u->ring[(u->first + i) % RING_SIZE];
}

static void ring_push(struct utilization *u, const struct util_point *p)
{
    u->ring[(u->first + u->count) % RING_SIZE] = *p;
    if (u->count < RING_SIZE)
        u->count++;
    else
        u->first = (u->first + 1) % RING_SIZE;
}

void util_init(struct utilization *u, int64_t now_us, uint32_t limit)
{
    memset(u, 0, sizeof(*u));
    u->now.time_us = now_us;
    u->limit = limit;
    ring_push(u, &u->now);
}

void util_change(struct utilization *u, int64_t now_us, uint32_t active, uint32_t limit, bool waiting)
{
    integrate(u, &u->now, now_us);
    u->active = active;
    u->limit = limit;
    u->waiting = waiting;
    if (u->now.peak < active)
        u->now.peak = active;
    if (u->peak < active)
        u->peak = active;
}

void util_tick(struct utilization *u, int64_t now_us)
{
    integrate(u, &u->now, now_us);
    ring_push(u, &u->now);
    u->now.peak = u->active; /* the next interval begins with these */
}

/* Index of the point whose time is nearest to time_us. */
static uint32_t ring_nearest(const struct utilization *u, int64_t time_us)
{
    uint32_t low = 0, high = u->count - 1; /* the first point >= time_us lies in low..high, or is none */

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (ring_at(u, middle)->time_us < time_us)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0 && time_us - ring_at(u, low - 1)->time_us <= ring_at(u, low)->time_us - time_us)
        low--;
    return low;
}

void util_window(const struct utilization *u, int64_t now_us, uint32_t seconds, struct util_window *w)
{
    struct util_point end = u->now;
    const struct util_point *start;
    uint32_t i;
    uint64_t limit_us;

    integrate(u, &end, now_us);
    i = ring_nearest(u, end.time_us - (int64_t)seconds * USEC_PER_SEC);
    start = ring_at(u, i);
    memset(w, 0, sizeof(*w));
    w->peak = end.peak;
    while (++i < u->count) {
        if (ring_at(u, i)->peak > w->peak)
            w->peak = ring_at(u, i)->peak;
    }
    w->span_us = end.time_us - start->time_us;
    if (w->span_us <= 0)
        return;
    limit_us = end.limit_us - start->limit_us;
    w->active = (double)(end.active_us - start->active_us) / (double)w->span_us;
    w->saturated = (double)(end.saturated_us - start->saturated_us) / (double)w->span_us;
    if (limit_us > 0)
        w->ratio = (double)(end.active_us - start->active_us) / (double)limit_us;
}

double util_saturated_seconds(const struct utilization *u, int64_t now_us)
{
    struct util_point end = u->now;

    integrate(u, &end, now_us);
    return (double)end.saturated_us / (double)USEC_PER_SEC;
}
