"""A throw-away PostgreSQL with users of every authentication method."""
import contextlib
import os
import signal
import subprocess

import psycopg

from . import util
from .util import free_port, wait_until

# Roles and their passwords; which method applies to whom is in HBA below.
PASSWORDS = {
    "plainuser": "plain secret ;x",
    "md5user": "md5-secret",
    "scramuser": "scram-secret",
    "saslprep": "I\u00adX\u2168",  # prepares to IXIX
    "ssluser": "ssl-secret",
    "certuser": "cert-secret",
}

HBA = """\
local   all all trust
host    all plainuser all password
host    all md5user all md5
host    all scramuser,saslprep all scram-sha-256
hostssl all ssluser all trust
hostnossl all ssluser all reject
hostssl all certuser all cert
host    all refused all reject
host    all all all trust
local   replication all trust
"""

CONFIG = """\
listen_addresses = '127.0.0.1'
max_connections = 400
superuser_reserved_connections = 3
shared_buffers = 32MB
fsync = off
full_page_writes = off
synchronous_commit = off
autovacuum = off
wal_level = minimal
max_wal_senders = 0
jit = off
ssl = on
log_line_prefix = '%m [%p] %u@%d '
log_min_messages = warning
lc_messages = 'C'
"""


def find_programs():
    """The directory of initdb and postgres: the newest, or the one named in PGSLUICE_PG_BIN."""
    candidates = [os.environ.get("PGSLUICE_PG_BIN", "")]
    base = "/usr/lib/postgresql"
    if os.path.isdir(base):
        versions = sorted((v for v in os.listdir(base) if v.isdigit()), key=int, reverse=True)
        candidates += [f"{base}/{v}/bin" for v in versions]
    try:
        candidates.append(subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
    except (OSError, subprocess.CalledProcessError):
        pass
    for path in candidates:
        if path and os.access(f"{path}/initdb", os.X_OK) and os.access(f"{path}/postgres", os.X_OK):
            return path
    raise RuntimeError("PostgreSQL's server programs were not found; set PGSLUICE_PG_BIN")


class Postgres:
    """config: lines for postgresql.conf, after the usual ones."""

    def __init__(self, certificates=None, address="127.0.0.1", port=None, config=""):
        self.bin = find_programs()
        self.directory = util.make_directory("pgs-pg-")
        self.data = f"{self.directory}/data"
        self.address, self.port = address, port or free_port()
        self.certificates = certificates
        self.config = config
        self.process = None
        self._initdb()
        self.start()
        self._populate()

    def _run(self, program, *args):
        done = subprocess.run([f"{self.bin}/{program}", *args], check=False, cwd=self.directory, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, **util.popen_user())
        assert done.returncode == 0, done.stderr

    def _initdb(self):
        self._run("initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
        certificate, key = self.certificates.server
        with open(f"{self.data}/postgresql.conf", "a", encoding="utf-8") as file:
            file.write(CONFIG + f"port = {self.port}\nunix_socket_directories = '{self.directory}'\n"
                       f"ssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\nssl_ca_file = '{self.certificates.ca}'\n"
                       f"listen_addresses = '{self.address}'\n{self.config}")
        util.write_file(f"{self.data}/pg_hba.conf", HBA, 0o600)

    def start(self):
        with open(f"{self.directory}/log", "ab") as log:
            self.process = subprocess.Popen([f"{self.bin}/postgres", "-D", self.data], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.directory, start_new_session=True,
                                            preexec_fn=util.die_with_parent(signal.SIGQUIT), **util.popen_user())
        wait_until(self._answers, "PostgreSQL to start", 60)

    def _answers(self):
        assert self.process.poll() is None, self.log()[-2000:]
        try:
            self.connect(dbname="postgres", connect_timeout=2).close()
            return True
        except psycopg.OperationalError:
            return False

    def wait_running(self, text, count=1):
        """Until so many sessions are at work on a query with this text, as PostgreSQL itself says."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s AND pid <> pg_backend_pid()"
        with self.connect(dbname="postgres") as conn:
            wait_until(lambda: conn.execute(sql, [f"%{text}%"]).fetchone()[0] >= count, f"{text} to run")

    def stop(self, how=signal.SIGINT):
        """SIGINT is a fast shutdown, SIGQUIT an immediate one."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(10)

    def _processes(self):
        """Itself and its backends, which are in process groups of their own."""
        found = [self.process.pid]
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            if entry.isdigit() and parent == self.process.pid:
                found.append(int(entry))
        return found

    def freeze(self):
        """As on a machine that has stopped: the kernel still accepts connections, and nothing is ever answered."""
        self.process.send_signal(signal.SIGSTOP)  # first, so that there are no more backends
        util.wait_until(lambda: util.is_stopped(self.process.pid), "the postmaster to have stopped")  # it may be in fork()
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)
        util.wait_until(lambda: all(util.is_stopped(pid) for pid in self._processes()), "all of PostgreSQL to have stopped")

    def thaw(self):
        for pid in reversed(self._processes()):
            with contextlib.suppress(ProcessLookupError):  # those that had been told to go do so now
                os.kill(pid, signal.SIGCONT)

    def destroy(self):
        if self.process and self.process.poll() is None:
            self.thaw()
        self.stop(signal.SIGQUIT)
        util.remove_directory(self.directory)

    def _populate(self):
        with self.connect(dbname="postgres") as conn:
            for name in ("app", "app2"):
                conn.execute(f"CREATE DATABASE {name}")
            conn.execute("SET password_encryption = 'md5'")
            conn.execute(f"CREATE ROLE md5user LOGIN PASSWORD '{PASSWORDS['md5user']}'")
            conn.execute("SET password_encryption = 'scram-sha-256'")
            for name, password in PASSWORDS.items():
                if name != "md5user":
                    conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
            for name in ("app", "alice", "bob", "refused"):
                conn.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")
            conn.execute("CREATE ROLE limited LOGIN CONNECTION LIMIT 5")
        for name in ("app", "app2"):
            with self.connect(dbname=name) as conn:
                conn.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
                conn.execute("GRANT ALL ON t TO PUBLIC; GRANT ALL ON SCHEMA public TO PUBLIC")

    def connect(self, dbname="app", user="postgres", **kwargs):
        """A direct connection over the Unix socket, which trusts everybody."""
        return psycopg.connect(host=self.directory, port=self.port, dbname=dbname, user=user, autocommit=True, **kwargs)

    def scram_verifier(self, user):
        with self.connect() as conn:
            return conn.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (user,)).fetchone()[0]

    def backends(self, where="true"):
        """How many server connections PostgreSQL counts, other than this one."""
        with self.connect() as conn:
            return conn.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                                f"AND pid <> pg_backend_pid() AND ({where})").fetchone()[0]

    def terminate_backends(self, where="true"):
        """How many; they have gone then, so that who waits for their like does not see them."""
        with self.connect() as conn:
            pids = [row[0] for row in conn.execute("SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = "
                                                   f"'client backend' AND pid <> pg_backend_pid() AND ({where})").fetchall()]
            wait_until(lambda: conn.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [pids]).fetchone()[0] == 0,
                       "backends to go")
            return len(pids)

    def log(self):
        with open(f"{self.directory}/log", encoding="utf-8", errors="replace") as file:
            return file.read()

    @property
    def dsn(self):
        return f"host={self.address} port={self.port}"


class Standby(Postgres):
    """A streaming standby of a Postgres that was made with REPLICATION, at another address and the same port."""

    REPLICATION = "wal_level = replica\nmax_wal_senders = 5\nhot_standby = on\nwal_keep_size = 64MB\n"

    def __init__(self, primary, address):
        self.primary = primary
        super().__init__(primary.certificates, address, primary.port)

    def _initdb(self):
        self._run("pg_basebackup", "-D", self.data, "-h", self.primary.directory, "-p", str(self.primary.port), "-U", "postgres",
                  "-R", "-X", "stream", "-c", "fast")
        with open(f"{self.data}/postgresql.conf", "a", encoding="utf-8") as file:
            file.write(f"listen_addresses = '{self.address}'\nunix_socket_directories = '{self.directory}'\n")

    def _populate(self):
        """It has what the primary has."""
