/*
 * scram.h - SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), both sides.
 *
 * Bytes in, bytes out: the caller wraps them into the SASL messages of the protocol.
 * An object lives for one login and belongs to one thread; freeing it wipes all keys.
 *
 * As in PostgreSQL: the user name inside client-first is ignored (the startup packet's
 * counts) and is empty in what we send; passwords go through SASLprep and are used as
 * they are where that fails.
 */
#ifndef AUTH_SCRAM_H
#define AUTH_SCRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/credential.h"
#include "base/buf.h"
#include "base/compiler.h"

#define SCRAM_MECHANISM_NAME      "SCRAM-SHA-256"
#define SCRAM_PLUS_MECHANISM_NAME "SCRAM-SHA-256-PLUS"

#define SCRAM_PROCESS_SECRET_BYTES 32
#define SCRAM_OLDER_MAX            3
#define SCRAM_BINDING_MAX          64   /* bytes of a certificate's hash */
#define SCRAM_CLIENT_MESSAGE_MAX   1024 /* what a client may send us, as in PostgreSQL */
#define SCRAM_SERVER_MESSAGE_MAX   4096 /* what a server may send us */

enum scram_result {
    SCRAM_OK,    /* the other side has proved itself; a server still sends what is in out */
    SCRAM_AGAIN, /* send what is in out, and give the answer to the next step */
    SCRAM_ERR,   /* over: see scram_*_error(); nothing was added to out */
};

enum scram_error {
    SCRAM_ERROR_NONE,
    SCRAM_ERROR_MEMORY,
    SCRAM_ERROR_CRYPTO,
    SCRAM_ERROR_SEQUENCE,
    SCRAM_ERROR_MALFORMED,
    SCRAM_ERROR_TOO_LONG,
    SCRAM_ERROR_GS2_FLAG,
    SCRAM_ERROR_AUTHZID,
    SCRAM_ERROR_EXTENSION,
    SCRAM_ERROR_BINDING_UNEXPECTED,
    SCRAM_ERROR_BINDING_MISSING,
    SCRAM_ERROR_BINDING_TYPE,
    SCRAM_ERROR_BINDING_DOWNGRADE,
    SCRAM_ERROR_BINDING_MISMATCH,
    SCRAM_ERROR_NONCE,
    SCRAM_ERROR_NONCE_MISMATCH,
    SCRAM_ERROR_PROOF,
    SCRAM_ERROR_PASSWORD,
    SCRAM_ERROR_NO_SECRET,
    SCRAM_ERROR_ITERATIONS,
    SCRAM_ERROR_SALT,
    SCRAM_ERROR_KEYS_DIFFER,
    SCRAM_ERROR_SERVER_REFUSED,
    SCRAM_ERROR_SERVER_SIGNATURE,
    SCRAM_ERROR_COUNT
};

enum scram_error_class {
    SCRAM_CLASS_NONE,
    SCRAM_CLASS_PROTOCOL, /* the other side broke the protocol: SQLSTATE 08P01 */
    SCRAM_CLASS_BINDING,  /* somebody may sit between the two sides: 28000 */
    SCRAM_CLASS_PASSWORD, /* login failed: 28P01; the text must not tell a client more than that */
    SCRAM_CLASS_SYSTEM,   /* memory or library: 53200 */
};

/* Static text, without a full stop, for the log and (classes PROTOCOL and BINDING) the client. */
const char *scram_error_text(enum scram_error e);
enum scram_error_class scram_error_class(enum scram_error e);

enum scram_mechanism { SCRAM_SHA_256, SCRAM_SHA_256_PLUS };

/*
 * tls-server-end-point data of the connection. Set (len > 0) wherever both sides could use
 * channel binding, even when the mechanism without it was chosen: so a downgrade is noticed.
 */
struct scram_binding {
    const uint8_t *data; /* at most SCRAM_BINDING_MAX bytes */
    size_t len;
};

/* What lets a party log in without the password, to servers with the same salt and iterations. */
struct scram_keys {
    uint8_t client_key[SCRAM_KEY_BYTES];
    struct scram_secret secret;
};

