/*
 * show_config.c - SHOW CONFIG, DATABASES, USERS, ENVIRONMENT: what is configured, with live counts.
 *
 * Databases are those of the configuration and those that clients made through the
 * fallback `*`; users are those of the configuration and those that logged in. Both are
 * listed by name, as in PgBouncer.
 *
 * Threads: the control thread only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "ops_int.h"
#include "pool/reach.h"

#define ADMIN_POOL_SIZE 2 /* as PgBouncer shows for its own */

/* ---- CONFIG, ENVIRONMENT ---- */

static const char *unset_if_empty(const char *s)
{
    return s != NULL && s[0] != '\0' ? s : NULL;
}

void show_config(struct console *c, struct result *r)
{
    const struct config *config = console_config(c);
    struct buf value;

    buf_init(&value, 0);
    for (size_t i = 0; i < option_count(); i++) {
        const struct config_option *o = option_at(i);

        buf_clear(&value);
        result_row(r);
        result_text(r, o->name);
        result_text(r, config_value_text(config, i, &value) ? buf_cstr(&value) : NULL);
        result_text(r, (o->flags & OPTION_UNSET) != 0 ? NULL : o->default_text);
        result_text(r, (o->flags & OPTION_RELOADABLE) != 0 ? "yes" : "no");
        result_text(r, config_source_text(config, i));
        result_row_end(r);
    }
    buf_free(&value);
}

/* Settings whose value comes from the profile: the built-in one, or a section [environment.NAME]. */
void show_environment(struct console *c, struct result *r)
{
    const struct config *config = console_config(c);
    struct buf value;

    buf_init(&value, 0);
    for (size_t i = 0; i < option_count(); i++) {
        const char *source = config_source_text(config, i);
        bool is_profile = strcmp(option_at(i)->name, "environment") == 0;

        if (!is_profile && !str_has_prefix(source, "environment ") &&
            !str_has_prefix(source, "[environment."))
            continue;
        buf_clear(&value);
        result_row(r);
        result_text(r, unset_if_empty(config_settings(config)->environment));
        result_text(r, option_at(i)->name);
        result_text(r, config_value_text(config, i, &value) ? unset_if_empty(buf_cstr(&value)) : NULL);
        result_text(r, source);
        result_row_end(r);
    }
    buf_free(&value);
}

/* ---- lists by name ---- */

/* A database or user: its configuration, its live half, either may be NULL. */
struct entry {
    const char *name;
    const void *config;
    void *live;
};

static int entry_compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static struct entry *entry_find(struct entry *entries, size_t n, const char *name)
{
    const struct entry key = {.name = name};

    return n == 0 ? NULL : bsearch(&key, entries, n, sizeof(*entries), entry_compare);
}

/* Databases of the configuration, sorted, with room for those of the registry behind. NULL: no memory. */
static struct entry *list_databases(struct console *c, size_t *count)
{
    const struct config *config = console_config(c);
    int n_live = registry_database_count(c->registry);
    size_t n = 0, n_config;
    struct entry *entries = calloc(config_database_count(config) + (size_t)n_live + 1, sizeof(*entries));

    if (entries == NULL)
        return NULL;
    entries[n++] = (struct entry){.name = "pgbouncer"}; /* the console itself */
    for (size_t i = 0; i < config_database_count(config); i++) {
        const struct database_config *d = config_database_at(config, i);

        if (!d->is_fallback)
            entries[n++] = (struct entry){.name = d->name, .config = d};
    }
    qsort(entries, n, sizeof(*entries), entry_compare);
    n_config = n;
    for (int i = 0; i < n_live; i++) {
        struct pool_database *d = registry_database(c->registry, i);
        struct entry *e = entry_find(entries, n_config, d->name);

        if (e != NULL)
            e->live = d;
        else if (!atomic_load_explicit(&d->is_retired, memory_order_relaxed))
            entries[n++] =
                (struct entry){.name = d->name, .config = config_find_database(config, d->name), .live = d};
    }
    qsort(entries, n, sizeof(*entries), entry_compare);
    *count = n;
    return entries;
}

static struct entry *list_users(struct console *c, size_t *count)
{
    const struct config *config = console_config(c);
    int n_live = registry_user_count(c->registry);
    size_t n = 0, n_config;
    struct entry *entries = calloc(config_user_count(config) + (size_t)n_live + 1, sizeof(*entries));

    if (entries == NULL)
        return NULL;
    for (size_t i = 0; i < config_user_count(config); i++) {
        const struct user_config *u = config_user_at(config, i);

        entries[n++] = (struct entry){.name = u->name, .config = u};
    }
    qsort(entries, n, sizeof(*entries), entry_compare);
    n_config = n;
    for (int i = 0; i < n_live; i++) {
        struct pool_user *u = registry_user(c->registry, i);
        struct entry *e = entry_find(entries, n_config, u->name);

        if (e != NULL)
            e->live = u;
        else
            entries[n++] = (struct entry){.name = u->name, .live = u};
    }
    qsort(entries, n, sizeof(*entries), entry_compare);
    *count = n;
    return entries;
}

