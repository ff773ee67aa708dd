"""Clients at work in the background, for tests that do something to the pooler meanwhile."""
import threading

from .util import PATIENCE, wait_until


class Load:
    """Clients that ask all the time, in the background; every wrong answer and every error is kept."""

    first_answers = 20  # before the test goes on

    def __init__(self, pooler, count=6, **login):
        self.pooler, self.login = pooler, login
        self.answers, self.errors, self.working = 0, [], set()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._work, args=(n,)) for n in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        # every client: one that is still in its login meets an order in another way than one that works
        wait_until(lambda: self.answers > self.first_answers and len(self.working) == len(self.threads) or self.errors, "the load to run")
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        for thread in self.threads:
            thread.join(20 * PATIENCE)

    def _work(self, number):
        try:
            self._ask_on(number)
        except Exception as error:  # noqa: BLE001  the test looks at them
            self.errors.append(repr(error))

    def _ask_on(self, number):
        with self._come() as client:
            turn = 0
            while not self.stopping.is_set():
                turn += 1
                self._ask(client, number, turn)

    def _come(self):
        return self.pooler.wire(timeout=30, **self.login)

    def _ask(self, client, number, turn):
        answer = client.value(f"SELECT 'c{number}t{turn}'")
        assert answer == f"c{number}t{turn}", answer
        self.answers += 1
        self.working.add(number)

    def more(self, count=30):
        """Waits for this many further answers."""
        target = self.answers + count
        wait_until(lambda: self.answers >= target or self.errors, "more answers", 20)


class Visitors(Load):
    """Clients that log in, ask once and go, over and over."""

    first_answers = 2

    def _ask_on(self, number):
        turn = 0
        while not self.stopping.is_set():
            turn += 1
            with self._come() as client:
                self._ask(client, number, turn)
                client.goodbye()
