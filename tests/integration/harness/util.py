"""Small things that the other harness modules share."""
import ctypes
import os
import pwd
import random
import shutil
import signal
import socket
import tempfile
import time

# Under sanitizers everything is several times slower; bounds on waiting grow with this factor.
PATIENCE = float(os.environ.get("PGSLUICE_TEST_PATIENCE", "1"))
IS_SANITIZED = "ASAN_OPTIONS" in os.environ or "TSAN_OPTIONS" in os.environ


def wait_until(condition, what="a condition", timeout=10.0, every=0.02):
    """Calls condition() until it returns something true, which is returned; fails after timeout seconds. What it asserts is
    to be so all the while: "not yet" is to return something false."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what}")
        time.sleep(every)


LATE = 0.05 * PATIENCE  # seconds that a timeout may strike late, on a machine that has time
STRIKES = 8


def on_time(strike, timeout):
    """strike() waits for something that takes this long, and returns how long each one took, begun before its time
    began. None may be early, and in one of several tries all must be in time: in the others the machine was busy."""
    seen = []
    for _ in range(STRIKES):
        took = strike()
        took = [took] if isinstance(took, float) else list(took)
        assert min(took) >= timeout, f"early: {took}"
        if max(took) - timeout <= LATE:
            return
        seen.append(max(took))
    raise AssertionError(f"late, {STRIKES} times: {seen}")


def is_stopped(pid):
    """By SIGSTOP, or it has gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] in "TZX"
    except OSError:
        return True


_handed_out = set()

# Processes of one test run take ports from ranges of their own: between the choice of a port and its use another might take it.
PROCESS = os.environ.get("PYTEST_XDIST_WORKER")  # gw0, gw1, ...
PORTS = range(15000, 31000) if PROCESS is None else range(15000, 31000)[int(PROCESS[2:]) % 8 * 2000:][:2000]


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on, below the range that the kernel hands to clients."""
    for _ in range(1000):
        port = random.SystemRandom().choice(PORTS)
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _handed_out.add(port)
        return port
    raise RuntimeError("no free port found")


def plain_user():
    """The unprivileged user for PostgreSQL and the pooler when the tests run as root; None when they do not."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("the tests run as root and found neither user postgres nor nobody")


def popen_user():
    """Arguments for subprocess that drop root's rights."""
    user = plain_user()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


_libc = ctypes.CDLL(None)


def die_with_parent(number=signal.SIGKILL):
    """A preexec_fn: a test run that is killed leaves no server behind (PR_SET_PDEATHSIG is 1)."""
    return lambda: _libc.prctl(1, int(number))


def user_name():
    user = plain_user()
    return user.pw_name if user else pwd.getpwuid(os.geteuid()).pw_name


def give_away(path):
    user = plain_user()
    if user:
        os.chown(path, user.pw_uid, user.pw_gid)


def make_directory(prefix):
    """A directory directly under /tmp (socket paths are short) that belongs to the unprivileged user."""
    path = tempfile.mkdtemp(prefix=prefix, dir="/tmp")
    os.chmod(path, 0o755)
    give_away(path)
    return path


def remove_directory(path):
    shutil.rmtree(path, ignore_errors=True)


def write_file(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    give_away(path)
    return path


def process_cpu_seconds(pid):
    """User and system time that a process has used, all threads."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def process_rss_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
