/*
 * sql_session.c - what a statement of SQL does to the session that runs it.
 *
 * The first words choose a function of table heads[]; it fills in one act, or says that calls are to be
 * looked for. Where PostgreSQL's grammar takes a word for a name (SET session.x = 1), what follows it
 * decides. Code in literals is not read but looked at for words (sql_body.c).
 *
 * Pure; any thread.
 */
#include "wire/sql_session.h"

#include <string.h>
#include <strings.h>

#include "sql_body_int.h"

/* Where a reader goes on. */
enum {
    AT_HEAD,
    AT_MODES, /* of SET SESSION CHARACTERISTICS */
    AT_CALLS, /* they may come anywhere */
    AT_END,
};

/* ---- tokens ---- */

static void next(struct sql_session_reader *r)
{
    r->before = r->t;
    r->t = sql_lexer_next(&r->l);
}

static bool is_at(const struct sql_session_reader *r, const char *keyword)
{
    return sql_lexer_is_word(&r->l, &r->t, keyword);
}

static bool take(struct sql_session_reader *r, const char *keyword)
{
    if (!is_at(r, keyword))
        return false;
    next(r);
    return true;
}

static bool is_end(const struct sql_session_reader *r)
{
    return r->t.kind == SQL_TOKEN_END || r->t.kind == SQL_TOKEN_BROKEN;
}

static bool is_char(const struct sql_session_reader *r, char c)
{
    return sql_lexer_is_char(&r->l, &r->t, c);
}

/* '=', also where a sign follows at once, which is a token of its own to PostgreSQL. */
static bool is_equals(const struct sql_session_reader *r)
{
    if (r->t.kind != SQL_TOKEN_OPERATOR || r->l.text[r->t.start] != '=')
        return false;
    for (uint32_t i = r->t.start + 1; i < r->t.end; i++) {
        if (r->l.text[i] != '-' && r->l.text[i] != '+')
            return false;
    }
    return true;
}

/* The reader as it is one token later. */
static struct sql_session_reader behind(const struct sql_session_reader *r)
{
    struct sql_session_reader later = *r;
    next(&later);
    return later;
}

/* Is the word at hand the name of a setting, whatever else it may be? */
static bool is_setting_name(const struct sql_session_reader *r)
{
    const struct sql_session_reader later = behind(r);
    return is_char(&later, '.') || is_equals(&later) || is_at(&later, "TO");
}

/* ---- names ---- */

static bool append_name(const struct sql_session_reader *r, struct sql_session_act *out)
{
    char part[SQL_NAME_BYTES];
    const uint32_t n = sql_name(&r->l, &r->t, r->is_utf8, part);

    if (n == 0 || out->name_bytes + n >= SQL_SETTING_NAME_BYTES)
        return false;
    memcpy(out->name + out->name_bytes, part, n + 1);
    out->name_bytes += n;
    return true;
}

static void no_name(struct sql_session_act *out)
{
    out->name_bytes = 0;
    out->name[0] = '\0';
}

/* A name of one part. */
static bool take_name(struct sql_session_reader *r, struct sql_session_act *out)
{
    if (is_end(r) || !append_name(r, out))
        return false;
    next(r);
    return true;
}

/* The name of a setting: parts with dots between. */
static bool take_setting(struct sql_session_reader *r, struct sql_session_act *out)
{
    while (take_name(r, out)) {
        if (!is_char(r, '.'))
            return true;
        if (out->name_bytes + 1 >= SQL_SETTING_NAME_BYTES)
            return false;
        out->name[out->name_bytes++] = '.';
        out->name[out->name_bytes] = '\0';
        next(r);
    }
    no_name(out);
    return false;
}

static void set_name(struct sql_session_act *out, const char *name)
{
    out->name_bytes = (uint32_t)strlen(name);
    memcpy(out->name, name, out->name_bytes + 1);
}

/* ---- SET ---- */

/* What is left are values. DEFAULT is a RESET. */
static void read_values(struct sql_session_reader *r, struct sql_session_act *out)
{
    const struct sql_session_reader later = behind(r);

    out->kind = SQL_SESSION_SET;
    out->value_start = r->t.start;
    out->value_end = r->l.len_bytes;
    if (is_at(r, "DEFAULT") && is_end(&later))
        out->kind = SQL_SESSION_RESET;
}

