"""The lives of a store: which random life each boot had, and at which transaction it began.

A store keeps its newest lives and tells them, so that a copy that went its own way is known by its
past, however far it has come since.  Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from meshcode.errors import BadValue
from meshcode.limits import PEER_LIVES_KEPT

_LIFE = struct.Struct("<I16sQ")


class Life(NamedTuple):
    """One boot of a store."""

    boot: int
    life: bytes  # 16 random bytes.
    commit: int  # The store's newest transaction when the boot began.


def pack_lives(lives: Sequence[Life]) -> bytes:
    """The newest PEER_LIVES_KEPT of them; oldest first, as they are given."""
    return b"".join(_LIFE.pack(*life) for life in lives[-PEER_LIVES_KEPT:])


def unpack_lives(data: bytes) -> tuple[Life, ...]:
    """What `pack_lives` wrote.

    Raises:
        BadValue: other bytes.
    """
    if len(data) % _LIFE.size or len(data) > PEER_LIVES_KEPT * _LIFE.size:
        raise BadValue(
            f"the lives of a store have {len(data)} bytes, expected a multiple of {_LIFE.size}, at "
            f"most {PEER_LIVES_KEPT * _LIFE.size}"
        )
    return tuple(Life(*found) for found in _LIFE.iter_unpack(data))
