"""What the model says of each processor besides its own options: sockets, overrides, deployments.

Read whole once, and then only what differs in the next snapshot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from meshcode.model.delta import Key
from meshcode.model.kinds import PLURALS

# What concerns all processors.
COMMON = frozenset(("setting", "secret", "scheduler", "node", "repo"))
_OF_ONE = ("socket", "override", "deployment")


class Declared:
    """Of one snapshot.  The maps in it are never changed in place."""

    def __init__(self) -> None:
        """Nothing is declared."""
        self.sockets: dict[str, dict[str, str]] = {}  # By processor: their tasks.
        self.overrides: dict[str, dict[str, Mapping[str, Any]]] = {}  # By processor.
        self.deployments: dict[str, dict[str, Mapping[str, Any]]] = {}  # By processor.
        self._plugs: Counter[str] = Counter()  # By source: those that take results.
        self._snapshot: Mapping[str, Any] = {}

    def take(self, snapshot: Mapping[str, Any], keys: Iterable[Key] | None) -> set[str] | None:
        """Take over a snapshot; give the processors of which anything is different.

        Args:
            snapshot: of the model.
            keys: kind and name of all objects that differ from the last one; None: anything may.

        Returns:
            Their names, also of those that are deleted; None: it may be all of them.
        """
        before, self._snapshot = self._snapshot, snapshot
        if keys is None:
            self._read(snapshot)
            return None
        found: set[str] = set()
        common = False
        for kind, name in keys:
            old = (before.get(PLURALS[kind]) or {}).get(name)
            new = (snapshot.get(PLURALS[kind]) or {}).get(name)
            common |= kind in COMMON
            if kind == "processor":
                found.add(name)
            elif kind == "plug":
                found |= self._replug(old, new)
            elif kind in _OF_ONE:
                found |= self._move(kind, name, old, new)
                common |= kind == "deployment" and self._is_spread(old)
        return None if common else found

    def is_deployed(self, processor: str, shares: Mapping[str, Mapping[str, int]]) -> bool:
        """Whether a deployment gives it CPUs anywhere; `shares`: what schedulers give to nodes."""
        return any(
            sum(shares.get(name, {}).values()) if entry.get("scheduler") else entry["cpus"]
            for name, entry in self.deployments.get(processor, {}).items()
        )

    def streams_of(self, processor: str) -> list[str]:
        """Its sockets whose generators stream, as they have plugs."""
        return sorted(name for name in self.sockets.get(processor, ()) if self._plugs.get(name))

    def overrides_of(self, processor: str) -> dict[str, str]:
        """Code in the place of its tasks."""
        found = sorted(self.overrides.get(processor, {}).items())
        return {fields["task"]: fields["code"] for _name, fields in found}

    def _read(self, snapshot: Mapping[str, Any]) -> None:
        self.sockets, self.overrides, self.deployments = {}, {}, {}
        for kind in _OF_ONE:
            for name, fields in (snapshot.get(PLURALS[kind]) or {}).items():
                self._put(kind, name, fields)
        self._plugs = Counter()
        for plug in (snapshot.get("plugs") or {}).values():
            self._plugs[plug["source"]] += plug.get("type") != "ERROR"

    def _put(self, kind: str, name: str, fields: Mapping[str, Any]) -> None:
        processor = fields["processor"]
        if kind == "socket":
            self.sockets.setdefault(processor, {})[name] = fields["task"]
        elif kind == "override":
            self.overrides.setdefault(processor, {})[name] = fields
        else:
            self.deployments.setdefault(processor, {})[name] = fields

    def _move(
        self, kind: str, name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
    ) -> set[str]:
        maps: dict[str, dict[str, Any]] = getattr(self, PLURALS[kind])
        found = {fields["processor"] for fields in (old, new) if fields is not None}
        for processor in found:  # Others hold the maps, and compare them with the new ones.
            maps[processor] = dict(maps.get(processor, ()))
        if old is not None:
            maps[old["processor"]].pop(name, None)
        if new is not None:
            self._put(kind, name, new)
        return found

    def _replug(self, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> set[str]:
        sockets = self._snapshot.get("sockets") or {}
        found = set()
        for plug, by in ((old, -1), (new, 1)):
            if plug is not None and plug.get("type") != "ERROR":
                self._plugs[plug["source"]] += by
                source = sockets.get(plug["source"])
                if source is not None:
                    found.add(source["processor"])
        return found

    def _is_spread(self, old: Mapping[str, Any] | None) -> bool:
        """Whether a scheduler puts any deployment somewhere: then each decides about the others."""
        deployments = (self._snapshot.get("deployments") or {}).values()
        is_old = old is not None and bool(old.get("scheduler"))
        return is_old or any(one.get("scheduler") for one in deployments)
