/*
 * sql_session_look.c - does a text of SQL do anything to its session? The quick look.
 *
 * Statements begin at the text's beginning and behind semicolons: the first letters there, semicolons in
 * literals included, tell commands. The calls that matter, and INTO TEMP, may stand anywhere: pairs of
 * letters that are rare but in their names (adVisory, coNFig, teMP) are looked for in 16 bytes at a time.
 *
 * Pure; any thread.
 */
#include <string.h>
#include <strings.h>

#include "wire/sql_session.h"

typedef uint8_t block __attribute__((vector_size(16)));
#define BLOCK_BYTES ((uint32_t)sizeof(block))

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (uint8_t)c > 0x7f;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static enum sql_session_look most(enum sql_session_look a, enum sql_session_look b)
{
    return a > b ? a : b;
}

/* ---- how a statement begins ---- */

#define KEY(a, b, c) ((uint32_t)(a) << 16 | (uint32_t)(b) << 8 | (uint32_t)(c))

/* By the first three letters: commands that share them with one of ours are divided for nothing. */
static enum sql_session_look look_at_letters(const char *p)
{
    switch (KEY((uint8_t)p[0] | 0x20, (uint8_t)p[1] | 0x20, (uint8_t)p[2] | 0x20)) {
    case KEY('b', 'e', 'g'): /* BEGIN */
    case KEY('c', 'o', 'm'): /* COMMIT, COMMENT */
    case KEY('e', 'n', 'd'): /* END */
    case KEY('a', 'b', 'o'): /* ABORT */
    case KEY('r', 'o', 'l'): /* ROLLBACK */
    case KEY('r', 'e', 'l'): /* RELEASE */
    case KEY('s', 'a', 'v'): /* SAVEPOINT */
    case KEY('s', 't', 'a'): /* START TRANSACTION */ return SQL_LOOK_TRANSACTION;
    case KEY('s', 'e', 't'):
    case KEY('r', 'e', 's'): /* RESET */
    case KEY('d', 'i', 's'): /* DISCARD */
    case KEY('d', 'e', 'c'): /* DECLARE */
    case KEY('c', 'l', 'o'): /* CLOSE */
    case KEY('c', 'r', 'e'): /* CREATE */
    case KEY('c', 'a', 'l'): /* CALL */
    case KEY('p', 'r', 'e'): /* PREPARE TRANSACTION */
    case KEY('l', 'i', 's'): /* LISTEN */
    case KEY('l', 'o', 'a'): /* LOAD */
    case KEY('n', 'o', 't'): /* NOTIFY */
    case KEY('u', 'n', 'l'): /* UNLISTEN */ return SQL_LOOK_CLOSELY;
    default: break;
    }
    /* DO, with a blank, a comment or the literal behind it */
    return (p[0] | 0x20) == 'd' && (p[1] | 0x20) == 'o' && !is_name_byte(p[2]) ? SQL_LOOK_CLOSELY
                                                                               : SQL_LOOK_NOTHING;
}

/* A statement may begin there, perhaps behind blanks and comments. */
static enum sql_session_look look_at_start(const char *text, uint32_t at, uint32_t len_bytes)
{
    while (at < len_bytes && is_blank(text[at]))
        at++;
    if (at < len_bytes && (text[at] == '-' || text[at] == '/')) {
        struct sql_lexer l = {.text = text, .len_bytes = len_bytes, .at = at, .standard_strings = true};
        at = sql_lexer_next(&l).start;
    }
    return len_bytes - at >= 3 ? look_at_letters(text + at) : SQL_LOOK_NOTHING;
}

/* ---- what may stand anywhere ---- */

static bool has_at(const char *text, uint32_t at, uint32_t len_bytes, const char *word)
{
    const size_t n = strlen(word);
    return len_bytes - at >= n && strncasecmp(text + at, word, n) == 0;
}

