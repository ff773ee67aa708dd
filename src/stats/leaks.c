/*
 * leaks.c - see leaks.h.
 *
 * Threads: any.
 */
#include "stats/leaks.h"

#include <string.h>

void leaks_init(struct leaks *l)
{
    memset(l, 0, sizeof(*l));
    lock_init(&l->lock, LOCK_RANK_LEAF);
}

void leaks_destroy(struct leaks *l)
{
    lock_destroy(&l->lock);
}

static bool is_same(const struct leak *a, const struct leak *b)
{
    return a->fingerprint == b->fingerprint && a->reason == b->reason &&
           strcmp(a->application, b->application) == 0 && strcmp(a->database, b->database) == 0 &&
           strcmp(a->user, b->user) == 0;
}

/* [lock] A place for a new one: of the least seen, and of those of the longest ago. */
static struct leak *make_place(struct leaks *l)
{
    struct leak *least = &l->entries[0];

    if (l->n < LEAKS_MAX)
        return &l->entries[l->n++];
    for (int i = 1; i < l->n; i++) {
        struct leak *e = &l->entries[i];
        if (e->count < least->count || (e->count == least->count && e->last_wall_us < least->last_wall_us))
            least = e;
    }
    return least;
}

bool leaks_note(struct leaks *l, const struct leak *leak, int64_t wall_us)
{
    struct leak *found = NULL;
    bool is_first = true;

    lock_acquire(&l->lock);
    for (int i = 0; i < l->n && found == NULL; i++) {
        struct leak *e = &l->entries[i];
        if (e->reason == leak->reason && strcmp(e->application, leak->application) == 0)
            is_first = false;
        if (is_same(e, leak))
            found = e;
    }
    if (found != NULL) {
        found->count += leak->count;
        found->abandoned += leak->abandoned;
    } else {
        found = make_place(l);
        *found = *leak;
    }
    found->last_wall_us = wall_us;
    lock_release(&l->lock);
    return is_first;
}

bool leaks_read(struct leaks *l, int i, struct leak *out)
{
    lock_acquire(&l->lock);
    bool is_there = i < l->n;
    if (is_there)
        *out = l->entries[i];
    lock_release(&l->lock);
    return is_there;
}
