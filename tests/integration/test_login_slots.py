"""One address cannot use up the places for those who log in; and many clients of one address may log in as long as there is room."""
import contextlib
import re
import struct
import threading
import time

import pytest

from harness import wire
from harness.load import Load
from harness.util import PATIENCE, wait_until
from harness.wire import Closed, ServerError, Wire, tls_context
from test_client_tls import client_hello, tls_settings

PLACES = 24  # more than a few per worker
CROWD = "127.0.0.2"
PASSWORD = "secret"


@pytest.fixture
def make(make_pooler, certs):
    def start(**settings):
        pooler = make_pooler(settings={"max_client_conn": PLACES, "tcp_defer_accept": 0, "verbose": 1, "auth_type": "plain",
                                     **tls_settings(certs, "prefer"), **settings}, userlist={"app": PASSWORD, "admin": PASSWORD})
        pooler.login_with = {"password": PASSWORD}
        return pooler
    return start


@contextlib.contextmanager
def many(pooler, count, source, say=b""):
    """Connections of one address that say something, or nothing, and leave it at that."""
    before = len(pooler.log_lines(f"@{source}:[0-9]+ connected"))
    clients = [Wire("127.0.0.1", pooler.port, timeout=60, source=source) for _ in range(count)]
    for client in clients:
        client.send(say)
    pooler.wait_log(f"@{source}:[0-9]+ connected", count=before + count)
    try:
        yield clients
    finally:
        for client in clients:
            client.disconnect()


STARTUP = wire.startup_packet({"user": "app", "database": "app"})


@pytest.mark.sanitizer
@pytest.mark.parametrize("say", [b"", b"\0", STARTUP, struct.pack("!II", 8, wire.SSL_REQUEST)],
                         ids=["nothing", "a byte", "a name", "asks for TLS"])
