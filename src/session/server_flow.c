/*
 * server_flow.c - what a server sends: from its socket to its client.
 *
 * Headers are looked at in the shared read buffer; ranges that are for the client go out
 * from there in one piece. Only the head of a message that is looked into
 * (ReadyForQuery, ParameterStatus, ErrorResponse) is kept until it has arrived whole.
 *
 * Threads: the owner's.
 */
#include <stdio.h>
#include <string.h>

#include "ahead.h"
#include "base/str.h"
#include "listen_int.h"
#include "pin_watch.h"
#include "tracking.h"

/* Messages of these types are looked into up to this size; a larger one is passed on as it comes. */
#define MAX_INSPECTED_BYTES 32768u

static void server_on_read(struct stream *st);
static void server_on_drain(struct stream *st);
static void server_on_error(struct stream *st, int err);

const struct stream_ops server_stream_ops = {
    .on_read = server_on_read,
    .on_drain = server_on_drain,
    .on_error = server_on_error,
};

/* ---- messages that are looked into ---- */

static bool set_param(struct params **set, const char *name, const char *value)
{
    struct params *next = params_with(*set, name, value);
    if (next == NULL)
        return false;
    params_unref(*set);
    *set = next;
    return true;
}

/* Is what it reports the effect of what we have told it? */
static bool is_being_set(const struct server *s)
{
    return s->state == SERVER_SETUP || s->ahead_state != AHEAD_NONE;
}

/* The server reports a parameter. True when the client should hear of it. */
static bool on_parameter(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    const char *name, *value;
    struct client *c = s->client;

    if (!wire_parse_parameter_status(body, len_bytes, &name, &value))
        return true;
    if (strcmp(name, "in_hot_standby") == 0 || strcmp(name, "default_transaction_read_only") == 0) {
        server_role_reported(s, name, value);
        return c != NULL && s->state == SERVER_ACTIVE && !is_being_set(s);
    }
    if (!params_is_settable(name)) /* a role that is given back with its settings is nothing new */
        return c != NULL && !is_being_set(s);
    if (!set_param(&s->params, name, value))
        server_log(s, LOG_LVL_WARNING, "parameter %s cannot be kept", name);
    if (c == NULL)
        return false;
    const char *known = params_get(c->params, name);
    if (known != NULL && strcmp(known, value) == 0)
        return s->state == SERVER_ACTIVE && !is_being_set(s); /* our own SET: nothing new for the client */
    (void)set_param(&c->params, name, value);
    if (strcmp(name, "application_name") != 0 && !is_being_set(s))
        prepared_setting_reported(s);
    return c->state != CLIENT_LOGIN_WAIT; /* it will hear of it with all the others */
}

static void on_error(struct server *s, const uint8_t *body, uint32_t len_bytes, uint32_t facts)
{
    struct wire_error e;

    if (!wire_parse_error(body, len_bytes, &e))
        return;
    if ((facts & TRACKER_INTERNAL) != 0 && s->state == SERVER_SETUP && s->step == STEP_FAIL &&
        strcmp(e.severity, "ERROR") == 0)
        return; /* as it should */
    stats_errors_count_sqlstate(s->shard->instance->errors, s->shard->index, e.sqlstate);
    bool is_fatal = strcmp(e.severity, "FATAL") == 0 || strcmp(e.severity, "PANIC") == 0;
    server_role_error(s, e.sqlstate, is_fatal);
    if (is_fatal) {
        s->sent_fatal = s->client != NULL && (facts & TRACKER_INTERNAL) == 0;
        if (s->client == NULL)
            server_log(s, LOG_LVL_WARNING, "server said: %s: %s", e.severity, e.message);
    }
    if ((facts & TRACKER_INTERNAL) != 0) {
        s->setup_failed = true;
        str_copy(s->setup_sqlstate, e.sqlstate, sizeof(s->setup_sqlstate));
        str_copy(s->setup_error, e.message, sizeof(s->setup_error));
        server_log(s, LOG_LVL_WARNING, "own query failed: %s", e.message);
    }
}

