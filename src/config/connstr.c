/*
 * connstr.c - connection strings: "host=db1 port=5433 connect_query='select ''x'''".
 *
 * Pure: text in, pairs out. A value ends at a blank unless it is quoted, and a
 * backslash means nothing, as in PgBouncer. Not here: which keys there are
 * (sections.c).
 */
#include <string.h>

#include "config/connstr.h"

void connstr_init(struct connstr *c, const char *text)
{
    c->at = text;
    buf_init(&c->key, 0);
    buf_init(&c->value, 0);
}

void connstr_free(struct connstr *c)
{
    buf_free(&c->key);
    buf_free(&c->value);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(struct connstr *c)
{
    while (is_blank(*c->at))
        c->at++;
}

static enum connstr_result fail(struct connstr *c, const char *what)
{
    buf_clear(&c->value);
    buf_append_str(&c->value, what);
    return CONNSTR_ERR;
}

/* Appends the text between two quotes to out; at begins at the first. NULL when the second is missing. */
static const char *take_quoted(const char *at, char quote, struct buf *out)
{
    for (at++; *at != '\0'; at++) {
        if (*at == quote && *++at != quote)
            return at;
        buf_append_byte(out, (uint8_t)*at);
    }
    return NULL;
}

enum connstr_result connstr_next(struct connstr *c)
{
    buf_clear(&c->key);
    buf_clear(&c->value);
    skip_blanks(c);
    if (*c->at == '\0')
        return CONNSTR_END;

    while (*c->at != '\0' && *c->at != '=' && !is_blank(*c->at))
        buf_append_byte(&c->key, (uint8_t)*c->at++);
    if (c->key.len == 0)
        return fail(c, "a key is missing in front of \"=\"");
    skip_blanks(c);
    if (*c->at != '=')
        return fail(c, "\"=\" is missing behind it");
    c->at++;
    skip_blanks(c);

    if (*c->at == '\'') {
        const char *end = take_quoted(c->at, '\'', &c->value);
        if (end == NULL)
            return fail(c, "the closing quote of its value is missing");
        c->at = end;
        if (*c->at != '\0' && !is_blank(*c->at))
            return fail(c, "a blank is missing behind its quoted value");
        return CONNSTR_PAIR;
    }
    while (*c->at != '\0' && !is_blank(*c->at))
        buf_append_byte(&c->value, (uint8_t)*c->at++);
    if (c->value.len == 0)
        return fail(c, "its value is missing (write '' for an empty one)");
    return CONNSTR_PAIR;
}

bool connstr_unquote_name(const char *text, struct buf *out)
{
    buf_clear(out);
    if (*text != '"') {
        buf_append_str(out, text);
        return *text != '\0' && strchr(text, '"') == NULL;
    }
    const char *end = take_quoted(text, '"', out);
    return end != NULL && *end == '\0' && out->len > 0;
}
