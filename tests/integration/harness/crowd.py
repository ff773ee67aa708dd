"""Clients that ask the same again and again in the background, while a test looks at something else."""
import asyncio
import collections
import threading

from . import wire
from .swarm import Swarm
from .util import PATIENCE


class Crowd:
    """with Crowd(port) as crowd: crowd.add("app", "app", 3, "SELECT pg_sleep(0.01)"); ...; crowd.answers[("app", "app")]

    At the end each client finishes its query; errors that clients got are in .errors."""

    def __init__(self, port):
        self.port = port
        self.answers = collections.Counter()  # by (user, database)
        self.errors = []
        self._is_over = False
        self._tasks = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self.stop()

    def add(self, user, database, count, sql):
        for _ in range(count):
            self._tasks.append(asyncio.run_coroutine_threadsafe(self._client(user, database, sql), self._loop))

    def stop(self):
        self._is_over = True
        for task in self._tasks:
            task.result(60 * PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def total(self):
        return sum(self.answers.values())

    async def _client(self, user, database, sql):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(wire.startup_packet({"user": user, "database": database}))
                await Swarm._until_ready(reader)
                while not self._is_over:
                    writer.write(wire.query(sql))
                    await Swarm._until_ready(reader)
                    self.answers[(user, database)] += 1
                writer.write(wire.terminate())
            finally:
                writer.close()
        except Exception as error:  # every failure of every client is a finding
            self.errors.append(f"{user}@{database}: {type(error).__name__} {error}")
