"""Session pooling as transparent as a direct connection: session_link = login, and what a client sees of its server."""
import struct
import threading

import psycopg
import pytest

from harness import wire
from harness.fakeserver import cancels_last, one_row
from harness.util import wait_until

pytestmark = pytest.mark.own

SLEEP = "SELECT pg_sleep(60)"


@pytest.fixture
def make_linked(make_pooler):
    def make(size=2, **kwargs):
        settings = {"pool_mode": "session", "session_link": "login", "default_pool_size": size, **kwargs.pop("settings", {})}
        return make_pooler(settings=settings, **kwargs)

    return make


def login_later(pooler, **parameters):
    """A raw client that has sent its start-up packet and nothing else."""
    raw = pooler.raw()
    raw.send(wire.startup_packet({"user": "app", "database": "app", **parameters}))
    return raw


def wait_waiting(pooler, count=1):
    wait_until(lambda: (pooler.pool() or {}).get("cl_waiting") == count, f"{count} logins to wait")


def cancelled(messages):
    return [m.sqlstate for m in messages if m.kind == "E"] == ["57014"]


# ---- process id


@pytest.mark.sanitizer
def test_process_id_is_the_servers(make_linked):
    """BackendKeyData, pg_backend_pid() and notifications agree, also on a server that was another client's before."""
    pooler = make_linked(size=2)
    for _ in range(3):
        with pooler.connect() as conn:
            assert conn.execute("SELECT pg_backend_pid()").fetchone()[0] == conn.info.backend_pid
        with pooler.wire() as one, pooler.wire() as two:
            assert [c.value("SELECT pg_backend_pid()") for c in (one, two)] == [str(one.pid), str(two.pid)]
            one.query("LISTEN news")
            two.query("NOTIFY news")
            assert struct.unpack("!I", one.until("A")[-1].payload[:4])[0] == two.pid
            two.query("LISTEN own")
            own = [m for m in two.query("NOTIFY own") if m.kind == "A"]
            assert [struct.unpack("!I", m.payload[:4])[0] for m in own] == [two.pid]
        wait_until(lambda: pooler.pool()["sv_active"] == pooler.pool()["sv_tested"] == 0, "the servers to be reset")
    assert pooler.pool()["sv_idle"] + pooler.pool()["sv_used"] == 2


def test_default_is_to_link_with_the_first_query(make_linked):
    pooler = make_linked(size=1, settings={"session_link": "query"})
    with pooler.wire() as one, pooler.wire() as two:
        assert two.value("SELECT 1") == "1"
        assert one.pid >> 24 != 0, "no process id of PostgreSQL's"
        assert pooler.pool()["sv_active"] == 1


def test_only_session_pooling_links_at_login(make_linked, pg):
    pooler = make_linked(size=1, databases={"app": f"{pg.dsn} dbname=app pool_mode=transaction", "app2": f"{pg.dsn} dbname=app2"})
    with pooler.wire() as one, pooler.wire() as two:
        assert one.value("SELECT 1") == two.value("SELECT 1") == "1"
    with pooler.wire(database="app2") as three:
        assert str(three.pid) == three.value("SELECT pg_backend_pid()")


@pytest.mark.sanitizer
def test_settings_of_the_login_are_there(make_linked):
    """Those that a server has to be asked about, too; one that it refuses refuses the login, and harms nobody."""
    pooler = make_linked(size=1)
    for work_mem in ("1234kB", "5678kB"):
        with pooler.wire(options=f"-c work_mem={work_mem}", application_name="me", DateStyle="German") as client:
            assert client.rows("SHOW work_mem") == [[work_mem]]
            assert client.parameters["application_name"] == "me" and client.parameters["DateStyle"] == "German, DMY"
            assert client.value("SELECT current_setting('application_name')") == "me"
            assert client.value("SELECT pg_backend_pid()") == str(client.pid)
    with pytest.raises(wire.ServerError) as refused:
        pooler.wire(options="-c work_mem=much")
    assert refused.value.sqlstate == "22023"
    with pooler.wire() as client:
        assert client.value("SHOW work_mem") not in ("1234kB", "5678kB")


def test_chosen_by_reload(make_linked):
    """Counts for who logs in later."""
    pooler = make_linked(size=2, settings={"session_link": "query"})
    with pooler.wire() as before:
        pooler.settings["session_link"] = "login"
        pooler.reload()
        assert pooler.pool()["sv_active"] == 0
        with pooler.wire() as after:
            assert pooler.pool()["sv_active"] == 1
            assert after.value("SELECT pg_backend_pid()") == str(after.pid)
            assert before.value("SELECT pg_backend_pid()") != str(before.pid)


