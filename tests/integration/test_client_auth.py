"""How clients prove who they are: auth_type any, trust, plain, md5, scram-sha-256."""
import psycopg
import pytest

from harness import scram, util
from harness.wire import ServerError

SECRET = "client secret ;\\\"'x"
SASLPREP = "I\u00adX\u2168"  # soft hyphen goes, ROMAN NUMERAL NINE becomes IX


@pytest.mark.parametrize("auth_type, stored", [
    ("plain", SECRET),
    ("md5", SECRET),
    ("md5", scram.md5_hash("app", SECRET)),
    ("md5", scram.verifier(SECRET)),
    ("scram-sha-256", SECRET),
    ("scram-sha-256", scram.verifier(SECRET)),
], ids=["plain", "md5-plain", "md5-md5", "md5-scram", "scram-plain", "scram-verifier"])
@pytest.mark.sanitizer
def test_password(make_pooler, pg, auth_type, stored):
    pooler = make_pooler(settings={"auth_type": auth_type}, userlist={"app": stored},
                         databases={"app": f"{pg.dsn} dbname=app user=bob"})
    with pooler.connect(password=SECRET) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        pooler.connect(password="wrong")


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
@pytest.mark.own
def test_wrong_password_and_unknown_user_get_the_same_answer(make_pooler, auth_type):
    pooler = make_pooler(settings={"auth_type": auth_type}, userlist={"app": SECRET})
    answers = []
    for user in ("app", "nobody_at_all"):
        with pytest.raises(ServerError) as caught:
            pooler.wire(user=user, password="wrong")
        assert caught.value.sqlstate == "28P01"
        answers.append(caught.value.msg.text.replace(user, "USER"))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_wrong_password_is_refused(make_pooler, auth_type):
    pooler = make_pooler(settings={"auth_type": auth_type}, userlist={"app": SECRET})
    for user, password in (("app", "wrong"), ("app", ""), ("nobody_at_all", SECRET)):
        with pytest.raises((ServerError, psycopg.OperationalError)):
            pooler.wire(user=user, password=password)
    assert SECRET not in pooler.log()


def test_empty_password_in_the_userlist_never_matches(make_pooler):
    for auth_type in ("plain", "md5"):
        pooler = make_pooler(settings={"auth_type": auth_type}, userlist={"app": ""})
        with pytest.raises(ServerError):
            pooler.wire(password="")


def test_trust_needs_a_known_user(make_pooler):
    pooler = make_pooler(settings={"auth_type": "trust"})
    with pooler.wire() as client:
        assert client.value("SELECT 1") == "1"
    with pytest.raises(ServerError):
        pooler.wire(user="unknown_user")


def test_any_takes_everybody(make_pooler, pg):
    pooler = make_pooler(settings={"auth_type": "any"}, databases={"app": f"{pg.dsn} dbname=app user=bob"})
    for user in ("app", "unknown_user"):
        with pooler.wire(user=user) as client:
            assert client.value("SELECT current_user") == "bob"


@pytest.mark.sanitizer
def test_saslprep(make_pooler, pg):
    """Both spellings of a password that SASLprep makes equal are accepted; libpq prepares what it sends."""
    pooler = make_pooler(settings={"auth_type": "scram-sha-256"}, databases={"app": f"{pg.dsn} dbname=app user=bob"},
                         userlist={"app": scram.verifier("IXIX")})
    for password in ("IXIX", SASLPREP):
        pooler.connect(password=password).close()


@pytest.mark.own
def test_saslprep_of_a_plain_password_in_the_userlist(make_pooler, pg):
    pooler = make_pooler(settings={"auth_type": "scram-sha-256"}, databases={"app": f"{pg.dsn} dbname=app user=bob"},
                         userlist={"app": SASLPREP})
    for password in ("IXIX", SASLPREP):
        pooler.connect(password=password).close()


@pytest.mark.sanitizer
@pytest.mark.own  # PgBouncer compares times in whole seconds
def test_userlist_is_read_again_on_reload(make_pooler, pg):
    pooler = make_pooler(settings={"auth_type": "md5"}, databases={"app": f"{pg.dsn} dbname=app user=bob"},
                         userlist={"app": "old", "admin": "adm"})
    pooler.connect(password="old").close()
    pooler.userlist["app"] = "new"
    pooler.write_config()
    pooler.admin("RELOAD", password="adm")
    pooler.connect(password="new").close()
    with pytest.raises(psycopg.OperationalError):
        pooler.connect(password="old")


