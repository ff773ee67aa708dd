"""The work with Django's ORM (and raw SQL where the line asks for it): psycopg2 under it, a connection per thread.

One third of the clients are as a project with one database is. The others are of two tenants, whose settings come in the three
ways that Django has: options of the connection, its TIME_ZONE and isolation level, and SQL when a connection is new.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import django  # noqa: E402
import psycopg2  # noqa: E402
from django.conf import settings  # noqa: E402
from work import DATABASE, DSN, ROUNDS, at_once, length, say, sql, text, threads  # noqa: E402

DATABASE_SETTINGS = {"ENGINE": "django.db.backends.postgresql", "NAME": DATABASE, "USER": DSN["user"], "HOST": DSN["host"], "PORT": DSN["port"],
                     "CONN_MAX_AGE": 60, "DISABLE_SERVER_SIDE_CURSORS": True}  # as its manual says for transaction pooling
ALIASES = ("default", "one", "two")

settings.configure(
    DATABASES={
        "default": {**DATABASE_SETTINGS, "OPTIONS": {"sslmode": "disable"}},
        "one": {**DATABASE_SETTINGS, "TIME_ZONE": "Asia/Tokyo",
                "OPTIONS": {"sslmode": "disable", "options": "-c search_path=tenant_one,public -c statement_timeout=61s"}},
        "two": {**DATABASE_SETTINGS, "TIME_ZONE": "America/New_York",
                "OPTIONS": {"sslmode": "disable", "isolation_level": psycopg2.extensions.ISOLATION_LEVEL_REPEATABLE_READ}},
    },
    USE_TZ=True, TIME_ZONE="Europe/Berlin", DEFAULT_AUTO_FIELD="django.db.models.AutoField", INSTALLED_APPS=["tenancy"])
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, connections, models, transaction  # noqa: E402
from django.db.backends.signals import connection_created  # noqa: E402
from django.db.models.functions import Concat  # noqa: E402
from tenancy.models import Thing  # noqa: E402

SETTINGS = ("search_path", "TimeZone", "statement_timeout", "role", "default_transaction_isolation")
ROLES = """
DROP SCHEMA IF EXISTS tenant_one CASCADE;
DROP SCHEMA IF EXISTS tenant_two CASCADE;
CREATE SCHEMA tenant_one;
DO 'BEGIN CREATE ROLE tenant_two; EXCEPTION WHEN duplicate_object THEN END';
CREATE SCHEMA tenant_two AUTHORIZATION tenant_two;
GRANT ALL ON work TO tenant_two;
"""


class Work(models.Model):
    """The key has two columns, which is more than this Django knows: update and delete go by filters."""
    client = models.IntegerField(primary_key=True)
    id = models.IntegerField()
    v = models.TextField()

    class Meta:
        app_label = "work"
        db_table = "work"


def be_tenant_two(connection, **_):
    """As projects do that Django gives no assume_role yet."""
    if connection.alias == "two":
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE tenant_two")
            cursor.execute("SET search_path TO %s, public", ("tenant_two",))


def sqlstate(error):
    return getattr(error.__cause__, "sqlstate", None) or error.__cause__.pgcode


def one_round(using, n, i):
    def value(name, *arguments):
        with connections[using].cursor() as cursor:
            cursor.execute(sql(name, n, "%s"), arguments)
            return cursor.fetchone()[0]

    works = Work.objects.using(using)
    mine = works.filter(client=n, id=i)
    works.bulk_create([Work(client=n, id=i, v=text(n, i))])
    say(n, i, "row", mine.values_list("v", flat=True).get())
    say(n, i, "sum", value("SUM", n, i))
    say(n, i, "own", value("OWN", str(i)))
    with transaction.atomic(using):
        mine.select_for_update().get()
        mine.update(v=Concat(models.F("v"), models.Value("!")))
        say(n, i, "tx", mine.get().v)
    try:
        value("DIVIDE", 0)
    except DatabaseError as error:
        say(n, i, "error", sqlstate(error))
    say(n, i, "after", value("DIVIDE", 2))
    try:
        with transaction.atomic(using):
            works.bulk_create([Work(client=n, id=1000 + i, v=text(n, i))])
            works.bulk_create([Work(client=n, id=1000 + i, v=text(n, i))])
    except DatabaseError as error:
        say(n, i, "txerror", sqlstate(error))
    say(n, i, "lost", works.filter(client=n, id__gte=1000).count())
    with connections[using].cursor() as cursor:
        cursor.execute(sql("SERIES", n, "%s"), (100 + i,))
        rows = cursor.fetchall()
    say(n, i, "series", len(rows), sum(row[0] for row in rows))
    say(n, i, "null", value("NULL", None))
    say(n, i, "long", length(value("LONG", f"{n}/{i} " * 1000), f"{n}/{i} " * 1000))
    if i % 4 == 0:
        say(n, "+", i, *show(using))


def show(using):
    with connections[using].cursor() as cursor:
        values = []
        for name in SETTINGS:
            cursor.execute(f"SHOW {name}")
            values.append(cursor.fetchone()[0].replace(" ", "_"))
        cursor.execute("SELECT current_user")
        return [*values, cursor.fetchone()[0]]


def one_tenant(using, n):
    """What is only this tenant's, in transactions that come and go with settings of their own."""
    things = Thing.objects.using(using)
    mine = things.create(client=n, name=f"thing of {n}", at="2024-07-01T12:00:00Z")
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT at::text, price::text FROM tenancy_thing WHERE id = %s", (mine.id,))
        say(n, "+ thing", *cursor.fetchone(), things.get(client=-1).name)
    try:
        with transaction.atomic(using), connections[using].cursor() as cursor:
            cursor.execute("SET statement_timeout = '63s'; RESET ROLE; SET search_path = public")
            say(n, "+ inside", *show(using))
            cursor.execute("SELECT name FROM tenancy_thing")
    except DatabaseError as error:
        say(n, "+ rolled back", sqlstate(error), *show(using))
    with transaction.atomic(using), connections[using].cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        say(n, "+ isolation", cursor.fetchone()[0])
    say(n, "+ again", things.filter(client=n).count(), mine.delete()[0])


