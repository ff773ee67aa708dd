"""PREPARE, EXECUTE and DEALLOCATE in SQL with transaction pooling: what a client sees is what PostgreSQL itself would say.

As in test_prepared.py: SCRIPTS are run message by message on a direct connection and through the pooler.
"""
import functools
import itertools
import os
import subprocess

import pytest

from harness import wire
from harness.util import wait_until
import test_prepared
from test_prepared import ADD, B, C, D, E, H, P, Q, ROTATING, S, TEXT, answers_of_postgres, normal, play, play_random, use

pytestmark = [pytest.mark.sanitizer, pytest.mark.own]

PA = "PREPARE a(int) AS SELECT $1 + 1"
PB = "PREPARE b AS SELECT 'x' || $1::text"


def each(command, count=70):
    """One text with the command for each number."""
    return "; ".join(command.format(number) for number in range(count))


def X(sql, name="", portal=""):  # noqa: N802
    """A text by the extended protocol."""
    return P(name, sql) + B(portal, name) + D("P", portal) + E(portal)


LONG = "n" * 63  # what is behind them does not count
SCRIPTS = {
    "prepare, execute, deallocate": [Q(PA), Q("EXECUTE a(1)"), Q("EXECUTE a(2)"), Q("DEALLOCATE a"), Q("EXECUTE a(3)")],
    "without types": [Q(PB), Q("EXECUTE b('y')"), Q("DEALLOCATE PREPARE b"), Q("DEALLOCATE b")],
    "two names for one text": [Q(PA), Q(PA.replace(" a(", " c(")), Q("EXECUTE c(1)"), Q("DEALLOCATE a"), Q("EXECUTE c(2)"), Q("EXECUTE a(2)")],
    "names are folded": [Q("PREPARE FooBar AS SELECT 1"), Q("EXECUTE foobar"), Q('EXECUTE "FooBar"'), Q('PREPARE "FooBar" AS SELECT 2'),
                         Q('EXECUTE "FooBar"'), Q("EXECUTE FOOBAR"), Q('DEALLOCATE "FooBar"'), Q('EXECUTE "FooBar"'), Q("EXECUTE foobar")],
    "names in quotes": [Q('PREPARE "a ""b"" $x" AS SELECT 5'), Q('EXECUTE "a ""b"" $x"'), Q('DEALLOCATE "a ""b"" $x"'), Q('PREPARE "ALL" AS SELECT 1'),
                        Q('DEALLOCATE "ALL"'), Q('PREPARE "" AS SELECT 1')],
    "names that are cut": [Q("PREPARE " + "n" * 80 + " AS SELECT 1"), Q("EXECUTE " + "n" * 63), Q("EXECUTE " + "n" * 62), Q("EXECUTE " + "n" * 99),
                           Q("PREPARE " + "é" * 40 + " AS SELECT 2"), Q("EXECUTE " + "é" * 31)],
    "keywords as names": [Q("PREPARE prepare AS SELECT 1"), Q("EXECUTE prepare"), Q("DEALLOCATE prepare"), Q("PREPARE transaction AS SELECT 2"),
                          Q("EXECUTE transaction"), Q("DEALLOCATE PREPARE transaction"), Q("PREPARE select AS SELECT 1"), Q("EXECUTE select"),
                          Q("PREPARE execute AS SELECT 3"), Q("EXECUTE execute")],
    "comments": [Q("/* hint */ PREPARE /* PREPARE b AS */ a -- x\n (int) AS SELECT $1 /* ; */ + 1"), Q("-- run\nEXECUTE a(1) -- done"),
                 Q("/* /* nested */ EXECUTE b */ EXECUTE a(/*;*/2);"), Q("DEALLOCATE/**/a")],
    "literals": [Q("PREPARE a AS SELECT 'EXECUTE x; ''DEALLOCATE', $1::text, $t$;PREPARE b$t$, E'\\';'"), Q("EXECUTE a(';EXECUTE a')"),
                 Q("SELECT 'EXECUTE a', 'PREPARE'; SELECT $$DEALLOCATE a; $$"), Q("EXECUTE a($$;$$)")],
    "a DO block": [Q(PA), Q("DO $$BEGIN EXECUTE 'SELECT 1'; END$$; SELECT 1"), Q("EXECUTE a(1)")],
    "already there": [Q(PA), Q("PREPARE a AS SELECT 2"), Q("EXECUTE a(1)"), Q(PA), Q("PREPARE a AS SELECT nonsense")],
    "already there, in a transaction": [Q(PA), Q("BEGIN"), Q("PREPARE a AS SELECT 2"), Q("EXECUTE a(1)"), Q("ROLLBACK"), Q("EXECUTE a(1)")],
    "unknown": [Q("EXECUTE nobody"), Q("EXECUTE nobody(1)"), Q("DEALLOCATE nobody"), Q("EXPLAIN EXECUTE nobody"), Q("BEGIN"), Q("EXECUTE nobody"),
                Q("SELECT 1"), Q("ROLLBACK")],
    "errors in the text": [Q("PREPARE a AS SELECT nonsense"), Q("EXECUTE a"), Q("PREPARE a AS SELEC 1"), Q("PREPARE a AS"), Q("PREPARE"), Q("EXECUTE"),
                           Q("DEALLOCATE"), Q("PREPARE a(nonsense) AS SELECT 1"), Q("PREPARE a AS SELECT 1; SELEC"), Q("EXECUTE a"), Q("EXECUTE a b"),
                           Q("PREPARE a AS SELECT 'x"), Q("PREPARE x AS /* SELECT 1")],
    "positions": [Q(PA), Q("SELECT 'é'; EXECUTE a(1, nonsense)"), Q("EXECUTE a(1); SELECT nonsense"), Q("EXECUTE a(nonsense); SELECT 1"),
                  Q("PREPARE somewhat_longer_than_that_of_the_server AS SELECT nonsense"), Q("EXECUTE a(1); EXECUTE a(2, nonsense2)"), Q("EXECUTE a(1,")],
    "wrong arguments": [Q(PA), Q("EXECUTE a"), Q("EXECUTE a(1, 2)"), Q("EXECUTE a('x')"), Q("EXECUTE a(1)")],
    "an error while it runs": [Q("PREPARE a AS SELECT 10 / $1::int"), Q("EXECUTE a(0)"), Q("EXECUTE a(5)")],
    "explain": [Q(PA), Q("EXPLAIN (COSTS OFF) EXECUTE a(1)"), Q("EXPLAIN (COSTS OFF, SUMMARY OFF, TIMING OFF, ANALYZE) EXECUTE a(1)"), Q("EXPLAIN VERBOSE EXECUTE nobody(1)"),
                Q("EXPLAIN ANALYZE EXECUTE a('x')")],
    "create table as": [Q(PA), Q("BEGIN; CREATE TEMP TABLE made ON COMMIT DROP AS EXECUTE a(1); SELECT count(*) FROM made; COMMIT"),
                        Q("BEGIN; CREATE TEMPORARY TABLE IF NOT EXISTS made(x) ON COMMIT DROP AS EXECUTE a(7) WITH DATA; SELECT x + 0 FROM made; COMMIT"),
                        Q("BEGIN; EXPLAIN (COSTS OFF) CREATE TEMP TABLE made AS EXECUTE a(1); COMMIT"), Q("SELECT 1 AS execute")],
    "several at once": [Q(PA + "; EXECUTE a(1); DEALLOCATE a"), Q("EXECUTE a(1)"), Q(PA + "; " + PB + "; EXECUTE a(1); EXECUTE b('x')"), Q("EXECUTE b(1)"),
                        Q("DEALLOCATE a; DEALLOCATE b; " + PA + "; EXECUTE a(4)"), Q("EXECUTE b('q')"), Q("EXECUTE a(6)")],
    "errors about one of two names": [Q(PA + ";" + PA.replace(" a(", " c(")), Q("EXECUTE a(1); EXECUTE c"), Q("EXECUTE c(1); EXECUTE a(1, 2)"), Q("EXECUTE a(2); " + PA.replace(" a(", " c(")),
                                      Q("EXECUTE c(2); SELECT 1; " + PA)],
    "renamed at once": [Q(PA), Q("EXECUTE a(1); DEALLOCATE a; PREPARE a(int) AS SELECT $1 + 1; EXECUTE a(2)"), Q("EXECUTE a(3)"),
                        Q("DEALLOCATE a; PREPARE a AS SELECT 'other'; EXECUTE a; DEALLOCATE a; " + PA + "; EXECUTE a(5)"), Q("EXECUTE a(6)"),
                        Q("DEALLOCATE a; " + PA + "; DEALLOCATE a; " + PA + "; EXECUTE a(1)")],
    "several, one fails": [Q(PA + "; SELECT 1/0; " + PB), Q("EXECUTE a(1)"), Q("EXECUTE b(1)"), Q("DEALLOCATE a; SELECT 1/0; EXECUTE a(1)"), Q("EXECUTE a(1)"),
                           Q("EXECUTE nobody; " + PA), Q("EXECUTE a(1)"), Q("DEALLOCATE nobody; " + PA)],
    "long names": [Q(f"PREPARE {LONG}one AS SELECT 1"), use(LONG + "two") + S(), P(LONG + "three", ADD) + S(), C("S", LONG + "four") + S(), P(LONG + "five", TEXT) + S(),
                   Q(f"EXECUTE {LONG}six('x')"), Q(f"DEALLOCATE {LONG}"), use(LONG, 1) + S()],
    "deallocate all": [Q(PA + ";" + PB), Q("DEALLOCATE ALL"), Q("EXECUTE a(1)"), Q(PA), Q("EXECUTE a(1)"), Q("DEALLOCATE PREPARE ALL"), Q("EXECUTE a(1)")],
    "deallocate all at once": [Q(PA), Q("EXECUTE a(1); DEALLOCATE ALL; " + PA + "; EXECUTE a(2)"), Q("EXECUTE a(3)"), Q("DEALLOCATE ALL; EXECUTE a(1)"), Q(PB),
                               Q("DEALLOCATE ALL; " + PA + "; DEALLOCATE a; " + PA + "; " + PB + "; DEALLOCATE a"), Q("EXECUTE a(1)"), Q("EXECUTE b('x')")],
    "discard all": [Q(PA), Q("DISCARD ALL"), Q("EXECUTE a(1)"), Q(PA), Q("EXECUTE a(1)"), Q("DISCARD PLANS"), Q("EXECUTE a(1)")],
    "in a transaction": [Q("BEGIN"), Q(PA), Q("EXECUTE a(1)"), Q("COMMIT"), Q("EXECUTE a(1)"), Q("BEGIN; DEALLOCATE a"), Q("EXECUTE a(1)"), Q("ROLLBACK"), Q("EXECUTE a(1)")],
    "rolled back": [Q("BEGIN"), Q(PA), Q("ROLLBACK"), Q("EXECUTE a(1)"), Q("BEGIN"), Q("DEALLOCATE a"), Q("ROLLBACK"), Q("EXECUTE a(1)")],
    "in a failed transaction": [Q(PA), Q("BEGIN"), Q("SELECT 1/0"), Q("EXECUTE a(1)"), Q("DEALLOCATE a"), Q(PB), Q("DEALLOCATE ALL"), Q("EXECUTE nobody"), Q("ROLLBACK"),
                                Q("EXECUTE a(1)"), Q("EXECUTE b(1)")],
    "behind the end of a failed transaction": [Q("BEGIN"), Q("SELECT 1/0"), Q("ROLLBACK; " + PA), Q("EXECUTE a(1)"), Q("BEGIN; SELECT 1/0"), Q("ROLLBACK; " + PB + "; EXECUTE b(1)")],
    "equal ones behind the end of a failed transaction": [Q(PA), Q("DEALLOCATE a"), Q("BEGIN"), Q("SELECT 1/0"), Q("ROLLBACK; " + PA + "; " + PA.replace(" a(", " c(")), Q("EXECUTE a(1)"),
                                                          Q("EXECUTE c(2)")],
    "many names for one text": [Q(each("PREPARE n{} AS SELECT 7")), Q("EXECUTE n0; EXECUTE n64; EXECUTE n69"), Q(each("DEALLOCATE n{}")), Q("EXECUTE n69"), Q(each("PREPARE n{0} AS SELECT 7; EXECUTE n{0}")),
                                Q("DEALLOCATE n0; PREPARE n69 AS SELECT 7"), Q("DEALLOCATE n0; DEALLOCATE n69; PREPARE n69 AS SELECT 7; EXECUTE n69"), Q("EXECUTE n0"), Q("EXECUTE n69")],
    "many names for one text, behind deallocate all": [Q(PA), Q("DEALLOCATE ALL; " + each("PREPARE n{} AS SELECT 7") + "; EXECUTE n69; DEALLOCATE n3; PREPARE n70 AS SELECT 7"),
                                                       Q("EXECUTE n69; EXECUTE n70"), Q("EXECUTE n3")],
    "isolation level": [Q(PA), Q("BEGIN ISOLATION LEVEL SERIALIZABLE; EXECUTE a(1)"), Q("COMMIT"), Q("BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; EXECUTE a(1); COMMIT")],
    "begin atomic": [Q("BEGIN"), Q("CREATE FUNCTION pg_temp.f(x int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN x = 1 THEN 2 END; SELECT 3; END; " + PA + "; EXECUTE a(1)"),
                     Q("ROLLBACK"), Q("EXECUTE a(3)")],
    "empty statements": [Q(";;" + PA + ";;"), Q(" ; EXECUTE a(1) ; ; "), Q(";"), Q(""), Q("  "), Q("-- nothing"), Q("; -- EXECUTE a")],
    "data changes": [Q("BEGIN; CREATE TEMP TABLE temp_t(x int) ON COMMIT DROP; PREPARE i(int) AS INSERT INTO temp_t VALUES ($1); EXECUTE i(1); EXECUTE i(2)"),
                     Q("EXECUTE i(3); SELECT sum(x) FROM temp_t; COMMIT")],
    "standard_conforming_strings off": [Q("SET standard_conforming_strings = off"), Q(PA), Q("SELECT 'it\\'s; EXECUTE x'; EXECUTE a(1)"), Q("EXECUTE a('1\\2')"),
                                        Q("RESET standard_conforming_strings"), Q("EXECUTE a(2)"), Q("SELECT '\\'; EXECUTE a(3)")],

    # names of the protocol and of SQL are the same
    "sql deallocates what the protocol has prepared": [P("a", ADD) + S(), use("a", 1) + S(), Q("DEALLOCATE a"), use("a", 1) + S(), P("a", TEXT) + S(), use("a", 1) + S()],
    "sql executes what the protocol has prepared": [P("a", ADD, (23,)) + S(), Q("EXECUTE a(1)"), Q("BEGIN"), Q("EXECUTE a(2)"), Q("EXPLAIN (COSTS OFF) EXECUTE a(2)"), Q("COMMIT"),
                                                    Q("PREPARE a AS SELECT 1"), Q("SELECT 1; EXECUTE a(3)")],
    "the protocol uses what sql has prepared": [Q(PA), use("a", 1) + S(), D("S", "a") + S(), use("a", 2) + S(), P("a", TEXT) + S(), use("a", 3) + S(), C("S", "a") + S(),
                                                Q("EXECUTE a(1)"), use("a", 4) + S()],
    "unnamed beside sql": [Q(PA), P("", TEXT) + use("a", 1) + B("q", "", [5]) + E("q") + S()],

    # the extended protocol
    "by the extended protocol": [X(PA) + S(), X("EXECUTE a(1)") + S(), X("EXECUTE a(2)") + S(), X("DEALLOCATE a") + S(), X("EXECUTE a(3)") + S()],
    "with a description": [X(PA) + S(), P("", "EXECUTE a(1)") + D("S", "") + S(), P("", "EXECUTE a(1)") + D("S", "") + B("", "") + D("P", "") + E() + S(),
                           P("", "DEALLOCATE a") + D("S", "") + S()],
    "in one pipeline": [X(PA) + S() + X("EXECUTE a(1)") + S() + X("DEALLOCATE a") + S() + X("EXECUTE a(2)") + S() + Q("SELECT 1")],
    "in one batch": [X(PA) + X("EXECUTE a(1)") + X("DEALLOCATE a") + X(PB) + X("EXECUTE b(2)") + S(), X("EXECUTE b(3)") + S(), X("EXECUTE a(3)") + S()],
    "in one batch that fails": [X(PA) + X("EXECUTE nobody") + X(PB) + S(), X("EXECUTE a(1)") + S(), X("EXECUTE b(1)") + S(), X("DEALLOCATE nobody") + X(PB) + S(), Q("EXECUTE b(1)")],
    "already there, extended": [X(PA) + S(), X("PREPARE a AS SELECT 2") + X("EXECUTE a(1)") + S(), X("EXECUTE a(1)") + S()],
    "parameters do not go with it": [X(PA) + S(), P("", "EXECUTE a($1)") + B("", "", [4]) + E() + S(), X("EXECUTE a(1)") + S()],
    "with flush": [(P("", PA) + H(), "1"), (B("", "") + H(), "2"), (E() + H(), "C"), (X("EXECUTE a(1)") + H(), "C"), (X("DEALLOCATE a") + H(), "C"), (S(), "Z")],
    "named statements of the protocol": [P("p", PA) + S(), B("", "p") + E() + S(), P("x", "EXECUTE a(1)") + S(), B("", "x") + D("P", "") + E() + S(), B("", "x") + E() + S(),
                                         P("d", "DEALLOCATE a") + S(), B("", "d") + E() + S(), B("", "x") + E() + S(), B("", "d") + E() + S()],
    "a named one follows the name": [P("x", "EXECUTE a") + Q("PREPARE a AS SELECT 1"), B("", "x") + E() + S(), Q("DEALLOCATE a; PREPARE a AS SELECT 2"), B("", "x") + E() + S(),
                                     Q("DEALLOCATE ALL"), B("", "x") + E() + S()],
    "deallocate all, pipelined": [P("a", ADD) + S(), Q("DEALLOCATE ALL") + use("a", 1) + S() + P("a", TEXT) + S() + use("a", 1) + S() + Q("DISCARD ALL") + use("a", 1) + S() + P("a", ADD) + S()],
    "deallocate all, pipelined, extended": [P("a", ADD) + S(), X("DEALLOCATE ALL") + S() + use("a", 1) + S() + P("a", TEXT) + X("DEALLOCATE ALL") + P("a", ADD) + use("a", 1) + S()],
    "deallocate all of a named statement, pipelined": [P("a", ADD) + P("all", "DEALLOCATE ALL") + S(), B("", "all") + E() + P("a", ADD) + use("a", 1) + S(), B("", "all") + E() + S()],
    "queries in a pipeline": [Q(PA) + Q("EXECUTE a(1)") + Q("DEALLOCATE a") + Q("EXECUTE a(2)") + Q(PB) + use("b", 1) + S()],

    # bound in one batch, executed in a later one
    "prepare, executed later": [Q("BEGIN"), P("", PA) + B("p", "") + S(), E("p") + S(), X("EXECUTE a(1)") + S(), Q("COMMIT"), Q("EXECUTE a(2)"), use("a", 3) + S()],
    "prepare in the unnamed portal": [Q("BEGIN"), P("", PA) + B("", "") + S(), E() + S(), Q("COMMIT"), Q("EXECUTE a(2)")],
    "prepare behind another command": [Q("BEGIN"), P("", PA) + B("p", "") + S(), X(PB) + S(), E("p") + S(), Q("COMMIT"), Q("EXECUTE a(2); EXECUTE b(3)")],
    "prepare behind another command of its batch": [Q("BEGIN"), P("", PA) + B("p", "") + P("", PB) + B("q", "") + S(), E("q") + E("p") + S(), Q("COMMIT"), Q("EXECUTE a(2); EXECUTE b(3)")],
    "prepare behind a query": [Q("BEGIN"), P("", PA) + B("p", "") + B("", "") + S(), Q("SELECT 1"), Q(PB), E("p") + S(), E() + S(), Q("ROLLBACK"), Q("EXECUTE a(2)"), Q("EXECUTE b(3)")],
    "prepare of a name that is in use by then": [Q("BEGIN"), P("", PA) + B("p", "") + S(), Q("PREPARE a AS SELECT 2"), E("p") + S(), Q("ROLLBACK"), Q("EXECUTE a")],
    "prepare of what is there by then": [Q("BEGIN"), P("", PA) + B("p", "") + S(), Q(PA.replace(" a(", " c(")), E("p") + S(), Q("COMMIT"), Q("EXECUTE a(1)"), Q("EXECUTE c(2)")],
    "prepare, never executed": [Q("BEGIN"), P("", PA) + B("p", "") + S(), Q("COMMIT"), Q("EXECUTE a(1)"), E("p") + S(), Q("EXECUTE a(1)")],
    "prepare twice": [Q("BEGIN"), P("", PA) + B("p", "") + B("q", "") + S(), E("p") + S(), E("q") + S(), Q("ROLLBACK"), Q("EXECUTE a(1)")],
    "prepare in a closed portal": [Q("BEGIN"), P("", PA) + B("p", "") + S(), C("P", "p") + P("", PB) + B("p", "") + S(), E("p") + S(), Q("COMMIT"), Q("EXECUTE b(1)"), Q("EXECUTE a(1)")],
    "prepare behind an error": [Q("BEGIN"), P("", PA) + B("p", "") + S(), Q("SELECT 1/0"), E("p") + S(), Q("COMMIT"), Q("EXECUTE a(1)")],
    "prepare behind an error and a savepoint": [Q("BEGIN"), P("", PA) + B("p", "") + S(), Q("SAVEPOINT s"), P("", PB) + B("q", "") + S(), Q("SELECT 1/0"), Q("ROLLBACK TO s"), E("p") + S(),
                                                E("q") + S(), Q("COMMIT"), Q("EXECUTE a(1)"), Q("EXECUTE b(1)")],
    "execute later": [Q(PA), Q("BEGIN"), P("", "EXECUTE a(1)") + B("p", "") + S(), Q(PB), X("EXECUTE b(1)") + S(), E("p") + S(), E("p") + S(), Q("COMMIT")],
    "execute later, in parts": [Q("PREPARE g AS SELECT generate_series(1, 5)"), Q("BEGIN"), P("", "EXECUTE g") + B("p", "") + P("", PA) + B("", "") + S(), E("p", 2) + S(), E() + E("p", 2) + S(),
                                E("p", 2) + S(), Q("COMMIT"), Q("EXECUTE a(1)")],
    "execute later what has gone": [Q(PA), Q("BEGIN"), P("", "EXECUTE a(1)") + B("p", "") + S(), Q("DEALLOCATE a"), E("p") + S(), Q("ROLLBACK"), Q("EXECUTE a(1)")],
    "execute later what fails": [Q("PREPARE a(int) AS SELECT 10 / $1"), Q("BEGIN"), P("", "/* 1 */ EXECUTE a(0)") + B("p", "") + S(), Q(PB), E("p") + S(), Q("ROLLBACK"), Q("EXECUTE b(1)")],
    "execute later behind many": [Q(PA), Q("BEGIN"), P("", "EXECUTE a(1)") + B("p", "") + S(), Q(each("PREPARE n{0} AS SELECT {0}", 5)), Q(each("EXECUTE n{}", 5)), E("p") + S(), Q("COMMIT")],
    "deallocate later": [Q(PA + ";" + PB), Q("BEGIN"), P("", "DEALLOCATE a") + B("p", "") + S(), X("EXECUTE b(1)") + X("EXECUTE a(1)") + S(), E("p") + S(), Q("COMMIT"), Q("EXECUTE a(1)"),
                         Q("EXECUTE b(1)"), Q(PA), Q("EXECUTE a(1)")],
    "deallocate later what has gone": [Q(PA), Q("BEGIN"), P("", "DEALLOCATE a") + B("p", "") + B("", "") + S(), E() + S(), E("p") + S(), Q("ROLLBACK"), Q("EXECUTE a(1)")],
    "deallocate all later": [Q(PA), Q("BEGIN"), P("", "DEALLOCATE ALL") + B("p", "") + S(), Q(PB), Q("EXECUTE a(1)"), E("p") + S(), Q("COMMIT"), Q("EXECUTE a(1)"), Q("EXECUTE b(1)")],
    "named ones later": [P("p", PA) + P("d", "DEALLOCATE a") + P("x", "EXECUTE b(1)") + S(), Q("BEGIN"), B("1", "p") + S(), Q(PB), B("3", "x") + S(), E("1") + S(), B("2", "d") + P("s", ADD) + use("s", 4) + S(),
                         E("3") + X("EXECUTE a(1)") + S(), E("2") + S(), Q("COMMIT"), Q("EXECUTE a(1)"), Q("EXECUTE b(1)"), use("s", 5) + S()],
    "later in a pipeline": [Q("BEGIN") + P("", PA) + B("p", "") + S() + X(PB) + S() + E("p") + S() + use("a", 1) + S() + Q("COMMIT") + Q("EXECUTE a(2)") + Q("EXECUTE b(2)")],
    "later in a pipeline that fails": [Q("BEGIN") + P("", PA) + B("p", "") + S() + X("EXECUTE nobody") + S() + E("p") + S() + Q("ROLLBACK") + Q("EXECUTE a(2)")],
    "something else in the unnamed portal": [Q("BEGIN"), P("", PA) + P("s", ADD) + B("", "") + S(), use("s", 1) + S(), E() + S(), Q("ROLLBACK"), Q("EXECUTE a(1)"), Q("BEGIN"), P("", PA) + B("", "") + P("", TEXT) + S(),
                                             B("", "", [1]) + E() + S(), Q("COMMIT"), Q("EXECUTE a(1)")],
    "the unnamed statement bound later": [Q("BEGIN"), P("", PA) + P("x", PB) + B("q", "x") + S(), B("p", "") + S(), E("q") + S(), E("p") + S(), Q("COMMIT"), Q("EXECUTE a(1)"), Q("EXECUTE b(1)")],
    "a query behind a batch without a sync": [P("a", ADD, (23,)) + use("a", 1) + Q("EXECUTE a(5)"), use("a", 2) + Q("DEALLOCATE a; EXECUTE a(1)"), Q(PB), (use("nobody") + Q("EXECUTE b(1)") + S(), "Z"),
                                              Q("EXECUTE b(1)")],
}


