/*
 * sql_inert.c - is it certain that a text of SQL leaves nothing behind in the session that runs it?
 *
 * Few texts are certain: any table may be a view or have triggers, any operator, cast or function may be
 * somebody's own. They are what drivers and pools send to see that a connection lives, what begins and ends
 * transactions, and SHOW.
 *
 * Pure; any thread. Not here: what a text may do (sql_session.c).
 */
#include <string.h>

#include "wire/sql_session.h"

/* Certain whatever follows: it lasts no longer than the transaction, or is only shown. */
static const char *const commands[] = {
    "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "SHOW",
};

static bool is_command(const struct sql_lexer *l, const struct sql_token *t)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (sql_lexer_is_word(l, t, commands[i]))
            return true;
    return false;
}

static bool is_constant(const struct sql_lexer *l, const struct sql_token *t)
{
    return t->kind == SQL_TOKEN_STRING || t->kind == SQL_TOKEN_NUMBER || sql_lexer_is_word(l, t, "NULL") ||
           sql_lexer_is_word(l, t, "TRUE") || sql_lexer_is_word(l, t, "FALSE");
}

/* Behind SELECT: constants, with names or without, up to the end. */
static bool are_constants(struct sql_lexer *l)
{
    for (;;) {
        struct sql_token t = sql_lexer_next(l);
        if (!is_constant(l, &t))
            return false;
        t = sql_lexer_next(l);
        if (sql_lexer_is_word(l, &t, "AS")) {
            t = sql_lexer_next(l);
            if (t.kind != SQL_TOKEN_WORD && t.kind != SQL_TOKEN_QUOTED)
                return false;
            t = sql_lexer_next(l);
        }
        if (t.kind == SQL_TOKEN_END)
            return true;
        if (!sql_lexer_is_char(l, &t, ','))
            return false;
    }
}

/* A backslash ends literals differently by standard_conforming_strings, and other encodings than ASCII hide
 * bytes in characters. */
static bool is_plain(const char *text, uint32_t len_bytes)
{
    for (uint32_t i = 0; i < len_bytes; i++)
        if (text[i] == '\\' || (uint8_t)text[i] > 0x7f)
            return false;
    return true;
}

bool sql_is_inert(const char *text, uint32_t len_bytes)
{
    struct sql_lexer whole = {.text = text, .standard_strings = true};
    struct sql_statement s;
    enum sql_statement_result result;

    if (len_bytes > SQL_INERT_MAX_BYTES)
        return false;
    whole.len_bytes = (uint32_t)strnlen(text, len_bytes);
    if (!is_plain(text, whole.len_bytes))
        return false;
    while ((result = sql_next_statement(&whole, &s)) == SQL_STATEMENT_OK) {
        struct sql_lexer l = {.text = text, .len_bytes = s.end, .at = s.start, .standard_strings = true};
        struct sql_token t = sql_lexer_next(&l);
        if (!is_command(&l, &t) && !(sql_lexer_is_word(&l, &t, "SELECT") && are_constants(&l)))
            return false;
    }
    return result == SQL_STATEMENT_NONE;
}
