/*
 * server_login.c - from a slot to a server that is ready for queries.
 *
 * Name, socket, TLS, start-up packet, authentication, parameters, connect_query; all
 * within server_connect_timeout. A connection in progress belongs to the pool, not
 * to the client that caused it.
 *
 * Of several hosts, one that is down, going down or starting up, that does not answer in its share of
 * the time, or that is not what target_session_attrs asks for, is followed by the next.
 *
 * server_tls_sslmode follows libpq: `prefer` tries TLS and goes on without when the
 * server has none or refuses the login over it; `allow` tries without first.
 *
 * Threads: the owner's.
 * Not here: authentication (server_auth.c).
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/secret.h"
#include "base/str.h"
#include "login_int.h"
#include "pool/reach.h"
#include "session/notifiers.h"
#include "server_login_int.h"

static const struct stream_ops login_stream_ops;

void server_login_free(struct server *s)
{
    struct server_login *l = s->login;
    if (l == NULL)
        return;
    scram_client_free(l->scram);
    params_unref(l->welcome);
    session_config_unref(l->config);
    free(l);
    s->login = NULL;
}

static bool is_unix_server(const struct server *s)
{
    return s->peer_bytes == 0 || s->peer.ss_family == AF_UNIX;
}

static const struct server_tls *tls_of(const struct server_login *l)
{
    return session_config_server_tls(l->config, l->db);
}

/* ---- failing ---- */

/* Refused for good: nobody who waits can be helped by another try. Users that may not log in; a database that
 * is not there, that the user may not connect to, that takes no connections (template0). */
static bool is_for_good(const char *sqlstate)
{
    return sqlstate != NULL && (strncmp(sqlstate, "28", 2) == 0 || strcmp(sqlstate, "3D000") == 0 ||
                                strcmp(sqlstate, "42501") == 0 || strcmp(sqlstate, "55000") == 0);
}

/* Leaves the current connection; everything that belongs to it goes. */
static void close_attempt(struct server *s)
{
    static const uint8_t terminate[5] = {'X', 0, 0, 0, 4};
    struct server_login *l = s->login;

    if (l->stage >= STAGE_PARAMETERS && s->stream.fd >= 0)
        (void)!stream_send(&s->stream, terminate, sizeof(terminate));
    stream_close(&s->stream);
    buf_clear(&s->partial);
    scram_client_free(l->scram);
    l->scram = NULL;
    l->scram_is_done = false;
    l->scram_is_bound = false;
    params_unref(l->welcome);
    l->welcome = params_empty();
    s->role = (struct server_role){0};
}

/* prefer and allow have a second choice. */
static bool try_other_way(struct server *s, const char *sqlstate)
{
    struct server_login *l = s->login;
    int mode = tls_of(l)->sslmode;
    bool refused_login = sqlstate != NULL && strncmp(sqlstate, "28", 2) == 0;

    if (l->is_second_try || l->stage < STAGE_TLS_HANDSHAKE || l->stage > STAGE_AUTH || is_unix_server(s))
        return false;
    /* what has to be bound to TLS has no other way but TLS */
    bool may_do_without = tls_of(l)->channel_binding != CHANNEL_BINDING_REQUIRE;

    if (mode == SSLMODE_PREFER && l->use_tls && may_do_without &&
        (l->stage == STAGE_TLS_HANDSHAKE || refused_login))
        l->use_tls = false;
    else if (mode == SSLMODE_ALLOW && !l->use_tls && refused_login)
        l->use_tls = true;
    else
        return false;
    l->is_second_try = true;
    close_attempt(s);
    l->stage = STAGE_DIAL;
    dial_again(&s->dial);
    return true;
}

/* Is it the host that is no use, rather than what we want of it? As libpq: a refused password is final. */
static bool is_host_failure(enum close_reason why, const char *sqlstate)
{
    if (sqlstate != NULL && strcmp(sqlstate, "08001") != 0)
        return strncmp(sqlstate, "57P", 3) == 0;
    return why == CLOSE_CONNECT_FAILED || why == CLOSE_SERVER_CRASHED || why == CLOSE_CONNECT_TIMEOUT ||
           why == CLOSE_ROLE_MISMATCH;
}

