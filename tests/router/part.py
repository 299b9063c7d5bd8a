"""The parts of a node that think and remember, over a log, without links and processes."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

from meshcode.ids import NO_ID
from meshcode.node.history import History
from meshcode.node.turn import Turns
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.events import Submitted
from meshcode.store.contract import Log
from meshcode.store.memory_log import MemoryLog
from meshcode.wire.codec import pack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Flag, Kind
from tests.records.world import NODE, write

MODEL = {
    "number": 1,
    "queues": {"q": {}},
    "processors": {"p": {}},
    "sockets": {"s": {"processor": "p", "task": "t", "queue": "q"}},
}
CLIENT = 7


class Part:
    """A router, its turns and its history; nothing is written before `sync`, or the test does it.

    Time stands still unless a test moves `now_ms`.
    """

    def __init__(self, log: Log | None = None, now_ms: int = 1_000) -> None:
        self.log: Log = MemoryLog() if log is None else log
        self.now_ms = now_ms
        self.clock = SimpleNamespace(now_ms=lambda: self.now_ms)
        self.frames = 0
        self.released: list[Effects] = []
        self.router = Router(NODE, self.log.boot, Random(1))
        self.turns = Turns(self.router, self.release)
        self.history = History(self.router, self.turns, self.log, {})

    def release(self, effects: Effects) -> None:
        """What the turns let out."""
        self.released.append(effects)

    def step(self, event: Any) -> None:
        """One event in the turn that is open."""
        self.turns.step(event, self.now_ms)

    def sync(self) -> None:
        """Write and let out all that was thought."""
        while self.turns.is_open:
            self.turns.close()
            ops = self.turns.begin_sync()
            if ops is not None:
                write(self.log, *ops)
                self.turns.synced()

    def submit(self, id: bytes) -> None:
        """A fresh call of socket s, in a frame of its own."""
        self.frames += 1
        data = envelope(
            Kind.SUBMIT, id=id, name=b"s", body=pack_call([1], {}), argc=1, flags=Flag.FRESH
        )
        self.step(Submitted(CLIENT, self.frames, [(id, NO_ID, NO_ID, "s", 1, None, data)]))
