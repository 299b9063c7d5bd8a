"""Plain data to bytes and back: the only importer of msgpack.

Plain data is None, bool, int of any size, float, str, bytes, list, tuple, dict, and datetime,
date, time, timedelta, Decimal, UUID, and numpy arrays.  What comes out is equal to what went in and
of the same type, with these exceptions: a subclass comes out as its plain base (an IntEnum as int,
a named tuple as tuple), bytearray and memoryview as bytes, a numpy scalar as the Python number, and
a named time zone as its offset.  Nothing is ever run to read a value.

`docs/wire.md` has the bytes of each extension type.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import msgpack

from meshcode import native
from meshcode.errors import BadData, BadValue, TooLarge
from meshcode.limits import BODY_BYTES_MAX, DATA_DEPTH_MAX
from meshcode.native.layout import TUPLE_EXT, Fault, FaultCode
from meshcode.wire import plain

__all__ = ["pack", "pack_each", "join_list", "unpack", "unpack_map", "pack_call", "unpack_call"]

# The list of arguments and the map of keywords are one level around the values themselves.
_CALL_DEPTH_MAX = DATA_DEPTH_MAX + 1

# Most values are simple: these write and read them in one call, and leave all others.
_pack_simple, _pack_items = native.pack_simple, native.pack_items
_unpack_simple, _unpack_items = native.unpack_simple, native.unpack_items

_KEEP_PACKERS = 4  # Idle packers per tuple level: one per thread that packs at the same time.
_KEEP_PACKER_BYTES = 1024 * 1024  # A packer that grew beyond this is not kept.

# Deleting these from data leaves the bytes that may begin a list or map.  When there are fewer of
# them than levels allowed, no scan is needed.  In C scanning is quicker; without C, above this size
# what such data could make a reader allocate is too much to go unchecked.
_NOT_CONTAINERS = bytes(
    b for b in range(256) if not (0x80 <= b <= 0x9F or b in (0xDC, 0xDD, 0xDE, 0xDF))
)
_COUNT_BYTES_MAX = 0 if native.TWIN == "c" else 64 * 1024

# Everything msgpack, numpy and our own decoders raise on bytes they do not like.
_UNPACK_ERRORS = (
    ValueError, TypeError, ArithmeticError, LookupError, RecursionError, MemoryError,
    struct.error, msgpack.UnpackException,
)  # fmt: skip


class _TooDeep(Exception):
    """Tuples within tuples beyond any limit; found while packing, before the scan could tell."""


def pack(value: Any, what: str = "the value") -> bytes:
    """Write one value of plain data as bytes.

    Args:
        value: plain data (see the head of this module), at most DATA_DEPTH_MAX levels deep.
        what: how an error should call the value, for instance "the result".

    Raises:
        BadData: something in the value is not plain data; the text says where.
        TooLarge: more than BODY_BYTES_MAX bytes, or nested too deeply.
    """
    simple = _pack_simple(value)
    if simple is not None:
        return simple
    try:
        data = _pack_at(0, value)
        if len(data) > DATA_DEPTH_MAX:
            _check_shape(data, 1, DATA_DEPTH_MAX)
    except Exception as error:  # Whatever it is, the walk says where.
        _raise_not_packed([(what, value)], error)
    if len(data) > BODY_BYTES_MAX:
        _raise_too_many_bytes(what, len(data))
    return data


def pack_each(values: Sequence[Any]) -> list[bytes]:
    """Write each of several values by itself, as `pack` would; raises what `pack` does."""
    idle = _idle_packers[0]
    packer: Any = idle.pop() if idle else _make_packer(0)
    try:
        found = list(map(packer.pack, values))
    except Exception:  # `pack` says which and where.
        return [pack(value) for value in values]
    for data in found:
        if len(data) > DATA_DEPTH_MAX:
            _check_shape(data, 1, DATA_DEPTH_MAX)
    if len(idle) < _KEEP_PACKERS and max(map(len, found), default=0) <= _KEEP_PACKER_BYTES:
        idle.append(packer)
    return found


def join_list(packed: Sequence[bytes]) -> bytes:
    """One list of values that are packed already."""
    count = len(packed)
    if count < 16:
        head = bytes((0x90 | count,))
    elif count < 1 << 16:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return head + b"".join(packed)


def pack_call(args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> bytes:
    """Write the arguments of a call: a list, then a map when there are keyword arguments.

    When there are, the header of the envelope carries `Flag.KWARGS`.

    Raises:
        BadData: an argument is not plain data; the text says which (the first is argument 1).
        TooLarge: more than BODY_BYTES_MAX bytes, or nested too deeply.
    """
    if not kwargs:
        simple = _pack_items(args)
        if simple is not None:
            return simple
    try:
        data = _pack_at(0, list(args))
        if kwargs:
            data += _pack_at(0, dict(kwargs))
        if len(data) > DATA_DEPTH_MAX:
            _check_shape(data, 2 if kwargs else 1, _CALL_DEPTH_MAX)
    except Exception as error:  # Whatever it is, the walk says where.
        named = [(f"argument {n}", value) for n, value in enumerate(args, 1)]
        named += [(f"argument {name}", value) for name, value in (kwargs or {}).items()]
        _raise_not_packed(named, error)
    if len(data) > BODY_BYTES_MAX:
        _raise_too_many_bytes("all arguments together", len(data))
    return data


def unpack(data: bytes | bytearray | memoryview) -> Any:
    """Read one value.

    Raises:
        BadValue: the bytes are not exactly one value of plain data; nothing else is ever raised.
    """
    value = _unpack_simple(data)
    return value if value is not NotImplemented else _unpack(data, 1, DATA_DEPTH_MAX, _unpack_any)


def unpack_map(data: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Read a map with text keys, at all levels, and no arrays; no bytes at all are an empty map.

    For what a node reads: meta and requests.  A map like this costs no more than its size, whoever
    wrote it, while integer keys can be chosen to collide.

    Raises:
        BadValue: the bytes are anything else.
    """
    if not data:
        return {}
    value = _unpack_simple(data)
    if value is NotImplemented:
        value = _unpack(data, 1, DATA_DEPTH_MAX, _unpack_strict)
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise BadValue(
            f"expected a map with text keys, found {_short(value)}; the message was dropped"
        )
    return value


