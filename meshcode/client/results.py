"""Taking results apart: `select` and `where` in a pipe, and six helpers for lists and maps.

    big = result | where(lambda g: g["graph"]["value"] > 2) | select(lambda g: g["message"])
    list(big)

All are pure: nothing that is given is changed, and nobody is asked for anything.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from meshcode.errors import BadData

Predicate = Callable[[Any], Any] | str | Mapping[str, Any] | Sequence[Any] | None

_MISSING = object()
_PLAIN = (str, bytes, int, float, complex, list, tuple, set, frozenset, type(None))
_PART = re.compile(r"\[(-?\d+)\]|([^.\[\]]+)|\.")


class Pipe:
    """What stands on the right of `|`: it takes the iterable on the left, item by item."""

    __slots__ = ("_step",)

    def __init__(self, step: Callable[[Iterable[Any]], Iterator[Any]]) -> None:
        """`step` makes the iterator of what comes out."""
        self._step = step

    def __ror__(self, items: Iterable[Any]) -> Iterator[Any]:
        """`items | pipe`; nothing is read before the first item is asked for.

        Raises:
            TypeError: what stands on the left is no iterable.
        """
        return self._step(iter(items))

    def __or__(self, other: Pipe) -> Pipe:
        """`pipe | pipe`: one after the other, for a left side that comes later."""
        if not isinstance(other, Pipe):
            return NotImplemented
        return Pipe(lambda items: other._step(self._step(items)))


def select(function: Callable[[Any], Any]) -> Pipe:
    """`items | select(f)`: f of each item."""
    return Pipe(lambda items: map(function, items))


def where(predicate: Callable[[Any], Any]) -> Pipe:
    """`items | where(p)`: the items of which p is true."""
    return Pipe(lambda items: builtins.filter(predicate, items))


def flatten(items: Iterable[Any]) -> list[Any]:
    """One level of lists and tuples taken away: `[1, [2, [3]]]` gives `[1, 2, [3]]`."""
    flat: list[Any] = []
    for item in items:
        if isinstance(item, list | tuple):
            flat.extend(item)
        else:
            flat.append(item)
    return flat


def chunk(items: Iterable[Any], size: int = 1) -> list[list[Any]]:
    """Lists of `size` items in their order; the last may be shorter.

    Raises:
        BadData: the size is no whole number of 1 or more.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise BadData(f"a chunk has 1 item or more, not {size!r}; nothing was taken")
    whole = list(items)
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def get(value: Any, path: str | int | Sequence[str | int], default: Any = None) -> Any:
    """What lies at `path` in maps, lists and objects: `get(r, "a.b[0].c")`.

    A path is text, or a list of its parts.  A key that is the whole text goes first, so a key with
    a dot in it is found.  `default` stands for what is not there; a None that is there is given.
    """
    if isinstance(path, str):
        whole = _step(value, path)
        if whole is not _MISSING:
            return whole
    parts = _parts(path)
    if not parts:
        return default
    for part in parts:
        value = _step(value, part)
        if value is _MISSING:
            return default
    return value


def omit(value: Mapping[Any, Any], *keys: Any) -> dict[Any, Any]:
    """A copy without these keys: names, lists of names, or paths like "a.b"."""
    left = dict(value)
    for key in _flat_keys(keys):
        if key in left:
            del left[key]
        elif isinstance(key, str):
            left = _without(left, _parts(key))
    return left


def filter(items: Iterable[Any], predicate: Predicate = None) -> list[Any]:
    """The items, or the values of a map, of which the predicate is true, as a list.

    Args:
        items: a list, any other iterable, or a map.
        predicate: a function; "a.b": what lies there is true; {"a": 1}: all these are equal, maps
            inside likewise; ["a.b", 1]: what lies there equals 1; None: the item itself is true.
    """
    values = list(items.values()) if isinstance(items, Mapping) else items
    accepts = _predicate(predicate)
    return [item for item in values if accepts(item)]


def _predicate(given: Predicate) -> Callable[[Any], Any]:
    if given is None:
        return bool
    if callable(given):
        return given
    if isinstance(given, str):
        return lambda item: get(item, given)
    if isinstance(given, Mapping):
        return lambda item: _matches(item, given)
    if len(given) != 2:
        raise BadData(f"a predicate of a list is a path and a value, this has {len(given)} items")
    path, wanted = given[0], given[1]
    return lambda item: get(item, path, _MISSING) == wanted


def _matches(item: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Mapping):
        return bool(item == wanted)
    return all(_matches(_step(item, key), value) for key, value in wanted.items())


def _step(value: Any, part: Any) -> Any:
    """What `part` names in `value`, or _MISSING."""
    if isinstance(value, Mapping):
        if part in value:
            return value[part]
        number = _index(part)  # JSON has texts for keys; a program may have numbers.
        return value[number] if number is not None and number in value else _MISSING
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        number = _index(part)
        if number is not None and -len(value) <= number < len(value):
            return value[number]
    plain = isinstance(value, _PLAIN) and not hasattr(value, "_fields")  # As named tuples have.
    if isinstance(part, str) and part.isidentifier() and not part.startswith("_") and not plain:
        return getattr(value, part, _MISSING)
    return _MISSING


def _index(part: Any) -> int | None:
    if isinstance(part, int) and not isinstance(part, bool):
        return part
    if isinstance(part, str) and part.removeprefix("-").isdecimal():
        return int(part)
    return None


def _parts(path: str | int | Sequence[str | int]) -> list[str | int]:
    if isinstance(path, int):
        return [path]
    if not isinstance(path, str):
        return list(path)
    return [
        int(found[1]) if found[1] is not None else found[2]
        for found in _PART.finditer(path)
        if found[0] != "."
    ]


def _flat_keys(keys: Iterable[Any]) -> Iterator[Any]:
    for key in keys:
        if isinstance(key, list | tuple | set | frozenset):
            yield from key
        else:
            yield key


def _without(value: Any, parts: Sequence[Any]) -> Any:
    """A copy of `value` without what lies at `parts`; `value` itself when nothing does."""
    if not parts or _step(value, parts[0]) is _MISSING:
        return value
    head, rest = parts[0], parts[1:]
    if isinstance(value, Mapping):
        left = dict(value)
        key = head if head in left else _index(head)
        if rest:
            left[key] = _without(left[key], rest)
        else:
            del left[key]
        return left
    number = _index(head)
    if rest and number is not None and isinstance(value, list):
        copy = list(value)
        copy[number] = _without(copy[number], rest)
        return copy
    return value
