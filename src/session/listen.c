/*
 * listen.c - LISTEN and UNLISTEN of clients whose servers are shared.
 *
 * The text goes to the client's server as it is, so that its errors, its tag and its place in the pipeline
 * are PostgreSQL's; but before it goes, the listening connection (listen_server.c) has the channels. So
 * nothing that is committed after the LISTEN has taken effect is missed. What has become of it is
 * seen in the answers: the tags of the statements, errors, and at ReadyForQuery whether the
 * transaction has ended. Changes of an open transaction are a list (listen_changes_add()); savepoints take
 * back the end of it.
 *
 * The server then listens itself, until its client has done with it: UNLISTEN * (link.c). What it is sent
 * meanwhile is dropped, since it comes by the listening connection, too.
 *
 * A Query with such a command, and an Execute of one, is sent only when whatever runs before it has been
 * answered, so one of them is under way at a time. Texts are looked at closely when they may hold one, and
 * all of them while a transaction has changes: savepoints and their end matter then.
 *
 * Threads: the owner's of client and server.
 */
#include <stdlib.h>
#include <string.h>

#include "listen_int.h"

#define MAX_LOOKED_AT_BYTES LISTEN_LOOK_BYTES

void listen_client_configure(struct client *c)
{
    c->maps_listen =
        c->listening != NULL || (c->pool_mode != POOL_MODE_SESSION && shard_settings(c->shard)->listen);
}

/* ---- reading ---- */

/* The commands of a text; *n is 0 when there are none that matter. is_run: at once, and not by an Execute,
 * ahead of which there may be a LISTEN. False: no memory. */
static bool read_commands(const struct client *c, const char *text, uint32_t text_bytes, bool is_run,
                          struct listen_command **commands, uint32_t *n)
{
    const char *encoding = params_get(c->params, "client_encoding");
    const char *strings = params_get(c->params, "standard_conforming_strings");
    const bool is_utf8 = encoding != NULL && strcmp(encoding, "UTF8") == 0;
    bool matters = c->listening != NULL || !is_run;

    *commands = NULL;
    *n = 0;
    if (!sql_encoding_is_safe(encoding))
        return true;
    if (!listen_read_commands(text, text_bytes, strings == NULL || strcmp(strings, "on") == 0, is_utf8,
                              commands, n))
        return false;
    for (uint32_t i = 0; i < *n; i++)
        matters = matters || (*commands)[i].kind == LISTEN_ON;
    if (!matters) {
        free(*commands);
        *commands = NULL;
        *n = 0;
    }
    return true;
}

/* Asks for the channels. WAITS: not all of them stand. */
static enum channel_answer want_all(struct client *c, const struct listen_command *commands, uint32_t n)
{
    enum channel_answer all = CHANNEL_STANDS;

    for (uint32_t i = 0; i < n; i++) {
        if (commands[i].kind != LISTEN_ON)
            continue;
        enum channel_answer answer = listening_want(c, commands[i].name);
        if (answer == CHANNEL_NO_MEMORY || answer == CHANNEL_TOO_MANY)
            return answer;
        if (answer == CHANNEL_WAITS)
            all = CHANNEL_WAITS;
    }
    return all;
}

static bool is_watching(const struct listening *l)
{
    return l->n_commands > l->next || !list_is_empty(&l->changes) || l->n_names > 0;
}

static void watch(struct client *c)
{
    c->listen_is_watching = c->listening != NULL && is_watching(c->listening);
    if (c->server != NULL)
        c->server->listen_is_watching = c->listen_is_watching;
}

/* ---- before it is sent ---- */

/* Takes the commands over; from now on the server's answers are held against them. */
static void begin(struct client *c, struct server *s, struct listen_command *commands, uint32_t n,
                  bool is_query)
{
    struct listening *l = c->listening;

    free(l->commands);
    l->commands = commands;
    l->n_commands = n;
    l->next = l->n_completed = 0;
    l->is_query = is_query;
    for (uint32_t i = 0; i < n; i++)
        s->has_listened = s->has_listened || commands[i].kind == LISTEN_ON;
    watch(c);
}

