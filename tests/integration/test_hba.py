"""auth_type = hba: who gets in from where, by which method; PostgreSQL's own pg_hba.conf is the measure."""
import contextlib
import itertools
import os
import pwd
import random
import re
import signal

import psycopg
import pytest

from harness import scram, util
from harness.wire import ServerError, Wire, startup_packet

pytestmark = pytest.mark.own

SECRET = "hba secret 'x"
OS_USER = pwd.getpwuid(os.geteuid()).pw_name


def hba_pooler(make_pooler, pg, rules, ident=None, start=True, **kwargs):
    settings = {"auth_type": "hba", "auth_hba_file": "hba.conf", **kwargs.pop("settings", {})}
    if ident is not None:
        settings["auth_ident_file"] = "ident.conf"
    databases = {name: f"{pg.dsn} dbname=app user=bob" for name in ("app", "app2")}
    pooler = make_pooler(start=False, settings=settings, databases=kwargs.pop("databases", databases), **kwargs)
    util.write_file(pooler.path("hba.conf"), rules)
    if ident is not None:
        util.write_file(pooler.path("ident.conf"), ident)
    return with_unix_socket(pooler.start()) if start else pooler


def with_unix_socket(pooler):
    """The Unix socket is the last to be listened to."""
    def answers():
        with contextlib.suppress(ConnectionRefusedError):
            Wire(pooler.directory, pooler.port).disconnect()
            return True
    util.wait_until(answers, "the Unix socket")
    return pooler


def unix(pooler, user="app", database="app", password=None):
    raw = Wire(pooler.directory, pooler.port, timeout=10 * util.PATIENCE)
    try:
        return raw.login(user, database, password)
    except BaseException:
        raw.disconnect()
        raise


# ---- the rules mean what they mean in PostgreSQL

NAMES = ("app", "app2", "alice", "postgres")  # of databases and of users
DATABASES = ("all", "app", "app2", "alice,app", '"app2"', "sameuser", '"all"', "replication", "@dbs", "@dbs,postgres", '"@dbs"', "APP")
USERS = ("all", "app", "alice,postgres", '"app2", app', '"all"', "@users", "Alice", '"al""ice"')
ADDRESSES = ("127.0.0.1/32", "127.0.0.0/30", "127.0.0.4 255.255.255.252", "127.0.0.1 255.0.0.1", "all", "samehost", "samenet",
             "0.0.0.0/0", "::/0", "10.0.0.0/8", "127.0.0.5/31")
SOURCES = (None, "127.0.0.1", "127.0.0.2", "127.0.0.5", "127.0.0.7")


def generated_rules(seed):
    """Twelve rules or so, with what is awkward about the format around them."""
    chance = random.Random(seed)
    lines = ["# generated", ""]
    for number in range(12):
        kind = chance.choice(("local", "host", "host", "hostnossl", "hostssl"))
        fields = [kind, chance.choice(DATABASES), chance.choice(USERS)]
        if kind != "local":
            fields.append(chance.choice(ADDRESSES))
        fields.append("trust" if chance.random() < 0.6 else "reject")
        joint = chance.choice((" ", "\t", "   ", " \\\n "))
        lines.append(joint.join(fields) + chance.choice(("", "  # why", "\t")))
    return "\n".join(lines) + "\n"


def gets_in(address, source, user, database):
    """True when the server greets, False when it turns the client away by its rules."""
    with Wire(*address, timeout=20 * util.PATIENCE, source=source) as raw:
        raw.send(startup_packet({"user": user, "database": database}))
        first = raw.receive()
        assert first.kind in "RE", first
        if first.kind == "E":
            assert first.sqlstate == "28000", first
        return first.kind == "R"


@pytest.mark.sanitizer
def test_rules_mean_what_they_mean_in_postgresql(make_pooler, pg, own_pg):
    """Generated rules, given to PostgreSQL and to the pooler: the same clients get in."""
    with own_pg.connect(dbname="postgres") as conn:
        conn.execute("CREATE ROLE app2 LOGIN")
        conn.execute("CREATE DATABASE alice")
    pooler = hba_pooler(make_pooler, pg, "local all all trust\n", userlist={name: "" for name in NAMES},
                        databases={name: f"{pg.dsn} dbname=app user=bob" for name in NAMES})
    with own_pg.connect(dbname="postgres") as control, unix(pooler, "admin", "pgbouncer") as console:
        _compare_rules(pooler, own_pg, control, console)


