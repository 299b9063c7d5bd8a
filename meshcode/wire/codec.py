"""Plain data to bytes and back.

Plain data is None, bool, int of any size, float, str, bytes, list, tuple, dict, and datetime,
date, time, timedelta, Decimal, UUID, and numpy arrays.  What comes out is equal to what went in and
of the same type, with these exceptions: a subclass comes out as its plain base (an IntEnum as int,
a named tuple as tuple), bytearray and memoryview as bytes, a numpy scalar as the Python number, and
a named time zone as its offset.  Nothing is ever run to read a value.

`docs/wire.md` has the bytes of each extension type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshcode import native
from meshcode.errors import BadValue

__all__ = ["pack", "pack_each", "join_list", "unpack", "unpack_map", "pack_call", "unpack_call"]

# Most values are simple: these write and read them in one call, and leave all others.
_pack_simple, _pack_items = native.pack_simple, native.pack_items
_unpack_simple, _unpack_items = native.unpack_simple, native.unpack_items

_general: Any = None


def _other() -> Any:
    """What does the rest; loaded when there is a value that is not simple."""
    global _general
    if _general is None:
        from meshcode.wire import general

        _general = general
    return _general


def pack(value: Any, what: str = "the value") -> bytes:
    """Write one value of plain data as bytes.

    Args:
        value: plain data (see the head of this module), at most DATA_DEPTH_MAX levels deep.
        what: how an error should call the value, for instance "the result".

    Raises:
        BadData: something in the value is not plain data; the text says where.
        TooLarge: more than BODY_BYTES_MAX bytes, or nested too deeply.
    """
    data: bytes | None = _pack_simple(value)
    if data is None:
        data = _other().pack(value, what)
    return data


def pack_each(values: Sequence[Any]) -> list[bytes]:
    """Write each of several values by itself, as `pack` would; raises what `pack` does."""
    found: list[bytes] | None = _other().pack_each(values)
    return found if found is not None else [pack(value) for value in values]


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
    data: bytes | None = None if kwargs else _pack_items(args)
    if data is None:
        data = _other().pack_call(args, kwargs)
    return data


def unpack(data: bytes | bytearray | memoryview) -> Any:
    """Read one value.

    Raises:
        BadValue: the bytes are not exactly one value of plain data; nothing else is ever raised.
    """
    value = _unpack_simple(data)
    return value if value is not NotImplemented else _other().unpack(data)


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
        value = _other().unpack_strict(data)
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise BadValue(
            f"expected a map with text keys, found {_other().short(value)}; the message was dropped"
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
        args = _other().unpack_args(body)
    else:
        args, kwargs = _other().unpack_both(body)
        if type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
            found = _other().short(kwargs)
            raise BadValue(
                f"expected a map of keyword arguments, found {found}; the call was not run"
            )
    if type(args) is not list:
        found = _other().short(args)
        raise BadValue(f"expected a list of arguments, found {found}; the call was not run")
    return args, kwargs
