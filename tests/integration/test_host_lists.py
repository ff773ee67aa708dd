"""Lists of hosts: taking turns, dead and silent hosts, the way back, and what target_session_attrs makes of fake servers."""
import struct
import threading
import time

import pytest

from harness import wire
from harness.fakeserver import error, one_row, ready
from harness.util import PATIENCE, free_port, wait_until

pytestmark = pytest.mark.own

A, B, C = "127.0.0.2", "127.0.0.3", "127.0.0.4"
PRIMARY = {"in_hot_standby": "off", "default_transaction_read_only": "off"}
STANDBY = {"in_hot_standby": "on", "default_transaction_read_only": "off"}
FENCED = {"in_hot_standby": "off", "default_transaction_read_only": "on"}


def two_values(first, second):
    """The answer to the question about a server's role."""
    columns = b"".join(wire.cstr(name) + struct.pack("!IHIhih", 0, 0, 16, 1, -1, 0) for name in ("a", "b"))
    row = b"".join(struct.pack("!i", 1) + value.encode() for value in (first, second))
    return (wire.message("T", struct.pack("!H", 2) + columns) + wire.message("D", struct.pack("!H", 2) + row)
            + wire.message("C", wire.cstr("SELECT 1")) + ready())


@pytest.fixture
def host(fake):
    """host(address, port, role) starts a fake server that answers each query with its address."""
    def make(address, port, role=None, asked=None):
        def script(conn):
            conn.accept_login(**(role or {}))
            conn.serve_queries(lambda sql: two_values(*asked) if "pg_is_in_recovery" in sql else one_row(address))
        return fake(script, address=address, port=port)
    return make


def make_list(make_pooler, port, hosts=(A, B), more="", **settings):
    return make_pooler(databases={"app": f"host={','.join(hosts)} port={port} dbname=app {more}"},
                       settings={"server_connect_timeout": 2, "server_login_retry": 1, "default_pool_size": 6,
                                 "server_tls_sslmode": "disable", **settings})


def where(client):
    """Where the client's query is answered."""
    client.send(wire.query("SELECT where"))
    return next(m.row()[0] for m in client.until() if m.kind == "D")


def spread(pooler, count):
    """Opens that many sessions of session pooling one after the other, all held; where each one is."""
    clients = [pooler.wire() for _ in range(count)]
    places = [where(client) for client in clients]
    return clients, places


def close_all(clients):
    for client in clients:
        client.disconnect()


def test_hosts_take_turns(make_pooler, host):
    """round-robin: as many connections to each, whatever else counts up meanwhile; SHOW SERVERS has the real addresses."""
    port = free_port()
    host(A, port), host(B, port), host(C, port)
    pooler = make_list(make_pooler, port, (A, B, C), pool_mode="session")
    clients, places = spread(pooler, 6)
    assert sorted(places) == [A, A, B, B, C, C]
    assert sorted(row["addr"] for row in pooler.servers()) == [A, A, B, B, C, C]
    close_all(clients)


def test_a_refusing_host_is_no_error(make_pooler, host):
    """Nobody listens on the first: everything goes to the others, evenly."""
    port = free_port()
    host(B, port), host(C, port)
    pooler = make_list(make_pooler, port, (A, B, C), pool_mode="session", server_login_retry=30)
    clients, places = spread(pooler, 6)
    assert set(places) == {B, C} and 2 <= places.count(B) <= 4
    close_all(clients)


def test_disable_prefers_the_first_and_returns_to_it(make_pooler, host):
    """load_balance_hosts = disable: the second only while the first is down; new connections go back."""
    port = free_port()
    host(B, port)
    pooler = make_list(make_pooler, port, more="load_balance_hosts=disable", pool_mode="session", default_pool_size=300)
    clients, places = spread(pooler, 2)
    assert places == [B, B]
    first = host(A, port)


    def is_back():
        clients.append(pooler.wire())
        return where(clients[-1]) == A
    wait_until(is_back, "a new connection to the first host", 10)
    assert first.connections == 1
    close_all(clients)


