/*
 * found_user.c - what a database says of a user.
 */
#include "auth/found_user.h"

#include <stdatomic.h>
#include <stdlib.h>

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
