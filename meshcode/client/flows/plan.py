"""A plan: the flow as the node is given it (docs/flows.md, "The plan").

    {"steps": [[socket, argc, args, feed, options], ...], "result": number}

Steps come after those that they need.  The pure functions here read plans; `compiling.py` makes
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from meshcode.errors import TooLarge
from meshcode.ids import child_id
from meshcode.limits import BODY_BYTES_MAX, FLOW_STEPS_MAX
from meshcode.wire.codec import pack_call

FLOW_SOCKET = "@flow"  # Built into every node.
GATHER_SOCKET = "@gather"  # The name of a step that only puts values together.
DONE_ALREADY = "done"  # In the place of a feed: the step stands for a call that is there.

Feed = int | list[Any] | None
Step = list[Any]
_RANGE_MIN = 4  # Numbers in a row that are worth a map.


class Plan(NamedTuple):
    """The steps of a flow, and the number of the one whose outcome is the flow's."""

    steps: list[Step]
    result: int
    earlier: list[bytes] = []  # Flows that it is made again from, the first of them first.

    def to_data(self) -> dict[str, Any]:
        """The plan as plain data."""
        data = {"steps": self.steps, "result": self.result}
        return {**data, "earlier": self.earlier} if self.earlier else data

    def body(self) -> bytes:
        """The packed arguments of the call that submits it.

        Raises:
            TooLarge: more steps or bytes than a flow may have; the text has both numbers.
        """
        check_size(len(self.steps))
        try:
            return pack_call([self.to_data()])
        except TooLarge as error:
            found = error.fields["found"]
            raise TooLarge(
                f"the plan of this flow would take {found} bytes, the limit is {BODY_BYTES_MAX};"
                " nothing was sent; pass large data by reference, for instance a path, or make"
                " several flows",
                found=found, limit=BODY_BYTES_MAX,
            ) from None  # fmt: skip

    def name(self, number: int) -> str:
        """The socket of a step, `@gather`, or the empty text for a call that is done already."""
        socket, _, _, feed, _ = self.steps[number]
        return str(socket or ("" if feed == DONE_ALREADY else GATHER_SOCKET))

    def ids(self, flow_id: bytes) -> list[bytes]:
        """The ids of the calls that the steps are."""
        return [
            step[2] if step[3] == DONE_ALREADY else child_id(flow_id, b"%d" % number)
            for number, step in enumerate(self.steps)
        ]

    def needs(self, number: int) -> list[int]:
        """The numbers of the steps that a step waits for, in the order of its feed."""
        feed = self.steps[number][3]
        return [] if feed == DONE_ALREADY else list(needed(feed))

    def edges(self) -> list[tuple[int, int]]:
        """Which step's value goes to which."""
        return [(needed, n) for n in range(len(self.steps)) for needed in self.needs(n)]


def check_size(steps: int) -> None:
    """Raises TooLarge when a flow may not have so many steps."""
    if steps > FLOW_STEPS_MAX:
        raise TooLarge(
            f"this flow would have {steps} steps, the limit is {FLOW_STEPS_MAX}; nothing was sent;"
            " make several flows, or let one call do more",
            found=steps, limit=FLOW_STEPS_MAX,
        )  # fmt: skip


def numbers(feed: Feed) -> Iterator[int]:
    """The numbers of steps in a feed, in order."""
    if isinstance(feed, int):
        yield feed
        return
    for item in feed or ():
        if isinstance(item, dict):
            yield from _range(item)
        else:
            yield from numbers(item)


def needed(feed: Feed) -> Iterator[int]:
    """As `numbers`, and the steps that only have to have ended: a row of 0 names its first."""
    if isinstance(feed, int):
        yield feed
        return
    for item in feed or ():
        if isinstance(item, dict):
            yield from _range(item) or (item["from"],)
        else:
            yield from needed(item)


def filled(feed: Feed, value: Callable[[int], Any]) -> Any:
    """The value of a feed: the values of its steps in their places."""
    if isinstance(feed, int):
        return value(feed)
    found: list[Any] = []
    for item in feed or ():
        if isinstance(item, dict):
            found += [value(number) for number in _range(item)]
        else:
            found.append(filled(item, value))
    return found


def shortened(items: list[Any]) -> list[Any]:
    """The same feed, with a map in the place of numbers that are equally far from each other."""
    found: list[Any] = []
    at = 0
    while at < len(items):
        end = _end_of_row(items, at)
        if end - at >= _RANGE_MIN:
            by = items[at + 1] - items[at]
            found.append({"from": items[at], "count": end - at} | ({"by": by} if by != 1 else {}))
        else:
            found += items[at:end]
        at = end
    return found


def _end_of_row(items: list[Any], start: int) -> int:
    """Where the numbers that begin at `start` stop growing evenly; at least one further on."""
    end = start + 1
    if type(items[start]) is not int or end == len(items) or type(items[end]) is not int:
        return end
    by = items[end] - items[start]
    if by < 1:
        return end
    while end < len(items) and type(items[end]) is int and items[end] - items[end - 1] == by:
        end += 1
    return end if end - start >= _RANGE_MIN else start + 1


def _range(item: dict[str, int]) -> range:
    first, by = item["from"], item.get("by", 1)
    return range(first, first + item["count"] * by, by)