def unpack_call(
    body: bytes | bytearray | memoryview, has_kwargs: bool
) -> tuple[list[Any], dict[str, Any]]:
    """Read what `pack_call` wrote.

    Args:
        has_kwargs: whether the header has `Flag.KWARGS`.

    Returns:
        The positional arguments and the keyword arguments.

    Raises:
        BadValue: the bytes are anything else; nothing else is ever raised.
    """
    kwargs: Any = {}
    if not has_kwargs:
        simple = _unpack_items(body)
        if simple is not None:
            return simple, kwargs
        args = _unpack(body, 1, _CALL_DEPTH_MAX, _unpack_any)
    else:
        args, kwargs = _unpack(body, 2, _CALL_DEPTH_MAX, _unpack_two)
        if type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
            raise BadValue(
                f"expected a map of keyword arguments, found {_short(kwargs)}; the call was not run"
            )
    if type(args) is not list:
        raise BadValue(f"expected a list of arguments, found {_short(args)}; the call was not run")
    return args, kwargs


# Packing.


def _default(level: int, value: Any) -> Any:
    """Called by msgpack for what it does not know, `level` tuples down."""
    if isinstance(value, tuple):
        # Each level of tuples may hold lists to msgpack's own limit of 511, so before many of those
        # add up on the C stack, look at the rest without recursion.
        if level == 2 and plain.deeper_than(value, _CALL_DEPTH_MAX):
            raise _TooDeep
        return msgpack.ExtType(TUPLE_EXT, _pack_at(level + 1, list(tuple.__iter__(value))))
    found = plain.encode(value)
    return msgpack.ExtType(*found) if type(found) is tuple else found


