/*
 * reload.c - RELOAD, SIGHUP and SET: new settings, published to all.
 *
 * Everything is read and checked first; a bad file changes nothing. Then the new snapshot is in
 * force here, goes to the workers by mail, and the ledgers get their new limits.
 *
 * Threads: the control thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "main_int.h"
#include "session/failures.h"
#include "session/lookup.h"

#define MAX_LOGGED 100 /* changes of one reload: a userlist may be new from end to end */

static void log_problems(const struct config_problems *p, struct buf *error)
{
    for (size_t i = 0; i < p->count; i++) {
        struct buf b;
        if (p->items[i].severity == PROBLEM_NOTE)
            continue;
        buf_init(&b, 0);
        config_problem_print(&p->items[i], &b);
        if (p->items[i].severity == PROBLEM_ERROR) {
            log_error("%s", buf_cstr(&b));
            if (error->len > 0)
                buf_append_byte(error, '\n');
            buf_append_str(error, buf_cstr(&b));
        } else {
            log_warning("%s", buf_cstr(&b));
        }
        buf_free(&b);
    }
}

/* ---- telling the ledgers ---- */

static bool is_listed_dirty(const struct control *ctl, const char *name)
{
    for (size_t i = 0; i < ctl->n_dirty; i++)
        if (strcmp(ctl->dirty[i], name) == 0)
            return true;
    return false;
}

/* Its own line has changed, or come, or gone; or it lives by the * line, and that has changed. */
static bool is_dirty(const struct control *ctl, const char *database)
{
    const struct database_config *db = config_find_database(ctl->config->config, database);
    return is_listed_dirty(ctl, database) || (db != NULL && db->is_fallback && is_listed_dirty(ctl, "*"));
}

static void remove_pool(struct control *ctl, struct pool *pool)
{
    struct pool_acts acts;

    log_info("database %s removed: closing its connections", pool->database->name);
    (void)control_order(
        ctl, &(struct mail_order){.kind = ORDER_CLOSE_POOL, .pool = pool, .why = CLOSE_DATABASE_REMOVED},
        false);
    pool_set_removed(pool, true, clock_now_us(), &acts);
    instance_perform(&ctl->in, pool, &acts);
    registry_retire(ctl->in.registry, pool);
    registry_retire_database(ctl->in.registry, pool->database);
}

static void apply_to_pool(struct control *ctl, struct pool *pool)
{
    const struct config *cfg = ctl->config->config;
    struct pool_acts acts;
    bool is_retired = atomic_load(&pool->is_retired);

    if (config_find_database(cfg, pool->database->name) == NULL) {
        if (!is_retired)
            remove_pool(ctl, pool);
        return;
    }
    session_configure_pool(&ctl->in, NULL, cfg, pool);
    if (!is_dirty(ctl, pool->database->name))
        return;
    pool_recycle(pool, CLOSE_CONFIG_CHANGED, clock_now_us(), &acts);
    instance_perform(&ctl->in, pool, &acts);
}

/* One of that name that comes later begins anew: neither paused nor disabled. */
static void forget_marks(struct control *ctl, struct pool_database *database)
{
    if (config_find_database(ctl->config->config, database->name) != NULL)
        return;
    (void)control_resume(ctl, database);
    registry_set_disabled(ctl->in.registry, database, false);
}

/*
 * Done when new settings are published, so that they count at once, and again when every worker
 * has taken them up: until then one may still open a server or a pool by the old ones.
 */
static void apply_to_ledgers(struct control *ctl)
{
    for (int i = 0; i < registry_count(ctl->in.registry); i++)
        apply_to_pool(ctl, registry_pool(ctl->in.registry, i));
    for (int i = 0; i < registry_database_count(ctl->in.registry); i++)
        forget_marks(ctl, registry_database(ctl->in.registry, i));
}

