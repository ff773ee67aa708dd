/*
 * failures.c - failed logins, counted per address and user.
 *
 * Sets of WAYS entries; a key has its place in one set, so a flood of made-up names pushes out only what is
 * older there. The address has an entry of its own, which is pushed out as little as any other.
 *
 * A count is of failures with less than the period between them; it ends with the period. A block is that the
 * count has reached the limit; more tries while it lasts do not make it longer, as they are not looked at.
 *
 * Threads: any; nothing but the table under the lock.
 */
#include "session/failures.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/lock.h"
#include "base/mem.h"
#include "session/crowd.h"

#define SETS 4096u
#define WAYS 4u

struct failure {
    uint64_t key; /* 0 = free */
    int64_t last_us;
    int count;
};

struct failures {
    struct lock lock;
    struct failure sets[SETS][WAYS]; /* [lock] */
};

struct failures *failures_new(void)
{
    struct failures *f = xcalloc(1, sizeof(*f));
    lock_init(&f->lock, LOCK_RANK_LEAF);
    return f;
}

void failures_free(struct failures *f)
{
    lock_destroy(&f->lock);
    free(f);
}

struct failure_key failure_key(int family, const uint8_t *addr, const char *user)
{
    uint64_t address = address_key(family, addr);

    return (struct failure_key){.address = address,
                                .both = (hash_bytes(user, strlen(user)) ^ address << 1) | 1};
}

/* [lock] What is known of the key, or NULL. */
static struct failure *find(struct failures *f, uint64_t key, int64_t period_us, int64_t now_us)
{
    struct failure *set = f->sets[(key >> 8) % SETS];

    for (size_t i = 0; i < WAYS; i++)
        if (set[i].key == key)
            return now_us - set[i].last_us < period_us ? &set[i] : NULL;
    return NULL;
}

/* [lock] Counts one more; returns the count. */
static int count(struct failures *f, uint64_t key, int64_t period_us, int64_t now_us)
{
    struct failure *set = f->sets[(key >> 8) % SETS], *e = &set[0];

    for (size_t i = 0; i < WAYS && e->key != key; i++)
        if (set[i].key == key || set[i].last_us < e->last_us)
            e = &set[i];
    if (e->key != key || now_us - e->last_us >= period_us)
        *e = (struct failure){.key = key};
    e->last_us = now_us;
    return ++e->count;
}

bool failures_are_blocked(struct failures *f, const struct failure_key *key,
                          const struct failure_limits *limits, int64_t now_us)
{
    if (limits->limit <= 0)
        return false;
    lock_acquire(&f->lock);
    const struct failure *both = find(f, key->both, limits->period_us, now_us);
    const struct failure *address = find(f, key->address, limits->period_us, now_us);
    bool is_blocked = (both != NULL && both->count >= limits->limit) ||
                      (address != NULL && address->count / FAILURE_USERS >= limits->limit);
    lock_release(&f->lock);
    return is_blocked;
}

struct failure_verdict failures_note(struct failures *f, const struct failure_key *key,
                                     const struct failure_limits *limits, int64_t now_us)
{
    lock_acquire(&f->lock);
    int both = count(f, key->both, limits->period_us, now_us);
    int address = count(f, key->address, limits->period_us, now_us);
    lock_release(&f->lock);
    return (struct failure_verdict){
        .delay_us = both > 1 || address > FAILURE_USERS ? limits->delay_us : 0, /* all mistype once */
        .user_blocked = limits->limit > 0 && both == limits->limit,
        .address_blocked = limits->limit > 0 && address == limits->limit * FAILURE_USERS,
    };
}

void failures_forgive(struct failures *f, const struct failure_key *key)
{
    lock_acquire(&f->lock);
    struct failure *e = find(f, key->both, INT64_MAX, 0);
    if (e != NULL)
        *e = (struct failure){0};
    lock_release(&f->lock);
}

void failures_forget(struct failures *f)
{
    lock_acquire(&f->lock);
    memset(f->sets, 0, sizeof(f->sets));
    lock_release(&f->lock);
}
