"""The clients of tests/stress/chaos: each does random things and checks that every answer is its own.

A client knows at each moment what must hold for it: the token of each query comes back, its parameters have the values
it gave them, a transaction stays on one backend, errors and cancellations come only where it asked for them. Losing the
connection is no error as such (an operator ends backends and restarts PostgreSQL meanwhile), except with --calm.
"""
import collections
import hashlib
import random
import socket
import struct
import threading
import time

from harness import wire
from harness.wire import Closed, ServerError, Wire, message

# How a connection may end while the operator is at work. What is not here is a finding.
MAY_END_WITH = {"57P01", "57P02", "57P03", "08001", "08004", "08006", "3D000", "55000", "53300"}

PARAMETERS = {
    "TimeZone": ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"],
    "DateStyle": ["ISO, MDY", "ISO, DMY", "German, DMY", "SQL, MDY"],
    "IntervalStyle": ["postgres", "iso_8601", "sql_standard"],
    "client_encoding": ["UTF8", "LATIN1", "WIN1252"],
    "standard_conforming_strings": ["on", "off"],
}
CHECKED = ["application_name", *PARAMETERS]
CHECK_SQL = "SELECT " + ", ".join(f"current_setting('{name}')" for name in CHECKED)


class Wrong(Exception):
    """An answer that is not the right one: a finding."""


class Lost(Exception):
    """The connection is gone, for a reason that may happen."""


class Left(Exception):
    """The client has left by itself."""


def shown(messages):
    return "".join(msg.kind for msg in messages) + " " + repr([m for m in messages if m.kind == "E"][:2])


