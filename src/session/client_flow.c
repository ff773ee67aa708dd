/*
 * client_flow.c - what a client sends: from its socket to a server.
 *
 * Bytes are read into the loop's shared buffer and forwarded from there in
 * contiguous ranges; headers are looked at in place. Kept (copied) is only what cannot
 * go yet: the client has no server, its header is incomplete, the server
 * does not take more, or it is asked to stop at its Sync because others wait.
 *
 * Threads: the worker's own.
 */
#include <stdlib.h>
#include <string.h>

#include "ahead.h"
#include "listen_int.h"
#include "pin_watch.h"
#include "session/notifiers.h"
#include "tracking.h"

static void client_on_read(struct stream *st);
static void client_on_drain(struct stream *st);
static void client_on_error(struct stream *st, int err);

const struct stream_ops client_stream_ops = {
    .on_read = client_on_read,
    .on_drain = client_on_drain,
    .on_error = client_on_error,
};

static bool is_gone(const struct client *c)
{
    return c->state == CLIENT_CLOSING || c->stream.fd < 0;
}

/* ---- one message ---- */

static const bool request_types[256] = {
    ['Q'] = true, ['F'] = true, ['P'] = true, ['B'] = true, ['D'] = true, ['E'] = true,
    ['C'] = true, ['S'] = true, ['H'] = true, ['d'] = true, ['c'] = true, ['f'] = true,
};

static inline bool is_request(uint8_t type)
{
    return request_types[type];
}

/* Closes the client and returns false when the header cannot be right. */
static inline bool is_plain_header(const struct client *c, uint8_t type, uint32_t len)
{
    return len >= 4 && len <= INT32_MAX && len < shard_settings(c->shard)->max_packet_size &&
           is_request(type) && !(type == 'Q' && shard_settings(c->shard)->disable_pqexec);
}

static bool check_header(struct client *c, uint8_t type, uint32_t len)
{
    if (type == 'X') {
        client_close(c, CLOSE_CLIENT_REQUEST, NULL);
        return false;
    }
    if (len < 4 || len > INT32_MAX || !is_request(type)) {
        client_close_error(c, CLOSE_BAD_PACKET, "08P01", "bad packet: invalid message type or length", NULL);
        return false;
    }
    if (len >= shard_settings(c->shard)->max_packet_size) { /* which counts the type, too, as in PgBouncer */
        client_close(c, CLOSE_PACKET_TOO_LARGE, NULL);
        return false;
    }
    if (type == 'Q' && shard_settings(c->shard)->disable_pqexec) {
        client_close_error(c, CLOSE_BAD_PACKET, "0A000", "PQexec disallowed",
                           "disable_pqexec is set: use the extended query protocol.");
        return false;
    }
    return true;
}

/* May the next message go to the server now, as far as others are concerned? */
static inline bool must_hold(const struct client *c, const struct server *s)
{
    return !c->keeps_server && tracker_may_hold(&s->tracker) &&
           atomic_load_explicit(&c->pool->waiting_hint, memory_order_relaxed) > 0;
}

static hot_path void note_request(struct client *c, struct server *s, int64_t now_us)
{
    if (s->idle_in_xact_us != 0) {
        stats_shard_record(client_stats(c), LATENCY_IDLE_IN_TRANSACTION, now_us - s->idle_in_xact_us);
        s->idle_in_xact_us = 0;
    }
    s->request_us = now_us;
    if (s->is_first)
        s->is_first = false; /* began when the client asked for a server */
    else
        s->turn_us = now_us;
    s->was_ready = false;
    if (s->query_start_us == 0)
        s->query_start_us = now_us;
    if (s->xact_start_us == 0)
        s->xact_start_us = now_us;
}

/* ---- forwarding ---- */

