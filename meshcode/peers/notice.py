"""Telling an evicted node that it is out, although it gets in nowhere any more.

One that was away when it was evicted still believes that it is a member.  Its key is denied at the
handshake, and nothing can be said there.  So whoever denied it sends the signed statement to where
that node was, over a link of its own: one frame, then the link is closed, and nothing is read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import zmq

from meshcode import limits
from meshcode.errors import BadValue
from meshcode.peers import greeting
from meshcode.peers.options import client_link
from meshcode.wire.frame import frame

TEXT = "this node's key is not on the peer's list"


class Notice(NamedTuple):
    """What is to be told to a node that was evicted."""

    statement: bytes  # Signed; it needs no trust in whoever sends it.
    addresses: list[str]  # Where the node was.


def of_nobody(_key: bytes) -> Notice | None:
    """Where nobody was ever evicted."""
    return None


def statement_in(body: bytes) -> bytes:
    """The signed eviction in the body of a BYE; empty when it is about something else."""
    try:
        return greeting.read_bye(body)[2]
    except BadValue:  # The session counts it, if there is one.
        return b""


def bye_of(notice: Notice | None) -> bytes:
    """The BYE envelope for a key that is no member's: its eviction, if there was one."""
    if notice is None:
        return greeting.bye("not_member", TEXT)
    return greeting.bye("evicted", TEXT, notice.statement)


def send(
    context: zmq.Context[Any], public: bytes, secret: bytes, to: bytes, notice: Notice, boot: int
) -> None:
    """Tell the node of key `to`, wherever it was; libzmq goes on with it for a moment."""
    data = frame([bye_of(notice)], sender_boot=boot)
    for address in notice.addresses[: limits.PEER_ADDRESSES_MAX]:
        link = client_link(context, public, secret, to)
        link.setsockopt(zmq.IMMEDIATE, 0)  # The frame waits for the connection.
        try:
            link.connect(address)
            link.send(data, zmq.NOBLOCK)
        except zmq.ZMQError:  # No good address: it was told by a peer.
            link.close(0)
            continue
        link.close(limits.PEER_NOTICE_LINGER_MS)
