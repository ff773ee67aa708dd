"""Transaction pooling with what cannot move: advisory locks, temporary objects, cursors WITH HOLD and LOAD keep the server."""
import threading

import psycopg
import pytest

from harness import wire
from harness.util import PATIENCE, wait_until

pytestmark = pytest.mark.own

BACKEND = "SELECT pg_backend_pid()"


@pytest.fixture
def make_pinning(make_pooler):
    def make(size=3, **kwargs):
        return make_pooler(settings={"default_pool_size": size, **kwargs.pop("settings", {})}, **kwargs)

    return make


def pinned(pooler):
    return pooler.pool()["pinned"]


def wait_pinned(pooler, count):
    """PostgreSQL is asked after the client has had its answer."""
    wait_until(lambda: pinned(pooler) == count, f"{count} to be pinned")


def wait_reasons(pooler, *expected):
    wait_until(lambda: reasons(pooler) == list(expected), f"reasons {expected}")


def reasons(pooler):
    return [row["reason"] for row in pooler.show("PINNED")]


def backend(conn):
    return conn.value(BACKEND)


def errors(messages):
    return [m.sqlstate for m in messages if m.kind == "E"]


def use_all_others(pooler, clients=6, transactions=5):
    """Other clients at work; the servers that they have been on."""
    seen = set()

    def work():
        with pooler.wire() as other:
            for _ in range(transactions):
                seen.add(backend(other))

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60 * PATIENCE)
        assert not thread.is_alive()
    return seen


LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
TABLES = "SELECT count(*) FROM pg_class WHERE relname = 'mine'"
FILLER = "-- it goes on\n" * 400

