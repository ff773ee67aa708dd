"""Settable parameters belong to the client, whatever server it is given."""
import pytest

from harness import wire
from harness.wire import ServerError

# name, one value, another value; each reported by PostgreSQL with ParameterStatus
SETTABLE = [
    ("client_encoding", "LATIN1", "UTF8"),
    ("DateStyle", "German, DMY", "SQL, MDY"),
    ("TimeZone", "Asia/Tokyo", "America/New_York"),
    ("application_name", "one", "two"),
    ("IntervalStyle", "iso_8601", "sql_standard"),
    ("standard_conforming_strings", "off", "on"),
]
# PgBouncer tracks IntervalStyle since 1.20 (track_extra_parameters), and lets a client that set no
# application_name inherit the one of its predecessor.
OWN = {"IntervalStyle", "application_name"}


@pytest.fixture
def single(make_pooler):
    return make_pooler(settings={"default_pool_size": 1})


def rows_of(settable):
    return [pytest.param(*row, marks=pytest.mark.own, id=row[0]) if row[0] in OWN else pytest.param(*row, id=row[0]) for row in settable]


@pytest.mark.parametrize("name, one_value, two_value", rows_of(SETTABLE))
def test_parameter_set_by_sql_is_restored(single, name, one_value, two_value):
    with single.wire() as one, single.wire() as two, single.wire() as three:
        untouched = three.value(f"SHOW {name}")
        one.query(f"SET {name} = '{one_value}'")
        two.query(f"SET {name} = '{two_value}'")
        for _ in range(3):
            assert one.value(f"SHOW {name}") == one_value
            assert two.value(f"SHOW {name}") == two_value
            assert three.value(f"SHOW {name}") == untouched


@pytest.mark.parametrize("name, one_value, two_value", rows_of(SETTABLE))
def test_parameter_set_at_startup_is_kept(single, name, one_value, two_value):
    with single.wire(**{name: one_value}) as one, single.wire(**{name: two_value}) as two:
        for _ in range(2):
            assert one.value(f"SHOW {name}") == one_value
            assert two.value(f"SHOW {name}") == two_value


@pytest.mark.sanitizer
def test_parameters_set_in_a_transaction_that_is_rolled_back(single):
    with single.wire() as one, single.wire() as two:
        before = one.value("SHOW TimeZone")
        one.query("BEGIN")
        one.query("SET TimeZone = 'Asia/Tokyo'")
        one.query("ROLLBACK")
        two.query("SELECT 1")
        assert one.value("SHOW TimeZone") == before


def test_set_local_ends_with_its_transaction(single):
    with single.wire() as one, single.wire() as two:
        before = one.value("SHOW TimeZone")
        one.query("BEGIN")
        one.query("SET LOCAL TimeZone = 'Asia/Tokyo'")
        assert one.value("SHOW TimeZone") == "Asia/Tokyo"
        one.query("COMMIT")
        assert two.value("SHOW TimeZone") == before
        assert one.value("SHOW TimeZone") == before


@pytest.mark.sanitizer
def test_many_clients_with_different_time_zones(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 3})
    zones = [f"Etc/GMT{n:+d}" for n in range(-12, 13)]
    clients = [pooler.wire(TimeZone=zone) for zone in zones]
    for _ in range(3):
        for client in clients:
            client.send(wire.query("SHOW TimeZone"))
        for client, zone in zip(clients, zones):
            assert client.until()[1].row() == [zone]
    for client in clients:
        client.disconnect()


@pytest.mark.own
def test_quotes_in_a_value(single):
    with single.wire() as one, single.wire() as two:
        one.query("SET application_name = 'it''s \"mine\" \\ $1; DROP TABLE t'")
        assert two.value("SHOW application_name") == ""
        assert one.value("SHOW application_name") == "it's \"mine\" \\ $1; DROP TABLE t"


def test_first_login_reports_what_the_server_says(single, pg):
    with single.wire() as client:
        assert client.parameters["server_version"].startswith(str(pg.connect().info.server_version // 10000))
        assert client.parameters["server_encoding"] == "UTF8"
        assert client.parameters["integer_datetimes"] == "on"
        assert {"client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings"} <= set(client.parameters)


@pytest.mark.parametrize("asked", ["UTF8", "utf8", "utf-8", "UNICODE"])
@pytest.mark.own
def test_client_encoding_is_reported_in_the_servers_spelling(single, asked):
    """Drivers compare the text with UTF8, whatever spelling they sent. UNICODE stays as it is, in PostgreSQL too."""
    expected = "UNICODE" if asked == "UNICODE" else "UTF8"
    with single.wire(client_encoding=asked) as client:
        client.query("SELECT 1")
        assert client.parameters["client_encoding"] == expected
        assert client.value("SHOW client_encoding") == expected


def test_value_in_another_spelling_does_not_cost_a_set_each_time(single):
    with single.wire(client_encoding="utf-8", TimeZone="utc") as one, single.wire() as two:
        for _ in range(3):
            assert one.value("SHOW client_encoding") == "UTF8"
            two.query("SELECT 1")


def test_invalid_value_is_told_to_the_client(single):
    """It must not poison the pool for others."""
    try:
        with single.wire(TimeZone="Not/AZone") as client:
            client.send(wire.query("SELECT 1"))
            client.expect_closed() if not single_answer(client) else None
    except (ServerError, wire.Closed):
        pass
    with single.wire() as other:
        assert other.value("SELECT 1") == "1"


def single_answer(client):
    return client.until("ZE")


def test_application_name_add_host(make_pooler):
    pooler = make_pooler(settings={"application_name_add_host": 1})
    with pooler.wire(application_name="shop") as client:
        assert client.value("SHOW application_name").startswith("shop - 127.0.0.1:")


@pytest.mark.own
def test_track_extra_parameters(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "track_extra_parameters": "IntervalStyle"})
    with pooler.wire(IntervalStyle="iso_8601") as one, pooler.wire() as two:
        assert one.value("SELECT interval '1 day'") == "P1D"
        assert two.value("SELECT interval '1 day'") == "1 day"
