"""Single rules of streams among several nodes broken on purpose.

Worlds with generators have seeds from `streams.FROM_SEED` on, where a search for these begins.
"""

# ruff: noqa: ARG001, ARG005 - a replacement has the shape of what it replaces.

from __future__ import annotations

from typing import Any

from meshcode.replica.instance import Instance
from meshcode.router import ending, sending, streams, work
from meshcode.router.call import Call
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.sim.planting import Broken, swapped

BROKEN = Broken()


@BROKEN.rule(work, "_is_behind")
def _calls_behind_a_generator_keep_peers_from_a_free_worker(_real: Any) -> Any:
    return lambda pool, line: False


@BROKEN.rule(streams, "ended")
def _end_that_is_told_twice_forgets_what_a_stream_comes_from(real: Any) -> Any:
    def ended(r: Router, id: bytes) -> None:
        stream = r.streams.by_call.get(id)
        twice = stream is not None and stream.ended
        real(r, id)
        if twice and stream is not None:
            stream.within = None

    return ended


@BROKEN.rule(streams, "lacks_items")
def _report_counts_although_items_have_not_come(_real: Any) -> Any:
    return lambda r, call, outcome: False


@BROKEN.rule(streams, "_claim")
def _each_owner_makes_an_item_of_its_own(_real: Any) -> Any:
    def claim(
        r: Router, parent: Instance, id: bytes, submit: bytes, now_ms: int, out: Effects
    ) -> None:
        ending.issue(r, id, submit, now_ms, out)

    return claim


@BROKEN.rule(streams, "unsure")
def _item_of_an_earlier_attempt_is_made_again_by_an_owner(_real: Any) -> Any:
    return lambda r, items: []


@BROKEN.rule(streams, "_known_before")
def _owner_that_knows_of_no_other_takes_items_for_new(_real: Any) -> Any:
    return lambda call: streams._ALL if call.epoch else 0


@BROKEN.rule(streams, "run_for_nobody")
def _nobody_takes_the_place_of_a_generator_that_left(real: Any) -> Any:
    def run_for_nobody(r: Router, call: Call) -> None:
        with swapped(r, "touch", lambda _: lambda pool: None):
            real(r, call)

    return run_for_nobody


@BROKEN.rule(streams, "may_move")
def _generator_moves_away_from_its_items(_real: Any) -> Any:
    return lambda r, call, out: True


@BROKEN.rule(sending, "tick")
def _items_are_sent_once_only(_real: Any) -> Any:
    return lambda r, now_ms, out: None


@BROKEN.rule(streams, "tick")
def _end_elsewhere_is_not_looked_up(_real: Any) -> Any:
    return lambda r, now_ms, out: None


__all__ = ["BROKEN"]
