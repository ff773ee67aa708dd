"""Every variable that the images of other poolers take, and its twin in _FILE: what --print-config makes of it."""
import re

import pytest

from harness import util
from harness.pooler import Pooler

pytestmark = pytest.mark.own

URL = {"DATABASE_URL": "postgres://u:p@h/d"}

# What is not a number of the kind that 7 is.
VALUES = {
    "admin_users": "a", "auth_dbname": "d", "auth_hba_file": "/hba", "auth_ident_file": "/ident", "auth_query": "SELECT 1",
    "auth_type": "scram-sha-256", "auth_user": "x", "client_tls_ca_file": "/a", "client_tls_cert_file": "/c",
    "client_tls_ciphers": "fast", "client_tls_dheparams": "legacy", "client_tls_ecdhcurve": "prime256v1", "client_tls_key_file": "/k",
    "client_tls_protocols": "tlsv1.3", "client_tls_sslmode": "disable", "ignore_startup_parameters": "x", "listen_addr": "127.0.0.1",
    "logfile": "/log", "max_packet_size": "70000", "pkt_buf": "8192", "pool_mode": "statement", "server_check_query": "SELECT 1",
    "server_reset_query": "SELECT 1", "server_tls_ca_file": "/a", "server_tls_cert_file": "/c", "server_tls_ciphers": "fast",
    "server_tls_key_file": "/k", "server_tls_protocols": "tlsv1.3", "server_tls_sslmode": "require", "stats_users": "s",
    "unix_socket_dir": "/sockets", "unix_socket_group": "wheel", "unix_socket_mode": "448",
    **dict.fromkeys(("application_name_add_host", "disable_pqexec", "log_connections", "log_disconnections", "log_pooler_errors", "log_stats",
                     "server_fast_close", "server_reset_query_always", "server_round_robin", "tcp_defer_accept", "tcp_keepalive", "verbose"), "1"),
}

PLAIN = """
    admin_users stats_users auth_type auth_hba_file auth_user auth_query auth_dbname listen_addr listen_port unix_socket_dir logfile
    ignore_startup_parameters pool_mode max_client_conn default_pool_size min_pool_size reserve_pool_size reserve_pool_timeout
    max_db_connections max_user_connections server_round_robin disable_pqexec application_name_add_host max_prepared_statements
    log_connections log_disconnections log_pooler_errors log_stats stats_period verbose server_reset_query server_reset_query_always
    server_check_delay server_check_query server_lifetime server_idle_timeout server_connect_timeout server_login_retry
    client_login_timeout autodb_idle_timeout dns_max_ttl dns_nxdomain_ttl client_tls_sslmode client_tls_key_file client_tls_cert_file
    client_tls_ca_file client_tls_protocols client_tls_ciphers client_tls_ecdhcurve client_tls_dheparams server_tls_sslmode
    server_tls_ca_file server_tls_key_file server_tls_cert_file server_tls_protocols server_tls_ciphers query_timeout
    query_wait_timeout client_idle_timeout idle_transaction_timeout pkt_buf max_packet_size listen_backlog sbuf_loopcnt
    suspend_timeout tcp_defer_accept tcp_keepalive tcp_keepcnt tcp_keepidle tcp_keepintvl tcp_user_timeout
""".split()

PGBOUNCER = """
    auth_user auth_query auth_type auth_hba_file auth_ident_file stats_users pool_mode server_fast_close query_wait_timeout
    max_client_conn max_db_connections idle_transaction_timeout server_idle_timeout server_reset_query default_pool_size min_pool_size
    reserve_pool_size reserve_pool_timeout ignore_startup_parameters stats_period max_prepared_statements server_round_robin
    application_name_add_host client_tls_sslmode client_tls_ca_file client_tls_cert_file client_tls_key_file client_tls_ciphers
    server_tls_sslmode server_tls_ca_file server_tls_cert_file server_tls_key_file server_tls_protocols server_tls_ciphers
    log_connections log_disconnections log_pooler_errors log_stats server_lifetime server_connect_timeout server_login_retry
    client_login_timeout autodb_idle_timeout query_timeout client_idle_timeout
""".split()

