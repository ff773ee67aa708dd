"""Named statements of the extended protocol with transaction pooling: what a client sees is what PostgreSQL itself would say.

SCRIPTS are run message by message on a direct connection and through the pooler, in several situations of the
server connection behind it; the answers must be the same.
"""
import itertools
import random

import pytest

from harness import wire
from harness.util import wait_until
from harness.wire import Wire

pytestmark = [pytest.mark.sanitizer, pytest.mark.own]

P, B, D, E, C, S, H, Q = wire.parse, wire.bind, wire.describe, wire.execute, wire.close, wire.sync, wire.flush, wire.query

ADD = "SELECT $1::int + 1"
TEXT = "SELECT 'x' || $1::text"


def use(name, *values):
    """Bind, describe and execute a named statement through the unnamed portal."""
    return B("", name, values) + D("P", "") + E()


# name: steps; a step is what is sent and the kind of message that ends its answers ("" when there are none).
SCRIPTS = {
    "prepare, then use": [(P("a", ADD) + S(), "Z"), (use("a", 1) + S(), "Z"), (use("a", 2) + S(), "Z")],
    "all at once": [(P("a", ADD) + use("a", 1) + S(), "Z"), (use("a", 2) + S(), "Z")],
    "prepare with a description": [(P("a", ADD) + D("S", "a") + S(), "Z"), (use("a", 1) + S(), "Z")],
    "prepare with types": [(P("a", "SELECT $1 + $2", (20, 23)) + D("S", "a") + S(), "Z"), (use("a", 1, 2) + S(), "Z")],
    "description later": [(P("a", ADD) + S(), "Z"), (D("S", "a") + S(), "Z"), (D("S", "a") + use("a", 5) + S(), "Z")],
    "nothing to describe": [(P("a", "SET work_mem = '5MB'") + D("S", "a") + S(), "Z")],
    "two statements": [(P("a", ADD) + P("b", TEXT) + S(), "Z"), (use("b", 1) + use("a", 1) + S(), "Z")],
    "two names for one text": [(P("a", ADD) + P("b", ADD) + S(), "Z"), (use("a", 1) + use("b", 2) + S(), "Z"),
                               (C("S", "a") + S(), "Z"), (use("b", 3) + S(), "Z"), (use("a", 3) + S(), "Z")],
    "named portals": [(P("a", ADD) + B("p", "a", [1]) + B("q", "a", [2]) + E("q") + E("p") + C("P", "p") + S(), "Z")],
    "portal over several executes": [(P("a", "SELECT generate_series(1, 5)") + S(), "Z"),
                                     (B("", "a") + E("", 2) + E("", 2) + E("", 2) + S(), "Z")],
    "empty query": [(P("a", "") + S(), "Z"), (use("a") + S(), "Z")],
    "unnamed beside named": [(P("a", ADD) + S(), "Z"), (P("", TEXT) + use("a", 1) + use("", 2) + S(), "Z"),
                             (use("a", 1) + S(), "Z"), (use("", 9) + S(), "Z")],
    "unnamed alone": [(wire.simple_extended(ADD, [4]) + S(), "Z"), (D("S", "") + C("S", "") + S(), "Z")],

    "unknown name": [(use("nobody", 1) + S(), "Z"), (D("S", "nobody") + S(), "Z"), (Q("SELECT 1"), "Z")],
    "unknown name amid a pipeline": [(P("a", ADD) + use("a", 1) + use("nobody", 1) + use("a", 2) + S() + use("a", 3) + S(), "Z"),
                                     (b"", "Z"), (use("a", 4) + S(), "Z")],
    "unknown name in a transaction": [(Q("BEGIN"), "Z"), (use("nobody") + S(), "Z"), (Q("SELECT 1"), "Z"), (Q("ROLLBACK"), "Z")],
    "close of an unknown name": [(C("S", "nobody") + S(), "Z")],
    "second parse of a live name": [(P("a", ADD) + S(), "Z"), (P("a", TEXT) + use("a", 1) + S(), "Z"), (use("a", 1) + S(), "Z")],
    "second parse at once": [(P("a", ADD) + P("a", ADD) + use("a", 1) + S(), "Z"), (use("a", 1) + S(), "Z")],
    "second parse in a transaction": [(P("a", ADD) + S(), "Z"), (Q("BEGIN"), "Z"), (P("a", TEXT) + S(), "Z"), (use("a", 1) + S(), "Z"),
                                      (Q("ROLLBACK"), "Z"), (use("a", 1) + S(), "Z")],
    "second parse, and that is wrong too": [(P("a", ADD) + S(), "Z"), (P("a", "nonsense") + S(), "Z"), (use("a", 1) + S(), "Z")],
    "parse fails": [(P("a", "nonsense") + use("a", 1) + S(), "Z"), (use("a", 1) + S(), "Z"), (P("a", ADD) + use("a", 1) + S(), "Z")],
    "parse fails, the rest is behind the sync": [(P("a", "nonsense") + S() + use("a", 1) + S() + P("a", ADD) + S() + use("a", 2) + S(), "Z"),
                                                 (b"", "Z"), (b"", "Z"), (b"", "Z")],
    "parse is skipped": [(use("nobody") + P("a", ADD) + S(), "Z"), (use("a", 1) + S(), "Z"), (P("a", TEXT) + use("a", 1) + S(), "Z")],
    "parse is skipped, and tried again at once": [(use("nobody") + P("a", ADD) + S() + P("a", TEXT) + use("a", 1) + S(), "Z"), (b"", "Z")],
    "parse fails without a sync": [(P("a", "nonsense") + H(), "E"), (P("b", ADD) + use("b", 1) + C("S", "b") + S(), "Z"), (use("b", 1) + S(), "Z")],
    "too few parameters": [(P("a", ADD) + S(), "Z"), (B("", "a") + E() + S(), "Z"), (use("a", 1) + S(), "Z")],
    "wrong parameter": [(P("a", ADD) + S(), "Z"), (use("a", "x") + S(), "Z"), (use("a", 1) + S(), "Z")],
    "error while it runs": [(P("a", "SELECT 1 / $1::int") + S(), "Z"), (use("a", 0) + use("a", 1) + S(), "Z"), (use("a", 1) + S(), "Z")],

    "name used again after a close": [(P("a", ADD) + S(), "Z"), (C("S", "a") + S(), "Z"), (use("a", 1) + S(), "Z"),
                                      (P("a", TEXT) + S(), "Z"), (use("a", 1) + S(), "Z")],
    "close and parse at once": [(P("a", ADD) + S(), "Z"), (C("S", "a") + P("a", TEXT) + use("a", 1) + S(), "Z"), (use("a", 2) + S(), "Z")],
    "close is skipped": [(P("a", ADD) + S(), "Z"), (use("nobody") + C("S", "a") + S(), "Z"), (use("a", 1) + S(), "Z")],
    "close and parse are skipped": [(P("a", ADD) + S(), "Z"), (use("nobody") + C("S", "a") + P("a", TEXT) + S(), "Z"), (use("a", 1) + S(), "Z")],
    "close, then what fails": [(P("a", ADD) + S(), "Z"), (C("S", "a") + P("a", "nonsense") + S(), "Z"), (use("a", 1) + S(), "Z")],
    "close twice": [(P("a", ADD) + S(), "Z"), (C("S", "a") + C("S", "a") + S(), "Z")],
    "parse, close and flush": [(P("a", ADD) + H(), "1"), (C("S", "a") + H(), "3"), (P("a", TEXT) + H(), "1"), (use("a", 1) + H(), "C"), (S(), "Z")],
    "parse again behind a sync": [(P("a", ADD) + S(), "Z"), (C("S", "a") + S() + P("a", ADD) + S() + use("a", 1) + S(), "Z"), (b"", "Z"), (b"", "Z")],

    "in a transaction": [(P("a", ADD) + S(), "Z"), (Q("BEGIN"), "Z"), (use("a", 1) + S(), "Z"), (P("b", TEXT) + S(), "Z"),
                         (use("b", 1) + S(), "Z"), (Q("COMMIT"), "Z"), (use("b", 1) + S(), "Z")],
    "prepared in a transaction that is rolled back": [(Q("BEGIN"), "Z"), (P("a", ADD) + S(), "Z"), (Q("ROLLBACK"), "Z"), (use("a", 1) + S(), "Z")],
    "in a failed transaction": [(P("a", ADD) + P("end", "ROLLBACK") + S(), "Z"), (Q("BEGIN"), "Z"), (Q("SELECT 1/0"), "Z"),
                                (use("a", 1) + S(), "Z"), (P("b", ADD) + S(), "Z"), (use("b", 1) + S(), "Z"), (P("c", TEXT) + S(), "Z"),
                                (use("end") + S(), "Z"), (use("a", 1) + S(), "Z"), (use("b", 1) + S(), "Z")],
    "rollback prepared in a failed transaction": [(Q("BEGIN"), "Z"), (Q("SELECT 1/0"), "Z"), (P("end", "ROLLBACK") + use("end") + S(), "Z"),
                                                  (use("end") + S(), "Z")],
    "statement of a failed transaction in the next pipeline": [(P("a", ADD) + S(), "Z"), (Q("BEGIN"), "Z"), (use("nobody") + S() + use("a", 1) + S(), "Z"),
                                                               (b"", "Z"), (Q("ROLLBACK"), "Z")],

    "pipeline with a sync each": [(P("a", ADD) + S() + use("a", 1) + S() + P("b", TEXT) + S() + use("b", 1) + S() + use("a", 2) + S(), "Z"),
                                  (b"", "Z"), (b"", "Z"), (b"", "Z"), (b"", "Z")],
    "pipeline with queries": [(P("a", ADD) + use("a", 1) + Q("SELECT 1") + use("a", 2) + S() + Q("SELECT 2"), "Z"), (b"", "Z"), (b"", "Z")],
    "flush after each": [(P("a", ADD) + H(), "1"), (D("S", "a") + H(), "T"), (B("", "a", [1]) + H(), "2"), (E() + H(), "C"), (S(), "Z")],
    "parse of the same text with flush": [(P("a", ADD) + S(), "Z"), (P("b", ADD) + H(), "1"), (P("c", ADD) + H(), "1"), (use("c", 1) + H(), "C"),
                                          (C("S", "c") + H(), "3"), (S(), "Z")],
    "sync alone": [(S(), "Z"), (S() + S(), "Z"), (b"", "Z")],

    "deallocate all": [(P("a", ADD) + P("b", TEXT) + S(), "Z"), (Q("DEALLOCATE ALL"), "Z"), (use("a", 1) + S(), "Z"),
                       (P("a", TEXT) + S(), "Z"), (use("a", 1) + S(), "Z"), (use("b", 1) + S(), "Z")],
    "discard all": [(P("a", ADD) + S(), "Z"), (Q("DISCARD ALL"), "Z"), (use("a", 1) + S(), "Z"), (P("a", ADD) + use("a", 1) + S(), "Z")],
    "discard all, prepared": [(P("a", ADD) + P("d", "DISCARD ALL") + S(), "Z"), (use("d") + S(), "Z"), (use("a", 1) + S(), "Z"), (use("d") + S(), "Z")],
    "deallocate all and on": [(P("a", ADD) + S(), "Z"), (P("", "DEALLOCATE ALL") + use("") + P("b", TEXT) + use("b", 1) + S(), "Z"), (use("b", 1) + S(), "Z"),
                              (use("a", 1) + S(), "Z")],
    "tags that look alike": [(P("a", ADD) + S(), "Z"), (Q("CREATE TEMP TABLE look (x int); INSERT INTO look SELECT generate_series(1, 10)"), "Z"),
                             (use("a", 1) + S(), "Z"), (Q("DROP TABLE look"), "Z")],

    "copy from a statement": [(P("c", "COPY (SELECT generate_series(1, 3)) TO STDOUT") + S(), "Z"), (B("", "c") + E() + S(), "Z")],
    "copy in from a statement": [(Q("BEGIN; CREATE TEMP TABLE ct (x int) ON COMMIT DROP"), "Z"), (P("ct", "COPY ct FROM STDIN") + S(), "Z"),
                                 (B("", "ct") + E() + H(), "G"), (wire.copy_data(b"1\n2\n") + wire.copy_done() + S(), "Z"),
                                 (Q("SELECT sum(x) FROM ct; ROLLBACK"), "Z")],
    "parse within copy in": [(P("a", ADD) + S(), "Z"), (Q("BEGIN; CREATE TEMP TABLE ct (x int) ON COMMIT DROP"), "Z"), (Q("COPY ct FROM STDIN"), "G"),
                             (wire.copy_data(b"1\n") + wire.copy_done(), "Z"), (use("a", 1) + S(), "Z"), (Q("ROLLBACK"), "Z")],

    "malformed parse": [(wire.message("P", b"a\0SELECT 1\0\0"), "E"), (S(), "Z"), (P("a", ADD) + use("a", 1) + S(), "Z")],
    "malformed bind": [(P("a", ADD) + S(), "Z"), (wire.message("B", b"\0a\0\0\0\0\1"), "E"), (S(), "Z"), (use("a", 1) + S(), "Z")],
    "malformed describe": [(P("a", ADD) + S(), "Z"), (wire.message("D", b"Sa\0x"), "E"), (S(), "Z"), (use("a", 1) + S(), "Z")],
    "long names": [(P("n" * 63, ADD) + S(), "Z"), (use("n" * 63, 1) + S(), "Z"), (use("n" * 62, 1) + S(), "Z")],
    "binary results": [(P("a", ADD) + S(), "Z"), (B("", "a", [1], binary_results=True) + E() + S(), "Z")],
}