def _compare_rules(pooler, own_pg, control, console):
    outcomes = set()
    for seed in range(8):
        rules = generated_rules(seed)
        for directory in (pooler.directory, own_pg.data):
            util.write_file(f"{directory}/dbs", "# databases\nalice, app\n\npostgres\n")
            util.write_file(f"{directory}/users", "app2 alice\n")
        util.write_file(f"{own_pg.data}/pg_hba.conf", rules, 0o600)
        util.write_file(pooler.path("hba.conf"), rules)
        assert control.execute("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL").fetchone() == (0,)
        loaded = control.execute("SELECT pg_conf_load_time()").fetchone()
        own_pg.process.send_signal(signal.SIGHUP)
        util.wait_until(lambda before=loaded: control.execute("SELECT pg_conf_load_time()").fetchone() != before, "PostgreSQL to reload")
        assert [m.kind for m in console.query("RELOAD")][-1] == "Z"
        for source, user, database in itertools.product(SOURCES, NAMES, NAMES):
            theirs, ours = (gets_in((each.directory if source is None else "127.0.0.1", each.port), source, user, database)
                            for each in (own_pg, pooler))
            assert ours == theirs, f"seed {seed}: {user}@{source} to {database}: PostgreSQL {theirs}, pooler {ours}\n{rules}"
            outcomes.add((source is None, ours))
    assert len(outcomes) == 4  # both kinds of socket have seen both


# ---- methods

@pytest.mark.parametrize("method, stored", [
    ("password", SECRET),
    ("password", scram.verifier(SECRET)),
    ("md5", SECRET),
    ("md5", scram.md5_hash("app", SECRET)),
    ("md5", scram.verifier(SECRET)),
    ("scram-sha-256", SECRET),
    ("scram-sha-256", scram.verifier(SECRET)),
], ids=["password-plain", "password-scram", "md5-plain", "md5-md5", "md5-scram", "scram-plain", "scram-scram"])
@pytest.mark.sanitizer
def test_password_methods(make_pooler, pg, method, stored):
    pooler = hba_pooler(make_pooler, pg, f"host all all 127.0.0.1/32 {method}\n", userlist={"app": stored})
    with pooler.connect(password=SECRET) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        pooler.connect(password="wrong")


def test_scram_does_not_work_with_an_md5_secret(make_pooler, pg):
    pooler = hba_pooler(make_pooler, pg, "host all all all scram-sha-256\n", userlist={"app": scram.md5_hash("app", SECRET)})
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        pooler.connect(password=SECRET)


@pytest.mark.sanitizer
def test_the_method_depends_on_the_rule(make_pooler, pg):
    rules = ("host app app 127.0.0.2/32 trust\nhost app app 127.0.0.3/32 reject\nhost app app all scram-sha-256\n"
             "host pgbouncer admin 127.0.0.1/32 trust\n")
    pooler = hba_pooler(make_pooler, pg, rules, userlist={"app": SECRET})
    with Wire("127.0.0.1", pooler.port, source="127.0.0.2") as client:
        assert client.login("app", "app").value("SELECT 1") == "1"
    with Wire("127.0.0.1", pooler.port, source="127.0.0.3") as client, pytest.raises(ServerError) as caught:
        client.login("app", "app", SECRET)
    assert caught.value.sqlstate == "28000"
    pooler.connect(password=SECRET).close()
    # a user of the list whom no rule is for, and one without a rule who is not in the list: no difference
    answers = set()
    for user in ("alice", "nobody_at_all"):
        with pytest.raises(ServerError) as caught:
            pooler.wire(user=user)
        answers.add((caught.value.sqlstate, caught.value.msg.text))
    assert answers == {("28000", "login rejected")}


