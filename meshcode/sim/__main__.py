"""`python -m meshcode.sim`: run worlds from seeds, tell one, or try the mutants."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from meshcode.sim import mutants
from meshcode.sim.hunt import Hunt
from meshcode.sim.run import Result, run_seeds
from meshcode.sim.world import World

_SHOWN_MAX = 20  # Failing seeds told one by one.
_KNOWN = Path(__file__).with_name("caught.json")


def tell(seed: int, mutant: str | None) -> int:
    """Run one world and print all that happened."""
    trace: list[str] = []
    world = World(seed, trace)
    print(world.options)
    try:
        if mutant is None:
            world.run()
        else:
            with mutants.planted(mutant):
                world.run()
    except Exception:
        print("\n".join(trace))
        traceback.print_exc(file=sys.stdout)
        return 1
    print("\n".join(trace))
    print(f"seed {seed}: good, {world.checker.steps} steps, digest {world.checker.digest:08x}")
    return 0


def report(results: Iterable[Result], mutant: str | None) -> int:
    """Print failures and the sum; the number of worlds that failed."""
    begun = time.perf_counter()
    seeds = steps = failed = 0
    digest = hashlib.blake2b(digest_size=8)
    for seed, seed_steps, seed_digest, failure in results:
        seeds += 1
        steps += seed_steps
        digest.update(b"%d %d" % (seed, seed_digest))
        if failure:
            failed += 1
            if failed <= _SHOWN_MAX:
                print(f"seed {seed}: {failure}")
    took = time.perf_counter() - begun
    planted = "" if mutant is None else f", mutant {mutant}"
    print(
        f"{seeds} seeds{planted}: {failed} failed; {steps} steps in {took:.1f} s, "
        f"{seeds / took:.0f} seeds/s; digest {digest.hexdigest()}"
    )
    if failed:
        print("replay one with: python -m meshcode.sim --trace SEED")
    return failed


def failures(jobs: int, low: int, high: int, mutant: str | None) -> Iterator[tuple[int, str]]:
    """The worlds that fail, and why."""
    rows = run_seeds(low, high, jobs=min(jobs, high - low), mutant=mutant)
    return ((seed, failure) for seed, *_, failure in rows if failure)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line; 0 when all is well."""
    parser = argparse.ArgumentParser(prog="python -m meshcode.sim", description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="LOW:HIGH, or a count from 0")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--mutant", choices=sorted(mutants.MUTANTS), help="plant one")
    parser.add_argument("--mutants", action="store_true", help="try all mutants")
    parser.add_argument(
        "--learn", nargs="*", metavar="MUTANT", help="find seeds; all without names"
    )
    parser.add_argument("--trace", type=int, metavar="SEED", help="tell one world")
    given = parser.parse_args(arguments)
    if given.trace is not None:
        return tell(given.trace, given.mutant)
    if given.mutants or given.learn is not None:
        hunt = Hunt(partial(failures, given.jobs), _KNOWN)
        return hunt.run(mutants.MUTANTS, given.learn)
    low, _, high = given.seeds.rpartition(":")
    results = run_seeds(int(low or 0), int(high), jobs=given.jobs, mutant=given.mutant)
    return min(1, report(results, given.mutant))


if __name__ == "__main__":
    sys.exit(main())
