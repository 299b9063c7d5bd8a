"""Users, roles and privileges as they are declared; passwords that nothing shows."""

from __future__ import annotations

import json

import pytest

from meshcode.errors import BadRequest, MeshError, NotAllowed, ObjectExists, WrongState
from meshcode.model import passwords
from meshcode.model.entries import make_entry
from meshcode.model.kinds import FIELDS, HIDDEN, KINDS
from meshcode.model.rightnames import CONTAINED_IN, RIGHTS, contained
from meshcode.model.snapshot import check as check_snapshot

SECRET = "correct horse"
KEY = "x" * 40
# What the first version of this system listed, less agents (nodes are that) and its database.
SEED = """
ALL CREATE READ UPDATE DELETE RUN_TASK CANCEL_TASK START_PROCESSOR STOP_PROCESSOR
PAUSE_PROCESSOR RESUME_PROCESSOR LOCK_PROCESSOR UNLOCK_PROCESSOR VIEW_PROCESSOR_CODE
LS_PROCESSORS LS_USERS LS_PLUGS LS_SOCKETS LS_QUEUES LS_NODES LS_SCHEDULERS LS_WORKERS
ADD_PROCESSOR ADD_NODE ADD_PLUG ADD_PRIVILEGE ADD_QUEUE ADD_ROLE ADD_SCHEDULER ADD_SOCKET
ADD_USER UPDATE_PROCESSOR UPDATE_NODE UPDATE_PLUG UPDATE_PRIVILEGE UPDATE_QUEUE UPDATE_ROLE
UPDATE_SCHEDULER UPDATE_SOCKET UPDATE_USER DELETE_PROCESSOR DELETE_NODE DELETE_PLUG
DELETE_PRIVILEGE DELETE_QUEUE DELETE_ROLE DELETE_SCHEDULER DELETE_SOCKET DELETE_USER
READ_PROCESSOR READ_NODE READ_PLUG READ_PRIVILEGE READ_QUEUE READ_ROLE READ_SCHEDULER
READ_SOCKET READ_USER
"""


def test_a_password_is_kept_as_argon2id_and_no_answer_has_it(model):
    added = model.ask("add", "user", "joe", email="joe@example.org", password=SECRET)
    listed = model.ask("list", "user")
    got = model.ask("get", "user", "joe")

    kept = model.published[-1]["users"]["joe"]["password_hash"]
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.fits(kept, SECRET)
    for answer in (added, listed[0], got):
        assert answer["password"] is True
        assert not [option for option in HIDDEN["user"] if option in answer]
        assert SECRET not in json.dumps(answer)
        assert kept not in json.dumps(answer)


@pytest.mark.parametrize(
    "password", ["short", "x" * 2_000, 12345678, ["12345678"], "x" * 9 + "\ud800"]
)
def test_a_password_that_is_none_is_refused_and_not_shown(model, password):
    model.refresh()
    with pytest.raises(BadRequest, match="nothing was changed") as caught:
        model.ask("add", "user", "joe", password=password)

    assert str(password) not in caught.value.text
    assert model.ask("list", "user") == []


def test_a_hash_cannot_be_given(model):
    given = passwords.hashed(SECRET)
    for do in ("add", "update"):
        with pytest.raises(BadRequest, match="has no option 'password_hash'") as caught:
            model.ask(do, "user", "joe", password_hash=given)
        assert given not in caught.value.text


def test_the_same_password_is_the_same_user(model):
    model.ask("add", "user", "joe", password=SECRET)
    number = model.number

    model.ask("add", "user", "joe", password=SECRET, exists_ok=True)
    assert model.number == number
    with pytest.raises(ObjectExists, match="password_hash a secret, not a secret"):
        model.ask("add", "user", "joe", password=SECRET + "x", exists_ok=True)


@pytest.mark.parametrize(
    ("user", "password", "right"),
    [("joe", SECRET, True), ("joe", SECRET + "x", False), ("ann", SECRET, False),
     ("off", SECRET, False), ("bare", "", False), ("joe", None, False), ("joe", "\ud800", False)],
)  # fmt: skip
def test_a_password_is_looked_at_without_changing_anything(model, user, password, right):
    model.ask("add", "user", "joe", password=SECRET)
    model.ask("add", "user", "off", password=SECRET, enabled=False)
    model.ask("add", "user", "bare")
    number = model.number

    assert model.ask("verify", "user", user, password=password) is right
    assert model.number == number


def test_another_password_ends_the_first(model):
    model.ask("add", "user", "joe", password=SECRET)
    model.ask("update", "user", "joe", password="battery staple")

    assert model.ask("verify", "user", "joe", password=SECRET) is False
    assert model.ask("verify", "user", "joe", password="battery staple") is True
    model.ask("update", "user", "joe", password=None)
    assert model.ask("get", "user", "joe")["password"] is False


