/*
 * test_histogram.c - buckets, percentiles against a sorted array, merging, memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "stats/histogram.h"
#include "stats/counters.h"

/* The buckets cover 0 .. 2^40 - 1 without gap or overlap, and values find them. */
static void buckets_tile_the_range(void **state)
{
    uint64_t next = 0;

    (void)state;
    for (uint32_t b = 0; b < HISTOGRAM_BUCKETS; b++) {
        uint64_t low = histogram_bucket_lowest_us(b), high = histogram_bucket_highest_us(b);

        assert_true(low == next);
        assert_true(high >= low);
        assert_int_equal(histogram_bucket((int64_t)low), b);
        assert_int_equal(histogram_bucket((int64_t)high), b);
        next = high + 1;
    }
    assert_true(next == UINT64_C(1) << HISTOGRAM_RANGE_BITS);
}

static void values_out_of_range_clamp(void **state)
{
    static const struct {
        int64_t value;
        uint32_t bucket;
    } rows[] = {
        {INT64_MIN, 0},
        {-1, 0},
        {0, 0},
        {31, 31},
        {32, 32},
        {33, 32},
        {34, 33},
        {HISTOGRAM_MAX_VALUE_US, HISTOGRAM_BUCKETS - 1},
        {HISTOGRAM_MAX_VALUE_US + 1, HISTOGRAM_BUCKETS - 1},
        {INT64_MAX, HISTOGRAM_BUCKETS - 1},
    };
    struct histogram h = {0};
    struct histogram_sum sum = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(histogram_bucket(rows[i].value), rows[i].bucket);
    histogram_record(&h, INT64_MAX);
    histogram_record(&h, -5);
    histogram_sum_read(&sum, &h);
    assert_true(sum.count == 2);
    assert_true(sum.max_us == (uint64_t)HISTOGRAM_MAX_VALUE_US);
    assert_true(sum.sum_us == (uint64_t)HISTOGRAM_MAX_VALUE_US);
    assert_true(histogram_percentile_us(&sum, 50) == 0);
    assert_true(histogram_percentile_us(&sum, 100) == (uint64_t)HISTOGRAM_MAX_VALUE_US);
    histogram_destroy(&h);
}

static void empty_histogram_is_zero(void **state)
{
    struct histogram_sum sum = {0};

    (void)state;
    assert_true(histogram_percentile_us(&sum, 99) == 0);
    assert_true(histogram_percentile_us(&sum, 100) == 0);
    assert_true(histogram_mean_us(&sum) == 0);
    assert_true(histogram_count_at_most(&sum, UINT64_MAX) == 0);
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Values spread evenly over their logarithm, up to 2^bits. */
static void fill(int64_t *values, int n, int bits, uint64_t seed)
{
    for (int i = 0; i < n; i++) {
        int octave = (int)(next_random(&seed) % (uint64_t)bits);

        values[i] = (int64_t)(next_random(&seed) & ((UINT64_C(2) << octave) - 1));
    }
}

enum { N = 20000 };

static void percentiles_are_near(void **state)
{
    static const double p[] = {50, 90, 95, 99, 99.9};
    static const int bits[] = {1, 4, 5, 6, 10, 17, 25, 39};
    static int64_t values[N];

    (void)state;
    for (size_t row = 0; row < ARRAY_SIZE(bits); row++) {
        struct histogram h = {0};
        struct histogram_sum sum = {0};
        uint64_t total = 0;

        fill(values, N, bits[row], 88172645463325252u + row);
        for (int i = 0; i < N; i++) {
            histogram_record(&h, values[i]);
            total += (uint64_t)values[i];
        }
        qsort(values, N, sizeof(values[0]), compare);
        histogram_sum_read(&sum, &h);
        assert_true(sum.count == N);
        assert_true(sum.sum_us == total);
        assert_true(sum.max_us == (uint64_t)values[N - 1]);
        assert_true(histogram_mean_us(&sum) == total / N);
        assert_true(histogram_percentile_us(&sum, 100) == sum.max_us);
        for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
            double exact = (double)values[(int)(p[i] / 100 * N + 0.999999) - 1];
            double got = (double)histogram_percentile_us(&sum, p[i]);

            if (exact < 32)
                assert_true(got == exact);
            else
                assert_true(got > exact * 0.95 && got < exact * 1.05);
        }
        histogram_destroy(&h);
    }
}

