"""Plain data: what goes in comes out, what is not plain is named, hostile bytes raise one error."""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
import pathlib
import struct
import subprocess
import sys
import threading
import types
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode import limits
from meshcode.errors import BadData, BadValue, TooLarge
from meshcode.wire import general, plain
from meshcode.wire.codec import pack, pack_call, unpack, unpack_call, unpack_map

pytestmark = pytest.mark.usefixtures("twin")


class Colour(enum.IntEnum):
    RED = 1


class Word(enum.StrEnum):
    YES = "yes"


class Plain(enum.Enum):
    A = 1


@dataclasses.dataclass
class Card:
    x: int


Pair = collections.namedtuple("Pair", "a b")


def typed(value):
    """The value with the type of everything in it, so that 1, True and 1.0 differ; NaN is equal."""
    if isinstance(value, dict):
        return "dict", [(typed(k), typed(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [typed(item) for item in value]
    return type(value), repr(value)


NAIVE = datetime(2026, 11, 23, 12, 30, 0, 7)  # noqa: DTZ001 - naive ones travel too

VALUES = [
    None, True, False, 0, -1, 127, 128, -32, -33, 2**31, 2**63 - 1, -(2**63), 2**64 - 1,
    2**64, -(2**63) - 1, 10**300, -(10**300), 0.0, -0.0, 1.5, math.inf, -math.inf, math.nan,
    "", "text", "é\U0001f600\x00", b"", b"\x00\xff", [], {}, (), [[]], ((),), (1,), (1, (2, [3])),
    {"a": {"b": [1, 2.5, None]}}, {1: "int", "1": "text", b"1": "bytes", None: 0, 1.5: 2},
    {(1, (2,)): "tuple", date(2026, 1, 2): "date", UUID(int=3): 4, Decimal("1.0"): 5},
    NAIVE, datetime(2026, 11, 23, 12, 30, 1, 5, tzinfo=UTC), NAIVE.replace(fold=1),
    time(2, 30, fold=1), {"at": (NAIVE.replace(fold=1), [time(fold=1)])},
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-23, minutes=-59, seconds=-59,
                                                microseconds=-999999))),
    datetime.max.replace(tzinfo=UTC), date.min, date.max, time(), time(23, 59, 59, 999999),
    time(1, 2, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    timedelta(), timedelta(days=-1, microseconds=1), timedelta.max, timedelta.min,
    Decimal("1.20"), Decimal("-0"), Decimal("NaN"), Decimal("sNaN123"), Decimal("-Infinity"),
    Decimal("1E+999999"), UUID(int=2**127 + 1), list(range(1000)), {"k" * 300: "v" * 70_000},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:40])
def test_plain_data_comes_out_as_it_went_in(value):
    assert typed(unpack(pack(value))) == typed(value)
    assert typed(unpack_call(pack_call([value], {"k": value}), True)) == typed(
        ([value], {"k": value})
    )


