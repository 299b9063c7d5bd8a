"""Which address a client tries next.  Pure: the jitter comes in, no clock is read.

A client stays with the node that greeted it.  When that one is gone, the others are tried from the
head of the list, it itself last; after a round without success there is a pause before the next,
longer each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshcode.client.seeds import Seed

PAUSE_S = 0.2  # After the first round without success; it doubles up to the next.
PAUSE_S_MAX = 5.0  # A mesh that comes back is found within this, and within `connect`'s timeout.


class Route:
    """The addresses of one client, and why each that was tried did not do."""

    __slots__ = (
        "_arrived", "_jitter", "_moved", "_pause_s", "_todo", "_why", "seed", "seeds", "several",
    )  # fmt: skip

    def __init__(self, seeds: Sequence[Seed], jitter: Callable[[], float]) -> None:
        """Begin at the head; `jitter` gives a number from 0 to 1, another each time."""
        self.seeds = tuple(seeds)
        self.several = len(self.seeds) > 1  # Whether there is anywhere else to go.
        self.seed = self.seeds[0]  # The one that is tried or used now.
        self._todo = list(self.seeds[1:])  # Of this round.
        self._why: dict[Seed, str] = {}
        self._jitter = jitter
        self._pause_s = PAUSE_S
        self._arrived = False  # The present one has greeted.
        self._moved = False  # Another was given up since the last greeting.

    def note(self, why: str) -> None:
        """The present address does not do, for this reason; it stays the present one."""
        self._why[self.seed] = why

    def failed(self, why: str) -> float:
        """The present address does not do: go to the next.

        Returns:
            Seconds to wait before that is tried; 0 within a round.
        """
        self.note(why)
        self._moved = True
        if self._arrived:
            self._arrived = False
            self._todo = [seed for seed in self.seeds if seed != self.seed] + [self.seed]
        pause_s = 0.0
        if not self._todo:
            self._todo = list(self.seeds)
            pause_s = self._pause_s * (0.5 + 0.5 * self._jitter())
            self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)
        self.seed = self._todo.pop(0)
        return pause_s

    def arrived(self) -> bool:
        """The node at the present address has greeted; whether another was given up before."""
        moved, self._moved = self._moved, False
        self._arrived = True
        self._pause_s = PAUSE_S
        self._why = {}
        return moved

    def reason(self, otherwise: str) -> str:
        """What is known of the present address."""
        return self._why.get(self.seed, otherwise)

    def reasons(self, otherwise: str) -> str:
        """Every address with what is known of it; `otherwise` for the present one."""
        why, current = self._why, self.seed
        return "; ".join(
            f"{seed.address}: "
            + why.get(seed, otherwise if seed == current else "it was not tried yet")
            for seed in self.seeds
        )
