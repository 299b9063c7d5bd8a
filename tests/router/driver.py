"""A router on its own, with just enough around it to write a test in three blocks."""

from __future__ import annotations

from random import Random
from typing import Any

from meshcode.ids import NO_ID, make_ids
from meshcode.router import events
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.records import split_open
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

NOW = 1_700_000_000_000


class Driver:
    """One router; time stands still unless a test moves `now`."""

    def __init__(self, **socket: Any) -> None:
        self.router = Router(bytes(range(16)), 1, Random(1))
        self.now = NOW
        self.number = 0
        self.run_us = 200  # What workers report; long calls have nothing staged behind them.
        self.frames = 0
        self.sockets: dict[str, dict[str, Any]] = {}
        self.queues: dict[str, dict[str, Any]] = {}
        self.processors: dict[str, dict[str, Any]] = {"p": {}, "other": {}}
        self.plugs: dict[str, dict[str, Any]] = {}
        self.gates: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.envelopes: dict[int, bytes] = {}
        self.socket("a", **socket)

    def socket(self, name: str, queue: dict[str, Any] | None = None, **fields: Any) -> Effects:
        """Add or change a socket and its queue."""
        self.sockets[name] = {"processor": "p", "task": "t", "queue": name, **fields}
        self.queues[name] = queue or {}
        return self.publish()

    def publish(self, *keys: tuple[str, str]) -> Effects:
        """Tell the router the model; `keys`: kind and name of all that was changed, if given."""
        self.number += 1
        return self.step(
            events.ModelChanged({
                "number": self.number, "sockets": self.sockets, "queues": self.queues,
                "processors": self.processors, "plugs": self.plugs, "gates": self.gates,
                "schedules": self.schedules,
            }, keys or None)
        )  # fmt: skip

    def step(self, event: Any) -> Effects:
        """One event, and the core's own check after it."""
        effects = self.router.step(event, self.now)
        self.router.check()
        for table, key, value in effects.records:
            if table == "open" and value is not None:
                self.envelopes[int.from_bytes(key, "big")] = value
        return effects

    def submit(self, count: int = 1, name: str = "a", **options: Any) -> list[bytes]:
        """Accept fresh calls in one frame."""
        ids = make_ids(count, NOW)
        self.frames += 1
        calls = []
        for id in ids:
            data = envelope(Kind.SUBMIT, id=id, name=name.encode(),
                            meta=pack(options) if options else b"", argc=1)  # fmt: skip
            calls.append((id, id, NO_ID, name, 1, options or None, data))
        self.step(events.Submitted(1, self.frames, calls))
        return ids

    def join(self, worker: int = 1, processor: str = "p", slots: int = 1) -> Effects:
        """A worker is ready."""
        return self.step(events.WorkerJoined(worker, processor, slots))

    def finish(self, id: bytes, code: Outcome = Outcome.DONE, *, retry: bool = False) -> Effects:
        """The worker that has the call reports it."""
        call = self.router.calls[id]
        data = envelope(Kind.OUTCOME, id=id, code=code, attempt=call.attempt)
        report = (id, call.attempt, int(code), retry, self.run_us, 0, data)
        return self.step(events.Finished(call.worker.id, [report]))

    def wait(self, ms: int) -> Effects:
        """Time passes; what is due happens."""
        self.now += ms
        return self.step(events.Ticked())

    def fetch(self, effects: Effects) -> Effects:
        """Answer the fetches of a step from the log."""
        found = [(one, split_open(self.envelopes[one])[1]) for one in effects.fetches]
        return self.step(events.Fetched(found))


def begun(effects: Effects) -> list[bytes]:
    """Ids of the calls handed over, in order."""
    return [id for _, batch in effects.starts for id, _, _, _ in batch]
