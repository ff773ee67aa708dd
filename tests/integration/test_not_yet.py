"""What PgBouncer has and this version has not: refused by name at the start, or a clear error on the console. Never ignored."""
import pytest

pytestmark = pytest.mark.own

# section, name, value
SETTINGS = [
    ("pgbouncer", "auth_ldap_options", "ldapserver=127.0.0.1"),
    ("pgbouncer", "auth_type", "ldap"),
    ("pgbouncer", "auth_type", "pam"),
    ("pgbouncer", "session_state", "pin"),
    ("databases", "session_state", "pin"),
    ("users", "session_state", "pin"),
]


@pytest.mark.parametrize("section, name, value", SETTINGS, ids=[f"{s}-{n}-{v}"[:60] for s, n, v in SETTINGS])
def test_setting_is_refused_by_name(make_pooler, pg, section, name, value):
    """Whoever relies on a setting must not believe that it works."""
    extra = {
        "pgbouncer": {"settings": {name: value}},
        "databases": {"databases": {"app": f"{pg.dsn} dbname=app {name}={value}"}},
        "users": {"users": {"app": f"{name}={value}"}},
    }[section]
    pooler = make_pooler(start=False, **extra)
    done = pooler.run(pooler.path("pgsluice.ini"))
    assert done.returncode == 1
    refused = [line for line in (done.stdout + done.stderr).splitlines() if "is not supported by this version yet" in line]
    assert len(refused) == 1 and "pgsluice.ini:" in refused[0], done.stderr
    assert name in refused[0]
    if name == "auth_type":
        assert value in refused[0]


def test_setting_is_refused_on_the_console(pooler):
    """SET and RELOAD say the same, and leave what was there."""
    with pooler.raw() as console:
        console.login("admin", "pgbouncer")
        messages = console.query("SET auth_ldap_options = x")
        assert "auth_ldap_options is not supported by this version yet" in messages[0].fields()["D"]
        pooler.settings["auth_ldap_options"] = "x"
        pooler.write_config()
        assert [m.kind for m in console.query("RELOAD")][0] == "E"
    assert not pooler.config("auth_ldap_options")
