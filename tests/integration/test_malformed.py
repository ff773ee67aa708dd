"""Packets that no driver sends: refused with 08P01, at the cost of that connection only, with one line in the log."""
import os
import struct

import pytest

from harness import wire
from harness.util import wait_until


def start(body, size=None):
    return struct.pack("!I", len(body) + 4 if size is None else size) + body


LOGIN = wire.startup_packet({"user": "app", "database": "app"})

STARTUP = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "zeros": b"\0" * 16,
    "huge length": start(struct.pack("!I", wire.PROTOCOL_30), 0x7FFFFFFF) + b"x" * 64,
    "negative length": start(struct.pack("!I", wire.PROTOCOL_30), 0xFFFFFFFF) + b"x" * 64,
    "length too small": start(struct.pack("!I", wire.PROTOCOL_30), 5) + b"\0" * 16,
    "no terminator": start(struct.pack("!I", wire.PROTOCOL_30) + b"user\0app\0database\0app"),
    "key without value": start(struct.pack("!I", wire.PROTOCOL_30) + b"user\0app\0database\0"),
    "bytes after the end": start(struct.pack("!I", wire.PROTOCOL_30) + b"user\0app\0\0garbage"),
    "empty parameters": start(struct.pack("!I", wire.PROTOCOL_30)),
    "unknown version": start(struct.pack("!I", 9 << 16) + b"user\0app\0\0"),
    "short cancel": start(struct.pack("!I", wire.CANCEL_REQUEST) + b"\0\0"),
    "long cancel": start(struct.pack("!I", wire.CANCEL_REQUEST) + b"\1" * 300),
    "ssl request with a body": start(struct.pack("!I", wire.SSL_REQUEST) + b"xxxx"),
    "password before login": wire.message("p", b"x\0"),
}

AFTER_LOGIN = {
    "unknown message": wire.message("~", b"abc"),
    "zero byte": b"\0" * 10,
    "negative length": b"Q" + struct.pack("!i", -1) + b"x" * 20,
    "length below four": b"Q" + struct.pack("!I", 3),
    "startup again": LOGIN,
    "password out of place": wire.message("p", b"secret\0"),
    "bind cut short": wire.parse("", "SELECT $1::int") + wire.message("B", b"\0\0\0\x01") + wire.sync(),
    "bind with a wild count": wire.parse("", "SELECT $1::int") + wire.message("B", b"\0\0" + struct.pack("!HHH", 0, 0xFFFF, 0))
                              + wire.sync(),
    "parse without terminator": wire.message("P", b"name") + wire.sync(),
    "describe of nothing": wire.message("D", b"") + wire.sync(),
    "close of an unknown kind": wire.message("C", b"Qx\0") + wire.sync(),
    "sync with a body": wire.message("S", b"xxxx"),
}


def alive(pooler, other):
    assert other.value("SELECT 'fine'") == "fine"
    with pooler.wire() as fresh:
        assert fresh.value("SELECT 'fresh'") == "fresh"


@pytest.fixture
def small(make_pooler):
    return make_pooler(settings={"default_pool_size": 2, "client_login_timeout": 2})


# These PgBouncer lets pass.
STRICT = {"no terminator", "key without value", "bytes after the end"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.own] if name in STRICT else []) for name in STARTUP])
def test_malformed_startup(small, name):
    with small.wire() as other, small.raw() as bad:
        try:
            bad.send(STARTUP[name])
            bad.sock.shutdown(1)
            messages = bad.expect_closed()
        except OSError:
            messages = []
        for msg in messages:
            assert msg.kind in "EN", messages
        alive(small, other)


@pytest.mark.sanitizer
@pytest.mark.parametrize("name", AFTER_LOGIN)
def test_malformed_message(small, name):
    with small.wire() as other, small.wire() as bad:
        before = len(small.log().splitlines())
        try:
            bad.send(AFTER_LOGIN[name])
            bad.sock.shutdown(1)
            messages = bad.expect_closed()
        except OSError:
            messages = []
        errors = [m for m in messages if m.kind == "E"]
        assert not errors or errors[0].sqlstate in ("08P01", "0A000", "26000", "34000", "22021", "42P02", "54000")
        alive(small, other)
        wait_until(lambda: len(small.clients()) == 1, "the bad client to be gone")
        assert len(small.log().splitlines()) < before + 40, "a malformed packet must not flood the log"


@pytest.mark.own
@pytest.mark.parametrize("name, sqlstate", [("unknown message", "08P01"), ("length below four", "08P01"), ("negative length", "08P01"),
                                            ("parse without terminator", "08P01"), ("bind cut short", "08P01"),
                                            ("bind with a wild count", "08P01")])
def test_malformed_message_is_answered(small, name, sqlstate):
    """By the pooler, which then closes, or by PostgreSQL where only PostgreSQL looks at that part of the message."""
    with small.wire() as bad:
        bad.send(AFTER_LOGIN[name])
        messages = []
        try:
            while not messages or messages[-1].kind != "Z":
                messages.append(bad.receive())
        except wire.Closed:
            pass
        assert [m.sqlstate for m in messages if m.kind == "E"] == [sqlstate]
    warnings = [line for line in small.log().splitlines() if "WARNING" in line]
    assert len(warnings) <= 1, warnings


@pytest.mark.sanitizer
def test_malformed_message_in_a_transaction_frees_the_server(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as bad:
        bad.query("BEGIN")
        bad.query("INSERT INTO t VALUES (70001, 'x') ON CONFLICT DO NOTHING")
        bad.send(wire.message("~", b"abc"))
        bad.sock.shutdown(1)
        bad.expect_closed()
    with pooler.wire() as other:
        assert other.value("SELECT count(*) FROM t WHERE id = 70001") == "0"


@pytest.mark.sanitizer
def test_random_bytes_after_login(small):
    with small.wire() as other:
        for seed in range(40):
            with small.wire() as bad:
                try:
                    bad.send(os.urandom(1 + seed * 7))
                    bad.sock.shutdown(1)
                    bad.expect_closed()
                except (OSError, IndexError):
                    pass
        alive(small, other)


def test_max_packet_size(make_pooler):
    pooler = make_pooler(settings={"max_packet_size": 10000})
    with pooler.wire() as client, pooler.wire() as other:
        try:
            client.send(wire.query("SELECT '" + "x" * 20000 + "'"))
            client.expect_closed()
        except OSError:
            pass
        assert other.value("SELECT 1") == "1"
