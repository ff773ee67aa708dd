/*
 * show.c - the relations of SHOW: names, columns, who fills them.
 *
 * PgBouncer's columns come first, in its order and types, since tools read them by
 * position; ours follow. SHOW HELP and the errors' suggestions are made from the table.
 *
 * Threads: constant tables, any.
 */
#include <stdio.h>
#include <strings.h>

#include "base/str.h"
#include "ops_int.h"

/* clang-format off */
static const struct column clients_columns[] = {
    {"type", 's'}, {"user", 's'}, {"database", 's'}, {"replication", 's'}, {"state", 's'}, {"addr", 's'},
    {"port", 'i'}, {"local_addr", 's'}, {"local_port", 'i'}, {"connect_time", 'T'}, {"request_time", 'T'},
    {"wait", 'i'}, {"wait_us", 'i'}, {"close_needed", 'i'}, {"ptr", 's'}, {"link", 's'}, {"remote_pid", 'i'},
    {"tls", 's'}, {"application_name", 's'}, {"prepared_statements", 'i'}, {"id", 'i'},
    /* ours */
    {"worker", 'i'},
};

static const struct column sockets_columns[] = {
    {"type", 's'}, {"user", 's'}, {"database", 's'}, {"replication", 's'}, {"state", 's'}, {"addr", 's'},
    {"port", 'i'}, {"local_addr", 's'}, {"local_port", 'i'}, {"connect_time", 'T'}, {"request_time", 'T'},
    {"wait", 'i'}, {"wait_us", 'i'}, {"close_needed", 'i'}, {"ptr", 's'}, {"link", 's'}, {"remote_pid", 'i'},
    {"tls", 's'}, {"application_name", 's'}, {"prepared_statements", 'i'}, {"id", 'i'}, {"recv_pos", 'i'},
    {"pkt_pos", 'i'}, {"pkt_remain", 'i'}, {"send_pos", 'i'}, {"send_remain", 'i'}, {"pkt_avail", 'i'},
    {"send_avail", 'i'},
    /* ours */
    {"worker", 'i'},
};

static const struct column config_columns[] = {
    {"key", 's'}, {"value", 's'}, {"default", 's'}, {"changeable", 's'},
    /* ours */
    {"source", 's'},
};

static const struct column databases_columns[] = {
    {"name", 's'}, {"host", 's'}, {"port", 'i'}, {"database", 's'}, {"force_user", 's'}, {"pool_size", 'i'},
    {"min_pool_size", 'i'}, {"reserve_pool_size", 'i'}, {"server_lifetime", 'i'}, {"pool_mode", 's'},
    {"load_balance_hosts", 's'}, {"max_connections", 'i'}, {"current_connections", 'i'},
    {"max_client_connections", 'i'}, {"current_client_connections", 'i'}, {"paused", 'i'}, {"disabled", 'i'},
    /* ours */
    {"target_session_attrs", 's'},
    /* its name until PgBouncer 1.24: Debian's exporter reads it */
    {"reserve_pool", 'i'},
    {"unreachable", 'i'}, {"last_error", 's'},
};

static const struct column dns_hosts_columns[] = {
    {"hostname", 's'}, {"ttl", 'q'}, {"addrs", 's'},
};

static const struct column dns_zones_columns[] = {
    {"zonename", 's'}, {"serial", 'q'}, {"count", 'i'},
};

static const struct column environment_columns[] = {
    {"environment", 's'}, {"key", 's'}, {"value", 's'}, {"source", 's'},
};

static const struct column errors_columns[] = {
    {"kind", 's'}, {"name", 's'}, {"text", 's'}, {"count", 'q'},
};

static const struct column latency_columns[] = {
    {"database", 's'}, {"user", 's'}, {"what", 's'}, {"count", 'q'}, {"mean_us", 'q'}, {"p50_us", 'q'},
    {"p90_us", 'q'}, {"p95_us", 'q'}, {"p99_us", 'q'}, {"p999_us", 'q'}, {"max_us", 'q'},
};

