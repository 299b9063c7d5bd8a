"""Runs meshes by the thousand, in one process or several."""

from __future__ import annotations

from collections.abc import Iterator

from meshcode.sim.mesh import mutants
from meshcode.sim.mesh.world import MeshWorld
from meshcode.sim.seeds import Job, in_chunks, what_failed

CHUNK_SEEDS = 20  # Per piece of work of one process.

# Seed, steps, digest, what happened how often, and what went wrong ("" when all is well).
Result = tuple[int, int, int, dict[str, int], str]


def run_seed(seed: int) -> tuple[int, int, dict[str, int], str]:
    """Run one mesh."""
    world = MeshWorld(seed)
    text = ""
    try:
        world.run()
    except Exception as error:  # Whatever it is, this world has failed.
        text = what_failed(error)
    return world.checker.steps, world.checker.digest, world.checker.counts, text


def _chunk(job: Job) -> list[Result]:
    low, high, mutant = job
    with mutants.planted(mutant):
        return [(seed, *run_seed(seed)) for seed in range(low, high)]


def run_seeds(low: int, high: int, *, jobs: int = 1, mutant: str | None = None) -> Iterator[Result]:
    """Run the meshes `low` to `high` - 1, in order."""
    return in_chunks(_chunk, low, high, chunk_seeds=CHUNK_SEEDS, jobs=jobs, mutant=mutant)
