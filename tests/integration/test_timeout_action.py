"""timeout_action = cancel: the query or the transaction ends, the client keeps its session and is never deceived."""
import contextlib
import threading
import time

import psycopg
import pytest

from harness import wire
from harness.fakeserver import error, one_row, ready
from harness.util import PATIENCE, wait_until

pytestmark = pytest.mark.own

MODES = ["session", "transaction"]
LIMIT = 0.6


def make(make_pooler, setting, mode="transaction", limit=LIMIT, **kwargs):
    settings = {"pool_mode": mode, "timeout_action": "cancel", **kwargs.pop("settings", {})}
    return make_pooler(settings=settings, users={"app": f"{setting}={limit}"}, **kwargs)


def states(messages):
    """SQLSTATEs of the errors, then the transaction status."""
    return [m.sqlstate for m in messages if m.kind == "E"] + [messages[-1].payload.decode()]


def closes(pooler):
    return [row["name"] for row in pooler.show("ERRORS") if row["kind"] == "close" and "timeout" in row["name"]]


@contextlib.contextmanager
def bystander(pooler):
    with pooler.wire(user="alice") as other:
        other.send(wire.query("BEGIN; SELECT 'unhurt', pg_sleep(2)"))
        yield
        assert [m.row()[0] for m in other.until("Z") if m.kind == "D"] == ["unhurt"]


# ---- a query runs ----------------------------------------------------------------

@pytest.mark.sanitizer
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("setting", ["query_timeout", "transaction_timeout"])
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_query_is_cancelled(make_pooler, pg, mode, setting, protocol):
    pooler = make(make_pooler, setting, mode, settings={"default_pool_size": 1})
    long = "SELECT pg_sleep(60)"
    with bystander(pooler), pooler.wire() as client:
        pid = client.value("SELECT pg_backend_pid()")
        for _ in range(2):
            started = time.monotonic()
            client.send(wire.query(long) if protocol == "simple" else wire.simple_extended(long) + wire.sync())
            assert states(client.until("Z")) == ["57014", "I"]
            assert time.monotonic() - started >= LIMIT
            assert client.value("SELECT 1") == "1"
        assert client.value("SELECT pg_backend_pid()") == pid, "the server was not worth keeping"
        assert pg.backends(f"pid = {pid} AND state = 'active'") == 0
        assert closes(pooler) == [setting] and pooler.closes(setting) == 2
        pooler.wait_log(f"C-.* {setting.replace('_', ' ')}: its query is canceled", 2)


@pytest.mark.parametrize("mode", MODES)
def test_query_is_cancelled_in_a_transaction(make_pooler, mode):
    """The transaction is the client's to end, as after any error."""
    pooler = make(make_pooler, "query_timeout", mode)
    with bystander(pooler), pooler.wire() as client:
        client.query("BEGIN; SAVEPOINT a")
        assert states(client.query("SELECT pg_sleep(60)")) == ["57014", "E"]
        for _ in range(2):  # others are struck meanwhile
            with pooler.wire() as other:
                assert states(other.query("SELECT pg_sleep(60)")) == ["57014", "I"]
        assert states(client.query("SELECT 1")) == ["25P02", "E"]
        assert states(client.query("ROLLBACK TO a")) == ["T"]
        assert client.value("SELECT 1") == "1"
        assert states(client.query("COMMIT")) == ["I"]


def test_pipeline_goes_on_behind_a_cancelled_query(make_pooler):
    pooler = make(make_pooler, "query_timeout")
    with pooler.wire() as client:
        # PostgreSQL signals the process, then its group: the second signal may come when the next one runs already, even before
        # that has come to its handler
        client.send(wire.query("SELECT pg_sleep(60)"),
                    wire.query("DO 'BEGIN PERFORM pg_sleep(0.3); EXCEPTION WHEN query_canceled THEN NULL; END'"),
                    wire.query("SELECT pg_sleep(60)"), wire.query("SELECT 'last'"))
        assert states(client.until("Z")) == ["57014", "I"]
        assert states(client.until("Z")) in (["I"], ["57014", "I"])
        assert states(client.until("Z")) == ["57014", "I"]
        assert client.trace() == "TDCZ"


