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

#include "ahead.h"
#include "listen_int.h"
#include "pin_watch.h"
#include "tracking.h"

/* ---- what there is ---- */

bool prepared_ensure(struct server *s)
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
    prepared_sql_free(s);
    statement_cache_destroy(&p->cache);
    buf_free(&p->replay);
    free(p);
    s->prepared = NULL;
}

void prepared_client_free(struct client *c)
{
    statement_names_free(c->names);
    c->names = NULL;
    free(c->unnamed);
    c->unnamed = NULL;
    free(c->unnamed_text);
    c->unnamed_text = NULL;
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
    const bool did_map = c->maps_statements;
    /* who has statements already keeps what they stand for */
    c->maps_statements = c->names != NULL || c->unnamed != NULL ||
                         (c->pool_mode != POOL_MODE_SESSION && set->max_prepared_statements > 0);
    /* what has been sent on unseen is its own; what will be, nobody knows */
    if (c->maps_statements != did_map && c->state == CLIENT_ACTIVE && c->server != NULL) {
        unnamed_ends(c, c->server);
        if (c->maps_statements)
            unnamed_is_sent(c, c->server, c->server->tracker.tail - 1);
    }
    c->maps_sql = c->maps_statements && (set->sql_prepare || (c->names != NULL && c->names->has_sql));
}

uint32_t prepared_max_on_server(const struct server *s)
{
    int max = shard_settings(s->shard)->max_prepared_statements;
    return max > 0 ? (uint32_t)max : 1;
}

void prepared_watch(struct server *s)
{
    const struct prepared *p = s->prepared;
    s->prepared_is_watching =
        p != NULL && (!list_is_empty(&p->notes) || p->is_recording || prepared_sql_is_watching(p->sql));
}

bool prepared_must_wait(const struct server *s)
{
    return s->prepared != NULL &&
           ((!list_is_empty(&s->prepared->notes) && s->tracker.ready_due > ahead_ready_due(s)) ||
            prepared_sql_must_wait(s));
}

/* ---- the client's messages ---- */

/* Outside of a transaction, and the first of its batch: nothing has been done for it yet. */
static bool is_first_of_all(const struct server *s)
{
    const struct tracker *t = &s->tracker;
    return t->tx_status == 'I' && tracker_in_flight(t) == ahead_ready_due(s) && !t->is_open;
}

/* Has the server got nothing of the client's whose effect is not known? */
static bool runs_nothing(const struct server *s)
{
    return s->tracker.ready_due == ahead_ready_due(s) && s->tracker.n_executes == 0;
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
    enum prepared_step step = prepared_step_of(tracker_client(&s->tracker, m->type));
    if (step != PREPARED_TAKEN)
        return step;
    outgoing_head(o, at, m, STATEMENT_NOBODY, sizeof(STATEMENT_NOBODY) - 1);
    *used = m->head_bytes;
    c->remain_bytes = 1 + m->len - m->head_bytes;
    return PREPARED_TAKEN;
}

struct istr *prepared_settings(struct client *c)
{
    struct params *now = tracking_params(c);
    return now != NULL ? statement_names_settings(c->names, now) : NULL;
}

/* The client's settings have changed since it prepared: what it means now is another statement. */
enum prepared_step prepared_follow_settings(struct client *c, struct statement_name *name)
{
    struct istr *settings = prepared_settings(c);
    struct statement *before = name->statement;

    if (settings == NULL)
        return PREPARED_NO_MEMORY;
    if (likely(before->settings == settings))
        return PREPARED_TAKEN;
    struct statement *now = statement_get_again(before, settings);
    if (now == NULL)
        return PREPARED_NO_MEMORY;
    statement_names_change(c->names, name, now);
    return PREPARED_TAKEN;
}

/* Its text is a command about statements: what it is on this server now. */
static enum prepared_step follow_command(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                         struct statement_name *name, const struct statement_message *m)
{
    const struct statement *source = name->source;
    struct statement *now;
    enum prepared_step step = prepared_command(c, s, o, at, source->body, source->body_bytes,
                                               m->type == 'B' ? USE_BOUND : USE_DESCRIBED, &now);

    if (step == PREPARED_TAKEN)
        statement_names_change(c->names, name, now);
    if (step == PREPARED_TAKEN && m->type == 'B' && !prepared_sql_bound(s, m))
        return PREPARED_NO_MEMORY;
    return step == PREPARED_PLAIN ? prepared_follow_settings(c, name) : step;
}

