/*
 * client.c - the life of a client session: accepted, moved between states, closed.
 *
 * Threads: the worker's own.
 * Not here: login (client_login.c), traffic (client_flow.c), the console
 * (console_client.c).
 */
#include "session/client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/secret.h"
#include "base/str.h"
#include "pool/obstacle.h"
#include "auth_int.h"
#include "tracking.h"
#include "client_tls_int.h"
#include "session_int.h"

#define MAX_RETRIES_PER_TICK 64 /* pools */
#define CLOSE_TEXT_BYTES     (POOL_ERROR_BYTES + 256)
#define MAX_LATE_PER_TICK    256 /* clients that have waited too long; the others 20 ms later */

/* [from] bit set of the states that may follow */
#define TO(s) (1u << CLIENT_##s)
only_for_checks static const uint16_t client_moves[CLIENT_STATES] = {
    [CLIENT_LOGIN] = TO(LOGIN_WAIT) | TO(IDLE) | TO(CONSOLE) | TO(CANCEL) | TO(CLOSING),
    [CLIENT_LOGIN_WAIT] = TO(IDLE) | TO(LOGIN) | TO(CLOSING),
    [CLIENT_IDLE] = TO(WAITING) | TO(ACTIVE) | TO(CLOSING),
    [CLIENT_WAITING] = TO(ACTIVE) | TO(IDLE) | TO(CLOSING),
    [CLIENT_ACTIVE] = TO(IDLE) | TO(WAITING) | TO(CLOSING),
    [CLIENT_CONSOLE] = TO(CLOSING),
    [CLIENT_CANCEL] = 0, /* nobody reads what it would be told */
    [CLIENT_CLOSING] = 0,
};
#undef TO

void client_set_state(struct client *c, enum client_state state)
{
    debug_assert(c->state == state || (client_moves[c->state] & (1u << state)) != 0);
    list_del(&c->node);
    c->state = (uint8_t)state;
    c->wait_is_notified = false;
    list_push_back(&c->shard->client_lists[state], &c->node);
    c->state_since_us = c->shard->now_us;
    if (state == CLIENT_ACTIVE || state == CLIENT_CONSOLE)
        return;
    if (state != CLIENT_IDLE)
        shard_arm_tick(c->shard);
    else if (deadlines_join(&c->shard->idle, c->state_since_us))
        shard_arm_deadlines(c->shard);
}

void client_apply_config(struct client *c, const struct config *cfg)
{
    const struct config *newest = c->shard->config->config;
    const struct database_config *db = config_find_database(newest, c->pool->database->name);

    if (db != NULL)
        cfg = newest;
    else
        db = config_find_database(cfg, c->pool->database->name);
    if (db == NULL)
        return; /* removed: the control thread closes its clients */
    const struct user_config *user = config_find_user(cfg, c->pool->user->name);
    config_timeouts(cfg, db, user, &c->timeouts);
    /* counts from the client's next ReadyForQuery on; a server that it has keeps its reset query */
    c->pool_mode = (uint8_t)config_pool_mode(cfg, db, user);
    if (c->replication != REPLICATION_NONE) {
        c->pool_mode = POOL_MODE_SESSION;
        c->timeouts.query_us = c->timeouts.transaction_us = 0; /* a stream is one long query */
    }
    c->session_state = (uint8_t)config_session_state(cfg, db, user);
    c->watches_state =
        c->pool_mode != POOL_MODE_SESSION && (c->session_state != SESSION_STATE_IGNORE || c->pin != NULL);
    client_keeps_configure(c);
    tracking_configure(c);
    prepared_client_configure(c);
    listen_client_configure(c);
}

void client_keeps_configure(struct client *c)
{
    c->keeps_server = c->pool_mode == POOL_MODE_SESSION || c->pin != NULL;
}

void client_peer_text(const struct client *c, char *out, size_t size)
{
    if (c->peer_family == AF_UNIX || inet_ntop(c->peer_family, c->peer_addr, out, (socklen_t)size) == NULL)
        snprintf(out, size, "unix");
}

