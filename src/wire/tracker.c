/*
 * tracker.c - what a server connection owes its client.
 *
 * The ring holds one byte per request in flight, in the order of sending; the
 * head is what the next answer belongs to. Which answers fit which head, and
 * what they do, is a table; so are the client's messages.
 *
 * A ring byte is the message type, with ENTRY_OURS on top when the answer is not
 * the client's; or ENTRY_NAMED_PARSE, which is a Parse in all but being a statement
 * entry. Two more kinds of entry have no answer from the server:
 * ENTRY_KEPT_* (answered by the session) and ENTRY_COPY_END (a CopyDone or
 * CopyFail that was sent before the server asked for COPY data; it goes when its
 * turn comes, as the server ignores it then).
 *
 * Invariants (tracker_check): ready_due counts the S, Q and F entries; no
 *   ENTRY_COPY_END at the head; while skipping the ring is empty; a COPY has its Query
 *   or Execute at the head; capacity is a power of two.
 * Threads: the owner of the server.
 */
#include "wire/tracker.h"

#include <stdlib.h>
#include <string.h>

#include "wire/codec.h"

#define ENTRY_OURS        0x80
#define ENTRY_COPY_END    'x'
#define ENTRY_KEPT_PARSE  'p'
#define ENTRY_KEPT_CLOSE  'k'
#define ENTRY_NAMED_PARSE 'n'

#define RING_KEEP 1024 /* a ring larger than this is given back when it is empty */

/* Heads, as bits: to which requests an answer may belong. */
enum {
    HEAD_QUERY = 1 << 0,
    HEAD_CALL = 1 << 1,
    HEAD_PARSE = 1 << 2,
    HEAD_BIND = 1 << 3,
    HEAD_DESCRIBE = 1 << 4,
    HEAD_EXECUTE = 1 << 5,
    HEAD_CLOSE = 1 << 6,
    HEAD_SYNC = 1 << 7,
    HEAD_ENDS_IN_READY = HEAD_QUERY | HEAD_CALL | HEAD_SYNC,
    HEAD_EXTENDED = HEAD_PARSE | HEAD_BIND | HEAD_DESCRIBE | HEAD_EXECUTE | HEAD_CLOSE,
};

/* By type of the client's message. */
static const uint8_t request_bits[256] = {
    ['Q'] = HEAD_QUERY,    ['F'] = HEAD_CALL,    ['P'] = HEAD_PARSE, ['B'] = HEAD_BIND,
    ['D'] = HEAD_DESCRIBE, ['E'] = HEAD_EXECUTE, ['C'] = HEAD_CLOSE, ['S'] = HEAD_SYNC,
};

/* By entry of the ring. */
static const uint8_t head_bits[256] = {
    ['Q'] = HEAD_QUERY,
    ['F'] = HEAD_CALL,
    ['P'] = HEAD_PARSE,
    ['B'] = HEAD_BIND,
    ['D'] = HEAD_DESCRIBE,
    ['E'] = HEAD_EXECUTE,
    ['C'] = HEAD_CLOSE,
    ['S'] = HEAD_SYNC,
    [ENTRY_NAMED_PARSE] = HEAD_PARSE,
    ['Q' | ENTRY_OURS] = HEAD_QUERY,
    ['P' | ENTRY_OURS] = HEAD_PARSE,
    ['B' | ENTRY_OURS] = HEAD_BIND,
    ['E' | ENTRY_OURS] = HEAD_EXECUTE,
    ['C' | ENTRY_OURS] = HEAD_CLOSE,
    ['S' | ENTRY_OURS] = HEAD_SYNC,
};

enum answer_action {
    ANSWER_PART,
    ANSWER_COMPLETE, /* the end of a statement */
    ANSWER_COPY_IN,
    ANSWER_COPY_OUT,
    ANSWER_COPY_BOTH,
    ANSWER_COPY_DATA, /* only within COPY OUT or BOTH */
    ANSWER_COPY_DONE,
};

