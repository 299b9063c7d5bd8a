"""What a request of the model needs: a right for each object that it reads or would change.

Asked by `Guard` before every request, of the rights of one moment.  What changes many objects at
once is looked at step by step, each as if it came after those before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshcode.errors import NotAllowed, UnknownObject
from meshcode.model.declare import read_objects
from meshcode.model.kinds import KINDS, PLURALS
from meshcode.model.rightnames import ADMIN, ALL, CONTAINED_IN, READING, RIGHTS, contained
from meshcode.model.rights import Rights
from meshcode.node import refusals
from meshcode.node.subjects import Edit
from meshcode.node.who import Who

ACTION_RIGHTS = {
    "start": "START_PROCESSOR", "restart": "START_PROCESSOR", "stop": "STOP_PROCESSOR",
    "pause": "PAUSE_PROCESSOR", "resume": "RESUME_PROCESSOR", "remove": "DELETE_PROCESSOR",
}  # fmt: skip
_MODEL_RIGHTS = {"add": "ADD", "update": "UPDATE", "report": "UPDATE", "delete": "DELETE",
                 "get": "READ"}  # fmt: skip
# What of `mesh db` does not need ALL.
_DB_RIGHTS = {"init": ADMIN, "migrate": ADMIN, "json": "READ"}
# What users change of themselves.  When they logged out is stamped by the node: whoever has a
# login could end all that its user will ever make, and needs no password to do so.
_OWN = {"password", "old_password"}
# What goes with an object that is deleted so: kind, and the option that names the object.
_GOES_ALONG = {
    ("delete", "network"): (("queue", "network"), ("node", "network"), ("scheduler", "network")),
    ("remove", "processor"): (("deployment", "processor"), ("override", "processor")),
}

Listing = tuple[str, str, str]  # User, right and kind: what of an answer may be seen.


def model_right(do: str, kind: str) -> str:
    """The right that a request to the model needs; ALL for what there is not."""
    if do in ACTION_RIGHTS:
        return ACTION_RIGHTS[do]
    if kind not in KINDS:
        return ALL
    if kind == "override" and (do == "list" or do in _MODEL_RIGHTS):
        return "VIEW_PROCESSOR_CODE" if do in ("list", "get") else "UPDATE_TASK"
    if do == "list":
        return f"LS_{PLURALS[kind].upper()}"
    beginning = _MODEL_RIGHTS.get(do)
    return f"{beginning}_{kind.upper()}" if beginning else ALL


class ModelGuard:
    """What a principal may ask of the model, by the rights of one moment."""

    def __init__(self, rights: Rights, who: Who) -> None:
        """Whose request it is; `who` is nobody when it has no user."""
        self.rights = rights
        self._who = who
        self._user = who.user or ""  # Nobody was refused before it is asked for.

    def check(self, edit: Edit) -> Listing | None:
        """Look whether this may be asked; what of the answer is to be left out, or None.

        Raises:
            NotAllowed: it may not; nothing was done.
            UnknownObject: it is to change what has another name than this, or is not known here.
        """
        do, kind, name, given = edit
        right, user, rights = model_right(do, kind), self._user, self.rights
        if self._who.user is None:
            raise self._refusal(right, None)
        if do == "declare":
            self._check_objects(given.get("objects"))
        elif do == "apply":
            self._check_steps(given.get("steps"))
        elif do == "snapshot":
            self._check_snapshot()
        elif do == "list" and right in CONTAINED_IN:
            if not rights.allowed_somewhere(user, right):
                raise self._refusal(right, None)
            if not rights.allowed_everywhere(user, right):
                return user, right, kind
        elif kind == "user" and name == user and self._is_own(do, given):
            pass
        elif not isinstance(name, str) or right == ALL:
            if not rights.allowed(user, ALL):
                raise self._refusal(ALL, None)
        elif do == "get":
            self._check_get(kind, name)
        else:
            self._check_change(do, kind, name, given)
        return None

    def check_database(self, do: str) -> None:
        """The model as a whole: all that a right contains is needed, on everything.

        Raises:
            NotAllowed: some of it is missing, or revoked somewhere.
        """
        right = _DB_RIGHTS.get(do, ALL)
        if self._who.user is None:
            raise self._refusal(right, None)
        inside = contained(right)
        for one in RIGHTS:
            if one not in inside or self.rights.allowed_everywhere(self._user, one):
                continue
            for grant in self.rights.grants_of(self._user):
                if grant.revoked and grant.on and grant.right in CONTAINED_IN[one]:
                    raise NotAllowed(
                        f"user {self._user} may not {one} on everything, which this needs: it is"
                        f" revoked on {grant.on}; nothing was done; who has DELETE_PRIVILEGE can"
                        " end that: `mesh ls privileges` names it",
                        right=one, user=self._user,
                    )  # fmt: skip
            raise self._refusal(one, None)

    # Reading.

    def _check_get(self, kind: str, name: str) -> None:
        """To read it or, where a listing tells all of it, to list it."""
        known = self.rights.is_declared(kind, name)
        # Else it may be the id of something, or not known here yet: no scope can be looked at.
        if not self.rights.may_read(self._user, kind, name if known else None):
            raise refusals.refusal(self.rights, self._who, READING[kind], (kind, name))

    def _check_snapshot(self) -> None:
        """Something must be open; what is not, the model process leaves out."""
        rights, user = self.rights, self._user
        some = {right for kind in KINDS for right in READING[kind]}
        if not any(rights.allowed_somewhere(user, right) for right in some):
            raise NotAllowed(
                f"user {user} may read no object of the model, of any kind: this needs READ, or"
                " READ_ or LS_ of at least one kind, like READ_QUEUE; nothing was done; who has"
                f" ADD_PRIVILEGE can give it: `mesh add privilege -u {user} -n READ`",
                right="READ", user=user,
            )  # fmt: skip

    # Changing.

    def _check_change(self, do: str, kind: str, name: str, given: dict[str, Any]) -> None:
        for error in self._missing(do, kind, name, given):
            raise error
        if do != "add" and not self.rights.is_declared(kind, name):
            # An id would do for the model process, and nothing of what is meant was looked at.
            raise UnknownObject(
                f"no {kind} is named {name!r}, as far as this node knows; nothing was changed;"
                f" users change objects by name, not by id: `mesh ls {PLURALS[kind]}`",
                kind=kind, name=name,
            )  # fmt: skip

    def _check_steps(self, steps: object) -> None:
        """Each step as if it came alone, after those before it.  The model refuses bad ones.

        Raises:
            NotAllowed: all that is missing, for whichever of them.
        """
        rows = steps if isinstance(steps, list) else []
        after = ModelGuard(self.rights.apart(), self._who)
        found: list[NotAllowed] = []
        bad = 0
        for step in rows:
            match step:
                case [str(do), str(kind), str(name), dict(given)] if kind in KINDS:
                    missing = [*after._missing(do, kind, name, given)]
                    missing += after._locked(do, kind, name, given)
                    found += missing
                    bad += bool(missing)
                    after.rights.follow(do, kind, name, given)
        if found:
            raise refusals.together(self._user, found, len(rows), bad)

    def _check_objects(self, rows: object) -> None:
        """Each object as if it came after the others: added, or changed when it is there."""
        objects = read_objects(rows)
        # What is in a processor that gets a label is under the label.
        after = self.rights.with_objects((o.kind, o.name, o.options) for o in objects)
        for one in objects:
            given = {**one.new, **one.options}
            missing = [*ModelGuard(after, self._who)._missing("add", one.kind, one.name, given)]
            if one.changes and self.rights.is_declared(one.kind, one.name):
                missing += self._missing("update", one.kind, one.name, one.options)
            for error in missing:
                error.fields["at"] = one.at
                raise error

    def _missing(
        self, do: str, kind: str, name: str, given: dict[str, Any]
    ) -> Iterator[NotAllowed]:
        """All that is missing for one change of one object."""
        yield from self._missing_on(do, model_right(do, kind), kind, name, given)
        if kind == "processor" and "password" in given:
            yield from self._missing_on(do, "LOCK_PROCESSOR", kind, name, given)
        if do in ("add", "update"):
            yield from self._secrets(kind, name, given)
        if kind == "schedule" and given != {"requested_status": "pause"}:
            socket = given.get("socket") or self.rights.option(kind, name, "socket")
            yield from self._runs(do, socket)
        if kind == "queue" and given.get("dead_letter") is not None:
            yield from self._runs(do, given["dead_letter"])
        yield from self._along(do, kind, name, given)
        hand = self.rights.missing_to_change(self._user, do, kind, name, given)
        if hand is not None:
            yield NotAllowed(
                f"user {self._user} would hand out {hand.right}"
                f"{f' on {hand.on}' if hand.on else ''} by this and does not have it whole;"
                " nothing was changed; ask somebody who has it",
                right=hand.right, user=self._user, on=hand.on, why="to hand it out",
            )  # fmt: skip

    def _missing_on(
        self, do: str, right: str, kind: str, name: str, given: dict[str, Any]
    ) -> Iterator[NotAllowed]:
        rights, user = self.rights, self._user
        if do != "add" and not rights.is_declared(kind, name):
            # It may be the id of something, or not known here yet: no scope can be looked at.
            good = rights.allowed_everywhere(user, right)
        else:
            # Where it is to be, and where it is now.
            both = {rights.places(kind, name, given)}
            both |= {rights.places(kind, name)} if do != "add" else set()
            good = all(rights.allowed(user, right, places) for places in both)
        if not good:
            yield self._refusal(right, (kind, name))

    def _secrets(self, kind: str, name: str, given: dict[str, Any]) -> Iterator[NotAllowed]:
        """Who can change code may name no secret to it that it has no right to, new or kept."""
        if kind == "override":  # Its code runs with what the processor has.
            kind, name, given = "processor", processor_of(name, given), {}
        if kind not in ("processor", "repo"):
            return
        for secret in self.rights.secrets_named(kind, name, given):
            if not self.rights.allowed(self._user, "USE_SECRET", frozenset({("secret", secret)})):
                yield self._refusal("USE_SECRET", ("secret", secret))

    def _runs(self, do: str, socket: object) -> Iterator[NotAllowed]:
        """Who has a socket called, at times or with what a queue gives up, makes its calls."""
        rights, user = self.rights, self._user
        if do not in ("add", "update"):
            return
        if isinstance(socket, str):
            good = rights.allowed(user, "RUN_TASK", rights.places("socket", socket))
        else:  # It is called by its id, or not known here yet.
            good = rights.allowed_everywhere(user, "RUN_TASK")
        if not good:
            yield self._refusal("RUN_TASK", ("socket", str(socket)))

    def _along(
        self, do: str, kind: str, name: str, given: dict[str, Any]
    ) -> Iterator[NotAllowed]:
        """What else changes by it: what is revoked there stays so."""
        for other, option in _GOES_ALONG.get((do, kind), ()):
            for one in self.rights.naming(other, option, name):
                yield from self._revoked(model_right("delete", other), (other, one))
        if kind != "processor" or do != "update":
            return
        status = given.get("requested_status")
        if status != self.rights.option(kind, name, "requested_status"):
            right = ACTION_RIGHTS.get(status) if isinstance(status, str) else None
            yield from self._revoked(right, (kind, name))
        if "workers" in given:  # A deployment says how many there are.
            for one in self.rights.naming("deployment", "processor", name):
                yield from self._revoked("UPDATE_DEPLOYMENT", ("deployment", one))

    def _revoked(self, right: str | None, object_: tuple[str, str]) -> Iterator[NotAllowed]:
        if right and refusals.is_revoked(self.rights, self._user, right, object_):
            yield self._refusal(right, object_)

    def _locked(
        self, do: str, kind: str, name: str, given: dict[str, Any]
    ) -> Iterator[NotAllowed]:
        """A step has no password with it, so a processor that has one is not opened by one."""
        if kind != "override" and (kind != "processor" or do == "add"):
            return
        processor = processor_of(name, given) if kind == "override" else name
        if self.rights.option("processor", processor, "password_hash") is not None:
            yield from self._missing_on(do, "UNLOCK_PROCESSOR", kind, name, given)

    def _is_own(self, do: str, given: dict[str, Any]) -> bool:
        return do == "get" or (do == "update" and bool(given) and given.keys() <= _OWN)

    def _refusal(self, right: str, object_: tuple[str, str] | None) -> NotAllowed:
        return refusals.refusal(self.rights, self._who, (right,), object_)


def processor_of(override: Any, given: Mapping[str, Any]) -> str:
    """Whose code an override is: its name is PROCESSOR.TASK, which the model sees to."""
    return str(given.get("processor", str(override).rpartition(".")[0]))
