"""The two framing twins say the same, and neither reads what is not there, whatever the bytes."""

from __future__ import annotations

import errno
import random
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.native import layout, pure
from meshcode.native.layout import Fault
from meshcode.wire import codec
from meshcode.wire import frame as wire

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "fuzz"))
import fuzz_wire  # noqa: E402 - found by the line above

NATIVE = ROOT / "meshcode" / "native"
quick = settings(max_examples=150)

try:
    from meshcode.native import compiled
except ImportError:
    compiled = None
needs_c = pytest.mark.skipif(compiled is None, reason="the C twin was not compiled here")

ids = st.binary(min_size=16, max_size=16)
envelopes = st.builds(
    wire.envelope,
    st.integers(0, 255),
    id=ids, flow=ids, parent=ids,
    name=st.binary(max_size=30), meta=st.binary(max_size=30), body=st.binary(max_size=200),
    flags=st.integers(0, 255), code=st.integers(0, 255), argc=st.integers(0, 255),
    attempt=st.integers(0, 2**32 - 1), number=st.integers(0, 2**64 - 1),
)  # fmt: skip
frames = st.builds(wire.frame, st.lists(envelopes, max_size=5), sequence=st.integers(0, 2**64 - 1))


@st.composite
def changed_frames(draw):
    """A valid frame after a few changes, most of them in headers; half of them sealed again."""
    data = bytearray(draw(frames))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, min(len(data) - 1, 300))))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return fuzz_wire.repaired(bytes(data)) if draw(st.booleans()) else bytes(data)


@needs_c
@quick
@given(st.one_of(st.binary(max_size=400), changed_frames(), frames))
def test_the_twins_agree_on_any_bytes_as_a_frame(data):
    assert fuzz_wire.wrong_of_frame(data) == []


@quick
@given(st.lists(envelopes, max_size=8))
def test_what_is_built_is_what_is_indexed(batch):
    data = wire.frame(batch)

    _, rows = wire.index(data)

    assert [data[row.start : row.end] for row in rows] == batch


@needs_c
@quick
@given(frames, st.integers(0, 400))
def test_the_twins_agree_on_a_frame_cut_anywhere(data, size):
    assert fuzz_wire.wrong_of_frame(data[:size]) == []


@quick
@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_bad_value_for_both_twins(data):
    assert fuzz_wire.wrong_of_data(data) == []


@needs_c
@quick
@given(st.binary(max_size=5000), st.integers(0, 2**32 - 1))
def test_the_checksum_of_the_c_twin_is_that_of_zlib(data, start):
    assert compiled.crc32(data, start) == zlib.crc32(data, start)


def test_random_changes_of_valid_inputs_find_nothing():
    """A second of what `./dev fuzz` does for longer."""
    assert fuzz_wire.run_random(1.0, seed=20261123) > 20


@needs_c
def test_the_twins_agree_on_each_first_byte_of_packed_data():
    """All 256, with every length of what follows up to the longest header."""
    for first in range(256):
        for size in range(12):
            for filler in (b"\x00", b"\x01", b"\xff"):
                assert fuzz_wire.wrong_of_data(bytes([first]) + filler * size) == []


@needs_c
def test_rows_are_right_while_another_thread_changes_the_buffer():
    """The C twin runs without the interpreter lock: a wrong answer is allowed, a crash is not."""
    good = wire.frame([wire.envelope(2, name=b"x", body=bytes(50))] * 300)
    shared = bytearray(good)
    done = threading.Event()

    def change() -> None:
        rng = random.Random(1)
        while not done.is_set():
            at = rng.randrange(len(shared))
            shared[at] ^= 0xFF
            shared[at] ^= 0xFF

    thread = threading.Thread(target=change)
    thread.start()
    outcomes = [fuzz_wire.verdict(compiled.index, shared)[0] for _ in range(300)]
    done.set()
    thread.join()

    assert set(outcomes) <= {"good", "fault"}
    assert compiled.index(shared) == pure.index(good)


def test_the_numbers_of_the_faults_and_sizes_are_the_same_in_c():
    text = (NATIVE / "framing.c").read_text()

    for code in layout.FaultCode:
        name = f"FAULT_{code.name}" if code.name.endswith(("MAGIC", "VERSION")) else code.name
        assert f"    {name} = {code.value}" in text
    for name in ("FRAME_HEADER_BYTES", "ENVELOPE_HEADER_BYTES", "PACKED_ROW_BYTES", "TUPLE_EXT"):
        assert f"    {name} = {getattr(layout, name)}," in text


