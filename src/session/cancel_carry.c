/*
 * cancel_carry.c - connections that carry cancel requests to PostgreSQL and to peers.
 *
 * PostgreSQL closes the connection of a request after it has sent the signal. Until it does, the signal may
 * come at any time: so the server is not given to anybody else meanwhile (HELD), and a cancel never hits the
 * next client's query. Before the request has been sent nothing can happen: a server whose client is done
 * then goes on at once, and the request is dropped. When PostgreSQL takes longer than cancel_wait_timeout,
 * the server is closed as soon as its client is done with it.
 *
 * To a server the request goes as the server's own connection went: to the same address, inside TLS if
 * that has TLS. To peers it goes without, as PgBouncer's do.
 *
 * A request that finds no place waits (cancels_queued); who ends a connection, and the tick, look whether
 * there is one.
 *
 * Threads: the worker's own.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "session_int.h"

static void cancel_end(struct cancel *x, enum close_reason outcome);

static void carry_log(const struct cancel *x, int level, const char *what, const char *why)
{
    const char *db = x->pool != NULL ? x->pool->database->name : "(nodb)";
    const char *user = x->pool != NULL ? x->pool->user->name : "(nouser)";

    log_line((enum log_level)level, "S-%llu: %s/%s@%s:%d %s: %s", (unsigned long long)x->id, db, user,
             x->host, x->port, what, why);
}

/* ---- requests: who waits for it ---- */

/* When the request came that is added; one of our own (m: NULL) comes now. */
static int64_t arrival(const struct cancel *x, const struct mail_cancel *m)
{
    return m != NULL ? m->arrived_us : x->shard->now_us;
}

static int64_t later_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void add_request(struct cancel *x, struct list *list, struct mail_cancel *m)
{
    if (list == &x->later)
        x->again_us = later_of(x->again_us, arrival(x, m));
    else
        x->wanted_us = later_of(x->wanted_us, arrival(x, m));
    if (m == NULL)
        return;
    if (m->from_client == 0 && !list_is_empty(list)) {
        free(m); /* nobody waits for its end, and the others' says it all */
        return;
    }
    list_push_back(list, &m->node);
    atomic_fetch_add_explicit(&x->gauge->waiting, 1, memory_order_relaxed);
}

/* m is in no list any more. */
static void answer(struct cancel *x, struct mail_cancel *m, enum close_reason outcome)
{
    bool is_active = atomic_load_explicit(&m->is_active, memory_order_relaxed);

    atomic_fetch_sub_explicit(is_active ? &x->gauge->active : &x->gauge->waiting, 1, memory_order_relaxed);
    cancel_answer(x->shard, m, outcome);
}

static void answer_all(struct cancel *x, struct list *list, enum close_reason outcome)
{
    struct list *node;

    while ((node = list_pop_front(list)) != NULL)
        answer(x, list_entry(node, struct mail_cancel, node), outcome);
}

static void mark_active(struct cancel *x)
{
    LIST_FOR_EACH (it, &x->requests) {
        struct mail_cancel *m = list_entry(it, struct mail_cancel, node);
        atomic_store_explicit(&m->is_active, true, memory_order_relaxed);
        if (m->lead != NULL) /* this worker's too, and what its client shows */
            atomic_store_explicit(&m->lead->is_active, true, memory_order_relaxed);
        atomic_fetch_sub_explicit(&x->gauge->waiting, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&x->gauge->active, 1, memory_order_relaxed);
    }
}

/* ---- beginning ---- */

static void cancel_dialled(struct dial *d, int fd);

static struct cancel *cancel_new(struct shard *sh, struct cancel_gauge *gauge)
{
    struct cancel *x = calloc(1, sizeof(*x));

