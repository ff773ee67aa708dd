/*
 * cancel.c - cancel requests.
 *
 * A client's key names its worker and its place in that worker's table in the
 * "process id" word and carries 32 random bits (protocol 3.2: 32 random bytes)
 * that are compared in constant time, so no table of keys is needed and nothing
 * can be learnt by trying. Whoever receives a request mails it to the
 * worker of the key. There, if the client is at work on a server, a connection of its own
 * carries the request to PostgreSQL; the server is held (cancel_refs) until PostgreSQL has closed that
 * connection, which it does after it has sent the signal: so a cancel never hits the next client's query.
 *
 * Threads: the workers', each its own part.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "base/secret.h"
#include "session_int.h"

#define INDEX_BITS  25 /* place in the worker's table of clients */
#define WORKER_BITS 6
#define MAX_CANCELS 1024 /* connections to servers at a time, per worker */

/* A request on its way to PostgreSQL. */
struct cancel {
    struct list node; /* shard->cancels */
    struct shard *shard;
    struct server *server;       /* held by its cancel_refs */
    struct mail_cancel *request; /* to be answered at the end; NULL: it was not a client who asked */
    struct dial dial;
    struct stream stream;
    int64_t started_us;
    struct deferred deferred;
};

bool cancel_make_key(struct client *c, bool is_long)
{
    uint32_t random;
    uint32_t index = handle_index(c->handle) + 1; /* some drivers take a process id of 0 for none */

    if (index >> INDEX_BITS != 0)
        return false;
    rand_secure(&random, sizeof(random));
    uint32_t pid = ((uint32_t)c->shard->index << INDEX_BITS) | index;
    c->cancel_key = ((uint64_t)pid << 32) | random;
    if (!is_long)
        return true;
    c->long_key = malloc(CANCEL_LONG_KEY_BYTES);
    if (c->long_key == NULL)
        return false;
    rand_secure(c->long_key, CANCEL_LONG_KEY_BYTES);
    return true;
}

/* ---- the worker that received the request ---- */

void cancel_request(struct client *c, uint32_t pid, const uint8_t *key, uint32_t key_bytes)
{
    struct instance *in = c->shard->instance;
    uint32_t worker = pid >> INDEX_BITS;
    struct mail_cancel *m = NULL;

    if (worker < (uint32_t)in->n_workers && key_bytes <= sizeof(m->key))
        m = calloc(1, sizeof(*m));
    if (m == NULL) {
        client_close(c, CLOSE_CANCEL_FAILED, NULL);
        return;
    }
    m->mail.type = MAIL_CANCEL;
    m->pid = pid;
    memcpy(m->key, key, key_bytes); /* key lies in the input that is dropped now */
    client_login_free(c);
    client_drop_input(c);
    client_set_state(c, CLIENT_CANCEL);
    m->key_bytes = (uint16_t)key_bytes;
    m->from_worker = c->shard->index;
    m->from_client = c->handle;
    loop_post(&in->shards[worker]->loop, &m->mail);
}

/* PostgreSQL has dealt with it, or there was nothing to do: the requester sees the end of its connection, as
 * with PostgreSQL. */
void cancel_on_done(struct shard *sh, struct mail_cancel *m)
{
    struct client *c = handle_get(&sh->clients, m->from_client);
    if (c != NULL && c->state == CLIENT_CANCEL)
        client_close(c, CLOSE_CANCEL_DONE, NULL);
    free(m);
}

/* ---- the worker of the key ---- */

static void answer(struct shard *sh, struct mail_cancel *m)
{
    m->mail.type = MAIL_CANCEL_DONE;
    loop_post(&sh->instance->shards[m->from_worker]->loop, &m->mail);
}

static void cancel_deferred_free(struct deferred *d)
{
    free(container_of(d, struct cancel, deferred));
}

/* The held server is free to go on. */
static void let_go(struct server *s)
{
    if (--s->cancel_refs > 0)
        return;
    if (s->state == SERVER_HELD)
        server_release(s);
    else if (s->state == SERVER_BARRED)
        timeouts_unbar(s);
    else if (s->state == SERVER_CLOSING && s->slot == NULL)
        server_free(s);
}

static void cancel_end(struct cancel *x)
{
    struct server *s = x->server;

    list_del(&x->node);
    dial_cancel(&x->dial);
    stream_close(&x->stream);
    if (x->request != NULL)
        answer(x->shard, x->request);
    x->deferred.run = cancel_deferred_free;
    loop_defer(&x->shard->loop, &x->deferred);
    let_go(s);
}

/* The end of the connection is PostgreSQL's answer. */
static void cancel_on_read(struct stream *st)
{
    uint8_t byte;
    shard_touch(container_of(st, struct cancel, stream)->shard);
    if (stream_recv(st, &byte, 1) != STREAM_AGAIN)
        cancel_end(container_of(st, struct cancel, stream));
}

