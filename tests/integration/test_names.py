"""Host names: lifetimes, names that do not exist, addresses that change while connections are open, name servers that are down."""
import socket
import time

import pytest

from harness import util, wire
from harness.fakedns import FakeDns
from harness.fakeserver import one_row
from harness.pooler import Pooler
from harness.util import PATIENCE, free_port, wait_until

pytestmark = pytest.mark.own

A, B, C = "127.0.0.2", "127.0.0.3", "127.0.0.4"
NAME = "db.example"


@pytest.fixture(autouse=True)
def needs_cares():
    probe = Pooler(None)
    version = probe.run("--version").stdout
    probe.destroy()
    if "c-ares" not in version:
        pytest.skip("built without c-ares: resolv_conf is refused")


@pytest.fixture
def dns():
    server = FakeDns({NAME: [A]})
    yield server
    server.stop()


@pytest.fixture
def hosts(fake):
    """Three fake servers that answer with their address, on one port; the port."""
    port = free_port()
    for address in (A, B, C):
        def script(conn, address=address):
            conn.accept_login()
            conn.serve_queries(lambda sql: one_row(address))
        fake(script, address=address, port=port)
    return port


def named(make_pooler, dns, port, host=NAME, start=True, **settings):
    pooler = make_pooler(start=False, databases={"app": f"host={host} port={port} dbname=app"},
                         settings={"server_tls_sslmode": "disable", "server_connect_timeout": 5, "query_wait_timeout": 3,
                                   "dns_max_ttl": 1, "dns_nxdomain_ttl": 1, **settings})
    pooler.settings["resolv_conf"] = util.write_file(pooler.path("resolv.conf"), dns.resolv_conf())
    pooler.write_config()
    return pooler.start() if start else pooler


def seconds_pass(pooler, count):
    """So many rounds of what the pooler does each second, whole ones (with stats_period = 1)."""
    pooler.wait_log("LOG stats: ", len(pooler.log_lines("LOG stats: ")) + count + 1)


def where(client):
    client.send(wire.query("SELECT where"))
    return next(m.row()[0] for m in client.until() if m.kind == "D")


def test_one_lookup_for_many_connections(make_pooler, dns, hosts):
    """The answer is remembered for as long as the name server says, at most dns_max_ttl."""
    dns.ttl = 3600
    pooler = named(make_pooler, dns, hosts, dns_max_ttl=60, pool_mode="session")
    clients = [pooler.wire() for _ in range(5)]
    assert [where(client) for client in clients] == [A] * 5
    assert dns.count(NAME) == 1
    for client in clients:
        client.disconnect()


@pytest.mark.parametrize("answer_ttl, max_ttl", [(1, 600), (600, 1)], ids=["by-the-answer", "by-dns_max_ttl"])
def test_a_name_in_use_is_looked_up_again(make_pooler, dns, hosts, answer_ttl, max_ttl):
    """The shorter of both lifetimes counts; and it happens without any new connection."""
    dns.ttl = answer_ttl
    pooler = named(make_pooler, dns, hosts, dns_max_ttl=max_ttl)
    with pooler.wire() as client:
        assert where(client) == A
        before = dns.count(NAME)
        wait_until(lambda: dns.count(NAME) >= before + 2, "two more lookups", 10)
    assert len(pooler.log_lines("new connection to server")) == 1


def test_a_long_life_is_believed(make_pooler, dns, hosts):
    """No lookups in between."""
    dns.ttl = 600
    pooler = named(make_pooler, dns, hosts, dns_max_ttl=600, stats_period=1)
    with pooler.wire() as client:
        where(client)
        seconds_pass(pooler, 3)
        where(client)
    assert dns.count(NAME) == 1


def test_connections_follow_the_name(make_pooler, dns, hosts):
    """When the address changes, idle servers go, and one that is in use goes as it comes free."""
    pooler = named(make_pooler, dns, hosts, pool_mode="session")
    busy, idle = pooler.wire(), pooler.wire()
    assert where(busy) == where(idle) == A
    idle.goodbye()
    wait_until(lambda: pooler.pool()["sv_idle"] + pooler.pool()["sv_used"] == 1, "an idle server")
    dns.names[NAME] = [B]
    pooler.wait_log("closing because: server DNS address changed")
    pooler.wait_log(f'host name "{NAME}" has changed from {A} to {B}')
    with pooler.wire() as fresh:
        assert where(fresh) == B
    assert where(busy) == A  # its session has not ended
    busy.goodbye()
    pooler.wait_log("closing because: server DNS address changed", 2)
    wait_until(lambda: {row["addr"] for row in pooler.servers()} == {B}, "only the new address")


