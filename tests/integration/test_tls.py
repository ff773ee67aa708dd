"""TLS with servers: every mode, certificates that do not fit, our own certificate, settings of single databases."""
import ssl

import psycopg
import pytest

from harness import util, wire
from harness.fakeserver import one_row
from harness.util import wait_until
from harness.wire import ServerError

IN_USE = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def server_ssl(pooler):
    with pooler.connect() as conn:
        return conn.execute(IN_USE).fetchone()[0]


@pytest.mark.parametrize("mode, expected", [("disable", False), ("allow", None), ("prefer", True), ("require", True),
                                            ("verify-ca", True), ("verify-full", True)])
def test_server_modes(make_pooler, certs, mode, expected):
    pooler = make_pooler(settings={"server_tls_sslmode": mode, "server_tls_ca_file": certs.ca})
    assert server_ssl(pooler) is expected or expected is None


def test_server_host_name_is_verified(make_pooler, pg, certs):
    settings = {"server_tls_sslmode": "verify-full", "server_tls_ca_file": certs.ca}
    good = make_pooler(settings=settings, databases={"app": f"host=localhost port={pg.port} dbname=app"})
    assert server_ssl(good) is True


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_server_of_another_ca_is_refused(make_pooler, certs, mode):
    pooler = make_pooler(settings={"server_tls_sslmode": mode, "server_tls_ca_file": certs.other_ca, "query_wait_timeout": 3})
    with pytest.raises(psycopg.OperationalError):
        server_ssl(pooler)
    pooler.wait_log("certificate|TLS|tls")


