"""A database that cannot be reached: it is tried on, and the log, the console and /readyz?databases say so."""
import urllib.error
import urllib.request

import psycopg
import pytest

from harness.fakeserver import error
from harness.util import PATIENCE, free_port, wait_until

pytestmark = [pytest.mark.own, pytest.mark.sanitizer]


def make(make_pooler, **kwargs):
    return make_pooler(settings={"http_listen": free_port(), "query_wait_timeout": 1, "client_login_timeout": 3,
                                 "server_login_retry": 2, "server_tls_sslmode": "disable", **kwargs.pop("settings", {})}, **kwargs)


def databases(pooler):
    """(status, lines) of /readyz?databases."""
    url = f"http://127.0.0.1:{pooler.settings['http_listen']}/readyz?databases"
    try:
        with urllib.request.urlopen(url, timeout=10 * PATIENCE) as answer:
            return answer.status, answer.read().decode().splitlines()
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read().decode().splitlines()


def row(pooler, name="app"):
    return next((r["unreachable"], r["last_error"]) for r in pooler.show("DATABASES") if r["name"] == name)


def goes_away(pooler, postgres):
    """PostgreSQL stops under a client, and another one does not get in."""
    with pooler.connect() as conn:
        conn.execute("SELECT 1")
        assert row(pooler) == (0, None) and databases(pooler)[0] == 200
        postgres.stop()
        with pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        with pooler.connect() as conn:
            conn.execute("SELECT 1")


def test_outage_is_said_and_ends_by_itself(make_pooler, own_pg):
    """Nobody waits any more when the database comes back: it is found out all the same."""
    pooler = make(make_pooler, postgres=own_pg)
    goes_away(pooler, own_pg)
    pooler.wait_log(f'WARNING database "app" cannot be reached: .*port {own_pg.port}.*; trying on')
    lasts, why = row(pooler)
    assert lasts > 0 and "Connection refused" in why
    wait_until(lambda: row(pooler)[0] > lasts, "time to pass")
    status, lines = databases(pooler)
    assert status == 503 and any(line.startswith("app: ") and "Connection refused" in line for line in lines), lines
    own_pg.start()
    pooler.wait_log('LOG database "app" can be reached again, after [0-9]+ s', timeout=40)
    assert row(pooler) == (0, None)
    assert (200, "app: ok") == (databases(pooler)[0], databases(pooler)[1][1])
    # not more often than once a minute
    assert len(pooler.log_lines("cannot be reached")) == 1


def test_a_refusal_is_no_outage(make_pooler, fake):
    """PostgreSQL answers: the console shows what it says, and it is not asked again and again by ourselves."""
    def script(conversation):
        conversation.read_startup()
        conversation.send(error("28P01", "password authentication failed"))

    server = fake(script)
    pooler = make(make_pooler, databases={"app": server.dsn})
    with pytest.raises(psycopg.OperationalError):
        pooler.connect()
    wait_until(lambda: row(pooler)[1], "the error")
    assert row(pooler)[0] == 0 and "password authentication failed" in row(pooler)[1]
    assert not pooler.log_lines("cannot be reached")


def test_a_database_of_the_star_entry(make_pooler, own_pg):
    """It is asked about as well, once a client has made it; a name that PostgreSQL does not know is nobody's outage."""
    with own_pg.connect() as conn:
        conn.execute("CREATE DATABASE closed")
        conn.execute("REVOKE CONNECT ON DATABASE closed FROM public")
    pooler = make(make_pooler, postgres=own_pg, databases={"*": own_pg.dsn}, userlist={"limited": ""}, settings={"query_wait_timeout": 5})
    assert databases(pooler)[0] == 200
    for name, user in (("nosuch", "app"), ("template0", "app"), ("closed", "limited")):
        with pytest.raises(psycopg.OperationalError):
            pooler.connect(dbname=name, user=user)
        assert name in (row(pooler, name)[1] or "")
        assert databases(pooler)[0] == 200
    goes_away(pooler, own_pg)
    wait_until(lambda: databases(pooler)[0] == 503, "the outage")
    assert row(pooler)[0] > 0
    lines = databases(pooler)[1]
    assert lines[0] == "pgsluice: ok" and [line.split(":")[0] for line in lines[1:]] == ["app"] and "Connection refused" in lines[1], lines
    own_pg.start()
    pooler.wait_log('LOG database "app" can be reached again', timeout=40)
    wait_until(lambda: databases(pooler)[0] == 200, "the end of the outage")
    pooler.admin("DISABLE app")
    assert (503, "app: disabled") == (databases(pooler)[0], databases(pooler)[1][1])


