/*
 * show_pools.c - SHOW POOLS, UTILIZATION, LATENCY, LISTS: figures of pools.
 *
 * Each pool's figures are consistent among themselves (read under its lock); two pools
 * are read one after the other.
 *
 * Threads: the control thread only.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "net/dial.h"
#include "net/password_check.h"
#include "ops_int.h"
#include "session/instance.h"

static int pool_compare(const void *a, const void *b)
{
    const struct pool *x = *(struct pool *const *)a, *y = *(struct pool *const *)b;
    int by_database = strcmp(x->database->name, y->database->name);

    return by_database != 0 ? by_database : strcmp(x->label, y->label);
}

struct pool **pools_sorted(struct registry *registry, int *n)
{
    int count = registry_count(registry);
    struct pool **pools = calloc((size_t)count + 1, sizeof(struct pool *));

    *n = 0;
    if (pools == NULL)
        return NULL;
    for (int i = 0; i < count; i++) {
        struct pool *p = registry_pool(registry, i);

        if (!atomic_load_explicit(&p->is_retired, memory_order_relaxed))
            pools[(*n)++] = p;
    }
    qsort(pools, (size_t)*n, sizeof(*pools), pool_compare);
    return pools;
}

/* Calls show for each pool; without memory the result fails. */
static void each_pool(struct console *c, struct result *r,
                      void (*show)(struct console *c, struct result *r, struct pool *p))
{
    int n;
    struct pool **pools = pools_sorted(c->registry, &n);

    if (pools == NULL)
        r->out->failed = true;
    for (int i = 0; i < n; i++)
        show(c, r, pools[i]);
    free(pools);
}

static void read_pool(struct console *c, struct pool *p, struct pool_numbers *numbers)
{
    pool_read(p, config_settings(console_config(c))->server_check_delay_us, console_now(c), numbers);
}

static int max_0(int n)
{
    return n > 0 ? n : 0;
}

/* ---- POOLS ---- */

static void show_pool(struct console *c, struct result *r, struct pool *p)
{
    const struct config *config = console_config(c);
    const struct database_config *d = config_find_database(config, p->database->name);
    const struct user_config *u = config_find_user(config, p->user->name);
    int held = atomic_load(&p->cancels.held), sent = atomic_load(&p->cancels.sent);
    struct pool_numbers n;

    read_pool(c, p, &n);
    result_row(r);
    result_text(r, p->database->name);
    result_text(r, p->label);
    /* two counters, read one after the other */
    result_int(r, max_0(atomic_load_explicit(&p->clients, memory_order_relaxed) - n.n_waiters));
    result_int(r, n.n_waiters);
    result_int(r, atomic_load(&p->cancels.active));
    result_int(r, atomic_load(&p->cancels.waiting));
    result_int(r, max_0(n.count[SLOT_ACTIVE] - held));
    result_int(r, sent);
    result_int(r, held);
    result_int(r, max_0(n.count[SLOT_IDLE] - n.used));
    result_int(r, n.used);
    result_int(r, n.count[SLOT_TESTING]);
    result_int(r, n.count[SLOT_CONNECTING] + max_0(atomic_load(&p->cancels.connections) - sent));
    result_int(r, n.oldest_wait_us / USEC_PER_SEC);
    result_int(r, n.oldest_wait_us % USEC_PER_SEC);
    result_text(r, config_pool_mode_name(config_pool_mode(config, d, u)));
    result_text(r, d != NULL && d->host != NULL && strchr(d->host, ',') != NULL
                       ? config_load_balance_hosts_name(d->load_balance_hosts)
                       : NULL);
    result_int(r, n.count[SLOT_MOVING]);
    result_int(r, n.count[SLOT_CLOSING]);
    result_int(r, n.limit);
    result_real(r, n.utilization_now);
    result_int(r, n.reserve);
    result_int(r, n.lent);
    result_int(r, n.pinned);
    result_int(r, n.max_pinned);
    result_row_end(r);
}

/* The console's own, which tools expect to see. */
static void show_own_pool(struct console *c, struct result *r)
{
    result_row(r);
    result_text(r, "pgbouncer");
    result_text(r, "pgbouncer");
    result_int(r, console_session_count(c));
    for (int i = 3; i < 15; i++) /* cl_waiting to maxwait_us */
        result_int(r, 0);
    result_text(r, "statement");
    result_text(r, NULL);
    result_int(r, 0);
    result_int(r, 0);
    result_int(r, 0);
    result_real(r, 0);
    for (int i = 0; i < 4; i++)
        result_int(r, 0);
    result_row_end(r);
}

