"""What the runs of real clients share: a PostgreSQL, a pooler with two servers in front of it, and ten clients at once.

Each tests/drivers/NAME/run is one program; it ends with 0 when all values were right, 77 when its client is not installed.
"""
import contextlib
import os
import shutil
import subprocess
import sys
import threading
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

CLIENTS = 10
SKIPPED = 77


def need_module(name):
    """Imports and returns a module, or ends the run as skipped."""
    try:
        return __import__(name)
    except ImportError:
        print(f"skipped: no Python module {name}")
        sys.exit(SKIPPED)


def need_program(name):
    """The path of a program, or the run ends as skipped."""
    from harness.postgres import find_programs
    path = shutil.which(name, path=find_programs() + os.pathsep + os.environ.get("PATH", ""))
    if path is None:
        print(f"skipped: no program {name}")
        sys.exit(SKIPPED)
    return path


@contextlib.contextmanager
def pooler(**settings):
    """A pooler in transaction mode with pools of two, before a PostgreSQL of its own; ends with what was wrong, if anything."""
    need_module("psycopg")
    from harness import util
    from harness.certs import Certificates
    from harness.pooler import Pooler
    from harness.postgres import Postgres
    directory = util.make_directory("pgs-certs-")
    postgres = Postgres(Certificates(directory))
    new = Pooler(postgres, 2, settings={"default_pool_size": 2, "query_wait_timeout": 60, **settings})
    try:
        new.start()
        yield new
        assert postgres.backends("usename = 'app'") <= 4, "more than two servers for each of two databases"
        problem = new.stop()
        assert not problem, problem
    except BaseException:
        print(new.log()[-4000:])
        raise
    finally:
        new.stop()
        new.destroy()
        postgres.destroy()
        util.remove_directory(directory)


def at_once(work, count=CLIENTS):
    """Runs work(number) in as many threads; raises the first of their errors."""
    errors = []

    def run(number):
        try:
            work(number)
        except BaseException as error:  # noqa: B902  raised below
            traceback.print_exc()
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def libpq_environment(to, dbname="app", user="app"):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return {**kept, "PGHOST": "127.0.0.1", "PGPORT": str(to.port), "PGDATABASE": dbname, "PGUSER": user, "PGSSLMODE": "disable",
            "PGGSSENCMODE": "disable", "PGCONNECT_TIMEOUT": "20", "LC_ALL": "C.UTF-8"}


def run_program(to, *command, dbname="app", **kwargs):
    """Runs a libpq program against the pooler; its output as text."""
    done = subprocess.run(command, env=libpq_environment(to, dbname), capture_output=True, text=True, timeout=120, check=False,
                          cwd=to.directory, **kwargs)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
