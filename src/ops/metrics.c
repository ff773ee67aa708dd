/*
 * metrics.c - /metrics: the tables, the histograms, and figures of the process.
 *
 * Each relation is read once per text; two relations are read one after the other. Samples of one metric
 * stand together, as the format wants it.
 *
 * Threads: the control thread; pools are read under their locks, one at a time, histograms relaxed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "metrics_int.h"

/* ---- tables ---- */

#define MAX_RELATIONS 16

/* Relations that have been read for this text. */
struct reading {
    struct console *console;
    struct rows rows[MAX_RELATIONS];
    int n;
};

/* NULL: memory is out. */
static const struct rows *read_relation(struct reading *rd, const char *name)
{
    for (int i = 0; i < rd->n; i++)
        if (strcmp(rd->rows[i].relation->name, name) == 0)
            return &rd->rows[i];
    const struct relation *relation = relation_find(name);
    debug_assert(relation != NULL && relation->fill != NULL && rd->n < MAX_RELATIONS);
    struct rows *r = &rd->rows[rd->n++];
    return rows_read(rd->console, relation, r) ? r : NULL;
}

static void reading_free(struct reading *rd)
{
    for (int i = 0; i < rd->n; i++)
        rows_free(&rd->rows[i]);
}

/* "database name=reason" */
static void write_labels(const struct metric *m, const struct rows *r, uint32_t row, struct buf *out)
{
    char words[128], *save = NULL;

    snprintf(words, sizeof(words), "%s", m->labels != NULL ? m->labels : "");
    for (char *word = strtok_r(words, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        char *label = strchr(word, '=');
        if (label != NULL)
            *label++ = '\0';
        int column = rows_column(r->relation, word);
        debug_assert(column >= 0);
        const char *value = rows_value(r, row, column);
        metrics_label(out, label != NULL ? label : word, value != NULL ? value : "");
    }
    if (m->extra != NULL) {
        char name[32];
        size_t len = strcspn(m->extra, "=");
        snprintf(name, sizeof(name), "%.*s", (int)len, m->extra);
        metrics_label(out, name, m->extra + len + 1);
    }
}

static void value_text(const struct metric *m, const struct rows *r, uint32_t row, int column,
                       const char *value, struct buf *text)
{
    switch (m->unit) {
    case METRIC_PLAIN: buf_append_str(text, value); return;
    case METRIC_FROM_US: metrics_seconds(text, value); return;
    case METRIC_SECONDS_AND_US: {
        const char *us = rows_value(r, row, column + 1);
        buf_printf(text, "%s.%06d", value, us != NULL ? atoi(us) : 0);
        return;
    }
    case METRIC_YES: buf_append_byte(text, strcmp(value, "yes") == 0 ? '1' : '0'); return;
    case METRIC_ONE: buf_append_byte(text, '1'); return;
    }
}

static void write_samples(const char *name, const struct metric *m, const struct rows *r, struct buf *out)
{
    int column = m->column != NULL ? rows_column(r->relation, m->column) : 0;
    struct buf text;

    debug_assert(column >= 0);
    buf_init(&text, 256);
    for (uint32_t row = 0; row < r->n_rows; row++) {
        const char *first = rows_value(r, row, 0);
        const char *value = rows_value(r, row, column);
        if (value == NULL || (m->only != NULL && (first == NULL || strcmp(first, m->only) != 0)))
            continue;
        buf_clear(&text);
        value_text(m, r, row, column, value, &text);
        metrics_sample(out, name);
        write_labels(m, r, row, out);
        metrics_value(out, buf_cstr(&text));
    }
    buf_free(&text);
}

static bool write_table(struct reading *rd, const struct metric *table, size_t n, struct buf *out)
{
    const char *name = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct metric *m = &table[i];
        const struct rows *r = read_relation(rd, m->relation);
        if (r == NULL)
            return false;
        if (m->name != NULL) {
            name = m->name;
            metrics_family(out, name, m->is_counter ? "counter" : "gauge", m->help);
        }
        write_samples(name, m, r, out);
    }
    return true;
}

/* ---- histograms ---- */

