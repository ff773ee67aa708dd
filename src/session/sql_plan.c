/*
 * sql_plan.c - a text with PREPARE, EXECUTE or DEALLOCATE, rewritten for the server that gets it.
 *
 * The text is gone through once, statement by statement, with the client's names as they will be then. A
 * statement that the client PREPAREs has a name of ours on servers, and is shared by all clients like those
 * of the protocol; where the server has it under that name already, that one is closed before, or, where the
 * text itself needs it, another name is taken (statement->variant). DEALLOCATE takes the client's name away,
 * but leaves the server what others use: it is written for a spare statement, which is there for nothing
 * else.
 *
 * What PostgreSQL is to refuse keeps its client's words: an unknown name, a text that is no SQL.
 *
 * Threads: the owner's of client and server. Sends nothing.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "pin_watch.h"
#include "sql_work.h"
#include "tracking.h"

/* Names that one text may take for equal statements: one for each of its commands, beside those that are
 * there already and cannot be closed. */
#define MAX_VARIANTS (2 * SQL_MAX_COMMANDS)

void sql_effects_free(struct sql_effects *e)
{
    for (uint32_t i = 0; i < e->n; i++)
        statement_unref(e->items[i].statement);
    free(e->items);
    free(e->edits);
    *e = (struct sql_effects){0};
}

void sql_plan_free(struct sql_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_needs; i++)
        statement_unref(plan->needs[i].statement);
    free(plan->needs);
    sql_effects_free(&plan->effects);
    buf_free(&plan->out);
}

/* Room for one more in an array of n, which grows at powers of two. */
static bool grow(void *array, uint32_t n, size_t item_bytes)
{
    void **items = array;

    if ((n & (n - 1)) != 0 || (n > 0 && n < 4))
        return true;
    void *grown = realloc(*items, (n == 0 ? 4 : 2 * (size_t)n) * item_bytes);
    if (grown == NULL)
        return false;
    *items = grown;
    return true;
}

/* ---- the text ---- */

static uint32_t count_chars(const struct sql_plan *plan, uint32_t start, uint32_t end)
{
    uint32_t n = 0;

    if (!plan->is_utf8)
        return end - start;
    for (uint32_t i = start; i < end; i++)
        n += ((uint8_t)plan->text[i] & 0xc0) != 0x80;
    return n;
}

static void copy_to(struct sql_plan *plan, uint32_t end)
{
    buf_append(&plan->out, plan->text + plan->copied, end - plan->copied);
    plan->out_chars += count_chars(plan, plan->copied, end);
    plan->copied = end;
}

/* Another name in place of the command's. */
static enum prepared_step put_name(struct sql_plan *plan, const struct sql_command *cmd, const char *name)
{
    struct sql_effects *e = &plan->effects;
    const uint32_t bytes = (uint32_t)strlen(name) + 2;

    if (!grow(&e->edits, e->n_edits, sizeof(e->edits[0])))
        return PREPARED_NO_MEMORY;
    copy_to(plan, cmd->name_start);
    e->edits[e->n_edits++] = (struct sql_edit){
        .at = plan->out_chars, .is = bytes, .was = count_chars(plan, cmd->name_start, cmd->name_end)};
    buf_append_byte(&plan->out, '"');
    buf_append_str(&plan->out, name);
    buf_append_byte(&plan->out, '"');
    plan->out_chars += bytes;
    plan->copied = cmd->name_end;
    return PREPARED_TAKEN;
}

uint32_t sql_position(const struct sql_effects *e, uint32_t position)
{
    uint32_t at = position - 1, longer = 0, shorter = 0;

    for (uint32_t i = 0; i < e->n_edits && at > e->edits[i].at; i++) {
        const struct sql_edit *x = &e->edits[i];
        if (at < x->at + x->is) {
            at = x->at;
            break;
        }
        longer += x->was;
        shorter += x->is;
    }
    return at + longer - shorter + 1;
}

/* ---- what the client has, and what the server has, at this point of the text ---- */

static bool is_all(enum sql_command_kind kind)
{
    return kind == SQL_DEALLOCATE_ALL || kind == SQL_DISCARD_ALL;
}

/* What the name stands for; *found is NULL when it is unknown. */
static enum prepared_step look_up(struct sql_plan *plan, const struct sql_command *cmd,
                                  struct statement **found)
{
    *found = NULL;
    for (uint32_t i = plan->effects.n; i-- > 0;) {
        const struct sql_effect *e = &plan->effects.items[i];
        if (is_all(e->kind))
            return PREPARED_TAKEN;
        if (e->kind == SQL_EXECUTE || e->must_fail || e->name_bytes != cmd->name_bytes ||
            memcmp(e->name, cmd->name, cmd->name_bytes) != 0)
            continue;
        if (e->kind == SQL_PREPARE)
            *found = e->statement;
        return PREPARED_TAKEN;
    }
    struct statement_name *name = statement_names_find(plan->client->names, cmd->name, cmd->name_bytes);
    if (name == NULL)
        return PREPARED_TAKEN;
    enum prepared_step step = prepared_follow_settings(plan->client, name);
    *found = name->statement;
    return step;
}

