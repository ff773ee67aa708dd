"""Cancel requests within one pgsluice: none is lost, none hits another client, however many there are."""
import selectors
import signal
import socket
import ssl
import struct
import threading
import time

import psycopg
import pytest

from harness import wire
from harness.fakeserver import one_row
from harness.util import PATIENCE, on_time, process_rss_bytes, wait_until

pytestmark = pytest.mark.own

SLEEP = "SELECT pg_sleep(60)"


@pytest.fixture
def single(make_pooler):
    return make_pooler(settings={"default_pool_size": 1})


def packet(pid, key):
    return struct.pack("!IIi", 12 + len(key), wire.CANCEL_REQUEST, pid) + key


def request(pooler, client, pid=None, key=None):
    """Sends a cancel request; the connection is left open."""
    raw = pooler.raw()
    raw.send(packet(client.pid if pid is None else pid, client.key if key is None else key))
    return raw


def kinds(messages):
    return "".join(m.kind for m in messages)


def cancelled(messages):
    return [m.sqlstate for m in messages if m.kind == "E"] == ["57014"]


def is_waiting(pooler, count=1):
    return pooler.pool()["cl_waiting"] == count


def cancel_fake(handle_cancel, answer=one_row):
    """A server that answers queries, and gives each cancel request, once read, to handle_cancel(conversation)."""
    def script(conn):
        try:
            conn.accept_login()
        except wire.Closed:
            handle_cancel(conn)
            return
        conn.serve_queries(answer)

    return script


def fake_pooler(make_pooler, server, **settings):
    return make_pooler(settings={"default_pool_size": 1, "server_login_retry": 0.2, **settings},
                       databases={"app": f"{server.dsn} dbname=app"})


# ---- a client whose request no server has got yet


@pytest.mark.sanitizer
def test_waiting_client_is_answered(single):
    """At once, though no server comes free; its query never runs, and the session goes on."""
    with single.wire() as busy, single.wire() as waiting:
        busy.query("BEGIN")
        busy.query("CREATE TEMP SEQUENCE ran")
        waiting.send(wire.query("SELECT nextval('ran')"))
        wait_until(lambda: is_waiting(single), "the client to wait")
        waiting.cancel()
        messages = waiting.until()
        assert kinds(messages) == "EZ" and cancelled(messages)
        assert messages[0].text == "canceling statement due to user request" and messages[0].fields()["S"] == "ERROR"
        assert messages[1].payload == b"I"
        assert is_waiting(single, 0)
        assert busy.value("SELECT nextval('ran')") == "1"
        busy.query("COMMIT")
        assert waiting.value("SELECT 'on'") == "on"


@pytest.mark.sanitizer
@pytest.mark.parametrize("dropped, answers", [
    (wire.query("SELECT 1"), "EZ"),
    (wire.simple_extended("SELECT 1") + wire.sync(), "EZ"),
    (wire.parse("", "SELECT 1") + wire.bind("", "") + wire.execute() + wire.flush() + wire.query("SELECT 'skipped'") + wire.sync(), "EZ"),
    (wire.function_call(89), "EZ"),
    (wire.sync(), "EZ"),
    (wire.query("COPY t FROM STDIN") + wire.copy_data(b"1\n") * 3 + wire.copy_done(), "EZ"),
], ids=["query", "extended", "query within a batch", "function call", "sync", "copy"])
def test_only_the_first_request_is_dropped(single, dropped, answers):
    """What the client has pipelined behind it runs, when a server comes free."""
    with single.wire() as busy, single.wire() as waiting:
        busy.query("BEGIN")
        waiting.send(dropped, wire.query("SELECT 'second'"), wire.simple_extended("SELECT 'third'"), wire.sync())
        wait_until(lambda: is_waiting(single), "the client to wait")
        waiting.cancel()
        messages = waiting.until()
        assert kinds(messages) == answers and cancelled(messages)
        wait_until(lambda: is_waiting(single), "the client to wait for its next request")
        busy.query("COMMIT")
        assert waiting.until()[1].row() == ["second"]
        assert [m.row() for m in waiting.until() if m.kind == "D"] == [["third"]]


