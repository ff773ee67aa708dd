/*
 * lookup_table.c - answers to auth_query, and who waits for them.
 *
 * Bounded: beyond MAX_ENTRIES the answer that was asked for longest ago goes, so that names which somebody
 * makes up cost no more than that. Entries under way are as many as there are logins.
 *
 * Threads: any. Nothing is allocated, freed or posted under the lock.
 * Not here: asking (lookup.c).
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "session/lookup.h"

#define BUCKETS      4096u
#define MAX_ENTRIES  20000
#define DOUBT_AGE_US USEC_PER_SEC /* guessing makes us ask no more often than this */

struct lookup_entry {
    /* constant */
    const struct pool *pool;
    char *query;
    char *user;
    uint64_t hash;
    /* [lookups.lock] */
    struct lookup_entry *next; /* in its bucket */
    struct list node;          /* lookups->by_age; not while it is under way */
    struct list waiters;       /* struct mail_lookup */
    struct found_user *found;  /* NULL: no answer yet, or none that counts */
    int64_t asked_us;
    uint64_t round; /* lookups->round when it was asked */
    bool is_under_way;
};

struct lookups {
    _Atomic int usual_kind; /* enum credential_kind */
    struct lock lock;
    /* [lock] */
    struct lookup_entry *buckets[BUCKETS];
    struct list by_age; /* entries, oldest answer first */
    int count;
    uint64_t round; /* how many times all was forgotten */
};

struct lookups *lookups_new(void)
{
    struct lookups *l = xcalloc(1, sizeof(*l));

    atomic_init(&l->usual_kind, CREDENTIAL_SCRAM);
    lock_init(&l->lock, LOCK_RANK_LEAF);
    list_init(&l->by_age);
    return l;
}

static void entry_free(struct lookup_entry *e)
{
    if (e == NULL)
        return;
    found_user_unref(e->found);
    free(e->query);
    free(e->user);
    free(e);
}

void lookups_free(struct lookups *l)
{
    for (size_t i = 0; i < BUCKETS; i++)
        while (l->buckets[i] != NULL) {
            struct lookup_entry *e = l->buckets[i];
            l->buckets[i] = e->next;
            LIST_FOR_EACH_SAFE (it, &e->waiters) {
                free(list_entry(it, struct mail_lookup, node));
            }
            entry_free(e);
        }
    lock_destroy(&l->lock);
    free(l);
}

static uint64_t hash_of(const struct pool *pool, const char *query, const char *user)
{
    return hash_bytes(user, strlen(user)) ^ 3 * hash_bytes(query, strlen(query)) ^
           5 * hash_bytes(&pool, sizeof(pool));
}

/* [lock] Asked before all was forgotten: for those who wait already, and for nobody else. */
static bool is_outdated(const struct lookups *l, const struct lookup_entry *e)
{
    return e->is_under_way && e->round != l->round;
}

/* [lock] */
static struct lookup_entry *find(struct lookups *l, uint64_t hash, const struct pool *pool, const char *query,
                                 const char *user)
{
    struct lookup_entry *e = l->buckets[hash % BUCKETS];
    while (e != NULL && (e->hash != hash || e->pool != pool || strcmp(e->user, user) != 0 ||
                         strcmp(e->query, query) != 0 || is_outdated(l, e)))
        e = e->next;
    return e;
}

static struct lookup_entry *entry_new(uint64_t hash, const struct pool *pool, const char *query,
                                      const char *user)
{
    struct lookup_entry *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return NULL;
    e->pool = pool;
    e->hash = hash;
    e->query = strdup(query);
    e->user = strdup(user);
    list_init(&e->node);
    list_init(&e->waiters);
    if (e->query != NULL && e->user != NULL)
        return e;
    entry_free(e);
    return NULL;
}

/* [lock] The caller frees it. */
static void take_out(struct lookups *l, struct lookup_entry *e)
{
    struct lookup_entry **at = &l->buckets[e->hash % BUCKETS];
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    list_del(&e->node);
    l->count--;
}

/* [lock] The entry to be freed, or NULL. */
static struct lookup_entry *evict(struct lookups *l)
{
    if (l->count < MAX_ENTRIES || l->by_age.next == &l->by_age)
        return NULL;
    struct lookup_entry *e = list_entry(l->by_age.next, struct lookup_entry, node);
    take_out(l, e);
    return e;
}