void client_describe(const struct client *c, char *out, size_t size)
{
    char addr[INET6_ADDRSTRLEN];
    const char *db = "(nodb)", *user = "(nouser)";

    client_peer_text(c, addr, sizeof(addr));
    if (c->pool != NULL) {
        db = c->pool->database->name;
        user = c->login_user != NULL ? c->login_user->name : c->pool->user->name;
    } else if (c->state == CLIENT_CONSOLE) {
        db = "pgbouncer"; /* by whichever name it came */
        user = c->console_user;
    }
    snprintf(out, size, "C-%llu: %s/%s@%s:%u", (unsigned long long)c->id, db, user, addr, c->peer_port);
}

void client_log(const struct client *c, int level, const char *fmt, ...)
{
    char prefix[256];
    va_list ap;

    if (!log_enabled((enum log_level)level))
        return;
    client_describe(c, prefix, sizeof(prefix) - 1);
    str_copy(prefix + strlen(prefix), " ", 2);
    va_start(ap, fmt);
    log_vline((enum log_level)level, prefix, fmt, ap);
    va_end(ap);
}

struct stats_shard *client_stats(struct client *c)
{
    return c->pool != NULL ? pool_stats_shard(&c->pool->stats, c->shard->index) : NULL;
}

/* Its family; the address where it has one. */
static uint8_t read_peer(int fd, bool is_unix, uint8_t addr[16], uint16_t *port)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);

    if (is_unix || getpeername(fd, (struct sockaddr *)&ss, &len) != 0)
        return AF_UNIX;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&ss;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&ss;
    if (ss.ss_family == AF_INET) {
        memcpy(addr, &in4->sin_addr, 4);
        *port = ntohs(in4->sin_port);
    } else if (ss.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        /* a socket of the service manager may be one for both: rules and counts are about the IPv4 address */
        memcpy(addr, in6->sin6_addr.s6_addr + 12, 4);
        *port = ntohs(in6->sin6_port);
        return AF_INET;
    } else if (ss.ss_family == AF_INET6) {
        memcpy(addr, &in6->sin6_addr, 16);
        *port = ntohs(in6->sin6_port);
    }
    return (uint8_t)ss.ss_family;
}

struct client *client_new(struct shard *sh, int fd)
{
    struct client *c = slab_alloc(&sh->client_slab);
    if (c == NULL)
        return NULL;
    c->handle = handle_new(&sh->clients, c);
    if (c->handle == 0) {
        slab_free(&sh->client_slab, c);
        return NULL;
    }
    c->shard = sh;
    c->id = atomic_fetch_add_explicit(&sh->instance->next_connection_id, 1, memory_order_relaxed);
    c->connected_us = c->shard->now_us;
    list_init(&c->node);
    list_init(&c->ticket.node);
    c->ticket.client = c->handle;
    c->ticket.worker = sh->index;
    stream_init(&c->stream, &sh->loop, fd, &client_stream_ops);
    client_set_state(c, CLIENT_LOGIN);
    atomic_fetch_add_explicit(&sh->n_clients, 1, memory_order_relaxed);
    return c;
}

/* Nobody here has more than his share; perhaps on another worker. When all have been asked it comes back,
 * so that it still counts as the first one's: the clients that arrive meanwhile go to others. */
static void pass_on(struct shard *sh, struct mail_client *m)
{
    struct instance *in = sh->instance;

    loop_post(&in->shards[(sh->index + 1) % in->n_workers]->loop, &m->mail);
}

/* Takes the place of another for it, if there is none. False: it has gone to the next worker. */
static bool find_place(struct shard *sh, struct mail_client *m, uint8_t family, const uint8_t *addr)
{
    if (!m->is_over_limit || m->n_asked == sh->instance->n_workers)
        return true;
    if (places_take_over(sh, family, addr)) {
        m->is_over_limit = false;
        atomic_fetch_sub_explicit(&sh->instance->refused, 1, memory_order_relaxed);
        return true;
    }
    m->n_asked++;
    if (sh->instance->n_workers == 1)
        return true;
    pass_on(sh, m);
    return false;
}

