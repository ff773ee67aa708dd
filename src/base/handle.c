/*
 * handle.c - table of (index, generation) handles.
 *
 * A handle is generation << 32 | index. Generations begin at 1 and skip 0, so a
 * handle is never 0. The free list is LIFO: indices stay dense and small.
 * Threads: the owner of the table only.
 */
#include <stdbool.h>
#include <stdlib.h>

#include "base/handle.h"

#define HANDLE_FIRST_CAPACITY 64
#define HANDLE_MAX_CAPACITY   (UINT32_C(1) << 28)

void handle_table_init(struct handle_table *t)
{
    *t = (struct handle_table){0};
}

void handle_table_destroy(struct handle_table *t)
{
    free(t->entries);
    handle_table_init(t);
}

static bool handle_table_grow(struct handle_table *t)
{
    uint32_t capacity = t->capacity > 0 ? t->capacity * 2 : HANDLE_FIRST_CAPACITY;
    if (capacity > HANDLE_MAX_CAPACITY)
        return false;
    struct handle_entry *entries = realloc(t->entries, capacity * sizeof(*entries));
    if (entries == NULL)
        return false;
    t->entries = entries;
    t->capacity = capacity;
    return true;
}

uint64_t handle_new(struct handle_table *t, void *object)
{
    uint32_t index;
    if (t->first_free != 0) {
        index = t->first_free - 1;
        t->first_free = t->entries[index].next_free;
    } else {
        if (t->used == t->capacity && !handle_table_grow(t))
            return 0;
        index = t->used++;
        t->entries[index].generation = 1;
    }
    struct handle_entry *e = &t->entries[index];
    e->object = object;
    e->next_free = 0;
    t->count++;
    return (uint64_t)e->generation << 32 | index;
}

void *handle_get(const struct handle_table *t, uint64_t handle)
{
    uint32_t index = handle_index(handle);
    if (index >= t->used || t->entries[index].generation != (uint32_t)(handle >> 32))
        return NULL;
    return t->entries[index].object;
}

void handle_free(struct handle_table *t, uint64_t handle)
{
    if (handle_get(t, handle) == NULL)
        return;
    uint32_t index = handle_index(handle);
    struct handle_entry *e = &t->entries[index];
    e->object = NULL;
    if (++e->generation == 0)
        e->generation = 1;
    e->next_free = t->first_free;
    t->first_free = index + 1;
    t->count--;
}

void *handle_at(const struct handle_table *t, uint32_t index)
{
    return index < t->used ? t->entries[index].object : NULL;
}
