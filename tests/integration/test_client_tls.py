"""TLS with clients: who gets in how, with which settings and certificates; and what becomes of who does not."""
import errno
import re
import socket
import ssl
import struct
import threading

import psycopg
import pytest

from harness import util, wire
from harness.load import Load
from harness.util import wait_until
from harness.wire import Closed, ServerError, tls_context


def tls_settings(certs, sslmode="require", **more):
    return {"client_tls_sslmode": sslmode, "client_tls_cert_file": certs.server[0], "client_tls_key_file": certs.server[1],
            "client_tls_ca_file": certs.ca, **more}


@pytest.fixture
def make_tls(make_pooler, certs):
    """A pooler with TLS for clients."""
    def make(sslmode="require", settings=None, **kwargs):
        pooler = make_pooler(settings=tls_settings(certs, sslmode, **(settings or {})), **kwargs)
        pooler.login_with = {"disable": {}, "allow": {}, "prefer": {}}.get(
            sslmode, {"sslmode": "require", "sslcert": certs.client[0], "sslkey": certs.client[1]})
        return pooler
    return make


# ---- who gets in -----------------------------------------------------------------------------------------------

def attempt(pooler, how, certificate):
    """What happens to a client, in a word or two: "clear", "tls", "alert", "closed", or the error that it is told."""
    alpn = {"direct": ["postgresql"], "direct, other ALPN": ["http/1.1"], "other ALPN": ["http/1.1"]}.get(how)
    context = tls_context(certificate=certificate, alpn=alpn)
    with pooler.raw() as client:
        try:
            if how == "plain":
                client.login("app", "app")
            elif how.startswith("direct"):
                client.direct_tls(context)
                client.login("app", "app")
            else:
                answer = client.ssl_request()
                if answer == b"S":
                    client.direct_tls(context)
                client.login("app", "app")
            assert client.value("SELECT 41 + 1") == "42"
            return "tls" if isinstance(client.sock, ssl.SSLSocket) else "clear"
        except ServerError as error:
            return error.msg.text
        except ssl.SSLError as error:
            return "alert" if " alert " in str(error).lower() else "closed" if "EOF" in str(error) else str(error)
        except (Closed, ConnectionError):
            return "closed"


NO_ALPN = "TLS handshake failed: direct TLS without ALPN"
WRONG_ALPN = "TLS handshake failed: (no application protocol|.*alpn)"
NOT_HERE = "TLS is not accepted here"
REQUIRED = "SSL required"
NO_CERTIFICATE = "TLS handshake failed: peer did not return a certificate"
BAD_CERTIFICATE = "TLS handshake failed: certificate verify failed: unable to get local issuer certificate"

REFUSALS = "TLS handshake failed|SSL required|TLS is not accepted here"

# client_tls_sslmode, how, certificate, outcome, what the log says (None: nothing of the kind)
ROWS = [
    ("disable", "plain", None, "clear", None),
    ("disable", "request", None, "clear", None),
    ("disable", "direct", None, "closed", NOT_HERE),
    *((mode, how, certificate, "clear" if how == "plain" else "tls", None)
      for mode in ("allow", "prefer") for how, certificate in (("plain", None), ("request", None), ("request", "client"),
                                                              ("request", "stranger"), ("direct", None), ("direct", "stranger"))),
    ("require", "plain", None, REQUIRED, REQUIRED),
    *(("require", how, certificate, "tls", None) for how in ("request", "direct") for certificate in (None, "client", "stranger")),
    ("require", "direct, no ALPN", None, "closed", NO_ALPN),
    ("require", "direct, other ALPN", None, "alert", WRONG_ALPN),
    ("require", "other ALPN", None, "alert", WRONG_ALPN),
    *((mode, how, certificate, outcome, said)
      for mode in ("verify-ca", "verify-full") for how in ("plain", "request", "direct")
      for certificate, outcome, said in ((None, REQUIRED if how == "plain" else "alert", REQUIRED if how == "plain" else NO_CERTIFICATE),
                                         ("client", REQUIRED if how == "plain" else "tls", REQUIRED if how == "plain" else None),
                                         ("stranger", REQUIRED if how == "plain" else "alert", REQUIRED if how == "plain" else BAD_CERTIFICATE))
      if how != "plain" or certificate is None),
]


