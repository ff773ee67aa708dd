"""The work with psycopg2, which sends text: transactions, COPY both ways, named cursors, errors."""
import io
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import psycopg2  # noqa: E402
from work import DATABASE, DSN, ROUNDS, length, say, sql, text, threads  # noqa: E402


def one_round(conn, n, i):
    cursor = conn.cursor()

    def value(name, *arguments):
        cursor.execute(sql(name, n, "%s"), arguments)
        return cursor.fetchone()[0]

    cursor.execute(sql("INSERT", n, "%s"), (n, i, text(n, i)))
    say(n, i, "row", value("SELECT", n, i))
    conn.commit()
    say(n, i, "sum", value("SUM", n, i))
    conn.commit()
    say(n, i, "own", value("OWN", str(i)))
    conn.commit()
    with conn:
        cursor.execute(sql("UPDATE", n, "%s"), (n, i))
        say(n, i, "tx", value("SELECT", n, i))
    try:
        with conn:
            value("DIVIDE", 0)
    except psycopg2.Error as error:
        say(n, i, "error", error.pgcode)
    say(n, i, "after", value("DIVIDE", 2))
    conn.rollback()
    try:
        with conn:
            for _ in range(2):
                cursor.execute(sql("INSERT", n, "%s"), (n, 1000 + i, text(n, i)))
    except psycopg2.Error as error:
        say(n, i, "txerror", error.pgcode)
    say(n, i, "lost", value("COUNT", n, 1000))
    with conn.cursor("named") as named:
        named.itersize = 17
        named.execute(sql("SERIES", n, "%s"), (100 + i,))
        rows = list(named)
    say(n, i, "series", len(rows), sum(row[0] for row in rows))
    conn.commit()
    say(n, i, "null", value("NULL", None))
    say(n, i, "long", length(value("LONG", f"{n}/{i} " * 1000), f"{n}/{i} " * 1000))
    conn.commit()


def with_copy(conn, n):
    with conn, conn.cursor() as cursor:
        cursor.copy_expert("COPY work FROM STDIN", io.StringIO("".join(f"{n}\t{2000 + i}\tcopied {n} {i}\n" for i in range(200))))
    with conn, conn.cursor() as cursor:
        out = io.StringIO()
        cursor.copy_expert(f"COPY (SELECT v FROM work WHERE client = {n} AND id >= 2198 ORDER BY id) TO STDOUT", out)
        say(n, "+ copied", out.getvalue().replace("\n", "; "))
        cursor.execute("DELETE FROM work WHERE client = %s AND id >= 2000", (n,))
        cursor.execute("SELECT %s::int8, %s::bytea", (n << 33, b"\0\1" * n))
        number, raw = cursor.fetchone()
        say(n, "+ types", number, bytes(raw).hex())
        cursor.execute("SHOW application_name")
        say(n, "+ name", cursor.fetchone()[0])


def with_prepare(conn, n):
    """Statements prepared by SQL, under one name in all clients."""
    conn.autocommit = True
    cursor = conn.cursor()
    for i in range(3):
        cursor.execute("PREPARE own (text, int) AS " + sql("OWN", n) + " || ':' || $2")
        values = []
        for k in range(5):
            cursor.execute("EXECUTE own (%s, %s)", (f"it's {i}", k))
            values.append(cursor.fetchone()[0])
        say(n, "+ prepared", *values)
        try:
            cursor.execute("PREPARE own AS SELECT 1")
        except psycopg2.Error as error:
            say(n, "+ twice", error.pgcode)
        cursor.execute("DEALLOCATE own")
        try:
            cursor.execute("EXECUTE own ('gone', 0)")
        except psycopg2.Error as error:
            say(n, "+ gone", error.pgcode)
    conn.autocommit = False


def work(n):
    conn = psycopg2.connect(**DSN, dbname=DATABASE, application_name=f"client {n}")
    for i in range(1, ROUNDS + 1):
        one_round(conn, n, i)
    with_copy(conn, n)
    with_prepare(conn, n)
    with conn, conn.cursor() as cursor:
        cursor.execute(sql("END", n, "%s"), (n,))
        say(n, "end", cursor.fetchone()[0])
    conn.close()


if __name__ == "__main__":
    threads(work)
