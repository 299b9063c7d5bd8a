"""Values of simple kinds: C writes the bytes of msgpack, reads the same, and leaves the rest."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.wire import codec, general

try:
    from meshcode.native import compiled
except ImportError:
    pytest.skip("the C twin was not compiled here", allow_module_level=True)

quick = settings(max_examples=200)

numbers = st.integers(-(2**63), 2**64 - 1)
edges = st.sampled_from([
    sign * (2**power) + step
    for power in (0, 5, 7, 8, 15, 16, 31, 32, 62) for step in (-1, 0, 1) for sign in (1, -1)
])  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), numbers, edges, st.floats(), st.text(max_size=300),
    st.binary(max_size=300),
)  # fmt: skip


def same(one: object, other: object) -> bool:
    """Equal and of the same types; repr, because of NaN."""
    return repr(one) == repr(other)


simple = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=20),
        st.dictionaries(st.one_of(st.text(max_size=40), st.integers(0, 3)), inner, max_size=20),
        st.tuples(inner),
    ),
    max_leaves=20,
)


@quick
@given(simple)
def test_a_simple_value_has_the_bytes_that_msgpack_writes(value):
    try:
        wanted = general.pack_at(0, value)
    except Exception:
        wanted = None  # Lone surrogates, or an int beyond 64 bits whose pack is another's.
    packed = compiled.pack_simple(value)

    assert packed in (None, wanted)
    if packed is not None:
        assert same(compiled.unpack_simple(packed), value)
    elif wanted is not None:
        assert same(codec.unpack(wanted), value)


@quick
@given(st.lists(simple, max_size=17))
def test_a_list_of_such_has_the_bytes_that_msgpack_writes(values):
    packed = compiled.pack_items(tuple(values))

    assert packed == compiled.pack_items(values)
    if packed is not None:
        assert packed == general.pack_at(0, values)
        assert same(compiled.unpack_items(packed), values)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
def test_each_length_has_the_head_that_msgpack_writes(count):
    """Up to what C takes at all; more is left to msgpack."""
    for value in (
        "x" * count, b"x" * count, [None] * count, {f"{n}": n for n in range(min(count, 20_000))}
    ):
        packed = compiled.pack_simple(value)
        assert packed == general.pack_at(0, value), (type(value), count)
        assert compiled.unpack_simple(packed) == value


@quick
@given(st.one_of(st.binary(max_size=40), st.binary(min_size=250, max_size=260)))
def test_of_any_bytes_the_twins_read_the_same_or_c_leaves_it(data):
    """Half of these begin with a scalar, and some are whole ones."""
    for read in (compiled.unpack_simple, compiled.unpack_items):
        value = read(data)
        if value is not NotImplemented and value is not None:
            assert same(value, msgpack.unpackb(data, raw=False, timestamp=3))


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, 127, 128, 2**63 - 1, -1, -32, -33, -(2**63), 0.5, "", "ä" * 20, b"x",
     "x" * 256, b"x" * 70_000, [], {}, [[1, {"a": [None]}]]],
)  # fmt: skip
def test_these_are_simple(value):
    """Else the tests above would pass with nothing in C at all."""
    assert compiled.pack_simple(value) is not None
    assert same(compiled.unpack_items(compiled.pack_items([value])), [value])


def deep(levels: int, value: object = None) -> object:
    """So many lists around a value."""
    return [deep(levels - 1, value)] if levels else value


@pytest.mark.parametrize(
    "value",
    [2**63, 2**64, (), [()], {1: 2}, {b"a": 2}, 1j, object(), deep(17), b"x" * 300_000,
     "\ud800", ["\ud800"]],
)  # fmt: skip
def test_these_are_left_to_msgpack(value):
    assert compiled.pack_simple(value) is None


def test_a_list_that_holds_itself_is_left_to_msgpack():
    value: list[object] = []
    value.append(value)

    assert compiled.pack_simple(value) is None


def test_what_lists_tell_in_all_is_no_more_than_there_are_bytes():
    """Each of these lists has room for what it tells, all of them together have not."""
    told = 100
    data = b"\xdc\x00" + bytes([told])
    nested = data * 10 + bytes(told)

    assert compiled.unpack_simple(data + bytes(told)) == [0] * told
    assert compiled.unpack_simple(nested) is NotImplemented
    assert compiled.unpack_simple(b"\xdd\xff\xff\xff\xff" + bytes(50)) is NotImplemented
    assert compiled.unpack_simple(b"\xdf\xff\xff\xff\xff" + bytes(50)) is NotImplemented


class Number(int):
    """Not exactly an int: msgpack and our own hooks decide what it is."""


def test_subclasses_are_left_to_msgpack():
    assert compiled.pack_simple(Number(3)) is None
    assert compiled.pack_items([Number(3)]) is None
    assert codec.unpack(codec.pack(Number(3))) == 3


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\xcc", b"\xa1", b"\xa1\xff", b"\x00\x00", b"\xca\x00\x00\x00\x00",
     b"\x81\x00\x00", b"\x81\xa0", b"\x91", b"\x90\x00", b"\xc4\x05abc", b"\xd4\x02\x90",
     b"\xdb\xff\xff\xff\xff"],
)  # fmt: skip
def test_what_is_no_simple_value_is_left_to_msgpack(data):
    assert compiled.unpack_simple(data) is NotImplemented


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x91", b"\x92\x00", b"\x91\x00\x00", b"\x80"])
def test_what_is_no_simple_list_is_left_to_msgpack(data):
    assert compiled.unpack_items(data) is None
