"""The protocol as a client sees it: simple, extended, pipelined, COPY, function calls, errors in the middle.

A trace is the kinds of the messages that came, e.g. "12nsZ"; see harness/wire.py.
"""
import struct

import pytest

from harness import wire
from harness.util import wait_until

pytestmark = pytest.mark.sanitizer


@pytest.fixture
def client(pooler):
    with pooler.wire() as connection:
        yield connection


# ---- simple protocol

SIMPLE = [
    ("SELECT 1", "TDCZ"),
    ("", "IZ"),
    (";", "IZ"),
    ("SELECT 1; SELECT 2", "TDCTDCZ"),
    ("SELECT 1; SELECT 1/0; SELECT 2", "TDCTEZ"),
    ("BEGIN; SELECT 1; COMMIT", "CTDCCZ"),
    ("CREATE TEMP TABLE a (x int); DROP TABLE a", "CCZ"),
    ("SELECT generate_series(1, 3)", "TDDDCZ"),
    ("nonsense", "EZ"),
    ("DO $$ BEGIN RAISE NOTICE 'hello'; END $$", "NCZ"),
]


@pytest.mark.parametrize("sql, expected", SIMPLE, ids=[row[0][:20] or "empty" for row in SIMPLE])
def test_simple_query(client, sql, expected):
    trace = "".join(m.kind for m in client.query(sql))
    # An error may come before or after RowDescription, as the planner folds constants.
    assert trace in (expected, expected.replace("TE", "E"))
    assert client.value("SELECT 42") == "42"


def test_transaction_status_is_told(client):
    assert client.query("BEGIN")[-1].payload == b"T"
    assert client.query("SELECT 1/0")[-1].payload == b"E"
    messages = client.query("SELECT 1")
    assert messages[0].sqlstate == "25P02" and messages[-1].payload == b"E"
    assert client.query("ROLLBACK")[-1].payload == b"I"