/* Has it come to DEALLOCATE ALL? Then what the server had before does not count. */
static bool is_cleared(const struct sql_plan *plan)
{
    for (uint32_t i = 0; i < plan->effects.n; i++)
        if (is_all(plan->effects.items[i].kind))
            return true;
    return false;
}

static struct sql_need *find_need(struct sql_plan *plan, const struct statement *statement)
{
    for (uint32_t i = 0; i < plan->n_needs; i++)
        if (plan->needs[i].statement == statement)
            return &plan->needs[i];
    return NULL;
}

/* What is known of the statement there. NULL: no memory. */
static struct sql_need *need_of(struct sql_plan *plan, struct statement *statement, bool *is_new)
{
    struct sql_need *known = find_need(plan, statement);

    *is_new = known == NULL;
    if (known != NULL)
        return known;
    if (!grow(&plan->needs, plan->n_needs, sizeof(plan->needs[0])))
        return NULL;
    struct sql_need *n = &plan->needs[plan->n_needs++];
    *n = (struct sql_need){.statement = statement_ref(statement)};
    return n;
}

enum prepared_step sql_plan_want(struct sql_plan *plan, struct statement *statement)
{
    bool is_new;
    struct sql_need *n = need_of(plan, statement, &is_new);

    if (n == NULL)
        return PREPARED_NO_MEMORY;
    if (is_new && !is_cleared(plan))
        n->is_wanted = n->is_there = true;
    return PREPARED_TAKEN;
}

/* Is it absent there, or can it be made so? Then it is there from now on: *is_taken. */
static enum prepared_step take_place(struct sql_plan *plan, struct statement *statement, bool *is_taken)
{
    struct server *s = plan->server;
    bool is_new, may_close = s->tracker.tx_status != 'E';
    struct sql_need *n = need_of(plan, statement, &is_new);

    if (n == NULL)
        return PREPARED_NO_MEMORY;
    if (is_new && !is_cleared(plan) && statement_cache_find(&s->prepared->cache, statement) != NULL) {
        n->must_go = may_close;
        n->is_there = !may_close;
    }
    *is_taken = !n->is_there;
    n->is_there = true;
    return PREPARED_TAKEN;
}

/* One that is there, and is not from now on. */
static enum prepared_step take_away(struct sql_plan *plan, struct statement *statement, bool *is_taken)
{
    bool is_new;
    struct sql_need *n = need_of(plan, statement, &is_new);

    if (n == NULL)
        return PREPARED_NO_MEMORY;
    if (is_new && !is_cleared(plan))
        n->is_wanted = n->is_there = true;
    *is_taken = n->is_there;
    n->is_there = false;
    return PREPARED_TAKEN;
}

enum prepared_step sql_plan_again(struct sql_plan *plan, struct sql_effect *e)
{
    struct statement_name *name = statement_names_find(plan->client->names, e->name, e->name_bytes);
    const struct statement *now = name != NULL ? name->statement : NULL;
    bool is_taken, is_wanted = now != NULL;

    if (e->statement == NULL) /* refused by the client's own name */
        return PREPARED_TAKEN;
    if (e->kind == SQL_PREPARE)
        is_wanted = e->must_fail = e->must_fail || now != NULL;
    else if (e->kind == SQL_EXECUTE) /* where it is absent, the server says so */
        is_wanted = now != NULL && now->body_bytes == e->statement->body_bytes &&
                    memcmp(now->body, e->statement->body, now->body_bytes) == 0;
    return is_wanted ? sql_plan_want(plan, e->statement) : take_place(plan, e->statement, &is_taken);
}

bool sql_plan_executes(const struct sql_plan *plan, struct statement *statement)
{
    prepared_setting_bound(plan->client, plan->server, statement);
    return pin_watch_execute(plan->client, statement) &&
           tracking_execute(plan->client, plan->server, statement);
}

/* ---- one command ---- */

/* Takes over the reference. */
static enum prepared_step add_effect(struct sql_plan *plan, const struct sql_command *cmd,
                                     struct statement *statement, bool must_fail)
{
    struct sql_effects *e = &plan->effects;

