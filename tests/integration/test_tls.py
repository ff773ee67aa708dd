"""TLS with servers: every mode, certificates that do not fit, our own certificate."""
import ssl

import psycopg
import pytest

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
    assert pooler.log_lines("certificate|TLS|tls")


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
