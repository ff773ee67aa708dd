"""PAUSE, RESUME, RELOAD, signals and shutdown, with clients at work."""
import contextlib
import os
import signal
import threading
import time

import psycopg
import pytest

from harness import pooler as pooler_module
from harness import wire
from harness.load import Load
from harness.util import PATIENCE, wait_until

pytestmark = pytest.mark.sanitizer


def test_pause_and_resume_under_load(pooler, pg):
    with Load(pooler) as load:
        for _ in range(3):
            pooler.admin("PAUSE")
            assert not [s for s in pooler.servers() if s["state"] == "active"]
            # each has had what was under way to it, and would be served, as there is room for five servers
            wait_until(lambda: pooler.pool()["cl_waiting"] == len(load.threads), "all clients to wait")
            before = load.answers
            assert pooler.pool()["cl_waiting"] == len(load.threads)
            assert load.answers == before
            pooler.admin("RESUME")
            load.more()
    assert not load.errors


def test_pause_waits_for_the_transaction(pooler):
    with pooler.wire() as client, pooler.wire() as other:
        client.query("BEGIN")
        done = threading.Event()

        def pause():
            pooler.admin("PAUSE app")
            done.set()

        thread = threading.Thread(target=pause)
        thread.start()
        wait_until(lambda: pooler.show("DATABASES")[0]["paused"] == 1, "the order to be taken")
        other.send(wire.query("SELECT 2"))
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "the other to wait")
        assert not done.is_set()
        assert client.value("SELECT 1") == "1"
        client.query("COMMIT")
        assert done.wait(10 * PATIENCE)
        thread.join()
        assert pooler.pool()["cl_waiting"] == 1
        pooler.admin("RESUME app")
        assert other.trace() == "TDCZ"


def test_pause_of_one_database_leaves_the_other_alone(pooler):
    with pooler.wire() as one, pooler.wire(database="app2") as two:
        one.query("SELECT 1")
        pooler.admin("PAUSE app")
        one.send(wire.query("SELECT 1"))
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "the client to wait")
        assert two.value("SELECT 1") == "1"
        assert pooler.pool()["cl_waiting"] == 1
        pooler.admin("RESUME app")
        assert one.trace() == "TDCZ"


@pytest.mark.own
def test_pause_given_up_by_its_admin(pooler):
    """An admin who goes away while PAUSE waits leaves no stuck command behind."""
    with pooler.wire() as client:
        client.query("BEGIN")
        with pooler.raw() as admin:
            admin.login("admin", "pgbouncer")
            admin.send(wire.query("PAUSE app"))
            assert admin.silent_for(0.2)
        if pooler_module.IS_OWN:  # the pause ends with its admin
            wait_until(lambda: pooler.show("DATABASES")[0]["paused"] == 0, "the end of the pause")
            with pytest.raises(psycopg.Error, match="is not paused"):
                pooler.admin("RESUME app")
            client.query("COMMIT")
        else:
            client.query("COMMIT")
            with contextlib.suppress(psycopg.Error):
                pooler.admin("RESUME app")
        assert client.value("SELECT 1") == "1"


def test_new_pool_of_a_paused_pooler_waits_too(pooler):
    pooler.admin("PAUSE")
    client = pooler.raw()
    client.send(wire.startup_packet({"user": "bob", "database": "app2"}))
    assert client.silent_for(0.2)
    pooler.admin("RESUME")
    client.finish_login("bob")
    assert client.value("SELECT 1") == "1"
    client.disconnect()


def test_resume_of_what_is_not_paused_is_an_error(pooler):
    with pytest.raises(psycopg.Error):
        pooler.admin("RESUME app")


@pytest.mark.own
def test_signals_pause_and_resume(pooler):
    with pooler.wire() as client:
        client.query("SELECT 1")
        pooler.send_signal(signal.SIGUSR1)
        wait_until(lambda: any(row["key"] == "paused" and row["value"] == "yes" for row in pooler.show("STATE")), "the pause")
        client.send(wire.query("SELECT 1"))
        assert client.silent_for(0.1)
        pooler.send_signal(signal.SIGUSR2)
        assert client.trace() == "TDCZ"


