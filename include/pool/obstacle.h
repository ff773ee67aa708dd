/*
 * obstacle.h - why a client has got no server: what it is told when its time is over.
 *
 * Threads: any, no lock held.
 */
#ifndef POOL_OBSTACLE_H
#define POOL_OBSTACLE_H

#include "pool/pool.h"

enum pool_obstacle {
    OBSTACLE_BUSY, /* others had them all */
    OBSTACLE_PAUSED,
    OBSTACLE_DATABASE_LIMIT, /* the pool might have more servers, the database might not */
    OBSTACLE_USER_LIMIT,
    OBSTACLE_UNREACHABLE, /* the last connection failed */
    OBSTACLE_CONNECTING,  /* it has none yet, and none has failed */
    OBSTACLES,
};

/* What is in the way now. error: the cause with UNREACHABLE, otherwise "". */
enum pool_obstacle pool_obstacle(struct pool *pool, char error[POOL_ERROR_BYTES]);

/* Did the last attempt to connect fail, and before this time? Who came then hears of an older error. */
bool pool_failed_before(struct pool *pool, int64_t time_us);

/* A sentence for DETAIL, or NULL where error says it; and for HINT. */
const char *obstacle_detail(enum pool_obstacle o);
const char *obstacle_hint(enum pool_obstacle o);

#endif