@pytest.mark.sanitizer
@pytest.mark.parametrize("mode", MODES)
def test_next_statement_is_not_hit(make_pooler, fake, mode):
    """The query ends just before its cancel arrives: what the client sends next waits for the end of the cancel."""
    has_arrived, may_end = threading.Event(), threading.Event()

    def script(conversation):
        try:
            conversation.accept_login()
        except wire.Closed:  # the cancel request
            has_arrived.set()
            may_end.wait(20 * PATIENCE)
            raise
        conversation.serve_queries(answer)

    def answer(sql):
        if sql == "long":
            has_arrived.wait(20 * PATIENCE)
        if sql == "BEGIN":
            return wire.message("C", wire.cstr("BEGIN")) + ready(b"T")
        return one_row(sql)[:-1] + b"T"

    server = fake(script)
    pooler = make(make_pooler, "query_timeout", mode, databases={"app": server.dsn}, settings={"server_check_query": ""})
    with pooler.wire() as client:
        client.query("BEGIN")
        assert client.value("long") == "long"
        client.send(wire.query("next"))
        assert client.silent_for(0.5)
        assert "next" not in server.queries
        may_end.set()
        assert [m.row() for m in client.until("Z") if m.kind == "D"] == [["next"]]


@pytest.mark.parametrize("mode", MODES)
def test_queries_that_take_about_as_long_as_they_may(make_pooler, mode):
    """A late cancel must not meet the quick statement behind the slow one."""
    pooler = make_pooler(settings={"pool_mode": mode, "timeout_action": "cancel", "query_timeout": "100ms"})
    with pooler.wire() as client:
        for round_ in range(40):
            messages = client.query(f"SELECT pg_sleep({0.085 + round_ % 20 * 0.002})")
            assert states(messages) in (["I"], ["57014", "I"])
            for _ in range(3):
                assert client.value("SELECT 1") == "1"


def silent_server(conversation):
    """Does not heed a cancel request."""
    conversation.accept_login()
    conversation.serve_queries(lambda sql: None if "sleep" in sql else one_row(sql))


@pytest.mark.sanitizer
@pytest.mark.parametrize("setting, sqlstate", [("query_timeout", "57014"), ("transaction_timeout", "25P04")])
def test_cancel_that_is_not_heeded(make_pooler, fake, setting, sqlstate):
    """After cancel_wait_timeout the client is disconnected, as without the action."""
    server = fake(silent_server)
    pooler = make(make_pooler, setting, settings={"cancel_wait_timeout": 1, "server_check_query": ""},
                  databases={"app": server.dsn})
    with pooler.wire() as client:
        assert client.value("one") == "one"
        started = time.monotonic()
        client.send(wire.query("sleep"))
        messages = client.expect_closed()
        assert time.monotonic() - started >= LIMIT + 1
        assert messages[-1].sqlstate == sqlstate and messages[-1].fields()["S"] == "FATAL"
        wait_until(lambda: server.cancels, "the cancel request")
        pooler.wait_log(f"S-.*closing because: {setting.replace('_', ' ')}")


@pytest.mark.parametrize("how", ["COPY", "a batch without Sync", "not reading"])
def test_what_no_cancel_can_end(make_pooler, pg, how):
    """PostgreSQL waits for the client there: so does the timeout, for cancel_wait_timeout."""
    pooler = make(make_pooler, "query_timeout", settings={"cancel_wait_timeout": 1})
    with bystander(pooler), pooler.raw(receive_buffer=65536) as client:
        client.login("app", "app")
        pid = client.value("SELECT pg_backend_pid()")
        started = time.monotonic()
        if how == "COPY":
            client.send(wire.query("COPY t FROM STDIN"))
        elif how == "not reading":
            client.send(wire.query("SELECT repeat('x', 1000000) FROM generate_series(1, 500)"))
            wait_until(lambda: pg.backends(f"pid = {pid}") == 0, "the backend to be gone", 20)
        else:
            client.send(wire.simple_extended("SELECT 1"), wire.flush())
        messages = client.expect_closed()
        assert time.monotonic() - started >= LIMIT + 1
        if how != "not reading":
            assert messages[-1].sqlstate == "57014"
        wait_until(lambda: pg.backends(f"pid = {pid}") == 0, "the backend to be gone", 5)


# ---- a query waits -----------------------------------------------------------------

