/*
 * tracking.c - what clients send that changes their settings (session_state).
 *
 * Threads: the owner's of client and server. See tracking.h.
 */
#include "tracking.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "once.h"
#include "pin_watch.h"

#define MAX_READ_BYTES                                                                                       \
    65536u                    /* of a text that begins with something; what stands behind is not looked at   \
                               */
#define MAX_NAMES_BYTES 4096u /* of portal and statement in one message */

static const char refused_text[] = "session_state = error: a setting was refused by pgsluice";

/* ---- memory ---- */

bool tracking_ensure(struct client *c)
{
    if (c->tracking != NULL)
        return true;
    c->tracking = calloc(1, sizeof(*c->tracking));
    if (c->tracking == NULL)
        return false;
    list_init(&c->tracking->sent);
    list_init(&c->tracking->names);
    buf_init(&c->tracking->told, 1 << 20);
    return true;
}

void tracking_drop_request(struct tracked_request *r)
{
    list_del(&r->node);
    session_ops_unref(r->ops);
    free(r);
}

static void drop_next(struct tracking *t)
{
    session_ops_unref(t->next);
    t->next = NULL;
}

void tracking_client_free(struct client *c)
{
    struct tracking *t = c->tracking;

    params_unref(c->startup);
    c->startup = NULL;
    if (t == NULL)
        return;
    drop_next(t);
    LIST_FOR_EACH_SAFE (it, &t->sent)
        tracking_drop_request(list_entry(it, struct tracked_request, node));
    LIST_FOR_EACH_SAFE (it, &t->names)
        tracking_drop_name(c, list_entry(it, struct tracked_name, node));
    session_changes_free(&t->changes);
    buf_free(&t->told);
    params_unref(t->in_force);
    params_unref(t->in_force_of);
    free(t);
    c->tracking = NULL;
}

void tracking_trim(struct client *c)
{
    struct tracking *t = c->tracking;
    struct params *startup = c->startup;

    if (t == NULL)
        return;
    const bool is_tracked =
        !list_is_empty(&t->sent) || !session_changes_is_empty(&t->changes) || t->is_unsettled;
    if (c->server != NULL)
        c->server->is_tracked = is_tracked;
    if (is_tracked || t->is_doubtful || t->next != NULL || !list_is_empty(&t->names))
        return;
    c->startup = NULL;
    tracking_client_free(c);
    c->startup = startup;
}

static bool is_pinned(const struct client *c)
{
    return c->pin != NULL && (c->pin->reasons & PIN_SETTINGS) != 0;
}

/* enum config_session_state; who is pinned for its settings stays so, whatever has been set meanwhile. */
static int policy(const struct client *c)
{
    return is_pinned(c) ? SESSION_STATE_PIN : c->session_state;
}

void tracking_configure(struct client *c)
{
    const int state = policy(c);

    c->watches_settings =
        c->pool_mode != POOL_MODE_SESSION && state != SESSION_STATE_IGNORE && c->startup != NULL;
    c->is_strict = c->watches_settings && (state == SESSION_STATE_TRACK || state == SESSION_STATE_PIN) &&
                   shard_settings(c->shard)->strict;
}

void tracking_unlink(struct server *s, struct client *c)
{
    struct tracking *t = c->tracking;

    s->is_tracked = false;
    if (t == NULL)
        return;
    LIST_FOR_EACH_SAFE (it, &t->sent) {
        struct tracked_request *r = list_entry(it, struct tracked_request, node);
        if ((int32_t)(r->position - s->tracker.head) >= 0)
            s->tracker.is_tainted = true; /* nobody will learn what it did */
        tracking_drop_request(r);
    }
    session_changes_clear(&t->changes);
    tracking_leave_names(c);
    t->has_failed = t->is_refusing = t->is_doubtful = t->is_nameless = t->is_reset = false;
    buf_clear(&t->told);
    tracking_trim(c);
}

/* ---- texts ---- */

static bool is_setting(const struct session_op *op)
{
    return op->kind == SQL_SESSION_SET || op->kind == SQL_SESSION_SET_CONFIG;
}

static bool is_about_settings(const struct session_op *op)
{
    return is_setting(op) || op->kind == SQL_SESSION_RESET || op->kind == SQL_SESSION_RESET_ALL ||
           op->kind == SQL_SESSION_DISCARD_ALL;
}

