"""Single rules of the turn law, the router among nodes and the channel fence broken on purpose."""

# ruff: noqa: ARG001, ARG005 - a replacement has the shape of what it replaces.

from __future__ import annotations

from typing import Any

from meshcode.node.turn import Turns
from meshcode.replica.instance import Instance
from meshcode.router import acks, core, ending, events, replicated, room, words, work
from meshcode.router.call import Call
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.sim.mesh.network import Network
from meshcode.sim.planting import Broken, swapped
from meshcode.wire.kinds import Kind, Level

BROKEN = Broken()
_GAVE_BACK, _TAKEN, _HOLDS = int(Kind.GAVE_BACK), int(Kind.TAKEN), int(Kind.HOLDS)


def _silence(effects: Effects) -> None:
    """What was let out is not let out again; its records are still written."""
    for name in effects.__slots__:
        if name != "records":
            setattr(effects, name, [])


# The law and the fence.


@BROKEN.rule(Turns, "synced")
def _thought_is_released_with_the_synced(real: Any) -> Any:
    def synced(self: Turns) -> None:
        real(self)
        for turn in self._thought:
            self._release(turn)
            _silence(turn)

    return synced


@BROKEN.rule(Turns, "close")
def _peers_are_told_before_the_sync(real: Any) -> Any:
    def close(self: Turns) -> None:
        turn = self._open
        real(self)
        if turn is not None:
            self._release(Effects(peer=turn.peer))
            turn.peer = []

    return close


@BROKEN.rule(Turns, "close")
def _what_is_early_does_not_wait_for_the_batches_before(real: Any) -> Any:
    def close(self: Turns) -> None:
        turn = self._open
        real(self)
        if turn is not None and (turn.early or turn.chosen):
            self._release(Effects(peer=turn.early, outcomes=turn.chosen))
            turn.early, turn.chosen = [], []

    return close


@BROKEN.rule(ending, "tell")
def _outcome_of_a_lone_call_is_told_before_its_record(real: Any) -> Any:
    def tell(r: Router, call: Any, envelope: bytes, out: Effects) -> None:
        real(r, call, envelope, out)
        out.chosen, out.outcomes = out.chosen + out.outcomes, []

    return tell


@BROKEN.rule(Network, "accepts")
def _no_channel_fence(_real: Any) -> Any:
    return lambda self, node, sender, tag: True


@BROKEN.rule(Network, "accepts")
def _fence_without_boots(_real: Any) -> Any:
    def accepts(self: Network, node: Any, sender: int, tag: tuple[int, int, int]) -> bool:
        received = node.channels[sender].received
        if tag[2] <= received.get(tag[0], 0):
            return False
        received[tag[0]] = tag[2]
        return True

    return accepts


# Accepting.


@BROKEN.rule(acks, "await_copies")
def _one_copy_is_acknowledged(_real: Any) -> Any:
    def await_copies(r: Router, inst: Instance, client: int, frame: int, level: str | None) -> None:
        inst.waiting = [*(inst.waiting or ()), (client, frame, 1)]
        ack = r.acks.setdefault((client, frame), [0, 4, len(inst.voters)])
        ack[0] += 1
        acks.acknowledge(r, inst, 1, Effects())

    return await_copies


@BROKEN.rule(acks, "await_copies")
def _all_is_taken_for_a_majority(real: Any) -> Any:
    def await_copies(r: Router, inst: Instance, client: int, frame: int, level: str | None) -> None:
        real(r, inst, client, frame, None if level == "all" else level)

    return await_copies


@BROKEN.rule(acks, "level_of")
def _level_is_raised_by_one(_real: Any) -> Any:
    return lambda copies, voters: int(Level.QUORUM if copies < voters else Level.ALL)


@BROKEN.rule(replicated, "refuse")
def _strict_is_not_refused(_real: Any) -> Any:
    return lambda options, voters, size: None


@BROKEN.rule(room, "busy")
def _full_disk_takes_calls(_real: Any) -> Any:
    return lambda r: None


@BROKEN.rule(replicated, "widen")
def _widened_without_a_record(real: Any) -> Any:
    def widen(r: Router, call: Call, voters: Any, now_ms: int, out: Effects) -> None:
        count = len(out.records)
        real(r, call, voters, now_ms, out)
        out.records[count:] = [op for op in out.records[count:] if op[0] != "open"]

    return widen


