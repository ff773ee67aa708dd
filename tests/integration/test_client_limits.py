"""Limits on clients: of the whole, of a database, of a user; who is counted where, and that an operator always gets in."""
import os
import socket
import threading
import time

import pytest

from harness import wire
from harness.util import wait_until
from harness.wire import Closed, ServerError, Wire

DB_WORDS = r"client connections exceeded \(max_db_client_connections\)"
USER_WORDS = r"client connections exceeded \(max_user_client_connections\)"


def close_all(clients):
    for client in clients:
        client.disconnect()


def can_login(pooler, **kwargs):
    """A login that stays, or None when there is no place."""
    try:
        return pooler.wire(**kwargs)
    except ServerError as error:
        assert error.sqlstate == "53300", error
        return None


def fill(pooler, count, **kwargs):
    """Takes all places; the connection with which the harness looked whether the pooler listens may still have one."""
    return [wait_until(lambda: can_login(pooler, **kwargs), "a place to be free") for _ in range(count)]


def login_storm(pooler, count, **kwargs):
    """count logins at one time: those that got in, and the errors of the others."""
    inside, refused, lock = [], [], threading.Lock()
    barrier = threading.Barrier(count)

    def one():
        barrier.wait()
        try:
            client = pooler.wire(**kwargs)
        except ServerError as error:
            with lock:
                refused.append(error)
        else:
            with lock:
                inside.append(client)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return inside, refused


def row_of(pooler, relation, name):
    return next(row for row in pooler.show(relation) if row["name"] == name)


def is_counted(pooler, relation, name, count):
    return row_of(pooler, relation, name)["current_client_connections"] == count


# ---- databases and users

@pytest.mark.sanitizer
@pytest.mark.parametrize("setting, words", [("max_db_client_connections", DB_WORDS), ("max_user_client_connections", USER_WORDS)])
def test_exact_in_a_storm(make_pooler, setting, words):
    """Of forty logins at one time seven get in, each time."""
    pooler = make_pooler(settings={setting: 7})
    for _ in range(5):
        inside, refused = login_storm(pooler, 40)
        assert len(inside) == 7 and len(refused) == 33
        assert {error.sqlstate for error in refused} == {"53300"}
        for error in refused:
            assert error.msg.text.startswith(words.replace("\\", ""))
        close_all(inside)
        wait_until(lambda: is_counted(pooler, "DATABASES", "app", 0), "all to be gone")


def test_of_the_database_over_its_users(make_pooler):
    pooler = make_pooler(settings={"max_db_client_connections": 2})
    clients = [pooler.wire(user="app"), pooler.wire(user="alice")]
    with pytest.raises(ServerError, match=DB_WORDS):
        pooler.wire(user="bob")
    clients.append(pooler.wire(user="bob", database="app2"))
    close_all(clients)


def test_of_the_user_over_databases(make_pooler):
    pooler = make_pooler(settings={"max_user_client_connections": 2})
    clients = [pooler.wire(), pooler.wire(database="app2")]
    with pytest.raises(ServerError, match=USER_WORDS):
        pooler.wire()
    clients.append(pooler.wire(user="alice"))
    close_all(clients)


@pytest.mark.own
def test_the_name_that_logs_in_counts(make_pooler, pg):
    """Servers of the database log in as bob: that makes none of its clients bob."""
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app user=bob", "app2": f"{pg.dsn} dbname=app"},
                         users={"bob": "max_user_client_connections=1"})
    clients = [pooler.wire(user="app"), pooler.wire(user="alice"), pooler.wire(user="bob", database="app2")]
    with pytest.raises(ServerError, match=USER_WORDS):
        pooler.wire(user="bob")
    assert [is_counted(pooler, "USERS", name, 1) for name in ("app", "alice", "bob")] == [True] * 3
    assert row_of(pooler, "USERS", "bob")["max_user_client_connections"] == 1
    assert is_counted(pooler, "DATABASES", "app", 2)
    close_all(clients)


def test_keys_of_one_database_and_user(make_pooler, pg):
    """They win over the settings; 0 is no limit."""
    pooler = make_pooler(settings={"max_db_client_connections": 2, "max_user_client_connections": 3},
                         databases={"app": f"{pg.dsn} dbname=app max_db_client_connections=0",
                                    "app2": f"{pg.dsn} dbname=app2 max_db_client_connections=1"},
                         users={"alice": "max_user_client_connections=0", "app": "max_user_client_connections=1"})
    clients = [pooler.wire(user="alice") for _ in range(4)] + [pooler.wire(user="app")]
    with pytest.raises(ServerError, match=USER_WORDS):
        pooler.wire(user="app")
    clients.append(pooler.wire(user="bob", database="app2"))
    with pytest.raises(ServerError, match=DB_WORDS):
        pooler.wire(user="bob", database="app2")
    assert row_of(pooler, "DATABASES", "app2")["max_client_connections"] == 1
    close_all(clients)