# The variable and the settings that it gives.
NAMES = {
    "plain": {**{name.upper(): [name] for name in PLAIN}},
    "pgbouncer": {
        **{"PGBOUNCER_" + name.upper(): [name] for name in PGBOUNCER},
        "PGBOUNCER_PORT": ["listen_port"], "PGBOUNCER_LISTEN_ADDRESS": ["listen_addr"], "PGBOUNCER_BIND_ADDRESS": ["listen_addr"],
        "PGBOUNCER_SOCKET_DIR": ["unix_socket_dir"], "PGBOUNCER_SOCKET_MODE": ["unix_socket_mode"],
        "PGBOUNCER_SOCKET_GROUP": ["unix_socket_group"], "PGBOUNCER_LOG_FILE": ["logfile"]},
    "others": {
        "CONNECTION_POOLER_PORT": ["listen_port"], "CONNECTION_POOLER_MODE": ["pool_mode"],
        "CONNECTION_POOLER_DEFAULT_SIZE": ["default_pool_size"], "CONNECTION_POOLER_MIN_SIZE": ["min_pool_size"],
        "CONNECTION_POOLER_RESERVE_SIZE": ["reserve_pool_size"], "CONNECTION_POOLER_MAX_CLIENT_CONN": ["max_client_conn"],
        "CONNECTION_POOLER_MAX_DB_CONN": ["max_db_connections"], "CONNECTION_POOLER_CLIENT_TLS_CRT": ["client_tls_cert_file"],
        "CONNECTION_POOLER_CLIENT_TLS_KEY": ["client_tls_key_file"], "CONNECTION_POOLER_CLIENT_CA_FILE": ["client_tls_ca_file"],
        "POOL_SIZE": ["default_pool_size"], "DB_POOL_SIZE": ["min_pool_size"], "DB_MAX_CONNECTIONS": ["default_pool_size"],
        "DB_CONNECTION_TIMEOUT": ["server_connect_timeout", "query_wait_timeout"], "DB_IDLE_TIMEOUT": ["server_idle_timeout"],
        "DB_MAX_OVERFLOW": ["reserve_pool_size"], "METRICS_PORT": ["http_listen"]},
}


@pytest.fixture
def pooler(pg, workers):
    made = Pooler(pg, workers)
    yield made
    made.destroy()


def printed(pooler, env):
    pooler.env = env
    done = pooler.run("--print-config", timeout=20 * util.PATIENCE)
    assert done.returncode == 0, (env, done.stderr)
    return done.stdout


def settings_of(pooler, env, variable):
    return dict(re.findall(rf"^; variable {variable}\n(\w+) = (.*)$", printed(pooler, env), re.MULTILINE))


@pytest.mark.parametrize("family", NAMES)
def test_settings(pooler, family):
    value_file = pooler.path("value")
    for variable, settings in NAMES[family].items():
        value = VALUES.get(settings[0], "7")
        wanted = dict.fromkeys(settings, value)
        assert settings_of(pooler, {**URL, variable: value}, variable) == wanted, variable
        util.write_file(value_file, value + "\n", 0o644)
        assert settings_of(pooler, {**URL, variable + "_FILE": value_file}, variable + "_FILE") == wanted, variable


def test_settings_that_read_a_file(pooler):
    users = util.write_file(pooler.path("users"), '"u" "p"\n', 0o644)
    twin = util.write_file(pooler.path("value"), users, 0o644)
    assert settings_of(pooler, {**URL, "AUTH_FILE": users}, "AUTH_FILE") == {"auth_file": users}
    assert settings_of(pooler, {**URL, "AUTH_FILE_FILE": twin}, "AUTH_FILE_FILE") == {"auth_file": users}
    off = util.write_file(pooler.path("off"), "off", 0o644)
    for env in ({"ENABLE_METRICS": "false"}, {"ENABLE_METRICS_FILE": off}):
        assert settings_of(pooler, {**URL, "METRICS_PORT": "7", **env}, *env) == {"http_listen": ""}


FORCED = "user=u password=***"


