"""What the core says to peers, as envelopes and back: entries of one kind travel together.

Kinds NOTE to the last (`wire/kinds.py`): the body is a packed list of entries, each a list of plain
data.  Entries of one peer keep their order.
"""

from __future__ import annotations

from typing import Any

from meshcode.errors import MeshError
from meshcode.limits import PEER_WORDS_BYTES_GOAL, PEER_WORDS_MAX
from meshcode.wire.codec import join_list, pack_each, unpack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind

FIRST_KIND, LAST_KIND = int(Kind.NOTE), int(max(Kind))


def to_envelopes(said: list[tuple[bytes, int, list[Any]]]) -> dict[bytes, list[bytes]]:
    """Envelopes for each node, from (node, kind, entry) in order.

    What is said to several nodes is packed once: all voters of a call are told the same.
    """
    ids = {id(entry): entry for _, _, entry in said}
    packed = dict(zip(ids, pack_each(list(ids.values())), strict=True))
    found: dict[bytes, list[bytes]] = {}
    made: dict[tuple[bytes, ...], bytes] = {}
    for node, groups in _grouped(said, packed).items():
        found[node] = []
        for kind, entries in groups:
            key = (bytes((kind,)), *entries)
            data = made.get(key)
            if data is None:
                data = made[key] = envelope(kind, body=join_list(entries))
            found[node].append(data)
    return found


def _grouped(
    said: list[tuple[bytes, int, list[Any]]], packed: dict[int, bytes]
) -> dict[bytes, list[tuple[int, list[bytes]]]]:
    """Packed entries of one kind that travel together, by node and in order."""
    groups: dict[bytes, list[tuple[int, list[bytes]]]] = {}
    sizes: dict[bytes, int] = {}
    for node, kind, entry in said:
        data = packed[id(entry)]
        known = groups.get(node)
        if known is None:
            groups[node], sizes[node] = [(kind, [data])], len(data)
            continue
        last, entries = known[-1]
        size = sizes[node] + len(data)
        if last == kind and len(entries) < PEER_WORDS_MAX and size <= PEER_WORDS_BYTES_GOAL:
            entries.append(data)
            sizes[node] = size
        else:
            known.append((kind, [data]))
            sizes[node] = len(data)
    return groups


def entries_of(body: bytes) -> list[Any] | None:
    """The entries of one envelope; None when it holds no list of lists."""
    try:
        found = unpack(body)
    except MeshError:
        return None
    if not isinstance(found, list) or not all(isinstance(entry, list) for entry in found):
        return None
    return found
