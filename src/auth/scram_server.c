/*
 * scram_server.c - SCRAM where we are the server: a client logs in.
 *
 * FIRST --client-first--> FINAL --client-final--> DONE; any error: FAILED.
 *
 * An exchange with a made-up secret ("mock") takes the same steps and the same
 * computations, and fails where a wrong password would.
 * Threads: the owner of the object.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "base/secret.h"
#include "scram_int.h"

enum stage { STAGE_FIRST, STAGE_FINAL, STAGE_DONE, STAGE_FAILED };

struct scram_server {
    enum scram_mechanism mechanism;
    enum stage stage;
    enum scram_error error;
    bool is_mock; /* the secret is made up: fails in the end, whatever the proof */
    struct scram_binding_copy binding;
    struct scram_secret secret;
    struct scram_secret older[SCRAM_OLDER_MAX];
    uint32_t n_older;
    bool is_older;                       /* the proof was of one of them, which is `secret` since then */
    uint8_t client_key[SCRAM_KEY_BYTES]; /* set in STAGE_DONE */
    const char *gs2;                     /* the GS2 header that the client sent; static text */
    struct buf auth_message;             /* RFC 5802 AuthMessage as far as it is known */
    uint32_t nonce_at;                   /* where auth_message has the combined nonce */
    uint32_t nonce_len;
    char server_nonce[SCRAM_CLIENT_MESSAGE_MAX];
};

/* The same salt at each try, from which nobody can tell whether the user exists. */
static bool make_salt(const struct scram_server_params *p, uint8_t salt[SCRAM_SALT_BYTES])
{
    uint8_t mac[SCRAM_KEY_BYTES];
    if (!scram_hmac(p->process_secret, p->user, strlen(p->user), mac))
        return false;
    memcpy(salt, mac, SCRAM_SALT_BYTES);
    return true;
}

/* Of a plain password: with the salt of an older SCRAM secret, so that both can be checked, or our own. */
static bool derive_plain(struct scram_server *s, const struct scram_server_params *p,
                         const uint8_t own_salt[SCRAM_SALT_BYTES])
{
    for (uint32_t i = 0; i < p->n_older; i++) {
        const struct scram_secret *o = &p->older[i].scram;
        if (p->older[i].kind == CREDENTIAL_SCRAM)
            return scram_secret_derive(&s->secret, p->credential->secret, o->salt, o->salt_len,
                                       o->iterations);
    }
    return scram_secret_derive(&s->secret, p->credential->secret, own_salt, SCRAM_SALT_BYTES, p->iterations);
}

static bool has_older_scram(const struct scram_server_params *p)
{
    for (uint32_t i = 0; i < p->n_older; i++)
        if (p->older[i].kind == CREDENTIAL_SCRAM)
            return true;
    return false;
}

/* Those that the salt of s->secret lets us check. */
static bool choose_older(struct scram_server *s, const struct scram_server_params *p)
{
    const struct scram_secret *main = &s->secret;

    for (uint32_t i = 0; i < p->n_older && !s->is_mock; i++) {
        const struct credential *c = &p->older[i];
        struct scram_secret *out = &s->older[s->n_older];
        if (c->kind == CREDENTIAL_PLAIN) {
            if (!scram_secret_derive(out, c->secret, main->salt, main->salt_len, main->iterations))
                return false;
        } else if (c->kind == CREDENTIAL_SCRAM && c->scram.iterations == main->iterations &&
                   c->scram.salt_len == main->salt_len &&
                   memcmp(c->scram.salt, main->salt, main->salt_len) == 0) {
            *out = c->scram;
        } else {
            continue;
        }
        s->n_older++;
    }
    return true;
}

static bool choose_secret(struct scram_server *s, const struct scram_server_params *p)
{
    const struct credential *c = p->credential;
    if (c != NULL && c->kind == CREDENTIAL_SCRAM) {
        s->secret = c->scram;
        return true;
    }
    bool is_plain = c != NULL && c->kind == CREDENTIAL_PLAIN;
    if (is_plain && p->derived != NULL && p->derived->iterations == p->iterations && !has_older_scram(p)) {
        s->secret = *p->derived;
        return true;
    }
    uint8_t salt[SCRAM_SALT_BYTES];
    if (!make_salt(p, salt))
        return false;
    if (is_plain)
        return derive_plain(s, p, salt);

    s->is_mock = true;
    s->secret.iterations = p->iterations;
    s->secret.salt_len = sizeof(salt);
    memcpy(s->secret.salt, salt, sizeof(salt));
    rand_secure(s->secret.stored_key, SCRAM_KEY_BYTES);
    rand_secure(s->secret.server_key, SCRAM_KEY_BYTES);
    return true;
}

