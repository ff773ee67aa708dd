/*
 * found_user.h - what a database says of a user (auth_query), or what PAM or a directory has said yes to.
 *
 * Immutable and counted: any thread that has a reference may read it.
 */
#ifndef AUTH_FOUND_USER_H
#define AUTH_FOUND_USER_H

#include <stdbool.h>

#include "auth/credential.h"

struct found_user {
    _Atomic int refs;
    bool exists;
    bool is_proved; /* the credential is the password that the client itself has given, and that was right */
    struct credential credential; /* NONE: no password, or it has expired; or there is no user */
};

/* secret may be NULL; it is when exists is false. NULL when memory is out. */
struct found_user *found_user_new(bool exists, const char *secret) must_check;
/* is_proved: password is one, whatever it looks like. NULL when memory is out. */
struct found_user *found_user_new_proved(const char *password) must_check;
struct found_user *found_user_ref(struct found_user *f);
/* Wipes it with the last reference; NULL is fine. */
void found_user_unref(struct found_user *f);

#endif
