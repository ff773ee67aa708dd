/*
 * sql_session_look.c - what may a text of SQL be about? The quick look.
 *
 * Statements begin at the text's beginning and behind semicolons: the first letters there, semicolons in
 * literals included, tell commands. The calls that matter, and INTO TEMP, may stand anywhere: pairs of
 * letters that are rare but in their names (adVisory, coNFig, teMP), and what a name with escapes begins with
 * (U&"), are looked for in 16 bytes at a time.
 * A text without a parenthesis calls nothing, and one without a semicolon is one statement: most of what is
 * sent, and so that is looked for first.
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

static inline bool is_letter(char c)
{
    return (uint8_t)((c | 0x20) - 'a') < 26;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* ---- how a statement begins ---- */

#define KEY(a, b, c) ((uint32_t)(a) << 16 | (uint32_t)(b) << 8 | (uint32_t)(c))

/* By the first three letters: commands that share them with one of ours are divided for nothing. */
static inline unsigned look_at_letters(const char *p)
{
    const uint32_t key = KEY((uint8_t)p[0] | 0x20, (uint8_t)p[1] | 0x20, (uint8_t)p[2] | 0x20);

    if (likely(key == KEY('s', 'e', 'l')))
        return SQL_LOOK_NOTHING;
    switch (key) {
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
    case KEY('d', 'e', 'c'): /* DECLARE */
    case KEY('c', 'l', 'o'): /* CLOSE */
    case KEY('c', 'a', 'l'): /* CALL */
    case KEY('l', 'o', 'a'): /* LOAD */
    case KEY('n', 'o', 't'): /* NOTIFY */ return SQL_LOOK_CLOSELY;
    case KEY('c', 'r', 'e'): /* CREATE */
    case KEY('d', 'i', 's'): /* DISCARD */
    case KEY('p', 'r', 'e'): /* PREPARE, PREPARE TRANSACTION */
    case KEY('l', 'i', 's'): /* LISTEN */
    case KEY('u', 'n', 'l'): /* UNLISTEN */ return SQL_LOOK_CLOSELY | SQL_LOOK_COMMAND;
    case KEY('d', 'e', 'a'): /* DEALLOCATE */
    case KEY('e', 'x', 'e'): /* EXECUTE */
    case KEY('e', 'x', 'p'): /* EXPLAIN */ return SQL_LOOK_COMMAND;
    default: break;
    }
    /* DO, with a blank, a comment or the literal behind it */
    return unlikely((p[0] | 0x20) == 'd' && (p[1] | 0x20) == 'o' && !is_name_byte(p[2])) ? SQL_LOOK_CLOSELY
                                                                                         : SQL_LOOK_NOTHING;
}

bool sql_may_end_transaction(const char *text, uint32_t len_bytes)
{
    uint32_t at = 0;

    while (at < len_bytes && is_blank(text[at]))
        at++;
    for (uint32_t i = at; i < at + 3; i++) {
        if (i >= len_bytes || !is_letter(text[i]))
            return true;
    }
    switch (KEY((uint8_t)text[at] | 0x20, (uint8_t)text[at + 1] | 0x20, (uint8_t)text[at + 2] | 0x20)) {
    case KEY('c', 'o', 'm'):
    case KEY('e', 'n', 'd'):
    case KEY('r', 'o', 'l'):
    case KEY('a', 'b', 'o'):
    case KEY('p', 'r', 'e'): return true;
    default: return false;
    }
}