static bool read_generic(struct sql_session_reader *r, struct sql_session_act *out)
{
    if (!take_setting(r, out))
        return false;
    if (is_equals(r)) {
        r->l.at = r->t.start + 1; /* a sign behind it is the value's */
        next(r);
    } else if (!take(r, "TO")) {
        no_name(out); /* FROM CURRENT, which only functions have */
        return false;
    }
    read_values(r, out);
    return !is_end(r);
}

/* SET TIME ZONE LOCAL is a RESET, too; SET NAMES without a value as well. */
static bool read_named(struct sql_session_reader *r, struct sql_session_act *out, const char *name,
                       const char *as_default)
{
    const struct sql_session_reader later = behind(r);

    set_name(out, name);
    read_values(r, out);
    if (as_default != NULL && is_at(r, as_default) && is_end(&later))
        out->kind = SQL_SESSION_RESET;
    return true;
}

/* Behind SET [SESSION | LOCAL], a form with words of its own. */
static bool read_special(struct sql_session_reader *r, struct sql_session_act *out)
{
    static const struct {
        const char *words[2];
        const char *name;
        const char *as_default;
    } forms[] = {
        {{"ROLE"}, "role", NULL},
        {{"SESSION", "AUTHORIZATION"}, "session_authorization", NULL},
        {{"TIME", "ZONE"}, "timezone", "LOCAL"},
        {{"NAMES"}, "client_encoding", NULL},
        {{"SCHEMA"}, "search_path", NULL},
        {{"XML", "OPTION"}, "xmloption", NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        const struct sql_session_reader start = *r;
        if (take(r, forms[i].words[0]) && (forms[i].words[1] == NULL || take(r, forms[i].words[1]))) {
            bool is_there = !is_end(r);
            (void)read_named(r, out, forms[i].name, forms[i].as_default);
            if (!is_there && strcmp(forms[i].name, "client_encoding") == 0)
                out->kind = SQL_SESSION_RESET; /* SET NAMES alone */
            return is_there || out->kind == SQL_SESSION_RESET;
        }
        *r = start;
    }
    return false;
}

static bool read_set(struct sql_session_reader *r, struct sql_session_act *out)
{
    if (is_setting_name(r))
        return read_generic(r, out);
    const struct sql_session_reader later = behind(r);
    if (is_at(r, "SESSION") && is_at(&later, "CHARACTERISTICS")) {
        next(r);
        next(r);
        if (take(r, "AS") && take(r, "TRANSACTION"))
            r->at = AT_MODES;
        return false;
    }
    if (!(is_at(r, "SESSION") && is_at(&later, "AUTHORIZATION")))
        out->is_local = !take(r, "SESSION") && take(r, "LOCAL");
    return is_setting_name(r) ? read_generic(r, out) : read_special(r, out);
}

/* SET SESSION CHARACTERISTICS AS TRANSACTION: a setting for each mode. */
static bool read_mode(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->kind = SQL_SESSION_SET;
    if (is_char(r, ','))
        next(r);
    if (take(r, "ISOLATION") && take(r, "LEVEL")) {
        set_name(out, "default_transaction_isolation");
        if (take(r, "SERIALIZABLE")) {
            out->constant = "serializable";
            return true;
        }
        if (take(r, "REPEATABLE"))
            out->constant = "repeatable read";
        else if (take(r, "READ"))
            out->constant = is_at(r, "COMMITTED") ? "read committed" : "read uncommitted";
        else
            return false;
        next(r);
        return true;
    }
    bool is_not = take(r, "NOT");
    if (take(r, "DEFERRABLE")) {
        set_name(out, "default_transaction_deferrable");
        out->constant = is_not ? "off" : "on";
        return true;
    }
    if (!take(r, "READ"))
        return false;
    set_name(out, "default_transaction_read_only");
    out->constant = is_at(r, "ONLY") ? "on" : "off";
    next(r);
    return true;
}

static bool read_reset(struct sql_session_reader *r, struct sql_session_act *out)
{
    const struct sql_session_reader later = behind(r);

    out->kind = SQL_SESSION_RESET;
    if (is_at(r, "ALL") && is_end(&later)) {
        out->kind = SQL_SESSION_RESET_ALL;
        return true;
    }
    if (is_at(r, "SESSION") && is_at(&later, "AUTHORIZATION"))
        set_name(out, "session_authorization");
    else if (is_at(r, "TIME") && is_at(&later, "ZONE"))
        set_name(out, "timezone");
    else if (is_at(r, "TRANSACTION") && is_at(&later, "ISOLATION"))
        set_name(out, "transaction_isolation");
    else
        return take_setting(r, out) && is_end(r);
    return true;
}

/* ---- transactions ---- */

static bool read_begin(struct sql_session_reader *r, struct sql_session_act *out)
{
    (void)r;
    out->kind = SQL_SESSION_BEGIN;
    return true;
}

static bool read_start(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->kind = SQL_SESSION_BEGIN;
    return is_at(r, "TRANSACTION");
}

/* Behind [WORK | TRANSACTION]: AND [NO] CHAIN. */
static void read_chain(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->is_chain = take(r, "AND") && !is_at(r, "NO");
}

static bool read_commit(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->kind = SQL_SESSION_COMMIT;
    if (is_at(r, "PREPARED"))
        return false;
    if (!take(r, "WORK"))
        (void)take(r, "TRANSACTION");
    read_chain(r, out);
    return true;
}

static bool read_rollback(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->kind = SQL_SESSION_ROLLBACK;
    if (is_at(r, "PREPARED"))
        return false;
    if (!take(r, "WORK"))
        (void)take(r, "TRANSACTION");
    if (!take(r, "TO")) {
        read_chain(r, out);
        return true;
    }
    out->kind = SQL_SESSION_ROLLBACK_TO;
    const struct sql_session_reader later = behind(r);
    if (is_at(r, "SAVEPOINT") && !is_end(&later))
        next(r);
    return take_name(r, out);
}

static bool read_savepoint(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->kind = SQL_SESSION_SAVEPOINT;
    return take_name(r, out);
}

static bool read_release(struct sql_session_reader *r, struct sql_session_act *out)
{
    const struct sql_session_reader later = behind(r);

    out->kind = SQL_SESSION_RELEASE;
    if (is_at(r, "SAVEPOINT") && !is_end(&later))
        next(r);
    return take_name(r, out);
}

static bool read_prepare(struct sql_session_reader *r, struct sql_session_act *out)
{
    const struct sql_session_reader later = behind(r);

    out->kind = SQL_SESSION_PREPARE_TRANSACTION;
    return is_at(r, "TRANSACTION") && later.t.kind == SQL_TOKEN_STRING; /* else one of that name */
}

/* ---- channels ---- */

static bool read_listen(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->kind = SQL_SESSION_LISTEN;
    return take_name(r, out);
}

static bool read_unlisten(struct sql_session_reader *r, struct sql_session_act *out)
{
    if (r->t.kind == SQL_TOKEN_OPERATOR && r->l.text[r->t.start] == '*') {
        out->kind = SQL_SESSION_UNLISTEN_ALL;
        return true;
    }
    out->kind = SQL_SESSION_UNLISTEN;
    return take_name(r, out);
}

static bool read_notify(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->kind = SQL_SESSION_NOTIFY;
    return take_name(r, out);
}

/* ---- what ties to a server ---- */

static bool read_discard(struct sql_session_reader *r, struct sql_session_act *out)
{
    static const struct {
        const char *word;
        enum sql_session_kind kind;
    } what[] = {
        {"ALL", SQL_SESSION_DISCARD_ALL},
        {"PLANS", SQL_SESSION_DISCARD_PLANS},
        {"SEQUENCES", SQL_SESSION_DISCARD_SEQUENCES},
        {"TEMP", SQL_SESSION_DISCARD_TEMP},
        {"TEMPORARY", SQL_SESSION_DISCARD_TEMP},
    };

    for (size_t i = 0; i < ARRAY_SIZE(what); i++) {
        if (is_at(r, what[i].word)) {
            out->kind = what[i].kind;
            return true;
        }
    }
    return false;
}

static bool read_load(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->kind = SQL_SESSION_LOAD;
    return r->t.kind == SQL_TOKEN_STRING;
}

/* Calls may be in the arguments. */
static bool read_procedure(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->kind = SQL_SESSION_UNKNOWN;
    r->at = AT_CALLS;
    return !is_end(r);
}

/* A literal with code in it; with escapes it may say something else than its letters do. */
static unsigned look_at_body(const struct sql_session_reader *r)
{
    const char *text = r->l.text + r->t.start;
    const uint32_t n = r->t.end - r->t.start;

    if (text[0] != '$' && memchr(text, '\\', n) != NULL)
        return SQL_BODY_ANYTHING;
    return sql_body_look(text, n);
}

/* DO: the code and its language may come in any order. */
static bool read_do(struct sql_session_reader *r, struct sql_session_act *out)
{
    const bool is_there = !is_end(r) || r->t.kind == SQL_TOKEN_BROKEN;

    out->kind = SQL_SESSION_UNKNOWN;
    for (; !is_end(r); next(r)) {
        if (r->t.kind == SQL_TOKEN_STRING)
            r->hidden |= (uint8_t)look_at_body(r);
    }
    if (r->t.kind == SQL_TOKEN_BROKEN) /* more of it than is here */
        r->hidden |= SQL_BODY_ANYTHING;
    return is_there;
}

/* One of the acts that may be done where nothing can be read. */
static void take_hidden(struct sql_session_reader *r, struct sql_session_act *out)
{
    static const enum sql_session_kind kinds[] = {SQL_SESSION_LOCK, SQL_SESSION_UNLOCK,     SQL_SESSION_TEMP,
                                                  SQL_SESSION_HOLD, SQL_SESSION_SET_CONFIG, SQL_SESSION_LOAD};
    const int bit = __builtin_ctz(r->hidden);

    r->hidden &= (uint8_t)(r->hidden - 1);
    *out = (struct sql_session_act){.kind = kinds[bit], .is_hidden = true};
}

/* DECLARE name [options] CURSOR [WITH HOLD] FOR ...: calls are in the query. */
static bool read_declare(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->kind = SQL_SESSION_HOLD;
    r->at = AT_CALLS;
    if (!take_name(r, out))
        return false;
    while (!is_end(r) && !is_at(r, "CURSOR"))
        next(r);
    next(r);
    if (take(r, "WITH") && take(r, "HOLD"))
        return true;
    no_name(out);
    return false;
}

static bool read_close(struct sql_session_reader *r, struct sql_session_act *out)
{
    const struct sql_session_reader later = behind(r);

    out->kind = is_at(r, "ALL") && is_end(&later) ? SQL_SESSION_CLOSE_ALL : SQL_SESSION_CLOSE;
    return out->kind == SQL_SESSION_CLOSE_ALL || take_name(r, out);
}

static bool is_temp(const struct sql_session_reader *r)
{
    return is_at(r, "TEMP") || is_at(r, "TEMPORARY");
}

static bool is_temp_schema(const struct sql_session_reader *r)
{
    char name[SQL_NAME_BYTES];
    const struct sql_session_reader later = behind(r);

    return sql_name(&r->l, &r->t, r->is_utf8, name) > 0 && strcmp(name, "pg_temp") == 0 &&
           is_char(&later, '.');
}

/* ON COMMIT DROP, anywhere ahead of the query. */
static bool has_drop(struct sql_session_reader r)
{
    for (; !is_end(&r); next(&r)) {
        struct sql_session_reader at = r;
        if (take(&at, "ON") && take(&at, "COMMIT") && is_at(&at, "DROP"))
            return true;
    }
    return false;
}

/* CREATE ... TEMP, or with pg_temp ahead of a name. What follows may have calls. */
static bool read_create(struct sql_session_reader *r, struct sql_session_act *out)
{
    out->kind = SQL_SESSION_TEMP;
    if (take(r, "OR"))
        (void)take(r, "REPLACE");
    if (!take(r, "LOCAL"))
        (void)take(r, "GLOBAL");
    bool is_temporary = is_temp(r);
    /* the name comes ahead of the first parenthesis, and of a query */
    for (struct sql_session_reader at = *r; !is_temporary && !is_end(&at); next(&at)) {
        if (is_char(&at, '(') || is_at(&at, "AS") || is_at(&at, "ON"))
            break;
        is_temporary = is_temp_schema(&at);
    }
    r->at = AT_CALLS;
    if (is_temporary)
        out->is_local = has_drop(*r);
    return is_temporary;
}

/* ---- calls ---- */

/* Is that the name of a function that matters? */
static bool is_call(const struct sql_session_reader *r, const struct sql_token *t,
                    enum sql_session_kind *kind)
{
    char name[SQL_NAME_BYTES];
    const uint32_t n = sql_name(&r->l, t, r->is_utf8, name);

    return n > 0 && sql_session_call(name, n, kind);
}

/* One argument, up to its comma or the parenthesis that ends the call; a cast changes nothing. */
static void read_operand(struct sql_session_reader *r, struct sql_operand *out)
{
    const struct sql_token first = r->t;
    uint32_t depth = 0, n = 0;
    bool is_cast = true; /* nothing but '::' and a type behind the first token */

    for (; !is_end(r); next(r), n++) {
        if (depth == 0 && (is_char(r, ',') || is_char(r, ')')))
            break;
        if (is_char(r, '(') || is_char(r, '['))
            depth++;
        else if (depth > 0 && (is_char(r, ')') || is_char(r, ']')))
            depth--;
        if ((n == 1 || n == 2) && !is_char(r, ':'))
            is_cast = false;
        if (n > 2 && r->t.kind != SQL_TOKEN_WORD && r->t.kind != SQL_TOKEN_QUOTED && !is_char(r, '.'))
            is_cast = false;
    }
    *out = (struct sql_operand){.start = first.start, .end = first.end};
    if (n == 0 || n == 2 || n == 3 || !is_cast)
        return;
    if (first.kind == SQL_TOKEN_PARAMETER) {
        for (uint32_t i = first.start + 1; i < first.end && out->number < 65536; i++)
            out->number = out->number * 10 + (uint32_t)(r->l.text[i] - '0');
        out->kind = out->number > 0 && out->number < 65536 ? SQL_OPERAND_PARAMETER : SQL_OPERAND_UNKNOWN;
    } else if (first.kind == SQL_TOKEN_STRING || first.kind == SQL_TOKEN_NUMBER ||
               sql_lexer_is_word(&r->l, &first, "TRUE") || sql_lexer_is_word(&r->l, &first, "FALSE")) {
        out->kind = SQL_OPERAND_LITERAL;
    } else if (sql_lexer_is_word(&r->l, &first, "NULL")) {
        out->kind = SQL_OPERAND_NULL;
    }
}

/* r: behind the opening parenthesis; a copy, as calls may be in arguments. */
static bool read_operands(struct sql_session_reader r, struct sql_operand args[3])
{
    for (int i = 0; i < 3; i++) {
        read_operand(&r, &args[i]);
        if (!is_char(&r, i < 2 ? ',' : ')'))
            return false; /* another function */
        next(&r);
    }
    return true;
}

/* At the parenthesis behind the name, of that kind. False: it is another function. */
static bool read_call(struct sql_session_reader *r, enum sql_session_kind kind, struct sql_session_act *out)
{
    next(r);
    r->depth++;
    out->kind = kind;
    out->is_certain = r->is_select && r->depth == 1;
    return kind != SQL_SESSION_SET_CONFIG || read_operands(*r, out->args);
}

/* SELECT ... INTO [LOCAL | GLOBAL] TEMP. */
static bool read_into(struct sql_session_reader *r, struct sql_session_act *out)
{
    next(r);
    if (!take(r, "LOCAL"))
        (void)take(r, "GLOBAL");
    out->kind = SQL_SESSION_TEMP;
    return is_temp(r) || is_temp_schema(r);
}

/* At U&"...": a function whose name has escapes? It may be any that matters, of which the shortest has 10
 * letters. */
static bool is_escaped_function(const struct sql_session_reader *r)
{
    const uint32_t n = r->t.end - r->t.start;

    if (r->t.kind != SQL_TOKEN_UQUOTED || n < sizeof("U&\"set_config\""))
        return false;
    struct sql_session_reader later = behind(r);
    bool has_escapes = memchr(r->l.text + r->t.start, '\\', n) != NULL;
    if (take(&later, "UESCAPE")) {
        has_escapes = true;
        next(&later);
    }
    return has_escapes && is_char(&later, '(');
}

static void note_token(struct sql_session_reader *r)
{
    /* or what follows may not be performed */
    static const char *const ends[] = {"FROM",  "WHERE",  "UNION",  "INTERSECT", "EXCEPT", "GROUP", "LIMIT",
                                       "FETCH", "OFFSET", "HAVING", "CASE",      "AND",    "OR"};

    if (is_char(r, '('))
        r->depth++;
    else if (is_char(r, ')') && r->depth > 0)
        r->depth--;
    if (!r->is_select || r->depth > 0 || r->t.kind != SQL_TOKEN_WORD)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        if (is_at(r, ends[i]))
            r->is_select = false;
    }
}

