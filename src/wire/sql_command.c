/*
 * sql_command.c - commands of SQL that pgsluice has to know: those about prepared statements.
 *
 * Pure; any thread.
 */
#include "wire/sql_command.h"

#include <string.h>
#include <strings.h>

/* ---- the quick look ---- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || (uint8_t)c > 0x7f;
}

static uint32_t skip_blanks(const char *text, uint32_t at, uint32_t len_bytes)
{
    while (at < len_bytes && is_blank(text[at]))
        at++;
    return at;
}

static bool is_word_at(const char *text, uint32_t left, const char *word, uint32_t word_bytes)
{
    return left >= word_bytes && strncasecmp(text, word, word_bytes) == 0 &&
           (left == word_bytes || !is_name_char(text[word_bytes]));
}

#define IS_WORD_AT(text, left, word) is_word_at(text, left, word, sizeof(word) - 1)

static bool is_command_at(const char *text, uint32_t left)
{
    return IS_WORD_AT(text, left, "PREPARE") || IS_WORD_AT(text, left, "EXECUTE") ||
           IS_WORD_AT(text, left, "DEALLOCATE") || IS_WORD_AT(text, left, "DISCARD");
}

/* Is one of the words anywhere, in a literal perhaps? */
static bool has_word(const char *text, uint32_t len_bytes)
{
    char before = ' ';

    for (uint32_t i = 0; i < len_bytes; before = text[i++]) {
        const char c = (char)(text[i] | 0x20);
        if ((c == 'e' || c == 'd' || c == 'p') && !is_name_char(before) &&
            is_command_at(text + i, len_bytes - i))
            return true;
    }
    return false;
}

/* Is there more to look for than the first word? c: its first letter, in lower case. */
static bool begins_openly(const char *text, uint32_t left, char c)
{
    return text[0] == '-' || text[0] == '/' || text[0] == ';' ||
           (c == 'e' && IS_WORD_AT(text, left, "EXPLAIN")) || (c == 'c' && IS_WORD_AT(text, left, "CREATE"));
}

bool sql_may_have_command(const char *text, uint32_t len_bytes)
{
    const uint32_t start = skip_blanks(text, 0, len_bytes);

    if (start == len_bytes)
        return false;
    const char c = (char)(text[start] | 0x20);
    if ((c == 'e' || c == 'd' || c == 'p') && is_command_at(text + start, len_bytes - start))
        return true;
    if (!begins_openly(text + start, len_bytes - start, c)) {
        const char *semicolon = memchr(text + start, ';', len_bytes - start);
        if (semicolon == NULL || skip_blanks(text, (uint32_t)(semicolon - text) + 1, len_bytes) == len_bytes)
            return false;
    }
    return has_word(text + start, len_bytes - start);
}

bool sql_may_begin_with_command(const char *text, uint32_t here_bytes)
{
    struct sql_lexer l = {.text = text, .len_bytes = here_bytes, .standard_strings = true};
    struct sql_token t = sql_lexer_next(&l);

    return t.kind == SQL_TOKEN_WORD && (is_command_at(text + t.start, here_bytes - t.start) ||
                                        IS_WORD_AT(text + t.start, here_bytes - t.start, "EXPLAIN"));
}

/* ---- one statement ---- */

/* The first tokens of a statement, one after the other. */
struct cursor {
    struct sql_lexer l;
    struct sql_token t;
    bool is_utf8;
};

static void next(struct cursor *c)
{
    c->t = sql_lexer_next(&c->l);
}

static bool is_at(const struct cursor *c, const char *keyword)
{
    return sql_lexer_is_word(&c->l, &c->t, keyword);
}

static bool take(struct cursor *c, const char *keyword)
{
    if (!is_at(c, keyword))
        return false;
    next(c);
    return true;
}

static bool is_end(const struct cursor *c)
{
    return c->t.kind == SQL_TOKEN_END;
}

static bool is_open(const struct cursor *c)
{
    return sql_lexer_is_char(&c->l, &c->t, '(');
}

/* The name of a prepared statement. */
static bool take_name(struct cursor *c, struct sql_command *out)
{
    if (sql_is_reserved(&c->l, &c->t))
        return false;
    out->name_bytes = sql_name(&c->l, &c->t, c->is_utf8, out->name);
    if (out->name_bytes == 0)
        return false;
    out->name_start = c->t.start;
    out->name_end = c->t.end;
    next(c);
    return true;
}

