"""What each operation needs: nothing is forgotten, and refusals say what to do."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from zmq.utils import z85

from meshcode.errors import BadRequest, BadValue, Busy, NotAllowed, UnknownCall
from meshcode.model.changes import ACTIONS, CHANGES, QUESTIONS
from meshcode.model.kinds import KINDS
from meshcode.model.rightnames import ALL, RIGHTS
from meshcode.model.rights import Rights
from meshcode.node import audit
from meshcode.node import guard as guards
from meshcode.node.attempts import FAILURES_MAX
from meshcode.node.faults import Faults
from meshcode.node.guard import NEEDS, Guard
from meshcode.node.modelguard import ACTION_RIGHTS, model_right
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
        self.router = SimpleNamespace(replica=SimpleNamespace(by_id={}), copies={})
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


def test_who_declares_opens_a_processor_only_with_the_right_to_each():
    objects = [{"kind": "processor", "name": name, "there": "change"} for name in ("p", "other")]
    asked = {"do": "declare", "fields": {"objects": objects}}
    for scopes, admin in ((("processor:p",), False), (("processor:p", "processor:other"), True)):
        guard, who = joe_with(*(("UNLOCK_PROCESSOR", scope) for scope in scopes))

        assert guard.model_request(guard.fresh(who), b"1", asked)["admin"] is admin


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


def test_a_right_on_a_flow_holds_for_its_versions():
    rights = Rights({"versions": {"flow:night@1": {"of": "flow:night"}}})

    assert ("flow", "night") in rights.places("version", "flow:night@1")
