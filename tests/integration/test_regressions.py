"""Mistakes that pgsluice has made once: each test says what it guards, and fails where that mistake is made again."""
import signal
import socket
import ssl
import struct
import threading
import time

import pytest

from harness import wire
from harness.fakeserver import error, one_row, ready
from harness.util import PATIENCE, wait_until

pytestmark = pytest.mark.own


@pytest.fixture
def single(make_pooler):
    """One server, so that a server which is lost, held or dirty is seen by the next client."""
    return make_pooler(settings={"default_pool_size": 1, "query_wait_timeout": 8})


def fake_pooler(make_pooler, server, **settings):
    return make_pooler(settings={"default_pool_size": 1, "query_wait_timeout": 8, "server_login_retry": 0.2, **settings},
                       databases={"app": f"{server.dsn} dbname=app"})


def half_of_copy_data(size):
    """The header of a CopyData, without its body."""
    return b"d" + struct.pack("!I", 4 + size)


# ---- half messages


@pytest.mark.sanitizer
@pytest.mark.parametrize("when", ["during the query", "after the query"])
def test_client_that_leaves_in_the_middle_of_a_message(single, when):
    """The server has got half a CopyData: it must not be used on, as the next client's bytes would be taken for the rest."""
    with single.wire() as one, single.wire() as two:
        two.query("SELECT 1")
        one.send(wire.query("SELECT pg_sleep(0.3)"), half_of_copy_data(200))
        if when == "after the query":
            assert one.trace() == "TDCZ"
        else:
            wait_until(lambda: single.pool()["sv_active"] == 1, "the query to run")
        one.disconnect()
        harmless = b"SELECT '" + b"x" * (200 - 5 - 8) + b"'"  # with its header as long as what is missing
        two.send(wire.query(harmless), wire.query("SELECT 'second'"))
        assert two.until()[1].row() == ["x" * 187]
        assert two.until()[1].row() == ["second"]


@pytest.mark.sanitizer
def test_copy_that_fails_while_a_message_is_half_sent(single):
    """The error and ReadyForQuery come in the middle of a CopyData: the server comes free when the message has ended."""
    with single.wire() as one, single.wire() as two:
        one.send(wire.query("COPY t (id) FROM STDIN"))
        assert one.trace("G") == "G"
        one.send(wire.copy_data(b"notanint\n" * 1000), half_of_copy_data(5000), b"1\n" * 1000)
        assert one.trace() == "EZ"
        two.send(wire.query("SELECT 1"))
        assert two.silent_for(0.1)
        one.send(b"1\n" * 1500, wire.copy_fail("x"))
        assert two.trace() == "TDCZ"
        assert one.value("SELECT 2") == "2"


@pytest.mark.sanitizer
def test_copy_data_sent_ahead_while_others_wait(single):
    """A driver that does not wait for CopyInResponse: nothing of it may be kept back for the sake of a waiting client."""
    with single.wire() as one, single.wire() as two:
        one.query("BEGIN")
        one.query("CREATE TEMP TABLE numbers (i int)")
        two.send(wire.query("SELECT 'waited'"))
        wait_until(lambda: single.pool()["cl_waiting"] == 1, "the other client to wait")
        one.send(wire.query("COPY numbers FROM STDIN"), wire.copy_data(b"1\n2\n"), wire.copy_done(), wire.query("COMMIT"))
        assert [m.tag for m in one.until() if m.kind == "C"] == ["COPY 2"]
        assert one.trace() == "CZ"
        assert two.until()[1].row() == ["waited"]


def conversations():
    """(bytes to send, their number of ReadyForQuery)"""
    extended = (wire.parse("", "SELECT $1::int") + wire.bind("", "", ["7"]) + wire.describe("P", "") + wire.execute() + wire.sync()
                + wire.flush() + wire.query("SELECT 2"))
    return [(wire.query("SELECT 1") + wire.query("SELECT 'abc'"), 2), (extended, 2)]


