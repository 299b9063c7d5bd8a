"""The small measurements still run: each once or so, whatever it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_small_measurement_runs():
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "bench", "-q", "--override-ini", "addopts="),
            *("--benchmark-only", "--benchmark-max-time=0.01", "--benchmark-min-rounds=1"),
            *("--benchmark-calibration-precision=1", "--benchmark-columns=median"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-8_000:]
    assert " passed" in done.stdout
