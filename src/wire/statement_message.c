/*
 * statement_message.c - which prepared statement a message is about, and the same message about another one.
 *
 * Pure; any thread.
 */
#include "wire/statement_message.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Takes one NUL-terminated string off. NONE: it goes beyond the message. */
static enum statement_look take_string(const uint8_t *message, uint32_t *at, uint32_t here_bytes,
                                       uint32_t whole_bytes, const char **text, uint32_t *text_bytes)
{
    uint32_t end = here_bytes < whole_bytes ? here_bytes : whole_bytes;
    const uint8_t *nul = *at < end ? memchr(message + *at, 0, end - *at) : NULL;

    if (nul == NULL) {
        if (end == whole_bytes)
            return STATEMENT_NONE;
        return end > STATEMENT_MAX_NAMES_BYTES ? STATEMENT_TOO_LONG : STATEMENT_MORE;
    }
    *text = (const char *)message + *at;
    *text_bytes = (uint32_t)(nul - (message + *at));
    *at += *text_bytes + 1;
    return *at > STATEMENT_MAX_NAMES_BYTES ? STATEMENT_TOO_LONG : STATEMENT_NAMED;
}

enum statement_look statement_look(const uint8_t *message, uint32_t here_bytes, struct statement_message *m)
{
    const uint32_t len = wire_u32(message + 1);
    const uint32_t whole_bytes = 1 + len;
    uint32_t at = WIRE_HEADER_BYTES;
    enum statement_look look;

    *m = (struct statement_message){.type = message[0], .len = len};
    if (m->type == 'B' && here_bytes > at && len > 4 && message[at] == 0) {
        m->portal = (const char *)message + at++; /* mostly it has no name */
        m->portal_bytes = 1;
    } else if (m->type == 'B') {
        look = take_string(message, &at, here_bytes, whole_bytes, &m->portal, &m->portal_bytes);
        if (look != STATEMENT_NAMED)
            return look;
        m->portal_bytes++;
    } else if (m->type != 'P') {
        if (len < 5)
            return STATEMENT_NONE;
        if (here_bytes <= at)
            return STATEMENT_MORE;
        if (message[at++] != 'S')
            return STATEMENT_NONE;
    }
    look = take_string(message, &at, here_bytes, whole_bytes, &m->name, &m->name_bytes);
    if (look != STATEMENT_NAMED)
        return look;
    m->head_bytes = at;
    return m->name_bytes > 0 ? STATEMENT_NAMED : STATEMENT_NONE;
}

enum statement_look statement_look_portal(const uint8_t *message, uint32_t here_bytes, const char **portal,
                                          uint32_t *portal_bytes)
{
    uint32_t at = WIRE_HEADER_BYTES;
    return take_string(message, &at, here_bytes, 1 + wire_u32(message + 1), portal, portal_bytes);
}

uint32_t statement_put_head(const struct statement_message *m, const char *name, uint32_t name_bytes,
                            uint8_t *out, uint32_t *before)
{
    uint32_t n = 0;

    out[n++] = m->type;
    wire_set_u32(out + n, m->len - m->name_bytes + name_bytes);
    n += 4;
    if (m->type == 'D' || m->type == 'C')
        out[n++] = 'S';
    else if (m->portal_bytes == 1)
        out[n++] = 0;
    *before = n;
    memcpy(out + n, name, name_bytes);
    n += name_bytes;
    out[n++] = 0;
    if (m->portal_bytes <= 1)
        *before = n;
    return n;
}

uint32_t statement_put_parse_head(const struct statement *s, uint8_t *out)
{
    out[0] = 'P';
    wire_set_u32(out + 1, 4 + s->name_bytes + 1 + s->body_bytes);
    memcpy(out + WIRE_HEADER_BYTES, s->name, s->name_bytes + 1u);
    return WIRE_HEADER_BYTES + s->name_bytes + 1;
}

uint32_t statement_put_close(const struct statement *s, uint8_t *out)
{
    out[0] = 'C';
    wire_set_u32(out + 1, 4 + 1 + s->name_bytes + 1);
    out[WIRE_HEADER_BYTES] = 'S';
    memcpy(out + WIRE_HEADER_BYTES + 1, s->name, s->name_bytes + 1u);
    return WIRE_HEADER_BYTES + 1 + s->name_bytes + 1;
}

