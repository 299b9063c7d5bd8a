"""The proof at start-up that the door is shut to strangers and open to members.

A CURVE link lets everyone in when something about its ZAP settings is wrong, and nothing tells.  So
before a node serves, it knocks at its own door with a key made for the purpose.
"""

from __future__ import annotations

import time
from typing import Any

import zmq
from zmq.utils import z85

from meshcode.errors import NodeError
from meshcode.peers import monitor
from meshcode.peers.options import client_link

KNOCK_MS = 5_000  # One handshake on this machine takes a few milliseconds.


def knock(
    context: zmq.Context[Any], endpoint: str, server_key: bytes, public: bytes, secret: bytes
) -> str:
    """Try to get in: CONNECTED, DENIED or FAILED of `peers.monitor`.

    Blocks for up to KNOCK_MS.  Keys are 32 raw bytes.
    """
    link = client_link(context, public, secret, server_key)
    events = monitor.Monitor(link)
    try:
        link.connect(endpoint)
        end = time.monotonic() + KNOCK_MS / 1000
        while (left := end - time.monotonic()) > 0:
            events.poll(max(1, int(left * 1000)))
            for event in events.read():
                if event in (monitor.CONNECTED, monitor.DENIED):
                    return event
        return monitor.FAILED
    finally:
        events.close()
        link.close()


def check_door(
    context: zmq.Context[Any], endpoint: str, server_key: bytes, public: bytes, secret: bytes
) -> bytes:
    """Knock with a fresh unlisted key, which must be denied, and with a listed one.

    Args:
        endpoint: where the door is bound.
        server_key: its public key.
        public: a key that is listed, with its `secret`: the node's own will do.

    Returns:
        The unlisted key that was denied, so that its knock need not be told as an attack.

    Raises:
        NodeError: the unlisted key was let in, or the listed one was not, or neither was answered.
    """
    stranger, stranger_secret = (z85.decode(key) for key in zmq.curve_keypair())
    found = knock(context, endpoint, server_key, stranger, stranger_secret)
    if found == monitor.CONNECTED:
        raise NodeError(
            f"the link at {endpoint} let in a key that no member has; this node does not serve "
            "peers; its ZAP settings are not in force: report this",
            endpoint=endpoint,
        )
    if found != monitor.DENIED:
        raise NodeError(
            f"the link at {endpoint} did not answer within {KNOCK_MS} ms whether a key that no "
            "member has may come in; this node does not serve peers; check the address",
            endpoint=endpoint,
        )
    found = knock(context, endpoint, server_key, public, secret)
    if found != monitor.CONNECTED:
        raise NodeError(
            f"the link at {endpoint} does not let in this node's own key ({found}); this node "
            "does not serve peers; see whether it is still a member: mesh nodes",
            endpoint=endpoint,
        )
    return stranger
