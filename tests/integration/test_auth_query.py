"""auth_query: users whom auth_file does not name are asked of a database, over connections that no client ever has."""
import concurrent.futures
import contextlib
import itertools
import threading
import time

import psycopg
import pytest

from harness import scram, util
from harness.fakeserver import error
from harness.postgres import PASSWORDS
from harness.wire import ServerError, Wire, startup_packet

pytestmark = pytest.mark.own

FAILED = {"S": "FATAL", "V": "FATAL", "C": "28000", "M": "auth_query failed", "H": "See the pooler's log for what the server answered."}


@pytest.fixture
def make(make_pooler, pg):
    """A pooler that looks users up as bob, whom PostgreSQL trusts; only the console's users stand in the list."""
    def start(database="", settings=None, **kwargs):
        databases = kwargs.pop("databases", {"app": f"{pg.dsn} dbname=app {database}"})
        return make_pooler(databases=databases, settings={"auth_type": "md5", "auth_user": "bob", **(settings or {})},
                           userlist={"app": None, "alice": None, "bob": "x", "admin": "adm", **kwargs.pop("userlist", {})}, **kwargs)
    return start


@pytest.fixture(autouse=True)
def no_such_lines(monkeypatch):
    """None in the list of users: no line."""
    from harness.pooler import Pooler
    write = Pooler.write_config

    def write_config(self):
        self.userlist = {user: secret for user, secret in self.userlist.items() if secret is not None}
        return write(self)
    monkeypatch.setattr(Pooler, "write_config", write_config)


@contextlib.contextmanager
def counted(pg, name, body="SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = who"):
    """A function that looks up and counts how often; yields (its query, how often)."""
    with pg.connect() as conn:
        conn.execute(f"CREATE TABLE {name}_calls (who text)")
        conn.execute(f"CREATE FUNCTION {name}(who text) RETURNS TABLE (u text, p text) LANGUAGE plpgsql SECURITY DEFINER AS "
                     f"$$ BEGIN INSERT INTO {name}_calls VALUES (who); RETURN QUERY {body}; END $$")
        try:
            yield f"SELECT * FROM {name}($1)", lambda who="%": conn.execute(
                f"SELECT count(*) FROM {name}_calls WHERE who LIKE %s", [who]).fetchone()[0]
        finally:
            conn.execute(f"DROP FUNCTION {name}; DROP TABLE {name}_calls")


@contextlib.contextmanager
def role(pg, name, options):
    with pg.connect() as conn:
        conn.execute(f"CREATE ROLE {name} {options}")
        try:
            yield conn
        finally:
            conn.execute(f"DROP ROLE {name}")


def refused(pooler, user, password, **kwargs):
    with pytest.raises(ServerError) as caught:
        pooler.wire(user=user, password=password, **kwargs)
    return caught.value.msg


# ---- who gets in

@pytest.mark.parametrize("auth_type, user", [
    ("scram-sha-256", "scramuser"), ("md5", "scramuser"), ("md5", "md5user"), ("plain", "scramuser"),
])
@pytest.mark.sanitizer
def test_users_of_the_database_get_in(make, pg, auth_type, user):
    """With their own password, which (or the SCRAM key of the login) opens PostgreSQL, too."""
    pooler = make(settings={"auth_type": auth_type})
    if auth_type == "plain":
        refusal = refused(pooler, user, "wrong")
        assert refusal.sqlstate == "28P01"
        # a stored SCRAM secret does not say the password, so the server cannot be logged in to with it
        assert refused(pooler, user, PASSWORDS[user]).text.startswith("server login failed: server asks for")
        return
    for _ in range(2):
        with pooler.connect(user=user, password=PASSWORDS[user]) as conn:
            assert conn.execute("SELECT current_user").fetchone() == (user,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        pooler.connect(user=user, password="wrong")
    users = [row["name"] for row in pooler.admin("SHOW USERS", password="adm")]
    assert user in users
    assert PASSWORDS[user] not in pooler.log()


@pytest.mark.sanitizer
def test_hba_and_trust(make, pg):
    pooler = make(start=False)
    pooler.settings.update({"auth_type": "hba", "auth_hba_file": "hba.conf"})
    pooler.write_config()
    util.write_file(pooler.path("hba.conf"), "host app limited all trust\nhost app scramuser all scram-sha-256\nhost app all all trust\n")
    pooler.start()
    pooler.wire(user="limited").disconnect()
    pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]).disconnect()
    assert refused(pooler, "nobody_at_all", "").sqlstate == "28P01"


