"""Settings that are changed in odd ways: whoever comes next has its own, and the client what a direct connection has."""
import pytest

from harness import wire

pytestmark = [pytest.mark.sanitizer, pytest.mark.own]

Q, parse = wire.query, wire.parse
CALL = "SELECT set_config('work_mem', $1, false)"
LONG = "SELECT length('" + "x" * 5000 + "'); "


def run(name, *values):
    return wire.bind("", name, list(values)) + wire.execute()


def alone(sql):
    return parse("", sql) + run("")


S = wire.sync()

# Each is a list of batches.
CASES = {
    "a row and no more": [parse("", CALL) + wire.bind("", "", ["77MB"]) + wire.execute("", 1) + S],
    "a row, then no more": [Q("BEGIN"), parse("", CALL) + wire.bind("p", "", ["77MB"]) + wire.execute("p", 1) + S, wire.execute("p") + S, Q("COMMIT")],
    "a failure behind it": [parse("s", CALL) + S, run("s", "77MB") + alone("SELECT 1/0") + S, run("s", "77MB") + S],
    "its first use fails": [parse("s", CALL) + S, run("s", "much") + S, run("s", "77MB") + S],
    "its Close is skipped": [parse("s", "SET work_mem = '77MB'") + S, parse("bad", "nonsense") + wire.close("S", "s") + S, run("s") + S],
    "its Parse is refused": [parse("s", "SELECT set_config('work_mem', '66MB', false) FROM nowhere") + S, parse("s", "SET work_mem = '77MB'") + S, run("s") + S],
    "its Parse is skipped": [parse("bad", "nonsense") + parse("s", "SET work_mem = '66MB'") + S, parse("s", "SELECT 1") + S, run("s") + S],
    "another by its name": [parse("s", "SET TimeZone = 'Asia/Tokyo'") + S, Q("DEALLOCATE ALL"), parse("s", "SET work_mem = '77MB'") + S, run("s") + S],
    "and by DISCARD ALL": [parse("s", "SET TimeZone = 'Asia/Tokyo'") + S, Q("DISCARD ALL"), parse("s", "SET work_mem = '77MB'") + S, run("s") + S],
    "prepared by SQL": [Q("PREPARE s AS " + CALL), run("s", "77MB") + S],
    "the 65th EXECUTE": [Q("PREPARE a AS SELECT 1"), Q("PREPARE s AS SELECT set_config('work_mem', '77MB', false)"), Q("EXECUTE a;" * 64 + "EXECUTE s")],
    "code that commits and fails": [Q("DO $$BEGIN PERFORM set_config('work_mem', '77MB', false); COMMIT; RAISE EXCEPTION 'x'; END$$")],
    "a procedure that commits": [alone("SET work_mem = '77MB'") + alone("CALL commits()") + alone("SELECT 1/0") + S],
    "a second long text": [Q("CREATE TEMP TABLE mine ()"), Q(LONG + "SELECT 1"), Q(LONG + "SET work_mem = '77MB'"), Q("DROP TABLE mine")],
    "a RESET that is skipped": [parse("bad", "nonsense") + parse("s", "RESET ALL") + S, parse("s", "SHOW work_mem") + S, Q("SET work_mem = '77MB'"), run("s") + S],
    "a RESET whose batch has failed once": [Q("SET work_mem = '77MB'"), parse("s", "RESET work_mem") + S, run("s") + alone("SELECT 1/0") + S, run("s") + S],
}


