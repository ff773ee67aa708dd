"""pgsluicectl: where it finds the console, what it prints, how it ends."""
import csv
import io
import json
import os
import re
import signal
import subprocess

import pytest

from harness import pooler as pooler_module
from harness import util

pytestmark = pytest.mark.own

KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


def run(*arguments, env=None, **kwargs):
    """As the user that runs the pooler, who needs no password over the Unix socket."""
    kept = {k: v for k, v in os.environ.items() if k in KEPT or k.endswith("SAN_OPTIONS")}
    return subprocess.run([pooler_module.CONTROL, *arguments], capture_output=True, text=True, timeout=15 * util.PATIENCE, check=False,
                          stdin=subprocess.DEVNULL, cwd="/", env={**kept, "LC_ALL": "C.UTF-8", **(env or {})},
                          **{**util.popen_user(), **kwargs})


def dsn(pooler, user="admin", **kwargs):
    words = {"host": "127.0.0.1", "port": pooler.port, "user": user, "sslmode": "disable", "gssencmode": "disable", **kwargs}
    return " ".join(f"{k}={v}" for k, v in words.items())


def control(pooler, *arguments, **kwargs):
    return run("--dsn", dsn(pooler, **kwargs), *arguments)


def ok(done):
    assert done.returncode == 0 and done.stderr == "", (done.returncode, done.stderr)
    return done.stdout


# ---- what it prints

@pytest.mark.parametrize("words", [["SHOW POOLS"], ["show", "pools"], ["pools"], ["show pools;"], ["POOLS"]], ids=" ".join)
def test_words_of_a_command(pooler, words):
    with pooler.wire() as client:
        client.query("SELECT 1")
        assert re.search(r"^ app +\| app +\| ", ok(control(pooler, *words)), re.MULTILINE)


def test_table(pooler):
    """As psql prints it: a line of names, a rule, the rows, how many."""
    lines = ok(control(pooler, "show databases")).splitlines()
    names = [name.strip() for name in lines[0].split("|")]
    assert names[:4] == ["name", "host", "port", "database"]
    assert re.fullmatch(r"-+(\+-+)+", lines[1])
    assert {line.split("|")[0].strip() for line in lines[2:-1]} >= {"app", "app2"}
    assert lines[-1] == f"({len(lines) - 3} rows)"
    assert [line.index("|") for line in lines[2:-1]] == [lines[0].index("|")] * (len(lines) - 3)


def test_latency(pooler):
    with pooler.wire() as client:
        for _ in range(5):
            client.query("SELECT 1")
    rows = json.loads(ok(control(pooler, "--json", "show latency")))
    queries = [row for row in rows if row["what"] == "query" and row["database"] == "app"]
    assert queries[0]["count"] == 5 and 0 < queries[0]["p50_us"] <= queries[0]["max_us"]


def test_json(pooler):
    """Numbers are numbers, null is null."""
    rows = json.loads(ok(control(pooler, "--json", "databases")))
    app = next(row for row in rows if row["name"] == "app")
    assert isinstance(app["port"], int) and app["pool_size"] == 5
    assert app["force_user"] is None
    assert json.loads(ok(control(pooler, "--json", "pause", "app"))) == {"command": "PAUSE"}


def test_json_of_names_that_clients_chose(pooler):
    name = 'quote " backslash \\ comma , end'
    with pooler.connect(application_name=name):
        rows = json.loads(ok(control(pooler, "--json", "clients")))
    assert name in [row["application_name"] for row in rows]


def test_csv(pooler):
    text = ok(control(pooler, "--csv", "databases"))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert {"app", "app2"} <= {row["name"] for row in rows}
    assert text.startswith("name,host,port,database,")


def test_escape_sequences_do_not_reach_the_terminal(pooler):
    """A name that a client chose may hold them; the error repeats it."""
    done = control(pooler, "show", "\x1b[2Jgone")
    assert done.returncode == 1 and "gone" in done.stderr and "\x1b" not in done.stderr


def test_help_of_the_console_is_readable(pooler):
    done = control(pooler, "show help")
    assert done.returncode == 0
    assert "SHOW" in done.stdout and "PAUSE" in done.stdout


def test_help_and_version():
    assert "--dsn" in ok(run("--help"))
    assert re.fullmatch(r"pgsluicectl \d+\.\d+\.\d+\S*\n", ok(run("--version")))


