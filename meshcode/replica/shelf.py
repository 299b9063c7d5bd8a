"""What only waits for absent voters is on disk and not in memory (P10, part 6).

An instance that has ended, is filed and handed over, and of which every voter that is here has
said that it has seen it, does nothing until one that is away comes back or is evicted.  Its record
stays where it is; what is left of it in memory is its key and its place.  Whoever names it has to
wait until the record was read (`Effects.votes`), for an instance made anew would know of no
promise.  When a voter comes back, all that waits for it is read, some at a time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from meshcode import limits
from meshcode.replica import forgetting
from meshcode.replica.instance import ENDED, Instance, read_record
from meshcode.router.effects import Effects
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.replica.core import Replica

_MOVED: Final = int(Outcome.MOVED)
# The words that find or make the instance they name; what others say of what has ended is nothing.
_NAMING: Final = frozenset(
    map(int, (Kind.STORE, Kind.NEED, Kind.PREPARE, Kind.PROPOSE, Kind.TOLD, Kind.GONE))
)
PAUSE_MS: Final = 64  # Between two portions of what waited for a voter.


class Shelf:
    """The instances of one node that are not in its memory."""

    def __init__(self) -> None:
        """Empty."""
        self.sequences: dict[bytes, int] = {}  # By key, of their records.
        self.lacking: dict[bytes, list[bytes]] = {}  # Their keys by voter that is waited for.
        self._back: deque[list[bytes]] = deque()  # Keys to read, as their voters came back.
        self._due_ms = 0  # When the next portion of them is read.
        self._words: dict[bytes, list[tuple[bytes, int, list[Any]]]] = {}  # Until it was read.

    def put(self, inst: Instance, lacking: list[bytes]) -> None:
        """Note an instance that is in the log; `lacking`: the voters it waits for."""
        self.sequences[inst.key] = inst.sequence
        for node in lacking:
            self.lacking.setdefault(node, []).append(inst.key)

    def is_put_off(self, node: bytes, kind: int, entry: list[Any], out: Effects) -> bool:
        """Whether a word names what must be read first; then it is heard when that is here."""
        key = entry[0]
        sequence = self.sequences.get(key) if kind in _NAMING else None
        if sequence is None:
            return False
        words = self._words.get(key)
        if words is None:
            words = self._words[key] = []
            out.votes.append(sequence)
        words.append((node, kind, entry))
        return True

    def came_back(self, node: bytes) -> bool:
        """A voter is here again, or evicted.  Returns whether anything waits for it."""
        keys = self.lacking.pop(node, None)
        if keys is not None:
            self._back.append(keys)
        return keys is not None

    def read_some(self, now_ms: int, out: Effects) -> int:
        """Ask for the next portion when its time has come.

        Returns when the one after it is due; 0: there is none, or that is known.
        """
        if not self._back or now_ms < self._due_ms:
            return 0
        left = limits.REPLICA_TIMERS_PER_STEP
        while self._back and left:
            keys = self._back[0]
            some, keys[-left:] = keys[-left:], []
            left -= len(some)
            if not keys:
                self._back.popleft()
            for key in some:
                sequence = self.sequences.get(key)
                if sequence is not None and key not in self._words:
                    self._words[key] = []
                    out.votes.append(sequence)
        self._due_ms = now_ms + PAUSE_MS
        return self._due_ms if self._back else 0

    def take(self, key: bytes) -> list[tuple[bytes, int, list[Any]]] | None:
        """An instance was read and is in memory from here on: what was said of it meanwhile.

        None when it was not asked for.
        """
        if self.sequences.pop(key, None) is None:
            return None
        return self._words.pop(key, [])


def lacking(r: Replica, inst: Instance) -> list[bytes]:
    """The voters that an instance waits for, if it does nothing else; else none.

    What its keepers make by themselves stays: whoever would make it again looks for it in memory.
    """
    if inst.role != ENDED or not (inst.filed and inst.handed) or inst.is_birth:
        return []
    if inst.value is None or inst.value.code == _MOVED:
        return []
    bits = r.needed_bits(inst) & ~inst.seen & ~inst.bit(r.me)
    return [voter for n, voter in enumerate(inst.voters) if bits >> n & 1]


def put_away(r: Replica, inst: Instance, out: Effects) -> bool:
    """Keep an instance in the log only, if all that it waits for are away."""
    waits_for = lacking(r, inst)
    if not waits_for or inst.waiting or any(r.peers.is_here(node) for node in waits_for):
        return False
    r.save(inst, out)
    r.drop(inst)
    r.shelf.put(inst, waits_for)
    return True


def put_recovered(r: Replica, inst: Instance) -> bool:
    """The same for one that was just read from the log, before anybody is here: there may be more
    of them than memory has room for.
    """
    waits_for = lacking(r, inst)
    if waits_for:
        r.shelf.put(inst, waits_for)
    return bool(waits_for)


def on_read(r: Replica, found: list[tuple[int, bytes]], now_ms: int, out: Effects) -> None:
    """Records that were asked for; an empty one is damaged, and stays where it is."""
    for sequence, record in found:
        if not record:
            r.count("a damaged vote record")
            continue
        inst = read_record(sequence, record)
        words = r.shelf.take(inst.key)
        if words is None:
            continue
        r.keep(inst)
        for node, kind, entry in words:
            r.heard(node, kind, [entry], now_ms, out)
        if r.by_key.get(inst.key) is inst and not inst.due_ms:
            forgetting.tell(r, inst, now_ms, out, again=True)
            forgetting.try_forget(r, inst, now_ms, out)


__all__ = ["PAUSE_MS", "Shelf", "lacking", "on_read", "put_away", "put_recovered"]
