"""Timeouts before there is a session: of a client's login, of waiting, of connecting to a server; of pools; of TCP."""
import contextlib
import ctypes
import os
import socket
import struct
import threading
import time

import pytest

from harness import wire
from harness.fakeserver import error, one_row, ready
from harness.util import PATIENCE, wait_until

pytestmark = pytest.mark.own

LIMIT = 0.8


# ---- client_login_timeout --------------------------------------------------------

STARTUP = wire.startup_packet({"user": "app", "database": "app"})


def silent(client):
    pass


def after_ssl_request(client):
    assert client.ssl_request() == b"N"


def after_both_requests(client):
    assert client.gss_request() == b"N" and client.ssl_request() == b"N"


def half_a_startup_packet(client):
    client.send(STARTUP[:10])


def length_only(client):
    client.send(STARTUP[:3])


def drop_by_drop(client):
    """Each byte in time, and yet no end of it."""
    for byte in STARTUP[:5]:
        client.send(bytes([byte]))
        time.sleep(0.1)


def asked_for_the_password(client):
    client.send(STARTUP)
    assert client.receive().kind == "R"


def half_a_password(client):
    asked_for_the_password(client)
    client.send(wire.message("p", b"md5aaaa")[:7])


def half_a_scram_exchange(client):
    client.send(wire.startup_packet({"user": "scram", "database": "app"}))
    assert client.receive().kind == "R"
    first = b"n,,n=,r=abcdefghijklmnopqrstuvwx"
    client.send(wire.message("p", wire.cstr("SCRAM-SHA-256") + struct.pack("!I", len(first)) + first))
    assert client.receive().kind == "R"


def on_the_console(client):
    client.send(wire.startup_packet({"user": "admin", "database": "pgbouncer"}))
    assert client.receive().kind == "R"


STAGES = [silent, after_ssl_request, after_both_requests, half_a_startup_packet, length_only, drop_by_drop, asked_for_the_password,
          half_a_password, half_a_scram_exchange, on_the_console]


@pytest.mark.sanitizer
@pytest.mark.parametrize("stage", STAGES, ids=lambda f: f.__name__)
def test_client_login_timeout(make_pooler, stage):
    verifier = ("SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
                "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    pooler = make_pooler(settings={"client_login_timeout": LIMIT, "auth_type": "md5", "tcp_defer_accept": 0},
                         userlist={"app": "x", "scram": verifier, "admin": "x"})
    with pooler.wire(password="x") as other:
        started = time.monotonic()
        with pooler.raw() as client:
            stage(client)
            error = client.expect_closed()[-1]
        assert time.monotonic() - started >= LIMIT
        assert (error.kind, error.sqlstate, error.text) == ("E", "57014", "client_login_timeout")
        pooler.wait_log("C-.*closing because: client_login_timeout")
        assert other.value("SELECT 1") == "1", "who is in is not concerned"
        with pooler.wire("admin", "pgbouncer", password="x") as console:
            counts = {row[1]: row[3] for row in console.rows("SHOW ERRORS") if row[0] == "close"}
            assert counts["client_login_timeout"] == "1"


def test_client_login_timeout_while_the_server_is_down(make_pooler, fake):
    """LOGIN_WAIT: the first client of a pool waits for a server that lets nobody in. It is told the cause."""
    def starting_up(conversation):
        conversation.read_startup()
        conversation.hang()

    pooler = make_pooler(databases={"app": fake(starting_up).dsn}, settings={"client_login_timeout": LIMIT, "server_connect_timeout": 0.3})
    started = time.monotonic()
    with pytest.raises(wire.ServerError) as caught:
        pooler.wire()
    assert time.monotonic() - started >= LIMIT
    assert caught.value.sqlstate == "08001"
    assert caught.value.msg.text.startswith("client_login_timeout (server down)") and "connect timeout" in caught.value.msg.text
    assert pooler.closes("client_login_timeout_server_down") == 1
    assert pooler.closes("client_login_timeout") == 0


