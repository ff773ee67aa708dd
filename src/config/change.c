/*
 * change.c - new snapshots from old ones: reload, SET; and what differs.
 *
 * Threads: the control thread makes snapshots; comparing is for any.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/credential.h"
#include "base/mem.h"
#include "base/str.h"
#include "config/changes.h"
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
        new->wanted[i] = xstrdup(buf_cstr(&new_text));
        settings_copy_field(&new->settings, &old->settings, o);
        snapshot_set_source(new, i, config_source_text(old, i));
    }
    buf_free(&old_text);
    buf_free(&new_text);
}

struct config *config_reload(const struct config *old, const struct config_args *args,
                             const struct config_fixed_check *check, struct config_problems *problems)
{
    size_t errors_before = problems->errors;
    struct config_args now = *args;
    if (*old->settings.conffile != '\0')
        now.ini_path = old->settings.conffile;
    now.needs_users = true;
    now.unread_users = old->catalog->userlist == NULL ? old->settings.auth_file : NULL;
    struct config *new = config_load(&now, problems);
    if (new != NULL && check != NULL)
        check->cb(check->arg, &new->settings, &old->settings, problems);
    if (problems->errors > errors_before) {
        config_unref(new);
        return NULL;
    }
    if (new != NULL) {
        keep_fixed_settings(new, old, problems);
        snapshot_finish(new);
    }
    return new;
}

struct config *config_with_userlist(const struct config *old, struct config_problems *problems)
{
    size_t errors_before = problems->errors;
    struct config *new = snapshot_copy(old);
    new->catalog = catalog_without_userlist(old->catalog);
    catalog_unref(old->catalog); /* the reference that the copy has had */
    users_load(new->catalog, new->settings.auth_file, PROBLEM_ERROR, problems);
    snapshot_finish(new);
    if (problems->errors == errors_before)
        return new;
    config_unref(new);
    return NULL;
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
    else if (option_is_refused(o, &new->settings)) {
        is_fine = false;
        option_refusal(o, value, &why);
        config_problems_add(problems, PROBLEM_ERROR, NULL, 0, "%s", buf_cstr(&why));
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
    size_t errors_before = problems->errors;
    if (str_has_prefix(o->name, "auth_"))
        rules_load(new, problems);
    if (problems->errors == errors_before)
        return new;
    config_unref(new);
    return NULL;
}

/* ---- differences ---- */

static void diff_settings(const struct config *old, const struct config *new, config_change_cb cb, void *arg)
{
    struct buf old_text, new_text;
    buf_init(&old_text, 0);
    buf_init(&new_text, 0);
    for (size_t i = 0; i < option_count_all(); i++) {
        const struct config_option *o = option_at(i);
        bool is_kept = new->wanted[i] != NULL;
        if (!setting_differs(o, old, new, &old_text, &new_text) && !is_kept)
            continue;
        option_mask(o, &old_text);
        option_mask(o, &new_text);
        struct config_change change = {
            .kind = CHANGE_SETTING,
            .name = o->name,
            .old_text = buf_cstr(&old_text),
            .new_text = is_kept ? new->wanted[i] : buf_cstr(&new_text),
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
           a->load_balance_hosts != b->load_balance_hosts || !same_text(a->password, b->password) ||
           a->target_session_attrs != b->target_session_attrs || a->sslmode != b->sslmode ||
           a->sslnegotiation != b->sslnegotiation || a->channel_binding != b->channel_binding ||
           !same_text(a->sslrootcert, b->sslrootcert) || !same_text(a->sslcert, b->sslcert) ||
           !same_text(a->sslkey, b->sslkey) || !same_text(a->options, b->options);
}

/* Do they log in to the server alike? */
static bool same_startup(const struct database_config *a, const struct database_config *b)
{
    return same_text(a->client_encoding, b->client_encoding) && same_text(a->datestyle, b->datestyle) &&
           same_text(a->timezone, b->timezone) && same_text(a->application_name, b->application_name);
}

static bool same_database(const struct database_config *a, const struct database_config *b)
{
    return !is_dirty(a, b) && same_startup(a, b) && same_text(a->auth_user, b->auth_user) &&
           a->pool_size == b->pool_size && a->min_pool_size == b->min_pool_size &&
           a->reserve_pool_size == b->reserve_pool_size && a->max_db_connections == b->max_db_connections &&
           a->max_db_client_connections == b->max_db_client_connections &&
           a->query_wait_timeout_us == b->query_wait_timeout_us &&
           a->server_lifetime_us == b->server_lifetime_us && a->pool_mode == b->pool_mode &&
           a->session_state == b->session_state;
}

static bool same_older(const struct user_config *a, const struct user_config *b)
{
    bool is_same = a->n_older == b->n_older;
    for (uint32_t i = 0; is_same && i < a->n_older; i++)
        is_same = users_same_credential(&a->older[i], &b->older[i]);
    return is_same;
}

static bool same_user(const struct user_config *a, const struct user_config *b)
{
    return same_older(a, b) && a->passwords == b->passwords &&
           users_same_credential(a->credential, b->credential) && a->pool_mode == b->pool_mode &&
           a->session_state == b->session_state && a->pool_size == b->pool_size &&
           a->reserve_pool_size == b->reserve_pool_size &&
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
    struct buf old_text, new_text;
    buf_init(&old_text, 0);
    buf_init(&new_text, 0);
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
            change.is_for_new = !same_startup(a, b);
        } else {
            change.kind = order < 0 ? CHANGE_DATABASE_REMOVED : CHANGE_DATABASE_ADDED;
            change.is_dirty = order < 0;
        }
        buf_clear(&old_text);
        buf_clear(&new_text);
        if (order <= 0)
            section_database_text(a, order == 0 ? b : NULL, &old_text);
        if (order >= 0)
            section_database_text(b, order == 0 ? a : NULL, &new_text);
        change.old_text = order <= 0 ? buf_cstr(&old_text) : NULL;
        change.new_text = order >= 0 ? buf_cstr(&new_text) : NULL;
        cb(&change, arg);
    }
    buf_free(&old_text);
    buf_free(&new_text);
}