static const struct column leaks_columns[] = {
    {"application_name", 's'}, {"database", 's'}, {"user", 's'}, {"reason", 's'}, {"fingerprint", 's'},
    {"statement", 's'}, {"count", 'q'}, {"abandoned", 'q'}, {"last_time", 'T'},
};

static const struct column listeners_columns[] = {
    {"database", 's'}, {"user", 's'}, {"channel", 's'}, {"state", 's'}, {"clients", 'i'},
    {"notifications", 'q'}, {"queued_bytes", 'q'}, {"worker", 'i'},
};

static const struct column lists_columns[] = {
    {"list", 's'}, {"items", 'i'},
};

static const struct column mem_columns[] = {
    {"name", 's'}, {"size", 'i'}, {"used", 'i'}, {"free", 'i'}, {"memtotal", 'i'},
};

static const struct column peers_columns[] = {
    {"peer_id", 'i'}, {"host", 's'}, {"port", 'i'}, {"pool_size", 'i'},
};

static const struct column peer_pools_columns[] = {
    {"peer_id", 'i'}, {"cl_active_cancel_req", 'i'}, {"cl_waiting_cancel_req", 'i'}, {"sv_active_cancel", 'i'},
    {"sv_login", 'i'},
};

static const struct column pinned_columns[] = {
    {"client", 's'}, {"server", 's'}, {"database", 's'}, {"user", 's'}, {"application_name", 's'},
    {"remote_pid", 'i'}, {"reason", 's'}, {"fingerprint", 's'}, {"statement", 's'}, {"since", 'T'},
    {"idle", 'i'}, {"worker", 'i'},
};

static const struct column pools_columns[] = {
    {"database", 's'}, {"user", 's'}, {"cl_active", 'i'}, {"cl_waiting", 'i'}, {"cl_active_cancel_req", 'i'},
    {"cl_waiting_cancel_req", 'i'}, {"sv_active", 'i'}, {"sv_active_cancel", 'i'}, {"sv_being_canceled", 'i'},
    {"sv_idle", 'i'}, {"sv_used", 'i'}, {"sv_tested", 'i'}, {"sv_login", 'i'}, {"maxwait", 'i'},
    {"maxwait_us", 'i'}, {"pool_mode", 's'}, {"load_balance_hosts", 's'},
    /* ours */
    {"sv_moving", 'i'}, {"sv_closing", 'i'}, {"limit", 'i'}, {"utilization", 'N'},
    {"reserve", 'i'}, {"reserve_used", 'i'}, {"pinned", 'i'}, {"max_pinned", 'i'},
};

static const struct column prepared_columns[] = {
    {"name", 's'}, {"query", 's'}, {"parameters", 'i'}, {"clients", 'i'}, {"servers", 'i'}, {"hits", 'q'},
    {"misses", 'q'}, {"bytes", 'q'},
};

static const struct column state_columns[] = {
    {"key", 's'}, {"value", 's'},
};

static const struct column stats_columns[] = {
    {"database", 's'}, {"total_server_assignment_count", 'N'}, {"total_xact_count", 'N'},
    {"total_query_count", 'N'}, {"total_received", 'N'}, {"total_sent", 'N'}, {"total_xact_time", 'N'},
    {"total_query_time", 'N'}, {"total_wait_time", 'N'}, {"total_client_parse_count", 'N'},
    {"total_server_parse_count", 'N'}, {"total_bind_count", 'N'}, {"total_client_login_count", 'N'},
    {"avg_server_assignment_count", 'N'}, {"avg_xact_count", 'N'}, {"avg_query_count", 'N'}, {"avg_recv", 'N'},
    {"avg_sent", 'N'}, {"avg_xact_time", 'N'}, {"avg_query_time", 'N'}, {"avg_wait_time", 'N'},
    {"avg_client_parse_count", 'N'}, {"avg_server_parse_count", 'N'}, {"avg_bind_count", 'N'},
    {"avg_client_login_count", 'N'},
    /* total_query_count until PgBouncer 1.8: Debian's exporter reads it */
    {"total_requests", 'N'},
};

