/*
 * lookup.c - auth_query on a server: one question, and its answer.
 *
 * The server belongs to a pool that only look-ups use, so no client's settings are ever on it. While it is at
 * it (SERVER_SETUP, STEP_LOOKUP) it has no client and its stream is read here; its tracker sees nothing of
 * this and is at rest. The user's name goes as a parameter, never into the text.
 *
 * Secrets pass through here: what has been read is wiped.
 *
 * Threads: the owner's.
 */
#include "session/lookup.h"

#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "base/str.h"
#include "auth_int.h"
#include "login_int.h"

#define MAX_MESSAGE_BYTES 65536

struct server_lookup {
    struct lookup_entry *entry;
    struct found_user *found;
    bool is_bad;     /* the answer is none; error says why */
    bool is_ended;   /* PostgreSQL ends the connection, perhaps since before the question */
    char error[200]; /* for the log */
};

static const struct stream_ops lookup_stream_ops;

/* The server is an ordinary one again. The caller ends the entry. */
static void leave(struct server *s, struct server_lookup *out)
{
    *out = *s->lookup;
    free(s->lookup);
    s->lookup = NULL;
    s->step = STEP_NONE;
    s->stream.ops = &server_stream_ops;
    secret_wipe(s->partial.data, s->partial.capacity);
    buf_free(&s->partial);
    buf_init(&s->partial, 1 << 20);
}

void lookup_server_lost(struct server *s, enum close_reason why)
{
    struct server_lookup l;
    bool is_crash = why == CLOSE_SERVER_CRASHED; /* perhaps it has been dead for long: another one may do */

    leave(s, &l);
    server_log(s, LOG_LVL_WARNING, "auth_query for user %s failed: %s", lookup_entry_user(l.entry),
               l.error[0] != '\0' ? l.error : close_reason_text(why));
    found_user_unref(l.found);
    lookup_end(s->shard->instance->lookups, l.entry,
               is_crash && (l.error[0] == '\0' || l.is_ended) ? LOOKUP_AGAIN : LOOKUP_FAILED, NULL,
               s->shard->now_us);
}

/* ReadyForQuery: the answer is complete, and the server goes back. Nobody looks at it after that. */
static void lookup_done(struct server *s)
{
    struct lookups *table = s->shard->instance->lookups;
    struct server_lookup l;

    leave(s, &l);
    if (!l.is_bad && l.found == NULL)
        l.found = found_user_new(false, NULL);
    if (!l.is_bad && l.found == NULL)
        (void)str_copy(l.error, "out of memory", sizeof(l.error));
    if (l.is_bad || l.found == NULL) {
        server_log(s, LOG_LVL_WARNING, "auth_query for user %s failed: %s", lookup_entry_user(l.entry),
                   l.error);
        found_user_unref(l.found);
        lookup_end(table, l.entry, LOOKUP_FAILED, NULL, s->shard->now_us);
    } else {
        lookup_end(table, l.entry, LOOKUP_FOUND, l.found, s->shard->now_us);
    }
    server_give_back(s, CLOSE_NONE);
}

/* ---- asking ---- */

static void put_question(struct buf *b, const char *query, const char *user)
{
    uint32_t at = wire_begin(b, 'P');
    wire_put_cstr(b, "");
    wire_put_cstr(b, query);
    wire_put_u16(b, 0);
    wire_end(b, at);
    at = wire_begin(b, 'B');
    wire_put_cstr(b, "");
    wire_put_cstr(b, "");
    wire_put_u16(b, 0);
    wire_put_u16(b, 1);
    wire_put_u32(b, (uint32_t)strlen(user));
    buf_append_str(b, user);
    wire_put_u16(b, 0);
    wire_end(b, at);
    at = wire_begin(b, 'E');
    wire_put_cstr(b, "");
    wire_put_u32(b, 0);
    wire_end(b, at);
    at = wire_begin(b, 'S');
    wire_end(b, at);
}

/* Who logs in is looked at in the order of connecting, as far as the first who is not late. */
static void return_to_login(struct client *c)
{
    const struct list *head = &c->shard->client_lists[CLIENT_LOGIN];
    struct list *pos;

    client_set_state(c, CLIENT_LOGIN);
    list_del(&c->node);
    for (pos = head->prev; pos != head; pos = pos->prev)
        if (list_entry(pos, const struct client, node)->connected_us <= c->connected_us)
            break;
    list_insert_after(pos, &c->node);
}

bool lookup_takes(struct server *s, struct client *c)
{
    struct lookup_entry *entry = c->login->leads;
    struct buf b;

    if (entry == NULL)
        return false;
    c->login->leads = NULL;
    c->login->stage = LOGIN_BUSY;
    c->pool = NULL;
    return_to_login(c);
    s->lookup = calloc(1, sizeof(*s->lookup));
    if (s->lookup == NULL) {
        lookup_end(s->shard->instance->lookups, entry, LOOKUP_FAILED, NULL, s->shard->now_us);
        server_give_back(s, CLOSE_NONE);
        return true;
    }
    s->lookup->entry = entry;
    s->step = STEP_LOOKUP;
    s->stream.ops = &lookup_stream_ops;
    server_set_state(s, SERVER_SETUP);
    buf_init(&b, 1 << 20);
    put_question(&b, lookup_entry_query(entry), lookup_entry_user(entry));
    bool is_sent = !b.failed && stream_send(&s->stream, b.data, b.len);
    buf_free(&b);
    if (!is_sent)
        server_close(s, CLOSE_SERVER_CRASHED, NULL);
    return true;
}

