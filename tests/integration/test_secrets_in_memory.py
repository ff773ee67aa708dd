"""No password stays in the pooler's memory: when a client has its answer, what it has sent is gone from wherever it came through."""
import os
import ssl

import pytest

from harness import memory, scram
from harness.wire import cstr, message, startup_packet, tls_context

pytestmark = [pytest.mark.own, pytest.mark.skipif(os.geteuid() != 0, reason="not root")]

PASSWORDS = {"short": "left over in memory 0123456789", "long": "".join(f"very long {n:04d} " for n in range(530))}
STARTUP = startup_packet({"user": "app", "database": "app"})


def old_tls():
    context = tls_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


TRANSPORTS = {"clear": (None, 1), "tls1.3": (tls_context, 1), "openssl": (tls_context, 0), "tls1.2": (old_tls, 1)}


def send_password(client, password, how):
    """Up to the answer to it."""
    said = message("p", cstr(password))
    if how == "at-once":
        client.send(STARTUP, said)
    else:
        client.send_in_pieces(said, len(said) if how == "asked" else 1000)
    return client.until("ZE")[-1].kind


@pytest.mark.parametrize("length, how", [("short", "asked"), ("long", "pieces"), ("short", "at-once")])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_password_of_a_client(make_pooler, pg, certs, transport, length, how):
    """It would have been found in the read buffer, in what was kept of the input, or behind it where it had moved from."""
    make_context, compact = TRANSPORTS[transport]
    password = PASSWORDS[length]
    pooler = make_pooler(settings={"auth_type": "plain", "client_tls_sslmode": "allow", "client_tls_cert_file": certs.server[0],
                                   "client_tls_key_file": certs.server[1], "client_tls_compact": compact, "server_tls_sslmode": "disable"},
                         userlist={"app": scram.verifier(password), "alice": "of another"}, databases={"app": f"{pg.dsn} dbname=app user=bob"})
    pooler.connect(user="alice", password="of another").close()  # the pool is known now
    for is_right in (True, False):
        said = password if is_right else password[:-1] + "!"
        client = pooler.raw(timeout=30)
        if make_context:
            client.start_tls(make_context())
        if how != "at-once":
            client.send(STARTUP)
            assert client.receive().kind == "R"
        with memory.stopped_behind_sending(pooler.pid):
            assert send_password(client, said, how) == ("Z" if is_right else "E")
            found = memory.find(pooler.pid, said)
        assert not found
        client.disconnect()
