/*
 * obstacle.c - why a client has got no server.
 *
 * The order is that of what an operator would have to change first. Looked at when a wait is over, so
 * the pool may be in no ring any more: whether a limit keeps it from connecting is seen from the limit
 * itself.
 *
 * Threads: any; nothing is kept here.
 */
#include "pool/obstacle.h"

#include <stdio.h>

#include "pool/registry.h"

static const struct {
    const char *detail;
    const char *hint;
} rows[OBSTACLES] = {
    [OBSTACLE_BUSY] = {"All server connections of the pool were busy.",
                       "See SHOW POOLS; raise pool_size or shorten transactions."},
    [OBSTACLE_PAUSED] = {"The pool is paused: no client gets a server connection.",
                         "RESUME on the admin console ends the pause."},
    [OBSTACLE_DATABASE_LIMIT] =
        {"All server connections that the database may have (max_db_connections) were in use.",
         "See SHOW DATABASES and SHOW POOLS; raise max_db_connections, or have fewer in other pools of the "
         "database."},
    [OBSTACLE_USER_LIMIT] =
        {"All server connections that the user may have (max_user_connections) were in use.",
         "See SHOW USERS and SHOW POOLS; raise max_user_connections, or have fewer in other pools of the "
         "user."},
    [OBSTACLE_UNREACHABLE] = {NULL, "See whether PostgreSQL is running and accepts connections."},
    [OBSTACLE_CONNECTING] = {"No connection to the server has been established yet.",
                             "See whether PostgreSQL is running and accepts connections."},
};

static bool is_full(struct limits *l)
{
    int max = atomic_load(&l->max);
    return max > 0 && atomic_load(&l->count) >= max;
}

static enum pool_obstacle find_locked(struct pool *pool)
{
    bool has_room = pool->nslots < pool->config.limit + pool->config.reserve;

    if (pool->is_paused)
        return OBSTACLE_PAUSED;
    if (has_room && is_full(&pool->database->limits))
        return OBSTACLE_DATABASE_LIMIT;
    if (has_room && is_full(&pool->user->limits))
        return OBSTACLE_USER_LIMIT;
    if (pool->last_error[0] != '\0')
        return OBSTACLE_UNREACHABLE;
    return pool->nslots == pool->count[SLOT_CONNECTING] ? OBSTACLE_CONNECTING : OBSTACLE_BUSY;
}

enum pool_obstacle pool_obstacle(struct pool *pool, char error[POOL_ERROR_BYTES])
{
    lock_acquire(&pool->lock);
    enum pool_obstacle o = find_locked(pool);
    snprintf(error, POOL_ERROR_BYTES, "%s", o == OBSTACLE_UNREACHABLE ? pool->last_error : "");
    lock_release(&pool->lock);
    return o;
}

bool pool_failed_before(struct pool *pool, int64_t time_us)
{
    lock_acquire(&pool->lock);
    bool has_failed = pool->failed_us != 0 && pool->failed_us < time_us;
    lock_release(&pool->lock);
    return has_failed;
}

const char *obstacle_detail(enum pool_obstacle o)
{
    return rows[o].detail;
}

const char *obstacle_hint(enum pool_obstacle o)
{
    return rows[o].hint;
}
