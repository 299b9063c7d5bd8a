"""Plain data beyond what msgpack knows: how each such type is written, and read with suspicion.

`encode` and `DECODERS` are two sides of one table; `docs/wire.md`, "Extension types", is its prose.
`find_trouble` is the slow walk that says where in a value the data is not plain; it runs only after
packing has failed.  This module never imports a library that the value's owner has not loaded,
except numpy when an array arrives.
"""

from __future__ import annotations

import math
import re
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from itertools import chain
from typing import Any

from meshcode.native.layout import TUPLE_EXT

# Extension codes.  Never reused for anything else; a new type takes a new number.
INT_EXT = 1
assert TUPLE_EXT == 2
DATETIME_EXT = 3
DATE_EXT = 4
TIME_EXT = 5
TIMEDELTA_EXT = 6
DECIMAL_EXT = 7
UUID_EXT = 8
ARRAY_EXT = 9
FOLD_EXT = 10

_TIMEDELTA = struct.Struct("<iii")  # days, seconds, microseconds
_TIME_TEXT_MAX = 48  # The longest ISO text of ours, an offset with microseconds, has 42 bytes.
_DECIMAL_TEXT_MAX = 100_000  # Digits of one Decimal; reading more would take too long.
_ARRAY_DIMS_MAX = 32
# Booleans, numbers, fixed text and bytes, times.  No objects, no records, no subarrays.
_ARRAY_DTYPE = r"[<>|=]?(?:[biufcSU][0-9]{1,8}|[mM]8(?:\[[0-9]{0,6}[a-zA-Z]{1,2}\])?)"


class NotPlain(Exception):
    """A value is not plain data; the text goes on after the value's name: `is a set, ...`."""


class BadExtension(ValueError):
    """The payload of an extension is not what its code says."""


class Missing(BadExtension):
    """A value that only a package can hold which is not installed here."""

    def __init__(self, package: str, text: str) -> None:
        super().__init__(text)
        self.package = package


_BY_NAME = "pass its name"
_ADVICE: list[tuple[Callable[[Any], bool], str]] = [
    (lambda v: isinstance(v, set | frozenset), "use a list"),
    (lambda v: isinstance(v, complex), "use a list of its two parts"),
    (lambda v: hasattr(v, "__dataclass_fields__"), "use dataclasses.asdict"),
    (lambda v: hasattr(v, "__fspath__"), "use str(path)"),
    (lambda v: isinstance(v, BaseException), "use str(error), or raise it"),
    (lambda v: hasattr(type(v), "_member_map_"), "use its .value"),
    (callable, _BY_NAME),
    (lambda v: isinstance(v, date | time | timedelta), "use the plain type of datetime"),
    (lambda v: hasattr(v, "to_dict"), "use its to_dict()"),
    (lambda v: isinstance(v, Mapping), "use dict(...)"),
    (lambda v: hasattr(v, "__iter__"), "use list(...)"),
]


def _refuse(value: Any) -> NotPlain:
    if isinstance(value, type):
        return NotPlain(f"is the class {value.__qualname__}, which is not plain data; {_BY_NAME}")
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    article = "an" if name[0] in "aeiouAEIOU" else "a"
    advice = next((text for fits, text in _ADVICE if fits(value)), "use a dict of its fields")
    return NotPlain(f"is {article} {name}, which is not plain data; {advice}")


def encode(value: Any) -> Any:
    """Turn what msgpack does not know into `(extension code, payload)` or into a plain base value.

    Args:
        value: anything but a tuple, which the codec writes itself.

    Raises:
        NotPlain: the value cannot be written.
    """
    kind = type(value)
    encoder = _ENCODERS.get(kind)
    if encoder is not None:
        return encoder(value)
    # A subclass of a plain type travels as the plain type; its own methods are not asked.
    if isinstance(value, int):
        return _encode_int(int.__int__(value))
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, bytes):
        return bytes(memoryview(value))
    if isinstance(value, dict):
        return dict(dict.items(value))
    if isinstance(value, list):
        return list(list.__iter__(value))
    module = kind.__module__
    if module == "decimal" and kind is sys.modules["decimal"].Decimal:
        return DECIMAL_EXT, str(value).encode("ascii")
    if module == "uuid" and kind is sys.modules["uuid"].UUID:
        return UUID_EXT, value.bytes
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(value, numpy.ndarray):
            return _encode_array(numpy, value)
        if isinstance(value, numpy.generic):
            return _encode_scalar(numpy, value)
    raise _refuse(value)


def _encode_int(value: int) -> Any:
    if -(2**63) <= value < 2**64:
        return value
    return INT_EXT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


def _encode_datetime(value: datetime) -> tuple[int, bytes]:
    return _folded(value, DATETIME_EXT, value.isoformat().encode("ascii"))


