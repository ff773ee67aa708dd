"""The operator of tests/stress/chaos: uses the console at random, and does to PostgreSQL what may happen to it."""
import os
import random
import signal
import threading
import time

import psycopg

from harness import wire
from harness.wire import Closed

RELATIONS = ["ACTIVE_SOCKETS", "CLIENTS", "CONFIG", "DATABASES", "DNS_HOSTS", "DNS_ZONES", "ENVIRONMENT", "ERRORS", "HELP", "LATENCY",
             "LISTS", "MEM", "PEERS", "PEER_POOLS", "POOLS", "SERVERS", "SOCKETS", "STATE", "STATS", "STATS_AVERAGES", "STATS_TOTALS",
             "TOTALS", "USERS", "UTILIZATION", "VERSION", "WORKERS"]
NAMES = ["", "one", "two", "capped", "fixed", "gone"]  # what an order is for; "" = the whole


class Operator:
    def __init__(self, pooler, pg, seed, find, note):
        self.pooler, self.pg, self.find, self.note = pooler, pg, find, note
        self.random = random.Random(f"{seed}-operator")
        self.calm_config = (dict(pooler.databases), dict(pooler.settings))
        self.disturbed_until = 0.0  # nobody is judged by how long it waits before this moment
        self.frozen = []  # when PostgreSQL stood still: [(from, to)], wall clock
        self.restarts = []

    # ---- the console

    def console(self, timeout=20.0):
        return self.pooler.wire("admin", "pgbouncer", timeout=timeout)

    def command(self, sql, errors=()):
        with self.console() as raw:
            if self.random.random() < 0.3:
                raw.send(wire.simple_extended(sql), wire.sync())
                messages = raw.until("Z")
            else:
                messages = raw.query(sql)
        for msg in messages:
            if msg.kind == "E" and msg.sqlstate not in errors:
                self.find(f"console: {sql}: {msg}")
        return messages

    def rows(self, sql):
        with self.console() as raw:
            messages = raw.query(sql)
        names = [name for m in messages if m.kind == "T" for name, _ in m.columns()]
        return [dict(zip(names, m.row())) for m in messages if m.kind == "D"]

    # ---- what it does

    def act_show(self):
        for name in self.random.sample(RELATIONS, 6):
            self.command(f"SHOW {name}")

    def act_select(self):
        """SQL over the console's relations, if it was built in; the sum must come out, whatever changes meanwhile."""
        self.command("SELECT p.database, sum(p.cl_active), count(c.id) FROM pools p LEFT JOIN clients c ON c.database = p.database "
                     "GROUP BY 1 ORDER BY 2 DESC", errors=("42601",))

    def act_kill(self):
        """Clients and servers are gone at once, and the database stays paused."""
        name = self.random.choice(NAMES)
        self.disturbed_until = time.monotonic() + 3600
        self.command(f"KILL {name}", errors=("3D000",))
        time.sleep(self.random.random())
        self.command(f"RESUME {name}", errors=("55000", "3D000"))
        self.disturbed_until = time.monotonic() + 5

    def act_kill_client(self):
        rows = [row for row in self.rows("SHOW CLIENTS") if row["database"] not in ("pgbouncer", "pgsluice")]
        for row in self.random.sample(rows, min(3, len(rows))):
            self.command(f"KILL_CLIENT {row['id']}", errors=("42704", "22023", "55000", "02000"))

    def act_reconnect(self):
        """Servers turn over; waiting for that is complete, or given up."""
        name = self.random.choice(NAMES)
        self.command(f"RECONNECT {name}", errors=("3D000",))
        waiting = self.console(timeout=60)
        waiting.send(wire.query(f"WAIT_CLOSE {name}"))
        if self.random.random() < 0.5:
            waiting.until("Z")
        waiting.disconnect()

    def act_pause(self):
        """PAUSE of one database or all; left alone, given up, or ended by RESUME before it is complete."""
        name = self.random.choice(["", *NAMES])
        self.disturbed_until = time.monotonic() + 3600
        paused = self.console()
        paused.send(wire.query(f"PAUSE {name}"))
        time.sleep(self.random.random() * 1.5)
        gives_up = self.random.random() < 0.3
        if gives_up:
            paused.disconnect()
        if self.random.random() < 0.3:
            self.act_reload()
        self.command(f"RESUME {name}", errors=("55000", "3D000"))
        if name and self.random.random() < 0.5:
            self.command("RESUME", errors=("55000",))
        if not gives_up:
            paused.until("Z")
            paused.disconnect()
        self.disturbed_until = time.monotonic() + 5

    def act_disable(self):
        self.command("DISABLE two", errors=("3D000",))
        time.sleep(self.random.random())
        self.command("ENABLE two", errors=("3D000",))

    def act_reload(self):
        databases, settings = (dict(each) for each in self.calm_config)
        pick = self.random
        pg = self.pg.dsn
        databases["two"] = f"{pg} dbname={pick.choice(['app', 'app2', 'app2'])} pool_size={pick.randint(1, 3)} max_db_connections={pick.randint(2, 5)}"
        databases["one"] = (f"{pg} dbname=app pool_size={pick.randint(1, 3)} min_pool_size={pick.randint(0, 2)} "
                            f"reserve_pool_size={pick.randint(0, 2)}")
        if pick.random() < 0.4:
            del databases["gone"]
        settings.update({
            "server_idle_timeout": pick.choice([1, 2, 600]), "server_lifetime": pick.choice([1, 3, 3600]),
            "server_check_delay": pick.choice([0, 30]), "server_round_robin": pick.randint(0, 1),
            "handoff_burst": pick.choice([0, 0, 4]), "handoff_slack": pick.choice([0, 0.005]),
            "server_check_query": pick.choice(["<empty>", "select 1", ""]),
            # none of these is to strike: they are looked at all the same
            "query_timeout": pick.choice([0, 300]), "transaction_timeout": pick.choice([0, 300]), "idle_transaction_timeout": pick.choice([0, 300]),
            "client_idle_timeout": pick.choice([0, 600]), "reserve_pool_timeout": pick.choice([0.05, 1, 5]),
        })
        self.pooler.databases, self.pooler.settings = databases, settings
        self.pooler.write_config()
        how = pick.random()
        if how < 0.2:
            with open(self.pooler.path("pgsluice.ini"), "a", encoding="utf-8") as file:
                file.write("default_pool_sise = 3\n")
            if not any(m.kind == "E" for m in self.command("RELOAD", errors=("F0000", "22023", "XX000"))):
                self.find("RELOAD of a wrong file gave no error")
        elif how < 0.4:
            self.pooler.send_signal(signal.SIGHUP)
        else:
            self.command("RELOAD")

    def act_set(self):
        key, value = self.random.choice([("server_idle_timeout", "1"), ("server_lifetime", "2"), ("default_pool_size", "2"),
                                         ("server_check_delay", "0"), ("log_connections", "0"), ("server_round_robin", "1"),
                                         ("handoff_burst", "3"), ("max_client_conn", "900")])
        self.command(f"SET {key} = {value}")

    def act_terminate(self):
        where = self.random.choice(["random() < 0.2", "random() < 0.5", "state = 'idle'", "state = 'active' AND random() < 0.5",
                                    "usename = 'tight'", "true"])
        self.pg.terminate_backends(where)

    def act_restart(self):
        self.disturbed_until = time.monotonic() + 3600
        start = time.time()
        self.pg.stop(self.random.choice([signal.SIGINT, signal.SIGQUIT]))
        time.sleep(self.random.random() * 1.5)
        self.pg.start()
        self.restarts.append((start, time.time()))
        self.disturbed_until = time.monotonic() + 6

    def backends(self):
        pid = self.pg.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]

    def act_freeze(self):
        """Stops the postmaster, some backends, or everything for a while. Slots close by themselves after a second."""
        self.disturbed_until = time.monotonic() + 3600
        start = time.time()
        which = self.random.randrange(3)
        pids = [self.pg.process.pid] if which == 0 else self.backends()
        if which == 1:
            pids = self.random.sample(pids, min(4, len(pids)))
        elif which == 2:
            pids.append(self.pg.process.pid)
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            if number == signal.SIGSTOP:
                time.sleep(self.random.choice([0.2, 0.6, 2.0]))
        self.frozen.append((start, time.time()))
        self.disturbed_until = time.monotonic() + 5

    def act_half_console(self):
        raw = self.console()
        raw.send(self.random.choice([wire.query("SHOW CLIENTS") * 5, wire.query("SHOW SERVERS")[:9], wire.query("SHOW STATS; SHOW POOLS"),
                                     wire.simple_extended("SHOW POOLS"), wire.query("SHOW WHAT"), wire.query("SET x = ")]))
        self.random.choice([raw.disconnect, raw.reset, raw.goodbye])()

    ACTS = [(act_show, 8), (act_select, 3), (act_pause, 3), (act_disable, 1), (act_reload, 6), (act_set, 3), (act_terminate, 4), (act_kill, 1),
            (act_kill_client, 2), (act_reconnect, 2), (act_restart, 1), (act_freeze, 2), (act_half_console, 2)]

    def run(self, until):
        acts, weights = zip(*self.ACTS)
        while time.monotonic() < until:
            act = self.random.choices(acts, weights)[0]
            self.note(act.__name__)
            start = time.time()
            try:
                act(self)
            except (Closed, OSError, wire.ServerError, AssertionError, psycopg.Error) as problem:
                self.find(f"operator, {act.__name__}: {problem!r}")
                if not self.pooler.is_running():
                    return
            print(f"  {time.strftime('%H:%M:%S', time.localtime(start))} {act.__name__} {time.time() - start:.1f} s", flush=True)
            time.sleep(self.random.random() * 0.8)

    def calm_down(self):
        """Everything as it was at the start, and nothing paused."""
        if self.pg.process.poll() is not None:
            self.pg.start()
        self.pooler.databases, self.pooler.settings = (dict(each) for each in self.calm_config)
        self.pooler.write_config()
        self.command("RELOAD")
        self.command("RESUME", errors=("55000",))
        for name in ("one", "two", "capped", "fixed", "gone"):
            self.command(f"RESUME {name}", errors=("55000",))
        self.command("ENABLE two")


