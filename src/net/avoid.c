/*
 * avoid.c - addresses and hosts that failed lately, or are not what somebody wants.
 *
 * They are tried last, never left out: a mark can cost time, but no connection. The
 * table has a fixed size; where it is full, the mark that would end first goes.
 *
 * Threads: any. avoid_lock (a leaf) protects the table.
 */
#include "base/lock.h"
#include "hosts_int.h"

#define GROUPS          256u
#define MARKS_PER_GROUP 4

struct mark {
    uint64_t key; /* 0 = free */
    int64_t until_us;
};

static struct lock avoid_lock = LOCK_INITIALIZER(LOCK_RANK_LEAF);
static struct mark marks[GROUPS][MARKS_PER_GROUP]; /* [avoid_lock] */

static uint64_t key_of(uint64_t endpoint, uint32_t wanted)
{
    return endpoint ^ wanted * UINT64_C(0x9e3779b97f4a7c15);
}

/* [avoid_lock] The place of the key, or NULL. */
static struct mark *find_locked(uint64_t key)
{
    struct mark *group = marks[key % GROUPS];
    for (int i = 0; i < MARKS_PER_GROUP; i++)
        if (group[i].key == key)
            return &group[i];
    return NULL;
}

void avoid_add(uint64_t endpoint, uint32_t wanted, int64_t until_us)
{
    uint64_t key = key_of(endpoint, wanted);

    lock_acquire(&avoid_lock);
    struct mark *m = find_locked(key);
    if (m == NULL) {
        m = marks[key % GROUPS];
        for (int i = 1; i < MARKS_PER_GROUP; i++)
            if (marks[key % GROUPS][i].until_us < m->until_us)
                m = &marks[key % GROUPS][i];
    }
    *m = (struct mark){key, until_us};
    lock_release(&avoid_lock);
}

void avoid_remove(uint64_t endpoint, uint32_t wanted)
{
    lock_acquire(&avoid_lock);
    struct mark *m = find_locked(key_of(endpoint, wanted));
    if (m != NULL)
        *m = (struct mark){0};
    lock_release(&avoid_lock);
}

bool avoid_has(uint64_t endpoint, uint32_t wanted, int64_t now_us)
{
    lock_acquire(&avoid_lock);
    const struct mark *all = find_locked(key_of(endpoint, 0));
    const struct mark *some = wanted != 0 ? find_locked(key_of(endpoint, wanted)) : NULL;
    bool is_there = (all != NULL && all->until_us > now_us) || (some != NULL && some->until_us > now_us);
    lock_release(&avoid_lock);
    return is_there;
}