class Client:
    def __init__(self, crew, number):
        self.crew, self.number = crew, number
        self.random = random.Random(f"{crew.seed}-{number}")
        self.count = 0
        self.conn = None
        self.what = "nothing"
        self.mine = {}
        self.late_cancel = 0.0

    # ---- one connection

    def token(self):
        self.count += 1
        return f"c{self.number}t{self.count}"

    def connect(self):
        pick = self.random
        self.database, self.mode, users = pick.choices(self.crew.places, [p[3] for p in self.crew.places])[0][:3]
        self.user = pick.choice(users)
        self.mine = {"application_name": self.token()}
        options = {}
        if pick.random() < 0.3:
            name = pick.choice(list(PARAMETERS))
            self.mine[name] = pick.choice(PARAMETERS[name])
        given = dict(self.mine)
        if pick.random() < 0.1:
            given.pop("IntervalStyle", None)
            self.mine["IntervalStyle"] = "iso_8601"
            options = {"options": "-c IntervalStyle=iso_8601"}
        self.what = "login"
        self.conn = Wire("127.0.0.1", self.crew.port, timeout=self.crew.hang,
                         receive_buffer=pick.choice([None, None, 4096]))
        if pick.random() < 0.1:
            if self.conn.ssl_request() != b"N":
                raise Wrong("SSLRequest was not refused")
        self.conn.login(self.user, self.database, **given, **options)

    def disconnect(self):
        if self.conn:
            self.conn.disconnect()
            self.conn = None

    # ---- asking

    def send(self, *raw):
        raw = b"".join(raw)
        if self.random.random() < 0.03 and len(raw) < 2000:
            self.conn.send_in_pieces(raw, self.random.randint(1, 40))
        else:
            self.conn.send(raw)

    def answer(self, kinds="Z", errors=()):
        """Messages up to one of these kinds. Errors other than those named end the connection, or are findings."""
        messages = []
        while True:
            msg = self.conn.receive()
            messages.append(msg)
            if msg.kind == "S":
                self.conn._note_parameter(msg)
            if msg.kind == "E" and msg.sqlstate not in errors:
                fields = msg.fields()
                if fields.get("V") in ("FATAL", "PANIC"):
                    self.fatal(msg)
                if msg.sqlstate == "57014" and time.monotonic() < self.late_cancel:
                    raise Left()  # its own request, for which it did not wait
                raise Wrong(f"unexpected {msg}")
            if msg.kind in kinds:
                return messages

    def fatal(self, msg):
        if msg.sqlstate not in MAY_END_WITH or self.crew.calm:
            raise Wrong(f"connection ended with {msg}")
        raise Lost(f"{msg.sqlstate} {msg.text}")

    def expect(self, messages, rows, status=b"I"):
        got = [m.row() for m in messages if m.kind == "D"]
        if got != rows:
            raise Wrong(f"asked for {rows!r:.200} and got {got!r:.200} ({shown(messages):.200})")
        if messages[-1].kind == "Z" and messages[-1].payload != status:
            raise Wrong(f"status {messages[-1].payload} instead of {status}")

    def expect_error(self, messages, sqlstate):
        if not any(m.kind == "E" and m.sqlstate == sqlstate for m in messages):
            raise Wrong(f"expected error {sqlstate}: {shown(messages):.300}")

    def simple(self, sql, status=b"I"):
        """A statement without rows."""
        self.send(wire.query(sql))
        self.expect(self.answer(), [], status)

    def ask(self, status=b"I"):
        token = self.token()
        self.send(wire.query(f"SELECT '{token}'"))
        self.expect(self.answer(), [[token]], status)

    # ---- what a client may do; those with a transaction are not for statement mode

    def do_simple(self):
        for _ in range(self.random.randint(1, 5)):
            self.ask()

    def do_extended(self):
        token = self.token()
        self.send(wire.simple_extended("SELECT $1::text", [token]), wire.sync())
        self.expect(self.answer(), [[token]])

    def do_named(self):
        token, name = self.token(), "s" + self.token()
        self.send(wire.parse(name, "SELECT $1::text, $2::text"), wire.describe("S", name),
                  wire.bind(name, name, [token, None]), wire.execute(name), wire.close("P", name), wire.close("S", name), wire.sync())
        self.expect(self.answer(), [[token, None]])

    def do_several_statements(self):
        first, second = self.token(), self.token()
        self.send(wire.query(f"SELECT '{first}'; SELECT '{second}'"))
        self.expect(self.answer(), [[first], [second]])

    def do_function_call(self):
        token = self.token()
        self.send(wire.function_call(2311, token.encode()))  # md5(text)
        got = [m.payload[4:].decode() for m in self.answer() if m.kind == "V"]
        if got != [hashlib.md5(token.encode()).hexdigest()]:
            raise Wrong(f"function call: {got} instead of {token}")

    def do_transaction(self):
        status = b"T"
        self.simple("BEGIN", status)
        token = self.token()
        self.send(wire.query(f"SELECT pg_backend_pid(), set_config('chaos.token', '{token}', true) IS NULL"))
        pid = [m.row()[0] for m in self.answer() if m.kind == "D"]
        for _ in range(self.random.randint(0, 3)):
            self.ask(status)
            time.sleep(self.random.random() * 0.05)
        self.send(wire.query("SELECT pg_backend_pid(), current_setting('chaos.token')"))
        self.expect(self.answer(), [[*pid, token]], status)
        self.simple(self.random.choice(["COMMIT", "ROLLBACK"]))

    def do_failed_transaction(self):
        self.send(wire.query("BEGIN"), wire.query("SELECT 1/0"), wire.query("SELECT 1"))
        self.expect(self.answer(), [], b"T")
        for sqlstate in ("22012", "25P02"):
            messages = self.answer(errors=(sqlstate,))
            self.expect_error(messages, sqlstate)
            self.expect(messages, [], b"E")
        self.simple("COMMIT")

    def do_error(self):
        sql, sqlstate = self.random.choice([("SELECT 1/0", "22012"), ("SELEC", "42601"), ("SELECT * FROM nowhere", "42P01")])
        if self.random.random() < 0.5:
            self.send(wire.query(sql))
        else:
            self.send(wire.simple_extended(sql), wire.simple_extended("SELECT 'skipped'"), wire.sync())
        messages = self.answer(errors=(sqlstate,))
        self.expect_error(messages, sqlstate)
        self.expect(messages, [])
        self.ask()

    def do_pipeline(self):
        plan, raw = [], b""
        for _ in range(self.random.randint(2, 30)):
            token, kind = self.token(), self.random.randrange(4)
            if kind == 0:
                raw += wire.query(f"SELECT '{token}'")
            elif kind == 1:
                raw += wire.query(f"SELECT '{token}'; SELECT 1/0")
            else:
                raw += wire.simple_extended("SELECT $1::text", [token]) + wire.sync()
            plan.append((token, kind))
        self.send(raw)
        for token, kind in plan:
            messages = self.answer(errors=("22012",) if kind == 1 else ())
            self.expect(messages, [[token]])
            if kind == 1:
                self.expect_error(messages, "22012")

    def do_pipelined_transactions(self):
        tokens = [self.token() for _ in range(self.random.randint(1, 6))]
        for token in tokens:
            self.send(wire.query("BEGIN"), wire.simple_extended("SELECT $1::text", [token]), wire.sync(), wire.query("COMMIT"))
        for token in tokens:
            self.expect(self.answer(), [], b"T")
            self.expect(self.answer(), [[token]], b"T")
            self.expect(self.answer(), [])

    def do_portal(self):
        """A portal in portions, with Flush, within one Sync."""
        token = self.token()
        self.send(wire.parse("", "SELECT $1 || i FROM generate_series(1, 5) i"), wire.bind("", "", [token]),
                  wire.execute("", 2), wire.flush())
        messages = self.answer("s")
        time.sleep(self.random.random() * 0.02)
        self.send(wire.execute("", 2), wire.flush())
        messages += self.answer("s")
        self.send(wire.execute("", 0), wire.sync())
        self.expect(messages + self.answer(), [[f"{token}{i}"] for i in range(1, 6)])

    def do_copy_out(self):
        token, rows = self.token(), self.random.choice([3, 500, 20000])
        breaks = self.random.random() < 0.3
        divisor = f"(1 / ({rows} - i))" if breaks else "0"
        sql = f"COPY (SELECT '{token}-' || i + 0 * {divisor} FROM generate_series(1, {rows}) i) TO STDOUT"
        self.send(wire.query(sql) if self.random.random() < 0.5 else wire.simple_extended(sql) + wire.sync())
        messages = self.answer(errors=("22012",) if breaks else ())
        lines = b"".join(m.payload for m in messages if m.kind == "d").decode().split()
        if breaks:
            self.expect_error(messages, "22012")
        if not breaks and lines != [f"{token}-{i}" for i in range(1, rows + 1)]:
            raise Wrong(f"COPY TO gave {len(lines)} lines instead of {rows}, first {lines[:1]}")

    def do_copy_in(self):
        token, rows = self.token(), self.random.choice([1, 100, 3000])
        how = self.random.choice(["done", "done", "fail", "bad"])
        data = [wire.copy_data(f"{i}\t{token}\n".encode()) for i in range(rows)]
        if how == "bad":
            data.insert(rows // 2, wire.copy_data(b"not a number\tx\n"))
        end = wire.copy_fail("chaos") if how == "fail" else wire.copy_done()
        sql = "COPY chaos_sink FROM STDIN"
        errors = {"done": (), "fail": ("57014",), "bad": ("22P02",)}[how]
        way = self.random.randrange(3)
        if way == 0:  # waits to be asked
            self.send(wire.query(sql))
            self.answer("G")
            for at in range(0, len(data), 50):
                self.send(*data[at:at + 50])
            self.send(end)
        elif way == 1:  # does not
            self.send(wire.query(sql), *data, end)
        else:
            self.send(wire.simple_extended(sql), *data, end, wire.sync())
        messages = self.answer(errors=errors)
        if how == "done":
            if not any(m.kind == "C" and m.tag == f"COPY {rows}" for m in messages):
                raise Wrong(f"COPY FROM: {shown(messages)}")
        else:
            self.expect_error(messages, errors[0])
        self.ask()

    def do_big_result(self):
        token, rows = self.token(), self.random.randint(200, 3000)
        self.send(wire.query(f"SELECT '{token}-' || i || repeat('x', 1000) FROM generate_series(1, {rows}) i"))
        how = self.random.randrange(4)
        if how == 0:
            time.sleep(self.random.random() * 2)
            self.leave()
        if how == 1:
            end = time.monotonic() + self.random.random()
            while time.monotonic() < end:
                self.conn.receive_bytes(5)
                self.conn.receive_bytes(1)  # nothing is checked: it leaves in mid-message
                time.sleep(0.02)
            self.leave()
        if how == 2:
            time.sleep(self.random.random())
        got = [m.row()[0] for m in self.answer() if m.kind == "D"]
        if got != [f"{token}-{i}{'x' * 1000}" for i in range(1, rows + 1)]:
            raise Wrong(f"big result: {len(got)} rows of {rows}")

    def do_big_query(self):
        token, size = self.token(), self.random.randint(1000, 400_000)
        sql = f"SELECT '{token}', length('{'y' * size}')"
        raw = wire.query(sql)
        cut = self.random.randrange(len(raw))
        self.conn.send(raw[:cut])
        time.sleep(self.random.random() * 0.05)
        self.conn.send(raw[cut:])
        self.expect(self.answer(), [[token, str(size)]])

    def do_set(self):
        name = self.random.choice(CHECKED)
        value = self.token() if name == "application_name" else self.random.choice(PARAMETERS[name])
        ways = ["SET", "set_config", "extended", "fail"] + (["commit", "rollback"] if self.mode != "statement" else [])
        way = self.random.choice(ways)
        sql = f"SET {name} = '{value}'"
        if way == "SET":
            self.simple(sql)
        elif way == "set_config":
            self.send(wire.query(f"SELECT set_config('{name}', '{value}', false)"))
            self.answer()
        elif way == "extended":
            self.send(wire.simple_extended(sql), wire.sync())
            self.answer()
        elif way == "fail":
            self.send(wire.query(f"{sql}; SELECT 1/0"))
            self.expect_error(self.answer(errors=("22012",)), "22012")
        else:
            self.simple("BEGIN", b"T")
            self.simple(sql, b"T")
            self.simple(way)
        if way not in ("fail", "rollback"):
            self.mine[name] = value
        self.do_check()

    def do_reset(self):
        """What was reported last must hold, whatever the server's own defaults are."""
        if self.random.random() < 0.5:
            self.simple("DISCARD ALL")
            self.mine = {}
        else:
            name = self.random.choice(CHECKED)
            self.simple(f"RESET {name}")
            self.mine.pop(name, None)
        self.do_check()

    def do_check(self):
        self.send(wire.query(CHECK_SQL))
        messages = self.answer()
        (row,) = [m.row() for m in messages if m.kind == "D"]
        for name, got in zip(CHECKED, row):
            if name in self.mine and self.mine[name] != got:
                raise Wrong(f"{name} is {got!r}; this client has set {self.mine[name]!r}")
            if self.conn.parameters.get(name) != got:
                raise Wrong(f"{name} is {got!r}; this client was told {self.conn.parameters.get(name)!r}")

    def do_cancel(self):
        sleep = self.random.choice([0, 0.01, 0.1, 1])
        token = self.token()
        self.send(wire.query(f"SELECT '{token}' FROM pg_sleep({sleep})"))
        time.sleep(self.random.random() * min(sleep * 1.2, 0.5))
        waits = self.random.random() < 0.7
        self.request_cancel(waits)
        messages = self.answer(errors=("57014",))
        if not any(m.kind == "E" for m in messages):
            self.expect(messages, [[token]])
        self.ask()

    def do_stray_cancel(self):
        """A cancel request for a client that does nothing, or with a wrong key."""
        key = self.conn.key
        if self.random.random() < 0.5:
            self.conn.key = bytes(self.random.randrange(256) for _ in key)
        try:
            self.request_cancel(self.random.random() < 0.7)
        finally:
            self.conn.key = key
        self.ask()

    def request_cancel(self, waits):
        """A request that is waited for must not hit what comes later; another's must not hit this client at all."""
        try:
            if waits:
                self.conn.cancel()
                return
            with Wire(*self.conn.address) as other:
                other.send(message("", struct.pack("!II", wire.CANCEL_REQUEST, self.conn.pid) + self.conn.key))
        except (OSError, Closed):
            pass
        self.late_cancel = time.monotonic() + 15

    def do_wait(self):
        time.sleep(self.random.random())

    # ---- ways to go

    def leave(self):
        self.random.choice([self.conn.disconnect, self.conn.reset])()
        raise Left()

    def do_terminate(self):
        self.send(wire.terminate())
        if self.random.random() < 0.5:
            self.conn.expect_closed()
        raise Left()

    def do_disconnect(self):
        self.leave()

    def do_disconnect_in_work(self):
        token = self.token()
        self.send(self.random.choice([
            wire.query("SELECT pg_sleep(0.2)"), wire.query(f"BEGIN; SELECT '{token}'"),
            wire.query(f"SELECT '{token}'") * 20, wire.simple_extended("SELECT 1"), wire.simple_extended("SELECT 1") + wire.flush(),
            wire.query("COPY chaos_sink FROM STDIN") + wire.copy_data(b"1\tx\n") * 20,
            wire.query("COPY (SELECT 1 FROM generate_series(1, 10000)) TO STDOUT"),
            wire.query("SELECT pg_sleep(0.1)") + wire.terminate(), wire.query("BEGIN") + wire.terminate()]))
        time.sleep(self.random.random() * 0.1)
        self.leave()

    def do_half_message(self):
        raw = self.random.choice([wire.query(f"SELECT '{self.token()}'"), wire.simple_extended("SELECT 1") + wire.sync(),
                                  wire.query("SELECT 1") + wire.query("SELECT 2"), wire.query("SELECT '" + "z" * 100_000 + "'"),
                                  wire.query("COPY chaos_sink FROM STDIN") + wire.copy_data(b"1\t" + b"x" * 1000)])
        self.conn.send(raw[:self.random.randrange(1, len(raw))])
        time.sleep(self.random.random() * 0.3)
        self.leave()

    def do_half_open(self):
        """Says nothing more, but listens: the connection must come to its end."""
        self.send(self.random.choice([b"", wire.query("SELECT 1"), wire.query("BEGIN"), wire.query("SELECT pg_sleep(0.1)")]))
        self.conn.sock.shutdown(socket.SHUT_WR)
        self.conn.expect_closed()
        raise Left()

    def do_nonsense(self):
        ends = [b"\0" * 20, b"Q\xff\xff\xff\xff", message("?", b"x"), b"Q\0\0\0\3", message("p", b"secret\0")]
        lasts = [message("Q", b"no end"), message("B", b"\0"), message("E", b"\0"), message("d", b"no copy"), message("c")]
        raw = self.random.choice(ends + lasts)
        self.what += f" {raw!r}"
        self.conn.send(raw)
        if raw in ends and self.random.random() < 0.5:
            self.conn.expect_closed()
        self.leave()

    def leave_before_login(self):
        conn = Wire("127.0.0.1", self.crew.port, timeout=self.crew.hang)
        raw = wire.startup_packet({"user": "u1", "database": self.crew.places[0][0]})
        conn.send(raw[:self.random.randrange(len(raw) + 1)])
        time.sleep(self.random.random() * 0.2)
        self.random.choice([conn.disconnect, conn.reset])()

    ANYWHERE = [(do_simple, 12), (do_extended, 8), (do_named, 4), (do_several_statements, 2), (do_function_call, 2), (do_error, 5),
                (do_pipeline, 5), (do_portal, 2), (do_copy_out, 3), (do_copy_in, 4), (do_big_result, 2), (do_big_query, 2), (do_set, 6),
                (do_reset, 2), (do_check, 5), (do_cancel, 3), (do_stray_cancel, 2), (do_wait, 3), (do_terminate, 1),
                (do_disconnect, 1), (do_disconnect_in_work, 3), (do_half_message, 2), (do_half_open, 1), (do_nonsense, 1)]
    TRANSACTIONS = [(do_transaction, 10), (do_failed_transaction, 4), (do_pipelined_transactions, 4)]

    # ---- the whole

    def run(self):
        while not self.crew.over.is_set():
            self.attempt(self.session)
        if self.crew.is_down.is_set():
            return
        self.what = "the last question"
        start = time.monotonic()
        while not self.attempt(self.last_question) and time.monotonic() - start < self.crew.bound:
            time.sleep(0.2)
        took = time.monotonic() - start
        self.crew.note("served at the end", took)
        if took > self.crew.bound:
            self.crew.find(self, f"not served within {self.crew.bound} s after the end of all trouble ({took:.1f} s)")
        with self.crew.served.get_lock():
            self.crew.served.value += 1
        self.crew.may_leave.wait()
        self.disconnect()

    def session(self):
        if self.random.random() < 0.02:
            self.what = "leave_before_login"
            self.leave_before_login()
        self.connect()
        actions = self.ANYWHERE + (self.TRANSACTIONS if self.mode != "statement" else [])
        acts, weights = zip(*actions)
        for _ in range(self.random.randint(1, 6 if self.mode == "session" else 60)):
            act = self.random.choices(acts, weights)[0]
            self.what = act.__name__
            act(self)
            self.crew.note(act.__name__)
            if self.crew.over.is_set():
                return
            time.sleep(self.random.random() * self.crew.think)
        self.do_terminate()

    def last_question(self):
        if self.conn is None:
            self.connect()
        self.what = "the last question"
        self.ask()
        self.do_check()
        if self.mode == "session":
            self.disconnect()

    def attempt(self, act):
        """True when all went well. Anything else closes the connection, and is noted or reported."""
        try:
            act()
            return True
        except Left:
            pass
        except Wrong as problem:
            self.crew.find(self, str(problem))
        except ServerError as problem:
            if problem.sqlstate not in MAY_END_WITH or self.crew.calm:
                self.crew.find(self, f"login refused: {problem}")
            self.crew.note(f"refused: {problem}")
            time.sleep(0.2)
        except TimeoutError:
            self.crew.find(self, f"nothing came for {self.crew.hang} s")
        except (Lost, Closed, OSError) as problem:
            if self.crew.calm and not self.what.startswith(("do_half_open", "do_nonsense", "do_terminate")):
                self.crew.find(self, f"connection lost: {problem!r}")
            self.crew.note(f"lost: {problem}" + (f" in {self.what}" if isinstance(problem, Closed) else ""))
            time.sleep(0.02)
        except Exception as problem:  # an answer that the checks did not expect at all
            self.crew.find(self, f"{type(problem).__name__}: {problem}")
        self.disconnect()
        return False


class Crew:
    """The clients of one process, one thread each."""

    def __init__(self, seed, port, places, calm, hang, bound, think):
        self.seed, self.port, self.places, self.calm = seed, port, places, calm
        self.hang, self.bound, self.think = hang, bound, think
        self.lock = threading.Lock()
        self.notes = collections.Counter()
        self.worst = 0.0

    def note(self, what, seconds=0.0):
        with self.lock:
            self.notes[what] += 1
            self.worst = max(self.worst, seconds)

    def find(self, client, text):
        place = f"{client.user}@{client.database}" if client.conn else "no connection"
        port = client.conn.sock.getsockname()[1] if client.conn and client.conn.sock.fileno() >= 0 else 0
        self.findings.put(f"{time.strftime('%H:%M:%S')} client {client.number} port {port} ({place}, {client.what}): {text}")

    def run(self, numbers, over, is_down, may_leave, served, findings, notes):
        self.over, self.is_down, self.may_leave, self.served, self.findings = over, is_down, may_leave, served, findings
        threads = [threading.Thread(target=Client(self, number).run, daemon=True) for number in numbers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        notes.put((dict(self.notes), self.worst))
