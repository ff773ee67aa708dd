"""How an orchestrator stops pgsluice: the grace before a drain, a sidecar's wait, and one of two instances behind one port replaced
under load."""
import collections
import contextlib
import itertools
import signal
import threading
import time
import urllib.error
import urllib.request

import pytest

from harness import wire
from harness.util import PATIENCE, free_port, wait_until

pytestmark = [pytest.mark.own, pytest.mark.sanitizer]


def ready(pooler):
    """(status, text) of /readyz."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{pooler.settings['http_listen']}/readyz", timeout=10 * PATIENCE) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()


def make(make_pooler, **settings):
    return make_pooler(settings={"http_listen": free_port(), "sigterm_action": "drain", "shutdown_timeout": 20, **settings})


def told(client):
    return [m.sqlstate for m in client.expect_closed() if m.kind == "E"]


def logged_after(pooler, first, second):
    """Seconds between two lines of the log."""
    def at(text):
        clock = next(line for line in pooler.log().splitlines() if text in line).split()[1]
        hours, minutes, seconds = clock.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return (at(second) - at(first)) % 86400


# ---- drain

def test_all_goes_on_in_the_grace(make_pooler):
    """Not ready at once; but whoever comes is served, until the load balancer has had its time."""
    pooler = make(make_pooler, drain_grace_time=2, shutdown_rate=0)
    assert ready(pooler) == (200, "ok")
    with pooler.wire() as idle, pooler.wire() as busy:
        busy.query("BEGIN")
        pooler.send_signal(signal.SIGTERM)
        wait_until(lambda: ready(pooler) == (503, "shutting down"), "/readyz")
        with pooler.wire() as late:
            assert late.value("SELECT 1") == "1"
        assert idle.value("SELECT 1") == "1"
        assert pooler.show("VERSION")
        assert told(idle) == ["57P01"]
        assert not pooler.is_listening_now()
        assert busy.value("SELECT 1") == "1"
        busy.query("COMMIT")
        assert told(busy) == ["57P01"]
    assert pooler.wait_exit() == 0
    assert logged_after(pooler, "got SIGTERM", "closing clients as their transactions end") >= 1.9


def test_grace_without_clients(make_pooler):
    """Nobody is there now; who is still being sent here must find somebody."""
    pooler = make(make_pooler, drain_grace_time=1)
    pooler.send_signal(signal.SIGTERM)
    wait_until(lambda: ready(pooler)[0] == 503, "/readyz")
    with pooler.wire() as late:
        assert late.value("SELECT 1") == "1"
        assert told(late) == ["57P01"]
    assert pooler.wait_exit() == 0


@contextlib.contextmanager
def ended_in_the_grace(make_pooler, **settings):
    """Long before its end: by what is done while a client is still served."""
    pooler = make(make_pooler, drain_grace_time=60, **settings)
    with pooler.wire() as client:
        pooler.send_signal(signal.SIGTERM)
        wait_until(lambda: ready(pooler)[0] == 503, "/readyz")
        assert client.value("SELECT 1") == "1"
        yield pooler
        assert told(client) == ["57P01"]
    assert pooler.wait_exit() == 0


def test_second_signal_in_the_grace(make_pooler):
    with ended_in_the_grace(make_pooler) as pooler:
        pooler.send_signal(signal.SIGTERM)


def test_console_in_the_grace(make_pooler):
    """A drain that is ordered begins at once; and settings may be changed on the way."""
    with ended_in_the_grace(make_pooler, shutdown_rate=0) as pooler, pooler.console() as console:
        console.execute("SHUTDOWN DRAIN")


def test_grace_may_be_shortened(make_pooler):
    with ended_in_the_grace(make_pooler, shutdown_rate=0) as pooler:
        pooler.admin("SET drain_grace_time = 0")


def test_timeout_counts_from_the_end_of_the_grace(make_pooler):
    """Who does not end his transaction is told, too. Meanwhile the log says how far it has come."""
    pooler = make(make_pooler, drain_grace_time=1, shutdown_timeout=4)
    with pooler.wire() as client:
        client.query("BEGIN")
        began = time.monotonic()
        pooler.send_signal(signal.SIGTERM)
        assert told(client) == ["57P01"]
        assert 4.9 <= time.monotonic() - began
    assert pooler.wait_exit() == 0
    assert pooler.log_lines(r"shutting down: 1 client and 1 server connection left")
    assert pooler.log_lines("shutdown_timeout: closing the last 1 client")


def test_defaults_fit_into_thirty_seconds(pooler):
    """What an orchestrator usually gives."""
    assert float(pooler.config("drain_grace_time")) == 5 and float(pooler.config("shutdown_timeout")) == 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_whoever_is_in_the_queue_of_connections_is_told(make_pooler, number):
    """Connections that the kernel has made and nobody has accepted yet when the listener closes: an answer, no reset."""
    pooler = make(make_pooler, listen_backlog=256)
    pooler.send_signal(signal.SIGSTOP)
    clients = [pooler.raw() for _ in range(150)]  # more than are accepted at a time
    for client in clients:
        client.send(wire.startup_packet({"user": "app", "database": "app"}))
    pooler.send_signal(number)
    pooler.send_signal(signal.SIGCONT)
    for client in clients:
        messages = client.expect_closed()
        # whoever was accepted first may have got in
        assert messages and messages[-1].sqlstate in ("57P01", "57P03"), messages
        client.disconnect()
    assert pooler.wait_exit() == 0


def test_settings_for_a_worker_that_has_stopped(make_pooler, fake):
    """Another one still takes its leave of a server that does not close. What is mailed meanwhile is freed in the end."""
    def never_closes(conn):
        conn.accept_login()
        conn.serve_queries()
        conn.hang()

    server = fake(never_closes)
    pooler = make_pooler(databases={"app": server.dsn}, settings={"server_tls_sslmode": "disable"})
    with pooler.wire() as client:
        client.query("SELECT 1")
    configs = itertools.cycle([{}, dict(pooler.databases)])
    pooler.send_signal(signal.SIGINT)
    pooler.wait_log("closing all connections")

    def has_ended():
        pooler.databases = next(configs)
        pooler.write_config()
        pooler.send_signal(signal.SIGHUP)
        return not pooler.is_running()
    wait_until(has_ended, "the end")
    assert pooler.wait_exit() == 0
    assert pooler.log_lines("database app removed")


# ---- a sidecar

def sidecar(make_pooler, **settings):
    return make_pooler(settings={"environment": "sidecar", "http_listen": free_port(), "max_client_conn": None,
                                 "default_pool_size": None, **settings})


def test_sidecar_waits_for_its_application(make_pooler):
    """Which may have been told to stop at the same time, and still has work to do: also on new connections."""
    pooler = sidecar(make_pooler)
    assert pooler.config("sigterm_action") == "wait_then_drain"
    with pooler.wire() as client:
        pooler.send_signal(signal.SIGTERM)
        wait_until(lambda: ready(pooler)[0] == 503, "/readyz")
        assert client.value("SELECT 1") == "1"
        with pooler.wire() as other:
            assert other.value("SELECT 1") == "1"
        wait_until(lambda: len(pooler.clients()) == 1, "the other to be gone")
        assert ready(pooler)[0] == 503
        assert client.value("SELECT 1") == "1"
        client.goodbye()
    assert pooler.wait_exit() == 0
    assert pooler.log_lines("last client has gone")


def test_sidecar_without_clients_ends_at_once(make_pooler):
    pooler = sidecar(make_pooler)
    pooler.send_signal(signal.SIGTERM)
    assert pooler.wait_exit(4) == 0


def test_sidecar_ends_clients_after_a_while(make_pooler):
    """After shutdown_timeout at their transactions' ends; after drain_grace_time more in any case."""
    pooler = sidecar(make_pooler, shutdown_timeout=1, drain_grace_time=2)
    with pooler.wire() as idle, pooler.wire() as quick, pooler.wire() as stuck:
        quick.query("BEGIN")
        stuck.query("BEGIN")
        began = time.monotonic()
        pooler.send_signal(signal.SIGTERM)
        assert told(idle) == ["57P01"]
        assert time.monotonic() - began >= 0.95
        assert quick.value("SELECT 1") == "1"
        quick.query("COMMIT")
        assert told(quick) == ["57P01"]
        assert told(stuck) == ["57P01"]
        assert time.monotonic() - began >= 2.9
    assert pooler.wait_exit() == 0