/* Sends what has been found fit; false when the server is lost (the client too, then). */
static bool flush_range(struct server *s, const uint8_t *data, uint32_t len_bytes)
{
    if (len_bytes == 0)
        return true;
    if (stream_send(&s->stream, data, len_bytes))
        return true;
    server_close(s, CLOSE_SERVER_CRASHED, NULL);
    return false;
}

#define LOOK_UNKNOWN (SQL_LOOK_ALL + 1)

/*
 * The one look at a text: what may the message at hand be about? Bits of sql_look(), for all who look closely
 * then; nothing, when it has no text or nobody wants to know, and all of them when it has not arrived whole.
 */
static inline unsigned look_at_message(const struct client *c, const uint8_t *message, uint32_t here_bytes,
                                       uint8_t type, uint32_t len)
{
    uint32_t head_bytes = WIRE_HEADER_BYTES, tail_bytes = 0;

    if ((type != 'Q' && type != 'P') ||
        !(c->watches_state || c->watches_settings || c->maps_listen || c->maps_statements))
        return unlikely(type == 'F') && c->watches_state ? SQL_LOOK_CLOSELY : SQL_LOOK_NOTHING;
    if (unlikely(here_bytes <= len))
        return SQL_LOOK_ALL;
    if (type == 'P') {
        head_bytes += 1 + (uint32_t)strnlen((const char *)message + head_bytes, 1 + len - head_bytes);
        tail_bytes = 2; /* how many types there are */
    }
    if (unlikely(1 + len < head_bytes + tail_bytes))
        return SQL_LOOK_ALL;
    return sql_look((const char *)message + head_bytes, 1 + len - head_bytes - tail_bytes);
}

/* A Parse of the unnamed statement. */
static inline enum prepared_step take_unnamed_parse(struct client *c, struct server *s, struct outgoing *o,
                                                    uint32_t at, uint32_t len_bytes, uint32_t len,
                                                    unsigned look, uint32_t *used)
{
    const uint32_t here = len_bytes - at;
    const bool is_plain = (look & SQL_LOOK_COMMAND) == 0;

    if (unlikely(here <= len) && len < UNNAMED_MAX_BYTES) {
        c->wanted_bytes = 1 + len;
        return PREPARED_MORE;
    }
    if (unlikely(s->tracker.is_skipping)) /* the server does not look at it */
        return PREPARED_PLAIN;
    if (unlikely(c->unnamed != NULL) && !unnamed_forget(c, s, o, at))
        return PREPARED_LOST;
    unnamed_ends(c, s); /* until it goes: who is held back may go on with another server */
    if (unlikely(s->has_sql_portals))
        prepared_sql_forget_unnamed(s);
    o->unnamed_at = OUTGOING_NO_UNNAMED;
    if (unlikely(c->maps_listen && (!is_plain || c->listen_is_watching))) {
        enum prepared_step step = listen_message(c, s, o, at, len_bytes);
        if (step != PREPARED_PLAIN)
            return step;
    }
    if (unlikely(c->maps_sql && !is_plain)) {
        enum prepared_step step = prepared_unnamed_parse(c, s, o, at, len_bytes, used);
        if (step == PREPARED_TAKEN)
            unnamed_is_sent(c, s, s->tracker.tail - 1);
        if (step != PREPARED_PLAIN)
            return step;
    }
    unnamed_is_sent(c, s, s->tracker.tail);
    if (len < UNNAMED_MAX_BYTES)
        o->unnamed_at = at;
    return PREPARED_PLAIN;
}

