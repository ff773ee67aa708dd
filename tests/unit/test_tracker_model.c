/*
 * test_tracker_model.c - the protocol tracker against a model of PostgreSQL's main loop.
 *
 * The model reads a queue of client messages one at a time, fails at random,
 * skips to Sync after an error in an extended-protocol message, eats Sync and Flush
 * in COPY IN, and writes its answers to a second queue. A random walk chooses who
 * moves next: the client, the model, or the wire that brings an answer
 * to the tracker. Held against the tracker after each step:
 *
 *   - it is never releasable while there is unread input, an unread answer, a
 *     transaction, a COPY or an open batch;
 *   - once everything is answered and idle, it is (unless tainted, with reason);
 *   - it never finds the model's answers impossible, and knows ours from the client's;
 *   - a list of the statement entries, kept by its facts alone, says for each what the model did with it;
 *   - when everything is at rest, it does not ask to hold the client back (which would hang);
 *   - messages that are passed many at once leave it as the same ones do one by one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/codec.h"
#include "wire/tracker.h"

#define QUEUE_SIZE 4096
#define N_WALKS    4000
#define N_STEPS    300

struct message {
    uint8_t type;
    uint8_t status;   /* of a ReadyForQuery */
    bool is_internal; /* a request of ours, or an answer to one */
    uint32_t note;    /* a statement entry's number, else 0; of an answer: what it answers */
};

struct queue {
    struct message items[QUEUE_SIZE];
    uint32_t head, tail;
};

struct model {
    struct queue in;      /* sent by the client, not read yet */
    struct queue out;     /* answered, not delivered yet */
    char status;          /* I, T, E */
    bool is_skipping;     /* ignore_till_sync */
    bool is_batch_open;   /* an extended message was processed that no Sync or Query has ended */
    bool is_in_copy;      /* COPY IN */
    bool is_dead;         /* FATAL */
    uint8_t statements;   /* of the current Query that are left */
    uint8_t copy_request; /* Q or E */
    bool has_copy_failed; /* ever: then the tracker may be tainted */
};

struct walk {
    struct model m;
    struct tracker t;
    uint64_t seed;
    uint32_t error_percent;
    uint32_t copy_percent;
    bool is_polite;             /* client pipelines nothing but a Sync behind what may be a COPY */
    uint32_t notes[QUEUE_SIZE]; /* statement entries sent and not settled, as whoever uses the tracker keeps
                                   them */
    uint32_t notes_head, notes_tail;
    uint32_t last_note;
    bool is_performed[QUEUE_SIZE];                /* by the model, by number */
    uint32_t n_requests_passed, n_answers_passed; /* many at once */
};

static uint32_t rnd(struct walk *w, uint32_t n)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->seed >> 33) % n;
}

static bool chance(struct walk *w, uint32_t percent)
{
    return rnd(w, 100) < percent;
}

static bool queue_is_empty(const struct queue *q)
{
    return q->head == q->tail;
}

static void queue_put(struct queue *q, struct message x)
{
    assert_true(q->tail - q->head < QUEUE_SIZE);
    q->items[q->tail++ % QUEUE_SIZE] = x;
}

static struct message queue_get(struct queue *q)
{
    return q->items[q->head++ % QUEUE_SIZE];
}

/* ------------------------------------------------------------------ */
/* The model of PostgreSQL                                            */

static void answer(struct model *m, uint8_t type, bool is_internal)
{
    queue_put(&m->out, (struct message){type, (uint8_t)m->status, is_internal, 0});
}

static void model_error(struct model *m, struct message request, bool is_extended)
{
    /* ours when it is a Query; an error at an injected Parse is the client's to see */
    answer(m, 'E', request.is_internal && request.type == 'Q');
    if (m->status == 'T')
        m->status = 'E';
    if (is_extended)
        m->is_skipping = true;
    else
        answer(m, 'Z', request.is_internal);
    m->is_batch_open = is_extended;
    m->statements = 0;
    if (m->is_in_copy)
        m->has_copy_failed = true;
    m->is_in_copy = false;
}

static void model_end_statement(struct walk *w)
{
    struct model *m = &w->m;
    if (chance(w, 20))
        m->status = m->status == 'I' ? 'T' : 'I';
}

