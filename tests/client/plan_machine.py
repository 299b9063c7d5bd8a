"""Runs plans as docs/flows.md says, in a few lines: what the client compiles is held against it.

It knows nothing of compositions, and takes steps in any order in which they are ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from meshcode.errors import RemoteError, from_data
from meshcode.ids import child_id
from meshcode.wire.codec import unpack_call

Function = Callable[[str, list[Any], dict[str, Any]], Any]
Ended = tuple[str, Any]  # DONE and a value, or FAILED or CANCELLED and error data.


class Pending(Exception):
    """A function that has not ended yet."""


class Machine:
    """One run of a plan."""

    def __init__(self, plan: dict[str, Any], flow_id: bytes, function: Function) -> None:
        """`function` is called with socket, arguments and keywords of each step."""
        self.steps = plan["steps"]
        self.result = plan["result"]
        self.ended: dict[int, Ended] = {}
        self.began: set[int] = set()
        self.calls = 0
        self.function = function
        self.ids = []
        for number, step in enumerate(self.steps):
            check_step(number, step)
            self.ids.append(step[2] if step[3] == "done" else child_id(flow_id, b"%d" % number))

    def advance(self) -> None:
        """Run every step that can run."""
        for number in range(len(self.steps)):  # In topological order, so once is enough.
            if number not in self.ended:
                self._try(number)

    def state(self, number: int) -> str:
        """The state of a step."""
        if number in self.ended:
            return self.ended[number][0]
        if number in self.began:
            return "RUNNING"
        return "GATHERING" if self.steps[number][3] is not None else "WAITING"

    def _try(self, number: int) -> None:
        socket, _, body, feed, options = self.steps[number]
        needed = list(needs(feed))
        if any(n not in self.ended for n in needed):
            return
        for n in needed:
            state, found = self.ended[n]
            if state != "DONE":
                first = found["fields"].get("step") or self.ids[n].hex()
                fields = {**found["fields"], "step": first}
                self.ended[number] = (state, {**found, "fields": fields})
                return
        fed = [] if feed is None else [self._value(feed)]
        if not socket:
            self.ended[number] = ("DONE", fed[0])
            return
        args, kwargs = unpack_call(body, bool(options and "kw" in options))
        assert list(kwargs) == list((options or {}).get("kw", []))
        self.began.add(number)
        self.calls += 1
        try:
            self.ended[number] = ("DONE", self.function(socket, fed + args, kwargs))
        except Pending:
            return
        except Exception as error:
            data = RemoteError(str(error), type=type(error).__name__).to_data()
            self.ended[number] = ("FAILED", data)

    def _value(self, feed: Any) -> Any:
        if isinstance(feed, int):
            return self.ended[feed][1]
        found = []
        for item in feed:
            if isinstance(item, dict):
                found += [self.ended[n][1] for n in row_of(item)]
            else:
                found.append(self._value(item))
        return found


def run(plan: dict[str, Any], function: Function) -> Any:
    """The value of a plan; raises the error of the step that failed first."""
    machine = Machine(plan, bytes(16), function)
    machine.advance()
    state, found = machine.ended[machine.result]
    if state != "DONE":
        raise from_data(found)
    return found


def needs(feed: Any) -> Iterator[int]:
    """The steps in a feed, those too that only have to have ended."""
    if isinstance(feed, int):
        yield feed
    elif isinstance(feed, dict):
        yield from row_of(feed) or [feed["from"]]
    else:
        for item in feed or ():
            yield from needs(item)


def row_of(item: dict[str, int]) -> range:
    """The steps that a map in a feed stands for."""
    assert item.keys() <= {"from", "count", "by"}, item
    by = item.get("by", 1)
    assert by > 0, item
    return range(item["from"], item["from"] + by * item["count"], by)


def check_step(number: int, step: Any) -> None:
    """A step is what the contract says, and needs only steps before it."""
    socket, argc, body, feed, options = step
    if feed == "done":
        assert socket is None, step
        assert len(body) == 16, step
        return
    assert socket is None or isinstance(socket, str), step
    assert 0 <= argc <= 253, step
    assert all(0 <= n < number for n in needs(feed)), (number, feed)
    assert options is None or "feed" not in options, step
    assert socket or feed is not None, step
    args, _ = unpack_call(body, bool(options and "kw" in options))
    assert len(args) == argc, step