/* A message that may be about prepared statements. PLAIN: to be forwarded like any other. */
static inline enum prepared_step take_statement(struct client *c, struct server *s, struct outgoing *o,
                                                uint32_t at, uint32_t len_bytes, uint8_t type, uint32_t len,
                                                unsigned look, uint32_t *used)
{
    const uint8_t *message = o->data + at;
    const uint32_t here = len_bytes - at;

    switch (type) {
    case 'Q':
        o->unnamed_at = OUTGOING_NO_UNNAMED;
        unnamed_ends(c, s);
        if (unlikely(c->unnamed != NULL) && !unnamed_forget(c, s, o, at))
            return PREPARED_LOST;
        if (likely((look & SQL_LOOK_COMMAND) == 0 && !c->listen_is_watching))
            return PREPARED_PLAIN;
        if (c->maps_listen) {
            enum prepared_step step = listen_message(c, s, o, at, len_bytes);
            if (step != PREPARED_PLAIN)
                return step;
        }
        return c->maps_sql ? prepared_query(c, s, o, at, len_bytes, used) : PREPARED_PLAIN;
    case 'P':
        if (statement_is_named(message, here))
            return prepared_message(c, s, o, at, len_bytes, used);
        return take_unnamed_parse(c, s, o, at, len_bytes, len, look, used);
    case 'B':
        if (statement_is_named(message, here))
            return prepared_message(c, s, o, at, len_bytes, used);
        if (unlikely(c->listen_is_watching)) {
            enum prepared_step step = listen_bind(c, s, o, at, len_bytes);
            if (step != PREPARED_PLAIN)
                return step;
        }
        if (unlikely(s->has_sql_portals)) {
            enum prepared_step step = prepared_sql_bind_unnamed(s, message, here);
            if (step != PREPARED_PLAIN)
                return step;
        }
        o->unnamed_at = OUTGOING_NO_UNNAMED;
        return likely(unnamed_is_there(c, s)) ? PREPARED_PLAIN : unnamed_use(c, s, o, at, len_bytes);
    case 'D':
        if (statement_is_named(message, here))
            return prepared_message(c, s, o, at, len_bytes, used);
        if (message[WIRE_HEADER_BYTES] == 'P' || likely(unnamed_is_there(c, s)))
            return PREPARED_PLAIN;
        return unnamed_use(c, s, o, at, len_bytes);
    case 'C':
        if (statement_is_named(message, here))
            return prepared_message(c, s, o, at, len_bytes, used);
        if (message[WIRE_HEADER_BYTES] == 'P')
            return PREPARED_PLAIN;
        o->unnamed_at = OUTGOING_NO_UNNAMED;
        unnamed_ends(c, s);
        return c->unnamed == NULL || unnamed_forget(c, s, o, at) ? PREPARED_PLAIN : PREPARED_LOST;
    case 'S':
        if (unlikely(o->unnamed_at != OUTGOING_NO_UNNAMED))
            unnamed_keep(c, o);
        return PREPARED_PLAIN;
    case 'E':
        if (unlikely(c->listen_is_watching)) {
            enum prepared_step step = listen_execute(c, s, o, at, len_bytes);
            if (step != PREPARED_PLAIN)
                return step;
        }
        return likely(!s->has_sql_portals) ? PREPARED_PLAIN : prepared_sql_execute(c, s, o, at, len_bytes);
    default: return PREPARED_PLAIN;
    }
}

/* The same without prepared statements of ours: it may be about LISTEN. */
static enum prepared_step take_listen(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                      uint32_t len_bytes, uint8_t type, unsigned look)
{
    if (type == 'B')
        return c->listen_is_watching ? listen_bind(c, s, o, at, len_bytes) : PREPARED_PLAIN;
    if (type == 'E')
        return c->listen_is_watching ? listen_execute(c, s, o, at, len_bytes) : PREPARED_PLAIN;
    if (type != 'Q' && type != 'P')
        return PREPARED_PLAIN;
    if ((look & SQL_LOOK_COMMAND) == 0 && !c->listen_is_watching)
        return PREPARED_PLAIN;
    return listen_message(c, s, o, at, len_bytes);
}