def test_reload_under_load(pooler):
    with Load(pooler) as load:
        for size in (2, 8, 1, 5):
            pooler.settings["default_pool_size"] = size
            pooler.reload()
            assert pooler.config("default_pool_size") == str(size)
            load.more()
    assert not load.errors


def test_reload_by_signal(pooler):
    pooler.settings["query_wait_timeout"] = 77
    pooler.write_config()
    pooler.send_signal(signal.SIGHUP)
    wait_until(lambda: float(pooler.config("query_wait_timeout")) == 77, "the new value")


@pytest.mark.own
def test_reload_with_a_mistake_changes_nothing(pooler):
    with Load(pooler, 3) as load:
        good = pooler.config_text()
        with open(pooler.path("pgsluice.ini"), "a", encoding="utf-8") as file:
            file.write("\n[pgbouncer]\nno_such_setting = 1\n")
        try:
            pooler.admin("RELOAD")
        except psycopg.Error:
            pass
        load.more()
        with open(pooler.path("pgsluice.ini"), "w", encoding="utf-8") as file:
            file.write(good)
        pooler.admin("RELOAD")
        load.more()
    assert not load.errors


def test_reload_adds_and_changes_databases(pooler, pg):
    pooler.databases["new"] = f"{pg.dsn} dbname=app2"
    pooler.databases["app2"] = f"{pg.dsn} dbname=app"
    with pooler.wire(database="app2") as client:
        assert client.value("SELECT current_database()") == "app2"
        pooler.reload()
        wait_until(lambda: client.value("SELECT current_database()") == "app", "the changed database")
    with pooler.wire(database="new") as client:
        assert client.value("SELECT current_database()") == "app2"


def test_reload_removes_a_database(pooler):
    with pooler.wire(database="app2") as client:
        client.query("SELECT 1")
        del pooler.databases["app2"]
        pooler.reload()
        with pytest.raises(wire.ServerError, match="no such database"):
            pooler.wire(database="app2")


def test_console_under_load(pooler):
    """Rows are gathered from workers that are busy."""
    with Load(pooler) as load:
        for _ in range(5):
            for name in ("CLIENTS", "SERVERS", "POOLS", "STATS", "LISTS", "DATABASES", "CONFIG", "USERS"):
                pooler.show(name)
            assert len(pooler.clients()) == 6
        load.more()
    assert not load.errors


@pytest.mark.own
@pytest.mark.slow
def test_everything_at_once_for_a_while(make_pooler):
    """Load, reloads, pauses, servers that come and go and vanishing clients together; only wrong answers count."""
    pooler = make_pooler(settings={"server_lifetime": 0.5})
    deadline = time.monotonic() + 60
    with Load(pooler, 8) as load:
        while time.monotonic() < deadline:
            for command in ("PAUSE", "RESUME", "RELOAD", "SHOW CLIENTS"):
                pooler.admin(command)
            client = pooler.wire()
            client.query("BEGIN")
            client.reset()
            load.more(100)
    assert not load.errors


# ---- shutdown

def test_sigquit_ends_at_once(pooler):
    with pooler.wire() as client:
        client.query("BEGIN")
        pooler.send_signal(signal.SIGQUIT)
        assert pooler.wait_exit() in pooler.expected_status
        client.expect_closed()


@pytest.mark.own
def test_sigint_waits_for_servers(pooler):
    with pooler.wire() as client, pooler.wire() as idle:
        client.query("BEGIN")
        pooler.send_signal(signal.SIGINT)
        wait_until(lambda: pooler.log_lines("got SIGINT"), "the signal to be taken")
        assert pooler.is_running()
        assert client.value("SELECT 1") == "1"
        client.query("COMMIT")
        assert pooler.wait_exit() == 0
        idle.expect_closed()


