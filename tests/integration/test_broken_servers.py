"""Databases that are down, refuse, hang or die at each stage: a clear error in time, no spinning, and recovery."""
import socket
import ssl
import struct
import time

import psycopg
import pytest

from harness import wire
from harness.fakeserver import error, one_row, ready
from harness.util import PATIENCE, free_port, process_cpu_seconds, wait_until

SETTINGS = {"server_connect_timeout": 1, "query_wait_timeout": 2, "client_login_timeout": 4, "server_login_retry": 0.3}


def ask(pooler, timeout=12):
    """One client that logs in and asks; returns (error messages, seconds)."""
    started = time.monotonic()
    client = pooler.raw(timeout=timeout)
    errors = []
    try:
        client.login("app", "app")
        client.send(wire.query("SELECT 1"))
        errors = [m for m in client.expect_closed() if m.kind == "E"]
    except wire.ServerError as refused:
        errors = [refused.msg]
    finally:
        client.disconnect()
    return errors, time.monotonic() - started


def no_spinning(pooler, seconds=1.0, share=0.25):
    """The process uses little CPU while it can do nothing."""
    before = process_cpu_seconds(pooler.pid)
    time.sleep(seconds)
    assert process_cpu_seconds(pooler.pid) - before < seconds * share * PATIENCE


def hang_after_accept(conn):
    conn.hang_until_closed()


def hang_after_ssl_request(conn):
    conn.read(8)
    conn.hang_until_closed()


def hang_in_the_tls_handshake(conn):
    conn.read(8)
    conn.send(b"S")
    conn.hang_until_closed()


def hang_after_startup(conn):
    conn.read_startup()
    conn.hang_until_closed()


def hang_in_the_authentication(conn):
    conn.read_startup()
    conn.send(wire.message("R", struct.pack("!I", 3)))
    conn.hang_until_closed()


def hang_after_authentication(conn):
    conn.read_startup()
    conn.send(wire.message("R", struct.pack("!I", 0)))
    conn.hang_until_closed()


def hang_in_a_message(conn):
    conn.read_startup()
    conn.send(b"R\0\0\0\x08\0\0")
    conn.hang_until_closed()


def close_after_accept(conn):
    pass


def close_after_startup(conn):
    conn.read_startup()


def close_after_authentication(conn):
    conn.read_startup()
    conn.send(wire.message("R", struct.pack("!I", 0)))


def refuse_too_many(conn):
    conn.read_startup()
    conn.send(error("53300", "sorry, too many clients already"))


def refuse_starting_up(conn):
    conn.read_startup()
    conn.send(error("57P03", "the database system is starting up"))


def garbage_at_once(conn):
    conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    conn.hang_until_closed()


def garbage_after_startup(conn):
    conn.read_startup()
    conn.send(b"\xff" * 500)
    conn.hang_until_closed()


def unknown_authentication(conn):
    conn.read_startup()
    conn.send(wire.message("R", struct.pack("!I", 99)))
    conn.hang_until_closed()


def endless_message(conn):
    conn.read_startup()
    conn.send(b"S" + struct.pack("!I", 0x7FFFFFFF) + b"x" * 100_000)
    conn.hang_until_closed()


def negative_message(conn):
    conn.read_startup()
    conn.send(b"S" + struct.pack("!i", -5) + b"x" * 100)
    conn.hang_until_closed()


SCRIPTS = [hang_after_accept, hang_after_ssl_request, hang_in_the_tls_handshake, hang_after_startup, hang_in_the_authentication,
           hang_after_authentication, hang_in_a_message, close_after_accept, close_after_startup, close_after_authentication,
           refuse_too_many, refuse_starting_up, garbage_at_once, garbage_after_startup, unknown_authentication, endless_message,
           negative_message]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda f: f.__name__)
