"""Servers that are not PostgreSQL: they hang, refuse, lie or die at a chosen point of the conversation."""
import socket
import struct
import threading

from . import wire
from .util import PATIENCE, free_port

PARAMETERS = {"server_version": "15.0", "server_encoding": "UTF8", "client_encoding": "UTF8", "DateStyle": "ISO, MDY",
              "TimeZone": "UTC", "integer_datetimes": "on", "standard_conforming_strings": "on", "IntervalStyle": "postgres",
              "is_superuser": "off", "application_name": ""}


def error(sqlstate, text, severity="FATAL"):
    return wire.message("E", b"".join(k.encode() + wire.cstr(v) for k, v in
                                      (("S", severity), ("V", severity), ("C", sqlstate), ("M", text))) + b"\0")


def ready(status=b"I"):
    return wire.message("Z", status)


def one_row(text, tag="SELECT 1"):
    """The answer to a simple query: one row with one text column."""
    column = wire.cstr("c") + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0)
    raw = text.encode()
    return (wire.message("T", struct.pack("!H", 1) + column) + wire.message("D", struct.pack("!Hi", 1, len(raw)) + raw)
            + wire.message("C", wire.cstr(tag)) + ready())


def cancels_last(release):
    """A script: whoever asks for a cancel waits for its end until release is set."""
    def script(conn):
        try:
            conn.read_startup()
        except wire.Closed:
            release.wait(20 * PATIENCE)
    return script


class Conversation:
    """The server's side of one connection, with the steps of a login to take or leave."""

    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.parameters = None

    def read(self, count):
        raw = b""
        while len(raw) < count:
            more = self.sock.recv(count - len(raw))
            if not more:
                raise wire.Closed("end of file")
            raw += more
        return raw

    def read_startup(self):
        """Reads startup packets, refusing TLS and GSS, until the real one (or a cancel request) has come."""
        while True:
            size, code = struct.unpack("!II", self.read(8))
            body = self.read(size - 8)
            if code in (wire.SSL_REQUEST, wire.GSSENC_REQUEST):
                self.send(b"N")
                continue
            if code == wire.CANCEL_REQUEST:
                self.server.cancels.append(body)
                raise wire.Closed("cancel request")
            words = body.split(b"\0")
            self.parameters = {k.decode(): v.decode() for k, v in zip(words[0::2], words[1::2]) if k}
            return self.parameters

    def send(self, *raw):
        self.sock.sendall(b"".join(raw))

    def receive(self):
        head = self.read(5)
        return wire.Msg(chr(head[0]), self.read(struct.unpack("!I", head[1:])[0] - 4))

    def accept_login(self, **more):
        """more: parameters to report beside PARAMETERS."""
        self.read_startup()
        self.send(wire.message("R", struct.pack("!I", 0)),
                  *(wire.message("S", wire.cstr(k) + wire.cstr(v)) for k, v in {**PARAMETERS, **more}.items()),
                  wire.message("K", struct.pack("!II", id(self) & 0x7FFFFFFF, 1)), ready())

    def serve_queries(self, answer=lambda sql: one_row(sql)):
        """Answers simple queries for ever; answer(sql) gives the bytes, or None to stop answering."""
        while True:
            msg = self.receive()
            if msg.kind == "X":
                return
            if msg.kind == "Q":
                sql = msg.payload.rstrip(b"\0").decode()
                self.server.queries.append(sql)
                raw = answer(sql)
                if raw is None:
                    self.hang()
                self.send(raw)

    def hang(self):
        """Does nothing until the server is stopped (or the other side goes)."""
        self.server.stopping.wait()
        raise wire.Closed("stopped")

    def hang_until_closed(self):
        while self.sock.recv(4096):
            pass


class FakeServer:
    """Listens on a free port; each connection runs script(conversation) in a thread, then is closed."""

    def __init__(self, script, backlog=64, accept=True, address="127.0.0.1", port=None):
        self.script = script
        self.port = port or free_port()
        self.stopping = threading.Event()
        self.connections = 0
        self.open = set()
        self.cancels, self.queries, self.errors = [], [], []
        self.lock = threading.Lock()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, self.port))
        self.listener.listen(backlog)
        self.thread = None
        if accept:
            self.thread = threading.Thread(target=self._accept, daemon=True)
            self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def _accept(self):
        while not self.stopping.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open.add(sock)
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        try:
            self.script(Conversation(self, sock))
        except (wire.Closed, OSError, struct.error):
            pass
        except Exception as problem:  # a mistake in the test's script: the test should see it
            self.errors.append(problem)
        finally:
            with self.lock:
                self.open.discard(sock)
            sock.close()

    def kill_connections(self):
        with self.lock:
            for sock in self.open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def stop(self):
        self.stopping.set()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.kill_connections()

    @property
    def dsn(self):
        return f"host=127.0.0.1 port={self.port}"
