"""Prepared statements where things meet that seldom do: what waits, what is held back, what changes meanwhile."""
import pytest

from harness import wire

pytestmark = [pytest.mark.own, pytest.mark.sanitizer]

P, B, D, E, C, S, H, Q = (wire.parse, wire.bind, wire.describe, wire.execute, wire.close, wire.sync, wire.flush, wire.query)


@pytest.fixture
def single(make_pooler):
    return make_pooler(settings={"default_pool_size": 1})


def rows(client):
    return [m.row() for m in client.until() if m.kind == "D"]


def value(client, sql):
    client.send(Q(sql))
    return rows(client)[-1][0]


def prepare(client, name, sql):
    client.send(P(name, sql) + S())
    assert client.trace() == "1Z"


def run(client, name):
    client.send(B("", name) + E() + S())
    return rows(client)


# ---- answers of ours ---------------------------------------------------------------

@pytest.mark.parametrize("ahead", [B("", "a") + E() + S(), B("", "none") + S()], ids=["run", "failed"])
def test_a_close_behind_a_sync_is_answered_at_its_flush(single, ahead):
    """No message of the server comes after the ReadyForQuery, so nothing else would give it its turn."""
    with single.wire() as client:
        prepare(client, "a", "SELECT 1")
        prepare(client, "b", "SELECT 2")
        client.send(ahead + C("S", "b") + H())
        client.until()
        assert client.receive().kind == "3"
        client.send(S())
        assert client.trace() == "Z"
        assert run(client, "a") == [["1"]]
