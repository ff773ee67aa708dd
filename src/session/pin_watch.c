/*
 * pin_watch.c - see pin_watch.h.
 *
 * What ties a session to its server is found in the text of a Query when it is sent, and in that of a
 * statement when it is bound. The pin is there before PostgreSQL gets the message, so what it makes
 * never lies on a server that others may get.
 *
 * Refusing: PostgreSQL itself fails the statement, so that the error comes in its place of the pipeline, and
 * a transaction fails as it should. In the message's place goes one that cannot succeed, with a name in it
 * that its error repeats; the client gets ours instead.
 *
 * Not seen: what sql_session.h says; named statements where max_prepared_statements is 0 and they are
 * not run in the batch that parses them.
 *
 * Threads: the owner's of client and server.
 */
#include "pin_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "wire/sql_session.h"

#define REFUSED_NAME      "pgsluice_max_pinned"
#define REFUSED_MAX_BYTES (1u << 20) /* of a message that is refused as an error and not by disconnecting */

/* What a text does. */
struct effects {
    unsigned pins; /* enum pin_reason */
    bool frees;
    bool is_block; /* of several statements: in one transaction, unless they say otherwise */
};

static void add_act(struct effects *e, const struct sql_session_act *act)
{
    switch (act->kind) {
    case SQL_SESSION_LOCK: e->pins |= PIN_LOCK; return;
    case SQL_SESSION_TEMP: /* with ON COMMIT DROP it does not live longer than its transaction */
        e->pins |= act->is_local ? 0 : PIN_TEMP;
        return;
    case SQL_SESSION_HOLD: e->pins |= PIN_HOLD; return;
    case SQL_SESSION_LOAD: e->pins |= PIN_LOAD; return;
    case SQL_SESSION_UNLOCK:
    case SQL_SESSION_UNLOCK_ALL:
    case SQL_SESSION_CLOSE:
    case SQL_SESSION_CLOSE_ALL:
    case SQL_SESSION_DISCARD_ALL:
    case SQL_SESSION_DISCARD_TEMP:
    case SQL_SESSION_UNKNOWN: e->frees = true; return;
    default: return;
    }
}

/* The text is divided. The client's settings say how; where they are not known, as they are by default. */
static struct effects read_effects(const struct client *c, const char *text, uint32_t len_bytes)
{
    const char *strings = params_get(c->params, "standard_conforming_strings");
    const char *encoding = params_get(c->params, "client_encoding");
    struct sql_lexer l = {.text = text,
                          .len_bytes = len_bytes,
                          .standard_strings = strings == NULL || strcmp(strings, "off") != 0};
    const bool is_utf8 = encoding != NULL && strcmp(encoding, "UTF8") == 0;
    struct effects e = {0};
    struct sql_statement statement;
    struct sql_session_reader r;
    struct sql_session_act act;

    if (!sql_encoding_is_safe(encoding))
        return e;
    for (int n = 0; sql_next_statement(&l, &statement) == SQL_STATEMENT_OK; n++) {
        e.is_block = n > 0;
        for (sql_session_begin(&r, &l, &statement, is_utf8); sql_session_next(&r, &act);)
            add_act(&e, &act);
    }
    return e;
}

static struct effects look(const struct client *c, const char *text, uint32_t len_bytes)
{
    if ((sql_look(text, len_bytes) & SQL_LOOK_CLOSELY) == 0)
        return (struct effects){0};
    return read_effects(c, text, len_bytes);
}

/* ---- refusing ---- */

enum prepared_step pin_watch_refuse(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                    uint32_t len_bytes, uint8_t type, uint32_t len, uint32_t *used)
{
    static const char query[] = "Q\0\0\0\x18" REFUSED_NAME;
    static const char parse[] = "P\0\0\0\x1b\0" REFUSED_NAME "\0\0";
    static const char bind[] = "B\0\0\0\x1f\0" REFUSED_NAME "\0\0\0\0\0\0";
    static const char execute[] = "E\0\0\0\x1c" REFUSED_NAME "\0\0\0\0";

