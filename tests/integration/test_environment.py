"""Configuration by environment variables alone, as in a container."""
import os
import re
import socket
import urllib.error
import urllib.parse
import urllib.request

import psycopg
import pytest

from harness import util
from harness.pooler import Pooler
from harness.postgres import PASSWORDS
from harness.util import free_port, wait_until
from harness.wire import ServerError, startup_packet

pytestmark = pytest.mark.own


class Bare(Pooler):
    """A pooler without a configuration file."""

    def __init__(self, postgres, workers, env):
        super().__init__(postgres, workers)
        self.env = {"PGSLUICE_LISTEN_PORT": str(self.port), "PGSLUICE_UNIX_SOCKET_DIR": self.directory,
                    "PGSLUICE_HTTP_LISTEN": "", "PGSLUICE_WORKERS": str(workers), **env}

    def command(self, *arguments):
        return super().command(*(each for each in arguments if not each.endswith(".ini")))


@pytest.fixture
def bare(pg, workers):
    poolers = []

    def make(env, start=True, postgres=pg):
        poolers.append(Bare(postgres, workers, env))
        return poolers[-1].start() if start else poolers[-1]
    yield make
    problems = [problem for problem in [each.stop() for each in poolers] if problem]
    for each in poolers:
        each.destroy()
    assert not problems, problems


def url(pg, user="scramuser", database="app", password=None, **parameters):
    password = urllib.parse.quote(PASSWORDS[user] if password is None else password, safe="")
    query = "?" + urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote) if parameters else ""
    return f"postgres://{user}:{password}@127.0.0.1:{pg.port}/{database}{query}"


@pytest.mark.sanitizer
@pytest.mark.parametrize("user", ["scramuser", "md5user", "plainuser"])
def test_a_url_alone_is_enough(bare, pg, user):
    """Clients log in by SCRAM with the URL's user and password, whatever PostgreSQL asks of the pooler."""
    pooler = bare({"DATABASE_URL": url(pg, user)})
    with pooler.connect("app", user, password=PASSWORDS[user]) as conn:
        assert conn.execute("SELECT current_user, current_database()").fetchone() == (user, "app")
    for wrong in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError):
            pooler.connect("app", user, password=wrong)
    with pytest.raises(ServerError):
        pooler.wire("alice", "app", "x")
    with pooler.raw() as client:
        client.send(startup_packet({"user": user, "database": "app"}))
        assert client.receive().payload[:4] == b"\0\0\0\x0a", "SASL is asked for, always"
    with pytest.raises(ServerError) as refused:
        pooler.wire(user, "app2", PASSWORDS[user])
    assert refused.value.sqlstate == "3D000"


def test_parameters_of_the_url(bare, pg, certs):
    pooler = bare({"DATABASE_URL": url(pg, sslmode="verify-full", sslrootcert=certs.ca, application_name="by url").replace("127.0.0.1", "localhost")})
    with pooler.connect("app", "scramuser", password=PASSWORDS["scramuser"]) as conn:
        assert conn.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)


def test_options_of_the_url(bare, pg):
    """As a hosted PostgreSQL asks for them: in the start-up packet, so that RESET comes back to them."""
    pooler = bare({"DATABASE_URL": url(pg, options="-c search_path=elsewhere -c work_mem=7MB"), "PGSLUICE_DEFAULT_POOL_SIZE": "1"})
    with pooler.connect("app", "scramuser", password=PASSWORDS["scramuser"], autocommit=True) as conn:
        assert conn.execute("SHOW search_path").fetchone() == ("elsewhere",)
        conn.execute("SET work_mem = '9MB'")
    with pooler.connect("app", "scramuser", password=PASSWORDS["scramuser"]) as conn:
        assert conn.execute("SHOW work_mem").fetchone() == ("7MB",)
    with pooler.connect("app", "scramuser", password=PASSWORDS["scramuser"], options="-c work_mem=5MB") as conn:
        assert conn.execute("SHOW work_mem").fetchone() == ("5MB",), "what a client asks for counts more"
        assert conn.execute("SHOW search_path").fetchone() == ("elsewhere",)


