/*
 * options.c - the option table, in the order of SHOW CONFIG.
 *
 * PgBouncer's settings come first, by their names, types and defaults; then
 * ours; then what is accepted without being shown. Adding a setting is adding a
 * field to struct settings and a row here. Constant; any thread.
 * Not here: parsing and printing of values (value.c).
 */
#include "config.h"

#include <limits.h>
#include <strings.h>

#include "base/str.h"
#include "config_int.h"

/* Neither the port of PgBouncer's usual exporter nor of another usual one: a swapped binary takes nobody's
 * place. */
#define CONFIG_HTTP_LISTEN_DEFAULT "127.0.0.1:9632"

/* The offset of a field; does not compile when the field is not of that type. */
#define FIELD(type, field)                                                                                   \
    (offsetof(struct settings, field) + 0 * sizeof((type *)0 == &((struct settings *)0)->field))

#define INT(name, default_text, min, max, flags, doc)                                                        \
    {                                                                                                        \
#name, OPTION_INT, (flags), FIELD(int, name), default_text, min, max, NULL, doc                      \
    }
#define UINT(name, default_text, min, max, flags, doc)                                                       \
    {                                                                                                        \
#name, OPTION_UINT, (flags), FIELD(uint32_t, name), default_text, min, max, NULL, doc                \
    }
#define BOOL(name, default_text, flags, doc)                                                                 \
    {                                                                                                        \
#name, OPTION_BOOL, (flags), FIELD(int, name), default_text, 0, INT_MAX, NULL, doc                   \
    }
#define TIME(name, default_text, flags, doc)                                                                 \
    {                                                                                                        \
#name, OPTION_TIME, (flags), FIELD(int64_t, name##_us), default_text, 0, INT64_MAX, NULL, doc        \
    }
#define STR(name, default_text, flags, doc)                                                                  \
    {                                                                                                        \
#name, OPTION_STR, (flags), FIELD(const char *, name), default_text, 0, 0, NULL, doc                 \
    }
#define ENUM(name, default_text, names, flags, doc)                                                          \
    {                                                                                                        \
#name, OPTION_ENUM, (flags), FIELD(int, name), default_text, 0, 0, names, doc                        \
    }

enum {
    R = OPTION_RELOADABLE,
    SECRET = OPTION_SECRET,
    NONE = OPTION_NO_MEANING,
    UNSET = OPTION_UNSET,
    OURS = OPTION_OURS,
    NO_SET = OPTION_NO_SET,
#ifdef HAVE_CARES
    CARES = 0,
#else
    CARES = OPTION_LACKS_CARES,
#endif
#ifdef HAVE_LDAP
    LDAP = 0,
#else
    LDAP = OPTION_LACKS_LDAP,
#endif
};

#ifdef HAVE_LDAP
#define NEEDS_LDAP NULL
#else
#define NEEDS_LDAP "libldap"
#endif
#ifdef HAVE_PAM
#define NEEDS_PAM NULL
#else
#define NEEDS_PAM "libpam"
#endif

static const struct config_option_name auth_types[] = {
    {"any", AUTH_TYPE_ANY, NULL},
    {"trust", AUTH_TYPE_TRUST, NULL},
    {"plain", AUTH_TYPE_PLAIN, NULL},
    {"md5", AUTH_TYPE_MD5, NULL},
    {"cert", AUTH_TYPE_CERT, NULL},
    {"hba", AUTH_TYPE_HBA, NULL},
    {"ldap", AUTH_TYPE_LDAP, NEEDS_LDAP},
    {"pam", AUTH_TYPE_PAM, NEEDS_PAM},
    {"scram-sha-256", AUTH_TYPE_SCRAM_SHA_256, NULL},
    {"peer", AUTH_TYPE_PEER, NULL},
    {NULL, 0, NULL},
};

static const struct config_option_name pool_modes[] = {
    {"session", POOL_MODE_SESSION, NULL},
    {"transaction", POOL_MODE_TRANSACTION, NULL},
    {"statement", POOL_MODE_STATEMENT, NULL},
    {NULL, 0, NULL},
};

static const struct config_option_name session_states[] = {
    {"track", SESSION_STATE_TRACK, NULL},   {"pin", SESSION_STATE_PIN, NULL},
    {"warn", SESSION_STATE_WARN, NULL},     {"error", SESSION_STATE_ERROR, NULL},
    {"ignore", SESSION_STATE_IGNORE, NULL}, {NULL, 0, NULL},
};

static const struct config_option_name sigterm_actions[] = {
    {"wait_for_clients", SIGTERM_WAIT_FOR_CLIENTS, NULL},
    {"wait_for_servers", SIGTERM_WAIT_FOR_SERVERS, NULL},
    {"drain", SIGTERM_DRAIN, NULL},
    {"wait_then_drain", SIGTERM_WAIT_THEN_DRAIN, NULL},
    {"immediate", SIGTERM_IMMEDIATE, NULL},
    {NULL, 0, NULL},
};

static const struct config_option_name sslmodes[] = {
    {"disable", SSLMODE_DISABLE, NULL},
    {"allow", SSLMODE_ALLOW, NULL},
    {"prefer", SSLMODE_PREFER, NULL},
    {"require", SSLMODE_REQUIRE, NULL},
    {"verify-ca", SSLMODE_VERIFY_CA, NULL},
    {"verify-full", SSLMODE_VERIFY_FULL, NULL},
    {NULL, 0, NULL},
};