/* temp, temporary or pg_temp, as a word. */
static bool is_temp_at(const char *text, uint32_t at, uint32_t len_bytes)
{
    if (!has_at(text, at, len_bytes, "temp"))
        return false;
    const uint32_t end = at + (has_at(text, at, len_bytes, "temporary") ? 9 : 4);
    const bool is_schema = at >= 3 && has_at(text, at - 3, len_bytes, "pg_");
    return (is_schema || at == 0 || !is_name_byte(text[at - 1])) &&
           (end == len_bytes || !is_name_byte(text[end]));
}

/* The pair of letters at `at` may be in one of the names: is it? */
static bool is_in_name(const char *text, uint32_t at, uint32_t len_bytes)
{
    switch (text[at] | 0x20) {
    case 'n': return at >= 6 && has_at(text, at - 6, len_bytes, "set_config");
    case 'd': return at >= 1 && has_at(text, at - 1, len_bytes, "advisory_");
    default: return at >= 2 && is_temp_at(text, at - 2, len_bytes);
    }
}

static enum sql_session_look look_at_byte(const char *text, uint32_t at, uint32_t len_bytes)
{
    if (text[at] == ';')
        return look_at_start(text, at + 1, len_bytes);
    if (at + 1 >= len_bytes)
        return SQL_LOOK_NOTHING;
    const char a = (char)(text[at] | 0x20), b = (char)(text[at + 1] | 0x20);
    const bool is_pair = (a == 'n' && b == 'f') || (a == 'd' && b == 'v') || (a == 'm' && b == 'p');
    return is_pair && is_in_name(text, at, len_bytes) ? SQL_LOOK_CLOSELY : SQL_LOOK_NOTHING;
}

static enum sql_session_look look_at_bytes(const char *text, uint32_t from, uint32_t to, uint32_t len_bytes)
{
    enum sql_session_look found = SQL_LOOK_NOTHING;

    for (uint32_t at = from; at < to && found != SQL_LOOK_CLOSELY; at++)
        found = most(found, look_at_byte(text, at, len_bytes));
    return found;
}

/* Is there a semicolon in the block at p, or a pair, whose second letter may be the byte behind it? */
static inline bool has_candidate(const char *p)
{
    block a, b;
    uint64_t halves[2];

    memcpy(&a, p, sizeof(a));
    memcpy(&b, p + 1, sizeof(b));
    const block semicolon = (block)(a == ';');
    a |= 0x20;
    b |= 0x20;
    const block any = semicolon | ((block)(a == 'n') & (block)(b == 'f')) |
                      ((block)(a == 'd') & (block)(b == 'v')) | ((block)(a == 'm') & (block)(b == 'p'));
    memcpy(halves, &any, sizeof(halves));
    return (halves[0] | halves[1]) != 0;
}

/* The whole text but for its first letters. */
static enum sql_session_look look_inside(const char *text, uint32_t len_bytes)
{
    enum sql_session_look found = SQL_LOOK_NOTHING;
    uint32_t at = 0;

    if (len_bytes <= BLOCK_BYTES)
        return look_at_bytes(text, 0, len_bytes, len_bytes);
    /* the last block overlaps the one before it; the last byte of all is of no use */
    for (const uint32_t last = len_bytes - BLOCK_BYTES - 1;;) {
        if (unlikely(has_candidate(text + at)))
            found = most(found, look_at_bytes(text, at, at + BLOCK_BYTES, len_bytes));
        if (found == SQL_LOOK_CLOSELY || at == last)
            return found;
        at = at + BLOCK_BYTES < last ? at + BLOCK_BYTES : last;
    }
}

enum sql_session_look sql_session_look(const char *text, uint32_t len_bytes)
{
    if (len_bytes > SQL_LOOK_MAX_BYTES)
        len_bytes = SQL_LOOK_MAX_BYTES;
    const enum sql_session_look start = look_at_start(text, 0, len_bytes);
    return start == SQL_LOOK_CLOSELY ? start : most(start, look_inside(text, len_bytes));
}
