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
                                 "server_tls_sslmode": "disable", **kwargs.pop("settings", {})}, **kwargs)


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


def test_outage_is_said_and_ends_by_itself(make_pooler, own_pg):
    """Nobody waits any more when the database comes back: it is found out all the same."""
    pooler = make(make_pooler, postgres=own_pg)
    with pooler.connect() as conn:
        conn.execute("SELECT 1")
        assert row(pooler) == (0, None)
        own_pg.stop()
        with pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        with pooler.connect() as conn:
            conn.execute("SELECT 1")
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
