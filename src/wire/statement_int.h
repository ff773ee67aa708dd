/*
 * statement_int.h - a small hash table of chained links, for tables of one owner.
 *
 * Grows with what is in it; empty it holds no memory. Links are embedded in what is kept.
 */
#ifndef STATEMENT_INT_H
#define STATEMENT_INT_H

#include <stdlib.h>

#include "wire/statement_link.h"

static inline struct statement_link *statement_table_first(const struct statement_table *t, uint64_t hash)
{
    return t->n_buckets == 0 ? NULL : t->buckets[hash & (t->n_buckets - 1)];
}

static inline void statement_table_chain(struct statement_table *t, struct statement_link *link)
{
    struct statement_link **bucket = &t->buckets[link->hash & (t->n_buckets - 1)];
    link->next = *bucket;
    *bucket = link;
}

/* Makes room for one more. False: there is no table at all, and no memory for one. */
static inline bool statement_table_reserve(struct statement_table *t)
{
    if (t->count < t->n_buckets)
        return true;
    uint32_t n = t->n_buckets == 0 ? 8 : t->n_buckets * 2;
    struct statement_link **grown = n == 0 ? NULL : calloc(n, sizeof(struct statement_link *));
    if (grown == NULL)
        return t->n_buckets > 0; /* longer chains, then */
    struct statement_table old = *t;
    t->buckets = grown;
    t->n_buckets = n;
    for (uint32_t i = 0; i < old.n_buckets; i++)
        for (struct statement_link *l = old.buckets[i], *next; l != NULL; l = next) {
            next = l->next;
            statement_table_chain(t, l);
        }
    free(old.buckets);
    return true;
}

/* After statement_table_reserve(). */
static inline void statement_table_insert(struct statement_table *t, struct statement_link *link)
{
    statement_table_chain(t, link);
    t->count++;
}

static inline void statement_table_remove(struct statement_table *t, struct statement_link *link)
{
    struct statement_link **at = &t->buckets[link->hash & (t->n_buckets - 1)];
    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    link->next = NULL;
    t->count--;
}

/* Of an empty one. */
static inline void statement_table_free(struct statement_table *t)
{
    free(t->buckets);
    *t = (struct statement_table){0};
}

#endif
