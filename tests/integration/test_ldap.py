"""LDAP: auth_type = ldap and the method ldap of rules, against a real slapd."""
import concurrent.futures
import contextlib
import signal
import threading

import psycopg
import pytest

from harness import ldap, util
from harness.passwords import UNAVAILABLE, attempt, begin, make_checking, wrong
from harness.postgres import PASSWORDS
from harness.wire import Wire

pytestmark = pytest.mark.own

PEOPLE = f"ou=people,{ldap.BASE}"
STRANGE = "we(ird)*, \\name+#"
TREE = "".join([
    ldap.person("app", "app secret"), ldap.person("alice", "alice secret"), ldap.person("alice", "of others", unit="others"),
    ldap.person("admin", "console secret"), ldap.person(STRANGE, "strange secret"), ldap.person("mailer", "mail secret", mail="m@example.net"),
    ldap.person("twin1", "twin secret", mail="twin@example.net"), ldap.person("twin2", "twin secret", mail="twin@example.net"),
    *(ldap.person(user, PASSWORDS[user]) for user in ("plainuser", "md5user", "scramuser")),
])


@pytest.fixture(scope="session")
def shared_slapd(certs):
    server = ldap.Slapd(certs, TREE)
    yield server
    server.destroy()


@pytest.fixture
def slapd(shared_slapd):
    assert shared_slapd.process.poll() is None
    return shared_slapd


@pytest.fixture
def own_slapd(certs):
    """For tests that stop it, or make it hang."""
    server = ldap.Slapd(certs, TREE)
    yield server
    server.destroy()


def simple(slapd, more="", transport="ldap"):
    port = slapd.tls_port if transport == "ldaps" else slapd.port
    how = {"ldap": "", "ldaps": "ldapscheme=ldaps ", "starttls": "ldaptls=1 "}[transport]
    return f'ldapserver=127.0.0.1 ldapport={port} {how}ldapprefix="uid=" ldapsuffix=",{PEOPLE}" {more}'


def search(slapd, more="", transport="ldap"):
    port = slapd.tls_port if transport == "ldaps" else slapd.port
    how = {"ldap": "", "ldaps": "ldapscheme=ldaps ", "starttls": "ldaptls=1 "}[transport]
    return f'ldapserver=127.0.0.1 ldapport={port} {how}ldapbasedn="{PEOPLE}" {more}'


def url(slapd, more="", transport="ldap"):
    port = slapd.tls_port if transport == "ldaps" else slapd.port
    scheme, how = ("ldaps" if transport == "ldaps" else "ldap"), ("ldaptls=1 " if transport == "starttls" else "")
    return f'ldapurl="{scheme}://127.0.0.1:{port}/{PEOPLE}?uid?sub" {how}{more}'


@pytest.fixture
def make(make_pooler, pg, certs):
    """A pooler with auth_type = ldap, see make_checking()."""
    def start(options=None, rules=None, env=None, **kwargs):
        return make_checking(make_pooler, pg, {"auth_type": "ldap", "auth_ldap_options": options}, rules,
                             env={"LDAPTLS_CACERT": certs.ca, **(env or {})}, **kwargs)
    return start


def console(pooler, command, password="console secret"):
    return pooler.admin(command, password=password)


# ---- who gets in

@pytest.mark.parametrize("transport", ["ldap", "starttls", "ldaps"])
@pytest.mark.parametrize("options", [simple, search, url])
@pytest.mark.sanitizer
def test_right_and_wrong(make, slapd, options, transport):
    pooler = make(options(slapd, transport=transport))
    with pooler.connect(password="app secret") as conn:
        assert conn.execute("SELECT session_user").fetchone() == ("bob",)
    assert attempt(pooler, "alice", "alice secret") is None
    for user, password in (("app", "app secre"), ("app", "alice secret"), ("nobody", "app secret"), ("app", "")):
        assert attempt(pooler, user, password) == wrong(user), (user, password)
    assert len(pooler.wait_log("login of user app failed: LDAP server ldaps?://127.0.0.1:[0-9]*: bind as the user: Invalid credentials", 2)) == 2
    pooler.wait_log("login of user nobody failed: LDAP server .*" + ("Invalid credentials" if options is simple else "there is no entry for this user"))
    pooler.wait_log("login of user app failed: the password is empty")
    util.wait_until(lambda: [row["count"] for row in console(pooler, "SHOW ERRORS") if row["name"] == "ldap_failed"] == [4], "the refusals to be counted")


