"""Runs simulated meshes: `python -m meshcode.sim.mesh --seeds 0:1000 [--jobs 2] [--trace SEED]`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from meshcode.sim.hunt import Hunt
from meshcode.sim.mesh.mutants import BEGINS, MUTANTS, RARE, planted
from meshcode.sim.mesh.run import run_seeds
from meshcode.sim.mesh.world import MeshWorld

_KNOWN = Path(__file__).with_name("caught.json")


def main(args: list[str] | None = None) -> int:
    """Run worlds, tell one, or plant mutants; 1 when a world failed or a mutant was not caught."""
    parser = argparse.ArgumentParser(prog="python -m meshcode.sim.mesh", description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="from:to, the end is not run")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--trace", type=int, help="tell one world")
    parser.add_argument("--mutant", help="break this rule first")
    parser.add_argument("--mutants", action="store_true", help="break one rule after the other")
    parser.add_argument(
        "--learn", nargs="*", metavar="MUTANT", help="find seeds; all without names"
    )
    given = parser.parse_args(args)
    if given.trace is not None:
        return _trace(given.trace, given.mutant)
    if given.mutants or given.learn is not None:
        hunt = Hunt(partial(_failures, given.jobs), _KNOWN, RARE, BEGINS)
        return hunt.run(MUTANTS, given.learn)
    low, high = (int(part) for part in given.seeds.split(":"))
    return _seeds(low, high, given.jobs, given.mutant)


def _failures(jobs: int, low: int, high: int, mutant: str | None) -> Iterator[tuple[int, str]]:
    rows = run_seeds(low, high, jobs=min(jobs, high - low), mutant=mutant)
    return ((seed, text) for seed, *_, text in rows if text)


def _seeds(low: int, high: int, jobs: int, mutant: str | None) -> int:
    began = time.time()
    failed, steps, digest = 0, 0, 0
    totals: dict[str, int] = {}
    for seed, ran, mark, counts, text in run_seeds(low, high, jobs=jobs, mutant=mutant):
        steps += ran
        digest = (digest * 1_000_003 + mark + seed) & 0xFFFFFFFFFFFFFFFF
        for name, count in counts.items():
            totals[name] = totals.get(name, 0) + count
        if text:
            failed += 1
            print(f"seed {seed}: {text}", flush=True)
            if failed >= 20:
                break
    took = time.time() - began
    rate = (high - low) / took if took else 0
    told = ", ".join(f"{name} {count}" for name, count in totals.items())
    print(
        f"{high - low} meshes: {failed} failed; {steps} steps in {took:.1f} s, {rate:.0f} seeds/s; "
        f"{told}; digest {digest:016x}"
    )
    if failed:
        print("replay one with: python -m meshcode.sim.mesh --trace SEED")
    return 1 if failed else 0


def _trace(seed: int, mutant: str | None) -> int:
    lines: list[str] = []
    with planted(mutant):
        world = MeshWorld(seed, lines)
        try:
            world.run()
            problem = ""
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
    print("\n".join(lines))
    print(world.options)
    print(problem or "all is well")
    return 1 if problem else 0


__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
