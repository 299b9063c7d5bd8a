"""Every change and question of the model: add, update, delete, get, list, report, and the actions.

`apply` runs inside one transaction that its caller opened and commits; it raises before anything
is half done, and a raise rolls all of it back.  It says whether the declared model changed, so the
caller can number the new snapshot in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from meshcode.errors import NotAllowed, ObjectExists, UnknownObject, WrongState
from meshcode.listing import LISTED, where
from meshcode.model import acting, applying, declaring, ended, facts, passwords, snapshot, versions
from meshcode.model.acting import as_owner
from meshcode.model.checks import NAME_CHARS_MAX, STATUS_CHARS_MAX, near, shown
from meshcode.model.declare import differs, taken
from meshcode.model.fields import (
    bad,
    check_kind,
    check_new,
    check_object_name,
    check_together,
    check_value,
)  # fmt: skip
from meshcode.model.keptcheck import VERSIONED
from meshcode.model.kinds import FIELDS, HIDDEN, KINDS, MADE, PLURALS, PUBLISHED
from meshcode.model.rounds import round_of
from meshcode.model.scaling import scale
from meshcode.model.steps import Step
from meshcode.model.tables import (
    TABLES,
    Deployment,
    Network,
    Object,
    Override,
    Plug,
    Privilege,
    Processor,
    Queue,
    Role,
    Socket,
    User,
    Version,
)

Locked = (Processor, User)  # What may have a password.
ACTIONS = ("start", "stop", "restart", "pause", "resume", "remove")  # Of processors.
QUESTIONS = ("list", "get", "snapshot", "verify")
CHANGES = ("add", "update", "delete", "report", "apply", "declare", *ACTIONS)
WHOLE = ("snapshot", "apply", "declare")  # What names no object.
SIGNED = {("override", "by"), ("override", "made_ms")}  # Options that the model gives itself.
NAMED_MAX = 3  # Users of an object that an error text names; it counts the rest.


@dataclass(frozen=True, slots=True)
class Change:
    """What a request did."""

    data: Any  # The answer: an object as `describe` gives it, or a list of them.
    declared: bool  # The declared model is another than before, so it needs a new number.


@dataclass(frozen=True, slots=True)
class _Request:
    session: Session
    kind: str
    name: str
    fields: dict[str, Any]
    owner: str
    now_ms: int
    admin: bool  # It needs no password of a processor.
    own: bool  # A user changes itself: whoever has its login only must not get its password.
    planned: bool = False  # A step of a plan, of which the result has no way round.


def apply(session: Session, request: Mapping[str, Any], *, owner: str, now_ms: int) -> Change:
    """Do one request of the node in the session's transaction.

    Args:
        session: for a change, in a write transaction that holds the model's lock.
        request: {"do", "kind", "name", "fields", "by", "admin", "own"}; docs/model.md has the
            table.  `snapshot`, `apply` and `declare` name no object and have no kind.
        owner: who owns what is added when the request has no "by".
        now_ms: Unix milliseconds.

    Raises:
        BadRequest, UnknownObject, ObjectExists, WrongState, NotAllowed: nothing was changed.
    """
    do = request.get("do")
    handler = _HANDLERS.get(do) if isinstance(do, str) else None
    if handler is None and do != "list" and do not in WHOLE:
        known = ("list", "get", "snapshot", *CHANGES)
        text = f"the model cannot do {shown(do)}{near(do, known)}; it can: {', '.join(known)}"
        raise bad(text)
    fields = request.get("fields") or {}
    if not isinstance(fields, dict) or not all(isinstance(field, str) for field in fields):
        raise bad(f"the fields of a request are {shown(fields)}; they must be a map of options")
    by = request.get("by", owner)
    if not isinstance(by, str) or not 1 <= len(by) <= NAME_CHARS_MAX:
        raise bad(f"the owner is {shown(by)}; it must be text of 1 to {NAME_CHARS_MAX} characters")
    if do == "snapshot":
        return Change(_snapshot(session), declared=False)
    if do == "apply":
        judge = acting.judge(session)
        with as_owner(session):
            done = applying.apply_steps(session, fields, owner=by, now_ms=now_ms, judge=judge)
        return Change(done, declared=any(done.values()))
    admin, own = request.get("admin") is True, request.get("own") is True
    if do == "declare":
        free = request.get("principal") is None  # A user makes objects only in its own name.

        def do_step(step: Step, owner: str | None) -> None:
            whose = owner if free and owner is not None else by
            what = (session, step.kind, step.name, step.fields)
            _HANDLERS[step.do](_Request(*what, whose, now_ms, admin, own, planned=True))

        return Change(*declaring.declare(session, fields, do_step))
    kind = check_kind(request.get("kind", "processor" if do in ACTIONS else None))
    if handler is None:
        return Change(_list(session, kind), declared=False)
    name = check_object_name(kind, request.get("name"))
    if kind in MADE and do in ("add", "update", "delete"):
        raise bad(
            f"a {kind} is made by a change of a file or flow and never changed; no one can {do}"
            f" {kind} {name!r}; to go back to one: `mesh update flow NAME --restore NUMBER`",
            kind=kind, name=name,
        )  # fmt: skip
    return handler(_Request(session, kind, name, dict(fields), by, now_ms, admin, own))


_COMMON = (
    "id", "name", "owner", "status", "requested_status", "created_ms", "updated_ms", "revision",
)  # fmt: skip
# What every object has, then its options; some are hidden below.
_COLUMNS = {kind: tuple(dict.fromkeys((*_COMMON, *PUBLISHED[kind]))) for kind in KINDS}


def describe(row: Object) -> dict[str, Any]:
    """An object as plain data: what every object has, then its options."""
    return _described(_kind_of(row), row)


def _described(kind: str, row: Any) -> dict[str, Any]:
    """The same of anything that has the columns of the kind."""
    hidden = HIDDEN[kind]
    found = {field: getattr(row, field) for field in _COLUMNS[kind] if field not in hidden}
    more = {"password": row.password_hash is not None} if TABLES[kind] in Locked else {}
    return {"kind": kind, **found, **more, **facts.of(kind, row)}


def find(session: Session, kind: str, name: str) -> Object:
    """The object of that name or id.

    Raises:
        UnknownObject: there is none; the text has a name that is close.
    """
    # A version is not found by the name of its row: a later one may lie in that slot.
    row = _get(session, kind, name) if kind != "version" else versions.find(session, name)
    if row is None:
        row = session.execute(select(TABLES[kind]).filter_by(id=name)).scalar_one_or_none()
    if row is None:
        known = _names(session, kind)
        listing = LISTED.get(kind, PLURALS[kind])
        text = f"no {kind} is named {name!r}{near(name, known)}; {where(listing, len(known))}"
        raise UnknownObject(text, kind=kind, name=name)
    return row


def _names(session: Session, kind: str) -> list[str]:
    if kind == "version":
        return [versions.title(row) for row in session.execute(select(Version.of, Version.number))]
    return list(session.execute(select(TABLES[kind].name)).scalars())


def users(session: Session, kind: str, name: str) -> dict[str, list[str]]:
    """Who refers to the object, in names by plural kind; kinds without any are left out."""
    found: dict[str, list[str]] = {}
    for other in KINDS:
        for field, spec in FIELDS[other].items():
            if spec.refers == kind and spec.many:
                table = TABLES[other]
                rows = session.execute(select(table.name, getattr(table, field)))
                names = sorted(row[0] for row in rows if name in spec.names(row[1]))
                if names:
                    found.setdefault(PLURALS[other], []).extend(names)
            elif spec.refers == kind:
                table = TABLES[other]
                query = select(table.name).where(getattr(table, field) == name).order_by(table.name)
                names = list(session.execute(query).scalars())
                if names:
                    found.setdefault(PLURALS[other], []).extend(names)
    return found


def _kind_of(row: Object) -> str:
    return next(kind for kind in KINDS if TABLES[kind] is type(row))


def _get(session: Session, kind: str, name: str) -> Object | None:
    return session.execute(select(TABLES[kind]).filter_by(name=name)).scalar_one_or_none()


def _list(session: Session, kind: str) -> list[dict[str, Any]]:
    table = TABLES[kind]
    # Columns and no objects: thousands of rows are read in half the time.
    columns = [getattr(table, field) for field in _COLUMNS[kind]]
    rows = session.execute(select(*columns).order_by(table.name))
    described = (_described(kind, row) for row in rows)
    # What may be large is in the answer for one object only.
    return [{key: one[key] for key in one if key not in facts.LARGE} for one in described]


def _snapshot(session: Session) -> dict[str, Any]:
    """The whole model for its owner; for a user what it may read of it."""
    judge = acting.judge(session)
    with as_owner(session):
        if judge is None:
            return snapshot.shown(snapshot.read(session))
        counts = {
            kind: session.scalars(select(func.count()).select_from(TABLES[kind])).one()
            for kind in KINDS
        }
    return snapshot.readable(session, judge, counts)


def _look(request: _Request) -> Change:
    row = find(request.session, request.kind, request.name)
    data = describe(row)
    data["used_by"] = users(request.session, request.kind, row.name)
    return Change(data, declared=False)


def _add(request: _Request) -> Change:
    session, kind, name = request.session, request.kind, request.name
    exists_ok = request.fields.pop("exists_ok", False)
    unlock = request.fields.pop("unlock", None) if kind == "override" else None
    if not isinstance(exists_ok, bool):
        raise bad(f"exists_ok is {shown(exists_ok)}; it must be true or false", field="exists_ok")
    with as_owner(session):  # A name is taken, whoever may see by what.
        found = _get(session, kind, name)
    _take_password(request, found)
    _sign(request)
    options = check_new(kind, name, request.fields)
    if found is not None:
        if _get(session, kind, name) is None:
            raise taken(kind, name, found.owner)
        return _add_again(request, found, options, exists_ok=exists_ok)
    _check_references(request, options)
    if kind == "override":
        _check_lock(request, find(session, "processor", options["processor"]), unlock)
    row = TABLES[kind](
        name=name, owner=request.owner, created_ms=request.now_ms, updated_ms=request.now_ms
    )
    for field, value in options.items():
        setattr(row, field, value)
    session.add(row)
    session.flush()
    _check_rounds(request, row)
    _keep_version(request, row)
    return Change(describe(row), declared=True)


def _add_again(
    request: _Request, found: Object, options: dict[str, Any], *, exists_ok: bool
) -> Change:
    kind, name = request.kind, request.name
    # Only what was said is compared: who leaves an option out does not ask for its default.
    asked = [field for field in request.fields if (kind, field) not in SIGNED]
    others = [field for field in asked if getattr(found, field) != options[field]]
    if exists_ok and not others:
        return Change({**describe(found), "existed": True}, declared=False)
    if exists_ok:
        raise differs(kind, name, others, getattr(found, others[0]), options[others[0]])
    error = taken(kind, name, found.owner)
    text = f"{error.text}, or change it with `mesh update {kind} -n {name}`"
    raise ObjectExists(text, kind=kind, name=name, different=others)


def _update(request: _Request) -> Change:
    session, kind = request.session, request.kind
    fields = request.fields
    revision = fields.pop("revision", None)
    unlock, old = fields.pop("unlock", None), fields.pop("old_password", None)
    if kind in VERSIONED and "restore" in fields:
        name = find(session, kind, request.name).name
        with as_owner(session):  # Who may change it may make it what it was.
            fields.update(versions.restored(session, kind, name, fields.pop("restore")))
    if not fields:
        options = [option for option in FIELDS[kind] if option not in HIDDEN[kind]]
        known = ", ".join([*options, *(["password"] if HIDDEN[kind] else [])])
        raise bad(f"nothing to change; give at least one of: {known}", kind=kind)
    _take_password(request, None)
    _sign(request)
    given = {field: check_value(kind, request.name, field, fields[field]) for field in fields}
    row = find(session, kind, request.name)
    _check_lock(request, row, unlock)
    _check_own(request, row, old)
    _check_revision(row, revision)
    before = {field: getattr(row, field) for field in FIELDS[kind]}
    if kind == ended.KIND and not given.keys().isdisjoint(ended.OPTIONS):
        given |= ended.kept(before, before | given, request.now_ms)
    check_together(kind, row.name, before | given)
    _check_references(request, given)
    scaled = False
    if isinstance(row, Processor) and "workers" in given and not request.planned:
        scaled = scale(session, row, given["workers"], request.now_ms)
    changed = [field for field, value in given.items() if getattr(row, field) != value]
    for field in changed:
        setattr(row, field, given[field])
    if changed:
        _touch(request, row)
        _check_rounds(request, row)
        _keep_version(request, row)
    same = {} if changed or scaled else {"unchanged": True}
    return Change({**describe(row), **same}, declared=bool(changed) or scaled)


def _delete(request: _Request) -> Change:
    row = find(request.session, request.kind, request.name)
    _check_lock(request, row, request.fields.pop("unlock", None))
    _check_revision(row, request.fields.pop("revision", None))
    _check_no_options(request)
    data = describe(row)
    with as_owner(request.session):  # What goes with it is nobody's any more.
        if isinstance(row, Network):
            data["deleted"] = _empty(request.session, row)
        if isinstance(row, User | Role):
            data["deleted"] = _take_privileges(request.session, row)
    _check_unused(request.session, row)
    request.session.delete(row)
    if request.kind in VERSIONED:
        with as_owner(request.session):
            versions.forget(request.session, request.kind, row.name)
    return Change(data, declared=True)


def _keep_version(request: _Request, row: Object) -> None:
    if request.kind in VERSIONED:
        options = {field: getattr(row, field) for field in FIELDS[request.kind]}
        with as_owner(request.session):
            versions.record(
                request.session, request.kind, row.name, options, by=request.owner,
                now_ms=request.now_ms,
            )  # fmt: skip


def _empty(session: Session, network: Network) -> list[str]:
    """Delete what belongs to a network, unless something outside of it needs a part of it."""
    gone = []
    for kind in reversed(KINDS):  # What names others goes first.
        if "network" in FIELDS[kind]:
            table = TABLES[kind]
            query = select(table).filter_by(network=network.name).order_by(table.name)
            for row in session.execute(query).scalars().all():
                _check_unused(session, row)
                session.delete(row)
                session.flush()
                gone.append(f"{kind} {row.name}")
    return gone


def _take_privileges(session: Session, row: User | Role) -> list[str]:
    """Delete the privileges of a user or role: they mean nothing without it."""
    query = select(Privilege).filter_by(**{_kind_of(row): row.name}).order_by(Privilege.name)
    gone = session.execute(query).scalars().all()
    for privilege in gone:
        session.delete(privilege)
    session.flush()
    return [f"privilege {privilege.name}" for privilege in gone]


def _report(request: _Request) -> Change:
    """What a node found the object to be doing.  No declaration, so no number and no revision."""
    status = request.fields.pop("status", None)
    _check_no_options(request)
    if not isinstance(status, str) or not 1 <= len(status) <= STATUS_CHARS_MAX:
        raise bad(
            f"the status is {shown(status)}; it must be text of 1 to {STATUS_CHARS_MAX} characters",
            field="status",
        )
    row = find(request.session, request.kind, request.name)
    table = TABLES[request.kind]
    request.session.execute(update(table).where(table.id == row.id).values(status=status))
    return Change(describe(row), declared=False)


def _act(action: str) -> Callable[[_Request], Change]:
    def act(request: _Request) -> Change:
        if request.kind != "processor":
            raise bad(f"only a processor can {action}, not a {request.kind}", kind=request.kind)
        unlock = request.fields.pop("unlock", None)
        _check_no_options(request)
        row = find(request.session, "processor", request.name)
        assert isinstance(row, Processor)
        _check_lock(request, row, unlock)
        if action == "remove":
            return _remove(request, row)
        before = (row.requested_status, row.restarted)
        if action in ("pause", "resume") and row.requested_status == "stop":
            text = (
                f"processor {row.name!r} is stopped, so it cannot {action}; it is unchanged;"
                f" start it with `mesh proc start -n {row.name}`"
            )
            raise WrongState(text, kind="processor", name=row.name)
        wanted = {"stop": "stop", "pause": "pause"}
        row.requested_status = wanted.get(action, "start")
        row.restarted += action == "restart"
        changed = before != (row.requested_status, row.restarted)
        if changed:
            _touch(request, row)
        return Change(describe(row), declared=changed)

    return act


def _remove(request: _Request, row: Processor) -> Change:
    """Delete a processor with its deployments and overrides; never its sockets."""
    session = request.session
    with as_owner(session):
        for table in (Deployment, Override):
            for other in session.execute(select(table).filter_by(processor=row.name)).scalars():
                session.delete(other)
        session.flush()
    _check_unused(session, row)
    data = describe(row)
    session.delete(row)
    return Change(data, declared=True)


def _take_password(request: _Request, found: Object | None) -> None:
    """Put the hash of a password that was given in its place; that of `found` when it fits."""
    fields, kind = request.fields, request.kind
    if "password_hash" in fields:
        raise bad(f"a {kind} has no option 'password_hash'; give a password", kind=kind)
    if not HIDDEN[kind] or "password" not in fields:
        return
    password = fields.pop("password")
    kept = getattr(found, "password_hash", None)
    if password is None:
        fields["password_hash"] = None
    elif kept is not None and passwords.fits(kept, password):
        fields["password_hash"] = kept
    else:
        fields["password_hash"] = passwords.hashed(password)


def _sign(request: _Request) -> None:
    """An override says whose it is and when it was made, on every node."""
    if request.kind == "override":
        request.fields.update(by=request.owner, made_ms=request.now_ms)


def _check_lock(request: _Request, row: Object, unlock: Any) -> None:
    """A processor with a password is changed by who gives it, and by an admin."""
    if isinstance(row, Override):  # It is the processor's code.
        found = _get(request.session, "processor", row.processor)
        if found is None:
            return
        row = found
    if not isinstance(row, Processor) or row.password_hash is None or request.admin:
        return
    if not passwords.fits(row.password_hash, unlock):
        given = "another password was given" if unlock is not None else "none was given"
        text = (
            f"processor {row.name!r} has a password and {given}; it is unchanged; give it with"
            " --unlock, or ask who has UNLOCK_PROCESSOR"
        )
        raise NotAllowed(text, kind="processor", name=row.name)


def _check_own(request: _Request, row: Object, old: Any) -> None:
    if not request.own or "password_hash" not in request.fields or not isinstance(row, User):
        return
    if row.password_hash is not None and not passwords.fits(row.password_hash, old):
        given = "another one was given" if old is not None else "none was given"
        text = (
            f"to change your own password the old one is needed and {given}; it is unchanged;"
            " give it with --old, or ask who has UPDATE_USER"
        )
        raise NotAllowed(text, kind="user", name=row.name)


def _verify(request: _Request) -> Change:
    """Whether this is the password of an enabled user; the node asks, never a client."""
    row = _get(request.session, "user", request.name)
    kept = row.password_hash if isinstance(row, User) and row.enabled else None
    return Change(passwords.fits(kept, request.fields.get("password")), declared=False)


def _touch(request: _Request, row: Object) -> None:
    row.revision += 1
    row.updated_ms = request.now_ms
    request.session.flush()


def _check_no_options(request: _Request) -> None:
    for field in request.fields:
        raise bad(f"this request takes no option {shown(field)}", kind=request.kind, field=field)


def _check_revision(row: Object, revision: Any) -> None:
    if revision is None or revision == row.revision:
        return
    kind = _kind_of(row)
    text = (
        f"{kind} {row.name!r} is at revision {row.revision} and this edit is of revision"
        f" {shown(revision)}; it is unchanged; look at it with `mesh get {kind} {row.name}`"
        " and make the edit again"
    )
    raise WrongState(text, kind=kind, name=row.name, revision=row.revision)


def _check_references(request: _Request, options: Mapping[str, Any]) -> None:
    for field, value in options.items():
        spec = FIELDS[request.kind][field]
        refers = spec.refers
        for other in spec.names(value) if refers else ():
            assert refers is not None
            with as_owner(request.session):
                there = _get(request.session, refers, other) is not None
            if not there:
                known = request.session.execute(select(TABLES[refers].name)).scalars().all()
                text = (
                    f"{request.kind} {request.name!r}: no {refers} is named {other!r}"
                    f"{near(other, known)}; nothing was changed;"
                    f" add it first with `mesh add {refers} -n {other}`"
                )
                raise UnknownObject(text, kind=refers, name=other)


def _check_unused(session: Session, row: Object) -> None:
    kind = _kind_of(row)
    with as_owner(session):
        found = users(session, kind, row.name)
    names = [f"{plural[:-1]} {name!r}" for plural, group in found.items() for name in group]
    if not names:
        return
    rest = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    text = (
        f"{kind} {row.name!r} is used by {', '.join(names[:NAMED_MAX])}{rest};"
        " it is unchanged; update or delete what uses it first"
    )
    raise WrongState(text, kind=kind, name=row.name, used_by=found)


def _check_rounds(request: _Request, row: Object) -> None:
    if request.planned:
        return
    session = request.session
    with as_owner(session):
        if isinstance(row, Plug):
            _check_plugs(session, row)
        else:
            _check_dead_letters(session, row)


def _check_plugs(session: Session, row: Plug) -> None:
    """A flow must come to an end: no way along plugs leads back to where it began."""
    plugs = session.execute(select(Plug.source, Plug.target).order_by(Plug.name)).all()
    found = round_of([(source, target) for source, target in plugs], row.source, row.target)
    if found is not None:
        text = f"plug {row.name!r} would go round: {' -> '.join(found)}; give another target"
        raise bad(text, kind="plug", name=row.name, field="target")


def _check_dead_letters(session: Session, row: Object) -> None:
    """Dead letters must come to an end: a call must not go round between full queues."""
    if isinstance(row, Queue):
        start = row.name
    elif isinstance(row, Socket):
        start = row.queue
    else:
        return
    query = select(Queue.name, Socket.queue).join(Socket, Queue.dead_letter == Socket.name)
    edges = [(queue, after) for queue, after in session.execute(query.order_by(Queue.name))]
    found = round_of(edges, start, dict(edges).get(start, ""))
    if found is not None:
        way = " -> ".join(found)
        text = f"dead letters would go round: queue {way}; give a socket of another queue"
        raise bad(text, kind="queue", name=start, field="dead_letter")


_HANDLERS: dict[str, Callable[[_Request], Change]] = {
    "add": _add,
    "get": _look,
    "update": _update,
    "delete": _delete,
    "report": _report,
    "verify": _verify,
    **{action: _act(action) for action in ACTIONS},
}
