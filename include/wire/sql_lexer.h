/*
 * sql_lexer.h - the tokens of SQL, as PostgreSQL's scanner divides them, and the statements of a string.
 *
 * For whoever has to find a command in what a client sends without taking the inside of a
 * literal, a comment or a function body for one. Offsets, no contents: nothing is
 * copied or allocated, and no token is judged beyond where it ends.
 *
 * The text must be in an encoding that has no ASCII bytes inside of its characters (sql_encoding_is_safe()).
 *
 * Pure. Source: PostgreSQL documentation, "Lexical Structure".
 */
#ifndef WIRE_SQL_LEXER_H
#define WIRE_SQL_LEXER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

enum sql_token_kind {
    SQL_TOKEN_END,
    SQL_TOKEN_WORD,      /* identifier or keyword without quotes */
    SQL_TOKEN_QUOTED,    /* "..." */
    SQL_TOKEN_UQUOTED,   /* U&"..." */
    SQL_TOKEN_STRING,    /* a literal of any kind: '', E'', B'', X'', N'', U&'', $$ */
    SQL_TOKEN_PARAMETER, /* $1 */
    SQL_TOKEN_NUMBER,
    SQL_TOKEN_OPERATOR, /* one or more of them: ends ahead of a comment only */
    SQL_TOKEN_CHAR,     /* any other single character: ( ) [ ] , ; : . and what PostgreSQL refuses */
    SQL_TOKEN_BROKEN,   /* a literal, quoted name or comment that does not end: PostgreSQL refuses the text */
};

struct sql_token {
    enum sql_token_kind kind;
    uint32_t start;
    uint32_t end; /* behind it */
};

struct sql_lexer {
    const char *text;
    uint32_t len_bytes;
    uint32_t at;
    bool standard_strings; /* standard_conforming_strings: '\' is nothing special in '' */
};

/* Stays at the end, and at what is broken. */
struct sql_token sql_lexer_next(struct sql_lexer *l);
/* Is that the keyword? In upper case. */
bool sql_lexer_is_word(const struct sql_lexer *l, const struct sql_token *t, const char *keyword);
static inline bool sql_lexer_is_char(const struct sql_lexer *l, const struct sql_token *t, char c)
{
    return t->kind == SQL_TOKEN_CHAR && l->text[t->start] == c;
}

/* May a client_encoding of that name be looked at byte by byte? NULL: not known, so not. */
bool sql_encoding_is_safe(const char *client_encoding);

/*
 * The name that a WORD or QUOTED token means: without quotes, folded to lower case, cut to 63 bytes (at a
 * character's end when is_utf8). Returns its bytes without the NUL; 0: no name, PostgreSQL refuses it.
 */
#define SQL_NAME_BYTES 64
uint32_t sql_name(const struct sql_lexer *l, const struct sql_token *t, bool is_utf8,
                  char out[SQL_NAME_BYTES]);
/* Is that WORD a keyword that cannot be the name of a prepared statement, a cursor or the like? */
bool sql_is_reserved(const struct sql_lexer *l, const struct sql_token *t);

/*
 * The next statement: from its first token to behind its last one, without the semicolon that ends it;
 * empty ones are passed over. Semicolons in parentheses and in a function body (BEGIN ATOMIC ... END) end
 * nothing. SQL_STATEMENT_BROKEN: what is left has no end.
 */
struct sql_statement {
    uint32_t start;
    uint32_t end;
};
enum sql_statement_result { SQL_STATEMENT_OK, SQL_STATEMENT_NONE, SQL_STATEMENT_BROKEN };
enum sql_statement_result sql_next_statement(struct sql_lexer *l, struct sql_statement *s) must_check;

#endif
