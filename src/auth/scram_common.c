/*
 * scram_common.c - primitives, attribute reader and error texts of SCRAM.
 *
 * Threads: no state. Everything derived from a password is wiped before return.
 */
#include "scram_int.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/rand.h"
#include "base/secret.h"
#include "saslprep_int.h"

static const struct {
    const char *text;
    enum scram_error_class class;
} error_rows[SCRAM_ERROR_COUNT] = {
    [SCRAM_ERROR_NONE] = {"no error", SCRAM_CLASS_NONE},
    [SCRAM_ERROR_MEMORY] = {"out of memory during SCRAM authentication", SCRAM_CLASS_SYSTEM},
    [SCRAM_ERROR_CRYPTO] = {"cryptographic library failed during SCRAM authentication", SCRAM_CLASS_SYSTEM},
    [SCRAM_ERROR_SEQUENCE] = {"unexpected SCRAM message", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_MALFORMED] = {"malformed SCRAM message", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_TOO_LONG] = {"SCRAM message is too long", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_GS2_FLAG] = {"malformed SCRAM message: unknown channel binding flag", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_AUTHZID] = {"SCRAM authorization identity is not supported", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_EXTENSION] = {"mandatory SCRAM extension is not supported", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_BINDING_UNEXPECTED] =
        {"SCRAM message uses channel binding, but the mechanism is SCRAM-SHA-256", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_BINDING_MISSING] = {"SCRAM message lacks channel binding, but the mechanism is "
                                     "SCRAM-SHA-256-PLUS",
                                     SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_BINDING_TYPE] = {"SCRAM channel binding type is not tls-server-end-point",
                                  SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_BINDING_DOWNGRADE] =
        {"SCRAM channel binding was negotiated away: the client supports it and "
         "was not told that the server does",
         SCRAM_CLASS_BINDING},
    [SCRAM_ERROR_BINDING_MISMATCH] = {"SCRAM channel binding check failed", SCRAM_CLASS_BINDING},
    [SCRAM_ERROR_NONCE] = {"malformed SCRAM message: invalid nonce", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_NONCE_MISMATCH] = {"invalid SCRAM message: nonce does not match", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_PROOF] = {"malformed SCRAM message: invalid proof", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_PASSWORD] = {"password authentication failed", SCRAM_CLASS_PASSWORD},
    [SCRAM_ERROR_NO_SECRET] =
        {"server asks for SCRAM authentication, but neither a password nor SCRAM keys of "
         "the user are known",
         SCRAM_CLASS_PASSWORD},
    [SCRAM_ERROR_ITERATIONS] = {"malformed SCRAM message: invalid iteration count", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_SALT] = {"malformed SCRAM message: invalid salt", SCRAM_CLASS_PROTOCOL},
    [SCRAM_ERROR_KEYS_DIFFER] =
        {"server's SCRAM secret of the user is not the one that the client logged in with "
         "(salt or iterations differ): copy it from pg_authid, or store the password",
         SCRAM_CLASS_PASSWORD},
    [SCRAM_ERROR_SERVER_REFUSED] = {"server ended SCRAM authentication with an error", SCRAM_CLASS_PASSWORD},
    [SCRAM_ERROR_SERVER_SIGNATURE] = {"incorrect SCRAM server signature: the server does not know the user's "
                                      "secret",
                                      SCRAM_CLASS_PASSWORD},
};

const char *scram_error_text(enum scram_error e)
{
    return (unsigned)e < SCRAM_ERROR_COUNT ? error_rows[e].text : "unknown error";
}

enum scram_error_class scram_error_class(enum scram_error e)
{
    return (unsigned)e < SCRAM_ERROR_COUNT ? error_rows[e].class : SCRAM_CLASS_SYSTEM;
}

void scram_reader_init(struct scram_reader *r, const char *p, size_t len)
{
    r->p = p;
    r->end = p + len;
    r->has_more = true;
}