static void cancel_on_drain(struct stream *st)
{
    (void)st;
}

static void cancel_on_error(struct stream *st, int err)
{
    (void)err;
    shard_touch(container_of(st, struct cancel, stream)->shard);
    cancel_end(container_of(st, struct cancel, stream));
}

static const struct stream_ops cancel_stream_ops = {
    .on_read = cancel_on_read,
    .on_drain = cancel_on_drain,
    .on_error = cancel_on_error,
};

static void cancel_dialled(struct dial *d, int fd)
{
    struct cancel *x = d->arg;
    struct server *s = x->server;
    struct buf b;

    shard_touch(x->shard);
    if (fd < 0) {
        server_log(s, LOG_LVL_WARNING, "cancel request failed: %s", d->error);
        cancel_end(x);
        return;
    }
    stream_init(&x->stream, &x->shard->loop, fd, &cancel_stream_ops);
    buf_init(&b, 1024);
    wire_put_cancel_request(&b, s->backend_pid, s->key, s->key_bytes);
    bool ok = !b.failed && stream_send(&x->stream, b.data, b.len) && stream_read_start(&x->stream);
    buf_free(&b);
    if (!ok)
        cancel_end(x);
}

/* To the very address that the server connection has. */
static bool start_dial(struct cancel *x)
{
    struct server *s = x->server;
    char host[INET6_ADDRSTRLEN];
    struct dial_options o = {.hosts = s->host, .port = s->port};

    if (s->peer.ss_family == AF_INET)
        o.hosts = inet_ntop(AF_INET, &((const struct sockaddr_in *)&s->peer)->sin_addr, host, sizeof(host));
    else if (s->peer.ss_family == AF_INET6)
        o.hosts =
            inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&s->peer)->sin6_addr, host, sizeof(host));
    return dial_start(&x->dial, &x->shard->loop, &o, cancel_dialled, x);
}

static uint32_t count_cancels(const struct shard *sh)
{
    uint32_t n = 0;
    LIST_FOR_EACH (it, &sh->cancels) {
        n++;
    }
    return n;
}

static bool key_matches(const struct client *c, const struct mail_cancel *m)
{
    uint8_t own[4];
    if (c->long_key != NULL)
        return m->key_bytes == CANCEL_LONG_KEY_BYTES &&
               secret_equal(c->long_key, m->key, CANCEL_LONG_KEY_BYTES);
    wire_set_u32(own, (uint32_t)c->cancel_key);
    return m->key_bytes == sizeof(own) && secret_equal(own, m->key, sizeof(own));
}

bool cancel_send(struct server *s, struct mail_cancel *m)
{
    struct shard *sh = s->shard;
    struct cancel *x = s->key != NULL && count_cancels(sh) < MAX_CANCELS ? calloc(1, sizeof(*x)) : NULL;

    if (x == NULL)
        return false;
    x->shard = sh;
    x->server = s;
    x->request = m;
    x->stream.fd = -1;
    x->started_us = sh->now_us;
    list_push_back(&sh->cancels, &x->node);
    s->cancel_refs++;
    shard_arm_tick(sh);
    if (!start_dial(x))
        cancel_end(x);
    return true;
}

void cancel_on_mail(struct shard *sh, struct mail_cancel *m)
{
    uint32_t place = m->pid & ((1u << INDEX_BITS) - 1);
    struct client *c = place > 0 ? handle_at(&sh->clients, place - 1) : NULL;
    bool is_right = c != NULL && c->cancel_key != 0 && key_matches(c, m);
    struct server *s = is_right ? c->server : NULL;

    if (is_right && c->state == CLIENT_CONSOLE)
        console_cancel(c);
    if (s == NULL || s->state != SERVER_ACTIVE || !tracker_is_busy(&s->tracker)) {
        answer(sh, m);
        return;
    }
    client_log(c, LOG_LVL_LOG, "cancel request for this client");
    if (!cancel_send(s, m))
        answer(sh, m);
}

void cancel_tick(struct shard *sh, int64_t now_us)
{
    int64_t timeout_us = shard_settings(sh)->cancel_wait_timeout_us;

    LIST_FOR_EACH_SAFE (it, &sh->cancels) {
        struct cancel *x = list_entry(it, struct cancel, node);
        if (timeout_us <= 0 || now_us - x->started_us < timeout_us)
            break; /* oldest first */
        struct server *s = x->server;
        /* whether the signal comes yet cannot be known: nobody may use this server any more */
        if (s->state != SERVER_CLOSING)
            server_close(s, CLOSE_CANCEL_WAIT_TIMEOUT, NULL);
        cancel_end(x);
    }
}

void cancel_close_all(struct shard *sh)
{
    LIST_FOR_EACH_SAFE (it, &sh->cancels) {
        cancel_end(list_entry(it, struct cancel, node));
    }
}
