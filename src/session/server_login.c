/*
 * server_login.c - from a slot to a server that is ready for queries.
 *
 * Name, socket, TLS, start-up packet, authentication, parameters, connect_query; all
 * within server_connect_timeout. A connection in progress belongs to the pool, not
 * to the client that caused it.
 *
 * server_tls_sslmode follows libpq: `prefer` tries TLS and goes on without when the
 * server has none or refuses the login over it; `allow` tries without first.
 *
 * Threads: the owner's.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/md5.h"
#include "auth/scram.h"
#include "base/mem.h"
#include "base/secret.h"
#include "base/str.h"
#include "session_int.h"

enum server_login_stage {
    STAGE_DIAL,
    STAGE_TLS_REPLY, /* one byte: S or N */
    STAGE_TLS_HANDSHAKE,
    STAGE_AUTH,       /* from the start-up packet to AuthenticationOk */
    STAGE_PARAMETERS, /* to ReadyForQuery */
    STAGE_CONNECT_QUERY,
};

struct server_login {
    enum server_login_stage stage;
    struct session_config *config; /* a reference */
    const struct database_config *db;
    bool use_tls;
    bool is_second_try;
    struct scram_client *scram;
    bool scram_is_done;
    struct params *welcome;
};

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

/* ---- failing ---- */

/* Refused for good: nobody who waits can be helped by another try. */
static bool is_for_good(const char *sqlstate)
{
    return sqlstate != NULL && (strncmp(sqlstate, "28", 2) == 0 || strcmp(sqlstate, "3D000") == 0);
}

static bool start_dial(struct server *s);

/* prefer and allow have a second choice. */
static bool try_other_way(struct server *s, const char *sqlstate)
{
    struct server_login *l = s->login;
    int mode = config_settings(l->config->config)->server_tls_sslmode;
    bool refused_login = sqlstate != NULL && strncmp(sqlstate, "28", 2) == 0;

    if (l->is_second_try || l->stage < STAGE_TLS_HANDSHAKE || l->stage > STAGE_AUTH || is_unix_server(s))
        return false;
    if (mode == SSLMODE_PREFER && l->use_tls && (l->stage == STAGE_TLS_HANDSHAKE || refused_login))
        l->use_tls = false;
    else if (mode == SSLMODE_ALLOW && !l->use_tls && refused_login)
        l->use_tls = true;
    else
        return false;
    l->is_second_try = true;
    stream_close(&s->stream);
    buf_clear(&s->partial);
    scram_client_free(l->scram);
    l->scram = NULL;
    l->scram_is_done = false;
    return start_dial(s);
}

void server_login_failed(struct server *s, enum close_reason why, const char *sqlstate, const char *text)
{
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
    server_log(s, LOG_LVL_WARNING, "server login failed: %s", host);
    if (shard_settings(sh)->log_disconnections)
        server_log(s, LOG_LVL_LOG, "closing because: %s (age=0s)", close_reason_text(why));
    bool is_in = s->login != NULL && s->login->stage >= STAGE_PARAMETERS && s->stream.fd >= 0;
    if (is_in) {
        server_login_free(s);
        s->stream.ops = &server_stream_ops;
    } else {
        slot->server = NULL;
        s->slot = NULL;
        server_free(s);
    }
    pool_connect_failed(pool, slot, is_for_good(sqlstate), is_in, state != NULL ? state : "08001", host,
                        clock_now_us(), &acts);
    shard_perform(sh, pool, &acts);
    if (is_in)
        server_say_goodbye(s); /* PostgreSQL counts it until it has closed its end */
}

static void fail(struct server *s, enum close_reason why, const char *sqlstate, const char *text)
{
    if (!try_other_way(s, sqlstate))
        server_login_failed(s, why, sqlstate, text);
}

/* ---- sending ---- */

static bool send_buf(struct server *s, struct buf *b)
{
    bool ok = !b->failed && stream_send(&s->stream, b->data, b->len);
    secret_wipe(b->data, b->len);
    buf_free(b);
    if (!ok)
        fail(s, CLOSE_SERVER_CRASHED, NULL, "server closed the connection during login");
    return ok;
}

