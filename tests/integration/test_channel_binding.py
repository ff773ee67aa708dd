"""SCRAM bound to its TLS connection (SCRAM-SHA-256-PLUS): who is offered it, who must use it, and who in between is noticed."""
import hashlib
import ssl
import struct
import subprocess

import psycopg
import pytest

from harness import scram, util, wire
from harness.postgres import PASSWORDS, Postgres
from harness.relay import Relay
from harness.wire import ServerError, tls_context

SECRET = "bound secret"
PLUS = "SCRAM-SHA-256-PLUS"
PLAIN = "SCRAM-SHA-256"
END_POINT = "p=tls-server-end-point,,"

# name: openssl's words for key and signature, and the hash that counts (None: there is none)
CERTIFICATES = {
    "ecdsa-sha256": (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-sha256"], "sha256"),
    "ecdsa-sha384": (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-sha384"], "sha384"),
    "rsa-sha512": (["-newkey", "rsa:2048", "-sha512"], "sha512"),
    "rsa-sha1": (["-newkey", "rsa:2048", "-sha1"], "sha256"),
    "rsa-md5": (["-newkey", "rsa:2048", "-md5"], "sha256"),
    "rsa-pss-sha384": (["-newkey", "rsa:2048", "-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"], "sha384"),
    "ed25519": (["-newkey", "ed25519"], None),
}


def tls_settings(certificate, **more):
    return {"auth_type": "scram-sha-256", "client_tls_sslmode": "allow", "client_tls_cert_file": certificate[0],
            "client_tls_key_file": certificate[1], **more}


@pytest.fixture
def make_tls(make_pooler, pg, certs):
    """A pooler whose client app logs in by SCRAM, over TLS if it likes."""
    def make(certificate=certs.server, userlist=None, settings=None, **kwargs):
        return make_pooler(settings=tls_settings(certificate, **(settings or {})), userlist=userlist or {"app": SECRET, "admin": "x"},
                           databases={"app": f"{pg.dsn} dbname=app user=bob"}, **kwargs)
    return make


def binding_of(client, hash_name="sha256"):
    return hashlib.new(hash_name, client.sock.getpeercert(binary_form=True)).digest()


def begun(pooler, user="app", tls=True, context=None):
    """A raw client that has been offered something."""
    client = pooler.raw()
    if tls:
        client.start_tls(context)
    return client, client.offered(user, "app")


def bound(pooler, password=SECRET, hash_name="sha256", **kwargs):
    """Logs a raw client in by SCRAM-SHA-256-PLUS."""
    client, offer = begun(pooler, **kwargs)
    assert offer == [PLUS, PLAIN]
    return client.login_by_scram(PLUS, scram.Client(password, gs2=END_POINT, binding=binding_of(client, hash_name)))


# ---- clients ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("stored", [SECRET, scram.verifier(SECRET)], ids=["plain", "verifier"])
@pytest.mark.sanitizer
def test_raw_client(make_tls, stored, version):
    pooler = make_tls(userlist={"app": stored})
    context = tls_context()
    context.minimum_version = context.maximum_version = version
    with bound(pooler, context=context) as client:
        assert client.value("SELECT 41 + 1") == "42"
    with pytest.raises(ServerError) as caught:
        bound(pooler, password="wrong", context=context)
    assert caught.value.sqlstate == "28P01"


@pytest.mark.parametrize("name", CERTIFICATES)
@pytest.mark.sanitizer
def test_certificates(make_tls, certs, name):
    """The hash is the one of the certificate's signature; PostgreSQL's own library agrees."""
    how, hash_name = CERTIFICATES[name]
    pooler = make_tls(certs.self_signed(name, *how))
    if hash_name is None:
        client, offer = begun(pooler)
        assert offer == [PLAIN]
        with client.login_by_scram(PLAIN, scram.Client(SECRET, gs2="y,,")):
            pass
        with pytest.raises(psycopg.OperationalError, match="channel binding is required"):
            pooler.connect(password=SECRET, sslmode="require", channel_binding="require")
    else:
        with bound(pooler, hash_name=hash_name):
            pass
        with pooler.connect(password=SECRET, sslmode="require", channel_binding="require") as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
    with pooler.connect(password=SECRET, sslmode="require") as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("sslmode, wish, works", [
    ("require", "require", True), ("require", "prefer", True), ("require", "disable", True),
    ("disable", "disable", True), ("disable", "prefer", True), ("disable", "require", False),
])
def test_libpq(make_tls, sslmode, wish, works):
    pooler = make_tls()
    if not works:
        with pytest.raises(psycopg.OperationalError, match="channel binding"):
            pooler.connect(password=SECRET, sslmode=sslmode, channel_binding=wish)
        return
    with pooler.connect(password=SECRET, sslmode=sslmode, channel_binding=wish) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_psql_and_console(make_tls):
    pooler = make_tls()
    for user, database, password, sql in (("app", "app", SECRET, "SELECT 1"), ("admin", "pgbouncer", "x", "SHOW VERSION")):
        done = subprocess.run(["psql", "-XAt", f"host=127.0.0.1 port={pooler.port} dbname={database} user={user} sslmode=require "
                               "channel_binding=require", "-c", sql], capture_output=True, text=True, timeout=30 * util.PATIENCE, check=False,
                              env={"PATH": "/usr/bin:/bin", "PGPASSWORD": password})
        assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_md5_that_becomes_scram(make_tls):
    pooler = make_tls(settings={"auth_type": "md5"}, userlist={"app": scram.verifier(SECRET)})
    with pooler.connect(password=SECRET, sslmode="require", channel_binding="require") as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


# client_tls_channel_binding, in TLS, what is offered (None: refused)
OFFERS = [("prefer", True, [PLUS, PLAIN]), ("prefer", False, [PLAIN]), ("disable", True, [PLAIN]), ("disable", False, [PLAIN]),
          ("require", True, [PLUS]), ("require", False, None)]


@pytest.mark.parametrize("setting, tls, offer", OFFERS)
def test_what_is_offered(make_tls, setting, tls, offer):
    """... to those who are there and to those who are not."""
    pooler = make_tls(settings={"client_tls_channel_binding": setting})
    for user in ("app", "nobody"):
        if offer is None:
            with pytest.raises(ServerError) as caught:
                begun(pooler, user, tls)
            assert caught.value.sqlstate == "28000" and "channel binding required" in caught.value.msg.text
        else:
            client, got = begun(pooler, user, tls)
            assert got == offer
            client.disconnect()


# client_tls_channel_binding, mechanism, GS2 header, is the binding right, SQLSTATE and words of the error
REFUSED = [
    ("prefer", PLAIN, "y,,", True, "28000", "negotiated away"),
    ("prefer", PLAIN, END_POINT, True, "08P01", "uses channel binding, but the mechanism is SCRAM-SHA-256"),
    ("prefer", PLUS, "n,,", True, "08P01", "lacks channel binding"),
    ("prefer", PLUS, "y,,", True, "08P01", "lacks channel binding"),
    ("prefer", PLUS, "p=tls-unique,,", True, "08P01", "type is not tls-server-end-point"),
    ("prefer", PLUS, END_POINT, False, "28000", "channel binding check failed"),
    ("prefer", "SCRAM-SHA-1", "n,,", True, "08P01", "invalid SASL authentication mechanism"),
    ("require", PLAIN, "n,,", True, "08P01", "invalid SASL authentication mechanism"),
    ("require", PLAIN, "y,,", True, "08P01", "invalid SASL authentication mechanism"),
    ("disable", PLUS, END_POINT, True, "08P01", "invalid SASL authentication mechanism"),
]


@pytest.mark.parametrize("setting, mechanism, gs2, is_right, sqlstate, words", REFUSED)
@pytest.mark.sanitizer
def test_refused(make_tls, setting, mechanism, gs2, is_right, sqlstate, words):
    """The same for a user who is not there; and none of it counts as a guess at a password."""
    pooler = make_tls(settings={"client_tls_channel_binding": setting, "auth_failure_limit": 1})
    for user in ("app", "nobody"):
        client, _ = begun(pooler, user)
        binding = binding_of(client) if is_right else b"x" * 32
        with pytest.raises(ServerError) as caught:
            client.login_by_scram(mechanism, scram.Client(SECRET, gs2=gs2, binding=binding if gs2.startswith("p") else b""))
        assert (caught.value.sqlstate, words in caught.value.msg.text) == (sqlstate, True), caught.value.msg
        client.disconnect()
    assert len(pooler.wait_log(words, count=2)) >= 2
    with pooler.connect(password=SECRET, sslmode="require") as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_no_binding_without_tls(make_tls):
    pooler = make_tls()
    client, offer = begun(pooler, tls=False)
    assert offer == [PLAIN]
    with pytest.raises(ServerError) as caught:
        client.login_by_scram(PLUS, scram.Client(SECRET, gs2=END_POINT, binding=b"x" * 32))
    assert caught.value.sqlstate == "08P01"
    client, _ = begun(pooler, tls=False)
    with client.login_by_scram(PLAIN, scram.Client(SECRET, gs2="y,,")):
        pass


@pytest.mark.sanitizer
def test_certificate_renewed_during_a_login(make_tls, certs):
    """What counts is the certificate that this connection was shown."""
    pooler = make_tls()
    old, _ = begun(pooler)
    before = binding_of(old)
    pooler.settings.update(dict(zip(("client_tls_cert_file", "client_tls_key_file"), certs.self_signed("renewed", "-newkey", "rsa:2048", "-sha384"))))
    pooler.write_config()
    pooler.admin("RELOAD", password="x", sslmode="disable")
    with old.login_by_scram(PLUS, scram.Client(SECRET, gs2=END_POINT, binding=before)) as client:
        assert client.value("SELECT 1") == "1"
    with bound(pooler, hash_name="sha384") as client:
        assert binding_of(client) != before and client.value("SELECT 1") == "1"


def test_resumed_session(make_tls):
    pooler = make_tls()
    context = tls_context()
    with bound(pooler, context=context) as first:
        first.value("SELECT 1")  # TLS 1.3 has given its session by now
        session, binding = first.sock.session, binding_of(first)
    client = pooler.raw()
    assert client.ssl_request() == b"S"
    client.direct_tls(context, session=session)
    assert client.sock.session_reused
    assert client.offered("app", "app") == [PLUS, PLAIN]
    with client.login_by_scram(PLUS, scram.Client(SECRET, gs2=END_POINT, binding=binding)):
        pass


@pytest.mark.parametrize("strip", [False, True], ids=["honest", "strips"])
@pytest.mark.sanitizer
def test_somebody_between_the_client_and_us(make_tls, certs, strip):
    pooler = make_tls()
    with Relay(pooler.port, certs.wronghost, strip) as relay:
        how = {"password": SECRET, "sslmode": "require", "port": relay.port}
        with pytest.raises(psycopg.OperationalError, match="negotiated away" if strip else "channel binding check failed"):
            pooler.connect(**how)
        assert relay.seen == [PLAIN if strip else PLUS]
        with pooler.connect(channel_binding="disable", **how) as conn:  # the client's own wish
            assert conn.execute("SELECT 1").fetchone() == (1,)
        pooler.settings["client_tls_channel_binding"] = "disable"  # the operator's
        pooler.write_config()
        pooler.admin("RELOAD", password="x", sslmode="disable")
        with pooler.connect(**how) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)


# ---- servers ---------------------------------------------------------------------------------------------------

SERVER_USER = f"dbname=app user=scramuser password={PASSWORDS['scramuser']}"


def answer(pooler, **kwargs):
    """Who we are for the server, or why we do not get in."""
    try:
        with pooler.connect(**kwargs) as conn:
            return conn.execute("SELECT current_user").fetchone()[0]
    except psycopg.OperationalError as error:
        return str(error)


# server_tls_sslmode, what the line of the database says more, outcome
SERVER_ROWS = [
    ("require", "", "scramuser"),
    ("require", "channel_binding=require", "scramuser"),
    ("require", "channel_binding=disable", "scramuser"),
    ("disable", "channel_binding=prefer", "scramuser"),
    ("disable", "channel_binding=require", "channel binding required, but the connection to the server has no TLS"),
    ("allow", "channel_binding=require", "scramuser"),
    ("prefer", "channel_binding=require", "scramuser"),
]


@pytest.mark.parametrize("mode, own, outcome", SERVER_ROWS)
@pytest.mark.sanitizer
def test_real_server(make_pooler, pg, mode, own, outcome):
    pooler = make_pooler(settings={"server_tls_sslmode": mode}, databases={"app": f"{pg.dsn} {SERVER_USER} {own}"})
    assert outcome in answer(pooler)


@pytest.mark.parametrize("role, outcome", [
    ("md5user", "channel binding required, but not supported by what the server asks for"),
    ("plainuser", "channel binding required, but not supported by what the server asks for"),
    ("bob", "channel binding required, but the server let us in without"),
])
def test_other_methods_where_it_is_required(make_pooler, pg, role, outcome):
    password = f"password='{PASSWORDS[role]}'" if role in PASSWORDS else ""
    pooler = make_pooler(settings={"server_tls_sslmode": "require", "server_tls_channel_binding": "require"},
                         databases={"app": f"{pg.dsn} dbname=app user={role} {password}"})
    assert outcome in answer(pooler)


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificates_of_servers(make_pooler, pg_of_many_certificates, name):
    """PostgreSQL with an Ed25519 certificate offers what it cannot do then: who prefers it does without."""
    server = pg_of_many_certificates(name)
    outcome = "scramuser" if CERTIFICATES[name][1] else "channel binding required, but the server's certificate cannot be bound to"
    pooler = make_pooler(settings={"server_tls_sslmode": "require"},
                         databases={"app": f"{server.dsn} {SERVER_USER} channel_binding=require", "mild": f"{server.dsn} {SERVER_USER}"})
    assert outcome in answer(pooler)
    assert answer(pooler, dbname="mild") == "scramuser"


@pytest.fixture(scope="module")
def pg_of_many_certificates(certs):
    server = Postgres(certs)

    def take(name):
        certificate, key = certs.self_signed(f"pg-{name}", *CERTIFICATES[name][0])
        with server.connect() as conn:
            conn.execute(f"ALTER SYSTEM SET ssl_cert_file = '{certificate}'")
            conn.execute(f"ALTER SYSTEM SET ssl_key_file = '{key}'")
            conn.execute("SELECT pg_reload_conf()")

        def is_shown():
            with wire.Wire("127.0.0.1", server.port) as client:
                client.start_tls()
                with open(certificate, encoding="ascii") as file:
                    return client.sock.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(file.read())

        util.wait_until(is_shown, "PostgreSQL to take up its certificate", 20)
        return server

    yield take
    server.destroy()


@pytest.mark.sanitizer
def test_keys_of_the_client_are_passed_on(make_pooler, pg, certs):
    """Each side is bound to its own connection."""
    pooler = make_pooler(settings=tls_settings(certs.server, server_tls_sslmode="require", server_tls_channel_binding="require"),
                         userlist={"scramuser": pg.scram_verifier("scramuser")})
    for _ in range(2):
        assert answer(pooler, user="scramuser", password=PASSWORDS["scramuser"], sslmode="require", channel_binding="require") == "scramuser"
    assert PASSWORDS["scramuser"] not in pooler.log()


@pytest.mark.parametrize("strip, own, outcome", [
    (False, "", "SCRAM channel binding"),
    (True, "", "SCRAM channel binding negotiation error"),
    (False, "channel_binding=disable", "scramuser"),
    (True, "channel_binding=disable", "scramuser"),
    (True, "channel_binding=require", "did not offer an authentication method that supports channel binding"),
], ids=["honest", "strips", "honest-disable", "strips-disable", "strips-require"])
@pytest.mark.sanitizer
def test_somebody_between_us_and_the_server(make_pooler, pg, certs, strip, own, outcome):
    with Relay(pg.port, certs.wronghost, strip) as relay:
        pooler = make_pooler(settings={"server_tls_sslmode": "require"}, databases={"app": f"{relay.dsn} {SERVER_USER} {own}"})
        assert outcome in answer(pooler)


def sasl_offer(*names):
    return wire.message("R", struct.pack("!I", 10) + b"".join(wire.cstr(name) for name in names) + b"\0")


# in TLS, what the server offers, channel_binding, what we choose: mechanism and GS2 flag; or the error
FAKE_ROWS = [
    (True, [PLUS, PLAIN], "prefer", (PLUS, "p")),
    (True, [PLAIN, PLUS], "prefer", (PLUS, "p")),
    (True, [PLUS], "prefer", (PLUS, "p")),
    (True, [PLAIN], "prefer", (PLAIN, "y")),
    (True, [PLUS, PLAIN], "disable", (PLAIN, "n")),
    (True, [PLUS], "disable", "server offers no SASL mechanism that is supported"),
    (True, [PLAIN], "require", "channel binding required, but the server did not offer"),
    (True, ["OAUTHBEARER"], "prefer", "server offers no SASL mechanism that is supported"),
    (False, [PLAIN], "prefer", (PLAIN, "n")),
    (False, [PLUS, PLAIN], "prefer", "server offered SCRAM-SHA-256-PLUS authentication over a connection without TLS"),
]


@pytest.mark.parametrize("tls, offer, wish, choice", FAKE_ROWS)
def test_what_we_choose(make_pooler, certs, fake, tls, offer, wish, choice):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs.server)
    chosen = []

    def script(conn):
        if tls:
            conn.read(8)
            conn.send(b"S")
            conn.sock = context.wrap_socket(conn.sock, server_side=True)
        conn.read_startup()
        conn.send(sasl_offer(*offer))
        body = conn.receive().payload
        name, rest = body.split(b"\0", 1)
        chosen.append((name.decode(), rest[4:5].decode()))
        conn.hang_until_closed()

    server = fake(script)
    pooler = make_pooler(settings={"server_tls_sslmode": "require" if tls else "disable", "query_wait_timeout": 3},
                         databases={"app": f"{server.dsn} {SERVER_USER} channel_binding={wish}"})
    if isinstance(choice, str):
        assert choice in answer(pooler)
        assert not chosen
    else:
        with pooler.raw() as client:
            client.send(wire.startup_packet({"user": "app", "database": "app"}))
            util.wait_until(lambda: chosen, "our choice")
        assert chosen[0] == choice


