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
 * What a text may do, and nobody knows whether it does (code in a DO), is asked for like the rest and counted
 * only when it has turned out to be there: a DO that means no harm is not refused.
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
#include "tracking.h"
#include "wire/sql_session.h"

#define REFUSED_NAME      "pgsluice_max_pinned"
#define REFUSED_MAX_BYTES (1u << 20) /* of a message that is refused as an error and not by disconnecting */
#define UNREAD_ASKED      3          /* server->n_unread: two statements performed */
#define READ_MAX_BYTES    65536u     /* of a text that begins with something; as in tracking.c */

/* In a message. */
struct sql_text {
    const char *bytes;
    uint32_t n;
};

/* What a text does. */
struct effects {
    unsigned pins;   /* enum pin_reason */
    unsigned hidden; /* and these, perhaps */
    bool frees;
    bool is_block; /* of several statements: in one transaction, unless they say otherwise */
};

static void add_hidden(struct effects *e, const struct sql_session_act *act)
{
    switch (act->kind) {
    case SQL_SESSION_LOCK: e->hidden |= PIN_LOCK; return;
    case SQL_SESSION_TEMP: e->hidden |= PIN_TEMP; return;
    case SQL_SESSION_HOLD: e->hidden |= PIN_HOLD; return;
    case SQL_SESSION_LOAD: e->pins |= PIN_LOAD; return; /* nothing turns out later */
    case SQL_SESSION_UNLOCK: e->frees = true; return;
    default: return;
    }
}