/* Messages of the server that answer a request. */
static const struct answer {
    uint8_t heads;
    uint8_t ends;   /* the heads to which it is the last answer */
    uint8_t action; /* enum answer_action */
} answers[256] = {
    ['1'] = {HEAD_PARSE, HEAD_PARSE, ANSWER_PART},                    /* ParseComplete */
    ['2'] = {HEAD_BIND, HEAD_BIND, ANSWER_PART},                      /* BindComplete */
    ['3'] = {HEAD_CLOSE, HEAD_CLOSE, ANSWER_PART},                    /* CloseComplete */
    ['t'] = {HEAD_DESCRIBE, 0, ANSWER_PART},                          /* ParameterDescription, then T or n */
    ['n'] = {HEAD_DESCRIBE, HEAD_DESCRIBE, ANSWER_PART},              /* NoData */
    ['T'] = {HEAD_DESCRIBE | HEAD_QUERY, HEAD_DESCRIBE, ANSWER_PART}, /* RowDescription */
    ['D'] = {HEAD_QUERY | HEAD_EXECUTE, 0, ANSWER_PART},              /* DataRow */
    ['C'] = {HEAD_QUERY | HEAD_EXECUTE, HEAD_EXECUTE, ANSWER_COMPLETE}, /* CommandComplete */
    ['I'] = {HEAD_QUERY | HEAD_EXECUTE, HEAD_EXECUTE, ANSWER_COMPLETE}, /* EmptyQueryResponse */
    ['s'] = {HEAD_EXECUTE, HEAD_EXECUTE, ANSWER_PART},                  /* PortalSuspended */
    ['V'] = {HEAD_CALL, 0, ANSWER_COMPLETE},                            /* FunctionCallResponse */
    ['G'] = {HEAD_QUERY | HEAD_EXECUTE, 0, ANSWER_COPY_IN},             /* CopyInResponse */
    ['H'] = {HEAD_QUERY | HEAD_EXECUTE, 0, ANSWER_COPY_OUT},            /* CopyOutResponse */
    ['W'] = {HEAD_QUERY | HEAD_EXECUTE, 0, ANSWER_COPY_BOTH},           /* CopyBothResponse */
    ['d'] = {HEAD_QUERY | HEAD_EXECUTE, 0, ANSWER_COPY_DATA},           /* CopyData */
    ['c'] = {HEAD_QUERY | HEAD_EXECUTE, 0, ANSWER_COPY_DONE},           /* CopyDone */
};

static uint32_t n_requests(const struct tracker *t)
{
    return t->tail - t->head;
}

static uint8_t entry_at(const struct tracker *t, uint32_t i)
{
    return t->ring[i & (t->capacity - 1)];
}

static uint8_t head_entry(const struct tracker *t)
{
    return t->head == t->tail ? 0 : entry_at(t, t->head);
}

static void set_entry(struct tracker *t, uint32_t i, uint8_t entry)
{
    t->ring[i & (t->capacity - 1)] = entry;
}

static bool is_kept(uint8_t entry)
{
    return entry == ENTRY_KEPT_PARSE || entry == ENTRY_KEPT_CLOSE;
}

static uint8_t entry_bits(uint8_t entry)
{
    return head_bits[entry];
}

/* See tracker.h: entries of which the session keeps a list. */
static bool is_statement(uint8_t entry)
{
    return entry == ENTRY_NAMED_PARSE || entry == ('P' | ENTRY_OURS) || entry == ('C' | ENTRY_OURS) ||
           is_kept(entry);
}

void tracker_init(struct tracker *t)
{
    memset(t, 0, sizeof(*t));
    t->ring = t->inline_ring;
    t->capacity = TRACKER_INLINE;
    t->tx_status = 'I';
}

void tracker_destroy(struct tracker *t)
{
    if (t->ring != t->inline_ring)
        free(t->ring);
    t->ring = NULL;
}

void tracker_reset(struct tracker *t)
{
    tracker_destroy(t);
    tracker_init(t);
}

/* ------------------------------------------------------------------ */
/* The ring                                                           */

static bool ring_grow(struct tracker *t)
{
    uint8_t *ring = malloc((size_t)t->capacity * 2);
    if (!ring)
        return false;
    /* a request keeps its index */
    for (uint32_t i = t->head; i != t->tail; i++)
        ring[i & (t->capacity * 2 - 1)] = entry_at(t, i);
    if (t->ring != t->inline_ring)
        free(t->ring);
    t->ring = ring;
    t->capacity *= 2;
    return true;
}

/* An idle server need not keep the ring of the largest batch it has ever seen. */
static void ring_trim(struct tracker *t)
{
    if (t->head != t->tail || t->capacity <= RING_KEEP)
        return;
    free(t->ring);
    t->ring = t->inline_ring;
    t->capacity = TRACKER_INLINE;
}