STATES = {
    "advisory lock": ("SELECT pg_advisory_lock(42)", "SELECT pg_advisory_unlock(42)",
                      "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"),
    "shared lock": ("SELECT pg_try_advisory_lock_shared(1, 2)", "SELECT pg_advisory_unlock_all()",
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"),
    "temporary table": ("CREATE TEMP TABLE mine (x int)", "DROP TABLE mine", "SELECT count(*) FROM pg_class WHERE relname = 'mine'"),
    "temporary table as": ("SELECT 1 AS x INTO TEMP mine", "DISCARD TEMP", "SELECT count(*) FROM pg_class WHERE relname = 'mine'"),
    "temporary view": ("CREATE TEMPORARY VIEW mine AS SELECT 1", "DROP VIEW mine", "SELECT count(*) FROM pg_class WHERE relname = 'mine'"),
    "holdable cursor": ("DECLARE held CURSOR WITH HOLD FOR SELECT 1 AS x", "CLOSE held", "SELECT count(*) FROM pg_cursors"),
    "cursor, DISCARD ALL": ("DECLARE held CURSOR WITH HOLD FOR SELECT 1 AS x", "DISCARD ALL", "SELECT count(*) FROM pg_cursors"),
    # code in literals, and names with escapes
    "lock in a DO": ("DO $$BEGIN PERFORM pg_advisory_lock(42); END$$", "SELECT pg_advisory_unlock(42)", LOCKS),
    "lock in a DO, quoted": ("DO LANGUAGE plpgsql 'BEGIN EXECUTE ''SELECT pg_advisory_lock(42)''; END'",
                             "DO $$BEGIN PERFORM pg_advisory_unlock(42); END$$", LOCKS),
    "lock in a DO, escaped": (r"DO E'BEGIN PERFORM pg_adv\x69sory_lock(42); END'", "SELECT pg_advisory_unlock_all()", LOCKS),
    "lock in a long DO": (f"DO $$BEGIN {FILLER} PERFORM pg_advisory_lock(42); END$$", "SELECT pg_advisory_unlock(42)", LOCKS),
    "lock in a DO beyond all bounds": (f"DO $$BEGIN {FILLER * 20} PERFORM pg_advisory_lock(42); END$$", "SELECT pg_advisory_unlock(42)",
                                       LOCKS),
    "temporary table in a DO": ("DO $$BEGIN CREATE TEMP TABLE mine (x int); END$$", "DO $$BEGIN DROP TABLE mine; END$$", TABLES),
    "temporary table in a DO, dynamic": ("DO $$BEGIN EXECUTE format('CREATE TEMPORARY TABLE %I AS SELECT 1', 'mine'); END$$", "DISCARD TEMP",
                                         TABLES),
    "holdable cursor in a DO": ("DO $$BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT 1'; END$$", "CLOSE held",
                                "SELECT count(*) FROM pg_cursors"),
    "lock by a name with escapes": (r'SELECT U&"pg_adv\0069sory_lock"(42)', """SELECT U&"pg_adv!0069sory_unlock" UESCAPE '!' (42)""", LOCKS),
}


# ---- kept, and let go


@pytest.mark.sanitizer
@pytest.mark.parametrize("begin, end, count", STATES.values(), ids=STATES)
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_server_is_kept_while_state_lives(make_pinning, begin, end, count, extended):
    """Nobody else gets the server meanwhile; afterwards the client shares again, and nothing is left."""
    pooler = make_pinning(size=2)

    def run(conn, sql):
        if extended:
            conn.send(wire.simple_extended(sql), wire.sync())
            messages = conn.until()
        else:
            messages = conn.query(sql)
        assert not errors(messages), messages
        return messages

    with pooler.wire() as client:
        run(client, begin)
        mine = backend(client)
        assert pinned(pooler) == 1
        for _ in range(3):
            assert mine not in use_all_others(pooler)
            assert backend(client) == mine and client.value(count) == "1"
        run(client, end)
        wait_until(lambda: pinned(pooler) == 0, "the pin to end")
        assert client.value(count) == "0"
        assert [s["state"] for s in pooler.servers()].count("active") == 0
        with pooler.wire() as one, pooler.wire() as two:  # both servers are free, and clean
            one.query("BEGIN")
            two.query("BEGIN")
            assert mine in (backend(one), backend(two))
            assert one.value(count) == two.value(count) == "0"


@pytest.mark.sanitizer
def test_named_statements(make_pinning):
    """What counts is the Bind: of a statement that was prepared on another server, or by another client."""
    pooler = make_pinning(size=2)
    with pooler.wire() as client, pooler.wire() as other:
        for conn in (client, other):
            conn.send(wire.parse("lock", "SELECT pg_advisory_lock($1::bigint)"), wire.parse("unlock", "SELECT pg_advisory_unlock($1::bigint)"),
                      wire.sync())
            assert conn.trace() == "11Z"
        assert pinned(pooler) == 0
        for n in range(3):
            client.send(wire.bind("", "lock", [n]), wire.execute(), wire.sync())
            assert not errors(client.until())
            assert pinned(pooler) == 1 and backend(client) not in use_all_others(pooler, clients=2)
        for n in range(3):
            assert pinned(pooler) == 1
            client.send(wire.bind("", "unlock", [n]), wire.execute(), wire.sync())
            assert [m.row() for m in client.until() if m.kind == "D"] == [["t"]]
        wait_until(lambda: pinned(pooler) == 0, "the pin to end")
        # the unnamed statement, parsed in a batch of its own
        client.send(wire.parse("", "SELECT pg_advisory_lock($1::bigint)"), wire.describe("S", ""), wire.sync())
        client.until()
        other.send(wire.parse("", "SELECT 1"), wire.sync())
        other.until()
        assert pinned(pooler) == 0
        client.send(wire.bind("", "", [7]), wire.execute(), wire.sync())
        assert not errors(client.until())
        assert pinned(pooler) == 1
        assert client.value("SELECT pg_advisory_unlock(7)") == "t"
        # a pinned client's statements are on its server, and are the ones that it has elsewhere
        client.query("CREATE TEMP TABLE mine (x int)")
        client.send(wire.parse("mine", "SELECT count(*) FROM mine"), wire.bind("", "mine"), wire.execute(), wire.sync())
        assert [m.row() for m in client.until() if m.kind == "D"] == [["0"]]
        client.send(wire.bind("", "unlock", [9]), wire.execute(), wire.sync())
        assert [m.row() for m in client.until() if m.kind == "D"] == [["f"]]
        client.query("DROP TABLE mine")
        wait_until(lambda: pinned(pooler) == 0, "the pin to end")
        client.send(wire.bind("", "lock", [1]), wire.execute(), wire.bind("", "unlock", [1]), wire.execute(), wire.sync())
        assert not errors(client.until())
        wait_until(lambda: pinned(pooler) == 0, "the pin to end")


@pytest.mark.sanitizer
@pytest.mark.parametrize("how", ["simple", "several", "extended", "named", "by the protocol"])
@pytest.mark.parametrize("body", ["SELECT pg_advisory_lock($1)", "WITH x AS (SELECT pg_advisory_lock($1)) SELECT FROM x"])
def test_execute(make_pinning, how, body):
    """Of a statement that was prepared before, by either way: its text is not in that of the EXECUTE."""
    pooler = make_pinning(size=2)
    with pooler.wire() as client:
        if how == "by the protocol":
            client.send(wire.parse("taking", body), wire.sync())
            assert client.trace() == "1Z"
        else:
            assert not errors(client.query(f"PREPARE taking (bigint) AS {body}"))
        use_all_others(pooler)
        wait_pinned(pooler, 0)
        execute = "EXECUTE taking(42)"
        if how in ("simple", "by the protocol"):
            messages = client.query(execute)
        elif how == "several":
            messages = client.query(f"SELECT 1; {execute}; SELECT 2")
        else:
            name = "named" if how == "named" else ""
            client.send(wire.parse(name, execute), wire.bind("", name), wire.execute(), wire.sync())
            messages = client.until()
        assert not errors(messages)
        mine = backend(client)
        assert pinned(pooler) == 1
        assert mine not in use_all_others(pooler)
        assert backend(client) == mine and client.value("SELECT pg_advisory_unlock(42)") == "t"
        wait_pinned(pooler, 0)


@pytest.mark.sanitizer
@pytest.mark.parametrize("sql, end, reason", [
    ("SELECT pg_advisory_lock(42)", "SELECT pg_advisory_unlock(42)", "advisory lock"),
    ("CREATE TEMP TABLE mine (x int)", "DROP TABLE mine", "temporary object"),
    ("SELECT 1 AS x INTO TEMP mine", "DISCARD TEMP", "temporary object"),
    ("DECLARE held CURSOR WITH HOLD FOR SELECT 1", "CLOSE held", "holdable cursor"),
], ids=lambda s: s[:20])
def test_behind_what_is_read(make_pinning, sql, end, reason):
    """Of a long text only the beginning is read: what the rest has left is asked."""
    pooler = make_pinning(size=2)
    with pooler.wire() as client:
        assert not errors(client.query("SELECT 1; /*" + 5000 * "x" + "*/ " + sql))
        mine = backend(client)
        wait_reasons(pooler, reason)
        assert mine not in use_all_others(pooler)
        assert not errors(client.query(end))
        wait_pinned(pooler, 0)
        assert not errors(client.query("SELECT 1; /*" + 5000 * "x" + "*/ " + sql + "; " + end))
        wait_pinned(pooler, 0)


# in pg_proc
LOCKING = {
    "pg_advisory_lock(bigint)": 2880, "pg_advisory_lock_shared(bigint)": 2881, "pg_try_advisory_lock(bigint)": 2882,
    "pg_try_advisory_lock_shared(bigint)": 2883, "pg_advisory_lock(integer,integer)": 2886,
    "pg_advisory_lock_shared(integer,integer)": 2887, "pg_try_advisory_lock(integer,integer)": 2888,
    "pg_try_advisory_lock_shared(integer,integer)": 2889,
}
UNLOCKING = {
    "pg_advisory_unlock(bigint)": 2884, "pg_advisory_unlock_shared(bigint)": 2885, "pg_advisory_unlock(integer,integer)": 2890,
    "pg_advisory_unlock_shared(integer,integer)": 2891, "pg_advisory_unlock_all()": 2892,
}


def call(client, functions, name):
    """The kinds of the answers to a FunctionCall."""
    numbers = {"()": 0, "(bigint)": 1, "(integer,integer)": 2}[name[name.index("("):]]
    client.send(wire.function_call(functions[name], *[b"42"] * numbers))
    return client.trace()


@pytest.mark.sanitizer
@pytest.mark.parametrize("name", LOCKING)
def test_function_call(make_pinning, name):
    pooler = make_pinning(size=2)
    unlock = name.replace("_try", "").replace("_lock", "_unlock")
    with pooler.wire() as client:
        assert client.value(f"SELECT '{name}'::regprocedure::oid") == str(LOCKING[name])
        assert client.value(f"SELECT '{unlock}'::regprocedure::oid") == str(UNLOCKING[unlock])
        assert call(client, LOCKING, name) == "VZ"
        mine = backend(client)
        assert pinned(pooler) == 1
        assert mine not in use_all_others(pooler)
        assert call(client, UNLOCKING, unlock) == "VZ"
        wait_pinned(pooler, 0)


def test_function_call_that_unlocks_all(make_pinning):
    name = "pg_advisory_unlock_all()"
    pooler = make_pinning(size=2)
    with pooler.wire() as client:
        assert client.value(f"SELECT '{name}'::regprocedure::oid") == str(UNLOCKING[name])
        client.query("SELECT pg_advisory_lock(1), pg_advisory_lock(2)")
        assert pinned(pooler) == 1
        assert call(client, UNLOCKING, name) == "VZ"
        wait_pinned(pooler, 0)


@pytest.mark.sanitizer
def test_function_call_that_is_refused(make_pinning):
    pooler = make_pinning(size=2)
    with pooler.wire() as one, pooler.wire() as two:
        assert call(one, LOCKING, "pg_advisory_lock(bigint)") == "VZ"
        two.send(wire.function_call(LOCKING["pg_advisory_lock(bigint)"], b"43"))
        messages = two.until()
        assert errors(messages) == ["53400"]
        assert two.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "1"


@pytest.mark.sanitizer
@pytest.mark.parametrize("statements", [
    ["CREATE TEMP TABLE mine (x int, x int)"],
    ["BEGIN", "CREATE TEMP TABLE mine (x int)", "ROLLBACK"],
    ["BEGIN", "CREATE TEMP TABLE mine (x int)", "SELECT 1/0", "COMMIT"],
    ["BEGIN", "SAVEPOINT a", "CREATE TEMP TABLE mine (x int)", "ROLLBACK TO a", "COMMIT"],
    ["BEGIN", "CREATE TEMP TABLE mine (x int) ON COMMIT DROP", "COMMIT"],
    ["BEGIN", "SELECT pg_advisory_xact_lock(1)", "COMMIT"],
    ["SELECT pg_advisory_lock(1), pg_advisory_unlock(1)"],
    ["SELECT pg_advisory_lock(1); SELECT pg_advisory_unlock(1)"],
    ["BEGIN", "SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)", "COMMIT"],
    ["DECLARE held CURSOR FOR SELECT 1"],
    ["SELECT 'pg_advisory_lock(1)', 'CREATE TEMP TABLE'"],
    ["DISCARD ALL"],
    ["DO $$BEGIN PERFORM 1; END$$"],
    ["DO $$BEGIN PERFORM pg_advisory_lock(1), pg_advisory_unlock(1); END$$"],
    ["DO $$BEGIN PERFORM pg_advisory_xact_lock(1); END$$"],
    ["DO $$BEGIN IF false THEN PERFORM pg_advisory_lock(1); END IF; END$$"],
    ["DO $$BEGIN CREATE TEMP TABLE mine (x int) ON COMMIT DROP; END$$"],
    ["DO $$BEGIN CREATE TEMP TABLE mine (x int); DROP TABLE mine; END$$"],
    ["DO $$BEGIN CREATE TEMP TABLE mine (x int); RAISE 'no'; END$$"],
    ["BEGIN", "DO $$BEGIN CREATE TEMP TABLE mine (x int); END$$", "ROLLBACK"],
    ["PREPARE taking AS SELECT pg_advisory_lock(1), pg_advisory_unlock(1)", "EXECUTE taking", "DEALLOCATE taking"],
    ["PREPARE taking (int) AS SELECT pg_advisory_lock($1)", "EXECUTE taking"],
], ids=lambda s: "; ".join(s)[:60])
def test_nothing_is_left(make_pinning, statements):
    """PostgreSQL is asked whether anything lives: no pin stays without a reason."""
    pooler = make_pinning(size=2)
    with pooler.wire() as client:
        for sql in statements:
            client.query(sql)
        assert client.value("SELECT 1") == "1"
        wait_until(lambda: pinned(pooler) == 0, "no pin")
        assert pooler.show("LEAKS") == []
        assert [s["state"] for s in pooler.servers()].count("active") == 0


def test_lock_that_another_has(make_pinning):
    """pg_try_advisory_lock() that gives false ties nobody."""
    pooler = make_pinning(size=3)
    with pooler.wire() as one, pooler.wire() as two:
        assert one.value("SELECT pg_try_advisory_lock(1)") == "t"
        assert two.value("SELECT pg_try_advisory_lock(1)") == "f"
        wait_pinned(pooler, 1)
        assert one.value("SELECT pg_advisory_unlock(1)") == "t"
        wait_pinned(pooler, 0)


@pytest.mark.sanitizer
def test_several_reasons(make_pinning):
    """The pin lasts as long as the last of them."""
    pooler = make_pinning()
    with pooler.wire() as client:
        client.query("SELECT pg_advisory_lock(1)")
        wait_reasons(pooler, "advisory lock")
        client.query("CREATE TEMP TABLE mine AS SELECT 1 AS x")
        client.query("DECLARE held CURSOR WITH HOLD FOR SELECT 2")
        wait_reasons(pooler, "advisory lock, temporary object, holdable cursor")
        client.query("SELECT pg_advisory_unlock(1)")
        wait_reasons(pooler, "temporary object, holdable cursor")
        assert client.value("FETCH held") == "2"
        client.query("CLOSE ALL")
        wait_reasons(pooler, "temporary object")
        client.query("BEGIN; DROP TABLE mine")
        client.query("ROLLBACK")
        wait_reasons(pooler, "temporary object")
        assert client.value("SELECT x FROM mine") == "1"
        client.query("DISCARD ALL")
        wait_reasons(pooler)


# ---- the client goes


@pytest.mark.sanitizer
@pytest.mark.parametrize("how", ["goodbye", "reset", "in a transaction"])
@pytest.mark.parametrize("always", [0, 1])
def test_client_that_leaves(make_pinning, how, always):
    """Whoever gets the server next finds nothing: it has been cleaned, or is another one."""
    pooler = make_pinning(size=1, settings={"max_pinned": 1, "server_reset_query_always": always})
    client = pooler.wire()
    client.query("SELECT pg_advisory_lock(1), pg_advisory_lock(2)")
    client.query("CREATE TEMP TABLE mine (x int)")
    client.query("DECLARE held CURSOR WITH HOLD FOR SELECT 1")
    client.send(wire.parse("kept", "SELECT 'kept'"), wire.sync())
    client.until()
    mine = backend(client)
    if how == "in a transaction":
        client.query("BEGIN")
    with pooler.wire() as waiting:
        waiting.send(wire.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "the other to wait")
        client.reset() if how == "reset" else client.goodbye()
        assert waiting.until()[1].row() == ["0"]
        assert (backend(waiting) == mine) is (how != "in a transaction")
        assert waiting.value("SELECT count(*) FROM pg_class WHERE relname = 'mine'") == "0"
        assert waiting.value("SELECT count(*) FROM pg_cursors") == "0"
        waiting.send(wire.parse("kept", "SELECT 'kept'"), wire.bind("", "kept"), wire.execute(), wire.sync())
        assert [m.row() for m in waiting.until() if m.kind == "D"] == [["kept"]]
    assert pinned(pooler) == 0
    assert [(row["count"], row["abandoned"]) for row in pooler.show("LEAKS")] == [(1, 1)] * 3


@pytest.mark.sanitizer
def test_client_that_leaves_while_the_server_is_asked(make_pinning, pg):
    """What a function has made, which only the answer tells, is removed as well."""
    with pg.connect() as conn:
        conn.execute("CREATE FUNCTION hidden() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(4713)'")
        try:
            pooler = make_pinning(size=1, settings={"max_pinned": 1})
            client = pooler.wire()
            assert not errors(client.query("CREATE TEMP TABLE mine (x int)"))
            mine = backend(client)
            conn.autocommit = False
            conn.execute("LOCK TABLE pg_catalog.pg_cursors IN ACCESS EXCLUSIVE MODE")
            assert not errors(client.query("SELECT hidden(); DROP TABLE mine"))
            wait_until(lambda: pg.backends(f"pid = {mine} AND wait_event_type = 'Lock'") == 1, "the question")
            client.reset()
            wait_until(lambda: not pooler.clients(), "the client to be gone")
            conn.rollback()
            conn.autocommit = True
            with pooler.wire() as other:
                assert other.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4713") == "0"
                assert backend(other) == mine
        finally:
            conn.rollback()
            conn.autocommit = True
            conn.execute("DROP FUNCTION hidden")


@pytest.mark.sanitizer
@pytest.mark.parametrize("ahead", ["", "SELECT 1; /*" + 5000 * "x" + "*/ "], ids=["short", "behind what is read"])
def test_load(make_pinning, pg, ahead):
    """LOAD cannot be undone: the client keeps its server, which goes with it."""
    pooler = make_pinning(size=2)
    with pooler.wire() as client:
        client.query(f"{ahead}LOAD 'auto_explain'")
        mine = backend(client)
        client.query("DISCARD ALL")
        wait_reasons(pooler, "loaded library")
        assert mine not in use_all_others(pooler)
        assert backend(client) == mine
    pooler.wait_log("closing because: its client has left state that cannot be removed")
    wait_until(lambda: pg.backends(f"pid = {mine}") == 0, "the server to be closed")
    assert pinned(pooler) == 0


# ---- bounds


@pytest.mark.sanitizer
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_bound(make_pinning, extended):
    """By default one server is left; the statement beyond fails, wherever it stands, and the session goes on."""
    pooler = make_pinning(size=2)

    def lock(number):
        sql = f"SELECT pg_advisory_lock({number})"
        return wire.simple_extended(sql) + wire.sync() if extended else wire.query(sql)

    with pooler.wire() as one, pooler.wire() as two:
        one.query("SELECT pg_advisory_lock(1)")
        two.send(lock(2))
        messages = two.until()
        error = [m.fields() for m in messages if m.kind == "E"][0]
        assert (error["S"], error["C"], error["M"]) == ("ERROR", "53400", "too many pinned server connections (max_pinned)")
        assert "1 of this pool, of at most 1" in error["D"] and "max_pinned" in error["H"]
        assert messages[-1].payload == b"I"
        # amid a pipeline, and in a transaction: what comes behind it is as after any error
        two.send(wire.query("SELECT 'before'"), lock(2), wire.query("SELECT 'behind'"))
        assert two.until()[1].row() == ["before"]
        assert errors(two.until()) == ["53400"]
        assert two.until()[1].row() == ["behind"]
        two.query("BEGIN")
        two.send(lock(3))
        messages = two.until()
        assert errors(messages) == ["53400"] and messages[-1].payload == b"E"
        assert errors(two.query("SELECT 1")) == ["25P02"]
        assert [m.tag for m in two.query("COMMIT") if m.kind == "C"] == ["ROLLBACK"]
        assert two.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid <> 1") == "0"
        one.query("SELECT pg_advisory_unlock(1)")
        wait_pinned(pooler, 0)
        two.send(lock(2))
        assert not errors(two.until())
        wait_pinned(pooler, 1)
    assert "pgsluice_max_pinned" not in pooler.log()


@pytest.mark.sanitizer
def test_bound_and_what_a_do_may_leave(make_pinning):
    """It counts if it is there afterwards: a DO that leaves nothing is not refused where nobody may be pinned."""
    pooler = make_pinning(size=1)
    with pooler.wire() as client, pooler.wire() as other:
        for code in ("PERFORM pg_advisory_lock(1), pg_advisory_unlock(1)", "CREATE TEMP TABLE mine (x int); DROP TABLE mine",
                     "IF false THEN PERFORM pg_advisory_lock(1); END IF", "RAISE NOTICE 'CREATE TEMP TABLE mine'"):
            assert not errors(client.query(f"DO $$BEGIN {code}; END$$"))
            assert other.value(LOCKS) == "0" and pinned(pooler) == 0
        assert not errors(client.query("DO $$BEGIN PERFORM pg_advisory_lock(1); END$$"))
        assert errors(client.expect_closed()) == ["53400"]
        assert other.value(LOCKS) == "0"


@pytest.mark.sanitizer
def test_bound_and_temporary_tables_of_a_transaction(make_pinning):
    """They count if they outlive it; who may not keep its server then is told so when the transaction has ended."""
    pooler = make_pinning(size=1)
    with pooler.wire() as client:
        for end in ("DROP TABLE mine; COMMIT", "ROLLBACK", "SELECT 1/0"):
            client.query("BEGIN")
            assert not errors(client.query("CREATE TEMP TABLE mine (x int)"))
            assert pooler.show("PINNED") == []
            client.query(end)
            client.query("ROLLBACK")
            assert client.value("SELECT count(*) FROM pg_class WHERE relname = 'mine'") == "0"
        assert not errors(client.query("BEGIN; CREATE TEMP TABLE mine (x int); DROP TABLE mine; COMMIT"))
        client.query("BEGIN")
        client.query("CREATE TEMP TABLE mine (x int)")
        assert errors(client.query("SELECT pg_advisory_lock(1)")) == ["53400"], "a lock is most likely to stay"
        client.query("ROLLBACK")
        client.query("BEGIN")
        client.query("CREATE TEMP TABLE mine (x int)")
        client.send(wire.query("COMMIT"))
        assert client.trace() == "CZ"
        assert [(m.fields()["S"], m.sqlstate) for m in client.expect_closed() if m.kind == "E"] == [("FATAL", "53400")]
    with pooler.wire() as client:
        assert client.value("SELECT count(*) FROM pg_class WHERE relname = 'mine'") == "0"
    assert pooler.closes("max_pinned") == 1


def test_bound_is_set(make_pinning):
    pooler = make_pinning(size=4, settings={"max_pinned": 0})
    with pooler.wire() as client:
        assert errors(client.query("CREATE TEMP TABLE mine (x int)")) == ["53400"]
        pooler.admin("SET max_pinned = 2")
        assert not errors(client.query("CREATE TEMP TABLE mine (x int)"))
        pooler.admin("SET max_pinned = 0")
        assert client.value("SELECT count(*) FROM mine") == "0", "who has one keeps it"
        with pooler.wire() as other:
            assert errors(other.query("CREATE TEMP TABLE mine (x int)")) == ["53400"]
    assert pooler.show("CONFIG")


def test_pool_of_one(make_pinning):
    """None is left to be kept, by default; what is said then helps."""
    pooler = make_pinning(size=1)
    with pooler.wire() as client:
        (error,) = [m.fields() for m in client.query("CREATE TEMP TABLE mine (x int)") if m.kind == "E"]
        assert error["C"] == "53400" and "a pool of one has none to spare" in error["D"]
        assert all(word in error["H"] for word in ("max_pinned", "pool_size", "session_state = ignore"))
        assert not errors(client.query("BEGIN; CREATE TEMP TABLE mine (x int) ON COMMIT DROP; COMMIT"))
        pooler.admin("SET max_pinned = 1")
        assert not errors(client.query("CREATE TEMP TABLE mine (x int)"))
        assert client.value("SELECT count(*) FROM mine") == "0"


def test_operators_of_the_client(make_pinning, pg):
    """Whether something lives is asked with PostgreSQL's own operators, whatever comes first in search_path."""
    with pg.connect() as conn:
        conn.execute("CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC")
        try:
            for kind in ("oid", "text", "int4"):
                conn.execute(f"CREATE FUNCTION evil.never({kind}, {kind}) RETURNS bool LANGUAGE sql AS 'SELECT false'; "
                             f"CREATE OPERATOR evil.= (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = evil.never)")
            pooler = make_pinning()
            for begin in ("CREATE TEMP TABLE mine (x int)", "SELECT pg_advisory_lock(42)"):
                with pooler.wire() as client:
                    assert not errors(client.query(f"SET search_path = evil, pg_catalog; {begin}"))
                    mine = backend(client)  # behind the question
                    assert pinned(pooler) == 1 and backend(client) == mine
                    assert not errors(client.query("RESET search_path"))
        finally:
            conn.execute("DROP SCHEMA evil CASCADE")


def test_bound_follows_what_the_pool_may_have(make_pinning, pg):
    pooler = make_pinning(databases={"app": f"{pg.dsn} dbname=app pool_size=9 max_db_connections=3", "app2": f"{pg.dsn} dbname=app2 pool_size=1"})
    for database in ("app", "app2"):
        pooler.wire(database=database).goodbye()
    assert pooler.pool()["max_pinned"] == 2 and pooler.pool("app2")["max_pinned"] == 0


@pytest.mark.sanitizer
def test_bound_under_a_storm(make_pinning):
    """Many clients on all workers at once: never more than may be, and all comes back."""
    pooler = make_pinning(size=4)
    outcomes = []

    def work(number):
        with pooler.wire(timeout=60) as client:
            for turn in range(8):
                got = errors(client.query(f"SELECT pg_advisory_lock({number * 100 + turn})"))
                outcomes.append(tuple(got))
                if not got:
                    held = client.value("SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory'")
                    assert int(held) <= 3
                    client.query("SELECT pg_advisory_unlock_all()")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120 * PATIENCE)
        assert not thread.is_alive()
    assert len(outcomes) == 96 and set(outcomes) <= {(), ("53400",)} and () in outcomes
    wait_until(lambda: pinned(pooler) == 0, "all pins to end")


