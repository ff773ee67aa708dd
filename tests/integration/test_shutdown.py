"""SHUTDOWN DRAIN, sigterm_action, the second signal, and what still works while the pooler shuts down."""
import contextlib
import os
import select
import signal
import time

import pytest

from harness import util, wire
from harness.load import Load
from harness.util import wait_until

pytestmark = [pytest.mark.own, pytest.mark.sanitizer]

MODES = ["WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS", "DRAIN"]


@pytest.fixture
def drained(make_pooler):
    """Transaction mode for app, session mode for alice; no pace."""
    return make_pooler(settings={"shutdown_rate": 0}, users={"alice": "pool_mode=session"})


def shut_down(pooler, mode="DRAIN"):
    """On the Unix socket, which stays open; the console is the caller's."""
    console = wire.Wire(pooler.directory, pooler.port, timeout=10 * util.PATIENCE)
    console.login("admin", "pgbouncer")
    messages = console.query(f"SHUTDOWN {mode}")
    assert [m.tag for m in messages if m.kind == "C"] == ["SHUTDOWN"], messages
    return console


def is_told(client):
    errors = [m for m in client.expect_closed() if m.kind == "E"]
    client.disconnect()
    return [(m.sqlstate, m.text) for m in errors] == [("57P01", "pooler is shutting down")]


# ---- DRAIN

def test_idle_clients_are_told_at_once(drained):
    clients = [drained.wire() for _ in range(5)]
    clients[0].query("SELECT 1")
    with shut_down(drained):
        assert all(is_told(client) for client in clients)
        assert drained.wait_exit() == 0


def test_in_a_transaction(drained):
    with drained.wire() as client, drained.wire() as busy, drained.wire() as idle:
        client.query("BEGIN")
        busy.send(wire.query("SELECT pg_sleep(0.5), 'slept'"))
        wait_until(lambda: drained.pool()["sv_active"] == 2, "both at work")
        with shut_down(drained):
            assert is_told(idle)
            assert client.value("SELECT 'still here'") == "still here"
            assert busy.until()[1].row()[1] == "slept"
            assert is_told(busy)
            client.query("COMMIT")
            assert is_told(client)
            assert drained.wait_exit() == 0


@contextlib.contextmanager
def drained_with_a_queue(make_pooler):
    """The only server is a client's, in a transaction, and another client waits for it; then comes the order."""
    pooler = make_pooler(settings={"shutdown_rate": 0, "default_pool_size": 1})
    with pooler.wire() as client, pooler.wire() as waiting:
        client.query("BEGIN")
        waiting.send(wire.query("SELECT 'served'"))
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "the queue")
        with shut_down(pooler):
            yield client
            assert is_told(client)
            assert waiting.until()[1].row() == ["served"]
            assert is_told(waiting)
            assert pooler.wait_exit() == 0


def test_pipelined_work_is_done_first(make_pooler):
    """What has been sent is answered, also what is kept back behind the transaction's end while others have their turn."""
    with drained_with_a_queue(make_pooler) as client:
        client.send(wire.query("COMMIT") + wire.query("SELECT 1") + wire.query("SELECT 2"))
        answers = [m.row() for _ in range(3) for m in client.until() if m.kind == "D"]
        assert answers == [["1"], ["2"]]


def test_waiting_clients_are_served(make_pooler):
    with drained_with_a_queue(make_pooler) as client:
        assert client.value("SELECT 1") == "1"
        client.query("COMMIT")


def test_session_mode(drained):
    """Between transactions, with a server of their own."""
    with drained.wire(user="alice") as idle, drained.wire(user="alice") as busy:
        idle.query("SELECT 1")
        busy.query("BEGIN")
        with shut_down(drained):
            assert is_told(idle)
            assert busy.value("SELECT 1") == "1"
            busy.query("ROLLBACK")
            assert is_told(busy)
            assert drained.wait_exit() == 0


@pytest.mark.parametrize("user", ["app", "alice"], ids=["transaction", "session"])
def test_copy_in_progress(drained, pg, user):
    with pg.connect() as direct:
        direct.execute("DROP TABLE IF EXISTS drain_copy; CREATE TABLE drain_copy (n int); GRANT ALL ON drain_copy TO PUBLIC")
    with drained.wire(user=user) as client:
        client.send(wire.query("COPY drain_copy FROM STDIN"))
        assert client.trace("G") == "G"
        client.send(wire.copy_data(b"1\n"))
        with shut_down(drained):
            client.send(wire.copy_data(b"2\n") * 1000)
            assert client.silent_for(0.2)
            client.send(wire.copy_data(b"3\n") + wire.copy_done())
            assert [m.tag for m in client.until() if m.kind == "C"] == ["COPY 1002"]
            assert is_told(client)
            assert drained.wait_exit() == 0


