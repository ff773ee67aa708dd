"""Prepared statements in pipelines where something fails, or much is kept: every message has the answer that PostgreSQL gives.

As in test_prepared.py the answers are compared with a direct connection's. A script is a list of steps, a step the list of what
is sent at once: one piece for each ReadyForQuery that is waited for.
"""
import threading

import pytest

from harness import wire
from test_prepared import ADD, B, C, D, E, P, Q, S, TEXT, answers_to, direct, use

pytestmark = [pytest.mark.sanitizer, pytest.mark.own]

NOBODY = use("nobody") + S()
USE = [use("") + S()]


def X(sql):  # noqa: N802
    """A text by the extended protocol."""
    return P("", sql) + B("", "") + E()


def played(connection, script):
    return [answers_to(connection, step) for step in script]


def compare(pooler, pg, script):
    with direct(pg) as server, pooler.wire() as client:
        assert played(client, script) == played(server, script)


# ---- the unnamed statement -----------------------------------------------------------

BEGIN = [P("begin", "BEGIN") + P("back", "ROLLBACK") + P("savepoint", "SAVEPOINT s") + P("back to it", "ROLLBACK TO s") + S()]

UNNAMED = {
    "parsed behind a batch that fails": [[NOBODY, P("", "SELECT 1") + S()], USE],
    "a long one, parsed behind a batch that fails": [[NOBODY, P("", "SELECT 1 -- " + "x" * 40000) + S()], USE],
    "parsed behind a query that fails": [[Q("SELECT 1/0"), P("", "SELECT 1") + S()], USE],
    "parsed behind a function call that fails": [[wire.function_call(1, b"abc"), P("", "SELECT 1") + S()], USE],
    "parsed ahead of the answer, bound behind it": [[NOBODY + P("", "SELECT 1")], USE],
    "parsed ahead of a query's answer, bound behind it": [[Q("SELECT 1/0") + P("", "SELECT 1")], USE],
    "described behind a transaction that fails": [BEGIN, [use("begin") + S()], [NOBODY, use("back") + S(), P("", "SELECT 1") + D("S", "") + S()], USE],
    "parsed behind a savepoint": [[Q("BEGIN; SAVEPOINT s")], [NOBODY, Q("ROLLBACK TO s"), P("", "SELECT 1") + S()], USE],
    "its own first use fails": [[P("", "SELECT 10 / $1::int") + use("", 0) + S()], [use("", 5) + S()]],
    "another batch fails": [[P("", "SELECT 10") + use("") + S()], [NOBODY], USE],
    "another batch fails, in a transaction": [BEGIN, [use("begin") + use("savepoint") + S()], [P("", "SELECT 10") + use("") + S()], [NOBODY],
                                              [use("back to it") + S()], USE],
    "a transaction fails that began behind it": [BEGIN, [P("", "SELECT 1") + S()], [use("begin") + S()], [NOBODY], USE, [use("back") + S()], USE],
}


@pytest.mark.parametrize("case", UNNAMED)
def test_an_unnamed_statement_outlives_errors_of_others(make_pooler, pg, case):
    compare(make_pooler(settings={"default_pool_size": 1}), pg, UNNAMED[case])


@pytest.mark.parametrize("failing", [NOBODY, Q("SELECT 1/0")], ids=["batch", "query"])
def test_errors_in_a_long_pipeline_are_their_batches_own(make_pooler, pg, failing):
    """The pieces end behind a Parse, so that the error comes between it and its Bind."""
    parse, rest = P("", "SELECT $1::int"), B("", "", [1]) + E() + S()
    batch = parse + rest
    script = [[failing, batch, batch + parse]] + [[rest, failing, batch, batch + parse]] * 20 + [[rest]]
    compare(make_pooler(settings={"default_pool_size": 1}), pg, script)


# ---- settings that are refused -------------------------------------------------------

SET = P("", "SET work_mem = '5MB'")

