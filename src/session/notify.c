/*
 * notify.c - what clients are seen to notify, for notifiers.c.
 *
 * Only while somebody listens. A text in which there is "notify", be it NOTIFY or pg_notify(), is searched
 * for literals; the values that are bound to it count as well. Payloads that the database makes are not seen.
 * Of a statement that prepared.c keeps, its text is there at a Bind; of others, the names are kept here.
 *
 * Threads: the owner's of client and server.
 */
#include <stdlib.h>
#include <string.h>

#include "listen_int.h"
#include "session/notifiers.h"

#define MAX_NAMES 64u /* of one client; the oldest go */

/* A statement of the client's. */
struct notify_name {
    struct notify_name *next;
    uint32_t name_bytes;
    char name[];
};

/* Where it is, or would be. */
static struct notify_name **find_name(struct client *c, const char *name, uint32_t name_bytes)
{
    struct notify_name **at = &c->notifying;

    while (*at != NULL && ((*at)->name_bytes != name_bytes || memcmp((*at)->name, name, name_bytes) != 0))
        at = &(*at)->next;
    return at;
}

static void drop_name(struct notify_name **at)
{
    struct notify_name *n = *at;

    if (n == NULL)
        return;
    *at = n->next;
    free(n);
}

static void drop_beyond(struct notify_name **at, uint32_t n)
{
    while (*at != NULL && n-- > 0)
        at = &(*at)->next;
    while (*at != NULL)
        drop_name(at);
}

void notify_client_free(struct client *c)
{
    drop_beyond(&c->notifying, 0);
}

static void add_name(struct client *c, const char *name, uint32_t name_bytes)
{
    struct notify_name *n = malloc(sizeof(*n) + name_bytes);

    if (n == NULL) /* then its notifications are of who has the server */
        return;
    n->name_bytes = name_bytes;
    memcpy(n->name, name, name_bytes);
    n->next = c->notifying;
    c->notifying = n;
    drop_beyond(&n->next, MAX_NAMES - 1);
}

static void say_text(struct client *c, struct server *s, const char *text, uint32_t text_bytes)
{
    notifier_says_text(s->shard->instance->notifiers, s->notifier, client_pid(c), text, text_bytes,
                       s->shard->now_us);
}

/* The values of a Bind. */
static void say_values(struct client *c, struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    struct wire_reader r;

    wire_reader_init(&r, body, len_bytes);
    (void)wire_read_cstr(&r);
    (void)wire_read_cstr(&r);
    (void)wire_read_bytes(&r, 2 * (size_t)wire_read_u16(&r));
    for (uint16_t n = wire_read_u16(&r); n > 0 && !r.bad; n--) {
        const uint32_t bytes = wire_read_u32(&r);
        const uint8_t *value = bytes != UINT32_MAX ? wire_read_bytes(&r, bytes) : NULL;
        if (value != NULL)
            notifier_says_value(s->shard->instance->notifiers, s->notifier, client_pid(c), value, bytes,
                                s->shard->now_us);
    }
}

static void look_at_bind(struct client *c, struct server *s, const uint8_t *message, uint32_t whole_bytes)
{
    struct statement_message m;
    const struct statement_name *name = NULL;

    if (statement_look(message, whole_bytes, &m) == STATEMENT_NAMED && c->maps_statements && c->names != NULL)
        name = statement_names_find(c->names, m.name, m.name_bytes);
    if (m.head_bytes == 0) /* malformed */
        return;
    if (name != NULL) {
        if (!name->statement->may_notify)
            return;
        const char *text = (const char *)name->statement->body;
        say_text(c, s, text, (uint32_t)strlen(text));
    } else if (*find_name(c, m.name, m.name_bytes) == NULL) {
        return;
    }
    say_values(c, s, message + WIRE_HEADER_BYTES, whole_bytes - WIRE_HEADER_BYTES);
}

static void look_at_parse(struct client *c, struct server *s, const char *name, uint32_t bytes)
{
    const uint32_t name_bytes = (uint32_t)strnlen(name, bytes - 1);
    const char *text = name + name_bytes + 1;
    const uint32_t text_bytes = bytes - name_bytes - 1;

    if (name_bytes > 0 && c->maps_statements)
        return;
    drop_name(find_name(c, name, name_bytes));
    if (!listen_may_notify(text, text_bytes))
        return;
    add_name(c, name, name_bytes);
    if (name_bytes == 0)
        say_text(c, s, text, (uint32_t)strnlen(text, text_bytes));
}

static void look_at_close(struct client *c, const uint8_t *message, uint32_t whole_bytes)
{
    struct statement_message m;

    if (c->notifying != NULL && statement_look(message, whole_bytes, &m) == STATEMENT_NAMED)
        drop_name(find_name(c, m.name, m.name_bytes));
}

void notify_look(struct client *c, struct server *s, const uint8_t *message, uint32_t here_bytes)
{
    const uint32_t whole_bytes = 1 + wire_u32(message + 1);

    if (here_bytes < whole_bytes || whole_bytes > LISTEN_LOOK_BYTES || whole_bytes <= WIRE_HEADER_BYTES)
        return;
    const char *text = (const char *)message + WIRE_HEADER_BYTES;
    const uint32_t bytes = whole_bytes - WIRE_HEADER_BYTES;
    switch (message[0]) {
    case 'B': look_at_bind(c, s, message, whole_bytes); return;
    case 'P': look_at_parse(c, s, text, bytes); return;
    case 'C': look_at_close(c, message, whole_bytes); return;
    case 'Q':
        if (listen_may_notify(text, bytes))
            say_text(c, s, text, (uint32_t)strnlen(text, bytes));
        return;
    default: return;
    }
}