@pytest.mark.sanitizer
def test_idle_pin(make_pinning):
    """pin_idle_timeout ends the session, with a clear error; one that works, or has no pin, is not concerned."""
    pooler = make_pinning(settings={"pin_idle_timeout": 1})
    with pooler.wire() as idle, pooler.wire() as free:
        assert free.value("SELECT 1") == "1"
        idle.query("SELECT pg_advisory_lock(1)")
        idle.send(wire.query("SELECT pg_sleep(1.5)"))
        assert not errors(idle.until())
        fields = [m.fields() for m in idle.expect_closed() if m.kind == "E"][0]
        assert (fields["S"], fields["C"], fields["M"]) == ("FATAL", "57P05", "pin_idle_timeout")
        assert "advisory locks" in fields["H"]
        wait_until(lambda: free.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0", "its server to be cleaned")
    assert pooler.closes("pin_idle_timeout") == 1


# ---- migration tools


@pytest.mark.sanitizer
def test_two_migrations_at_once(make_pinning):
    """One waits for the other's lock; with a pool of two, twenty others go on."""
    pooler = make_pinning(size=3)
    order, stop = [], threading.Event()

    def migrate(name):
        with pooler.connect() as conn:
            conn.execute("SELECT pg_advisory_lock(4711)")
            order.append(f"{name} begins")
            with conn.transaction():
                conn.execute("CREATE TABLE IF NOT EXISTS pins_migration (x int)")
                conn.execute("SELECT pg_sleep(0.3)")
            order.append(f"{name} ends")
            assert conn.execute("SELECT pg_advisory_unlock(4711)").fetchone() == (True,)

    def serve(done):
        with pooler.wire(timeout=60) as conn:
            while not stop.is_set():
                assert conn.value("SELECT 1") == "1"
                done.append(1)

    served = [[] for _ in range(20)]
    others = [threading.Thread(target=serve, args=(done,)) for done in served]
    tools = [threading.Thread(target=migrate, args=(name,)) for name in "ab"]
    for thread in others + tools:
        thread.start()
    for thread in tools:
        thread.join(120 * PATIENCE)
    before = [len(done) for done in served]
    wait_until(lambda: all(len(done) > n for done, n in zip(served, before)), "all others to go on", 60)
    stop.set()
    for thread in others:
        thread.join(60 * PATIENCE)
    assert order in (["a begins", "a ends", "b begins", "b ends"], ["b begins", "b ends", "a begins", "a ends"])
    wait_until(lambda: pinned(pooler) == 0, "all pins to end")


@pytest.mark.sanitizer
def test_pool_of_two_with_twenty_clients(make_pinning):
    pooler = make_pinning(size=2)
    with pooler.wire() as pinning:
        pinning.query("SELECT pg_advisory_lock(1)")
        mine = backend(pinning)
        seen = use_all_others(pooler, clients=20, transactions=10)
        assert len(seen) == 1 and mine not in seen
        assert pinning.value("SELECT pg_advisory_unlock(1)") == "t"


# ---- deaths and orders


@pytest.mark.sanitizer
def test_server_that_dies(make_pinning, pg):
    """Its client is told in the server's own words, since what it had is lost."""
    pooler = make_pinning(size=2)
    with pooler.wire() as client, pooler.wire() as other:
        client.query("CREATE TEMP TABLE mine (x int)")
        assert other.value("SELECT 1") == "1"
        pg.terminate_backends(f"pid = {backend(client)}")
        assert [(m.fields()["S"], m.sqlstate) for m in client.expect_closed() if m.kind == "E"] == [("FATAL", "57P01")]
        assert other.value("SELECT 1") == "1"
        wait_until(lambda: pinned(pooler) == 0, "the pin to end")
        assert not errors(other.query("CREATE TEMP TABLE mine (x int)"))


@pytest.mark.sanitizer
def test_pause_waits(make_pinning):
    """As for a client in session mode."""
    pooler = make_pinning(size=2)
    with pooler.wire() as client:
        client.query("SELECT pg_advisory_lock(1)")
        done = threading.Event()
        thread = threading.Thread(target=lambda: (pooler.admin("PAUSE app"), done.set()))
        thread.start()
        wait_until(lambda: [d["paused"] for d in pooler.show("DATABASES") if d["name"] == "app"] == [1], "the pause to begin")
        assert client.value("SELECT pg_advisory_unlock(1)") == "t"
        assert done.wait(20 * PATIENCE)
        thread.join()
        client.send(wire.query("SELECT 1"))
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "the client to wait")
        pooler.admin("RESUME app")
        assert client.until()[1].row() == ["1"]


