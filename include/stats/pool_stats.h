/*
 * pool_stats.h - all figures of one pool: a shard per worker, and the last two
 * totals, from which averages come.
 *
 * Threads: a shard is allocated and written by its worker only, and published with
 * release; any thread sums. The period's totals are written by the control thread
 * and read by any, under period_lock (leaf).
 * Not here: utilization (utilization.h), which the pool's lock protects.
 */
#ifndef STATS_POOL_STATS_H
#define STATS_POOL_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/lock.h"
#include "stats/counters.h"
#include "stats/histogram.h"

#define STATS_MAX_WORKERS 64

/* X(NAME, name, what is timed) */
#define LATENCY_LIST(X)                                                                                      \
    X(WAIT, "wait", "client waiting for a server")                                                           \
    X(CONNECT, "connect", "server connect until ready for queries")                                          \
    X(LOGIN, "login", "client login")                                                                        \
    X(QUERY, "query", "query")                                                                               \
    X(TRANSACTION, "transaction", "transaction")                                                             \
    X(IDLE_IN_TRANSACTION, "idle_in_transaction", "client holding a server between queries")

enum latency_kind {
#define LATENCY_ENUM(NAME, name, text) LATENCY_##NAME,
    LATENCY_LIST(LATENCY_ENUM)
#undef LATENCY_ENUM
        LATENCY_KINDS
};

/* Figures of one worker; counter_add(&shard->counters.xact_count, 1). */
struct stats_shard {
    struct counters counters;
    struct histogram latency[LATENCY_KINDS];
};

/* Totals at the ends of the last whole stats_period. */
struct stats_period {
    int64_t older_us; /* 0: no whole period yet */
    int64_t newer_us;
    struct counters_sum older;
    struct counters_sum newer;
};

struct pool_stats {
    /* [atomic] */
    _Atomic(struct stats_shard *) shards[STATS_MAX_WORKERS];
    /* [period_lock] */
    struct lock period_lock;
    struct stats_period period;
};

/* now_us: clock_now_us(); the first period begins there, with all totals 0. */
void pool_stats_init(struct pool_stats *ps, int64_t now_us);
/* No worker may use the pool any more. */
void pool_stats_destroy(struct pool_stats *ps);

/* Allocates the shard of a worker; see pool_stats_shard(). */
struct stats_shard *pool_stats_shard_new(struct pool_stats *ps, uint32_t worker) must_check;
/* The calling worker's own shard, or NULL when memory is out. Not under a lock: may allocate. */
static inline struct stats_shard *pool_stats_shard(struct pool_stats *ps, uint32_t worker)
{
    struct stats_shard *shard = atomic_load_explicit(&ps->shards[worker], memory_order_relaxed);
    return likely(shard != NULL) ? shard : pool_stats_shard_new(ps, worker);
}

/* Records a time in the calling worker's own shard; a NULL shard is fine. Not under a lock. */
static inline void stats_shard_record(struct stats_shard *shard, enum latency_kind kind, int64_t value_us)
{
    if (shard != NULL)
        histogram_record(&shard->latency[kind], value_us);
}

/* sum += the totals of all workers. Any thread; zero *sum first. */
void pool_stats_sum(struct pool_stats *ps, struct counters_sum *sum);
/* sum += one kind's times of all workers. Any thread; zero *sum first. */
void pool_stats_histogram_sum(struct pool_stats *ps, enum latency_kind kind, struct histogram_sum *sum);

/* Ends a period; the control thread calls it each stats_period. */
void pool_stats_tick(struct pool_stats *ps, int64_t now_us);
/* Copies the totals of the last whole period. Any thread. */
void pool_stats_period(struct pool_stats *ps, struct stats_period *period);
/*
 * total += period, for the averages of a database or of the whole, which are the averages of the
 * sums. The interval becomes the longest. Zero *total first.
 */
void stats_period_add(struct stats_period *total, const struct stats_period *period);
/* Averages of the last whole period; all 0 when there is none yet. */
void stats_period_average(const struct stats_period *period, struct counters_sum *average);

/* "wait", "connect", ... */
const char *latency_kind_name(enum latency_kind kind) must_check;
/* What is timed, in words. */
const char *latency_kind_text(enum latency_kind kind) must_check;

#endif
