"""What one no-op call costs in the worker: its loop in this process, without links.

    pytest bench/test_worker.py --benchmark-only --override-ini addopts=

Times are of a whole batch of BATCH calls, from the indexed frame to the sealed outcomes; divide by
BATCH.  The budget is 8 microseconds a call.
"""

from __future__ import annotations

import array
from typing import Any

import pytest

from meshcode.ids import make_ids
from meshcode.wire.codec import pack_call
from meshcode.wire.frame import envelope, frame
from meshcode.wire.kinds import Flag, Kind
from meshcode.worker.control import ControlPage
from meshcode.worker.loop import Worker
from meshcode.worker.outbox import Outbox

BATCH = 512


def noop() -> None:
    """Nothing."""


def add(a: int, b: int = 1) -> int:
    """Something with arguments."""
    return a + b


FUNCTIONS = {"b.noop": noop, "b.add": add}


def start_frame(socket: str, args: list[Any], kwargs: dict[str, Any]) -> bytes:
    """A START frame of BATCH equal calls."""
    body = pack_call(args, kwargs)
    calls = [
        envelope(
            Kind.SUBMIT, id=id, flow=id, name=socket.encode(), body=body, argc=len(args),
            flags=Flag.KWARGS if kwargs else 0,
        )
        for id in make_ids(BATCH)
    ]  # fmt: skip
    attempts = array.array("I", [1] * BATCH).tobytes()
    return frame([envelope(Kind.START, body=attempts), *calls])


@pytest.mark.parametrize(
    ("socket", "args", "kwargs"),
    [("b.noop", [], {}), ("b.add", [1, 2], {}), ("b.add", [1], {"b": 2})],
    ids=["no-op", "two arguments", "a keyword"],
)
def test_a_batch_of_calls(benchmark, tmp_path, socket, args, kwargs):
    """From an arrived frame to frames on the link."""
    page = ControlPage.create(str(tmp_path / "page"))
    sent: list[bytes] = []
    worker = Worker(page, Outbox(sent.append), list, lambda sockets: FUNCTIONS)
    worker.setup(dict.fromkeys(FUNCTIONS, ""))
    data = start_frame(socket, args, kwargs)

    def run() -> None:
        worker.take(data)
        worker.run_staged()
        worker.outbox.flush()
        sent.clear()

    benchmark(run)
    assert page.begun == page.finished
    assert page.begun % BATCH == 0
    page.close()