@pytest.mark.parametrize("stage", ["accept", "startup", "parameters"])
def test_a_silent_host_costs_its_share_once(make_pooler, host, fake, stage):
    """One that accepts and says nothing, or stops in the login, is given up after its share of the time; the next ones avoid it."""
    port = free_port()

    def script(conn):
        if stage != "accept":
            conn.read_startup()
        if stage == "parameters":
            conn.send(wire.message("R", struct.pack("!I", 0)))
        conn.hang_until_closed()
    silent = fake(script, address=A, port=port)
    host(B, port)
    pooler = make_list(make_pooler, port, more="load_balance_hosts=disable", pool_mode="session", server_login_retry=60)
    started = time.monotonic()
    clients, places = spread(pooler, 1)
    assert places == [B] and 0.9 < time.monotonic() - started < 2.5 * PATIENCE
    started = time.monotonic()
    more, places = spread(pooler, 3)
    assert places == [B, B, B] and time.monotonic() - started < 0.8 * PATIENCE
    assert silent.connections == 1
    close_all(clients + more)


@pytest.mark.parametrize("sqlstate, goes_on", [("57P03", True), ("57P01", True), ("28P01", False), ("3D000", False)])
def test_which_refusals_go_on_to_the_next(make_pooler, host, fake, sqlstate, goes_on):
    """As libpq: a host that starts up or goes down is passed over; a wrong password is wrong."""
    port = free_port()

    def script(conn):
        conn.read_startup()
        conn.send(error(sqlstate, "not now"))
    fake(script, address=A, port=port)
    host(B, port)
    pooler = make_list(make_pooler, port, more="load_balance_hosts=disable")
    if goes_on:
        with pooler.wire() as client:
            assert where(client) == B
    else:
        with pytest.raises(wire.ServerError) as refused:
            pooler.wire()
        assert refused.value.sqlstate == sqlstate


def test_all_dead(make_pooler):
    """The error names each host."""
    port = free_port()
    pooler = make_list(make_pooler, port, query_wait_timeout=1)
    with pytest.raises(wire.ServerError) as refused:
        pooler.wire()
    wait_until(lambda: pooler.log_lines(rf'"{A}" port {port}: Connection refused; .*"{B}" port {port}: Connection refused|'
                                        rf'"{B}" port {port}: Connection refused; .*"{A}" port {port}: Connection refused'), "both")
    assert (refused.value.sqlstate, refused.value.msg.text.split(":")[0]) == ("53300", "query_wait_timeout")
    assert all(f'"{each}" port {port}: Connection refused' in refused.value.msg.text for each in (A, B))


MATRIX = [("any", (PRIMARY, STANDBY), {A, B}), ("read-write", (STANDBY, PRIMARY), {B}), ("read-write", (FENCED, PRIMARY), {B}),
          ("read-only", (PRIMARY, STANDBY), {B}), ("read-only", (PRIMARY, FENCED), {B}), ("primary", (STANDBY, PRIMARY), {B}),
          ("primary", (STANDBY, FENCED), {B}), ("standby", (PRIMARY, STANDBY), {B}), ("prefer-standby", (PRIMARY, STANDBY), {B}),
          ("prefer-standby", (PRIMARY, PRIMARY), {A, B})]


@pytest.mark.parametrize("wanted, roles, fitting", MATRIX, ids=[f"{w}-{i}" for i, (w, _, _) in enumerate(MATRIX)])
@pytest.mark.parametrize("is_asked", [False, True], ids=["reported", "asked"])
def test_target_session_attrs(make_pooler, host, wanted, roles, fitting, is_asked):
    """Each word with what servers report (PostgreSQL 14 and later) and with what older ones answer."""
    port = free_port()
    for address, role in zip((A, B), roles):
        asked = tuple("t" if role[key] == "on" else "f" for key in ("in_hot_standby", "default_transaction_read_only"))
        host(address, port, None if is_asked else role, asked)
    pooler = make_list(make_pooler, port, more=f"target_session_attrs={wanted}", pool_mode="session")
    clients, places = spread(pooler, 4)
    assert set(places) == fitting
    assert [row["target_session_attrs"] for row in pooler.show("DATABASES") if row["name"] == "app"] == [wanted]
    close_all(clients)


@pytest.mark.parametrize("wanted, role, text", [("read-write", STANDBY, "session is read-only"), ("read-only", PRIMARY, "session is not read-only"),
                                                ("primary", STANDBY, "server is in hot standby mode"),
                                                ("standby", PRIMARY, "server is not in hot standby mode")])
