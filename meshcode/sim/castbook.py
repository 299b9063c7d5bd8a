"""Broadcasts as the checker sees them: who sits where, whom each reached, and what was gathered.

It works out by itself which worker has which place, and shares no code with `router/seats.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.router import events, plan
from meshcode.router.core import Router
from meshcode.router.plan import GATHER
from meshcode.router.records import split_done
from meshcode.router.states import State
from meshcode.sim.books import Fact
from meshcode.sim.flowbook import body_of
from meshcode.sim.violation import require
from meshcode.wire.codec import unpack
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.sim.checks import Checker

_DONE, _FAILED = int(Outcome.DONE), int(Outcome.FAILED)
Place = tuple[str, int]  # Of a processor.


class Places:
    """Which worker sits at which place: who sits stays, a free place goes to the oldest."""

    def __init__(self) -> None:
        """Nobody has told how many there are."""
        self.counts: dict[str, int] | None = None
        self.sits: dict[Place, int] = {}
        self._workers: dict[int, str] = {}  # Those that may sit, the oldest first.

    def told(self, event: Any) -> None:
        """The node is about to be told this."""
        if isinstance(event, events.CrewChanged):
            self.counts = event.seats
        elif isinstance(event, events.WorkerJoined):
            self._workers[event.worker] = event.processor
        elif isinstance(event, events.WorkerLeaving | events.WorkerLost):
            self._workers.pop(event.worker, None)
        else:
            return
        self._sit()

    def of(self, processor: str) -> int:
        """How many places there are."""
        return (self.counts or {}).get(processor, 0)

    def _sit(self) -> None:
        if self.counts is None:
            return
        self.sits = {
            place: worker
            for place, worker in self.sits.items()
            if worker in self._workers and place[1] < self.of(place[0])
        }
        for worker, processor in self._workers.items():
            if worker not in self.sits.values():
                free = [
                    place
                    for n in range(self.of(processor))
                    if (place := (processor, n)) not in self.sits
                ]
                if free:
                    self.sits[free[0]] = worker


class Cast:
    """A broadcast that has begun."""

    def __init__(self, gather: bytes, copies: list[bytes]) -> None:
        self.gather = gather
        self.copies = copies  # By place.


class CastBook:
    """All broadcasts of a world of one node."""

    def __init__(self, checker: Checker) -> None:
        """None yet."""
        self.checker = checker
        self.places = Places()
        self.casts: dict[bytes, Cast] = {}
        self.gathers: dict[bytes, Cast] = {}  # By the call that gathers, or one in its place.

    def booted(self) -> None:
        """A new boot knows of no workers."""
        self.places = Places()

    @staticmethod
    def is_cast(fact: Fact) -> bool:
        """Whether a call is to reach every worker."""
        return bool(fact.options.get("broadcast"))

    @staticmethod
    def place_of(fact: Fact) -> int | None:
        """The place that a copy is for; None: it is no copy."""
        seat = fact.options.get("seat")
        return None if seat is None else int(seat["place"])

    # What comes into being.

    def born(self, fact: Fact, parent: Fact, body: bytes) -> bool:
        """A call came into being; whether it is part of the broadcast that is its parent."""
        if not self.is_cast(parent):
            return False
        if fact.name == GATHER:
            fact.edge, fact.body = b"gather", body
        elif "seat" in fact.options:
            fact.edge = b"copy"
            seat = fact.options["seat"]
            good = seat["node"] == self._node() and fact.options.get("copy") is True
            require(good, "cast", "is for", seat, fact.id.hex())
        else:
            return False
        self.checker.facts[fact.id] = fact
        return True

    def again(self, fact: Fact, parent: Fact) -> None:
        """A person had a copy, or what gathers, made once more."""
        if parent.id in self.gathers:
            self.gathers[fact.id] = self.gathers[parent.id]
            fact.body = parent.body

    @staticmethod
    def _node() -> bytes:
        from meshcode.sim.node import NODE_ID

        return NODE_ID

    def ended_well(self, id: bytes, record: bytes, fresh: list[Fact]) -> None:
        """A call is DONE, with what it caused in the same batch."""
        if self.is_cast(self.checker.facts[id]):
            self._begun(id, split_done(record)["outcome"], fresh)

    def _begun(self, id: bytes, outcome: bytes, fresh: list[Fact]) -> None:
        """A broadcast has ended by its copies: they are in the same batch, one for each place."""
        c = self.checker
        fact = c.facts[id]
        config = c.begins.config(fact.name)
        require(config is not None, "cast", "begins without its socket", id.hex())
        assert config is not None
        born = [one for one in fresh if one.parent == id and one.edge in (b"copy", b"gather")]
        copies = [one for one in born if one.edge == b"copy"]
        count = self.places.of(config.processor)
        places = sorted(int(one.options["seat"]["place"]) for one in copies)
        require(
            places == list(range(count)) and count > 0,
            "cast", id.hex(), "reaches", places, "there are", count,
        )  # fmt: skip
        [gather] = [one for one in born if one.edge == b"gather"] or [None]
        require(gather is not None, "cast", id.hex(), "is not gathered")
        assert gather is not None
        copies.sort(key=lambda one: int(one.options["seat"]["place"]))
        self.casts[id] = self.gathers[gather.id] = Cast(gather.id, [one.id for one in copies])
        told = unpack(body_of(outcome))
        require(told == {"result": gather.id, "steps": count + 1}, "cast", id.hex(), told)
        require(plan.result_of(outcome) == gather.id, "cast", id.hex(), "has no mark")

    # What comes of it.

    def ended(self, fact: Fact, outcome: bytes, *, executed: bool) -> bool:
        """A call ended; whether that is explained by a broadcast."""
        text = fact.id.hex()
        if executed:
            require(fact.id not in self.gathers, "cast", "a worker ran what gathers", text)
            return False
        if self.is_cast(fact) and outcome[13] == _DONE:
            return True  # Looked at when the whole step is known.
        if fact.id in self.gathers and outcome[13] == _DONE:
            value, expected = unpack(body_of(outcome)), self._value(self.gathers[fact.id])
            require(value == expected, "cast", "gathers", text, value, expected)
            return True
        place = self.place_of(fact)
        if place is None or outcome[13] != _FAILED:
            return False
        error = unpack(body_of(outcome))
        if error["code"] != "seat_gone":
            return False
        config = self.checker.begins.limits_of(fact.name)
        count = 0 if config is None else self.places.of(config.processor)
        told = self.places.counts is not None
        require(told and place >= count, "cast", text, "place", place, "is there, of", count)
        return True

    def _value(self, cast: Cast) -> list[dict[str, Any]]:
        c = self.checker
        found = []
        for place, id in enumerate(cast.copies):
            known = c.known(id)
            require(bool(known), "cast", "gathered before", id.hex(), "has ended")
            what = "value" if known[0][13] == _DONE else "error"
            reply = {"socket": c.facts[id].name, "node": self._node().hex()[:12], "place": place}
            found.append({**reply, what: unpack(body_of(known[0]))})
        return found

    def starts(self, fact: Fact, worker: int, processor: str) -> None:
        """A call is handed to a worker: a copy only to who sits at its place."""
        require(not self.is_cast(fact), "cast", "a worker gets a broadcast", fact.id.hex())
        place = self.place_of(fact)
        sits = None if place is None else self.places.sits.get((processor, place))
        good = place is None or sits == worker
        require(good, "cast", fact.id.hex(), "is for place", place, "at", worker, "sits", sits)

    def idle(self, call: Any, processor: str, free: set[int]) -> None:
        """A broadcast or copy waits: nobody who could begin it does nothing."""
        place = None if call.line.seat is None else call.line.seat.place
        text = call.id.hex()
        if place is None:
            none = self.places.counts is None or not self.places.of(processor)
            waits = none or bool(call.line.timer_ms)  # Others have their turn first.
            require(waits, "I4 liveness", "broadcast does not begin", text)
            return
        count = self.places.of(processor)
        if self.places.counts is not None:
            require(place < count, "I4 liveness", "place", place, "of", count, "is gone", text)
        sits = self.places.sits.get((processor, place))
        require(sits not in free, "I4 liveness", "who sits at its place is free", text, sits)

    def waits(self, router: Router, id: bytes) -> bool:
        """Whether what gathers waits for a copy that waits for a person."""
        call, cast = router.calls.get(id), self.gathers.get(id)
        return (
            call is not None and cast is not None and call.state is State.GATHERING
            and any(self.checker.waits_for_a_person(router, copy) for copy in cast.copies)
        )  # fmt: skip

    def at_the_end(self, router: Router) -> None:
        """Every broadcast that has begun has come to its end."""
        c = self.checker
        for id, cast in self.casts.items():
            done = c.durable.done.get(id)
            if done is None or split_done(done)["code"] != _DONE:
                continue
            for one in (*cast.copies, cast.gather):
                if one not in c.durable.done:
                    c.must_wait(router, one)


__all__ = ["CastBook", "Places"]