struct scram_server *scram_server_new(const struct scram_server_params *params)
{
    if (params->binding.len > SCRAM_BINDING_MAX || params->n_older > SCRAM_OLDER_MAX ||
        params->iterations < 1 || params->iterations > SCRAM_ITERATIONS_MAX)
        return NULL;
    struct scram_server *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->mechanism = params->mechanism;
    s->binding.len = params->binding.len;
    if (s->binding.len > 0)
        memcpy(s->binding.data, params->binding.data, s->binding.len);
    buf_init(&s->auth_message, 0);
    if (params->test_nonce != NULL)
        snprintf(s->server_nonce, sizeof(s->server_nonce), "%s", params->test_nonce);
    else
        scram_make_nonce(s->server_nonce);
    if (!choose_secret(s, params) || !choose_older(s, params)) {
        scram_server_free(s);
        return NULL;
    }
    return s;
}

void scram_server_free(struct scram_server *s)
{
    if (s == NULL)
        return;
    buf_free(&s->auth_message);
    secret_wipe(s, sizeof(*s));
    free(s);
}

/* "p=type": only with the PLUS mechanism, and only the one type. */
static enum scram_error check_binding_flag(struct scram_server *s, struct scram_span type)
{
    static const char supported[] = "tls-server-end-point";
    if (s->mechanism != SCRAM_SHA_256_PLUS || s->binding.len == 0)
        return SCRAM_ERROR_BINDING_UNEXPECTED;
    if (type.len != sizeof(supported) - 1 || memcmp(type.p, supported, type.len) != 0)
        return SCRAM_ERROR_BINDING_TYPE;
    s->gs2 = SCRAM_GS2_PLUS;
    return SCRAM_ERROR_NONE;
}

/* Flag n (no channel binding) or y (the client could, but thinks that we cannot). */
static enum scram_error check_no_binding_flag(struct scram_server *s, char flag)
{
    if (s->mechanism == SCRAM_SHA_256_PLUS)
        return SCRAM_ERROR_BINDING_MISSING;
    if (flag == 'y' && s->binding.len > 0)
        return SCRAM_ERROR_BINDING_DOWNGRADE;
    s->gs2 = flag == 'y' ? "y,," : "n,,";
    return SCRAM_ERROR_NONE;
}

/* The GS2 header, up to its second comma; *bare becomes what follows. */
static enum scram_error parse_gs2(struct scram_server *s, const char *data, size_t len,
                                  struct scram_span *bare)
{
    const char *end = data + len;
    const char *comma = memchr(data, ',', len);
    if (comma == NULL)
        return SCRAM_ERROR_MALFORMED;
    enum scram_error e;
    size_t flag_len = (size_t)(comma - data);
    if (flag_len == 1 && (data[0] == 'n' || data[0] == 'y'))
        e = check_no_binding_flag(s, data[0]);
    else if (flag_len >= 2 && data[0] == 'p' && data[1] == '=')
        e = check_binding_flag(s, (struct scram_span){data + 2, flag_len - 2});
    else
        e = SCRAM_ERROR_GS2_FLAG;
    if (e != SCRAM_ERROR_NONE)
        return e;

    const char *p = comma + 1;
    if (p < end && *p == 'a')
        return SCRAM_ERROR_AUTHZID;
    if (p == end || *p != ',')
        return SCRAM_ERROR_MALFORMED;
    bare->p = p + 1;
    bare->len = (size_t)(end - bare->p);
    return SCRAM_ERROR_NONE;
}

