/*
 * client_auth.c - who is the client: trust, password, md5, SCRAM.
 *
 * An unknown user goes through the same exchange as a known one and fails at its end
 * with the same words.
 *
 * Threads: the worker's own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/md5.h"
#include "base/rand.h"
#include "base/secret.h"
#include "login_int.h"

static void fail(struct client *c, enum close_reason why)
{
    char text[160];

    client_lookup_doubt(c);
    snprintf(text, sizeof(text), "password authentication failed for user \"%.64s\"", c->login->user);
    client_auth_failed(c, why, "28P01", text);
}

static void refuse(struct client *c, enum close_reason why)
{
    const struct client_login *l = c->login;
    bool has_none = l->credential == NULL && l->found != NULL && l->found->exists;

    client_log(c, LOG_LVL_LOG, "login of user %s failed: %s", l->user,
               has_none ? "it has no password that is valid" : close_reason_text(why));
    fail(c, why);
}

void client_password_wrong(struct client *c, const char *detail)
{
    const struct client_login *l = c->login;

    client_log(c, LOG_LVL_LOG, "login of user %s failed: %s", l->user, detail);
    fail(c, l->method == HBA_PAM ? CLOSE_PAM_FAILED : CLOSE_LDAP_FAILED);
}

static bool ask(struct client *c, uint32_t code, const void *data, uint32_t len_bytes)
{
    struct buf b;
    buf_init(&b, 8192);
    wire_put_auth(&b, code, data, len_bytes);
    bool ok = !b.failed && stream_send(&c->stream, b.data, b.len);
    buf_free(&b);
    if (!ok)
        client_close(c, CLOSE_WORKER_IO, NULL);
    return ok;
}

/* Offers it with the connection bound, and without; before that is known that the client could. */
static void begin_scram(struct client *c)
{
    /* lists, ended by an empty name; what we like best comes first */
    static const char unbound[] = SCRAM_MECHANISM_NAME "\0";
    static const char bound[] = SCRAM_PLUS_MECHANISM_NAME "\0";
    static const char both[] = SCRAM_PLUS_MECHANISM_NAME "\0" SCRAM_MECHANISM_NAME "\0";
    struct client_login *l = c->login;
    int how = config_settings(l->config->config)->client_tls_channel_binding;

    l->stage = LOGIN_SASL_INIT;
    l->end_point_len = how != CHANNEL_BINDING_DISABLE ? stream_tls_end_point(&c->stream, l->end_point) : 0;
    if (how == CHANNEL_BINDING_REQUIRE && l->end_point_len > 0)
        (void)ask(c, 10, bound, sizeof(bound));
    else if (how == CHANNEL_BINDING_REQUIRE)
        client_close_error(c, CLOSE_SASL_FAILED, "28000",
                           "channel binding required, but this connection cannot be bound to", NULL);
    else if (l->end_point_len > 0)
        (void)ask(c, 10, both, sizeof(both));
    else
        (void)ask(c, 10, unbound, sizeof(unbound));
}

/* Of those that were offered. */
static bool take_mechanism(const struct client_login *l, const char *name, enum scram_mechanism *out)
{
    bool is_bound = strcmp(name, SCRAM_PLUS_MECHANISM_NAME) == 0;
    bool must_bind =
        config_settings(l->config->config)->client_tls_channel_binding == CHANNEL_BINDING_REQUIRE;

    *out = is_bound ? SCRAM_SHA_256_PLUS : SCRAM_SHA_256;
    return is_bound ? l->end_point_len > 0 : !must_bind && strcmp(name, SCRAM_MECHANISM_NAME) == 0;
}

static void begin_md5(struct client *c)
{
    struct client_login *l = c->login;
    l->stage = LOGIN_PASSWORD;
    l->is_md5 = true;
    rand_secure(l->md5_salt, sizeof(l->md5_salt));
    (void)ask(c, 5, l->md5_salt, sizeof(l->md5_salt));
}

/* User `pgbouncer` or `pgsluice` over the Unix socket, run by our own operating-system user: the operator. */
static bool is_operator(const struct client *c)
{
    const struct client_login *l = c->login;
    uid_t uid;

    if (!l->is_console || (strcmp(l->user, "pgbouncer") != 0 && strcmp(l->user, "pgsluice") != 0))
        return false;
    return client_peer_uid(c, &uid) && uid == geteuid();
}

