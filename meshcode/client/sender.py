"""Frames on their way to the node: counted, sealed, and kept while the link does not take them."""

from __future__ import annotations

import os
import time
from collections import deque

import zmq

from meshcode.client.link import Link
from meshcode.client.quiet import Quiet
from meshcode.wire.frame import seal_frame


class Sender:
    """Sends frames by the link that is open; only the I/O thread uses it."""

    __slots__ = ("_boot", "_link", "_quiet", "_sequence", "node_boot", "unsent")

    def __init__(self, link: Link, quiet: Quiet) -> None:
        """Nothing was sent; the count of frames never starts again."""
        self._link = link
        self._quiet = quiet
        self._boot = int.from_bytes(os.urandom(4), "little")
        self._sequence = 0
        self.node_boot = 0  # 0 until the node has greeted.
        self.unsent: deque[bytes] = deque()  # Frames the link did not take.

    def send(self, drafts: list[bytes]) -> int:
        """Send one frame; returns its sequence number."""
        self._sequence += 1
        self._quiet.told(time.monotonic())
        data = seal_frame(
            drafts,
            sequence=self._sequence,
            sender_boot=self._boot,
            receiver_boot=self.node_boot,
        )
        self.unsent.append(data)
        self.flush()
        return self._sequence

    def flush(self) -> None:
        """Give the link what it takes."""
        unsent, dealer = self.unsent, self._link.dealer
        while unsent and dealer is not None:
            try:
                dealer.send(unsent[0], zmq.NOBLOCK)
            except zmq.Again:
                return
            unsent.popleft()
