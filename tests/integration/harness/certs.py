"""Self-made certificates, with the openssl program."""
import os
import subprocess

from . import util


def _openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _own(*paths):
    for path in paths:
        os.chmod(path, 0o600 if path.endswith(".key") else 0o644)
        util.give_away(path)


class Certificates:
    """A CA, a server certificate for localhost and 127.0.0.1, one for another host, and client certificates."""

    def __init__(self, directory):
        self.directory = directory
        self.ca = self._ca("ca", "pgsluice test CA")
        self.other_ca = self._ca("otherca", "another CA")
        self.server = self.issue("server", "localhost", "DNS:localhost,IP:127.0.0.1")
        self.wronghost = self.issue("wronghost", "db.example.com", "DNS:db.example.com")
        self.client = self.issue("client", "certuser", None)
        self.stranger = self.issue("stranger", "certuser", None, authority="otherca")

    def path(self, name):
        return os.path.join(self.directory, name)

    def _ca(self, name, subject):
        key, crt = self.path(name + ".key"), self.path(name + ".crt")
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                 "-subj", f"/CN={subject}", "-keyout", key, "-out", crt)
        _own(key, crt)
        return crt

    def self_signed(self, name, *how):
        """Of this host, by itself, so that libraries look at no signature; how: openssl's words for key and signature."""
        key, crt = self.path(name + ".key"), self.path(name + ".crt")
        _openssl("req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                 "-keyout", key, "-out", crt, *how)
        _own(key, crt)
        return crt, key

    def issue(self, name, common_name, alternative, authority="ca"):
        """Returns (certificate file, key file), signed by a CA."""
        key, csr, crt, ext = (self.path(name + suffix) for suffix in (".key", ".csr", ".crt", ".ext"))
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={common_name}",
                 "-keyout", key, "-out", csr)
        with open(ext, "w", encoding="utf-8") as file:
            file.write(f"subjectAltName={alternative}\n" if alternative else "basicConstraints=CA:FALSE\n")
        _openssl("x509", "-req", "-in", csr, "-CA", self.path(authority + ".crt"), "-CAkey", self.path(authority + ".key"), "-CAcreateserial", "-days", "30",
                 "-extfile", ext, "-out", crt)
        _own(key, crt)
        return crt, key
