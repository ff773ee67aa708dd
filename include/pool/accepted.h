/*
 * accepted.h - settings of clients that a server of a pool has taken.
 *
 * A client may come with any setting; only PostgreSQL can tell whether it takes it, and how it spells it.
 * What it has said is remembered here for the next clients with the same, first in, first out.
 *
 * Threads: any; each call takes pool->lock.
 */
#ifndef POOL_ACCEPTED_H
#define POOL_ACCEPTED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "wire/params.h"

#define POOL_ACCEPTED 16

struct pool;

struct pool_accepted {
    struct {
        struct params *asked, *answered; /* references; NULL: free */
    } pairs[POOL_ACCEPTED];
    uint32_t next;
};

/* Has a server of this pool taken these settings? *answered: a reference to what they are then. */
bool pool_has_accepted(struct pool *pool, const struct params *asked, struct params **answered) must_check;
void pool_accept(struct pool *pool, struct params *asked, struct params *answered);
/* At the end of the pool. */
void pool_accepted_destroy(struct pool_accepted *a);

#endif
