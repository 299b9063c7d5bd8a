"""What makes Python's objects in C gives what its sisters in Python give, and refuses the rest."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import struct
import subprocess
import sys
import sysconfig
from unittest import mock
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.limits import BODY_BYTES_MAX, FRAME_BYTES_MAX, META_BYTES_MAX
from meshcode.native import pure
from meshcode.native.layout import Column, Fault, FaultCode
from meshcode.node import peerwords
from meshcode.wire import frame as wire
from meshcode.wire import general
from tests.wire.test_simple import scalars
from tests.wire.test_twins import NATIVE, envelopes, frames, fuzz_wire, ids

try:
    from meshcode.native import _objects, compiled
except ImportError:
    pytest.skip("the C twin was not compiled here", allow_module_level=True)

quick = settings(max_examples=200)
ID, FLOW, OTHER = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))


# Rows.


@quick
@given(frames, st.lists(st.sampled_from(Column), max_size=20))
def test_the_twins_pick_the_same_columns(data, columns):
    asked = bytes(columns)

    assert compiled.pick(data, asked) == pure.pick(data, asked)
    assert compiled.pick(bytearray(data), asked) == compiled.pick(memoryview(data), asked)


@quick
@given(st.lists(envelopes, min_size=1, max_size=6))
def test_what_is_picked_is_what_rows_say(batch):
    data = wire.frame(batch)
    _, rows = wire.index(data)

    _, picked, kinds, flags = wire.pick(data, bytes([Column.NAME, Column.BODY, Column.ENVELOPE]))

    assert picked == [
        (data[row.name_at : row.meta_at], data[row.body_at : row.end], data[row.start : row.end])
        for row in rows
    ]
    assert (kinds, flags) == (bytes(row.kind for row in rows), bytes(row.flags for row in rows))


@quick
@given(st.lists(st.tuples(st.sampled_from([ID, FLOW, OTHER]), st.sampled_from([ID, FLOW]),
                          st.sampled_from([b"a", b"b", b"\xff"])), max_size=12))  # fmt: skip
def test_an_object_that_rows_share_is_of_each_of_them(cases):
    """Names, flows and parents are mostly those of the row before, and the flow is the id."""
    data = wire.frame([
        wire.envelope(1, id=id, flow=flow, parent=flow, name=name) for id, flow, name in cases
    ])  # fmt: skip
    columns = [Column.FLOW, Column.ID, Column.FLOW, Column.PARENT, Column.NAME, Column.TEXT]

    rows, _, _ = compiled.pick(data, bytes(columns))

    assert rows == [
        (flow, id, flow, flow, name, name.decode(errors="replace")) for id, flow, name in cases
    ]


def test_a_large_frame_is_picked_too():
    body = bytes(100_000)
    data = wire.frame([wire.envelope(3, id=ID, body=body, flags=4)])

    assert compiled.pick(data, bytes([Column.BODY])) == ([(body,)], b"\x03", b"\x04")


def test_no_such_column_is_an_error():
    with pytest.raises(ValueError, match="no column 200"):
        compiled.pick(wire.frame([wire.envelope(1)]), b"\xc8")


@pytest.mark.parametrize("data", [b"", b"x" * 39, b"x" * 40, wire.frame([])[:-1]])
def test_what_is_no_frame_is_a_fault(data):
    said = fuzz_wire.verdict(compiled.pick, data, b"")

    assert said[0] == "fault"
    assert said == fuzz_wire.verdict(pure.pick, data, b"")


def test_a_frame_over_the_limit_is_a_fault():
    with pytest.raises(Fault) as fault:
        compiled.pick(bytes(FRAME_BYTES_MAX + 1), b"")

    assert fault.value.code is FaultCode.FRAME_LARGE


# Drafts.


@quick
@given(ids, ids, ids, st.binary(max_size=300), st.binary(max_size=9), st.binary(max_size=9),
       st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))  # fmt: skip
def test_the_twins_make_the_same_drafts(id, flow, parent, body, name, meta, attempt, number):
    whole = wire.draft(7, parent=parent, name=name, meta=meta, flags=3, code=2, argc=1)
    given = (id, flow, body, attempt, number)

    assert compiled.mold(whole)(*given) == pure.mold(whole)(*given)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ((ID[:15], FLOW, b"", 0, 0), ValueError),
        ((ID, FLOW + b"x", b"", 0, 0), ValueError),
        ((ID, FLOW, "text", 0, 0), TypeError),
        ((ID, FLOW, b"", 2**32, 0), OverflowError),
        ((ID, FLOW, b"", 0, 2**64), OverflowError),
        ((ID, FLOW, b"", -1, 0), OverflowError),
        ((ID, FLOW, b"", 0, None), TypeError),
        ((ID, FLOW, b""), TypeError),
    ],
)
def test_a_draft_of_what_does_not_fit_is_an_error(given, error):
    with pytest.raises(error):
        compiled.mold(wire.draft(1))(*given)


def test_a_mold_of_less_than_a_header_is_an_error():
    with pytest.raises(ValueError, match="80 bytes at least, not 79"):
        compiled.mold(bytes(79))


# The control page.


@quick
@given(st.lists(st.tuples(ids, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)), max_size=5))
def test_the_twins_write_the_same_page(calls):
    pages = [mmap.mmap(-1, 4096) for _ in range(2)]
    for page in pages:
        page[16:24] = struct.pack("=Q", 6)
    both = [compiled.Slots(pages[0]), pure.Slots(pages[1])]

    for call in calls:
        for slots in both:
            slots.begin(*call)
        assert pages[0][:] == pages[1][:]
        for slots in both:
            slots.finish()

    assert pages[0][:] == pages[1][:]
    assert struct.unpack("=Q", pages[0][16:24]) == (6 + len(calls),)
    for slots, page in zip(both, pages, strict=True):
        slots.close()
        page.close()  # Raises when somebody holds on to it.


def test_a_closed_page_is_not_written():
    page = mmap.mmap(-1, 4096)
    slots = compiled.Slots(page)
    slots.close()
    slots.close()
    page.close()

    for action in (slots.finish, lambda: slots.begin(ID, 1, 1)):
        with pytest.raises(ValueError, match="closed"):
            action()


def test_what_is_no_page_is_refused():
    with pytest.raises(ValueError, match="127 bytes are no control page"):
        compiled.Slots(bytearray(127))
    with pytest.raises((BufferError, TypeError)):
        compiled.Slots(bytes(4096))


def test_the_module_takes_what_it_is_made_for_only():
    for function, args in (
        (_objects.pick, (b"",)), (_objects.pick, ("text", b"")), (_objects.pick, (b"", "text")),
        (_objects.begin, (1, 2, 3)), (compiled.Slots, ()),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            function(*args)


# Batches for the log.

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)


@quick
@given(st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), u64, u64, u64, u64,
                 st.binary(max_size=200), st.binary(max_size=200)))  # fmt: skip
def test_the_twins_pack_the_same_records(fields):
    assert compiled.pack_done(*fields) == pure.pack_done(*fields)


@pytest.mark.parametrize("fields", [(256, 0), (0, 2**32), (-1, 0), (None, 0)])
def test_a_record_of_what_does_not_fit_is_an_error(fields):
    for twin in (compiled, pure):
        with pytest.raises((OverflowError, TypeError, struct.error)):
            twin.pack_done(*fields, 1, 2, 3, 4, b"", b"")


TABLES = ("a", "b", "long-name")
keys = st.binary(max_size=6)
ops = st.lists(st.tuples(st.sampled_from([*TABLES, "other"]), keys, st.none() | keys), max_size=20)


epochs = st.tuples(u32, ids, u32)


@quick
@given(st.tuples(
    st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), u32,
    st.binary(min_size=34, max_size=34), epochs, epochs,
    st.lists(ids, max_size=5).map(tuple), st.binary(max_size=100),
))  # fmt: skip
def test_the_twins_pack_the_same_votes(fields):
    assert compiled.pack_vote(*fields) == pure.pack_vote(*fields)


NO_VOTE = (0, 0, 0, 0, bytes(34), (0, ID, 0), (0, ID, 0), (ID,), b"")


@pytest.mark.parametrize(
    ("at", "wrong"),
    [(0, 256), (3, 1 << 32), (4, bytes(33)), (5, (1 << 32, ID, 0)), (5, (0, b"short", 0)),
     (6, (0, ID)), (6, [0, ID, 0]), (7, (b"short",)), (7, [ID]), (8, "text"), (1, None)],
)  # fmt: skip
def test_a_vote_of_what_does_not_fit_is_an_error(at, wrong):
    fields = [*NO_VOTE]
    fields[at] = wrong

    assert len(compiled.pack_vote(*NO_VOTE)) == 91 + 16
    with pytest.raises((OverflowError, TypeError, ValueError)):
        compiled.pack_vote(*fields)


# What is said to other nodes.

entries = st.lists(st.one_of(st.binary(max_size=60), st.integers(0, 2**40), st.none()), max_size=4)
said = st.lists(
    st.tuples(st.sampled_from([ID, FLOW, OTHER]), st.sampled_from([58, 55]), entries), max_size=40
)


@quick
@given(said, st.integers(1, 20), st.integers(1, 200))
def test_words_travel_together_as_they_do_when_made_in_python(words, count_max, bytes_goal):
    both = [(node, kind, entry) for _, kind, entry in words for node in (ID, FLOW)] + words
    with mock.patch.multiple(
        peerwords, PEER_WORDS_MAX=count_max, PEER_WORDS_BYTES_GOAL=bytes_goal
    ):
        made = compiled.pack_words(both, count_max, bytes_goal)
        wanted = [*peerwords._bodies(both)]

    assert made is not None
    for node in (ID, FLOW, OTHER):
        assert [row[1:] for row in made if row[0] == node] == [
            row[1:] for row in wanted if row[0] == node
        ]


def test_words_of_other_data_are_left_to_python():
    for entry in ([(1, 2)], (1, 2), [1j], [2**64]):
        assert compiled.pack_words([(ID, 58, [1]), (ID, 58, entry)], 9, 999) is None
    assert peerwords.to_envelopes([(ID, 58, [(1, 2)])], {}), "and it does them"
    with pytest.raises(TypeError):
        compiled.pack_words(((ID, 58, [1]),), 9, 999)
    assert compiled.pack_words([(ID, 58)], 9, 999) is None
    assert compiled.pack_words([], 9, 999) == []


@quick
@given(ops)
def test_the_twins_group_a_batch_alike(batch):
    found = compiled.group(batch, TABLES, 5)

    assert found == pure.group(batch, TABLES, 5)
    if found is not None:
        assert [*found] == [*dict.fromkeys(table for table, *_ in batch)]
        assert [[*changes] for changes in found.values()] == [
            [*changes] for changes in (pure.group(batch, TABLES, 5) or {}).values()
        ]


def test_a_batch_is_a_list_of_triples():
    for wrong in (((1, 2),), ("abc",), ((b"a", b"k", None),), (("a", "k", None),)):
        assert _objects.group(list(wrong), TABLES, 5) is None
    assert compiled.group((("a", b"k", b"v"),), TABLES, 5) == {"a": {b"k": b"v"}}


some_changes = st.dictionaries(keys, st.none() | keys, max_size=6)


@quick
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 2), st.integers(0, 2**32 - 1),
                          some_changes), max_size=4))  # fmt: skip
def test_sections_are_flattened_with_deletes_first(sections):
    parts: list[bytes] = []
    numbers: list[int] = []
    for table, how, seed, changes in sections:
        gone = [key for key, value in changes.items() if value is None]
        kept = [part for row in changes.items() if row[1] is not None for part in row]
        parts += [*gone, *kept]
        numbers += [table, 0, seed, len(gone), table, how, seed, len(kept) // 2]

    assert _objects.flatten(sections) == (
        b"".join(parts),
        struct.pack(f"={len(parts)}I", *map(len, parts)),
        struct.pack(f"={len(numbers)}I", *numbers),
    )


@quick
@given(st.lists(st.tuples(keys, keys, st.integers(0, 5)), max_size=6), st.integers(0, 2**32 - 1))
def test_rows_are_cut_and_checked_by_both_twins(rows, seed):
    """Kinds: 0 a blob's check, 1 a flipped bit, 2 shorter than a check, else plain."""
    stored, wanted = [], []
    for key, value, kind in rows:
        check = crc32(value, crc32(key, seed))
        if kind == 0:
            check ^= 0x626C6F62
        row = value + check.to_bytes(4, "little")
        if kind == 1:
            row = bytes([row[0] ^ 1]) + row[1:]
        if kind == 2:
            row = row[:3]
        stored += [key, row]
        wanted.append((key, value if kind > 2 else None))
    data, sizes = b"".join(stored), struct.pack(f"={len(stored)}Q", *map(len, stored))

    assert _objects.open_rows(data, sizes, seed) == wanted
    assert pure.open_rows(data, sizes, seed) == wanted


