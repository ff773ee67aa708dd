/*
 * session_ops.h - the acts of one text (sql_session.h), kept until the server has answered it.
 *
 * Immutable and counted by references: a prepared statement, its portals and what has been sent of it share
 * them. In what a Parse has brought, values of set_config() may be parameters; Bind gives another set of acts
 * with their values.
 *
 * Pure; of one thread.
 */
#ifndef WIRE_SESSION_OPS_H
#define WIRE_SESSION_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "wire/sql_session.h"

struct session_op {
    enum sql_session_kind kind; /* a call of set_config(): SET or RESET when its arguments are known */
    uint32_t index;             /* of its statement in the text, from 0 on */
    bool is_local;
    bool is_chain;
    bool is_call;    /* of set_config(): performed when there is a row ("SELECT 0": it was not) */
    bool is_certain; /* of a call: see struct sql_session_act */
    bool is_hidden;  /* a call of which nothing is known, nor whether it is one */
    char *name;      /* "" when there is none */
    char *value;     /* SET: what it becomes; NULL: it is not known */
    uint32_t
        params[3]; /* SET_CONFIG: the number of the parameter that is its name, value, is_local; 0: none */
};

#define SESSION_OPS_MAX 4096 /* acts of one text; those beyond are not looked at */

struct session_ops {
    uint32_t refs;
    uint32_t n;
    bool has_params; /* to be bound */
    struct session_op items[];
};

enum session_ops_result { SESSION_OPS_OK, SESSION_OPS_NONE, SESSION_OPS_NO_MEMORY };

/*
 * The acts of the whole text, a reference; NONE: it has none (and *out is NULL). is_cut: the text goes on, so
 * its last statement is not looked at.
 */
enum session_ops_result session_ops_read(const struct sql_lexer *text, bool is_utf8, bool is_cut,
                                         struct session_ops **out) must_check;
/*
 * The same with the values of a Bind, a reference. bind: of the message, what is behind the names of portal
 * and statement (the formats come first). What is malformed gives values that are not known.
 */
struct session_ops *session_ops_bind(struct session_ops *ops, const uint8_t *bind,
                                     uint32_t len_bytes) must_check;
struct session_ops *session_ops_ref(struct session_ops *ops);
void session_ops_unref(struct session_ops *ops); /* NULL is fine */

#endif
