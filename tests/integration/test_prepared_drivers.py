"""Drivers that prepare, 20 clients on two servers: right values, and statements that are used again."""
import asyncio
import os
import shutil
import subprocess
import threading

import pytest

from harness import util

pytestmark = pytest.mark.own

CLIENTS = 20
ROUNDS = 30


@pytest.fixture
def pooler(make_pooler):
    return make_pooler(settings={"default_pool_size": 2})


def hit_rate(pooler):
    totals = {row["name"]: int(row["value"]) for row in pooler.show("TOTALS")}
    assert totals["total_ps_bind_count"] > 0
    return 1 - totals["total_ps_server_parse_count"] / totals["total_ps_bind_count"]


@pytest.mark.sanitizer
def test_psycopg(pooler):
    """prepare_threshold = 0: everything is prepared at once, transactions included."""
    wrong = []

    def work(number):
        try:
            with pooler.connect() as conn:
                conn.prepare_threshold = 0
                for i in range(ROUNDS):
                    assert conn.execute("SELECT %s::int * 10 + %s::int", (number, i)).fetchone() == (number * 10 + i,)
                    assert conn.execute("SELECT %s::text || 'x'", (f"{number}",)).fetchone() == (f"{number}x",)
                    with conn.transaction():
                        assert conn.execute("SELECT %s::int + 1", (i,)).fetchone() == (i + 1,)
                        assert conn.execute(f"SELECT {number % 3} + %s::int", (i,)).fetchone() == (number % 3 + i,)
        except Exception as error:  # pylint: disable=broad-except
            wrong.append(f"client {number}: {error!r}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(pooler.servers()) == 2
    assert hit_rate(pooler) > 0.95


def test_psycopg_pipeline(pooler):
    with pooler.connect() as conn:
        conn.prepare_threshold = 0
        for _ in range(3):
            with conn.pipeline():
                cursors = [conn.execute("SELECT %s::int + 1", (i,)) for i in range(50)]
                assert [cursor.fetchone() for cursor in cursors] == [(i + 1,) for i in range(50)]


def test_asyncpg(pooler):
    asyncpg = pytest.importorskip("asyncpg")

    async def work(number):
        conn = await asyncpg.connect(host="127.0.0.1", port=pooler.port, user="app", database="app", ssl=False)
        for i in range(ROUNDS):
            assert await conn.fetchval("SELECT $1::int * 10 + $2::int", number, i) == number * 10 + i
            assert [r[0] for r in await conn.fetch("SELECT generate_series(1, $1::int)", i % 5)] == list(range(1, i % 5 + 1))
            async with conn.transaction():
                assert await conn.fetchval("SELECT $1::text || 'x'", f"{i}") == f"{i}x"
                assert [r[0] async for r in conn.cursor("SELECT generate_series(1, $1::int)", 120)] == list(range(1, 121))
            with pytest.raises(asyncpg.DivisionByZeroError):
                await conn.fetchval("SELECT 1 / $1::int", 0)
        await conn.close()

    async def main():
        await asyncio.gather(*(work(number) for number in range(CLIENTS)))

    asyncio.run(asyncio.wait_for(main(), 120))
    assert len(pooler.servers()) == 2
    assert hit_rate(pooler) > 0.9


SCRIPT = r"""\set a random(1, 1000)
SELECT :a::int + 1 AS sum \gset
\if :sum != :a + 1
SELECT 1/0;
\endif
BEGIN;
SELECT :a::int * 2 AS double \gset
END;
\if :double != :a * 2
SELECT 1/0;
\endif
"""


def pgbench(pooler, script, *arguments):
    """A thread for each client, since pgbench waits for the answer to a Parse while its thread's other clients hold servers."""
    program = shutil.which("pgbench") or os.path.join(pooler.postgres.bin, "pgbench")
    path = util.write_file(pooler.path("script.sql"), script)
    done = subprocess.run([program, "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", str(CLIENTS), "-f", path, *arguments, "-h", "127.0.0.1",
                           "-p", str(pooler.port), "-U", "app", "app"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "number of failed transactions: 0" in done.stdout and "ERROR" not in done.stderr, done.stderr
    return done.stdout


def test_pgbench(pooler):
    if not os.access(os.path.join(pooler.postgres.bin, "pgbench"), os.X_OK) and not shutil.which("pgbench"):
        pytest.skip("no pgbench")
    out = pgbench(pooler, SCRIPT, "-t", "50")
    assert f"number of transactions actually processed: {CLIENTS * 50}/{CLIENTS * 50}" in out
    assert len(pooler.servers()) == 2
    assert hit_rate(pooler) > 0.98


def test_pgbench_pipeline(pooler):
    if not os.access(os.path.join(pooler.postgres.bin, "pgbench"), os.X_OK) and not shutil.which("pgbench"):
        pytest.skip("no pgbench")
    pgbench(pooler, "\\startpipeline\nSELECT 1;\nSELECT 2;\nSELECT 3;\n\\endpipeline\n", "-t", "50")
    assert hit_rate(pooler) > 0.9
