"""Ten minutes of tests/stress/chaos: random clients and an operator against tiny pools."""
import os
import subprocess
import sys

import pytest

from harness import pooler, util

CHAOS = os.path.join(os.path.dirname(__file__), "..", "stress", "chaos")


@pytest.mark.own
@pytest.mark.slow
@pytest.mark.timeout(1200 * max(1, util.PATIENCE))
@pytest.mark.parametrize("arguments", [["--seconds", "600", "--clients", "500"], ["--seconds", "15", "--busy-end", "SIGINT"]],
                         ids=["quiet", "busy"])
def test_chaos(workers, arguments):
    result = subprocess.run([sys.executable, CHAOS, "--workers", str(workers), *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                            env={**os.environ, "PGSLUICE_BIN": pooler.BUILT})
    assert result.returncode == 0, result.stdout[-8000:]
