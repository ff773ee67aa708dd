"""Probes and metrics over HTTP."""
import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from harness import util
from harness.util import free_port, wait_until
from harness.wire import startup_packet

pytestmark = pytest.mark.own


@pytest.fixture
def make_web(make_pooler):
    """make_pooler() with HTTP on a port of its own, in .http_port."""
    def make(settings=None, **kwargs):
        port = free_port()
        pooler = make_pooler(settings={"http_listen": port, **(settings or {})}, **kwargs)
        pooler.http_port = port
        return pooler
    return make


@pytest.fixture
def web(make_web):
    return make_web()


def get(pooler, path, method="GET"):
    """(status, headers, text)"""
    request = urllib.request.Request(f"http://127.0.0.1:{pooler.http_port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10 * util.PATIENCE) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode()


def raw(pooler):
    sock = socket.create_connection(("127.0.0.1", pooler.http_port), timeout=20 * util.PATIENCE)
    return sock


def read_all(sock):
    data = b""
    while True:
        try:
            more = sock.recv(65536)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more


def ask_raw(pooler, request):
    with raw(pooler) as sock:
        sock.sendall(request)
        return read_all(sock)


def metrics(pooler):
    """{"name{labels}": value}"""
    status, _, text = get(pooler, "/metrics")
    assert status == 200
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if not line.startswith("#")}


# ---- probes

@pytest.mark.sanitizer
def test_probes(web):
    assert get(web, "/livez")[0::2] == (200, "ok\n")
    assert get(web, "/readyz")[0::2] == (200, "ok\n")
    status, headers, text = get(web, "/nothing")
    assert status == 404 and "/livez" in text and headers["Content-Type"].startswith("text/plain")


def test_paused_is_alive_and_not_ready(web):
    web.admin("PAUSE")
    assert get(web, "/readyz")[0::2] == (503, "paused\n")
    assert get(web, "/livez")[0] == 200
    web.admin("RESUME")
    assert get(web, "/readyz")[0] == 200


def test_one_database_that_is_held_back_is_not_all(make_web, pg):
    """Even if it is the only one: who asks about databases is told, and others are not kept from a console or a new database."""
    web = make_web(databases={"app": f"{pg.dsn} dbname=app"})
    for command, back, word in (("PAUSE app", "RESUME app", "paused"), ("DISABLE app", "ENABLE app", "disabled")):
        web.admin(command)
        assert get(web, "/readyz")[0::2] == (200, "ok\n")
        assert get(web, "/readyz?databases")[0::2] == (503, f"pgsluice: ok\napp: {word}\n")
        web.admin(back)
        assert get(web, "/readyz?databases")[0] == 200


def test_not_ready_while_shutting_down(web):
    with web.wire() as client:
        web.admin("SHUTDOWN WAIT_FOR_CLIENTS")
        assert get(web, "/readyz")[0::2] == (503, "shutting down\n")
        assert get(web, "/livez")[0] == 200
        assert client.value("SELECT 1") == "1"
    web.wait_exit()


def test_a_database_with_its_own_user_is_tried(make_web, pg):
    web = make_web(databases={"app": f"{pg.dsn} dbname=app user=app", "down": "host=127.0.0.1 port=1 user=app",
                              "later": "host=127.0.0.1 port=1"})
    wait_until(lambda: "app: ok" in get(web, "/readyz?databases")[2], "the connection to app")
    wait_until(lambda: re.search("down: .*Connection refused", get(web, "/readyz?databases")[2]), "the failure of down")
    status, _, text = get(web, "/readyz?databases")
    assert status == 503 and "pgsluice: ok" in text and "later: not tried" in text
    assert get(web, "/readyz")[0] == 200, "databases are asked about only on request"
    del web.databases["down"]
    web.reload()
    assert get(web, "/readyz?databases")[0] == 200
    web.admin("PAUSE app")
    status, _, text = get(web, "/readyz?databases")
    assert status == 503 and "app: paused" in text


