/*
 * pool_stats.c - shards of a pool's figures, their sums, and the totals of the last
 * stats_period.
 *
 * Threads: see pool_stats.h. A shard pointer is stored once, with release, by the
 * worker that writes the shard; it stays until pool_stats_destroy().
 */
#include "stats/pool_stats.h"

#include <stdlib.h>
#include <string.h>

/* Shards of two workers must not share a cache line. */
#define CACHE_LINE_BYTES 64

void pool_stats_init(struct pool_stats *ps, int64_t now_us)
{
    memset(ps, 0, sizeof(*ps));
    lock_init(&ps->period_lock, LOCK_RANK_LEAF);
    ps->period.newer_us = now_us;
}

void pool_stats_destroy(struct pool_stats *ps)
{
    for (int w = 0; w < STATS_MAX_WORKERS; w++) {
        struct stats_shard *shard = atomic_load_explicit(&ps->shards[w], memory_order_acquire);

        if (shard == NULL)
            continue;
        for (int k = 0; k < LATENCY_KINDS; k++)
            histogram_destroy(&shard->latency[k]);
        atomic_store_explicit(&ps->shards[w], NULL, memory_order_relaxed);
        free(shard);
    }
    lock_destroy(&ps->period_lock);
}

struct stats_shard *pool_stats_shard_new(struct pool_stats *ps, uint32_t worker)
{
    size_t bytes = (sizeof(struct stats_shard) + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
    struct stats_shard *shard = aligned_alloc(CACHE_LINE_BYTES, bytes);

    if (shard == NULL)
        return NULL;
    memset(shard, 0, bytes);
    atomic_store_explicit(&ps->shards[worker], shard, memory_order_release);
    return shard;
}

void pool_stats_sum(struct pool_stats *ps, struct counters_sum *sum)
{
    for (int w = 0; w < STATS_MAX_WORKERS; w++) {
        struct stats_shard *shard = atomic_load_explicit(&ps->shards[w], memory_order_acquire);

        if (shard != NULL)
            counters_sum_read(sum, &shard->counters);
    }
}

void pool_stats_histogram_sum(struct pool_stats *ps, enum latency_kind kind, struct histogram_sum *sum)
{
    for (int w = 0; w < STATS_MAX_WORKERS; w++) {
        struct stats_shard *shard = atomic_load_explicit(&ps->shards[w], memory_order_acquire);

        if (shard != NULL)
            histogram_sum_read(sum, &shard->latency[kind]);
    }
}

void pool_stats_tick(struct pool_stats *ps, int64_t now_us)
{
    struct counters_sum sum = {0};

    pool_stats_sum(ps, &sum);
    lock_acquire(&ps->period_lock);
    ps->period.older_us = ps->period.newer_us;
    ps->period.older = ps->period.newer;
    ps->period.newer_us = now_us;
    ps->period.newer = sum;
    lock_release(&ps->period_lock);
}

void pool_stats_period(struct pool_stats *ps, struct stats_period *period)
{
    lock_acquire(&ps->period_lock);
    *period = ps->period;
    lock_release(&ps->period_lock);
}

void stats_period_add(struct stats_period *total, const struct stats_period *period)
{
    if (period->older_us == 0)
        return;
    counters_sum_add(&total->older, &period->older);
    counters_sum_add(&total->newer, &period->newer);
    if (total->older_us == 0 || period->older_us < total->older_us)
        total->older_us = period->older_us;
    if (period->newer_us > total->newer_us)
        total->newer_us = period->newer_us;
}

void stats_period_average(const struct stats_period *period, struct counters_sum *average)
{
    counters_average(average, &period->newer, &period->older,
                     period->older_us == 0 ? 0 : period->newer_us - period->older_us);
}

static const struct {
    const char *name;
    const char *text;
} kinds[LATENCY_KINDS] = {
#define LATENCY_ROW(NAME, name, text) [LATENCY_##NAME] = {name, text},
    LATENCY_LIST(LATENCY_ROW)
#undef LATENCY_ROW
};

const char *latency_kind_name(enum latency_kind kind)
{
    return kinds[kind].name;
}

const char *latency_kind_text(enum latency_kind kind)
{
    return kinds[kind].text;
}
