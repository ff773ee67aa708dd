"""The work with asyncpg: its cache of statements, statements of one's own, cursors, and pools."""
import asyncio
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import asyncpg  # noqa: E402
from work import CLIENTS, DATABASE, DSN, ROUNDS, length, say, sql, text  # noqa: E402

# Entries of the cache: more than there are statements; fewer, so that some are closed all the time; none, when it is the unnamed
# statement that is parsed in one batch and bound in another.
CACHES = (100, 4, 0)


async def one_round(conn, n, i):
    def value(name, *arguments):
        return conn.fetchval(sql(name, n), *arguments)

    await conn.execute(sql("INSERT"), n, i, text(n, i))
    say(n, i, "row", await value("SELECT", n, i))
    say(n, i, "sum", await value("SUM", n, i))
    say(n, i, "own", await value("OWN", str(i)))
    async with conn.transaction():
        await conn.execute(sql("UPDATE"), n, i)
        say(n, i, "tx", await value("SELECT", n, i))
    divide = await conn.prepare(sql("DIVIDE"))
    try:
        await divide.fetchval(0)
    except asyncpg.PostgresError as error:
        say(n, i, "error", error.sqlstate)
    say(n, i, "after", await divide.fetchval(2))
    try:
        async with conn.transaction():
            for _ in range(2):
                await conn.execute(sql("INSERT"), n, 1000 + i, text(n, i))
    except asyncpg.PostgresError as error:
        say(n, i, "txerror", error.sqlstate)
    say(n, i, "lost", await value("COUNT", n, 1000))
    async with conn.transaction():
        rows = [row[0] async for row in conn.cursor(sql("SERIES"), 100 + i, prefetch=17)]
    say(n, i, "series", len(rows), sum(rows))
    say(n, i, "null", await value("NULL", None))
    say(n, i, "long", length(await value("LONG", f"{n}/{i} " * 1000), f"{n}/{i} " * 1000))


async def beyond(conn, n):
    await conn.executemany(sql("INSERT"), [(n, 2000 + i, f"many {i}") for i in range(50)])
    await conn.copy_records_to_table("work", records=[(n, 3000 + i, f"copied {n}") for i in range(50)])
    say(n, "+ many", await conn.fetchval(sql("COUNT"), n, 2000))
    await conn.execute("DELETE FROM work WHERE client = $1 AND id >= 2000", n)
    async with conn.transaction():
        try:
            async with conn.transaction():
                await conn.fetchval(sql("DIVIDE"), 0)
        except asyncpg.PostgresError as error:
            say(n, "+ savepoint", error.sqlstate, await conn.fetchval(sql("OWN", n), "goes on"))
    say(n, "+ types", *await conn.fetchrow("SELECT $1::int8, $2::bytea, $3::numeric, $4::int[]", n << 33, b"\0" * n, n, [n, None]))


async def work(n):
    conn = await asyncpg.connect(**DSN, database=DATABASE, ssl=False, timeout=30, statement_cache_size=CACHES[n % len(CACHES)])
    for i in range(1, ROUNDS + 1):
        await one_round(conn, n, i)
        if i % 4 == 0:
            await conn.reload_schema_state()  # closes what is in the cache
    await beyond(conn, n)
    say(n, "end", await conn.fetchval(sql("END"), n))
    await conn.close()


async def main():
    await asyncio.gather(*(work(n) for n in range(CLIENTS)))
    # a pool resets a connection (by SQL) before the next one gets it
    async with asyncpg.create_pool(**DSN, database=DATABASE, ssl=False, min_size=4, max_size=4) as pool:
        async def turn(n):
            return [await pool.fetchval(sql("OWN", n), f"pool {i}") for i in range(10)]

        for n, values in enumerate(await asyncio.gather(*(turn(n) for n in range(CLIENTS)))):
            say(n, "+ pool", *values)


if __name__ == "__main__":
    asyncio.run(main())
