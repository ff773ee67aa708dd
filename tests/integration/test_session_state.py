"""session_state: settings that a client changes for its session follow it, whatever server it gets, and nobody else."""
import pytest

from harness import wire
from harness.util import wait_until

pytestmark = pytest.mark.own

DEFAULT_PATH = '"$user", public'


@pytest.fixture
def single(make_pooler):
    return make_pooler(settings={"default_pool_size": 1})


def extended(client, sql, *values):
    """One statement in a batch of its own; the kinds of its answers."""
    client.send(wire.parse("", sql), wire.bind("", "", values), wire.execute(), wire.sync())
    return client.until("Z")


@pytest.fixture(params=["simple", "extended"])
def run(request):
    def simple(client, sql):
        return client.query(sql)
    return simple if request.param == "simple" else extended


def protocols(rows):
    """(protocol for run, *row): several statements in one text are for the simple protocol."""
    return [(protocol, *row) for row in rows for protocol in ("simple", "extended") if protocol == "simple" or ";" not in row[0]]


# what is said, and then: setting, the client's value, everybody else's
CHANGES = [
    ("SET work_mem = '5MB'", "work_mem", "5MB", "4MB"),
    ("SET SESSION work_mem TO 5120", "work_mem", "5MB", "4MB"),
    ("/* x */ set /* y */ work_mem='5MB' -- z", "work_mem", "5MB", "4MB"),
    ("SET search_path TO One, \"Two\", 'th ree'", "search_path", 'one, "Two", "th ree"', DEFAULT_PATH),
    ("SET search_path = ''", "search_path", '""', DEFAULT_PATH),
    ("SET SCHEMA 'x'", "search_path", "x", DEFAULT_PATH),
    ("SET my.setting = 'it''s \\ mine'", "my.setting", "it's \\ mine", None),
    ("SELECT set_config('work_mem', '5MB', false)", "work_mem", "5MB", "4MB"),
    ("SELECT 1, pg_catalog.set_config('work_mem', (5 * 1024)::text, false)", "work_mem", "5MB", "4MB"),
    ("SELECT length(set_config('work_mem', '5MB', false))", "work_mem", "5MB", "4MB"),
    ("SELECT set_config(name, '5MB', false) FROM pg_settings WHERE name = 'work_mem'", "work_mem", "5MB", "4MB"),
    ("SET ROLE other", "role", "other", "none"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", "default_transaction_isolation", "serializable", "read committed"),
    ("SET XML OPTION DOCUMENT", "xmloption", "document", "content"),
    ("SET TIME ZONE 'Asia/Tokyo'", "TimeZone", "Asia/Tokyo", None),
    ("DO $$BEGIN SET work_mem = '5MB' ; END$$", "work_mem", "5MB", "4MB"),
    ("DO $$BEGIN PERFORM set_config('work_mem', '5MB', false) ; END$$", "work_mem", "5MB", "4MB"),
    ("DO 'BEGIN EXECUTE format(''SET ROLE %I'', ''other'') ; END'", "role", "other", "none"),
    (r'SELECT U&"set_c\006fnfig"' "('work_mem', '5MB', false)", "work_mem", "5MB", "4MB"),
    # settings that PostgreSQL does not list
    ("SELECT set_config('my.setting', 'a' || 'b', false)", "my.setting", "ab", None),
    ("SELECT set_config('My.' || 'setting', 'ab', false) WHERE 'my.setting' <> ''", "my.setting", "ab", None),
    ("SELECT set_config(n, v, false) FROM (VALUES ('my.other', 'x'), ('my.setting', 'ab')) AS x (n, v)", "my.setting", "ab", None),
    ("DO $$BEGIN SET my.setting = 'ab' ; END$$", "my.setting", "ab", None),
    ("DO $$BEGIN PERFORM set_config('my.setting', 'ab', false) ; END$$", "my.setting", "ab", None),
    ("DO 'BEGIN EXECUTE ''SET my.setting = '' || quote_literal(''a'' || ''b''); END'", "my.setting", "ab", None),
    (r'SELECT U&"set_c\006fnfig"' "('my.setting', 'ab', false)", "my.setting", "ab", None),
]


@pytest.fixture
def roles(pg):
    with pg.connect(dbname="app") as conn:
        if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = 'other'").fetchone():
            conn.execute("CREATE ROLE other")
            conn.execute("GRANT other TO app")


@pytest.mark.sanitizer
@pytest.mark.parametrize("sql, name, mine, others", CHANGES, ids=[c[0][:40] for c in CHANGES])
def test_a_setting_follows_its_client_and_no_other(single, roles, run, sql, name, mine, others):
    with single.wire() as one, single.wire() as two:
        before = two.value(f"SELECT current_setting('{name}', true)")
        run(one, sql)
        for _ in range(2):
            assert two.value(f"SELECT current_setting('{name}', true)") in ((before, "") if others is None else (others,))
            assert one.value(f"SELECT current_setting('{name}', true)") == mine
    assert len(single.servers()) == 1


# statements with '|' between, each a Query; the value of work_mem afterwards
TRANSACTIONS = [
    ("BEGIN|SET work_mem='5MB'|COMMIT", "5MB"),
    ("BEGIN|SET work_mem='5MB'|ROLLBACK", "4MB"),
    ("BEGIN|SET LOCAL work_mem='5MB'|COMMIT", "4MB"),
    ("BEGIN|SET work_mem='5MB'|SET LOCAL work_mem='6MB'|COMMIT", "5MB"),
    ("BEGIN|SET work_mem='5MB'|SELECT 1/0|COMMIT", "4MB"),
    ("BEGIN|SET work_mem='5MB'|SAVEPOINT a|SET work_mem='6MB'|ROLLBACK TO a|COMMIT", "5MB"),
    ("BEGIN|SAVEPOINT a|SET work_mem='5MB'|SAVEPOINT b|SET work_mem='6MB'|ROLLBACK TO SAVEPOINT a|COMMIT", "4MB"),
    ("BEGIN|SET work_mem='5MB'|SAVEPOINT a|SELECT 1/0|ROLLBACK TO a|COMMIT", "5MB"),
    ("BEGIN|SET work_mem='5MB'|SAVEPOINT a|SET work_mem='6MB'|RELEASE a|COMMIT", "6MB"),
    ("BEGIN|SET work_mem='5MB'|COMMIT AND CHAIN|SET work_mem='6MB'|ROLLBACK", "5MB"),
    ("BEGIN; SET work_mem='5MB'; COMMIT; SET work_mem='6MB'; SELECT 1/0", "5MB"),
    ("SET work_mem='5MB'; SELECT 1/0", "4MB"),
    ("SET work_mem='5MB'; ROLLBACK", "4MB"),
    ("SET work_mem='5MB'; SELECT 1; SET work_mem='6MB'", "6MB"),
    ("SET work_mem='5MB'|SET work_mem='much'", "5MB"),
    ("SET work_mem='5MB'|RESET work_mem", "4MB"),
    ("SET work_mem='5MB'|SET work_mem TO DEFAULT", "4MB"),
    ("SET work_mem='5MB'|RESET ALL", "4MB"),
    ("SET work_mem='5MB'|DISCARD ALL", "4MB"),
    ("BEGIN|SET work_mem='5MB'|RESET work_mem|COMMIT", "4MB"),
    ("SET work_mem='5MB'|BEGIN|RESET work_mem|ROLLBACK", "5MB"),
    ("SELECT set_config('work_mem', '5MB', false) WHERE false", "4MB"),
    ("SELECT set_config('work_mem', '5MB', true)", "4MB"),
]


@pytest.mark.sanitizer
@pytest.mark.parametrize("run, sql, expected", protocols(TRANSACTIONS), ids=lambda v: v[:70], indirect=["run"])
def test_transactions(single, run, sql, expected):
    with single.wire() as one, single.wire() as two:
        for statement in sql.split("|"):
            run(one, statement)
        assert two.value("SHOW work_mem") == "4MB"
        assert one.value("SHOW work_mem") == expected
        assert two.value("SHOW work_mem") == "4MB"


# names and values that a PREPARE AS and its EXECUTEs give set_config(); statements with '|' between; the value of work_mem afterwards
EXECUTED = [
    ("EXECUTE setting('5MB', false)", "5MB"),
    ("SELECT 1; EXECUTE setting('5MB', false); SELECT 2", "5MB"),
    ("EXECUTE setting('5MB', true)", "4MB"),
    ("BEGIN|EXECUTE setting('5MB', false)|COMMIT", "5MB"),
    ("BEGIN|EXECUTE setting('5MB', false)|ROLLBACK", "4MB"),
    ("BEGIN|EXECUTE setting('5MB', false)|SELECT 1/0|COMMIT", "4MB"),
    ("BEGIN|SAVEPOINT a|EXECUTE setting('5MB', false)|ROLLBACK TO a|COMMIT", "4MB"),
    ("EXECUTE setting('5MB', false)|EXECUTE setting('6MB', false)", "6MB"),
    ("SET work_mem = '7MB'|EXECUTE setting('5MB', false)", "5MB"),
    ("EXECUTE setting('5MB', false)|SET work_mem = '7MB'", "7MB"),
    ("EXECUTE setting('5MB', false)|RESET work_mem", "4MB"),
]


@pytest.mark.sanitizer
@pytest.mark.parametrize("run, sql, expected", protocols(EXECUTED), ids=lambda v: v[:70], indirect=["run"])
@pytest.mark.parametrize("how", ["sql", "protocol"])
def test_execute(single, run, how, sql, expected):
    """What an EXECUTE runs is in no text of the client's: the server is asked."""
    body = "SELECT set_config('work_mem', $1, $2)"
    with single.wire() as one, single.wire() as two:
        if how == "sql":
            one.query(f"PREPARE setting (text, bool) AS {body}")
        else:
            one.send(wire.parse("setting", body), wire.sync())
            assert one.trace() == "1Z"
        for statement in sql.split("|"):
            run(one, statement)
        assert two.value("SHOW work_mem") == "4MB"
        assert one.value("SHOW work_mem") == expected
        assert two.value("SHOW work_mem") == "4MB"


# the settings have names that nobody can know
NAMELESS = {
    "put together": "SELECT set_config('my.' || 'own', 'mine', false)",
    "in a DO": "DO $$BEGIN PERFORM set_config('my.' || 'own', 'mine', false); END$$",
    "by a function": "SELECT sets_its_own('mine')",
    "by a function, in a failed transaction": "BEGIN; SELECT sets_its_own('mine'); COMMIT",
}


@pytest.fixture
def sets_its_own(pg):
    with pg.connect(dbname="app") as conn:
        conn.execute("CREATE OR REPLACE FUNCTION sets_its_own(text) RETURNS text LANGUAGE sql AS $$SELECT set_config('my.' || 'own', $1, false)$$")


@pytest.mark.sanitizer
@pytest.mark.parametrize("how", NAMELESS)
def test_nobody_sees_what_has_no_known_name(make_pooler, sets_its_own, how):
    """It does not follow its client, since PostgreSQL tells nobody which there are; what it had follows."""
    pooler = make_pooler(settings={"default_pool_size": 1, "strict": int("function" in how)})
    with pooler.wire(work_mem="6MB") as one, pooler.wire(TimeZone="Asia/Tokyo", search_path="two") as two, pooler.wire() as three:
        one.query("SET my.known = 'x'")
        for _ in range(2):
            one.query(NAMELESS[how])
            assert one.value("SELECT current_setting('my.own')") == "mine"  # nobody else has had the server
            for other, zone, path in ((two, "Asia/Tokyo", "two"), (three, None, DEFAULT_PATH)):
                assert other.value("SELECT current_setting('my.own', true)") in (None, "")
                assert other.value("SELECT current_setting('my.known', true)") in (None, "")
                assert other.value("SHOW work_mem") == "4MB"
                assert other.value("SHOW search_path") == path
                assert zone in (None, other.value("SHOW TimeZone"))
            assert [one.value(f"SHOW {name}") for name in ("work_mem", "my.known")] == ["6MB", "x"]
            assert one.value("SHOW search_path") == DEFAULT_PATH
    assert len(pooler.servers()) == 1


@pytest.mark.sanitizer
@pytest.mark.parametrize("strict", [0, 1])
@pytest.mark.parametrize("sql", [
    "SET search_path = '{}'", "SELECT set_config('search_path', $${}$$, false)", "SET my.setting = '{}'",
    "SELECT set_config('my.setting', repeat('x', {n}), false)", "DO $$BEGIN PERFORM set_config('my.setting', repeat('x', {n}), false); END$$",
])
@pytest.mark.parametrize("n", [8193, 40000])
def test_too_long_to_follow(make_pooler, strict, sql, n):
    """The client is told, and nobody gets its server."""
    pooler = make_pooler(settings={"default_pool_size": 1, "strict": strict})
    with pooler.wire() as one, pooler.wire() as two:
        one.send(wire.query(sql.format("x" * n, n=n)))
        try:
            answers = one.until("E")
        except wire.Closed:
            answers = []
        assert not answers or answers[-1].sqlstate == "54000"
        for name, value in (("search_path", DEFAULT_PATH), ("my.setting", "")):
            assert (two.value(f"SELECT current_setting('{name}', true)") or "") == value
    assert pooler.closes("settings_lost") == 1


@pytest.mark.parametrize("strict", [0, 1])
def test_too_many_to_follow(make_pooler, strict):
    pooler = make_pooler(settings={"default_pool_size": 1, "strict": strict})
    with pooler.wire() as one, pooler.wire() as two:
        with pytest.raises(wire.Closed):
            for i in range(70):
                one.query(f"SET my.setting{i} = 'x'")
        assert i > 40
        for i in range(70):
            assert not two.value(f"SELECT current_setting('my.setting{i}', true)")
    assert pooler.closes("settings_lost") == 1


@pytest.mark.sanitizer
def test_strict_and_who_leaves_at_once(make_pooler, sets_its_own):
    pooler = make_pooler(settings={"default_pool_size": 1, "strict": 1})
    for _ in range(10):
        with pooler.wire() as one:
            one.send(wire.query("SELECT sets_its_own('mine'), set_config('work_' || 'mem', '5MB', false)"), wire.terminate())
        with pooler.wire() as two:
            assert two.value("SHOW work_mem") == "4MB"
            assert two.value("SELECT current_setting('my.own', true)") in (None, "")


@pytest.mark.sanitizer
@pytest.mark.parametrize("begin, messages, end", [
    ("SELECT pg_advisory_lock(1)", [wire.query("RESET ALL")], "SELECT pg_advisory_unlock(1)"),
    ("SELECT pg_advisory_lock(1)", [wire.query("BEGIN; RESET ALL; COMMIT")], "SELECT pg_advisory_unlock(1)"),
    ("CREATE TEMP TABLE mine (x int)", [wire.parse("", "RESET work_mem"), wire.bind("", ""), wire.execute(), wire.sync(), wire.query("RESET TimeZone")],
     "DROP TABLE mine"),
    ("SELECT 1", [wire.query("SELECT set_config(n, '5MB', false) FROM (SELECT 'maintenance_work_mem' AS n) AS x; RESET ALL")], "SELECT 1"),
    ("SELECT 1", [wire.query("RESET ALL"), wire.query("BEGIN")], "COMMIT"),
    ("SELECT 1", [wire.query("RESET ALL"), wire.query("BEGIN")], "ROLLBACK"),
    ("SELECT 1", [wire.query("DISCARD ALL"), wire.query("BEGIN; SAVEPOINT a"), wire.query("SELECT 1")], "ROLLBACK TO a; COMMIT"),
    ("SELECT 1", [wire.parse("", "RESET ALL"), wire.bind("", ""), wire.execute(), wire.sync(), wire.query("START TRANSACTION")], "COMMIT"),
], ids=["pinned", "pinned, in a transaction", "pinned, extended", "asked", "pipeline", "pipeline, rolled back", "DISCARD", "mixed"])
def test_reset_where_the_client_keeps_its_server(make_pooler, begin, messages, end):
    """In a pipeline, or while it is pinned: it gets the values that it came with before its next request, and nobody else does."""
    pooler = make_pooler(settings={"default_pool_size": 2})
    with pooler.wire(work_mem="7MB", TimeZone="Asia/Tokyo") as one, pooler.wire() as two, pooler.wire() as three:
        zone = two.value("SHOW TimeZone")
        one.query("SET work_mem = '5MB'; SET TimeZone = 'America/Lima'; SET geqo = off")
        one.query(begin)
        one.send(*messages)
        for _ in range(sum(m[:1] in b"QS" for m in messages)):
            one.until("Z")
        for _ in range(2):
            assert (one.value("SHOW work_mem"), one.value("SHOW TimeZone")) == ("7MB", "Asia/Tokyo")
        one.query(end)
        for _ in range(2):
            assert (one.value("SHOW work_mem"), one.value("SHOW TimeZone")) == ("7MB", "Asia/Tokyo")
            for other in (two, three):
                other.query("BEGIN")
                assert (other.value("SHOW work_mem"), other.value("SHOW TimeZone"), other.value("SHOW geqo")) == ("4MB", zone, "on")
            for other in (two, three):
                other.query("COMMIT")


def shown(client):
    """The values in the answers to one request."""
    return [m.payload[6:].decode() for m in client.until("Z") if m.kind == "D"]


@pytest.mark.sanitizer
def test_pipelines_behind_a_reset(single):
    show = [wire.parse("", "SHOW work_mem"), wire.bind("", ""), wire.execute(), wire.sync()]
    with single.wire(work_mem="7MB") as one, single.wire() as two:
        one.send(*[m for i in range(200) for m in (wire.query("RESET ALL" if i % 3 == 0 else "SHOW work_mem"), *show)])
        for i in range(200):
            assert [shown(one), shown(one)] == [[] if i % 3 == 0 else ["7MB"], ["7MB"]]
        assert two.value("SHOW work_mem") == "4MB"
        # without a Sync between nothing waits
        one.send(wire.parse("", "RESET ALL"), wire.bind("", ""), wire.execute(), wire.message("H"))
        one.until("C")
        one.send(*show)
        one.until("Z")
        assert one.value("SHOW work_mem") == "7MB"
        # one that fails, and one with data of a COPY behind it
        texts = ["BEGIN", "SELECT 1/0", "RESET ALL", "ROLLBACK", "SHOW work_mem", "CREATE TEMP TABLE mine (x text)", "RESET ALL"]
        one.send(*map(wire.query, texts), wire.query("COPY mine FROM STDIN"), wire.copy_data(b"a\n"), wire.copy_done(),
                 wire.query("SELECT x || current_setting('work_mem') FROM mine"))
        assert [shown(one) for _ in range(9)] == [[], [], [], [], ["7MB"], [], [], [], ["a7MB"]]


UNREAD = "SELECT 1; /*" + 5000 * "x" + "*/; "
# beyond what is read of a text; afterwards: setting, the client's value
BEHIND = [
    (UNREAD + "SET work_mem = '5MB'", "work_mem", "5MB"),
    (UNREAD + "SET work_mem = '6MB'; SELECT 1; RESET work_mem", "work_mem", "4MB"),
    (UNREAD + "BEGIN; SELECT set_config('work_mem', '5MB', false); ROLLBACK", "work_mem", "4MB"),
    (UNREAD + "SET my.setting = 'x'", "my.setting", ""),  # which PostgreSQL does not list
    (UNREAD + "SET ROLE other", "role", "other"),
    ("SET geqo = off; /*" + 70000 * "x" + "*/; SET work_mem = '5MB'", "work_mem", "5MB"),
    ("BEGIN; " + UNREAD + "COMMIT; SET work_mem = '5MB'", "work_mem", "5MB"),
    ("/*" + 5000 * "x" + "*/ SET work_mem = '5MB'", "work_mem", "5MB"),
]


@pytest.mark.sanitizer
@pytest.mark.parametrize("sql, name, mine", BEHIND, ids=[c[0][-50:] for c in BEHIND])
def test_behind_what_is_read(single, roles, sql, name, mine):
    """Tags tell that a text was one of several statements: the server is asked what they have left."""
    with single.wire() as one, single.wire() as two:
        before = two.value(f"SELECT current_setting('{name}', true)") or ""
        assert not [m for m in one.query(sql) if m.kind == "E"]
        assert (two.value(f"SELECT current_setting('{name}', true)") or "") == before
        assert (one.value(f"SELECT current_setting('{name}', true)") or "") == mine
        assert (two.value(f"SELECT current_setting('{name}', true)") or "") == before
    assert len(single.servers()) == 1


@pytest.mark.parametrize("sql", ["SELECT 1 /*" + 5000 * "x" + "*/", "WITH x AS (SELECT 1) SELECT '" + 100000 * "x" + "'"], ids=lambda s: s[:20])
def test_a_long_statement_costs_no_question(single, pg, sql):
    with single.wire() as one, pg.connect() as conn:
        one.query(sql)
        pid = one.value("SELECT pg_backend_pid()")
        one.query(sql)
        last = f"SELECT left(query, 10) FROM pg_stat_activity WHERE pid = {pid} AND state = 'idle'"
        wait_until(lambda: conn.execute(last).fetchall() == [(sql[:10],)], "the long statement to be the last")


SET_CONFIG = 2078  # in pg_proc


@pytest.mark.sanitizer
@pytest.mark.parametrize("is_local, end, expected", [("f", None, "5MB"), ("t", None, "4MB"), ("f", "COMMIT", "5MB"), ("f", "ROLLBACK", "4MB")])
def test_function_call(single, is_local, end, expected):
    with single.wire() as one, single.wire() as two:
        if end:
            one.query("BEGIN")
        one.send(wire.function_call(SET_CONFIG, b"work_mem", b"5MB", is_local.encode()))
        assert one.trace() == "VZ"
        if end:
            assert one.value("SHOW work_mem") == "5MB"
            one.query(end)
        assert two.value("SHOW work_mem") == "4MB"
        assert one.value("SHOW work_mem") == expected
        assert two.value("SHOW work_mem") == "4MB"


@pytest.mark.sanitizer
@pytest.mark.parametrize("what", ["execute", "function"])
def test_who_leaves_before_the_server_was_asked(single, what):
    """The server is not used on with settings that nobody knows."""
    for _ in range(10):
        with single.wire() as one:
            one.query("PREPARE setting AS SELECT set_config('work_mem', '5MB', false)")
            one.send(wire.query("EXECUTE setting") if what == "execute" else wire.function_call(SET_CONFIG, b"work_mem", b"5MB", b"f"),
                     wire.terminate())
        with single.wire() as two:
            assert two.value("SHOW work_mem") == "4MB"


@pytest.mark.parametrize("state", ["pin", "error"])
def test_execute_is_not_left_to_others(make_pooler, state):
    pooler = make_pooler(settings={"default_pool_size": 2, "session_state": state})
    with pooler.wire() as one, pooler.wire() as two:
        one.query("PREPARE setting AS SELECT set_config('work_mem', '5MB', false)")
        one.query("EXECUTE setting")
        for _ in range(3):
            assert two.value("SHOW work_mem") == "4MB"
            assert one.value("SHOW work_mem") == "5MB"


def test_reset_gives_the_values_that_the_client_came_with(single):
    with single.wire(work_mem="7MB", TimeZone="Asia/Tokyo") as one, single.wire() as two:
        for reset in ("RESET work_mem; RESET TimeZone", "RESET ALL", "DISCARD ALL"):
            one.query("SET work_mem = '5MB'; SET TimeZone = 'UTC'")
            assert two.value("SHOW work_mem") == "4MB"
            one.query(reset)
            assert one.parameters["TimeZone"] == "Asia/Tokyo"
            assert (one.value("SHOW work_mem"), one.value("SHOW TimeZone")) == ("7MB", "Asia/Tokyo")
            assert two.value("SHOW work_mem") == "4MB"


@pytest.mark.parametrize("sql, after", [
    ("SELECT set_config('lock_timeout', '7' || 'min', true)", "0"),
    ("SELECT set_config('lock_timeout', '7' || 'min', false)", "7min"),
    ("SELECT set_config(n, '7min', true) FROM (SELECT 'lock_timeout' AS n) AS x", "0"),
    ("DO $$BEGIN SET LOCAL lock_timeout = '7min'; END$$", "0"),
    ("DO $$BEGIN SET lock_timeout = '7min'; END$$", "7min"),
])
@pytest.mark.parametrize("reset", ["RESET ALL", "SET lock_timeout = '6s'; RESET ALL", "RESET work_mem"])
def test_a_value_that_only_the_server_knows_behind_a_reset(single, sql, after, reset):
    """What is made the client's own again in the transaction is what it has reset, and not what it has set since."""
    with single.wire(work_mem="7MB") as one, single.wire() as two:
        for text in ("BEGIN", reset, sql, "SELECT 1"):
            one.query(text)
        assert one.value("SHOW lock_timeout") == "7min" and one.value("SHOW work_mem") == "7MB"
        one.query("COMMIT")
        for _ in range(2):
            assert two.value("SHOW lock_timeout") == "0" and two.value("SHOW work_mem") == "4MB"
            assert one.value("SHOW lock_timeout") == after and one.value("SHOW work_mem") == "7MB"


@pytest.mark.parametrize("end, expected", [("COMMIT", "7MB"), ("ROLLBACK", "5MB")])
def test_reset_in_a_transaction(single, end, expected):
    with single.wire(work_mem="7MB", TimeZone="Asia/Tokyo") as one, single.wire() as two:
        one.query("SET work_mem = '5MB'; SET TimeZone = 'UTC'")
        one.query("BEGIN")
        one.query("RESET ALL")
        assert (one.value("SHOW work_mem"), one.value("SHOW TimeZone")) == ("7MB", "Asia/Tokyo")
        one.query(end)
        assert two.value("SHOW work_mem") == "4MB"
        zone = "Asia/Tokyo" if end == "COMMIT" else "UTC"
        assert (one.value("SHOW work_mem"), one.value("SHOW TimeZone")) == (expected, zone)
        assert one.parameters["TimeZone"] == zone


# ---- the extended protocol ----

@pytest.mark.sanitizer
def test_values_from_bind(single):
    with single.wire() as one, single.wire() as two:
        one.send(wire.parse("s", "SELECT set_config($1, $2, $3)", (25, 25, 16)), wire.sync())
        one.until("Z")
        for value, is_local, expected in (("5MB", "f", "5MB"), ("6MB", "t", "5MB"), ("7MB", "false", "7MB"), (None, "f", "4MB")):
            one.send(wire.bind("p", "s", ("work_mem", value, is_local)), wire.execute("p"), wire.sync())
            one.until("Z")
            assert two.value("SHOW work_mem") == "4MB"
            assert one.value("SHOW work_mem") == expected


@pytest.mark.sanitizer
def test_pipelines(single):
    with single.wire() as one, single.wire() as two:
        one.send(wire.parse("", "SET work_mem = '5MB'"), wire.bind("", ""), wire.execute(),
                 wire.parse("", "SET geqo = off"), wire.bind("", ""), wire.execute(),
                 wire.parse("", "SELECT 1/0"), wire.bind("", ""), wire.execute(),
                 wire.parse("", "SET geqo = on"), wire.bind("", ""), wire.execute(), wire.sync(),
                 wire.query("SET statement_timeout = '1min'"), wire.query("BEGIN"), wire.query("SET lock_timeout = '1min'"),
                 wire.query("SAVEPOINT a"), wire.query("SET lock_timeout = '2min'"), wire.query("ROLLBACK TO a"), wire.query("COMMIT"))
        for _ in range(8):
            one.until("Z")
        for client, expected in ((two, ["4MB", "on", "0", "0"]), (one, ["4MB", "on", "1min", "1min"])):
            assert [client.value(f"SHOW {name}") for name in ("work_mem", "geqo", "statement_timeout", "lock_timeout")] == expected


def test_a_named_set_is_seen_each_time_it_is_run(single):
    with single.wire() as one, single.wire() as two:
        one.send(wire.parse("s", "SET work_mem = '5MB'"), wire.sync())
        one.until("Z")
        for _ in range(2):
            assert one.value("SHOW work_mem") == "4MB"
            one.send(wire.bind("", "s"), wire.execute(), wire.sync())
            one.until("Z")
            assert two.value("SHOW work_mem") == "4MB"
            assert one.value("SHOW work_mem") == "5MB"
            one.query("RESET work_mem")
        one.send(wire.close("S", "s"), wire.parse("s", "SELECT 1"), wire.bind("", "s"), wire.execute(), wire.sync())
        one.until("Z")
        assert one.value("SHOW work_mem") == "4MB"


def test_copy_between_settings(single):
    with single.wire() as one, single.wire() as two:
        one.query("CREATE TABLE IF NOT EXISTS copied (a int)")
        one.send(wire.query("SET geqo = off; COPY copied FROM STDIN; SET work_mem = '5MB'"))
        one.until("G")
        one.send(wire.copy_data(b"1\n"), wire.copy_done())
        one.until("Z")
        assert (two.value("SHOW work_mem"), two.value("SHOW geqo")) == ("4MB", "on")
        assert (one.value("SHOW work_mem"), one.value("SHOW geqo")) == ("5MB", "off")


def test_equal_statements_of_two_tenants_are_two_statements(single, pg):
    """Each finds the table of its own schema, with its own columns, under one name."""
    with pg.connect(dbname="app") as conn:
        for schema, column in (("tenant_a", "int"), ("tenant_b", "text")):
            conn.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            conn.execute(f"GRANT ALL ON SCHEMA {schema} TO app")
            conn.execute(f"CREATE TABLE IF NOT EXISTS {schema}.things (a {column})")
            conn.execute(f"GRANT ALL ON {schema}.things TO app")
    with single.wire() as one, single.wire() as two:
        for client, schema in ((one, "tenant_a"), (two, "tenant_b")):
            client.query(f"SET search_path = {schema}")
            client.send(wire.parse("s", "SELECT * FROM things"), wire.sync())
            client.until("Z")
        for _ in range(3):
            for client, oid in ((one, 23), (two, 25)):
                client.send(wire.describe("S", "s"), wire.bind("", "s"), wire.execute(), wire.sync())
                answers = client.until("Z")
                assert [m.kind for m in answers] == ["t", "T", "2", "C", "Z"]
        for client, schema in ((one, "tenant_b"), (two, "tenant_a")):
            client.query("BEGIN")
            client.query(f"SET LOCAL search_path = {schema}")
            client.send(wire.describe("S", "s"), wire.bind("", "s"), wire.execute(), wire.sync())
            assert [m.kind for m in client.until("Z")] == ["t", "T", "2", "C", "Z"]
            client.query("COMMIT")


# ---- the other ways ----

@pytest.mark.parametrize("where", ["settings", "databases", "users"])
def test_error_refuses_what_would_stay(make_pooler, pg, where):
    extra = {
        "settings": {"settings": {"default_pool_size": 1, "session_state": "error"}},
        "databases": {"settings": {"default_pool_size": 1}, "databases": {"app": f"{pg.dsn} dbname=app session_state=error"}},
        "users": {"settings": {"default_pool_size": 1, "session_state": "ignore"}, "users": {"app": "session_state=error"}},
    }[where]
    pooler = make_pooler(**extra)
    with pooler.wire() as one:
        for sql in ("SET work_mem = '5MB'", "SELECT 1; SET work_mem = '5MB'", "SELECT set_config('work_mem', '5MB', false)", "SET ROLE x"):
            messages = one.query(sql)
            assert [m.kind for m in messages] == ["E", "Z"]
            assert messages[0].sqlstate == "0A000" and "SET LOCAL" in messages[0].fields()["H"]
            assert messages[1].payload == b"I"
        # of code nobody knows what it sets, and for how long
        assert [m.kind for m in one.query("DO $$BEGIN PERFORM set_config('work_mem', '5MB', true); END$$")] == ["C", "Z"]
        one.query("SET TimeZone = 'UTC'")
        assert one.value("SHOW TimeZone") == "UTC"
        one.query("BEGIN")
        assert [m.kind for m in one.query("SET LOCAL work_mem = '5MB'")] == ["C", "Z"]
        assert one.value("SHOW work_mem") == "5MB"
        assert [m.kind for m in one.query("SET work_mem = '6MB'")] == ["E", "Z"]
        assert one.query("SELECT 1")[0].sqlstate == "25P02"
        one.query("ROLLBACK")
        # in a pipeline: what is ahead of it runs, what is behind it up to the Sync does not
        one.send(wire.parse("", "SELECT 1"), wire.bind("", ""), wire.execute(), wire.parse("", "SET work_mem = '5MB'"), wire.bind("", ""),
                 wire.execute(), wire.parse("", "SELECT 2"), wire.bind("", ""), wire.execute(), wire.sync(), wire.query("SELECT 3"))
        assert [m.kind for m in one.until("Z")] == ["1", "2", "D", "C", "E", "Z"]
        assert [m.kind for m in one.until("Z")] == ["T", "D", "C", "Z"]
        assert one.value("SHOW work_mem") == "4MB"


def test_warn_says_it_once(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "session_state": "warn"})
    for name in ("first", "second"):
        for _ in range(2):
            with pooler.wire(application_name=name) as client:
                client.query("SET work_mem = '5MB'")
                client.query("SET work_mem = '6MB'; SET TimeZone = 'UTC'; BEGIN; SET LOCAL geqo = off; COMMIT")
                extended(client, "SET geqo = on")
    with pooler.wire() as other:
        assert other.value("SHOW work_mem") == "6MB"  # as in PgBouncer
    pooler.wait_log('application "second" sets geqo')
    assert len(pooler.log_lines('application "first" sets work_mem')) == 1
    assert len(pooler.log_lines('application "second" sets work_mem')) == 1
    assert len(pooler.log_lines("sets geqo")) == 2
    assert len(pooler.log_lines("for its session, which stays")) == 4


