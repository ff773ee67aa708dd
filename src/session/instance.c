/*
 * instance.c - the ledger's acts performed by mail, for the control thread.
 *
 * Threads: see instance.h.
 */
#include "session/instance.h"

#include <stdlib.h>

#include "session_int.h"

void instance_perform(struct instance *in, struct pool *pool, struct pool_acts *acts)
{
    for (;;) {
        struct pool *pump = acts->more ? pool : NULL;
        for (int i = 0; i < acts->n; i++) {
            struct pool_act *act = &acts->act[i];
            struct pool_acts next;
            switch (act->kind) {
            case POOL_ACT_PUMP:
                pool_pump(act->pool, POOL_NO_WORKER, clock_now_us(), &next);
                instance_perform(in, act->pool, &next);
                break;
            case POOL_ACT_EVICT:
                if (limits_evict(act->limits, act->pool, clock_now_us(), &next))
                    instance_perform(in, act->pool, &next);
                break;
            case POOL_ACT_LINK:
            case POOL_ACT_IDLE:
            case POOL_ACT_HANDOFF:
                /* only for a caller that has servers */
                log_error("control thread was given act %d", (int)act->kind);
                break;
            default: act_mail(in, NULL, act, pool); break;
            }
        }
        if (pump == NULL)
            return;
        *acts = (struct pool_acts){0};
        pool_pump(pump, POOL_NO_WORKER, clock_now_us(), acts);
    }
}