/* What there is of what, in the ring: by +1 or -1. */
static void count_entry(struct tracker *t, uint8_t entry, int by)
{
    const uint8_t bits = entry_bits(entry);

    if (bits & HEAD_ENDS_IN_READY)
        t->ready_due += (uint32_t)by;
    else if (bits == HEAD_EXECUTE)
        t->n_executes += (uint32_t)by;
}

/* What keeps an entry from being put into the ring as it is. */
static enum tracker_verdict make_room(struct tracker *t)
{
    if (n_requests(t) >= TRACKER_MAX_REQUESTS)
        return TRACKER_BLOCK;
    return ring_grow(t) ? TRACKER_FORWARD : TRACKER_NO_MEMORY;
}

static inline enum tracker_verdict push(struct tracker *t, uint8_t entry)
{
    _Static_assert((TRACKER_MAX_REQUESTS & (TRACKER_MAX_REQUESTS - 1)) == 0, "it is a capacity, too");
    if (unlikely(n_requests(t) == t->capacity)) {
        enum tracker_verdict v = make_room(t);
        if (v != TRACKER_FORWARD)
            return v;
    }
    set_entry(t, t->tail++, entry);
    count_entry(t, entry, 1);
    return TRACKER_FORWARD;
}

/* Takes the head off, without looking at what follows. */
static inline void drop_head(struct tracker *t)
{
    count_entry(t, head_entry(t), -1);
    t->head++;
    t->is_answered = false;
}

static inline void pop(struct tracker *t)
{
    drop_head(t);
    while (head_entry(t) == ENTRY_COPY_END)
        t->head++;
}

static void end_copy(struct tracker *t)
{
    t->copy = TRACKER_COPY_NONE;
    t->copy_ended = false;
    t->copy_is_half = false;
    t->copy_syncs = 0;
}

/* ------------------------------------------------------------------ */
/* Client                                                             */

static enum tracker_verdict client_copy_end(struct tracker *t)
{
    if ((t->copy == TRACKER_COPY_IN || t->copy == TRACKER_COPY_BOTH) && !t->copy_ended) {
        t->copy_ended = true;
        if (t->copy_is_half)
            end_copy(t);
        return TRACKER_FORWARD;
    }
    /* Ignored by the server, unless a request before it turns out to be a COPY. */
    if (t->head == t->tail)
        return TRACKER_FORWARD;
    return push(t, ENTRY_COPY_END);
}

static enum tracker_verdict client_in_copy(struct tracker *t, uint8_t type)
{
    if (t->copy != TRACKER_COPY_IN)
        return TRACKER_VIOLATION;
    switch (type) {
    case 'S': t->copy_syncs++; return TRACKER_FORWARD;
    case 'H': return TRACKER_FORWARD;
    default: return TRACKER_VIOLATION;
    }
}

enum tracker_verdict tracker_client(struct tracker *t, uint8_t type)
{
    if (type == 'd')
        return TRACKER_FORWARD;
    if (type == 'c' || type == 'f')
        return client_copy_end(t);
    if ((t->copy == TRACKER_COPY_IN || t->copy == TRACKER_COPY_BOTH) && !t->copy_ended)
        return client_in_copy(t, type);
    if (type == 'H')
        return TRACKER_FORWARD;

    uint8_t bits = request_bits[type];
    if (bits == 0)
        return TRACKER_VIOLATION;
    if (t->is_skipping && type != 'S')
        return TRACKER_FORWARD;
    enum tracker_verdict v = push(t, type);
    if (v == TRACKER_FORWARD) {
        /* Query and FunctionCall commit what the batch has done, as a Sync does. */
        t->is_open = (bits & HEAD_EXTENDED) != 0;
        t->is_skipping = false;
    }
    return v;
}

bool tracker_internal_query(struct tracker *t)
{
    const uint8_t ours = 'Q' | ENTRY_OURS;
    if (t->is_open || t->is_skipping || t->copy != TRACKER_COPY_NONE)
        return false;
    /* Ours are only put behind ours, so the last one speaks for all. */
    if (t->head != t->tail && entry_at(t, t->tail - 1) != ours)
        return false;
    return push(t, ours) == TRACKER_FORWARD;
}