static bool is_savepoint(const struct session_op *op)
{
    return op->kind == SQL_SESSION_SAVEPOINT || op->kind == SQL_SESSION_RELEASE ||
           op->kind == SQL_SESSION_ROLLBACK_TO;
}

/* Tags say the rest. */
static bool is_needed(const struct session_ops *ops, bool with_savepoints)
{
    for (uint32_t i = 0; i < ops->n; i++) {
        if (is_about_settings(&ops->items[i]) || (with_savepoints && is_savepoint(&ops->items[i])))
            return true;
    }
    return false;
}

/* What servers report follows its client whatever session_state says. */
static bool stays_behind(const struct params *reported, const char *name)
{
    return params_get(reported, name) == NULL || strcasecmp(name, "session_authorization") == 0;
}

/* A setting of the session that would stay with the server; NULL: none. What is hidden is followed, and not
 * judged: mostly it is none. */
static const char *find_left_behind(const struct client *c, const struct session_ops *ops)
{
    struct params *reported = pool_welcome(c->pool);
    const char *found = NULL;

    for (uint32_t i = 0; i < ops->n && found == NULL; i++) {
        const struct session_op *op = &ops->items[i];
        if (is_setting(op) && !op->is_hidden && !op->is_local && stays_behind(reported, op->name))
            found = op->name[0] != '\0' ? op->name : "set_config()";
    }
    params_unref(reported);
    return found;
}

static void warn(const struct client *c, const struct session_ops *ops)
{
    const char *setting = find_left_behind(c, ops);
    const char *application = params_get(c->params, "application_name");

    if (application == NULL)
        application = "";
    if (setting != NULL && once(application, setting))
        client_log(c, LOG_LVL_WARNING,
                   "application \"%s\" sets %s for its session, which stays with the server "
                   "(session_state = warn)",
                   application, setting);
}

/* The text of a Query or Parse: what it does. PLAIN: *ops, a reference, or NULL for nothing. */
static enum prepared_step read_text(struct client *c, const struct server *s, const char *text,
                                    uint32_t here_bytes, uint32_t text_bytes, struct session_ops **ops)
{
    const char *encoding = params_get(c->params, "client_encoding");
    const char *strings = params_get(s->params, "standard_conforming_strings");
    struct sql_lexer l = {.text = text,
                          .len_bytes = here_bytes,
                          .standard_strings = strings == NULL || strcasecmp(strings, "off") != 0};

    *ops = NULL;
    if (!sql_encoding_is_safe(encoding)) {
        for (uint32_t i = 0; i < here_bytes; i++) {
            if ((uint8_t)text[i] > 0x7f)
                return PREPARED_PLAIN;
        }
    }
    const bool is_utf8 = encoding != NULL && strcasecmp(encoding, "UTF8") == 0;
    switch (session_ops_read(&l, is_utf8, here_bytes < text_bytes, ops)) {
    case SESSION_OPS_OK:
    case SESSION_OPS_NONE: return PREPARED_PLAIN;
    case SESSION_OPS_NO_MEMORY: break;
    }
    return PREPARED_NO_MEMORY;
}

/*
 * head_bytes of the message are there, and its text begins behind them. PLAIN: as read_text(); but is there
 * anything to be done about it? MORE: too little of it has arrived.
 */
static enum prepared_step look(struct client *c, const struct server *s, const uint8_t *message,
                               uint32_t head_bytes, uint32_t here_bytes, struct session_ops **ops)
{
    const uint32_t whole_bytes = 1 + wire_u32(message + 1);
    const uint32_t here = here_bytes < whole_bytes ? here_bytes : whole_bytes;
    const char *text = (const char *)message + head_bytes;
    const bool is_cut = whole_bytes > head_bytes + MAX_READ_BYTES;
    const uint32_t wanted = is_cut ? head_bytes + MAX_READ_BYTES : whole_bytes;

    *ops = NULL;
    if (here < wanted && here < head_bytes + SQL_LOOK_MAX_BYTES) {
        c->wanted_bytes = wanted < head_bytes + SQL_LOOK_MAX_BYTES ? wanted : head_bytes + SQL_LOOK_MAX_BYTES;
        return PREPARED_MORE;
    }
    const uint32_t n = (uint32_t)strnlen(text, (here < wanted ? here : wanted) - head_bytes);
    if ((sql_look(text, n) & (SQL_LOOK_CLOSELY | SQL_LOOK_TRANSACTION)) == 0)
        return PREPARED_PLAIN;
    if (here < wanted) {
        c->wanted_bytes = wanted;
        return PREPARED_MORE;
    }
    return read_text(c, s, text, n, is_cut && n == MAX_READ_BYTES ? n + 1 : n, ops);
}

