/*
 * prepared_provide.c - prepared statements: what goes to a server so that it has a statement.
 *
 * Messages of ours between the client's: a Close of what is stale or used least recently, and a Parse; for a
 * statement that was PREPAREd by SQL, whose types only SQL can say, an Execute of that PREPARE, with
 * a statement and portal of a name that nobody else has.
 *
 * Threads: the owner's of client and server. See prepared.c.
 */
#include <stdlib.h>
#include <string.h>

#include "prepared_int.h"

#define MAX_EVICTIONS 2 /* at one time: a bound that has been lowered is reached by and by */

/* ---- gathering ---- */

/* A little in many pieces is cheaper to send when it has been put together. */
#define TOGETHER_BYTES 512u

static bool send_pieces(struct server *s, const struct outgoing *o)
{
    uint8_t together[TOGETHER_BYTES];
    uint32_t n = 0;

    for (int i = 0; i < o->n; i++) {
        if (o->pieces[i].iov_len > TOGETHER_BYTES - n)
            return stream_sendv(&s->stream, o->pieces, o->n);
        memcpy(together + n, o->pieces[i].iov_base, o->pieces[i].iov_len);
        n += (uint32_t)o->pieces[i].iov_len;
    }
    return n == 0 || stream_send(&s->stream, together, n);
}

bool outgoing_send(struct server *s, struct outgoing *o, uint32_t end)
{
    if (end > o->start)
        o->pieces[o->n++] = (struct iovec){(void *)(o->data + o->start), end - o->start};
    bool is_sent = send_pieces(s, o);
    o->start = end;
    o->n = 0;
    o->used_bytes = 0;
    if (!is_sent)
        server_close(s, CLOSE_SERVER_CRASHED, NULL);
    return is_sent;
}

/* Room for what one message may become; one piece is left for outgoing_send(). */
bool outgoing_reserve(struct server *s, struct outgoing *o, uint32_t at)
{
    if (o->n + OUTGOING_PIECES_OF_ONE < OUTGOING_PIECES &&
        o->used_bytes + OUTGOING_SCRATCH_OF_ONE <= OUTGOING_SCRATCH_BYTES)
        return true;
    return outgoing_send(s, o, at);
}

void outgoing_put(struct outgoing *o, const void *bytes, uint32_t n)
{
    if (n > 0)
        o->pieces[o->n++] = (struct iovec){(void *)bytes, n};
}

/* The input up to there. */
void outgoing_range(struct outgoing *o, uint32_t end)
{
    outgoing_put(o, o->data + o->start, end - o->start);
    o->start = end;
}

bool outgoing_flush(struct server *s, struct outgoing *o, uint32_t at)
{
    static const uint8_t flush[WIRE_HEADER_BYTES] = {'H', 0, 0, 0, 4};

    if (!outgoing_reserve(s, o, at))
        return false;
    outgoing_range(o, at);
    outgoing_put(o, flush, sizeof(flush));
    return true;
}

uint8_t *outgoing_scratch(struct outgoing *o)
{
    return o->scratch + o->used_bytes;
}

void outgoing_put_scratch(struct outgoing *o, uint32_t n)
{
    outgoing_put(o, outgoing_scratch(o), n);
    o->used_bytes += n;
}

/* The message's head with another name, in place of the one at data[at..]. */
void outgoing_head(struct outgoing *o, uint32_t at, const struct statement_message *m, const char *name,
                   uint32_t name_bytes)
{
    uint32_t before;

    outgoing_range(o, at);
    const uint32_t n = statement_put_head(m, name, name_bytes, outgoing_scratch(o), &before);
    outgoing_put_scratch(o, before);
    if (unlikely(before < n)) {
        outgoing_put(o, m->portal, m->portal_bytes);
        outgoing_put_scratch(o, n - before);
    }
    o->start = at + m->head_bytes;
}

/* ---- changes ---- */

enum prepared_step prepared_step_of(enum tracker_verdict v)
{
    switch (v) {
    case TRACKER_FORWARD: return PREPARED_TAKEN;
    case TRACKER_BLOCK: return PREPARED_FULL;
    case TRACKER_NO_MEMORY: return PREPARED_NO_MEMORY;
    default: return PREPARED_FORBIDDEN;
    }
}

/* Takes its own reference to the statement. False: no memory. */
bool prepared_note(struct server *s, enum note_kind kind, struct statement *statement,
                   struct statement_name *name)
{
    struct note *n = calloc(1, sizeof(*n));

    if (n == NULL)
        return false;
    n->kind = kind;
    n->is_suspect = s->setting == SETTING_NOW;
    n->statement = statement != NULL ? statement_ref(statement) : NULL;
    n->name = name;
    list_push_back(&s->prepared->notes, &n->node);
    s->prepared_is_watching = true;
    return true;
}

