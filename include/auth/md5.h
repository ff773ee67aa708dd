/*
 * md5.h - PostgreSQL's md5 login (AuthenticationMD5Password), both sides.
 *
 * The answer to a challenge is "md5" + hex(md5(hex(md5(password + user)) + salt)).
 * Every function fails where the OpenSSL library has no md5 (FIPS mode).
 */
#ifndef AUTH_MD5_H
#define AUTH_MD5_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/credential.h"
#include "base/compiler.h"

#define MD5_TEXT_BYTES 36 /* "md5", 32 hex digits, NUL */
#define MD5_SALT_BYTES 4

/* The stored form of a password: "md5" + hex(md5(password + user)). */
bool md5_make_secret(const char *password, const char *user, char out[MD5_TEXT_BYTES]) must_check;
/* Our answer when PostgreSQL asks; from CREDENTIAL_PLAIN or CREDENTIAL_MD5, false with any other. */
bool md5_make_response(const struct credential *c, const char *user, const uint8_t salt[MD5_SALT_BYTES],
                       char out[MD5_TEXT_BYTES]) must_check;
/* Checks a client's answer. CREDENTIAL_NONE and CREDENTIAL_SCRAM never match. */
enum credential_match md5_check_response(const struct credential *c, const char *user,
                                         const uint8_t salt[MD5_SALT_BYTES], const char *response) must_check;

#endif
