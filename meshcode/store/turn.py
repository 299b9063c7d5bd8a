"""What is staged in the tree and not safe yet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from meshcode.store.blobs import blob_bytes
from meshcode.store.contract import Changes


@dataclass(slots=True)
class Turn:
    """What was staged since the last sync; kept until it is safe, so that it can be put again."""

    changes: list[Changes]
    number: int = 0  # Of the newest batch of the journal that is in here; 0: none.
    new: dict[bytes, bytes] = field(default_factory=dict)  # Blob references put, with values.
    gone: set[bytes] = field(default_factory=set)  # Blob references overwritten or deleted.
    # Those of `gone` or `new` that an earlier sync made durable.
    standing: set[bytes] = field(default_factory=set)
    places: dict[bytes, bytes | None] = field(default_factory=dict)  # What BLOB_TABLE will have.
    blobs: int = 0  # References put, less those removed.
    size: int = 0  # Bytes of rows and blobs put.
    growth: Counter[str] = field(default_factory=Counter)  # Of blobs, in bytes, by table.

    def let_go(self, table: str, reference: bytes) -> None:
        """A record refers no more to a blob; its file goes once this is safe."""
        if reference not in self.new:
            self.standing.add(reference)
        self.gone.add(reference)
        self.new.pop(reference, None)
        self.growth[table] -= blob_bytes(reference)
        self.blobs -= 1

    def take_on(self, table: str, reference: bytes, value: bytes) -> None:
        """A record refers to a blob; its file is written before this is safe."""
        self.gone.discard(reference)  # If the same value is there: its file stays.
        if reference not in self.standing:
            self.new[reference] = value
            self.size += len(value)
        self.growth[table] += len(value)
        self.blobs += 1


__all__ = ["Turn"]