static const struct config_option_name sslnegotiations[] = {
    {"postgres", SSLNEGOTIATION_POSTGRES, NULL},
    {"direct", SSLNEGOTIATION_DIRECT, NULL},
    {NULL, 0, NULL},
};

static const struct config_option_name channel_bindings[] = {
    {"disable", CHANNEL_BINDING_DISABLE, NULL},
    {"prefer", CHANNEL_BINDING_PREFER, NULL},
    {"require", CHANNEL_BINDING_REQUIRE, NULL},
    {NULL, 0, NULL},
};

static const struct config_option_name load_balances[] = {
    {"disable", LOAD_BALANCE_DISABLE, NULL},
    {"round-robin", LOAD_BALANCE_ROUND_ROBIN, NULL},
    {NULL, 0, NULL},
};

static const struct config_option_name targets[] = {
    {"any", TARGET_ANY, NULL},
    {"read-write", TARGET_READ_WRITE, NULL},
    {"read-only", TARGET_READ_ONLY, NULL},
    {"primary", TARGET_PRIMARY, NULL},
    {"standby", TARGET_STANDBY, NULL},
    {"prefer-standby", TARGET_PREFER_STANDBY, NULL},
    {NULL, 0, NULL},
};

static const struct config_option_name passwords[] = {
    {"last", PASSWORDS_LAST, NULL},
    {"all", PASSWORDS_ALL, NULL},
    {NULL, 0, NULL},
};

static const struct config_option_name session_links[] = {
    {"query", SESSION_LINK_QUERY, false},
    {"login", SESSION_LINK_LOGIN, false},
    {NULL, 0, false},
};

static const struct config_option_name reset_query_skips[] = {
    {"off", RESET_QUERY_SKIP_OFF, NULL},
    {"certain", RESET_QUERY_SKIP_CERTAIN, NULL},
    {"seen", RESET_QUERY_SKIP_SEEN, NULL},
    {NULL, 0, NULL},
};

static const struct config_option_name timeout_actions[] = {
    {"disconnect", TIMEOUT_ACTION_DISCONNECT, NULL},
    {"cancel", TIMEOUT_ACTION_CANCEL, NULL},
    {NULL, 0, NULL},
};

#define AUTH_QUERY_DEFAULT                                                                                   \
    "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid "         \
    "WHERE rolname=$1 AND rolcanlogin"

static const struct config_option_name metrics_compats[] = {
    {"none", METRICS_COMPAT_NONE, NULL},
    {"pgbouncer", METRICS_COMPAT_PGBOUNCER, NULL},
    {NULL, 0, NULL},
};

