/*
 * tls13.c - protection of records by the keys of TLS 1.3 (RFC 8446, sections 5 and 7).
 *
 * OpenSSL's object of a connection takes 14 kB, most of them for handshakes. Once one is over all that TLS
 * 1.3 needs are two keys and two counters. The ciphers are OpenSSL's; here is how a record is made of what
 * they give.
 *
 * A context of a cipher takes a kilobyte, so a loop has a few, and they go to the connections that are at
 * work: to put in another key takes less time than a record.
 *
 * Threads: the caller's; keys get their numbers from one counter for all.
 * Not here: sockets (stream_tls13.c), handshakes (OpenSSL).
 */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "tls13_int.h"

#define TAG_BYTES   16
#define NONCE_BYTES 12

struct tls13_suite {
    uint32_t id;
    const char *name;
    const char *cipher_name;
    uint32_t key_bytes, secret_bytes;
    const char *hash_name;
};

static const struct tls13_suite suites[] = {
    {TLS1_3_CK_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", "AES-128-GCM", 16, 32, "SHA256"},
    {TLS1_3_CK_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", "AES-256-GCM", 32, 48, "SHA384"},
    {TLS1_3_CK_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256", "ChaCha20-Poly1305", 32, 32,
     "SHA256"},
};

/* Fetched once; for the life of the process. */
static EVP_CIPHER *ciphers[ARRAY_SIZE(suites)];
static EVP_MAC_CTX
    *macs[ARRAY_SIZE(suites)]; /* HMAC, to be copied: to find it anew takes longer than it does */

static EVP_MAC_CTX *mac_new(EVP_MAC *hmac, const char *hash_name)
{
    OSSL_PARAM hash[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)hash_name, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC_CTX *mac = hmac != NULL ? EVP_MAC_CTX_new(hmac) : NULL;

    if (mac != NULL && EVP_MAC_CTX_set_params(mac, hash) != 1) {
        EVP_MAC_CTX_free(mac);
        mac = NULL;
    }
    return mac;
}

static void algorithms_fetch(void)
{
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, OSSL_MAC_NAME_HMAC, NULL);

    for (size_t i = 0; i < ARRAY_SIZE(suites); i++) {
        ciphers[i] = EVP_CIPHER_fetch(NULL, suites[i].cipher_name, NULL);
        macs[i] = mac_new(hmac, suites[i].hash_name);
    }
    EVP_MAC_free(hmac);
    ERR_clear_error();
}

static const EVP_CIPHER *cipher_of(const struct tls13_suite *suite)
{
    return ciphers[suite - suites];
}

const struct tls13_suite *tls13_suite_find(uint32_t id)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;

    if (CRYPTO_THREAD_run_once(&once, algorithms_fetch) != 1)
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(suites); i++)
        if (suites[i].id == id && ciphers[i] != NULL && macs[i] != NULL)
            return &suites[i];
    return NULL;
}

uint32_t tls13_suite_id(const struct tls13_suite *suite)
{
    return suite->id;
}

const char *tls13_suite_name(const struct tls13_suite *suite)
{
    return suite->name;
}

uint32_t tls13_suite_secret_bytes(const struct tls13_suite *suite)
{
    return suite->secret_bytes;
}

/* ---- keys ---- */

/* HKDF-Expand-Label(secret, label, "", len) for what is no longer than one hash. */
static bool expand(const struct tls13_suite *suite, const uint8_t *secret, const char *label, uint8_t *out,
                   uint32_t len_bytes)
{
    EVP_MAC_CTX *mac = EVP_MAC_CTX_dup(macs[suite - suites]);
    uint8_t info[64], block[EVP_MAX_MD_SIZE];
    int n = snprintf((char *)info + 3, sizeof(info) - 5, "tls13 %s", label);

    info[0] = 0;
    info[1] = (uint8_t)len_bytes;
    info[2] = (uint8_t)n;
    info[3 + n] = 0; /* no context */
    info[4 + n] = 1; /* the first block */
    bool ok = mac != NULL && EVP_MAC_init(mac, secret, suite->secret_bytes, NULL) == 1 &&
              EVP_MAC_update(mac, info, (size_t)n + 5) == 1 &&
              EVP_MAC_final(mac, block, NULL, sizeof(block)) == 1;
    EVP_MAC_CTX_free(mac); /* wipes */
    if (ok)
        memcpy(out, block, len_bytes);
    secret_wipe(block, sizeof(block));
    return ok;
}

bool tls13_keys_set(struct tls13_keys *k, const struct tls13_suite *suite, const uint8_t *secret)
{
    static _Atomic uint64_t last_id;

    if (secret != k->secret)
        memcpy(k->secret, secret, suite->secret_bytes);
    k->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
    return expand(suite, k->secret, "key", k->key, suite->key_bytes) &&
           expand(suite, k->secret, "iv", k->iv, sizeof(k->iv));
}

