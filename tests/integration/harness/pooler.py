"""Runs the pooler under test with a generated configuration, and talks to its console."""
import atexit
import os
import re
import shlex
import shutil
import signal
import subprocess

import psycopg

from . import util
from .util import free_port, wait_until
from .wire import Closed, Wire

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILT = os.environ.get("PGSLUICE_BIN") or os.path.join(TOP, "build", "gcc", "pgsluice")


def reachable(path):
    """The program itself, or a copy of it where the unprivileged user cannot reach a tree that belongs to root."""
    if not os.path.exists(path):
        return path
    user = util.popen_user()
    if not user or subprocess.run(["test", "-x", path], check=False, **user).returncode == 0:
        return path
    directory = util.make_directory("pgs-bin-")
    atexit.register(util.remove_directory, directory)
    copy = shutil.copy(path, directory)
    os.chmod(copy, 0o755)
    return copy


BINARY = reachable(BUILT)
CONTROL = reachable(os.path.join(os.path.dirname(BUILT), "pgsluicectl"))
IS_OWN = "pgbouncer" not in os.path.basename(BINARY)
# A command before the program, e.g. "setarch x86_64 -R" or "valgrind".
WRAPPER = shlex.split(os.environ.get("PGSLUICE_TEST_WRAPPER", ""))

# What must never be in a log: reports of sanitizers, failed assertions, crashes.
TROUBLE = re.compile(r"(AddressSanitizer|ThreadSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|runtime error:|"
                     r"[Aa]ssertion .*failed|invariant .*violated|SIGSEGV|SIGABRT|SIGBUS|stack smashing|free\(\): |double free|malloc\(\): )")


def ini_value(value):
    return "1" if value is True else "0" if value is False else str(value)


def quote_userlist(text):
    return '"' + text.replace('"', '""') + '"'