static const struct column stats_averages_columns[] = {
    {"database", 's'}, {"server_assignment_count", 'N'}, {"xact_count", 'N'}, {"query_count", 'N'},
    {"bytes_received", 'N'}, {"bytes_sent", 'N'}, {"xact_time", 'N'}, {"query_time", 'N'}, {"wait_time", 'N'},
    {"avg_client_parse_count", 'N'}, {"avg_server_parse_count", 'N'}, {"avg_bind_count", 'N'},
    {"avg_client_login_count", 'N'},
};

static const struct column stats_totals_columns[] = {
    {"database", 's'}, {"server_assignment_count", 'N'}, {"xact_count", 'N'}, {"query_count", 'N'},
    {"bytes_received", 'N'}, {"bytes_sent", 'N'}, {"xact_time", 'N'}, {"query_time", 'N'}, {"wait_time", 'N'},
    {"client_parse_count", 'N'}, {"server_parse_count", 'N'}, {"bind_count", 'N'}, {"client_login_count", 'N'},
};

static const struct column totals_columns[] = {
    {"name", 's'}, {"value", 'N'},
};

static const struct column users_columns[] = {
    {"name", 's'}, {"pool_size", 's'}, {"reserve_pool_size", 's'}, {"pool_mode", 's'},
    {"max_user_connections", 'i'}, {"current_connections", 'i'}, {"max_user_client_connections", 'i'},
    {"current_client_connections", 'i'},
};

static const struct column utilization_columns[] = {
    {"database", 's'}, {"user", 's'}, {"limit", 'i'}, {"active", 'i'}, {"idle", 'i'}, {"waiting", 'i'},
    {"utilization_now", 'N'}, {"utilization_1m", 'N'}, {"utilization_5m", 'N'}, {"utilization_15m", 'N'},
    {"utilization_60m", 'N'}, {"peak", 'i'}, {"saturated_seconds", 'N'},
    {"reserve", 'i'}, {"reserve_used", 'i'},
};

static const struct column version_columns[] = {
    {"version", 's'},
};

static const struct column workers_columns[] = {
    {"worker", 'i'}, {"clients", 'i'}, {"servers", 'i'}, {"handoffs", 'q'}, {"steals", 'q'}, {"adopted", 'q'},
    {"turns", 'q'}, {"busy_us", 'q'}, {"avg_turn_us", 'q'}, {"max_turn_us", 'q'}, {"listeners", 'i'},
    {"notifications", 'q'},
};

#define HAS(c) .columns = c, .n_columns = ARRAY_SIZE(c)