/* As take_request(), when settings have had their look. */
static inline enum prepared_step take_unwatched(struct client *c, struct server *s, struct outgoing *o,
                                                uint32_t at, uint32_t len_bytes, uint8_t type, uint32_t len,
                                                unsigned look, uint32_t *used)
{
    if (unlikely(s->notifier != NULL && notifier_is_heard(s->notifier)))
        notify_look(c, s, o->data + at, len_bytes - at);
    if (unlikely((look & SQL_LOOK_CLOSELY) != 0 || c->unnamed_text != NULL || c->is_strict) &&
        c->watches_state) {
        enum prepared_step step = pin_watch_message(c, s, o, at, len_bytes, type, len, used);
        if (unlikely(step != PREPARED_PLAIN)) {
            if (step == PREPARED_TAKEN)
                c->remain_bytes = 0;
            return step;
        }
    }
    if (c->maps_statements) {
        if (unlikely((look & SQL_LOOK_CLOSELY) != 0 || s->setting != SETTING_NOTHING || c->unnamed_sets))
            prepared_setting_look(c, s, o->data + at, len_bytes - at, look);
        enum prepared_step step = take_statement(c, s, o, at, len_bytes, type, len, look, used);
        if (step != PREPARED_PLAIN)
            return step;
    } else if (unlikely(c->maps_listen)) {
        enum prepared_step step = take_listen(c, s, o, at, len_bytes, type, look);
        if (step != PREPARED_PLAIN)
            return step;
    }
    enum tracker_verdict v = tracker_client(&s->tracker, type);
    if (unlikely(v != TRACKER_FORWARD)) {
        if (type == 'P') /* it does not go, and was taken for sent */
            s->unnamed_of = 0;
        return prepared_step_of(v);
    }
    c->remain_bytes = len - 4;
    *used = WIRE_HEADER_BYTES;
    return PREPARED_TAKEN;
}

/* One message, whose header at data[at..] is right: told to the tracker, and prepared statements put in. */
static inline enum prepared_step take_request(struct client *c, struct server *s, struct outgoing *o,
                                              uint32_t at, uint32_t len_bytes, uint8_t type, uint32_t len,
                                              unsigned look, uint32_t *used)
{
    if (unlikely(s->may_skip_reset))
        reset_skip_look(s, type, o->data + at, len_bytes - at, len);
    if (look == LOOK_UNKNOWN)
        look = look_at_message(c, o->data + at, len_bytes - at, type, len);
    if (unlikely(len > SQL_LOOK_MAX_BYTES) && type == 'Q' && s->n_unread == 0)
        s->n_unread = 1;
    const bool is_watched =
        unlikely(tracking_may_matter(c, o->data + at, len_bytes - at, type, look)) && c->watches_settings;
    if (unlikely(is_watched)) {
        enum prepared_step step = tracking_take(c, s, o, at, len_bytes, used);
        if (step != PREPARED_PLAIN)
            return step;
    }
    enum prepared_step step = take_unwatched(c, s, o, at, len_bytes, type, len, look, used);
    return unlikely(is_watched) && step == PREPARED_TAKEN && !tracking_sent(c, s) ? PREPARED_NO_MEMORY : step;
}

/* The server may have answers that it keeps until it is asked for them, and the client's Sync is behind what
 * has no room. False: the server is lost. */
static bool ask_for_answers(struct server *s, struct outgoing *o, uint32_t at)
{
    if (!s->tracker.is_open || s->flushed_tail == s->tracker.tail)
        return true;
    s->flushed_tail = s->tracker.tail;
    return outgoing_flush(s, o, at);
}

/* The message at `at` cannot go: what came before it is the server's first. False: the client has gone. */
static bool stop_at(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                    enum prepared_step step)
{
    switch (step) {
    case PREPARED_MORE: return true;
    case PREPARED_HOLD: c->hold = HOLD_STATEMENT; return true;
    case PREPARED_FULL: c->hold = HOLD_FULL; return ask_for_answers(s, o, at);
    case PREPARED_LOST: return false;
    default: break;
    }
    if (!outgoing_send(s, o, at))
        return false;
    if (step == PREPARED_NO_MEMORY)
        client_close(c, CLOSE_NO_MEMORY, NULL);
    else if (step == PREPARED_TOO_LARGE)
        client_close_error(c, CLOSE_PACKET_TOO_LARGE, "54000", "prepared statements take too much memory",
                           "Prepare less, or close what is not needed any more.");
    else
        client_close(c, CLOSE_BAD_PACKET, "message not allowed now");
    return false;
}