def normal(message):
    """What must be the same: all of a message, and of an error what does not tell where in PostgreSQL it was raised."""
    if message.kind == "E":
        fields = message.fields()
        return "E", tuple(fields.get(letter) for letter in "SCMDHP")
    return message.kind, message.payload


def play(connection, script):
    answers = []
    for sent, end in script:
        connection.send(sent)
        answers.append([normal(m) for m in connection.until(end) if m.kind not in "SNA"])
    return answers


def direct(pg):
    return Wire("127.0.0.1", pg.port).login("app", "app")


def answers_of_postgres(pg, scripts):
    answers = {}
    for name, script in scripts.items():
        with direct(pg) as connection:
            answers[name] = play(connection, script)
    return answers


@pytest.fixture(scope="module")
def expected(pg):
    """What PostgreSQL itself answers."""
    return answers_of_postgres(pg, SCRIPTS)


def compare(pooler, expected, client=None, but=(), scripts=SCRIPTS):
    wrong = []
    for name, script in scripts.items():
        if name in but:
            continue
        connection = client or pooler.wire()
        got = play(connection, script)
        if got != expected[name]:
            at = next(i for i in range(len(got)) if got[i] != expected[name][i])
            wrong.append(f"{name}, step {at}: {script[at][0]}\n  got      {got[at]}\n  expected {expected[name][at]}")
        if client:
            assert client.query("DEALLOCATE ALL")[-1].payload == b"I"
        else:
            connection.disconnect()
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("max_statements", [200, 1, 2])
def test_like_a_direct_connection(make_pooler, expected, max_statements):
    """Each script on a client of its own, all on one server: what it needs is there, or was evicted, or never was."""
    pooler = make_pooler(settings={"default_pool_size": 1, "max_pinned": 1, "max_prepared_statements": max_statements})
    compare(pooler, expected)
    compare(pooler, expected)
    assert pooler.servers()[0]["prepared_statements"] <= max_statements


