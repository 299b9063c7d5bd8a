"""Who wants to be told how calls end that this node has, whoever owns them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from meshcode.router.effects import Effects
from meshcode.router.events import Watched

if TYPE_CHECKING:
    from meshcode.node.loop import Loop


def is_known(loop: Loop, id: bytes) -> bool:
    """Whether this node has a call that may be open: its own, as a voter, or as a copy."""
    router = loop.router
    return id in router.calls or id in router.replica.by_id or id in router.copies


def watch(loop: Loop, client: int, ids: Sequence[bytes]) -> None:
    """Tell a client how these calls end, as far as this node has them; others are left out.

    Of a copy the home tells how the call has ended, also when it was away meanwhile.
    """
    router = loop.router
    elsewhere = [id for id in ids if id not in router.calls and id not in router.replica.by_id]
    copies = [router.copies[id] for id in elsewhere if id in router.copies]
    loop.step(Watched(client, list(ids)))
    if copies:
        open = [copy.id for copy in copies if copy.outcome is None]
        loop.step(Watched(client, open, ahead=True))
        ended = [(client, copy.outcome[1]) for copy in copies if copy.outcome is not None]
        loop.turns.add(Effects(outcomes=ended))
