"""Statements that are prepared while a setting changes: whoever else has the same text gets it as its own settings make it.

One client prepares a text in one of WAYS, in which its server has other settings by the time it gets there than when it was sent.
What other clients get for the text afterwards must be what a direct connection gives them.
"""
import itertools

import pytest

from test_prepared import B, E, H, P, Q, S, answers_to, direct, use

pytestmark = [pytest.mark.sanitizer, pytest.mark.own]

# What the one client sets, and a text that means something else then.
SETTINGS = {
    "TimeZone": ("Asia/Tokyo", "SELECT extract(epoch FROM '2020-01-01 00:00'::timestamptz)::bigint"),
    "standard_conforming_strings": ("off", r"SELECT 'a\', ' AS x, 'b' --'"),
    "search_path": ("theirs", "SELECT x FROM whose"),
}


def run(name, *values):
    return B("", name, values) + E()


def X(sql):  # noqa: N802
    """A text by the extended protocol."""
    return P("", sql) + run("")


def ways(name, value, text):
    """{way: steps}; a step is the list of what is sent at once, one piece for each ReadyForQuery that is waited for."""
    change, local, back = f"SET {name} = '{value}'", f"SET LOCAL {name} = '{value}'", f"RESET {name}"
    call, local_call = f"SELECT set_config('{name}', '{value}', false)", f"SELECT set_config('{name}', '{value}', true)"
    parse, prepare = P("a", text), f"PREPARE a AS {text}"
    return {
        "in one batch": [[P("s", change) + S()], [run("s") + parse + S()]],
        "unnamed, in one batch": [[X(change) + parse + S()]],
        "unnamed, parsed before": [[P("", change) + S()], [run("") + parse + S()]],
        "used at once": [[X(change) + parse + use("a") + S()]],
        "in two batches": [[P("s", change) + S()], [run("s") + S(), parse + S()]],
        "behind a query": [[Q(change), parse + S()]],
        "behind a query of several": [[Q(f"SELECT 1; {change}; SELECT 2"), parse + S()]],
        "in a portal": [[Q("BEGIN")], [P("s", change) + B("p", "s") + S()], [E("p") + parse + S()], [Q("COMMIT")]],
        "set_config()": [[P("s", call) + S()], [run("s") + parse + S()]],
        "set_config() with values": [[P("s", "SELECT set_config($1, $2, false)") + S()], [run("s", name, value) + parse + S()]],
        "local set_config()": [[X(local_call) + parse + use("a") + S()]],
        "SET LOCAL": [[X(local) + parse + use("a") + S()]],
        "SET LOCAL in a transaction": [[Q("BEGIN"), X(local) + parse + S(), Q("COMMIT")]],
        "rolled back": [[Q("BEGIN"), X(change) + parse + S(), Q("ROLLBACK")]],
        "a failure behind it": [[P("s", change) + S()], [run("s") + parse + use("nobody") + S()]],
        "a block of code": [[X(f"DO $$BEGIN PERFORM set_config('{name}', '{value}', false); END$$") + parse + S()]],
        "RESET": [[Q(change)], [X(back) + parse + S()]],
        "RESET, behind a query": [[Q(change)], [Q(back), parse + S()]],
        "SET TO DEFAULT": [[Q(change)], [Q(f"SET {name} TO DEFAULT"), parse + S()]],
        "a function": [[X(f"SELECT changes('{name}', '{value}')") + parse + S()]],
        "a function, behind the Parse": [[parse + X(f"SELECT changes('{name}', '{value}')") + S()]],
        "a function, behind a query": [[Q(f"SELECT changes('{name}', '{value}')"), parse + S()]],
        "EXECUTE": [[Q(f"PREPARE s AS {call}")], [Q("EXECUTE s"), parse + S()]],
        "EXECUTE, in one batch": [[Q(f"PREPARE s AS {call}")], [X("EXECUTE s") + parse + S()]],
        "ROLLBACK": [[Q("BEGIN")], [Q(change)], [X("ROLLBACK") + parse + S()]],
        "ROLLBACK, behind a query": [[Q("BEGIN")], [Q(change)], [Q("ROLLBACK"), parse + S()]],
        "ROLLBACK TO": [[Q("BEGIN")], [Q("SAVEPOINT s")], [Q(change)], [X("ROLLBACK TO s") + parse + S()], [Q("COMMIT")]],
        "COMMIT": [[Q("BEGIN")], [Q(local)], [X("COMMIT") + parse + S()]],
        "COMMIT, behind a query": [[Q("BEGIN")], [Q(local)], [Q("COMMIT"), parse + S()]],
        "made anew": [[parse + S()], [P("s", change) + S()], [run("s") + use("a") + S()]],

        "SQL, in one text": [[Q(f"{change}; {prepare}")]],
        "SQL, a transaction in one text": [[Q(f"BEGIN; {local}; {prepare}\n; COMMIT")]],
        "SQL, set_config()": [[Q(f"{local_call}; {prepare}")]],
        "SQL, in one batch": [[P("s", change) + S()], [run("s") + X(prepare) + S()]],
    }


