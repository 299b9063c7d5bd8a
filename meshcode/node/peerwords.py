"""What the core says to peers, as envelopes and back: entries of one kind travel together.

Kinds NOTE to the last (`wire/kinds.py`): the body is a packed list of entries, each a list of plain
data.  Entries of one peer keep their order.
"""

from __future__ import annotations

from typing import Any

from meshcode.errors import MeshError
from meshcode.limits import PEER_WORDS_BYTES_GOAL, PEER_WORDS_MAX
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind

FIRST_KIND, LAST_KIND = int(Kind.NOTE), int(max(Kind))
_WITH_PAYLOAD = frozenset((
    int(Kind.NOTE), int(Kind.STORE), int(Kind.PROMISE), int(Kind.PROPOSE), int(Kind.TOLD),
    int(Kind.RUN), int(Kind.RAN), int(Kind.KEEP), int(Kind.DROP),
    int(Kind.OUTCOME_IS), int(Kind.ARRIVED), int(Kind.ITEMS),
))  # fmt: skip
_SMALL_BYTES = 160  # What an entry without payload is taken to have.


def to_envelopes(said: list[tuple[bytes, int, list[Any]]]) -> dict[bytes, list[bytes]]:
    """Envelopes for each node, from (node, kind, entry) in order."""
    found: dict[bytes, list[bytes]] = {}
    open_: dict[bytes, tuple[int, list[Any], int]] = {}
    for node, kind, entry in said:
        size = _size(entry) if kind in _WITH_PAYLOAD else _SMALL_BYTES
        group = open_.get(node)
        if group is not None and (
            group[0] != kind
            or len(group[1]) >= PEER_WORDS_MAX
            or group[2] + size > PEER_WORDS_BYTES_GOAL
        ):
            found.setdefault(node, []).append(envelope(group[0], body=pack(group[1])))
            group = None
        if group is None:
            open_[node] = (kind, [entry], size)
        else:
            group[1].append(entry)
            open_[node] = (kind, group[1], group[2] + size)
    for node, group in open_.items():
        found.setdefault(node, []).append(envelope(group[0], body=pack(group[1])))
    return found


def _size(entry: list[Any]) -> int:
    size = _SMALL_BYTES
    for item in entry:
        if isinstance(item, bytes):
            size += len(item)
        elif isinstance(item, list):
            size += sum(len(part) for part in item if isinstance(part, bytes))
    return size


def entries_of(body: bytes) -> list[Any] | None:
    """The entries of one envelope; None when it holds no list of lists."""
    try:
        found = unpack(body)
    except MeshError:
        return None
    if not isinstance(found, list) or not all(isinstance(entry, list) for entry in found):
        return None
    return found
