"""Operations about who a client is: login, logout, whoami."""

# ruff: noqa: ARG001  Operations share one shape.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.errors import BadRequest, NotAllowed
from meshcode.model.rightnames import CONTAINED_IN
from meshcode.node.logins import unix_ms
from meshcode.node.sessions import Session

if TYPE_CHECKING:
    from meshcode.node.loop import Loop


def login(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """A login for a user and a password; this session stays what it is."""
    who = session.who
    from_ = "local" if who is None or who.key is None else who.key
    loop.guard.logins.ask(session.id, request, fields, from_)


def logout(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """End the login of this session; with `all`, every login of its user.

    It holds no more on this node at once, and on the others as they hear of it by the model.

    Raises:
        NotAllowed: `all` without a user.
    """
    who = session.who
    user = None if who is None else loop.guard.fresh(who).user
    if fields.get("all"):
        if user is None:
            raise NotAllowed("no user is logged in here, so there is nothing to end everywhere")
        change = {"do": "update", "kind": "user", "name": user, "by": user, "own": True}
        loop.ask_model(session.id, request, {**change, "fields": {"signed_out_ms": unix_ms()}})
        return None
    if who is not None and who.token is not None:
        loop.guard.logins.end(who.token)
        who.rights = None  # It is worked out anew.
        if user is not None and loop.mesh is not None:
            change = {"do": "update", "kind": "user", "name": user, "by": user, "own": True}
            ended = loop.guard.logins.ended_of(who.token)
            loop.ask_model(session.id, request, {**change, "fields": {"ended": ended}})
            return None
    return {"user": user}


def whoami(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """Who this session is, and what it may do; `right` and `on` ask for one right.

    Raises:
        BadRequest: `right` is none.
    """
    guard, who = loop.guard, session.who
    found: dict[str, Any] = {"enforced": guard.rights.enforced, "node": loop.node_id.hex()}
    right = fields.get("right")
    if right is not None and right not in CONTAINED_IN:
        raise BadRequest(f"there is no right {right!r}; `mesh ls rights` shows them")
    if who is None or guard.fresh(who).free:
        owner = who is None or who.member
        return {**found, "who": "owner" if owner else "anybody", "user": None, "roles": [],
                "until_unix_ms": None, "reason": "", "privileges": ["ALL"]}  # fmt: skip
    user = who.user
    grants = [] if user is None else guard.rights.grants_of(user)
    said = [("not " if g.revoked else "") + g.right + (f" on {g.on}" if g.on else "")
            for g in grants]  # fmt: skip
    return {
        **found,
        "who": "user" if user is not None else "nobody",
        "user": user,
        "roles": [] if user is None else list(guard.rights.users[user]["roles"]),
        "until_unix_ms": who.token.until_ms if who.token is not None and user else None,
        "reason": who.reason,
        "privileges": sorted(said),
    }


OPERATIONS = {"login": login, "logout": logout, "whoami": whoami}