@pytest.mark.parametrize("then, outcome", [
    (wire.message("R", struct.pack("!I", 0)), "channel binding required, but the server let us in without"),
    (sasl_offer(PLAIN), "server asks for SCRAM authentication twice"),
    (wire.message("R", struct.pack("!I", 3)), "channel binding required, but not supported by what the server asks for"),
], ids=["ok", "again", "password"])
def test_a_server_that_leaves_scram_where_it_is_required(make_pooler, certs, fake, then, outcome):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs.server)

    def script(conn):
        conn.read(8)
        conn.send(b"S")
        conn.sock = context.wrap_socket(conn.sock, server_side=True)
        conn.read_startup()
        conn.send(sasl_offer(PLUS))
        conn.receive()
        conn.send(then)
        conn.hang_until_closed()

    server = fake(script)
    pooler = make_pooler(settings={"server_tls_sslmode": "require", "query_wait_timeout": 3},
                         databases={"app": f"{server.dsn} {SERVER_USER} channel_binding=require"})
    assert outcome in answer(pooler)


def test_channel_binding_of_a_database_changes(make_pooler, pg):
    """Connections that were made as was wanted before go as they come free."""
    line = f"{pg.dsn} {SERVER_USER}"
    pooler = make_pooler(settings={"server_tls_sslmode": "require"}, databases={"app": line})
    backend = "SELECT pg_backend_pid()"
    with pooler.connect() as conn:
        first = conn.execute(backend).fetchone()
        pooler.databases["app"] = line + " channel_binding=require"
        pooler.reload()
        second = conn.execute(backend).fetchone()
        pooler.settings["server_tls_channel_binding"] = "disable"
        pooler.reload()
        assert conn.execute(backend).fetchone() == second != first
        pooler.databases["app"] = line
        pooler.reload()
        assert conn.execute(backend).fetchone() != second
