"""Unix sockets: where they lie, abstract ones, whose they are, and who is let in by his operating-system user."""
import os
import pwd
import re
import subprocess
import uuid

import psycopg
import pytest

from harness import util

OS_USER = pwd.getpwuid(os.geteuid()).pw_name
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="not root: there is no other user to be")


def connect(pooler, host, user="app", database="pgbouncer"):
    return psycopg.connect(host=host, port=pooler.port, user=user, dbname=database, gssencmode="disable", autocommit=True,
                           cursor_factory=psycopg.ClientCursor)


def listen(make_pooler, host, **settings):
    """Whoever gets in is in the console: no server is needed for that."""
    pooler = make_pooler(start=False, userlist={"app": "not to be said", OS_USER: ""}, settings={
        "unix_socket_dir": host, "auth_type": "hba", "auth_hba_file": "hba.conf", "admin_users": f"app, {OS_USER}", **settings})
    util.write_file(pooler.path("hba.conf"), "local all all peer\n")
    return pooler.start()


def abstract_name():
    return f"@pgsluice-test-{uuid.uuid4()}"


def abstract_sockets():
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        return {line.split()[-1] for line in file if "@" in line}


@pytest.mark.own
@pytest.mark.parametrize("kind", ["abstract", "path"])
def test_peer(make_pooler, kind):
    """By libpq and by name; nothing lies in the file system for an abstract one, and it is gone with the process."""
    host = abstract_name() if kind == "abstract" else util.make_directory("pgs-sock-")
    pooler = listen(make_pooler, host)
    with connect(pooler, host, OS_USER) as conn:
        assert conn.execute("SHOW VERSION").fetchone()
    with pytest.raises(psycopg.OperationalError, match="peer authentication failed"):
        connect(pooler, host)
    pooler.wait_log(f"peer authentication of user app failed: the operating-system user is {OS_USER}")
    name = f"{host}/.s.PGSQL.{pooler.port}"
    if kind == "abstract":
        assert name in abstract_sockets() and not os.path.exists(name)
    else:
        assert os.path.exists(name)
    assert pooler.stop() is None
    assert name not in abstract_sockets() and not os.path.exists(name)
    if kind == "path":
        os.rmdir(host)


@pytest.mark.own
def test_the_name_is_taken(make_pooler):
    host = abstract_name()
    pooler = listen(make_pooler, host)
    other = make_pooler(start=False, settings={"unix_socket_dir": host, "listen_port": pooler.port, "listen_addr": ""})
    done = other.run(other.path("pgsluice.ini"))
    assert done.returncode == 1
    assert f'could not bind Unix socket "{host}/.s.PGSQL.{pooler.port}": already in use' in done.stderr, done.stderr
    connect(pooler, host, OS_USER).close()


@pytest.mark.own
@AS_ROOT
@pytest.mark.parametrize("kind", ["abstract", "path"])
def test_the_operator(make_pooler, kind):
    """User pgbouncer is who the process runs as, whatever the rules say, and nobody else."""
    host = abstract_name() if kind == "abstract" else util.make_directory("pgs-sock-")
    pooler = listen(make_pooler, host)
    psql = ["psql", "-XAtq", "-h", host, "-p", str(pooler.port), "-U", "pgbouncer", "pgbouncer", "-c", "SHOW VERSION"]
    done = subprocess.run(psql, capture_output=True, text=True, check=False, **util.popen_user())
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    done = subprocess.run(psql, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "peer authentication failed" in done.stderr, done.stderr
    assert pooler.stop() is None
    if kind == "path":
        os.rmdir(host)


@pytest.mark.own
@AS_ROOT
@pytest.mark.parametrize("mode", ["0700", "0770", "0777"])
def test_mode_and_group(make_pooler, mode):
    host = util.make_directory("pgs-sock-")
    pooler = listen(make_pooler, host, unix_socket_mode=mode, unix_socket_group=util.plain_user().pw_gid)
    about = os.stat(f"{host}/.s.PGSQL.{pooler.port}")
    assert f"{about.st_mode & 0o7777:04o}" == mode and about.st_gid == util.plain_user().pw_gid
    assert pooler.stop() is None
    os.rmdir(host)


@pytest.mark.own
@AS_ROOT
@pytest.mark.parametrize("group, says", [("root", "could not set up Unix socket .*: Operation not permitted"),
                                         ("no such group", "unix_socket_group: no such group: no such group")])
def test_a_group_that_cannot_be(make_pooler, group, says):
    """Better no socket than one for others."""
    pooler = make_pooler(start=False, settings={"unix_socket_group": group})
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1 and re.search(says, done.stderr), done.stderr
    assert not [name for name in os.listdir(pooler.directory) if name.startswith(".s.")]