def test_rows_that_are_longer_than_their_data_are_refused():
    for sizes in ((9, 1), (1, 9), (1, 2**64 - 1), (2**64 - 1, 2)):
        for twin in (_objects, pure):
            with pytest.raises((ValueError, OverflowError)):
                twin.open_rows(b"12345", struct.pack("=2Q", *sizes), 0)
    with pytest.raises(TypeError):
        _objects.open_rows(b"", b"")
    with pytest.raises(TypeError):
        _objects.open_rows("", b"", 0)


@pytest.mark.parametrize(
    "sections", [(), [(1, 2)], [(1, 1, 0, [])], [(1, 1, 0, {"k": b""})], [(1, 1, 0, {b"k": "v"})]]
)
def test_what_are_no_sections_is_refused(sections):
    with pytest.raises(TypeError):
        _objects.flatten(sections)


# Steps of flows.


@quick
@given(ids, st.integers(0, 1_100))
def test_the_ids_of_steps_are_those_of_blake2b(parent, count):
    """The twin is hashlib's, so this is also the test of our own."""
    assert compiled.numbered_ids(parent, count) == pure.numbered_ids(parent, count)


def test_ids_of_no_parent_or_fewer_than_none_are_an_error():
    for args in ((b"short", 1), (ID, -1), ("text", 1), (ID, None), (ID,)):
        with pytest.raises((ValueError, TypeError)):
            compiled.numbered_ids(*args)


