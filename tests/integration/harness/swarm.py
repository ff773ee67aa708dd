"""Many clients at once on asyncio, each of which checks that every answer it gets is its own."""
import asyncio
import struct

from . import wire


class Swarm:
    """count clients that each run `rounds` of work(client, number, round); collects refusals and mix-ups."""

    def __init__(self, port, count, rounds, user="app", database="app", think=0.0, extended=False, transactions=False):
        self.port, self.count, self.rounds = port, count, rounds
        self.user, self.database, self.think = user, database, think
        self.extended, self.transactions = extended, transactions
        self.errors, self.answers = [], 0
        self.connected = 0

    def run(self, timeout=60):
        asyncio.run(asyncio.wait_for(self._all(), timeout))
        return self

    async def _all(self):
        await asyncio.gather(*(self._guarded(n) for n in range(self.count)))

    async def _guarded(self, number):
        try:
            await self._client(number)
        except Exception as error:  # every failure of every client is a finding
            self.errors.append(f"client {number}: {type(error).__name__} {error}")

    async def _client(self, number):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(wire.startup_packet({"user": self.user, "database": self.database}))
            await self._until_ready(reader)
            self.connected += 1
            for turn in range(self.rounds):
                await self._ask(reader, writer, f"client {number} turn {turn}")
                if self.think:
                    await asyncio.sleep(self.think)
            writer.write(wire.terminate())
        finally:
            writer.close()

    async def _ask(self, reader, writer, token):
        if self.transactions:
            writer.write(wire.query("BEGIN"))
            await self._until_ready(reader)
        if self.extended:
            writer.write(wire.simple_extended("SELECT $1::text", [token]) + wire.sync())
        else:
            writer.write(wire.query(f"SELECT '{token}'"))
        rows = await self._until_ready(reader)
        if rows != [[token]]:
            raise AssertionError(f"asked for {token!r} and got {rows!r}")
        if self.transactions:
            writer.write(wire.query("COMMIT"))
            await self._until_ready(reader)
        self.answers += 1

    @staticmethod
    async def _until_ready(reader):
        rows = []
        while True:
            head = await reader.readexactly(5)
            kind, size = chr(head[0]), struct.unpack("!I", head[1:])[0] - 4
            payload = await reader.readexactly(size) if size else b""
            if kind == "Z":
                return rows
            if kind == "E":
                msg = wire.Msg(kind, payload)
                raise AssertionError(f"{msg.sqlstate}: {msg.text}")
            if kind == "D":
                rows.append(wire.Msg(kind, payload).row())