@pytest.mark.sanitizer
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("protocol", ["simple", "extended", "pipeline"])
def test_query_that_waits_is_cancelled(make_pooler, mode, protocol):
    """No server has got anything of it: 57014, and the session goes on; what was sent behind it waits anew, for as long."""
    pooler = make(make_pooler, "query_timeout", mode, settings={"default_pool_size": 1, "query_wait_notify": 0}, limit=PATIENCE)
    with pooler.wire(user="alice") as other, pooler.wire() as client, pooler.wire() as holder:
        other.query("BEGIN")
        holder.query("BEGIN")
        sent = started = time.monotonic()
        if protocol == "simple":
            client.send(wire.query("SELECT 'never'"))
        elif protocol == "extended":
            client.send(wire.simple_extended("SELECT 'never'"), wire.sync())
        else:
            client.send(wire.query("SELECT 'never'"), wire.query("SELECT 'nor this'"), wire.query("SELECT 'but this'"))
        for before in range(2 if protocol == "pipeline" else 1):
            messages = client.until("Z")
            assert states(messages) == ["57014", "I"]
            assert messages[0].fields()["S"] == "ERROR" and messages[0].text == "canceling statement due to query_timeout"
            # the next one begins to wait before the client has heard of the one ahead of it
            assert time.monotonic() - sent >= (1 + before) * PATIENCE and time.monotonic() - started < 2 * PATIENCE
            started = time.monotonic()
        holder.query("COMMIT")
        if mode == "session":
            holder.goodbye()
        if protocol == "pipeline":
            assert [m.row() for m in client.until() if m.kind == "D"] == [["but this"]]
        assert client.value("SELECT 'served'") == "served"
        other.query("COMMIT")
        assert closes(pooler) == ["query_timeout"]
        count = 2 if protocol == "pipeline" else 1
        assert pooler.closes("query_timeout") == count
        assert len(pooler.wait_log("C-.* query timeout: its query is canceled before a server got it", count)) == count


def test_all_who_wait_are_cancelled(make_pooler):
    """Many at a time, and the ticket of none is left behind."""
    pooler = make(make_pooler, "query_timeout", settings={"default_pool_size": 1}, limit=1)
    clients = [pooler.wire() for _ in range(60)]
    with pooler.wire() as holder:
        holder.query("BEGIN")
        for client in clients:
            client.send(wire.query("SELECT 'never'"))
        for client in clients:
            assert states(client.until("Z")) == ["57014", "I"]
        wait_until(lambda: pooler.pool()["cl_waiting"] == 0, "the queue to be empty")
        holder.query("COMMIT")
        for client in clients:
            assert client.value("SELECT 'served'") == "served"
            client.disconnect()


def test_query_that_waits_in_vain_hears_why(make_pooler, fake):
    """The cause, when there is one."""
    answers = []

    def script(conversation):
        if answers:
            raise wire.Closed
        conversation.accept_login()
        conversation.serve_queries(lambda sql: None if sql == "die" else one_row(sql))

    server = fake(script)
    pooler = make(make_pooler, "query_timeout", databases={"app": server.dsn}, limit=1)
    with pooler.wire() as client:
        assert client.value("one") == "one"
        answers.append("no more")
        pooler.admin("RECONNECT")
        wait_until(lambda: not pooler.servers(), "the server to go")
        for _ in range(2):
            messages = client.query("two")
            assert states(messages) == ["57014", "I"]
            assert messages[0].text.startswith("canceling statement due to query_timeout: "), messages[0].text
        answers.clear()
        wait_until(lambda: client.query("three")[-2].kind == "C", "the server to be back")


@pytest.mark.sanitizer
@pytest.mark.parametrize("step, action", [("check", "disconnect"), ("check", "cancel"), ("settings", "disconnect"), ("settings first", "disconnect")])
def test_server_that_is_silent_when_it_is_set_up(make_pooler, fake, step, action):
    """The client is struck in time, not after server_connect_timeout, and the server is given up."""
    silent = []

    def answer(sql):
        return None if silent and not sql.startswith("mine") else one_row(sql)

    def script(conversation):
        conversation.accept_login()
        conversation.serve_queries(answer)

    server = fake(script)
    pooler = make(make_pooler, "query_timeout", databases={"app": server.dsn}, limit=1,
                  settings={"timeout_action": action, "server_check_delay": 0 if step == "check" else 3600,
                            "server_check_query": "check", "default_pool_size": 1, "server_connect_timeout": 30})
    with pooler.wire() as first, pooler.wire(application_name="" if step == "check" else "other") as client:
        assert first.value("mine") == "mine"
        silent.append(True)
        started = time.monotonic()
        client.send(wire.query("/* waits for their answer */ mine too" if step == "settings first" else "mine too"))
        if action == "cancel":
            assert states(client.until("Z")) == ["57014", "I"]
        else:
            assert client.expect_closed()[-1].sqlstate == "57014"
        assert 1 <= time.monotonic() - started < 2 * PATIENCE
        assert not any(sql.endswith("mine too") for sql in server.queries)
        wait_until(lambda: not pooler.servers(), "the server to go")
        silent.clear()
        if action == "cancel":
            assert client.value("mine again") == "mine again"


