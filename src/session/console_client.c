/*
 * console_client.c - a client of the admin console, as its worker sees it: a pipe.
 *
 * The console lives on the control thread (ops/). Whole messages go there by mail, one
 * piece at a time; what comes back goes to the client. While a piece is under way
 * the client is not read, so a console client costs bounded memory.
 *
 * Threads: the worker's own.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "session_int.h"

static struct mail_console_input *new_input(const struct client *c, enum console_input_kind kind,
                                            uint32_t len_bytes)
{
    struct mail_console_input *m = calloc(1, sizeof(*m) + len_bytes);
    if (m == NULL)
        return NULL;
    m->mail.type = MAIL_CONSOLE_INPUT;
    m->kind = kind;
    m->worker = c->shard->index;
    m->client = c->handle;
    m->len_bytes = len_bytes;
    return m;
}

bool console_open(struct client *c, const char *user, bool is_admin)
{
    struct mail_console_input *m = new_input(c, CONSOLE_OPEN, 0);
    if (m == NULL)
        return false;
    if (!cancel_make_key(c, false, 0)) {
        free(m);
        return false;
    }
    m->cancel_key = c->cancel_key;
    m->is_admin = is_admin;
    str_copy(m->user, user, sizeof(m->user));
    c->console_busy = true;
    loop_post(c->shard->instance->control, &m->mail);
    return true;
}

/* Bytes of whole messages at the front; SIZE_MAX when a length cannot be right. */
static size_t whole_messages(const struct buf *in)
{
    size_t at = 0;
    while (in->len - at >= WIRE_HEADER_BYTES) {
        uint32_t len = wire_u32(in->data + at + 1);
        if (len < 4 || len > SESSION_MAX_CONSOLE_BYTES)
            return SIZE_MAX;
        if (in->data[at] == 'X' || in->len - at < 1 + (size_t)len)
            break;
        at += 1 + (size_t)len;
    }
    return at;
}

static void send_input(struct client *c)
{
    struct buf *in = c->input;
    size_t n;

    if (c->console_busy || in == NULL)
        return;
    n = whole_messages(in);
    if (n == SIZE_MAX) {
        client_close(c, CLOSE_BAD_PACKET, NULL);
        return;
    }
    if (n == 0) {
        if (in->len > 0 && in->data[0] == 'X')
            client_close(c, CLOSE_CONSOLE_REQUEST, NULL);
        return;
    }
    struct mail_console_input *m = new_input(c, CONSOLE_DATA, (uint32_t)n);
    if (m == NULL) {
        client_close(c, CLOSE_NO_MEMORY, NULL);
        return;
    }
    memcpy(m->data, in->data, n);
    buf_consume(in, (uint32_t)n);
    if (in->len == 0)
        client_drop_input(c);
    c->console_busy = true;
    loop_post(c->shard->instance->control, &m->mail);
}

void console_input(struct client *c, const uint8_t *data, uint32_t len_bytes)
{
    if (client_keep_input(c, data, len_bytes))
        send_input(c);
}

void console_output(struct shard *sh, struct mail_console_output *m)
{
    struct client *c = handle_get(&sh->clients, m->client);

    if (c != NULL && c->state == CLIENT_CONSOLE) {
        bool ok = m->len_bytes == 0 || stream_send(&c->stream, m->data, m->len_bytes);
        if (m->is_last)
            c->console_busy = false;
        if (!ok || m->is_closing)
            client_close(c, CLOSE_CONSOLE_REQUEST, NULL);
        else if (m->is_last)
            send_input(c);
        if (c->state == CLIENT_CONSOLE && c->stream.fd >= 0 && c->read_is_held &&
            (c->input == NULL || c->input->len < SESSION_MAX_INPUT_BYTES)) {
            c->read_is_held = false;
            if (!stream_read_start(&c->stream))
                client_close(c, CLOSE_WORKER_IO, NULL);
        }
    }
    free(m);
}

void console_cancel(struct client *c)
{
    struct mail_console_input *m = new_input(c, CONSOLE_CANCEL, 0);
    if (m != NULL)
        loop_post(c->shard->instance->control, &m->mail);
}

void console_gone(struct client *c)
{
    struct mail_console_input *m = new_input(c, CONSOLE_GONE, 0);
    if (m != NULL)
        loop_post(c->shard->instance->control, &m->mail);
}
