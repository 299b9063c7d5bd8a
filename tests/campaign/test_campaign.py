"""A short campaign of the real thing in every test run; the long one is `./dev kill 200`."""

from __future__ import annotations

import subprocess
import sys

from tests.live.harness import ROOT


def test_kills_lose_nothing_and_record_nothing_twice():
    """20 kills -9 of node, workers and clients; the seed is fixed, the interleaving is not."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.campaign.campaign", "--kills", "20", "--seconds", "15",
         "--seed", "7", "--clients", "2", "--flows", "5"],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stdout + run.stderr
    assert "verdict          good" in run.stdout
    assert "flows            0 with" not in run.stdout