def test_copy_goes_on_until_the_cancel_is_seen(make_pooler):
    """A COPY whose client sends on hears of the cancel."""
    pooler = make(make_pooler, "transaction_timeout")
    with pooler.wire() as client:
        client.send(wire.query("COPY t FROM STDIN"))
        client.until("G")
        for _ in range(100):
            client.send(wire.copy_data(b"1\tx\n"))
            if not client.silent_for(0.05):
                break
        client.send(wire.copy_fail("enough"))
        assert states(client.until("Z")) == ["57014", "I"]
        assert client.value("SELECT count(*) FROM t WHERE id = 1") == "0"


# ---- between two statements --------------------------------------------------------

IDLE = [("idle_transaction_timeout", "25P03"), ("transaction_timeout", "25P04")]


def leave_open(client, pooler, setting):
    """A transaction that holds a row, until the timeout has ended it. Returns the backend."""
    pid = client.value("SELECT pg_backend_pid()")
    client.query("BEGIN")
    client.query("INSERT INTO t VALUES (42, 'lost')")
    wait_until(lambda: pooler.log_lines(f"{setting.replace('_', ' ')}: its transaction is rolled back"), "the timeout")
    return pid


@pytest.mark.sanitizer
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("setting, sqlstate", IDLE)
@pytest.mark.parametrize("then", ["query", "COMMIT", "extended", "batch", "call", "pipeline"])
def test_transaction_is_rolled_back(make_pooler, pg, mode, setting, sqlstate, then):
    """The client's next statement fails, even a COMMIT, and so does all that follows, until it ends the transaction."""
    pooler = make(make_pooler, setting, mode, settings={"default_pool_size": 1})
    with bystander(pooler), pooler.wire() as client, pg.connect() as direct:
        pid = leave_open(client, pooler, setting)
        wait_until(lambda: pg.backends(f"pid = {pid} AND state = 'idle'") == 1, "the rollback")
        direct.execute("INSERT INTO t VALUES (42, 'free'); DELETE FROM t WHERE id = 42")
        if mode == "transaction":
            with pooler.wire() as other:
                assert other.value("SELECT 'server is free'") == "server is free"
        assert client.silent_for(0.1)
        insert = "INSERT INTO t VALUES (43, 'outside')"
        if then in ("query", "COMMIT"):
            assert states(client.query(insert if then == "query" else "COMMIT")) == [sqlstate, "E"]
        elif then == "extended":
            client.send(wire.sync(), wire.simple_extended(insert), wire.query(insert), wire.sync())
            assert states(client.until("Z")) == ["E"]
            assert states(client.until("Z")) == [sqlstate, "E"]
        elif then == "batch":
            client.send(wire.simple_extended(insert), wire.flush())
            assert client.receive().sqlstate == sqlstate
            client.send(wire.simple_extended(insert) + wire.sync())
            assert states(client.until("Z")) == ["E"]
        elif then == "call":
            client.send(wire.function_call(1598))
            assert states(client.until("Z")) == [sqlstate, "E"]
        else:
            client.send(wire.query("SELECT '" + "x" * 200000 + "'"), wire.query(insert), wire.query("COMMIT"), wire.query("SELECT 'next'"))
            assert states(client.until("Z")) == [sqlstate, "E"]
            assert states(client.until("Z")) == ["25P02", "E"]
            assert [m.tag for m in client.until("Z") if m.kind == "C"] == ["ROLLBACK"]
            assert client.trace() == "TDCZ"
        if then != "pipeline":
            assert states(client.query(insert)) == ["25P02", "E"]
            client.send(wire.simple_extended("SELECT 1") + wire.sync())
            assert states(client.until("Z")) == ["25P02", "E"]
            assert [m.tag for m in client.query("COMMIT") if m.kind == "C"] == ["ROLLBACK"]
        assert client.value("SELECT count(*) FROM t WHERE id IN (42, 43)") == "0"
        assert client.query("BEGIN; SELECT 1; COMMIT")[-1].payload == b"I"
        assert closes(pooler) == [setting]