static void model_run_query(struct walk *w, struct message request)
{
    struct model *m = &w->m;
    while (m->statements > 0) {
        m->statements--;
        if (chance(w, w->error_percent)) {
            model_error(m, request, false);
            return;
        }
        if (!request.is_internal && chance(w, w->copy_percent)) {
            answer(m, 'G', false);
            m->is_in_copy = true;
            m->copy_request = 'Q';
            return;
        }
        switch (rnd(w, 3)) {
        case 0:
            answer(m, 'T', request.is_internal);
            answer(m, 'D', request.is_internal);
            break;
        case 1:
            answer(m, 'H', request.is_internal);
            answer(m, 'd', request.is_internal);
            answer(m, 'c', request.is_internal);
            break;
        default: break;
        }
        model_end_statement(w);
        answer(m, 'C', request.is_internal);
    }
    m->is_batch_open = false;
    answer(m, 'Z', request.is_internal);
}

static void model_copy_read(struct walk *w, struct message x)
{
    struct model *m = &w->m;
    struct message request = {m->copy_request, 0, false, 0};
    bool is_extended = m->copy_request == 'E';
    switch (x.type) {
    case 'S':
    case 'H': break;
    case 'd':
        if (chance(w, w->error_percent))
            model_error(m, request, is_extended);
        break;
    case 'f': model_error(m, request, is_extended); break;
    case 'c':
        if (chance(w, w->error_percent)) {
            model_error(m, request, is_extended);
            break;
        }
        m->is_in_copy = false;
        answer(m, 'C', false);
        if (!is_extended)
            model_run_query(w, request);
        break;
    default: /* protocol violation, and a message half read */
        answer(m, 'E', false);
        answer(m, 'E', false);
        m->is_dead = true;
        break;
    }
}

static void model_execute(struct walk *w, struct message x)
{
    struct model *m = &w->m;
    if (!x.is_internal && chance(w, w->copy_percent)) {
        answer(m, 'G', false);
        m->is_in_copy = true;
        m->copy_request = 'E';
        return;
    }
    switch (rnd(w, 5)) {
    case 0: answer(m, 'I', x.is_internal); break;
    case 1:
        answer(m, 'D', x.is_internal);
        answer(m, 's', x.is_internal);
        break;
    case 2:
        answer(m, 'H', x.is_internal);
        answer(m, 'd', x.is_internal);
        answer(m, 'c', x.is_internal);
        answer(m, 'C', x.is_internal);
        break;
    default:
        answer(m, 'D', x.is_internal);
        model_end_statement(w);
        answer(m, 'C', x.is_internal);
        break;
    }
}

static void model_extended(struct walk *w, struct message x)
{
    struct model *m = &w->m;
    m->is_batch_open = true;
    bool is_late = chance(w, 30); /* an error after part of the answer */
    if (!is_late && chance(w, w->error_percent)) {
        model_error(m, x, true);
        return;
    }
    switch (x.type) {
    case 'P':
    case 'C':
        w->is_performed[x.note] = x.note != 0;
        queue_put(&m->out, (struct message){x.type == 'P' ? '1' : '3', 0, x.is_internal, x.note});
        break;
    case 'B': answer(m, '2', x.is_internal); break;
    case 'D':
        if (chance(w, 50))
            answer(m, 't', x.is_internal);
        if (is_late && chance(w, w->error_percent))
            model_error(m, x, true);
        else
            answer(m, chance(w, 50) ? 'T' : 'n', x.is_internal);
        break;
    default:
        if (is_late && chance(w, w->error_percent)) {
            answer(m, 'D', x.is_internal);
            model_error(m, x, true);
        } else {
            model_execute(w, x);
        }
        break;
    }
}

static bool is_sync_next(const struct model *m)
{
    for (uint32_t i = m->in.head; i != m->in.tail; i++) {
        uint8_t type = m->in.items[i % QUEUE_SIZE].type;
        if (type == 'S')
            return true;
        if (type == 'Q' || type == 'F')
            return false;
    }
    return false;
}

