"""Plain data without anything that behaves in its own way: what nodes and clients say themselves.

A Decimal may refuse to be compared, an array to be true or false, and a list as a key to be hashed.
Where no value of a user is expected, nothing of that is let in.
"""

from __future__ import annotations

from typing import Any

from meshcode import native
from meshcode.errors import BadValue
from meshcode.wire import codec

__all__ = ["unpack_plain", "unpack_plain_map"]

_unpack_simple = native.unpack_simple
_LEAVES = frozenset({type(None), bool, int, float, str, bytes})


def unpack_plain(data: bytes | bytearray | memoryview) -> Any:
    """Read one value of None, bool, int, float, str, bytes, and lists and maps with text keys.

    Raises:
        BadValue: the bytes are anything else.
    """
    value = _unpack_simple(data)
    if value is NotImplemented:
        value = codec.unpack(data)
        _check(value)
    return value


def unpack_plain_map(data: bytes | bytearray | memoryview) -> dict[str, Any]:
    """The same, of a map; no bytes at all are an empty one.

    Raises:
        BadValue: the bytes are anything else.
    """
    value = unpack_plain(data) if data else {}
    if type(value) is not dict:
        raise BadValue(f"expected a map, found a {type(value).__name__}; it was dropped")
    return value


def _check(value: Any) -> None:
    """As deep as the codec goes, which has a limit."""
    kind = type(value)
    if kind in _LEAVES:
        return
    if kind is list:
        inside = value
    elif kind is dict and all(type(key) is str for key in value):
        inside = value.values()
    else:
        what = "a map with keys that are no text" if kind is dict else f"a {kind.__name__}"
        raise BadValue(f"{what} is in what should be plain data; it was dropped")
    for one in inside:
        _check(one)
