/*
 * registry.h - all pools, databases and users that are in use.
 *
 * A pool is made when the first client logs in to (database, user), or at
 * start for a database with a forced user and min_pool_size. Pools, databases and users
 * live until registry_destroy(); one that nobody uses any more is emptied, and
 * left out of SHOW after registry_retire(). So a pointer to a pool is valid for ever.
 *
 * Threads: any; registry.lock (rank 10), is_retired and clients without it. Iteration: registry_pool(i) for
 * i < registry_count(): pools keep their index and are never removed.
 */
#ifndef POOL_REGISTRY_H
#define POOL_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "pool/pool.h"

#define REGISTRY_MAX_UNREACHED 1000
#define REGISTRY_MAX_FORGOTTEN 5000 /* of 20 kB each */

/* What the log has said about a database that cannot be reached: reach.h. */
struct outage {
    int64_t since_us;
    int64_t said_us; /* 0 = nothing */
    bool is_likely;  /* the last attempt of one of its pools has failed */
};

/* What has been logged of attempts to connect that failed: reach.h. */
struct failure_said {
    _Atomic int why;       /* enum close_reason */
    _Atomic int64_t at_us; /* 0 = nothing */
};

struct pool_database {
    const char *name;     /* constant: the name clients use */
    struct limits limits; /* max_db_connections */
    /* [registry.lock] */
    bool is_paused;
    bool is_disabled;
    /* [control thread] */
    struct outage outage;
    /* [atomic] */
    _Atomic int clients;     /* client connections of this database */
    _Atomic bool is_retired; /* see registry_retire() */
    struct failure_said said;
};

struct pool_user {
    const char *name;     /* constant */
    struct limits limits; /* max_user_connections */
    _Atomic int clients;  /* clients that logged in as this user, whoever their servers log in as */
    /* [registry.lock] keys from the client's own SCRAM login, for logging in to servers */
    bool has_scram_keys;
    uint8_t scram_client_key[32];
    uint8_t scram_server_key[32];
};

struct registry;

/* n_workers: constant for the life of the process. Boot: may abort. */
struct registry *registry_new(int n_workers);
void registry_destroy(struct registry *r);

/* Finds or makes; NULL when memory is out. A new pool is paused if its database or the whole is; *is_new
 * tells the caller to pool_configure() it. */
struct pool *registry_get_pool(struct registry *r, const char *database, const char *user, bool *is_new);
/* The one that runs auth_query as this user; beside the user's own, under the same limits. */
struct pool *registry_get_lookup_pool(struct registry *r, const char *database, const char *user,
                                      bool *is_new);
/* May it be asked for, of a database whose name a stranger has said and that only the * line is for? Not
 * while REGISTRY_MAX_UNREACHED pools of look-ups have never had a server, unless it is there. One that has
 * been retired does not count any more; but what it takes of memory stays, so no more than
 * REGISTRY_MAX_FORGOTTEN give way like that. */
bool registry_may_look_up(struct registry *r, const char *database, const char *user) must_check;
/* The one whose server listens for this user's clients, likewise. */
struct pool *registry_get_listen_pool(struct registry *r, const char *database, const char *user,
                                      bool *is_new);
struct pool *registry_find_pool(struct registry *r, const char *database, const char *user);
struct pool_database *registry_get_database(struct registry *r, const char *name);
struct pool_user *registry_get_user(struct registry *r, const char *name);
int registry_count(struct registry *r);
struct pool *registry_pool(struct registry *r, int i);
int registry_database_count(struct registry *r);
struct pool_database *registry_database(struct registry *r, int i);
int registry_user_count(struct registry *r);
struct pool_user *registry_user(struct registry *r, int i);

/* Not shown any more, until it is asked for by registry_get_pool() or registry_get_database() again. Only
 * marks it: the caller has had it emptied (pool_set_removed, or pool_recycle when nobody used it for long).
 */
void registry_retire(struct registry *r, struct pool *pool);
void registry_retire_database(struct registry *r, struct pool_database *database);

/* Marks for pools of now and later: database NULL = the whole. The caller then calls pool_set_paused on each
 * pool. */
void registry_set_paused(struct registry *r, struct pool_database *database, bool paused);
bool registry_is_paused(struct registry *r, struct pool_database *database);
/* By itself, not because the whole is. */
bool registry_database_is_paused(struct registry *r, struct pool_database *database);
void registry_set_disabled(struct registry *r, struct pool_database *database, bool disabled);
bool registry_is_disabled(struct registry *r, struct pool_database *database);
/* Keys of a client's SCRAM login, for that user's server logins. */
void registry_set_scram_keys(struct registry *r, struct pool_user *u, const uint8_t client_key[32],
                             const uint8_t server_key[32]);
bool registry_get_scram_keys(struct registry *r, struct pool_user *u, uint8_t client_key[32],
                             uint8_t server_key[32]);

#endif
