/*
 * sql_lexer.c - the tokens of SQL, as PostgreSQL's scanner divides them, and the statements of a string.
 *
 * Where a token ends matters, not what it is worth: what PostgreSQL refuses may come out as any
 * tokens. Versions differ in what they refuse, not in where tokens end.
 *
 * Pure; any thread.
 */
#include "wire/sql_lexer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    IS_SPACE = 1 << 0,
    IS_NAME_START = 1 << 1, /* letters, _ and all bytes above 0x7f */
    IS_DIGIT = 1 << 2,
    IS_OPERATOR = 1 << 3,
    IS_NAME = IS_NAME_START | IS_DIGIT,
};

#define SPACE    IS_SPACE
#define LETTER   IS_NAME_START
#define OPERATOR IS_OPERATOR

static const uint8_t classes[256] = {
    [' '] = SPACE,          ['\t'] = SPACE,   ['\n'] = SPACE,           ['\r'] = SPACE,
    ['\f'] = SPACE,         ['\v'] = SPACE,   ['0' ... '9'] = IS_DIGIT, ['A' ... 'Z'] = LETTER,
    ['a' ... 'z'] = LETTER, ['_'] = LETTER,   [0x80 ... 0xff] = LETTER, ['~'] = OPERATOR,
    ['!'] = OPERATOR,       ['@'] = OPERATOR, ['#'] = OPERATOR,         ['^'] = OPERATOR,
    ['&'] = OPERATOR,       ['|'] = OPERATOR, ['`'] = OPERATOR,         ['?'] = OPERATOR,
    ['+'] = OPERATOR,       ['-'] = OPERATOR, ['*'] = OPERATOR,         ['/'] = OPERATOR,
    ['%'] = OPERATOR,       ['<'] = OPERATOR, ['>'] = OPERATOR,         ['='] = OPERATOR,
};

/* The byte there, or NUL behind the end. */
static char peek(const struct sql_lexer *l, uint32_t at)
{
    return at < l->len_bytes ? l->text[at] : '\0';
}

static uint8_t class_at(const struct sql_lexer *l, uint32_t at)
{
    return at < l->len_bytes ? classes[(uint8_t)l->text[at]] : 0;
}

static bool starts_line_comment(const struct sql_lexer *l, uint32_t at)
{
    return peek(l, at) == '-' && peek(l, at + 1) == '-';
}

static bool starts_block_comment(const struct sql_lexer *l, uint32_t at)
{
    return peek(l, at) == '/' && peek(l, at + 1) == '*';
}

static uint32_t skip_line(const struct sql_lexer *l, uint32_t at)
{
    while (at < l->len_bytes && l->text[at] != '\n' && l->text[at] != '\r')
        at++;
    return at;
}

/* They nest. Beyond the end: it has none. */
static uint32_t skip_block(const struct sql_lexer *l, uint32_t at)
{
    uint32_t depth = 0;

    while (at < l->len_bytes) {
        if (starts_block_comment(l, at)) {
            depth++;
            at += 2;
        } else if (l->text[at] == '*' && peek(l, at + 1) == '/') {
            at += 2;
            if (--depth == 0)
                return at;
        } else {
            at++;
        }
    }
    return l->len_bytes + 1;
}

/* Blanks and comments. Beyond the end: a comment has none. */
static uint32_t skip_blanks(const struct sql_lexer *l, uint32_t at)
{
    while (at < l->len_bytes) {
        if (class_at(l, at) & IS_SPACE)
            at++;
        else if (starts_line_comment(l, at))
            at = skip_line(l, at);
        else if (starts_block_comment(l, at))
            at = skip_block(l, at);
        else
            break;
    }
    return at;
}

/* A literal goes on behind blanks with a line's end in them: where its next quote is, or 0. */
static uint32_t find_continuation(const struct sql_lexer *l, uint32_t at)
{
    bool has_newline = false;

    for (; at < l->len_bytes; at++) {
        if (starts_line_comment(l, at))
            at = skip_line(l, at);
        char c = peek(l, at);
        if (c == '\n' || c == '\r')
            has_newline = true;
        else if (c == '\'' && has_newline)
            return at;
        else if (!(class_at(l, at) & IS_SPACE))
            return 0;
    }
    return 0;
}