FAIL = alone("SELECT 1/0")
SAVE, BACK = alone("SAVEPOINT a"), Q("ROLLBACK TO a")
BOUND = parse("s", CALL) + S, Q("BEGIN")
# What is bound or parsed in a batch that fails, and used behind it.
FAILING = {
    "a portal ahead of a savepoint": [*BOUND, wire.bind("p", "s", ["77MB"]) + SAVE + FAIL + S, BACK, wire.execute("p") + S, Q("COMMIT")],
    "the unnamed portal": [*BOUND, SAVE + wire.bind("", "s", ["77MB"]) + parse("bad", "nonsense") + S, BACK, wire.execute() + S, Q("COMMIT")],
    "a portal that was not closed": [*BOUND, wire.bind("p", "s", ["77MB"]) + S, SAVE + FAIL + wire.close("P", "p") + S, BACK, wire.execute("p") + S, Q("COMMIT")],
    "a portal that was not bound anew": [*BOUND, wire.bind("", "s", ["77MB"]) + wire.bind("q", "s", ["66MB"]) + SAVE + parse("bad", "nonsense") + wire.bind("", "s", ["66MB"]) + S, BACK, wire.execute() + S, Q("COMMIT")],
    "a portal that is bound many times": [*BOUND, b"".join(wire.bind("", "s", [f"{n}MB"]) for n in range(150, 76, -1)) + SAVE + parse("bad", "nonsense") + wire.bind("", "s", ["66MB"]) + S, BACK, wire.execute() + S, Q("COMMIT")],
    "a statement behind which it fails": [parse("", CALL) + parse("bad", "nonsense") + S, run("", "77MB") + S],
}
# Of the unnamed statement that stays when the next Parse is skipped: with statements of our own it has gone then.
SKIPPED = {
    "a statement that was not parsed anew": [parse("", CALL) + S, FAIL + parse("", "SET TimeZone = 'Asia/Tokyo'") + S, run("", "77MB") + S],
    "a plain one that was not": [parse("", CALL) + S, parse("bad", "nonsense") + parse("", "SELECT 1") + S, run("", "77MB") + S],
    "a statement that was not closed": [parse("", CALL) + S, parse("bad", "nonsense") + wire.close("S", "") + S, run("", "77MB") + S],
    "a named one that was not closed": [parse("s", CALL) + S, parse("bad", "nonsense") + wire.close("S", "s") + S, run("s", "77MB") + S],
    "one of a lot": [parse("s", CALL) + S, parse("", "SET work_mem = '66MB'") * 20 + parse("", CALL) + parse("bad", "nonsense") + parse("", "SET work_mem = '66MB'") * 20 + S, run("", "77MB") + S],
}


@pytest.fixture
def procedures(pg):
    with pg.connect(dbname="app") as conn:
        conn.execute("CREATE PROCEDURE commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'")
        conn.execute("GRANT EXECUTE ON PROCEDURE commits() TO app")
    yield pg
    with pg.connect(dbname="app") as conn:
        conn.execute("DROP PROCEDURE commits()")


@pytest.mark.parametrize("case", CASES | FAILING)
@pytest.mark.parametrize("name, value", [("work_mem", "77MB"), ("app.tenant", "one")], ids=["listed", "made up"])
def test_odd_ways(make_pooler, procedures, case, name, value):
    check_case(make_pooler, procedures, (CASES | FAILING)[case], name, value, case != "a second long text")


@pytest.mark.parametrize("case", FAILING | SKIPPED)
@pytest.mark.parametrize("name, value", [("work_mem", "77MB"), ("app.tenant", "one")], ids=["listed", "made up"])
def test_failures_without_statements_of_ours(make_pooler, procedures, case, name, value):
    check_case(make_pooler, procedures, (FAILING | SKIPPED)[case], name, value, "many" not in case, max_prepared_statements=0)


def check_case(make_pooler, procedures, batches, name, value, is_known, **settings):
    """is_known: so that a setting with a name that was made up follows its client."""
    pooler = make_pooler(postgres=procedures, settings={"default_pool_size": 1, "max_pinned": 1, **settings})
    direct = wire.Wire("127.0.0.1", procedures.port)
    direct.login("app", "app")
    read = f"SELECT coalesce(current_setting('{name}', true), '')"
    with pooler.wire() as one, pooler.wire() as two:
        before = two.value(read)
        for batch in batches:
            if name != "work_mem":
                batch = rename(batch, name, value)
            for client in (direct, one):
                client.send(batch)
                client.until("Z")
        expected = direct.value(read)
        for _ in range(2):
            if is_known or name != "app.tenant":  # else nobody has read its name
                assert one.value(read) == expected
            assert two.value(read) == before
        assert two.value("SHOW TimeZone") == direct.value("SHOW TimeZone") == one.value("SHOW TimeZone")
    direct.disconnect()


