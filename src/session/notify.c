/*
 * notify.c - what clients are seen to notify, for notifiers.c.
 *
 * Only while somebody listens. A text in which there is "notify", be it NOTIFY or pg_notify(), is searched
 * for literals; the values that are bound to it count as well. Payloads that the database makes are not seen.
 *
 * Threads: the owner's of client and server.
 */
#include <string.h>

#include "listen_int.h"
#include "session/notifiers.h"

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

    if (c->maps_statements && c->names != NULL &&
        statement_look(message, whole_bytes, &m) == STATEMENT_NAMED) {
        const struct statement_name *name = statement_names_find(c->names, m.name, m.name_bytes);
        if (name == NULL || !name->statement->may_notify)
            return;
        const char *text = (const char *)name->statement->body;
        say_text(c, s, text, (uint32_t)strlen(text));
    } else if (!c->last_parse_notifies) {
        return;
    }
    say_values(c, s, message + WIRE_HEADER_BYTES, whole_bytes - WIRE_HEADER_BYTES);
}

void notify_look(struct client *c, struct server *s, const uint8_t *message, uint32_t here_bytes)
{
    const uint32_t whole_bytes = 1 + wire_u32(message + 1);

    if (here_bytes < whole_bytes || whole_bytes > LISTEN_LOOK_BYTES || whole_bytes <= WIRE_HEADER_BYTES)
        return;
    const char *text = (const char *)message + WIRE_HEADER_BYTES;
    uint32_t bytes = whole_bytes - WIRE_HEADER_BYTES;
    switch (message[0]) {
    case 'B': look_at_bind(c, s, message, whole_bytes); return;
    case 'P': {
        const uint32_t name_bytes = (uint32_t)strnlen(text, bytes - 1) + 1;
        text += name_bytes;
        bytes -= name_bytes;
        c->last_parse_notifies = listen_may_notify(text, bytes);
        if (c->last_parse_notifies && name_bytes == 1)
            say_text(c, s, text, (uint32_t)strnlen(text, bytes));
        return;
    }
    case 'Q':
        if (listen_may_notify(text, bytes))
            say_text(c, s, text, (uint32_t)strnlen(text, bytes));
        return;
    default: return;
    }
}