@pytest.mark.sanitizer
def test_who_is_refused_and_how(make, pg):
    """Unknown, without the right to log in, without a password, expired: the same answer as to a wrong password."""
    pooler = make()
    with role(pg, "aq_expired", "LOGIN PASSWORD 'x' VALID UNTIL '2020-01-01'"), role(pg, "aq_nologin", "PASSWORD 'x'"), \
            role(pg, "aq_nopassword", "LOGIN"):
        answers = set()
        for user in ("scramuser", "aq_expired", "aq_nologin", "aq_nopassword", "nobody_at_all", "x' OR '1'='1", "$1"):
            with pooler.raw() as client:
                client.send(startup_packet({"user": user, "database": "app"}))
                kinds = [client.receive()]
                assert kinds[0].payload[:4] == b"\0\0\0\x0a", "not SCRAM"
            msg = refused(pooler, user, "x")
            answers.add(tuple(value.replace(user, "USER") for value in msg.fields().values()))
        assert len(answers) == 1, answers
    for user, why in (("scramuser", "SASL authentication failed"), ("aq_expired", "it has no password that is valid"),
                      ("nobody_at_all", "no such user")):
        pooler.wait_log(f"login of user {user} failed: {why}")


def test_a_role_that_has_expired_meanwhile(make, pg):
    pooler = make(settings={"auth_query_cache_time": 0})
    with role(pg, "aq_until", "LOGIN PASSWORD 'x' VALID UNTIL '2100-01-01'") as conn:
        pooler.wire(user="aq_until", password="x").disconnect()
        conn.execute("ALTER ROLE aq_until VALID UNTIL '2020-01-01'")
        assert refused(pooler, "aq_until", "x").sqlstate == "28P01"
        conn.execute("ALTER ROLE aq_until VALID UNTIL '2100-01-01' NOLOGIN")
        assert refused(pooler, "aq_until", "x").sqlstate == "28P01"


def test_the_list_comes_first(make, pg):
    """Whom auth_file names is not looked up."""
    with counted(pg, "aq_first") as (query, calls):
        pooler = make(settings={"auth_query": query, "auth_type": "scram-sha-256"}, userlist={"scramuser": "listed"})
        assert refused(pooler, "scramuser", PASSWORDS["scramuser"]).sqlstate == "28P01"
        assert calls() == 0


@pytest.mark.sanitizer
def test_forced_user(make, pg):
    """The database's own user opens PostgreSQL; who may come in is looked up."""
    pooler = make("user=alice")
    with pooler.connect(user="scramuser", password=PASSWORDS["scramuser"]) as conn:
        assert conn.execute("SELECT current_user").fetchone() == ("alice",)
    assert refused(pooler, "scramuser", "wrong").sqlstate == "28P01"


def test_console(make, pg):
    """Its users are looked up where auth_dbname says in which database."""
    pooler = make(settings={"admin_users": "admin,scramuser"})
    assert refused(pooler, "scramuser", PASSWORDS["scramuser"], database="pgbouncer").sqlstate == "28P01"
    pooler.admin("SET auth_dbname = 'app'", password="adm")
    pooler.wire(user="scramuser", password=PASSWORDS["scramuser"], database="pgbouncer").disconnect()


def test_unknown_database(make, pg):
    """Strangers learn nothing of databases; with auth_dbname those who belong do."""
    pooler = make(settings={"auth_dbname": "app"})
    assert refused(pooler, "scramuser", "wrong", database="nodb").sqlstate == "28P01"
    assert refused(pooler, "scramuser", PASSWORDS["scramuser"], database="nodb").sqlstate == "3D000"


# ---- per database