@pytest.mark.own
def test_login_timeout(make_pooler):
    """Half a login holds nothing for ever."""
    pooler = make_pooler(settings={"client_login_timeout": 1, "auth_type": "md5", "tcp_defer_accept": 0}, userlist={"app": "x"})
    with pooler.raw() as silent, pooler.raw() as half:
        half.send(b"\0\0\0\x20\0\3\0\0user\0")
        messages = half.expect_closed()
        assert not messages or "client_login_timeout" in messages[-1].text
        silent.expect_closed()


def test_user_name_of_63_bytes_and_more(make_pooler, pg):
    name = "u" * 63
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app user=bob"}, userlist={name: ""})
    pooler.wire(user=name).disconnect()


@pytest.mark.own
def test_plain_password_with_the_file_of_another_format(make_pooler):
    """Comments and empty lines in the user list are no users; a broken line is named with file and line."""
    pooler = make_pooler(start=False, settings={"auth_type": "md5"})
    util.write_file(pooler.path("userlist.txt"), '; comment\n\n"app" "x"\n"broken\n', 0o600)
    pooler.start()
    pooler.wire(password="x").disconnect()
    pooler.wait_log("userlist.txt")


# ---- several passwords of one user

def rotation(make_pooler, pg, auth_type, secrets, passwords="all", start=True):
    """The user app stands in the list once per secret."""
    pooler = make_pooler(start=False, settings={"auth_type": auth_type, "auth_failure_delay": 0},
                         databases={"app": f"{pg.dsn} dbname=app user=bob"}, users={"app": f"passwords={passwords}"})
    util.write_file(pooler.path("userlist.txt"), "".join(f'"app" "{secret}"\n' for secret in secrets) + '"admin" "adm"\n', 0o600)
    return pooler.start() if start else pooler


SALT = b"0123456789abcdef"


@pytest.mark.parametrize("auth_type, secrets", [
    ("plain", ["old", "new"]),
    ("plain", [scram.md5_hash("app", "old"), scram.verifier("new")]),
    ("md5", ["old", "middle", "new"]),
    ("md5", [scram.md5_hash("app", "old"), scram.md5_hash("app", "new")]),
    ("scram-sha-256", ["old", "new"]),
    ("scram-sha-256", [scram.verifier("old"), "new"]),
    ("scram-sha-256", ["old", scram.verifier("new")]),
    ("scram-sha-256", [scram.verifier("old", salt=SALT), scram.verifier("new", salt=SALT)]),
], ids=["plain", "plain-mixed", "md5-plain", "md5-md5", "scram-plain", "scram-old-verifier", "scram-new-verifier", "scram-verifiers"])
@pytest.mark.sanitizer
@pytest.mark.own
def test_several_passwords(make_pooler, pg, auth_type, secrets):
    """During a rotation both are right; when the old line goes, only the new one is."""
    pooler = rotation(make_pooler, pg, auth_type, secrets)
    right = ["old", "new"] + (["middle"] if "middle" in secrets else [])
    for password in right:
        pooler.connect(password=password).close()
    for password in ("wrong", ""):
        with pytest.raises((psycopg.OperationalError, ServerError)):
            pooler.wire(password=password)
    util.write_file(pooler.path("userlist.txt"), f'"app" "{secrets[-1]}"\n"admin" "adm"\n', 0o600)
    pooler.admin("RELOAD", password="adm")
    pooler.connect(password="new").close()
    with pytest.raises(psycopg.OperationalError):
        pooler.connect(password="old")


@pytest.mark.own
def test_of_several_passwords_the_last_counts_unless_asked(make_pooler, pg):
    pooler = rotation(make_pooler, pg, "md5", ["old", "new"], passwords="last")
    pooler.connect(password="new").close()
    with pytest.raises(psycopg.OperationalError):
        pooler.connect(password="old")
    pooler.wait_log("userlist.txt:1: .*this line does not count")


@pytest.mark.own
def test_scram_secrets_that_cannot_be_checked_together(make_pooler, pg):
    pooler = rotation(make_pooler, pg, "md5", [scram.verifier("old", salt=SALT[::-1]), scram.verifier("new")])
    pooler.wait_log("userlist.txt:2: .*same salt and iterations")
    pooler.connect(password="new").close()