    if (x == NULL)
        return NULL;
    x->shard = sh;
    x->gauge = gauge;
    x->stream.fd = -1;
    x->id = atomic_fetch_add_explicit(&sh->instance->next_connection_id, 1, memory_order_relaxed);
    x->started_us = sh->now_us;
    x->config = session_config_ref(sh->config);
    list_init(&x->requests);
    list_init(&x->later);
    list_init(&x->node);
    return x;
}

/* How many may be under way for the pool or peer. */
static int max_connections(const struct cancel *x)
{
    const struct session_config *sc = x->shard->config;
    const struct peer_config *line = NULL;
    const struct database_config *db = NULL;
    int max = 1;

    if (x->peer != NULL && session_config_peer(sc, x->peer->id, &line) != NULL)
        max = config_peer_pool_size(sc->config, line);
    if (x->pool != NULL)
        db = config_find_database(sc->config, x->pool->database->name);
    if (db != NULL)
        max = config_pool_size(sc->config, db, config_find_user(sc->config, x->pool->user->name));
    return max > 1 ? max : 1;
}

static bool reserve_place(struct cancel *x)
{
    if (atomic_fetch_add(&x->gauge->connections, 1) < max_connections(x))
        return true;
    atomic_fetch_sub(&x->gauge->connections, 1);
    return false;
}

static bool start_dial(struct cancel *x)
{
    const struct settings *set = shard_settings(x->shard);
    char host[INET6_ADDRSTRLEN];
    struct dial_options o = {
        .hosts = x->host,
        .port = x->port,
        .attempt_timeout_us = set->server_connect_timeout_us,
        .dns_ttl_us = set->dns_max_ttl_us,
        .dns_negative_ttl_us = set->dns_nxdomain_ttl_us,
    };

    if (x->to.ss_family == AF_INET)
        o.hosts = inet_ntop(AF_INET, &((const struct sockaddr_in *)&x->to)->sin_addr, host, sizeof(host));
    else if (x->to.ss_family == AF_INET6)
        o.hosts = inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&x->to)->sin6_addr, host, sizeof(host));
    return dial_start(&x->dial, &x->shard->loop, &o, cancel_dialled, x);
}

/* While settings go ahead of what is to be canceled, it would be them that it hits. */
static bool is_too_early(const struct cancel *x)
{
    return x->server != NULL && x->server->ahead_state != AHEAD_NONE;
}

/* Under way, or in the queue. */
static void begin(struct cancel *x)
{
    struct shard *sh = x->shard;

    shard_arm_tick(sh);
    if (is_too_early(x) || !reserve_place(x)) {
        if (!list_is_linked(&x->node))
            list_push_back(&sh->cancels_queued, &x->node);
        return;
    }
    list_del(&x->node);
    list_push_back(&sh->cancels, &x->node);
    x->started_us = sh->now_us;
    x->stage = CANCEL_DIAL;
    if (!start_dial(x))
        cancel_end(x, CLOSE_CANCEL_FAILED);
}

void cancel_goes_on(struct server *s)
{
    if (s->cancel->stage == CANCEL_QUEUED)
        begin(s->cancel);
}

static void begin_queued(struct shard *sh)
{
    LIST_FOR_EACH_SAFE (it, &sh->cancels_queued) {
        begin(list_entry(it, struct cancel, node));
    }
}

static struct cancel *new_for_server(struct server *s)
{
    const struct database_config *db =
        config_find_database(s->shard->config->config, s->pool->database->name);
    bool has_tls = stream_is_tls(&s->stream);
    /* how TLS is to be done is in the database's line: without one it cannot be sent */
    struct cancel *x =
        s->key != NULL && (db != NULL || !has_tls) ? cancel_new(s->shard, &s->pool->cancels) : NULL;

    if (x == NULL)
        return NULL;
    x->pool = s->pool;
    x->server = s;
    if (has_tls)
        x->tls = session_config_server_tls(x->config, db);
    if (x->tls != NULL && x->tls->context == NULL)
        x->tls = NULL; /* it was switched off since */
    x->to = s->peer;
    x->port = s->port;
    x->pid = s->backend_pid;
    x->key_bytes = s->key_bytes;
    memcpy(x->key, s->key, s->key_bytes);
    str_copy(x->host, s->host, sizeof(x->host));
    s->cancel = x;
    return x;
}