void shard_accept(struct shard *sh, struct mail_client *m)
{
    uint8_t addr[16] = {0};
    uint16_t port = 0;
    uint8_t family = read_peer(m->fd, m->is_unix, addr, &port);

    if (!find_place(sh, m, family, addr))
        return;
    struct client *c = client_new(sh, m->fd);
    atomic_fetch_sub_explicit(&m->home->n_dispatched, 1, memory_order_relaxed);
    if (c == NULL) {
        log_error("out of memory for a new client");
        close(m->fd);
        atomic_fetch_sub(m->is_over_limit ? &sh->instance->refused : &sh->instance->clients, 1);
        free(m);
        return;
    }
    c->peer_family = family;
    memcpy(c->peer_addr, addr, sizeof(addr));
    c->peer_port = port;
    c->is_counted = !m->is_over_limit;
    if (m->is_over_limit)
        places_refused_enter(c);
    free(m);
    if (!stream_read_start(&c->stream)) {
        client_close(c, CLOSE_WORKER_IO, NULL);
        return;
    }
    client_log(c, LOG_LVL_DEBUG, "connected");
}

static void client_deferred_free(struct deferred *d)
{
    struct client *c = container_of(d, struct client, deferred);
    slab_free(&c->shard->client_slab, c);
}

void client_free(struct client *c)
{
    struct shard *sh = c->shard;

    list_del(&c->node);
    stream_close(&c->stream);
    client_drop_input(c);
    client_login_free(c);
    prepared_client_free(c);
    notify_client_free(c);
    listening_free(c);
    tracking_client_free(c);
    params_unref(c->params);
    c->params = NULL;
    free(c->console_user);
    c->console_user = NULL;
    free(c->long_key);
    c->long_key = NULL;
    cancel_forget_key(c);
    handle_free(&sh->clients, c->handle);
    if (c->state == CLIENT_CANCEL)
        sh->n_cancel_clients--;
    if (c->is_counted)
        atomic_fetch_sub_explicit(&sh->instance->clients, 1, memory_order_release);
    places_refused_leave(c);
    atomic_fetch_sub_explicit(&sh->n_clients, 1, memory_order_relaxed);
    c->deferred.run = client_deferred_free;
    loop_defer(&sh->loop, &c->deferred);
}

bool client_keep_input(struct client *c, const uint8_t *data, uint32_t len_bytes)
{
    if (len_bytes == 0)
        return true;
    if (c->input == NULL) {
        c->input = malloc(sizeof(*c->input));
        if (c->input == NULL) {
            client_close(c, CLOSE_NO_MEMORY, NULL);
            return false;
        }
        buf_init(c->input, 0);
    }
    c->input->max_bytes = client_input_limit(c) + 3 * SESSION_MAX_INPUT_BYTES;
    if (c->login != NULL)
        (void)buf_reserve_wiped(c->input, len_bytes);
    buf_append(c->input, data, len_bytes);
    if (c->input->failed) {
        client_close(c, CLOSE_NO_MEMORY, NULL);
        return false;
    }
    if (c->input->len >= client_input_limit(c) && !c->read_is_held) {
        c->read_is_held = true;
        stream_read_stop(&c->stream);
    }
    return true;
}

bool client_put_back_input(struct client *c, const uint8_t *data, uint32_t len_bytes)
{
    struct buf *behind = c->input;

    c->input = NULL;
    bool is_kept = client_keep_input(c, data, len_bytes) &&
                   (behind == NULL || client_keep_input(c, behind->data, behind->len));
    if (behind != NULL) {
        buf_free(behind);
        free(behind);
    }
    return is_kept;
}

void client_drop_input(struct client *c)
{
    if (c->input == NULL)
        return;
    if (c->login != NULL) /* there may be a password in it */
        secret_wipe(c->input->data, c->input->capacity);
    buf_free(c->input);
    free(c->input);
    c->input = NULL;
}

/* Leaves queue, server and pool; the ledger is right afterwards. */
static void client_leave(struct client *c)
{
    struct server *s = c->server;

    if ((c->state == CLIENT_WAITING || c->state == CLIENT_LOGIN_WAIT) && s == NULL)
        (void)pool_cancel(c->pool, &c->ticket, c->shard->now_us);
    client_lookup_leave(c);
    client_check_leave(c);
    client_failed_leave(c);
    if (c->state == CLIENT_CONSOLE)
        console_gone(c);
    if (s != NULL)
        server_client_gone(s);
    listening_free(c);
    places_give_back(c);
}

