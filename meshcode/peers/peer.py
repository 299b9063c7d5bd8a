"""One peer as its links see it: its session, the link out to it, and the ways that lead there."""

from __future__ import annotations

from meshcode.peers.dialer import Dialer
from meshcode.peers.session import Session

Keys = tuple[bytes, ...]  # That a node may have now, the newest first.


class Peer:
    """Belongs to `PeerLinks`, which tries one way after the other."""

    __slots__ = (
        "addresses", "at", "blocked", "dialer", "heeded", "key", "only", "session", "told",
        "unsent",
    )  # fmt: skip

    def __init__(self, session: Session) -> None:
        """No way is known yet."""
        self.session = session
        self.addresses: list[str] = []  # Given by the caller.
        self.told: list[str] = []  # Where it says it is, in its newest greeting.
        self.only = False  # It is tried where the caller says and nowhere else.
        self.key = b""  # That it proved when it greeted last: the one that it serves.
        self.at = 0  # Which of `ways` is tried, counted on.
        self.heeded = False  # It was tried where it says it is, since it was reached last.
        self.dialer: Dialer | None = None
        self.unsent: bytes | None = None  # A frame that libzmq did not take yet.
        self.blocked = False

    def ways(self, keys: Keys) -> list[tuple[str, bytes]]:
        """Its addresses, each with all keys that it may have there, in the order of trying.

        What it says itself comes behind what was given, so that the others keep their places.
        """
        places = self.addresses if self.only else dict.fromkeys([*self.addresses, *self.told])
        likely = sorted(keys, key=lambda key: key != self.key)
        return [(address, key) for address in places for key in likely]

    def stays_with(self, addresses: list[str], keys: Keys) -> bool:
        """Take other addresses; whether the link out stands, and leads to one of its ways."""
        self.addresses = addresses
        dialer, ways = self.dialer, self.ways(keys)
        way = None if dialer is None else (dialer.address, dialer.server_key)
        stays = dialer is not None and dialer.connected and way in ways
        self.at = ways.index(way) if stays and way is not None else 0
        return stays

    def try_where_told(self, keys: Keys) -> None:
        """It is there, and says where: that way is next.

        Once, until it is reached: it may say what leads nowhere from here, and repeats it.
        """
        if not self.heeded:
            self.heeded = True
            ways = enumerate(self.ways(keys))
            self.at = next((n for n, (address, _) in ways if address in self.told), self.at)

    def is_way_over(self, keys: Keys) -> bool:
        """Whether the link out goes to a key of the past, or another way is to be tried now.

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
        return (dialer.address, dialer.server_key) != ways[self.at % len(ways)]