@pytest.mark.sanitizer
def test_request_that_has_not_arrived_whole(single):
    """The error comes at once, ReadyForQuery when the request has ended."""
    with single.wire() as busy, single.wire() as waiting:
        busy.query("BEGIN")
        text = wire.query("SELECT '" + "x" * 100000 + "'")
        waiting.send(text[:70000])
        wait_until(lambda: is_waiting(single), "the client to wait")
        waiting.cancel()
        assert waiting.receive().kind == "E" and waiting.silent_for(0.1)
        waiting.send(text[70000:-1])
        assert waiting.silent_for(0.1)
        waiting.send(text[-1:])
        assert waiting.receive().kind == "Z"
        # the same in the extended protocol, with a piece of a header last
        waiting.send(wire.parse("", "SELECT 1"), wire.bind("", ""), wire.sync()[:3])
        wait_until(lambda: is_waiting(single), "the client to wait")
        waiting.cancel()
        assert waiting.receive().kind == "E" and waiting.silent_for(0.1)
        waiting.send(wire.sync()[3:], wire.query("SELECT 'next'"))
        assert waiting.receive().kind == "Z"
        busy.query("COMMIT")
        assert waiting.until()[1].row() == ["next"]


def test_second_cancel_while_the_first_is_answered(single):
    """A request is cancelled once; nothing more is said about it."""
    with single.wire() as busy, single.wire() as waiting:
        busy.query("BEGIN")
        waiting.send(wire.parse("", "SELECT 1"))
        wait_until(lambda: is_waiting(single), "the client to wait")
        for _ in range(3):
            waiting.cancel()
        waiting.send(wire.sync())
        assert waiting.trace() == "EZ"
        busy.query("COMMIT")
        assert waiting.value("SELECT 1") == "1"


def test_session_mode(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "pool_mode": "session"})
    with pooler.wire() as busy, pooler.wire() as waiting:
        busy.query("SELECT 1")
        waiting.send(wire.query("SELECT 1"))
        wait_until(lambda: is_waiting(pooler), "the client to wait")
        waiting.cancel()
        assert cancelled(waiting.until())
        busy.cancel()  # idle: nothing to cancel
        assert busy.value("SELECT 1") == "1"
        busy.goodbye()
        assert waiting.value("SELECT 1") == "1"


@pytest.mark.sanitizer
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_server_that_is_being_set_up(make_pooler, fake, mode):
    """The query is not sent when the server is ready; in transaction mode the server goes to the next."""
    asked, go_on, is_set_up = threading.Event(), threading.Event(), []

    def answer(sql):
        if sql == "check" and is_set_up:
            asked.set()
            assert go_on.wait(20 * PATIENCE)
        return one_row(sql)

    server = fake(cancel_fake(lambda conn: None, answer))
    pooler = fake_pooler(make_pooler, server, pool_mode=mode, server_check_delay=0, server_check_query="check")
    with pooler.wire() as first, pooler.wire() as client:
        first.query("SELECT 1")
        first.goodbye()
        is_set_up.append(True)
        client.send(wire.query("SELECT 'never'"), wire.query("SELECT 'next'") if mode == "session" else b"")
        assert asked.wait(20 * PATIENCE)
        client.cancel()
        messages = client.until()
        assert kinds(messages) == "EZ" and cancelled(messages)
        go_on.set()
        if mode == "session":
            assert client.until()[1].row() == ["SELECT 'next'"]
        else:
            wait_until(lambda: pooler.pool()["sv_idle"] + pooler.pool()["sv_used"] == 1, "the server to come free")
            assert client.value("SELECT 'again'") == "SELECT 'again'"
    assert "SELECT 'never'" not in server.queries and not server.cancels


# ---- a client at work


@pytest.mark.sanitizer
@pytest.mark.parametrize("protocol", [wire.PROTOCOL_30, wire.PROTOCOL_32])
def test_keys(single, pg, protocol):
    """Only the right key of a client that is there cancels: not one with another bit, of another length, of somebody else."""
    with single.raw() as client, single.wire() as other:
        client.login("app", "app", protocol=protocol)
        assert len(client.key) == (4 if protocol == wire.PROTOCOL_30 else 32)
        gone = single.raw()
        gone.login("app", "app", protocol=protocol)
        old = (gone.pid, gone.key)
        gone.goodbye()
        wait_until(lambda: len(single.clients()) == 2, "the client to be gone")
        client.send(wire.query(SLEEP))
        pg.wait_running("pg_sleep")
        wrong = [(client.pid, bytes(b ^ (1 << bit) if i == n else b for i, b in enumerate(client.key)))
                 for n in (0, len(client.key) - 1) for bit in (0, 7)]
        wrong += [(client.pid ^ 1, client.key), (client.pid ^ 0x7F000000, client.key), (client.pid ^ 0x00010000, client.key)]
        wrong += [(client.pid, client.key[:-1] if len(client.key) > 4 else client.key + b"\0")]
        wrong += [(client.pid, client.key + bytes(28)), (other.pid, other.key), old, (0, client.key), (client.pid, bytes(4))]
        for pid, key in wrong:
            with request(single, client, pid, key) as raw:
                assert raw.expect_closed() == []
        assert client.silent_for(0.1)
        client.cancel()
        assert cancelled(client.until())


