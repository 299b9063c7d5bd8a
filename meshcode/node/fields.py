"""The fields of requests: of what kind they must be, and how one that is not is refused."""

from __future__ import annotations

from typing import Any

from meshcode.errors import BadRequest

_TEXT = (str, "text")
_COUNT = (int, "a whole number")
_LIST = (list, "a list")
_ID = ((str, bytes), "the id of a call, as text or bytes")

_OF_CALLS = (
    "call.get", "call.cancel", "call.retry", "call.recover", "stream.read", "mesh.call", "mesh.row",
    "flow.get", "flow.find", "flow.share", "flow.stop", "flow.cancel", "flow.retry",
)
# Of these operations, where the field is given at all.
_KINDS: dict[str, dict[str, tuple[Any, str]]] = {
    **{operation: {"id": _ID, "call": _ID} for operation in _OF_CALLS},
    "db": {"do": _TEXT},
    "listen": {"channel": _TEXT},
    "model": {"do": _TEXT, "kind": _TEXT},
    "proc": {"do": _TEXT, "name": _TEXT},
    "socket.describe": {"name": _TEXT, "argc": _COUNT, "keywords": _LIST},
    "subscribe": {"channel": _TEXT, "socket": _TEXT, "call": _ID},
    "task.code": {"name": _TEXT, "argc": _COUNT, "keywords": _LIST},
    "task.show": {"name": _TEXT, "argc": _COUNT, "keywords": _LIST},
    "whoami": {"right": _TEXT, "on": _TEXT},
}  # fmt: skip


def check(operation: str, fields: dict[str, Any]) -> None:
    """Look at the fields of a request before anything is done with them.

    Raises:
        BadRequest: one is of another kind; nothing was done.
    """
    for name, (kind, wanted) in _KINDS.get(operation, {}).items():
        value = fields.get(name)
        if value is not None and not isinstance(value, kind):
            raise BadRequest(f"field {name!r} must be {wanted}, it is {value!r:.80}")


def needed(fields: dict[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """A field that an operation cannot do without.

    Raises:
        BadRequest: it is missing, or of another kind.
    """
    value = fields.get(name)
    if not isinstance(value, kind):
        raise BadRequest(f"field {name!r} is missing or of the wrong kind: {value!r:.80}")
    return value