    if (cmd->kind == SQL_EXECUTE && plan->n_executes > SQL_NOTED_EXECUTES) { /* it changes no statement */
        const bool ok = statement == NULL || sql_plan_executes(plan, statement);
        statement_unref(statement);
        return ok ? PREPARED_TAKEN : PREPARED_NO_MEMORY;
    }
    plan->has_too_many = e->n >= SQL_MAX_COMMANDS;
    if (plan->has_too_many || !grow(&e->items, e->n, sizeof(e->items[0]))) {
        statement_unref(statement);
        return plan->has_too_many ? PREPARED_TOO_LARGE : PREPARED_NO_MEMORY;
    }
    struct sql_effect *x = &e->items[e->n++];
    *x = (struct sql_effect){
        .kind = cmd->kind,
        .must_fail = must_fail,
        .statement = statement,
        .index = plan->n_statements - 1,
        .name_bytes = cmd->name_bytes,
    };
    memcpy(x->name, cmd->name, sizeof(x->name));
    return PREPARED_TAKEN;
}

static bool has_prefix(const struct sql_command *cmd)
{
    return cmd->name_bytes >= sizeof(STATEMENT_PREFIX) - 1 &&
           memcmp(cmd->name, STATEMENT_PREFIX, sizeof(STATEMENT_PREFIX) - 1) == 0;
}

/* PostgreSQL refuses it by the client's own name; but that must not be a name of ours. */
static enum prepared_step plan_unknown(struct sql_plan *plan, const struct sql_command *cmd)
{
    enum prepared_step step = has_prefix(cmd) ? put_name(plan, cmd, STATEMENT_NOBODY) : PREPARED_TAKEN;
    return step == PREPARED_TAKEN ? add_effect(plan, cmd, NULL, false) : step;
}

static enum prepared_step plan_execute(struct sql_plan *plan, const struct sql_command *cmd)
{
    struct statement *statement;

    plan->has_too_many = plan->n_executes++ >= SQL_MAX_EXECUTES;
    if (plan->has_too_many)
        return PREPARED_TOO_LARGE;
    enum prepared_step step = look_up(plan, cmd, &statement);
    if (step != PREPARED_TAKEN)
        return step;
    if (statement == NULL)
        return plan_unknown(plan, cmd);
    step = sql_plan_want(plan, statement);
    if (step == PREPARED_TAKEN)
        step = put_name(plan, cmd, statement->name);
    return step == PREPARED_TAKEN ? add_effect(plan, cmd, statement_ref(statement), false) : step;
}

/* The first of the equal statements for which fits() says so, behind those that this text has taken; a
 * reference in *found, which is NULL where none does. */
static enum prepared_step choose(struct sql_plan *plan, enum statement_kind kind, const uint8_t *body,
                                 uint32_t body_bytes,
                                 enum prepared_step (*fits)(struct sql_plan *, struct statement *, bool *),
                                 struct statement **found)
{
    struct istr *settings = statement_names_settings(plan->client->names, plan->client->params);
    const struct statement *first = NULL; /* the plan has a reference */

    *found = NULL;
    for (uint16_t variant = 0; variant < MAX_VARIANTS; variant++) {
        struct statement *s =
            settings != NULL ? statement_get_kind(kind, variant, body, body_bytes, settings) : NULL;
        bool is_fit = false;
        enum prepared_step step = s != NULL ? fits(plan, s, &is_fit) : PREPARED_NO_MEMORY;
        if (step == PREPARED_TAKEN && first == NULL)
            first = s;
        if (step == PREPARED_TAKEN && is_fit) {
            find_need(plan, first)->last_taken = variant;
            *found = s;
            return step;
        }
        statement_unref(s);
        if (step != PREPARED_TAKEN)
            return step;
        if (variant == 0)
            variant = find_need(plan, first)->last_taken;
    }
    plan->has_too_many = true;
    return PREPARED_TAKEN;
}

/* The statement that was chosen, if one was (step): its name into the text, and what follows from it. Takes
 * over the reference. */
static enum prepared_step put_chosen(struct sql_plan *plan, const struct sql_command *cmd,
                                     enum prepared_step step, struct statement *statement)
{
    if (step == PREPARED_TAKEN && statement == NULL)
        step = PREPARED_TOO_LARGE;
    if (step == PREPARED_TAKEN)
        step = put_name(plan, cmd, statement->name);
    if (step == PREPARED_TAKEN)
        return add_effect(plan, cmd, statement, false);
    statement_unref(statement);
    return step;
}

static enum prepared_step plan_new(struct sql_plan *plan, const struct sql_command *cmd)
{
    struct buf body;
    struct statement *statement = NULL;
    const uint32_t bytes = cmd->body_end - cmd->body_start;