def test_another_address_beside_it_changes_nothing(make_pooler, dns, hosts):
    """Connections to an address that is still there stay; new ones take turns."""
    pooler = named(make_pooler, dns, hosts, pool_mode="session")
    first = pooler.wire()
    assert where(first) == A
    dns.names[NAME] = [A, B]
    pooler.wait_log("has changed from")
    more = [pooler.wire() for _ in range(4)]
    assert {where(client) for client in more} == {A, B}
    assert not pooler.log_lines("address changed")
    for client in (first, *more):
        client.disconnect()


@pytest.mark.parametrize("trouble", ["silent", "servfail"])
def test_old_addresses_serve_while_nobody_answers(make_pooler, dns, hosts, trouble):
    """A name server that is down is no reason for a client to wait, and closes nothing."""
    pooler = named(make_pooler, dns, hosts, pool_mode="session")
    with pooler.wire() as client:
        assert where(client) == A
        dns.names[NAME] = trouble
        pooler.wait_log(f'host name "{NAME}" could not be looked up', timeout=20)
        started = time.monotonic()
        with pooler.wire() as other:
            assert where(other) == A
        assert time.monotonic() - started < 0.8 * PATIENCE
        dns.names[NAME] = [B]
        pooler.wait_log("has changed from", timeout=20)
        pooler.wait_log("closing because: server DNS address changed")
        with pooler.wire() as other:
            assert where(other) == B
        assert where(client) == A


def test_a_name_that_does_not_exist(make_pooler, dns, hosts):
    """A clear error; remembered for dns_nxdomain_ttl and no longer."""
    pooler = named(make_pooler, dns, hosts, host="nowhere.example", dns_nxdomain_ttl=1, query_wait_timeout=1)
    with pytest.raises(wire.ServerError) as refused:
        pooler.wire()
    assert 'could not resolve host name "nowhere.example"' in refused.value.msg.text or refused.value.sqlstate == "53300"
    dns.names["nowhere.example"] = [C]

    def is_served():
        try:
            with pooler.wire() as client:
                return where(client) == C
        except wire.ServerError:
            return False
    wait_until(is_served, "the name to be found", 10)


def test_that_a_name_does_not_exist_is_remembered(make_pooler, dns, hosts):
    """Each attempt to connect needs the name, and the log says how it failed; the name server is asked once."""
    pooler = named(make_pooler, dns, hosts, host="nowhere.example", dns_nxdomain_ttl=600, query_wait_timeout=60, server_login_retry=0.1, verbose=1,
                   client_login_timeout=60)
    with pooler.raw() as client:
        client.send(wire.startup_packet({"user": "app", "database": "app"}))
        pooler.wait_log('server login failed: could not resolve host name "nowhere.example"', 6, timeout=30)
        assert dns.count("nowhere.example") == 1
        pooler.admin("SET dns_nxdomain_ttl = 0")
        wait_until(lambda: dns.count("nowhere.example") >= 3, "questions again, when nothing is remembered", 20)


def test_a_name_that_vanishes_leaves_connections_alone(make_pooler, dns, hosts):
    """Not found: what is open stays open."""
    pooler = named(make_pooler, dns, hosts)
    with pooler.wire() as client:
        assert where(client) == A
        del dns.names[NAME]
        pooler.wait_log("could not be looked up")
        assert where(client) == A
    assert not pooler.log_lines("address changed")


def test_a_name_among_others(make_pooler, dns, hosts):
    """In a list each kind of host is followed by its own rule."""
    pooler = named(make_pooler, dns, hosts, host=f"{C},{NAME}", pool_mode="session")
    clients = [pooler.wire() for _ in range(4)]
    assert sorted(where(client) for client in clients) == [A, A, C, C]
    for client in clients:
        client.goodbye()
    dns.names[NAME] = [B]
    pooler.wait_log("address changed", 2)
    assert {row["addr"] for row in pooler.servers()} == {C}


def test_other_names_do_not_wait_for_a_silent_one(make_pooler, dns, hosts):
    """Lookups run side by side."""
    for number in range(10):
        dns.names[f"silent{number}.example"] = "silent"
    pooler = named(make_pooler, dns, hosts, start=False)
    pooler.databases.update({f"s{n}": f"host=silent{n}.example port={hosts} dbname=app" for n in range(10)})
    pooler.write_config()
    pooler.start()
    stuck = [pooler.raw() for _ in range(10)]
    for number, client in enumerate(stuck):
        client.send(wire.startup_packet({"user": "app", "database": f"s{number}"}))
    wait_until(lambda: all(dns.count(f"silent{n}.example") for n in range(10)), "all to be asked for")
    started = time.monotonic()
    with pooler.wire() as client:
        assert where(client) == A
    assert time.monotonic() - started < 0.8 * PATIENCE
    for client in stuck:
        client.disconnect()


