"""What `codec` leaves: data that is not simple, by msgpack and our own extensions; and its errors.

`codec` loads this with the first such value; many a process never has one.  The only importer of
msgpack.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import msgpack

from meshcode import native
from meshcode.errors import NOTHING_SENT, BadData, BadValue, TooLarge
from meshcode.limits import BODY_BYTES_MAX, DATA_DEPTH_MAX
from meshcode.native.layout import TUPLE_EXT, Fault, FaultCode
from meshcode.wire import plain

# The list of arguments and the map of keywords are one level around the values themselves.
_CALL_DEPTH_MAX = DATA_DEPTH_MAX + 1

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


Data = bytes | bytearray | memoryview


class _TooDeep(Exception):
    """Tuples within tuples beyond any limit; found while packing, before the scan could tell."""


def pack(value: Any, what: str) -> bytes:
    """As `codec.pack`."""
    try:
        data = pack_at(0, value)
        if len(data) > DATA_DEPTH_MAX:
            _check_shape(data, 1, DATA_DEPTH_MAX)
    except Exception as error:  # Whatever it is, the walk says where.
        _raise_not_packed([(what, value)], error)
    if len(data) > BODY_BYTES_MAX:
        _raise_too_many_bytes(what, len(data))
    return data


def pack_each(values: Sequence[Any]) -> list[bytes] | None:
    """As `codec.pack_each`; None where one of them cannot be written."""
    idle = _idle_packers[0]
    packer: Any = idle.pop() if idle else _make_packer(0)
    try:
        found = list(map(packer.pack, values))
    except Exception:  # Who packs each by itself says which and where.
        return None
    for data in found:
        if len(data) > DATA_DEPTH_MAX:
            _check_shape(data, 1, DATA_DEPTH_MAX)
    if len(idle) < _KEEP_PACKERS and max(map(len, found), default=0) <= _KEEP_PACKER_BYTES:
        idle.append(packer)
    return found


def pack_call(args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> bytes:
    """As `codec.pack_call`."""
    try:
        data = pack_at(0, list(args))
        if kwargs:
            data += pack_at(0, dict(kwargs))
        if len(data) > DATA_DEPTH_MAX:
            _check_shape(data, 2 if kwargs else 1, _CALL_DEPTH_MAX)
    except Exception as error:  # Whatever it is, the walk says where.
        named = [(f"argument {n}", value) for n, value in enumerate(args, 1)]
        named += [(f"argument {name}", value) for name, value in (kwargs or {}).items()]
        _raise_not_packed(named, error)
    if len(data) > BODY_BYTES_MAX:
        _raise_too_many_bytes("all arguments together", len(data))
    return data


def unpack(data: Data) -> Any:
    """As `codec.unpack`."""
    return _unpack(data, 1, DATA_DEPTH_MAX, _unpack_any)


def unpack_strict(data: Data) -> Any:
    """A value with text keys alone, at all levels, and no arrays; raises BadValue."""
    return _unpack(data, 1, DATA_DEPTH_MAX, _unpack_strict)


def unpack_args(data: Data) -> Any:
    """The arguments of a call, which have one level more; raises BadValue."""
    return _unpack(data, 1, _CALL_DEPTH_MAX, _unpack_any)


def unpack_both(data: Data) -> tuple[Any, Any]:
    """Arguments and keyword arguments; raises BadValue."""
    both: tuple[Any, Any] = _unpack(data, 2, _CALL_DEPTH_MAX, _unpack_two)
    return both


# Packing.


def _default(level: int, value: Any) -> Any:
    """Called by msgpack for what it does not know, `level` tuples down."""
    if isinstance(value, tuple):
        # Each level of tuples may hold lists to msgpack's own limit of 511, so before many of those
        # add up on the C stack, look at the rest without recursion.
        if level == 2 and plain.deeper_than(value, _CALL_DEPTH_MAX):
            raise _TooDeep
        return msgpack.ExtType(TUPLE_EXT, pack_at(level + 1, list(tuple.__iter__(value))))
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


def pack_at(level: int, value: Any) -> bytes:
    """A value that is `level` tuples down, by msgpack; raises whatever is wrong."""
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
                f"{NOTHING_SENT}; flatten it",
                found=DATA_DEPTH_MAX + 1,
                limit=DATA_DEPTH_MAX,
            ) from None
        raise BadData(f"{path} {trouble.reason}; {NOTHING_SENT}", path=path) from None
    raise BadData(f"{named[0][0] if named else 'the value'} cannot be written: {error}") from error


def _raise_too_many_bytes(what: str, size: int) -> NoReturn:
    raise TooLarge(
        f"{what} would take {size} bytes, the limit is {BODY_BYTES_MAX}; {NOTHING_SENT}; "
        "pass large data by reference, for instance a path",
        found=size,
        limit=BODY_BYTES_MAX,
    )


# Unpacking.

def _check_shape(data: Data, objects: int, depth_max: int) -> None:
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
            raise plain.BadExtension(f"a tuple whose payload is {short(items)}")
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


def _unpack_any(data: Data) -> Any:
    return _unpackb(data, raw=False, timestamp=3, strict_map_key=False, ext_hook=_HOOK)


def _unpack_strict(data: Data) -> Any:
    return _unpackb(data, raw=False, timestamp=3, strict_map_key=True, ext_hook=_STRICT_HOOK)


def _unpack_two(data: Data) -> tuple[Any, Any]:
    try:
        first = _unpack_any(data)
    except msgpack.ExtraData as more:
        return more.unpacked, _unpack_any(more.extra)
    raise plain.BadExtension(f"expected two values, found one: {short(first)}")


def _unpack(data: Data, objects: int, depth_max: int, read: Callable[[Data], Any]) -> Any:
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
    except plain.Missing as missing:  # The data is as it should be: nothing is lost.
        raise BadValue(
            f"data of {len(data)} bytes has {missing}, where it is read; the data is whole, and a"
            " result is kept",
            missing=missing.package,
        ) from None
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


def _raise_bad_value(data: Data, fault: Fault) -> NoReturn:
    said = _TEXTS[fault.code].format(fault.found, fault.expected)
    raise BadValue(
        f"data of {len(data)} bytes: at offset {fault.offset} {said}; it was dropped",
        fault=fault.code.name.lower(),
        offset=fault.offset,
        found=fault.found,
        expected=fault.expected,
    ) from None


def short(value: Any) -> str:
    """What a value is, in a few words; never its content, which may be large."""
    name = type(value).__name__
    return f"a {name}" if not isinstance(value, str | bytes | list | dict | tuple) else (
        f"a {name} of {len(value)}"
    )