static enum prepared_step take_commands(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                        struct listen_command *commands, uint32_t n, bool is_query)
{
    enum prepared_step step =
        tracker_runs_nothing(&s->tracker) ? PREPARED_TAKEN : prepared_sql_wait(s, o, at);

    if (step == PREPARED_TAKEN)
        prepared_sql_goes_on(s);
    if (step == PREPARED_TAKEN && listening_ensure(c) == NULL)
        step = PREPARED_NO_MEMORY;
    if (step == PREPARED_TAKEN) {
        switch (want_all(c, commands, n)) {
        case CHANNEL_STANDS:
        case CHANNEL_REFUSED: break;
        case CHANNEL_WAITS: step = PREPARED_HOLD; break;
        case CHANNEL_TOO_MANY: step = PREPARED_TOO_LARGE; break;
        case CHANNEL_NO_MEMORY: step = PREPARED_NO_MEMORY; break;
        }
        if (step == PREPARED_HOLD)
            listening_wait(c);
    }
    if (step != PREPARED_TAKEN) {
        free(commands);
        return step;
    }
    listening_wait_end(c);
    begin(c, s, commands, n, is_query);
    return PREPARED_PLAIN;
}

/* The server does not look at what comes: a message that has waited for a channel does not any more. */
static bool is_ignored(struct client *c, struct server *s)
{
    if (!prepared_is_ignored(s))
        return false;
    listening_wait_end(c);
    return true;
}

/* May there be anything to see in it? */
static bool is_worth_reading(const struct client *c, const char *text, uint32_t text_bytes)
{
    return text_bytes <= MAX_LOOKED_AT_BYTES &&
           (c->listen_is_watching || listen_may_have_command(text, text_bytes, c->listening != NULL));
}

static enum prepared_step take_query(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                     const char *text, uint32_t text_bytes)
{
    struct listen_command *commands;
    enum prepared_step step = PREPARED_PLAIN;
    uint32_t n;

    if (!is_worth_reading(c, text, text_bytes))
        return step;
    if (!read_commands(c, text, text_bytes, true, &commands, &n))
        return PREPARED_NO_MEMORY;
    if (n > 0)
        step = take_commands(c, s, o, at, commands, n, true);
    if (step == PREPARED_PLAIN && c->listening != NULL) { /* the unnamed statement ends */
        step = listen_name_set(c->listening, false, "", 0, NULL, 0);
        watch(c);
    }
    return step;
}

/* The statement or portal of that name has this text from now on. */
static enum prepared_step note_text(struct client *c, bool is_portal, const char *name, uint32_t name_bytes,
                                    const char *text, uint32_t text_bytes, uint32_t position)
{
    struct listen_command *commands;
    enum prepared_step step = PREPARED_PLAIN;
    uint32_t n;

    if (!is_worth_reading(c, text, text_bytes))
        return step;
    if (!read_commands(c, text, text_bytes, false, &commands, &n))
        return PREPARED_NO_MEMORY;
    if (n > 0 && listening_ensure(c) == NULL)
        step = PREPARED_NO_MEMORY;
    else if (c->listening != NULL) /* several are refused */
        step = listen_name_set(c->listening, is_portal, name, name_bytes, n == 1 ? commands : NULL, position);
    free(commands);
    watch(c);
    return step;
}

enum prepared_step listen_bind_text(struct client *c, struct server *s, const struct statement_message *m,
                                    const char *text, uint32_t text_bytes)
{
    return note_text(c, true, m->portal, m->portal_bytes - 1, text, text_bytes, s->tracker.tail);
}

enum prepared_step listen_message(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                  uint32_t len_bytes)
{
    const uint8_t *message = o->data + at;
    const uint32_t whole_bytes = 1 + wire_u32(message + 1), here = len_bytes - at;
    const char *name = (const char *)message + WIRE_HEADER_BYTES;
    uint32_t head_bytes = WIRE_HEADER_BYTES, name_bytes = 0;

