"""Options, files and the environment of the process itself."""
import os
import re
import resource
import signal
import subprocess

import pytest

from harness import util
from harness.util import wait_until
from harness.wire import Closed, ServerError


@pytest.fixture
def stopped(make_pooler):
    """A pooler with its configuration written, not started."""
    return make_pooler(start=False)


@pytest.mark.sanitizer
def test_version(pooler):
    done = pooler.run("--version")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == pooler.show("VERSION")[0]["version"]


def test_help(stopped):
    done = stopped.run("--help")
    assert done.returncode == 0
    for option in ("--daemon", "--reboot", "--user", "--verbose", "--quiet", "--version", "--help"):
        assert option in done.stdout


def test_wrong_usage(stopped):
    assert stopped.run("--no-such-option").returncode != 0
    assert stopped.run("/no/such/file.ini").returncode != 0


@pytest.mark.own
def test_check(stopped):
    done = stopped.run("--check", stopped.path("pgsluice.ini"))
    assert done.returncode == 0, done.stderr
    stopped.settings["pool_mode"] = "sometimes"
    stopped.write_config()
    done = stopped.run("--check", stopped.path("pgsluice.ini"))
    assert done.returncode != 0 and "pgsluice.ini:" in done.stderr


@pytest.mark.own
def test_settings_without_meaning_are_named_once_in_the_log(make_pooler):
    """They are accepted for the sake of a pgbouncer.ini; an operator is to know that they do nothing."""
    pooler = make_pooler(settings={"pkt_buf": 4096, "sbuf_loopcnt": 5})
    pooler.reload()
    for name in ("pkt_buf", "sbuf_loopcnt"):
        assert len(pooler.log_lines(f"LOG .*pgsluice.ini:[0-9]+: note: setting {name} has no meaning here")) == 1
        assert len(pooler.log_lines(f"setting {name} ")) == 1
    done = pooler.run("--check", pooler.path("pgsluice.ini"))
    assert done.returncode == 0 and "pkt_buf" in done.stderr


@pytest.mark.own
def test_reboot_option_warns(make_pooler):
    """-R is accepted, so that service files keep working, and says what it does not do."""
    pooler = make_pooler(arguments=["-R"])
    wait_until(lambda: pooler.log_lines("WARNING"), "the warning")
    pooler.wire().disconnect()


def test_daemon_with_pidfile(stopped):
    stopped.settings.update({"pidfile": stopped.path("pid"), "logfile": stopped.path("file.log")})
    stopped.write_config()
    done = stopped.run("-d", stopped.path("pgsluice.ini"))
    assert done.returncode == 0, done.stderr
    wait_until(lambda: os.path.exists(stopped.path("pid")) and open(stopped.path("pid"), encoding="utf-8").read().strip(), "the pidfile")
    with open(stopped.path("pid"), encoding="utf-8") as file:
        pid = int(file.read())
    try:
        wait_until(stopped.is_listening_now, "the daemon to listen")
        stopped.wire().disconnect()
        second = stopped.run("-d", stopped.path("pgsluice.ini"))
        assert second.returncode != 0, "a second one must not start"
    finally:
        os.kill(pid, signal.SIGINT)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the daemon to end")
    assert not os.path.exists(stopped.path("pid"))


def test_daemon_needs_a_pidfile(stopped):
    """It could not be found again otherwise."""
    stopped.settings["logfile"] = stopped.path("file.log")
    stopped.write_config()
    done = stopped.run("-d", stopped.path("pgsluice.ini"))
    assert done.returncode != 0 and "pidfile" in done.stderr


def test_root_is_refused(stopped):
    if os.geteuid() != 0:
        pytest.skip("not root")
    done = stopped.run(stopped.path("pgsluice.ini"), user=0, group=0)
    assert done.returncode != 0 and "root" in done.stderr