@pytest.mark.parametrize("env, lines", [
    (URL, ['"d" = dbname=d host=h ' + FORCED]),
    ({"DATABASE_URLS": "postgres://u:p@h/d,postgres://v:q@h2/e"},
     ['"d" = dbname=d host=h ' + FORCED, '"e" = dbname=e host=h2 user=v password=***']),
    ({"PGSLUICE_DATABASE_URL": "postgres://u:p@h/d", **URL}, ['"d" = dbname=d host=h ' + FORCED]),
    ({"PGSLUICE_DATABASE_URLS": "postgres://u:p@h/d"}, ['"d" = dbname=d host=h ' + FORCED]),
    ({"PGBOUNCER_URLS": "ONE,OTHER", "ONE": "postgres://u:p@h/d", "OTHER": "postgres://u:p@h/e"},
     ['"d" = dbname=d host=h ' + FORCED, '"e" = dbname=e host=h ' + FORCED]),
    ({"DB_HOST": "h", "DB_PORT": "7", "DB_NAME": "d", "DB_USER": "u", "DB_PASSWORD": "p", "CLIENT_ENCODING": "UTF8", "TIMEZONE": "UTC"},
     ['"d" = dbname=d host=h port=7 ' + FORCED + " client_encoding=UTF8 timezone=UTC"]),
    ({"POSTGRESQL_HOST": "h", "POSTGRESQL_PORT": "7", "POSTGRESQL_USERNAME": "u", "POSTGRESQL_PASSWORD": "p", "POSTGRESQL_DATABASE": "d",
      "PGBOUNCER_DATABASE": "front", "PGBOUNCER_CONNECT_QUERY": "SELECT"},
     ['"front" = dbname=d host=h port=7 ' + FORCED + " connect_query=SELECT"]),
    ({"PGBOUNCER_DSN_0": "d=host=h port=7", "PGBOUNCER_DSN_1": "e=host=h", "POSTGRESQL_PASSWORD": "p", "POSTGRESQL_USERNAME": "u"},
     ['"d" = dbname=d host=h port=7', '"e" = dbname=e host=h']),
    ({"PGBOUNCER_DSN_0": "d=host=h", "PGBOUNCER_USERLIST": '"u" "p"'}, ['"d" = dbname=d host=h']),
    ({"PGHOST": "h", "PGPORT": "7", "PGUSER": "u", "PGPASSWORD": "p", "PGDATABASE": "d", "PGSSLMODE": "require"},
     ['"d" = dbname=d host=h port=7 ' + FORCED + " sslmode=require"]),
    ({"PGHOST": "h", "PGUSER": "u", "PGPASSWORD": "p", "PGSCHEMA": "s"},
     ["""* = host=h auth_user=u auth_query='SELECT * FROM "s".user_lookup($1)'"""]),
    ({"PG_SERVICE": "h", "PGBOUNCER_PASSWORD": "p"},
     ["""* = host=h auth_user=pgbouncer auth_query='SELECT * FROM "pgbouncer".get_auth($1)'"""]),
    ({**URL, "ADMIN_USERS": "a,b", "ADMIN_PASSWORDS": "x,y", "STATS_USERS": "s", "STATS_PASSWORDS": "z"},
     ['"d" = dbname=d host=h ' + FORCED]),
    ({**URL, "ADMIN_USERS": "a,b", "ADMIN_PASSWORD": "x"}, ['"d" = dbname=d host=h ' + FORCED]),
])
def test_where_postgresql_is(pooler, env, lines):
    """The same, whichever of the variables is a file."""
    def without_sources(text):
        return [line for line in text.split("\n") if not line.startswith("; variable")]
    plain = without_sources(printed(pooler, env))
    assert plain[1:1 + len(lines)] == lines
    assert [each for each in plain if re.match('; "[^"]+" password', each)], "a password is known"
    for name, value in env.items():
        twin = util.write_file(pooler.path("value"), value + "\n", 0o644)
        others = {key: each for key, each in env.items() if key != name}
        assert without_sources(printed(pooler, {**others, name + "_FILE": twin})) == plain, name


@pytest.mark.parametrize("environment, values", [
    ("development", "5 10 200 10 10 300"),
    ("test", "2 8 100 10 10 300"),
    ("staging", "10 20 500 30 30 300"),
    ("production", "20 50 5000 30 30 300"),
    ("sidecar", "0 5 200 10 30 60"),
])
def test_profiles(pooler, environment, values):
    text = printed(pooler, {**URL, "PGSLUICE_ENVIRONMENT": environment})
    found = dict(re.findall(rf"^; environment {environment}\n(\w+) = (.*)$", text, re.MULTILINE))
    columns = ("min_pool_size", "default_pool_size", "max_client_conn", "server_connect_timeout", "query_wait_timeout", "server_idle_timeout")
    assert " ".join(found[column] for column in columns) == values
