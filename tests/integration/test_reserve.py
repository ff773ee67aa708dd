"""The reserve of a pool: for whom, when, how many, and how it goes back."""
import time

import pytest

from harness import wire
from harness.crowd import Crowd
from harness.util import PATIENCE, wait_until


def begin(pooler, count, **kwargs):
    """Clients in transactions, each with a server of its own."""
    clients = [pooler.wire(**kwargs) for _ in range(count)]
    for client in clients:
        client.query("BEGIN")
    return clients


def disconnect(*clients):
    for client in clients:
        client.disconnect()


def pool_is(pooler, user="app", **expected):
    row = pooler.pool(user=user)
    return row is not None and all(row[key] == value for key, value in expected.items())


@pytest.mark.sanitizer
def test_after_the_timeout_and_not_before(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 1, "reserve_pool_size": 1, "reserve_pool_timeout": 0.6})
    busy, = begin(pooler, 1)
    with pooler.wire() as client:
        started = time.monotonic()
        assert client.value("SELECT 1") == "1"
        waited = time.monotonic() - started
    assert 0.6 <= waited < 0.6 + 2 * PATIENCE
    assert pg.backends("usename = 'app'") == 2
    pooler.wait_log(r"WARNING S-.*: app/app@.* taking connection from reserve_pool")
    disconnect(busy)


@pytest.mark.own
def test_one_for_each_who_waits_and_no_more(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 1, "reserve_pool_size": 2, "reserve_pool_timeout": 0.3})
    busy, = begin(pooler, 1)
    waiting = [pooler.wire() for _ in range(4)]
    for number, client in enumerate(waiting, 2):
        client.send(wire.query("BEGIN"))
        wait_until(lambda number=number: sum(pooler.pool()[key] for key in ("sv_active", "cl_waiting")) == number, "it to be in the queue")
    wait_until(lambda: pool_is(pooler, sv_active=3, cl_waiting=2, reserve=2, reserve_used=2), "the whole reserve to be in use")
    assert [client.trace() for client in waiting[:2]] == ["CZ", "CZ"]  # in order of arrival
    assert waiting[2].silent_for(0.6)
    assert pg.backends("usename = 'app'") == 3
    disconnect(busy, *waiting)


@pytest.mark.own
def test_timeout_of_zero_means_no_reserve(make_pooler, pg):
    """As in PgBouncer."""
    pooler = make_pooler(settings={"default_pool_size": 1, "reserve_pool_size": 5, "reserve_pool_timeout": 0})
    busy, = begin(pooler, 1)
    with pooler.wire() as client:
        client.send(wire.query("SELECT 1"))
        assert client.silent_for(1)
        assert pg.backends("usename = 'app'") == 1
        pooler.admin("SET reserve_pool_timeout = 0.1")
        assert client.trace() == "TDCZ"
    disconnect(busy)


@pytest.mark.own
@pytest.mark.parametrize("where", ["database", "alias", "user"])
def test_of_a_database_and_of_a_user(make_pooler, pg, where):
    """The user's wins, as for pool_size."""
    key = {"database": "reserve_pool_size=2", "alias": "reserve_pool=2", "user": "reserve_pool_size=1"}[where]
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app {key}"}, users={"app": "reserve_pool_size=2"} if where == "user" else {},
                         settings={"default_pool_size": 1, "reserve_pool_timeout": 0.05})
    clients = [pooler.wire() for _ in range(5)]
    for client in clients:
        client.send(wire.query("BEGIN"))
    wait_until(lambda: pool_is(pooler, sv_active=3, cl_waiting=2), "three servers")
    assert [row["reserve_pool_size"] for row in pooler.show("DATABASES") if row["name"] == "app"] == [1 if where == "user" else 2]
    if where == "user":
        assert [row["reserve_pool_size"].strip() for row in pooler.show("USERS") if row["name"] == "app"] == ["2"]
    disconnect(*clients)


