/*
 * histogram.h - how long things took: log-linear histogram of microseconds.
 *
 * 0..31 us have a bucket each; above, every octave is cut into 16 buckets, so the
 * midpoint of a bucket is at most 1/32 = 3.1 % away from any value in it. The range
 * ends at 2^40 us (12 days); larger values count as the largest, negative ones as 0.
 *
 * A group of 16 buckets is allocated when the first value falls into it: values of
 * one kind span few octaves, so a histogram takes about 1 kB instead of 5.
 *
 * Threads: one writer per histogram; any number of readers, which merge histograms
 * of many workers into a struct histogram_sum and ask that.
 */
#ifndef STATS_HISTOGRAM_H
#define STATS_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"

#define HISTOGRAM_RANGE_BITS   40 /* values are below 2^40 us */
#define HISTOGRAM_GROUP_BITS   4
#define HISTOGRAM_GROUP_SIZE   (1 << HISTOGRAM_GROUP_BITS)
#define HISTOGRAM_GROUPS       (HISTOGRAM_RANGE_BITS - HISTOGRAM_GROUP_BITS + 1)
#define HISTOGRAM_BUCKETS      (HISTOGRAM_GROUPS * HISTOGRAM_GROUP_SIZE)
#define HISTOGRAM_MAX_VALUE_US ((INT64_C(1) << HISTOGRAM_RANGE_BITS) - 1)

struct histogram_group {
    _Atomic uint64_t counts[HISTOGRAM_GROUP_SIZE];
};

/* All zero is a valid, empty histogram. */
struct histogram {
    /* [atomic] written by the one writer; groups are published with release */
    _Atomic uint64_t sum_us;
    _Atomic uint64_t max_us;
    _Atomic(struct histogram_group *) groups[HISTOGRAM_GROUPS]; /* NULL: no value yet */
};

/* Plain numbers. All zero is empty. */
struct histogram_sum {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count; /* always the sum of counts[] */
    uint64_t sum_us;
    uint64_t max_us;
};

/*
 * Records one value; the one writer only. May allocate (at most HISTOGRAM_GROUPS times in the life
 * of a histogram), so not under a lock; when memory is out the value is not recorded.
 */
void histogram_record(struct histogram *h, int64_t value_us) hot_path;
/* Frees the groups; no writer and no reader may be left. */
void histogram_destroy(struct histogram *h);

/* sum += what h holds now. Any thread. */
void histogram_sum_read(struct histogram_sum *sum, const struct histogram *h);
/* sum += other. */
void histogram_sum_add(struct histogram_sum *sum, const struct histogram_sum *other);
/* What came between an older sum and this one; the maximum becomes that of the highest bucket left. */
void histogram_sum_sub(struct histogram_sum *sum, const struct histogram_sum *older);

/* Value at percentile p (0 < p <= 100), off by less than 5 %; never above the maximum. 0 when empty. */
uint64_t histogram_percentile_us(const struct histogram_sum *sum, double p) must_check;
/* Mean, exact. 0 when empty. */
uint64_t histogram_mean_us(const struct histogram_sum *sum) must_check;
/* How many values were <= bound_us, for cumulative metrics; rises with bound_us, and values within
 * 6.25 % below the bound may be missing unless it ends a bucket (2^n - 1 always does). */
uint64_t histogram_count_at_most(const struct histogram_sum *sum, uint64_t bound_us) must_check;

/* Bucket of a value, and the values that a bucket holds: for tests and exports. */
uint32_t histogram_bucket(int64_t value_us) must_check;
uint64_t histogram_bucket_lowest_us(uint32_t bucket) must_check;
uint64_t histogram_bucket_highest_us(uint32_t bucket) must_check;

#endif
