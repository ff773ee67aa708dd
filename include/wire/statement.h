/*
 * statement.h - prepared statements of all clients, each kept once.
 *
 * A statement is the body of a Parse (query text and parameter types) with the settings
 * under which it was parsed, or the part of a PREPARE behind the name. Equal ones are the same object in all
 * threads, and have one name on every server: PGSLUICE_<number>. Clients and servers hold
 * references; with the last one the statement is gone.
 *
 * Threads: any. Not here: what a client calls it (statement_names.h), which servers have it
 * (statement_cache.h).
 */
#ifndef WIRE_STATEMENT_H
#define WIRE_STATEMENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/intern.h"

#define STATEMENT_PREFIX         "PGSLUICE_"
#define STATEMENT_NOBODY         STATEMENT_PREFIX "0" /* the name of none: numbers begin at 1 */
#define STATEMENT_MAX_BODY_BYTES (16u << 20)
#define STATEMENTS_MAX_BYTES     (256ull << 20) /* of all together */

enum statement_kind {
    STATEMENT_PARSED, /* by a Parse */
    STATEMENT_SQL,    /* by PREPARE: the body's text is what stands behind the name, it has no types */
    STATEMENT_SPARE,  /* nobody's, to be DEALLOCATEd in place of another one */
    STATEMENT_SOURCE, /* the body of a Parse as its client wrote it, which is on no server */
};

struct statement {
    /* constant */
    uint64_t hash;
    uint64_t number;
    struct istr *settings; /* that decide what it means, as statement_settings() makes them */
    uint32_t body_bytes;
    uint16_t variant;   /* equal ones in all else, where one server needs several */
    uint8_t kind;       /* enum statement_kind */
    bool may_listen;    /* LISTEN, UNLISTEN or DISCARD may be in the text */
    bool may_notify;    /* NOTIFY or pg_notify() may */
    uint8_t name_bytes; /* without the NUL */
    char name[31];      /* on servers */

    /* [atomic]; refs: 1 -> 0 under the table's lock only */
    _Atomic uint32_t refs;
    _Atomic uint32_t n_clients;   /* names that clients have for it */
    _Atomic uint32_t n_servers;   /* servers that have it */
    _Atomic uint8_t session_look; /* of its text: 1 + sql_look(); 0: nobody has looked yet */
    _Atomic uint8_t may_set;      /* of its text, too: session/prepared_setting.c */
    _Atomic uint64_t hits;        /* times it was needed on a server and was there */
    _Atomic uint64_t misses;      /* times it had to be prepared */

    /* [table's lock] */
    struct statement *next;

    /* constant: query text, NUL, number of types, types */
    uint8_t body[];
};

/* Is that the body of a Parse behind the name, complete and nothing behind it? */
bool statement_body_is_sound(const uint8_t *body, uint32_t len_bytes) must_check;
/* A reference; settings stay the caller's. NULL when memory is out or STATEMENTS_MAX_BYTES would be passed.
 */
struct statement *statement_get_kind(enum statement_kind kind, uint16_t variant, const uint8_t *body,
                                     uint32_t len_bytes, struct istr *settings) must_check;
static inline must_check struct statement *statement_get(const uint8_t *body, uint32_t len_bytes,
                                                         struct istr *settings)
{
    return statement_get_kind(STATEMENT_PARSED, 0, body, len_bytes, settings);
}
/* The same under other settings. */
static inline must_check struct statement *statement_get_again(const struct statement *s,
                                                               struct istr *settings)
{
    return statement_get_kind((enum statement_kind)s->kind, s->variant, s->body, s->body_bytes, settings);
}
/* Bits of sql_look() of its text, which is looked at once. */
unsigned statement_look_at_text(struct statement *s) must_check;
static inline unsigned statement_sql_look(struct statement *s)
{
    const uint8_t known = atomic_load_explicit(&s->session_look, memory_order_relaxed);
    return likely(known != 0) ? known - 1u : statement_look_at_text(s);
}
struct statement *statement_ref(struct statement *s);
void statement_unref(struct statement *s); /* NULL is fine */
/* Memory of one, and of all. */
uint64_t statement_bytes(const struct statement *s);
uint64_t statements_bytes(void);
/* All that there are, a reference to each, oldest first; free() the array. NULL when memory is out. */
struct statement **statements_all(uint32_t *n) must_check;

#endif
