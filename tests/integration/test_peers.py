"""Several poolers behind one port or balancer: so_reuseport, [peers], cancel requests that are forwarded."""
import os
import struct
import subprocess
import threading

import psycopg
import pytest

from harness import wire
from harness.fakeserver import cancels_last
from harness.pooler import Pooler
from harness.util import popen_user, wait_until
from harness.wire import Wire

pytestmark = pytest.mark.own

SLEEP = "SELECT pg_sleep(60)"
PGBOUNCER = os.environ.get("PGSLUICE_TEST_PGBOUNCER")  # a PgBouncer of 1.21 or later


def send_cancel(raw, pid, key):
    raw.send(struct.pack("!IIi", 12 + len(key), wire.CANCEL_REQUEST, pid) + key)
    return raw


def cancelled(messages):
    return [m.sqlstate for m in messages if m.kind == "E"] == ["57014"]


def head(pid, key):
    return struct.pack("!I", pid) + key[:4]


@pytest.fixture
def make_peers(make_pooler):
    """make_peers(links): one pooler for each id in links; links[id] = {peer id: id of the pooler it is found at}."""
    def make(links, **settings):
        poolers = {i: make_pooler(start=False, settings={"peer_id": i, **settings}) for i in links}
        for i, peers in links.items():
            poolers[i].peers = {p: f"host=127.0.0.1 port={poolers[at].port}" for p, at in peers.items()}
            poolers[i].write_config()
            poolers[i].start()
        return poolers

    return make


# ---- one port


@pytest.mark.sanitizer
@pytest.mark.parametrize("count", [2, 3])
def test_processes_behind_one_port(make_pooler, pg, count):
    """The kernel gives each connection to any of them; a driver's cancel finds its query all the same."""
    poolers = [make_pooler(start=False, settings={"so_reuseport": 1, "peer_id": n + 1}) for n in range(count)]
    for each in poolers:
        each.settings["listen_port"] = each.port = poolers[0].port
        each.peers = {n + 1: f"host={other.directory} port={poolers[0].port}" for n, other in enumerate(poolers)}
        each.write_config()
    for each in poolers:
        each.start()
        wait_until(lambda each=each: os.path.exists(f"{each.directory}/.s.PGSQL.{each.port}"), "its Unix socket")
    served = set()
    for turn in range(12 * count):
        with poolers[0].connect() as conn:
            served.add(conn.pgconn.backend_pid >> 16 & 0xFF)
            thread = threading.Thread(target=lambda conn=conn: (pg.wait_running("pg_sleep"), conn.cancel()))
            thread.start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                conn.execute(SLEEP)
            thread.join()
            assert conn.execute("SELECT %s", [turn]).fetchone() == (turn,)
    assert served == set(range(1, count + 1))
    for each in poolers:
        with Wire(each.directory, each.port) as console:
            console.login("admin", "pgbouncer")
            assert [row[1:] for row in console.rows("SHOW PEER_POOLS")] == [["0"] * 4] * count


def test_second_process_without_so_reuseport(make_pooler):
    first = make_pooler()
    second = make_pooler(start=False, settings={"listen_port": first.port})
    done = second.run(second.path("pgsluice.ini"))
    assert done.returncode == 1 and "already in use" in (done.stderr + done.stdout)


# ---- keys


@pytest.mark.sanitizer
@pytest.mark.parametrize("protocol", [wire.PROTOCOL_30, wire.PROTOCOL_32])
@pytest.mark.parametrize("peer_id", [1, 515, 16383])
def test_bytes_of_a_key(make_pooler, pg, peer_id, protocol):
    """As PgBouncer's: bytes 1 and 2 are the peer id, low byte first, and the last two bits of the eighth are set."""
    pooler = make_pooler(settings={"peer_id": peer_id})
    keys = []
    for _ in range(8):
        with pooler.raw() as client:
            client.login("app", "app", protocol=protocol)
            assert 0 < client.pid < 1 << 31
            keys.append(head(client.pid, client.key))
    assert all(key[1] + (key[2] << 8) == peer_id and key[7] & 3 == 3 for key in keys)
    assert len(set(keys)) == 8
    with pooler.raw() as client:
        client.login("app", "app", protocol=protocol)
        client.send(wire.query(SLEEP))
        pg.wait_running("pg_sleep")
        # whoever forwarded it has taken from the hops; they are not part of the secret
        for wrong in (b"\x04", b"\x80"):
            last = client.key[3] ^ wrong[0]
            with pooler.raw() as raw:
                assert send_cancel(raw, client.pid, client.key[:3] + bytes([last]) + client.key[4:]).expect_closed() == []
        assert client.silent_for(0.1)
        with pooler.raw() as raw:
            send_cancel(raw, client.pid, client.key[:3] + bytes([client.key[3] & ~3]) + client.key[4:]).expect_closed()
        assert cancelled(client.until())


