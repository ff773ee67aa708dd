"""A hundred thousand cancel requests against short queries: nobody is hit who has not asked for it."""
import time

import pytest

from harness.race import CancelRace
from harness.util import PATIENCE, wait_until

pytestmark = pytest.mark.own

CANCEL_FIGURES = ("cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel", "sv_being_canceled")


def race(make_pooler, requests, timeout, **settings):
    # without TLS to servers requests are quick enough to strike in the middle of a query
    pooler = make_pooler(settings={"default_pool_size": 14, "server_tls_sslmode": "disable", "log_disconnections": 0, **settings})
    began = time.monotonic()
    done = CancelRace(pooler.port, pooler.directory).run(requests, requests // 100 + 1, timeout * PATIENCE)
    print(f"{done.requests} requests in {time.monotonic() - began:.1f} s: {done.served} queries served, {done.cancelled} cancelled")
    assert not done.problems, done.problems[:5]
    assert done.requests >= requests
    # some of each, or nothing was raced
    assert done.cancelled > requests / 100 and done.served > requests / 100
    # who asked may have heard of the end a moment before the server's worker does
    wait_until(lambda: not any(pooler.pool()[key] for key in CANCEL_FIGURES), "no request and no server that waits for one")


@pytest.mark.parametrize("settings", [{}, {"default_pool_size": 3}, {"pool_mode": "session", "default_pool_size": 20},
                                      {"server_tls_sslmode": "require"}], ids=["", "busy", "session", "tls"])
def test_thousands(make_pooler, settings):
    race(make_pooler, 2500, 100, **settings)


@pytest.mark.sanitizer
def test_hundreds(make_pooler):
    race(make_pooler, 500, 60)


@pytest.mark.slow
@pytest.mark.timeout(400 * max(1, PATIENCE))
def test_hundred_thousand(make_pooler):
    race(make_pooler, 100000, 300)