@pytest.mark.sanitizer
@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("server_mode", ["disable", "require"])
def test_who_gets_in(make_tls, certs, mode, server_mode):
    pooler = make_tls(mode, {"server_tls_sslmode": server_mode})
    for _, how, certificate, outcome, said in (row for row in ROWS if row[0] == mode):
        before = len(pooler.log_lines(f"closing because: ({REFUSALS})"))
        assert attempt(pooler, how, certificate and getattr(certs, certificate)) == outcome, (how, certificate)
        if said:
            lines = pooler.wait_log(f"@127.0.0.1:[0-9]+ closing because: ({REFUSALS})", count=before + 1)
            assert len(lines) == before + 1 and re.search(f"closing because: {said}", lines[-1]), (how, certificate)
        else:
            assert len(pooler.log_lines(f"closing because: ({REFUSALS})")) == before, (how, certificate)
    assert {bool(row["tls"]) for row in pooler.servers()} == {server_mode == "require"}


# client_tls_sslmode, libpq's sslmode, in TLS or refused
LIBPQ = [
    ("disable", "disable", False), ("disable", "prefer", False), ("disable", "require", None),
    ("allow", "disable", False), ("allow", "allow", False), ("allow", "prefer", True), ("allow", "verify-full", True),
    ("prefer", "disable", False), ("prefer", "prefer", True), ("prefer", "require", True),
    ("require", "disable", None), ("require", "allow", True), ("require", "prefer", True), ("require", "verify-ca", True),
    ("require", "verify-full", True),
    ("verify-full", "disable", None), ("verify-full", "require", None),
]


@pytest.mark.parametrize("mode, libpq_mode, expected", LIBPQ)
def test_libpq(make_tls, certs, mode, libpq_mode, expected):
    pooler = make_tls(mode)
    how = {"sslmode": libpq_mode, "host": "localhost", "sslrootcert": certs.ca}
    if expected is None:
        with pytest.raises(psycopg.OperationalError):
            pooler.connect(sslcert=pooler.path("none"), sslkey=pooler.path("none"), **how)
        return
    with pooler.connect(**how) as conn:
        assert conn.pgconn.ssl_in_use == expected
        assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_libpq_with_a_certificate(make_tls, certs, mode):
    pooler = make_tls(mode)
    with pooler.connect(sslmode="verify-full", host="localhost", sslrootcert=certs.ca, sslcert=certs.client[0],
                        sslkey=certs.client[1]) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="unknown ca|alert"):
        pooler.connect(sslmode="require", host="localhost", sslcert=certs.stranger[0], sslkey=certs.stranger[1])


def test_unix_sockets_are_never_tls(make_tls):
    pooler = make_tls("verify-full")
    pooler.admin("SHOW VERSION")  # all sockets are open
    with wire.Wire(pooler.directory, pooler.port) as client:
        assert client.ssl_request() == b"N"
        client.login("app", "app")
        assert client.value("SELECT 1") == "1"
    with wire.Wire(pooler.directory, pooler.port) as client:
        client.send(b"\x16\x03\x01")
        assert client.expect_closed() == []


# ---- what may be said before -----------------------------------------------------------------------------------

@pytest.mark.parametrize("injected", [b"x", wire.startup_packet({"user": "app", "database": "app"}), b"\x16\x03\x01\x00\x05"])
def test_bytes_behind_the_request_are_refused(make_tls, injected):
    """They came in clear, from anybody: CVE-2021-23222."""
    pooler = make_tls("prefer")
    with pooler.raw() as client:
        client.send(struct.pack("!II", 8, wire.SSL_REQUEST) + injected)
        messages = client.expect_closed()
        assert [m.kind for m in messages] == ["E"] and messages[0].sqlstate == "08P01"
    assert pooler.wait_log("closing because: received unencrypted data after SSL request")


