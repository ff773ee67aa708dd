/*
 * registry.c - (database, user) -> pool, and the databases and users themselves.
 *
 * Memory for a new pool is allocated before the lock is taken; of two threads that make the
 * same one, the second finds the first's and frees its own. Only the hash tables and
 * the array that keeps the order may grow under the lock, at logins of new pools.
 *
 * Invariant: things are only ever added, so a pointer or an index that was handed out stays right.
 * Threads: any; registry->lock (rank 10), held across limits.lock, and pool.lock in look_at_unreached().
 */
#include <stdlib.h>
#include <string.h>

/* Out of memory while adding: the element is not in the table, and its hh.tbl is NULL. */
#define HASH_NONFATAL_OOM                    1
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = (unsigned)hash_bytes(keyptr, keylen))
#include <uthash.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/secret.h"
#include "pool_int.h"

/* Growing array of pointers, in the order of making. */
struct order {
    void **items;
    int n;
    int capacity;
};

struct database_entry {
    struct pool_database database;
    UT_hash_handle hh;
};

struct user_entry {
    struct pool_user user;
    UT_hash_handle hh;
};

struct pool_key {
    const struct pool_database *database;
    const struct pool_user *user;
    uint64_t purpose; /* enum pool_purpose, as wide as the others: a key has no gaps */
};

struct pool_entry {
    struct pool pool;
    struct pool_key key;
    UT_hash_handle hh;
};

struct registry {
    int n_workers;    /* constant */
    struct lock lock; /* rank REGISTRY */
    /* [lock] */
    bool is_paused;
    struct database_entry *databases;
    struct user_entry *users;
    struct pool_entry *pools;
    struct order database_order, user_order, pool_order;
    struct pool *unreached[REGISTRY_MAX_UNREACHED]; /* of look-ups, that had no server when last looked at */
    int n_unreached;
    int n_forgotten; /* of them, that were retired */
};

struct registry *registry_new(int n_workers)
{
    struct registry *r = xcalloc(1, sizeof(*r));
    r->n_workers = n_workers;
    lock_init(&r->lock, LOCK_RANK_REGISTRY);
    return r;
}

static void database_free(struct database_entry *e)
{
    if (e == NULL)
        return;
    limits_destroy(&e->database.limits);
    free((char *)e->database.name);
    free(e);
}

static void user_free(struct user_entry *e)
{
    if (e == NULL)
        return;
    limits_destroy(&e->user.limits);
    secret_wipe(e->user.scram_client_key, sizeof(e->user.scram_client_key));
    secret_wipe(e->user.scram_server_key, sizeof(e->user.scram_server_key));
    free((char *)e->user.name);
    free(e);
}

static void pool_entry_free(struct pool_entry *e)
{
    if (e == NULL)
        return;
    pool_destroy(&e->pool);
    free((char *)e->pool.label);
    free(e);
}

void registry_destroy(struct registry *r)
{
    if (r == NULL)
        return;
    HASH_CLEAR(hh, r->pools);
    HASH_CLEAR(hh, r->databases);
    HASH_CLEAR(hh, r->users);
    for (int i = 0; i < r->pool_order.n; i++)
        pool_entry_free(r->pool_order.items[i]);
    for (int i = 0; i < r->database_order.n; i++)
        database_free(r->database_order.items[i]);
    for (int i = 0; i < r->user_order.n; i++)
        user_free(r->user_order.items[i]);
    free(r->pool_order.items);
    free(r->database_order.items);
    free(r->user_order.items);
    lock_destroy(&r->lock);
    free(r);
}

static bool order_reserve(struct order *o)
{
    int capacity = 2 * o->capacity + 16;
    void **items;

    if (o->n < o->capacity)
        return true;
    items = realloc(o->items, (size_t)capacity * sizeof(void *));
    if (items == NULL)
        return false;
    o->items = items;
    o->capacity = capacity;
    return true;
}

static struct database_entry *database_new(const char *name)
{
    struct database_entry *e = calloc(1, sizeof(*e));
    char *copy = strdup(name);