# ---- the wait


@pytest.mark.sanitizer
def test_login_waits_for_a_server(make_linked):
    """In turn; whoever hangs up leaves the queue."""
    pooler = make_linked(size=1)
    with pooler.wire() as busy:
        waiting = []
        for n in range(3):
            waiting.append(login_later(pooler))
            wait_waiting(pooler, n + 1)
        assert all(raw.silent_for(0.05) for raw in waiting)
        waiting[0].disconnect()
        wait_waiting(pooler, 2)
        busy.goodbye()
        waiting[1].finish_login("app")
        assert waiting[2].silent_for(0.1)
        assert waiting[1].value("SELECT pg_backend_pid()") == str(waiting[1].pid)
        waiting[1].goodbye()
        waiting[2].finish_login("app")
        assert waiting[2].value("SELECT pg_backend_pid()") == str(waiting[2].pid)
        waiting[2].disconnect()


@pytest.mark.sanitizer
@pytest.mark.parametrize("setting", ["query_wait_timeout", "client_login_timeout"])
def test_how_long_a_login_waits(make_linked, setting):
    """As long as a query would; client_login_timeout is for clients that do not prove who they are."""
    pooler = make_linked(size=1, settings={setting: 1})
    with pooler.wire() as busy:
        late = login_later(pooler)
        if setting == "query_wait_timeout":
            errors = [m for m in late.expect_closed() if m.kind == "E"]
            assert [(m.sqlstate, m.text) for m in errors] == [("53300", "query_wait_timeout")]
            assert busy.value("SELECT 1") == "1"
            wait_until(lambda: pooler.pool()["cl_waiting"] == 0, "the queue to be empty")
        else:
            with pooler.raw() as silent:
                silent.send(b"\0")  # the beginning of a start-up packet
                messages = silent.expect_closed()
                assert not messages or messages[0].text == "client_login_timeout"
            assert late.silent_for(0.1)
            busy.goodbye()
            late.finish_login("app")
            assert late.value("SELECT 1") == "1"
        late.disconnect()


def test_server_that_cannot_be_reached(make_linked):
    """The error says why, when the wait is over."""
    pooler = make_linked(postgres=None, databases={"app": "host=127.0.0.1 port=1 dbname=app"}, settings={"query_wait_timeout": 1})
    with pytest.raises(wire.ServerError) as refused:
        pooler.wire()
    assert "query_wait_timeout" in str(refused.value) and "could not connect" in str(refused.value)


def test_server_that_refuses(make_linked, pg):
    pooler = make_linked(databases={"app": f"{pg.dsn} dbname=missing"})
    with pytest.raises(wire.ServerError) as refused:
        pooler.wire()
    assert refused.value.sqlstate == "3D000" and 'database "missing" does not exist' in str(refused.value)


@pytest.mark.sanitizer
def test_server_that_is_found_dead_at_the_login(make_linked, fake):
    """The check before use fails: the login goes on with another server."""
    dead = threading.Event()

    def answer(sql):
        if sql == "SELECT 'check'" and dead.is_set():
            dead.clear()
            raise wire.Closed("dies")
        return one_row(sql)

    server = fake(lambda conn: (conn.accept_login(), conn.serve_queries(answer)))
    pooler = make_linked(size=1, settings={"server_check_query": "SELECT 'check'", "server_check_delay": 0, "server_login_retry": 0.2},
                         databases={"app": f"{server.dsn} dbname=app"})
    pooler.wire().goodbye()
    wait_until(lambda: pooler.pool()["sv_idle"] + pooler.pool()["sv_used"] == 1, "the server to be free")
    dead.set()
    with pooler.wire() as client:
        assert client.value("SELECT 'alive'") == "SELECT 'alive'"
    assert server.connections == 2


@pytest.mark.sanitizer
def test_pause_and_shutdown(make_linked):
    """A login waits for RESUME; one that waits is told when the pooler shuts down."""
    pooler = make_linked(size=1)
    pooler.wire().goodbye()
    pooler.admin("PAUSE app")
    late = login_later(pooler)
    wait_waiting(pooler)
    pooler.admin("RESUME app")
    late.finish_login("app")
    assert late.value("SELECT pg_backend_pid()") == str(late.pid)
    later = login_later(pooler)
    wait_waiting(pooler)
    pooler.admin("SHUTDOWN WAIT_FOR_SERVERS")
    assert [m.sqlstate for m in later.expect_closed() if m.kind == "E"] == ["57P01"]
    assert [m.sqlstate for m in late.expect_closed() if m.kind == "E"] == ["57P01"]
    assert pooler.wait_exit() == 0


