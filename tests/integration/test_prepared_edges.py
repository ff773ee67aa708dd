"""Prepared statements where things meet that seldom do: what waits, what is held back, what changes meanwhile."""
import threading

import pytest

from harness import wire
from harness.fakeserver import error, ready
from harness.util import wait_until

pytestmark = [pytest.mark.own, pytest.mark.sanitizer]

P, B, D, E, C, S, H, Q = (wire.parse, wire.bind, wire.describe, wire.execute, wire.close, wire.sync, wire.flush, wire.query)


@pytest.fixture
def single(make_pooler):
    return make_pooler(settings={"default_pool_size": 1})


def rows(client):
    return [m.row() for m in client.until() if m.kind == "D"]


def value(client, sql):
    client.send(Q(sql))
    return rows(client)[-1][0]


def prepare(client, name, sql):
    client.send(P(name, sql) + S())
    assert client.trace() == "1Z"


def run(client, name):
    client.send(B("", name) + E() + S())
    return rows(client)


# ---- answers of ours ---------------------------------------------------------------

@pytest.mark.parametrize("ahead", [B("", "a") + E() + S(), B("", "none") + S()], ids=["run", "failed"])
def test_a_close_behind_a_sync_is_answered_at_its_flush(single, ahead):
    """No message of the server comes after the ReadyForQuery, so nothing else would give it its turn."""
    with single.wire() as client:
        prepare(client, "a", "SELECT 1")
        prepare(client, "b", "SELECT 2")
        client.send(ahead + C("S", "b") + H())
        client.until()
        assert client.receive().kind == "3"
        client.send(S())
        assert client.trace() == "Z"
        assert run(client, "a") == [["1"]]


def test_not_amid_a_message_of_the_server(make_pooler, fake):
    """A command that the server need not be asked for: its answer does not go into a message that is being passed on."""
    notice = wire.message("N", b"SNOTICE\0VNOTICE\0C00000\0M" + b"x" * 100 + b"\0\0")
    answers = {"P": wire.message("1"), "S": ready(b"T"), "Q": wire.message("C", wire.cstr("DEALLOCATE")) + ready(b"T")}

    def script(conversation):
        conversation.accept_login()
        assert [conversation.receive().kind for _ in "PS"] == ["P", "S"]
        conversation.send(wire.message("1"), ready())
        assert conversation.receive().kind == "Q"
        conversation.send(wire.message("C", wire.cstr("BEGIN")), ready(b"T"), notice[:50])
        rest = notice[50:]
        while (msg := conversation.receive()).kind != "X":
            conversation.send(rest, answers[msg.kind])
            rest = b""

    pooler = make_pooler(databases={"app": fake(script).dsn + " dbname=app"}, settings={"default_pool_size": 1})
    with pooler.wire() as client:
        prepare(client, "a", "SELECT 1")
        client.send(Q("BEGIN"))
        assert client.trace() == "CZ"
        half = client.receive_bytes(50)
        client.buffer = half + client.buffer
        client.send(Q("DEALLOCATE a"))
        assert client.trace() == "NCZ"


# ---- texts -------------------------------------------------------------------------

def test_a_text_with_thousands_of_executes(single):
    with single.wire() as client:
        client.send(Q("PREPARE a(int) AS SELECT $1"))
        client.until()
        client.send(Q(";".join(f"EXECUTE a({n})" for n in range(5000))))
        assert [int(row[0]) for row in rows(client)] == list(range(5000))
        client.send(Q(";".join(f"EXECUTE a({n})" for n in range(3000)) + "; EXECUTE none"))
        failed = [m for m in client.until() if m.kind == "E"]
        assert failed[0].sqlstate == "26000" and '"none"' in failed[0].text


def test_texts_that_prepare_much_are_bounded_too(make_pooler):
    """What one text needs is there at once; the next one makes room for its own."""
    pooler = make_pooler(settings={"default_pool_size": 1, "max_prepared_statements": 5})
    with pooler.wire() as client:
        for turn in range(6):
            client.send(Q("; ".join(f"PREPARE p{turn}_{n} AS SELECT {turn * 100 + n}" for n in range(20))))
            client.until()
        assert int(value(client, "SELECT count(*) FROM pg_prepared_statements")) <= 25
        for turn in range(6):
            assert value(client, f"EXECUTE p{turn}_7") == str(turn * 100 + 7)