def test_ignore_is_as_pgbouncer(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "session_state": "ignore"})
    with pooler.wire() as one, pooler.wire() as two:
        one.query("SET work_mem = '5MB'")
        assert two.value("SHOW work_mem") == "5MB"


def test_session_mode_tracks_nothing(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "pool_mode": "session"})
    with pooler.wire(work_mem="7MB") as one:
        one.query("RESET work_mem")
        assert one.value("SHOW work_mem") == "4MB"
        one.goodbye()


def test_a_reload_changes_it_for_those_who_are_there(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "session_state": "ignore"})
    with pooler.wire() as one, pooler.wire() as two:
        pooler.settings["session_state"] = "track"
        pooler.reload()
        wait_until(lambda: pooler.config("session_state") == "track", "the settings")
        one.query("SET work_mem = '5MB'")
        assert two.value("SHOW work_mem") == "4MB"
        assert one.value("SHOW work_mem") == "5MB"


# ---- pin ----

RESETS = {
    "a setting": ("SET work_mem = '5MB'", "RESET work_mem"),
    "DEFAULT": ("SET work_mem = '5MB'", "SET work_mem TO DEFAULT"),
    "two": ("SET work_mem = '5MB'; SET geqo = off", "RESET geqo; RESET work_mem"),
    "all": ("SET work_mem = '5MB'; SET geqo = off", "RESET ALL"),
    "discard": ("SET work_mem = '5MB'", "DISCARD ALL"),
    "a role": ("SET ROLE other", "RESET ROLE"),
    "the value that it came with": ("SET work_mem = '5MB'", "SET work_mem = '6MB'"),
    "a call": ("SELECT set_config('work_mem', '5MB', false)", "RESET work_mem"),
    "an expression": ("SELECT set_config('work_mem', (5 * 1024)::text, false)", "RESET work_mem"),
}
PINNING = {"default_pool_size": 2, "session_state": "pin"}


