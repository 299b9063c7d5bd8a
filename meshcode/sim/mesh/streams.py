"""Generators in a mesh: which worlds have them, and what must be true of their items.

What a generator yields is drawn and known as in worlds of one node (`sim.streaming`).  An item is a
call that its generator's keepers keep, and that ends as soon as they do; so the rules of all calls
hold for it.  What is added here: nobody makes an item that no worker has yielded, nor another one
under its id; and who has the outcome of a generator finds all items that it counts.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from meshcode.ids import child_id
from meshcode.sim import streaming
from meshcode.sim.flowbook import body_of
from meshcode.sim.mesh import judgement
from meshcode.sim.mesh.options import Options
from meshcode.sim.plugbook import ITEM, Known
from meshcode.sim.violation import require
from meshcode.wire.codec import unpack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.sim.mesh.checks import MeshChecker
    from meshcode.sim.mesh.world import MeshWorld

FROM_SEED = 1_000_000  # Worlds with generators: those before are what they were.
SLOW_MS = 100
_DONE = int(Outcome.DONE)


def draw(seed: int, rng: Random, options: Options) -> None:
    """Half of the worlds with plugs, from this seed on."""
    if seed >= FROM_SEED and options.nodes > 1 and not options.counted:
        streaming.draw(rng, options)
        if options.run_ms[1] > SLOW_MS:  # Streams of streams would run for days.
            options.stream_items_max = 3


def submit(world: MeshWorld, number: int) -> None:
    """A client calls a generator."""
    rng = world.streams_rng
    id = (1_600_000_000_000 + world.now).to_bytes(6, "big") + b"\x73" + number.to_bytes(9, "big")
    name = rng.choice(sorted(world.options.generators))
    world.sockets[id] = name
    data = envelope(Kind.SUBMIT, id=id, name=name.encode(), body=b"\x90")
    world.send([(id, bytes(16), bytes(16), name, 0, None, data)])


class StreamBook:
    """The items of one world."""

    def __init__(self, checker: MeshChecker, options: Options) -> None:
        """None."""
        self.checker = checker
        self.options = options
        self.known: dict[bytes, tuple[bytes, int]] = {}  # By item that a worker yielded.
        self.of: dict[bytes, bytes] = {}  # What items cause, step after step: the generator's call.
        self.calls: set[bytes] = set()  # Of generators.

    def yields(self, call: bytes, number: int) -> None:
        """A worker yields an item."""
        self.known[child_id(call, b"item/%d" % number)] = (call, number)

    def opened(self, submit: bytes) -> None:
        """A call is on a disk: perhaps a generator's, an item, or what one causes."""
        if not self.options.generators:
            return
        known = Known(submit)
        if known.name in self.options.generators:
            self.calls.add(known.id)
        parent = submit[48:64]
        if known.name == ITEM:
            self._comes(known, parent, submit)
            self.of[known.id] = parent
        elif parent in self.of and "named" not in known.options:
            self.of[known.id] = self.of[parent]

    def _comes(self, known: Known, parent: bytes, submit: bytes) -> None:
        text = known.id.hex()
        require(known.id in self.known, "stream", "nobody yielded", text)
        call, number = self.known[known.id]
        require(parent == call, "stream", "parent of", text)
        value, meta = streaming.item_of(call, number)
        own = {"number": number} | (unpack(meta) if meta else {})
        said = dict(known.options["item"])
        require(said.pop("of") in self.options.generators, "stream", "socket of", text)
        require(said == own, "stream", "options of", text, said)
        require(body_of(submit) == b"\x91" + value, "stream", "value of", text)

    def ended(self, id: bytes, outcome: bytes, *, made: bool) -> bool:
        """Whether this is an item that ends with its value; or the true count of a generator."""
        if id in self.known:
            value, _ = streaming.item_of(*self.known[id])
            is_done = outcome[13] == _DONE
            require(not is_done or body_of(outcome) == value, "stream", "value of", id.hex())
            return is_done
        if id in self.calls and made and outcome[13] == _DONE:
            count = streaming.count_of(self.options, id)
            said = unpack(body_of(outcome))
            require(said == {"items": count, "stream": id}, "stream", id.hex(), "says", said)
            return True
        return False

    def is_again(self, id: bytes) -> bool:
        """Whether this comes from a generator that a person let go on without its voters: its new
        ones keep all of that, too.
        """
        call: bytes | None = id
        while (call := self.of.get(call)) is not None:
            if call in self.checker.recovered:
                return True
        return False

    # The end.

    def resting(self) -> set[bytes]:
        """Generators that wait for what their items have caused, and those of the same socket,
        which have to wait for these.
        """
        c = self.checker
        if not self.calls:
            return set()
        held = {call for id, call in self.of.items() if id not in c.recorded}
        inner = list(held)
        while inner:  # What called a generator within a stream is in flight until its items are.
            outer = self.of.get(inner.pop())
            if outer is not None and outer not in held:
                held.add(outer)
                inner.append(outer)
        held -= c.recorded.keys()
        return {id for id in self.calls if id not in c.recorded} if held else set()

    def finish(self) -> None:
        """Whoever has the outcome of a generator that ended well finds all its items."""
        c = self.checker
        for call in self.calls & c.recorded.keys():
            outcome = c.recorded[call]
            there = any(call in node.disk.tables["done"].values for node in c.world.living())
            if outcome[13] != _DONE or not there or c.is_twin(call):
                continue
            for number in range(streaming.count_of(self.options, call)):
                id = child_id(call, b"item/%d" % number)
                homes = len(c.roots.get(id, ()))
                most = 1 + (id in c.recovered)  # A person has it issued again under another one.
                require(homes <= most, "stream", id.hex(), "is kept under several homes:", homes)
                if id not in c.recorded:
                    keys = [key for key in c.voters if key[:16] == id]
                    require(
                        any(judgement.is_lost(c, key) for key in keys), "stream", call.hex(),
                        "ended without item", number, id.hex(),
                    )  # fmt: skip


__all__ = ["FROM_SEED", "StreamBook", "draw", "submit"]