/* Does what is bound do anything to the session? PLAIN: that is provided for. */
static inline enum prepared_step watch_bind(struct client *c, struct server *s, struct outgoing *o,
                                            uint32_t at, uint32_t len_bytes,
                                            const struct statement_message *m, struct statement *source,
                                            uint32_t *used)
{
    const bool is_close = (statement_sql_look(source) & SQL_LOOK_CLOSELY) != 0;

    if (likely(!is_close && !c->is_strict))
        return PREPARED_PLAIN;
    if (is_close && c->watches_settings && tracking_find_name(c, false, m->name, m->name_bytes) == NULL &&
        !tracking_execute(c, s, source))
        return PREPARED_NO_MEMORY;
    return c->watches_state ? pin_watch_bind(c, s, o, at, len_bytes, m->len, source, used) : PREPARED_PLAIN;
}

/* Bind, or Describe of a statement. */
static enum prepared_step take_use(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                   uint32_t len_bytes, const struct statement_message *m, uint32_t *used)
{
    /* half of the answer to a Describe would come before the error; a statement parsed just now is not stale
     */
    bool is_recorded = m->type == 'B' && is_first_of_all(s);
    struct statement_name *name =
        c->names != NULL ? statement_names_find(c->names, m->name, m->name_bytes) : NULL;
    struct stats_shard *st = client_stats(c);

    if (name == NULL)
        return take_unknown(c, s, o, at, m, used);
    if (m->type == 'B') {
        enum prepared_step watched = watch_bind(c, s, o, at, len_bytes, m, statement_name_source(name), used);
        if (unlikely(watched != PREPARED_PLAIN))
            return watched;
    }
    if (unlikely(m->type == 'B' && c->maps_listen &&
                 (name->statement->may_listen || c->listen_is_watching))) {
        const char *text = (const char *)name->statement->body;
        enum prepared_step first = listen_bind_text(c, s, m, text, (uint32_t)strlen(text));
        if (first != PREPARED_PLAIN)
            return first;
    }
    enum prepared_step step =
        name->source == NULL ? prepared_follow_settings(c, name) : follow_command(c, s, o, at, name, m);
    if (unlikely(s->has_sql_portals) && m->type == 'B' && name->source == NULL)
        prepared_sql_unbound(s, m);
    if (step == PREPARED_TAKEN) {
        step = prepared_provide(s, o, at, name->statement);
        is_recorded = is_recorded && is_first_of_all(s);
    }
    if (step == PREPARED_TAKEN)
        step = prepared_step_of(tracker_client(&s->tracker, m->type));
    if (step != PREPARED_TAKEN)
        return step;
    outgoing_head(o, at, m, name->statement->name, name->statement->name_bytes);
    if (is_recorded)
        record(s, at);
    if (m->type == 'B' && unlikely(s->setting != SETTING_NOTHING ||
                                   (statement_sql_look(statement_name_source(name)) & SQL_LOOK_CLOSELY) != 0))
        prepared_setting_bound(c, s, statement_name_source(name));
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
    enum prepared_step step = prepared_step_of(tracker_keep(&s->tracker, 'C'));
    if (step != PREPARED_TAKEN)
        return step;
    if (!prepared_note(s, NOTE_KEPT_CLOSE, name->statement, name))
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
    enum prepared_step step = prepared_provide(s, o, at, statement);

