/*
 * found_user.c - what a database says of a user.
 */
#include "auth/found_user.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct found_user *found_user_new(bool exists, const char *secret)
{
    struct found_user *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return NULL;
    atomic_init(&f->refs, 1);
    f->exists = exists;
    if (credential_parse(&f->credential, secret))
        return f;
    free(f);
    return NULL;
}

struct found_user *found_user_new_proved(const char *password)
{
    struct found_user *f = found_user_new(true, NULL);

    if (f == NULL)
        return NULL;
    f->is_proved = true;
    f->credential.kind = CREDENTIAL_PLAIN;
    f->credential.secret = strdup(password);
    if (f->credential.secret != NULL)
        return f;
    free(f);
    return NULL;
}

struct found_user *found_user_ref(struct found_user *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void found_user_unref(struct found_user *f)
{
    if (f == NULL || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    credential_wipe(&f->credential);
    free(f);
}