@pytest.mark.sanitizer
@pytest.mark.parametrize("order", ["RECONNECT", "RELOAD"])
def test_orders_that_replace_servers(make_pinning, pg, order):
    """The server goes when it comes free, not before."""
    pooler = make_pinning(size=2)
    with pooler.wire() as client:
        client.query("CREATE TEMP TABLE mine (x int)")
        mine = backend(client)
        if order == "RELOAD":
            pooler.databases["app"] = f"{pg.dsn} dbname=app connect_query='SELECT 1'"
            pooler.reload()
        else:
            pooler.admin("RECONNECT app")
        assert backend(client) == mine and client.value("SELECT count(*) FROM mine") == "0"
        client.query("DROP TABLE mine")
        assert backend(client) != mine
        assert pinned(pooler) == 0


def test_pool_mode_changes_while_pinned(make_pinning):
    pooler = make_pinning(size=2)
    with pooler.wire() as client:
        client.query("CREATE TEMP TABLE mine (x int)")
        mine = backend(client)
        pooler.admin("SET pool_mode = session")
        client.query("DROP TABLE mine")
        assert backend(client) == mine and pooler.pool()["sv_active"] == 1
        pooler.admin("SET pool_mode = transaction")
        assert backend(client) == mine
        wait_until(lambda: pooler.pool()["sv_active"] == 0, "the server to come free")