def test_gss_then_ssl(make_tls):
    pooler = make_tls()
    with pooler.raw() as client:
        assert client.gss_request() == b"N"
        client.start_tls()
        client.login("app", "app")
        assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("request_code", [wire.SSL_REQUEST, wire.GSSENC_REQUEST])
def test_no_encryption_inside_encryption(make_tls, request_code):
    pooler = make_tls()
    with pooler.raw() as client:
        client.start_tls()
        client.send(struct.pack("!II", 8, request_code))
        assert [m.kind for m in client.expect_closed()] == ["E"]


@pytest.mark.sanitizer
def test_handshake_in_single_bytes(make_tls):
    """Every record comes in pieces; nothing is lost or waited for in vain."""
    pooler = make_tls()
    with pooler.raw() as client:
        assert client.ssl_request() == b"S"
        with Memory(client.sock) as tls:
            tls.handshake(piece=1)
            tls.send(wire.startup_packet({"user": "app", "database": "app"}), piece=1)
            tls.until(b"Z\0\0\0\5I")
            tls.send(wire.query("SELECT 'one by one'"), piece=3)
            tls.until(b"one by one")


@pytest.mark.sanitizer
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_all_at_once(make_tls, version):
    """The end of the handshake, the start-up packet and queries in one packet: no event comes for what lies behind."""
    pooler = make_tls()
    with pooler.raw() as client:
        assert client.ssl_request() == b"S"
        with Memory(client.sock, version) as tls:
            rest = tls.handshake(keep_last=True)
            login = tls.encrypt(wire.startup_packet({"user": "app", "database": "app"}))
            queries = b"".join(tls.encrypt(wire.query(f"SELECT 'number {n}'")) for n in range(50))
            client.sock.sendall(rest + login + queries)
            tls.until(b"number 49")


@pytest.mark.sanitizer
def test_many_messages_in_one_record(make_tls):
    """What lies decrypted inside OpenSSL does not wait for the next packet."""
    pooler = make_tls(settings={"max_client_conn": 10})
    with pooler.raw() as client:
        client.start_tls()
        client.login("app", "app")
        client.send(b"".join(wire.query(f"SELECT {n}") for n in range(700)))
        for n in range(700):
            rows = [m.row() for m in client.until("Z") if m.kind == "D"]
            assert rows == [[str(n)]]


class Memory:
    """A client whose records the test sends itself, in pieces or many at once."""

    def __init__(self, sock, version=None):
        self.sock, self.incoming, self.outgoing = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        context = tls_context()
        if version:
            context.minimum_version = context.maximum_version = version
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.plain = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def push(self, raw, piece):
        for at in range(0, len(raw), piece or len(raw) or 1):
            self.sock.sendall(raw[at:at + (piece or len(raw))])

    def handshake(self, piece=None, keep_last=False):
        """Returns what is left to send at the end, if that is to be kept."""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.push(self.outgoing.read(), piece)
                self.pull()
        if self.tls.version() == "TLSv1.2" or not keep_last:
            self.push(self.outgoing.read(), piece)
            return b""
        return self.outgoing.read()

    def pull(self):
        data = self.sock.recv(65536)
        assert data, "the connection was closed"
        self.incoming.write(data)

    def encrypt(self, plain):
        self.tls.write(plain)
        return self.outgoing.read()

    def send(self, plain, piece=None):
        self.push(self.encrypt(plain), piece)

    def until(self, text):
        while text not in self.plain:
            try:
                self.plain += self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.pull()


# ---- traffic ---------------------------------------------------------------------------------------------------

