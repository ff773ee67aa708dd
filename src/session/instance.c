/*
 * instance.c - references to the settings in force, and acts performed by mail.
 *
 * Threads: see instance.h.
 */
#include "session/instance.h"

#include <stdlib.h>

#include "session_int.h"

struct session_config *session_config_new(const struct config *config, struct tls_context *server_tls)
{
    struct session_config *c = xcalloc(1, sizeof(*c));
    c->config = config;
    c->server_tls = server_tls;
    atomic_init(&c->refs, 1);
    return c;
}

struct session_config *session_config_ref(struct session_config *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void session_config_unref(struct session_config *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    config_unref(c->config);
    tls_context_unref(c->server_tls);
    free(c);
}

void instance_perform(struct instance *in, struct pool *pool, struct pool_acts *acts)
{
    for (;;) {
        struct pool *pump = acts->more ? pool : NULL;
        for (int i = 0; i < acts->n; i++) {
            struct pool_act *act = &acts->act[i];
            struct pool_acts next = {0};
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
