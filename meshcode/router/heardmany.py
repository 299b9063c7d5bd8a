"""Whether all of many entries of one kind are plain: most of what peers say of calls.

The checks of `heard` for a whole batch, by C where it was compiled (native/heard.c).  Else they are
made for a column at a time, which costs a third of one by one.  False says only that not all are
plain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Any, Final

from meshcode import native
from meshcode.errors import BadFrame, TooLarge
from meshcode.ids import ID_BYTES
from meshcode.native.layout import FRAME_HEADER_BYTES
from meshcode.replica.instance import KEY_BYTES
from meshcode.wire.frame import Column, frame, pick
from meshcode.wire.kinds import Kind, Outcome

_SUBMIT: Final = bytes((Kind.SUBMIT,))
_OUTCOME: Final = bytes((Kind.OUTCOME,))
_COLUMNS: Final = bytes((Column.ID, Column.START, Column.NAME, Column.OPTIONS, Column.CODE))
_KEY: Final = {KEY_BYTES}
_ID: Final = {ID_BYTES}
_BYTES: Final = {bytes}
_INT: Final = {int}
_LIST: Final = {list}
_DICT: Final = {dict}
_THREE: Final = {3}
_FOUR: Final = {4}
_MOVED: Final = int(Outcome.MOVED)
_NOTED: Final = itemgetter("attempt", "started_ms", "story")
_NUMBER_MAX: Final = (1 << 31) - 1  # Boots, counters and attempts; `heard` lets some more through.
_WHOLE_MAX: Final = (1 << 63) - 1


def _are_keys(keys: Sequence[Any]) -> bool:
    return set(map(type, keys)) == _BYTES and set(map(len, keys)) == _KEY


def _are_whole(numbers: Sequence[Any], most: int) -> bool:
    return set(map(type, numbers)) == _INT and min(numbers) >= 0 and max(numbers) <= most


def _are_groups(voters: Sequence[Any]) -> bool:
    """The same few voters come again and again."""
    if set(map(type, voters)) != _BYTES:
        return False
    for group in set(voters):
        nodes = {group[at : at + ID_BYTES] for at in range(0, len(group), ID_BYTES)}
        if len(nodes) * ID_BYTES != len(group) or len(nodes) not in (1, 3):
            return False
    return True


def _are_epochs(epochs: Sequence[Any]) -> bool:
    if set(map(type, epochs)) != _LIST or set(map(len, epochs)) != _THREE:
        return False
    counters, nodes, boots = zip(*epochs, strict=True)
    if set(map(type, nodes)) != _BYTES or set(map(len, nodes)) != _ID:
        return False
    return _are_whole(counters, _NUMBER_MAX) and _are_whole(boots, _NUMBER_MAX)


def _are_none(values: Sequence[Any]) -> bool:
    return values.count(None) == len(values)


def _are_envelopes(
    kind: bytes, keys: Sequence[bytes], envelopes: Sequence[Any], codes: tuple[int, ...] | None
) -> bool:
    """Whether these are envelopes of that kind, one for each key, without options; their codes."""
    if set(map(type, envelopes)) != _BYTES:
        return False
    try:
        _, rows, kinds, _ = pick(frame(envelopes), _COLUMNS)
    except (BadFrame, TooLarge):
        return False
    if kinds != kind * len(keys):
        return False
    ids, starts, names, options, told = zip(*rows, strict=True)
    begins = accumulate(map(len, envelopes[:-1]), initial=FRAME_HEADER_BYTES)
    return (
        _are_none(options) and all(map(bytes.startswith, keys, ids))
        and starts == tuple(begins)  # Else bytes of one could be taken for the next one's.
        and all(name.isascii() and name[:1] != b"@" for name in set(names))
        and (codes is None or told == codes)
    )  # fmt: skip


def _stores(entries: list[list[Any]]) -> bool:
    if set(map(len, entries)) != {7}:
        return False
    keys, voters, boots, times, parents, submits, notes = zip(*entries, strict=True)
    return (
        _are_keys(keys) and _are_groups(voters) and _are_whole(boots, _NUMBER_MAX)
        and _are_whole(times, _WHOLE_MAX) and _are_none(parents) and _are_none(notes)
        and _are_envelopes(_SUBMIT, keys, submits, None)
    )  # fmt: skip


def _proposes(entries: list[list[Any]]) -> bool:
    if set(map(len, entries)) != {6}:
        return False
    keys, voters, boots, parents, epochs, values = zip(*entries, strict=True)
    return (
        _are_keys(keys) and _are_groups(voters) and _are_whole(boots, _NUMBER_MAX)
        and _are_none(parents) and _are_epochs(epochs) and _are_values(keys, values)
    )  # fmt: skip


def _are_values(keys: Sequence[bytes], values: Sequence[Any]) -> bool:
    if set(map(type, values)) != _LIST or set(map(len, values)) != _FOUR:
        return False
    codes, outcomes, children, notes = zip(*values, strict=True)
    if set(map(type, codes)) != _INT or set(map(type, children)) != _LIST or any(children):
        return False
    if min(codes) < 1 or max(codes) >= _MOVED or set(map(type, notes)) != _DICT:
        return False
    try:
        attempts, times, stories = zip(*map(_NOTED, notes), strict=True)
    except KeyError:
        return False
    return (
        _are_whole(attempts, _NUMBER_MAX) and _are_whole(times, _WHOLE_MAX)
        and set(map(type, stories)) == _LIST and not any(stories)
        and _are_envelopes(_OUTCOME, keys, outcomes, codes)
    )  # fmt: skip


def are_plain(kind: int, entries: list[list[Any]]) -> bool:
    """Whether all of them are plain and of the shape of their kind."""
    found = native.plain_words(kind, entries)
    if found is not None:
        return found
    columns = ALL_PLAIN.get(kind)
    return columns is not None and len(entries) >= _MANY and columns(entries)


_MANY: Final = 4  # Below, they are looked at faster one by one.
ALL_PLAIN: Final[dict[int, Callable[[list[list[Any]]], bool]]] = {
    int(Kind.STORE): _stores, int(Kind.PROPOSE): _proposes,
}  # fmt: skip


__all__ = ["are_plain"]