/* A message in the client's batch that is not quite the client's. */
static enum tracker_verdict push_ours(struct tracker *t, uint8_t entry)
{
    if ((t->copy == TRACKER_COPY_IN || t->copy == TRACKER_COPY_BOTH) && !t->copy_ended)
        return TRACKER_VIOLATION;
    if (t->is_skipping)
        return TRACKER_FORWARD;
    enum tracker_verdict v = push(t, entry);
    if (v == TRACKER_FORWARD)
        t->is_open = !(entry_bits(entry) & HEAD_ENDS_IN_READY);
    return v;
}

enum tracker_verdict tracker_named_parse(struct tracker *t)
{
    return push_ours(t, ENTRY_NAMED_PARSE);
}

enum tracker_verdict tracker_inject(struct tracker *t, uint8_t type)
{
    const uint8_t bits = request_bits[type];
    if (bits == 0 || bits == HEAD_DESCRIBE || bits == HEAD_QUERY || bits == HEAD_CALL)
        return TRACKER_VIOLATION;
    return push_ours(t, type | ENTRY_OURS);
}

enum tracker_verdict tracker_keep(struct tracker *t, uint8_t type)
{
    if (type != 'P' && type != 'C')
        return TRACKER_VIOLATION;
    return push_ours(t, type == 'P' ? ENTRY_KEPT_PARSE : ENTRY_KEPT_CLOSE);
}

uint8_t tracker_take_kept(struct tracker *t)
{
    switch (head_entry(t)) {
    case ENTRY_KEPT_PARSE: pop(t); return 'P';
    case ENTRY_KEPT_CLOSE: pop(t); return 'C';
    default: return 0;
    }
}

bool tracker_retry(struct tracker *t)
{
    const uint8_t sync = 'S' | ENTRY_OURS;

    if (t->tx_status != 'I' || t->is_tainted || t->copy != TRACKER_COPY_NONE)
        return false;
    if (t->is_skipping && t->head == t->tail) {
        t->is_skipping = false;
        return push(t, sync) == TRACKER_FORWARD;
    }
    if (t->is_open || n_requests(t) != 1 || head_entry(t) != 'S')
        return false;
    set_entry(t, t->head, sync);
    return true;
}

bool tracker_runs_nothing(const struct tracker *t)
{
    return t->ready_due == 0 && t->n_executes == 0;
}

bool tracker_has_only_kept(const struct tracker *t)
{
    for (uint32_t i = t->head; i != t->tail; i++) {
        if (!is_kept(entry_at(t, i)))
            return false;
    }
    return true;
}

bool tracker_is_at_ours(const struct tracker *t)
{
    return (head_entry(t) & ENTRY_OURS) != 0;
}

uint32_t tracker_take_dropped(struct tracker *t)
{
    uint32_t n = t->dropped_statements;
    t->dropped_statements = 0;
    return n;
}

/* ------------------------------------------------------------------ */
/* Server                                                             */

/* The server discards everything up to the next Sync, which it answers. */
static void skip_to_sync(struct tracker *t)
{
    while (t->head != t->tail && entry_bits(head_entry(t)) != HEAD_SYNC) {
        if (is_statement(head_entry(t)))
            t->dropped_statements++;
        drop_head(t);
    }
    if (t->head == t->tail) {
        t->is_skipping = true;
        t->is_open = false;
    }
}

static void server_error(struct tracker *t)
{
    if (t->copy == TRACKER_COPY_IN && t->copy_syncs > 0) {
        t->is_tainted = true;
        t->spare_ready += t->copy_syncs;
    }
    end_copy(t);

    uint8_t head = head_entry(t);
    if (entry_bits(head) & HEAD_ENDS_IN_READY) {
        t->is_answered = true;
    } else if (head != 0 || t->is_open) {
        skip_to_sync(t);
    } else if (!t->is_skipping) {
        /* Nearly always fatal; if not, a ReadyForQuery follows that nobody has asked for. */
        t->is_tainted = true;
        t->spare_ready++;
    }
}

static uint32_t server_ready(struct tracker *t, uint8_t status)
{
    if ((status != 'I' && status != 'T' && status != 'E') || t->copy != TRACKER_COPY_NONE)
        return TRACKER_BAD;
    uint8_t head = head_entry(t);
    const uint8_t bits = entry_bits(head);
    if (bits == HEAD_SYNC || ((bits & HEAD_ENDS_IN_READY) && t->is_answered)) {
        pop(t);
        ring_trim(t);
    } else if (t->spare_ready > 0) {
        t->spare_ready--;
        t->is_skipping = false;
    } else {
        return TRACKER_BAD;
    }
    t->tx_status = (char)status;
    return TRACKER_READY;
}