/* [lock] */
static enum lookup_step ask_entry(struct lookups *l, struct lookup_entry *e, int64_t max_age_us,
                                  int64_t now_us, struct mail_lookup *waiter, struct found_user **found)
{
    if (e->is_under_way) {
        list_push_back(&e->waiters, &waiter->node);
        return LOOKUP_WAIT;
    }
    if (e->found != NULL && now_us - e->asked_us < max_age_us) {
        *found = found_user_ref(e->found);
        return LOOKUP_KNOWN;
    }
    e->is_under_way = true;
    e->round = l->round;
    list_del(&e->node);
    list_push_back(&e->waiters, &waiter->node);
    return LOOKUP_LEAD;
}

enum lookup_step lookup_ask(struct lookups *l, const struct pool *pool, const char *query, const char *user,
                            int64_t max_age_us, int64_t now_us, struct mail_lookup *waiter,
                            struct lookup_entry **entry, struct found_user **found)
{
    uint64_t hash = hash_of(pool, query, user);
    struct lookup_entry *made = NULL, *old = NULL;
    enum lookup_step step = LOOKUP_NO_MEMORY;

    lock_acquire(&l->lock);
    *entry = find(l, hash, pool, query, user);
    if (*entry != NULL)
        step = ask_entry(l, *entry, max_age_us, now_us, waiter, found);
    lock_release(&l->lock);
    if (*entry != NULL)
        return step;

    made = entry_new(hash, pool, query, user);
    if (made == NULL)
        return LOOKUP_NO_MEMORY;
    lock_acquire(&l->lock);
    *entry = find(l, hash, pool, query, user);
    if (*entry == NULL) {
        old = evict(l);
        *entry = made;
        made->next = l->buckets[hash % BUCKETS];
        l->buckets[hash % BUCKETS] = made;
        l->count++;
        made = NULL;
    }
    step = ask_entry(l, *entry, max_age_us, now_us, waiter, found);
    lock_release(&l->lock);
    entry_free(made);
    entry_free(old);
    return step;
}

void lookup_end(struct lookups *l, struct lookup_entry *e, enum lookup_outcome outcome,
                struct found_user *found, int64_t now_us)
{
    struct list waiters;
    struct found_user *old = NULL;
    struct lookup_entry *outdated = NULL;

    list_init(&waiters);
    if (found != NULL)
        (void)found_user_ref(found); /* ours, until all have got theirs: the entry may go as soon as it can */
    lock_acquire(&l->lock);
    while (e->waiters.next != &e->waiters) {
        struct list *node = e->waiters.next;
        list_del(node);
        list_push_back(&waiters, node);
    }
    if (outcome == LOOKUP_FOUND && found->credential.kind != CREDENTIAL_NONE)
        atomic_store_explicit(&l->usual_kind, (int)found->credential.kind, memory_order_relaxed);
    if (outcome == LOOKUP_FOUND) {
        old = e->found;
        e->found = found;
        e->asked_us = now_us;
    }
    if (is_outdated(l, e)) {
        outdated = e;
        take_out(l, e);
    } else {
        list_push_back(&l->by_age, &e->node);
    }
    e->is_under_way = false;
    lock_release(&l->lock);
    LIST_FOR_EACH_SAFE (it, &waiters) {
        struct mail_lookup *m = list_entry(it, struct mail_lookup, node);
        list_del(&m->node);
        m->outcome = outcome;
        m->found = found != NULL ? found_user_ref(found) : NULL;
        loop_post(m->reply_to, &m->mail);
    }
    found_user_unref(found);
    found_user_unref(old);
    entry_free(outdated);
}

void lookup_doubt(struct lookups *l, const struct pool *pool, const char *query, const char *user,
                  int64_t now_us)
{
    uint64_t hash = hash_of(pool, query, user);
    struct found_user *old = NULL;

    lock_acquire(&l->lock);
    struct lookup_entry *e = find(l, hash, pool, query, user);
    if (e != NULL && !e->is_under_way && now_us - e->asked_us >= DOUBT_AGE_US) {
        old = e->found;
        e->found = NULL;
    }
    lock_release(&l->lock);
    found_user_unref(old);
}

void lookups_forget(struct lookups *l)
{
    lock_acquire(&l->lock);
    l->round++;
    LIST_FOR_EACH_SAFE (it, &l->by_age) {
        list_entry(it, struct lookup_entry, node)->asked_us = INT64_MIN / 2;
    }
    lock_release(&l->lock);
}

enum credential_kind lookups_usual_kind(const struct lookups *l)
{
    return (enum credential_kind)atomic_load_explicit(&l->usual_kind, memory_order_relaxed);
}

const char *lookup_entry_user(const struct lookup_entry *e)
{
    return e->user;
}

const char *lookup_entry_query(const struct lookup_entry *e)
{
    return e->query;
}