void client_auth_trusted(struct client *c)
{
    const struct client_login *l = c->login;

    bool is_known =
        config_find_user(l->config->config, l->user) != NULL || (l->found != NULL && l->found->exists);

    if (!l->is_any && !is_known)
        refuse(c, CLOSE_NO_SUCH_USER);
    else
        client_login_authenticated(c);
}

void client_auth_begin(struct client *c)
{
    struct client_login *l = c->login;
    const struct config *cfg = l->config->config;
    const struct user_config *user = config_find_user(cfg, l->user);

    l->credential = user != NULL ? user->credential : NULL;
    l->older = user != NULL ? user->older : NULL;
    l->n_older = user != NULL ? user->n_older : 0;
    if (is_operator(c)) {
        c->is_admin = true;
        client_login_authenticated(c);
        return;
    }
    if (client_choose_method(c) && (l->is_any || !client_is_blocked(c)) && !client_lookup_begin(c))
        client_auth_go(c);
}

/* Does the exchange of md5 become one of SCRAM? A SCRAM secret cannot be checked by md5; as in PgBouncer it
 * selects SCRAM. Who was looked up in vain gets what those get who are there. */
static bool prefers_scram(const struct client *c)
{
    const struct client_login *l = c->login;

    if (l->credential == NULL && l->found != NULL)
        return lookups_usual_kind(c->shard->instance->lookups) == CREDENTIAL_SCRAM;
    return l->credential != NULL && l->credential->kind == CREDENTIAL_SCRAM;
}

void client_auth_go(struct client *c)
{
    struct client_login *l = c->login;

    switch (l->method) {
    case HBA_TRUST: client_auth_trusted(c); return;
    case HBA_CERT: client_auth_cert(c); return;
    case HBA_PEER: client_auth_peer(c); return;
    case HBA_PAM:
    case HBA_LDAP:
    case HBA_PASSWORD:
        l->stage = LOGIN_PASSWORD;
        (void)ask(c, 3, NULL, 0);
        return;
    case HBA_MD5:
        if (prefers_scram(c))
            begin_scram(c);
        else
            begin_md5(c);
        return;
    case HBA_SCRAM: begin_scram(c); return;
    default: client_close(c, CLOSE_AUTH_UNAVAILABLE, NULL); return;
    }
}

/* Checking against a SCRAM secret takes milliseconds; so do all checks then, or the time would tell who has
 * one. */
static void take_as_long_as_scram(const struct client *c, const char *password)
{
    const struct client_login *l = c->login;
    struct scram_secret unused;

    bool may_be_scram = l->config->has_scram_secrets || l->found != NULL;
    if (may_be_scram &&
        !scram_secret_derive(&unused, password, c->shard->instance->scram_process_secret, SCRAM_SALT_BYTES,
                             (uint32_t)config_settings(l->config->config)->scram_iterations))
        client_log(c, LOG_LVL_DEBUG, "cannot derive a SCRAM secret");
    secret_wipe(&unused, sizeof(unused));
}

static enum credential_match check_one(const struct client_login *l, const struct credential *cred,
                                       const char *password)
{
    return l->is_md5 ? md5_check_response(cred, l->user, l->md5_salt, password)
                     : credential_check_password(cred, l->user, password);
}

