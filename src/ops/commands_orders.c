/*
 * commands_orders.c - commands that change what the pooler does: RELOAD, PAUSE, KILL, SHUTDOWN, ...
 *
 * What they do to the whole is main/'s business, by hooks; here is what they may be told, and
 * whether they have to wait (console_wait.c goes on then).
 *
 * Threads: the control thread only.
 */
#include <string.h>

#include "base/str.h"
#include "ops_int.h"
#include "wire/codec.h"

static struct console_hooks *hooks_of(struct session *s)
{
    return &s->console->hooks;
}

/* The database that st names; false (and *outcome) when there is none or it is the console's own. */
static bool find_database(struct session *s, const struct statement *st, struct pool_database **db,
                          enum command_outcome *outcome)
{
    struct registry *registry = s->console->registry;

    *db = NULL;
    if (st->name[0] == '\0')
        return true;
    if (strcmp(st->name, "pgbouncer") == 0 || strcmp(st->name, "pgsluice") == 0) {
        *outcome = command_failed_name(s, "42809", "cannot do that to the admin database: %s", st->name);
        return false;
    }
    for (int i = 0; i < registry_database_count(registry) && *db == NULL; i++) {
        struct pool_database *d = registry_database(registry, i);

        if (strcmp(d->name, st->name) == 0 && !atomic_load_explicit(&d->is_retired, memory_order_relaxed))
            *db = d;
    }
    if (*db != NULL)
        return true;
    if (config_find_database(console_config(s->console), st->name) == NULL) {
        *outcome = command_failed_name(s, "3D000", "no such database: %s", st->name);
        return false;
    }
    *db = registry_get_database(registry, st->name);
    if (*db == NULL)
        *outcome = command_failed(s, "53200", "out of memory", NULL);
    return *db != NULL;
}

enum command_outcome run_on_database(struct session *s, const struct statement *st, struct result *r)
{
    enum command_outcome outcome;
    struct pool_database *db;

    (void)r;
    if (!find_database(s, st, &db, &outcome))
        return outcome;
    return st->command->order(s, db);
}

static enum command_outcome wait_for(struct session *s, enum session_wait wait, struct pool_database *db)
{
    s->wait = wait;
    s->waits_for = db;
    return COMMAND_WAITS;
}

/* ---- settings ---- */

enum command_outcome wait_for_settings(struct session *s)
{
    struct console_hooks *hooks = hooks_of(s);

    return hooks->is_in_force(hooks->arg) ? COMMAND_DONE : wait_for(s, WAIT_SETTINGS, NULL);
}

const struct column reload_columns[] = {
    {"kind", 's'}, {"name", 's'}, {"old", 's'}, {"new", 's'}, {"effect", 's'},
};
const uint16_t n_reload_columns = ARRAY_SIZE(reload_columns);

/* What is different now; nothing when nothing is. */
static void put_changes(struct result *r, const struct config_changes *changes)
{
    result_begin(r);
    for (size_t i = 0; i < changes->count; i++) {
        const struct config_change_row *row = &changes->rows[i];

        result_row(r);
        result_text(r, config_change_kind_text(row->kind));
        result_text(r, row->name);
        result_text(r, row->old_text);
        result_text(r, row->new_text);
        result_text(r, row->effect);
        result_row_end(r);
    }
}

enum command_outcome run_reload(struct session *s, const struct statement *st, struct result *r)
{
    enum command_outcome outcome;
    struct config_changes changes;
    struct buf error;

    (void)st;
    buf_init(&error, 0);
    config_changes_init(&changes);
    if (hooks_of(s)->reload(hooks_of(s)->arg, &changes, &error)) {
        put_changes(r, &changes);
        command_done(s, "RELOAD");
        outcome = wait_for_settings(s);
    } else {
        outcome =
            command_failed(s, "F0000", "RELOAD failed, see logs for additional details", buf_cstr(&error));
    }
    config_changes_free(&changes);
    buf_free(&error);
    return outcome;
}

/* ---- databases ---- */

enum command_outcome order_pause(struct session *s, struct pool_database *db)
{
    struct console_hooks *hooks = hooks_of(s);
    struct registry *registry = s->console->registry;

