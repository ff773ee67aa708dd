/*
 * prepared.c - prepared statements of clients on servers that they share.
 *
 * With transaction and statement pooling a client's named statement must be there on whichever server the
 * client gets next. So a named Parse is remembered (statement_names.h), equal ones of all
 * clients have one name on servers (statement.h), and a server that lacks a statement gets it when it is
 * first needed there (statement_cache.h): a Close of the one used least recently, where there are too many,
 * and a Parse of ours go ahead of the client's Bind or Describe, in the same send.
 *
 * Errors are PostgreSQL's, so that they come in their place of the pipeline and fail the transaction as they
 * should: a name that the client does not have is passed on as it is (26000), a second Parse of a
 * name that it has is sent as one of a name that the server has (42P05). Where the message text names a
 * statement, the client's name for it is put in. A Parse of what the server is known to have is answered
 * by us, but not in a failed transaction, nor behind what may make it one.
 *
 * What is sent changes the tables at once, as what follows in the pipeline relies on it. Each such change is
 * noted in the order of sending; the tracker says whether the first of them has been performed or skipped,
 * and what was skipped is undone. While changes of a batch that has ended are not settled,
 * messages about named statements wait (PREPARED_HOLD).
 *
 * "cached plan must not change result type": the tables have changed under the statements, so that those of
 * that server are stale and parsed anew at their next use. A batch that begins with a
 * statement outside of a transaction is kept until its first answer; when that answer is this error, the
 * batch becomes input again and the client sees nothing.
 *
 * Threads: the owner's of client and server.
 */
#include <stdlib.h>
#include <string.h>

#include "prepared_int.h"

#define MAX_EVICTIONS   2  /* at one time: a bound that has been lowered is reached by and by */
#define MESSAGES_OF_ONE 5  /* requests that one message may become */
#define PIECES_OF_ONE   16 /* and the pieces */

/* ---- what there is ---- */

static bool prepared_ensure(struct server *s)
{
    if (s->prepared != NULL)
        return true;
    s->prepared = calloc(1, sizeof(*s->prepared));
    if (s->prepared == NULL)
        return false;
    statement_cache_init(&s->prepared->cache);
    list_init(&s->prepared->notes);
    buf_init(&s->prepared->replay, MAX_REPLAY_BYTES);
    return true;
}

void prepared_note_free(struct note *n)
{
    list_del(&n->node);
    if ((n->kind == NOTE_KEPT_CLOSE || n->kind == NOTE_SECOND_PARSE) && n->name != NULL)
        statement_name_free(n->name);
    statement_unref(n->statement);
    free(n);
}

void prepared_server_free(struct server *s)
{
    struct prepared *p = s->prepared;

    if (p == NULL)
        return;
    LIST_FOR_EACH_SAFE (it, &p->notes)
        prepared_note_free(list_entry(it, struct note, node));
    statement_cache_destroy(&p->cache);
    buf_free(&p->replay);
    free(p);
    s->prepared = NULL;
}

void prepared_client_free(struct client *c)
{
    statement_names_free(c->names);
    c->names = NULL;
}

uint32_t client_prepared_count(const struct client *c)
{
    return c->names != NULL ? c->names->table.count : 0;
}

uint32_t server_prepared_count(const struct server *s)
{
    return s->prepared != NULL ? statement_cache_count(&s->prepared->cache) : 0;
}

void prepared_client_configure(struct client *c)
{
    const struct settings *set = shard_settings(c->shard);
    /* who has names already keeps what they stand for */
    c->maps_statements =
        c->names != NULL || (c->pool_mode != POOL_MODE_SESSION && set->max_prepared_statements > 0);
}

static uint32_t max_on_server(const struct server *s)
{
    int max = shard_settings(s->shard)->max_prepared_statements;
    return max > 0 ? (uint32_t)max : 1;
}

void prepared_watch(struct server *s)
{
    const struct prepared *p = s->prepared;
    s->prepared_is_watching = p != NULL && (!list_is_empty(&p->notes) || p->is_recording);
}

bool prepared_must_wait(const struct server *s)
{
    return s->prepared != NULL && !list_is_empty(&s->prepared->notes) && s->tracker.ready_due > 0;
}

/* ---- gathering ---- */

