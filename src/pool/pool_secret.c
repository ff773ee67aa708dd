/*
 * pool_secret.c - how servers of a pool are logged in to, where auth_file does not say it.
 *
 * By pool, not by user: two databases may know one name with different secrets.
 *
 * Threads: any; pool->lock.
 */
#include <string.h>

#include "auth/found_user.h"
#include "base/secret.h"
#include "pool_int.h"

static bool is_same_secret(const struct found_user *a, const struct found_user *b)
{
    return a != NULL && a->credential.kind == b->credential.kind &&
           memcmp(&a->credential.scram, &b->credential.scram, sizeof(a->credential.scram)) == 0;
}

void pool_keep_secret(struct pool *pool, struct found_user *secret, const uint8_t *client_key)
{
    struct found_user *old;

    (void)found_user_ref(secret);
    lock_acquire(&pool->lock);
    old = pool->secret;
    if (client_key != NULL)
        memcpy(pool->client_key, client_key, sizeof(pool->client_key));
    pool->has_client_key = client_key != NULL || (pool->has_client_key && is_same_secret(old, secret));
    pool->secret = secret;
    lock_release(&pool->lock);
    found_user_unref(old);
}

struct found_user *pool_secret(struct pool *pool, uint8_t *client_key, bool *has_key)
{
    struct found_user *secret = NULL;

    lock_acquire(&pool->lock);
    *has_key = pool->has_client_key;
    if (pool->secret != NULL)
        secret = found_user_ref(pool->secret);
    if (*has_key)
        memcpy(client_key, pool->client_key, sizeof(pool->client_key));
    lock_release(&pool->lock);
    return secret;
}

void pool_secret_destroy(struct pool *pool)
{
    found_user_unref(pool->secret);
    pool->secret = NULL;
    secret_wipe(pool->client_key, sizeof(pool->client_key));
}
