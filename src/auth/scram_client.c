/*
 * scram_client.c - SCRAM where we are the client: we log in to PostgreSQL.
 *
 * START --> client-first sent: FIRST --server-first, client-final sent--> FINAL
 * --server-final--> DONE; any error: FAILED.
 *
 * The server is held to what libpq accepts: exactly r, s, i and then exactly v.
 * Threads: the owner of the object.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "scram_int.h"

enum stage { STAGE_START, STAGE_FIRST, STAGE_FINAL, STAGE_DONE, STAGE_FAILED };

struct scram_client {
    enum stage stage;
    enum scram_error error;
    const char *gs2; /* static text */
    struct scram_binding_copy binding;
    char *password;         /* own copy, NULL when there is none; wiped once it is not needed */
    bool has_keys;          /* keys are set: given, or derived after server-first */
    struct scram_keys keys; /* the ones in use, from server-first on */
    struct buf auth_message;
    char nonce[SCRAM_CLIENT_MESSAGE_MAX];
};

/* What server-first says. */
struct server_first {
    struct scram_span nonce;
    uint8_t salt[SCRAM_SALT_MAX];
    uint32_t salt_len;
    uint32_t iterations;
};

static const char *choose_gs2(const struct scram_client_params *p)
{
    if (p->mechanism == SCRAM_SHA_256_PLUS)
        return SCRAM_GS2_PLUS;
    return p->binding.len > 0 ? "y,," : "n,,";
}

struct scram_client *scram_client_new(const struct scram_client_params *params)
{
    if (params->binding.len > SCRAM_BINDING_MAX)
        return NULL;
    struct scram_client *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->gs2 = choose_gs2(params);
    c->binding.len = params->binding.len;
    if (c->binding.len > 0)
        memcpy(c->binding.data, params->binding.data, c->binding.len);
    if (params->keys != NULL) {
        c->keys = *params->keys;
        c->has_keys = true;
    }
    buf_init(&c->auth_message, 0);
    if (params->test_nonce != NULL)
        snprintf(c->nonce, sizeof(c->nonce), "%s", params->test_nonce);
    else
        scram_make_nonce(c->nonce);
    if (params->password != NULL) {
        c->password = strdup(params->password);
        if (c->password == NULL) {
            scram_client_free(c);
            return NULL;
        }
    }
    return c;
}

static void drop_password(struct scram_client *c)
{
    secret_free(c->password);
    c->password = NULL;
}

void scram_client_free(struct scram_client *c)
{
    if (c == NULL)
        return;
    drop_password(c);
    buf_free(&c->auth_message);
    secret_wipe(c, sizeof(*c));
    free(c);
}

static enum scram_error send_first(struct scram_client *c, struct buf *out)
{
    if (c->password == NULL && !c->has_keys)
        return SCRAM_ERROR_NO_SECRET;
    if (c->gs2[0] == 'p' && c->binding.len == 0)
        return SCRAM_ERROR_BINDING_MISSING;
    struct buf *m = &c->auth_message;
    buf_append_str(m, "n=,r=");
    buf_append_str(m, c->nonce);
    if (m->failed || !buf_reserve(out, (uint32_t)strlen(c->gs2) + m->len))
        return SCRAM_ERROR_MEMORY;
    buf_append_str(out, c->gs2);
    buf_append(out, m->data, m->len);
    c->stage = STAGE_FIRST;
    return SCRAM_ERROR_NONE;
}

/* r=nonce,s=salt,i=iterations */
static enum scram_error parse_server_first(const struct scram_client *c, const char *data, size_t len,
                                           struct server_first *f)
{
    struct scram_reader r;
    struct scram_span salt, iterations;
    if (data[0] == 'm')
        return SCRAM_ERROR_EXTENSION;
    scram_reader_init(&r, data, len);
    if (!scram_read(&r, 'r', &f->nonce) || !scram_read(&r, 's', &salt) || !scram_read(&r, 'i', &iterations) ||
        r.has_more)
        return SCRAM_ERROR_MALFORMED;
    if (!scram_is_nonce(f->nonce))
        return SCRAM_ERROR_NONCE;
    size_t own = strlen(c->nonce);
    if (f->nonce.len <= own || memcmp(f->nonce.p, c->nonce, own) != 0)
        return SCRAM_ERROR_NONCE_MISMATCH;
    int n = base64_decode(salt.p, salt.len, f->salt, sizeof(f->salt));
    if (n <= 0)
        return SCRAM_ERROR_SALT;
    f->salt_len = (uint32_t)n;
    if (!scram_parse_iterations(iterations.p, iterations.len, &f->iterations))
        return SCRAM_ERROR_ITERATIONS;
    return SCRAM_ERROR_NONE;
}

static enum scram_error choose_keys(struct scram_client *c, const struct server_first *f)
{
    const struct scram_secret *own = &c->keys.secret;
    if (c->has_keys && own->iterations == f->iterations && own->salt_len == f->salt_len &&
        memcmp(own->salt, f->salt, f->salt_len) == 0)
        return SCRAM_ERROR_NONE;
    if (c->password == NULL)
        return SCRAM_ERROR_KEYS_DIFFER;
    c->has_keys = scram_keys_derive(&c->keys, c->password, f->salt, f->salt_len, f->iterations);
    return c->has_keys ? SCRAM_ERROR_NONE : SCRAM_ERROR_CRYPTO;
}

