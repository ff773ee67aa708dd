"""KILL, KILL_CLIENT, RECONNECT, WAIT_CLOSE, PAUSE, DISABLE: what they do, to whom, and how they are given up."""
import struct
import subprocess
import threading
import time

import psycopg
import pytest

from harness import pooler as pooler_module
from harness import util, wire
from harness.fakeserver import one_row, ready
from harness.load import Load
from harness.swarm import Swarm
from harness.util import PATIENCE, wait_until

pytestmark = [pytest.mark.own, pytest.mark.sanitizer]


@pytest.fixture
def admin(pooler):
    """Two consoles on the wire."""
    with pooler.raw(timeout=15) as one, pooler.raw(timeout=15) as two:
        yield one.login("admin", "pgbouncer"), two.login("admin", "pgbouncer")


def tag(console, command):
    messages = console.query(command)
    assert [m.kind for m in messages if m.kind in "EC"] == ["C"], messages
    return next(m.tag for m in messages if m.kind == "C")


def state(error):
    return [m.sqlstate for m in error if m.kind == "E"]


def backend(client):
    return client.value("SELECT pg_backend_pid()")


# ---- KILL

@pytest.mark.parametrize("what, others_live", [("app", True), ("", False)], ids=["one", "all"])
def test_kill(make_pooler, pg, what, others_live):
    """Idle, in a transaction, at a query, waiting, in session mode: all are told 57P01, and PostgreSQL sees them go."""
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app pool_size=2", "app2": f"{pg.dsn} dbname=app2"},
                         users={"alice": "pool_mode=session"})
    idle, open_one, busy, waiting, session = (pooler.wire(user=user) for user in ("app", "app", "app", "app", "alice"))
    other = pooler.wire(database="app2")
    other.query("BEGIN")
    idle.query("SELECT 1")
    session.query("SELECT 1")
    open_one.query("BEGIN")
    busy.send(wire.query("SELECT pg_sleep(100)"))
    wait_until(lambda: pooler.pool()["sv_active"] == 2, "a full pool")
    waiting.send(wire.query("SELECT 1"))
    wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "a client that waits")
    with pooler.raw(timeout=15) as console:
        console.login("admin", "pgbouncer")
        assert tag(console, f"KILL {what}".strip()) == "KILL"
        for client in (idle, open_one, busy, waiting, session):
            errors = [m for m in client.expect_closed() if m.kind == "E"]
            assert [(m.sqlstate, m.text) for m in errors] == [("57P01", "admin forced disconnect")]
            client.disconnect()
        assert pooler.servers() == [], "none is left when it returns"
        with pg.connect() as direct:  # PostgreSQL goes on with a query whose client has gone
            direct.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(100)%'")
        if others_live:
            assert other.value("SELECT 1") == "1"
        else:
            assert state(other.expect_closed()) == ["57P01"]
        other.disconnect()
        with pooler.wire() as newcomer:
            newcomer.send(wire.query("SELECT 1"))
            assert newcomer.silent_for(0.2), "paused"
            assert tag(console, f"RESUME {what}".strip()) == "RESUME"
            assert newcomer.trace() == "TDCZ"


def test_kill_of_a_database_that_nobody_has_used(pooler, admin):
    assert tag(admin[0], "KILL app2") == "KILL"
    with pooler.raw() as client:
        client.send(wire.startup_packet({"user": "bob", "database": "app2"}))
        assert client.silent_for(0.2)
        tag(admin[1], "RESUME app2")
        client.finish_login("bob")
        assert client.value("SELECT 1") == "1"


def test_kill_of_a_server_that_does_not_answer(make_pooler, fake):
    """Its login is given up, without a note against the database."""
    def script(conversation):
        conversation.read_startup()
        conversation.hang_until_closed()

    server = fake(script)
    pooler = make_pooler(databases={"app": server.dsn})
    with pooler.raw() as client, pooler.raw(timeout=8) as console:
        console.login("admin", "pgbouncer")
        client.send(wire.startup_packet({"user": "app", "database": "app"}))
        wait_until(lambda: [s["state"] for s in pooler.servers()] == ["new"], "a login that hangs")
        assert tag(console, "KILL app") == "KILL"
        assert state(client.expect_closed()) == ["57P01"]
        assert pooler.servers() == []


