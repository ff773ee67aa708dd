/*
 * health.c - /livez and /readyz: whether pgsluice turns, and whether it serves.
 *
 * Live: every worker's loop has come round lately (whoever asks is answered by the control thread, so that
 * one is known to turn). Ready: new clients are taken and served; not while shutting down, paused or
 * suspended. Databases are asked about only on request: a database that is down should not take all poolers
 * out of service.
 *
 * Threads: the control thread; workers' figures are atomics.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "http_int.h"
#include "metrics_int.h"
#include "pool/reach.h"
#include "worker/worker.h"

#define MADE_UP_SAID                                                                                         \
    20 /* of the databases that the * entry stands for, so many that cannot be served are named */

bool health_live(const struct http_hooks *h, struct buf *out)
{
    bool ok = workers_are_live(h->instance, out);

    if (ok)
        buf_append_str(out, "ok\n");
    return ok;
}

/* SHOW STATE knows what holds all clients back. */
static bool is_held_back(const struct http_hooks *h, struct buf *out)
{
    struct console *console = h->console(h->arg);
    const struct relation *relation = relation_find("STATE");
    struct rows rows;
    bool is_held = false;

    if (console == NULL)
        return false;
    if (!rows_read(console, relation, &rows)) {
        rows_free(&rows);
        return false;
    }
    for (uint32_t i = 0; i < rows.n_rows; i++) {
        const char *key = rows_value(&rows, i, 0), *value = rows_value(&rows, i, 1);
        if (key == NULL || value == NULL || strcmp(key, "active") == 0 || strcmp(value, "yes") != 0)
            continue;
        buf_printf(out, "%s\n", key);
        is_held = true;
    }
    rows_free(&rows);
    return is_held;
}

bool health_ready(const struct http_hooks *h, struct buf *out)
{
    if (atomic_load(&h->instance->shutdown_mode) != SHUTDOWN_NONE) {
        buf_append_str(out, "shutting down\n");
        return false;
    }
    if (is_held_back(h, out))
        return false;
    buf_append_str(out, "ok\n");
    return true;
}

/* ---- databases ---- */

/* Held back by an order; says so. */
static bool is_stopped(struct registry *r, struct pool_database *d, struct buf *out)
{
    bool is_paused = registry_is_paused(r, d);

    if (!is_paused && !registry_is_disabled(r, d))
        return false;
    buf_printf(out, "%s: %s\n", d->name, is_paused ? "paused" : "disabled");
    return true;
}

static bool one_database(const struct http_hooks *h, const struct database_config *db, struct buf *out,
                         bool *is_unsure)
{
    struct reach_report report = {0};
    struct registry *r = h->instance->registry;
    struct pool_database *known = registry_get_database(r, db->name);
    int64_t now_us = clock_now_us();

    if (known != NULL && is_stopped(r, known, out))
        return false;
    enum reach reach = known != NULL ? registry_reach(r, known, now_us, &report) : REACH_UNTRIED;
    if (reach != REACH_OK && db->user != NULL)
        h->want_server(h->arg, db);
    switch (reach) {
    case REACH_OK: buf_printf(out, "%s: ok\n", db->name); return true;
    case REACH_FAILS: buf_printf(out, "%s: %s\n", db->name, report.error); return false;
    case REACH_UNTRIED: break;
    }
    if (reach_is_recent(&report, now_us)) { /* closed for lack of use; what is tried now is told next time */
        buf_printf(out, "%s: ok\n", db->name);
        return true;
    }
    /* with a user of its own it is being tried now; otherwise only a client can tell */
    *is_unsure = *is_unsure || db->user != NULL;
    buf_printf(out, "%s: %s\n", db->name, db->user != NULL ? "connecting" : "not tried: no client has come");
    return db->user == NULL;
}

/*
 * One that the * entry stands for. Clients make it by its name, and such a name may be any, so it is not
 * connected to for a question, and that PostgreSQL refuses it says nothing about us. It counts against
 * us while the log says that it cannot be reached.
 */
static bool made_up_database(const struct http_hooks *h, struct pool_database *d, struct buf *out)
{
    struct reach_report report;
    struct registry *r = h->instance->registry;

    if (is_stopped(r, d, out))
        return false;
    if (d->outage.said_us == 0 || registry_reach(r, d, clock_now_us(), &report) != REACH_FAILS)
        return true;
    buf_printf(out, "%s: %s\n", d->name, report.error);
    return false;
}

static bool made_up_databases(const struct http_hooks *h, const struct config *cfg, struct buf *out)
{
    struct registry *r = h->instance->registry;
    int n = registry_database_count(r), n_wrong = 0;

    for (int i = 0; i < n && n_wrong < MADE_UP_SAID; i++) {
        struct pool_database *d = registry_database(r, i);
        const struct database_config *db = config_find_database(cfg, d->name);
        if (db != NULL && db->is_fallback && !atomic_load_explicit(&d->is_retired, memory_order_relaxed))
            n_wrong += !made_up_database(h, d, out);
    }
    return n_wrong == 0;
}

bool health_databases(const struct http_hooks *h, struct buf *out, bool *is_unsure)
{
    const struct config *cfg = h->config(h->arg)->config;
    bool ok = true, has_fallback = false;

    for (size_t i = 0; i < config_database_count(cfg); i++) {
        const struct database_config *db = config_database_at(cfg, i);
        has_fallback = has_fallback || db->is_fallback;
        if (!db->is_fallback && !one_database(h, db, out, is_unsure))
            ok = false;
    }
    if (has_fallback && !made_up_databases(h, cfg, out))
        ok = false;
    return ok;
}
