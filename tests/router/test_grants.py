"""A processor with plain functions and `async def`: they do not wait for each other.

At a worker of the node's own, and at a peer that has granted slots for both.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from meshcode.replica.peers import ALIVE
from meshcode.router import events
from meshcode.router.effects import Effects
from meshcode.wire.kinds import Kind

from .driver import Driver

PEER = bytes([201]) * 16
SLOTS, WORKERS = 128, 2  # Two workers, each with a loop for 64 `async def` calls.


def at_workers(driver: Driver) -> dict[str, int]:
    """Calls that have begun, by socket."""
    return Counter(
        call.line.name for call in driver.router.calls.values() if call.worker is not None
    )


def told(driver: Driver, kind: Kind, entry: list[Any]) -> Effects:
    return driver.step(events.PeerSaid(PEER, int(kind), [entry]))



@pytest.fixture
def owner() -> Driver:
    """It has no workers; `a` is a plain function, `b` an `async def`, in one processor."""
    driver = Driver()
    driver.socket("b", task="u")
    driver.step(events.PeerChanged(PEER, ALIVE, 1))
    tasks: dict[str, Any] = {
        name: {"args": [["x", "pos", True]], "text": "(x)", "at_once": at_once}
        for name, at_once in (("t", False), ("u", True))
    }
    driver.step(events.ProcessorChanged("p", "", tasks))
    return driver


@pytest.mark.parametrize("grant_first", [False, True])
def test_plain_calls_go_to_a_peer_one_for_each_of_its_workers(owner: Driver, grant_first: bool):
    """Else one peer hoards them, waiting behind each other, while others have nothing to do."""
    words = [(Kind.SEATS, [{"p": WORKERS}]), (Kind.GRANT, ["p", SLOTS])]
    for kind, entry in words[:: -1 if grant_first else 1]:
        told(owner, kind, entry)
    owner.submit(50)
    told(owner, Kind.GRANT, ["p", SLOTS])

    assert at_workers(owner) == {"a": WORKERS}


def test_calls_that_run_beside_each_other_take_all_slots(owner: Driver):
    """Plain ones that are there take none of them, nor they of those."""
    told(owner, Kind.SEATS, [{"p": WORKERS}])
    told(owner, Kind.GRANT, ["p", SLOTS])
    owner.submit(10)

    owner.submit(200, "b")
    owner.submit(1)

    assert at_workers(owner) == {"a": WORKERS, "b": SLOTS - WORKERS}


def test_a_peer_that_tells_nothing_of_its_workers_has_as_many_as_slots(owner: Driver):
    told(owner, Kind.GRANT, ["p", 3])
    owner.submit(50)

    assert at_workers(owner) == {"a": 3}


def test_a_long_plain_call_holds_up_none_that_runs_beside_it(owner: Driver):
    """And the other way round: a worker whose loop is full takes a plain call."""
    owner.join(1, "p", 64)
    first, *_ = owner.submit(5)
    assert at_workers(owner) == {"a": 1}

    owner.submit(70, "b")
    assert at_workers(owner) == {"a": 1, "b": 64}

    owner.run_us = 10_000_000
    owner.finish(first)
    assert at_workers(owner) == {"a": 1, "b": 64}
