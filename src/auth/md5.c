/*
 * md5.c - PostgreSQL's md5 login.
 */
#include "auth/md5.h"

#include <string.h>

#include <openssl/evp.h>

#include "base/secret.h"

#define MD5_BYTES 16

/* "md5" + hex(md5(a + b)) */
static bool md5_text(const void *a, size_t a_len, const void *b, size_t b_len, char out[MD5_TEXT_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1 &&
              EVP_DigestUpdate(ctx, a, a_len) == 1 && EVP_DigestUpdate(ctx, b, b_len) == 1 &&
              EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    if (ok) {
        memcpy(out, "md5", 3);
        for (int i = 0; i < MD5_BYTES; i++) {
            out[3 + 2 * i] = hex[digest[i] >> 4];
            out[4 + 2 * i] = hex[digest[i] & 15];
        }
        out[MD5_TEXT_BYTES - 1] = '\0';
    }
    secret_wipe(digest, sizeof(digest));
    return ok;
}

bool md5_make_secret(const char *password, const char *user, char out[MD5_TEXT_BYTES])
{
    return md5_text(password, strlen(password), user, strlen(user), out);
}

bool md5_make_response(const struct credential *c, const char *user, const uint8_t salt[MD5_SALT_BYTES],
                       char out[MD5_TEXT_BYTES])
{
    char stored[MD5_TEXT_BYTES];
    if (c->kind == CREDENTIAL_MD5)
        memcpy(stored, c->secret, sizeof(stored));
    else if (c->kind != CREDENTIAL_PLAIN || !md5_make_secret(c->secret, user, stored))
        return false;
    bool ok = md5_text(stored + 3, MD5_TEXT_BYTES - 4, salt, MD5_SALT_BYTES, out);
    secret_wipe(stored, sizeof(stored));
    return ok;
}

enum credential_match md5_check_response(const struct credential *c, const char *user,
                                         const uint8_t salt[MD5_SALT_BYTES], const char *response)
{
    char expected[MD5_TEXT_BYTES];
    if (c->kind != CREDENTIAL_PLAIN && c->kind != CREDENTIAL_MD5)
        return CREDENTIAL_MISMATCH;
    if (!md5_make_response(c, user, salt, expected))
        return CREDENTIAL_ERR;
    bool same = strlen(response) == MD5_TEXT_BYTES - 1 && secret_equal(expected, response, MD5_TEXT_BYTES);
    secret_wipe(expected, sizeof(expected));
    return same ? CREDENTIAL_MATCH : CREDENTIAL_MISMATCH;
}
