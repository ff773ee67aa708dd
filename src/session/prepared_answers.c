/*
 * prepared_answers.c - prepared statements: what has become of the changes that were sent, and what clients
 * see.
 *
 * The tracker says whether the first note has been performed or skipped. What was skipped is undone
 * from the last to the first, so that client's and server's tables are as before.
 *
 * Threads: the owner's of client and server. See prepared.c.
 */
#include <stdlib.h>
#include <string.h>

#include "prepared_int.h"

#define STALE_PLAN_ROUTINE "RevalidateCachedQuery"
#define MISSING_ROUTINE    "FetchPreparedStatement"

/* ---- what has become of them ---- */

static struct note *first_note(const struct server *s)
{
    return s->prepared != NULL ? list_first_entry(&s->prepared->notes, struct note, node) : NULL;
}

void prepared_parsed(struct server *s, struct cached_statement *x)
{
    x->is_pending = false;
    x->batch = s->prepared->n_batches;
    s->has_parsed = true;
}

static void set_settled(struct server *s, const struct statement *statement)
{
    struct cached_statement *x = statement_cache_find(&s->prepared->cache, statement);
    if (x != NULL)
        prepared_parsed(s, x);
}

static void set_stale(struct server *s, const struct statement *statement)
{
    struct cached_statement *x = statement_cache_find(&s->prepared->cache, statement);
    if (x != NULL)
        x->epoch--;
}

/* The first one has been performed. */
static void settle_first(struct server *s)
{
    struct note *n = first_note(s);

    if (n == NULL)
        return;
    const bool is_parse = n->kind == NOTE_PARSE || n->kind == NOTE_OWN_PARSE;
    if (is_parse)
        set_settled(s, n->statement);
    if (n->kind == NOTE_SECOND_PARSE || /* somebody has taken ours away by SQL; now it is another one */
        (is_parse && n->is_suspect))
        set_stale(s, n->statement);
    if (s->client != NULL && (n->kind == NOTE_PARSE || n->kind == NOTE_KEPT_PARSE))
        n->name->is_pending = false;
    prepared_note_free(n);
}

void prepared_on_performed(struct server *s)
{
    settle_first(s);
    if (s->prepared != NULL)
        prepared_watch(s);
}

static void drop_name(struct client *c, struct statement_name *name)
{
    statement_names_take(c->names, name);
    statement_name_free(name);
}

static void drop_cached(struct server *s, const struct statement *statement)
{
    struct cached_statement *x = statement_cache_find(&s->prepared->cache, statement);
    if (x != NULL)
        statement_cache_remove(&s->prepared->cache, x);
}

/* A Close of ours that was not performed: the server has the statement, whatever has become of it since. */
static void restore_cached(struct server *s, struct statement *statement)
{
    struct cached_statement *x = statement_cache_add(&s->prepared->cache, statement);

    if (x == NULL) {
        s->tracker.is_tainted = true; /* nobody knows any more what it has */
        return;
    }
    x->is_pending = false;
    x->epoch--; /* stale: closed before it is used */
}

/* It has been skipped. Those behind it have been undone. */
static void undo(struct server *s, struct note *n)
{
    struct client *c = s->client;

    switch (n->kind) {
    case NOTE_PARSE:
        drop_cached(s, n->statement);
        if (c != NULL)
            drop_name(c, n->name);
        break;
    case NOTE_KEPT_PARSE:
        if (c != NULL)
            drop_name(c, n->name);
        break;
    case NOTE_KEPT_CLOSE:
        if (c != NULL && statement_names_put(c->names, n->name))
            n->name = NULL;
        break;
    case NOTE_SECOND_PARSE: break;
    case NOTE_OWN_PARSE: drop_cached(s, n->statement); break;
    case NOTE_OWN_CLOSE: restore_cached(s, n->statement); break;
    case NOTE_OWN_NOTHING: break;
    }
    prepared_note_free(n);
}