# What is refused here is a syntax error there.
REFUSED = {
    "a Close is skipped": [[P("a", ADD) + S()], [SET + C("S", "a") + S()], [use("a", 1) + S()]],
    "a Parse is skipped, and another batch fails": [[SET + P("b", TEXT) + S()], [P("c", ADD) + S()], [use("c", 1) + S()], [NOBODY], [use("c", 1) + S()],
                                                    [use("b", 1) + S()]],
    "a Parse is skipped that the server need not see": [[P("a", ADD) + S()], [SET + P("b", ADD) + S()], [P("b", TEXT) + S()], [use("b", 1) + S()]],
}
# The scripts of clients that come one after the other.
GONE = {
    "one fails": [[[SET + P("b", TEXT) + S()]], [[P("c", ADD) + S()], [use("c", 1) + S()], [NOBODY], [use("c", 1) + S()]]],
    "one has parsed": [[[SET + P("b", TEXT) + S()]], [[P("c", ADD) + S()]], [[P("d", "SELECT 1") + use("nobody") + P("x", "SELECT 2") + S()], [use("d") + S()]]],
}


def refusals_alike(answers):
    return [["refused" if kind == "E" and what[1] in ("0A000", "42601") else (kind, what) for kind, what in step] for step in answers]


def compare_refused(make_pooler, pg, scripts):
    pooler = make_pooler(settings={"default_pool_size": 1, "session_state": "error"})
    for script in scripts:
        other = [[sent.replace(SET, P("", "nonsense")) for sent in step] for step in script]
        with direct(pg) as server, pooler.wire() as client:
            assert refusals_alike(played(client, script)) == refusals_alike(played(server, other))


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_refused_setting_skips_has_not_happened(make_pooler, pg, case):
    compare_refused(make_pooler, pg, [REFUSED[case]])


@pytest.mark.parametrize("case", GONE)
def test_what_a_refused_setting_skips_is_not_the_next_clients(make_pooler, pg, case):
    """Its client has gone; errors of whoever comes next concern that one's statements."""
    compare_refused(make_pooler, pg, GONE[case])


# ---- names -----------------------------------------------------------------------------

FIVE = [P("a", "SELECT 5") + S()]
# Settings and a script.
NAMES = {
    "an error about a statement that is closed behind": ({}, [FIVE, [B("", "a", [2]) + E() + C("S", "a") + S()]]),
    "and parsed anew": ({}, [FIVE, [B("", "a", [2]) + E() + C("S", "a") + P("a", ADD) + S()], [B("", "a") + E() + S()]]),
    "parsed behind DEALLOCATE ALL": ({"sql_prepare": 0}, [FIVE, [X("DEALLOCATE ALL") + P("a", TEXT) + use("a", 1) + S()], [use("a", 1) + S()]]),
    "parsed behind a query DEALLOCATE ALL": ({"sql_prepare": 0}, [FIVE, [Q("DEALLOCATE ALL"), P("a", TEXT) + S()], [use("a", 1) + S()]]),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_are_those_of_their_place_in_the_pipeline(make_pooler, pg, case):
    settings, script = NAMES[case]
    compare(make_pooler(settings={"default_pool_size": 1, **settings}), pg, script)


@pytest.mark.parametrize("executed", [E("p") + E("q"), E("p")], ids=["both", "one"])
def test_two_prepares_bound_ahead_of_their_executes(make_pooler, pg, executed):
    """Each makes what its own text says, and what was not executed has made nothing."""
    prepares = [P("a", "PREPARE x AS SELECT 'x'") + P("b", "PREPARE y AS SELECT 'y'") + S()]
    script = [prepares, [B("p", "a") + B("q", "b") + executed + S()], [Q("EXECUTE x")], [Q("EXECUTE y")]]
    compare(make_pooler(settings={"default_pool_size": 1}), pg, script)


# ---- much without a Sync ---------------------------------------------------------------

MANY = {
    "parsed": (b"".join(P(f"x{n}", "SELECT 1") for n in range(66000)), "1" * 66000),
    "parsed and closed": ((P("x", "SELECT 1") + C("S", "x")) * 33000, "13" * 33000),
}


@pytest.mark.parametrize("case", MANY)
def test_more_that_the_server_need_not_see_than_it_could_be_asked(make_pooler, case):
    """All of a batch is answered, of however many messages, with others on the same server before and after."""
    sent, answers = MANY[case]
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire(timeout=30) as client, pooler.wire() as other:
        client.send(P("a", "SELECT 1") + S())
        assert client.trace() == "1Z"
        sender = threading.Thread(target=client.send, args=(B("", "a"), sent, S()), daemon=True)
        sender.start()
        assert client.trace() == "2" + answers + "Z"
        sender.join()
        assert other.value("SELECT 2") == "2" and client.value("SELECT 3") == "3"