@pytest.mark.sanitizer
def test_settings_of_a_database(make, pg):
    with counted(pg, "aq_own", f"SELECT 'caro'::text, '{scram.verifier('own')}'::text") as (query, calls):
        pooler = make(databases={
            "app": f"{pg.dsn} dbname=app user=alice",
            "own": f"{pg.dsn} dbname=app user=alice auth_query='{query}' auth_user=alice auth_dbname=app",
            "none": f"{pg.dsn} dbname=app user=alice auth_dbname=app2",
            "app2": f"{pg.dsn} dbname=app2",
        })
        pooler.wire(user="caro", password="own", database="own").disconnect()
        assert refused(pooler, "caro", "own").sqlstate == "28P01"
        pooler.wire(user="scramuser", password=PASSWORDS["scramuser"], database="none").disconnect()
        assert calls() == 1
        assert pg.backends("usename = 'alice' AND query LIKE '%aq_own%'") == 1
        assert pg.backends("usename = 'bob' AND datname = 'app2'") == 1


def test_the_same_name_in_two_databases(make, pg, own_pg):
    """Two servers know one name with two secrets: each login opens its own."""
    with own_pg.connect() as conn:
        conn.execute("ALTER ROLE scramuser PASSWORD 'other'")
    pooler = make(databases={"app": f"{pg.dsn} dbname=app", "other": f"{own_pg.dsn} dbname=app"})
    for _ in range(2):
        for database, password in (("app", PASSWORDS["scramuser"]), ("other", "other")):
            with pooler.wire(user="scramuser", password=password, database=database) as client:
                assert client.value("SELECT current_user") == "scramuser"
        own_pg.terminate_backends("usename = 'scramuser'")
        pg.terminate_backends("usename = 'scramuser'")


def test_auth_dbname_must_be_there(make_pooler):
    pooler = make_pooler(start=False, settings={"auth_user": "bob", "auth_dbname": "nodb"})
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1 and "auth_dbname = nodb: there is no such database" in done.stdout + done.stderr


# ---- answers are kept for a while

@pytest.mark.sanitizer
def test_answers_are_kept(make, pg):
    with counted(pg, "aq_kept") as (query, calls):
        pooler = make(settings={"auth_query": query, "auth_query_cache_time": 3600})
        for _ in range(5):
            pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]).disconnect()
        assert calls() == 1
        for _ in range(3):
            refused(pooler, "nobody_at_all", "x")
        assert calls("nobody%") <= 3
        pooler.admin("RELOAD", password="adm")
        pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]).disconnect()
        assert calls("scramuser") == 2


def test_each_login_asks(make, pg):
    with counted(pg, "aq_each") as (query, calls):
        pooler = make(settings={"auth_query": query, "auth_query_cache_time": 0})
        for _ in range(3):
            pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]).disconnect()
        assert calls() == 3


def test_a_changed_password(make, pg):
    """The login after one that failed with the kept secret asks anew, so a rotation is noticed at once."""
    pooler = make(settings={"auth_query_cache_time": 3600})
    with role(pg, "aq_changes", "LOGIN PASSWORD 'old'") as conn:
        pooler.wire(user="aq_changes", password="old").disconnect()
        conn.execute("ALTER ROLE aq_changes PASSWORD 'new'")

        def gets_in():
            with contextlib.suppress(ServerError):
                pooler.wire(user="aq_changes", password="new").disconnect()
                return True
        util.wait_until(gets_in, "the new password to be right", every=0.3)
        assert refused(pooler, "aq_changes", "old").sqlstate == "28P01"


@pytest.mark.sanitizer
def test_many_logins_share_one_question(make, pg):
    with counted(pg, "aq_shared", "SELECT rolname::text, rolpassword FROM pg_authid, pg_sleep(1) WHERE rolname = who") as (query, calls):
        pooler = make(settings={"auth_query": query, "auth_query_cache_time": 3600})

        def login(password):
            with contextlib.suppress(ServerError):
                pooler.wire(user="scramuser", password=password, timeout=30).disconnect()
                return True
        with concurrent.futures.ThreadPoolExecutor(20) as threads:
            results = list(threads.map(login, [PASSWORDS["scramuser"], "wrong"] * 10))
        assert results == [True, None] * 10
        assert calls() == 1


# ---- its own connections