    if (whole_bytes > MAX_LOOKED_AT_BYTES || is_ignored(c, s))
        return PREPARED_PLAIN;
    if (here < whole_bytes) {
        c->wanted_bytes = whole_bytes;
        return PREPARED_MORE;
    }
    if (message[0] == 'P') {
        name_bytes = (uint32_t)strnlen(name, whole_bytes - head_bytes);
        head_bytes += name_bytes + 1;
    }
    if (whole_bytes <= head_bytes)
        return PREPARED_PLAIN;
    const char *text = (const char *)message + head_bytes;
    const uint32_t text_bytes = (uint32_t)strnlen(text, whole_bytes - head_bytes);
    return message[0] == 'Q' ? take_query(c, s, o, at, text, text_bytes)
                             : note_text(c, false, name, name_bytes, text, text_bytes, 0);
}

enum prepared_step listen_bind(struct client *c, struct server *s, const struct outgoing *o, uint32_t at,
                               uint32_t len_bytes)
{
    struct listening *l = c->listening;
    struct statement_message m;

    if (l == NULL || l->n_names == 0 || prepared_is_ignored(s))
        return PREPARED_PLAIN;
    enum prepared_step step = prepared_step_of_look(statement_look(o->data + at, len_bytes - at, &m));
    if (m.head_bytes == 0)
        return step;
    const struct listen_name *n = listen_name_find(l, false, m.name, m.name_bytes);
    step = listen_name_set(l, true, m.portal, m.portal_bytes - 1, n != NULL ? &n->command : NULL,
                           s->tracker.tail);
    watch(c);
    return step;
}

enum prepared_step listen_execute(struct client *c, struct server *s, struct outgoing *o, uint32_t at,
                                  uint32_t len_bytes)
{
    struct listening *l = c->listening;
    const char *portal;
    uint32_t portal_bytes;

    if (l == NULL || is_ignored(c, s))
        return PREPARED_PLAIN;
    enum prepared_step step =
        prepared_step_of_look(statement_look_portal(o->data + at, len_bytes - at, &portal, &portal_bytes));
    if (step != PREPARED_TAKEN)
        return step;
    struct listen_name *n = listen_name_find(l, true, portal, portal_bytes);
    if (n == NULL) { /* perhaps it went while this one waited */
        listening_wait_end(c);
        prepared_sql_goes_on(s);
        return PREPARED_PLAIN;
    }
    struct listen_command *copy = malloc(sizeof(*copy));
    if (copy == NULL)
        return PREPARED_NO_MEMORY;
    *copy = n->command;
    step = take_commands(c, s, o, at, copy, 1, false);
    if (step == PREPARED_PLAIN) /* it runs once */
        listen_name_drop(l, n);
    return step;
}

/* ---- before there is a server ---- */

/* The text of the message at data, if it has arrived whole: of a Query, a Parse, or of the statement that a
 * Bind is about. */
static const char *text_of(const struct client *c, const uint8_t *data, uint32_t len_bytes,
                           uint32_t *text_bytes)
{
    const uint32_t whole_bytes = 1 + wire_u32(data + 1);
    struct statement_message m;

    if (len_bytes < whole_bytes || whole_bytes <= WIRE_HEADER_BYTES + 1 || whole_bytes > MAX_LOOKED_AT_BYTES)
        return NULL;
    if (data[0] == 'B' && c->names != NULL && statement_look(data, len_bytes, &m) == STATEMENT_NAMED) {
        const struct statement_name *name = statement_names_find(c->names, m.name, m.name_bytes);
        if (name == NULL || !name->statement->may_listen)
            return NULL;
        *text_bytes = (uint32_t)strlen((const char *)name->statement->body);
        return (const char *)name->statement->body;
    }
    if (data[0] != 'Q' && (data[0] != 'P' || data[WIRE_HEADER_BYTES] != 0))
        return NULL;
    const uint32_t head_bytes = WIRE_HEADER_BYTES + (data[0] == 'P');
    *text_bytes = (uint32_t)strnlen((const char *)data + head_bytes, whole_bytes - head_bytes);
    return (const char *)data + head_bytes;
}

bool listen_waits_first(struct client *c, const uint8_t *data, uint32_t len_bytes)
{
    struct listen_command *commands;
    uint32_t text_bytes, n;
    const char *text = text_of(c, data, len_bytes, &text_bytes);

    if (text == NULL || !listen_may_have_command(text, text_bytes, false) ||
        !read_commands(c, text, text_bytes, true, &commands, &n) || n == 0)
        return false;
    bool waits = listening_ensure(c) != NULL && want_all(c, commands, n) == CHANNEL_WAITS;
    free(commands);
    if (waits)
        listening_wait(c);
    else
        listening_wait_end(c);
    return waits;
}

