"""A client's settings go ahead of its request, in the same send; nothing runs behind settings that were refused."""
import pytest

from harness import wire
from harness.gate import Gate
from harness.util import wait_until

pytestmark = pytest.mark.own


@pytest.fixture
def gate(pg):
    with Gate(pg.port) as gate:
        yield gate


@pytest.fixture
def single(make_pooler, gate):
    return make_pooler(databases={"app": f"host=127.0.0.1 port={gate.port} dbname=app pool_size=1"},
                       settings={"server_tls_sslmode": "disable"})


def visit(client):
    """Somebody else has the server in between."""
    assert client.value("SELECT 1") == "1"


def run(client, *messages):
    client.send(*messages, wire.sync())
    return client.until()


def prepare(client, sql):
    assert [m.kind for m in run(client, wire.parse("s", sql))] == ["1", "Z"]


TEXT = "SELECT current_setting('work_mem')"
# before: what the client does when it is set up; then its request, and the kinds of the answers
REQUESTS = {
    "simple": (None, wire.query(TEXT), "TDCZ"),
    "transaction": (None, wire.query("BEGIN"), "CZ"),
    "unnamed": (None, wire.simple_extended(TEXT) + wire.sync(), "12TDCZ"),
    "parsed and run": (None, wire.parse("t", TEXT) + wire.bind("", "t") + wire.execute() + wire.sync(), "12DCZ"),
    "prepared": (TEXT, wire.bind("", "s") + wire.execute() + wire.sync(), "2DCZ"),
    "another setting": (None, wire.query("SET statement_timeout = '1min'"), "CZ"),
    "function": (None, wire.function_call(1598), "VZ"),  # random()
}


@pytest.mark.sanitizer
@pytest.mark.parametrize("before, request_, kinds", REQUESTS.values(), ids=REQUESTS)
def test_one_send(single, gate, before, request_, kinds):
    with single.wire(application_name="one") as one, single.wire(application_name="two") as two:
        one.query("SET work_mem = '5MB'")
        if before:
            prepare(one, before)
        for _ in range(3):
            visit(two)
            gate.pieces.clear()
            one.send(request_)
            answer = one.until()
            assert "".join(m.kind for m in answer) == kinds  # no ParameterStatus of what was its own all the time
            assert [m.row() for m in answer if m.kind == "D"] == [["5MB"]] * kinds.count("D")
            ahead = [piece for piece in gate.pieces if b"BEGIN;SET " in piece]
            assert len(ahead) == 1 and ahead == gate.pieces, gate.pieces
            assert ahead[0].index(b"work_mem='5MB';") < ahead[0].index(b"COMMIT\0") < len(ahead[0]) - len(b"COMMIT\0")
            if request_ == wire.query("BEGIN"):
                assert one.value(TEXT) == "5MB"
                one.query("COMMIT")
            if b"\0t\0" in request_:
                run(one, wire.close("S", "t"))
    assert len(single.servers()) == 1


def test_the_answer_is_not_waited_for(single, gate):
    with single.wire() as one, single.wire() as two:
        one.query("SET work_mem = '5MB'")
        visit(two)
        gate.close()
        one.send(wire.parse("", TEXT), wire.flush())
        wait_until(lambda: b"BEGIN;SET " in b"".join(gate.pieces))
        one.send(wire.bind("", ""), wire.execute(), wire.sync())
        wait_until(lambda: gate.pieces[-1].endswith(wire.sync()), "the rest of the batch")
        gate.open()
        assert [m.row() for m in one.until() if m.kind == "D"] == [["5MB"]]


def test_what_comes_behind_waits(single, gate):
    """A second request; what ends a transaction; what is not whole: all of them as they would be without settings."""
    large = wire.query(f"SELECT length('{'x' * 300000}')")
    with single.wire() as one, single.wire() as two:
        one.query("SET work_mem = '5MB'")
        for text, rows in ((f"{TEXT}; ROLLBACK", [["5MB"]]), ("COMMIT", []), (f"/* x */ {TEXT}", [["5MB"]]), ("", [])):
            visit(two)
            gate.pieces.clear()
            assert [m.row() for m in one.query(text) if m.kind == "D"] == rows
            assert gate.pieces[0].endswith(b"COMMIT\0")
        visit(two)
        gate.pieces.clear()
        one.send(wire.query(TEXT) * 3)
        for _ in range(3):
            assert [m.row() for m in one.until() if m.kind == "D"] == [["5MB"]]
        assert gate.pieces[0].count(TEXT.encode()) == 1
        visit(two)
        one.send(large[:1000])
        wait_until(lambda: b"BEGIN;SET " in gate.pieces[-1])
        one.send(large[1000:])
        assert [m.row() for m in one.until() if m.kind == "D"] == [["300000"]]
        assert one.value(TEXT) == "5MB"


def test_others_wait_meanwhile(single):
    """Pipelines of many who want the one server: nobody is forgotten."""
    clients = [single.wire(application_name=str(i)) for i in range(8)]
    for i, one in enumerate(clients):
        one.query(f"SET work_mem = '{i + 5}MB'")
    for _ in range(5):
        for one in clients:
            one.send(wire.query(TEXT), wire.simple_extended(TEXT), wire.sync(), wire.query("BEGIN"), wire.query("COMMIT"), wire.query("ROLLBACK"))
        for i, one in enumerate(clients):
            rows = [m.row() for _ in range(5) for m in one.until() if m.kind == "D"]
            assert rows == [[f"{i + 5}MB"]] * 2
    assert len(single.servers()) == 1
    for one in clients:
        one.disconnect()