class Pooler:
    """One pooler process. Change .settings, .databases, .users, .userlist and call .write_config() to reload."""

    def __init__(self, postgres, workers=1, databases=None, users=None, settings=None, userlist=None, peers=None,
                 sections="", env=None, arguments=(), limits=None):
        self.postgres, self.workers = postgres, workers
        self.directory = util.make_directory("pgs-")
        self.port = free_port()
        self.process = None
        self.env, self.arguments, self.limits = env or {}, list(arguments), limits
        self.login_with = {}  # parameters of every connection by libpq, the console's too
        self.expect_trouble = False
        self.expected_status = (0,) if IS_OWN else (0, 1, -3)  # older PgBouncers do not catch SIGQUIT
        server = postgres.dsn if postgres else "host=127.0.0.1 port=1"
        self.databases = {"app": f"{server} dbname=app", "app2": f"{server} dbname=app2"} if databases is None else databases
        self.users, self.peers, self.sections = users or {}, peers or {}, sections
        self.userlist = {"app": "", "alice": "", "bob": "", "admin": "", "stats": "", **(userlist or {})}
        self.settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": self.directory,
            "auth_type": "trust",
            "auth_file": self.path("userlist.txt"),
            "admin_users": "admin",
            "stats_users": "stats",
            "pool_mode": "transaction",
            "default_pool_size": 5,
            "max_client_conn": 1000,
            "server_login_retry": 1,
            "logfile": "",
        }
        if IS_OWN:
            self.settings["workers"] = workers
            if workers == 4:
                self.settings["handoff_burst"] = 0  # servers change hands most where nobody overtakes
            self.settings["http_listen"] = ""  # poolers of several tests run at a time
        self.settings.update(settings or {})
        self.write_config()

    # ---- configuration

    def path(self, name):
        return os.path.join(self.directory, name)

    def config_text(self):
        lines = ["[databases]"] + [f"{k} = {v}" for k, v in self.databases.items()]
        lines += ["[users]"] + [f"{k} = {v}" for k, v in self.users.items()]
        if self.peers:
            lines += ["[peers]"] + [f"{k} = {v}" for k, v in self.peers.items()]
        lines += ["[pgbouncer]"] + [f"{k} = {ini_value(v)}" for k, v in self.settings.items() if v is not None]
        return "\n".join(lines) + "\n" + self.sections

    def write_config(self):
        util.write_file(self.path("userlist.txt"), "".join(
            f"{quote_userlist(user)} {quote_userlist(password)}\n" for user, password in self.userlist.items()), 0o600)
        return util.write_file(self.path("pgsluice.ini"), self.config_text())

    # ---- process

    def command(self, *arguments):
        return [*WRAPPER, BINARY, *self.arguments, *arguments]

    def environment(self):
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR") or k.endswith("SAN_OPTIONS")}
        return {**kept, "LC_ALL": "C.UTF-8", **self.env}

    def run(self, *arguments, timeout=20, **kwargs):
        """Runs the program to its end, for --version and the like."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=timeout, cwd=self.directory,
                              env=self.environment(), stdin=subprocess.DEVNULL, **{**util.popen_user(), **kwargs})

    def start(self, wait=True):
        with open(self.path("log"), "ab") as log:
            self.process = subprocess.Popen(self.command(self.path("pgsluice.ini")), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.directory, env=self.environment(), preexec_fn=self._in_the_child,
                                            **util.popen_user())
        if wait:
            wait_until(self.is_listening, "the pooler to listen", 20)
        return self

    def _in_the_child(self):
        util.die_with_parent()()
        if self.limits:
            self.limits()

    def is_listening(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the pooler ended with status {self.process.returncode}:\n{self.log()[-3000:]}")
        try:
            # An answer: TCP listens before the Unix socket does, but nothing is answered before both do.
            with Wire("127.0.0.1", self.port, timeout=2) as raw:
                raw.ssl_request()
            return True
        except Closed:  # an answer, too
            return True
        except OSError:
            return False

    def is_listening_now(self):
        try:
            Wire("127.0.0.1", self.port, timeout=2).disconnect()
            return True
        except OSError:
            return False

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def send_signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, timeout=10):
        self.process.wait(timeout * util.PATIENCE)
        return self.process.returncode

    def stop(self):
        """Ends it the quick way; returns what was wrong, as text, or None."""
        if self.process is None:
            return None
        if self.is_running():
            self.send_signal(signal.SIGQUIT)
            try:
                self.wait_exit(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return "the pooler did not end within 20 s of SIGQUIT"
        if self.expect_trouble:
            return None
        if self.process.returncode not in self.expected_status:
            return f"the pooler ended with status {self.process.returncode}"
        trouble = TROUBLE.search(self.log())
        return f"trouble in the log: {trouble.group(0)}" if trouble else None

    def destroy(self):
        util.remove_directory(self.directory)

    # ---- log

    def log(self):
        try:
            with open(self.path("log"), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def log_lines(self, pattern):
        whole = self.log().rpartition("\n")[0]  # the last line may be half written
        return [line for line in whole.splitlines() if re.search(pattern, line)]

    def wait_log(self, pattern, count=1, timeout=10):
        wait_until(lambda: len(self.log_lines(pattern)) >= count, f"log line /{pattern}/", timeout)
        return self.log_lines(pattern)

    # ---- connections

    def dsn(self, dbname="app", user="app", **kwargs):
        return {"host": "127.0.0.1", "port": self.port, "dbname": dbname, "user": user, "connect_timeout": 15,
                "sslmode": "disable", "gssencmode": "disable", **self.login_with, **kwargs}

    def connect(self, dbname="app", user="app", autocommit=True, cursor_factory=psycopg.Cursor, **kwargs):
        conn = psycopg.connect(**self.dsn(dbname, user, **kwargs), autocommit=autocommit, cursor_factory=cursor_factory)
        conn.prepare_threshold = None
        return conn

    def wire(self, user="app", database="app", password=None, timeout=10.0, tls=False, source=None, **parameters):
        """A raw connection, logged in."""
        raw = self.raw(timeout=timeout, source=source)
        try:
            if tls:
                raw.start_tls()
            return raw.login(user, database, password, **parameters)
        except BaseException:
            raw.disconnect()
            raise

    def raw(self, **kwargs):
        """A raw TCP connection on which nothing has been said yet."""
        kwargs["timeout"] = kwargs.get("timeout", 10.0) * util.PATIENCE
        return Wire("127.0.0.1", self.port, **kwargs)

    # ---- console

    def console(self, user="admin", dbname="pgbouncer", **kwargs):
        return self.connect(dbname, user, cursor_factory=psycopg.ClientCursor, **kwargs)

    def admin(self, command, **kwargs):
        """Runs one console command on a connection of its own; rows as dicts (empty for commands without rows)."""
        with self.console(**kwargs) as conn:
            cursor = conn.execute(command)
            if cursor.description is None:
                return []
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    def show(self, what):
        return self.admin(f"SHOW {what}")

    def pool(self, database="app", user="app"):
        """The row of SHOW POOLS for one pool, or None."""
        for row in self.show("POOLS"):
            if row["database"] == database and row["user"] == user:
                return row
        return None

    def servers(self, database="app"):
        return [row for row in self.show("SERVERS") if row["database"] == database]

    def clients(self, database="app"):
        return [row for row in self.show("CLIENTS") if row["database"] == database]

    def closes(self, reason):
        """How many connections ended for this reason (a name of SHOW ERRORS)."""
        return sum(row["count"] for row in self.show("ERRORS") if row["kind"] == "close" and row["name"] == reason)

    def config(self, key):
        for row in self.show("CONFIG"):
            if row["key"] == key:
                return row["value"]
        raise KeyError(key)

    def reload(self):
        self.write_config()
        self.admin("RELOAD")
