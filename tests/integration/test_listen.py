"""LISTEN and NOTIFY where servers are shared: one listening connection for all clients of a database and user."""
import asyncio
import contextlib
import os
import signal
import struct
import threading

import pytest

from harness import util
from harness.util import wait_until
from harness.wire import bind, close, describe, execute, flush, parse, query, simple_extended, sync

pytestmark = pytest.mark.own


@pytest.fixture
def pooler(make_pooler):
    return make_pooler(settings={"default_pool_size": 3})


class Listener:
    """A raw client that keeps the notifications among what it receives."""

    def __init__(self, wire):
        self.wire = wire
        self.heard = []
        self.warnings = []
        self.last_status = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.wire.disconnect()

    def take(self, msg):
        if msg.kind == "A":
            pid = struct.unpack("!I", msg.payload[:4])[0]
            channel, payload = msg.payload[4:].split(b"\0")[:2]
            self.heard.append((channel.decode(), payload.decode(), pid))
        elif msg.kind == "N":
            self.warnings.append((msg.fields()["S"], msg.text))
        return msg

    def until(self, kinds="Z"):
        messages = [self.take(msg) for msg in self.wire.until(kinds)]
        self.last_status = messages[-1].payload
        return [msg for msg in messages if msg.kind not in "ANS"]

    def query(self, sql):
        """Tags, and SQLSTATEs of errors."""
        self.wire.send(query(sql))
        return [msg.tag if msg.kind == "C" else msg.sqlstate for msg in self.until() if msg.kind in "CE"]

    def hear(self, count):
        """Reads until so many more have come."""
        count += len(self.heard)
        while len(self.heard) < count:
            self.take(self.wire.receive())

    def wait(self, payload):
        """Reads until a notification with this payload has come; the payloads before it."""
        while not any(heard[1] == payload for heard in self.heard):
            self.take(self.wire.receive())
        before = [heard[1] for heard in self.heard]
        self.heard = []
        return before[:before.index(payload)]


def listener(pooler, *channels, **kwargs):
    made = Listener(pooler.wire(**kwargs))
    for channel in channels:
        assert made.query(f"LISTEN {channel}") == ["LISTEN"]
    return made


def listening_servers(pg):
    return pg.backends("application_name = 'pgsluice (listen)'")


def direct(pg, user="app"):
    return pg.connect("app", user)


@pytest.mark.sanitizer
def test_listen_and_notify(pooler, pg):
    with listener(pooler, "news") as one, listener(pooler, "news", "other") as two, pooler.wire() as notifier, direct(pg) as outside:
        notifier.rows("NOTIFY news, 'a'")
        notifier.rows("SELECT pg_notify('other', 'b')")
        notifier.rows("NOTIFY news")
        outside.execute("NOTIFY news, 'end'")
        one.wait("end")
        two.wait("end")
        assert listening_servers(pg) == 1
    wait_until(lambda: not listening_servers(pg), "the listening connection to be closed")


def test_order_and_process_ids(pooler, pg):
    with listener(pooler, "news") as one, pooler.wire() as notifier, direct(pg) as outside:
        notifier.rows("NOTIFY news, 'a'")
        notifier.rows("SELECT pg_notify('news', 'b')")
        notifier.send(parse("", "SELECT pg_notify($1, $2)"), bind("", "", ["news", "c"]), execute(), sync())
        notifier.until()
        outside.execute("NOTIFY news, 'd'")
        one.query("NOTIFY news, 'end'")
        one.wire.send(query("SELECT 1"))
        one.until()
        while len(one.heard) < 5:
            one.take(one.wire.receive())
        assert one.heard == [("news", "a", notifier.pid), ("news", "b", notifier.pid), ("news", "c", notifier.pid),
                             ("news", "d", outside.info.backend_pid), ("news", "end", one.wire.pid)]


@contextlib.contextmanager
def listening_server_stopped(pg):
    """What is notified meanwhile comes when others have had the notifier's server."""
    with pg.connect() as conn:
        pid = conn.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'pgsluice (listen)'").fetchone()[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: util.is_stopped(pid), "the listening server to have stopped")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


NOTIFY = "SELECT pg_notify($1, $2)"
OTHER = "SELECT $1::text, $2::text"


