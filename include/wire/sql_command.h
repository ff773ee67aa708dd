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
 * The quick look, where sql_look() has found SQL_LOOK_COMMAND: false for a text in which there is no such
 * command, seen without dividing it. A text is searched through only when it has more than one statement, or
 * begins with a comment, EXPLAIN or CREATE.
 */
bool sql_may_have_command(const char *text, uint32_t len_bytes) must_check;
/* The same by how a text begins; here_bytes of it are there. */
bool sql_may_begin_with_command(const char *text, uint32_t here_bytes) must_check;

/* Which command is this statement? */
void sql_command_read(const struct sql_lexer *whole, const struct sql_statement *s, bool is_utf8,
                      struct sql_command *out);

#endif
