/*
 * deadlines.c - when the connections of a list have to be looked at next.
 *
 * Pure. The idea is in the header. Not here: the walks and what a timeout does (timeouts.c).
 */
#include "session/deadlines.h"

void deadlines_configure(struct deadlines *d, int64_t shortest_us, int64_t now_us)
{
    d->shortest_us = shortest_us;
    d->due_us = shortest_us > 0 ? now_us : 0;
}

void deadlines_walk_begin(struct deadlines *d)
{
    d->due_us = DEADLINE_NEVER;
}

void deadlines_walk_see(struct deadlines *d, int64_t deadline_us)
{
    if (deadline_us < d->due_us)
        d->due_us = deadline_us;
}

void deadlines_walk_end(struct deadlines *d, bool is_empty, int64_t now_us)
{
    if (is_empty || d->shortest_us <= 0) /* which may have become so by what a timeout has done */
        d->due_us = 0;
    else
        deadlines_walk_see(d, now_us + d->shortest_us);
}

static void consider(struct deadline *d, int64_t since_us, int64_t timeout_us, enum close_reason why)
{
    int64_t at_us = since_us != 0 ? deadline_after(since_us, timeout_us) : DEADLINE_NEVER;
    if (at_us < d->at_us)
        *d = (struct deadline){.at_us = at_us, .why = why};
}

struct deadline deadline_earliest(const struct deadline_times *since, const struct config_timeouts *timeouts)
{
    struct deadline d = {.at_us = DEADLINE_NEVER, .why = CLOSE_NONE};

    consider(&d, since->query_us, timeouts->query_us, CLOSE_QUERY_TIMEOUT);
    consider(&d, since->in_xact_us, timeouts->idle_transaction_us, CLOSE_IDLE_TRANSACTION_TIMEOUT);
    consider(&d, since->xact_us, timeouts->transaction_us, CLOSE_TRANSACTION_TIMEOUT);
    consider(&d, since->idle_us, timeouts->client_idle_us, CLOSE_CLIENT_IDLE_TIMEOUT);
    consider(&d, since->pin_idle_us, timeouts->pin_idle_us, CLOSE_PIN_IDLE_TIMEOUT);
    return d;
}
