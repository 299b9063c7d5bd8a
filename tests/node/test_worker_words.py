"""A worker that says what no worker says: it is ended, and whoever reads the log is told why."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zmq

from meshcode import limits, native
from meshcode.ids import make_id
from meshcode.node import intake, workerwords
from meshcode.node.crew import ARRIVED_MAX, ROUND_BYTES_MAX, Crew, WorkerProcess
from meshcode.router import gathering
from meshcode.router.events import Finished, Returned, WorkerJoined, Yielded
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import envelope, frame
from meshcode.wire.kinds import Flag, Kind, Outcome
from tests.live.harness import until
from tests.router.driver import Driver

CALL = make_id()
WHO = pack({"worker": "p/1", "commit": "c"})
Heard = tuple[list[Any], list[bytes]]


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Rogue:
    """A process in a worker's place that says nothing; the test speaks for it."""

    def __init__(self, folder: Path) -> None:
        (folder / "run").mkdir()
        python = folder / "python"
        python.write_text("#!/bin/sh\nexec sleep 1000\n")
        python.chmod(0o755)
        self.context = zmq.Context()
        address = f"ipc:///tmp/mesh-test-{os.getpid()}-rogue"
        self.crew = Crew(self.context, address, folder / "run", 1, "ipc:///nowhere")
        self.said: list[str] = []
        self.crew.say = self.said.append
        self.crew.held_by = lambda _worker: {CALL: SimpleNamespace(attempt=1)}
        mount = {"python": str(python), "import_path": [], "module": "m", "key": "k"}
        config = {"lend": str(folder), "sockets": {}, "commit": "c"}
        self.worker = self.crew.spawn("p", {**mount, "commit": "c"}, config, None, now_ms())
        self.worker.handed = 10
        self.link = self.another()

    def another(self) -> Any:
        link = self.context.socket(zmq.DEALER)
        link.setsockopt(zmq.SNDHWM, 0)
        link.connect(self.crew.address)
        return link

    def ready(self, **fields: Any) -> bytes:
        body = {"worker": self.worker.id, "token": self.worker.token, "slots": 1, **fields}
        return frame([envelope(Kind.READY, body=pack(body))])

    def join(self) -> None:
        self.link.send(self.ready())
        assert [type(event) for event in self.heard()[0]] == [WorkerJoined]

    def say(self, *envelopes: bytes) -> Heard:
        """What the node makes of it."""
        self.link.send(frame(envelopes))
        return self.heard()

    def heard(self) -> Heard:
        assert self.crew.link.poll(10_000), "nothing came"
        return self.crew.receive(100, now_ms())

    def buried(self) -> Any:
        """How it ended."""
        until(lambda: select.select([self.worker.pidfd], [], [], 0)[0], 10, "it is ended")
        return self.crew.bury(self.worker.pidfd)[1]

    def close(self) -> None:
        self.crew.close()
        self.context.destroy(0)


@pytest.fixture
def rogue(tmp_path: Path) -> Iterator[Rogue]:
    """A worker that is to say that it is ready."""
    made = Rogue(tmp_path)
    yield made
    made.close()


def outcome(**fields: Any) -> bytes:
    return envelope(
        Kind.OUTCOME, **{"id": CALL, "attempt": 1, "code": 1, "meta": WHO, "number": 9, **fields}
    )


def item(**fields: Any) -> bytes:
    return envelope(Kind.ITEM, **{"id": CALL, "attempt": 1, "code": 1, "body": b"\xc0", **fields})


def output(**fields: Any) -> bytes:
    return envelope(Kind.OUTPUT, **{"id": CALL, "attempt": 1, "code": 1, "body": b"x", **fields})