@pytest.fixture
def pinning(make_pooler):
    return make_pooler(settings=PINNING)


def reasons(pooler):
    return [row["reason"] for row in pooler.show("PINNED")]


def wait_reasons(pooler, *expected):
    wait_until(lambda: reasons(pooler) == list(expected), f"pins {expected}")


@pytest.mark.sanitizer
@pytest.mark.parametrize("run, change, reset", protocols(RESETS.values()), ids=lambda v: v[:70], indirect=["run"])
def test_pin_keeps_the_server_until_the_reset(pinning, roles, run, change, reset):
    with pinning.wire(work_mem="6MB") as one, pinning.wire() as two, pinning.wire() as three:
        run(one, change)
        wait_reasons(pinning, "setting")
        mine = one.value("SELECT pg_backend_pid()")
        for _ in range(3):
            assert mine not in (two.value("SELECT pg_backend_pid()"), three.value("SELECT pg_backend_pid()"))
            assert one.value("SELECT pg_backend_pid()") == mine
        run(one, reset)
        wait_reasons(pinning)
        assert pinning.pool()["pinned"] == 0
        for other in (two, three):
            other.query("BEGIN")
        assert mine in (two.value("SELECT pg_backend_pid()"), three.value("SELECT pg_backend_pid()"))
        for other in (two, three):
            assert [other.value(f"SHOW {name}") for name in ("work_mem", "geqo", "role")] == ["4MB", "on", "none"]
            other.query("COMMIT")