static void diff_users(const struct catalog *old, const struct catalog *new, config_change_cb cb, void *arg)
{
    size_t i = 0, j = 0;
    struct buf old_text, new_text;
    buf_init(&old_text, 0);
    buf_init(&new_text, 0);
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
        buf_clear(&old_text);
        buf_clear(&new_text);
        if (order <= 0)
            section_user_text(a, order == 0 ? b : NULL, &old_text);
        if (order >= 0)
            section_user_text(b, order == 0 ? a : NULL, &new_text);
        change.old_text = order <= 0 ? buf_cstr(&old_text) : NULL;
        change.new_text = order >= 0 ? buf_cstr(&new_text) : NULL;
        cb(&change, arg);
    }
    buf_free(&old_text);
    buf_free(&new_text);
}

static void diff_peers(const struct catalog *old, const struct catalog *new, config_change_cb cb, void *arg)
{
    size_t i = 0, j = 0;
    struct buf old_text, new_text;
    buf_init(&old_text, 0);
    buf_init(&new_text, 0);
    while (i < old->peer_count || j < new->peer_count) {
        const struct peer_config *a = i < old->peer_count ? &old->peers[i] : NULL;
        const struct peer_config *b = j < new->peer_count ? &new->peers[j] : NULL;
        int order = a == NULL ? 1 : b == NULL ? -1 : a->id - b->id;
        const char *key = order <= 0 ? a->key : b->key;
        struct config_change change = {.name = key + strspn(key, "0")};
        i += order <= 0;
        j += order >= 0;
        if (order == 0 && same_text(a->host, b->host) && a->port == b->port && a->pool_size == b->pool_size)
            continue;
        change.kind = order < 0 ? CHANGE_PEER_REMOVED : order > 0 ? CHANGE_PEER_ADDED : CHANGE_PEER_CHANGED;
        buf_clear(&old_text);
        buf_clear(&new_text);
        if (order <= 0)
            section_peer_text(a, order == 0 ? b : NULL, &old_text);
        if (order >= 0)
            section_peer_text(b, order == 0 ? a : NULL, &new_text);
        change.old_text = order <= 0 ? buf_cstr(&old_text) : NULL;
        change.new_text = order >= 0 ? buf_cstr(&new_text) : NULL;
        cb(&change, arg);
    }
    buf_free(&old_text);
    buf_free(&new_text);
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

/* ---- texts ---- */

const char *config_change_kind_text(enum config_change_kind kind)
{
    switch (kind) {
    case CHANGE_SETTING: return "setting";
    case CHANGE_DATABASE_ADDED:
    case CHANGE_DATABASE_CHANGED:
    case CHANGE_DATABASE_REMOVED: return "database";
    case CHANGE_USER_ADDED:
    case CHANGE_USER_CHANGED:
    case CHANGE_USER_REMOVED: return "user";
    case CHANGE_PEER_ADDED:
    case CHANGE_PEER_CHANGED:
    case CHANGE_PEER_REMOVED: return "peer";
    }
    return "";
}

/* Connections that are open keep what they were opened with: clients their names, their keys for cancel
 * requests and when they get a server, consoles what they may do. */
static bool is_of_connections(const struct config_change *ch)
{
    static const char *const names[] = {"application_name_add_host", "peer_id", "session_link", "admin_users",
                                        "stats_users"};
    static const char *const prefixes[] = {"client_tls", "server_tls", "tcp_"};

    for (size_t i = 0; ch->kind == CHANGE_SETTING && i < ARRAY_SIZE(prefixes); i++)
        if (str_has_prefix(ch->name, prefixes[i]))
            return true;
    for (size_t i = 0; ch->kind == CHANGE_SETTING && i < ARRAY_SIZE(names); i++)
        if (strcmp(ch->name, names[i]) == 0)
            return true;
    return ch->kind == CHANGE_DATABASE_CHANGED && (ch->is_dirty || ch->is_for_new);
}

const char *config_change_effect(const struct config_change *ch)
{
    if (ch->needs_restart)
        return "needs restart";
    return is_of_connections(ch) ? "as connections turn over" : "applied";
}
