"""Single rules of flows among several nodes broken on purpose."""

# ruff: noqa: ARG005 - a replacement has the shape of what it replaces.

from __future__ import annotations

from typing import Any

from meshcode.replica.instance import Instance, Value
from meshcode.router import gathering, replicated, words, work
from meshcode.router.call import Call
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of
from meshcode.router.plan import FLOW
from meshcode.router.states import State
from meshcode.sim.planting import Broken
from meshcode.wire.kinds import Kind

BROKEN = Broken()
_ASK = int(Kind.OUTCOME_OF)


@BROKEN.rule(gathering, "_is_agreed")
def _step_begins_before_what_it_is_fed_is_on_disk(_real: Any) -> Any:
    return lambda r, call, envelope: True


# Being there completely or not at all.


@BROKEN.rule(replicated, "propose")
def _outcome_of_a_flow_is_agreed_to_without_its_steps(real: Any) -> Any:
    def propose(
        r: Router, call: Call, code: int, envelope: bytes, children: Any, now_ms: int, out: Effects,
        **more: Any,
    ) -> None:  # fmt: skip
        if call.line.name == FLOW:
            real(r, call, code, envelope, (), now_ms, out, **more)
            for child in children:  # As a careless owner would: when it has the time.
                replicated.ending.issue(r, child.id, child.submit, now_ms, out)
        else:
            real(r, call, code, envelope, children, now_ms, out, **more)

    return propose


@BROKEN.rule(Router, "forget")
def _plan_is_kept_of_what_did_not_begin_here(real: Any) -> Any:
    def forget(self: Router, call: Call) -> None:
        found = self.plans.get(call.id)
        real(self, call)
        if found is not None:
            self.plans[call.id] = found

    return forget


# What is needed, and how it ended.


@BROKEN.rule(gathering, "_is_unknown")
def _peers_are_not_asked_for_what_is_needed(real: Any) -> Any:
    def is_unknown(r: Router, id: bytes, now_ms: int, out: Effects) -> None:
        real(r, id, now_ms, out)
        out.peer[:] = [told for told in out.peer if told[1] != _ASK]

    return is_unknown


@BROKEN.rule(gathering, "tick")
def _need_is_asked_for_once(_real: Any) -> Any:
    return lambda r, now_ms, out: None


@BROKEN.rule(words.HANDLERS, _ASK)
def _peer_does_not_say_what_it_knows(_real: Any) -> Any:
    return lambda r, node, entry, now_ms, out: None


@BROKEN.rule(replicated.Replicated, "end")
def _outcome_that_a_voter_learns_wakes_nobody(real: Any) -> Any:
    def end(
        self: replicated.Replicated, inst: Instance, value: Value, now_ms: int, out: Effects
    ) -> bool:
        ripe = self._r.ripe.copy()
        filed: bool = real(self, inst, value, now_ms, out)
        self._r.ripe = ripe
        return filed

    return end


@BROKEN.rule(gathering, "tick", also="outcome-that-a-voter-learns-wakes-nobody")
def _nor_is_it_looked_for(_real: Any) -> Any:
    return lambda r, now_ms, out: None


@BROKEN.rule(gathering, "_is_unknown")
def _cancelled_step_asks_on(real: Any) -> Any:
    def is_unknown(r: Router, id: bytes, now_ms: int, out: Effects) -> None:
        waiting = list(r.needed.get(id, ()))
        real(r, id, now_ms, out)
        if waiting:
            r.needed.setdefault(id, waiting)

    return is_unknown


# Running.


@BROKEN.rule(work, "inherit")
def _step_that_was_a_guest_forgets_what_it_was_fed(real: Any) -> Any:
    def inherit(r: Router, guest: Call, call: Call, now_ms: int) -> bool:
        options, call.options = call.options, None
        done: bool = real(r, guest, call, now_ms)
        call.options = options
        return done

    return inherit


@BROKEN.rule(work.PeerWorker, "take")
def _peer_gets_a_step_without_what_it_is_fed(real: Any) -> Any:
    def take(self: work.PeerWorker, line: Any, calls: list[Call], now_ms: int) -> None:
        real(self, line, calls, now_ms)
        for call in calls:
            call.fed = None

    return take


@BROKEN.rule(gathering, "_complete")
def _step_that_was_taken_over_is_fed_nothing(real: Any) -> Any:
    def complete(r: Router, call: Call, gather: Any, now_ms: int, out: Effects) -> None:
        if call.epoch > 1 and call.state is State.GATHERING and not call.line.builtin:
            gather.feed = []
        real(r, call, gather, now_ms, out)

    return complete


@BROKEN.rule(gathering, "_error_of")
def _error_does_not_say_where_it_comes_from(_real: Any) -> Any:
    return lambda envelope, one: dict(gathering.unpack(body_of(envelope)))