# Idle packers by tuple level.  `list.pop` and `append` are atomic, so threads may share them, and a
# packer that is busy or broke is simply not in its list.
_idle_packers: list[list[Any]] = [[] for _ in range(_CALL_DEPTH_MAX + 1)]


def _make_packer(level: int) -> Any:
    return msgpack.Packer(
        default=partial(_default, level),
        use_bin_type=True,
        strict_types=True,
        buf_size=4096 if level else 64 * 1024,
    )


def _pack_at(level: int, value: Any) -> bytes:
    if level > _CALL_DEPTH_MAX:
        raise _TooDeep
    idle = _idle_packers[level]
    try:
        packer = idle.pop()
    except IndexError:
        packer = _make_packer(level)
    data: bytes = packer.pack(value)
    if len(idle) < _KEEP_PACKERS and len(data) <= _KEEP_PACKER_BYTES:
        idle.append(packer)
    return data


def _raise_not_packed(named: list[tuple[str, Any]], error: Exception) -> NoReturn:
    """Walk the values, only now, to say which one could not be written and where in it."""
    for what, value in named:
        trouble = plain.find_trouble(value, DATA_DEPTH_MAX)
        if trouble is None:
            continue
        path = what + trouble.path
        if trouble.too_deep:
            raise TooLarge(
                f"{what} is nested more than {DATA_DEPTH_MAX} levels deep, or holds itself; "
                "nothing was sent; flatten it",
                found=DATA_DEPTH_MAX + 1,
                limit=DATA_DEPTH_MAX,
            ) from None
        raise BadData(f"{path} {trouble.reason}; nothing was sent", path=path) from None
    raise BadData(f"{named[0][0] if named else 'the value'} cannot be written: {error}") from error


def _raise_too_many_bytes(what: str, size: int) -> NoReturn:
    raise TooLarge(
        f"{what} would take {size} bytes, the limit is {BODY_BYTES_MAX}; nothing was sent; "
        "pass large data by reference, for instance a path",
        found=size,
        limit=BODY_BYTES_MAX,
    )


# Unpacking.

_Data = bytes | bytearray | memoryview


def _check_shape(data: _Data, objects: int, depth_max: int) -> None:
    if len(data) <= _COUNT_BYTES_MAX:
        if type(data) is memoryview:
            data = bytes(data)
        if len(data.translate(None, _NOT_CONTAINERS)) <= depth_max:
            return
    native.scan(data, objects, depth_max)


def _decode_ext(level: int, arrays: bool, code: int, payload: bytes) -> Any:
    """Called by msgpack for an extension, `level` tuples down."""
    if code == TUPLE_EXT:
        if level > _CALL_DEPTH_MAX:
            raise plain.BadExtension(f"tuples nested more than {_CALL_DEPTH_MAX} deep")
        items = _read_inside(level, arrays, payload)
        if type(items) is not list:
            raise plain.BadExtension(f"a tuple whose payload is {_short(items)}")
        return tuple(items)
    decoder = plain.DECODERS.get(code)
    if decoder is None or (code == plain.ARRAY_EXT and not arrays):
        raise plain.BadExtension(f"an extension of type {code}, which is not known here")
    return decoder(payload)


_TUPLE_TAIL = "a tuple whose payload has bytes after its list"