/* at: the opening quote. Behind the closing one, or beyond the end. */
static uint32_t skip_quoted(const struct sql_lexer *l, uint32_t at, bool has_escapes)
{
    const char quote = l->text[at++];

    while (at < l->len_bytes) {
        char c = l->text[at];
        if (c == '\\' && has_escapes) {
            at += 2;
        } else if (c != quote) {
            at++;
        } else if (peek(l, at + 1) == quote) {
            at += 2;
        } else {
            uint32_t next = quote == '\'' ? find_continuation(l, at + 1) : 0;
            if (next == 0)
                return at + 1;
            at = next + 1;
        }
    }
    return l->len_bytes + 1;
}

/* at: a $. Behind the $ that ends the tag, or 0 when it begins no literal. */
static uint32_t skip_dollar_tag(const struct sql_lexer *l, uint32_t at)
{
    at++;
    if (class_at(l, at) & IS_NAME_START)
        while (class_at(l, at) & IS_NAME)
            at++;
    return peek(l, at) == '$' ? at + 1 : 0;
}

static uint32_t skip_dollar_quoted(const struct sql_lexer *l, uint32_t start, uint32_t at)
{
    const uint32_t tag_bytes = at - start;

    while (at + tag_bytes <= l->len_bytes) {
        const char *dollar = memchr(l->text + at, '$', l->len_bytes - at);
        if (dollar == NULL)
            break;
        at = (uint32_t)(dollar - l->text);
        if (at + tag_bytes > l->len_bytes)
            break;
        if (memcmp(l->text + at, l->text + start, tag_bytes) == 0)
            return at + tag_bytes;
        at++;
    }
    return l->len_bytes + 1;
}

static uint32_t skip_digits(const struct sql_lexer *l, uint32_t at)
{
    while (class_at(l, at) & IS_DIGIT)
        at++;
    return at;
}

/* What is no part of a number to old versions, and refused by new ones, is a token of its own. */
static uint32_t skip_number(const struct sql_lexer *l, uint32_t at)
{
    at = skip_digits(l, at);
    if (peek(l, at) == '.' && peek(l, at + 1) != '.')
        at = skip_digits(l, at + 1);
    if (peek(l, at) == 'e' || peek(l, at) == 'E') {
        uint32_t digits = at + 1;
        if (peek(l, digits) == '+' || peek(l, digits) == '-')
            digits++;
        if (class_at(l, digits) & IS_DIGIT)
            at = skip_digits(l, digits);
    }
    return at;
}

static uint32_t skip_operator(const struct sql_lexer *l, uint32_t at)
{
    while ((class_at(l, at) & IS_OPERATOR) && !starts_line_comment(l, at) && !starts_block_comment(l, at))
        at++;
    return at;
}

static uint32_t skip_word(const struct sql_lexer *l, uint32_t at)
{
    while ((class_at(l, at) & IS_NAME) || peek(l, at) == '$')
        at++;
    return at;
}

/* A letter: a name, or what stands ahead of a literal. */
static enum sql_token_kind lex_letter(const struct sql_lexer *l, uint32_t at, uint32_t *end)
{
    const char c = (char)(l->text[at] | 0x20);
    const char next = peek(l, at + 1);

    if (next == '\'' && (c == 'e' || c == 'b' || c == 'x' || c == 'n')) {
        *end = skip_quoted(l, at + 1, c == 'e' || (c == 'n' && !l->standard_strings));
        return SQL_TOKEN_STRING;
    }
    if (c == 'u' && next == '&' && (peek(l, at + 2) == '\'' || peek(l, at + 2) == '"')) {
        *end = skip_quoted(l, at + 2, false);
        return l->text[at + 2] == '"' ? SQL_TOKEN_UQUOTED : SQL_TOKEN_STRING;
    }
    *end = skip_word(l, at);
    return SQL_TOKEN_WORD;
}

static enum sql_token_kind lex_dollar(const struct sql_lexer *l, uint32_t at, uint32_t *end)
{
    if (class_at(l, at + 1) & IS_DIGIT) {
        *end = skip_digits(l, at + 1);
        return SQL_TOKEN_PARAMETER;
    }
    uint32_t inside = skip_dollar_tag(l, at);
    *end = inside == 0 ? at + 1 : skip_dollar_quoted(l, at, inside);
    return inside == 0 ? SQL_TOKEN_CHAR : SQL_TOKEN_STRING;
}

static enum sql_token_kind lex_one(const struct sql_lexer *l, uint32_t at, uint32_t *end)
{
    const uint8_t class = class_at(l, at);