def test_reload_reads_the_name_servers_again(make_pooler, dns, hosts):
    """resolv.conf may have changed."""
    pooler = named(make_pooler, dns, hosts)
    other = FakeDns({NAME: [B]})
    try:
        with pooler.wire() as client:
            assert where(client) == A
            util.write_file(pooler.path("resolv.conf"), other.resolv_conf())
            pooler.admin("RELOAD")
            pooler.wait_log(f"has changed from {A} to {B}")
            wait_until(lambda: where(client) == B, "the other address")
    finally:
        other.stop()


def test_reload_while_the_old_name_server_is_silent(make_pooler, dns, hosts):
    """What is under way begins anew with the new one, and does not wait for the old one's end."""
    dns.names[NAME] = "silent"
    pooler = named(make_pooler, dns, hosts, query_wait_timeout=60, server_connect_timeout=60, client_login_timeout=60)
    other = FakeDns({NAME: [B]})
    try:
        with pooler.raw(timeout=30) as client:
            client.send(wire.startup_packet({"user": "app", "database": "app"}))
            wait_until(lambda: dns.count(NAME), "the lookup")
            asked = dns.count(NAME)
            util.write_file(pooler.path("resolv.conf"), other.resolv_conf())
            pooler.admin("RELOAD")
            wait_until(lambda: other.count(NAME), "the new name server to be asked")
            assert dns.count(NAME) <= asked + 1, "it has waited for the old one"
            client.until("R")
        with pooler.wire() as client:
            assert where(client) == B
        assert not pooler.log_lines("could not be looked up")
    finally:
        other.stop()


def test_resolv_conf_that_cannot_be_read(make_pooler):
    """Said at the start."""
    pooler = make_pooler(start=False, settings={"resolv_conf": "/nonexistent/resolv.conf"})
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1 and 'resolv_conf: cannot read "/nonexistent/resolv.conf"' in done.stdout + done.stderr


def test_etc_hosts_counts(make_pooler, dns, hosts):
    """localhost is not asked for."""
    pooler = named(make_pooler, dns, hosts, host="localhost", query_wait_timeout=1)
    with pytest.raises(wire.ServerError):
        pooler.wire()
    assert pooler.wait_log(f'could not connect to "localhost" port {hosts}: Connection refused')
    assert not dns.count("localhost")


def test_a_silent_address_of_a_name(make_pooler, dns, fake):
    """Of a name's addresses one that swallows connections costs its share of the time, once; then it comes last."""
    port = free_port()
    fake(lambda conn: None, address=A, port=port, backlog=0, accept=False)
    fillers = [fill_backlog(A, port) for _ in range(3)]

    def script(conn):
        conn.accept_login()
        conn.serve_queries(lambda sql: one_row(B))
    fake(script, address=B, port=port)
    dns.names[NAME] = [A, B]
    pooler = named(make_pooler, dns, port, server_connect_timeout=2, server_login_retry=60, query_wait_timeout=20, pool_mode="session")
    clients = []
    started = time.monotonic()
    for _ in range(4):
        clients.append(pooler.wire())
        assert where(clients[-1]) == B
    assert time.monotonic() - started < 2.5 * PATIENCE
    for each in clients + fillers:
        each.close() if hasattr(each, "close") else each.disconnect()


def fill_backlog(address, port):
    filler = socket.socket()
    filler.setblocking(False)
    filler.connect_ex((address, port))
    return filler


# ---- zones: dns_zone_check_period

ZONE, SOA = "example", 6


def zoned(make_pooler, dns, port, serial=7, **settings):
    """Its names are remembered for long; zones are asked each second."""
    dns.ttl, dns.serials = 600, {ZONE: serial}
    return named(make_pooler, dns, port, dns_max_ttl=600, dns_zone_check_period=1, **settings)


def wait_zone_asked(dns, more, zone=ZONE):
    goal = dns.count(zone, SOA) + more
    wait_until(lambda: dns.count(zone, SOA) >= goal, "questions for the serial", 20)


def zones(pooler):
    return [(row["zonename"], row["serial"], row["count"]) for row in pooler.show("DNS_ZONES")]


