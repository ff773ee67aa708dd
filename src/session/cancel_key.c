/*
 * cancel_key.c - cancel keys: their layout, and the table from key to client.
 *
 * Threads: see cancel_key.h.
 */
#include "session/cancel_key.h"

#include <stdlib.h>

#include "base/hash.h"

#define FIRST_CAPACITY 64u

uint64_t cancel_key_make(uint64_t random, int worker, int peer_id)
{
    const uint64_t head_bits = (uint64_t)0xfe << 56, peer_bits = (uint64_t)0xffff << 40;
    uint64_t key = (random & ~head_bits) | (uint64_t)worker << 57;

    if (peer_id > 0)
        key = (key & ~peer_bits) | (uint64_t)(peer_id & 0xff) << 48 | (uint64_t)(peer_id >> 8) << 40 |
              CANCEL_KEY_HOPS;
    if (cancel_key_may_be_servers(key))
        key |= (uint64_t)1 << 56;
    return key;
}

bool cancel_key_make_servers(uint64_t random, uint32_t pid, int peer_id, uint64_t *key)
{
    *key = (uint64_t)pid << 32 | (uint32_t)random;
    if (peer_id > 0)
        *key = cancel_key_original(*key);
    return pid != 0 && (peer_id == 0 || cancel_key_may_be_servers(*key));
}

void cancel_table_init(struct cancel_table *t)
{
    *t = (struct cancel_table){0};
}

void cancel_table_destroy(struct cancel_table *t)
{
    free(t->entries);
    cancel_table_init(t);
}

static uint32_t home(const struct cancel_table *t, uint64_t key)
{
    return (uint32_t)hash_bytes(&key, sizeof(key)) & (t->capacity - 1);
}

/* Where the key is, or the free place where it would be put. */
static uint32_t place(const struct cancel_table *t, uint64_t key)
{
    uint32_t i = home(t, key);
    while (t->entries[i].key != 0 && t->entries[i].key != key)
        i = (i + 1) & (t->capacity - 1);
    return i;
}

static bool grow(struct cancel_table *t)
{
    struct cancel_table larger = {.capacity = t->capacity == 0 ? FIRST_CAPACITY : t->capacity * 2,
                                  .count = t->count};
    larger.entries = calloc(larger.capacity, sizeof(*larger.entries));
    if (larger.entries == NULL)
        return false;
    for (uint32_t i = 0; i < t->capacity; i++)
        if (t->entries[i].key != 0)
            larger.entries[place(&larger, t->entries[i].key)] = t->entries[i];
    free(t->entries);
    *t = larger;
    return true;
}

bool cancel_table_add(struct cancel_table *t, uint64_t key, uint64_t handle)
{
    if (t->count >= t->capacity / 2 && !grow(t))
        return false;
    struct cancel_entry *e = &t->entries[place(t, key)];
    if (e->key != 0)
        return false;
    *e = (struct cancel_entry){.key = key, .handle = handle};
    t->count++;
    return true;
}

uint64_t cancel_table_find(const struct cancel_table *t, uint64_t key)
{
    return t->capacity == 0 || key == 0 ? 0 : t->entries[place(t, key)].handle;
}

void cancel_table_remove(struct cancel_table *t, uint64_t key)
{
    if (t->capacity == 0 || key == 0)
        return;
    uint32_t mask = t->capacity - 1, hole = place(t, key);
    if (t->entries[hole].key == 0)
        return;
    t->count--;
    /* who stands behind the hole, but would rather be in it or before it, moves up */
    for (uint32_t i = (hole + 1) & mask; t->entries[i].key != 0; i = (i + 1) & mask) {
        uint32_t wish = home(t, t->entries[i].key);
        if (((i - wish) & mask) >= ((i - hole) & mask)) {
            t->entries[hole] = t->entries[i];
            hole = i;
        }
    }
    t->entries[hole] = (struct cancel_entry){0};
}
