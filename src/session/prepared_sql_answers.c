/*
 * prepared_sql_answers.c - PREPARE, EXECUTE and DEALLOCATE in SQL: what has become of them, and what clients
 * see.
 *
 * A command changes the tables of client and server when its CommandComplete comes. The tags of a Query's
 * statements come in their order; in the extended protocol one command at a time is under way.
 *
 * Threads: the owner's of client and server. See prepared_sql.c.
 */
#include "sql_work.h"

static struct client *client_of(const struct server *s, const struct sql_work *w)
{
    return s->client != NULL && s->client->id == w->client ? s->client : NULL;
}

static void settle_prepare(struct server *s, const struct sql_work *w, struct sql_effect *e)
{
    struct client *c = client_of(s, w);
    struct cached_statement *x = statement_cache_find(&s->prepared->cache, e->statement);

    if (x == NULL && prepared_cache_add(s, e->statement))
        x = statement_cache_find(&s->prepared->cache, e->statement);
    if (x == NULL) {
        s->tracker.is_tainted = true; /* nobody knows any more what it has */
        return;
    }
    prepared_parsed(s, x);
    if (w->effects.is_suspect)
        x->epoch--;     /* stale */
    if (e->must_fail) { /* somebody has taken ours away unseen; now it is another one */
        x->epoch--;
        return;
    }
    if (c == NULL)
        return;
    if (statement_names_add(c->names, e->name, e->name_bytes, statement_ref(e->statement)) == NULL)
        client_close(c, CLOSE_NO_MEMORY, NULL);
    else
        c->names->has_sql = true;
}

static void settle_deallocate(struct server *s, const struct sql_work *w, const struct sql_effect *e)
{
    struct client *c = client_of(s, w);
    struct statement_name *name = c != NULL ? statement_names_find(c->names, e->name, e->name_bytes) : NULL;
    struct cached_statement *x =
        e->statement != NULL ? statement_cache_find(&s->prepared->cache, e->statement) : NULL;

    if (x != NULL)
        statement_cache_remove(&s->prepared->cache, x);
    if (name == NULL)
        return;
    statement_names_take(c->names, name);
    statement_name_free(name);
}

/* The effect of the statement that has just been performed, or NULL: it has none that we know of. */
static struct sql_effect *take_effect(struct sql_work *w, enum sql_command_kind kind)
{
    const uint32_t index = w->n_completed++;

    while (w->next < w->effects.n && w->effects.items[w->next].kind == SQL_EXECUTE &&
           (!w->is_query || w->effects.items[w->next].index <= index))
        w->next++;
    if (w->next == w->effects.n)
        return NULL;
    struct sql_effect *e = &w->effects.items[w->next];
    if (e->kind != kind || (w->is_query && e->index != index))
        return NULL;
    w->next++;
    w->n_changes--;
    return e;
}

void prepared_sql_tag(struct server *s, enum sql_command_kind kind)
{
    struct sql_work *w = sql_work_of(s);
    struct sql_effect *e = take_effect(w, kind);

    if (e == NULL)
        return;
    if (kind == SQL_PREPARE)
        settle_prepare(s, w, e);
    else if (kind == SQL_DEALLOCATE)
        settle_deallocate(s, w, e);
    if (!w->is_query)
        s->awaits_tags = w->n_changes > 0;
}

void prepared_sql_ready(struct server *s)
{
    struct sql_work *w = sql_work_of(s);

    if (!w->is_query)
        return;
    sql_effects_free(&w->effects);
    w->next = w->n_changes = 0;
    s->awaits_tags = false;
}

void prepared_sql_message(struct server *s, uint8_t type)
{
    struct sql_work *w = sql_work_of(s);

    if (w != NULL && w->is_fresh && (type == 'C' || type == 'I' || type == 's' || type == 'Z') &&
        !tracker_is_at_ours(&s->tracker)) {
        w->is_fresh = false;
        prepared_watch(s);
    }
}

bool prepared_sql_is_watching(const struct sql_work *w)
{
    return w != NULL && w->is_fresh;
}

void prepared_sql_error(struct server *s)
{
    struct sql_work *w = sql_work_of(s);

    if (w != NULL && w->round == ROUND_SENT)
        w->round = ROUND_FAILED;
}

const char *prepared_sql_name(const struct server *s, uint64_t number)
{
    const struct sql_work *w = sql_work_of(s);

    for (uint32_t n = w != NULL ? w->next : 0; w != NULL && n < w->effects.n; n++) {
        const struct sql_effect *e = &w->effects.items[n];
        if (e->statement != NULL && e->statement->number == number &&
            (w->is_query ? e->index == w->n_completed : w->is_fresh))
            return e->name;
    }
    return NULL;
}

uint32_t prepared_sql_position(const struct server *s, uint32_t position)
{
    const struct sql_work *w = sql_work_of(s);
    if (w != NULL && w->round == ROUND_FAILED)
        return position > 0 ? STATEMENT_NO_POSITION : 0; /* in a text of ours */
    bool is_its = w != NULL && (w->is_query || w->is_fresh) && w->effects.n_edits > 0;
    return is_its && position > 0 ? sql_position(&w->effects, position) : 0;
}