def test_login_that_goes_wrong(make_pooler, pg, fake, script):
    server = fake(script)
    mode = "require" if "tls" in script.__name__ else "prefer" if "ssl" in script.__name__ else "disable"
    pooler = make_pooler(settings={**SETTINGS, "server_tls_sslmode": mode},
                         databases={"app": f"{server.dsn} dbname=app", "app2": f"{pg.dsn} dbname=app2"})
    errors, seconds = ask(pooler)
    assert errors and errors[-1].text and errors[-1].sqlstate, "the client must be told"
    assert seconds < 8 * PATIENCE
    with pooler.wire(database="app2") as other:
        assert other.value("SELECT 1") == "1"
    no_spinning(pooler, 0.5)
    assert server.connections < 60, "a broken server must not be stormed"


@pytest.mark.sanitizer
def test_server_that_is_down(make_pooler, pg):
    pooler = make_pooler(settings=SETTINGS, databases={"app": f"host=127.0.0.1 port={free_port()} dbname=app", "app2": f"{pg.dsn} dbname=app2"})
    errors, seconds = ask(pooler)
    assert errors and seconds < 8 * PATIENCE
    no_spinning(pooler)
    assert pooler.wire(database="app2").value("SELECT 1") == "1"


def test_server_whose_socket_is_missing(make_pooler):
    pooler = make_pooler(settings=SETTINGS, databases={"app": "host=/nonexistent/directory dbname=app"})
    errors, _ = ask(pooler)
    assert errors
    no_spinning(pooler, 0.5)


@pytest.mark.sanitizer
def test_host_name_that_does_not_exist(make_pooler):
    pooler = make_pooler(settings=SETTINGS, databases={"app": "host=no-such-host.invalid dbname=app"})
    errors, _ = ask(pooler)
    assert errors
    no_spinning(pooler, 0.5)


def test_server_that_does_not_answer_the_connect(make_pooler):
    """Its accept queue is full: the SYN is dropped."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
        fillers.append(filler)
    pooler = make_pooler(settings=SETTINGS, databases={"app": f"host=127.0.0.1 port={port} dbname=app"})
    errors, seconds = ask(pooler)
    assert errors and seconds < 8 * PATIENCE
    no_spinning(pooler, 0.5)
    for each in [listener, *fillers]:
        each.close()


@pytest.mark.own
def test_error_names_the_cause(make_pooler, fake):
    """Whoever waited in vain is told why: the server's own words."""
    pooler = make_pooler(settings=SETTINGS, databases={"app": f"{fake(refuse_starting_up).dsn} dbname=app"})
    errors, _ = ask(pooler)
    assert "starting up" in str(errors[-1])


@pytest.mark.sanitizer
def test_recovery_when_the_server_comes_back(make_pooler, fake):
    broken = [True]

    def script(conn):
        if broken[0]:
            conn.read_startup()
            conn.send(error("57P03", "the database system is starting up"))
            return
        conn.accept_login()
        conn.serve_queries()

    pooler = make_pooler(settings={**SETTINGS, "query_wait_timeout": 15, "client_login_timeout": 15},
                         databases={"app": f"{fake(script).dsn} dbname=app"})
    with pooler.raw(timeout=15) as client:
        client.send(wire.startup_packet({"user": "app", "database": "app"}))
        wait_until(lambda: pooler.log_lines("starting up"), "a server to refuse")
        broken[0] = False
        try:
            client.finish_login("app")
        except wire.ServerError:
            wait_until(lambda: login_works(pooler), "the pooler to try again", 10)
            return
        assert client.rows("SELECT 'x'")


def login_works(pooler):
    try:
        with pooler.wire() as client:
            return client.rows("SELECT 'x'")
    except (wire.ServerError, wire.Closed):
        return False


# ---- after the login


ANSWERS = {
    "cut in a row": one_row("x" * 1000)[:300],
    "unknown message": wire.message("~", b"what") + ready(),
    "length zero": b"D\0\0\0\0" + ready(),
    "negative length": b"D\xff\xff\xff\xff" + ready(),
    "authentication again": wire.message("R", struct.pack("!I", 0)) + ready(),
    "bad transaction status": wire.message("Z", b"?"),
    "ReadyForQuery too long": wire.message("Z", b"III"),
    "no bytes at all": b"",
}


