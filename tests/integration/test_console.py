"""The admin console: columns and types of every SHOW, rights, SET, and the commands that only pgsluice has."""
import subprocess

import psycopg
import pytest

from harness import util, wire

TEXT, INT4, INT8, NUMERIC, BYTEA = 25, 23, 20, 1700, 17
S, I, Q, N = TEXT, INT4, INT8, NUMERIC

CONNECTION = [("type", S), ("user", S), ("database", S), ("replication", S), ("state", S), ("addr", S), ("port", I), ("local_addr", S),
              ("local_port", I), ("connect_time", S), ("request_time", S), ("wait", I), ("wait_us", I), ("close_needed", I), ("ptr", S),
              ("link", S), ("remote_pid", I), ("tls", S), ("application_name", S), ("prepared_statements", I), ("id", I)]


def numbers(*names):
    return [("database", S)] + [(name, N) for name in names]


SOCKETS = CONNECTION + [(name, I) for name in ("recv_pos", "pkt_pos", "pkt_remain", "send_pos", "send_remain", "pkt_avail", "send_avail")]

# PgBouncer's columns, in its order; pgsluice may have more after them.
COLUMNS = {
    "ACTIVE_SOCKETS": SOCKETS,
    "CLIENTS": CONNECTION,
    "SERVERS": CONNECTION,
    "CONFIG": [("key", S), ("value", S), ("default", S), ("changeable", S)],
    "DATABASES": [("name", S), ("host", S), ("port", I), ("database", S), ("force_user", S), ("pool_size", I), ("min_pool_size", I),
                  ("reserve_pool_size", I), ("server_lifetime", I), ("pool_mode", S), ("load_balance_hosts", S), ("max_connections", I),
                  ("current_connections", I), ("max_client_connections", I), ("current_client_connections", I), ("paused", I),
                  ("disabled", I)],
    "DNS_HOSTS": [("hostname", S), ("ttl", Q), ("addrs", S)],
    "DNS_ZONES": [("zonename", S), ("serial", Q), ("count", I)],
    "LISTENERS": [("database", S), ("user", S), ("channel", S), ("state", S), ("clients", I), ("notifications", Q),
                  ("queued_bytes", Q), ("worker", I)],
    "LISTS": [("list", S), ("items", I)],
    "MEM": [("name", S), ("size", I), ("used", I), ("free", I), ("memtotal", I)],
    "POOLS": [("database", S), ("user", S), ("cl_active", I), ("cl_waiting", I), ("cl_active_cancel_req", I), ("cl_waiting_cancel_req", I),
              ("sv_active", I), ("sv_active_cancel", I), ("sv_being_canceled", I), ("sv_idle", I), ("sv_used", I), ("sv_tested", I),
              ("sv_login", I), ("maxwait", I), ("maxwait_us", I), ("pool_mode", S), ("load_balance_hosts", S)],
    "SOCKETS": SOCKETS,
    "STATE": [("key", S), ("value", S)],
    "STATS": numbers("total_server_assignment_count", "total_xact_count", "total_query_count", "total_received", "total_sent",
                     "total_xact_time", "total_query_time", "total_wait_time", "total_client_parse_count", "total_server_parse_count",
                     "total_bind_count", "total_client_login_count", "avg_server_assignment_count", "avg_xact_count", "avg_query_count",
                     "avg_recv", "avg_sent", "avg_xact_time", "avg_query_time", "avg_wait_time", "avg_client_parse_count",
                     "avg_server_parse_count", "avg_bind_count", "avg_client_login_count"),
    "STATS_AVERAGES": numbers("server_assignment_count", "xact_count", "query_count", "bytes_received", "bytes_sent", "xact_time",
                              "query_time", "wait_time", "avg_client_parse_count", "avg_server_parse_count", "avg_bind_count",
                              "avg_client_login_count"),
    "STATS_TOTALS": numbers("server_assignment_count", "xact_count", "query_count", "bytes_received", "bytes_sent", "xact_time",
                            "query_time", "wait_time", "client_parse_count", "server_parse_count", "bind_count", "client_login_count"),
    "TOTALS": [("name", S), ("value", N)],
    "USERS": [("name", S), ("pool_size", S), ("reserve_pool_size", S), ("pool_mode", S), ("max_user_connections", I),
              ("current_connections", I), ("max_user_client_connections", I), ("current_client_connections", I)],
    "VERSION": [("version", S)],
}