HARNESS = """
#include <stdio.h>
#include <stdlib.h>
#include "framing.c"

/* Inputs on stdin: u32 size, then the bytes.  Each is put at the very end of its own allocation. */
int main(void)
{
    mesh_limits limits = {20971520, 16777216, 16384, 4096};
    mesh_fault fault;
    unsigned char head[4];
    unsigned long inputs = 0, good = 0;
    mesh_begin();
    while (fread(head, 1, 4, stdin) == 4) {
        size_t size = read_u32(head);
        uint8_t *buf = malloc(size);
        if (size && fread(buf, 1, size, stdin) != size)
            return 2;
        uint32_t told = size >= 12 ? read_u32(buf + 8) : 0;
        uint32_t room = told <= size / 80 ? told : 0;
        uint8_t *rows = malloc((size_t)room * PACKED_ROW_BYTES);
        uint8_t *row = malloc(PACKED_ROW_BYTES);
        good += mesh_index(buf, size, rows, room, &limits, &fault) >= 0;
        good += mesh_check(buf, size, row, &limits, &fault) >= 0;
        good += mesh_scan(buf, size, 1, 64, &fault) >= 0;
        good += mesh_scan(buf, size, 2, 65, &fault) >= 0;
        good += mesh_seal(buf, size, &fault) >= 0;
        free(row);
        free(rows);
        free(buf);
        inputs++;
    }
    printf("%lu %lu %u\\n", inputs, good, mesh_crc32(0, (const uint8_t *)"x", 1));
    return 0;
}
"""


def test_the_c_twin_reads_and_writes_only_its_own_bytes(tmp_path):
    """Under the address and undefined-behaviour sanitizers, over thousands of broken inputs."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no compiler here")
    (tmp_path / "harness.c").write_text(HARNESS)
    build = [compiler, "-O1", "-g", "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}"]
    build += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "harness.c", "-o", "h"]
    built = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "cannot find" in built.stderr:
        pytest.skip("the compiler has no sanitizers here")
    assert built.returncode == 0, built.stderr
    rng = random.Random(5)
    pool = fuzz_wire.seeds()
    inputs = list(pool)
    for _ in range(4000):
        data = fuzz_wire.changed(rng, rng.choice(pool), pool)
        inputs += [data, fuzz_wire.repaired(data)]

    run = subprocess.run(
        [tmp_path / "h"],
        input=b"".join(struct.pack("<I", len(data)) + data for data in inputs),
        capture_output=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr.decode()
    tried, good, crc = map(int, run.stdout.split())
    assert (tried, crc) == (len(inputs), zlib.crc32(b"x"))
    assert good > 1000  # The inputs are not all refused at the door.


def test_a_scan_stops_at_a_promise_of_more_items_than_bytes(twin):
    """Sixty-four lists that each tell four billion items would make a reader allocate it all."""
    data = b"\xdd\xff\xff\xff\xff" * 64 + bytes(600)

    with pytest.raises(Fault) as caught:
        twin.scan(data, 1, 64)

    assert caught.value.args == (layout.FaultCode.DATA_COUNT, 0, 2**32 - 1, len(data) - 5)


def test_seal_refuses_bytes_that_envelopes_do_not_fill(twin):
    good = wire.frame([wire.envelope(2), wire.envelope(4)])
    for broken, code in (
        (good[:20], layout.FaultCode.FRAME_SHORT),
        (good[:-1], layout.FaultCode.ENVELOPE_SHORT),
        (good + b"x", layout.FaultCode.FRAME_TAIL),
        (good[:48] + b"\x01" + good[49:], layout.FaultCode.ENVELOPE_SMALL),
        (good[:50] + b"\x01" + good[51:], layout.FaultCode.ENVELOPE_CUT),
    ):
        with pytest.raises(Fault) as caught:
            twin.seal(bytearray(broken))
        assert caught.value.code == code


@pytest.mark.parametrize(("value", "expected"), [("1", "pure"), ("0", None), ("", None)])
def test_the_environment_chooses_the_pure_twin(value, expected):
    found = subprocess.run(
        [sys.executable, "-c", "import meshcode.native as n; print(n.TWIN, n.index.__module__)"],
        env={"MESHCODE_PURE": value, "PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )

    expected = expected or ("pure" if compiled is None else "c")
    module = "pure" if expected == "pure" else "compiled"
    assert found.stdout.split() == [expected, f"meshcode.native.{module}"]


def test_both_twins_give_the_codec_the_same_words(twin):
    """The offset and both numbers come from the twin; the text from one place."""
    with pytest.raises(codec.BadValue) as caught:
        codec.unpack(b"\x93\x01\xa5ab")

    assert str(caught.value) == (
        "data of 5 bytes: at offset 2 3 bytes are left, the value there needs 6; it was dropped"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux")
@pytest.mark.parametrize("twin", [pure, pytest.param(compiled, marks=needs_c)], ids=["pure", "c"])
def test_prctl_does_what_is_asked_or_says_why_not(twin):
    timer_slack, file = 29, Path("/proc/self/timerslack_ns")
    before = int(file.read_text())
    try:
        twin.prctl(timer_slack, before + 7)
        assert int(file.read_text()) == before + 7
    finally:
        twin.prctl(timer_slack, before)
    with pytest.raises(OSError) as caught:
        twin.prctl(123_456, 0)
    assert caught.value.errno == errno.EINVAL