def test_kill_under_load(pooler, admin):
    """Whoever was there is told; whoever comes waits for RESUME and gets the right answers."""
    for _ in range(3):
        with Load(pooler, 6) as load:
            assert tag(admin[0], "KILL app") == "KILL"
            wait_until(lambda: len(load.errors) == 6, "the clients to be told")
        assert all("57P01" in error or "Closed" in error for error in load.errors), load.errors
        swarm = Swarm(pooler.port, 20, 5)
        thread = threading.Thread(target=swarm.run)
        thread.start()
        tag(admin[1], "RESUME app")
        thread.join(60 * util.PATIENCE)
        assert not swarm.errors and swarm.answers == 100


def test_kill_helps_a_pause_that_waits(pooler, admin):
    one, two = admin
    with pooler.wire() as client:
        client.query("BEGIN")
        one.send(wire.query("PAUSE app"))
        assert one.silent_for(0.2)
        assert tag(two, "KILL app") == "KILL"
        assert one.trace() == "CZ"
        assert state(client.expect_closed()) == ["57P01"]


# ---- KILL_CLIENT

def test_kill_client(pooler, admin):
    with pooler.wire() as client, pooler.wire() as other:
        other.query("SELECT 1")
        client.query("BEGIN")
        number = next(row["id"] for row in pooler.clients() if row["state"] == "active")
        assert tag(admin[0], f"KILL_CLIENT {number}") == "KILL_CLIENT"
        assert state(client.expect_closed()) == ["57P01"]
        assert other.value("SELECT 1") == "1"
        messages = admin[0].query(f"KILL_CLIENT {number}")
        assert state(messages) == ["42704"] and "no such client" in messages[0].text


def test_kill_client_may_be_a_console(pooler, admin):
    one, two = admin
    number = max(row["id"] for row in pooler.clients("pgbouncer") if row["application_name"] == "")
    rows = [row for row in pooler.clients("pgbouncer")]
    assert len(rows) == 3  # and the one that asks
    victim = sorted(row["id"] for row in rows)[0]
    assert number >= victim
    assert tag(two, f"KILL_CLIENT {victim}") == "KILL_CLIENT"
    assert state(one.expect_closed()) == ["57P01"]


# ---- RECONNECT, WAIT_CLOSE

@pytest.mark.parametrize("what", ["app", ""], ids=["one", "all"])
def test_reconnect_and_wait_close(pooler, admin, what):
    one, two = admin
    with pooler.wire() as client, pooler.wire() as idle, pooler.wire(database="app2") as other:
        client.query("BEGIN")
        before, idle_before, other_before = backend(client), backend(idle), backend(other)
        assert tag(one, f"RECONNECT {what}".strip()) == "RECONNECT"
        assert backend(idle) not in (before, idle_before)
        assert (backend(other) == other_before) == (what == "app")
        assert backend(client) == before
        assert [row["close_needed"] for row in pooler.servers() if row["state"] == "active"] == [1]
        one.send(wire.query(f"WAIT_CLOSE {what}".strip()))
        assert one.silent_for(0.2)
        assert tag(two, "WAIT_CLOSE app2") == "WAIT_CLOSE"
        client.query("COMMIT")
        messages = one.until()
        assert [m.tag for m in messages if m.kind == "C"] == ["WAIT_CLOSE"]
        assert backend(client) != before
        assert all(row["close_needed"] == 0 for row in pooler.servers())


