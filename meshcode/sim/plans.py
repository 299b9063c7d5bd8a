"""Plans of flows as clients of a simulated world make them, drawn from its seed.

A plan is drawn as people write flows: tasks one after the other, beside each other, and gathered by
a task, nested; some are wrong on purpose, and must be refused as a whole.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from meshcode.router.plan import DONE_STEP
from meshcode.wire.codec import pack_call

Feed = Any
_LEVELS_MAX = 3
_WORK = inspect.signature(lambda a, b=1: None)  # noqa: ARG005 - what signed worlds have.
_BRANCHES = (0, 1, 2, 2, 3, 4)
# Ways to spoil a plan; all are refused as bad_request but the last.
_WRONGS = ("itself", "later", "range", "reserved", "argc", "shape", "result", "unknown")


@dataclass(slots=True)
class Drawn:
    """One step as its author means it."""

    socket: str  # "" gathers.
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    feed: Feed = None
    options: dict[str, Any] | None = None
    done: bytes | None = None  # An earlier call that stands for it.

    def wire(self) -> list[Any]:
        """The step as a client sends it."""
        if self.done is not None:
            return [None, 0, self.done, DONE_STEP, None]
        options = dict(self.options or {})
        if self.kwargs:
            options["kw"] = list(self.kwargs)
        args = pack_call(self.args, self.kwargs or None)
        return [self.socket or None, len(self.args), args, self.feed, options or None]


@dataclass(slots=True)
class DrawnPlan:
    """A whole flow."""

    steps: list[Drawn]
    result: int
    wrong: str = ""  # How it was spoiled.

    def body(self) -> bytes:
        """The body of its SUBMIT envelope."""
        steps = [step.wire() for step in self.steps]
        data: dict[str, Any] = {"steps": steps, "result": self.result}
        at = len(steps) - 1
        last = steps[at]
        if self.wrong == "itself":
            last[3] = [at]
        elif self.wrong == "later":
            steps[0][3] = len(steps)
        elif self.wrong == "range":
            last[3] = [{"from": 0, "count": at + 1}]
        elif self.wrong == "reserved":
            last[4] = {**(last[4] or {}), "feed": 0}
        elif self.wrong == "argc":
            last[1] += 1
        elif self.wrong == "shape":
            last.append(None)
        elif self.wrong == "result":
            data["result"] = len(steps)
        return pack_call([data])

    @property
    def code(self) -> str:
        """With which error it is refused; "" when it is not spoiled."""
        if not self.wrong:
            return ""
        return "unknown_socket" if self.wrong == "unknown" else "bad_request"


class Author:
    """Draws one plan."""

    def __init__(
        self,
        rng: Random,
        sockets: list[str],
        known: list[bytes],
        options: Callable[[], dict[str, Any] | None],
        steps_max: int,
    ) -> None:
        """Who writes flows.

        Args:
            rng: of the world.
            sockets: that may be called.
            known: calls of earlier flows, and such flows, that may stand for a step or be fed.
            options: draws those of a step.
            steps_max: about so many steps; the list that is open then is closed.
        """
        self.rng = rng
        self.sockets = sockets
        self.known = known
        self.options = options
        self.steps_max = steps_max
        self.steps: list[Drawn] = []

    def plan(self, *, wrong_chance: float = 0.0) -> DrawnPlan:
        """A flow with at least one step."""
        feed = self._part(None, 0)
        if not isinstance(feed, int):
            feed = self._add(Drawn("", feed=feed))
        wrong = ""
        if self.rng.random() < wrong_chance:
            wrong = self.rng.choice(_WRONGS)
            last = self.steps[-1]
            if wrong == "unknown":
                last.socket, last.done = "nowhere", None
            elif (self.steps[0] if wrong == "later" else last).done is not None:
                wrong = "shape"  # Such a step has nothing else that could be wrong.
        return DrawnPlan(self.steps, feed, wrong)

    def _add(self, step: Drawn) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def _part(self, feed: Feed, level: int) -> Feed:
        """Something that is fed `feed`; what the next is fed with comes back."""
        rng = self.rng
        kind = rng.random()
        if level >= _LEVELS_MAX or len(self.steps) >= self.steps_max or kind < 0.3:
            return self._task(feed)
        if kind < 0.6:
            for _ in range(rng.randint(1, 3)):
                feed = self._part(feed, level + 1)
            return feed
        branches = [self._part(feed, level + 1) for _ in range(rng.choice(_BRANCHES))]
        if rng.random() < 0.1 and branches:
            branches.append(rng.choice(branches))  # One that is needed twice.
        if self.known and rng.random() < 0.2:
            branches.append(rng.choice(self.known))
        found = _folded(branches) if rng.random() < 0.7 else branches
        if kind < 0.8:
            return found
        return self._task(found)

    def _task(self, feed: Feed) -> Feed:
        rng = self.rng
        if self.known and feed is None and rng.random() < 0.25:
            return self._add(Drawn("", done=rng.choice(self.known)))
        if feed is not None and rng.random() < 0.1:
            return self._add(Drawn("", feed=feed))
        args = [rng.randrange(100) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
        kwargs = {"b": rng.randrange(100)} if rng.random() < 0.15 else {}
        if not args and feed is None:
            args = [rng.randrange(100)]
        if rng.random() < 0.05:
            args = [rng.randrange(100) for _ in range(20)]  # A longer list has another header.
        step = Drawn(rng.choice(self.sockets), args, kwargs, feed, self.options())
        return self._add(step)


def are_wrong(options: dict[str, Any]) -> bool:
    """Whether the options of a call must be refused."""
    return any(
        type(value) is not int or value < 0 or (name == "priority" and value > 9)
        for name, value in options.items()
        if name != "key"
    )


def binds(step: Drawn) -> bool:
    """Whether `work(a, b=1)` takes the arguments of a step."""
    given = ([None] if step.feed is not None else []) + step.args
    try:
        _WORK.bind(*given, **step.kwargs)
    except TypeError:
        return False
    return True


def from_words(words: list[str]) -> DrawnPlan:
    """A flow as stories write it: `a:1 b<0:2,3 <[0,1]`; the last step is its result.

    A word is the socket (none gathers), after `<` what it is fed, after `:` its own arguments.
    """
    steps = []
    for word in words:
        head, _, own = word.partition(":")
        socket, _, feed = head.partition("<")
        args = [int(one) for one in own.split(",") if one]
        steps.append(Drawn(socket, args, feed=json.loads(feed) if feed else None))
    return DrawnPlan(steps, len(steps) - 1)


def _folded(branches: list[Feed]) -> list[Feed]:
    """The same list with a range in place of numbers that are equally far apart."""
    if len(branches) < 2 or not all(isinstance(one, int) for one in branches):
        return branches
    by = branches[1] - branches[0]
    even = all(b - a == by for a, b in pairwise(branches))
    if by < 1 or not even:
        return branches
    entry = {"from": branches[0], "count": len(branches)}
    return [entry | ({"by": by} if by > 1 else {})]


__all__ = ["Author", "Drawn", "DrawnPlan", "are_wrong", "binds", "from_words"]
