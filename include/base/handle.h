/*
 * handle.h - table of (index, generation) handles for objects of one thread.
 *
 * What crosses threads is a handle, never a pointer: the owner looks it up and
 * gets NULL when the object has gone, even if its place is used again.
 * A handle is never 0. One thread owns a table; there is no lock.
 */
#ifndef BASE_HANDLE_H
#define BASE_HANDLE_H

#include <stdint.h>

#include "base/compiler.h"

struct handle_entry {
    void *object;        /* NULL when free */
    uint32_t generation; /* grows at each free */
    uint32_t next_free;  /* index + 1 of the next free entry, 0 at the end */
};

struct handle_table {
    struct handle_entry *entries;
    uint32_t capacity;
    uint32_t used;       /* high-water mark */
    uint32_t first_free; /* index + 1, 0 when none */
    uint32_t count;      /* objects in the table */
};

void handle_table_init(struct handle_table *t);
void handle_table_destroy(struct handle_table *t);
/* New handle for object, or 0 when memory is out. */
uint64_t handle_new(struct handle_table *t, void *object) must_check;
/* The object, or NULL when the handle is stale. */
void *handle_get(const struct handle_table *t, uint64_t handle) must_check;
/* A stale handle is ignored. */
void handle_free(struct handle_table *t, uint64_t handle);
/* Index part, dense and small; see also handle_at(). */
static inline uint32_t handle_index(uint64_t handle)
{
    return (uint32_t)handle;
}
/* Object at an index or NULL; for walking: 0 <= index < t->used. */
void *handle_at(const struct handle_table *t, uint32_t index) must_check;

#endif