/* All that has been found fit; false when the server is lost (the client too, then). */
static inline bool send_all(struct server *s, struct outgoing *o, uint32_t end)
{
    if (unlikely(o->n > 0))
        return outgoing_send(s, o, end);
    return flush_range(s, o->data + o->start, end - o->start);
}

/* What follows in an open batch and needs no look, whatever is prepared, watched or tracked: its length. */
static inline uint32_t take_plain(struct client *c, struct server *s, const struct outgoing *o, uint32_t at,
                                  uint32_t len_bytes)
{
    if (unlikely(s->ahead_state != AHEAD_NONE || o->unnamed_at != OUTGOING_NO_UNNAMED ||
                 c->tracking != NULL || c->unnamed_text != NULL || c->is_strict || c->listen_is_watching ||
                 s->has_sql_portals || s->setting != SETTING_NOTHING))
        return 0;
    return tracker_pass_requests(&s->tracker, o->data + at, len_bytes - at,
                                 shard_settings(c->shard)->max_packet_size);
}

/*
 * Forwards to the linked server as much as may go. Returns how much of data is dealt with;
 * the rest is for later, or the client has gone. look: at the message that data begins with, or LOOK_UNKNOWN.
 */
static hot_path inline uint32_t forward(struct client *c, const uint8_t *data, uint32_t len_bytes,
                                        unsigned look)
{
    struct server *s = c->server;
    struct outgoing o;
    uint32_t at = 0, used = 0;
    bool is_noted = false;

    c->hold = HOLD_NONE;
    if (!stream_is_drained(&s->stream))
        return 0;
    outgoing_init(&o, data);
    if (unlikely(s->ahead.len > 0))
        outgoing_put(&o, s->ahead.data, s->ahead.len);
    if (unlikely(c->remain_bytes > 0) && c->remain_bytes <= len_bytes)
        s->turn_us = c->shard->now_us; /* what it asks for begins now, however long it took to send */
    while (at < len_bytes) {
        if (c->remain_bytes > 0) {
            uint32_t n = len_bytes - at < c->remain_bytes ? len_bytes - at : c->remain_bytes;
            c->remain_bytes -= n;
            at += n;
            continue;
        }
        if (s->tracker.is_open && (used = take_plain(c, s, &o, at, len_bytes)) > 0) {
            if (!is_noted) {
                note_request(c, s, c->shard->now_us);
                is_noted = true;
            }
            look = LOOK_UNKNOWN;
            at += used;
            continue;
        }
        if (len_bytes - at < WIRE_HEADER_BYTES)
            break;
        if (likely(s->ahead_state == AHEAD_NONE) && must_hold(c, s)) {
            c->hold = HOLD_TURN;
            break;
        }
        uint8_t type = data[at];
        uint32_t len = wire_u32(data + at + 1);
        if (unlikely(!is_plain_header(c, type, len))) {
            /* whatever came before it is the server's first */
            if (send_all(s, &o, at) && check_header(c, type, len))
                client_close(c, CLOSE_INTERNAL, NULL);
            return len_bytes;
        }
        if (unlikely(s->ahead_state != AHEAD_NONE) && ahead_must_wait(c, s, data + at, len_bytes - at)) {
            c->hold = HOLD_SETTINGS;
            if (s->query_start_us == 0) /* what goes ahead of it is on its way: it has begun */
                note_request(c, s, c->shard->now_us);
            break;
        }
        if (tracking_must_wait(c, s)) {
            c->hold = HOLD_SETTINGS;
            break;
        }
        enum prepared_step step = take_request(c, s, &o, at, len_bytes, type, len, look, &used);
        look = LOOK_UNKNOWN;
        if (unlikely(step != PREPARED_TAKEN)) {
            if (!stop_at(c, s, &o, at, step))
                return len_bytes;
            /* what it needs has been sent ahead of it: it has begun */
            if (step == PREPARED_HOLD && s->query_start_us == 0 && tracker_is_busy(&s->tracker))
                note_request(c, s, c->shard->now_us);
            break;
        }
        if (!is_noted && tracker_is_busy(&s->tracker)) {
            note_request(c, s, c->shard->now_us);
            is_noted = true;
        }
        if (unlikely(s->ahead_state != AHEAD_NONE))
            ahead_took(s, type);
        at += used;
    }
    if (unlikely(o.unnamed_at != OUTGOING_NO_UNNAMED))
        unnamed_keep(c, &o);
    if (!send_all(s, &o, at))
        return len_bytes;
    if (unlikely(s->ahead.len > 0))
        buf_free(&s->ahead);
    if (unlikely(s->prepared_is_watching))
        prepared_forwarded(s, data, at);
    return at;
}