@pytest.mark.sanitizer
def test_pin_is_for_what_outlives_the_transaction(pinning, run):
    with pinning.wire(work_mem="7MB") as one:
        for statements in (["BEGIN", "SET work_mem = '5MB'", "ROLLBACK"], ["BEGIN", "SET LOCAL work_mem = '5MB'", "COMMIT"],
                           ["SET work_mem = 'much'"], ["SET TimeZone = 'UTC'"], ["BEGIN", "SET work_mem = '5MB'", "RESET work_mem", "COMMIT"]):
            for statement in statements:
                run(one, statement)
            wait_reasons(pinning)
            assert one.value("SHOW work_mem") == "7MB"
        one.query("BEGIN")
        run(one, "SET work_mem = '5MB'")
        one.query("COMMIT")
        wait_reasons(pinning, "setting")
        one.query("BEGIN")
        run(one, "RESET work_mem")
        one.query("ROLLBACK")
        assert one.value("SHOW work_mem") == "5MB" and reasons(pinning) == ["setting"]


@pytest.mark.sanitizer
def test_pin_is_bounded(pinning):
    with pinning.wire() as one, pinning.wire() as two:
        one.query("SET work_mem = '5MB'")
        wait_reasons(pinning, "setting")
        refused = two.query("SET work_mem = '6MB'")
        assert [m.kind for m in refused] == ["E", "Z"] and refused[0].sqlstate == "53400"
        two.send(wire.parse("", "SET geqo = off"), wire.bind("", ""), wire.execute(), wire.sync(), wire.query("SELECT 1"))
        answers = two.until("Z")
        assert [m.kind for m in answers] == ["1", "2", "E", "Z"] and answers[2].sqlstate == "53400"
        assert [m.kind for m in two.until("Z")] == ["T", "D", "C", "Z"]
        assert [two.value(f"SHOW {name}") for name in ("work_mem", "geqo")] == ["4MB", "on"]
        assert reasons(pinning) == ["setting"]
        one.query("RESET ALL")
        wait_reasons(pinning)
        two.query("SET work_mem = '6MB'")
        wait_reasons(pinning, "setting")
        assert two.value("SHOW work_mem") == "6MB" and one.value("SHOW work_mem") == "4MB"


