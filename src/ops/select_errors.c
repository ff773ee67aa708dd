/*
 * select_errors.c - why SQLite refused a query, in PostgreSQL's words, with its SQLSTATE.
 *
 * Threads: a helper.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "select_db_int.h"

/* How SQLite's message begins, what stands behind it, and what PostgreSQL says. */
static const struct {
    const char *begins, *sqlstate, *message;
} messages[] = {
    {"no such table: ", "42P01", "relation \"%.*s\" does not exist"},
    {"no such column: ", "42703", "column \"%.*s\" does not exist"},
    {"no such function: ", "42883", "function %.*s does not exist"},
    {"ambiguous column name: ", "42702", "column reference \"%.*s\" is ambiguous"},
    {"wrong number of arguments to function ", "42883", "function %.*s does not take so many arguments"},
    {"no such table-valued function: ", "42883", "function %.*s does not exist"},
    {"misuse of aggregate", "42803", "aggregate functions are not allowed here%.*s"},
    {"misuse of window function", "42P20", "window functions are not allowed here%.*s"},
    {"a GROUP BY clause is required", "42803", "GROUP BY is required before HAVING%.*s"},
    {"incomplete input", "42601", "syntax error at end of input%.*s"},
    {"integer overflow", "22003", "integer out of range%.*s"},
    {"datatype mismatch", "42804", "a number is needed here%.*s"},
    {"LIKE or GLOB pattern too complex", "54001", "the pattern is too long%.*s"},
    {"Expression tree is too large", "54001", "the query is too complex%.*s"},
    {"parser stack overflow", "54001", "the query is too complex%.*s"},
    {"too many ", "54001", "the query is too complex: too many %.*s"},
    {"at most ", "54001", "the query is too complex: at most %.*s"},
};

static void hint_nearest(struct select_db *db, const char *nearest)
{
    if (nearest != NULL)
        snprintf(db->job->error.hint, sizeof(db->job->error.hint), "Did you mean %s?", nearest);
}

static void hint_relation(struct select_db *db, const char *name)
{
    const char *names[SELECT_MAX_RELATIONS], *nearest;
    const struct relation *relation;
    char lower[CONSOLE_NAME_BYTES];
    size_t n = 0;

    for (size_t i = 0; (relation = select_relation_at(i)) != NULL; i++) {
        if (relation->columns != NULL)
            names[n++] = relation->name;
    }
    nearest = str_nearest(name, names, n);
    if (nearest == NULL)
        return;
    str_copy(lower, nearest, sizeof(lower));
    for (char *p = lower; *p != '\0'; p++)
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
    hint_nearest(db, lower);
}

/* Of the relations that were found so far; with none of those there is nothing to be near to. */
static void hint_column(struct select_db *db, const char *name)
{
    const char *names[SELECT_MAX_RELATIONS * 8];
    const struct relation *relation;
    size_t n = 0;
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; (relation = select_relation_at(i)) != NULL; i++) {
        if ((db->relations >> i & 1) == 0 && db->relations != 0)
            continue;
        for (uint16_t k = 0; k < relation->n_columns && n < ARRAY_SIZE(names); k++)
            names[n++] = relation->columns[k].name;
    }
    hint_nearest(db, str_nearest(dot != NULL ? dot + 1 : name, names, n));
}

/* near "x": syntax error; unrecognized token: "x" */
static void explain_syntax(struct select_db *db, const char *message)
{
    const char *start = strchr(message, '"'), *end = strrchr(message, '"');
    char word[CONSOLE_NAME_BYTES] = "";

    if (start != NULL && end > start) {
        size_t n = (size_t)(end - start - 1);

        snprintf(word, sizeof(word), "%.*s", (int)(n < sizeof(word) ? n : sizeof(word) - 1), start + 1);
    }
    select_db_fail(db, "42601", "syntax error at or near \"%.*s\"", word);
}

static void explain_message(struct select_db *db, const char *message)
{
    for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
        size_t n = strlen(messages[i].begins);
        char name[CONSOLE_NAME_BYTES];

        if (!str_has_prefix(message, messages[i].begins))
            continue;
        str_copy(name, messages[i].begins[n - 1] == ' ' ? message + n : "", sizeof(name));
        if (str_has_prefix(name, "public."))
            memmove(name, name + 7, strlen(name + 7) + 1);
        select_db_fail(db, messages[i].sqlstate, messages[i].message, name);
        if (strcmp(messages[i].sqlstate, "42P01") == 0)
            hint_relation(db, name);
        else if (strcmp(messages[i].sqlstate, "42703") == 0)
            hint_column(db, name);
        else if (str_has_prefix(message, "no such function: "))
            hint_nearest(db, sql_function_nearest(name));
        return;
    }
    if (strstr(message, "syntax error") != NULL || strstr(message, "unrecognized token") != NULL)
        explain_syntax(db, message);
    else
        select_db_fail(db, db->statement == NULL ? "42601" : "22000", "%.*s", message);
}

static void explain_denied(struct select_db *db)
{
    switch (db->denied_action) {
    case SQLITE_FUNCTION:
        select_db_fail(db, "42883", "function %.*s does not exist", db->denied);
        hint_nearest(db, sql_function_nearest(db->denied));
        break;
    case SQLITE_READ:
        select_db_fail(db, "42P01", "relation \"%.*s\" does not exist", db->denied);
        hint_relation(db, db->denied);
        break;
    default: select_db_fail(db, "25006", "the console only reads: SELECT", NULL); break;
    }
}

void select_db_explain(struct select_db *db, int rc)
{
    if (atomic_load_explicit(&db->job->is_cancelled, memory_order_relaxed)) {
        select_db_fail(db, "57014", "canceling statement due to user request", NULL);
    } else if (rc == SQLITE_INTERRUPT || (rc == SQLITE_AUTH && db->denied_action == 0) ||
               clock_thread_us() > db->deadline_us) {
        select_db_fail(db, "57014", "the query took too long for the console", NULL);
    } else if (rc == SQLITE_NOMEM || rc == SQLITE_FULL) {
        select_db_fail(db, "53200", "the query needs more memory than the console gives it", NULL);
    } else if (rc == SQLITE_TOOBIG) {
        select_db_fail(db, "54000", "a value is too large for the console", NULL);
    } else if (db->denied_action != 0) {
        explain_denied(db);
    } else {
        explain_message(db, sqlite3_errmsg(db->db));
    }
}