/* ---- what no text tells ---- */

bool tracking_doubt(struct client *c, struct server *s, const char *name)
{
    if (!c->watches_settings || policy(c) == SESSION_STATE_WARN)
        return true;
    if (!tracking_ensure(c))
        return false;
    c->tracking->is_doubtful = true;
    c->tracking->is_nameless = c->tracking->is_nameless || name[0] == '\0';
    if (strchr(name, '.') == NULL)
        return true; /* PostgreSQL has a list of them */
    struct params *now = params_with(s->params, name, PARAMS_UNKNOWN);
    if (now == NULL)
        return false;
    params_unref(s->params);
    s->params = now;
    return true;
}

bool tracking_doubt_ops(struct client *c, struct server *s, const struct session_ops *ops)
{
    bool ok = true;

    for (uint32_t i = 0; i < ops->n && ok; i++) {
        const struct session_op *op = &ops->items[i];
        if (is_about_settings(op) && !op->is_local)
            ok = tracking_doubt(c, s, op->name);
    }
    return ok;
}

bool tracking_execute(struct client *c, struct server *s, struct statement *statement)
{
    const char *text = (const char *)statement->body;
    struct session_ops *ops;

    if (!c->watches_settings || likely((statement_sql_look(statement) & SQL_LOOK_CLOSELY) == 0))
        return true;
    const uint32_t n = (uint32_t)strnlen(text, MAX_READ_BYTES);
    if (read_text(c, s, text, n, n, &ops) != PREPARED_PLAIN)
        return false;
    const bool ok = ops == NULL || tracking_doubt_ops(c, s, ops);
    session_ops_unref(ops);
    return ok;
}

/* ---- refusing ---- */

static bool has_reset(const struct session_ops *ops)
{
    for (uint32_t i = 0; ops != NULL && i < ops->n; i++) {
        const enum sql_session_kind kind = ops->items[i].kind;
        if (kind == SQL_SESSION_RESET || kind == SQL_SESSION_RESET_ALL || kind == SQL_SESSION_DISCARD_ALL)
            return true;
    }
    return false;
}

static bool add_request(struct client *c, struct server *s, struct session_ops *ops)
{
    struct tracked_request *r = tracking_ensure(c) ? calloc(1, sizeof(*r)) : NULL;

    if (r == NULL) {
        session_ops_unref(ops);
        return false;
    }
    r->position = s->tracker.tail - 1;
    r->ops = ops;
    r->is_refused = ops == NULL;
    c->tracking->resets = (tracker_in_flight(&s->tracker) > 1 && c->tracking->resets) || has_reset(ops);
    list_push_back(&c->tracking->sent, &r->node);
    s->is_tracked = true;
    return true;
}

/* Something that PostgreSQL cannot take goes in place of the message, so that it fails there, at its time. */
static enum prepared_step refuse(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                 uint32_t len_bytes, uint32_t *used)
{
    const uint8_t type = o->data[at];
    const uint32_t whole_bytes = 1 + wire_u32(o->data + at + 1);

    if (whole_bytes > STATEMENT_MAX_BODY_BYTES)
        return PREPARED_TOO_LARGE;
    if (len_bytes - at < whole_bytes) {
        c->wanted_bytes = whole_bytes;
        return PREPARED_MORE;
    }
    o->unnamed_at = OUTGOING_NO_UNNAMED;
    unnamed_ends(c, s);
    if (c->unnamed != NULL && !unnamed_forget(c, s, o, at))
        return PREPARED_LOST;
    if (!outgoing_reserve(s, o, at))
        return PREPARED_LOST;
    enum prepared_step step = prepared_step_of(tracker_client(&s->tracker, type));
    if (step != PREPARED_TAKEN)
        return step;
    if (!add_request(c, s, NULL))
        return PREPARED_NO_MEMORY;
    outgoing_range(o, at);
    uint8_t *out = outgoing_scratch(o);
    const uint32_t ends = type == 'P' ? 1 : 0, n = 4 + ends + sizeof(refused_text) + 2 * ends;
    memset(out, 0, 1 + n);
    out[0] = type;
    out[4] = (uint8_t)n;
    memcpy(out + WIRE_HEADER_BYTES + ends, refused_text, sizeof(refused_text));
    outgoing_put_scratch(o, 1 + n);
    o->start = at + whole_bytes;
    *used = whole_bytes;
    return PREPARED_TAKEN;
}