def test_like_a_direct_connection_with_one_client(make_pooler, expected):
    """All scripts in one session; DEALLOCATE ALL between them empties client and server."""
    pooler = make_pooler(settings={"default_pool_size": 1, "max_pinned": 1})
    with pooler.wire() as client:
        compare(pooler, expected, client)
    assert pooler.servers()[0]["prepared_statements"] == 0


def test_like_a_direct_connection_on_a_server_that_is_new_each_time(make_pooler, expected):
    """A reset query after each transaction leaves no statement on the server."""
    pooler = make_pooler(settings={"default_pool_size": 1, "server_reset_query_always": 1, "server_reset_query": "DISCARD ALL"})
    with pooler.wire() as client:
        client.send(P("a", ADD) + S())
        client.until()
        wait_until(lambda: pooler.servers()[0]["state"] == "idle", "the reset query to end")
        assert pooler.servers()[0]["prepared_statements"] == 0
        assert pooler.clients()[0]["prepared_statements"] == 1
    # but for what uses the unnamed statement, or a temporary table, in two transactions
    compare(pooler, expected, but=["unnamed beside named", "unnamed alone", "tags that look alike"])


def test_like_a_direct_connection_byte_by_byte(make_pooler, expected):
    """Whatever the pieces in which messages arrive."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    for name in ("all at once", "two statements", "named portals", "second parse at once", "close and parse at once", "pipeline with a sync each"):
        with pooler.wire() as client:
            answers = []
            for sent, end in SCRIPTS[name]:
                client.send_in_pieces(sent)
                answers.append([normal(m) for m in client.until(end) if m.kind not in "SNA"])
            assert answers == expected[name], name


# ---- random sequences

# Three servers, each transaction on the next one: what is known of a server is old when its client comes back.
ROTATING = {"default_pool_size": 3, "min_pool_size": 3, "server_round_robin": 1}
QUERIES = [ADD, TEXT, "SELECT 10 / ($1::int * (1 + random() * 0)::int)", "SELECT generate_series(1, $1::int)", "nonsense $1", "SELECT pg_typeof($1::int)"]


def random_batch(rng, queries):
    """Messages up to a Sync, or a query."""
    name = lambda: rng.choice("abc")  # noqa: E731
    batch = b""
    if rng.random() < 0.25:
        return Q(rng.choice(["BEGIN", "COMMIT", "ROLLBACK", "SELECT 1", "SELECT 1/0", "DISCARD PLANS", "DEALLOCATE ALL"]))
    for _ in range(rng.randrange(1, 7)):
        batch += rng.choices([
            lambda: P(name(), rng.choice(queries)),
            lambda: use(name(), rng.choice([0, 1, 2, "x"])),
            lambda: B("p", name(), [2]) + E("p", 1) + C("P", "p"),
            lambda: D("S", name()),
            lambda: C("S", name()),
            lambda: P("", rng.choice(queries)) + use("", 1),
            H,
        ], [4, 6, 2, 2, 3, 1, 2])[0]()
    return batch + S()


def answers_to(connection, batches):
    """The answers to batches that end in a ReadyForQuery each; to which there are none, "nothing"."""
    got = []
    connection.send(*batches)
    try:
        for _ in batches:
            got += [normal(m) for m in connection.until() if m.kind not in "SNA"]
    except (TimeoutError, wire.Closed):
        got.append("nothing")
    return got


def play_random(pooler, pg, seeds, steps, make_batch):
    """Three clients, their steps in turns, against three direct connections. A failure names its seed."""
    for seed in seeds:
        rng = random.Random(seed)
        pairs = [(direct(pg), pooler.wire()) for _ in range(3)]
        history = []
        try:
            for step in range(steps):
                batches = [make_batch(rng) for _ in range(rng.choice([1, 1, 2, 3]))]
                number = rng.randrange(3)
                history.append((number, batches))
                answers = [answers_to(connection, batches) for connection in pairs[number]]
                before = "".join(f"\n  {n}: {sent}" for n, sent in history[-12:])
                assert answers[0] == answers[1], f"seed {seed}, step {step}: {before}"
        finally:
            for connection in itertools.chain(*pairs):
                connection.disconnect()


@pytest.mark.parametrize("settings", [{"default_pool_size": 3}, ROTATING, {**ROTATING, "max_prepared_statements": 2}], ids=["one", "rotating", "evicted"])
def test_random_sequences_like_direct_connections(make_pooler, pg, settings):
    pooler = make_pooler(settings=settings)
    # When something has to be prepared ahead, a failed transaction may be found out before a syntax error.
    queries = [sql for sql in QUERIES if "server_round_robin" not in settings or "nonsense" not in sql]
    play_random(pooler, pg, range(60), 30, lambda rng: random_batch(rng, queries))


def prepare(client, name, sql=ADD):
    client.send(P(name, sql) + S())
    assert client.trace() == "1Z"


def run(client, name, *values):
    client.send(use(name, *values) + S())
    messages = client.until()
    assert "".join(m.kind for m in messages) == "2TDCZ", messages
    return messages[2].row()


def statement(pooler, sql=ADD):
    found = [row for row in pooler.show("PREPARED") if row["query"] == sql]
    assert len(found) <= 1
    return found[0] if found else None


def test_every_server_gets_it_when_it_needs_it(make_pooler):
    """A statement prepared on one server works on the others, and is parsed once on each."""
    pooler = make_pooler(settings={"default_pool_size": 3})
    with pooler.wire() as one, pooler.wire() as two, pooler.wire() as three:
        for client in (one, two, three):
            prepare(client, "mine")
        for client, other, third in itertools.permutations((one, two, three)):
            other.query("BEGIN")
            third.query("BEGIN")
            assert run(client, "mine", 41) == ["42"]
            assert run(other, "mine", 1) == ["2"]
            assert run(third, "mine", 2) == ["3"]
            other.query("COMMIT")
            third.query("COMMIT")
        row = statement(pooler)
        assert row["clients"] == 3 and row["servers"] == 3 and row["misses"] == 3
        assert row["hits"] == 3 + 6 * 3 - 3  # Parses and Binds, without those that prepared
        totals = {r["name"]: r["value"] for r in pooler.show("TOTALS")}
        assert (totals["total_ps_client_parse_count"], totals["total_ps_server_parse_count"], totals["total_ps_bind_count"]) == (3, 3, 18)
        stats = next(r for r in pooler.show("STATS") if r["database"] == "app")
        assert (stats["total_client_parse_count"], stats["total_server_parse_count"], stats["total_bind_count"]) == (3, 3, 18)
    wait_until(lambda: statement(pooler)["clients"] == 0, "the clients to be gone")
    assert statement(pooler)["servers"] == 3


def test_servers_take_their_statements_to_other_workers(make_pooler):
    """One server, clients of all workers in turn: parsed once."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    clients = [pooler.wire() for _ in range(8)]
    for client in clients:
        prepare(client, "mine")
    for number in range(5):
        for client in clients:
            assert run(client, "mine", number) == [str(number + 1)]
    row = statement(pooler)
    assert row["misses"] == 1 and row["servers"] == 1 and row["clients"] == 8
    for client in clients:
        client.disconnect()