# The columns of pgsluice's own commands.
OWN_COLUMNS = {
    "ENVIRONMENT": [("environment", S), ("key", S), ("value", S), ("source", S)],
    "ERRORS": [("kind", S), ("name", S), ("text", S), ("count", Q)],
    "LATENCY": [("database", S), ("user", S), ("what", S), ("count", Q), ("mean_us", Q), ("p50_us", Q), ("p90_us", Q), ("p95_us", Q),
                ("p99_us", Q), ("p999_us", Q), ("max_us", Q)],
    "LEAKS": [("application_name", S), ("database", S), ("user", S), ("reason", S), ("fingerprint", S), ("statement", S), ("count", Q),
              ("abandoned", Q), ("last_time", S)],
    "PINNED": [("client", S), ("server", S), ("database", S), ("user", S), ("application_name", S), ("remote_pid", I), ("reason", S),
               ("fingerprint", S), ("statement", S), ("since", S), ("idle", I), ("worker", I)],
    "PREPARED": [("name", S), ("query", S), ("parameters", I), ("clients", I), ("servers", I), ("hits", Q), ("misses", Q), ("bytes", Q)],
    "UTILIZATION": [("database", S), ("user", S), ("limit", I), ("active", I), ("idle", I), ("waiting", I), ("utilization_now", N),
                    ("utilization_1m", N), ("utilization_5m", N), ("utilization_15m", N), ("utilization_60m", N), ("peak", I),
                    ("saturated_seconds", N), ("reserve", I), ("reserve_used", I)],
    "WORKERS": [("worker", I), ("clients", I), ("servers", I), ("handoffs", Q), ("steals", Q), ("adopted", Q), ("turns", Q),
                ("busy_us", Q), ("avg_turn_us", Q), ("max_turn_us", Q), ("listeners", I), ("notifications", Q)],
}

CONFIG_ORDER = """admin_users application_name_add_host auth_dbname auth_file auth_hba_file auth_ident_file auth_ldap_options auth_query
auth_type auth_user autodb_idle_timeout cancel_wait_timeout client_idle_timeout client_login_timeout client_tls13_ciphers
client_tls_ca_file client_tls_cert_file client_tls_ciphers client_tls_dheparams client_tls_ecdhcurve client_tls_key_file
client_tls_protocols client_tls_sslmode conffile default_pool_size disable_pqexec dns_max_ttl dns_nxdomain_ttl dns_zone_check_period
idle_transaction_timeout ignore_startup_parameters job_name listen_addr listen_backlog listen_port log_connections log_disconnections
log_pooler_errors log_stats logfile login_notify_message max_client_conn max_db_client_connections max_db_connections max_packet_size
max_prepared_statements max_user_client_connections max_user_connections min_pool_size peer_id pidfile pkt_buf pool_mode
pool_idle_timeout query_timeout query_wait_notify query_wait_timeout reserve_pool_size reserve_pool_timeout resolv_conf sbuf_loopcnt
scram_iterations server_check_delay server_check_query server_connect_timeout server_fast_close server_idle_timeout server_lifetime
server_login_retry server_reset_query server_reset_query_always server_round_robin server_tls13_ciphers server_tls_ca_file
server_tls_cert_file server_tls_ciphers server_tls_key_file server_tls_protocols server_tls_sslmode so_reuseport stats_period stats_users
suspend_timeout syslog syslog_facility syslog_ident tcp_defer_accept tcp_keepalive tcp_keepcnt tcp_keepidle tcp_keepintvl
tcp_socket_buffer tcp_user_timeout track_extra_parameters transaction_timeout unix_socket_dir unix_socket_group unix_socket_mode user
verbose""".split()

LISTS_ORDER = """databases users peers pools peer_pools free_clients used_clients login_clients free_servers used_servers dns_names
dns_zones dns_queries dns_pending""".split()

TOTALS_ORDER = [f"{what}_{name}" for what in ("total", "avg") for name in """server_assignment_count xact_count query_count client_bytes
server_bytes xact_time query_time wait_time ps_client_parse_count ps_server_parse_count ps_bind_count client_login_count""".split()]


@pytest.fixture
def busy(make_pooler, pg):
    """A pooler with something to show, and a raw console connection: (pooler, console)."""
    pooler = make_pooler(settings={"stats_period": 1})
    with pooler.wire() as client, pooler.wire() as active, pooler.raw() as console:
        client.query("SELECT 1")
        active.query("BEGIN")
        console.login("admin", "pgbouncer")
        yield pooler, console


def described(messages):
    return [m for m in messages if m.kind == "T"][0].columns()


