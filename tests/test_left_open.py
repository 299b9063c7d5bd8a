"""What a failing test leaves open holds up neither the other tests nor the end of their process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FAILING = '''
from tests.live.rawlink import RawLink


def test_that_fails_with_its_link_open(tmp_path):
    link = RawLink(f"ipc://{tmp_path}/nobody")
    link.hello()
    assert not link


def test_after_it():
    pass
'''


def test_the_process_of_a_failed_test_ends_although_its_link_is_open(tmp_path: Path):
    """It used to wait in zmq's Context.__del__ until its time-out."""
    file = tmp_path / "test_failing.py"
    file.write_text(FAILING)

    words = ["-n0", "-p", "no:cacheprovider", "-p", "tests.conftest", "--rootdir", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(file)], cwd=ROOT,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (run.returncode, run.stderr) == (1, ""), run.stdout + run.stderr
    assert "1 failed, 1 passed" in run.stdout