static const struct config_option options[] = {
    STR(admin_users, "", R, "Users who may run every command of the admin console; a comma-separated list."),
    INT(application_name_add_host, "0", 0, INT_MAX, R,
        "1: append the client's address to its application_name."),
    STR(auth_dbname, "", R | UNSET,
        "Database (of [databases]) in which auth_query runs; unset: the one that the client asks for. Also a "
        "key of [databases]. Without it auth_query does not find users of the console. Set it where there is "
        "a "
        "line for *: without it each database that a stranger names is connected to before he has proved who "
        "he is, and when 1000 of them could not be reached, further ones are refused until some have not "
        "been "
        "asked for during autodb_idle_timeout. With it no database is connected to before the user is "
        "known."),
    STR(auth_file, "", R | UNSET,
        "File of user names and secrets: plain passwords, md5 hashes or SCRAM verifiers."),
    STR(auth_hba_file, "", R,
        "File of rules for auth_type = hba: who may log in from where, and how, as in PostgreSQL's "
        "pg_hba.conf. A rule with something that is not supported (names of hosts, +role, samerole, include "
        "directives, methods beyond trust, reject, password, md5, scram-sha-256, peer, cert, pam and ldap) "
        "is an error "
        "with file and line, at the start and on RELOAD, which then changes nothing."),
    STR(auth_ident_file, "", R | UNSET,
        "File of maps from names in certificates and of operating-system users to database users, as in "
        "PostgreSQL's pg_ident.conf. Rules of auth_hba_file name a map with map=NAME; see also "
        "auth_ident_map."),
    STR(auth_ldap_options, "", R | SECRET | UNSET | LDAP,
        "How auth_type = ldap asks the directory: the options that PostgreSQL's pg_hba.conf has for its "
        "method "
        "ldap, with blanks between them, values with blanks or commas in double quotes. A simple bind: "
        "ldapserver, "
        "ldapprefix, ldapsuffix. Or a search and a bind as what was found: ldapserver, ldapbasedn, "
        "ldapbinddn, "
        "ldapbindpasswd, ldapsearchattribute or ldapsearchfilter. Both: ldapport, ldaptls, ldapscheme; or "
        "most "
        "of it in one ldapurl. Rules of auth_hba_file have options of their own. Where there is a password "
        "in it, "
        "it is shown as ***."),
    STR(auth_query, AUTH_QUERY_DEFAULT, R,
        "Query that looks up a user whom auth_file does not name, run as auth_user with the name as $1. It "
        "gives one row of two columns, the name and the secret as in pg_authid (NULL: no password is right), "
        "or none. It runs on connections of its own, one look-up per user at a time however many log in; see "
        "auth_query_cache_time. Empty: nobody is looked up. Also a key of [databases]."),
    ENUM(auth_type, "md5", auth_types, R,
         "How clients prove who they are: any and trust ask for nothing (any lets every name in), plain asks "
         "for the password in clear text, md5 uses md5 unless the stored secret is a SCRAM verifier, "
         "scram-sha-256 uses SCRAM only, cert takes the common name of a verified client certificate (over "
         "TLS only), peer the operating-system user (over the Unix socket only), hba goes by the rules in "
         "auth_hba_file. pam and ldap ask for the password in clear text, so use TLS, and let PAM (service "
         "pgbouncer) or an LDAP directory (see auth_ldap_options) say whether it is right; auth_file and "
         "auth_query are not asked then. With that password pgsluice logs in at the server, unless the "
         "database's "
         "line has a user."),
    STR(auth_user, "", R | UNSET,
        "User who runs auth_query for the users that auth_file does not name; its own secret stands in "
        "auth_file. Unset: nobody is looked up. Also a key of [databases]."),
    TIME(autodb_idle_timeout, "3600", R,
         "Databases that were made from the * entry are forgotten when no client has used them for this "
         "long; 0: never."),
    TIME(
        cancel_wait_timeout, "10", R,
        "How long a cancel request may wait for its turn, and for PostgreSQL to take it; then whoever sent "
        "it is "
        "disconnected, and a server that might still be hit by it is not given to another client. 0: without "
        "limit."),
    TIME(client_idle_timeout, "0", R,
         "Clients that are idle outside of a transaction for this long are disconnected; 0: never. Also a "
         "key of [users]."),
    TIME(client_login_timeout, "60", R,
         "Clients that have not logged in within this time are disconnected; 0: never."),
    STR(client_tls13_ciphers, "", R | UNSET,
        "Cipher suites of TLS 1.3 for clients, as OpenSSL names them, with : between; empty: OpenSSL's."),
    STR(client_tls_ca_file, "", R,
        "Certificates of the authorities that client certificates are checked against. Needed for verify-ca "
        "and "
        "verify-full; in the other modes a client's certificate is checked if this is set, and the client "
        "let in "
        "all the same, but as nobody whom a certificate proves."),
    STR(client_tls_cert_file, "", R,
        "Certificate that is shown to clients, and those between it and its authority. It is read again by "
        "RELOAD, as are the other files; a bad one refuses the RELOAD."),
    STR(client_tls_ciphers, "default", R,
        "Ciphers up to TLS 1.2 for clients: default, secure, fast, normal, compat, legacy, all, or a list in "
        "OpenSSL's words."),
    STR(client_tls_dheparams, "auto", R,
        "Diffie-Hellman parameters for clients: auto, none (no such ciphers) or legacy (1024 bits)."),
    STR(client_tls_ecdhcurve, "auto", R,
        "Elliptic curves for clients: auto, none (no such ciphers up to TLS 1.2), or names with : between."),
    STR(client_tls_key_file, "", R, "Private key of client_tls_cert_file."),
    STR(client_tls_protocols, "secure", R,
        "TLS versions that clients may use: all, secure, or a list such as tlsv1.2,tlsv1.3."),
    ENUM(client_tls_sslmode, "disable", sslmodes, R,
         "TLS with clients. disable: none; allow and prefer: for clients that ask for it; require: clients "
         "without it are refused; verify-ca and verify-full: and so are those without a certificate of "
         "client_tls_ca_file's authorities. Unix sockets are without TLS, and let in whatever this says. "
         "Clients may ask for TLS before the start-up packet, or begin with it (libpq's "
         "sslnegotiation = direct)."),
    STR(conffile, "", R | UNSET,
        "The file that the next reload reads; by default the one given on the command line."),
    INT(default_pool_size, "20", 0, INT_MAX, R,
        "Server connections per database and user, unless the database or the user says otherwise. The bound "
        "holds over all workers together."),
    INT(disable_pqexec, "0", 0, INT_MAX, 0,
        "1: refuse the simple query protocol, which allows several statements in one string."),
    TIME(
        dns_max_ttl, "15", R,
        "How long the addresses of a host name are remembered at most. The name of a host that is in use is "
        "looked up again when that time, or the time that the name server gives, is over; server connections "
        "to addresses that are no longer among the answers are closed when they come free."),
    TIME(dns_nxdomain_ttl, "15", R, "How long it is remembered that a host name has no address."),
    TIME(
        dns_zone_check_period, "0", R | CARES,
        "How often the name server is asked for the serial number of the zones of host names in use; a "
        "name's zone is what comes behind its first dot. When the number has risen, all names of the zone "
        "are "
        "looked up again, however long their addresses were to be remembered, so dns_max_ttl may be long; 0: "
        "never. Needs c-ares."),
    TIME(idle_transaction_timeout, "0", R,
         "Clients that sit idle in a transaction for this long are disconnected, or see timeout_action; 0: "
         "never. Also a key of [users]."),
    STR(ignore_startup_parameters, "", R,
        "Startup parameters that are accepted and dropped; a comma-separated list. All others are the "
        "client's "
        "settings, whatever server it gets."),
    STR(job_name, "pgbouncer", 0, "Name of this process in logs."),
    STR(listen_addr, "", 0,
        "Addresses to listen on: a comma-separated list, * for all; empty: Unix socket only."),
    INT(listen_backlog, "128", 0, INT_MAX, 0,
        "Length of the kernel's queue of connections that have not been accepted yet."),
    INT(listen_port, "6432", 0, 65535, 0,
        "Port of the TCP sockets, and part of the name of the Unix socket."),
    INT(log_connections, "1", 0, INT_MAX, R, "1: log each login."),
    INT(log_disconnections, "1", 0, INT_MAX, R, "1: log the end of each connection, with the reason."),
    INT(log_pooler_errors, "1", 0, INT_MAX, R, "1: log the errors that are sent to clients."),
    INT(log_stats, "1", 0, INT_MAX, R, "1: log the sums of traffic once in each stats_period."),
    STR(logfile, "", R, "File to log to; it is opened again on reload."),
    STR(login_notify_message, "", R, "Notice that is sent to each client after its login."),
    INT(max_client_conn, "100", 0, INT_MAX, R,
        "Clients that may be connected at one time, be they logged in or not. Console sessions do not count; "
        "they get in when all places are taken. While they are, an address (IPv6: a network of 64 bits) that "
        "has "
        "more logins in progress than others gives the oldest of them up to a newcomer of another address."),
    INT(max_db_client_connections, "0", 0, INT_MAX, R,
        "Clients per database (the name that they connect to), over all its users, once they have proved who "
        "they are; 0: no limit. Who is in stays in when it is lowered."),
    INT(max_db_connections, "0", 0, INT_MAX, R,
        "Server connections per database, over all its users; 0: no limit. An idle connection of one pool "
        "gives way to another pool that starves; where all are busy, pools take turns."),
    UINT(max_packet_size, "2147483647", 0, UINT32_MAX, R,
         "Largest message, in bytes, that is passed on, in either direction: one query, one parameter set, "
         "one "
         "row. A result may be larger. Who sends a larger one is disconnected."),
    INT(max_prepared_statements, "200", 0, INT_MAX, R,
        "Prepared statements kept per server connection, so that statements that clients prepare by the "
        "protocol (and in SQL, see sql_prepare) work with transaction and statement pooling: equal ones of "
        "all "
        "clients share one on the server, made there when it is first needed; beyond this number the one "
        "used "
        "least recently goes. 0: named statements are passed on as they are, and are found again only on the "
        "same server connection; clients that have prepared something already are not concerned. One "
        "statement may have 16 MB, those of one client 32 MB, and all together 256 MB."),
    INT(max_user_client_connections, "0", 0, INT_MAX, R,
        "Clients per user (the name that they log in with), over all databases, once they have proved who "
        "they are; 0: no limit. Who is in stays in when it is lowered."),
    INT(max_user_connections, "0", 0, INT_MAX, R,
        "Server connections per user, over all databases; 0: no limit."),
    INT(min_pool_size, "0", 0, INT_MAX, R,
        "Server connections that a pool in use keeps open even when idle."),
    INT(peer_id, "0", 0, 16383, R,
        "Number of this process among its peers, to which it forwards cancel requests that are theirs; see "
        "the "
        "section [peers]. 0: no peers. A change counts for clients that connect later; cancel requests of "
        "the others are lost."),
    STR(pidfile, "", 0, "File to write the process id to."),
    INT(pkt_buf, "4096", 0, INT_MAX, NONE, "Size of PgBouncer's buffers."),
    ENUM(pool_mode, "session", pool_modes, R,
         "When a server connection goes back to the pool: after the session, the transaction or the "
         "statement."),
    TIME(pool_idle_timeout, "0", R,
         "Pools without clients close their servers and are forgotten after this long; 0: never. Databases "
         "of the * entry go by autodb_idle_timeout."),
    TIME(query_timeout, "0", R,
         "Queries that take longer than this, the wait for a server connection included, are canceled and "
         "their clients disconnected, or see timeout_action; 0: never. It counts from what the client sent "
         "last, so COPY FROM STDIN may go on for as long as data come. Also a key of [users]."),
    INT(query_wait_notify, "5", 0, INT_MAX, R,
        "Seconds after which a client that waits for a server connection is told so by a notice; 0: never."),
    TIME(query_wait_timeout, "120", R,
         "Clients that wait longer than this for a server connection are disconnected; 0: never."),
    INT(reserve_pool_size, "0", 0, INT_MAX, R,
        "Server connections beyond pool_size that a pool may open for clients which have waited for "
        "reserve_pool_timeout; 0: none. They live on like any other until server_idle_timeout or "
        "server_lifetime; the limits of the database and of the user hold over them."),
    TIME(reserve_pool_timeout, "5", R,
         "How long a client waits before its pool may open a connection of its reserve for it; 0: the "
         "reserve is not used."),
    STR(resolv_conf, "", 0,
        "Another resolv.conf for host name lookups, read at start and on reload; empty: the system's. It "
        "needs "
        "c-ares (see pgsluice --version)."),
    INT(sbuf_loopcnt, "5", 0, INT_MAX, R | NONE,
        "How many of its buffers PgBouncer handles for one connection before it turns to the next."),
    INT(scram_iterations, "4096", 1, INT_MAX, R,
        "Iterations for SCRAM secrets that are made from plain passwords."),
    TIME(server_check_delay, "30", R,
         "A server connection that was released this recently is not checked before it is used again."),
    STR(server_check_query, "<empty>", R,
        "Query that checks a server connection before use; <empty>: an empty query; nothing: no check."),
    TIME(server_connect_timeout, "15", R,
         "How long connecting and logging in to a server may take; 0: without limit."),
    INT(server_fast_close, "0", 0, INT_MAX, R,
        "1: in session pooling, close a server connection that is to be replaced as soon as it is idle, "
        "without "
        "waiting for the end of the session."),
    TIME(server_idle_timeout, "600", R,
         "Server connections that were idle for this long are closed; 0: never."),
    TIME(server_lifetime, "3600", R,
         "Server connections older than this are closed when unused; 0: after one use."),
    TIME(server_login_retry, "15", R,
         "Longest pause between attempts to connect after failures. Pauses grow from 0.1 s up to this after "
         "logins that the server refuses, and up to 2 s at most while it cannot be reached."),
    STR(server_reset_query, "DISCARD ALL", R,
        "Query that cleans a server connection up before the next client gets it."),
    INT(server_reset_query_always, "0", 0, INT_MAX, R,
        "1: run server_reset_query in all pool modes, not in session pooling only."),
    INT(server_round_robin, "0", 0, INT_MAX, R,
        "1: use idle server connections in turn; 0: the last one used first."),
    STR(server_tls13_ciphers, "", R | UNSET, "Cipher suites of TLS 1.3 for servers."),
    STR(server_tls_ca_file, "", R,
        "Certificates of the authorities that server certificates are checked against."),
    STR(server_tls_cert_file, "", R, "Certificate that is shown to servers which ask for one."),
    STR(server_tls_ciphers, "default", R,
        "Ciphers up to TLS 1.2 for servers: default, secure, compat, legacy or an OpenSSL list."),
    STR(server_tls_key_file, "", R, "Private key of server_tls_cert_file."),
    STR(server_tls_protocols, "secure", R,
        "TLS versions used with servers: all, secure, or a list such as tlsv1.2,tlsv1.3."),
    ENUM(server_tls_sslmode, "prefer", sslmodes, R,
         "TLS with servers: disable; allow and prefer: if the server offers it; require; verify-ca and "
         "verify-full: "
         "with a certificate that is checked, the latter for the host name too."),
    INT(so_reuseport, "0", 0, INT_MAX, 0,
        "1: let several processes listen on one port; each needs its own unix_socket_dir, and a peer_id, so "
        "that cancel requests find the process that they are for. One process with workers does not need "
        "it."),
    INT(stats_period, "60", 1, INT_MAX, R, "Seconds over which averages are taken."),
    STR(stats_users, "", R,
        "Users who may run the SHOW commands of the admin console; a comma-separated list."),
    TIME(suspend_timeout, "10", R | NONE,
         "How long PgBouncer waits for its buffers when it is suspended; SUSPEND is PAUSE here."),
    INT(syslog, "0", 0, INT_MAX, R, "1: log to syslog."),
    STR(syslog_facility, "daemon", R, "Facility of syslog lines."),
    STR(syslog_ident, "pgbouncer", R, "Name of the program in syslog lines."),
    BOOL(tcp_defer_accept, "1", R, "Accept a TCP connection only when the client has sent something."),
    INT(tcp_keepalive, "1", 0, INT_MAX, R, "1: let the kernel probe idle TCP connections."),
    INT(tcp_keepcnt, "0", 0, INT_MAX, R,
        "Probes without answer before a connection is given up; 0: the system's."),
    INT(tcp_keepidle, "0", 0, INT_MAX, R, "Seconds of silence before the first probe; 0: the system's."),
    INT(tcp_keepintvl, "0", 0, INT_MAX, R, "Seconds between probes; 0: the system's."),
    INT(tcp_socket_buffer, "0", 0, INT_MAX, R, "Size of socket buffers in bytes; 0: the system's."),
    INT(tcp_user_timeout, "0", 0, INT_MAX, R,
        "Milliseconds that sent data may stay unacknowledged; 0: the system's."),
    STR(track_extra_parameters, "IntervalStyle", NONE,
        "Parameters that PgBouncer keeps per client beside the usual ones. Here that is all that the server "
        "reports, "
        "and all that a client gives at its login."),
    TIME(transaction_timeout, "0", R,
         "Transactions that last longer than this, single statements included, are ended by disconnecting "
         "the client, or see timeout_action; 0: never. Also a key of [users]."),
    STR(unix_socket_dir, "/tmp", 0,
        "Directory of the Unix socket, or @NAME for an abstract one; empty: none."),
    STR(unix_socket_group, "", 0, "Group that the Unix socket is given to."),
    INT(unix_socket_mode, "0777", 0, 07777, 0, "Permissions of the Unix socket."),
    STR(user, "", UNSET, "User to change to when started by root."),
    INT(verbose, "0", 0, INT_MAX, R | UNSET, "0: the usual log lines; 1: debugging; 2: more of it."),

    BOOL(allow_core_dumps, "0", OURS,
         "1: a crash may leave a core dump, and a debugger run by the same user may look into the process. "
         "There are passwords, keys and data of all clients in it, so 0 forbids both to all but root."),
    INT(auth_check_threads, "4", 1, 16, R | OURS,
        "How many passwords PAM (each service of it) or the directory of one set of LDAP options checks at a "
        "time; "
        "others wait. All together it is 32 at most. 1: one at a time, and one of all PAM services, for "
        "modules "
        "of PAM that cannot bear several threads."),
    TIME(
        auth_failure_delay, "1", R | OURS,
        "How long the answer to a failed login is held back, from the second failure of one address and user "
        "on. 0: not at all."),
    INT(auth_failure_limit, "20", 0, INT_MAX, R | OURS,
        "After so many failed logins of one user from one address, none of them further apart than "
        "auth_failure_period, that user is blocked there: every login fails, without a look at the password, "
        "until auth_failure_period has passed. After five times as many, of whatever users, the address is. "
        "IPv6 addresses count by their network of 64 bits; over Unix sockets nobody is blocked. The log says "
        "it once for each block. RELOAD, and a change of auth_file, end all blocks. 0: nobody is blocked."),
    TIME(auth_failure_period, "60", R | OURS, "How long a failed login counts, and how long a block lasts."),
    STR(auth_ident_map, "", R | OURS,
        "The map of auth_ident_file that counts with auth_type = cert and auth_type = peer; empty: names "
        "must "
        "be equal."),
    TIME(auth_query_cache_time, "10", R | OURS,
         "How long an answer of auth_query counts for further logins; a changed password, or a role that has "
         "been disabled, is noticed after this time at the latest, on RELOAD, or at the next login after one "
         "that failed. 0: each login asks."),
    ENUM(client_tls_channel_binding, "prefer", channel_bindings, R | OURS,
         "Whether clients may bind a login by SCRAM to their TLS connection (SCRAM-SHA-256-PLUS), so that "
         "nobody in between can pass it on. prefer: it is offered, as PostgreSQL does; require: no login by "
         "SCRAM is without it, so there is none without TLS; disable: for clients behind something that ends "
         "their TLS connection and begins one of its own. It is not offered with a certificate whose "
         "signature has no hash of its own (Ed25519)."),
    BOOL(client_tls_compact, "1", R | OURS,
         "1: of a client's connection by TLS 1.3 nothing stays in memory behind the handshake but its keys, "
         "and "
         "pgsluice itself makes and reads its records, by OpenSSL's ciphers; 0: OpenSSL does, with an object "
         "of "
         "14 kB for each connection."),
    BOOL(client_tls_kernel, "0", R | OURS,
         "1: what clients with TLS 1.3 are sent is encrypted by the kernel, if it can (Linux with its module "
         "tls, which must be loaded), and if client_tls_compact is on; the log says when it cannot, and SHOW "
         "CLIENTS for which clients it does. What clients send is not its work. The kernel's keys are not "
         "changed, so a client that asks for new ones (Java's do so after 128 GB) is disconnected."),
    STR(environment, "", R | OURS | NO_SET,
        "Name of the environment profile in force: development, test, staging, production, sidecar or one "
        "with an "
        "[environment.NAME] section; empty: none, PgBouncer's defaults hold."),
    INT(handoff_burst, "64", 0, INT_MAX, R | OURS,
        "A released server connection serves a client of the same worker first, which saves waking another, "
        "as long "
        "as no waiting client is overtaken by more than this many later ones; 0: strictly in order of "
        "arrival."),
    TIME(handoff_slack, "50ms", R | OURS,
         "The same bound in time: no client is overtaken after it has waited for this long."),
    STR(http_listen, CONFIG_HTTP_LISTEN_DEFAULT, OURS,
        "Where probes and metrics are answered over HTTP (/livez, /readyz, /metrics): a comma-separated list "
        "of PORT (of 127.0.0.1), ADDRESS:PORT, [IPV6]:PORT or *:PORT (all addresses); empty: nowhere. Anyone "
        "who can connect there may read. If the default is taken by another program, pgsluice starts without "
        "it and says so."),
    INT(max_logins_in_progress, "256", 0, INT_MAX, R | OURS,
        "TLS handshakes with clients that may be under way at a time; clients beyond wait for their turn. "
        "One "
        "whose client leaves it lying for a second makes place for those who wait, as does the oldest of the "
        "address that has the most; who is next goes by addresses, too. 0: no limit. "
        "Whatever it "
        "is, "
        "workers give handshakes a bounded share of their time while other clients are at work."),
    INT(max_pinned, "-1", -1, INT_MAX, R | OURS,
        "With transaction and statement pooling: how many server connections of a pool clients may keep "
        "beyond their transactions, since an advisory lock of the session, a temporary table, a cursor WITH "
        "HOLD or a library from LOAD is there. Beyond it statements that would make one more fail (53400). "
        "-1: all but one of those that pool_size, max_db_connections and max_user_connections allow, so that "
        "the others' transactions go on; 0: no client may. So with a pool_size of 1 nobody may by default: "
        "raise "
        "pool_size, or set max_pinned = 1, with which one client can keep the others waiting until "
        "pin_idle_timeout; or say session_state = ignore to have it as in PgBouncer."),
    ENUM(metrics_compat, "none", metrics_compats, R | OURS,
         "pgbouncer: /metrics shows the figures under the names of the usual PgBouncer exporter as well, so "
         "that its "
         "dashboards and alerts go on working; none: under our own names only."),
    TIME(drain_grace_time, "5", R | OURS,
         "With sigterm_action = drain: how long clients are still accepted and served after SIGTERM, while "
         "/readyz tells load balancers to turn elsewhere. With wait_then_drain: how long transactions may "
         "take "
         "to end after shutdown_timeout."),
    TIME(pin_idle_timeout, "3600", R | OURS,
         "A client that keeps a server connection beyond its transactions (see max_pinned) and has been idle "
         "for this long is disconnected; 0: never."),
    ENUM(session_link, "query", session_links, R | OURS,
         "With pool_mode = session, when a client gets its server connection. query, as in PgBouncer: with "
         "its first query; login: before its login ends, so the process id that it is told is that of its "
         "server, as pg_backend_pid() and notifications say it. A login then waits for a server as a query "
         "would, for query_wait_timeout at most; client_login_timeout is for the part before, in which the "
         "client proves who it is. A client that has logged in and says nothing has a server all the same. A "
         "change counts for clients that log in later."),
    ENUM(
        session_state, "track", session_states, R | OURS,
        "What becomes of what belongs to a client's session, with transaction and statement pooling. First, "
        "of "
        "settings that it changes for its session (SET, SET ROLE, SET SESSION AUTHORIZATION, RESET, "
        "set_config()). track: they follow the client: a server gets them back ahead of its next statement "
        "there, and is rid of them before another client's; what a rollback takes back is taken back, and "
        "RESET "
        "gives the values that the client came with. pin: the client keeps its server connection until it "
        "has "
        "reset them, see max_pinned. warn: they stay with the server, whoever uses it next, as in PgBouncer, "
        "and the log says so, once for each application_name and setting. error: refused, SET LOCAL is not. "
        "ignore: as warn, without a word. "
        "Second, of what cannot move: advisory locks, temporary tables, cursors WITH HOLD, libraries from "
        "LOAD. "
        "The client keeps its server connection while they live, see max_pinned; with ignore they stay with "
        "the "
        "server connection, whoever uses it next, as in PgBouncer. "
        "Both are found in the text of statements, and by their names in the code of a DO, its strings "
        "included; there a server connection counts for max_pinned only when the code has left something. "
        "What functions, procedures, triggers and rules do is seen with strict only; without it, one that "
        "takes an advisory lock of the session or makes a temporary table leaves it to the server "
        "connection: take the lock in the statement itself, or give the user pool_mode = session. "
        "Settings with a dot in their names PostgreSQL does not list: where a text sets one under a name "
        "that "
        "stands nowhere in it, that does not follow its client, but is gone before another client gets the "
        "server connection. More than "
        "some 50 settings, or one of more than 8192 bytes, end the session (54000). "
        "Nor is seen what is in texts with a "
        "client_encoding of SJIS, BIG5, GBK, UHC, GB18030, JOHAB or SHIFT_JIS_2004 that are not ASCII, nor "
        "what stands behind the first 4 kB of a statement that does not begin with one; after a longer text "
        "of "
        "several statements the server is asked what they have left. Also a key of "
        "[databases] and [users]; a user's counts first."),
    INT(shutdown_rate, "500", 0, 1000000, R | OURS,
        "SHUTDOWN DRAIN closes no more than this many clients in a second, so that those to whom they turn "
        "next "
        "are not overrun; 0: no limit."),
    TIME(shutdown_timeout, "20", R | OURS,
         "SHUTDOWN DRAIN closes the clients that are left after this time, also in the middle of a "
         "transaction; 0: never. With sigterm_action = wait_then_drain: how long clients may take to leave. "
         "Together with drain_grace_time it should be less than what an orchestrator gives, usually 30 s."),
    ENUM(
        sigterm_action, "wait_for_clients", sigterm_actions, R | OURS,
        "What SIGTERM does. wait_for_clients, as in PgBouncer: ends when the last client has gone; drain: "
        "what an orchestrator needs: after drain_grace_time, SHUTDOWN DRAIN; wait_then_drain: what a sidecar "
        "needs: serves as before until its application's clients have left, and after shutdown_timeout "
        "closes "
        "the others as their transactions end, for drain_grace_time at most; wait_for_servers: ends when "
        "transactions have ended; immediate. A second signal ends at once. The environment sidecar has "
        "wait_then_drain, the others drain."),
    ENUM(server_reset_query_skip, "certain", reset_query_skips, R | OURS,
         "Where a server_reset_query that is DISCARD ALL is not run, as there is nothing to discard. off: "
         "nowhere. certain: after clients that have sent nothing but transaction commands, SHOW and SELECTs "
         "of "
         "constants. seen: also after others, when none of what they sent says that it leaves anything: no "
         "SET, "
         "no PREPARE, no LISTEN and so on, and no prepared statement that has a name. What functions, "
         "triggers "
         "and rules leave, and the last values of sequences, are not seen."),
    ENUM(server_tls_channel_binding, "prefer", channel_bindings, R | OURS,
         "Whether logins to servers by SCRAM are bound to their TLS connection, as channel_binding of libpq: "
         "prefer: where the server offers it; require: a server that lets us in otherwise is not used, nor "
         "one without TLS; disable. Also a key of [databases], by the name channel_binding."),
    BOOL(
        listen, "1", R | OURS,
        "LISTEN and UNLISTEN work with transaction and statement pooling: one server connection per database "
        "and "
        "user listens for all clients, counted in the limits, and notifications reach each client between "
        "its "
        "transactions, with the process id that the notifying client has from pgsluice. 0: such commands "
        "concern the server connection that they happen to run on. Not seen are LISTEN inside of functions, "
        "in "
        "texts of more than 64 kB, and with a client_encoding of SJIS, BIG5, GBK, UHC, GB18030, JOHAB or "
        "SHIFT_JIS_2004. Payloads come as UTF-8. Who LISTENs already is not concerned by a change."),
    INT(listen_queue_size, "1048576", 16384, 8388608, R | OURS,
        "Bytes of notifications that are kept for a client which is in a transaction or does not read. One "
        "that exceeds it is disconnected."),
    BOOL(
        sql_prepare, "1", R | OURS,
        "PREPARE, EXECUTE and DEALLOCATE in SQL work with transaction and statement pooling, where "
        "max_prepared_statements is not 0: names of statements are each client's own, and a server that "
        "lacks "
        "one gets it when it is needed. Names given by SQL and by the protocol are the same, as in "
        "PostgreSQL. 0: such commands are passed on as they are, and concern the server connection that they "
        "happen to run on. Not seen are EXECUTE and the like inside of functions and DO blocks (dynamic SQL "
        "and PL/pgSQL's EXECUTE need nothing), names written as U&\"...\", texts with a client_encoding of "
        "SJIS, BIG5, GBK, UHC, GB18030, JOHAB or SHIFT_JIS_2004, and in texts of more than 64 kB anything "
        "but "
        "a command at the beginning. pg_prepared_statements shows names of servers. In a "
        "failed transaction nothing can be prepared, so what follows its end in the same text (ROLLBACK; "
        "EXECUTE a) needs a server that has it already."),
    BOOL(strict, "0", R | OURS,
         "With session_state = track or pin, the server is asked after each transaction which settings its "
         "session has (pg_settings), so that those changed by functions follow the client, too; and whether "
         "it has advisory locks, temporary objects or cursors WITH HOLD, so that those that come from "
         "functions, triggers and rules keep the client on its server connection, too. It costs two queries "
         "to the server for each transaction, some hundred microseconds of work there, during which the "
         "server serves nobody; the client has its answer before. Of settings with a dot in their names "
         "(my.tenant), which PostgreSQL does not list, those follow that the client has named in a text "
         "itself; "
         "others that functions set are gone before another client gets the server connection, which has a "
         "RESET "
         "ALL ahead of that client's settings."),
    ENUM(timeout_action, "disconnect", timeout_actions, R | OURS,
         "What query_timeout, transaction_timeout and idle_transaction_timeout do to a client that has a "
         "server connection: disconnect; or cancel: the query is canceled (57014) and the client keeps its "
         "session. A transaction that is to end is rolled back; the client's next statement fails (25P03 or "
         "25P04), and so does what follows until the client ends the transaction. Who does not heed the "
         "cancel within cancel_wait_timeout is disconnected."),
    {"workers", OPTION_WORKERS, OURS, FIELD(int, workers), "auto", 0, 1024, NULL,
     "Threads that carry clients; auto: as many as there are processors, at most 8."},

    STR(service_name, "", UNSET | NONE, "Name of the Windows service."),
};