void server_query_answered(struct server *s)
{
    int64_t now_us = s->shard->now_us;
    struct stats_shard *st = server_stats(s);
    char status = s->tracker.tx_status;
    if (st != NULL && s->query_start_us != 0) {
        int64_t took_us = now_us - s->query_start_us;
        counter_add(&st->counters.query_count, 1);
        counter_add(&st->counters.query_time_us, (uint64_t)took_us);
        stats_shard_record(st, LATENCY_QUERY, took_us);
    }
    if (st != NULL && status == 'I' && s->xact_start_us != 0) {
        int64_t took_us = now_us - s->xact_start_us;
        counter_add(&st->counters.xact_count, 1);
        counter_add(&st->counters.xact_time_us, (uint64_t)took_us);
        stats_shard_record(st, LATENCY_TRANSACTION, took_us);
    }
    bool has_more = tracker_is_busy(&s->tracker) || s->tracker.is_open;
    s->turn_us = now_us;
    s->is_compared = false;
    s->query_start_us = has_more ? now_us : 0;
    if (status == 'I')
        s->xact_start_us = has_more ? now_us : 0;
    s->idle_in_xact_us = status != 'I' && !has_more ? now_us : 0;
}

static void on_ready(struct server *s, uint32_t facts)
{
    s->was_ready = true;
    if (unlikely(s->n_unread > 0) && !tracker_is_busy(&s->tracker))
        s->n_unread = 0;
    if (unlikely(s->setting != SETTING_NOTHING) && !tracker_is_busy(&s->tracker) && !s->tracker.is_open)
        s->setting = s->tracker.tx_status == 'I' ? SETTING_NOTHING : SETTING_BEFORE;
    if (unlikely(s->has_parsed)) {
        s->has_parsed = false;
        s->prepared->n_batches++;
    }
    if ((facts & TRACKER_INTERNAL) == 0 && s->client != NULL)
        server_query_answered(s);
}

static const bool inspected_types[256] = {['Z'] = true, ['S'] = true, ['E'] = true, ['C'] = true};

/* How a message is looked into; together with the tracker's facts, so beyond their bits. */
enum {
    LOOK_WHOLE = 1 << 16, /* it must be there whole */
    LOOK_TAG = 1 << 17,   /* CommandComplete: may tell that there are no prepared statements any more */
};

static inline bool asks_rows(const struct server *s)
{
    return s->step == STEP_VERIFY || s->step == STEP_PINS || s->step == STEP_STRICT;
}

/* Rows need nothing but passing on, unless they answer a question of our own. */
static inline uint32_t look_of(const struct server *s, uint8_t type, uint32_t len)
{
    if (likely(!inspected_types[type]))
        return type == 'D' && unlikely(asks_rows(s)) && len <= MAX_INSPECTED_BYTES ? LOOK_WHOLE : 0;
    if (len > MAX_INSPECTED_BYTES)
        return type == 'Z' ? LOOK_WHOLE : 0; /* which it cannot be */
    if (type == 'C')
        return prepared_is_telling(s, len) ||
                       unlikely(s->has_pin || s->listen_is_watching || s->is_tracked || s->n_unread > 0)
                   ? LOOK_WHOLE | LOOK_TAG
                   : 0;
    return LOOK_WHOLE;
}

/* ---- passing on ---- */

/* Answers of ours, and the range behind them. */
static bool send_with_answers(struct server *s, const uint8_t *data, uint32_t len_bytes)
{
    struct iovec pieces[2] = {{s->answers, s->n_answers}, {(void *)data, len_bytes}};
    bool is_sent = s->client == NULL || stream_sendv(&s->client->stream, pieces, 2);

    s->n_answers = 0;
    return is_sent;
}

/* Sends a range to the client. One that cannot be reached is closed, and what follows is for nobody. */
static inline void pass_on(struct server *s, const uint8_t *data, uint32_t len_bytes)
{
    struct client *c = s->client;
    struct stats_shard *st;

    if (len_bytes == 0 || c == NULL)
        return;
    st = server_stats(s);
    if (st != NULL)
        counter_add(&st->counters.bytes_sent, len_bytes);
    if (!(likely(s->n_answers == 0) ? stream_send(&c->stream, data, len_bytes)
                                    : send_with_answers(s, data, len_bytes)))
        client_close(c, CLOSE_CLIENT_EOF, NULL);
}