static bool try_next_host(struct server *s, enum close_reason why, const char *sqlstate, const char *text)
{
    struct server_login *l = s->login;

    if (l->stage == STAGE_DIAL || !is_host_failure(why, sqlstate) || !dial_has_choice(&s->dial))
        return false;
    server_log(s, LOG_LVL_LOG, "trying the next host: %s", text);
    l->was_mismatch = l->was_mismatch || why == CLOSE_ROLE_MISMATCH;
    str_copy(l->sqlstate, sqlstate != NULL ? sqlstate : "", sizeof(l->sqlstate));
    close_attempt(s);
    l->use_tls = tls_of(l)->sslmode >= SSLMODE_PREFER;
    l->is_second_try = false;
    l->stage = STAGE_DIAL;
    dial_next(&s->dial, text, why == CLOSE_ROLE_MISMATCH);
    return true;
}

/* PostgreSQL has let it in, so it counts until it has closed its end. */
static bool is_in(const struct server *s)
{
    return s->login != NULL && s->login->stage >= STAGE_PARAMETERS && s->stream.fd >= 0;
}

void server_login_abort(struct server *s, enum close_reason why)
{
    bool was_in = is_in(s);

    if (s->replication != REPLICATION_NONE) {
        replication_failed(s, why, NULL, NULL);
        return;
    }
    if (!pool_closing(s->pool, s->slot, why, s->shard->now_us))
        return; /* cannot be: nobody else changes a slot that is CONNECTING */
    server_log_close(s, why, NULL);
    if (was_in) {
        server_login_free(s);
        s->stream.ops = &server_stream_ops;
        server_say_goodbye(s);
    } else {
        server_set_state(s, SERVER_CLOSING);
        server_finish_close(s);
    }
}

void server_login_failed(struct server *s, enum close_reason why, const char *sqlstate, const char *text)
{
    if (s->replication != REPLICATION_NONE) {
        replication_failed(s, why, sqlstate, text);
        return;
    }
    struct pool_acts acts;
    struct shard *sh = s->shard;
    struct pool *pool = s->pool;
    struct slot *slot = s->slot;
    const char *state = sqlstate != NULL ? sqlstate : close_reason_sqlstate(why);
    const char *what = text != NULL ? text : close_reason_text(why);
    char host[300];

    if (why == CLOSE_CONNECT_TIMEOUT || text == NULL)
        snprintf(host, sizeof(host), "%s", close_reason_text(why));
    else
        snprintf(host, sizeof(host), "%s", what);
    stats_errors_count_close(sh->instance->errors, sh->index, why);
    /* a database that is down is tried often; that it still is says the control thread */
    bool is_news = is_for_good(sqlstate) || failure_is_news(&pool->database->said, why, clock_now_us());
    server_log(s, is_news ? LOG_LVL_WARNING : LOG_LVL_DEBUG, "server login failed: %s", host);
    if (shard_settings(sh)->log_disconnections)
        server_log(s, is_news ? LOG_LVL_LOG : LOG_LVL_DEBUG, "closing because: %s (age=0s)",
                   close_reason_text(why));
    bool was_in = is_in(s);
    if (was_in) {
        server_login_free(s);
        s->stream.ops = &server_stream_ops;
    } else {
        slot->server = NULL;
        s->slot = NULL;
        server_free(s);
    }
    pool_connect_failed(pool, slot, is_for_good(sqlstate), was_in, state != NULL ? state : "08001", host,
                        clock_now_us(), &acts);
    shard_perform(sh, pool, &acts);
    if (was_in)
        server_say_goodbye(s);
}

void server_login_fail(struct server *s, enum close_reason why, const char *sqlstate, const char *text)
{
    if (!try_other_way(s, sqlstate) && !try_next_host(s, why, sqlstate, text))
        server_login_failed(s, why, sqlstate, text);
}

/* ---- sending ---- */

bool server_login_send(struct server *s, struct buf *b)
{
    bool ok = !b->failed && stream_send(&s->stream, b->data, b->len);
    secret_wipe(b->data, b->len);
    buf_free(b);
    if (!ok)
        server_login_fail(s, CLOSE_SERVER_CRASHED, NULL, "server closed the connection during login");
    return ok;
}