    if (len >= REFUSED_MAX_BYTES) {
        client_close(c, CLOSE_MAX_PINNED, NULL);
        return PREPARED_LOST;
    }
    if (len_bytes - at < 1 + len) {
        c->wanted_bytes = 1 + len;
        return PREPARED_MORE;
    }
    if (!outgoing_reserve(s, o, at))
        return PREPARED_LOST;
    enum prepared_step step = prepared_step_of(tracker_client(&s->tracker, type));
    if (step != PREPARED_TAKEN)
        return step;
    outgoing_range(o, at);
    if (type == 'Q')
        outgoing_put(o, query, sizeof(query));
    else if (type == 'P')
        outgoing_put(o, parse, sizeof(parse));
    else if (type == 'E')
        outgoing_put(o, execute, sizeof(execute));
    else
        outgoing_put(o, bind, sizeof(bind));
    o->start = at + 1 + len;
    o->unnamed_at = OUTGOING_NO_UNNAMED;
    s->unnamed_of = 0;
    s->refuses = true;
    *used = 1 + len;
    client_log(c, LOG_LVL_WARNING, "statement refused: %s", close_reason_text(CLOSE_MAX_PINNED));
    return PREPARED_TAKEN;
}

bool pin_watch_error(struct server *s, const uint8_t *body, uint32_t len_bytes, struct buf *instead)
{
    char detail[200];
    struct wire_error e;
    struct pool_numbers n;

    if (!wire_parse_error(body, len_bytes, &e) || strstr(e.message, REFUSED_NAME) == NULL)
        return false;
    pool_read(s->pool, 0, s->shard->now_us, &n);
    if (n.max_pinned <= 0)
        (void)str_copy(
            detail,
            "The statement would keep the server connection beyond its transaction, and of this pool "
            "no client may do that: by default a pool of one has none to spare.",
            sizeof(detail));
    else
        snprintf(
            detail, sizeof(detail),
            "The statement would keep the server connection beyond its transaction, and %d of this pool, "
            "of at most %d, are kept by clients already.",
            n.pinned, n.max_pinned);
    buf_init(instead, 4096);
    wire_put_error(
        instead, "ERROR", "53400", "too many pinned server connections (max_pinned)", detail,
        "Release advisory locks, temporary tables and the like, raise max_pinned and pool_size, or "
        "use pool_mode = session (or session_state = ignore, which leaves them to whoever comes next, as "
        "PgBouncer does).");
    return true;
}

/* ---- watching ---- */

static enum prepared_step apply(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                uint32_t len_bytes, uint8_t type, uint32_t len, const struct effects *e,
                                const char *text, uint32_t text_bytes, uint32_t *used)
{
    if (e->frees)
        pin_doubt(c);
    if (e->pins == 0)
        return PREPARED_PLAIN;
    const bool in_transaction = s->tracker.tx_status != 'I' || e->is_block;
    switch (pin_request(c, e->pins, in_transaction, text, text_bytes)) {
    case PIN_GRANTED: return PREPARED_PLAIN;
    case PIN_NO_MEMORY: return PREPARED_NO_MEMORY;
    case PIN_REFUSED: break;
    }
    return pin_watch_refuse(c, s, o, at, len_bytes, type, len, used);
}

static void forget_unnamed(struct client *c)
{
    if (likely(c->unnamed_text == NULL))
        return;
    free(c->unnamed_text);
    c->unnamed_text = NULL;
}

/* The text in message[from..], as far as it is looked at. False: it has not arrived. */
static bool find_text(struct client *c, const uint8_t *message, uint32_t here_bytes, uint32_t len,
                      uint32_t from, const char **text, uint32_t *text_bytes)
{
    uint32_t whole = 1 + len > from ? 1 + len - from : 0;
    uint32_t needed = whole < SQL_LOOK_MAX_BYTES ? whole : SQL_LOOK_MAX_BYTES;

    if (here_bytes < from + needed) {
        c->wanted_bytes = from + needed;
        return false;
    }
    *text = (const char *)message + from;
    *text_bytes = here_bytes - from < whole ? here_bytes - from : whole;
    const char *end = memchr(*text, '\0', *text_bytes);
    if (end != NULL)
        *text_bytes = (uint32_t)(end - *text);
    return true;
}

static enum prepared_step watch_query(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                      uint32_t len_bytes, uint32_t len, uint32_t *used)
{
    const char *text;
    uint32_t n;