/* A statement may begin there, perhaps behind blanks and comments. */
static unsigned look_at_start(const char *text, uint32_t at, uint32_t len_bytes)
{
    while (at < len_bytes && is_blank(text[at]))
        at++;
    if (at < len_bytes && (text[at] == '-' || text[at] == '/')) {
        struct sql_lexer l = {.text = text, .len_bytes = len_bytes, .at = at, .standard_strings = true};
        at = sql_lexer_next(&l).start;
    }
    if (len_bytes - at < 3) {
        const char ends[] = {at < len_bytes ? text[at] : '\0', at + 1 < len_bytes ? text[at + 1] : '\0',
                             '\0'};
        return SQL_LOOK_COMMAND | look_at_letters(ends);
    }
    return SQL_LOOK_COMMAND | look_at_letters(text + at);
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

static unsigned look_at_byte(const char *text, uint32_t at, uint32_t len_bytes)
{
    if (text[at] == ';')
        return look_at_start(text, at + 1, len_bytes);
    const char a = (char)(text[at] | 0x20), b = (char)(text[at + 1] | 0x20);
    if (unlikely(text[at] == '&'))
        return text[at + 1] == '"' ? SQL_LOOK_CLOSELY : SQL_LOOK_NOTHING;
    const bool is_pair = (a == 'n' && b == 'f') || (a == 'd' && b == 'v') || (a == 'm' && b == 'p');
    return is_pair && is_in_name(text, at, len_bytes) ? SQL_LOOK_CLOSELY : SQL_LOOK_NOTHING;
}

/* The 17 bytes at p: a block, and the byte behind it, in which a pair may end. */
static inline void load_pairs(const char *p, block *a, block *b)
{
    memcpy(a, p, sizeof(*a));
    memcpy(b, p + 1, sizeof(*b));
}

static inline bool is_any(block found)
{
    uint64_t halves[2];

    memcpy(halves, &found, sizeof(halves));
    return (halves[0] | halves[1]) != 0;
}

/* The first letters of the pairs, semicolons and ampersands. */
static inline block find_candidates(const char *p)
{
    block a, b;

    load_pairs(p, &a, &b);
    const block single = (block)(a == ';') | (block)(a == '&');
    a |= 0x20;
    b |= 0x20;
    return single | ((block)(a == 'n') & (block)(b == 'f')) | ((block)(a == 'd') & (block)(b == 'v')) |
           ((block)(a == 'm') & (block)(b == 'p'));
}

static unsigned look_at_block(const char *text, uint32_t at, uint32_t len_bytes, block candidates)
{
    unsigned found = SQL_LOOK_NOTHING;

    for (uint32_t i = 0; i < BLOCK_BYTES; i++)
        found |= candidates[i] != 0 ? look_at_byte(text, at + i, len_bytes) : SQL_LOOK_NOTHING;
    return found;
}

/* The last block overlaps the one before it; the last byte of all is of no use. */
static inline uint32_t next_block(uint32_t at, uint32_t last)
{
    return at + BLOCK_BYTES < last ? at + BLOCK_BYTES : last;
}

static unsigned look_inside(const char *text, uint32_t len_bytes)
{
    const uint32_t last = len_bytes - BLOCK_BYTES - 1;
    unsigned found = SQL_LOOK_NOTHING;

    for (uint32_t at = 0;; at = next_block(at, last)) {
        const block candidates = find_candidates(text + at);
        if (unlikely(is_any(candidates)))
            found |= look_at_block(text, at, len_bytes, candidates);
        if (found == SQL_LOOK_ALL || at == last)
            return found;
    }
}

/* May it be more than one statement, call something, or name a temporary object? */
static inline bool is_simple(const char *text, uint32_t len_bytes)
{
    const uint32_t last = len_bytes - BLOCK_BYTES - 1;
    block found = {0}, a, b;

    for (uint32_t at = 0;; at = next_block(at, last)) {
        load_pairs(text + at, &a, &b);
        found |=
            (block)(a == ';') | (block)(a == '(') | ((block)((a | 0x20) == 'm') & (block)((b | 0x20) == 'p'));
        if (at == last)
            return !is_any(found);
    }
}

/* Too short for anything but commands. */
static unsigned look_at_short(const char *text, uint32_t len_bytes)
{
    unsigned found = SQL_LOOK_NOTHING;

    if (len_bytes < 3)
        return SQL_LOOK_COMMAND;
    if (likely(memchr(text, ';', len_bytes - 1) == NULL) && len_bytes < BLOCK_BYTES)
        return found;
    for (uint32_t at = 0; at + 1 < len_bytes; at++)
        found |= look_at_byte(text, at, len_bytes);
    return found;
}

/* Another statement may begin behind what is looked at. */
static unsigned look_behind(const char *text, uint32_t len_bytes)
{
    return memchr(text, ';', len_bytes - 1) != NULL ? SQL_LOOK_COMMAND : SQL_LOOK_NOTHING;
}

/* What sql_look() does not see at once. */
static __attribute__((noinline)) unsigned look_at_all(const char *text, uint32_t len_bytes)
{
    unsigned found = SQL_LOOK_NOTHING;

    if (len_bytes > SQL_LOOK_MAX_BYTES) {
        found = look_behind(text + SQL_LOOK_MAX_BYTES - 1, len_bytes - SQL_LOOK_MAX_BYTES + 1);
        len_bytes = SQL_LOOK_MAX_BYTES;
    }
    if (len_bytes < 3 || !is_letter(text[0]))
        found |= look_at_start(text, 0, len_bytes);
    else
        found |= look_at_letters(text);
    return found | (len_bytes <= BLOCK_BYTES ? look_at_short(text, len_bytes) : look_inside(text, len_bytes));
}

unsigned sql_look(const char *text, uint32_t len_bytes)
{
    if (likely(len_bytes > 0 && text[len_bytes - 1] == '\0'))
        len_bytes--;
    if (likely(len_bytes > BLOCK_BYTES && len_bytes <= SQL_LOOK_MAX_BYTES && is_letter(text[0])) &&
        likely(is_simple(text, len_bytes)))
        return look_at_letters(text);
    return look_at_all(text, len_bytes);
}
