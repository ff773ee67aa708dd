"""Timeouts of clients that are logged in, with timeout_action = disconnect: what is struck, when, and what is not."""
import contextlib
import threading
import time

import pytest

from harness import wire
from harness.util import wait_until

pytestmark = pytest.mark.own

MODES = ["session", "transaction"]
LIMIT = 0.7  # seconds, of most timeouts here

# name of the setting (and of the counter): SQLSTATE, words to the client, words in the log
WORDS = {
    "query_timeout": ("57014", "query_timeout", "query timeout"),
    "idle_transaction_timeout": ("25P03", "idle transaction timeout", "idle transaction timeout"),
    "transaction_timeout": ("25P04", "transaction timeout", "transaction timeout"),
    "client_idle_timeout": ("57P05", "client_idle_timeout", "client_idle_timeout"),
}


def make(make_pooler, setting, mode="transaction", limit=LIMIT, **settings):
    """Only the user app is limited."""
    return make_pooler(settings={"pool_mode": mode, **settings}, users={"app": f"{setting}={limit}"})


def backend(client):
    return client.value("SELECT pg_backend_pid()")


@contextlib.contextmanager
def bystander(pooler):
    """Somebody else, at work all the while: must get its answer and keep its server."""
    with pooler.wire(user="alice") as other, pooler.wire(user="alice") as idle:
        other.send(wire.query("BEGIN; SELECT 'unhurt', pg_sleep(2.5)"))
        idle.query("BEGIN")
        yield
        assert [m.row()[0] for m in other.until("Z") if m.kind == "D"] == ["unhurt"]
        assert idle.query("SELECT 1; COMMIT")[-1].payload == b"I"


def struck(client, setting, since, limit=LIMIT):
    """The client is disconnected with the right words, not too early. Returns the messages before the last."""
    messages = client.expect_closed()
    assert time.monotonic() - since >= limit
    sqlstate, text, _ = WORDS[setting]
    assert messages, "closed without a word"
    assert (messages[-1].kind, messages[-1].sqlstate, messages[-1].text) == ("E", sqlstate, text)
    assert messages[-1].fields()["S"] == "FATAL"
    return messages[:-1]


def accounted(pooler, pg, setting, pid=None):
    """Counter and log have it, and PostgreSQL does not work on for nobody."""
    wait_until(lambda: pooler.closes(setting) >= 1, "the counter")
    assert sum(pooler.closes(name) for name in WORDS if name != setting) == 0
    pooler.wait_log(f"C-.*closing because: {WORDS[setting][1]}")
    if pid is not None:
        pooler.wait_log(f"S-.*closing because: {WORDS[setting][2]}")
        wait_until(lambda: pg.backends(f"pid = {pid}") == 0, "the backend to be gone", 5)


def another_is_struck(pooler, setting, limit):
    """One who begins now: whoever is at rest here has been so for longer, and was let be."""
    started = time.monotonic()
    with pooler.wire(timeout=20) as other:
        if setting == "query_timeout":
            other.send(wire.query("SELECT pg_sleep(60)"))
        elif setting != "client_idle_timeout":
            other.query("BEGIN")
        struck(other, setting, started, limit)


def nobody_else_was_struck(pooler, setting):
    assert len(pooler.wait_log(f"C-.*closing because: {WORDS[setting][1]}")) == 1


# ---- query_timeout -----------------------------------------------------------

def run_query(client):
    client.send(wire.query("SELECT pg_sleep(60)"))


def run_extended(client):
    client.send(wire.simple_extended("SELECT pg_sleep(60)"), wire.sync())


def run_without_sync(client):
    """Answered but for the end of the batch, which only a Sync brings."""
    client.send(wire.simple_extended("SELECT 1"), wire.flush())
    assert client.trace("C") == "12TDC"


def run_behind_another(client):
    """The rest of the batch runs behind a query whose ReadyForQuery has come."""
    client.send(wire.query("SELECT 1"), wire.simple_extended("SELECT pg_sleep(60)"), wire.flush())
    assert client.trace() == "TDCZ"


def run_in_transaction(client):
    client.query("BEGIN")
    client.send(wire.query("SELECT pg_sleep(60)"))


def run_copy_in(client):
    client.send(wire.query("COPY t FROM STDIN"))
    assert client.trace("G") == "G"


