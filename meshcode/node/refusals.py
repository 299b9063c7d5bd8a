"""What a refusal for want of a right says: which right, on what, and who can give it."""

from __future__ import annotations

from meshcode.errors import NotAllowed
from meshcode.model.rights import NOWHERE, Rights
from meshcode.node.who import Who

OBJECTS_MAX = 3  # Of one right and kind, that a text names; the rest is counted.
GROUPS_MAX = 20  # Rights and kinds that a text names.
MISSING_MAX = 1_000  # Rights that the fields of an error name.


def refusal(
    rights: Rights, who: Who, needed: tuple[str, ...], object_: tuple[str, str] | None
) -> NotAllowed:
    """The error of what may not be done, since a principal has none of these rights."""
    on = "" if object_ is None else f" on {object_[0]} {object_[1]!r}"
    wanted = " or ".join(needed)
    fields = {"right": needed[0], "user": who.user}
    if who.user is not None:
        scope = "" if object_ is None else f" --on {object_[0]}:{object_[1]}"
        if object_ is not None:
            fields["on"] = f"{object_[0]}:{object_[1]}"
        if is_revoked(rights, who.user, needed[0], object_):
            return NotAllowed(
                f"user {who.user} may not {wanted}{on}: it is revoked, and that goes before"
                " whatever gives it; nothing was done; who has DELETE_PRIVILEGE can end that:"
                " `mesh ls privileges` names it",
                revoked=True, **fields,
            )  # fmt: skip
        return NotAllowed(
            f"user {who.user} may not {wanted}{on}: nobody gave it; nothing was done; who has"
            f" ADD_PRIVILEGE can give it: `mesh add privilege -u {who.user} -n"
            f" {needed[0]}{scope}`",
            **fields,
        )
    why = who.reason or "this client's key belongs to no user, and it is not logged in"
    return NotAllowed(
        f"{why}, so {wanted}{on} is not allowed; nothing was done; log in with `mesh login`"
        + (", or forget the login with `mesh logout`" if who.reason else ""),
        **fields,
    )


def is_revoked(rights: Rights, user: str, right: str, object_: tuple[str, str] | None) -> bool:
    """Whether a denial speaks of this right, there."""
    places = NOWHERE if object_ is None else rights.places(*object_)
    return any(
        grant.revoked and grant.covers(right, places) for grant in rights.grants_of(user)
    )


def together(user: str, found: list[NotAllowed], steps: int, bad: int) -> NotAllowed:
    """One error of all that is missing for many steps.

    Args:
        user: whose rights they are.
        found: what is missing, at least one.
        steps: how many there are.
        bad: of how many something is missing.
    """
    if len(found) == 1:
        return found[0]
    groups: dict[tuple[str, str], list[str]] = {}
    for error in found:
        kind, _, name = str(error.fields.get("on") or "").partition(":")
        why = "revoked" if error.fields.get("revoked") else str(error.fields.get("why", ""))
        what = f"{error.fields['right']}{f' on {kind}' if kind else ''}"
        groups.setdefault((what, why), []).append(name)
    told = [_said(what, why, names) for (what, why), names in groups.items()]
    rest = f", and {len(told) - GROUPS_MAX} more" if len(told) > GROUPS_MAX else ""
    first = found[0].fields
    on = f" --on {first['on']}" if first.get("on") else ""
    return NotAllowed(
        f"user {user} may not make {bad} of these {steps} changes, and needs for them:"
        f" {', '.join(told[:GROUPS_MAX])}{rest}; nothing was done; who has ADD_PRIVILEGE can give"
        f" what is not revoked: `mesh add privilege -u {user} -n {first['right']}{on}`",
        right=first["right"], user=user,
        missing=[[e.fields["right"], e.fields.get("on")] for e in found[:MISSING_MAX]],
    )  # fmt: skip


def _said(what: str, why: str, names: list[str]) -> str:
    known = list(dict.fromkeys(repr(name) for name in names if name))
    rest = f" and {len(known) - OBJECTS_MAX} more" if len(known) > OBJECTS_MAX else ""
    on = f" {' and '.join(known)}" if len(known) <= 2 else f" {', '.join(known[:OBJECTS_MAX])}"
    return f"{what}{on if known else ''}{rest}{f' ({why})' if why else ''}"
