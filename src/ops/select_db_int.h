/*
 * select_db_int.h - what the files share that know SQLite.
 *
 * Helper thread only.
 */
#ifndef SELECT_DB_INT_H
#define SELECT_DB_INT_H

#include <sqlite3.h>

#include "select_int.h"

/* The database of one stage of a job. */
struct select_db {
    struct select_job *job;
    struct sql_tokens tokens;
    sqlite3 *db;
    sqlite3_stmt *statement;
    int64_t deadline_us; /* clock_thread_us() */
    uint64_t relations;  /* that it reads: bits of select_relation_at() */
    int denied_action;   /* SQLITE_READ ...: what was refused first; 0 = nothing */
    char denied[CONSOLE_NAME_BYTES];
};

/* The job has failed, if it has not yet. format: one %.*s for arg, if there is one. */
void select_db_fail(struct select_db *db, const char *sqlstate, const char *format, const char *arg);

/* select_errors.c: what SQLite refused, in PostgreSQL's words. */
void select_db_explain(struct select_db *db, int rc);
/* select_values.c: false when memory is out. */
bool select_db_add_functions(struct select_db *db) must_check;
/* Column i of the row that the statement is at. False: it has not the column's type. */
bool select_db_put_value(struct select_db *db, struct result *r, uint16_t i) must_check;

#endif