@pytest.mark.parametrize("settings", [{}, {"max_prepared_statements": 0}])
def test_process_id_behind_another_parse(make_pooler, pg, settings):
    """Whose it is comes from the statement that is bound, not from the one that was parsed last."""
    pooler = make_pooler(settings={"default_pool_size": 1, **settings})
    batches = {
        "unnamed": [parse("", NOTIFY), parse("other", OTHER), bind("", "", ["news", "unnamed"]), execute()],
        "again": [parse("", NOTIFY), bind("p", "", ["news", "again"]), execute("p")],
        "named": [parse("own", NOTIFY), parse("", OTHER), bind("", "own", ["news", "named"]), execute()],
        "later": [parse("two", OTHER), bind("", "own", ["news", "later"]), execute()],
        "closed": [close("S", "own"), parse("own", NOTIFY), bind("p", "own", ["news", "closed"]), execute("p"), parse("", OTHER)],
    }
    with listener(pooler, "news") as one, pooler.wire() as notifier, pooler.wire() as next_one:
        for payload, batch in batches.items():
            with listening_server_stopped(pg):
                notifier.send(*batch, sync())
                assert "E" not in notifier.trace()
                for _ in range(2):
                    next_one.rows("SELECT 1")
            one.hear(1)
            assert one.heard.pop() == ("news", payload, notifier.pid)


@pytest.mark.parametrize("batch", [parse("s", "LISTEN new") + bind("", "s", ["too many"]) + execute() + sync(), parse("s", "nonsense") + query("LISTEN new") + sync()],
                         ids=["execute", "query"])
def test_a_wait_ends_when_its_batch_has_failed(make_pooler, pg, batch):
    """The server skips the LISTEN that has waited for its channel: who comes later and waits on is ended for it, not this one."""
    pooler = make_pooler(settings={"default_pool_size": 3, "query_wait_timeout": 1})
    with listener(pooler, "news"), pooler.wire() as one, pooler.wire() as two:
        with listening_server_stopped(pg):
            one.query("BEGIN")
            one.send(batch)
            assert [m.kind for m in one.until()][-2:] == ["E", "Z"]
            one.query("ROLLBACK")
            two.send(query("LISTEN new"))
            assert "no server connection is free" in two.receive().text
            assert one.value("SELECT 1") == "1"


@pytest.mark.parametrize("settings", [{}, {"max_prepared_statements": 0}])
def test_values_of_others_are_not_said(make_pooler, settings):
    """A value of a statement that does not notify is not what its client says, whatever it has parsed last."""
    pooler = make_pooler(settings={"default_pool_size": 1, **settings})
    with listener(pooler, "news") as one, pooler.wire() as notifier, pooler.wire() as next_one:
        next_one.send(parse("a", OTHER), parse("b", NOTIFY), bind("", "a", ["news", "x"]), execute(),
                      parse("", OTHER), parse("c", NOTIFY), bind("", "", ["news", "x"]), execute(),
                      close("S", "c"), parse("c", OTHER), parse("", NOTIFY), bind("", "c", ["news", "x"]), execute(), sync())
        assert "E" not in next_one.trace()
        notifier.send(parse("", NOTIFY), bind("", "", ["news", "x"]), execute(), sync())
        notifier.until()
        one.hear(1)
        assert one.heard.pop() == ("news", "x", notifier.pid)


def test_payloads_of_a_trigger(pooler, pg):
    """What nobody can see in a text is of the client that has the server; others have had it before."""
    with direct(pg) as owner:
        owner.execute("DROP TABLE IF EXISTS noted; CREATE TABLE noted (v text); CREATE OR REPLACE FUNCTION note() RETURNS trigger AS "
                      "$$ BEGIN PERFORM pg_notify('news', upper(NEW.v)); RETURN NEW; END $$ LANGUAGE plpgsql; "
                      "CREATE TRIGGER note AFTER INSERT ON noted FOR EACH ROW EXECUTE FUNCTION note()")
    with listener(pooler, "news") as one, pooler.wire() as first, pooler.wire() as second:
        for each, text in ((first, "a"), (second, "b"), (first, "c")):
            each.rows("SELECT 1")
            each.rows(f"BEGIN; INSERT INTO noted VALUES ('{text}')")
            each.rows("SELECT pg_sleep(0.01)")  # longer than the listening connection lags behind
            each.rows("COMMIT")
            one.hear(1)
        assert [heard[1:] for heard in one.heard] == [("A", first.pid), ("B", second.pid), ("C", first.pid)]


@pytest.mark.sanitizer
def test_statement_mode(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 2, "pool_mode": "statement"})
    with listener(pooler, "x") as one, pooler.wire() as notifier:
        notifier.rows("NOTIFY x, 'a'")
        one.query("UNLISTEN x; LISTEN y")
        notifier.rows("NOTIFY x, 'b'")
        notifier.rows("NOTIFY y, 'end'")
        assert one.wait("end") == ["a"]