def test_reconnect_during_a_server_login(make_pooler, fake):
    """A connection that was begun before the order is of the old kind: it serves nobody for long, and WAIT_CLOSE waits for it."""
    may_end, begun = threading.Event(), []

    def script(conversation):
        conversation.read_startup()
        begun.append(len(begun))
        mine = str(begun[-1])
        if mine == "0":
            assert may_end.wait(20 * PATIENCE)
        conversation.send(wire.message("R", struct.pack("!I", 0)), wire.message("S", wire.cstr("server_version") + wire.cstr("15.0")),
                          wire.message("K", struct.pack("!II", 1, 1)), ready())
        conversation.serve_queries(lambda sql: one_row(mine))

    pooler = make_pooler(databases={"app": fake(script).dsn}, settings={"server_tls_sslmode": "disable", "default_pool_size": 1})
    with pooler.raw() as client, pooler.raw() as console:
        console.login("admin", "pgbouncer")
        client.send(wire.startup_packet({"user": "app", "database": "app"}))
        wait_until(lambda: begun, "a login on a server")
        assert tag(console, "RECONNECT app") == "RECONNECT"
        console.send(wire.query("WAIT_CLOSE app"))
        assert console.silent_for(0.2), "it is not there yet, and is to go"
        may_end.set()
        client.finish_login("app")
        assert [m.tag for m in console.until() if m.kind == "C"] == ["WAIT_CLOSE"]
        assert client.value("SELECT which") == "1", "the one that was begun before the order"


def test_reconnect_under_load(pooler, admin):
    with Load(pooler) as load:
        for _ in range(10):
            assert tag(admin[0], "RECONNECT") == "RECONNECT"
            assert tag(admin[0], "WAIT_CLOSE") == "WAIT_CLOSE"
            load.more(20)
    assert not load.errors


def test_wait_close_after_reload(pooler, admin, pg):
    with pooler.wire() as client:
        client.query("BEGIN")
        pooler.databases["app"] = f"{pg.dsn} dbname=app2"
        pooler.reload()
        admin[0].send(wire.query("WAIT_CLOSE app"))
        assert admin[0].silent_for(0.2)
        client.query("COMMIT")
        assert admin[0].trace() == "CZ"
        assert client.value("SELECT current_database()") == "app2"


# ---- given up

@pytest.mark.parametrize("how", ["cancel", "disconnect", "reset"])
@pytest.mark.parametrize("what", ["app", ""], ids=["one", "all"])
def test_pause_given_up_goes_on(pooler, admin, what, how):
    one, two = admin
    with pooler.wire() as client, pooler.wire() as other:
        client.query("BEGIN")
        one.send(wire.query(f"PAUSE {what}".strip()))
        assert one.silent_for(0.2)
        other.send(wire.query("SELECT 1"))
        assert other.silent_for(0.1)
        if how == "cancel":
            one.cancel()
            assert state(one.until()) == ["57014"]
        else:
            getattr(one, how)()
        assert other.trace() == "TDCZ", "what was paused goes on"
        assert state(two.query(f"RESUME {what}".strip())) == ["55000"], "it is not paused"
        assert client.value("SELECT 1") == "1"


def test_pause_of_two_operators(pooler, admin):
    one, two = admin
    with pooler.wire() as client, pooler.wire() as other:
        client.query("BEGIN")
        for console in (one, two):
            console.send(wire.query("PAUSE app"))
            assert console.silent_for(0.1)
        one.cancel()
        assert state(one.until()) == ["57014"]
        other.send(wire.query("SELECT 1"))
        assert other.silent_for(0.2), "the other operator still wants it"
        two.cancel()
        assert state(two.until()) == ["57014"]
        assert other.trace() == "TDCZ"


def test_pause_resumed_by_another(pooler, admin):
    one, two = admin
    with pooler.wire() as client:
        client.query("BEGIN")
        one.send(wire.query("PAUSE"))
        assert one.silent_for(0.1)
        assert tag(two, "RESUME") == "RESUME"
        assert state(one.until()) == ["57014"]
        assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("how", ["cancel", "disconnect"])