# ---- one of two instances behind one port is replaced

def ask(client, sql):
    """None when it went well, else why not: an SQLSTATE, or how the connection ended without one."""
    said = None
    try:
        client.send(wire.query(sql))
    except OSError:
        pass  # closed meanwhile: the reason is there to be read
    try:
        while True:
            message = client.receive()
            if message.kind == "E":
                said = message.sqlstate
            elif message.kind == "Z":
                return said
    except (OSError, wire.Closed) as error:
        return said or repr(error)


class Clients:
    """Transactions of two statements; whoever loses the connection connects again, as an application's pool does."""

    def __init__(self, port, count):
        self.port, self.stopping = port, threading.Event()
        self.committed = [[] for _ in range(count)]
        self.lost, self.not_begun, self.retries, self.connects = [], collections.Counter(), collections.Counter(), 0
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def _connect(self):
        tries = 0
        while True:
            client = None
            try:
                client = wire.Wire("127.0.0.1", self.port, timeout=30 * PATIENCE)
                client.login("app", "app")
                self.connects += 1
                self.retries[tries] += 1
                return client
            except (OSError, wire.Closed, wire.ServerError):
                if client is not None:
                    client.disconnect()
                tries += 1
                assert tries < 20

    def _transaction(self, client, me, n):
        """False: the connection is over."""
        statements = ["BEGIN", f"INSERT INTO moved VALUES ({me}, {n}, 1)",
                      f"INSERT INTO moved SELECT {me}, {n}, 2 FROM pg_sleep(random() / 20)", "COMMIT"]
        for at, sql in enumerate(statements):
            said = ask(client, sql)
            if said:
                if at == 0:
                    self.not_begun[said] += 1
                else:
                    self.lost.append((me, n, sql, said))
                return False
        self.committed[me].append(n)
        return True

    def _run(self, me):
        n, client = 0, self._connect()
        while not self.stopping.is_set():
            n += 1
            if not self._transaction(client, me, n) or n % 50 == me:
                client.disconnect()
                client = self._connect()
        client.disconnect()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30 * PATIENCE)
        assert not any(thread.is_alive() for thread in self.threads), "a client hangs"

    def wait_for_more(self, count):
        goal = sum(map(len, self.committed)) + count
        wait_until(lambda: sum(map(len, self.committed)) >= goal or self.lost, "more transactions", 30)


