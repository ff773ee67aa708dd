/*
 * statement_cache.h - the prepared statements that one server has, least recently used last.
 *
 * A statement is here from the moment its Parse is sent; until that is answered it is
 * pending. A stale one is on the server but must be closed and parsed anew before its
 * next use (the tables under it have changed).
 *
 * Threads: the owner of the server.
 */
#ifndef WIRE_STATEMENT_CACHE_H
#define WIRE_STATEMENT_CACHE_H

#include "base/list.h"
#include "wire/statement.h"
#include "wire/statement_link.h"

struct cached_statement {
    struct statement_link link;
    struct list lru;             /* cache->lru */
    struct statement *statement; /* a reference */
    uint32_t epoch;              /* of the cache, when it was parsed; another one: stale */
    uint32_t batch;              /* in which it was parsed, as its server counts them */
    bool is_pending;
};

struct statement_cache {
    struct statement_table table;
    struct list lru; /* most recently used first */
    uint32_t epoch;
};

void statement_cache_init(struct statement_cache *c);
void statement_cache_destroy(struct statement_cache *c);
uint32_t statement_cache_count(const struct statement_cache *c);
struct cached_statement *statement_cache_find(const struct statement_cache *c, const struct statement *s);
/* Marks it as the most recently used. */
void statement_cache_use(struct statement_cache *c, struct cached_statement *x);
static inline bool statement_cache_is_stale(const struct statement_cache *c, const struct cached_statement *x)
{
    return x->epoch != c->epoch;
}
/* Takes a reference of its own; pending, most recently used. NULL when memory is out. */
struct cached_statement *statement_cache_add(struct statement_cache *c, struct statement *s) must_check;
void statement_cache_remove(struct statement_cache *c, struct cached_statement *x);
/* The one to go, when there are `max` or more: the least recently used that is not pending, or NULL; also
 * where very many that are pending have been used less recently. */
struct cached_statement *statement_cache_victim(const struct statement_cache *c, uint32_t max);
/* From now on all that are here are stale. */
void statement_cache_expire(struct statement_cache *c);
/* Only those that were parsed in this batch. */
void statement_cache_expire_batch(struct statement_cache *c, uint32_t batch);
/* All but those that are pending. */
void statement_cache_clear(struct statement_cache *c);

#endif
