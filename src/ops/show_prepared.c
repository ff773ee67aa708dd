/*
 * show_prepared.c - SHOW PREPARED: prepared statements that clients share.
 *
 * Threads: the control thread only. Figures are of the moment when each is read.
 */
#include <stdlib.h>
#include <string.h>

#include "show_int.h"
#include "wire/codec.h"
#include "wire/statement.h"

#define MAX_QUERY_BYTES 2048 /* longer ones end in "..." */

static void query_text(const struct statement *s, char *out, size_t size)
{
    const char *query = (const char *)s->body;
    size_t n = strlen(query);

    if (n < size) {
        memcpy(out, query, n + 1);
        return;
    }
    n = size - 4;
    while (n > 0 && ((uint8_t)query[n] & 0xc0) == 0x80) /* not amid a character */
        n--;
    memcpy(out, query, n);
    memcpy(out + n, "...", 4);
}

static uint64_t relaxed(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static void prepared_row(struct result *r, const struct statement *s)
{
    char query[MAX_QUERY_BYTES];
    const uint8_t *types = s->body + strlen((const char *)s->body) + 1;

    query_text(s, query, sizeof(query));
    result_row(r);
    result_text(r, s->name);
    result_text(r, query);
    result_int(r, wire_u16(types));
    result_int(r, atomic_load_explicit(&s->n_clients, memory_order_relaxed));
    result_int(r, atomic_load_explicit(&s->n_servers, memory_order_relaxed));
    result_uint(r, relaxed(&s->hits));
    result_uint(r, relaxed(&s->misses));
    result_uint(r, statement_bytes(s));
    result_row_end(r);
}

void show_prepared(struct console *c, struct result *r)
{
    uint32_t n;
    struct statement **all = statements_all(&n);

    (void)c;
    if (all == NULL)
        r->out->failed = true;
    for (uint32_t i = 0; i < n; i++) {
        prepared_row(r, all[i]);
        statement_unref(all[i]);
    }
    free(all);
}
