/*
 * prepared_sql_portals.c - PREPARE, EXECUTE and DEALLOCATE in SQL: portals that are executed later.
 *
 * What a command changes is expected from its Parse or Bind on, until another one takes its place. So it is
 * kept with the unnamed statement and with each portal, and expected again when that is executed, in whatever
 * batch of its transaction. What it needs on the server, or must not find there, may have changed meanwhile,
 * and so may what the client's names stand for: then the server is made to refuse it as it should.
 *
 * A portal that has gone needs no care: PostgreSQL refuses to execute it.
 *
 * Not seen: that a name stands for another statement than at the Bind. The text has been rewritten by then,
 * so the command fails, though PostgreSQL would perform it.
 *
 * Threads: the owner's of client and server. See prepared_sql.c.
 */
#include <stdlib.h>
#include <string.h>

#include "sql_work.h"

#define MAX_PORTALS 1000u /* that have not been executed; the oldest go */

struct sql_portal {
    struct list node; /* work->portals */
    struct sql_effects effects;
    uint32_t name_bytes;
    char name[];
};

static bool copy_effects(struct sql_effects *to, const struct sql_effects *from)
{
    *to = (struct sql_effects){.serial = from->serial};
    if (from->n > 0 && (to->items = calloc(from->n, sizeof(to->items[0]))) == NULL)
        return false;
    for (; to->n < from->n; to->n++) {
        to->items[to->n] = from->items[to->n];
        if (to->items[to->n].statement != NULL)
            (void)statement_ref(to->items[to->n].statement);
    }
    if (from->n_edits > 0 && (to->edits = calloc(from->n_edits, sizeof(to->edits[0]))) == NULL)
        return false;
    to->n_edits = from->n_edits;
    if (to->n_edits > 0)
        memcpy(to->edits, from->edits, to->n_edits * sizeof(to->edits[0]));
    return true;
}

static void note_portals(struct server *s, const struct sql_work *w)
{
    s->has_sql_portals = w->unnamed.n > 0 || w->n_portals > 0;
}

static struct sql_portal *find_portal(const struct sql_work *w, const char *name, uint32_t name_bytes)
{
    LIST_FOR_EACH (it, &w->portals) {
        struct sql_portal *p = list_entry(it, struct sql_portal, node);
        if (p->name_bytes == name_bytes && memcmp(p->name, name, name_bytes) == 0)
            return p;
    }
    return NULL;
}

static void drop_portal(struct sql_work *w, struct sql_portal *p)
{
    if (p == NULL)
        return;
    w->n_portals--;
    list_del(&p->node);
    sql_effects_free(&p->effects);
    free(p);
}

void sql_portals_end(struct server *s, struct sql_work *w)
{
    sql_effects_free(&w->unnamed);
    LIST_FOR_EACH_SAFE (it, &w->portals)
        drop_portal(w, list_entry(it, struct sql_portal, node));
    note_portals(s, w);
}

void prepared_sql_forget_unnamed(struct server *s)
{
    struct sql_work *w = sql_work_of(s);

    sql_effects_free(&w->unnamed);
    note_portals(s, w);
}

bool sql_portals_note_unnamed(struct server *s)
{
    struct sql_work *w = sql_work_of(s);

    sql_effects_free(&w->unnamed);
    const bool ok = copy_effects(&w->unnamed, &w->effects);
    note_portals(s, w);
    return ok;
}

static bool needs(const struct sql_effects *effects, const struct statement *statement)
{
    for (uint32_t i = 0; i < effects->n; i++) {
        if (effects->items[i].kind == SQL_EXECUTE && effects->items[i].statement == statement)
            return true;
    }
    return false;
}

bool prepared_sql_needs(const struct server *s, const struct statement *statement)
{
    const struct sql_work *w = sql_work_of(s);
    bool found = false;

    if (w == NULL || s->client == NULL || s->client->id != w->client)
        return false;
    LIST_FOR_EACH (it, &w->portals)
        found = found || needs(&list_entry(it, struct sql_portal, node)->effects, statement);
    return found || (!w->is_query && needs(&w->effects, statement));
}