def test_transaction_left_in_error_is_not_given_to_another(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as one:
        one.query("BEGIN")
        one.query("SELECT 1/0")
        one.goodbye()
    with pooler.wire() as two:
        assert two.query("SELECT 1")[-1].payload == b"I"


@pytest.mark.own
def test_messages_byte_by_byte(pooler):
    with pooler.raw() as client:
        client.send_in_pieces(wire.startup_packet({"user": "app", "database": "app"}))
        client.finish_login("app")
        client.send_in_pieces(wire.query("SELECT 'one'"))
        assert client.until()[1].row() == ["one"]
        client.send_in_pieces(wire.simple_extended("SELECT $1::text", ["two"]) + wire.sync())
        assert [m.row() for m in client.until() if m.kind == "D"] == [["two"]]


def test_large_query_and_large_row(client):
    text = "x" * 3_000_000
    client.send(wire.query(f"SELECT '{text}'"))
    assert client.until()[1].row() == [text]
    client.send(wire.simple_extended("SELECT $1::text", [text]) + wire.sync())
    assert [m.row() for m in client.until() if m.kind == "D"] == [[text]]


# ---- extended protocol

def test_extended_query(client):
    client.send(wire.simple_extended("SELECT $1::int + 1", [41]) + wire.sync())
    assert client.trace() == "12TDCZ"


def test_extended_error_skips_to_sync(client):
    client.send(wire.parse("", "nonsense"), wire.bind("", ""), wire.execute(), wire.sync(), wire.query("SELECT 1"))
    assert client.trace() == "EZ"
    assert client.trace() == "TDCZ"


def test_describe_statement_and_no_data(client):
    client.send(wire.parse("", "SELECT $1::int"), wire.describe("S", ""), wire.sync())
    assert client.trace() == "1tTZ"
    client.send(wire.parse("", "SET work_mem = '5MB'"), wire.describe("S", ""), wire.sync())
    assert client.trace() == "1tnZ"


def test_execute_with_limit_suspends_the_portal(client):
    client.send(wire.parse("", "SELECT generate_series(1, 5)"), wire.bind("", ""), wire.execute("", 2), wire.execute("", 2),
                wire.execute("", 2), wire.sync())
    assert client.trace() == "12DDsDDsDCZ"


def test_flush_brings_answers_without_sync(client):
    client.send(wire.parse("", "SELECT 1"), wire.flush())
    assert client.trace("1") == "1"
    client.send(wire.bind("", ""), wire.describe("P", ""), wire.flush())
    assert client.trace("T") == "2T"
    client.send(wire.execute(), wire.flush())
    assert client.trace("C") == "DC"
    client.send(wire.sync())
    assert client.trace() == "Z"


def test_flush_holds_the_server_until_sync(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as one, pooler.wire() as two:
        one.send(wire.simple_extended("SELECT 1") + wire.flush())
        assert one.trace("C") == "12TDC"
        two.send(wire.query("SELECT 2"))
        assert two.silent_for(0.15)
        one.send(wire.sync())
        assert one.trace() == "Z"
        assert two.trace() == "TDCZ"


def test_pipelined_syncs(client):
    count = 50
    client.send(b"".join(wire.simple_extended("SELECT $1::int", [n]) + wire.sync() for n in range(count)))
    for n in range(count):
        messages = client.until()
        assert "".join(m.kind for m in messages) == "12TDCZ"
        assert messages[3].row() == [str(n)]


def test_pipelined_simple_queries(client):
    client.send(b"".join(wire.query(f"SELECT {n}") for n in range(50)))
    for n in range(50):
        assert client.until()[1].row() == [str(n)]


def test_pipeline_goes_on_after_an_error_at_the_next_sync(client):
    client.send(wire.simple_extended("SELECT 1") + wire.sync() + wire.simple_extended("SELECT 1/0") + wire.simple_extended("SELECT 3")
                + wire.sync() + wire.simple_extended("SELECT 4") + wire.sync())
    assert client.trace() == "12TDCZ"
    assert client.trace() in ("12TEZ", "1EZ", "12EZ")
    messages = client.until()
    assert messages[3].row() == ["4"]


def test_pipeline_mixes_simple_and_extended(client):
    client.send(wire.simple_extended("SELECT 1") + wire.sync() + wire.query("SELECT 2") + wire.simple_extended("SELECT 3") + wire.sync()
                + wire.sync() + wire.query(""))
    assert [client.trace() for _ in range(5)] == ["12TDCZ", "TDCZ", "12TDCZ", "Z", "IZ"]


def test_pipeline_in_a_transaction_stays_on_one_server(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 3})
    with pooler.wire() as client:
        client.send(wire.query("BEGIN") + wire.query("SELECT pg_backend_pid()") * 5 + wire.query("COMMIT"))
        assert client.trace() == "CZ"
        assert len({client.until()[1].row()[0] for _ in range(5)}) == 1
        assert client.trace() == "CZ"


def test_long_pipeline_beside_another_client(make_pooler):
    """With one server, somebody with 400 requests under way and somebody with one each get their own answers."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as busy, pooler.wire() as other:
        count = 400
        busy.send(b"".join(wire.simple_extended("SELECT $1::text, pg_sleep(0.002)", [n]) + wire.sync() for n in range(count)))
        other.send(wire.query("SELECT 'here'"))
        assert other.until()[1].row() == ["here"]
        for n in range(count):
            assert [m.row()[0] for m in busy.until() if m.kind == "D"] == [str(n)]


def client_ok(messages):
    return "E" not in "".join(m.kind for m in messages)


@pytest.mark.own
def test_pipeliner_lets_a_waiter_in_between_syncs(make_pooler, pg):
    """While somebody waits, nothing beyond the current Sync is forwarded."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    now = wire.query("SELECT extract(epoch FROM clock_timestamp())")
    with pooler.wire() as busy, pooler.wire() as other, pg.connect() as holder:
        holder.execute("SELECT pg_advisory_lock(188)")
        busy.send(wire.query("SELECT pg_advisory_xact_lock(188)"))
        wait_until(lambda: pooler.pool()["sv_active"] == 1, "the server to be in use")
        other.send(now)
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "the other to wait")
        busy.send(b"".join([*(wire.query("SELECT 1") for _ in range(100)), now]))
        holder.execute("SELECT pg_advisory_unlock(188)")
        for _ in range(101):
            assert client_ok(busy.until())
        assert float(other.until()[1].row()[0]) < float(busy.until()[1].row()[0])


