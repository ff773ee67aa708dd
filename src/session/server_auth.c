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

/* ---- SCRAM ---- */

/* What the list of a server's mechanisms has of ours. */
struct offer {
    bool has_scram;
    bool has_bound; /* ... bound to the TLS connection */
};

static struct offer read_offer(struct wire_reader *r)
{
    struct offer o = {false, false};
    for (;;) {
        const char *m = wire_read_cstr(r);
        if (r->bad || *m == '\0')
            break;
        o.has_scram = o.has_scram || strcmp(m, SCRAM_MECHANISM_NAME) == 0;
        o.has_bound = o.has_bound || strcmp(m, SCRAM_PLUS_MECHANISM_NAME) == 0;
    }
    return wire_reader_done(r) ? o : (struct offer){false, false};
}

static int channel_binding(const struct server *s)
{
    const struct server_login *l = s->login;
    return session_config_server_tls(l->config, l->db)->channel_binding;
}

/*
 * As libpq: bound where both can; else, where we could, SCRAM says so, and a server that was not heard right
 * notices. end_point: the binding that is used or could be. Returns NULL, or why there is no login.
 */
static const char *choose_mechanism(const struct server *s, struct offer offer, uint8_t *end_point,
                                    struct scram_client_params *p)
{
    int how = channel_binding(s);
    bool is_tls = stream_is_tls(&s->stream);
    uint32_t len = how != CHANNEL_BINDING_DISABLE ? stream_tls_end_point(&s->stream, end_point) : 0;

    if (offer.has_bound && !is_tls)
        return "server offered SCRAM-SHA-256-PLUS authentication over a connection without TLS";
    if (how == CHANNEL_BINDING_REQUIRE && !is_tls)
        return "channel binding required, but the connection to the server has no TLS";
    if (how == CHANNEL_BINDING_REQUIRE && len == 0)
        return "channel binding required, but the server's certificate cannot be bound to";
    if (how == CHANNEL_BINDING_REQUIRE && !offer.has_bound)
        return "channel binding required, but the server did not offer an authentication method that "
               "supports "
               "channel binding";
    if (!offer.has_scram && (!offer.has_bound || len == 0))
        return "server offers no SASL mechanism that is supported";
    p->mechanism = offer.has_bound && len > 0 ? SCRAM_SHA_256_PLUS : SCRAM_SHA_256;
    p->binding = (struct scram_binding){end_point, len};
    return NULL;
}

/* With a password, or with the keys that the client's own login left. p: the mechanism is set. */
static struct scram_client *new_scram(struct server *s, struct scram_client_params p)
{
    struct own_secret own;
    const struct credential *cred = own_credential(s, &own);
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
            wire_put_sasl_initial(&b, l->scram_is_bound ? SCRAM_PLUS_MECHANISM_NAME : SCRAM_MECHANISM_NAME,
                                  data.data, data.len);
        else
            wire_put_sasl_response(&b, data.data, data.len);
        buf_free(&data);
        (void)server_login_send(s, &b);
        return;
    }
    buf_free(&data);
}

static void begin_scram(struct server *s, struct wire_reader *r)
{
    struct server_login *l = s->login;
    struct offer offer = read_offer(r);
    struct scram_client_params p = {.mechanism = SCRAM_SHA_256};
    uint8_t end_point[STREAM_END_POINT_MAX_BYTES];
    const char *why_not = l->scram != NULL ? "server asks for SCRAM authentication twice"
                                           : choose_mechanism(s, offer, end_point, &p);

    if (why_not != NULL) {
        server_login_fail(s, CLOSE_SERVER_LOGIN_FAILED, "28000", why_not);
        return;
    }
    l->scram_is_bound = p.mechanism == SCRAM_SHA_256_PLUS;
    l->scram = new_scram(s, p);
    if (l->scram == NULL)
        no_password(s, "SCRAM");
    else
        send_sasl(s, r, true);
}

/* Does it let us in, or ask for something, that would not be bound to the connection where it has to be? */
static bool evades_binding(const struct server *s, uint32_t code)
{
    const struct server_login *l = s->login;
    bool is_of_scram = code >= 10 && code <= 12;

    return channel_binding(s) == CHANNEL_BINDING_REQUIRE && !is_of_scram &&
           !(code == 0 && l->scram_is_done && l->scram_is_bound);
}

void server_auth_message(struct server *s, const uint8_t *body, uint32_t len_bytes)
{
    struct server_login *l = s->login;
    struct wire_reader r;

    wire_reader_init(&r, body, len_bytes);
    uint32_t code = wire_read_u32(&r);
    if (evades_binding(s, code)) {
        server_login_fail(s, CLOSE_SERVER_LOGIN_FAILED, "28000",
                          code == 0
                              ? "channel binding required, but the server let us in without"
                              : "channel binding required, but not supported by what the server asks for");
        return;
    }
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
    case 10: begin_scram(s, &r); return;
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
