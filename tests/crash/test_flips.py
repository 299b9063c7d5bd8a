"""A flipped bit on the disk is never served as a value; flips.py says how it is tried.

More: `python tests/crash/flips.py /dev/shm/flips power 20000 2`, with the project on PYTHONPATH.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLIPS = 80


def flip(folder: Path, left: str) -> dict[str, int]:
    words = [sys.executable, str(HERE / "flips.py"), str(folder), left, str(FLIPS), "1"]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    assert sum(seen.values()) == FLIPS
    return seen


def test_after_a_power_cut_every_flip_is_harmless_or_told(quick_folder: Path):
    seen = flip(quick_folder / "log", "power")

    assert set(seen) <= {"harmless", "told", "told by record"}
    assert seen["told by record"] > FLIPS // 4


def test_a_log_that_was_not_verified_serves_no_wrong_value(quick_folder: Path):
    """Its tree is trusted, so a flip there may hide records; it may not change one."""
    seen = flip(quick_folder / "log", "clean")

    allowed = {"harmless", "told", "told by record", "wrong: records gone in silence"}
    assert set(seen) <= allowed
    assert seen.get("wrong: records gone in silence", 0) <= FLIPS // 20