def run_copy_out(client):
    client.send(wire.query("COPY (SELECT pg_sleep(0.05), repeat('x', 10000) FROM generate_series(1, 2000)) TO STDOUT"))


def run_large_result(client):
    """A client that does not read: its query still runs."""
    client.send(wire.query("SELECT repeat('x', 1000000) FROM generate_series(1, 500)"))


QUERIES = [run_query, run_extended, run_without_sync, run_behind_another, run_in_transaction, run_copy_in]


@pytest.mark.sanitizer
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("run", QUERIES, ids=lambda f: f.__name__)
def test_query_timeout(make_pooler, pg, mode, run):
    pooler = make(make_pooler, "query_timeout", mode)
    with bystander(pooler), pooler.wire() as client:
        pid = backend(client)
        started = time.monotonic()
        run(client)
        struck(client, "query_timeout", started)
        accounted(pooler, pg, "query_timeout", pid)
    with pooler.wire() as client:
        assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("run", [run_copy_out, run_large_result], ids=lambda f: f.__name__)
def test_query_timeout_in_the_middle_of_an_answer(make_pooler, pg, run):
    """Nothing can be said in the middle of a row; the connection ends, and so does the backend."""
    pooler = make(make_pooler, "query_timeout")
    with bystander(pooler), pooler.raw(receive_buffer=65536) as client:
        client.login("app", "app")
        pid = backend(client)
        run(client)
        wait_until(lambda: pooler.closes("query_timeout") > 0, "the timeout")
        accounted(pooler, pg, "query_timeout", pid)
        client.expect_closed()


def test_query_timeout_counts_the_wait(make_pooler, pg):
    """As in PgBouncer: also who waits for a server is struck, and the wait is part of the time."""
    pooler = make(make_pooler, "query_timeout", limit=2, default_pool_size=1)
    with pooler.wire() as busy, pooler.wire() as waits, pooler.wire() as later:
        busy.query("BEGIN")
        started = time.monotonic()
        waits.send(wire.query("SELECT 1"))
        struck(waits, "query_timeout", started, 2)
        accounted(pooler, pg, "query_timeout")
        started = time.monotonic()
        later.send(wire.query("SELECT pg_sleep(1.7)"))  # which would end in time if the time began anew with the server
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "a client to wait")
        time.sleep(max(0, 1 - (time.monotonic() - started)))
        busy.query("COMMIT")
        struck(later, "query_timeout", started, 2)


@pytest.mark.parametrize("mode", MODES)
def test_query_timeout_lets_the_quick_ones_be(make_pooler, pg, mode):
    """Many short ones, idle times, a pipeline and a COPY that goes on: each took less."""
    pooler = make(make_pooler, "query_timeout", mode, limit=2)
    with pooler.wire() as client:
        client.query("BEGIN")
        another_is_struck(pooler, "query_timeout", 2)
        assert client.query("COMMIT")[-1].payload == b"I"
        client.send(*[wire.query("SELECT pg_sleep(0.4)")] * 6)
        for _ in range(6):
            assert client.trace() == "TDCZ"
        client.send(wire.query("BEGIN; CREATE TEMP TABLE c (v text) ON COMMIT DROP; COPY c FROM STDIN"))
        client.until("G")
        for _ in range(6):
            time.sleep(0.4)
            client.send(wire.copy_data(b"x\n"))
        client.send(wire.copy_done())
        assert client.trace() == "CZ"
        # a message that takes long to arrive
        slow = wire.query("SELECT '" + "x" * 100000 + "'")
        for at in range(0, len(slow), 16000):
            client.send(slow[at:at + 16000])
            time.sleep(0.4)
        assert client.trace() == "TDCZ"
        client.query("ROLLBACK")
    nobody_else_was_struck(pooler, "query_timeout")


@pytest.mark.parametrize("mode", MODES)
def test_query_timeout_begins_when_the_query_is_there(make_pooler, mode):
    """One whose text takes longer than the limit to arrive, and which takes its time then."""
    pooler = make(make_pooler, "query_timeout", mode, limit=2)
    with pooler.wire() as client:
        slow = wire.query("SELECT pg_sleep(1.3), '" + "x" * 100000 + "'")
        for piece, pause in ((slow[:50000], 1), (slow[50000:-1], 1.2), (slow[-1:], 0)):
            client.send(piece)
            time.sleep(pause)
        assert client.trace() == "TDCZ"
    assert pooler.closes("query_timeout") == 0