@pytest.mark.own
def test_sigterm_waits_for_clients(pooler):
    with pooler.wire() as client:
        client.query("SELECT 1")
        pooler.send_signal(signal.SIGTERM)
        wait_until(lambda: not pooler.is_listening_now(), "the listener to close")
        assert client.value("SELECT 'still here'") == "still here"
        client.goodbye()
        assert pooler.wait_exit() == 0


@pytest.mark.own
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_at_once(pooler, first):
    with pooler.wire() as client:
        client.query("BEGIN")
        pooler.send_signal(first)
        wait_until(lambda: pooler.log_lines("got " + first.name), "the signal to be taken")
        assert pooler.is_running()
        pooler.send_signal(first)
        assert pooler.wait_exit() == 0


def test_shutdown_command(pooler):
    with pooler.wire() as client:
        client.query("BEGIN")
        with pooler.raw() as admin:
            admin.login("admin", "pgbouncer")
            admin.send(wire.query("SHUTDOWN"))
            assert pooler.wait_exit() in pooler.expected_status


@pytest.mark.own
@pytest.mark.parametrize("mode", ["WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS"])
def test_shutdown_modes(pooler, mode):
    client = pooler.wire()
    client.query("BEGIN")
    with pooler.raw() as admin:
        admin.login("admin", "pgbouncer")
        admin.send(wire.query(f"SHUTDOWN {mode}"))
        wait_until(lambda: not pooler.is_listening_now(), "the order to be taken")
        assert client.value("SELECT 1") == "1"
        client.query("COMMIT")
        if mode == "WAIT_FOR_CLIENTS":
            for _ in range(20):  # each answer is a turn in which it could have ended
                assert client.value("SELECT 1") == "1"
            assert pooler.is_running()
            client.goodbye()
        admin.disconnect()
        assert pooler.wait_exit() == 0
    client.disconnect()


@pytest.mark.own
def test_clients_of_a_shutdown_are_told(pooler):
    """57P01, so that drivers know it for what it is."""
    with pooler.wire() as client:
        client.query("SELECT 1")
        pooler.send_signal(signal.SIGQUIT)
        errors = [m.sqlstate for m in client.expect_closed() if m.kind == "E"]
        assert errors == ["57P01"] or (errors == [] and not pooler_module.IS_OWN)
        pooler.wait_exit()


@pytest.mark.own
def test_console_stays_reachable_over_the_unix_socket_while_draining(pooler):
    with pooler.wire() as client:
        client.query("BEGIN")
        pooler.send_signal(signal.SIGTERM)
        wait_until(lambda: not pooler.is_listening_now(), "the listener to close")
        with pooler.console(host=pooler.directory) as admin:
            assert admin.execute("SHOW VERSION").fetchone()


def test_log_is_reopened_on_sighup(make_pooler):
    pooler = make_pooler(start=False)
    pooler.settings["logfile"] = pooler.path("file.log")
    pooler.write_config()
    pooler.start()
    pooler.wire().disconnect()
    os.rename(pooler.path("file.log"), pooler.path("file.log.1"))
    pooler.send_signal(signal.SIGHUP)

    def line_in_the_new_file():
        pooler.wire(user="alice").disconnect()
        try:
            with open(pooler.path("file.log"), encoding="utf-8") as file:
                return "alice" in file.read()
        except FileNotFoundError:
            return False

    wait_until(line_in_the_new_file, "lines in a new log file", every=0.1)


@pytest.mark.own
def test_crash_leaves_a_backtrace(make_pooler):
    pooler = make_pooler()
    pooler.expect_trouble = True
    pooler.send_signal(signal.SIGSEGV)
    assert pooler.wait_exit() != 0
    text = pooler.log()
    assert "SEGV" in text or "Segmentation" in text or "signal 11" in text
    assert "pgsluice" in text and ("+0x" in text or "[0x" in text or "#0" in text)