/* ---- a cancelled request ---- */

static void skip_ends(struct client *c)
{
    char status = c->server != NULL ? c->server->tracker.tx_status : 'I';
    struct buf b;

    if (c->lost != LOST_NOTHING) /* it believes itself in the transaction that a timeout has ended */
        status = 'E';
    c->skip = SKIP_NONE;
    buf_init(&b, 64);
    wire_put_ready(&b, status);
    if (b.failed || !stream_send(&c->stream, b.data, b.len))
        client_close(c, CLOSE_CLIENT_EOF, NULL);
    buf_free(&b);
}

/*
 * Drops input up to the end of the cancelled request, then says ReadyForQuery: as PostgreSQL does after an
 * error. Returns bytes dealt with (0: a header is not complete, or the client has gone).
 */
static uint32_t skip_request(struct client *c, const uint8_t *data, uint32_t len_bytes)
{
    uint32_t n = len_bytes < c->remain_bytes ? len_bytes : c->remain_bytes;

    if (c->is_dropping) {
        c->remain_bytes -= n;
        c->is_dropping = c->remain_bytes > 0;
    } else {
        if (len_bytes < WIRE_HEADER_BYTES)
            return 0;
        uint8_t type = data[0];
        uint32_t len = wire_u32(data + 1);
        if (!is_plain_header(c, type, len) && !check_header(c, type, len))
            return 0;
        if (type == 'S' || ((type == 'Q' || type == 'F') && c->skip == SKIP_REQUEST))
            c->skip = SKIP_REST;
        else if (type == 'P' || type == 'B' || type == 'D' || type == 'E' || type == 'C')
            c->skip = SKIP_TO_SYNC;
        n = WIRE_HEADER_BYTES;
        c->remain_bytes = len - 4;
        c->is_dropping = c->remain_bytes > 0;
    }
    if (!c->is_dropping && c->skip == SKIP_REST)
        skip_ends(c);
    return n;
}

void client_cancel_unsent(struct client *c, const char *message)
{
    struct buf b;

    if (c->state == CLIENT_WAITING) {
        (void)pool_cancel(c->pool, &c->ticket, c->shard->now_us); /* a server on its way finds nobody */
        client_set_state(c, CLIENT_IDLE);
    }
    c->skip = SKIP_REQUEST;
    buf_init(&b, 4096);
    wire_put_error(&b, "ERROR", "57014", message, NULL, NULL);
    bool is_told = !b.failed && stream_send(&c->stream, b.data, b.len);
    buf_free(&b);
    if (is_told)
        client_resume(c);
    else
        client_close(c, CLOSE_CLIENT_EOF, NULL);
}

/* ---- without a server ---- */

