"""A name server over UDP whose answers a test changes as it goes."""
import socket
import struct
import threading

A, AAAA = 1, 28


class FakeDns:
    """names: {name: [addresses]}, or "silent" or "servfail" instead of a list; other names do not exist. ttl is for all."""

    def __init__(self, names, ttl=1):
        self.names, self.ttl = dict(names), ttl
        self.asked = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def resolv_conf(self):
        return f"nameserver 127.0.0.1:{self.port}\n"

    def count(self, name, kind=A):
        return self.asked.count((name, kind))

    def stop(self):
        self.sock.close()

    def _serve(self):
        while True:
            try:
                packet, client = self.sock.recvfrom(2048)
            except OSError:
                return
            reply = self._answer(packet)
            if reply:
                self.sock.sendto(reply, client)

    def _answer(self, packet):
        ident, at, labels = packet[:2], 12, []
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode())
            at += 1 + packet[at]
        kind = struct.unpack_from("!H", packet, at + 1)[0]
        name, question = ".".join(labels).lower(), packet[12:at + 5]
        self.asked.append((name, kind))
        found = self.names.get(name)
        if found == "silent":
            return None
        code = 2 if found == "servfail" else 3 if found is None else 0
        addresses = [address for address in found if kind == A] if code == 0 else []
        answers = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", A, 1, self.ttl, 4) + socket.inet_aton(address) for address in addresses)
        return ident + struct.pack("!HHHHH", 0x8180 | code, 1, len(addresses), 0, 0) + question + answers
