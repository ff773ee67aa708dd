"""What the runs of real clients share: a PostgreSQL, poolers with two servers in front of it, and twenty clients at once.

Each tests/drivers/NAME/run is one program; it ends with 0 when all values were right, 77 when its client cannot be had.
NAME/run-all is the same for ./check --all: the newest driver, from its own registry.

Most runs are compare(COMMAND): the same program in the driver's language, on PostgreSQL and then through poolers. It finds
PGHOST, PGPORT, PGUSER and PGDATABASE in its environment, and in CLIENTS, ROUNDS and SQL_<NAME> what each of its clients has
to do at the same time as the others; expected() says what it writes to its output: lines of client, round, key, value.
Lines with + instead of a round are its own: what this driver can do beyond that; they must be the same with and without a
pooler.
"""
import collections
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import traceback

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "integration"))

CLIENTS = 20
ROUNDS = 12  # pgjdbc and psycopg prepare what is used for the fifth time
WORKERS = (1, 4)
SKIPPED = 77
# Where drivers lie that are fetched or compiled; kept for the next run.
BUILD = os.path.join(TOP, "build", "drivers")

SCHEMA = "DROP TABLE IF EXISTS work; CREATE TABLE work (client int, id int, v text, PRIMARY KEY (client, id))"

# Each parameter is used once, in order, so $1 may become ? or %s. {n} is the client's number: not all clients share a text.
SQL = {
    "INSERT": "INSERT INTO work (client, id, v) VALUES ($1::int, $2::int, $3::text)",
    "SELECT": "SELECT v FROM work WHERE client = $1::int AND id = $2::int",
    "SUM": "SELECT $1::int * 1000 + $2::int",
    "OWN": "SELECT '{n}:' || $1::text",
    "UPDATE": "UPDATE work SET v = v || '!' WHERE client = $1::int AND id = $2::int",
    "DIVIDE": "SELECT 10 / $1::int",
    "COUNT": "SELECT count(*) FROM work WHERE client = $1::int AND id >= $2::int",
    "SERIES": "SELECT g FROM generate_series(1, $1::int) g",
    "NULL": "SELECT coalesce($1::text, 'null')",
    "LONG": "SELECT repeat($1::text, 2)",
    "END": "SELECT count(*) || ' ' || md5(string_agg(v, ',' ORDER BY id)) FROM work WHERE client = $1::int",
}


def expected(n):
    """The lines of client n, those with + left out."""
    lines, texts = [], []
    for i in range(1, ROUNDS + 1):
        text = f"client {n}, round {i}: \u00e4 'quoted'"  # INSERT n, i, text
        lines += [
            f"{i} row {text}",  # SELECT n, i
            f"{i} sum {n * 1000 + i}",  # SUM n, i
            f"{i} own {n}:{i}",  # OWN i
            f"{i} tx {text}!",  # a transaction of UPDATE n, i and SELECT n, i
            f"{i} error 22012",  # DIVIDE 0
            f"{i} after 5",  # DIVIDE 2, the same statement
            f"{i} txerror 23505",  # INSERT n, 1000 + i, text twice in a transaction, which is then rolled back
            f"{i} lost 0",  # COUNT n, 1000
            f"{i} series {100 + i} {(100 + i) * (101 + i) // 2}",  # SERIES 100 + i: how many rows, and their sum
            f"{i} null null",  # NULL with NULL
            f"{i} long {len(f'{n}/{i} ') * 2000}",  # LONG with "n/i " a thousand times: length of the answer, if it is right
        ]  # then, in each fourth round, what is prepared is closed, to be prepared again
        texts.append(text + "!")
    return lines + [f"end {ROUNDS} {hashlib.md5(','.join(texts).encode()).hexdigest()}"]  # "end", END n


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def need_module(name):
    """Imports and returns a module, or ends the run as skipped."""
    try:
        module = __import__(name)
    except ImportError:
        module = None
    if getattr(module, "__file__", None) is None:  # a directory of this name, such as ours, is one too
        skip(f"no Python module {name}")
    return module


def need_program(name):
    """The path of a program, or the run ends as skipped."""
    from harness.postgres import find_programs
    path = shutil.which(name, path=find_programs() + os.pathsep + os.environ.get("PATH", ""))
    if path is None:
        skip(f"no program {name}")
    return path


@contextlib.contextmanager
def database():
    """A PostgreSQL of this run's own."""
    need_module("psycopg")
    from harness import util
    from harness.certs import Certificates
    from harness.postgres import Postgres
    directory = util.make_directory("pgs-certs-")
    postgres = None
    try:
        postgres = Postgres(Certificates(directory))
        yield postgres
    finally:
        if postgres:
            postgres.destroy()
        util.remove_directory(directory)


