"""What a member gone bad may send: entries that nodes said, with parts of them changed.

The simulated meshes give the entries and the cores; a core is copied in the midst of its work
before lies are told to it, so that the mesh goes on as if nothing had been said.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from meshcode.router import events, heard
from meshcode.router.core import Router
from meshcode.sim.mesh.node import MeshNode
from meshcode.sim.mesh.world import MeshWorld
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind
from meshcode.wire.plainly import unpack_plain

LATELY = 400  # Entries of which lies are made.
ODD = (
    None, True, False, 0, 1, 2, -1, 3, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, 1 << 70, 0.5, 1.0,
    float("nan"), "", "x", "@flow", "call", "value", "cancel", b"", b"x" * 16, b"y" * 34, b"z" * 48,
    [], [1], [[]], {}, {"a": 1}, {"attempt": 1}, [0, b"x" * 16, 1],
)  # fmt: skip

Said = tuple[bytes, int, list[Any]]  # Who said it, kind, entry.


def plain(entry: list[Any]) -> list[Any]:
    """An entry as it arrives."""
    found: list[Any] = unpack_plain(pack(entry))
    return found


class Liar:
    """Makes lies of what was said lately."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.said: deque[Said] = deque(maxlen=LATELY)

    def lie(self) -> Said:
        """One of them, with something changed."""
        rng = self.rng
        sender, kind, entry = rng.choice(self.said)
        made = plain(entry)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            self._change(made, kind)
        if rng.random() < 0.05:
            kind = rng.choice(self.said)[1]
        return sender, kind, made

    def _change(self, made: list[Any], kind: int) -> None:
        """Change one part, at whatever depth."""
        rng = self.rng
        where: Any = made
        while True:
            if not where:
                return
            at = rng.choice(list(where)) if isinstance(where, dict) else rng.randrange(len(where))
            if isinstance(where[at], list | dict) and where[at] and rng.random() < 0.6:
                where = where[at]
                continue
            break
        if isinstance(where, list) and rng.random() < 0.1:
            if rng.random() < 0.5:
                del where[at]
            else:
                where.insert(at, self._odd())
            return
        where[at] = self._other(where[at], kind, at)

    def _other(self, part: Any, kind: int, at: Any) -> Any:
        rng = self.rng
        chance = rng.random()
        if chance < 0.35:  # The same part of another entry.
            alike = [entry for _, one, entry in self.said if one == kind]
            entry = rng.choice(alike)
            if isinstance(at, int) and at < len(entry):
                return plain([entry[at]])[0]
        if chance < 0.5 and isinstance(part, bytes) and part[:2] == b"mE":
            return self._envelope(part)
        if chance < 0.65 and isinstance(part, bytes) and part:
            changed = bytearray(part)
            changed[rng.randrange(len(changed))] = rng.randrange(256)
            return bytes(changed)
        if chance < 0.75 and type(part) is int:
            return part + rng.choice((-1, 1, 5, 1 << 20))
        return self._odd()

    def _odd(self) -> Any:
        return plain([self.rng.choice(ODD)])[0]

    def _envelope(self, data: bytes) -> bytes:
        """Sealed again, with another name, meta or body."""
        rng = self.rng
        id = data[16:32]
        names = (b"@flow", b"@join", b"@collect", b"@item", b"@gather", b"s0", b"\xff", b"")
        odd = {
            name: rng.choice(ODD)
            for name in rng.sample(("feed", "join", "item", "edge", "seat", "at", "gate", "key",
                                    "priority", "copy", "delay_ms", "seats", "named", "items",
                                    "plugs", "broadcast", "plan"), rng.randrange(4))
        }  # fmt: skip
        bodies = (b"", b"\xc0", b"\x90", b"\xff", pack({"result": b"r" * 16, "steps": 1}),
                  pack({"with": 5}), pack([{"steps": [], "result": 0}]))  # fmt: skip
        return envelope(
            rng.choice((Kind.SUBMIT, Kind.OUTCOME)), id=id, flow=data[32:48],
            name=rng.choice(names), meta=pack(odd) if odd else b"", body=rng.choice(bodies),
            code=rng.randrange(6),
        )  # fmt: skip


def copy_of(node: MeshNode) -> Router:
    """The core of a node as it is now, to be lied to; shared with nobody."""
    found: Router = copy.deepcopy(node.router)
    return found


def tell(router: Router, now_ms: int, said: Said) -> bool:
    """Say it as the shell does; whether it was let through."""
    sender, kind, entry = said
    (entry,) = unpack_plain(pack([entry]))
    if not isinstance(entry, list):
        return False
    good = heard.good_of(kind, [entry])
    if good and kind == Kind.ITEMS:
        router.step(events.Yielded(None, [tuple(entry)], node=sender), now_ms)
    elif good:
        router.step(events.PeerSaid(sender, kind, good), now_ms)
    return bool(good)


def listened(
    monkeypatch: pytest.MonkeyPatch, each: Callable[[MeshWorld, int, int, list[Any]], None]
) -> None:
    """Have `each` called with every entry that arrives in a simulated mesh, and by whom."""
    real = MeshWorld.arrived

    def arrived(self: MeshWorld, sender: int, to: int, tag: Any, frame: Any) -> None:
        if self.nodes[to].up:
            for kind, entry in frame:
                each(self, sender, kind, entry)
        real(self, sender, to, tag, frame)

    monkeypatch.setattr(MeshWorld, "arrived", arrived)


def lies(liar: Liar, count: int) -> Iterator[Said]:
    """So many."""
    for _ in range(count):
        yield liar.lie()
