/*
 * reload.c - RELOAD, SIGHUP and SET: new settings, published to all.
 *
 * Everything is read and checked first; a bad file changes nothing. Then the new snapshot is in
 * force here, goes to the workers by mail, and the ledgers get their new limits.
 *
 * Threads: the control thread.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "main_int.h"

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

/* What has changed, as far as running connections must be told. */
struct changes {
    struct control *ctl;
    const struct config *cfg; /* the new one */
    int n;
};

static void each_pool_of(struct control *ctl, const char *database,
                         void (*f)(struct control *, struct pool *, const struct config *),
                         const struct config *cfg)
{
    struct registry *r = ctl->in.registry;
    for (int i = 0; i < registry_count(r); i++) {
        struct pool *pool = registry_pool(r, i);
        if (strcmp(pool->database->name, database) == 0)
            f(ctl, pool, cfg);
    }
}

static void turn_over(struct control *ctl, struct pool *pool, const struct config *cfg)
{
    session_configure_pool(&ctl->in, NULL, cfg, pool, true);
}

static void on_change(const struct config_change *ch, void *arg)
{
    struct changes *c = arg;

    c->n++;
    switch (ch->kind) {
    case CHANGE_SETTING:
        if (!ch->needs_restart)
            log_info("%s: %s -> %s", ch->name, ch->old_text, ch->new_text);
        return;
    case CHANGE_DATABASE_CHANGED:
        if (ch->is_dirty) {
            log_info("database %s: connection data changed, servers will be replaced", ch->name);
            each_pool_of(c->ctl, ch->name, turn_over, c->cfg);
        }
        return;
    default: return;
    }
}

/* Databases that are gone: their clients are told, their servers close. */
static void drop_removed(struct control *ctl, const struct config *cfg)
{
    struct registry *r = ctl->in.registry;
    for (int i = 0; i < registry_count(r); i++) {
        struct pool *pool = registry_pool(r, i);
        struct pool_acts acts;
        bool exists = config_find_database(cfg, pool->database->name) != NULL;
        if (exists) {
            session_configure_pool(&ctl->in, NULL, cfg, pool, false);
            continue;
        }
        log_info("database %s removed: closing its connections", pool->database->name);
        control_order(ctl, ORDER_CLOSE_POOL, pool, CLOSE_DATABASE_REMOVED);
        pool_recycle(pool, CLOSE_DATABASE_REMOVED, clock_now_us(), &acts);
        instance_perform(&ctl->in, pool, &acts);
    }
}

static void publish(struct control *ctl, struct session_config *next)
{
    struct session_config *old = ctl->config;
    struct changes ch = {.ctl = ctl, .cfg = next->config};

    ctl->config = next;
    for (int i = 0; i < ctl->in.n_workers; i++) {
        struct mail_config *m = xcalloc(1, sizeof(*m));
        m->mail.type = MAIL_CONFIG;
        m->config = session_config_ref(next);
        loop_post(&ctl->in.shards[i]->loop, &m->mail);
    }
    config_diff(old->config, next->config, on_change, &ch);
    drop_removed(ctl, next->config);
    session_config_unref(old);
    control_make_forced_pools(ctl);
}

/* Takes over cfg. */
static bool adopt(struct control *ctl, const struct config *cfg, struct buf *error)
{
    struct tls_context *tls;

    if (!tls_setup(config_settings(cfg), &tls, error)) {
        log_error("%s", buf_cstr(error));
        config_unref(cfg);
        return false;
    }
    publish(ctl, session_config_new(cfg, tls));
    return true;
}

bool control_reload(struct control *ctl, struct buf *error)
{
    struct config_problems problems;
    const struct config *cfg;
    bool ok = false;

    process_notify("RELOADING=1");
    config_problems_init(&problems);
    cfg = config_reload(ctl->config->config, &ctl->args->config, &problems);
    log_problems(&problems, error);
    config_problems_free(&problems);
    if (cfg != NULL)
        ok = adopt(ctl, cfg, error);
    /* also when the path has not changed: the file may have been rotated */
    if (ok && !process_open_log(control_settings(ctl), ctl->args))
        log_error("could not re-open the log file");
    if (!ok)
        log_error("reload failed: the settings in force stay");
    process_notify("READY=1");
    return ok;
}

bool control_set(struct control *ctl, const char *key, const char *value, struct buf *error)
{
    struct config_problems problems;
    const struct config *cfg;

    config_problems_init(&problems);
    cfg = config_with_setting(ctl->config->config, key, value, &problems);
    log_problems(&problems, error);
    config_problems_free(&problems);
    if (cfg == NULL || !adopt(ctl, cfg, error))
        return false;
    if (!process_open_log(control_settings(ctl), ctl->args))
        log_error("could not re-open the log file");
    return true;
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
            session_configure_pool(&ctl->in, NULL, cfg, pool, false);
    }
}