@pytest.mark.own
@pytest.mark.parametrize("name", COLUMNS)
def test_columns(busy, name):
    _, console = busy
    messages = console.query(f"SHOW {name}")
    assert messages[0].kind == "T", messages
    assert described(messages)[:len(COLUMNS[name])] == COLUMNS[name]
    assert messages[-2].tag == "SHOW"
    for msg in messages:
        if msg.kind == "D":
            assert len(msg.row()) == len(described(messages))


@pytest.mark.own
@pytest.mark.parametrize("name", COLUMNS)
def test_extended_protocol_gives_the_same(busy, name):
    _, console = busy
    simple = console.query(f"SHOW {name}")
    console.send(wire.parse("", f"SHOW {name}") + wire.describe("S", "") + wire.bind("", "") + wire.describe("P", "") + wire.execute()
                 + wire.sync())
    messages = console.until()
    assert "E" not in "".join(m.kind for m in messages), messages
    assert described(messages) == described(simple)
    assert messages[-2].tag == "SHOW"


@pytest.mark.own
def test_console_from_a_driver_with_prepared_statements(busy):
    pooler, _ = busy
    with pooler.connect("pgsluice", "admin") as conn:
        for _ in range(3):
            assert conn.execute("SHOW VERSION", prepare=True).fetchone()


@pytest.mark.parametrize("name", ["CLIENTS", "SERVERS", "POOLS", "DATABASES", "LISTS", "STATS", "CONFIG", "VERSION"])
def test_commands_of_every_version(busy, name):
    pooler, _ = busy
    assert pooler.show(name)
    assert pooler.admin(f"show {name.lower()};")
    assert pooler.admin(f'  Show  "{name.lower()}" ; ') is not None


@pytest.mark.own
def test_config_has_every_setting_in_order(busy):
    pooler, _ = busy
    keys = [row["key"] for row in pooler.show("CONFIG")]
    assert [key for key in keys if key in CONFIG_ORDER][:len(CONFIG_ORDER)] == CONFIG_ORDER
    assert keys[:5] == CONFIG_ORDER[:5]


@pytest.mark.own
def test_config_defaults(busy):
    pooler, _ = busy
    defaults = {row["key"]: row["default"] for row in pooler.show("CONFIG")}
    for key, value in {"default_pool_size": "20", "pool_mode": "session", "auth_type": "md5", "query_wait_timeout": "120",
                       "server_lifetime": "3600", "server_reset_query": "DISCARD ALL", "max_client_conn": "100", "listen_port": "6432",
                       "max_prepared_statements": "200", "stats_period": "60"}.items():
        assert defaults[key] == value, key
    changeable = {row["key"]: row["changeable"] for row in pooler.show("CONFIG")}
    assert changeable["listen_port"] == "no" and changeable["pool_mode"] == "yes"


@pytest.mark.sanitizer
def test_clients_and_servers_match(busy):
    pooler, _ = busy
    clients, servers = pooler.clients(), pooler.servers()
    assert sorted(row["state"] for row in clients) in (["active", "idle"], ["active", "active"])
    assert {row["type"] for row in clients} == {"C"} and {row["type"] for row in servers} == {"S"}
    linked = [row for row in servers if row["link"]]
    assert len(linked) == 1
    assert linked[0]["link"] in {row["ptr"] for row in clients}
    assert all(row["remote_pid"] > 0 for row in servers if row["state"] != "new")


def test_pools_count(busy):
    pooler, _ = busy
    row = util.wait_until(lambda: (lambda r: r if r["sv_login"] == 0 else None)(pooler.pool()), "the second server to be in")
    assert row["cl_active"] == 2 and row["cl_waiting"] == 0 and row["sv_active"] == 1
    assert row["sv_active"] + row["sv_idle"] + row["sv_used"] == len(pooler.servers())


@pytest.mark.own
@pytest.mark.parametrize("relation, column, order", [("LISTS", "list", LISTS_ORDER), ("TOTALS", "name", TOTALS_ORDER)], ids=["LISTS", "TOTALS"])
def test_rows_in_order(busy, relation, column, order):
    """PgBouncer's rows in PgBouncer's order, since scripts go by the number of a row; ours, if any, come behind."""
    pooler, _ = busy
    assert [row[column] for row in pooler.show(relation)][:len(order)] == order


def test_lists(busy):
    pooler, _ = busy
    items = {row["list"]: row["items"] for row in pooler.show("LISTS")}
    assert items["databases"] >= 2 and items["pools"] >= 1 and items["used_clients"] >= 2
    assert items["used_servers"] == len(pooler.servers())