def test_a_stale_plan_is_replaced_behind_settings(single, pg):
    """The retry after a change of the schema, with settings ahead of the batch that is sent again."""
    with single.wire() as one, single.wire() as two, pg.connect(dbname="app") as conn:
        conn.execute("DROP TABLE IF EXISTS ahead_stale; CREATE TABLE ahead_stale AS SELECT 1 AS x")
        one.query("SET work_mem = '5MB'")
        prepare(one, "SELECT * FROM ahead_stale")
        run(one, wire.bind("", "s"), wire.execute())
        conn.execute("ALTER TABLE ahead_stale ADD COLUMN y int DEFAULT 2")
        visit(two)
        answer = run(one, wire.bind("", "s"), wire.execute())
        assert [m.kind for m in answer] == ["2", "D", "C", "Z"], answer
        assert answer[1].row() == ["1", "2"]
        conn.execute("DROP TABLE ahead_stale")


INSERT = "INSERT INTO ahead_refused VALUES (1)"
REFUSED = {
    "simple": (None, wire.query(INSERT)),
    "several": (None, wire.query(f"{INSERT}; COMMIT; {INSERT}")),
    "several that roll back": (None, wire.query(f"ROLLBACK; {INSERT}")),
    "blanks": (None, wire.query(f" ;\n ROLLBACK; {INSERT}")),
    "comment": (None, wire.query(f"/* x */ END; {INSERT}")),
    "unnamed": (None, wire.simple_extended(INSERT) + wire.sync()),
    "prepared": (INSERT, wire.bind("", "s") + wire.execute() + wire.sync()),
    "pipeline": (INSERT, (wire.bind("", "s") + wire.execute() + wire.sync()) * 3),
    "a batch that rolls back": (INSERT, wire.simple_extended("ROLLBACK") + wire.bind("", "s") + wire.execute() + wire.sync()),
    "a prepared rollback": ("ROLLBACK", wire.bind("", "s") + wire.execute() + wire.simple_extended(INSERT) + wire.sync()),
    "a described rollback": ("ROLLBACK", wire.describe("S", "s") + wire.bind("", "s") + wire.execute() + wire.simple_extended(INSERT) + wire.sync()),
    "a rollback behind": (None, wire.query("BEGIN") + wire.query("ROLLBACK") + wire.query(INSERT)),
    "prepared transaction": (None, wire.query("PREPARE TRANSACTION 'x'") + wire.query(INSERT)),
}


@pytest.fixture
def refused(pg):
    """A role that can be taken, and is gone a moment later."""
    with pg.connect(dbname="app") as conn:
        conn.execute("DROP TABLE IF EXISTS ahead_refused; CREATE TABLE ahead_refused (x int); GRANT ALL ON ahead_refused TO PUBLIC")
        conn.execute("DROP ROLE IF EXISTS ahead_role; CREATE ROLE ahead_role; GRANT ahead_role TO app")
        yield conn
        conn.execute("DROP TABLE ahead_refused; DROP ROLE IF EXISTS ahead_role")


@pytest.mark.sanitizer
@pytest.mark.parametrize("before, request_", REFUSED.values(), ids=REFUSED)
def test_nothing_runs_behind_settings_that_fail(single, refused, before, request_):
    with single.wire() as one, single.wire() as two:
        one.query("SET ROLE ahead_role")
        if before:
            prepare(one, before)
        visit(two)
        refused.execute("DROP ROLE ahead_role")
        one.send(request_)
        errors = [m for m in one.expect_closed() if m.kind == "E"]
        assert [(m.fields()["S"], m.sqlstate) for m in errors] == [("FATAL", "22023")], errors
        assert errors[0].text == 'role "ahead_role" does not exist'
        visit(two)
        assert two.value("SELECT current_user") == "app"
    assert refused.execute("SELECT count(*) FROM ahead_refused").fetchone() == (0,)


def test_a_cancel_is_for_the_request(single, gate):
    """It comes while settings are on their way: PostgreSQL is not asked before it is at the request."""
    with single.wire() as one, single.wire() as two:
        one.query("SET work_mem = '5MB'")
        visit(two)
        gate.close()
        one.send(wire.query("SELECT pg_sleep(600)"))
        wait_until(lambda: b"pg_sleep" in gate.pieces[-1])
        n = gate.n_connections
        with single.raw() as canceler:
            canceler.send(wire.cancel_request(one.pid, one.key))
            single.wait_log("cancel request for this client")
            single.show("POOLS")  # the worker has had its turn
            assert gate.n_connections == n
            gate.open()
            errors = [m for m in one.until() if m.kind == "E"]
            assert [m.sqlstate for m in errors] == ["57014"]
        visit(two)
        assert one.value(TEXT) == "5MB"
    assert len(single.servers()) == 1


def test_a_client_that_leaves_meanwhile(single, gate):
    """What was SET for it is nobody else's."""
    with single.wire() as two:
        with single.wire() as one:
            one.query("SET work_mem = '5MB'")
            visit(two)
            gate.close()
            one.send(wire.query(TEXT))
            wait_until(lambda: b"BEGIN;SET " in gate.pieces[-1])
        single.wait_log("closing because: client unexpected eof")
        gate.open()
        assert two.value(TEXT) == "4MB"