# What a listener hears does not depend on whether there is a pooler: channel x is listened to, y is the end.
SCRIPTS = [
    ["LISTEN x"],
    ["BEGIN", "LISTEN x", "COMMIT"],
    ["BEGIN", "LISTEN x", "ROLLBACK"],
    ["BEGIN", "LISTEN x", "SELECT 1/0", "COMMIT"],
    ["BEGIN", "LISTEN x", "SAVEPOINT a", "SELECT 1/0", "ROLLBACK TO a", "COMMIT"],
    ["BEGIN", "SAVEPOINT a", "LISTEN x", "ROLLBACK TO SAVEPOINT a", "COMMIT"],
    ["BEGIN", "SAVEPOINT a", "LISTEN x", "SAVEPOINT a", "ROLLBACK TO a", "COMMIT"],
    ["BEGIN", "SAVEPOINT a", "LISTEN x", "SAVEPOINT a", "RELEASE a", "ROLLBACK TO a", "COMMIT"],
    ["BEGIN", "SAVEPOINT a", "LISTEN x", "RELEASE SAVEPOINT a", "COMMIT"],
    ["BEGIN", "SAVEPOINT a", "LISTEN x", "SAVEPOINT b", "UNLISTEN x", "ROLLBACK TO b", "COMMIT"],
    ["LISTEN x", "BEGIN", "UNLISTEN x", "ROLLBACK"],
    ["LISTEN x", "BEGIN", "UNLISTEN x", "COMMIT"],
    ["LISTEN x", "UNLISTEN *", "LISTEN y"],
    ["LISTEN x", "DISCARD ALL", "LISTEN y"],
    ["LISTEN x", "BEGIN", "UNLISTEN *", "LISTEN x", "LISTEN y", "COMMIT"],
    ["LISTEN x", "UNLISTEN x", "LISTEN x"],
    ["LISTEN x; UNLISTEN x"],
    ["LISTEN x; SELECT 1/0"],
    ["BEGIN; LISTEN x; COMMIT; SELECT 1/0"],
    ["BEGIN; LISTEN x", "SELECT 1; ROLLBACK; LISTEN x"],
    ["BEGIN; LISTEN x; ROLLBACK AND CHAIN; COMMIT"],
    ["SELECT 1; LISTEN x; SELECT 2"],
    ['LISTEN "X"', "/* LISTEN x */ SELECT 'LISTEN x'"],
    ["  -- a comment\n LISTEN X"],
    ["DO $$ BEGIN END $$; LISTEN x"],
    ["LISTEN"],
    ["LISTEN select"],
    ["BEGIN", "SELECT 1/0", "LISTEN x", "ROLLBACK"],
    ["BEGIN", "LISTEN x", "PREPARE TRANSACTION 'foo'"],
    ["BEGIN READ ONLY", "LISTEN x", "COMMIT"],
    ["START TRANSACTION", "LISTEN x", "END"],
    ["BEGIN", "LISTEN x", "ABORT"],
    ["BEGIN", "LISTEN x", "COMMIT AND CHAIN", "ROLLBACK"],
    ["BEGIN", "LISTEN x", "DEALLOCATE ALL", "COMMIT"],
]


def run_script(make_listener, notifier, script):
    """What the statements answer, and what is heard between the transactions."""
    with make_listener() as one:
        answers, all_heard = [], []
        assert one.query("LISTEN y") == ["LISTEN"]
        for i, statement in enumerate(script):
            answers.append(one.query(statement))
            if one.last_status == b"I" and statement not in ("UNLISTEN *", "DISCARD ALL"):
                notifier.execute(f"SELECT pg_notify('x', 'x{i}'), pg_notify('X', 'X{i}')")
                notifier.execute(f"NOTIFY y, 'y{i}'")
                all_heard += one.wait(f"y{i}")
        while one.last_status != b"I":
            answers.append(one.query("ROLLBACK"))
        notifier.execute("SELECT pg_notify('x', 'after'), pg_notify('X', 'After')")
        notifier.execute("NOTIFY y, 'end'")
        return answers, all_heard + one.wait("end")


@pytest.mark.sanitizer
def test_as_without_a_pooler(pooler, pg):
    from harness.wire import Wire  # pylint: disable=import-outside-toplevel

    def bare():
        return Listener(Wire(pg.address, pg.port, 10 * util.PATIENCE).login("app", "app"))

    with direct(pg) as notifier:
        for script in SCRIPTS:
            assert run_script(lambda: listener(pooler), notifier, script) == run_script(bare, notifier, script), script


def extended(one, *messages):
    one.wire.send(*messages, sync())
    return [msg.tag if msg.kind == "C" else msg.sqlstate for msg in one.until() if msg.kind in "CE"]


def end_is_heard(one, notifier, channel="x"):
    notifier.execute(f"SELECT pg_notify('{channel}', 'a'), pg_notify('y', 'end')")
    return one.wait("end")


