/*
 * describe.c - a worker tells of its clients and servers, for SHOW CLIENTS and SHOW SERVERS.
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
#include "session/server.h"
#include "wire/params.h"
#include "worker/worker.h"

static const char *client_state_text(const struct client *c)
{
    switch (c->state) {
    case CLIENT_LOGIN:
    case CLIENT_LOGIN_WAIT: return "login";
    case CLIENT_WAITING: return "waiting";
    case CLIENT_ACTIVE: return c->server != NULL ? "active" : "idle";
    case CLIENT_CONSOLE: return "active";
    case CLIENT_CANCEL:
        return atomic_load(&c->cancel->is_active) ? "active_cancel_req" : "waiting_cancel_req";
    case CLIENT_CLOSING: return "closing";
    default: return "idle";
    }
}

static const char *server_state_text(const struct server *s)
{
    switch (s->state) {
    case SERVER_CONNECTING: return "new";
    case SERVER_SETUP:
    case SERVER_ACTIVE: return "active";
    case SERVER_RESET: return "tested";
    case SERVER_HELD: return "being_canceled";
    case SERVER_CLOSING: return "closing";
    default: return "idle";
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

static void fill_client(const struct client *c, struct session_row *r)
{
    r->state = client_state_text(c);
    const struct pool *pool = c->state == CLIENT_CANCEL ? atomic_load(&c->cancel->pool) : c->pool;
    if (pool != NULL) {
        str_copy(r->database, pool->database->name, sizeof(r->database));
        str_copy(r->user, pool->user->name, sizeof(r->user));
    } else if (c->state == CLIENT_CONSOLE) {
        str_copy(r->database, "pgsluice", sizeof(r->database));
        str_copy(r->user, c->console_user, sizeof(r->user));
    }
    set_addresses(c->stream.fd, r);
    r->connect_time_us = to_wall(c->connected_us);
    r->request_time_us = to_wall(c->request_us);
    if (c->state == CLIENT_WAITING)
        r->wait_us = clock_now_us() - c->state_since_us;
    r->close_needed = c->state == CLIENT_CLOSING;
    r->id = c->id;
    if (c->server != NULL) {
        r->link = c->server->id;
        r->remote_pid = 0;
    }
    stream_tls_describe(&c->stream, r->tls, sizeof(r->tls));
    set_application_name(c->params, r);
    r->prepared_statements = client_prepared_count(c);
}

static void fill_server(const struct server *s, struct session_row *r)
{
    r->is_server = true;
    r->state = server_state_text(s);
    str_copy(r->database, s->pool->database->name, sizeof(r->database));
    str_copy(r->user, s->pool->user->name, sizeof(r->user));
    set_addresses(s->stream.fd, r);
    r->connect_time_us = to_wall(s->connected_us != 0 ? s->connected_us : s->state_since_us);
    r->request_time_us = to_wall(s->request_us);
    r->close_needed = s->state == SERVER_CLOSING || s->is_dead ||
                      (s->slot != NULL && pool_slot_is_marked(s->pool, s->slot));
    r->id = s->id;
    if (s->client != NULL)
        r->link = s->client->id;
    r->remote_pid = s->backend_pid;
    stream_tls_describe(&s->stream, r->tls, sizeof(r->tls));
    set_application_name(s->params, r);
    r->prepared_statements = server_prepared_count(s);
}

/* A connection that carries a cancel request. */
static void fill_cancel(const struct cancel *x, struct session_row *r)
{
    r->is_server = true;
    r->state = x->stage == CANCEL_SENT ? "active_cancel" : "new";
    str_copy(r->database, x->pool != NULL ? x->pool->database->name : "(nodb)", sizeof(r->database));
    str_copy(r->user, x->pool != NULL ? x->pool->user->name : "(nouser)", sizeof(r->user));
    set_addresses(x->stream.fd, r);
    r->connect_time_us = r->request_time_us = to_wall(x->started_us);
    r->id = x->id;
    stream_tls_describe(&x->stream, r->tls, sizeof(r->tls));
}

static uint32_t fill_rows(const struct shard *sh, struct mail_gather *m)
{
    uint32_t n = 0;

    if (m->kind == GATHER_CLIENTS) {
        for (int state = 0; state < CLIENT_STATES; state++)
            LIST_FOR_EACH (it, &sh->client_lists[state]) {
                fill_client(list_entry(it, struct client, node), &m->rows[n]);
                m->rows[n++].worker = sh->index;
            }
        return n;
    }
    for (int state = 0; state < SERVER_STATES; state++)
        LIST_FOR_EACH (it, &sh->server_lists[state]) {
            fill_server(list_entry(it, struct server, node), &m->rows[n]);
            m->rows[n++].worker = sh->index;
        }
    LIST_FOR_EACH (it, &sh->cancels) {
        fill_cancel(list_entry(it, struct cancel, node), &m->rows[n]);
        m->rows[n++].worker = sh->index;
    }
    return n;
}

void worker_describe(struct shard *sh, struct mail_gather *m)
{
    uint32_t n = 0;
    int states = m->kind == GATHER_CLIENTS ? CLIENT_STATES : SERVER_STATES;
    const struct list *lists = m->kind == GATHER_CLIENTS ? sh->client_lists : sh->server_lists;

    for (int state = 0; state < states; state++)
        LIST_FOR_EACH (it, &lists[state]) {
            n++;
        }
    if (m->kind == GATHER_SERVERS)
        LIST_FOR_EACH (it, &sh->cancels) {
            n++;
        }
    m->n_rows = 0;
    m->rows = calloc(n > 0 ? n : 1, sizeof(*m->rows));
    if (m->rows != NULL)
        m->n_rows = fill_rows(sh, m);
    m->mail.type = MAIL_GATHERED;
    loop_post(sh->instance->control, &m->mail);
}
