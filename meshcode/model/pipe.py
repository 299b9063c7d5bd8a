"""Messages on the pipes between the node and its model process.

One message is its length in bytes (u32, little endian) and a packed map:

    node -> model    {"id", "do", "kind", "name", "fields", "by"}
    node -> model    {"id": b"", "do": "known", "fields": {"snapshot"}}, first, if it has one
    node -> model    {"id": b"adopt", "do": "adopt", "fields": {"snapshot", "base"}}
    model -> node    {"id", "ok": True, "data", "number", "snapshot" or "delta" when it changed}
                     {"id", "ok": False, "error", "number"}
    model -> node    {"snapshot", "number"}, {"delta", "number"} or {"error", "number"}, unasked: at
                     start and when somebody else changed the database

A delta (`delta.py`) leads on from the snapshot that the process knows the node to have; a node that
has another one starts the process anew.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from meshcode.errors import BadFrame, BadValue
from meshcode.limits import BODY_BYTES_MAX
from meshcode.wire.codec import pack, unpack_map

MESSAGE_BYTES_MAX = BODY_BYTES_MAX  # What `pack` gives; a snapshot of about 60,000 sockets.
NODE_ID = b""  # Of what the node itself says; requests of clients have ids of 16 bytes.
ADOPT_ID = b"adopt"  # Of the node's wish that the database becomes what it merged with its peers.
READ_BYTES = 256 * 1024  # One read of a pipe; the kernel's pipe holds 64 KiB.

_LENGTH = struct.Struct("<I")


def pack_message(message: dict[str, Any]) -> bytes:
    """A message as it goes through the pipe.

    Raises:
        BadData: a value that is not plain data.
        TooLarge: over BODY_BYTES_MAX.
    """
    body = pack(message, "the message to or from the model process")
    return _LENGTH.pack(len(body)) + body


class MessageReader:
    """Cuts what comes out of a pipe into messages."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any] | BadValue]:
        """Take the next bytes; give the messages that are whole now.  Read it to its end.

        A message whose length is good and whose content is not comes back as the `BadValue` it
        is, so that the reader can go on behind it.

        Raises:
            BadFrame: a length over MESSAGE_BYTES_MAX: the place in the stream is lost for good.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= _LENGTH.size:
                (size,) = _LENGTH.unpack_from(buffer, at)
                if size > MESSAGE_BYTES_MAX:
                    raise BadFrame(
                        f"a message on the model's pipe says it has {size} bytes, the most is"
                        f" {MESSAGE_BYTES_MAX}; the pipe is given up and made anew"
                    )
                end = at + _LENGTH.size + size
                if len(buffer) < end:
                    return
                message = _read(bytes(buffer[at + _LENGTH.size : end]))
                at = end
                yield message
        finally:
            del buffer[:at]


def _read(body: bytes) -> dict[str, Any] | BadValue:
    try:
        return unpack_map(body)
    except BadValue as exc:
        return exc