/* A Bind of a statement that may LISTEN? */
static inline bool is_bind_of_listen(const struct client *c, uint8_t type)
{
    return type == 'B' && c->names != NULL && c->names->has_listen;
}

/*
 * The client has no server (or none that it may use yet): what does it want? Returns bytes dealt with (0: a
 * header is not complete, or a server is needed and asked for). *look: as it was looked at on the way.
 */
static hot_path uint32_t first_message(struct client *c, const uint8_t *data, uint32_t len_bytes,
                                       unsigned *look)
{
    if (c->is_dropping) {
        uint32_t n = len_bytes < c->remain_bytes ? len_bytes : c->remain_bytes;
        c->remain_bytes -= n;
        c->is_dropping = c->remain_bytes > 0;
        return n;
    }
    if (len_bytes < WIRE_HEADER_BYTES)
        return 0;
    uint8_t type = data[0];
    uint32_t len = wire_u32(data + 1);
    if (unlikely(!is_plain_header(c, type, len)) && !check_header(c, type, len))
        return 0;
    if (type == 'd' || type == 'c' || type == 'f' || type == 'H') {
        /* COPY data after the COPY has failed, a Flush of nothing: PostgreSQL ignores them too */
        c->remain_bytes = len - 4;
        c->is_dropping = c->remain_bytes > 0;
        return WIRE_HEADER_BYTES;
    }
    if (unlikely(c->lost != LOST_NOTHING) && lost_wants_more(c, data, len_bytes))
        return 0;
    if (unlikely(c->lost != LOST_NOTHING) && lost_take_message(c, data, len_bytes)) {
        c->remain_bytes = len - 4;
        c->is_dropping = c->remain_bytes > 0;
        return WIRE_HEADER_BYTES;
    }
    if (c->maps_listen && c->state == CLIENT_IDLE) {
        *look = look_at_message(c, data, len_bytes, type, len);
        if (unlikely((*look & SQL_LOOK_COMMAND) != 0 || is_bind_of_listen(c, type)) &&
            listen_waits_first(c, data, len_bytes))
            return 0;
    }
    struct pool_acts acts;
    pool_checkout(c->pool, &c->ticket, c->shard->now_us, &acts);
    if (likely(acts.n == 1 && !acts.more && acts.act[0].kind == POOL_ACT_LINK)) {
        /* the usual case: a server of our own was idle */
        server_link(acts.act[0].slot->server, c, &acts.act[0].grant);
        return 0;
    }
    client_set_state(c, CLIENT_WAITING);
    shard_perform(c->shard, c->pool, &acts);
    return 0;
}

static bool can_forward(const struct client *c)
{
    return c->state == CLIENT_ACTIVE && c->server != NULL && c->server->state == SERVER_ACTIVE;
}

/* Without a server: is what it sends looked at now? */
static bool is_heard(const struct client *c)
{
    return c->state == CLIENT_IDLE || (c->state == CLIENT_ACTIVE && c->server->state == SERVER_BARRED &&
                                       (lost_must_be_told(c) || c->is_dropping));
}

void client_process(struct client *c, const uint8_t *data, uint32_t len_bytes)
{
    unsigned look = LOOK_UNKNOWN;
    uint32_t at = 0;

    while (at < len_bytes) {
        uint32_t used = 0;
        if (unlikely(c->skip != SKIP_NONE)) {
            used = skip_request(c, data + at, len_bytes - at);
        } else if (can_forward(c)) {
            used = forward(c, data + at, len_bytes - at, look);
        } else if (is_heard(c)) {
            used = first_message(c, data + at, len_bytes - at, &look);
            if (used == 0 && can_forward(c)) { /* served at once */
                if (unlikely(c->skip != SKIP_NONE))
                    continue;
                used = forward(c, data + at, len_bytes - at, look);
            }
        }
        if (is_gone(c))
            return;
        if (used == 0)
            break;
        at += used;
        look = LOOK_UNKNOWN;
    }
    if (at < len_bytes && !client_keep_input(c, data + at, len_bytes - at))
        return;
    if (c->server != NULL && !stream_is_drained(&c->server->stream) && !c->read_is_held) {
        c->read_is_held = true;
        stream_read_stop(&c->stream);
    }
    /* no ReadyForQuery will come to end it */
    if (c->server != NULL && c->server->was_ready && c->remain_bytes == 0 && c->input == NULL)
        server_release_late(c->server);
    if (c->server != NULL && unlikely(c->server->state == SERVER_BARRED))
        timeouts_unbar(c->server);
}

