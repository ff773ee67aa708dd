"""The work with SQLAlchemy's core over the driver in SQLALCHEMY_DRIVER: asyncio with asyncpg or psycopg, threads with psycopg2."""
import asyncio
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import sqlalchemy  # noqa: E402
from sqlalchemy import Column, Integer, MetaData, Table, Text, func, select  # noqa: E402
from work import CLIENTS, DATABASE, DSN, ROUNDS, length, say, sql, text, threads  # noqa: E402

DRIVER = os.environ["SQLALCHEMY_DRIVER"]
URL = f"postgresql+{DRIVER}://{DSN['user']}@{DSN['host']}:{DSN['port']}/{DATABASE}"
TABLE = Table("work", MetaData(), Column("client", Integer, primary_key=True), Column("id", Integer, primary_key=True), Column("v", Text))


def statement(name, n, values):
    """A text with its parameters as :p1, :p2; casts as functions, since :: would look like a parameter."""
    return sqlalchemy.text(sql(name, n).replace("$1::int", "CAST(:p1 AS int)").replace("$2::int", "CAST(:p2 AS int)")
                           .replace("$1::text", "CAST(:p1 AS text)")), {f"p{k + 1}": value for k, value in enumerate(values)}


def sqlstate(error):
    cause = error.orig
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def one_round(conn, n, i):
    def value(name, *values):
        return conn.execute(*statement(name, n, values)).scalar()

    mine = (TABLE.c.client == n) & (TABLE.c.id == i)
    with conn.begin():
        conn.execute(TABLE.insert().values(client=n, id=i, v=text(n, i)))
        say(n, i, "row", conn.execute(select(TABLE.c.v).where(mine)).scalar())
    with conn.begin():
        say(n, i, "sum", value("SUM", n, i))
    with conn.begin():
        say(n, i, "own", value("OWN", str(i)))
    with conn.begin():
        conn.execute(TABLE.update().where(mine).values(v=TABLE.c.v + "!"))
        say(n, i, "tx", conn.execute(select(TABLE.c.v).where(mine)).scalar())
    try:
        with conn.begin():
            value("DIVIDE", 0)
    except sqlalchemy.exc.DBAPIError as error:
        say(n, i, "error", sqlstate(error))
    with conn.begin():
        say(n, i, "after", value("DIVIDE", 2))
    try:
        with conn.begin():
            for _ in range(2):
                conn.execute(TABLE.insert().values(client=n, id=1000 + i, v=text(n, i)))
    except sqlalchemy.exc.DBAPIError as error:
        say(n, i, "txerror", sqlstate(error))
    with conn.begin():
        say(n, i, "lost", conn.execute(select(func.count()).where((TABLE.c.client == n) & (TABLE.c.id >= 1000))).scalar())
    with conn.begin():
        rows = conn.execute(*statement("SERIES", n, (100 + i,))).fetchall()
        say(n, i, "series", len(rows), sum(row[0] for row in rows))
    with conn.begin():
        say(n, i, "null", value("NULL", None))
        say(n, i, "long", length(value("LONG", f"{n}/{i} " * 1000), f"{n}/{i} " * 1000))


def rounds(conn, n):
    for i in range(1, ROUNDS + 1):
        one_round(conn, n, i)
    with conn.begin():
        conn.execute(TABLE.insert(), [{"client": n, "id": 2000 + k, "v": f"many {k}"} for k in range(40)])
        say(n, "+ many", conn.execute(select(func.count()).where((TABLE.c.client == n) & (TABLE.c.id >= 2000))).scalar())
        try:
            with conn.begin_nested():
                conn.execute(TABLE.insert().values(client=n, id=1, v="twice"))
        except sqlalchemy.exc.IntegrityError as error:
            say(n, "+ savepoint", sqlstate(error))
        conn.execute(TABLE.delete().where((TABLE.c.client == n) & (TABLE.c.id >= 2000)))
    with conn.begin():
        say(n, "end", conn.execute(*statement("END", n, (n,))).scalar())


def with_threads():
    engine = sqlalchemy.create_engine(URL, connect_args={"sslmode": "disable"}, pool_size=CLIENTS, use_native_hstore=False)

    def work(n):
        with engine.connect() as conn:
            rounds(conn, n)

    threads(work)


async def with_asyncio():
    from sqlalchemy.ext.asyncio import create_async_engine
    ssl = {"ssl": False} if DRIVER == "asyncpg" else {"sslmode": "disable"}
    engine = create_async_engine(URL, connect_args=ssl, pool_size=CLIENTS)

    async def work(n):
        async with engine.connect() as conn:
            await conn.run_sync(rounds, n)

    await asyncio.gather(*(work(n) for n in range(CLIENTS)))
    await engine.dispose()


if __name__ == "__main__":
    if DRIVER == "psycopg2":
        with_threads()
    else:
        asyncio.run(with_asyncio())