    if (class & IS_NAME_START)
        return lex_letter(l, at, end);
    if ((class & IS_DIGIT) || (l->text[at] == '.' && (class_at(l, at + 1) & IS_DIGIT))) {
        *end = skip_number(l, at);
        return SQL_TOKEN_NUMBER;
    }
    if (class & IS_OPERATOR) {
        *end = skip_operator(l, at);
        return SQL_TOKEN_OPERATOR;
    }
    switch (l->text[at]) {
    case '\'': *end = skip_quoted(l, at, !l->standard_strings); return SQL_TOKEN_STRING;
    case '"': *end = skip_quoted(l, at, false); return SQL_TOKEN_QUOTED;
    case '$': return lex_dollar(l, at, end);
    default: *end = at + 1; return SQL_TOKEN_CHAR;
    }
}

struct sql_token sql_lexer_next(struct sql_lexer *l)
{
    uint32_t at = skip_blanks(l, l->at), end;

    if (at >= l->len_bytes) {
        bool is_broken = at > l->len_bytes;
        if (!is_broken)
            l->at = l->len_bytes;
        return (struct sql_token){is_broken ? SQL_TOKEN_BROKEN : SQL_TOKEN_END, l->len_bytes, l->len_bytes};
    }
    enum sql_token_kind kind = lex_one(l, at, &end);
    if (end > l->len_bytes)
        return (struct sql_token){SQL_TOKEN_BROKEN, at, l->len_bytes};
    l->at = end;
    return (struct sql_token){kind, at, end};
}

bool sql_lexer_is_word(const struct sql_lexer *l, const struct sql_token *t, const char *keyword)
{
    const size_t n = t->end - t->start;
    return t->kind == SQL_TOKEN_WORD && strlen(keyword) == n &&
           strncasecmp(l->text + t->start, keyword, n) == 0;
}

bool sql_encoding_is_safe(const char *client_encoding)
{
    /* as PostgreSQL reports them; the rest of its list is for clients what it is for servers */
    static const char *const unsafe[] = {"SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"};

    if (client_encoding == NULL)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(unsafe); i++)
        if (strcasecmp(client_encoding, unsafe[i]) == 0)
            return false;
    return true;
}

/* ---- names ---- */

