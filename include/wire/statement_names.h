/*
 * statement_names.h - what one client calls its prepared statements.
 *
 * Threads: the owner's. A client without named statements has no such object; its
 * size is bounded (STATEMENT_NAMES_MAX_BYTES).
 */
#ifndef WIRE_STATEMENT_NAMES_H
#define WIRE_STATEMENT_NAMES_H

#include "wire/params.h"
#include "wire/statement.h"
#include "wire/statement_link.h"

/* Of the statements that a client has names for, counted as if it alone had them. */
#define STATEMENT_NAMES_MAX_BYTES (32u << 20)

#define STATEMENT_NAME_COUNTS_BYTES 63u /* what is behind them makes no other name, as in PostgreSQL */

struct statement_name {
    struct statement_link link;
    struct statement *statement; /* a reference */
    struct statement
        *source; /* of a command of SQL about statements: as the client wrote it; a reference, else NULL */
    bool is_pending;     /* its Parse has not been answered yet */
    uint32_t name_bytes; /* without the NUL */
    char name[];
};

struct statement_names {
    struct statement_table table;
    struct statement_name *last; /* found last: most clients use one many times; NULL: none, or it has gone */
    uint64_t bytes;
    struct params *params; /* a reference: those of which `settings` were made */
    struct istr *settings; /* a reference */
    bool has_sql;          /* some were PREPAREd by SQL, or are used by it */
    bool has_listen;       /* some had a text that may be about LISTEN */
};

/* As the client wrote it; borrowed. */
static inline struct statement *statement_name_source(const struct statement_name *name)
{
    return name->source != NULL ? name->source : name->statement;
}

/* NULL when memory is out. */
struct statement_names *statement_names_new(void) must_check;
void statement_names_free(struct statement_names *n); /* NULL is fine */
/*
 * The settings that decide what a query text means to a session with these parameters: all that are kept but
 * the application's name. Valid until the next call. NULL when memory is out.
 */
struct istr *statement_names_settings(struct statement_names *n, struct params *params) must_check;

struct statement_name *statement_names_find(struct statement_names *n, const char *name,
                                            uint32_t name_bytes) hot_path;
/* The name that stands for a statement on servers, or NULL; slow. */
struct statement_name *statement_names_find_number(const struct statement_names *n, uint64_t number);
/* One in no table, for statement_name_free(); takes over the reference, also when memory is out (NULL). */
struct statement_name *statement_name_new(const char *name, uint32_t name_bytes,
                                          struct statement *statement) must_check;
/* A new one; takes over the reference, also when it fails: memory is out, or the bound would be passed. */
struct statement_name *statement_names_add(struct statement_names *n, const char *name, uint32_t name_bytes,
                                           struct statement *statement) must_check;
/* Takes one out, whole, and puts one back that was taken out. False: no memory; the name is freed. */
void statement_names_take(struct statement_names *n, struct statement_name *name);
bool statement_names_put(struct statement_names *n, struct statement_name *name) must_check;
/* One that is in no table. */
void statement_name_free(struct statement_name *name);
/* The name's text is a command of SQL; takes over the reference. It counts, but is not refused. */
void statement_names_set_source(struct statement_names *n, struct statement_name *name,
                                struct statement *source);
/* From now on the name stands for another statement; takes over the reference. */
void statement_names_change(struct statement_names *n, struct statement_name *name,
                            struct statement *statement);
/* All but those that are pending. */
void statement_names_clear(struct statement_names *n);

#endif
