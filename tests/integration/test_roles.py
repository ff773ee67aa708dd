"""target_session_attrs and changes of role with real servers: a primary and its streaming standby, a fence, a promotion under load."""
import collections
import signal
import threading
import time

import psycopg
import pytest

from harness.postgres import Postgres, Standby
from harness.util import PATIENCE, wait_until

pytestmark = pytest.mark.own

A, B = "127.0.0.2", "127.0.0.3"


class Pair:
    """A primary at A and a streaming standby at B, on the same port."""

    def __init__(self, certs):
        self.primary = Postgres(certs, A, config=Standby.REPLICATION)
        try:
            with self.primary.connect() as conn:
                conn.execute("CREATE TABLE w (client int, n int, PRIMARY KEY (client, n)); GRANT ALL ON w TO PUBLIC")
            self.standby = Standby(self.primary, B)
        except BaseException:
            self.primary.destroy()
            raise

    def wait_in_step(self):
        """All that was inserted counts: these servers acknowledge a commit before they have written it."""
        with self.primary.connect() as conn:
            wait_until(lambda: conn.execute("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND "
                                            "replay_lsn >= pg_current_wal_insert_lsn()").fetchone()[0] == 1, "the standby to follow", 30)

    def fence(self, on=True):
        """What a planned switch-over does first: nobody may write to the old primary any more."""
        with self.primary.connect() as conn:
            conn.execute("ALTER SYSTEM SET default_transaction_read_only = " + ("on" if on else "off"))
            conn.execute("SELECT pg_reload_conf()")

        def is_in_force():
            with self.primary.connect() as fresh:
                return fresh.execute("SHOW default_transaction_read_only").fetchone()[0] == ("on" if on else "off")
        wait_until(is_in_force, "the new setting", 10)

    def destroy(self):
        for server in (self.standby, self.primary):
            server.destroy()


@pytest.fixture(scope="module")
def pair(certs):
    """Not promoted by anybody."""
    both = Pair(certs)
    yield both
    both.destroy()


@pytest.fixture
def own_pair(certs):
    both = Pair(certs)
    yield both
    both.destroy()


def pool_of(make_pooler, pair, wanted, hosts=(A, B), more="", **settings):
    return make_pooler(postgres=pair.primary, databases={
        "app": f"host={','.join(hosts)} port={pair.primary.port} dbname=app target_session_attrs={wanted} {more}"},
        settings={"server_connect_timeout": 6, "server_login_retry": 1, "server_tls_sslmode": "disable", **settings})


def where(conn):
    return conn.execute("SELECT host(inet_server_addr())").fetchone()[0]


@pytest.mark.parametrize("hosts", [(A, B), (B, A)], ids=["primary-first", "standby-first"])
@pytest.mark.parametrize("wanted, fitting", [("any", {A, B}), ("read-write", {A}), ("primary", {A}), ("read-only", {B}), ("standby", {B}),
                                             ("prefer-standby", {B})])
def test_each_word(make_pooler, pair, wanted, fitting, hosts):
    """Where four sessions are."""
    pooler = pool_of(make_pooler, pair, wanted, hosts, pool_mode="session")
    conns = [pooler.connect() for _ in range(4)]
    assert {where(conn) for conn in conns} == fitting
    assert {row["addr"] for row in pooler.servers()} == fitting
    for conn in conns:
        conn.close()


def test_a_fence_holds_and_is_lifted(make_pooler, pair):
    """A primary that its operator made read-only: nothing is written, no SET of ours lifts it, and no client stays read-only after it."""
    pooler = pool_of(make_pooler, pair, "read-write", hosts=(A,), query_wait_timeout=1)
    free = make_pooler(postgres=pair.primary, settings={"server_tls_sslmode": "disable"})
    conns = [pooler.connect() for _ in range(3)] + [free.connect() for _ in range(3)]
    for conn in conns:
        conn.execute("INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING")
    pair.fence()
    try:
        refused = 0
        for conn in conns * 3:
            try:
                conn.execute("INSERT INTO t VALUES (2, 'must not be') ON CONFLICT DO NOTHING")
                assert False, "a fenced primary was written to"
            except psycopg.errors.ReadOnlySqlTransaction:
                refused += 1
            except psycopg.OperationalError:
                pass  # nobody to serve it: the wait was over
        assert refused >= 3
        pooler.wait_log("server login failed: .*session is read-only")
    finally:
        pair.fence(False)
    for conn in conns[3:]:
        wait_until(lambda: conn.execute("SHOW default_transaction_read_only").fetchone()[0] == "off", "the end of the fence")
        conn.execute("INSERT INTO t VALUES (3, 'x') ON CONFLICT DO NOTHING")

    def writes():
        try:
            with pooler.connect() as conn:
                conn.execute("INSERT INTO t VALUES (4, 'x') ON CONFLICT DO NOTHING")
                return True
        except psycopg.Error:
            return False
    wait_until(writes, "writes after the fence", 10)
    with pair.primary.connect() as conn:
        assert conn.execute("SELECT count(*) FROM t WHERE v = 'must not be'").fetchone()[0] == 0
    for conn in conns:
        conn.close()


