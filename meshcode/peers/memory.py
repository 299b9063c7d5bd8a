"""Amnesia (rule P12): which store and boot each peer was last heard with.

A store has a random id and a boot counter inside it.  A node that returns with the same key and
another store, or with a lower boot, has lost what it promised: its disk was replaced, or restored
from a copy.  It is refused and must join as a new node.  Pure; the caller keeps `pack()` safe.
"""

from __future__ import annotations

import struct

from meshcode.errors import BadValue
from meshcode.ids import ID_BYTES

_ENTRY = struct.Struct("<16s16sI")  # node, store, boot
_HEAD = struct.Struct("<BI")  # version, entries
_VERSION = 1


class PeerMemory:
    """The highest (store id, boot) heard of each peer."""

    def __init__(self) -> None:
        """Nobody was ever heard."""
        self.by_node: dict[bytes, tuple[bytes, int]] = {}
        self.changes = 0  # Counts what was learnt: pack and keep it when this has moved.

    def judge(self, node: bytes, store: bytes, boot: int) -> str:
        """Why this peer must be refused, or an empty text; nothing is remembered yet."""
        known = self.by_node.get(node)
        if known is None:
            return ""
        if store != known[0]:
            return (
                f"node {node.hex()} returned with store {store.hex()}, it was known with store "
                f"{known[0].hex()}: its disk was replaced; join it as a new node and evict this one"
            )
        if boot < known[1]:
            return (
                f"node {node.hex()} returned in boot {boot}, it was known in boot {known[1]}: its "
                "disk was restored from a copy; join it as a new node and evict this one"
            )
        return ""

    def remember(self, node: bytes, store: bytes, boot: int) -> bool:
        """Take what `judge` found good; true when it was new."""
        assert not self.judge(node, store, boot), (node, store, boot)
        assert len(node) == len(store) == ID_BYTES, (node, store)
        if self.by_node.get(node) == (store, boot):
            return False
        self.by_node[node] = (store, boot)
        self.changes += 1
        return True

    def forget(self, node: bytes) -> None:
        """Of a node that was evicted: its id never comes back."""
        if self.by_node.pop(node, None) is not None:
            self.changes += 1

    def pack(self) -> bytes:
        """All of it, the same bytes for the same content."""
        entries = sorted(self.by_node.items())
        head = _HEAD.pack(_VERSION, len(entries))
        return head + b"".join(_ENTRY.pack(node, *known) for node, known in entries)

    @classmethod
    def unpack(cls, data: bytes) -> PeerMemory:
        """What `pack` wrote.

        Raises:
            BadValue: other bytes; the log that gave them is damaged.
        """
        if len(data) < _HEAD.size:
            raise BadValue(f"the memory of peers has {len(data)} bytes, at least {_HEAD.size}")
        version, count = _HEAD.unpack_from(data)
        size = _HEAD.size + count * _ENTRY.size
        if version != _VERSION or size != len(data):
            raise BadValue(
                f"the memory of peers is of version {version} with {len(data)} bytes, expected "
                f"version {_VERSION} and {size} bytes for {count} entries"
            )
        memory = cls()
        for node, store, boot in _ENTRY.iter_unpack(data[_HEAD.size :]):
            memory.by_node[node] = (store, boot)
        return memory
