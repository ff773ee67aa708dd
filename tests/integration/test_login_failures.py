"""Guessing passwords is slow, and ends: auth_failure_delay, auth_failure_limit, auth_failure_period."""
import contextlib
import time

import pytest

from harness import util
from harness.postgres import PASSWORDS
from harness.wire import ServerError, Wire, startup_packet

pytestmark = pytest.mark.own


def attempt(pooler, user="app", password="wrong", source="127.0.0.1", timeout=30):
    """The error, or None when it got in."""
    with Wire("127.0.0.1", pooler.port, timeout=timeout * util.PATIENCE, source=source) as client:
        try:
            client.login(user, "app", password)
        except ServerError as error:
            return error.msg
    return None


@pytest.fixture
def make(make_pooler, pg):
    def start(**settings):
        return make_pooler(databases={"app": f"{pg.dsn} dbname=app user=bob"}, userlist={"app": "x", "alice": "y", "admin": "adm"},
                           settings={"auth_type": "scram-sha-256", **settings})
    return start


@pytest.mark.sanitizer
def test_the_second_failure_is_held_back(make):
    pooler = make(auth_failure_delay=2)
    attempt(pooler)
    for user, password, least in (("app", "wrong", 2), ("alice", "y", 0), ("app", "x", 0), ("app", "wrong", 0), ("app", "wrong", 2)):
        began = time.monotonic()
        attempt(pooler, user, password)
        took = time.monotonic() - began
        assert took >= least, (user, password)
    assert attempt(pooler, "app", "x") is None


@pytest.mark.sanitizer
def test_who_guesses_is_blocked(make):
    """User and address together; the right password is not right any more; another address is not concerned."""
    pooler = make(auth_failure_delay=0, auth_failure_limit=5, auth_failure_period=3600)
    answers = {str(attempt(pooler).fields()) for _ in range(8)}
    answers.add(str(attempt(pooler, password="x").fields()))
    assert len(answers) == 1
    assert attempt(pooler, "app", "x", source="127.0.0.2") is None
    assert attempt(pooler, "alice", "y") is None
    assert len(pooler.wait_log("address 127.0.0.1, user app: 5 failed logins, blocked for 3600 s")) == 1
    assert len(pooler.wait_log("failed for user \"app\"", 2 * 5)) == 2 * 5  # each error, and each end; no more once it is blocked
    util.wait_until(lambda: [row["count"] for row in pooler.admin("SHOW ERRORS", password="adm") if row["name"] == "login_blocked"] == [4],
                    "the refusals to be counted")
    pooler.admin("RELOAD", password="adm")
    assert attempt(pooler, "app", "x") is None


def test_a_block_ends(make):
    pooler = make(auth_failure_delay=0, auth_failure_limit=2, auth_failure_period=2)
    began = time.monotonic()
    while attempt(pooler, password="x") is None:
        attempt(pooler)
        attempt(pooler)
        assert time.monotonic() - began < 60 * util.PATIENCE
    util.wait_until(lambda: attempt(pooler, password="x") is None, "the block to end")


@pytest.mark.sanitizer
def test_an_address_that_tries_many_users(make):
    pooler = make(auth_failure_delay=0, auth_failure_limit=3, auth_failure_period=3600)
    for number in range(15):
        attempt(pooler, f"guess{number}")
    assert attempt(pooler, "alice", "y").sqlstate == "28P01"
    assert attempt(pooler, "alice", "y", source="127.0.0.2") is None
    assert len(pooler.wait_log("address 127.0.0.1: 15 failed logins of several users, blocked for 3600 s")) == 1


def test_no_limit(make):
    pooler = make(auth_failure_delay=0, auth_failure_limit=0)
    for _ in range(30):
        attempt(pooler)
    assert attempt(pooler, "app", "x") is None


@pytest.mark.sanitizer
def test_many_that_are_held_back(make):
    """They take bounded room; those who belong get in meanwhile; and who hangs up is let go."""
    pooler = make(auth_failure_delay=3600, auth_failure_limit=0, client_login_timeout=0, max_client_conn=400, auth_type="plain")
    attempt(pooler)
    guessers = []
    for _ in range(350):
        guessers.append(Wire("127.0.0.1", pooler.port, timeout=30 * util.PATIENCE))
        guessers[-1].send(startup_packet({"user": "app", "database": "app"}) + b"p\0\0\0\x0awrong\0")
    assert attempt(pooler, "alice", "y") is None

    told = 0
    for each in guessers:
        each.sock.settimeout(0.05)
        with contextlib.suppress(OSError):
            told += each.receive().kind == "R" and each.receive().kind == "E"
    assert told >= 350 - 256
    for each in guessers:
        each.disconnect()
    util.wait_until(lambda: attempt(pooler, "alice", "y") is None, "a place")


@pytest.mark.sanitizer
def test_a_blocked_user_is_not_looked_up(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app"}, userlist={"bob": "x", "admin": "adm"}, settings={
        "auth_type": "scram-sha-256", "auth_user": "bob", "auth_query_cache_time": 0, "auth_failure_delay": 0, "auth_failure_limit": 2,
        "auth_failure_period": 3600, "log_connections": 1})
    for _ in range(3):
        attempt(pooler, "scramuser")
    assert attempt(pooler, "scramuser", PASSWORDS["scramuser"]).sqlstate == "28P01"
    pg.terminate_backends("usename = 'bob'")
    before = len(pooler.log_lines("app/bob@.*new connection to server"))
    assert attempt(pooler, "scramuser", PASSWORDS["scramuser"]).sqlstate == "28P01"
    assert len(pooler.log_lines("app/bob@.*new connection to server")) == before
    assert attempt(pooler, "scramuser", PASSWORDS["scramuser"], source="127.0.0.2") is None
