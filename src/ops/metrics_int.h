/*
 * metrics_int.h - metrics are the relations of SHOW, told as Prometheus wants them.
 *
 * A table says which column of which relation is which metric, so that console and metrics cannot
 * differ, and a figure that SHOW learns is one row more.
 *
 * Threads: the control thread only.
 */
#ifndef METRICS_INT_H
#define METRICS_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "ops_int.h"

#define METRICS_MAX_BYTES (256u << 20) /* of /metrics: more than 10000 pools */

/* ---- rows.c: a relation's rows as text ---- */

struct rows {
    const struct relation *relation;
    struct buf text;   /* all values, each with a NUL behind it */
    uint32_t *offsets; /* of each value in text; ROWS_NULL */
    uint32_t n_rows;
    uint32_t capacity; /* of offsets */
};

#define ROWS_NULL UINT32_MAX

/* Fills *r with what SHOW says now; the relation is one that needs no gathering. False: memory is out. The
 * caller frees it in both cases. */
bool rows_read(struct console *c, const struct relation *relation, struct rows *r) must_check;
void rows_free(struct rows *r);
/* Index of the column; -1 when there is none. */
int rows_column(const struct relation *relation, const char *name);
/* NULL is SQL NULL. */
const char *rows_value(const struct rows *r, uint32_t row, int column);

/* ---- metrics_text.c: the exposition format ---- */

void metrics_family(struct buf *out, const char *name, const char *type, const char *help);
/* name{ ... : labels follow, then metrics_value(). */
void metrics_sample(struct buf *out, const char *name);
/* One label; its value is escaped, and what is no UTF-8 is written as \xHH, since one bad name must not
 * make the whole unreadable. */
void metrics_label(struct buf *out, const char *name, const char *value);
/* Ends the labels (if there were any) and the line. */
void metrics_value(struct buf *out, const char *value);
/* "1234567" microseconds -> "1.234567"; anything else as it is. */
void metrics_seconds(struct buf *out, const char *us);

/* ---- tables ---- */

enum metric_unit {
    METRIC_PLAIN,
    METRIC_FROM_US,        /* microseconds in the relation, seconds here */
    METRIC_SECONDS_AND_US, /* seconds, and microseconds in the next column */
    METRIC_YES,            /* 1 for yes */
    METRIC_ONE,            /* 1; the labels say it */
};

struct metric {
    const char *name; /* NULL: more samples of the metric above */
    const char *help;
    bool is_counter;
    enum metric_unit unit;
    const char *relation;
    const char *column; /* NULL with METRIC_ONE */
    const char *only;   /* rows whose first column is this; NULL: all */
    const char *labels; /* columns that become labels: "database user"; "name=reason" renames */
    const char *extra;  /* one more label, as it stands in the text; NULL: none */
};

extern const struct metric metrics_own[];
extern const size_t metrics_own_count;
/* Names of the usual exporter for PgBouncer. */
extern const struct metric metrics_pgbouncer[];
extern const size_t metrics_pgbouncer_count;

/* ---- metrics.c ---- */

/* The whole text. False: memory is out, or it would be too long. */
bool metrics_write(struct console *c, bool with_pgbouncer, struct buf *out) must_check;

#endif
