"""Every timeout strikes when it says: never early, and at most 50 ms late on a machine that has time."""
import itertools
import threading
import time

import pytest

from harness import wire
from harness.fakeserver import one_row
from harness.util import PATIENCE, on_time

pytestmark = pytest.mark.own

LIMIT = 0.4  # seconds
POOL_LIMIT = 1.2  # longer than the second in which pools are looked at, whatever their timeouts


def closed(client, began, sqlstate):
    errors = [m.sqlstate for m in client.expect_closed() if m.kind == "E"]
    assert errors == [sqlstate]
    return time.monotonic() - began


def runs(pooler):
    with pooler.wire() as client:
        client.query("SELECT 1")  # so that there is a server
        began = time.monotonic()
        client.send(wire.query("SELECT pg_sleep(60)"))
        return closed(client, began, "57014")


def is_canceled(pooler):
    with pooler.wire() as client:
        began = time.monotonic()
        client.send(wire.query("SELECT pg_sleep(60)"))
        assert [m.sqlstate for m in client.until() if m.kind == "E"] == ["57014"]
        return time.monotonic() - began


def in_transaction(sqlstate):
    def strike(pooler):
        with pooler.wire() as client:
            began = time.monotonic()
            client.query("BEGIN")
            return closed(client, began, sqlstate)
    return strike


def rests(pooler):
    with pooler.wire() as client:
        began = time.monotonic()
        client.query("SELECT 1")
        return closed(client, began, "57P05")


def waits(sqlstate):
    def strike(pooler):
        with pooler.wire() as busy, pooler.wire() as client:
            busy.query("BEGIN")
            began = time.monotonic()
            client.send(wire.query("SELECT 1"))
            return closed(client, began, sqlstate)
    return strike


def logs_in(pooler):
    began = time.monotonic()
    with pooler.raw() as client:
        return closed(client, began, "57014")


def asked_for_its_password(pooler):
    began = time.monotonic()
    with pooler.raw() as client:
        client.send(wire.startup_packet({"user": "app", "database": "app"}))
        return closed(client, began, "57014")


STRIKES = {
    "query": ({"query_timeout": LIMIT}, runs),
    "query, canceled": ({"query_timeout": LIMIT, "timeout_action": "cancel"}, is_canceled),
    "query, statement mode": ({"query_timeout": LIMIT, "pool_mode": "statement"}, runs),
    "query that waits": ({"query_timeout": LIMIT}, waits("57014")),
    "transaction": ({"transaction_timeout": LIMIT}, in_transaction("25P04")),
    "idle transaction": ({"idle_transaction_timeout": LIMIT}, in_transaction("25P03")),
    "client idle": ({"client_idle_timeout": LIMIT}, rests),
    "query wait": ({"query_wait_timeout": LIMIT}, waits("53300")),
    "login, silent": ({"client_login_timeout": LIMIT}, logs_in),
    "login, password": ({"client_login_timeout": LIMIT, "auth_type": "md5"}, asked_for_its_password),
}


@pytest.mark.parametrize("which", STRIKES)
def test_clients(make_pooler, which):
    settings, strike = STRIKES[which]
    pooler = make_pooler(settings={"tcp_defer_accept": 0, "default_pool_size": 1, **settings}, userlist={"app": "x"})
    on_time(lambda: strike(pooler), LIMIT)


def test_notice_to_who_waits(make_pooler):
    pooler = make_pooler(settings={"query_wait_notify": 1, "default_pool_size": 1})

    def strike():
        with pooler.wire() as busy, pooler.wire() as client:
            busy.query("BEGIN")
            began = time.monotonic()
            client.send(wire.query("SELECT 1"))
            assert client.receive().sqlstate == "00000"
            return time.monotonic() - began
    on_time(strike, 1)


def test_many_at_once(make_pooler):
    """Those that are due in the same moment hold up none of them."""
    pooler = make_pooler(settings={"query_wait_timeout": LIMIT, "default_pool_size": 1})

    def strike():
        with pooler.wire() as busy:
            clients = [pooler.wire() for _ in range(40)]
            busy.query("BEGIN")
            begun, took = [], []
            for client in clients:
                begun.append(time.monotonic())
                client.send(wire.query("SELECT 1"))
            for client, began in zip(clients, begun):
                took.append(closed(client, began, "53300"))
                client.disconnect()
            return took
    on_time(strike, LIMIT)


class Closes:
    """A script that notes when its connection is closed."""

    def __init__(self, lets_in):
        self.lets_in, self.at, self.event = lets_in, None, threading.Event()

    def __call__(self, conn):
        try:
            conn.read_startup() if not self.lets_in else conn.accept_login()
            if self.lets_in:
                conn.serve_queries(one_row)
            else:
                conn.hang_until_closed()
        finally:
            self.at = time.monotonic()
            self.event.set()

    def wait(self):
        assert self.event.wait(20 * PATIENCE), "the server connection is not closed"
        self.event.clear()
        return self.at


@pytest.mark.parametrize("which, limit", [("server_connect_timeout", LIMIT), *itertools.product(
    ["pool_idle_timeout", "autodb_idle_timeout"], [LIMIT, POOL_LIMIT])])
def test_servers(make_pooler, fake, which, limit):
    """Measured where the connection ends. Each strike has a pool of its own."""
    closes = Closes(which != "server_connect_timeout")
    server = fake(closes)
    number = iter(range(100))
    databases = {f"named{n}": f"{server.dsn} dbname=x" for n in range(20)}
    pooler = make_pooler(databases={**databases, "*": f"{server.dsn} dbname=x"}, settings={
        "pool_idle_timeout": 0, "autodb_idle_timeout": 0, "server_idle_timeout": 0, "server_tls_sslmode": "disable",
        "server_login_retry": 60, which: limit})
    prefix = "made_up" if which == "autodb_idle_timeout" else "named"

    def strike():
        database = f"{prefix}{next(number)}"
        with pooler.raw() as client:
            began = time.monotonic()
            if closes.lets_in:
                client.login("app", database)
                assert client.value("SELECT 1") == "SELECT 1"
                began = time.monotonic()
                client.goodbye()
            else:
                client.send(wire.startup_packet({"user": "app", "database": database}))
            return closes.wait() - began
    on_time(strike, limit)