static void undo_first(struct server *s, uint32_t n_dropped)
{
    struct list *at = &s->prepared->notes;

    for (uint32_t i = 0; i < n_dropped && at->next != &s->prepared->notes; i++)
        at = at->next;
    while (at != &s->prepared->notes) {
        struct list *before = at->prev;
        undo(s, list_entry(at, struct note, node));
        at = before;
    }
}

/* ---- answers ---- */

uint32_t prepared_answers(struct server *s, uint8_t out[PREPARED_ANSWER_BYTES])
{
    uint32_t n = 0;
    uint8_t type;

    while (n + WIRE_HEADER_BYTES <= PREPARED_ANSWER_BYTES && (type = tracker_take_kept(&s->tracker)) != 0) {
        settle_first(s);
        out[n] = type == 'P' ? '1' : '3';
        wire_set_u32(out + n + 1, 4);
        n += WIRE_HEADER_BYTES;
    }
    if (n > 0)
        prepared_watch(s);
    return n;
}

void prepared_answer_alone(struct server *s)
{
    uint8_t answers[PREPARED_ANSWER_BYTES];
    uint32_t n;

    if (!s->prepared_is_watching || s->remain_bytes > 0 || !tracker_has_only_kept(&s->tracker))
        return;
    while ((n = prepared_answers(s, answers)) > 0) {
        struct client *c = s->client;
        if (c != NULL && !stream_send(&c->stream, answers, n)) {
            client_close(c, CLOSE_CLIENT_EOF, NULL);
            return;
        }
    }
}

static void stop_recording(struct prepared *p)
{
    p->is_recording = false;
    buf_clear(&p->replay);
}

/* The batch under way has had an answer: it is not sent again. */
static void settle_batch(struct server *s)
{
    stop_recording(s->prepared);
    prepared_watch(s);
}

void prepared_on_message(struct server *s, uint8_t type)
{
    prepared_sql_message(s, type);
    if (type != 'E' && type != 'S' && type != 'N' && type != 'A')
        settle_batch(s);
}

void prepared_on_bound(struct server *s)
{
    const struct prepared *p = s->prepared;

    if (list_is_empty(&p->notes) && !prepared_sql_is_watching(p->sql))
        settle_batch(s);
}

/* Everything that the client has sent of this batch is its input again, and is forwarded when PostgreSQL has
 * come to the batch's end. */
static enum prepared_error retry(struct server *s)
{
    struct prepared *p = s->prepared;
    struct client *c = s->client;
    static const uint8_t sync[WIRE_HEADER_BYTES] = {'S', 0, 0, 0, 4};

    if (!p->is_recording || c == NULL || s->state != SERVER_ACTIVE || c->remain_bytes > 0)
        return PREPARED_ERROR_PASSES;
    const bool is_synced = !s->tracker.is_skipping;
    if (!tracker_retry(&s->tracker))
        return PREPARED_ERROR_PASSES;
    if (!is_synced && !stream_send(&s->stream, sync, sizeof(sync)))
        return PREPARED_ERROR_LOST;
    if (!client_put_back_input(c, p->replay.data, p->replay.len))
        return PREPARED_ERROR_RETRIED; /* it has been closed */
    stop_recording(p);
    s->setup_failed = false;
    s->step = STEP_SETTINGS;
    server_set_state(s, SERVER_SETUP);
    prepared_watch(s);
    return PREPARED_ERROR_RETRIED;
}

/* What the client calls the statement, or did until a Close that is behind what failed; where it has two
 * names for it, one of them. NULL: none. */
static const struct statement_name *find_number(const struct server *s, uint64_t number)
{
    if (s->client == NULL || s->client->names == NULL || number == 0)
        return NULL;
    LIST_FOR_EACH (it, &s->prepared->notes) {
        const struct note *n = list_entry(it, struct note, node);
        if (n->kind == NOTE_KEPT_CLOSE && n->name != NULL && n->name->statement->number == number)
            return n->name;
    }
    return statement_names_find_number(s->client->names, number);
}

