"""Replication connections: each client has a server connection of its own, counted like any other."""
import os
import shutil
import signal
import struct
import subprocess
import threading
import time

import psycopg
import pytest

from harness import util, wire
from harness.fakeserver import error, ready
from harness.postgres import Postgres, Standby
from harness.util import wait_until
from harness.wire import ServerError

pytestmark = pytest.mark.own

CONFIG = "full_page_writes = on\nwal_level = logical\nmax_wal_senders = 8\nmax_replication_slots = 8\nhot_standby = on\nwal_keep_size = 64MB\n"


@pytest.fixture(scope="module")
def source(certs):
    server = Postgres(certs, config=CONFIG)
    with open(f"{server.data}/pg_hba.conf", "a", encoding="utf-8") as file:
        file.write("host replication all all trust\n")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: accepts_replication(server), "PostgreSQL to accept replication")
    with server.connect(dbname="postgres") as conn:
        conn.execute("CREATE ROLE pupil LOGIN")
    yield server
    server.destroy()


def accepts_replication(server):
    with server.connect(dbname="postgres") as conn:
        return conn.execute("SELECT count(*) FROM pg_hba_file_rules WHERE 'replication' = ANY(database) AND type = 'host'").fetchone()[0] > 0


@pytest.fixture
def replicating(make_pooler, source):
    """A pooler that knows the database name that PostgreSQL's programs send for physical replication."""
    def make(**settings):
        return make_pooler(postgres=source, settings=settings, userlist={"pupil": ""},
                           databases={"app": f"{source.dsn} dbname=app", "replication": f"{source.dsn} dbname=postgres"})
    return make