def test_a_zone_becomes_the_offset_of_the_second_pass_of_its_hour():
    """So its fold is not needed; without a zone it tells the two passes apart."""
    rome = ZoneInfo("Europe/Rome")
    second = datetime(2026, 10, 25, 2, 30, tzinfo=rome, fold=1)

    found = unpack(pack(second))

    assert (found.utcoffset(), found.fold) == (timedelta(hours=1), 0)
    assert found.timestamp() == second.timestamp()
    naive = unpack(pack(second.replace(tzinfo=None)))
    assert naive.replace(tzinfo=rome).timestamp() == second.timestamp()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Colour.RED, 1), (Word.YES, "yes"), (Pair(1, [2]), (1, [2])),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (type("Big", (int,), {})(2**70), 2**70), (type("Text", (str,), {})("t"), "t"),
        (type("Real", (float,), {})(1.5), 1.5), (type("Raw", (bytes,), {})(b"r"), b"r"),
        (type("Row", (list,), {})([1]), [1]),
        (datetime(2026, 7, 1, tzinfo=ZoneInfo("UTC")), datetime(2026, 7, 1, tzinfo=UTC)),
        (numpy.float64(1.5), 1.5), (numpy.float32(0.5), 0.5), (numpy.int8(-3), -3),
        (numpy.uint64(2**64 - 1), 2**64 - 1), (numpy.bool_(True), True), (numpy.str_("s"), "s"),
        (numpy.bytes_(b"b"), b"b"),
    ],
    ids=lambda value: f"{type(value).__name__}",
)  # fmt: skip
def test_a_kin_of_plain_data_comes_out_as_its_plain_base(value, expected):
    for inside in (value, [value], (value,), {"k": value}):
        found = unpack(pack(inside))
        if inside is not value:
            found = found["k"] if isinstance(inside, dict) else found[0]
        assert typed(found) == typed(expected)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1}, "is a set, which is not plain data; use a list"),
        (frozenset(), "is a frozenset, which is not plain data; use a list"),
        (1j, "is a complex, which is not plain data; use a list of its two parts"),
        (pathlib.PurePosixPath("/"), "PurePosixPath, which is not plain data; use str(path)"),
        (Card(1), "Card, which is not plain data; use dataclasses.asdict"),
        (Plain.A, "Plain, which is not plain data; use its .value"),
        (Card, "is the class Card, which is not plain data; pass its name"),
        (print, "is a builtin_function_or_method, which is not plain data; pass its name"),
        (object(), "is an object, which is not plain data; use a dict of its fields"),
        (range(3), "is a range, which is not plain data; use list(...)"),
        (ValueError("x"), "is a ValueError, which is not plain data; use str(error)"),
        ("a\ud800", "is text that is not Unicode: character 1 is '\\ud800'"),
        (time(tzinfo=ZoneInfo("Europe/Rome")), "has no offset without a date; use a datetime"),
        (type("Stamp", (datetime,), {})(2026, 1, 1), "use the plain type of datetime"),
        (memoryview(b"abcd")[::2], "is a memoryview with gaps; use bytes(view)"),
        (numpy.array([object()]), "is a numpy array of object"),
        (numpy.zeros(2, dtype="i4,f8"), "is a numpy array of [('f0', '<i4'), ('f1', '<f8')]"),
        (numpy.ma.array([1], mask=[1]),
         "is a MaskedArray, a special kind of numpy array; use its filled(...), or a list of its"),
        (numpy.zeros(1).view(numpy.recarray), "is a recarray, a special kind of numpy array; use "),
        (types.MappingProxyType({"a": 1}), "is a mappingproxy, which is not plain data; use dict("),
        (collections.UserDict(a=1), "UserDict, which is not plain data; use dict(...)"),
        (numpy.datetime64("2026-01-01"), "is a numpy scalar of type datetime64[D]"),
        (numpy.longdouble(1), "is a numpy scalar of type"),
        (numpy.complex64(1), "is a numpy scalar of type complex64"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else None,
)
def test_what_is_not_plain_is_named_with_its_place_and_advice(value, says):
    places = [
        (lambda: pack(value), "the value "),
        (lambda: pack([0, {"when": (1, value)}], "the result"), 'the result[1]["when"][1] '),
        (lambda: pack_call([1, {"when": [value]}]), 'argument 2["when"][0] '),
        (lambda: pack_call([1], {"x": 1, "to": [value]}), "argument to[0] "),
        (lambda: pack({3: {b"k": value}}), "the value[3][b'k'] "),
    ]
    for write, begins in places:
        with pytest.raises(BadData) as caught:
            write()
        text = str(caught.value)
        assert text.startswith(begins), text
        assert says in text
        assert text.endswith("; nothing was sent")
        assert caught.value.fields["path"] == begins.strip()


def test_a_key_that_is_not_plain_is_named():
    with pytest.raises(BadData, match="the value, a key, is a frozenset"):
        pack({frozenset([1]): 2})
    with pytest.raises(BadData, match=r"argument 1\[0\], a key,\[1\] is a frozenset"):
        pack_call([[{(1, frozenset()): 2}]])


