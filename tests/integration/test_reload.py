"""RELOAD: what it says, what it leaves alone, and what happens to connections; the userlist that is read again by itself."""
import os
import signal

import psycopg
import pytest

from harness import pooler as pooler_module
from harness import util, wire
from harness.load import Load
from harness.util import wait_until

pytestmark = [pytest.mark.own, pytest.mark.sanitizer]


def reload(pooler):
    """RELOAD of what is in pooler's settings: its rows as tuples."""
    pooler.write_config()
    return [tuple(row.values()) for row in pooler.admin("RELOAD")]


def backend(client):
    return client.value("SELECT pg_backend_pid()")


# ---- the table

def test_table_of_changes(pooler, pg):
    assert reload(pooler) == []
    pooler.settings["default_pool_size"] = 7
    pooler.settings["tcp_keepidle"] = 30
    pooler.settings["listen_backlog"] = 99
    pooler.databases["app"] += " pool_size=3"
    pooler.databases["more"] = f"{pg.dsn} dbname=app user=app password=very-secret"
    del pooler.databases["app2"]
    pooler.users["alice"] = "pool_mode=session"
    rows = reload(pooler)
    assert ("setting", "default_pool_size", "5", "7", "applied") in rows
    assert ("setting", "tcp_keepidle", "0", "30", "as connections turn over") in rows
    assert ("setting", "listen_backlog", "128", "99", "needs restart") in rows
    assert ("database", "app", "pool_size=default", "pool_size=3", "applied") in rows
    assert ("user", "alice", "pool_mode=default", "pool_mode=session", "applied") in rows
    added = next(row for row in rows if row[:2] == ("database", "more"))
    assert added[2] is None and "user=app password=***" in added[3]
    removed = next(row for row in rows if row[:2] == ("database", "app2"))
    assert "dbname=app2" in removed[2] and removed[3] is None
    assert len(rows) == 7
    assert pooler.config("default_pool_size") == "7" and pooler.config("listen_backlog") == "128"

    assert reload(pooler) == [("setting", "listen_backlog", "128", "99", "needs restart")], "it still does"
    pooler.databases["more"] = pooler.databases["more"].replace("very", "other")
    assert reload(pooler)[-1] == ("database", "more", "password=***", "password=***", "as connections turn over")
    assert "secret" not in pooler.log()


def test_what_servers_are_told_as_they_are_connected(make_pooler, pg):
    """The settings of a database's line go with the log-in, so the servers that are there keep theirs; and the table says so."""
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app timezone=UTC"}, settings={"default_pool_size": 1})
    sources = "SELECT pg_backend_pid() || ' ' || reset_val FROM pg_settings WHERE name = 'TimeZone'"
    with pooler.wire() as client:
        before = client.value(sources)
        pooler.databases["app"] = pooler.databases["app"].replace("UTC", "Asia/Tokyo")
        assert reload(pooler) == [("database", "app", "timezone=UTC", "timezone=Asia/Tokyo", "as connections turn over")]
        assert client.value(sources) == before
        pooler.admin("RECONNECT app")
        wait_until(lambda: client.value(sources).endswith(" Asia/Tokyo"), "a new server")


def test_tag_and_rows_on_the_wire(pooler):
    """Simple protocol and extended, in which who does not ask for rows gets them all the same, as of a SHOW."""
    with pooler.raw() as console:
        console.login("admin", "pgbouncer")
        messages = console.query("RELOAD")
        assert "".join(m.kind for m in messages) == "TCZ"
        assert [name for name, oid in messages[0].columns()] == ["kind", "name", "old", "new", "effect"]
        assert messages[1].tag == "RELOAD"
        pooler.settings["stats_period"] = 30
        pooler.write_config()
        console.send(wire.simple_extended("RELOAD") + wire.sync())
        messages = console.until()
        assert "".join(m.kind for m in messages) == "12TDCZ"
        assert messages[3].row() == ["setting", "stats_period", "60", "30", "applied"]


def test_drivers(pooler):
    with pooler.console() as conn:
        pooler.settings["stats_period"] = 30
        pooler.write_config()
        assert conn.execute("RELOAD").statusmessage == "RELOAD"
        assert conn.execute("SHOW VERSION").fetchone()


def test_sighup_logs_the_same(pooler):
    pooler.settings["stats_period"] = 30
    pooler.users["bob"] = "pool_size=2"
    pooler.write_config()
    pooler.send_signal(signal.SIGHUP)
    pooler.wait_log(r"LOG setting stats_period: 60 -> 30 \(applied\)")
    pooler.wait_log(r"LOG user bob: pool_size=default -> pool_size=2 \(applied\)")


