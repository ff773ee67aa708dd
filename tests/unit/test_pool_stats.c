/*
 * test_pool_stats.c - counters, averages of a period, shards, and writers beside
 * readers (meant for a build with -fsanitize=thread too).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "stats/pool_stats.h"

/* The console prints the counters in the order of the list: it is PgBouncer's. */
static void order_is_pgbouncers(void **state)
{
    static const char *const expected[] = {
        "server_assignment_count", "xact_count",   "query_count",
        "bytes_received",          "bytes_sent",   "xact_time_us",
        "query_time_us",           "wait_time_us", "client_parse_count",
        "server_parse_count",      "bind_count",   "client_login_count",
    };
    static const char *const names[] = {
#define COUNTER_NAME(name, average) #name,
        COUNTER_LIST(COUNTER_NAME)
#undef COUNTER_NAME
    };

    (void)state;
    assert_int_equal(ARRAY_SIZE(names), ARRAY_SIZE(expected));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_string_equal(names[i], expected[i]);
    assert_int_equal(sizeof(struct counters), sizeof(struct counters_sum));
}

static void sums_add_and_subtract(void **state)
{
    struct counters c = {0};
    struct counters_sum a = {0}, b = {0};

    (void)state;
    counter_add(&c.xact_count, 3);
    counter_add(&c.xact_count, 4);
    counter_add(&c.bytes_sent, 100);
    counters_sum_read(&a, &c);
    counters_sum_read(&a, &c);
    assert_true(a.xact_count == 14 && a.bytes_sent == 200 && a.query_count == 0);
    counters_sum_add(&b, &a);
    b.query_count = 1;
    counters_sum_sub(&b, &a);
    assert_true(b.xact_count == 0 && b.bytes_sent == 0 && b.query_count == 1);
    counters_sum_sub(&b, &a); /* totals that fell do not wrap */
    assert_true(b.xact_count == 0 && b.query_count == 1);
}

static void averages_per_second_and_event(void **state)
{
    struct counters_sum older = {.xact_count = 10, .query_count = 20, .xact_time_us = 1000, .bytes_sent = 5};
    struct counters_sum newer = older, avg;

    (void)state;
    newer.xact_count += 600;
    newer.query_count += 1200;
    newer.xact_time_us += 600 * 250;
    newer.query_time_us += 1200 * 100;
    newer.wait_time_us += 30 * 1000000;
    newer.bytes_sent += 60 * 4096;
    newer.client_login_count += 119;
    counters_average(&avg, &newer, &older, 60 * 1000000);
    assert_true(avg.xact_count == 10);
    assert_true(avg.query_count == 20);
    assert_true(avg.xact_time_us == 250);    /* per transaction */
    assert_true(avg.query_time_us == 100);   /* per query */
    assert_true(avg.wait_time_us == 500000); /* per second */
    assert_true(avg.bytes_sent == 4096);
    assert_true(avg.client_login_count == 1);

    newer = older;
    newer.xact_time_us += 99; /* time without an event */
    counters_average(&avg, &newer, &older, 1000000);
    assert_true(avg.xact_time_us == 0 && avg.xact_count == 0);
    counters_average(&avg, &newer, &older, 0);
    assert_true(avg.xact_time_us == 0);
    counters_average(&avg, &newer, &older, -1);
    assert_true(avg.bytes_sent == 0);

    newer.bytes_sent = older.bytes_sent + UINT64_MAX / 2; /* no overflow */
    counters_average(&avg, &newer, &older, 1000000);
    assert_true(avg.bytes_sent > UINT64_MAX / 2 - UINT64_MAX / 1000);
}

static void period_is_the_last_whole_one(void **state)
{
    struct pool_stats ps, other;
    struct stats_shard *shard;
    struct stats_period period, total = {0};
    struct counters_sum avg;

    (void)state;
    pool_stats_init(&ps, 5000000);
    shard = pool_stats_shard(&ps, 0);
    assert_non_null(shard);
    counter_add(&shard->counters.query_count, 50);
    pool_stats_period(&ps, &period);
    stats_period_average(&period, &avg); /* none is over yet */
    assert_true(avg.query_count == 0);
    pool_stats_tick(&ps, 15000000);
    pool_stats_period(&ps, &period);
    stats_period_average(&period, &avg);
    assert_true(avg.query_count == 5);
    counter_add(&shard->counters.query_count, 200);
    pool_stats_tick(&ps, 25000000);
    counter_add(&shard->counters.query_count, 999999);
    pool_stats_period(&ps, &period);
    stats_period_average(&period, &avg);
    assert_true(avg.query_count == 20);

    /* A pool that appeared in the middle of the period counts over the whole of it. */
    pool_stats_init(&other, 20000000);
    shard = pool_stats_shard(&other, 3);
    assert_non_null(shard);
    counter_add(&shard->counters.query_count, 100);
    stats_period_add(&total, &period);
    pool_stats_period(&other, &period);
    stats_period_add(&total, &period); /* no period yet: adds nothing */
    stats_period_average(&total, &avg);
    assert_true(avg.query_count == 20);
    pool_stats_tick(&other, 25000000);
    pool_stats_period(&other, &period);
    stats_period_add(&total, &period);
    stats_period_average(&total, &avg);
    assert_true(avg.query_count == 30);
    pool_stats_destroy(&ps);
    pool_stats_destroy(&other);
}

