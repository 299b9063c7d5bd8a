"""Who acts first when a member is dead: an order that all nodes compute alike, without talking."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from random import Random

from meshcode.membership.params import Params

CLAIM_JITTER_MS = 2_000  # So that two nodes that disagree on the ranks rarely act together.


def rank(me: bytes, dead: bytes, candidates: Iterable[bytes]) -> int:
    """The place of `me` among the candidates, from 0, in an order that is different per `dead`.

    Each candidate is weighed by a hash of both ids: one that joins or leaves moves the others by
    one place at most, and the work of many dead nodes is spread evenly.
    """
    mine = _weight(me, dead)
    return sum(_weight(node, dead) < mine for node in set(candidates) - {me, dead})


def claim_delay_ms(params: Params, place: int, rng: Random) -> int:
    """How long after DEAD the candidate of that rank waits before it claims."""
    return params.claim_step_ms * (place + 1) + rng.randrange(CLAIM_JITTER_MS)


def _weight(node: bytes, dead: bytes) -> tuple[bytes, bytes]:
    return hashlib.blake2b(node + dead, digest_size=8).digest(), node
