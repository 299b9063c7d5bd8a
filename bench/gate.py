"""A gate against getting slower that a noisy machine cannot move: instructions per call, counted.

    python -m bench.gate             count, and fail where a count is over its limit
    python -m bench.gate --tighten   the same, and write lower counts down as the new limits

`bench.inproc`, and `bench.inmesh` for calls that three nodes keep, run under callgrind, twice with
different numbers of calls: the difference is what a call costs, whatever start-up costs.  The
counts of one build of Python repeat to a few parts in a thousand, busy machine or not, so the limit
is the lowest count ever written down and ALLOWED more.
`bench/limits.json` has the limits by Python version and machine, those of the compiled core
(`./dev compile`) apart; they are only ever lowered, and
where there are none, or no valgrind, the gate says so and passes nothing off as checked.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import inmesh, inproc, machine
from meshcode import ahead

LIMITS = Path(__file__).with_name("limits.json")
ALLOWED = 0.03  # More than the limit: what counts of equal code differ by, and a little.
FEW, MANY = 2, 6  # Rounds of a run; the difference is counted.
SHARED = "shared"  # Plain calls that three nodes keep.
_COLLECTED = re.compile(r"Collected : (\d+)")


def count_of(text: str) -> int:
    """The instructions that callgrind says it has collected.

    Raises:
        ValueError: it says nothing of the kind.
    """
    found = _COLLECTED.search(text)
    if found is None:
        raise ValueError(f"callgrind gave no count: {text[-300:]}")
    return int(found[1])


def instructions(kind: str, rounds: int) -> int:
    """Instructions of a whole run of so many rounds of calls of a kind."""
    name = ["bench.inmesh"] if kind == SHARED else ["bench.inproc", "--kind", kind]
    with tempfile.TemporaryDirectory(prefix="gate-") as folder:
        run = subprocess.run(
            [
                "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
                sys.executable, "-m", *name, "--rounds", str(rounds), "--runs", "1", "--quiet",
            ],
            cwd=machine.ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(machine.ROOT)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if run.returncode:
        raise RuntimeError(f"{name[0]} failed under callgrind: {run.stderr[-2_000:]}")
    return count_of(run.stderr)


def per_call(kind: str) -> float:
    """Instructions that one call of a kind costs, from the client and back."""
    if kind == SHARED:
        calls = inmesh.TOGETHER
    else:
        calls = inproc.TOGETHER[kind] * inproc.kinds()[kind][2]
    more = instructions(kind, MANY) - instructions(kind, FEW)
    return more / ((MANY - FEW) * calls)


def verdict(kind: str, count: float, limit: float | None) -> tuple[bool, str]:
    """Whether a count may pass, and what to say of it."""
    said = f"{kind:10} {count:10,.0f} instructions per call"
    if limit is None:
        return True, f"{said}; not checked: no limit for this Python and machine"
    most = limit * (1 + ALLOWED)
    share = (count / limit - 1) * 100
    if count > most:
        return False, (
            f"{said}, {share:+.1f} % of the limit {limit:,.0f}, {ALLOWED:.0%} more may be: too "
            "slow; find out what costs more (python -m bench.inproc, callgrind_annotate)"
        )
    return True, f"{said}, {share:+.1f} % of the limit {limit:,.0f}"


def lowered(limits: dict[str, float], counts: dict[str, float]) -> dict[str, float]:
    """The limits with every count that is below them, and with those that are new."""
    return {
        **limits,
        **{k: round(min(count, limits.get(k, count))) for k, count in counts.items()},
    }


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when no count is over its limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tighten", action="store_true", help="write lower counts down as limits")
    args = parser.parse_args(arguments)
    if shutil.which("valgrind") is None:
        print("not checked: there is no valgrind here (Debian: apt-get install valgrind)")
        return 0
    known = json.loads(LIMITS.read_text()) if LIMITS.exists() else {}
    place = f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"
    if ahead.is_used():
        place += ", core compiled"
    limits = known.get(place, {})
    counts, passed = {}, True
    for kind in (*inproc.kinds(), SHARED):
        counts[kind] = per_call(kind)
        good, said = verdict(kind, counts[kind], limits.get(kind))
        passed = passed and good
        print(said, flush=True)
    if args.tighten:
        known[place] = lowered(limits, counts)
        LIMITS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    print("passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