def test_a_command_that_failed_keeps_nobody_waiting(make_pooler, fake):
    """A DEALLOCATE that changed nothing: other clients' pipelines are sent on as they come, without Flushes of ours."""
    seen = []
    answers = {"P": wire.message("1"), "B": wire.message("2"), "E": wire.message("C", wire.cstr("SELECT 0")), "S": ready()}

    def script(conversation):
        conversation.accept_login()
        owed, is_refused = b"", False
        while (msg := conversation.receive()).kind != "X":
            seen.append(msg.kind)
            is_refused = is_refused or b"DEALLOCATE" in msg.payload
            if is_refused and msg.kind == "E":
                answer, is_refused = error("26000", "there is none", "ERROR"), False
            else:
                answer = answers[msg.kind]
            owed += answer
            if msg.kind == "S":
                conversation.send(owed)
                owed = b""

    pooler = make_pooler(databases={"app": fake(script).dsn + " dbname=app"}, settings={"default_pool_size": 1})
    with pooler.wire() as one, pooler.wire() as two:
        one.send(P("", "DEALLOCATE none") + B("", "") + E() + S())
        assert one.trace() == "12EZ"
        prepare(two, "a", "SELECT 1")
        two.send((B("", "a") + E()) * 5 + S())
        assert two.trace() == "2C" * 5 + "Z"
    assert "".join(seen) == "PBES" + "PS" + "BE" * 5 + "S"


# ---- a statement that is made on the server ahead of an EXECUTE ----------------------

@pytest.fixture
def locked(pg):
    """A table whose definition somebody is about to change."""
    with pg.connect() as conn:
        conn.execute("DROP TABLE IF EXISTS locked; CREATE TABLE locked AS SELECT 5 AS x; GRANT ALL ON locked TO PUBLIC")
        conn.autocommit = False
        yield conn
        conn.rollback()


def waiting_for_lock(pg):
    with pg.connect() as conn:
        return conn.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'locked'::regclass").fetchone()[0]


def prepare_elsewhere(pooler, client, pg, locked, by_sql=True):
    """The only server has not got the client's statement any more, and cannot make it now."""
    if by_sql:
        client.send(Q("PREPARE x AS SELECT x FROM locked"))
        client.until()
    else:
        prepare(client, "x", "SELECT x FROM locked")
    with pooler.wire() as other:
        other.send(Q("DEALLOCATE ALL"))
        other.until()
    locked.execute("LOCK TABLE locked")


def test_query_timeout_strikes_what_an_execute_needs(make_pooler, pg, locked):
    pooler = make_pooler(settings={"default_pool_size": 1, "query_timeout": 1})
    with pooler.wire(timeout=60) as client:
        prepare_elsewhere(pooler, client, pg, locked)
        client.send(Q("EXECUTE x"))
        assert "query timeout" in [m for m in client.expect_closed() if m.kind == "E"][0].text.replace("_", " ")


def test_who_waits_for_what_an_execute_needs_is_not_idle(make_pooler, pg, locked):
    pooler = make_pooler(settings={"default_pool_size": 1, "idle_transaction_timeout": 1})
    with pooler.wire(timeout=60) as client:
        prepare_elsewhere(pooler, client, pg, locked)
        client.send(Q("BEGIN") + Q("EXECUTE x"))
        assert client.trace() == "CZ"
        wait_until(lambda: waiting_for_lock(pg) > 0, "the lock is waited for")
        with pooler.wire() as second:  # a client that is idle in a transaction would be struck long before
            assert second.silent_for(2.5)
        locked.rollback()
        assert rows(client) == [["5"]]


def test_sql_prepare_turned_off_meanwhile(make_pooler, pg, locked):
    """Who has begun goes on; the server is not kept for ever."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire(timeout=60) as client:
        prepare_elsewhere(pooler, client, pg, locked, by_sql=False)
        client.send(Q("EXECUTE x"))
        wait_until(lambda: waiting_for_lock(pg) > 0, "the lock is waited for")
        pooler.settings["sql_prepare"] = "off"
        pooler.reload()
        pooler.show("CLIENTS")  # asked behind it: every worker has it
        locked.rollback()
        assert rows(client) == [["5"]]
        with pooler.wire() as other:
            assert value(other, "SELECT 1") == "1"


# ---- statements that are taken away unseen -------------------------------------------

@pytest.mark.parametrize("how", ["DEALLOCATE ALL", "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"], ids=["seen", "unseen"])
def test_deallocate_all_costs_others_a_parse(single, how):
    with single.wire() as one, single.wire() as two:
        prepare(one, "a", "SELECT 1")
        one.send(Q("PREPARE b AS SELECT 2"))
        one.until()
        for _ in range(2):
            one.send(P("", "SELECT 3") + S())
            one.until()
            two.send(Q(how))
            assert two.trace() == "CZ"
            assert run(one, "") == [["3"]]
            one.send(B("", "a") + S())
            assert "E" not in one.trace()
            assert run(one, "a") == [["1"]]
            assert value(one, "EXECUTE b") == "2"


# ---- the unnamed statement -----------------------------------------------------------

def test_bound_more_often_than_requests_may_be_under_way(make_pooler, fake):
    """What is held back is a Bind or an Execute: the Parse has long been the server's, who keeps its answers until asked."""
    seen = []

    def script(conversation):
        conversation.accept_login()
        owed = b""
        while True:
            msg = conversation.receive()
            if msg.kind == "X":
                return
            seen.append(msg.kind)
            owed += {"P": wire.message("1"), "B": wire.message("2"), "E": wire.message("C", wire.cstr("SELECT 0")),
                     "C": wire.message("3"), "S": ready(), "H": b""}[msg.kind]
            if msg.kind in "HS":
                conversation.send(owed)
                owed = b""

    pooler = make_pooler(databases={"app": fake(script).dsn + " dbname=app"}, settings={"default_pool_size": 1})
    n = 40_000
    with pooler.wire(timeout=60) as client:
        sender = threading.Thread(target=client.send, args=(P("", "SELECT"), (B("", "") + E()) * n, S()), daemon=True)
        sender.start()
        assert client.trace() == "1" + "2C" * n + "Z"
        sender.join()
    assert "".join(seen).replace("H", "") == "P" + "BE" * n + "S" and seen.count("H") < 10


