"""The calls of a flow as a graph: every call once, with lines from what it needs, joins included.

A call that is a step of a flow needs the steps in its `feed` (docs/wire.md); any other call needs
the call that caused it, its parent.  Calls alike (same socket and state, same needs, needed by the
same) are one node with a count when there are more than ALIKE_MAX of them, so that a parallel of
1,000 is one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from meshcode.cli.table import clean
from meshcode.ids import child_id, parse_id, text_of
from meshcode.limits import FLOW_STEPS_MAX

ALIKE_MAX = 4
FLOW_SOCKET = "@flow"  # Of the call that is the root of a declared flow.
PLANS_MAX = 20  # Whose steps are put in order: the flow, and those that its tasks began.
LANES_MAX = 60  # Columns of a drawing; what has more lines at once is for dot.


class Node(NamedTuple):
    """A call, or several calls alike."""

    socket: str
    state: str
    ids: tuple[str, ...]
    needs: tuple[int, ...]  # Numbers of earlier nodes.

    @property
    def label(self) -> str:
        """How a drawing shows it."""
        which = self.ids[0] if len(self.ids) == 1 else f"{len(self.ids):,} calls"
        return clean(f"{self.socket} ({self.state}, {which})")


class Strokes(NamedTuple):
    """What a graph is drawn with: rows of a connector by where it is in the row."""

    call: str
    down: str
    across: str
    tee: str  # A line that goes on: at the left end, in the middle, at the right end.
    end: str  # A line that ends here: the same three places.
    begin: str  # A line that begins here: the same.


UTF8 = Strokes("*", "│", "─", "├┼┤", "╰┴╯", "╭┬╮")
ASCII = Strokes("*", "|", "-", "+++", "`+'", ".+.")


def leaves_of(feed: Any) -> Iterator[int | bytes]:
    """The numbers of steps and ids of calls that a feed names, however deep."""
    stack = [feed]
    while stack:
        one = stack.pop()
        if isinstance(one, int | bytes) and not isinstance(one, bool):
            yield one
        elif isinstance(one, list | tuple):
            stack.extend(reversed(one))
        elif isinstance(one, dict) and "done" in one:
            yield from _mixed_leaves(one)
        elif isinstance(one, dict):
            first, count, by = one.get("from"), one.get("count"), one.get("by", 1)
            if all(isinstance(n, int) for n in (first, count, by)):
                yield from range(first, first + count * by, by) if by else ()


def _mixed_leaves(feed: dict[str, Any]) -> Iterator[int | bytes]:
    """Of a range of steps of which some are those of earlier flows (`router.feeding`)."""
    match feed:
        case {"first": int(first), "count": int(count), "by": int(by), "done": list(done)}:
            pass
        case _:
            return
    for place in range(count):
        number, at, bit = first + place * by, place >> 3, 1 << (place & 7)
        flow = next((one for one, bits in done if at < len(bits) and bits[at] & bit), None)
        yield number if flow is None else child_id(flow, b"%d" % number)


def needs_of(call: dict[str, Any]) -> list[str]:
    """The ids of the calls that a call waits for, or that caused it."""
    feed = call.get("feed")
    if feed is None:
        parent = call.get("parent")
        return [parent] if parent and parent != call["id"] else []
    plan = parse_id(str(call.get("plan") or call["flow"]))
    return list(dict.fromkeys(
        text_of(leaf if isinstance(leaf, bytes) else child_id(plan, b"%d" % leaf))
        for leaf in leaves_of(feed)
    ))  # fmt: skip


def as_declared(calls: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The calls of one flow: its root, steps in the order of their plans, then all others.

    Steps are known by their ids, which are worked out; `count` is how many a plan may have.
    """
    roots = [call for call in calls if call.get("socket") == FLOW_SOCKET][:PLANS_MAX]
    place: dict[str, int] = {}
    for root in roots:
        plan, base = parse_id(str(root["id"])), len(place)
        place.setdefault(str(root["id"]), base)
        for number in range(min(count, FLOW_STEPS_MAX)):
            place[text_of(child_id(plan, b"%d" % number))] = base + 1 + number
    return sorted(calls, key=lambda call: place.get(str(call["id"]), len(place)))


def graph(calls: Sequence[dict[str, Any]]) -> list[Node]:
    """The nodes of a graph, each after all that it needs; needs that are not known are left out."""
    by_id = {str(call["id"]): call for call in calls}
    needs = {id: [n for n in needs_of(call) if n in by_id] for id, call in by_id.items()}
    needed_by: dict[str, list[str]] = {id: [] for id in by_id}
    for id, wanted in needs.items():
        for need in wanted:
            needed_by[need].append(id)
    alike: dict[Any, list[str]] = {}
    for id in _ordered(list(by_id), needs, needed_by):
        call = by_id[id]
        key = (call.get("socket"), call.get("state"), frozenset(needs[id]),
               frozenset(needed_by[id]))  # fmt: skip
        alike.setdefault(key, []).append(id)
    groups: list[list[str]] = []
    for ids in alike.values():
        groups += [ids] if len(ids) > ALIKE_MAX else [[id] for id in ids]
    place = {id: number for number, ids in enumerate(groups) for id in ids}
    # Groups are looked at again, since one may stand where the last of its calls would.
    above = {str(n): list({str(place[x]) for id in ids for x in needs[id]})
             for n, ids in enumerate(groups)}  # fmt: skip
    below: dict[str, list[str]] = {name: [] for name in above}
    for name, wanted in above.items():
        for need in wanted:
            below[need].append(name)
    order = [int(name) for name in _ordered(list(above), above, below)]
    number = {group: at for at, group in enumerate(order)}
    return [
        Node(
            str(by_id[groups[group][0]].get("socket") or ""),
            str(by_id[groups[group][0]].get("state") or ""),
            tuple(groups[group]),
            tuple(sorted(n for need in above[str(group)] if (n := number[int(need)]) < at)),
        )
        for at, group in enumerate(order)
    ]


