"""Limits and timeouts on clients and servers."""
import time

import psycopg
import pytest

from harness import wire
from harness.util import PATIENCE, wait_until
from harness.wire import ServerError


def open_clients(pooler, count, **kwargs):
    return [pooler.wire(**kwargs) for _ in range(count)]


def close_all(clients):
    for client in clients:
        client.disconnect()


@pytest.mark.sanitizer
def test_max_client_conn(make_pooler):
    pooler = make_pooler(settings={"max_client_conn": 5})
    clients = open_clients(pooler, 5)
    with pytest.raises(ServerError, match=r"no more connections allowed \(max_client_conn\)") as caught:
        pooler.wire()
    assert caught.value.sqlstate in ("53300", "08P01")
    clients.pop().goodbye()
    wait_until(lambda: try_login(pooler), "a place to be free")
    close_all(clients)


def try_login(pooler, **kwargs):
    try:
        pooler.wire(**kwargs).goodbye()
        return True
    except ServerError:
        return False


@pytest.mark.own
def test_max_client_conn_keeps_room_for_the_console(make_pooler):
    pooler = make_pooler(settings={"max_client_conn": 3})
    clients = open_clients(pooler, 3)
    assert pooler.show("VERSION")
    close_all(clients)


def test_pool_size_of_the_database(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app pool_size=2"})
    clients = open_clients(pooler, 4)
    for client in clients:
        client.send(wire.query("SELECT pg_sleep(0.2)"))
    wait_until(lambda: pooler.pool()["sv_active"] == 2 and pooler.pool()["cl_waiting"] == 2, "two to run and two to wait")
    assert pg.backends("usename = 'app'") == 2
    for client in clients:
        assert client.trace() == "TDCZ"
    close_all(clients)


@pytest.mark.sanitizer
@pytest.mark.parametrize("setting, limit", [("max_db_connections", "max_db_connections"), ("max_user_connections", "max_user_connections")])
def test_connections_over_several_pools(make_pooler, pg, setting, limit):
    """Two pools under one limit: never more servers than allowed, and neither pool starves."""
    pooler = make_pooler(settings={setting: 3, "default_pool_size": 3, "query_wait_timeout": 20, "server_idle_timeout": 0})
    first = open_clients(pooler, 4, user="app", database="app")
    if setting == "max_db_connections":
        second = open_clients(pooler, 4, user="alice", database="app")
    else:
        second = open_clients(pooler, 4, user="app", database="app2")
    for client in first + second:
        client.send(wire.query("SELECT pg_sleep(0.05)"))
    seen = 0
    while pooler.is_running():
        seen = max(seen, pg.backends("usename IN ('app', 'alice') AND datname IN ('app', 'app2')"))
        if seen >= 3:
            break
    for client in first + second:
        assert client.trace() == "TDCZ"
    assert pg.backends("usename IN ('app', 'alice') AND datname IN ('app', 'app2')") <= 3
    assert seen <= 3
    close_all(first + second)


@pytest.mark.sanitizer
def test_min_pool_size(make_pooler, pg):
    pooler = make_pooler(settings={"min_pool_size": 3})
    with pooler.wire() as client:
        client.query("SELECT 1")
        wait_until(lambda: pg.backends("usename = 'app'") == 3, "three servers", 10)
        assert len(pooler.servers()) == 3


@pytest.mark.sanitizer
def test_query_wait_timeout(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as busy, pooler.wire() as waiting:
        busy.query("BEGIN")
        pooler.admin("SET query_wait_timeout = 1")  # the first login waits for a new server, however long that takes
        started = time.monotonic()
        waiting.send(wire.query("SELECT 1"))
        errors = [m for m in waiting.expect_closed() if m.kind == "E"]
        assert "query_wait_timeout" in errors[-1].text
        assert 0.8 <= time.monotonic() - started < 5 * PATIENCE
        assert busy.value("SELECT 1") == "1"


@pytest.mark.own
def test_query_wait_notify(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "query_wait_notify": 1})
    with pooler.wire() as busy, pooler.wire() as waiting:
        busy.query("BEGIN")
        waiting.send(wire.query("SELECT 1"))
        notice = waiting.receive()
        assert notice.kind == "N" and notice.sqlstate == "00000"
        busy.query("COMMIT")
        assert waiting.trace() == "TDCZ"


@pytest.mark.sanitizer
def test_server_lifetime(make_pooler):
    pooler = make_pooler(settings={"server_lifetime": 1, "default_pool_size": 1})
    with pooler.wire() as client:
        first = client.value("SELECT pg_backend_pid()")
        wait_until(lambda: client.value("SELECT pg_backend_pid()") != first, "another server", 10, every=0.1)
    pooler.wait_log("server lifetime over")


def test_server_lifetime_of_zero_means_one_use(make_pooler):
    """As in PgBouncer: a server is closed when it comes free, and not before it has been used."""
    pooler = make_pooler(settings={"server_lifetime": 0, "default_pool_size": 2, "min_pool_size": 1})
    with pooler.wire() as client, pooler.wire() as other:
        seen = [each.value("SELECT pg_backend_pid()") for each in (client, other, client, client, other)]
        assert len(set(seen)) == len(seen)
        client.query("BEGIN")
        assert client.value("SELECT pg_backend_pid()") == client.value("SELECT pg_backend_pid()")
        client.query("COMMIT")
        wait_until(lambda: [row["state"] for row in pooler.servers()] == ["idle"], "a server for min_pool_size, which stays", 10)
        pooler.wait_log("server lifetime over", 6)


def test_server_idle_timeout(make_pooler):
    pooler = make_pooler(settings={"server_idle_timeout": 1})
    with pooler.wire() as client:
        client.query("SELECT 1")
        wait_until(lambda: not pooler.servers(), "the idle server to close", 10)
    pooler.wait_log("server idle timeout")


def test_server_check_query(make_pooler, pg):
    """A server that has been idle for longer than server_check_delay is asked before it is used."""
    with pg.connect() as conn:
        conn.execute("DROP SEQUENCE IF EXISTS checks; CREATE SEQUENCE checks")
    pooler = make_pooler(settings={"server_check_query": "SELECT nextval('checks')", "server_check_delay": 0, "default_pool_size": 1})
    with pooler.wire() as client:
        for n in range(4):
            assert client.value(f"SELECT {n}") == str(n)
        assert int(client.value("SELECT last_value FROM checks")) >= 3


@pytest.mark.parametrize("state, mine, others", [("ignore", "3MB", "3MB"), ("track", "9MB", "4MB")])
def test_server_reset_query_always(make_pooler, state, mine, others):
    """Between two transactions; with settings that follow clients it comes ahead of what each of them is to have."""
    pooler = make_pooler(settings={"server_reset_query": "SET work_mem = '3MB'", "server_reset_query_always": 1, "default_pool_size": 1,
                                   "session_state": state})
    with pooler.wire() as client, pooler.wire() as other:
        client.query("SET work_mem = '9MB'")
        for _ in range(3):
            assert client.value("SHOW work_mem") == mine
            assert other.value("SHOW work_mem") == others


def test_server_reset_query_is_for_session_mode(make_pooler):
    pooler = make_pooler(settings={"server_reset_query": "SET work_mem = '3MB'", "default_pool_size": 1})
    with pooler.wire() as client:
        client.query("SET work_mem = '9MB'")
        assert client.value("SHOW work_mem") == "9MB"


@pytest.mark.parametrize("users, clients, expected", [("max_user_connections=1", 3, 1)])
def test_max_user_connections_of_a_user(make_pooler, users, clients, expected):
    pooler = make_pooler(users={"app": users})
    opened = open_clients(pooler, clients)
    for client in opened[:expected]:
        client.query("BEGIN")
    for client in opened[expected:]:
        client.send(wire.query("SELECT 1"))
    wait_until(lambda: pooler.pool()["cl_waiting"] == clients - expected, "the others to wait")
    assert pooler.pool()["sv_active"] == expected
    for client in opened[:expected]:
        client.query("COMMIT")
    for client in opened[expected:]:
        assert client.trace() == "TDCZ"
    close_all(opened)


def test_wrong_settings_are_named(make_pooler):
    pooler = make_pooler(start=False, settings={"default_pool_siez": 5})
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode != 0 and "default_pool_siez" in done.stderr


@pytest.mark.own
def test_unknown_setting_is_refused_with_place_and_suggestion(make_pooler):
    pooler = make_pooler(start=False, settings={"default_pool_siez": 5})
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert "pgsluice.ini:" in done.stderr and "default_pool_size" in done.stderr


def test_disabled_database(pooler):
    pooler.wire().disconnect()
    pooler.admin("DISABLE app")
    with pytest.raises(psycopg.OperationalError):
        pooler.connect()
    pooler.admin("ENABLE app")
    pooler.connect().close()
