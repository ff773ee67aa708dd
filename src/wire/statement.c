/*
 * statement.c - prepared statements of all clients, each kept once.
 *
 * A fixed array of chained buckets, in shards with a leaf lock each. Nothing is
 * allocated or freed under a lock: a statement that is missing is allocated unlocked
 * and the table searched again.
 *
 * Invariant: a statement in the table has refs >= 1 outside its shard's lock. The count
 * falls from 1 to 0 only under that lock, and a lookup raises it only under it, so
 * that the last statement_unref() and a lookup of an equal one cannot cross.
 *
 * Threads: any.
 */
#include "wire/statement.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/lock.h"
#include "base/refs.h"
#include "wire/codec.h"
#include "wire/listen_sql.h"
#include "wire/sql_session.h"

#define BUCKETS 16384
#define SHARDS  16

/* A cache line each: the shards are there to keep threads apart. */
struct shard {
    _Alignas(64) struct lock lock;
};

static struct shard shards[SHARDS] = {[0 ... SHARDS - 1] = {.lock = LOCK_INITIALIZER(LOCK_RANK_LEAF)}};
static struct statement *buckets[BUCKETS]; /* [shard lock] */
static _Atomic uint64_t total_bytes;       /* of those in the table, and of those about to be entered */
static _Atomic uint32_t total_count;
static _Atomic uint64_t last_number;

bool statement_body_is_sound(const uint8_t *body, uint32_t len_bytes)
{
    struct wire_reader r;

    wire_reader_init(&r, body, len_bytes);
    (void)wire_read_cstr(&r);
    uint32_t n_types = wire_read_u16(&r);
    (void)wire_read_bytes(&r, (size_t)n_types * 4);
    return wire_reader_done(&r);
}

static struct lock *lock_of(uint64_t hash)
{
    return &shards[hash % SHARDS].lock;
}

static struct statement **bucket_of(uint64_t hash)
{
    return &buckets[hash % BUCKETS];
}

uint64_t statement_bytes(const struct statement *s)
{
    return sizeof(*s) + s->body_bytes;
}

uint64_t statements_bytes(void)
{
    return atomic_load_explicit(&total_bytes, memory_order_relaxed);
}

/* What makes a statement what it is. */
struct identity {
    enum statement_kind kind;
    uint16_t variant;
    const uint8_t *body;
    uint32_t body_bytes;
    struct istr *settings;
    uint64_t hash;
};

static uint64_t hash_of(const struct identity *id)
{
    /* equal settings are the same pointer, so their address stands for them */
    const uint64_t rest[] = {(uintptr_t)id->settings, (uint64_t)id->kind << 16 | id->variant};
    return hash_bytes(id->body, id->body_bytes) ^ hash_bytes(rest, sizeof(rest));
}

static struct statement *find_locked(const struct identity *id)
{
    for (struct statement *s = *bucket_of(id->hash); s != NULL; s = s->next)
        if (s->hash == id->hash && s->kind == id->kind && s->variant == id->variant &&
            s->settings == id->settings && s->body_bytes == id->body_bytes &&
            memcmp(s->body, id->body, id->body_bytes) == 0)
            return s;
    return NULL;
}

static struct statement *find(const struct identity *id)
{
    struct lock *lock = lock_of(id->hash);
    lock_acquire(lock);
    struct statement *s = find_locked(id);
    if (s != NULL)
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    lock_release(lock);
    return s;
}

/* Enters fresh unless another thread was quicker; returns the one in the table, with a new reference. */
static struct statement *find_or_enter(struct statement *fresh, const struct identity *id)
{
    struct lock *lock = lock_of(fresh->hash);
    lock_acquire(lock);
    struct statement *s = find_locked(id);
    if (s != NULL) {
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    } else {
        s = fresh;
        s->next = *bucket_of(s->hash);
        *bucket_of(s->hash) = s;
    }
    lock_release(lock);
    return s;
}

/* One that is in no table. */
static void destroy(struct statement *s)
{
    atomic_fetch_sub_explicit(&total_bytes, statement_bytes(s), memory_order_relaxed);
    atomic_fetch_sub_explicit(&total_count, 1, memory_order_relaxed);
    istr_unref(s->settings);
    free(s);
}

static struct statement *make(const struct identity *id)
{
    const uint64_t bytes = sizeof(struct statement) + id->body_bytes;