@pytest.mark.sanitizer
@pytest.mark.parametrize("number", [0, 1], ids=["simple", "extended"])
def test_messages_split_at_every_byte(single, number):
    """Wherever the network cuts a message, the answer is the same."""
    raw, answers = conversations()[number]
    with single.wire() as client:
        def ask(*pieces):
            for piece in pieces:
                client.send(piece)
                time.sleep(0.002)
            return [(m.kind, m.payload) for _ in range(answers) for m in client.until()]

        expected = ask(raw)
        for at in range(1, len(raw)):
            assert ask(raw[:at], raw[at:]) == expected, at
        assert ask(*(raw[at:at + 1] for at in range(len(raw)))) == expected


# ---- many requests


def test_more_requests_in_flight_than_can_be_remembered(pooler):
    """Beyond the number of requests that are remembered the client waits, and goes on as answers come, without a Sync."""
    count = 40000
    one_turn = wire.bind("", "s") + wire.describe("P", "") + wire.execute()
    with pooler.wire(timeout=40) as client:
        batch = wire.simple_extended("SELECT pg_sleep(1)") + wire.parse("s", "SELECT 1") + one_turn * count + wire.sync()
        thread = threading.Thread(target=client.send, args=(batch,))
        thread.start()
        assert client.trace() == "12TDC" + "1" + "2TDC" * count + "Z"
        thread.join(10 * PATIENCE)
        assert client.value("SELECT 1") == "1"


# ---- parameters


@pytest.mark.sanitizer
def test_tracked_parameter_that_the_server_does_not_report(make_pooler):
    """PostgreSQL before 18 does not report search_path; what one client set must not be what the next one gets."""
    pooler = make_pooler(settings={"default_pool_size": 1, "track_extra_parameters": "IntervalStyle, search_path"})
    with pooler.wire(search_path="evil, public") as one, pooler.wire() as two:
        for _ in range(2):
            assert one.value("SHOW search_path") == "evil, public"
            assert two.value("SHOW search_path") == '"$user", public'


@pytest.mark.sanitizer
def test_refused_parameter_does_not_hold_the_server(single):
    """A TimeZone that PostgreSQL does not know costs the client its connection, and nobody the server."""
    with single.wire() as good:
        good.query("SELECT 1")
        for _ in range(3):
            with pytest.raises(wire.ServerError, match="Nowhere/Bad") as refused:
                single.wire(TimeZone="Nowhere/Bad")
            assert refused.value.sqlstate == "22023"
            started = time.monotonic()
            assert good.value("SELECT 3") == "3"
            assert time.monotonic() - started < 2 * PATIENCE


