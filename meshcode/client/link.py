"""The DEALER link of a client, and the monitor that tells when its connection comes and goes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import zmq

from meshcode.limits import FRAME_BYTES_GOAL, FRAME_BYTES_MAX

RECONNECT_MS = 20  # First pause between attempts to connect; it doubles up to the next.
RECONNECT_MS_MAX = 500
FRAMES_WAITING = 256  # Received by libzmq and not yet read; the node keeps the others.
_SENDING_BYTES = 4 * 1024 * 1024  # In the queue of libzmq; the rest waits here, where it counts.

UP, DOWN = "up", "down"
_EVENT_HEAD = struct.Struct("=HI")  # Event number, value.
_EVENTS = {int(zmq.EVENT_HANDSHAKE_SUCCEEDED): UP, int(zmq.EVENT_DISCONNECTED): DOWN}


def new_link(context: zmq.Context[Any]) -> zmq.Socket[bytes]:
    """A DEALER link with the options that a session relies on; not connected yet."""
    link: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    link.setsockopt(zmq.IMMEDIATE, 1)  # Frames for a lost connection never reach the next one.
    link.setsockopt(zmq.LINGER, 0)
    link.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    link.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
    link.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
    link.setsockopt(zmq.SNDHWM, _SENDING_BYTES // FRAME_BYTES_GOAL)
    link.setsockopt(zmq.RCVHWM, FRAMES_WAITING)
    return link


def watch_connection(link: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """A link that becomes readable when the connection of `link` comes or goes."""
    monitor: zmq.Socket[bytes] = link.get_monitor_socket(sum(_EVENTS))
    return monitor


def connection_news(monitor: zmq.Socket[bytes]) -> Iterator[str]:
    """What happened to the connection since last time, oldest first: UP or DOWN."""
    while True:
        try:
            event = monitor.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        number, _ = _EVENT_HEAD.unpack_from(event[0])
        if number in _EVENTS:
            yield _EVENTS[number]