static bool read_calls(struct sql_session_reader *r, struct sql_session_act *out)
{
    enum sql_session_kind kind;

    while (!is_end(r)) {
        *out = (struct sql_session_act){0};
        if (is_char(r, '(') && is_call(r, &r->before, &kind)) {
            if (read_call(r, kind, out))
                return true;
        } else if (r->depth == 0 && !r->is_insert && is_at(r, "INTO")) {
            r->is_select = false;
            if (read_into(r, out))
                return true;
        } else if (is_escaped_function(r)) {
            next(r);
            r->hidden = SQL_BODY_LOCK | SQL_BODY_UNLOCK | SQL_BODY_SETTING;
            return false;
        } else {
            note_token(r);
            next(r);
        }
    }
    return false;
}

/* ---- statements ---- */

static bool read_select(struct sql_session_reader *r, struct sql_session_act *out)
{
    (void)out;
    r->is_select = true;
    r->at = AT_CALLS;
    return false;
}

static bool read_head(struct sql_session_reader *r, struct sql_session_act *out)
{
    static const struct {
        const char *word;
        bool (*read)(struct sql_session_reader *r, struct sql_session_act *out);
    } heads[] = {
        {"SELECT", read_select},       {"SET", read_set},           {"RESET", read_reset},
        {"BEGIN", read_begin},         {"START", read_start},       {"COMMIT", read_commit},
        {"END", read_commit},          {"ROLLBACK", read_rollback}, {"ABORT", read_rollback},
        {"SAVEPOINT", read_savepoint}, {"RELEASE", read_release},   {"PREPARE", read_prepare},
        {"LISTEN", read_listen},       {"UNLISTEN", read_unlisten}, {"NOTIFY", read_notify},
        {"DISCARD", read_discard},     {"LOAD", read_load},         {"DECLARE", read_declare},
        {"CLOSE", read_close},         {"CREATE", read_create},     {"DO", read_do},
        {"CALL", read_procedure},
    };

    r->at = AT_END;
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
        if (take(r, heads[i].word))
            return heads[i].read(r, out);
    }
    r->is_insert = is_at(r, "INSERT") || is_at(r, "MERGE");
    r->at = AT_CALLS;
    return false;
}

void sql_session_begin(struct sql_session_reader *r, const struct sql_lexer *whole,
                       const struct sql_statement *s, bool is_utf8)
{
    *r = (struct sql_session_reader){.l = *whole, .is_utf8 = is_utf8, .at = AT_HEAD};
    r->l.at = s->start;
    r->l.len_bytes = s->end;
    next(r);
}

bool sql_session_next(struct sql_session_reader *r, struct sql_session_act *out)
{
    for (;;) {
        const uint8_t at = r->at;
        bool is_act = false;

        *out = (struct sql_session_act){0};
        if (r->hidden != 0) {
            take_hidden(r, out);
            return true;
        }
        if (at == AT_HEAD)
            is_act = read_head(r, out);
        else if (at == AT_MODES)
            is_act = read_mode(r, out);
        else if (at == AT_CALLS)
            is_act = read_calls(r, out);
        if (is_act)
            return true;
        if (r->hidden == 0 && (at != AT_HEAD || r->at == AT_END)) {
            r->at = AT_END;
            *out = (struct sql_session_act){0};
            return false;
        }
    }
}