/* ---- pinning ---- */

/* session_state = pin, and the message at data[at..] is about to do that; text: NULL where it is not known
 * any more. */
static enum prepared_step pin(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                              uint32_t len_bytes, const struct session_ops *ops, const char *text,
                              uint32_t text_bytes, uint32_t *used)
{
    const char *setting = find_left_behind(c, ops);
    char command[SQL_SETTING_NAME_BYTES + 8];

    if (setting == NULL)
        return PREPARED_PLAIN;
    if (text == NULL) {
        text = command;
        text_bytes = (uint32_t)snprintf(command, sizeof(command), "SET %s", setting);
        text_bytes = text_bytes < sizeof(command) ? text_bytes : (uint32_t)sizeof(command) - 1;
    }
    switch (pin_request(c, PIN_SETTINGS, false, text, text_bytes)) {
    case PIN_GRANTED: return PREPARED_PLAIN;
    case PIN_NO_MEMORY: return PREPARED_NO_MEMORY;
    case PIN_REFUSED: break;
    }
    return pin_watch_refuse(c, s, o, at, len_bytes, o->data[at], wire_u32(o->data + at + 1), used);
}

bool tracking_may_set(struct client *c, const struct server *s, const char *text, uint32_t text_bytes)
{
    const uint32_t n = text_bytes < MAX_READ_BYTES ? text_bytes : MAX_READ_BYTES;
    struct session_ops *ops;
    bool found = n < text_bytes;

    if (read_text(c, s, text, n, text_bytes, &ops) != PREPARED_PLAIN)
        return true;
    for (uint32_t i = 0; ops != NULL && i < ops->n && !found; i++)
        found = is_about_settings(&ops->items[i]) && strchr(ops->items[i].name, '.') == NULL;
    session_ops_unref(ops);
    return found;
}

/* Has its session a setting that is not as it came, or may it have one? */
static bool has_settings(const struct client *c)
{
    const struct tracking *t = c->tracking;
    bool found =
        t != NULL && (!list_is_empty(&t->sent) || !session_changes_is_empty(&t->changes) || t->is_doubtful);
    struct params *reported = pool_welcome(c->pool);

    for (uint32_t i = 0; i < params_count(c->params) && !found; i++) {
        const char *name = params_name(c->params, i), *came_with = params_get(c->startup, name);
        found = stays_behind(reported, name) &&
                (came_with == NULL || strcmp(came_with, params_value(c->params, i)) != 0);
    }
    params_unref(reported);
    return found;
}

void tracking_unpin(struct client *c)
{
    if (likely(!is_pinned(c)) || has_settings(c))
        return;
    pin_gone(c, PIN_SETTINGS);
    tracking_configure(c);
}

/* What session_state says to the text. TAKEN: it is done with. */
static enum prepared_step judge(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                uint32_t len_bytes, uint32_t *used, struct session_ops **ops)
{
    const int state = policy(c);
    enum prepared_step step = PREPARED_PLAIN;

    if (*ops == NULL || state == SESSION_STATE_TRACK)
        return step;
    /* what a Parse has brought pins when it is executed */
    if (state == SESSION_STATE_PIN && o->data[at] == 'Q') {
        const uint32_t text_bytes = wire_u32(o->data + at + 1) - 4, here = len_bytes - at - WIRE_HEADER_BYTES;
        const char *text = (const char *)o->data + at + WIRE_HEADER_BYTES;
        step = pin(c, s, o, at, len_bytes, *ops, text,
                   (uint32_t)strnlen(text, here < text_bytes ? here : text_bytes), used);
    } else if (state == SESSION_STATE_ERROR && find_left_behind(c, *ops) != NULL) {
        step = refuse(c, s, o, at, len_bytes, used);
    } else if (state == SESSION_STATE_WARN) {
        warn(c, *ops);
    }
    if (step != PREPARED_PLAIN || state == SESSION_STATE_WARN) {
        session_ops_unref(*ops);
        *ops = NULL;
    }
    return step;
}

/* ---- messages ---- */

static enum prepared_step take_query(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                     uint32_t len_bytes, uint32_t *used)
{
    struct session_ops *ops;