void show_pools(struct console *c, struct result *r)
{
    int n;
    struct pool **pools = pools_sorted(c->registry, &n);
    bool is_own_shown = false;

    if (pools == NULL)
        r->out->failed = true;
    for (int i = 0; i < n; i++) {
        if (!is_own_shown && strcmp(pools[i]->database->name, "pgbouncer") > 0) {
            show_own_pool(c, r);
            is_own_shown = true;
        }
        show_pool(c, r, pools[i]);
    }
    if (!is_own_shown)
        show_own_pool(c, r);
    free(pools);
}

/* ---- UTILIZATION, LATENCY ---- */

static void show_pool_utilization(struct console *c, struct result *r, struct pool *p)
{
    struct pool_numbers n;

    read_pool(c, p, &n);
    result_row(r);
    result_text(r, p->database->name);
    result_text(r, p->label);
    result_int(r, n.limit);
    result_int(r, n.count[SLOT_ACTIVE]);
    result_int(r, n.count[SLOT_IDLE]);
    result_int(r, n.n_waiters);
    result_real(r, n.utilization_now);
    for (size_t i = 0; i < ARRAY_SIZE(n.utilization); i++)
        result_real(r, n.utilization[i]);
    result_int(r, n.peak);
    result_real(r, (double)n.saturated_us / (double)USEC_PER_SEC);
    result_int(r, n.reserve);
    result_int(r, n.lent);
    result_row_end(r);
}

void show_utilization(struct console *c, struct result *r)
{
    each_pool(c, r, show_pool_utilization);
}

static void show_pool_latency(struct console *c, struct result *r, struct pool *p)
{
    static const double percentiles[] = {50, 90, 95, 99, 99.9};

    (void)c;
    for (int kind = 0; kind < LATENCY_KINDS; kind++) {
        struct histogram_sum sum = {.count = 0};

        pool_stats_histogram_sum(&p->stats, (enum latency_kind)kind, &sum);
        result_row(r);
        result_text(r, p->database->name);
        result_text(r, p->label);
        result_text(r, latency_kind_name((enum latency_kind)kind));
        result_uint(r, sum.count);
        result_uint(r, histogram_mean_us(&sum));
        for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++)
            result_uint(r, histogram_percentile_us(&sum, percentiles[i]));
        result_uint(r, sum.max_us);
        result_row_end(r);
    }
}

void show_latency(struct console *c, struct result *r)
{
    each_pool(c, r, show_pool_latency);
}

/* ---- LISTS ---- */

static void list_row(struct result *r, const char *name, int64_t items)
{
    result_row(r);
    result_text(r, name);
    result_int(r, items);
    result_row_end(r);
}

static int count_databases(struct console *c)
{
    const struct config *config = console_config(c);
    int n = 1; /* the console's own */

    for (size_t i = 0; i < config_database_count(config); i++)
        n += !config_database_at(config, i)->is_fallback;
    for (int i = 0; i < registry_database_count(c->registry); i++) {
        struct pool_database *d = registry_database(c->registry, i);

        n += !atomic_load_explicit(&d->is_retired, memory_order_relaxed) &&
             config_find_database_exact(config, d->name) == NULL;
    }
    return n;
}

static int count_users(struct console *c)
{
    const struct config *config = console_config(c);
    int n = (int)config_user_count(config);

    for (int i = 0; i < registry_user_count(c->registry); i++)
        n += config_find_user(config, registry_user(c->registry, i)->name) == NULL;
    return n;
}

void show_lists(struct console *c, struct result *r)
{
    int clients = atomic_load_explicit(&c->hooks.instance->clients, memory_order_relaxed);
    int pools = 1, servers = 0, used = console_session_count(c);
    struct check_figures checks;

    for (int i = 0; i < registry_count(c->registry); i++) {
        struct pool *p = registry_pool(c->registry, i);
        struct pool_numbers n;

        read_pool(c, p, &n);
        servers += n.nslots;
        used += atomic_load_explicit(&p->clients, memory_order_relaxed);
        pools += !atomic_load_explicit(&p->is_retired, memory_order_relaxed);
    }
    list_row(r, "databases", count_databases(c));
    list_row(r, "users", count_users(c));
    list_row(r, "peers", (int64_t)config_peer_count(console_config(c)));
    list_row(r, "pools", pools);
    list_row(r, "peer_pools", (int64_t)config_peer_count(console_config(c)));
    list_row(r, "free_clients", 0);
    list_row(r, "used_clients", used);
    list_row(r, "login_clients", max_0(clients - used));
    list_row(r, "free_servers", 0);
    list_row(r, "used_servers", servers);
    list_row(r, "dns_names", dial_cached_names());
    list_row(r, "dns_zones", dial_zones());
    list_row(r, "dns_queries", dial_pending_names());
    list_row(r, "dns_pending", 0);
    check_figures(&checks);
    list_row(r, "checks_running", checks.running);
    list_row(r, "checks_waiting", checks.waiting);
}
