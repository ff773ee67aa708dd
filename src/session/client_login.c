/*
 * client_login.c - from the first byte of a client to ReadyForQuery.
 *
 * Start-up packet, choice of database and pool, waiting for the pool's parameters,
 * greeting. The password exchange is in client_auth.c.
 *
 * Who a client is gets settled before it is told whether its database exists, as
 * in PostgreSQL, so that strangers learn nothing.
 *
 * Threads: the worker's own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "auth_int.h"
#include "tracking.h"
#include "base/mem.h"
#include "base/secret.h"
#include "base/str.h"
#include "login_int.h"

void client_login_free(struct client *c)
{
    struct client_login *l = c->login;
    if (l == NULL)
        return;
    for (uint32_t i = 0; i < l->n_settings; i++) {
        free(l->settings[i].name);
        free(l->settings[i].value);
    }
    client_tls_leave(l);
    client_failed_leave(c);
    stream_tls_login(&c->stream, false);
    client_check_leave(c);
    params_unref(l->all);
    params_unref(l->asked);
    scram_server_free(l->scram);
    found_user_unref(l->found);
    session_config_unref(l->config);
    free(l->user);
    free(l->database);
    free(l);
    c->login = NULL;
}

/* ---- start-up packet ---- */

/* Is it certain without asking whether PostgreSQL takes a value, and as what? See params_canonical(). */
static bool is_certain(const char *name)
{
    static const char *const names[] = {"client_encoding", "DateStyle", "IntervalStyle",
                                        "standard_conforming_strings", "application_name"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

/* JDBC sends extra_float_digits always; since PostgreSQL 12 values above 0 are all the same. */
static bool is_ignored(const struct config *cfg, const char *name, const char *value)
{
    return config_ignores_parameter(cfg, name) ||
           (strcasecmp(name, "extra_float_digits") == 0 && value[0] >= '1' && value[0] <= '9');
}

/* The last of a repeated one counts. */
static bool keep_setting(struct client_login *l, const char *name, const char *value, bool from_options)
{
    struct login_setting *s = NULL;
    for (uint32_t i = 0; i < l->n_settings; i++)
        if (strcasecmp(l->settings[i].name, name) == 0)
            s = &l->settings[i];
    if (s == NULL) {
        if (l->n_settings == LOGIN_MAX_SETTINGS)
            return false;
        s = &l->settings[l->n_settings];
        *s = (struct login_setting){.name = strdup(name)};
        if (s->name == NULL)
            return false;
        l->n_settings++;
        l->must_ask = l->must_ask || !is_certain(name);
    }
    char *copy = strdup(value);
    if (copy == NULL)
        return false;
    free(s->value);
    s->value = copy;
    s->from_options = from_options;
    return true;
}

static bool has_setting(const struct client_login *l, const char *name)
{
    for (uint32_t i = 0; i < l->n_settings; i++)
        if (strcasecmp(l->settings[i].name, name) == 0)
            return true;
    return false;
}

struct options_walk {
    struct client *c;
    char refused[128];
};

static bool option_cb(void *arg, const char *name, const char *value)
{
    struct options_walk *w = arg;
    struct client_login *l = w->c->login;
    const struct config *cfg = l->config->config;

    if (l->is_console || is_ignored(cfg, name, value))
        return true;
    if (params_is_settable(name) && keep_setting(l, name, value, true))
        return true;
    str_copy(w->refused, name, sizeof(w->refused));
    return false;
}

/* False when the client has been closed. */
static bool take_options(struct client *c, const char *options)
{
    struct options_walk w = {.c = c};
    struct client_login *l = c->login;
    char *scratch;
    bool ok;

    if (l->is_console || config_ignores_parameter(l->config->config, "options"))
        return true;
    scratch = malloc(strlen(options) + 1);
    if (scratch == NULL) {
        client_close(c, CLOSE_NO_MEMORY, NULL);
        return false;
    }
    ok = startup_walk_options(options, scratch, option_cb, &w);
    free(scratch);
    if (!ok)
        client_close(c, CLOSE_UNSUPPORTED_OPTION, w.refused[0] != '\0' ? w.refused : options);
    return ok;
}

static bool take_parameters(struct client *c, const struct startup_packet *p)
{
    struct client_login *l = c->login;
    const struct config *cfg = l->config->config;

    if (p->options != NULL && !take_options(c, p->options))
        return false;
    for (uint32_t i = 0; i < p->n_parameters && !l->is_console; i++) {
        const char *name = p->parameters[i].name;
        if (is_ignored(cfg, name, p->parameters[i].value))
            continue;
        if (!params_is_settable(name) || !keep_setting(l, name, p->parameters[i].value, false)) {
            client_close(c, CLOSE_UNSUPPORTED_PARAMETER, name);
            return false;
        }
    }
    return true;
}

static bool send_negotiation(struct client *c, const struct startup_packet *p)
{
    struct buf b;
    buf_init(&b, 65536);
    uint32_t minor = p->minor < STARTUP_NEWEST_MINOR ? p->minor : STARTUP_NEWEST_MINOR;
    wire_put_negotiate(&b, minor, p->unknown, p->n_unknown);
    bool ok = !b.failed && stream_send(&c->stream, b.data, b.len);
    buf_free(&b);
    if (!ok)
        client_close(c, CLOSE_WORKER_IO, NULL);
    return ok;
}

static bool is_console_name(const char *database)
{
    return strcmp(database, "pgsluice") == 0 || strcmp(database, "pgbouncer") == 0;
}

/* Not once the pooler shuts down; a console may always. False: it has been told. */
static bool may_log_in(struct client *c)
{
    if (c->login->is_console ||
        atomic_load_explicit(&c->shard->instance->shutdown_mode, memory_order_relaxed) <= SHUTDOWN_ANNOUNCED)
        return true;
    /* of a list of hosts libpq tries the next one then */
    client_close_error(c, CLOSE_SHUTDOWN, "57P03", close_reason_message(CLOSE_SHUTDOWN), NULL);
    return false;
}

/* There was none when the client was accepted; but who had it may have gone a moment ago. */
static bool find_place(struct client *c)
{
    if (c->is_counted)
        return true;
    c->is_counted = places_take_client(c->shard->instance, shard_settings(c->shard)->max_client_conn) ||
                    places_take_over(c->shard, c->peer_family, c->peer_addr);
    if (c->is_counted)
        places_refused_leave(c);
    return c->is_counted;
}

/* As PostgreSQL reads a boolean: a word may be cut short as long as it is clear. */
static bool parse_boolean(const char *text, bool *value)
{
    static const struct {
        const char *word;
        uint8_t least; /* letters that make it clear */
        bool value;
    } words[] = {{"true", 1, true},   {"yes", 1, true}, {"on", 2, true},   {"1", 1, true},
                 {"false", 1, false}, {"no", 1, false}, {"off", 2, false}, {"0", 1, false}};
    size_t n = strlen(text);

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (n < words[i].least || n > strlen(words[i].word) || strncasecmp(text, words[i].word, n) != 0)
            continue;
        *value = words[i].value;
        return true;
    }
    return false;
}

/* As PostgreSQL reads it: "database", or a boolean. False: the client has been told. */
static bool take_replication(struct client *c, const char *value)
{
    bool is_on;

    if (strcmp(value, "database") == 0) {
        c->replication = REPLICATION_LOGICAL;
    } else if (parse_boolean(value, &is_on)) {
        c->replication = is_on ? REPLICATION_PHYSICAL : REPLICATION_NONE;
    } else {
        client_close_error(c, CLOSE_BAD_STARTUP, "22023", "invalid value for parameter \"replication\"",
                           "Valid values are: \"false\", 0, \"true\", 1, \"database\".");
        return false;
    }
    return true;
}

static void take_startup(struct client *c, const struct startup_packet *p)
{
    struct client_login *l = c->login;

    if (p->user == NULL) {
        client_close_error(c, CLOSE_BAD_STARTUP, "28000",
                           "no PostgreSQL user name specified in startup packet", NULL);
        return;
    }
    l->user = strdup(p->user);
    l->database = strdup(p->database);
    l->minor = p->minor < STARTUP_NEWEST_MINOR ? p->minor : STARTUP_NEWEST_MINOR;
    if (l->user == NULL || l->database == NULL) {
        client_close(c, CLOSE_NO_MEMORY, NULL);
        return;
    }
    l->is_console = is_console_name(l->database);
    if (!l->is_console && !find_place(c)) {
        client_close(c, CLOSE_MAX_CLIENT_CONN, NULL);
        return;
    }
    if (!may_log_in(c))
        return;
    if (p->replication != NULL && !take_replication(c, p->replication))
        return;
    if (!take_parameters(c, p))
        return;
    if (p->negotiate && !send_negotiation(c, p))
        return;
    client_auth_begin(c);
}

/* N or S. */
static bool answer(struct client *c, const char *word)
{
    if (stream_send(&c->stream, word, 1))
        return true;
    client_close(c, CLOSE_WORKER_IO, NULL);
    return false;
}

static enum negotiation_policy negotiation_policy(const struct client_login *l)
{
    if (l->is_unix || l->config->tls.client == NULL)
        return NEGOTIATE_NO_TLS;
    return config_settings(l->config->config)->client_tls_sslmode >= SSLMODE_REQUIRE ? NEGOTIATE_MUST_TLS
                                                                                     : NEGOTIATE_MAY_TLS;
}

static void refuse(struct client *c, enum negotiation_verdict verdict)
{
    switch (verdict) {
    case NEGOTIATION_TLS_REQUIRED: client_close(c, CLOSE_SSL_REQUIRED, NULL); return;
    case NEGOTIATION_OLD: client_close(c, CLOSE_OLD_PROTOCOL, NULL); return;
    case NEGOTIATION_TOO_LONG: client_close(c, CLOSE_BAD_STARTUP, "too long"); return;
    case NEGOTIATION_TWICE: client_close(c, CLOSE_BAD_STARTUP, "encryption was asked for twice"); return;
    case NEGOTIATION_INJECTED:
        client_close_error(c, CLOSE_BAD_STARTUP, "08P01", "received unencrypted data after SSL request",
                           NULL);
        return;
    case NEGOTIATION_NO_TLS_HERE:
        c->is_mid_message = true; /* who speaks TLS would not understand */
        client_close_error(c, CLOSE_BAD_STARTUP, "08P01", "TLS is not accepted here", NULL);
        return;
    case NEGOTIATION_UNSUPPORTED:
        client_close_error(c, CLOSE_BAD_STARTUP, "0A000",
                           "unsupported frontend protocol: server supports 3.0 to 3.2", NULL);
        return;
    default: client_close(c, CLOSE_BAD_STARTUP, NULL); return;
    }
}

/* One packet of the start-up phase. Bytes used, or 0 when more are needed or the client has gone. */
static uint32_t startup_step(struct client *c)
{
    struct client_login *l = c->login;
    const struct buf *in = c->input;
    struct startup_packet p;
    enum negotiation_verdict verdict =
        negotiation_take(&l->negotiation, negotiation_policy(l), in->data, in->len, &p);

    switch (verdict) {
    case NEGOTIATION_MORE: return 0;
    case NEGOTIATION_NO: return answer(c, "N") ? p.len_bytes : 0;
    case NEGOTIATION_TLS:
        if (!answer(c, "S"))
            return 0;
        client_tls_begin(c, false);
        return p.len_bytes;
    case NEGOTIATION_DIRECT: client_tls_begin(c, true); return 0;
    case NEGOTIATION_CANCEL: cancel_request(c, p.cancel_pid, p.cancel_key, p.cancel_key_bytes); return 0;
    case NEGOTIATION_STARTUP:
        take_startup(c, &p);
        return c->state == CLIENT_CLOSING || c->stream.fd < 0 ? 0 : p.len_bytes;
    default: refuse(c, verdict); return 0;
    }
}

/* One 'p' message of the password exchange. */
static uint32_t auth_step(struct client *c)
{
    const struct buf *in = c->input;

    if (in->len < WIRE_HEADER_BYTES)
        return 0;
    uint32_t len = wire_u32(in->data + 1);
    if (in->data[0] != 'p' || len < 4 || len > SESSION_MAX_LOGIN_BYTES - 1) {
        if (in->data[0] == 'X')
            client_close(c, CLOSE_CLIENT_REQUEST, NULL);
        else
            client_close_error(c, CLOSE_BAD_PACKET, "08P01", "bad packet: a password message was expected",
                               NULL);
        return 0;
    }
    if (in->len < 1 + len)
        return 0;
    client_auth_message(c, in->data + WIRE_HEADER_BYTES, len - 4);
    return 1 + len;
}

/* The object stays valid until the end of the turn, so its state can be asked after any step. */
static bool is_gone(const struct client *c)
{
    return c->state == CLIENT_CLOSING || c->stream.fd < 0;
}

static void take_input(struct client *c)
{
    while (c->state == CLIENT_LOGIN && c->input != NULL && c->input->len > 0 &&
           c->login->stage != LOGIN_BUSY && c->login->stage != LOGIN_FAILED) {
        c->login->is_stepping = true;
        uint32_t used = c->login->stage == LOGIN_STARTUP ? startup_step(c) : auth_step(c);
        if (c->login != NULL)
            c->login->is_stepping = false;
        if (is_gone(c) || c->state == CLIENT_CANCEL)
            return;
        if (used == 0)
            break;
        buf_consume(c->input, used);
        secret_wipe(c->input->data + c->input->len, used); /* where it was, or what was behind it */
    }
    if (c->input != NULL && c->input->len == 0)
        client_drop_input(c);
    if (c->state == CLIENT_IDLE || c->state == CLIENT_ACTIVE || c->state == CLIENT_CONSOLE)
        client_resume(c);
}

void client_login_go_on(struct client *c)
{
    if (!is_gone(c))
        take_input(c);
}

void client_login_input(struct client *c, uint8_t *data, uint32_t len_bytes)
{
    if (c->login == NULL) {
        c->login = calloc(1, sizeof(*c->login));
        if (c->login == NULL) {
            client_close(c, CLOSE_NO_MEMORY, NULL);
            return;
        }
        c->login->config = session_config_ref(c->shard->config);
        c->login->is_unix = c->peer_family == AF_UNIX;
        c->login->client = c;
        list_init(&c->login->tls_node);
        list_init(&c->login->failed_node);
    }
    bool is_kept = client_keep_input(c, data, len_bytes);
    secret_wipe(data, len_bytes); /* it may be a password; before the client is told what it was good for */
    if (is_kept)
        take_input(c);
}

/* ---- after authentication ---- */

static void log_attempt(const struct client *c)
{
    char tls[96];

    client_log(c, LOG_LVL_LOG, "login attempt: db=%s user=%s tls=%s", c->login->database, c->login->user,
               client_tls_text(c, tls, sizeof(tls)));
}

static void enter_console(struct client *c)
{
    struct client_login *l = c->login;
    const struct config *cfg = l->config->config;

    if (!c->is_admin)
        c->is_admin = config_is_admin(cfg, l->user) || config_settings(cfg)->auth_type == AUTH_TYPE_ANY;
    c->is_stats = config_is_stats(cfg, l->user);
    if (!c->is_admin && !c->is_stats) {
        client_close(c, CLOSE_CONSOLE_DENIED, NULL);
        return;
    }
    log_attempt(c);
    if (!console_open(c, l->user, c->is_admin)) {
        client_close(c, CLOSE_NO_MEMORY, NULL);
        return;
    }
    c->console_user = l->user;
    l->user = NULL;
    if (c->is_counted) /* max_client_conn is for the others; and nobody waits for a console */
        atomic_fetch_sub_explicit(&c->shard->instance->clients, 1, memory_order_release);
    c->is_counted = false;
    places_refused_leave(c);
    client_set_state(c, CLIENT_CONSOLE);
    client_login_free(c);
}

static bool enter_pool(struct client *c, const struct database_config *db)
{
    struct client_login *l = c->login;
    const struct config *cfg = l->config->config;
    struct registry *reg = c->shard->instance->registry;
    const char *name = db->user != NULL ? db->user : l->user;
    bool is_new = false, is_any = config_settings(cfg)->auth_type == AUTH_TYPE_ANY;

    struct pool *pool = registry_get_pool(reg, l->database, name, &is_new);
    /* with auth_type = any the name that a client says is nobody's */
    struct pool_user *login_user = is_any ? NULL : registry_get_user(reg, l->user);
    if (pool == NULL || (login_user == NULL && !is_any)) {
        client_close(c, CLOSE_NO_MEMORY, NULL);
        return false;
    }
    if (registry_is_disabled(reg, pool->database)) {
        client_close(c, CLOSE_DATABASE_DISABLED, NULL);
        return false;
    }
    c->pool = pool;
    if (is_new)
        session_configure_pool(c->shard->instance, c->shard, cfg, pool);
    client_apply_config(c, cfg);
    enum close_reason why = places_take(c, is_any ? pool->user : login_user);
    if (why != CLOSE_NONE)
        client_close(c, why, NULL);
    return why == CLOSE_NONE;
}

/* Not where the database has a user of its own: they would be another one's. */
static void keep_scram_keys(struct client *c)
{
    const struct client_login *l = c->login;
    struct scram_keys keys;

    if (strcmp(l->user, c->pool->user->name) != 0)
        return;
    bool has_keys = l->scram != NULL && scram_server_keys(l->scram, &keys);
    if (l->found != NULL)
        pool_keep_secret(c->pool, l->found, has_keys ? keys.client_key : NULL);
    if (has_keys && l->found == NULL)
        registry_set_scram_keys(c->shard->instance->registry, c->pool->user, keys.client_key,
                                keys.secret.server_key);
    secret_wipe(&keys, sizeof(keys));
}

void client_login_authenticated(struct client *c)
{
    struct client_login *l = c->login;
    const struct config *cfg = l->config->config;

    l->stage = LOGIN_DONE;
    client_auth_succeeded(c);
    if (l->is_console) {
        enter_console(c);
        return;
    }
    if (!may_log_in(c)) /* it may have begun since */
        return;
    const struct database_config *db = config_find_database(cfg, l->database);
    if (db == NULL) {
        client_close(c, CLOSE_NO_SUCH_DATABASE, l->database);
        return;
    }
    if (config_settings(cfg)->auth_type == AUTH_TYPE_ANY && db->user == NULL) {
        client_close_error(c, CLOSE_LOGIN_REJECTED, "28000", "bouncer config error",
                           "auth_type = any needs a user in the database's line of the configuration.");
        return;
    }
    if (!enter_pool(c, db))
        return;
    keep_scram_keys(c);
    if (config_settings(cfg)->log_connections)
        log_attempt(c);
    l->links_server = c->pool_mode == POOL_MODE_SESSION && c->replication == REPLICATION_NONE &&
                      config_settings(cfg)->session_link == SESSION_LINK_LOGIN;
    struct params *welcome = pool_welcome(c->pool);
    params_unref(welcome);
    if (welcome != NULL && !l->links_server && c->replication == REPLICATION_NONE &&
        client_login_is_settled(c)) {
        client_login_finish(c, NULL);
        return;
    }
    if (is_gone(c))
        return;
    /* a server tells us its parameters, being the pool's first, or whether it takes the client's; or it is to
     * stay; or its place is needed */
    struct pool_acts acts;
    client_set_state(c, CLIENT_LOGIN_WAIT);
    pool_checkout(c->pool, &c->ticket, clock_now_us(), &acts);
    shard_perform(c->shard, c->pool, &acts);
}

/* ---- greeting ---- */

static int server_version_num(const struct params *welcome)
{
    const char *text = params_get(welcome, "server_version");
    int major = text != NULL ? atoi(text) : 0;
    return major * 10000;
}

/* " - 10.0.0.1:5432" behind the application_name, when configured. */
static void add_host(const struct client *c, struct buf *value)
{
    char addr[64];
    client_peer_text(c, addr, sizeof(addr));
    buf_printf(value, " - %s:%u", addr, c->peer_port);
}

/* welcome with the client's own settings over it, as PostgreSQL would report them; NULL: the client is
 * closed. */
static struct params *overlay_settings(struct client *c, struct params *welcome)
{
    struct client_login *l = c->login;
    struct params *set = params_ref(welcome);
    int version = server_version_num(welcome);
    bool wants_host = shard_settings(c->shard)->application_name_add_host != 0;

    if (wants_host && !has_setting(l, "application_name") &&
        !keep_setting(l, "application_name", "app", false))
        wants_host = false;
    for (uint32_t i = 0; i < l->n_settings; i++) {
        struct login_setting *ls = &l->settings[i];
        struct buf value, raw;
        buf_init(&value, PARAMS_MAX_VALUE_BYTES);
        buf_init(&raw, PARAMS_MAX_VALUE_BYTES);
        buf_append_str(&raw, ls->value);
        if (wants_host && strcasecmp(ls->name, "application_name") == 0)
            add_host(c, &raw);
        bool ok = params_canonical(ls->name, buf_cstr(&raw), params_get(welcome, ls->name), version, &value);
        struct params *next = ok ? params_with(set, ls->name, buf_cstr(&value)) : NULL;
        buf_free(&value);
        buf_free(&raw);
        params_unref(set);
        if (next == NULL) {
            char text[256];
            snprintf(text, sizeof(text), "invalid value for parameter \"%s\": \"%.100s\"", ls->name,
                     ls->value);
            client_close_error(c, CLOSE_LOGIN_REJECTED, "22023", text, NULL);
            return NULL;
        }
        set = next;
    }
    return set;
}

static void remember(struct params **last, struct params *now)
{
    params_unref(*last);
    *last = params_ref(now);
}

void client_login_forget(struct last_login *last)
{
    remember(&last->welcome, NULL);
    remember(&last->all, NULL);
    remember(&last->mine, NULL);
    remember(&last->told, NULL);
    buf_free(&last->status);
}

static void put_status(struct last_login *last, struct params *all, struct buf *b)
{
    if (last->told != all) {
        buf_clear(&last->status);
        params_put_status(all, &last->status);
        remember(&last->told, last->status.failed ? NULL : all);
    }
    if (likely(last->told == all)) {
        buf_append(b, last->status.data, last->status.len);
        return;
    }
    buf_free(&last->status); /* no memory, or too much */
    params_put_status(all, b);
}

static void put_greeting(struct client *c, struct params *all, struct buf *b)
{
    const char *notice = shard_settings(c->shard)->login_notify_message;

    wire_put_auth(b, 0, NULL, 0);
    put_status(&c->shard->last_login, all, b);
    uint8_t key[4];
    wire_set_u32(key, (uint32_t)c->cancel_key);
    if (c->long_key != NULL)
        wire_put_backend_key(b, (uint32_t)(c->cancel_key >> 32), c->long_key, CANCEL_LONG_KEY_BYTES);
    else
        wire_put_backend_key(b, (uint32_t)(c->cancel_key >> 32), key, sizeof(key));
    if (notice[0] != '\0')
        wire_put_notice(b, "NOTICE", "00000", notice, NULL, NULL);
    wire_put_ready(b, 'I');
}

static struct params *kept_part(struct last_login *last, struct params *all, struct params *welcome)
{
    if (last->all != all || last->welcome != welcome || last->mine == NULL) {
        struct params *mine = session_params(all, welcome);
        remember(&last->mine, mine);
        remember(&last->all, all);
        remember(&last->welcome, welcome);
        params_unref(mine);
    }
    return last->mine != NULL ? params_ref(last->mine) : NULL;
}

/* c->params and what the client will hear, once the pool's parameters are known. False: the client has gone.
 */
static bool make_params(struct client *c)
{
    struct client_login *l = c->login;
    struct params *welcome = pool_welcome(c->pool);

    if (l->all == NULL && welcome != NULL)
        l->all = overlay_settings(c, welcome);
    if (l->all != NULL && c->params == NULL)
        c->params = kept_part(&c->shard->last_login, l->all, welcome);
    params_unref(welcome);
    if (!is_gone(c) && c->params == NULL)
        client_close(c, CLOSE_INTERNAL, NULL);
    return !is_gone(c);
}

/* answered: settings as a server has them, but for the application's name, which is the client's own. */
static bool take_answered(struct client *c, struct params *answered)
{
    const char *name = params_get(c->params, "application_name");
    struct params *mine = params_with(answered, "application_name", name != NULL ? name : "");

    if (mine == NULL)
        return false;
    params_unref(c->params);
    c->params = mine;
    return true;
}

bool client_login_is_settled(struct client *c)
{
    struct client_login *l = c->login;
    struct params *answered;

    if (!make_params(c))
        return false;
    if (!l->must_ask)
        return true;
    if (l->asked == NULL)
        l->asked = params_without(c->params, "application_name");
    if (l->asked == NULL || !pool_has_accepted(c->pool, l->asked, &answered))
        return false;
    bool ok = take_answered(c, answered);
    params_unref(answered);
    return ok;
}

void client_login_accepted(struct client *c)
{
    struct params *answered = params_without(c->params, "application_name");

    if (answered != NULL && c->login->asked != NULL)
        pool_accept(c->pool, c->login->asked, answered);
    params_unref(answered);
}

/* What the client hears: c->params, where they are reported. NULL: no memory. */
static struct params *make_greeting(const struct client *c)
{
    struct params *all = params_ref(c->login->all);

    for (uint32_t i = 0; all != NULL && i < params_count(c->params); i++) {
        const char *name = params_name(c->params, i), *known = params_get(all, name);
        if (known == NULL || strcmp(known, params_value(c->params, i)) == 0)
            continue;
        struct params *next = params_with(all, name, params_value(c->params, i));
        params_unref(all);
        all = next;
    }
    return all;
}

/* all: what the client hears. server: whose process id, or NULL. False: the client has gone. */
static bool greet(struct client *c, struct params *all, const struct server *server)
{
    struct client_login *l = c->login;
    struct buf b;

    if (all == NULL || c->params == NULL ||
        !cancel_make_key(c, l->minor >= 2, server != NULL ? server->backend_pid : 0)) {
        client_close(c, CLOSE_NO_MEMORY, NULL);
        return false;
    }
    buf_init(&b, 1 << 20);
    put_greeting(c, all, &b);
    bool ok = !b.failed && stream_send(&c->stream, b.data, b.len);
    buf_free(&b);
    if (!ok) {
        client_close(c, CLOSE_WORKER_IO, NULL);
        return false;
    }
    struct stats_shard *st = client_stats(c);
    if (st != NULL)
        counter_add(&st->counters.client_login_count, 1);
    stats_shard_record(st, LATENCY_LOGIN, clock_now_us() - c->connected_us);
    client_login_free(c);
    c->startup = params_ref(c->params);
    tracking_configure(c);
    client_set_state(c, CLIENT_IDLE);
    return true;
}

bool client_login_finish_replication(struct client *c, struct params *welcome)
{
    c->params = session_params(welcome, welcome);
    return greet(c, welcome, NULL);
}

bool client_login_is_stepping(const struct client *c)
{
    return c->login != NULL && c->login->is_stepping;
}

bool client_login_links_server(const struct client *c)
{
    return c->login->links_server && c->pool_mode == POOL_MODE_SESSION; /* a RELOAD may have changed it */
}

bool client_login_waits_as_query(const struct client *c)
{
    return c->login->stage == LOGIN_DONE && c->login->links_server;
}

void client_login_finish(struct client *c, const struct server *server)
{
    if (!make_params(c))
        return;
    struct params *all = make_greeting(c);
    (void)greet(c, all, server);
    params_unref(all);
}