uint32_t sql_name(const struct sql_lexer *l, const struct sql_token *t, bool is_utf8,
                  char out[SQL_NAME_BYTES])
{
    const bool is_quoted = t->kind == SQL_TOKEN_QUOTED;
    uint32_t n = 0;

    if (t->kind != SQL_TOKEN_WORD && !is_quoted)
        return 0;
    const uint32_t end = is_quoted ? t->end - 1 : t->end;
    for (uint32_t i = is_quoted ? t->start + 1 : t->start; i < end; i++) {
        char c = l->text[i];
        if (n == SQL_NAME_BYTES - 1) {
            /* the first byte that has no room: its character goes whole */
            while (is_utf8 && n > 0 && ((uint8_t)c & 0xc0) == 0x80)
                c = out[--n];
            break;
        }
        if (is_quoted && c == '"')
            i++;
        out[n++] = !is_quoted && c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    out[n] = '\0';
    return n;
}

/* Reserved words, and those that are so but for the names of types and functions; sorted. */
static const char *const reserved[] = {
    "ALL",
    "ANALYSE",
    "ANALYZE",
    "AND",
    "ANY",
    "ARRAY",
    "AS",
    "ASC",
    "ASYMMETRIC",
    "AUTHORIZATION",
    "BINARY",
    "BOTH",
    "CASE",
    "CAST",
    "CHECK",
    "COLLATE",
    "COLLATION",
    "COLUMN",
    "CONCURRENTLY",
    "CONSTRAINT",
    "CREATE",
    "CROSS",
    "CURRENT_CATALOG",
    "CURRENT_DATE",
    "CURRENT_ROLE",
    "CURRENT_SCHEMA",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "DEFAULT",
    "DEFERRABLE",
    "DESC",
    "DISTINCT",
    "DO",
    "ELSE",
    "END",
    "EXCEPT",
    "FALSE",
    "FETCH",
    "FOR",
    "FOREIGN",
    "FREEZE",
    "FROM",
    "FULL",
    "GRANT",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INITIALLY",
    "INNER",
    "INTERSECT",
    "INTO",
    "IS",
    "ISNULL",
    "JOIN",
    "LATERAL",
    "LEADING",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "NATURAL",
    "NOT",
    "NOTNULL",
    "NULL",
    "OFFSET",
    "ON",
    "ONLY",
    "OR",
    "ORDER",
    "OUTER",
    "OVERLAPS",
    "PLACING",
    "PRIMARY",
    "REFERENCES",
    "RETURNING",
    "RIGHT",
    "SELECT",
    "SESSION_USER",
    "SIMILAR",
    "SOME",
    "SYMMETRIC",
    "SYSTEM_USER",
    "TABLE",
    "TABLESAMPLE",
    "THEN",
    "TO",
    "TRAILING",
    "TRUE",
    "UNION",
    "UNIQUE",
    "USER",
    "USING",
    "VARIADIC",
    "VERBOSE",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
};

struct word {
    const char *text;
    size_t len;
};

static int compare_word(const void *key, const void *element)
{
    const struct word *w = key;
    const char *other = *(const char *const *)element;
    int c = strncasecmp(w->text, other, w->len);
    return c != 0 ? c : other[w->len] == '\0' ? 0 : -1;
}

bool sql_is_reserved(const struct sql_lexer *l, const struct sql_token *t)
{
    struct word w = {l->text + t->start, t->end - t->start};
    return t->kind == SQL_TOKEN_WORD &&
           bsearch(&w, reserved, ARRAY_SIZE(reserved), sizeof(reserved[0]), compare_word) != NULL;
}

/* ---- statements ---- */

/* What decides whether a semicolon ends the statement. */
struct nesting {
    uint32_t words;       /* how many of CREATE [OR REPLACE] FUNCTION have come, see below */
    bool is_function;     /* CREATE FUNCTION or PROCEDURE */
    bool is_behind_begin; /* BEGIN was the last token */
    uint32_t parens;
    uint32_t blocks; /* BEGIN ATOMIC, and CASE inside of it, that have no END yet */
};

/* The first tokens: is it CREATE [OR REPLACE] FUNCTION | PROCEDURE? */
static void see_head(struct nesting *n, const struct sql_lexer *l, const struct sql_token *t)
{
    static const char *const head[] = {"CREATE", "OR", "REPLACE"};

    if (n->words > 3)
        return;
    if ((n->words == 1 || n->words == 3) &&
        (sql_lexer_is_word(l, t, "FUNCTION") || sql_lexer_is_word(l, t, "PROCEDURE"))) {
        n->is_function = true;
        n->words = 4;
    } else if (n->words < 3 && sql_lexer_is_word(l, t, head[n->words])) {
        n->words++;
    } else {
        n->words = 4;
    }
}

static void see_body(struct nesting *n, const struct sql_lexer *l, const struct sql_token *t)
{
    if (n->blocks == 0) {
        if (n->is_behind_begin && sql_lexer_is_word(l, t, "ATOMIC") && n->parens == 0)
            n->blocks = 1;
        n->is_behind_begin = sql_lexer_is_word(l, t, "BEGIN");
    } else if (sql_lexer_is_word(l, t, "CASE") || sql_lexer_is_word(l, t, "BEGIN")) {
        n->blocks++;
    } else if (sql_lexer_is_word(l, t, "END")) {
        n->blocks--;
    }
}

static void see(struct nesting *n, const struct sql_lexer *l, const struct sql_token *t)
{
    see_head(n, l, t);
    if (n->is_function)
        see_body(n, l, t);
    if (sql_lexer_is_char(l, t, '('))
        n->parens++;
    else if (sql_lexer_is_char(l, t, ')') && n->parens > 0)
        n->parens--;
}

enum sql_statement_result sql_next_statement(struct sql_lexer *l, struct sql_statement *s)
{
    struct nesting n = {0};
    bool is_begun = false;

    for (;;) {
        struct sql_token t = sql_lexer_next(l);
        if (t.kind == SQL_TOKEN_BROKEN)
            return SQL_STATEMENT_BROKEN;
        if (t.kind == SQL_TOKEN_END)
            return is_begun ? SQL_STATEMENT_OK : SQL_STATEMENT_NONE;
        if (n.parens == 0 && n.blocks == 0 && sql_lexer_is_char(l, &t, ';')) {
            if (is_begun)
                return SQL_STATEMENT_OK;
            continue;
        }
        if (!is_begun)
            s->start = t.start;
        is_begun = true;
        s->end = t.end;
        see(&n, l, &t);
    }
}