@pytest.mark.own
def test_goes_back_when_the_load_is_over(make_pooler, pg):
    """A server of the reserve is like any other: server_idle_timeout ends it."""
    pooler = make_pooler(settings={"default_pool_size": 1, "min_pool_size": 1, "reserve_pool_size": 2, "reserve_pool_timeout": 0.05})
    clients = begin(pooler, 3)
    for client in clients:
        client.query("COMMIT")
    wait_until(lambda: pool_is(pooler, sv_idle=3, reserve_used=2), "all to be idle")
    again = begin(pooler, 3)  # at once: they are still there
    assert pg.backends("usename = 'app'") == 3
    disconnect(*again)
    pooler.admin("SET server_idle_timeout = 0.2")
    wait_until(lambda: pg.backends("usename = 'app'") == 1, "the reserve to close")
    wait_until(lambda: pool_is(pooler, reserve_used=0), "the reserve to be whole")
    disconnect(*clients)


@pytest.mark.own
def test_reload_takes_it_away(make_pooler, pg):
    """Nobody is thrown out: servers close as they come free, down to pool_size."""
    pooler = make_pooler(settings={"default_pool_size": 1, "reserve_pool_size": 2, "reserve_pool_timeout": 0.05})
    clients = begin(pooler, 3)
    pooler.settings["reserve_pool_size"] = 0
    pooler.reload()
    wait_until(lambda: pool_is(pooler, sv_active=3, reserve=0, reserve_used=0), "the settings to be in force")
    for client in clients:
        assert client.value("SELECT 1") == "1"
        client.query("COMMIT")
    wait_until(lambda: pg.backends("usename = 'app'") == 1, "two servers to close")
    disconnect(*clients)


@pytest.mark.own
def test_not_while_paused(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 1, "reserve_pool_size": 2, "reserve_pool_timeout": 0.05})
    busy, = begin(pooler, 1)
    with pooler.console() as console, pooler.wire() as client:
        client.send(wire.query("SELECT 1"))
        assert client.trace() == "TDCZ"
        busy.query("COMMIT")
        console.execute("PAUSE")
        client.send(wire.query("SELECT 2"))
        assert client.silent_for(0.5)
        assert pg.backends("usename = 'app'") == 0
        console.execute("RESUME")
        assert client.trace() == "TDCZ"
    disconnect(busy)


@pytest.mark.own
def test_limit_of_the_database_holds(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 1, "reserve_pool_size": 5, "reserve_pool_timeout": 0.05, "max_db_connections": 2})
    clients = begin(pooler, 2)
    with pooler.wire() as client:
        client.send(wire.query("SELECT 1"))
        assert client.silent_for(0.6)
        assert pg.backends("datname = 'app' AND usename = 'app'") == 2
        clients[0].query("COMMIT")
        assert client.trace() == "TDCZ"
    disconnect(*clients)


@pytest.mark.own
@pytest.mark.sanitizer
def test_exact_as_postgresql_counts(make_pooler, pg):
    """A role whose CONNECTION LIMIT is pool_size and reserve together is never refused, while servers come and go."""
    with pg.connect() as conn:
        conn.execute("DROP ROLE IF EXISTS reserved; CREATE ROLE reserved LOGIN CONNECTION LIMIT 4")
    pooler = make_pooler(userlist={"reserved": ""}, settings={"default_pool_size": 2, "reserve_pool_size": 2, "reserve_pool_timeout": 0.02,
                                                              "server_lifetime": 0.3})
    most, log_begins = 0, len(pg.log())
    with Crowd(pooler.port) as crowd, pg.connect() as watch:
        crowd.add("reserved", "app", 20, "SELECT pg_sleep(0.01)")
        wait_until(lambda: pool_is(pooler, "reserved", reserve_used=2), "the reserve to be in use")
        deadline = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < deadline:
            most = max(most, watch.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'reserved'").fetchone()[0])
    assert not crowd.errors and crowd.total() > 50
    assert most == 4
    assert "too many connections" not in pooler.log()
    assert not [line for line in pg.log()[log_begins:].splitlines() if "reserved@" in line and "too many" in line]
