/*
 * sql_fingerprint.c - see sql_fingerprint.h.
 *
 * Pure; any thread.
 */
#include "wire/sql_fingerprint.h"

#include <string.h>

#include "base/hash.h"
#include "base/str.h"
#include "wire/sql_lexer.h"

/* Any constants: fingerprints are compared between processes. */
#define KEY_0 UINT64_C(0x7067736c75696365)
#define KEY_1 UINT64_C(0x66696e6765727072)

struct shape {
    char *out;
    size_t len;
    char last[2]; /* the last tokens, as shape_add() knows them; the latest second */
};

static void put(struct shape *s, char c)
{
    if (s->len < SQL_FINGERPRINT_MAX_BYTES)
        s->out[s->len++] = c;
}

/* No blank stands ahead of these, nor behind those. */
static bool is_tight(char last, char c)
{
    return c == ',' || c == ')' || c == ';' || c == '.' || c == '(' || c == ']' || c == '[' || last == '(' ||
           last == '.' || last == '[' || last == '\0';
}

/* kind: a character that stands for the token; itself for a single one. */
static void shape_add(struct shape *s, char kind, const char *text, uint32_t len_bytes, bool is_folded)
{
    if (kind == '?' && s->last[1] == ',' && s->last[0] == '?') { /* a list of values is as one */
        s->len--;
        s->last[1] = '?';
        return;
    }
    if (!is_tight(s->last[1], kind))
        put(s, ' ');
    for (uint32_t i = 0; i < len_bytes; i++)
        put(s, is_folded && text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 0x20) : text[i]);
    s->last[0] = s->last[1];
    s->last[1] = kind;
}

static void add_token(struct shape *s, const struct sql_lexer *l, const struct sql_token *t)
{
    const char *text = l->text + t->start;
    const uint32_t n = t->end - t->start;

    switch (t->kind) {
    case SQL_TOKEN_STRING:
    case SQL_TOKEN_NUMBER:
    case SQL_TOKEN_PARAMETER: shape_add(s, '?', "?", 1, false); return;
    case SQL_TOKEN_WORD: shape_add(s, 'a', text, n, true); return;
    case SQL_TOKEN_CHAR: shape_add(s, text[0], text, n, false); return;
    default: shape_add(s, 'a', text, n, false); return;
    }
}

uint64_t sql_fingerprint(const char *text, uint32_t len_bytes, char *out, size_t size)
{
    char shape[SQL_FINGERPRINT_MAX_BYTES + 1];
    struct shape s = {.out = shape};
    struct sql_lexer l = {.text = text, .standard_strings = true};
    struct sql_token t;

    l.len_bytes = len_bytes < SQL_FINGERPRINT_MAX_BYTES ? len_bytes : SQL_FINGERPRINT_MAX_BYTES;
    while ((t = sql_lexer_next(&l)).kind != SQL_TOKEN_END && t.kind != SQL_TOKEN_BROKEN)
        add_token(&s, &l, &t);
    while (s.len > 0 && shape[s.len - 1] == ';')
        s.len--;
    shape[s.len] = '\0';
    (void)str_copy(out, shape, size);
    return hash_bytes_keyed(shape, s.len, KEY_0, KEY_1);
}
