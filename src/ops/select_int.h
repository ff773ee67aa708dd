/*
 * select_int.h - SELECT over the relations of SHOW: what its files share.
 *
 *   select.c            on the control thread: one query at a time, rows, answers
 *   select_db.c         on a helper thread: the in-memory SQLite
 *   select_functions.c  which functions there are, and what they give
 *   select_lex.c, select_translate.c, select_types.c   pure: PostgreSQL's spelling and types
 *   select_catalog.c    the few tables of pg_catalog and information_schema that clients look at
 */
#ifndef SELECT_INT_H
#define SELECT_INT_H

#include <stdatomic.h>

#include "net/helper.h"
#include "ops_int.h"

#define SELECT_MAX_PARAMETERS 64
#define SELECT_MAX_RELATIONS  64 /* bits of plan->relations */
#define SELECT_MAX_TOKENS     16384

/* ---- tokens: select_lex.c ---- */

enum sql_kind { SQL_END, SQL_WORD, SQL_QUOTED, SQL_STRING, SQL_NUMBER, SQL_PARAMETER, SQL_SYMBOL, SQL_BAD };

struct sql_token {
    enum sql_kind kind;
    const char *text; /* in the statement; with its quotes */
    uint32_t len;
};

struct sql_tokens {
    struct sql_token *at; /* one SQL_END behind the last */
    uint32_t n;
};

/* Reads the token at p, past blanks and comments; returns what is behind it. */
const char *sql_next(const char *p, const char *end, struct sql_token *t);
/* All tokens up to the end; free(out->at). False: memory is out, too many, or a bad one. */
bool sql_tokenize(const char *sql, size_t len, struct sql_tokens *out) must_check;
bool sql_is_word(const struct sql_token *t, const char *word);
bool sql_is_symbol(const struct sql_token *t, const char *symbol);
/* The index of the bracket that closes the one at i, or of the end. */
uint32_t sql_closing(const struct sql_tokens *t, uint32_t i, uint32_t end);
/* The identifier without its quotes, in lower case unless quoted. False when it does not fit. */
bool sql_identifier(const struct sql_token *t, char *out, size_t size) must_check;

/* ---- translation: select_translate.c ---- */

/* The statement as SQLite reads it. */
void sql_translate(const struct sql_tokens *t, struct buf *out);
/* The name stands where a query has its relations. It may be a column all the same. */
bool sql_may_name(const struct sql_tokens *t, const char *relation);
/* One of ours, as struct column has them, for the name of a type of PostgreSQL. */
char sql_type_named(const struct sql_token *t);

/* ---- types: select_types.c ---- */

/* The type of a column that a query may mean; 0 when there is none, or more than one meaning. */
struct sql_scope {
    char (*column_type)(const void *arg, const char *name);
    const void *arg;
};

struct sql_item {
    uint32_t from, to; /* tokens, without the alias */
    bool is_star;
    char name[CONSOLE_NAME_BYTES]; /* as PostgreSQL would call it */
};

/* The select list of the outermost SELECT (of its first half, with UNION), at most max items; returns how
 * many, 0 when it is not understood. */
uint32_t sql_select_items(const struct sql_tokens *t, struct sql_item *items, uint32_t max);
/* The type of an expression; 's' when it cannot be known. */
char sql_expression_type(const struct sql_tokens *t, uint32_t from, uint32_t to,
                         const struct sql_scope *scope);
/* What stands with parameter $number tells its type; 's' when nothing does. */
char sql_parameter_type(const struct sql_tokens *t, uint32_t number, const struct sql_scope *scope);

/* ---- functions: select_functions.c ---- */

/*
 * What a function gives: a type of struct column, or
 * a as its first argument, u what all arguments have in common, 2 the same without the first, + a sum.
 */
struct sql_function {
    const char *name;
    char rule;
};

/* NULL: there is no such function, whatever SQLite says. */
const struct sql_function *sql_function_find(const char *name);
/* The nearest name, or NULL. */
const char *sql_function_nearest(const char *name);
/* Of PostgreSQL, without brackets: current_user. */
bool sql_is_keyword_function(const char *name);

/* ---- queries: select.c ---- */

/* What is known of a query. Made by the first job, then constant. */
struct select_plan {
    int refs; /* [control thread] */
    char *sql;
    uint32_t sql_bytes;
    uint64_t relations; /* bits of select_relation_at() */
    uint16_t n_columns;
    struct column *columns; /* names are the plan's */
    uint16_t n_parameters;
    uint32_t parameter_types[SELECT_MAX_PARAMETERS]; /* type OIDs; 0 until it is known */
};

enum select_stage { SELECT_PREPARE, SELECT_RUN };

struct select_job {
    struct helper_job helper;
    struct list node; /* console->selects: in order, the first one may be running */
    bool is_running;  /* the helper has it */
    enum select_stage stage;
    struct session *session; /* cleared when it goes */
    struct select_plan *plan;
    _Atomic bool is_cancelled; /* looked at while it runs */

    /* in */
    char user[CONSOLE_NAME_BYTES];
    struct buf rows[SELECT_MAX_RELATIONS]; /* DataRow messages in text */
    struct select_value values[SELECT_MAX_PARAMETERS];
    uint16_t n_values;
    struct column_set binary;

    /* out */
    bool has_failed;
    struct parse_error error;
    struct buf out; /* DataRow messages */
    uint64_t n_rows;
};

/* The relations of SHOW, then those of the catalog; NULL behind the last. */
const struct relation *select_relation_at(size_t i);

/* helper->work of a job: select_db.c */
void select_work(struct helper_job *helper);

/* ---- catalog: select_catalog.c ---- */

size_t catalog_count(void);
const struct relation *catalog_at(size_t i);

#endif