@pytest.mark.sanitizer
@pytest.mark.parametrize("order", ["KILL app", "SHUTDOWN DRAIN", "SHUTDOWN WAIT_FOR_SERVERS"])
def test_orders_that_end_clients(make_pinning, order):
    pooler = make_pinning(size=2)
    with pooler.wire() as client:
        client.query("SELECT pg_advisory_lock(1)")
        pooler.admin(order)
        assert errors(client.expect_closed()) == ["57P01"]
    if order.startswith("SHUTDOWN"):
        assert pooler.wait_exit() == 0
    else:
        wait_until(lambda: pinned(pooler) == 0, "the pin to end")


@pytest.mark.sanitizer
def test_transaction_that_a_timeout_ends(make_pinning):
    """The client keeps its session, and so its pin."""
    pooler = make_pinning(size=2, settings={"timeout_action": "cancel", "idle_transaction_timeout": 0.5})
    with pooler.wire() as client:
        client.query("CREATE TEMP TABLE mine (x int)")
        client.query("BEGIN")
        pooler.wait_log("its transaction is rolled back")
        assert errors(client.query("SELECT 1")) == ["25P03"]
        assert [m.tag for m in client.query("ROLLBACK") if m.kind == "C"] == ["ROLLBACK"]
        assert client.value("SELECT count(*) FROM mine") == "0"
        assert pinned(pooler) == 1