/* The name that a client has for a statement in an error, or NULL. n: the note of what has failed, or NULL.
 */
static const char *name_in_error(const struct server *s, const struct note *n, uint64_t number)
{
    if (number == 0)
        return NULL;
    const char *by_sql = prepared_sql_name(s, number);
    if (by_sql != NULL)
        return by_sql;
    if (n != NULL && n->kind == NOTE_SECOND_PARSE && n->statement->number == number)
        return n->name->name;
    const struct statement_name *name = find_number(s, number);
    return name != NULL ? name->name : NULL;
}

/* The error as the client is to see it: its own names, and where it is in its own text. False: as it is. */
static bool translate(const struct server *s, const struct note *n, const uint8_t *body, uint32_t len_bytes,
                      struct buf *instead)
{
    uint64_t number = statement_number_in_error(body, len_bytes);
    const char *name = name_in_error(s, n, number);
    uint32_t position = prepared_sql_position(s, statement_position_in_error(body, len_bytes));

    if (name == NULL && position == 0)
        return false;
    buf_init(instead, 0);
    statement_put_error(instead, body, len_bytes, number, name, position);
    return true;
}

/* Has somebody DEALLOCATEd on the server what its client has a name for, where no tag tells (DO, a function)?
 */
static bool is_taken_away(const struct server *s, const struct wire_error *e, const uint8_t *body,
                          uint32_t len_bytes)
{
    return strcmp(e->sqlstate, "26000") == 0 && strcmp(e->routine, MISSING_ROUTINE) == 0 &&
           find_number(s, statement_number_in_error(body, len_bytes)) != NULL;
}

enum prepared_error prepared_on_error(struct server *s, const uint8_t *body, uint32_t len_bytes,
                                      struct buf *instead)
{
    struct prepared *p = s->prepared;
    struct wire_error e;
    enum prepared_error what = PREPARED_ERROR_PASSES;

    uint32_t n_dropped = tracker_take_dropped(&s->tracker);
    prepared_sql_error(s);
    /* before anything is undone: it may be about what that takes away */
    if (body != NULL && translate(s, n_dropped > 0 ? first_note(s) : NULL, body, len_bytes, instead))
        what = PREPARED_ERROR_CHANGED;
    undo_first(s, n_dropped);
    if (body != NULL && wire_parse_error(body, len_bytes, &e) &&
        (strcmp(e.routine, STALE_PLAN_ROUTINE) == 0 || is_taken_away(s, &e, body, len_bytes))) {
        statement_cache_expire(&p->cache);
        enum prepared_error retried = retry(s);
        if (retried != PREPARED_ERROR_PASSES && what == PREPARED_ERROR_CHANGED)
            buf_free(instead);
        what = retried != PREPARED_ERROR_PASSES ? retried : what;
    }
    if (what != PREPARED_ERROR_RETRIED)
        settle_batch(s);
    return what;
}

void prepared_on_complete(struct server *s, const uint8_t *body, uint32_t len_bytes, bool is_internal)
{
    static const struct {
        const char *tag;
        enum sql_command_kind kind;
    } tags[] = {{"DISCARD ALL", SQL_DISCARD_ALL},
                {"DEALLOCATE ALL", SQL_DEALLOCATE_ALL},
                {"DEALLOCATE", SQL_DEALLOCATE},
                {"PREPARE", SQL_PREPARE}};
    struct client *c = s->client;
    enum sql_command_kind kind = SQL_OTHER;

    for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
        if (len_bytes == strlen(tags[i].tag) + 1 && memcmp(body, tags[i].tag, len_bytes) == 0)
            kind = tags[i].kind;
    if (!is_internal && s->awaits_tags)
        prepared_sql_tag(s, kind);
    if (kind != SQL_DISCARD_ALL && kind != SQL_DEALLOCATE_ALL)
        return;
    if (s->prepared != NULL)
        statement_cache_clear(&s->prepared->cache);
    if (c != NULL && c->names != NULL && !is_internal)
        statement_names_clear(c->names);
}
