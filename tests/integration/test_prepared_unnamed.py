"""The unnamed statement of a client whose servers change: its own, or none, and never another client's."""
import random

import psycopg
import pytest

from harness import wire

pytestmark = [pytest.mark.own, pytest.mark.sanitizer]


@pytest.fixture
def single(make_pooler):
    return make_pooler(settings={"default_pool_size": 1})


def parse(sql):
    return wire.parse("", sql)


RUN = (wire.bind("", ""), wire.execute(), wire.sync())


def rows(client):
    return [m.row() for m in client.until() if m.kind == "D"]


def error(client):
    found = [m.fields() for m in client.until() if m.kind == "E"]
    return (found[0]["C"], found[0]["M"]) if found else None


@pytest.fixture
def direct(pg):
    client = wire.Wire("127.0.0.1", pg.port)
    client.login("app", "app")
    yield client
    client.disconnect()


NONE = ("26000", "unnamed prepared statement does not exist")


def test_parsed_in_one_batch_and_bound_in_another(single):
    with single.wire() as one, single.wire() as two:
        for n in range(5):
            for client, name in ((one, "one"), (two, "two")):
                client.send(parse(f"SELECT '{name}{n}'"), wire.sync())
                assert client.trace() == "1Z"
            for _ in range(2):  # and again
                for client, name in ((one, "one"), (two, "two")):
                    client.send(*RUN)
                    assert rows(client) == [[f"{name}{n}"]]


def test_described_and_bound_later(single):
    """As drivers do that do not know the types before."""
    with single.wire() as one, single.wire() as two:
        for n in range(3):
            one.send(parse("SELECT $1::int AS a, $2::text AS b"), wire.describe("S", ""), wire.sync())
            assert one.trace() == "1tTZ"
            two.send(parse("SELECT 1.5::float8 AS c"), wire.describe("S", ""), wire.sync())
            assert two.trace() == "1tTZ"
            one.send(wire.describe("S", ""), wire.sync())
            columns = [m.columns() for m in one.until() if m.kind == "T"]
            assert len(columns) == 1 and [column[0] if isinstance(column, tuple) else column for column in columns[0]] == ["a", "b"]
            two.send(*RUN)
            assert rows(two) == [["1.5"]]
            one.send(wire.bind("", "", [str(n), "x"]), wire.execute(), wire.sync())
            assert rows(one) == [[str(n), "x"]]


def test_a_named_portal(single):
    with single.wire() as one, single.wire() as two:
        one.send(parse("SELECT 'one'"), wire.sync())
        two.send(parse("SELECT 'two'"), wire.sync())
        one.until()
        two.until()
        one.send(wire.bind("portal", ""), wire.execute("portal"), wire.sync())
        assert rows(one) == [["one"]]
        two.send(wire.bind("portal", ""), wire.execute("portal"), wire.sync())
        assert rows(two) == [["two"]]


def test_flush_and_sync_in_packets_of_their_own(single):
    with single.wire() as one, single.wire() as two:
        one.send(parse("SELECT 'one'"), wire.flush())
        assert one.receive().kind == "1"
        one.send(wire.sync())
        one.until()
        assert two.value("SELECT 2") == "2"
        one.send(*RUN)
        assert rows(one) == [["one"]]


def test_byte_by_byte(single):
    with single.wire() as one, single.wire() as two:
        one.send_in_pieces(parse("SELECT 'one'") + wire.sync())
        one.until()
        two.send(parse("SELECT 'two'"), wire.sync())
        two.until()
        one.send_in_pieces(b"".join(RUN))
        assert rows(one) == [["one"]]


@pytest.fixture
def hosts(make_pooler):
    """go_to(n): from now on whoever comes gets the n-th of two servers, as the other one is taken."""
    pooler = make_pooler(settings={"default_pool_size": 2})
    first, second = pooler.wire(), pooler.wire()

    def say(client, what):  # by a named statement, which leaves the unnamed one of the server alone
        client.send(wire.bind("", what), wire.execute(), wire.sync())
        assert client.trace() == "2CZ"

    for client in (first, second):
        for what in ("BEGIN", "COMMIT"):
            client.send(wire.parse(what, what), wire.sync())
            client.until()
        say(client, "BEGIN")
    say(first, "COMMIT")
    taken = [second, first]

    def go_to(n):
        if taken[0] is (first, second)[n]:
            say(taken[1], "BEGIN")
            say(taken[0], "COMMIT")
            taken.reverse()

    pooler.go_to = go_to
    yield pooler
    first.disconnect()
    second.disconnect()