def _folded(value: datetime | time, code: int, text: bytes) -> tuple[int, bytes]:
    """With an offset the text says all; without one, which of two hours it is would be lost.

    A type of its own, so that a reader that does not know it refuses it: for an hour of each year.
    """
    if value.fold and value.tzinfo is None:
        return FOLD_EXT, bytes([code]) + text
    return code, text


def _encode_date(value: date) -> tuple[int, bytes]:
    return DATE_EXT, value.isoformat().encode("ascii")


def _encode_time(value: time) -> tuple[int, bytes]:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise NotPlain("is a time whose zone has no offset without a date; use a datetime")
    return _folded(value, TIME_EXT, value.isoformat().encode("ascii"))


def _encode_timedelta(value: timedelta) -> tuple[int, bytes]:
    return TIMEDELTA_EXT, _TIMEDELTA.pack(value.days, value.seconds, value.microseconds)


_ENCODERS: dict[type, Callable[[Any], Any]] = {
    int: _encode_int,
    datetime: _encode_datetime,
    date: _encode_date,
    time: _encode_time,
    timedelta: _encode_timedelta,
}


def _encode_scalar(numpy: Any, value: Any) -> Any:
    if isinstance(value, numpy.bool_ | numpy.integer) and value.dtype.kind in "biu":
        return value.item()
    if isinstance(value, numpy.floating) and value.dtype.itemsize <= 8:
        return value.item()
    raise NotPlain(
        f"is a numpy scalar of type {value.dtype}, which is not plain data; "
        "put it into an array, or use a plain value"
    )


def _encode_array(numpy: Any, value: Any) -> tuple[int, bytes]:
    """Payload: u8 length of dtype, dtype text, u8 dimensions, u64 each, elements in C order."""
    if type(value) not in (numpy.ndarray, numpy.memmap):
        advice = "numpy.asarray"
        if hasattr(value, "filled"):  # That would give what the mask hides.
            advice = "its filled(...), or a list of its data and its mask"
        raise NotPlain(
            f"is a {type(value).__qualname__}, a special kind of numpy array; use {advice}"
        )
    dtype = value.dtype.str
    if value.dtype.fields is not None or not re.fullmatch(_ARRAY_DTYPE, dtype):
        raise NotPlain(
            f"is a numpy array of {value.dtype}, which is not plain data; "
            "use numbers, fixed text or times"
        )
    if value.dtype.itemsize == 0 or value.ndim > _ARRAY_DIMS_MAX:
        raise NotPlain(
            f"is a numpy array of {value.ndim} dimensions and {value.dtype.itemsize} bytes an "
            f"element; at most {_ARRAY_DIMS_MAX} and at least 1 can be written"
        )
    head = struct.pack(f"<B{len(dtype)}sB{value.ndim}Q", len(dtype), dtype.encode("ascii"),
                       value.ndim, *value.shape)  # fmt: skip
    return ARRAY_EXT, head + value.tobytes()


def _decode_int(payload: bytes) -> int:
    return int.from_bytes(payload, "little", signed=True)


def _text(payload: bytes, size_max: int) -> str:
    if len(payload) > size_max:
        raise BadExtension(f"a text of {len(payload)} bytes, the limit is {size_max}")
    return payload.decode("ascii")


def _decode_datetime(payload: bytes) -> datetime:
    return datetime.fromisoformat(_text(payload, _TIME_TEXT_MAX))


def _decode_date(payload: bytes) -> date:
    return date.fromisoformat(_text(payload, _TIME_TEXT_MAX))


def _decode_time(payload: bytes) -> time:
    return time.fromisoformat(_text(payload, _TIME_TEXT_MAX))


def _decode_fold(payload: bytes) -> datetime | time:
    value: datetime | time | None = None
    if payload[:1] == bytes([DATETIME_EXT]):
        value = _decode_datetime(payload[1:])
    elif payload[:1] == bytes([TIME_EXT]):
        value = _decode_time(payload[1:])
    if value is None or value.tzinfo is not None:
        raise BadExtension("a second pass of an hour that is no datetime or time without an offset")
    return value.replace(fold=1)


def _decode_timedelta(payload: bytes) -> timedelta:
    days, seconds, microseconds = _TIMEDELTA.unpack(payload)
    return timedelta(days, seconds, microseconds)


def _decode_decimal(payload: bytes) -> Any:
    from decimal import Decimal

    return Decimal(_text(payload, _DECIMAL_TEXT_MAX))


def _decode_uuid(payload: bytes) -> Any:
    from uuid import UUID

    return UUID(bytes=payload)