bool outgoing_send(struct server *s, struct outgoing *o, uint32_t end)
{
    if (end > o->start)
        o->pieces[o->n++] = (struct iovec){(void *)(o->data + o->start), end - o->start};
    bool is_sent = o->n == 0 || stream_sendv(&s->stream, o->pieces, o->n);
    o->start = end;
    o->n = 0;
    o->used_bytes = 0;
    if (!is_sent)
        server_close(s, CLOSE_SERVER_CRASHED, NULL);
    return is_sent;
}

/* Room for what one message may become; one piece is left for outgoing_send(). */
static bool outgoing_reserve(struct server *s, struct outgoing *o, uint32_t at)
{
    if (o->n + PIECES_OF_ONE < OUTGOING_PIECES &&
        o->used_bytes + MESSAGES_OF_ONE * STATEMENT_HEAD_BYTES <= OUTGOING_SCRATCH_BYTES)
        return true;
    return outgoing_send(s, o, at);
}

static void outgoing_put(struct outgoing *o, const void *bytes, uint32_t n)
{
    if (n > 0)
        o->pieces[o->n++] = (struct iovec){(void *)bytes, n};
}

/* The input up to there. */
static void outgoing_range(struct outgoing *o, uint32_t end)
{
    outgoing_put(o, o->data + o->start, end - o->start);
    o->start = end;
}

static uint8_t *outgoing_scratch(struct outgoing *o)
{
    return o->scratch + o->used_bytes;
}

static void outgoing_put_scratch(struct outgoing *o, uint32_t n)
{
    outgoing_put(o, outgoing_scratch(o), n);
    o->used_bytes += n;
}

/* The message's head with another name, in place of the one at data[at..]. */
static void outgoing_head(struct outgoing *o, uint32_t at, const struct statement_message *m,
                          const char *name, uint32_t name_bytes)
{
    uint32_t before;

    outgoing_range(o, at);
    uint32_t n = statement_put_head(m, name, name_bytes, outgoing_scratch(o), &before);
    if (m->portal_bytes > 0) {
        outgoing_put_scratch(o, before);
        outgoing_put(o, m->portal, m->portal_bytes);
        n -= before;
    }
    outgoing_put_scratch(o, n);
    o->start = at + m->head_bytes;
}

/* ---- changes ---- */

static enum prepared_step step_of(enum tracker_verdict v)
{
    switch (v) {
    case TRACKER_FORWARD: return PREPARED_TAKEN;
    case TRACKER_BLOCK: return PREPARED_FULL;
    case TRACKER_NO_MEMORY: return PREPARED_NO_MEMORY;
    default: return PREPARED_FORBIDDEN;
    }
}

/* Takes its own reference to the statement. False: no memory. */
static bool note(struct server *s, enum note_kind kind, struct statement *statement,
                 struct statement_name *name)
{
    struct note *n = calloc(1, sizeof(*n));

    if (n == NULL)
        return false;
    n->kind = kind;
    n->statement = statement_ref(statement);
    n->name = name;
    list_push_back(&s->prepared->notes, &n->node);
    s->prepared_is_watching = true;
    return true;
}

static enum prepared_step close_on_server(struct server *s, struct outgoing *o, struct cached_statement *x)
{
    enum tracker_verdict v = tracker_inject(&s->tracker, 'C');

    if (v != TRACKER_FORWARD)
        return step_of(v);
    if (!note(s, NOTE_OWN_CLOSE, x->statement, NULL))
        return PREPARED_NO_MEMORY;
    outgoing_put_scratch(o, statement_put_close(x->statement, outgoing_scratch(o)));
    statement_cache_remove(&s->prepared->cache, x);
    return PREPARED_TAKEN;
}

/* Makes room for one more statement. */
static enum prepared_step evict(struct server *s, struct outgoing *o)
{
    enum prepared_step step = PREPARED_TAKEN;

    for (int i = 0; i < MAX_EVICTIONS && step == PREPARED_TAKEN; i++) {
        struct cached_statement *x = statement_cache_victim(&s->prepared->cache, max_on_server(s));
        if (x == NULL)
            break;
        step = close_on_server(s, o, x);
    }
    return step;
}