@pytest.mark.parametrize("statements", [200, 0])
def test_extended(make_pooler, pg, statements):
    pooler = make_pooler(settings={"default_pool_size": 2, "max_prepared_statements": statements})
    with listener(pooler, "y") as one, direct(pg) as notifier, pooler.wire() as other:
        assert extended(one, simple_extended("LISTEN x")) == ["LISTEN"]
        assert end_is_heard(one, notifier) == ["a"]
        assert extended(one, simple_extended("UNLISTEN x")) == ["UNLISTEN"]
        assert end_is_heard(one, notifier) == []
        if statements == 0:
            return
        # parsed here, bound on another server
        assert extended(one, parse("", "LISTEN x"), describe("S", "")) == []
        other.rows("BEGIN")
        assert extended(one, bind("", ""), execute()) == ["LISTEN"]
        other.rows("COMMIT")
        assert end_is_heard(one, notifier) == ["a"]
        assert extended(one, parse("off", "UNLISTEN x"), parse("on", "LISTEN x"), describe("S", "on")) == []
        assert end_is_heard(one, notifier) == ["a"]
        assert extended(one, bind("", "off"), execute()) == ["UNLISTEN"]
        assert end_is_heard(one, notifier) == []
        assert extended(one, bind("", "on"), execute()) == ["LISTEN"]
        assert end_is_heard(one, notifier) == ["a"]
        # one batch
        assert extended(one, bind("", "off"), execute(), bind("", "on"), execute(), bind("", "off"), execute()) == ["UNLISTEN", "LISTEN", "UNLISTEN"]
        assert end_is_heard(one, notifier) == []
        # an error takes all of its batch back
        assert extended(one, bind("", "on"), execute(), simple_extended("SELECT 1/0")) == ["LISTEN", "22012"]
        assert end_is_heard(one, notifier) == []
        # a pipeline
        one.wire.send(query("BEGIN"), bind("", "on"), execute(), sync(), query("SAVEPOINT a"), bind("", "off"), execute(), sync(),
                      query("ROLLBACK TO a"), query("COMMIT"), query("SELECT 1"))
        for _ in range(7):
            one.until()
        assert end_is_heard(one, notifier) == ["a"]
        one.wire.send(parse("", "UNLISTEN *"), bind("", ""), execute(), flush())
        assert [msg.kind for msg in one.until("C")] == list("12C")
        one.wire.send(simple_extended("LISTEN y"), sync())
        one.until()
        assert end_is_heard(one, notifier) == []


