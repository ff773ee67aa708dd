"""Settings that a client gives at its login: the client's own on whatever server it gets, and nobody else's."""
import threading

import psycopg
import pytest

from harness import wire
from harness.util import PATIENCE, wait_until
from harness.wire import ServerError

pytestmark = pytest.mark.own


@pytest.fixture
def single(make_pooler):
    return make_pooler(settings={"default_pool_size": 1})


SETTINGS = {"work_mem": "5MB", "search_path": "one, two", "statement_timeout": "1min", "geqo": "off", "my.setting": "it's \\ mine"}


@pytest.mark.sanitizer
def test_any_setting_follows_its_client_and_no_other(single):
    with single.wire(**SETTINGS) as one, single.wire(options="-c work_mem=6MB -c geqo=on") as two, single.wire() as three:
        for _ in range(3):
            for name, value in SETTINGS.items():
                assert one.value(f"SHOW {name}") == value
            assert two.value("SHOW work_mem") == "6MB"
            assert two.value("SHOW search_path") == '"$user", public'
            assert three.value("SHOW work_mem") == "4MB"
            assert three.value("SELECT current_setting('my.setting', true)") in ("", None)
    assert len(single.servers()) == 1


@pytest.mark.parametrize("name, value", [("work_mem", "much"), ("no_such_setting", "1"), ("TimeZone", "Nowhere/Bad"), ("role", "nobody_at_all"),
                                         ("max_connections", "7"), ("is_superuser", "on")])
def test_what_postgresql_refuses_is_refused_with_its_words(single, pg, name, value):
    with pytest.raises(psycopg.OperationalError) as direct:
        psycopg.connect(host="127.0.0.1", port=pg.port, user="app", dbname="app", sslmode="disable", options=f"-c {name}={value}")
    words = str(direct.value).split("FATAL:")[1].strip().split("\n")[0]
    with pytest.raises(ServerError) as pooled:
        single.wire(options=f"-c {name}={value}")
    if name == "is_superuser":  # nothing that SET could restore
        assert pooled.value.sqlstate == "08P01"
    else:
        assert words in str(pooled.value)
    with single.wire() as other:
        assert other.value("SELECT 1") == "1"
    assert len(single.servers()) == 1


def test_the_greeting_has_the_servers_spelling(single):
    for _ in range(2):  # asked, and remembered
        with single.wire(TimeZone="utc", work_mem="1024") as client:
            assert client.parameters["TimeZone"] == "UTC"
            assert client.value("SHOW TimeZone") == "UTC"
            assert client.value("SHOW work_mem") == "1MB"


def test_a_server_is_asked_once_for_equal_settings(make_pooler):
    """What is known to be taken needs no server at the login: not even a free one."""
    pooler = make_pooler(settings={"default_pool_size": 1, "query_wait_timeout": 2})
    pooler.wire(work_mem="5MB", application_name="first").disconnect()
    with pooler.wire() as busy:
        busy.query("BEGIN")
        with pooler.wire(work_mem="5MB", application_name="second") as client:
            assert client.parameters["application_name"] == "second"
            with pytest.raises(ServerError):
                pooler.wire(work_mem="6MB")
            busy.query("COMMIT")
            assert client.value("SHOW work_mem") == "5MB"


def test_session_mode(make_pooler):
    """The reset query takes settings back that PostgreSQL does not report: the next client with the same gets them again."""
    pooler = make_pooler(settings={"default_pool_size": 1, "pool_mode": "session"})
    for _ in range(3):
        with pooler.wire(search_path="evil", work_mem="5MB") as one:
            assert one.value("SHOW search_path") == "evil"
            assert one.value("SHOW work_mem") == "5MB"
            one.goodbye()
        with pooler.wire() as two:
            assert two.value("SHOW search_path") == '"$user", public'
            assert two.value("SHOW work_mem") == "4MB"
            two.goodbye()
    assert len(pooler.servers()) == 1


def test_a_reset_query_that_resets_nothing(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 1, "pool_mode": "session", "server_reset_query": "SELECT 1"})
    for _ in range(2):
        with pooler.wire(work_mem="5MB") as one:
            assert one.value("SHOW work_mem") == "5MB"
            one.goodbye()
        with pooler.wire() as two:
            assert two.value("SHOW work_mem") == "4MB"
            two.goodbye()


def test_many_logins_with_settings_of_their_own(make_pooler):
    pooler = make_pooler(settings={"default_pool_size": 3})
    wrong = []

    def run(number):
        for round_ in range(10):
            value = f"{100 + number * 10 + round_}kB"
            with pooler.wire(work_mem=value) as client:
                for _ in range(5):
                    seen = client.value("SHOW work_mem")
                    if seen != value:
                        wrong.append((value, seen))

    threads = [threading.Thread(target=run, args=[n]) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60 * PATIENCE)
    assert not wrong and not any(thread.is_alive() for thread in threads)


@pytest.mark.sanitizer
def test_clients_that_leave_while_a_server_is_asked(make_pooler, own_pg):
    pooler = make_pooler(postgres=own_pg, settings={"default_pool_size": 1})
    for number in range(30):
        client = pooler.raw()
        client.send(wire.startup_packet({"user": "app", "database": "app", "work_mem": f"{100 + number}kB"}))
        if number % 3 == 0:
            client.silent_for(0.002)
        client.disconnect()
    with pooler.wire(work_mem="7MB") as client:
        assert client.value("SHOW work_mem") == "7MB"
    wait_until(lambda: not pooler.clients(), "the clients to be gone")
    assert len(pooler.servers()) <= 1


def test_a_server_that_dies_while_it_is_asked_costs_the_client_nothing(make_pooler, own_pg):
    """An idle server that has been killed is found dead by the question; another one answers it."""
    pooler = make_pooler(postgres=own_pg, settings={"default_pool_size": 1, "server_check_delay": 3600})
    for number in range(10):
        with pooler.wire() as client:
            pid = client.value("SELECT pg_backend_pid()")
        with own_pg.connect(dbname="postgres") as conn:
            conn.execute("SELECT pg_terminate_backend(%s)", [int(pid)])
        with pooler.wire(work_mem=f"{200 + number}kB") as client:
            assert client.value("SHOW work_mem") == f"{200 + number}kB"
