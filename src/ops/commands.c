/*
 * commands.c - the console's commands: one table row each.
 *
 * Threads: the control thread only.
 * Not here: what SHOW shows (show*.c), what orders do (commands_orders.c).
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "config.h"
#include "ops_int.h"
#include "wire/codec.h"

/* ---- helpers ---- */

enum command_outcome command_done(struct session *s, const char *tag)
{
    str_copy(s->tag, tag, sizeof(s->tag));
    return COMMAND_DONE;
}

enum command_outcome command_failed(struct session *s, const char *sqlstate, const char *message,
                                    const char *detail)
{
    session_error(s, sqlstate, message, detail != NULL && detail[0] != '\0' ? detail : NULL, NULL);
    return COMMAND_FAILED;
}

enum command_outcome command_failed_name(struct session *s, const char *sqlstate, const char *format,
                                         const char *name)
{
    char message[CONSOLE_NAME_BYTES + 64];

    snprintf(message, sizeof(message), format, name);
    return command_failed(s, sqlstate, message, NULL);
}

static struct console_hooks *hooks_of(struct session *s)
{
    return &s->console->hooks;
}

/* ---- SHOW, SELECT ---- */

static enum command_outcome run_fixed(struct session *s, const struct fixed *fixed, struct result *r)
{
    result_begin(r);
    result_row(r);
    result_text(r, fixed->value);
    result_row_end(r);
    return command_done(s, fixed->is_select ? "SELECT 1" : "SHOW");
}

static enum command_outcome run_show(struct session *s, const struct statement *st, struct result *r)
{
    const struct relation *relation = st->relation;

    if (st->fixed != NULL)
        return run_fixed(s, st->fixed, r);
    if (relation == NULL || relation->columns == NULL) {
        struct buf detail;

        buf_init(&detail, 0);
        show_help(&detail);
        wire_put_notice(r->out, "NOTICE", "00000", "Console usage", buf_cstr(&detail), NULL);
        buf_free(&detail);
        return command_done(s, "SHOW");
    }
    command_done(s, "SHOW");
    if (relation->gather != 0) {
        s->gathers_for = relation;
        if (!gather_start(s, relation->gather))
            return command_failed(s, "53200", "out of memory", NULL);
        return COMMAND_WAITS;
    }
    result_begin(r);
    relation->fill(s->console, r);
    return COMMAND_DONE;
}

/* A simple Query is prepared first; what Parse has prepared runs. */
static enum command_outcome run_query(struct session *s, const struct statement *st, struct result *r)
{
    const struct select_value *values;
    struct select_plan *plan;
    uint16_t n_values;
    bool is_begun;

    if (st->query == NULL && st->plan == NULL)
        return run_show(s, st, r);
    if (st->plan != NULL) {
        values = extended_values(s, &n_values);
        is_begun = select_execute(s, st->plan, values, n_values);
    } else {
        plan = select_plan_new(st->query, st->query_bytes);
        is_begun = plan != NULL && select_prepare(s, plan);
        select_plan_unref(plan);
    }
    return is_begun ? COMMAND_WAITS : command_failed(s, "53200", "out of memory", NULL);
}

/* ---- settings ---- */

static enum command_outcome set_unknown(struct session *s, const char *key)
{
    const char *nearest = option_nearest(key);
    char message[CONSOLE_NAME_BYTES + 64], hint[128] = "SHOW CONFIG lists all settings.";

    snprintf(message, sizeof(message), "unrecognized configuration parameter \"%s\"", key);
    if (nearest != NULL)
        snprintf(hint, sizeof(hint), "Did you mean %s?", nearest);
    session_error(s, "42704", message, NULL, hint);
    return COMMAND_FAILED;
}

static enum command_outcome run_set(struct session *s, const struct statement *st, struct result *r)
{
    enum command_outcome outcome;
    struct buf error;

    if (guc_is_ignored(st->name)) {
        wire_put_notice(r->out, "NOTICE", "00000", "SET ignored", NULL, NULL);
        return command_done(s, "SET");
    }
    if (!s->is_admin)
        return command_failed(s, "42501", "admin access needed", NULL);
    if (option_find(st->name) < 0)
        return set_unknown(s, st->name);
    buf_init(&error, 0);
    if (hooks_of(s)->set(hooks_of(s)->arg, st->name, st->value, &error)) {
        snprintf(s->tag, sizeof(s->tag), "SET %s=%s", st->name, st->value);
        outcome = wait_for_settings(s);
    } else {
        outcome = command_failed(s, "22023", "SET failed", buf_cstr(&error));
    }
    buf_free(&error);
    return outcome;
}