/*
 * Derives StoredKey and ServerKey from a password: takes milliseconds (4096 iterations) or more.
 * salt_len 1..SCRAM_SALT_MAX, iterations 1..SCRAM_ITERATIONS_MAX. False: out of range, memory, library.
 */
bool scram_secret_derive(struct scram_secret *secret, const char *password, const uint8_t *salt,
                         uint32_t salt_len, uint32_t iterations) must_check;

/* ---- server side: a client logs in to us ---- */

struct scram_server_params {
    enum scram_mechanism mechanism; /* the one that the client chose */
    struct scram_binding binding;   /* len > 0: we offered the PLUS mechanism */
    const char *user;               /* from the startup packet */
    /*
     * NULL, NONE and MD5 go through the whole exchange with a made-up secret and then fail like a
     * wrong password, so that nobody learns which users exist.
     */
    const struct credential *credential;
    uint32_t
        iterations; /* scram_iterations, 1..SCRAM_ITERATIONS_MAX: for PLAIN credentials and made-up secrets */
    /*
     * For a PLAIN credential: scram_server_secret() of an earlier login with it, or NULL. Without it (or
     * when its iterations differ) scram_server_new() derives the keys, which takes milliseconds.
     */
    const struct scram_secret *derived;
    /*
     * Random, made once per process. Salts of PLAIN credentials and of made-up secrets come from it and
     * the user name, so both look alike and are the same at each try and in each thread.
     */
    const uint8_t *process_secret; /* SCRAM_PROCESS_SECRET_BYTES */
    /*
     * More secrets of which any is right, during a rotation; at most SCRAM_OLDER_MAX. One salt goes to the
     * client, so of SCRAM secrets only those with the same salt and iterations can be right at a time.
     */
    const struct credential *older;
    uint32_t n_older;
    const char *test_nonce; /* tests only, NULL otherwise: instead of a random one */
};

struct scram_server;

/* What params points at is used during this call only. NULL: memory, the library, or a param out of range. */
struct scram_server *scram_server_new(const struct scram_server_params *params) must_check;
/* NULL is fine. */
void scram_server_free(struct scram_server *s);
/*
 * Takes the client's next message and appends ours to out: client-first gives server-first (AGAIN),
 * client-final gives server-final (OK). data == NULL is the initial response left out; it gives an empty
 * challenge (AGAIN). out needs about 1.5 KiB at most.
 */
enum scram_result scram_server_step(struct scram_server *s, const void *data, size_t len,
                                    struct buf *out) must_check;
enum scram_error scram_server_error(const struct scram_server *s);
/* After SCRAM_OK: the client's key from its proof, to log in to PostgreSQL with. Wipe it after use. False
 * also when the proof was of an older secret. */
bool scram_server_keys(const struct scram_server *s, struct scram_keys *keys) must_check;
/* The secret in use, for caching the keys of a PLAIN credential; NULL if made up. */
const struct scram_secret *scram_server_secret(const struct scram_server *s);

/* ---- client side: we log in to PostgreSQL ---- */

struct scram_client_params {
    enum scram_mechanism mechanism;
    struct scram_binding binding; /* len > 0 and mechanism SCRAM_SHA_256: the server offered no PLUS */
    /*
     * One of the two or both. Keys are used when the server's salt and iterations are theirs, and spare
     * the derivation; else the password; else SCRAM_ERROR_KEYS_DIFFER.
     */
    const char *password;
    const struct scram_keys *keys;
    const char *test_nonce; /* tests only, NULL otherwise: instead of a random one */
};

struct scram_client;

/* What params points at is used during this call only. NULL when memory is out. */
struct scram_client *scram_client_new(const struct scram_client_params *params) must_check;
/* NULL is fine. */
void scram_client_free(struct scram_client *c);
/*
 * The first call, with data == NULL, appends client-first (AGAIN); server-first gives client-final (AGAIN);
 * server-final gives nothing (OK: the server knows the secret too).
 */
enum scram_result scram_client_step(struct scram_client *c, const void *data, size_t len,
                                    struct buf *out) must_check;
enum scram_error scram_client_error(const struct scram_client *c);
/* After SCRAM_OK: the keys that were used, to spare the derivation at the next login. Wipe them after use. */
bool scram_client_keys(const struct scram_client *c, struct scram_keys *keys) must_check;

#endif
