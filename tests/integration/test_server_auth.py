"""How the pooler proves who it is to PostgreSQL, by each method, and what it says when that fails."""
import psycopg
import pytest

from harness.postgres import PASSWORDS


def who(pooler, **kwargs):
    with pooler.connect(**kwargs) as conn:
        return conn.execute("SELECT current_user").fetchone()[0]


def quoted(password):
    return "'" + password.replace("'", "''") + "'"


@pytest.mark.parametrize("role", ["app", "plainuser", "md5user", "scramuser"])
def test_forced_user_with_a_password(make_pooler, pg, role):
    password = f" password={quoted(PASSWORDS[role])}" if role in PASSWORDS else ""
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app user={role}{password}"})
    assert who(pooler) == role


@pytest.mark.parametrize("role", ["plainuser", "md5user", "scramuser"])
def test_password_of_the_user_list(make_pooler, pg, role):
    pooler = make_pooler(userlist={role: PASSWORDS[role]})
    assert who(pooler, user=role) == role


def test_md5_hash_of_the_user_list(make_pooler, pg):
    with pg.connect() as conn:
        stored = conn.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'md5user'").fetchone()[0]
    pooler = make_pooler(settings={"auth_type": "md5"}, userlist={"md5user": stored})
    assert who(pooler, user="md5user", password=PASSWORDS["md5user"]) == "md5user"


@pytest.mark.sanitizer
def test_scram_keys_of_the_client_are_passed_on(make_pooler, pg):
    """The user list holds the verifier that PostgreSQL holds too; nobody but the client knows the password."""
    pooler = make_pooler(settings={"auth_type": "scram-sha-256", "default_pool_size": 3},
                         userlist={"scramuser": pg.scram_verifier("scramuser")})
    for _ in range(2):
        assert who(pooler, user="scramuser", password=PASSWORDS["scramuser"]) == "scramuser"
    assert PASSWORDS["scramuser"] not in pooler.log()


@pytest.mark.own
def test_scram_keys_are_of_their_own_user_only(make_pooler, pg):
    """Who logs in to a database with a forced user leaves that user's keys, of the user's own login, alone."""
    pooler = make_pooler(settings={"auth_type": "scram-sha-256"},
                         databases={"app": f"{pg.dsn} dbname=app", "forced": f"{pg.dsn} dbname=app user=scramuser"},
                         userlist={"scramuser": pg.scram_verifier("scramuser"), "alice": "alice's", "admin": "adm"})
    with pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]) as own:
        assert own.value("SELECT current_user") == "scramuser"
        with pooler.wire(database="forced", user="alice", password="alice's") as other:
            assert other.value("SELECT current_user") == "scramuser", "with the keys that scramuser has left"
        pooler.admin("RECONNECT app", password="adm")
        assert own.value("SELECT current_user") == "scramuser"


@pytest.mark.own
def test_saslprep_of_a_password_for_the_server(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app user=saslprep password='{PASSWORDS['saslprep']}'"})
    assert who(pooler) == "saslprep"


@pytest.mark.sanitizer
@pytest.mark.parametrize("role", ["plainuser", "md5user", "scramuser"])
def test_wrong_password_for_the_server(make_pooler, pg, role):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app user={role} password=not-this-one"})
    with pytest.raises(psycopg.OperationalError, match="password authentication failed|login failed"):
        who(pooler)
    assert "not-this-one" not in pooler.log()


def test_no_password_for_the_server(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app user=scramuser"})
    with pytest.raises(psycopg.OperationalError):
        who(pooler)


def test_role_that_hba_rejects(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app user=refused"})
    with pytest.raises(psycopg.OperationalError, match="pg_hba.conf|rejects"):
        who(pooler)


def test_refused_login_fails_the_waiters_at_once(make_pooler, pg):
    """Class 28 and 3D000 are final: nobody waits for query_wait_timeout."""
    pooler = make_pooler(settings={"query_wait_timeout": 60},
                         databases={"app": f"{pg.dsn} dbname=app user=scramuser password=wrong"})
    for _ in range(3):
        with pytest.raises(psycopg.OperationalError):
            who(pooler, connect_timeout=5)


def test_unix_socket_to_the_server(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"host={pg.directory} port={pg.port} dbname=app"})
    assert who(pooler) == "app"


def test_connect_query(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app connect_query='SET work_mem = ''7MB'''"})
    with pooler.connect() as conn:
        assert conn.execute("SHOW work_mem").fetchone()[0] == "7MB"


def test_parameters_of_a_database(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app timezone=Asia/Tokyo datestyle=German client_encoding=UTF8"})
    with pooler.connect() as conn:
        assert conn.execute("SHOW timezone").fetchone()[0] == "Asia/Tokyo"