    if (1 + wire_u32(o->data + at + 1) <= WIRE_HEADER_BYTES)
        return PREPARED_PLAIN;
    enum prepared_step step = look(c, s, o->data + at, WIRE_HEADER_BYTES, len_bytes - at, &ops);
    if (step == PREPARED_PLAIN)
        step = judge(c, s, o, at, len_bytes, used, &ops);
    if (step != PREPARED_PLAIN)
        return step;
    tracking_forget_name(c, s, false, "", 0); /* the unnamed statement ends, and so does its portal */
    tracking_forget_name(c, s, true, "", 0);
    if (ops == NULL || (c->tracking == NULL && !is_needed(ops, false))) {
        session_ops_unref(ops);
        return PREPARED_PLAIN;
    }
    if (!tracking_ensure(c)) {
        session_ops_unref(ops);
        return PREPARED_NO_MEMORY;
    }
    c->tracking->next = ops;
    return PREPARED_PLAIN;
}

/* A string that ends within the message. NULL: it does not, or has not arrived (*is_more). */
static const char *take_string(const uint8_t *message, uint32_t here_bytes, uint32_t *at, uint32_t *n,
                               bool *is_more)
{
    const uint32_t whole_bytes = 1 + wire_u32(message + 1);
    const uint32_t here = here_bytes < whole_bytes ? here_bytes : whole_bytes;
    const uint8_t *end = *at < here ? memchr(message + *at, 0, here - *at) : NULL;

    *is_more = end == NULL && here < whole_bytes && here < MAX_NAMES_BYTES;
    if (end == NULL)
        return NULL;
    const char *string = (const char *)message + *at;
    *n = (uint32_t)(end - (const uint8_t *)string);
    *at += *n + 1;
    return string;
}

static enum prepared_step no_string(struct client *c, bool is_more, uint32_t here_bytes)
{
    if (!is_more)
        return PREPARED_PLAIN;
    c->wanted_bytes = here_bytes + 1;
    return PREPARED_MORE;
}

/* The client's statement as it was written; NULL: it has none by that name. */
static const struct statement *find_statement(struct client *c, const char *name, uint32_t name_bytes)
{
    const struct statement_name *n =
        c->names != NULL ? statement_names_find(c->names, name, name_bytes) : NULL;

    return n != NULL ? statement_name_source(n) : NULL;
}

static uint64_t hash_text(const char *text, uint32_t here_bytes)
{
    return hash_bytes(text, strnlen(text, here_bytes < MAX_READ_BYTES ? here_bytes : MAX_READ_BYTES));
}

static enum prepared_step take_parse(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                     uint32_t len_bytes, uint32_t *used)
{
    const uint8_t *message = o->data + at;
    uint32_t head_bytes = WIRE_HEADER_BYTES, name_bytes;
    struct session_ops *ops;
    bool is_more;
    const char *name = take_string(message, len_bytes - at, &head_bytes, &name_bytes, &is_more);

    if (name == NULL)
        return no_string(c, is_more, len_bytes - at);
    const bool is_taken = name_bytes > 0 && tracking_find_name(c, false, name, name_bytes) != NULL;
    if (is_taken && !(c->maps_statements && find_statement(c, name, name_bytes) == NULL))
        return PREPARED_PLAIN; /* which PostgreSQL will refuse */
    enum prepared_step step = look(c, s, message, head_bytes, len_bytes - at, &ops);
    if (step == PREPARED_PLAIN)
        step = judge(c, s, o, at, len_bytes, used, &ops);
    if (step != PREPARED_PLAIN)
        return step;
    tracking_forget_name(c, s, false, name, name_bytes);
    if (ops != NULL && is_needed(ops, name_bytes > 0 || c->tracking != NULL)) {
        const char *text = (const char *)message + head_bytes;
        const uint32_t here =
            len_bytes - at < 1 + wire_u32(message + 1) ? len_bytes - at : 1 + wire_u32(message + 1);
        const uint32_t here_bytes = here - head_bytes;
        step = tracking_add_name(c, s, false, name, name_bytes, ops);
        if (step == PREPARED_PLAIN)
            tracking_find_name(c, false, name, name_bytes)->text_hash = hash_text(text, here_bytes);
        return step;
    }
    session_ops_unref(ops);
    return PREPARED_PLAIN;
}

/* What is known of a named statement, if it is this one: it may have been closed, or never made, and made
 * anew. */
