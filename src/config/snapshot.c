/*
 * snapshot.c - the immutable configuration: references, lookups, values in effect.
 *
 * Threads: any may read and take or drop references; only the control thread
 * makes snapshots, and never changes one that it has handed out.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "config/login_rules.h"
#include "config_int.h"

struct config *snapshot_new(void)
{
    struct config *c = xcalloc(1, sizeof *c);
    atomic_init(&c->refcount, 1);
    settings_init_defaults(&c->settings);
    c->sources = xcalloc(option_count_all(), sizeof *c->sources);
    c->wanted = xcalloc(option_count_all(), sizeof *c->wanted);
    c->catalog = catalog_new();
    return c;
}

struct config *snapshot_copy(const struct config *old)
{
    struct config *c = xcalloc(1, sizeof *c);
    atomic_init(&c->refcount, 1);
    settings_copy(&c->settings, &old->settings);
    c->sources = xcalloc(option_count_all(), sizeof *c->sources);
    for (size_t i = 0; i < option_count_all(); i++)
        if (old->sources[i] != NULL)
            c->sources[i] = xstrdup(old->sources[i]);
    c->wanted = xcalloc(option_count_all(), sizeof *c->wanted);
    c->catalog = catalog_ref(old->catalog);
    c->rules = rules_ref(old->rules);
    return c;
}

void snapshot_set_source(struct config *c, size_t option, const char *source)
{
    free(c->sources[option]);
    c->sources[option] = xstrdup(source);
}

static void free_lists(struct config *c)
{
    strlist_free(&c->admin_users);
    strlist_free(&c->stats_users);
    strlist_free(&c->ignored_parameters);
}

void snapshot_finish(struct config *c)
{
    free_lists(c);
    strlist_split(&c->admin_users, c->settings.admin_users);
    strlist_split(&c->stats_users, c->settings.stats_users);
    strlist_split(&c->ignored_parameters, c->settings.ignore_startup_parameters);
}

struct config *config_ref(const struct config *c)
{
    struct config *counted = (struct config *)c;
    atomic_fetch_add_explicit(&counted->refcount, 1, memory_order_relaxed);
    return counted;
}

void config_unref(const struct config *c)
{
    struct config *counted = (struct config *)c;
    if (c == NULL || atomic_fetch_sub_explicit(&counted->refcount, 1, memory_order_acq_rel) != 1)
        return;
    settings_free(&counted->settings);
    for (size_t i = 0; i < option_count_all(); i++) {
        free(counted->sources[i]);
        free(counted->wanted[i]);
    }
    free(counted->sources);
    free(counted->wanted);
    free_lists(counted);
    catalog_unref(counted->catalog);
    rules_unref(counted->rules);
    free(counted);
}

const struct settings *config_settings(const struct config *c)
{
    return &c->settings;
}

/* ---- databases and users ---- */

const struct database_config *config_find_database_exact(const struct config *c, const char *name)
{
    return catalog_find_database(c->catalog, name);
}

const struct database_config *config_find_database(const struct config *c, const char *name)
{
    const struct database_config *db = catalog_find_database(c->catalog, name);
    return db != NULL ? db : catalog_find_database(c->catalog, "*");
}

size_t config_database_count(const struct config *c)
{
    return c->catalog->database_count;
}

const struct database_config *config_database_at(const struct config *c, size_t i)
{
    return &c->catalog->databases[i];
}

size_t config_database_index(const struct config *c, const struct database_config *db)
{
    return (size_t)(db - c->catalog->databases);
}

const struct user_config *config_find_user(const struct config *c, const char *name)
{
    return catalog_find_user(c->catalog, name);
}

size_t config_user_count(const struct config *c)
{
    return c->catalog->user_count;
}

const struct user_config *config_user_at(const struct config *c, size_t i)
{
    return &c->catalog->users[i];
}

size_t config_peer_count(const struct config *c)
{
    return c->catalog->peer_count;
}

const struct peer_config *config_peer_at(const struct config *c, size_t i)
{
    return &c->catalog->peers[i];
}

static const char *set_or(const char *own, const char *otherwise)
{
    return own != NULL && *own != '\0' ? own : otherwise;
}

bool config_lookup(const struct config *c, const char *database, struct config_lookup *out)
{
    const struct settings *s = &c->settings;
    const struct database_config *db = database != NULL ? config_find_database(c, database) : NULL;

    *out = (struct config_lookup){
        .database =
            set_or(db != NULL ? db->auth_dbname : NULL, set_or(s->auth_dbname, db != NULL ? database : "")),
        .user = set_or(db != NULL ? db->auth_user : NULL, s->auth_user),
        .query = set_or(db != NULL ? db->auth_query : NULL, s->auth_query),
    };
    return *out->database != '\0' && *out->user != '\0' && *out->query != '\0' &&
           config_find_database(c, out->database) != NULL;
}

static bool contains(const struct strlist *l, const char *s, int (*compare)(const char *, const char *))
{
    for (size_t i = 0; i < l->count; i++)
        if (compare(l->items[i], s) == 0)
            return true;
    return false;
}

bool config_is_admin(const struct config *c, const char *user)
{
    return contains(&c->admin_users, user, strcmp);
}

bool config_is_stats(const struct config *c, const char *user)
{
    return contains(&c->stats_users, user, strcmp);
}

bool config_ignores_parameter(const struct config *c, const char *name)
{
    return contains(&c->ignored_parameters, name, strcasecmp);
}

/* ---- values in effect ---- */

static int first_set(int a, int b, int otherwise)
{
    return a >= 0 ? a : b >= 0 ? b : otherwise;
}