#define MAX_STARTUP_PARAMETERS (8 + LOGIN_MAX_SETTINGS)

struct startup_list {
    const char *names[MAX_STARTUP_PARAMETERS], *values[MAX_STARTUP_PARAMETERS];
    uint32_t n;
};

static void startup_put(struct startup_list *list, const char *name, const char *value)
{
    if (value == NULL)
        return;
    list->names[list->n] = name;
    list->values[list->n++] = value;
}

static void send_startup(struct server *s)
{
    struct server_login *l = s->login;
    const struct database_config *db = l->db;
    const struct client_login *of_client = s->client != NULL ? s->client->login : NULL;
    struct startup_list list = {.n = 0};
    struct buf b;

    startup_put(&list, "user", s->pool->user->name);
    startup_put(&list, "database", db->dbname != NULL ? db->dbname : s->pool->database->name);
    startup_put(&list, "client_encoding", db->client_encoding);
    startup_put(&list, "datestyle", db->datestyle);
    startup_put(&list, "timezone", db->timezone);
    startup_put(&list, "application_name", db->application_name);
    startup_put(&list, "options", db->options);
    if (s->replication != REPLICATION_NONE)
        startup_put(&list, "replication", s->replication == REPLICATION_LOGICAL ? "database" : "true");
    /* of a repeated one PostgreSQL takes the last, and options count before all */
    for (uint32_t i = 0; of_client != NULL && i < of_client->n_settings; i++)
        startup_put(&list, of_client->settings[i].name, of_client->settings[i].value);
    buf_init(&b, 65536);
    wire_put_startup(&b, 0x00030000, list.names, list.values, list.n);
    l->stage = STAGE_AUTH;
    (void)server_login_send(s, &b);
}

/* ---- TLS ---- */

static void tls_failed(struct server *s, const char *why)
{
    char text[256];
    snprintf(text, sizeof(text), "TLS handshake failed: %s", why);
    server_login_fail(s, CLOSE_TLS_FAILED, "08001", text);
}

static void go_on_with_tls(struct server *s)
{
    switch (stream_tls_handshake(&s->stream)) {
    case STREAM_AGAIN: return;
    case 1: break;
    default: tls_failed(s, stream_tls_error()); return;
    }
    /* as libpq: whoever does not answer by ALPN may be no PostgreSQL at all */
    if (tls_of(s->login)->is_direct && !stream_tls_has_alpn(&s->stream))
        tls_failed(s, "direct TLS without ALPN");
    else
        send_startup(s);
}

static void start_tls(struct server *s)
{
    struct server_login *l = s->login;

    l->stage = STAGE_TLS_HANDSHAKE;
    if (stream_tls_start(&s->stream, tls_of(l)->context, s->host, s->port))
        go_on_with_tls(s);
    else
        server_login_failed(s, CLOSE_TLS_FAILED, "08001", stream_tls_error());
}

static void on_tls_reply(struct server *s)
{
    struct server_login *l = s->login;
    uint8_t answer;
    int mode = tls_of(l)->sslmode;
    int n = stream_recv(&s->stream, &answer, 1); /* not a byte more: what follows must be inside TLS */

    if (n == STREAM_AGAIN)
        return;
    if (n == 1 && answer == 'S') {
        start_tls(s);
        return;
    }
    if (n == 1 && answer == 'N' && (mode == SSLMODE_PREFER || mode == SSLMODE_ALLOW)) {
        l->use_tls = false;
        l->is_second_try = true;
        send_startup(s);
        return;
    }
    if (n == 1 && answer == 'N')
        server_login_failed(s, CLOSE_SERVER_REFUSED_TLS, "08001", "server refused SSL");
    else if (n == 1)
        server_login_failed(s, CLOSE_PROTOCOL_SERVER, "08P01", "unexpected answer to the request for SSL");
    else
        server_login_fail(s, CLOSE_CONNECT_FAILED, "08001", "server closed the connection during login");
}

/* ---- connecting ---- */