def test_read_only_by_a_clients_own_wish(make_pooler, pair):
    """A client's own SET is kept for it over transaction pooling and is nobody else's; its errors replace no server."""
    pooler = pool_of(make_pooler, pair, "read-write", default_pool_size=1)
    with pooler.connect() as own, pooler.connect() as other:
        pid = own.execute("SELECT pg_backend_pid()").fetchone()[0]
        own.execute("SET default_transaction_read_only = on")
        for _ in range(3):
            other.execute("INSERT INTO t VALUES (5, 'x') ON CONFLICT DO NOTHING")
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                own.execute("INSERT INTO t VALUES (6, 'x')")
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                other.execute("BEGIN READ ONLY; INSERT INTO t VALUES (7, 'x')")
            other.execute("ROLLBACK")
        assert other.execute("SHOW default_transaction_read_only").fetchone()[0] == "off"
        assert own.execute("SHOW default_transaction_read_only").fetchone()[0] == "on"
        assert other.execute("SELECT pg_backend_pid()").fetchone()[0] == pid
    assert not pooler.log_lines("role has changed")


def test_a_promoted_standby_leaves_the_standby_pool(make_pooler, own_pair):
    """in_hot_standby goes off: the connections of a standby pool go; those of prefer-standby may stay."""
    pooler = pool_of(make_pooler, own_pair, "standby", hosts=(B,), query_wait_timeout=1)
    conns = [pooler.connect() for _ in range(3)]
    assert {where(conn) for conn in conns} == {B}
    with own_pair.standby.connect() as conn:
        assert conn.execute("SELECT pg_promote(true, 60)").fetchone()[0]
    try:
        for conn in conns:
            conn.execute("SELECT 1")
    except psycopg.OperationalError:
        pass  # no standby is left
    pooler.wait_log("role has changed .server is not in hot standby mode")
    wait_until(lambda: not pooler.servers(), "all servers to go")
    for conn in conns:
        conn.close()


# ---- promotion under load

class Writers:
    """Clients that write all the time, each one row a statement, and note what became of it."""

    def __init__(self, pooler, count):
        self.pooler, self.stopping = pooler, threading.Event()
        self.ended_since = [0] * count  # when the last statement of each came to an end, good or bad
        self.longest = [0] * count
        self.acknowledged = [[] for _ in range(count)]  # (n, time)
        self.read_only_errors, self.errors = [], collections.Counter()
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, me):
        n, conn = 0, None
        while not self.stopping.is_set():
            n += 1
            started = time.monotonic()
            try:
                conn = conn or self.pooler.connect(application_name=f"writer {me} {n}")
                conn.execute("INSERT INTO w VALUES (%s, %s)", (me, n))
                self.acknowledged[me].append((n, time.monotonic()))
            except psycopg.Error as problem:
                self.errors[problem.sqlstate or type(problem).__name__] += 1
                if problem.sqlstate == "25006":
                    self.read_only_errors.append(time.monotonic())
                if conn is not None and conn.closed:
                    conn = None
                self.stopping.wait(0.02)
            self.ended_since[me] = time.monotonic()
            self.longest[me] = max(self.longest[me], self.ended_since[me] - started)
        if conn is not None:
            conn.close()

    def all_since(self, when):
        """Has each of them written since?"""
        return all(done and done[-1][1] > when for done in self.acknowledged)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30 * PATIENCE)
        assert not any(thread.is_alive() for thread in self.threads), "a client hangs"


def promote(pair, how):
    """The old primary leaves, the standby takes over."""
    if how == "switch-over":
        pair.fence()
    else:
        pair.primary.stop(signal.SIGINT if how == "stop" else signal.SIGQUIT)
    if how == "switch-over":
        pair.wait_in_step()
    with pair.standby.connect() as conn:
        assert conn.execute("SELECT pg_promote(true, 60)").fetchone()[0]


