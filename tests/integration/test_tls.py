"""TLS on both sides: every mode, certificates that do not fit, client certificates."""
import ssl

import psycopg
import pytest

from harness import util
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


# ---- clients

def client_tls(certs, mode, **more):
    return {"client_tls_sslmode": mode, "client_tls_cert_file": certs.server[0], "client_tls_key_file": certs.server[1],
            "client_tls_ca_file": certs.ca, **more}


@pytest.mark.parametrize("mode, client, works", [
    ("allow", "disable", True), ("allow", "require", True), ("prefer", "prefer", True), ("require", "require", True),
    ("require", "disable", False), ("verify-ca", "require", False),
])
def test_client_modes(make_pooler, certs, mode, client, works):
    pooler = make_pooler(settings=client_tls(certs, mode))
    if works:
        with pooler.connect(sslmode=client) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
            with pooler.console(sslmode=client) as admin:
                columns = admin.execute("SHOW CLIENTS")
                at = [column.name for column in columns.description].index("tls")
                assert {bool(row[at]) for row in columns.fetchall()} == {client != "disable"}
    else:
        with pytest.raises(psycopg.OperationalError):
            pooler.connect(sslmode=client)


def test_client_verifies_the_pooler(make_pooler, certs):
    pooler = make_pooler(settings=client_tls(certs, "require"))
    pooler.connect(sslmode="verify-full", sslrootcert=certs.ca, host="localhost").close()
    with pytest.raises(psycopg.OperationalError):
        pooler.connect(sslmode="verify-ca", sslrootcert=certs.other_ca)


def test_auth_type_cert(make_pooler, pg, certs):
    pooler = make_pooler(settings={**client_tls(certs, "verify-full"), "auth_type": "cert"}, userlist={"certuser": ""},
                         databases={"app": f"{pg.dsn} dbname=app user=bob"})
    certificate, key = certs.client
    readable = pooler.path("client.key")
    with open(key, encoding="utf-8") as file:
        util.write_file(readable, file.read(), 0o600)
    arguments = {"sslmode": "require", "sslcert": certificate, "sslkey": readable}
    pooler.connect(user="certuser", **arguments).close()
    for user, extra in (("alice", arguments), ("certuser", {"sslmode": "require"})):
        with pytest.raises(psycopg.OperationalError):
            pooler.connect(user=user, **extra)


def test_bytes_before_the_clients_handshake_are_refused(make_pooler, certs):
    pooler = make_pooler(settings=client_tls(certs, "allow"))
    with pooler.raw() as client:
        client.send(b"\0\0\0\x08\x04\xd2\x16\x2f" + b"\0\0\0\x08\0\3\0\0")
        try:
            answer = client.receive_bytes(1)
            assert answer in (b"S", b"E")
            client.expect_closed()
        except (OSError, Exception):  # noqa: B014  any way of ending it is fine
            pass
    pooler.wire().disconnect()


@pytest.mark.sanitizer
def test_large_result_over_tls_on_both_sides(make_pooler, certs):
    pooler = make_pooler(settings={**client_tls(certs, "require"), "server_tls_sslmode": "require"})
    with pooler.connect(sslmode="require") as conn:
        rows = conn.execute("SELECT repeat('x', 10000) FROM generate_series(1, 2000)").fetchall()
        assert len(rows) == 2000 and all(len(row[0]) == 10000 for row in rows)
        assert conn.execute("SELECT length(%s)", ("y" * 5_000_000,)).fetchone()[0] == 5_000_000


@pytest.mark.sanitizer
def test_garbage_instead_of_a_handshake(make_pooler, certs):
    pooler = make_pooler(settings=client_tls(certs, "require"))
    with pooler.raw(timeout=2) as client:
        assert client.ssl_request() == b"S"
        client.send(b"this is not TLS" * 20)
        try:
            client.receive_bytes(10_000)
        except Exception:  # noqa: BLE001  an alert or the end
            pass
    pooler.connect(sslmode="require").close()


@pytest.mark.sanitizer
def test_certificate_change_on_reload(make_pooler, certs):
    pooler = make_pooler(settings=client_tls(certs, "require"))
    with pooler.connect(sslmode="require") as old:
        pooler.settings["client_tls_cert_file"], pooler.settings["client_tls_key_file"] = certs.wronghost
        pooler.write_config()
        with pooler.console(sslmode="require") as admin:
            admin.execute("RELOAD")
        with pytest.raises(psycopg.OperationalError):
            pooler.connect(sslmode="verify-full", sslrootcert=certs.ca, host="localhost")
        pooler.connect(sslmode="verify-ca", sslrootcert=certs.ca).close()
        assert old.execute("SELECT 1").fetchone() == (1,)