# What is bound in one batch and executed in a later one, of the same transaction. x is listened to before a script that begins with "on".
PORTALS = {
    "listen": [query("BEGIN"), parse("", "LISTEN x") + bind("p", "") + sync(), execute("p") + sync(), query("COMMIT")],
    "the unnamed portal": [query("BEGIN"), parse("", "LISTEN x") + bind("", "") + sync(), execute() + sync(), query("COMMIT")],
    "behind another parse": [query("BEGIN"), parse("", "LISTEN x") + bind("", "") + sync(), parse("", "SELECT 1") + execute() + sync(), query("COMMIT")],
    "behind another portal": [query("BEGIN"), parse("", "LISTEN x") + bind("", "") + parse("", "SELECT 1") + bind("", "") + sync(), execute() + sync(), query("COMMIT")],
    "behind a query": [query("BEGIN"), parse("", "LISTEN x") + bind("p", "") + bind("", "") + sync(), query("SELECT 1"), execute("p") + execute() + sync(), query("COMMIT")],
    "behind an empty query": [query("BEGIN"), parse("", "LISTEN x") + bind("", "") + sync(), query(""), execute() + sync(), query("COMMIT")],
    "never executed": [query("BEGIN"), parse("", "LISTEN x") + bind("p", "") + sync(), query("SELECT 1"), query("COMMIT")],
    "too late": [query("BEGIN"), parse("", "LISTEN x") + bind("p", "") + sync(), query("COMMIT"), execute("p") + sync(), query("BEGIN; SELECT 1"), execute("p") + sync(), query("COMMIT")],
    "closed": [query("BEGIN"), parse("", "LISTEN x") + bind("p", "") + sync(), close("P", "p") + execute("p") + sync(), query("COMMIT")],
    "closed, and another": [query("BEGIN"), parse("", "LISTEN x") + bind("p", "") + sync(), close("P", "p") + parse("", "LISTEN z") + bind("p", "") + execute("p") + sync(), query("COMMIT")],
    "twice": [query("BEGIN"), parse("", "LISTEN x") + bind("p", "") + sync(), execute("p") + execute("p") + sync(), query("COMMIT")],
    "unlisten": ["on", query("BEGIN"), parse("", "UNLISTEN x") + bind("p", "") + sync(), execute("p") + sync(), query("COMMIT")],
    "several": ["on", query("BEGIN"), parse("", "UNLISTEN x") + bind("p", "") + parse("", "LISTEN x") + bind("q", "") + parse("", "UNLISTEN *") + bind("r", "") + sync(),
                execute("r") + execute("q") + parse("", "SELECT 1") + bind("", "") + execute() + sync(), execute("p") + sync(), parse("", "LISTEN y") + bind("", "") + execute() + sync(), query("COMMIT")],
    "named statements": [parse("on", "LISTEN x") + parse("off", "UNLISTEN x") + sync(), query("BEGIN"), bind("p", "off") + bind("q", "on") + bind("", "off") + sync(),
                         execute() + execute("q") + sync(), query("COMMIT"), query("BEGIN"), bind("p", "off") + bind("q", "on") + sync(), execute("q") + sync(), execute("p") + sync(), query("COMMIT")],
    "rolled back": ["on", query("BEGIN"), parse("", "UNLISTEN x") + bind("p", "") + sync(), execute("p") + sync(), query("ROLLBACK")],
    "behind an error": [query("BEGIN"), parse("", "LISTEN x") + bind("p", "") + sync(), query("SELECT 1/0"), execute("p") + sync(), query("COMMIT")],
    "an error in its batch": [query("BEGIN"), parse("", "LISTEN x") + bind("p", "") + sync(), execute("p") + parse("", "SELECT 1/0") + bind("", "") + execute() + sync(), query("COMMIT")],
    "taken back by a savepoint": [query("BEGIN"), query("SAVEPOINT a"), parse("", "LISTEN x") + bind("p", "") + sync(), query("SELECT 1/0"), query("ROLLBACK TO a"), execute("p") + sync(),
                                  query("COMMIT")],
    "older than the savepoint": [query("BEGIN"), parse("", "LISTEN x") + bind("p", "") + sync(), query("SAVEPOINT a"), query("SELECT 1/0"), query("ROLLBACK TO a"), execute("p") + sync(),
                                 query("COMMIT")],
    "savepoints": [query("BEGIN"), query("LISTEN z"), parse("", "SAVEPOINT a") + bind("s", "") + parse("", "ROLLBACK TO a") + bind("r", "") + parse("", "LISTEN x") + bind("p", "") + sync(),
                   execute("s") + sync(), execute("p") + sync(), execute("r") + sync(), query("COMMIT")],
    "in a pipeline": [query("BEGIN") + query("COMMIT") + query("BEGIN") + parse("", "LISTEN x") + bind("p", "") + sync() + execute("p") + sync() + query("COMMIT")],
    "in a pipeline, twice": [query("BEGIN") + parse("", "LISTEN x") + bind("p", "") + sync() + execute("p") + sync() + query("COMMIT") +
                             query("BEGIN") + parse("", "UNLISTEN x") + bind("p", "") + sync() + execute("p") + sync() + query("COMMIT")],
    "too late, in a pipeline": [query("BEGIN") + parse("", "LISTEN x") + bind("p", "") + sync() + query("COMMIT") + execute("p") + sync(),
                                parse("", "LISTEN x") + bind("", "") + execute() + parse("", "LISTEN z") + bind("", "") + execute() + sync()],
    "outside of a transaction": [parse("", "LISTEN x") + bind("p", "") + sync(), execute("p") + sync()],
    "unlisten ahead of all": [query("UNLISTEN *"), query("BEGIN"), parse("", "UNLISTEN x") + bind("p", "") + sync(), query("LISTEN x; LISTEN y"), execute("p") + sync(), query("COMMIT")],
}


def play_portals(one, notifier, script):
    """What is answered, and whether x is heard in the end."""
    answers = []
    if script[0] == "on":
        script = ["LISTEN x; LISTEN y"] + script[1:]
    elif not script[0].startswith(query("UNLISTEN *")):
        script = ["LISTEN y"] + script
    for step in script:
        raw = query(step) if isinstance(step, str) else step
        one.wire.send(raw)
        at = 0
        while at < len(raw):
            if raw[at:at + 1] in (b"Q", b"S"):
                answers.append([(msg.kind, msg.tag if msg.kind == "C" else msg.sqlstate if msg.kind == "E" else "") for msg in one.until()])
            at += 1 + struct.unpack("!I", raw[at + 1:at + 5])[0]
    return answers, end_is_heard(one, notifier)


@pytest.mark.sanitizer
@pytest.mark.parametrize("statements", [200, 0])
def test_portals_as_without_a_pooler(make_pooler, pg, statements):
    from harness.wire import Wire  # pylint: disable=import-outside-toplevel
    pooler = make_pooler(settings={"default_pool_size": 1, "max_prepared_statements": statements})

    with direct(pg) as notifier:
        for name, script in PORTALS.items():
            if statements == 0 and name == "named statements":
                continue  # on a server for good
            with Listener(Wire(pg.address, pg.port, 10 * util.PATIENCE).login("app", "app")) as bare, listener(pooler) as one:
                assert play_portals(one, notifier, script) == play_portals(bare, notifier, script), name


@pytest.mark.sanitizer
def test_many_statements_that_are_kept_by_the_server(make_pooler):
    """What is remembered of LISTEN by name is bounded, and passing the bound ends nobody's session."""
    pooler = make_pooler(settings={"default_pool_size": 1, "max_prepared_statements": 0})
    with pooler.wire() as one:
        one.send(b"".join(parse(f"s{n}", "LISTEN a") for n in range(1000)) + bind("", "s0") + execute() + bind("", "s999") + execute() + sync())
        assert "E" not in [m.kind for m in one.until()]
        assert one.value("SELECT 1") == "1"