def test_a_long_key_is_shortened_in_the_error():
    with pytest.raises(BadData) as caught:
        pack({"k" * 100_000: {1}})

    assert len(str(caught.value)) < 200


def test_packing_works_on_after_a_failure():
    """The packer is used again; a failed one must leave nothing behind."""
    for bad in ([1, 2, {1}], ([1], ({1},)), "\ud800", [[]] * 3 + [print]):
        with pytest.raises(BadData):
            pack(bad)
        assert pack([1, (2,)]) == b"\x92\x01\xd5\x02\x91\x02"


def test_a_tzinfo_that_raises_is_bad_data():
    class Broken(tzinfo):
        def utcoffset(self, when):
            raise LookupError("no offset today")

    with pytest.raises(BadData, match=r"the value\[0\] cannot be written: .*no offset today"):
        pack([datetime(2026, 1, 1, tzinfo=Broken())])


def nested(wrap, levels):
    value = wrap(None)
    for _ in range(levels - 1):
        value = wrap(value)
    return value


WRAPS = {
    "list": lambda v: [] if v is None else [v],
    "tuple": lambda v: () if v is None else (v,),
    "dict": lambda v: {} if v is None else {"k": v},
    "key": lambda v: {} if v is None else {(): v},
}


@pytest.mark.parametrize("wrap", ["list", "tuple", "dict"])
@pytest.mark.parametrize("wide", [False, True])
def test_depth_is_limited_to_the_level_both_ways(wrap, wide):
    deepest = nested(WRAPS[wrap], limits.DATA_DEPTH_MAX)
    deeper = nested(WRAPS[wrap], limits.DATA_DEPTH_MAX + 1)
    if wide:  # Large data takes another way through the checks.
        deepest, deeper = [deepest[0] if wrap != "dict" else deepest["k"], "x" * 70_000], [
            deepest, "x" * 70_000]  # fmt: skip

    assert unpack(pack(deepest)) == deepest
    assert unpack_call(pack_call([deepest], {"k": deepest}), True) == ([deepest], {"k": deepest})
    with pytest.raises(TooLarge, match="the result is nested more than 64 levels deep"):
        pack(deeper, "the result")
    with pytest.raises(TooLarge, match="argument 2 is nested more than 64 levels deep"):
        pack_call([1, deeper])
    too_deep = pack_call([deepest])  # One level more than a value may have.
    with pytest.raises(BadValue, match="begins 65 levels deep, the limit is 64"):
        unpack(too_deep)


def test_a_value_that_holds_itself_is_refused():
    loop: list = []
    loop.append((loop, {"k": loop}))
    for value in (loop, (loop,), {"a": loop}):
        with pytest.raises(TooLarge, match="or holds itself"):
            pack(value)


def test_deep_data_needs_no_deep_stack():
    """The worst nesting of tuples and lists, in a thread with a stack of 1 MiB."""
    hostile = b"\x90"
    for _ in range(400):
        hostile = b"\xc9" + struct.pack(">IB", len(hostile) + 1, 2) + b"\x91" + hostile
    bare = b"\x90"  # Tuples that hold no list but the next tuple: no list, so no level to count.
    for _ in range(400):
        bare = b"\xc9" + struct.pack(">IB", len(bare), 2) + bare
    script = (
        "import sys, threading\n"
        "from meshcode.wire import codec\n"
        "from meshcode.errors import MeshError\n"
        "mixed = 1\n"
        "for _ in range(66):\n"
        "    for _ in range(400): mixed = [mixed]\n"
        "    mixed = (mixed,)\n"
        "hostile, bare = map(bytes.fromhex, sys.stdin.read().split())\n"
        "def run():\n"
        "    for work in (lambda: codec.pack(mixed), lambda: codec.unpack(hostile),\n"
        "                 lambda: codec.unpack(bare)):\n"
        "        try: work()\n"
        "        except MeshError as error: print(error.code)\n"
        "threading.stack_size(1024 * 1024)\n"
        "thread = threading.Thread(target=run); thread.start(); thread.join()\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", script],
        input=f"{hostile.hex()} {bare.hex()}", capture_output=True, text=True, check=False,
        cwd=pathlib.Path(__file__).parents[2],
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["too_large", "bad_value", "bad_value"]


