/*
 * metrics_tables.c - which column of SHOW is which metric.
 *
 * Names follow Prometheus' rules: base units, _total behind counters. Percentiles and averages of SHOW are
 * not here: histograms and rate() say the same for any period. tests/unit/test_metrics.c sees to it that no
 * other column is forgotten.
 *
 * Constant; any thread.
 */
#include "metrics_int.h"

/* clang-format off */
#define POOL    .relation = "POOLS", .labels = "database user"
#define USE     .relation = "UTILIZATION", .labels = "database user"
#define STAT    .relation = "STATS", .labels = "database", .is_counter = true
#define DB      .relation = "DATABASES", .labels = "name=database"
#define WORKER  .relation = "WORKERS", .labels = "worker"
#define LIST    .relation = "LISTS", .column = "items"
#define ONE     .unit = METRIC_ONE
#define FROM_US .unit = METRIC_FROM_US

const struct metric metrics_own[] = {
    {"pgsluice_info", "The version, as a label.", ONE, .relation = "VERSION", .labels = "version"},
    {"pgsluice_state", "1 for each of active, paused and suspended that holds.", .unit = METRIC_YES,
     .relation = "STATE", .column = "value", .labels = "key=state"},

    {"pgsluice_pool_clients", "Clients of the pool, by what they do.", POOL, .column = "cl_active", .extra = "state=active"},
    {NULL, POOL, .column = "cl_waiting", .extra = "state=waiting"},
    {NULL, POOL, .column = "cl_active_cancel_req", .extra = "state=active_cancel_request"},
    {NULL, POOL, .column = "cl_waiting_cancel_req", .extra = "state=waiting_cancel_request"},
    {"pgsluice_pool_servers", "Server connections of the pool, by what they do.", POOL, .column = "sv_active", .extra = "state=active"},
    {NULL, POOL, .column = "sv_active_cancel", .extra = "state=active_cancel"},
    {NULL, POOL, .column = "sv_being_canceled", .extra = "state=being_canceled"},
    {NULL, POOL, .column = "sv_idle", .extra = "state=idle"},
    {NULL, POOL, .column = "sv_used", .extra = "state=used"},
    {NULL, POOL, .column = "sv_tested", .extra = "state=tested"},
    {NULL, POOL, .column = "sv_login", .extra = "state=login"},
    {NULL, POOL, .column = "sv_moving", .extra = "state=moving"},
    {NULL, POOL, .column = "sv_closing", .extra = "state=closing"},
    {"pgsluice_pool_servers_limit", "How many server connections the pool may have.", POOL, .column = "limit"},
    {"pgsluice_pool_reserve_limit", "How many more it may have while clients wait (reserve_pool_size).", POOL, .column = "reserve"},
    {"pgsluice_pool_reserve_used", "How many of those it has.", POOL, .column = "reserve_used"},
    {"pgsluice_pool_pinned", "Servers that clients keep beyond their transactions.", POOL, .column = "pinned"},
    {"pgsluice_pool_pinned_limit", "How many of those there may be (max_pinned).", POOL, .column = "max_pinned"},
    {"pgsluice_pool_max_wait_seconds", "How long the client that waits longest has waited for a server.",
     .unit = METRIC_SECONDS_AND_US, POOL, .column = "maxwait"},
    {"pgsluice_pool_info", "The pool's mode, as a label.", ONE, .relation = "POOLS", .labels = "database user pool_mode"},

    {"pgsluice_pool_utilization_ratio", "Busy servers over the limit, now and as the mean of a window.",
     USE, .column = "utilization_now", .extra = "window=now"},
    {NULL, USE, .column = "utilization_1m", .extra = "window=1m"},
    {NULL, USE, .column = "utilization_5m", .extra = "window=5m"},
    {NULL, USE, .column = "utilization_15m", .extra = "window=15m"},
    {NULL, USE, .column = "utilization_60m", .extra = "window=60m"},
    {"pgsluice_pool_servers_busy_peak", "Most servers that were ever busy at a time.", USE, .column = "peak"},
    {"pgsluice_pool_saturated_seconds_total", "Time in which all servers were busy and clients waited.",
     USE, .is_counter = true, .column = "saturated_seconds"},

    {"pgsluice_latency_max_seconds", "The longest time seen, by what was timed.", FROM_US, .relation = "LATENCY",
     .labels = "database user what", .column = "max_us"},

    {"pgsluice_server_assignments_total", "How often a server was given to a client.", STAT, .column = "total_server_assignment_count"},
    {"pgsluice_transactions_total", "Transactions that ended.", STAT, .column = "total_xact_count"},
    {"pgsluice_queries_total", "Queries that ended.", STAT, .column = "total_query_count"},
    {"pgsluice_client_received_bytes_total", "Bytes received from clients.", STAT, .column = "total_received"},
    {"pgsluice_client_sent_bytes_total", "Bytes sent to clients.", STAT, .column = "total_sent"},
    {"pgsluice_transaction_seconds_total", "Time spent in transactions.", FROM_US, STAT, .column = "total_xact_time"},
    {"pgsluice_query_seconds_total", "Time spent in queries.", FROM_US, STAT, .column = "total_query_time"},
    {"pgsluice_wait_seconds_total", "Time that clients waited for a server.", FROM_US, STAT, .column = "total_wait_time"},
    {"pgsluice_client_parses_total", "Prepared statements that clients made.", STAT, .column = "total_client_parse_count"},
    {"pgsluice_server_parses_total", "Prepared statements that were made on servers.", STAT, .column = "total_server_parse_count"},
    {"pgsluice_binds_total", "Binds that were forwarded.", STAT, .column = "total_bind_count"},
    {"pgsluice_client_logins_total", "Logins of clients that succeeded.", STAT, .column = "total_client_login_count"},

    {"pgsluice_database_paused", "1 if the database is paused.", DB, .column = "paused"},
    {"pgsluice_database_disabled", "1 if the database takes no new clients.", DB, .column = "disabled"},
    {"pgsluice_database_unreachable_seconds", "For how long no server connection can be made; 0 if it can.", DB, .column = "unreachable"},
    {"pgsluice_database_servers", "Server connections of the database.", DB, .column = "current_connections"},
    {"pgsluice_database_servers_limit", "max_db_connections; 0 is no limit.", DB, .column = "max_connections"},
    {"pgsluice_database_clients", "Client connections of the database.", DB, .column = "current_client_connections"},
    {"pgsluice_database_clients_limit", "max_db_client_connections; 0 is no limit.", DB, .column = "max_client_connections"},

    {"pgsluice_items", "The list of SHOW LISTS: how many of everything there are.", LIST, .labels = "list"},

    {"pgsluice_closes_total", "Connections that were closed, by reason.", .is_counter = true,
     .relation = "ERRORS", .column = "count", .only = "close", .labels = "name=reason"},
    {"pgsluice_server_errors_total", "Errors that servers sent, by class of SQLSTATE.", .is_counter = true,
     .relation = "ERRORS", .column = "count", .only = "sqlstate", .labels = "name=class"},

    {"pgsluice_worker_clients", "Clients of the worker thread.", WORKER, .column = "clients"},
    {"pgsluice_worker_servers", "Server connections of the worker thread.", WORKER, .column = "servers"},
    {"pgsluice_worker_handoffs_total", "Servers handed to a client of another worker.", WORKER, .is_counter = true, .column = "handoffs"},
    {"pgsluice_worker_listeners", "Channels that clients listen to where servers are shared, of all clients together.", WORKER, .column = "listeners"},
    {"pgsluice_worker_notifications_total", "Notifications for clients, counted for each of them.", WORKER, .is_counter = true, .column = "notifications"},
    {"pgsluice_worker_steals_total", "Idle servers taken from another worker.", WORKER, .is_counter = true, .column = "steals"},
    {"pgsluice_worker_adopted_total", "Servers that came from another worker.", WORKER, .is_counter = true, .column = "adopted"},
    {"pgsluice_worker_turns_total", "Turns of the event loop.", WORKER, .is_counter = true, .column = "turns"},
    {"pgsluice_worker_busy_seconds_total", "Time in which the loop did not wait for events.", FROM_US, WORKER, .is_counter = true,
     .column = "busy_us"},
    {"pgsluice_worker_turn_max_seconds", "The longest turn of the loop.", FROM_US, WORKER, .column = "max_turn_us"},
};
const size_t metrics_own_count = ARRAY_SIZE(metrics_own);

