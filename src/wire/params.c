/*
 * params.c - sets of run-time parameters: shared, immutable, equal ones the same pointer.
 *
 * A set is an array of (name, value) pairs of interned strings, sorted by name without
 * case, in a hash table of all sets. Nothing is allocated or freed under its
 * lock: a set is built unlocked, then exchanged for the one in the table if there is one.
 *
 * Invariant: a set in the table has refs >= 1 outside the table's lock. The count falls
 * from 1 to 0 only under the lock, and a lookup raises it only under the lock, so that
 * the last params_unref() and a lookup of an equal set cannot cross. The empty set is
 * static and in no table.
 *
 * Threads: any. Lock: sets_lock (LOCK_RANK_LEAF).
 * Not here: what PostgreSQL makes of a value (params_canonical.c), the SQL (params_sql.c).
 */
#include "wire/params.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "base/intern.h"
#include "base/lock.h"
#include "base/refs.h"
#include "wire/codec.h"

#define SETS_BUCKETS 4096

struct param {
    struct istr *name;
    struct istr *value;
};

struct params {
    /* constant */
    uint64_t hash; /* of the items: interned, so that pointers stand for texts */
    uint32_t count;

    /* [atomic]; 1 -> 0 under sets_lock only */
    _Atomic uint32_t refs;

    /* [sets_lock] */
    struct params *next;

    /* constant; each holds a reference */
    struct param items[];
};

static struct params empty_set = {.refs = 1};

static struct lock sets_lock = LOCK_INITIALIZER(LOCK_RANK_LEAF);
static struct params *sets[SETS_BUCKETS]; /* [sets_lock] */
static uint32_t set_count;                /* [sets_lock] */

/* Parameters that PostgreSQL reports, in its spelling, where that has capitals. */
static const char *const known_spellings[] = {"DateStyle", "IntervalStyle", "TimeZone"};

/* What the server only tells. */
static const char *const read_only_names[] = {
    "server_version", "server_encoding",       "integer_datetimes",
    "is_superuser",   "session_authorization", "in_hot_standby",
};

/* ------------------------------------------------------------------ */
/* References                                                         */

struct params *params_empty(void)
{
    return &empty_set;
}

struct params *params_ref(struct params *p)
{
    if (p && p != &empty_set)
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

static void unlink_locked(struct params *p)
{
    struct params **link = &sets[p->hash % SETS_BUCKETS];
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
    p->next = NULL;
    set_count--;
}

/* Frees a set that is in no table. */
static void destroy(struct params *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        istr_unref(p->items[i].name);
        istr_unref(p->items[i].value);
    }
    free(p);
}

void params_unref(struct params *p)
{
    if (!p || p == &empty_set || refs_drop_unless_last(&p->refs))
        return;

    /* It looked like the last reference; a lookup may still take one before we hold the lock. */
    lock_acquire(&sets_lock);
    bool is_last = refs_drop_locked(&p->refs);
    if (is_last)
        unlink_locked(p);
    lock_release(&sets_lock);
    if (is_last)
        destroy(p);
}

/* ------------------------------------------------------------------ */
/* Building                                                           */

static struct params *find_locked(const struct params *like)
{
    for (struct params *p = sets[like->hash % SETS_BUCKETS]; p; p = p->next) {
        if (p->hash == like->hash && p->count == like->count &&
            memcmp(p->items, like->items, like->count * sizeof(like->items[0])) == 0)
            return p;
    }
    return NULL;
}

/* Gives the set that equals fresh, with a reference; takes fresh. */
static struct params *intern(struct params *fresh)
{
    if (fresh->count == 0) {
        destroy(fresh);
        return params_empty();
    }
    fresh->hash = hash_bytes(fresh->items, fresh->count * sizeof(fresh->items[0]));
    lock_acquire(&sets_lock);
    struct params *p = find_locked(fresh);
    if (p) {
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    } else {
        p = fresh;
        p->next = sets[p->hash % SETS_BUCKETS];
        sets[p->hash % SETS_BUCKETS] = p;
        set_count++;
    }
    lock_release(&sets_lock);
    if (p != fresh)
        destroy(fresh);
    return p;
}

static struct params *alloc_set(uint32_t max_count)
{
    struct params *p = malloc(sizeof(*p) + max_count * sizeof(p->items[0]));
    if (p) {
        p->count = 0;
        p->next = NULL;
        atomic_init(&p->refs, 1);
    }
    return p;
}