def test_idle_timeout_counts_from_the_login(make_linked):
    pooler = make_linked(size=1, settings={"client_idle_timeout": 1})
    with pooler.wire() as client:
        assert [m.text for m in client.expect_closed() if m.kind == "E"] == ["client_idle_timeout"]
    with pooler.wire() as client:
        assert client.value("SELECT 1") == "1"


# ---- cancel


@pytest.mark.sanitizer
@pytest.mark.parametrize("protocol", [wire.PROTOCOL_30, wire.PROTOCOL_32])
def test_cancel(make_linked, pg, protocol):
    """The secret is ours: who knows the process id only can do nothing, and every worker may get the request."""
    pooler = make_linked(size=3)
    clients = [pooler.raw().login("app", "app", protocol=protocol) for _ in range(3)]
    assert len({c.pid for c in clients}) == 3
    for client in clients:
        assert len(client.key) == (4 if protocol == wire.PROTOCOL_30 else 32)
        client.send(wire.query(SLEEP))
        pg.wait_running("pg_sleep")
        wrong = [bytes(len(client.key)), client.key[:-1] + bytes([client.key[-1] ^ 1]), bytes([client.key[0] ^ 0x80]) + client.key[1:]]
        for key in wrong + [other.key for other in clients if other is not client]:
            with pooler.raw() as raw:
                raw.send(struct.pack("!IIi", 12 + len(key), wire.CANCEL_REQUEST, client.pid) + key)
                assert raw.expect_closed() == []
        assert client.silent_for(0.1)
        for _ in range(4):  # whichever worker gets it
            client.cancel()
            assert cancelled(client.until())
            client.send(wire.query(SLEEP))
            pg.wait_running("pg_sleep")
        client.cancel()
        assert cancelled(client.until())
        assert client.value("SELECT 1") == "1"
    for client in clients:
        client.disconnect()


@pytest.mark.sanitizer
@pytest.mark.parametrize("protocol", [wire.PROTOCOL_30, wire.PROTOCOL_32])
def test_cancel_by_way_of_a_peer(make_linked, pg, protocol):
    """The key does not say whose it is: whoever does not know it asks all peers, and those ask no further."""
    poolers = {i: make_linked(start=False, settings={"peer_id": i}) for i in (1, 2, 3)}
    for each in poolers.values():
        each.peers = {i: f"host=127.0.0.1 port={other.port}" for i, other in poolers.items()}
        each.write_config()
        each.start()
    with poolers[2].raw() as client:
        client.login("app", "app", protocol=protocol)
        assert client.pid >> 24 == 0 and client.key[3] & 3 == 3
        for at in (1, 3, 2, 1):
            client.send(wire.query(SLEEP))
            pg.wait_running("pg_sleep")
            with poolers[at].raw() as raw:
                raw.send(struct.pack("!IIi", 12 + len(client.key), wire.CANCEL_REQUEST, client.pid) + client.key)
                assert raw.expect_closed() == []
            assert cancelled(client.until())
        pid, key = client.pid, client.key
        with poolers[1].raw() as raw:  # a secret that nobody knows: everybody is asked, once
            raw.send(struct.pack("!IIi", 16, wire.CANCEL_REQUEST, pid) + b"\x01\x02\x03\x07")
            assert raw.expect_closed() == []
        assert client.value("SELECT 1") == "1"
    with poolers[3].raw() as raw:  # one that has gone
        raw.send(struct.pack("!IIi", 12 + len(key), wire.CANCEL_REQUEST, pid) + key)
        assert raw.expect_closed() == []
    for each in poolers.values():
        assert [p["cl_active_cancel_req"] + p["cl_waiting_cancel_req"] + p["sv_active_cancel"] for p in each.show("PEER_POOLS")] == [0] * 3
        assert not each.log_lines("too often|not in ")