@pytest.mark.sanitizer
def test_no_client_touches_the_connections(make, pg):
    """The user that runs the query is a client as well, whose sessions hold all of its own pool."""
    pooler = make(settings={"auth_query_cache_time": 0, "pool_mode": "session", "default_pool_size": 1})
    with pooler.wire(user="bob", password="x") as bob:
        bob.query("SET search_path TO nowhere; SET application_name TO 'evil'; CREATE TEMP TABLE pg_authid (rolname name)")
        for _ in range(3):
            pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]).disconnect()
        pids = {row["remote_pid"] for row in pooler.admin("SHOW SERVERS", password="adm") if row["user"] == "bob"}
        assert len(pids) == 2
        assert {row["user"] for row in pooler.admin("SHOW POOLS", password="adm")} >= {"bob", "bob (auth_query)"}
        assert pg.backends("usename = 'bob' AND application_name = 'evil'") == 1


@pytest.mark.sanitizer
def test_the_limits_count_them(make, pg):
    """With one connection for all, look-up and user take turns; nobody gets a second one."""
    pooler = make("max_db_connections=1", settings={"auth_query_cache_time": 0})
    stop = threading.Event()
    most = [0]

    def watch():
        with pg.connect(dbname="postgres") as conn:
            while not stop.is_set():
                n = conn.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND backend_type = 'client backend'").fetchone()[0]
                most[0] = max(most[0], n)
    before = pg.backends("datname = 'app'")
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(5):
            with pooler.wire(user="scramuser", password=PASSWORDS["scramuser"], timeout=30) as client:
                assert client.value("SELECT 1") == "1"
    finally:
        stop.set()
        watcher.join()
    assert most[0] - before <= 1


# ---- what goes wrong

@pytest.mark.parametrize("query, why", [
    ("SELECT 1", "bind message supplies 1 parameters"),
    ("SELECT rolname FROM pg_authid WHERE rolname = $1", "its answer must have two columns"),
    ("SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 OR true", "another user|more than one row"),
    ("SELECT u::text, '' FROM unnest(ARRAY[$1::text, $1]) u", "more than one row"),
    ("SELECT 'bob'::text, 'x'::text WHERE $1::text IS NOT NULL", "its answer is about another user"),
    ("SELEC $1", "syntax error"),
    ("SELECT 1/0, $1::text", "division by zero"),
], ids=["no-parameter", "one-column", "rows", "two-rows", "another", "syntax", "error"])
@pytest.mark.sanitizer
def test_a_query_that_does_not_work(make, pg, query, why):
    pooler = make(settings={"auth_query": query})
    for _ in range(2):
        assert refused(pooler, "scramuser", "x").fields() == FAILED
    pooler.wait_log(f"auth_query for user scramuser failed: .*({why})", 2)


@pytest.mark.sanitizer
def test_the_auth_user_is_refused(make, pg):
    """PostgreSQL does not let it in: said once per attempt, and not tried again and again."""
    pooler = make(settings={"auth_user": "refused", "server_login_retry": 60})
    for _ in range(5):
        assert refused(pooler, "scramuser", "x").fields() == FAILED
    pooler.wait_log("auth_query for user scramuser cannot be run: .*pg_hba.conf rejects", 5)
    assert len(pooler.log_lines("server login failed: pg_hba.conf rejects")) <= 2


@pytest.mark.sanitizer
def test_the_database_is_down(make, own_pg):
    pooler = make(databases={"app": f"{own_pg.dsn} dbname=app"}, settings={"query_wait_timeout": 1})
    own_pg.stop()
    assert refused(pooler, "scramuser", "x").fields() == FAILED
    pooler.wait_log("auth_query for user scramuser cannot be run: .*refused")
    own_pg.start()
    util.wait_until(lambda: refused(pooler, "scramuser", "x").sqlstate == "28P01", "the database to be asked again")
    pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]).disconnect()


@pytest.mark.sanitizer
def test_login_timeout_while_the_database_is_down(make, own_pg):
    pooler = make(databases={"app": f"{own_pg.dsn} dbname=app"}, settings={"client_login_timeout": 1})
    own_pg.stop()
    assert refused(pooler, "scramuser", "x").text == "client_login_timeout"
    own_pg.start()


@pytest.mark.sanitizer
def test_connections_that_have_died(make, own_pg):
    """The look-up goes on to another connection."""
    pooler = make(databases={"app": f"{own_pg.dsn} dbname=app"}, settings={"auth_query_cache_time": 0})
    for _ in range(3):
        pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]).disconnect()
        own_pg.terminate_backends()