def test_pin_with_something_else(pinning):
    with pinning.wire() as one:
        one.query("CREATE TEMP TABLE mine (x int)")
        wait_reasons(pinning, "temporary object")
        one.query("SET work_mem = '5MB'")
        wait_reasons(pinning, "temporary object, setting")
        one.query("DROP TABLE mine")
        wait_reasons(pinning, "setting")
        one.query("RESET work_mem")
        wait_reasons(pinning)


def test_pin_of_a_named_statement(pinning):
    with pinning.wire() as one:
        one.send(wire.parse("s", "SET work_mem = '5MB'"), wire.sync())
        one.until("Z")
        for _ in range(2):
            wait_reasons(pinning)
            one.send(wire.bind("", "s"), wire.execute(), wire.sync())
            one.until("Z")
            wait_reasons(pinning, "setting")
            assert one.value("SHOW work_mem") == "5MB"
            one.query("RESET work_mem")


def test_who_is_pinned_stays_so_until_the_reset(pinning):
    with pinning.wire() as one, pinning.wire() as two:
        one.query("SET work_mem = '5MB'")
        wait_reasons(pinning, "setting")
        for state in ("ignore", "error", "warn"):
            pinning.admin(f"SET session_state = {state}")
            assert one.value("SHOW work_mem") == "5MB" and reasons(pinning) == ["setting"]
        one.query("RESET work_mem")
        wait_reasons(pinning)
        one.query("SET work_mem = '5MB'")
        assert one.value("SELECT 1") == "1" and reasons(pinning) == []
        pinning.admin("SET session_state = pin")
        two.query("SET geqo = off")
        wait_reasons(pinning, "setting")