def test_what_peers_receive(make_linked, fake):
    """No hops are left, but for the one whose number the process id happens to be; the requester waits for the last."""
    release = threading.Event()
    two, three = fake(cancels_last(release)), fake(cancels_last(release))
    pooler = make_linked(settings={"peer_id": 1}, peers={2: two.dsn, 3: three.dsn})
    with pooler.raw() as raw:
        raw.send(struct.pack("!IIi", 16, wire.CANCEL_REQUEST, 0x00020007) + b"\x11\x22\x33\xff")
        wait_until(lambda: two.cancels and three.cancels, "both peers to be asked")
        assert raw.silent_for(0.1)
        release.set()
        assert raw.expect_closed() == []
    assert two.cancels == [struct.pack("!I", 0x00020007) + b"\x11\x22\x33\xfe"]
    assert three.cancels == [struct.pack("!I", 0x00020007) + b"\x11\x22\x33\xfc"]


# ---- the server under its client


@pytest.mark.sanitizer
@pytest.mark.parametrize("link", ["login", "query"])
@pytest.mark.parametrize("when", ["idle", "in a transaction", "at work"])
def test_server_that_is_killed(make_linked, pg, link, when):
    """The client gets the server's own words, as on a direct connection, and then the end."""
    pooler = make_linked(settings={"session_link": link})
    with pooler.wire() as client:
        pid = client.value("SELECT pg_backend_pid()")
        if when == "in a transaction":
            client.query("BEGIN")
        elif when == "at work":
            client.send(wire.query(SLEEP))
            pg.wait_running("pg_sleep")
        assert pg.terminate_backends(f"pid = {pid}") == 1
        messages = client.expect_closed()
        errors = [m.fields() for m in messages if m.kind == "E"]
        assert [(e["S"], e["C"], e["M"]) for e in errors] == \
            [("FATAL", "57P01", "terminating connection due to administrator command")]
        assert errors[0]["R"] == "ProcessInterrupts", "PostgreSQL's own message, unchanged"
    with pooler.wire() as client:
        assert client.value("SELECT 1") == "1"


def test_server_that_vanishes(make_linked, fake):
    """Without a word of its own the client is told what is known."""
    gone = threading.Event()

    def answer(sql):
        if sql == "SELECT 'die'":
            gone.set()
            raise wire.Closed("dies")
        return one_row(sql)

    server = fake(lambda conn: (conn.accept_login(), conn.serve_queries(answer)))
    pooler = make_linked(databases={"app": f"{server.dsn} dbname=app"})
    with pooler.wire() as client:
        client.send(wire.query("SELECT 'die'"))
        assert [(m.fields()["S"], m.sqlstate) for m in client.expect_closed() if m.kind == "E"] == [("FATAL", "08006")]


# ---- what the next client sees


@pytest.mark.sanitizer
@pytest.mark.parametrize("link", ["login", "query"])
@pytest.mark.parametrize("skip", ["certain", "seen"])
def test_nothing_of_the_last_client_is_left(make_linked, link, skip):
    """As far as DISCARD ALL goes: temporary objects of every kind, plans, sequences, cursors, locks, channels, settings, roles."""
    pooler = make_linked(size=1, settings={"session_link": link, "server_reset_query_skip": skip})
    with pooler.connect() as one:
        pid = one.execute("SELECT pg_backend_pid()").fetchone()[0]
        one.execute("CREATE TEMP TABLE mine (x serial)")
        one.execute("CREATE TEMP VIEW mine_too AS SELECT 1")
        one.execute("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        one.execute("CREATE TYPE pg_temp.mood AS ENUM ('good')")
        one.execute("INSERT INTO mine DEFAULT VALUES")
        one.execute("PREPARE plan AS SELECT 1")
        one.execute("SELECT pg_advisory_lock(1), pg_advisory_lock_shared(2)")
        one.execute("DECLARE held CURSOR WITH HOLD FOR SELECT 1")
        one.execute("LISTEN news")
        one.execute("SET work_mem = '1234kB'")
        one.execute("SET my.own = 'x'")
        one.execute("SET ROLE bob")
    with pooler.connect() as two:
        def value(sql):
            return two.execute(sql).fetchone()[0]

        assert value("SELECT pg_backend_pid()") == pid
        assert value("SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()") == 0
        assert value("SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema()") == 0
        assert value("SELECT count(*) FROM pg_type WHERE typnamespace = pg_my_temp_schema()") == 0
        assert value("SELECT count(*) FROM pg_prepared_statements WHERE name = 'plan'") == 0
        assert value("SELECT count(*) FROM pg_cursors WHERE is_holdable") == 0
        assert value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()") == 0
        assert value("SELECT count(*) FROM pg_listening_channels()") == 0
        assert value("SHOW work_mem") != "1234kB" and value("SELECT current_user") == "app"
        assert value("SELECT current_setting('my.own', true)") in (None, "")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            two.execute("SELECT lastval()")
