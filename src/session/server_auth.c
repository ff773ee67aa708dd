/*
 * server_auth.c - how we prove to a server who we are: plain, md5, SCRAM.
 *
 * With the password of the forced user or of the user list; or with the SCRAM keys that
 * the client's own login has left, or the password that PAM or a directory has found right. That one comes
 * before the user list, as in PgBouncer, for which these methods have no list.
 *
 * Threads: the owner's.
 * Not here: what comes before and after (server_login.c).
 */
#include <stdio.h>
#include <string.h>

#include "auth/found_user.h"
#include "auth/md5.h"
#include "base/secret.h"
#include "config/login_rules.h"
#include "server_login_int.h"

/* The secret with which we log in: of the forced user, else the client's own that has been proved, else of
 * the user list, else what auth_query has told of it. found is a reference when it counts, and keys may be
 * set then. forced and found are to be given back. */
struct own_secret {
    struct credential forced;
    struct found_user *found;
    bool has_client_key;
    uint8_t client_key[SCRAM_KEY_BYTES];
};

static void own_secret_free(struct own_secret *o)
{
    credential_wipe(&o->forced);
    found_user_unref(o->found);
    secret_wipe(o->client_key, sizeof(o->client_key));
}

static bool has_forced_password(const struct server *s)
{
    const struct database_config *db = s->login->db;
    return db->user != NULL && strcmp(db->user, s->pool->user->name) == 0 && db->password != NULL &&
           db->password[0] != '\0';
}

static const struct credential *own_credential(const struct server *s, struct own_secret *o)
{
    const struct server_login *l = s->login;
    const struct user_config *user = config_find_user(l->config->config, s->pool->user->name);

    *o = (struct own_secret){0};
    if (has_forced_password(s))
        return credential_parse(&o->forced, l->db->password) ? &o->forced : NULL;
    o->found = pool_secret(s->pool, o->client_key, &o->has_client_key);
    bool is_proved = o->found != NULL && o->found->is_proved && config_asks_directory(l->config->config);
    if (user != NULL && user->credential != NULL && !is_proved) {
        own_secret_free(o);
        *o = (struct own_secret){0};
        return user->credential;
    }
    return o->found != NULL ? &o->found->credential : NULL;
}

static void send_password(struct server *s, const char *password)
{
    struct buf b;
    buf_init(&b, 8192);
    wire_put_password(&b, password);
    (void)server_login_send(s, &b);
}

static void no_password(struct server *s, const char *method)
{
    char text[200];
    snprintf(text, sizeof(text),
             "server asks for %s authentication, and no suitable password is known for user \"%.64s\"",
             method, s->pool->user->name);
    server_login_fail(s, CLOSE_SERVER_LOGIN_FAILED, "28P01", text);
}

static void answer_plain_or_md5(struct server *s, uint32_t code, const uint8_t *salt)
{
    struct own_secret own;
    const struct credential *cred = own_credential(s, &own);
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
    own_secret_free(&own);
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
    struct own_secret own;
    const struct credential *cred = own_credential(s, &own);
    struct scram_client_params p = {.mechanism = SCRAM_SHA_256};
    struct scram_client *scram = NULL;
    struct scram_keys keys;
    uint8_t server_key[SCRAM_KEY_BYTES];

    if (cred != NULL && cred->kind == CREDENTIAL_PLAIN) {
        p.password = cred->secret;
    } else if (cred != NULL && cred->kind == CREDENTIAL_SCRAM && own.found != NULL && own.has_client_key) {
        memcpy(keys.client_key, own.client_key, sizeof(keys.client_key));
        keys.secret = cred->scram;
        p.keys = &keys;
    } else if (cred != NULL && cred->kind == CREDENTIAL_SCRAM && own.found == NULL &&
               registry_get_scram_keys(s->shard->instance->registry, s->pool->user, keys.client_key,
                                       server_key)) {
        keys.secret = cred->scram;
        p.keys = &keys;
    }
    if (p.password != NULL || p.keys != NULL)
        scram = scram_client_new(&p);
    secret_wipe(&keys, sizeof(keys));
    own_secret_free(&own);
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
        server_login_fail(s, CLOSE_SERVER_LOGIN_FAILED,
                          scram_error_class(e) == SCRAM_CLASS_PASSWORD ? "28P01" : "08P01",
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
        (void)server_login_send(s, &b);
        return;
    }
    buf_free(&data);
}

void server_auth_message(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    struct server_login *l = s->login;
    struct wire_reader r;

    wire_reader_init(&r, body, len_bytes);
    uint32_t code = wire_read_u32(&r);
    switch (code) {
    case 0:
        if (l->scram != NULL && !l->scram_is_done) {
            server_login_fail(s, CLOSE_SERVER_LOGIN_FAILED, "28000",
                              "server skipped the end of SCRAM authentication");
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
            server_login_fail(s, CLOSE_PROTOCOL_SERVER, "08P01", "bad authentication request");
        return;
    }
    case 10:
        if (l->scram != NULL || !offers_scram(&r)) {
            server_login_fail(s, CLOSE_SERVER_LOGIN_FAILED, "28000",
                              "server offers no SASL mechanism that is supported");
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
            server_login_fail(s, CLOSE_PROTOCOL_SERVER, "08P01", "SASL message out of order");
        else
            send_sasl(s, &r, false);
        return;
    default:
        server_login_fail(s, CLOSE_SERVER_LOGIN_FAILED, "28000",
                          "server asks for an authentication method that is not supported");
        return;
    }
}