def test_on_a_server_where_it_has_had_another(hosts):
    with hosts.wire() as client:
        for n in range(6):
            hosts.go_to(n % 2)
            client.send(parse(f"SELECT 'statement {n}'"), wire.sync())
            assert client.trace() == "1Z"
            hosts.go_to((n + 1) % 2)
            for _ in range(2):
                client.send(*RUN)
                assert rows(client) == [[f"statement {n}"]]


@pytest.mark.parametrize("end", [wire.query("SELECT 5"), wire.close("S", "") + wire.sync()], ids=["query", "close"])
def test_ended_on_another_server(hosts, end):
    with hosts.wire() as client:
        hosts.go_to(0)
        client.send(parse("SELECT 'one'"), wire.sync())
        client.until()
        hosts.go_to(1)
        client.send(end)
        client.until()
        hosts.go_to(0)
        client.send(*RUN)
        assert error(client) == NONE


def test_bound_in_its_batch_on_another_server(hosts):
    """What is there by that name is an earlier one of this client's own."""
    with hosts.wire() as client:
        hosts.go_to(0)
        client.send(parse("SELECT 'one'"), wire.sync())
        client.until()
        hosts.go_to(1)
        client.send(parse("SELECT 'two'"), *RUN)
        assert rows(client) == [["two"]]
        hosts.go_to(0)
        client.send(*RUN)
        assert error(client) == NONE


@pytest.mark.parametrize("seed", range(6))
def test_random_turns_on_two_servers(make_pooler, seed):
    """Each has what it has parsed last, whoever has done what on which server meanwhile; one keeps a server now and then."""
    rng, pooler = random.Random(seed), make_pooler(settings={"default_pool_size": 2})
    clients = [pooler.wire() for _ in range(4)]
    has, holder = {}, None
    for client in clients:
        for what in ("BEGIN", "COMMIT", "SELECT 1 / 0"):
            client.send(wire.parse(what, what), wire.sync())
            client.until()
    for number in range(300):
        client = rng.choice(clients)
        step = rng.choices(["parse", "bind", "hold", "query", "close", "fail"], [6, 12, 12, 1, 1, 1])[0]
        if step == "parse":
            has[client] = f"statement {number}"
            client.send(parse(f"SELECT '{has[client]}'"), *rng.choice([(), (wire.describe("S", ""),)]), wire.sync())
            assert "E" not in client.trace()
        elif step == "bind" and (client in has or client is not holder):
            client.send(*RUN)
            if client in has:
                assert rows(client) == [[has[client]]], number
            else:
                assert error(client) == NONE, number
        elif step == "hold" and holder in (None, client):
            client.send(wire.bind("", "COMMIT" if holder else "BEGIN"), wire.execute(), wire.sync())
            client.until()
            holder = None if holder else client
        elif step == "query":
            assert client.value("SELECT 5") == "5"
            has.pop(client, None)
        elif step == "close":
            client.send(wire.close("S", ""), wire.sync())
            assert client.trace() == "3Z"
            has.pop(client, None)
        elif step == "fail" and client is not holder:
            client.send(wire.bind("", "SELECT 1 / 0"), wire.execute(), wire.sync())
            assert error(client)[0] == "22012"
    for client in clients:
        client.disconnect()


def test_who_has_parsed_none_gets_none(single, direct):
    with single.wire() as one, single.wire() as two:
        for batch in (RUN, (wire.describe("S", ""), wire.sync())):
            one.send(parse("SELECT 'secret of one'"), wire.sync())
            one.until()
            two.send(*batch)
            direct.send(*batch)
            assert error(two) == error(direct) == NONE
            assert two.value("SELECT 2") == "2"


def test_ended_by_a_query_or_a_close(single, direct):
    for end in (wire.query("SELECT 5"), wire.close("S", "") + wire.sync()):
        with single.wire() as one, single.wire() as two:
            for client in (one, direct):
                client.send(parse("SELECT 'one'"), wire.sync())
                client.until()
                client.send(end)
                client.until()
            two.send(parse("SELECT 'two'"), wire.sync())
            two.until()
            for client in (one, direct):
                client.send(*RUN)
            assert error(one) == error(direct) == NONE


def test_bound_in_its_batch_and_again_elsewhere(single):
    """Not kept: it may run on where it is, and is gone elsewhere; but what it was not is never run."""
    with single.wire() as one, single.wire() as two:
        one.send(parse("SELECT 'one'"), *RUN)
        assert rows(one) == [["one"]]
        two.send(parse("SELECT 'two'"), *RUN)
        assert rows(two) == [["two"]]
        one.send(*RUN)
        assert error(one) == NONE
        one.send(parse("SELECT 'one'"), *RUN)
        assert rows(one) == [["one"]]


