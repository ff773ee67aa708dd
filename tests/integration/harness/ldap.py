"""A throw-away slapd: a directory of its own, a child process on loopback ports, no service.

The program is that of the system, or of $PGSLUICE_SLAPD, a Debian package that was unpacked (tests/lib/install.sh). It runs as
a copy, so that a profile of AppArmor for the system's slapd, which may read no directory of ours, does not concern it.
"""
import base64
import glob
import os
import shutil
import signal
import socket
import subprocess

import pytest

from . import util

UNPACKED = os.environ.get("PGSLUICE_SLAPD", "")
BASE = "dc=example,dc=net"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{BASE}", "admin secret"

CONFIG = """\
include {top}/etc/ldap/schema/core.schema
include {top}/etc/ldap/schema/cosine.schema
include {top}/etc/ldap/schema/inetorgperson.schema
modulepath {modules}
moduleload back_mdb
pidfile {directory}/pid
argsfile {directory}/args
TLSCACertificateFile {ca}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
TLSVerifyClient never
loglevel none
# what some directories do: a bind without a password, or without a DN, is somebody anonymous, and a success
allow bind_anon_cred bind_anon_dn
database mdb
maxsize 10485760
suffix "{base}"
rootdn "{admin}"
rootpw "{password}"
directory {directory}/db
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,{base}" read by anonymous {anonymous} by * none
"""


def find():
    """(directory in which etc/ and usr/ lie, environment), or the test is skipped."""
    if UNPACKED and os.access(f"{UNPACKED}/usr/sbin/slapd", os.X_OK):
        return UNPACKED, {"LD_LIBRARY_PATH": ":".join(glob.glob(f"{UNPACKED}/usr/lib/*-linux-gnu*") + [f"{UNPACKED}/usr/lib"])}
    if os.access("/usr/sbin/slapd", os.X_OK):
        return "", {}
    pytest.skip("there is no slapd, neither installed nor in $PGSLUICE_SLAPD")


def person(name, password, unit="people", **more):
    """An entry as LDIF; the values go as they are, in base64 where they must."""
    def line(attribute, value):
        return f"{attribute}:: {base64.b64encode(value.encode()).decode()}\n"
    escaped = "".join("\\" + c if c in '",+;<>\\=#' else c for c in name)
    attributes = {"objectClass": "inetOrgPerson", "uid": name, "cn": name, "sn": name, "userPassword": password, **more}
    return line("dn", f"uid={escaped},ou={unit},{BASE}") + "".join(line(k, v) for k, v in attributes.items()) + "\n"


TREE = f"""\
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: ou=others,{BASE}
objectClass: organizationalUnit
ou: others

dn: cn=reader,{BASE}
objectClass: person
cn: reader
sn: reader
userPassword: reader secret

"""


class Slapd:
    """A directory with these entries (LDIF, behind TREE)."""

    def __init__(self, certificates, entries="", anonymous="read", port=None, address="127.0.0.1"):
        self.top, self.env = find()
        self.directory = util.make_directory("pgs-ldap-")
        self.address, self.port, self.tls_port = address, port or util.free_port(), util.free_port()
        self.process = None
        os.mkdir(f"{self.directory}/db")
        util.give_away(f"{self.directory}/db")
        self.program = shutil.copy(f"{self.top}/usr/sbin/slapd", f"{self.directory}/slapd")
        os.chmod(self.program, 0o755)
        modules = f"{self.top}/usr/lib/ldap"
        certificate, key = certificates.server
        util.write_file(f"{self.directory}/slapd.conf", CONFIG.format(
            top=self.top, modules=modules, directory=self.directory, ca=certificates.ca, certificate=certificate, key=key, base=BASE,
            admin=ADMIN, password=ADMIN_PASSWORD, anonymous=anonymous), 0o600)
        util.write_file(f"{self.directory}/tree.ldif", TREE + entries)
        self._run("-T", "add", "-f", f"{self.directory}/slapd.conf", "-l", f"{self.directory}/tree.ldif")
        self.start()

    def _run(self, *arguments):
        done = subprocess.run([self.program, *arguments], check=False, cwd=self.directory, capture_output=True, text=True,
                              env={**os.environ, **self.env}, **util.popen_user())
        assert done.returncode == 0, done.stderr

    def start(self):
        with open(f"{self.directory}/log", "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-f", f"{self.directory}/slapd.conf", "-d", "0",
                 "-h", f"ldap://{self.address}:{self.port} ldaps://{self.address}:{self.tls_port}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.directory, env={**os.environ, **self.env}, preexec_fn=util.die_with_parent(), **util.popen_user())
        util.wait_until(self._answers, "slapd to listen", 30)

    def _answers(self):
        assert self.process.poll() is None, self.log()
        for port in (self.port, self.tls_port):
            try:
                socket.create_connection((self.address, port), timeout=5).close()
            except OSError:
                return False
        return True

    def log(self):
        with open(f"{self.directory}/log", encoding="utf-8", errors="replace") as file:
            return file.read()

    def hang(self):
        """It accepts connections, as the kernel does that, and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def destroy(self):
        self.stop()
        util.remove_directory(self.directory)
