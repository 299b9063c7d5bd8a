"""What a node keeps of the mesh's model in its log, as bytes.

    u32 length, packed map    a head, then lists of entries of up to about 1 MiB
    {"version", "number", "base_number", "offered_number", "highest"}
    {"state" | "base" | "offered": [rows of `Entry.row`]} or {"absent": [[kind, name]]}

What the database holds is kept as the difference to the merged model: usually nothing.

A change since (`series.py`) is a packed map of the same numbers, and what is kept of each object
that it touched:

    {"version", "number", ..., "objects": [[kind, name, row, base, [offered rows]]]}

`row` is what is merged; `base` 0: the same, nil: the database has none, else another row.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshcode.errors import BadValue
from meshcode.model.entries import Entry, Key, read_entry
from meshcode.wire.codec import pack, unpack_map

VERSION = 1
PART_BYTES_GOAL = 1024 * 1024  # Far below what `pack` allows; one entry more may go over it.

_LENGTH = struct.Struct("<I")
_NUMBERS = ("number", "base_number", "offered_number", "highest")


@dataclass(slots=True)
class Kept:
    """The fields of a `ModelShare`; see there."""

    number: int = 0
    base_number: int = 0
    offered_number: int = 0
    highest: int = 0
    state: dict[Key, Entry] = field(default_factory=dict)
    base: dict[Key, Entry] = field(default_factory=dict)
    offered: dict[Key, tuple[Entry, ...]] = field(default_factory=dict)


def pack_kept(kept: Kept) -> bytes:
    """All of it as bytes, in one go."""
    head = {name: getattr(kept, name) for name in _NUMBERS}
    parts: list[dict[str, Any]] = [{"version": VERSION, **head}]
    other = [e for key, e in kept.base.items() if kept.state.get(key) is not e]
    offered = [entry for entries in kept.offered.values() for entry in entries]
    absent = [list(key) for key in kept.state if key not in kept.base]
    parts += _parts("state", kept.state.values())
    parts += _parts("base", other)
    parts += _parts("offered", offered)
    parts.append({"absent": absent})
    packed = [pack(part, "the model kept in the log") for part in parts]
    return b"".join(_LENGTH.pack(len(body)) + body for body in packed)


def pack_change(kept: Kept, keys: Iterable[Key]) -> bytes:
    """What is kept of these objects, and the numbers."""
    objects = []
    for key in sorted(keys):
        entry, base = kept.state.get(key), kept.base.get(key)
        row = None if entry is None else entry.row()
        of_base = 0 if base is not None and base is entry else base and base.row()
        objects.append([*key, row, of_base, [one.row() for one in kept.offered.get(key, ())]])
    head = {name: getattr(kept, name) for name in _NUMBERS}
    return pack({"version": VERSION, **head, "objects": objects}, "the change kept in the log")


def follow(kept: Kept, change: bytes) -> None:
    """Take over what `pack_change` wrote.

    Raises:
        BadValue: it did not write this, or a newer meshcode did.
    """
    found = unpack_map(change)
    _check_version(found)
    for name in _NUMBERS:
        setattr(kept, name, found[name])
    for kind, name, row, base, offered in found["objects"]:
        key = (kind, name)
        if row is not None:
            kept.state[key] = read_entry(row, trusted=True)
        kept.base.pop(key, None)
        if base == 0:
            kept.base[key] = kept.state[key]
        elif base is not None:
            kept.base[key] = read_entry(base, trusted=True)
        kept.offered.pop(key, None)
        if offered:
            entries = [read_entry(one, trusted=True) for one in offered]
            kept.offered[key] = tuple(_same(kept.state.get(key), one) for one in entries)


def unpack_kept(data: bytes) -> Kept:
    """Read what `pack_kept` wrote.

    Raises:
        BadValue: it did not write this, or a newer meshcode did.
    """
    parts = list(_read_parts(data))
    head = parts[0] if parts else {}
    _check_version(head)
    kept = Kept(**{name: head[name] for name in _NUMBERS})
    rows: dict[str, list[Any]] = {"state": [], "base": [], "offered": [], "absent": []}
    for part in parts[1:]:
        for name, found in part.items():
            rows[name] += found
    for row in rows["state"]:
        entry = read_entry(row, trusted=True)
        kept.state[entry.key] = entry
    absent = {(kind, name) for kind, name in rows["absent"]}
    kept.base = {key: entry for key, entry in kept.state.items() if key not in absent}
    for row in rows["base"]:
        entry = read_entry(row, trusted=True)
        kept.base[entry.key] = entry
    for row in rows["offered"]:
        entry = read_entry(row, trusted=True)
        entry = _same(kept.state.get(entry.key), entry)
        kept.offered[entry.key] = (*kept.offered.get(entry.key, ()), entry)
    return kept


def _check_version(head: Mapping[str, Any]) -> None:
    if head.get("version") != VERSION:
        raise BadValue(
            f"the model kept in the log has version {head.get('version')!r}, this meshcode reads"
            f" {VERSION}; install a newer one"
        )


def _same(known: Entry | None, entry: Entry) -> Entry:
    """One object for one edit, so that they can be told apart by identity."""
    return known if known is not None and known.mark == entry.mark else entry


def _parts(name: str, entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    rows: list[Any] = []
    size = 0
    for entry in entries:
        rows.append(entry.row())
        size += entry.size
        if size >= PART_BYTES_GOAL:
            yield {name: rows}
            rows, size = [], 0
    if rows:
        yield {name: rows}


def _read_parts(data: bytes) -> Iterator[dict[str, Any]]:
    at = 0
    while at < len(data):
        if len(data) - at < _LENGTH.size:
            raise BadValue(f"the model kept in the log ends in the middle, at byte {at}")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if len(data) - at < size:
            raise BadValue(f"the model kept in the log ends in the middle, at byte {at}")
        yield unpack_map(data[at : at + size])
        at += size
