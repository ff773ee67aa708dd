/*
 * console_parse.c - reads the console's statements.
 *
 * Words are found in the tables of commands and relations. Comments and quoting
 * are PostgreSQL's: -- to the end of the line, nested slash-star, "identifier",
 * 'string' with doubled quotes. Bare names keep their case, as database names
 * are looked up as they stand.
 *
 * Pure: text in, struct statement out.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "ops_int.h"

enum token_kind {
    TOKEN_END, /* of the text, or ; */
    TOKEN_WORD,
    TOKEN_QUOTED, /* "identifier" */
    TOKEN_STRING,
    TOKEN_PARAMETER, /* $1 */
    TOKEN_OTHER,     /* one character */
    TOKEN_BAD,
};

struct token {
    enum token_kind kind;
    const char *start; /* in the text, quotes included */
    char text[CONSOLE_VALUE_BYTES];
};

static const char *const bad_comment = "unterminated comment";
static const char *const bad_quote = "unterminated quoted string";
static const char *const bad_length = "too long";

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Of names and bare values: also addresses, paths and numbers with units. */
static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) != 0 ||
           (c != '\0' && strchr("_.:/@+-", c) != NULL);
}

static bool is_comment(const char *p)
{
    return (p[0] == '-' && p[1] == '-') || (p[0] == '/' && p[1] == '*');
}

/* Past blanks and comments; NULL when a comment has no end. */
static const char *skip_blanks(const char *p)
{
    for (;;) {
        while (is_blank(*p))
            p++;
        if (!is_comment(p))
            return p;
        if (*p == '-') {
            p += strcspn(p, "\n");
            continue;
        }
        int depth = 0;
        do {
            if (p[0] == '/' && p[1] == '*') {
                depth++;
                p += 2;
            } else if (p[0] == '*' && p[1] == '/') {
                depth--;
                p += 2;
            } else if (*p++ == '\0') {
                return NULL;
            }
        } while (depth > 0);
    }
}

static void token_bad(struct token *t, const char *why)
{
    t->kind = TOKEN_BAD;
    str_copy(t->text, why, sizeof(t->text));
}

static const char *read_quoted(const char *p, struct token *t)
{
    char quote = *p++;
    size_t n = 0;

    t->kind = quote == '"' ? TOKEN_QUOTED : TOKEN_STRING;
    for (; *p != '\0'; p++) {
        if (*p == quote && *++p != quote) {
            t->text[n] = '\0';
            return p;
        }
        if (n + 1 == sizeof(t->text)) {
            token_bad(t, bad_length);
            return p;
        }
        t->text[n++] = *p;
    }
    token_bad(t, bad_quote);
    return p;
}

/* Reads the token at p and returns what is behind it; stays before the end. */
static const char *token_read(const char *p, struct token *t)
{
    size_t n = 0;

    t->text[0] = '\0';
    p = skip_blanks(p);
    if (p == NULL) {
        token_bad(t, bad_comment);
        return "";
    }
    t->start = p;
    if (*p == '\0' || *p == ';') {
        t->kind = TOKEN_END;
        return p;
    }
    if (*p == '"' || *p == '\'')
        return read_quoted(p, t);
    t->kind = TOKEN_OTHER;
    if (*p == '$') {
        t->kind = TOKEN_PARAMETER;
        t->text[n++] = *p++;
        while (*p >= '0' && *p <= '9' && n < 10)
            t->text[n++] = *p++;
    } else if (is_word(*p)) {
        t->kind = TOKEN_WORD;
        while (is_word(*p) && !is_comment(p) && n + 1 < sizeof(t->text))
            t->text[n++] = *p++;
        if (is_word(*p) && !is_comment(p)) {
            token_bad(t, bad_length);
            return p;
        }
    } else {
        t->text[n++] = *p++;
    }
    t->text[n] = '\0';
    return p;
}

static bool fail(struct parse_error *e, const char *sqlstate, const char *message, const char *arg)
{
    e->sqlstate = sqlstate;
    /* the argument is the client's: of bounded length */
    if (arg != NULL)
        snprintf(e->message, sizeof(e->message), message, (int)CONSOLE_NAME_BYTES, arg);
    else
        str_copy(e->message, message, sizeof(e->message));
    return false;
}

#define FAIL_INVALID   "invalid command '%.*s', use SHOW HELP;"
#define FAIL_NEAR      "syntax error at or near \"%.*s\""
#define FAIL_PARAMETER "the console takes no parameters: \"%.*s\""

/* The token is not what should be here. */
static bool fail_token(struct parse_error *e, const struct token *t)
{
    switch (t->kind) {
    case TOKEN_END: return fail(e, "42601", "syntax error at end of input", NULL);
    case TOKEN_BAD: return fail(e, "42601", "syntax error: %.*s", t->text);
    case TOKEN_PARAMETER: return fail(e, "42P02", FAIL_PARAMETER, t->text);
    default: return fail(e, "42601", FAIL_NEAR, t->text);
    }
}

