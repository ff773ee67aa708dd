"""Fixtures: PostgreSQL once per session (and xdist worker), a pooler per test."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from harness import pooler as pooler_module  # noqa: E402
from harness import util  # noqa: E402
from harness.certs import Certificates  # noqa: E402
from harness.fakeserver import FakeServer  # noqa: E402
from harness.pooler import Pooler  # noqa: E402
from harness.postgres import Postgres  # noqa: E402

WORKERS = [int(n) for n in os.environ.get("PGSLUICE_TEST_WORKERS", "2").split(",")]
if not pooler_module.IS_OWN:
    WORKERS = [1]

POOLERS = pytest.StashKey[list]()


def pytest_collection_modifyitems(items):
    if pooler_module.IS_OWN:
        return
    skip = pytest.mark.skip(reason="PGSLUICE_BIN is another pooler")
    for item in items:
        if item.get_closest_marker("own"):
            item.add_marker(skip)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for number, pooler in enumerate(item.stash.get(POOLERS, [])):
            if pooler.log():
                report.sections.append((f"log of pooler {number} ({call.when})", pooler.log()[-6000:]))


@pytest.fixture(scope="session")
def certs():
    directory = util.make_directory("pgs-certs-")
    yield Certificates(directory)
    util.remove_directory(directory)


@pytest.fixture(scope="session")
def pg(certs):
    server = Postgres(certs)
    yield server
    server.destroy()


@pytest.fixture
def own_pg(certs):
    """A PostgreSQL of the test's own, for tests that stop it."""
    server = Postgres(certs)
    yield server
    server.destroy()


@pytest.fixture(params=WORKERS, ids=lambda n: f"w{n}")
def workers(request):
    return request.param


@pytest.fixture
def make_pooler(request, pg, workers):
    """make_pooler(settings={...}, databases={...}, ...) starts a pooler; all are checked and stopped at the end."""
    poolers = request.node.stash.setdefault(POOLERS, [])

    def make(start=True, postgres=pg, **kwargs):
        new = Pooler(postgres, workers, **kwargs)
        poolers.append(new)
        return new.start() if start else new

    yield make
    problems = [problem for problem in (each.stop() for each in poolers) if problem]
    logs = "\n".join(each.log()[-6000:] for each in poolers) if problems else ""
    for each in poolers:
        each.destroy()
    if problems:
        pytest.fail("; ".join(problems) + "\n" + logs, pytrace=False)


@pytest.fixture
def pooler(make_pooler):
    """Transaction mode, databases app and app2 with pools of five, everybody trusted."""
    return make_pooler()


@pytest.fixture
def fake():
    """fake(script) starts a server that is not PostgreSQL; all are stopped at the end and their mistakes reported."""
    servers = []

    def make(script, **kwargs):
        servers.append(FakeServer(script, **kwargs))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()
    mistakes = [error for server in servers for error in server.errors]
    assert not mistakes, mistakes