def _decode_array(payload: bytes) -> Any:
    dtype_size = payload[0]
    dtype_text = payload[1 : 1 + dtype_size].decode("ascii")
    if not re.fullmatch(_ARRAY_DTYPE, dtype_text):
        raise BadExtension(f"a numpy array of type {dtype_text!r}, which is not plain data")
    dims = payload[1 + dtype_size]
    if dims > _ARRAY_DIMS_MAX:
        raise BadExtension(f"a numpy array of {dims} dimensions, the limit is {_ARRAY_DIMS_MAX}")
    shape = struct.unpack_from(f"<{dims}Q", payload, 2 + dtype_size)
    start = 2 + dtype_size + 8 * dims
    try:
        import numpy
    except ImportError:
        text = "a numpy array in it, and numpy is not installed here (`pip install numpy`)"
        raise Missing("numpy", text) from None
    try:
        dtype = numpy.dtype(dtype_text)
    except Exception as error:  # numpy's parser has many ways to say no.
        raise BadExtension(f"a numpy array of type {dtype_text!r}: {error}") from None
    size = math.prod(shape) * dtype.itemsize
    if dtype.itemsize == 0 or size != len(payload) - start:
        raise BadExtension(
            f"a numpy array of shape {shape} and type {dtype_text} with "
            f"{len(payload) - start} bytes of elements, expected {size}"
        )
    # A copy, so that the array can be written to and does not keep the whole message.
    return numpy.ndarray(shape, dtype, payload, start).copy()


DECODERS: dict[int, Callable[[bytes], Any]] = {
    INT_EXT: _decode_int,
    DATETIME_EXT: _decode_datetime,
    DATE_EXT: _decode_date,
    TIME_EXT: _decode_time,
    TIMEDELTA_EXT: _decode_timedelta,
    DECIMAL_EXT: _decode_decimal,
    UUID_EXT: _decode_uuid,
    ARRAY_EXT: _decode_array,
    FOLD_EXT: _decode_fold,
}


class Trouble(Exception):
    """Where and why a value is not plain.  `path` is like `["when"][0]`, `too_deep` a verdict."""

    def __init__(self, path: str, reason: str, *, too_deep: bool = False) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason
        self.too_deep = too_deep


_Path = tuple[Any, str] | None  # (path of the container, `["key"]`); None is the value itself.


def _path_text(path: _Path) -> str:
    parts = []
    while path is not None:
        path, part = path
        parts.append(part)
    return "".join(reversed(parts))


def _key_part(key: Any) -> str:
    if type(key) is str:
        text = '"' + ascii(key)[1:-1] + '"' if len(key) <= 200 else f"a text of {len(key)}"
    else:
        text = repr(key) if type(key) in (int, bool, bytes, float) else type(key).__name__
    return f"[{text if len(text) <= 60 else text[:57] + '...'}]"


def _inside(container: Any) -> Iterator[Any]:
    if isinstance(container, dict):
        return chain(dict.keys(container), dict.values(container))
    return list.__iter__(container) if isinstance(container, list) else tuple.__iter__(container)


def deeper_than(value: Any, levels: int) -> bool:
    """Whether a list, tuple or dict is nested more than `levels` levels deep; no recursion."""
    todo = [_inside(value)]
    while todo:
        for child in todo[-1]:
            if isinstance(child, dict | list | tuple):
                if len(todo) >= levels:
                    return True
                todo.append(_inside(child))
                break
        else:
            todo.pop()
    return False


def find_trouble(value: Any, depth_max: int) -> Trouble | None:
    """Walk a value that could not be packed and say where the first trouble is.

    Returns:
        The trouble; None when the walk finds none.
    """
    todo: list[tuple[Any, _Path, int]] = [(value, None, 0)]
    while todo:
        item, path, depth = todo.pop()
        children: list[tuple[Any, _Path, int]] = []
        if isinstance(item, dict | list | tuple):
            depth += 1
            if depth > depth_max:
                return Trouble(_path_text(path), "is nested too deeply", too_deep=True)
        if isinstance(item, dict):
            for key, child in dict.items(item):
                children.append((key, (path, ", a key,"), depth))
                children.append((child, (path, _key_part(key)), depth))
        elif isinstance(item, list | tuple):
            children = [(child, (path, f"[{n}]"), depth) for n, child in enumerate(_inside(item))]
        else:
            reason = _leaf_trouble(item)
            if reason is not None:
                return Trouble(_path_text(path), reason)
        todo.extend(reversed(children))
    return None


def _leaf_trouble(value: Any) -> str | None:
    if value is None or type(value) in (bool, float, bytes, bytearray):
        return None
    if type(value) is memoryview:
        return None if value.c_contiguous else "is a memoryview with gaps; use bytes(view)"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return (
                f"is text that is not Unicode: character {error.start} is "
                f"{value[error.start]!a}; decode it with errors='replace', or use bytes"
            )
        return None
    try:
        encode(value)
    except NotPlain as reason:
        return str(reason)
    except Exception as error:  # Someone else's tzinfo or attribute hook may raise anything.
        return f"cannot be written: {type(error).__name__}: {error}"
    return None
