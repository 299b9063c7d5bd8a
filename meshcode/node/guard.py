"""What each operation needs, and whether a session has it: one table, asked before every request.

The owner's sessions have no `Who` and are asked nothing.  docs/decisions/0018 says who is who.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zmq.utils import z85

from meshcode.errors import NotAllowed, UnknownCall
from meshcode.ids import unix_ms
from meshcode.model.declare import read_objects
from meshcode.model.delta import Key
from meshcode.model.rightnames import ADMIN
from meshcode.model.rights import NOWHERE, Places, Rights
from meshcode.node import meshcalls, refusals
from meshcode.node.attempts import Attempt
from meshcode.node.logins import Logins
from meshcode.node.modelguard import Listing, ModelGuard, processor_of
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
    # "", "everywhere", "somewhere", "call", "flow", "socket", "log", "listen", "model",
    # "proc" or "db".
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
    "call.watch": Need(_SEE_CALL, "somewhere"),  # And of each call, see `closed`.
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
    "flow.list": _CALLS,
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


class Guard:
    """Between the sessions of a node and what they ask."""

    def __init__(self, loop: Loop) -> None:
        """Nobody is declared yet; `changed` tells."""
        self._loop = loop
        self.rights = Rights({})
        self.logins = Logins(loop)
        self._filters: dict[bytes, Listing] = {}  # By number.
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
        if may:
            return None
        return refusals.refusal(self.rights, who, ("RUN_TASK",), ("socket", socket))

    def sees_problem(self, who: Who, sockets: Iterable[str]) -> NotAllowed | None:
        """Why a `fresh` principal may not see how calls of these sockets end, or None.

        Of a call whose socket is not known, "", the right is needed everywhere.
        """
        for socket in sockets:
            if self.run_problem(who, socket) is None:
                continue
            places = self.rights.places("socket", socket) if socket else NOWHERE
            if who.user is None or not self.rights.allowed(who.user, "READ_TASK", places):
                on = ("socket", socket) if socket else None
                return refusals.refusal(self.rights, who, _SEE_CALL, on)
        return None

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
            wanted = ModelGuard(self.rights, who).check(edit_of(as_model(name, fields)))
            if wanted is not None:
                self._filters[request] = wanted
        elif need.on == "db":
            ModelGuard(self.rights, who).check_database(str(fields.get("do")))
        elif need.rights:
            self._check(who, need, fields)

    def _check(self, who: Who, need: Need, fields: dict[str, Any]) -> None:
        rights, user, on = self.rights, who.user, need.on
        if user is None:
            raise refusals.refusal(self.rights, who, need.rights, None)
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
            raise refusals.refusal(rights, who, need.rights, object_)

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
            raise refusals.refusal(self.rights, who, ("READ_LOG",), object_)

    def _check_call(self, who: Who, need: Need, call: Any) -> None:
        """Of a flow, the right to all that it calls is needed."""
        rights, user = self.rights, who.user
        if not any(rights.allowed_somewhere(user, right) for right in need.rights):
            raise refusals.refusal(self.rights, who, need.rights, None)
        try:
            sockets = self._sockets_of(call, is_flow=need.on == "flow")
        except UnknownCall:
            if any(rights.allowed_everywhere(user, right) for right in need.rights):
                return  # Wherever it is.
            raise
        for socket in sockets:
            places = rights.places("socket", socket)
            if not any(rights.allowed(user, right, places) for right in need.rights):
                raise refusals.refusal(self.rights, who, need.rights, ("socket", socket))

    def _sockets_of(self, call: Any, *, is_flow: bool) -> list[str]:
        """The sockets of a call, or flow, that this node knows; raises `UnknownCall`."""
        if is_flow:
            return self._loop.flows.sockets_of(call)
        row = self._row_of(call)
        for _ in range(BUILTIN_DEPTH_MAX):
            if not row["socket"].startswith("@") or row["socket"] == FLOW:
                break
            row = self._row_of(row["parent"])  # It shows what that has caused.
        if row["socket"] == FLOW:
            return self._loop.flows.sockets_of(row["id"])
        if not row["socket"]:
            raise UnknownCall("the socket of this call is not known any more")
        return [str(row["socket"])]

    def _row_of(self, call: Any) -> dict[str, Any]:
        """A call as the history has it, or as it is kept here for another owner."""
        try:
            return self._loop.history.get(call)
        except UnknownCall:
            return meshcalls.kept_row(self._loop, meshcalls.kept_id(self._loop, call))

    def closed(self, who: Who | None, ids: Iterable[bytes]) -> set[bytes]:
        """Those of these calls that are known here and that a principal may not see."""
        if who is None or self.fresh(who).free:
            return set()
        found, unknown = set(), []
        for id in ids:
            try:
                self._check_call(who, NEEDS["call.get"], id)
            except NotAllowed:
                found.add(id)
            except UnknownCall:
                unknown.append(id)
        return found | self._loop.ended(unknown).keys()  # Of what, nobody can tell any more.

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


def _locked(edit: Edit) -> list[str]:
    """The processors that a request of the model may change."""
    if edit.do == "declare":  # They were looked at by `check`.
        objects = read_objects(edit.given["objects"])
        return [one.name for one in objects if one.kind == "processor"]
    if edit.kind == "override":
        return [processor_of(edit.name, edit.given)]
    return [str(edit.name)]


def check_for_peer(loop: Loop, user: object, name: str, fields: dict[str, Any]) -> None:
    """Look whether the user of a peer's client may ask this here; None: no user asks.

    Raises:
        MeshError: see `Guard.check`.
    """
    if user is None:
        return
    who = _for_peer(loop, user)
    if not loop.guard.rights.is_here(str(user)):
        raise NotAllowed(f"user {user} is not declared and enabled here; nothing was done")
    loop.guard.check(who, name, b"", fields)


def closed_for_peer(loop: Loop, user: object, ids: list[bytes]) -> set[bytes]:
    """Those of these calls that the user of a peer's client may not see; None: no user asks."""
    return set() if user is None else loop.guard.closed(_for_peer(loop, user), ids)


def _for_peer(loop: Loop, user: object) -> Who:
    who = Who(None)
    who.become(loop.guard.rights)
    who.user = str(user)
    return who