int config_pool_size(const struct config *c, const struct database_config *db, const struct user_config *user)
{
    return first_set(user != NULL ? user->pool_size : -1, db->pool_size, c->settings.default_pool_size);
}

int config_peer_pool_size(const struct config *c, const struct peer_config *peer)
{
    return first_set(peer->pool_size, -1, c->settings.default_pool_size);
}

int config_min_pool_size(const struct config *c, const struct database_config *db)
{
    return first_set(db->min_pool_size, -1, c->settings.min_pool_size);
}

int config_reserve_pool_size(const struct config *c, const struct database_config *db,
                             const struct user_config *user)
{
    return first_set(user != NULL ? user->reserve_pool_size : -1, db->reserve_pool_size,
                     c->settings.reserve_pool_size);
}

int config_pool_mode(const struct config *c, const struct database_config *db, const struct user_config *user)
{
    return first_set(user != NULL ? user->pool_mode : POOL_MODE_INHERIT,
                     db != NULL ? db->pool_mode : POOL_MODE_INHERIT, c->settings.pool_mode);
}

int config_session_state(const struct config *c, const struct database_config *db,
                         const struct user_config *user)
{
    return first_set(user != NULL ? user->session_state : SESSION_STATE_INHERIT,
                     db != NULL ? db->session_state : SESSION_STATE_INHERIT, c->settings.session_state);
}

int config_max_db_connections(const struct config *c, const struct database_config *db)
{
    return first_set(db->max_db_connections, -1, c->settings.max_db_connections);
}

int config_max_user_connections(const struct config *c, const struct user_config *user)
{
    return first_set(user != NULL ? user->max_user_connections : -1, -1, c->settings.max_user_connections);
}

int config_max_db_client_connections(const struct config *c, const struct database_config *db)
{
    return first_set(db->max_db_client_connections, -1, c->settings.max_db_client_connections);
}

int config_max_user_client_connections(const struct config *c, const struct user_config *user)
{
    return first_set(user != NULL ? user->max_user_client_connections : -1, -1,
                     c->settings.max_user_client_connections);
}

/* Here 0 is no value, but PgBouncer's way of leaving it to the global setting. */
static int64_t first_positive(int64_t a, int64_t otherwise)
{
    return a > 0 ? a : otherwise;
}

static int64_t query_wait_us(const struct config *c, const struct database_config *db,
                             const struct user_config *user)
{
    if (user != NULL && user->query_wait_timeout_us >= 0)
        return user->query_wait_timeout_us;
    return db->query_wait_timeout_us >= 0 ? db->query_wait_timeout_us : c->settings.query_wait_timeout_us;
}

void config_timeouts(const struct config *c, const struct database_config *db, const struct user_config *user,
                     struct config_timeouts *out)
{
    static const struct user_config nobody;
    const struct settings *s = &c->settings;
    const struct user_config *u = user != NULL ? user : &nobody;

    *out = (struct config_timeouts){
        .query_wait_us = query_wait_us(c, db, user),
        .query_us = first_positive(u->query_timeout_us, s->query_timeout_us),
        .transaction_us = first_positive(u->transaction_timeout_us, s->transaction_timeout_us),
        .idle_transaction_us = first_positive(u->idle_transaction_timeout_us, s->idle_transaction_timeout_us),
        .client_idle_us = first_positive(u->client_idle_timeout_us, s->client_idle_timeout_us),
        .pin_idle_us = s->pin_idle_timeout_us,
    };
}

static void take_shorter(int64_t *shortest_us, int64_t timeout_us)
{
    if (timeout_us > 0 && (*shortest_us <= 0 || timeout_us < *shortest_us))
        *shortest_us = timeout_us;
}

void config_shortest_timeouts(const struct config *c, struct config_timeouts *out)
{
    const struct settings *s = &c->settings;

    *out = (struct config_timeouts){
        .query_wait_us = s->query_wait_timeout_us,
        .query_us = s->query_timeout_us,
        .transaction_us = s->transaction_timeout_us,
        .idle_transaction_us = s->idle_transaction_timeout_us,
        .client_idle_us = s->client_idle_timeout_us,
        .pin_idle_us = s->pin_idle_timeout_us,
    };
    for (size_t i = 0; i < config_database_count(c); i++)
        take_shorter(&out->query_wait_us, config_database_at(c, i)->query_wait_timeout_us);
    for (size_t i = 0; i < config_user_count(c); i++) {
        const struct user_config *u = config_user_at(c, i);
        take_shorter(&out->query_wait_us, u->query_wait_timeout_us);
        take_shorter(&out->query_us, u->query_timeout_us);
        take_shorter(&out->transaction_us, u->transaction_timeout_us);
        take_shorter(&out->idle_transaction_us, u->idle_transaction_timeout_us);
        take_shorter(&out->client_idle_us, u->client_idle_timeout_us);
    }
}

int64_t config_server_lifetime_us(const struct config *c, const struct database_config *db)
{
    return db->server_lifetime_us > 0 ? db->server_lifetime_us : c->settings.server_lifetime_us;
}

/* ---- printing ---- */

bool config_value_text(const struct config *c, size_t i, struct buf *out)
{
    const struct config_option *o = option_at(i);
    struct settings *s = (struct settings *)&c->settings;
    if ((o->flags & OPTION_UNSET) && o->type == OPTION_STR && **settings_string(s, o) == '\0')
        return false;
    option_print(o, s, out);
    option_mask(o, out);
    return true;
}

const char *config_source_text(const struct config *c, size_t i)
{
    return c->sources[i] != NULL ? c->sources[i] : "default";
}
