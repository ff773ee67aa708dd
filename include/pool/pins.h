/*
 * pins.h - servers that clients keep beyond their transactions, since something lives there that cannot move.
 *
 * In transaction pooling a client whose session has advisory locks, temporary tables or the like has to come
 * back to the same server. What ties it is the session's business; the ledger counts, so that the
 * bound holds over all workers: pinned servers do not come free for others.
 *
 * Invariants: a pinned slot is ACTIVE or TESTING (its client has gone, and what it left is being cleaned up);
 *   a pin ends with any other move, so whoever gets the server next has none;
 *   n_pinned counts them, and grows only while it is below max_pinned (which may fall on reload).
 * Threads: any; each call takes pool->lock.
 */
#ifndef POOL_PINS_H
#define POOL_PINS_H

#include <stdbool.h>

#include "base/compiler.h"

struct pool;
struct slot;

/* Pins an ACTIVE slot of the calling worker. False: as many are pinned as may be. One that is pinned stays so
 * (true). */
bool pool_pin(struct pool *pool, struct slot *slot) must_check;
/* What tied the client is gone. The client goes on with the server. */
void pool_unpin(struct pool *pool, struct slot *slot);

#endif