def test_who_leaves_a_pinned_server_leaves_it_clean(make_pooler):
    pooler = make_pooler(settings={**PINNING, "default_pool_size": 1, "max_pinned": 1})
    with pooler.wire() as two:
        with pooler.wire() as one:
            one.query("SET work_mem = '5MB'")
            wait_reasons(pooler, "setting")
            mine = one.value("SELECT pg_backend_pid()")
        assert two.value("SHOW work_mem") == "4MB"
        assert two.value("SELECT pg_backend_pid()") == mine, "a setting is no reason to close it"
    assert [row["reason"] for row in pooler.show("LEAKS")] == ["setting"]

# ---- strict ----

@pytest.mark.sanitizer
@pytest.mark.parametrize("kind", ["simple", "unnamed", "named", "trigger"])
def test_strict_sees_what_functions_leave(make_pooler, pg, kind):
    """Locks and temporary tables that no text tells of: the client keeps its server while they live."""
    pooler = make_pooler(settings={"default_pool_size": 2, "strict": "on"})
    with pg.connect(dbname="app") as conn:
        conn.execute("DROP TABLE IF EXISTS strict_leaves")
        conn.execute("CREATE TABLE strict_leaves (x int); GRANT ALL ON strict_leaves TO PUBLIC")
        conn.execute("CREATE OR REPLACE FUNCTION takes_it() RETURNS int LANGUAGE plpgsql AS "
                     "$$BEGIN PERFORM pg_advisory_lock(4714); CREATE TEMP TABLE IF NOT EXISTS mine (x int); RETURN 1; END$$")
        conn.execute("CREATE OR REPLACE FUNCTION on_insert() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM takes_it(); RETURN NEW; END$$")
        conn.execute("CREATE TRIGGER takes_it BEFORE INSERT ON strict_leaves FOR EACH ROW EXECUTE FUNCTION on_insert()")
    with pooler.wire() as one, pooler.wire() as two:
        if kind == "named":
            one.send(wire.parse("s", "SELECT takes_it()"), wire.sync())
            assert one.trace() == "1Z"
            assert not pooler.show("PINNED")
            one.send(wire.bind("", "s"), wire.execute(), wire.sync())
            assert one.trace() == "2DCZ"
        elif kind == "unnamed":
            assert "E" not in "".join(m.kind for m in extended(one, "SELECT takes_it()"))
        else:
            one.query("INSERT INTO strict_leaves VALUES (1)" if kind == "trigger" else "SELECT takes_it()")
        wait_until(lambda: [row["reason"] for row in pooler.show("PINNED")] == ["advisory lock, temporary object"], "the pin")
        pid = one.value("SELECT pg_backend_pid()")
        assert all(two.value("SELECT pg_backend_pid()") != pid for _ in range(5))
        assert one.value("SELECT count(*) FROM mine") == "0"
        one.query("SELECT pg_advisory_unlock_all()")
        one.query("DROP TABLE mine")
        wait_until(lambda: not pooler.show("PINNED"), "the pin to go")
        assert two.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"


FUNCTION = ("CREATE OR REPLACE FUNCTION sets_it(v text) RETURNS int LANGUAGE plpgsql AS "
            "$$BEGIN PERFORM set_config('work_mem', v, false); SET lock_timeout = 5; RETURN 1; END$$")


@pytest.mark.sanitizer
def test_strict_sees_what_functions_do(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "strict": "on"})
    with pooler.wire() as one, pooler.wire(work_mem="7MB") as two:
        one.query(FUNCTION)
        for value in ("5MB", "6MB"):
            one.query(f"SELECT sets_it('{value}')")
            assert (two.value("SHOW work_mem"), two.value("SHOW lock_timeout")) == ("7MB", "0")
            assert (one.value("SHOW work_mem"), one.value("SHOW lock_timeout")) == (value, "5ms")
        one.query("DO $$BEGIN RESET work_mem; END$$")
        assert (two.value("SHOW work_mem"), one.value("SHOW work_mem")) == ("7MB", "4MB")
        one.send(wire.query("SELECT sets_it('8MB')"), wire.query("SHOW work_mem"))
        one.until("Z")
        one.until("Z")
        assert (two.value("SHOW work_mem"), one.value("SHOW work_mem")) == ("7MB", "8MB")