def test_a_refusal_says_why_in_the_log_only(make_pooler, pg):
    pooler = hba_pooler(make_pooler, pg, "# no\nhost app app all reject\nhost app bob all trust\n")
    for user, why in (("app", r"login rejected: by rule hba.conf:2, for user app, database app"),
                      ("alice", r"login rejected: no rule of auth_hba_file is for user alice, database app, no TLS")):
        with pytest.raises(ServerError) as caught:
            pooler.wire(user=user)
        assert caught.value.msg.fields() == {"S": "FATAL", "V": "FATAL", "C": "28000", "M": "login rejected"}
        pooler.wait_log(why)


def test_trust_needs_a_known_user(make_pooler, pg):
    pooler = hba_pooler(make_pooler, pg, "host all all all trust\n")
    pooler.wire().disconnect()
    with pytest.raises(ServerError) as caught:
        pooler.wire(user="unknown_user")
    assert caught.value.sqlstate == "28P01"


def test_a_rule_about_the_console_holds_for_both_its_names(make_pooler, pg):
    pooler = hba_pooler(make_pooler, pg, "host pgbouncer admin 127.0.0.2/32 reject\nhost pgbouncer,app all all trust\n")
    for name in ("pgbouncer", "pgsluice"):
        pooler.wire("admin", name).disconnect()
        with Wire("127.0.0.1", pooler.port, source="127.0.0.2") as client, pytest.raises(ServerError):
            client.login("admin", name)


# ---- operating-system users

@pytest.mark.sanitizer
def test_peer(make_pooler, pg):
    rules = "local app all peer\nlocal app2 all peer map=os\nlocal pgbouncer all peer map=os\n"
    ident = f'os /^(..)(.*)$ "nobody"\nos {OS_USER} app\nos "/^{OS_USER[:2]}({OS_USER[2:]})$" "x\\1y"\n'
    pooler = hba_pooler(make_pooler, pg, rules, ident, userlist={OS_USER: "", f"x{OS_USER[2:]}y": ""})
    with unix(pooler, OS_USER) as client:
        assert client.value("SELECT current_user") == "bob"
    unix(pooler, "app", "app2").disconnect()
    unix(pooler, f"x{OS_USER[2:]}y", "app2").disconnect()
    for user, database in (("app", "app"), ("alice", "app2"), (OS_USER, "app2"), ("admin", "pgbouncer")):
        with pytest.raises(ServerError) as caught:
            unix(pooler, user, database)
        assert caught.value.msg.fields() == {"S": "FATAL", "V": "FATAL", "C": "28000", "M": "peer authentication failed"}
        pooler.wait_log(f"peer authentication of user {user} failed: the operating-system user is {OS_USER}")
    with pytest.raises(ServerError):
        pooler.wire()  # not a Unix socket: no rule


@pytest.mark.sanitizer
def test_peer_for_everybody(make_pooler, pg):
    """auth_type = peer, without rules; what is sent ahead of the answer is not lost."""
    databases = {"app": f"{pg.dsn} dbname=app user=bob"}
    pooler = make_pooler(start=False, databases=databases, settings={
        "auth_type": "peer", "auth_ident_file": "ident.conf", "auth_ident_map": "os"})
    util.write_file(pooler.path("ident.conf"), f"os {OS_USER} app\n")
    with_unix_socket(pooler.start())
    unix(pooler).disconnect()
    with pytest.raises(ServerError) as caught:
        unix(pooler, "alice")
    assert caught.value.msg.text == "peer authentication failed"
    with pytest.raises(ServerError) as caught:
        pooler.wire()
    assert caught.value.msg.text == "peer authentication failed"
    pooler.wait_log("peer authentication of user app failed: the connection is no Unix socket")
    with Wire(pooler.directory, pooler.port) as client:
        client.send(startup_packet({"user": "app", "database": "app"}) + b"Q\0\0\0\x0dSELECT 1\0")
        messages = client.until("Z") + client.until("Z")
        assert [m.row() for m in messages if m.kind == "D"] == [["1"]]


@pytest.mark.sanitizer
def test_a_peer_that_goes_at_once(make_pooler, pg):
    pooler = hba_pooler(make_pooler, pg, "local all all peer\nhost all all all trust\n", userlist={OS_USER: ""})
    for _ in range(50):
        client = Wire(pooler.directory, pooler.port)
        client.send(startup_packet({"user": OS_USER, "database": "app"}))
        client.disconnect()
    unix(pooler, OS_USER).disconnect()