def test_client_that_asks_for_tls_first(single, pg):
    with single.wire() as client, single.raw() as raw:
        client.send(wire.query(SLEEP))
        pg.wait_running("pg_sleep")
        assert raw.ssl_request() == b"N"
        raw.send(packet(client.pid, client.key))
        assert raw.expect_closed() == []
        assert cancelled(client.until())


def test_over_a_unix_socket(single, pg):
    with single.wire() as client, wire.Wire(single.directory, single.port) as raw:
        client.send(wire.query(SLEEP))
        pg.wait_running("pg_sleep")
        raw.send(packet(client.pid, client.key))
        raw.expect_closed()
        assert cancelled(client.until())


@pytest.mark.parametrize("hang_up", ["close", "reset"])
def test_requester_that_does_not_wait(single, pg, hang_up):
    """Some drivers hang up at once: the query is cancelled all the same."""
    with single.wire() as client:
        client.send(wire.query(SLEEP))
        pg.wait_running("pg_sleep")
        raw = request(single, client)
        if hang_up == "close":
            raw.disconnect()
            assert cancelled(client.until())
        else:
            raw.sock.shutdown(socket.SHUT_WR)
            assert cancelled(client.until())
            raw.reset()


def test_psycopg(single, pg):
    """A driver, with a thread that cancels."""
    with single.connect() as conn:
        threading.Thread(target=lambda: (pg.wait_running("pg_sleep"), conn.cancel())).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute(SLEEP)
        assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("mode, has_tls", [("disable", False), ("prefer", True), ("require", True), ("verify-full", True)])
