"""What stands in an envelope that was checked, for the core, which needs no row of it.

docs/wire.md has the table.  Bounds are written out: mypyc takes the index of bytes for a number,
so the slices of `wire/frame.py` (`envelope[AT_ID]`) are for the shell, which is not compiled.
"""

from __future__ import annotations

from typing import Final

from meshcode.ids import NO_ID

HEADER: Final = 80  # Bytes before the name.


def id_of(envelope: bytes) -> bytes:
    """The id of its call."""
    return envelope[16:32]


def parent_of(submit: bytes) -> bytes:
    """The id of the call that made this one; NO_ID: none did."""
    return submit[48:64]


def attempt_of(envelope: bytes) -> int:
    """Of which attempt it is."""
    return int.from_bytes(envelope[64:68], "little")


def meta_at(envelope: bytes) -> int:
    """Where the meta begins, and the name ends."""
    return HEADER + envelope[15]


def meta_bytes(envelope: bytes) -> int:
    """How long the meta is."""
    return int.from_bytes(envelope[68:72], "little")


def body_at(envelope: bytes) -> int:
    """Where the body begins, and the meta ends."""
    return HEADER + envelope[15] + int.from_bytes(envelope[68:72], "little")


def has_name(envelope: bytes) -> bool:
    """Whether it names something: a SUBMIT a socket, an OUTCOME where its value is."""
    return envelope[15] != 0


def meta_of(envelope: bytes) -> bytes:
    """The meta, still packed."""
    return envelope[meta_at(envelope) : body_at(envelope)]


def body_of(envelope: bytes) -> bytes:
    """The body: of an outcome, its packed value or error data."""
    return envelope[body_at(envelope) :]


def flow_of(submit: bytes) -> bytes:
    """The flow that the call of a SUBMIT envelope belongs to: that which it names, else itself."""
    flow = submit[32:48]
    return submit[16:32] if flow == NO_ID else flow
