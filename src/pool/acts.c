/*
 * acts.c - filling struct pool_acts.
 *
 * Threads: the caller's own object.
 */
#include "pool_int.h"

#include <assert.h>
#include <string.h>

void acts_begin(struct pool_acts *acts)
{
    acts->n = 0;
    acts->more = false;
}

/* An act that did not fit would be a lost server or a lost wake-up, so this is checked in every build. */
static struct pool_act *acts_add(struct pool_acts *acts, enum pool_act_kind kind)
{
    assert(acts->n < POOL_MAX_ACTS);
    struct pool_act *act = &acts->act[acts->n++];
    memset(act, 0, sizeof(*act));
    act->kind = kind;
    return act;
}

void acts_add_slot(struct pool_acts *acts, enum pool_act_kind kind, uint8_t worker, struct slot *slot)
{
    struct pool_act *act = acts_add(acts, kind);
    act->worker = worker;
    act->slot = slot;
    act->pool = slot->pool;
}

void acts_add_grant(struct pool_acts *acts, enum pool_act_kind kind, uint8_t worker, struct slot *slot,
                    struct pool *pool, const struct grant *grant)
{
    struct pool_act *act = acts_add(acts, kind);
    act->worker = worker;
    act->slot = slot;
    act->pool = pool;
    act->grant = *grant;
}

void acts_add_pump(struct pool_acts *acts, struct pool *pool)
{
    for (int i = 0; i < acts->n; i++)
        if (acts->act[i].kind == POOL_ACT_PUMP && acts->act[i].pool == pool)
            return;
    acts_add(acts, POOL_ACT_PUMP)->pool = pool;
}

void acts_add_evict(struct pool_acts *acts, struct limits *l, struct pool *starving)
{
    struct pool_act *act = acts_add(acts, POOL_ACT_EVICT);
    act->pool = starving;
    act->limits = l;
}
