/*
 * policy.h - which waiter gets a server that has come free: locality as bounded overtaking.
 *
 * Strict first come, first served unless overtake_max and overtake_us are both above 0. Then a waiter
 * of the releasing worker may be served before the head of the queue, but nobody is overtaken by
 * more than overtake_max later tickets, nor once it has waited longer than overtake_us.
 */
#ifndef POOL_POLICY_H
#define POOL_POLICY_H

#include "pool/pool.h"

/* The ticket to serve from pool->waiters, or NULL when nobody waits; counts it as overtaking those before it,
 * so the caller serves it. worker: of the server that has come free, or POOL_NO_WORKER. Pool lock held. Looks
 * at a bounded number of tickets. */
struct ticket *policy_pick(struct pool *pool, uint8_t worker, int64_t now_us) hot_path;

#endif