/* ---- DATABASES ---- */

static void show_own_database(struct console *c, struct result *r)
{
    result_row(r);
    result_text(r, "pgbouncer");
    result_text(r, NULL);
    result_int(r, config_settings(console_config(c))->listen_port);
    result_text(r, "pgbouncer");
    result_text(r, "pgbouncer");
    result_int(r, ADMIN_POOL_SIZE);
    result_int(r, 0);
    result_int(r, 0);
    result_int(r, config_settings(console_config(c))->server_lifetime_us / USEC_PER_SEC);
    result_text(r, "statement");
    result_text(r, NULL);
    result_int(r, 0);
    result_int(r, 0);
    result_int(r, 0);
    result_int(r, console_session_count(c));
    result_int(r, 0);
    result_int(r, 0);
    result_text(r, NULL);
    result_int(r, 0);
    result_int(r, 0);
    result_text(r, NULL);
    result_row_end(r);
}

/* For how long it cannot be reached, in seconds, and what was wrong last. */
static void show_reach(struct console *c, struct result *r, const struct pool_database *live)
{
    int64_t now_us = c->hooks.now_us(c->hooks.arg), lasted_us = 0;
    struct reach_report report;
    bool fails = live != NULL && registry_reach(c->registry, live, now_us, &report) == REACH_FAILS;

    if (fails && !report.is_refused)
        lasted_us = now_us - report.failing_since_us;
    result_int(r, (lasted_us + USEC_PER_SEC - 1) / USEC_PER_SEC); /* 0 is none */
    result_text(r, fails ? report.error : NULL);
}

static void show_database(struct console *c, struct result *r, const struct entry *e)
{
    const struct config *config = console_config(c);
    const struct database_config *d = e->config;
    struct pool_database *live = e->live;

    if (d == NULL)
        return; /* gone from the configuration; its last connections are leaving */
    result_row(r);
    result_text(r, e->name);
    result_text(r, unset_if_empty(d->host));
    result_int(r, d->port);
    result_text(r, d->dbname != NULL ? d->dbname : e->name);
    result_text(r, d->user);
    result_int(r, config_pool_size(config, d, NULL));
    result_int(r, config_min_pool_size(config, d));
    result_int(r, config_reserve_pool_size(config, d, NULL));
    result_int(r, config_server_lifetime_us(config, d) / USEC_PER_SEC);
    result_text(r, d->pool_mode != POOL_MODE_INHERIT ? config_pool_mode_name(d->pool_mode) : NULL);
    result_text(r, d->host != NULL && strchr(d->host, ',') != NULL
                       ? config_load_balance_hosts_name(d->load_balance_hosts)
                       : NULL);
    result_int(r, config_max_db_connections(config, d));
    result_int(r, live != NULL ? atomic_load_explicit(&live->limits.count, memory_order_relaxed) : 0);
    result_int(r, config_max_db_client_connections(config, d));
    result_int(r, live != NULL ? atomic_load_explicit(&live->clients, memory_order_relaxed) : 0);
    /* with PAUSE of the whole each database is paused */
    result_int(r, registry_is_paused(c->registry, live));
    result_int(r, live != NULL && registry_is_disabled(c->registry, live));
    result_text(r, config_target_session_attrs_name(d->target_session_attrs));
    result_int(r, config_reserve_pool_size(config, d, NULL));
    show_reach(c, r, live);
    result_row_end(r);
}

void show_databases(struct console *c, struct result *r)
{
    size_t n = 0;
    struct entry *entries = list_databases(c, &n);

    if (entries == NULL)
        r->out->failed = true;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].config == NULL && entries[i].live == NULL)
            show_own_database(c, r);
        else
            show_database(c, r, &entries[i]);
    }
    free(entries);
}

/* ---- USERS ---- */

/* PgBouncer prints these two with leading blanks, and unset ones empty. */
static void text_size(struct result *r, int value)
{
    char text[16] = "";

    if (value >= 0)
        snprintf(text, sizeof(text), "%9d", value);
    result_text(r, text);
}

void show_users(struct console *c, struct result *r)
{
    const struct config *config = console_config(c);
    size_t n = 0;
    struct entry *entries = list_users(c, &n);

    if (entries == NULL)
        r->out->failed = true;
    for (size_t i = 0; i < n; i++) {
        const struct user_config *u = entries[i].config;
        struct pool_user *live = entries[i].live;

        result_row(r);
        result_text(r, entries[i].name);
        text_size(r, u != NULL ? u->pool_size : -1);
        text_size(r, u != NULL ? u->reserve_pool_size : -1);
        result_text(r, u != NULL && u->pool_mode != POOL_MODE_INHERIT ? config_pool_mode_name(u->pool_mode)
                                                                      : NULL);
        result_int(r, config_max_user_connections(config, u));
        result_int(r, live != NULL ? atomic_load_explicit(&live->limits.count, memory_order_relaxed) : 0);
        result_int(r, config_max_user_client_connections(config, u));
        result_int(r, live != NULL ? atomic_load_explicit(&live->clients, memory_order_relaxed) : 0);
        result_row_end(r);
    }
    free(entries);
}
