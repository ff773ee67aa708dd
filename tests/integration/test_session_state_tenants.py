"""Tenants by search_path, role and statement_timeout on few servers: each sees exactly its own, whatever happens."""
import random
import re
import threading

import psycopg
import pytest

from harness import wire
from harness.util import wait_until

pytestmark = pytest.mark.own

# name, values; all of them take any, and none is reported by the server
SETTINGS = {
    "work_mem": ["100kB", "200kB", "3MB"],
    "statement_timeout": ["'10min'", "'11min'", "3600000"],
    "search_path": ["one", "one, two", "'Three 3'", "''", "\"$user\", public"],
    "geqo": ["on", "off", "false"],
    "my.setting": ["'a'", "'it''s'", "E'x\\\\y'"],
    "role": ["tenant_1", "tenant_2", "none"],
    "lock_timeout": ["5", "'6s'", "'7min'"],
    "extra_float_digits": ["0", "1", "-1"],
}


@pytest.fixture
def tenants(own_pg):
    with own_pg.connect(dbname="app") as conn:
        for number in (1, 2):
            conn.execute(f"CREATE ROLE tenant_{number}")
            conn.execute(f"GRANT tenant_{number} TO app")
    return own_pg


class Client:
    """What one client does: the same on its pooled and on its direct connection."""

    def __init__(self, rng):
        self.rng = rng
        self.depth = 0

    def setting(self):
        rng = self.rng
        name = rng.choice(list(SETTINGS))
        value = rng.choice(SETTINGS[name])
        what = rng.random()
        if what < 0.15:
            return f"RESET {name}"
        if what < 0.2:
            return f"SET {name} TO DEFAULT" if name != "role" else "RESET ROLE"
        if what < 0.3:
            return rng.choice(["RESET ALL", "SET SESSION CHARACTERISTICS AS TRANSACTION DEFERRABLE"])
        if what < 0.6 and value.startswith("'"):
            return rng.choice([
                "SELECT set_config('{0}', {1}, {2})", "SELECT set_config('{0}', {1} || '', {2})",
                "SELECT set_config(n, {1}, {2}) FROM (SELECT '{0}' AS n) AS x", "DO $$BEGIN PERFORM set_config('{0}', {1}, {2}); END$$",
            ]).format(name, value, rng.choice(["true", "false"]))
        if name == "role" and what < 0.7:
            return f"SET ROLE {value}"
        return f"SET {rng.choice(['', '', 'SESSION', 'LOCAL'])} {name} TO {value}"

    def statement(self):
        """A text for the simple protocol."""
        what = self.rng.random()
        if what < 0.45:
            return self.setting()
        if what < 0.55:
            return self.rng.choice(["BEGIN", "START TRANSACTION"])
        if what < 0.65:
            return self.rng.choice(["COMMIT", "ROLLBACK", "END", "ABORT", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN"])
        if what < 0.85:
            return self.rng.choice(["SAVEPOINT {}", "SAVEPOINT {}", "ROLLBACK TO {}", "ROLLBACK TO SAVEPOINT {}", "RELEASE {}"]).format(self.rng.choice("ab"))
        if what < 0.9:
            return self.rng.choice(["SELECT 1/0", "SET work_mem = 'much'", "nonsense"])
        return "; ".join(self.statement() for _ in range(self.rng.randint(2, 4)))

    def batch(self):
        """Messages that end in as many ReadyForQuery, of both protocols."""
        messages, n_ready = [], 0
        for _ in range(self.rng.randint(1, 4)):
            if self.rng.random() < 0.6:
                messages.append(wire.query(self.statement()))
            else:
                for _ in range(self.rng.randint(1, 3)):
                    sql = self.statement()
                    messages += [wire.parse("", sql), wire.bind("", ""), wire.execute()]
                messages.append(wire.sync())
            n_ready += 1
        return b"".join(messages), n_ready


SEEN = ("SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'transaction\\_%' AND name NOT LIKE 'plpgsql.%' AND name NOT IN ('application_name', 'is_superuser') "
        "UNION ALL SELECT 'role', current_setting('role') UNION ALL SELECT 'my.setting', coalesce(current_setting('my.setting', true), '') ORDER BY 1")
KINDS = "CEZI"


def answers(client, n_ready):
    found = []
    for _ in range(n_ready):
        for msg in client.until("Z"):
            if msg.kind in KINDS:
                found.append((msg.kind, msg.sqlstate if msg.kind == "E" else msg.payload))
    return found


def what_it_sees(client):
    return {row[0]: row[1] or "" for row in client.rows(SEEN)}


def explain(what, log):
    """The texts that led to it, the last ones last."""
    return f"{what}\n" + "\n".join(" ".join(re.findall(r"[ -~]{4,}", batch.decode(errors="replace"))) for batch in log[-12:])


@pytest.mark.sanitizer
@pytest.mark.parametrize("seed", range(4))
def test_each_sees_what_a_direct_connection_sees(make_pooler, tenants, seed):
    """The same random statements on a connection of its own give the same answers and the same settings."""
    rotating = {"min_pool_size": 2, "server_round_robin": 1} if seed % 2 else {}  # each transaction on the other server
    pooler = make_pooler(postgres=tenants, settings={"default_pool_size": 2, **rotating})
    rng = random.Random(seed)
    pairs = []
    try:
        for number in range(5):
            direct = wire.Wire("127.0.0.1", tenants.port, timeout=60)
            pairs.append((pooler.wire(timeout=60, **({"work_mem": "7MB", "TimeZone": "Asia/Tokyo"} if number == 0 else {})), direct, Client(rng)))
            direct.login("app", "app", **({"work_mem": "7MB", "TimeZone": "Asia/Tokyo"} if number == 0 else {}))
        log = {number: [] for number in range(len(pairs))}
        for _ in range(30):
            number = rng.randrange(len(pairs))
            pooled, direct, client = pairs[number]
            in_transaction = True
            while in_transaction:  # it holds its server until then, and there are fewer than clients
                batch, n_ready = client.batch()
                if len(log[number]) % 7 == 6:
                    batch, n_ready = wire.query(rng.choice(["COMMIT", "ROLLBACK"])), 1
                log[number].append(batch)
                pooled.send(batch)
                direct.send(batch)
                got, expected = answers(pooled, n_ready), answers(direct, n_ready)
                assert got == expected, explain((got, expected), log[number])
                in_transaction = got[-1] != ("Z", b"I")
                if got[-1] != ("Z", b"E"):
                    seen, there = what_it_sees(pooled), what_it_sees(direct)
                    assert seen == there, explain({k: (seen.get(k), v) for k, v in there.items() if seen.get(k) != v}, log[number])
    finally:
        for pooled, direct, _ in pairs:
            pooled.disconnect()
            direct.disconnect()


class Tenant(threading.Thread):
    """Sets its own, now and then another value, and looks at what it has, until told to stop."""

    def __init__(self, pooler, number, stop):
        super().__init__(daemon=True)
        self.pooler, self.number, self.stop = pooler, number, stop
        self.rng = random.Random(number)
        self.wrong = []
        self.n_seen = self.n_lost = 0
        self.mine = {}

    def run(self):
        while not self.stop.is_set():
            try:
                with self.pooler.connect(autocommit=True) as conn:
                    self.mine = {"search_path": DEFAULT["search_path"], "role": "none", "statement_timeout": "0"}
                    while not self.stop.is_set():
                        self.step(conn)
            except psycopg.OperationalError:  # its server has been killed
                self.n_lost += 1
            except BaseException as error:
                self.wrong.append(repr(error))
                self.stop.set()
                raise

    def values(self):
        return {"search_path": f"tenant{self.number}_{self.rng.randint(1, 3)}", "role": f"tenant_{self.rng.randint(1, 2)}",
                "statement_timeout": f"{self.rng.randint(30, 59)}min"}

    def set_all(self, conn, values):
        for name, value in values.items():
            conn.execute(f"SET {name} TO '{value}'")

    def step(self, conn):
        what, values = self.rng.random(), self.values()
        if what < 0.2:
            self.set_all(conn, values)
            self.mine = values
        elif what < 0.4:
            ends_well = self.rng.random() < 0.5
            try:
                with conn.transaction():
                    self.set_all(conn, values)
                    self.look(conn, values)
                    if not ends_well:
                        raise psycopg.Rollback()
            except psycopg.Rollback:
                pass
            if ends_well:
                self.mine = values
        elif what < 0.55:
            with conn.transaction():
                self.set_all(conn, values)
                with conn.transaction(force_rollback=True):
                    self.set_all(conn, self.values())
                self.look(conn, values)
            self.mine = values
        elif what < 0.65:
            try:
                with conn.transaction():
                    self.set_all(conn, values)
                    conn.execute("SELECT 1/0")
            except psycopg.errors.DivisionByZero:
                pass
        elif what < 0.75:
            with conn.pipeline():
                self.set_all(conn, values)
            self.mine = values
        elif what < 0.8:
            for name in values:
                conn.execute(f"RESET {name}")
            self.mine = dict(DEFAULT)
        for _ in range(3):
            self.look(conn, self.mine)

    def look(self, conn, expected):
        row = conn.execute("SELECT current_setting('search_path'), current_setting('role'), current_setting('statement_timeout')").fetchone()
        seen = dict(zip(("search_path", "role", "statement_timeout"), row))
        self.n_seen += 1
        if {k: normal(v) for k, v in seen.items()} != {k: normal(v) for k, v in expected.items()}:
            self.wrong.append((seen, expected))
            self.stop.set()


DEFAULT = {"search_path": '"$user", public', "role": "none", "statement_timeout": "0"}


def normal(value):
    return "1h" if value == "60min" else value


@pytest.mark.sanitizer
@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["none", "deaths", "reloads"])
def test_fifty_tenants_on_three_servers(make_pooler, tenants, trouble):
    pooler = make_pooler(postgres=tenants, settings={"default_pool_size": 3, "query_wait_timeout": 300})
    pooler.expect_trouble = True
    stop = threading.Event()
    threads = [Tenant(pooler, number, stop) for number in range(50)]
    for thread in threads:
        thread.start()
    try:
        for round_ in range(1, 7):
            wait_until(lambda: stop.is_set() or sum(t.n_seen for t in threads) >= 200 * round_, "tenants to look", 120)
            if trouble == "deaths":
                with tenants.connect(dbname="postgres") as conn:
                    conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' ORDER BY random() LIMIT 1")
            elif trouble == "reloads":
                pooler.settings["default_pool_size"] = 2 + round_ % 2
                pooler.settings["server_lifetime"] = 1 + round_ % 2
                pooler.reload()
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    assert [t.wrong for t in threads if t.wrong] == []
    assert not any(t.is_alive() for t in threads)
    assert len(pooler.servers()) <= 3
    assert trouble == "deaths" or sum(t.n_lost for t in threads) == 0
