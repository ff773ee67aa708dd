/*
 * cli_int.h - what the files of pgsluicectl share.
 *
 * One thread, short-lived: memory may abort when it is out.
 */
#ifndef CLI_INT_H
#define CLI_INT_H

#include <stdbool.h>
#include <stdio.h>

#include <libpq-fe.h>

#include "base/compiler.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,      /* the instance refused the command, or output could not be written */
    CLI_NO_INSTANCE = 2, /* no instance, or usage */
};

#define CLI_PROGRAM "pgsluicectl"

/* ---- instance.c ---- */

/*
 * A connection to the console: by dsn (conninfo string or URI), else by the ini file, else by PGSLUICE_DSN,
 * else at the default socket. NULL, with the reason on stderr, when there is none.
 */
PGconn *instance_connect(const char *dsn, const char *ini_path) must_check;

/* ---- output.c ---- */

enum output_format { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_CSV };

/* Prints rows, or the tag of a command that gave none. Write errors stay in ferror(out). */
void output_result(FILE *out, enum output_format format, const PGresult *result);
/* Prints text of the server with control characters made harmless, but for newline and tab. */
void output_text(FILE *out, const char *text);

#endif