WRONG = {
    "has code 0": outcome(code=0),
    "has code 4": outcome(code=Outcome.MOVED),
    "has flags 17": outcome(flags=17),
    "has a name": outcome(name=b"@flow", body=pack({"result": CALL, "steps": 1})),
    "ran 18446744073709551615 us": outcome(number=(1 << 64) - 1),
    "has a meta that is none: b'\\xc1'": outcome(meta=b"\xc1"),
    "has a meta that is none: b'\\x05'": outcome(meta=pack(5)),
    "has a meta that is none: b'\\x81\\xa5plugs\\x05'": outcome(meta=pack({"plugs": 5})),
    "has a meta that is none: b'\\x81\\xa5items\\xff'": outcome(meta=pack({"items": -1})),
    "ITEM (kind 15)": item(meta=pack({"plugs": [1]})),
    "has 0 bytes, an item": item(body=b""),
    "an item has 1 to": item(body=bytes(limits.STREAM_ITEM_BYTES_MAX + 1)),
    "of 12011 bytes": item(meta=pack({"plugs": ["x" * 12_000]})),
    "or a name that no item has": item(code=2),
    "is of stream 3": envelope(Kind.OUTPUT, id=CALL, code=3, body=b"x"),
    "has 17 bytes, which are no ids": envelope(Kind.RETURNED, body=bytes(17)),
    "came 1 times, it was asked 0 times": envelope(Kind.RETURNED, body=CALL),
    "SUBMIT (kind 2)": envelope(Kind.SUBMIT, id=CALL, name=b"a"),
    "READY (kind 30) came again": envelope(Kind.READY, body=pack({})),
    "envelope (kind 200)": envelope(200),
}


def test_a_worker_says_again_that_it_is_ready_for_other_sockets(rogue: Rogue):
    """Once for each time that it was told of some."""
    rogue.join()
    rogue.crew.tell_sockets(rogue.worker, {"s": "f"}, [])
    body = {"worker": rogue.worker.id, "token": rogue.worker.token, "slots": 7}
    again = envelope(Kind.READY, body=pack(body))

    rogue.say(again)

    assert (rogue.worker.slots, rogue.worker.slots_now, rogue.worker.lied) == (1, 7, "")
    rogue.say(again)
    assert "READY (kind 30) came again" in rogue.said[0]


@pytest.mark.parametrize("why", WRONG)
def test_a_worker_that_says_what_no_worker_says_is_ended(rogue: Rogue, why: str):
    rogue.join()

    found = rogue.say(outcome(), WRONG[why], outcome())

    assert found == ([], []), "nothing of such a frame is used"
    assert len(rogue.said) == 1
    assert why in rogue.said[0]
    assert f"worker {rogue.worker.id} of processor p" in rogue.said[0]
    rogue.link.send(frame([outcome()]))
    assert rogue.heard() == ([], []), "what comes after it is not taken"
    lost = rogue.buried()
    assert why in lost.reason
    assert lost.blame, "what had begun counts an attempt"


@pytest.mark.parametrize("parts", [[b"garbage"], [b""], [b"a", b"b"], [b"x"] * 5_000])
def test_bytes_that_are_no_frame_end_a_worker(rogue: Rogue, parts: list[bytes]):
    rogue.join()

    rogue.link.send_multipart(parts)

    assert rogue.heard() == ([], [])
    assert len(rogue.said) == 1
    assert rogue.buried().reason.startswith("it said what no worker says: ")


def test_one_that_was_to_leave_and_lies_is_blamed(rogue: Rogue):
    rogue.join()
    rogue.crew.stop(rogue.worker, "recycled", now_ms(), 60_000)

    rogue.say(WRONG["has code 0"])

    assert rogue.buried().blame


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"slots": 0}, "0 slots"), ({"slots": 1 << 70}, "slots"), ({"slots": []}, "[] slots"),
     ({"slots": "x"}, "'x' slots")],
)  # fmt: skip
def test_one_that_is_ready_for_what_cannot_be_is_ended(rogue: Rogue, fields: Any, why: str):
    rogue.link.send(rogue.ready(**fields))

    assert rogue.heard() == ([], [])
    assert why in rogue.said[0]
    assert rogue.buried().reason.startswith("it said what")