def test_user_option(stopped):
    """Started as root it becomes the user that -u names."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    stopped.arguments = ["-u", util.user_name()]
    with open(stopped.path("log"), "ab") as log:
        stopped.process = subprocess.Popen(stopped.command(stopped.path("pgsluice.ini")), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           cwd=stopped.directory, env=stopped.environment())
    wait_until(stopped.is_listening, "the pooler to listen")
    with open(f"/proc/{stopped.pid}/status", encoding="ascii") as file:
        uids = next(line for line in file if line.startswith("Uid:")).split()[1:]
    assert set(uids) == {str(util.plain_user().pw_uid)}
    stopped.wire().disconnect()


def test_port_in_use_is_named(make_pooler, pooler):
    other = make_pooler(start=False, settings={"listen_port": pooler.port, "unix_socket_dir": ""})
    done = other.run(other.path("pgsluice.ini"))
    assert done.returncode != 0 and str(pooler.port) in done.stderr


@pytest.mark.own
def test_setting_from_the_environment(make_pooler):
    pooler = make_pooler(env={"PGSLUICE_QUERY_WAIT_TIMEOUT": "44", "PGSLUICE_DEFAULT_POOL_SIZE": "7"})
    assert float(pooler.config("query_wait_timeout")) == 44
    assert pooler.config("default_pool_size") == "7"


@pytest.mark.own
def test_foreign_variables_do_not_change_an_installation_with_a_file(make_pooler):
    pooler = make_pooler(env={"AUTH_TYPE": "any", "PGBOUNCER_POOL_MODE": "session", "POOL_MODE": "statement"})
    assert pooler.config("auth_type") == "trust" and pooler.config("pool_mode") == "transaction"


@pytest.mark.own
def test_section_pgsluice_is_a_synonym(stopped):
    text = stopped.config_text().replace("[pgbouncer]", "[pgsluice]")
    util.write_file(stopped.path("pgsluice.ini"), text)
    stopped.start()
    assert stopped.config("pool_mode") == "transaction"


def test_include(stopped, pg):
    util.write_file(stopped.path("more.ini"), f"[databases]\nincluded = {pg.dsn} dbname=app2\n")
    with open(stopped.path("pgsluice.ini"), "a", encoding="utf-8") as file:
        file.write(f"%include {stopped.path('more.ini')}\n")
    stopped.start()
    with stopped.wire(database="included") as client:
        assert client.value("SELECT current_database()") == "app2"


@pytest.mark.own
def test_values_that_ini_libraries_break(make_pooler, pg):
    """Semicolons and hash signs in values, long lines, and names with colons."""
    password = "a ;b #c " + "x" * 500
    pooler = make_pooler(databases={"app": f"{pg.dsn} dbname=app user=app password='{password}'", "my:db": f"{pg.dsn} dbname=app2"})
    with pooler.wire() as client:
        assert client.value("SELECT 1") == "1"
    with pooler.wire(database="my:db") as client:
        assert client.value("SELECT current_database()") == "app2"


@pytest.mark.own
@pytest.mark.parametrize("setting, value", [("client_tls_sslmode", "require"), ("auth_type", "hba"), ("auth_type", "ldap"), ("auth_type", "cert")])
def test_protection_that_cannot_be_given_is_not_pretended(stopped, setting, value):
    """Without certificates, rules or a directory these cannot work: it must not start as if they were not there."""
    stopped.settings[setting] = value
    stopped.write_config()
    done = stopped.run(stopped.path("pgsluice.ini"))
    assert done.returncode != 0 and setting.split("_")[0] in done.stderr


def test_log_format(pooler):
    pooler.wire().disconnect()
    pooler.wait_log(r" C-\S+: app/app@127\.0\.0\.1:\d+ closing because: .* \(age=\d+s\)")
    line = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[\d+\] (FATAL|ERROR|WARNING|LOG|DEBUG|NOISE) ")
    for text in pooler.log().splitlines():
        assert line.match(text), text
    pooler.wait_log(r" C-\S+: app/app@127\.0\.0\.1:\d+ login attempt: db=app user=app tls=no")


@pytest.mark.own  # PgBouncer logs the lines of its ini at -v -v -v
def test_nothing_secret_in_a_verbose_log(make_pooler, pg):
    pooler = make_pooler(arguments=["-v", "-v", "-v"], settings={"auth_type": "md5"},
                         userlist={"app": "app-secret", "scramuser": "scram-secret", "plainuser": "plain secret ;x"},
                         databases={"app": f"{pg.dsn} dbname=app", "forced": f"{pg.dsn} dbname=app user=scramuser password=scram-secret"})
    for user, password, database in (("app", "app-secret", "app"), ("scramuser", "scram-secret", "app"),
                                     ("plainuser", "plain secret ;x", "app"), ("app", "app-secret", "forced")):
        with pooler.connect(database, user, password=password) as conn:
            conn.execute("SELECT 1")
    for user, password in (("app", "wrong-guess"), ("unknown", "wrong-guess")):
        try:
            pooler.wire(user=user, password=password)
        except ServerError:
            pass
    for secret in ("app-secret", "scram-secret", "plain secret", "wrong-guess"):
        assert secret not in pooler.log()


def descriptors(soft, hard):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return limit


@pytest.mark.parametrize("clients, pool_size, hard, said", [
    (100, 20, 256, None),
    (200, 1, 256, r"\(256\) is too low for max_client_conn = 200: with up to 1 server .* makes 301\."),
    (100, 500, 256, r"\(256\) is too low for max_client_conn = 100: with up to 100 server .* makes 300\."),
    (100, 500, 300, None),
    (100, 56, 256, None),
    (100, 57, 256, r"with up to 57 server .* makes 257\."),
], ids=["fits", "clients", "servers", "raised", "exact", "one-too-few"])
def test_limit_of_open_files(make_pooler, pg, clients, pool_size, hard, said):
    """The limit is raised as far as it goes, and what it is too low for is said at the start: clients, and the servers that they may
    come to use."""
    pooler = make_pooler(limits=descriptors(64, hard), databases={"app": f"{pg.dsn} dbname=app"},
                         settings={"max_client_conn": clients, "default_pool_size": pool_size})
    with open(f"/proc/{pooler.pid}/limits", encoding="ascii") as file:
        assert re.search(rf"^Max open files +{hard} +{hard} ", file.read(), re.M)
    lines = pooler.log_lines("limit of open files")
    assert len(lines) == (said is not None) and (said is None or re.search("WARNING .*" + said, lines[0])), lines


def test_a_worker_for_each_cpu_of_ours(make_pooler):
    """workers = auto: those that the process may run on count, not those that there are."""
    usable = sorted(os.sched_getaffinity(0))
    for cpus in (usable[:1], usable):
        pooler = make_pooler(limits=lambda: os.sched_setaffinity(0, cpus), settings={"workers": "auto"})  # noqa: B023
        assert 1 <= len(pooler.show("WORKERS")) <= min(len(cpus), 8)
        if cpus == usable[:1]:
            pooler.stop()
    # a quota of the control group that the tests run in may allow less: tests/unit/test_cgroup.c


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))


@pytest.mark.sanitizer
def test_out_of_file_descriptors(make_pooler):
    """Clients that are in stay in, the process does not spin or end, and new ones are accepted later."""
    pooler = make_pooler(limits=few_descriptors, settings={"default_pool_size": 2, "max_client_conn": 500})
    inside = pooler.wire()
    assert inside.value("SELECT 1") == "1"
    crowd = []
    for _ in range(80):
        try:
            crowd.append(pooler.raw(timeout=0.3))
        except OSError:
            break
    assert inside.value("SELECT 'still in'") == "still in"
    before = util.process_cpu_seconds(pooler.pid)
    assert inside.silent_for(0.5)
    assert util.process_cpu_seconds(pooler.pid) - before < 0.3 * util.PATIENCE
    for client in crowd:
        client.disconnect()

    def accepted():
        try:
            with pooler.wire(timeout=2) as fresh:
                return fresh.value("SELECT 1") == "1"
        except (OSError, Closed, ServerError):
            return False

    wait_until(accepted, "a new client to be accepted", 20, every=0.2)
    assert inside.value("SELECT 1") == "1"
    inside.disconnect()


@pytest.mark.skipif(util.IS_SANITIZED, reason="sanitizers write no cores, and the search for leaks needs what a debugger needs")
@pytest.mark.parametrize("allowed", [0, 1])
@pytest.mark.own
def test_core_dumps(make_pooler, allowed):
    """There are passwords in memory: a crash leaves nothing of it on the disk, and other processes of the user see nothing."""
    pooler = make_pooler(settings={"allow_core_dumps": allowed},
                         limits=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2))
    pooler.expect_trouble = True
    memory = f"/proc/{pooler.pid}/mem"
    uid = os.stat(memory).st_uid
    assert uid == (util.plain_user().pw_uid if allowed and os.geteuid() == 0 else os.geteuid() if allowed else 0)
    pooler.send_signal(signal.SIGABRT)
    pooler.wait_exit()
    cores = [name for name in os.listdir(pooler.directory) if name.startswith("core")]
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as file:
        leaves_cores = file.read().startswith("core") and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0
    assert len(cores) == (1 if allowed and leaves_cores else 0)