void control_config_taken(struct control *ctl)
{
    if (--ctl->configs_under_way > 0)
        return;
    apply_to_ledgers(ctl);
    lookups_forget(ctl->in.lookups);
    for (size_t i = 0; i < ctl->n_dirty; i++)
        free(ctl->dirty[i]);
    ctl->n_dirty = 0;
    if (ctl->is_reloading)
        systemd_notify("READY=1");
    ctl->is_reloading = false;
    if (ctl->console != NULL)
        console_tick(ctl->console, clock_now_us());
}

/* Settings on their way into force. */
struct publication {
    struct control *ctl;
    struct config_changes *changes;
};

static void add_dirty(struct control *ctl, const char *database)
{
    ctl->dirty = xrealloc(ctl->dirty, (ctl->n_dirty + 1) * sizeof(*ctl->dirty));
    ctl->dirty[ctl->n_dirty++] = xstrdup(database);
}

static void on_change(const struct config_change *ch, void *arg)
{
    struct publication *p = arg;
    struct control *ctl = p->ctl;

    config_changes_add(p->changes, ch);
    /* where a line comes or goes there may be pools that lived by the * line, or do from now on */
    if (ch->kind == CHANGE_DATABASE_ADDED || ch->kind == CHANGE_DATABASE_REMOVED ||
        (ch->kind == CHANGE_DATABASE_CHANGED && ch->is_dirty))
        add_dirty(ctl, ch->name);
}

/* Databases whose servers are to be spoken to in another way: by another setting, or with another certificate
 * in the same file. */
static void find_tls_changes(struct control *ctl, const struct session_config *old)
{
    for (size_t i = 0; i < config_database_count(old->config); i++) {
        const struct database_config *was = config_database_at(old->config, i);
        const struct database_config *is = config_find_database_exact(ctl->config->config, was->name);
        const struct server_tls *a = session_config_server_tls(old, was);
        const struct server_tls *b = is != NULL ? session_config_server_tls(ctl->config, is) : a;
        if (a->sslmode != b->sslmode || a->is_direct != b->is_direct || a->context != b->context ||
            a->channel_binding != b->channel_binding)
            add_dirty(ctl, was->name);
    }
}

static void log_changes(const struct config_changes *changes)
{
    struct buf line;

    buf_init(&line, 0);
    for (size_t i = 0; i < changes->count && i < MAX_LOGGED; i++) {
        buf_clear(&line);
        config_change_row_print(&changes->rows[i], &line);
        log_info("%s", buf_cstr(&line));
    }
    if (changes->count > MAX_LOGGED)
        log_info("... and %zu more changes", changes->count - MAX_LOGGED);
    buf_free(&line);
}

/* changes: filled. */
static void publish(struct control *ctl, struct session_config *next, struct config_changes *changes)
{
    struct session_config *old = ctl->config;
    struct publication p = {.ctl = ctl, .changes = changes};

    lookups_forget(ctl->in.lookups);
    failures_forget(ctl->in.failures);

    ctl->config = next;
    for (int i = 0; i < ctl->in.n_workers; i++) {
        struct mail_config *m = xcalloc(1, sizeof(*m));
        m->mail.type = MAIL_CONFIG;
        m->config = session_config_ref(next);
        ctl->configs_under_way++;
        loop_post(&ctl->in.shards[i]->loop, &m->mail);
    }
    config_diff(old->config, next->config, on_change, &p);
    find_tls_changes(ctl, old);
    log_changes(changes);
    if (config_settings(old->config)->tcp_defer_accept != config_settings(next->config)->tcp_defer_accept)
        listeners_defer_accept(ctl->listeners, config_settings(next->config)->tcp_defer_accept != 0);
    apply_to_ledgers(ctl);
    session_config_unref(old);
    control_make_forced_pools(ctl);
}

/* What an adoption looks at anew beside the settings. */
enum { NEW_TLS = 1, NEW_LOG = 2 };

static bool open_log(const struct control *ctl, const struct settings *s, struct buf *error)
{
    if (log_can_open(s->logfile) && process_open_log(s, ctl->args))
        return true;
    buf_printf(error, "could not open log file \"%s\": %s", s->logfile, strerror(errno));
    return false;
}