@pytest.mark.sanitizer
def test_stats_count(make_pooler):
    pooler = make_pooler()
    with pooler.wire() as client:
        for _ in range(10):
            client.query("SELECT 1")
        client.query("BEGIN")
        client.query("SELECT 1")
        client.query("COMMIT")

        def counted():
            row = [r for r in pooler.show("STATS_TOTALS") if r["database"] == "app"][0]
            return row["query_count"] == 13 and row["xact_count"] == 11

        util.wait_until(counted, "thirteen queries in eleven transactions", 5)
        row = [r for r in pooler.show("STATS_TOTALS") if r["database"] == "app"][0]
        assert row["bytes_received"] > 100 and row["bytes_sent"] > 500 and row["query_time"] > 0


def test_help(busy):
    _, console = busy
    messages = console.query("SHOW HELP")
    notice = [m for m in messages if m.kind == "N"][0].fields()
    assert notice["M"] == "Console usage" and "SHOW" in notice["D"]
    assert messages[-2].tag == "SHOW"


def test_unknown_command(busy):
    _, console = busy
    messages = console.query("FROBNICATE")
    assert messages[0].kind == "E" and messages[-1].kind == "Z"
    assert console.query("SHOW VERSION")[0].kind == "T"


def test_client_settings_of_drivers_are_answered(busy):
    _, console = busy
    for name in ("client_encoding", "standard_conforming_strings", "datestyle", "timezone", "default_transaction_isolation"):
        messages = console.query(f"SHOW {name}")
        assert [c[0].lower() for c in described(messages)] == [name]
    assert "E" not in "".join(m.kind for m in console.query("SET datestyle TO 'ISO'"))


@pytest.mark.sanitizer
def test_set(busy):
    pooler, _ = busy
    pooler.admin("SET query_wait_timeout = 33")
    assert float(pooler.config("query_wait_timeout")) == 33
    pooler.admin("SET pool_mode TO 'session'")
    assert pooler.config("pool_mode") == "session"
    with pytest.raises(psycopg.Error):
        pooler.admin("SET no_such_setting = 1")
    with pytest.raises(psycopg.Error):
        pooler.admin("SET default_pool_size = 'many'")
    pooler.admin("RELOAD")
    assert pooler.config("pool_mode") == "transaction"


# ---- rights

def test_stats_user_may_look_and_not_touch(pooler):
    assert pooler.admin("SHOW POOLS", user="stats") is not None
    for command in ("PAUSE", "RESUME", "RELOAD", "SET query_wait_timeout = 1", "SHUTDOWN", "DISABLE app", "ENABLE app"):
        with pytest.raises(psycopg.Error):
            pooler.admin(command, user="stats")
    assert pooler.is_running()


def test_other_users_are_refused(pooler):
    with pytest.raises(psycopg.OperationalError):
        pooler.console(user="app")


