/*
 * tracking_answers.c - what servers answer to what changes settings (session_state).
 *
 * Threads: the owner's of client and server. See tracking.h.
 */
#include <stdlib.h>
#include <string.h>

#include "ahead.h"
#include "tracking.h"

static struct tracking *tracking_of(const struct server *s)
{
    return s->client != NULL ? s->client->tracking : NULL;
}

/* The request that the message at hand answers, if it is one of ours. Those ahead of it have ended. */
static struct tracked_request *request_at(const struct server *s, struct tracking *t)
{
    LIST_FOR_EACH_SAFE (it, &t->sent) {
        struct tracked_request *r = list_entry(it, struct tracked_request, node);
        const int32_t ahead = (int32_t)(r->position - s->tracker.head);
        if (ahead == 0)
            return r;
        if (ahead > 0)
            return NULL;
        tracking_drop_request(r);
    }
    return NULL;
}

/* ---- what has been committed ---- */

/* What servers report and is not as they reported it: the client hears of it. */
static void tell(struct tracking *t, const struct params *before, const struct params *now,
                 const struct params *reported)
{
    for (uint32_t i = 0; i < params_count(now); i++) {
        const char *name = params_name(now, i), *value = params_value(now, i);
        const char *was = params_get(before, name);
        if (params_get(reported, name) != NULL && (was == NULL || strcmp(was, value) != 0))
            wire_put_parameter_status(&t->told, name, value);
    }
}

static bool apply(struct server *s, struct client *c)
{
    struct tracking *t = c->tracking;
    struct params *reported = pool_welcome(s->pool), *before = c->params;
    struct session_sets sets = {.client = params_ref(c->params),
                                .server = params_ref(s->params),
                                .startup = c->startup,
                                .reported = reported};
    bool ok = session_changes_apply(&t->changes, &sets);

    if (ok) {
        tell(t, before, sets.client, reported);
        params_unref(c->params);
        c->params = params_ref(sets.client);
        params_unref(s->params);
        s->params = params_ref(sets.server);
        t->is_doubtful = t->is_doubtful || sets.is_doubtful;
        t->is_nameless = t->is_nameless || sets.is_nameless;
    }
    params_unref(sets.client);
    params_unref(sets.server);
    params_unref(reported);
    t->is_reset = false;
    return ok && !t->told.failed;
}

/* What it has changed cannot be kept: neither it nor its server can go on. */
static void lose(struct server *s)
{
    s->tracker.is_tainted = true;
    client_close(s->client, CLOSE_SETTINGS_LOST, NULL);
}

/* A procedure may have ended the transaction that a pipeline is: what has been changed in it is as it may be.
 */
static bool doubt_open(struct server *s, struct tracking *t)
{
    uint32_t i = t->changes.n_committed;
    const char *name;
    bool ok = true;

    while (ok && s->tracker.tx_status == 'I' && (name = session_changes_next(&t->changes, &i)) != NULL)
        ok = tracking_doubt(s->client, s, name);
    return ok;
}

static void on_complete(struct server *s, struct tracking *t, struct tracked_request *r, const char *tag)
{
    const struct session_ops *ops = r != NULL ? r->ops : NULL;
    const uint32_t index = r != NULL ? r->n_completed++ : 0;
    bool ok = session_changes_perform(&t->changes, ops, index, tag);

    if (ok && strcmp(tag, "CALL") == 0)
        ok = doubt_open(s, t);

    params_unref(t->in_force);
    t->in_force = NULL;
    t->is_reset = session_changes_has_reset(&t->changes, s->client->startup);
    if (!ok)
        lose(s);
}

/* ---- messages ---- */

/* Code that fails may have committed what it has done before. */
static bool doubt_hidden(struct server *s, const struct session_ops *ops)
{
    bool ok = true;

    for (uint32_t i = 0; i < ops->n && ok; i++) {
        const struct session_op *op = &ops->items[i];
        if (op->is_hidden && !op->is_local && s->tracker.tx_status == 'I')
            ok = tracking_doubt(s->client, s, op->name != NULL ? op->name : "");
    }
    return ok;
}

void tracking_on_message(struct server *s, uint8_t type, const uint8_t *body, uint32_t len_bytes)
{
    struct tracking *t = tracking_of(s);

    if (t == NULL || (type != 'C' && type != 'E' && type != 's'))
        return;
    if (tracker_is_at_ours(&s->tracker)) { /* which fails the client's batch, if it is in one */
        t->has_failed = t->has_failed || type == 'E';
        return;
    }
    struct tracked_request *r = request_at(s, t);
    if (type == 'E') {
        t->has_failed = true;
        t->is_refusing = r != NULL && r->is_refused;
        if (r != NULL && r->ops != NULL && !doubt_hidden(s, r->ops))
            lose(s);
    } else if (type == 's') { /* it has had a row */
        on_complete(s, t, r, "SELECT 1");
    } else if (body != NULL && len_bytes > 0 && body[len_bytes - 1] == '\0') {
        on_complete(s, t, r, (const char *)body);
    }
}

/* The ring closes gaps where COPY data begin: the request has another place in it. */
void tracking_on_copy(struct server *s, uint32_t position)
{
    struct tracking *t = tracking_of(s);

    if (t == NULL)
        return;
    LIST_FOR_EACH (it, &t->sent) {
        struct tracked_request *r = list_entry(it, struct tracked_request, node);
        if (r->position == position)
            r->position = s->tracker.head;
    }
}