rows = st.lists(
    st.tuples(ids, st.binary(max_size=30), st.binary(max_size=40), st.binary(max_size=300),
              st.integers(0, 255), st.integers(0, 255)), max_size=6)  # fmt: skip


@quick
@given(st.integers(0, 255), ids, ids, rows)
def test_rows_are_sealed_as_envelopes(kind, flow, parent, batch):
    assert compiled.seal_rows(kind, flow, parent, batch) == [
        wire.envelope(kind, id=id, flow=flow, parent=parent, name=name, meta=meta, body=body,
                      flags=flags, argc=argc)
        for id, name, meta, body, flags, argc in batch
    ]  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        (ID[:9], b"", b"", b"", 0, 0),
        (ID, bytes(256), b"", b"", 0, 0),
        (ID, b"", bytes(META_BYTES_MAX + 1), b"", 0, 0),
        (ID, b"", b"", bytes(BODY_BYTES_MAX + 1), 0, 0),
        (ID, b"", b"", b"", 256, 0),
        (ID, b"", b"", b"", 0, -1),
        (ID, "name", b"", b"", 0, 0),
        (ID, b"", b""),
        [ID, b"", b"", b"", 0, 0],
    ],
)
def test_rows_that_do_not_fit_are_made_otherwise(row):
    """There, what is wrong is said."""
    good = (ID, b"", b"", b"", 0, 0)

    assert compiled.seal_rows(1, ID, FLOW, [good, row, good]) is None
    assert compiled.seal_rows(1, ID, FLOW[:3], [good]) is None
    assert compiled.seal_rows(256, ID, FLOW, [good]) is None