@pytest.mark.sanitizer
def test_it_is_terminated_in_the_middle(make, pg):
    """It is asked again, but not for ever."""
    with counted(pg, "aq_killed", "SELECT rolname::text, rolpassword FROM pg_authid, pg_sleep(30) WHERE rolname = who") as (query, _):
        pooler = make(settings={"auth_query": query})
        with pooler.raw(timeout=60) as client:
            client.send(startup_packet({"user": "scramuser", "database": "app"}))
            for _ in range(3):
                pg.wait_running("aq_killed")
                pg.terminate_backends("usename = 'bob' AND query LIKE '%aq_killed%'")
            assert client.receive().fields() == FAILED
        pooler.wait_log("auth_query for user scramuser failed: terminating connection due to administrator command", 3)


@pytest.mark.sanitizer
def test_a_silent_server(make, pg):
    """The question is bounded as our own queries are; the connection goes."""
    with counted(pg, "aq_silent", "SELECT rolname::text, rolpassword FROM pg_authid, pg_sleep(60) WHERE rolname = who") as (query, _):
        pooler = make(settings={"auth_query": query, "server_connect_timeout": 1})
        assert refused(pooler, "scramuser", "x").fields() == FAILED
        pooler.wait_log("auth_query for user scramuser failed: query timeout")
        pg.terminate_backends("usename = 'bob' AND query LIKE '%aq_silent%'")


@pytest.mark.sanitizer
def test_those_who_ask_go(make, pg):
    """Whoever waits with them is served; nothing is left behind."""
    with counted(pg, "aq_gone", "SELECT rolname::text, rolpassword FROM pg_authid, pg_sleep(0.3) WHERE rolname = who") as (query, _):
        pooler = make("pool_size=1", settings={"auth_query": query, "auth_query_cache_time": 0})
        for users in (["scramuser"] * 4, ["scramuser", "md5user", "plainuser", "saslprep"]):
            gone = []
            for user in users:
                gone.append(Wire("127.0.0.1", pooler.port))
                gone[-1].send(startup_packet({"user": user, "database": "app"}))
            util.wait_until(lambda: pg.backends("wait_event = 'PgSleep'") > 0, "a look-up to be under way")
            for each in gone:
                each.reset()
            pooler.wire(user="scramuser", password=PASSWORDS["scramuser"], timeout=30).disconnect()


@pytest.mark.sanitizer
def test_kill_and_pause_meanwhile(make, pg):
    with counted(pg, "aq_kill", "SELECT rolname::text, rolpassword FROM pg_authid, pg_sleep(0.5) WHERE rolname = who") as (query, _):
        pooler = make(settings={"auth_query": query, "auth_query_cache_time": 0})
        for command in ("KILL app", "PAUSE app"):
            with pooler.raw(timeout=30) as client:
                client.send(startup_packet({"user": "scramuser", "database": "app"}))
                pg.wait_running("aq_kill")
                pooler.admin(command, password="adm")
                pooler.admin("RESUME app", password="adm")
                client.receive()
            pooler.wire(user="scramuser", password=PASSWORDS["scramuser"], timeout=30).disconnect()


@pytest.mark.sanitizer
def test_reload_changes_it(make, pg):
    pooler = make()
    pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]).disconnect()
    pooler.settings["auth_user"] = None
    pooler.write_config()
    pooler.admin("RELOAD", password="adm")
    assert refused(pooler, "scramuser", PASSWORDS["scramuser"]).sqlstate == "28P01"
    pooler.settings["auth_user"] = "alice"
    pooler.write_config()
    pooler.admin("RELOAD", password="adm")
    pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]).disconnect()


@pytest.mark.sanitizer
def test_reload_while_it_is_under_way(make, pg):
    """What was asked before counts for who asked; who comes after asks anew, and is answered for himself."""
    body = "SELECT rolname::text, rolpassword FROM pg_authid, pg_advisory_xact_lock_shared(4712) WHERE rolname = who"
    with counted(pg, "aq_before", body) as (query, calls), pg.connect() as lock, contextlib.ExitStack() as stack:
        pooler = make(settings={"auth_query": query, "auth_query_cache_time": 3600})

        def ask():
            client = stack.enter_context(pooler.raw(timeout=30))
            client.send(startup_packet({"user": "scramuser", "database": "app"}))
            return client

        lock.execute("SELECT pg_advisory_lock(4712)")
        before = [ask(), ask()]
        util.wait_until(lambda: pg.backends("wait_event_type = 'Lock' AND query LIKE '%aq_before%'") == 1, "the first question")
        pooler.admin("RELOAD", password="adm")
        pooler.admin("SHOW CLIENTS", password="adm")  # every worker has the settings when it has answered
        after = [ask(), ask()]
        util.wait_until(lambda: pg.backends("wait_event_type = 'Lock' AND query LIKE '%aq_before%'") == 2, "one more question")
        lock.execute("SELECT pg_advisory_unlock(4712)")
        assert [client.receive().kind for client in before + after] == ["R"] * 4
        pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]).disconnect()
        assert calls() == 2


