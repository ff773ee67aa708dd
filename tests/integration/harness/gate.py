"""A relay to PostgreSQL that says what came in which piece, and can keep everything back on the way there."""
import contextlib
import socket
import threading


class Gate:
    """with Gate(port) as gate: connect to gate.port.

    pieces: what clients have sent, each recv() by itself. close(): what comes on the connections that there are stays
    here until open(); new connections are not concerned."""

    def __init__(self, port):
        self.target = port
        self.pieces, self.n_connections = [], 0
        self.sockets, self.threads, self.servers, self.closed = [], [], [], set()
        self.held = []  # (where to, what), in the order of coming
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._start(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        # not closed under the threads that read from them
        with self.lock:
            for sock in (self.listener, *self.sockets):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self.threads[0].join()
        for thread in self.threads[1:]:
            thread.join()
        for sock in (self.listener, *self.sockets):
            sock.close()

    def close(self):
        with self.lock:
            self.closed = set(self.servers)

    def open(self):
        with self.lock:
            self.closed = set()
            for server, piece in self.held:
                with contextlib.suppress(OSError):  # closed meanwhile
                    server.sendall(piece)
            self.held = []

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            with self.lock:
                self.sockets += [client, server]
                self.servers.append(server)
                self.n_connections += 1
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._pump, client, server, self._to_server)
            self._start(self._pump, server, client, lambda client, piece: client.sendall(piece))

    def _to_server(self, server, piece):
        with self.lock:
            self.pieces.append(piece)
            if server in self.closed:
                self.held.append((server, piece))
            else:
                server.sendall(piece)

    @staticmethod
    def _pump(one, other, pass_on):
        try:
            while piece := one.recv(1 << 20):
                pass_on(other, piece)
        except OSError:
            pass
        for sock in (one, other):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
