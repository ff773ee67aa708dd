"""Logins whose passwords are asked for in clear and checked by somebody else: LDAP, PAM."""
from . import util
from .wire import ServerError, Wire, cstr, message, startup_packet

UNAVAILABLE = {"S": "FATAL", "V": "FATAL", "C": "28000", "M": "authentication service failed", "H": "See the pooler's log."}


def wrong(user):
    return {"S": "FATAL", "V": "FATAL", "C": "28P01", "M": f'password authentication failed for user "{user}"'}


def make_checking(make_pooler, pg, how, rules=None, settings=None, start=True, **kwargs):
    """A pooler with the settings `how`, or with rules instead; everybody is bob at the server, unless other databases are given."""
    how = how if rules is None else {"auth_type": "hba", "auth_hba_file": "hba.conf"}
    pooler = make_pooler(start=False, settings={"auth_failure_delay": 0, **how, **(settings or {})},
                         **{"databases": {"app": f"{pg.dsn} dbname=app user=bob"}, **kwargs})
    if rules is not None:
        util.write_file(pooler.path("hba.conf"), rules)
    return pooler.start() if start else pooler


def attempt(pooler, user="app", password="wrong", database="app", timeout=30):
    """The fields of the error, or None when it got in."""
    with Wire("127.0.0.1", pooler.port, timeout=timeout * util.PATIENCE) as client:
        try:
            client.login(user, database, password)
        except ServerError as error:
            return error.msg.fields()
    return None


def begin(pooler, user, password, source=None):
    """A login up to the password, which is sent."""
    client = Wire("127.0.0.1", pooler.port, timeout=60 * util.PATIENCE, source=source)
    client.send(startup_packet({"user": user, "database": "app"}))
    asked = client.receive()
    assert (asked.kind, asked.payload) == ("R", b"\0\0\0\3")
    client.send(message("p", cstr(password)))
    return client
