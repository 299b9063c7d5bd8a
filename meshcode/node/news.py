"""What this node tells those who watch it: changes of the model, of processors here, of nodes.

    channel model       {"number", "changes": [[kind, name, "added" | "changed" | "deleted"]]}
    channel processor   {"number", "changes": [[name, status]]}, and the same of the model
    channel nodes       {"number", "changes": [[node, state]]}

A listener looks anew at each; one that misses some has only seen less of what was in between.  The
first event comes with the subscription, also when it is made again after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from meshcode.model.delta import Key
from meshcode.model.kinds import PLURALS
from meshcode.node.meshops import node_rows
from meshcode.router.effects import Effects

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

CHANNELS = ("model", "processor", "nodes")
BETWEEN_MS = 50  # Two looks at processors and nodes: a busy node has thousands of turns a second.


class News:
    """Compares what is with what was last told; does nothing while nobody listens."""

    def __init__(self, loop: Loop) -> None:
        """For one loop."""
        self._loop = loop
        self._told: dict[str, dict[str, Any]] = {"processor": {}, "nodes": {}}  # By channel.
        self._next_ms = 0
        self._is_due = False  # A look was put off.

    def begin(self, channel: str) -> None:
        """Somebody listens from now on."""
        if channel in self._told:
            self._told[channel] = self._now(channel)
        if channel in CHANNELS:
            self._tell(channel, [])

    def model_changed(
        self,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        keys: Iterable[Key] | None = None,
    ) -> None:
        """Another snapshot holds; all that may differ is named by `keys`, None: anything may."""
        wanted = [c for c in ("model", "processor") if self._loop.listeners.wants(c)]
        if not wanted:
            return
        changes = [list(change) for change in differences(before, after, keys)]
        for channel in wanted:
            self._tell(channel, changes)

    def look(self, now_ms: int) -> None:
        """Called each turn: is anything else with processors or nodes?  Not too often."""
        wanted = [c for c in self._told if self._loop.listeners.wants(c)]
        self._is_due = bool(wanted) and now_ms < self._next_ms
        if not wanted or self._is_due:
            return
        self._next_ms = now_ms + BETWEEN_MS
        for channel in wanted:
            told, now = self._told[channel], self._now(channel)
            self._told[channel] = now
            changes = [[k, row["status"]] for k, row in now.items() if told.get(k) != row]
            changes += [[k, "gone"] for k in told.keys() - now.keys()]
            if changes:
                self._tell(channel, changes)

    def next_due_ms(self) -> int | None:
        """When to look again because a look was put off."""
        return self._next_ms if self._is_due else None

    def _now(self, channel: str) -> dict[str, Any]:
        loop = self._loop
        if channel == "processor":
            return {name: loop.processors.progress(name) for name in loop.processors.by_name}
        if loop.mesh is None:
            return {}
        return {row["node"]: _of_node(row) for row in node_rows(loop.mesh)}

    def _tell(self, channel: str, changes: list[Any]) -> None:
        event = {"number": self._loop.snapshot["number"], "changes": changes}
        # With the turn, so that nobody hears of a change that a power cut would undo.
        self._loop.turns.add(Effects(news=[(channel, event)]))


def _of_node(row: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: row.get(name) for name in ("boot", "version", "link", "class", "reason")}
    return {"status": row["state"], **told}


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], keys: Iterable[Key] | None = None
) -> list[tuple[str, str, str]]:
    """Kind, name and what happened, of every object in which two snapshots differ.

    `keys`: the kinds and names that count; None: all.
    """
    if keys is None:
        plurals = sorted({*before, *after} - {"number"})
        pairs = [(plural, before.get(plural) or {}, after.get(plural) or {}) for plural in plurals]
        named = ((plural, name) for plural, old, new in pairs for name in sorted({*old, *new}))
    else:
        named = ((PLURALS[kind], name) for kind, name in sorted(keys))
    found = []
    for plural, name in named:
        old, new = before.get(plural) or {}, after.get(plural) or {}
        if old.get(name) != new.get(name):
            what = "added" if name not in old else "deleted" if name not in new else "changed"
            found.append((plural.removesuffix("s"), name, what))
    return found