@pytest.mark.parametrize("fields", [
    {"worker": []}, {"worker": {}}, {"worker": 99}, {"token": 5}, {"token": "\u00e4"}, {"token": ""}
])  # fmt: skip
def test_a_stranger_is_nobody(rogue: Rogue, fields: Any):
    rogue.link.send(rogue.ready(**fields))
    assert rogue.heard() == ([], [])
    rogue.link.send(b"garbage")
    assert rogue.heard() == ([], [])
    assert not rogue.said

    rogue.link.send(rogue.ready())

    assert [type(event) for event in rogue.heard()[0]] == [WorkerJoined]


def test_an_error_of_any_shape_is_one(rogue: Rogue):
    for error in (5, [], {}, {"text": 5}):
        assert workerwords.error_of({"error": error}) == "its code could not be loaded"


def test_a_worker_that_is_ready_twice_is_ended(rogue: Rogue):
    rogue.join()
    other = rogue.another()

    other.send(rogue.ready())

    assert rogue.heard() == ([], [])
    assert "READY came twice" in rogue.said[0]


def test_what_is_late_or_odd_and_may_be_is_taken(rogue: Rogue):
    """Outcomes of superseded attempts, results of routers, items, failures that may be retried."""
    rogue.join()
    rogue.worker.interrupts.recalls = 1
    mixed = [
        outcome(code=2, flags=int(Flag.RETRY)), outcome(code=3), outcome(meta=b""),
        outcome(meta=pack({"plugs": ["b"], "worker": "p/1"})), outcome(attempt=7),
        outcome(meta=pack({"items": 5})), outcome(id=make_id(), body=b"\xc1"),
    ]  # fmt: skip

    events, items = rogue.say(
        *mixed, item(meta=pack({"plugs": ["b"]})), item(code=0), item(id=make_id()),
        envelope(Kind.RETURNED, body=CALL), output(), output(id=make_id()),
    )  # fmt: skip

    by_type = {type(event): event for event in events}
    assert len(by_type[Finished].reports) == len(mixed)
    assert len(by_type[Yielded].items) == 1, "of a call that it does not have nothing is taken"
    assert by_type[Returned].ids == [CALL]
    assert len(items) == 1
    assert [id for id, _ in rogue.worker.output] == [CALL]
    assert not rogue.said


def test_of_attempts_that_it_does_not_run_nothing_is_taken(rogue: Rogue):
    """Each would have room of its own for what it prints, and there are four thousand million."""
    rogue.join()
    others = [2, 3, 7, (1 << 32) - 1]
    said = [output(attempt=n) for n in others] + [item(attempt=n) for n in others]
    said += [item(attempt=n, code=0) for n in others]

    assert rogue.say(*said) == ([], [])
    assert rogue.worker.output == {}
    rogue.say(output(), output(code=2))
    assert rogue.worker.output == {(CALL, 1): {"stdout": b"x", "stderr": b"x"}}
    assert not rogue.said, "it is late, and no lie"


def test_of_one_that_overdraws_a_stream_nothing_is_taken_from_there_on():
    """Its outcome of the same frame ended the call with items that were not there."""
    driver, lies = Driver(), list[str]()
    driver.join(1)
    driver.join(2)
    calls = driver.submit(2, stream=True)
    held = {id: worker for worker in (1, 2) for id in driver.router.workers[worker].held}
    liar, other = sorted(calls, key=held.__getitem__)
    crew = SimpleNamespace(by_id={}, distrust=lambda _worker, why: lies.append(why))
    loop: Any = SimpleNamespace(
        router=driver.router, crew=crew, step=driver.step, ended=lambda _ids: {},
        keeping=SimpleNamespace(before=lambda _event: None),
        processors=SimpleNamespace(reported=lambda _worker, _now_ms: False),
    )  # fmt: skip
    items = [(liar, 1, n, b"v", b"", 0) for n in range(limits.STREAM_WINDOW + 5)]
    ends = [Finished(held[id], [(id, 1, 1, False, 9, 0, outcome(id=id))]) for id in (liar, other)]

    intake.take_of_workers(
        loop, [Yielded(1, items[:2]), Yielded(1, items[2:]), *ends], 0
    )

    assert "units were sent" in lies[0] and len(lies) == 1
    assert driver.router.streams.by_call[liar].received == 2, "what came before is good"
    assert liar in driver.router.calls
    assert other not in driver.router.calls, "others are not held up by it"


