"""What a request is about: the one place where its fields are read for that.

The guard looks whether a session may ask for it, the operation does it, and the audit log says of
what it was.  All three ask here, so no request shows one object to the guard and another one to the
operation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from meshcode.errors import BadRequest
from meshcode.ids import ID_BYTES, text_of
from meshcode.node.fields import needed

_PROC_FIELDS = ("do", "name", "by", "dry", "fields")


def call_of(fields: dict[str, Any]) -> bytes | str:
    """The call or flow that a request names: its id, or the beginning of one.

    Raises:
        BadRequest: it names none.
    """
    which: bytes | str = needed(fields, "id", (bytes, str))
    return which


def socket_of(fields: dict[str, Any]) -> str:
    """The socket that a request names.

    Raises:
        BadRequest: it names none.
    """
    return str(needed(fields, "name", str))


class Wanted(NamedTuple):
    """What a `subscribe` is to hear."""

    channel: str
    socket: str | None  # Only of this one; None: of all.
    call: str | None  # Only of this one, by its whole id.

    def has(self, channel: str, socket: str, call: bytes) -> bool:
        """Whether something of a channel, socket and call is wanted."""
        return (
            self.channel in (channel, "all")
            and self.socket in (None, socket)
            and (self.call is None or self.call == text_of(call))
        )


def wanted_of(fields: dict[str, Any]) -> Wanted:
    """What a `subscribe` asks for.

    Raises:
        BadRequest: it is no channel, socket or call.
    """
    channel, socket, call = (fields.get(name) for name in ("channel", "socket", "call"))
    if isinstance(call, bytes) and len(call) == ID_BYTES:
        call = text_of(call)
    for name, value in (("channel", channel), ("socket", socket), ("call", call)):
        if value is not None and not (isinstance(value, str) and value):
            raise BadRequest(f"field {name!r} is text, this is {value!r}")
    return Wanted(channel or "log", socket, call)


def as_model(operation: str, fields: dict[str, Any]) -> dict[str, Any]:
    """What a `model` or `proc` asks of the model: the latter of a processor, whatever it says."""
    if operation != "proc":
        return fields
    return {"kind": "processor", **{name: fields[name] for name in _PROC_FIELDS if name in fields}}


class Edit(NamedTuple):
    """A request of the model."""

    do: str
    kind: str
    name: Any  # Text, unless it names no object.
    given: dict[str, Any]


def edit_of(asked: dict[str, Any]) -> Edit:
    """What a request asks of the model, see `as_model`."""
    given = asked.get("fields")
    return Edit(
        str(asked.get("do")), str(asked.get("kind", "processor")), asked.get("name"),
        given if isinstance(given, dict) else {},
    )  # fmt: skip