# ---- files

@pytest.mark.sanitizer
def test_reload(make_pooler, pg):
    """New rules count for logins to come; a file with a mistake changes nothing, and is named with its line."""
    pooler = hba_pooler(make_pooler, pg, "host all admin all trust\nhost all app all trust\n")
    with pooler.wire() as stays:
        util.write_file(pooler.path("hba.conf"), "host all admin all trust\nhost all app all reject\n")
        pooler.admin("RELOAD")
        assert stays.value("SELECT 1") == "1"
        with pytest.raises(ServerError):
            pooler.wire()
    for text, problem in (("host all admin all trust\nhost all all nohost trust\n", "hba.conf:2: error: \"nohost\" is no address"),
                          ("host all all all bogus\n", "hba.conf:1: error: invalid authentication method \"bogus\""),
                          ("host all all all trust\nlocal all @missing trust\n", "hba.conf:2: error: cannot read @file \"missing\"")):
        util.write_file(pooler.path("hba.conf"), text)
        with pytest.raises(psycopg.Error, match="error"):
            pooler.admin("RELOAD")
        pooler.wait_log(problem.replace("(", r"\("))
        with pytest.raises(ServerError):
            pooler.wire()
    os.unlink(pooler.path("hba.conf"))
    with pytest.raises(psycopg.Error, match="cannot read"):
        pooler.admin("RELOAD")
    util.write_file(pooler.path("hba.conf"), "host all all all trust\n")
    pooler.admin("RELOAD")
    pooler.wire().disconnect()


def test_set_reads_the_files(make_pooler, pg):
    pooler = hba_pooler(make_pooler, pg, "host all all all trust\n")
    util.write_file(pooler.path("other.conf"), "host all admin all trust\n")
    util.write_file(pooler.path("bad.conf"), "host all admin all trist\n")
    with pytest.raises(psycopg.Error, match="bad.conf:1"):
        pooler.admin("SET auth_hba_file = 'bad.conf'")
    pooler.wire().disconnect()
    pooler.admin("SET auth_hba_file = 'other.conf'")
    with pytest.raises(ServerError):
        pooler.wire()


@pytest.mark.parametrize("rules, ident, problem", [
    ("host all +staff all trust", None, r"hba.conf:1: error: \+staff is not supported"),
    ("\nhost all all localhost trust", None, 'hba.conf:2: error: "localhost" is no address'),
    ("local all all peer map=nomap", "m a b", 'hba.conf:1: error: there is no map "nomap" in auth_ident_file'),
    ("local all all trust", "m a", "ident.conf:1: error: a line needs"),
    ("host all all all gss", None, "hba.conf:1: error: authentication method gss is not supported"),
    ("hostssl all all all radius", None, "hba.conf:1: error: authentication method radius is not supported"),
], ids=["role", "host-name", "no-map", "ident-fields", "gss", "radius"])
def test_what_is_not_supported_is_refused_at_the_start(make_pooler, pg, rules, ident, problem):
    pooler = hba_pooler(make_pooler, pg, rules + "\n", ident, start=False)
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1
    assert re.search(problem, done.stdout + done.stderr), done.stderr


def test_rules_are_needed(make_pooler, pg):
    pooler = make_pooler(start=False, settings={"auth_type": "hba"})
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1 and "auth_type = hba needs auth_hba_file" in done.stdout + done.stderr


# ---- certificates

def tls_settings(certs, **more):
    return {"client_tls_sslmode": "prefer", "client_tls_cert_file": certs.server[0], "client_tls_key_file": certs.server[1],
            "client_tls_ca_file": certs.ca, **more}


def tls(pooler, user, certificate=None, database="app", **kwargs):
    files = {"sslcert": certificate[0], "sslkey": certificate[1]} if certificate else {"sslcert": "/nonexistent"}
    return pooler.connect(database, user, sslmode="require", **files, **kwargs)


