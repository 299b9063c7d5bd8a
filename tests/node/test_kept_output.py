"""What a node keeps of what a call printed."""

from __future__ import annotations

from types import SimpleNamespace

from meshcode import limits
from meshcode.node.crew import Crew
from meshcode.node.keeping import _marked


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