static bool cache_add(struct server *s, struct statement *statement)
{
    struct stats_shard *st = server_stats(s);

    if (statement_cache_add(&s->prepared->cache, statement) == NULL)
        return false;
    atomic_fetch_add_explicit(&statement->misses, 1, memory_order_relaxed);
    if (st != NULL)
        counter_add(&st->counters.server_parse_count, 1);
    return true;
}

/* The statement's place on the server is free, and there is one: what is stale is closed, and others where
 * there are too many. */
static enum prepared_step make_place(struct server *s, struct outgoing *o, const struct statement *statement)
{
    struct cached_statement *x = statement_cache_find(&s->prepared->cache, statement);

    return x != NULL ? close_on_server(s, o, x) : evict(s, o);
}

/* Has the server the statement, so that it need not be parsed there? */
static bool is_there(struct server *s, const struct statement *statement)
{
    struct cached_statement *x = statement_cache_find(&s->prepared->cache, statement);

    if (x == NULL || statement_cache_is_stale(&s->prepared->cache, x))
        return false;
    statement_cache_use(&s->prepared->cache, x);
    return true;
}

/* The server has it when what follows arrives there. The input up to `at` goes first. */
static enum prepared_step provide(struct server *s, struct outgoing *o, uint32_t at,
                                  struct statement *statement)
{
    if (likely(is_there(s, statement))) {
        atomic_fetch_add_explicit(&statement->hits, 1, memory_order_relaxed);
        return PREPARED_TAKEN;
    }
    outgoing_range(o, at);
    enum prepared_step step = make_place(s, o, statement);
    if (step != PREPARED_TAKEN)
        return step;
    enum tracker_verdict v = tracker_inject(&s->tracker, 'P');
    if (v != TRACKER_FORWARD)
        return step_of(v);
    if (!note(s, NOTE_OWN_PARSE, statement, NULL) || !cache_add(s, statement))
        return PREPARED_NO_MEMORY;
    outgoing_put_scratch(o, statement_put_parse_head(statement, outgoing_scratch(o)));
    outgoing_put(o, statement->body, statement->body_bytes);
    return PREPARED_TAKEN;
}

/* ---- the client's messages ---- */

/* Outside of a transaction, and the first of its batch: nothing has been done for it yet. */
static bool is_first_of_all(const struct server *s)
{
    const struct tracker *t = &s->tracker;
    return t->tx_status == 'I' && !tracker_is_busy(t) && !t->is_open;
}

static void record(struct server *s, uint32_t at)
{
    struct prepared *p = s->prepared;

    buf_clear(&p->replay);
    p->is_recording = true;
    p->record_from = at;
    s->prepared_is_watching = true;
}

static bool has_prefix(const struct statement_message *m)
{
    return m->name_bytes >= sizeof(STATEMENT_PREFIX) - 1 &&
           memcmp(m->name, STATEMENT_PREFIX, sizeof(STATEMENT_PREFIX) - 1) == 0;
}

/* A name that the client does not have is PostgreSQL's to refuse; but it must not meet a name of ours. */
static enum prepared_step take_unknown(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                       const struct statement_message *m, uint32_t *used)
{
    if (!has_prefix(m))
        return PREPARED_PLAIN;
    enum prepared_step step = step_of(tracker_client(&s->tracker, m->type));
    if (step != PREPARED_TAKEN)
        return step;
    outgoing_head(o, at, m, STATEMENT_NOBODY, sizeof(STATEMENT_NOBODY) - 1);
    *used = m->head_bytes;
    c->remain_bytes = 1 + m->len - m->head_bytes;
    return PREPARED_TAKEN;
}

/* The client's settings have changed since it prepared: what it means now is another statement. */
static enum prepared_step follow_settings(struct client *c, struct statement_name *name)
{
    struct istr *settings = statement_names_settings(c->names, c->params);
    struct statement *before = name->statement;

    if (settings == NULL)
        return PREPARED_NO_MEMORY;
    if (likely(before->settings == settings))
        return PREPARED_TAKEN;
    struct statement *now = statement_get(before->body, before->body_bytes, settings);
    if (now == NULL)
        return PREPARED_NO_MEMORY;
    statement_names_change(c->names, name, now);
    return PREPARED_TAKEN;
}

/* Bind, or Describe of a statement. */
static enum prepared_step take_use(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                   const struct statement_message *m, uint32_t *used)
{
    /* half of the answer to a Describe would come before the error; a statement parsed just now is not stale
     */
    bool is_recorded = m->type == 'B' && is_first_of_all(s);
    struct statement_name *name =
        c->names != NULL ? statement_names_find(c->names, m->name, m->name_bytes) : NULL;
    struct stats_shard *st = client_stats(c);

