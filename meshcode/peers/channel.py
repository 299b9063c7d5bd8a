"""The channel fence (rule P11): a frame of another boot, or an old one, is dropped.

libzmq keeps queues across reconnects and two connections of one peer are read in any order, so
the fence is ours.  A channel is both directions between this node and one peer.  It stands on three
numbers of the frame header: sender boot, receiver boot, sequence.

    closed --HELLO of a boot >= the known one--> open --shut, or HELLO of a higher boot--> ...

Pure: no clock, no link.  `head` is any object with `sender_boot`, `receiver_boot`, `sequence`.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

SEQUENCE_MAX = 2**64 - 1


class Head(Protocol):
    """What of a frame header the fence reads; `wire.frame.FrameHead` is one."""

    @property
    def sender_boot(self) -> int:
        """The boot of the node that sent the frame; from 1."""

    @property
    def receiver_boot(self) -> int:
        """The boot of the receiver as the sender knows it; 0 when it does not."""

    @property
    def sequence(self) -> int:
        """Counts the frames of one direction from 1."""


class Channel:
    """Both directions between this node, in boot `boot`, and one peer."""

    __slots__ = ("boot", "is_open", "last", "peer_boot", "refused", "sent", "why")

    def __init__(self, boot: int) -> None:
        """Nothing was heard; `boot` is how often this node's store was opened, from 1."""
        assert 1 <= boot < 2**32, boot
        self.boot = boot
        self.peer_boot = 0  # 0 = never heard.  Stays known when the channel is shut.
        self.is_open = False
        self.last = 0  # The highest sequence taken from `peer_boot`.
        self.sent = 0  # The sequence of the newest stamp; never starts again.
        self.refused: Counter[str] = Counter()  # By reason.
        self.why = ""  # The reason of the newest refusal.

    def stamp(self) -> tuple[int, int, int]:
        """The next frame's (sequence, sender_boot, receiver_boot).

        While the channel is not open the receiver boot is 0, so that the peer greets again.
        """
        assert self.sent < SEQUENCE_MAX, self.sent
        self.sent += 1
        return self.sent, self.boot, self.peer_boot if self.is_open else 0

    def opens(self, head: Head) -> bool:
        """Take the header of a HELLO; the channel is open when this is true.

        A higher boot begins a new session.  The same boot again is the same session: its sequence
        goes on, so a HELLO that was recorded and played again is old.
        """
        if head.receiver_boot not in (0, self.boot):
            return self._refuse("wrong_boot")
        if head.sender_boot < max(1, self.peer_boot):
            return self._refuse("old_boot")
        if head.sender_boot == self.peer_boot and head.sequence <= self.last:
            return self._refuse("old_sequence")
        if not head.sequence:
            return self._refuse("old_sequence")
        self.peer_boot = head.sender_boot
        self.last = head.sequence
        self.is_open = True
        return True

    def accepts(self, head: Head) -> bool:
        """Take the header of any other frame; false = drop it, and `why` says why.

        Reasons: `unknown_session`, `wrong_boot`, `old_boot`, `old_sequence`.
        """
        if not self.is_open:
            return self._refuse("unknown_session")
        if head.sender_boot != self.peer_boot:
            return self._refuse(
                "old_boot" if head.sender_boot < self.peer_boot else "unknown_session"
            )
        if head.receiver_boot != self.boot:
            return self._refuse("wrong_boot")
        if head.sequence <= self.last:
            return self._refuse("old_sequence")
        self.last = head.sequence
        return True

    def shut(self) -> None:
        """Only a HELLO opens it again; boots and sequences stay known."""
        self.is_open = False

    def _refuse(self, why: str) -> bool:
        self.why = why
        self.refused[why] += 1
        return False
