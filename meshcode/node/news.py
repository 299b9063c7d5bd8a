"""What this node tells those who watch it: changes of the model, and what processors do here.

    channel model       {"number", "changes": [[kind, name, "added" | "changed" | "deleted"]]}
    channel processor   {"number", "changes": [[name, status]]}, and the same of the model

A listener looks anew at each; one that misses some has only seen less of what was in between.  The
first event comes with the subscription, also when it is made again after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshcode.router.effects import Effects

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

CHANNELS = ("model", "processor")


class News:
    """Compares what is with what was last told; does nothing while nobody listens."""

    def __init__(self, loop: Loop) -> None:
        """For one loop."""
        self._loop = loop
        self._told: dict[str, Any] = {}  # By processor: its progress.

    def begin(self, channel: str) -> None:
        """Somebody listens from now on."""
        if channel == "processor":
            self._told = self._progress()
        if channel in CHANNELS:
            self._tell(channel, [])

    def model_changed(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Another snapshot holds."""
        wanted = [channel for channel in CHANNELS if self._loop.listeners.wants(channel)]
        if not wanted:
            return
        changes = differences(before, after)
        for channel in wanted:
            self._tell(channel, [list(change) for change in changes])

    def look(self) -> None:
        """Called once a turn: did a processor get any further?"""
        if not self._loop.listeners.wants("processor"):
            return
        now = self._progress()
        told, self._told = self._told, now
        changes = [[name, row["status"]] for name, row in now.items() if told.get(name) != row]
        changes += [[name, "gone"] for name in told.keys() - now.keys()]
        if changes:
            self._tell("processor", changes)

    def _progress(self) -> dict[str, Any]:
        processors = self._loop.processors
        return {name: processors.progress(name) for name in processors.by_name}

    def _tell(self, channel: str, changes: list[Any]) -> None:
        event = {"number": self._loop.snapshot["number"], "changes": changes}
        # With the turn, so that nobody hears of a change that a power cut would undo.
        self._loop.turns.add(Effects(news=[(channel, event)]))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Kind, name and what happened, of every object in which two snapshots differ."""
    found = []
    for plural in sorted({*before, *after} - {"number"}):
        old, new = before.get(plural) or {}, after.get(plural) or {}
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                what = "added" if name not in old else "deleted" if name not in new else "changed"
                found.append((plural.removesuffix("s"), name, what))
    return found
