/*
 * credential.c - classifying a stored secret, and checking a password against it.
 */
#include "auth/credential.h"

#include <stdlib.h>
#include <string.h>

#include "auth/md5.h"
#include "base/secret.h"
#include "base64_int.h"
#include "scram_int.h"

#define MD5_PREFIX   "md5"
#define SCRAM_PREFIX "SCRAM-SHA-256$"
/* Longer salts are past the limit whether they are well-formed or not; a multiple of 3: text of full groups.
 */
#define SALT_DECODE_MAX 1023

enum scram_parse { SCRAM_PARSE_OK, SCRAM_PARSE_MALFORMED, SCRAM_PARSE_LIMITS };

static bool is_md5_secret(const char *s)
{
    return strlen(s) == MD5_TEXT_BYTES - 1 && strncmp(s, MD5_PREFIX, 3) == 0 &&
           strspn(s + 3, "0123456789abcdef") == MD5_TEXT_BYTES - 4;
}

/* Ends the field at *p at the delimiter (NUL: at the end of the text) and moves *p behind it. */
static bool take_field(const char **p, char delimiter, const char **field, size_t *len)
{
    const char *end = strchr(*p, delimiter);
    if (end == NULL || end == *p)
        return false;
    *field = *p;
    *len = (size_t)(end - *p);
    *p = delimiter == '\0' ? end : end + 1;
    return true;
}

static bool decode_key(const char *text, size_t len, uint8_t key[SCRAM_KEY_BYTES])
{
    return base64_decode(text, len, key, SCRAM_KEY_BYTES) == SCRAM_KEY_BYTES;
}

/* text begins behind the prefix: iterations:salt$StoredKey:ServerKey */
static enum scram_parse parse_scram_secret(const char *text, struct scram_secret *out)
{
    const char *iterations, *salt, *stored, *server;
    size_t iterations_len, salt_len, stored_len, server_len;
    if (!take_field(&text, ':', &iterations, &iterations_len) || !take_field(&text, '$', &salt, &salt_len) ||
        !take_field(&text, ':', &stored, &stored_len) || !take_field(&text, '\0', &server, &server_len))
        return SCRAM_PARSE_MALFORMED;
    if (strspn(iterations, "0123456789") != iterations_len ||
        !decode_key(stored, stored_len, out->stored_key) || !decode_key(server, server_len, out->server_key))
        return SCRAM_PARSE_MALFORMED;

    uint8_t bytes[SALT_DECODE_MAX];
    int n = salt_len >= BASE64_TEXT_BYTES(SALT_DECODE_MAX)
                ? SALT_DECODE_MAX
                : base64_decode(salt, salt_len, bytes, sizeof(bytes));
    if (n <= 0)
        return SCRAM_PARSE_MALFORMED;
    if (n > SCRAM_SALT_MAX || !scram_parse_iterations(iterations, iterations_len, &out->iterations))
        return SCRAM_PARSE_LIMITS;
    memcpy(out->salt, bytes, (size_t)n);
    out->salt_len = (uint32_t)n;
    return SCRAM_PARSE_OK;
}

static void parse_scram_credential(struct credential *c)
{
    switch (parse_scram_secret(c->secret + strlen(SCRAM_PREFIX), &c->scram)) {
    case SCRAM_PARSE_OK: c->kind = CREDENTIAL_SCRAM; return;
    case SCRAM_PARSE_MALFORMED: c->kind = CREDENTIAL_PLAIN; break;
    case SCRAM_PARSE_LIMITS: c->kind = CREDENTIAL_NONE; break;
    }
    secret_wipe(&c->scram, sizeof(c->scram));
}

bool credential_parse(struct credential *c, const char *secret)
{
    memset(c, 0, sizeof(*c));
    if (secret == NULL || secret[0] == '\0')
        return true;
    c->secret = strdup(secret);
    if (c->secret == NULL)
        return false;
    if (is_md5_secret(secret))
        c->kind = CREDENTIAL_MD5;
    else if (strncmp(secret, SCRAM_PREFIX, strlen(SCRAM_PREFIX)) == 0)
        parse_scram_credential(c);
    else
        c->kind = CREDENTIAL_PLAIN;
    return true;
}

void credential_wipe(struct credential *c)
{
    secret_free(c->secret);
    secret_wipe(c, sizeof(*c));
}

static enum credential_match check_plain(const char *secret, const char *password)
{
    size_t n = strlen(secret);
    if (n != strlen(password))
        return CREDENTIAL_MISMATCH;
    return secret_equal(secret, password, n) ? CREDENTIAL_MATCH : CREDENTIAL_MISMATCH;
}

static enum credential_match check_md5(const char *secret, const char *user, const char *password)
{
    char text[MD5_TEXT_BYTES];
    enum credential_match m = CREDENTIAL_ERR;
    if (md5_make_secret(password, user, text))
        m = secret_equal(text, secret, sizeof(text)) ? CREDENTIAL_MATCH : CREDENTIAL_MISMATCH;
    secret_wipe(text, sizeof(text));
    return m;
}

static enum credential_match check_scram(const struct scram_secret *secret, const char *password)
{
    struct scram_keys keys;
    enum credential_match m = CREDENTIAL_ERR;
    if (scram_keys_derive(&keys, password, secret->salt, secret->salt_len, secret->iterations)) {
        /* PostgreSQL compares the ServerKey, too. */
        m = secret_equal(keys.secret.server_key, secret->server_key, SCRAM_KEY_BYTES) ? CREDENTIAL_MATCH
                                                                                      : CREDENTIAL_MISMATCH;
    }
    secret_wipe(&keys, sizeof(keys));
    return m;
}

enum credential_match credential_check_password(const struct credential *c, const char *user,
                                                const char *password)
{
    if (password[0] == '\0')
        return CREDENTIAL_MISMATCH;
    switch (c->kind) {
    case CREDENTIAL_NONE: break;
    case CREDENTIAL_PLAIN: return check_plain(c->secret, password);
    case CREDENTIAL_MD5: return check_md5(c->secret, user, password);
    case CREDENTIAL_SCRAM: return check_scram(&c->scram, password);
    }
    return CREDENTIAL_MISMATCH;
}