class Program:
    """One of PostgreSQL's replication programs, through the pooler."""

    def __init__(self, source, pooler, name, *arguments, dbname=None, user="app", sslmode="disable"):
        self.directory = util.make_directory("pgs-repl-")
        where = ["-h", "127.0.0.1", "-p", str(pooler.port), "-U", user] + (["-d", dbname] if dbname else [])
        with open(f"{self.directory}/out", "wb") as out, open(f"{self.directory}/err", "wb") as err:
            self.process = subprocess.Popen([f"{source.bin}/{name}", *where, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                            cwd=self.directory, preexec_fn=util.die_with_parent(),
                                            env={**os.environ, "HOME": self.directory, "PGSSLMODE": sslmode, "PGGSSENCMODE": "disable"}, **util.popen_user())

    def read(self, name):
        with open(f"{self.directory}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait(self):
        status = self.process.wait(60 * util.PATIENCE)
        assert status == 0, self.read("err")
        return self.read("out")

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20 * util.PATIENCE)

    def remove(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture
def program(source):
    made = []

    def make(*args, **kwargs):
        made.append(Program(source, *args, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each.remove()


def replication_of(rows):
    return sorted(row["replication"] for row in rows if row["replication"] != "none")


def insert(server, number, text="x"):
    with server.connect(dbname="app") as conn:
        conn.execute("INSERT INTO t VALUES (%s, %s)", [number, text])


def next_id(server):
    with server.connect(dbname="app") as conn:
        return conn.execute("SELECT coalesce(max(id), 0) + 1 FROM t").fetchone()[0]


def test_pg_basebackup(replicating, source, program):
    pooler = replicating(default_pool_size=2)
    backup = program(pooler, "pg_basebackup", "-D", "copy", "-X", "stream", "-c", "fast")
    backup.wait()
    done = subprocess.run([f"{source.bin}/pg_verifybackup", f"{backup.directory}/copy"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # as a tar file too: another shape of the stream
    assert program(pooler, "pg_basebackup", "-D", "-", "-F", "t", "-X", "fetch", "-c", "fast").wait()
    wait_until(lambda: not pooler.servers("replication"), "the connections of the backup to end")
    assert pooler.closes("replication_ended") >= 3


def test_pg_basebackup_over_tls(replicating, source, program, certs):
    """Inside TLS on both sides."""
    pooler = replicating(client_tls_sslmode="require", client_tls_cert_file=certs.server[0], client_tls_key_file=certs.server[1],
                         server_tls_sslmode="require")
    backup = program(pooler, "pg_basebackup", "-D", "copy", "-X", "stream", "-c", "fast", sslmode="require")
    backup.wait()
    done = subprocess.run([f"{source.bin}/pg_verifybackup", f"{backup.directory}/copy"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pg_receivewal(replicating, source, program):
    pooler = replicating()
    program(pooler, "pg_receivewal", "--create-slot", "-S", "wal").wait()
    receiver = program(pooler, "pg_receivewal", "-S", "wal", "-D", ".", "-s", "1")
    wait_until(lambda: replication_of(pooler.servers("replication")) == ["physical"], "the stream")
    assert replication_of(pooler.clients("replication")) == ["physical"]
    with source.connect(dbname="postgres") as conn:
        wait_until(lambda: conn.execute("SELECT active FROM pg_replication_slots WHERE slot_name = 'wal'").fetchone()[0], "the slot to be used")
        insert(source, next_id(source))
        lsn, name = conn.execute("SELECT l, pg_walfile_name(l) FROM (SELECT pg_current_wal_insert_lsn() AS l) AS x").fetchone()
        conn.execute("SELECT pg_switch_wal()")
        wait_until(lambda: conn.execute("SELECT restart_lsn >= %s FROM pg_replication_slots WHERE slot_name = 'wal'", [lsn]).fetchone()[0],
                   "the slot to move on")
    receiver.interrupt()
    assert name in os.listdir(receiver.directory), receiver.read("err") + receiver.read("out")
    program(pooler, "pg_receivewal", "--drop-slot", "-S", "wal").wait()


def test_pg_recvlogical(replicating, source, program):
    pooler = replicating()
    program(pooler, "pg_recvlogical", "--create-slot", "-S", "logical", "-P", "test_decoding", dbname="app").wait()
    receiver = program(pooler, "pg_recvlogical", "--start", "-S", "logical", "-f", "-", "-F", "0", "-s", "1", dbname="app")
    wait_until(lambda: replication_of(pooler.servers()) == ["logical"], "the stream")
    number = next_id(source)
    insert(source, number, "told to the receiver")
    wait_until(lambda: f"id[integer]:{number} v[text]:'told to the receiver'" in receiver.read("out"), "the change to arrive")
    receiver.interrupt()
    wait_until(lambda: not replication_of(pooler.servers()), "the connection to end")
    program(pooler, "pg_recvlogical", "--drop-slot", "-S", "logical", dbname="app").wait()


class PooledStandby(Standby):
    """A standby that follows `primary` through a pooler."""

    def __init__(self, primary, pooler, address):
        self.pooler = pooler
        super().__init__(primary, address)

    def _initdb(self):
        self._run("pg_basebackup", "-D", self.data, "-d", f"host=127.0.0.1 port={self.pooler.port} user=app sslmode=disable", "-R", "-X", "stream",
                  "-c", "fast")
        with open(f"{self.data}/postgresql.conf", "a", encoding="utf-8") as file:
            file.write(f"listen_addresses = '{self.address}'\nport = {self.port}\nunix_socket_directories = '{self.directory}'\n"
                       "wal_retrieve_retry_interval = 200ms\n")


def value_of(server, number):
    with server.connect(dbname="app") as conn:
        row = conn.execute("SELECT v FROM t WHERE id = %s", [number]).fetchone()
        return row[0] if row else None


def test_a_standby_follows_through_the_pooler_and_over_a_promotion(make_pooler, source):
    """The promotion of what it follows ends the stream with the next timeline: a result behind CopyBoth."""
    middle = Standby(source, "127.0.0.9")
    last = None
    try:
        pooler = make_pooler(postgres=middle, databases={"replication": f"host=127.0.0.9 port={middle.port} dbname=postgres"})
        last = PooledStandby(middle, pooler, "127.0.0.10")
        number = next_id(source)
        insert(source, number, "before")
        wait_until(lambda: value_of(last, number) == "before", "the row to arrive", 30)
        with middle.connect(dbname="postgres") as conn:
            assert conn.execute("SELECT pg_promote(true, 30)").fetchone()[0]
        insert(middle, number + 1, "after")
        wait_until(lambda: value_of(last, number + 1) == "after", "the row of the next timeline to arrive", 60)
        assert not pooler.closes("protocol_server")
    finally:
        if last:
            last.destroy()
        middle.destroy()


def test_a_subscription_through_the_pooler(replicating, source, own_pg):
    pooler = replicating()
    with source.connect(dbname="app") as conn:
        conn.execute("TRUNCATE t")
        conn.execute("INSERT INTO t SELECT n, 'first' FROM generate_series(1, 1000) AS n")
        conn.execute("CREATE PUBLICATION news FOR TABLE t")
    with own_pg.connect(dbname="app") as conn:
        conn.execute(f"CREATE SUBSCRIPTION reader CONNECTION 'host=127.0.0.1 port={pooler.port} user=app dbname=app sslmode=disable' PUBLICATION news")
        wait_until(lambda: conn.execute("SELECT count(*) FROM t").fetchone()[0] == 1000, "the first copy", 30)
        insert(source, 1001, "second")
        wait_until(lambda: conn.execute("SELECT v FROM t WHERE id = 1001").fetchone() == ("second",), "the change")
        conn.execute("DROP SUBSCRIPTION reader")
    with source.connect(dbname="app") as conn:
        conn.execute("DROP PUBLICATION news")


# ---- one by one, on the wire

@pytest.mark.sanitizer
def test_it_counts_in_the_pool_and_its_server_is_nobody_elses(replicating):
    pooler = replicating(default_pool_size=1)
    with pooler.wire() as other:
        pid = other.value("SELECT pg_backend_pid()")
        with pooler.wire(replication="database", application_name="mine") as client:
            system = client.rows("IDENTIFY_SYSTEM")[0]
            assert system[3] == "app"
            assert client.value("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()") == "mine"
            assert client.value("SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()") == "walsender"
            own = client.value("SELECT pg_backend_pid()")
            assert own != pid
            rows = pooler.servers()
            assert [(row["replication"], row["state"]) for row in rows] == [("logical", "active")]
            other.send(wire.query("SELECT pg_backend_pid()"))
            assert other.silent_for(0.3)  # the only place is taken
        answer = other.until()
        assert next(m for m in answer if m.kind == "D").row()[0] not in (pid, own)
        assert other.value("SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()") == "client backend"
    assert replication_of(pooler.servers()) == []


def test_any_parameter_is_allowed_for_its_own_server(replicating):
    pooler = replicating()
    with pooler.wire(replication="database", options="-c extra_float_digits=3 -c work_mem=123kB", **{"statement_timeout": "77s"}) as client:
        assert client.value("SHOW work_mem") == "123kB"
        assert client.value("SHOW statement_timeout") == "77s"


def test_query_timeout_is_not_for_streams(replicating):
    pooler = replicating(query_timeout=1, query_wait_timeout=5)
    with pooler.wire(replication="database") as client:
        assert client.value("SELECT pg_sleep(1.6)::text || 'slept'") == "slept"


def test_a_role_that_may_not_replicate_hears_postgresqls_reason(replicating, source):
    pooler = replicating()
    with pytest.raises(psycopg.OperationalError) as direct:
        psycopg.connect(host="127.0.0.1", port=source.port, user="pupil", dbname="app", replication="database", sslmode="disable")
    with pytest.raises(ServerError) as pooled:
        pooler.wire(user="pupil", replication="database")
    assert pooled.value.sqlstate == "42501"
    reason = str(direct.value).split("FATAL:")[1].strip()
    assert reason in str(pooled.value)
    # the pool is as good as before
    with pooler.wire(user="pupil") as client:
        assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("value, kind", [("true", "physical"), ("on", "physical"), ("1", "physical"), ("y", "physical"), ("database", "logical"),
                                         ("0", None), ("off", None), ("false", None), ("f", None)])
def test_words_for_it(replicating, value, kind):
    pooler = replicating()
    with pooler.wire(replication=value, database="replication") as client:
        if kind:
            assert len(client.rows("IDENTIFY_SYSTEM")) == 1
        else:
            assert client.value("SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()") == "client backend"
        assert replication_of(pooler.clients("replication")) == ([kind] if kind else [])


def test_another_word_is_refused(replicating):
    with pytest.raises(ServerError) as refused:
        replicating().wire(replication="maybe")
    assert refused.value.sqlstate == "22023"


def test_a_killed_walsender_ends_its_client_with_postgresqls_words(replicating, source):
    pooler = replicating()
    with pooler.wire(replication="database") as client, source.connect(dbname="app") as conn:
        pid = client.value("SELECT pg_backend_pid()")
        conn.execute("SELECT pg_terminate_backend(%s)", [int(pid)])
        messages = client.expect_closed()
        assert [m.fields()["C"] for m in messages if m.kind == "E"] == ["57P01"]
    with pooler.wire() as other:
        assert other.value("SELECT 1") == "1"


def test_clients_that_leave_while_their_server_is_made(replicating):
    """However far it had come: no place is lost."""
    pooler = replicating(default_pool_size=2)
    for n in range(40):
        client = pooler.raw()
        client.send(wire.startup_packet({"user": "app", "database": "app", "replication": "database"}))
        time.sleep(0.001 * (n % 10))
        client.disconnect()
    wait_until(lambda: not pooler.clients(), "the clients to be gone")
    with pooler.wire() as one, pooler.wire() as two:
        one.query("BEGIN")
        two.query("BEGIN")
        assert one.value("SELECT 1") == two.value("SELECT 1") == "1"
        one.query("COMMIT")
        two.query("COMMIT")
    assert len(pooler.servers()) <= 2


def test_kill_ends_them(replicating):
    pooler = replicating()
    with pooler.wire(replication="database") as client:
        pooler.admin("KILL app")
        assert client.expect_closed()
    pooler.admin("RESUME app")
    with pooler.wire() as other:
        assert other.value("SELECT 1") == "1"


def test_rules_for_replication(make_pooler, source):
    """The keyword is about physical replication, and `all` is not."""
    pooler = make_pooler(start=False, postgres=source, databases={"app": f"{source.dsn} dbname=app", "replication": f"{source.dsn} dbname=postgres"})
    rules = util.write_file(pooler.path("hba.conf"), "host replication app all trust\nhost all alice all trust\nhost app bob all trust\n")
    pooler.settings.update({"auth_type": "hba", "auth_hba_file": rules})
    pooler.write_config()
    pooler.start()

    def gets_in(user, database, **parameters):
        try:
            pooler.wire(user=user, database=database, **parameters).disconnect()
            return True
        except ServerError as error:
            assert error.sqlstate == "28000"
            return False

    assert gets_in("app", "replication", replication="true")
    assert not gets_in("app", "app")
    assert not gets_in("app", "app", replication="database")
    assert not gets_in("alice", "replication", replication="true")
    assert gets_in("alice", "app", replication="database")
    assert gets_in("bob", "app", replication="database")
    assert not gets_in("bob", "app", replication="true")


def test_who_gives_up_may_take_others_along(make_pooler, fake):
    """A login with replication that times out frees the last server of a pool that PostgreSQL refuses: all who wait fail at once,
    while the worker is walking the list in which they are."""
    is_replicating = threading.Event()

    def script(conn):
        if is_replicating.is_set():
            conn.read_startup()
            conn.send(error("28000", "no entry"))
            return
        parameters = conn.read_startup()
        if "replication" in parameters:
            is_replicating.set()
            conn.hang_until_closed()
        conn.send(wire.message("R", struct.pack("!I", 0)), wire.message("K", struct.pack("!II", 1, 1)), ready())
        conn.serve_queries()

    pooler = make_pooler(databases={"app": f"{fake(script).dsn} dbname=app"}, settings={
        "default_pool_size": 8, "client_login_timeout": 3 * util.PATIENCE, "server_connect_timeout": 60 * util.PATIENCE, "server_login_retry": 60})
    clients = [pooler.raw(timeout=30)]
    clients[0].send(wire.startup_packet({"user": "app", "database": "app", "replication": "database"}))
    assert is_replicating.wait(10 * util.PATIENCE)
    for _ in range(12):  # of every worker some
        clients.append(pooler.raw(timeout=30))
        clients[-1].send(wire.startup_packet({"user": "app", "database": "app", "statement_timeout": "5"}))
    for client in clients:
        assert client.receive().kind == "E"
        client.disconnect()
    assert pooler.show("CLIENTS")  # each worker answers
