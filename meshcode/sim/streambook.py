"""Streams as the checker sees them: which items came to be, in which order, and how many at once.

An item is a call that ends in the step in which it comes into being, so that only its outcome is in
the log.  What it causes along plugs is judged with all other outcomes (`plugbook`, `plugchecks`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.ids import child_id
from meshcode.router.effects import Effects, Op
from meshcode.router.records import sequence_key, split_done
from meshcode.router.states import State
from meshcode.sim import streaming
from meshcode.sim.books import Fact
from meshcode.sim.flowbook import body_of
from meshcode.sim.violation import require
from meshcode.wire.codec import unpack
from meshcode.wire.frame import check_envelope
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.router.call import Call
    from meshcode.router.core import Router
    from meshcode.sim.checks import Checker
    from meshcode.sim.options import Options

ITEM = "@item"
EDGE = b"item"  # Why such a call was caused.
_DONE = int(Outcome.DONE)


class StreamBook:
    """The items of a world."""

    def __init__(self, checker: Checker) -> None:
        """None, and no generators."""
        self.checker = checker
        self.options: Options | None = None  # Of worlds with generators.
        self.known: dict[bytes, tuple[bytes, int]] = {}  # By item that a worker yielded.
        self.of: dict[bytes, bytes] = {}  # What an item causes, step after step: the item.

    def is_generator(self, name: str) -> bool:
        """Whether the calls of a socket yield."""
        return self.options is not None and name in self.options.generators

    def yields(self, call: bytes, number: int) -> None:
        """A worker yields an item."""
        self.known[child_id(call, b"item/%d" % number)] = (call, number)

    # Items come into being.

    def written(self, ops: list[Op]) -> dict[bytes, bytes]:
        """The keys and ids of the items among these records: they are never open.

        One that a person has asked for again is open for a moment.
        """
        if self.options is None:
            return {}
        opened = {key for table, key, value in ops if table == "open" and value is not None}
        found = {}
        for table, id, value in ops:
            if table == "done" and value is not None:
                done = split_done(value)
                key = sequence_key(done["sequence"])
                if _name_of(done["submit"]) == ITEM and key not in opened:
                    found[key] = id
        return found

    def come(self, ops: list[Op]) -> None:
        """Before a step is judged: make its items known."""
        items = self.written(ops)
        self.checker.thought.passing |= items.keys()
        ids, now = set(items.values()), set[bytes]()
        for table, id, value in ops if items else ():
            if table == "done" and id in ids and value is not None:
                self._comes(id, split_done(value), now)
                now.add(id)

    def _comes(self, id: bytes, done: dict[str, Any], now: set[bytes]) -> None:
        c, submit, text = self.checker, done["submit"], id.hex()
        row = check_envelope(submit)
        require(id in self.known, "stream", "nobody yielded", text)
        call, number = self.known[id]
        options = unpack(submit[row.meta_at : row.body_at])
        require((row.id, row.parent) == (id, call), "stream", "parent of", text)
        require(call in c.thought.open_ids, "stream", "its call is over", text)
        before = child_id(call, b"item/%d" % (number - 1))
        in_order = not number or before in c.thought.done or before in now
        require(in_order, "stream", "comes before the one before it", text, number)
        maker = c.facts[call]
        value, meta = streaming.item_of(call, number)
        own = {"of": maker.name, "number": number} | (unpack(meta) if meta else {})
        require(options.get("item") == own, "stream", "options of", text, options)
        require(body_of(submit) == b"\x91" + value, "stream", "value of", text)
        fact = c.facts[id] = Fact(id, ITEM, options, body_of(submit))
        fact.edge, fact.parent, fact.flow = EDGE, call, row.flow
        self.of[id] = id
        assert c.plugs is not None
        c.plugs.calls.pop(id, None)
        known = c.plugs.opened(submit, c.begins.closed)
        require(known.flow == (maker.flow or call), "stream", "flow of", text)

    def opened(self, fact: Fact, *, joined: bool) -> None:
        """A call that plugs made: perhaps its item is in flight until it ends."""
        item = self.of.get(fact.parent or b"")
        if item is not None and not joined:
            self.of[fact.id] = item

    # What must hold.

    def ended(self, fact: Fact, done: dict[str, Any]) -> bool:
        """A call has ended; whether it is an item, and with that explained.

        Of a generator's that ended well all items are there.
        """
        if fact.name == ITEM:  # Its value is looked at when it comes, or as what was sent.
            same = b"\x91" + body_of(done["outcome"]) == fact.body
            require(same and done["code"] == _DONE, "stream", "value of", fact.id.hex())
            return True
        if done["code"] != _DONE or not self.is_generator(fact.name):
            return False
        assert self.options is not None
        count = streaming.count_of(self.options, fact.id)
        value = unpack(body_of(done["outcome"]))
        require(value == {"items": count, "stream": fact.id}, "stream", fact.id.hex(), value)
        ids = [child_id(fact.id, b"item/%d" % number) for number in range(count)]
        missing = [n for n, id in enumerate(ids) if id not in self.checker.thought.done]
        require(not missing, "stream", fact.id.hex(), "ends without items", missing)
        return False

    def in_flight(self, call: bytes) -> list[bytes]:
        """The calls that hold up a generator: open, and caused by its items."""
        found = []
        for id in self.checker.thought.open_ids:
            item = self.of.get(id)
            if item is not None and self.known[item][0] == call:
                found.append(id)
        return found

    def stepped(self, router: Router, effects: Effects) -> None:
        """No generator has more under way than its window, and one more for each boot; and none
        that waits for credit is over its time.
        """
        if self.options is None:
            return
        for _, id, why in effects.interrupts:
            stream = router.streams.by_call.get(id)
            # Both may come in one step: it has used up its credit just as its time is over.
            waits = stream is not None and 0 < stream.parked_ms < router.replica.now_ms
            require(why != "time limit" or not waits, "time limit", id.hex(), "waits for credit")
        flying: dict[bytes, set[bytes]] = {}
        for id in self.checker.thought.open_ids:
            item = self.of.get(id)
            if item is not None:
                flying.setdefault(self.known[item][0], set()).add(item)
        window = self.options.stream_window + streaming.UNITS_MAX - 1
        for call, items in flying.items():
            units = sum(
                streaming.units_of(streaming.item_of(call, self.known[item][1])[0])
                for item in items
            )
            bound = window * router.boot
            require(units <= bound, "back-pressure", call.hex(), units, "in flight of", bound)

    def waits(self, router: Router, call: Call) -> bool:
        """Whether a generator waits for a person: for what holds up its items, or for its turn."""
        if not self.is_generator(call.line.name):
            return False
        c = self.checker
        if call.state is State.RUNNING:
            assert call.worker is not None
            return any(c.waits_for_a_person(router, id) for id in self.in_flight(call.id))
        others = [one for one in router.calls.values() if one.line is call.line]
        return call.state is State.WAITING and any(
            one.state is State.RUNNING and self.waits(router, one) for one in others
        )


def _name_of(submit: bytes) -> str:
    return submit[80 : 80 + submit[15]].decode() if submit else ""


__all__ = ["EDGE", "ITEM", "StreamBook"]