def dns_zones_of_lists(pooler):
    return next(row["items"] for row in pooler.show("LISTS") if row["list"] == "dns_zones")


def test_a_zone_that_changes_has_its_names_asked_again(make_pooler, dns, hosts):
    """At once, however long they were to live; and connections follow. Names of other zones are left alone."""
    dns.names["db.elsewhere"] = [C]
    pooler = zoned(make_pooler, dns, hosts, host=f"{NAME},db.elsewhere", pool_mode="session")
    dns.serials["elsewhere"] = 1
    clients = [pooler.wire() for _ in range(2)]
    assert {where(client) for client in clients} == {A, C}
    wait_until(lambda: zones(pooler) == [("elsewhere", 1, 1), (ZONE, 7, 1)], "both zones", 10)
    assert dns_zones_of_lists(pooler) == 2
    wait_zone_asked(dns, 2)
    wait_zone_asked(dns, 1, "elsewhere")
    asked = dns.count("db.elsewhere")
    dns.names[NAME] = [B]
    for client in clients:
        client.goodbye()
    dns.serials[ZONE] = 8
    pooler.wait_log(f'zone "{ZONE}": serial has changed from 7 to 8')
    pooler.wait_log("closing because: server DNS address changed")
    fresh = [pooler.wire() for _ in range(2)]
    assert {where(client) for client in fresh} == {B, C}
    assert (ZONE, 8, 1) in zones(pooler)
    assert dns.count("db.elsewhere") == asked
    for client in fresh:
        client.disconnect()


def test_a_zone_that_stays_has_its_names_left_alone(make_pooler, dns, hosts):
    """No lookups between two serials that are the same, or go back."""
    pooler = zoned(make_pooler, dns, hosts)
    with pooler.wire() as client:
        assert where(client) == A
        wait_zone_asked(dns, 2)
        asked = dns.count(NAME)
        wait_zone_asked(dns, 2)
        dns.serials[ZONE] = 6
        wait_zone_asked(dns, 2)
        assert dns.count(NAME) == asked
        dns.serials[ZONE] = 8
        wait_until(lambda: dns.count(NAME) == asked + 1, "one lookup")
        wait_zone_asked(dns, 2)
        assert dns.count(NAME) == asked + 1
    assert len(pooler.log_lines("serial has changed")) == 1


@pytest.mark.parametrize("trouble", ["no SOA", "servfail", "silent", None])
def test_a_zone_that_tells_no_serial(make_pooler, dns, hosts, trouble):
    """It is said once; asked about once in a period and no more; names live on; and a serial that comes is taken."""
    pooler = zoned(make_pooler, dns, hosts, serial=trouble)
    with pooler.wire() as client:
        assert where(client) == A
        pooler.wait_log(f'zone "{ZONE}": its serial could not be asked for', timeout=20)
        asked, count, started = dns.count(NAME), dns.count(ZONE, SOA), time.monotonic()
        wait_zone_asked(dns, 2)
        # each question may be put twice, and a check takes a second at least
        checks = time.monotonic() - started + 2
        assert dns.count(ZONE, SOA) - count <= 2 * checks
        assert dns.count(NAME) == asked
        assert zones(pooler) == [(ZONE, 0, 1)]
        dns.serials[ZONE] = 9
        wait_until(lambda: zones(pooler) == [(ZONE, 9, 1)], "the serial", 20)
        assert where(client) == A
    assert len(pooler.log_lines("could not be asked for")) == 1


def test_zones_are_not_asked_unless_wanted(make_pooler, dns, hosts):
    """0 is the default; the setting may change, also on the console, and names without a dot have no zone."""
    dns.names["plain"] = [A]
    pooler = zoned(make_pooler, dns, hosts, host=f"{NAME},plain", stats_period=1)
    assert pooler.config("dns_zone_check_period") == "1"
    with pooler.wire() as client:
        assert where(client) == A
        wait_until(lambda: zones(pooler) == [(ZONE, 7, 1)], "the zone", 10)
        pooler.admin("SET dns_zone_check_period = 0")
        wait_until(lambda: zones(pooler) == [], "zones to be forgotten")
        assert dns_zones_of_lists(pooler) == 0
        asked = dns.count(ZONE, SOA)
        seconds_pass(pooler, 2)
        assert dns.count(ZONE, SOA) == asked
        pooler.admin("SET dns_zone_check_period = 0.5")
        wait_zone_asked(dns, 1)
    assert not dns.count("plain", SOA)
