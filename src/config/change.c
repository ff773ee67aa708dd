/*
 * change.c - new snapshots from old ones: reload, SET; and what differs.
 *
 * Threads: the control thread makes snapshots; comparing is for any.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config_int.h"

static bool same_text(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return strcmp(a, b) == 0;
}

/* Prints both values; true when they differ. */
static bool setting_differs(const struct config_option *o, const struct config *old, const struct config *new,
                            struct buf *old_text, struct buf *new_text)
{
    buf_clear(old_text);
    buf_clear(new_text);
    option_print(o, &old->settings, old_text);
    option_print(o, &new->settings, new_text);
    return strcmp(buf_cstr(old_text), buf_cstr(new_text)) != 0;
}

/* Settings that need a restart stay as they are. */
static void keep_fixed_settings(struct config *new, const struct config *old,
                                struct config_problems *problems)
{
    struct buf old_text, new_text;
    buf_init(&old_text, 0);
    buf_init(&new_text, 0);
    for (size_t i = 0; i < option_count_all(); i++) {
        const struct config_option *o = option_at(i);
        if ((o->flags & OPTION_RELOADABLE) || !setting_differs(o, old, new, &old_text, &new_text))
            continue;
        config_problems_add(problems, PROBLEM_WARNING, NULL, 0,
                            "%s: setting %s cannot be changed without a restart: it stays \"%s\"",
                            config_source_text(new, i), o->name, buf_cstr(&old_text));
        settings_copy_field(&new->settings, &old->settings, o);
        snapshot_set_source(new, i, config_source_text(old, i));
    }
    buf_free(&old_text);
    buf_free(&new_text);
}

struct config *config_reload(const struct config *old, const struct config_args *args,
                             struct config_problems *problems)
{
    struct config_args now = *args;
    if (*old->settings.conffile != '\0')
        now.ini_path = old->settings.conffile;
    struct config *new = config_load(&now, problems);
    if (new != NULL) {
        keep_fixed_settings(new, old, problems);
        snapshot_finish(new);
    }
    return new;
}

/* The option, or -1 with a problem when SET may not touch it. */
static int find_changeable(const char *key, struct config_problems *problems)
{
    int option = option_find(key);
    if (option < 0) {
        const char *nearest = option_nearest(key);
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0, "unknown setting %s%s%s%s", key,
                            nearest != NULL ? ": did you mean " : "", nearest != NULL ? nearest : "",
                            nearest != NULL ? "?" : "");
        return -1;
    }
    const struct config_option *o = option_at((size_t)option);
    if (!(o->flags & OPTION_RELOADABLE)) {
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0,
                            "setting %s cannot be changed without a restart", o->name);
        return -1;
    }
    if (o->flags & OPTION_NO_SET) {
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0,
                            "setting %s cannot be changed by SET: change the file and RELOAD", o->name);
        return -1;
    }
    return option;
}

struct config *config_with_setting(const struct config *old, const char *key, const char *value,
                                   struct config_problems *problems)
{
    int option = find_changeable(key, problems);
    if (option < 0)
        return NULL;
    const struct config_option *o = option_at((size_t)option);
    struct config *new = snapshot_copy(old);
    const char *previous = o->type == OPTION_STR ? *settings_string(&new->settings, o) : NULL;
    struct buf why;
    buf_init(&why, 0);
    bool is_fine = option_parse(o, value, &new->settings, &why);
    if (is_fine)
        free((char *)previous);
    if (!is_fine)
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0, "%s: %s", o->name, buf_cstr(&why));
    else if (option_is_later(o, &new->settings)) {
        is_fine = false;
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0,
                            "setting %s%s%s is not supported by this version yet", o->name,
                            o->flags & OPTION_LATER ? "" : " = ", o->flags & OPTION_LATER ? "" : value);
    } else if (o->flags & OPTION_NO_MEANING)
        config_problems_add(problems, PROBLEM_NOTE, NULL, 0, "setting %s has no meaning here and is ignored",
                            o->name);
    buf_free(&why);
    if (!is_fine) {
        config_unref(new);
        return NULL;
    }
    snapshot_set_source(new, (size_t)option, "SET");
    snapshot_finish(new);
    return new;
}

/* ---- differences ---- */

static void diff_settings(const struct config *old, const struct config *new, config_change_cb cb, void *arg)
{
    struct buf old_text, new_text;
    buf_init(&old_text, 0);
    buf_init(&new_text, 0);
    for (size_t i = 0; i < option_count_all(); i++) {
        const struct config_option *o = option_at(i);
        if (!setting_differs(o, old, new, &old_text, &new_text))
            continue;
        struct config_change change = {
            .kind = CHANGE_SETTING,
            .name = o->name,
            .old_text = buf_cstr(&old_text),
            .new_text = buf_cstr(&new_text),
            .needs_restart = !(o->flags & OPTION_RELOADABLE),
        };
        cb(&change, arg);
    }
    buf_free(&old_text);
    buf_free(&new_text);
}

