/*
 * select_lex.c - tokens of SQL as PostgreSQL has them.
 *
 * Enough to find the end of a statement, to translate it and to guess at types; what is
 * right and wrong is SQLite's to say. String constants are those of
 * standard_conforming_strings = on; comments nest.
 *
 * Pure: text in, tokens out.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "select_int.h"

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

static bool starts(const char *p, const char *end, const char *what)
{
    size_t n = strlen(what);

    return (size_t)(end - p) >= n && memcmp(p, what, n) == 0;
}

/* NULL when a comment has no end. */
static const char *skip_comment(const char *p, const char *end)
{
    int depth = 0;

    if (*p == '-') {
        while (p < end && *p != '\n')
            p++;
        return p;
    }
    do {
        if (starts(p, end, "/*")) {
            depth++;
            p += 2;
        } else if (starts(p, end, "*/")) {
            depth--;
            p += 2;
        } else if (p++ >= end) {
            return NULL;
        }
    } while (depth > 0);
    return p;
}

static const char *skip_quoted(const char *p, const char *end)
{
    char quote = *p++;

    for (; p < end; p++) {
        if (*p != quote)
            continue;
        if (p + 1 == end || p[1] != quote)
            return p + 1;
        p++;
    }
    return NULL;
}

static const char *skip_number(const char *p, const char *end)
{
    while (p < end && (is_digit(*p) || *p == '.'))
        p++;
    if (p < end && (*p == 'e' || *p == 'E')) {
        const char *q = p + 1;

        if (q < end && (*q == '+' || *q == '-'))
            q++;
        if (q < end && is_digit(*q))
            for (p = q; p < end && is_digit(*p);)
                p++;
    }
    return p;
}

static const char *skip_symbol(const char *p, const char *end)
{
    static const char *const symbols[] = {"::", "<=", ">=", "<>", "!=", "||"};

    for (size_t i = 0; i < ARRAY_SIZE(symbols); i++) {
        if (starts(p, end, symbols[i]))
            return p + 2;
    }
    return p + 1;
}

static const char *token_end(const char *p, const char *end, enum sql_kind *kind)
{
    if (*p == '\'' || *p == '"') {
        *kind = *p == '"' ? SQL_QUOTED : SQL_STRING;
        return skip_quoted(p, end);
    }
    if (is_letter(*p)) {
        *kind = SQL_WORD;
        while (p < end && (is_letter(*p) || is_digit(*p) || *p == '$'))
            p++;
        return p;
    }
    if (is_digit(*p) || (*p == '.' && p + 1 < end && is_digit(p[1]))) {
        *kind = SQL_NUMBER;
        return skip_number(p, end);
    }
    if (*p == '$' && p + 1 < end && is_digit(p[1])) {
        *kind = SQL_PARAMETER;
        for (p++; p < end && is_digit(*p);)
            p++;
        return p;
    }
    *kind = *p == '\0' ? SQL_BAD : SQL_SYMBOL;
    return skip_symbol(p, end);
}

const char *sql_next(const char *p, const char *end, struct sql_token *t)
{
    const char *behind;

    *t = (struct sql_token){.kind = SQL_END};
    for (;;) {
        while (p < end && is_blank(*p))
            p++;
        if (!starts(p, end, "--") && !starts(p, end, "/*"))
            break;
        t->text = p;
        t->len = (uint32_t)(end - p);
        p = skip_comment(p, end);
        if (p == NULL) {
            t->kind = SQL_BAD;
            return end;
        }
    }
    t->text = p;
    t->len = 0;
    if (p >= end)
        return end;
    behind = token_end(p, end, &t->kind);
    if (behind == NULL) {
        t->kind = SQL_BAD;
        behind = end;
    }
    t->len = (uint32_t)(behind - p);
    return behind;
}

bool sql_tokenize(const char *sql, size_t len, struct sql_tokens *out)
{
    const char *p = sql, *end = sql + len;
    struct sql_token t;
    uint32_t n = 0;

    do {
        p = sql_next(p, end, &t);
        n++;
    } while (t.kind != SQL_END && t.kind != SQL_BAD && n <= SELECT_MAX_TOKENS);
    *out = (struct sql_tokens){.n = n - 1};
    if (t.kind != SQL_END)
        return false;
    out->at = calloc(n, sizeof(*out->at));
    if (out->at == NULL)
        return false;
    p = sql;
    for (uint32_t i = 0; i < n; i++)
        p = sql_next(p, end, &out->at[i]);
    return true;
}

bool sql_is_word(const struct sql_token *t, const char *word)
{
    return t->kind == SQL_WORD && strlen(word) == t->len && strncasecmp(t->text, word, t->len) == 0;
}

bool sql_is_symbol(const struct sql_token *t, const char *symbol)
{
    return t->kind == SQL_SYMBOL && strlen(symbol) == t->len && memcmp(t->text, symbol, t->len) == 0;
}

uint32_t sql_closing(const struct sql_tokens *t, uint32_t i, uint32_t end)
{
    int depth = 0;

    for (; i < end; i++) {
        if (sql_is_symbol(&t->at[i], "("))
            depth++;
        else if (sql_is_symbol(&t->at[i], ")") && --depth == 0)
            return i;
    }
    return end;
}

bool sql_identifier(const struct sql_token *t, char *out, size_t size)
{
    size_t n = 0;
    bool is_quoted = t->kind == SQL_QUOTED;

    if (t->kind != SQL_WORD && !is_quoted)
        return false;
    for (uint32_t i = is_quoted; i < t->len - is_quoted; i++) {
        char c = t->text[i];

        if (n + 1 >= size)
            return false;
        out[n++] = !is_quoted && c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        if (is_quoted && c == '"')
            i++; /* doubled */
    }
    out[n] = '\0';
    return true;
}