#define NOT_SHOWN 1

size_t option_count(void)
{
    return ARRAY_SIZE(options) - NOT_SHOWN;
}

size_t option_count_all(void)
{
    return ARRAY_SIZE(options);
}

const struct config_option *option_at(size_t i)
{
    return &options[i];
}

int option_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (strcasecmp(options[i].name, name) == 0)
            return (int)i;
    return -1;
}

const char *option_nearest(const char *name)
{
    const char *names[ARRAY_SIZE(options)];
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        names[i] = options[i].name;
    return str_nearest(name, names, ARRAY_SIZE(options));
}

static const char *name_of(const struct config_option_name *names, int value)
{
    for (; names->name != NULL; names++)
        if (names->value == value)
            return names->name;
    return NULL;
}

const char *config_auth_type_name(int auth_type)
{
    return name_of(auth_types, auth_type);
}

const char *config_pool_mode_name(int pool_mode)
{
    return name_of(pool_modes, pool_mode);
}

const char *config_session_state_name(int session_state)
{
    return name_of(session_states, session_state);
}

const char *config_sslmode_name(int sslmode)
{
    return name_of(sslmodes, sslmode);
}

const char *config_load_balance_hosts_name(int value)
{
    return name_of(load_balances, value);
}

const char *config_target_session_attrs_name(int value)
{
    return name_of(targets, value);
}

const struct config_option_name *config_pool_mode_names(void)
{
    return pool_modes;
}

const struct config_option_name *config_session_state_names(void)
{
    return session_states;
}

const struct config_option_name *config_load_balance_hosts_names(void)
{
    return load_balances;
}

const struct config_option_name *config_target_session_attrs_names(void)
{
    return targets;
}

const struct config_option_name *config_sslmode_names(void)
{
    return sslmodes;
}

const struct config_option_name *config_sslnegotiation_names(void)
{
    return sslnegotiations;
}

const struct config_option_name *config_channel_binding_names(void)
{
    return channel_bindings;
}

const struct config_option_name *config_passwords_names(void)
{
    return passwords;
}