# what a client is told that has waited for a server in vain: words of DETAIL, and of HINT
CAUSES = {
    "busy": (None, "raise pool_size"),
    "paused": ("The pool is paused", "RESUME"),
    "database": ("max_db_connections", "raise max_db_connections"),
    "user": ("max_user_connections", "raise max_user_connections"),
    "unreachable": (None, "whether PostgreSQL is running"),
    "connecting": ("No connection to the server has been established", "whether PostgreSQL is running"),
}


@contextlib.contextmanager
def in_the_way(make_pooler, pg, fake, cause):
    """A pooler whose first client cannot get a server for this reason."""
    settings = {"client_login_timeout": LIMIT, "server_tls_sslmode": "disable",
                "max_db_connections": 1 if cause == "database" else 0, "max_user_connections": 1 if cause == "user" else 0,
                "server_connect_timeout": 0.2 if cause == "unreachable" else 60}
    databases = {"app": f"{pg.dsn} dbname=app", "app2": f"{pg.dsn} dbname=app2"}
    release = threading.Event()
    if cause in ("unreachable", "connecting"):
        databases["app"] = fake(lambda conversation: release.wait(20 * PATIENCE)).dsn
    pooler = make_pooler(settings=settings, databases=databases)
    with contextlib.ExitStack() as stack:
        if cause in ("database", "user"):
            other = stack.enter_context(pooler.wire("alice" if cause == "database" else "app", "app" if cause == "database" else "app2"))
            other.query("BEGIN")
        if cause == "paused":
            pooler.admin("PAUSE")
        stack.callback(release.set)
        yield pooler


@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause != "busy"])
def test_login_that_waits_in_vain_is_told_why(make_pooler, pg, fake, cause):
    """PgBouncer's words and SQLSTATE, and what is to be done about it."""
    detail, hint = CAUSES[cause]
    with in_the_way(make_pooler, pg, fake, cause) as pooler:
        with pytest.raises(wire.ServerError) as caught:
            pooler.wire(timeout=20)
        fields = caught.value.msg.fields()
        assert fields["C"] == "08001" and fields["M"].startswith("client_login_timeout (server down)")
        assert ("connect timeout" in fields["M"]) == (cause == "unreachable")
        assert hint in fields["H"] and (fields.get("D") is None if detail is None else detail in fields["D"]), fields
        assert (cause in ("unreachable", "connecting")) == ("PostgreSQL" in fields["H"])
        if detail:
            pooler.wait_log(f"closing because: client_login_timeout .server down.: .*{detail}")


@pytest.mark.parametrize("cause", ["busy", "paused", "database", "user"])
def test_query_that_waits_in_vain_is_told_why(make_pooler, cause):
    detail, hint = CAUSES[cause]
    pooler = make_pooler(settings={"query_wait_timeout": LIMIT, "default_pool_size": 1 if cause == "busy" else 5})
    with pooler.wire() as first, pooler.wire() as client:
        first.query("BEGIN" if cause == "busy" else "SELECT 1")
        with contextlib.ExitStack() as stack:
            if cause == "paused":
                pooler.admin("PAUSE")
            if cause in ("database", "user"):
                other = stack.enter_context(pooler.wire(*(("alice", "app") if cause == "database" else ("app", "app2"))))
                pooler.admin(f"SET max_{'db' if cause == 'database' else 'user'}_connections = 1")
                wait_until(lambda: other.query("BEGIN")[-1].payload == b"T", "a server for the other")
            client.send(wire.query("SELECT 1"))
            error = client.expect_closed()[-1].fields()
        assert (error["C"], error["M"]) == ("53300", "query_wait_timeout")
        assert hint in error["H"] and (error.get("D") is None if detail is None else detail in error["D"]), error


def test_client_login_timeout_off(make_pooler):
    pooler = make_pooler(settings={"client_login_timeout": 0, "auth_type": "md5"}, userlist={"app": "x"})
    with pooler.raw() as client:
        half_a_password(client)
        assert client.silent_for(1.5)


