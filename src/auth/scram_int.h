/*
 * scram_int.h - what both sides of SCRAM share: primitives and the reader of attributes.
 */
#ifndef AUTH_SCRAM_INT_H
#define AUTH_SCRAM_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/scram.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base64_int.h"

#define SCRAM_NONCE_BYTES      18 /* random bytes of our nonces, as in PostgreSQL */
#define SCRAM_NONCE_TEXT_BYTES BASE64_TEXT_BYTES(SCRAM_NONCE_BYTES)
#define SCRAM_KEY_TEXT_BYTES   BASE64_TEXT_BYTES(SCRAM_KEY_BYTES)
#define SCRAM_SALT_TEXT_BYTES  BASE64_TEXT_BYTES(SCRAM_SALT_MAX)
#define SCRAM_GS2_PLUS         "p=tls-server-end-point,,"
#define SCRAM_GS2_MAX          (sizeof(SCRAM_GS2_PLUS) - 1)
#define SCRAM_CBIND_TEXT_BYTES BASE64_TEXT_BYTES(SCRAM_GS2_MAX + SCRAM_BINDING_MAX)

/* Own copy of a channel binding. */
struct scram_binding_copy {
    uint8_t data[SCRAM_BINDING_MAX];
    size_t len;
};

/* A piece of a message. */
struct scram_span {
    const char *p;
    size_t len;
};

/* Reads the attributes of a message, "x=value" with commas between. */
struct scram_reader {
    const char *p;
    const char *end;
    bool has_more; /* an attribute must follow: at the start, and behind a comma */
};

void scram_reader_init(struct scram_reader *r, const char *p, size_t len);
/* The next attribute, whatever its name. False when none is left or it is malformed. */
bool scram_read_any(struct scram_reader *r, char *name, struct scram_span *value) must_check;
/* The next attribute, which must have this name. */
bool scram_read(struct scram_reader *r, char name, struct scram_span *value) must_check;
/* RFC 5802 "printable": not empty, no comma, no space, no control characters. */
bool scram_is_nonce(struct scram_span s) must_check;
/* Decimal digits only, 1..SCRAM_ITERATIONS_MAX. */
bool scram_parse_iterations(const char *text, size_t len, uint32_t *value) must_check;

void scram_make_nonce(char out[SCRAM_NONCE_TEXT_BYTES]);
/* The value of the attribute c: base64(GS2 header + data of the binding, if the header asks for it). */
void scram_make_cbind(const char *gs2, const struct scram_binding_copy *binding,
                      char out[SCRAM_CBIND_TEXT_BYTES]);

bool scram_hmac(const uint8_t key[SCRAM_KEY_BYTES], const void *data, size_t len,
                uint8_t out[SCRAM_KEY_BYTES]) must_check;
bool scram_hash(const void *data, size_t len, uint8_t out[SCRAM_KEY_BYTES]) must_check;
/* All keys of a password (SASLprep included); keys->secret becomes complete. */
bool scram_keys_derive(struct scram_keys *keys, const char *password, const uint8_t *salt, uint32_t salt_len,
                       uint32_t iterations) must_check;

#endif