def test_several_urls(bare, pg):
    pooler = bare({"DATABASE_URLS": url(pg) + "," + url(pg, "md5user", "app2")})
    for user, database in (("scramuser", "app"), ("md5user", "app2")):
        with pooler.connect(database, user, password=PASSWORDS[user]) as conn:
            assert conn.execute("SELECT current_user").fetchone() == (user,)


def test_auth_type_of_another_image_makes_nothing_weaker(bare, pg):
    """AUTH_TYPE=md5 is an image's default; the password is known, so that SCRAM is asked for all the same."""
    def asked(pooler):
        with pooler.raw() as client:
            client.send(startup_packet({"user": "scramuser", "database": "app"}))
            return client.receive().payload[:4]
    pooler = bare({"DATABASE_URL": url(pg), "AUTH_TYPE": "md5"})
    assert asked(pooler) == b"\0\0\0\x0a"
    pooler.connect("app", "scramuser", password=PASSWORDS["scramuser"]).close()
    assert asked(bare({"DATABASE_URL": url(pg), "PGSLUICE_AUTH_TYPE": "md5"})) == b"\0\0\0\x05", "said deliberately"


def test_variables_of_other_images(bare, pg):
    pooler = bare({"DB_HOST": "127.0.0.1", "DB_PORT": str(pg.port), "DB_USER": "scramuser", "DB_PASSWORD": PASSWORDS["scramuser"],
                   "POOL_MODE": "transaction", "DEFAULT_POOL_SIZE": "3", "ADMIN_USERS": "root", "ADMIN_PASSWORD": "top secret"})
    for database in ("app", "app2"):
        with pooler.connect(database, "scramuser", password=PASSWORDS["scramuser"]) as conn:
            assert conn.execute("SELECT current_database()").fetchone() == (database,)
    rows = {row["key"]: row for row in pooler.admin("SHOW CONFIG", user="root", password="top secret")}
    assert (rows["pool_mode"]["value"], rows["pool_mode"]["source"]) == ("transaction", "variable POOL_MODE")
    assert rows["listen_port"]["source"] == "variable PGSLUICE_LISTEN_PORT"
    with pytest.raises(psycopg.OperationalError):
        pooler.admin("SHOW CONFIG", user="scramuser", password=PASSWORDS["scramuser"])


def test_users_are_looked_up_with_pgschema(bare, own_pg):
    """As an operator's pooler does: PGUSER may log in, and asks PGSCHEMA.user_lookup() for everybody else's password."""
    with own_pg.connect() as conn:
        conn.execute("CREATE SCHEMA pooler; GRANT USAGE ON SCHEMA pooler TO plainuser")
        conn.execute("CREATE FUNCTION pooler.user_lookup(who text, OUT uname text, OUT phash text) RETURNS record LANGUAGE sql SECURITY DEFINER AS "
                     "$$ SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = who $$")
    pooler = bare({"PGHOST": "127.0.0.1", "PGPORT": str(own_pg.port), "PGUSER": "plainuser", "PGPASSWORD": PASSWORDS["plainuser"],
                   "PGSCHEMA": "pooler"}, postgres=own_pg)
    for user in ("plainuser", "scramuser"):
        with pooler.connect("app", user, password=PASSWORDS[user]) as conn:
            assert conn.execute("SELECT current_user").fetchone() == (user,)
        with pytest.raises(psycopg.OperationalError):
            pooler.connect("app", user, password="wrong")


@pytest.mark.sanitizer
def test_a_password_in_a_file_is_read_again_by_reload(bare, pg):
    pooler = bare({}, start=False)
    path = util.write_file(pooler.path("password"), PASSWORDS["scramuser"] + "\n", 0o600)
    pooler.env.update({"DATABASE_URL": f"postgres://scramuser@127.0.0.1:{pg.port}/app", "DB_PASSWORD_FILE": path})
    pooler.start()
    pooler.connect("app", "scramuser", password=PASSWORDS["scramuser"]).close()
    util.write_file(path, "another", 0o600)
    pooler.send_signal(1)
    pooler.wait_log("got SIGHUP")

    def is_refused():
        try:
            pooler.connect("app", "scramuser", password=PASSWORDS["scramuser"]).close()
            return False
        except psycopg.OperationalError:
            return True
    wait_until(is_refused, "the old password to be refused")
    os.unlink(path)
    pooler.send_signal(1)
    pooler.wait_log("variable DB_PASSWORD_FILE: cannot read")
    pooler.wait_log("reload failed: the settings in force stay")
    assert pooler.is_running()