def test_goes_as_the_server_connection_went(make_pooler, fake, certs, mode, has_tls):
    """Inside TLS where the server's connection is; so no key is seen on the wire."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs.server)
    seen, done = [], threading.Event()

    def script(conn):
        head = conn.sock.recv(8, socket.MSG_PEEK | socket.MSG_WAITALL)
        is_tls = struct.unpack("!II", head)[1] == wire.SSL_REQUEST
        if is_tls:
            conn.read(8)
            conn.send(b"S")
            conn.sock = context.wrap_socket(conn.sock, server_side=True)
        try:
            conn.accept_login()
        except wire.Closed:
            seen.append(is_tls)
            done.set()
            return

        def answer(sql):
            if sql == "SELECT slow":
                done.wait(20 * PATIENCE)
            return one_row(sql)

        conn.serve_queries(answer)

    server = fake(script)
    pooler = make_pooler(settings={"default_pool_size": 1, "server_tls_sslmode": mode, "server_tls_ca_file": certs.ca},
                         databases={"app": f"host=localhost port={server.port} dbname=app"})
    with pooler.wire() as client:
        client.send(wire.query("SELECT slow"))
        wait_until(lambda: "SELECT slow" in server.queries, "the query to run")
        client.cancel()
        assert client.trace() == "TDCZ"
    assert seen == [has_tls] and len(server.cancels) == 1


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_tls_with_postgres(make_pooler, pg, certs, mode):
    pooler = make_pooler(settings={"server_tls_sslmode": mode, "server_tls_ca_file": certs.ca},
                         databases={"app": f"host=localhost port={pg.port} dbname=app"})
    with pooler.wire() as client:
        client.send(wire.query(SLEEP))
        pg.wait_running("pg_sleep")
        client.cancel()
        assert cancelled(client.until())
        assert client.value("SELECT 1") == "1"


# ---- several requests for one server


@pytest.fixture
def slow_fake(fake):
    """A server that answers "SELECT slow" when .answer is set, and closes the n-th cancel connection when .close[n] is."""
    close = [threading.Event() for _ in range(4)]
    answer_now = threading.Event()
    lock, count = threading.Lock(), []

    def handle_cancel(_conn):
        with lock:
            count.append(1)
            mine = close[len(count) - 1]
        mine.wait(20 * PATIENCE)

    def answer(sql):
        if sql.startswith("SELECT slow"):
            answer_now.wait(20 * PATIENCE)
        return one_row(sql)

    server = fake(cancel_fake(handle_cancel, answer))
    server.close, server.answer, server.count = close, answer_now, count
    yield server
    for event in (*close, answer_now):
        event.set()


@pytest.mark.sanitizer
def test_later_requests_wait_for_the_next_connection(make_pooler, slow_fake):
    """One connection at a time. Requests that come after one was sent are not taken for answered by it, since
    its signal may have come for something earlier; but one more is enough for all of them."""
    pooler = fake_pooler(make_pooler, slow_fake)
    with pooler.wire() as client:
        client.send(wire.query("SELECT slow"))
        wait_until(lambda: slow_fake.queries, "the query to run")
        first = request(pooler, client)
        wait_until(lambda: len(slow_fake.count) == 1, "the first cancel request")
        later = [request(pooler, client) for _ in range(20)]
        wait_until(lambda: pooler.pool()["cl_waiting_cancel_req"] == 20, "the others to wait")
        pool = pooler.pool()
        assert (pool["cl_active_cancel_req"], pool["sv_active_cancel"], pool["sv_being_canceled"]) == (1, 1, 0)
        assert (pool["sv_active"], pool["sv_login"]) == (1, 0)
        states = sorted(c["state"] for c in pooler.clients())
        assert states == ["active", "active_cancel_req"] + ["waiting_cancel_req"] * 20
        assert sorted(s["state"] for s in pooler.servers()) == ["active", "active_cancel"]
        slow_fake.close[0].set()
        assert first.expect_closed() == []
        wait_until(lambda: pooler.pool()["cl_active_cancel_req"] == 20, "the second cancel request")
        slow_fake.close[1].set()
        for each in later:
            assert each.expect_closed() == []
        slow_fake.answer.set()
        assert client.trace() == "TDCZ"
        assert len(slow_fake.count) == 2
        pool = pooler.pool()
        assert [pool[k] for k in ("cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel", "sv_being_canceled")] == [0] * 4


@pytest.mark.sanitizer
def test_requests_whose_query_has_ended(make_pooler, slow_fake):
    """What has not been sent is dropped; what has been sent holds the server, and nobody else gets it."""
    pooler = fake_pooler(make_pooler, slow_fake)
    with pooler.wire() as client, pooler.wire() as other:
        client.send(wire.query("SELECT slow"))
        wait_until(lambda: slow_fake.queries, "the query to run")
        first = request(pooler, client)
        wait_until(lambda: len(slow_fake.count) == 1, "the first cancel request")
        second = request(pooler, client)
        wait_until(lambda: pooler.pool()["cl_waiting_cancel_req"] == 1, "the second to wait")
        slow_fake.answer.set()
        assert client.trace() == "TDCZ"
        assert second.expect_closed() == []
        other.send(wire.query("SELECT other"))
        wait_until(lambda: pooler.pool()["sv_being_canceled"] == 1 and is_waiting(pooler), "the server to be held")
        assert pooler.pool()["sv_active"] == 0
        assert slow_fake.queries == ["SELECT slow"] and other.silent_for(0.1)
        slow_fake.close[0].set()
        assert other.until()[1].row() == ["SELECT other"]
        assert first.expect_closed() == [] and len(slow_fake.count) == 1


@pytest.mark.sanitizer
@pytest.mark.parametrize("end", ["query ends", "query goes on"])
def test_server_that_does_not_take_the_request_in_time(make_pooler, slow_fake, end):
    """Past cancel_wait_timeout the requester goes, and the server is not used for anybody else any more."""
    pooler = fake_pooler(make_pooler, slow_fake, cancel_wait_timeout=0.3)
    with pooler.wire() as client, pooler.wire() as other:
        client.send(wire.query("SELECT slow"))
        wait_until(lambda: slow_fake.queries, "the query to run")
        one = request(pooler, client)
        wait_until(lambda: slow_fake.count, "the cancel request")
        if end == "query ends":
            slow_fake.answer.set()
            assert client.trace() == "TDCZ"
        assert one.expect_closed() == []
        pooler.wait_log("cancel_wait_timeout")
        if end == "query goes on":
            assert client.silent_for(0.1), "the session goes on"
            slow_fake.answer.set()
            assert client.trace() == "TDCZ"
        assert other.value("SELECT other") == "SELECT other"
        assert client.value("SELECT again") == "SELECT again"
        pooler.wait_log("S-.*closing because: cancel_wait_timeout")
        assert slow_fake.connections == 3


def ended(raws):
    """{name: raw} of requests that are open: when each was disconnected."""
    times = {}
    with selectors.DefaultSelector() as selector:
        for name, raw in raws.items():
            selector.register(raw.sock, selectors.EVENT_READ, name)
        while len(times) < len(raws):
            found = selector.select(20 * PATIENCE)
            assert found, "nobody is disconnected"
            for key, _ in found:
                times[key.data] = time.monotonic()
                assert key.fileobj.recv(1) == b""
                selector.unregister(key.fileobj)
    return times


def spread(pooler, client, at):
    """Requests at these times (seconds from now); how long each lasted."""
    begun, raws, started = {}, {}, time.monotonic()
    for n, after in enumerate(at):
        time.sleep(max(0, started + after - time.monotonic()))
        begun[n] = time.monotonic()
        raws[n] = request(pooler, client)
    times = ended(raws)
    for raw in raws.values():
        raw.disconnect()
    return [times[n] - begun[n] for n in raws]


@pytest.mark.sanitizer
def test_each_request_has_its_own_time(make_pooler, fake):
    """cancel_wait_timeout counts from the arrival of a request: also of one that waits for the end of an earlier one's
    connection, and for the next connection then."""
    server = fake(cancel_fake(lambda conn: conn.hang_until_closed(), lambda sql: None if sql == "SELECT slow" else one_row(sql)))
    pooler = fake_pooler(make_pooler, server, cancel_wait_timeout=1)
    with pooler.wire() as client:
        client.send(wire.query("SELECT slow"))
        wait_until(lambda: server.queries, "the query to run")
        on_time(lambda: spread(pooler, client, (0, 0.1, 0.4, 0.9)), 1)
        assert client.silent_for(0.1), "the session goes on"
    pool = pooler.pool()
    assert [pool[k] for k in ("cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel")] == [0] * 3


@pytest.mark.sanitizer
def test_connection_that_gets_stuck_before_it_has_sent_the_request(make_pooler, fake, certs):
    """Who joined it later is not given up with it: another connection carries that request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs.server)
    count, answer_now = [], threading.Event()

    def script(conn):
        conn.read(8)  # SSLRequest
        count.append(1)
        if len(count) == 2:
            conn.hang_until_closed()
            return
        conn.send(b"S")
        conn.sock = context.wrap_socket(conn.sock, server_side=True)
        try:
            conn.accept_login()
        except wire.Closed:
            return
        conn.serve_queries(lambda sql: one_row(sql) if answer_now.wait(20 * PATIENCE) else None)

    server = fake(script)
    pooler = fake_pooler(make_pooler, server, cancel_wait_timeout=1.5, server_tls_sslmode="require")
    with pooler.wire(timeout=30) as client:
        client.send(wire.query("SELECT slow"))
        wait_until(lambda: server.queries, "the query to run")
        first, second = spread(pooler, client, (0, 0.8))
        assert first >= 1.5 and len(server.cancels) == 1, (first, second)
        answer_now.set()
        assert client.trace() == "TDCZ"


