/*
 * reach.c - can a database be reached?
 *
 * Threads: any; nothing is kept here.
 * Not here: trying again (pool_retry_failed()), saying so (main/maintain.c, ops/health.c, SHOW DATABASES).
 */
#include "pool/reach.h"

#include <string.h>

#include "base/clock.h"

#define SAY_AGAIN_US (60 * USEC_PER_SEC)
#define QUIET_US     (90 * USEC_PER_SEC)  /* longer, so that who says it again is outage_step() */
#define RECENT_US    (120 * USEC_PER_SEC) /* longer than the usual time between two probes */

/* What one pool adds. One that PostgreSQL refuses counts less than one that does not get that far. */
static void add_pool(struct pool *p, const struct pool_numbers *n, enum reach *reach,
                     struct reach_report *out)
{
    char sqlstate[6];

    if (n->failing_since_us == 0) {
        out->was_reached = out->was_reached || n->was_connected;
        return;
    }
    if (*reach == REACH_FAILS && !out->is_refused &&
        (n->is_refused || n->failing_since_us >= out->failing_since_us))
        return;
    *reach = REACH_FAILS;
    out->is_refused = n->is_refused;
    out->failing_since_us = n->failing_since_us;
    pool_last_error(p, sqlstate, out->error, sizeof(out->error));
}

bool reach_is_recent(const struct reach_report *report, int64_t now_us)
{
    return report->reached_us != 0 && now_us - report->reached_us < RECENT_US;
}

enum reach registry_reach(struct registry *r, const struct pool_database *database, int64_t now_us,
                          struct reach_report *out)
{
    enum reach reach = REACH_UNTRIED;
    struct pool_numbers n;

    memset(out, 0, sizeof(*out));
    for (int i = 0; i < registry_count(r); i++) {
        struct pool *p = registry_pool(r, i);
        if (p->database != database)
            continue;
        pool_read(p, 0, now_us, &n);
        if (n.reached_us > out->reached_us)
            out->reached_us = n.reached_us;
        if (atomic_load_explicit(&p->is_retired, memory_order_relaxed))
            continue; /* but it is not forgotten yet how its last server left */
        if (n.count[SLOT_IDLE] + n.count[SLOT_ACTIVE] + n.count[SLOT_TESTING] + n.count[SLOT_MOVING] > 0)
            return REACH_OK;
        add_pool(p, &n, &reach, out);
    }
    return reach;
}

enum outage_news outage_step(struct outage *o, enum reach reach, const struct reach_report *report,
                             int64_t now_us)
{
    bool was_said = o->said_us != 0;

    if (reach != REACH_FAILS || report->is_refused) {
        o->said_us = 0;
        return was_said && (reach == REACH_OK || report->was_reached) ? OUTAGE_ENDS : OUTAGE_NO_NEWS;
    }
    if (was_said && now_us - o->said_us < SAY_AGAIN_US)
        return OUTAGE_NO_NEWS;
    if (!was_said)
        o->since_us = report->failing_since_us;
    o->said_us = now_us;
    return was_said ? OUTAGE_LASTS : OUTAGE_BEGINS;
}

bool failure_is_news(struct failure_said *said, enum close_reason why, int64_t now_us)
{
    int64_t at_us = atomic_load_explicit(&said->at_us, memory_order_relaxed);

    if (at_us != 0 && now_us - at_us < QUIET_US &&
        atomic_load_explicit(&said->why, memory_order_relaxed) == (int)why)
        return false;
    atomic_store_explicit(&said->why, (int)why, memory_order_relaxed);
    failure_was_said(said, now_us);
    return true;
}

void failure_was_said(struct failure_said *said, int64_t now_us)
{
    atomic_store_explicit(&said->at_us, now_us, memory_order_relaxed);
}
