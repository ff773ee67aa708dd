/*
 * lock.h - mutexes with ranks.
 *
 * A thread takes locks in rising rank only, never two of one rank, and makes no
 * system call, allocation, log call or callback while it holds one. Debug builds
 * assert the ranks. src/THREADS.md holds the table.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <pthread.h>

enum lock_rank {
    LOCK_RANK_REGISTRY = 10, /* (database, user) -> pool, and what else lives in the registry */
    LOCK_RANK_POOL = 20,     /* one pool's ledger */
    LOCK_RANK_LIMITS = 30,   /* starving pools of a database or user */
    LOCK_RANK_LEAF = 40,     /* mailboxes, log ring, intern tables */
};

struct lock {
    pthread_mutex_t mutex;
    int rank;
};

/* For locks with static storage, which work before main() and need no destroy. */
#define LOCK_INITIALIZER(r)                                                                                  \
    {                                                                                                        \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .rank = (r)                                                      \
    }

void lock_init(struct lock *l, enum lock_rank rank);
void lock_destroy(struct lock *l);
void lock_acquire(struct lock *l);
void lock_release(struct lock *l);
/* Asserts, in debug builds, that this thread holds no lock of this rank or above. */
void lock_assert_below(enum lock_rank rank);
/* Asserts, in debug builds, that this thread holds the lock. */
void lock_assert_held(const struct lock *l);

#endif