# ---- over time

def test_connections_that_are_in_use_stay(make, pg):
    """pool_idle_timeout counts from the last look-up; no client is ever linked to these servers, but that is no reason."""
    pooler = make(settings={"pool_idle_timeout": 3, "auth_query_cache_time": 0})
    last, pauses, end = time.monotonic(), 0, time.monotonic() + 8
    while last < end:
        pooler.wire(user="md5user", password=PASSWORDS["md5user"]).disconnect()
        now = time.monotonic()
        pauses += now - last > 2  # a machine that is busy elsewhere
        last = now
        time.sleep(0.1)
    assert len(pooler.log_lines("app/bob@.* new connection to server")) <= 1 + pauses


def test_who_is_looked_up_keeps_nobody_who_is_silent(make, pg):
    """client_login_timeout ends who says no more, however many look-ups end meanwhile and whoever waits after one."""
    pooler = make(settings={"client_login_timeout": 3 * util.PATIENCE})
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(pooler.raw(timeout=0.1)) for _ in range(8)]
        for client in silent:
            client.send(b"\0")  # else it would not be accepted yet
        began = time.monotonic()
        for client in silent:
            for n in itertools.count():
                later = stack.enter_context(pooler.raw(timeout=10))
                later.send(startup_packet({"user": f"aq_{id(client)}_{n}", "database": "app"}))
                assert later.receive().kind == "R"
                assert time.monotonic() - began < 10 * util.PATIENCE, "it has not been ended"
                try:
                    client.receive()
                    break
                except TimeoutError:
                    continue
        assert time.monotonic() - began >= 3


def test_who_cannot_be_anybody_is_not_looked_up(make, pg):
    """No user has so long a name, and what strangers say would be remembered."""
    with counted(pg, "aq_long") as (query, calls):
        pooler = make(settings={"auth_query": query})
        refusal = refused(pooler, "u" * 128, "x")
        assert refusal.sqlstate == "28P01" and calls() == 0
        assert refused(pooler, "u" * 127, "x").sqlstate == "28P01" and calls() == 1


@pytest.mark.slow
@pytest.mark.timeout(600 * max(1, util.PATIENCE))
def test_made_up_databases_are_not_remembered_for_ever(make, fake, pg):
    """With the * line each name that a stranger says has a pool, before anybody has proved who he is; and pools stay."""
    def script(conn):
        name = conn.read_startup()["database"]
        conn.send(error("3D000", f'database "{name}" does not exist'))

    pooler = make(databases={"app": f"{pg.dsn} dbname=app", "*": fake(script).dsn}, settings={"auth_failure_delay": 0, "verbose": 0,
                                                                                             "log_connections": 0, "log_disconnections": 0})
    for n in range(1001):
        with pooler.raw(timeout=30) as client:
            client.send(startup_packet({"user": "scramuser", "database": f"made_up_{n}"}))
            assert client.receive().kind == "E"
    pooler.wait_log('auth_query is not run in database "made_up_1000": 1000 databases of the \\* line could not be reached')
    assert len(pooler.admin("SHOW POOLS", password="adm")) < 1010
    pooler.wire(user="scramuser", password=PASSWORDS["scramuser"]).disconnect()

    # those that nobody asks for go, and others have their places
    pooler.settings["autodb_idle_timeout"] = 1
    pooler.write_config()
    pooler.admin("RELOAD", password="adm")

    def is_looked_up():
        with pooler.raw(timeout=30) as client:
            client.send(startup_packet({"user": "scramuser", "database": "one_more"}))
            assert client.receive().kind == "E"
        return pooler.log_lines('database "one_more" does not exist')
    util.wait_until(is_looked_up, "a place for one more", 60)
