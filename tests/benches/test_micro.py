"""The small measurements still run: each once or so, whatever it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_small_measurement_runs():
    # Nothing of the run that this test is part of: its plugins would take the other for a worker.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "bench", "-q", "--override-ini", "addopts="),
            *("--benchmark-only", "--benchmark-max-time=0.01", "--benchmark-min-rounds=1"),
            *("--benchmark-calibration-precision=1", "--benchmark-columns=median"),
        ],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-8_000:]
    assert " passed" in done.stdout
