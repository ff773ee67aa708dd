"""The service manager: what it is told, its watchdog, and the sockets that it hands over."""
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from harness import util
from harness.util import wait_until
from harness.wire import ServerError

pytestmark = pytest.mark.own


class Manager:
    """The datagram socket on which a service manager listens."""

    def __init__(self):
        self.directory = util.make_directory("pgs-sd-")
        self.path = f"{self.directory}/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.socket.settimeout(0.05)
        self.told = []

    def read(self):
        try:
            while True:
                self.told.append(self.socket.recv(4096).decode())
        except TimeoutError:
            return self.told

    def wait(self, pattern, after=0):
        """The number of messages up to the first that matches behind the first `after`."""
        def found():
            return next((n for n, text in enumerate(self.read()[after:], after + 1) if re.search(pattern, text)), None)

        wait_until(found, f"/{pattern}/ to be told; it was {self.told[after:]}", 10)
        return found()

    def close(self):
        self.socket.close()
        util.remove_directory(self.directory)


@pytest.fixture
def manager():
    new = Manager()
    yield new
    new.close()


@pytest.fixture(autouse=True)
def needs_libsystemd(make_pooler):
    if "systemd: yes" not in make_pooler(start=False).run("--version").stdout:
        pytest.skip("built without libsystemd")


def test_ready_reloading_status_and_stopping_are_told(make_pooler, manager):
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    pooler = make_pooler(env={"NOTIFY_SOCKET": manager.path}, settings={"stats_period": 1, "log_stats": 0})
    n = manager.wait("^READY=1$")
    assert n == 1, manager.told
    n = manager.wait(r"^STATUS=stats: \d+ xacts/s, ", n)
    pooler.settings["default_pool_size"] = 7
    pooler.write_config()
    pooler.send_signal(signal.SIGHUP)
    n = manager.wait("^RELOADING=1\nMONOTONIC_USEC=", n)
    at_us = int(manager.told[n - 1].split("=")[-1])
    assert before_us < at_us <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    n = manager.wait("^READY=1$", n)
    # ready: no worker works by the old settings any more
    assert pooler.config("default_pool_size") == "7"
    pooler.send_signal(signal.SIGTERM)
    manager.wait("^STOPPING=1$", n)
    assert pooler.wait_exit() == 0


def test_ready_is_told_after_a_reload_that_failed(make_pooler, manager):
    pooler = make_pooler(env={"NOTIFY_SOCKET": manager.path})
    n = manager.wait("^READY=1$")
    pooler.settings["default_pool_size"] = "many"
    pooler.write_config()
    pooler.send_signal(signal.SIGHUP)
    n = manager.wait("^RELOADING=1\n", n)
    manager.wait("^READY=1$", n)


def test_watchdog_is_fed_in_time(make_pooler, manager):
    pooler = make_pooler(env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"})
    n = 0
    for _ in range(3):
        n = manager.wait("^WATCHDOG=1$", n)
    pooler.send_signal(signal.SIGSTOP)
    wait_until(lambda: util.is_stopped(pooler.pid), "the process to stop")
    n = len(manager.read())
    time.sleep(0.6)
    assert len(manager.read()) == n
    pooler.send_signal(signal.SIGCONT)
    manager.wait("^WATCHDOG=1$", n)


def test_without_a_watchdog_nothing_is_fed(make_pooler, manager):
    make_pooler(env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}, settings={"stats_period": 1})
    n = manager.wait("^READY=1$")
    n = manager.wait("^STATUS=", n)
    manager.wait("^STATUS=", n)  # a second has passed, to which ten belong that are not there
    assert not [text for text in manager.read() if "WATCHDOG" in text]


def listen(family, address):
    new = socket.socket(family)
    if family != socket.AF_UNIX:
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    new.bind(address)
    new.listen(16)
    return new


def start_with(pooler, sockets):
    """Starts it with these as descriptors 3 and up, as a service manager does."""
    moves = " ".join(f"{3 + i}<&{each.fileno()}" for i, each in enumerate(sockets))
    # bash: descriptors of more than one digit
    script = f'exec {moves}; export LISTEN_PID=$$ LISTEN_FDS={len(sockets)}; exec "$@"'
    with open(pooler.path("log"), "ab") as log:
        pooler.process = subprocess.Popen(["bash", "-c", script, "-", *pooler.command(pooler.path("pgsluice.ini"))], stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, cwd=pooler.directory, env=pooler.environment(), preexec_fn=util.die_with_parent(),
                                          pass_fds=[each.fileno() for each in sockets], **util.popen_user())


def test_sockets_that_are_handed_over_take_the_place_of_our_own(make_pooler, manager):
    pooler = make_pooler(start=False, env={"NOTIFY_SOCKET": manager.path})
    tcp = listen(socket.AF_INET, ("127.0.0.1", pooler.port))
    path = f"{pooler.directory}/.s.PGSQL.{pooler.port}"
    unix = listen(socket.AF_UNIX, path)
    os.chmod(path, 0o777)
    pooler.settings["listen_port"] = util.free_port()  # not opened
    pooler.write_config()
    # who comes before it runs waits in the queue
    early = socket.create_connection(("127.0.0.1", pooler.port))
    early.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
    start_with(pooler, [tcp, unix])
    tcp.close()
    unix.close()
    manager.wait("^READY=1$")
    early.settimeout(10 * util.PATIENCE)
    assert early.recv(1) == b"N"
    early.close()
    with pooler.wire() as client:
        assert client.value("SELECT 41 + 1") == "42"
    assert pooler.connect(host=pooler.directory).execute("SELECT 7").fetchone() == (7,)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", pooler.settings["listen_port"]))
    pooler.send_signal(signal.SIGINT)
    assert pooler.wait_exit() == 0
    assert os.path.exists(path)  # the manager's to remove


def test_what_is_no_listening_socket_is_refused(make_pooler):
    pooler = make_pooler(start=False)
    pooler.write_config()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong:
        start_with(pooler, [wrong])
    pooler.expected_status = (1,)
    assert pooler.wait_exit() == 1
    assert pooler.log_lines("descriptor 3 from the service manager is no listening stream socket")


def test_ipv4_through_a_socket_for_both_is_ipv4(make_pooler, pg):
    """systemd's ListenStream=6432 takes IPv4 too, as ::ffff:... : rules are for the IPv4 address, and one who guesses passwords
    does not get all others of IPv4 blocked."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    pooler = make_pooler(start=False, databases={"app": f"{pg.dsn} dbname=app user=bob"}, userlist={"app": "x", "admin": "adm"},
                         settings={"auth_type": "hba", "auth_hba_file": "rules", "auth_failure_delay": 0, "auth_failure_limit": 3})
    util.write_file(pooler.path("rules"), "host all app 127.0.0.0/8 scram-sha-256\n")
    with socket.create_server(("::", pooler.port), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        pooler.settings["listen_port"] = util.free_port()
        pooler.write_config()
        start_with(pooler, [both])
        pooler.wait_log("process up")
    for _ in range(3):
        with pooler.raw() as client, pytest.raises(ServerError, match="password authentication failed"):
            client.login("app", "app", "wrong")
    pooler.wait_log("address 127.0.0.1, user app: 3 failed logins, blocked")
    with pooler.raw(source="127.0.0.2") as client:
        assert client.login("app", "app", "x").value("SELECT 1") == "1"