/*
 * The rest as words with one blank between, or none where a symbol is beside: "transaction
 * isolation level", "version()". False when it is too long to be anything known, or bad.
 */
static bool read_rest(const char **p, char *out, size_t size, struct token *t)
{
    enum token_kind last = TOKEN_END;
    size_t n = 0;

    out[0] = '\0';
    for (;; last = t->kind) {
        *p = token_read(*p, t);
        if (t->kind == TOKEN_END)
            return true;
        if (t->kind == TOKEN_BAD || t->kind == TOKEN_PARAMETER || t->kind == TOKEN_STRING)
            return false;
        bool has_blank = last != TOKEN_END && last != TOKEN_OTHER && t->kind != TOKEN_OTHER;
        size_t len = strlen(t->text);
        if (n + len + has_blank + 1 > size)
            return false;
        if (has_blank)
            out[n++] = ' ';
        memcpy(out + n, t->text, len + 1);
        n += len;
    }
}

static bool parse_show(const char **p, struct statement *st, struct parse_error *e)
{
    bool is_select = st->command->arg == ARG_EXPRESSION;
    char text[CONSOLE_NAME_BYTES + 1];
    const char *name = text;
    struct token t;

    if (!read_rest(p, text, sizeof(text), &t)) {
        if (t.kind == TOKEN_BAD || t.kind == TOKEN_PARAMETER)
            return fail_token(e, &t);
        return fail(e, "42601", FAIL_INVALID, st->command->name);
    }
    if (text[0] == '\0') {
        if (is_select)
            return fail_token(e, &t);
        return true; /* SHOW alone: as SHOW HELP */
    }
    if (str_has_prefix(text, "pg_catalog."))
        name += strlen("pg_catalog.");
    st->fixed = fixed_find(is_select, name);
    if (st->fixed != NULL)
        return true;
    st->relation = relation_find(name);
    if (st->relation != NULL)
        return true;
    if (strcasecmp(name, "FDS") == 0) {
        str_copy(e->hint, "SHOW SOCKETS lists the connections.", sizeof(e->hint));
        return fail(e, "0A000",
                    "SHOW FDS is not supported: PgBouncer has removed it, and no descriptors are handed to "
                    "another process here",
                    NULL);
    }
    relation_hint(name, e->hint, sizeof(e->hint));
    e->sqlstate = "42601";
    snprintf(e->message, sizeof(e->message), "invalid command '%s %.*s', use SHOW HELP;", st->command->name,
             CONSOLE_NAME_BYTES, text);
    return false;
}

/* The whole statement, as it stands. */
static bool parse_query(const char **p, const char *start, struct statement *st, struct parse_error *e)
{
    const char *end = select_find_end(start, strlen(start));

    if (end == NULL)
        return fail(e, "42601", "syntax error: unterminated quoted string or comment", NULL);
    memset(e, 0, sizeof(*e));
    st->query = start;
    st->query_bytes = (uint32_t)(end - start);
    *p = end;
    return true;
}

/* SELECT x with a name that is nobody's: rather a SHOW mistyped than a query. */
static bool is_lone_name(const char *start)
{
    struct token t;
    const char *p = token_read(token_read(start, &t), &t);

    if ((t.kind != TOKEN_WORD && t.kind != TOKEN_QUOTED) || select_is_keyword(t.text) ||
        (t.text[0] >= '0' && t.text[0] <= '9') || strpbrk(t.text, "+-*/.:") != NULL)
        return t.kind == TOKEN_END;
    (void)token_read(p, &t);
    return t.kind == TOKEN_END;
}

static bool parse_expression(const char **p, const char *start, struct statement *st, struct parse_error *e)
{
    if (!parse_show(p, st, e) && (!select_is_built() || is_lone_name(start)))
        return false;
    if (st->fixed != NULL || st->relation != NULL)
        return true;
    return parse_query(p, start, st, e);
}

static bool parse_name(const char **p, struct statement *st, struct parse_error *e)
{
    struct token t;

    *p = token_read(*p, &t);
    if (t.kind == TOKEN_END && st->command->arg == ARG_OPTIONAL_NAME)
        return true;
    if (t.kind != TOKEN_WORD && t.kind != TOKEN_QUOTED)
        return fail_token(e, &t);
    if (t.text[0] == '\0' || strlen(t.text) >= sizeof(st->name))
        return fail(e, "42602", "invalid name \"%.*s\"", t.text);
    str_copy(st->name, t.text, sizeof(st->name));
    return true;
}

static bool parse_mode(const char **p, struct statement *st, struct parse_error *e)
{
    struct token t;

    *p = token_read(*p, &t);
    st->mode = SHUTDOWN_IMMEDIATE;
    if (t.kind == TOKEN_END)
        return true;
    if (t.kind == TOKEN_WORD && strcasecmp(t.text, "WAIT_FOR_SERVERS") == 0)
        st->mode = SHUTDOWN_WAIT_FOR_SERVERS;
    else if (t.kind == TOKEN_WORD && strcasecmp(t.text, "WAIT_FOR_CLIENTS") == 0)
        st->mode = SHUTDOWN_WAIT_FOR_CLIENTS;
    else if (t.kind == TOKEN_WORD && strcasecmp(t.text, "DRAIN") == 0)
        st->mode = SHUTDOWN_DRAIN;
    else {
        str_copy(e->hint, "SHUTDOWN takes WAIT_FOR_SERVERS, WAIT_FOR_CLIENTS, DRAIN or nothing.",
                 sizeof(e->hint));
        return fail_token(e, &t);
    }
    return true;
}

