"""One peer as its links see it: its session, the link out to it, and the ways that lead there."""

from __future__ import annotations

from meshcode.peers.dialer import Dialer
from meshcode.peers.session import Session

Keys = tuple[bytes, ...]  # That a node may have now, the newest first.


class Peer:
    """Belongs to `PeerLinks`, which tries one way after the other."""

    __slots__ = ("addresses", "at", "blocked", "dialer", "given", "heeded", "session", "unsent")

    def __init__(self, session: Session) -> None:
        """No way is known yet."""
        self.session = session
        self.addresses: list[str] = []
        self.given = False  # The addresses are the caller's, not the peer's own.
        self.at = 0  # Which of `ways` is tried, counted on.
        self.heeded = False  # It was tried where it says it is, since it was reached last.
        self.dialer: Dialer | None = None
        self.unsent: bytes | None = None  # A frame that libzmq did not take yet.
        self.blocked = False

    def ways(self, keys: Keys) -> list[tuple[str, bytes]]:
        """Its addresses with the keys that it may have there, in the order of trying."""
        return [(address, key) for key in keys for address in self.addresses]

    def try_where(self, told: list[str]) -> None:
        """It is there, and says where: that way is next, if it is one of ours.

        Once, until it is reached: it may say what leads nowhere from here, and repeats it.
        """
        if not self.heeded:
            self.heeded = True
            self.at = next((n for n, way in enumerate(self.addresses) if way in told), self.at)

    def is_key_over(self, keys: Keys) -> bool:
        """Whether the link out goes to a key of the past, or to another one than is tried now.

        One that stands is left alone for as long as its key is good.
        """
        dialer = self.dialer
        assert dialer is not None
        if dialer.server_key not in keys:
            self.at = 0
            return True
        ways = self.ways(keys)
        if dialer.connected or not ways:
            return False
        return dialer.server_key != ways[self.at % len(ways)][1]
