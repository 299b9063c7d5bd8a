"""What each operation needs, and whether a session has it: one table, asked before every request.

The owner's sessions have no `Who` and are asked nothing.  docs/decisions/0018 says who is who.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zmq.utils import z85

from meshcode.errors import NotAllowed, UnknownCall, UnknownObject
from meshcode.model.declare import read_objects
from meshcode.model.delta import Key
from meshcode.model.kinds import KINDS, PLURALS
from meshcode.model.rightnames import ADMIN, ALL, CONTAINED_IN, RIGHTS, contained
from meshcode.model.rights import NOWHERE, Places, Rights
from meshcode.node.attempts import Attempt
from meshcode.node.logins import Logins, unix_ms
from meshcode.node.sessions import Session
from meshcode.node.subjects import Edit, Wanted, as_model, call_of, edit_of, socket_of, wanted_of
from meshcode.node.who import Who
from meshcode.router.plan import FLOW

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

BUILTIN_DEPTH_MAX = 8  # Calls of the router itself, each caused by the next.
MAY_MAX = 10_000  # Names of sockets remembered for one session.


@dataclass(frozen=True, slots=True)
class Need:
    """What an operation needs: one of these rights, and on what."""

    rights: tuple[str, ...]  # Empty: nothing, everybody may ask.
    # "", "everywhere", "somewhere", "call", "flow", "socket", "log", "model", "proc" or "db".
    on: str = ""


_SEE_CALL = ("READ_TASK", "RUN_TASK")
_SEE_SOCKET = ("READ_SIGNATURE", "RUN_TASK", "VIEW_PROCESSOR_CODE")
_ADMIN = Need((ADMIN,))
_MESH = Need(("LS_MESH",))
_CALLS = Need(("LS_CALLS",), "everywhere")

NEEDS: dict[str, Need] = {
    "status": Need(("LS_WORKERS",)),
    "mesh.workers": Need(("LS_WORKERS",)),
    "call.list": _CALLS,
    "call.get": Need(_SEE_CALL, "call"),
    "call.cancel": Need(("CANCEL_TASK",), "call"),
    "call.retry": Need(("RUN_TASK",), "call"),
    "stream.read": Need(_SEE_CALL, "call"),
    "call.watch": Need(_SEE_CALL, "somewhere"),  # By whole ids, which nobody can guess.
    "socket.describe": Need(_SEE_SOCKET, "socket"),
    "task.show": Need(_SEE_SOCKET, "socket"),
    "task.code": Need(("VIEW_PROCESSOR_CODE",), "socket"),
    "model": Need((), "model"),
    "proc": Need((), "proc"),
    "subscribe": Need(("READ_LOG",), "log"),
    "unsubscribe": Need(()),
    "listen": Need(("READ_LOG",), "listen"),
    "drain": _ADMIN,
    "nodes": _MESH,
    "node.facts": _MESH,
    "mesh.status": _MESH,
    "mesh.roster": _MESH,
    "node.drain": _ADMIN,
    "node.down": _ADMIN,
    "node.may": _ADMIN,
    "db": Need((), "db"),
    "node.leave": _ADMIN,
    "node.weigh": _ADMIN,
    "node.alone": _ADMIN,
    "node.countersign": _ADMIN,
    "mesh.calls": _CALLS,
    "mesh.ids": _CALLS,
    "mesh.rows": _CALLS,
    "mesh.flow": _CALLS,
    "mesh.flow.rows": _CALLS,
    "mesh.call": Need(_SEE_CALL, "call"),
    "mesh.row": Need(_SEE_CALL, "call"),
    "mesh.recover": _ADMIN,
    "mesh.stuck": _ADMIN,
    "call.recover": _ADMIN,
    "flow.get": Need(_SEE_CALL, "flow"),
    "flow.find": _ADMIN,  # These three are for peers.
    "flow.share": _ADMIN,
    "flow.stop": _ADMIN,
    "flow.cancel": Need(("CANCEL_TASK",), "flow"),
    "flow.retry": Need(("RUN_TASK",), "flow"),
    "login": Need(()),
    "logout": Need(()),
    "whoami": Need(()),
    "audit.tip": Need(("READ_AUDIT",)),
    "worker.stop": _ADMIN,
}
ACTION_RIGHTS = {
    "start": "START_PROCESSOR", "restart": "START_PROCESSOR", "stop": "STOP_PROCESSOR",
    "pause": "PAUSE_PROCESSOR", "resume": "RESUME_PROCESSOR", "remove": "DELETE_PROCESSOR",
}  # fmt: skip
_MODEL_RIGHTS = {"add": "ADD", "update": "UPDATE", "report": "UPDATE", "delete": "DELETE",
                 "get": "READ"}  # fmt: skip
# What of `mesh db` does not need ALL.
_DB_RIGHTS = {"init": ADMIN, "migrate": ADMIN, "json": "READ"}
_OWN = {"password", "old_password", "signed_out_ms"}  # What users change of themselves.


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


class Guard:
    """Between the sessions of a node and what they ask."""

    def __init__(self, loop: Loop) -> None:
        """Nobody is declared yet; `changed` tells."""
        self._loop = loop
        self.rights = Rights({})
        self.logins = Logins(loop)
        self._filters: dict[bytes, tuple[str, str, str]] = {}  # Number: user, right, kind.
        self._guesses: dict[bytes, Attempt] = {}  # By number.

    def changed(self, snapshot: Mapping[str, Any], keys: Iterable[Key] | None = None) -> None:
        """The model is another, in the objects of these kinds and names; None: in any."""
        kinds = None if keys is None else {kind for kind, _name in keys}
        if kinds is None or not kinds.isdisjoint(("user", "role", "privilege")):
            self.rights = Rights(snapshot)
        else:
            self.rights = self.rights.of(snapshot)

    # Who is it?

    def identify(self, key: bytes | None, login: object) -> Who | None:
        """The principal of a new session; None for the owner.

        Args:
            key: 32 bytes that the connection proved; None on the local link.
            login: the text that the client sent, or None.
        """
        if key is None:
            return None if login is None else Who(None, login=login)
        mesh = self._loop.mesh
        member = mesh is not None and key in mesh.keys
        return Who(z85.encode(key).decode(), member=member, login=login)

    def fresh(self, who: Who) -> Who:
        """`who`, as it is now."""
        if who.rights is not self.rights or unix_ms() >= who.until_ms:
            self._work_out(who)
        return who

    def _work_out(self, who: Who) -> None:
        who.become(self.rights)
        if who.token is not None:
            who.reason = self.logins.problem(who.token, who)
            who.until_ms = who.token.until_ms if not who.reason else who.until_ms
            who.user = None if who.reason else who.token.user
        elif who.reason:
            return
        elif who.key is not None:
            who.user = self.rights.user_of_key(who.key)
            who.free = who.user is None and (who.member or not self.rights.enforced)

    # May it?

    def run_problem(self, who: Who, socket: str) -> NotAllowed | None:
        """Why a `fresh` principal may not call a socket, or None; quick when asked before."""
        if who.free:
            return None
        may = who.may.get(socket)
        if may is None:
            may = who.user is not None and self.rights.allowed(
                who.user, "RUN_TASK", self.rights.places("socket", socket)
            )
            if len(who.may) < MAY_MAX:
                who.may[socket] = may
        return None if may else self.refusal(who, ("RUN_TASK",), ("socket", socket))

    def may(self, who: Who | None, right: str, kind: str, name: str) -> bool:
        """Whether a principal has a right on one object."""
        if who is None or self.fresh(who).free:
            return True
        return who.user is not None and self.rights.allowed(
            who.user, right, self.rights.places(kind, name)
        )

    def may_hear(self, session: Session, socket: str) -> bool:
        """Whether a session may hear what happens at a socket."""
        return self.may(session.who, "READ_LOG", "socket", socket)

    def check(self, who: Who | None, name: str, request: bytes, fields: dict[str, Any]) -> None:
        """Look whether a principal may ask for an operation.

        Raises:
            NotAllowed: it may not; nothing was done.
            UnknownCall: it may see some calls, and this one is not known here.
        """
        if who is None or self.fresh(who).free:
            return
        need = NEEDS.get(name, _ADMIN)
        if need.on == "log":
            self._check_log(who, need.rights, wanted_of(fields))
        elif need.on == "listen":
            self._check_listen(who, fields)
        elif need.on in ("model", "proc"):
            self._check_model(who, request, edit_of(as_model(name, fields)))
        elif need.on == "db":
            self._check_database(who, str(fields.get("do")))
        elif need.rights:
            self._check(who, need, fields)

    def _check(self, who: Who, need: Need, fields: dict[str, Any]) -> None:
        rights, user, on = self.rights, who.user, need.on
        if user is None:
            raise self.refusal(who, need.rights, None)
        if on in ("call", "flow"):
            self._check_call(who, need, call_of(fields))
            return
        object_ = ("socket", socket_of(fields)) if on == "socket" else None
        if on == "everywhere":
            good = any(rights.allowed_everywhere(user, right) for right in need.rights)
        elif on == "somewhere":
            good = any(rights.allowed_somewhere(user, right) for right in need.rights)
        else:
            places: Places = NOWHERE if object_ is None else rights.places(*object_)
            good = any(rights.allowed(user, right, places) for right in need.rights)
        if not good:
            raise self.refusal(who, need.rights, object_)

    def _check_log(self, who: Who, rights: tuple[str, ...], wanted: Wanted) -> None:
        """Only what fits both is told, so of a socket and a call the socket decides."""
        if wanted.socket is not None:
            self._check(who, Need(rights, "socket"), {"name": wanted.socket})
        elif wanted.call is not None:
            self._check(who, Need(rights, "call"), {"id": wanted.call})
        else:
            self._check(who, Need(rights, "everywhere"), {})

    def _check_listen(self, who: Who, fields: dict[str, Any]) -> None:
        """At least one socket of the name must be open to it; each event is looked at again."""
        rights, user, name = self.rights, who.user, fields.get("name")
        if fields.get("channel") == "stats":
            self._check(who, NEEDS["status"], {})
            return
        sockets = rights.sockets_named(name) if isinstance(name, str) else []
        if user is not None and any(
            rights.allowed(user, "READ_LOG", rights.places("socket", one)) for one in sockets
        ):
            return
        if sockets or user is None or not rights.allowed_somewhere(user, "READ_LOG"):
            object_ = ("socket", sockets[0]) if sockets else None
            raise self.refusal(who, ("READ_LOG",), object_)

    def _check_call(self, who: Who, need: Need, call: Any) -> None:
        """Of a flow, the right to all that it calls is needed."""
        rights, user = self.rights, who.user
        if not any(rights.allowed_somewhere(user, right) for right in need.rights):
            raise self.refusal(who, need.rights, None)
        try:
            sockets = self._sockets_of(call, is_flow=need.on == "flow")
        except UnknownCall:
            if any(rights.allowed_everywhere(user, right) for right in need.rights):
                return  # Wherever it is.
            raise
        for socket in sockets:
            places = rights.places("socket", socket)
            if not any(rights.allowed(user, right, places) for right in need.rights):
                raise self.refusal(who, need.rights, ("socket", socket))

    def _sockets_of(self, call: Any, *, is_flow: bool) -> list[str]:
        """The sockets of a call, or flow, that this node knows; raises `UnknownCall`."""
        if is_flow:
            return self._loop.flows.sockets_of(call)
        row = self._loop.history.get(call)
        for _ in range(BUILTIN_DEPTH_MAX):
            if not row["socket"].startswith("@") or row["socket"] == FLOW:
                break
            row = self._loop.history.get(row["parent"])  # It shows what that has caused.
        if row["socket"] == FLOW:
            return self._loop.flows.sockets_of(row["id"])
        if not row["socket"]:
            raise UnknownCall("the socket of this call is not known any more")
        return [str(row["socket"])]

    # The model.

    def _check_model(self, who: Who, request: bytes, edit: Edit) -> None:
        do, kind, name, given = edit
        right, user, rights = model_right(do, kind), who.user, self.rights
        if user is None:
            raise self.refusal(who, (right,), None)
        if do == "declare":
            self._check_objects(who, given.get("objects"))
            return
        if do == "list" and right in CONTAINED_IN:
            if not rights.allowed_somewhere(user, right):
                raise self.refusal(who, (right,), None)
            if not rights.allowed_everywhere(user, right):
                self._filters[request] = (user, right, kind)
            return
        if kind == "user" and name == user and self._is_own(do, given):
            return
        if not isinstance(name, str) or right == ALL:
            if not rights.allowed(user, ALL):
                raise self.refusal(who, (ALL,), None)
            if do == "apply":
                self._check_steps(who, given.get("steps"))
            return
        self._check_change(who, do, kind, name, given)
        if do not in ("add", "get") and not rights.is_declared(kind, name):
            # An id would do for the model process, and nothing of what is meant was looked at.
            raise UnknownObject(
                f"no {kind} is named {name!r}, as far as this node knows; nothing was changed;"
                f" users change objects by name, not by id: `mesh ls {PLURALS[kind]}`",
                kind=kind, name=name,
            )  # fmt: skip

    def _check_database(self, who: Who, do: str) -> None:
        """The model as a whole: all that a right contains is needed, on everything."""
        right = _DB_RIGHTS.get(do, ALL)
        if who.user is None:
            raise self.refusal(who, (right,), None)
        inside = contained(right)
        for one in RIGHTS:
            if one not in inside or self.rights.allowed_everywhere(who.user, one):
                continue
            for grant in self.rights.grants_of(who.user):
                if grant.revoked and grant.on and grant.right in CONTAINED_IN[one]:
                    raise NotAllowed(
                        f"user {who.user} may not {one} on everything, which this needs: it is"
                        f" revoked on {grant.on}; nothing was done; who has DELETE_PRIVILEGE can"
                        " end that: `mesh ls privileges` names it",
                        right=one, user=who.user,
                    )  # fmt: skip
            raise self.refusal(who, (one,), None)

    def _check_steps(self, who: Who, steps: object) -> None:
        """Each step as if it came alone: what is revoked stays so.  The model refuses bad ones."""
        for step in steps if isinstance(steps, list) else []:
            match step:
                case [str(do), str(kind), str(name), dict(given)] if kind in KINDS:
                    self._check_change(who, do, kind, name, given)
                    locked = kind == "processor" and do != "add"  # It may have a password.
                    if locked or kind == "override":
                        self._check_object(who, do, "UNLOCK_PROCESSOR", kind, name, given)

    def _check_objects(self, who: Who, rows: object) -> None:
        """Each object as if it came after the others: added, or changed when it is there."""
        objects = read_objects(rows)
        after = copy(self)  # What is in a processor that gets a label is under the label.
        after.rights = self.rights.with_objects((o.kind, o.name, o.options) for o in objects)
        for one in objects:
            given = {**one.new, **one.options}
            try:
                after._check_change(who, "add", one.kind, one.name, given)
                if one.changes and self.rights.is_declared(one.kind, one.name):
                    self._check_change(who, "update", one.kind, one.name, one.options)
            except NotAllowed as error:
                error.fields["at"] = one.at
                raise

    def _check_change(
        self, who: Who, do: str, kind: str, name: str, given: dict[str, Any]
    ) -> None:
        right, rights, user = model_right(do, kind), self.rights, who.user
        assert user is not None
        self._check_object(who, do, right, kind, name, given)
        if do in ("add", "update"):
            self._check_secrets(who, kind, name, given)
        if kind == "schedule" and given != {"requested_status": "pause"}:
            self._check_schedule(who, do, name, given)
        missing = rights.missing_to_change(user, do, kind, name, given)
        if missing is not None:
            raise NotAllowed(
                f"user {user} would hand out {missing.right}"
                f"{f' on {missing.on}' if missing.on else ''} by this and does not have it whole;"
                " nothing was changed; ask somebody who has it",
                right=missing.right,
            )

    def _check_secrets(self, who: Who, kind: str, name: str, given: dict[str, Any]) -> None:
        """Who can change code may name no secret to it that it has no right to, new or kept."""
        if who.user is None:
            return
        if kind == "override":  # Its code runs with what the processor has.
            kind, name, given = "processor", _processor_of(name, given), {}
        if kind not in ("processor", "repo"):
            return
        for secret in self.rights.secrets_named(kind, name, given):
            if not self.rights.allowed(who.user, "USE_SECRET", frozenset({("secret", secret)})):
                raise self.refusal(who, ("USE_SECRET",), ("secret", secret))

    def _check_schedule(self, who: Who, do: str, name: str, given: dict[str, Any]) -> None:
        """Who schedules a call makes it, so the right to make it is needed, too."""
        rights, user = self.rights, who.user
        assert user is not None
        if do not in ("add", "update"):
            return
        socket = given.get("socket") or rights.option("schedule", name, "socket")
        if isinstance(socket, str):
            good = rights.allowed(user, "RUN_TASK", rights.places("socket", socket))
        else:  # It is called by its id, or not known here yet.
            good = rights.allowed_everywhere(user, "RUN_TASK")
        if not good:
            raise self.refusal(who, ("RUN_TASK",), ("socket", str(socket)))

    def _is_own(self, do: str, given: dict[str, Any]) -> bool:
        return do == "get" or (do == "update" and bool(given) and given.keys() <= _OWN)

    def _check_object(
        self, who: Who, do: str, right: str, kind: str, name: str, given: dict[str, Any]
    ) -> None:
        rights, user = self.rights, who.user
        assert user is not None
        needed = [right]
        if kind == "processor" and "password" in given:
            needed.append("LOCK_PROCESSOR")
        for one in needed:
            if do != "add" and not rights.is_declared(kind, name):
                # It may be the id of something, or not known here yet: no scope can be looked at.
                good = rights.allowed_everywhere(user, one)
            else:
                # Where it is to be, and where it is now.
                both = {rights.places(kind, name, given)}
                both |= {rights.places(kind, name)} if do != "add" else set()
                good = all(rights.allowed(user, one, places) for places in both)
            if not good:
                raise self.refusal(who, (one,), (kind, name))

    def model_request(
        self, who: Who | None, request: bytes, fields: dict[str, Any]
    ) -> dict[str, Any]:
        """A request of a client as the model process is to have it: whose it is, and what opens.

        Raises:
            Busy: it has a password in it, see `Attempts.begin`.
        """
        names = ("do", "kind", "name", "fields", "by", "dry")
        asked = {name: fields[name] for name in names if name in fields}
        if who is None:
            return {**asked, "admin": True}
        edit = edit_of(asked)
        if edit.given.keys() & {"unlock", "old_password"}:
            of = f"{edit.kind} {edit.name}"[:200]
            self._guesses[request] = self.logins.attempts.begin(of, who.name)
        if who.user is not None:
            admin = all(
                self.may(who, "UNLOCK_PROCESSOR", "processor", one) for one in _locked(edit)
            )
            own = edit.kind == "user" and edit.name == who.user
            own = own and not self.may(who, "UPDATE_USER", "user", who.user)
            user = {"by": who.user, "principal": who.user}
            return {**asked, **user, "admin": admin, "own": own}
        return asked

    def forget(self, request: bytes) -> None:
        """A request was refused after all."""
        self._filters.pop(request, None)
        guess = self._guesses.pop(request, None)
        if guess is not None:
            self.logins.attempts.end(guess, wrong=False)

    def seen(self, request: bytes, good: bool, data: Any) -> Any:
        """What of an answer of the model its asker may see; wrong passwords are counted."""
        guess = self._guesses.pop(request, None)
        if guess is not None:
            wrong = not good and data.get("code") == NotAllowed.code
            self.logins.attempts.end(guess, wrong=wrong)
        found = self._filters.pop(request, None)
        if found is None or not isinstance(data, list):
            return data
        user, right, kind = found
        return [
            row for row in data
            if self.rights.allowed(user, right, self.rights.places(kind, str(row["name"])))
        ]  # fmt: skip

    # Words.

    def refusal(
        self, who: Who, rights: tuple[str, ...], object_: tuple[str, str] | None
    ) -> NotAllowed:
        """The error of what may not be done: which right, on what, and who can give it."""
        on = "" if object_ is None else f" on {object_[0]} {object_[1]!r}"
        wanted = " or ".join(rights)
        fields = {"right": rights[0], "user": who.user}
        if who.user is not None:
            scope = "" if object_ is None else f" --on {object_[0]}:{object_[1]}"
            if self._is_revoked(who.user, rights, object_):
                return NotAllowed(
                    f"user {who.user} may not {wanted}{on}: it is revoked, and that goes before"
                    " whatever gives it; nothing was done; who has DELETE_PRIVILEGE can end that:"
                    " `mesh ls privileges` names it",
                    **fields,
                )
            return NotAllowed(
                f"user {who.user} may not {wanted}{on}: nobody gave it; nothing was done; who has"
                f" ADD_PRIVILEGE can give it: `mesh add privilege -u {who.user} -n"
                f" {rights[0]}{scope}`",
                **fields,
            )
        why = who.reason or "this client's key belongs to no user, and it is not logged in"
        return NotAllowed(
            f"{why}, so {wanted}{on} is not allowed; nothing was done; log in with `mesh login`"
            + (", or forget the login with `mesh logout`" if who.reason else ""),
            **fields,
        )

    def _is_revoked(
        self, user: str, rights: tuple[str, ...], object_: tuple[str, str] | None
    ) -> bool:
        places = NOWHERE if object_ is None else self.rights.places(*object_)
        return any(
            grant.revoked and grant.covers(rights[0], places)
            for grant in self.rights.grants_of(user)
        )


def _locked(edit: Edit) -> list[str]:
    """The processors that a request of the model may change."""
    if edit.do == "declare":  # They were looked at by `check`.
        objects = read_objects(edit.given["objects"])
        return [one.name for one in objects if one.kind == "processor"]
    if edit.kind == "override":
        return [_processor_of(edit.name, edit.given)]
    return [str(edit.name)]


def _processor_of(override: Any, given: Mapping[str, Any]) -> str:
    """Whose code an override is: its name is PROCESSOR.TASK, which the model sees to."""
    return str(given.get("processor", str(override).rpartition(".")[0]))


def check_for_peer(loop: Loop, user: object, name: str, fields: dict[str, Any]) -> None:
    """Look whether the user of a peer's client may ask this here; None: no user asks.

    Raises:
        MeshError: see `Guard.check`.
    """
    if user is None:
        return
    who = Who(None)
    who.become(loop.guard.rights)
    who.user = str(user)
    if not loop.guard.rights.is_here(who.user):
        raise NotAllowed(f"user {who.user} is not declared and enabled here; nothing was done")
    loop.guard.check(who, name, b"", fields)