def test_one_that_postgresql_refuses(single):
    with single.wire() as one, single.wire() as two:
        one.send(parse("SELECT nonsense"), wire.sync())
        assert error(one)[0] == "42703"
        two.send(parse("SELECT 'two'"), wire.sync())
        two.until()
        one.send(*RUN)
        assert error(one)[0] in ("26000", "42703")
        two.send(*RUN)
        assert rows(two) == [["two"]]
        assert one.value("SELECT 1") == "1"


def test_its_uses_that_fail_do_not_end_it(hosts):
    """A Bind and an Execute, where it was parsed and where it was not."""
    with hosts.wire() as client:
        for n in range(3):
            hosts.go_to(n % 2)
            client.send(parse("SELECT 10 / $1::int"), wire.sync())
            assert client.trace() == "1Z"
            for place in (n % 2, (n + 1) % 2):
                hosts.go_to(place)
                for value, sqlstate in (("much", "22P02"), ("0", "22012"), ("much", "22P02")):
                    client.send(wire.bind("", "", [value]), wire.execute(), wire.sync())
                    assert error(client)[0] == sqlstate
                client.send(wire.bind("", "", ["2"]), wire.execute(), wire.sync())
                assert rows(client) == [["5"]]


@pytest.mark.parametrize("is_pipelined", [True, False], ids=["pipelined", "answered"])
def test_one_that_was_skipped(single, is_pipelined):
    """An error ahead of a Parse makes the server skip it: what it has is still another client's."""
    with single.wire() as one, single.wire() as two:
        two.send(parse("SELECT 'two'"), wire.sync())
        two.until()
        if is_pipelined:
            one.send(wire.parse("bad", "SELECT nonsense"), parse("SELECT 'one'"), wire.sync())
        else:
            one.send(wire.parse("bad", "SELECT nonsense"), wire.flush())
            assert one.receive().kind == "E"
            one.send(parse("SELECT 'one'"), wire.sync())
        one.until()
        one.send(*RUN)
        assert error(one) == NONE
        two.send(*RUN)
        assert rows(two) == [["two"]]


def test_in_a_transaction_and_with_named_ones_beside(single):
    with single.wire() as one, single.wire() as two:
        one.send(parse("SELECT 'one'"), wire.sync())
        one.until()
        two.send(wire.parse("named", "SELECT 'two named'"), parse("SELECT 'two'"), wire.sync())
        assert two.trace() == "11Z"
        one.send(wire.query("BEGIN"))
        one.until()
        one.send(parse("SELECT 'in'"), wire.sync())
        one.until()
        one.send(*RUN)
        assert rows(one) == [["in"]]
        one.send(wire.query("COMMIT"))
        one.until()
        two.send(wire.bind("", "named"), wire.execute(), wire.bind("", ""), wire.execute(), wire.sync())
        assert rows(two) == [["two named"], ["two"]]


def test_settings_in_between_end_none(single):
    """A SET of ours before the Bind is a Query, which ends the server's; the client's own is there all the same."""
    with single.wire(TimeZone="Asia/Tokyo") as one, single.wire() as two:
        one.send(parse("SELECT current_setting('TimeZone')"), wire.sync())
        one.until()
        assert two.value("SELECT 2") == "2"
        one.send(*RUN)
        assert rows(one) == [["Asia/Tokyo"]]


def test_many_in_one_packet(single):
    with single.wire() as one, single.wire() as two:
        one.send(parse("SELECT 'a'"), wire.sync())
        one.until()
        two.send(parse("SELECT 'x'"), wire.sync())
        two.until()
        one.send(*RUN, parse("SELECT 'b'"), wire.sync(), *RUN, parse("SELECT 'c'"), *RUN, *RUN)
        got = []
        for _ in range(5):
            got += rows(one)
        assert got == [["a"], ["b"], ["c"], ["c"]]
        two.send(*RUN)
        assert rows(two) == [["x"]]


def test_libpq_prepares_the_unnamed_one(single):
    with single.connect() as one, single.connect() as two:
        for conn, text in ((one, b"SELECT 'one'"), (two, b"SELECT 'two'")):
            assert conn.pgconn.prepare(b"", text).status == psycopg.pq.ExecStatus.COMMAND_OK
        for _ in range(3):
            for conn, text in ((one, b"one"), (two, b"two")):
                assert conn.pgconn.exec_prepared(b"", []).get_value(0, 0) == text