@pytest.mark.sanitizer
def test_large_messages(make_tls):
    pooler = make_tls()
    with pooler.connect(sslmode="require") as conn:
        rows = conn.execute("SELECT repeat('x', 10000) FROM generate_series(1, 2000)").fetchall()
        assert len(rows) == 2000 and all(len(row[0]) == 10000 for row in rows)
        assert conn.execute("SELECT length(%s)", ("y" * 5_000_000,)).fetchone()[0] == 5_000_000


@pytest.mark.sanitizer
@pytest.mark.parametrize("compact", [0, 1])
@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_records_of_tls13(make_tls, suite, compact):
    pooler = make_tls(settings={"client_tls13_ciphers": suite, "client_tls_compact": compact})
    with pooler.connect(sslmode="require") as conn:
        rows = conn.execute("SELECT repeat('x', 10000) FROM generate_series(1, 500)").fetchall()
        assert len(rows) == 500 and all(len(row[0]) == 10000 for row in rows)
        assert conn.execute("SELECT length(%s)", ("y" * 1_000_000,)).fetchone()[0] == 1_000_000
        assert [row["tls"] for row in pooler.clients()] == [f"TLSv1.3/{suite}"]
    pooler.wait_log("closing because: client close request")


def kernel_has_tls():
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.IPPROTO_TCP, 31, b"tls\0")  # TCP_ULP
        except OSError as error:
            return error.errno == errno.ENOTCONN
    return True


def kernel_tls_senders():
    """How many sockets have ever been given keys for sending."""
    with open("/proc/net/tls_stat") as f:
        return int(dict(line.split() for line in f)["TlsTxSw"])


@pytest.mark.sanitizer
@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_records_of_the_kernel(make_tls, suite):
    """Where the kernel has TLS it encrypts what clients are sent; elsewhere the log says so, and nothing else is different."""
    has_it = kernel_has_tls()
    before = kernel_tls_senders() if has_it else 0
    pooler = make_tls(settings={"client_tls13_ciphers": suite, "client_tls_kernel": 1})
    assert pooler.wait_log("client_tls_kernel: the kernel has " + ("TLS" if has_it else "no TLS"))
    with pooler.connect(sslmode="require") as conn:
        rows = conn.execute("SELECT repeat('x', 10000) FROM generate_series(1, 500)").fetchall()
        assert len(rows) == 500 and all(len(row[0]) == 10000 for row in rows)
        assert conn.execute("SELECT length(%s)", ("y" * 1_000_000,)).fetchone()[0] == 1_000_000
        assert [row["tls"] for row in pooler.clients()] == [f"TLSv1.3/{suite}" + ("/kernel" if has_it else "")]
        assert not has_it or kernel_tls_senders() > before
    pooler.wait_log("closing because: client close request")


def test_kernel_only_where_it_is_asked_for(make_tls):
    """By RELOAD, for who comes then; and not where OpenSSL makes the records."""
    pooler = make_tls(settings={"client_tls_compact": 0, "client_tls_kernel": 1})
    with pooler.connect(sslmode="require") as first:
        first.execute("SELECT 1")
        assert "client_tls_kernel" not in pooler.log()
        pooler.settings["client_tls_compact"] = 1
        pooler.reload()
        pooler.wait_log("client_tls_kernel: the kernel has")
        with pooler.connect(sslmode="require") as second:
            second.execute("SELECT 1"), first.execute("SELECT 1")
            tls = [row["tls"] for row in pooler.clients()]
    assert sorted("/kernel" in text for text in tls) == [False, kernel_has_tls()]


KERNEL = pytest.mark.parametrize("kernel", [0, 1])


@pytest.mark.sanitizer
@KERNEL
def test_slow_reader(make_tls, kernel):
    """A client that reads nothing for a while: its result waits in the server, not here, and comes whole."""
    pooler = make_tls(settings={"tcp_socket_buffer": 16384, "client_tls_kernel": kernel})
    with pooler.raw(receive_buffer=8192) as client:
        client.start_tls()
        client.login("app", "app")
        client.send(wire.query("SELECT repeat('z', 1000) FROM generate_series(1, 20000)"))
        wait_until(lambda: pooler.servers() and pooler.show("SOCKETS"), "it to run")
        rows = sum(m.kind == "D" for m in client.until("Z"))
        assert rows == 20000


