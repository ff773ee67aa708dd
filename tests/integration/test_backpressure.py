"""A side that does not read stops the other side; the memory of the pooler stays bounded."""
import socket
import struct
import threading
import time

import pytest

from harness import wire
from harness.fakeserver import ready
from harness.util import PATIENCE, process_cpu_seconds, process_rss_bytes, wait_until

MIB = 1 << 20


def big_result(megabytes):
    return f"SELECT repeat('x', 1048000) FROM generate_series(1, {megabytes})"


def settled(measure, timeout=10):
    """Waits until measure() has stopped changing."""
    last = [None, 0]

    def same():
        now = measure()
        last[1] = last[1] + 1 if now == last[0] else 0
        last[0] = now
        return last[1] >= 5

    wait_until(same, "a steady state", timeout, every=0.05)
    return last[0]


@pytest.mark.sanitizer
def test_client_that_does_not_read_a_large_result(pooler, pg):
    baseline = process_rss_bytes(pooler.pid)
    with pooler.raw(receive_buffer=65536, timeout=60) as slow, pooler.wire() as other:
        slow.login("app", "app")
        slow.send(wire.query(big_result(500)))
        wait_until(lambda: pg.backends("wait_event = 'ClientWrite'") == 1, "the server to wait")
        assert process_rss_bytes(pooler.pid) - baseline < 48 * MIB * PATIENCE
        before = process_cpu_seconds(pooler.pid)
        time.sleep(0.5)
        assert process_cpu_seconds(pooler.pid) - before < 0.2 * PATIENCE, "the pooler spins"
        assert other.value("SELECT 'served meanwhile'") == "served meanwhile"


def test_slow_client_gets_the_whole_result(pooler, pg):
    with pooler.raw(receive_buffer=65536, timeout=60) as slow:
        slow.login("app", "app")
        slow.send(wire.query(big_result(100)))
        wait_until(lambda: pg.backends("wait_event = 'ClientWrite'") == 1, "the server to wait")
        rows = total = 0
        while True:
            msg = slow.receive()
            if msg.kind == "D":
                rows, total = rows + 1, total + len(msg.payload)
            if msg.kind == "Z":
                break
        assert rows == 100 and total >= 100 * 1048000
        assert slow.value("SELECT 1") == "1"


def test_memory_comes_back_after_a_large_result(pooler):
    with pooler.wire(timeout=60) as client:
        client.query(big_result(20))
        baseline = process_rss_bytes(pooler.pid)
        for _ in range(5):
            client.query(big_result(40))
        assert process_rss_bytes(pooler.pid) - baseline < 24 * MIB * PATIENCE


@pytest.mark.sanitizer
def test_server_that_does_not_read(make_pooler, fake, pg):
    """A client that sends COPY data or a huge query faster than the server takes it must be stopped."""
    reading = threading.Event()
    received = [0]

    def script(conn):
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        conn.accept_login()
        head = conn.read(5)
        reading.wait(30 * PATIENCE)
        left = struct.unpack("!I", head[1:])[0] - 4
        while left:
            piece = conn.sock.recv(min(left, 1 << 20))
            if not piece:
                return
            left -= len(piece)
            received[0] += len(piece)
        conn.send(wire.message("C", b"SELECT 0\0"), ready())
        conn.serve_queries()

    pooler = make_pooler(databases={"app": f"{fake(script).dsn} dbname=app", "app2": f"{pg.dsn} dbname=app2"})
    baseline = process_rss_bytes(pooler.pid)
    size = 200 * MIB
    with pooler.wire(timeout=60) as client, pooler.wire(database="app2") as other:
        sent = [0]

        def send():
            client.send(b"Q" + struct.pack("!I", size + 4))
            piece = b"x" * MIB
            while sent[0] < size:
                client.send(piece[:size - sent[0]])
                sent[0] += len(piece)

        thread = threading.Thread(target=send)
        thread.start()
        stalled = settled(lambda: sent[0])
        assert stalled < 100 * MIB, "nobody stopped the client"
        assert process_rss_bytes(pooler.pid) - baseline < 48 * MIB * PATIENCE
        before = process_cpu_seconds(pooler.pid)
        time.sleep(0.5)
        assert process_cpu_seconds(pooler.pid) - before < 0.2 * PATIENCE, "the pooler spins"
        assert other.value("SELECT 1") == "1"
        reading.set()
        assert client.trace() == "CZ"
        thread.join(10 * PATIENCE)
        assert received[0] == size


@pytest.mark.sanitizer
def test_client_that_does_not_read_and_goes_away(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 1})
    slow = pooler.raw(receive_buffer=65536)
    slow.login("app", "app")
    slow.send(wire.query(big_result(300)))
    wait_until(lambda: pg.backends("wait_event = 'ClientWrite'") == 1, "the server to wait")
    slow.reset()
    with pooler.wire() as other:
        assert other.value("SELECT 1") == "1"


def test_client_that_pipelines_without_reading(make_pooler):
    """Requests are not read without bound either when the answers are not taken."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.raw(receive_buffer=65536, timeout=60) as client:
        client.login("app", "app")
        request = wire.query("SELECT repeat('y', 10000)")
        baseline = process_rss_bytes(pooler.pid)
        sent = [0]

        def send():
            for _ in range(5000):
                client.send(request)
                sent[0] += 1

        thread = threading.Thread(target=send)
        thread.start()
        settled(lambda: sent[0])
        assert process_rss_bytes(pooler.pid) - baseline < 48 * MIB * PATIENCE
        answers = 0
        while answers < 5000:
            answers += client.receive().kind == "Z"
        thread.join(10 * PATIENCE)


def test_many_slow_clients_do_not_stop_the_fast_one(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 8})
    slow = []
    for _ in range(6):
        client = pooler.raw(receive_buffer=65536)
        client.login("app", "app")
        client.send(wire.query(big_result(50)))
        slow.append(client)
    with pooler.wire() as fast:
        started = time.monotonic()
        for _ in range(50):
            assert fast.value("SELECT 1") == "1"
        assert time.monotonic() - started < 5 * PATIENCE
    for client in slow:
        client.reset()