bool scram_read_any(struct scram_reader *r, char *name, struct scram_span *value)
{
    if (!r->has_more || r->end - r->p < 2 || r->p[1] != '=')
        return false;
    char c = r->p[0];
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
        return false;
    *name = c;
    value->p = r->p + 2;
    const char *comma = memchr(value->p, ',', (size_t)(r->end - value->p));
    r->has_more = comma != NULL;
    r->p = comma != NULL ? comma + 1 : r->end;
    value->len = (size_t)((comma != NULL ? comma : r->end) - value->p);
    return true;
}

bool scram_read(struct scram_reader *r, char name, struct scram_span *value)
{
    char found;
    return scram_read_any(r, &found, value) && found == name;
}

bool scram_is_nonce(struct scram_span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < 0x21 || s.p[i] > 0x7e || s.p[i] == ',')
            return false;
    }
    return s.len > 0;
}

bool scram_parse_iterations(const char *text, size_t len, uint32_t *value)
{
    uint32_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(text[i] - '0');
        if (n > SCRAM_ITERATIONS_MAX)
            return false;
    }
    *value = n;
    return n > 0;
}

void scram_make_nonce(char out[SCRAM_NONCE_TEXT_BYTES])
{
    uint8_t raw[SCRAM_NONCE_BYTES];
    rand_secure(raw, sizeof(raw));
    base64_encode(raw, sizeof(raw), out);
}

void scram_make_cbind(const char *gs2, const struct scram_binding_copy *binding,
                      char out[SCRAM_CBIND_TEXT_BYTES])
{
    uint8_t raw[SCRAM_GS2_MAX + SCRAM_BINDING_MAX];
    size_t n = strlen(gs2);
    memcpy(raw, gs2, n);
    if (gs2[0] == 'p') {
        memcpy(raw + n, binding->data, binding->len);
        n += binding->len;
    }
    base64_encode(raw, n, out);
}

bool scram_hmac(const uint8_t key[SCRAM_KEY_BYTES], const void *data, size_t len,
                uint8_t out[SCRAM_KEY_BYTES])
{
    return HMAC(EVP_sha256(), key, SCRAM_KEY_BYTES, data, len, out, NULL) != NULL;
}

bool scram_hash(const void *data, size_t len, uint8_t out[SCRAM_KEY_BYTES])
{
    return EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) == 1;
}

static bool derive_from_salted(struct scram_keys *keys, const uint8_t salted[SCRAM_KEY_BYTES])
{
    return scram_hmac(salted, "Client Key", 10, keys->client_key) &&
           scram_hmac(salted, "Server Key", 10, keys->secret.server_key) &&
           scram_hash(keys->client_key, SCRAM_KEY_BYTES, keys->secret.stored_key);
}

bool scram_keys_derive(struct scram_keys *keys, const char *password, const uint8_t *salt, uint32_t salt_len,
                       uint32_t iterations)
{
    memset(keys, 0, sizeof(*keys));
    if (salt_len < 1 || salt_len > SCRAM_SALT_MAX || iterations < 1 || iterations > SCRAM_ITERATIONS_MAX)
        return false;
    char *prepared = saslprep_password(password);
    if (prepared == NULL)
        return false;
    uint8_t salted[SCRAM_KEY_BYTES];
    bool ok = PKCS5_PBKDF2_HMAC(prepared, (int)strlen(prepared), salt, (int)salt_len, (int)iterations,
                                EVP_sha256(), SCRAM_KEY_BYTES, salted) == 1 &&
              derive_from_salted(keys, salted);
    secret_wipe(salted, sizeof(salted));
    secret_free(prepared);
    keys->secret.iterations = iterations;
    keys->secret.salt_len = salt_len;
    memcpy(keys->secret.salt, salt, salt_len);
    if (!ok)
        secret_wipe(keys, sizeof(*keys));
    return ok;
}

bool scram_secret_derive(struct scram_secret *secret, const char *password, const uint8_t *salt,
                         uint32_t salt_len, uint32_t iterations)
{
    struct scram_keys keys;
    bool ok = scram_keys_derive(&keys, password, salt, salt_len, iterations);
    *secret = keys.secret;
    secret_wipe(&keys, sizeof(keys));
    return ok;
}
