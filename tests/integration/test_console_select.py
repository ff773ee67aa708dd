"""SELECT over the relations of SHOW: from drivers as from psql, bounded in everything, and beside what else the console does."""
import os
import subprocess
import threading
import time

import psycopg
import psycopg2
import pytest

from harness import util, wire
from harness.pooler import BINARY

pytestmark = pytest.mark.own

ENDLESS = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT count(*) FROM x"


@pytest.fixture(scope="module", autouse=True)
def needs_sqlite():
    done = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True, timeout=20)
    if "console SELECT: SQLite" not in done.stdout:
        pytest.skip("built without SQLite")


@pytest.fixture
def busy(make_pooler):
    """Four sessions in two databases, one of them linked, and a raw console connection: (pooler, console)."""
    pooler = make_pooler(settings={"default_pool_size": 2})
    clients = [pooler.wire(database=name) for name in ("app", "app", "app2", "app2")]
    for client in clients:
        client.query("SELECT 1")
    clients[0].query("BEGIN")
    with pooler.raw(timeout=120) as console:  # what is ended for its work may take that, beside other tests
        console.login("admin", "pgbouncer")
        yield pooler, console
    for client in clients:
        client.disconnect()


def answer(console, sql):
    """(columns, rows, tag) of one query."""
    messages = console.query(sql)
    errors = [m for m in messages if m.kind == "E"]
    assert not errors, (sql, errors[0].fields())
    columns = [m for m in messages if m.kind == "T"][0].columns()
    return columns, [m.row() for m in messages if m.kind == "D"], messages[-2].tag


def error(console, sql):
    messages = console.query(sql)
    assert [m.kind for m in messages] == ["E", "Z"], (sql, messages)
    return messages[0]


@pytest.mark.sanitizer
def test_the_query_of_the_manual(busy):
    _, console = busy
    columns, rows, tag = answer(console, "SELECT database, sum(cl_waiting) FROM pools GROUP BY 1 ORDER BY 2 DESC, 1")
    assert columns == [("database", 25), ("sum", 20)]
    assert rows == [["app", "0"], ["app2", "0"], ["pgbouncer", "0"]] and tag == "SELECT 3"


@pytest.mark.sanitizer
def test_join_of_what_workers_tell(busy):
    """Clients and servers come from one gathering: each link has its other side."""
    _, console = busy
    _, rows, _ = answer(console, "SELECT c.database, c.state, s.state FROM clients c JOIN servers s ON s.ptr = c.link AND s.link = c.ptr")
    assert rows == [["app", "active", "active"]]
    _, rows, _ = answer(console, "SELECT database, count(*), count(*) FILTER (WHERE state = 'idle') FROM clients "
                                 "WHERE database LIKE 'app%' GROUP BY 1 ORDER BY 1")
    assert rows == [["app", "2", "1"], ["app2", "2", "2"]]
    _, rows, _ = answer(console, "SELECT (SELECT count(*) FROM sockets WHERE type = 'S') = (SELECT count(*) FROM servers)")
    assert rows == [["t"]]


def test_joins_by_shared_columns(busy):
    """USING and NATURAL, with relations of which nothing else is read: as the same join by ON."""
    _, console = busy
    for a, b, column in (("pools", "stats", "database"), ("stats", "pools", "database"), ("clients", "servers", "database"),
                         ("pools", "clients", '"user"')):
        expected = answer(console, f"SELECT count(*) FROM {a} JOIN {b} ON {a}.{column} = {b}.{column}")[1]
        assert expected != [["0"]]
        assert answer(console, f"SELECT count(*) FROM {a} JOIN {b} USING ({column})")[1] == expected, (a, b)
    _, rows, _ = answer(console, "SELECT database, sum(cl_active) FROM pools JOIN stats USING (database) GROUP BY 1 ORDER BY 1")
    assert [row[0] for row in rows] == ["app", "app2", "pgbouncer"]
    assert answer(console, "SELECT count(*) FROM stats NATURAL JOIN pools")[1] == [["3"]]
    both = "information_schema.tables {} JOIN information_schema.columns {}"
    expected = answer(console, "SELECT count(*) FROM information_schema.columns")[1]
    assert answer(console, "SELECT count(*) FROM " + both.format("NATURAL", ""))[1] == expected
    assert answer(console, "SELECT count(*) FROM " + both.format("", "USING (table_name)"))[1] == expected