# ---- COPY

def test_copy_out(client):
    client.send(wire.query("COPY (SELECT generate_series(1, 1000)) TO STDOUT"))
    trace = client.trace()
    assert trace == "H" + "d" * 1000 + "cCZ"


def test_copy_in(client):
    client.query("DELETE FROM t WHERE id BETWEEN 1000 AND 1999")
    client.send(wire.query("COPY t FROM STDIN"))
    assert client.trace("G") == "G"
    client.send(b"".join(wire.copy_data(f"{n}\tv{n}\n".encode()) for n in range(1000, 1500)) + wire.copy_done())
    assert client.trace() == "CZ"
    assert client.value("SELECT count(*) FROM t WHERE id BETWEEN 1000 AND 1999") == "500"


@pytest.mark.own
def test_copy_in_sent_together_with_its_query(client):
    client.query("DELETE FROM t WHERE id = 2000")
    client.send(wire.query("COPY t FROM STDIN") + wire.copy_data(b"2000\tv\n") + wire.copy_done() + wire.query("SELECT 7"))
    assert client.trace() == "GCZ"
    assert client.until()[1].row() == ["7"]


def test_copy_in_failed_by_the_client(client):
    client.send(wire.query("COPY t FROM STDIN"))
    assert client.trace("G") == "G"
    client.send(wire.copy_data(b"1\tx\n") + wire.copy_fail("no more"))
    messages = client.until()
    assert messages[0].sqlstate == "57014"
    assert client.value("SELECT 1") == "1"