def test_client_login_timeout_is_reloadable(make_pooler):
    pooler = make_pooler(settings={"tcp_defer_accept": 0})
    with pooler.raw() as client:
        client.send(STARTUP[:10])
        assert client.silent_for(0.3)
        pooler.admin("SET client_login_timeout = '500ms'")
        assert client.expect_closed()[-1].sqlstate == "57014"


# ---- waiting -------------------------------------------------------------------

def test_query_wait_notify_is_said_once_and_not_early(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "query_wait_notify": 1, "query_wait_timeout": 3})
    with pooler.wire() as busy, pooler.wire() as waits, pooler.wire() as quick:
        busy.query("BEGIN")
        started = time.monotonic()
        waits.send(wire.query("SELECT 1"))
        notice = waits.receive()
        assert time.monotonic() - started >= 1
        assert (notice.kind, notice.sqlstate) == ("N", "00000") and "queued" in notice.text
        assert [m.kind for m in waits.expect_closed()] == ["E"]
        assert time.monotonic() - started >= 3
        quick.send(wire.query("SELECT 1"))
        busy.query("COMMIT")
        assert quick.trace() == "TDCZ", "who waits shorter hears nothing"


@pytest.mark.sanitizer
@pytest.mark.parametrize("action", ["disconnect", "cancel"])
def test_query_timeout_is_not_for_a_login(make_pooler, fake, action):
    """A server is asked whether it takes a client's settings, for longer than its query, which is there already, may take."""
    may_answer = threading.Event()

    def answer(sql):
        if sql == "stuck":
            return None
        if "work_mem" in sql:
            may_answer.wait()
            return wire.message("C", wire.cstr("SET")) + ready()
        return one_row(sql)

    def script(conversation):
        conversation.accept_login()
        conversation.serve_queries(answer)

    server = fake(script)
    pooler = make_pooler(databases={"app": server.dsn}, settings={"query_timeout": 1, "timeout_action": action, "cancel_wait_timeout": 1})
    with pooler.wire(timeout=60) as other, pooler.raw() as client:
        assert other.value("one") == "one"
        client.send(wire.startup_packet({"user": "app", "database": "app", "work_mem": "5MB"}) + wire.query("two"))
        wait_until(lambda: any("work_mem" in sql for sql in server.queries), "the question")
        other.send(wire.query("stuck"))
        other.expect_closed()  # it began later, and its time is over
        may_answer.set()
        client.finish_login("app")
        assert [m.row() for m in client.until() if m.kind == "D"] == [["two"]]


# ---- servers --------------------------------------------------------------------

def server_hangs(stage):
    def script(conversation):
        if stage == "connected":
            conversation.hang_until_closed()
        if stage == "TLS":
            conversation.read(8)
            conversation.send(b"S")
            conversation.hang_until_closed()
        if stage == "started":
            conversation.read_startup()
            conversation.hang_until_closed()
        if stage == "authenticated":
            conversation.read_startup()
            conversation.send(wire.message("R", struct.pack("!I", 0)))
            conversation.hang_until_closed()
        conversation.accept_login()
        conversation.receive()
        conversation.hang_until_closed()
    return script


@pytest.mark.sanitizer
@pytest.mark.parametrize("stage", ["connected", "TLS", "started", "authenticated", "connect_query"])
def test_server_connect_timeout(make_pooler, pg, fake, stage):
    server = fake(server_hangs(stage))
    pooler = make_pooler(databases={"app": f"{server.dsn} connect_query='SELECT 1'", "app2": f"{pg.dsn} dbname=app2"},
                         settings={"server_connect_timeout": 1, "query_wait_timeout": 1.5, "server_login_retry": 5,
                                   "server_tls_sslmode": "require" if stage == "TLS" else "disable" if stage != "connected" else "prefer"})
    started = time.monotonic()
    with pytest.raises(wire.ServerError) as caught:
        pooler.wire()
    assert time.monotonic() - started >= 1
    assert "connect timeout" in caught.value.msg.text
    pooler.wait_log("S-.*closing because: connect timeout")
    assert pooler.closes("connect_timeout") >= 1
    with pooler.wire(database="app2") as other:
        assert other.value("SELECT 1") == "1"


