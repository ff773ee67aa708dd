/*
 * credential.h - what is known about the password of one user.
 *
 * The text comes from the user list or from pg_authid.rolpassword (auth_query)
 * and is classified as PostgreSQL does it (get_password_type).
 * Threads: none of its own; an unchanged credential may be read by all.
 */
#ifndef AUTH_CREDENTIAL_H
#define AUTH_CREDENTIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

#define SCRAM_KEY_BYTES      32
#define SCRAM_SALT_BYTES     16  /* of the salts that we make, as in PostgreSQL */
#define SCRAM_SALT_MAX       128 /* of the salts that we accept */
#define SCRAM_ITERATIONS_MAX 10000000

/* What a SCRAM server must know: no password follows from it. */
struct scram_secret {
    uint32_t iterations; /* 1..SCRAM_ITERATIONS_MAX */
    uint32_t salt_len;   /* 1..SCRAM_SALT_MAX */
    uint8_t salt[SCRAM_SALT_MAX];
    uint8_t stored_key[SCRAM_KEY_BYTES];
    uint8_t server_key[SCRAM_KEY_BYTES];
};

enum credential_kind {
    CREDENTIAL_NONE,  /* no password: login with a password always fails */
    CREDENTIAL_PLAIN, /* secret is the password */
    CREDENTIAL_MD5,   /* secret is "md5" and 32 lower-case hex digits of md5(password + user) */
    CREDENTIAL_SCRAM, /* secret is "SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey"; scram is set */
};

struct credential {
    enum credential_kind kind;
    char *secret;              /* own copy of the text as it was read; NULL when there is none */
    struct scram_secret scram; /* all zero unless kind is CREDENTIAL_SCRAM */
};

/*
 * Sets *c (which is overwritten, not freed) from a secret text; NULL and "" give CREDENTIAL_NONE.
 * A malformed "md5..." or "SCRAM-SHA-256$..." is a plain password, as in PostgreSQL. A well-formed
 * SCRAM secret outside our limits (iterations, length of the salt) is CREDENTIAL_NONE: neither it
 * nor its text as a password lets anyone in. False when memory is out; *c is then CREDENTIAL_NONE.
 */
bool credential_parse(struct credential *c, const char *secret) must_check;
/* Wipes and frees; *c is CREDENTIAL_NONE afterwards. */
void credential_wipe(struct credential *c);

enum credential_match { CREDENTIAL_MATCH, CREDENTIAL_MISMATCH, CREDENTIAL_ERR };

/*
 * Is this the user's password? For clients that send it in the clear (auth_type plain, HBA password).
 * An empty password never matches. CREDENTIAL_ERR: memory is out or the library has no such digest.
 * For CREDENTIAL_SCRAM this takes as long as the secret's iterations (milliseconds).
 */
enum credential_match credential_check_password(const struct credential *c, const char *user,
                                                const char *password) must_check;

#endif