def test_silent_connections(make, say):
    """Others get in at once, over and over, and those who stay keep their places."""
    pooler = make()
    with Load(pooler, 2, password=PASSWORD) as steady, many(pooler, PLACES + 10, CROWD, say):
        inside = [pooler.wire(password=PASSWORD) for _ in range(PLACES // 2 - 3)]
        assert all(client.value("SELECT 1") == "1" for client in inside)
        for _ in range(5):
            pooler.wire(password=PASSWORD).goodbye()
        assert all(client.value("SELECT 1") == "1" for client in inside)
        steady.more(50)
        assert not steady.errors
    assert len(pooler.wait_log(f"address {CROWD} has the most logins in progress")) <= pooler.workers


def test_they_are_told_if_they_have_spoken(make):
    pooler = make()
    with many(pooler, PLACES, CROWD, STARTUP) as crowd:
        assert all(client.receive().kind == "R" for client in crowd)
        with pooler.wire(password=PASSWORD):
            answers = []

            def listen(client):
                with contextlib.suppress(OSError):  # closed by us at the end
                    answers.extend(client.expect_closed())

            for client in crowd:
                threading.Thread(target=listen, args=(client,), daemon=True).start()
            wait_until(lambda: answers, "one of them to be told")
    assert answers[0].sqlstate == "53300" and "too many logins in progress from this address" in answers[0].text
    assert pooler.closes("login_crowded") >= 1


def test_a_crowd_that_is_in_nobodys_way(make):
    """All places are of one address, and its logins are slow: each of them gets in."""
    pooler = make()
    with many(pooler, PLACES, CROWD, STARTUP) as crowd:
        assert all(client.receive().kind == "R" for client in crowd)
        for client in crowd:
            client.send(wire.message("p", wire.cstr(PASSWORD)))
        for client in crowd:
            assert client.until("ZE")[-1].kind == "Z"
        with pytest.raises(ServerError, match="no more connections allowed"):  # who is in is in
            pooler.wire(password=PASSWORD)


def test_one_more_of_the_same_address(make):
    """Nobody of it gives way to it."""
    pooler = make()
    with many(pooler, PLACES, "127.0.0.1", STARTUP) as crowd:
        assert all(client.receive().kind == "R" for client in crowd)
        with pytest.raises(ServerError, match="no more connections allowed"):
            pooler.wire(password=PASSWORD)
        crowd[0].send(wire.message("p", wire.cstr(PASSWORD)))
        assert crowd[0].until("ZE")[-1].kind == "Z"


def test_fair_shares(make, workers):
    """The newcomers are a crowd themselves: they get their share, and not more."""
    pooler = make()
    with many(pooler, PLACES, CROWD, STARTUP) as old, many(pooler, PLACES, "127.0.0.3", STARTUP) as new:
        left = [sum(self_is_in(client) for client in crowd) for crowd in (old, new)]
    assert sum(left) == PLACES
    # each worker shares out what it has; of an odd number one has one more
    assert abs(left[0] - left[1]) <= 2 * workers, left


def self_is_in(client):
    """Has it been asked for its password, and is it let in with it?"""
    try:
        messages = client.until("RE")
        if messages[-1].kind != "R":
            return False
        client.send(wire.message("p", wire.cstr(PASSWORD)))
        return client.until("ZE")[-1].kind == "Z"
    except (Closed, OSError):
        return False


@pytest.mark.sanitizer
def test_more_of_one_worker_than_are_looked_at(make):
    """The oldest 256 logins of a worker are looked at for who gives way; there may be more."""
    pooler = make(workers=1, max_client_conn=400)
    with many(pooler, 400, CROWD, b"\0"):
        for _ in range(3):
            pooler.wire(password=PASSWORD).goodbye()


def test_operator(make):
    """The console needs no place, but a connection that may become one does."""
    pooler = make()
    with many(pooler, PLACES + 100, CROWD, b"\0"):
        for _ in range(3):
            assert pooler.show("VERSION")


# ---- handshakes ------------------------------------------------------------------------------------------------

def handshake_places(workers):
    return {"max_logins_in_progress": 4 * workers, "max_client_conn": 1000}


@pytest.mark.sanitizer
def test_a_queue_of_one_address(make, workers):
    """Of those who wait for a handshake the next is whose address has the fewest: not behind hundreds of the others."""
    pooler = make(**handshake_places(workers))
    with Load(pooler, 2, password=PASSWORD) as steady, \
            many(pooler, 100 * workers, CROWD, struct.pack("!II", 8, wire.SSL_REQUEST)) as crowd:
        for client in crowd:
            assert client.receive_bytes(1) == b"S"
            client.send(client_hello())
        wait_until(lambda: len(pooler.log_lines("TLS handshake failed: the client was silent")) > 0, "the first to lose its place")
        for _ in range(3):
            with pooler.raw(timeout=60) as client:
                client.start_tls()
                client.login("app", "app", PASSWORD)
                assert client.value("SELECT 1") == "1"
        # a place or two on its own worker, and those of the others meanwhile; in order of coming it would be all the crowd
        for before_it in silent_ones_before(pooler.log(), "127.0.0.1"):
            assert before_it <= 3 * 4 * workers, before_it
        steady.more(50)
        assert not steady.errors


def silent_ones_before(log, source):
    """How many lost their places between the coming and the handshake of each client from there."""
    counts, since = [], {}
    silent = 0
    for line in log.splitlines():
        client = re.search(rf"(C-[0-9]+): .*@{re.escape(source)}:[0-9]+ (connected|TLS established)", line)
        if client and client[2] == "connected":
            since[client[1]] = silent
        elif client:
            counts.append(silent - since[client[1]])
        silent += "the client was silent" in line
    assert len(counts) == 3
    return counts


class Trickle:
    """Sends a ClientHello byte by byte for ever, on each of many connections."""

    def __init__(self, clients):
        self.clients, self.stopping = clients, threading.Event()
        self.rounds = 0
        self.thread = threading.Thread(target=self._work)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        self.thread.join(60 * PATIENCE)

    def _work(self):
        hello = client_hello()
        while not self.stopping.is_set() and self.rounds < len(hello) - 1:
            for client in self.clients:
                with contextlib.suppress(OSError):
                    client.send(hello[self.rounds:self.rounds + 1])
            self.rounds += 1
            time.sleep(0.1)


def test_a_trickle_of_one_address(make, workers):
    """Something always comes of them, so they are never silent; they have the most, so they give way all the same."""
    pooler = make(**handshake_places(workers))
    with Load(pooler, 2, password=PASSWORD) as steady, \
            many(pooler, 8 * workers, CROWD, struct.pack("!II", 8, wire.SSL_REQUEST)) as crowd:
        assert all(client.receive_bytes(1) == b"S" for client in crowd)
        with Trickle(crowd) as trickle:
            wait_until(lambda: trickle.rounds >= 3, "the trickle")
            steady.more(50)
            for _ in range(3):
                with pooler.raw(timeout=60) as client:
                    client.start_tls(tls_context())
                    client.login("app", "app", PASSWORD)
                    assert client.value("SELECT 1") == "1"
            steady.more(50)
            assert not steady.errors
            assert not trickle.stopping.is_set() and trickle.thread.is_alive()
