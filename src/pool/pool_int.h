/*
 * pool_int.h - what the files of pool/ share.
 *
 * Functions marked [lock] are called with pool->lock held. They add to acts, which the public
 * function that was entered has begun with acts_begin().
 */
#ifndef POOL_INT_H
#define POOL_INT_H

#include "base/clock.h"
#include "pool/policy.h"
#include "pool/pool.h"
#include "pool/registry.h"

#define POOL_FIRST_PAUSE_US     (100 * USEC_PER_MSEC)
#define POOL_MOST_PAUSE_DOWN_US (2 * USEC_PER_SEC)   /* for a database that cannot be reached */
#define POOL_LEAST_PAUSE_US     (10 * USEC_PER_MSEC) /* server_login_retry = 0 must not make a busy loop */
#define POOL_MOST_SLOTS         262143 /* PostgreSQL has no more; each takes memory when the pool is made */

/* registry.c makes and frees pools. False when memory is out. */
bool pool_init(struct pool *pool, struct pool_database *database, struct pool_user *user, int n_workers,
               int64_t now_us) must_check;
void pool_destroy(struct pool *pool);
/* pool_secret.c; part of pool_destroy() */
void pool_secret_destroy(struct pool *pool);

/* acts.c */
void acts_begin(struct pool_acts *acts);
static inline int acts_room(const struct pool_acts *acts)
{
    return POOL_MAX_ACTS - acts->n;
}
void acts_add_slot(struct pool_acts *acts, enum pool_act_kind kind, uint8_t worker, struct slot *slot);
void acts_add_grant(struct pool_acts *acts, enum pool_act_kind kind, uint8_t worker, struct slot *slot,
                    struct pool *pool, const struct grant *grant);
/* Once per pool is enough, so a second one is dropped. */
void acts_add_pump(struct pool_acts *acts, struct pool *pool);
void acts_add_evict(struct pool_acts *acts, struct limits *l, struct pool *starving);

/* pool_slots.c: states and memory of slots. */

/* [lock] The one place where a slot changes its state: counts, lists and times follow. */
void slot_move(struct slot *slot, enum slot_state to, int64_t now_us) hot_path;
/* [lock] Keeps `lent` within what is above the limit, after nslots or the settings have changed. */
void slot_count_lent(struct pool *pool);
/* [lock] pool_pins.c; nothing when it is not pinned. */
void slot_unpin(struct slot *slot);
/* [lock] What the end of a server, or of what it was connected to, says about whether there will be another.
 */
void slot_note_end(struct pool *pool, enum close_reason why, int64_t now_us);
/* [lock] CLOSING for why. */
void slot_close(struct slot *slot, enum close_reason why, int64_t now_us);
/* [lock] The same; its CLOSE act is handed out by pool_serve(). */
void slot_doom(struct slot *slot, enum close_reason why, int64_t now_us);
/* [lock] A FREE slot; there is one while nslots < slots_allocated. */
struct slot *slot_get_free(struct pool *pool);
/* [lock] The idle slot to use next: of worker first, else of second, else of any. NULL when none is idle. */
struct slot *slot_find_idle(struct pool *pool, uint8_t first, uint8_t second) hot_path;
/* [lock] The idle slot that has been idle longest, or NULL. */
struct slot *slot_find_longest_idle(struct pool *pool);
/* [lock] Why the slot may not stay, or CLOSE_NONE. */
enum close_reason slot_must_close(const struct slot *slot, int64_t now_us) hot_path;
/* No lock held. Memory for `limit` slots; false when it is out. */
bool pool_allocate_slots(struct pool *pool, int limit) must_check;
void pool_free_slots(struct pool *pool);
/* [lock] Evenly from 0 .. n - 1. */
uint32_t pool_random(struct pool *pool, uint32_t n);

/* pool_serve.c: who waits is served. */

/* [lock] The slot, whose server the calling worker (slot->owner) has, has come free: closes it, gives it to a
 * waiter, or keeps it. One act, always. */
void pool_settle(struct pool *pool, struct slot *slot, enum close_reason why, int64_t now_us,
                 struct pool_acts *acts) hot_path;
/* [lock] Hands out what is pending and serves waiters as far as possible; sets acts->more when acts are full.
 * Every public function that may have helped somebody ends with it. */
void pool_serve(struct pool *pool, uint8_t worker, int64_t now_us, struct pool_acts *acts) hot_path;
/* [lock] Joins the queue at the place of ticket->number. */
void pool_enqueue(struct pool *pool, struct ticket *ticket);
/* [lock] Leaves the queue. */
void pool_dequeue(struct pool *pool, struct ticket *ticket, enum ticket_state state);
struct grant ticket_grant(const struct ticket *ticket);
/* [lock] Logins are refused (or the pool is removed) and no server is left that could serve anybody. */
bool pool_is_failing(const struct pool *pool, int64_t now_us);
/* [lock] FAIL acts for waiters, as many as fit; acts->more when some are left. */
void pool_fail_some(struct pool *pool, struct pool_acts *acts);
/* [lock] May a connection be opened within the pool's limit, as far as the pool itself goes? */
bool pool_may_connect(const struct pool *pool, int64_t now_us);
/* [lock] Is there a waiter for whom none is in progress, and may one be opened for it, be it from the
 * reserve?
 */
bool pool_wants_connection(const struct pool *pool, int64_t now_us);
/* [lock] Opens one on worker, or joins the ring of the limit that is full (when join). Needs room for
 * ACTS_PER_OPEN. */
bool pool_open_one(struct pool *pool, uint8_t worker, bool join, int64_t now_us, struct pool_acts *acts);
#define ACTS_PER_OPEN 5
/* [lock] Takes note of what has changed: utilization and hints. Last thing before unlocking. */
void pool_note(struct pool *pool, int64_t now_us) hot_path;

/* limits.c; pool->lock held, which ranks below. */

/* A place for pool. When there is none, or another pool's turn, joins the ring if join is set. */
bool limits_take(struct limits *l, struct pool *pool, bool join, int64_t now_us,
                 struct pool_acts *acts) must_check;
/* self: the pool that will itself try again before its lock is dropped, so needs no PUMP. */
void limits_give_back(struct limits *l, const struct pool *self, struct pool_acts *acts);
/* Leaves the ring it is in, if any, passing its turn on. Needs room for one act. Without acts it stays while
 * it is its turn: the PUMP that is on its way passes the turn on. */
void limits_leave(struct pool *pool, struct pool_acts *acts);
/* More places than the limit has are taken by servers that stay. */
bool limits_is_over(struct limits *l);
/* A pool starves that no place which is free, or coming free, will feed. */
bool limits_is_starved(struct limits *l) hot_path;
/* A pool starves that no place will feed, and that has none, or at least two fewer than pool's `held`. Then
 * pool, which is about to let one go, goes to the end of the ring. Looks at a bounded number of pools. */
bool limits_must_share(struct limits *l, struct pool *pool, int held);
/* Registry, once per pool; allocates. False when memory is out. */
bool limits_reserve_member(struct limits *l) must_check;
void limits_add_member(struct limits *l, struct pool *pool);

#endif
