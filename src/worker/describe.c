/*
 * describe.c - a worker tells of its clients, servers and memory: SHOW CLIENTS, SERVERS, SOCKETS, MEM.
 *
 * Nothing stops for it: each worker copies what it has into rows and mails them back.
 *
 * Threads: the worker's own.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/str.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/pin.h"
#include "session/listen.h"
#include "session/server.h"
#include "wire/params.h"
#include "worker/worker.h"

/* For a server: also at its login, where one has to tell what the pool's parameters are, or who it is. */
static bool is_waiting(const struct client *c)
{
    return c->state == CLIENT_WAITING || (c->state == CLIENT_LOGIN_WAIT && c->server == NULL);
}

static const char *client_state_text(const struct client *c)
{
    switch (c->state) {
    case CLIENT_LOGIN: return "login";
    case CLIENT_LOGIN_WAIT:
    case CLIENT_WAITING: return is_waiting(c) ? "waiting" : "login";
    case CLIENT_ACTIVE: return c->server != NULL ? "active" : "idle";
    case CLIENT_CONSOLE: return "active";
    case CLIENT_CANCEL:
        return atomic_load(&c->cancel->is_active) ? "active_cancel_req" : "waiting_cancel_req";
    case CLIENT_CLOSING: return "closing";
    default: return "idle";
    }
}

/* SHOW SOCKETS does not tell idle clients from others, and has a prefix. */
static const char *client_socket_state(const struct client *c)
{
    switch (c->state) {
    case CLIENT_LOGIN: return "cl_login";
    case CLIENT_LOGIN_WAIT:
    case CLIENT_WAITING: return is_waiting(c) ? "cl_waiting" : "cl_login";
    case CLIENT_CANCEL:
        return atomic_load(&c->cancel->is_active) ? "cl_active_cancel_req" : "cl_waiting_cancel_req";
    case CLIENT_CLOSING: return "cl_closing";
    default: return "cl_active";
    }
}

static const char *const replication_texts[] = {
    [REPLICATION_NONE] = "none",
    [REPLICATION_PHYSICAL] = "physical",
    [REPLICATION_LOGICAL] = "logical",
};

/* As in PgBouncer an idle server whose next use begins with the check query is "used". */
static bool is_used(const struct server *s)
{
    return clock_now_us() - s->idle_since_us > s->shard->settings->server_check_delay_us;
}

static const char *server_state_text(const struct server *s)
{
    switch (s->state) {
    case SERVER_IDLE: return is_used(s) ? "used" : "idle";
    case SERVER_CONNECTING: return "new";
    case SERVER_SETUP:
    case SERVER_ACTIVE:
    case SERVER_BARRED: return "active";
    case SERVER_RESET: return "tested";
    case SERVER_HELD: return "being_canceled";
    case SERVER_CLOSING: return "closing";
    default: return "idle";
    }
}

static const char *server_socket_state(const struct server *s)
{
    switch (s->state) {
    case SERVER_CONNECTING: return "sv_login";
    case SERVER_IDLE: return is_used(s) ? "sv_used" : "sv_idle";
    case SERVER_SETUP:
    case SERVER_ACTIVE: return "sv_active";
    case SERVER_RESET: return "sv_tested";
    case SERVER_HELD: return "sv_being_canceled";
    case SERVER_CLOSING: return "sv_closing";
    default: return "sv_idle";
    }
}

static void set_address(const struct sockaddr_storage *ss, char *addr, size_t size, int *port)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)ss;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;

    *port = 0;
    if (ss->ss_family == AF_INET && inet_ntop(AF_INET, &in4->sin_addr, addr, (socklen_t)size) != NULL)
        *port = ntohs(in4->sin_port);
    else if (ss->ss_family == AF_INET6 && inet_ntop(AF_INET6, &in6->sin6_addr, addr, (socklen_t)size) != NULL)
        *port = ntohs(in6->sin6_port);
    else
        str_copy(addr, "unix", size);
}

static void set_addresses(int fd, struct session_row *r)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);

    if (fd < 0)
        return;
    if (getpeername(fd, (struct sockaddr *)&ss, &len) == 0)
        set_address(&ss, r->addr, sizeof(r->addr), &r->port);
    len = sizeof(ss);
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
        set_address(&ss, r->local_addr, sizeof(r->local_addr), &r->local_port);
}

static void set_application_name(const struct params *p, struct session_row *r)
{
    const char *name = p != NULL ? params_get(p, "application_name") : NULL;
    if (name != NULL)
        str_copy(r->application_name, name, sizeof(r->application_name));
}

/* Monotonic to wall clock; 0 stays 0. */
static int64_t to_wall(int64_t us)
{
    return us == 0 ? 0 : us - clock_now_us() + clock_wall_us();
}

