"""A PostgreSQL protocol client on bare sockets: sends whatever a test wants, in whatever pieces."""
import hashlib
import socket
import ssl
import struct

from . import scram

PROTOCOL_30 = 196608
PROTOCOL_32 = 196610
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102


def cstr(text):
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


def message(kind, payload=b""):
    return (kind if isinstance(kind, bytes) else kind.encode()) + struct.pack("!I", len(payload) + 4) + payload


def startup_packet(parameters, protocol=PROTOCOL_30):
    body = struct.pack("!I", protocol) + b"".join(cstr(k) + cstr(v) for k, v in parameters.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def cancel_request(pid, key):
    body = struct.pack("!II", CANCEL_REQUEST, pid) + key
    return struct.pack("!I", len(body) + 4) + body


# ---- frontend messages -------------------------------------------------------

def query(sql):
    return message("Q", cstr(sql))


def parse(name, sql, types=()):
    return message("P", cstr(name) + cstr(sql) + struct.pack("!H", len(types)) + b"".join(struct.pack("!I", t) for t in types))


def bind(portal, statement, values=(), binary_results=False):
    body = cstr(portal) + cstr(statement) + struct.pack("!HH", 0, len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
        else:
            raw = value if isinstance(value, bytes) else str(value).encode()
            body += struct.pack("!i", len(raw)) + raw
    return message("B", body + (struct.pack("!HH", 1, 1) if binary_results else struct.pack("!H", 0)))


def describe(kind, name):
    return message("D", kind.encode() + cstr(name))


def close(kind, name):
    return message("C", kind.encode() + cstr(name))


def execute(portal="", limit=0):
    return message("E", cstr(portal) + struct.pack("!I", limit))


def sync():
    return message("S")


def flush():
    return message("H")


def copy_data(raw):
    return message("d", raw)


def copy_done():
    return message("c")


def copy_fail(reason):
    return message("f", cstr(reason))


def function_call(oid, *args):
    body = struct.pack("!IHH", oid, 0, len(args))
    for arg in args:
        body += struct.pack("!i", len(arg)) + arg
    return message("F", body + struct.pack("!H", 0))


def terminate():
    return message("X")


def md5_answer(user, password, salt):
    inner = hashlib.md5((password + user).encode()).hexdigest()
    return message("p", cstr("md5" + hashlib.md5(inner.encode() + salt).hexdigest()))


def simple_extended(sql, values=()):
    """Parse, Bind, Describe, Execute on the unnamed objects, without Sync."""
    return parse("", sql) + bind("", "", values) + describe("P", "") + execute()


# ---- backend messages --------------------------------------------------------

class Msg:
    """One backend message: .kind (one letter) and .payload."""

    def __init__(self, kind, payload):
        self.kind, self.payload = kind, payload

    def __repr__(self):
        if self.kind in "EN":
            return f"{self.kind}{self.fields()}"
        return f"{self.kind}({self.payload[:60]!r})"

    def fields(self):
        """ErrorResponse, NoticeResponse: {letter: text}."""
        return {part[:1].decode(): part[1:].decode(errors="replace") for part in self.payload.split(b"\0") if part}

    @property
    def sqlstate(self):
        return self.fields().get("C")

    @property
    def text(self):
        return self.fields().get("M")

    def row(self):
        """DataRow: the values as text (None for NULL)."""
        count, at, values = struct.unpack_from("!H", self.payload)[0], 2, []
        for _ in range(count):
            size = struct.unpack_from("!i", self.payload, at)[0]
            at += 4
            values.append(None if size < 0 else self.payload[at:at + size].decode(errors="replace"))
            at += max(size, 0)
        assert at == len(self.payload)
        return values

    def columns(self):
        """RowDescription: [(name, type oid)]."""
        count, at, columns = struct.unpack_from("!H", self.payload)[0], 2, []
        for _ in range(count):
            end = self.payload.index(b"\0", at)
            columns.append((self.payload[at:end].decode(), struct.unpack_from("!I", self.payload, end + 7)[0]))
            at = end + 19
        return columns

    @property
    def tag(self):
        return self.payload.rstrip(b"\0").decode()


def tls_context(certificate=None, ca=None, alpn=None):
    """A client's: certificate is (certificate file, key file); the server is checked if there is a CA."""
    if ca is None:  # and not the machine's, of which there are many to be read each time
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=ca)
    if certificate:
        context.load_cert_chain(*certificate)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


class ServerError(Exception):
    """An ErrorResponse during login."""

    def __init__(self, msg):
        super().__init__(f"{msg.sqlstate}: {msg.text}")
        self.msg = msg
        self.sqlstate = msg.sqlstate


class Closed(Exception):
    """The other side closed the connection."""


class Wire:
    def __init__(self, host, port, timeout=10.0, source=None, receive_buffer=None):
        if host.startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            self.sock.connect(f"{host}/.s.PGSQL.{port}")
        else:
            self.sock = socket.socket()
            if receive_buffer:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.sock.settimeout(timeout)
            if source:
                self.sock.bind((source, 0))
            self.sock.connect((host, port))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = (host, port)
        self.buffer = b""
        self.parameters = {}
        self.pid = self.key = None
        self.notices = []
        self.negotiation = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.disconnect()

    # -- bytes

    def send(self, *raw):
        self.sock.sendall(b"".join(raw))

    def send_in_pieces(self, raw, size=1):
        for at in range(0, len(raw), size):
            self.sock.sendall(raw[at:at + size])

    def receive_bytes(self, count):
        while len(self.buffer) < count:
            try:
                more = self.sock.recv(65536)
            except ConnectionError as error:
                raise Closed(str(error)) from error
            if not more:
                raise Closed("end of file")
            self.buffer += more
        raw, self.buffer = self.buffer[:count], self.buffer[count:]
        return raw

    def disconnect(self):
        self.sock.close()

    def reset(self):
        """Closes the connection in the rude way (RST)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def goodbye(self):
        self.send(terminate())
        self.sock.close()

    # -- messages

    def receive(self):
        head = self.receive_bytes(5)
        try:
            return Msg(chr(head[0]), self.receive_bytes(struct.unpack("!I", head[1:])[0] - 4))
        except Closed as error:
            raise Closed(f"{error} in the message {head!r}, of which came {self.buffer[:200]!r}") from error

    def until(self, kinds="Z"):
        """All messages up to and including the first of these kinds."""
        messages = []
        while True:
            msg = self.receive()
            messages.append(msg)
            if msg.kind == "S":
                self._note_parameter(msg)
            if msg.kind in kinds:
                return messages

    def trace(self, kinds="Z"):
        """The kinds of the messages up to and including the first of these kinds, as one string."""
        return "".join(msg.kind for msg in self.until(kinds))

    def expect_closed(self):
        """Reads on until the connection ends; returns the messages that came before."""
        messages = []
        try:
            while True:
                messages.append(self.receive())
        except Closed:
            return messages

    def receive_rest(self):
        """All bytes up to the end of the connection, however that comes."""
        try:
            while more := self.sock.recv(65536):
                self.buffer += more
        except ConnectionError:
            pass
        return self.buffer

    def silent_for(self, seconds):
        """True when nothing arrives in this time."""
        if self.buffer:
            return False
        before = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            self.buffer = self.sock.recv(65536)
            return False
        except socket.timeout:
            return True
        finally:
            self.sock.settimeout(before)

    def _note_parameter(self, msg):
        name, value = msg.payload.split(b"\0")[:2]
        self.parameters[name.decode()] = value.decode()

    # -- login

    def ssl_request(self):
        self.send(struct.pack("!II", 8, SSL_REQUEST))
        return self.receive_bytes(1)

    def gss_request(self):
        self.send(struct.pack("!II", 8, GSSENC_REQUEST))
        return self.receive_bytes(1)

    def start_tls(self, context=None):
        assert self.ssl_request() == b"S"
        self.direct_tls(context or tls_context())

    def direct_tls(self, context=None, session=None):
        """TLS from here on, without asking."""
        assert not self.buffer
        self.sock = (context or tls_context(alpn=["postgresql"])).wrap_socket(self.sock, server_hostname="localhost", session=session)

    def offered(self, user, database):
        """Begins a login; the SASL mechanisms that the other side offers for it."""
        self.send(startup_packet({"user": user, "database": database}))
        msg = self.receive()
        if msg.kind == "E":
            raise ServerError(msg)
        assert msg.kind == "R" and struct.unpack("!I", msg.payload[:4])[0] == 10, msg
        return [name.decode() for name in msg.payload[4:].split(b"\0") if name]

    def login_by_scram(self, mechanism, exchange):
        """Goes on behind offered()."""
        self.send_sasl(mechanism, exchange)
        return self.finish_login(None, exchange=exchange)

    def send_sasl(self, mechanism, exchange):
        first = exchange.first()
        self.send(message("p", cstr(mechanism) + struct.pack("!I", len(first)) + first))

    def login(self, user, database, password=None, protocol=PROTOCOL_30, **parameters):
        self.send(startup_packet({"user": user, "database": database, **parameters}, protocol))
        return self.finish_login(user, password)

    def finish_login(self, user, password=None, exchange=None):
        while True:
            msg = self.receive()
            if msg.kind == "E":
                raise ServerError(msg)
            if msg.kind == "N":
                self.notices.append(msg)
            elif msg.kind == "v":
                self.negotiation = msg.payload
            elif msg.kind == "S":
                self._note_parameter(msg)
            elif msg.kind == "K":
                self.pid, self.key = struct.unpack("!I", msg.payload[:4])[0], msg.payload[4:]
            elif msg.kind == "Z":
                return self
            elif msg.kind == "R":
                code = struct.unpack("!I", msg.payload[:4])[0]
                if code == 3:
                    self.send(message("p", cstr(password)))
                elif code == 5:
                    self.send(md5_answer(user, password, msg.payload[4:8]))
                elif code == 10:
                    assert b"SCRAM-SHA-256\0" in msg.payload
                    exchange = scram.Client(password)
                    self.send_sasl("SCRAM-SHA-256", exchange)
                elif code == 11:
                    self.send(message("p", exchange.final(msg.payload[4:])))
                elif code == 12:
                    exchange.verify(msg.payload[4:])
                else:
                    assert code == 0, f"authentication request {code}"

    # -- whole queries

    def query(self, sql):
        """Simple query; returns all messages to ReadyForQuery."""
        self.send(query(sql))
        return self.until("Z")

    def rows(self, sql):
        """Simple query that must succeed; the rows as lists of text."""
        messages = self.query(sql)
        for msg in messages:
            assert msg.kind != "E", f"{sql}: {msg}"
        return [msg.row() for msg in messages if msg.kind == "D"]

    def value(self, sql):
        rows = self.rows(sql)
        assert len(rows) == 1 and len(rows[0]) == 1, rows
        return rows[0][0]

    def cancel(self):
        """Sends a CancelRequest with this session's key on a connection of its own, and waits for its end."""
        with Wire(*self.address) as other:
            other.send(cancel_request(self.pid, self.key))
            other.expect_closed()