def test_more_outcomes_than_calls_are_made_up(rogue: Rogue):
    rogue.join()
    many = [outcome(id=make_id()) for _ in range(limits.CREDIT_CALLS_MAX)]
    assert rogue.say(*many)[0]

    events, items = rogue.say(
        *many, item(), item(code=0), output()
    )

    assert (events, items, rogue.worker.output) == ([], [], {}), "nothing of the frame is taken"
    assert "1024 outcomes came, it was handed 10 calls" in rogue.said[0]


def test_a_flood_is_taken_in_parts(rogue: Rogue):
    """Nothing of it is of use, and the rest waits where the worker is held up by it."""
    rogue.join()
    size = limits.BODY_BYTES_MAX
    data = frame([envelope(Kind.OUTPUT, id=make_id(), code=1, body=bytes(size))])
    for _ in range(10):
        rogue.link.send(data)
    rogue.heard()

    until(lambda: rogue.crew.link.poll(0), 10, "more has come")
    assert ARRIVED_MAX * limits.FRAME_BYTES_MAX < 2 << 30
    assert 4 * size > ROUND_BYTES_MAX
    assert not rogue.worker.output


def test_a_call_that_the_page_names_twice_begun_is_one(rogue: Rogue):
    rogue.join()
    page = rogue.worker.page
    assert page is not None
    for row in range(3):
        page.begin_async(row, CALL, 1, 5)
    rogue.crew.kill(rogue.worker)

    assert rogue.buried().begun == [CALL]


def test_what_nobody_foresaw_ends_the_worker_and_not_the_node(rogue: Rogue, monkeypatch):
    rogue.join()
    noted: list[Any] = []
    rogue.crew.failed = lambda *what: noted.append(what)
    monkeypatch.setattr(workerwords, "check", lambda *_: 1 // 0)

    assert rogue.say(outcome()) == ([], [])

    assert [type(error) for _, _, error in noted] == [ZeroDivisionError]
    assert "the node failed at it (ZeroDivisionError)" in rogue.said[0]


@pytest.mark.skipif(native.TWIN == "pure", reason="there is only one way without C")
def test_both_ways_to_look_say_the_same():
    good = [outcome(), outcome(code=2, flags=int(Flag.RETRY)), outcome(code=3, number=0)]
    wrong = [WRONG[why] for why in WRONG if WRONG[why][3] == Kind.OUTCOME]
    worker = WorkerProcess(1, "p", "k", None)
    worker.who = WHO
    most_us = (now_ms() + 60_000) * 1_000

    for one in (*good, *wrong):
        data = frame([good[0], one, good[1]])
        plain = native.plain_reports(data, WHO, most_us)
        kinds = bytes([Kind.OUTCOME] * 3)
        try:
            assert workerwords.check(data, worker, kinds, now_ms()) is None
            taken = True
        except workerwords.BadFrame:
            taken = False
        assert plain is taken is (one in good)
    assert native.plain_reports(frame([]), WHO, 0) is True
    for cut in range(40, 200):  # It reads no further than it was given.
        native.plain_reports(frame([outcome()])[:cut], WHO, 0)


@pytest.mark.parametrize("data", [
    np.zeros(3), 5, [1], {"fields": np.zeros(3)}, {"fields": 1},
    {"fields": {"args": [bytes(limits.BODY_BYTES_MAX - 64)]}},
])  # fmt: skip
def test_an_error_that_is_none_is_not_passed_on(data: Any):
    """It would be packed with more in it, for the steps that need that call."""
    found = gathering._error_of(outcome(code=2, body=pack(data)), CALL)

    assert found["code"] == "remote"
    assert "whose result is needed, ended without one" in found["text"]
    assert unpack(pack(found))["fields"]["step"]