@KERNEL
def test_half_close_and_goodbye(make_tls, kernel):
    pooler = make_tls(settings={"client_tls_kernel": kernel})
    with pooler.raw() as client:
        client.start_tls()
        client.login("app", "app")
        client.goodbye()
    pooler.wait_log("closing because: client close request")
    with pooler.raw() as client:
        client.start_tls()
        client.login("app", "app")
        client.sock.unwrap()
    pooler.wait_log("closing because: client unexpected eof")


@KERNEL
def test_errors_arrive_inside_tls(make_tls, kernel):
    """What a client is told last reaches it, encrypted, before the end."""
    pooler = make_tls(settings={"client_tls_kernel": kernel})
    with pooler.raw() as client:
        client.start_tls()
        with pytest.raises(ServerError, match="no such database"):
            client.login("app", "nowhere")


# ---- cancel requests, console ----------------------------------------------------------------------------------

@pytest.mark.sanitizer
@pytest.mark.parametrize("how", ["clear", "tls", "direct"])
def test_cancel(make_tls, pg, how):
    pooler = make_tls()
    with pooler.raw(timeout=30) as client, pooler.raw() as other:
        client.start_tls()
        client.login("app", "app")
        client.send(wire.query("SELECT pg_sleep(60), 'cancel me'"))
        pg.wait_running("cancel me")
        if how == "tls":
            other.start_tls()
        elif how == "direct":
            other.direct_tls()
        body = struct.pack("!II", wire.CANCEL_REQUEST, client.pid) + client.key
        other.send(struct.pack("!I", len(body) + 4) + body)
        other.expect_closed()
        assert [m.sqlstate for m in client.until("Z") if m.kind == "E"] == ["57014"]


def test_console_and_show(make_tls):
    pooler = make_tls("prefer")
    with pooler.connect(sslmode="require") as conn, pooler.connect(sslmode="disable") as other:
        conn.execute("SELECT 1")
        other.execute("SELECT 1")
        rows = pooler.admin("SHOW CLIENTS", sslmode="require")
        assert sorted(row["tls"][:7] for row in rows if row["database"] == "app") == ["", "TLSv1.3"]
        assert all(row["tls"].startswith("TLSv1.3/TLS_") for row in rows if row["user"] == "admin")
        sockets = pooler.admin("SHOW SOCKETS", sslmode="require")
        assert any(row["tls"].startswith("TLSv1.3/TLS_") for row in sockets if row["database"] == "app" and row["type"] == "C")
    pooler.wait_log("login attempt: db=app user=app tls=TLSv1.3/TLS_")
    pooler.wait_log("login attempt: db=app user=app tls=no")


# ---- settings --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("settings, seen", [
    ({"client_tls_protocols": "tlsv1.2"}, ("TLSv1.2", None)),
    ({"client_tls_protocols": "tlsv1.3"}, ("TLSv1.3", None)),
    ({"client_tls_protocols": "tlsv1.2", "client_tls_ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"}, ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256")),
    ({"client_tls_ciphers": "fast", "client_tls_protocols": "tlsv1.2"}, ("TLSv1.2", None)),
    ({"client_tls_ciphers": "secure", "client_tls_ecdhcurve": "prime256v1", "client_tls_dheparams": "none"}, ("TLSv1.3", None)),
    ({"client_tls13_ciphers": "TLS_CHACHA20_POLY1305_SHA256"}, ("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256")),
])
def test_protocols_and_ciphers(make_tls, settings, seen):
    pooler = make_tls(settings=settings)
    with pooler.raw() as client:
        client.start_tls()
        assert client.sock.version() == seen[0]
        assert seen[1] is None or client.sock.cipher()[0] == seen[1]
        client.login("app", "app")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        if settings.get("client_tls_protocols", "").endswith(version.name[-1]) or "client_tls_protocols" not in settings:
            continue
        context = tls_context()
        context.minimum_version = context.maximum_version = version
        with pooler.raw() as client, pytest.raises(ssl.SSLError):
            client.start_tls(context)
        pooler.wait_log("TLS handshake failed: unsupported protocol")


