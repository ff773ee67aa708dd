/*
 * settings.h - one typed field per setting, named as the setting.
 *
 * Times are microseconds (`_us`); strings are never NULL ("" when unset) and
 * belong to the snapshot (config.h). The option table (options.h) maps names to
 * these fields. Fields stand in the order of SHOW CONFIG; our own come last.
 */
#ifndef CONFIG_SETTINGS_H
#define CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

enum config_auth_type {
    AUTH_TYPE_ANY,
    AUTH_TYPE_TRUST,
    AUTH_TYPE_PLAIN,
    AUTH_TYPE_MD5,
    AUTH_TYPE_CERT,
    AUTH_TYPE_HBA,
    AUTH_TYPE_LDAP,
    AUTH_TYPE_PAM,
    AUTH_TYPE_SCRAM_SHA_256,
    AUTH_TYPE_PEER, /* ours */
};

enum config_pool_mode { POOL_MODE_SESSION, POOL_MODE_TRANSACTION, POOL_MODE_STATEMENT };
/* "not set here": databases and users inherit. */
#define POOL_MODE_INHERIT (-1)

/* What becomes of what a client's session has and a transaction does not take back, where servers are shared.
 */
enum config_session_state {
    SESSION_STATE_TRACK,  /* its settings follow it; for what cannot move it keeps its server */
    SESSION_STATE_PIN,    /* it keeps its server for both */
    SESSION_STATE_WARN,   /* as ignore, and the log says so */
    SESSION_STATE_ERROR,  /* settings are refused; for what cannot move it keeps its server */
    SESSION_STATE_IGNORE, /* it stays with the server */
};
#define SESSION_STATE_INHERIT (-1)

/* Which lines of auth_file count for a user that stands there more than once. */
enum config_passwords { PASSWORDS_LAST, PASSWORDS_ALL };

enum config_sslmode {
    SSLMODE_DISABLE,
    SSLMODE_ALLOW,
    SSLMODE_PREFER,
    SSLMODE_REQUIRE,
    SSLMODE_VERIFY_CA,
    SSLMODE_VERIFY_FULL,
};

/* Logins by SCRAM that are bound to their TLS connection; libpq's words. */
enum config_channel_binding {
    CHANNEL_BINDING_DISABLE,
    CHANNEL_BINDING_PREFER,
    CHANNEL_BINDING_REQUIRE,
};

enum config_metrics_compat { METRICS_COMPAT_NONE, METRICS_COMPAT_PGBOUNCER };

enum config_load_balance_hosts { LOAD_BALANCE_DISABLE, LOAD_BALANCE_ROUND_ROBIN };

/* What a server has to be; the words and their meaning are libpq's. */
enum config_sslnegotiation {
    SSLNEGOTIATION_POSTGRES, /* SSLRequest first */
    SSLNEGOTIATION_DIRECT,   /* TLS from the first byte on; PostgreSQL 17 */
};

enum config_target_session_attrs {
    TARGET_ANY,
    TARGET_READ_WRITE,
    TARGET_READ_ONLY,
    TARGET_PRIMARY,
    TARGET_STANDBY,
    TARGET_PREFER_STANDBY,
};

/* session pooling: what a server is linked for first. */
enum config_session_link { SESSION_LINK_QUERY, SESSION_LINK_LOGIN };

/* After what DISCARD ALL is not run. */
enum config_reset_query_skip { RESET_QUERY_SKIP_OFF, RESET_QUERY_SKIP_CERTAIN, RESET_QUERY_SKIP_SEEN };

/* What the timeouts that end a running query or a transaction do. */
enum config_timeout_action { TIMEOUT_ACTION_DISCONNECT, TIMEOUT_ACTION_CANCEL };

/* Enum fields are int, so that the table can set them all alike; 0/1 switches are int as in
 * PgBouncer, where every value but 0 means on. */
/* What SIGTERM does. */
enum config_sigterm_action {
    SIGTERM_WAIT_FOR_CLIENTS,
    SIGTERM_WAIT_FOR_SERVERS,
    SIGTERM_DRAIN,
    SIGTERM_WAIT_THEN_DRAIN,
    SIGTERM_IMMEDIATE,
};