static void check_password(struct client *c, uint8_t *body, uint32_t len_bytes)
{
    struct client_login *l = c->login;
    struct wire_reader r;
    enum credential_match match;
    struct credential none = {.kind = CREDENTIAL_NONE};
    const struct credential *cred = l->credential != NULL ? l->credential : &none;

    wire_reader_init(&r, body, len_bytes);
    const char *password = wire_read_cstr(&r);
    if (!wire_reader_done(&r)) {
        client_close(c, CLOSE_BAD_PACKET, "password");
        return;
    }
    if (l->method == HBA_PAM || l->method == HBA_LDAP) {
        if (password[0] != '\0')
            client_check_begin(c, password);
        else
            client_password_wrong(c, "the password is empty");
        return;
    }
    match = check_one(l, cred, password);
    for (uint32_t i = 0; i < l->n_older && match == CREDENTIAL_MISMATCH; i++)
        match = check_one(l, &l->older[i], password);
    if (!l->is_md5 && cred->kind != CREDENTIAL_SCRAM)
        take_as_long_as_scram(c, password);
    secret_wipe(body, len_bytes);
    if (match == CREDENTIAL_MATCH)
        client_login_authenticated(c);
    else if (match == CREDENTIAL_ERR)
        client_close(c, CLOSE_INTERNAL, NULL);
    else
        refuse(c, l->credential == NULL ? CLOSE_NO_SUCH_USER : CLOSE_AUTH_FAILED);
}

static void scram_failed(struct client *c)
{
    enum scram_error e = scram_server_error(c->login->scram);
    switch (scram_error_class(e)) {
    case SCRAM_CLASS_PROTOCOL: client_close(c, CLOSE_BAD_PACKET, scram_error_text(e)); return;
    case SCRAM_CLASS_BINDING:
        client_close_error(c, CLOSE_SASL_FAILED, "28000", scram_error_text(e), NULL);
        return;
    case SCRAM_CLASS_SYSTEM: client_close(c, CLOSE_NO_MEMORY, NULL); return;
    default: refuse(c, c->login->credential == NULL ? CLOSE_NO_SUCH_USER : CLOSE_SASL_FAILED); return;
    }
}

static void scram_step(struct client *c, const void *data, size_t len)
{
    struct client_login *l = c->login;
    struct buf out;

    buf_init(&out, 8192);
    switch (scram_server_step(l->scram, data, len, &out)) {
    case SCRAM_AGAIN:
        l->stage = LOGIN_SASL;
        (void)ask(c, 11, out.data, out.len);
        break;
    case SCRAM_OK:
        if (ask(c, 12, out.data, out.len))
            client_login_authenticated(c);
        break;
    case SCRAM_ERR: scram_failed(c); break;
    }
    buf_free(&out);
}

/* SASLInitialResponse: mechanism, and the first message or none. */
static void sasl_begin(struct client *c, const uint8_t *body, uint32_t len_bytes)
{
    struct client_login *l = c->login;
    struct wire_reader r;
    enum scram_mechanism chosen;

    wire_reader_init(&r, body, len_bytes);
    const char *mechanism = wire_read_cstr(&r);
    uint32_t len = wire_read_u32(&r);
    const uint8_t *data = len == UINT32_MAX ? NULL : wire_read_bytes(&r, len);
    if (!wire_reader_done(&r)) {
        client_close(c, CLOSE_BAD_PACKET, "SASL response");
        return;
    }
    if (!take_mechanism(l, mechanism, &chosen)) {
        client_close(c, CLOSE_BAD_PACKET, "client selected an invalid SASL authentication mechanism");
        return;
    }
    struct scram_server_params p = {
        .mechanism = chosen,
        .binding = {l->end_point, l->end_point_len},
        .user = l->user,
        .credential = l->credential,
        .iterations = (uint32_t)config_settings(l->config->config)->scram_iterations,
        .derived = session_config_derived(l->config, config_find_user(l->config->config, l->user)),
        .process_secret = c->shard->instance->scram_process_secret,
        .older = l->older,
        .n_older = l->n_older,
    };
    l->scram = scram_server_new(&p);
    if (l->scram == NULL) {
        client_close(c, CLOSE_NO_MEMORY, NULL);
        return;
    }
    scram_step(c, data, data != NULL ? len : 0);
}

void client_auth_message(struct client *c, uint8_t *body, uint32_t len_bytes)
{
    /* its login may have begun before the block, and with it those of many others */
    if (client_is_blocked(c))
        return;
    switch (c->login->stage) {
    case LOGIN_PASSWORD: check_password(c, body, len_bytes); return;
    case LOGIN_SASL_INIT: sasl_begin(c, body, len_bytes); return;
    case LOGIN_SASL: scram_step(c, body, len_bytes); return;
    default: client_close(c, CLOSE_BAD_PACKET, NULL); return;
    }
}
