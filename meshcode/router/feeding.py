"""What a step of a flow is fed: results of other calls, as bytes, in front of its own arguments.

A *feed* says which, and how they are put together:

    n                                       the value of step n of the plan
    16 bytes                                the value of the call with that id
    [feed, ...]                             a list of them
    {"from": n, "count": k, "by": d}        in a list: n, n + d, n + 2d ..., k of them
    {"first": n, ..., "done": [[flow, bits], ...]}
                                            the same, but for each bit that is set the step of the
                                            same number of that flow

The last is what nodes write where a wide flow is made again: ids would be 18 bytes for each branch.
It has no "from", so a node that does not know it refuses it.
Values are never decoded here: a list is its header and its members' bytes.  The plan is
docs/flows.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from meshcode import native
from meshcode.ids import ID_BYTES, child_id
from meshcode.limits import BODY_BYTES_MAX, DATA_DEPTH_MAX, FLOW_STEPS_MAX
from meshcode.native.layout import Fault, FaultCode
from meshcode.router.envelopes import body_at, body_of
from meshcode.wire.frame import AT_ARGC, with_body, with_first
from meshcode.wire.kinds import Flag

ARGC_MAX: Final = 254
_KWARGS: Final = int(Flag.KWARGS)
_SHORT_HEADS: Final = [bytes((0x90 | count,)) for count in range(16)]
_IS_SCANNED_QUICKLY: Final = native.TWIN == "c"
_NOT_NESTING: Final = bytes(  # What may begin no list or map.
    byte for byte in range(256) if not (0x80 <= byte < 0xA0 or 0xDC <= byte < 0xE0)
)
_DEPTH_TOLD_MAX: Final = 255
_IDS_KEPT: Final = 2_048  # Ids of steps worked out of late: each is wanted again where it is fed.


def step_id(plan: bytes, number: int) -> bytes:
    """The id of a step: everybody who knows the id of the plan can work it out."""
    ids = _newest.get(plan)
    return ids[number] if ids is not None and number < len(ids) else _step_id(plan, number)


@lru_cache(_IDS_KEPT)
def _step_id(plan: bytes, number: int) -> bytes:
    return child_id(plan, b"%d" % number)


def step_ids(plan: bytes, count: int) -> list[bytes]:
    """The ids of so many steps, from the first."""
    ids = native.numbered_ids(plan, count)
    _newest.clear()
    _newest[plan] = ids
    return ids


_newest: dict[bytes, list[bytes]] = {}  # Those of one plan: what is made of it names them again.


def leaves(feed: Any) -> Iterator[int | bytes]:
    """The steps and calls that a feed names, in order, as often as it names them."""
    if isinstance(feed, list):
        for one in feed:
            yield from leaves(one)
    elif isinstance(feed, dict):
        if "done" in feed:
            yield from _mixed_leaves(feed)
            return
        first, by = feed["from"], feed.get("by", 1)
        yield from range(first, first + by * feed["count"], by)
    else:
        yield feed


def _mixed_leaves(feed: dict[str, Any]) -> Iterator[int | bytes]:
    first, by, done = feed["first"], feed.get("by", 1), feed["done"]
    for place in range(feed["count"]):
        number = first + by * place
        at, bit = place >> 3, 1 << (place & 7)
        for flow, bits in done:
            if at < len(bits) and bits[at] & bit:
                yield child_id(flow, b"%d" % number)
                break
        else:
            yield number


def problem(feed: Any, before: int, level: int = 0) -> str | None:
    """What is wrong with the feed of step number `before`, or None."""
    if isinstance(feed, bool) or feed is None:
        return f"a feed names steps, it is {feed!r}"
    if isinstance(feed, int):
        if not 0 <= feed < before:
            return f"it needs step {feed}; a step may need those before it, 0 to {before - 1}"
        return None
    if isinstance(feed, bytes):
        return None if len(feed) == ID_BYTES else f"an id has {ID_BYTES} bytes, not {len(feed)}"
    if isinstance(feed, list):
        if level >= DATA_DEPTH_MAX:
            return f"its feed is nested deeper than {DATA_DEPTH_MAX} lists"
        for one in feed:
            found = _range_problem(one, before) if isinstance(one, dict) else problem(
                one, before, level + 1
            )
            if found is not None:
                return found
        return None
    return f"a feed is a number, an id or a list, it is {feed!r:.60}"


def _range_problem(feed: dict[str, Any], before: int) -> str | None:
    first, count, by = feed.get("from"), feed.get("count"), feed.get("by", 1)
    if "done" in feed and "from" not in feed:
        first = feed.get("first")
        if not _are_flows(feed["done"]):
            return f"a range of steps names flows and bits as done, it is {feed!r:.60}"
    numbers = (first, count, by)
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in numbers):
        return f"a range of steps has whole numbers as from, count and by, it is {feed!r:.60}"
    assert isinstance(first, int) and isinstance(count, int) and isinstance(by, int)
    if first < 0 or by < 1 or not 0 <= count <= FLOW_STEPS_MAX:
        return f"a range of steps counts up from 0, it is {feed!r:.60}"
    last = first + by * (count - 1)
    if count and last >= before:
        return f"it needs step {last}; a step may need those before it, 0 to {before - 1}"
    return None


def _are_flows(done: Any) -> bool:
    return isinstance(done, list) and all(
        isinstance(one, list)
        and [type(part) for part in one] == [bytes, bytes]
        and len(one[0]) == ID_BYTES
        for one in done
    )


def replaced(feed: Any, done: Mapping[int, bytes]) -> Any:
    """The same feed with the ids of calls in place of steps that are not made again."""
    if isinstance(feed, list):
        found: list[Any] = []
        for one in feed:
            if isinstance(one, dict) and not done.keys().isdisjoint(leaves(one)):
                found.extend(replaced(n, done) for n in leaves(one))
            else:
                found.append(replaced(one, done))
        return found
    if isinstance(feed, int):
        return done.get(feed, feed)
    return feed


def flows_of(done: Mapping[int, bytes], earlier: Sequence[bytes]) -> dict[int, bytes]:
    """The flow of which a call that stands for a step is the step of the same number, by number."""
    found: dict[int, bytes] = {}
    for flow in earlier:
        ids = native.numbered_ids(flow, max(done, default=-1) + 1)
        found.update((number, flow) for number, id in done.items() if ids[number] == id)
    return found


def shortened(feed: Any, done: Mapping[int, bytes], flows: Mapping[int, bytes]) -> Any:
    """As `replaced`, but ranges stay ranges where it is known whose steps the calls are."""
    if not isinstance(feed, list):
        return replaced(feed, done)
    found: list[Any] = []
    for one in feed:
        if isinstance(one, dict) and not done.keys().isdisjoint(leaves(one)):
            mixed = None if "done" in one else _mixed(one, done, flows)
            found.extend([mixed] if mixed else replaced([one], done))
        else:
            found.append(shortened(one, done, flows))
    return found


def _mixed(
    feed: dict[str, Any], done: Mapping[int, bytes], flows: Mapping[int, bytes]
) -> dict[str, Any] | None:
    """A range some of whose steps are those of other flows; None where one's flow is not known."""
    bits: dict[bytes, bytearray] = {}
    first, by = feed["from"], feed.get("by", 1)
    for place in range(feed["count"]):
        number = first + by * place
        if number not in done:
            continue
        flow = flows.get(number)
        if flow is None:
            return None
        of_flow = bits.setdefault(flow, bytearray())
        of_flow.extend(bytes((place >> 3) + 1 - len(of_flow)))
        of_flow[place >> 3] |= 1 << (place & 7)
    told = [[flow, bytes(one)] for flow, one in bits.items()]
    return {"first": first, "count": feed["count"], "by": by, "done": told}