# ---- transactions --------------------------------------------------------------

@pytest.mark.sanitizer
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("statement, status", [("SELECT 1", b"T"), ("SELECT 1/0", b"E"), ("SAVEPOINT a", b"T")])
def test_idle_transaction_timeout(make_pooler, pg, mode, statement, status):
    """In a failed transaction too; the row lock is free afterwards."""
    pooler = make(make_pooler, "idle_transaction_timeout", mode)
    with bystander(pooler), pooler.wire() as client, pg.connect() as direct:
        pid = backend(client)
        client.query("BEGIN")
        client.query("INSERT INTO t VALUES (77, 'lost')")
        started = time.monotonic()
        assert client.query(statement)[-1].payload == status
        struck(client, "idle_transaction_timeout", started)
        accounted(pooler, pg, "idle_transaction_timeout", pid)
        assert direct.execute("SELECT count(*) FROM t WHERE id = 77").fetchone()[0] == 0


@pytest.mark.parametrize("mode", MODES)
def test_idle_transaction_timeout_lets_the_busy_be(make_pooler, mode):
    """A long statement is not idle, nor is who speaks in time, nor who is outside of a transaction."""
    pooler = make(make_pooler, "idle_transaction_timeout", mode, limit=2)
    with pooler.wire() as client:
        client.query("BEGIN")
        client.query("SELECT pg_sleep(2.4)")
        for _ in range(6):
            time.sleep(0.4)
            assert client.value("SELECT 1") == "1"
        assert client.query("COMMIT")[-1].payload == b"I"
        another_is_struck(pooler, "idle_transaction_timeout", 2)
        assert client.value("SELECT 1") == "1"
    nobody_else_was_struck(pooler, "idle_transaction_timeout")


@pytest.mark.sanitizer
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["one statement", "many statements", "idle", "failed"])
def test_transaction_timeout(make_pooler, pg, mode, how):
    """The whole transaction counts, whatever it consists of; a single statement is one."""
    pooler = make(make_pooler, "transaction_timeout", mode)
    with bystander(pooler), pooler.wire() as client:
        pid = backend(client)
        started = time.monotonic()
        if how == "one statement":
            client.send(wire.query("SELECT pg_sleep(60)"))
        else:
            client.query("BEGIN")
        if how == "failed":
            client.query("SELECT 1/0")
        if how == "many statements":
            client.send(*[wire.query("SELECT pg_sleep(0.1)")] * 100)
        struck(client, "transaction_timeout", started)
        accounted(pooler, pg, "transaction_timeout", pid)


@pytest.mark.parametrize("mode", MODES)
def test_transaction_timeout_begins_anew(make_pooler, mode):
    pooler = make(make_pooler, "transaction_timeout", mode, limit=2)
    with pooler.wire() as client:
        for _ in range(5):
            assert client.query("BEGIN; SELECT pg_sleep(0.5); COMMIT")[-1].payload == b"I"
        another_is_struck(pooler, "transaction_timeout", 2)
        client.send(*[wire.query("SELECT pg_sleep(0.4)")] * 6)
        for _ in range(6):
            assert client.trace() == "TDCZ"
    nobody_else_was_struck(pooler, "transaction_timeout")


# ---- client_idle_timeout -------------------------------------------------------

@pytest.mark.sanitizer
@pytest.mark.parametrize("mode", [*MODES, "statement"])
@pytest.mark.parametrize("before", ["login", "query", "half a message"])
def test_client_idle_timeout(make_pooler, pg, mode, before):
    """With a server and without one. The server is as good as before."""
    pooler = make(make_pooler, "client_idle_timeout", mode, default_pool_size=1)
    with pooler.wire(user="alice") as other:
        pid = backend(other)
    with bystander_idle(pooler):
        started = time.monotonic()
        with pooler.wire() as client:
            if before == "query":
                pid = backend(client)
                started = time.monotonic()
                client.query("SELECT 1")
            if before == "half a message":
                client.send(wire.query("SELECT 1")[:4])
            struck(client, "client_idle_timeout", started)
        accounted(pooler, pg, "client_idle_timeout")
    if before == "query" and mode != "statement":
        with pooler.wire() as client:
            assert backend(client) == pid, "the server was not worth keeping"


