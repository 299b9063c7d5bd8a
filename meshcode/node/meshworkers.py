"""The workers of all nodes: what a client is told of those that it has not asked.

    mesh.workers   the workers of each peer, which commit it runs of each processor, and who did
                   not say; without a mesh of nobody

Peers are asked for their `status`, which all versions know.  What they answer is looked at: known
names with plain values only.
"""

# ruff: noqa: ARG001  Operations share one shape.

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshcode.node.meshops import Answers, answer, ask_peers, good_data, silent_peers
from meshcode.node.sessions import Session

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

_NUMBERS = ("id", "pid", "calls", "holds", "resident")
_TEXTS = ("processor", "state")


def workers(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """The workers of the peers, each with the declared nodes that it is."""
    mesh = loop.mesh
    if mesh is None:
        return {"this": None, "nodes": [], "silent": []}
    asked = set(mesh.here())

    def answered(answers: Answers) -> None:
        told = {
            node: {
                "workers": rows, "declared": _names(data.get("declared")),
                "commits": commits_of(data.get("processors")),
            }
            for node, data in good_data(answers).items()
            if (rows := _rows(data.get("workers"))) is not None
        }  # fmt: skip
        nodes = [{"name": mesh.name_of(node), **data} for node, data in told.items()]
        answer(loop, session, request, {
            "this": mesh.identity.name, "nodes": sorted(nodes, key=lambda row: row["name"]),
            "silent": silent_peers(mesh, asked, set(told)),
        })  # fmt: skip

    ask_peers(mesh, "status", {}, answered)
    return None


def _rows(told: object) -> list[dict[str, Any]] | None:
    """Workers as they are listed, or None for what are none."""
    if not isinstance(told, list):
        return None
    rows = []
    for row in told:
        if not isinstance(row, dict):
            return None
        numbers = {name: row.get(name) for name in _NUMBERS}
        texts = {name: row.get(name) for name in _TEXTS}
        cpu, commit = row.get("cpu"), row.get("commit")
        if not all(type(value) is int for value in numbers.values()):
            return None
        if not all(isinstance(value, str) for value in texts.values()):
            return None
        rows.append({
            **numbers, **texts, "cpu": cpu if type(cpu) is int else None,
            "commit": commit if isinstance(commit, str) else "",  # Older nodes do not say.
        })  # fmt: skip
    return rows


def commits_of(told: object) -> dict[str, str]:
    """The commit that a node runs of each processor that it has workers of, by its status."""
    found = {}
    for row in told if isinstance(told, list) else []:
        if isinstance(row, dict) and row.get("workers"):
            name, commit = row.get("name"), row.get("commit")
            if isinstance(name, str) and isinstance(commit, str):
                found[name] = commit
    return found


def _names(told: object) -> list[str]:
    """The declared nodes that a peer says it is; older ones do not say."""
    rows = told if isinstance(told, list) else []
    return [name for name in rows if isinstance(name, str)]


OPERATIONS: dict[str, Callable[[Any, Session, bytes, dict[str, Any]], Any]] = {
    "mesh.workers": workers,
}