@pytest.mark.parametrize("what", ["check", "settings", "reset"])
def test_queries_of_ours_are_bounded(make_pooler, fake, what):
    """The check query, the SETs of a login and the reset query have server_connect_timeout too; nobody waits for ever."""
    words = {"check": "SELECT 'check'", "settings": "SET", "reset": "DISCARD ALL"}[what]

    def script(conversation):
        conversation.accept_login()
        conversation.serve_queries(lambda sql: None if sql.startswith(words) else one_row(sql))

    server = fake(script)
    pooler = make_pooler(databases={"app": server.dsn},
                         settings={"pool_mode": "session", "default_pool_size": 1, "server_connect_timeout": 1, "server_check_delay": 0,
                                   "server_check_query": "SELECT 'check'" if what == "check" else "", "server_login_retry": 0.2,
                                   "query_wait_timeout": 3})
    started = time.monotonic()
    with pooler.wire() as client:
        assert client.value("one") == "one"
    if what == "settings":
        with pytest.raises(wire.ServerError):
            pooler.wire(work_mem="5MB")
    else:
        with pooler.wire() as client:
            client.send(wire.query("two"))
            assert client.trace() == "TDCZ"
    assert time.monotonic() - started >= 1
    pooler.wait_log("S-.*closing because: (test|reset) query failed: timeout")