def test_unused_is_not_unreachable(make_pooler, own_pg):
    """The last server was closed since nobody needed it: each question opens it again, and the answer is yes all the while."""
    pooler = make(make_pooler, postgres=own_pg, databases={"app": f"{own_pg.dsn} dbname=app user=app"},
                  settings={"server_idle_timeout": 1})
    assert databases(pooler)[0] == 200

    answers = []

    def is_opened():
        answers.append(databases(pooler))
        return pooler.pool()["sv_idle"] == 1

    for _ in range(3):
        wait_until(lambda: pooler.pool()["sv_idle"] == 0, "server_idle_timeout")
        wait_until(is_opened, "the server that a question opens")
    assert all(answer == (200, ["pgsluice: ok", "app: ok"]) for answer in answers), answers
    own_pg.stop()
    wait_until(lambda: databases(pooler)[0] == 503, "an attempt that fails")


def test_the_first_answer_after_a_pause(make_pooler, own_pg):
    """It has closed all servers, and what became of the database meanwhile is not known: the question waits until it is."""
    pooler = make(make_pooler, postgres=own_pg, databases={"app": f"{own_pg.dsn} dbname=app user=app"})
    assert databases(pooler) == (200, ["pgsluice: ok", "app: ok"])  # nobody has asked for a server before
    for _ in range(3):
        pooler.admin("PAUSE app")
        assert databases(pooler) == (503, ["pgsluice: ok", "app: paused"])
        pooler.admin("RESUME app")
        assert databases(pooler) == (200, ["pgsluice: ok", "app: ok"])
    pooler.admin("PAUSE app")
    own_pg.stop()
    pooler.admin("RESUME app")
    status, lines = databases(pooler)
    assert status == 503 and "Connection refused" in lines[1], lines


def test_a_question_does_not_wait_for_ever(make_pooler, fake):
    """A server that says nothing leaves it open."""
    server = fake(lambda conversation: conversation.hang())
    pooler = make(make_pooler, databases={"app": f"{server.dsn} user=app"})
    assert databases(pooler) == (503, ["pgsluice: ok", "app: connecting"])


def test_the_log_of_an_outage_is_short(make_pooler, own_pg):
    """Each attempt fails alike, and only the first is worth a line, besides what is said of the outage itself."""
    pooler = make(make_pooler, postgres=own_pg, settings={"verbose": 0})
    with pooler.connect() as conn:
        conn.execute("SELECT 1")
    own_pg.stop()
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError):
            with pooler.connect() as conn:
                conn.execute("SELECT 1")
    pooler.wait_log('WARNING database "app" cannot be reached')
    attempts = pooler.closes("connect_failed")
    wait_until(lambda: pooler.closes("connect_failed") > max(attempts, 3), "attempts that fail", 40)
    assert len(pooler.log_lines(r"WARNING S-\d+: .*server login failed: .*Connection refused")) == 1
    assert len(pooler.log_lines(r"S-\d+: .*closing because: connect failed")) == 1
    own_pg.start()
    pooler.wait_log('LOG database "app" can be reached again', timeout=40)
    assert len(pooler.log_lines("cannot be reached")) == 1