def test_only_between_transactions(pooler, pg):
    with listener(pooler, "x") as one, direct(pg) as notifier:
        one.query("BEGIN")
        for i in range(3):
            notifier.execute(f"NOTIFY x, '{i}'")
            one.query("SELECT 1")
        with listener(pooler, "x") as two:  # has heard them all
            notifier.execute("NOTIFY x, 'end'")
            two.wait("end")
        one.query("SELECT 2")
        assert one.heard == []
        one.query("COMMIT")
        assert one.wait("end") == ["0", "1", "2"]


def test_a_listen_in_a_transaction_misses_nothing(pooler, pg):
    """What is committed after the LISTEN has taken effect is heard, and nothing after a rollback."""
    with listener(pooler, "y") as one, direct(pg) as notifier:
        for i in range(50):
            one.query("BEGIN")
            one.query("LISTEN x")
            notifier.execute("NOTIFY x, 'early'")
            notifier.execute("NOTIFY y, 'sync'")
            one.query("COMMIT" if i % 2 == 0 else "ROLLBACK")
            notifier.execute("NOTIFY x, 'late'")
            notifier.execute("NOTIFY y, 'end'")
            heard = one.wait("end")
            heard = [text for text in heard if text != "sync"]
            # early may be heard when it comes in while the COMMIT is under way
            assert heard in ([["late"], ["early", "late"]] if i % 2 == 0 else [[]]), i
            one.query("UNLISTEN x")