@contextlib.contextmanager
def bystander_idle(pooler):
    with pooler.wire(user="alice") as other:
        yield
        assert other.value("SELECT 1") == "1"


@pytest.mark.parametrize("mode", MODES)
def test_client_idle_timeout_lets_the_busy_be(make_pooler, mode):
    """Not in a query, not in a transaction, not while waiting, not who speaks in time."""
    pooler = make(make_pooler, "client_idle_timeout", mode, limit=2, default_pool_size=1)
    with pooler.wire() as client:
        assert client.query("SELECT pg_sleep(2.4)")[-1].kind == "Z"
        client.query("BEGIN")
        with pooler.wire() as waits:
            waits.send(wire.query("SELECT 'waited'"))
            another_is_struck(pooler, "client_idle_timeout", 2)
            assert client.query("COMMIT")[-1].payload == b"I"
            client.goodbye()
            assert [m.row() for m in waits.until("Z") if m.kind == "D"] == [["waited"]]
            for _ in range(6):
                time.sleep(0.4)
                assert waits.value("SELECT 1") == "1"
            nobody_else_was_struck(pooler, "client_idle_timeout")


def test_client_idle_timeout_counts_from_the_answer(make_pooler, pg):
    """A client that reads slowly is not idle before it has its answer, though the server has gone back long ago."""
    # Answers of many sizes, so that the end of some is neither in PostgreSQL nor in the kernel. Reading begins when
    # a client that had been closed too early would have lost it.
    pooler = make_pooler(settings={"client_idle_timeout": LIMIT, "tcp_socket_buffer": 8192, "default_pool_size": 30},
                         databases={"app": f"host={pg.directory} port={pg.port} dbname=app"})
    with contextlib.ExitStack() as stack:
        clients = {rows: stack.enter_context(pooler.raw(receive_buffer=4096)) for rows in range(3, 64, 3)}
        for rows, client in clients.items():
            client.login("app", "app")
            client.send(wire.query(f"SELECT repeat('x', 1000) FROM generate_series(1, {rows})"))
        time.sleep(LIMIT + 3)
        for rows, client in clients.items():
            messages = client.expect_closed()
            assert "".join(m.kind for m in messages) == "T" + rows * "D" + "CZE"


def test_client_idle_timeout_is_not_for_the_console(make_pooler):
    pooler = make_pooler(settings={"client_idle_timeout": 0.5})
    with pooler.wire("admin", "pgbouncer") as console:
        for _ in range(2):
            another_is_struck(pooler, "client_idle_timeout", 0.5)
        assert console.rows("SHOW VERSION")


# ---- whose values, and when they change ------------------------------------------

def test_users_differ(make_pooler):
    """Each by its own; among idle clients the short ones go first, in whatever order they came."""
    pooler = make_pooler(settings={"client_idle_timeout": 60}, users={"app": "client_idle_timeout=2", "bob": "client_idle_timeout=1"})
    started = time.monotonic()
    with pooler.wire(user="alice") as alice, pooler.wire(user="app") as app, pooler.wire(user="bob") as bob:
        struck(bob, "client_idle_timeout", started, 1)
        struck(app, "client_idle_timeout", started, 2)
        assert alice.value("SELECT 1") == "1"


@pytest.mark.sanitizer
@pytest.mark.parametrize("setting", WORDS)
@pytest.mark.parametrize("how", ["RELOAD", "SET", "RELOAD of [users]"])
def test_values_change_under_way(make_pooler, setting, how):
    """A client that is in already is struck by the new value, and spared by the old."""
    pooler = make_pooler(settings={"pool_mode": "session"})
    with pooler.wire() as client:
        if setting == "query_timeout":
            client.send(wire.query("SELECT pg_sleep(60)"))
        elif setting != "client_idle_timeout":
            client.query("BEGIN")
        assert client.silent_for(0.5)
        if how == "SET":
            pooler.admin(f"SET {setting} = '600ms'")
        elif how == "RELOAD":
            pooler.settings[setting] = "600ms"
            pooler.reload()
        else:
            pooler.users["app"] = f"{setting}=600ms"
            pooler.reload()
        messages = client.expect_closed()
        assert messages[-1].sqlstate == WORDS[setting][0]
    with pooler.wire() as client:  # and off again
        if how == "SET":
            pooler.admin(f"SET {setting} = 0")
        else:
            pooler.settings[setting] = 0
            pooler.users.clear()
            pooler.reload()
        client.query("BEGIN; SELECT pg_sleep(1.2)")
        time.sleep(1)
        assert client.query("COMMIT")[-1].payload == b"I"