static const struct tracked_name *find_current(struct client *c, const char *name, uint32_t name_bytes)
{
    struct tracked_name *n = tracking_find_name(c, false, name, name_bytes);

    if (n == NULL || name_bytes == 0 || !c->maps_statements)
        return n;
    const struct statement *statement = find_statement(c, name, name_bytes);
    if (statement != NULL && hash_text((const char *)statement->body, statement->body_bytes) == n->text_hash)
        return n;
    tracking_drop_name(c, n);
    return NULL;
}

static enum prepared_step take_bind(struct client *c, struct server *s, const struct outgoing *o, uint32_t at,
                                    uint32_t len_bytes)
{
    const uint8_t *message = o->data + at;
    const uint32_t whole_bytes = 1 + wire_u32(message + 1), here = len_bytes - at;
    uint32_t rest = WIRE_HEADER_BYTES, portal_bytes, name_bytes;
    bool is_more;
    const char *portal = take_string(message, here, &rest, &portal_bytes, &is_more), *name = NULL;

    if (portal != NULL)
        name = take_string(message, here, &rest, &name_bytes, &is_more);
    if (name == NULL)
        return no_string(c, is_more, here);
    const struct tracked_name *n = find_current(c, name, name_bytes);
    if (n != NULL && n->ops->has_params && here < whole_bytes && here < MAX_READ_BYTES) {
        c->wanted_bytes = whole_bytes < MAX_READ_BYTES ? whole_bytes : MAX_READ_BYTES;
        return PREPARED_MORE;
    }
    tracking_forget_name(c, s, true, portal, portal_bytes);
    if (n == NULL)
        return tracking_use_unsure(c, s, name, name_bytes) ? PREPARED_PLAIN : PREPARED_NO_MEMORY;
    struct session_ops *ops =
        session_ops_bind(n->ops, message + rest, (here < whole_bytes ? here : whole_bytes) - rest);
    return ops != NULL ? tracking_add_name(c, s, true, portal, portal_bytes, ops) : PREPARED_NO_MEMORY;
}

static enum prepared_step take_execute(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                       uint32_t len_bytes, uint32_t *used)
{
    uint32_t rest = WIRE_HEADER_BYTES, n_bytes;
    bool is_more;
    const char *portal = take_string(o->data + at, len_bytes - at, &rest, &n_bytes, &is_more);

    if (portal == NULL)
        return no_string(c, is_more, len_bytes - at);
    const struct tracked_name *n = tracking_find_name(c, true, portal, n_bytes);
    if (n == NULL)
        return PREPARED_PLAIN;
    if (policy(c) == SESSION_STATE_PIN) {
        enum prepared_step step = pin(c, s, o, at, len_bytes, n->ops, NULL, 0, used);
        if (step != PREPARED_PLAIN)
            return step;
    }
    c->tracking->next = session_ops_ref(n->ops);
    return PREPARED_PLAIN;
}

static enum prepared_step take_close(struct client *c, struct server *s, const struct outgoing *o,
                                     uint32_t at, uint32_t len_bytes)
{
    uint32_t rest = WIRE_HEADER_BYTES + 1, n_bytes;
    bool is_more;
    const char *name = take_string(o->data + at, len_bytes - at, &rest, &n_bytes, &is_more);

    if (name == NULL)
        return no_string(c, is_more, len_bytes - at);
    tracking_forget_name(c, s, o->data[at + WIRE_HEADER_BYTES] == 'P', name, n_bytes);
    return PREPARED_PLAIN;
}

enum prepared_step tracking_take(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                 uint32_t len_bytes, uint32_t *used)
{
    if (c->tracking != NULL)
        drop_next(c->tracking);
    if (s->tracker.is_skipping) /* the server does not look at it */
        return PREPARED_PLAIN;
    switch (o->data[at]) {
    case 'Q': return take_query(c, s, o, at, len_bytes, used);
    case 'P': return take_parse(c, s, o, at, len_bytes, used);
    case 'B': return take_bind(c, s, o, at, len_bytes);
    case 'E': return take_execute(c, s, o, at, len_bytes, used);
    case 'C': return take_close(c, s, o, at, len_bytes);
    default: return PREPARED_PLAIN;
    }
}

bool tracking_sent(struct client *c, struct server *s)
{
    struct tracking *t = c->tracking;

    if (t == NULL)
        return true;
    if (t->next == NULL) {
        tracking_trim(c);
        return true;
    }
    struct session_ops *ops = t->next;
    t->next = NULL;
    return add_request(c, s, ops);
}