def test_server_that_cannot_be_reached_for_the_request(make_pooler, slow_fake):
    """The requester learns nothing, as with PostgreSQL; the log says why, and the client goes on."""
    pooler = fake_pooler(make_pooler, slow_fake)
    with pooler.wire() as client:
        client.send(wire.query("SELECT slow"))
        wait_until(lambda: slow_fake.queries, "the query to run")
        slow_fake.listener.shutdown(socket.SHUT_RDWR)
        slow_fake.listener.close()
        client.cancel()
        pooler.wait_log("cancel request failed: could not connect")
        slow_fake.answer.set()
        assert client.trace() == "TDCZ"
        assert client.value("SELECT 1") == "SELECT 1"


@pytest.mark.sanitizer
def test_client_that_leaves_after_its_cancel(make_pooler, slow_fake):
    """The request goes on: PostgreSQL does not notice that the client has gone before the query ends."""
    pooler = fake_pooler(make_pooler, slow_fake)
    with pooler.wire() as client:
        client.send(wire.query("SELECT slow"))
        wait_until(lambda: slow_fake.queries, "the query to run")
        one = request(pooler, client)
        wait_until(lambda: slow_fake.count, "the cancel request")
        two = request(pooler, client)
        wait_until(lambda: pooler.pool()["cl_waiting_cancel_req"] == 1, "the second to wait")
    assert two.expect_closed() == []
    wait_until(lambda: [s["state"] for s in pooler.servers()] == ["active_cancel"], "the server to be closed")
    slow_fake.close[0].set()
    assert one.expect_closed() == []
    wait_until(lambda: pooler.servers() == [], "the cancel connection to end")