/* effects: of the statement that is bound; n is 0 when it is no command. */
static bool bind_portal(struct server *s, const struct statement_message *m,
                        const struct sql_effects *effects)
{
    struct sql_work *w = sql_work_of(s);
    const uint32_t name_bytes = m->portal_bytes - 1;
    bool ok = true;

    drop_portal(w, find_portal(w, m->portal, name_bytes));
    if (effects->n > 0) {
        struct sql_portal *p = malloc(sizeof(*p) + name_bytes);
        ok = p != NULL;
        if (ok) {
            if (w->n_portals == MAX_PORTALS)
                drop_portal(w, list_first_entry(&w->portals, struct sql_portal, node));
            p->name_bytes = name_bytes;
            memcpy(p->name, m->portal, name_bytes);
            list_push_back(&w->portals, &p->node);
            w->n_portals++;
            ok = copy_effects(&p->effects, effects);
        }
    }
    note_portals(s, w);
    return ok;
}

bool prepared_sql_bound(struct server *s, const struct statement_message *m)
{
    return bind_portal(s, m, &sql_work_of(s)->effects);
}

void prepared_sql_unbound(struct server *s, const struct statement_message *m)
{
    static const struct sql_effects nothing;

    (void)bind_portal(s, m, &nothing);
}

enum prepared_step prepared_sql_bind_unnamed(struct server *s, const uint8_t *message, uint32_t here_bytes)
{
    struct statement_message m;

    if (prepared_is_ignored(s))
        return PREPARED_PLAIN;
    const enum prepared_step step = prepared_step_of_look(statement_look(message, here_bytes, &m));
    if (m.head_bytes == 0)
        return step;
    return bind_portal(s, &m, &sql_work_of(s)->unnamed) ? PREPARED_PLAIN : PREPARED_NO_MEMORY;
}

/* It is expected again; the portal is gone then, as it is run once. */
static enum prepared_step begin_again(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                      struct sql_portal *p)
{
    struct sql_plan plan = {.client = c, .server = s, .effects = p->effects};
    enum prepared_step step = PREPARED_TAKEN;

    p->effects = (struct sql_effects){0};
    drop_portal(sql_work_of(s), p);
    for (uint32_t i = 0; i < plan.effects.n && step == PREPARED_TAKEN; i++)
        step = sql_plan_again(&plan, &plan.effects.items[i]);
    if (step == PREPARED_TAKEN)
        step = prepared_sql_provide(&plan, o, at);
    if (step == PREPARED_TAKEN && !prepared_sql_begin(&plan, false))
        step = PREPARED_NO_MEMORY;
    sql_plan_free(&plan);
    return step;
}

enum prepared_step prepared_sql_execute(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                        uint32_t len_bytes)
{
    struct sql_work *w = sql_work_of(s);
    const char *name;
    uint32_t name_bytes;

    if (prepared_is_ignored(s))
        return PREPARED_PLAIN;
    enum prepared_step step =
        prepared_step_of_look(statement_look_portal(o->data + at, len_bytes - at, &name, &name_bytes));
    if (step != PREPARED_TAKEN)
        return step;
    struct sql_portal *p = find_portal(w, name, name_bytes);
    if (p == NULL) {
        prepared_sql_goes_on(s);
        return PREPARED_PLAIN;
    }
    const bool is_expected =
        p->effects.serial == w->effects.serial && w->is_fresh && tracker_runs_nothing(&s->tracker);
    if (is_expected && !w->is_used) {
        prepared_sql_goes_on(s);
        drop_portal(w, p);
    } else {
        step = prepared_sql_wait(s, o, at);
        if (step != PREPARED_TAKEN)
            return step;
        prepared_sql_goes_on(s);
        if (s->tracker.tx_status == 'I' && !s->tracker.is_open) /* its transaction has ended */
            drop_portal(w, p);
        else
            step = begin_again(c, s, o, at, p);
    }
    if (step != PREPARED_TAKEN)
        return step;
    w->is_used = true;
    note_portals(s, w);
    return PREPARED_PLAIN;
}
