"""PAM: auth_type = pam and the method pam of rules, with the real libpam and a module of ours (harness/pam)."""
import contextlib
import signal
import socket
import threading
import time

import psycopg
import pytest

from harness import util
from harness.pam import Pam
from harness.passwords import UNAVAILABLE, attempt, begin, make_checking, wrong
from harness.postgres import PASSWORDS
from harness.wire import Wire

pytestmark = pytest.mark.own

USERS = {
    "app": ("app secret", "ok"), "alice": ("alice secret", "ok"), "admin": ("console secret", "ok"),
    "expired": ("old secret", "expired"), "newpassword": ("old secret", "newpassword"), "slow": ("slow secret", "delay"),
    "talker": ("loud secret", "error"), "asker": ("odd secret", "echo"), "stuck": ("stuck secret", "hang"), "pausing": ("pausing secret", "hang"),
    **{user: (PASSWORDS[user], "ok") for user in ("plainuser", "md5user", "scramuser")},
}


@pytest.fixture
def pam():
    services = Pam(USERS)
    services.service("pgbouncer")
    yield services
    services.destroy()


@pytest.fixture
def make(make_pooler, pg, pam):
    """A pooler with auth_type = pam, see make_checking()."""
    def start(rules=None, env=None, **kwargs):
        return make_checking(make_pooler, pg, {"auth_type": "pam"}, rules, env={**pam.environment(), **(env or {})}, **kwargs)
    return start


def lists(pooler, password="console secret"):
    return {row["list"]: row["items"] for row in pooler.admin("SHOW LISTS", password=password)}


# ---- who gets in

@pytest.mark.parametrize("user, password, why", [
    ("app", "app secret", None),
    ("app", "app secre", "pam_authenticate: Authentication failure"),
    ("nobody", "app secret", "pam_authenticate: User not known to the underlying authentication module"),
    ("app", "", None),
    ("expired", "old secret", "pam_acct_mgmt: User account has expired"),
    ("newpassword", "old secret", "pam_acct_mgmt: Authentication token is no longer valid; new one required"),
    ("talker", "wrong", r"pam_authenticate: Authentication failure \(the moon is wrong\)"),
    ("talker", "loud secret", None),
    ("asker", "odd secret", r"pam_authenticate: Conversation error \(a module asks what cannot be answered\)"),
], ids=["right", "wrong", "unknown", "empty", "expired", "new-password", "error", "error-right", "echo"])
@pytest.mark.sanitizer
def test_who_gets_in(make, pam, user, password, why):
    """All refusals are the same to the client; the log knows which it was."""
    pooler = make()
    gets_in = why is None and password != ""
    assert attempt(pooler, user, password) == (None if gets_in else wrong(user))
    if why:
        pooler.wait_log(f"login of user {user} failed: PAM service pgbouncer: {why}")
    elif not gets_in:
        pooler.wait_log(f"login of user {user} failed: the password is empty")
        assert pam.noted() == []
    if password != "":
        assert pam.noted() == [f"pgbouncer {user} 127.0.0.1"]
    if not gets_in:
        util.wait_until(lambda: [row["count"] for row in pooler.admin("SHOW ERRORS", password="console secret") if row["name"] == "pam_failed"] == [1],
                        "the refusal to be counted")


@pytest.mark.sanitizer
def test_as_a_rule(make, pam):
    """Services and what they are told, by rules."""
    pam.service("first")
    pam.service("second")
    pam.service("deny", "auth required pam_deny.so\naccount required pam_deny.so\n")
    pam.service("permit", "auth required pam_permit.so\naccount required pam_deny.so\n")
    pooler = make(rules="host all app all pam pamservice=first\n"
                        "host all alice all pam pamservice=second pam_use_hostname=1\n"
                        "host all plainuser all pam pamservice=deny\n"
                        "host all scramuser all pam pamservice=permit\n"
                        "host all md5user all md5\n"
                        "local all all pam\n"
                        "host all all all pam\n", userlist={"md5user": "in the list", "app": "not asked for"})
    assert attempt(pooler, "app", "app secret") is None
    assert attempt(pooler, "app", "not asked for") == wrong("app")
    assert attempt(pooler, "alice", "alice secret") is None
    assert attempt(pooler, "plainuser", PASSWORDS["plainuser"]) == wrong("plainuser")
    assert attempt(pooler, "scramuser", PASSWORDS["scramuser"]) == wrong("scramuser")
    pooler.wait_log("login of user scramuser failed: PAM service permit: pam_acct_mgmt: ")
    assert attempt(pooler, "md5user", "in the list") is None
    with Wire(pooler.directory, pooler.port, timeout=30 * util.PATIENCE) as client:
        client.login("admin", "app", "console secret")
    assert pam.noted() == ["first app 127.0.0.1", "first app 127.0.0.1", f"second alice {socket.getnameinfo(('127.0.0.1', 0), 0)[0]}",
                           "pgbouncer admin [local]"]


