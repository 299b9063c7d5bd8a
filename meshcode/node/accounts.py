"""Operations about who a client is: login, logout, whoami."""

# ruff: noqa: ARG001  Operations share one shape.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.errors import BadRequest, Busy, NotAllowed
from meshcode.ids import unix_ms
from meshcode.model.rightnames import CONTAINED_IN
from meshcode.node.logins import ENDED_MAX
from meshcode.node.sessions import Session
from meshcode.trust.tokens import Token

if TYPE_CHECKING:
    from meshcode.node.loop import Loop


def login(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """A login for a user and a password; this session stays what it is."""
    who = session.who
    from_ = "local" if who is None or who.key is None else who.key
    loop.guard.logins.ask(session.id, request, fields, from_)


def logout(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """End the login of this session; with `all`, every login of its user.

    It holds no more on this node at once, and on the others as they hear of it by the model.  Where
    no further ended login can be remembered all of its user's are ended: that takes no room.

    Raises:
        NotAllowed: `all` without a user.
        Busy: no further one can be remembered, and its user is not here; it is as it was.
    """
    who = session.who
    user = None if who is None else loop.guard.fresh(who).user
    token = None if who is None else who.token
    if fields.get("all"):
        if user is None:
            raise NotAllowed("no user is logged in here, so there is nothing to end everywhere")
        return _end_all(loop, session, request, user, token)
    if who is None or token is None:
        return {"user": user, "all": False}
    kept = loop.guard.logins.end(token)
    who.rights = None  # It is worked out anew.
    if user is None and not kept:
        raise Busy(
            f"{ENDED_MAX} ended logins are remembered here, which is the most; this login of"
            f" {token.user} does not hold now, and was not ended for good; try again when some"
            " of the others are over"
        )
    told = loop.guard.logins.ended_of(token) if kept else None
    if user is None or (kept and loop.mesh is None):
        return {"user": user, "all": False}
    if told is None:
        return _end_all(loop, session, request, user, token)
    return _change(loop, session, request, user, {"ended": told}, everywhere=False)


def _end_all(
    loop: Loop, session: Session, request: bytes, user: str, token: Token | None
) -> None:
    """End all logins of a user, this one too when the clock of its node is ahead."""
    at_ms = max(unix_ms(), token.at_ms if token is not None else 0)
    _change(loop, session, request, user, {"signed_out_ms": at_ms}, everywhere=True)


def _change(
    loop: Loop, session: Session, request: bytes, user: str, given: dict[str, Any], *,
    everywhere: bool,
) -> None:  # fmt: skip
    change = {"do": "update", "kind": "user", "name": user, "by": user, "own": True}
    answer = {"user": user, "all": everywhere}
    loop.ask_model(session.id, request, {**change, "fields": given}, answer)


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
