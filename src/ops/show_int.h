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
#include "base/list.h"
#include "ops/console.h"
#include "pool/registry.h"

#define CONSOLE_MAX_COLUMNS 256

/* ---- results: result.c ---- */

/* A column's type: s text, i int4, q int8, N numeric, b bytea, T time printed as text, B bool. */
struct column {
    const char *name;
    char type;
};

/* Columns by their place: those asked for in binary. */
struct column_set {
    uint64_t bits[CONSOLE_MAX_COLUMNS / 64];
};

static inline bool column_set_has(const struct column_set *set, uint16_t i)
{
    return (set->bits[i / 64] >> i % 64 & 1) != 0;
}

static inline void column_set_add(struct column_set *set, uint16_t i)
{
    set->bits[i / 64] |= UINT64_C(1) << i % 64;
}

/* Rows on their way into a buffer. Values are given in the columns' order and as text; what was asked for in
 * binary is converted here. */
struct result {
    struct buf *out;
    const struct column *columns;
    uint16_t n_columns;
    uint16_t at; /* columns of this row so far */
    struct column_set binary;
    uint32_t row_offset;
    bool describes; /* simple protocol: RowDescription comes first */
};

/* Header of the rows, if the protocol wants it. */
void result_begin(struct result *r);
/* binary: NULL = none. */
void result_describe(struct buf *out, const struct column *columns, uint16_t n,
                     const struct column_set *binary);
uint32_t column_type_oid(char type);
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

struct gathering;
struct session;

struct relation {
    const char *name;
    const struct column *columns;
    uint16_t n_columns;
    void (*fill)(struct console *c, struct result *r);
    /* instead, when it needs what the workers tell: one answer per worker */
    void (*fill_gathered)(struct console *c, struct result *r, struct mail_gather *const *answers, int n);
    unsigned gather; /* enum gather_kind, of fill_gathered */
    const char *help;
};

size_t relation_count(void);
const struct relation *relation_at(size_t i);
const struct relation *relation_find(const char *name);
void relation_hint(const char *name, char *hint, size_t size);

void show_active_sockets(struct console *c, struct result *r, struct mail_gather *const *answers, int n);
void show_listeners(struct console *c, struct result *r, struct mail_gather *const *answers, int n);
void show_clients(struct console *c, struct result *r, struct mail_gather *const *answers, int n);
void show_config(struct console *c, struct result *r);
void show_databases(struct console *c, struct result *r);
void show_dns_hosts(struct console *c, struct result *r);
void show_dns_zones(struct console *c, struct result *r);
void show_environment(struct console *c, struct result *r);
void show_errors(struct console *c, struct result *r);
void show_latency(struct console *c, struct result *r);
void show_lists(struct console *c, struct result *r);
void show_memory(struct console *c, struct result *r, struct mail_gather *const *answers, int n);
void show_peer_pools(struct console *c, struct result *r);
void show_peers(struct console *c, struct result *r);
void show_pools(struct console *c, struct result *r);
void show_leaks(struct console *c, struct result *r);
void show_pinned(struct console *c, struct result *r, struct mail_gather *const *answers, int n);
void show_prepared(struct console *c, struct result *r);
void show_servers(struct console *c, struct result *r, struct mail_gather *const *answers, int n);
void show_sockets(struct console *c, struct result *r, struct mail_gather *const *answers, int n);
void show_state(struct console *c, struct result *r);
void show_stats(struct console *c, struct result *r);
void show_stats_averages(struct console *c, struct result *r);
void show_stats_totals(struct console *c, struct result *r);
void show_totals(struct console *c, struct result *r);
void show_users(struct console *c, struct result *r);
void show_utilization(struct console *c, struct result *r);
void show_version(struct console *c, struct result *r);
void show_workers(struct console *c, struct result *r);

/* Pools in use, by database and user; NULL when memory is out, else free(). */
struct pool **pools_sorted(struct registry *registry, int *n);

/* ---- gathering: gather.c ---- */

/* A SHOW that waits for the workers. */
struct gathering {
    struct list node;        /* console->gatherings */
    struct session *session; /* cleared by gather_abandon() */
    uint64_t number;
    int64_t started_us;
    int outstanding;
    bool is_incomplete; /* a worker had no memory */
    struct mail_gather *answers[POOL_MAX_WORKERS];
};

/* False when memory is out. */
/* kinds: enum gather_kind. */
bool gather_start(struct session *s, unsigned kinds) must_check;
/* The session goes, or has what it wanted; what is still under way is freed when it comes. */
void gather_abandon(struct session *s);
void gather_free(struct gathering *g);
void gather_tick(struct console *c, int64_t now_us);
/* The rows of a relation; g: what it asks for has been gathered (NULL when it asks for nothing). */
void relation_fill(const struct relation *relation, struct console *c, struct result *r,
                   const struct gathering *g);

#endif
