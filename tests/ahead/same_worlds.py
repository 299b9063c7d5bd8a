"""Simulated worlds from the source of the core and from its machine code: they must be the same.

    python -m tests.ahead.same_worlds [N]

N worlds of one node, N/10 meshes and N/10 of those with generators, each in two processes.  A
simulator prints a digest of all that happened; one word sent otherwise changes it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_RUN = """
import runpy, sys
from meshcode import ahead
compiled, name, seeds = sys.argv[1:]
if compiled == "True":
    assert ahead.use(), "the core is not compiled: ./dev compile"
sys.argv = [name, "--seeds", seeds, "--jobs", "1"]
try:
    runpy.run_module(name, run_name="__main__", alter_sys=True)
finally:
    assert ahead.is_used() == (compiled == "True")
"""


def digest(name: str, seeds: str, *, compiled: bool) -> str:
    """What a simulator says of its worlds: steps and digest.

    Raises:
        RuntimeError: a world failed, or the simulator said nothing of the kind.
    """
    run = subprocess.run(
        [sys.executable, "-c", _RUN, str(compiled), name, seeds],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"(\d+ steps) .*(digest \w+)", run.stdout)
    if run.returncode or found is None:
        raise RuntimeError(f"{name} {seeds}, compiled {compiled}: {run.stdout}{run.stderr}")
    return " ".join(found.groups())


def main(arguments: list[str]) -> int:
    """Command line; 0 when all are the same."""
    worlds = int(arguments[0]) if arguments else 200
    few = max(1, worlds // 10)
    status = 0
    for name, seeds in (
        ("meshcode.sim", f"0:{worlds}"),
        ("meshcode.sim.mesh", f"0:{few}"),
        ("meshcode.sim.mesh", f"1000000:{1_000_000 + few}"),
    ):
        source = digest(name, seeds, compiled=False)
        machine = digest(name, seeds, compiled=True)
        same = source == machine
        status |= not same
        said = "the same" if same else f"NOT THE SAME: compiled {machine}"
        print(f"{name} {seeds}: {source}, {said}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
