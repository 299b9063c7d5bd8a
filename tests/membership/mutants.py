"""Single rules of membership, broken on purpose: some seed must notice each."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from meshcode.membership import hearing, probing, spreading, swim
from meshcode.membership.events import Evicted
from meshcode.membership.health import Health
from meshcode.membership.member import State
from meshcode.membership.probing import Rotation
from meshcode.membership.spreading import Batch, News
from meshcode.membership.swim import Swim
from meshcode.sim import planting
from meshcode.sim.planting import Broken

BROKEN = Broken()
MUTANTS = BROKEN.plants


def planted(mutant: str) -> AbstractContextManager[None]:
    """Break one rule for as long as the block runs."""
    return planting.planted(MUTANTS, mutant)


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    """In place of a rule."""


@BROKEN.rule(hearing, "_about_me")
def _accusations_are_not_refuted(_real: Any) -> Any:
    return _nothing


@BROKEN.rule(Swim, "believe")
def _a_higher_boot_is_no_news(real: Any) -> Any:
    def believe(self: Any, member: Any, state: Any, boot: int, *rest: Any, **more: Any) -> None:
        real(self, member, state, member.boot or boot, *rest, **more)

    return believe


@BROKEN.rule(Swim, "believe")
def _the_newest_claim_wins(real: Any) -> Any:
    def believe(self: Any, member: Any, state: Any, boot: int, incarnation: int,
                *rest: Any, **more: Any) -> None:  # fmt: skip
        if member.state != State.EVICTED and boot == member.boot:
            member.incarnation = min(member.incarnation, incarnation)
        real(self, member, state, boot, incarnation, *rest, **more)

    return believe


@BROKEN.rule(Swim, "leave")
def _an_evicted_member_is_only_dead(real: Any) -> Any:
    def leave(self: Any, member: Any) -> None:
        real(self, member)
        member.state = State.DEAD

    return leave


@BROKEN.rule(swim._ON_EVENT, Evicted)
def _eviction_waits_for_a_death(real: Any) -> Any:
    def on_evicted(s: Any, event: Any, now_ms: int, out: Any) -> None:
        member = s.members.get(event.node)
        if member is None or not member.live:
            real(s, event, now_ms, out)

    return on_evicted


@BROKEN.rule(Health, "sick")
def _a_sick_node_accuses(_real: Any) -> Any:
    return lambda self, now_ms: False


@BROKEN.rule(Swim, "_resumed")
def _a_pause_is_not_noticed(_real: Any) -> Any:
    return _nothing


@BROKEN.rule(swim._ON_TIMER, "suspect")
def _a_suspicion_has_no_end(_real: Any) -> Any:
    return _nothing


@BROKEN.rule(swim._ON_TIMER, "knock")
def _nobody_knocks_at_the_dead(_real: Any) -> Any:
    return _nothing


@BROKEN.rule(probing, "send")
def _the_accused_is_not_told(real: Any) -> Any:
    def send(s: Any, to: Any, kind: str, now_ms: int, out: Any, *, about: Any = None,
             **fields: Any) -> None:  # fmt: skip
        batch = Batch()
        if to.live:
            s.news.fill(s, batch, to.node, now_ms)
        spreading.emit(s, to.node, kind, out, batch, **fields)

    return send


@BROKEN.rule(News, "fill")
def _news_never_grows_old(real: Any) -> Any:
    def fill(self: Any, s: Any, batch: Any, to: bytes, now_ms: int) -> None:
        for node in self.told:
            self.told[node] = 0
        real(self, s, batch, to, now_ms)

    return fill


@BROKEN.rule(spreading, "claim_of")
def _meta_is_not_sent(real: Any) -> Any:
    return lambda member, now_ms, *, with_meta: real(member, now_ms, with_meta=False)


@BROKEN.rule(Swim, "believe")
def _a_restart_has_no_time(real: Any) -> Any:
    def believe(self: Any, member: Any, state: Any, boot: int, incarnation: int, now_ms: int,
                out: Any, accusers: Any = (), leaving_ms: int = 0) -> None:  # fmt: skip
        real(self, member, state, boot, incarnation, now_ms, out, accusers, leaving_ms // 20)

    return believe


@BROKEN.rule(Rotation, "next")
def _one_member_is_probed_for_ever(_real: Any) -> Any:
    return lambda self: self._round[0]


@BROKEN.rule(Swim, "_turn")
def _a_refuted_suspicion_still_ends(_real: Any) -> Any:
    def turn(self: Any, member: Any, state: Any) -> None:
        was_live = member.live
        member.state = state
        self.live += member.live - was_live
        if not member.live and member.node in self.probed:
            probing.forget(self, self.probed[member.node])

    return turn


@BROKEN.rule(Swim, "report")
def _a_new_boot_is_not_reported(real: Any) -> Any:
    def report(self: Any, member: Any, out: Any) -> None:
        if member.boot <= 1 or member.state != State.ALIVE:
            real(self, member, out)

    return report