@pytest.mark.parametrize("options", [simple, search])
def test_as_a_rule(make, slapd, options):
    pooler = make(rules=f"# rules\nhost all alice 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 ldap {options(slapd)}\n",
                  userlist={"alice": "from the list", "app": "not asked for"})
    assert attempt(pooler, password="app secret") is None
    assert attempt(pooler, password="not asked for") == wrong("app")
    assert attempt(pooler, "alice", "alice secret")["C"] == "28P01"
    assert attempt(pooler, "alice", "from the list") is None


@pytest.mark.parametrize("more, user, password, gets_in", [
    ('ldapsearchattribute=mail', "m@example.net", "mail secret", True),
    ('ldapsearchattribute=mail', "mailer", "mail secret", False),
    ('ldapsearchattribute=mail', "twin@example.net", "twin secret", False),
    ('ldapsearchfilter="(|(uid=$username)(mail=$username))"', "m@example.net", "mail secret", True),
    ('ldapsearchfilter="(&(uid=$username)(mail=*))"', "mailer", "mail secret", True),
    ('ldapsearchfilter="(&(uid=$username)(mail=*))"', "app", "app secret", False),
    ('ldapbinddn="cn=reader,{base}" ldapbindpasswd="reader secret"', "app", "app secret", True),
    ('ldapbinddn="cn=reader,{base}" ldapbindpasswd="reader secret"', "app", "wrong", False),
    ('ldapsearchfilter="(uid=$username)" ldapbasedn="{base}"', "alice", "alice secret", False),  # there are two
], ids=["attribute", "other-attribute", "several", "filter", "filter-and", "filtered", "bind-dn", "bind-dn-wrong", "two-entries"])
@pytest.mark.sanitizer
def test_searches(make, slapd, more, user, password, gets_in):
    pooler = make(search(slapd, more.format(base=ldap.BASE)))
    assert attempt(pooler, user, password) == (None if gets_in else wrong(user))


@pytest.mark.parametrize("options", [simple, search])
@pytest.mark.parametrize("user", [
    "*", "app)(uid=*", "*)(uid=app", "app)(|(uid=app", "app,ou=people", f"app,{PEOPLE}", "uid=app", "\\61pp", "app\\", "al*ce", "app#", "app;"])
def test_names_stay_names(make, slapd, options, user):
    """Whatever a user is called, it is not somebody else."""
    pooler = make(options(slapd), settings={"auth_failure_limit": 0})
    for password in ("app secret", "alice secret"):
        assert attempt(pooler, user, password) == wrong(user)


def test_no_name_leads_elsewhere_in_the_tree(make, slapd):
    """The DN that this name would write is that of app, whose password it is."""
    pooler = make(f'ldapserver=127.0.0.1 ldapport={slapd.port} ldapprefix="uid=" ldapsuffix=",{ldap.BASE}"')
    assert attempt(pooler, "app,ou=people", "app secret") == wrong("app,ou=people")


@pytest.mark.parametrize("options", [simple, search])
@pytest.mark.sanitizer
def test_a_strange_name_is_one(make, slapd, options):
    pooler = make(options(slapd))
    assert attempt(pooler, STRANGE, "strange secret") is None
    assert attempt(pooler, STRANGE, "alice secret") == wrong(STRANGE)


def test_an_anonymous_bind_proves_nothing(make, slapd):
    """This directory says yes to whoever gives no password; we do not ask it."""
    pooler = make(f'ldapserver=127.0.0.1 ldapport={slapd.port} ldapprefix="" ldapsuffix=""')
    for user in (f"uid=app,{PEOPLE}", "cn=nobody"):
        assert attempt(pooler, user, "") == wrong(user)
    assert attempt(pooler, f"uid=app,{PEOPLE}", "app secret") is None


# ---- at the server

@pytest.mark.sanitizer
@pytest.mark.parametrize("by_rule", [False, True], ids=["auth_type", "rule"])
def test_the_password_goes_on_to_the_server(make, pg, slapd, by_rule):
    """PostgreSQL asks for it in clear text, by md5 and by SCRAM; what auth_file says of the user does not count."""
    how = {"rules": f"host all all all ldap {simple(slapd)}\n"} if by_rule else {"options": simple(slapd)}
    pooler = make(databases={"app": f"{pg.dsn} dbname=app"}, userlist={"md5user": "another secret"}, **how)
    for user in ("plainuser", "md5user", "scramuser"):
        with pooler.connect(user=user, password=PASSWORDS[user]) as conn:
            assert conn.execute("SELECT session_user").fetchone() == (user,)
        assert attempt(pooler, user, "wrong") == wrong(user)


