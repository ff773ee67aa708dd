"""Cancel requests against short queries, by the thousand: whose query ends, and who had asked for that?

Everything happens on one thread, so that events are in an order: a query may be cancelled only if a request for its own client
was under way at some time since it was sent. (When a request's connection has ended, it must not strike any more: not even
the next query of the same client.)
"""
import random
import select
import socket
import struct
import time

from . import wire
from .wire import Wire


class Client:
    """A session that runs one query after the other."""

    def __init__(self, race, number, is_victim):
        self.race, self.number, self.is_victim = race, number, is_victim
        self.wire = Wire("127.0.0.1", race.port, timeout=60)
        self.wire.login("app", "app", protocol=wire.PROTOCOL_32 if number % 2 else wire.PROTOCOL_30)
        body = struct.pack("!II", wire.CANCEL_REQUEST, self.wire.pid) + self.wire.key
        self.cancel_packet = struct.pack("!I", len(body) + 4) + body
        self.sock = self.wire.sock
        self.sock.setblocking(False)
        self.buffer = b""
        self.turn = 0
        self.open_requests = 0  # that are for this client
        self.last_end = -1      # when the last of them ended
        self.sent_at = 0
        self.is_running = False

    def send_query(self):
        self.turn += 1
        self.sent_at = self.race.tick()
        self.is_running = True
        self.token = f"{self.number}-{self.turn}"
        pause = round(self.race.random.uniform(0, 0.008), 4)
        sql = f"SELECT '{self.token}'" + (f", pg_sleep({pause})" if pause else "")
        self.sock.send(wire.simple_extended(sql) + wire.sync() if self.turn % 3 == 0 else wire.query(sql))

    def on_input(self):
        raw = self.sock.recv(65536)
        if not raw:
            self.race.problems.append(f"client {self.number} lost its connection in turn {self.turn}")
            self.is_running = False
            self.race.forget(self)
            return
        self.buffer += raw
        at = 0
        while len(self.buffer) - at >= 5:
            size = struct.unpack_from("!I", self.buffer, at + 1)[0] + 1
            if len(self.buffer) - at < size:
                break
            self.on_message(wire.Msg(chr(self.buffer[at]), self.buffer[at + 5:at + size]))
            at += size
        self.buffer = self.buffer[at:]

    def on_message(self, msg):
        race = self.race
        if msg.kind == "E":
            race.cancelled += 1
            if msg.sqlstate != "57014":
                race.problems.append(f"{self.token}: {msg}")
            elif self.open_requests == 0 and self.last_end < self.sent_at:
                race.problems.append(f"{self.token} was cancelled though nobody had asked for it")
        elif msg.kind == "D":
            race.served += 1
            if msg.row()[0] != self.token:
                race.problems.append(f"{self.token} got {msg.row()}")
        elif msg.kind == "Z":
            self.is_running = False
            if not race.is_ending:
                self.send_query()


class CancelRace:
    def __init__(self, port, unix_directory, clients=12, bystanders=8, at_a_time=12, seed=1):
        self.port, self.at_a_time = port, at_a_time
        self.unix_address = f"{unix_directory}/.s.PGSQL.{port}"
        self.random = random.Random(seed)
        self.problems, self.served, self.cancelled, self.requests = [], 0, 0, 0
        self.is_ending = False
        self.now = 0
        self.epoll = select.epoll()
        self.handlers, self.in_flight = {}, {}
        self.victims = [Client(self, n, True) for n in range(clients)]
        self.all = self.victims + [Client(self, clients + n, False) for n in range(bystanders)]
        for client in self.all:
            self.watch(client.sock, client.on_input)

    def tick(self):
        """The order of events."""
        self.now += 1
        return self.now

    def watch(self, sock, handler):
        self.handlers[sock.fileno()] = handler
        self.epoll.register(sock.fileno(), select.EPOLLIN)

    def forget(self, client):
        self.epoll.unregister(client.sock.fileno())

    def send_request(self):
        client = self.random.choice(self.victims)
        if self.random.random() < 0.5:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(self.unix_address)
        else:
            sock = socket.create_connection(("127.0.0.1", self.port))
        self.requests += 1
        client.open_requests += 1
        self.tick()
        sock.send(client.cancel_packet)
        self.in_flight[sock.fileno()] = sock

        def on_end():
            sock.recv(1)
            fd = sock.fileno()
            self.epoll.unregister(fd)
            del self.handlers[fd], self.in_flight[fd]
            sock.close()
            client.open_requests -= 1
            client.last_end = self.tick()

        self.watch(sock, on_end)

    def has_sent(self, requests, strikes):
        """So many requests, and (up to four times as many) until some have struck: how often one does is the machine's."""
        return self.requests >= requests and (self.cancelled >= strikes or self.requests >= 4 * requests)

    def run(self, requests, strikes, timeout):
        """Sends cancel requests; then lets the clients finish."""
        deadline = time.monotonic() + timeout
        for client in self.all:
            client.send_query()
        while not self.is_ending or self.in_flight or any(c.is_running for c in self.all):
            if time.monotonic() > deadline:
                stuck = [c.token for c in self.all if c.is_running]
                self.problems.append(f"not done in {timeout} s: {self.requests} requests, {len(self.in_flight)} in flight, at work: {stuck}")
                break
            while len(self.in_flight) < self.at_a_time and not self.has_sent(requests, strikes):
                self.send_request()
            self.is_ending = self.is_ending or self.has_sent(requests, strikes)
            for fd, _ in self.epoll.poll(1):
                if fd in self.handlers:
                    self.handlers[fd]()
        for client in self.all:
            client.sock.close()
        return self
