"""Flows as the checkers of both simulators see them: every plan evaluated in plain Python.

A task of a simulated flow gives a value that depends on nothing but its socket and its arguments,
so the result of every step is known beforehand, whoever runs it, how often, and in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from zlib import crc32

from meshcode.ids import child_id, text_of
from meshcode.router.plan import FLOW, GATHER
from meshcode.sim.plans import Drawn, DrawnPlan
from meshcode.sim.violation import require
from meshcode.wire.codec import pack, pack_call, unpack, unpack_call
from meshcode.wire.frame import check_envelope
from meshcode.wire.kinds import Flag, Outcome

# What is known of how a call ended: nothing, one OUTCOME envelope, or those of twins.
Find = Callable[[bytes], Iterable[bytes]]
_DONE, _FAILED, _CANCELLED = int(Outcome.DONE), int(Outcome.FAILED), int(Outcome.CANCELLED)


def work(submit: bytes) -> Any:
    """What every simulated task of a flow returns: its name and a mark of its arguments."""
    row = check_envelope(submit)
    args, kwargs = unpack_call(submit[row.body_at :], bool(row.flags & Flag.KWARGS))
    require(submit[14] == len(args), "I6 content", "argc", submit[14], "arguments", len(args))
    return _value(submit[row.name_at : row.meta_at].decode(), args, kwargs)


def _value(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return [name, crc32(pack_call(args, kwargs or None))]


def body_of(envelope: bytes) -> bytes:
    """The body of an envelope."""
    return envelope[check_envelope(envelope).body_at :]


def told(submit: bytes) -> str:
    """The arguments that a step was handed over with, for people."""
    row = check_envelope(submit)
    args, kwargs = unpack_call(submit[row.body_at :], bool(row.flags & Flag.KWARGS))
    named = [f"{name}={value}" for name, value in kwargs.items()]
    return f"({', '.join([*map(str, args), *named])})"


class FlowStep:
    """A step of a flow that may be accepted one day, or a copy of one."""

    __slots__ = ("drawn", "id", "root", "socket")

    def __init__(self, id: bytes, root: bytes, socket: str, drawn: Drawn) -> None:
        self.id = id
        self.root = root  # The flow whose steps its feed counts.
        self.socket = socket
        self.drawn = drawn


class FlowBook:
    """All flows that anybody made in a world."""

    def __init__(self) -> None:
        """No flow was made yet."""
        self.plans: dict[bytes, DrawnPlan] = {}  # By the id of the flow's own call.
        self.groups: dict[bytes, bytes] = {}  # Flow -> what its steps name as their flow.
        self.steps: dict[bytes, FlowStep] = {}  # By id, also those of refused flows.
        self._values: dict[bytes, Any] = {}
        self._needs: dict[bytes, tuple[bytes, ...]] = {}

    # What is made.

    def add(self, root: bytes, plan: DrawnPlan, group: bytes) -> None:
        """A flow is submitted under `root`, as part of the flow `group` or by itself."""
        self.plans[root] = plan
        self.groups[root] = group
        for number, drawn in enumerate(plan.steps):
            if drawn.done is None:
                id = step_id(root, number)
                self.steps[id] = FlowStep(id, root, drawn.socket, drawn)

    def again(self, new: bytes, old: bytes) -> None:
        """A person had the call of a flow submitted again, under another id."""
        self.add(new, self.plans[old], self.groups[old])

    def copy(self, new: bytes, old: bytes, socket: str) -> None:
        """A step lives on under another id: tried again, or as a dead letter."""
        step = self.steps[old]
        self.steps[new] = FlowStep(new, step.root, "" if socket == GATHER else socket, step.drawn)

    def __contains__(self, id: bytes) -> bool:
        return id in self.plans or id in self.steps

    def members(self, root: bytes) -> list[bytes]:
        """The ids of the calls that a flow brings into being."""
        steps = self.plans[root].steps
        return [step_id(root, n) for n, step in enumerate(steps) if step.done is None]

    def id_of(self, root: bytes, leaf: int | bytes) -> bytes:
        """The call that a feed of this flow names."""
        if isinstance(leaf, bytes):
            return leaf
        done = self.plans[root].steps[leaf].done
        return step_id(root, leaf) if done is None else done

    def result(self, root: bytes) -> bytes:
        """The call whose outcome is the flow's."""
        return self.id_of(root, self.plans[root].result)

    def retried(self, root: bytes, is_done: Callable[[bytes], bool]) -> DrawnPlan:
        """The plan of a retry: what ended DONE stands for itself."""
        old = self.plans[root]
        ids = [self.id_of(root, number) for number in range(len(old.steps))]
        steps = [
            Drawn("", done=id) if step.done is None and is_done(id) else step
            for id, step in zip(ids, old.steps, strict=True)
        ]
        return DrawnPlan(steps, old.result)

    # What must come of it.

    def needs(self, id: bytes) -> tuple[bytes, ...]:
        """The calls whose results a step is fed, each once."""
        found = self._needs.get(id)
        if found is None:
            step = self.steps[id]
            leaves = () if step.drawn.feed is None else _leaves(step.drawn.feed)
            ids = [self.id_of(step.root, leaf) for leaf in leaves]
            found = self._needs[id] = tuple(dict.fromkeys(ids))
        return found

    def waits_for(self, id: bytes) -> list[bytes]:
        """The same, and the results of those of them that are flows."""
        found = []
        for need in self.needs(id):
            at = need
            found.append(at)
            while at in self.plans:
                at = self.result(at)
                found.append(at)
        return found

    def value(self, id: bytes) -> Any:
        """The value of a step or flow if nothing fails."""
        if id in self.plans:
            return self.value(self.result(id))
        if id not in self._values:
            step = self.steps[id]
            drawn = step.drawn
            fed = [] if drawn.feed is None else [self._fed(step.root, drawn.feed)]
            self._values[id] = (
                _value(step.socket, fed + drawn.args, drawn.kwargs) if step.socket else fed[0]
            )
        return self._values[id]

    def _fed(self, root: bytes, feed: Any) -> Any:
        if not isinstance(feed, list):
            return self.value(self.id_of(root, feed))
        found: list[Any] = []
        for one in feed:
            if isinstance(one, dict):
                found += [self.value(self.id_of(root, n)) for n in _leaves(one)]
            else:
                found.append(self._fed(root, one))
        return found

    # Judgement.

    def opened(self, id: bytes, submit: bytes) -> None:
        """A step came into being: it is what its author wrote."""
        step = self.steps[id]
        drawn = step.drawn
        row = check_envelope(submit)
        meta = submit[row.meta_at : row.body_at]
        options = unpack(meta) if meta else {}
        name = submit[row.name_at : row.meta_at].decode()
        text = id.hex()
        require(name == (step.socket or GATHER), "I6 content", "socket", text, name)
        own = pack_call(drawn.args, drawn.kwargs or None)
        require(submit[row.body_at :] == own, "I6 content", "own arguments of", text)
        require(submit[14] == len(drawn.args), "I6 content", "argc of", text)
        require(submit[32:48] == self.groups[step.root], "I6 content", "flow of", text)
        has = options.get("kw", [])
        require(list(has) == list(drawn.kwargs), "I6 content", "keywords of", text, has)
        require(("feed" in options) == (drawn.feed is not None), "I6 content", "feed of", text)

    def begins(self, id: bytes, submit: bytes, find: Find) -> None:
        """A step is run: all that it needs is there, in front of its own arguments."""
        step = self.steps[id]
        drawn = step.drawn
        require(step.socket != "", "flow", "a gather step is run", id.hex())
        for need in self.waits_for(id):
            require(_some_done(find(need)), "flow", "begins before", need.hex(), "is DONE")
        fed = [] if drawn.feed is None else [self._fed(step.root, drawn.feed)]
        whole = pack_call(fed + drawn.args, drawn.kwargs or None)
        require(body_of(submit) == whole, "I6 content", "arguments of a step", id.hex())

    def ended(self, id: bytes, outcome: bytes, executed: bool, find: Find) -> bool:
        """A call of a flow ended; whether that is explained by the flow.

        Args:
            id: the call.
            outcome: its OUTCOME envelope.
            executed: whether a worker made it.
            find: what is known of other calls.
        """
        code = outcome[13]
        if code == _DONE:
            self._done(id, outcome, executed, find)
            return True
        error = unpack(body_of(outcome))
        if executed or "step" not in error["fields"]:
            return False
        require(id in self.steps, "flow", "a flow's own call names a step", id.hex(), error)
        self._spread(id, code, error, find)
        return True

    def _done(self, id: bytes, outcome: bytes, executed: bool, find: Find) -> None:
        data = unpack(body_of(outcome))
        if id in self.plans:
            result, count = self.result(id), len(self.plans[id].steps)
            good = data == {"result": result, "steps": count} and not executed
            require(good, "flow", "outcome", id.hex(), data)
            row = check_envelope(outcome)
            require(outcome[row.name_at : row.meta_at] == FLOW.encode(), "flow", "no mark")
            return
        step = self.steps[id]
        require(executed == (step.socket != ""), "flow", "nobody made", id.hex())
        for need in self.waits_for(id):
            require(_some_done(find(need)), "flow", "DONE before", need.hex(), id.hex())
        require(data == self.value(id), "flow", "value of", id.hex(), data, self.value(id))

    def _spread(self, id: bytes, code: int, error: dict[str, Any], find: Find) -> None:
        for need in self.needs(id):
            at = need
            while True:
                for outcome in find(at):
                    if outcome[13] == code and _is_same(error, unpack(body_of(outcome)), need):
                        return
                if at not in self.plans:
                    break
                at = self.result(at)
        require(False, "flow", "failed without a cause", id.hex(), error)


def step_id(root: bytes, number: int) -> bytes:
    """The id of a step, as docs/flows.md has it."""
    return child_id(root, b"%d" % number)


def _leaves(feed: Any) -> Iterator[int | bytes]:
    if isinstance(feed, list):
        for one in feed:
            yield from _leaves(one)
    elif isinstance(feed, dict):
        for at in range(feed["count"]):
            yield feed["from"] + at * feed.get("by", 1)
    else:
        yield feed


def _some_done(outcomes: Iterable[bytes]) -> bool:
    return any(outcome[13] == _DONE for outcome in outcomes)


def _is_same(error: dict[str, Any], cause: dict[str, Any], need: bytes) -> bool:
    """Whether an error is that of a needed call, which names the call it comes from."""
    due = {**cause, "fields": {"step": text_of(need), **cause["fields"]}}
    return pack(_sorted(error)) == pack(_sorted(due))


def _sorted(data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _sorted(value) if isinstance(value, dict) else value
        for key, value in sorted(data.items())
    }


__all__ = ["FlowBook", "FlowStep", "body_of", "step_id", "told", "work"]