def test_copy_in_failed_by_the_server_with_data_that_comes_too_late(make_pooler):
    """PostgreSQL drops CopyData after its error; the pooler must not take the server for free with some under way."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as client, pooler.wire() as other:
        client.send(wire.query("COPY t FROM STDIN"))
        assert client.trace("G") == "G"
        client.send(wire.copy_data(b"not a number\n"))
        assert client.trace() == "EZ"
        other.send(wire.query("SELECT 'other'"))
        client.send(wire.copy_data(b"1\tx\n") * 100 + wire.copy_done())
        assert other.until()[1].row() == ["other"]
        assert client.value("SELECT 'mine'") == "mine"
        assert other.value("SELECT 'still'") == "still"


def test_copy_in_extended(client):
    client.query("DELETE FROM t WHERE id = 3000")
    client.send(wire.parse("", "COPY t FROM STDIN") + wire.bind("", "") + wire.execute() + wire.flush())
    assert client.trace("G") == "12G"
    client.send(wire.copy_data(b"3000\tv\n") + wire.copy_done() + wire.sync())
    assert client.trace() == "CZ"


def test_copy_in_extended_error_skips_to_sync(client):
    client.send(wire.parse("", "COPY t FROM STDIN") + wire.bind("", "") + wire.execute() + wire.flush())
    assert client.trace("G") == "12G"
    client.send(wire.copy_data(b"bad\n") * 3 + wire.copy_done() + wire.parse("", "SELECT 1") + wire.sync())
    assert client.trace() == "EZ"
    assert client.value("SELECT 1") == "1"


def test_client_that_vanishes_during_copy_in(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 1})
    client = pooler.wire()
    client.send(wire.query("COPY t FROM STDIN"))
    assert client.trace("G") == "G"
    client.send(wire.copy_data(b"4000\tv\n"))
    client.reset()
    with pooler.wire() as other:
        assert other.value("SELECT count(*) FROM t WHERE id = 4000") == "0"


def test_large_copy_both_ways(client):
    client.query("CREATE TABLE IF NOT EXISTS big (x text); TRUNCATE big")
    line = b"y" * 8000 + b"\n"
    client.send(wire.query("COPY big FROM STDIN"))
    assert client.trace("G") == "G"
    for _ in range(500):
        client.send(wire.copy_data(line) * 4)
    client.send(wire.copy_done())
    assert client.trace() == "CZ"
    client.send(wire.query("COPY big TO STDOUT"))
    messages = client.until()
    assert sum(len(m.payload) for m in messages if m.kind == "d") == 2000 * len(line)
    client.query("DROP TABLE big")


# ---- others

def test_function_call(client):
    oid = int(client.value("SELECT 'pg_catalog.int4pl(int4,int4)'::regprocedure::oid"))
    client.send(wire.message("F", struct.pack("!IHHH", oid, 1, 1, 2) + struct.pack("!II", 4, 40) + struct.pack("!II", 4, 2)
                             + struct.pack("!H", 1)))
    messages = client.until()
    assert "".join(m.kind for m in messages) == "VZ"
    assert messages[0].payload == struct.pack("!II", 4, 42)


def test_function_call_error(client):
    client.send(wire.function_call(1, b"x"))
    assert client.trace() == "EZ"
    assert client.value("SELECT 1") == "1"


def test_notices_come_with_their_query(client):
    messages = client.query("DO $$ BEGIN FOR i IN 1..20 LOOP RAISE WARNING 'n %', i; END LOOP; END $$")
    assert [m.text for m in messages if m.kind == "N"] == [f"n {i}" for i in range(1, 21)]


def test_listen_and_notify_in_session_mode(make_pooler):
    pooler = make_pooler(settings={"pool_mode": "session"})
    with pooler.wire() as listener, pooler.wire() as sender:
        listener.query("LISTEN news")
        sender.query("NOTIFY news, 'hello'")
        message = listener.until("A")[-1]
        assert message.payload[4:] == b"news\0hello\0"


def test_parameter_status_comes_through(client):
    messages = client.query("SET TimeZone = 'Europe/Paris'")
    assert any(m.kind == "S" and m.payload == b"TimeZone\0Europe/Paris\0" for m in messages)


def test_cancel_ends_the_query(client, pg):
    client.send(wire.query("SELECT pg_sleep(30), 'to be cancelled'"))
    wait_until(lambda: pg.backends("query LIKE '%to be cancelled%' AND wait_event = 'PgSleep'") == 1, "the query to run")
    client.cancel()
    messages = client.until()
    assert [m.sqlstate for m in messages if m.kind == "E"] == ["57014"]
    assert client.value("SELECT 1") == "1"


def test_cancel_of_an_idle_client_hits_nobody(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as idle, pooler.wire() as busy:
        idle.query("SELECT 1")
        busy.send(wire.query("SELECT pg_sleep(0.3)"))
        wait_until(lambda: pooler.pool()["sv_active"] == 1, "the server to be in use")
        idle.cancel()
        assert busy.trace() == "TDCZ"


def test_cancel_with_a_wrong_key_is_ignored(client, pooler):
    client.send(wire.query("SELECT pg_sleep(0.3)"))
    right = client.key
    client.key = bytes(b ^ 0x55 for b in right)
    client.cancel()
    assert client.trace() == "TDCZ"


def test_cancel_of_a_waiting_client_leaves_others_alone(make_pooler):
    """It may end the waiting query (57014) or come to nothing, but not touch whoever has the server."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as busy, pooler.wire() as waiting:
        busy.query("BEGIN")
        waiting.send(wire.query("SELECT 1"))
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "the client to wait")
        waiting.cancel()
        assert busy.value("SELECT 'unharmed'") == "unharmed"
        busy.query("ROLLBACK")
        assert all(m.sqlstate == "57014" for m in waiting.until() if m.kind == "E")
        assert busy.value("SELECT 1") == waiting.value("SELECT 1") == "1"


def test_cancel_storm_never_hits_the_next_transaction(make_pooler):
    """Cancels that arrive late must not end a query of the client that has the server next."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as victim, pooler.wire() as innocent:
        for n in range(30):
            victim.send(wire.query("SELECT pg_sleep(0.002)"))
            victim.cancel()
            innocent.send(wire.query(f"SELECT {n}, pg_sleep(0.003)"))
            assert innocent.until()[1].row()[0] == str(n)
            victim.until()