static void add_act(struct effects *e, const struct sql_session_act *act)
{
    if (act->is_hidden) {
        add_hidden(e, act);
        return;
    }
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

static void add_statement(struct effects *e, const struct sql_lexer *l, const struct sql_statement *statement,
                          bool is_utf8)
{
    struct sql_session_reader r;
    struct sql_session_act act;

    for (sql_session_begin(&r, l, statement, is_utf8); sql_session_next(&r, &act);)
        add_act(e, &act);
}

/* The text is divided. The client's settings say how; where they are not known, as they are by default.
 * READ_MAX_BYTES: it goes on, perhaps. */
static struct effects read_effects(const struct client *c, const char *text, uint32_t len_bytes)
{
    const char *strings = params_get(c->params, "standard_conforming_strings");
    const char *encoding = params_get(c->params, "client_encoding");
    struct sql_lexer l = {.text = text,
                          .len_bytes = len_bytes,
                          .standard_strings = strings == NULL || strcmp(strings, "off") != 0};
    const bool is_utf8 = encoding != NULL && strcmp(encoding, "UTF8") == 0;
    struct effects e = {0};
    struct sql_statement statement = {0};
    enum sql_statement_result result;

    if (!sql_encoding_is_safe(encoding))
        return e;
    for (int n = 0; (result = sql_next_statement(&l, &statement)) == SQL_STATEMENT_OK; n++) {
        e.is_block = n > 0;
        add_statement(&e, &l, &statement, is_utf8);
        statement = (struct sql_statement){.start = l.len_bytes, .end = l.len_bytes};
    }
    if (result == SQL_STATEMENT_BROKEN && len_bytes == READ_MAX_BYTES) { /* it ends in what is not here */
        statement.end = l.len_bytes;
        add_statement(&e, &l, &statement, is_utf8);
    }
    return e;
}

/* What functions, triggers and rules may leave that the text calls or sets off: with strict the server is
 * asked. */
static void add_unseen(const struct client *c, struct effects *e)
{
    if (unlikely(c->is_strict))
        e->hidden |= PIN_ASKED;
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
    if (type == 'Q' || type == 'F') /* an error ends both alike */
        outgoing_put(o, query, sizeof(query));
    else if (type == 'P')
        outgoing_put(o, parse, sizeof(parse));
    else if (type == 'E')
        outgoing_put(o, execute, sizeof(execute));
    else
        outgoing_put(o, bind, sizeof(bind));
    o->start = at + 1 + len;
    o->unnamed_at = OUTGOING_NO_UNNAMED;
    unnamed_ends(c, s);
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
                                const struct sql_text *text, uint32_t *used)
{
    if (e->frees)
        pin_doubt(c);
    if ((e->pins | e->hidden) == 0)
        return PREPARED_PLAIN;
    const bool in_transaction = s->tracker.tx_status != 'I' || e->is_block;
    /* mostly a temporary object does not outlive the transaction that has made it */
    const bool may_end = (e->pins & ~(in_transaction ? (unsigned)PIN_TEMP : 0)) == 0;
    switch (pin_request(c, e->pins | e->hidden, may_end, text->bytes, text->n)) {
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

/* The text in message[from..], up to max_bytes of it. False: it has not arrived. */
static bool find_text(struct client *c, const uint8_t *message, uint32_t here_bytes, uint32_t len,
                      uint32_t from, uint32_t max_bytes, struct sql_text *text)
{
    const uint32_t whole = 1 + len > from ? 1 + len - from : 0;
    const uint32_t needed = whole < max_bytes ? whole : max_bytes;

    if (here_bytes < from + needed) {
        c->wanted_bytes = from + needed;
        return false;
    }
    text->bytes = (const char *)message + from;
    text->n = (uint32_t)strnlen(text->bytes, needed);
    return true;
}

/* What that text does. False: too little of it has arrived to say so. */
static bool look(struct client *c, const uint8_t *message, uint32_t here_bytes, uint32_t len, uint32_t from,
                 struct sql_text *text, struct effects *e)
{
    *e = (struct effects){0};
    if (!find_text(c, message, here_bytes, len, from, SQL_LOOK_MAX_BYTES, text))
        return false;
    if ((sql_look(text->bytes, text->n) & SQL_LOOK_CLOSELY) != 0) {
        if (!find_text(c, message, here_bytes, len, from, READ_MAX_BYTES, text))
            return false;
        *e = read_effects(c, text->bytes, text->n);
    }
    add_unseen(c, e);
    return true;
}

static enum prepared_step watch_query(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                      uint32_t len_bytes, uint32_t len, uint32_t *used)
{
    struct sql_text text;
    struct effects e;

    forget_unnamed(c);
    if (!look(c, o->data + at, len_bytes - at, len, WIRE_HEADER_BYTES, &text, &e))
        return PREPARED_MORE;
    return apply(c, s, o, at, len_bytes, 'Q', len, &e, &text, used);
}

static enum prepared_step watch_parse(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                      uint32_t len_bytes, uint32_t len, uint32_t *used)
{
    const uint8_t *message = o->data + at;
    const uint32_t here = len_bytes - at < 1 + len ? len_bytes - at : 1 + len;
    const bool is_named = here > WIRE_HEADER_BYTES && message[WIRE_HEADER_BYTES] != 0;
    struct sql_text text;
    struct effects e;

    if (is_named && c->maps_statements)
        return PREPARED_PLAIN; /* what counts is the Bind */
    if (here <= WIRE_HEADER_BYTES) {
        c->wanted_bytes = WIRE_HEADER_BYTES + 1;
        return PREPARED_MORE;
    }
    const uint8_t *end = memchr(message + WIRE_HEADER_BYTES, 0, here - WIRE_HEADER_BYTES);
    if (end == NULL)
        return PREPARED_PLAIN; /* a name of that length is none */
    if (!look(c, message, len_bytes - at, len, (uint32_t)(end + 1 - message), &text, &e))
        return PREPARED_MORE;
    if (is_named)
        return apply(c, s, o, at, len_bytes, 'P', len, &e, &text, used);
    forget_unnamed(c);
    if ((e.pins | e.hidden) == 0 && !e.frees)
        return PREPARED_PLAIN;
    c->unnamed_text = strndup(text.bytes, text.n);
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

/* False: it does nothing. */
static inline bool look_at_statement(const struct client *c, struct statement *statement,
                                     struct sql_text *text, struct effects *e)
{
    const bool is_close = (statement_sql_look(statement) & SQL_LOOK_CLOSELY) != 0;

    if (likely(!is_close && !c->is_strict))
        return false;
    text->bytes = (const char *)statement->body;
    text->n = (uint32_t)strnlen(text->bytes, READ_MAX_BYTES);
    *e = is_close ? read_effects(c, text->bytes, text->n) : (struct effects){0};
    add_unseen(c, e);
    return true;
}

enum prepared_step pin_watch_bind(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                  uint32_t len_bytes, uint32_t len, struct statement *statement,
                                  uint32_t *used)
{
    struct sql_text text;
    struct effects e;

    if (likely(!look_at_statement(c, statement, &text, &e)))
        return PREPARED_PLAIN;
    return apply(c, s, o, at, len_bytes, 'B', len, &e, &text, used);
}

bool pin_watch_execute(struct client *c, struct statement *statement)
{
    struct sql_text text;
    struct effects e;

    if (!c->watches_state || !look_at_statement(c, statement, &text, &e))
        return true;
    if (e.frees)
        pin_doubt(c);
    return (e.pins | e.hidden) == 0 ||
           pin_request(c, e.pins | e.hidden, true, text.bytes, text.n) != PIN_NO_MEMORY;
}

static enum prepared_step watch_bind(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                     uint32_t len_bytes, uint32_t len, uint32_t *used)
{
    if (likely(c->unnamed_text == NULL) || !is_of_unnamed(o->data + at, len_bytes - at))
        return PREPARED_PLAIN;
    const struct sql_text text = {c->unnamed_text, (uint32_t)strlen(c->unnamed_text)};
    struct effects e = read_effects(c, text.bytes, text.n);
    add_unseen(c, &e);
    return apply(c, s, o, at, len_bytes, 'B', len, &e, &text, used);
}

/* A FunctionCall says which function it is by its number only. */
static enum prepared_step watch_call(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                     uint32_t len_bytes, uint32_t len, uint32_t *used)
{
    const uint8_t *message = o->data + at;
    struct sql_session_act act = {0};
    struct effects e = {0};

    if (len < 4 + 4) /* malformed */
        return PREPARED_PLAIN;
    if (len_bytes - at < WIRE_HEADER_BYTES + 4) {
        c->wanted_bytes = WIRE_HEADER_BYTES + 4;
        return PREPARED_MORE;
    }
    const char *name = sql_session_function(wire_u32(message + WIRE_HEADER_BYTES), &act.kind);
    if (name != NULL && act.kind == SQL_SESSION_SET_CONFIG && !tracking_doubt(c, s, ""))
        return PREPARED_NO_MEMORY;
    if (name != NULL)
        add_act(&e, &act);
    add_unseen(c, &e);
    const char *what = name != NULL ? name : "FunctionCall";
    const struct sql_text text = {what, (uint32_t)strlen(what)};
    return apply(c, s, o, at, len_bytes, 'F', len, &e, &text, used);
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
    case 'F': return watch_call(c, s, o, at, len_bytes, len, used);
    default: return PREPARED_PLAIN;
    }
}

/* ---- what has not been read ---- */

static bool is_tag(const uint8_t *tag, uint32_t len_bytes, const char *text)
{
    return len_bytes == strlen(text) + 1 && memcmp(tag, text, len_bytes) == 0;
}

/* Of a statement that may be as long as it likes, and leaves nothing. */
static bool is_of_data(const uint8_t *tag, uint32_t len_bytes)
{
    static const char *const tags[] = {"SELECT ", "INSERT ", "UPDATE ", "DELETE ", "MERGE ", "COPY "};

    for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
        if (len_bytes > strlen(tags[i]) && memcmp(tag, tags[i], strlen(tags[i])) == 0)
            return true;
    }
    return false;
}

void pin_watch_unread(struct server *s, const uint8_t *tag, uint32_t len_bytes)
{
    static const char text[] = "statements behind the first 4 kB of a text";
    struct client *c = s->client;
    unsigned reasons = 0;

    if (c == NULL || !c->watches_state)
        return;
    if (is_tag(tag, len_bytes, "LOAD"))
        reasons = PIN_LOAD;
    if (is_tag(tag, len_bytes, "LISTEN"))
        s->has_listened = true;
    if (s->n_unread < UNREAD_ASKED) {
        s->n_unread = is_of_data(tag, len_bytes) ? s->n_unread + 1 : UNREAD_ASKED;
        reasons |= s->n_unread == UNREAD_ASKED ? PIN_ASKED : 0;
    }
    if ((reasons & PIN_ASKED) != 0 && !tracking_doubt(c, s, ""))
        client_close(c, CLOSE_NO_MEMORY, NULL);
    else if (reasons != 0 && pin_request(c, reasons, true, text, sizeof(text) - 1) == PIN_NO_MEMORY)
        client_close(c, CLOSE_NO_MEMORY, NULL);
}
