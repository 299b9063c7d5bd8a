"""Runs meshes by the thousand, in one process or several."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from meshcode.sim.mesh import mutants
from meshcode.sim.mesh.world import MeshWorld

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
        where = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in where if not frame.filename.endswith("violation.py")]
        text = f"{type(error).__name__}: {error} ({frames[-1].name}:{frames[-1].lineno})"
    return world.checker.steps, world.checker.digest, world.checker.counts, text


def _chunk(job: tuple[int, int, str | None]) -> list[Result]:
    low, high, mutant = job
    with mutants.planted(mutant):
        return [(seed, *run_seed(seed)) for seed in range(low, high)]


def run_seeds(low: int, high: int, *, jobs: int = 1, mutant: str | None = None) -> Iterator[Result]:
    """Run the meshes `low` to `high` - 1, in order."""
    work = [(at, min(at + CHUNK_SEEDS, high), mutant) for at in range(low, high, CHUNK_SEEDS)]
    if jobs <= 1:
        for job in work:
            yield from _chunk(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        try:
            for results in pool.map(_chunk, work):
                yield from results
        finally:  # Whoever asked may have seen enough.
            pool.shutdown(cancel_futures=True)