void client_resume(struct client *c)
{
    struct buf *in = c->input;

    c->wanted_bytes = 0;
    if (in != NULL && c->state == CLIENT_CONSOLE) {
        c->input = NULL;
        console_input(c, in->data, in->len);
    } else if (in != NULL) {
        c->input = NULL; /* what cannot go on is kept anew */
        client_process(c, in->data, in->len);
    }
    if (in != NULL) {
        buf_free(in);
        free(in);
    }
    if (is_gone(c) || !c->read_is_held)
        return;
    bool is_slow = c->server != NULL && !stream_is_drained(&c->server->stream);
    if (!is_slow && (c->input == NULL || c->input->len < client_input_limit(c))) {
        c->read_is_held = false;
        if (!stream_read_start(&c->stream))
            client_close(c, CLOSE_WORKER_IO, NULL);
    }
}

/* ---- events ---- */

static void take_input(struct client *c, uint8_t *data, uint32_t len_bytes)
{
    switch (c->state) {
    case CLIENT_LOGIN: client_login_input(c, data, len_bytes); return;
    case CLIENT_CONSOLE: console_input(c, data, len_bytes); return;
    case CLIENT_CLOSING:
    case CLIENT_CANCEL: return;
    default: break;
    }
    struct stats_shard *st = client_stats(c);
    if (st != NULL)
        counter_add(&st->counters.bytes_received, len_bytes);
    c->request_us = c->shard->now_us;
    if (c->input == NULL) {
        client_process(c, data, len_bytes);
        return;
    }
    if (client_keep_input(c, data, len_bytes) && c->input->len >= c->wanted_bytes &&
        (can_forward(c) || is_heard(c) || c->skip != SKIP_NONE))
        client_resume(c);
}

static hot_path void client_on_read(struct stream *st)
{
    struct client *c = container_of(st, struct client, stream);

    shard_touch(c->shard);
    do {
        int n = stream_recv(st, st->loop->read_buffer, LOOP_READ_BUFFER_BYTES);
        if (n == STREAM_AGAIN)
            return;
        if (n < 0 && c->state == CLIENT_CLOSING) {
            client_free(c);
            return;
        }
        if (n < 0) {
            client_close(c, CLOSE_CLIENT_EOF, NULL);
            return;
        }
        take_input(c, st->loop->read_buffer, (uint32_t)n);
    } while (st->fd >= 0 && st->is_reading && stream_has_unread(st));
}

/* The client has taken what was kept for it: its server may send more. */
static void client_on_drain(struct stream *st)
{
    struct client *c = container_of(st, struct client, stream);

    shard_touch(c->shard);
    if (unlikely(c->listening != NULL)) {
        listening_flush(c);
        if (is_gone(c))
            return;
    }
    if (c->server != NULL && !c->server->stream.is_reading) {
        struct server *s = c->server;
        if (!stream_read_start(&s->stream))
            server_close(s, CLOSE_WORKER_IO, NULL);
        else if (stream_has_unread(&s->stream))
            server_read(s);
    }
}

static void client_on_error(struct stream *st, int err)
{
    struct client *c = container_of(st, struct client, stream);

    (void)err;
    shard_touch(c->shard);
    if (c->state == CLIENT_CLOSING)
        client_free(c);
    else
        client_close(c, CLOSE_CLIENT_EOF, NULL);
}
