"""What each operation needs: nothing is forgotten, and refusals say what to do."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from zmq.utils import z85

from meshcode.errors import BadRequest, BadValue, Busy, NotAllowed, UnknownCall, UnknownObject
from meshcode.model.changes import ACTIONS, CHANGES, QUESTIONS
from meshcode.model.kinds import KINDS
from meshcode.model.rightnames import ALL, RIGHTS
from meshcode.model.rights import Rights
from meshcode.node import audit
from meshcode.node import guard as guards
from meshcode.node.attempts import FAILURES_MAX
from meshcode.node.faults import Faults
from meshcode.node.guard import ACTION_RIGHTS, NEEDS, Guard, model_right
from meshcode.node.requests import OPERATIONS, PROC_ACTIONS
from meshcode.node.sessions import Session
from meshcode.node.who import token_problem
from meshcode.trust import tokens
from meshcode.trust.signing import make_key

NODE, MESH = b"n" * 16, b"m" * 16
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "a" * 43


class History:
    """One call, of socket s."""

    def get(self, which):
        if which != "cafe":
            raise UnknownCall("no such call")
        return {"socket": "s"}


class Flows:
    """One flow, of sockets s and t."""

    def sockets_of(self, which):
        if which != "cafe":
            raise UnknownCall("no such flow")
        return ["s", "t"]


class Loop:
    """What a guard needs of a loop."""

    def __init__(self):
        self.mesh = self.identity = None
        self.node_id = NODE
        self.log = self
        self.history = History()
        self.flows = Flows()

    def get(self, table, key):
        return None


def model(privileges=(), **users):
    plain = {"roles": [], "enabled": True, "keys": [], "password_hash": HASH, "signed_out_ms": None}
    rows = [dict(zip(("right", "user", "on", "revoked"), (*p, None, None)[:4], strict=True))
            for p in privileges]  # fmt: skip
    return {
        "users": {name: plain | fields for name, fields in users.items()},
        "privileges": {str(at): row for at, row in enumerate(rows)},
        "sockets": {"s": {"processor": "p", "queue": "q"}, "t": {"processor": "other"}},
        "processors": {"p": {"labels": {"env": "prod"}}, "other": {"labels": {}}},
        "schedules": {"of-s": {"socket": "s"}},
    }


def guard_of(*privileges, **users):
    found = Guard(Loop())
    found.changed(model(privileges, **users))
    return found


KEY = b"k" * 32
JOE = {"keys": [z85.encode(KEY).decode()]}


def joe_with(*privileges):
    guard = guard_of(*((right, "joe", *rest) for right, *rest in privileges), joe=JOE)
    return guard, guard.identify(KEY, None)


def test_every_operation_has_a_row_and_no_row_is_left_over():
    assert set(NEEDS) == set(OPERATIONS)


def test_every_right_that_is_needed_exists():
    named = {right for need in NEEDS.values() for right in need.rights}
    asked = {model_right(do, kind) for do in (*QUESTIONS, *CHANGES) for kind in KINDS} - {ALL}
    assert (named | asked | set(ACTION_RIGHTS.values())) <= set(RIGHTS)
    assert set(ACTION_RIGHTS) == set(ACTIONS) == set(PROC_ACTIONS)


def test_every_way_to_change_the_model_needs_a_right_of_its_own():
    whole = {"verify", "snapshot", "apply", "declare"}
    for do in (*QUESTIONS, *CHANGES):
        for kind in KINDS:
            assert (model_right(do, kind) == ALL) == (do in whole), (do, kind)
    assert model_right("drop", "queue") == model_right("add", "nothing") == ALL


@pytest.mark.parametrize("name", sorted(set(NEEDS) - {"login", "logout", "whoami", "unsubscribe"}))
def test_who_has_nothing_may_ask_nothing(name):
    guard, who = joe_with()
    fields = {"do": "add", "kind": "queue", "name": "s", "id": "cafe"}

    with pytest.raises(NotAllowed, match="user joe may not"):
        guard.check(who, name, b"", fields)
    stranger = guard.identify(b"x" * 32, None)
    with pytest.raises(NotAllowed, match="belongs to no user"):
        guard.check(stranger, name, b"", fields)


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_who_has_all_may_ask_everything_and_so_may_anybody_before_a_user_is_declared(name):
    guard, who = joe_with((ALL,))
    fields = {"do": "add", "kind": "queue", "name": "s", "id": "cafe"}

    assert guard.check(who, name, b"", fields) is None
    free = guard_of()
    assert free.check(free.identify(b"x" * 32, None), name, b"", fields) is None
    assert free.check(None, name, b"", fields) is None


@pytest.mark.parametrize(
    ("privilege", "name", "fields", "may"),
    [
        (("CANCEL_TASK", "processor:p"), "call.cancel", {"id": "cafe"}, True),
        (("CANCEL_TASK", "processor:x"), "call.cancel", {"id": "cafe"}, False),
        (("CANCEL_TASK", "label:env=prod"), "call.cancel", {"id": "cafe"}, True),
        (("CANCEL_TASK", "label:env=test"), "call.cancel", {"id": "cafe"}, False),
        (("RUN_TASK", "label:env=p*"), "socket.describe", {"name": "s"}, True),
        (("RUN_TASK", "label:env=p*"), "socket.describe", {"name": "t"}, False),
        (("STOP_PROCESSOR", "label:env=prod"), "proc", {"do": "stop", "name": "p"}, True),
        (("STOP_PROCESSOR", "label:env=prod"), "proc", {"do": "stop", "name": "other"}, False),
        (("CANCEL_TASK", "processor:p"), "flow.cancel", {"id": "cafe"}, False),
        (("CANCEL_TASK", "socket:*"), "flow.cancel", {"id": "cafe"}, True),
        (("RUN_TASK", "processor:p"), "call.get", {"id": "cafe"}, True),
        (("RUN_TASK", "processor:p"), "call.watch", {"ids": []}, True),
        (("RUN_TASK", "processor:p"), "socket.describe", {"name": "s"}, True),
        (("RUN_TASK", "processor:p"), "task.code", {"name": "s"}, False),
        (("RUN_TASK", "processor:p"), "socket.describe", {"name": "t"}, False),
        (("LS_CALLS", "processor:p"), "call.list", {}, False),
        (("LS_CALLS", None), "call.list", {}, True),
        (("READ_LOG", "socket:s"), "subscribe", {"socket": "s"}, True),
        (("READ_LOG", "socket:s"), "subscribe", {"call": "cafe"}, True),
        (("READ_LOG", "socket:s"), "subscribe", {}, False),
        (("STOP_PROCESSOR", "processor:p"), "proc", {"do": "stop", "name": "p"}, True),
        (("STOP_PROCESSOR", "processor:p"), "proc", {"do": "start", "name": "p"}, False),
        (("STOP_PROCESSOR", "processor:p"), "proc", {"do": "stop", "name": "an-id"}, False),
    ],
)
def test_a_scope_is_looked_at(privilege, name, fields, may):
    guard, who = joe_with(privilege)
    if may:
        assert guard.check(who, name, b"", fields) is None
    else:
        with pytest.raises(NotAllowed):
            guard.check(who, name, b"", fields)


@pytest.mark.parametrize(
    ("privileges", "request_", "may"),
    [
        ([("ADD_SOCKET", "processor:p")], ("add", "socket", "n", {"processor": "p"}), True),
        ([("ADD_SOCKET", "processor:p")], ("add", "socket", "n", {"processor": "other"}), False),
        ([("UPDATE_SOCKET", "processor:p")], ("update", "socket", "s", {"priority": 1}), True),
        ([("UPDATE_SOCKET", "processor:p")], ("update", "socket", "s", {"processor": "other"}),
         False),
        ([("UPDATE_SOCKET", "processor:p")], ("update", "socket", "t", {"processor": "p"}), False),
        ([("UPDATE_SOCKET", "label:env=prod")], ("update", "socket", "s", {"priority": 1}), True),
        ([("UPDATE_SOCKET", "label:env=prod")], ("update", "socket", "t", {"priority": 1}), False),
        ([("UPDATE_SOCKET", "label:env=prod")],
         ("update", "socket", "t", {"labels": {"env": "prod"}}), False),
        ([("UPDATE_SOCKET",), ("RUN_TASK", "label:env=test")],
         ("update", "socket", "t", {"labels": {"env": "test"}}), False),
        ([("UPDATE_SOCKET",), ("RUN_TASK",)],
         ("update", "socket", "t", {"labels": {"env": "test"}}), True),
        ([("UPDATE_PROCESSOR",)], ("update", "processor", "p", {"password": "x"}), False),
        ([("UPDATE_PROCESSOR",), ("LOCK_PROCESSOR",)],
         ("update", "processor", "p", {"password": "x"}), True),
        ([], ("update", "user", "joe", {"password": "x"}), True),
        ([], ("update", "user", "joe", {"password": "x", "roles": []}), False),
        ([], ("update", "user", "joe", {"enabled": True}), False),
        ([], ("update", "user", "joe", {"keys": []}), False),
        ([], ("get", "user", "joe", {}), True),
        ([], ("get", "user", "ann", {}), False),
        ([("ADD_PRIVILEGE",)], ("add", "privilege", "x", {"right": "ALL", "user": "joe"}), False),
        ([("ADD_PRIVILEGE",)], ("add", "privilege", "x", {"right": "ADD_PRIVILEGE", "user": "ann"}),
         True),
        ([("ADD_SCHEDULE",)], ("add", "schedule", "n", {"socket": "s"}), False),
        ([("ADD_SCHEDULE",), ("RUN_TASK", "schedule:n")], ("add", "schedule", "n", {"socket": "s"}),
         False),
        ([("ADD_SCHEDULE",), ("RUN_TASK", "processor:p")],
         ("add", "schedule", "n", {"socket": "s"}), True),
        ([("ADD_SCHEDULE", "processor:p"), ("RUN_TASK",)],
         ("add", "schedule", "n", {"socket": "t"}), False),
        ([("UPDATE_SCHEDULE",), ("RUN_TASK", "socket:s")],
         ("update", "schedule", "of-s", {"args": [1]}), True),
        ([("UPDATE_SCHEDULE",), ("RUN_TASK", "socket:s")],
         ("update", "schedule", "of-s", {"socket": "t"}), False),
        ([("UPDATE_SCHEDULE",), ("RUN_TASK", "socket:s")],
         ("update", "schedule", "some-id", {"args": [1]}), False),
        ([("UPDATE_SCHEDULE",)], ("update", "schedule", "of-s", {"requested_status": "start"}),
         False),
        ([("UPDATE_SCHEDULE",)], ("update", "schedule", "of-s", {"requested_status": "pause"}),
         True),
        ([("DELETE_SCHEDULE",)], ("delete", "schedule", "of-s", {}), True),
        ([("READ",)], ("get", "queue", "some-id", {}), True),
        ([("READ",), ("READ", "queue:q", True)], ("get", "queue", "some-id", {}), False),
    ],
)  # fmt: skip
def test_changes_of_the_model(privileges, request_, may):
    guard, who = joe_with(*privileges)
    do, kind, name, fields = request_
    request = {"do": do, "kind": kind, "name": name, "fields": fields}
    if may:
        assert guard.check(who, "model", b"1", request) is None
    else:
        with pytest.raises(NotAllowed):
            guard.check(who, "model", b"1", request)


def _of(kind, name, there="refuse", **options):
    return {"kind": kind, "name": name, "options": options, "there": there}


@pytest.mark.parametrize(
    ("privileges", "objects", "at"),
    [
        ([("ADD_SOCKET", "processor:p")], [_of("socket", "n", processor="p")], None),
        ([("ADD_SOCKET", "processor:p")],
         [_of("socket", "n", processor="p"), _of("socket", "m", processor="other")], 1),
        ([("ADD_SOCKET",)], [_of("socket", "n", processor="p"), _of("queue", "new")], 1),
        ([("ADD_SOCKET",)], [_of("socket", "s", "change", priority=1)], 0),
        ([("ADD_SOCKET",)], [_of("socket", "s", priority=1)], None),  # It would be refused.
        ([("ADD_SOCKET",), ("UPDATE_SOCKET",)], [_of("socket", "s", "change", priority=1)], None),
        ([("ADD_SOCKET",), ("UPDATE_SOCKET",), ("UPDATE_SOCKET", "processor:p", True)],
         [_of("socket", "s", "change", processor="other")], 0),
        ([("ADD_SOCKET",), ("ADD_PROCESSOR",), ("ADD_SOCKET", "label:env=prod", True)],
         [_of("socket", "n", processor="mine"), _of("processor", "mine", labels={"env": "prod"})],
         0),
        ([("ADD_PROCESSOR",), ("ADD_SOCKET", "label:env=prod")],
         [_of("processor", "mine", labels={"env": "prod"}), _of("socket", "n", processor="mine")],
         0),  # By the label it would give ADD_SOCKET to itself.
        ([("ADD_SCHEDULE",)], [_of("schedule", "n", socket="s")], 0),
        ([("ADD_PROCESSOR",)], [_of("processor", "n", password="long enough")], 0),
        ([("ADD_PROCESSOR",)], [_of("processor", "n", env={"A": "secret:token"})], 0),
    ],
)  # fmt: skip
def test_of_many_objects_each_is_looked_at(privileges, objects, at):
    guard, who = joe_with(*privileges)
    request = {"do": "declare", "fields": {"objects": objects}}
    if at is None:
        guard.check(who, "model", b"1", request)
        assert guard.model_request(guard.fresh(who), b"1", request)["by"] == "joe"
    else:
        with pytest.raises(NotAllowed) as caught:
            guard.check(who, "model", b"1", request)
        assert caught.value.fields["at"] == at


def test_who_declares_opens_a_processor_only_with_the_right_to_each():
    asked = {"do": "declare", "fields": {"objects": [
        _of("processor", "p", "change"), _of("processor", "other", "change"),
    ]}}  # fmt: skip
    for scopes, admin in ((("processor:p",), False), (("processor:p", "processor:other"), True)):
        guard, who = joe_with(*(("UNLOCK_PROCESSOR", scope) for scope in scopes))

        assert guard.model_request(guard.fresh(who), b"1", asked)["admin"] is admin


def test_what_is_no_list_of_objects_is_refused_whoever_asks():
    guard, who = joe_with(("ALL",))
    for objects in (None, [], [5], [_of("user", "root")], [{**_of("queue", "q"), "extra": 1}]):
        with pytest.raises(BadRequest, match="nothing was changed"):
            guard.check(who, "model", b"1", {"do": "declare", "fields": {"objects": objects}})


def test_a_listing_has_what_its_asker_may_see():
    guard, who = joe_with(("LS_PROCESSORS", "processor:p"))
    guard.check(who, "model", b"1", {"do": "list", "kind": "processor"})

    assert guard.seen(b"1", True, [{"name": "p"}, {"name": "other"}]) == [{"name": "p"}]
    assert guard.seen(b"1", True, [{"name": "other"}]) == [{"name": "other"}]  # It was another's.


def test_nobody_says_for_the_owner_or_says_it_is_an_admin():
    guard, who = joe_with(("UPDATE_PROCESSOR",))
    asked = {"do": "update", "kind": "processor", "name": "p", "by": "root", "admin": True}
    guard.fresh(who)

    assert guard.model_request(who, b"1", asked)["by"] == "joe"
    assert guard.model_request(who, b"1", asked)["admin"] is False
    for principal in ("*", "root"):  # Nor that it is another to the database.
        told = guard.model_request(who, b"1", {**asked, "principal": principal})
        assert told["principal"] == "joe"
    assert "principal" not in guard.model_request(None, b"1", {**asked, "principal": "x"})
    assert guard.model_request(None, b"1", asked)["admin"] is True
    free = guard_of()
    assert "admin" not in free.model_request(free.fresh(free.identify(KEY, None)), b"1", asked)


def test_wrong_passwords_of_a_processor_are_counted():
    guard, who = joe_with(("UPDATE_PROCESSOR",))
    guard.fresh(who)
    asked = {"do": "update", "kind": "processor", "name": "p", "fields": {"unlock": "x"}}
    for number in range(FAILURES_MAX):
        guard.model_request(who, bytes([number]), asked)
        guard.seen(bytes([number]), False, {"code": NotAllowed.code})

    with pytest.raises(Busy, match="5 passwords were wrong in the last minute, the most is 5"):
        guard.model_request(who, b"9", asked)
    assert guard.model_request(who, b"9", {**asked, "name": "other"})["by"] == "joe"


@pytest.mark.parametrize(
    ("privilege", "name", "fields"),
    [
        (("READ_LOG", "socket:s"), "subscribe", {"socket": "t", "name": "s", "tail": 9}),
        (("READ_LOG", "socket:t"), "subscribe", {"call": "cafe", "id": "beef", "name": "t"}),
        (("READ_LOG", "socket:t"), "subscribe", {"socket": "s", "call": "beef"}),
        (("RUN_TASK", "socket:s"), "socket.describe", {"name": "t", "socket": "s"}),
        (("RUN_TASK", "socket:s"), "task.show", {"name": "", "socket": "s"}),
        (("CANCEL_TASK", "socket:t"), "call.cancel", {"id": "cafe", "call": "beef", "name": "t"}),
        (("STOP_PROCESSOR", "socket:s"), "proc", {"do": "stop", "name": "s", "kind": "socket"}),
        (("STOP_PROCESSOR", "processor:p"), "proc", {"do": "stop", "name": "t", "kind": "socket"}),
    ],
)
def test_a_field_that_an_operation_does_not_read_gives_no_right_to_it(privilege, name, fields):
    guard, who = joe_with(privilege)
    guard._loop.history = Calls()

    with pytest.raises(NotAllowed):
        guard.check(who, name, b"", fields)


class Calls:
    """Two calls: cafe of socket s, beef of socket t."""

    def get(self, which):
        return {"socket": {"cafe": "s", "beef": "t"}[which]}


@pytest.mark.parametrize("on", sorted(audit._ABOUT_ON.keys() & {"call", "flow", "socket"}))
def test_what_is_looked_at_is_what_is_done(on):
    """Every operation reads the field that the guard reads, and is not content with another."""
    (field,) = audit._ABOUT_ON[on]
    others = {"id": "cafe", "call": "cafe", "name": "s", "socket": "s", "flow": "cafe"}
    del others[field]
    guard, who = joe_with((ALL,))
    told = []
    turns = SimpleNamespace(stepping=False, add=lambda effects: told.extend(effects.answers))
    loop = SimpleNamespace(
        mesh=None, later=SimpleNamespace(begin=list), turns=turns, faults=Faults(turns)
    )
    for name in [name for name, need in NEEDS.items() if need.on == on]:
        with pytest.raises(BadRequest, match=f"field '{field}' is missing"):
            guard.check(who, name, b"", others)
        try:
            OPERATIONS[name](loop, Session(1, b""), b"", others)
            error = told.pop()[3]["text"]
        except BadRequest as refused:
            error = refused.text
        assert f"field '{field}' is missing" in error, name


def test_a_user_changes_objects_by_name_since_nothing_of_an_id_was_looked_at():
    """The model process takes an id for a name, and the snapshot has none."""
    rights = [(do, None) for do in ("UPDATE", "DELETE", "STOP_PROCESSOR")]
    guard, who = joe_with(*rights)
    for do, kind, given in (
        ("update", "user", {"password": "of somebody who may do more"}),
        ("update", "privilege", {"user": "joe"}),
        ("update", "processor", {"git": "/mine"}),  # It may have secrets.
        ("delete", "privilege", {}),
        ("stop", "processor", {}),
    ):
        asked = {"do": do, "kind": kind, "name": "a-uuid", "fields": given}
        with pytest.raises(UnknownObject, match="by name, not by id"):
            guard.check(who, "model", b"", asked)


def test_an_override_is_opened_by_the_right_to_its_processor():
    asked = {"do": "update", "kind": "override", "name": "p.do", "fields": {"code": "..."}}
    for scope, admin in (("processor:p", True), ("processor:p.*", False)):
        guard, who = joe_with(("UNLOCK_PROCESSOR", scope))

        assert guard.model_request(guard.fresh(who), b"1", asked)["admin"] is admin


def test_who_listens_hears_nothing_more_when_the_right_is_gone():
    guard, who = joe_with(("READ_LOG", "processor:p"))
    session = Session(1, b"")
    session.who = who
    assert guard.may_hear(session, "s")
    assert not guard.may_hear(session, "t")
    guard.changed(model(joe=JOE))
    assert not guard.may_hear(session, "s")


def test_a_label_decides_who_may_call_and_its_going_ends_that():
    guard, who = joe_with(("RUN_TASK", "label:env=prod"))
    assert guard.run_problem(guard.fresh(who), "s") is None
    assert guard.run_problem(guard.fresh(who), "t") is not None

    after = model([("RUN_TASK", "joe", "label:env=prod")], joe=JOE)
    after["processors"] = {"p": {"labels": {}}, "other": {"labels": {"env": "prod"}}}
    guard.changed(after)

    assert guard.run_problem(guard.fresh(who), "s") is not None
    assert guard.run_problem(guard.fresh(who), "t") is None


def test_rights_that_are_taken_away_are_gone_with_the_next_call():
    guard, who = joe_with(("RUN_TASK",))
    assert guard.run_problem(guard.fresh(who), "s") is None
    guard.changed(model([("RUN_TASK", "joe"), ("RUN_TASK", "joe", "processor:p", True)], joe=JOE))

    problem = guard.run_problem(guard.fresh(who), "s")
    assert problem is not None
    assert "user joe may not RUN_TASK on socket 's': it is revoked" in problem.text
    assert guard.run_problem(guard.fresh(who), "t") is None


def test_a_peers_client_is_checked_where_the_call_is():
    loop = Loop()
    loop.guard = guard_of(("CANCEL_TASK", "joe", "processor:p"), joe=JOE)
    guards_check = guards.check_for_peer

    assert guards_check(loop, None, "call.cancel", {"id": "beef"}) is None
    with pytest.raises(UnknownCall):
        loop.guard.check(loop.guard.identify(KEY, None), "call.cancel", b"", {"id": "beef"})
    with pytest.raises(NotAllowed, match="user ann is not declared"):
        guards_check(loop, "ann", "call.cancel", {"id": "cafe"})
    with pytest.raises(NotAllowed):
        guards_check(loop, "joe", "call.retry", {"id": "cafe"})


def token_of(key, *, mesh=MESH, user="joe", hash_=HASH, at=1_000, until=9_000):
    text = tokens.make(
        key, id=os.urandom(16), mesh=mesh, node=NODE, user=user, stamp=tokens.stamp_of(hash_),
        at_ms=at, until_ms=until,
    )  # fmt: skip
    return tokens.read(text)


SIGNER = make_key()


@pytest.mark.parametrize(
    ("made", "user", "signer", "now", "problem"),
    [
        ({}, {}, SIGNER.public, 5_000, ""),
        ({}, {}, None, 5_000, "not made by a node of this mesh"),
        ({}, {}, make_key().public, 5_000, "not made by a node of this mesh"),
        ({"mesh": b""}, {}, SIGNER.public, 5_000, "not made by a node of this mesh"),
        ({}, {}, SIGNER.public, 9_000, "ended 0 s ago"),
        ({"at": 10**6, "until": 10**7}, {}, SIGNER.public, 5_000, "from the future"),
        ({"user": "ann"}, {}, SIGNER.public, 5_000, "no user ann any more"),
        ({}, {"enabled": False}, SIGNER.public, 5_000, "user joe is disabled"),
        ({}, {"password_hash": None}, SIGNER.public, 5_000, "is another since"),
        ({}, {"signed_out_ms": 1_000}, SIGNER.public, 5_000, "were ended since"),
        ({}, {"signed_out_ms": 999}, SIGNER.public, 5_000, ""),
    ],
    ids=[
        "holds", "no-signer", "another-signer", "another-mesh", "ended", "future", "no-user",
        "disabled", "password", "signed-out", "signed-out-before",
    ],  # Of their own: keys are drawn, and a name is to be the same in every run.
)  # fmt: skip
def test_a_login_holds_only_while_everything_does(made, user, signer, now, problem):
    rights = Rights(model(joe=user))
    found = token_problem(token_of(SIGNER, **made), rights, signer, MESH, now)

    assert problem in found
    assert bool(found) == bool(problem)


def test_no_bit_of_a_login_can_be_changed():
    text = tokens.make(
        SIGNER, id=bytes(16), mesh=MESH, node=NODE, user="joe", stamp=bytes(16), at_ms=1, until_ms=2
    )
    for at in range(len(tokens.PREFIX), len(text)):
        other = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        try:
            assert not tokens.read(other).is_signed_by(SIGNER.public) or (
                tokens.read(other) == tokens.read(text)  # Unused bits of the last character.
            )
        except BadValue as error:
            assert other not in error.text
    assert tokens.read(text).is_signed_by(SIGNER.public)


@pytest.mark.parametrize(
    "login", ["", 5, b"x", "x" * 5_000, "meshcode-login-", "meshcode-login-AAAA"]
)
def test_a_login_that_is_none_makes_a_session_nobody(login):
    guard = guard_of()
    for key in (None, KEY):
        who = guard.fresh(guard.identify(key, login))
        assert (who.user, who.free) == (None, False)
        assert "the login that was sent is" in who.reason


def test_what_is_revoked_cannot_be_done_by_a_step_among_many():
    guard, who = joe_with((ALL,), ("DELETE_QUEUE", None, True), ("UNLOCK_PROCESSOR", None, True))

    def apply(*steps):
        fields = {"do": "apply", "fields": {"base": 1, "steps": [list(step) for step in steps]}}
        guard.check(who, "model", b"", fields)

    apply(("add", "queue", "new", {}), ("update", "socket", "s", {"priority": 1}))
    with pytest.raises(NotAllowed, match="DELETE_QUEUE on queue 'q'"):
        apply(("add", "queue", "new", {}), ("delete", "queue", "q", {}))
    with pytest.raises(NotAllowed, match="UNLOCK_PROCESSOR on processor 'p'"):
        apply(("update", "processor", "p", {"workers": 2}))
    with pytest.raises(NotAllowed, match="would hand out DELETE_QUEUE"):
        apply(("add", "privilege", "more", {"right": "DELETE_QUEUE", "user": "joe"}))


TOKEN = {"env": {"T": "secret:token"}}


def change(guard, who, do, fields, name="p"):
    guard.check(who, "model", b"r", {"do": do, "kind": "processor", "name": name, "fields": fields})


def test_who_may_change_code_needs_a_right_to_the_secrets_it_gets():
    guard, who = joe_with(("UPDATE_PROCESSOR",), ("ADD_PROCESSOR",))

    for do, name in (("update", "p"), ("add", "new")):
        with pytest.raises(NotAllowed, match="USE_SECRET on secret 'token'"):
            change(guard, who, do, TOKEN, name)
    change(guard, who, "update", {"workers": 2})

    guard, who = joe_with(("UPDATE_PROCESSOR",), ("USE_SECRET", "secret:tok*"))
    change(guard, who, "update", TOKEN)
    with pytest.raises(NotAllowed, match="USE_SECRET"):
        change(guard, who, "update", {"env": {"T": "secret:other"}})


def test_a_processor_that_has_a_secret_is_not_given_other_code_without_the_right():
    """Else whoever changes code would only have to wait for the secret."""
    guard, who = joe_with(("UPDATE_PROCESSOR",))
    snapshot = model([("UPDATE_PROCESSOR", "joe")], joe=JOE)
    snapshot["processors"]["p"] = TOKEN
    guard.changed(snapshot)

    with pytest.raises(NotAllowed, match="USE_SECRET"):
        change(guard, who, "update", {"commit": "abcdef0"})


def test_a_right_on_a_flow_holds_for_its_versions():
    rights = Rights({"versions": {"flow:night@1": {"of": "flow:night"}}})

    assert ("flow", "night") in rights.places("version", "flow:night@1")