/* Reads one message, as PostgresMain() and CopyGetData() do. */
static void model_read(struct walk *w)
{
    struct model *m = &w->m;
    if (m->is_dead || queue_is_empty(&m->in))
        return;
    struct message x = queue_get(&m->in);
    if (m->is_in_copy) {
        model_copy_read(w, x);
        return;
    }
    if (x.type == 'S')
        m->is_skipping = false;
    if (m->is_skipping)
        return;
    switch (x.type) {
    case 'Q':
        if (chance(w, 10)) {
            answer(m, 'I', x.is_internal);
            m->is_batch_open = false;
            answer(m, 'Z', x.is_internal);
            break;
        }
        m->statements = (uint8_t)(1 + rnd(w, 3));
        model_run_query(w, x);
        break;
    case 'F':
        m->statements = 0;
        if (chance(w, w->error_percent)) {
            model_error(m, x, false);
            break;
        }
        answer(m, 'V', false);
        m->is_batch_open = false;
        answer(m, 'Z', false);
        break;
    case 'S':
        if (chance(w, w->error_percent)) { /* at commit */
            model_error(m, x, false);
            break;
        }
        m->is_batch_open = false;
        answer(m, 'Z', x.is_internal);
        break;
    case 'd':
    case 'c':
    case 'f': break;
    case 'H':
        /* statement_timeout strikes. (A Query sent behind it without a Sync would take the error for its
         * own.) */
        if (m->is_batch_open && is_sync_next(m) && chance(w, w->error_percent))
            model_error(m, x, true);
        break;
    default: model_extended(w, x); break;
    }
}

/* COPY IN may fail without having read anything (a BEFORE trigger). */
static void model_fail_copy(struct walk *w)
{
    struct model *m = &w->m;
    struct message request = {m->copy_request, 0, false, 0};
    if (!m->is_in_copy)
        return;
    model_error(m, request, m->copy_request == 'E');
}

/* ------------------------------------------------------------------ */
/* The walk                                                           */

/* The next statement entry, noted unless the server skips. */
static uint32_t new_note(struct walk *w)
{
    if (w->t.is_skipping)
        return 0;
    w->notes[w->notes_tail++ % QUEUE_SIZE] = ++w->last_note;
    return w->last_note;
}

static uint32_t take_note(struct walk *w)
{
    assert_true(w->notes_head != w->notes_tail);
    return w->notes[w->notes_head++ % QUEUE_SIZE];
}

/* A Parse or Close that is not quite the client's. */
static void client_sends_statement(struct walk *w, uint8_t type)
{
    struct tracker *t = &w->t;
    uint32_t note = new_note(w);

    switch (rnd(w, type == 'P' ? 3 : 2)) {
    case 0:
        assert_int_equal(tracker_inject(t, type), TRACKER_FORWARD);
        queue_put(&w->m.in, (struct message){type, 0, true, note});
        break;
    case 1: assert_int_equal(tracker_keep(t, type), TRACKER_FORWARD); break;
    default:
        assert_int_equal(tracker_named_parse(t), TRACKER_FORWARD);
        queue_put(&w->m.in, (struct message){type, 0, false, note});
        break;
    }
}

/* ---- many at once ---- */

#define MANY          8
#define MANY_MAX_BODY 40

static void twin_begin(struct tracker *twin, const struct tracker *t)
{
    *twin = *t;
    twin->ring = twin->inline_ring;
    if (t->ring != t->inline_ring) {
        twin->ring = malloc(t->capacity);
        assert_non_null(twin->ring);
        memcpy(twin->ring, t->ring, t->capacity);
    }
}

/* The real one has been told the same messages one by one: they agree. */
static void twin_end(struct tracker *twin, const struct tracker *t)
{
    struct tracker a = *twin, b = *t;

    assert_int_equal(a.capacity, b.capacity);
    for (uint32_t i = a.head; i != a.tail; i++)
        assert_int_equal(a.ring[i & (a.capacity - 1)], b.ring[i & (b.capacity - 1)]);
    a.ring = b.ring = NULL;
    memset(a.inline_ring, 0, sizeof(a.inline_ring));
    memset(b.inline_ring, 0, sizeof(b.inline_ring));
    assert_memory_equal(&a, &b, sizeof(a));
    tracker_destroy(twin);
}

