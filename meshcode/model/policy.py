"""Which rows of the database a principal may see and write: a pure function, for both databases.

SQLite asks it through the session (`acting.py`); on Postgres `rowlevel.py` writes the same rules as
policies of the tables, from the same lists, and a test holds the two to one table of cases.

Nobody sees and writes nothing; the owner of the mesh everything.  A user writes what a right it has
lets it write, and sees what it may read, list or write.  What it made is its own: it needs no right
to see, change or delete that, unless the right was revoked.  It makes rows only in its own name.
Every user sees its own user, and may change it; which options, the node decides.

A node asks for a privilege before it asks the database, so this is the second wall there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshcode.model.kinds import KINDS, PLURALS
from meshcode.model.rights import Rights

OWNER = "*"  # The principal of a node for itself; no name of a user, which has no such character.
NOBODY = ""  # Of a transaction in which none was set.
DOINGS = ("SELECT", "INSERT", "UPDATE", "DELETE")
ON_ONESELF = ("SELECT", "UPDATE")  # What every user may do to the row that it is.


def _rights_for(kind: str, doing: str) -> tuple[str, ...]:
    if kind == "override":  # It is a change of a task.
        return ("UPDATE_TASK",)
    upper = kind.upper()
    if doing == "INSERT":
        return (f"ADD_{upper}",)
    if doing == "DELETE":
        return (f"DELETE_{upper}",)
    changing = [f"UPDATE_{upper}"]
    if kind == "processor":
        changing += [f"{do}_PROCESSOR" for do in ("START", "STOP", "PAUSE", "RESUME")]
    if doing == "UPDATE":
        return tuple(changing)
    return (f"READ_{upper}", f"LS_{PLURALS[kind].upper()}", *changing, f"DELETE_{upper}")


# One of these is needed, by kind and by what is done to a row.
RIGHTS_FOR = {(kind, doing): _rights_for(kind, doing) for kind in KINDS for doing in DOINGS}


def may(rights: Rights, principal: str, doing: str, kind: str, row: Mapping[str, Any]) -> bool:
    """Whether a principal may do this to a row.

    Args:
        rights: of the model that the row is in.
        principal: the name of a user, OWNER or NOBODY.
        doing: one of DOINGS.
        kind: of the row.
        row: its `name` and `owner`, and of its options those that are not as the model has them.
    """
    if principal == OWNER:
        return True
    if not rights.is_here(principal):
        return False
    name, mine = str(row["name"]), row["owner"] == principal
    if doing == "INSERT" and not mine:
        return False
    if kind == "user" and name == principal and doing in ON_ONESELF:
        return True
    places = rights.places(kind, name, row)
    grants = rights.grants_of(principal)
    for right in RIGHTS_FOR[kind, doing]:
        speaking = [grant for grant in grants if grant.covers(right, places)]
        given = bool(speaking) or (mine and doing != "INSERT")
        if given and not any(grant.revoked for grant in speaking):
            return True
    return False