def test_wait_close_given_up(pooler, admin, how):
    one, two = admin
    with pooler.wire() as client:
        client.query("BEGIN")
        before = backend(client)
        tag(two, "RECONNECT app")
        one.send(wire.query("WAIT_CLOSE app"))
        assert one.silent_for(0.2)
        if how == "cancel":
            one.cancel()
            assert state(one.until()) == ["57014"]
            assert tag(one, "SHOW VERSION") == "SHOW"
        else:
            one.disconnect()
        client.query("COMMIT")
        assert backend(client) != before, "what was ordered before stays ordered"


def test_kill_given_up(make_pooler, fake):
    """What it has closed stays closed; the one who gave the order has his console back."""
    def script(conversation):
        conversation.accept_login()
        conversation.receive()
        conversation.hang()  # does not close its end: KILL waits for that, for a second

    pooler = make_pooler(databases={"app": fake(script).dsn})
    with pooler.wire() as client, pooler.raw() as console:
        console.login("admin", "pgbouncer")
        client.send(wire.query("SELECT 1"))
        wait_until(lambda: pooler.pool()["sv_active"] == 1, "a query")
        began = time.monotonic()
        console.send(wire.query("KILL app"))
        assert state(client.expect_closed()) == ["57P01"]
        console.cancel()
        messages = console.until()
        # on a machine that is busy for a second KILL is done before the request arrives
        gave_up = state(messages) == ["57014"]
        assert gave_up or ([m.kind for m in messages] == ["C", "Z"] and time.monotonic() - began >= 1), messages
        assert tag(console, "SHOW VERSION") == "SHOW"
        # the pause stays, since the database's clients were thrown out; who comes waits
        assert pooler.show("DATABASES")[0]["paused"] == 1
        with pooler.wire() as late:
            late.send(wire.query("SELECT 1"))
            wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "who comes to wait")
        wait_until(lambda: not pooler.servers(), "the server to go")
        assert tag(console, "RESUME app") == "RESUME"
        assert pooler.show("DATABASES")[0]["paused"] == 0


# ---- who, and what

ORDERS = ["PAUSE", "RESUME", "DISABLE", "ENABLE", "RECONNECT", "KILL", "WAIT_CLOSE"]


def test_unknown_and_own_databases(pooler, admin):
    for order in ORDERS:
        messages = admin[0].query(f"{order} nowhere")
        assert state(messages) == ["3D000"] and "no such database: nowhere" in messages[0].text
        for name in ("pgbouncer", "pgsluice"):
            assert state(admin[0].query(f"{order} {name}")) == ["42809"]
    assert pooler.show("STATE")[0]["value"] == "yes"


def test_only_admins(pooler):
    with pooler.raw() as console, pooler.wire() as client:
        console.login("stats", "pgbouncer")
        for order in [*ORDERS, "KILL_CLIENT", "SHUTDOWN", "RELOAD"]:
            argument = {"KILL_CLIENT": " 1", "SHUTDOWN": " DRAIN", "RELOAD": ""}.get(order, " app")
            messages = console.query(order + argument)
            assert state(messages) == ["42501"] and messages[0].text == "admin access needed"
        assert client.value("SELECT 1") == "1"


def test_disable_refuses_newcomers_only(pooler, admin):
    with pooler.wire() as client:
        assert tag(admin[0], "DISABLE app") == "DISABLE"
        with pytest.raises(wire.ServerError, match="does not allow connections"):
            pooler.wire()
        assert client.value("SELECT 1") == "1"
        pooler.settings["default_pool_size"] = 4
        pooler.reload()
        with pytest.raises(wire.ServerError):
            pooler.wire(user="bob")
        assert tag(admin[0], "ENABLE app") == "ENABLE"
        pooler.wire().disconnect()


def test_orders_on_databases_of_the_star_line(make_pooler, pg):
    """One that nobody has asked for yet; also over a RELOAD."""
    pooler = make_pooler(databases={"*": pg.dsn})
    with pooler.raw() as console:
        console.login("admin", "pgbouncer")
        tag(console, "DISABLE app2")
        with pytest.raises(wire.ServerError, match="does not allow connections"):
            pooler.wire(database="app2")
        tag(console, "ENABLE app2")
        tag(console, "PAUSE app2")
        pooler.settings["default_pool_size"] = 4
        pooler.reload()
        with pooler.raw() as client, pooler.wire(database="app") as other:
            client.send(wire.startup_packet({"user": "app", "database": "app2"}))
            assert other.value("SELECT 1") == "1"
            assert client.silent_for(0.2)
            tag(console, "RESUME app2")
            client.finish_login("app")
            assert client.value("SELECT current_database()") == "app2"