# ---- what is told


def test_show_pinned_and_leaks(make_pinning):
    """Who keeps servers, since when and why; who does so at all, and how often. The log says it once."""
    pooler = make_pinning(size=4)
    with pooler.wire(application_name="tool") as one, pooler.wire(application_name="tool") as two:
        one.query("SELECT pg_advisory_lock(1)")
        two.query("SELECT pg_advisory_lock( 2 )")
        rows = pooler.show("PINNED")
        assert [r["reason"] for r in rows] == ["advisory lock"] * 2
        assert {(r["database"], r["user"], r["application_name"], r["statement"]) for r in rows} == \
            {("app", "app", "tool", "select pg_advisory_lock(?)")}
        clients = {c["ptr"]: c["link"] for c in pooler.clients()}
        assert {r["client"]: r["server"] for r in rows} == {k: v for k, v in clients.items() if v}
        assert sorted(str(r["remote_pid"]) for r in rows) == sorted([backend(one), backend(two)])
        assert all(r["since"] and r["idle"] >= 0 for r in rows)
        assert len({r["fingerprint"] for r in rows}) == 1 and len(rows[0]["fingerprint"]) == 16
        one.query("SELECT pg_advisory_unlock(1)")
        one.query("CREATE TEMP TABLE mine (x int)")
        wait_until(lambda: len(pooler.show("LEAKS")) == 2, "the temporary table to be noted")
        leaks = {r["reason"]: r for r in pooler.show("LEAKS")}
        assert {k: (r["application_name"], r["count"], r["abandoned"]) for k, r in leaks.items()} == \
            {"advisory lock": ("tool", 2, 0), "temporary object": ("tool", 1, 0)}
        assert leaks["advisory lock"]["fingerprint"] == rows[0]["fingerprint"]
        assert pooler.pool()["pinned"] == 2 and pooler.pool()["max_pinned"] == 3
    wait_until(lambda: sum(r["abandoned"] for r in pooler.show("LEAKS")) == 2, "what was left behind to be counted")
    assert len(pooler.wait_log('application "tool" keeps its server connection.*advisory lock')) == 1
    assert len(pooler.wait_log('application "tool" keeps its server connection.*temporary object')) == 1


