/*
 * pool_config.c - what the ledger needs of the settings.
 *
 * Threads: any; pure.
 */
#include "session_int.h"

static void lower(int *value, int limit)
{
    if (limit > 0 && limit < *value)
        *value = limit;
}

/* By default one connection is left for transactions. */
static int max_pinned(const struct config *cfg, const struct database_config *db,
                      const struct user_config *user)
{
    int size = config_pool_size(cfg, db, user), set = config_settings(cfg)->max_pinned;

    if (set >= 0)
        return set;
    lower(&size, config_max_db_connections(cfg, db));
    lower(&size, config_max_user_connections(cfg, user));
    return size > 0 ? size - 1 : 0;
}

static void session_pool_config(const struct config *cfg, const struct database_config *db,
                                const struct user_config *user, struct pool_config *out)
{
    const struct settings *set = config_settings(cfg);

    *out = (struct pool_config){
        .limit = config_pool_size(cfg, db, user),
        .reserve = config_reserve_pool_size(cfg, db, user),
        .reserve_after_us = set->reserve_pool_timeout_us,
        .max_pinned = max_pinned(cfg, db, user),
        .min_size = config_min_pool_size(cfg, db),
        .keep_min_without_clients = db->user != NULL && !db->is_fallback,
        .round_robin = set->server_round_robin != 0,
        .lifetime_us = config_server_lifetime_us(cfg, db),
        .is_for_one_use = config_server_lifetime_us(cfg, db) == 0,
        .idle_timeout_us = set->server_idle_timeout_us,
        .login_retry_us = set->server_login_retry_us,
        .overtake_us = set->handoff_slack_us,
        .overtake_max = set->handoff_burst,
    };
}

void session_configure_pool(struct instance *in, struct shard *sh, const struct config *cfg,
                            struct pool *pool)
{
    const struct database_config *db = config_find_database(cfg, pool->database->name);
    const struct user_config *user = config_find_user(cfg, pool->user->name);
    struct pool_config pc;
    struct pool_acts acts[4] = {0};

    if (db == NULL)
        return;
    session_pool_config(cfg, db, user, &pc);
    if (pool->purpose != POOL_FOR_CLIENTS) {
        pc.min_size = 0;
        pc.keep_min_without_clients = false;
    }
    if (pool->purpose == POOL_FOR_LISTENING) {
        /* one, which is never idle in truth, and of which each renewal costs notifications */
        pc.limit = 1;
        pc.reserve = 0;
        pc.lifetime_us = pc.idle_timeout_us = 0;
        pc.is_for_one_use = false;
    }
    limits_set_max(&pool->database->limits, config_max_db_connections(cfg, db), &acts[0]);
    limits_set_max(&pool->user->limits, config_max_user_connections(cfg, user), &acts[1]);
    pool_configure(pool, &pc, clock_now_us(), &acts[2]);
    if (pool_is_removed(pool)) /* the database is back */
        pool_set_removed(pool, false, clock_now_us(), &acts[3]);
    for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
        if (sh != NULL)
            shard_perform(sh, pool, &acts[i]);
        else
            instance_perform(in, pool, &acts[i]);
    }
}
