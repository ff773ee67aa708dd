"""A name server over UDP whose answers a test changes as it goes."""
import socket
import struct
import threading

A, SOA, AAAA = 1, 6, 28


class FakeDns:
    """names: {name: [addresses]}, or "silent" or "servfail" instead of a list; other names do not exist. ttl is for all.
    serials: {zone: serial}, or "silent", "servfail" or "no SOA" instead; other zones do not exist."""

    def __init__(self, names, ttl=1):
        self.names, self.ttl = dict(names), ttl
        self.serials = {}
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
                reply = self._answer(packet)
                if reply:
                    self.sock.sendto(reply, client)
            except OSError:
                return

    def _answer(self, packet):
        ident, at, labels = packet[:2], 12, []
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode())
            at += 1 + packet[at]
        kind = struct.unpack_from("!H", packet, at + 1)[0]
        name, question = ".".join(labels).lower(), packet[12:at + 5]
        self.asked.append((name, kind))
        found = self.serials.get(name) if kind == SOA else self.names.get(name)
        if found == "silent":
            return None
        code = 2 if found == "servfail" else 3 if found is None else 0
        data = []
        if code == 0 and kind == A:
            data = [socket.inet_aton(address) for address in found]
        elif code == 0 and kind == SOA and found != "no SOA":
            data = [b"\xc0\x0c\xc0\x0c" + struct.pack("!IIIII", found, 3600, 600, 86400, 60)]
        answers = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, self.ttl, len(each)) + each for each in data)
        return ident + struct.pack("!HHHHH", 0x8180 | code, 1, len(data), 0, 0) + question + answers