def work(n):
    using = ALIASES[n % len(ALIASES)]
    for i in range(1, ROUNDS + 1):
        one_round(using, n, i)
    with transaction.atomic(using):
        try:
            with transaction.atomic(using):  # a savepoint
                Work.objects.using(using).bulk_create([Work(client=n, id=1, v="twice")])
        except DatabaseError as error:
            say(n, "+ savepoint", sqlstate(error), Work.objects.using(using).filter(client=n).count())
    say(n, "+ iterator", sum(len(one.v) for one in Work.objects.using(using).filter(client=n).iterator(chunk_size=5)))
    if using != "default":
        one_tenant(using, n)
    with connections[using].cursor() as cursor:
        cursor.execute(sql("END", n, "%s"), (n,))
        say(n, "end", cursor.fetchone()[0])
    connections[using].close()


def migrate(number):
    """A tenant's tables, and what Django notes of it, are its own; both tenants migrate at the same time."""
    using = ALIASES[1 + number]
    call_command("migrate", database=using, verbosity=0)
    call_command("migrate", database=using, verbosity=0, check_unapplied=True)
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT name FROM django_migrations ORDER BY id")
        names = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT tableowner || ' ' || tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", (f"tenant_{using}",))
        say(number, "+ migrated", *names, *(row[0] for row in cursor.fetchall()))
    connections[using].close()


if __name__ == "__main__":
    with connections["default"].cursor() as setup:
        setup.execute(ROLES)
    connections["default"].close()
    connection_created.connect(be_tenant_two)
    at_once(migrate, 2)
    threads(work)