@pytest.mark.sanitizer
@pytest.mark.parametrize("pool_size", [3, 20])
def test_many(make_pooler, pg, workers, pool_size):
    """Each listener hears each notification exactly once, in the order of each notifier; and from whom."""
    listeners, notifiers, rounds = 50, 20, 50
    if util.PATIENCE > 2:
        listeners, notifiers, rounds = 20, 10, 20
    pooler = make_pooler(settings={"default_pool_size": pool_size})
    wrong = []
    ready = threading.Barrier(listeners + notifiers)
    pids = {}

    def listen(number):
        try:
            with listener(pooler, "load", f"own{number}", timeout=60) as one:
                ready.wait(60 * util.PATIENCE)
                while len(one.heard) < notifiers * rounds:
                    one.take(one.wire.receive())
                    if number % 5 == 0 and len(one.heard) % 97 == 0:
                        one.query("SELECT 1")
                seen = {}
                for channel, payload, pid in one.heard:
                    who, count = payload.split()
                    if channel != "load" or seen.get(who, -1) + 1 != int(count) or pids[who] != pid:
                        wrong.append((number, channel, payload, pid, pids[who]))
                    seen[who] = int(count)
        except Exception as error:  # pylint: disable=broad-except
            wrong.append((number, repr(error)))
            ready.abort()

    def notify(number):
        try:
            with pooler.wire(timeout=60) as one:
                pids[f"n{number}"] = one.pid
                ready.wait(60 * util.PATIENCE)
                for i in range(rounds):
                    if i % 2 == 0:
                        one.rows(f"NOTIFY load, 'n{number} {i}'")
                    else:
                        one.send(parse("", "SELECT pg_notify('load', $1)"), bind("", "", [f"n{number} {i}"]), execute(), sync())
                        one.until()
        except Exception as error:  # pylint: disable=broad-except
            wrong.append((number, repr(error)))
            ready.abort()

    threads = [threading.Thread(target=listen, args=(i,)) for i in range(listeners)]
    threads += [threading.Thread(target=notify, args=(i,)) for i in range(notifiers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:5]
    assert listening_servers(pg) <= 1


def rows_of(pooler, channel):
    return [row for row in pooler.show("LISTENERS") if row["channel"] == channel]


def test_show_listeners(pooler, pg):
    with listener(pooler, "x") as one, listener(pooler, "x"), direct(pg) as notifier:
        notifier.execute("NOTIFY x, 'end'")
        one.wait("end")
        rows = rows_of(pooler, "x")
        assert sum(row["clients"] for row in rows) == 2
        assert {(row["database"], row["user"], row["state"], row["queued_bytes"]) for row in rows} == {("app", "app", "listening", 0)}
        assert any(row["notifications"] == 1 for row in rows)
        one.query("BEGIN")
        one.query("LISTEN z")
        assert sum(row["clients"] for row in rows_of(pooler, "z")) == 0
        one.query("COMMIT")
        assert sum(row["clients"] for row in rows_of(pooler, "z")) == 1
    wait_until(lambda: not pooler.show("LISTENERS"), "the channels to go")


@pytest.mark.sanitizer
def test_the_connection_is_lost(pooler, pg):
    with listener(pooler, "x", "y") as one, listener(pooler, "x") as two, direct(pg) as notifier:
        pg.terminate_backends("application_name = 'pgsluice (listen)'")
        for each in (one, two):
            while not each.warnings:
                each.take(each.wire.receive())
            assert each.warnings == [("WARNING", "notifications may have been missed")]
        notifier.execute("NOTIFY x, 'end'")
        assert one.wait("end") == two.wait("end") == []
        assert listening_servers(pg) == 1


@pytest.mark.sanitizer
def test_pause_and_resume(pooler, pg):
    with listener(pooler, "x") as one, direct(pg) as notifier:
        pooler.admin("PAUSE app")
        wait_until(lambda: not listening_servers(pg), "the listening connection to be closed")
        notifier.execute("NOTIFY x, 'missed'")
        pooler.admin("RESUME app")
        while not one.warnings:
            one.take(one.wire.receive())
        notifier.execute("NOTIFY x, 'end'")
        assert one.wait("end") == []


def test_listen_while_paused(pooler, pg):
    with pooler.wire() as raw, direct(pg) as notifier:
        one = Listener(raw)
        pooler.admin("PAUSE app")
        raw.send(query("LISTEN x"))
        assert raw.silent_for(0.5)
        pooler.admin("RESUME app")
        assert [msg.tag for msg in one.until() if msg.kind == "C"] == ["LISTEN"]
        notifier.execute("NOTIFY x, 'end'")
        assert one.wait("end") == [] and not one.warnings


def test_cancel_while_it_waits(pooler):
    with pooler.wire() as raw:
        pooler.admin("PAUSE app")
        raw.send(query("LISTEN x"))
        wait_until(lambda: rows_of(pooler, "x"), "the channel to be asked for")
        raw.cancel()
        messages = raw.until()
        assert (messages[0].sqlstate, messages[-1].payload) == ("57014", b"I")
        wait_until(lambda: not rows_of(pooler, "x") or rows_of(pooler, "x")[0]["clients"] == 0, "nobody to wait for it")
        pooler.admin("RESUME app")
        assert raw.rows("SELECT 1") == [["1"]]


def test_listening_pool_is_kept(make_pooler, pg):
    """Neither idle timeouts nor lifetimes end the connection, while somebody listens."""
    pooler = make_pooler(settings={"default_pool_size": 3, "server_idle_timeout": 1, "server_lifetime": 1, "pool_idle_timeout": 1})
    with listener(pooler, "x") as one, direct(pg) as notifier:
        wait_until(lambda: len(pooler.servers()) == 1, "the other servers to be closed", 15)
        pooler.wait_log("server lifetime over|server idle timeout")
        notifier.execute("NOTIFY x, 'end'")
        assert one.wait("end") == [] and not one.warnings


def test_two_users_and_encodings(pooler, pg):
    """A connection for each user; names are PostgreSQL's: folded, quoted, cut."""
    long = "ä" * 40
    with listener(pooler, 'Folded', '"Quoted ""x"""', f'"{long}"') as one, listener(pooler, "folded", user="alice") as two, direct(pg) as notifier:
        assert listening_servers(pg) == 2
        for channel in ("folded", 'Quoted "x"', long[:31]):
            notifier.execute("SELECT pg_notify(%s, 'ö')", (channel,))
        notifier.execute("NOTIFY folded, 'end'")
        assert one.wait("end") == ["ö"] * 3
        assert two.wait("end") == ["ö"]


def test_reload_removes_the_database(pooler, pg):
    with listener(pooler, "x") as one, listener(pooler, "x", database="app2") as two:
        del pooler.databases["app"]
        pooler.write_config()
        pooler.admin("RELOAD")
        assert one.wire.expect_closed()[-1].kind == "E"
        wait_until(lambda: listening_servers(pg) == 1, "the listening connection to be closed")
        with pg.connect("app2", "app") as notifier:
            notifier.execute("NOTIFY x, 'end'")
        two.wait("end")
        pooler.databases["app"] = f"{pg.dsn} dbname=app"
        pooler.write_config()
        pooler.admin("RELOAD")
        with listener(pooler, "x") as again, direct(pg) as notifier:
            notifier.execute("NOTIFY x, 'end'")
            again.wait("end")


@pytest.mark.sanitizer
def test_a_client_that_does_not_read(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 3, "listen_queue_size": 65536})
    with listener(pooler, "x") as good, listener(pooler, "x") as busy, listener(pooler, "x") as lazy, direct(pg) as notifier:
        busy.query("BEGIN")
        sent = 0
        for i in range(4000):
            notifier.execute("SELECT pg_notify('x', %s || repeat('z', 7000))", (f"{i:04}",))
            sent += 1
            good.take(good.wire.receive())
            if len(pooler.log_lines("listen_queue_size")) >= 4 and i >= 20:
                break
        while len(good.heard) < sent:
            good.take(good.wire.receive())
        assert [heard[1][:4] for heard in good.heard] == [f"{i:04}" for i in range(sent)]
        for each in (busy, lazy):
            last = [msg for msg in each.wire.expect_closed() if msg.kind == "E"]
            assert [(msg.sqlstate, msg.text) for msg in last] == [("53400", "too many notifications unread (listen_queue_size)")]