    if (e == NULL || copy == NULL) {
        free(e);
        free(copy);
        return NULL;
    }
    e->database.name = copy;
    limits_init(&e->database.limits);
    return e;
}

static struct user_entry *user_new(const char *name)
{
    struct user_entry *e = calloc(1, sizeof(*e));
    char *copy = strdup(name);

    if (e == NULL || copy == NULL) {
        free(e);
        free(copy);
        return NULL;
    }
    e->user.name = copy;
    limits_init(&e->user.limits);
    return e;
}

/* [lock] */
static struct database_entry *find_database(struct registry *r, const char *name)
{
    struct database_entry *e;
    HASH_FIND_STR(r->databases, name, e);
    return e;
}

/* [lock] */
static struct user_entry *find_user(struct registry *r, const char *name)
{
    struct user_entry *e;
    HASH_FIND_STR(r->users, name, e);
    return e;
}

/* [lock] */
static struct pool_entry *find_pool(struct registry *r, const struct pool_key *key)
{
    struct pool_entry *e;
    HASH_FIND(hh, r->pools, key, sizeof(*key), e);
    return e;
}

struct pool_database *registry_get_database(struct registry *r, const char *name)
{
    struct database_entry *e, *made = NULL;

    lock_acquire(&r->lock);
    e = find_database(r, name);
    lock_release(&r->lock);
    if (e == NULL) {
        made = database_new(name);
        if (made == NULL)
            return NULL;
        lock_acquire(&r->lock);
        e = find_database(r, name);
        if (e == NULL && order_reserve(&r->database_order)) {
            HASH_ADD_KEYPTR(hh, r->databases, made->database.name, strlen(made->database.name), made);
            if (made->hh.tbl != NULL) {
                r->database_order.items[r->database_order.n++] = e = made;
                made = NULL;
            }
        }
        lock_release(&r->lock);
        database_free(made);
    }
    if (e == NULL)
        return NULL;
    atomic_store(&e->database.is_retired, false);
    return &e->database;
}

struct pool_user *registry_get_user(struct registry *r, const char *name)
{
    struct user_entry *e, *made = NULL;

    lock_acquire(&r->lock);
    e = find_user(r, name);
    lock_release(&r->lock);
    if (e == NULL) {
        made = user_new(name);
        if (made == NULL)
            return NULL;
        lock_acquire(&r->lock);
        e = find_user(r, name);
        if (e == NULL && order_reserve(&r->user_order)) {
            HASH_ADD_KEYPTR(hh, r->users, made->user.name, strlen(made->user.name), made);
            if (made->hh.tbl != NULL) {
                r->user_order.items[r->user_order.n++] = e = made;
                made = NULL;
            }
        }
        lock_release(&r->lock);
        user_free(made);
    }
    return e != NULL ? &e->user : NULL;
}

/* Of two pools with one database and user, SHOW and metrics must know which is which. */
static char *name_pool(const struct pool_key *key)
{
    static const char *const suffixes[] = {
        [POOL_FOR_CLIENTS] = "", [POOL_FOR_LOOKUPS] = " (auth_query)", [POOL_FOR_LISTENING] = " (listen)"};
    const char *suffix = suffixes[key->purpose];
    size_t n = strlen(key->user->name);
    char *name = malloc(n + strlen(suffix) + 1);

    if (name != NULL) {
        memcpy(name, key->user->name, n);
        memcpy(name + n, suffix, strlen(suffix) + 1);
    }
    return name;
}

static struct pool_entry *pool_entry_new(struct registry *r, const struct pool_key *key)
{
    struct pool_entry *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return NULL;
    if (!pool_init(&e->pool, (struct pool_database *)key->database, (struct pool_user *)key->user,
                   r->n_workers, clock_now_us())) {
        free(e);
        return NULL;
    }
    e->key = *key;
    e->pool.purpose = (enum pool_purpose)key->purpose;
    e->pool.label = name_pool(key);
    if (e->pool.label == NULL) {
        pool_entry_free(e);
        return NULL;
    }
    return e;
}

