"""What a node keeps of what a call printed."""

from __future__ import annotations

from types import SimpleNamespace

from meshcode import limits
from meshcode.node.crew import Crew
from meshcode.node.keeping import Keeping, _marked
from meshcode.node.sessions import Session
from meshcode.node.subjects import Wanted
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import index, seal_frame


def test_a_flood_that_goes_on_is_kept_from_its_end_and_says_so():
    """A worker sends a tail each second: together more than is kept."""
    worker = SimpleNamespace(output={}, printed={})
    sent = limits.OUTPUT_BYTES_MAX // 2
    for second in range(5):
        Crew._keep_output(worker, (b"id", 1), 1, b"%d" % second * sent)
    data = worker.output[b"id", 1]["stdout"]

    told = _marked(data, worker.printed[b"id", 1, "stdout"])

    assert told == b"[%d bytes of output left out here]\n" % (3 * sent) + b"3" * sent + b"4" * sent
    assert _marked(b"whole", 5) == b"whole"


def test_of_kept_output_each_line_is_looked_at_for_who_may_hear_it():
    """Whatever a listener may ask for, it is told nothing of a socket that is closed to it."""
    calls = {bytes([n]) * 16: name for n, name in enumerate(("open", "closed", "open"), 1)}
    rows = [(id + bytes(4), pack({"stdout": name.encode()})) for id, name in calls.items()]
    told: list[bytes] = []
    loop = SimpleNamespace(
        router=SimpleNamespace(bodies_bytes_max=1, calls={
            id: SimpleNamespace(line=SimpleNamespace(name=name), accepted_ms=1)
            for id, name in calls.items()
        }),
        log=SimpleNamespace(scan=lambda *_, **__: rows),
        guard=SimpleNamespace(may_hear=lambda _, socket: socket == "open"),
        sessions=SimpleNamespace(send=lambda _, events: told.extend(events)),
    )  # fmt: skip

    Keeping(loop).send_tail(Session(1, b""), b"r" * 16, Wanted("log", None, None), 10)

    data = seal_frame(told)
    texts = [unpack(data[row.body_at : row.end])["text"] for row in index(data)[1]]
    assert texts == ["open", "open"]