@pytest.mark.parametrize("mode", MODES)
def test_rollback_in_pieces(make_pooler, mode):
    """What it is shows when it is there whole."""
    pooler = make(make_pooler, "idle_transaction_timeout", mode)
    with pooler.wire() as client:
        leave_open(client, pooler, "idle_transaction_timeout")
        raw = wire.query("ROLLBACK")
        for part in (raw[:3], raw[3:5], raw[5:6], raw[6:]):
            client.send(part)
            for _ in range(2):
                pooler.show("CLIENTS")  # its worker has had its turn
        messages = client.until()
        assert [m.kind for m in messages] == ["C", "Z"] and messages[0].tag == "ROLLBACK" and messages[1].payload == b"I"
        assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rollback, is_known", [("ROLLBACK", True), ("rollback; ", True), ("ABORT", True), ("Rollback Work", True),
                                                ("/* x */ ROLLBACK", False), ("ROLLBACK; SELECT 1", False)])
def test_plain_rollback_succeeds(make_pooler, mode, rollback, is_known):
    """What clean-up code does first. What is not known as one fails, and the next is PostgreSQL's."""
    pooler = make(make_pooler, "idle_transaction_timeout", mode)
    with pooler.wire() as client:
        leave_open(client, pooler, "idle_transaction_timeout")
        messages = client.query(rollback)
        if not is_known:
            assert states(messages) == ["25P03", "E"]
            messages = client.query("/* x */ ROLLBACK")
        assert "".join(m.kind for m in messages) == "CZ"
        assert messages[0].tag == "ROLLBACK" and messages[1].payload == b"I"
        assert client.value("SELECT count(*) FROM t WHERE id = 42") == "0"


@pytest.mark.parametrize("mode", MODES)
def test_failed_transaction_is_rolled_back(make_pooler, pg, mode):
    """Its client has had its error: PostgreSQL's own words from the first statement on. A savepoint is no way back."""
    pooler = make(make_pooler, "idle_transaction_timeout", mode)
    with pooler.wire() as client:
        pid = client.value("SELECT pg_backend_pid()")
        client.query("BEGIN; SAVEPOINT a")
        assert states(client.query("SELECT 1/0")) == ["22012", "E"]
        wait_until(lambda: pooler.log_lines("its transaction is rolled back"), "the timeout")
        wait_until(lambda: pg.backends(f"pid = {pid} AND state IN ('idle', 'idle in transaction (aborted)')") == 1, "the rollback")
        assert states(client.query("ROLLBACK TO a")) == ["3B001", "E"]
        assert states(client.query("SELECT 1")) == ["25P02", "E"]
        assert states(client.query("ROLLBACK")) == ["I"]
        assert client.value("SELECT 1") == "1"


def test_failed_transaction_does_not_hold_a_server_either(make_pooler, pg):
    """Whoever idles on in it is struck again, and its server is free again."""
    pooler = make(make_pooler, "idle_transaction_timeout", settings={"default_pool_size": 1})
    with pooler.wire() as client, pooler.wire() as other:
        leave_open(client, pooler, "idle_transaction_timeout")
        assert states(client.query("SELECT 1")) == ["25P03", "E"]
        for _ in range(2):
            assert states(client.query("SELECT 1")) == ["25P02", "E"]
            assert other.value("SELECT 'served'") == "served"
        assert states(client.query("ROLLBACK")) == ["I"]


@pytest.mark.parametrize("mode", MODES)
def test_statement_cancelled_then_transaction_rolled_back(make_pooler, pg, mode):
    """transaction_timeout in a statement: 57014 from PostgreSQL, and the transaction is over although there is a savepoint."""
    pooler = make(make_pooler, "transaction_timeout", mode, limit=5)
    with pooler.wire() as client, pg.connect() as direct:
        client.query("BEGIN; INSERT INTO t VALUES (44, 'lost'); SAVEPOINT a")
        assert states(client.query("SELECT pg_sleep(60)")) == ["57014", "E"]
        direct.execute("SET lock_timeout = '3s'")  # it takes no second timeout
        direct.execute("INSERT INTO t VALUES (44, 'free'); DELETE FROM t WHERE id = 44")
        assert states(client.query("ROLLBACK TO a")) == ["3B001", "E"]
        assert states(client.query("ROLLBACK")) == ["I"]
        assert client.value("SELECT count(*) FROM t WHERE id = 44") == "0"