    if (name == NULL)
        return take_unknown(c, s, o, at, m, used);
    enum prepared_step step = follow_settings(c, name);
    if (step == PREPARED_TAKEN) {
        step = provide(s, o, at, name->statement);
        is_recorded = is_recorded && !tracker_is_busy(&s->tracker);
    }
    if (step == PREPARED_TAKEN)
        step = step_of(tracker_client(&s->tracker, m->type));
    if (step != PREPARED_TAKEN)
        return step;
    outgoing_head(o, at, m, name->statement->name, name->statement->name_bytes);
    if (is_recorded)
        record(s, at);
    if (m->type == 'B' && st != NULL)
        counter_add(&st->counters.bind_count, 1);
    *used = m->head_bytes;
    c->remain_bytes = 1 + m->len - m->head_bytes;
    return PREPARED_TAKEN;
}

static enum prepared_step take_close(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                     const struct statement_message *m, uint32_t *used)
{
    struct statement_name *name =
        c->names != NULL ? statement_names_find(c->names, m->name, m->name_bytes) : NULL;

    if (name == NULL)
        return take_unknown(c, s, o, at, m, used);
    enum prepared_step step = step_of(tracker_keep(&s->tracker, 'C'));
    if (step != PREPARED_TAKEN)
        return step;
    if (!note(s, NOTE_KEPT_CLOSE, name->statement, name))
        return PREPARED_NO_MEMORY;
    statement_names_take(c->names, name);
    outgoing_range(o, at);
    o->start = at + m->head_bytes;
    *used = m->head_bytes;
    return PREPARED_TAKEN;
}

/* A name that is in use: refused by the server, under the name that it has there. */
static enum prepared_step take_second_parse(struct server *s, struct outgoing *o, uint32_t at,
                                            const struct statement_message *m, struct statement_name *name)
{
    struct statement *statement = name->statement;
    enum prepared_step step = provide(s, o, at, statement);

    if (step == PREPARED_TAKEN)
        step = step_of(tracker_named_parse(&s->tracker));
    if (step != PREPARED_TAKEN)
        return step;
    /* the name may be closed before the answer comes: a copy */
    struct statement_name *copy = statement_name_new(name->name, name->name_bytes, statement_ref(statement));
    if (copy == NULL || !note(s, NOTE_SECOND_PARSE, statement, copy)) {
        if (copy != NULL)
            statement_name_free(copy);
        return PREPARED_NO_MEMORY;
    }
    outgoing_head(o, at, m, statement->name, statement->name_bytes);
    return step;
}

/* A Parse of a statement that this server is known to have. */
static enum prepared_step keep_parse(struct server *s, struct outgoing *o, uint32_t at, uint32_t whole_bytes,
                                     struct statement_name *name)
{
    enum prepared_step step = step_of(tracker_keep(&s->tracker, 'P'));

    if (step != PREPARED_TAKEN)
        return step;
    if (!note(s, NOTE_KEPT_PARSE, name->statement, name))
        return PREPARED_NO_MEMORY;
    name->is_pending = true;
    outgoing_range(o, at);
    o->start = at + whole_bytes;
    return PREPARED_TAKEN;
}

static enum prepared_step send_parse(struct server *s, struct outgoing *o, uint32_t at,
                                     const struct statement_message *m, struct statement_name *name)
{
    struct statement *statement = name->statement;

    outgoing_range(o, at);
    enum prepared_step step = make_place(s, o, statement);
    if (step == PREPARED_TAKEN)
        step = step_of(tracker_named_parse(&s->tracker));
    if (step != PREPARED_TAKEN)
        return step;
    if (!note(s, NOTE_PARSE, statement, name) || !cache_add(s, statement))
        return PREPARED_NO_MEMORY;
    name->is_pending = true;
    outgoing_head(o, at, m, statement->name, statement->name_bytes);
    return PREPARED_TAKEN;
}

