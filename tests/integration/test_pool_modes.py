"""When a server connection is given back: session, transaction and statement mode, by default, database and user."""
import psycopg
import pytest

from harness.util import wait_until


def backend(conn):
    return conn.execute("SELECT pg_backend_pid()").fetchone()[0]


def test_transaction_mode_shares_one_server(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.connect() as one, pooler.connect() as two:
        assert backend(one) == backend(two) == backend(one)


@pytest.mark.sanitizer
def test_transaction_mode_holds_the_server_during_a_transaction(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 2})
    with pooler.connect() as one, pooler.connect() as two:
        with one.transaction():
            first = backend(one)
            assert backend(two) != first
            assert backend(one) == first


def test_session_mode_keeps_the_server(make_pooler):
    pooler = make_pooler(settings={"pool_mode": "session", "default_pool_size": 2})
    with pooler.connect() as one, pooler.connect() as two:
        first, second = backend(one), backend(two)
        assert first != second
        assert (backend(one), backend(two)) == (first, second)
        one.execute("CREATE TEMP TABLE mine (x int)")
        one.execute("SELECT * FROM mine")


@pytest.mark.sanitizer
def test_session_mode_resets_the_server_for_the_next_client(make_pooler):
    pooler = make_pooler(settings={"pool_mode": "session", "default_pool_size": 1})
    with pooler.connect() as one:
        first = backend(one)
        one.execute("CREATE TEMP TABLE mine (x int)")
        one.execute("SET work_mem = '1234kB'")
    with pooler.connect() as two:
        assert backend(two) == first
        assert two.execute("SHOW work_mem").fetchone()[0] != "1234kB"
        with pytest.raises(psycopg.errors.UndefinedTable):
            two.execute("SELECT * FROM mine")


@pytest.mark.sanitizer
def test_session_mode_next_client_waits(make_pooler):
    pooler = make_pooler(settings={"pool_mode": "session", "default_pool_size": 1})
    one = pooler.connect()
    backend(one)
    with pooler.wire() as two:
        two.send(b"Q\0\0\0\x0dSELECT 1\0")
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "the other to wait")
        one.close()
        assert two.trace() == "TDCZ"


def test_statement_mode_allows_single_statements_only(make_pooler):
    pooler = make_pooler(settings={"pool_mode": "statement"})
    with pooler.connect() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    with pooler.wire() as conn:
        conn.send(b"Q\0\0\0\x0aBEGIN\0")
        messages = conn.expect_closed()
        assert [m for m in messages if m.kind == "E"], messages


@pytest.mark.parametrize("default, options", [("session", "transaction"), ("transaction", "session")])
def test_mode_of_a_database_wins_over_the_default(make_pooler, pg, default, options):
    pooler = make_pooler(settings={"pool_mode": default, "default_pool_size": 1},
                         databases={"app": f"{pg.dsn} dbname=app pool_mode={options}"})
    assert held_while_idle(pooler) is (options == "session")


@pytest.mark.parametrize("database, user", [("session", "transaction"), ("transaction", "session")])
def test_mode_of_a_user_wins_over_the_database(make_pooler, pg, database, user):
    pooler = make_pooler(settings={"default_pool_size": 1}, users={"app": f"pool_mode={user}"},
                         databases={"app": f"{pg.dsn} dbname=app pool_mode={database}"})
    assert held_while_idle(pooler) is (user == "session")


def held_while_idle(pooler):
    """Whether a client that has finished its transaction still holds its server."""
    with pooler.connect() as conn:
        backend(conn)
        wait_until(lambda: pooler.pool()["sv_active"] + pooler.pool()["sv_idle"] + pooler.pool()["sv_used"] == 1, "one server")
        return pooler.pool()["sv_active"] == 1


def test_show_pools_names_the_mode(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app", "app2": f"{pg.dsn} dbname=app2 pool_mode=session"})
    for database in ("app", "app2"):
        pooler.connect(database).close()
    assert pooler.pool("app")["pool_mode"] == "transaction"
    assert pooler.pool("app2")["pool_mode"] == "session"


def test_forced_user_of_a_database_makes_one_pool(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 1}, databases={"app": f"{pg.dsn} dbname=app user=bob"})
    with pooler.connect(user="app") as one, pooler.connect(user="alice") as two:
        assert one.execute("SELECT current_user").fetchone()[0] == "bob"
        assert two.execute("SELECT current_user").fetchone()[0] == "bob"
        assert backend(one) == backend(two)


def test_database_by_another_name_and_fallback(make_pooler, pg):
    pooler = make_pooler(databases={"alias": f"{pg.dsn} dbname=app2", "*": pg.dsn})
    for name, real in (("alias", "app2"), ("app", "app"), ("postgres", "postgres")):
        with pooler.connect(name) as conn:
            assert conn.execute("SELECT current_database()").fetchone()[0] == real


def test_unknown_database_is_refused(pooler):
    with pytest.raises(psycopg.OperationalError, match="no such database: nothing"):
        pooler.connect("nothing")


def test_server_database_that_does_not_exist(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=missing"})
    with pytest.raises(psycopg.OperationalError, match='database "missing" does not exist'):
        with pooler.connect() as conn:
            conn.execute("SELECT 1")