@pytest.mark.sanitizer
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.own] if "too long" in n else []) for n in ANSWERS])
def test_server_that_answers_nonsense_and_dies(make_pooler, pg, fake, name):
    """The client gets an error or the end, others are not touched, and a nonsense server is not kept."""
    def script(conn):
        conn.accept_login()
        conn.receive()
        conn.send(ANSWERS[name])

    pooler = make_pooler(settings=SETTINGS, databases={"app": f"{fake(script).dsn} dbname=app", "app2": f"{pg.dsn} dbname=app2"})
    with pooler.wire() as client, pooler.wire(database="app2") as other:
        client.send(wire.query("SELECT 1"))
        client.expect_closed()
        assert other.value("SELECT 1") == "1"
    wait_until(lambda: not pooler.servers(), "the broken server to be gone")
    no_spinning(pooler, 0.3)


@pytest.mark.sanitizer
@pytest.mark.own
def test_server_that_speaks_unasked(make_pooler, fake):
    """Rows that nobody asked for go to nobody: the connection is closed, and the client with it if it still has the server."""
    def script(conn):
        conn.accept_login()
        conn.receive()
        conn.send(one_row("right"), one_row("for nobody"))
        conn.serve_queries()

    pooler = make_pooler(settings={**SETTINGS, "default_pool_size": 1}, databases={"app": f"{fake(script).dsn} dbname=app"})
    answers = []
    with pooler.wire() as client, pooler.wire() as other:
        for each, sql in ((client, "SELECT 1"), (other, "SELECT 2"), (client, "SELECT 3")):
            try:
                answers += [m.row()[0] for m in each.query(sql) if m.kind == "D"]
            except (wire.Closed, OSError):
                pass
    assert "for nobody" not in answers, answers


def test_notice_and_parameter_from_an_idle_server(make_pooler, fake):
    """What PostgreSQL may send at any time does not cost the connection."""
    conversations = []

    def script(conn):
        conversations.append(conn)
        conn.accept_login()
        conn.serve_queries()

    pooler = make_pooler(settings={**SETTINGS, "default_pool_size": 1}, databases={"app": f"{fake(script).dsn} dbname=app"})
    with pooler.wire() as client:
        assert client.value("SELECT 1") == "SELECT 1"
        conversations[0].send(wire.message("S", wire.cstr("is_superuser") + wire.cstr("on")))
        assert len(pooler.servers()) == 1  # its worker has answered, and so has read what had come before
        assert client.value("SELECT 2") == "SELECT 2"
    assert len(conversations) == 1


@pytest.mark.sanitizer
def test_server_that_shuts_down_idle_connections(make_pooler, fake):
    """57P01 to an idle server connection is not an error of the next client."""
    conversations = []

    def script(conn):
        conversations.append(conn)
        conn.accept_login()
        conn.serve_queries()

    server = fake(script)
    pooler = make_pooler(settings={**SETTINGS, "default_pool_size": 1}, databases={"app": f"{server.dsn} dbname=app"})
    with pooler.wire() as client:
        assert client.value("SELECT 1") == "SELECT 1"
        conversations[0].send(error("57P01", "terminating connection due to administrator command"))
        conversations[0].sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not pooler.servers(), "the dead server to be gone")
        assert client.value("SELECT 2") == "SELECT 2"


def test_several_hosts_and_one_is_down(make_pooler, pg):
    pooler = make_pooler(settings={**SETTINGS, "default_pool_size": 2, "query_wait_timeout": 10},
                         databases={"app": f"host=127.0.0.1,localhost port={pg.port} dbname=app"})
    with pooler.connect() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.sanitizer
def test_tls_server_that_dies_in_the_handshake(make_pooler, fake, certs):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs.server)

    def script(conn):
        conn.read(8)
        conn.send(b"S")
        conn.read(20)

    pooler = make_pooler(settings={**SETTINGS, "server_tls_sslmode": "require"}, databases={"app": f"{fake(script).dsn} dbname=app"})
    errors, _ = ask(pooler)
    assert errors
    no_spinning(pooler, 0.3)


def test_psycopg_sees_a_fitting_error(make_pooler):
    pooler = make_pooler(settings=SETTINGS, databases={"app": f"host=127.0.0.1 port={free_port()} dbname=app"})
    with pytest.raises(psycopg.OperationalError):
        with pooler.connect() as conn:
            conn.execute("SELECT 1")