@pytest.mark.sanitizer
def test_session_that_began_as_a_transaction(make_pooler):
    """pool_mode changes to session while a client has a server: what it then leaves there is reset too."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as one:
        one.query("BEGIN")
        pooler.settings["pool_mode"] = "session"
        pooler.reload()
        one.query("COMMIT")
        one.query("SET work_mem = '77MB'")
        assert one.value("SHOW work_mem") == "77MB"
        one.goodbye()
    with pooler.wire() as two:
        assert two.value("SHOW work_mem") != "77MB"


# ---- starting and closing


@pytest.mark.sanitizer
def test_signal_right_after_the_start(make_pooler):
    """Once the port is open, SIGHUP is a reload, and does not end the process as a signal does that nobody catches."""
    for _ in range(10):
        pooler = make_pooler(start=False)
        pooler.start(wait=False)
        deadline = time.monotonic() + 10 * PATIENCE
        while not accepts(pooler.port):
            assert time.monotonic() < deadline and pooler.is_running()
        pooler.send_signal(signal.SIGHUP)
        pooler.wait_log("got SIGHUP")
        with pooler.wire() as client:
            assert client.value("SELECT 1") == "1"


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def closing_bytes(client):
    """Everything that still comes, undivided."""
    raw = client.buffer
    while True:
        try:
            more = client.sock.recv(1 << 20)
        except ConnectionError:
            return raw
        if not more:
            return raw
        raw += more


@pytest.mark.sanitizer
@pytest.mark.parametrize("how", ["SIGQUIT", "SHUTDOWN"])
def test_closing_in_the_middle_of_a_row(single, how):
    """The client has part of a DataRow: an ErrorResponse there would be taken for data."""
    size = 30_000_000
    with single.raw(receive_buffer=65536, timeout=20) as client:
        client.login("app", "app")
        client.send(wire.query(f"SELECT repeat('x', {size})"))
        head = client.receive_bytes(100)
        if how == "SIGQUIT":
            single.send_signal(signal.SIGQUIT)
        else:
            with single.raw() as admin:
                admin.login("admin", "pgbouncer")
                admin.send(wire.query("SHUTDOWN"))
        single.wait_exit()
        raw = head + closing_bytes(client)
        assert b"FATAL" not in raw
        assert len(raw) < size


@pytest.mark.sanitizer
def test_server_lost_in_the_middle_of_a_row(make_pooler, fake):
    """As above, when it is the server that goes."""
    def script(conn):
        conn.accept_login()
        conn.receive()
        conn.send(one_row("x" * 100000)[:50000])

    pooler = fake_pooler(make_pooler, fake(script))
    with pooler.wire() as client:
        client.send(wire.query("SELECT 1"))
        raw = closing_bytes(client)
        assert b"x" * 1000 in raw and b"FATAL" not in raw


@pytest.mark.sanitizer
def test_refused_clients_are_bounded(make_pooler):
    """Whoever is beyond max_client_conn is told so; but only 64 at a time are, so that they cannot use up the
    descriptors: as many of them by each worker, also when they come faster than the workers take them."""
    pooler = make_pooler(settings={"max_client_conn": 2, "client_login_timeout": 30, "tcp_defer_accept": 0})
    with pooler.wire() as one, pooler.wire():
        silent = [pooler.raw() for _ in range(90)]
        closed = []

        def count_closed():
            for each in silent:
                if each not in closed and is_at_end(each):
                    closed.append(each)
            return len(closed) >= 90 - 64

        wait_until(count_closed, "connections to be closed")
        assert one.value("SELECT 1") == "1"
        count_closed()
        assert len(closed) == 90 - 64
        for each in silent:
            each.disconnect()
        wait_until(lambda: is_told(pooler), "a refused client to be told")


def is_at_end(client):
    client.sock.setblocking(False)
    try:
        return client.sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def is_told(pooler):
    try:
        pooler.wire().disconnect()
    except wire.ServerError as refused:
        return "max_client_conn" in refused.msg.text
    except (wire.Closed, OSError):
        pass
    return False


# ---- what servers do


@pytest.mark.sanitizer
def test_message_fragment_behind_ready_for_query(make_pooler, fake):
    """Half of an asynchronous message comes with ReadyForQuery: the server comes free when the other half has come."""
    note = wire.message("S", wire.cstr("application_name") + wire.cstr(""))
    others_wait = threading.Event()

    def script(conn):
        conn.accept_login()
        conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def answer(sql):
            if "fragment" not in sql:
                return one_row(sql)
            conn.send(one_row(sql), note[:7])
            assert others_wait.wait(10 * PATIENCE)
            return note[7:]

        conn.serve_queries(answer)

    pooler = fake_pooler(make_pooler, fake(script))
    with pooler.wire() as one, pooler.wire() as two:
        assert one.value("SELECT fragment") == "SELECT fragment"
        two.send(wire.query("SELECT 2"))
        wait_until(lambda: pooler.pool()["cl_waiting"] == 1, "the other to wait for the server")
        others_wait.set()
        assert [m.row() for m in two.until("Z") if m.kind == "D"] == [["SELECT 2"]]
        assert one.value("SELECT 3") == "SELECT 3"


@pytest.mark.sanitizer
def test_server_lost_while_settings_are_restored(make_pooler, fake):
    """It dies on the SET that comes before a client's query: the client is told or served, and the pool goes on."""
    lost = []

    def script(conn):
        conn.accept_login()

        def answer(sql):
            if "German" in sql and len(lost) < 2:
                lost.append(sql)
                raise wire.Closed("as wanted")
            return wire.message("C", wire.cstr("SET")) + ready() if sql.startswith(("SET", "RESET")) else one_row(sql)

        conn.serve_queries(answer)

    pooler = fake_pooler(make_pooler, fake(script))
    with pooler.wire() as other:
        assert other.value("SELECT 1") == "SELECT 1"
        for _ in range(2):
            with pooler.wire(DateStyle="German") as client:
                client.send(wire.query("SELECT 2"))
                errors = [m for m in until_end(client) if m.kind == "E"]
                assert len(errors) == 1 and errors[0].sqlstate, errors
            assert other.value("SELECT 3") == "SELECT 3"
        assert len(lost) == 2
        wait_until(lambda: pooler.pool()["sv_tested"] == 0 and len(pooler.servers()) == 1, "one server")