static void on_no_host_left(struct server *s)
{
    struct server_login *l = s->login;
    const char *error = s->dial.error;
    char sqlstate[6];
    enum close_reason why = strstr(error, "resolve") != NULL ? CLOSE_DNS_FAILED : CLOSE_CONNECT_FAILED;

    if (l->was_mismatch && s->wanted == TARGET_PREFER_STANDBY) {
        l->takes_any = true;
        l->was_mismatch = false;
        if (!server_login_dial(s))
            server_login_failed(s, CLOSE_NO_MEMORY, "53200", NULL);
        return;
    }
    if (l->was_mismatch)
        why = CLOSE_ROLE_MISMATCH;
    str_copy(sqlstate, l->sqlstate[0] != '\0' ? l->sqlstate : "08001", sizeof(sqlstate));
    server_login_failed(s, why, sqlstate, error); /* l goes with it */
}

static void on_dialled(struct dial *d, int fd)
{
    struct server *s = d->arg;
    struct server_login *l = s->login;

    shard_touch(s->shard);

    if (fd < 0) {
        on_no_host_left(s);
        return;
    }
    l->attempt_us = s->shard->now_us;
    if (s->replication == REPLICATION_NONE) /* else the slot is in use, and others look at it */
        s->slot->endpoint = d->endpoint;
    str_copy(s->host, d->host, sizeof(s->host));
    s->peer = d->peer;
    s->peer_bytes = d->peer_bytes;
    stream_init(&s->stream, &s->shard->loop, fd, &login_stream_ops);
    if (!stream_read_start(&s->stream)) {
        server_login_failed(s, CLOSE_WORKER_IO, NULL, NULL);
        return;
    }
    if (!l->use_tls || is_unix_server(s)) {
        send_startup(s);
        return;
    }
    if (tls_of(l)->is_direct) {
        start_tls(s);
        return;
    }
    struct buf b;
    buf_init(&b, 64);
    wire_put_ssl_request(&b);
    l->stage = STAGE_TLS_REPLY;
    (void)server_login_send(s, &b);
}

/* A host that does not answer must not use up the time of the others in the list. */
static int64_t attempt_timeout_us(const struct server_login *l)
{
    int64_t n = 1;
    for (const char *p = l->db->host; p != NULL && (p = strchr(p, ',')) != NULL; p++)
        n++;
    return config_settings(l->config->config)->server_connect_timeout_us / n;
}

bool server_login_dial(struct server *s)
{
    struct server_login *l = s->login;
    const struct settings *set = config_settings(l->config->config);
    struct dial_options o = {
        .hosts = l->db->host,
        .port = l->db->port,
        .in_order = l->db->load_balance_hosts == LOAD_BALANCE_DISABLE,
        .turn = l->turn,
        .wanted = l->takes_any ? TARGET_ANY : s->wanted,
        .avoid_us = set->server_login_retry_us,
        .attempt_timeout_us = attempt_timeout_us(l),
        .dns_ttl_us = set->dns_max_ttl_us,
        .dns_negative_ttl_us = set->dns_nxdomain_ttl_us,
        .keepalive = set->tcp_keepalive != 0,
        .keepidle_s = set->tcp_keepidle,
        .keepintvl_s = set->tcp_keepintvl,
        .keepcnt = set->tcp_keepcnt,
        .user_timeout_ms = set->tcp_user_timeout,
        .socket_buffer_bytes = set->tcp_socket_buffer,
    };
    s->port = l->db->port;
    l->stage = STAGE_DIAL;
    return dial_start(&s->dial, &s->shard->loop, &o, on_dialled, s);
}

bool server_login_new(struct server *s, const struct database_config *db)
{
    struct server_login *l = s->login = calloc(1, sizeof(*l));

    if (l == NULL)
        return false;
    l->config = session_config_ref(s->shard->config);
    l->db = db;
    l->welcome = params_empty();
    l->turn = atomic_fetch_add_explicit(&s->pool->turn, 1, memory_order_relaxed);
    l->use_tls = tls_of(l)->sslmode >= SSLMODE_PREFER;
    s->wanted = (uint8_t)db->target_session_attrs;
    return true;
}

