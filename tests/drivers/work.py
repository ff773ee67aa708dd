"""What clients in Python share: the work of drivers.py as they find it in their environment, and its lines."""
import os
import re
import sys
import threading
import traceback

CLIENTS, ROUNDS = int(os.environ["CLIENTS"]), int(os.environ["ROUNDS"])
DSN = {"host": os.environ["PGHOST"], "port": int(os.environ["PGPORT"]), "user": os.environ["PGUSER"]}
DATABASE = os.environ["PGDATABASE"]

_lock = threading.Lock()


def sql(name, n=0, placeholder=None):
    """A statement with $1, $2 or with the driver's own placeholder: "%s", or ":p" for :p1, :p2."""
    text = os.environ[f"SQL_{name}"].replace("{n}", str(n))
    if placeholder is None:
        return text
    return re.sub(r"\$(\d)", lambda match: placeholder if placeholder == "%s" else placeholder + match.group(1), text)


def text(n, i):
    return f"client {n}, round {i}: \u00e4 'quoted'"


def say(n, *words):
    with _lock:
        sys.stdout.write(" ".join(str(word) for word in (n, *words)) + "\n")


def length(answer, argument):
    """The value of the line "long"."""
    return len(answer) if answer == argument * 2 else "wrong"


def news(n):
    """The channel that client n listens to, as do some others. It tells news to those of news(n + 1), each as "n number process-id"."""
    return f"news_{n % 3}"


def heard(notifications):
    """What has come as (process id, payload), by who sent it; each must know itself by the id that came with it."""
    by_sender = {}
    for pid, payload in notifications:
        sender, number, known = payload.split()
        by_sender.setdefault(int(sender), []).append(number if int(known) == pid else f"{number} of somebody else")
    return " ".join(f"{sender}:{','.join(numbers)}" for sender, numbers in sorted(by_sender.items()))


def at_once(work, count=CLIENTS):
    """work(n) in as many threads; ends the program with 1 when one of them fails."""
    failed = []

    def run(n):
        try:
            work(n)
        except BaseException:  # noqa: B902  also SystemExit is a failure here
            failed.append(n)
            traceback.print_exc()

    started = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if failed:
        sys.exit(1)


def threads(work):
    """work(n) for all clients at once, which ends the program."""
    at_once(work)
    sys.exit(0)
