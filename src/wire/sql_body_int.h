/*
 * sql_body_int.h - what code that is hidden in a literal of a statement (the body of a DO) may do.
 *
 * By its words, whatever its language, in its own literals and comments too: so dynamic SQL is seen, and code
 * that says "temporary table" without making one is taken for such that may. Who asks has the server tell
 * afterwards what there is.
 *
 * Not seen: what functions do that the code calls; names that the code puts together.
 *
 * Pure.
 */
#ifndef WIRE_SQL_BODY_INT_H
#define WIRE_SQL_BODY_INT_H

#include <stdint.h>

#include "base/compiler.h"

/* Bits, in the order in which the reader makes acts of them. */
enum {
    SQL_BODY_LOCK = 1,     /* takes an advisory lock of the session */
    SQL_BODY_UNLOCK = 2,   /* gives one back, or all */
    SQL_BODY_TEMP = 4,     /* makes an object in pg_temp */
    SQL_BODY_HOLD = 8,     /* a cursor WITH HOLD */
    SQL_BODY_SETTING = 16, /* set_config(), SET, RESET */
    SQL_BODY_LOAD = 32,
    /* of what cannot be read. LOAD is not in it: nobody could tell afterwards that there was none */
    SQL_BODY_ANYTHING = SQL_BODY_LOCK | SQL_BODY_UNLOCK | SQL_BODY_TEMP | SQL_BODY_HOLD | SQL_BODY_SETTING,
};

/* The code, with the quotes around it or without. */
unsigned sql_body_look(const char *text, uint32_t len_bytes) must_check;

#endif