def test_replacing_one_of_two_under_load(make_pooler, pg):
    """No transaction that had begun is lost, a connect needs one retry at most, and who is closed reads why."""
    port = free_port()
    with pg.connect() as direct:
        direct.execute("DROP TABLE IF EXISTS moved; CREATE TABLE moved (client int, n int, part int); GRANT ALL ON moved TO PUBLIC")
    pair = []
    for _ in range(2):
        one = make_pooler(start=False, settings={"listen_port": port, "so_reuseport": 1, "sigterm_action": "drain",
                                                 "drain_grace_time": "500ms", "shutdown_rate": 100})
        one.port = port
        pair.append(one.start())
    clients = Clients(port, 12)
    try:
        clients.wait_for_more(100)
        for turn in range(4):
            old = pair[turn % 2]
            old.send_signal(signal.SIGTERM)
            clients.wait_for_more(20)
            assert old.wait_exit() == 0
            clients.wait_for_more(50)
            old.start(wait=False)
            old.wait_log("process up", turn // 2 + 2)
            clients.wait_for_more(50)
    finally:
        clients.stop()
    assert not clients.lost, clients.lost[:3]
    assert set(clients.not_begun) == {"57P01"}, clients.not_begun
    assert set(clients.retries) <= {0, 1}, clients.retries
    for one in pair:
        assert one.log_lines("closing because: pooler is shutting down")
    with pg.connect() as direct:
        there = collections.Counter(tuple(row) for row in direct.execute("SELECT client, n FROM moved"))
    assert there == {(me, n): 2 for me, done in enumerate(clients.committed) for n in done}