#define PG_STAT .relation = "STATS_TOTALS", .labels = "database", .is_counter = true
#define PG_DB   .relation = "DATABASES", .labels = "name host port database force_user pool_mode"

const struct metric metrics_pgbouncer[] = {
    {"pgbouncer_up", "The pooler answers.", ONE, .relation = "VERSION"},
    {"pgbouncer_version_info", "The version, as a label.", ONE, .relation = "VERSION", .labels = "version"},
    {"pgbouncer_config_listen_backlog", "The setting listen_backlog.", .relation = "CONFIG", .column = "value", .only = "listen_backlog"},
    {"pgbouncer_config_max_client_connections", "The setting max_client_conn.", .relation = "CONFIG", .column = "value",
     .only = "max_client_conn"},
    {"pgbouncer_config_max_user_connections", "The setting max_user_connections.", .relation = "CONFIG", .column = "value",
     .only = "max_user_connections"},

    {"pgbouncer_databases_pool_size", "The database's pool_size.", PG_DB, .column = "pool_size"},
    {"pgbouncer_databases_min_pool_size", "The database's min_pool_size.", PG_DB, .column = "min_pool_size"},
    {"pgbouncer_databases_reserve_pool", "The database's reserve_pool_size.", PG_DB, .column = "reserve_pool_size"},
    {"pgbouncer_databases_max_connections", "The database's max_db_connections.", PG_DB, .column = "max_connections"},
    {"pgbouncer_databases_current_connections", "Server connections of the database.", PG_DB, .column = "current_connections"},
    {"pgbouncer_databases_paused", "1 if the database is paused.", PG_DB, .column = "paused"},
    {"pgbouncer_databases_disabled", "1 if the database takes no new clients.", PG_DB, .column = "disabled"},

    {"pgbouncer_databases", "Databases.", LIST, .only = "databases"},
    {"pgbouncer_users", "Users.", LIST, .only = "users"},
    {"pgbouncer_pools", "Pools.", LIST, .only = "pools"},
    {"pgbouncer_free_clients", "Free client structures.", LIST, .only = "free_clients"},
    {"pgbouncer_used_clients", "Clients that are logged in.", LIST, .only = "used_clients"},
    {"pgbouncer_login_clients", "Clients that are logging in.", LIST, .only = "login_clients"},
    {"pgbouncer_free_servers", "Free server structures.", LIST, .only = "free_servers"},
    {"pgbouncer_used_servers", "Server connections.", LIST, .only = "used_servers"},
    {"pgbouncer_cached_dns_names", "Host names that are known.", LIST, .only = "dns_names"},
    {"pgbouncer_cached_dns_zones", "DNS zones that are known.", LIST, .only = "dns_zones"},
    {"pgbouncer_in_flight_dns_queries", "Host names that are being looked up.", LIST, .only = "dns_pending"},

    {"pgbouncer_pools_client_active_connections", "Clients that have a server or need none.", POOL, .column = "cl_active"},
    {"pgbouncer_pools_client_active_cancel_connections", "Cancel requests that are being carried out.", POOL, .column = "cl_active_cancel_req"},
    {"pgbouncer_pools_client_waiting_connections", "Clients that wait for a server.", POOL, .column = "cl_waiting"},
    {"pgbouncer_pools_client_waiting_cancel_connections", "Cancel requests that wait.", POOL, .column = "cl_waiting_cancel_req"},
    {"pgbouncer_pools_server_active_connections", "Servers that have a client.", POOL, .column = "sv_active"},
    {"pgbouncer_pools_server_active_cancel_connections", "Connections that carry a cancel request.", POOL, .column = "sv_active_cancel"},
    {"pgbouncer_pools_server_being_canceled_connections", "Servers held for a cancel request.", POOL, .column = "sv_being_canceled"},
    {"pgbouncer_pools_server_idle_connections", "Servers that are free.", POOL, .column = "sv_idle"},
    {"pgbouncer_pools_server_used_connections", "Servers that are free and will be checked before use.", POOL, .column = "sv_used"},
    {"pgbouncer_pools_server_testing_connections", "Servers that run a reset or check query.", POOL, .column = "sv_tested"},
    {"pgbouncer_pools_server_login_connections", "Servers that are logging in.", POOL, .column = "sv_login"},
    {"pgbouncer_pools_client_maxwait_seconds", "How long the client that waits longest has waited.",
     .unit = METRIC_SECONDS_AND_US, POOL, .column = "maxwait"},

    {"pgbouncer_stats_queries_pooled_total", "Queries that ended.", PG_STAT, .column = "query_count"},
    {"pgbouncer_stats_queries_duration_seconds_total", "Time spent in queries.", FROM_US, PG_STAT, .column = "query_time"},
    {"pgbouncer_stats_sql_transactions_pooled_total", "Transactions that ended.", PG_STAT, .column = "xact_count"},
    {"pgbouncer_stats_server_in_transaction_seconds_total", "Time spent in transactions.", FROM_US, PG_STAT, .column = "xact_time"},
    {"pgbouncer_stats_received_bytes_total", "Bytes received from clients.", PG_STAT, .column = "bytes_received"},
    {"pgbouncer_stats_sent_bytes_total", "Bytes sent to clients.", PG_STAT, .column = "bytes_sent"},
    {"pgbouncer_stats_client_wait_seconds_total", "Time that clients waited for a server.", FROM_US, PG_STAT, .column = "wait_time"},
};
const size_t metrics_pgbouncer_count = ARRAY_SIZE(metrics_pgbouncer);
/* clang-format on */
