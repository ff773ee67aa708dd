/*
 * tls_tickets.c - the keys of the tickets by which clients resume TLS sessions.
 *
 * OpenSSL makes one key with a context and keeps it as long as that lives, which here may be for months: who
 * gets hold of it could read all that was said in resumed sessions of TLS 1.2, back to the start. So tickets
 * get a new key every TLS_TICKET_KEY_US, and one is forgotten when no ticket of it is good any more.
 *
 * The keys are the context's: all workers take each other's tickets, and a new certificate or other settings
 * have tickets of their own.
 *
 * Threads: any; the keys have a leaf lock, under which they are only copied. A new one is made before it is
 * taken, by whoever finds that it is time.
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/secret.h"
#include "tls_int.h"

struct tls_tickets {
    struct lock lock;
    /* [lock] the newest first; made_us of those that are not there yet is 0 */
    struct tls_ticket_key keys[TLS_TICKET_KEYS];
};

static bool is_due(const struct tls_ticket_key *newest, int64_t now_us)
{
    return newest->made_us == 0 || now_us - newest->made_us >= TLS_TICKET_KEY_US;
}

static bool is_good(const struct tls_ticket_key *k, int64_t now_us)
{
    return k->made_us != 0 && now_us - k->made_us < TLS_TICKET_KEY_US + TLS_TICKET_LIFE_S * USEC_PER_SEC;
}

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *t = xcalloc(1, sizeof(*t));
    lock_init(&t->lock, LOCK_RANK_LEAF);
    return t;
}

void tls_tickets_free(struct tls_tickets *t)
{
    if (t == NULL)
        return;
    lock_destroy(&t->lock);
    secret_wipe(t, sizeof(*t));
    free(t);
}

void tls_tickets_newest(struct tls_tickets *t, int64_t now_us, struct tls_ticket_key *out)
{
    struct tls_ticket_key fresh;

    lock_acquire(&t->lock);
    bool needs_one = is_due(&t->keys[0], now_us);
    *out = t->keys[0];
    lock_release(&t->lock);
    if (!needs_one)
        return;
    rand_secure(&fresh, sizeof(fresh));
    fresh.made_us = now_us;
    lock_acquire(&t->lock);
    if (is_due(&t->keys[0], now_us)) { /* nobody else has been quicker */
        memmove(&t->keys[1], &t->keys[0], sizeof(t->keys) - sizeof(t->keys[0]));
        t->keys[0] = fresh;
        for (int i = 1; i < TLS_TICKET_KEYS; i++)
            if (!is_good(&t->keys[i], now_us))
                secret_wipe(&t->keys[i], sizeof(t->keys[i]));
    }
    *out = t->keys[0];
    lock_release(&t->lock);
    secret_wipe(&fresh, sizeof(fresh));
}

bool tls_tickets_find(struct tls_tickets *t, const uint8_t *name, int64_t now_us, struct tls_ticket_key *out)
{
    bool found = false;

    lock_acquire(&t->lock);
    for (int i = 0; i < TLS_TICKET_KEYS && !found; i++) {
        found = is_good(&t->keys[i], now_us) && memcmp(t->keys[i].name, name, sizeof(out->name)) == 0;
        if (found)
            *out = t->keys[i];
    }
    lock_release(&t->lock);
    return found;
}

/* Sets up what OpenSSL encrypts or decrypts a ticket with. */
static bool apply(const struct tls_ticket_key *k, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                  int is_encryption)
{
    char digest[] = "SHA256";
    uint8_t mac_key[sizeof(k->mac)];
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, mac_key, sizeof(mac_key)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    memcpy(mac_key, k->mac, sizeof(mac_key));
    bool ok = EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv, is_encryption) == 1 &&
              EVP_MAC_CTX_set_params(mac, params) == 1;
    secret_wipe(mac_key, sizeof(mac_key));
    return ok;
}

static int tickets_index = -1;

/* With the last connection of its context. */
static void tickets_free_cb(void *parent, void *p, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    tls_tickets_free(p);
}

static void tickets_index_make(void)
{
    tickets_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, tickets_free_cb);
}

/* OpenSSL's callback. 1: done; 0: a ticket of no key of ours, so a full handshake; -1: failed. */
static int ticket_key_cb(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int is_encryption)
{
    struct tls_tickets *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), tickets_index);
    struct tls_ticket_key key;

    if (is_encryption) {
        tls_tickets_newest(t, clock_now_us(), &key);
        memcpy(name, key.name, sizeof(key.name));
        rand_secure(iv, TLS_TICKET_IV_BYTES);
    } else if (!tls_tickets_find(t, name, clock_now_us(), &key)) {
        return 0;
    }
    bool ok = apply(&key, iv, cipher, mac, is_encryption);
    secret_wipe(&key, sizeof(key));
    return ok ? 1 : -1;
}

bool tls_tickets_apply(SSL_CTX *ctx)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    struct tls_tickets *t;

    if (CRYPTO_THREAD_run_once(&once, tickets_index_make) != 1 || tickets_index < 0)
        return false;
    t = tls_tickets_new();
    SSL_CTX_set_timeout(ctx, TLS_TICKET_LIFE_S);
    if (SSL_CTX_set_ex_data(ctx, tickets_index, t) == 1)
        return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key_cb) == 1;
    tls_tickets_free(t);
    return false;
}