def test_every_relation(busy):
    """The same columns and types as SHOW gives, and as many rows."""
    _, console = busy
    help_text = [m for m in console.query("SHOW HELP") if m.kind == "N"][0].fields()["D"]
    names = [line.split()[1] for line in help_text.splitlines() if line.strip().startswith("SHOW")]
    assert len(names) > 20 and "SOCKETS" in names
    for name in set(names) - {"HELP"}:
        columns, rows, tag = answer(console, f"SELECT * FROM {name}")
        shown_columns, shown, _ = answer(console, f"SHOW {name}")
        assert columns == shown_columns, name
        if name not in ("CLIENTS", "SOCKETS", "MEM", "LATENCY", "ERRORS", "ACTIVE_SOCKETS"):
            assert len(rows) == len(shown) and tag == f"SELECT {len(rows)}", name


def test_alias_forms_of_pgbouncer_stay(busy):
    _, console = busy
    for sql in ("SELECT pools", "select POOLS;", "SELECT version", "SELECT \"lists\""):
        assert answer(console, sql)[2] == "SHOW"
    assert error(console, "SELECT poolz").fields()["H"] == "Did you mean SHOW POOLS?"


@pytest.mark.parametrize("sql, sqlstate, hint", [
    ("SELECT * FROM poools", "42P01", "Did you mean pools?"),
    ("SELECT databas FROM pools", "42703", "Did you mean database?"),
    ("SELECT databse, FROM pools", "42601", None),
    ("SELECT cuont(*) FROM pools", "42883", "Did you mean count?"),
    ("SELECT $1 || 'x'", "42P02", None),
])
def test_errors_say_what_was_meant(busy, sql, sqlstate, hint):
    _, console = busy
    fields = error(console, sql).fields()
    assert (fields["C"], fields.get("H")) == (sqlstate, hint)
    assert answer(console, "SELECT 1 AS x WHERE true")[1] == [["1"]]


@pytest.mark.parametrize("sql, values, expected", [
    ("SELECT name FROM databases WHERE name LIKE 'app%' ORDER BY name LIMIT ALL OFFSET 1", (), [("app2",)]),
    ("SELECT name FROM databases WHERE name LIKE 'app%%' ORDER BY name OFFSET %s", (1,), [("app2",)]),
    ("SELECT name FROM databases ORDER BY name OFFSET %s ROWS FETCH FIRST %s ROWS ONLY", (1, 1), [("app2",)]),
    ("SELECT name FROM databases WHERE name = ANY(ARRAY[%s, %s]::text[]) ORDER BY 1", ("app", "x"), [("app",)]),
    ("SELECT greatest(count(*), 1), least(NULL, 2), bool_or(name = 'app'), bool_and(name = 'app') FROM databases", (), [(3, 2, True, False)]),
    ("SELECT user, session_user", (), [("admin", "admin")]),
], ids=["limit-all", "offset", "fetch", "any", "greatest", "user"])
def test_what_object_mappers_send(busy, sql, values, expected):
    """Prepared, as drivers do it: types are told before there is a row."""
    pooler, _ = busy
    with pooler.connect("pgbouncer", "admin") as conn:
        for _ in range(2):
            assert conn.execute(sql, values or None, prepare=True).fetchall() == expected


# ---- hostile