/* [lock] False when memory is out; then nothing has changed but capacities. */
static bool insert_pool(struct registry *r, struct pool_entry *e)
{
    if (!order_reserve(&r->pool_order) || !limits_reserve_member(&e->pool.database->limits) ||
        !limits_reserve_member(&e->pool.user->limits))
        return false;
    HASH_ADD(hh, r->pools, key, sizeof(e->key), e);
    if (e->hh.tbl == NULL)
        return false;
    e->pool.is_paused = r->is_paused || e->pool.database->is_paused;
    limits_add_member(&e->pool.database->limits, &e->pool);
    limits_add_member(&e->pool.user->limits, &e->pool);
    r->pool_order.items[r->pool_order.n++] = e;
    if (e->pool.purpose == POOL_FOR_LOOKUPS && r->n_unreached < REGISTRY_MAX_UNREACHED)
        r->unreached[r->n_unreached++] = &e->pool;
    return true;
}

static struct pool *get_pool(struct registry *r, const char *database, const char *user,
                             enum pool_purpose purpose, bool *is_new)
{
    struct pool_key key = {.database = registry_get_database(r, database),
                           .user = registry_get_user(r, user),
                           .purpose = purpose};
    struct pool_entry *e, *made = NULL;

    *is_new = false;
    if (key.database == NULL || key.user == NULL)
        return NULL;
    lock_acquire(&r->lock);
    e = find_pool(r, &key);
    lock_release(&r->lock);
    if (e == NULL) {
        made = pool_entry_new(r, &key);
        if (made == NULL)
            return NULL;
        lock_acquire(&r->lock);
        e = find_pool(r, &key);
        if (e == NULL && insert_pool(r, made)) {
            e = made;
            made = NULL;
            *is_new = true;
        }
        lock_release(&r->lock);
        pool_entry_free(made);
    }
    if (e == NULL)
        return NULL;
    atomic_store(&e->pool.is_retired, false);
    return &e->pool;
}

struct pool *registry_get_pool(struct registry *r, const char *database, const char *user, bool *is_new)
{
    return get_pool(r, database, user, POOL_FOR_CLIENTS, is_new);
}

struct pool *registry_get_lookup_pool(struct registry *r, const char *database, const char *user,
                                      bool *is_new)
{
    return get_pool(r, database, user, POOL_FOR_LOOKUPS, is_new);
}

struct pool *registry_get_listen_pool(struct registry *r, const char *database, const char *user,
                                      bool *is_new)
{
    return get_pool(r, database, user, POOL_FOR_LISTENING, is_new);
}

/* [lock] */
static struct pool_entry *find_by_names(struct registry *r, const char *database, const char *user,
                                        enum pool_purpose purpose)
{
    const struct database_entry *d = find_database(r, database);
    const struct user_entry *u = find_user(r, user);

    if (d == NULL || u == NULL)
        return NULL;
    struct pool_key key = {.database = &d->database, .user = &u->user, .purpose = purpose};
    return find_pool(r, &key);
}

struct pool *registry_find_pool(struct registry *r, const char *database, const char *user)
{
    struct pool_entry *e;

    lock_acquire(&r->lock);
    e = find_by_names(r, database, user, POOL_FOR_CLIENTS);
    lock_release(&r->lock);
    return e != NULL ? &e->pool : NULL;
}

/* [lock] Forgets those that have had a server since, and, as long as it may, those that nobody has asked for
 * in a long time. */
static void look_at_unreached(struct registry *r)
{
    int kept = 0;

    for (int i = 0; i < r->n_unreached; i++) {
        struct pool *pool = r->unreached[i];
        lock_acquire(&pool->lock);
        bool is_reached = pool->welcome != NULL;
        lock_release(&pool->lock);
        bool is_retired =
            !is_reached && r->n_forgotten < REGISTRY_MAX_FORGOTTEN && atomic_load(&pool->is_retired);
        r->n_forgotten += is_retired;
        if (!is_reached && !is_retired)
            r->unreached[kept++] = pool;
    }
    r->n_unreached = kept;
}