@pytest.mark.own
@pytest.mark.parametrize("how", ["goodbye", "disconnect", "reset", "bad packet", "idle after an error"])
def test_every_way_out_gives_the_place_back(make_pooler, how):
    pooler = make_pooler(settings={"max_db_client_connections": 1, "max_user_client_connections": 1})
    client = pooler.wire()
    assert can_login(pooler) is None
    if how == "bad packet":
        client.send(b"\x01\0\0\0\4")
        client.expect_closed()
    elif how == "idle after an error":
        assert [m.kind for m in client.query("SELECT 1/0")] == ["E", "Z"]
        client.goodbye()
    else:
        getattr(client, how)()
    again = wait_until(lambda: can_login(pooler), "the place to be free")
    assert is_counted(pooler, "DATABASES", "app", 1) and is_counted(pooler, "USERS", "app", 1)
    again.disconnect()


@pytest.mark.own
def test_failed_logins_give_it_back(make_pooler, pg):
    """Refused for the one limit, the client is not counted for the other; nor when its server cannot be reached, or its settings are wrong."""
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app max_db_client_connections=5", "down": "host=127.0.0.1 port=1"},
                         settings={"client_login_timeout": 1}, users={"app": "max_user_client_connections=1"})
    client = pooler.wire()
    for _ in range(6):
        with pytest.raises(ServerError, match=USER_WORDS):
            pooler.wire()
    assert is_counted(pooler, "DATABASES", "app", 1)
    client.goodbye()
    wait_until(lambda: is_counted(pooler, "USERS", "app", 0), "the client to be gone")
    for _ in range(2):
        with pytest.raises(ServerError, match="client_login_timeout"):
            pooler.wire(database="down")
        with pytest.raises(ServerError, match="invalid value"):
            pooler.wire(client_encoding="nonsense")
    wait_until(lambda: is_counted(pooler, "USERS", "app", 0), "nobody to be counted")
    assert is_counted(pooler, "DATABASES", "down", 0) and is_counted(pooler, "DATABASES", "app", 0)


@pytest.mark.own
def test_who_has_not_proved_who_he_is_takes_no_place(make_pooler):
    pooler = make_pooler(settings={"auth_type": "plain", "max_db_client_connections": 1}, userlist={"app": "secret"})
    pending = [pooler.raw() for _ in range(3)]
    for client in pending:
        client.send(wire.startup_packet({"user": "app", "database": "app"}))
        assert client.receive().kind == "R"
    with pooler.wire(password="secret"):
        with pytest.raises(ServerError, match="password authentication failed"):
            pooler.wire(password="wrong")
        pending[0].send(wire.message("p", wire.cstr("secret")))
        assert pending[0].receive().sqlstate == "53300"
    close_all(pending)


def test_reload_lowers_and_raises(make_pooler):
    """Who is in stays in; what is in force counts for whoever comes next."""
    pooler = make_pooler(settings={"max_db_client_connections": 5})
    clients = [pooler.wire() for _ in range(5)]
    pooler.settings["max_db_client_connections"] = 3
    pooler.reload()
    assert [client.value("SELECT 1") for client in clients] == ["1"] * 5
    for left in (4, 3):
        clients.pop().goodbye()
        wait_until(lambda left=left: is_counted(pooler, "DATABASES", "app", left), "the client to be gone")
        assert can_login(pooler) is None
    clients.pop().goodbye()
    clients.append(wait_until(lambda: can_login(pooler), "a place to be free"))
    assert can_login(pooler) is None
    pooler.settings["max_db_client_connections"] = 4
    pooler.reload()
    clients.append(pooler.wire())
    assert can_login(pooler) is None
    close_all(clients)


@pytest.mark.own
def test_console_does_not_count(make_pooler):
    pooler = make_pooler(settings={"max_db_client_connections": 1, "max_user_client_connections": 1, "admin_users": "admin, alice"})
    with pooler.console(user="alice"), pooler.console(user="alice"), pooler.wire(user="alice"):
        assert pooler.show("VERSION")