def test_a_service_that_is_not_there(make, pam):
    # libpam 1.5 keeps the handlers of a service for which pam_start() has failed
    allowed = util.write_file(f"{pam.directory}/leaks", "leak:libpam.so\n")
    pooler = make(rules="host all all all pam pamservice=nowhere\n", settings={"auth_failure_limit": 2},
                  env={"LSAN_OPTIONS": f"suppressions={allowed}:print_suppressions=0"})
    for _ in range(3):
        assert attempt(pooler, password="app secret") == UNAVAILABLE
    pooler.wait_log("password of user app cannot be checked: PAM service nowhere: pam_start: ", 3)
    assert pooler.stop() is None


def test_the_pause_of_a_module_is_not_kept(make):
    """An hour is asked for, which would keep a thread from all others."""
    pooler = make()
    began = time.monotonic()
    for _ in range(6):
        assert attempt(pooler, "slow", timeout=60) == wrong("slow")
    assert time.monotonic() - began < 1800


def test_users_of_the_console(make):
    pooler = make()
    assert lists(pooler)["checks_running"] == 0
    with pytest.raises(psycopg.OperationalError, match="not allowed"):
        pooler.console(user="app", password="app secret")


@pytest.mark.sanitizer
def test_the_password_goes_on_to_the_server(make, pg):
    pooler = make(databases={"app": f"{pg.dsn} dbname=app"}, userlist={"md5user": "another secret"})
    for user in ("plainuser", "md5user", "scramuser"):
        with pooler.connect(user=user, password=PASSWORDS[user]) as conn:
            assert conn.execute("SELECT session_user").fetchone() == (user,)
        assert attempt(pooler, user, "wrong") == wrong(user)


@pytest.mark.sanitizer
def test_a_new_password_goes_on_too(make, pg, pam):
    """What a server is told is what the client has last been let in with."""
    with pg.connect() as conn:
        conn.execute("SET password_encryption = 'scram-sha-256'; CREATE ROLE pamturn LOGIN PASSWORD 'first secret'")
    try:
        pg_hba = f"{pg.dsn} dbname=app"
        pooler = make(databases={"app": pg_hba}, settings={"server_idle_timeout": 1})
        pam.write_users({**USERS, "pamturn": ("first secret", "ok")})
        assert attempt(pooler, "pamturn", "first secret") is None
        pam.write_users({**USERS, "pamturn": ("second secret", "ok")})
        with pg.connect() as conn:
            conn.execute("ALTER ROLE pamturn PASSWORD 'second secret'")
        assert attempt(pooler, "pamturn", "first secret") == wrong("pamturn")
        pooler.admin("RECONNECT", password="console secret")
        with pooler.connect(user="pamturn", password="second secret") as conn:
            assert conn.execute("SELECT session_user").fetchone() == ("pamturn",)
    finally:
        with pg.connect() as conn:
            conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pamturn'")
            conn.execute("DROP ROLE pamturn")


# ---- modules that hang

@contextlib.contextmanager
def hanging_logins(pooler, pam, count, password="stuck secret"):
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(attempt(pooler, "stuck", password, timeout=120))) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        pam.go_on()
        for thread in threads:
            thread.join()


@pytest.mark.sanitizer
def test_others_go_on_while_a_module_hangs(make, pam):
    pam.service("hanging")
    pooler = make(rules="host all stuck all pam pamservice=hanging\nhost all scramuser all scram-sha-256\nhost all all all pam\n",
                  userlist={"scramuser": "in the list"}, settings={"client_login_timeout": 0})
    with pooler.connect(password="app secret") as conn, hanging_logins(pooler, pam, 20) as outcomes:
        util.wait_until(lambda: (lists(pooler)["checks_running"], lists(pooler)["checks_waiting"]) == (4, 16), "the logins to wait", 30)
        for number in range(20):
            assert conn.execute("SELECT %s", [number]).fetchone() == (number,)
            assert attempt(pooler, "scramuser", "in the list") is None
            assert attempt(pooler, "alice", "alice secret") is None
            assert attempt(pooler, "alice", "wrong")["C"] == "28P01"
        assert not outcomes
    assert outcomes == [None] * 20


@pytest.mark.sanitizer
def test_clients_that_do_not_wait(make, pam):
    """client_login_timeout ends them at once; those that had not begun are never asked for."""
    pooler = make(rules="host all stuck all pam\nhost all admin all password\n", userlist={"admin": "console secret"},
                  settings={"client_login_timeout": 3})
    clients = [begin(pooler, "stuck", "stuck secret") for _ in range(10)]
    for client in clients[:3]:
        client.disconnect()
    for client in clients[3:]:
        told = client.receive()
        assert (told.kind, told.fields()["M"]) == ("E", "client_login_timeout")
        client.disconnect()
    assert (lists(pooler)["checks_running"], lists(pooler)["checks_waiting"]) == (4, 0)
    pam.go_on()
    util.wait_until(lambda: lists(pooler)["checks_running"] == 0, "the threads to be free")
    assert len(pam.noted()) == 4
    assert attempt(pooler, "stuck", "stuck secret") is None