@contextlib.contextmanager
def pooler_before(postgres, workers=2, **settings):
    """A pooler in transaction mode with pools of two; ends with what was wrong, if anything."""
    from harness.pooler import Pooler
    new = Pooler(postgres, workers, settings={"default_pool_size": 2, "query_wait_timeout": 300, **settings})
    try:
        new.start()
        yield new
        assert postgres.backends("usename = 'app' AND datname = 'app'") <= 2, "more than two servers"
        problem = new.stop()
        assert not problem, problem
    except BaseException:
        print(new.log()[-4000:])
        raise
    finally:
        new.stop()
        new.destroy()


@contextlib.contextmanager
def pooler(workers=2, **settings):
    """A pooler before a PostgreSQL of its own."""
    with database() as postgres, pooler_before(postgres, workers, **settings) as new:
        yield new


def poolers(postgres, **settings):
    """One after the other, a pooler for each number of workers."""
    for workers in WORKERS:
        with pooler_before(postgres, workers, **settings) as new:
            yield new


def compare(*command, parses=0.5, env=None, timeout=400, **settings):
    """Runs command on PostgreSQL and through poolers with one and four workers. What it says must be the same, and as expected().

    parses: at most so many Parses come to the servers for each Bind of a named statement, as clients share what is there;
    None for a driver that names none.
    """
    with database() as postgres:
        direct = _transcripts(postgres, command, env, timeout)
        for n in range(CLIENTS):
            _same(f"client {n}, without a pooler", expected(n), [line for line in direct[n] if not line.startswith("+ ")])
        assert len(direct) == CLIENTS + 1, list(direct)
        for pooler in poolers(postgres, **settings):
            through = _transcripts(pooler, command, env, timeout)
            for n in range(CLIENTS):
                _same(f"client {n}, {pooler.workers} workers", direct[n], through[n])
            assert through["errors"] == direct["errors"], (through["errors"], direct["errors"])
            totals = {row["name"]: int(row["value"]) for row in pooler.show("TOTALS")}
            binds, parsed = totals["total_ps_bind_count"], totals["total_ps_server_parse_count"]
            print(f"{pooler.workers} workers: {totals['total_xact_count']} transactions, {totals['total_query_count']} queries, "
                  f"{binds} Binds and {parsed} Parses of named statements")
            if parses is not None:
                assert binds > CLIENTS * ROUNDS, "it has prepared nothing"
                assert parsed <= binds * parses, "statements were not shared"


def _transcripts(to, command, env, timeout):
    """What the command says on to (a Postgres or a Pooler): the lines of each client, in order; under "errors", how often PostgreSQL
    reported which error, since drivers pass over some in silence."""
    postgres = getattr(to, "postgres", to)
    with postgres.connect() as conn:
        conn.execute(SCHEMA)
    started, logged = time.monotonic(), len(postgres.log())
    out = run_program(to, *command, env={**{f"SQL_{name}": sql for name, sql in SQL.items()}, "CLIENTS": str(CLIENTS),
                                         "ROUNDS": str(ROUNDS), **(env or {})}, timeout=timeout)
    print(f"{'PostgreSQL' if to is postgres else f'{to.workers} workers'}: {time.monotonic() - started:.1f} s", flush=True)
    lines = collections.defaultdict(list)
    for line in out.splitlines():
        match = re.fullmatch(r"(\d+) (.*)", line)
        assert match, f"not a line of a client: {line}"
        lines[int(match.group(1))].append(match.group(2))
    errors = re.findall(r" (?:ERROR|FATAL):  (.*)", postgres.log()[logged:])
    lines["errors"] = collections.Counter(re.sub('"[^"]*"', '""', error) for error in errors)
    return lines


def _same(what, wanted, got):
    for number, (one, other) in enumerate(zip(wanted, got)):
        assert one == other, f"{what}: line {number} is {other!r}, not {one!r}"
    assert len(wanted) == len(got), f"{what}: {len(got)} lines, not {len(wanted)}; the last is {got[-1:]}"


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


def run_program(to, *command, dbname="app", env=None, timeout=400, **kwargs):
    """Runs a libpq program against a pooler or a PostgreSQL; its output as text."""
    done = subprocess.run(command, env={**libpq_environment(to, dbname), **(env or {})}, capture_output=True, text=True, timeout=timeout,
                          check=False, cwd=to.directory, **kwargs)
    # the first error is at the top; what it led to may be long
    said = done.stderr if len(done.stderr) < 8000 else f"{done.stderr[:4000]}\n...\n{done.stderr[-4000:]}"
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}{said}"
    return done.stdout