def test_a_client_vanishes(pooler, pg):
    for how in range(6):
        raw = pooler.wire()
        raw.send(query("LISTEN x") if how % 2 == 0 else query("BEGIN; LISTEN x"))
        if how < 4:
            raw.reset()
        else:
            raw.until()
            raw.reset()
    wait_until(lambda: not pooler.show("LISTENERS"), "the channels to go")
    wait_until(lambda: not listening_servers(pg), "the listening connection to be closed")
    with listener(pooler, "x") as one, direct(pg) as notifier:
        notifier.execute("NOTIFY x, 'end'")
        one.wait("end")


def test_no_server_is_left_listening(make_pooler, pg):
    """The servers that LISTEN was sent to do not listen when they are somebody else's."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with listener(pooler, "x", "y"), pooler.wire() as other:
        assert other.rows("SELECT pg_listening_channels()") == []


def test_limits(make_pooler, pg):
    """The listening connection counts, and does not give way."""
    pooler = make_pooler(settings={"default_pool_size": 5, "max_db_connections": 2})
    with listener(pooler, "x") as one, direct(pg) as notifier:
        clients = [pooler.wire() for _ in range(4)]
        for client in clients:
            client.send(query("SELECT pg_sleep(0.1)"))
        for client in clients:
            client.until()
        assert listening_servers(pg) == 1
        with pooler.wire(user="alice") as alice:
            alice.rows("SELECT 1")
        notifier.execute("NOTIFY x, 'end'")
        assert one.wait("end") == [] and not one.warnings
        for client in clients:
            client.disconnect()


def test_no_place_for_it(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 5, "max_db_connections": 1, "query_wait_timeout": 1})
    with pooler.wire() as holder, pooler.wire() as raw:
        holder.rows("BEGIN")
        raw.send(query("LISTEN x"))
        last = raw.expect_closed()[-1]
        assert (last.kind, last.text) == ("E", "LISTEN failed: no server connection is free")


def test_session_mode(make_pooler, pg):
    pooler = make_pooler(settings={"pool_mode": "session"})
    with listener(pooler, "x") as one, direct(pg) as notifier:
        assert not listening_servers(pg)
        notifier.execute("NOTIFY x, 'end'")
        one.wait("end")


def test_switched_off(make_pooler, pg):
    """LISTEN concerns the server that it happens to run on, as with PgBouncer."""
    pooler = make_pooler(settings={"default_pool_size": 1, "listen": 0})
    with listener(pooler, "x") as one:
        assert not listening_servers(pg)
        assert one.wire.rows("SELECT pg_listening_channels()") == [["x"]]


# ---- drivers

def test_psycopg(pooler):
    with pooler.connect() as conn, pooler.connect() as other:
        conn.execute("LISTEN x")
        for i in range(3):
            other.execute("SELECT pg_notify('x', %s)", (str(i),))
        heard = []
        for note in conn.notifies():
            heard.append((note.channel, note.payload, note.pid))
            if len(heard) == 3:
                break
        assert heard == [("x", str(i), other.info.backend_pid) for i in range(3)]


def test_asyncpg(pooler):
    asyncpg = pytest.importorskip("asyncpg")

    async def work():
        conn = await asyncpg.connect(host="127.0.0.1", port=pooler.port, user="app", database="app", ssl=False)
        other = await asyncpg.connect(host="127.0.0.1", port=pooler.port, user="app", database="app", ssl=False)
        heard = []
        enough = asyncio.Event()

        def on_notification(_, pid, channel, payload):
            heard.append((pid, channel, payload))
            if len(heard) == 5:
                enough.set()

        await conn.add_listener("x", on_notification)
        for i in range(5):
            await other.execute("SELECT pg_notify('x', $1)", str(i))
            assert await conn.fetchval("SELECT $1::int", i) == i
        await asyncio.wait_for(enough.wait(), 10 * util.PATIENCE)
        assert heard == [(other.get_server_pid(), "x", str(i)) for i in range(5)]
        await conn.remove_listener("x", on_notification)
        await conn.close()
        await other.close()

    asyncio.run(work())


@pytest.mark.sanitizer
def test_clients_that_leave_as_the_pooler_stops(make_pooler):
    """What one worker still had to say to another about their channels goes with it."""
    pooler = make_pooler()
    clients = [listener(pooler, f"c{n}") for n in range(60)]
    for n, client in enumerate(clients):
        client.wire.disconnect()
        if n == 30:
            pooler.send_signal(signal.SIGQUIT)
    assert pooler.wait_exit() == 0
