/*
 * prepared_sql.c - PREPARE, EXECUTE and DEALLOCATE in SQL: the messages that hold them.
 *
 * Names given by SQL and by the protocol are the same names, as in PostgreSQL, and stand for statements in
 * the same tables. But what SQL changes is changed only when PostgreSQL says that it has been done
 * (CommandComplete), so nothing has to be undone. Therefore a text with such a command is
 * looked at only when everything before it has been answered, and what is about statements waits
 * behind it until it is answered. A Query's answer comes by itself; in a batch without a Sync, a Flush of
 * ours asks for it.
 *
 * What a Query needs on the server is sent ahead of it and answered first: if it fails, its error is
 * the answer to the Query, which is not sent. In the extended protocol it goes ahead of the Parse (or, of a
 * named statement, the Bind), and an error skips what follows by itself.
 *
 * A statement of the protocol whose text is such a command is rewritten at its Parse, and if it has a name
 * anew at each use: what its client's names stand for may have changed, and it may be on another server.
 *
 * Threads: the owner's of client and server.
 */
#include <stdlib.h>
#include <string.h>

#include "pin_watch.h"
#include "sql_work.h"
#include "tracking.h"

#define MAX_LOOKED_AT_BYTES 65536u /* a longer text is judged by how it begins */
#define BEGINNING_BYTES     1024u

static struct sql_work *work_ensure(struct server *s)
{
    if (!prepared_ensure(s))
        return NULL;
    if (s->prepared->sql == NULL && (s->prepared->sql = calloc(1, sizeof(*s->prepared->sql))) != NULL)
        list_init(&s->prepared->sql->portals);
    return s->prepared->sql;
}

void prepared_sql_free(struct server *s)
{
    struct sql_work *w = sql_work_of(s);

    if (w == NULL)
        return;
    sql_portals_end(s, w);
    sql_effects_free(&w->effects);
    free(w);
    s->prepared->sql = NULL;
}

/* ---- waiting ---- */

static bool is_at_rest(const struct server *s)
{
    return tracker_in_flight(&s->tracker) == 0;
}

static bool is_copying_in(const struct server *s)
{
    const struct tracker *t = &s->tracker;
    return (t->copy == TRACKER_COPY_IN || t->copy == TRACKER_COPY_BOTH) && !t->copy_ended;
}

bool prepared_sql_must_wait(const struct server *s)
{
    const struct sql_work *w = sql_work_of(s);

    return w != NULL && !is_at_rest(s) && !is_copying_in(s) &&
           (w->wants_rest || w->round == ROUND_SENT ||
            (w->n_changes > 0 && s->client != NULL && s->client->id == w->client &&
             !tracker_runs_nothing(&s->tracker)));
}

bool prepared_sql_is_resumed(const struct server *s)
{
    const struct sql_work *w = sql_work_of(s);
    return w != NULL && (w->round == ROUND_SENT || w->round == ROUND_FAILED) && is_at_rest(s);
}

void prepared_sql_goes_on(struct server *s)
{
    struct sql_work *w = sql_work_of(s);

    if (w != NULL)
        w->wants_rest = w->is_flushed = false;
}

bool prepared_is_ignored(struct server *s)
{
    if (!s->tracker.is_skipping && !is_copying_in(s))
        return false;
    prepared_sql_goes_on(s);
    return true;
}

enum prepared_step prepared_sql_wait(struct server *s, struct outgoing *o, uint32_t at)
{
    struct sql_work *w = work_ensure(s);

    /* what we answer ourselves has no other occasion: the server has nothing to say */
    prepared_answer_alone(s);
    if (s->client == NULL)
        return PREPARED_LOST;
    if (is_at_rest(s))
        return PREPARED_TAKEN;

    if (w == NULL)
        return PREPARED_NO_MEMORY;
    w->wants_rest = true;
    if (w->is_flushed || !s->tracker.is_open)
        return PREPARED_HOLD;
    w->is_flushed = true;
    return outgoing_flush(s, o, at) ? PREPARED_HOLD : PREPARED_LOST;
}

