/*
 * show_stats.c - SHOW STATS, STATS_TOTALS, STATS_AVERAGES, TOTALS and the log's line of them.
 *
 * The columns stand in the order of COUNTER_LIST. Averages are those of the last
 * whole stats_period; those of a database are the averages of its pools' sums.
 *
 * Threads: the control thread only.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops_int.h"

/* Names in SHOW TOTALS. */
static const char *const total_names[] = {
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_login_count",
};

static const size_t counter_offsets[] = {
#define COUNTER_OFFSET(name, average) offsetof(struct counters_sum, name),
    COUNTER_LIST(COUNTER_OFFSET)
#undef COUNTER_OFFSET
};

_Static_assert(ARRAY_SIZE(total_names) == ARRAY_SIZE(counter_offsets), "a name for each counter");

static uint64_t counter_at(const struct counters_sum *sum, size_t i)
{
    uint64_t value;

    memcpy(&value, (const char *)sum + counter_offsets[i], sizeof(value));
    return value;
}

/* Figures of some pools together. */
struct figures {
    struct counters_sum total;
    struct stats_period period;
};

static void figures_add(struct figures *f, struct pool *p)
{
    struct stats_period period;

    pool_stats_sum(&p->stats, &f->total);
    pool_stats_period(&p->stats, &period);
    stats_period_add(&f->period, &period);
}

static void figures_of_all(struct registry *registry, struct figures *f)
{
    memset(f, 0, sizeof(*f));
    for (int i = 0; i < registry_count(registry); i++) {
        struct pool *p = registry_pool(registry, i);

        if (!atomic_load_explicit(&p->is_retired, memory_order_relaxed))
            figures_add(f, p);
    }
}

enum { WITH_TOTALS = 1, WITH_AVERAGES = 2 };

static void stats_row(struct result *r, const char *database, const struct figures *f, int what)
{
    struct counters_sum average;

    stats_period_average(&f->period, &average);
    result_row(r);
    result_text(r, database);
    for (size_t i = 0; (what & WITH_TOTALS) != 0 && i < ARRAY_SIZE(counter_offsets); i++)
        result_uint(r, counter_at(&f->total, i));
    for (size_t i = 0; (what & WITH_AVERAGES) != 0 && i < ARRAY_SIZE(counter_offsets); i++)
        result_uint(r, counter_at(&average, i));
    if (what == (WITH_TOTALS | WITH_AVERAGES))
        result_uint(r, f->total.query_count);
    result_row_end(r);
}

static void stats_rows(struct console *c, struct result *r, int what)
{
    static const struct figures nothing;
    bool is_own_shown = false;
    int n;
    struct pool **pools = pools_sorted(c->registry, &n);

    if (pools == NULL)
        r->out->failed = true;
    for (int i = 0; i < n;) {
        const struct pool_database *database = pools[i]->database;
        struct figures f = nothing;

        for (; i < n && pools[i]->database == database; i++)
            figures_add(&f, pools[i]);
        if (!is_own_shown && strcmp(database->name, "pgbouncer") > 0) {
            stats_row(r, "pgbouncer", &nothing, what);
            is_own_shown = true;
        }
        stats_row(r, database->name, &f, what);
    }
    if (!is_own_shown)
        stats_row(r, "pgbouncer", &nothing, what);
    free(pools);
}

void show_stats(struct console *c, struct result *r)
{
    stats_rows(c, r, WITH_TOTALS | WITH_AVERAGES);
}

void show_stats_totals(struct console *c, struct result *r)
{
    stats_rows(c, r, WITH_TOTALS);
}

void show_stats_averages(struct console *c, struct result *r)
{
    stats_rows(c, r, WITH_AVERAGES);
}

static void totals_rows(struct result *r, const char *prefix, const struct counters_sum *sum)
{
    for (size_t i = 0; i < ARRAY_SIZE(counter_offsets); i++) {
        char name[64];

        snprintf(name, sizeof(name), "%s%s", prefix, total_names[i]);
        result_row(r);
        result_text(r, name);
        result_uint(r, counter_at(sum, i));
        result_row_end(r);
    }
}

void show_totals(struct console *c, struct result *r)
{
    struct counters_sum average;
    struct figures f;

    figures_of_all(c->registry, &f);
    stats_period_average(&f.period, &average);
    totals_rows(r, "total_", &f.total);
    totals_rows(r, "avg_", &average);
}

void console_log_stats(struct registry *registry, struct buf *line)
{
    struct counters_sum a;
    struct figures f;

    figures_of_all(registry, &f);
    stats_period_average(&f.period, &a);
    buf_printf(line,
               "stats: %" PRIu64 " xacts/s, %" PRIu64 " queries/s, %" PRIu64 " client parses/s, %" PRIu64
               " server parses/s, %" PRIu64 " binds/s, %" PRIu64 " client logins/s, in %" PRIu64
               " B/s, out %" PRIu64 " B/s, xact %" PRIu64 " us, query %" PRIu64 " us, wait %" PRIu64 " us",
               a.xact_count, a.query_count, a.client_parse_count, a.server_parse_count, a.bind_count,
               a.client_login_count, a.bytes_received, a.bytes_sent, a.xact_time_us, a.query_time_us,
               a.wait_time_us);
}
