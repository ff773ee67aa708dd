/*
 * counters.h - what is counted per pool and worker.
 *
 * One list names the counters, in the order of PgBouncer's STATS columns; the
 * structs, their sums and their averages are made from it.
 *
 * Threads: one writer per struct counters (the worker that owns the shard), any
 * number of readers. A writer therefore needs no locked instruction: it loads and
 * stores relaxed. Readers may see counters of one event apart, never torn ones.
 */
#ifndef STATS_COUNTERS_H
#define STATS_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * X(name, average)
 * average: what the avg_ column means: SECOND = per second of the period, XACT and
 * QUERY = per transaction or query that ended in the period. wait_time is per
 * second, as in PgBouncer: 1000000 says that on average one client was waiting.
 */
#define COUNTER_LIST(X)                                                                                      \
    X(server_assignment_count, SECOND) /* a server was linked to a client */                                 \
    X(xact_count, SECOND)              /* transactions that ended */                                         \
    X(query_count, SECOND)             /* queries that ended */                                              \
    X(bytes_received, SECOND)          /* from clients */                                                    \
    X(bytes_sent, SECOND)              /* to clients */                                                      \
    X(xact_time_us, XACT)              /* in transactions */                                                 \
    X(query_time_us, QUERY)            /* in queries */                                                      \
    X(wait_time_us, SECOND)            /* clients waiting for a server */                                    \
    X(client_parse_count, SECOND)      /* prepared statements that clients made */                           \
    X(server_parse_count, SECOND)      /* prepared statements that were made on servers */                   \
    X(bind_count, SECOND)              /* Binds that were forwarded */                                       \
    X(client_login_count, SECOND)      /* logins that succeeded */

/* Written by one worker; see counter_add(). */
struct counters {
#define COUNTER_FIELD(name, average) _Atomic uint64_t name;
    COUNTER_LIST(COUNTER_FIELD)
#undef COUNTER_FIELD
};

/* Plain numbers: a sum over workers or pools, a difference, or averages. */
struct counters_sum {
#define COUNTER_FIELD(name, average) uint64_t name;
    COUNTER_LIST(COUNTER_FIELD)
#undef COUNTER_FIELD
};

/* Adds n; only the one writer of *c may call it. */
static inline void counter_add(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t counter_get(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

/* sum += what c holds now. Any thread. */
void counters_sum_read(struct counters_sum *sum, const struct counters *c);
/* sum += other. */
void counters_sum_add(struct counters_sum *sum, const struct counters_sum *other);
/* sum -= other; not below 0, since totals fall when a pool is deleted. */
void counters_sum_sub(struct counters_sum *sum, const struct counters_sum *other);
/* Averages of the time between two totals, as COUNTER_LIST says; all 0 when interval_us <= 0. */
void counters_average(struct counters_sum *average, const struct counters_sum *newer,
                      const struct counters_sum *older, int64_t interval_us);

#endif