def test_more_bytes_than_a_body_may_have_are_refused_both_ways():
    half = bytes(limits.BODY_BYTES_MAX // 2)
    with pytest.raises(TooLarge, match="the result would take 16777228 bytes, the limit is 167772"):
        pack([half, half, ""], "the result")
    with pytest.raises(TooLarge, match="all arguments together would take"):
        pack_call([half], {"k": half})
    with pytest.raises(BadValue, match="16777217 bytes is over the limit of 16777216"):
        unpack(bytes(limits.BODY_BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("array", "copies_to"),
    [
        (numpy.arange(12, dtype="<f4").reshape(3, 4), None),
        (numpy.arange(12).reshape(3, 4).T, None),
        (numpy.array(5.0), None),
        (numpy.zeros((0, 3), dtype=">u2"), None),
        (numpy.array(["a", "béta"]), None),
        (numpy.array([b"a", b"bc"]), None),
        (numpy.array([1 + 2j], dtype="c8"), None),
        (numpy.array([True, False]), None),
        (numpy.array(["2026-11-23", "NaT"], dtype="M8[ns]"), None),
        (numpy.array([5], dtype="m8"), None),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_arrays_keep_type_shape_and_elements(array, copies_to):
    found = unpack(pack({"a": [array]}))["a"][0]

    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert numpy.array_equal(found, array, equal_nan=array.dtype.kind in "fcmM")
    assert found.flags.writeable and found.flags.c_contiguous and found.base is None


def array_ext(dtype: bytes, shape: tuple[int, ...], elements: bytes) -> bytes:
    head = struct.pack(f"<B{len(dtype)}sB{len(shape)}Q", len(dtype), dtype, len(shape), *shape)
    return msgpack.packb(msgpack.ExtType(plain.ARRAY_EXT, head + elements))


def ext(code: int, payload: bytes) -> bytes:
    return msgpack.packb(msgpack.ExtType(code, payload))


BAD_VALUES = {
    "nothing": (b"", "at offset 0 0 bytes are left, the value there needs 1"),
    "no value": (b"\xc1", "at offset 0 there is the byte 0xc1, which begins no value"),
    "cut text": (b"\xa5ab", "at offset 0 3 bytes are left, the value there needs 6"),
    "cut length": (b"\x91\xdb\x00", "at offset 1 2 bytes are left, the value there needs 5"),
    "cut list": (b"\x92\x01", "at offset 0 a list or map tells 2 items"),
    "tail": (b"\x01\x02", "at offset 1 1 bytes are left after the last value, expected 0"),
    "four billion items": (b"\xdd\xff\xff\xff\xff", "tells 4294967295 items"),
    "four billion pairs": (b"\xdf\xff\xff\xff\xff", "tells 8589934590 items"),
    "four billion bytes": (b"\xc6\xff\xff\xff\xff", "the value there needs 4294967300"),
    "deep": (b"\x91" * 65 + b"\x90", "at offset 64 a list or map begins 65 levels deep"),
    "deep and large": (b"\x91" * 70_000 + b"\x90", "at offset 64 a list or map begins 65 levels"),
    "not utf-8": (b"\xa2\xc3\x28", "'utf-8' codec can't decode"),
    "a list as key": (b"\x81\x90\x01", "unhashable type: 'list'"),
    "an array as key": (b"\x81" + array_ext(b"<i1", (1,), b"x") + b"\x01", "unhashable"),
    "unknown extension": (ext(99, b"x"), "an extension of type 99, which is not known here"),
    "negative extension": (ext(-7 & 127, b"x"), "an extension of type 121, which is not known"),
    "timestamp of a wrong size": (b"\xd4\xff\x00", "imestamp"),
    "timestamp out of range": (
        b"\xc7\x0c\xff" + struct.pack(">Iq", 0, 2**62), "too large to convert",
    ),
    "tuple of no list": (ext(2, b"\x01"), "a tuple whose payload is a int"),
    "tuple of two": (ext(2, b"\x90\x90"), "are left after the last value"),
    "empty tuple payload": (b"\xc7\x00\x02", "0 bytes are left, the value there needs 1"),
    "date": (ext(4, b"2026-13-01"), "month must be in 1..12"),
    "date not ascii": (ext(4, b"2026-1\xff-01"), "can't decode"),
    "datetime text too long": (ext(3, b"2" * 60), "a text of 60 bytes, the limit is 48"),
    "fold of a date": (ext(10, b"\x042026-01-01"), "that is no datetime or time without an offset"),
    "fold with an offset": (ext(10, b"\x0501:00:00+00:00"), "or time without an offset"),
    "fold of a fold": (ext(10, b"\x0a\x0501:00:00"), "that is no datetime or time"),
    "fold of nothing": (b"\xc7\x00\x0a", "that is no datetime or time"),
    "time": (ext(5, b"25:00:00"), "hour must be in 0..23"),
    "timedelta size": (ext(6, b"123"), "requires a buffer of 12 bytes"),
    "timedelta range": (ext(6, struct.pack("<iii", 2**31 - 1, 0, 0)), "days=2147483647"),
    "decimal": (ext(7, b"one"), "ConversionSyntax"),
    "decimal too long": (ext(7, b"1" * 100_001), "a text of 100001 bytes, the limit is 100000"),
    "uuid": (ext(8, b"short"), "bytes is not a 16-char string"),
    "array cut": (ext(9, b"\x03<f4"), "out of range"),
    "array empty": (b"\xc7\x00\x09", "out of range"),
    "array of objects": (array_ext(b"|O", (1,), bytes(8)), "type '|O', which is not plain"),
    "array of records": (array_ext(b"i4,f8", (1,), bytes(12)), "which is not plain"),
    "array of void": (array_ext(b"|V8", (1,), bytes(8)), "which is not plain"),
    "array of no size": (array_ext(b"<U0", (2**40,), b""), "with 0 bytes of elements"),
    "array of a wrong width": (array_ext(b"<f3", (1,), bytes(3)), "of type '<f3':"),
    "array shape": (array_ext(b"<f4", (3,), bytes(8)), "with 8 bytes of elements, expected 12"),
    "array shape that wraps": (array_ext(b"<f4", (2**32, 2**32), b""), "expected 737869762948382"),
    "array of no items in a huge shape": (
        array_ext(b"<f4", (0, 2**63), b""), "a wrong value in it",
    ),
    "array dimensions": (array_ext(b"<f4", (1,) * 33, bytes(4)), "33 dimensions, the limit is 32"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_bytes_are_one_error_that_says_what(case):
    data, says = BAD_VALUES[case]
    for read in (unpack, lambda d: unpack(memoryview(d)), lambda d: unpack_call(d, False),
                 lambda d: unpack_call(b"\x90" + d, True)):  # fmt: skip
        with pytest.raises(BadValue):
            read(data)
    with pytest.raises(BadValue) as caught:
        unpack(data)
    assert says in str(caught.value)
    assert str(len(data)) in str(caught.value)


def test_a_foreign_timestamp_is_a_datetime_in_utc():
    """Other languages' msgpack has a timestamp type; we read it and never write it."""
    assert unpack(b"\xd6\xff" + struct.pack(">I", 1)) == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("data", "has_kwargs"),
    [
        (b"\x01", False), (b"\x80", False), (b"\xc0", False), (b"\x90", True), (b"\x90\x90", True),
        (b"\x90\x81\x01\x02", True), (b"\x90\x80\x80", True), (b"\x90\x80", False),
        (b"\x80\x90", True), (b"", False), (b"", True),
    ],
)  # fmt: skip
def test_arguments_of_another_shape_are_bad(data, has_kwargs):
    with pytest.raises(BadValue):
        unpack_call(data, has_kwargs)


def test_a_tail_inside_a_tuple_does_not_pass_for_the_keywords():
    """Found by fuzzing: the first tuple's payload was an empty list and, after it, a map."""
    with pytest.raises(BadValue):
        unpack_call(ext(2, b"\x90\x80"), True)
    with pytest.raises(BadValue):
        unpack_call(b"\x91" + ext(2, b"\x90\x80") + b"\x80", True)


def test_arguments_and_keywords_come_back():
    assert pack_call((1, "a"), {}) == b"\x92\x01\xa1a"
    assert unpack_call(pack_call((1, (2,))), False) == ([1, (2,)], {})
    assert unpack_call(memoryview(pack_call((), {"k": 1})), True) == ([], {"k": 1})
    assert pack_call([1], {"k": 2}) == pack([1]) + pack({"k": 2})


def test_a_map_for_the_node_has_text_keys_and_no_arrays():
    fields = {"id": bytes(16), "rows": [1, (2,)], "when": date(2026, 1, 1), "in": {"a": None}}

    assert unpack_map(pack(fields)) == fields
    assert unpack_map(b"") == {}
    for bad in ([1], None, {1: 2}, {b"k": 1}, {"a": {1: 2}}, {"a": numpy.zeros(1)},
                {"a": (numpy.zeros(1),)}, {"a": ({1: 2},)}):  # fmt: skip
        with pytest.raises(BadValue):
            unpack_map(pack(bad))


def test_numpy_is_not_loaded_to_write_or_read_what_is_no_array():
    script = (
        "import sys; from meshcode.wire import codec\n"
        "codec.unpack(codec.pack([1, (2,), {'a': 1.5}]))\n"
        "heavy = {'numpy', 'decimal', 'uuid', 'cffi', 'zoneinfo', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        f"print(codec.unpack(bytes.fromhex('{pack(numpy.arange(3)).hex()}')).sum())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        cwd=pathlib.Path(__file__).parents[2],
    )  # fmt: skip

    assert (run.returncode, run.stdout) == (0, "3\n"), run.stderr


def test_an_array_without_numpy_installed_says_so(monkeypatch):
    data = pack(numpy.arange(3))
    monkeypatch.setitem(sys.modules, "numpy", None)

    with pytest.raises(BadValue, match=r"numpy is not installed here.*the data is whole.* kept"):
        unpack(data)


def test_threads_may_pack_at_the_same_time():
    """Values with tuples run Python code inside the packer, where threads may change over."""
    values = [[(n, (str(n) * 20, [n] * 5))] * 20 for n in range(8)]
    wrong = []

    def work(value):
        for _ in range(200):
            if unpack(pack(value)) != value:
                wrong.append(value)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=work, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(switch)

    assert wrong == []


def test_a_packer_that_grew_is_not_kept():
    """One large result must not cost its memory for ever."""
    pack("x" * 2_000_000)

    assert sum(len(idle) for idle in general._idle_packers) <= general._KEEP_PACKERS * 66
    kept = list(general._idle_packers[0])
    pack("x" * 2_000_000)
    assert len(general._idle_packers[0]) == max(0, len(kept) - 1)


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(),
    st.datetimes(), st.dates(), st.times(), st.timedeltas(),
    st.datetimes(timezones=st.just(UTC)).map(lambda when: when.replace(fold=0)),
    st.decimals(), st.uuids(),
)  # fmt: skip
keys = st.one_of(st.text(), st.integers(), st.binary(), st.booleans(), st.tuples(st.text()))
data = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=5),
    ),
    max_leaves=30,
)


@settings(max_examples=200)
@given(data)
def test_random_plain_data_comes_out_as_it_went_in(value):
    assert typed(unpack(pack(value))) == typed(value)