    if (bytes + 4 > STATEMENT_MAX_BODY_BYTES ||
        plan->client->names->bytes + bytes + sizeof(struct statement) > STATEMENT_NAMES_MAX_BYTES)
        return PREPARED_TOO_LARGE;
    buf_init(&body, 0);
    buf_append_byte(&body, ' ');
    buf_append(&body, plan->text + cmd->body_start, bytes);
    buf_append(&body, "\0\0\0", 3);
    enum prepared_step step = body.failed
                                  ? PREPARED_NO_MEMORY
                                  : choose(plan, STATEMENT_SQL, body.data, body.len, take_place, &statement);
    buf_free(&body);
    return put_chosen(plan, cmd, step, statement);
}

static enum prepared_step plan_prepare(struct sql_plan *plan, const struct sql_command *cmd)
{
    struct statement *statement;
    enum prepared_step step = look_up(plan, cmd, &statement);

    if (step != PREPARED_TAKEN || statement == NULL)
        return step == PREPARED_TAKEN ? plan_new(plan, cmd) : step;
    /* in use: refused under the name that it has there */
    step = sql_plan_want(plan, statement);
    if (step == PREPARED_TAKEN)
        step = put_name(plan, cmd, statement->name);
    return step == PREPARED_TAKEN ? add_effect(plan, cmd, statement_ref(statement), true) : step;
}

/* Behind DEALLOCATE ALL no spare statement is there, and nobody else's name for this one. */
static enum prepared_step take_own_away(struct sql_plan *plan, struct statement **statement)
{
    bool is_taken;
    enum prepared_step step = take_away(plan, *statement, &is_taken);

    *statement = step == PREPARED_TAKEN ? statement_ref(*statement) : NULL;
    return step;
}

static enum prepared_step plan_deallocate(struct sql_plan *plan, const struct sql_command *cmd)
{
    static const char spare[] = "SELECT\0\0"; /* and the NUL of the literal: no types */
    struct statement *statement;
    enum prepared_step step = look_up(plan, cmd, &statement);

    if (step != PREPARED_TAKEN)
        return step;
    if (statement == NULL)
        return plan_unknown(plan, cmd);
    step = is_cleared(plan)
               ? take_own_away(plan, &statement)
               : choose(plan, STATEMENT_SPARE, (const uint8_t *)spare, sizeof(spare), take_away, &statement);
    return put_chosen(plan, cmd, step, statement);
}

static enum prepared_step plan_all(struct sql_plan *plan, const struct sql_command *cmd)
{
    for (uint32_t i = 0; i < plan->n_needs; i++)
        plan->needs[i].is_there = false;
    return add_effect(plan, cmd, NULL, false);
}

static enum prepared_step plan_one(struct sql_plan *plan, const struct sql_command *cmd)
{
    switch (cmd->kind) {
    case SQL_OTHER: return PREPARED_TAKEN;
    case SQL_PREPARE: return plan_prepare(plan, cmd);
    case SQL_EXECUTE: return plan_execute(plan, cmd);
    case SQL_DEALLOCATE: return plan_deallocate(plan, cmd);
    case SQL_DEALLOCATE_ALL:
    case SQL_DISCARD_ALL: return plan_all(plan, cmd);
    }
    return PREPARED_TAKEN;
}

enum prepared_step sql_plan_make(struct sql_plan *plan, struct client *c, struct server *s, const char *text,
                                 uint32_t len_bytes)
{
    const char *encoding = params_get(s->params, "client_encoding");
    const char *strings = params_get(s->params, "standard_conforming_strings");
    struct sql_lexer l = {.text = text,
                          .len_bytes = len_bytes,
                          .standard_strings = strings == NULL || strcmp(strings, "on") == 0};
    struct sql_statement statement;
    struct sql_command cmd;
    enum sql_statement_result result;

    plan->client = c;
    plan->server = s;
    plan->text = text;
    plan->len_bytes = len_bytes;
    plan->is_utf8 = encoding != NULL && strcmp(encoding, "UTF8") == 0;
    if (!sql_encoding_is_safe(encoding))
        return PREPARED_TAKEN;
    while ((result = sql_next_statement(&l, &statement)) == SQL_STATEMENT_OK) {
        plan->n_statements++;
        sql_command_read(&l, &statement, plan->is_utf8, &cmd);
        enum prepared_step step = plan_one(plan, &cmd);
        if (step != PREPARED_TAKEN)
            return step;
    }
    if (result == SQL_STATEMENT_BROKEN)
        sql_effects_free(&plan->effects); /* PostgreSQL refuses all of it */
    copy_to(plan, len_bytes);
    if (plan->out.failed)
        return PREPARED_NO_MEMORY;
    return PREPARED_TAKEN;
}