def count_ends(sent):
    """How many ReadyForQuery a step has."""
    at = count = 0
    while at < len(sent):
        count += sent[at:at + 1] in b"QS"
        at += 1 + int.from_bytes(sent[at + 1:at + 5], "big")
    return count


def steps(script):
    for step in script:
        if isinstance(step, tuple):
            yield step
            continue
        yield step, "Z"
        for _ in range(count_ends(step) - 1):
            yield b"", "Z"


SCRIPTS = {name: list(steps(script)) for name, script in SCRIPTS.items()}


@pytest.fixture(scope="module")
def expected(pg):
    return answers_of_postgres(pg, SCRIPTS)


compare = functools.partial(test_prepared.compare, scripts=SCRIPTS)


@pytest.mark.parametrize("max_statements", [200, 1, 2])
def test_like_a_direct_connection(make_pooler, expected, max_statements):
    """Each script on a client of its own, all on one server: what it needs is there, or was evicted, or never was."""
    pooler = make_pooler(settings={"default_pool_size": 1, "max_prepared_statements": max_statements})
    compare(pooler, expected)
    compare(pooler, expected)
    if max_statements > 2:
        assert pooler.servers()[0]["prepared_statements"] <= max_statements


def test_like_a_direct_connection_with_one_client(make_pooler, expected):
    """All scripts in one session; DEALLOCATE ALL between them empties client and server."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as client:
        compare(pooler, expected, client)
    assert pooler.servers()[0]["prepared_statements"] == 0


def test_like_a_direct_connection_on_a_server_that_is_new_each_time(make_pooler, expected):
    """A reset query after each transaction leaves no statement on the server."""
    pooler = make_pooler(settings={"default_pool_size": 1, "server_reset_query_always": 1, "server_reset_query": "DISCARD ALL"})
    compare(pooler, expected, but=["with a description"])  # that uses the unnamed statement in two transactions


def test_like_a_direct_connection_with_others_in_between(make_pooler, expected):
    """Servers of which one or the other is busy, so that the client's server changes."""
    pooler = make_pooler(settings={"default_pool_size": 3})
    wrong = []
    with pooler.wire() as other, pooler.wire() as third:
        third.query(PA)
        third.query(PB)
        for name, script in SCRIPTS.items():
            with pooler.wire() as client:
                got = []
                for number, (sent, end) in enumerate(script):
                    if number % 2:
                        other.query("BEGIN; EXECUTE nobody" if number % 4 == 1 else "BEGIN; SELECT 1")
                    got += play(client, [(sent, end)])
                    if number % 3 == 0:
                        third.query("EXECUTE a(1)")
                    if number % 2:
                        other.query("ROLLBACK")
                if got != expected[name]:
                    at = next(i for i in range(len(got)) if got[i] != expected[name][i])
                    wrong.append(f"{name}, step {at}: {script[at][0]}\n  got      {got[at]}\n  expected {expected[name][at]}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_like_a_direct_connection_byte_by_byte(make_pooler, expected):
    """Whatever the pieces in which messages arrive."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    for name in ("several at once", "in one pipeline", "in one batch", "queries in a pipeline", "named statements of the protocol", "literals"):
        with pooler.wire() as client:
            answers = []
            for sent, end in SCRIPTS[name]:
                client.send_in_pieces(sent)
                answers.append([normal(m) for m in client.until(end) if m.kind not in "SNA"])
            assert answers == expected[name], name


# ---- random sequences

BODIES = ["(int) AS SELECT $1 + 1", " AS SELECT 'x' || $1::text", "(int) AS SELECT 10 / $1", "(int) AS SELECT generate_series(1, $1)", " AS SELECT nonsense", " AS VALUES ($1::int)"]


def random_command(rng):
    name = rng.choice("abc")
    return rng.choices([
        lambda: f"PREPARE {name}{rng.choice(BODIES)}",
        lambda: f"EXECUTE {name}({rng.choice(['0', '1', '2', chr(39) + 'x' + chr(39)])})",
        lambda: f"EXECUTE {name}",
        lambda: f"DEALLOCATE {name}",
        lambda: f"EXPLAIN (COSTS OFF) EXECUTE {name.upper()}(1)",
        lambda: rng.choice(["DEALLOCATE ALL", "DISCARD PLANS"]),
    ], [6, 8, 1, 4, 1, 1])[0]()


def random_query(rng):
    commands = [random_command(rng) for _ in range(rng.choice([1, 1, 1, 2, 3, 5]))]
    if rng.random() < 0.3:
        commands.insert(rng.randrange(len(commands) + 1), rng.choice(["SELECT 1", "SELECT 1/0", "BEGIN", "SELECT ';EXECUTE a'"]))
    if rng.random() < 0.1:
        commands.append("COMMIT")  # elsewhere it might end a failed transaction: see the settings' documentation
    return Q(rng.choice(["; ", ";", " /* ; */ ; -- x\n"]).join(commands))


def random_batch(rng):
    """Messages up to a Sync, or a query: SQL and protocol mixed."""
    kind = rng.random()
    if kind < 0.45:
        return random_query(rng)
    if kind < 0.6:
        return Q(rng.choice(["BEGIN", "COMMIT", "ROLLBACK", "SELECT 1", "SELECT 1/0"]))
    batch = b""
    for _ in range(rng.randrange(1, 6)):
        name, command = rng.choice("abc"), rng.choice("xy")
        batch += rng.choices([
            lambda: P(name, rng.choice([ADD, TEXT, "SELECT generate_series(1, $1::int)"])),  # pylint: disable=cell-var-from-loop
            lambda: use(name, rng.choice([1, 2, "x"])),  # pylint: disable=cell-var-from-loop
            lambda: D("S", name),  # pylint: disable=cell-var-from-loop
            lambda: C("S", name),  # pylint: disable=cell-var-from-loop
            lambda: X(random_command(rng)),
            lambda: P(command, random_command(rng)),  # pylint: disable=cell-var-from-loop
            lambda: B("", command) + E(),  # pylint: disable=cell-var-from-loop
            lambda: C("S", command),  # pylint: disable=cell-var-from-loop
            H,
        ], [3, 4, 1, 2, 8, 2, 3, 1, 1])[0]()
    return batch + S()


@pytest.mark.parametrize("max_statements", [200, 2])
def test_random_sequences_like_direct_connections(make_pooler, pg, max_statements):
    pooler = make_pooler(settings={**ROTATING, "max_prepared_statements": max_statements})
    play_random(pooler, pg, range(60), 30, random_batch)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("max_statements", [200, 3])
def test_many_random_sequences(make_pooler, pg, max_statements):
    pooler = make_pooler(settings={**ROTATING, "max_prepared_statements": max_statements})
    play_random(pooler, pg, range(1000, 2500), 60, random_batch)


# ---- servers that change, die and forget

def sql_statement(pooler, text):
    found = [row for row in pooler.show("PREPARED") if row["query"].strip() == text]
    assert len(found) <= 1
    return found[0] if found else None


def test_every_server_gets_it_when_it_needs_it(make_pooler):
    """Prepared on one server, executed on the others; one statement for all clients, made once on each server."""
    pooler = make_pooler(settings={"default_pool_size": 2})
    clients = [pooler.wire() for _ in range(4)]
    for number, client in enumerate(clients):
        client.query(f"PREPARE mine{number}(int) AS SELECT $1 + 1")
    for one, two in itertools.permutations(range(4), 2):
        for number in (one, two):
            clients[number].query("BEGIN")
        for number in (two, one):
            assert clients[number].value(f"EXECUTE mine{number}(41)") == "42"
        for number in (one, two):
            clients[number].query("COMMIT")
    row = sql_statement(pooler, "(int) AS SELECT $1 + 1")
    assert (row["clients"], row["servers"], row["misses"]) == (4, 2, 2)
    clients[0].query("DEALLOCATE mine0")
    clients[1].query("SELECT 1; DEALLOCATE mine1")
    for number in (2, 3):
        assert clients[number].value(f"EXECUTE mine{number}(1)") == "2"
    row = sql_statement(pooler, "(int) AS SELECT $1 + 1")
    assert (row["clients"], row["servers"], row["misses"]) == (2, 2, 2)
    for client in clients:
        client.disconnect()


def test_the_same_name_is_each_clients_own(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as one, pooler.wire() as two:
        one.query("PREPARE x AS SELECT 'one'")
        assert two.query("EXECUTE x")[0].sqlstate == "26000"
        two.query("PREPARE x AS SELECT 'two'")
        assert (one.value("EXECUTE x"), two.value("EXECUTE x")) == ("one", "two")
        two.query("DEALLOCATE x")
        assert one.value("EXECUTE x") == "one"
        two.query("DEALLOCATE ALL")
        assert one.value("EXECUTE x") == "one"


def test_servers_names_are_nobodys(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as one, pooler.wire() as two:
        one.query("PREPARE x AS SELECT 'one'")
        name = sql_statement(pooler, "AS SELECT 'one'")["name"]
        assert two.query(f'EXECUTE "{name}"')[0].sqlstate == "26000"
        assert two.query(f'DEALLOCATE "{name}"')[0].sqlstate == "26000"
        two.query(f"PREPARE \"{name}\" AS SELECT 'two'")
        assert two.value(f'EXECUTE "{name}"') == "two" and one.value("EXECUTE x") == "one"


def test_server_lost_between_prepare_and_execute(make_pooler, pg):
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as client:
        client.query(PA)
        client.query("PREPARE i(text) AS SELECT $1")
        for use_it in ("EXECUTE a(1)", "SELECT 5; EXECUTE a(1)", "EXPLAIN EXECUTE a(1)", "BEGIN; EXECUTE a(1); COMMIT"):
            pid = client.value("SELECT pg_backend_pid()")
            pg.terminate_backends(f"pid = {pid}")
            wait_until(lambda: not [s for s in pooler.servers() if s["remote_pid"] == int(pid)], "the server to be gone")  # pylint: disable=cell-var-from-loop
            assert "E" not in [m.kind for m in client.query(use_it)]
        assert client.value("EXECUTE i('x')") == "x"
        client.query("DEALLOCATE i")
        assert client.query("EXECUTE i('x')")[0].sqlstate == "26000"


def test_what_cannot_be_prepared_again_fails_the_query(make_pooler, pg):
    """The table has gone: the error is the answer to the EXECUTE, in and outside of a transaction, and the session goes on."""
    pooler = make_pooler(settings={"default_pool_size": 2})
    with pg.connect() as conn:
        conn.execute("DROP TABLE IF EXISTS going; CREATE TABLE going (x int)")
        with pooler.wire() as client, pooler.wire() as other:
            client.query("PREPARE g AS SELECT x FROM going")
            other.query("BEGIN")  # takes the server that has it, or the other one
            conn.execute("DROP TABLE going")
            for _ in range(2):
                messages = client.query("EXECUTE g")
                assert [m.kind for m in messages] == ["E", "Z"] and messages[0].sqlstate == "42P01" and messages[1].payload == b"I"
                client.query("BEGIN")
                messages = client.query("EXECUTE g; SELECT 1")
                assert [m.kind for m in messages] == ["E", "Z"] and messages[0].sqlstate == "42P01" and messages[1].payload == b"E"
                assert client.query("EXECUTE g")[0].sqlstate == "25P02"
                client.query("ROLLBACK")
                client.send(P("", "SELECT 7") + B("", "") + E() + Q("EXECUTE g"))
                assert client.trace() == "12DCEZ"
                client.send(X("EXECUTE g") + S() + Q("SELECT 1"))
                assert "E" in client.trace() and client.trace() == "TDCZ"
            conn.execute("CREATE TABLE going (x int)")
            assert client.rows("EXECUTE g") == []


def test_changed_table(make_pooler, pg):
    """As in PostgreSQL an error, but once: the statement is made anew at the next try."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pg.connect() as conn:
        conn.execute("DROP TABLE IF EXISTS shifting; CREATE TABLE shifting AS SELECT 1 AS x")
        with pooler.wire() as client:
            client.query("PREPARE s AS SELECT * FROM shifting")
            assert client.rows("EXECUTE s") == [["1"]]
            conn.execute("ALTER TABLE shifting ADD COLUMN y int DEFAULT 2")
            assert client.query("EXECUTE s")[0].sqlstate == "0A000"
            assert client.rows("EXECUTE s") == [["1", "2"]]


def test_least_recently_used_is_evicted(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "max_prepared_statements": 3})
    with pooler.wire() as client:
        for number in range(10):
            client.query(f"PREPARE s{number} AS SELECT {number}")
            assert pooler.servers()[0]["prepared_statements"] <= 3
        for number in range(10):
            assert client.value(f"EXECUTE s{number}") == str(number)
            assert pooler.servers()[0]["prepared_statements"] <= 3
        assert int(client.value("SELECT count(*) FROM pg_prepared_statements")) <= 3
        assert [r[0] for r in client.rows("; ".join(f"EXECUTE s{number}" for number in range(10)))] == [str(n) for n in range(10)]


