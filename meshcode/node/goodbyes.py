"""Who said good-bye before it was gone: a node that went in good order runs nothing any more.

Membership forgets it: who said that it will be back within a minute, as every node does that is
stopped, is accused and dead like any other after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshcode.membership.swim import Swim

SAID = ("leaving", "left")  # States of those that said good-bye.


class Goodbyes:
    """The good-byes of the members, as this node heard of them since it was started."""

    def __init__(self) -> None:
        self._boots: dict[bytes, int] = {}  # In which life each said it, and not yet to be back.

    def heard(self, node: bytes, state: str, boot: int) -> None:
        """A member is in this state now, in this life of it."""
        if state in SAID:
            self._boots[node] = boot
        elif state == "alive":
            self._boots.pop(node, None)

    def said(self, swim: Swim, node: bytes) -> bool:
        """Whether the last word of a member, in the newest life that is known of it, was that."""
        member = swim.members.get(node)
        return member is not None and self._boots.get(node) == member.boot