def test_no_host_fits(make_pooler, host, wanted, role, text):
    """The error is libpq's, with its SQLSTATE; and it is served as soon as a host fits."""
    port = free_port()
    servers = [host(address, port, role) for address in (A, B)]
    pooler = make_list(make_pooler, port, more=f"target_session_attrs={wanted}", query_wait_timeout=2, client_login_timeout=30)
    client = pooler.raw(timeout=30)
    with pytest.raises(wire.ServerError) as refused:
        client.login("app", "app")
    assert refused.value.sqlstate == "53300" and text in refused.value.msg.text, refused.value.msg.text
    assert pooler.wait_log(f"server login failed: .*{text}")
    client.disconnect()
    servers[1].stop()
    host(B, port, PRIMARY if role is STANDBY else STANDBY)

    def is_served():
        try:
            with pooler.wire() as again:
                return where(again) == B
        except wire.ServerError:
            return False
    wait_until(is_served, "a client to be served by the host that fits", 15)


def changing(role):
    """A script whose role is what `role` says at the time; it reports changes as PostgreSQL does, with the next answer."""
    def script(conn):
        told, session = dict(role), {}
        conn.accept_login(**told)

        def answer(sql):
            if "pg_is_in_recovery" in sql:
                raw = two_values(*("t" if role[k] == "on" else "f" for k in ("in_hot_standby", "default_transaction_read_only")))
            elif sql.startswith("FAIL"):
                raw = error("25006", "cannot execute INSERT in a read-only transaction", "ERROR") + ready()
            elif sql.startswith("SET READ ONLY") or ";SET default_transaction_read_only='on'" in sql:
                session["default_transaction_read_only"] = "on"
                return (wire.message("C", wire.cstr("SET")) + wire.message("S", wire.cstr("default_transaction_read_only") + wire.cstr("on"))
                        + ready())
            elif "RESET" in sql and session:
                session.clear()
                return (wire.message("C", wire.cstr("RESET")) + wire.message("S", wire.cstr("default_transaction_read_only") + wire.cstr("off"))
                        + ready())
            elif sql.startswith(("SET", "RESET")):
                raw = wire.message("C", wire.cstr("SET")) + ready()
            else:
                raw = one_row(conn.address)
            reports = b"".join(wire.message("S", wire.cstr(k) + wire.cstr(v)) for k, v in role.items()
                               if told[k] != v)
            told.update(role)
            return raw[:-6] + reports + raw[-6:]
        conn.serve_queries(answer)
    return script


def changing_pair(make_pooler, fake, wanted, first, second, **settings):
    """Two hosts, the first one used; returns pooler, roles and servers."""
    port = free_port()
    roles, servers = [dict(first), dict(second)], []
    for address, role in zip((A, B), roles):
        def script(conn, address=address, role=role):
            conn.address = address
            changing(role)(conn)
        servers.append(fake(script, address=address, port=port))
    pooler = make_list(make_pooler, port, more=f"load_balance_hosts=disable target_session_attrs={wanted}", **settings)
    return pooler, roles, servers


def fill(pooler, count):
    """So many servers in the pool, all idle in the end."""
    clients = [pooler.wire() for _ in range(count)]
    for client in clients:
        client.send(wire.query("SELECT where"))
    for client in clients:
        client.until()
    wait_until(lambda: pooler.pool()["sv_login"] == 0, "all logins to end")
    return clients


@pytest.mark.parametrize("wanted, before, after", [("read-write", PRIMARY, STANDBY), ("primary", PRIMARY, STANDBY), ("standby", STANDBY, PRIMARY),
                                                   ("read-write", PRIMARY, FENCED), ("read-only", STANDBY, PRIMARY)])
def test_a_change_is_noticed_from_one_report(make_pooler, fake, wanted, before, after):
    """One server reports it; all idle ones of that host go at once, and the next query is served by the other host."""
    pooler, roles, servers = changing_pair(make_pooler, fake, wanted, before, before)
    clients = fill(pooler, 5)
    assert where(clients[0]) == A
    roles[0].update(after)
    where(clients[0])
    pooler.wait_log("its role has changed")
    wait_until(lambda: all(row["addr"] == B for row in pooler.servers()), "no server on the changed host", 5)
    assert {where(client) for client in clients} == {B}
    close_all(clients)