bool tracking_takes_error(struct server *s, struct buf *instead)
{
    struct tracking *t = tracking_of(s);

    if (t == NULL || !t->is_refusing)
        return false;
    t->is_refusing = false;
    buf_init(instead, 4096);
    wire_put_error(instead, "ERROR", "0A000",
                   "settings of the session cannot be changed here (session_state = error)", NULL,
                   "Use SET LOCAL in a transaction, give the setting when connecting, or ask for "
                   "session_state = track.");
    return true;
}

void tracking_on_ready(struct server *s, bool is_internal)
{
    struct client *c = s->client;
    struct tracking *t = tracking_of(s);
    const bool has_ended = s->tracker.tx_status == 'I';

    if (t == NULL)
        return;
    t->n_ready++;
    if (is_internal) { /* of a batch that is sent again, perhaps, or the end of a transaction by a timeout */
        t->has_failed = false;
        if (has_ended)
            session_changes_roll_back(&t->changes);
        return;
    }
    if (has_ended && t->has_failed)
        session_changes_roll_back(&t->changes);
    else if (has_ended)
        session_changes_commit(&t->changes);
    if (t->changes.n_committed > 0 && !apply(s, c)) {
        lose(s);
        return;
    }
    (void)request_at(s, t); /* what has ended goes */
    if (!tracking_settle_names(c, s, has_ended)) {
        lose(s);
        return;
    }
    t->has_failed = t->is_refusing = false;
    t->resets = t->resets && tracker_is_busy(&s->tracker);
}

/* ---- settings in force ---- */

struct params *tracking_params(struct client *c)
{
    struct tracking *t = c->tracking;

    if (likely(t == NULL) || session_changes_is_empty(&t->changes))
        return c->params;
    if (t->in_force != NULL && t->in_force_of == c->params)
        return t->in_force;
    struct params *reported = pool_welcome(c->pool);
    struct session_sets sets = {.client = params_ref(c->params), .startup = c->startup, .reported = reported};
    bool ok = session_changes_in_force(&t->changes, &sets);
    params_unref(reported);
    if (!ok) {
        params_unref(sets.client);
        return NULL;
    }
    params_unref(t->in_force);
    params_unref(t->in_force_of);
    t->in_force = sets.client;
    t->in_force_of = params_ref(c->params);
    return t->in_force;
}

/* ---- after a RESET, where no link follows ---- */

/* What has got a value in this transaction that only the server knows: it is the client's own. */
static bool trust_unknown(struct session_sets *sets)
{
    struct params *server = params_ref(sets->server);
    bool ok = true;

    for (uint32_t i = 0; ok && i < params_count(server); i++) {
        if (strcmp(params_value(server, i), PARAMS_UNKNOWN) != 0)
            continue;
        const char *name = params_name(server, i), *own = params_get(sets->client, name);
        struct params *next =
            own != NULL ? params_with(sets->server, name, own) : params_without(sets->server, name);
        ok = next != NULL;
        if (ok) {
            params_unref(sets->server);
            sets->server = next;
        }
    }
    params_unref(server);
    return ok;
}

/* What client and server have at this point; references. */
static bool find_in_force(struct server *s, struct session_sets *sets)
{
    struct client *c = s->client;
    struct params *reported = pool_welcome(s->pool);

    *sets = (struct session_sets){.client = params_ref(c->params),
                                  .server = params_ref(s->params),
                                  .startup = c->startup,
                                  .reported = reported};
    bool ok = session_changes_in_force(&c->tracking->changes, sets) && trust_unknown(sets);
    params_unref(reported);
    return ok;
}

bool tracking_restore_begin(struct server *s)
{
    struct client *c = s->client;
    struct session_sets sets = {0};
    struct buf sql;

    if (s->tracker.tx_status == 'E' || tracker_is_busy(&s->tracker) || s->tracker.is_open ||
        (c->tracking != NULL && c->tracking->is_doubtful))
        return false;
    bool ok = tracking_ensure(c);
    if (ok)
        c->tracking->is_reset = false;
    buf_init(&sql, 1 << 20);
    ok = ok && find_in_force(s, &sets);
    const bool is_needed = ok && params_diff_sql(sets.server, sets.client, &sql) > 0;
    params_unref(sets.client);
    params_unref(sets.server);
    if (is_needed) {
        s->step = STEP_RESTORE;
        s->setup_failed = false;
        server_set_state(s, SERVER_SETUP);
        ok = !sql.failed && server_send_internal(s, buf_cstr(&sql));
    }
    buf_free(&sql);
    if (!ok)
        server_close(s, CLOSE_NO_MEMORY, NULL);
    return is_needed || !ok;
}

/* The server has them now: they count as SET by the client in this transaction. */
static bool note_restored(struct server *s)
{
    struct session_sets sets;
    bool ok = find_in_force(s, &sets);

    for (uint32_t i = 0; ok && i < params_count(sets.client); i++) {
        const char *name = params_name(sets.client, i), *value = params_value(sets.client, i);
        const char *there = params_get(sets.server, name);
        if (there == NULL || strcmp(there, value) != 0)
            ok = session_changes_set(&s->client->tracking->changes, name, value);
    }
    params_unref(sets.client);
    params_unref(sets.server);
    return ok;
}

void tracking_restore_done(struct server *s)
{
    s->step = STEP_NONE;
    if (!s->setup_failed && s->tracker.tx_status == 'I') {
        server_takes_settings(s, s->client);
    } else if (!s->setup_failed && !note_restored(s)) {
        server_close(s, CLOSE_NO_MEMORY, NULL);
        return;
    }
    tracking_trim(s->client);
    server_set_state(s, SERVER_ACTIVE);
    client_resume(s->client);
}
