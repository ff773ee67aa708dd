"""The work with psycopg 3: statements prepared at once or after five uses; pipelines, COPY and cursors beside it."""
import os
import select
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import psycopg  # noqa: E402
from work import CLIENTS, DATABASE, DSN, ROUNDS, heard, length, news, say, sql, text, threads  # noqa: E402

all_listen, all_told = threading.Barrier(CLIENTS), threading.Barrier(CLIENTS)


def one_round(conn, n, i):
    def value(name, *arguments):
        return conn.execute(sql(name, n, "%s"), arguments, binary=i % 2 == 0).fetchone()[0]

    conn.execute(sql("INSERT", n, "%s"), (n, i, text(n, i)))
    say(n, i, "row", value("SELECT", n, i))
    say(n, i, "sum", value("SUM", n, i))
    say(n, i, "own", value("OWN", str(i)))
    with conn.transaction():
        conn.execute(sql("UPDATE", n, "%s"), (n, i))
        say(n, i, "tx", value("SELECT", n, i))
    try:
        value("DIVIDE", 0)
    except psycopg.Error as error:
        say(n, i, "error", error.sqlstate)
    say(n, i, "after", value("DIVIDE", 2))
    try:
        with conn.transaction():
            for _ in range(2):
                conn.execute(sql("INSERT", n, "%s"), (n, 1000 + i, text(n, i)))
    except psycopg.Error as error:
        say(n, i, "txerror", error.sqlstate)
    say(n, i, "lost", value("COUNT", n, 1000))
    rows = conn.execute(sql("SERIES", n, "%s"), (100 + i,)).fetchall()
    say(n, i, "series", len(rows), sum(row[0] for row in rows))
    say(n, i, "null", value("NULL", None))
    say(n, i, "long", length(value("LONG", f"{n}/{i} " * 1000), f"{n}/{i} " * 1000))


def with_pipeline(conn, n):
    with conn.pipeline():
        with conn.transaction():
            cursors = [conn.execute(sql("SUM", n, "%s"), (n, i)) for i in range(50)]
            own = conn.execute(sql("OWN", n, "%s"), ("in a pipeline",))
        say(n, "+ pipeline", sum(cursor.fetchone()[0] for cursor in cursors), own.fetchone()[0])
    for turn in range(2):
        try:
            with conn.pipeline() as pipeline:
                conn.execute(sql("SUM", n, "%s"), (n, turn))
                conn.execute(sql("DIVIDE", n, "%s"), (0,))
                conn.execute(sql("OWN", n, "%s"), ("skipped",))
                pipeline.sync()
        except psycopg.Error as error:
            say(n, "+ pipeline error", error.sqlstate)
    say(n, "+ pipeline after", conn.execute(sql("OWN", n, "%s"), ("an error",)).fetchone()[0])


def with_copy_and_cursors(conn, n):
    with conn.transaction(), conn.cursor() as cursor:
        with cursor.copy("COPY work FROM STDIN") as copy:
            for i in range(200):
                copy.write_row((n, 2000 + i, f"copied {n} {i}"))
    with conn.transaction(), conn.cursor("named") as cursor:
        cursor.itersize = 17
        cursor.execute(f"SELECT v FROM work WHERE client = {n} AND id >= 2000 ORDER BY id")
        values = [row[0] for row in cursor]
        say(n, "+ cursor", len(values), values == [f"copied {n} {i}" for i in range(200)])
    with conn.transaction(), conn.cursor() as cursor:
        with cursor.copy(f"COPY (SELECT v FROM work WHERE client = {n} AND id = 2007) TO STDOUT") as copy:
            say(n, "+ copied", b"".join(bytes(piece) for piece in copy).decode().strip())
        cursor.execute("DELETE FROM work WHERE client = %s AND id >= %s", (n, 2000))
        cursor.executemany(sql("INSERT", n, "%s"), [(n, 3000 + i, "many") for i in range(30)])
        say(n, "+ many", conn.execute(sql("COUNT", n, "%s"), (n, 3000)).fetchone()[0])
        cursor.execute("DELETE FROM work WHERE client = %s AND id >= %s", (n, 3000))


def listen(conn, n):
    """News from others, all, in order and by whom, while it says something else or nothing; none after a rollback or UNLISTEN."""
    came = []
    conn.add_notify_handler(lambda notify: came.append((notify.pid, notify.payload)))
    pid = conn.info.backend_pid
    end = (pid, f"{n} end {pid}")

    def tell(channel, what):
        conn.execute("SELECT pg_notify(%s, %s)", (channel, f"{n} {what} {pid}"))

    def read_to_the_end():
        while end not in came:
            assert select.select([conn], [], [], 120)[0], f"client {n} has heard {came}"
            conn.pgconn.consume_input()
            while (notify := conn.pgconn.notifies()) is not None:
                came.append((notify.be_pid, notify.extra.decode()))
        return heard(came)

    with conn.transaction(force_rollback=True):
        conn.execute(f"LISTEN rolled_back_{n}")
    conn.execute(f"LISTEN own_{n}")
    conn.execute(f"LISTEN aside_{n}")
    conn.execute(f"LISTEN {news(n)}")
    tell(f"aside_{n}", "aside")
    all_listen.wait(300)
    for i in range(3):
        tell(news(n + 1), i)
    with conn.transaction():
        tell(news(n + 1), 3)
        tell(news(n + 1), 4)
    with conn.transaction(force_rollback=True):
        tell(news(n + 1), "rolled back")
    conn.execute(f"NOTIFY {news(n + 1)}, '{n} 5 {pid}'")
    all_told.wait(300)
    tell(f"own_{n}", "end")
    say(n, "+ heard", read_to_the_end())
    came.clear()
    conn.execute(f"UNLISTEN aside_{n}")
    tell(f"aside_{n}", "late")
    tell(f"rolled_back_{n}", "rolled back")
    tell(f"own_{n}", "end")
    say(n, "+ heard after UNLISTEN", read_to_the_end())
    conn.execute("UNLISTEN *")


def work(n):
    try:
        session(n)
    except BaseException:
        all_listen.abort()  # nobody waits for one that has failed
        all_told.abort()
        raise


def session(n):
    with psycopg.connect(**DSN, dbname=DATABASE, autocommit=True) as conn:
        conn.prepare_threshold = n % 3 * 5 or 1  # 1, 5, 10; 5 is psycopg's own
        conn.prepared_max = 100 if n % 2 else 3  # with 3, the oldest is deallocated, by SQL
        for i in range(1, ROUNDS + 1):
            one_round(conn, n, i)
            if i % 4 == 0:  # by itself it says DEALLOCATE ALL after each ROLLBACK
                conn.prepare_threshold = 0
        with_copy_and_cursors(conn, n)
        if psycopg.Pipeline.is_supported():
            with_pipeline(conn, n)
        listen(conn, n)
        say(n, "end", conn.execute(sql("END", n, "%s"), (n,)).fetchone()[0])


if __name__ == "__main__":
    threads(work)