def test_pace(make_pooler):
    """Not more in a second than shutdown_rate says, however many could go."""
    pooler = make_pooler(settings={"shutdown_rate": 40, "shutdown_timeout": 0})
    clients = [pooler.wire() for _ in range(41)]
    began = time.monotonic()
    with shut_down(pooler):
        assert all(is_told(client) for client in clients)
        took = time.monotonic() - began
        # a tick's worth, of 50 ms, may go at once
        assert took >= (41 - 3) / 40 - 0.05, took
        assert pooler.wait_exit() == 0


def test_pace_holds_for_busy_clients(make_pooler):
    """Those who end a transaction all the time go no faster; meanwhile they are served."""
    pooler = make_pooler(settings={"shutdown_rate": 20})
    with Load(pooler, 20) as load:
        began = time.monotonic()
        with shut_down(pooler):
            wait_until(lambda: len(load.errors) == 20, "all clients to be told", 20)
            assert time.monotonic() - began >= (20 - 2) / 20 - 0.05
            assert all("57P01" in error or "Closed" in error for error in load.errors), load.errors
            assert pooler.wait_exit() == 0


def test_pace_may_be_changed_on_the_way(make_pooler):
    pooler = make_pooler(settings={"shutdown_rate": 1, "shutdown_timeout": 0})
    clients = [pooler.wire() for _ in range(40)]
    with shut_down(pooler) as console:
        console.query("SET shutdown_rate = 0")
        assert all(is_told(client) for client in clients)
        assert pooler.wait_exit() == 0


def test_shutdown_timeout(make_pooler):
    """In the middle of a transaction, paused, and with a client that waits in vain."""
    pooler = make_pooler(settings={"shutdown_timeout": 1, "default_pool_size": 1})
    with pooler.wire() as client, pooler.wire() as waiting:
        client.query("BEGIN")
        waiting.send(wire.query("SELECT 1"))
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "the queue")
        began = time.monotonic()
        with shut_down(pooler):
            assert is_told(client) and is_told(waiting)
            assert time.monotonic() - began >= 0.95
            assert pooler.wait_exit() == 0
    assert len(pooler.log_lines("shutdown_timeout: closing the last 2 clients")) == 1


@pytest.mark.parametrize("mode", ["DRAIN", "WAIT_FOR_SERVERS"])
def test_who_says_nothing_does_not_keep_the_process(make_pooler, mode):
    drained = make_pooler(settings={"shutdown_rate": 0, "shutdown_timeout": 0, "tcp_defer_accept": 0})
    with drained.raw() as silent, drained.wire() as client:
        wait_until(lambda: any(row["state"] == "login" for row in drained.show("CLIENTS")), "the silent one to be known")
        with shut_down(drained, mode):
            assert is_told(client)
            assert drained.wait_exit() == 0
            silent.expect_closed()


@pytest.mark.parametrize("mode", ["DRAIN", "WAIT_FOR_SERVERS"])
def test_login_in_progress(make_pooler, mode):
    """Asked for its password when it began: refused when it has given it. A console is let in."""
    pooler = make_pooler(settings={"auth_type": "plain", "shutdown_timeout": 0}, userlist={"app": "secret", "admin": "adm"})
    with pooler.raw() as late, pooler.raw() as console, pooler.raw() as client:
        client.login("app", "app", "secret")
        client.query("BEGIN")
        late.send(wire.startup_packet({"user": "app", "database": "app"}))
        console.send(wire.startup_packet({"user": "admin", "database": "pgbouncer"}))
        assert late.receive().kind == "R" and console.receive().kind == "R"
        with pooler.console(password="adm") as admin:
            admin.execute(f"SHUTDOWN {mode}")
        pooler.wait_log("shutting down, ")
        late.send(wire.message("p", wire.cstr("secret")))
        assert [m.sqlstate for m in late.expect_closed() if m.kind == "E"] == ["57P03"]
        console.send(wire.message("p", wire.cstr("adm")))
        console.finish_login("admin")
        assert console.rows("SHOW VERSION")
        client.query("COMMIT")
        assert is_told(client)
        assert pooler.wait_exit() == 0


