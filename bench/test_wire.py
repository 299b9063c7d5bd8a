"""Framing and packing: index and seal of batches by both twins, and the codec.

    pytest bench/test_wire.py --benchmark-only --override-ini addopts=

Times are of a whole batch; divide by its envelopes.
"""

from __future__ import annotations

from typing import Any

import pytest

from meshcode.ids import make_ids
from meshcode.native import pure
from meshcode.wire import codec
from meshcode.wire import frame as wire
from meshcode.wire.kinds import Flag, Kind

try:
    from meshcode.native import compiled
except ImportError:
    compiled = None

BATCHES = (1, 64, 512)
TWINS = {"pure": pure, "c": compiled}


@pytest.fixture(params=list(TWINS))
def twin(request) -> Any:
    """Each framing twin in turn."""
    module = TWINS[request.param]
    if module is None:
        pytest.skip("the C twin was not compiled here")
    return module


def drafts(count: int) -> list[bytes]:
    """Calls of one text argument: 154 bytes each."""
    body = codec.pack_call(["some text of a usual length, for a call that cleans it up"])
    return [
        wire.draft(Kind.SUBMIT, id=i, flow=i, name=b"shop.clean", body=body, argc=1,
                   flags=Flag.FRESH)
        for i in make_ids(count)
    ]  # fmt: skip


@pytest.mark.parametrize("count", BATCHES)
def test_index(benchmark, twin, count):
    """Bytes of a frame to named rows."""
    data = wire.seal_frame(drafts(count), sequence=1)

    rows = benchmark(twin.index, data)

    assert len(rows) == count


@pytest.mark.parametrize("count", BATCHES)
def test_seal(benchmark, twin, count):
    """All checksums of a frame, in place."""
    good = wire.seal_frame(drafts(count), sequence=1)
    data = bytearray(good)

    benchmark(twin.seal, data)

    assert data == good


@pytest.mark.parametrize("count", BATCHES)
def test_seal_frame(benchmark, count):
    """From drafts to the bytes that go out, by the twin in use."""
    batch = drafts(count)

    data = benchmark(wire.seal_frame, batch, sequence=1)

    assert len(wire.index(data)[1]) == count


def test_draft(benchmark):
    """One envelope without its checksum."""
    (call,) = make_ids(1)
    body = codec.pack_call(["text"])

    data = benchmark(wire.draft, Kind.SUBMIT, id=call, flow=call, name=b"a.b", body=body, argc=1)

    assert data.endswith(body)


VALUES = {
    "small": [7],
    "usual": ["some text", {"lines": [1, 2, 3], "lang": "en"}],
    "tuples": [(n, str(n)) for n in range(20)],
    "rows": [{"id": n, "name": f"name {n}", "price": n / 7} for n in range(1000)],
    "text": ["x" * 1_000_000],
}


@pytest.mark.parametrize("name", VALUES)
def test_pack_call(benchmark, name):
    """Arguments to bytes."""
    data = benchmark(codec.pack_call, VALUES[name])

    assert codec.unpack_call(data, False) == (VALUES[name], {})


@pytest.mark.parametrize("name", VALUES)
def test_unpack_call(benchmark, name):
    """Bytes to arguments."""
    data = codec.pack_call(VALUES[name])

    args, _ = benchmark(codec.unpack_call, data, False)

    assert args == VALUES[name]


def test_scan(benchmark, twin):
    """The check of the shape of large data before it is read."""
    data = codec.pack(VALUES["rows"])

    assert benchmark(twin.scan, data, 1, 64) is None
