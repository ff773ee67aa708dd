"""What reviews found at the edges: crashes in threads, lines that come and go, commands given up, boot that fails."""
import ctypes
import os
import platform
import signal

import pytest

from harness import wire
from harness.util import wait_until
from harness.wire import ServerError

pytestmark = pytest.mark.own

TGKILL = {"x86_64": 234, "aarch64": 131}


def threads(pid):
    """{name: thread ids}"""
    found = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii") as file:
            found.setdefault(file.read().strip(), []).append(int(tid))
    return found


@pytest.mark.skipif(platform.machine() not in TGKILL, reason="number of tgkill")
def test_crash_of_a_worker_leaves_a_backtrace(make_pooler):
    """A signal that a crash raises kills without its handler in a thread that blocks it."""
    pooler = make_pooler()
    pooler.expect_trouble = True
    wait_until(lambda: "worker-0" in threads(pooler.pid), "the worker to have its name")
    worker = threads(pooler.pid)["worker-0"][0]
    assert ctypes.CDLL(None).syscall(TGKILL[platform.machine()], pooler.pid, worker, signal.SIGSEGV) == 0
    assert pooler.wait_exit() != 0
    text = pooler.log()
    assert "signal 11" in text or "SEGV" in text
    assert "pgsluice" in text and ("+0x" in text or "[0x" in text or "#0" in text)


def database_of(client):
    return client.value("SELECT current_database()")


def test_changed_fallback_line_replaces_servers(make_pooler, pg):
    """Databases that live by the * line follow it, and change over when a line of their own comes or goes."""
    pooler = make_pooler(databases={"*": f"{pg.dsn} dbname=app"})
    with pooler.wire(database="any") as client:
        assert database_of(client) == "app"
        for databases, expected in (({"*": f"{pg.dsn} dbname=app2"}, "app2"),
                                    ({"*": f"{pg.dsn} dbname=app2", "any": f"{pg.dsn} dbname=app"}, "app"),
                                    ({"*": f"{pg.dsn} dbname=app2"}, "app2")):
            pooler.databases = databases
            pooler.reload()
            wait_until(lambda: database_of(client) == expected, f"servers of {expected}")  # noqa: B023


def test_pool_idle_timeout_leaves_pools_that_keep_servers(make_pooler, pg):
    pooler = make_pooler(databases={"kept": f"{pg.dsn} dbname=app user=app min_pool_size=2", "left": f"{pg.dsn} dbname=app"},
                         settings={"pool_idle_timeout": 1})
    wait_until(lambda: len(pooler.servers("kept")) == 2, "two servers")
    for turn in range(1, 3):
        with pooler.wire(database="left") as client:
            client.query("SELECT 1")
        wait_until(lambda: pooler.closes("pool_idle") == turn, "the other pool's server to be closed")  # noqa: B023
    assert len(pooler.wait_log("kept/.* new connection to server", 2)) == 2


def test_pause_cancelled(pooler):
    """Ctrl-C in psql ends PAUSE, and what it had paused goes on."""
    with pooler.wire() as client, pooler.wire() as other, pooler.wire("admin", "pgbouncer") as admin:
        client.query("BEGIN")
        admin.send(wire.query("PAUSE"))
        assert admin.silent_for(0.2)
        admin.cancel()
        answer = admin.until("Z")
        assert [m.sqlstate for m in answer if m.kind == "E"] == ["57014"]
        assert other.value("SELECT 1") == "1"
        assert admin.rows("SHOW VERSION")


def test_cancel_of_nothing_on_the_console(pooler):
    with pooler.wire("admin", "pgbouncer") as admin:
        admin.cancel()
        assert admin.rows("SHOW VERSION")


@pytest.mark.parametrize("setting", ["logfile", "pidfile"])
def test_daemon_says_what_cannot_be_written(make_pooler, setting):
    pooler = make_pooler(start=False)
    pooler.settings.update({"logfile": pooler.path("log2"), "pidfile": pooler.path("pid"), setting: "/nonexistent/file"})
    pooler.write_config()
    result = pooler.run("-d", pooler.path("pgsluice.ini"))
    assert result.returncode == 1
    assert "/nonexistent/file" in result.stderr


def test_hint_fits_the_cause(make_pooler):
    pooler = make_pooler(databases={"app": "host=127.0.0.1 port=1"}, settings={"query_wait_timeout": 1})
    with pytest.raises(ServerError) as caught:
        pooler.wire()
    assert "refused" in caught.value.msg.text
    assert "pool_size" not in caught.value.msg.fields().get("H", "")


@pytest.mark.parametrize("line", ["postgres://u:s3cret@h/db", "postgres://u:s3cret@h/db?sslmode=require",
                                  "host=h password=two s3cret", "host=h password=two s3cret!=x"])
def test_mistake_in_a_line_does_not_print_its_password(make_pooler, line):
    pooler = make_pooler(start=False, databases={"app": line})
    result = pooler.run("--check", pooler.path("pgsluice.ini"))
    assert result.returncode == 1
    assert "pgsluice.ini:2: error:" in result.stderr
    assert "s3cret" not in result.stderr