static void log_close(const struct client *c, enum close_reason why, const char *text, bool is_error)
{
    const struct settings *set = shard_settings(c->shard);
    int64_t age_s = (c->shard->now_us - c->connected_us) / USEC_PER_SEC;

    stats_errors_count_close(c->shard->instance->errors, c->shard->index, why);
    if (why == CLOSE_LOGIN_BLOCKED) /* that it is blocked has been said */
        return;
    if (is_error && set->log_pooler_errors)
        client_log(c, LOG_LVL_WARNING, "pooler error: %s", text);
    if (set->log_disconnections)
        client_log(c, LOG_LVL_LOG, "closing because: %s (age=%llds)", text, (long long)age_s);
}

struct last_words {
    const char *sqlstate;
    const char *message; /* NULL: none */
    const char *detail;  /* NULL: none; the log has it behind the message */
    const char *hint;
};

static void close_with(struct client *c, enum close_reason why, const struct last_words *words)
{
    const char *said = words->message != NULL ? words->message : close_reason_text(why);
    char text[CLOSE_TEXT_BYTES];

    if (c->state == CLIENT_CLOSING || c->stream.fd < 0)
        return;
    const struct server *s = c->server;
    if (s != NULL && s->remain_bytes > 0 && !s->is_dropping)
        c->is_mid_message = true;
    bool can_tell = words->message != NULL && !c->is_mid_message && !c->told_fatal &&
                    c->state != CLIENT_CANCEL && !client_tls_is_busy(c);
    if (words->message != NULL && words->detail != NULL) {
        snprintf(text, sizeof(text), "%s: %s", words->message, words->detail);
        said = text;
    }
    log_close(c, why, said, words->message != NULL);
    client_leave(c);
    if (!can_tell && !c->told_fatal) {
        client_free(c);
        return;
    }
    client_set_state(c, CLIENT_CLOSING);
    client_drop_input(c);
    c->read_is_held = false;
    bool is_sent = true;
    if (can_tell) {
        struct buf b;
        buf_init(&b, 65536);
        wire_put_error(&b, "FATAL", words->sqlstate, words->message, words->detail, words->hint);
        is_sent = !b.failed && stream_send(&c->stream, b.data, b.len);
        buf_free(&b);
    }
    /* unread input would make the kernel reset the connection and destroy the message: read on for a while */
    if (!is_sent || !stream_read_start(&c->stream)) {
        client_free(c);
        return;
    }
    stream_shutdown_write(&c->stream);
}

void client_close_error(struct client *c, enum close_reason why, const char *sqlstate, const char *message,
                        const char *hint)
{
    close_with(c, why, &(struct last_words){sqlstate, message, NULL, hint});
}

void client_close(struct client *c, enum close_reason why, const char *detail)
{
    char text[512];
    const char *message = close_reason_message(why);

    if (c->state == CLIENT_CLOSING || c->stream.fd < 0)
        return;
    if (message != NULL && detail != NULL) {
        snprintf(text, sizeof(text), "%s: %s", message, detail);
        message = text;
    }
    if (message != NULL) {
        client_close_error(c, why, close_reason_sqlstate(why), message, close_reason_hint(why));
        return;
    }
    log_close(c, why, close_reason_text(why), false);
    client_leave(c);
    client_free(c);
}

void client_drop(struct client *c, enum close_reason why)
{
    client_log(c, LOG_LVL_DEBUG, "closing because: %s", close_reason_text(why));
    if (c->state != CLIENT_CLOSING) { /* counted then */
        stats_errors_count_close(c->shard->instance->errors, c->shard->index, why);
        client_leave(c);
    }
    client_free(c);
}

/* Its wait for a server is over: told the true cause, behind PgBouncer's words for how it ended. */
static void close_waiting(struct client *c, enum close_reason why, enum pool_obstacle o, const char *error)
{
    const char *message = close_reason_message(why), *detail = obstacle_detail(o), *hint = obstacle_hint(o);
    char text[POOL_ERROR_BYTES + 64];

    if (o == OBSTACLE_BUSY && why != CLOSE_CLIENT_LOGIN_TIMEOUT_SERVER_DOWN) {
        client_close(c, why, NULL);
        return;
    }
    snprintf(text, sizeof(text), "%s%s%s", message, error[0] != '\0' ? ": " : "", error);
    close_with(c, why, &(struct last_words){close_reason_sqlstate(why), text, detail, hint});
}