void prepared_sql_unlink(struct server *s)
{
    struct sql_work *w = sql_work_of(s);

    if (w == NULL)
        return;
    w->round = ROUND_NONE;
    prepared_sql_goes_on(s);
    sql_portals_end(s, w);
}

/* ---- looking ---- */

/* A text of which here_bytes have arrived: is there anything to do about it? */
static enum prepared_step look(struct client *c, const char *text, uint32_t here_bytes, uint32_t text_bytes,
                               uint32_t message_bytes, uint32_t message_here)
{
    bool is_whole = message_here >= message_bytes;

    if (is_whole && message_bytes <= MAX_LOOKED_AT_BYTES)
        return sql_may_have_command(text, text_bytes) ? PREPARED_TAKEN : PREPARED_PLAIN;
    if (message_bytes > MAX_LOOKED_AT_BYTES) {
        if (!is_whole && here_bytes < BEGINNING_BYTES) {
            c->wanted_bytes = message_here + BEGINNING_BYTES - here_bytes;
            return PREPARED_MORE;
        }
        if (!sql_may_begin_with_command(text, here_bytes < BEGINNING_BYTES ? here_bytes : BEGINNING_BYTES))
            return PREPARED_PLAIN;
        if (message_bytes > SQL_MAX_WHOLE_BYTES)
            return PREPARED_TOO_LARGE;
    }
    if (is_whole)
        return PREPARED_TAKEN;
    c->wanted_bytes = message_bytes;
    return PREPARED_MORE;
}

/* Everything that a text may need before it is rewritten. */
static enum prepared_step prepare_to_plan(struct client *c, struct server *s, struct outgoing *o, uint32_t at)
{
    enum prepared_step step = is_at_rest(s) ? PREPARED_TAKEN : prepared_sql_wait(s, o, at);
    if (step != PREPARED_TAKEN)
        return step;
    struct sql_work *w = work_ensure(s);
    if (w == NULL || (c->names == NULL && (c->names = statement_names_new()) == NULL))
        return PREPARED_NO_MEMORY;
    prepared_sql_goes_on(s);
    return PREPARED_TAKEN;
}

/* ---- what it needs ---- */

static bool is_missing(struct server *s, const struct sql_need *n)
{
    if (n->is_wanted)
        return !prepared_is_there(s, n->statement);
    return n->must_go && statement_cache_find(&s->prepared->cache, n->statement) != NULL;
}

static bool is_needed(const struct sql_plan *plan, const struct statement *statement)
{
    for (uint32_t i = 0; i < plan->n_needs; i++)
        if (plan->needs[i].is_wanted && plan->needs[i].statement == statement)
            return true;
    return false;
}

/* Statements that the text makes. */
static uint32_t count_new(const struct sql_plan *plan)
{
    struct server *s = plan->server;
    uint32_t n_new = 0;

    for (uint32_t i = 0; i < plan->effects.n; i++) {
        const struct sql_effect *e = &plan->effects.items[i];
        n_new += e->kind == SQL_PREPARE && !e->must_fail &&
                 statement_cache_find(&s->prepared->cache, e->statement) == NULL;
    }
    return n_new;
}

/* They have a place too: what makes way for them, or NULL. */
static struct cached_statement *find_victim(const struct sql_plan *plan, uint32_t n_new)
{
    struct server *s = plan->server;
    const uint32_t max = prepared_max_on_server(s);

    if (n_new == 0)
        return NULL;
    struct cached_statement *x =
        statement_cache_victim(&s->prepared->cache, n_new < max ? max - n_new + 1 : 1);
    return x != NULL && !is_needed(plan, x->statement) ? x : NULL;
}

/* Puts it there. *n: messages that were sent for it. */
static enum prepared_step provide_one(struct sql_plan *plan, struct outgoing *o, uint32_t at,
                                      const struct sql_need *need)
{
    struct server *s = plan->server;

    if (!outgoing_reserve(s, o, at))
        return PREPARED_LOST;
    if (need->is_wanted)
        return prepared_provide(s, o, at, need->statement);
    if (!is_missing(s, need))
        return PREPARED_TAKEN;
    outgoing_range(o, at);
    return prepared_close_on_server(s, o, statement_cache_find(&s->prepared->cache, need->statement));
}