struct batch {
    const uint8_t *data;
    uint32_t len;
    uint32_t at;    /* looked at so far */
    uint32_t start; /* not passed on from here; data[start..at) is for the client */
};

/* What lies before `at` goes to the client; then nothing is pending. */
static void batch_flush(struct server *s, struct batch *b)
{
    pass_on(s, b->data + b->start, b->at - b->start);
    b->start = b->at;
}

/* Leaves out what lies between `from` and `at`. */
static void batch_skip(struct server *s, struct batch *b, uint32_t from)
{
    pass_on(s, b->data + b->start, from - b->start);
    b->start = b->at;
}

/* What prepared statements want to know of a message ahead of the tracker; answers of ours whose turn has
 * come go ahead of it. */
static void before_watched(struct server *s, struct batch *b, uint8_t type)
{
    uint8_t answers[PREPARED_ANSWER_BYTES];
    uint32_t n;

    if (unlikely(s->ahead_state != AHEAD_NONE)) /* nothing of the client's has an answer yet */
        return;
    while ((n = prepared_answers(s, answers)) > 0) {
        batch_flush(s, b);
        if (s->n_answers > 0 && !send_with_answers(s, NULL, 0))
            client_close(s->client, CLOSE_CLIENT_EOF, NULL);
        memcpy(s->answers, answers, n);
        s->n_answers = (uint8_t)n;
    }
    prepared_on_message(s, type);
}

static void before_message(struct server *s, struct batch *b, uint8_t type, uint32_t len, uint32_t look)
{
    if (s->prepared_is_watching)
        before_watched(s, b, type);
    if (s->is_tracked)
        tracking_on_message(s, type, look != 0 ? b->data + b->at + WIRE_HEADER_BYTES : NULL, len - 4);
}

/* The server cannot be trusted any more. A client that has all its answers is not concerned. */
static void on_impossible(struct server *s, uint8_t type)
{
    char text[80];
    struct client *c = s->client;
    bool is_served = c != NULL && !c->keeps_server && s->state == SERVER_ACTIVE &&
                     s->tracker.tx_status == 'I' && !tracker_is_busy(&s->tracker) && !s->tracker.is_open &&
                     c->remain_bytes == 0;

    snprintf(text, sizeof(text), "message type 0x%02x is not possible now", type);
    if (is_served) {
        (void)server_detach_client(s);
        client_set_state(c, CLIENT_IDLE);
    }
    server_close(s, CLOSE_PROTOCOL_SERVER, text);
    if (is_served)
        client_resume(c);
}

static bool close_for(struct server *s, struct batch *b, enum close_reason why, const char *detail)
{
    batch_flush(s, b);
    s->in_batch = false;
    server_close(s, why, detail);
    return false;
}

/* PostgreSQL has failed what went in place of a refused message: the client gets the reason, *instead. */
static bool take_refusal(struct server *s, struct batch *b, const uint8_t *body, uint32_t len_bytes,
                         struct buf *instead, bool *is_for_client)
{
    struct buf other;

    *is_for_client = false;
    batch_flush(s, b);
    if (!instead->failed)
        pass_on(s, instead->data, instead->len);
    buf_free(instead);
    /* what has been skipped is undone */
    if (s->prepared != NULL && prepared_on_error(s, body, len_bytes, &other) == PREPARED_ERROR_CHANGED)
        buf_free(&other);
    return true;
}

/* The client's LISTEN or UNLISTEN is under way. */
static void listen_is_told(struct server *s, uint8_t type, const uint8_t *body, uint32_t len_bytes,
                           uint32_t facts)
{
    if ((facts & TRACKER_INTERNAL) != 0)
        return;
    if ((facts & LOOK_TAG) != 0)
        listen_on_complete(s, body, len_bytes);
    else if (type == 'E')
        listen_on_error(s);
    else if ((facts & TRACKER_READY) != 0)
        listen_on_ready(s);
}

