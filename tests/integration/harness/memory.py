"""Looks into the memory of a running pooler, as root can."""
import contextlib
import os
import subprocess

from . import util

HUGE = 1 << 30  # of sanitizers
DELAY_US = 500_000


def pieces_of(secret):
    """Enough of it to be no accident: from its ends, and from in between."""
    raw = secret.encode()
    return {raw[at:at + 24] for at in [0, len(raw) - 24, *range(500, len(raw) - 24, 1000)]}


def find(pid, secret):
    """Where it is, as lines of text."""
    found = []
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            words = line.split()
            start, end = (int(at, 16) for at in words[0].split("-"))
            if "rw" not in words[1] or end - start > HUGE:
                continue
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except OSError:
                continue
            for piece in pieces_of(secret):
                at = content.find(piece)
                if at >= 0:
                    found.append(f"{line.strip()}: {start + at:#x}: {content[max(at - 32, 0):at + 64]}")
    return found


@contextlib.contextmanager
def stopped_behind_sending(pid):
    """Each thread that sends stays in that call for a while, so that who has the answer sees how memory was when it was given."""
    command = ["strace", "-f", "-p", str(pid), "-o", "/dev/null", "-e", "trace=sendto,sendmsg",
               "-e", f"inject=sendto,sendmsg:delay_exit={int(DELAY_US * util.PATIENCE)}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          preexec_fn=util.die_with_parent()) as tracer:
        def is_attached():
            assert tracer.poll() is None, "strace has ended"
            threads = os.listdir(f"/proc/{pid}/task")
            return all("TracerPid:\t0\n" not in open(f"/proc/{pid}/task/{t}/status", encoding="ascii").read() for t in threads)
        try:
            util.wait_until(is_attached, "strace to attach")
            yield
        finally:
            tracer.terminate()