bool cancel_send(struct server *s, struct mail_cancel *m)
{
    struct cancel *x = s->cancel;

    if (x != NULL && x->stage == CANCEL_SENT) {
        /* its signal may have come already, for what the client had asked before */
        add_request(x, &x->later, m);
        return true;
    }
    if (x != NULL) {
        add_request(x, &x->requests, m);
        return true;
    }
    x = new_for_server(s);
    if (x == NULL)
        return false;
    add_request(x, &x->requests, m);
    begin(x);
    return true;
}

bool cancel_forward(struct shard *sh, struct peer *peer, const struct peer_config *line,
                    struct mail_cancel *m)
{
    struct cancel *x = cancel_new(sh, &peer->gauge);

    if (x == NULL)
        return false;
    x->peer = peer_ref(peer);
    x->port = line->port;
    x->pid = m->pid;
    x->key_bytes = m->key_bytes;
    memcpy(x->key, m->key, m->key_bytes);
    str_copy(x->host, line->host, sizeof(x->host));
    add_request(x, &x->requests, m);
    begin(x);
    return true;
}

/* ---- ending ---- */

static void cancel_deferred_free(struct deferred *d)
{
    free(container_of(d, struct cancel, deferred));
}

/* Is there something to cancel? What a server is at that is being closed, PostgreSQL does not know yet. */
static bool is_at_work(const struct server *s)
{
    return s->state == SERVER_CLOSING || (s->state == SERVER_ACTIVE && tracker_is_busy(&s->tracker));
}

/* For the requests that came too late for x, which has just ended. */
static void begin_again(struct cancel *x, struct server *s)
{
    struct cancel *next = s->state == SERVER_ACTIVE && is_at_work(s) ? new_for_server(s) : NULL;
    struct list *node;

    while (next != NULL && (node = list_pop_front(&x->later)) != NULL)
        list_push_back(&next->requests, node); /* counted as waiting already */
    if (next == NULL)
        return;
    next->wanted_us = x->again_us;
    begin(next);
}

static void cancel_end(struct cancel *x, enum close_reason outcome)
{
    struct server *s = x->server;

    if (x->stage >= CANCEL_DIAL)
        atomic_fetch_sub(&x->gauge->connections, 1);
    if (x->stage == CANCEL_SENT)
        atomic_fetch_sub_explicit(&x->gauge->sent, 1, memory_order_relaxed);
    list_del(&x->node);
    dial_cancel(&x->dial);
    stream_close(&x->stream);
    answer_all(x, &x->requests, outcome);
    if (s != NULL)
        s->cancel = NULL;
    if (s != NULL && x->again_us != 0)
        begin_again(x, s);
    answer_all(x, &x->later, CLOSE_CANCEL_DONE); /* there is nothing left to cancel */
    session_config_unref(x->config);
    peer_unref(x->peer);
    x->deferred.run = cancel_deferred_free;
    loop_defer(&x->shard->loop, &x->deferred);
    if (s != NULL && s->state == SERVER_HELD)
        server_release(s);
    else if (s != NULL && s->state == SERVER_BARRED)
        timeouts_unbar(s);
}

/* At the end of an event of x. */
static void cancel_ended(struct cancel *x, enum close_reason outcome)
{
    struct shard *sh = x->shard;
    cancel_end(x, outcome);
    begin_queued(sh);
}

static void cancel_failed(struct cancel *x, const char *why)
{
    carry_log(x, LOG_LVL_WARNING, "cancel request failed", why);
    cancel_ended(x, CLOSE_CANCEL_FAILED);
}