def value_of(feed: Any, find: Callable[[int | bytes], bytes]) -> bytes:
    """The packed value of a feed; `find` gives that of a step or call."""
    if not isinstance(feed, list):
        return find(feed)
    parts: list[bytes] = []
    for one in feed:
        if isinstance(one, dict):
            parts.extend(find(leaf) for leaf in leaves(one))
        else:
            parts.append(value_of(one, find))
    return list_head(len(parts)) + b"".join(parts)


def depth_over(value: bytes) -> int:
    """How many levels deep a packed value is nested, if more than a value may be; else 0."""
    if len(value) <= DATA_DEPTH_MAX:  # Each level has a byte of its own.
        return 0
    if not _IS_SCANNED_QUICKLY and len(value.translate(None, _NOT_NESTING)) <= DATA_DEPTH_MAX:
        return 0
    for limit in range(DATA_DEPTH_MAX, _DEPTH_TOLD_MAX + 1):
        try:
            native.scan(value, 1, limit)
        except Fault as fault:
            if fault.code == FaultCode.DATA_DEPTH:
                continue
        return 0 if limit == DATA_DEPTH_MAX else limit
    return _DEPTH_TOLD_MAX


def list_head(count: int) -> bytes:
    """The header of a packed list."""
    if count < 16:
        return _SHORT_HEADS[count]
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