struct settings {
    const char *admin_users;
    int application_name_add_host;
    const char *auth_dbname;
    const char *auth_file;
    const char *auth_hba_file;
    const char *auth_ident_file;
    const char *auth_ldap_options;
    const char *auth_query;
    int auth_type; /* enum config_auth_type */
    const char *auth_user;
    int64_t autodb_idle_timeout_us;
    int64_t cancel_wait_timeout_us;
    int64_t client_idle_timeout_us;
    int64_t client_login_timeout_us;
    const char *client_tls13_ciphers;
    const char *client_tls_ca_file;
    const char *client_tls_cert_file;
    const char *client_tls_ciphers;
    const char *client_tls_dheparams;
    const char *client_tls_ecdhcurve;
    const char *client_tls_key_file;
    const char *client_tls_protocols;
    int client_tls_sslmode; /* enum config_sslmode */
    const char *conffile;   /* the file that the next reload reads */
    int default_pool_size;
    int disable_pqexec;
    int64_t dns_max_ttl_us;
    int64_t dns_nxdomain_ttl_us;
    int64_t dns_zone_check_period_us;
    int64_t idle_transaction_timeout_us;
    const char *ignore_startup_parameters; /* see config_ignores_parameter() */
    const char *job_name;
    const char *listen_addr; /* comma list; "*" all, "" no TCP */
    int listen_backlog;
    int listen_port;
    int log_connections;
    int log_disconnections;
    int log_pooler_errors;
    int log_stats;
    const char *logfile;
    const char *login_notify_message;
    int max_client_conn;
    int max_db_client_connections; /* 0 = no limit, as in the next ones */
    int max_db_connections;
    uint32_t max_packet_size; /* bytes */
    int max_prepared_statements;
    int max_user_client_connections;
    int max_user_connections;
    int min_pool_size;
    int peer_id;
    const char *pidfile;
    int pkt_buf;
    int pool_mode; /* enum config_pool_mode */
    int64_t pool_idle_timeout_us;
    int64_t query_timeout_us;
    int query_wait_notify; /* seconds */
    int64_t query_wait_timeout_us;
    int reserve_pool_size;
    int64_t reserve_pool_timeout_us;
    const char *resolv_conf;
    int sbuf_loopcnt;
    int scram_iterations;
    int64_t server_check_delay_us;
    const char *server_check_query; /* "<empty>" = an empty query, "" = no check */
    int64_t server_connect_timeout_us;
    int server_fast_close;
    int64_t server_idle_timeout_us;
    int64_t server_lifetime_us;
    int64_t server_login_retry_us;
    const char *server_reset_query;
    int server_reset_query_always;
    int server_reset_query_skip; /* enum config_reset_query_skip */
    int server_round_robin;
    const char *server_tls13_ciphers;
    const char *server_tls_ca_file;
    const char *server_tls_cert_file;
    const char *server_tls_ciphers;
    const char *server_tls_key_file;
    const char *server_tls_protocols;
    int server_tls_sslmode; /* enum config_sslmode */
    int so_reuseport;
    int64_t drain_grace_time_us;
    int shutdown_rate; /* clients per second; 0 = no limit */
    int64_t shutdown_timeout_us;
    int sigterm_action; /* enum config_sigterm_action */
    int stats_period;   /* seconds */
    const char *stats_users;
    int64_t suspend_timeout_us;
    int syslog;
    const char *syslog_facility;
    const char *syslog_ident;
    int tcp_defer_accept;
    int tcp_keepalive;
    int tcp_keepcnt;
    int tcp_keepidle;      /* seconds */
    int tcp_keepintvl;     /* seconds */
    int tcp_socket_buffer; /* bytes */
    int tcp_user_timeout;  /* milliseconds */
    const char *track_extra_parameters;
    int64_t transaction_timeout_us;
    const char *unix_socket_dir;
    const char *unix_socket_group;
    int unix_socket_mode;
    const char *user;
    int verbose;

    /* ours */
    int allow_core_dumps;
    int auth_check_threads; /* for each service or directory */
    int64_t auth_failure_delay_us;
    int auth_failure_limit; /* 0 = nobody is blocked */
    int64_t auth_failure_period_us;
    const char *auth_ident_map; /* of auth_ident_file, for auth_type cert and peer */
    int64_t auth_query_cache_time_us;
    int client_tls_compact;
    int client_tls_kernel;          /* where client_tls_compact is on, and the kernel can */
    int client_tls_channel_binding; /* enum config_channel_binding */
    const char *environment;        /* name of the profile in force, "" none */
    int64_t handoff_slack_us;   /* T: how long a waiter may be overtaken by waiters of the freeing worker */
    int handoff_burst;          /* K: by how many later ones it may be overtaken */
    const char *http_listen;    /* list for address_next(), "" none */
    int max_logins_in_progress; /* TLS handshakes, of all workers together; 0 = no limit */
    int metrics_compat;         /* enum config_metrics_compat */
    int server_tls_channel_binding; /* enum config_channel_binding */
    int listen;
    int listen_queue_size; /* bytes */
    int sql_prepare;
    int max_pinned; /* -1: by the size of the pool */
    int64_t pin_idle_timeout_us;
    int session_link;  /* enum config_session_link */
    int session_state; /* enum config_session_state */
    int strict;
    int timeout_action; /* enum config_timeout_action */
    int workers;        /* 0 = auto */

    /* accepted, not shown */
    const char *service_name;
};

/* Names as in the ini file; NULL when the value is out of range. */
const char *config_auth_type_name(int auth_type);
const char *config_pool_mode_name(int pool_mode);
const char *config_session_state_name(int session_state);
const char *config_sslmode_name(int sslmode);
const char *config_load_balance_hosts_name(int value);
const char *config_target_session_attrs_name(int value);

#endif