@pytest.mark.sanitizer
@pytest.mark.parametrize("secret", [b"\x11\x22\x33\xff", b"\x11\x22\x33\xfd" + b"\x55" * 28], ids=["short", "long"])
def test_what_a_peer_receives(make_pooler, fake, secret):
    """The same bytes, with one hop less; the requester is disconnected when the peer has hung up."""
    release = threading.Event()
    peer = fake(cancels_last(release))
    pooler = make_pooler(settings={"peer_id": 9, "server_tls_sslmode": "prefer"}, peers={258: peer.dsn})
    with pooler.raw() as raw:
        send_cancel(raw, 0x7F020144, secret)
        wait_until(lambda: peer.cancels, "the peer to be asked", 20)
        assert raw.silent_for(0.1)
        release.set()
        assert raw.expect_closed() == []
    assert peer.cancels == [struct.pack("!I", 0x7F020144) + secret[:3] + bytes([secret[3] - 1]) + secret[4:]]
    assert peer.connections == 1, "no request for TLS"


# ---- forwarding


@pytest.mark.sanitizer
@pytest.mark.parametrize("protocol", [wire.PROTOCOL_30, wire.PROTOCOL_32])
def test_chain_of_peers(make_peers, pg, protocol):
    """A request is forwarded three times, and no more."""
    poolers = make_peers({1: {5: 2}, 2: {5: 3}, 3: {5: 4}, 4: {5: 5}, 5: {5: 5, 1: 1}})
    with poolers[5].raw() as client:
        client.login("app", "app", protocol=protocol)
        client.send(wire.query(SLEEP))
        pg.wait_running("pg_sleep")
        with poolers[1].raw() as raw:
            assert send_cancel(raw, client.pid, client.key).expect_closed() == []
        poolers[4].wait_log("has been forwarded too often")
        assert client.silent_for(0.1)
        with poolers[2].raw() as raw:
            assert send_cancel(raw, client.pid, client.key).expect_closed() == []
        assert cancelled(client.until())


@pytest.mark.sanitizer
def test_loop_of_peers(make_peers):
    poolers = make_peers({1: {3: 2}, 2: {3: 1}})
    with poolers[1].raw() as raw:
        assert send_cancel(raw, 0x01030000, b"\xff\xff\xff\xff").expect_closed() == []
    poolers[2].wait_log("cancel request for peer 3 has been forwarded too often")
    assert not poolers[1].log_lines("too often")
    for each in poolers.values():
        assert [p["cl_active_cancel_req"] + p["sv_active_cancel"] for p in each.show("PEER_POOLS")] == [0]


def test_unknown_peer(make_pooler):
    pooler = make_pooler(settings={"peer_id": 1}, peers={2: "host=127.0.0.1 port=1"})
    with pooler.raw() as raw:
        assert send_cancel(raw, 0x01030000, b"\xff\xff\xff\xff").expect_closed() == []
    pooler.wait_log("cancel request for peer 3, which is not in \\[peers\\]")
    with pooler.raw() as raw:
        assert send_cancel(raw, 0x01020000, b"\xff\xff\xff\xff").expect_closed() == []
    pooler.wait_log("cancel request failed: could not connect to \"127.0.0.1\" port 1: ")


@pytest.mark.sanitizer
def test_pool_size_of_a_peer(make_pooler, fake):
    """So many at a time, however many workers there are; the others wait, and not for longer than cancel_wait_timeout."""
    release = threading.Event()
    peer = fake(cancels_last(release))
    pooler = make_pooler(settings={"peer_id": 1, "cancel_wait_timeout": 60}, peers={2: f"{peer.dsn} pool_size=2"})
    raws = [send_cancel(pooler.raw(), 0x00020000, bytes([1, 2, n, 255])) for n in range(8)]
    counts = {"peer_id": 2, "cl_active_cancel_req": 2, "cl_waiting_cancel_req": 6, "sv_active_cancel": 2, "sv_login": 0}
    wait_until(lambda: pooler.show("PEER_POOLS") == [counts], "two to be under way")
    clients = [c["state"] for c in pooler.show("CLIENTS") if (c["user"], c["database"]) == ("(nouser)", "(nodb)")]
    assert sorted(clients) == ["active_cancel_req"] * 2 + ["waiting_cancel_req"] * 6
    assert [s["state"] for s in pooler.show("SERVERS") if s["database"] == "(nodb)"] == ["active_cancel"] * 2
    release.set()
    for raw in raws:
        assert raw.expect_closed() == []
        raw.disconnect()
    assert sorted(body[6] for body in peer.cancels) == list(range(8))
    release.clear()
    raws = [send_cancel(pooler.raw(), 0x00020000, bytes([1, 2, n, 255])) for n in range(3)]
    wait_until(lambda: pooler.show("PEER_POOLS")[0]["cl_waiting_cancel_req"] == 1, "one to wait")
    pooler.admin("SET cancel_wait_timeout = 0.2")
    for raw in raws:
        assert raw.expect_closed() == []
        raw.disconnect()
    pooler.wait_log("closing because: cancel_wait_timeout", 3)
    assert pooler.show("PEER_POOLS")[0]["sv_active_cancel"] == 0
    release.set()