@pytest.fixture
def wrong_host_server(certs, fake):
    """Speaks TLS with a good certificate of another host, then answers as a server that trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs.wronghost)

    def script(conn):
        conn.read(8)
        conn.send(b"S")
        conn.sock = context.wrap_socket(conn.sock, server_side=True)
        conn.accept_login()
        conn.serve_queries()

    return fake(script)


@pytest.mark.parametrize("mode, accepted", [("require", True), ("verify-ca", True), ("verify-full", False)])
def test_server_certificate_of_another_host(make_pooler, certs, wrong_host_server, mode, accepted):
    pooler = make_pooler(settings={"server_tls_sslmode": mode, "server_tls_ca_file": certs.ca, "query_wait_timeout": 3},
                         databases={"app": f"{wrong_host_server.dsn} dbname=app"})
    if accepted:
        with pooler.wire() as client:
            assert client.rows("SELECT 'x'")
    else:
        with pytest.raises((ServerError, psycopg.OperationalError)):
            with pooler.connect() as conn:
                conn.execute("SELECT 1")


def test_server_without_tls_where_it_is_required(make_pooler, fake):
    def script(conn):
        conn.accept_login()
        conn.serve_queries()

    server = fake(script)
    pooler = make_pooler(settings={"server_tls_sslmode": "require", "query_wait_timeout": 3}, databases={"app": f"{server.dsn} dbname=app"})
    with pytest.raises((ServerError, psycopg.OperationalError)):
        with pooler.connect() as conn:
            conn.execute("SELECT 1")


def test_server_that_needs_tls(make_pooler, pg):
    pooler = make_pooler(settings={"server_tls_sslmode": "require"}, databases={"app": f"{pg.dsn} dbname=app user=ssluser"})
    assert server_ssl(pooler) is True
    plain = make_pooler(settings={"server_tls_sslmode": "disable"}, databases={"app": f"{pg.dsn} dbname=app user=ssluser"})
    with pytest.raises(psycopg.OperationalError):
        server_ssl(plain)


@pytest.mark.sanitizer
def test_client_certificate_for_the_server(make_pooler, pg, certs):
    pooler = make_pooler(settings={"server_tls_sslmode": "verify-ca", "server_tls_ca_file": certs.ca,
                                   "server_tls_cert_file": certs.client[0], "server_tls_key_file": certs.client[1]},
                         databases={"app": f"{pg.dsn} dbname=app user=certuser"})
    with pooler.connect() as conn:
        assert conn.execute("SELECT current_user").fetchone()[0] == "certuser"


def test_bytes_before_the_handshake_are_refused(make_pooler, fake):
    """What comes with the 'S' in one packet is from somebody in the middle (CVE-2021-23222)."""
    def script(conn):
        conn.read(8)
        conn.send(b"S" + b"injected")
        conn.hang_until_closed()

    server = fake(script)
    pooler = make_pooler(settings={"server_tls_sslmode": "require", "query_wait_timeout": 2}, databases={"app": f"{server.dsn} dbname=app"})
    with pytest.raises((ServerError, psycopg.OperationalError)):
        with pooler.connect() as conn:
            conn.execute("SELECT 1")


@pytest.mark.sanitizer
def test_large_messages_over_tls(make_pooler):
    pooler = make_pooler(settings={"server_tls_sslmode": "require"})
    with pooler.connect() as conn:
        rows = conn.execute("SELECT repeat('x', 10000) FROM generate_series(1, 2000)").fetchall()
        assert len(rows) == 2000 and all(len(row[0]) == 10000 for row in rows)
        assert conn.execute("SELECT length(%s)", ("y" * 5_000_000,)).fetchone()[0] == 5_000_000


# ---- settings of single databases ------------------------------------------------------------------------------

def connected(pooler, database):
    """How the server of a database is spoken to: "tls", "clear", or the error."""
    try:
        with pooler.connect(database) as conn:
            return "tls" if conn.execute(IN_USE).fetchone()[0] else "clear"
    except psycopg.OperationalError as error:
        return str(error)


@pytest.mark.parametrize("mode, own, expected", [
    ("disable", "", "clear"),
    ("disable", "sslmode=require", "tls"),
    ("require", "sslmode=disable", "clear"),
    ("prefer", "sslmode=verify-full sslrootcert={ca}", "tls"),
    ("prefer", "sslmode=verify-ca sslrootcert={other_ca}", "certificate verify failed"),
    ("verify-ca", "sslrootcert={other_ca}", "certificate verify failed"),
    ("verify-ca", "", "tls"),
    ("require", "user=certuser sslcert={cert} sslkey={key}", "tls"),
    ("require", "user=certuser", "certificate"),
])
def test_databases_differ(make_pooler, pg, certs, mode, own, expected):
    own = own.format(ca=certs.ca, other_ca=certs.other_ca, cert=certs.client[0], key=certs.client[1])
    pooler = make_pooler(settings={"server_tls_sslmode": mode, "server_tls_ca_file": certs.ca, "query_wait_timeout": 3},
                         databases={"app": f"{pg.dsn} dbname=app", "mine": f"{pg.dsn} dbname=app {own}"})
    assert expected in connected(pooler, "mine")
    assert connected(pooler, "app") == ("clear" if mode == "disable" else "tls")


@pytest.mark.parametrize("line, text", [
    ("sslmode=yes", 'sslmode: "yes" is none of'),
    ("sslnegotiation=maybe", 'sslnegotiation: "maybe" is none of'),
    ("sslnegotiation=direct", "database app: server_tls: sslnegotiation=direct needs sslmode require"),
    ("sslnegotiation=direct sslmode=disable", "sslnegotiation=direct needs sslmode require"),
    ("sslmode=verify-ca sslrootcert=/nonexistent", 'database app: server_tls: could not load CA file "/nonexistent"'),
    ("sslcert=/nonexistent", 'could not load certificate file "/nonexistent"'),
])
def test_lines_that_cannot_be(make_pooler, pg, line, text):
    pooler = make_pooler(start=False, databases={"app": f"{pg.dsn} dbname=app {line}"})
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1 and text in done.stderr and "pgsluice.ini:2" in done.stderr


def backends(pooler, database):
    return {row["remote_pid"] for row in pooler.servers(database)}


@pytest.mark.sanitizer
def test_new_certificate_by_reload(make_pooler, pg, certs):
    """Servers are replaced where what they are spoken to with has changed, even in the same file; others stay."""
    pooler = make_pooler(start=False, settings={"server_tls_sslmode": "require"})
    files = pooler.path("client.crt"), pooler.path("client.key")

    def install(pair):
        for source, target in zip(pair, files):
            with open(source, encoding="ascii") as file:
                util.write_file(target, file.read(), 0o600)

    install(certs.client)
    pooler.databases = {"app": f"{pg.dsn} dbname=app", "mine": f"{pg.dsn} dbname=app sslcert={files[0]} sslkey={files[1]}"}
    pooler.write_config()
    pooler.start()
    assert connected(pooler, "app") == connected(pooler, "mine") == "tls"
    other, mine = backends(pooler, "app"), backends(pooler, "mine")
    pooler.admin("RELOAD")
    assert backends(pooler, "app") == other and backends(pooler, "mine") == mine
    install(certs.issue("renewed", "certuser", None))
    pooler.admin("RELOAD")
    wait_until(lambda: not backends(pooler, "mine"), "the server to go")
    assert connected(pooler, "mine") == "tls" and backends(pooler, "app") == other
    util.write_file(files[0], "nothing", 0o600)
    with pytest.raises(psycopg.Error):
        pooler.admin("RELOAD")
    pooler.admin("SET default_pool_size = 6")  # looks at no files
    install(certs.client)
    pooler.admin("SET server_tls_ciphers = HIGH")  # everybody's
    wait_until(lambda: not backends(pooler, "mine") and not backends(pooler, "app"), "the servers to go")


# ---- direct TLS, sessions ---------------------------------------------------------------------------------------

def tls_server(certs, alpn=None, version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs.server)
    if alpn:
        context.set_alpn_protocols(alpn)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


@pytest.fixture
def direct_server(certs, fake):
    """Speaks TLS from the first byte on."""
    def make(alpn):
        context = tls_server(certs, alpn)

        def script(conn):
            conn.sock = context.wrap_socket(conn.sock, server_side=True)
            conn.accept_login()
            conn.serve_queries(lambda sql: None if "hang" in sql else one_row(sql))

        return fake(script)
    return make


@pytest.mark.sanitizer
def test_direct(make_pooler, direct_server):
    server = direct_server(["postgresql"])
    pooler = make_pooler(databases={"app": f"{server.dsn} dbname=app sslmode=require sslnegotiation=direct"})
    with pooler.wire() as client:
        assert client.rows("SELECT 'x'") == [["SELECT 'x'"]]
        client.send(wire.query("hang"))
        wait_until(lambda: "hang" in server.queries, "the query")
        client.cancel()
        assert len(server.cancels) == 1
    assert all(row["tls"] for row in pooler.servers())


@pytest.mark.parametrize("alpn", [None, ["http/1.1"]])
def test_direct_without_alpn_is_refused(make_pooler, direct_server, alpn):
    server = direct_server(alpn)
    pooler = make_pooler(databases={"app": f"{server.dsn} dbname=app sslmode=require sslnegotiation=direct"},
                         settings={"query_wait_timeout": 2})
    with pytest.raises(ServerError):
        pooler.wire().query("SELECT 1")
    assert pooler.wait_log("server login failed: TLS handshake failed: direct TLS without ALPN")
    assert server.queries == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(make_pooler, certs, fake, version):
    """The second connection to a server takes up the session of the first; a changed context begins anew."""
    context = tls_server(certs, version=version)

    def script(conn):
        conn.read(8)
        conn.send(b"S")
        conn.sock = context.wrap_socket(conn.sock, server_side=True)
        conn.accept_login()
        conn.serve_queries()

    server = fake(script)
    pooler = make_pooler(databases={"app": f"host=localhost port={server.port} dbname=app"},
                         settings={"server_tls_sslmode": "verify-full", "server_tls_ca_file": certs.ca})
    log = "new connection to server with TLS TLSv1.[23]/[A-Z0-9_-]*"
    for number, expected in enumerate([False, True, True], 1):
        with pooler.wire() as client:
            client.query("SELECT 1")
        assert pooler.wait_log(log, count=number)[-1].endswith(", resumed") == expected
        pooler.admin("RECONNECT")
        wait_until(lambda: not pooler.servers(), "the server to go")
    pooler.admin("SET server_tls_ciphers = HIGH")
    with pooler.wire() as client:
        client.query("SELECT 1")
    assert not pooler.wait_log(log, count=4)[-1].endswith(", resumed")
