/*
 * show_int.h - rows of results, and the relations of SHOW.
 *
 * Everything here belongs to the control thread.
 */
#ifndef SHOW_INT_H
#define SHOW_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "ops/console.h"
#include "pool/registry.h"

#define CONSOLE_MAX_COLUMNS 32 /* bits of result->binary */

/* ---- results: result.c ---- */

/* A column's type: s text, i int4, q int8, N numeric, b bytea, T time printed as text, B bool. */
struct column {
    const char *name;
    char type;
};

/* Rows on their way into a buffer. Values are given in the columns' order and as text; what was asked for in
 * binary is converted here. */
struct result {
    struct buf *out;
    const struct column *columns;
    uint16_t n_columns;
    uint16_t at;     /* columns of this row so far */
    uint32_t binary; /* bit per column */
    uint32_t row_offset;
    bool describes; /* simple protocol: RowDescription comes first */
};

/* Header of the rows, if the protocol wants it. */
void result_begin(struct result *r);
void result_describe(struct buf *out, const struct column *columns, uint16_t n, uint32_t binary);
void result_row(struct result *r);
void result_row_end(struct result *r);
/* One value each; NULL is SQL NULL. */
void result_text(struct result *r, const char *value);
void result_int(struct result *r, int64_t value);
void result_uint(struct result *r, uint64_t value);
/* With three decimals. */
void result_real(struct result *r, double value);
/* Microseconds since the epoch, as local time; 0 is NULL. */
void result_time(struct result *r, int64_t wall_us);
/* binary forms; false when text is none of that type */
bool result_binary(struct buf *out, char type, const char *text) must_check;

/* ---- SHOW: show.c and its siblings ---- */

struct relation {
    const char *name;
    const struct column *columns;
    uint16_t n_columns;
    void (*fill)(struct console *c, struct result *r); /* NULL: gathered */
    enum gather_kind gather;
    const char *help;
};

size_t relation_count(void);
const struct relation *relation_at(size_t i);
const struct relation *relation_find(const char *name);
void relation_hint(const char *name, char *hint, size_t size);

void show_config(struct console *c, struct result *r);
void show_databases(struct console *c, struct result *r);
void show_environment(struct console *c, struct result *r);
void show_errors(struct console *c, struct result *r);
void show_latency(struct console *c, struct result *r);
void show_lists(struct console *c, struct result *r);
void show_peer_pools(struct console *c, struct result *r);
void show_peers(struct console *c, struct result *r);
void show_pools(struct console *c, struct result *r);
void show_prepared(struct console *c, struct result *r);
void show_state(struct console *c, struct result *r);
void show_stats(struct console *c, struct result *r);
void show_stats_averages(struct console *c, struct result *r);
void show_stats_totals(struct console *c, struct result *r);
void show_totals(struct console *c, struct result *r);
void show_users(struct console *c, struct result *r);
void show_utilization(struct console *c, struct result *r);
void show_version(struct console *c, struct result *r);
void show_workers(struct console *c, struct result *r);
void show_session_row(struct result *r, const struct session_row *row);

/* Pools in use, by database and user; NULL when memory is out, else free(). */
struct pool **pools_sorted(struct registry *registry, int *n);

#endif