class Fed:
    """What a call gets beside what it was submitted with: put together when it is handed over.

    Calls that are fed the same value share its bytes.
    """

    __slots__ = ("args", "kwargs", "size")

    def __init__(self, args: list[bytes], kwargs: Mapping[str, bytes] | None = None) -> None:
        """Packed values: those that come first in the arguments, and by name."""
        self.args = args
        self.kwargs = kwargs or {}
        self.size = sum(map(len, args)) + sum(map(len, self.kwargs.values()))

    def submit(self, envelope: bytes) -> bytes:
        """The SUBMIT envelope for its worker."""
        if self.kwargs or len(self.args) != 1:
            return fed_named(envelope, self.args, self.kwargs)
        return fed(envelope, self.args[0])


class Whole:
    """In the place of that: the envelope for the worker, as somebody else has put it together."""

    __slots__ = ("envelope", "size")

    def __init__(self, envelope: bytes, size: int = 0) -> None:
        """`size`: the bytes that it has more than what the call was submitted with."""
        self.envelope = envelope
        self.size = size

    def submit(self, _envelope: bytes | None) -> bytes:
        """The SUBMIT envelope for its worker."""
        return self.envelope


class One:
    """The same for one value in front of the arguments: what most steps are fed."""

    __slots__ = ("size", "value")

    def __init__(self, value: bytes) -> None:
        """A packed value."""
        self.value = value
        self.size = len(value)

    def submit(self, envelope: bytes) -> bytes:
        """The SUBMIT envelope for its worker."""
        return fed(envelope, self.value)


def fed(submit: bytes, value: bytes) -> bytes:
    """The SUBMIT envelope of a step with a value in front of its own arguments."""
    made = native.feed_first(submit, value)
    if made is not None:
        return made
    at = body_at(submit)
    first = submit[at]
    if 0x90 <= first < 0x9F and len(submit) + len(value) <= BODY_BYTES_MAX:
        return with_first(submit, at, value)
    if first == 0xDC:
        count, rest = int.from_bytes(submit[at + 1 : at + 3], "big"), at + 3
    elif first == 0xDD:
        count, rest = int.from_bytes(submit[at + 1 : at + 5], "big"), at + 5
    else:
        count, rest = first & 0x0F, at + 1
    argc = submit[AT_ARGC]
    body = b"".join((list_head(count + 1), value, submit[rest:]))
    return with_body(submit, body, argc + 1 if argc < ARGC_MAX else argc)


def map_of(values: Mapping[str, bytes]) -> bytes:
    """A packed map of packed values."""
    count = len(values)
    head = bytes((0x80 | count,)) if count < 16 else b"\xde" + count.to_bytes(2, "big")
    return head + b"".join(_text(name) + value for name, value in values.items())


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) < 32:
        return bytes((0xA0 | len(data),)) + data
    if len(data) < 256:
        return b"\xd9" + bytes((len(data),)) + data
    return b"\xda" + len(data).to_bytes(2, "big") + data


def fed_named(submit: bytes, args: list[bytes], kwargs: Mapping[str, bytes]) -> bytes:
    """The SUBMIT envelope of a call that a join makes, with its arguments."""
    body = list_head(len(args)) + b"".join(args) + (map_of(kwargs) if kwargs else b"")
    return with_body(submit, body, len(args), _KWARGS if kwargs else 0)


def argument_of(submit: bytes) -> bytes:
    """The one argument of a SUBMIT envelope that has one, packed."""
    return body_of(submit)[1:]