/*
 * The server asks for COPY data. What was sent behind the request is read as such:
 * Syncs are eaten up to a CopyDone or CopyFail. (Anything else makes the server
 * fail and hang up.)
 */
static void begin_copy_in(struct tracker *t)
{
    const uint8_t request = head_entry(t);
    uint32_t n_eaten = 0;
    uint32_t end = t->head + 1;

    t->copy = TRACKER_COPY_IN;
    t->copy_ended = false;
    for (; end != t->tail && !t->copy_ended; end++) {
        uint8_t entry = entry_at(t, end);
        if (entry == ENTRY_COPY_END)
            t->copy_ended = true;
        else if (entry == 'S')
            n_eaten++;
        else if (!is_kept(entry))
            break;
    }
    /* Close the gaps: what is kept stays, and moves up to what follows; so does the request. */
    uint32_t to = end;
    for (uint32_t i = end - 1; i != t->head; i--) {
        uint8_t entry = entry_at(t, i);
        if (is_kept(entry))
            set_entry(t, --to, entry);
    }
    set_entry(t, --to, request);
    t->head = to;

    t->copy_syncs = n_eaten;
    t->ready_due -= n_eaten;
    if (n_eaten > 0 && request == 'E' && t->ready_due == 0)
        t->is_open = true;
}

static uint32_t server_answer(struct tracker *t, const struct answer *a, uint8_t bits)
{
    const uint8_t action = a->action;

    switch ((enum answer_action)action) {
    case ANSWER_PART:
        if (a->ends & bits)
            pop(t);
        return 0;
    case ANSWER_COMPLETE:
        if (t->copy == TRACKER_COPY_IN && !t->copy_ended)
            return TRACKER_BAD;
        end_copy(t);
        t->is_answered = true;
        if (a->ends & bits)
            pop(t);
        return 0;
    case ANSWER_COPY_IN: begin_copy_in(t); return TRACKER_COPY_BEGIN;
    case ANSWER_COPY_OUT:
    case ANSWER_COPY_BOTH:
        t->copy = action == ANSWER_COPY_OUT ? TRACKER_COPY_OUT : TRACKER_COPY_BOTH;
        t->copy_ended = false;
        return TRACKER_COPY_BEGIN;
    case ANSWER_COPY_DATA:
        return t->copy == TRACKER_COPY_OUT || t->copy == TRACKER_COPY_BOTH ? 0 : TRACKER_BAD;
    case ANSWER_COPY_DONE:
        if (t->copy != TRACKER_COPY_OUT && t->copy != TRACKER_COPY_BOTH)
            return TRACKER_BAD;
        if (t->copy == TRACKER_COPY_OUT || t->copy_ended)
            end_copy(t);
        else
            t->copy_is_half = true;
        return 0;
    }
    return TRACKER_BAD;
}

uint32_t tracker_server(struct tracker *t, uint8_t type, uint8_t first_byte)
{
    uint8_t head = head_entry(t);
    uint8_t bits = entry_bits(head);
    uint32_t facts = (head & ENTRY_OURS) ? TRACKER_INTERNAL : 0;

    switch (type) {
    case 'S': /* ParameterStatus */
    case 'N': /* NoticeResponse */ return TRACKER_ASYNC | ((bits & HEAD_QUERY) ? facts : 0);
    case 'A': /* NotificationResponse */ return TRACKER_ASYNC;
    case 'E': /* ErrorResponse */ server_error(t); return TRACKER_ERROR | ((bits & HEAD_QUERY) ? facts : 0);
    case 'Z': { /* ReadyForQuery */
        /* A spare one is the client's, whatever stands at the head. */
        uint32_t ready_due = t->ready_due;
        uint32_t got = server_ready(t, first_byte);
        return got | (t->ready_due < ready_due ? facts : 0);
    }
    case '1': /* ParseComplete */
    case '3': /* CloseComplete */
        if (is_statement(head))
            facts |= TRACKER_STATEMENT;
        break;
    default: break;
    }

    const struct answer *a = &answers[type];
    if (!(a->heads & bits))
        return TRACKER_BAD;
    /* Within a COPY there is nothing but its data and its end. */
    if (t->copy != TRACKER_COPY_NONE && a->action != ANSWER_COPY_DATA && a->action != ANSWER_COPY_DONE &&
        a->action != ANSWER_COMPLETE)
        return TRACKER_BAD;
    return facts | server_answer(t, a, bits);
}