def test_a_statement_of_ours_fails_behind_a_set(make_pooler, pg):
    """The server has lost the statement, and its table has gone: what the batch has SET is rolled back."""
    pooler = make_pooler(settings={"default_pool_size": 1, "max_prepared_statements": 1})
    with pooler.wire() as one, pooler.wire() as two:
        one.query("CREATE TABLE going (a int)")
        for name, sql in (("s", "SELECT * FROM going"), ("other", "SELECT 2")):
            one.send(parse(name, sql) + S)
            one.until()
        one.query("DROP TABLE going")
        one.send(alone("SET work_mem = '77MB'") + run("s") + S)
        assert "42P01" in [m.sqlstate for m in one.until() if m.kind == "E"]
        assert two.value("SHOW work_mem") == one.value("SHOW work_mem") == "4MB"


@pytest.mark.parametrize("end", ["DISCARD ALL", "RESET ALL", "RESET app.tenant"])
def test_what_nobody_knows_does_not_come_back(make_pooler, end):
    """A setting that was made up with a name that was put together, ended on another server."""
    pooler = make_pooler(settings={"default_pool_size": 2, "workers": 1})  # a worker takes the server that came back last
    read = "SELECT coalesce(current_setting('app.tenant', true), '')"
    with pooler.wire() as one, pooler.wire() as other:
        other.query("BEGIN")
        one.query("DO $$BEGIN PERFORM set_config('app' || '.tenant', 'one', false); END$$")
        place = one.value("SELECT pg_backend_pid()")
        other.query("COMMIT")  # and its server is the next one's
        assert one.value("SELECT pg_backend_pid()") != place
        one.query(end)
        other.query("BEGIN")
        assert one.value("SELECT pg_backend_pid()") == place and one.value(read) == ""


@pytest.mark.parametrize("end", [Q("DEALLOCATE ALL"), parse("bad", "nonsense") + wire.close("S", "s") + S, b""], ids=["deallocate", "skipped", "failed"])
def test_many_that_have_gone(make_pooler, end):
    """What is known of statements that are not there any more does not fill up."""
    pooler = make_pooler(settings={"default_pool_size": 1, "max_prepared_statements": 3000})
    with pooler.wire() as one, pooler.wire() as two:
        for n in range(1100):
            sql = "SET work_mem = '5MB'" if end else "SELECT set_config('work_mem', '5MB', false) FROM nowhere"
            one.send(parse(f"s{n}", sql) + S)
            one.until("Z")
            if end:
                one.send(end)
                one.until("Z")
        one.send(parse("last", "SET work_mem = '77MB'") + run("last") + S)
        one.until("Z")
        assert two.value("SHOW work_mem") == "4MB" and one.value("SHOW work_mem") == "77MB"


def rename(batch, name, value):
    """The same batch about another setting: each message made anew."""
    out, at = b"", 0
    while at < len(batch):
        kind, length = batch[at:at + 1], int.from_bytes(batch[at + 1:at + 5], "big")
        body = batch[at + 5:at + 1 + length]
        if kind in b"QP":
            body = body.replace(b"work_mem", name.encode()).replace(b"77MB", value.encode())
        elif kind == b"B" and b"77MB" in body:
            body = body.replace(b"\x00\x00\x00\x0477MB", len(value).to_bytes(4, "big") + value.encode())
        out += kind + (4 + len(body)).to_bytes(4, "big") + body
        at += 1 + length
    return out