class Watcher(threading.Thread):
    """Looks at SHOW POOLS all the time: nobody waits while a server is idle, nobody waits for ever, no limit is exceeded."""

    def __init__(self, operator, limits, bound):
        super().__init__(daemon=True)
        self.operator, self.limits, self.bound = operator, limits, bound
        self.stopping = threading.Event()
        self.idle_since = {}
        self.reported = set()

    def run(self):
        while not self.stopping.wait(0.25):
            try:
                rows = self.operator.rows("SHOW POOLS")
            except (Closed, OSError, wire.ServerError) as problem:
                self.operator.find(f"watcher: {problem!r}")
                return
            for row in rows:
                self.look(row)

    def look(self, row):
        pool = row["database"], row["user"]
        number = {key: int(value) for key, value in row.items() if key.startswith(("sv_", "cl_", "maxwait"))}
        # as in PgBouncer, connections for cancel requests are among those that log in
        skipped = "sv_login" if number["cl_waiting_cancel_req"] + number["cl_active_cancel_req"] else "cancel"
        servers = sum(number[key] for key in number if key.startswith("sv_") and "cancel" not in key and skipped not in key)
        if row["database"] in self.limits and servers > self.limits[row["database"]]:
            self.report(pool, f"{servers} servers, more than the limit: {row}")
        judged = time.monotonic() > self.operator.disturbed_until
        if judged and number["cl_waiting"] and number["sv_idle"] + number["sv_used"] and number["maxwait"] >= 2:
            if time.monotonic() - self.idle_since.setdefault(pool, time.monotonic()) > 2:
                self.report(pool, f"clients wait though a server is idle: {row}")
        else:
            self.idle_since.pop(pool, None)
        if judged and number["maxwait"] > self.bound:
            self.report(pool, f"a client waits for {number['maxwait']} s: {row}")

    def report(self, pool, text):
        if (pool, text[:20]) not in self.reported:
            self.reported.add((pool, text[:20]))
            self.operator.find(f"SHOW POOLS, {pool[1]}@{pool[0]}: {text}")

    def stop(self):
        self.stopping.set()
        self.join(20)
