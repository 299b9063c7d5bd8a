"""The names of all rights, and which right contains which.

A right is a name; it becomes a privilege when a user or a role has it.  For every kind of object
there are five (ADD, UPDATE, DELETE, READ, LS); the others are written out here.
"""

from __future__ import annotations

from meshcode.model.keptcheck import LARGE
from meshcode.model.kinds import FIELDS, KINDS, MADE, PLURALS

ALL = "ALL"
# What is done to the node itself and to the mesh; only who has ALL has it, or who was given it.
ADMIN = "ADMIN_NODE"

_OTHERS = {
    "RUN_TASK": "call a socket; retry a call",
    "CANCEL_TASK": "cancel a call",
    "READ_TASK": "see one call, its result and output, by its id",
    "LS_CALLS": "list calls",
    "UPDATE_TASK": "put other code in the place of a task's, or take that away",
    "READ_LOG": "follow events and what tasks print",
    "START_PROCESSOR": "start or restart a processor",
    "STOP_PROCESSOR": "stop a processor",
    "PAUSE_PROCESSOR": "pause a processor",
    "RESUME_PROCESSOR": "let a paused processor go on",
    "LOCK_PROCESSOR": "put a password on a processor",
    "UNLOCK_PROCESSOR": "change a locked processor without its password",
    "VIEW_PROCESSOR_CODE": "see the source of a task",
    "USE_SECRET": "let the code of a processor, or the fetch of a repository, have a secret",
    "READ_SIGNATURE": "see a socket's task, signature and limits",
    "LS_WORKERS": "see what the node is doing, its workers and processors",
    "LS_MESH": "see the nodes of the mesh and how they are linked",
    "READ_AUDIT": "see the audit log",
    ADMIN: "drain, stop and remove nodes, recover calls",
}

# What only a name's beginning says.
_GROUPS = {"CREATE": ("ADD_",), "READ": ("READ_", "LS_", "VIEW_"), "UPDATE": ("UPDATE_",),
           "DELETE": ("DELETE_",)}  # fmt: skip

RIGHTS: dict[str, str] = {  # In the order of the listing: the name, and what it allows.
    ALL: "everything",
    "CREATE": "every ADD_ right",
    "READ": "every READ_, LS_ and VIEW_ right",
    "UPDATE": "every UPDATE_ right",
    "DELETE": "every DELETE_ right",
    **_OTHERS,
}
for _kind in KINDS:
    if _kind == "override":  # It is a change of a task.
        continue
    for _do, _does in (("ADD", "add"), ("UPDATE", "change"), ("DELETE", "remove")):
        # Of what is only made by other changes they are names that a kept grant may have.
        _nothing = f"nothing: nobody may {_does} a {_kind}"
        RIGHTS[f"{_do}_{_kind.upper()}"] = _nothing if _kind in MADE else f"{_does} a {_kind}"
    RIGHTS[f"READ_{_kind.upper()}"] = f"see one {_kind}"
    RIGHTS[f"LS_{PLURALS[_kind].upper()}"] = f"list {PLURALS[_kind]}"


def _containing(right: str) -> frozenset[str]:
    found = {right, ALL}
    for group, beginnings in _GROUPS.items():
        if right.startswith(beginnings):
            found.add(group)
    return frozenset(found)


CONTAINED_IN: dict[str, frozenset[str]] = {right: _containing(right) for right in RIGHTS}


def contained(right: str) -> frozenset[str]:
    """A right and all that it contains."""
    return frozenset(name for name, above in CONTAINED_IN.items() if right in above)


def _reading(kind: str) -> tuple[str, ...]:
    if kind == "override":
        return ("VIEW_PROCESSOR_CODE",)
    listed = () if FIELDS[kind].keys() & set(LARGE) else (f"LS_{PLURALS[kind].upper()}",)
    return (f"READ_{kind.upper()}", *listed)


# One of these is needed to read an object: to list it is enough where a listing has all of it.
READING = {kind: _reading(kind) for kind in KINDS}
