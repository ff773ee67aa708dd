/*
 * families.c - settings from the variables that the images of other poolers take, and from familiar ones.
 *
 * They are given in the order of precedence, and the first one counts: PGBOUNCER_*, the names without a
 * prefix, CONNECTION_POOLER_*, the familiar names. Every variable has a _FILE twin, which wins over the
 * variable itself.
 *
 * Not here: where PostgreSQL is (targets.c).
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "vars_int.h"

/* A variable that is not the setting's name in capitals. */
struct alias {
    const char *variable;
    const char *setting; /* NULL: known, without a meaning here */
};

static const struct alias pgbouncer_aliases[] = {
    {"PGBOUNCER_PORT", "listen_port"},
    {"PGBOUNCER_LISTEN_ADDRESS", "listen_addr"},
    {"PGBOUNCER_BIND_ADDRESS", "listen_addr"},
    {"PGBOUNCER_SOCKET_DIR", "unix_socket_dir"},
    {"PGBOUNCER_SOCKET_MODE", "unix_socket_mode"},
    {"PGBOUNCER_SOCKET_GROUP", "unix_socket_group"},
    {"PGBOUNCER_LOG_FILE", "logfile"},
    /* the image's own business: waiting for PostgreSQL, scripts, users */
    {"PGBOUNCER_CONFIG_DIR", NULL},
    {"PGBOUNCER_DAEMON_GROUP", NULL},
    {"PGBOUNCER_DAEMON_USER", NULL},
    {"PGBOUNCER_EXTRA_ARGS", NULL},
    {"PGBOUNCER_EXTRA_FLAGS", NULL},
    {"PGBOUNCER_FAIL_ON_INVALID_DSN_FILE", NULL},
    {"PGBOUNCER_FORCE_INITSCRIPTS", NULL},
    {"PGBOUNCER_INIT_MAX_RETRIES", NULL},
    {"PGBOUNCER_INIT_SLEEP_TIME", NULL},
    {"PGBOUNCER_PREPARED_STATEMENTS", NULL},
    {"PGBOUNCER_SET_DATABASE_PASSWORD", NULL},
    {"PGBOUNCER_SET_DATABASE_USER", NULL},
};

/* Those of PGBOUNCER_* that targets.c reads. */
static const char *const pgbouncer_targets[] = {"PGBOUNCER_CONNECT_QUERY", "PGBOUNCER_DATABASE",
                                                "PGBOUNCER_PASSWORD", "PGBOUNCER_URLS", "PGBOUNCER_USERLIST"};

/* Settings whose name in capitals is a variable. The others would be too common a word to mean us (USER,
 * WORKERS), or are not among the names that images take. */
static const char *const plain_settings[] = {
    "admin_users",
    "application_name_add_host",
    "auth_dbname",
    "auth_file",
    "auth_hba_file",
    "auth_query",
    "auth_type",
    "auth_user",
    "autodb_idle_timeout",
    "client_idle_timeout",
    "client_login_timeout",
    "client_tls_ca_file",
    "client_tls_cert_file",
    "client_tls_ciphers",
    "client_tls_dheparams",
    "client_tls_ecdhcurve",
    "client_tls_key_file",
    "client_tls_protocols",
    "client_tls_sslmode",
    "default_pool_size",
    "disable_pqexec",
    "dns_max_ttl",
    "dns_nxdomain_ttl",
    "idle_transaction_timeout",
    "ignore_startup_parameters",
    "listen_addr",
    "listen_backlog",
    "listen_port",
    "log_connections",
    "log_disconnections",
    "log_pooler_errors",
    "log_stats",
    "logfile",
    "max_client_conn",
    "max_db_connections",
    "max_packet_size",
    "max_prepared_statements",
    "max_user_connections",
    "min_pool_size",
    "pkt_buf",
    "pool_mode",
    "query_timeout",
    "query_wait_timeout",
    "reserve_pool_size",
    "reserve_pool_timeout",
    "sbuf_loopcnt",
    "server_check_delay",
    "server_check_query",
    "server_connect_timeout",
    "server_idle_timeout",
    "server_lifetime",
    "server_login_retry",
    "server_reset_query",
    "server_reset_query_always",
    "server_round_robin",
    "server_tls_ca_file",
    "server_tls_cert_file",
    "server_tls_ciphers",
    "server_tls_key_file",
    "server_tls_protocols",
    "server_tls_sslmode",
    "stats_period",
    "stats_users",
    "suspend_timeout",
    "tcp_defer_accept",
    "tcp_keepalive",
    "tcp_keepcnt",
    "tcp_keepidle",
    "tcp_keepintvl",
    "tcp_user_timeout",
    "unix_socket_dir",
    "verbose",
};

static const struct alias pooler_aliases[] = {
    {"CONNECTION_POOLER_PORT", "listen_port"},
    {"CONNECTION_POOLER_MODE", "pool_mode"},
    {"CONNECTION_POOLER_DEFAULT_SIZE", "default_pool_size"},
    {"CONNECTION_POOLER_MIN_SIZE", "min_pool_size"},
    {"CONNECTION_POOLER_RESERVE_SIZE", "reserve_pool_size"},
    {"CONNECTION_POOLER_MAX_CLIENT_CONN", "max_client_conn"},
    {"CONNECTION_POOLER_MAX_DB_CONN", "max_db_connections"},
    {"CONNECTION_POOLER_CLIENT_TLS_CRT", "client_tls_cert_file"},
    {"CONNECTION_POOLER_CLIENT_TLS_KEY", "client_tls_key_file"},
    {"CONNECTION_POOLER_CLIENT_CA_FILE", "client_tls_ca_file"},
};