HOSTILE = [
    (ENDLESS, "57014"),
    ("SELECT a.key FROM config a, config b, config c, config d WHERE a.key || b.key || c.key || d.key = 'x'", "57014"),
    ("SELECT group_concat(a.value || b.key) FROM config a, config b, config c", ("54000", "57014")),
    ("SELECT a.key || b.key || c.key FROM config a, config b, config c ORDER BY 1", ("53200", "54000", "57014")),
    ("SELECT a.key FROM config a, config b, config c", "54000"),
    ("SELECT load_extension('/tmp/x.so')", "42883"),
    ("SELECT randomblob(1000000000)", "42883"),
    ("SELECT zeroblob(2000000000)", "42883"),
    ("SELECT printf('%2000000000d', 1)", "42883"),
    ("SELECT format('%.*c', 1000000000, 'x')", "42883"),
    ("SELECT readfile('/etc/passwd')", "42883"),
    ("SELECT fts3_tokenizer('x')", "42883"),
    ("SELECT sqlite_version()", "42883"),
    ("SELECT * FROM sqlite_master", "42P01"),
    ("SELECT * FROM pragma_database_list", "25006"),
    ("SELECT * FROM json_each('[1, 2]')", "42P01"),
    ("SELECT * FROM dbstat", "42P01"),
    ("WITH x AS (SELECT 1) DELETE FROM pools", "25006"),
    ("WITH x AS (SELECT 1) UPDATE pools SET database = 'x'", "25006"),
    ("WITH x AS (SELECT 1) INSERT INTO pools(database) SELECT 'x'", "25006"),
    ("ATTACH 'file' AS x", "42601"),
    ("PRAGMA user_version", "42601"),
    ("SELECT 1; ATTACH 'file' AS x", "42601"),
    ("SELECT " + "(" * 3000 + "1" + ")" * 3000, "54001"),
    ("SELECT " + "1+" * 3000 + "1", "54001"),
    ("SELECT " + ",".join(["1"] * 3000), "54001"),
    ("SELECT '" + "x" * 40 + "' LIKE '" + "%x" * 300 + "y'", "54001"),
]


@pytest.mark.parametrize("sql, sqlstate", HOSTILE, ids=[sql[:40] for sql, _ in HOSTILE])
def test_hostile_queries_are_errors_and_no_more(busy, sql, sqlstate):
    """Other sessions are served meanwhile, and the session of the query goes on after it."""
    pooler, console = busy
    console.send(wire.query(sql))
    with pooler.wire() as client:
        assert client.value("SELECT 7") == "7"
        assert pooler.show("VERSION")
        got = [m for m in console.until() if m.kind == "E"][0].sqlstate
        assert got in ([sqlstate] if isinstance(sqlstate, str) else sqlstate)
        assert answer(console, "SELECT count(*) FROM version")[1] == [["1"]]
        assert client.value("SELECT 8") == "8"


def test_memory_stays_bounded(busy):
    """What a query takes is given back."""
    pooler, console = busy
    sql = ("WITH RECURSIVE s(n, t) AS (SELECT 1, '0123456789abcdef' UNION ALL SELECT n + 1, t || t FROM s WHERE n < 15), "
           "x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 5000) SELECT t || x.n FROM s, x WHERE s.n = 15 ORDER BY 1")

    def resident():
        with open(f"/proc/{pooler.pid}/status", encoding="ascii") as file:
            return int([line for line in file if line.startswith("VmRSS")][0].split()[1])

    before = resident()
    for _ in range(6):
        assert error(console, sql).sqlstate in ("53200", "57014")
    assert resident() < before + 50_000


# ---- beside others

