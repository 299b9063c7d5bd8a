"""The process of one system: its client, and the parent of its servers and workers.

    python -m bench.peers.drive NAME FOLDER WORKERS

Orders come as lines of JSON on stdin, answers go back on stdout; when stdin ends, so does all.
Everything is timed here, the same way for every system, and every result is checked.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.peers import roster
from bench.peers.peer import Peer, Unavailable

PR_SET_CHILD_SUBREAPER = 36


def become_reaper() -> None:
    """Have daemons of a server stay below this process, so that they are counted and ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def checked(got: list[int], count: int) -> None:
    """Whether every call gave back what it was given.

    Raises:
        RuntimeError: one did not, or some are missing.
    """
    if got != list(range(count)):
        raise RuntimeError(f"{len(got)} results of {count} came back, or not what was sent")


def timed(action: Callable[[], object]) -> tuple[float, Any]:
    """Seconds, and the value."""
    begin = time.perf_counter()
    value = action()
    return time.perf_counter() - begin, value


class Driver:
    """What can be ordered."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def facts(self) -> dict[str, Any]:
        """What there is to say about the system."""
        peer = self.peer
        return {
            "title": peer.title, "acknowledged": peer.acknowledged, "settings": peer.settings,
            "brokered": peer.brokered, "keeps": peer.keeps, "chains": peer.has_chains,
            "fan": peer.has_fan, "versions": peer.versions(),
        }  # fmt: skip

    def start(self) -> float:
        """Everything up to the first result; seconds."""
        begin = time.perf_counter()
        self.peer.start()
        checked([self.peer.single(0)], 1)
        return time.perf_counter() - begin

    def singles(self, count: int, seconds: float) -> list[float]:
        """Milliseconds of calls one after another: so many, or for so long."""
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < count and time.perf_counter() < end:
            value = len(times)
            begin = time.perf_counter()
            got = self.peer.single(value)
            times.append((time.perf_counter() - begin) * 1e3)
            checked([got - value], 1)
        return times

    def bulk(self, count: int) -> float:
        """Seconds of so many calls in flight together."""
        took, got = timed(lambda: self.peer.bulk(count))
        checked(got, count)
        return took

    def chains(self, count: int) -> float:
        """Seconds of so many chains."""
        took, got = timed(lambda: self.peer.chains(count))
        checked(got, count)
        return took

    def fan(self, width: int) -> float:
        """Seconds of one fan-out and its funnel."""
        took, got = timed(lambda: self.peer.fan(width))
        checked([got - width], 1)
        return took

    def rest(self) -> None:
        """No task is run any more."""
        self.peer.rest()

    def submits(self, count: int) -> float:
        """Seconds of so many acknowledged submits, one after another."""
        begin = time.perf_counter()
        for value in range(count):
            self.peer.submit(value)
        return time.perf_counter() - begin

    def crash(self) -> None:
        """kill -9, and start again."""
        self.peer.crash()

    def waiting(self) -> int:
        """Tasks not run."""
        return self.peer.waiting()

    def stop(self) -> None:
        """End everything."""
        self.peer.stop()


def answer(driver: Driver, order: dict[str, Any]) -> dict[str, Any]:
    """What came of one order."""
    try:
        return {"value": getattr(driver, order.pop("do"))(**order)}
    except Unavailable as error:
        return {"error": str(error)}
    except Exception as error:  # Whatever a system raises is a reason in its row.
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def main(name: str, folder: str, workers: str) -> None:
    """Serve orders until stdin ends."""
    become_reaper()
    orders = os.fdopen(os.dup(0))
    answers = os.fdopen(os.dup(1), "w")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # Children inherit neither the orders
    os.dup2(2, 1)  # nor the way of the answers.
    try:
        driver = Driver(roster.make(name, Path(folder), int(workers)))
    except ImportError as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        return
    print(json.dumps({"value": "ready"}), file=answers, flush=True)
    for line in orders:
        print(json.dumps(answer(driver, json.loads(line))), file=answers, flush=True)
    driver.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