/* ---- what drivers say without meaning it ---- */

static enum command_outcome run_nothing(struct session *s, const struct statement *st, struct result *r)
{
    (void)r;
    return command_done(s, st->command->name);
}

static enum command_outcome run_begin(struct session *s, const struct statement *st, struct result *r)
{
    (void)st;
    (void)r;
    s->is_in_block = true;
    return command_done(s, "BEGIN");
}

static enum command_outcome run_commit(struct session *s, const struct statement *st, struct result *r)
{
    (void)r;
    s->is_in_block = false;
    return command_done(s, strcmp(st->command->name, "END") == 0 ? "COMMIT" : st->command->name);
}

static enum command_outcome run_discard(struct session *s, const struct statement *st, struct result *r)
{
    (void)st;
    (void)r;
    return command_done(s, "DISCARD ALL");
}

/* clang-format off */
static const struct command commands[] = {
    {"SHOW", ARG_RELATION, false, .run = run_show, NULL, NULL}, /* SHOW HELP lists its relations */
    {"SELECT", ARG_EXPRESSION, false, .run = run_query, "...",
     "a query over the relations of SHOW, such as SELECT database, sum(cl_waiting) FROM pools GROUP BY 1"},
    {"WITH", ARG_QUERY, false, .run = run_query, NULL, NULL},
    {"VALUES", ARG_QUERY, false, .run = run_query, NULL, NULL},
    {"SET", ARG_SETTING, false, .run = run_set, "key = value",
     "change a setting until the next RELOAD or restart"},
    {"RELOAD", ARG_NONE, true, .run = run_reload, "", "read the configuration files again; says what has changed"},
    {"PAUSE", ARG_OPTIONAL_NAME, true, .order = order_pause, run_on_database, "[database]",
     "stop serving clients; returns when all server connections are closed"},
    {"RESUME", ARG_OPTIONAL_NAME, true, .order = order_resume, run_on_database, "[database]", "go on after PAUSE"},
    {"SUSPEND", ARG_NONE, true, .run = run_suspend, "", "as PAUSE"},
    {"DISABLE", ARG_OPTIONAL_NAME, true, .order = order_disable, run_on_database, "database", "refuse new clients"},
    {"ENABLE", ARG_OPTIONAL_NAME, true, .order = order_enable, run_on_database, "database", "allow new clients again"},
    {"RECONNECT", ARG_OPTIONAL_NAME, true, .order = order_reconnect, run_on_database, "[database]",
     "replace server connections as they come free"},
    {"WAIT_CLOSE", ARG_OPTIONAL_NAME, true, .order = order_wait_close, run_on_database, "[database]",
     "wait until no server connection is left that is to be replaced"},
    {"KILL", ARG_OPTIONAL_NAME, true, .order = order_kill, run_on_database, "[database]",
     "close all clients and server connections now; paused until RESUME"},
    {"KILL_CLIENT", ARG_NAME, true, .run = run_kill_client, "id", "close one client; its id is in SHOW CLIENTS"},
    {"SHUTDOWN", ARG_MODE, true, .run = run_shutdown, "[WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS|DRAIN]",
     "end: at once, when servers are released, when clients have gone, or by closing them little by little"},
    {"BEGIN", ARG_ANYTHING, false, .run = run_begin, NULL, NULL},
    {"START", ARG_ANYTHING, false, .run = run_begin, NULL, NULL},
    {"COMMIT", ARG_ANYTHING, false, .run = run_commit, NULL, NULL},
    {"END", ARG_ANYTHING, false, .run = run_commit, NULL, NULL},
    {"ROLLBACK", ARG_ANYTHING, false, .run = run_commit, NULL, NULL},
    {"RESET", ARG_ANYTHING, false, .run = run_nothing, NULL, NULL},
    {"DISCARD", ARG_ANYTHING, false, .run = run_discard, NULL, NULL},
    {"UNLISTEN", ARG_ANYTHING, false, .run = run_nothing, NULL, NULL},
    {"CLOSE", ARG_ANYTHING, false, .run = run_nothing, NULL, NULL},
};