def test_curve(make_tls):
    """A client that knows another curve only is refused."""
    pooler = make_tls(settings={"client_tls_ecdhcurve": "secp384r1", "client_tls_dheparams": "none"})
    for curve, fits in (("secp384r1", True), ("prime256v1", False)):
        context = tls_context()
        context.set_ecdh_curve(curve)
        with pooler.raw() as client:
            if fits:
                client.start_tls(context)
                client.login("app", "app")
            else:
                with pytest.raises(ssl.SSLError):
                    client.start_tls(context)
    pooler.wait_log("TLS handshake failed: no (suitable key share|shared cipher|shared group)")


WRONG = [
    ({"client_tls_key_file": ""}, "client_tls_key_file and client_tls_cert_file must be set"),
    ({"client_tls_cert_file": "/nonexistent"}, 'could not load certificate file "/nonexistent"'),
    ({"client_tls_key_file": "/nonexistent"}, 'could not load key file "/nonexistent"'),
    ({"client_tls_ca_file": "/nonexistent"}, 'could not load CA file "/nonexistent"'),
    ({"client_tls_sslmode": "verify-ca", "client_tls_ca_file": ""}, "cannot be verified without a CA file"),
    ({"client_tls_ciphers": "nonsense"}, 'invalid TLS ciphers "nonsense"'),
    ({"client_tls13_ciphers": "nonsense"}, 'invalid TLS 1.3 ciphers "nonsense"'),
    ({"client_tls_protocols": "tlsv9"}, 'invalid TLS protocols "tlsv9"'),
    ({"client_tls_dheparams": "nonsense"}, 'invalid Diffie-Hellman parameters "nonsense"'),
    ({"client_tls_ecdhcurve": "nonsense"}, 'unknown elliptic curve "nonsense"'),
    ({"client_tls_key_file": "OTHER"}, "could not load key file"),
]


@pytest.mark.parametrize("settings, text", WRONG, ids=[text[:30] for _, text in WRONG])
def test_settings_that_cannot_be(make_pooler, certs, settings, text):
    """Refused at the start; and by RELOAD and SET, where what was stays."""
    settings = {k: certs.client[1] if v == "OTHER" else v for k, v in settings.items()}
    pooler = make_pooler(start=False, settings=tls_settings(certs))
    right = dict(pooler.settings)
    pooler.settings.update(settings)
    pooler.write_config()
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1 and text in done.stderr + done.stdout
    pooler.settings = right
    pooler.write_config()
    pooler.start()
    pooler.settings.update(settings)
    pooler.write_config()
    with pytest.raises(psycopg.Error):
        pooler.admin("RELOAD", sslmode="require")
    assert pooler.wait_log(f"ERROR .*{text[:30]}")
    with pooler.connect(sslmode="require") as conn:
        assert conn.pgconn.ssl_in_use and conn.execute("SELECT 1").fetchone() == (1,)


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