@pytest.mark.parametrize("sqlstate", ["25006", "57P01", "57P02"])
@pytest.mark.parametrize("is_reported", [True, False], ids=["reported", "asked"])
def test_all_idle_servers_of_a_demoted_host_go_at_once(make_pooler, fake, sqlstate, is_reported):
    """One error is enough, whether the role is reported or not: nobody meets another server there that is idle."""
    port, role = free_port(), {A: "f", B: "f"}
    done, go_on = {A: 0, B: 0}, threading.Event()

    def host_at(address):
        def answer(conn, sql):
            if "pg_is_in_recovery" in sql:
                return two_values(role[address], "f")
            if sql == "HOLD":
                go_on.wait(20 * PATIENCE)
            if sql.startswith("FAIL"):
                if sqlstate == "25006":
                    return error("25006", "cannot execute INSERT in a read-only transaction", "ERROR") + ready()
                conn.send(error(sqlstate, "terminating connection due to administrator command"))
                raise wire.Closed("going down")
            return wire.message("C", wire.cstr("SET")) + ready() if sql.startswith(("SET", "RESET")) else one_row(address)

        def script(conn):
            try:
                conn.accept_login(**((STANDBY if role[address] == "t" else PRIMARY) if is_reported else {}))
                conn.serve_queries(lambda sql: answer(conn, sql))
            finally:
                done[address] += 1
        return fake(script, address=address, port=port)

    for address in (A, B):
        host_at(address)
    pooler = make_list(make_pooler, port, more="load_balance_hosts=disable target_session_attrs=read-write", server_check_delay=30,
                       server_lifetime=3600)
    clients = [pooler.wire() for _ in range(4)]
    for client in clients:
        client.send(wire.query("HOLD"))
    wait_until(lambda: pooler.pool()["sv_active"] == 4, "four servers at work")
    go_on.set()
    assert [client.until()[1].row() for client in clients] == [[A]] * 4
    wait_until(lambda: pooler.pool()["sv_idle"] == 4, "all to be idle")
    role[A] = "t"
    clients[0].send(wire.query("FAIL"))
    assert clients[0].receive().sqlstate == sqlstate
    wait_until(lambda: done[A] == 4, "all connections there to be closed, by this one error")
    assert {where(client) for client in clients[1:]} == {B}
    close_all(clients)


def test_a_refused_write_raises_the_question(make_pooler, fake):
    """25006 without a report, as before PostgreSQL 14: the server is asked, and all go when it has changed."""
    pooler, roles, servers = changing_pair(make_pooler, fake, "read-write", PRIMARY, PRIMARY)
    with pooler.wire() as client:
        assert where(client) == A
        client.send(wire.query("FAIL"))
        client.until()
        assert where(client) == A  # the server says that it is as before: it stays
        assert any("pg_is_in_recovery" in sql for sql in servers[0].queries)
        assert not pooler.log_lines("role has changed")


def test_refused_writes_are_no_storm(make_pooler, fake):
    """Clients whose own transactions are read-only cost one question a second, and no connection."""
    pooler, _, servers = changing_pair(make_pooler, fake, "read-write", PRIMARY, PRIMARY)
    with pooler.wire() as client:
        where(client)
        connections, started = servers[0].connections, time.monotonic()
        for _ in range(300):
            client.send(wire.query("FAIL"))
            client.until()
        asked = sum("pg_is_in_recovery" in sql for sql in servers[0].queries)
        assert 1 <= asked <= 2 + (time.monotonic() - started)
        assert servers[0].connections == connections


def test_what_a_client_has_set_is_no_change(make_pooler, fake):
    """default_transaction_read_only that a client SETs is its own: it keeps it, the server stays."""
    pooler, _, servers = changing_pair(make_pooler, fake, "read-write", PRIMARY, PRIMARY, default_pool_size=1)
    with pooler.wire() as client, pooler.wire() as other:
        client.send(wire.query("SET READ ONLY"))
        client.until()
        where(other)
        assert any("RESET" in sql for sql in servers[0].queries), servers[0].queries
        where(client)
        assert any("SET " in sql and "default_transaction_read_only" in sql and "RESET" not in sql for sql in servers[0].queries[-3:])
        asked = sum("pg_is_in_recovery" in sql for sql in servers[0].queries)
        assert asked >= 1
        for _ in range(3):
            where(other)
            where(client)
        assert sum("pg_is_in_recovery" in sql for sql in servers[0].queries) == asked, "what is SET for it is no news"
    assert not pooler.log_lines("role has changed")
