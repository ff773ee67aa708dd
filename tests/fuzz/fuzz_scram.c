/*
 * fuzz_scram.c - messages to both sides of SCRAM. Links libauth.a libbase.a, OPENSSL_LIBS, LIBIDN_LIBS.
 *
 * First byte: bit 0 client or server, bit 1 PLUS, bit 2 binding known, bit 3 made-up secret.
 * The rest: messages, one per line. Nonces are fixed, so that a corpus can reach the end; keys are
 * given, so that no input costs a derivation.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/scram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char secret_text[] =
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
static const uint8_t pencil_client_key[SCRAM_KEY_BYTES] = {
    0xa6, 0x0f, 0xc9, 0x23, 0xd6, 0x7e, 0x86, 0x44, 0xa9, 0x2d, 0x16, 0xb9, 0x6e, 0xda, 0x5e, 0xf4,
    0x65, 0x6b, 0x0c, 0x72, 0x5c, 0x48, 0x43, 0x74, 0xbe, 0x25, 0x53, 0x55, 0x76, 0x99, 0x6e, 0x8b};

static const uint8_t process_secret[SCRAM_PROCESS_SECRET_BYTES] = "fixed";

struct sides {
    struct scram_server *server; /* one of the two is NULL */
    struct scram_client *client;
};

static enum scram_result step(struct sides *s, const void *message, size_t len, struct buf *out)
{
    return s->server != NULL ? scram_server_step(s->server, message, len, out)
                             : scram_client_step(s->client, message, len, out);
}

static void feed(struct sides *s, const uint8_t *data, size_t size)
{
    struct buf out;
    const uint8_t *end = data + size;
    buf_init(&out, 0);
    enum scram_result r = s->client != NULL ? step(s, NULL, 0, &out) : SCRAM_AGAIN;
    while (data < end && r == SCRAM_AGAIN) {
        const uint8_t *newline = memchr(data, '\n', (size_t)(end - data));
        size_t len = (size_t)((newline != NULL ? newline : end) - data);
        buf_clear(&out);
        r = step(s, data, len, &out);
        if ((r == SCRAM_ERR) != (out.len == 0) && s->server != NULL)
            abort();
        data += newline != NULL ? len + 1 : len;
    }
    struct scram_keys keys;
    bool has_keys =
        s->server != NULL ? scram_server_keys(s->server, &keys) : scram_client_keys(s->client, &keys);
    if (has_keys != (r == SCRAM_OK))
        abort();
    if (has_keys && memcmp(keys.client_key, pencil_client_key, sizeof(pencil_client_key)) != 0)
        abort();
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sides s = {NULL, NULL};
    struct credential c;
    if (size == 0 || !credential_parse(&c, secret_text))
        return 0;
    enum scram_mechanism mechanism = data[0] & 2 ? SCRAM_SHA_256_PLUS : SCRAM_SHA_256;
    struct scram_binding binding = {(const uint8_t *)"0123456789abcdef0123456789abcdef",
                                    data[0] & 4 ? 32 : 0};
    struct scram_keys keys = {.secret = c.scram};
    memcpy(keys.client_key, pencil_client_key, sizeof(pencil_client_key));
    if (data[0] & 1)
        s.client = scram_client_new(&(struct scram_client_params){
            .mechanism = mechanism, .binding = binding, .keys = &keys, .test_nonce = "rOprNGfwEbeRWgbNEkqO"});
    else
        s.server =
            scram_server_new(&(struct scram_server_params){.mechanism = mechanism,
                                                           .binding = binding,
                                                           .user = "user",
                                                           .credential = data[0] & 8 ? NULL : &c,
                                                           .iterations = 4096,
                                                           .process_secret = process_secret,
                                                           .test_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"});
    if (s.server != NULL || s.client != NULL)
        feed(&s, data + 1, size - 1);
    scram_server_free(s.server);
    scram_client_free(s.client);
    credential_wipe(&c);
    return 0;
}