    if (step == PREPARED_TAKEN)
        step = prepared_step_of(tracker_named_parse(&s->tracker));
    if (step != PREPARED_TAKEN)
        return step;
    /* the name may be closed before the answer comes: a copy */
    struct statement_name *copy = statement_name_new(m->name, m->name_bytes, statement_ref(statement));
    if (copy == NULL || !prepared_note(s, NOTE_SECOND_PARSE, statement, copy)) {
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
    enum prepared_step step = prepared_step_of(tracker_keep(&s->tracker, 'P'));

    if (step != PREPARED_TAKEN)
        return step;
    if (!prepared_note(s, NOTE_KEPT_PARSE, name->statement, name))
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
    enum prepared_step step = prepared_make_place(s, o, statement);
    if (step == PREPARED_TAKEN)
        step = prepared_step_of(tracker_named_parse(&s->tracker));
    if (step != PREPARED_TAKEN)
        return step;
    if (!prepared_note(s, NOTE_PARSE, statement, name) || !prepared_cache_add(s, statement))
        return PREPARED_NO_MEMORY;
    name->is_pending = true;
    if (likely(name->source == NULL)) {
        outgoing_head(o, at, m, statement->name, statement->name_bytes);
        return PREPARED_TAKEN;
    }
    outgoing_put_scratch(o, statement_put_parse_head(statement, outgoing_scratch(o)));
    outgoing_put(o, statement->body, statement->body_bytes);
    o->start = at + 1 + m->len;
    return PREPARED_TAKEN;
}

/* Remembers a new statement of the client's. */
static enum prepared_step add_name(struct client *c, const struct statement_message *m, const uint8_t *body,
                                   uint32_t body_bytes, struct statement_name **name)
{
    struct istr *settings = prepared_settings(c);
    struct statement *statement = settings != NULL ? statement_get(body, body_bytes, settings) : NULL;

    if (statement == NULL)
        return PREPARED_NO_MEMORY;
    *name = statement_names_add(c->names, m->name, m->name_bytes, statement);
    return *name != NULL ? PREPARED_TAKEN : PREPARED_TOO_LARGE;
}

/* The same for a text that is a command about statements. PLAIN: it is none. */
static enum prepared_step add_command(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                      const struct statement_message *m, const uint8_t *body,
                                      uint32_t body_bytes, struct statement_name **name)
{
    struct statement *statement;
    enum prepared_step step = prepared_command(c, s, o, at, body, body_bytes, USE_PARSED, &statement);

    if (step != PREPARED_TAKEN)
        return step;
    struct statement *source = statement_get_kind(STATEMENT_SOURCE, 0, body, body_bytes, statement->settings);
    *name = source != NULL ? statement_names_add(c->names, m->name, m->name_bytes, statement) : NULL;
    if (*name == NULL) {
        if (source == NULL)
            statement_unref(statement);
        statement_unref(source);
        return source == NULL ? PREPARED_NO_MEMORY : PREPARED_TOO_LARGE;
    }
    statement_names_set_source(c->names, *name, source);
    return PREPARED_TAKEN;
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
    name = statement_names_find(c->names, m->name, m->name_bytes);
    if (unlikely(name != NULL) && !runs_nothing(s)) { /* which may take the one of that name away */
        enum prepared_step waited = prepared_sql_wait(s, o, at);
        if (waited != PREPARED_TAKEN)
            return waited;
        prepared_sql_goes_on(s);
        name = statement_names_find(c->names, m->name, m->name_bytes);
    }
    if (st != NULL)
        counter_add(&st->counters.client_parse_count, 1);
    *used = whole_bytes;
    if (name != NULL) {
        *used = m->head_bytes;
        c->remain_bytes = body_bytes;
        return take_second_parse(s, o, at, m, name);
    }
    enum prepared_step step = PREPARED_PLAIN;
    if (c->maps_sql && prepared_is_command(body, body_bytes))
        step = add_command(c, s, o, at, m, body, body_bytes, &name);
    if (step == PREPARED_PLAIN)
        step = add_name(c, m, body, body_bytes, &name);
    if (step != PREPARED_TAKEN)
        return step;
    /* in a failed transaction, and behind what may end it, DEALLOCATE ALL or SET, PostgreSQL is asked */
    if (s->tracker.tx_status != 'E' && s->setting != SETTING_NOW && runs_nothing(s) &&
        prepared_is_there(s, name->statement)) {
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
    if (prepared_is_ignored(s))
        return PREPARED_PLAIN;
    switch (statement_look(o->data + at, len_bytes - at, &m)) {
    case STATEMENT_NONE: /* a Bind may have a named portal of the unnamed one */
        if (m.type != 'B')
            return PREPARED_PLAIN;
        if (unlikely(c->listen_is_watching)) {
            enum prepared_step step = listen_bind(c, s, o, at, len_bytes);
            if (step != PREPARED_PLAIN)
                return step;
        }
        if (unlikely(s->has_sql_portals)) {
            enum prepared_step step = prepared_sql_bind_unnamed(s, o->data + at, len_bytes - at);
            if (step != PREPARED_PLAIN)
                return step;
        }
        o->unnamed_at = OUTGOING_NO_UNNAMED;
        return unnamed_use(c, s, o, at, len_bytes);
    case STATEMENT_MORE: return PREPARED_MORE;
    case STATEMENT_TOO_LONG: return PREPARED_TOO_LARGE;
    case STATEMENT_NAMED: break;
    }
    if ((m.type == 'D' || m.type == 'C') && m.head_bytes != 1 + m.len)
        return PREPARED_PLAIN; /* malformed */
    if (unlikely(prepared_must_wait(s))) {
        enum prepared_step step = prepared_sql_must_wait(s) ? prepared_sql_wait(s, o, at) : PREPARED_HOLD;
        if (step != PREPARED_TAKEN)
            return step;
    }
    prepared_sql_goes_on(s);
    if (tracker_in_flight(t) > TRACKER_MAX_REQUESTS - OUTGOING_MESSAGES_OF_ONE)
        return PREPARED_FULL;
    if (!prepared_ensure(s))
        return PREPARED_NO_MEMORY;
    if (!outgoing_reserve(s, o, at))
        return PREPARED_LOST;
    switch (m.type) {
    case 'P': return take_parse(c, s, o, at, len_bytes, &m, used);
    case 'C': return take_close(c, s, o, at, &m, used);
    default: return take_use(c, s, o, at, len_bytes, &m, used);
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
    if (unlikely(!list_is_empty(&p->notes)))
        prepared_answer_alone(s);
}
