"""The work with Django's ORM (and raw SQL where the line asks for it): psycopg2 under it, a connection per thread."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import django  # noqa: E402
from django.conf import settings  # noqa: E402
from work import DATABASE, DSN, ROUNDS, length, say, sql, text, threads  # noqa: E402

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": DATABASE, "USER": DSN["user"], "HOST": DSN["host"],
                           "PORT": DSN["port"], "OPTIONS": {"sslmode": "disable"}, "CONN_MAX_AGE": 60,
                           "DISABLE_SERVER_SIDE_CURSORS": True}},  # as its manual says for transaction pooling
    USE_TZ=True, TIME_ZONE="Europe/Berlin", DEFAULT_AUTO_FIELD="django.db.models.AutoField")
django.setup()

from django.db import DatabaseError, connection, models, transaction  # noqa: E402
from django.db.models.functions import Concat  # noqa: E402


class Work(models.Model):
    """The key has two columns, which is more than this Django knows: update and delete go by filters."""
    client = models.IntegerField(primary_key=True)
    id = models.IntegerField()
    v = models.TextField()

    class Meta:
        app_label = "work"
        db_table = "work"


def sqlstate(error):
    return getattr(error.__cause__, "sqlstate", None) or error.__cause__.pgcode


def one_round(n, i):
    def value(name, *arguments):
        with connection.cursor() as cursor:
            cursor.execute(sql(name, n, "%s"), arguments)
            return cursor.fetchone()[0]

    mine = Work.objects.filter(client=n, id=i)
    Work.objects.bulk_create([Work(client=n, id=i, v=text(n, i))])
    say(n, i, "row", mine.values_list("v", flat=True).get())
    say(n, i, "sum", value("SUM", n, i))
    say(n, i, "own", value("OWN", str(i)))
    with transaction.atomic():
        mine.select_for_update().get()
        mine.update(v=Concat(models.F("v"), models.Value("!")))
        say(n, i, "tx", mine.get().v)
    try:
        value("DIVIDE", 0)
    except DatabaseError as error:
        say(n, i, "error", sqlstate(error))
    say(n, i, "after", value("DIVIDE", 2))
    try:
        with transaction.atomic():
            Work.objects.bulk_create([Work(client=n, id=1000 + i, v=text(n, i))])
            Work.objects.bulk_create([Work(client=n, id=1000 + i, v=text(n, i))])
    except DatabaseError as error:
        say(n, i, "txerror", sqlstate(error))
    say(n, i, "lost", Work.objects.filter(client=n, id__gte=1000).count())
    with connection.cursor() as cursor:
        cursor.execute(sql("SERIES", n, "%s"), (100 + i,))
        rows = cursor.fetchall()
    say(n, i, "series", len(rows), sum(row[0] for row in rows))
    say(n, i, "null", value("NULL", None))
    say(n, i, "long", length(value("LONG", f"{n}/{i} " * 1000), f"{n}/{i} " * 1000))


def work(n):
    for i in range(1, ROUNDS + 1):
        one_round(n, i)
    with transaction.atomic():
        try:
            with transaction.atomic():  # a savepoint
                Work.objects.bulk_create([Work(client=n, id=1, v="twice")])
        except DatabaseError as error:
            say(n, "+ savepoint", sqlstate(error), Work.objects.filter(client=n).count())
    say(n, "+ iterator", sum(len(one.v) for one in Work.objects.filter(client=n).iterator(chunk_size=5)))
    with connection.cursor() as cursor:
        cursor.execute("SHOW TimeZone")
        say(n, "+ zone", cursor.fetchone()[0])
        cursor.execute(sql("END", n, "%s"), (n,))
        say(n, "end", cursor.fetchone()[0])
    connection.close()


if __name__ == "__main__":
    threads(work)