/* client-first-message-bare: n=user,r=nonce[,extensions] */
static enum scram_error parse_first_bare(struct scram_span bare, struct scram_span *nonce)
{
    struct scram_reader r;
    struct scram_span value;
    char name;
    scram_reader_init(&r, bare.p, bare.len);
    if (bare.len > 0 && bare.p[0] == 'm')
        return SCRAM_ERROR_EXTENSION;
    if (!scram_read(&r, 'n', &value) || !scram_read(&r, 'r', nonce))
        return SCRAM_ERROR_MALFORMED;
    if (!scram_is_nonce(*nonce))
        return SCRAM_ERROR_NONCE;
    while (r.has_more) {
        if (!scram_read_any(&r, &name, &value))
            return SCRAM_ERROR_MALFORMED;
    }
    return SCRAM_ERROR_NONE;
}

static enum scram_error handle_first(struct scram_server *s, const char *data, size_t len, struct buf *out)
{
    struct scram_span bare, nonce;
    enum scram_error e = parse_gs2(s, data, len, &bare);
    if (e == SCRAM_ERROR_NONE)
        e = parse_first_bare(bare, &nonce);
    if (e != SCRAM_ERROR_NONE)
        return e;

    /* AuthMessage = client-first-bare "," server-first "," client-final-without-proof */
    struct buf *m = &s->auth_message;
    char salt[SCRAM_SALT_TEXT_BYTES];
    base64_encode(s->secret.salt, s->secret.salt_len, salt);
    buf_append(m, bare.p, (uint32_t)bare.len);
    buf_append_byte(m, ',');
    uint32_t first_at = m->len;
    buf_append_str(m, "r=");
    s->nonce_at = m->len;
    buf_append(m, nonce.p, (uint32_t)nonce.len);
    buf_append_str(m, s->server_nonce);
    s->nonce_len = m->len - s->nonce_at;
    buf_printf(m, ",s=%s,i=%u", salt, s->secret.iterations);
    if (m->failed || !buf_reserve(out, m->len - first_at))
        return SCRAM_ERROR_MEMORY;
    buf_append(out, m->data + first_at, m->len - first_at);
    buf_append_byte(m, ',');
    s->stage = STAGE_FINAL;
    return SCRAM_ERROR_NONE;
}

/* c=binding,r=nonce[,extensions],p=proof; *without_proof is what stands before ",p=". */
static enum scram_error parse_final(const struct scram_server *s, const char *data, size_t len,
                                    uint8_t proof[SCRAM_KEY_BYTES], size_t *without_proof)
{
    struct scram_reader r;
    struct scram_span cbind, nonce, value;
    char name;
    scram_reader_init(&r, data, len);
    if (!scram_read(&r, 'c', &cbind) || !scram_read(&r, 'r', &nonce))
        return SCRAM_ERROR_MALFORMED;
    do {
        if (!scram_read_any(&r, &name, &value))
            return SCRAM_ERROR_MALFORMED;
    } while (name != 'p');
    if (r.has_more)
        return SCRAM_ERROR_MALFORMED;

    char expected[SCRAM_CBIND_TEXT_BYTES];
    scram_make_cbind(s->gs2, &s->binding, expected);
    if (cbind.len != strlen(expected) || memcmp(cbind.p, expected, cbind.len) != 0)
        return SCRAM_ERROR_BINDING_MISMATCH;
    if (nonce.len != s->nonce_len || memcmp(nonce.p, s->auth_message.data + s->nonce_at, nonce.len) != 0)
        return SCRAM_ERROR_NONCE_MISMATCH;
    if (base64_decode(value.p, value.len, proof, SCRAM_KEY_BYTES) != SCRAM_KEY_BYTES)
        return SCRAM_ERROR_PROOF;
    *without_proof = (size_t)(value.p - data) - strlen(",p=");
    return SCRAM_ERROR_NONE;
}