bool tls13_keys_update(struct tls13_keys *k, const struct tls13_suite *suite)
{
    uint8_t next[TLS13_SECRET_BYTES];
    bool ok =
        expand(suite, k->secret, "traffic upd", next, suite->secret_bytes) && tls13_keys_set(k, suite, next);

    secret_wipe(next, sizeof(next));
    k->seq = 0;
    return ok;
}

/* ---- contexts ---- */

static void forget(struct tls13_cached *all, uint64_t id)
{
    struct tls13_cached *c = &all[id % TLS13_CACHED];

    if (c->id != id || id == 0)
        return;
    EVP_CIPHER_CTX_reset(c->ctx); /* wipes */
    c->id = 0;
}

void tls13_ciphers_forget(struct tls13_ciphers *c, const struct tls13_keys *in, const struct tls13_keys *out)
{
    if (in != NULL)
        forget(c->in, in->id);
    if (out != NULL)
        forget(c->out, out->id);
}

void tls13_ciphers_free(struct tls13_ciphers *c)
{
    for (size_t i = 0; i < TLS13_CACHED; i++) {
        EVP_CIPHER_CTX_free(c->in[i].ctx);
        EVP_CIPHER_CTX_free(c->out[i].ctx);
    }
    memset(c, 0, sizeof(*c));
}

/* With k's key in it; NULL: the library has failed. */
static EVP_CIPHER_CTX *context_for(struct tls13_cached *all, const struct tls13_suite *suite,
                                   const struct tls13_keys *k, int is_encryption)
{
    struct tls13_cached *c = &all[k->id % TLS13_CACHED];

    if (likely(c->id == k->id))
        return c->ctx;
    if (c->ctx == NULL && (c->ctx = EVP_CIPHER_CTX_new()) == NULL)
        return NULL;
    c->id = 0;
    if (EVP_CipherInit_ex2(c->ctx, cipher_of(suite), k->key, NULL, is_encryption, NULL) != 1)
        return NULL;
    c->id = k->id;
    return c->ctx;
}

/* The context is ready for the record; its number is used up. */
static bool record_begin(EVP_CIPHER_CTX *ctx, struct tls13_keys *k, const uint8_t *header)
{
    uint8_t nonce[NONCE_BYTES];
    int n;

    memcpy(nonce, k->iv, sizeof(nonce));
    for (int i = 0; i < 8; i++)
        nonce[NONCE_BYTES - 1 - i] ^= (uint8_t)(k->seq >> 8 * i);
    k->seq++;
    return EVP_CipherInit_ex2(ctx, NULL, NULL, nonce, -1, NULL) == 1 &&
           EVP_CipherUpdate(ctx, NULL, &n, header, TLS13_HEADER_BYTES) == 1;
}

uint32_t tls13_seal(struct tls13_ciphers *c, const struct tls13_suite *suite, struct tls13_keys *k,
                    enum tls13_type type, uint8_t *record, uint32_t len_bytes)
{
    uint8_t *content = record + TLS13_HEADER_BYTES;
    uint32_t sealed = len_bytes + 1 + TAG_BYTES;
    EVP_CIPHER_CTX *ctx = context_for(c->out, suite, k, 1);
    int n = 0, last = 0;

    content[len_bytes] = (uint8_t)type;
    record[0] = TLS13_DATA; /* outside all are the same */
    record[1] = 3;
    record[2] = 3;
    record[3] = (uint8_t)(sealed >> 8);
    record[4] = (uint8_t)sealed;
    if (ctx == NULL || !record_begin(ctx, k, record) ||
        EVP_CipherUpdate(ctx, content, &n, content, (int)len_bytes + 1) != 1 ||
        EVP_CipherFinal_ex(ctx, content + n, &last) != 1 || n + last != (int)len_bytes + 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, content + len_bytes + 1) != 1) {
        ERR_clear_error();
        return 0;
    }
    return TLS13_HEADER_BYTES + sealed;
}

int tls13_open(struct tls13_ciphers *c, const struct tls13_suite *suite, struct tls13_keys *k,
               uint8_t *record, uint32_t len_bytes, uint8_t *type)
{
    uint8_t *content = record + TLS13_HEADER_BYTES;
    int len = (int)len_bytes - TLS13_HEADER_BYTES - TAG_BYTES, n = 0, last = 0;
    EVP_CIPHER_CTX *ctx = len > 0 ? context_for(c->in, suite, k, 0) : NULL;

    if (ctx == NULL || !record_begin(ctx, k, record) ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, content + len) != 1 ||
        EVP_CipherUpdate(ctx, content, &n, content, len) != 1 ||
        EVP_CipherFinal_ex(ctx, content + n, &last) != 1 || n + last != len) {
        ERR_clear_error();
        return -1;
    }
    while (len > 0 && content[len - 1] == 0) /* padding */
        len--;
    if (len == 0)
        return -1; /* no type */
    *type = content[len - 1];
    return len - 1;
}