static void login_timed_out(struct client *c)
{
    char text[POOL_ERROR_BYTES];
    if (c->state != CLIENT_LOGIN_WAIT) {
        client_close(c, CLOSE_CLIENT_LOGIN_TIMEOUT, NULL);
        return;
    }
    enum pool_obstacle o = pool_obstacle(c->pool, text);
    if (client_is_looking_up(c)) {
        client_log(c, LOG_LVL_LOG, "auth_query has not been run: %s",
                   text[0] != '\0' ? text : obstacle_detail(o));
        client_close(c, CLOSE_CLIENT_LOGIN_TIMEOUT, NULL);
        return;
    }
    close_waiting(c, CLOSE_CLIENT_LOGIN_TIMEOUT_SERVER_DOWN, o, text);
}

/* Tells a client that has waited for query_wait_notify that it is queued; once per wait. */
static void notify_wait(struct client *c, int64_t now_us)
{
    int after_s = shard_settings(c->shard)->query_wait_notify;
    char text[160];
    struct buf b;

    if (after_s <= 0 || c->wait_is_notified || c->state != CLIENT_WAITING ||
        now_us - c->state_since_us < after_s * USEC_PER_SEC)
        return;
    c->wait_is_notified = true;
    snprintf(text, sizeof(text), "No server connection available in pool %.48s/%.48s, client being queued",
             c->pool->database->name, c->pool->user->name);
    buf_init(&b, 4096);
    wire_put_notice(&b, "NOTICE", "00000", text, NULL, NULL);
    if (b.failed || !stream_send(&c->stream, b.data, b.len))
        client_log(c, LOG_LVL_DEBUG, "cannot be told that it is queued");
    buf_free(&b);
}

/* When its wait ends, and as what: query_timeout counts the wait for a server too. A login is no query. */
static struct deadline wait_deadline(const struct client *c)
{
    struct deadline_times since = {.query_us = c->state == CLIENT_WAITING ? c->ticket.since_us : 0};
    struct deadline d = deadline_earliest(&since, &c->timeouts);
    int64_t wait_us = deadline_after(c->ticket.since_us, c->timeouts.query_wait_us);

    if (wait_us <= d.at_us)
        d = (struct deadline){.at_us = wait_us, .why = CLOSE_QUERY_WAIT_TIMEOUT};
    return d;
}

static void end_wait(struct client *c, enum close_reason why)
{
    char text[POOL_ERROR_BYTES];
    enum pool_obstacle o = pool_obstacle(c->pool, text);

    if (client_is_looking_up(c)) {
        client_lookup_failed(c, text[0] != '\0' ? text : close_reason_text(why));
        return;
    }
    if (why == CLOSE_QUERY_TIMEOUT && timeouts_keep_session(c)) {
        timeouts_cancel_unsent(c, text);
        return;
    }
    close_waiting(c, why, o, text);
}

/* Waited too long, since it first asked, however often it was put back? Not when a server is on its way: that
 * is microseconds off. */
static bool is_late(struct client *c, const struct deadline *d, int64_t now_us)
{
    return now_us >= d->at_us && (pool_cancel_if_waiting(c->pool, &c->ticket, now_us) ||
                                  now_us >= d->at_us + SESSION_LOST_GRANT_US);
}

/* Whose time is over. Ending one may end others, or serve them, so all are found first. */
struct late_clients {
    int n;
    struct {
        uint64_t handle;
        enum close_reason why;
    } clients[MAX_LATE_PER_TICK];
};

/* False: no more in this tick. */
static bool add_late(struct late_clients *late, const struct client *c, enum close_reason why)
{
    if (late->n == MAX_LATE_PER_TICK)
        return false;
    late->clients[late->n].handle = c->handle;
    late->clients[late->n++].why = why;
    return true;
}

/* NULL: it has gone. */
static struct client *late_client(const struct shard *sh, const struct late_clients *late, int i)
{
    return handle_get(&sh->clients, late->clients[i].handle);
}