@BROKEN.rule(words.HANDLERS, int(Kind.KEPT))
def _copy_is_kept_although_it_ended(real: Any) -> Any:
    def on_kept(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        if entry[0] in r.calls:
            real(r, node, entry, now_ms, out)

    return on_kept


@BROKEN.rule(replicated, "widen_some")
def _lone_calls_stay_alone(_real: Any) -> Any:
    return lambda r, now_ms, out: None


# Ending.


@BROKEN.rule(ending, "dead_letter")
def _child_id_differs_per_proposer(real: Any) -> Any:
    def dead_letter(r: Router, call: Call, why: str, now_ms: int, out: Effects) -> None:
        with swapped(ending, "child_id", lambda child_id: lambda a, b: child_id(a, b + r.node)):
            real(r, call, why, now_ms, out)

    return dead_letter


@BROKEN.rule(replicated.Replicated, "file")
def _twin_is_recorded_twice_on_one_node(real: Any) -> Any:
    def file(self: Any, *given: Any, ended: bool = False) -> None:
        real(self, *given, ended=False)

    return file


@BROKEN.rule(core._HANDLERS, events.Finished)
def _outcome_is_recorded_by_the_owner_alone(real: Any) -> Any:
    def on_finished(r: Router, event: Any, now_ms: int, out: Effects) -> None:
        with swapped(replicated, "propose", lambda _real: _alone):
            real(r, event, now_ms, out)

    return on_finished


def _alone(r: Router, call: Call, code: int, envelope: bytes, children: Any, now_ms: int,
           out: Effects, **_named: Any) -> None:  # fmt: skip
    inst, call.inst = call.inst, None
    assert inst is not None
    ending.finish(r, call, code, envelope, now_ms, out)
    r.replica.rest(inst, now_ms)


# Work between nodes.


@BROKEN.rule(words.HANDLERS, int(Kind.RAN))
def _report_of_an_old_attempt_counts(real: Any) -> Any:
    def on_ran(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        found = work._held_by(r, node, entry[0])
        if found is not None:
            entry = [entry[0], found[1].attempt, *entry[2:]]
        real(r, node, entry, now_ms, out)

    return on_ran


@BROKEN.rule(work, "lose_peer")
def _loss_of_the_executor_is_not_noticed(_real: Any) -> Any:
    return lambda r, node, why, now_ms, out: None


@BROKEN.rule(words.HANDLERS, _GAVE_BACK)
def _given_back_call_is_forgotten(_real: Any) -> Any:
    return lambda r, node, entry, now_ms, out: None


@BROKEN.rule(work, "ask_peers", also="given-back-call-is-forgotten")
def _nobody_asks(_real: Any) -> Any:
    return lambda r, now_ms, out: None


@BROKEN.rule(work, "ask_peers")
def _owner_never_asks_after_its_calls(real: Any) -> Any:
    def ask_peers(r: Router, now_ms: int, out: Effects) -> None:
        real(r, now_ms, out)
        out.peer[:] = [one for one in out.peer if one[1] != _HOLDS]

    return ask_peers


@BROKEN.rule(words.HANDLERS, _TAKEN)
def _reports_are_kept_for_ever(_real: Any) -> Any:
    return lambda r, node, entry, now_ms, out: None


@BROKEN.rule(core._HANDLERS, events.PeerSaid)
def _work_of_an_evicted_node_is_done(real: Any) -> Any:
    def on_peer_said(r: Router, event: Any, now_ms: int, out: Effects) -> None:
        evicted, r.replica.peers.evicted = r.replica.peers.evicted, set()
        try:
            real(r, event, now_ms, out)
        finally:
            r.replica.peers.evicted = evicted

    return on_peer_said


@BROKEN.rule(work, "grant")
def _slots_are_not_granted_again(real: Any) -> Any:
    def grant(r: Router, pool: Any, now_ms: int, out: Effects, *, again: bool = False) -> None:
        if again and pool.granted:
            return
        real(r, pool, now_ms, out, again=again)

    return grant


@BROKEN.rule(work, "inherit")
def _new_owner_runs_what_it_already_runs(_real: Any) -> Any:
    return lambda r, guest, call, now_ms: False


__all__ = ["BROKEN"]
