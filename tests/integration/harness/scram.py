"""SCRAM-SHA-256 (RFC 5802, 7677): verifiers as PostgreSQL stores them, and the client's side of the exchange."""
import base64
import hashlib
import hmac
import os


def _hmac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


def keys(password, salt, iterations):
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = _hmac(salted, b"Client Key")
    return client_key, hashlib.sha256(client_key).digest(), _hmac(salted, b"Server Key")


def verifier(password, salt=b"0123456789abcdef", iterations=4096):
    _, stored, server = keys(password, salt, iterations)
    b64 = lambda raw: base64.b64encode(raw).decode()  # noqa: E731
    return f"SCRAM-SHA-256${iterations}:{b64(salt)}${b64(stored)}:{b64(server)}"


def md5_hash(user, password):
    return "md5" + hashlib.md5((password + user).encode()).hexdigest()


class Client:
    """first() -> client-first; final(server-first) -> client-final; verify(server-final)."""

    def __init__(self, password, user="", gs2="n,,", binding=b""):
        """gs2: the header that says what is thought of channel binding; binding: the data, with p=... in it."""
        self.password = password
        self.gs2, self.binding = gs2, binding
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.first_bare = f"n={user},r={self.nonce}"
        self.signature = None

    def first(self):
        return (self.gs2 + self.first_bare).encode()

    def final(self, server_first):
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        assert fields["r"].startswith(self.nonce)
        client_key, stored, server = keys(self.password, base64.b64decode(fields["s"]), int(fields["i"]))
        bound = base64.b64encode(self.gs2.encode() + self.binding).decode()
        without_proof = f"c={bound},r={fields['r']}"
        message = ",".join((self.first_bare, server_first.decode(), without_proof)).encode()
        proof = bytes(a ^ b for a, b in zip(client_key, _hmac(stored, message)))
        self.signature = _hmac(server, message)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final):
        assert server_final == b"v=" + base64.b64encode(self.signature), "the server's signature is wrong"
