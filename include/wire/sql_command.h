/*
 * sql_command.h - commands of SQL that pgsluice has to know: those about prepared statements.
 *
 * PREPARE, EXECUTE (also within EXPLAIN and CREATE TABLE AS), DEALLOCATE, DISCARD ALL. Only at top level: the
 * text of functions and DO blocks is a literal, which nobody looks into.
 *
 * Pure. Source: PostgreSQL documentation, "SQL Commands".
 */
#ifndef WIRE_SQL_COMMAND_H
#define WIRE_SQL_COMMAND_H

#include <string.h>

#include "wire/sql_lexer.h"

enum sql_command_kind {
    SQL_OTHER, /* or one that PostgreSQL will refuse, or cannot be understood here (a U&"" name) */
    SQL_PREPARE,
    SQL_EXECUTE,
    SQL_DEALLOCATE,
    SQL_DEALLOCATE_ALL,
    SQL_DISCARD_ALL,
};

struct sql_command {
    enum sql_command_kind kind;
    uint32_t name_start; /* of PREPARE, EXECUTE, DEALLOCATE: the name as it is written */
    uint32_t name_end;
    uint32_t body_start; /* of PREPARE: types and query, what stands behind the name */
    uint32_t body_end;
    uint32_t name_bytes;
    char name[SQL_NAME_BYTES]; /* what it means */
};

/*
 * The quickest look, for what clients send most: true for a text that is one statement, and by its first
 * letters none of the commands, LISTEN, UNLISTEN, EXPLAIN or CREATE. len_bytes: with the NUL that ends it,
 * and what may stand behind that.
 */
static inline must_check bool sql_is_plain(const char *text, uint32_t len_bytes)
{
    if (len_bytes < 4)
        return false;
    const char first = (char)(text[0] | 0x20), second = (char)(text[1] | 0x20),
               third = (char)(text[2] | 0x20);
    if (first < 'a' || first > 'z' || (second == 'r' && (first == 'p' || first == 'c')) ||
        (first == 'e' && second == 'x') || (first == 'd' && (third == 'a' || third == 's')) ||
        (first == 'l' && second == 'i') || (first == 'u' && second == 'n'))
        return false;
    const char *semicolon = memchr(text, ';', len_bytes - 1);
    return semicolon == NULL || semicolon[1] == '\0';
}

/*
 * The quick look: false for a text in which there is no such command, seen without dividing it. A text is
 * searched through only when it has more than one statement, or begins with a comment, EXPLAIN or CREATE.
 */
bool sql_may_have_command(const char *text, uint32_t len_bytes) must_check;
/* The same by how a text begins; here_bytes of it are there. */
bool sql_may_begin_with_command(const char *text, uint32_t here_bytes) must_check;

/* Which command is this statement? */
void sql_command_read(const struct sql_lexer *whole, const struct sql_statement *s, bool is_utf8,
                      struct sql_command *out);

#endif
