"""Guessing passwords is slow, and ends: auth_failure_delay, auth_failure_limit, auth_failure_period."""
import contextlib
import time

import pytest

from harness import scram, util
from harness.load import Load, Visitors
from harness.postgres import PASSWORDS
from harness.wire import ServerError, Wire, cstr, md5_answer, message, startup_packet

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


# ---- an attack while others work -------------------------------------------------------------------------------

ATTACKER = "127.0.0.3"


class Guess:
    """A login that has got as far as its password."""

    def __init__(self, pooler, user, password):
        self.wire = Wire("127.0.0.1", pooler.port, timeout=60 * util.PATIENCE, source=ATTACKER)
        self.wire.send(startup_packet({"user": user, "database": "app"}))
        asked = self.wire.receive()
        assert asked.kind == "R", asked
        if asked.payload[:4] == b"\0\0\0\5":
            self.last = md5_answer(user, password, asked.payload[4:])
            return
        exchange = scram.Client(password)
        self.wire.send_sasl("SCRAM-SHA-256", exchange)
        self.last = message("p", exchange.final(self.wire.receive().payload[4:]))

    def send(self):
        self.wire.send(self.last)


def n_answered(guesses):
    return sum(not guess.wire.silent_for(0.001) for guess in guesses)


@pytest.mark.sanitizer
@pytest.mark.parametrize("method", ["scram-sha-256", "md5"])
@pytest.mark.parametrize("n_users", [1, 50])
def test_an_attack_under_load(make, method, n_users):
    """Many logins that were all begun before the first has failed are no more guesses than one after the other. Who
    belongs is served all the while, and gets in."""
    limit = 10
    allowed, who = (limit, ", user app: 10 failed logins") if n_users == 1 else (5 * limit, ": 50 failed logins of several users")
    pooler = make(auth_type=method, auth_failure_delay=3600, auth_failure_limit=limit, auth_failure_period=3600, client_login_timeout=0)
    pooler.login_with = {"password": "adm"}
    at_once = min(n_users, 5)  # the first failure of each user, as long as the address has few

    def goes_on():
        steady.more(50)
        others.more(5)
        assert not steady.errors and not others.errors

    with Load(pooler, 2, password="x") as steady, Visitors(pooler, 2, password="x", source="127.0.0.2") as others:
        wrong = [Guess(pooler, f"guess{n % n_users}" if n_users > 1 else "app", f"wrong{n}") for n in range(allowed + 20)]
        right = [Guess(pooler, "app", "x") for _ in range(5)]
        for guess in wrong[:allowed]:
            guess.send()
        pooler.wait_log(f"address {ATTACKER}{who}, blocked for 3600 s")
        goes_on()
        util.wait_until(lambda: n_answered(wrong[:allowed]) == at_once, "the first of each user to be told")
        refused = wrong[allowed:] + right
        for guess in refused:
            guess.send()
        assert {guess.wire.receive().sqlstate for guess in refused} == {"28P01"}
        assert {attempt(pooler, password=password, source=ATTACKER).sqlstate for password in ("x", "wrong") * 20} == {"28P01"}
        goes_on()
        assert n_answered(wrong[:allowed]) == at_once  # the others are held back still
        util.wait_until(lambda: pooler.closes("login_blocked") == len(refused) + 40, "the refusals to be counted")
        goes_on()
    assert len(pooler.log_lines(f"{ATTACKER}.*blocked for")) == 1
    for guess in wrong + right:
        guess.wire.disconnect()
