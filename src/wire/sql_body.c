/*
 * sql_body.c - see sql_body_int.h.
 *
 * A word counts by itself (a function's name), by the one ahead of it (CREATE TEMP, WITH HOLD), or where a
 * command may begin (SET). What stands between two words decides whether one may.
 *
 * Pure; any thread.
 */
#include "sql_body_int.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "wire/sql_session.h"

#define MAX_FUNCTION_BYTES 32u /* of a name in sql_function.c */

enum word {
    OTHER,
    LOCK,
    UNLOCK,
    SET_CONFIG,
    PG_TEMP,
    BEFORE_TEMP, /* CREATE [OR REPLACE] [LOCAL | GLOBAL], INTO */
    TEMP,
    WITH,
    HOLD,
    BEFORE_COMMAND, /* of PL/pgSQL */
    EXECUTE,
    SET,
    OF_TRANSACTION, /* behind SET */
    LOAD,
};

static const struct {
    const char *text;
    enum word word;
} words[] = {
    {"pg_temp", PG_TEMP},
    {"create", BEFORE_TEMP},
    {"replace", BEFORE_TEMP},
    {"global", BEFORE_TEMP},
    {"into", BEFORE_TEMP},
    {"temp", TEMP},
    {"temporary", TEMP},
    {"with", WITH},
    {"hold", HOLD},
    {"begin", BEFORE_COMMAND},
    {"then", BEFORE_COMMAND},
    {"else", BEFORE_COMMAND},
    {"loop", BEFORE_COMMAND},
    {"execute", EXECUTE},
    {"set", SET},
    {"reset", SET},
    {"local", OF_TRANSACTION},
    {"transaction", OF_TRANSACTION},
    {"constraints", OF_TRANSACTION},
    {"load", LOAD},
};

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static enum word which_function(const char *text, uint32_t len_bytes)
{
    char name[MAX_FUNCTION_BYTES];
    enum sql_session_kind kind;

    if (len_bytes > sizeof(name))
        return OTHER;
    for (uint32_t i = 0; i < len_bytes; i++)
        name[i] = fold(text[i]);
    if (!sql_session_call(name, len_bytes, &kind))
        return OTHER;
    return kind == SQL_SESSION_SET_CONFIG ? SET_CONFIG : kind == SQL_SESSION_LOCK ? LOCK : UNLOCK;
}

static enum word which_word(const char *text, uint32_t len_bytes)
{
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strlen(words[i].text) == len_bytes && strncasecmp(text, words[i].text, len_bytes) == 0)
            return words[i].word;
    }
    return which_function(text, len_bytes);
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (uint8_t)c > 0x7f;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_quote(char c)
{
    return c == '\'' || c == '"' || c == '$';
}

/* Where the look is, and what stands between two words; words of comments are between. */
struct gaze {
    const char *text;
    uint32_t len_bytes;
    uint32_t at;
    enum word before;       /* the last word */
    bool is_set;            /* it was a SET, and what it sets is still to come */
    bool in_line, in_block; /* comments, or what looks like them */
    bool has_semicolon, has_quote, has_paren;
    bool is_quoted; /* a quote is the last character */
};

static bool is_at(const struct gaze *g, const char *two)
{
    return g->at + 1 < g->len_bytes && g->text[g->at] == two[0] && g->text[g->at + 1] == two[1];
}

static void see_comments(struct gaze *g)
{
    if (g->in_line)
        g->in_line = g->text[g->at] != '\n';
    else if (g->in_block)
        g->in_block = !is_at(g, "*/");
    else if (is_at(g, "--"))
        g->in_line = true;
    else if (is_at(g, "/*"))
        g->in_block = true;
}

/* To the next word, or the end. */
static void skip_gap(struct gaze *g)
{
    for (; g->at < g->len_bytes && !is_name_byte(g->text[g->at]); g->at++) {
        const char c = g->text[g->at];
        see_comments(g);
        g->is_quoted = is_quote(c);
        if (g->in_line || g->in_block)
            continue;
        g->has_semicolon = g->has_semicolon || c == ';';
        g->has_paren = g->has_paren || c == '(';
        g->has_quote = g->has_quote || is_quote(c);
    }
}

static void begin_gap(struct gaze *g, enum word before)
{
    g->before = before;
    g->has_semicolon = g->has_quote = g->has_paren = false;
}

/* May a command begin here? Also in a literal, which may be nothing but words. */
static bool may_begin(const struct gaze *g)
{
    return g->has_semicolon || g->before == BEFORE_COMMAND || g->is_quoted ||
           (g->has_quote && (g->has_paren || g->before == EXECUTE));
}

/* LOAD and its literal: what is taken for one by mistake ties for good. */
static bool is_load(const struct gaze *g)
{
    uint32_t at = g->at;

    while (at < g->len_bytes && is_blank(g->text[at]))
        at++;
    return at < g->len_bytes && is_quote(g->text[at]) &&
           (g->has_semicolon || g->before == BEFORE_COMMAND || (g->has_quote && g->before == EXECUTE));
}

/* A name with escapes: U&"..." */
static bool is_escaped_name(const struct gaze *g, uint32_t start)
{
    return g->at == start + 1 && (g->text[start] | 0x20) == 'u' && is_at(g, "&\"");
}

/* That word ends here. */
static unsigned judge(const struct gaze *g, enum word word)
{
    switch (word) {
    case LOCK: return SQL_BODY_LOCK;
    case UNLOCK: return SQL_BODY_UNLOCK;
    case SET_CONFIG: return SQL_BODY_SETTING;
    case PG_TEMP: return SQL_BODY_TEMP;
    case TEMP: return g->before == BEFORE_TEMP || g->before == OF_TRANSACTION /* LOCAL */ ? SQL_BODY_TEMP : 0;
    case HOLD: return g->before == WITH ? SQL_BODY_HOLD : 0;
    case LOAD: return is_load(g) ? SQL_BODY_LOAD : 0;
    default: return 0;
    }
}

static unsigned look_at_word(struct gaze *g)
{
    const uint32_t start = g->at;
    unsigned found = 0;

    while (g->at < g->len_bytes && is_name_byte(g->text[g->at]))
        g->at++;
    const enum word word = which_word(g->text + start, g->at - start);
    if (g->in_line || g->in_block)
        return judge(g, word) & ~(unsigned)SQL_BODY_LOAD;
    if (is_escaped_name(g, start))
        found |= SQL_BODY_ANYTHING;
    if (g->is_set && word != OF_TRANSACTION)
        found |= SQL_BODY_SETTING;
    g->is_set = word == SET && may_begin(g);
    found |= judge(g, word);
    begin_gap(g, word);
    return found;
}

unsigned sql_body_look(const char *text, uint32_t len_bytes)
{
    struct gaze g = {.text = text, .len_bytes = len_bytes};
    unsigned found = 0;

    for (skip_gap(&g); g.at < len_bytes; skip_gap(&g))
        found |= look_at_word(&g);
    return found;
}