static enum prepared_step inject(struct server *s, uint8_t type, enum note_kind kind,
                                 struct statement *statement)
{
    enum prepared_step step = prepared_step_of(tracker_inject(&s->tracker, type));

    if (step == PREPARED_TAKEN && (type == 'P' || type == 'C') && !prepared_note(s, kind, statement, NULL))
        return PREPARED_NO_MEMORY;
    return step;
}

enum prepared_step prepared_close_on_server(struct server *s, struct outgoing *o, struct cached_statement *x)
{
    enum prepared_step step = inject(s, 'C', NOTE_OWN_CLOSE, x->statement);

    if (step != PREPARED_TAKEN)
        return step;
    outgoing_put_scratch(o, statement_put_close(x->statement, outgoing_scratch(o)));
    statement_cache_remove(&s->prepared->cache, x);
    return PREPARED_TAKEN;
}

/* Makes room for one more statement. */
enum prepared_step prepared_evict(struct server *s, struct outgoing *o)
{
    enum prepared_step step = PREPARED_TAKEN;

    for (int i = 0; i < MAX_EVICTIONS && step == PREPARED_TAKEN; i++) {
        struct cached_statement *x = statement_cache_victim(&s->prepared->cache, prepared_max_on_server(s));
        if (x == NULL)
            break;
        if (unlikely(prepared_sql_needs(s, x->statement)))
            statement_cache_use(&s->prepared->cache, x);
        else
            step = prepared_close_on_server(s, o, x);
    }
    return step;
}

bool prepared_cache_add(struct server *s, struct statement *statement)
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
enum prepared_step prepared_make_place(struct server *s, struct outgoing *o,
                                       const struct statement *statement)
{
    struct cached_statement *x = statement_cache_find(&s->prepared->cache, statement);

    return x != NULL ? prepared_close_on_server(s, o, x) : prepared_evict(s, o);
}

/* Has the server the statement, so that it need not be parsed there? */
bool prepared_is_there(struct server *s, const struct statement *statement)
{
    struct cached_statement *x = statement_cache_find(&s->prepared->cache, statement);

    if (x == NULL || statement_cache_is_stale(&s->prepared->cache, x))
        return false;
    statement_cache_use(&s->prepared->cache, x);
    return true;
}

static enum prepared_step send_own_parse(struct server *s, struct outgoing *o, struct statement *statement)
{
    enum prepared_step step = inject(s, 'P', NOTE_OWN_PARSE, statement);

    if (step != PREPARED_TAKEN)
        return step;
    outgoing_put_scratch(o, statement_put_parse_head(statement, outgoing_scratch(o)));
    outgoing_put(o, statement->body, statement->body_bytes);
    return PREPARED_TAKEN;
}

/* As a statement and portal of their own, so that the unnamed ones stay what they are. The first Close is for
 * what is left where this has failed before. Behind the Execute, the Close of the portal tells that it has
 * been performed. */
static enum prepared_step send_own_prepare(struct server *s, struct outgoing *o, struct statement *statement)
{
    static const struct {
        uint8_t type;
        uint8_t note; /* enum note_kind */
    } parts[] = {{'C', NOTE_OWN_NOTHING}, {'P', NOTE_OWN_NOTHING}, {'B', 0}, {'E', 0},
                 {'C', NOTE_OWN_PARSE},   {'C', NOTE_OWN_NOTHING}};

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        enum prepared_step step = inject(s, parts[i].type, (enum note_kind)parts[i].note, statement);
        if (step != PREPARED_TAKEN)
            return step;
    }
    outgoing_put_scratch(o, statement_put_wrapped_begin(statement, outgoing_scratch(o)));
    outgoing_put(o, statement->body, statement->body_bytes);
    outgoing_put_scratch(o, statement_put_wrapped_end(outgoing_scratch(o)));
    return PREPARED_TAKEN;
}

/* The server has it when what follows arrives there. The input up to `at` goes first. */
enum prepared_step prepared_provide(struct server *s, struct outgoing *o, uint32_t at,
                                    struct statement *statement)
{
    if (likely(prepared_is_there(s, statement))) {
        atomic_fetch_add_explicit(&statement->hits, 1, memory_order_relaxed);
        return PREPARED_TAKEN;
    }
    outgoing_range(o, at);
    enum prepared_step step = prepared_make_place(s, o, statement);
    if (step != PREPARED_TAKEN)
        return step;
    step = statement->kind == STATEMENT_SQL ? send_own_prepare(s, o, statement)
                                            : send_own_parse(s, o, statement);
    if (step == PREPARED_TAKEN && !prepared_cache_add(s, statement))
        return PREPARED_NO_MEMORY;
    return step;
}
