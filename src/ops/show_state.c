/*
 * show_state.c - SHOW STATE, VERSION, WORKERS, ERRORS: figures of the process.
 *
 * Threads: the control thread only; workers' figures are atomics.
 */
#include "ops_int.h"
#include "session/shard.h"
#include "stats/errors.h"

static void pair(struct result *r, const char *key, const char *value)
{
    result_row(r);
    result_text(r, key);
    result_text(r, value);
    result_row_end(r);
}

void show_state(struct console *c, struct result *r)
{
    bool is_paused = registry_is_paused(c->registry, NULL);

    pair(r, "active", is_paused ? "no" : "yes");
    pair(r, "paused", is_paused ? "yes" : "no");
    pair(r, "suspended", "no");
}

void show_version(struct console *c, struct result *r)
{
    (void)c;
    result_row(r);
    result_text(r, console_version_text());
    result_row_end(r);
}

static uint64_t relaxed(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

void show_workers(struct console *c, struct result *r)
{
    const struct instance *in = c->hooks.instance;

    for (int i = 0; i < in->n_workers; i++) {
        const struct shard *sh = in->shards[i];
        uint64_t turns, busy_us;

        if (sh == NULL)
            continue;
        turns = relaxed(&sh->loop.turns);
        busy_us = relaxed(&sh->loop.busy_us);
        result_row(r);
        result_int(r, i);
        result_int(r, atomic_load_explicit(&sh->n_clients, memory_order_relaxed));
        result_int(r, atomic_load_explicit(&sh->n_servers, memory_order_relaxed));
        result_uint(r, relaxed(&sh->handoffs));
        result_uint(r, relaxed(&sh->steals));
        result_uint(r, relaxed(&sh->adopted));
        result_uint(r, turns);
        result_uint(r, busy_us);
        result_uint(r, turns > 0 ? busy_us / turns : 0);
        result_uint(r, relaxed(&sh->loop.max_turn_us));
        result_int(r, atomic_load_explicit(&sh->n_listeners, memory_order_relaxed));
        result_uint(r, relaxed(&sh->notifications));
        result_row_end(r);
    }
}

static void error_row(struct result *r, const char *kind, const char *name, const char *text, uint64_t count)
{
    if (count == 0)
        return;
    result_row(r);
    result_text(r, kind);
    result_text(r, name);
    result_text(r, text);
    result_uint(r, count);
    result_row_end(r);
}

void show_errors(struct console *c, struct result *r)
{
    struct stats_errors_sum sum;

    stats_errors_sum(c->hooks.instance->errors, &sum);
    for (int i = 0; i < CLOSE_REASONS; i++) {
        enum close_reason reason = (enum close_reason)i;

        error_row(r, "close", close_reason_name(reason), close_reason_text(reason), sum.closes[i]);
    }
    for (int i = 0; i < SQLSTATE_CLASSES; i++) {
        enum sqlstate_class class = (enum sqlstate_class)i;

        error_row(r, "sqlstate", sqlstate_class_code(class), sqlstate_class_text(class), sum.sqlstates[i]);
    }
}
