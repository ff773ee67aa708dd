"""What happens before the first query: protocol versions, options, unknown parameters, malformed start-up packets."""
import struct

import psycopg
import pytest

from harness import wire
from harness.wire import PROTOCOL_30, PROTOCOL_32, ServerError


@pytest.mark.sanitizer
def test_ssl_and_gss_requests_are_declined(pooler):
    with pooler.raw() as client:
        assert client.gss_request() == b"N"
        assert client.ssl_request() == b"N"
        client.login("app", "app")
        assert client.value("SELECT 1") == "1"


def test_key_data_for_protocol_30(pooler):
    with pooler.wire() as client:
        assert client.negotiation is None
        assert len(client.key) == 4


@pytest.mark.sanitizer
@pytest.mark.own
def test_protocol_32_has_longer_keys(pooler):
    with pooler.wire(protocol=PROTOCOL_32) as client:
        assert client.negotiation is None
        assert 4 <= len(client.key) <= 256 and len(client.key) > 4
        client.send(wire.query("SELECT pg_sleep(20)"))
        assert client.silent_for(0.2)
        client.cancel()
        assert [m.sqlstate for m in client.until() if m.kind == "E"] == ["57014"]


@pytest.mark.own
@pytest.mark.parametrize("protocol", [3 << 16 | 3, 3 << 16 | 9999])
def test_newer_minor_protocol_is_negotiated_down(pooler, protocol):
    with pooler.wire(protocol=protocol) as client:
        version, count = struct.unpack_from("!II", client.negotiation)
        assert (version, count) == (PROTOCOL_32, 0)
        assert client.value("SELECT 1") == "1"


@pytest.mark.own
def test_unknown_protocol_options_are_named(pooler):
    with pooler.wire(**{"_pq_.something": "1", "_pq_.other": "x"}) as client:
        version, count = struct.unpack_from("!II", client.negotiation)
        assert (version, count) == (PROTOCOL_30, 2)
        assert set(client.negotiation[8:].split(b"\0")[:-1]) == {b"_pq_.something", b"_pq_.other"}
        assert client.value("SELECT 1") == "1"


def test_protocol_2_is_refused(pooler):
    with pooler.raw() as client:
        client.send(wire.startup_packet({"user": "app", "database": "app"}, 2 << 16))
        assert any("V2" in m.text or "protocol" in m.text for m in client.expect_closed() if m.kind == "E")


@pytest.mark.parametrize("options, setting, expected", [
    ("-c DateStyle=German,DMY", "DateStyle", "German, DMY"),
    ("-cTimeZone=Asia/Tokyo", "TimeZone", "Asia/Tokyo"),
    ("--application_name=shop", "application_name", "shop"),
    (r"-c application_name=two\ words", "application_name", "two words"),
    ("-c TimeZone=Asia/Tokyo  -c  application_name=a", "application_name", "a"),
])
@pytest.mark.own
def test_options(pooler, options, setting, expected):
    with pooler.wire(options=options) as client:
        assert client.value(f"SHOW {setting}") == expected


@pytest.mark.own
def test_malformed_options_are_refused(pooler):
    with pytest.raises(ServerError):
        pooler.wire(options="-X")


@pytest.mark.own
def test_extra_float_digits_is_accepted(pooler):
    """JDBC sends it; PgBouncer makes everybody list it in ignore_startup_parameters."""
    with pooler.wire(extra_float_digits="2") as client:
        assert client.value("SELECT 1") == "1"


def test_ignore_startup_parameters(make_pooler):
    pooler = make_pooler(settings={"ignore_startup_parameters": "extra_float_digits, work_mem"})
    with pooler.wire(work_mem="5MB", extra_float_digits="2") as client:
        assert client.value("SHOW work_mem") == "4MB"


@pytest.mark.own
def test_ignored_parameters_in_options(make_pooler):
    pooler = make_pooler(settings={"ignore_startup_parameters": "work_mem"})
    with pooler.wire(options="-c work_mem=5MB -c TimeZone=Asia/Tokyo") as client:
        assert client.value("SHOW TimeZone") == "Asia/Tokyo"


def test_database_defaults_to_the_user(pooler):
    with pooler.raw() as client:
        client.send(wire.startup_packet({"user": "app"}))
        client.finish_login("app")
        assert client.value("SELECT current_database()") == "app"


def test_no_user_is_refused(pooler):
    with pooler.raw() as client:
        client.send(wire.startup_packet({"database": "app"}))
        assert any(m.kind == "E" for m in client.expect_closed())


def test_psycopg_and_libpq_log_in(pooler):
    with pooler.connect(client_encoding="utf8", options="", application_name="psycopg") as conn:
        assert conn.execute("SELECT %s::int", (5,)).fetchone() == (5,)
    with psycopg.connect(**{**pooler.dsn(), "sslmode": "prefer", "gssencmode": "prefer"}) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_unix_socket(pooler):
    with psycopg.connect(**{**pooler.dsn(), "host": pooler.directory}) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