void server_connect(struct shard *sh, struct pool *pool, struct slot *slot)
{
    struct pool_acts acts;
    struct server *s = sh->is_stopping ? NULL : server_new(sh, pool, slot);
    const struct database_config *db = config_find_database(sh->config->config, pool->database->name);

    if (s == NULL || db == NULL) {
        bool gone = db == NULL;
        if (s != NULL)
            server_free(s);
        pool_connect_failed(pool, slot, gone, false, gone ? "3D000" : "53200",
                            gone ? "database removed" : "out of memory", clock_now_us(), &acts);
        shard_perform(sh, pool, &acts);
        return;
    }
    slot->server = s;
    if (slot->from_reserve)
        server_log(s, LOG_LVL_WARNING, "taking connection from reserve_pool");
    if (!server_login_new(s, db) || !server_login_dial(s))
        server_login_failed(s, CLOSE_NO_MEMORY, "53200", NULL);
}

/* ---- after authentication ---- */

static void login_done(struct server *s)
{
    struct pool_acts acts;
    struct params *welcome = s->login->welcome;
    int64_t now_us = clock_now_us();

    s->params = session_params(welcome, welcome);
    if (s->params == NULL) {
        server_login_failed(s, CLOSE_NO_MEMORY, "53200", NULL);
        return;
    }
    s->connected_us = now_us;
    stats_shard_record(server_stats(s), LATENCY_CONNECT, now_us - s->state_since_us);
    if (shard_settings(s->shard)->log_connections) {
        char tls[96];
        stream_tls_describe(&s->stream, tls, sizeof(tls));
        server_log(s, LOG_LVL_LOG, "new connection to server%s%s%s", tls[0] != '\0' ? " with TLS " : "", tls,
                   stream_tls_is_resumed(&s->stream) ? ", resumed" : "");
    }
    dial_praise(&s->dial);
    dial_cancel(&s->dial);
    tracker_reset(&s->tracker);
    s->is_fresh = true;
    s->stream.ops = &server_stream_ops;
    server_set_state(s, SERVER_IDLE);
    struct params *mine = params_ref(welcome);
    server_login_free(s);
    s->notifier = notifiers_add(s->shard->instance->notifiers, s->slot->endpoint, s->backend_pid);
    if (s->replication != REPLICATION_NONE) {
        replication_ready(s, mine);
        params_unref(mine);
        return;
    }
    pool_connected(s->pool, s->slot, mine, now_us, &acts);
    params_unref(mine);
    shard_perform(s->shard, s->pool, &acts);
}

/* Logged in. A server that is not what is wanted takes its fellows at the same place with it: they have not
 * heard of it yet. */
static void refuse_role(struct server *s)
{
    if (s->wanted != TARGET_PREFER_STANDBY)
        server_role_recycle(s);
    server_login_fail(s, CLOSE_ROLE_MISMATCH, "08001",
                      target_mismatch_text((enum config_target_session_attrs)s->wanted));
}

/* False: the server is not ready yet, or has gone. */
static bool check_role(struct server *s)
{
    struct server_login *l = s->login;
    bool is_asked = l->stage == STAGE_ROLE;
    struct buf b;

    if (l->stage == STAGE_CONNECT_QUERY)
        return true;
    if (!is_asked) {
        s->role.in_hot_standby = (uint8_t)target_tri(params_get(l->welcome, "in_hot_standby"));
        s->role.default_read_only =
            (uint8_t)target_tri(params_get(l->welcome, "default_transaction_read_only"));
    }
    switch (target_check((enum config_target_session_attrs)s->wanted, &s->role)) {
    case TARGET_FITS: return true;
    case TARGET_MISMATCH:
        if (s->wanted == TARGET_PREFER_STANDBY && (l->takes_any || !dial_has_choice(&s->dial)))
            return true;
        refuse_role(s);
        return false;
    case TARGET_ASK:
        if (s->replication != REPLICATION_NONE)
            return true; /* it may know no SQL */
        break;
    }
    if (is_asked) {
        server_login_failed(s, CLOSE_PROTOCOL_SERVER, "08P01", "the server does not tell its role");
        return false;
    }
    buf_init(&b, 4096);
    wire_put_query(&b, target_query());
    l->stage = STAGE_ROLE;
    (void)server_login_send(s, &b);
    return false;
}