/* Remembers a new statement of the client's. */
static enum prepared_step add_name(struct client *c, const struct statement_message *m, const uint8_t *body,
                                   uint32_t body_bytes, struct statement_name **name)
{
    struct istr *settings = statement_names_settings(c->names, c->params);
    struct statement *statement = settings != NULL ? statement_get(body, body_bytes, settings) : NULL;

    if (statement == NULL)
        return PREPARED_NO_MEMORY;
    *name = statement_names_add(c->names, m->name, m->name_bytes, statement);
    return *name != NULL ? PREPARED_TAKEN : PREPARED_TOO_LARGE;
}

static enum prepared_step take_parse(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                     uint32_t len_bytes, const struct statement_message *m, uint32_t *used)
{
    const uint32_t whole_bytes = 1 + m->len;
    const uint8_t *body = o->data + at + m->head_bytes;
    const uint32_t body_bytes = whole_bytes - m->head_bytes;
    struct stats_shard *st = client_stats(c);
    struct statement_name *name;

    if (body_bytes > STATEMENT_MAX_BODY_BYTES)
        return PREPARED_TOO_LARGE;
    if (len_bytes - at < whole_bytes) {
        c->wanted_bytes = whole_bytes;
        return PREPARED_MORE;
    }
    if (!statement_body_is_sound(body, body_bytes))
        return PREPARED_PLAIN;
    if (c->names == NULL && (c->names = statement_names_new()) == NULL)
        return PREPARED_NO_MEMORY;
    if (st != NULL)
        counter_add(&st->counters.client_parse_count, 1);
    name = statement_names_find(c->names, m->name, m->name_bytes);
    *used = whole_bytes;
    if (name != NULL) {
        *used = m->head_bytes;
        c->remain_bytes = body_bytes;
        return take_second_parse(s, o, at, m, name);
    }
    enum prepared_step step = add_name(c, m, body, body_bytes, &name);
    if (step != PREPARED_TAKEN)
        return step;
    /* in a failed transaction, and behind what may end it or DEALLOCATE ALL, PostgreSQL is asked */
    if (s->tracker.tx_status != 'E' && tracker_runs_nothing(&s->tracker) && is_there(s, name->statement)) {
        atomic_fetch_add_explicit(&name->statement->hits, 1, memory_order_relaxed);
        return keep_parse(s, o, at, whole_bytes, name);
    }
    return send_parse(s, o, at, m, name);
}

enum prepared_step prepared_message(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                    uint32_t len_bytes, uint32_t *used)
{
    const struct tracker *t = &s->tracker;
    struct statement_message m;

    /* what the server skips, or must not get now, needs no looking into */
    if (t->is_skipping || ((t->copy == TRACKER_COPY_IN || t->copy == TRACKER_COPY_BOTH) && !t->copy_ended))
        return PREPARED_PLAIN;
    switch (statement_look(o->data + at, len_bytes - at, &m)) {
    case STATEMENT_NONE: return PREPARED_PLAIN;
    case STATEMENT_MORE: return PREPARED_MORE;
    case STATEMENT_TOO_LONG: return PREPARED_TOO_LARGE;
    case STATEMENT_NAMED: break;
    }
    if ((m.type == 'D' || m.type == 'C') && m.head_bytes != 1 + m.len)
        return PREPARED_PLAIN; /* malformed */
    if (prepared_must_wait(s))
        return PREPARED_HOLD;
    if (tracker_in_flight(t) > TRACKER_MAX_REQUESTS - MESSAGES_OF_ONE)
        return PREPARED_FULL;
    if (!prepared_ensure(s))
        return PREPARED_NO_MEMORY;
    if (!outgoing_reserve(s, o, at))
        return PREPARED_LOST;
    switch (m.type) {
    case 'P': return take_parse(c, s, o, at, len_bytes, &m, used);
    case 'C': return take_close(c, s, o, at, &m, used);
    default: return take_use(c, s, o, at, &m, used);
    }
}

void prepared_forwarded(struct server *s, const uint8_t *data, uint32_t end)
{
    struct prepared *p = s->prepared;

    if (p->is_recording && end > p->record_from) {
        buf_append(&p->replay, data + p->record_from, end - p->record_from);
        if (p->replay.failed) {
            p->is_recording = false;
            buf_free(&p->replay);
            buf_init(&p->replay, MAX_REPLAY_BYTES);
        }
    }
    p->record_from = 0;
    prepared_watch(s);
    prepared_answer_alone(s);
}
