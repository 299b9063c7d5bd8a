"""Random flows of the campaign: pipelines, branches, branches in branches, folds."""

from __future__ import annotations

from random import Random
from typing import Any

from meshcode.ids import child_id, text_of
from meshcode.wire.codec import pack_call

STAGES_MAX = 4
BRANCHES_MAX = 5


class Maker:
    """Makes one plan; its choices come from a number, so that it can be made again."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.steps: list[list[Any]] = []  # [function, arguments, feed], as the history has it.

    def add(self, function: str, arguments: list[Any], feed: Any) -> int:
        """One more step; its number."""
        self.steps.append([function, arguments, feed])
        return len(self.steps) - 1

    def flow(self) -> int:
        """The whole flow; the number of its result."""
        last = self.add("turn", [self.rng.randrange(1 << 31)], None)
        for _ in range(self.rng.randint(1, STAGES_MAX)):
            last = self.stage(last, depth=0)
        return last

    def stage(self, before: int, depth: int) -> int:
        """One function, or branches and a fold of their results."""
        if depth > 1 or self.rng.random() < 0.5:
            return self.add("turn", [], before)
        extra = self.rng.randrange(1_000)
        if self.rng.random() < 0.3:  # Alike branches, as a range.
            count, first = self.rng.randint(1, BRANCHES_MAX), len(self.steps)
            for _ in range(count):
                self.add("turn", [], before)
            return self.add("fold", [extra], [{"from": first, "count": count}])
        ends = [self.stage(before, depth + 1) for _ in range(self.rng.randint(1, BRANCHES_MAX))]
        feed: list[Any] = [*ends[:1], ends[1:]]  # A list in a list.
        if self.rng.random() < 0.5:
            return self.add("fold", [extra], self.add("gather", [], feed))
        return self.add("fold", [extra], feed)


def described(seed: int, id: bytes) -> dict[str, Any]:
    """The flow of that number as the history has it, if its own call has that id."""
    maker = Maker(seed)
    result = maker.flow()
    ids = [text_of(child_id(id, b"%d" % number)) for number in range(len(maker.steps))]
    return {"seed": seed, "plan": maker.steps, "ids": ids, "result": result}


def plan_of(told: dict[str, Any], sockets: dict[str, str]) -> dict[str, Any]:
    """The plan to submit; `sockets`: of each function."""
    steps = [
        [sockets.get(function, ""), len(arguments), pack_call(arguments), feed, None]
        for function, arguments, feed in told["plan"]
    ]
    return {"steps": steps, "result": told["result"]}