SITUATIONS = {"track": {}, "ignore": {"session_state": "ignore"}, "few": {"max_prepared_statements": 1}}
# Elsewhere the server does not get the statement in between, or what comes next waits for the change.
ONLY = {"RESET, behind a query": ["ignore"], "SET TO DEFAULT": ["ignore"], "made anew": ["few"]}
CASES = [(situation, way) for way in ways("", "", "") for situation in ONLY.get(way, ["track", "ignore"])]


def played(connection, steps):
    answers = [answers_to(connection, step) for step in steps]
    assert ["nothing"] not in answers
    return answers


@pytest.fixture(scope="module")
def tables(pg):
    with pg.connect(dbname="app") as conn:
        conn.execute("CREATE TABLE whose AS SELECT 1 AS x; CREATE SCHEMA theirs; CREATE TABLE theirs.whose AS SELECT 'theirs'::text AS x;"
                     "CREATE FUNCTION changes(name text, value text) RETURNS text LANGUAGE sql AS 'SELECT set_config(name, value, false)';"
                     "GRANT USAGE ON SCHEMA theirs TO PUBLIC; GRANT SELECT ON whose, theirs.whose TO PUBLIC")
    yield
    with pg.connect(dbname="app") as conn:
        conn.execute("DROP FUNCTION changes(text, text); DROP TABLE whose; DROP SCHEMA theirs CASCADE")


# What others do, which have the setting or have not: prepare the text, and use it.
BEFORE = {"without": lambda name: [], "with it": lambda name: [[Q(f"SET {name} = '{SETTINGS[name][0]}'")]]}
USE = [[use("x") + S()], [Q("EXECUTE y")], [use("x") + S(), Q("EXECUTE y")]]


def have(text):
    return [[P("x", text) + S()], [Q(f"PREPARE y AS {text}")]]


@pytest.fixture(scope="module")
def expected(pg, tables):
    """What PostgreSQL itself answers."""
    answers = {}
    for name, before in itertools.product(SETTINGS, BEFORE):
        with direct(pg) as server:
            played(server, BEFORE[before](name))
            answers[name, before] = played(server, have(SETTINGS[name][1]) + USE)
    return answers


@pytest.mark.parametrize("situation, way", CASES)
def test_others_get_their_own(make_pooler, expected, situation, way):
    """The same hour, columns and tables as without a pooler, for those who had prepared the text already and for those who do so afterwards."""
    pooler = make_pooler(settings={"default_pool_size": 1, **SITUATIONS[situation]})
    wrong = {}
    for name, before, has_it in itertools.product(SETTINGS, BEFORE, [False, True]):
        if name == "search_path" and (situation == "ignore" or "function" in way):  # it is what the last client has made it
            continue
        value, text = SETTINGS[name]
        text += f" -- {before} {has_it}"  # which nobody has had yet
        with pooler.wire() as one, pooler.wire() as two:
            played(two, BEFORE[before](name))
            got = played(two, have(text)) if has_it else []
            played(one, ways(name, value, text)[way])
            got += played(two, USE if has_it else have(text) + USE)
            if got != expected[name, before]:
                wrong[name, before, has_it] = got
    assert not wrong


def test_behind_an_answer_in_the_same_batch(make_pooler, expected):
    """The client knows that it has the setting; what it has by the protocol's reports comes with the batch's end."""
    pooler = make_pooler(settings={"default_pool_size": 1})
    name = "TimeZone"
    value, text = SETTINGS[name]
    with pooler.wire() as one, pooler.wire() as two:
        one.send(X(f"SET {name} = '{value}'") + H())
        one.until("C")
        one.send(P("a", text) + S())
        one.until("Z")
        assert played(two, have(text) + USE) == expected[name, "without"]