/* Upper bounds in microseconds, and as they are written. */
static const struct {
    uint64_t us;
    const char *text;
} bounds[] = {
    {100, "0.0001"},  {250, "0.00025"}, {500, "0.0005"},  {1000, "0.001"},    {2500, "0.0025"},
    {5000, "0.005"},  {10000, "0.01"},  {25000, "0.025"}, {50000, "0.05"},    {100000, "0.1"},
    {250000, "0.25"}, {500000, "0.5"},  {1000000, "1"},   {2500000, "2.5"},   {5000000, "5"},
    {10000000, "10"}, {30000000, "30"}, {60000000, "60"}, {300000000, "300"},
};

struct histogram_names {
    char bucket[96], sum[96], count[96];
};

static void sample_of(struct buf *out, const char *name, const struct pool *p, const char *le,
                      const char *value)
{
    metrics_sample(out, name);
    metrics_label(out, "database", p->database->name);
    metrics_label(out, "user", p->label);
    if (le != NULL)
        metrics_label(out, "le", le);
    metrics_value(out, value);
}

static void write_histogram(struct buf *out, const struct histogram_names *names, struct pool *p,
                            enum latency_kind kind)
{
    struct histogram_sum sum = {.count = 0};
    struct buf seconds;
    char count[24];

    pool_stats_histogram_sum(&p->stats, kind, &sum);
    for (size_t i = 0; i < ARRAY_SIZE(bounds); i++) {
        snprintf(count, sizeof(count), "%" PRIu64, histogram_count_at_most(&sum, bounds[i].us));
        sample_of(out, names->bucket, p, bounds[i].text, count);
    }
    snprintf(count, sizeof(count), "%" PRIu64, sum.count);
    sample_of(out, names->bucket, p, "+Inf", count);
    buf_init(&seconds, 64);
    char us[24];
    snprintf(us, sizeof(us), "%" PRIu64, sum.sum_us);
    metrics_seconds(&seconds, us);
    sample_of(out, names->sum, p, NULL, buf_cstr(&seconds));
    sample_of(out, names->count, p, NULL, count);
    buf_free(&seconds);
}

static bool write_histograms(struct console *c, struct buf *out)
{
    int n;
    struct pool **pools = pools_sorted(c->registry, &n);

    if (pools == NULL)
        return false;
    for (int kind = 0; kind < LATENCY_KINDS; kind++) {
        struct histogram_names names;
        char name[80], help[128];
        snprintf(name, sizeof(name), "pgsluice_%s_duration_seconds",
                 latency_kind_name((enum latency_kind)kind));
        snprintf(help, sizeof(help), "How long it took: %s.", latency_kind_text((enum latency_kind)kind));
        snprintf(names.bucket, sizeof(names.bucket), "%s_bucket", name);
        snprintf(names.sum, sizeof(names.sum), "%s_sum", name);
        snprintf(names.count, sizeof(names.count), "%s_count", name);
        metrics_family(out, name, "histogram", help);
        for (int i = 0; i < n; i++)
            write_histogram(out, &names, pools[i], (enum latency_kind)kind);
    }
    free(pools);
    return true;
}

/* ---- the process ---- */

static void write_process(struct console *c, struct buf *out)
{
    char value[32];

    metrics_family(out, "pgsluice_start_time_seconds", "gauge", "When the process started, since 1970.");
    snprintf(value, sizeof(value), "%.3f", (double)c->hooks.instance->started_wall_us / USEC_PER_SEC);
    metrics_sample(out, "pgsluice_start_time_seconds");
    metrics_value(out, value);
    metrics_family(out, "pgsluice_log_lines_lost_total", "counter",
                   "Lines that the log could not take in time.");
    snprintf(value, sizeof(value), "%" PRIu64, log_lost());
    metrics_sample(out, "pgsluice_log_lines_lost_total");
    metrics_value(out, value);
}

bool metrics_write(struct console *c, bool with_pgbouncer, struct buf *out)
{
    struct reading rd = {.console = c};
    bool ok = write_table(&rd, metrics_own, metrics_own_count, out) && write_histograms(c, out) &&
              (!with_pgbouncer || write_table(&rd, metrics_pgbouncer, metrics_pgbouncer_count, out));
    write_process(c, out);
    reading_free(&rd);
    return ok && !out->failed;
}