def test_pgsluicectl_prints_it(pooler):
    import subprocess
    pooler.settings["stats_period"] = 30
    pooler.write_config()
    done = subprocess.run([pooler_module.CONTROL, "--dsn", f"host=127.0.0.1 port={pooler.port} user=admin sslmode=disable", "reload"],
                          capture_output=True, text=True, timeout=20 * util.PATIENCE, check=True, cwd="/", **util.popen_user())
    assert [word.strip() for word in done.stdout.splitlines()[2].split("|")] == ["setting", "stats_period", "60", "30", "applied"]


# ---- what is wrong changes nothing

def broken_include(pooler):
    pooler.sections = "%include missing.ini\n"


def broken_ca(pooler):
    pooler.settings.update(server_tls_sslmode="verify-ca", server_tls_ca_file="/missing/ca.crt")


def broken_setting(pooler):
    pooler.settings["query_wait_timeot"] = 5


def broken_database(pooler):
    pooler.databases["app"] = "host"


def broken_users(pooler):
    pooler.userlist['x'] = ''


def missing_users(pooler):
    pooler.settings["auth_file"] = "/missing/userlist.txt"


def setting(**values):
    """Breaks these settings, which are in no use, or only after a restart."""
    def breaks(pooler):
        pooler.settings.update(values)
    breaks.__name__ = "_".join(values)
    return breaks


def taken_port(pooler):
    pooler.settings["listen_port"] = int(pooler.databases["app"].split("port=")[1].split()[0])


@pytest.mark.parametrize("breaks, says", [
    (setting(logfile="/missing/pgsluice.log"), 'could not open log file "/missing/pgsluice.log": No such file'),
    (setting(client_tls_protocols="tlsv9"), 'client_tls: invalid TLS protocols "tlsv9"'),
    (setting(client_tls_ecdhcurve="secp9"), 'client_tls: unknown elliptic curve "secp9"'),
    (setting(server_tls_sslmode="disable", server_tls_protocols="tlsv9"), 'server_tls: invalid TLS protocols "tlsv9"'),
    (setting(listen_addr="999.1.1.1"), 'could not resolve listen address "999.1.1.1"'),
    (setting(listen_addr="127.0.0.1, 192.0.2.1"), 'could not listen on address "192.0.2.1"'),
    (taken_port, "Address already in use"),
    (setting(unix_socket_dir="/missing/run"), 'could not bind Unix socket "/missing/run/.s.PGSQL.'),
    (setting(unix_socket_group="nosuchgroup"), "no such group: nosuchgroup"),
    (setting(http_listen="192.0.2.1:9"), 'http_listen: could not listen on address "192.0.2.1" port 9'),
    (setting(resolv_conf="/missing/resolv.conf"), "/missing/resolv.conf"),
    (setting(pidfile="/missing/pgsluice.pid"), 'could not write pidfile "/missing/pgsluice.pid": No such file'),
    (broken_include, "missing.ini"), (broken_ca, "/missing/ca.crt"), (broken_setting, "query_wait_timeout"),
    (broken_database, "pgsluice.ini:2"), (broken_users, "userlist.txt:"), (missing_users, "/missing/userlist.txt")],
    ids=lambda x: getattr(x, "__name__", None))
def test_broken_file_changes_nothing(pooler, breaks, says):
    with Load(pooler, 3) as load:
        breaks(pooler)
        pooler.settings["default_pool_size"] = 9
        pooler.write_config()
        if breaks is broken_users:
            with open(pooler.path("userlist.txt"), "a", encoding="utf-8") as file:
                file.write('"carol" "no end\n')
        for _ in range(2):
            with pytest.raises(psycopg.Error, match="RELOAD failed") as error:
                pooler.admin("RELOAD")
            assert error.value.sqlstate == "F0000" and says in error.value.diag.message_detail
        assert pooler.config("default_pool_size") == "5"
        pooler.wait_log(r"reload failed")
        load.more()
    assert not load.errors


def test_what_a_restart_would_bring_is_looked_at_and_no_more(make_pooler):
    """What a start could do is fine, and is not done: neither another port, nor ours once more at another address."""
    pooler = make_pooler()
    pidfile = pooler.path("other.pid")
    pooler.settings.update(listen_addr="127.0.0.1, localhost", unix_socket_dir="/tmp", pidfile=pidfile)
    rows = reload(pooler)
    assert {row[1] for row in rows} == {"listen_addr", "unix_socket_dir", "pidfile"}
    assert {row[4] for row in rows} == {"needs restart"}
    assert not os.path.exists(pidfile) and not os.path.exists(f"/tmp/.s.PGSQL.{pooler.port}")


@pytest.mark.parametrize("key, value, says", [
    ("logfile", "/missing/pgsluice.log", 'could not open log file "/missing/pgsluice.log"'),
    ("client_tls_protocols", "tlsv9", 'invalid TLS protocols "tlsv9"')])