def test_setting_off_passes_it_on(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "sql_prepare": "off"})
    with pooler.wire() as client, pooler.wire() as other:
        client.query(PA)
        assert other.value("EXECUTE a(1)") == "2"  # the server's, and so everybody's
        assert client.value("SELECT string_agg(name, ',') FROM pg_prepared_statements") == "a"
        pooler.settings["sql_prepare"] = "on"
        pooler.reload()
        assert client.query("EXECUTE a(1)")[0].kind in "TE"  # the name is the server's still
        client.query("PREPARE b AS SELECT 2")
        assert other.query("EXECUTE b")[0].sqlstate == "26000"
        pooler.settings["sql_prepare"] = "off"
        pooler.reload()
        assert client.value("EXECUTE b") == "2"  # who has names keeps them


@pytest.mark.parametrize("settings", [{"pool_mode": "session"}, {"max_prepared_statements": 0}])
def test_nothing_is_mapped(make_pooler, settings):
    pooler = make_pooler(settings={"default_pool_size": 1, **settings})
    with pooler.wire() as client:
        client.query(PA)
        assert client.value("SELECT string_agg(name, ',') FROM pg_prepared_statements") == "a"
        assert client.value("EXECUTE a(1)") == "2"
        assert pooler.show("PREPARED") == []