/* The process behind a Unix socket; 0 = not known. */
static uint32_t peer_pid(const struct client *c)
{
    struct ucred who;
    socklen_t len = sizeof(who);

    if (c->peer_family != AF_UNIX || getsockopt(c->stream.fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
        return 0;
    return (uint32_t)who.pid;
}

static void fill_client(const struct client *c, struct session_row *r)
{
    r->replication = replication_texts[c->replication];
    r->state = client_state_text(c);
    r->socket_state = client_socket_state(c);
    const struct pool *pool = c->state == CLIENT_CANCEL ? atomic_load(&c->cancel->pool) : c->pool;
    const char *database = "(nodb)", *user = "(nouser)"; /* as in the log: client_describe() */
    if (pool != NULL) {
        database = pool->database->name;
        user = c->login_user != NULL ? c->login_user->name : pool->user->name;
    } else if (c->state == CLIENT_CONSOLE) {
        database = "pgbouncer";
        user = c->console_user;
    }
    str_copy(r->database, database, sizeof(r->database));
    str_copy(r->user, user, sizeof(r->user));
    set_addresses(c->stream.fd, r);
    r->connect_time_us = to_wall(c->connected_us);
    r->request_time_us = to_wall(c->request_us);
    if (is_waiting(c))
        r->wait_us = clock_now_us() - c->state_since_us;
    r->close_needed = c->state == CLIENT_CLOSING;
    r->id = c->id;
    if (c->server != NULL) {
        r->link = c->server->id;
        r->send_avail = stream_pending(&c->server->stream);
    }
    r->remote_pid = peer_pid(c);
    r->pkt_remain = c->remain_bytes;
    r->pkt_avail = c->input != NULL ? c->input->len : 0;
    stream_tls_describe(&c->stream, r->tls, sizeof(r->tls));
    set_application_name(c->params, r);
    r->prepared_statements = client_prepared_count(c);
}

static void fill_server(const struct server *s, struct session_row *r)
{
    r->is_server = true;
    r->replication = replication_texts[s->replication];
    r->state = server_state_text(s);
    r->socket_state = server_socket_state(s);
    str_copy(r->database, s->pool->database->name, sizeof(r->database));
    str_copy(r->user, s->pool->user->name, sizeof(r->user));
    set_addresses(s->stream.fd, r);
    r->connect_time_us = to_wall(s->connected_us != 0 ? s->connected_us : s->state_since_us);
    r->request_time_us = to_wall(s->request_us);
    r->close_needed = s->state == SERVER_CLOSING || s->is_dead ||
                      (s->slot != NULL && pool_slot_is_marked(s->pool, s->slot));
    r->id = s->id;
    if (s->client != NULL) {
        r->link = s->client->id;
        r->send_avail = stream_pending(&s->client->stream);
    }
    r->pkt_remain = s->remain_bytes;
    r->pkt_avail = s->partial.len;
    r->remote_pid = s->backend_pid;
    stream_tls_describe(&s->stream, r->tls, sizeof(r->tls));
    set_application_name(s->params, r);
    r->prepared_statements = server_prepared_count(s);
}

/* A connection that carries a cancel request. */
static void fill_cancel(const struct cancel *x, struct session_row *r)
{
    r->is_server = true;
    r->replication = replication_texts[REPLICATION_NONE];
    r->state = x->stage == CANCEL_SENT ? "active_cancel" : "new";
    r->socket_state = x->stage == CANCEL_SENT ? "sv_active_cancel" : "sv_login";
    str_copy(r->database, x->pool != NULL ? x->pool->database->name : "(nodb)", sizeof(r->database));
    str_copy(r->user, x->pool != NULL ? x->pool->user->name : "(nouser)", sizeof(r->user));
    set_addresses(x->stream.fd, r);
    r->connect_time_us = r->request_time_us = to_wall(x->started_us);
    r->id = x->id;
    stream_tls_describe(&x->stream, r->tls, sizeof(r->tls));
}

/* The rows of one kind of sessions, from row n on; returns the number of rows then. */
static uint32_t fill_clients(const struct shard *sh, struct session_row *rows, uint32_t n)
{
    for (int state = 0; state < CLIENT_STATES; state++)
        LIST_FOR_EACH (it, &sh->client_lists[state]) {
            fill_client(list_entry(it, struct client, node), &rows[n]);
            rows[n++].worker = sh->index;
        }
    return n;
}

static uint32_t fill_servers(const struct shard *sh, struct session_row *rows, uint32_t n)
{
    for (int state = 0; state < SERVER_STATES; state++)
        LIST_FOR_EACH (it, &sh->server_lists[state]) {
            fill_server(list_entry(it, struct server, node), &rows[n]);
            rows[n++].worker = sh->index;
        }
    LIST_FOR_EACH (it, &sh->cancels) {
        fill_cancel(list_entry(it, struct cancel, node), &rows[n]);
        rows[n++].worker = sh->index;
    }
    return n;
}

static uint32_t count_lists(const struct list *lists, int count)
{
    uint32_t n = 0;

    for (int state = 0; state < count; state++)
        LIST_FOR_EACH (it, &lists[state]) {
            n++;
        }
    return n;
}

static void describe_sessions(const struct shard *sh, struct mail_gather *m)
{
    bool clients = (m->kinds & GATHER_CLIENTS) != 0, servers = (m->kinds & GATHER_SERVERS) != 0;
    uint32_t n = (clients ? count_lists(sh->client_lists, CLIENT_STATES) : 0) +
                 (servers ? count_lists(sh->server_lists, SERVER_STATES) + count_lists(&sh->cancels, 1) : 0);

    m->n_rows = n;
    m->rows = calloc(n > 0 ? n : 1, sizeof(*m->rows));
    if (m->rows == NULL) {
        m->n_rows = UINT32_MAX; /* rows without rows: memory was out */
        return;
    }
    n = clients ? fill_clients(sh, m->rows, 0) : 0;
    if (servers)
        (void)fill_servers(sh, m->rows, n);
}

/* ---- pins ---- */

static void fill_pin(const struct client *c, struct pin_row *r)
{
    const struct server *s = c->server;
    const char *application = c->params != NULL ? params_get(c->params, "application_name") : NULL;

    r->client = c->id;
    r->server = s->id;
    str_copy(r->database, c->pool->database->name, sizeof(r->database));
    str_copy(r->user, c->pool->user->name, sizeof(r->user));
    str_copy(r->application_name, application != NULL ? application : "", sizeof(r->application_name));
    r->remote_pid = s->backend_pid;
    pin_reason_text(c->pin->reasons, r->reasons);
    r->fingerprint = c->pin->of[c->pin->first].fingerprint;
    str_copy(r->statement, c->pin->of[c->pin->first].statement, sizeof(r->statement));
    r->since_us = to_wall(c->pin->since_us);
    r->idle_us = s->query_start_us == 0 && s->tracker.tx_status == 'I' ? clock_now_us() - s->turn_us : 0;
    r->worker = c->shard->index;
}

static bool is_pinned(const struct client *c)
{
    return pin_is_counted(c);
}

/* A pinned client is linked. */
static void describe_pins(const struct shard *sh, struct mail_gather *m)
{
    const struct list *clients = &sh->client_lists[CLIENT_ACTIVE];
    uint32_t n = 0;

    LIST_FOR_EACH (it, clients)
        n += is_pinned(list_entry(it, const struct client, node));
    m->pins = calloc(n > 0 ? n : 1, sizeof(*m->pins));
    if (m->pins == NULL) {
        m->n_rows = UINT32_MAX; /* memory was out */
        return;
    }
    LIST_FOR_EACH (it, clients) {
        const struct client *c = list_entry(it, const struct client, node);
        if (is_pinned(c))
            fill_pin(c, &m->pins[m->n_pins++]);
    }
}

/* ---- memory ---- */

static void put_memory(struct mail_gather *m, const char *name, uint64_t size_bytes, uint64_t used,
                       uint64_t unused)
{
    debug_assert(m->n_memory < GATHER_MAX_MEMORY);
    m->memory[m->n_memory++] =
        (struct memory_row){.name = name, .size_bytes = size_bytes, .used = used, .free = unused};
}

static void add_buffer(const struct buf *b, uint64_t *used, uint64_t *unused)
{
    if (b == NULL)
        return;
    *used += b->len;
    *unused += b->capacity - b->len;
}

static void describe_memory(const struct shard *sh, struct mail_gather *m)
{
    uint64_t kept = 0, kept_unused = 0, pending = 0;

    for (int state = 0; state < CLIENT_STATES; state++)
        LIST_FOR_EACH (it, &sh->client_lists[state]) {
            const struct client *c = list_entry(it, struct client, node);

            add_buffer(c->input, &kept, &kept_unused);
            pending += stream_pending(&c->stream);
        }
    for (int state = 0; state < SERVER_STATES; state++)
        LIST_FOR_EACH (it, &sh->server_lists[state]) {
            const struct server *s = list_entry(it, struct server, node);

            add_buffer(&s->partial, &kept, &kept_unused);
            pending += stream_pending(&s->stream);
        }
    put_memory(m, "server_cache", sizeof(struct server), count_lists(sh->server_lists, SERVER_STATES), 0);
    put_memory(m, "client_cache", sh->client_slab.object_size, sh->client_slab.in_use,
               sh->client_slab.total - sh->client_slab.in_use);
    put_memory(m, "iobuf_cache", LOOP_READ_BUFFER_BYTES, 1, 0);
    put_memory(m, "input_bytes", 1, kept, kept_unused);
    put_memory(m, "output_bytes", 1, pending, 0);
    put_memory(m, "acts", sizeof(struct pending_act), sh->acts_tail - sh->acts_head,
               sh->acts_capacity - (sh->acts_tail - sh->acts_head));
}

void worker_describe(struct shard *sh, struct mail_gather *m)
{
    if ((m->kinds & (GATHER_CLIENTS | GATHER_SERVERS)) != 0)
        describe_sessions(sh, m);
    if ((m->kinds & GATHER_PINS) != 0)
        describe_pins(sh, m);
    if ((m->kinds & GATHER_MEMORY) != 0)
        describe_memory(sh, m);
    if ((m->kinds & GATHER_LISTENERS) != 0 && !listen_describe(sh, &m->listeners, &m->n_listeners))
        m->n_listeners = UINT32_MAX; /* memory was out */
    m->mail.type = MAIL_GATHERED;
    loop_post(sh->instance->control, &m->mail);
}