def _ordered(
    names: Sequence[str], needs: dict[str, list[str]], needed_by: dict[str, list[str]]
) -> list[str]:
    """Each after all that it needs, branch by branch; rounds, which there should not be, last."""
    missing = {name: len(needs[name]) for name in names}
    ready = [name for name in reversed(names) if not missing[name]]
    found: list[str] = []
    while ready:
        name = ready.pop()
        found.append(name)
        for child in reversed(needed_by[name]):
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    done = set(found)
    return found + [name for name in names if name not in done]


def forward(calls: Iterable[dict[str, Any]], root: str) -> list[dict[str, Any]]:
    """What a call has caused, itself included: its children and theirs, and what they feed."""
    every = list(calls)
    below: dict[str, list[dict[str, Any]]] = {}
    for call in every:
        links = {str(call.get("parent") or ""), *(needs_of(call) if call.get("feed") else ())}
        for above in links:
            below.setdefault(above, []).append(call)
    found = {str(call["id"]): call for call in every if call["id"] == root}
    stack = [root]
    while stack:
        for call in below.get(stack.pop(), ()):
            if call["id"] not in found:
                found[str(call["id"])] = call
                stack.append(str(call["id"]))
    return [call for call in every if str(call["id"]) in found]


# Drawing.


def draw(nodes: Sequence[Node], strokes: Strokes) -> list[str]:
    """A line for each node, and lines between them for what each needs."""
    waiting = [0] * len(nodes)  # How many nodes further down still need it.
    for node in nodes:
        for need in node.needs:
            waiting[need] += 1
    lanes: list[int | None] = []  # Whose value flows down there.
    found: list[str] = []
    for number, node in enumerate(nodes):
        needs = set(node.needs)
        taken = [at for at, lane in enumerate(lanes) if lane in needs]
        for need in needs:
            waiting[need] -= 1
        ends = [at for at in taken if not waiting[lanes[at] or 0]]
        place = ends[0] if ends else _free(lanes)
        if place == len(lanes):
            lanes.append(None)
        if taken and taken != [place]:
            found.append(_connector(lanes, taken, ends, place, strokes))
        for at in ends:
            lanes[at] = None
        lanes[place] = number if waiting[number] else None
        cells = [strokes.down if lane is not None else " " for lane in lanes]
        cells[place] = strokes.call
        found.append(" ".join(cells).rstrip() + " " + node.label)
        while lanes and lanes[-1] is None:
            lanes.pop()
    return found


def width(nodes: Sequence[Node]) -> int:
    """How many lines run beside each other at most."""
    last = {need: at for at, node in enumerate(nodes) for need in node.needs}
    open_lanes = most = 0
    for at, node in enumerate(nodes):
        open_lanes -= sum(1 for need in node.needs if last[need] == at)
        open_lanes += at in last
        most = max(most, open_lanes)
    return most


def _free(lanes: list[int | None]) -> int:
    return lanes.index(None) if None in lanes else len(lanes)


def _connector(
    lanes: list[int | None], taken: list[int], ends: list[int], place: int, strokes: Strokes
) -> str:
    """The row that joins the lanes taken to the place of the call."""
    first, last = min(*taken, place), max(*taken, place)
    row = []
    for at, lane in enumerate(lanes):
        where = 0 if at == first else 2 if at == last else 1
        if at == place:
            char = (strokes.tee if at in taken else strokes.begin)[where]
        elif at in ends:
            char = strokes.end[where]
        elif at in taken:
            char = strokes.tee[where]
        elif lane is not None:
            char = strokes.down
        else:
            char = strokes.across if first < at < last else " "
        row += [char, strokes.across if first <= at < last else " "]
    return "".join(row).rstrip()


def dot(nodes: Sequence[Node]) -> list[str]:
    """The graph in the language of Graphviz."""
    lines = ["digraph flow {", "  node [shape=box];"]
    for number, node in enumerate(nodes):
        label = _escaped(node, "\\n").replace('"', '\\"')
        lines.append(f'  n{number} [label="{label}"];')
    lines += [f"  n{need} -> n{at};" for at, node in enumerate(nodes) for need in node.needs]
    return [*lines, "}"]


def mermaid(nodes: Sequence[Node]) -> list[str]:
    """The graph in the language of Mermaid."""
    lines = ["graph TD"]
    for number, node in enumerate(nodes):
        label = _escaped(node, "<br/>").replace('"', "#quot;")
        lines.append(f'  n{number}["{label}"]')
    return lines + [f"  n{need} --> n{at}" for at, node in enumerate(nodes) for need in node.needs]


def _escaped(node: Node, line_end: str) -> str:
    which = node.ids[0] if len(node.ids) == 1 else f"{len(node.ids):,} calls"
    return line_end.join((clean(node.socket).replace("\\", "/"), node.state, which))
