"""Who may do what: a pure function of the declared model.

Deny by default: what nobody gave, nobody may.  A revoked privilege wins over every given one, of
the user or of any of its roles, wherever it comes from.  A user who is gone or disabled may do
nothing.  Members of the role `admin` have ALL, less what is revoked.

An object is told by its *places*: itself and what it belongs to, as (kind, name), and the labels of
all of these, as ("label", "key=value").  A privilege on `processor:shop` holds for the processor,
its sockets and its deployments; one on `label:env=prod` for what has the label or belongs to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Any

from meshcode.errors import BadRequest
from meshcode.model.fields import check_value, fill
from meshcode.model.kinds import FIELDS, KINDS, LABELLED
from meshcode.model.rightnames import ALL, CONTAINED_IN, READING, contained
from meshcode.model.usercheck import LABEL, is_in

ADMIN_ROLE = "admin"
Places = frozenset[tuple[str, str]]
NOWHERE: Places = frozenset()

# What an object belongs to, by its options.
WITHIN = {
    "socket": (("processor", "processor"), ("queue", "queue")),
    "deployment": (("processor", "processor"),),
    "override": (("processor", "processor"),),
    "schedule": (("socket", "socket"),),
    "queue": (("network", "network"),),
    "node": (("network", "network"),),
    "scheduler": (("network", "network"),),
}
# The options by which an object comes under other privileges.
_MOVED_BY = {
    kind: {"labels", *(option for option, _target in WITHIN.get(kind, ()))} & FIELDS[kind].keys()
    for kind in FIELDS
}
# What an object belongs to that says of which kind that is, as `flow:night`.
_OF = {"version": "of"}


@dataclass(frozen=True, slots=True)
class Grant:
    """What one privilege says."""

    right: str
    on: str | None  # `KIND:PATTERN` or `label:KEY=PATTERN`; None: on everything.
    revoked: bool = False

    def covers(self, right: str, places: Places) -> bool:
        """Whether it speaks of this right, there."""
        if self.right not in CONTAINED_IN[right]:
            return False
        return self.on is None or is_in(self.on, places)


class Rights:
    """The users, roles and privileges of one snapshot."""

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        """Kinds that are not in the snapshot count as empty."""
        self._snapshot = snapshot
        self.users: Mapping[str, Any] = snapshot.get("users") or {}
        self._grants: dict[tuple[str, str], list[Grant]] = {}
        for fields in (snapshot.get("privileges") or {}).values():
            grant = Grant(fields["right"], fields.get("on"), bool(fields.get("revoked")))
            if grant.right in CONTAINED_IN:
                for kind in ("user", "role"):
                    if fields.get(kind):
                        self._grants.setdefault((kind, fields[kind]), []).append(grant)
        self._by_key = {
            key: name for name, fields in sorted(self.users.items()) for key in fields["keys"]
        }

    def of(self, snapshot: Mapping[str, Any]) -> Rights:
        """The rights of a snapshot whose users, roles and privileges are the same."""
        found = copy(self)
        found._snapshot = snapshot
        return found

    def with_objects(self, objects: Iterable[tuple[str, str, Mapping[str, Any]]]) -> Rights:
        """The same rights in a model that has these objects too: kind, name and options of each."""
        found = copy(self)
        snapshot = dict(self._snapshot)
        for kind, name, fields in objects:
            rows = snapshot.get(kind + "s") or {}
            snapshot[kind + "s"] = {**rows, name: {**(rows.get(name) or {}), **fields}}
        found._snapshot = snapshot
        return found

    def apart(self) -> Rights:
        """The same rights in a model of its own, which `follow` changes."""
        found = copy(self)
        found._snapshot = {kind + "s": dict(self._snapshot.get(kind + "s") or {}) for kind in KINDS}
        return found

    def follow(self, do: str, kind: str, name: str, fields: Mapping[str, Any]) -> None:
        """Take over one change, see `apart`; options that cannot be are left out."""
        rows = self._snapshot[kind + "s"]
        if do == "delete":
            rows.pop(name, None)
        else:
            good = {}
            for option, value in fields.items():
                with suppress(BadRequest):
                    good[option] = check_value(kind, name, option, value)
            rows[name] = {**(rows.get(name) or fill(kind, {})), **good}
        if kind in ("user", "role", "privilege"):
            self.__dict__.update(Rights(self._snapshot).__dict__)

    @property
    def enforced(self) -> bool:
        """Somebody is declared.  Before that a mesh needs no ceremony."""
        return bool(self.users)

    def user_of_key(self, key: str) -> str | None:
        """The user that a client key in Z85 is bound to."""
        return self._by_key.get(key)

    def is_here(self, user: str) -> bool:
        """There is such a user, and it is enabled."""
        fields = self.users.get(user)
        return fields is not None and fields["enabled"] is True

    def grants_of(self, user: str) -> list[Grant]:
        """All that a user was given or is denied, by itself and by its roles."""
        if not self.is_here(user):
            return []
        found = list(self._grants.get(("user", user), ()))
        for role in self.users[user]["roles"]:
            found += self.grants_of_role(role)
        return found

    def grants_of_role(self, role: str) -> list[Grant]:
        """All that a role gives or denies; a role that is not declared gives nothing."""
        if role not in (self._snapshot.get("roles") or {}):
            return []
        own = self._grants.get(("role", role), [])
        return [Grant(ALL, None), *own] if role == ADMIN_ROLE else list(own)

    def allowed(self, user: str, right: str, places: Places = NOWHERE) -> bool:
        """Whether `user` may do this to the object of these places."""
        speaking = [g for g in self.grants_of(user) if g.covers(right, places)]
        return bool(speaking) and not any(grant.revoked for grant in speaking)

    def allowed_everywhere(self, user: str, right: str) -> bool:
        """Whether no object of any name is closed to it."""
        grants = [g for g in self.grants_of(user) if g.right in CONTAINED_IN[right]]
        given = any(g.on is None and not g.revoked for g in grants)
        return given and not any(g.revoked for g in grants)

    def allowed_somewhere(self, user: str, right: str) -> bool:
        """Whether there may be an object that is open to it."""
        grants = [g for g in self.grants_of(user) if g.right in CONTAINED_IN[right]]
        closed = any(g.on is None and g.revoked for g in grants)
        return not closed and any(not g.revoked for g in grants)

    def may_read(self, user: str, kind: str, name: str | None) -> bool:
        """Whether `user` may see one object of a kind; None: every one there may be."""
        if kind == "user" and name == user and self.is_here(user):
            return True
        first, *others = READING[kind]
        if name is None:
            if self.allowed_everywhere(user, first):
                return True
            denied = any(g.revoked and g.right in CONTAINED_IN[first] for g in self.grants_of(user))
            return not denied and any(self.allowed_everywhere(user, right) for right in others)
        places = self.places(kind, name)
        if self.allowed(user, first, places):
            return True
        denied = any(g.revoked and g.covers(first, places) for g in self.grants_of(user))
        return not denied and any(self.allowed(user, right, places) for right in others)

    def naming(self, kind: str, option: str, name: str) -> list[str]:
        """The objects of a kind that name this one in an option."""
        rows = self._snapshot.get(kind + "s") or {}
        return [one for one, fields in rows.items() if fields.get(option) == name]

    def may_give(self, user: str, grant: Grant) -> bool:
        """Nobody gives more than it has: all that the grant contains, there, and none revoked."""
        for right in contained(grant.right):
            mine = [g for g in self.grants_of(user) if g.right in CONTAINED_IN[right]]
            if any(g.revoked for g in mine):
                return False
            if not any(g.on is None or g.on == grant.on for g in mine):
                return False
        return True

    def places(
        self, kind: str, name: str, fields: Mapping[str, Any] | None = None
    ) -> Places:
        """Where an object is: as it is declared, with the options of `fields` instead."""
        declared = self._declared(kind, name)
        found = {(kind, name)}
        if kind in LABELLED:
            labels = (fields or {}).get("labels", declared.get("labels"))
            found |= {(LABEL, f"{key}={value}") for key, value in _labels(labels).items()}
        for option, target in WITHIN.get(kind, ()):
            value = (fields or {}).get(option, declared.get(option))
            if isinstance(value, str):
                found |= self.places(target, value)
        of = declared.get(_OF.get(kind, ""))
        if isinstance(of, str):
            target, _, value = of.partition(":")
            found.add((target, value))
        return frozenset(found)

    def secrets_named(self, kind: str, name: str, fields: Mapping[str, Any]) -> list[str]:
        """The secrets that an object names, as it is and as `fields` would make it."""
        declared = (self._snapshot.get(kind + "s") or {}).get(name) or {}
        found: dict[str, None] = {}
        for options in (declared, fields):
            for option, spec in FIELDS[kind].items():
                if spec.refers == "secret":
                    found.update(dict.fromkeys(spec.names(options.get(option))))
        return list(found)

    def sockets_named(self, name: str) -> list[str]:
        """The sockets of a name: a socket, all of a processor or queue, or QUEUE.PROCESSOR."""
        found = []
        for socket, fields in (self._snapshot.get("sockets") or {}).items():
            processor, queue = fields.get("processor"), fields.get("queue")
            if name in (socket, processor, queue, f"{queue}.{processor}"):
                found.append(socket)
        return found

    def option(self, kind: str, name: str, option: str) -> Any:
        """An option of an object of the snapshot; None when there is no such object."""
        return self._declared(kind, name).get(option)

    def _declared(self, kind: str, name: str) -> Mapping[str, Any]:
        return (self._snapshot.get(kind + "s") or {}).get(name) or {}

    def is_declared(self, kind: str, name: str) -> bool:
        """Whether the snapshot has it under this name; an id is none."""
        return name in (self._snapshot.get(kind + "s") or {})

    def missing_to_change(
        self, user: str, do: str, kind: str, name: str, fields: Mapping[str, Any]
    ) -> Grant | None:
        """What `user` would hand out by a change, and has not itself.

        A change of a user, role or privilege hands out rights, and so does one that moves an
        object: where it comes to, by a new label, queue, processor or network, it is under the
        privileges on that, and what it leaves it takes away from under the denials there.
        """
        for grant in self._handed_out(do, kind, name, fields):
            if not self.may_give(user, grant):
                return grant
        if do != "delete" and not _MOVED_BY[kind].isdisjoint(fields):
            # Who makes an object says where it is; only a label brings it elsewhere besides.
            before = self.places(kind, name, None if do != "add" else {**fields, "labels": {}})
            for grant in self._moved_under(before, self.places(kind, name, fields)):
                if not self.allowed(user, grant.right, before):
                    return grant
        return None

    def _moved_under(self, before: Places, after: Places) -> Iterable[Grant]:
        """The grants that begin to hold there, and the denials that end."""
        if before == after:
            return
        for grant in sorted({g for found in self._grants.values() for g in found}, key=repr):
            if grant.on is not None:
                was, becomes = is_in(grant.on, before), is_in(grant.on, after)
                if was != becomes and was == grant.revoked:
                    yield grant

    def _handed_out(
        self, do: str, kind: str, name: str, fields: Mapping[str, Any]
    ) -> Iterable[Grant]:
        before = self._declared(kind, name)
        if kind == "privilege":
            if before.get("revoked"):  # To take a denial away is to give.
                yield Grant(before["right"], before["on"])
            after = {**before, **fields}
            right, on = after.get("right"), after.get("on")
            given = isinstance(right, str) and right in CONTAINED_IN  # The model refuses others.
            if given and do != "delete" and not after.get("revoked"):
                yield Grant(right, on if isinstance(on, str) else None)
        elif kind == "user":
            # Who sets a password or a key of somebody can be that one.
            roles = [*before.get("roles", ()), *_texts(fields.get("roles"))]
            own = [] if do == "add" else self._grants.get(("user", name), [])
            for grant in [*own, *(g for role in roles for g in self.grants_of_role(role))]:
                if not grant.revoked:
                    yield grant
            if do == "update" and "roles" in fields:
                kept = _texts(fields["roles"])
                yield from self._ended_denials(r for r in before.get("roles", ()) if r not in kept)
        elif kind == "role" and do == "delete":
            yield from self._ended_denials([name])

    def _ended_denials(self, roles: Iterable[str]) -> Iterable[Grant]:
        """What members of these roles were denied, and are not without them."""
        for role in roles:
            for grant in self.grants_of_role(role):
                if grant.revoked:
                    yield Grant(grant.right, grant.on)


def _labels(value: Any) -> dict[str, str]:
    """Those that can be some; the model refuses the others."""
    found = value.items() if isinstance(value, dict) else ()
    return {k: v for k, v in found if isinstance(k, str) and isinstance(v, str)}


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def allowed(snapshot: Mapping[str, Any], user: str, right: str, places: Places = NOWHERE) -> bool:
    """`Rights.allowed` for one question."""
    return Rights(snapshot).allowed(user, right, places)