def test_whoever_has_only_a_login_cannot_change_its_password(model):
    model.ask("add", "user", "joe", password=SECRET)
    request = {"do": "update", "kind": "user", "name": "joe", "own": True}
    for old in ({}, {"old_password": "another one"}):
        with pytest.raises(NotAllowed, match="the old one is needed"):
            fields = {"password": "battery staple", **old}
            model.publisher.request({**request, "fields": fields}, 0)
    fields = {"password": "battery staple", "old_password": SECRET}
    model.publisher.request({**request, "fields": fields}, 0)
    assert model.ask("verify", "user", "joe", password="battery staple") is True


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("user", {"email": "nobody"}, "an address like ann@example.org"),
        ("user", {"enabled": "yes"}, "true or false"),
        ("user", {"roles": "dev"}, "a list of at most 64 names"),
        ("user", {"roles": ["dev", "dev"]}, "each once"),
        ("user", {"roles": ["dev"]}, "no role is named 'dev'"),
        ("user", {"keys": ["short"]}, "40 characters of Z85"),
        ("user", {"keys": [KEY, KEY]}, "each once"),
        ("user", {"signed_out_ms": -1}, "Unix milliseconds"),
        ("privilege", {"user": "joe"}, "must have a value for right"),
        ("privilege", {"user": "joe", "right": "FLY"}, "`mesh ls rights` shows them"),
        ("privilege", {"user": "joe", "right": "RUN_TAKS"}, "did you mean 'RUN_TASK'"),
        ("privilege", {"right": "RUN_TASK"}, "neither a user nor a role"),
        ("privilege", {"right": "RUN_TASK", "user": "joe", "role": "r"}, "a user and a role"),
        ("privilege", {"right": "RUN_TASK", "user": "nope"}, "no user is named 'nope'"),
        ("privilege", {"right": "RUN_TASK", "user": "joe", "on": "shop"}, "KIND:PATTERN"),
        ("privilege", {"right": "RUN_TASK", "user": "joe", "on": "procesor:x"}, "'processor'"),
        ("privilege", {"right": "RUN_TASK", "user": "joe", "on": "processor:[a]"}, "KIND:PATTERN"),
    ],
)  # fmt: skip
def test_what_cannot_be_declared_is_refused_in_words(model, kind, fields, said):
    model.ask("add", "user", "joe")
    number = model.number

    with pytest.raises(MeshError) as caught:
        model.ask("add", kind, "x", **fields)
    assert said in caught.value.text
    assert "nothing was changed" in caught.value.text
    assert model.number == number


def test_a_user_goes_with_its_privileges_and_a_role_stays_while_somebody_has_it(model):
    model.ask("add", "role", "dev")
    model.ask("add", "user", "joe", roles=["dev"])
    model.ask("add", "privilege", "p1", right="RUN_TASK", user="joe")
    model.ask("add", "privilege", "p2", right="RUN_TASK", role="dev")

    with pytest.raises(WrongState, match="role 'dev' is used by user 'joe'"):
        model.ask("delete", "role", "dev")
    assert len(model.ask("list", "privilege")) == 2
    assert model.ask("delete", "user", "joe")["deleted"] == ["privilege p1"]
    assert model.ask("delete", "role", "dev")["deleted"] == ["privilege p2"]
    assert model.ask("list", "privilege") == []


@pytest.fixture
def locked(model):
    """A processor with a password."""
    model.shop()
    model.ask("update", "processor", "shop", password=SECRET)
    return model


@pytest.mark.parametrize("do", ["update", "delete", "stop", "pause", "restart", "remove"])
@pytest.mark.parametrize("unlock", [{}, {"unlock": "a wrong one"}])
def test_a_locked_processor_is_not_changed_without_its_password(locked, do, unlock):
    fields = {**({"workers": 3} if do == "update" else {}), **unlock}
    number = locked.number

    with pytest.raises(NotAllowed, match="it is unchanged"):
        locked.ask(do, "processor", "shop", **fields)
    assert locked.number == number


def test_a_locked_processor_opens_to_its_password_and_to_an_admin(locked):
    stopped = locked.ask("stop", "processor", "shop", unlock=SECRET)
    assert stopped["requested_status"] == "stop"
    assert stopped["password"] is True
    request = {"do": "update", "kind": "processor", "name": "shop", "fields": {"workers": 3}}
    done, _ = locked.publisher.request({**request, "admin": True}, 0)
    assert done["workers"] == 3


def test_every_secret_is_hidden_and_the_rows_can_be_published(locked):
    check_snapshot(locked.published[-1])
    secrets = {(kind, name) for kind in KINDS for name in FIELDS[kind] if "password" in name}
    assert secrets == {(kind, name) for kind in KINDS for name in HIDDEN[kind]}
    assert secrets == {("user", "password_hash"), ("processor", "password_hash")}


def test_a_list_of_a_user_has_one_way_to_be_told():
    """Two nodes with one user must agree on its digest."""
    first = make_entry(("user", "joe"), 1, b"a" * 16, {"roles": ["x"], "enabled": True})
    second = make_entry(("user", "joe"), 1, b"a" * 16, {"enabled": True, "roles": ["x"]})
    assert first.mark == second.mark


def test_the_seeds_rights_are_all_there():
    assert [right for right in SEED.split() if right not in RIGHTS] == []
    assert contained("ALL") == set(RIGHTS)
    assert CONTAINED_IN["LS_USERS"] == {"LS_USERS", "READ", "ALL"}
    assert CONTAINED_IN["RUN_TASK"] == {"RUN_TASK", "ALL"}


def test_no_snapshot_for_people_and_no_step_has_a_password(model):
    model.ask("add", "user", "ann", password="correct horse battery")
    number = model.number

    shown = model.ask("snapshot")

    assert "password_hash" not in shown["users"]["ann"] and "argon2" not in str(shown)
    for do, kind, fields in (
        ("update", "user", {"password_hash": None}),
        ("add", "processor", {"git": "/x", "module": "m", "password_hash": "x"}),
    ):
        steps = [[do, kind, "ann", fields]]
        with pytest.raises(BadRequest, match="has no option 'password_hash'"):
            model.ask("apply", base=number, steps=steps)
    model.ask("apply", base=number, steps=[["update", "user", "ann", {"enabled": False}]])

    assert model.published[-1]["users"]["ann"]["password_hash"].startswith("$argon2id$")