bool cancel_lets_go(struct server *s)
{
    struct cancel *x = s->cancel;

    if (x == NULL)
        return true;
    answer_all(x, &x->later, CLOSE_CANCEL_DONE);
    x->again_us = 0;
    if (x->stage == CANCEL_SENT)
        return false;
    cancel_end(x, CLOSE_CANCEL_DONE);
    return true;
}

void cancel_server_gone(struct server *s)
{
    struct cancel *x = s->cancel;

    if (x == NULL)
        return;
    answer_all(x, &x->later, CLOSE_CANCEL_DONE);
    x->server = NULL;
    s->cancel = NULL;
}

/* ---- the connection ---- */

static void send_request(struct cancel *x)
{
    struct buf b;

    if (x->server != NULL && !is_at_work(x->server)) {
        cancel_ended(x, CLOSE_CANCEL_DONE);
        return;
    }
    buf_init(&b, 1024);
    wire_put_cancel_request(&b, x->pid, x->key, x->key_bytes);
    bool ok = !b.failed && stream_send(&x->stream, b.data, b.len);
    buf_free(&b);
    if (!ok) {
        cancel_failed(x, "connection lost");
        return;
    }
    x->stage = CANCEL_SENT;
    atomic_fetch_add_explicit(&x->gauge->sent, 1, memory_order_relaxed);
    mark_active(x);
}

static void go_on_with_tls(struct cancel *x)
{
    int result = stream_tls_handshake(&x->stream);

    if (result == STREAM_AGAIN)
        return;
    if (result != 1)
        cancel_failed(x, stream_tls_error());
    else if (x->tls->is_direct && !stream_tls_has_alpn(&x->stream))
        cancel_failed(x, "direct TLS without ALPN");
    else
        send_request(x);
}

static void start_tls(struct cancel *x)
{
    x->stage = CANCEL_TLS_HANDSHAKE;
    if (stream_tls_start(&x->stream, x->tls->context, x->host, x->port))
        go_on_with_tls(x);
    else
        cancel_failed(x, stream_tls_error());
}

/* Whoever asked for TLS on the server's connection asks for it here too. */
static void on_tls_reply(struct cancel *x)
{
    uint8_t answer = 0;
    int n = stream_recv(&x->stream, &answer, 1); /* not a byte more: what follows must be inside TLS */

    if (n == STREAM_AGAIN)
        return;
    if (n == 1 && answer == 'S') {
        start_tls(x);
        return;
    }
    if (n == 1 && answer == 'N' && x->tls->sslmode <= SSLMODE_PREFER)
        send_request(x);
    else
        cancel_failed(x, n == 1 ? "server refused SSL" : "server closed the connection");
}

/* The end of the connection is the answer. */
static void carry_on_read(struct stream *st)
{
    struct cancel *x = container_of(st, struct cancel, stream);
    shard_touch(x->shard);
    if (x->stage == CANCEL_TLS_REPLY)
        on_tls_reply(x);
    else if (x->stage == CANCEL_TLS_HANDSHAKE)
        go_on_with_tls(x);
    else if (stream_recv(st, st->loop->read_buffer, LOOP_READ_BUFFER_BYTES) != STREAM_AGAIN)
        cancel_ended(x, CLOSE_CANCEL_DONE);
}

static void carry_on_drain(struct stream *st)
{
    struct cancel *x = container_of(st, struct cancel, stream);

    shard_touch(x->shard);
    if (x->stage == CANCEL_TLS_HANDSHAKE)
        go_on_with_tls(x);
}

static void carry_on_error(struct stream *st, int err)
{
    struct cancel *x = container_of(st, struct cancel, stream);

    shard_touch(x->shard);
    if (x->stage == CANCEL_SENT)
        cancel_ended(x, CLOSE_CANCEL_DONE);
    else
        cancel_failed(x, strerror(err));
}

static const struct stream_ops carry_stream_ops = {
    .on_read = carry_on_read,
    .on_drain = carry_on_drain,
    .on_error = carry_on_error,
};

