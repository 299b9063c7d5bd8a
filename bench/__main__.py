"""`python -m bench [NAME..]`: the named measurements, by default all that a person waits for.

They run one after another.  `growth` takes what follows it:

    python -m bench growth [CURVE..] [OPTION..]
"""

from __future__ import annotations

import subprocess
import sys
import time

from bench import machine
from bench.growth import __main__ as growth

SCRIPTS = (
    "pump", "floor", "end_to_end", "mesh", "curve", "membership", "startup", "memory", "apply",
    "model", "recovery", "guard", "flows", "streams", "inproc", "inmesh", "micro",
)  # fmt: skip
NAMED = ("gate",)  # Only by its name: it counts for minutes what `inproc` shows in seconds.


def main(names: list[str]) -> int:
    """Run each in a process of its own, so that none inherits the memory of another."""
    if names[:1] == ["growth"]:
        return growth.main(names[1:])
    unknown = [name for name in names if name not in SCRIPTS + NAMED]
    if unknown:
        there = ", ".join((*SCRIPTS, *NAMED, "growth"))
        print(f"there is no measurement {unknown[0]!r}; there are {there}")
        return 2
    status, took = 0, {}
    for name in names or SCRIPTS:
        begin = time.monotonic()
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", f"bench.{name}"]
        if name == "micro":
            print(machine.describe(), flush=True)
            command = [
                sys.executable, "-m", "pytest", "bench", "--benchmark-only", "-q",
                "--override-ini", "addopts=", "--benchmark-columns=median,iqr,rounds",
            ]  # fmt: skip
        status = subprocess.run(command, cwd=machine.ROOT, check=False).returncode or status
        took[name] = time.monotonic() - begin
    each = ", ".join(f"{name} {seconds:.0f}" for name, seconds in took.items())
    print(f"\ntook {sum(took.values()) / 60:.1f} minutes; seconds of each: {each}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