def test_session_mode_is_not_concerned(make_pinning):
    pooler = make_pinning(settings={"pool_mode": "session", "max_pinned": 0})
    with pooler.connect() as conn:
        conn.execute("CREATE TEMP TABLE mine (x int)")
        conn.execute("SELECT pg_advisory_lock(1)")
        assert pooler.show("PINNED") == [] and pinned(pooler) == 0


def test_psycopg(make_pinning):
    """A driver that does not know of any of this."""
    pooler = make_pinning(size=2)
    with pooler.connect(autocommit=False) as conn:
        conn.prepare_threshold = 2
        conn.execute("CREATE TEMP TABLE mine (x int) ON COMMIT PRESERVE ROWS")
        conn.commit()
        for n in range(10):
            conn.execute("INSERT INTO mine VALUES (%s)", [n])
            conn.commit()
        assert conn.execute("SELECT sum(x) FROM mine").fetchone() == (45,)
        conn.commit()
        with psycopg.ServerCursor(conn, "held", withhold=True) as cursor:
            cursor.execute("SELECT generate_series(1, 100)")
            conn.commit()
            assert len(cursor.fetchall()) == 100
        conn.execute("DROP TABLE mine")
        conn.commit()
        wait_pinned(pooler, 0)


def test_ignored(make_pinning):
    """session_state = ignore: what a session has stays with the server, as in PgBouncer; who is pinned when that is set goes on so."""
    pooler = make_pinning(size=1, settings={"session_state": "ignore"})
    with pooler.wire() as client, pooler.wire() as other:
        assert not errors(client.query("CREATE TEMP TABLE mine (x int)"))
        assert other.value("SELECT count(*) FROM mine") == "0", "it is on the one server"
        assert pinned(pooler) == 0 and pooler.show("PINNED") == []
        assert not errors(client.query("DROP TABLE mine"))
        pooler.admin("SET max_pinned = 1")
        pooler.admin("SET session_state = track")
        assert not errors(client.query("CREATE TEMP TABLE mine (x int)"))
        wait_pinned(pooler, 1)
        pooler.admin("SET session_state = ignore")
        assert not errors(client.query("DROP TABLE mine"))
        wait_pinned(pooler, 0)
        assert other.value("SELECT 1") == "1"