static void one_value_is_every_percentile(void **state)
{
    struct histogram h = {0};
    struct histogram_sum sum = {0};

    (void)state;
    histogram_record(&h, 1000003);
    histogram_sum_read(&sum, &h);
    /* The middle of the bucket lies above; the maximum bounds it. */
    assert_true(histogram_percentile_us(&sum, 0.001) <= 1000003);
    assert_true(histogram_percentile_us(&sum, 99.9) <= 1000003);
    assert_true(histogram_percentile_us(&sum, 99.9) >= 950000);
    histogram_destroy(&h);
}

/* Many shards merged are the same as one histogram of all values; taking one away leaves the others. */
static void merging_adds_up(void **state)
{
    static int64_t values[N];
    struct histogram all = {0}, parts[3] = {{0}, {0}, {0}};
    struct histogram_sum sum_all = {0}, sum = {0}, older = {0}, rest = {0};

    (void)state;
    fill(values, N, 30, 4242);
    for (int i = 0; i < N; i++) {
        histogram_record(&all, values[i]);
        histogram_record(&parts[i % 3], values[i]);
    }
    histogram_sum_read(&sum_all, &all);
    for (int i = 0; i < 3; i++)
        histogram_sum_read(&sum, &parts[i]);
    assert_memory_equal(&sum, &sum_all, sizeof(sum));

    histogram_sum_read(&older, &parts[0]);
    histogram_sum_read(&rest, &parts[1]);
    histogram_sum_read(&rest, &parts[2]);
    histogram_sum_sub(&sum, &older);
    assert_memory_equal(sum.counts, rest.counts, sizeof(rest.counts));
    assert_true(sum.count == rest.count && sum.sum_us == rest.sum_us);
    assert_true(sum.max_us >= rest.max_us && (double)sum.max_us <= (double)rest.max_us * 1.07);
    histogram_sum_add(&sum, &older);
    assert_memory_equal(sum.counts, sum_all.counts, sizeof(sum.counts));
    assert_true(sum.count == sum_all.count && sum.max_us == sum_all.max_us);
    histogram_destroy(&all);
    for (int i = 0; i < 3; i++)
        histogram_destroy(&parts[i]);
}

/* A total that fell (a pool was deleted) must not wrap around. */
static void subtracting_more_gives_zero(void **state)
{
    struct histogram h = {0};
    struct histogram_sum none = {0}, some = {0};

    (void)state;
    histogram_record(&h, 77);
    histogram_sum_read(&some, &h);
    histogram_sum_sub(&none, &some);
    assert_true(none.count == 0 && none.sum_us == 0 && none.max_us == 0);
    histogram_destroy(&h);
}

static void count_at_most_is_cumulative(void **state)
{
    static int64_t values[N];
    struct histogram h = {0};
    struct histogram_sum sum = {0};

    (void)state;
    fill(values, N, 20, 99);
    for (int i = 0; i < N; i++)
        histogram_record(&h, values[i]);
    histogram_sum_read(&sum, &h);
    for (int e = 0; e <= 40; e++) { /* exact where the bound ends a bucket */
        uint64_t bound = (UINT64_C(1) << e) - 1, exact = 0;

        for (int i = 0; i < N; i++)
            exact += (uint64_t)values[i] <= bound;
        assert_true(histogram_count_at_most(&sum, bound) == exact);
    }
    assert_true(histogram_count_at_most(&sum, 1000) <= histogram_count_at_most(&sum, 1001));
    assert_true(histogram_count_at_most(&sum, UINT64_MAX) == N);
    histogram_destroy(&h);
}

/* Guards the reason for groups: what was never timed takes no memory. */
static void groups_come_with_values(void **state)
{
    struct histogram h = {0};
    int used = 0;

    (void)state;
    for (int i = 0; i < 1000; i++)
        histogram_record(&h, 100 + i % 8);
    for (int g = 0; g < HISTOGRAM_GROUPS; g++)
        used += atomic_load(&h.groups[g]) != NULL;
    assert_int_equal(used, 1);
    histogram_destroy(&h);
    assert_null(atomic_load(&h.groups[3]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_tile_the_range),        cmocka_unit_test(values_out_of_range_clamp),
        cmocka_unit_test(empty_histogram_is_zero),       cmocka_unit_test(percentiles_are_near),
        cmocka_unit_test(one_value_is_every_percentile), cmocka_unit_test(merging_adds_up),
        cmocka_unit_test(subtracting_more_gives_zero),   cmocka_unit_test(count_at_most_is_cumulative),
        cmocka_unit_test(groups_come_with_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
