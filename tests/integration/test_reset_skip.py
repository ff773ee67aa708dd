"""server_reset_query_skip: DISCARD ALL is left out where there is nothing to discard, and only there."""
import pytest

from harness import wire
from harness.util import wait_until

pytestmark = pytest.mark.sanitizer


def extended(sql, name=""):
    return wire.parse(name, sql) + wire.bind("", name) + wire.execute() + wire.sync()


# What a session sends, how many answers that has, and with which settings there is nothing to discard after it.
BOTH, SEEN, NEITHER = ("certain", "seen"), ("seen",), ()
SESSIONS = {
    "ping": (wire.query("SELECT 1"), 1, BOTH),
    "nothing": (wire.query(""), 1, BOTH),
    "transaction": (wire.query("BEGIN; SELECT 'x' AS x") + wire.query("SELECT 1/**/") + wire.query("COMMIT"), 3, BOTH),
    "show": (wire.query("SHOW work_mem"), 1, BOTH),
    "extended": (extended("SELECT 1"), 1, BOTH),
    "table": (wire.query("SELECT relname FROM pg_class LIMIT 1"), 1, SEEN),
    "extended table": (extended("SELECT relname FROM pg_class LIMIT 1"), 1, SEEN),
    "function": (wire.query("SELECT now()"), 1, SEEN),
    "ping and function": (wire.query("SELECT 1") + wire.query("SELECT now()") + wire.query("SELECT 1"), 3, SEEN),
    "long": (wire.query("SELECT 1, '" + 5000 * "x" + "'"), 1, NEITHER),
    "set": (wire.query("SET work_mem = '1MB'"), 1, NEITHER),
    "set between": (wire.query("SELECT 1") + wire.query("SET work_mem = '1MB'") + wire.query("SELECT 1"), 3, NEITHER),
    "set in a transaction": (wire.query("BEGIN; SET work_mem = '1MB'; COMMIT"), 1, NEITHER),
    "set_config": (wire.query("SELECT set_config('work_mem', '1MB', false)"), 1, NEITHER),
    "extended set": (extended("SET work_mem = '1MB'") + extended("SELECT 1"), 2, NEITHER),
    "prepare": (wire.query("PREPARE a AS SELECT 1"), 1, NEITHER),
    "named": (extended("SELECT 1", "a") + wire.query("SELECT 1"), 2, NEITHER),
    "lock": (wire.query("SELECT pg_advisory_lock(1)"), 1, NEITHER),
    "listen": (wire.query("LISTEN a"), 1, NEITHER),
    "temporary table": (wire.query("CREATE TEMP TABLE t (x int)"), 1, NEITHER),
    "cursor": (wire.query("DECLARE c CURSOR WITH HOLD FOR SELECT 1"), 1, NEITHER),
    "do": (wire.query("DO 'BEGIN PERFORM pg_advisory_lock(1); END'"), 1, NEITHER),
    "function call": (wire.function_call(1598), 1, NEITHER),  # random()
}


def last_query(pg, pooler):
    """What the only server connection has run last, when no client has it."""
    wait_until(lambda: [row["sv_idle"] for row in pooler.show("POOLS") if row["database"] == "app"] == [1], "an idle server")
    with pg.connect() as conn:
        (text,), = conn.execute("SELECT query FROM pg_stat_activity WHERE usename = 'app' AND datname = 'app'").fetchall()
    return text


def run(pooler, session, **parameters):
    raw, answers, _ = session
    with pooler.wire(**parameters) as client:
        client.send(raw)
        for _ in range(answers):
            client.until("Z")
        client.goodbye()


@pytest.mark.parametrize("skip", ["off", "certain", "seen"])
def test_sessions(make_pooler, pg, skip):
    pooler = make_pooler(settings={"pool_mode": "session", "default_pool_size": 1, "server_reset_query_skip": skip})
    wrong = []
    for name, session in SESSIONS.items():
        run(pooler, session)
        if (last_query(pg, pooler) == "DISCARD ALL") == (skip in session[2]):
            wrong.append(name)
    assert not wrong


@pytest.mark.parametrize("skip", ["off", "certain", "seen"])
def test_unnamed_statement_is_not_the_next_clients(make_pooler, skip):
    pooler = make_pooler(settings={"pool_mode": "session", "default_pool_size": 1, "server_reset_query_skip": skip})
    use = wire.bind("", "") + wire.execute() + wire.sync()
    for _ in range(2):
        with pooler.wire() as one:
            one.send(wire.parse("", "SELECT 'secret'") + use)
            one.until("Z")
        with pooler.wire() as two:
            two.send(use)
            assert [m.sqlstate for m in two.until("Z") if m.kind == "E"] == ["26000"]
    assert len(pooler.servers()) == 1


@pytest.mark.parametrize("name, is_left_out", [("ping", True), ("extended", True), ("set", False), ("named", False)])
def test_always(make_pooler, pg, name, is_left_out):
    """In transaction mode, after each transaction. What is prepared under a name may be anything, for the one who only binds it."""
    pooler = make_pooler(settings={"default_pool_size": 1, "server_reset_query_always": 1})
    run(pooler, SESSIONS["lock"])
    raw, answers, _ = SESSIONS[name]
    with pooler.wire() as client:
        client.send(raw)
        for _ in range(answers):
            client.until("Z")
        if name == "named":
            client.send(wire.bind("", "a") + wire.execute() + wire.sync())
            client.until("Z")
        assert (last_query(pg, pooler) != "DISCARD ALL") == is_left_out


def test_another_query_is_never_left_out(make_pooler, pg):
    pooler = make_pooler(settings={"pool_mode": "session", "default_pool_size": 1, "server_reset_query_skip": "seen",
                                   "server_reset_query": "SELECT 'mine'"})
    run(pooler, SESSIONS["ping"])
    assert last_query(pg, pooler) == "SELECT 'mine'"


def test_settings_of_the_login(make_pooler, pg):
    """They are taken back without it, when the next client has none."""
    pooler = make_pooler(settings={"pool_mode": "session", "default_pool_size": 1})
    run(pooler, SESSIONS["ping"], options="-c work_mem=1234kB -c geqo=off", application_name="one")
    assert last_query(pg, pooler) != "DISCARD ALL"
    with pooler.wire() as client:
        assert [client.value(f"SHOW {name}") for name in ("work_mem", "geqo", "application_name")] == ["4MB", "on", ""]


def test_session_that_says_nothing(make_pooler, pg):
    """Linked at login, and gone without a word."""
    pooler = make_pooler(settings={"pool_mode": "session", "default_pool_size": 1, "session_link": "login"})
    run(pooler, SESSIONS["set"])
    assert last_query(pg, pooler) == "DISCARD ALL"
    run(pooler, SESSIONS["ping"])
    before = last_query(pg, pooler)
    assert before == "SELECT 1"
    run(pooler, (b"", 0, BOTH))
    assert last_query(pg, pooler) == before