/* Recovers ClientKey from the proof and checks that it hashes to StoredKey. */
static enum scram_error check_proof_of(struct scram_server *s, const struct scram_secret *secret,
                                       const uint8_t proof[SCRAM_KEY_BYTES])
{
    uint8_t signature[SCRAM_KEY_BYTES], hash[SCRAM_KEY_BYTES];
    if (!scram_hmac(secret->stored_key, s->auth_message.data, s->auth_message.len, signature))
        return SCRAM_ERROR_CRYPTO;
    for (int i = 0; i < SCRAM_KEY_BYTES; i++)
        s->client_key[i] = proof[i] ^ signature[i];
    bool hashed = scram_hash(s->client_key, SCRAM_KEY_BYTES, hash);
    bool same = hashed && secret_equal(hash, secret->stored_key, SCRAM_KEY_BYTES);
    secret_wipe(signature, sizeof(signature));
    secret_wipe(hash, sizeof(hash));
    if (!hashed)
        return SCRAM_ERROR_CRYPTO;
    return same && !s->is_mock ? SCRAM_ERROR_NONE : SCRAM_ERROR_PASSWORD;
}

static enum scram_error check_proof(struct scram_server *s, const uint8_t proof[SCRAM_KEY_BYTES])
{
    enum scram_error e = check_proof_of(s, &s->secret, proof);

    for (uint32_t i = 0; i < s->n_older && e == SCRAM_ERROR_PASSWORD; i++) {
        e = check_proof_of(s, &s->older[i], proof);
        if (e == SCRAM_ERROR_NONE) {
            s->secret = s->older[i];
            s->is_older = true;
        }
    }
    return e;
}

static enum scram_error handle_final(struct scram_server *s, const char *data, size_t len, struct buf *out)
{
    uint8_t proof[SCRAM_KEY_BYTES], signature[SCRAM_KEY_BYTES];
    size_t without_proof;
    enum scram_error e = parse_final(s, data, len, proof, &without_proof);
    if (e != SCRAM_ERROR_NONE)
        return e;
    buf_append(&s->auth_message, data, (uint32_t)without_proof);
    if (s->auth_message.failed)
        return SCRAM_ERROR_MEMORY;
    e = check_proof(s, proof);
    secret_wipe(proof, sizeof(proof));
    if (e != SCRAM_ERROR_NONE)
        return e;

    char text[SCRAM_KEY_TEXT_BYTES];
    if (!scram_hmac(s->secret.server_key, s->auth_message.data, s->auth_message.len, signature))
        return SCRAM_ERROR_CRYPTO;
    base64_encode(signature, sizeof(signature), text);
    if (!buf_reserve(out, sizeof(text) + 1))
        return SCRAM_ERROR_MEMORY;
    buf_append_str(out, "v=");
    buf_append_str(out, text);
    s->stage = STAGE_DONE;
    return SCRAM_ERROR_NONE;
}

static enum scram_error handle_message(struct scram_server *s, const char *data, size_t len, struct buf *out)
{
    if (s->stage != STAGE_FIRST && s->stage != STAGE_FINAL)
        return SCRAM_ERROR_SEQUENCE;
    if (data == NULL)
        return s->stage == STAGE_FIRST ? SCRAM_ERROR_NONE : SCRAM_ERROR_MALFORMED;
    if (len > SCRAM_CLIENT_MESSAGE_MAX)
        return SCRAM_ERROR_TOO_LONG;
    if (len == 0 || memchr(data, '\0', len) != NULL)
        return SCRAM_ERROR_MALFORMED;
    return s->stage == STAGE_FIRST ? handle_first(s, data, len, out) : handle_final(s, data, len, out);
}

enum scram_result scram_server_step(struct scram_server *s, const void *data, size_t len, struct buf *out)
{
    enum scram_error e = handle_message(s, data, len, out);
    if (e != SCRAM_ERROR_NONE) {
        s->stage = STAGE_FAILED;
        s->error = e;
        secret_wipe(s->client_key, sizeof(s->client_key));
        return SCRAM_ERR;
    }
    return s->stage == STAGE_DONE ? SCRAM_OK : SCRAM_AGAIN;
}

enum scram_error scram_server_error(const struct scram_server *s)
{
    return s->error;
}

bool scram_server_keys(const struct scram_server *s, struct scram_keys *keys)
{
    if (s->stage != STAGE_DONE || s->is_older)
        return false;
    memcpy(keys->client_key, s->client_key, SCRAM_KEY_BYTES);
    keys->secret = s->secret;
    return true;
}

const struct scram_secret *scram_server_secret(const struct scram_server *s)
{
    return s->is_mock ? NULL : &s->secret;
}