static void send_startup(struct server *s)
{
    struct server_login *l = s->login;
    const struct database_config *db = l->db;
    const char *names[8], *values[8];
    uint32_t n = 0;
    struct buf b;

#define PUT(name, value)                                                                                     \
    do {                                                                                                     \
        if ((value) != NULL) {                                                                               \
            names[n] = (name);                                                                               \
            values[n++] = (value);                                                                           \
        }                                                                                                    \
    } while (0)
    PUT("user", s->pool->user->name);
    PUT("database", db->dbname != NULL ? db->dbname : s->pool->database->name);
    PUT("client_encoding", db->client_encoding);
    PUT("datestyle", db->datestyle);
    PUT("timezone", db->timezone);
    PUT("application_name", db->application_name);
#undef PUT
    buf_init(&b, 65536);
    wire_put_startup(&b, 0x00030000, names, values, n);
    l->stage = STAGE_AUTH;
    (void)send_buf(s, &b);
}

/* ---- connecting ---- */

static void on_dialled(struct dial *d, int fd)
{
    struct server *s = d->arg;
    struct server_login *l = s->login;

    shard_touch(s->shard);

    if (fd < 0) {
        bool no_name = strstr(d->error, "resolve") != NULL;
        server_login_failed(s, no_name ? CLOSE_DNS_FAILED : CLOSE_CONNECT_FAILED, "08001", d->error);
        return;
    }
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
    struct buf b;
    buf_init(&b, 64);
    wire_put_ssl_request(&b);
    l->stage = STAGE_TLS_REPLY;
    (void)send_buf(s, &b);
}

/* A host that does not answer must not use up the time of the others in the list. */
static int64_t attempt_timeout_us(const struct server_login *l)
{
    int64_t n = 1;
    for (const char *p = l->db->host; p != NULL && (p = strchr(p, ',')) != NULL; p++)
        n++;
    return n > 1 ? config_settings(l->config->config)->server_connect_timeout_us / n : 0;
}

