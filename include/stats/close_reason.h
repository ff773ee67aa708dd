/*
 * close_reason.h - why a connection is closed.
 *
 * Every close carries one of these. The row says what the log says ("closing
 * because: TEXT"), whose connection ends, and the error that the client gets (none
 * where the SQLSTATE is NULL). The words are part of the interface: users match them
 * in logs and retry logic. The closer may put ": detail" behind log text and message
 * (the name of the database, what the server said); it never changes the words before it.
 */
#ifndef STATS_CLOSE_REASON_H
#define STATS_CLOSE_REASON_H

#include "base/compiler.h"

enum close_side {
    CLOSE_SIDE_CLIENT = 1,
    CLOSE_SIDE_SERVER = 2,
    CLOSE_SIDE_BOTH = 3, /* either may end so, or one ends the other */
};

/* clang-format off */
/* X(NAME, name, side, log text, SQLSTATE, message to the client, hint) */
#define CLOSE_REASON_LIST(X) \
    X(NONE, none, BOTH, "unknown", NULL, NULL, NULL) \
    /* the client goes */ \
    X(CLIENT_REQUEST, client_request, CLIENT, "client close request", NULL, NULL, NULL) \
    X(CLIENT_EOF, client_eof, CLIENT, "client unexpected eof", NULL, NULL, NULL) \
    X(CONSOLE_REQUEST, console_request, CLIENT, "close req", NULL, NULL, NULL) \
    X(WORKER_IO, worker_io, BOTH, "socket error", NULL, NULL, NULL) \
    /* limits */ \
    X(MAX_CLIENT_CONN, max_client_conn, CLIENT, "no more connections allowed (max_client_conn)", \
      "53300", "no more connections allowed (max_client_conn)", \
      "Raise max_client_conn, or open fewer connections.") \
    X(MAX_DB_CLIENTS, max_db_clients, CLIENT, "client connections exceeded (max_db_client_connections)", \
      "53300", "client connections exceeded (max_db_client_connections)", \
      "Raise max_db_client_connections, or open fewer connections to this database.") \
    X(MAX_USER_CLIENTS, max_user_clients, CLIENT, \
      "client connections exceeded (max_user_client_connections)", \
      "53300", "client connections exceeded (max_user_client_connections)", \
      "Raise max_user_client_connections, or open fewer connections as this user.") \
    X(NO_MEMORY, no_memory, BOTH, "out of memory", "53200", "out of memory", NULL) \
    X(NO_DESCRIPTORS, no_descriptors, BOTH, "too many open files", \
      "53000", "too many open files", "Raise the limit of open files of the pooler's process.") \
    X(PACKET_TOO_LARGE, packet_too_large, BOTH, "packet too large", \
      "54000", "packet too large", "Raise max_packet_size, or send less at once.") \
    X(SETTINGS_LOST, settings_lost, CLIENT, "settings of the session cannot be kept", \
      "54000", "settings of the session cannot be kept", \
      "Only so many follow a session from server to server, and no long ones: use pool_mode = session.") \
    /* timeouts */ \
    X(QUERY_WAIT_TIMEOUT, query_wait_timeout, CLIENT, "query_wait_timeout", \
      "53300", "query_wait_timeout", \
      "All server connections were busy too long: see SHOW POOLS; raise pool_size or shorten transactions.") \
    X(QUERY_TIMEOUT, query_timeout, BOTH, "query timeout", \
      "57014", "query_timeout", "The query ran longer than query_timeout allows.") \
    X(CLIENT_IDLE_TIMEOUT, client_idle_timeout, CLIENT, "client_idle_timeout", \
      "57P05", "client_idle_timeout", NULL) \
    X(MAX_PINNED, max_pinned, CLIENT, "too many pinned server connections (max_pinned)", \
      "53400", "too many pinned server connections (max_pinned)", \
      "Release advisory locks, temporary tables and the like, raise max_pinned and pool_size, or use " \
      "pool_mode = session.") \
    X(PIN_IDLE_TIMEOUT, pin_idle_timeout, CLIENT, "pin_idle_timeout", \
      "57P05", "pin_idle_timeout", \
      "The session kept a server connection for its advisory locks, temporary tables or the like, and was " \
      "idle for longer than pin_idle_timeout allows.") \
    X(CLIENT_LOGIN_TIMEOUT, client_login_timeout, CLIENT, "client_login_timeout", \
      "57014", "client_login_timeout", NULL) \
    X(CLIENT_LOGIN_TIMEOUT_SERVER_DOWN, client_login_timeout_server_down, CLIENT, \
      "client_login_timeout (server down)", \
      "08001", "client_login_timeout (server down)", \
      "See whether PostgreSQL is running and accepts connections.") \
    X(IDLE_TRANSACTION_TIMEOUT, idle_transaction_timeout, BOTH, "idle transaction timeout", \
      "25P03", "idle transaction timeout", \
      "The transaction was idle for longer than idle_transaction_timeout allows.") \
    X(TRANSACTION_TIMEOUT, transaction_timeout, BOTH, "transaction timeout", \
      "25P04", "transaction timeout", "The transaction took longer than transaction_timeout allows.") \
    X(CANCEL_WAIT_TIMEOUT, cancel_wait_timeout, BOTH, "cancel_wait_timeout", NULL, NULL, NULL) \
    X(SUSPEND_TIMEOUT, suspend_timeout, BOTH, "suspend_timeout", "57P01", "suspend_timeout", NULL) \
    X(CONNECT_TIMEOUT, connect_timeout, SERVER, "connect timeout", \
      "08001", "connect timeout", "PostgreSQL did not answer within server_connect_timeout.") \
    /* login of a client */ \
    X(NO_SUCH_USER, no_such_user, CLIENT, "no such user", "28P01", "password authentication failed", NULL) \
    X(AUTH_FAILED, auth_failed, CLIENT, "password authentication failed", \
      "28P01", "password authentication failed", NULL) \
    X(SASL_FAILED, sasl_failed, CLIENT, "SASL authentication failed", \
      "28P01", "SASL authentication failed", NULL) \
    X(CERT_FAILED, cert_failed, CLIENT, "certificate authentication failed", \
      "28000", "certificate authentication failed", NULL) \
    X(PAM_FAILED, pam_failed, CLIENT, "PAM authentication failed", \
      "28P01", "password authentication failed", NULL) \
    X(LDAP_FAILED, ldap_failed, CLIENT, "LDAP authentication failed", \
      "28P01", "password authentication failed", NULL) \
    X(LOGIN_BLOCKED, login_blocked, CLIENT, "too many failed logins", \
      "28P01", "password authentication failed", NULL) \
    X(LOGIN_CROWDED, login_crowded, CLIENT, "too many logins in progress from its address", \
      "53300", "too many logins in progress from this address", \
      "Others wait for places, and those of max_client_conn are all taken.") \
    X(PEER_FAILED, peer_failed, CLIENT, "peer authentication failed", \
      "28000", "peer authentication failed", NULL) \
    X(LOGIN_REJECTED, login_rejected, CLIENT, "login rejected", "28000", "login rejected", NULL) \
    X(AUTH_QUERY_FAILED, auth_query_failed, CLIENT, "auth_query failed", \
      "28000", "auth_query failed", "See the pooler's log for what the server answered.") \
    X(AUTH_QUERY_RESPONSE, auth_query_response, BOTH, "unexpected response from login query", \
      "08P01", "unexpected response from login query", NULL) \
    X(AUTH_UNAVAILABLE, auth_unavailable, CLIENT, "authentication service failed", \
      "28000", "authentication service failed", "See the pooler's log.") \
    X(NO_SUCH_DATABASE, no_such_database, CLIENT, "no such database", "3D000", "no such database", NULL) \
    X(DATABASE_DISABLED, database_disabled, CLIENT, "database is disabled", \
      "55000", "database does not allow connections", \
      "The database was disabled on the pooler's console (DISABLE); ENABLE allows connections again.") \
    X(CONSOLE_DENIED, console_denied, CLIENT, "not allowed", \
      "42501", "not allowed", "Only users in admin_users and stats_users may use the console.") \
    X(SSL_REQUIRED, ssl_required, CLIENT, "SSL required", \
      "28000", "SSL required", "Connect with sslmode=require.") \
    X(TLS_FAILED, tls_failed, BOTH, "TLS handshake failed", NULL, NULL, NULL) \
    X(OLD_PROTOCOL, old_protocol, CLIENT, "old V2 protocol not supported", \
      "0A000", "old V2 protocol not supported", NULL) \
    X(BAD_STARTUP, bad_startup, CLIENT, "bad startup packet", "08P01", "bad startup packet", NULL) \
    X(UNSUPPORTED_PARAMETER, unsupported_parameter, CLIENT, "unsupported startup parameter", \
      "08P01", "unsupported startup parameter", \
      "Name it in ignore_startup_parameters, or in track_extra_parameters.") \
    X(UNSUPPORTED_OPTION, unsupported_option, CLIENT, "unsupported startup parameter in options", \
      "08P01", "unsupported startup parameter in options", \
      "Name it in ignore_startup_parameters, or in track_extra_parameters.") \
    /* what a client may not send */ \
    X(BAD_PACKET, bad_packet, CLIENT, "bad packet", "08P01", "bad packet", NULL) \
    X(TRANSACTION_IN_STATEMENT_MODE, transaction_in_statement_mode, BOTH, \
      "transaction blocks not allowed in statement pooling mode", \
      "0A000", "transaction blocks not allowed in statement pooling mode", \
      "Use pool_mode = transaction for this database.") \
    /* operation */ \
    X(SHUTDOWN, shutdown, BOTH, "pooler is shutting down", "57P01", "pooler is shutting down", NULL) \
    X(SHUTDOWN_WAIT, shutdown_wait, BOTH, "server shutting down", "57P01", "server shutting down", NULL) \
    X(ADMIN, admin, BOTH, "admin forced disconnect", "57P01", "admin forced disconnect", NULL) \
    X(DATABASE_REMOVED, database_removed, BOTH, "database removed", \
      "57P01", "database removed", "The database is no longer in the pooler's configuration.") \
    X(CONFIG_CHANGED, config_changed, SERVER, "database configuration changed", NULL, NULL, NULL) \
    X(RECONNECT, reconnect, SERVER, "admin asked to reconnect", NULL, NULL, NULL) \
    X(LISTEN_QUEUE_FULL, listen_queue_full, CLIENT, "too many notifications unread (listen_queue_size)", \
      "53400", "too many notifications unread (listen_queue_size)", \
      "Read notifications more quickly, keep transactions short, or raise listen_queue_size.") \
    X(LISTEN_FAILED, listen_failed, CLIENT, "LISTEN failed", \
      "08006", "LISTEN failed", "The server connection that listens could not be made: see the pooler's log.") \
    X(LISTEN_ENDED, listen_ended, SERVER, "nobody listens any more", NULL, NULL, NULL) \
    X(PAUSED, paused, SERVER, "database paused", NULL, NULL, NULL) \
    X(OVER_LIMIT, over_limit, SERVER, "pool over its limit", NULL, NULL, NULL) \
    X(POOL_IDLE, pool_idle, SERVER, "pool idle timeout", NULL, NULL, NULL) \
    /* the server */ \
    X(SERVER_LIFETIME, server_lifetime, SERVER, "server lifetime over", NULL, NULL, NULL) \
    X(REPLICATION_BEGINS, replication_begins, SERVER, "replication client needs its place", NULL, NULL, NULL) \
    X(REPLICATION_ENDED, replication_ended, SERVER, "replication connection has ended", NULL, NULL, NULL) \
    X(SERVER_IDLE_TIMEOUT, server_idle_timeout, SERVER, "server idle timeout", NULL, NULL, NULL) \
    X(DNS_FAILED, dns_failed, SERVER, "server DNS lookup failed", \
      "08001", "server DNS lookup failed", "See whether the host name of this database is right.") \
    X(DNS_CHANGED, dns_changed, SERVER, "server DNS address changed", NULL, NULL, NULL) \
    X(ROLE_CHANGED, role_changed, SERVER, "server role changed", NULL, NULL, NULL) \
    X(ROLE_MISMATCH, role_mismatch, SERVER, "server is not what target_session_attrs asks for", \
      "08001", "server is not what target_session_attrs asks for", \
      "See which host of this database is the primary, and which are standbys.") \
    X(CONNECT_FAILED, connect_failed, SERVER, "connect failed", \
      "08001", "connect failed", "See whether PostgreSQL is running and accepts connections.") \
    X(SERVER_REFUSED_TLS, server_refused_tls, SERVER, "server refused SSL", \
      "08001", "server refused SSL", "Set up TLS in PostgreSQL, or lower server_tls_sslmode.") \
    X(SERVER_LOGIN_FAILED, server_login_failed, SERVER, "server login failed", \
      "08004", "server login failed", NULL) \
    X(SERVER_LOGIN_CACHED, server_login_cached, CLIENT, "server login has been failing", \
      "08001", "server login has been failing", NULL) \
    X(SERVER_CRASHED, server_crashed, BOTH, "server conn crashed?", \
      "08006", "server conn crashed?", \
      "The connection to PostgreSQL was lost; a transaction in progress may not have been committed.") \
    X(PROTOCOL_SERVER, protocol_server, BOTH, "broken server packet", "08P01", "broken server packet", NULL) \
    X(STATE_LEFT, state_left, SERVER, "its client has left state that cannot be removed", NULL, NULL, NULL) \
    X(UNCLEAN, unclean, SERVER, "unclean server", NULL, NULL, NULL) \
    X(CLIENT_GONE_BUSY, client_gone_busy, SERVER, "client disconnect while server was not ready", \
      NULL, NULL, NULL) \
    X(CHECK_QUERY_FAILED, check_query_failed, SERVER, "test query failed", NULL, NULL, NULL) \
    X(RESET_QUERY_FAILED, reset_query_failed, SERVER, "reset query failed", NULL, NULL, NULL) \
    X(AUTH_QUERY_DONE, auth_query_done, SERVER, "auth_query done", NULL, NULL, NULL) \
    /* cancel requests */ \
    X(CANCEL_DONE, cancel_done, BOTH, "successful cancel request", NULL, NULL, NULL) \
    X(CANCEL_FAILED, cancel_failed, BOTH, "failed cancel request", NULL, NULL, NULL) \
    /* a bug of ours, or of what we stand on */ \
    X(INTERNAL, internal, BOTH, "internal error", \
      "XX000", "internal error in the pooler", "See the pooler's log.")
/* clang-format on */

enum close_reason {
#define CLOSE_REASON_ENUM(NAME, name, side, text, sqlstate, message, hint) CLOSE_##NAME,
    CLOSE_REASON_LIST(CLOSE_REASON_ENUM)
#undef CLOSE_REASON_ENUM
        CLOSE_REASONS
};

/* Every lookup takes any value; one that is no reason counts as CLOSE_NONE. */

/* For labels of metrics: "query_wait_timeout". */
const char *close_reason_name(enum close_reason r) must_check;
/* For the log. Never NULL. */
const char *close_reason_text(enum close_reason r) must_check;
/* NULL: the client is told nothing. */
const char *close_reason_sqlstate(enum close_reason r) must_check;
/* NULL exactly when the SQLSTATE is. */
const char *close_reason_message(enum close_reason r) must_check;
/* May be NULL. */
const char *close_reason_hint(enum close_reason r) must_check;
enum close_side close_reason_side(enum close_reason r) must_check;

#endif