/* ---- what becomes of it ---- */

static const struct {
    const char *tag;
    enum listen_command_kind kind;
} tags[] = {
    {"LISTEN", LISTEN_ON},           {"UNLISTEN", LISTEN_OFF}, /* or OFF_ALL */
    {"DISCARD ALL", LISTEN_OFF_ALL}, {"SAVEPOINT", LISTEN_SAVEPOINT},
    {"RELEASE", LISTEN_RELEASE},     {"ROLLBACK", LISTEN_ROLLBACK_TO}, /* or of the whole */
};

static enum listen_command_kind kind_of_tag(const uint8_t *body, uint32_t len_bytes)
{
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
        if (len_bytes == strlen(tags[i].tag) + 1 && memcmp(body, tags[i].tag, len_bytes) == 0)
            return tags[i].kind;
    return LISTEN_OTHER;
}

static bool is_tag(const uint8_t *body, uint32_t len_bytes, const char *tag)
{
    return len_bytes == strlen(tag) + 1 && memcmp(body, tag, len_bytes) == 0;
}

/* The command that has just been performed, or NULL: it is none of ours. */
static const struct listen_command *take_command(struct listening *l, enum listen_command_kind kind)
{
    const uint32_t index = l->n_completed++;

    if (l->next == l->n_commands)
        return NULL;
    const struct listen_command *x = &l->commands[l->next];
    const bool is_off_all = x->kind == LISTEN_OFF_ALL && kind == LISTEN_OFF;
    const bool is_its = x->kind == kind || is_off_all;
    if (l->is_query ? x->index != index : !is_its)
        return NULL;
    l->next++;
    return is_its ? x : NULL;
}

/* False: the client has gone. */
static bool apply(struct client *c)
{
    if (listening_apply(c->listening))
        return true;
    client_close(c, CLOSE_LISTEN_FAILED, "the server that listens has refused it");
    return false;
}

void listen_on_complete(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    struct client *c = s->client;
    struct listening *l = c != NULL ? c->listening : NULL;

    if (l == NULL)
        return;
    const enum listen_command_kind kind = kind_of_tag(body, len_bytes);
    const struct listen_command *x = take_command(l, kind);
    if (x != NULL) {
        if (!listen_changes_add(&l->changes, x->kind, x->name))
            client_close(c, CLOSE_NO_MEMORY, NULL);
    } else if (is_tag(body, len_bytes, "COMMIT")) {
        (void)apply(c);
    } else if (kind == LISTEN_ROLLBACK_TO || is_tag(body, len_bytes, "PREPARE TRANSACTION")) {
        listen_changes_clear(&l->changes);
    }
}

void listen_on_error(struct server *s)
{
    if (s->client != NULL && s->client->listening != NULL)
        s->client->listening->has_failed = true;
}

void listen_on_ready(struct server *s)
{
    struct client *c = s->client;
    struct listening *l = c != NULL ? c->listening : NULL;

    if (l == NULL)
        return;
    const bool has_failed = l->has_failed;
    l->has_failed = false;
    l->n_commands = l->next = 0;
    if (s->tracker.tx_status == 'I') {
        listen_portals_end(l, s->tracker.head);
        if (has_failed)
            listen_changes_clear(&l->changes);
        else if (!apply(c))
            return;
    }
    listening_settle(l, true);
    watch(c);
}

void listen_unlink(struct client *c)
{
    struct listening *l = c->listening;

    c->server->listen_is_watching = false;
    if (l == NULL)
        return;
    l->has_failed = false;
    l->n_commands = l->next = 0;
    listening_wait_end(c);
    listen_portals_end(l, c->server->tracker.tail + 1);
    if (!list_is_empty(&l->changes)) { /* its transaction has been ended */
        listen_changes_clear(&l->changes);
        listening_settle(l, false);
    }
    c->listen_is_watching = is_watching(l);
}