# ---- the whole

@pytest.mark.sanitizer
def test_max_client_conn_in_a_storm(make_pooler):
    pooler = make_pooler(settings={"max_client_conn": 7})
    close_all(fill(pooler, 7))
    for _ in range(5):
        wait_until(lambda: row_list(pooler)["login_clients"] == 0 and is_counted(pooler, "DATABASES", "app", 0), "all to be gone")
        inside, refused = login_storm(pooler, 40)
        assert len(inside) == 7 and len(refused) == 33
        assert {str(error) for error in refused} == {"53300: no more connections allowed (max_client_conn)"}
        close_all(inside)


def row_list(pooler, **kwargs):
    return {row["list"]: row["items"] for row in pooler.admin("SHOW LISTS", **kwargs)}


@pytest.mark.own
def test_max_client_conn_by_reload(make_pooler):
    pooler = make_pooler(settings={"max_client_conn": 4})
    clients = fill(pooler, 4)
    pooler.settings["max_client_conn"] = 2
    pooler.reload()
    assert [client.value("SELECT 1") for client in clients] == ["1"] * 4
    for _ in range(2):
        clients.pop().goodbye()
    wait_until(lambda: is_counted(pooler, "DATABASES", "app", 2), "two to be gone")
    assert can_login(pooler) is None
    pooler.settings["max_client_conn"] = 3
    pooler.reload()
    clients.append(pooler.wire())
    assert can_login(pooler) is None
    close_all(clients)


class Storm:
    """Connects for ever and says first; holds the newest connections open, as many as may be."""

    def __init__(self, pooler, first, held=300):
        self.address, self.first, self.held = ("127.0.0.1", pooler.port), first, held
        self.opened, self.is_over = 0, False
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        wait_until(lambda: self.opened > 2 * self.held, "the storm to blow", 30)
        return self

    def __exit__(self, *exc):
        self.is_over = True
        self.thread.join()

    def _run(self):
        held = []
        while not self.is_over:
            try:
                sock = socket.create_connection(self.address, 5)
                sock.sendall(self.first)
                held.append(sock)
            except OSError:
                pass
            self.opened += 1
            if len(held) > self.held:
                held.pop(0).close()
        for sock in held:
            sock.close()


