"""`python -m meshcode.sim`: run worlds from seeds, tell one, or try the mutants."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import traceback
from collections.abc import Iterable

from meshcode.sim import mutants
from meshcode.sim.run import Result, run_seeds
from meshcode.sim.world import World

_SHOWN_MAX = 20  # Failing seeds told one by one.
MUTANT_SEEDS = 5_000  # A mutant must be caught within so many.


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


def try_mutants(names: list[str], seeds: int, jobs: int) -> int:
    """Plant each mutant alone; the number of those that no seed caught."""
    missed = 0
    for name in names:
        begun = time.perf_counter()
        caught = next((row for row in run_seeds(0, seeds, jobs=jobs, mutant=name) if row[3]), None)
        took = time.perf_counter() - begun
        if caught is None:
            missed += 1
            print(f"{name:32} NOT caught in {seeds} seeds ({took:.1f} s)")
        else:
            print(f"{name:32} caught after {caught[0] + 1:5} seeds ({took:.1f} s): {caught[3]}")
    print(f"{len(names) - missed} of {len(names)} mutants caught within {seeds} seeds")
    return missed


def main(arguments: list[str] | None = None) -> int:
    """Read the command line; 0 when all is well."""
    parser = argparse.ArgumentParser(prog="python -m meshcode.sim", description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="LOW:HIGH, or a count from 0")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--mutant", choices=sorted(mutants.MUTANTS), help="plant one")
    parser.add_argument("--mutants", action="store_true", help="try all mutants")
    parser.add_argument("--sample", type=int, default=0, help="only so many of the mutants")
    parser.add_argument("--trace", type=int, metavar="SEED", help="tell one world")
    given = parser.parse_args(arguments)
    if given.trace is not None:
        return tell(given.trace, given.mutant)
    if given.mutants:
        names = list(mutants.MUTANTS)
        if given.sample:
            names = names[:: max(1, len(names) // given.sample)][: given.sample]
        return min(1, try_mutants(names, MUTANT_SEEDS, given.jobs))
    low, _, high = given.seeds.rpartition(":")
    results = run_seeds(int(low or 0), int(high), jobs=given.jobs, mutant=given.mutant)
    return min(1, report(results, given.mutant))


if __name__ == "__main__":
    sys.exit(main())