def test_watch(pooler):
    """Again and again, until it is interrupted."""
    kwargs = util.popen_user()
    process = subprocess.Popen([pooler_module.CONTROL, "--dsn", dsn(pooler), "--watch", "0.1", "version"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, **kwargs)
    try:
        seen = 0
        while seen < 3:
            line = process.stdout.readline()
            assert line != "", "it ended"
            seen += "every 0.1 s" in line
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10 * util.PATIENCE)
        process.stdout.close()


# ---- what it does

def test_pause_and_resume(pooler):
    with pooler.wire() as client:
        assert client.value("SELECT 1") == "1"
    assert ok(control(pooler, "pause", "app")) == "PAUSE\n"
    paused = {row["name"]: row["paused"] for row in pooler.show("DATABASES")}
    assert paused["app"] == 1 and paused["app2"] == 0
    assert ok(control(pooler, "resume", "app")) == "RESUME\n"
    assert control(pooler, "resume", "app").returncode == 1, "it is not paused any more"
    with pooler.wire() as client:
        assert client.value("SELECT 2") == "2"


def test_set_and_reload(pooler):
    ok(control(pooler, "set", "query_wait_timeout", "=", "33"))
    assert float(pooler.config("query_wait_timeout")) == 33
    ok(control(pooler, "reload"))
    assert float(pooler.config("query_wait_timeout")) == 120


def test_shutdown_is_a_success(pooler):
    """Though the instance may go before it has answered."""
    assert control(pooler, "shutdown").returncode == 0
    assert pooler.wait_exit() == 0


# ---- how it ends

@pytest.mark.parametrize("command", ["nonsense", "show nonsense", "pause no_such_database", "set no_such_setting = 1"])
def test_a_command_that_fails(pooler, command):
    done = control(pooler, command)
    assert done.returncode == 1 and done.stdout == "" and "ERROR" in done.stderr


def test_a_command_that_is_not_allowed(pooler):
    assert control(pooler, "pools", user="stats").returncode == 0
    assert control(pooler, "pause", user="stats").returncode == 1


@pytest.mark.parametrize("arguments", [[], ["--no-such-option", "pools"], ["--watch", "soon", "pools"], ["--dsn"],
                                       ["--dsn", "port=1", "--config", "/dev/null", "pools"], ["--dsn", "no dsn", "pools"],
                                       ["--config", "/no/such/file.ini", "pools"]], ids=" ".join)
def test_wrong_usage(arguments):
    done = run(*arguments)
    assert done.returncode == 2 and done.stdout == "" and "pgsluicectl" in done.stderr


def test_no_instance(pooler):
    pooler.stop()
    done = control(pooler, "pools")
    assert done.returncode == 2 and done.stdout == "" and str(pooler.port) in done.stderr


def test_a_user_who_is_no_admin(pooler):
    done = control(pooler, "pools", user="alice")
    assert done.returncode == 2 and done.stdout == "" and "admin_users" in done.stderr, done.stderr


# ---- where the console is

def test_dsn_as_uri(pooler):
    assert "pgsluice" in ok(run("--dsn", f"postgresql://admin@127.0.0.1:{pooler.port}/pgbouncer?sslmode=disable", "version")).lower()


def test_dsn_from_the_environment(pooler):
    assert "cl_active" in ok(run("pools", env={"PGSLUICE_DSN": dsn(pooler)}))
    done = run("--dsn", "host=127.0.0.1 port=1", "pools", env={"PGSLUICE_DSN": dsn(pooler)})
    assert done.returncode == 2, "the option counts more than the variable"


def test_by_its_ini(pooler):
    """Over the Unix socket, as the user of the pooler; whatever else is wrong with the file."""
    pooler.settings["no_such_setting"] = 1
    pooler.write_config()
    assert "pgsluice" in ok(run("--config", pooler.path("pgsluice.ini"), "version")).lower()
    ok(run("--config", pooler.path("pgsluice.ini"), "pause"))


def test_by_its_ini_over_tcp(make_pooler):
    pooler = make_pooler(settings={"unix_socket_dir": "", "listen_addr": "*"})
    env = {"PGUSER": "admin", "PGSSLMODE": "disable"}
    assert "cl_active" in ok(run("--config", pooler.path("pgsluice.ini"), "pools", env=env))


def test_default_socket(pooler):
    """Port and directory of the defaults may be moved by the variables that move the pooler's."""
    env = {"PGSLUICE_LISTEN_PORT": str(pooler.port), "PGSLUICE_UNIX_SOCKET_DIR": pooler.directory}
    assert "cl_active" in ok(run("pools", env=env))
    done = run("pools", env={**env, "PGSLUICE_LISTEN_PORT": "1"})
    assert done.returncode == 2 and "--config" in done.stderr