/* Must connections made with the old values go? */
static bool is_dirty(const struct database_config *a, const struct database_config *b)
{
    return !same_text(a->dbname, b->dbname) || !same_text(a->host, b->host) || a->port != b->port ||
           !same_text(a->user, b->user) || !same_text(a->connect_query, b->connect_query) ||
           !same_text(a->auth_dbname, b->auth_dbname) || !same_text(a->auth_query, b->auth_query) ||
           a->load_balance_hosts != b->load_balance_hosts;
}

static bool same_database(const struct database_config *a, const struct database_config *b)
{
    return !is_dirty(a, b) && same_text(a->password, b->password) && same_text(a->auth_user, b->auth_user) &&
           same_text(a->client_encoding, b->client_encoding) && same_text(a->datestyle, b->datestyle) &&
           same_text(a->timezone, b->timezone) && same_text(a->application_name, b->application_name) &&
           a->pool_size == b->pool_size && a->min_pool_size == b->min_pool_size &&
           a->reserve_pool_size == b->reserve_pool_size && a->max_db_connections == b->max_db_connections &&
           a->max_db_client_connections == b->max_db_client_connections &&
           a->query_wait_timeout_us == b->query_wait_timeout_us &&
           a->server_lifetime_us == b->server_lifetime_us && a->pool_mode == b->pool_mode;
}

static bool same_user(const struct user_config *a, const struct user_config *b)
{
    return users_same_credential(a->credential, b->credential) && a->pool_mode == b->pool_mode &&
           a->pool_size == b->pool_size && a->reserve_pool_size == b->reserve_pool_size &&
           a->max_user_connections == b->max_user_connections &&
           a->max_user_client_connections == b->max_user_client_connections &&
           a->query_wait_timeout_us == b->query_wait_timeout_us &&
           a->transaction_timeout_us == b->transaction_timeout_us &&
           a->idle_transaction_timeout_us == b->idle_transaction_timeout_us &&
           a->query_timeout_us == b->query_timeout_us &&
           a->client_idle_timeout_us == b->client_idle_timeout_us;
}

/* Walks two sorted lists side by side. */
static void diff_databases(const struct catalog *old, const struct catalog *new, config_change_cb cb,
                           void *arg)
{
    size_t i = 0, j = 0;
    while (i < old->database_count || j < new->database_count) {
        const struct database_config *a = i < old->database_count ? &old->databases[i] : NULL;
        const struct database_config *b = j < new->database_count ? &new->databases[j] : NULL;
        int order = a == NULL ? 1 : b == NULL ? -1 : strcmp(a->name, b->name);
        struct config_change change = {.name = order <= 0 ? a->name : b->name};
        i += order <= 0;
        j += order >= 0;
        if (order == 0) {
            if (same_database(a, b))
                continue;
            change.kind = CHANGE_DATABASE_CHANGED;
            change.is_dirty = is_dirty(a, b);
        } else {
            change.kind = order < 0 ? CHANGE_DATABASE_REMOVED : CHANGE_DATABASE_ADDED;
            change.is_dirty = order < 0;
        }
        cb(&change, arg);
    }
}

static void diff_users(const struct catalog *old, const struct catalog *new, config_change_cb cb, void *arg)
{
    size_t i = 0, j = 0;
    while (i < old->user_count || j < new->user_count) {
        const struct user_config *a = i < old->user_count ? &old->users[i] : NULL;
        const struct user_config *b = j < new->user_count ? &new->users[j] : NULL;
        int order = a == NULL ? 1 : b == NULL ? -1 : strcmp(a->name, b->name);
        struct config_change change = {.name = order <= 0 ? a->name : b->name};
        i += order <= 0;
        j += order >= 0;
        if (order == 0 && same_user(a, b))
            continue;
        change.kind = order < 0 ? CHANGE_USER_REMOVED : order > 0 ? CHANGE_USER_ADDED : CHANGE_USER_CHANGED;
        cb(&change, arg);
    }
}

static void diff_peers(const struct catalog *old, const struct catalog *new, config_change_cb cb, void *arg)
{
    size_t i = 0, j = 0;
    while (i < old->peer_count || j < new->peer_count) {
        const struct peer_config *a = i < old->peer_count ? &old->peers[i] : NULL;
        const struct peer_config *b = j < new->peer_count ? &new->peers[j] : NULL;
        int order = a == NULL ? 1 : b == NULL ? -1 : a->id - b->id;
        struct config_change change = {.name = order <= 0 ? a->key : b->key};
        i += order <= 0;
        j += order >= 0;
        if (order == 0 && same_text(a->host, b->host) && a->port == b->port && a->pool_size == b->pool_size)
            continue;
        change.kind = order < 0 ? CHANGE_PEER_REMOVED : order > 0 ? CHANGE_PEER_ADDED : CHANGE_PEER_CHANGED;
        cb(&change, arg);
    }
}

void config_diff(const struct config *old, const struct config *new, config_change_cb cb, void *arg)
{
    diff_settings(old, new, cb, arg);
    if (old->catalog == new->catalog)
        return;
    diff_databases(old->catalog, new->catalog, cb, arg);
    diff_users(old->catalog, new->catalog, cb, arg);
    diff_peers(old->catalog, new->catalog, cb, arg);
}