@pytest.fixture
def readable(certs, tmp_path):
    """libpq wants a key that belongs to who runs it."""
    def copy(certificate):
        paths = []
        for path in certificate:
            mine = tmp_path / os.path.basename(path)
            mine.write_bytes(open(path, "rb").read())
            mine.chmod(0o600)
            paths.append(str(mine))
        return paths
    return copy


@pytest.mark.sanitizer
def test_certificates_in_rules(make_pooler, pg, certs, readable):
    rules = ("hostssl app  all all cert\n"
             "hostssl app2 all all cert map=crt\n"
             "hostssl ca   all all scram-sha-256 clientcert=verify-ca\n"
             "hostssl full all all trust clientcert=verify-full\n"
             "hostnossl all all all reject\n")
    mine, stranger = readable(certs.client), readable(certs.stranger)
    databases = {name: f"{pg.dsn} dbname=app user=bob" for name in ("app", "app2", "ca", "full")}
    pooler = hba_pooler(make_pooler, pg, rules, "crt /^cert(.*)$ \\1\ncrt certuser alice\n", settings=tls_settings(certs),
                        userlist={"certuser": SECRET, "user": "", "alice": SECRET}, databases=databases)
    for database, user, certificate, error, why in (
            ("app", "certuser", mine, None, None),
            ("app", "alice", mine, "certificate authentication failed", 'user alice is not accepted: it is for "certuser"'),
            ("app", "certuser", None, "certificate authentication failed", "user certuser is not accepted: there is none that was verified"),
            ("app2", "alice", mine, None, None),
            ("app2", "user", mine, None, None),
            ("app2", "certuser", mine, "certificate authentication failed", 'user certuser is not accepted: its map does not allow "certuser"'),
            ("ca", "alice", mine, None, None),
            ("ca", "alice", None, "certificate authentication failed", "user alice is not accepted: there is none that was verified"),
            ("full", "certuser", mine, None, None),
            ("full", "alice", mine, "certificate authentication failed", 'user alice is not accepted: it is for "certuser"')):
        if error is None:
            tls(pooler, user, certificate, database, password=SECRET).close()
        else:
            with pytest.raises(psycopg.OperationalError, match=f"FATAL:  {error}$"):
                tls(pooler, user, certificate, database, password=SECRET)
            pooler.wait_log(re.escape(why))
    with pytest.raises(psycopg.OperationalError):
        tls(pooler, "certuser", stranger)
    with pytest.raises(ServerError):
        pooler.wire("certuser")


@pytest.mark.sanitizer
def test_certificates_for_everybody(make_pooler, pg, certs, readable):
    """auth_type = cert, with and without a map."""
    mine = readable(certs.client)
    pooler = make_pooler(start=False, databases={"app": f"{pg.dsn} dbname=app user=bob"}, userlist={"certuser": ""}, settings=tls_settings(
        certs, auth_type="cert", client_tls_sslmode="verify-full", auth_ident_file="ident.conf"))
    util.write_file(pooler.path("ident.conf"), "crt certuser alice\n")
    pooler.start()
    tls(pooler, "certuser", mine).close()
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        tls(pooler, "alice", mine)
    pooler.settings["auth_ident_map"] = "crt"
    pooler.write_config()
    pooler.send_signal(signal.SIGHUP)
    util.wait_until(lambda: pooler.log_lines("setting auth_ident_map"), "the reload")
    tls(pooler, "alice", mine).close()
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        tls(pooler, "certuser", mine)


def test_certificates_need_verified_tls(make_pooler, pg, certs):
    pooler = make_pooler(start=False, settings=tls_settings(certs, auth_type="cert"))
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1 and "auth_type = cert needs client_tls_sslmode = verify-full" in done.stdout + done.stderr


def test_rules_tell_tls_from_plain(make_pooler, pg, certs):
    pooler = hba_pooler(make_pooler, pg, "hostssl app app all trust\nhostnossl app alice all trust\n", settings=tls_settings(certs))
    tls(pooler, "app").close()
    pooler.wire("alice").disconnect()
    with pytest.raises(psycopg.OperationalError, match="login rejected"):
        tls(pooler, "alice")
    pooler.wait_log("no rule of auth_hba_file is for user alice, database app, TLS")
    with pytest.raises(ServerError):
        pooler.wire("app")