def beside(run, name):
    """The path of a file that lies beside a run."""
    return os.path.join(os.path.dirname(os.path.abspath(run)), name)


def need_success(*command, why=None):
    """Runs a command that shows whether something is there, and which version; or the run ends as skipped."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        skip(why or f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-200:]}")
    print(done.stdout.strip())


def fetch(*command, cwd, timeout=600, env=None):
    """Runs a command that gets something from a registry, or the run ends as skipped."""
    if os.environ.get("CHECK_INSTALL", "1") == "":
        skip(f"nothing may be installed: {' '.join(command)}")
    try:
        subprocess.run(command, cwd=cwd, check=True, timeout=timeout, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       env={**os.environ, **(env or {})})
    except (OSError, subprocess.SubprocessError) as problem:
        skip(f"{' '.join(command)}: {problem} {(getattr(problem, 'stderr', '') or '').strip()[-400:]}")


def build_directory(name):
    """A directory for what is fetched or compiled."""
    path = os.path.join(BUILD, name)
    os.makedirs(path, exist_ok=True)
    return path


def need_debian(path, *packages):
    """path, when the package that has it is installed; or where it lies after the packages were unpacked into a directory of ours."""
    if os.path.exists(path):
        return path
    directory = build_directory(packages[0])
    unpacked = f"{directory}/x{path}"
    if not os.path.exists(unpacked):
        need_program("dpkg-deb")
        fetch("apt-get", "-q", "download", *packages, cwd=directory)
        for package in os.listdir(directory):
            if package.endswith(".deb"):
                subprocess.run(["dpkg-deb", "-x", package, "x"], cwd=directory, check=True, timeout=300)
                os.remove(f"{directory}/{package}")
    if not os.path.exists(unpacked):
        skip(f"{packages[0]} has no {path}")
    return unpacked


def need_npm(package):
    """The node_modules with a package: what was the newest version when it was not there yet."""
    directory = build_directory(f"npm-{package}")
    found = f"{directory}/node_modules/{package}/package.json"
    if not os.path.exists(found):
        fetch(need_program("npm"), "install", "--no-audit", "--no-fund", "--no-save", "--prefix", directory, package, cwd=directory)
    with open(found, encoding="utf-8") as file:
        print(package, json.load(file)["version"])
    return f"{directory}/node_modules"


def compare_java(jar, source):
    """compare() with a client in one file of Java and this driver."""
    java, javac = need_program("java"), need_program("javac")
    classes = build_directory(f"java-{os.path.basename(os.path.realpath(jar))}")
    subprocess.run([javac, "-cp", jar, "-d", classes, source], check=True, timeout=300)
    print(os.path.basename(os.path.realpath(jar)))
    name = os.path.splitext(os.path.basename(source))[0]
    compare(java, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{classes}:{jar}", name)


def need_venv(name, *packages):
    """The interpreter of a virtual environment that has the newest of these packages."""
    directory = build_directory(f"venv-{name}")
    python = f"{directory}/bin/python"
    if not os.path.exists(f"{directory}/bin/pip"):
        fetch(sys.executable, "-m", "venv", "--clear", directory, cwd=BUILD)
    fetch(python, "-m", "pip", "install", "-q", "--upgrade", "--disable-pip-version-check", *packages, cwd=directory)
    need_success(python, "-m", "pip", "freeze", "--disable-pip-version-check")
    return python


def need_cargo(name, source, dependencies):
    """A program from one file of Rust and the newest versions of {crate: its features}."""
    cargo = need_program("cargo")
    directory = build_directory(f"cargo-{name}")
    lines = ["[package]", 'name = "client"', 'version = "0.0.0"', 'edition = "2021"', "[[bin]]", 'name = "client"', 'path = "client.rs"',
             "[profile.dev]", "debug = false", "[dependencies]"]
    lines += [f'{crate} = {{ version = "*", features = {json.dumps(features)} }}' for crate, features in dependencies.items()]
    with open(f"{directory}/Cargo.toml", "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    shutil.copy(source, directory)
    fetch(cargo, "-q", "update", cwd=directory)
    fetch(cargo, "-q", "fetch", cwd=directory)
    need_success(cargo, "tree", "-q", "--depth", "1", "--manifest-path", f"{directory}/Cargo.toml", "--prefix", "none")
    subprocess.run([cargo, "build", "-q"], cwd=directory, check=True, timeout=1200, stdin=subprocess.DEVNULL)
    return f"{directory}/target/debug/client"