def test_reload(make_peers, pg):
    """Peers come, change and go; what is said about oneself is ignored."""
    poolers = make_peers({1: {1: 1}, 2: {}})
    one = poolers[1]
    assert [p["peer_id"] for p in one.show("PEERS")] == [1]

    def forward():
        with one.raw() as raw:
            send_cancel(raw, client.pid, client.key).expect_closed()

    with poolers[2].wire() as client:
        client.send(wire.query(SLEEP))
        pg.wait_running("pg_sleep")
        forward()
        one.wait_log("peer 2, which is not in")
        one.peers["2"] = "host=127.0.0.1 port=1"
        one.reload()
        forward()
        one.wait_log("cancel request failed")
        one.peers["02"] = f"pool_size=3 host='127.0.0.1' port={poolers[2].port}"  # of two the last counts
        one.reload()
        assert one.show("PEERS")[1] == {"peer_id": 2, "host": "127.0.0.1", "port": poolers[2].port, "pool_size": 3}
        forward()
        assert cancelled(client.until())
        client.send(wire.query(SLEEP))
        pg.wait_running("pg_sleep")
        one.peers = {}
        one.reload()
        assert one.show("PEERS") == one.show("PEER_POOLS") == []
        forward()
        one.wait_log("peer 2, which is not in", 2)
        one.peers = {3: "port=1"}
        one.write_config()
        with pytest.raises(psycopg.Error):
            one.admin("RELOAD")
        one.wait_log("host was not provided for peer 3")
        client.cancel()
        assert cancelled(client.until())


def test_peer_id_comes_and_goes(make_pooler, pg):
    """Clients keep the keys that they have got: they work where nothing is forwarded."""
    pooler = make_pooler(settings={"peer_id": 7})
    with pooler.wire() as client:
        pooler.admin("SET peer_id = 0")
        client.send(wire.query(SLEEP))
        pg.wait_running("pg_sleep")
        client.cancel()
        assert cancelled(client.until())


def test_show(make_pooler):
    pooler = make_pooler(settings={"peer_id": 2, "default_pool_size": 7},
                         peers={10: "host=/tmp/ten port=1234", 2: "host=example.org", 9: "host=a pool_size=4"})
    assert pooler.show("PEERS") == [
        {"peer_id": 2, "host": "example.org", "port": 6432, "pool_size": 7},
        {"peer_id": 9, "host": "a", "port": 6432, "pool_size": 4},
        {"peer_id": 10, "host": "/tmp/ten", "port": 1234, "pool_size": 7},
    ]
    names = ["peer_id", "cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel", "sv_login"]
    assert pooler.show("PEER_POOLS") == [dict(zip(names, [i, 0, 0, 0, 0])) for i in (2, 9, 10)]
    lists = {row["list"]: row["items"] for row in pooler.show("LISTS")}
    assert (lists["peers"], lists["peer_pools"]) == (3, 3)


@pytest.mark.parametrize("line, says", [
    ("0 = host=x", "id of a peer: 0 is less than 1|id of a peer: 0 is not between"),
    ("65536 = host=x", "id of a peer: 65536"),
    ("one = host=x", "id of a peer: \"one\" is not a number"),
    ("1 = port=5", "host was not provided for peer 1"),
    ("1 = host=x port=0", "port: 0 is not between"),
    ("1 = host=x poolsize=5", "unknown key poolsize: did you mean pool_size"),
])
def test_lines_that_are_wrong(make_pooler, line, says):
    pooler = make_pooler(start=False, sections=f"[peers]\n{line}\n")
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1
    pattern = [part for part in says.split("|") if part in done.stderr + done.stdout]
    assert pattern, done.stderr


def test_peers_without_an_id_of_ones_own(make_pooler):
    pooler = make_pooler(peers={1: "host=x"})
    pooler.wait_log("\\[peers\\] has no effect")


# ---- PgBouncer


@pytest.mark.skipif(not PGBOUNCER, reason="PGSLUICE_TEST_PGBOUNCER names no PgBouncer of 1.21 or later")
def test_pgbouncer_as_a_peer(make_pooler, pg):
    """Each forwards the other's requests."""
    own = make_pooler(start=False, settings={"peer_id": 1})
    other = Pooler(pg, settings={"peer_id": 2, "workers": None, "http_listen": None}, peers={1: f"host=127.0.0.1 port={own.port}"})
    own.peers = {2: f"host=127.0.0.1 port={other.port}"}
    own.write_config()
    own.start()
    with open(other.path("log"), "wb") as log:
        process = subprocess.Popen([PGBOUNCER, other.path("pgsluice.ini")], stdout=log, stderr=log, cwd=other.directory,
                                   **popen_user())
    try:
        wait_until(other.is_listening_now, "PgBouncer to listen")
        for mine, theirs in ((own, other), (other, own)) * 5:
            with mine.wire() as client:
                client.send(wire.query(SLEEP))
                pg.wait_running("pg_sleep")
                with theirs.raw() as raw:
                    send_cancel(raw, client.pid, client.key).expect_closed()
                assert cancelled(client.until())
    finally:
        process.kill()
        process.wait()
        other.destroy()
