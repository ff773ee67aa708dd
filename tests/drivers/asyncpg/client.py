"""The work with asyncpg: its cache of statements, statements of one's own, cursors, and pools."""
import asyncio
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import asyncpg  # noqa: E402
from work import CLIENTS, DATABASE, DSN, ROUNDS, heard, length, news, say, sql, text  # noqa: E402

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


class Meeting:
    """Nobody goes on before all have come."""

    def __init__(self):
        self.count, self.all = 0, asyncio.Event()

    async def wait(self):
        self.count += 1
        if self.count == CLIENTS:
            self.all.set()
        await asyncio.wait_for(self.all.wait(), 300)


async def listen(conn, n, all_listen, all_told):
    """News from others, all, in order and by whom, while it says something else or nothing; none after a rollback or UNLISTEN."""
    came, end, pid = [], asyncio.Event(), conn.get_server_pid()

    def hear(_, by, __, payload):
        came.append((by, payload))
        if payload == f"{n} end {pid}":
            end.set()

    async def tell(channel, what):
        await conn.execute("SELECT pg_notify($1, $2)", channel, f"{n} {what} {pid}")

    async def read_to_the_end():
        await asyncio.wait_for(end.wait(), 120)
        end.clear()
        return heard(came)

    rolled_back = conn.transaction()
    await rolled_back.start()
    await conn.execute(f"LISTEN rolled_back_{n}")
    await rolled_back.rollback()
    await conn.add_listener(f"own_{n}", hear)
    await conn.add_listener(f"aside_{n}", hear)
    await conn.add_listener(news(n), hear)
    await tell(f"aside_{n}", "aside")
    await all_listen.wait()
    for i in range(3):
        await tell(news(n + 1), i)
    async with conn.transaction():
        await tell(news(n + 1), 3)
        await tell(news(n + 1), 4)
    rolled_back = conn.transaction()
    await rolled_back.start()
    await tell(news(n + 1), "rolled back")
    await rolled_back.rollback()
    await conn.execute(f"NOTIFY {news(n + 1)}, '{n} 5 {pid}'")
    await all_told.wait()
    await tell(f"own_{n}", "end")
    say(n, "+ heard", await read_to_the_end())
    came.clear()
    await conn.execute(f"UNLISTEN aside_{n}")
    await tell(f"aside_{n}", "late")
    await tell(f"rolled_back_{n}", "rolled back")
    await tell(f"own_{n}", "end")
    say(n, "+ heard after UNLISTEN", await read_to_the_end())
    await conn.remove_listener(f"own_{n}", hear)
    await conn.reset()  # as a pool does; UNLISTEN * is a part of it


async def work(n, *meetings):
    conn = await asyncpg.connect(**DSN, database=DATABASE, ssl=False, timeout=30, statement_cache_size=CACHES[n % len(CACHES)])
    for i in range(1, ROUNDS + 1):
        await one_round(conn, n, i)
        if i % 4 == 0:
            await conn.reload_schema_state()  # closes what is in the cache
    await beyond(conn, n)
    await listen(conn, n, *meetings)
    say(n, "end", await conn.fetchval(sql("END"), n))
    await conn.close()


async def main():
    meetings = Meeting(), Meeting()
    await asyncio.gather(*(work(n, *meetings) for n in range(CLIENTS)))
    # a pool resets a connection (by SQL) before the next one gets it
    async with asyncpg.create_pool(**DSN, database=DATABASE, ssl=False, min_size=4, max_size=4) as pool:
        async def turn(n):
            return [await pool.fetchval(sql("OWN", n), f"pool {i}") for i in range(10)]

        for n, values in enumerate(await asyncio.gather(*(turn(n) for n in range(CLIENTS)))):
            say(n, "+ pool", *values)


if __name__ == "__main__":
    asyncio.run(main())