def start_endless(pooler, console):
    """Returns when the query runs: nothing else uses the processor for so long."""
    def used():
        with open(f"/proc/{pooler.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    console.send(wire.query(ENDLESS))
    util.wait_until(lambda: used() > before + 0.1, "the query to run")


@pytest.mark.sanitizer
def test_cancel_of_a_running_query(busy):
    pooler, console = busy
    start_endless(pooler, console)
    console.cancel()
    started = time.monotonic()
    messages = console.until()
    assert messages[0].sqlstate == "57014" and "user request" in messages[0].text
    assert time.monotonic() - started < 3 * util.PATIENCE
    assert answer(console, "SELECT 1 AS x WHERE true")[1] == [["1"]]


@pytest.mark.sanitizer
def test_a_session_that_goes_while_its_query_runs(busy):
    """The query ends with it: the next one need not wait until the time is up."""
    pooler, console = busy
    for _ in range(3):
        with pooler.raw() as gone:
            gone.login("admin", "pgbouncer")
            start_endless(pooler, gone)
            gone.send(wire.query("SELECT count(*) FROM clients"))
    started = time.monotonic()
    answer(console, "SELECT count(*) FROM clients")
    assert time.monotonic() - started < 4 * util.PATIENCE
    util.wait_until(lambda: len([row for row in pooler.show("CLIENTS") if row["database"] == "pgbouncer"]) == 2, "the sessions to go")


@pytest.mark.sanitizer
def test_the_pooler_ends_while_a_query_runs(make_pooler):
    pooler = make_pooler()
    with pooler.raw() as console:
        console.login("admin", "pgbouncer")
        start_endless(pooler, console)
        started = time.monotonic()
        assert pooler.stop() is None
        assert time.monotonic() - started < 4 * util.PATIENCE
        assert not pooler.log_lines("still being looked up"), "the end did not wait for the helper"


@pytest.mark.sanitizer
def test_many_sessions_at_once(busy):
    """Queries take turns; SHOW and the clients do not wait for them."""
    pooler, _ = busy
    problems = []

    def work(number):
        try:
            with pooler.raw(timeout=60) as mine:
                mine.login("stats" if number % 2 else "admin", "pgbouncer")
                for i in range(15):
                    _, rows, _ = answer(mine, f"SELECT {number * 1000 + i} AS mine, count(*) > 0 FROM clients")
                    assert rows == [[str(number * 1000 + i), "t"]]
                    assert answer(mine, "SHOW POOLS")[2] == "SHOW"
        except BaseException as problem:  # noqa: B902  reported below
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[0]


# ---- clients

def test_psycopg3(busy):
    """Parameters bound by the server, in text and in binary, named statements, server-side types."""
    pooler, _ = busy
    with pooler.connect("pgsluice", "admin") as conn:
        sql = "SELECT database, cl_active, cl_active > %s AS busy FROM pools WHERE database = %s AND cl_active >= %s"
        assert conn.execute(sql, (1, "app", 0)).fetchall() == [("app", 2, True)]
        for _ in range(7):
            assert conn.execute(sql, (1, "app", 0), prepare=True).fetchall() == [("app", 2, True)]
        with conn.cursor(binary=True) as cursor:
            assert cursor.execute(sql, (1, "app", 0)).fetchall() == [("app", 2, True)]
            row = cursor.execute("SELECT count(*), sum(xact_count), avg(1.5), 'x' || 1, null FROM stats_totals").fetchone()
            assert row[0] == 3 and row[2] == 1.5 and row[3:] == ("x1", None)
        assert conn.execute("SELECT current_user, current_database(), pg_is_in_recovery()").fetchone() == ("admin", "pgsluice", False)
        with pytest.raises(psycopg.errors.UndefinedTable):
            conn.execute("SELECT * FROM nosuch WHERE a = %s", (1,))
        with pytest.raises(psycopg.errors.UndefinedColumn):
            conn.execute("SELECT nosuch FROM pools")
        assert conn.execute("SELECT 5 AS five WHERE true").fetchone() == (5,)
    with psycopg.connect(**pooler.dsn("pgsluice", "admin")) as conn:  # BEGIN before, COMMIT behind
        assert conn.execute("SELECT name FROM databases WHERE name IN (%s, %s) ORDER BY 1", ("app", "app2")).fetchall() == [
            ("app",), ("app2",)]


def test_psycopg2(busy):
    pooler, _ = busy
    conn = psycopg2.connect(**pooler.dsn("pgsluice", "stats"))
    try:
        cursor = conn.cursor()
        cursor.execute("SELECT database, sum(cl_active) FROM pools WHERE \"user\" = %s GROUP BY 1 ORDER BY 1", ("app",))
        assert cursor.fetchall() == [("app", 2), ("app2", 2)]
        assert [column.name for column in cursor.description] == ["database", "sum"]
        conn.commit()
    finally:
        conn.close()


def psql(pooler, *arguments, **kwargs):
    done = subprocess.run(["psql", "-X", "-h", "127.0.0.1", "-p", str(pooler.port), "-U", "admin", "-d", "pgsluice", *arguments],
                          capture_output=True, text=True, timeout=30, check=False, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_psql(busy):
    pooler, _ = busy
    assert psql(pooler, "-At", "-c", "SELECT name, pool_size FROM databases WHERE name LIKE 'app%' ORDER BY 1") == "app|2\napp2|2\n"
    out = psql(pooler, "-At", input="SELECT 1 + 1;\nSELECT count(*)\n  FROM pools -- of all; yes\n WHERE 'a;b' <> \"user\";\nSHOW version;\n")
    assert out.splitlines()[:2] == ["2", "3"]
    assert psql(pooler, "-At", "-v", "x=app", input="SELECT name FROM databases WHERE name = :'x' \\gx\n") == "name|app\n"


def test_describe_before_execute_and_row_limits(busy):
    _, console = busy
    console.send(wire.parse("s", "SELECT name, pool_size FROM databases WHERE pool_size > $1 OR name = $2 ORDER BY 1 LIMIT $3")
                 + wire.describe("S", "s") + wire.sync())
    messages = console.until()
    assert [m.kind for m in messages] == ["1", "t", "T", "Z"]
    assert messages[1].payload == b"\0\3" + b"".join(oid.to_bytes(4, "big") for oid in (23, 25, 20))
    console.send(wire.bind("", "s", ["1", "app", "3"]) + wire.describe("P", "") + wire.execute("", 2) + wire.execute("", 2) + wire.sync())
    messages = console.until()
    assert [m.kind for m in messages] == ["2", "T", "D", "D", "s", "D", "C", "Z"]
    assert [m.row() for m in messages if m.kind == "D"] == [["app", "2"], ["app2", "2"], ["pgbouncer", "2"]]


# What drivers, ORMs and dashboards ask when they connect.
@pytest.mark.parametrize("sql", [
    "select pg_catalog.version()",
    "select current_schema()",
    "show transaction isolation level",
    "show standard_conforming_strings",
    "SELECT current_schema(), session_user",
    "SHOW search_path",
    "SELECT version()",
    "SELECT 1",
    "SELECT current_setting('server_version_num')::int/100 as version",
    "SET extra_float_digits = 3",
    "SET application_name = 'PostgreSQL JDBC Driver'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'",
    "SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datname = 'pgsluice'",
    "SELECT n.oid, n.* FROM pg_catalog.pg_namespace n ORDER BY nspname",
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
    "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'pools' ORDER BY ordinal_position",
    "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'v')",
    "select pg_catalog.current_database()",
    "SELECT now() AS time, database AS metric, cl_active AS value FROM pools",
])
def test_start_up_queries(busy, sql):
    _, console = busy
    assert "E" not in [m.kind for m in console.query(sql)], sql
    console.send(wire.parse("", sql) + wire.describe("S", "") + wire.bind("", "") + wire.execute() + wire.sync())
    assert "E" not in [m.kind for m in console.until()], sql


def test_pgsluicectl(busy):
    pooler, _ = busy
    program = os.path.join(os.path.dirname(BINARY), "pgsluicectl")
    done = subprocess.run([program, "--dsn", f"host=127.0.0.1 port={pooler.port} user=admin dbname=pgsluice",
                           "select database, sum(cl_active) from pools group by 1 order by 1"],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 and "app2" in done.stdout, done.stderr