/* What is wanted and settled there is not to give way to the rest. */
static void pin(struct sql_plan *plan, bool is_pinned)
{
    for (uint32_t i = 0; i < plan->n_needs; i++) {
        struct sql_need *n = &plan->needs[i];
        struct cached_statement *x = statement_cache_find(&plan->server->prepared->cache, n->statement);
        if (x == NULL || !n->is_wanted || (is_pinned && x->is_pending) || (!is_pinned && !n->is_pinned))
            continue;
        x->is_pending = n->is_pinned = is_pinned;
    }
}

/* As many at a time as one text may add, so that texts do not add up. */
static enum prepared_step make_room(struct sql_plan *plan, struct outgoing *o, uint32_t at)
{
    struct server *s = plan->server;
    const uint32_t n_new = count_new(plan);
    enum prepared_step step = PREPARED_TAKEN;

    for (uint32_t i = 0; i < SQL_MAX_COMMANDS && step == PREPARED_TAKEN; i++) {
        struct cached_statement *victim = find_victim(plan, n_new);
        if (victim == NULL)
            break;
        if (!outgoing_reserve(s, o, at))
            return PREPARED_LOST;
        outgoing_range(o, at);
        step = prepared_close_on_server(s, o, victim);
    }
    return step;
}

static enum prepared_step provide_all(struct sql_plan *plan, struct outgoing *o, uint32_t at)
{
    enum prepared_step step = PREPARED_TAKEN;

    pin(plan, true);
    for (uint32_t i = 0; i < plan->n_needs && step == PREPARED_TAKEN; i++)
        step = provide_one(plan, o, at, &plan->needs[i]);
    if (step == PREPARED_TAKEN)
        step = make_room(plan, o, at);
    if (step != PREPARED_LOST)
        pin(plan, false);
    return step;
}

static bool needs_nothing(const struct sql_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_needs; i++)
        if (is_missing(plan->server, &plan->needs[i]))
            return false;
    return find_victim(plan, count_new(plan)) == NULL;
}

/* Ahead of a Query: sent, and ended with a Sync unless the client has a batch open. */
static enum prepared_step begin_round(struct sql_plan *plan, struct outgoing *o, uint32_t at)
{
    static const uint8_t sync[WIRE_HEADER_BYTES] = {'S', 0, 0, 0, 4},
                         flush[WIRE_HEADER_BYTES] = {'H', 0, 0, 0, 4};
    struct server *s = plan->server;
    const bool was_open = s->tracker.is_open;
    enum prepared_step step = provide_all(plan, o, at);

    if (step != PREPARED_TAKEN)
        return step;
    if (!was_open)
        step = prepared_step_of(tracker_inject(&s->tracker, 'S'));
    if (step != PREPARED_TAKEN)
        return step;
    if (!outgoing_reserve(s, o, at))
        return PREPARED_LOST;
    outgoing_put(o, was_open ? flush : sync, WIRE_HEADER_BYTES);
    plan->client->names->has_sql = true; /* it goes on with that, whatever the settings become */
    sql_work_of(s)->round = ROUND_SENT;
    return PREPARED_HOLD;
}

/* ---- sending ---- */

bool prepared_sql_begin(struct sql_plan *plan, bool is_query)
{
    struct sql_work *w = sql_work_of(plan->server);

    for (uint32_t i = 0; i < plan->effects.n; i++) {
        const struct sql_effect *e = &plan->effects.items[i];
        if (e->kind == SQL_EXECUTE && e->statement != NULL && !sql_plan_executes(plan, e->statement))
            return false;
    }
    sql_effects_free(&w->effects);
    w->effects = plan->effects;
    plan->effects = (struct sql_effects){0};
    w->effects.serial = ++w->n_begun;
    w->effects.is_suspect = plan->server->setting == SETTING_NOW;
    w->is_used = false;
    w->next = 0;
    w->n_completed = w->n_changes = 0;
    for (uint32_t i = 0; i < w->effects.n; i++)
        w->n_changes += w->effects.items[i].kind != SQL_EXECUTE;
    w->client = plan->client->id;
    w->is_query = is_query;
    w->is_fresh = !is_query;
    plan->server->awaits_tags = w->n_changes > 0 || is_query;
    prepared_watch(plan->server);
    return true;
}