    if (atomic_fetch_add_explicit(&total_bytes, bytes, memory_order_relaxed) + bytes > STATEMENTS_MAX_BYTES) {
        atomic_fetch_sub_explicit(&total_bytes, bytes, memory_order_relaxed);
        return NULL;
    }
    struct statement *s = calloc(1, bytes);
    if (s == NULL) {
        atomic_fetch_sub_explicit(&total_bytes, bytes, memory_order_relaxed);
        return NULL;
    }
    atomic_fetch_add_explicit(&total_count, 1, memory_order_relaxed);
    s->hash = id->hash;
    s->kind = (uint8_t)id->kind;
    s->variant = id->variant;
    s->number = 1 + atomic_fetch_add_explicit(&last_number, 1, memory_order_relaxed);
    s->settings = istr_ref(id->settings);
    s->body_bytes = id->body_bytes;
    s->name_bytes = (uint8_t)snprintf(s->name, sizeof(s->name), STATEMENT_PREFIX "%" PRIu64, s->number);
    atomic_init(&s->refs, 1);
    memcpy(s->body, id->body, id->body_bytes);
    s->may_listen = id->body_bytes < LISTEN_LOOK_BYTES &&
                    listen_may_have_command((const char *)s->body, id->body_bytes, true);
    s->may_notify =
        id->body_bytes < LISTEN_LOOK_BYTES && listen_may_notify((const char *)s->body, id->body_bytes);
    return s;
}

struct statement *statement_get_kind(enum statement_kind kind, uint16_t variant, const uint8_t *body,
                                     uint32_t len_bytes, struct istr *settings)
{
    struct identity id = {kind, variant, body, len_bytes, settings, 0};

    if (len_bytes > STATEMENT_MAX_BODY_BYTES)
        return NULL;
    id.hash = hash_of(&id);
    struct statement *s = find(&id);
    if (s != NULL)
        return s;
    struct statement *fresh = make(&id);
    if (fresh == NULL)
        return NULL;
    s = find_or_enter(fresh, &id);
    if (s != fresh)
        destroy(fresh);
    return s;
}

unsigned statement_look_at_text(struct statement *s)
{
    const char *text = (const char *)s->body;
    const unsigned look = sql_look(text, (uint32_t)strlen(text));

    atomic_store_explicit(&s->session_look, (uint8_t)(1 + look), memory_order_relaxed);
    return look;
}

struct statement *statement_ref(struct statement *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static void unlink_locked(struct statement *s)
{
    struct statement **link = bucket_of(s->hash);
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    s->next = NULL;
}

void statement_unref(struct statement *s)
{
    if (s == NULL || refs_drop_unless_last(&s->refs))
        return;

    /* It looked like the last one; another thread may take one before we hold the lock. */
    struct lock *lock = lock_of(s->hash);
    lock_acquire(lock);
    bool is_last = refs_drop_locked(&s->refs);
    if (is_last)
        unlink_locked(s);
    lock_release(lock);
    if (is_last)
        destroy(s);
}

/* ---- all of them ---- */

static int by_number(const void *a, const void *b)
{
    const struct statement *const *x = a, *const *y = b;
    return ((*x)->number > (*y)->number) - ((*x)->number < (*y)->number);
}

/* Those of one shard, as far as there is room. */
static uint32_t collect(uint32_t shard, struct statement **out, uint32_t room)
{
    uint32_t n = 0;

    lock_acquire(&shards[shard].lock);
    for (uint32_t b = shard; b < BUCKETS; b += SHARDS)
        for (struct statement *s = buckets[b]; s != NULL && n < room; s = s->next) {
            atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
            out[n++] = s;
        }
    lock_release(&shards[shard].lock);
    return n;
}

struct statement **statements_all(uint32_t *n)
{
    /* a few that appear meanwhile find room; more than that are left out */
    uint32_t room = atomic_load_explicit(&total_count, memory_order_relaxed) + 64;
    struct statement **all = calloc(room, sizeof(struct statement *));

    *n = 0;
    if (all == NULL)
        return NULL;
    for (uint32_t shard = 0; shard < SHARDS; shard++)
        *n += collect(shard, all + *n, room - *n);
    qsort(all, *n, sizeof(struct statement *), by_number);
    return all;
}
