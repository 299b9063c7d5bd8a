"""Single rules of broadcasts broken on purpose, for the simulator of meshes."""

# ruff: noqa: ARG005 - a replacement has the shape of what it replaces.

from __future__ import annotations

from typing import Any

from meshcode.router import casting, ending, feeding, seats, work
from meshcode.router.core import Router
from meshcode.router.line import Line
from meshcode.router.pool import Pool
from meshcode.router.records import read_envelope
from meshcode.sim.planting import Broken

BROKEN = Broken()


@BROKEN.rule(seats, "_is_gone")
def _copy_for_an_evicted_node_never_ends(real: Any) -> Any:
    def is_gone(r: Router, pool: Pool, seat: seats.Seat) -> str:
        return "" if seat.node in r.replica.peers.evicted else str(real(r, pool, seat))

    return is_gone


@BROKEN.rule(seats, "_is_gone")
def _place_that_is_gone_at_a_peer_is_waited_for(real: Any) -> Any:
    def is_gone(r: Router, pool: Pool, seat: seats.Seat) -> str:
        return "" if seat.node == r.node else str(real(r, pool, seat))

    return is_gone


@BROKEN.rule(seats, "_is_gone")
def _copy_for_a_node_that_is_away_ends(real: Any) -> Any:
    def is_gone(r: Router, pool: Pool, seat: seats.Seat) -> str:
        away = not r.replica.peers.is_here(seat.node)
        return "it is away" if away else str(real(r, pool, seat))

    return is_gone


@BROKEN.rule(seats, "line_at")
def _guest_runs_at_any_worker(real: Any) -> Any:
    def line_at(r: Router, own: Line, seat: Any, *, guest: bool = False) -> Line:
        if guest and seat is not None:
            seat = seats.Seat(seat.node, 0)
        found: Line = real(r, own, seat, guest=guest)
        return found

    return line_at


@BROKEN.rule(Router, "restore")
def _owner_that_takes_over_forgets_the_address(real: Any) -> Any:
    def restore(self: Router, call: Any, *given: Any, **named: Any) -> None:
        if call.line.seat is not None and call.inst is not None:
            call.line = self.lines[call.line.name]
        real(self, call, *given, **named)

    return restore


@BROKEN.rule(seats, "untold")
def _peers_that_have_not_told_of_their_workers_are_left_out(_real: Any) -> Any:
    return lambda r: "" if r.seats.own is not None else "this node"


@BROKEN.rule(seats, "tell")
def _nobody_tells_of_workers(_real: Any) -> Any:
    return lambda r, out: None


@BROKEN.rule(seats, "told")
def _only_the_first_word_of_a_peer_counts(real: Any) -> Any:
    return lambda r, node, entry: None if node in r.seats.at else real(r, node, entry)


@BROKEN.rule(work, "_reopen")
def _copy_that_was_given_back_is_not_tried_again(_real: Any) -> Any:
    return lambda r, node, processor: None


@BROKEN.rule(seats, "peer_changed")
def _copies_do_not_go_on_when_a_node_is_back(_real: Any) -> Any:
    return lambda r, peer, boot_before: None


@BROKEN.rule(casting, "_copies")
def _copies_are_numbered_alike_whoever_they_are_for(real: Any) -> Any:
    def numbered(r: Router, call: Any, found: Any, now_ms: int) -> Any:
        made, _ = real(r, call, found, now_ms)
        ids = [feeding.step_id(call.id, n) for n in range(len(made))]
        copies = []
        for id, (_, submit) in zip(ids, made, strict=True):
            name, options = read_envelope(submit)
            copies.append((id, ending.copy_of(submit, id, call.id, name, options)))
        return copies, call.id

    return numbered


__all__ = ["BROKEN"]