def test_pause_over_reload(pooler, admin):
    """New users, new sizes: what is paused stays paused."""
    tag(admin[0], "PAUSE")
    pooler.settings["default_pool_size"] = 3
    pooler.databases["app"] += " pool_size=2"
    pooler.reload()
    with pooler.raw() as client:
        client.send(wire.startup_packet({"user": "alice", "database": "app"}))
        assert client.silent_for(0.2)
        tag(admin[1], "RESUME")
        client.finish_login("alice")


def test_one_stays_paused_when_the_whole_is_resumed(pooler, admin):
    with pooler.wire() as one, pooler.wire(database="app2") as two:
        tag(admin[0], "PAUSE app")
        tag(admin[0], "PAUSE")
        assert state(admin[0].query("PAUSE")) == ["55000"]
        tag(admin[0], "RESUME")
        one.send(wire.query("SELECT 1"))
        assert two.value("SELECT 1") == "1"
        assert one.silent_for(0.1)
        tag(admin[0], "RESUME app")
        assert one.trace() == "TDCZ"


def test_everything_under_load(pooler, admin, pg):
    """Orders of two operators and reloads in turn; nobody is killed, so nobody sees an error."""
    one, two = admin
    with Load(pooler, 8) as load:
        for turn in range(6):
            tag(one, "PAUSE app")
            tag(two, "RECONNECT")
            pooler.databases["app"] = f"{pg.dsn} dbname=app pool_size={1 + turn % 3}"
            pooler.reload()
            tag(two, "RESUME app")
            tag(one, "DISABLE app")
            tag(two, "WAIT_CLOSE")
            tag(one, "ENABLE app")
            load.more(20)
    assert not load.errors


@pytest.mark.parametrize("words, says", [
    (["reconnect"], "RECONNECT\n"), (["reconnect", "app"], "RECONNECT\n"), (["wait_close"], "WAIT_CLOSE\n"), (["kill", "app2"], "KILL\n"),
    (["disable", "app2"], "DISABLE\n"), (["enable", "app2"], "ENABLE\n"), (["pause"], "PAUSE\n")], ids=" ".join)
def test_pgsluicectl(pooler, words, says):
    done = subprocess.run([pooler_module.CONTROL, "--dsn", f"host=127.0.0.1 port={pooler.port} user=admin sslmode=disable", *words],
                          capture_output=True, text=True, timeout=20 * util.PATIENCE, check=False, cwd="/", **util.popen_user())
    assert (done.returncode, done.stdout, done.stderr) == (0, says, "")


def test_pgsluicectl_kill_client(pooler):
    with pooler.wire() as client:
        number = pooler.clients()[0]["id"]
        for expected in (0, 1):
            done = subprocess.run([pooler_module.CONTROL, "--dsn", f"host=127.0.0.1 port={pooler.port} user=admin sslmode=disable",
                                   "kill_client", str(number)], capture_output=True, text=True, timeout=20 * util.PATIENCE, check=False,
                                  cwd="/", **util.popen_user())
            assert done.returncode == expected, done.stderr
        assert "no such client" in done.stderr
        assert state(client.expect_closed()) == ["57P01"]


def test_help_knows_them(pooler):
    notices = []
    with pooler.console() as conn:
        conn.add_notice_handler(lambda diag: notices.append(diag.message_detail))
        conn.execute("SHOW HELP")
    for order in [*ORDERS, "KILL_CLIENT", "SHUTDOWN"]:
        assert f"\t{order} " in notices[0]
    with pytest.raises(psycopg.Error, match="KILL_CLIENT|invalid command"):
        pooler.admin("KILL_CLEINT 1")