/* ClientProof = ClientKey XOR HMAC(H(ClientKey), AuthMessage), as text */
static bool make_proof(const struct scram_client *c, char text[SCRAM_KEY_TEXT_BYTES])
{
    uint8_t stored[SCRAM_KEY_BYTES], proof[SCRAM_KEY_BYTES];
    bool ok = scram_hash(c->keys.client_key, SCRAM_KEY_BYTES, stored) &&
              scram_hmac(stored, c->auth_message.data, c->auth_message.len, proof);
    if (ok) {
        for (int i = 0; i < SCRAM_KEY_BYTES; i++)
            proof[i] ^= c->keys.client_key[i];
        base64_encode(proof, sizeof(proof), text);
    }
    secret_wipe(stored, sizeof(stored));
    secret_wipe(proof, sizeof(proof));
    return ok;
}

static enum scram_error handle_server_first(struct scram_client *c, const char *data, size_t len,
                                            struct buf *out)
{
    struct server_first f;
    enum scram_error e = parse_server_first(c, data, len, &f);
    if (e == SCRAM_ERROR_NONE)
        e = choose_keys(c, &f);
    if (e != SCRAM_ERROR_NONE)
        return e;
    drop_password(c);

    struct buf *m = &c->auth_message;
    char cbind[SCRAM_CBIND_TEXT_BYTES], proof[SCRAM_KEY_TEXT_BYTES];
    scram_make_cbind(c->gs2, &c->binding, cbind);
    buf_append_byte(m, ',');
    buf_append(m, data, (uint32_t)len);
    buf_append_byte(m, ',');
    uint32_t final_at = m->len;
    buf_append_str(m, "c=");
    buf_append_str(m, cbind);
    buf_append_str(m, ",r=");
    buf_append(m, f.nonce.p, (uint32_t)f.nonce.len);
    if (m->failed)
        return SCRAM_ERROR_MEMORY;
    if (!make_proof(c, proof))
        return SCRAM_ERROR_CRYPTO;
    uint32_t final_len = m->len - final_at;
    if (!buf_reserve(out, final_len + 3 + (uint32_t)strlen(proof)))
        return SCRAM_ERROR_MEMORY;
    buf_append(out, m->data + final_at, final_len);
    buf_append_str(out, ",p=");
    buf_append_str(out, proof);
    c->stage = STAGE_FINAL;
    return SCRAM_ERROR_NONE;
}

/* v=signature or e=error */
static enum scram_error handle_server_final(struct scram_client *c, const char *data, size_t len)
{
    struct scram_reader r;
    struct scram_span value;
    char name;
    uint8_t theirs[SCRAM_KEY_BYTES], ours[SCRAM_KEY_BYTES];
    scram_reader_init(&r, data, len);
    if (!scram_read_any(&r, &name, &value))
        return SCRAM_ERROR_MALFORMED;
    if (name == 'e')
        return SCRAM_ERROR_SERVER_REFUSED;
    if (name != 'v' || r.has_more ||
        base64_decode(value.p, value.len, theirs, SCRAM_KEY_BYTES) != SCRAM_KEY_BYTES)
        return SCRAM_ERROR_MALFORMED;
    if (!scram_hmac(c->keys.secret.server_key, c->auth_message.data, c->auth_message.len, ours))
        return SCRAM_ERROR_CRYPTO;
    if (!secret_equal(ours, theirs, SCRAM_KEY_BYTES))
        return SCRAM_ERROR_SERVER_SIGNATURE;
    c->stage = STAGE_DONE;
    return SCRAM_ERROR_NONE;
}

static enum scram_error handle_message(struct scram_client *c, const char *data, size_t len, struct buf *out)
{
    if (c->stage == STAGE_START)
        return data == NULL ? send_first(c, out) : SCRAM_ERROR_SEQUENCE;
    if (c->stage != STAGE_FIRST && c->stage != STAGE_FINAL)
        return SCRAM_ERROR_SEQUENCE;
    if (len > SCRAM_SERVER_MESSAGE_MAX)
        return SCRAM_ERROR_TOO_LONG;
    if (data == NULL || len == 0 || memchr(data, '\0', len) != NULL)
        return SCRAM_ERROR_MALFORMED;
    return c->stage == STAGE_FIRST ? handle_server_first(c, data, len, out)
                                   : handle_server_final(c, data, len);
}

enum scram_result scram_client_step(struct scram_client *c, const void *data, size_t len, struct buf *out)
{
    enum scram_error e = handle_message(c, data, len, out);
    if (e != SCRAM_ERROR_NONE) {
        c->stage = STAGE_FAILED;
        c->error = e;
        drop_password(c);
        return SCRAM_ERR;
    }
    return c->stage == STAGE_DONE ? SCRAM_OK : SCRAM_AGAIN;
}

enum scram_error scram_client_error(const struct scram_client *c)
{
    return c->error;
}

bool scram_client_keys(const struct scram_client *c, struct scram_keys *keys)
{
    if (c->stage != STAGE_DONE)
        return false;
    *keys = c->keys;
    return true;
}
