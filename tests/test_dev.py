"""The script `dev`: who asks for help, or errs in a number, begins nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def dev(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "dev"), *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "command",
    ["setup", "compile", "lint", "types", "check", "seeds", "meshes", "fuzz", "kill", "crash",
     "bench-peers"],
)  # fmt: skip
def test_help_of_a_command_is_the_usage(command: str):
    done = dev(command, "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ./dev COMMAND")


@pytest.mark.parametrize("command", ["compile", "seeds", "meshes", "fuzz", "kill", "crash"])
def test_what_is_no_number_is_refused_in_a_sentence(command: str):
    done = dev(command, "abc")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"dev: N of ./dev {command} is a whole number, and this is 'abc'; see ./dev help\n"
    )