def test_statement_mode(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 2, "pool_mode": "statement"})
    with pooler.wire() as one, pooler.wire() as two:
        one.query(PA)
        two.query("PREPARE a AS SELECT 'two'")
        assert (one.value("EXECUTE a(1)"), two.value("EXECUTE a")) == ("2", "two")
        one.query("DEALLOCATE a")
        assert one.query("EXECUTE a(1)")[0].sqlstate == "26000"


def test_large_texts(make_pooler):
    """Whole up to 64 kB; beyond that by how they begin, up to a bound."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire() as client, pooler.wire() as other:
        text = "x" * 1_000_000
        client.query(f"/* large */ PREPARE a(text) AS SELECT length('{text}' || $1)")
        assert client.value("EXECUTE a('yy')") == "1000002"
        assert client.value(f"EXECUTE a('{text}')") == "2000000"
        client.query(f"SELECT '{'x' * 30_000}'; PREPARE b AS SELECT 3")
        assert other.query("EXECUTE b")[0].sqlstate == "26000" and client.value("EXECUTE b") == "3"
        assert len(client.value(f"SELECT '{text}'")) == 1_000_000
        client.send_in_pieces(Q(f"SELECT '{'x' * 70_000}'"), 1500)
        assert client.trace() == "TDCZ"
        client.send(Q("PREPARE c AS SELECT '" + "y" * 17_000_000 + "'"))
        refused = client.expect_closed()
        assert [m.kind for m in refused] == ["E"] and refused[0].sqlstate == "54000"


def test_as_many_as_one_text_may_have(make_pooler, pg):
    """And more are refused as what they are."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    texts = [each("PREPARE n{} AS SELECT 7", 1024), "EXECUTE n0; EXECUTE n1023", each("DEALLOCATE n{}", 1024), "EXECUTE n1023", each("PREPARE n{0} AS SELECT {0}", 1024)]
    script = list(steps(map(Q, texts)))
    with test_prepared.direct(pg) as direct, pooler.wire() as client:
        assert play(client, script) == play(direct, script)
        client.send(Q("SELECT 1"), Q(each("DEALLOCATE n{}", 1025)))
        assert client.trace() == "TDCZ"
        refused = client.expect_closed()
        assert [m.kind for m in refused] == ["E"]
        assert (refused[0].sqlstate, refused[0].text) == ("54000", "too many commands about prepared statements in one query")
    with pooler.wire() as client:
        client.send(X(each("DEALLOCATE n{}", 1025)) + S())
        assert "cannot insert multiple commands into a prepared statement" in client.until("E")[-1].text