static bool is_login_late(const struct client *c, int64_t now_us)
{
    int64_t login_us = shard_settings(c->shard)->client_login_timeout_us;
    return login_us > 0 && now_us - c->connected_us >= login_us;
}

static void find_late_logins(struct shard *sh, int64_t now_us, struct late_clients *late)
{
    LIST_FOR_EACH (it, &sh->client_lists[CLIENT_LOGIN]) {
        const struct client *c = list_entry(it, const struct client, node);
        if (!is_login_late(c, now_us) || !add_late(late, c, CLOSE_CLIENT_LOGIN_TIMEOUT))
            break; /* oldest first */
    }
    LIST_FOR_EACH (it, &sh->client_lists[CLIENT_LOGIN_WAIT]) {
        struct client *c = list_entry(it, struct client, node);
        struct deadline d = wait_deadline(c);
        if (late->n == MAX_LATE_PER_TICK)
            break;
        if (!client_login_waits_as_query(c) && is_login_late(c, now_us))
            (void)add_late(late, c, CLOSE_CLIENT_LOGIN_TIMEOUT);
        else if (c->server == NULL && is_late(c, &d, now_us)) /* else server_connect_timeout counts */
            (void)add_late(late, c, d.why);
    }
}

static void check_logins(struct shard *sh, int64_t now_us)
{
    struct late_clients late = {.n = 0};

    find_late_logins(sh, now_us, &late);
    for (int i = 0; i < late.n; i++) {
        struct client *c = late_client(sh, &late, i);
        bool is_in = c == NULL || (c->state != CLIENT_LOGIN && c->state != CLIENT_LOGIN_WAIT);
        if (is_in)
            continue;
        if (late.clients[i].why == CLOSE_CLIENT_LOGIN_TIMEOUT)
            login_timed_out(c);
        else if (c->state == CLIENT_LOGIN_WAIT && c->server == NULL)
            end_wait(c, late.clients[i].why);
    }
}

static void check_waiting(struct shard *sh, int64_t now_us)
{
    struct late_clients late = {.n = 0};

    LIST_FOR_EACH (it, &sh->client_lists[CLIENT_WAITING]) {
        struct client *c = list_entry(it, struct client, node);
        struct deadline d = wait_deadline(c);
        notify_wait(c, now_us);
        if (late.n < MAX_LATE_PER_TICK && is_late(c, &d, now_us))
            (void)add_late(&late, c, d.why);
    }
    for (int i = 0; i < late.n; i++) {
        struct client *c = late_client(sh, &late, i);
        if (c != NULL && c->state == CLIENT_WAITING)
            end_wait(c, late.clients[i].why);
    }
}

/* A pool for which a client waits and whose pause between attempts to connect is over, or NULL. */
static struct pool *find_retry(struct shard *sh, int64_t now_us)
{
    static const enum client_state states[] = {CLIENT_WAITING, CLIENT_LOGIN_WAIT};

    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        LIST_FOR_EACH (it, &sh->client_lists[states[i]]) {
            struct pool *pool = list_entry(it, struct client, node)->pool;
            int64_t retry_us = atomic_load_explicit(&pool->retry_hint_us, memory_order_relaxed);
            if (retry_us != 0 && now_us >= retry_us)
                return pool;
        }
    return NULL;
}

/* Whose clients wait, tries again. The pump takes the hint away, or puts it off. */
static void retry_pools(struct shard *sh, int64_t now_us)
{
    struct pool *pool;
    struct pool_acts acts;

    for (int n = 0; n < MAX_RETRIES_PER_TICK && (pool = find_retry(sh, now_us)) != NULL; n++) {
        pool_pump(pool, sh->index, now_us, &acts);
        shard_perform(sh, pool, &acts);
    }
}

void client_tick(struct shard *sh, int64_t now_us)
{
    retry_pools(sh, now_us);
    check_logins(sh, now_us);
    check_waiting(sh, now_us);
    LIST_FOR_EACH_SAFE (it, &sh->client_lists[CLIENT_CLOSING]) {
        struct client *c = list_entry(it, struct client, node);
        if (now_us - c->state_since_us < SESSION_LINGER_US)
            break;
        client_free(c);
    }
}