def test_nothing_secret_is_said(bare, pg):
    pooler = bare({"DATABASE_URL": url(pg, password="S3CRET"), "PGSLUICE_VERBOSE": "2", "PGSLUICE_NOVELTY": "S3CRET",
                   "ADMIN_USERS": "root", "ADMIN_PASSWORD": "S3CRET2"})
    with pytest.raises((psycopg.OperationalError, ServerError)):
        pooler.wire("scramuser", "app", "S3CRET").query("SELECT 1")
    rows = pooler.admin("SHOW CONFIG", user="root", password="S3CRET2") + pooler.admin("SHOW DATABASES", user="root", password="S3CRET2")
    assert "S3CRET" not in str(rows)
    printed = pooler.run("--print-config")
    assert printed.returncode == 0 and "; variable DATABASE_URL\n" in printed.stdout and "***" in printed.stdout
    assert "PGSLUICE_NOVELTY names no setting" in pooler.log()
    assert "S3CRET" not in pooler.log() + printed.stdout + printed.stderr


@pytest.mark.parametrize("env, says", [
    ({}, "set DATABASE_URL="),
    ({"DATABASE_URL": "postgres://u:S3CRET@h:port/d"}, "variable DATABASE_URL: the port"),
    ({"DATABASE_URL_FILE": "/no/such/file"}, 'variable DATABASE_URL_FILE: cannot read "/no/such/file"'),
    ({"DATABASE_URL": "postgres://u@h/d"}, "no password is known"),
    ({"DATABASE_URL": "postgres://u@h/d", "DB_PASSWORD_FILE": "/no/such"}, 'variable DB_PASSWORD_FILE: cannot read "/no/such"'),
    ({"DATABASE_URL": "S3CRET"}, "variable DATABASE_URL: it does not begin with postgres://"),
    ({"DATABASE_URL": "postgres://u:S3%CRET@h/d"}, "variable DATABASE_URL: in the password, a % is not followed"),
    ({"DATABASE_URL": "postgres://u:S3CRET@h/d?sslmode=S3CRET"}, "variable DATABASE_URL: the parameter sslmode"),
    ({"DATABASE_URLS": "postgres://u:p@h/d;postgres://u:S3CRET@h2/e"}, "variable DATABASE_URLS: the name of the database"),
    ({"DATABASE_URL": "postgres://u:12?S3CRET@h/d"}, "variable DATABASE_URL: a parameter has a name"),
    ({"DATABASE_URL": "postgres://u:S3CRET@h/d", "AUTH_TYPE": "trust"},
     "variable AUTH_TYPE: trust would let everybody in without a password: unset it, or say it with PGSLUICE_AUTH_TYPE=trust"),
    ({"DATABASE_URL": "postgres://u:S3CRET@h/d", "PGBOUNCER_AUTH_TYPE": "any"}, "variable PGBOUNCER_AUTH_TYPE: any would"),
    ({"DATABASE_URL": "postgres://u:S3CRET@h/d", "PGSLUICE_POOL_MODE_FILE": "/no/such"},
     'variable PGSLUICE_POOL_MODE_FILE: cannot read "/no/such"'),
    ({"DATABASE_URL": "postgres://u:S3CRET@h/d", "PGSLUICE_MAX_CLIENT_CONN": "lots"}, "variable PGSLUICE_MAX_CLIENT_CONN: "),
])
def test_mistakes_are_named(bare, env, says):
    pooler = bare(env, start=False)
    done = pooler.run()
    assert done.returncode == 1 and says in done.stderr and "S3CRET" not in done.stderr, done.stderr