def test_under_load_nothing_is_lost(drained):
    """Each client gets right answers until it is told."""
    with Load(drained, 12) as load:
        with shut_down(drained):
            wait_until(lambda: len(load.errors) == 12, "all clients to be told")
            assert all("57P01" in error or "Closed" in error for error in load.errors), load.errors
            assert drained.wait_exit() == 0


# ---- while it shuts down

@pytest.mark.parametrize("mode", MODES)
def test_console_and_newcomers(make_pooler, mode):
    pooler = make_pooler(settings={"shutdown_timeout": 0})
    with pooler.wire() as client:
        client.query("BEGIN")
        with shut_down(pooler, mode) as console:
            wait_until(lambda: not pooler.is_listening_now(), "the listener to close")
            assert console.rows("SHOW VERSION")
            with wire.Wire(pooler.directory, pooler.port) as other:
                other.login("admin", "pgbouncer")
                assert len(other.rows("SHOW SERVERS")) == 1
                assert [m.kind for m in other.query("RECONNECT")] == ["C", "Z"]
                assert [m.kind for m in other.query("RELOAD")] == ["T", "C", "Z"]
                assert [m.sqlstate for m in other.query(f"SHUTDOWN {mode}") if m.kind == "E"] == ["57P03"]
            with wire.Wire(pooler.directory, pooler.port) as late:
                with pytest.raises(wire.ServerError, match="pooler is shutting down") as error:
                    late.login("app", "app")
                assert error.value.sqlstate == "57P03"
            client.query("COMMIT")
            if mode == "WAIT_FOR_CLIENTS":
                client.goodbye()
            assert pooler.wait_exit() == 0


def test_paused_clients_of_a_drain_go_on_with_resume(drained):
    with drained.wire() as client, drained.wire() as other:
        client.query("SELECT 1")
        drained.admin("PAUSE app")
        client.send(wire.query("SELECT 'served'"))
        wait_until(lambda: drained.pool()["cl_waiting"] == 1, "the queue")
        with shut_down(drained) as console:
            assert is_told(other)
            assert client.silent_for(0.2)
            console.query("RESUME app")
            assert client.until()[1].row() == ["served"]
            assert is_told(client)
            assert drained.wait_exit() == 0


def test_a_mode_may_be_raised(make_pooler):
    pooler = make_pooler(settings={"shutdown_timeout": 0, "shutdown_rate": 1})
    with pooler.wire() as busy:
        idle = [pooler.wire() for _ in range(10)]
        busy.query("BEGIN")
        with shut_down(pooler, "WAIT_FOR_CLIENTS") as console:
            assert busy.value("SELECT 1") == "1"
            assert [m.kind for m in console.query("SHUTDOWN DRAIN")] == ["C", "Z"]
            assert [m.kind for m in console.query("SHUTDOWN WAIT_FOR_SERVERS")] == ["C", "Z"]
            assert all(is_told(client) for client in idle), "at once, not at a pace"
            assert busy.value("SELECT 1") == "1"
            console.send(wire.query("SHUTDOWN"))
            assert is_told(busy)
            assert pooler.wait_exit() == 0


# ---- signals

@pytest.mark.parametrize("action, waits_for_client, ends_in_transaction", [
    (None, True, False), ("wait_for_clients", True, False), ("wait_for_servers", False, False), ("drain", False, False),
    ("immediate", False, True)])
def test_sigterm_action(make_pooler, action, waits_for_client, ends_in_transaction):
    pooler = make_pooler(settings={"sigterm_action": action, "shutdown_timeout": 0, "drain_grace_time": 0})
    with pooler.wire() as client:
        client.query("BEGIN")
        pooler.send_signal(signal.SIGTERM)
        if not ends_in_transaction:
            pooler.wait_log("shutting down, ")
            assert client.value("SELECT 1") == "1"
            client.query("COMMIT")
        if waits_for_client:
            assert client.value("SELECT 1") == "1"
            client.goodbye()
        else:
            assert is_told(client)
        assert pooler.wait_exit() == 0