@pytest.mark.sanitizer
def test_fast_exit_with_requests_under_way(make_pooler, slow_fake):
    """Workers stop one after the other: what they tell each other about requests meanwhile is freed, too."""
    for _ in range(4):
        pooler = fake_pooler(make_pooler, slow_fake)
        slow_fake.queries.clear()
        with pooler.wire() as client:
            client.send(wire.query("SELECT slow"))
            wait_until(lambda: slow_fake.queries, "the query to run")
            asking = [request(pooler, client) for _ in range(32)]
            wait_until(lambda: sum(pooler.pool()[f"cl_{state}_cancel_req"] for state in ("active", "waiting")) == 32, "the requests")
            assert pooler.stop() is None
            for raw in asking:
                raw.disconnect()


# ---- storms


def drain(sock):
    """To its end. Whoever finds more than max_client_conn connections that have said nothing yet is turned away."""
    try:
        while sock.recv(100):
            pass
    except ConnectionError:
        pass


def storm(pooler, count, pid, key):
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", pooler.port), timeout=10 * PATIENCE) as sock:
            sock.sendall(packet(pid, key))
            drain(sock)


def test_storm_for_a_server_that_does_not_answer(make_pooler, slow_fake):
    """Thousands of requests at once: memory and descriptors stay bounded, nobody's place is taken, and what has
    not been worked on is bounded in time."""
    pooler = fake_pooler(make_pooler, slow_fake, max_client_conn=50, cancel_wait_timeout=60)
    socks = []
    with pooler.wire() as client, pooler.wire(user="alice") as other, pooler.raw() as console:
        console.login("admin", "pgbouncer")
        client.send(wire.query("SELECT slow"))
        wait_until(lambda: slow_fake.queries, "the query to run")
        try:
            for n in range(3000):
                socks.append(socket.create_connection(("127.0.0.1", pooler.port), timeout=10 * PATIENCE))
                socks[-1].sendall(packet(client.pid, client.key))
                if n == 1000:
                    before = process_rss_bytes(pooler.pid)
            assert other.value("SELECT fine") == "SELECT fine"
            with pooler.wire(user="bob") as newcomer:
                assert newcomer.value("SELECT new") == "SELECT new"
            assert process_rss_bytes(pooler.pid) < before + (8 << 20)
            waiting = sum(int(row[5]) + int(row[4]) for row in console.rows("SHOW POOLS"))
            assert 256 <= waiting <= 258 * pooler.workers
            console.query("SET cancel_wait_timeout = 0.1")
            for sock in socks:
                drain(sock)
        finally:
            for sock in socks:
                sock.close()
        slow_fake.answer.set()
        assert client.trace() == "TDCZ"
        assert len(slow_fake.count) <= 2


def test_storm_of_unknown_keys(make_pooler):
    """Closed at once, and they never take the places of clients for long."""
    pooler = make_pooler(settings={"max_client_conn": 20})
    with pooler.wire() as client:
        threads = [threading.Thread(target=storm, args=(pooler, 300, n << 24, struct.pack("!I", n))) for n in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(50):
            assert client.value("SELECT 1") == "1"
        for thread in threads:
            thread.join(30 * PATIENCE)
            assert not thread.is_alive()
        clients = [pooler.wire() for _ in range(18)]
        assert all(c.value("SELECT 1") == "1" for c in clients)
        for each in clients:
            each.disconnect()


def test_postmaster_that_is_stopped(make_pooler, own_pg):
    """It takes no request: the server is held, then given up; nobody else is hit when it comes back."""
    pooler = make_pooler(postgres=own_pg, settings={"default_pool_size": 1, "cancel_wait_timeout": 0.5, "server_login_retry": 0.2})
    with pooler.wire() as client, pooler.wire(timeout=30) as other:
        client.send(wire.query("SELECT pg_sleep(1)"))
        wait_until(lambda: pooler.pool()["sv_active"] == 1, "the query to run")
        own_pg.process.send_signal(signal.SIGSTOP)
        try:
            client.cancel()
            assert client.trace() == "TDCZ"
        finally:
            own_pg.process.send_signal(signal.SIGCONT)
        assert other.value("SELECT 'unharmed'") == "unharmed"
        other.send(wire.query("SELECT pg_sleep(0.3)"))
        assert other.trace() == "TDCZ"