/* From behind an opening parenthesis to behind the one that closes it. */
static void skip_parens(struct cursor *c)
{
    uint32_t depth = 0;

    do {
        if (is_open(c))
            depth++;
        else if (sql_lexer_is_char(&c->l, &c->t, ')'))
            depth--;
        next(c);
    } while (depth > 0 && !is_end(c) && c->t.kind != SQL_TOKEN_BROKEN);
}

/* Behind EXECUTE. */
static enum sql_command_kind read_execute(struct cursor *c, struct sql_command *out, bool makes_table)
{
    if (!take_name(c, out))
        return SQL_OTHER;
    if (is_open(c))
        skip_parens(c);
    return is_end(c) || (makes_table && is_at(c, "WITH")) ? SQL_EXECUTE : SQL_OTHER;
}

static enum sql_command_kind read_prepare(struct cursor *c, struct sql_command *out)
{
    if (!take_name(c, out)) /* PREPARE TRANSACTION has a literal instead of AS */
        return SQL_OTHER;
    out->body_start = c->t.start;
    out->body_end = c->l.len_bytes;
    if (is_open(c))
        skip_parens(c);
    return take(c, "AS") && !is_end(c) ? SQL_PREPARE : SQL_OTHER;
}

static enum sql_command_kind read_deallocate(struct cursor *c, struct sql_command *out)
{
    struct cursor behind = *c;

    /* DEALLOCATE PREPARE x, but also DEALLOCATE prepare */
    if (take(&behind, "PREPARE") && !is_end(&behind))
        *c = behind;
    if (take(c, "ALL"))
        return is_end(c) ? SQL_DEALLOCATE_ALL : SQL_OTHER;
    return take_name(c, out) && is_end(c) ? SQL_DEALLOCATE : SQL_OTHER;
}

/* Behind CREATE: [...] TABLE ... AS EXECUTE. There, AS can be no name. */
static enum sql_command_kind read_create(struct cursor *c, struct sql_command *out)
{
    while (is_at(c, "TEMPORARY") || is_at(c, "TEMP") || is_at(c, "LOCAL") || is_at(c, "GLOBAL") ||
           is_at(c, "UNLOGGED"))
        next(c);
    if (!take(c, "TABLE"))
        return SQL_OTHER;
    while (!is_at(c, "AS")) {
        if (is_end(c))
            return SQL_OTHER;
        if (is_open(c))
            skip_parens(c);
        else
            next(c);
    }
    next(c);
    return take(c, "EXECUTE") ? read_execute(c, out, true) : SQL_OTHER;
}

static enum sql_command_kind read_explain(struct cursor *c, struct sql_command *out)
{
    if (is_open(c)) {
        skip_parens(c);
    } else {
        while (is_at(c, "ANALYZE") || is_at(c, "ANALYSE") || is_at(c, "VERBOSE"))
            next(c);
    }
    if (take(c, "EXECUTE"))
        return read_execute(c, out, false);
    return take(c, "CREATE") ? read_create(c, out) : SQL_OTHER;
}

static enum sql_command_kind read_command(struct cursor *c, struct sql_command *out)
{
    if (take(c, "EXECUTE"))
        return read_execute(c, out, false);
    if (take(c, "PREPARE"))
        return read_prepare(c, out);
    if (take(c, "DEALLOCATE"))
        return read_deallocate(c, out);
    if (take(c, "DISCARD"))
        return take(c, "ALL") && is_end(c) ? SQL_DISCARD_ALL : SQL_OTHER;
    if (take(c, "EXPLAIN"))
        return read_explain(c, out);
    return take(c, "CREATE") ? read_create(c, out) : SQL_OTHER;
}

void sql_command_read(const struct sql_lexer *whole, const struct sql_statement *s, bool is_utf8,
                      struct sql_command *out)
{
    struct cursor c = {.l = *whole, .is_utf8 = is_utf8};

    *out = (struct sql_command){0};
    c.l.at = s->start;
    c.l.len_bytes = s->end;
    next(&c);
    out->kind = read_command(&c, out);
}