/* ------------------------------------------------------------------ */
/* Many at once                                                       */

uint32_t tracker_pass_requests(struct tracker *t, const uint8_t *data, uint32_t len_bytes, uint32_t max_len)
{
    uint32_t at = 0;

    if (t->is_skipping || t->copy != TRACKER_COPY_NONE)
        return 0;
    while (t->is_open && len_bytes - at >= WIRE_HEADER_BYTES && n_requests(t) < t->capacity) {
        const uint8_t type = data[at];
        const uint32_t len = wire_u32(data + at + 1);
        if (len_bytes - at <= len || len - 4 >= max_len - 4) /* less than 4, too */
            break;
        if (type == 'E')
            t->n_executes++;
        else if (type == 'S')
            t->ready_due++;
        else if (type != 'D' || len == 4 || data[at + WIRE_HEADER_BYTES] != 'P')
            break;
        set_entry(t, t->tail++, type);
        t->is_open = type != 'S';
        at += 1 + len;
    }
    return at;
}

/* What the next answer belongs to, when it is the client's and no statement entry. */
static inline uint8_t plain_bits(const struct tracker *t)
{
    return request_bits[head_entry(t)];
}

static inline bool is_among(uint32_t lengths, uint32_t len)
{
    return (lengths >> (len < 31 ? len : 31) & 1) != 0;
}

uint32_t tracker_pass_answers(struct tracker *t, const uint8_t *data, uint32_t len_bytes, uint32_t max_len,
                              uint32_t not_lengths)
{
    const uint8_t *at = data;
    uint32_t left = len_bytes;

    if (unlikely(t->copy != TRACKER_COPY_NONE))
        return 0;
    uint8_t bits = plain_bits(t);
    while (left >= WIRE_HEADER_BYTES) {
        const uint32_t len = wire_u32(at + 1);
        const struct answer a = answers[at[0]];
        if (len >= left || len - 4 >= max_len - 4) /* less than 4, too */
            break;
        if ((a.heads & bits) == 0) {
            if (at[0] != 'Z' || len != 5 || is_among(not_lengths, 5) ||
                !((bits & HEAD_SYNC) != 0 || ((bits & HEAD_ENDS_IN_READY) != 0 && t->is_answered)) ||
                server_ready(t, at[WIRE_HEADER_BYTES]) != TRACKER_READY)
                break;
            left -= 1 + len;
            break;
        }
        if (a.action != ANSWER_PART) {
            if (a.action != ANSWER_COMPLETE || is_among(not_lengths, len))
                break;
            t->is_answered = true;
        }
        at += 1 + len;
        left -= 1 + len;
        if ((a.ends & bits) != 0) {
            pop(t);
            bits = plain_bits(t);
        }
    }
    return len_bytes - left;
}

/* ------------------------------------------------------------------ */

bool tracker_check(const struct tracker *t)
{
    if (!t->ring || t->capacity < TRACKER_INLINE || (t->capacity & (t->capacity - 1)) != 0 ||
        n_requests(t) > t->capacity || n_requests(t) > TRACKER_MAX_REQUESTS)
        return false;
    uint32_t ready_due = 0, n_executes = 0;
    for (uint32_t i = t->head; i != t->tail; i++) {
        uint8_t entry = entry_at(t, i);
        if (entry_bits(entry) & HEAD_ENDS_IN_READY)
            ready_due++;
        else if (entry_bits(entry) == HEAD_EXECUTE)
            n_executes++;
        else if (!entry_bits(entry) && entry != ENTRY_COPY_END && !is_kept(entry))
            return false;
    }
    uint8_t head = head_entry(t);
    if (ready_due != t->ready_due || n_executes != t->n_executes || head == ENTRY_COPY_END)
        return false;
    if (t->is_skipping && head != 0)
        return false;
    if (t->copy != TRACKER_COPY_NONE && !(entry_bits(head) & (HEAD_QUERY | HEAD_EXECUTE)))
        return false;
    if (t->copy != TRACKER_COPY_IN && t->copy_syncs != 0)
        return false;
    return t->tx_status == 'I' || t->tx_status == 'T' || t->tx_status == 'E';
}
