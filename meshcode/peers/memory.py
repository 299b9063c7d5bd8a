"""Amnesia (rule P12): which store and life each peer was last heard with, and how far its log was.

A store has a random id, a boot counter inside it, and a number that each transaction raises.  A
node makes a random *life* for each boot.  A node that returns with the same key and

- another store: its disk was replaced;
- a lower boot: its disk was restored from a copy;
- another life in the boot that is known: the copy was started as often as the original, or oftener;
- a later boot, this one or one before, that began at a transaction that was heard already: the
  same, for counting a boot is a transaction of its own,

has lost what it promised.  It is refused and must join as a new node.  Pure; the caller keeps
`pack()` safe.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from meshcode.errors import BadValue
from meshcode.ids import ID_BYTES
from meshcode.limits import PEER_COMMITS_UNKEPT
from meshcode.peers.lives import Life

_ENTRY = struct.Struct("<16s16sI16sQ")  # node, store, boot, life, commit
_OLD_ENTRY = struct.Struct("<16s16sI")  # Of version 1.
_HEAD = struct.Struct("<BI")  # version, entries
_OLD_VERSION, _VERSION = 1, 2
_NO_LIFE = bytes(ID_BYTES)  # Not known: kept by version 1.
_COMMIT_MAX = 2**63 - 1
_ADVICE = "start it in a new home and join it as a new node, then evict this one"


class Known(NamedTuple):
    """What is remembered of a peer."""

    store: bytes
    boot: int
    life: bytes = _NO_LIFE
    commit: int = 0  # The highest transaction heard of it.


class PeerMemory:
    """The newest store, boot and life heard of each peer, and its highest transaction."""

    def __init__(self) -> None:
        """Nobody was ever heard."""
        self.by_node: dict[bytes, Known] = {}
        self.changes = 0  # Counts what is worth keeping: pack and keep it when this has moved.
        self._unkept: dict[bytes, int] = {}  # Transactions heard since the last change.

    def judge(self, node: bytes, now: Known, past: Sequence[Life] = ()) -> str:
        """Why this peer must be refused, or an empty text; nothing is remembered yet.

        Args:
            now: what it says of itself; `commit` is that at which its boot began.
            past: the boots before that it tells of; some may be missing.
        """
        known = self.by_node.get(node)
        if known is None:
            return ""
        if now.store != known.store:
            return (
                f"node {node.hex()} returned with store {now.store.hex()}, it was known with store "
                f"{known.store.hex()}: its disk was replaced; {_ADVICE}"
            )
        copied = f"its disk was restored from a copy; {_ADVICE}"
        if now.boot < known.boot:
            return (
                f"node {node.hex()} returned in boot {now.boot}, it was known in boot "
                f"{known.boot}: {copied}"
            )
        for one in (*past, Life(now.boot, now.life, now.commit)):
            if one.boot == known.boot and known.life not in (_NO_LIFE, one.life):
                return (
                    f"node {node.hex()} had life {one.life.hex()[:8]} in boot {one.boot}, it was "
                    f"known in that boot with life {known.life.hex()[:8]}: {copied}"
                )
            if one.boot > known.boot and one.commit <= known.commit:
                return (
                    f"node {node.hex()} began boot {one.boot} at transaction {one.commit} of its "
                    f"log, transaction {known.commit} was heard of it in boot {known.boot}: "
                    f"{copied}"
                )
        return ""

    def remember(self, node: bytes, now: Known) -> bool:
        """Take what `judge` found good; true when it was new."""
        assert not self.judge(node, now), (node, now)
        assert len(node) == len(now.store) == len(now.life) == ID_BYTES, (node, now)
        known = self.by_node.get(node)
        if known is not None and known[:3] == now[:3]:
            return False
        self._keep(node, now)  # A later boot begins above what was heard.
        return True

    def heard(self, node: bytes, commit: int) -> None:
        """A peer whose session is open tells its newest transaction.

        Not each one is a change: keeping it is a transaction of ours, of which the peer hears, and
        two idle nodes would never come to rest.
        """
        known = self.by_node.get(node)
        if known is None or not known.commit < commit <= _COMMIT_MAX:
            return
        unkept = self._unkept.get(node, 0) + commit - known.commit
        if unkept >= PEER_COMMITS_UNKEPT:
            self._keep(node, known._replace(commit=commit))
        else:
            self.by_node[node] = known._replace(commit=commit)
            self._unkept[node] = unkept

    def forget(self, node: bytes) -> None:
        """Of a node that was evicted: its id never comes back."""
        if self.by_node.pop(node, None) is not None:
            self.changes += 1

    def _keep(self, node: bytes, known: Known) -> None:
        self.by_node[node] = known
        self.changes += 1
        self._unkept.clear()  # The caller keeps all of it.

    def pack(self) -> bytes:
        """All of it, the same bytes for the same content."""
        entries = sorted(self.by_node.items())
        head = _HEAD.pack(_VERSION, len(entries))
        return head + b"".join(_ENTRY.pack(node, *known) for node, known in entries)

    @classmethod
    def unpack(cls, data: bytes) -> PeerMemory:
        """What `pack` wrote, in this version or the one before.

        Raises:
            BadValue: other bytes; the log that gave them is damaged.
        """
        if len(data) < _HEAD.size:
            raise BadValue(f"the memory of peers has {len(data)} bytes, at least {_HEAD.size}")
        version, count = _HEAD.unpack_from(data)
        entry = _OLD_ENTRY if version == _OLD_VERSION else _ENTRY
        size = _HEAD.size + count * entry.size
        if version not in (_OLD_VERSION, _VERSION) or size != len(data):
            raise BadValue(
                f"the memory of peers is of version {version} with {len(data)} bytes, expected "
                f"version {_VERSION} and {size} bytes for {count} entries"
            )
        memory = cls()
        for node, *known in entry.iter_unpack(data[_HEAD.size :]):
            memory.by_node[node] = Known(*known)
        return memory