/* An error, and what it means for prepared statements. False: the server is lost. */
static bool take_error(struct server *s, struct batch *b, const uint8_t *body, uint32_t len_bytes,
                       uint32_t facts, bool *is_for_client)
{
    struct buf instead;

    if (unlikely(s->refuses) && body != NULL && (facts & TRACKER_INTERNAL) == 0 &&
        pin_watch_error(s, body, len_bytes, &instead))
        return take_refusal(s, b, body, len_bytes, &instead, is_for_client);
    if (body != NULL)
        on_error(s, body, len_bytes, facts);
    if (unlikely(s->is_tracked) && tracking_takes_error(s, &instead))
        return take_refusal(s, b, body, len_bytes, &instead, is_for_client);
    if (s->prepared == NULL || (facts & TRACKER_INTERNAL) != 0)
        return true;
    switch (prepared_on_error(s, body, len_bytes, &instead)) {
    case PREPARED_ERROR_PASSES: return true;
    case PREPARED_ERROR_CHANGED:
        *is_for_client = false;
        batch_flush(s, b);
        if (!instead.failed)
            pass_on(s, instead.data, instead.len);
        buf_free(&instead);
        return true;
    case PREPARED_ERROR_RETRIED: *is_for_client = false; return true;
    case PREPARED_ERROR_LOST: break;
    }
    return close_for(s, b, CLOSE_SERVER_CRASHED, NULL);
}

/* A request of a client whose settings change has ended. */
static void settle_tracked(struct server *s, struct batch *b, bool is_internal)
{
    tracking_on_ready(s, is_internal);
    struct client *c = s->client;
    if (c == NULL || c->tracking == NULL)
        return;
    if (c->tracking->told.len > 0) {
        struct buf told = c->tracking->told;
        buf_init(&c->tracking->told, told.max_bytes);
        batch_flush(s, b);
        pass_on(s, told.data, told.len);
        buf_free(&told);
    }
    if (s->client == NULL)
        return;
    tracking_trim(c);
    if (s->tracker.tx_status == 'I')
        tracking_unpin(c);
}

/* What is more than a part of a result. Sets *is_for_client; false: it cannot be, the server is closed. */
static bool take_special(struct server *s, struct batch *b, uint8_t type, uint32_t len, bool is_whole,
                         uint32_t facts, bool *is_for_client)
{
    const uint8_t *body = b->data + b->at + WIRE_HEADER_BYTES;
    bool is_lost = false;

    if ((facts & TRACKER_BAD) != 0) {
        batch_flush(s, b);
        s->in_batch = false;
        on_impossible(s, type);
        return false;
    }
    *is_for_client = (facts & TRACKER_INTERNAL) == 0;
    if ((facts & TRACKER_STATEMENT) != 0)
        prepared_on_performed(s);
    if ((facts & LOOK_TAG) != 0)
        prepared_on_complete(s, body, len - 4, (facts & TRACKER_INTERNAL) != 0);
    if (unlikely(s->has_pin) && (facts & (LOOK_TAG | TRACKER_INTERNAL)) == LOOK_TAG)
        pin_on_complete(s, body, len - 4);
    if (unlikely(s->n_unread > 0) && (facts & (LOOK_TAG | TRACKER_INTERNAL)) == LOOK_TAG)
        pin_watch_unread(s, body, len - 4);
    if (unlikely(s->listen_is_watching))
        listen_is_told(s, type, body, len - 4, facts);
    if (type == 'E')
        return take_error(s, b, is_whole ? body : NULL, len - 4, facts, is_for_client);
    if (type == 'A' && s->client != NULL && s->client->maps_listen)
        *is_for_client = false; /* comes by the listening connection, if it is this client's at all */
    if (type == 'S' && is_whole)
        *is_for_client = on_parameter(s, body, len - 4);
    else if (type == 'D' && is_whole && s->step == STEP_PINS)
        pin_row(s, body, len - 4);
    else if (type == 'D' && is_whole && s->step == STEP_STRICT)
        strict_on_row(s, body, len - 4);
    else if (type == 'D' && is_whole)
        server_role_row(s, body, len - 4);
    else if ((facts & TRACKER_READY) != 0 && unlikely(s->ahead_state != AHEAD_NONE))
        is_lost = !ahead_answered(s);
    else if ((facts & TRACKER_READY) != 0)
        on_ready(s, facts);
    if (unlikely(is_lost))
        return false;
    if (unlikely(s->is_tracked) && (facts & TRACKER_READY) != 0)
        settle_tracked(s, b, (facts & TRACKER_INTERNAL) != 0);
    if (unlikely(s->awaits_tags) && (facts & (TRACKER_READY | TRACKER_INTERNAL)) == TRACKER_READY)
        prepared_sql_ready(s);
    return true;
}