@pytest.mark.parametrize("action", ["wait_for_clients", "wait_for_servers", "drain"])
def test_second_signal_ends_at_once(make_pooler, action):
    pooler = make_pooler(settings={"sigterm_action": action, "shutdown_timeout": 0, "drain_grace_time": 0})
    with pooler.wire() as client:
        client.query("BEGIN")
        pooler.send_signal(signal.SIGTERM)
        pooler.wait_log("shutting down, ")
        assert client.value("SELECT 1") == "1"
        pooler.send_signal(signal.SIGTERM)
        assert is_told(client)
        assert pooler.wait_exit() == 0


AT_ONCE = 0.1 * util.PATIENCE  # seconds


def seconds_to_the_end(pooler, number):
    fd = os.pidfd_open(pooler.pid)
    try:
        began = time.monotonic()
        pooler.send_signal(number)
        assert select.select([fd], [], [], 20 * util.PATIENCE)[0], "it goes on"
        return time.monotonic() - began
    finally:
        os.close(fd)


def does_not_read(pooler):
    """There is more for it than the buffers hold; it cannot be told."""
    client = pooler.raw(receive_buffer=4096)
    client.login("app", "app")
    client.send(wire.query("SELECT repeat('x', 1000000) FROM generate_series(1, 50)"))
    wait_until(lambda: pooler.pool()["sv_active"] == 1, "its query to run")
    return client


FIRST = {"nothing before": None, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SHUTDOWN": "SHUTDOWN"}


@pytest.mark.parametrize("first, then", [("nothing before", signal.SIGQUIT), ("SIGTERM", signal.SIGTERM), ("SIGTERM", signal.SIGINT),
                                         ("SIGINT", signal.SIGTERM), ("SHUTDOWN", signal.SIGTERM), ("SIGTERM", signal.SIGQUIT)])
def test_at_once_is_at_once(make_pooler, first, then):
    """No client is waited for, neither one that does not close its side nor one that does not even read. Who reads
    later still finds the reason, also with input of its own on the way that nobody looked at."""
    took = []
    for _ in range(util.STRIKES):
        pooler = make_pooler(settings={"default_pool_size": 1, "tcp_defer_accept": 0})
        reads_later, talks, silent = pooler.wire(), pooler.wire(), pooler.raw()
        reads_later.query("SELECT 1")
        deaf = does_not_read(pooler)
        talks.send(wire.query("SELECT '" + "x" * 400000 + "'"))  # waits for a server; some of it is still in the kernel
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "the queue")
        if FIRST[first] == "SHUTDOWN":
            with pooler.console() as console:
                console.execute("SHUTDOWN")
        elif FIRST[first]:
            pooler.send_signal(FIRST[first])
        if FIRST[first]:
            pooler.wait_log("shutting down, ")
        took.append(seconds_to_the_end(pooler, then))
        assert pooler.wait_exit() == 0
        assert is_told(reads_later) and is_told(talks)
        assert [m.sqlstate for m in silent.expect_closed()] in (["57P01"], [])
        deaf.disconnect()
        if util.IS_SANITIZED or took[-1] < AT_ONCE:  # a sanitizer's own end takes long
            return
    raise AssertionError(f"it took {took} s")


def test_shutdown_waits_for_the_client_to_close(pooler):
    """The first one, by command, has the time to say goodbye properly."""
    with pooler.wire(user="alice") as client, pooler.console() as console:
        client.query("SELECT 1")
        began = time.monotonic()
        console.execute("SHUTDOWN")
        assert pooler.wait_exit() == 0
        assert time.monotonic() - began >= 0.9
        assert is_told(client)


def test_signal_during_a_drain_by_command(make_pooler):
    pooler = make_pooler(settings={"shutdown_timeout": 0})
    with pooler.wire() as client:
        client.query("BEGIN")
        with shut_down(pooler):
            assert client.value("SELECT 1") == "1"
            pooler.send_signal(signal.SIGTERM)
            assert is_told(client)
            assert pooler.wait_exit() == 0


def test_sigterm_action_is_a_setting_like_others(pooler):
    assert pooler.config("sigterm_action") == "wait_for_clients"
    pooler.admin("SET sigterm_action = drain")
    pooler.admin("SET drain_grace_time = 0")
    assert pooler.config("sigterm_action") == "drain"
    with pytest.raises(Exception, match="SET failed"):
        pooler.admin("SET sigterm_action = perhaps")
    with pooler.wire() as client:
        pooler.send_signal(signal.SIGTERM)
        assert is_told(client)
        assert pooler.wait_exit() == 0