def test_set_of_what_cannot_be(pooler, key, value, says):
    before = pooler.config(key)
    with pytest.raises(psycopg.Error) as error:
        pooler.admin(f"SET {key} = '{value}'")
    assert says in str(error.value)
    assert pooler.config(key) == before
    pooler.admin("SET stats_period = 30")
    assert pooler.config("stats_period") == "30"


@pytest.mark.parametrize("breaks, says", [(broken_setting, "query_wait_timeout"), (broken_database, "pgsluice.ini:2"),
                                          (missing_users, "/missing/userlist.txt")], ids=lambda x: getattr(x, "__name__", None))
def test_sighup_with_a_broken_file_changes_nothing(pooler, breaks, says):
    """Nobody is answered, so the log says why; what is right in the file counts as little as what is wrong."""
    before = pooler.show("CONFIG")
    with pooler.wire() as client:
        pid = client.value("SELECT pg_backend_pid()")
        breaks(pooler)
        pooler.settings.update(default_pool_size=9, query_timeout=1)
        pooler.databases["new"] = "host=127.0.0.1"
        pooler.write_config()
        for number in (1, 2):
            pooler.send_signal(signal.SIGHUP)
            pooler.wait_log("got SIGHUP", number)
            lines = pooler.wait_log("reload failed.*", number)
            assert any(says in line for line in pooler.log().splitlines()), lines
        assert pooler.show("CONFIG") == before
        assert [row["name"] for row in pooler.show("DATABASES")] == ["app", "app2", "pgbouncer"]
        assert client.value("SELECT pg_backend_pid()") == pid


def test_a_userlist_that_was_never_there_is_not_asked_for(make_pooler):
    """Who has started without one, which is a warning, can reload; one that is named now must be there."""
    pooler = make_pooler(settings={"auth_type": "any", "auth_file": "/missing/userlist.txt"})
    pooler.settings["stats_period"] = 30
    assert len(reload(pooler)) == 1
    pooler.settings["auth_file"] = "/missing/other.txt"
    pooler.write_config()
    with pytest.raises(psycopg.Error, match="RELOAD failed"):
        pooler.admin("RELOAD")


# ---- under load

def test_databases_come_change_and_go(pooler, pg):
    with Load(pooler) as load:
        for turn in range(4):
            pooler.databases["other"] = f"{pg.dsn} dbname=app2"
            assert [row[:2] for row in reload(pooler)] == [("database", "other")]
            client = pooler.wire(database="other")
            assert client.value("SELECT current_database()") == "app2"
            pooler.databases["other"] = f"{pg.dsn} dbname=app pool_size={turn + 1}"
            assert len(reload(pooler)) == 1
            wait_until(lambda: client.value("SELECT current_database()") == "app", "the changed database")
            del pooler.databases["other"]
            reload(pooler)
            assert [m.sqlstate for m in client.expect_closed() if m.kind == "E"] == ["57P01"]
            client.disconnect()
            load.more()
    assert not load.errors


def test_sizes_as_postgres_counts(pooler, pg):
    with pg.connect() as watcher, Load(pooler, 8, user="bob") as load:
        def count():
            return watcher.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND usename = 'bob'").fetchone()[0]

        for size in (1, 6, 2, 8):
            pooler.databases["app"] = f"{pg.dsn} dbname=app pool_size={size}"
            reload(pooler)
            wait_until(lambda size=size: count() == size, f"{size} server connections")
            load.more()
    assert not load.errors


def test_changed_connection_data_turns_servers_over(pooler, pg):
    """As they come free, without an error; a transaction ends where it began."""
    with Load(pooler, 4) as load, pooler.wire(user="alice") as client:
        client.query("BEGIN")
        before = backend(client)
        pooler.databases["app"] = f"{pg.dsn} dbname=app connect_query='SET my.mark = 7'"
        rows = reload(pooler)
        assert len(rows) == 1 and rows[0][4] == "as connections turn over"
        load.more()
        assert backend(client) == before
        client.query("COMMIT")
        assert backend(client) != before
        assert client.value("SELECT current_setting('my.mark')") == "7"
        pooler.admin("WAIT_CLOSE app")
        with pooler.wire() as other:
            assert other.value("SELECT current_setting('my.mark')") == "7"
    assert not load.errors


def test_changed_password_turns_servers_over(make_pooler, pg):
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app user=plainuser password='plain secret ;x'"})
    with pooler.wire() as client:
        before = backend(client)
        assert reload(pooler) == []
        assert backend(client) == before
        pooler.databases["app"] = f"{pg.dsn} dbname=app user=plainuser password='other'"
        reload(pooler)
        pooler.databases["app"] = f"{pg.dsn} dbname=app user=plainuser password='plain secret ;x'"
        reload(pooler)
        wait_until(lambda: backend(client) != before, "a new server")