@quick
@given(st.lists(scalars, max_size=17), st.integers(0, 255), st.binary(max_size=9), scalars)
def test_a_step_is_fed_the_same_by_both(values, flags, meta, value):
    body, first = general.pack_at(0, values), general.pack_at(0, value)
    submit = wire.envelope(
        1, id=ID, flow=FLOW, parent=OTHER, name=b"n", meta=meta, body=body, argc=len(values),
        flags=flags,
    )  # fmt: skip
    fed = compiled.feed_first(submit, first)

    assert (fed is None) == (len(values) > 14)
    if fed is not None:
        assert fed == wire.with_first(submit, 81 + len(meta), first)
        row = wire.check_envelope(fed)
        assert (row.argc, row.flags) == (len(values) + 1, flags)
        assert fed[row.body_at : row.end] == general.pack_at(0, [value, *values])


@pytest.mark.parametrize(
    "submit", [b"", bytes(79), wire.envelope(1), wire.envelope(1, body=b"\xc0")]
)
def test_what_has_no_arguments_is_not_fed_here(submit):
    assert compiled.feed_first(submit, b"\xc0") is None


UNDER_SANITIZERS = """
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("meshcode.native._objects", sys.argv[1])
objects = importlib.util.module_from_spec(spec)
spec.loader.exec_module(objects)
objects.begin(20971520, 16777216, 16384, 4096)
mold = objects.Mold(bytes(99)).make
data = pathlib.Path(sys.argv[2]).read_bytes()
inputs = good = at = 0
while at < len(data):
    size = int.from_bytes(data[at : at + 4], "little")
    one = bytes(data[at + 4 : at + 4 + size])
    at += 4 + size
    inputs += 1
    found = objects.pick(one, bytes(range(17)))
    good += len(found) == 3
    objects.unpack_simple(one), objects.unpack_items(one)
    objects.unpack_simple(one[-9:]), objects.unpack_items(b"\\x93" + one[-40:])
    objects.pack_items([one[:200], one[:9], inputs, str(one[:70])])
    nested = [one, {"a": [inputs, {str(one[:9]): one[9:]}] * (size % 40)}, {1: 2}[1]]
    objects.pack_simple(nested), objects.unpack_simple(objects.pack_simple(nested) or b"")
    entries = [[one[:n], n, nested] for n in range(size % 9)]
    words = [(one[n % 2 : 3], n // 3, entry) for n, entry in enumerate(entries) for _ in (0, 1)]
    objects.pack_words(words, 1 + size % 5, 2 * size), objects.pack_words([*words, 1], 3, 9)
    epoch = (inputs, bytes(16), size)
    objects.pack_vote(1, 2, 3, 4, bytes(34), epoch, epoch, (bytes(16),) * (size % 5), one)
    page = bytearray(128)
    slots = objects.Slots(page)
    if size >= 16:
        mold(one[:16], one[:16], one, inputs, inputs)
        slots.begin(one[:16], inputs, inputs)
        slots.finish()
    ops = [("a", one[:9], one), ("b", one[9:20], None), ("a", one[:5], one[5:]), ("a", b"", b"")]
    for end in range(5):
        grouped = objects.group(ops[:end], ("a", "b"), 9 + size % 4)
        objects.flatten([(1, 1, 2, changes) for changes in (grouped or {}).values()])
    sizes = b"".join(n.to_bytes(8, "little") for n in (3, 9, 0, size // 3, 1, 2))
    try:
        objects.open_rows(one, sizes, inputs), objects.open_rows(one[:12], sizes[:16], 1)
        objects.open_rows(one, one, 5)
    except ValueError:
        pass
    objects.pack_done(1, 2, 3, 4, 5, 6, one, one[:50])
    objects.feed_first(one, one[:20]), objects.feed_first(one[40:], b"x")
    row = (one[:16], one[16:40], one[40:70], one, size % 300, inputs % 300)
    objects.seal_rows(1, bytes(16), bytes(16), [row, row])
    objects.numbered_ids(bytes(16), size % 20)
    objects.scan(one, 1, 64), objects.scan(one[-50:], 2, 255)
print(inputs, good)
"""


