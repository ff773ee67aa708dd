/*
 * query_int.h - what the console asks of SELECT: select.c and its siblings (select_int.h).
 *
 * Everything here belongs to the control thread.
 */
#ifndef QUERY_INT_H
#define QUERY_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct column;
struct console;
struct gathering;
struct parse_error;
struct select_plan;
struct session;
struct wire_reader;

struct select_job;

/* A value of a parameter. */
struct select_value {
    char kind; /* 'n' NULL, 'i', 'f', 's' */
    int64_t i;
    double f;
    char *text; /* as it was sent, terminated; free() */
    uint32_t len;
};

/* False without SQLite: then no statement has a query. */
bool select_is_built(void);
/* current_user and the like, which are queries although they look like names. */
bool select_is_keyword(const char *name);
/* Where the statement at sql ends: its ; or the end. NULL: a quote or comment is open. */
const char *select_find_end(const char *sql, size_t len);

/* NULL when memory is out. Plans are counted; the control thread's. */
struct select_plan *select_plan_new(const char *sql, uint32_t sql_bytes) must_check;
struct select_plan *select_plan_ref(struct select_plan *plan);
void select_plan_unref(struct select_plan *plan);
const struct column *select_plan_columns(const struct select_plan *plan, uint16_t *n);
/* Type OIDs. */
const uint32_t *select_plan_parameters(const struct select_plan *plan, uint16_t *n);
/* The types that the client gives; before the plan is prepared. False: too many. */
bool select_plan_set_types(struct select_plan *plan, const uint8_t *oids, uint16_t n) must_check;

/* Starts a job; the session waits, and session_finish() follows. False when memory is out. Without parameters
 * and with session->preparing NULL the query runs as soon as it is prepared. */
bool select_prepare(struct session *s, struct select_plan *plan) must_check;
bool select_execute(struct session *s, struct select_plan *plan, const struct select_value *values,
                    uint16_t n_values) must_check;
/* What the workers tell has come. */
void select_gathered(struct session *s, const struct gathering *g);
/* The session's query fails with an error. */
void select_fail(struct session *s, const char *sqlstate, const char *message, const char *hint);
/* The client cancels. False: no query is under way. */
bool select_cancel(struct session *s);
/* The session goes. */
void select_abandon(struct session *s);
void select_interrupt_all(struct console *c);
void select_free_all(struct console *c);

/* Reads n parameters of a Bind. values: zeroed; to be freed in either case. False: e says why. */
bool select_read_values(struct wire_reader *r, const uint8_t *formats, uint16_t n_formats,
                        const uint32_t *types, struct select_value *values, uint16_t n,
                        struct parse_error *e) must_check;
void select_values_free(struct select_value *values, uint16_t n);

#endif
