"""Runs worlds by the thousand, in one process or several."""

from __future__ import annotations

from collections.abc import Iterator

from meshcode.sim import mutants
from meshcode.sim.seeds import Job, in_chunks, what_failed
from meshcode.sim.world import World

CHUNK_SEEDS = 50  # Per piece of work of one process.

# Seed, steps, digest, and what went wrong ("" when all is well).
Result = tuple[int, int, int, str]


def run_seed(seed: int) -> tuple[int, int, str]:
    """Run one world: its steps, its digest, and what went wrong ("" when all is well)."""
    world = World(seed)
    try:
        steps, digest = world.run()
    except Exception as error:  # Whatever it is, this world has failed.
        return world.checker.steps, world.checker.digest, what_failed(error)
    return steps, digest, ""


def _chunk(job: Job) -> list[Result]:
    low, high, mutant = job
    with mutants.planted(mutant):
        return [(seed, *run_seed(seed)) for seed in range(low, high)]


def run_seeds(low: int, high: int, *, jobs: int = 1, mutant: str | None = None) -> Iterator[Result]:
    """Run the worlds `low` to `high` - 1; yields (seed, steps, digest, failure) in order."""
    return in_chunks(_chunk, low, high, chunk_seeds=CHUNK_SEEDS, jobs=jobs, mutant=mutant)