def test_the_module_reads_and_writes_only_its_own_bytes(tmp_path):
    """In an interpreter under the address and undefined-behaviour sanitizers."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc here")
    library = tmp_path / "_objects.so"
    build = [
        compiler, "-O1", "-g", "-std=c99", "-fPIC", "-shared", "-DPy_LIMITED_API=0x030B0000",
        "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
        f"-I{sysconfig.get_paths()['include']}", str(NATIVE / "objects.c"), "-o", str(library),
    ]  # fmt: skip
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    if "cannot find" in built.stderr:
        pytest.skip("the compiler has no sanitizers here")
    assert built.returncode == 0, built.stderr
    asked = [compiler, "-print-file-name=libasan.so"]
    runtime = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    rng, pool = random.Random(7), fuzz_wire.seeds()
    inputs = list(pool)
    for _ in range(1500):
        data = fuzz_wire.changed(rng, rng.choice(pool), pool)
        inputs += [data, fuzz_wire.repaired(data)]
    file = tmp_path / "inputs"
    file.write_bytes(b"".join(len(one).to_bytes(4, "little") + one for one in inputs))

    run = subprocess.run(
        [sys.executable, "-I", "-c", UNDER_SANITIZERS, str(library), str(file)],
        env={**os.environ, "LD_PRELOAD": runtime, "PYTHONMALLOC": "malloc",
             "ASAN_OPTIONS": "detect_leaks=0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr[-3000:]
    count, good = map(int, run.stdout.split())
    assert count == len(inputs)
    assert good == sum(fuzz_wire.verdict(pure.pick, one, b"")[0] == "good" for one in inputs) > 20