/* Takes over cfg. what: certificates, the log's file. Whatever can fail comes first. */
static bool adopt(struct control *ctl, const struct config *cfg, unsigned what,
                  struct config_changes *changes, struct buf *error)
{
    struct session_tls tls = {0};
    bool ok = true;

    if ((what & NEW_TLS) == 0)
        tls = session_tls_ref(&ctl->config->tls);
    else
        ok = tls_setup(cfg, &ctl->config->tls, &tls, error);
    if (ok && (what & NEW_LOG) != 0 && !open_log(ctl, config_settings(cfg), error)) {
        session_tls_unref(&tls);
        ok = false;
    }
    if (!ok) {
        log_error("%s", buf_cstr(error));
        config_unref(cfg);
        return false;
    }
    publish(ctl, session_config_new(cfg, &tls, ctl->in.scram_process_secret, ctl->config), changes);
    return true;
}

bool control_reload(struct control *ctl, struct config_changes *changes, struct buf *error)
{
    const struct config_fixed_check check = {.cb = control_check_fixed, .arg = ctl};
    struct config_problems problems;
    const struct config *cfg;
    bool ok = false;

    systemd_notify_reloading();
    config_problems_init(&problems);
    cfg = config_reload(ctl->config->config, &ctl->args->config, &check, &problems);
    log_problems(&problems, error);
    config_problems_free(&problems);
    if (cfg != NULL)
        ok = adopt(ctl, cfg, NEW_TLS | NEW_LOG, changes, error); /* the file may have been rotated */
    if (ok)
        dial_names_reload();
    if (!ok)
        log_error("reload failed: the settings in force stay");
    if (ctl->configs_under_way == 0)
        systemd_notify("READY=1");
    else
        ctl->is_reloading = true; /* ready when all workers have taken them up */
    return ok;
}

bool control_reload_userlist(struct control *ctl)
{
    struct config_problems problems;
    struct config_changes changes;
    struct buf error;
    struct session_tls tls;
    const struct config *cfg;

    config_problems_init(&problems);
    buf_init(&error, 0);
    cfg = config_with_userlist(ctl->config->config, &problems);
    log_problems(&problems, &error);
    config_problems_free(&problems);
    buf_free(&error);
    if (cfg == NULL)
        return false;
    config_changes_init(&changes);
    tls = session_tls_ref(&ctl->config->tls);
    publish(ctl, session_config_new(cfg, &tls, ctl->in.scram_process_secret, ctl->config), &changes);
    config_changes_free(&changes);
    return true;
}

static unsigned what_is_new(const char *key)
{
    bool is_of_log = strcasecmp(key, "logfile") == 0 || strcasecmp(key, "verbose") == 0 ||
                     strncasecmp(key, "syslog", strlen("syslog")) == 0;

    return (strcasestr(key, "_tls") != NULL ? NEW_TLS : 0u) | (is_of_log ? NEW_LOG : 0u);
}

bool control_set(struct control *ctl, const char *key, const char *value, struct buf *error)
{
    struct config_problems problems;
    struct config_changes changes;
    const struct config *cfg;
    bool ok;

    config_problems_init(&problems);
    cfg = config_with_setting(ctl->config->config, key, value, &problems);
    log_problems(&problems, error);
    config_problems_free(&problems);
    config_changes_init(&changes);
    ok = cfg != NULL && adopt(ctl, cfg, what_is_new(key), &changes, error);
    config_changes_free(&changes);
    return ok;
}

void control_make_forced_pools(struct control *ctl)
{
    const struct config *cfg = ctl->config->config;

    for (size_t i = 0; i < config_database_count(cfg); i++) {
        const struct database_config *db = config_database_at(cfg, i);
        bool is_new = false;
        if (db->is_fallback || db->user == NULL || config_min_pool_size(cfg, db) <= 0)
            continue;
        struct pool *pool = registry_get_pool(ctl->in.registry, db->name, db->user, &is_new);
        if (pool != NULL && is_new)
            session_configure_pool(&ctl->in, NULL, cfg, pool);
    }
}