static void cancel_dialled(struct dial *d, int fd)
{
    struct cancel *x = d->arg;
    struct buf b;

    shard_touch(x->shard);
    if (fd < 0) {
        cancel_failed(x, d->error);
        return;
    }
    stream_init(&x->stream, &x->shard->loop, fd, &carry_stream_ops);
    if (!stream_read_start(&x->stream)) {
        cancel_failed(x, "socket error");
        return;
    }
    if (x->tls == NULL) {
        send_request(x);
        return;
    }
    if (x->tls->is_direct) {
        start_tls(x);
        return;
    }
    buf_init(&b, 64);
    wire_put_ssl_request(&b);
    x->stage = CANCEL_TLS_REPLY;
    bool ok = !b.failed && stream_send(&x->stream, b.data, b.len);
    buf_free(&b);
    if (!ok)
        cancel_failed(x, "connection lost");
}

/* ---- time ---- */

static bool is_late(const struct cancel *x, int64_t since_us)
{
    int64_t timeout_us = shard_settings(x->shard)->cancel_wait_timeout_us;
    return timeout_us > 0 && x->shard->now_us - since_us >= timeout_us;
}

static void answer_late(struct cancel *x, struct list *list)
{
    LIST_FOR_EACH_SAFE (it, list) {
        struct mail_cancel *m = list_entry(it, struct mail_cancel, node);
        if (!is_late(x, m->arrived_us))
            continue;
        list_del(&m->node);
        answer(x, m, CLOSE_CANCEL_WAIT_TIMEOUT);
    }
}

/* Has the last of those whom it is for waited too long? The last one that came after it, too: nothing is
 * begun for that then. */
static bool is_over(struct cancel *x)
{
    answer_late(x, &x->requests);
    answer_late(x, &x->later);
    if (is_late(x, x->again_us))
        x->again_us = 0;
    return is_late(x, x->wanted_us);
}

/* It has had its time and sent nothing: another may get further. */
static bool is_stuck(const struct cancel *x)
{
    return x->server != NULL && x->stage < CANCEL_SENT && is_late(x, x->started_us);
}

static void give_up(struct cancel *x)
{
    struct server *s = x->server;
    struct list *node;

    carry_log(x, LOG_LVL_WARNING, "cancel request failed", "cancel_wait_timeout");
    /* whether the signal comes yet cannot be known: nobody else may use this server any more */
    if (s != NULL && x->stage == CANCEL_SENT)
        s->may_be_hit = true;
    if (s != NULL && s->state == SERVER_HELD)
        server_close(s, CLOSE_CANCEL_WAIT_TIMEOUT, NULL);
    while (!is_late(x, x->wanted_us) && (node = list_pop_front(&x->requests)) != NULL)
        list_push_back(&x->later, node);
    if (!is_late(x, x->wanted_us))
        x->again_us = x->wanted_us;
    cancel_end(x, CLOSE_CANCEL_WAIT_TIMEOUT);
}

void cancel_tick(struct shard *sh)
{
    LIST_FOR_EACH_SAFE (it, &sh->cancels_queued) {
        struct cancel *x = list_entry(it, struct cancel, node);
        if (is_over(x))
            cancel_end(x, CLOSE_CANCEL_WAIT_TIMEOUT);
    }
    LIST_FOR_EACH_SAFE (it, &sh->cancels) {
        struct cancel *x = list_entry(it, struct cancel, node);
        if (is_over(x) || is_stuck(x))
            give_up(x);
    }
    begin_queued(sh);
}

void cancel_close_all(struct shard *sh)
{
    struct list *node;

    while ((node = sh->cancels_queued.next) != &sh->cancels_queued)
        cancel_end(list_entry(node, struct cancel, node), CLOSE_SHUTDOWN);
    while ((node = sh->cancels.next) != &sh->cancels)
        cancel_end(list_entry(node, struct cancel, node), CLOSE_SHUTDOWN);
}
