"""Single rules of broadcasts broken on purpose, for the simulator of one node."""

# ruff: noqa: ARG005 - a replacement has the shape of what it replaces.

from __future__ import annotations

from typing import Any

from meshcode.router import casting, ending, flows, gathering, seats
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.line import Line
from meshcode.router.pool import Pool, Worker
from meshcode.sim.planting import Broken

BROKEN = Broken()


@BROKEN.rule(seats, "_give")
def _copy_is_handed_to_any_worker(real: Any) -> Any:
    def give(
        r: Router, pool: Pool, line: Line, seat: seats.Seat, now_ms: int, out: Effects
    ) -> None:
        able = [worker for worker in pool.workers.values() if not worker.leaving]
        least = min(able, key=lambda worker: len(worker.held), default=None)
        kept = pool.seated
        pool.seated = kept if least is None else {seat.place: least}
        real(r, pool, line, seat, now_ms, out)
        pool.seated = kept

    return give


@BROKEN.rule(seats, "_is_gone")
def _copy_for_a_place_that_is_gone_never_ends(_real: Any) -> Any:
    return lambda r, pool, seat: ""


@BROKEN.rule(seats, "_is_gone")
def _copy_for_an_empty_place_ends(real: Any) -> Any:
    def is_gone(r: Router, pool: Pool, seat: seats.Seat) -> str:
        known = r.seats.own is not None
        gone = known and seat.place not in pool.seated
        return "nobody sits there" if gone else str(real(r, pool, seat))

    return is_gone


@BROKEN.rule(seats, "seat_of")
def _address_is_lost_when_the_node_starts_again(real: Any) -> Any:
    def seat_of(options: Any) -> Any:
        return None if _recovering else real(options)

    return seat_of


_recovering: list[bool] = []


@BROKEN.rule(Router, "recover", also="address-is-lost-when-the-node-starts-again")
def _recover(real: Any) -> Any:
    def recover(self: Router, *given: Any, **named: Any) -> Any:
        _recovering.append(True)
        try:
            return real(self, *given, **named)
        finally:
            _recovering.pop()

    return recover


@BROKEN.rule(casting, "_copies")
def _last_seat_gets_no_copy(real: Any) -> Any:
    return lambda r, call, found, now_ms: real(r, call, found[: max(1, len(found) - 1)], now_ms)


@BROKEN.rule(seats, "known")
def _only_places_where_somebody_sits_are_reached(real: Any) -> Any:
    def known(r: Router, processor: str) -> Any:
        here = r.pool(processor).seated
        return [(name, seat) for name, seat in real(r, processor) if seat.place in here]

    return known


@BROKEN.rule(flows, "end_with_copies")
def _broadcast_is_over_before_its_copies_are_written(real: Any) -> Any:
    def end(r: Router, call: Any, plan_id: bytes, copies: Any, *rest: Any) -> None:
        issue = ending.issue
        ending.issue = lambda r, one, submit, now_ms, out, **how: (  # type: ignore[assignment]
            None if one == copies[-1][0] else issue(r, one, submit, now_ms, out, **how)
        )
        try:
            real(r, call, plan_id, copies, *rest)
        finally:
            ending.issue = issue

    return end


@BROKEN.rule(seats, "offer_again")
def _nobody_looks_again_when_places_are_filled(_real: Any) -> Any:
    return lambda r: None


@BROKEN.rule(casting, "begin_all")
def _rest_of_many_broadcasts_is_forgotten(real: Any) -> Any:
    def begin_all(r: Router, line: Line, now_ms: int, out: Effects) -> None:
        offer_at, Router.offer_at = Router.offer_at, lambda *_: None  # type: ignore[method-assign]
        try:
            real(r, line, now_ms, out)
        finally:
            Router.offer_at = offer_at  # type: ignore[method-assign]

    return begin_all


@BROKEN.rule(casting.Reply, "packed")
def _error_in_its_place_is_told_as_a_value(_real: Any) -> Any:
    def packed(self: casting.Reply, outcome: bytes) -> bytes:
        good = bytearray(outcome)
        good[13] = 1
        return real_packed(self, bytes(good))

    return packed


real_packed = casting.Reply.packed


@BROKEN.rule(gathering, "begin")
def _error_at_one_worker_loses_what_the_others_said(real: Any) -> Any:
    def begin(r: Router, call: Any, now_ms: int, out: Effects) -> None:
        real(r, call, now_ms, out)
        if call.gather is not None:
            call.gather.seats = None

    return begin


@BROKEN.rule(casting, "replies_of")
def _values_are_gathered_in_another_order(real: Any) -> Any:
    return lambda envelope: list(reversed(real(envelope)))


@BROKEN.rule(Worker, "room_alone")
def _copies_are_all_handed_over_at_once(_real: Any) -> Any:
    return lambda self, line, now_ms: 1_000


__all__ = ["BROKEN"]