/* A message of some length. Returns where it ends. */
static uint32_t put_message(struct walk *w, uint8_t *data, uint32_t at, uint8_t type, uint8_t first_byte)
{
    const uint32_t body_bytes = type == 'Z' ? 1 : 1 + rnd(w, MANY_MAX_BODY);

    data[at] = type;
    data[at + 1] = data[at + 2] = data[at + 3] = 0;
    data[at + 4] = (uint8_t)(4 + body_bytes);
    memset(data + at + WIRE_HEADER_BYTES, first_byte, body_bytes);
    return at + WIRE_HEADER_BYTES + body_bytes;
}

/* Up to some length, the last message is not there whole, or is too long. */
static void client_sends_many(struct walk *w)
{
    uint8_t data[MANY * (WIRE_HEADER_BYTES + 1 + MANY_MAX_BODY)], types[MANY];
    uint32_t ends[MANY], n_bytes = 0, i = 0;
    struct tracker twin;

    for (i = 0; i < MANY; i++) {
        types[i] = (uint8_t) "DEEESBH"[rnd(w, 7)];
        n_bytes = ends[i] = put_message(w, data, n_bytes, types[i], (uint8_t) "PPPPS"[rnd(w, 5)]);
    }
    n_bytes -= rnd(w, 2) * rnd(w, n_bytes);
    const uint32_t max_len = rnd(w, 4) == 0 ? 4 + rnd(w, MANY_MAX_BODY) : 1000;
    twin_begin(&twin, &w->t);
    const uint32_t passed = tracker_pass_requests(&twin, data, n_bytes, max_len);
    for (i = 0; i < MANY && ends[i] <= passed; i++) {
        const uint32_t start = i > 0 ? ends[i - 1] : 0;
        assert_true(ends[i] - start - 1 < max_len);
        assert_true(types[i] != 'D' || data[start + WIRE_HEADER_BYTES] == 'P');
        assert_true(w->t.is_open); /* so that nobody who waits for its end is passed over */
        assert_int_equal(tracker_client(&w->t, types[i]), TRACKER_FORWARD);
        queue_put(&w->m.in, (struct message){types[i], 0, false, 0});
        w->n_requests_passed++;
    }
    assert_true(passed == (i > 0 ? ends[i - 1] : 0) && passed <= n_bytes);
    twin_end(&twin, &w->t);
}

static void wire_delivers_many(struct walk *w)
{
    uint8_t data[MANY * (WIRE_HEADER_BYTES + 1 + MANY_MAX_BODY)];
    uint32_t ends[MANY], n_bytes = 0, n = 0, i;
    const struct queue *out = &w->m.out;
    struct tracker twin;

    for (n = 0; n < MANY && out->tail - out->head > n; n++) {
        const struct message *x = &out->items[(out->head + n) % QUEUE_SIZE];
        n_bytes = ends[n] = put_message(w, data, n_bytes, x->type, x->status);
    }
    if (n == 0)
        return;
    n_bytes -= rnd(w, 2) * rnd(w, n_bytes);
    const uint32_t max_len = rnd(w, 4) == 0 ? 4 + rnd(w, MANY_MAX_BODY) : 1000;
    const uint32_t not_lengths = rnd(w, 4) == 0 ? UINT32_MAX : rnd(w, 2) * (1u << rnd(w, 32));
    twin_begin(&twin, &w->t);
    const uint32_t ready_due = twin.ready_due;
    const uint32_t passed = tracker_pass_answers(&twin, data, n_bytes, max_len, not_lengths);
    for (i = 0; i < n && ends[i] <= passed; i++) {
        struct message x = queue_get(&w->m.out);
        const uint32_t len = ends[i] - (i > 0 ? ends[i - 1] : 0) - 1;
        assert_true(len < max_len && !x.is_internal && x.note == 0);
        assert_true(!strchr("CIVZ", x.type) || (not_lengths >> (len < 31 ? len : 31) & 1) == 0);
        const bool is_end = i + 1 == n || ends[i + 1] > passed; /* the only place of a ReadyForQuery */
        assert_int_equal(tracker_server(&w->t, x.type, x.status),
                         x.type == 'Z' && is_end ? TRACKER_READY : 0);
        assert_int_equal(x.type == 'Z', is_end && twin.ready_due < ready_due);
        w->n_answers_passed++;
    }
    assert_true(passed == (i > 0 ? ends[i - 1] : 0) && passed <= n_bytes);
    twin_end(&twin, &w->t);
}

