/*
 * tracking_names.c - statements and portals of the extended protocol that change settings (session_state).
 *
 * A message that makes one, or ends one, may be skipped by the server when something ahead of it fails. So
 * what has ended in a batch is kept until that has succeeded; when it has failed, a name stands for one of
 * several, and what is executed by it makes the server be asked.
 *
 * Threads: the owner's of client and server. See tracking.h.
 */
#include <stdlib.h>
#include <string.h>

#include "session/pin.h"
#include "tracking.h"

#define MAX_GONE 64u /* kept of one client */

void tracking_drop_name(struct client *c, struct tracked_name *n)
{
    c->tracking->n_names--;
    c->tracking->n_gone -= n->is_gone ? 1 : 0;
    list_del(&n->node);
    session_ops_unref(n->ops);
    free(n);
}

static bool is_called(const struct tracked_name *n, bool is_portal, const char *name, uint32_t name_bytes)
{
    return n->is_portal == is_portal && n->name_bytes == name_bytes && memcmp(n->name, name, name_bytes) == 0;
}

struct tracked_name *tracking_find_name(const struct client *c, bool is_portal, const char *name,
                                        uint32_t name_bytes)
{
    if (c->tracking == NULL)
        return NULL;
    LIST_FOR_EACH (it, &c->tracking->names) {
        struct tracked_name *n = list_entry(it, struct tracked_name, node);
        if (!n->is_gone && !n->is_unsure && is_called(n, is_portal, name, name_bytes))
            return n;
    }
    return NULL;
}

/* A named statement that is found by its text: prepared.c knows what there is. */
static bool is_mapped(const struct client *c, const struct tracked_name *n)
{
    return c->maps_statements && !n->is_portal && n->name_bytes > 0;
}

/* Of a mapped statement that is not among the names the server is asked what it did: tracking_execute(). */
static void drop_oldest(struct client *c, struct server *s)
{
    LIST_FOR_EACH_SAFE (it, &c->tracking->names) {
        struct tracked_name *n = list_entry(it, struct tracked_name, node);
        if (!is_mapped(c, n) && !n->is_unsure)
            continue;
        if (!is_mapped(c, n))
            s->left |= PIN_LOAD; /* it may be there: the server is closed behind the client */
        tracking_drop_name(c, n);
        return;
    }
}

/* The batch that it is in ends with the next ReadyForQuery that is not on its way yet. */
static void unsettle(struct tracking *t, struct server *s, struct tracked_name *n)
{
    n->settled = t->n_ready + s->tracker.ready_due + 1;
    t->is_unsettled = true;
    s->is_tracked = true;
}

enum prepared_step tracking_add_name(struct client *c, struct server *s, bool is_portal, const char *name,
                                     uint32_t name_bytes, struct session_ops *ops)
{
    struct tracked_name *n = tracking_ensure(c) ? malloc(sizeof(*n) + name_bytes) : NULL;

    if (n != NULL && c->tracking->n_names == TRACKED_NAMES_MAX)
        drop_oldest(c, s);
    if (n == NULL || c->tracking->n_names == TRACKED_NAMES_MAX) {
        session_ops_unref(ops);
        const bool is_memory = n == NULL;
        free(n);
        return is_memory ? PREPARED_NO_MEMORY : PREPARED_TOO_LARGE;
    }
    *n =
        (struct tracked_name){.ops = ops, .is_portal = is_portal, .is_fresh = true, .name_bytes = name_bytes};
    memcpy(n->name, name, name_bytes);
    unsettle(c->tracking, s, n);
    list_push_back(&c->tracking->names, &n->node);
    c->tracking->n_names++;
    return PREPARED_PLAIN;
}

void tracking_forget_name(struct client *c, struct server *s, bool is_portal, const char *name,
                          uint32_t name_bytes)
{
    struct tracking *t = c->tracking;

    if (t == NULL)
        return;
    LIST_FOR_EACH_SAFE (it, &t->names) {
        struct tracked_name *n = list_entry(it, struct tracked_name, node);
        if (n->is_gone || !is_called(n, is_portal, name, name_bytes))
            continue;
        if (is_mapped(c, n) || t->n_gone == MAX_GONE) {
            t->has_lost_names = t->has_lost_names || !is_mapped(c, n);
            tracking_drop_name(c, n);
        } else {
            n->is_gone = true;
            t->n_gone++;
            unsettle(t, s, n);
        }
    }
}

bool tracking_use_unsure(struct client *c, struct server *s, const char *name, uint32_t name_bytes)
{
    bool ok = true;

    if (c->tracking == NULL)
        return true;
    LIST_FOR_EACH (it, &c->tracking->names) {
        const struct tracked_name *n = list_entry(it, struct tracked_name, node);
        if (n->is_unsure && !n->is_gone && is_called(n, false, name, name_bytes))
            ok = ok && tracking_doubt_ops(c, s, n->ops);
    }
    return ok;
}

bool tracking_settle_names(struct client *c, struct server *s, bool has_ended)
{
    struct tracking *t = c->tracking;
    bool ok = true;

    if (t->has_failed && t->has_lost_names)
        s->left |= PIN_LOAD; /* one of them may be there, as above */
    t->is_unsettled = false;
    LIST_FOR_EACH_SAFE (it, &t->names) {
        struct tracked_name *n = list_entry(it, struct tracked_name, node);
        if ((n->is_fresh || n->is_gone) && (int32_t)(n->settled - t->n_ready) > 0) {
            t->is_unsettled = true; /* of a later batch */
            continue;
        }
        const bool is_in_question = t->has_failed && (n->is_fresh || n->is_gone);
        if (n->is_portal && is_in_question && !has_ended) /* it may be executed behind a ROLLBACK TO */
            ok = ok && tracking_doubt_ops(c, s, n->ops);
        if ((n->is_portal && (has_ended || is_in_question)) || (n->is_gone && !is_in_question) ||
            (is_mapped(c, n) && is_in_question)) {
            tracking_drop_name(c, n);
            continue;
        }
        t->n_gone -= n->is_gone ? 1 : 0;
        n->is_unsure = n->is_unsure || is_in_question;
        n->is_fresh = n->is_gone = false;
    }
    t->has_lost_names = t->has_lost_names && t->is_unsettled;
    return ok;
}

void tracking_leave_names(struct client *c)
{
    LIST_FOR_EACH_SAFE (it, &c->tracking->names) {
        struct tracked_name *n = list_entry(it, struct tracked_name, node);
        n->is_fresh = false;
        if (n->is_portal || n->is_gone)
            tracking_drop_name(c, n);
    }
    c->tracking->is_unsettled = c->tracking->has_lost_names = false;
}