/* What came behind ReadyForQuery may be its last words; and a server may move to another thread only when
 * nothing of it is unread. */
static bool has_settled(const struct server *s)
{
    return s->partial.len == 0 && stream_is_quiet(&s->stream);
}

static void settle(struct server *s)
{
    s->login->stage = STAGE_SETTLING;
    if (has_settled(s))
        login_done(s);
}

static void on_ready(struct server *s)
{
    struct server_login *l = s->login;
    const char *query = l->db->connect_query;
    struct buf b;

    if (l->stage == STAGE_SETTLING) {
        server_login_failed(s, CLOSE_PROTOCOL_SERVER, "08P01", "unexpected message from server during login");
        return;
    }
    if (!check_role(s))
        return;
    if (l->stage == STAGE_CONNECT_QUERY || query == NULL || query[0] == '\0' ||
        s->replication != REPLICATION_NONE) {
        settle(s);
        return;
    }
    buf_init(&b, 1 << 20);
    wire_put_query(&b, query);
    l->stage = STAGE_CONNECT_QUERY;
    (void)server_login_send(s, &b);
}

static void on_error_response(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    struct wire_error e;

    if (!wire_parse_error(body, len_bytes, &e)) {
        server_login_fail(s, CLOSE_PROTOCOL_SERVER, "08P01", "broken error message from server");
        return;
    }
    stats_errors_count_sqlstate(s->shard->instance->errors, s->shard->index, e.sqlstate);
    if (s->login->stage == STAGE_CONNECT_QUERY) {
        server_log(s, LOG_LVL_WARNING, "connect_query failed: %s", e.message);
        return;
    }
    char sqlstate[6], text[POOL_ERROR_BYTES];
    str_copy(sqlstate, e.sqlstate, sizeof(sqlstate));
    str_copy(text, e.message, sizeof(text));
    server_login_fail(s, CLOSE_SERVER_LOGIN_FAILED, sqlstate, text);
}

static void on_parameter(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    struct server_login *l = s->login;
    const char *name, *value;

    if (!wire_parse_parameter_status(body, len_bytes, &name, &value)) {
        server_login_fail(s, CLOSE_PROTOCOL_SERVER, "08P01", "broken parameter from server");
        return;
    }
    struct params *next = params_with(l->welcome, name, value);
    if (next == NULL) {
        server_log(s, LOG_LVL_WARNING, "parameter %s cannot be kept", name);
        return;
    }
    params_unref(l->welcome);
    l->welcome = next;
}

static void on_backend_key(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    if (len_bytes < 8 || len_bytes > 4 + SERVER_KEY_MAX_BYTES)
        return;
    free(s->key);
    s->key = malloc(len_bytes - 4);
    if (s->key == NULL)
        return; /* cannot be cancelled, then */
    s->backend_pid = wire_u32(body);
    s->key_bytes = (uint16_t)(len_bytes - 4);
    memcpy(s->key, body + 4, s->key_bytes);
}

static void login_message(struct server *s, uint8_t type, const uint8_t *body, uint32_t len_bytes)
{
    struct server_login *l = s->login;
    struct server_role role = {0};
    bool is_in = l->stage >= STAGE_PARAMETERS;

    if (type == 'E') {
        on_error_response(s, body, len_bytes);
    } else if (type == 'N' || type == 'v') {
        return;
    } else if (type == 'R' && l->stage == STAGE_AUTH && len_bytes >= 4) {
        server_auth_message(s, body, len_bytes);
    } else if (type == 'S' && is_in) {
        on_parameter(s, body, len_bytes);
    } else if (type == 'K' && is_in) {
        on_backend_key(s, body, len_bytes);
    } else if (type == 'D' && l->stage == STAGE_ROLE) {
        if (target_parse_row(body, len_bytes, &role))
            s->role = role;
    } else if (l->stage < STAGE_ROLE) {
        server_login_failed(s, CLOSE_PROTOCOL_SERVER, "08P01", "unexpected message from server during login");
    }
}

/* All has been heard that came behind ReadyForQuery? Then the login is done. False: the server is another
 * worker's now. */