/* The rewritten message in place of the client's, which is whole_bytes long. */
static enum prepared_step send_rewritten(struct sql_plan *plan, struct outgoing *o, uint32_t at,
                                         uint32_t whole_bytes, uint32_t *used)
{
    struct server *s = plan->server;
    enum prepared_step step = prepared_step_of(tracker_client(&s->tracker, plan->out.data[0]));

    if (step != PREPARED_TAKEN)
        return step;
    if (!outgoing_send(s, o, at))
        return PREPARED_LOST;
    o->start = at + whole_bytes;
    *used = whole_bytes;
    if (!stream_send(&s->stream, plan->out.data, plan->out.len)) {
        server_close(s, CLOSE_SERVER_CRASHED, NULL);
        return PREPARED_LOST;
    }
    return PREPARED_TAKEN;
}

/* Nothing goes to the server: the client's message, a Query, is dealt with. */
static enum prepared_step answer_query(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                       const char *tag, uint32_t *used)
{
    const uint32_t whole_bytes = 1 + wire_u32(o->data + at + 1);
    struct buf b;

    outgoing_range(o, at);
    o->start = at + whole_bytes;
    *used = whole_bytes;
    buf_init(&b, 256);
    if (tag != NULL)
        wire_put_command_complete(&b, tag);
    wire_put_ready(&b, s->tracker.tx_status);
    bool is_sent = !b.failed && stream_send(&c->stream, b.data, b.len);
    buf_free(&b);
    s->was_ready = true;
    server_query_answered(s);
    if (is_sent)
        return PREPARED_TAKEN;
    client_close(c, CLOSE_CLIENT_EOF, NULL);
    return PREPARED_LOST;
}

/* What the Query needs has failed, and the client has been told. */
static enum prepared_step answer_failed(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                        uint32_t *used)
{
    static const uint8_t sync[WIRE_HEADER_BYTES] = {'S', 0, 0, 0, 4};
    const uint32_t whole_bytes = 1 + wire_u32(o->data + at + 1);

    sql_work_of(s)->round = ROUND_NONE;
    if (!s->tracker.is_skipping)
        return answer_query(c, s, o, at, NULL, used);
    /* the batch that it would have ended is still open */
    enum prepared_step step = prepared_step_of(tracker_client(&s->tracker, 'S'));
    if (step != PREPARED_TAKEN)
        return step;
    if (!outgoing_reserve(s, o, at))
        return PREPARED_LOST;
    outgoing_range(o, at);
    outgoing_put(o, sync, sizeof(sync));
    o->start = at + whole_bytes;
    *used = whole_bytes;
    return PREPARED_TAKEN;
}

/* ---- a Query ---- */

/* A single command that the server need not be asked for. False: it must. */
static bool do_alone(struct sql_plan *plan)
{
    struct client *c = plan->client;
    struct server *s = plan->server;
    const struct sql_effect *e = &plan->effects.items[0];

    if (plan->n_statements != 1 || plan->effects.n != 1 || s->tracker.tx_status == 'E' ||
        s->tracker.is_open || s->setting == SETTING_NOW || e->statement == NULL || e->must_fail)
        return false;
    if (s->remain_bytes > 0) /* a notice is being passed on: not into the middle of it */
        return false;
    if (e->kind == SQL_DEALLOCATE) {
        struct statement_name *name = statement_names_find(c->names, e->name, e->name_bytes);
        statement_names_take(c->names, name);
        statement_name_free(name);
        return true;
    }
    if (e->kind != SQL_PREPARE || !prepared_is_there(s, e->statement) ||
        statement_names_add(c->names, e->name, e->name_bytes, statement_ref(e->statement)) == NULL)
        return false;
    c->names->has_sql = true;
    atomic_fetch_add_explicit(&e->statement->hits, 1, memory_order_relaxed);
    return true;
}

/* The text has been understood. */
static enum prepared_step take_plan(struct sql_plan *plan, struct outgoing *o, uint32_t at, uint32_t *used)
{
    struct server *s = plan->server;
    struct sql_work *w = sql_work_of(s);
    const uint32_t whole_bytes = 1 + wire_u32(o->data + at + 1);