def test_passwords_are_not_shown(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app user=bob password=very-secret"}, userlist={"app": "user-secret"})
    pooler.wire().disconnect()
    shown = ""
    for name in ("DATABASES", "USERS", "CONFIG", "CLIENTS", "SERVERS", "POOLS"):
        shown += repr(pooler.show(name))
    assert "very-secret" not in shown and "user-secret" not in shown
    assert "very-secret" not in pooler.log() and "user-secret" not in pooler.log()


def psql_as(pooler, uid_kwargs, user, database):
    return subprocess.run(["psql", "-X", "-A", "-t", "-h", pooler.directory, "-p", str(pooler.port), "-U", user, "-d", database,
                           "-c", "SHOW VERSION"], capture_output=True, text=True, timeout=10, check=False, **uid_kwargs)


def test_user_pgbouncer_over_the_unix_socket(make_pooler):
    """The operating system's user of the process needs no password there, and only there."""
    pooler = make_pooler(settings={"auth_type": "md5"})
    done = psql_as(pooler, util.popen_user(), "pgbouncer", "pgbouncer")
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    with pytest.raises(psycopg.OperationalError):
        pooler.console(user="pgbouncer", password="")


def test_pgbouncer_user_with_another_uid_is_refused(make_pooler):
    if util.plain_user() is None:
        pytest.skip("needs root, to be somebody else")
    pooler = make_pooler(settings={"auth_type": "md5"})
    assert psql_as(pooler, {}, "pgbouncer", "pgbouncer").returncode != 0


@pytest.mark.own
def test_user_pgsluice_over_the_unix_socket(make_pooler):
    pooler = make_pooler(settings={"auth_type": "md5"})
    for name in ("pgsluice", "pgbouncer"):
        done = psql_as(pooler, util.popen_user(), "pgbouncer", name)
        assert done.returncode == 0, done.stderr


# ---- pgsluice's own

@pytest.mark.sanitizer
@pytest.mark.own
@pytest.mark.parametrize("name", OWN_COLUMNS)
def test_own_commands(busy, name):
    _, console = busy
    messages = console.query(f"SHOW {name}")
    assert messages[0].kind == "T", messages
    assert described(messages) == OWN_COLUMNS[name]
    assert messages[-2].tag == "SHOW"


@pytest.mark.own
def test_latency_has_what_was_asked(make_pooler):
    pooler = make_pooler()
    with pooler.wire() as client:
        for _ in range(20):
            client.query("SELECT pg_sleep(0.01)")
        util.wait_until(lambda: latency(pooler, "query")["count"] == 20, "twenty queries", 5)
    row = latency(pooler, "query")
    assert 9_500 <= row["p50_us"] <= row["p90_us"] <= row["p99_us"] <= row["max_us"] * 1.1
    assert 9_500 <= row["mean_us"] < 500_000 * util.PATIENCE
    assert latency(pooler, "transaction")["count"] == 20


def latency(pooler, what):
    return [row for row in pooler.show("LATENCY") if row["database"] == "app" and row["what"] == what][0]


@pytest.mark.own
def test_utilization_of_a_busy_pool(busy):
    pooler, _ = busy
    row = [row for row in pooler.show("UTILIZATION") if row["database"] == "app"][0]
    assert (row["limit"], row["active"], row["waiting"]) == (5, 1, 0)
    assert row["peak"] >= 1 and 0 < float(row["utilization_now"])


@pytest.mark.own
def test_workers_has_one_row_each(busy):
    pooler, _ = busy
    assert len(pooler.show("WORKERS")) == pooler.workers


@pytest.mark.own
def test_environment_profile(make_pooler):
    pooler = make_pooler(settings={"environment": "staging", "default_pool_size": None, "max_client_conn": None})
    assert pooler.config("default_pool_size") == "20" and pooler.config("min_pool_size") == "10"
    assert pooler.config("max_client_conn") == "500"
    assert "staging" in repr(pooler.show("ENVIRONMENT"))


@pytest.mark.own
def test_errors_are_counted(make_pooler):
    """By class of SQLSTATE: 22 is data exception."""
    pooler = make_pooler()
    with pooler.wire() as client:
        for _ in range(3):
            client.query("SELECT 1/0")

    def counted():
        return [row["count"] for row in pooler.show("ERRORS") if (row["kind"], row["name"]) == ("sqlstate", "22")] == [3]

    util.wait_until(counted, "three errors", 5)


def test_clients_are_shown_as_who_they_are(make_pooler, pg):
    """With a user of the database's line: the pool and its servers are that one's, clients are who they logged in as."""
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app user=app"})
    with pooler.wire(user="alice") as alice, pooler.wire(user="bob") as bob, pooler.console() as console:
        alice.query("BEGIN")
        bob.query("SELECT 1")
        for what in ("CLIENTS", "SOCKETS"):
            rows = [row for row in pooler.show(what) if row["type"] == "C" and row["database"] == "app"]
            assert sorted(row["user"] for row in rows) == ["alice", "bob"], what
        assert {row["user"] for row in pooler.servers()} == {"app"}
        assert [row["user"] for row in pooler.show("POOLS") if row["database"] == "app"] == ["app"]
        assert {(row["database"], row["user"], row["state"]) for row in pooler.show("CLIENTS") if row["database"] != "app"} \
            == {("pgbouncer", "admin", "active")}
        console.execute("SHOW VERSION")
    pooler.wait_log(r"C-\d+: app/alice@127.0.0.1:\d+ closing because")
    pooler.wait_log(r"C-\d+: pgbouncer/admin@127.0.0.1:\d+ closing because")


def test_a_login_that_waits_for_a_server_is_shown_waiting(make_pooler):
    pooler = make_pooler()
    pooler.admin("PAUSE app")
    with pooler.raw() as client:
        client.send(wire.startup_packet({"user": "app", "database": "app"}))
        waits = util.wait_until(lambda: [row for row in pooler.clients() if row["state"] == "waiting" and row["wait_us"] > 0],
                                "the login to wait")
        assert waits[0]["user"] == "app" and waits[0]["link"] == ""
        assert {row["state"] for row in pooler.show("SOCKETS") if row["database"] == "app"} == {"cl_waiting"}
        assert pooler.pool()["cl_waiting"] == 1
        util.wait_until(lambda: pooler.clients()[0]["wait"] >= 1, "a second of waiting to be shown")
        pooler.admin("RESUME app")
        client.finish_login("app")
        assert client.value("SELECT 1") == "1"
        assert {row["state"] for row in pooler.clients()} <= {"active", "idle"}
