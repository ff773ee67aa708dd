/*
 * ahead.c - the client's settings go ahead of its request, in the same send.
 *
 * Where client and server do not agree on settings, what makes them agree is one Query of ours: a transaction
 * of SETs. Its answer is not waited for: the client's first request (a Query, or a batch up to its Sync) goes
 * right behind it. When a SET fails, the transaction stays open, and failed: PostgreSQL runs nothing in it
 * that is behind, so that no statement ever meets another client's settings. The client is told what has
 * failed, and the server is closed.
 *
 * That holds for what does not end a transaction. What does (COMMIT, ROLLBACK), or may, waits for the answer,
 * and so does what comes behind the first request, or has not arrived whole.
 *
 * Threads: the owner's of client and server.
 * Source: PostgreSQL documentation, "Multiple Statements in a Simple Query", "Pipelining".
 */
#include "ahead.h"

#include <string.h>

#include "wire/sql_session.h"

/* ---- beginning ---- */

bool ahead_may_begin(const struct server *s)
{
    const struct client *c = s->client;

    /* behind a check query there must be something to send */
    return c->state == CLIENT_ACTIVE && c->lost == LOST_NOTHING && c->skip == SKIP_NONE &&
           (s->state != SERVER_SETUP || c->input != NULL);
}

void server_takes_settings(struct server *s, const struct client *c)
{
    params_unref(s->params);
    s->params = params_ref(c->params);
    if (s->unlisted_of != c->id)
        s->unlisted_of = 0;
}

bool ahead_begin(struct server *s, const char *sets)
{
    struct client *c = s->client;
    struct buf sql;

    if (!tracker_internal_query(&s->tracker))
        return false;
    buf_init(&sql, 1 << 20);
    buf_append_str(&sql, "BEGIN;");
    buf_append_str(&sql, sets);
    buf_append_str(&sql, "COMMIT");
    buf_init(&s->ahead, 1 << 20);
    wire_put_query(&s->ahead, buf_cstr(&sql));
    const bool ok = !sql.failed && !s->ahead.failed;
    buf_free(&sql);
    if (!ok)
        return false;
    s->unnamed_of = 0; /* a Query ends it */
    s->ahead_state = AHEAD_OPEN;
    s->step = STEP_NONE;
    s->was_ready = false; /* by a check query; this client has had nothing yet */
    /* from here on what is read and sent is the client's; where that should fail, nobody gets the server */
    server_takes_settings(s, c);
    server_set_state(s, SERVER_ACTIVE);
    return true;
}

/* ---- what may go behind ---- */

/* A text that PostgreSQL does not run in a failed transaction, and that is not about statements, which are
 * looked into with an eye on what the server is at. */
static bool is_harmless(const char *text, uint32_t len_bytes)
{
    return !sql_may_end_transaction(text, len_bytes) && (sql_look(text, len_bytes) & SQL_LOOK_COMMAND) == 0;
}

/* body: of a Parse, from its name on. */
static bool is_harmless_parse(const char *body, uint32_t len_bytes)
{
    const uint32_t name_bytes = 1 + (uint32_t)strnlen(body, len_bytes);

    return name_bytes < len_bytes &&
           is_harmless(body + name_bytes, (uint32_t)strnlen(body + name_bytes, len_bytes - name_bytes));
}

static bool is_harmless_bind(const struct client *c, const struct server *s, const uint8_t *message,
                             uint32_t len)
{
    struct statement_message m;

    if (!c->maps_statements)
        return false; /* its statements are not known */
    switch (statement_look(message, 1 + len, &m)) {
    case STATEMENT_NONE: /* parsed in this batch, which has been looked at, or kept */
        return unnamed_is_there(c, s) ||
               (c->unnamed != NULL && is_harmless_parse((const char *)c->unnamed + WIRE_HEADER_BYTES,
                                                        wire_u32(c->unnamed + 1) - 4));
    case STATEMENT_NAMED: break;
    default: return false;
    }
    const struct statement_name *name =
        c->names != NULL ? statement_names_find(c->names, m.name, m.name_bytes) : NULL;
    if (name == NULL)
        return false; /* PostgreSQL is to refuse it, and not what somebody has left there by that name to run
                       */
    const char *text = (const char *)name->statement->body;
    return name->source == NULL && name->statement->kind == STATEMENT_PARSED &&
           is_harmless(text, (uint32_t)strnlen(text, name->statement->body_bytes));
}

bool ahead_must_wait(const struct client *c, const struct server *s, const uint8_t *message,
                     uint32_t here_bytes)
{
    const uint32_t len = wire_u32(message + 1);
    const char *body = (const char *)message + WIRE_HEADER_BYTES;

    if (s->ahead_state == AHEAD_FULL || here_bytes <= len)
        return true;
    switch (message[0]) {
    case 'Q': return !is_harmless(body, (uint32_t)strnlen(body, len - 4));
    case 'P': return !is_harmless_parse(body, len - 4);
    case 'B': return !is_harmless_bind(c, s, message, len);
    case 'D':
    case 'E':
    case 'C':
    case 'S':
    case 'H':
    case 'F': return false;
    default: return true;
    }
}

/* ---- the answer ---- */

bool ahead_answered(struct server *s)
{
    const bool has_failed = s->setup_failed || s->tracker.tx_status != 'I';

    s->ahead_state = AHEAD_NONE;
    if (!has_failed) {
        if (unlikely(s->cancel != NULL))
            cancel_goes_on(s);
        return true;
    }
    struct client *c = server_detach_client(s);
    s->in_batch = false;
    if (c != NULL)
        client_close_error(c, CLOSE_LOGIN_REJECTED, s->setup_sqlstate, s->setup_error, NULL);
    server_close(s, CLOSE_UNCLEAN, "settings of its client were refused");
    return false;
}