def _read_inside(level: int, arrays: bool, payload: bytes) -> Any:
    hook = (_HOOKS if arrays else _STRICT_HOOKS)[level]
    if level <= 4:
        try:
            return _unpackb(
                payload, raw=False, timestamp=3, strict_map_key=not arrays, ext_hook=hook
            )
        except msgpack.ExtraData:  # It must not pass for the tail of the message itself.
            raise plain.BadExtension(_TUPLE_TAIL) from None
    # `unpackb` keeps 40 KB on the C stack while a tuple inside is read; an Unpacker keeps it
    # elsewhere, so that any thread's stack is deep enough.
    unpacker = msgpack.Unpacker(
        raw=False,
        timestamp=3,
        strict_map_key=not arrays,
        ext_hook=hook,
        max_buffer_size=max(len(payload), 1),
    )
    unpacker.feed(payload)
    items = unpacker.unpack()
    if unpacker.tell() != len(payload):
        raise plain.BadExtension(_TUPLE_TAIL)
    return items


_HOOKS = [partial(_decode_ext, level + 1, True) for level in range(_CALL_DEPTH_MAX + 1)]
_STRICT_HOOKS = [partial(_decode_ext, level + 1, False) for level in range(_CALL_DEPTH_MAX + 1)]


# Lengths need no limits of their own: msgpack holds each against the length of the data.
# Functions, not `partial`: that one makes a dict of its keywords for each call, in twice the time.
_unpackb = msgpack.unpackb
_HOOK, _STRICT_HOOK = _HOOKS[0], _STRICT_HOOKS[0]


def _unpack_any(data: _Data) -> Any:
    return _unpackb(data, raw=False, timestamp=3, strict_map_key=False, ext_hook=_HOOK)


def _unpack_strict(data: _Data) -> Any:
    return _unpackb(data, raw=False, timestamp=3, strict_map_key=True, ext_hook=_STRICT_HOOK)


def _unpack_two(data: _Data) -> tuple[Any, Any]:
    try:
        first = _unpack_any(data)
    except msgpack.ExtraData as more:
        return more.unpacked, _unpack_any(more.extra)
    raise plain.BadExtension(f"expected two values, found one: {_short(first)}")


def _unpack(data: _Data, objects: int, depth_max: int, read: Callable[[_Data], Any]) -> Any:
    if len(data) > BODY_BYTES_MAX:
        raise BadValue(
            f"data of {len(data)} bytes is over the limit of {BODY_BYTES_MAX}; it was dropped",
            found=len(data),
            limit=BODY_BYTES_MAX,
        )
    try:
        if len(data) > depth_max:
            _check_shape(data, objects, depth_max)
        return read(data)
    except Fault as fault:
        _raise_bad_value(data, fault)
    except _UNPACK_ERRORS as error:
        try:
            native.scan(data, objects, depth_max)  # Only now, to say where.
        except Fault as fault:
            _raise_bad_value(data, fault)
        raise BadValue(
            f"data of {len(data)} bytes has the right shape but a wrong value in it: "
            f"{error or type(error).__name__}; it was dropped"
        ) from None


_TEXTS = {
    FaultCode.DATA_CUT: "{0} bytes are left, the value there needs {1}",
    FaultCode.DATA_DEPTH: "a list or map begins {0} levels deep, the limit is {1}",
    FaultCode.DATA_COUNT: "a list or map tells {0} items, in the bytes left fit at most {1}",
    FaultCode.DATA_TYPE: "there is the byte 0x{0:02x}, which begins no value",
    FaultCode.DATA_TAIL: "{0} bytes are left after the last value, expected {1}",
}


def _raise_bad_value(data: _Data, fault: Fault) -> NoReturn:
    said = _TEXTS[fault.code].format(fault.found, fault.expected)
    raise BadValue(
        f"data of {len(data)} bytes: at offset {fault.offset} {said}; it was dropped",
        fault=fault.code.name.lower(),
        offset=fault.offset,
        found=fault.found,
        expected=fault.expected,
    ) from None


def _short(value: Any) -> str:
    """What a value is, in a few words; never its content, which may be large."""
    name = type(value).__name__
    return f"a {name}" if not isinstance(value, str | bytes | list | dict | tuple) else (
        f"a {name} of {len(value)}"
    )