@pytest.mark.parametrize("mode", MODES)
def test_settings_of_the_lost_transaction_are_undone(make_pooler, pg, mode):
    """The client hears of it, and has its own settings on whatever server it gets."""
    pooler = make(make_pooler, "idle_transaction_timeout", mode)
    with pooler.wire(application_name="mine") as client:
        client.query("BEGIN; SET application_name = 'within'")
        wait_until(lambda: pooler.log_lines("its transaction is rolled back"), "the timeout")
        assert states(client.query("SELECT 1")) == ["25P03", "E"]
        assert client.parameters["application_name"] == "mine"
        client.query("ROLLBACK")
        assert client.value("SHOW application_name") == "mine"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("told", [False, True])
def test_client_that_goes_instead(make_pooler, pg, mode, told):
    pooler = make(make_pooler, "idle_transaction_timeout", mode, settings={"default_pool_size": 1})
    with pooler.wire() as client:
        pid = leave_open(client, pooler, "idle_transaction_timeout")
        if told:
            client.query("SELECT 1")
        client.goodbye()
    with pooler.wire() as next_one:
        assert next_one.value("SELECT pg_backend_pid()") == pid or told
        assert next_one.query("BEGIN; COMMIT")[-1].payload == b"I"


@pytest.mark.parametrize("mode", MODES)
def test_shutdown_does_not_wait_for_the_lost(make_pooler, mode):
    pooler = make(make_pooler, "idle_transaction_timeout", mode)
    with pooler.wire() as client:
        leave_open(client, pooler, "idle_transaction_timeout")
        pooler.admin("SHUTDOWN WAIT_FOR_SERVERS")
        assert client.expect_closed()[-1].sqlstate == "57P01"
    assert pooler.wait_exit() == 0


def test_rollback_that_fails_disconnects(make_pooler, fake):
    """Nothing is known of the transaction then."""
    def answer(sql):
        if sql == "BEGIN":
            return wire.message("C", wire.cstr("BEGIN")) + ready(b"T")
        if sql == "ROLLBACK":
            return error("XX000", "no", "ERROR") + ready(b"I")
        return one_row(sql)

    def script(conversation):
        conversation.accept_login()
        conversation.serve_queries(answer)

    server = fake(script)
    pooler = make(make_pooler, "idle_transaction_timeout", databases={"app": server.dsn}, settings={"server_connect_timeout": 2})
    with pooler.wire() as client:
        client.query("BEGIN")
        assert client.expect_closed()[-1].sqlstate == "25P03"


def test_rollback_that_hangs_disconnects(make_pooler, fake):
    def answer(sql):
        if sql == "BEGIN":
            return wire.message("C", wire.cstr("BEGIN")) + ready(b"T")
        return None if sql == "ROLLBACK" else one_row(sql)

    def script(conversation):
        conversation.accept_login()
        conversation.serve_queries(answer)

    server = fake(script)
    pooler = make(make_pooler, "idle_transaction_timeout", databases={"app": server.dsn}, settings={"server_connect_timeout": 1})
    with pooler.wire() as client:
        started = time.monotonic()
        client.query("BEGIN")
        wait_until(lambda: pooler.log_lines("its transaction is rolled back"), "the timeout")
        client.send(wire.query("SELECT 'kept'"))
        assert [m.sqlstate for m in client.expect_closed()] == ["25P03"]
        assert time.monotonic() - started >= LIMIT + 1
        assert "SELECT 'kept'" not in server.queries


def test_drivers_get_along(make_pooler):
    """psycopg: the exception names the cause, rollback() works, the connection is as good as new."""
    pooler = make_pooler(settings={"timeout_action": "cancel", "idle_transaction_timeout": "500ms", "query_timeout": "1s"})
    with pooler.connect(autocommit=False) as conn:
        conn.execute("INSERT INTO t VALUES (45, 'lost')")
        wait_until(lambda: pooler.log_lines("its transaction is rolled back"), "the timeout")
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            conn.execute("SELECT 1")
        conn.rollback()
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("SELECT pg_sleep(60)")
        conn.rollback()
        assert conn.execute("SELECT count(*) FROM t WHERE id = 45").fetchone() == (0,)
        conn.commit()


def test_action_is_reloadable(make_pooler):
    pooler = make_pooler(settings={"query_timeout": "500ms"})
    assert pooler.config("timeout_action") == "disconnect"
    with pooler.wire() as client:
        pooler.admin("SET timeout_action = cancel")
        assert states(client.query("SELECT pg_sleep(60)")) == ["57014", "I"]
        pooler.settings["timeout_action"] = "disconnect"
        pooler.reload()
        client.send(wire.query("SELECT pg_sleep(60)"))
        assert client.expect_closed()[-1].fields()["S"] == "FATAL"
