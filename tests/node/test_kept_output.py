"""What a node keeps of what a call printed."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from meshcode import limits
from meshcode.node import tails
from meshcode.node.crew import Crew
from meshcode.node.keeping import Keeping
from meshcode.node.sessions import Session
from meshcode.node.subjects import Wanted
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import index, seal_frame


def test_a_flood_that_goes_on_is_kept_from_its_end_and_says_so():
    """A worker sends a tail each second: together more than is kept."""
    worker = SimpleNamespace(output={}, printed={}, left_out={})
    sent = limits.OUTPUT_BYTES_MAX // 2
    for second in range(5):
        Crew._keep_output(worker, (b"id", 1), 1, b"%d" % second * sent)
    data = worker.output[b"id", 1]["stdout"]

    assert data == b"3" * sent + b"4" * sent
    assert tails.mark(worker.left_out[b"id", 1, "stdout"]) == (
        b"[%d bytes of output left out here]\n" % (3 * sent)
    )
    assert tails.mark(0) == b""


@pytest.mark.parametrize("shift", range(60))
def test_what_is_kept_and_what_is_told_as_left_out_is_all_that_was_printed(shift: int):
    """Wherever it is cut, the worker's own line among it: that is counted, and never halved."""
    worker = SimpleNamespace(output={}, printed={}, left_out={})
    lines = [b"line %d\n" % n for n in range(100)]
    whole, unsent = b"".join(lines), 1_000_000
    first = b"a" * (limits.OUTPUT_BYTES_MAX - len(whole) - 20 - shift) + whole
    own = b"\n[%d bytes of output left out here]\n" % unsent
    sent = [b"x" * 99 + b"\n", own + first]
    for data in sent:
        Crew._keep_output(worker, (b"id", 1), 1, data)
    data = worker.output[b"id", 1]["stdout"]

    text = tails.mark(worker.left_out[b"id", 1, "stdout"]) + data
    parts = re.split(rb"\n?\[(\d+) bytes of output left out here\]\n", text)
    kept, told = sum(map(len, parts[::2])), sum(map(int, parts[1::2]))
    assert kept + told == 100 + unsent + len(first)
    assert len(parts) == 3 or parts[0] == b"", "a line before it was cut behind its end"


@pytest.mark.parametrize("cuts", [1, 3])
def test_the_log_of_the_workers_keeps_its_newest_lines_and_they_go_on_in_it(
    tmp_path: Path, cuts: int
):
    path = tmp_path / "workers.log"
    written = 0
    with path.open("ab", buffering=0) as worker:
        for _ in range(cuts):
            while (size := path.stat().st_size) <= limits.WORKERS_LOG_BYTES_MAX:
                tails.cut_file(path, limits.WORKERS_LOG_BYTES_MAX, limits.WORKERS_LOG_BYTES_KEPT)
                assert path.stat().st_size == size, "it is let alone"
                written += worker.write(b"%08d\n" % written * 50_000)

            tails.cut_file(path, limits.WORKERS_LOG_BYTES_MAX, limits.WORKERS_LOG_BYTES_KEPT)
        worker.write(b"the end\n")

    first, *lines = path.read_bytes().splitlines(keepends=True)
    told = re.fullmatch(rb"\[(\d+) bytes left out here\]\n", first)
    assert told and int(told[1]) + sum(map(len, lines)) == written + len(b"the end\n")
    assert lines[-1] == b"the end\n" and {len(line) for line in lines[:-1]} == {9}
    assert path.stat().st_size <= limits.WORKERS_LOG_BYTES_KEPT
    tails.cut_file(tmp_path / "none", 1, 1)
    assert not (tmp_path / "none").exists()


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
