/*
 * show_memory.c - SHOW MEM, DNS_HOSTS, DNS_ZONES: what is kept.
 *
 * MEM has PgBouncer's names where we have the same thing, and ours where not. Things of
 * varying length are counted in bytes: their size is 1.
 *
 * Threads: the control thread only.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/intern.h"
#include "base/log.h"
#include "net/dial.h"
#include "ops_int.h"
#include "wire/params.h"

static void memory_row(struct result *r, const char *name, uint64_t size_bytes, uint64_t used,
                       uint64_t unused)
{
    result_row(r);
    result_text(r, name);
    result_uint(r, size_bytes);
    result_uint(r, used);
    result_uint(r, unused);
    result_uint(r, size_bytes * (used + unused));
    result_row_end(r);
}

/* Row i of all workers together. */
static void worker_memory_row(struct result *r, struct mail_gather *const *answers, int n, uint32_t i)
{
    struct memory_row sum = answers[0]->memory[i];

    for (int w = 1; w < n; w++) {
        sum.used += answers[w]->memory[i].used;
        sum.free += answers[w]->memory[i].free;
    }
    memory_row(r, sum.name, sum.size_bytes, sum.used, sum.free);
}

static void process_memory_rows(struct result *r)
{
    uint32_t sets, set_bytes, ring_used, ring_bytes;
    uint64_t strings, string_bytes;

    params_memory(&sets, &set_bytes);
    istr_memory(&strings, &string_bytes);
    log_memory(&ring_used, &ring_bytes);
    memory_row(r, "var_list_cache", set_bytes, sets, 0);
    memory_row(r, "string_bytes", 1, string_bytes, 0);
    memory_row(r, "log_ring", 1, ring_used, ring_bytes - ring_used);
}

void show_memory(struct console *c, struct result *r, struct mail_gather *const *answers, int n)
{
    struct registry *registry = c->registry;

    memory_row(r, "user_cache", sizeof(struct pool_user), (uint64_t)registry_user_count(registry), 0);
    memory_row(r, "db_cache", sizeof(struct pool_database), (uint64_t)registry_database_count(registry), 0);
    memory_row(r, "pool_cache", sizeof(struct pool), (uint64_t)registry_count(registry), 0);
    for (uint32_t i = 0; n > 0 && answers[0] != NULL && i < answers[0]->n_memory; i++)
        worker_memory_row(r, answers, n, i);
    process_memory_rows(r);
}

/* ---- names ---- */

static int name_compare(const void *a, const void *b)
{
    const struct dial_name_row *x = a, *y = b;

    return strcmp(x->name, y->name);
}

void show_dns_hosts(struct console *c, struct result *r)
{
    uint32_t max = dial_cached_names(), n;
    struct dial_name_row *rows = calloc((size_t)max + 1, sizeof(*rows));

    (void)c;
    if (rows == NULL) {
        r->out->failed = true;
        return;
    }
    n = dial_names_snapshot(rows, max);
    qsort(rows, n, sizeof(*rows), name_compare);
    for (uint32_t i = 0; i < n; i++) {
        result_row(r);
        result_text(r, rows[i].name);
        result_int(r, (rows[i].ttl_us + USEC_PER_SEC - 1) / USEC_PER_SEC); /* 0 is over */
        result_text(r, rows[i].addresses);
        result_row_end(r);
    }
    free(rows);
}

void show_dns_zones(struct console *c, struct result *r)
{
    (void)c;
    for (uint32_t i = 0; i < dial_zones(); i++) {
        struct dial_zone_row row;
        dial_zone_read(i, &row);
        result_row(r);
        result_text(r, row.name);
        result_int(r, row.serial);
        result_int(r, row.n_names);
        result_row_end(r);
    }
}