def test_auth_file_has_its_say_at_the_server_by_other_methods(make, pg, slapd):
    """One user, two rules: who logs in by SCRAM proves nothing that a server could be told."""
    pooler = make(rules=f"host all all 127.0.0.1/32 ldap {simple(slapd)}\nhost all all 127.0.0.2/32 scram-sha-256\n",
                  databases={"app": f"{pg.dsn} dbname=app"}, userlist={"scramuser": PASSWORDS["scramuser"]})
    with Wire("127.0.0.1", pooler.port, timeout=30 * util.PATIENCE, source="127.0.0.2") as client:
        client.login("scramuser", "app", PASSWORDS["scramuser"])
        assert client.value("SELECT session_user") == "scramuser"


def test_users_of_the_console(make, slapd):
    pooler = make(simple(slapd))
    assert console(pooler, "SHOW VERSION")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        console(pooler, "SHOW VERSION", password="wrong")
    with pytest.raises(psycopg.OperationalError, match="not allowed"):
        pooler.console(user="app", password="app secret")


# ---- directories that do not answer

def test_a_directory_that_is_down(make, own_slapd):
    """Not the client's fault: it is told so, and not counted as guessing."""
    pooler = make(search(own_slapd), settings={"auth_failure_limit": 2, "auth_failure_period": 3600})
    own_slapd.stop()
    for _ in range(5):
        assert attempt(pooler, password="app secret") == UNAVAILABLE
    pooler.wait_log("password of user app cannot be checked: LDAP server ldap://127.0.0.1:[0-9]*: .*Can't contact LDAP server", 5)
    own_slapd.start()
    assert attempt(pooler, password="app secret") is None
    assert attempt(pooler, password="wrong") == wrong("app")


def test_bind_dn_that_is_wrong(make, slapd):
    """The configuration is wrong, not the client."""
    pooler = make(search(slapd, f'ldapbinddn="cn=reader,{ldap.BASE}" ldapbindpasswd="not the secret"'))
    assert attempt(pooler, password="app secret") == UNAVAILABLE
    pooler.wait_log(r"password of user app cannot be checked: LDAP server .*: bind for the search \(ldapbinddn\): Invalid credentials")
    assert "not the secret" not in pooler.log()


def test_a_base_that_is_not_there(make, slapd):
    pooler = make(f'ldapserver=127.0.0.1 ldapport={slapd.port} ldapbasedn="dc=elsewhere"')
    assert attempt(pooler, password="app secret") == UNAVAILABLE
    pooler.wait_log("password of user app cannot be checked: LDAP server .*: search: No such object")


@pytest.mark.parametrize("transport", ["starttls", "ldaps"])
def test_a_certificate_of_nobody_we_know(make, slapd, certs, transport):
    pooler = make(simple(slapd, transport=transport), env={"LDAPTLS_CACERT": certs.other_ca})
    assert attempt(pooler, password="app secret") == UNAVAILABLE
    pooler.wait_log("password of user app cannot be checked: LDAP server ldaps?://127.0.0.1")


@pytest.mark.sanitizer
def test_the_next_server_of_the_list(make, slapd):
    """Nobody listens at the first."""
    pooler = make(f'ldapserver="127.0.0.2 127.0.0.1" ldapport={slapd.port} ldapprefix="uid=" ldapsuffix=",{PEOPLE}"')
    for _ in range(3):
        assert attempt(pooler, password="app secret") is None
    assert attempt(pooler, password="wrong") == wrong("app")


def test_a_server_that_hangs_leaves_the_next_its_time(make, own_slapd, certs):
    other = ldap.Slapd(certs, TREE, port=own_slapd.port, address="127.0.0.2")
    try:
        other.hang()
        pooler = make(f'ldapserver="127.0.0.2 127.0.0.1" ldapport={own_slapd.port} ldapprefix="uid=" ldapsuffix=",{PEOPLE}"')
        assert attempt(pooler, password="app secret", timeout=60) is None
        assert attempt(pooler, password="wrong", timeout=60) == wrong("app")
    finally:
        other.destroy()


# ---- while it hangs

def rules_of(slapd, other):
    return (f"host all scramuser all scram-sha-256\nhost all alice all ldap {simple(other)}\n"
            f"host all admin all password\nhost all all all ldap {simple(slapd)}\n")


