"""Two or more sessions over a simulated wire: loss, reconnects and restarts, from one seed."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace
from typing import Any

from meshcode.errors import BadFrame
from meshcode.peers import greeting
from meshcode.peers.greeting import Me
from meshcode.peers.memory import PeerMemory
from meshcode.peers.session import Session
from meshcode.wire.frame import index

UNIX_MS = 1_700_000_000_000


def life_of(number: int, boot: int) -> bytes:
    """The life of one boot of a side."""
    return bytes([number, boot]) * 8


class Side:
    """One node with a session towards one other."""

    def __init__(self, number: int, other: int, boot: int = 1, store: bytes = b"") -> None:
        """Nothing was said."""
        self.number = number
        self.me = Me(
            bytes([number]) * 16, boot, store or bytes([number + 100]) * 16,
            life_of(number, boot), 1, greeting.pack_about({"name": str(number)}),
        )  # fmt: skip
        self.memory = PeerMemory()
        self.session = Session(self.me, bytes([other]) * 16, self.memory)
        self.got: list[bytes] = []
        self.news: list[tuple[str, bytes, Any]] = []
        self.skew_ms = 0

    def restart(self) -> None:
        """The next boot of the same store; what was remembered of the peer stays."""
        other = self.session.node
        boot = self.me.boot + 1
        life = life_of(self.number, boot)
        self.me = replace(self.me, boot=boot, life=life, commit=self.session.commit + 1)
        self.session = Session(self.me, other, self.memory)
        self.got = []

    def hear(self, data: bytes, now_ms: int) -> None:
        """One frame arrived."""
        try:
            head, rows = index(data)
        except BadFrame as error:
            self.session.bad(error.text, now_ms)
        else:
            unix_ms = UNIX_MS + self.skew_ms
            for found, whole in self.session.hear(head, rows, data, now_ms, unix_ms):
                self.got += [whole[row.body_at : row.end] for row in found]
        self.news += self.session.news
        self.session.news.clear()


class Wire:
    """Both directions between two sides; `now_ms` goes on only by `pass_time`."""

    def __init__(self, a: Side, b: Side) -> None:
        """Not connected."""
        self.sides = (a, b)
        self.now_ms = 1_000
        self.flying: dict[int, deque[bytes]] = {0: deque(), 1: deque()}
        self.late: list[tuple[int, bytes]] = []  # Of connections that were cut.

    def connect(self, *which: int) -> None:
        """The link of these sides stands."""
        for at in which or (0, 1):
            self.sides[at].session.link_up(self.now_ms)

    def cut(self, at: int, *, keep_late: bool = False) -> None:
        """The link of one side is gone, with all that flew; some may still arrive much later."""
        if keep_late:
            self.late += [(at, data) for data in self.flying[at]]
        self.flying[at].clear()
        self.sides[at].session.link_down("the link is gone", self.now_ms)
        self.take_news()

    def take_news(self) -> None:
        """Of sessions that were changed without a frame."""
        for side in self.sides:
            side.news += side.session.news
            side.session.news.clear()

    def send(self) -> None:
        """Both sides hand over what they may."""
        for at, side in enumerate(self.sides):
            unix_ms = UNIX_MS + side.skew_ms
            while (data := side.session.next_frame(self.now_ms, unix_ms)) is not None:
                self.flying[at].append(data)

    def deliver(self, lose: float = 0.0, rng: random.Random | None = None) -> None:
        """What flies arrives, but for a share."""
        for at in (0, 1):
            while self.flying[at]:
                data = self.flying[at].popleft()
                if rng is None or rng.random() >= lose:
                    self.sides[1 - at].hear(data, self.now_ms)

    def settle(self, rounds: int = 50) -> None:
        """Until nothing more is said at this moment."""
        for _ in range(rounds):
            self.send()
            if not any(self.flying.values()):
                return
            self.deliver()
        raise AssertionError("the two never stop talking")

    def pass_time(self, ms: int) -> None:
        """Time goes on in steps of what is due; both tick and talk."""
        end_ms = self.now_ms + ms
        self.settle()
        while True:
            due = [side.session.next_due_ms() for side in self.sides]
            next_ms = min([d for d in due if d is not None] + [end_ms])
            self.now_ms = min(max(next_ms, self.now_ms + 1), end_ms)
            for side in self.sides:
                side.session.tick(self.now_ms)
            self.take_news()
            self.settle()
            if self.now_ms >= end_ms:
                return
