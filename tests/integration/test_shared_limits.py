"""Limits over several pools: exact as PostgreSQL counts, fair among the pools, and changed under crowd."""
import time

import pytest

from harness import wire
from harness.crowd import Crowd
from harness.util import PATIENCE, wait_until

POOLS = 8


class Watch:
    """Looks at pg_stat_activity again and again; .most is the largest number of servers that it saw."""

    def __init__(self, pg, where):
        self.conn = pg.connect(dbname="postgres")
        self.sql = f"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND ({where})"
        self.most = 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.conn.close()

    def count(self):
        number = self.conn.execute(self.sql).fetchone()[0]
        self.most = max(self.most, number)
        return number

    def for_seconds(self, seconds):
        """The largest number seen in this time."""
        self.most, deadline = 0, time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.count()
        return self.most


def make_roles(pg, limit=-1):
    """Plain roles: a superuser passes CONNECTION LIMIT by."""
    names = [f"shared{n}" for n in range(POOLS)]
    with pg.connect() as conn:
        for name in names:
            conn.execute(f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN CONNECTION LIMIT {limit}")
    return names


def make_database(pg, limit):
    """Its CONNECTION LIMIT makes PostgreSQL refuse whatever is too much."""
    with pg.connect(dbname="postgres") as conn:
        conn.execute("DROP DATABASE IF EXISTS shared WITH (FORCE)")
        conn.execute(f"CREATE DATABASE shared CONNECTION LIMIT {limit}")
    return "datname = 'shared'"


def refusals(pg, pooler):
    """What PostgreSQL had to refuse since setup_pools()."""
    return [line for line in (pg.log()[pooler.log_begins:] + pooler.log()).splitlines() if "too many connections for" in line]


def setup_pools(make_pooler, pg, kind, most, **settings):
    """Eight pools under one limit of `most` servers: (pooler, [(user, database)], condition of their servers)."""
    if kind == "database":
        roles = make_roles(pg)
        where = make_database(pg, most)
        pooler = make_pooler(databases={"shared": f"{pg.dsn} dbname=shared"}, userlist={role: "" for role in roles},
                             settings={"max_db_connections": most, **settings})
        pooler.log_begins = len(pg.log())
        return pooler, [(role, "shared") for role in roles], where
    role = make_roles(pg, most)[0]
    names = [f"alias{n}" for n in range(POOLS)]
    pooler = make_pooler(databases={name: f"{pg.dsn} dbname=app" for name in names}, userlist={role: ""},
                         settings={"max_user_connections": most, **settings})
    pooler.log_begins = len(pg.log())
    return pooler, [(role, name) for name in names], f"usename = '{role}'"


@pytest.mark.sanitizer
@pytest.mark.own
@pytest.mark.parametrize("kind", ["database", "user"])
def test_pools_are_served_in_turn(make_pooler, pg, kind):
    """Eight busy pools share three servers: exactly three, and none of the pools has much less of them than its share."""
    pooler, pools, where = setup_pools(make_pooler, pg, kind, 3, query_wait_timeout=10)
    with Crowd(pooler.port) as crowd, Watch(pg, where) as watch:
        for user, database in pools:
            crowd.add(user, database, 3, "SELECT pg_sleep(0.005)")
        wait_until(lambda: len(crowd.answers) == POOLS, "each pool to have been served", 10)
        before = dict(crowd.answers)
        assert watch.for_seconds(6 * PATIENCE) == 3
        shares = {pool: crowd.answers[pool] - before[pool] for pool in before}
    assert not crowd.errors
    fair = sum(shares.values()) / POOLS
    assert min(shares.values()) > fair / 3 and max(shares.values()) < fair * 3, shares
    assert not refusals(pg, pooler)


@pytest.mark.own
@pytest.mark.parametrize("kind", ["database", "user"])
def test_shares_of_two_pools(make_pooler, pg, kind):
    """The first has taken all; the second gets as many in a moment, and then both keep theirs."""
    pooler, pools, where = setup_pools(make_pooler, pg, kind, 4)

    def active(pool):
        return pooler.pool(user=pool[0], database=pool[1])["sv_active"]

    with Crowd(pooler.port) as crowd, Watch(pg, where) as watch:
        crowd.add(*pools[0], 8, "SELECT pg_sleep(0.01)")
        wait_until(lambda: watch.count() == 4, "the first to have all")
        crowd.add(*pools[1], 8, "SELECT pg_sleep(0.01)")
        wait_until(lambda: crowd.answers[pools[1]] > 0 and [active(pool) for pool in pools[:2]] == [2, 2], "two each", 10)
        opened = len(pooler.log_lines("new connection to server"))
        total = crowd.total()
        wait_until(lambda: crowd.total() > total + 300, "more answers", 20)
        assert len(pooler.log_lines("new connection to server")) == opened
    assert not crowd.errors and not refusals(pg, pooler)


@pytest.mark.sanitizer
@pytest.mark.parametrize("kind", ["database", "user"])
def test_idle_server_gives_way_at_once(make_pooler, pg, kind):
    """One of three idle servers, the one idle for longest, and only one: whoever has it, however long it may stay idle."""
    pooler, pools, where = setup_pools(make_pooler, pg, kind, 3, server_idle_timeout=3600, default_pool_size=3)
    user, database = pools[5]
    clients = [pooler.wire(user=user, database=database) for _ in range(3)]
    for client in clients:
        client.query("BEGIN")
    pids = [client.value("SELECT pg_backend_pid()") for client in clients]
    for client in clients:
        client.query("COMMIT")
    with Watch(pg, where) as watch:
        assert watch.count() == 3
        for number, (other, name) in enumerate(pools[:2]):
            started = time.monotonic()
            with pooler.wire(user=other, database=name) as client:
                assert client.value("SELECT 1") == "1"
                assert time.monotonic() - started < 1.0 * PATIENCE
                assert watch.count() == 3
                assert pg.backends(f"pid IN ({','.join(pids[number + 1:])})") == 2 - number
                assert pg.backends(f"pid = {pids[number]}") == 0
        assert watch.most == 3
    assert not refusals(pg, pooler)
    for client in clients:
        client.disconnect()


@pytest.mark.sanitizer
@pytest.mark.parametrize("kind", ["database", "user"])
def test_changed_by_reload_under_load(make_pooler, pg, kind):
    """PostgreSQL's own limit follows: raised before ours, lowered when ours has taken effect."""
    pooler, pools, where = setup_pools(make_pooler, pg, kind, 8)
    setting = "max_db_connections" if kind == "database" else "max_user_connections"
    command = "ALTER DATABASE shared CONNECTION LIMIT {}" if kind == "database" else "ALTER ROLE shared0 CONNECTION LIMIT {}"
    relation, name = ("DATABASES", "shared") if kind == "database" else ("USERS", "shared0")

    def opened():
        return next(row["current_connections"] for row in pooler.show(relation) if row["name"] == name)

    with Crowd(pooler.port) as crowd, Watch(pg, where) as watch:
        for user, database in pools:
            crowd.add(user, database, 4, "SELECT pg_sleep(0.03)")  # so that somebody waits in each pool
        for limit in (8, 2, 5, 1, 3):
            watch.conn.execute(command.format(8))
            pooler.settings[setting] = limit
            pooler.reload()
            # with those that are still logging in, which PostgreSQL does not show
            wait_until(lambda limit=limit: opened() <= limit, f"no more than {limit} servers", 20)
            wait_until(lambda limit=limit: watch.count() == limit, f"{limit} servers", 20)
            watch.conn.execute(command.format(limit))
            assert watch.for_seconds(0.5 * PATIENCE) <= limit
            before = crowd.total()
            wait_until(lambda before=before: crowd.total() > before + 20, "the load to go on", 20)
    assert not crowd.errors and not refusals(pg, pooler)


@pytest.mark.own
@pytest.mark.parametrize("kind", ["database", "user"])
def test_pool_sizes_changed_by_reload_under_load(make_pooler, pg, kind):
    """pool_size of each pool goes up and down under a limit over all; servers are never more than the one or the other allows."""
    pooler, pools, where = setup_pools(make_pooler, pg, kind, 6)
    with Crowd(pooler.port) as crowd, Watch(pg, where) as watch:
        for user, database in pools[:3]:
            crowd.add(user, database, 8, "SELECT pg_sleep(0.02)")
        for size in (5, 1, 3, 2):
            pooler.settings["default_pool_size"] = size
            pooler.reload()
            wait_until(lambda size=size: watch.count() == min(3 * size, 6), "as many servers as allowed", 20)
            assert watch.for_seconds(0.3 * PATIENCE) <= min(3 * size, 6)
            wait_until(lambda size=size: all(row["sv_active"] + row["sv_idle"] <= size for row in pooler.show("POOLS")), "no pool above its size")
    assert not crowd.errors and not refusals(pg, pooler)


@pytest.mark.own
def test_waiting_client_that_leaves_frees_the_turn(make_pooler, pg):
    """The pool whose turn it is has nobody left: the next one is served, not after a timeout."""
    pooler, pools, _ = setup_pools(make_pooler, pg, "database", 1)
    clients = [pooler.wire(user=user, database=database) for user, database in pools[:3]]
    clients[0].query("BEGIN")
    for number, client in enumerate(clients[1:], 1):
        client.send(wire.query("SELECT 1"))
        wait_until(lambda number=number: pooler.pool(user=pools[number][0], database="shared")["cl_waiting"] == 1, "it to wait")
    clients[1].disconnect()
    wait_until(lambda: pooler.pool(user=pools[1][0], database="shared")["cl_waiting"] == 0, "it to be gone")
    started = time.monotonic()
    clients[0].query("COMMIT")
    assert clients[2].trace() == "TDCZ"
    assert time.monotonic() - started < 2 * PATIENCE
    for client in clients:
        client.disconnect()