def test_changed_tls_turns_servers_over(make_pooler):
    pooler = make_pooler(settings={"server_tls_sslmode": "disable"})
    uses_tls = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    with pooler.wire() as client:
        assert client.value(uses_tls) == "false"
        pooler.settings["server_tls_sslmode"] = "require"
        reload(pooler)
        wait_until(lambda: client.value(uses_tls) == "true", "a server with TLS")


def test_a_removed_database_comes_back_neither_paused_nor_disabled(pooler):
    pooler.wire(database="app2").disconnect()
    line = pooler.databases["app2"]
    pooler.admin("PAUSE app2")
    pooler.admin("DISABLE app2")
    del pooler.databases["app2"]
    reload(pooler)
    pooler.databases["app2"] = line
    reload(pooler)
    with pooler.wire(database="app2") as client:
        assert client.value("SELECT 1") == "1"


# ---- the userlist by itself

@pytest.fixture
def listed(make_pooler):
    """Who may log in is in the userlist, passwords in plain text."""
    return make_pooler(settings={"auth_type": "md5"}, userlist={"app": "one", "admin": "adm", "alice": "a"})


def replace_users(pooler, text):
    """As an administrator's script does: written beside, then renamed."""
    util.write_file(pooler.path("new"), text, 0o600)
    os.rename(pooler.path("new"), pooler.path("userlist.txt"))


def logs_in(pooler, user, password):
    try:
        pooler.wire(user=user, password=password).disconnect()
        return True
    except wire.ServerError as error:
        assert error.sqlstate == "28P01"
        return False


@pytest.mark.parametrize("in_place", [False, True], ids=["renamed", "in place"])
def test_userlist_is_read_again(listed, in_place):
    text = '"app" "two"\n"admin" "adm"\n"carol" "c"\n'
    assert logs_in(listed, "app", "one") and logs_in(listed, "alice", "a")
    listed.admin("SET default_pool_size = 4", password="adm")
    with listed.wire(user="alice", password="a") as client:
        if in_place:
            util.write_file(listed.path("userlist.txt"), text, 0o600)
        else:
            replace_users(listed, text)
        wait_until(lambda: logs_in(listed, "app", "two"), "the new password")
        assert not logs_in(listed, "app", "one") and not logs_in(listed, "alice", "a")
        assert client.value("SELECT 1") == "1", "who is in stays in"
    rows = {row["key"]: row["value"] for row in listed.admin("SHOW CONFIG", password="adm")}
    assert rows["default_pool_size"] == "4", "it is no RELOAD"
    lines = "\n".join(listed.log_lines(r" user "))
    assert "user app: password=*** -> password=*** (applied)" in lines and "user carol added: password=***" in lines


def test_broken_userlist_is_said_once_and_not_used(listed):
    replace_users(listed, '"app" "two"\n"admin" "adm\n')
    listed.wait_log(r"is not used: the users in force stay")
    assert logs_in(listed, "app", "one") and not logs_in(listed, "app", "two")
    os.rename(listed.path("userlist.txt"), listed.path("away"))
    listed.wait_log(r"is not used: the users in force stay", 2)
    assert logs_in(listed, "app", "one")
    replace_users(listed, '"app" "three"\n"admin" "adm"\n')
    wait_until(lambda: logs_in(listed, "app", "three"), "the list that is right")
    assert len(listed.log_lines(r"is not used: the users in force stay")) == 2
    assert len(listed.log_lines(r"userlist.txt:2: ")) == 1


def test_console_when_a_login_ends_behind_the_removal_of_its_database(make_pooler):
    """It ends with the settings with which it began, so there is a pool again of a database that has none."""
    pooler = make_pooler(settings={"auth_type": "plain"}, userlist={"app": "secret", "admin": "secret"})
    with pooler.wire(database="app2", password="secret") as earlier:
        earlier.query("SELECT 1")
    with pooler.raw() as late, pooler.raw() as console:
        late.send(wire.startup_packet({"user": "app", "database": "app2"}))
        assert late.receive().kind == "R"
        console.login("admin", "pgbouncer", "secret")
        del pooler.databases["app2"]
        pooler.write_config()
        assert [m.kind for m in console.query("RELOAD")][-1] == "Z"
        late.send(wire.message("p", wire.cstr("secret")))
        late.receive()
        for what in ("POOLS", "DATABASES", "STATS", "UTILIZATION", "LATENCY", "LISTS", "SERVERS", "CLIENTS", "USERS", "CONFIG"):
            console.rows(f"SHOW {what}")
    with pooler.wire(password="secret") as client:
        assert client.value("SELECT 1") == "1"