static void shards_are_made_when_needed(void **state)
{
    struct pool_stats ps;
    struct counters_sum sum = {0};
    struct histogram_sum times = {0};
    struct stats_shard *a, *b;

    (void)state;
    pool_stats_init(&ps, 1);
    assert_null(atomic_load(&ps.shards[7]));
    a = pool_stats_shard(&ps, 7);
    b = pool_stats_shard(&ps, STATS_MAX_WORKERS - 1);
    assert_true(a != NULL && b != NULL && a != b);
    assert_ptr_equal(pool_stats_shard(&ps, 7), a);
    assert_null(atomic_load(&ps.shards[0]));
    counter_add(&a->counters.bind_count, 1);
    counter_add(&b->counters.bind_count, 2);
    stats_shard_record(a, LATENCY_WAIT, 10);
    stats_shard_record(b, LATENCY_WAIT, 20);
    stats_shard_record(b, LATENCY_QUERY, 30);
    stats_shard_record(NULL, LATENCY_QUERY, 30);
    pool_stats_sum(&ps, &sum);
    assert_true(sum.bind_count == 3);
    pool_stats_histogram_sum(&ps, LATENCY_WAIT, &times);
    assert_true(times.count == 2 && times.sum_us == 30 && times.max_us == 20);
    pool_stats_destroy(&ps);
}

static void kinds_have_names(void **state)
{
    (void)state;
    assert_string_equal(latency_kind_name(LATENCY_WAIT), "wait");
    assert_string_equal(latency_kind_name(LATENCY_IDLE_IN_TRANSACTION), "idle_in_transaction");
    for (int i = 0; i < LATENCY_KINDS; i++)
        assert_true(strlen(latency_kind_text((enum latency_kind)i)) > 0);
}

enum { WRITERS = 3, EVENTS = 20000 };

struct writer {
    struct pool_stats *ps;
    uint32_t worker;
    pthread_t thread;
};

static _Atomic int writers_left;

static void *write_events(void *arg)
{
    struct writer *w = arg;

    for (int i = 0; i < EVENTS; i++) {
        struct stats_shard *shard = pool_stats_shard(w->ps, w->worker);

        counter_add(&shard->counters.query_count, 1);
        counter_add(&shard->counters.query_time_us, 2);
        stats_shard_record(shard, LATENCY_QUERY, (i * 37) % 100000);
    }
    atomic_fetch_sub(&writers_left, 1);
    return NULL;
}

/* Readers see totals that only rise, while workers write and shards and groups appear; nothing is lost. */
static void readers_beside_writers(void **state)
{
    static struct writer writers[WRITERS];
    struct pool_stats ps;
    struct counters_sum sum = {0};
    struct histogram_sum times = {0};
    struct stats_period period;
    uint64_t last = 0;
    int64_t now_us = 1;

    (void)state;
    pool_stats_init(&ps, now_us);
    atomic_store(&writers_left, WRITERS);
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i].ps = &ps;
        writers[i].worker = i;
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_events, &writers[i]), 0);
    }
    while (atomic_load(&writers_left) > 0) {
        memset(&sum, 0, sizeof(sum));
        memset(&times, 0, sizeof(times));
        pool_stats_sum(&ps, &sum);
        pool_stats_histogram_sum(&ps, LATENCY_QUERY, &times);
        assert_true(sum.query_count >= last);
        assert_true(histogram_percentile_us(&times, 99) <= 100000);
        last = sum.query_count;
        pool_stats_tick(&ps, now_us += 1000);
        pool_stats_period(&ps, &period);
        assert_true(period.newer.query_count >= period.older.query_count);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    memset(&sum, 0, sizeof(sum));
    memset(&times, 0, sizeof(times));
    pool_stats_sum(&ps, &sum);
    pool_stats_histogram_sum(&ps, LATENCY_QUERY, &times);
    assert_true(sum.query_count == WRITERS * EVENTS);
    assert_true(sum.query_time_us == 2 * WRITERS * EVENTS);
    assert_true(times.count == WRITERS * EVENTS);
    pool_stats_destroy(&ps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_pgbouncers),           cmocka_unit_test(sums_add_and_subtract),
        cmocka_unit_test(averages_per_second_and_event), cmocka_unit_test(period_is_the_last_whole_one),
        cmocka_unit_test(shards_are_made_when_needed),   cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(readers_beside_writers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
