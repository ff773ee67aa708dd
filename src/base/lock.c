/*
 * lock.c - mutexes with ranks.
 *
 * Debug builds keep, per thread, the locks that it holds, and assert that they
 * are taken in rising rank. Other builds are plain mutexes.
 */
#include "config.h"

#include <stdlib.h>

#include "base/compiler.h"
#include "base/lock.h"

#ifdef PGSLUICE_DEBUG

#define LOCK_MAX_HELD 8

static _Thread_local const struct lock *held[LOCK_MAX_HELD];
static _Thread_local int nheld;

static void held_add(const struct lock *l)
{
    assert(nheld < LOCK_MAX_HELD);
    held[nheld++] = l;
}

static int held_find(const struct lock *l)
{
    for (int i = 0; i < nheld; i++)
        if (held[i] == l)
            return i;
    return -1;
}

/* Locks may be released in any order; the order of the rest stays. */
static void held_remove(const struct lock *l)
{
    int i = held_find(l);
    assert(i >= 0);
    nheld--;
    for (; i < nheld; i++)
        held[i] = held[i + 1];
}

static void assert_below(int rank)
{
    for (int i = 0; i < nheld; i++)
        assert(held[i]->rank < rank);
}

static void assert_held(const struct lock *l)
{
    assert(held_find(l) >= 0);
}

#else

static inline void held_add(const struct lock *l)
{
    (void)l;
}

static inline void held_remove(const struct lock *l)
{
    (void)l;
}

static inline void assert_below(int rank)
{
    (void)rank;
}

static inline void assert_held(const struct lock *l)
{
    (void)l;
}

#endif

void lock_init(struct lock *l, enum lock_rank rank)
{
    if (pthread_mutex_init(&l->mutex, NULL) != 0)
        abort();
    l->rank = rank;
}

void lock_destroy(struct lock *l)
{
    if (pthread_mutex_destroy(&l->mutex) != 0)
        abort(); /* still held */
}

void lock_acquire(struct lock *l)
{
    assert_below(l->rank);
    if (unlikely(pthread_mutex_lock(&l->mutex) != 0))
        abort();
    held_add(l);
}

void lock_release(struct lock *l)
{
    held_remove(l);
    if (unlikely(pthread_mutex_unlock(&l->mutex) != 0))
        abort();
}

void lock_assert_below(enum lock_rank rank)
{
    assert_below((int)rank);
}

void lock_assert_held(const struct lock *l)
{
    assert_held(l);
}
