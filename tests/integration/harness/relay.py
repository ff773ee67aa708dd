"""Somebody in between who ends TLS on both sides, with a certificate of its own: what channel binding is there to notice."""
import contextlib
import socket
import ssl
import struct
import threading

from . import wire
from .util import free_port


class Relay:
    """with Relay(port, certificate) as relay: connect to relay.port.

    strip: takes SCRAM-SHA-256-PLUS out of what the server offers. seen: the mechanisms that clients chose."""

    def __init__(self, port, certificate, strip=False):
        self.target, self.strip = port, strip
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        self.port = free_port()
        self.seen = []
        self.sockets, self.threads, self.is_stopping = [], [], False
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(20)
        self._start(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        # Not closed under the threads that read from them: such a thread would go on to read from whatever connection
        # gets the same descriptor next.
        self.is_stopping = True
        for sock in (self.listener, *self.sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for sock in (self.listener, *self.sockets):
            sock.close()

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args)
        self.threads.append(thread)
        thread.start()
        return thread

    @property
    def dsn(self):
        return f"host=127.0.0.1 port={self.port}"

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self._start(self._run, sock)

    def _run(self, sock):
        try:
            with wire.Wire("127.0.0.1", self.target, timeout=60) as server:
                self.sockets += [sock, server.sock]
                assert not self.is_stopping
                assert sock.recv(8, socket.MSG_WAITALL) == struct.pack("!II", 8, wire.SSL_REQUEST)
                server.start_tls()
                sock.sendall(b"S")
                with self.context.wrap_socket(sock, server_side=True) as client:
                    self.sockets += [client, server.sock]
                    self._login(client, server)
        except (OSError, ssl.SSLError, wire.Closed, AssertionError):
            pass
        finally:
            sock.close()

    def _login(self, client, server):
        """The start-up packet, the server's offer, the client's choice; then bytes as they come."""
        size = struct.unpack("!I", self._read(client, 4))[0]
        server.send(struct.pack("!I", size) + self._read(client, size - 4))
        msg = server.receive()
        if msg.kind == "R" and msg.payload[:4] == b"\0\0\0\x0a":
            offer = msg.payload.replace(b"SCRAM-SHA-256-PLUS\0", b"") if self.strip else msg.payload
            client.sendall(wire.message("R", offer))
            head = self._read(client, 5)
            body = self._read(client, struct.unpack("!I", head[1:])[0] - 4)
            self.seen.append(body.split(b"\0")[0].decode())
            server.send(head + body)
        else:
            client.sendall(wire.message(msg.kind, msg.payload))
        if server.buffer:
            client.sendall(server.buffer)
        back = self._start(self._pump, server.sock, client)
        self._pump(client, server.sock)
        back.join()

    @staticmethod
    def _read(sock, count):
        raw = b""
        while len(raw) < count:
            more = sock.recv(count - len(raw))
            if not more:
                raise wire.Closed("end of file")
            raw += more
        return raw

    @staticmethod
    def _pump(one, other):
        try:
            while raw := one.recv(65536):
                other.sendall(raw)
        except (OSError, ssl.SSLError, ValueError):
            pass
        for sock in (one, other):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
