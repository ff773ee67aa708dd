/*
 * deadlines.h - when the connections of a list have to be looked at next.
 *
 * A time-out must cost a query nothing: no timer, no place in a sorted list, no reading of the
 * clock. So what begins or ends writes down a time that it has anyway, and the list is
 * walked when the earliest deadline that the last walk has seen is due, or the shortest
 * time-out in force has passed since: what began after that walk cannot be due before.
 * Most of what began has ended by then, and the next walk is as far off again.
 *
 * Invariant: while due_us is not 0, no deadline of a member lies before due_us. It is 0 only while no
 *   time-out is in force, or the list was empty at the end of the last walk and nobody joined it.
 * Pure. Threads: the owner of the list.
 */
#ifndef SESSION_DEADLINES_H
#define SESSION_DEADLINES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "config/config.h"
#include "stats/close_reason.h"

#define DEADLINE_NEVER INT64_MAX

struct deadlines {
    int64_t shortest_us; /* the shortest time-out that a member may have; 0: none has one */
    int64_t due_us;      /* walk then; 0: there is nothing to walk for */
};

/* The settings have changed: the next tick walks. */
void deadlines_configure(struct deadlines *d, int64_t shortest_us, int64_t now_us);

/* A connection enters the list; what it is in began no earlier than since_us. True: due_us is earlier than it
 * was, and the caller sees to it that it is woken then. */
static inline bool deadlines_join(struct deadlines *d, int64_t since_us)
{
    if (likely(d->shortest_us == 0 || (d->due_us != 0 && d->due_us <= since_us + d->shortest_us)))
        return false;
    d->due_us = since_us + d->shortest_us;
    return true;
}

static inline bool deadlines_is_due(const struct deadlines *d, int64_t now_us)
{
    return d->due_us != 0 && now_us >= d->due_us;
}

/* A walk: begin, the deadline of each member that stays, end (is_empty: nobody is left in the list). */
void deadlines_walk_begin(struct deadlines *d);
void deadlines_walk_see(struct deadlines *d, int64_t deadline_us);
void deadlines_walk_end(struct deadlines *d, bool is_empty, int64_t now_us);

/* since + timeout; never when there is no timeout (0). */
static inline int64_t deadline_after(int64_t since_us, int64_t timeout_us)
{
    return timeout_us > 0 ? since_us + timeout_us : DEADLINE_NEVER;
}

/* Since when a client that has a server is in what it is in; 0: it is not. */
struct deadline_times {
    int64_t query_us;    /* its query runs */
    int64_t xact_us;     /* its transaction */
    int64_t in_xact_us;  /* idle in a transaction */
    int64_t idle_us;     /* idle outside of one (session pooling, or pinned) */
    int64_t pin_idle_us; /* ... and pinned */
};

struct deadline {
    int64_t at_us; /* DEADLINE_NEVER: none */
    enum close_reason why;
};

/* Which timeout strikes first. */
struct deadline deadline_earliest(const struct deadline_times *since,
                                  const struct config_timeouts *timeouts) must_check;

#endif