@pytest.mark.parametrize("before", [{"pool_mode": "session"}, {"max_prepared_statements": 0}], ids=["session", "zero"])
def test_settings_that_begin_to_map_it(make_pooler, before):
    """A Parse that was sent on unseen is still the server's own when its Bind is looked at."""
    pooler = make_pooler(settings={"default_pool_size": 1, **before})
    with pooler.wire() as client:
        client.send(Q("BEGIN"))
        client.until()
        client.send(P("", "SELECT 5") + S())
        client.until()
        pooler.settings.update(pool_mode="transaction", max_prepared_statements=100)
        pooler.reload()
        pooler.show("CLIENTS")  # asked behind it: every worker has it
        assert run(client, "") == [["5"]]


@pytest.mark.parametrize("after", [{"pool_mode": "session"}, {"max_prepared_statements": 0}], ids=["session", "zero"])
def test_settings_that_end_mapping_it(make_pooler, after):
    """What was kept for the client is not forgotten: it would get another client's."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as one:
        with pooler.wire() as two:
            one.send(P("", "SELECT 'one'") + S())
            one.until()
            two.send(P("", "SELECT 'two'") + S())
            two.until()
        pooler.settings.update(after)
        pooler.reload()
        pooler.show("CLIENTS")
        assert run(one, "") == [["one"]]


def test_a_query_that_is_skipped_does_not_end_it(single):
    with single.wire() as client:
        client.send(P("", "SELECT 'kept'") + S())
        client.until()
        client.send(B("", "none") + H())
        assert client.receive().sqlstate == "26000"
        client.send(Q("SELECT 1") + C("S", "") + S())
        assert client.trace() == "Z"
        assert run(client, "") == [["kept"]]



def test_one_that_is_held_back_is_not_the_servers(make_pooler, pg):
    """Its client goes on with another server; on the first one there is still another client's."""
    pooler = make_pooler(settings={"default_pool_size": 2})
    with pg.connect() as lock, pooler.wire() as owner, pooler.wire() as client, pooler.wire() as busy, pooler.wire() as next_one:
        lock.execute("SELECT pg_advisory_lock(77)")
        prepare(client, "lock", "SELECT pg_advisory_xact_lock(77)")
        prepare(client, "a", "SELECT 'its own'")
        for other in (busy, next_one):
            prepare(other, "begin", "BEGIN")
            prepare(other, "commit", "COMMIT")
        busy.send(Q("BEGIN"))
        busy.until()
        owner.send(P("", "SELECT 'secret of another client'") + S())
        owner.until()
        # waits for all that is ahead of it, since a command about statements is looked at then
        client.send(B("", "lock") + E() + S() + P("", "EXECUTE a") + S())
        with pg.connect() as conn:
            wait_until(lambda: conn.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone(), "the lock")
        next_one.send(B("", "begin") + E() + S())
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "one who waits")
        lock.execute("SELECT pg_advisory_unlock(77)")
        assert client.trace() == "2DCZ" and next_one.trace() == "2CZ"  # the server is another one's now
        busy.send(Q("COMMIT"))
        busy.until()
        assert client.trace() == "1Z"
        busy.send(Q("BEGIN"))  # takes that one again
        busy.until()
        next_one.send(B("", "commit") + E() + S())
        next_one.until()
        assert run(client, "") == []
        next_one.send(Q("SELECT 1"))
        next_one.until()