def test_same_name_is_each_clients_own(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as one, pooler.wire() as two:
        prepare(one, "x", ADD)
        prepare(two, "x", TEXT)
        for _ in range(3):
            assert run(one, "x", 1) == ["2"]
            assert run(two, "x", 1) == ["x1"]
        two.send(C("S", "x") + S())
        assert two.trace() == "3Z"
        assert run(one, "x", 1) == ["2"]


def test_servers_names_are_nobodys(make_pooler):
    """A client cannot reach a statement under the name that it has on the server, nor take it away."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as one, pooler.wire() as two:
        prepare(one, "x")
        name = statement(pooler)["name"]
        two.send(use(name, 1) + S())
        assert two.until()[0].sqlstate == "26000"
        two.send(D("S", name) + S())
        assert two.until()[0].sqlstate == "26000"
        two.send(C("S", name) + S())
        assert two.trace() == "3Z"
        assert run(one, "x", 1) == ["2"]
        assert statement(pooler)["misses"] == 1
        prepare(two, name, TEXT)
        assert run(two, name, 1) == ["x1"] and run(one, "x", 1) == ["2"]


def test_least_recently_used_is_evicted(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "max_prepared_statements": 2})
    queries = {name: f"SELECT $1::int + {number}" for number, name in enumerate("abc", 10)}
    with pooler.wire() as client:
        for name in "ab":
            prepare(client, name, queries[name])
        run(client, "a", 0)
        prepare(client, "c", queries["c"])  # b goes
        servers = {name: statement(pooler, queries[name])["servers"] for name in "abc"}
        assert servers == {"a": 1, "b": 0, "c": 1}
        assert run(client, "b", 1) == ["12"]  # a goes
        servers = {name: statement(pooler, queries[name])["servers"] for name in "abc"}
        assert servers == {"a": 0, "b": 1, "c": 1}
        assert client.value("SELECT count(*) FROM pg_prepared_statements") == "2"
        assert client.value("SELECT string_agg(statement, ',' ORDER BY statement) FROM pg_prepared_statements") == f"{queries['b']},{queries['c']}"


def test_lower_bound_counts_by_and_by(make_pooler):
    """A bound that RELOAD has lowered is reached as statements are prepared; 0 leaves what clients have."""
    pooler = make_pooler(settings={"default_pool_size": 1, "max_prepared_statements": 10})
    with pooler.wire() as client:
        for number in range(8):
            prepare(client, f"s{number}", f"SELECT $1::int + {number}")
        pooler.settings["max_prepared_statements"] = 3
        pooler.reload()
        for number in range(8):
            prepare(client, f"t{number}", f"SELECT $1::int - {number}")
        assert pooler.servers()[0]["prepared_statements"] == 3
        pooler.settings["max_prepared_statements"] = 0
        pooler.reload()
        assert run(client, "s5", 1) == ["6"]
        with pooler.wire() as other:
            prepare(other, "t", TEXT)  # as it is: on this server only
            assert "t" in client.value("SELECT string_agg(name, ',') FROM pg_prepared_statements").split(",")


def test_setting_zero_passes_names_on(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "max_prepared_statements": 0})
    with pooler.wire() as client:
        prepare(client, "as_it_is")
        assert client.value("SELECT string_agg(name, ',') FROM pg_prepared_statements") == "as_it_is"
        assert pooler.show("PREPARED") == []


def test_session_mode_passes_names_on(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "pool_mode": "session"})
    with pooler.wire() as client:
        prepare(client, "as_it_is")
        assert client.value("SELECT string_agg(name, ',') FROM pg_prepared_statements") == "as_it_is"
        assert pooler.show("PREPARED") == [] and pooler.clients()[0]["prepared_statements"] == 0


def test_statement_mode(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "pool_mode": "statement"})
    with pooler.wire() as one, pooler.wire() as two:
        prepare(one, "a")
        prepare(two, "a", TEXT)
        assert run(one, "a", 1) == ["2"] and run(two, "a", 1) == ["x1"]


def test_server_lost_between_parse_and_bind(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as client:
        prepare(client, "a")
        pid = client.value("SELECT pg_backend_pid()")
        pg.terminate_backends(f"pid = {pid}")
        wait_until(lambda: not [s for s in pooler.servers() if s["remote_pid"] == int(pid)], "the server to be gone")
        assert run(client, "a", 1) == ["2"]
        assert statement(pooler)["misses"] == 2


def test_client_goes_amid_its_batch(make_pooler):
    """What it has begun to prepare on the server harms nobody."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    for batch in (P("a", ADD), P("a", ADD) + use("a", 1), P("a", ADD) + H(), P("a", ADD) + S() + use("a", 1), C("S", "a") + P("a", TEXT)):
        client = pooler.wire()
        client.send(batch)
        client.disconnect()
        with pooler.wire() as other:
            prepare(other, "a")
            assert run(other, "a", 1) == ["2"]
    wait_until(lambda: statement(pooler)["clients"] == 0, "the names to be gone")


def test_large_statement(make_pooler):
    """A Parse that comes in many pieces; and bounds of what is kept."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    text = "x" * 3_000_000
    with pooler.wire() as one, pooler.wire() as two:
        for client in (one, two):
            prepare(client, "large", f"SELECT '{text}' || $1::text")
            assert run(client, "large", 1) == [text + "1"]
        row = next(r for r in pooler.show("PREPARED") if r["name"].startswith("PGSLUICE_"))
        assert row["clients"] == 2 and row["misses"] == 1 and row["bytes"] > 3_000_000 and row["query"].endswith("...")
        one.send(P("other", "SELECT '" + "y" * 17_000_000 + "'") + S())
        refused = one.expect_closed()
        assert [m.kind for m in refused] == ["E"] and refused[0].sqlstate == "54000"
        assert run(two, "large", 2) == [text + "2"]


def test_names_beyond_all_bounds(pooler):
    with pooler.wire() as client:
        client.send(wire.message("B", b"p" * 100_000 + b"\0a\0\0\0\0\0\0\0"))
        refused = client.expect_closed()
        assert [m.kind for m in refused] == ["E"] and refused[0].sqlstate == "54000"


def test_statements_follow_the_search_path(make_pooler, pg):
    """Two tenants with tables of other shapes never share a plan; nor does one that changes its path."""
    pooler = make_pooler(settings={"default_pool_size": 1, "track_extra_parameters": "search_path"})
    with pg.connect() as conn:
        conn.execute("CREATE SCHEMA IF NOT EXISTS tenant1; CREATE SCHEMA IF NOT EXISTS tenant2; "
                     "CREATE TABLE IF NOT EXISTS tenant1.shape AS SELECT 1 AS v; CREATE TABLE IF NOT EXISTS tenant2.shape AS SELECT 'two'::text AS v")
    with pooler.wire(search_path="tenant1") as one, pooler.wire(search_path="tenant2") as two:
        for client in (one, two):
            prepare(client, "q", "SELECT v FROM shape")
        for _ in range(2):
            assert run(one, "q") == ["1"]
            assert run(two, "q") == ["two"]
        assert sorted(r["servers"] for r in pooler.show("PREPARED") if r["query"] == "SELECT v FROM shape") == [1, 1]


def test_statements_follow_settings_that_change(make_pooler):
    """What a text means is decided by the settings in force when it is used, whatever they were when it was prepared."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    sql = "SELECT '01/02/2020'::date + $1::int"
    with pooler.wire(datestyle="ISO, MDY") as one, pooler.wire(datestyle="ISO, DMY") as two:
        for client in (one, two):
            prepare(client, "q", sql)
        for _ in range(2):
            assert run(one, "q", 0) == ["2020-01-02"] and run(two, "q", 0) == ["2020-02-01"]
        one.query("SET datestyle = 'ISO, DMY'")
        assert run(one, "q", 0) == ["2020-02-01"]
        one.query("SET datestyle = 'ISO, MDY'")
        assert run(one, "q", 0) == ["2020-01-02"] and run(two, "q", 0) == ["2020-02-01"]
        rows = [(r["servers"], r["clients"], r["misses"]) for r in pooler.show("PREPARED") if r["query"] == sql]
        assert rows == [(1, 1, 1), (1, 1, 1)]


# ---- "cached plan must not change result type"

@pytest.fixture
def changing(pg):
    """A table that gets another column each time."""
    with pg.connect() as conn:
        conn.execute("DROP TABLE IF EXISTS changing; CREATE TABLE changing AS SELECT 1 AS c0")
        columns = itertools.count(1)
        yield lambda: conn.execute(f"ALTER TABLE changing ADD COLUMN c{next(columns)} int DEFAULT 7")


def test_changed_table_is_not_noticed_outside_of_a_transaction(make_pooler, changing):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as one, pooler.wire() as two:
        for client in (one, two):
            prepare(client, "q", "SELECT * FROM changing")
            assert run(client, "q") == ["1"]
        changing()
        assert run(one, "q") == ["1", "7"]
        assert run(two, "q") == ["1", "7"]
        changing()
        two.send(D("S", "q") + S())  # half of its answer is there when the error comes
        messages = two.until()
        assert [m.kind for m in messages] == ["t", "E", "Z"] and messages[1].sqlstate == "0A000"
        two.send(D("S", "q") + S())
        messages = two.until()
        assert [m.kind for m in messages] == ["t", "T", "Z"] and len(messages[1].columns()) == 3
        assert run(one, "q") == ["1", "7", "7"]
        changing()
        one.send(use("q") + H())  # its Sync comes later
        messages = one.until("C")
        assert [m.kind for m in messages] == ["2", "T", "D", "C"] and len(messages[2].row()) == 4
        one.send(S())
        assert one.trace() == "Z"
        assert pooler.servers()[0]["prepared_statements"] == 1
        assert statement(pooler, "SELECT * FROM changing")["misses"] == 4


def test_changed_table_in_a_transaction_is_an_error_once(make_pooler, changing):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as client:
        prepare(client, "q", "SELECT * FROM changing")
        assert run(client, "q") == ["1"]
        changing()
        client.query("BEGIN")
        client.send(use("q") + S())
        messages = client.until()
        assert [m.kind for m in messages] == ["E", "Z"] and messages[0].sqlstate == "0A000"
        client.query("ROLLBACK")
        client.query("BEGIN")
        assert run(client, "q") == ["1", "7"]
        client.query("COMMIT")


def test_changed_table_behind_other_work_is_an_error_once(make_pooler, changing):
    """What has been done in the batch must not be done twice."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as client:
        prepare(client, "q", "SELECT * FROM changing")
        run(client, "q")
        changing()
        client.send(wire.simple_extended("SELECT 1") + use("q") + S())
        messages = client.until()
        assert "".join(m.kind for m in messages) == "12TDCEZ" and messages[-2].sqlstate == "0A000"
        assert run(client, "q") == ["1", "7"]


def test_changed_table_amid_a_pipeline(make_pooler, changing):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as client:
        prepare(client, "q", "SELECT * FROM changing")
        run(client, "q")
        changing()
        client.send(use("q") + S() + Q("SELECT 5"))
        traces = [client.trace(), client.trace()]
        assert traces in (["EZ", "TDCZ"], ["2TDCZ", "TDCZ"])
        assert run(client, "q") == ["1", "7"]


def test_batch_that_is_large_is_not_kept(make_pooler, changing):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as client:
        prepare(client, "q", "SELECT c.*, $1::text IS NULL FROM changing c")
        assert run(client, "q", "x" * 100_000) == ["1", "f"]
        changing()
        client.send(use("q", "x" * 100_000) + S())
        assert client.until()[0].sqlstate == "0A000"
        assert run(client, "q", "x" * 100_000) == ["1", "7", "f"]