def until_end(client):
    """All messages to ReadyForQuery or the end of the connection."""
    messages = []
    try:
        while not messages or messages[-1].kind != "Z":
            messages.append(client.receive())
    except wire.Closed:
        pass
    return messages


@pytest.mark.sanitizer
def test_client_lost_while_settings_are_restored(make_pooler, fake):
    """It leaves before the SET that goes ahead of its query is answered: that server is closed, as a setting that
    PostgreSQL does not report would stay; the next one is served by another, with settings of its own."""
    asked, has_left = threading.Event(), threading.Event()

    def script(conn):
        conn.accept_login()

        def answer(sql):
            if "SET " in sql:
                asked.set()
                assert has_left.wait(10 * PATIENCE)
                return wire.message("C", wire.cstr("SET")) + ready()
            return one_row(sql)

        conn.serve_queries(answer)

    server = fake(script)
    pooler = fake_pooler(make_pooler, server)
    with pooler.wire() as other:
        other.query("SELECT 1")
        client = pooler.wire(DateStyle="German")
        client.send(wire.query("SELECT 1"))
        assert asked.wait(5 * PATIENCE)
        client.reset()
        wait_until(lambda: len(pooler.clients()) == 1, "the client to be gone")
        has_left.set()
        assert other.value("SELECT 2") == "SELECT 2"
        assert server.connections == 2


@pytest.mark.sanitizer
def test_server_lost_after_its_login(make_pooler, fake):
    """PostgreSQL has let it in and ends it before ReadyForQuery: it counts until its end is seen, and another is tried."""
    tries = []

    def script(conn):
        tries.append(time.monotonic())
        if len(tries) == 1:
            conn.read_startup()
            conn.send(wire.message("R", struct.pack("!I", 0)), wire.message("E", b"SFATAL\0VFATAL\0C57P01\0Mgoing\0\0"))
            assert conn.sock.recv(1) == b"X", "Terminate"
            time.sleep(0.4)
            return
        conn.accept_login()
        conn.serve_queries(one_row)

    pooler = fake_pooler(make_pooler, fake(script))
    with pooler.wire() as client:
        assert client.value("SELECT 1") == "SELECT 1"
    assert len(tries) == 2 and tries[1] - tries[0] >= 0.4


@pytest.mark.sanitizer
def test_server_lost_in_its_reset_query(make_pooler, fake):
    """It dies while no client has it and server_reset_query runs: its place in the pool is free again."""
    lost = []

    def script(conn):
        conn.accept_login()

        def answer(sql):
            if sql == "DISCARD ALL":
                lost.append(sql)
                raise wire.Closed("as wanted")
            return one_row(sql)

        conn.serve_queries(answer)

    pooler = fake_pooler(make_pooler, fake(script), pool_mode="session")
    for turn in range(3):
        with pooler.wire() as client:
            assert client.value("SELECT f()") == "SELECT f()"  # nobody knows what it leaves
            client.goodbye()
        wait_until(lambda turn=turn: len(lost) == turn + 1, "the reset query")
    wait_until(lambda: not pooler.servers(), "the lost server to be gone")