/* One message whose header (and, if it is looked into, body) is there. False: it cannot be, the server is
 * closed. */
static inline bool take_message(struct server *s, struct batch *b, uint8_t type, uint32_t len, uint32_t look)
{
    if (unlikely(s->prepared_is_watching || s->is_tracked))
        before_message(s, b, type, len, look);
    const uint32_t from = b->at, position = s->tracker.head;
    uint32_t facts =
        tracker_server(&s->tracker, type, look != 0 && len > 4 ? b->data[from + WIRE_HEADER_BYTES] : 0) |
        (look & LOOK_TAG);
    bool is_for_client = true;

    if (unlikely(type == 'E') && s->client != NULL)
        unnamed_on_error(s, position);
    if (facts != 0) {
        if (unlikely((facts & TRACKER_COPY_BEGIN) != 0) && s->is_tracked)
            tracking_on_copy(s, position);
        if ((facts & ~(uint32_t)TRACKER_COPY_BEGIN) != 0 &&
            !take_special(s, b, type, len, look != 0, facts, &is_for_client))
            return false;
    }
    if (s->client == NULL)
        is_for_client = false;
    uint32_t left = b->len - from - WIRE_HEADER_BYTES;
    uint32_t here = len - 4 < left ? len - 4 : left;
    b->at = from + WIRE_HEADER_BYTES + here;
    if (unlikely(here < len - 4)) {
        s->remain_bytes = len - 4 - here;
        s->is_dropping = !is_for_client;
    }
    if (unlikely(!is_for_client))
        batch_skip(s, b, from);
    return true;
}

/* The rest of a message that began in an earlier batch. */
static void take_rest(struct server *s, struct batch *b)
{
    uint32_t from = b->at;
    uint32_t left = b->len - b->at;
    uint32_t here = s->remain_bytes < left ? s->remain_bytes : left;

    b->at += here;
    s->remain_bytes -= here;
    if (s->is_dropping)
        batch_skip(s, b, from);
}

/* What is only to be passed on, as far as it goes from here, and up to a ReadyForQuery. */
static inline void take_plain(struct server *s, struct batch *b, uint32_t max_len)
{
    const uint32_t ready_due = s->tracker.ready_due;
    uint32_t not_lengths = PREPARED_TELLING_TAGS;

    if (s->prepared_is_watching && b->data[b->at] == '2' && s->ahead_state == AHEAD_NONE)
        prepared_on_bound(s);
    if (unlikely(s->prepared_is_watching || s->is_tracked || s->client == NULL))
        return;
    if (unlikely(s->has_pin || s->listen_is_watching || s->awaits_tags || s->n_unread > 0))
        not_lengths = UINT32_MAX;
    b->at += tracker_pass_answers(&s->tracker, b->data + b->at, b->len - b->at, max_len, not_lengths);
    if (s->tracker.ready_due != ready_due)
        on_ready(s, TRACKER_READY);
}

/* All whole messages, and the parts of large ones, that have arrived. False: the server has been closed. */
static bool take_messages(struct server *s, struct batch *b)
{
    uint32_t max_len = shard_settings(s->shard)->max_packet_size;

    while (b->at < b->len) {
        if (s->remain_bytes > 0) {
            take_rest(s, b);
            continue;
        }
        take_plain(s, b, max_len);
        if (b->at == b->len)
            return true;
        uint32_t left = b->len - b->at;
        if (left < WIRE_HEADER_BYTES)
            break;
        uint8_t type = b->data[b->at];
        uint32_t len = wire_u32(b->data + b->at + 1);
        if (unlikely(len - 4 > INT32_MAX - 4u)) /* less than 4, too */
            return close_for(s, b, CLOSE_PROTOCOL_SERVER, "bad length");
        if (unlikely(len >= max_len)) /* as for clients, the type counts */
            return close_for(s, b, CLOSE_PACKET_TOO_LARGE, NULL);
        uint32_t look = look_of(s, type, len);
        if (look != 0) {
            if (unlikely(type == 'Z' && len != 5))
                return close_for(s, b, CLOSE_PROTOCOL_SERVER, "bad length");
            if (left < 1 + len)
                break;
        }
        if (!take_message(s, b, type, len, look))
            return false;
    }
    return true;
}

