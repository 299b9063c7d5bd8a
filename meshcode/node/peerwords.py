"""What the core says to peers, as envelopes and back: entries of one kind travel together.

Kinds NOTE to the last (`wire/kinds.py`): the body is a packed list of entries, each a list of plain
data.  Entries of one peer keep their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshcode import native
from meshcode.errors import BadValue
from meshcode.limits import PEER_WORDS_BYTES_GOAL, PEER_WORDS_MAX
from meshcode.replica.naming import singly
from meshcode.router.effects import Word
from meshcode.wire.codec import join_list, pack_each
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind
from meshcode.wire.plainly import unpack_plain

_NAMES = "names_many"  # It takes an entry that names many instances.
_TELLS_COMMITS = "tells_commits"  # It says which commit it runs (`runs` of `codewords`).
ABOUT = {_NAMES: True, _TELLS_COMMITS: True}  # In the greeting: what an older meshcode cannot.
FIRST_KIND, LAST_KIND = int(Kind.NOTE), int(max(Kind))


def tells_commits(about: Mapping[str, Any]) -> bool:
    """Whether a node says which commit it runs, by its greeting."""
    return bool(about.get(_TELLS_COMMITS))


def to_envelopes(
    said: list[Word], about: Mapping[bytes, Mapping[str, Any]]
) -> dict[bytes, list[bytes]]:
    """Envelopes for each node, from (node, kind, entry) in order.

    What is said to several nodes is made once: all voters of a call are told the same.

    Args:
        about: what each node says of itself; to who does not say `ABOUT`, an entry names one
            instance, as an older meshcode knows it.
    """
    if not all(one.get(_NAMES) for one in about.values()):
        said = [
            one for word in said
            for one in ([word] if about.get(word[0], ABOUT).get(_NAMES) else singly([word]))
        ]  # fmt: skip
    bodies = native.pack_words(said, PEER_WORDS_MAX, PEER_WORDS_BYTES_GOAL)
    found: dict[bytes, list[bytes]] = {}
    made: dict[tuple[int, bytes], bytes] = {}
    for node, kind, body in _bodies(said) if bodies is None else bodies:
        data = made.get((kind, body))
        if data is None:
            data = made[kind, body] = envelope(kind, body=body)
        found.setdefault(node, []).append(data)
    return found


def _bodies(said: list[Word]) -> Iterator[tuple[bytes, int, bytes]]:
    """As `native.pack_words`, for entries of any plain data."""
    ids = {id(entry): entry for _, _, entry in said}
    packed = dict(zip(ids, pack_each(list(ids.values())), strict=True))
    for node, groups in _grouped(said, packed).items():
        for kind, entries in groups:
            yield node, kind, join_list(entries)


def _grouped(
    said: list[Word], packed: dict[int, bytes]
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


def entries_of(body: bytes) -> list[Any]:
    """The entries of one envelope; which of them the core can take, `router.heard` says.

    Raises:
        BadValue: it holds no list of lists of plain data.
    """
    found = unpack_plain(body)
    if not isinstance(found, list) or not {list}.issuperset(map(type, found)):
        raise BadValue("it holds no list of entries")
    return found