static uint32_t put_bytes(uint8_t *out, uint32_t n, const void *bytes, uint32_t len_bytes)
{
    memcpy(out + n, bytes, len_bytes);
    return n + len_bytes;
}

/* A message whose body is a few bytes. */
static uint32_t put_message(uint8_t *out, uint32_t n, char type, const void *body, uint32_t body_bytes)
{
    out[n] = (uint8_t)type;
    wire_set_u32(out + n + 1, 4 + body_bytes);
    return put_bytes(out, n + WIRE_HEADER_BYTES, body, body_bytes);
}

static const char close_wrapper[] = "S" STATEMENT_WRAPPER;
static const char close_wrapper_portal[] = "P" STATEMENT_WRAPPER;

uint32_t statement_put_wrapped_begin(const struct statement *s, uint8_t *out)
{
    static const char begin[] = STATEMENT_WRAPPER "\0PREPARE \"";
    const uint32_t head_bytes = sizeof(begin) - 1 + s->name_bytes + 1;
    uint32_t n = put_message(out, 0, 'C', close_wrapper, sizeof(close_wrapper));

    out[n] = 'P';
    wire_set_u32(out + n + 1, 4 + head_bytes + s->body_bytes);
    n = put_bytes(out, n + WIRE_HEADER_BYTES, begin, sizeof(begin) - 1);
    n = put_bytes(out, n, s->name, s->name_bytes);
    return put_bytes(out, n, "\"", 1);
}

uint32_t statement_put_wrapped_end(uint8_t *out)
{
    /* no formats, no parameters, no formats of results; no limit of rows. The literals' own NULs count. */
    static const char bind[] = STATEMENT_WRAPPER "\0" STATEMENT_WRAPPER "\0\0\0\0\0\0";
    static const char execute[] = STATEMENT_WRAPPER "\0\0\0\0";
    uint32_t n = put_message(out, 0, 'B', bind, sizeof(bind));

    n = put_message(out, n, 'E', execute, sizeof(execute));
    n = put_message(out, n, 'C', close_wrapper_portal, sizeof(close_wrapper_portal));
    return put_message(out, n, 'C', close_wrapper, sizeof(close_wrapper));
}

uint64_t statement_number_in_error(const uint8_t *body, uint32_t len_bytes)
{
    struct wire_error e;

    if (!wire_parse_error(body, len_bytes, &e))
        return 0;
    /* quotation marks depend on the language of the messages */
    const char *found = strstr(e.message, STATEMENT_PREFIX);
    return found != NULL ? strtoull(found + strlen(STATEMENT_PREFIX), NULL, 10) : 0;
}

uint32_t statement_position_in_error(const uint8_t *body, uint32_t len_bytes)
{
    struct wire_error e;

    if (!wire_parse_error(body, len_bytes, &e))
        return 0;
    for (const char *at = (const char *)body, *end = at + len_bytes; at < end && *at != '\0';
         at += strlen(at) + 1)
        if (*at == 'P')
            return (uint32_t)strtoul(at + 1, NULL, 10);
    return 0;
}

/* One field, with its letter and NUL. */
static void put_field(struct buf *out, const char *field, const char *theirs, const char *name,
                      uint32_t position)
{
    const size_t n = strlen(theirs);
    const char *found = *field == 'M' && name != NULL ? strstr(field, theirs) : NULL;

    if (*field == 'P' && position == STATEMENT_NO_POSITION)
        return;
    if (*field == 'P' && position > 0) {
        buf_printf(out, "P%" PRIu32, position);
        buf_append_byte(out, 0);
    } else if (found != NULL && !isdigit((unsigned char)found[n])) {
        buf_append(out, field, (uint32_t)(found - field));
        buf_append_str(out, name);
        wire_put_cstr(out, found + n);
    } else {
        wire_put_cstr(out, field);
    }
}

void statement_put_error(struct buf *out, const uint8_t *body, uint32_t len_bytes, uint64_t number,
                         const char *name, uint32_t position)
{
    char theirs[32];
    uint32_t offset = wire_begin(out, 'E');
    const char *at = (const char *)body, *end = at + len_bytes;

    snprintf(theirs, sizeof(theirs), STATEMENT_PREFIX "%" PRIu64, number);
    for (; at < end && *at != '\0'; at += strlen(at) + 1) /* it has been parsed: each field ends in a NUL */
        put_field(out, at, theirs, name, position);
    wire_put_u8(out, 0);
    wire_end(out, offset);
}
