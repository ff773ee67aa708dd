/*
 * saslprep_int.h - preparing a password for SCRAM (RFC 4013), as PostgreSQL does it.
 */
#ifndef AUTH_SASLPREP_INT_H
#define AUTH_SASLPREP_INT_H

#include "base/compiler.h"

/*
 * The prepared password, or the password itself where it is ASCII only, not UTF-8, holds prohibited or
 * unassigned characters, would become empty, or where we are built without libidn.
 * Free with secret_free(). NULL when memory is out.
 */
char *saslprep_password(const char *password) must_check;

#endif
