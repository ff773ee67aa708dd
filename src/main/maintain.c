/*
 * maintain.c - once a second: what pools need when nobody asks them for anything; and in time
 * for a pool's idle timeout.
 *
 * min_pool_size, idle timeout and lifetime (the ledger decides), databases that cannot be reached, host names
 * whose addresses have changed, utilization and statistics periods, and pools that nobody has used for long.
 *
 * Threads: the control thread.
 */
#include <string.h>

#include "base/log.h"
#include "main_int.h"
#include "pool/reach.h"

#define MAX_ENDPOINTS   256                  /* of one database's hosts; beyond this nothing is concluded */
#define LOOK_AT_MOST_US (20 * USEC_PER_MSEC) /* not more often at all pools, however short their timeouts */

static void log_stats(struct control *ctl)
{
    struct buf line;
    buf_init(&line, 4096);
    console_log_stats(ctl->in.registry, &line);
    systemd_notify_status(buf_cstr(&line));
    if (control_settings(ctl)->log_stats)
        log_info("%s", buf_cstr(&line));
    buf_free(&line);
}

static void keep_servers(struct control *ctl, struct pool *pool, int64_t now_us)
{
    struct pool_acts acts;

    if (atomic_load(&ctl->in.shutdown_mode) > SHUTDOWN_ANNOUNCED)
        return;
    ctl->maintain_worker = (ctl->maintain_worker + 1) % ctl->in.n_workers;
    pool_maintain(pool, (uint8_t)ctl->maintain_worker, now_us, &acts);
    instance_perform(&ctl->in, pool, &acts);
}

/* A pool whose last attempt to connect failed tries on, also when nobody waits: so it is known when the
 * database is back. */
static void retry_failed(struct control *ctl, struct pool *pool, int64_t now_us)
{
    struct pool_acts acts;

    if (atomic_load(&ctl->in.shutdown_mode) > SHUTDOWN_ANNOUNCED || atomic_load(&pool->is_retired) ||
        pool->purpose == POOL_FOR_LISTENING || registry_is_disabled(ctl->in.registry, pool->database))
        return;
    if (pool_retry_failed(pool, (uint8_t)ctl->maintain_worker, now_us, &acts))
        pool->database->outage.is_likely = true;
    instance_perform(&ctl->in, pool, &acts);
}

/* A database that cannot be reached: the log says so, once a minute, and when it is over. */
static void report_outage(struct control *ctl, struct pool_database *database, int64_t now_us)
{
    struct reach_report report;

    if (!database->outage.is_likely && database->outage.said_us == 0)
        return;
    database->outage.is_likely = false;
    enum reach reach = registry_reach(ctl->in.registry, database, now_us, &report);
    enum outage_news news = outage_step(&database->outage, reach, &report, now_us);
    long long lasted_s = (long long)((now_us - database->outage.since_us) / USEC_PER_SEC);

    switch (news) {
    case OUTAGE_NO_NEWS: return;
    case OUTAGE_BEGINS:
        failure_was_said(&database->said, now_us);
        log_warning("database \"%s\" cannot be reached: %s; trying on", database->name, report.error);
        return;
    case OUTAGE_LASTS:
        failure_was_said(&database->said, now_us);
        log_warning("database \"%s\" cannot be reached for %lld s: %s", database->name, lasted_s,
                    report.error);
        return;
    case OUTAGE_ENDS:
        log_info("database \"%s\" can be reached again, after %lld s", database->name, lasted_s);
        return;
    }
}

/* Servers at addresses that their host's name does not stand for any more are replaced. */
static void follow_names(struct control *ctl, struct pool *pool, int64_t now_us)
{
    const struct settings *s = control_settings(ctl);
    const struct database_config *db = config_find_database(ctl->config->config, pool->database->name);
    uint64_t endpoints[MAX_ENDPOINTS];
    struct pool_acts acts;

    if (db == NULL || atomic_load_explicit(&pool->slots_hint, memory_order_relaxed) == 0)
        return;
    const struct dial_options o = {
        .hosts = db->host,
        .port = db->port,
        .dns_ttl_us = s->dns_max_ttl_us,
        .dns_negative_ttl_us = s->dns_nxdomain_ttl_us,
    };
    int n = dial_endpoints(&o, endpoints, MAX_ENDPOINTS);
    if (n < 0)
        return;
    pool_recycle_at(pool, endpoints, n, false, CLOSE_DNS_CHANGED, now_us, &acts);
    instance_perform(&ctl->in, pool, &acts);
}

/* Made from the * entry? Of such a database the whole is forgotten. */
static bool is_auto_database(const struct control *ctl, const struct pool *pool)
{
    const struct database_config *db = config_find_database(ctl->config->config, pool->database->name);
    return db != NULL && db->is_fallback;
}

/* How long a pool may be unused; 0 = for ever. Pools that keep their servers without clients stay, or they
 * would be emptied and filled again each second. */
static int64_t unused_timeout_us(const struct control *ctl, const struct pool *pool)
{
    const struct settings *s = control_settings(ctl);
    const struct database_config *db = config_find_database(ctl->config->config, pool->database->name);
    if (db != NULL && !db->is_fallback && db->user != NULL && strcmp(db->user, pool->user->name) == 0 &&
        config_min_pool_size(ctl->config->config, db) > 0)
        return 0;
    return is_auto_database(ctl, pool) ? s->autodb_idle_timeout_us : s->pool_idle_timeout_us;
}