def test_a_port_in_use_names_the_variable(bare, pg):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = bare({"DATABASE_URL": url(pg), "PGSLUICE_LISTEN_PORT": str(port)}, start=False).run()
        assert done.returncode == 1
        assert re.search(f"port {port}: Address already in use; use another place, .*listen_port by: variable PGSLUICE_LISTEN_PORT",
                         done.stderr), done.stderr
        done = bare({"DATABASE_URL": url(pg), "PGSLUICE_HTTP_LISTEN": str(port)}, start=False).run()
        assert done.returncode == 1
        assert re.search(rf"http_listen \(variable PGSLUICE_HTTP_LISTEN\): .*port {port}: Address already in use; set it to another port",
                         done.stderr), done.stderr


def test_a_socket_that_cannot_be_made_names_the_variable(bare, pg):
    done = bare({"DATABASE_URL": url(pg), "PGSLUICE_UNIX_SOCKET_DIR": "/no/such"}, start=False).run()
    assert done.returncode == 1
    assert re.search("/no/such/.*; use another place, .*unix_socket_dir by: variable PGSLUICE_UNIX_SOCKET_DIR", done.stderr), done.stderr


def test_metrics_port_and_our_own_variable(bare, pg):
    """As with each setting: PGSLUICE_<SETTING> counts, which the image sets; both are named. Alone METRICS_PORT says where."""
    ours, theirs = free_port(), free_port()

    def answers(port):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=10 * util.PATIENCE) as answer:
                return answer.status == 200
        except urllib.error.URLError:
            return False
    pooler = bare({"DATABASE_URL": url(pg), "PGSLUICE_HTTP_LISTEN": f"*:{ours}", "METRICS_PORT": str(theirs)})
    assert answers(ours) and not answers(theirs)
    assert pooler.log_lines("variable PGSLUICE_HTTP_LISTEN and variable METRICS_PORT disagree about http_listen: "
                            "variable PGSLUICE_HTTP_LISTEN counts")
    alone = bare({"DATABASE_URL": url(pg), "METRICS_PORT": str(theirs)}, start=False)
    del alone.env["PGSLUICE_HTTP_LISTEN"]
    alone.start()
    assert answers(theirs)
    off = bare({"DATABASE_URL": url(pg), "METRICS_PORT": str(free_port()), "ENABLE_METRICS": "false"}, start=False)
    del off.env["PGSLUICE_HTTP_LISTEN"]
    off.start()
    assert not answers(off.env["METRICS_PORT"])
    wrong = bare({"DATABASE_URL": url(pg), "METRICS_PORT": "nan"}, start=False)
    del wrong.env["PGSLUICE_HTTP_LISTEN"]
    done = wrong.run()
    assert done.returncode == 1 and "variable METRICS_PORT: " in done.stderr


def test_a_file_makes_the_families_silent(make_pooler, pg):
    pooler = make_pooler(env={"DATABASE_URL": "nonsense", "AUTH_TYPE": "md5", "DB_HOST": "nowhere", "PGSLUICE_DEFAULT_POOL_SIZE": "2"})
    assert pooler.config("auth_type") == "trust" and pooler.config("default_pool_size") == "2"
    pooler.wire().disconnect()
    assert not pooler.log_lines("DATABASE_URL|DB_HOST")


def test_an_unreachable_database_is_tried_until_it_is_there(bare, own_pg):
    own_pg.stop()
    port = free_port()
    pooler = bare({"DATABASE_URL": url(own_pg), "PGSLUICE_HTTP_LISTEN": str(port), "PGSLUICE_SERVER_LOGIN_RETRY": "1"}, postgres=own_pg)

    def ready(what=""):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz{what}", timeout=10 * util.PATIENCE) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
    assert ready() == 200
    assert ready("?databases") == 503
    pooler.wait_log("WARNING .*Connection refused")
    own_pg.start()
    wait_until(lambda: ready("?databases") == 200, "the database to be served", 20)
    pooler.connect("app", "scramuser", password=PASSWORDS["scramuser"]).close()
