"""The graph of a flow: which step's value goes to which, as data, dot or mermaid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from meshcode.client.flows.plan import GATHER_SOCKET


class GraphNode(NamedTuple):
    """One step."""

    number: int  # In the plan, from 0.
    socket: str  # `@gather` for a step that only puts values together.
    id: str  # Of its call.
    state: str  # As the node knows it; empty when it was not asked.


class Graph(NamedTuple):
    """The steps of a flow and the edges between them."""

    nodes: list[GraphNode]
    edges: list[tuple[int, int]]  # From the step that gives its value to the one that takes it.
    result: int  # The step whose value is the flow's.

    def dot(self) -> str:
        """The graph in the language of Graphviz."""
        lines = ["digraph flow {", "  rankdir=LR;"]
        lines += [f"  s{n.number} [label={_quoted(_label(n))}];" for n in self.nodes]
        lines += [f"  s{start} -> s{end};" for start, end in self.edges]
        return "\n".join([*lines, "}"])

    def mermaid(self) -> str:
        """The graph in the language of Mermaid."""
        lines = ["flowchart LR"]
        lines += [f'  s{n.number}["{_escaped(_label(n))}"]' for n in self.nodes]
        lines += [f"  s{start} --> s{end}" for start, end in self.edges]
        return "\n".join(lines)

    def __str__(self) -> str:
        """One step a line, with the numbers of the steps that it needs."""
        needed: dict[int, list[int]] = {}
        for start, end in self.edges:
            needed.setdefault(end, []).append(start)
        return "\n".join(
            f"{n.number:>4}  {_label(n)}{_after(needed.get(n.number, ()))}" for n in self.nodes
        )


def _label(node: GraphNode) -> str:
    name = "gather" if node.socket == GATHER_SOCKET else node.socket or f"call {node.id}"
    return f"{name} {node.state}" if node.state else name


def _after(needed: Sequence[int]) -> str:
    return f"  after {', '.join(map(str, needed))}" if needed else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "#quot;").replace("\n", " ")
