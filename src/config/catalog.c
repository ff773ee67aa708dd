/*
 * catalog.c - the databases, users and peers of a configuration.
 *
 * Filled while loading, sorted once, then constant and shared by all snapshots
 * that SET makes of it. Not here: what the entries' keys mean (sections.c).
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/secret.h"
#include "config_int.h"

struct catalog *catalog_new(void)
{
    struct catalog *c = xcalloc(1, sizeof *c);
    atomic_init(&c->refcount, 1);
    return c;
}

struct catalog *catalog_ref(struct catalog *c)
{
    atomic_fetch_add_explicit(&c->refcount, 1, memory_order_relaxed);
    return c;
}

static void free_database(void *entry)
{
    struct database_config *db = entry;
    const char *strings[] = {
        db->name,          db->file,        db->dbname,          db->host,
        db->user,          db->auth_user,   db->auth_dbname,     db->auth_query,
        db->timezone,      db->datestyle,   db->client_encoding, db->application_name,
        db->connect_query, db->sslrootcert, db->sslcert,         db->sslkey,
        db->options,
    };
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        free((char *)strings[i]);
    secret_free((char *)db->password);
}

static void free_user(void *entry)
{
    free((char *)((struct user_config *)entry)->name);
}

static void free_peer(void *entry)
{
    struct peer_config *peer = entry;
    free((char *)peer->key);
    free((char *)peer->host);
}

void catalog_unref(struct catalog *c)
{
    if (atomic_fetch_sub_explicit(&c->refcount, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < c->user_count; i++)
        free_user(&c->users[i]);
    free(c->users);
    users_free_list(c->userlist);
    if (c->base != NULL) {
        catalog_unref(c->base);
    } else {
        for (size_t i = 0; i < c->database_count; i++)
            free_database(&c->databases[i]);
        free(c->databases);
        for (size_t i = 0; i < c->peer_count; i++)
            free_peer(&c->peers[i]);
        free(c->peers);
        secret_free(c->more_users);
    }
    free(c);
}

struct catalog *catalog_without_userlist(struct catalog *old)
{
    struct catalog *c = catalog_new();
    *c = *old;
    atomic_init(&c->refcount, 1);
    c->base = catalog_ref(old->base != NULL ? old->base : old);
    c->users = NULL;
    c->user_count = 0;
    c->userlist = NULL;
    c->userlist_id = (struct config_file_id){0};
    for (size_t i = 0; i < old->user_count; i++) {
        const struct user_config *user = &old->users[i];
        if (!user->has_section_entry)
            continue;
        struct user_config *copy = catalog_add_user(c, user->name);
        const char *name = copy->name;
        *copy = *user;
        copy->name = name;
        copy->credential = NULL;
        copy->older = NULL;
        copy->n_older = 0;
    }
    return c;
}

/* Room for one more entry; capacity grows at powers of two. */
static void *grow(void *entries, size_t count, size_t size)
{
    if ((count & (count - 1)) != 0)
        return entries;
    return xrealloc(entries, (count == 0 ? 1 : count * 2) * size);
}

struct database_config *catalog_add_database(struct catalog *c, const char *name, const char *file, int line)
{
    c->databases = grow(c->databases, c->database_count, sizeof *c->databases);
    struct database_config *db = &c->databases[c->database_count++];
    *db = (struct database_config){
        .name = xstrdup(name),
        .is_fallback = strcmp(name, "*") == 0,
        .file = xstrdup(file),
        .line = line,
        .host = xstrdup(""),
        .port = 5432,
        .auth_user = xstrdup(""),
        .auth_dbname = xstrdup(""),
        .auth_query = xstrdup(""),
        .pool_size = -1,
        .min_pool_size = -1,
        .reserve_pool_size = -1,
        .max_db_connections = -1,
        .max_db_client_connections = -1,
        .query_wait_timeout_us = -1,
        .pool_mode = POOL_MODE_INHERIT,
        .session_state = SESSION_STATE_INHERIT,
        .load_balance_hosts = LOAD_BALANCE_ROUND_ROBIN,
        .sslmode = -1,
        .channel_binding = -1,
    };
    return db;
}

struct user_config *catalog_add_user(struct catalog *c, const char *name)
{
    c->users = grow(c->users, c->user_count, sizeof *c->users);
    struct user_config *user = &c->users[c->user_count++];
    *user = (struct user_config){
        .name = xstrdup(name),
        .pool_mode = POOL_MODE_INHERIT,
        .session_state = SESSION_STATE_INHERIT,
        .pool_size = -1,
        .reserve_pool_size = -1,
        .max_user_connections = -1,
        .max_user_client_connections = -1,
        .query_wait_timeout_us = -1,
    };
    return user;
}

struct peer_config *catalog_add_peer(struct catalog *c, int id)
{
    c->peers = grow(c->peers, c->peer_count, sizeof *c->peers);
    struct peer_config *peer = &c->peers[c->peer_count++];
    *peer = (struct peer_config){.key = xasprintf("%05d", id), .id = id, .port = 6432, .pool_size = -1};
    return peer;
}

/* Entries of all kinds begin with their name. */
static const char *name_of(const void *entry)
{
    return *(const char *const *)entry;
}

static int by_name_then_age(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    int order = strcmp(name_of(x), name_of(y));
    return order != 0 ? order : x < y ? -1 : x > y;
}

static void *sort_entries(void *entries, size_t *count, size_t size, void (*free_entry)(void *))
{
    size_t n = *count, kept = 0;
    if (n == 0)
        return entries;
    char **order = xmalloc(n * sizeof *order);
    char *sorted = xmalloc(n * 2 * size); /* room to grow, see grow() */
    for (size_t i = 0; i < n; i++)
        order[i] = (char *)entries + i * size;
    qsort(order, n, sizeof *order, by_name_then_age);
    for (size_t i = 0; i < n; i++)
        if (i + 1 < n && strcmp(name_of(order[i]), name_of(order[i + 1])) == 0)
            free_entry(order[i]);
        else
            memcpy(sorted + kept++ * size, order[i], size);
    free(order);
    free(entries);
    *count = kept;
    return sorted;
}

void catalog_finish(struct catalog *c)
{
    if (c->base == NULL) {
        c->databases = sort_entries(c->databases, &c->database_count, sizeof *c->databases, free_database);
        c->peers = sort_entries(c->peers, &c->peer_count, sizeof *c->peers, free_peer);
    }
    c->users = sort_entries(c->users, &c->user_count, sizeof *c->users, free_user);
}

static int compare_name(const void *name, const void *entry)
{
    return strcmp(name, name_of(entry));
}

struct database_config *catalog_find_database(const struct catalog *c, const char *name)
{
    if (c->database_count == 0)
        return NULL;
    return bsearch(name, c->databases, c->database_count, sizeof *c->databases, compare_name);
}

struct user_config *catalog_find_user(const struct catalog *c, const char *name)
{
    if (c->user_count == 0)
        return NULL;
    return bsearch(name, c->users, c->user_count, sizeof *c->users, compare_name);
}