def connections(port):
    """To this port that have not been closed by both sides, also those that nobody has accepted yet."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.read().splitlines()[1:]]
    return sum(int(row[1].split(":")[1], 16) == port and row[3] in ("01", "08") for row in rows)


STORMS = {
    "silent": b"\0",  # a byte, or the kernel would not show them (tcp_defer_accept)
    "clients": wire.startup_packet({"user": "app", "database": "app"}),
    "consoles": wire.startup_packet({"user": "admin", "database": "pgbouncer"}),
    "cancels": bytes.fromhex("0000001004d2162e") + os.urandom(8),
}


@pytest.mark.own
@pytest.mark.sanitizer
@pytest.mark.parametrize("kind", STORMS)
@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_operator_gets_in_during_a_storm(make_pooler, kind, over):
    """max_client_conn is used up, and connections come in without end that say nothing, or the wrong thing."""
    pooler = make_pooler(settings={"max_client_conn": 2, "auth_type": "plain"}, userlist={"app": "p", "admin": "secret"})
    clients = fill(pooler, 2, password="p")
    with Storm(pooler, STORMS[kind]) as storm:
        for _ in range(5):
            before = storm.opened
            host = pooler.directory if over == "unix" else "127.0.0.1"

            def operator():
                try:
                    console = Wire(host, pooler.port, timeout=10)
                    return console.login("admin", "pgbouncer", "secret")
                except (Closed, OSError):
                    return None

            console = wait_until(operator, "the console to be open", 10)
            wait_until(lambda before=before: storm.opened > before + 100, "the storm to go on", 30)
            assert console.query("SHOW VERSION")[-1].kind == "Z"  # once in, it stays
            console.goodbye()
        assert [client.value("SELECT 1") for client in clients] == ["1"] * 2
    close_all(clients)
    wait_until(lambda: connections(pooler.port) == 0, "all to be gone", 30)
    inside, refused = login_storm(pooler, 2, password="p")
    assert len(inside) == 2 and not refused
    close_all(inside)


def silent_connections(pooler, count):
    """Each has sent a byte, or the kernel would not show it to the pooler."""
    held = []
    for _ in range(count):
        held.append(socket.create_connection(("127.0.0.1", pooler.port), 10))
        held[-1].sendall(b"\0")
    return held


def is_open(sock, seconds=0.2):
    """Nothing is read from it in this time, not even its end."""
    sock.settimeout(seconds)
    try:
        sock.recv(1)
        return False
    except socket.timeout:
        return True
    except ConnectionError:
        return False


@pytest.mark.own
def test_silent_connections_beyond_the_limit_keep_nobody_out(make_pooler):
    """They are many more than are kept, and stay: the oldest ones go, and whoever comes is let in or told."""
    pooler = make_pooler(settings={"max_client_conn": 2})
    clients = fill(pooler, 2)
    held = silent_connections(pooler, 200)
    assert not is_open(held[0], 10)
    assert is_open(held[-1])
    for _ in range(3):
        assert pooler.show("VERSION")
        with pytest.raises(ServerError, match=r"no more connections allowed \(max_client_conn\)"):
            pooler.wire()
    close_all(clients)
    close_all_sockets(held)
    wait_until(lambda: can_login(pooler), "a place to be free").disconnect()


def close_all_sockets(held):
    for sock in held:
        sock.close()


@pytest.mark.own
def test_operator_who_is_typing_the_password_stays(make_pooler):
    pooler = make_pooler(settings={"max_client_conn": 1, "auth_type": "plain"}, userlist={"app": "p", "admin": "secret"})
    with fill(pooler, 1, password="p")[0], pooler.raw() as console:
        console.send(wire.startup_packet({"user": "admin", "database": "pgbouncer"}))
        assert console.receive().kind == "R"
        held = silent_connections(pooler, 200)
        assert not is_open(held[0], 10)
        console.send(wire.message("p", wire.cstr("secret")))
        console.until("Z")
        close_all_sockets(held)


@pytest.mark.own
def test_cancel_request_beyond_the_limit(make_pooler, pg):
    pooler = make_pooler(settings={"max_client_conn": 1})
    with fill(pooler, 1)[0] as client:
        client.send(wire.query("SELECT pg_sleep(33)"))
        wait_until(lambda: pg.backends("query = 'SELECT pg_sleep(33)' AND wait_event = 'PgSleep'") == 1, "the query to run")
        client.cancel()
        started = time.monotonic()
        assert [m.sqlstate for m in client.until("Z") if m.kind == "E"] == ["57014"]
        assert time.monotonic() - started < 20


# ---- size of messages

def text_of(size):
    """A simple query whose message is `size` bytes long, with its type."""
    return wire.query("SELECT '" + "x" * (size - len(wire.query("SELECT ''"))) + "'")


@pytest.mark.own
def test_max_packet_size_of_clients(make_pooler):
    """The whole message counts, as in PgBouncer: exactly as long is fine, a byte more is not."""
    pooler = make_pooler(settings={"max_packet_size": 1000})
    with pooler.wire() as client:
        assert len(text_of(1000)) == 1000
        client.send(text_of(1000))
        assert client.trace() == "TDCZ"
        client.send(wire.parse("", "SELECT 1") + text_of(1001))
        error = [m for m in client.expect_closed() if m.kind == "E"][-1]
        assert error.sqlstate == "54000" and error.text == "packet too large"
    with pooler.wire() as client:
        pooler.admin("SET max_packet_size = 2000")
        client.send(text_of(1001))
        assert client.trace() == "TDCZ"


@pytest.mark.own
def test_max_packet_size_of_servers(make_pooler, pg):
    """A row counts as a whole, a result does not. The server is not used again, and the next client is served."""
    pooler = make_pooler(settings={"max_packet_size": 1000, "default_pool_size": 1})
    row = "SELECT repeat('x', {} - 11) FROM generate_series(1, 50)"  # type, length, count and length of the value
    with pooler.wire() as client:
        rows = [m for m in client.query(row.format(1000)) if m.kind == "D"]
        assert len(rows) == 50 and len(rows[0].payload) + 5 == 1000
        pid = client.value("SELECT pg_backend_pid()")
        client.send(wire.query(row.format(1001)))
        messages = client.expect_closed()
        assert [m.kind for m in messages] == ["T", "E"]
        assert messages[-1].sqlstate == "54000" and messages[-1].text == "packet too large"
    with pooler.wire() as client:
        assert client.value("SELECT pg_backend_pid()") != pid
    pooler.wait_log(r"S-.* closing because: packet too large")
    wait_until(lambda: pg.backends(f"pid = {pid}") == 0, "the server to be gone")