static void client_sends(struct walk *w)
{
    static const char anything[] = "QQQQPPPBBBDEEESSSSSSHFCcdf";
    static const char in_copy[] = "ddddddccfSH";
    static const char no_copy[] = "QQQQPPPBBBDEEESSSSSSHFC";
    struct tracker *t = &w->t;
    bool is_copying = t->copy == TRACKER_COPY_IN && !t->copy_ended;

    if (w->is_polite && !is_copying && tracker_is_busy(t) && (t->ready_due > 0 || !chance(w, 30)))
        return;
    if (!is_copying && chance(w, 10) && tracker_internal_query(t)) {
        queue_put(&w->m.in, (struct message){'Q', 0, true, 0});
        return;
    }
    const char *from = is_copying ? in_copy : w->is_polite ? no_copy : anything;
    uint8_t type = (uint8_t)from[rnd(w, (uint32_t)strlen(from))];
    if (w->is_polite && !is_copying && tracker_is_busy(t))
        type = 'S';
    if (w->is_polite && is_copying && type == 'S')
        type = 'c';
    if ((type == 'P' || type == 'C') && !is_copying && chance(w, 30)) {
        client_sends_statement(w, type);
        return;
    }
    /* a Bind, Execute of our own; a Sync when everything else has been answered */
    if (!is_copying && chance(w, 20) &&
        (type == 'B' || type == 'E' || (type == 'S' && !tracker_is_busy(t) && !t->is_skipping))) {
        assert_int_equal(tracker_inject(t, type), TRACKER_FORWARD);
        queue_put(&w->m.in, (struct message){type, 0, true, 0});
        return;
    }
    assert_int_equal(tracker_client(t, type), TRACKER_FORWARD);
    queue_put(&w->m.in, (struct message){type, 0, false, 0});
    if (!w->is_polite && chance(w, 30))
        client_sends_many(w);
}

static void take_kept(struct walk *w)
{
    while (tracker_take_kept(&w->t) != 0)
        if (!w->t.is_tainted)
            (void)take_note(w);
}

static void wire_delivers(struct walk *w)
{
    if (chance(w, 5)) {
        assert_true(tracker_server(&w->t, (uint8_t) "SNA"[rnd(w, 3)], 0) & TRACKER_ASYNC);
        return;
    }
    if (!w->t.is_tainted && chance(w, 50))
        wire_delivers_many(w);
    if (queue_is_empty(&w->m.out))
        return;
    take_kept(w); /* has its turn before the next one */
    struct message x = queue_get(&w->m.out);
    uint32_t facts = tracker_server(&w->t, x.type, x.status);
    uint32_t n_dropped = tracker_take_dropped(&w->t);
    if (w->t.is_tainted)
        return;
    assert_false(facts & TRACKER_BAD);
    if (!w->m.is_dead) {
        assert_int_equal(!!(facts & TRACKER_STATEMENT), x.note != 0);
        if (x.note != 0)
            assert_int_equal(take_note(w), x.note);
        for (uint32_t i = 0; i < n_dropped; i++)
            assert_false(w->is_performed[take_note(w)]);
        assert_int_equal(!!(facts & TRACKER_INTERNAL), x.is_internal);
        assert_int_equal(!!(facts & TRACKER_READY), x.type == 'Z');
    }
}

/* Input that PostgreSQL reads without an effect. */
static bool is_input_idle(const struct model *m)
{
    for (uint32_t i = m->in.head; i != m->in.tail; i++) {
        if (!strchr("dcfH", m->in.items[i % QUEUE_SIZE].type))
            return false;
    }
    return true;
}

