/*
 * accepted.c - see accepted.h.
 */
#include "pool/accepted.h"

#include "pool_int.h"

bool pool_has_accepted(struct pool *pool, const struct params *asked, struct params **answered)
{
    const struct pool_accepted *a = &pool->accepted;
    bool is_known = false;

    lock_acquire(&pool->lock);
    for (int i = 0; i < POOL_ACCEPTED && !is_known; i++) {
        is_known = a->pairs[i].asked == asked;
        if (is_known)
            *answered = params_ref(a->pairs[i].answered);
    }
    lock_release(&pool->lock);
    return is_known;
}

void pool_accept(struct pool *pool, struct params *asked, struct params *answered)
{
    struct pool_accepted *a = &pool->accepted;
    struct params *old_asked, *old_answered;

    lock_acquire(&pool->lock);
    uint32_t i = a->next++ % POOL_ACCEPTED;
    old_asked = a->pairs[i].asked;
    old_answered = a->pairs[i].answered;
    a->pairs[i].asked = params_ref(asked);
    a->pairs[i].answered = params_ref(answered);
    lock_release(&pool->lock);
    params_unref(old_asked); /* may free, so not under the lock */
    params_unref(old_answered);
}

void pool_accepted_destroy(struct pool_accepted *a)
{
    for (int i = 0; i < POOL_ACCEPTED; i++) {
        params_unref(a->pairs[i].asked);
        params_unref(a->pairs[i].answered);
    }
}
