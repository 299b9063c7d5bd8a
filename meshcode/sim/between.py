"""What a simulated node is to the turn code: it stands in the place of the core."""

from __future__ import annotations

from meshcode.router.core import Router


class Between:
    """A node that the turn code takes for its core, so that the checker sees every step."""

    router: Router

    @property
    def turn(self) -> int:
        """The number of the turn under way, which the turn code counts."""
        return self.router.turn

    @turn.setter
    def turn(self, number: int) -> None:
        self.router.turn = number