static bool start_dial(struct server *s)
{
    struct server_login *l = s->login;
    const struct settings *set = config_settings(l->config->config);
    struct dial_options o = {
        .hosts = l->db->host,
        .port = l->db->port,
        .first_host = l->db->load_balance_hosts == LOAD_BALANCE_DISABLE ? 0 : (uint32_t)s->id,
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
    s->login = calloc(1, sizeof(*s->login));
    if (s->login == NULL) {
        server_login_failed(s, CLOSE_NO_MEMORY, "53200", NULL);
        return;
    }
    struct server_login *l = s->login;
    l->config = session_config_ref(sh->config);
    l->db = db;
    l->welcome = params_empty();
    if (slot->from_reserve)
        server_log(s, LOG_LVL_WARNING, "taking connection from reserve_pool");
    int mode = config_settings(l->config->config)->server_tls_sslmode;
    l->use_tls = mode >= SSLMODE_PREFER;
    if (!start_dial(s))
        server_login_failed(s, CLOSE_NO_MEMORY, "53200", NULL);
}

/* ---- TLS ---- */

static void go_on_with_tls(struct server *s)
{
    switch (stream_tls_handshake(&s->stream)) {
    case STREAM_AGAIN: return;
    case 1: send_startup(s); return;
    default: {
        char text[256];
        snprintf(text, sizeof(text), "TLS handshake failed: %s", stream_tls_error());
        fail(s, CLOSE_TLS_FAILED, "08001", text);
        return;
    }
    }
}

static void on_tls_reply(struct server *s)
{
    struct server_login *l = s->login;
    uint8_t answer;
    int mode = config_settings(l->config->config)->server_tls_sslmode;
    int n = stream_recv(&s->stream, &answer, 1); /* not a byte more: what follows must be inside TLS */

    if (n == STREAM_AGAIN)
        return;
    if (n == 1 && answer == 'S') {
        l->stage = STAGE_TLS_HANDSHAKE;
        if (stream_tls_start(&s->stream, l->config->server_tls, s->host))
            go_on_with_tls(s);
        else
            server_login_failed(s, CLOSE_TLS_FAILED, "08001", stream_tls_error());
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
        server_login_failed(s, CLOSE_CONNECT_FAILED, "08001", "server closed the connection during login");
}

/* ---- authentication ---- */

/* The secret with which we log in: of the forced user, else of the user list. */
static const struct credential *own_credential(const struct server *s, struct credential *forced)
{
    const struct server_login *l = s->login;
    const struct user_config *user = config_find_user(l->config->config, s->pool->user->name);

    if (l->db->user != NULL && l->db->password != NULL && l->db->password[0] != '\0')
        return credential_parse(forced, l->db->password) ? forced : NULL;
    return user != NULL ? user->credential : NULL;
}

static void send_password(struct server *s, const char *password)
{
    struct buf b;
    buf_init(&b, 8192);
    wire_put_password(&b, password);
    (void)send_buf(s, &b);
}

static void no_password(struct server *s, const char *method)
{
    char text[200];
    snprintf(text, sizeof(text),
             "server asks for %s authentication, and no suitable password is known for user \"%.64s\"",
             method, s->pool->user->name);
    fail(s, CLOSE_SERVER_LOGIN_FAILED, "28P01", text);
}

static void answer_plain_or_md5(struct server *s, uint32_t code, const uint8_t *salt)
{
    struct credential forced = {0};
    const struct credential *cred = own_credential(s, &forced);
    char response[MD5_TEXT_BYTES];

    if (code == 3) {
        if (cred != NULL && cred->kind == CREDENTIAL_PLAIN)
            send_password(s, cred->secret);
        else
            no_password(s, "password");
    } else if (cred != NULL && md5_make_response(cred, s->pool->user->name, salt, response)) {
        send_password(s, response);
    } else {
        no_password(s, "md5");
    }
    credential_wipe(&forced);
}

static bool offers_scram(struct wire_reader *r)
{
    bool found = false;
    for (;;) {
        const char *m = wire_read_cstr(r);
        if (r->bad || *m == '\0')
            break;
        if (strcmp(m, SCRAM_MECHANISM_NAME) == 0)
            found = true;
    }
    return found && wire_reader_done(r);
}

/* With a password, or with the keys that the client's own login left. */
static struct scram_client *new_scram(struct server *s)
{
    struct credential forced = {0};
    const struct credential *cred = own_credential(s, &forced);
    struct scram_client_params p = {.mechanism = SCRAM_SHA_256};
    struct scram_client *scram = NULL;
    struct scram_keys keys;
    uint8_t server_key[SCRAM_KEY_BYTES];

    if (cred != NULL && cred->kind == CREDENTIAL_PLAIN) {
        p.password = cred->secret;
    } else if (cred != NULL && cred->kind == CREDENTIAL_SCRAM &&
               registry_get_scram_keys(s->shard->instance->registry, s->pool->user, keys.client_key,
                                       server_key)) {
        keys.secret = cred->scram;
        p.keys = &keys;
    }
    if (p.password != NULL || p.keys != NULL)
        scram = scram_client_new(&p);
    secret_wipe(&keys, sizeof(keys));
    credential_wipe(&forced);
    return scram;
}

static void send_sasl(struct server *s, struct wire_reader *r, bool is_first)
{
    struct server_login *l = s->login;
    struct buf data, b;
    enum scram_result res;

    buf_init(&data, 8192);
    res = scram_client_step(l->scram, is_first ? NULL : r->p, is_first ? 0 : (size_t)(r->end - r->p), &data);
    if (res == SCRAM_ERR) {
        enum scram_error e = scram_client_error(l->scram);
        buf_free(&data);
        fail(s, CLOSE_SERVER_LOGIN_FAILED, scram_error_class(e) == SCRAM_CLASS_PASSWORD ? "28P01" : "08P01",
             scram_error_text(e));
        return;
    }
    l->scram_is_done = res == SCRAM_OK;
    if (res == SCRAM_AGAIN) {
        buf_init(&b, 16384);
        if (is_first)
            wire_put_sasl_initial(&b, SCRAM_MECHANISM_NAME, data.data, data.len);
        else
            wire_put_sasl_response(&b, data.data, data.len);
        buf_free(&data);
        (void)send_buf(s, &b);
        return;
    }
    buf_free(&data);
}

static void on_authentication(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    struct server_login *l = s->login;
    struct wire_reader r;

    wire_reader_init(&r, body, len_bytes);
    uint32_t code = wire_read_u32(&r);
    switch (code) {
    case 0:
        if (l->scram != NULL && !l->scram_is_done) {
            fail(s, CLOSE_SERVER_LOGIN_FAILED, "28000", "server skipped the end of SCRAM authentication");
            return;
        }
        l->stage = STAGE_PARAMETERS;
        return;
    case 3: answer_plain_or_md5(s, code, NULL); return;
    case 5: {
        const uint8_t *salt = wire_read_bytes(&r, MD5_SALT_BYTES);
        if (wire_reader_done(&r))
            answer_plain_or_md5(s, code, salt);
        else
            fail(s, CLOSE_PROTOCOL_SERVER, "08P01", "bad authentication request");
        return;
    }
    case 10:
        if (l->scram != NULL || !offers_scram(&r)) {
            fail(s, CLOSE_SERVER_LOGIN_FAILED, "28000", "server offers no SASL mechanism that is supported");
            return;
        }
        l->scram = new_scram(s);
        if (l->scram == NULL)
            no_password(s, "SCRAM");
        else
            send_sasl(s, &r, true);
        return;
    case 11:
    case 12:
        if (l->scram == NULL)
            fail(s, CLOSE_PROTOCOL_SERVER, "08P01", "SASL message out of order");
        else
            send_sasl(s, &r, false);
        return;
    default:
        fail(s, CLOSE_SERVER_LOGIN_FAILED, "28000",
             "server asks for an authentication method that is not supported");
        return;
    }
}

/* ---- after authentication ---- */

static void login_done(struct server *s)
{
    struct pool_acts acts;
    struct params *welcome = s->login->welcome;
    int64_t now_us = clock_now_us();

    s->params = params_settable(welcome);
    if (s->params == NULL) {
        server_login_failed(s, CLOSE_NO_MEMORY, "53200", NULL);
        return;
    }
    s->connected_us = now_us;
    stats_shard_record(server_stats(s), LATENCY_CONNECT, now_us - s->state_since_us);
    if (shard_settings(s->shard)->log_connections) {
        char tls[96];
        stream_tls_describe(&s->stream, tls, sizeof(tls));
        server_log(s, LOG_LVL_LOG, "new connection to server%s%s", tls[0] != '\0' ? " with TLS " : "", tls);
    }
    tracker_reset(&s->tracker);
    s->is_fresh = true;
    s->stream.ops = &server_stream_ops;
    server_set_state(s, SERVER_IDLE);
    struct params *mine = params_ref(welcome);
    server_login_free(s);
    pool_connected(s->pool, s->slot, mine, now_us, &acts);
    params_unref(mine);
    shard_perform(s->shard, s->pool, &acts);
}

static void on_ready(struct server *s)
{
    struct server_login *l = s->login;
    const char *query = l->db->connect_query;
    struct buf b;

    if (l->stage == STAGE_CONNECT_QUERY || query == NULL || query[0] == '\0') {
        login_done(s);
        return;
    }
    buf_init(&b, 1 << 20);
    wire_put_query(&b, query);
    l->stage = STAGE_CONNECT_QUERY;
    (void)send_buf(s, &b);
}

static void on_error_response(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    struct wire_error e;

    if (!wire_parse_error(body, len_bytes, &e)) {
        fail(s, CLOSE_PROTOCOL_SERVER, "08P01", "broken error message from server");
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
    fail(s, CLOSE_SERVER_LOGIN_FAILED, sqlstate, text);
}

static void on_parameter(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    struct server_login *l = s->login;
    const char *name, *value;

    if (!wire_parse_parameter_status(body, len_bytes, &name, &value)) {
        fail(s, CLOSE_PROTOCOL_SERVER, "08P01", "broken parameter from server");
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
    bool is_in = l->stage == STAGE_PARAMETERS || l->stage == STAGE_CONNECT_QUERY;

    if (type == 'E') {
        on_error_response(s, body, len_bytes);
    } else if (type == 'N' || type == 'v') {
        return;
    } else if (type == 'R' && l->stage == STAGE_AUTH && len_bytes >= 4) {
        on_authentication(s, body, len_bytes);
    } else if (type == 'S' && is_in) {
        on_parameter(s, body, len_bytes);
    } else if (type == 'K' && is_in) {
        on_backend_key(s, body, len_bytes);
    } else if (l->stage != STAGE_CONNECT_QUERY) {
        server_login_failed(s, CLOSE_PROTOCOL_SERVER, "08P01", "unexpected message from server during login");
    }
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
    }
    return true;
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
        if (n == STREAM_AGAIN)
            return;
        if (n < 0) {
            fail(s, CLOSE_CONNECT_FAILED, "08001", "server closed the connection during login");
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
}

static void login_on_error(struct stream *st, int err)
{
    struct server *s = container_of(st, struct server, stream);
    shard_touch(s->shard);
    fail(s, CLOSE_CONNECT_FAILED, "08001", strerror(err));
}

static const struct stream_ops login_stream_ops = {
    .on_read = login_on_read,
    .on_drain = login_on_drain,
    .on_error = login_on_error,
};
