/*
 * intern.c - shared immutable strings with reference counts.
 *
 * A fixed array of chained buckets, in shards with a leaf lock each. Nothing is
 * allocated or freed under a lock: a missing string is allocated unlocked and the
 * table searched again.
 *
 * Invariant: a string in the table has refs >= 1 outside its shard's lock. The
 * count falls from 1 to 0 only under that lock, and istr_get() raises it only under
 * it, so that the last istr_unref() and an istr_get() of the same text cannot cross.
 *
 * Threads: any.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/intern.h"
#include "base/lock.h"
#include "base/refs.h"

#define INTERN_BUCKETS 4096
#define INTERN_SHARDS  16

struct istr {
    /* constant */
    uint64_t hash;
    uint32_t len;

    /* [atomic]; 1 -> 0 under the shard's lock only */
    _Atomic uint32_t refs;

    /* [shard lock] */
    struct istr *next;

    /* constant */
    char text[];
};

/* A cache line each: the shards are there to keep threads apart. */
struct shard {
    _Alignas(64) struct lock lock;
};

static struct shard shards[INTERN_SHARDS] = {
    [0 ... INTERN_SHARDS - 1] = {.lock = LOCK_INITIALIZER(LOCK_RANK_LEAF)}};
static struct istr *buckets[INTERN_BUCKETS]; /* [shard lock] */

/* [atomic] of all shards, for SHOW MEM */
static _Atomic uint64_t string_count, string_bytes;

static struct lock *shard_lock(uint64_t hash)
{
    return &shards[hash % INTERN_SHARDS].lock;
}

static struct istr **bucket_of(uint64_t hash)
{
    return &buckets[hash % INTERN_BUCKETS];
}

static struct istr *find_locked(uint64_t hash, const char *s, uint32_t len)
{
    for (struct istr *i = *bucket_of(hash); i != NULL; i = i->next)
        if (i->hash == hash && i->len == len && (len == 0 || memcmp(i->text, s, len) == 0))
            return i;
    return NULL;
}

static struct istr *get_existing(uint64_t hash, const char *s, uint32_t len)
{
    struct lock *lock = shard_lock(hash);
    lock_acquire(lock);
    struct istr *found = find_locked(hash, s, len);
    if (found != NULL)
        atomic_fetch_add_explicit(&found->refs, 1, memory_order_relaxed);
    lock_release(lock);
    return found;
}

/* One string more (sign 1) or less (-1) in the table. */
static void count_string(const struct istr *s, int sign)
{
    uint64_t bytes = sizeof(*s) + s->len + 1;

    atomic_fetch_add_explicit(&string_count, sign > 0 ? 1 : UINT64_MAX, memory_order_relaxed);
    atomic_fetch_add_explicit(&string_bytes, sign > 0 ? bytes : 0 - bytes, memory_order_relaxed);
}

/* Enters fresh unless another thread was quicker; returns the one in the table, with a new reference. */
static struct istr *get_or_insert(struct istr *fresh)
{
    struct lock *lock = shard_lock(fresh->hash);
    lock_acquire(lock);
    struct istr *winner = find_locked(fresh->hash, fresh->text, fresh->len);
    if (winner != NULL) {
        atomic_fetch_add_explicit(&winner->refs, 1, memory_order_relaxed);
    } else {
        struct istr **bucket = bucket_of(fresh->hash);
        fresh->next = *bucket;
        *bucket = fresh;
        winner = fresh;
        count_string(fresh, 1);
    }
    lock_release(lock);
    return winner;
}

struct istr *istr_get(const char *s, uint32_t len)
{
    uint64_t hash = hash_bytes(s, len);
    struct istr *found = get_existing(hash, s, len);
    if (found != NULL)
        return found;

    struct istr *fresh = malloc(sizeof(*fresh) + (size_t)len + 1);
    if (fresh == NULL)
        return NULL;
    fresh->hash = hash;
    fresh->len = len;
    fresh->next = NULL;
    atomic_init(&fresh->refs, 1);
    if (len > 0)
        memcpy(fresh->text, s, len);
    fresh->text[len] = '\0';

    found = get_or_insert(fresh);
    if (found != fresh)
        free(fresh);
    return found;
}

struct istr *istr_ref(struct istr *s)
{
    if (s != NULL)
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static void unlink_locked(struct istr *s)
{
    struct istr **link = bucket_of(s->hash);
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    s->next = NULL;
}

void istr_unref(struct istr *s)
{
    if (s == NULL || refs_drop_unless_last(&s->refs))
        return;

    /* It looked like the last one; another thread may take one before we hold the lock. */
    struct lock *lock = shard_lock(s->hash);
    lock_acquire(lock);
    bool is_last = refs_drop_locked(&s->refs);
    if (is_last)
        unlink_locked(s);
    lock_release(lock);
    if (!is_last)
        return;
    count_string(s, -1);
    free(s);
}

void istr_memory(uint64_t *strings, uint64_t *bytes)
{
    *strings = atomic_load_explicit(&string_count, memory_order_relaxed);
    *bytes = atomic_load_explicit(&string_bytes, memory_order_relaxed);
}

const char *istr_cstr(const struct istr *s)
{
    return s->text;
}

uint32_t istr_len(const struct istr *s)
{
    return s->len;
}