bool registry_may_look_up(struct registry *r, const char *database, const char *user)
{
    bool may;

    lock_acquire(&r->lock);
    may =
        r->n_unreached < REGISTRY_MAX_UNREACHED || find_by_names(r, database, user, POOL_FOR_LOOKUPS) != NULL;
    if (!may) {
        look_at_unreached(r);
        may = r->n_unreached < REGISTRY_MAX_UNREACHED;
    }
    lock_release(&r->lock);
    return may;
}

static int order_count(struct registry *r, const struct order *o)
{
    int n;

    lock_acquire(&r->lock);
    n = o->n;
    lock_release(&r->lock);
    return n;
}

static void *order_get(struct registry *r, const struct order *o, int i)
{
    void *item;

    lock_acquire(&r->lock);
    item = i >= 0 && i < o->n ? o->items[i] : NULL;
    lock_release(&r->lock);
    return item;
}

int registry_count(struct registry *r)
{
    return order_count(r, &r->pool_order);
}

struct pool *registry_pool(struct registry *r, int i)
{
    struct pool_entry *e = order_get(r, &r->pool_order, i);
    return e != NULL ? &e->pool : NULL;
}

int registry_database_count(struct registry *r)
{
    return order_count(r, &r->database_order);
}

struct pool_database *registry_database(struct registry *r, int i)
{
    struct database_entry *e = order_get(r, &r->database_order, i);
    return e != NULL ? &e->database : NULL;
}

int registry_user_count(struct registry *r)
{
    return order_count(r, &r->user_order);
}

struct pool_user *registry_user(struct registry *r, int i)
{
    struct user_entry *e = order_get(r, &r->user_order, i);
    return e != NULL ? &e->user : NULL;
}

void registry_retire(struct registry *r, struct pool *pool)
{
    (void)r;
    atomic_store(&pool->is_retired, true);
}

void registry_retire_database(struct registry *r, struct pool_database *database)
{
    (void)r;
    atomic_store(&database->is_retired, true);
}

void registry_set_paused(struct registry *r, struct pool_database *database, bool paused)
{
    lock_acquire(&r->lock);
    if (database == NULL)
        r->is_paused = paused;
    else
        database->is_paused = paused;
    lock_release(&r->lock);
}

bool registry_database_is_paused(struct registry *r, struct pool_database *database)
{
    lock_acquire(&r->lock);
    bool paused = database->is_paused;
    lock_release(&r->lock);
    return paused;
}

bool registry_is_paused(struct registry *r, struct pool_database *database)
{
    bool paused;

    lock_acquire(&r->lock);
    paused = r->is_paused || (database != NULL && database->is_paused);
    lock_release(&r->lock);
    return paused;
}

void registry_set_disabled(struct registry *r, struct pool_database *database, bool disabled)
{
    lock_acquire(&r->lock);
    database->is_disabled = disabled;
    lock_release(&r->lock);
}

bool registry_is_disabled(struct registry *r, struct pool_database *database)
{
    bool disabled;

    lock_acquire(&r->lock);
    disabled = database->is_disabled;
    lock_release(&r->lock);
    return disabled;
}

void registry_set_scram_keys(struct registry *r, struct pool_user *u, const uint8_t client_key[32],
                             const uint8_t server_key[32])
{
    lock_acquire(&r->lock);
    memcpy(u->scram_client_key, client_key, sizeof(u->scram_client_key));
    memcpy(u->scram_server_key, server_key, sizeof(u->scram_server_key));
    u->has_scram_keys = true;
    lock_release(&r->lock);
}

bool registry_get_scram_keys(struct registry *r, struct pool_user *u, uint8_t client_key[32],
                             uint8_t server_key[32])
{
    bool has_keys;

    lock_acquire(&r->lock);
    has_keys = u->has_scram_keys;
    if (has_keys) {
        memcpy(client_key, u->scram_client_key, sizeof(u->scram_client_key));
        memcpy(server_key, u->scram_server_key, sizeof(u->scram_server_key));
    }
    lock_release(&r->lock);
    return has_keys;
}
