/*
 * test_metrics.c - /metrics: the format, the tables against SHOW, histograms.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics_int.h"
#include "ops_harness.h"

static int setup(void **state)
{
    *state = harness_new(NULL);
    return 0;
}

/* ---- the format ---- */

static void test_labels(void **state)
{
    static const struct {
        const char *value, *text;
    } rows[] = {
        {"app", "m{a=\"app\"} 1\n"},
        {"", "m{a=\"\"} 1\n"},
        {"a\"b\\c\nd", "m{a=\"a\\\"b\\\\c\\nd\"} 1\n"},
        {"gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x98", "m{a=\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x98\"} 1\n"},
        {"\xff", "m{a=\"\\\\xff\"} 1\n"},                                  /* no UTF-8 at all */
        {"a\xc3", "m{a=\"a\\\\xc3\"} 1\n"},                                /* cut off */
        {"\xc0\xaf", "m{a=\"\\\\xc0\\\\xaf\"} 1\n"},                       /* overlong */
        {"\xe0\x80\x80", "m{a=\"\\\\xe0\\\\x80\\\\x80\"} 1\n"},            /* overlong */
        {"\xed\xa0\x80", "m{a=\"\\\\xed\\\\xa0\\\\x80\"} 1\n"},            /* a surrogate */
        {"\xf4\x90\x80\x80", "m{a=\"\\\\xf4\\\\x90\\\\x80\\\\x80\"} 1\n"}, /* beyond Unicode */
    };
    struct buf b;
    (void)state;
    buf_init(&b, 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        buf_clear(&b);
        metrics_sample(&b, "m");
        metrics_label(&b, "a", rows[i].value);
        metrics_value(&b, "1");
        assert_string_equal(buf_cstr(&b), rows[i].text);
    }
    buf_clear(&b);
    metrics_family(&b, "m", "gauge", "Help.");
    metrics_sample(&b, "m");
    metrics_value(&b, "2");
    metrics_sample(&b, "m");
    metrics_label(&b, "a", "1");
    metrics_label(&b, "b", "{");
    metrics_value(&b, "3");
    assert_string_equal(buf_cstr(&b), "# HELP m Help.\n# TYPE m gauge\nm 2\nm{a=\"1\",b=\"{\"} 3\n");
    buf_free(&b);
}

static void test_seconds(void **state)
{
    static const char *const rows[][2] = {
        {"0", "0.000000"},
        {"1", "0.000001"},
        {"999999", "0.999999"},
        {"1000000", "1.000000"},
        {"1234567890", "1234.567890"},
        {"18446744073709551615", "18446744073709.551615"},
    };
    struct buf b;
    (void)state;
    buf_init(&b, 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        buf_clear(&b);
        metrics_seconds(&b, rows[i][0]);
        assert_string_equal(buf_cstr(&b), rows[i][1]);
    }
    buf_free(&b);
}

/* ---- the tables ---- */

/* Columns of the relations below that are no metrics of their own, and why. */
static bool is_left_out(const char *relation, const char *column)
{
    static const char *const rows[][2] = {
        {"POOLS", "load_balance_hosts"}, /* configuration */
        {"POOLS", "maxwait_us"},         /* behind the point of maxwait */
        {"POOLS", "utilization"},        /* in UTILIZATION */
        {"UTILIZATION", "limit"},        /* these: in POOLS */
        {"UTILIZATION", "active"},
        {"UTILIZATION", "idle"},
        {"UTILIZATION", "waiting"},
        {"UTILIZATION", "reserve"},
        {"UTILIZATION", "reserve_used"},
        {"STATS", "total_requests"}, /* the same as total_query_count, for an old exporter */
        {"ERRORS", "kind"},          /* chooses the metric */
        {"ERRORS", "text"},
        {"LATENCY", "count"}, /* in the histograms */
        {"LATENCY", "mean_us"},
        {"WORKERS", "avg_turn_us"}, /* busy over turns */
    };
    if (strncmp(column, "avg_", 4) == 0 && strcmp(relation, "STATS") == 0)
        return true; /* rate() of the totals */
    if (column[0] == 'p' && column[1] >= '0' && column[1] <= '9')
        return true; /* percentiles: histogram_quantile() */
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (strcmp(rows[i][0], relation) == 0 && strcmp(rows[i][1], column) == 0)
            return true;
    return false;
}

static bool is_metric(const char *relation, const char *column)
{
    for (size_t i = 0; i < metrics_own_count; i++) {
        const struct metric *m = &metrics_own[i];
        const char *at = m->labels != NULL ? strstr(m->labels, column) : NULL;
        if (strcmp(m->relation, relation) != 0)
            continue;
        if ((m->column != NULL && strcmp(m->column, column) == 0) || at != NULL)
            return true;
    }
    return false;
}

static void test_nothing_is_forgotten(void **state)
{
    static const char *const relations[] = {"POOLS",  "STATS", "LATENCY", "UTILIZATION",
                                            "ERRORS", "LISTS", "WORKERS"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(relations); i++) {
        const struct relation *r = relation_find(relations[i]);
        assert_non_null(r);
        for (int c = 0; c < r->n_columns; c++)
            if (!is_metric(r->name, r->columns[c].name) && !is_left_out(r->name, r->columns[c].name))
                fail_msg("SHOW %s: column %s is no metric", r->name, r->columns[c].name);
    }
}

