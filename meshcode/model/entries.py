"""One object of the model as nodes tell each other of it: what it is, whose edit, in which order.

An entry is one *edit* of one object, whole: all options, or that it was deleted.  Edits of one
object are ordered by their stamp, a number and the node that made it; the later one holds, on
every node, in whatever order they come.  Nothing here reads a clock: the number is one more than
the highest that its maker knew, so an edit made in sight of another one is always later.

    on the wire    [kind, name, number, node, options or nil, [[node, number], ...]]

The last field says which edits of the same object were seen when this one was made.  It decides
nothing; it tells an edit that went on from ours from one that did not know of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from meshcode.digest import blake2b
from meshcode.errors import BadValue
from meshcode.limits import MODEL_EDITORS_MAX, MODEL_MESSAGE_BYTES_MAX
from meshcode.model.checks import check_name, shown
from meshcode.model.fields import check_published
from meshcode.model.kinds import KINDS
from meshcode.wire.codec import pack

NODE_BYTES = 16
STAMP_MAX = 1 << 62  # A stamp's number; what a database column holds, with room to count on.
BUCKETS = 1_024  # Keys are spread over so many; two nodes compare them to find what differs.
BUCKET_BYTES = 8  # Of a bucket's digest.

Key = tuple[str, str]  # Kind, name.
Seen = tuple[tuple[bytes, int], ...]  # Node and number of its latest edit, by node.


@dataclass(frozen=True, slots=True)
class Entry:
    """One edit of one object."""

    kind: str
    name: str
    number: int  # 1 to STAMP_MAX.
    node: bytes  # Who made the edit.
    fields: dict[str, Any] | None  # Options; None: it was deleted.  Never changed in place.
    seen: Seen
    size: int  # Bytes on the wire.
    mark: int  # 128-bit hash of all of it.

    @property
    def key(self) -> Key:
        """Which object."""
        return self.kind, self.name

    @property
    def order(self) -> tuple[int, bytes, int]:
        """The highest holds.  The mark only matters when a node forgot what it had stamped."""
        return self.number, self.node, self.mark

    def knew(self, other: Entry) -> bool:
        """Whether this edit was made in sight of `other`, an edit of the same object."""
        if self.node == other.node:
            return self.number >= other.number
        return dict(self.seen).get(other.node, 0) >= other.number

    def row(self) -> list[Any]:
        """The entry as plain data."""
        seen = [[node, number] for node, number in self.seen]
        return [self.kind, self.name, self.number, self.node, self.fields, seen]


def make_entry(
    key: Key, number: int, node: bytes, fields: dict[str, Any] | None, seen: Seen = ()
) -> Entry:
    """An entry of options that were checked; `seen` in the order of its nodes."""
    kind, name = key
    plain = None if fields is None else _sorted(fields)
    packed = pack([kind, name, number, node, plain, [[n, at] for n, at in seen]], "the object")
    mark = int.from_bytes(blake2b(packed, digest_size=16).digest(), "big")
    return Entry(kind, name, number, node, fields, seen, len(packed), mark)


def after(entry: Entry | None, node: bytes, *others: Entry) -> Seen:
    """What an edit by `node` has seen when it is made on top of `entry`, and in sight of others."""
    if entry is None:
        return ()
    known: dict[bytes, int] = {}
    for one in (entry, *others):
        for maker, number in (*one.seen, (one.node, one.number)):
            known[maker] = max(number, known.get(maker, 0))
    known.pop(node, None)  # Its own edits it knows anyway.
    latest = sorted(known.items(), key=lambda item: item[1])[-MODEL_EDITORS_MAX:]
    return tuple(sorted(latest))


def read_entry(row: Any, *, trusted: bool = False) -> Entry:
    """The entry in a row that a peer sent, every part of it checked.

    Args:
        row: as `Entry.row` gives it.
        trusted: it is from this node's log, where a newer or older meshcode may have put it, so
            its options are not looked at.

    Raises:
        BadValue: it is no entry at all.
        BadRequest: an entry whose options this version of meshcode cannot use.
    """
    if not isinstance(row, list) or len(row) != 6:
        raise BadValue(f"an object of the model is {shown(row)}; it must be a list of 6")
    kind, name, number, node, fields, seen = row
    if kind not in KINDS or not isinstance(kind, str):
        raise BadValue(f"an object of the model has kind {shown(kind)}; it has: {', '.join(KINDS)}")
    try:
        check_name(name)
    except ValueError as exc:
        raise BadValue(f"the name of a {kind} is {shown(name)}; it must be {exc}") from None
    what = f"the entry of {kind} {name!r}"
    stamp = _read_stamp([node, number], what)
    read_seen = _read_seen(seen, stamp[1], what)
    if fields is not None:
        if not isinstance(fields, dict) or not all(isinstance(field, str) for field in fields):
            raise BadValue(f"{what} has options {shown(fields)}; they must be a map, or nil")
        if not trusted:
            check_published(kind, name, fields)
    return make_entry((kind, name), stamp[1], stamp[0], fields, read_seen)


def bucket_of(key: Key) -> int:
    """Which of the BUCKETS an object belongs to."""
    digest = blake2b(f"{key[0]}/{key[1]}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def messages_of(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Entries as messages to a peer, each of at most MODEL_MESSAGE_BYTES_MAX bytes when packed."""
    return [{"objects": rows} for rows in _batches(entries)]


def _batches(entries: Iterable[Entry]) -> Iterator[list[Any]]:
    rows: list[Any] = []
    room = MODEL_MESSAGE_BYTES_MAX - 64  # The map, its key and the length of the list.
    size = 0
    for entry in entries:
        if rows and size + entry.size > room:
            yield rows
            rows, size = [], 0
        rows.append(entry.row())
        size += entry.size
    if rows:
        yield rows


def _sorted(fields: dict[str, Any]) -> dict[str, Any]:
    # Maps are equal in any order, and so must their hashes be.
    return {
        field: dict(sorted(value.items())) if isinstance(value, dict) else value
        for field, value in sorted(fields.items())
    }


def _read_stamp(pair: Any, what: str) -> tuple[bytes, int]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise BadValue(f"{what} has a stamp {shown(pair)}; it must be a node and a number")
    node, number = pair
    if not isinstance(node, bytes) or len(node) != NODE_BYTES:
        raise BadValue(f"{what} is by node {shown(node)}; it must be {NODE_BYTES} bytes")
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= STAMP_MAX:
        raise BadValue(f"{what} has number {shown(number)}; it must be from 1 to {STAMP_MAX}")
    return node, number


def _read_seen(seen: Any, number: int, what: str) -> Seen:
    if not isinstance(seen, list) or len(seen) > MODEL_EDITORS_MAX:
        raise BadValue(
            f"{what} has seen {shown(seen)}; it must be a list of at most {MODEL_EDITORS_MAX}"
        )
    found = tuple(_read_stamp(pair, what) for pair in seen)
    nodes = [node for node, _number in found]
    if nodes != sorted(set(nodes)):
        raise BadValue(f"{what} has seen a node twice, or nodes out of order")
    latest = max((at for _node, at in found), default=0)
    if latest >= number:
        raise BadValue(f"{what} has number {number} and has seen {latest}; it must come after it")
    return found