static bool is_word_token(const struct token *t, const char *word)
{
    return t->kind == TOKEN_WORD && strcasecmp(t->text, word) == 0;
}

static void skip_statement(const char **p, struct token *t)
{
    do
        *p = token_read(*p, t);
    while (t->kind != TOKEN_END && t->kind != TOKEN_BAD);
}

/* One word, number, "identifier" or 'string'. */
static bool parse_value(const char **p, struct statement *st, struct parse_error *e)
{
    struct token t;

    *p = token_read(*p, &t);
    if (t.kind != TOKEN_WORD && t.kind != TOKEN_QUOTED && t.kind != TOKEN_STRING)
        return fail_token(e, &t);
    str_copy(st->value, t.text, sizeof(st->value));
    return true;
}

/* SET [SESSION | LOCAL] key { = | TO } value. What PostgreSQL understands and means nothing here is passed
 * over. */
static bool parse_set(const char **p, struct statement *st, struct parse_error *e)
{
    struct token t;
    const char *at = token_read(*p, &t);

    if (is_word_token(&t, "SESSION") || is_word_token(&t, "LOCAL")) {
        const char *behind = token_read(at, &t);

        if (t.kind == TOKEN_WORD)
            at = behind;
        else
            (void)token_read(*p, &t); /* a setting of that name: refused as unknown */
    }
    if (t.kind != TOKEN_WORD && t.kind != TOKEN_QUOTED)
        return fail_token(e, &t);
    if (strlen(t.text) >= sizeof(st->name))
        return fail(e, "42704", "unrecognized configuration parameter \"%.*s\"", t.text);
    str_copy(st->name, t.text, sizeof(st->name));

    if (guc_is_ignored(st->name)) {
        *p = at;
        skip_statement(p, &t);
        return t.kind == TOKEN_END || fail_token(e, &t);
    }
    *p = token_read(at, &t);
    if (strcmp(t.text, "=") != 0 && !is_word_token(&t, "TO")) {
        str_copy(e->hint, "Write SET key = value.", sizeof(e->hint));
        return fail_token(e, &t);
    }
    return parse_value(p, st, e);
}

static bool parse_argument(const char **p, const char *start, struct statement *st, struct parse_error *e)
{
    struct token t;

    switch (st->command->arg) {
    case ARG_NONE: return true;
    case ARG_RELATION: return parse_show(p, st, e);
    case ARG_EXPRESSION: return parse_expression(p, start, st, e);
    case ARG_QUERY:
        if (!select_is_built())
            return fail(e, "42601", FAIL_INVALID, st->command->name);
        return parse_query(p, start, st, e);
    case ARG_OPTIONAL_NAME:
    case ARG_NAME: return parse_name(p, st, e);
    case ARG_MODE: return parse_mode(p, st, e);
    case ARG_SETTING: return parse_set(p, st, e);
    case ARG_ANYTHING: skip_statement(p, &t); return t.kind == TOKEN_END || fail_token(e, &t);
    }
    return true;
}

bool statement_parse(const char **sql, struct statement *st, struct parse_error *e)
{
    const char *p = *sql, *start;
    struct token t;

    memset(st, 0, sizeof(*st));
    memset(e, 0, sizeof(*e));
    p = token_read(p, &t);
    if (t.kind == TOKEN_END) {
        *sql = *p == ';' ? p + 1 : p;
        return true;
    }
    if (t.kind == TOKEN_BAD || t.kind == TOKEN_PARAMETER)
        return fail_token(e, &t);
    start = t.start;
    if (t.kind == TOKEN_WORD)
        st->command = command_find(t.text);
    if (st->command == NULL) {
        command_hint(t.text, e->hint, sizeof(e->hint));
        return fail(e, "42601", FAIL_INVALID, t.text);
    }
    if (!parse_argument(&p, start, st, e))
        return false;
    p = token_read(p, &t);
    if (t.kind != TOKEN_END)
        return fail_token(e, &t);
    *sql = *p == ';' ? p + 1 : p;
    return true;
}

bool statement_is_last(const char *sql)
{
    for (;;) {
        sql = skip_blanks(sql);
        if (sql == NULL || *sql != ';')
            return sql == NULL || *sql == '\0';
        sql++;
    }
}

const struct column *statement_columns(const struct statement *st, uint16_t *n)
{
    if (st->plan != NULL)
        return select_plan_columns(st->plan, n);
    if (st->fixed != NULL) {
        *n = 1;
        return &st->fixed->column;
    }
    if (st->relation == NULL)
        return command_columns(st->command, n);
    *n = st->relation->n_columns;
    return st->relation->columns;
}