@contextlib.contextmanager
def hanging_logins(pooler, slapd, count=20, password="app secret"):
    """So many logins under way, which wait for the directory; yields the list of what becomes of them."""
    slapd.hang()
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(attempt(pooler, password=password, timeout=120))) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        slapd.go_on()
        for thread in threads:
            thread.join()


@pytest.mark.sanitizer
def test_others_go_on_while_a_directory_hangs(make, slapd, own_slapd):
    """Twenty logins wait; queries, other methods and another directory do not."""
    pooler = make(rules=rules_of(own_slapd, slapd), userlist={"scramuser": "in the list", "admin": "console secret"},
                  settings={"client_login_timeout": 0})
    with pooler.connect(user="alice", password="alice secret") as conn, hanging_logins(pooler, own_slapd) as outcomes:
        def waiting():
            items = {row["list"]: row["items"] for row in console(pooler, "SHOW LISTS")}
            return items["checks_running"] == 4 and items["checks_waiting"] == 16
        util.wait_until(waiting, "the logins to wait", 30)
        for number in range(20):
            assert conn.execute("SELECT %s", [number]).fetchone() == (number,)
            assert attempt(pooler, "scramuser", "in the list") is None
            assert attempt(pooler, "alice", "alice secret") is None
            assert attempt(pooler, "alice", "wrong") == wrong("alice")
        assert not outcomes
    assert len(outcomes) == 20 and all(outcome in (None, UNAVAILABLE) for outcome in outcomes), outcomes
    assert attempt(pooler, password="app secret", timeout=60) is None
    items = {row["list"]: row["items"] for row in console(pooler, "SHOW LISTS")}
    assert items["checks_running"] == items["checks_waiting"] == 0


@pytest.mark.sanitizer
def test_clients_that_do_not_wait(make, own_slapd, slapd):
    """Those that go leave the queue; client_login_timeout ends the others at once, whatever the threads are at."""
    pooler = make(rules=rules_of(own_slapd, slapd), userlist={"admin": "console secret"}, settings={"client_login_timeout": 3})
    own_slapd.hang()
    clients = [begin(pooler, "app", "app secret") for _ in range(12)]
    for client in clients[:6]:
        client.disconnect()
    for client in clients[6:]:
        told = client.receive()
        assert (told.kind, told.fields()["M"]) == ("E", "client_login_timeout")
        client.disconnect()
    util.wait_until(lambda: {row["list"]: row["items"] for row in console(pooler, "SHOW LISTS")}["checks_waiting"] == 0, "the queue to be empty")
    own_slapd.go_on()
    util.wait_until(lambda: {row["list"]: row["items"] for row in console(pooler, "SHOW LISTS")}["checks_running"] == 0, "the threads to be free", 30)
    assert attempt(pooler, password="app secret") is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["INT", "QUIT"])
@pytest.mark.sanitizer
def test_the_end_does_not_wait_for_a_directory(make, own_slapd, number):
    pooler = make(simple(own_slapd))
    with hanging_logins(pooler, own_slapd, count=6, password="not to be logged") as outcomes:
        util.wait_until(lambda: established(own_slapd.port) >= 4, "the threads to ask")
        pooler.send_signal(number)
        assert pooler.wait_exit(10) == 0
        pooler.wait_log("shutdown complete")
    assert len(outcomes) == 6 and "not to be logged" not in pooler.log()