/* ---- the answer ---- */

static void bad_answer(struct server_lookup *l, const char *text)
{
    l->is_bad = true;
    if (l->error[0] == '\0')
        (void)str_copy(l->error, text, sizeof(l->error));
}

/* A column as text, NULL for NULL or when there is none. */
static char *column(struct wire_reader *r)
{
    uint32_t len = wire_read_u32(r);
    const uint8_t *data = len != UINT32_MAX ? wire_read_bytes(r, len) : NULL;
    return data != NULL ? strndup((const char *)data, len) : NULL;
}

static void take_row(struct server_lookup *l, const uint8_t *body, uint32_t len_bytes)
{
    struct wire_reader r;

    wire_reader_init(&r, body, len_bytes);
    if (wire_read_u16(&r) != 2) {
        bad_answer(l, "its answer must have two columns, name and secret");
        return;
    }
    if (l->found != NULL) {
        bad_answer(l, "its answer has more than one row");
        return;
    }
    char *name = column(&r), *secret = column(&r);
    if (!wire_reader_done(&r))
        bad_answer(l, "its answer is broken");
    else if (name != NULL && strcmp(name, lookup_entry_user(l->entry)) != 0)
        bad_answer(l, "its answer is about another user");
    else
        l->found = found_user_new(name != NULL, name != NULL ? secret : NULL);
    if (!l->is_bad && l->found == NULL)
        bad_answer(l, "out of memory");
    free(name);
    secret_free(secret);
}

/* One message. False: the server is not ours any more. */
static bool take_message(struct server *s, uint8_t type, const uint8_t *body, uint32_t len_bytes)
{
    struct server_lookup *l = s->lookup;
    struct wire_error e;

    switch (type) {
    case 'D': take_row(l, body, len_bytes); return true;
    case 'E':
        if (!wire_parse_error(body, len_bytes, &e)) {
            bad_answer(l, "broken error message from server");
            return true;
        }
        bad_answer(l, e.message);
        l->is_ended = strcmp(e.severity, "FATAL") == 0 && strncmp(e.sqlstate, "57P", 3) == 0;
        return true;
    case 'Z':
        if (len_bytes != 1 || body[0] != 'I') {
            bad_answer(l, "it left a transaction open");
            server_close(s, CLOSE_UNCLEAN, "after auth_query");
            return false;
        }
        lookup_done(s);
        return false;
    case 'G':
    case 'H':
    case 'W':
        bad_answer(l, "it is a COPY");
        server_close(s, CLOSE_AUTH_QUERY_RESPONSE, NULL);
        return false;
    default: return true; /* completions; notices; parameters, which nobody else will see here */
    }
}

/* Whole messages only; they are small. False: the server is not ours any more. */
static bool take_messages(struct server *s)
{
    while (s->partial.len >= WIRE_HEADER_BYTES) {
        uint32_t len = wire_u32(s->partial.data + 1);
        if (len < 4 || len > MAX_MESSAGE_BYTES) {
            server_close(s, CLOSE_AUTH_QUERY_RESPONSE, NULL);
            return false;
        }
        if (s->partial.len < 1 + len)
            return true;
        if (!take_message(s, s->partial.data[0], s->partial.data + WIRE_HEADER_BYTES, len - 4))
            return false;
        secret_wipe(s->partial.data, 1 + len);
        buf_consume(&s->partial, 1 + len);
    }
    return true;
}

static void lookup_on_read(struct stream *st)
{
    struct server *s = container_of(st, struct server, stream);

    shard_touch(s->shard);
    do {
        int n = stream_recv(st, st->loop->read_buffer, LOOP_READ_BUFFER_BYTES);
        if (n == STREAM_AGAIN)
            return;
        if (n < 0) {
            server_close(s, CLOSE_SERVER_CRASHED, NULL);
            return;
        }
        buf_append(&s->partial, st->loop->read_buffer, (uint32_t)n);
        secret_wipe(st->loop->read_buffer, (size_t)n);
        if (s->partial.failed) {
            server_close(s, CLOSE_NO_MEMORY, NULL);
            return;
        }
        if (!take_messages(s))
            return;
    } while (stream_has_unread(st));
}

static void lookup_on_drain(struct stream *st)
{
    (void)st;
}

static void lookup_on_error(struct stream *st, int err)
{
    struct server *s = container_of(st, struct server, stream);
    (void)err;
    shard_touch(s->shard);
    server_close(s, CLOSE_SERVER_CRASHED, NULL);
}

static const struct stream_ops lookup_stream_ops = {
    .on_read = lookup_on_read,
    .on_drain = lookup_on_drain,
    .on_error = lookup_on_error,
};