static const struct alias familiar_aliases[] = {
    {"POOL_SIZE", "default_pool_size"},
    {"DB_POOL_SIZE", "min_pool_size"},
    {"DB_MAX_CONNECTIONS", "default_pool_size"},
    {"DB_CONNECTION_TIMEOUT", "server_connect_timeout"},
    {"DB_CONNECTION_TIMEOUT", "query_wait_timeout"},
    {"DB_IDLE_TIMEOUT", "server_idle_timeout"},
    {"DB_MAX_OVERFLOW", "reserve_pool_size"},
};

struct giver {
    struct vars *vars;
    bare_setting_cb cb;
    void *arg;
};

static void give(const struct giver *g, const char *setting, const struct var *var, const char *value)
{
    char *source = xasprintf("variable %s", var->name);
    g->cb(g->arg, option_find(setting), value, source);
    free(source);
}

static char *upper(const char *prefix, const char *setting)
{
    char *name = xasprintf("%s%s", prefix, setting);
    for (char *s = name; *s != '\0'; s++)
        *s = *s >= 'a' && *s <= 'z' ? (char)(*s - 'a' + 'A') : *s;
    return name;
}

static void give_named(const struct giver *g, const char *prefix, const char *setting)
{
    char *name = upper(prefix, setting);
    const struct var *var = vars_find(g->vars, name);
    if (var != NULL)
        give(g, setting, var, var->value);
    free(name);
}

static void give_aliases(const struct giver *g, const struct alias *aliases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct var *var = aliases[i].setting != NULL ? vars_find(g->vars, aliases[i].variable) : NULL;
        if (var != NULL)
            give(g, aliases[i].setting, var, var->value);
    }
}

static bool is_one_of(const char *word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(word, words[i]) == 0)
            return true;
    return false;
}

/* METRICS_PORT says the port, ENABLE_METRICS whether. */
static void give_metrics(const struct giver *g)
{
    static const char *const no[] = {"0", "false", "no", "off"};
    const struct var *enable = vars_find(g->vars, "ENABLE_METRICS");
    const struct var *port = vars_find(g->vars, "METRICS_PORT");

    if (enable != NULL && is_one_of(enable->value, no, ARRAY_SIZE(no)))
        give(g, "http_listen", enable, "");
    else if (port != NULL)
        give(g, "http_listen", port, port->value);
}

/* ---- variables that nobody knows ---- */

static bool is_alias(const char *name, const struct alias *aliases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(aliases[i].variable, name) == 0)
            return true;
    return false;
}

static bool is_known(const char *name)
{
    static const char dsn[] = "PGBOUNCER_DSN_";
    if (str_has_prefix(name, dsn))
        return name[strspn(name + strlen(dsn), "0123456789") + strlen(dsn)] == '\0';
    if (str_has_prefix(name, "PGBOUNCER_") && option_find(name + strlen("PGBOUNCER_")) >= 0)
        return true;
    return is_alias(name, pgbouncer_aliases, ARRAY_SIZE(pgbouncer_aliases)) ||
           is_alias(name, pooler_aliases, ARRAY_SIZE(pooler_aliases)) ||
           is_one_of(name, pgbouncer_targets, ARRAY_SIZE(pgbouncer_targets));
}

/* Of the families that have a prefix; and what is known to have no meaning. Once, in the log. */
static void name_unknown(struct vars *v)
{
    for (char *const *e = v->environ; e != NULL && *e != NULL; e++) {
        const char *equals = strchr(*e, '=');
        if (equals == NULL ||
            (!str_has_prefix(*e, "PGBOUNCER_") && !str_has_prefix(*e, "CONNECTION_POOLER_")))
            continue;
        char *name = xstrndup(*e, (size_t)(equals - *e));
        size_t len = strlen(name), twin = strlen("_FILE");
        char *stem = len > twin && strcmp(name + len - twin, "_FILE") == 0 ? xstrndup(name, len - twin)
                                                                           : xstrdup(name);
        if (!is_known(name) && !is_known(stem) && !vars_is_injected(name, equals + 1))
            config_problems_add(v->problems, PROBLEM_NOTE, NULL, 0, "variable %s is not known and is ignored",
                                name);
        for (size_t i = 0; i < ARRAY_SIZE(pgbouncer_aliases); i++)
            if (pgbouncer_aliases[i].setting == NULL && strcmp(pgbouncer_aliases[i].variable, stem) == 0)
                config_problems_add(v->problems, PROBLEM_NOTE, NULL, 0,
                                    "variable %s has no meaning here and is ignored", name);
        free(stem);
        free(name);
    }
}

void families_settings(struct vars *v, bare_setting_cb cb, void *arg)
{
    struct giver g = {.vars = v, .cb = cb, .arg = arg};

    give_aliases(&g, pgbouncer_aliases, ARRAY_SIZE(pgbouncer_aliases));
    for (size_t i = 0; i < option_count(); i++)
        if (strcmp(option_at(i)->name, "conffile") != 0)
            give_named(&g, "PGBOUNCER_", option_at(i)->name);
    for (size_t i = 0; i < ARRAY_SIZE(plain_settings); i++)
        give_named(&g, "", plain_settings[i]);
    give_aliases(&g, pooler_aliases, ARRAY_SIZE(pooler_aliases));
    give_aliases(&g, familiar_aliases, ARRAY_SIZE(familiar_aliases));
    give_metrics(&g);
    name_unknown(v);
}