    if (plan->effects.n == 0)
        return PREPARED_PLAIN;
    const char *tag = plan->effects.items[0].kind == SQL_PREPARE ? "PREPARE" : "DEALLOCATE";
    if (do_alone(plan))
        return answer_query(plan->client, s, o, at, tag, used);
    if (s->tracker.tx_status != 'E' && w->round == ROUND_NONE && !needs_nothing(plan))
        return begin_round(plan, o, at);
    w->round = ROUND_NONE;
    if (plan->effects.n_edits == 0)
        return prepared_sql_begin(plan, true) ? PREPARED_PLAIN : PREPARED_NO_MEMORY;
    wire_put_u8(&plan->out, 0);
    wire_end(&plan->out, 0);
    if (plan->out.failed || !prepared_sql_begin(plan, true))
        return PREPARED_NO_MEMORY;
    return send_rewritten(plan, o, at, whole_bytes, used);
}

/* More commands than are kept in mind: nothing of the Query goes to the server. */
static enum prepared_step refuse_many(struct client *c, struct server *s, struct outgoing *o, uint32_t at)
{
    if (outgoing_send(s, o, at))
        client_close_error(c, CLOSE_PACKET_TOO_LARGE, "54000",
                           "too many commands about prepared statements in one query",
                           "Send fewer of them at a time.");
    return PREPARED_LOST;
}

enum prepared_step prepared_query(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                  uint32_t len_bytes, uint32_t *used)
{
    const uint32_t whole_bytes = 1 + wire_u32(o->data + at + 1), here = len_bytes - at;
    const char *text = (const char *)o->data + at + WIRE_HEADER_BYTES;
    const struct sql_work *w = sql_work_of(s);
    struct sql_plan plan = {0};

    if (w != NULL && w->round == ROUND_FAILED && is_at_rest(s))
        return here >= whole_bytes ? answer_failed(c, s, o, at, used) : PREPARED_MORE;
    if (prepared_is_ignored(s) || whole_bytes <= WIRE_HEADER_BYTES)
        return PREPARED_PLAIN;
    const uint32_t text_bytes = whole_bytes - WIRE_HEADER_BYTES - 1;
    enum prepared_step step = look(c, text, here - WIRE_HEADER_BYTES, text_bytes, whole_bytes, here);
    if (likely(step != PREPARED_TAKEN))
        return step;
    if (strnlen(text, text_bytes + 1) != text_bytes)
        return PREPARED_PLAIN; /* malformed */
    step = prepare_to_plan(c, s, o, at);
    if (step != PREPARED_TAKEN)
        return step;
    buf_init(&plan.out, SQL_MAX_WHOLE_BYTES * 2);
    (void)wire_begin(&plan.out, 'Q');
    step = sql_plan_make(&plan, c, s, text, text_bytes);
    if (step == PREPARED_TAKEN)
        step = take_plan(&plan, o, at, used);
    else if (step == PREPARED_TOO_LARGE && plan.has_too_many)
        step = refuse_many(c, s, o, at);
    sql_plan_free(&plan);
    return step;
}

/* ---- the extended protocol ---- */

/* The text of a statement, and whatever ends its message, behind what is in out already. */
static enum prepared_step plan_body(struct sql_plan *plan, struct client *c, struct server *s,
                                    const uint8_t *body, uint32_t body_bytes)
{
    const uint32_t text_bytes = (uint32_t)strlen((const char *)body);
    enum prepared_step step = sql_plan_make(plan, c, s, (const char *)body, text_bytes);

    if (plan->n_statements > 1 || (step == PREPARED_TAKEN && plan->effects.n != 1))
        return PREPARED_PLAIN; /* PostgreSQL refuses several */
    buf_append(&plan->out, body + text_bytes, body_bytes - text_bytes);
    return step == PREPARED_TAKEN && plan->out.failed ? PREPARED_NO_MEMORY : step;
}

enum prepared_step prepared_sql_provide(struct sql_plan *plan, struct outgoing *o, uint32_t at)
{
    return plan->server->tracker.tx_status == 'E' ? PREPARED_TAKEN : provide_all(plan, o, at);
}

