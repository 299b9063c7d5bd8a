"""A worker that says anything: it is ended for what no worker says, and the core never fails."""

from __future__ import annotations

import traceback
from collections import Counter
from random import Random
from typing import Any

from meshcode.errors import MeshError
from meshcode.ids import make_ids
from meshcode.node import workerwords
from meshcode.node.crew import Crew, WorkerProcess
from meshcode.router import events
from meshcode.router.effects import Effects
from meshcode.router.plan import FLOW
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import envelope, frame
from meshcode.wire.kinds import Flag, Kind
from tests.router.driver import Driver

SEEDS = range(60)
ROUNDS = 120
WHO = pack({"worker": "p/1", "commit": "c"})
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1 << 63, 1 << 70, 0.5, "", "x", b"", b"x" * 16, [], [1], ["b"], [[]], {},
    {"a": 1}, {"plugs": ["b"]}, {"plugs": 5}, {"plugs": [1]}, {"items": 1}, {"items": -1},
    {"items": "x"}, {"items": 1 << 70}, {"result": b"r" * 16, "steps": 1}, {"fields": 5},
    {"code": "remote", "text": 5, "fields": {}}, {"code": "remote", "text": "x", "fields": {}},
)  # fmt: skip
BYTES = (b"", b"\xc1", b"\xc0", b"\xff", b"\x81\xa5plugs", b"\x91", b"x" * 16, b"x" * 15)
NUMBERS = (0, 1, 2, 3, 200, 1 << 31, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


class Nothing:
    """In the place of a control page."""

    cancels_taken = cancels_asked = 0

    def ask_cancel(self, *_: Any) -> bool:
        self.cancels_asked += 1
        return True


class World:
    """A core with calls of many kinds, and one worker that is replaced when it was ended."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.driver = driver = Driver()
        self.router = driver.router
        for name in ("b", "c", "s"):
            driver.socket(name, retries=1)
        driver.plugs = {
            "s:b": {"source": "s", "target": "b", "queue": "b"},
            "a:c": {"source": "a", "target": "c", "queue": "c", "type": "ERROR"},
        }
        driver.publish()
        self.crew = object.__new__(Crew)
        self.crew.held_by = lambda worker: self.router.workers[worker].held
        self.crew.signal = lambda *_: None  # type: ignore[method-assign]
        self.number = 0
        self.taken: Counter[bool] = Counter()
        self.ended: list[bytes] = []
        self.begin_worker()

    def begin_worker(self) -> None:
        self.number += 1
        self.worker = WorkerProcess(self.number, "p", "key", None)
        self.worker.started_ms = self.driver.now
        self.worker.handed = 1 << 30  # How many come is looked at elsewhere.
        self.worker.page = Nothing()  # type: ignore[assignment]
        self.step(events.WorkerJoined(self.number, "p", self.rng.choice((1, 1, 4))))

    def step(self, event: Any) -> None:
        effects = self.driver.step(event)
        self.told(effects)

    def told(self, effects: Effects) -> None:
        if effects.recalls:
            self.worker.interrupts.recalls += 1
        if effects.fetches:
            self.told(self.driver.fetch(effects))

    def more_calls(self) -> None:
        rng, driver = self.rng, self.driver
        if len(self.router.calls) > 200:
            return
        for name in "abcs":
            options = {"stream": True} if name == "s" else {}
            driver.submit(rng.randrange(4), name, **options)
        none = pack_call([None])
        steps = [["a", 1, none, None, None], ["b", 0, b"\x90", 0, None],
                 ["s", 1, none, None, None], ["", 0, b"\x90", [0, 1, 2], None]]  # fmt: skip
        id, plan = make_ids(1, driver.now)[0], {"steps": steps, "result": 3}
        data = envelope(Kind.SUBMIT, id=id, flow=id, name=FLOW.encode(), body=pack_call([plan]),
                        argc=1)  # fmt: skip
        self.step(events.Submitted(1, 0, [(id, id, bytes(16), FLOW, 1, None, data)]))

    def said(self) -> bytes:
        """An envelope, mostly with something true in it."""
        rng = self.rng
        held = list(self.router.workers[self.worker.id].held.values())
        call = rng.choice(held) if held and rng.random() < 0.9 else None
        id = call.id if call else rng.choice([*self.ended, b"x" * 16])
        attempt = call.attempt if call and rng.random() < 0.95 else rng.choice(NUMBERS[:6])
        kind = rng.choice((Kind.OUTCOME,) * 6 + (Kind.ITEM,) * 4 + (Kind.OUTPUT, Kind.RETURNED))
        true = rng.random() < 0.7

        def odd(good: Any, *bad: Any) -> Any:
            return good if true or rng.random() < 0.7 else rng.choice(bad)

        meta = rng.choice((b"", WHO, WHO, pack({"plugs": ["s:b"]}), pack({"items": 1})))
        body = pack(rng.choice(ODD)) if rng.random() < 0.8 else rng.choice(BYTES)
        number = rng.choice(NUMBERS[:5])
        if kind == Kind.ITEM:
            stream = self.router.streams.by_call.get(id)
            number = stream.received if stream else 0
            meta = rng.choice((b"", b"", pack({"plugs": ["s:b"]})))
        elif kind == Kind.RETURNED:
            body = b"".join(rng.sample([one.id for one in held], min(2, len(held))))
        return envelope(
            odd(kind, *range(1, 90)), id=id, attempt=attempt,
            code=odd(rng.choice((1, 1, 2, 3)) if kind == Kind.OUTCOME else 1, 0, 4, 200),
            flags=odd(rng.choice((0, int(Flag.RETRY))) if kind == Kind.OUTCOME else 0, 1, 255),
            number=odd(number, *NUMBERS), name=odd(b"", FLOW.encode(), b"\xff"),
            meta=odd(meta, *BYTES, *map(pack, ODD)),
            body=odd(body, *BYTES, b"x" * 70_000),
        )  # fmt: skip

    def talk(self) -> None:
        """One frame of the worker, taken as the shell does."""
        data = frame([self.said() for _ in range(self.rng.choice((1, 1, 2, 5)))])
        found: list[Any] = []
        now_ms = self.driver.now
        try:
            self.crew._take(self.worker, data, now_ms, found, [])
        except MeshError:
            self.taken[False] += 1
            self.lose("it lied")
            return
        self.taken[True] += 1
        for event in found:
            if isinstance(event, events.Yielded) and workerwords.overdrawn(self.router, event):
                self.lose("too many items")
                return
            if isinstance(event, events.Finished):
                self.ended = [report[0] for report in event.reports]
            self.step(event)

    def lose(self, why: str) -> None:
        begun = [id for id in self.router.workers[self.worker.id].held if self.rng.random() < 0.5]
        self.step(events.WorkerLost(self.worker.id, begun, why))
        self.begin_worker()

    def run(self) -> None:
        for _ in range(ROUNDS):
            self.more_calls()
            self.talk()
            self.told(self.driver.wait(self.rng.choice((1, 50, 2_000))))


def test_no_word_of_a_worker_ends_a_core():
    failed: dict[str, str] = {}
    taken: Counter[bool] = Counter()
    for seed in SEEDS:
        world = World(seed)
        try:
            world.run()
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = "".join(traceback.format_exception(error)[-7:])
            failed.setdefault(f"{place.filename}:{place.lineno}", f"seed {seed}\n{text}")
        taken += world.taken

    assert not failed, "\n\n".join(failed.values())
    assert min(taken[True], taken[False]) > 500, taken
