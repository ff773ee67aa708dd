/*
 * histogram.c - recording into, merging and asking log-linear histograms.
 *
 * A value v below 2 * 16 is its own bucket. Above, with e = the position of its
 * highest bit, the bucket is (e - 4) groups of 16 and the four bits below the
 * highest one: bucket = (e - 4) * 16 + (v >> (e - 4)), which runs on without a gap
 * since v >> (e - 4) is 16..31.
 *
 * Threads: histogram_record() is for the one writer; reading may run beside it. The
 * total of the counts, not a counter of its own, is the count, so that a reader's
 * percentiles always add up.
 */
#include "stats/histogram.h"

#include <stdbool.h>
#include <stdlib.h>

#include "stats/counters.h"

uint32_t histogram_bucket(int64_t value_us)
{
    uint64_t v = value_us < 0 ? 0 : (uint64_t)value_us;
    uint32_t shift;

    if (v > HISTOGRAM_MAX_VALUE_US)
        v = HISTOGRAM_MAX_VALUE_US;
    if (v < 2 * HISTOGRAM_GROUP_SIZE)
        return (uint32_t)v;
    shift = 63 - (uint32_t)__builtin_clzll(v) - HISTOGRAM_GROUP_BITS;
    return shift * HISTOGRAM_GROUP_SIZE + (uint32_t)(v >> shift);
}

/* How far the values of a bucket are shifted: log2 of its width. */
static uint32_t bucket_shift(uint32_t bucket)
{
    return bucket < 2 * HISTOGRAM_GROUP_SIZE ? 0 : bucket / HISTOGRAM_GROUP_SIZE - 1;
}

uint64_t histogram_bucket_lowest_us(uint32_t bucket)
{
    uint32_t shift = bucket_shift(bucket);

    return (uint64_t)(bucket - shift * HISTOGRAM_GROUP_SIZE) << shift;
}

uint64_t histogram_bucket_highest_us(uint32_t bucket)
{
    return histogram_bucket_lowest_us(bucket) + (UINT64_C(1) << bucket_shift(bucket)) - 1;
}

static struct histogram_group *group_new(struct histogram *h, uint32_t g)
{
    struct histogram_group *group = calloc(1, sizeof(*group));

    if (group != NULL)
        atomic_store_explicit(&h->groups[g], group, memory_order_release);
    return group;
}

/* The first value of its group; lost when there is no memory. */
static __attribute__((noinline)) void record_first(struct histogram *h, uint32_t bucket, uint64_t v)
{
    if (group_new(h, bucket / HISTOGRAM_GROUP_SIZE) != NULL)
        histogram_record(h, (int64_t)v);
}

void histogram_record(struct histogram *h, int64_t value_us)
{
    const uint64_t v = unlikely((uint64_t)value_us > HISTOGRAM_MAX_VALUE_US)
                           ? (value_us < 0 ? 0 : (uint64_t)HISTOGRAM_MAX_VALUE_US)
                           : (uint64_t)value_us;
    const uint32_t bucket = histogram_bucket((int64_t)v);
    struct histogram_group *group =
        atomic_load_explicit(&h->groups[bucket / HISTOGRAM_GROUP_SIZE], memory_order_relaxed);

    if (unlikely(group == NULL)) {
        record_first(h, bucket, v);
        return;
    }
    counter_add(&group->counts[bucket % HISTOGRAM_GROUP_SIZE], 1);
    counter_add(&h->sum_us, v);
    if (unlikely(v > counter_get(&h->max_us)))
        atomic_store_explicit(&h->max_us, v, memory_order_relaxed);
}

void histogram_destroy(struct histogram *h)
{
    for (int g = 0; g < HISTOGRAM_GROUPS; g++) {
        free(atomic_load_explicit(&h->groups[g], memory_order_relaxed));
        atomic_store_explicit(&h->groups[g], NULL, memory_order_relaxed);
    }
    atomic_store_explicit(&h->sum_us, 0, memory_order_relaxed);
    atomic_store_explicit(&h->max_us, 0, memory_order_relaxed);
}

void histogram_sum_read(struct histogram_sum *sum, const struct histogram *h)
{
    uint64_t max_us = counter_get(&h->max_us);

    sum->sum_us += counter_get(&h->sum_us);
    for (uint32_t g = 0; g < HISTOGRAM_GROUPS; g++) {
        struct histogram_group *group = atomic_load_explicit(&h->groups[g], memory_order_acquire);

        if (group == NULL)
            continue;
        for (uint32_t i = 0; i < HISTOGRAM_GROUP_SIZE; i++) {
            uint32_t bucket = g * HISTOGRAM_GROUP_SIZE + i;
            uint64_t n = counter_get(&group->counts[i]);

            sum->counts[bucket] += n;
            sum->count += n;
            /* The writer may have counted a value and not yet raised the maximum. */
            if (n > 0 && max_us < histogram_bucket_lowest_us(bucket))
                max_us = histogram_bucket_lowest_us(bucket);
        }
    }
    if (sum->max_us < max_us)
        sum->max_us = max_us;
}

void histogram_sum_add(struct histogram_sum *sum, const struct histogram_sum *other)
{
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        sum->counts[i] += other->counts[i];
    sum->count += other->count;
    sum->sum_us += other->sum_us;
    if (sum->max_us < other->max_us)
        sum->max_us = other->max_us;
}

void histogram_sum_sub(struct histogram_sum *sum, const struct histogram_sum *older)
{
    uint64_t highest = 0;

    sum->count = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        sum->counts[i] -= sum->counts[i] < older->counts[i] ? sum->counts[i] : older->counts[i];
        sum->count += sum->counts[i];
        if (sum->counts[i] > 0)
            highest = histogram_bucket_highest_us(i);
    }
    sum->sum_us -= sum->sum_us < older->sum_us ? sum->sum_us : older->sum_us;
    if (sum->max_us > highest)
        sum->max_us = highest;
}

uint64_t histogram_percentile_us(const struct histogram_sum *sum, double p)
{
    double exact_rank = p / 100.0 * (double)sum->count;
    uint64_t rank = (uint64_t)exact_rank;
    uint64_t seen = 0;

    if (sum->count == 0)
        return 0;
    if (p >= 100.0)
        return sum->max_us;
    /* The smallest value that at least p percent do not exceed. */
    if ((double)rank < exact_rank || rank == 0)
        rank++;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += sum->counts[i];
        if (seen >= rank) {
            uint64_t low = histogram_bucket_lowest_us(i);
            uint64_t middle = low + (histogram_bucket_highest_us(i) - low + 1) / 2;

            return middle < sum->max_us ? middle : sum->max_us;
        }
    }
    return sum->max_us;
}

uint64_t histogram_mean_us(const struct histogram_sum *sum)
{
    return sum->count == 0 ? 0 : sum->sum_us / sum->count;
}

uint64_t histogram_count_at_most(const struct histogram_sum *sum, uint64_t bound_us)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && histogram_bucket_highest_us(i) <= bound_us; i++)
        n += sum->counts[i];
    return n;
}
