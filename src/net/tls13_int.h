/*
 * tls13_int.h - the records of a TLS 1.3 connection whose handshake is over: what is left of it in memory.
 */
#ifndef NET_TLS13_INT_H
#define NET_TLS13_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

#define TLS13_HEADER_BYTES  5
#define TLS13_CONTENT_BYTES 16384                         /* of one record, at most */
#define TLS13_SEALED_BYTES  (TLS13_CONTENT_BYTES + 256)   /* with type, padding and tag, at most */
#define TLS13_EXTRA_BYTES   (TLS13_HEADER_BYTES + 1 + 16) /* of a record of ours, beside its content */
#define TLS13_SECRET_BYTES  48
/* RFC 8446, section 5.5: so many records under one key of AES-GCM, and some; then it is changed. */
#define TLS13_MAX_RECORDS (UINT64_C(1) << 24)

enum tls13_type { TLS13_ALERT = 21, TLS13_HANDSHAKE = 22, TLS13_DATA = 23 };

struct tls13_suite;

/* One direction. */
struct tls13_keys {
    uint64_t id;  /* of these keys, in this process: what a cipher context was made for */
    uint64_t seq; /* of the next record */
    uint8_t secret[TLS13_SECRET_BYTES];
    uint8_t key[32];
    uint8_t iv[12];
};

/* Contexts of OpenSSL that some keys have been put into; of a loop, by connections in turn. */
#define TLS13_CACHED 16
struct tls13_ciphers {
    struct tls13_cached {
        uint64_t id; /* 0: free */
        void *ctx;   /* EVP_CIPHER_CTX */
    } in[TLS13_CACHED], out[TLS13_CACHED];
};

/* By OpenSSL's number of a cipher suite; NULL: none that we know. */
const struct tls13_suite *tls13_suite_find(uint32_t id);
uint32_t tls13_suite_id(const struct tls13_suite *suite);
const char *tls13_suite_name(const struct tls13_suite *suite);
/* Bytes of a secret. */
uint32_t tls13_suite_secret_bytes(const struct tls13_suite *suite);

/* From a traffic secret, which becomes k's; seq is the caller's. */
bool tls13_keys_set(struct tls13_keys *k, const struct tls13_suite *suite, const uint8_t *secret) must_check;
/* To those of the next generation, as both sides do on a KeyUpdate. */
bool tls13_keys_update(struct tls13_keys *k, const struct tls13_suite *suite) must_check;

void tls13_ciphers_free(struct tls13_ciphers *c);
/* What was made for these keys is wiped. NULL: of no keys. */
void tls13_ciphers_forget(struct tls13_ciphers *c, const struct tls13_keys *in, const struct tls13_keys *out);

/*
 * Makes a record where it stands: record[TLS13_HEADER_BYTES...] holds len_bytes of content already, and there
 * is room for TLS13_EXTRA_BYTES. Its length, or 0 when the library fails.
 */
uint32_t tls13_seal(struct tls13_ciphers *c, const struct tls13_suite *suite, struct tls13_keys *k,
                    enum tls13_type type, uint8_t *record, uint32_t len_bytes) must_check;
/*
 * Opens a whole record where it stands: its content is at record + TLS13_HEADER_BYTES then. Bytes of content,
 * or -1: it is not the peer's.
 */
int tls13_open(struct tls13_ciphers *c, const struct tls13_suite *suite, struct tls13_keys *k,
               uint8_t *record, uint32_t len_bytes, uint8_t *type) must_check;

#endif
