/*
 * pool_config.c - what the ledger needs of the settings.
 *
 * Threads: any; pure.
 */
#include "session/instance.h"

void session_pool_config(const struct config *cfg, const struct database_config *db,
                         const struct user_config *user, struct pool_config *out)
{
    const struct settings *set = config_settings(cfg);

    *out = (struct pool_config){
        .limit = config_pool_size(cfg, db, user),
        .min_size = config_min_pool_size(cfg, db),
        .keep_min_without_clients = db->user != NULL && !db->is_fallback,
        .round_robin = set->server_round_robin != 0,
        .lifetime_us = config_server_lifetime_us(cfg, db),
        .idle_timeout_us = set->server_idle_timeout_us,
        .login_retry_us = set->server_login_retry_us,
        .overtake_us = set->handoff_slack_us,
        .overtake_max = set->handoff_burst,
    };
}