@pytest.mark.sanitizer
def test_new_certificate_by_reload(make_tls, certs):
    """The files are read again, nobody is dropped; a bad file refuses the RELOAD and the old one stays in force."""
    pooler = make_tls(start=False)
    files = pooler.path("server.crt"), pooler.path("server.key")

    def install(pair):
        for source, target in zip(pair, files):
            util.write_file(target, read(source) if source else "no certificate", 0o600)

    def shown():
        with pooler.raw() as client:
            client.start_tls()
            return client.sock.getpeercert(binary_form=True)

    def of(pair):
        return ssl.PEM_cert_to_DER_cert(read(pair[0]))

    install(certs.server)
    pooler.settings.update(client_tls_cert_file=files[0], client_tls_key_file=files[1])
    pooler.write_config()
    pooler.start()
    with pooler.raw() as old:
        old.start_tls()
        old.login("app", "app")
        assert shown() == of(certs.server)
        install(certs.wronghost)
        assert shown() == of(certs.server)
        pooler.admin("RELOAD")
        assert shown() == of(certs.wronghost)
        assert old.value("SELECT 1") == "1"
        install((None, certs.wronghost[1]))
        with pytest.raises(psycopg.Error):
            pooler.admin("RELOAD")
        assert shown() == of(certs.wronghost)
        install((certs.server[0], certs.wronghost[1]))  # a key of another certificate
        with pytest.raises(psycopg.Error):
            pooler.admin("RELOAD")
        assert shown() == of(certs.wronghost)
        assert old.value("SELECT 2") == "2"


def test_mode_by_reload(make_tls):
    """Who is in stays in; who comes is treated by the new mode."""
    pooler = make_tls("prefer")
    with pooler.wire() as old:
        pooler.settings["client_tls_sslmode"] = "require"
        pooler.reload()
        with pytest.raises(ServerError, match="SSL required"):
            pooler.wire()
        assert old.value("SELECT 1") == "1"
    pooler.admin("SET client_tls_sslmode = disable", sslmode="require")
    with pooler.raw() as client:
        assert client.ssl_request() == b"N"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_resumption(make_tls, certs, version):
    """A ticket is good for as long as the certificate and its settings are in force, whatever else changes."""
    pooler = make_tls("verify-ca")
    context = tls_context(certs.client)
    context.minimum_version = context.maximum_version = version

    def visit(session):
        with pooler.raw() as client:
            assert client.ssl_request() == b"S"
            client.direct_tls(context, session)
            client.login("app", "app")
            return client.sock.session_reused, client.sock.session

    reused, session = visit(None)
    assert not reused
    reused, session = visit(session)
    assert reused
    with pooler.raw() as client:  # a setting of another kind
        client.start_tls(tls_context(certs.client))
        client.login("admin", "pgbouncer")
        client.query("SET default_pool_size = 7")
    reused, session = visit(session)
    assert reused
    pooler.settings["client_tls_ciphers"] = "HIGH"
    pooler.write_config()
    with pooler.raw() as client:
        client.start_tls(tls_context(certs.client))
        client.login("admin", "pgbouncer")
        client.query("RELOAD")
    assert visit(session)[0] is False


# ---- failed handshakes -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("garbage, reason", [
    (b"GET / HTTP/1.0\r\n\r\n", "http request"),
    (b"\x00" * 40, "wrong version number"),
    (b"\x16\x03\x01\xff\xff" + b"x" * 100, "."),
    (b"\x16\x03\x01", "the peer closed the connection"),
])
def test_failed_handshake_is_logged_once(make_tls, garbage, reason):
    pooler = make_tls(settings={"log_disconnections": 0})
    with pooler.raw() as client:
        assert client.ssl_request() == b"S"
        address = client.sock.getsockname()
        client.send(garbage)
        if len(garbage) < 5:
            client.sock.shutdown(socket.SHUT_WR)
        assert client.receive_rest() is not None
    lines = pooler.wait_log("TLS handshake failed")
    assert len(lines) == 1 and f"@127.0.0.1:{address[1]} " in lines[0]
    assert re.search(f"TLS handshake failed: {reason}", lines[0])
    assert pooler.closes("tls_failed") == 1


def test_only_asked(make_tls):
    """Whoever asks for TLS and goes has not failed at a handshake."""
    pooler = make_tls()
    with pooler.raw() as client:
        assert client.ssl_request() == b"S"
        port = client.sock.getsockname()[1]
    assert pooler.wait_log(f"@127.0.0.1:{port} closing because: client unexpected eof")
    assert not pooler.log_lines("TLS handshake failed")