def test_a_database_is_served_again(make_web, own_pg):
    web = make_web(postgres=own_pg, databases={"app": f"{own_pg.dsn} dbname=app user=app"})
    wait_until(lambda: get(web, "/readyz?databases")[0] == 200, "the first connection")
    own_pg.stop()
    wait_until(lambda: get(web, "/readyz?databases")[0] == 503, "the loss of PostgreSQL", 20)
    own_pg.start()
    wait_until(lambda: get(web, "/readyz?databases")[0] == 200, "the new connection", 20)


# ---- a worker that is stuck

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000  # waitpid() for threads too


@contextlib.contextmanager
def stopped_thread(pid, name):
    """One thread alone stands still, wherever it is, as under a debugger."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long

    def called(tid):
        with open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii") as file:
            return file.read().strip()

    tid = wait_until(lambda: next((int(t) for t in os.listdir(f"/proc/{pid}/task") if called(t) == name), None), f"thread {name}")
    if libc.ptrace(PTRACE_SEIZE, tid, None, None) != 0:
        pytest.skip(f"no ptrace here: {os.strerror(ctypes.get_errno())}")
    try:
        assert libc.ptrace(PTRACE_INTERRUPT, tid, None, None) == 0
        assert os.WIFSTOPPED(os.waitpid(tid, WALL)[1])
        yield
    finally:
        libc.ptrace(PTRACE_DETACH, tid, None, None)


def test_a_worker_that_stands_still_is_not_alive(web):
    """It has no turn that takes long, as it waits for events: it is found by the mail that it does not take."""
    with web.wire() as client:
        assert client.value("SELECT 1") == "1"
    assert get(web, "/livez")[0] == 200
    with stopped_thread(web.pid, "worker-0"):
        assert get(web, "/livez")[0] == 200, "that may be a moment's pause"
        wait_until(lambda: get(web, "/livez")[0] == 503, "the worker to be missed", 30, every=0.2)
        assert re.fullmatch(r"worker 0 has not turned for \d+ s\n", get(web, "/livez")[2])
        assert get(web, "/readyz")[0] == 200
    wait_until(lambda: get(web, "/livez")[0::2] == (200, "ok\n"), "the worker to be back")
    assert web.wire().value("SELECT 1") == "1"


# ---- metrics

@pytest.mark.sanitizer
def test_metrics_say_what_show_says(web):
    with web.wire() as client:
        for _ in range(7):
            client.query("SELECT 1")
        # the answer is on its way to the client before the server is
        wait_until(lambda: web.pool()["sv_active"] == 0, "the server to be given back")
        seen = metrics(web)
        assert seen['pgsluice_queries_total{database="app"}'] == 7
        assert seen['pgsluice_query_duration_seconds_count{database="app",user="app"}'] == 7
        assert seen['pgsluice_query_duration_seconds_bucket{database="app",user="app",le="+Inf"}'] == 7
        assert seen['pgsluice_pool_servers_limit{database="app",user="app"}'] == 5
        assert seen['pgsluice_pool_clients{database="app",user="app",state="active"}'] == 1
        row = web.pool()
        for state in ("active", "idle", "used"):
            assert seen[f'pgsluice_pool_servers{{database="app",user="app",state="{state}"}}'] == row["sv_" + state]
        assert seen["pgsluice_state{state=\"active\"}"] == 1
        assert seen['pgsluice_items{list="databases"}'] == 3
    wait_until(lambda: metrics(web).get('pgsluice_closes_total{reason="client_request"}', 0) >= 1
               or metrics(web).get('pgsluice_closes_total{reason="client_eof"}', 0) >= 1, "the close to be counted")


def test_histograms_are_cumulative(web):
    with web.wire() as client:
        client.query("SELECT pg_sleep(0.02)")
        client.query("SELECT 1")

    def buckets():
        return [value for name, value in metrics(web).items()
                if name.startswith('pgsluice_query_duration_seconds_bucket{database="app",user="app"')]

    wait_until(lambda: buckets()[-1] == 2, "both queries to be counted")
    assert buckets() == sorted(buckets()) and buckets()[0] <= 1
    assert metrics(web)['pgsluice_query_duration_seconds_sum{database="app",user="app"}'] >= 0.02


def test_metrics_under_the_names_of_the_usual_exporter(make_web):
    web = make_web(settings={"metrics_compat": "pgbouncer"})
    with web.wire() as client:
        client.query("SELECT 1")
        wait_until(lambda: web.pool()["sv_active"] == 0, "the server to be given back")
        seen = metrics(web)
    assert seen['pgbouncer_stats_queries_pooled_total{database="app"}'] == 1
    assert seen['pgbouncer_pools_client_active_connections{database="app",user="app"}'] == 1
    assert seen["pgbouncer_up"] == 1
    web.admin("SET metrics_compat = none")
    assert not [name for name in metrics(web) if name.startswith("pgbouncer_")]


def program(name):
    found = shutil.which(name, path=os.environ.get("PGSLUICE_PROMETHEUS", "") + os.pathsep + os.environ["PATH"])
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def test_promtool_finds_nothing_wrong(make_web):
    web = make_web(settings={"metrics_compat": "pgbouncer"})
    with web.wire(user="alice") as client:
        client.query("SELECT 1")
        client.query("SELECT 1/0")
        text = get(web, "/metrics")[2]
    done = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr


def test_prometheus_scrapes(web, request):
    prometheus = program("prometheus")
    directory = util.make_directory("pgs-prom-")
    request.addfinalizer(lambda: util.remove_directory(directory))
    port = free_port()
    util.write_file(f"{directory}/prometheus.yml", json.dumps({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "pgsluice", "static_configs": [{"targets": [f"127.0.0.1:{web.http_port}"]}]}]}))
    with web.wire() as client, open(f"{directory}/log", "w", encoding="utf-8") as log:
        client.query("SELECT 1")
        process = subprocess.Popen([prometheus, f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
                                    f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log, cwd=directory,
                                   preexec_fn=util.die_with_parent(), **util.popen_user())
        try:
            def query(text):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={text}", timeout=5 * util.PATIENCE) as answer:
                        return [float(each["value"][1]) for each in json.load(answer)["data"]["result"]]
                except OSError:
                    return []
            wait_until(lambda: query("up") == [1.0], "the first scrape", 30)
            assert query('pgsluice_queries_total{database="app"}'.replace("{", "%7B").replace("}", "%7D").replace('"', "%22")) == [1.0]
            assert len(query("pgsluice_query_duration_seconds_bucket")) > 10
        finally:
            process.kill()
            process.wait()


def test_names_that_are_no_utf8_do_not_spoil_the_text(make_web, pg):
    web = make_web(databases={"*": f"{pg.dsn} dbname=app"})
    packet = startup_packet({"user": "app", "database": "caf@\"\\"}).replace(b"@", b"\xe9")
    with web.raw() as client:
        client.send(packet)
        client.finish_login("app")
        text = get(web, "/metrics")[2]  # decodes as UTF-8, or fails
    assert 'pgsluice_queries_total{database="caf\\\\xe9\\"\\\\"} 0\n' in text


# ---- what is not taken

@pytest.mark.sanitizer
def test_get_and_head_only(web):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        status, headers, _ = get(web, "/metrics", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    status, headers, text = get(web, "/livez", "HEAD")
    assert (status, headers["Content-Length"], text) == (200, "3", "")


@pytest.mark.parametrize("request_text, status", [
    (b"nonsense\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/3.0\r\n\r\n", 505),
    (b"GET /" + b"a" * 500 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4000 + b"\r\n", 431),
    (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000000, 405),
], ids=["nonsense", "nohost", "version", "long", "headers", "body"])
@pytest.mark.sanitizer
def test_bad_requests_are_answered(web, request_text, status):
    """The answer arrives even when the client has sent more than was read."""
    with raw(web) as sock:
        try:
            sock.sendall(request_text)
        except OSError:
            pass  # it answered and closed before all was sent
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:100]
    assert b"Connection: close\r\n" in answer
    assert get(web, "/livez")[0] == 200


def test_request_in_single_bytes(web):
    with raw(web) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n":
            sock.send(bytes([byte]))
        assert read_all(sock).endswith(b"\r\n\r\nok\n")


@pytest.mark.sanitizer
def test_silent_connections_end(web):
    """Who says nothing, or only half of it, is dropped after some seconds."""
    with raw(web) as silent, raw(web) as half:
        half.sendall(b"GET /livez HTTP/1.1\r\n")
        assert read_all(silent) == b"" and read_all(half) == b""


MAX_CONNECTIONS, READING_S = 64, 5  # http.c


def is_open(sock):
    """The other side has not closed it."""
    if not select.select([sock], [], [], 0)[0]:
        return True
    try:
        return sock.recv(1, socket.MSG_PEEK) != b""
    except ConnectionResetError:
        return False


@pytest.mark.sanitizer
def test_full_of_silent_connections_a_probe_gets_in(web):
    held = [raw(web) for _ in range(200)]
    try:
        assert get(web, "/livez")[0] == 200
        assert get(web, "/metrics")[0] == 200
        assert sum(is_open(sock) for sock in held) < MAX_CONNECTIONS
        with web.wire() as client:
            assert client.value("SELECT 1") == "1"
    finally:
        for sock in held:
            sock.close()


def test_so_many_connections_and_not_one_more(web):
    """For each that comes the oldest goes."""
    n = MAX_CONNECTIONS + 6
    for _ in range(5):
        with contextlib.ExitStack() as stack:
            began = time.monotonic()
            held = [stack.enter_context(raw(web)) for _ in range(n)]
            assert get(web, "/livez")[0] == 200  # which took the place of one more
            left = [i for i, sock in enumerate(held) if is_open(sock)]
            if time.monotonic() - began < READING_S:
                assert left == list(range(n - MAX_CONNECTIONS + 1, n))
                return
    pytest.skip("the machine is too slow: by the time they are counted, some have been silent for too long")


def is_reset(sock):
    """Has the other side given up the connection for good? A closed socket answers what comes with a reset."""
    try:
        sock.send(b"x")
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def test_connections_that_are_not_closed_end(make_web):
    """Who has the answer and stays, and who asks and does not read: each is let go after some seconds, 2 and 20."""
    web = make_web(databases={f"d{i}": "host=127.0.0.1 port=1 user=app min_pool_size=1" for i in range(800)})
    web.admin("PAUSE")  # nobody is to try and connect to these
    assert len(get(web, "/metrics")[2]) > 5_000_000  # more than the sockets take, though nobody reads it
    with raw(web) as staying, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", web.http_port))
        began = time.monotonic()
        deaf.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        staying.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert read_all(staying).endswith(b"\r\n\r\nok\n")
        wait_until(lambda: is_reset(staying), "the end of who stays", 10, every=0.2)
        wait_until(lambda: is_reset(deaf), "the end of who does not read", 40, every=0.5)
        assert time.monotonic() - began >= 15, "it was not given time"


def test_scrapers_that_do_not_read(make_web):
    """Their answers are larger than what sockets take; the pooler goes on and ends as usual."""
    web = make_web(databases={f"d{i}": "host=127.0.0.1 port=1 user=app min_pool_size=1" for i in range(150)})
    with raw(web) as reader:
        reader.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        size = len(read_all(reader))
    held = []
    for _ in range(20):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", web.http_port))
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        held.append(sock)
    assert get(web, "/livez")[0] == 200
    assert size > 1000000
    for sock in held[:10]:
        sock.close()
    assert len(read_all(held[10])) > 1000000  # it comes whole when it is read at last
    for sock in held:
        sock.close()


def test_queries_go_on_under_a_flood(web):
    """While so many requests are answered, queries and logins are too: fewer only in so far as one client is fewer than four."""
    stop = threading.Event()
    answered = [0, 0, 0, 0]

    def flood(i, text):
        while not stop.is_set():
            try:
                answered[i] += ask_raw(web, text) != b""
            except OSError:
                pass
    threads = [threading.Thread(target=flood, args=(i, text), daemon=True) for i, text in enumerate(
               (b"GET /metrics HTTP/1.0\r\n\r\n", b"x" * 9000, b"POST / HTTP/1.1\r\n\r\n", b"GET /readyz?databases HTTP/1.0\r\n\r\n"))]
    queries = 0
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: min(answered) > 0, "the flood", 30)
        before = list(answered)
        while queries < 200 or any(now - then < 50 for now, then in zip(answered, before)):
            with web.wire() as client:
                for _ in range(20):
                    assert client.value(f"SELECT {queries}") == str(queries)
                    queries += 1
        flooded = sum(answered) - sum(before)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert queries >= flooded / 40, f"{queries} queries beside {flooded} requests"


# ---- addresses

def test_several_addresses(make_pooler):
    ports = [free_port(), free_port()]
    pooler = make_pooler(settings={"http_listen": f"{ports[0]}, *:{ports[1]}"})
    for pooler.http_port in ports:
        assert get(pooler, "/livez")[0] == 200


def test_a_port_in_use_is_named(make_pooler):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        pooler = make_pooler(start=False, settings={"http_listen": port})
        done = pooler.run(pooler.path("pgsluice.ini"))
        assert done.returncode == 1
        assert re.search(rf"http_listen \(.*pgsluice.ini:\d+\): .*port {port}: Address already in use", done.stderr), done.stderr
        pooler.env["PGSLUICE_HTTP_LISTEN"] = str(port)
        done = pooler.run(pooler.path("pgsluice.ini"))
        assert done.returncode == 1 and "http_listen (variable PGSLUICE_HTTP_LISTEN)" in done.stderr


def test_the_default_port_keeps_nobody_from_starting(make_pooler):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 9632))
            taken.listen()
        except OSError:
            pass  # somebody else has it: just as well
        pooler = make_pooler(settings={"http_listen": None})
        pooler.wait_log("WARNING no probes and metrics over HTTP: .*port 9632: Address already in use")
        pooler.wire().disconnect()


@pytest.mark.parametrize("text", ["80x", "host", "::1:80", "0", "[::1]", "1.2.3.4:99999", "a b:80"])
def test_a_list_that_is_none(make_pooler, text):
    pooler = make_pooler(start=False, settings={"http_listen": text})
    done = pooler.run("--check", pooler.path("pgsluice.ini"))
    assert done.returncode == 1 and "http_listen" in done.stderr


# ---- healthcheck

def healthcheck(pooler, option="--healthcheck"):
    return pooler.run(option, pooler.path("pgsluice.ini"))


def test_healthcheck(web):
    assert healthcheck(web).returncode == 0
    done = healthcheck(web, "--healthcheck=ready")
    assert (done.returncode, done.stdout) == (0, "ok\n")
    web.admin("PAUSE")
    done = healthcheck(web, "--healthcheck=ready")
    assert (done.returncode, done.stderr) == (1, "paused\n")
    assert healthcheck(web, "--healthcheck=live").returncode == 0
    web.admin("RESUME")
    assert healthcheck(web, "--healthcheck=soon").returncode == 1
    assert web.stop() is None
    done = healthcheck(web)
    assert done.returncode == 1 and "no answer" in done.stderr


def test_healthcheck_without_http(make_pooler):
    done = healthcheck(make_pooler())
    assert done.returncode == 1 and "http_listen is empty" in done.stderr