def established(port):
    """Connections to a port of loopback, as the kernel counts them."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return sum(row[2] == f"0100007F:{port:04X}" and row[3] == "01" for row in rows)


@pytest.mark.sanitizer
def test_many_at_once(make, slapd):
    """More than there are threads, right and wrong ones, and some that go in between."""
    pooler = make(search(slapd), settings={"auth_failure_limit": 0})

    def one(number):
        if number % 3 == 0:
            begin(pooler, "app", "app secret").disconnect()
            return None
        password = "app secret" if number % 3 == 1 else "wrong"
        outcome = attempt(pooler, password=password, timeout=120)
        assert outcome == (None if number % 3 == 1 else wrong("app")), (number, outcome)
        return number
    with concurrent.futures.ThreadPoolExecutor(30) as threads:
        assert len([done for done in threads.map(one, range(150)) if done is not None]) == 100


# ---- guessing

@pytest.mark.sanitizer
def test_guessing_is_counted(make, slapd):
    pooler = make(search(slapd), settings={"auth_failure_limit": 4, "auth_failure_period": 3600})
    for _ in range(4):
        assert attempt(pooler) == wrong("app")
    assert attempt(pooler, password="app secret") == wrong("app")
    assert attempt(pooler, "alice", "alice secret") is None
    pooler.wait_log("address 127.0.0.1, user app: 4 failed logins, blocked for 3600 s")


def test_nothing_secret_in_a_verbose_log(make, slapd):
    options = search(slapd, f'ldapbinddn="cn=reader,{ldap.BASE}" ldapbindpasswd="reader secret"')
    pooler = make(options, arguments=["-v", "-v", "-v"])
    assert attempt(pooler, password="app secret") is None
    assert attempt(pooler, password="wrong-guess") == wrong("app")
    rows = console(pooler, "SHOW CONFIG")
    assert [row["value"] for row in rows if row["key"] == "auth_ldap_options"] == ["***"]
    pooler.settings["auth_ldap_options"] = options.replace("reader secret", "another secret")
    pooler.write_config()
    console(pooler, "RELOAD")
    printed = pooler.run("--print-config", pooler.path("pgsluice.ini"))
    assert printed.returncode == 0 and "auth_ldap_options = ***" in printed.stdout
    for secret in ("reader secret", "another secret", "app secret", "wrong-guess", "console secret"):
        assert secret not in pooler.log() and secret not in printed.stdout


# ---- settings

@pytest.mark.parametrize("options, says", [
    ("", "auth_type = ldap needs auth_ldap_options"),
    ("ldapserver=127.0.0.1", 'auth_ldap_options: authentication method "ldap" requires argument "ldapbasedn"'),
    ("ldapserver=127.0.0.1 ldapprefix=a ldapbasedn=b", "auth_ldap_options: cannot mix options for simple bind and search+bind modes"),
    ("ldapserver=127.0.0.1 ldapprefix=a ldaptimeout=5", 'auth_ldap_options: authentication option "ldaptimeout" is not supported'),
    ("ldapserver=127.0.0.1 ldapbindpasswd=my secret", "auth_ldap_options: there is an option that is not in name=value format"),
], ids=["none", "incomplete", "mixed", "unknown", "unquoted"])
def test_options_that_are_refused(make, options, says):
    pooler = make(options, start=False)
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1 and says in done.stderr and "secret" not in done.stderr, done.stderr


def test_rules_that_are_refused(make):
    pooler = make(rules="local all all trust\nhost all all all ldap ldapserver=x\nhost all all all ldap ldapprefix=x\n", start=False)
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1
    assert 'hba.conf:2: error: authentication method "ldap" requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix" to be set' in done.stderr
    assert "hba.conf:3: error: LDAP server not specified" in done.stderr


@pytest.mark.sanitizer
def test_changes(make, slapd):
    """SET and RELOAD: what is wrong is refused and changes nothing; what is right counts for the next login."""
    pooler = make(search(slapd), settings={"auth_type": "plain"}, userlist={"admin": "console secret", "app": "in the list"})
    console(pooler, "SET auth_ldap_options = 'ldapserver=x'")
    with pytest.raises(psycopg.errors.DatabaseError, match="ldapsuffix"):
        console(pooler, "SET auth_type = 'ldap'")
    assert attempt(pooler, password="in the list") is None
    console(pooler, "SET auth_ldap_options = '" + search(slapd) + "'")
    console(pooler, "SET auth_type = 'ldap'")
    assert attempt(pooler, password="in the list") == wrong("app")
    assert attempt(pooler, password="app secret") is None
    with pytest.raises(psycopg.errors.DatabaseError, match="invalid LDAP port number"):
        console(pooler, "SET auth_ldap_options = 'ldapserver=x ldapport=y'")
    assert attempt(pooler, password="app secret") is None
    pooler.settings.update({"auth_type": "ldap", "auth_ldap_options": simple(slapd, "ldaptls=2")})
    pooler.write_config()
    with pytest.raises(psycopg.errors.DatabaseError):
        console(pooler, "RELOAD")
    pooler.settings["auth_ldap_options"] = simple(slapd)
    pooler.write_config()
    console(pooler, "RELOAD")
    assert attempt(pooler, password="app secret") is None


@pytest.mark.sanitizer
def test_neither_auth_file_nor_auth_query(make, slapd):
    """Users need not stand in the list, and no database is asked for them."""
    pooler = make(simple(slapd), settings={"auth_user": "bob", "auth_query": "SELECT 1/0"}, start=False)
    del pooler.userlist["app"]
    pooler.write_config()
    pooler.start()
    assert attempt(pooler, password="app secret") is None
    assert attempt(pooler, password="wrong") == wrong("app")
