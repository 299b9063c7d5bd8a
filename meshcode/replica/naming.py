"""Words that are the same for many instances: one entry names all of them.

STORED, AGREED and TOLD without a value are most of what is said between nodes.  What one step says
of them is gathered by who is told, the kind, and all that an entry has beside the key; each
group is one entry, whose first item is the keys one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from meshcode.limits import PEER_WORDS_MAX
from meshcode.replica.instance import KEY_BYTES
from meshcode.router.effects import Effects, Word
from meshcode.wire.kinds import Kind

_TOLD: Final = int(Kind.TOLD)
KINDS: Final = frozenset({int(Kind.STORED), int(Kind.AGREED), _TOLD})

# Nodes, which of them (bit n: the nth), kind, and what follows the keys.
_Said = tuple[tuple[bytes, ...], int, int, tuple[Any, ...]]


class Naming:
    """What one step says so far; all of an entry comes where the first of it was named."""

    def __init__(self) -> None:
        """Nothing."""
        self.apart = False  # Each entry names one: so the simulator has more orders to try.
        self.entries: list[list[Any]] = []  # Those with a list of keys, until the step is over.
        self._said: dict[_Said, list[bytes]] = {}
        self._last: _Said | None = None  # Mostly the next is alike: then it need not be hashed.
        self._keys: list[bytes] = []

    def say(
        self,
        nodes: tuple[bytes, ...],
        bits: int,
        kind: int,
        key: bytes,
        out: Effects,
        more: tuple[Any, ...] = (),
    ) -> None:
        """Tell some of the nodes (bit n: the nth) of one instance more; an epoch in `more` is a
        tuple.
        """
        said = (nodes, bits, kind, more)
        if self.apart:
            self._begin(said, out).append(key)
            return
        if said != self._last:
            self._last, self._keys = said, self._said.get(said, _FULL)
        if len(self._keys) >= PEER_WORDS_MAX:
            self._keys = self._said[said] = self._begin(said, out)
        self._keys.append(key)

    def _begin(self, said: _Said, out: Effects) -> list[bytes]:
        nodes, bits, kind, more = said
        keys: list[bytes] = []
        entry = [keys, *[list(one) if isinstance(one, tuple) else one for one in more]]
        self.entries.append(entry)
        for number, node in enumerate(nodes):
            if bits >> number & 1:
                out.peer.append((node, kind, entry))
        return keys

    def flush(self, out: Effects) -> None:
        """The step is over: its entries are as they are sent.

        Of an instance of which two are said, the phases of TOLD keep their order.
        """
        if not self.entries:
            return
        for entry in self.entries:
            entry[0] = b"".join(entry[0])
        if len({more[0] for _, _, kind, more in self._said if kind == _TOLD}) > 1:
            out.peer.sort(key=_is_last)
        self.entries, self._said, self._last = [], {}, None


_FULL: Final = [b""] * PEER_WORDS_MAX


def _is_last(word: Word) -> bool:
    return word[1] == _TOLD and word[2][1] == 2


def split(keys: Any) -> list[bytes] | None:
    """The keys that an entry names; None when that is not a run of them."""
    if type(keys) is not bytes or not keys or len(keys) % KEY_BYTES:
        return None
    if len(keys) == KEY_BYTES:
        return [keys]
    return [keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)]


def each(entries: Iterable[list[Any]]) -> list[list[Any]]:
    """Entries that name one instance each; what names none is left as it is."""
    found: list[list[Any]] = []
    for entry in entries:
        keys = split(entry[0]) if entry else None
        if keys is None or len(keys) == 1:
            found.append(entry)
        else:
            more = entry[1:]
            found += [[key, *more] for key in keys]
    return found


def singly(said: Iterable[Word]) -> list[Word]:
    """Words that name one instance each."""
    found: list[Word] = []
    for node, kind, entry in said:
        entries = each([entry]) if kind in KINDS else [entry]
        found += [(node, kind, one) for one in entries]
    return found
