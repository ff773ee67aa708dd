/*
 * orders.c - what the operator has ordered, carried out by one worker.
 *
 * Clients are found by their place in the table, servers as the first that is left: closing one may move or
 * close others, so no place in a list stays right.
 *
 * Threads: the worker's own.
 * Not here: what is decided about the whole, and in which order (main/orders.c).
 */
#include "login_int.h"
#include "session_int.h"

#define DRAIN_SESSIONS 64 /* clients in session mode that are closed in one tick */

static bool is_open(const struct client *c)
{
    return c->state != CLIENT_CLOSING && c->stream.fd >= 0;
}

/* Its client has no need of it: also one that has not been told yet that its transaction has ended. */
static bool is_at_rest(const struct server *s)
{
    return (s->state == SERVER_ACTIVE || s->state == SERVER_BARRED) && tracker_is_releasable(&s->tracker);
}

static bool is_meant(const struct client *c, const struct mail_order *m)
{
    switch (m->kind) {
    case ORDER_CLOSE_POOL: return c->pool == m->pool;
    case ORDER_KILL: return c->pool != NULL && (m->database == NULL || c->pool->database == m->database);
    case ORDER_KILL_CLIENT: return c->id == m->client_id;
    case ORDER_SHUTDOWN: /* in, and without a server, or in no need of it; logins: see end_logins() */
        return (c->state != CLIENT_LOGIN && c->state < CLIENT_ACTIVE) ||
               (c->state == CLIENT_ACTIVE && is_at_rest(c->server));
    case ORDER_STOP: break;
    }
    return false;
}

static void close_clients(struct shard *sh, struct mail_order *m)
{
    for (uint32_t i = 0; i < sh->clients.used; i++) {
        struct client *c = handle_at(&sh->clients, i);
        if (c == NULL || !is_open(c) || !is_meant(c, m))
            continue;
        client_close(c, m->why, NULL);
        m->n_found++;
    }
}

static struct server *find_server(const struct shard *sh, const struct pool_database *database)
{
    for (int state = 0; state < SERVER_CLOSING; state++)
        LIST_FOR_EACH (it, &sh->server_lists[state]) {
            struct server *s = list_entry(it, struct server, node);
            if (!s->is_dead && (database == NULL || s->pool->database == database))
                return s;
        }
    return NULL;
}

static void close_servers(struct shard *sh, const struct mail_order *m)
{
    struct server *s;

    while ((s = find_server(sh, m->database)) != NULL) {
        if (s->state == SERVER_CONNECTING)
            server_login_abort(s, m->why);
        else
            server_close(s, m->why, NULL);
    }
}

void orders_on_mail(struct shard *sh, struct mail_order *m)
{
    int mode = atomic_load_explicit(&sh->instance->shutdown_mode, memory_order_relaxed);

    switch (m->kind) {
    case ORDER_CLOSE_POOL:
    case ORDER_KILL_CLIENT: close_clients(sh, m); break;
    case ORDER_KILL:
        close_clients(sh, m);
        close_servers(sh, m);
        break;
    case ORDER_SHUTDOWN:
        if (mode >= SHUTDOWN_WAIT_FOR_SERVERS)
            close_clients(sh, m);
        shard_arm_tick(sh);
        break;
    case ORDER_STOP:
        shard_close_all(sh, m->why);
        m->mail.type = MAIL_ORDER_DONE;
        sh->stop_order = m;
        sh->stopping_since_us = sh->now_us;
        shard_arm_tick(sh);
        return;
    }
    m->mail.type = MAIL_ORDER_DONE;
    loop_post(sh->instance->control, &m->mail);
}

/* One that was granted away a moment ago stays where it is until the YIELD that is coming ends it. */
static struct server *first_living(const struct list *servers)
{
    LIST_FOR_EACH (it, servers) {
        struct server *s = list_entry(it, struct server, node);
        if (!s->is_dead)
            return s;
    }
    return NULL;
}

void shard_close_all(struct shard *sh, enum close_reason why)
{
    struct list *node;
    struct server *s;

    sh->is_stopping = true;
    listen_servers_stop(sh);
    /* closing one may move or close others, so each time the first that is left */
    for (int state = 0; state < CLIENT_CLOSING; state++)
        while ((node = sh->client_lists[state].next) != &sh->client_lists[state])
            client_close(list_entry(node, struct client, node), why, NULL);
    for (int state = 0; state < SERVER_CLOSING; state++)
        while ((s = first_living(&sh->server_lists[state])) != NULL)
            server_close(s, why, NULL);
    cancel_close_all(sh);
}

/* ---- SHUTDOWN DRAIN ---- */

/* One client of those that may be closed now, among all workers. */
static bool take_drain(struct instance *in)
{
    if (atomic_load_explicit(&in->drain_budget, memory_order_relaxed) <= 0)
        return false;
    if (atomic_fetch_sub_explicit(&in->drain_budget, 1, memory_order_relaxed) > 0)
        return true;
    atomic_fetch_add_explicit(&in->drain_budget, 1, memory_order_relaxed); /* others were quicker */
    return false;
}

bool shard_ends_client(struct shard *sh, const struct client *c)
{
    int mode = atomic_load_explicit(&sh->instance->shutdown_mode, memory_order_relaxed);

    if (likely(mode < SHUTDOWN_DRAIN))
        return false;
    if (mode >= SHUTDOWN_WAIT_FOR_SERVERS)
        return true;
    return c->input == NULL && take_drain(sh->instance); /* what it has sent already is still answered */
}

/* Who does not log in would keep the process: refused in time (may_log_in()) unless it says nothing. A
 * console is let in. */
static void end_logins(struct shard *sh, int64_t now_us)
{
    LIST_FOR_EACH_SAFE (it, &sh->client_lists[CLIENT_LOGIN]) {
        struct client *c = list_entry(it, struct client, node);
        bool is_console = c->login != NULL && c->login->is_console;
        if (!is_console && now_us - c->connected_us >= SESSION_LINGER_US)
            client_close(c, CLOSE_SHUTDOWN, NULL);
    }
}

/* Session mode: idle, with a server. */
static void drain_sessions(struct shard *sh)
{
    uint64_t found[DRAIN_SESSIONS];
    int n = 0;

    LIST_FOR_EACH (it, &sh->client_lists[CLIENT_ACTIVE]) {
        const struct client *c = list_entry(it, struct client, node);
        if (n < DRAIN_SESSIONS && c->remain_bytes == 0 && is_at_rest(c->server))
            found[n++] = c->handle;
    }
    for (int i = 0; i < n; i++) {
        struct client *c = handle_get(&sh->clients, found[i]);
        if (c != NULL && c->state == CLIENT_ACTIVE && shard_ends_client(sh, c))
            client_close(c, CLOSE_SHUTDOWN, NULL);
    }
}

bool orders_tick(struct shard *sh, int64_t now_us)
{
    int mode = atomic_load_explicit(&sh->instance->shutdown_mode, memory_order_relaxed);

    if (mode != SHUTDOWN_DRAIN && mode != SHUTDOWN_WAIT_FOR_SERVERS)
        return false;
    end_logins(sh, now_us);
    if (mode != SHUTDOWN_DRAIN)
        return true;
    LIST_FOR_EACH_SAFE (it, &sh->client_lists[CLIENT_IDLE]) {
        struct client *c = list_entry(it, struct client, node); /* has no server: closing it moves nobody */
        if (shard_ends_client(sh, c))
            client_close(c, CLOSE_SHUTDOWN, NULL);
    }
    drain_sessions(sh);
    return true;
}