static void check(struct walk *w)
{
    const struct model *m = &w->m;
    const struct tracker *t = &w->t;
    bool is_quiet = queue_is_empty(&m->out) && is_input_idle(m) && !m->is_in_copy;
    bool is_idle = is_quiet && !m->is_skipping && !m->is_batch_open && m->status == 'I';

    assert_true(tracker_check(t));
    if (t->is_tainted)
        assert_true(m->has_copy_failed || m->is_dead);
    if (tracker_is_releasable(t))
        assert_true(is_idle);
    if (t->is_tainted || m->is_dead)
        return;
    if (is_idle)
        assert_true(tracker_is_releasable(t) || t->is_open); /* open: by a kept message only */
    if (queue_is_empty(&m->out) && queue_is_empty(&m->in)) {
        assert_false(tracker_may_hold(t));
        assert_int_equal(tracker_is_busy(t), m->is_in_copy);
        assert_int_equal(t->is_skipping, m->is_skipping);
        if (!t->is_skipping)
            assert_int_equal(t->tx_status, t->is_open || m->is_in_copy ? t->tx_status : m->status);
    }
}

static void drain(struct walk *w)
{
    while (!w->m.is_dead && (!queue_is_empty(&w->m.in) || !queue_is_empty(&w->m.out))) {
        model_read(w);
        wire_delivers(w);
        take_kept(w);
        check(w);
    }
}

static void run_walk(struct walk *w)
{
    for (int i = 0; i < N_STEPS && !w->m.is_dead; i++) {
        switch (rnd(w, 8)) {
        case 0:
        case 1: client_sends(w); break;
        case 2:
        case 3: model_read(w); break;
        case 4:
            if (chance(w, 5))
                model_fail_copy(w);
            if (chance(w, 20))
                drain(w);
            break;
        default: wire_delivers(w); break;
        }
        take_kept(w);
        check(w);
    }
    /* Let the client end what it has begun; then the server must be free, or in a transaction. */
    drain(w);
    for (int i = 0; i < 2 && !w->m.is_dead && !w->t.is_tainted; i++) {
        if (w->t.copy == TRACKER_COPY_IN && !w->t.copy_ended) {
            assert_int_equal(tracker_client(&w->t, 'f'), TRACKER_FORWARD);
            queue_put(&w->m.in, (struct message){'f', 0, false, 0});
        }
        assert_int_equal(tracker_client(&w->t, 'S'), TRACKER_FORWARD);
        queue_put(&w->m.in, (struct message){'S', 0, false, 0});
        drain(w);
    }
    if (!w->m.is_dead && !w->t.is_tainted)
        assert_int_equal(w->notes_head, w->notes_tail); /* each has been settled */
    if (!w->m.is_dead && !w->t.is_tainted && w->t.copy == TRACKER_COPY_NONE)
        assert_int_equal(tracker_is_releasable(&w->t), w->m.status == 'I');
}

static void test_random_walks(void **unused)
{
    (void)unused;
    static struct walk w; /* large */
    uint32_t n_releasable = 0, n_tainted = 0, n_dead = 0, n_requests_passed = 0, n_answers_passed = 0;
    for (uint32_t i = 0; i < N_WALKS; i++) {
        memset(&w, 0, sizeof(w));
        w.seed = i * 2654435761u + 1;
        w.m.status = 'I';
        w.error_percent = (i % 4) * 8;
        w.is_polite = i % 2 == 0;
        w.copy_percent = w.is_polite ? 30 : i % 3;
        tracker_init(&w.t);
        run_walk(&w);
        n_releasable += tracker_is_releasable(&w.t);
        n_tainted += w.t.is_tainted;
        n_dead += w.m.is_dead;
        n_requests_passed += w.n_requests_passed;
        n_answers_passed += w.n_answers_passed;
        tracker_destroy(&w.t);
    }
    print_message("%u walks: %u ended releasable, %u tainted, %u dead\n", N_WALKS, n_releasable, n_tainted,
                  n_dead);
    print_message("passed many at once: %u requests, %u answers\n", n_requests_passed, n_answers_passed);
    assert_true(n_releasable > N_WALKS / 4);
    assert_true(n_requests_passed > N_WALKS && n_answers_passed > N_WALKS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_walks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
