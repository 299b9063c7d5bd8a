"""Every changing call of the log fails once, each in a run of its own; failing.py says how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize("kind", ["journaled", "tree"])
@pytest.mark.parametrize("fault", ["eio", "enospc", "tight", "full", "short", "dead"])
def test_a_call_that_fails_loses_nothing_acknowledged(
    disk_library: Path, quick_folder: Path, fault: str, kind: str
):
    environment = {
        **os.environ,
        "LD_PRELOAD": str(disk_library),
        "PYTHONPATH": str(HERE.parent.parent),
    }

    done = subprocess.run(
        [sys.executable, str(HERE / "failing.py"), str(quick_folder / "log"), fault, kind],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["points"] > 60
    if fault in ("enospc", "tight", "full"):  # Full is not failing: the log goes on.
        assert told["acknowledged all"] > 40
        if fault == "full":  # One that ends soon is over when room was made of the ballast.
            assert told["DiskFull"] > 10
    else:
        assert told["LogSuspect"] > {"tree": 10, "journaled": 5}[kind]
        assert "DiskFull" not in told
