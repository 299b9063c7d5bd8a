"""Seeds by the thousand, in one process or several."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
Job = tuple[int, int, str | None]  # From this seed to before that one, with a mutant planted.


def in_chunks(
    run: Callable[[Job], list[Result]],
    low: int,
    high: int,
    *,
    chunk_seeds: int,
    jobs: int,
    mutant: str | None,
) -> Iterator[Result]:
    """The results of the seeds `low` to `high` - 1, in order.

    Args:
        run: one piece of work; a function of a module, so that other processes find it.
        low: the first seed.
        high: the seed after the last.
        chunk_seeds: per piece of work.
        jobs: processes.
        mutant: its name, for `run`.
    """
    work = [(at, min(at + chunk_seeds, high), mutant) for at in range(low, high, chunk_seeds)]
    if jobs <= 1:
        for job in work:
            yield from run(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        try:
            for results in pool.map(run, work):
                yield from results
        finally:  # Whoever asked may have seen enough.
            pool.shutdown(cancel_futures=True)


def what_failed(error: Exception) -> str:
    """What went wrong in a world, and where, in one line."""
    where = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in where if not frame.filename.endswith("violation.py")]
    return f"{type(error).__name__}: {error} ({frames[-1].name}:{frames[-1].lineno})"


__all__ = ["Job", "in_chunks", "what_failed"]