def test_encodings(make_pooler):
    """Where a backslash or a quote may be the second half of a character, texts are passed on as they are."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    with pooler.wire(client_encoding="SJIS") as client:
        client.query(PA)
        assert client.value("SELECT string_agg(name, ',') FROM pg_prepared_statements") == "a"
    with pooler.wire(client_encoding="LATIN1") as client:
        client.query("DEALLOCATE ALL")
        client.send(wire.message("Q", b"PREPARE \xe9 AS SELECT '\xe9'::text; SELECT nonsense\0"))
        messages = client.until()
        assert messages[-2].fields().get("P") == str(len("PREPARE e AS SELECT 'e'::text; SELECT n")), messages
        client.send(wire.message("Q", b"EXECUTE \xe9\0"))
        assert client.until()[1].payload.endswith(b"\xe9")


def test_psql_script(make_pooler):
    """A script with \\; and transactions, on servers that others use in between."""
    pooler = make_pooler(settings={"default_pool_size": 2})
    script = r"""
PREPARE add(int, int) AS SELECT $1 + $2;
EXECUTE add(1, 2);
BEGIN;
EXECUTE add(3, 4);
PREPARE inner_one AS SELECT 'in';
COMMIT;
EXECUTE inner_one \; EXECUTE add(5, 6);
DEALLOCATE inner_one;
EXECUTE inner_one;
DEALLOCATE ALL;
EXECUTE add(1, 1);
"""
    done = [subprocess.run(["psql", "-X", "-A", "-t", "-h", "127.0.0.1", "-p", str(pooler.port), "-U", "app", "app"], input=script, capture_output=True, text=True,
                           check=False, env={**os.environ, "LC_ALL": "C"}) for _ in range(3)]
    for run in done:
        assert run.stdout.split("\n") == ["PREPARE", "3", "BEGIN", "7", "PREPARE", "COMMIT", "in", "11", "DEALLOCATE", "DEALLOCATE ALL", ""]
        assert run.stderr.count("ERROR") == 2 and 'prepared statement "inner_one" does not exist' in run.stderr


def test_workers_share(make_pooler):
    """Clients of all workers on one server."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    clients = [pooler.wire() for _ in range(8)]
    for number, client in enumerate(clients):
        client.query(f"PREPARE p AS SELECT {number % 2}")
    for _ in range(3):
        for number, client in enumerate(clients):
            assert client.value("EXECUTE p") == str(number % 2)
    assert sql_statement(pooler, "AS SELECT 0")["misses"] == 1
    for client in clients:
        client.disconnect()


