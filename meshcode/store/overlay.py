"""Changes that lie over a tree: what the journal has and the tree does not yet.

A `Layer` may be read by any thread while one other adds to it: what is asked of its dicts is one
step of the interpreter each.  Layers lie over each other, the newest first, and all over a `Base`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from meshcode.store.contract import Changes, key_before, keys_from

_PIECE = 256  # Rows of a base, where those at the beginning of a scan are gone.

Row = tuple[bytes, bytes]


class Growth(NamedTuple):
    """Records and bytes of their values that a table has more, or less."""

    records: int
    bytes: int


class Base(Protocol):
    """What a layer lies over, as far as layers ask."""

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Log.get_many`."""

    def scan(
        self, table: str, start: bytes | None = None, *, reverse: bool = False, limit: int = 1000
    ) -> list[Row]:
        """As `Log.scan`."""

    def keys(
        self, table: str, start: bytes | None = None, *, reverse: bool = False, limit: int = 1000
    ) -> list[bytes]:
        """As `Log.keys`."""


class Layer:
    """The last change of each key of some batches."""

    def __init__(self) -> None:
        """One that changes nothing."""
        self.changes: Changes = {}
        self.number = 0  # Of the newest batch in it.
        self._sorted: dict[str, tuple[int, list[bytes]]] = {}
        # Of the first so many keys of a table: what the base has under them.
        self._known: dict[str, tuple[int, Growth]] = {}
        self._grown: dict[str, tuple[int, Growth]] = {}  # By table: as of which batch, and what.

    def add(self, number: int, batches: Iterable[Changes]) -> None:
        """Lay a batch over what is there.  For one thread only."""
        for changes in batches:
            for table, values in changes.items():
                mine = self.changes.get(table)
                if mine is None:
                    self.changes[table] = dict(values)
                else:
                    mine.update(values)
        self.number = number

    def sorted(self, table: str) -> list[bytes]:
        """The keys that it changes, in order."""
        values = self.changes.get(table, {})
        count, keys = self._sorted.get(table, (0, []))
        if count != len(values):  # A key that was there once stays.
            found = list(values)
            self._sorted[table] = count, keys = len(found), sorted(found)
        return keys

    def keys(self, table: str, start: bytes | None, reverse: bool, limit: int) -> list[bytes]:
        """Up to `limit` of the keys that it changes, in order from `start` on."""
        return keys_from(self.sorted(table), start, reverse, limit)

    def growth(self, table: str, base: Base) -> Growth:
        """What the table has more with it than `base` alone."""
        values, number = self.changes.get(table), self.number
        if values is None:
            return Growth(0, 0)
        grown = self._grown.get(table)
        if grown is not None and grown[0] == number:
            return grown[1]
        count, there = self._known.get(table, (0, Growth(0, 0)))
        if count != len(values):
            new = list(islice(list(values), count, None))
            old = [len(value) for value in base.get_many(table, new) if value is not None]
            there = Growth(there.records + len(old), there.bytes + sum(old))
            self._known[table] = count + len(new), there
        sizes = [len(value) for value in list(values.values()) if value is not None]
        growth = Growth(len(sizes) - there.records, sum(sizes) - there.bytes)
        self._grown[table] = number, growth
        return growth

    def bytes(self) -> int:
        """Of all values that it has."""
        tables = list(self.changes.values())
        return sum(len(value) for values in tables for value in list(values.values()) if value)


class Over:
    """A layer over a base is a base again."""

    def __init__(self, layer: Layer, base: Base) -> None:
        self.layer = layer
        self.base = base

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Log.get_many`."""
        values = self.layer.changes.get(table)
        if not values:
            return self.base.get_many(table, keys)
        found = {key: values[key] for key in keys if key in values}
        if len(found) < len(keys):
            missing = [key for key in keys if key not in found]
            found.update(zip(missing, self.base.get_many(table, missing), strict=True))
        return [found[key] for key in keys]

    def scan(
        self, table: str, start: bytes | None = None, *, reverse: bool = False, limit: int = 1000
    ) -> list[Row]:
        """As `Log.scan`."""
        values = self.layer.changes.get(table)
        if not values:
            return self.base.scan(table, start, reverse=reverse, limit=limit)
        keys = self.layer.sorted(table)
        if reverse:
            places = range((len(keys) if start is None else bisect_right(keys, start)) - 1, -1, -1)
        else:
            places = range(0 if start is None else bisect_left(keys, start), len(keys))
        found: list[Row] = []
        if limit == 0:
            return found
        piece = self.base.scan(table, start, reverse=reverse, limit=limit)
        if len(piece) == limit:
            last = piece[-1][0]
            if not places or (keys[places[0]] < last if reverse else keys[places[0]] > last):
                return piece  # Nothing of ours lies between.
        rows = self._below(table, piece, reverse, limit)
        row = next(rows, None)  # The next one only when there is room: a piece of the base is read.
        for key in map(keys.__getitem__, places):  # Thousands; a scan wants few of them.
            while row is not None and (row[0] > key if reverse else row[0] < key):
                found.append(row)
                if len(found) == limit:
                    return found
                row = next(rows, None)
            value = values[key]
            if value is not None:
                found.append((key, value))
                if len(found) == limit:
                    return found
            if row is not None and row[0] == key:
                row = next(rows, None)
        while row is not None:
            found.append(row)
            if len(found) == limit:
                break
            row = next(rows, None)
        return found

    def keys(
        self, table: str, start: bytes | None = None, *, reverse: bool = False, limit: int = 1000
    ) -> list[bytes]:
        """As `Log.keys`."""
        values = self.layer.changes.get(table)
        if not values:
            return self.base.keys(table, start, reverse=reverse, limit=limit)
        found: list[bytes] = []
        while len(found) < limit:
            below = self.base.keys(table, start, reverse=reverse, limit=limit)
            mine = self.layer.keys(table, start, reverse, limit)
            if not mine:
                found += below
                break
            ends = [keys[-1] for keys in (below, mine) if len(keys) == limit]
            edge = (max if reverse else min)(ends, default=None)  # Both are whole up to there.
            there = list(dict.fromkeys(sorted(below + mine, reverse=reverse)))
            if edge is not None:
                del there[there.index(edge) + 1 :]
            gone = {key for key in mine if values[key] is None}
            found += [key for key in there if key not in gone] if gone else there
            start = edge and (key_before(edge) if reverse else edge + b"\0")
            if start is None:
                break
        return found[:limit]

    def _below(
        self, table: str, rows: list[Row], reverse: bool, limit: int
    ) -> Iterator[Row]:
        """The rows of the base from a first piece on, read as they are wanted: more than the first
        only where rows of it are gone, and then often thousands lie behind each other.
        """
        while rows:
            yield from rows
            if len(rows) < limit:
                return
            start = key_before(rows[-1][0]) if reverse else rows[-1][0] + b"\0"
            if start is None:
                return
            limit = max(limit, _PIECE)
            rows = self.base.scan(table, start, reverse=reverse, limit=limit)
