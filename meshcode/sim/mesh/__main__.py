"""Runs simulated meshes: `python -m meshcode.sim.mesh --seeds 0:1000 [--jobs 2] [--trace SEED]`."""

from __future__ import annotations

import argparse
import sys
import time

from meshcode.sim.mesh import mutants_plugs
from meshcode.sim.mesh.mutants import MUTANTS, RARE, planted
from meshcode.sim.mesh.run import run_seed, run_seeds
from meshcode.sim.mesh.world import MeshWorld


def main(args: list[str] | None = None) -> int:
    """Run worlds, tell one, or plant mutants; 1 when a world failed or a mutant was not caught."""
    parser = argparse.ArgumentParser(prog="python -m meshcode.sim.mesh", description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="from:to, the end is not run")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--trace", type=int, help="tell one world")
    parser.add_argument("--mutant", help="break this rule first")
    parser.add_argument("--no-plugs", action="store_true", help="as before there were plugs")
    parser.add_argument("--mutants", action="store_true", help="break one rule after the other")
    parser.add_argument("--limit", type=int, default=5_000, help="seeds a mutant may take")
    parser.add_argument("--sample", type=int, default=0, help="only so many mutants; 0 = all")
    given = parser.parse_args(args)
    if given.trace is not None:
        return _trace(given.trace, given.mutant, with_plugs=not given.no_plugs)
    if given.mutants:
        return _mutants(given.limit, given.jobs, given.sample)
    low, high = (int(part) for part in given.seeds.split(":"))
    return _seeds(low, high, given.jobs, given.mutant, with_plugs=not given.no_plugs)


def _seeds(low: int, high: int, jobs: int, mutant: str | None, *, with_plugs: bool) -> int:
    began = time.time()
    failed, steps, digest = 0, 0, 0
    totals: dict[str, int] = {}
    for seed, ran, mark, counts, text in run_seeds(
        low, high, jobs=jobs, mutant=mutant, with_plugs=with_plugs
    ):
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


def _trace(seed: int, mutant: str | None, *, with_plugs: bool) -> int:
    lines: list[str] = []
    with planted(mutant):
        world = MeshWorld(seed, lines, with_plugs=with_plugs)
        try:
            world.run()
            problem = ""
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
    print("\n".join(lines))
    print(world.options)
    print(problem or "all is well")
    return 1 if problem else 0


def _mutants(limit: int, jobs: int, sample: int) -> int:
    names = list(MUTANTS)
    if sample:  # Of those that are known to be caught soon, else chance decides what is told.
        names = [name for name in names if name not in RARE]
        step = max(1, len(names) // sample)
        names = names[int(time.time()) % step :: step][:sample]
    survived = []
    for name in names:
        found = ""
        plugs = name in mutants_plugs.BROKEN.plants
        for seed, _, _, _, text in run_seeds(0, limit, jobs=jobs, mutant=name, with_plugs=plugs):
            # Else it fails without the mutant, too.
            if text and not run_seed(seed, with_plugs=plugs)[3]:
                found = f"caught after {seed + 1} seeds: {text[:110]}"
                break
        if not found:
            survived.append(name)
            found = f"NOT caught in {limit} seeds"
            found += f", as before ({RARE[name]})" if name in RARE else ""
        print(f"{name:34} {found}", flush=True)
    print(f"{len(names)} mutants: {len(names) - len(survived)} caught, {len(survived)} not")
    return 1 if set(survived) - RARE.keys() else 0


__all__ = ["main", "run_seed"]

if __name__ == "__main__":
    sys.exit(main())