@pytest.mark.sanitizer
def test_one_thread(make, pam):
    """auth_check_threads = 1: for modules that cannot bear several threads, also where two services use them."""
    pam.service("other")
    pooler = make(rules="host all stuck all pam\nhost all app all pam pamservice=other\nhost all admin all password\n", userlist={"admin": "console secret"},
                  settings={"auth_check_threads": 1, "client_login_timeout": 0})
    clients = [begin(pooler, "stuck", "stuck secret")]
    util.wait_until(lambda: len(pam.noted()) == 1, "the module to hang")
    clients += [begin(pooler, "app", "app secret"), begin(pooler, "stuck", "stuck secret")]
    util.wait_until(lambda: (lists(pooler)["checks_running"], lists(pooler)["checks_waiting"]) == (1, 2), "the others to wait")
    assert len(pam.noted()) == 1
    pam.go_on()
    for client in clients:
        assert client.receive().payload == b"\0\0\0\0"
        client.disconnect()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["INT", "QUIT"])
@pytest.mark.sanitizer
def test_the_end_does_not_wait_for_a_module(make, pam, number):
    pooler = make()
    with hanging_logins(pooler, pam, 6, password="not to be logged"):
        util.wait_until(lambda: len(pam.noted()) == 4, "the threads to hang")
        pooler.send_signal(number)
        assert pooler.wait_exit(10) == 0
        pooler.wait_log("shutdown complete; a password is still being checked")
    assert "not to be logged" not in pooler.log()


# ---- guessing

@pytest.mark.sanitizer
def test_one_address_does_not_keep_the_others_out(make, pam):
    """Whoever has the fewest checks under way is next, not who has asked first."""
    pooler = make(rules="host all admin all password\nhost all all all pam\n", userlist={"admin": "console secret"},
                  settings={"client_login_timeout": 0, "auth_failure_limit": 0})
    guesses = [begin(pooler, "stuck", "a guess") for _ in range(3)]
    util.wait_until(lambda: len(pam.noted()) == 3, "the guesses to be under way")
    # the fourth thread alone goes on; the file says what it takes then
    guesses.append(begin(pooler, "pausing", "a guess"))
    util.wait_until(lambda: len(pam.noted()) == 4, "all threads to hang")
    guesses += [begin(pooler, "stuck", "another guess") for _ in range(20)]
    with begin(pooler, "app", "app secret", source="127.0.0.2") as other:
        util.wait_until(lambda: lists(pooler)["checks_waiting"] == 21, "all to wait")
        pam.go_on("pausing")
        other.finish_login("app", "app secret")
        assert [line.split()[1:] for line in pam.noted()][3:5] == [["pausing", "127.0.0.1"], ["app", "127.0.0.2"]]
    pam.go_on()
    for client in guesses:
        client.disconnect()


@pytest.mark.sanitizer
def test_guessing_is_counted(make):
    pooler = make(settings={"auth_failure_limit": 4, "auth_failure_period": 3600})
    for _ in range(4):
        assert attempt(pooler) == wrong("app")
    assert attempt(pooler, password="app secret") == wrong("app")
    assert attempt(pooler, "alice", "alice secret") is None


@pytest.mark.sanitizer
def test_guesses_that_were_all_begun_before_the_first_failed(make, pam):
    """What comes of a password after its user is blocked counts no more than what is asked then."""
    pooler = make(rules="host all admin all password\nhost all all all pam\n", userlist={"admin": "console secret"},
                  settings={"workers": 1, "auth_check_threads": 1, "client_login_timeout": 0, "auth_failure_limit": 4, "auth_failure_period": 3600})
    clients = [begin(pooler, "stuck", "a guess") for _ in range(4)]
    util.wait_until(lambda: lists(pooler)["checks_waiting"] == 3, "the guesses to wait")
    clients += [begin(pooler, "stuck", "stuck secret") for _ in range(2)]
    util.wait_until(lambda: lists(pooler)["checks_waiting"] == 5, "all to wait")
    pam.go_on()
    assert [client.receive().fields() for client in clients] == [wrong("stuck")] * 6
    assert len(pooler.wait_log("blocked for 3600 s")) == 1
    for client in clients:
        client.disconnect()


def test_nothing_secret_in_a_verbose_log(make, pg):
    pooler = make(arguments=["-v", "-v", "-v"], databases={"app": f"{pg.dsn} dbname=app"})
    assert attempt(pooler, "scramuser", PASSWORDS["scramuser"]) is None
    assert attempt(pooler, password="wrong-guess") == wrong("app")
    for secret in (PASSWORDS["scramuser"], "wrong-guess"):
        assert secret not in pooler.log()


@pytest.mark.parametrize("rule, says", [
    ("host all all all pam pamservice=../x", 'hba.conf:1: error: invalid value for option pamservice: "../x"'),
    ("host all all all pam ldapserver=x", "hba.conf:1: error: option ldapserver is only valid for authentication method ldap"),
    ("host all all all md5 pamservice=x", "hba.conf:1: error: option pamservice is only valid for authentication method pam"),
], ids=["path", "ldap", "md5"])
def test_rules_that_are_refused(make, rule, says):
    pooler = make(rules=rule + "\n", start=False)
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1 and says in done.stderr, done.stderr