static const struct fixed fixed_answers[] = {
    {false, "client_encoding", {"client_encoding", 's'}, "UTF8"},
    {false, "default_transaction_isolation", {"default_transaction_isolation", 's'}, "read committed"},
    {false, "standard_conforming_strings", {"standard_conforming_strings", 's'}, "on"},
    {false, "datestyle", {"datestyle", 's'}, "ISO"},
    {false, "timezone", {"timezone", 's'}, "GMT"},
    /* libpq's target_session_attrs, JDBC */
    {false, "transaction_read_only", {"transaction_read_only", 's'}, "off"},
    {false, "default_transaction_read_only", {"default_transaction_read_only", 's'}, "off"},
    {false, "in_hot_standby", {"in_hot_standby", 's'}, "off"},
    {false, "transaction isolation level", {"transaction_isolation", 's'}, "read committed"},
    {false, "transaction_isolation", {"transaction_isolation", 's'}, "read committed"},
    {false, "search_path", {"search_path", 's'}, "public"},
    {false, "server_version", {"server_version", 's'}, PACKAGE_VERSION "/bouncer"},
    /* a dashboard's choice of SQL depends on it */
    {false, "server_version_num", {"server_version_num", 's'}, "150000"},
    {false, "max_identifier_length", {"max_identifier_length", 's'}, "63"},
    {true, "1", {"?column?", 'i'}, "1"},
    {true, "version()", {"version", 's'}, CONSOLE_POSTGRES_VERSION},
    {true, "current_database()", {"current_database", 's'}, "pgsluice"},
    {true, "current_schema()", {"current_schema", 's'}, "public"},
    {true, "pg_is_in_recovery()", {"pg_is_in_recovery", 'B'}, "f"},
    {true, "pg_advisory_unlock_all()", {"pg_advisory_unlock_all", 's'}, ""}, /* asyncpg's reset */
};

/* PgBouncer ignores the first five; the others are what drivers set when they connect. */
static const char *const ignored_gucs[] = {
    "client_encoding", "default_transaction_isolation", "standard_conforming_strings", "datestyle", "timezone",
    "application_name", "bytea_output", "CHARACTERISTICS", "client_min_messages", "default_transaction_read_only",
    "extra_float_digits", "idle_in_transaction_session_timeout", "intervalstyle", "jit", "lock_timeout", "NAMES",
    "search_path", "statement_timeout", "synchronize_seqscans", "TIME", "TRANSACTION",
};
/* clang-format on */

const struct column *command_columns(const struct command *c, uint16_t *n)
{
    bool is_reload = c != NULL && c->run == run_reload;

    *n = is_reload ? n_reload_columns : 0;
    return is_reload ? reload_columns : NULL;
}

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcasecmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

void command_hint(const char *name, char *hint, size_t size)
{
    const char *names[ARRAY_SIZE(commands)], *nearest;
    size_t n = 0;

    hint[0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (commands[i].help != NULL || commands[i].arg == ARG_RELATION)
            names[n++] = commands[i].name;
    }
    nearest = str_nearest(name, names, n);
    if (nearest != NULL)
        snprintf(hint, size, "Did you mean %s?", nearest);
}

const struct fixed *fixed_find(bool is_select, const char *text)
{
    for (size_t i = 0; i < ARRAY_SIZE(fixed_answers); i++) {
        if (fixed_answers[i].is_select == is_select && strcasecmp(fixed_answers[i].text, text) == 0)
            return &fixed_answers[i];
    }
    return NULL;
}

bool guc_is_ignored(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(ignored_gucs); i++) {
        if (strcasecmp(ignored_gucs[i], name) == 0)
            return true;
    }
    return false;
}

enum command_outcome command_run(struct session *s, const struct statement *st, struct result *r)
{
    if (st->command->admin_only && !s->is_admin)
        return command_failed(s, "42501", "admin access needed", NULL);
    return st->command->run(s, st, r);
}

void show_help(struct buf *detail)
{
    buf_append_byte(detail, '\n');
    for (size_t i = 0; i < relation_count(); i++)
        buf_printf(detail, "\tSHOW %-16s %s\n", relation_at(i)->name, relation_at(i)->help);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *c = &commands[i];

        if (c->help != NULL && (c->arg != ARG_EXPRESSION || select_is_built()))
            buf_printf(detail, "\t%s%s%s\n\t\t%s\n", c->name, c->usage[0] != '\0' ? " " : "", c->usage,
                       c->help);
    }
}