@pytest.mark.parametrize("where", ["users", "databases", "global"])
def test_query_wait_timeout_of_user_and_database(make_pooler, pg, where):
    """PgBouncer forgets to look when both global timeouts are 0 and only a user has one."""
    database, users, settings = f"{pg.dsn} dbname=app", {}, {"query_wait_timeout": 0, "query_timeout": 0, "default_pool_size": 1}
    if where == "users":
        users = {"app": "query_wait_timeout=1"}
    elif where == "databases":
        database += " query_wait_timeout=1"
    else:
        settings["query_wait_timeout"] = 1
    pooler = make_pooler(settings=settings, users=users, databases={"app": database})
    with pooler.wire() as busy, pooler.wire() as waits:
        busy.query("BEGIN")
        started = time.monotonic()
        waits.send(wire.query("SELECT 1"))
        error = waits.expect_closed()[-1]
        assert time.monotonic() - started >= 1
        assert (error.sqlstate, error.text) == ("53300", "query_wait_timeout")
        assert pooler.closes("query_wait_timeout") == 1
        assert busy.query("COMMIT")[-1].payload == b"I"


def test_query_wait_timeout_of_the_user_wins(make_pooler, pg):
    pooler = make_pooler(settings={"query_wait_timeout": 0.5, "default_pool_size": 1}, users={"app": "query_wait_timeout=0"},
                         databases={"app": f"{pg.dsn} dbname=app query_wait_timeout=0.5"})
    with pooler.wire() as busy, pooler.wire() as waits:
        busy.query("BEGIN")
        waits.send(wire.query("SELECT 1"))
        assert waits.silent_for(1.5)
        busy.query("COMMIT")
        assert waits.trace() == "TDCZ"


def test_a_pipeline_waits_for_each_server_anew(make_pooler):
    """query_wait_timeout bounds each wait, not the sum of the waits of what was sent at once."""
    pooler = make_pooler(settings={"query_wait_timeout": 2, "default_pool_size": 1})
    is_done = threading.Event()

    def load():
        with pooler.wire() as client:
            while not is_done.is_set():
                client.query("SELECT pg_sleep(0.2)")

    others = [threading.Thread(target=load) for _ in range(3)]
    with pooler.wire() as busy, pooler.wire() as client:
        busy.query("BEGIN")
        for other in others:
            other.start()
        wait_until(lambda: pooler.pool()["cl_waiting"] == 3, "the others to wait")
        client.send(*[wire.query("SELECT pg_sleep(0.2)")] * 4)
        wait_until(lambda: pooler.pool()["cl_waiting"] == 4, "all to wait")
        started = time.monotonic()
        busy.query("COMMIT")
        traces = [client.trace() for _ in range(4)]
        is_done.set()
        assert traces == ["TDCZ"] * 4 and time.monotonic() - started > 2
    for other in others:
        other.join()


def test_timeouts_let_an_idle_pooler_sleep(make_pooler, workers):
    """With timeouts in force and clients of every kind at rest, no worker wakes up more than a few times a second."""
    limits = {name: 60 for name in WORDS}
    pooler = make_pooler(settings={"pool_mode": "session", **limits})

    def turns():
        return [row["turns"] for row in pooler.show("WORKERS")]

    with pooler.wire() as fresh, pooler.wire() as linked, pooler.wire() as in_transaction:
        linked.query("SELECT 1")
        in_transaction.query("BEGIN")
        before = turns()
        time.sleep(2)
        woken = [after - was for was, after in zip(before, turns())]
        assert max(woken) < 40, f"a tick of 20 ms would be 100: {woken}"
        assert fresh.value("SELECT 1") == linked.value("SELECT 1") == in_transaction.value("SELECT 1") == "1"