@pytest.mark.sanitizer
@pytest.mark.parametrize("end", ["server", "cancel"])
def test_server_held_for_a_cancel_request(make_pooler, fake, end):
    """A server that is done, but whose last client has a cancel request under way, waits for that.

    If it dies meanwhile, its place in the pool is free at once.
    """
    cancelled, release = threading.Event(), threading.Event()
    talks = []

    def script(conn):
        try:
            conn.accept_login()
        except wire.Closed:
            cancelled.set()
            release.wait(10 * PATIENCE)
            return
        talks.append(conn)

        def answer(sql):
            if sql == "SELECT slow":
                cancelled.wait(10 * PATIENCE)
            return one_row(sql)

        conn.serve_queries(answer)

    pooler = fake_pooler(make_pooler, fake(script), cancel_wait_timeout=60)
    with pooler.wire() as client, pooler.wire() as other, pooler.raw() as request:
        client.send(wire.query("SELECT slow"))
        wait_until(lambda: talks and pooler.pool()["sv_active"] == 1, "the query to run")
        request.send(struct.pack("!III", 16, wire.CANCEL_REQUEST, client.pid) + client.key)
        assert client.trace() == "TDCZ"
        assert cancelled.is_set()
        wait_until(lambda: "being_canceled" in [s["state"] for s in pooler.servers()], "the server to be held")
        other.send(wire.query("SELECT next"))
        assert other.silent_for(0.2), "a cancel request must not hit the next query"
        if end == "server":
            talks[0].sock.shutdown(socket.SHUT_RDWR)
        else:
            release.set()
        assert other.until()[1].row() == ["SELECT next"]
        assert len(talks) == (2 if end == "server" else 1)
        release.set()


# ---- cancel


def test_process_id_is_positive(single):
    """Some drivers take a process id of zero, or a negative one, for none."""
    clients = [single.wire() for _ in range(5)]
    for client in clients:
        assert 0 < client.pid < 1 << 31
        client.disconnect()


@pytest.mark.sanitizer
def test_cancel_storm_spares_the_others(single):
    """Clients that cancel all the time, too early, too late and twice, never hit a query of their neighbours."""
    stop = time.monotonic() + 2.5
    hit, counts, problems = [], {"served": 0, "asked": 0, "cancelled": 0}, []

    def bystander():
        with single.wire(timeout=20) as client:
            while time.monotonic() < stop:
                hit.extend(m for m in client.query("SELECT pg_sleep(0.002)") if m.kind == "E")
                counts["served"] += 1

    def canceller():
        with single.wire(timeout=20) as client:
            while time.monotonic() < stop:
                client.send(wire.query("SELECT pg_sleep(0.02)"))
                time.sleep(0.001 * (counts["asked"] % 30))
                for _ in range(2):
                    with single.raw() as request:
                        request.send(struct.pack("!III", 16, wire.CANCEL_REQUEST, client.pid) + client.key)
                counts["cancelled"] += "E" in client.trace()
                counts["asked"] += 1

    def run(body):
        try:
            body()
        except Exception as failure:  # noqa: BLE001  looked at below
            problems.append(repr(failure))

    threads = [threading.Thread(target=run, args=(body,)) for body in (bystander, bystander, canceller, canceller)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40 * PATIENCE)
    assert not problems and not hit, (problems[:3], hit[:3])
    assert counts["served"] > 10 and counts["asked"] > 5, counts  # how many were cancelled depends on the machine


@pytest.mark.sanitizer
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_last_words_right_behind_the_login(make_pooler, fake, certs, is_tls):
    """A server that is ended just when it is ready serves nobody; and it is not moved to another worker with words unread."""
    made = []

    def script(conn):
        made.append(conn)
        last_words = len(made) <= 8
        if is_tls:
            assert conn.read(8) == struct.pack("!II", 8, wire.SSL_REQUEST)
            conn.send(b"S")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certs.server)
            conn.sock = context.wrap_socket(conn.sock, server_side=True)
        conn.read_startup()
        greeting = wire.message("R", struct.pack("!I", 0)) + wire.message("S", wire.cstr("server_version") + wire.cstr("15.0"))
        conn.send(greeting + ready() + (error("57P01", "terminating connection due to administrator command") if last_words else b""))
        if not last_words:
            conn.serve_queries(one_row)

    pooler = fake_pooler(make_pooler, fake(script), default_pool_size=6, query_wait_timeout=20)
    wrong = []

    def run():
        try:
            with pooler.wire(timeout=30) as client:
                for _ in range(3):
                    assert client.value("SELECT 1") == "SELECT 1"
        except (AssertionError, wire.Closed, wire.ServerError, OSError) as failure:
            wrong.append(failure)

    threads = [threading.Thread(target=run) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40 * PATIENCE)
    assert not wrong
    assert len(made) > 8
