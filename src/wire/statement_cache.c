/*
 * statement_cache.c - the prepared statements that one server has, least recently used last.
 *
 * Threads: the owner of the server.
 */
#include "wire/statement_cache.h"

#include <stdlib.h>

#include "statement_int.h"

/* A client may send any number of Parses before the first is answered; each would go through all of them. */
#define MAX_LOOKED_AT 64

static struct cached_statement *of(struct statement_link *link)
{
    return container_of(link, struct cached_statement, link);
}

void statement_cache_init(struct statement_cache *c)
{
    *c = (struct statement_cache){.epoch = 1};
    list_init(&c->lru);
}

static void clear(struct statement_cache *c, bool with_pending)
{
    LIST_FOR_EACH_SAFE (it, &c->lru) {
        struct cached_statement *x = list_entry(it, struct cached_statement, lru);
        if (with_pending || !x->is_pending)
            statement_cache_remove(c, x);
    }
}

void statement_cache_clear(struct statement_cache *c)
{
    clear(c, false);
}

void statement_cache_destroy(struct statement_cache *c)
{
    clear(c, true);
    statement_table_free(&c->table);
}

uint32_t statement_cache_count(const struct statement_cache *c)
{
    return c->table.count;
}

struct cached_statement *statement_cache_find(const struct statement_cache *c, const struct statement *s)
{
    for (struct statement_link *l = statement_table_first(&c->table, s->hash); l != NULL; l = l->next)
        if (of(l)->statement == s)
            return of(l);
    return NULL;
}

void statement_cache_use(struct statement_cache *c, struct cached_statement *x)
{
    if (c->lru.next == &x->lru)
        return;
    list_del(&x->lru);
    list_push_front(&c->lru, &x->lru);
}

struct cached_statement *statement_cache_add(struct statement_cache *c, struct statement *s)
{
    struct cached_statement *x = calloc(1, sizeof(*x));

    if (x == NULL || !statement_table_reserve(&c->table)) {
        free(x);
        return NULL;
    }
    x->link.hash = s->hash;
    x->statement = statement_ref(s);
    x->epoch = c->epoch;
    x->is_pending = true;
    statement_table_insert(&c->table, &x->link);
    list_push_front(&c->lru, &x->lru);
    atomic_fetch_add_explicit(&s->n_servers, 1, memory_order_relaxed);
    return x;
}

void statement_cache_remove(struct statement_cache *c, struct cached_statement *x)
{
    statement_table_remove(&c->table, &x->link);
    list_del(&x->lru);
    atomic_fetch_sub_explicit(&x->statement->n_servers, 1, memory_order_relaxed);
    statement_unref(x->statement);
    free(x);
}

struct cached_statement *statement_cache_victim(const struct statement_cache *c, uint32_t max)
{
    if (c->table.count < max)
        return NULL;
    struct list *it = c->lru.prev;
    for (int i = 0; i < MAX_LOOKED_AT && it != &c->lru; i++, it = it->prev) {
        struct cached_statement *x = list_entry(it, struct cached_statement, lru);
        if (!x->is_pending)
            return x;
    }
    return NULL;
}

void statement_cache_expire(struct statement_cache *c)
{
    c->epoch++;
}

void statement_cache_expire_batch(struct statement_cache *c, uint32_t batch)
{
    LIST_FOR_EACH (it, &c->lru) {
        struct cached_statement *x = list_entry(it, struct cached_statement, lru);
        if (x->batch == batch)
            x->epoch--;
    }
}
