/*
 * params.h - sets of run-time parameters (GUCs) that a session has and a server reports.
 *
 * A set is immutable, shared and reference-counted, and equal sets are the same
 * pointer, in all threads: a client and a server that agree are found to agree by
 * comparing two pointers. A change makes another set.
 *
 * Names compare without case and keep the server's spelling: the parameters that PostgreSQL
 * reports have it whatever the caller writes, so that equal sets are found equal. The set kept for a session
 * holds only what SET can restore; what the server only tells (server_version, in_hot_standby,
 * ...) is kept beside it in the pool's welcome set.
 */
#ifndef WIRE_PARAMS_H
#define WIRE_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"

#define PARAMS_MAX             64 /* parameters in one set */
#define PARAMS_MAX_NAME_BYTES  127
#define PARAMS_MAX_VALUE_BYTES 8192 /* longer values are not kept */

/* The value of a parameter that a server may have, or not: nobody's, so it is set or reset for whoever comes.
 */
#define PARAMS_UNKNOWN "\x01"

struct params;

/* The empty set (a reference). */
struct params *params_empty(void);
struct params *params_ref(struct params *p);
void params_unref(struct params *p); /* NULL is fine */

/* A set as p with name = value; does not take p's reference. NULL when memory is out or a bound is passed.
 * The name keeps the spelling it has in p, if it is there. */
struct params *params_with(struct params *p, const char *name, const char *value) must_check;
/* A set as p without name; does not take p's reference. NULL when memory is out. */
struct params *params_without(struct params *p, const char *name) must_check;
/* The value, or NULL. */
const char *params_get(const struct params *p, const char *name);
uint32_t params_count(const struct params *p);
/* How many sets there are that are not empty, and the bytes of one without its items; for SHOW MEM. Any
 * thread. */
void params_memory(uint32_t *count, uint32_t *set_bytes);
const char *params_name(const struct params *p, uint32_t i);
const char *params_value(const struct params *p, uint32_t i);

/* Can SET restore it? False for what the server only reports: server_version, server_encoding,
 * integer_datetimes, is_superuser, session_authorization, in_hot_standby. */
bool params_is_settable(const char *name);
/* The settable part of a set (a reference), or NULL when memory is out. */
struct params *params_settable(struct params *p) must_check;

/*
 * Appends the SQL that turns a server that has `have` into one that has `want`:
 * "SET name='value';...", or "SELECT pg_catalog.set_config(...);" where SET would change the value
 * (search_path and other lists of quoted names, which SET takes for one name) or could not be quoted safely,
 * with names and values quoted for standard_conforming_strings on or off alike (E'' form when there is a
 * backslash). Parameters of `want` that `have` does not know are set too; those only in `have` are
 * RESET: they are what another session has SET and the server does not report. A role and a session
 * authorization are given up before, and taken on after the others. Returns how many statements.
 */
uint32_t params_diff_sql(const struct params *have, const struct params *want, struct buf *sql);

/* The same for a server that has more than `have` says, nobody knows what: RESET ALL, and all of `want`. */
uint32_t params_reset_sql(const struct params *have, const struct params *want, struct buf *sql);
/*
 * Appends to a query whose rows are names and values the rows of settings with a dot in their names, those of
 * both sets, that the session has: pg_settings does not list them, and PostgreSQL tells nobody which there
 * are. Of those only in `have` that are empty there is no row: they have been reset.
 */
void params_put_dotted_query(const struct params *have, const struct params *want, struct buf *sql);

/* Appends a ParameterStatus message for each parameter. */
void params_put_status(const struct params *p, struct buf *out);

/*
 * The value as PostgreSQL would report it, where that can be known without asking:
 * client_encoding ("utf-8" -> "UTF8", all names and aliases of PostgreSQL's table),
 * standard_conforming_strings and other booleans ("1" -> "on"), IntervalStyle and DateStyle ("iso" -> "ISO,
 * MDY" with the order of `current` where the request names none), application_name (non-ASCII bytes as
 * PostgreSQL of version server_version_num shows them: '?' before 16, \xHH escapes from 16; cut to 63 bytes).
 * Anything else is unchanged. Returns false when PostgreSQL would refuse the value (unknown encoding, bad
 * boolean or style); then out is empty.
 */
bool params_canonical(const char *name, const char *value, const char *current, int server_version_num,
                      struct buf *out) must_check;

#endif