def test_client_goes_amid_it(make_pooler):
    """What it has begun on the server harms nobody."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    for batch in (Q(PA), Q(PA) + Q("EXECUTE a(1)"), X(PA), X(PA) + S() + X("EXECUTE a(1)"), Q("SELECT 1; " + PA + "; SELECT 1"), X("DEALLOCATE ALL")):
        client = pooler.wire()
        client.send(batch)
        client.disconnect()
        with pooler.wire() as other:
            assert other.query(PA)[0].tag == "PREPARE"
            assert other.value("EXECUTE a(1)") == "2"
            assert other.query("SELECT 1; DEALLOCATE a")[-2].tag == "DEALLOCATE"


def test_an_execute_keeps_what_it_runs(make_pooler):
    """There is no room for both on the server, and the one that is used least recently is about to be run."""
    pooler = make_pooler(settings={"default_pool_size": 1, "max_prepared_statements": 1})
    with pooler.wire() as one:
        one.query("PREPARE a AS SELECT 7")
        one.send(P("b", "SELECT 8") + S())
        one.until()
        one.send(P("", "EXECUTE a") + B("", "") + H())
        one.until("2")
        one.send(B("q", "b") + E() + E("q") + S())
        assert [m.row() for m in one.until() if m.kind == "D"] == [["7"], ["8"]]