def test_login_timeout_during_the_handshake(make_tls):
    pooler = make_tls(settings={"client_login_timeout": 1})
    with pooler.raw() as client:
        assert client.ssl_request() == b"S"
        client.send(b"\x16\x03\x01")
        assert client.receive_rest() == b""
    pooler.wait_log("closing because: client_login_timeout")


# ---- many at once ----------------------------------------------------------------------------------------------

class Flood:
    """Clients that shake hands and go, one after the other, in several threads."""

    def __init__(self, pooler, threads=4):
        self.pooler, self.done, self.stopping = pooler, 0, threading.Event()
        self.threads = [threading.Thread(target=self._work) for _ in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        for thread in self.threads:
            thread.join(20 * util.PATIENCE)

    def _work(self):
        while not self.stopping.is_set():
            try:
                with self.pooler.raw() as client:
                    client.start_tls()
                    self.done += 1
            except (OSError, Closed, AssertionError):
                pass


def open_handshakes(pooler, count, hello):
    """Clients that have sent part of a handshake and leave it at that."""
    sleepers = [pooler.raw(timeout=30) for _ in range(count)]
    for sleeper in sleepers:
        assert sleeper.ssl_request() == b"S"
        sleeper.send(hello)
    return sleepers


def client_hello():
    """A whole one, as bytes: what it is answered waits for its client for ever."""
    outgoing = ssl.MemoryBIO()
    try:
        tls_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@pytest.mark.sanitizer
def test_flood_of_handshakes(make_tls):
    """The clients that are in are served all the while, and others get in."""
    pooler = make_tls("prefer", {"max_logins_in_progress": 8, "log_connections": 0, "log_disconnections": 0})
    with Load(pooler, 2) as steady, Load(pooler, 2, tls=True) as inside, Flood(pooler) as flood:
        wait_until(lambda: flood.done > 10, "the flood", 60)
        for _ in range(3):
            steady.more(50)
            inside.more(50)
            with pooler.wire(tls=True, timeout=30) as client:
                assert client.value("SELECT 1") == "1"
        assert not steady.errors and not inside.errors


@pytest.mark.sanitizer
@pytest.mark.parametrize("hello", [client_hello()[:20], client_hello(), b""], ids=["part of a hello", "a hello", "nothing"])
def test_handshakes_that_never_finish(make_tls, workers, hello):
    """They lose their places to those who wait, oldest first; nobody else is stopped by them."""
    pooler = make_tls("prefer", {"max_logins_in_progress": 4 * workers})
    with Load(pooler, 2) as steady, Load(pooler, 2, tls=True) as inside:
        wait_until(lambda: len(pooler.clients()) == 4, "all of the load to be in")
        sleepers = open_handshakes(pooler, 8 * workers, hello)
        steady.more(50)
        for _ in range(3):
            with pooler.wire(tls=True, timeout=30) as client:
                assert client.value("SELECT 1") == "1"
        inside.more(50)
        assert not steady.errors and not inside.errors
        if hello:
            assert pooler.wait_log(r"TLS handshake failed: the client was silent, and others wait \(max_logins_in_progress\)")
    for sleeper in sleepers:
        sleeper.disconnect()


def test_no_place_is_lost(make_tls, workers):
    """Handshakes that end badly give their places back: many more of them than there are places, one after the other."""
    pooler = make_tls("prefer", {"max_logins_in_progress": workers})
    for number in range(6 * workers):
        with pooler.raw() as client:
            assert client.ssl_request() == b"S"
            client.send([b"garbage!", b"\x16\x03\x01", client_hello()][number % 3])
            if number % 2:
                client.reset()
    for _ in range(3 * workers):
        with pooler.wire(tls=True) as client:
            assert client.value("SELECT 1") == "1"
