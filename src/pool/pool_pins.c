/*
 * pool_pins.c - see pins.h.
 *
 * Threads: any; all state is protected by pool->lock. slot_move() ends pins.
 */
#include "pool_int.h"

#include <assert.h>

bool pool_pin(struct pool *pool, struct slot *slot)
{
    lock_acquire(&pool->lock);
    assert(slot->state == SLOT_ACTIVE);
    if (!slot->is_pinned && pool->n_pinned < pool->config.max_pinned) {
        slot->is_pinned = true;
        pool->n_pinned++;
    }
    bool is_pinned = slot->is_pinned;
    lock_release(&pool->lock);
    return is_pinned;
}

void slot_unpin(struct slot *slot)
{
    lock_assert_held(&slot->pool->lock);
    if (!slot->is_pinned)
        return;
    slot->is_pinned = false;
    slot->pool->n_pinned--;
}

void pool_unpin(struct pool *pool, struct slot *slot)
{
    lock_acquire(&pool->lock);
    slot_unpin(slot);
    lock_release(&pool->lock);
}