static const struct relation relations[] = {
    {.name = "HELP", .help = "this text"},
    {.name = "ACTIVE_SOCKETS", HAS(sockets_columns), .fill_gathered = show_active_sockets,
     .gather = GATHER_CLIENTS | GATHER_SERVERS, .help = "connections with something in their buffers"},
    {.name = "CLIENTS", HAS(clients_columns), .fill_gathered = show_clients, .gather = GATHER_CLIENTS,
     .help = "client connections"},
    {.name = "CONFIG", HAS(config_columns), .fill = show_config,
     .help = "settings, their defaults and where they come from"},
    {.name = "DATABASES", HAS(databases_columns), .fill = show_databases, .help = "databases and their limits"},
    {.name = "DNS_HOSTS", HAS(dns_hosts_columns), .fill = show_dns_hosts, .help = "host names and addresses"},
    {.name = "DNS_ZONES", HAS(dns_zones_columns), .fill = show_dns_zones,
     .help = "zones of host names (dns_zone_check_period)"},
    {.name = "ENVIRONMENT", HAS(environment_columns), .fill = show_environment,
     .help = "the environment profile in force and what it sets"},
    {.name = "ERRORS", HAS(errors_columns), .fill = show_errors,
     .help = "why connections were closed, and errors that servers sent"},
    {.name = "LATENCY", HAS(latency_columns), .fill = show_latency, .help = "how long things took, by pool"},
    {.name = "LEAKS", HAS(leaks_columns), .fill = show_leaks,
     .help = "who leaves state of a session behind when a transaction ends, and how often"},
    {.name = "LISTENERS", HAS(listeners_columns), .fill_gathered = show_listeners, .gather = GATHER_LISTENERS,
     .help = "channels that clients listen to, where servers are shared"},
    {.name = "LISTS", HAS(lists_columns), .fill = show_lists, .help = "how many of everything there are"},
    {.name = "MEM", HAS(mem_columns), .fill_gathered = show_memory, .gather = GATHER_MEMORY,
     .help = "memory, by what it is used for"},
    {.name = "PEERS", HAS(peers_columns), .fill = show_peers, .help = "where cancel requests are forwarded to"},
    {.name = "PEER_POOLS", HAS(peer_pools_columns), .fill = show_peer_pools,
     .help = "cancel requests under way to peers"},
    {.name = "PINNED", HAS(pinned_columns), .fill_gathered = show_pinned, .gather = GATHER_PINS,
     .help = "clients that keep their server beyond their transactions, and why"},
    {.name = "POOLS", HAS(pools_columns), .fill = show_pools, .help = "clients and servers, by pool"},
    {.name = "PREPARED", HAS(prepared_columns), .fill = show_prepared,
     .help = "prepared statements that clients share"},
    {.name = "SERVERS", HAS(clients_columns), .fill_gathered = show_servers, .gather = GATHER_SERVERS,
     .help = "server connections"},
    {.name = "SOCKETS", HAS(sockets_columns), .fill_gathered = show_sockets,
     .gather = GATHER_CLIENTS | GATHER_SERVERS, .help = "client and server connections, with their buffers"},
    {.name = "STATE", HAS(state_columns), .fill = show_state, .help = "whether the pooler is active or paused"},
    {.name = "STATS", HAS(stats_columns), .fill = show_stats, .help = "totals and averages, by database"},
    {.name = "STATS_AVERAGES", HAS(stats_averages_columns), .fill = show_stats_averages,
     .help = "averages of the last stats_period, by database"},
    {.name = "STATS_TOTALS", HAS(stats_totals_columns), .fill = show_stats_totals,
     .help = "totals, by database"},
    {.name = "TOTALS", HAS(totals_columns), .fill = show_totals, .help = "totals and averages of the whole"},
    {.name = "USERS", HAS(users_columns), .fill = show_users, .help = "users and their limits"},
    {.name = "UTILIZATION", HAS(utilization_columns), .fill = show_utilization,
     .help = "how much of each pool was in use, now and lately"},
    {.name = "VERSION", HAS(version_columns), .fill = show_version, .help = "the version"},
    {.name = "WORKERS", HAS(workers_columns), .fill = show_workers, .help = "the worker threads"},
};
/* clang-format on */

size_t relation_count(void)
{
    return ARRAY_SIZE(relations);
}

const struct relation *relation_at(size_t i)
{
    return &relations[i];
}

const struct relation *relation_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(relations); i++) {
        if (strcasecmp(relations[i].name, name) == 0)
            return &relations[i];
    }
    return NULL;
}

void relation_hint(const char *name, char *hint, size_t size)
{
    const char *names[ARRAY_SIZE(relations)], *nearest;

    for (size_t i = 0; i < ARRAY_SIZE(relations); i++)
        names[i] = relations[i].name;
    nearest = str_nearest(name, names, ARRAY_SIZE(relations));
    hint[0] = '\0';
    if (nearest != NULL)
        snprintf(hint, size, "Did you mean SHOW %s?", nearest);
}
