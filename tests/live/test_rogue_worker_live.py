"""A task that takes its worker's link and says anything: its call is held, and the node goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from meshcode.errors import UnknownCall
from meshcode.ids import NO_ID, make_id, text_of
from meshcode.router.feeding import step_id
from meshcode.router.plan import FLOW
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import envelope, frame
from meshcode.wire.kinds import Kind
from tests.live.harness import Mesh, offering, until
from tests.live.rawlink import RawLink

TASKS = '''
import sys
import time


def outbox():
    """The way out of the worker, found in the stack of its thread that sends."""
    for frame in sys._current_frames().values():
        while frame is not None:
            if type(frame.f_locals.get("self")).__name__ == "Outbox":
                return frame.f_locals["self"]
            frame = frame.f_back


def say(frames, seconds):
    """Say these to the node beside the worker, and go on for a while."""
    out = outbox()
    with out.lock:
        for data in frames:
            out.send(data)
    time.sleep(seconds)
    return "said"


def echo(value):
    return value
'''
ODD: tuple[Any, ...] = (None, 5, [1], {"fields": 5}, {"code": 5, "text": []}, b"\xc1", b"")


@pytest.fixture(scope="module")
def node() -> Iterator[Mesh]:
    """A node with one worker of such tasks."""
    with offering("p", {"m.py": TASKS}, "m", ["say", "echo"]) as made:
        yield made


def submit(link: RawLink, socket: str, id: bytes, *arguments: Any, retries: int = 0) -> None:
    link.send([
        envelope(
            Kind.SUBMIT, id=id, flow=id, parent=NO_ID, name=socket.encode(),
            meta=pack({"retries": retries}), body=pack_call(list(arguments)), argc=len(arguments),
        )
    ])  # fmt: skip


def state(node: Mesh, id: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = node.ask("call.get", id=text_of(id))
    except UnknownCall:  # It has not come yet.
        return {"state": ""}
    return found


def works(node: Mesh, link: RawLink) -> bool:
    """Whether a call is run."""
    submit(link, "m.echo", id := make_id(), 5)
    until(lambda: state(node, id)["state"] == "DONE", 60, lambda: f"{state(node, id)}", every=0.1)
    return True


def wrong(id: bytes) -> dict[str, list[bytes]]:
    """What is said by the call of that id."""
    head = {"id": id, "attempt": 1, "code": 1}
    return {
        "no frame": [b"garbage"],
        "a code": [frame([envelope(Kind.OUTCOME, **{**head, "code": 200})])],
        "a time": [frame([envelope(Kind.OUTCOME, **head, number=(1 << 64) - 1)])],
        "a meta": [frame([envelope(Kind.OUTCOME, **head, meta=b"\xc1")])],
        "a flow": [frame([envelope(Kind.OUTCOME, **head, name=FLOW.encode(), body=b"\xc0")])],
        "an item": [frame([envelope(Kind.ITEM, **head, body=b"\xc0", meta=b"\x05")])],
        "items": [frame([envelope(Kind.ITEM, **head, body=b"\xc0", number=number)
                         for number in range(1_000)])],
        "calls given back": [frame([envelope(Kind.RETURNED, body=b"x" * 17)])],
        "twice ready": [frame([envelope(Kind.READY, body=pack({}))])],
        "outcomes": [frame([envelope(Kind.OUTCOME, id=make_id(), code=1) for _ in range(4_096)])],
    }  # fmt: skip


@pytest.mark.parametrize("what", wrong(NO_ID))
def test_the_worker_is_ended_and_the_call_is_held(node: Mesh, what: str):
    link = node.link()
    id = make_id()

    submit(link, "m.say", id, wrong(id)[what], 60)

    held = until(
        lambda: (row := state(node, id))["state"] == "HELD" and row, 20,
        lambda: f"{state(node, id)}\n{node.words()}", every=0.1,
    )  # fmt: skip
    assert "it said what no worker says" in held["reason"]
    assert f"is ended: {held['reason'].partition('last: ')[2][:60]}" in node.words()
    assert "Traceback" not in node.words()
    assert node.process is not None and node.process.poll() is None
    assert works(node, link)
    link.close()


@pytest.mark.parametrize("data", ODD)
@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_value_or_error_of_any_kind_is_one(node: Mesh, code: int, data: Any):
    """It goes to whoever called, who can read it or not; listings and flows go on with it."""
    link = node.link()
    root, body = make_id(), data if isinstance(data, bytes) else pack(data)
    told = envelope(Kind.OUTCOME, id=step_id(root, 0), attempt=1, code=code, body=body)
    none = b"\x92" + pack([frame([told])]) + pack(0)
    steps = [["m.say", 2, none, None, None], ["m.echo", 0, b"\x90", 0, None]]
    plan = {"steps": steps, "result": 1}

    link.send([
        envelope(Kind.SUBMIT, id=root, flow=root, name=FLOW.encode(), body=pack_call([plan]),
                 argc=1)
    ])  # fmt: skip

    def ended() -> bool:
        return state(node, step_id(root, 1))["state"] in ("DONE", "FAILED", "CANCELLED")

    until(ended, 60, lambda: f"{state(node, step_id(root, 1))}\n{node.words()}", every=0.05)
    for words in (["call", "list"], ["call", "show", text_of(step_id(root, 0))],
                  ["call", "list", "--failed"], ["flow", "show", text_of(root)]):  # fmt: skip
        run = node.mesh(*words)
        assert "internal error" not in run.stdout + run.stderr, run.stderr
        assert "Traceback" not in run.stdout + run.stderr, run.stderr
    assert "Traceback" not in node.words(), node.words()
    assert works(node, link)
    link.close()
