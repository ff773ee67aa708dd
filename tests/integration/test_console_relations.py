"""What the rows of SHOW say: states of connections and their buffers, memory, names."""
import os

import pytest

from harness import util, wire

pytestmark = pytest.mark.own


def socket_of(pooler, kind, state):
    rows = [row for row in pooler.show("SOCKETS") if row["type"] == kind and row["database"] == "app"]
    return [row for row in rows if row["state"] == state]


def test_sockets_have_prefixed_states(make_pooler):
    pooler = make_pooler(settings={"server_check_delay": 0, "default_pool_size": 2})
    with pooler.wire() as active, pooler.wire() as idle:
        idle.query("SELECT 1")
        active.query("BEGIN")
        assert len(socket_of(pooler, "C", "cl_active")) == 2, "an idle client is not told from others here"
        assert len(socket_of(pooler, "S", "sv_active")) == 1
        assert sorted(row["state"] for row in pooler.clients()) == ["active", "idle"]
        active.query("COMMIT")

        # the check query is due from the first moment on
        util.wait_until(lambda: {row["state"] for row in pooler.servers()} == {"used"}, "idle servers to be used ones")
        assert {row["state"] for row in pooler.show("SOCKETS") if row["type"] == "S"} == {"sv_used"}
        assert pooler.pool()["sv_used"] == len(pooler.servers()) and pooler.pool()["sv_idle"] == 0


def test_idle_servers_are_idle_before_the_check_delay(make_pooler):
    pooler = make_pooler(settings={"server_check_delay": 30})
    with pooler.wire() as client:
        client.query("SELECT 1")
        assert {row["state"] for row in pooler.servers()} == {"idle"}


def test_active_sockets_have_something_in_their_buffers(make_pooler):
    """A result that its client does not read is pending towards that client; the server's row says how much."""
    pooler = make_pooler()
    with pooler.wire() as quiet, pooler.wire() as slow:
        quiet.query("SELECT 1")
        assert pooler.show("ACTIVE_SOCKETS") == []
        slow.send(wire.query("SELECT repeat('x', 1000000) FROM generate_series(1, 50)"))
        rows = []

        def result_is_pending():  # and the query is not any more
            rows[:] = pooler.show("ACTIVE_SOCKETS")
            return [row["type"] for row in rows] == ["S"] and rows[0]["send_avail"] > 0

        util.wait_until(result_is_pending, "a pending result")
        assert rows[0]["recv_pos"] == rows[0]["send_avail"] + rows[0]["pkt_avail"]
        assert rows[0]["send_remain"] == 0
        assert [row["ptr"] for row in rows] == [row["ptr"] for row in pooler.servers() if row["link"]]


def test_input_that_waits_is_counted(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as holder, pooler.wire() as waiter:
        holder.query("BEGIN")
        waiter.send(wire.query("SELECT 12345"))
        row = util.wait_until(lambda: socket_of(pooler, "C", "cl_waiting"), "the client to wait")[0]
        assert row["pkt_avail"] == row["recv_pos"] == len("SELECT 12345") + 6
        assert [row["ptr"] for row in pooler.show("ACTIVE_SOCKETS")] == [row["ptr"]]
        memory = {row["name"]: row for row in pooler.show("MEM")}
        assert memory["input_bytes"]["used"] >= row["pkt_avail"]
        holder.query("COMMIT")


def test_close_needed_says_what_will_go(make_pooler):
    """A server that is to close when it comes free, here because its database has changed."""
    pooler = make_pooler()
    with pooler.wire() as client:
        client.query("BEGIN")
        assert [row["close_needed"] for row in pooler.servers()] == [0]
        pooler.databases["app"] += " connect_query='SELECT 1'"
        pooler.reload()
        util.wait_until(lambda: [row["close_needed"] for row in pooler.servers()] == [1], "the mark")
        client.query("COMMIT")


def test_remote_pid_of_a_client_over_the_unix_socket(make_pooler):
    pooler = make_pooler()
    with pooler.connect(host=pooler.directory) as conn:
        conn.execute("SELECT 1")
        assert [row["remote_pid"] for row in pooler.clients()] == [os.getpid()]
    with pooler.connect() as conn:
        conn.execute("SELECT 1")
        util.wait_until(lambda: [row["remote_pid"] for row in pooler.clients()] == [0], "one client, over TCP")


def test_memory_adds_up(make_pooler):
    pooler = make_pooler()
    clients = [pooler.wire() for _ in range(10)]
    rows = {row["name"]: row for row in pooler.show("MEM")}
    for row in rows.values():
        assert row["memtotal"] == row["size"] * (row["used"] + row["free"]), row
    assert rows["client_cache"]["used"] == 11 and rows["client_cache"]["size"] > 100
    assert rows["server_cache"]["used"] == len(pooler.servers())
    assert rows["iobuf_cache"]["used"] == pooler.workers
    assert rows["pool_cache"]["used"] == 1 and rows["log_ring"]["memtotal"] == 1 << 20
    assert rows["string_bytes"]["used"] > 0 and rows["var_list_cache"]["used"] > 0
    for client in clients:
        client.disconnect()
    util.wait_until(lambda: {row["name"]: row for row in pooler.show("MEM")}["client_cache"]["used"] == 1, "the clients to go")


def test_dns_hosts(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"host=localhost port={pg.port} dbname=app"}, settings={"dns_max_ttl": 600})
    with pooler.wire() as client:
        client.query("SELECT 1")
        rows = pooler.show("DNS_HOSTS")
        assert [row["hostname"] for row in rows] == ["localhost"]
        assert "127.0.0.1" in rows[0]["addrs"]
        # with c-ares, what /etc/hosts says counts for a second; a name in use is looked up again then
        util.wait_until(lambda: 0 < pooler.show("DNS_HOSTS")[0]["ttl"] <= 600, "the name to be known")
        assert {row["list"]: row["items"] for row in pooler.show("LISTS")}["dns_names"] == 1
    assert pooler.show("DNS_ZONES") == []


def test_fds_says_that_it_has_gone(pooler):
    with pooler.raw() as console:
        console.login("admin", "pgbouncer")
        error = console.query("SHOW FDS")[0]
        assert error.sqlstate == "0A000" and "removed" in error.text
        assert "SHOW SOCKETS" in error.fields()["H"]


def test_two_gatherings_at_once(make_pooler):
    """Rows come by mail: each session gets what it asked for."""
    pooler = make_pooler()
    with pooler.raw() as one, pooler.raw() as two:
        one.login("admin", "pgbouncer")
        two.login("admin", "pgbouncer")
        for _ in range(50):
            one.send(wire.query("SHOW SOCKETS"))
            two.send(wire.query("SHOW MEM"))
            assert one.until()[-2].tag == two.until()[-2].tag == "SHOW"
