/*
 * statement_link.h - the hash table inside statement_names.h and statement_cache.h.
 */
#ifndef WIRE_STATEMENT_LINK_H
#define WIRE_STATEMENT_LINK_H

#include <stdbool.h>
#include <stdint.h>

struct statement_link {
    struct statement_link *next;
    uint64_t hash;
};

struct statement_table {
    struct statement_link **buckets; /* NULL while nothing was ever in it */
    uint32_t n_buckets;              /* power of two */
    uint32_t count;
};

#endif