/* All that has arrived. False: the server has been closed. */
static bool take_batch(struct server *s, const uint8_t *data, uint32_t len_bytes)
{
    struct batch b = {.data = data, .len = len_bytes};

    s->in_batch = true;
    if (!take_messages(s, &b))
        return false;
    batch_flush(s, &b);
    if (unlikely(s->n_answers > 0) && !send_with_answers(s, NULL, 0))
        client_close(s->client, CLOSE_CLIENT_EOF, NULL);
    s->in_batch = false;
    if (b.at == b.len)
        return true;
    buf_append(&s->partial, b.data + b.at, b.len - b.at);
    if (s->partial.failed)
        server_close(s, CLOSE_NO_MEMORY, NULL);
    return !s->partial.failed;
}

/* ---- events ---- */

/* The end of the connection, or an error on it. */
static void on_end(struct server *s)
{
    if (s->state == SERVER_CLOSING)
        server_finish_close(s);
    else
        server_close(s, CLOSE_SERVER_CRASHED, NULL);
}

/* Reads once. False: nothing more now. */
static hot_path bool read_once(struct server *s)
{
    struct stream *st = &s->stream;
    uint8_t *buf = st->loop->read_buffer;
    uint32_t kept = s->partial.len;

    if (kept > 0) {
        memcpy(buf, s->partial.data, kept);
        if (s->partial.capacity > 4096)
            buf_free(&s->partial);
        else
            buf_clear(&s->partial);
    }
    shard_touch(s->shard);
    int n = stream_recv(st, buf + kept, (int)(LOOP_READ_BUFFER_BYTES - kept));
    if (n < 0) {
        if (n == STREAM_AGAIN)
            buf_append(&s->partial, buf, kept);
        if (s->partial.failed)
            server_close(s, CLOSE_NO_MEMORY, NULL);
        else if (n != STREAM_AGAIN)
            on_end(s);
        return false;
    }
    if (s->state == SERVER_CLOSING)
        return true; /* last words to nobody */
    struct shard *sh = s->shard;
    bool is_full = (uint32_t)n == LOOP_READ_BUFFER_BYTES - kept;
    if (!take_batch(s, buf, kept + (uint32_t)n))
        return false;
    if (unlikely(s->must_recycle)) {
        server_role_act(s);
        if (s->slot == NULL || s->state == SERVER_CLOSING)
            return false;
    }
    /* a client that is slow: not a byte more until it has taken this */
    if (s->client != NULL && !stream_is_drained(&s->client->stream))
        stream_read_stop(st);
    bool has_unread = stream_has_unread(st);
    if (!has_unread) {
        sh->current = s;
        server_after_batch(s);
        if (sh->current != s)
            return false; /* it is another worker's now: not a look at it */
        sh->current = NULL;
    }
    return st->fd >= 0 && s->slot != NULL && st->is_reading &&
           (has_unread || (is_full && s->state == SERVER_ACTIVE));
}

void server_read(struct server *s)
{
    /* a large result goes through in large pieces, but the others want their turn too */
    int rounds = 8;
    while (read_once(s)) {
        if (--rounds <= 0 && !stream_has_unread(&s->stream))
            return;
    }
}

static hot_path void server_on_read(struct stream *st)
{
    server_read(container_of(st, struct server, stream));
}

/* The server has taken what was kept for it: its client may send more. */
static void server_on_drain(struct stream *st)
{
    struct server *s = container_of(st, struct server, stream);
    shard_touch(s->shard);
    if (s->client != NULL)
        client_resume(s->client);
}

static void server_on_error(struct stream *st, int err)
{
    struct server *s = container_of(st, struct server, stream);
    (void)err;
    shard_touch(s->shard);
    on_end(s);
}