static bool settled_now(struct server *s)
{
    struct shard *sh = s->shard;

    if (s->login == NULL || s->login->stage != STAGE_SETTLING || !has_settled(s))
        return true;
    sh->current = s;
    login_done(s);
    if (sh->current != s)
        return false;
    sh->current = NULL;
    return true;
}

/* Whole messages only; the login is short. False: the server is out of our hands. */
static bool login_bytes(struct server *s)
{
    while (s->state == SERVER_CONNECTING && s->slot != NULL && s->stream.fd >= 0) {
        uint32_t len;
        if (s->partial.len < WIRE_HEADER_BYTES)
            return true;
        len = wire_u32(s->partial.data + 1);
        if (len < 4 || len > (1 << 19)) {
            server_login_failed(s, CLOSE_PROTOCOL_SERVER, "08P01", "bad packet from server during login");
            return true;
        }
        if (s->partial.len < 1 + len)
            return true;
        if (s->partial.data[0] == 'Z' && s->login->stage >= STAGE_PARAMETERS) {
            /* consumed first: from on_ready() on the server may be at work for a client */
            struct shard *sh = s->shard;
            buf_consume(&s->partial, 1 + len);
            sh->current = s;
            on_ready(s);
            if (sh->current != s)
                return false; /* it is another worker's now: not a look at it */
            sh->current = NULL;
            continue;
        }
        struct server_login *before = s->login;
        int fd = s->stream.fd;
        login_message(s, s->partial.data[0], s->partial.data + WIRE_HEADER_BYTES, len - 4);
        if (s->slot == NULL)
            return false;
        if (s->login == before && s->stream.fd != fd)
            return true; /* begun anew, another way */
        buf_consume(&s->partial, 1 + len);
        if (!settled_now(s))
            return false;
    }
    return true;
}

void server_login_tick(struct server *s, int64_t now_us)
{
    const struct server_login *l = s->login;
    int64_t timeout_us;

    if (l != NULL && l->stage == STAGE_LEAVING) {
        if (now_us - s->state_since_us >= SESSION_SERVER_CLOSE_US)
            replication_go_on(s);
        return;
    }
    if (l == NULL || l->stage == STAGE_DIAL || !dial_has_choice(&s->dial))
        return;
    timeout_us = attempt_timeout_us(l);
    if (timeout_us > 0 && now_us - l->attempt_us >= timeout_us)
        server_login_fail(s, CLOSE_CONNECT_TIMEOUT, NULL, "login timeout");
}

static void login_on_read(struct stream *st)
{
    struct server *s = container_of(st, struct server, stream);

    shard_touch(s->shard);
    if (s->login->stage == STAGE_TLS_REPLY) {
        on_tls_reply(s);
        return;
    }
    if (s->login->stage == STAGE_TLS_HANDSHAKE) {
        go_on_with_tls(s);
        return;
    }
    do {
        int n = stream_recv(st, st->loop->read_buffer, LOOP_READ_BUFFER_BYTES);
        if (n == STREAM_AGAIN) {
            (void)settled_now(s);
            return;
        }
        if (n < 0) {
            server_login_fail(s, CLOSE_CONNECT_FAILED, "08001", "server closed the connection during login");
            return;
        }
        buf_append(&s->partial, st->loop->read_buffer, (uint32_t)n);
        if (s->partial.failed) {
            server_login_failed(s, CLOSE_NO_MEMORY, "53200", NULL);
            return;
        }
        if (!login_bytes(s))
            return;
    } while (s->slot != NULL && s->state == SERVER_CONNECTING && st->fd >= 0 && stream_has_unread(st));
}

static void login_on_drain(struct stream *st)
{
    struct server *s = container_of(st, struct server, stream);
    shard_touch(s->shard);
    if (s->login != NULL && s->login->stage == STAGE_TLS_HANDSHAKE)
        go_on_with_tls(s);
    else
        (void)settled_now(s);
}

static void login_on_error(struct stream *st, int err)
{
    struct server *s = container_of(st, struct server, stream);
    shard_touch(s->shard);
    server_login_fail(s, CLOSE_CONNECT_FAILED, "08001", strerror(err));
}

static const struct stream_ops login_stream_ops = {
    .on_read = login_on_read,
    .on_drain = login_on_drain,
    .on_error = login_on_error,
};