    forget_unnamed(c);
    if (!find_text(c, o->data + at, len_bytes - at, len, WIRE_HEADER_BYTES, &text, &n))
        return PREPARED_MORE;
    const struct effects e = look(c, text, n);
    return apply(c, s, o, at, len_bytes, 'Q', len, &e, text, n, used);
}

static enum prepared_step watch_parse(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                      uint32_t len_bytes, uint32_t len, uint32_t *used)
{
    const uint8_t *message = o->data + at;
    const uint32_t here = len_bytes - at < 1 + len ? len_bytes - at : 1 + len;
    const bool is_named = here > WIRE_HEADER_BYTES && message[WIRE_HEADER_BYTES] != 0;
    const char *text;
    uint32_t n;

    if (is_named && c->maps_statements)
        return PREPARED_PLAIN; /* what counts is the Bind */
    if (here <= WIRE_HEADER_BYTES) {
        c->wanted_bytes = WIRE_HEADER_BYTES + 1;
        return PREPARED_MORE;
    }
    const uint8_t *end = memchr(message + WIRE_HEADER_BYTES, 0, here - WIRE_HEADER_BYTES);
    if (end == NULL)
        return PREPARED_PLAIN; /* a name of that length is none */
    if (!find_text(c, message, len_bytes - at, len, (uint32_t)(end + 1 - message), &text, &n))
        return PREPARED_MORE;
    const struct effects e = look(c, text, n);
    if (is_named)
        return apply(c, s, o, at, len_bytes, 'P', len, &e, text, n, used);
    forget_unnamed(c);
    if (e.pins == 0 && !e.frees)
        return PREPARED_PLAIN;
    c->unnamed_text = strndup(text, n);
    return c->unnamed_text != NULL ? PREPARED_PLAIN : PREPARED_NO_MEMORY;
}

/* Of the unnamed statement? Its names have arrived, or it does not matter here. */
static bool is_of_unnamed(const uint8_t *message, uint32_t here_bytes)
{
    const uint8_t *names = message + WIRE_HEADER_BYTES;
    const uint8_t *end =
        here_bytes > WIRE_HEADER_BYTES ? memchr(names, 0, here_bytes - WIRE_HEADER_BYTES) : NULL;

    return end != NULL && end + 1 < message + here_bytes && end[1] == 0;
}

enum prepared_step pin_watch_bind(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                  uint32_t len_bytes, uint32_t len, struct statement *statement,
                                  uint32_t *used)
{
    const char *text = (const char *)statement->body;
    uint8_t known = atomic_load_explicit(&statement->session_look, memory_order_relaxed);

    if (unlikely(known == 0)) {
        known = 1 + (uint8_t)sql_look(text, (uint32_t)strlen(text));
        atomic_store_explicit(&statement->session_look, known, memory_order_relaxed);
    }
    if (likely(((known - 1) & SQL_LOOK_CLOSELY) == 0))
        return PREPARED_PLAIN;
    const uint32_t n = (uint32_t)strnlen(text, SQL_LOOK_MAX_BYTES);
    const struct effects e = read_effects(c, text, n);
    return apply(c, s, o, at, len_bytes, 'B', len, &e, text, n, used);
}

static enum prepared_step watch_bind(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                     uint32_t len_bytes, uint32_t len, uint32_t *used)
{
    const char *text = c->unnamed_text;

    if (likely(text == NULL) || !is_of_unnamed(o->data + at, len_bytes - at))
        return PREPARED_PLAIN;
    const uint32_t n = (uint32_t)strlen(text);
    const struct effects e = read_effects(c, text, n);
    return apply(c, s, o, at, len_bytes, 'B', len, &e, text, n, used);
}

enum prepared_step pin_watch_message(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                     uint32_t len_bytes, uint8_t type, uint32_t len, uint32_t *used)
{
    if (unlikely(s->tracker.is_skipping)) /* the server does not look at it */
        return PREPARED_PLAIN;
    switch (type) {
    case 'Q': return watch_query(c, s, o, at, len_bytes, len, used);
    case 'P': return watch_parse(c, s, o, at, len_bytes, len, used);
    case 'B': return watch_bind(c, s, o, at, len_bytes, len, used);
    default: return PREPARED_PLAIN;
    }
}