def test_server_login_retry(make_pooler, fake):
    """Attempts are made at growing intervals of up to server_login_retry, and the first success serves who waits."""
    times = []

    def script(conversation):
        conversation.read_startup()
        times.append(time.monotonic())
        if len(times) < 5:
            conversation.send(wire.message("E", b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"))
            return
        conversation.send(wire.message("R", struct.pack("!I", 0)), wire.message("S", wire.cstr("server_version") + wire.cstr("15.0")),
                          wire.message("K", struct.pack("!II", 1, 1)), ready())
        conversation.serve_queries()

    pooler = make_pooler(databases={"app": fake(script).dsn}, settings={"server_login_retry": 0.4, "query_wait_timeout": 10,
                                                                        "server_tls_sslmode": "disable"})
    with pooler.wire() as client:
        assert client.value("x") == "x"
    pauses = [after - before for before, after in zip(times, times[1:])]
    assert len(times) == 5 and min(pauses) >= 0.08 and min(pauses[2:]) >= 0.8 * 0.4, pauses


def test_cached_error(make_pooler, fake):
    """Who comes while nobody tries hears that the error is an older one; who caused the attempt does not."""
    def refuse(conversation):
        conversation.read_startup()
        conversation.send(error("28000", "not from here"))

    server = fake(refuse)
    pooler = make_pooler(databases={"app": server.dsn}, settings={"server_login_retry": 60})
    heard = []
    for _ in range(3):
        with pytest.raises(wire.ServerError) as caught:
            pooler.wire()
        heard.append((caught.value.sqlstate, caught.value.msg.text))
    assert server.connections == 1
    sqlstate, text = heard[0]
    assert text.startswith("server login failed: ") and "not from here" in text
    cause = text.removeprefix("server login failed: ")
    assert heard[1:] == [(sqlstate, f"server login has been failing, cached error: {cause} (server_login_retry)")] * 2


# ---- pools ----------------------------------------------------------------------

@pytest.mark.parametrize("setting, database", [("pool_idle_timeout", "app"), ("autodb_idle_timeout", "made_up")])
def test_pools_that_nobody_uses(make_pooler, pg, setting, database):
    """Their servers close and SHOW forgets them, after the timeout; the other of the two has no say."""
    pooler = make_pooler(settings={"pool_idle_timeout": 0, "autodb_idle_timeout": 0, setting: 1, "server_idle_timeout": 0},
                         databases={"app": f"{pg.dsn} dbname=app", "*": f"{pg.dsn} dbname=app2"})
    kept = {"app": "made_up", "made_up": "app"}[database]
    with pooler.wire(database=database) as client, pooler.wire(database=kept) as other:
        pid = client.value("SELECT pg_backend_pid()")
        assert other.value("SELECT 1") == "1"
        with pooler.wire("alice", database) as leaves:
            assert leaves.value("SELECT 1") == "1"
        wait_until(lambda: pooler.closes("pool_idle") == 1, "the server of another pool, which has no client any more, to be closed")
        assert client.value("SELECT pg_backend_pid()") == pid, "a pool with a client is in use"
        left = time.monotonic()
    wait_until(lambda: pg.backends(f"pid = {pid}") == 0, "the server to be closed")
    assert time.monotonic() - left >= 1
    wait_until(lambda: pooler.pool(database) is None, "the pool to be forgotten")
    wait_until(lambda: pooler.closes("pool_idle") >= 2, "the counter")
    assert pooler.closes("pool_idle") == 2
    assert pooler.pool(kept) is not None
    with pooler.wire(database=database) as client:
        assert client.value("SELECT 1") == "1"


# ---- TCP -------------------------------------------------------------------------

@contextlib.contextmanager
def socket_of(pid, port, is_peer):
    """A duplicate of a process's TCP socket: the one whose own (or whose peer's) port is this one."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            try:
                if not os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:"):
                    continue
            except FileNotFoundError:
                continue
            fd = libc.syscall(438, pidfd, int(number), 0)  # pidfd_getfd
            if fd < 0:
                pytest.skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
            sock = socket.socket(fileno=fd)
            with contextlib.suppress(OSError):
                if sock.family == socket.AF_INET and (sock.getpeername() if is_peer else sock.getsockname())[1] == port:
                    yield sock
                    return
            sock.close()
    finally:
        os.close(pidfd)
    raise AssertionError("no such socket")


OPTIONS = {
    "tcp_keepidle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
    "tcp_keepintvl": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 33),
    "tcp_keepcnt": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5),
    "tcp_user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 12345),
}


@pytest.mark.parametrize("side", ["client", "server"])
def test_tcp_options(make_pooler, pg, side):
    """On both sides; new values count for new connections."""
    pooler = make_pooler(settings={**{name: option[2] for name, option in OPTIONS.items()}, "tcp_socket_buffer": 40000})

    def read(client):
        client.query("BEGIN")
        port = client.sock.getsockname()[1] if side == "client" else pg.port
        with socket_of(pooler.pid, port, True) as sock:
            found = {name: sock.getsockopt(*option[:2]) for name, option in OPTIONS.items()}
            alive = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            buffers = [sock.getsockopt(socket.SOL_SOCKET, which) for which in (socket.SO_SNDBUF, socket.SO_RCVBUF)]
        client.query("COMMIT")
        return found, alive, buffers

    with pooler.wire() as client:
        assert read(client) == ({name: option[2] for name, option in OPTIONS.items()}, 1, [80000, 80000])
    pooler.settings.update({"tcp_keepalive": 0, "tcp_user_timeout": 5000, "tcp_socket_buffer": 50000})
    pooler.reload()
    with pooler.wire() as client:
        pg.terminate_backends("usename = 'app'")
        wait_until(lambda: not pooler.servers(), "the old server to go")
        found, alive, buffers = read(client)
        assert (found["tcp_user_timeout"], alive, buffers) == (5000, 0, [100000, 100000])


def test_tcp_defer_accept_is_reloadable(make_pooler):
    pooler = make_pooler(settings={"tcp_defer_accept": 1})
    for value in (1, 0, 1):
        pooler.settings["tcp_defer_accept"] = value
        pooler.reload()
        with socket_of(pooler.pid, pooler.port, False) as sock:
            assert (sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) > 0) == bool(value)