static enum prepared_step take_unnamed(struct sql_plan *plan, struct outgoing *o, uint32_t at, uint32_t *used)
{
    const uint32_t whole_bytes = 1 + wire_u32(o->data + at + 1);
    enum prepared_step step = prepared_sql_provide(plan, o, at);

    if (step != PREPARED_TAKEN)
        return step;
    bool is_changed = plan->effects.n_edits > 0;
    if (!prepared_sql_begin(plan, false) || !sql_portals_note_unnamed(plan->server))
        return PREPARED_NO_MEMORY;
    if (!is_changed)
        return PREPARED_PLAIN;
    wire_end(&plan->out, 0);
    return send_rewritten(plan, o, at, whole_bytes, used);
}

enum prepared_step prepared_unnamed_parse(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                          uint32_t len_bytes, uint32_t *used)
{
    const uint32_t whole_bytes = 1 + wire_u32(o->data + at + 1), here = len_bytes - at;
    const uint32_t head_bytes = WIRE_HEADER_BYTES + 1;
    const uint8_t *body = o->data + at + head_bytes;
    struct sql_plan plan = {0};

    if (prepared_is_ignored(s) || whole_bytes <= head_bytes || here < head_bytes)
        return PREPARED_PLAIN;
    const uint32_t body_here = (here < whole_bytes ? here : whole_bytes) - head_bytes;
    enum prepared_step step = look(c, (const char *)body, body_here,
                                   (uint32_t)strnlen((const char *)body, body_here), whole_bytes, here);
    if (likely(step != PREPARED_TAKEN))
        return step;
    if (!statement_body_is_sound(body, body_here))
        return PREPARED_PLAIN;
    step = prepare_to_plan(c, s, o, at);
    if (step != PREPARED_TAKEN)
        return step;
    buf_init(&plan.out, SQL_MAX_WHOLE_BYTES * 2);
    (void)wire_begin(&plan.out, 'P');
    wire_put_u8(&plan.out, 0);
    step = plan_body(&plan, c, s, body, body_here);
    if (step == PREPARED_TAKEN)
        step = take_unnamed(&plan, o, at, used);
    sql_plan_free(&plan);
    return step;
}

bool prepared_is_command(const uint8_t *body, uint32_t body_bytes)
{
    const uint32_t text_bytes = (uint32_t)strnlen((const char *)body, body_bytes);
    return text_bytes <= MAX_LOOKED_AT_BYTES
               ? sql_may_have_command((const char *)body, text_bytes)
               : sql_may_begin_with_command((const char *)body, BEGINNING_BYTES);
}

/* What the rewritten text is as a statement, with the settings of now; a reference. NULL: no memory. */
static struct statement *get_rewritten(const struct sql_plan *plan)
{
    struct client *c = plan->client;
    struct istr *settings = prepared_settings(c);
    return settings != NULL ? statement_get(plan->out.data, plan->out.len, settings) : NULL;
}

enum prepared_step prepared_command(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                    const uint8_t *body, uint32_t body_bytes, enum prepared_use use,
                                    struct statement **now)
{
    struct sql_plan plan = {0};
    enum prepared_step step = prepare_to_plan(c, s, o, at);

    *now = NULL;
    if (step != PREPARED_TAKEN)
        return step;
    buf_init(&plan.out, SQL_MAX_WHOLE_BYTES * 2);
    step = plan_body(&plan, c, s, body, body_bytes);
    if (step == PREPARED_TAKEN && (*now = get_rewritten(&plan)) == NULL)
        step = PREPARED_NO_MEMORY;
    if (step == PREPARED_TAKEN && use != USE_PARSED)
        step = sql_plan_want(&plan, *now);
    if (step == PREPARED_TAKEN && use != USE_PARSED)
        step = prepared_sql_provide(&plan, o, at);
    if (step == PREPARED_TAKEN && use == USE_BOUND && !prepared_sql_begin(&plan, false))
        step = PREPARED_NO_MEMORY;
    sql_plan_free(&plan);
    if (step != PREPARED_TAKEN) {
        statement_unref(*now);
        *now = NULL;
    }
    return step;
}