def check_promotion(make_pooler, pair, how, clients, seconds):
    pooler = pool_of(make_pooler, pair, "read-write", query_wait_timeout=60, default_pool_size=8)
    writers = Writers(pooler, clients)
    try:
        wait_until(lambda: writers.all_since(0), "all clients to write", 20)
        time.sleep(seconds)
        promote(pair, how)
        promoted = time.monotonic()
        wait_until(lambda: writers.all_since(promoted), "all clients to write to the new primary", 30)
        settled = time.monotonic()
        count_old = rows(pair.primary) if how == "switch-over" else None
        time.sleep(seconds)
        late = [t for t in writers.read_only_errors if t > settled]
    finally:
        writers.stop()
    assert not late, f"{len(late)} refused writes long after the promotion"
    assert all(row["addr"] == B for row in pooler.servers())
    if how == "switch-over":
        assert rows(pair.primary) == count_old
    with pair.standby.connect() as conn:
        there = {tuple(row) for row in conn.execute("SELECT client, n FROM w")}
    # What the old one acknowledged last may have been lost with it, as without a pooler; what came after the promotion may not.
    since = 0 if how == "switch-over" else promoted
    lost = [(me, n) for me, done in enumerate(writers.acknowledged) for n, t in done if t > since and (me, n) not in there]
    assert not lost, f"{len(lost)} acknowledged rows are not there, the first is {lost[0]}"
    assert settled - promoted < 10 * PATIENCE, f"{settled - promoted:.1f} s, {writers.errors}"


@pytest.mark.sanitizer
@pytest.mark.parametrize("action", ["disconnect", "cancel"])
def test_a_primary_that_freezes(make_pooler, own_pair, action):
    """Its connections stay open and say nothing. query_timeout lets clients go; the promoted standby serves them; nobody hangs when
    the old one comes to life again."""
    pooler = pool_of(make_pooler, own_pair, "read-write", default_pool_size=6, query_timeout=1, timeout_action=action,
                     cancel_wait_timeout=1, server_connect_timeout=2, client_login_timeout=30)
    writers = Writers(pooler, 10)
    try:
        wait_until(lambda: writers.all_since(0), "all clients to write", 20)
        own_pair.primary.freeze()
        # each of them twice: what was at work when it froze, and what found nobody to ask
        for _ in range(2):
            since = time.monotonic()
            wait_until(lambda: all(ended > since for ended in writers.ended_since), "all clients to be let go", 15)
        # the timeout, and with "cancel" the time that PostgreSQL has for it
        assert max(writers.longest) < 2.5 * PATIENCE, writers.longest
        with own_pair.standby.connect() as conn:
            assert conn.execute("SELECT pg_promote(true, 60)").fetchone()[0]
        promoted = time.monotonic()
        wait_until(lambda: writers.all_since(promoted), f"all clients to write to the new primary {writers.errors}", 30)
        assert all(row["addr"] == B for row in pooler.servers() if row["state"] == "active")
        own_pair.primary.thaw()
        thawed = time.monotonic()
        wait_until(lambda: writers.all_since(thawed + 1), "all clients to write afterwards", 20)
    finally:
        writers.stop()
    assert pooler.closes("query_timeout") > 0
    assert set(writers.errors) <= {"57014", "OperationalError", "25006"}, writers.errors
    if action == "cancel":
        assert writers.errors["57014"] > 0 and pooler.log_lines("its query is canceled before a server got it")
    wait_until(lambda: pooler.pool()["cl_waiting"] == 0 and pooler.pool()["sv_active"] == 0, "an end of all queries")
    with own_pair.standby.connect() as conn:
        there = {tuple(row) for row in conn.execute("SELECT client, n FROM w")}
    lost = [(me, n) for me, done in enumerate(writers.acknowledged) for n, when in done if promoted < when < thawed and (me, n) not in there]
    assert not lost


def rows(server):
    with server.connect() as conn:
        return conn.execute("SELECT count(*) FROM w").fetchone()[0]


def test_promotion_under_load(make_pooler, own_pair):
    """A switch-over with writing clients: no restart, nothing lost, nobody hangs, nothing more is written to the old primary."""
    check_promotion(make_pooler, own_pair, "switch-over", 12, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["switch-over", "stop", "crash"])
def test_promotion_under_heavy_load(make_pooler, own_pair, how):
    """The old primary is fenced, stopped or crashes; forty clients write all the while."""
    check_promotion(make_pooler, own_pair, how, 40, 5)