static void append_shared(struct params *p, const struct param *item)
{
    p->items[p->count++] = (struct param){istr_ref(item->name), istr_ref(item->value)};
}

/* Where name is, or would be. */
static uint32_t position(const struct params *p, const char *name, bool *is_there)
{
    uint32_t low = 0, high = p->count;
    *is_there = false;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = strcasecmp(name, istr_cstr(p->items[middle].name));
        if (order == 0) {
            *is_there = true;
            return middle;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static const char *spelling(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(known_spellings); i++) {
        if (strcasecmp(name, known_spellings[i]) == 0)
            return known_spellings[i];
    }
    return name;
}

/* The pair for a name that p has at index i (is_there) or has not. False when memory is out. */
static bool make_item(const struct params *p, uint32_t i, bool is_there, const char *name, const char *value,
                      struct param *item)
{
    if (is_there) {
        item->name = istr_ref(p->items[i].name);
    } else {
        const char *spelled = spelling(name);
        item->name = istr_get(spelled, (uint32_t)strlen(spelled));
    }
    item->value = istr_get(value, (uint32_t)strlen(value));
    if (item->name && item->value)
        return true;
    istr_unref(item->name);
    istr_unref(item->value);
    return false;
}

struct params *params_with(struct params *p, const char *name, const char *value)
{
    size_t name_bytes = strlen(name);
    if (name_bytes == 0 || name_bytes > PARAMS_MAX_NAME_BYTES || strlen(value) > PARAMS_MAX_VALUE_BYTES)
        return NULL;
    bool is_there;
    uint32_t at = position(p, name, &is_there);
    if (is_there && strcmp(istr_cstr(p->items[at].value), value) == 0)
        return params_ref(p);
    if (!is_there && p->count == PARAMS_MAX)
        return NULL;

    struct param item;
    if (!make_item(p, at, is_there, name, value, &item))
        return NULL;
    struct params *fresh = alloc_set(p->count + !is_there);
    if (!fresh) {
        istr_unref(item.name);
        istr_unref(item.value);
        return NULL;
    }
    for (uint32_t i = 0; i < at; i++)
        append_shared(fresh, &p->items[i]);
    fresh->items[fresh->count++] = item;
    for (uint32_t i = at + is_there; i < p->count; i++)
        append_shared(fresh, &p->items[i]);
    return intern(fresh);
}

struct params *params_without(struct params *p, const char *name)
{
    bool is_there;
    uint32_t at = position(p, name, &is_there);
    if (!is_there)
        return params_ref(p);
    struct params *fresh = alloc_set(p->count - 1);
    if (!fresh)
        return NULL;
    for (uint32_t i = 0; i < p->count; i++) {
        if (i != at)
            append_shared(fresh, &p->items[i]);
    }
    return intern(fresh);
}

struct params *params_settable(struct params *p)
{
    struct params *fresh = alloc_set(p->count);
    if (!fresh)
        return NULL;
    for (uint32_t i = 0; i < p->count; i++) {
        if (params_is_settable(params_name(p, i)))
            append_shared(fresh, &p->items[i]);
    }
    return intern(fresh);
}

/* ------------------------------------------------------------------ */
/* Reading                                                            */

const char *params_get(const struct params *p, const char *name)
{
    bool is_there;
    uint32_t i = position(p, name, &is_there);
    return is_there ? params_value(p, i) : NULL;
}

void params_memory(uint32_t *count, uint32_t *set_bytes)
{
    lock_acquire(&sets_lock);
    *count = set_count;
    lock_release(&sets_lock);
    *set_bytes = sizeof(struct params);
}

uint32_t params_count(const struct params *p)
{
    return p->count;
}

const char *params_name(const struct params *p, uint32_t i)
{
    return istr_cstr(p->items[i].name);
}

const char *params_value(const struct params *p, uint32_t i)
{
    return istr_cstr(p->items[i].value);
}

bool params_is_settable(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(read_only_names); i++) {
        if (strcasecmp(name, read_only_names[i]) == 0)
            return false;
    }
    return true;
}

void params_put_status(const struct params *p, struct buf *out)
{
    for (uint32_t i = 0; i < p->count; i++)
        wire_put_parameter_status(out, params_name(p, i), params_value(p, i));
}