    if (db == NULL && registry_is_paused(registry, NULL))
        return command_failed(s, "55000", "already suspended/paused", NULL);
    s->undoes_pause = db == NULL || !registry_database_is_paused(registry, db);
    hooks->pause(hooks->arg, db);
    command_done(s, "PAUSE");
    return hooks->is_paused_done(hooks->arg, db) ? COMMAND_DONE : wait_for(s, WAIT_PAUSE, db);
}

/* PgBouncer's SUSPEND freezes it for a new process that takes over its sockets. There is none here; what else
 * it is used for, that nothing goes on until RESUME, PAUSE does as well. */
enum command_outcome run_suspend(struct session *s, const struct statement *st, struct result *r)
{
    enum command_outcome outcome = order_pause(s, NULL);

    (void)st;
    if (outcome == COMMAND_FAILED)
        return outcome;
    wire_put_notice(r->out, "NOTICE", "00000",
                    "SUSPEND is PAUSE here: it waits for transactions to end and closes server connections",
                    NULL, NULL);
    command_done(s, "SUSPEND");
    return outcome;
}

enum command_outcome order_resume(struct session *s, struct pool_database *db)
{
    struct console_hooks *hooks = hooks_of(s);

    if (hooks->resume(hooks->arg, db))
        return command_done(s, "RESUME");
    if (db != NULL)
        return command_failed_name(s, "55000", "database %s is not paused", db->name);
    return command_failed(s, "55000", "pooler is not paused/suspended", NULL);
}

static enum command_outcome set_disabled(struct session *s, struct pool_database *db, bool is_disabled,
                                         const char *tag)
{
    if (db == NULL)
        return command_failed(s, "42601", "a database is required", NULL);
    registry_set_disabled(s->console->registry, db, is_disabled);
    return command_done(s, tag);
}

enum command_outcome order_disable(struct session *s, struct pool_database *db)
{
    return set_disabled(s, db, true, "DISABLE");
}

enum command_outcome order_enable(struct session *s, struct pool_database *db)
{
    return set_disabled(s, db, false, "ENABLE");
}

enum command_outcome order_reconnect(struct session *s, struct pool_database *db)
{
    struct console_hooks *hooks = hooks_of(s);

    hooks->reconnect(hooks->arg, db);
    return command_done(s, "RECONNECT");
}

enum command_outcome order_wait_close(struct session *s, struct pool_database *db)
{
    struct console_hooks *hooks = hooks_of(s);

    command_done(s, "WAIT_CLOSE");
    return hooks->is_close_done(hooks->arg, db) ? COMMAND_DONE : wait_for(s, WAIT_CLOSE, db);
}

/* Unlike in PgBouncer also while all is paused: it is then that one client may be in the way. */
enum command_outcome order_kill(struct session *s, struct pool_database *db)
{
    struct console_hooks *hooks = hooks_of(s);

    console_keep_pause(s->console, db);
    s->order = hooks->kill(hooks->arg, db);
    command_done(s, "KILL");
    return wait_for(s, WAIT_KILL, db);
}

enum command_outcome run_kill_client(struct session *s, const struct statement *st, struct result *r)
{
    struct console_hooks *hooks = hooks_of(s);
    int64_t id;

    (void)r;
    if (!str_to_int64(st->name, &id) || id <= 0)
        return command_failed_name(s, "22P02", "invalid client id: \"%s\"", st->name);
    s->order = hooks->kill_client(hooks->arg, (uint64_t)id);
    command_done(s, "KILL_CLIENT");
    return wait_for(s, WAIT_KILL_CLIENT, NULL);
}

/* ---- the whole ---- */

enum command_outcome run_shutdown(struct session *s, const struct statement *st, struct result *r)
{
    int mode = atomic_load_explicit(&hooks_of(s)->instance->shutdown_mode, memory_order_relaxed);

    (void)r;
    if (mode >= (int)st->mode)
        return command_failed(s, "57P03", "already shutting down", NULL);
    s->shutdown = st->mode;
    return command_done(s, "SHUTDOWN");
}