static void check_table(const struct metric *table, size_t n, const char *prefix)
{
    for (size_t i = 0; i < n; i++) {
        const struct metric *m = &table[i];
        const struct relation *r = relation_find(m->relation);
        assert_non_null(r);
        assert_non_null(r->fill);
        if (m->unit != METRIC_ONE)
            assert_true(rows_column(r, m->column) >= 0);
        if (m->name == NULL) {
            assert_true(i > 0 && table[i - 1].is_counter == m->is_counter);
            continue;
        }
        assert_int_equal(strncmp(m->name, prefix, strlen(prefix)), 0);
        assert_non_null(m->help);
        size_t len = strlen(m->name);
        if (m->is_counter != (len > 6 && strcmp(m->name + len - 6, "_total") == 0))
            fail_msg("%s: counters, and no others, end with _total", m->name);
        for (size_t j = 0; j < i; j++)
            assert_true(table[j].name == NULL || strcmp(table[j].name, m->name) != 0);
    }
}

static void test_tables(void **state)
{
    (void)state;
    check_table(metrics_own, metrics_own_count, "pgsluice_");
    check_table(metrics_pgbouncer, metrics_pgbouncer_count, "pgbouncer_");
}

/* ---- the whole ---- */

static void assert_line(const char *text, const char *line)
{
    const char *at = text;
    size_t len = strlen(line);
    while ((at = strstr(at, line)) != NULL) {
        if ((at == text || at[-1] == '\n') && at[len] == '\n')
            return;
        at++;
    }
    fail_msg("no line: %s", line);
}

static void test_text(void **state)
{
    struct harness *h = *state;
    struct pool *p = registry_find_pool(h->instance.registry, "app", "alice");
    struct stats_shard *shard = pool_stats_shard(&p->stats, 1);
    struct buf b;

    assert_non_null(shard);
    counter_add(&shard->counters.xact_count, 3);
    counter_add(&shard->counters.xact_time_us, 1500000);
    stats_shard_record(shard, LATENCY_QUERY, 90);
    stats_shard_record(shard, LATENCY_QUERY, 700);
    stats_shard_record(shard, LATENCY_QUERY, 400000000);
    stats_errors_count_close(h->instance.errors, 0, CLOSE_QUERY_TIMEOUT);
    stats_errors_count_sqlstate(h->instance.errors, 0, "40001");
    buf_init(&b, 0);
    assert_true(metrics_write(h->console, false, &b));
    const char *text = buf_cstr(&b);
    assert_line(text, "# TYPE pgsluice_pool_servers_limit gauge");
    assert_line(text, "pgsluice_pool_servers_limit{database=\"app\",user=\"alice\"} 3");
    assert_line(text, "# TYPE pgsluice_transactions_total counter");
    assert_line(text, "pgsluice_transactions_total{database=\"app\"} 3");
    assert_line(text, "pgsluice_transaction_seconds_total{database=\"app\"} 1.500000");
    assert_line(text, "pgsluice_closes_total{reason=\"query_timeout\"} 1");
    assert_line(text, "pgsluice_server_errors_total{class=\"40\"} 1");
    assert_line(text, "pgsluice_items{list=\"pools\"} 4");
    assert_line(text, "pgsluice_state{state=\"active\"} 1");
    assert_line(text, "pgsluice_state{state=\"paused\"} 0");
    assert_line(text, "pgsluice_worker_clients{worker=\"1\"} 0");
    assert_line(text, "# TYPE pgsluice_query_duration_seconds histogram");
    assert_line(text,
                "pgsluice_query_duration_seconds_bucket{database=\"app\",user=\"alice\",le=\"0.0001\"} 1");
    assert_line(text,
                "pgsluice_query_duration_seconds_bucket{database=\"app\",user=\"alice\",le=\"0.0005\"} 1");
    assert_line(text,
                "pgsluice_query_duration_seconds_bucket{database=\"app\",user=\"alice\",le=\"0.001\"} 2");
    assert_line(text, "pgsluice_query_duration_seconds_bucket{database=\"app\",user=\"alice\",le=\"300\"} 2");
    assert_line(text,
                "pgsluice_query_duration_seconds_bucket{database=\"app\",user=\"alice\",le=\"+Inf\"} 3");
    assert_line(text, "pgsluice_query_duration_seconds_sum{database=\"app\",user=\"alice\"} 400.000790");
    assert_line(text, "pgsluice_query_duration_seconds_count{database=\"app\",user=\"alice\"} 3");
    assert_null(strstr(text, "pgbouncer_"));
    buf_clear(&b);
    assert_true(metrics_write(h->console, true, &b));
    assert_line(buf_cstr(&b), "pgbouncer_stats_sql_transactions_pooled_total{database=\"app\"} 3");
    assert_line(buf_cstr(&b), "pgbouncer_pools_client_active_connections{database=\"app\",user=\"bob\"} 0");
    assert_line(buf_cstr(&b), "pgbouncer_pools 4");
    assert_line(buf_cstr(&b), "pgbouncer_config_max_client_connections 100");
    buf_free(&b);
}

static void test_too_long_is_refused(void **state)
{
    struct harness *h = *state;
    struct buf b;
    buf_init(&b, 1000);
    assert_false(metrics_write(h->console, false, &b));
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_nothing_is_forgotten),
        cmocka_unit_test(test_tables),
        cmocka_unit_test_setup_teardown(test_text, setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_too_long_is_refused, setup, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