/* A listening connection, or somebody who waits for it. */
static bool is_listening(struct pool *pool)
{
    return pool->purpose == POOL_FOR_LISTENING &&
           (atomic_load_explicit(&pool->slots_hint, memory_order_relaxed) > 0 ||
            atomic_load_explicit(&pool->waiting_hint, memory_order_relaxed) > 0);
}

/* A pool without clients closes its servers after the timeout and is then left out of SHOW. Returns when it
 * will be due, INT64_MAX when that is not in sight. */
static int64_t forget_unused(struct control *ctl, struct pool *pool, int64_t now_us)
{
    int64_t timeout_us = unused_timeout_us(ctl, pool);
    struct pool_numbers n;
    struct pool_acts acts;

    if (atomic_load(&pool->clients) > 0 || is_listening(pool)) {
        atomic_store(&pool->is_retired, false);
        if (pool->purpose == POOL_FOR_LISTENING)
            atomic_store(&pool->unused_since_us, 0);
        return INT64_MAX;
    }
    /* a pool of look-ups has no clients, but it may have some who wait */
    if (atomic_load(&pool->unused_since_us) == 0 || atomic_load(&pool->waiting_hint) > 0)
        atomic_store(&pool->unused_since_us, now_us);
    if (timeout_us <= 0 || atomic_load(&pool->is_retired))
        return INT64_MAX;
    int64_t due_us = atomic_load(&pool->unused_since_us) + timeout_us;
    if (now_us < due_us)
        return due_us;
    pool_read(pool, 0, now_us, &n);
    if (n.nslots > 0) {
        pool_recycle(pool, CLOSE_POOL_IDLE, now_us, &acts);
        instance_perform(&ctl->in, pool, &acts);
        return INT64_MAX;
    }
    log_debug("pool %s/%s has not been used for long and is forgotten", pool->database->name,
              pool->user->name);
    registry_retire(ctl->in.registry, pool);
    if (atomic_load(&pool->database->clients) == 0 && is_auto_database(ctl, pool) &&
        !registry_database_is_paused(ctl->in.registry, pool->database) &&
        !registry_is_disabled(ctl->in.registry, pool->database))
        registry_retire_database(ctl->in.registry, pool->database);
    return INT64_MAX;
}

/* What is left after a look at all pools is not due before this has passed. */
static int64_t shortest_timeout_us(const struct control *ctl)
{
    const struct settings *s = control_settings(ctl);
    const int64_t timeouts_us[] = {s->pool_idle_timeout_us, s->autodb_idle_timeout_us};
    int64_t shortest_us = USEC_PER_SEC;

    for (size_t i = 0; i < ARRAY_SIZE(timeouts_us); i++)
        if (timeouts_us[i] > 0 && timeouts_us[i] < shortest_us)
            shortest_us = timeouts_us[i];
    return shortest_us > LOOK_AT_MOST_US ? shortest_us : LOOK_AT_MOST_US;
}

/* All pools; a timeout that comes before the next second does is waited for. */
static void forget_all_unused(struct control *ctl, int64_t now_us)
{
    int64_t next_us = now_us + shortest_timeout_us(ctl);

    for (int i = 0; i < registry_count(ctl->in.registry); i++) {
        int64_t due_us = forget_unused(ctl, registry_pool(ctl->in.registry, i), now_us);
        next_us = due_us < next_us ? due_us : next_us;
    }
    if (next_us >= now_us + USEC_PER_SEC)
        return;
    struct timeval wait = {.tv_usec = next_us - now_us};
    (void)event_add(&ctl->forget_event, &wait); /* else the second that comes anyway sees to it */
}

void control_forget_cb(evutil_socket_t fd, short what, void *arg)
{
    struct control *ctl = arg;

    (void)fd;
    (void)what;
    loop_enter(&ctl->loop);
    forget_all_unused(ctl, clock_now_us());
}

void control_maintain_cb(evutil_socket_t fd, short what, void *arg)
{
    struct control *ctl = arg;
    struct registry *r = ctl->in.registry;
    int64_t now_us = clock_now_us();
    bool is_util_due = now_us >= ctl->next_util_us;
    bool is_stats_due = now_us >= ctl->next_stats_us;

    (void)fd;
    (void)what;
    loop_enter(&ctl->loop);
    control_watch_userlist(ctl);
    dial_zones_check(control_settings(ctl)->dns_zone_check_period_us);
    if (is_util_due)
        ctl->next_util_us = now_us + UTIL_TICK_US;
    if (is_stats_due)
        ctl->next_stats_us = now_us + control_settings(ctl)->stats_period * USEC_PER_SEC;
    for (int i = 0; i < registry_count(r); i++) {
        struct pool *pool = registry_pool(r, i);
        keep_servers(ctl, pool, now_us);
        retry_failed(ctl, pool, now_us);
        follow_names(ctl, pool, now_us);
        if (is_util_due) {
            lock_acquire(&pool->lock);
            util_tick(&pool->util, now_us);
            lock_release(&pool->lock);
        }
        if (is_stats_due)
            pool_stats_tick(&pool->stats, now_us);
    }
    for (int i = 0; i < registry_database_count(r); i++)
        report_outage(ctl, registry_database(r, i), now_us);
    forget_all_unused(ctl, now_us);
    if (is_stats_due)
        log_stats(ctl);
}
