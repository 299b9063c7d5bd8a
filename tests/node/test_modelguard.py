"""What changes and readings of the model need: each object, each step, and what goes along."""

from __future__ import annotations

import pytest

from meshcode.errors import BadRequest, NotAllowed, UnknownObject
from meshcode.model.changes import CHANGES, QUESTIONS
from meshcode.model.kinds import KINDS
from meshcode.model.rightnames import ALL
from meshcode.node.modelguard import model_right
from tests.node.test_guard import HASH, JOE, joe_with, model


def test_every_way_to_change_the_model_needs_a_right_of_its_own():
    whole = {"verify", "snapshot", "apply", "declare"}
    for do in (*QUESTIONS, *CHANGES):
        for kind in KINDS:
            assert (model_right(do, kind) == ALL) == (do in whole), (do, kind)
    assert model_right("drop", "queue") == model_right("add", "nothing") == ALL


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
        ([], ("update", "user", "joe", {"signed_out_ms": 1 << 53}), False),
        ([], ("update", "user", "joe", {"password": "a", "signed_out_ms": 1}), False),
        ([("UPDATE_USER",)], ("update", "user", "joe", {"signed_out_ms": 1}), True),
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
        ([("ADD_QUEUE",)], ("add", "queue", "n", {"dead_letter": "s"}), False),
        ([("ADD_QUEUE",), ("RUN_TASK", "socket:s")],
         ("add", "queue", "n", {"dead_letter": "s"}), True),
        ([("ADD_QUEUE",)], ("add", "queue", "n", {"dead_letter": None}), True),
        ([("ADD_QUEUE",), ("RUN_TASK", "socket:t")],
         ("add", "queue", "n", {"dead_letter": "s"}), False),
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


def test_what_is_no_list_of_objects_is_refused_whoever_asks():
    guard, who = joe_with(("ALL",))
    for objects in (None, [], [5], [_of("user", "root")], [{**_of("queue", "q"), "extra": 1}]):
        with pytest.raises(BadRequest, match="nothing was changed"):
            guard.check(who, "model", b"1", {"do": "declare", "fields": {"objects": objects}})


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


def apply(guard, who, *steps):
    fields = {"do": "apply", "fields": {"base": 1, "steps": [list(step) for step in steps]}}
    guard.check(who, "model", b"", fields)


def test_what_is_revoked_cannot_be_done_by_a_step_among_many():
    guard, who = joe_with((ALL,), ("DELETE_QUEUE", None, True), ("UNLOCK_PROCESSOR", None, True))
    snapshot = dict(guard.rights._snapshot)
    snapshot["processors"] = {"p": {"password_hash": HASH}, "other": {"password_hash": None}}
    guard.changed(snapshot)

    apply(guard, who, ("add", "queue", "new", {}), ("update", "socket", "s", {"priority": 1}))
    with pytest.raises(NotAllowed, match="DELETE_QUEUE on queue 'q'"):
        apply(guard, who, ("add", "queue", "new", {}), ("delete", "queue", "q", {}))
    for step in (
        ("update", "processor", "p", {"workers": 2}), ("delete", "processor", "p", {}),
        ("add", "override", "p.do", {"processor": "p", "task": "do", "code": "x"}),
    ):  # fmt: skip
        with pytest.raises(NotAllowed, match=r"UNLOCK_PROCESSOR on (processor 'p'|override)"):
            apply(guard, who, step)
    apply(guard, who, ("update", "processor", "other", {"workers": 2}))  # It has no password.
    with pytest.raises(NotAllowed, match="would hand out DELETE_QUEUE"):
        apply(guard, who, ("add", "privilege", "more", {"right": "DELETE_QUEUE", "user": "joe"}))


def test_a_plan_needs_the_rights_of_its_steps_and_a_refusal_names_all_that_are_missing():
    guard, who = joe_with(
        ("ADD_QUEUE",), ("UPDATE_SOCKET", "processor:p"), ("UPDATE_QUEUE",),
        ("UPDATE_QUEUE", "queue:bank", True),
    )  # fmt: skip
    good = [("add", "queue", "new", {}), ("update", "queue", "new", {"max_length": 1}),
            ("update", "socket", "s", {"priority": 1})]  # fmt: skip
    apply(guard, who, *good)

    bad = [
        ("update", "socket", "t", {"priority": 1}), ("add", "network", "n1", {}),
        ("add", "network", "n2", {}), ("add", "network", "n3", {}), ("add", "network", "n4", {}),
        ("update", "queue", "bank", {"max_length": 1}),
        ("add", "schedule", "n", {"socket": "s", "interval_ms": 1_000}),
        ("add", "privilege", "x", {"right": "ALL", "user": "joe"}),
    ]
    with pytest.raises(NotAllowed) as caught:
        apply(guard, who, *good, *bad)

    text = caught.value.text
    assert text.startswith("user joe may not make 8 of these 11 changes, and needs for them:")
    for said in (
        "UPDATE_SOCKET on socket 't'", "ADD_NETWORK on network 'n1', 'n2', 'n3' and 1 more",
        "UPDATE_QUEUE on queue 'bank' (revoked)", "ADD_SCHEDULE on schedule 'n'",
        "RUN_TASK on socket 's'", "ADD_PRIVILEGE on privilege 'x'", "ALL (to hand it out)",
        "nothing was done",
        "`mesh add privilege -u joe -n UPDATE_SOCKET --on socket:t`",
    ):  # fmt: skip
        assert said in text
    assert ["ADD_NETWORK", "network:n4"] in caught.value.fields["missing"]
    assert len(caught.value.fields["missing"]) == 10


@pytest.mark.parametrize(
    ("privileges", "steps", "missing"),
    [
        # The role has ALL as soon as it is there.
        ([("ADD_ROLE",), ("ADD_USER",), ("UPDATE_USER",)],
         [("add", "role", "admin", {}), ("add", "user", "x", {"roles": ["admin"]})], "ALL"),
        ([("ADD_ROLE",), ("UPDATE_USER",), ("ADD_PRIVILEGE",)],
         [("add", "role", "r", {}),
          ("add", "privilege", "x", {"right": "DELETE_QUEUE", "role": "r"}),
          ("update", "user", "joe", {"roles": ["r"]})], "DELETE_QUEUE"),
        # What is in a processor that gets a label is under the label.
        ([("ADD_SOCKET",), ("ADD_PROCESSOR",), ("ADD_SOCKET", "label:env=prod", True)],
         [("add", "processor", "mine", {"labels": {"env": "prod"}}),
          ("add", "socket", "n", {"processor": "mine"})], "ADD_SOCKET"),
        # And what was moved is where it is now.
        ([("UPDATE_SOCKET",), ("UPDATE_SOCKET", "processor:other", True)],
         [("update", "socket", "s", {"processor": "other"})], "UPDATE_SOCKET"),
        ([("ADD_QUEUE", "network:*"), ("ADD_NETWORK",), ("ADD_SOCKET", "network:n")],
         [("add", "network", "n", {}), ("add", "queue", "new", {"network": "n"}),
          ("add", "socket", "m", {"queue": "new", "processor": "p"})], None),
        # Options that cannot be are for the model to refuse.
        ([("ADD_PRIVILEGE",), ("ADD_ROLE",)],
         [("add", "privilege", "x", {"right": ["ALL"], "user": 5}),
          ("add", "role", "r", {"description": b"x"})], None),
    ],
)  # fmt: skip
def test_each_step_is_looked_at_as_if_it_came_after_those_before(privileges, steps, missing):
    guard, who = joe_with(*privileges)
    if missing is None:
        apply(guard, who, *steps)
    else:
        with pytest.raises(NotAllowed) as caught:
            apply(guard, who, *steps)
        assert missing in caught.value.text
        assert caught.value.fields["right"] == missing or missing in str(caught.value.fields)
    assert guard.rights.is_declared("queue", "new") is False  # It was only thought.


def test_who_may_read_something_is_shown_that_of_the_model():
    ask = ("model", b"1", {"do": "snapshot"})
    for right in ("READ", "READ_QUEUE", "LS_QUEUES", "VIEW_PROCESSOR_CODE"):
        guard, who = joe_with((right, "queue:*"))
        guard.check(who, *ask)
    for privileges in ((), (("LS_FILES",),), (("UPDATE",),), (("READ",), ("READ", None, True))):
        guard, who = joe_with(*privileges)
        with pytest.raises(NotAllowed, match="may read no object of the model, of any kind"):
            guard.check(who, *ask)


@pytest.mark.parametrize(
    ("privileges", "kind", "name", "may"),
    [
        ([("LS_USERS",)], "user", "ann", True),
        ([("LS_USERS", "user:a*")], "user", "ann", True),
        ([("LS_USERS", "user:b*")], "user", "ann", False),
        ([("LS_USERS",), ("READ_USER", "user:ann", True)], "user", "ann", False),
        ([("LS_USERS",), ("READ_USER", "user:ann", True)], "user", "bob", True),
        ([("LS_USERS",), ("READ_USER", "user:ann", True)], "user", "some-id", False),
        ([("LS_USERS",)], "user", "some-id", True),
        ([("LS_PROCESSORS", "label:env=prod")], "processor", "p", True),
        ([("LS_PROCESSORS", "label:env=prod")], "processor", "other", False),
        ([("LS_FILES",)], "file", "notes", False),  # A listing has no content.
        ([("LS_FLOWS",)], "flow", "night", False),
        ([("READ_FILE",)], "file", "notes", True),
    ],
)
def test_what_a_listing_has_is_shown_one_by_one(privileges, kind, name, may):
    guard, who = joe_with(*privileges)
    guard.changed({**guard.rights._snapshot, "users": {
        **model(ann={}, bob={})["users"], **guard.rights.users,
    }})  # fmt: skip
    request = {"do": "get", "kind": kind, "name": name}
    if may:
        guard.check(who, "model", b"1", request)
    else:
        with pytest.raises(NotAllowed, match=f"may not READ_{kind.upper()}"):
            guard.check(who, "model", b"1", request)


@pytest.mark.parametrize(
    ("privileges", "request_", "right"),
    [
        ([("DELETE_NETWORK",), ("DELETE_QUEUE", "queue:bank", True)],
         ("delete", "network", "n", {}), "DELETE_QUEUE on queue 'bank'"),
        ([("DELETE_PROCESSOR",), ("DELETE_DEPLOYMENT", "deployment:d", True)],
         ("remove", "processor", "p", {}), "DELETE_DEPLOYMENT on deployment 'd'"),
        ([("DELETE_PROCESSOR",), ("UPDATE_TASK", "processor:p", True)],
         ("remove", "processor", "p", {}), "UPDATE_TASK on override 'p.do'"),
        ([("UPDATE_PROCESSOR",), ("STOP_PROCESSOR", "processor:p", True)],
         ("update", "processor", "p", {"requested_status": "stop"}), "STOP_PROCESSOR"),
        ([("UPDATE_PROCESSOR",), ("START_PROCESSOR", None, True)],
         ("update", "processor", "other", {"requested_status": "start"}), "START_PROCESSOR"),
        ([("UPDATE_PROCESSOR",), ("UPDATE_DEPLOYMENT", "processor:p", True)],
         ("update", "processor", "p", {"workers": 4}), "UPDATE_DEPLOYMENT on deployment 'd'"),
    ],
)  # fmt: skip
def test_what_changes_along_with_an_object_is_looked_at_too(privileges, request_, right):
    """What is revoked is not done by a way round."""
    there = {
        "networks": {"n": {}}, "queues": {"bank": {"network": "n"}},
        "deployments": {"d": {"processor": "p"}}, "overrides": {"p.do": {"processor": "p"}},
        "processors": {"p": {"requested_status": "start"}, "other": {"requested_status": "stop"}},
    }
    do, kind, name, fields = request_
    request = {"do": do, "kind": kind, "name": name, "fields": fields}
    for given in (privileges[:1], privileges):
        guard, who = joe_with(*given)
        guard.changed({**guard.rights._snapshot, **there})
        if given == privileges:
            with pytest.raises(NotAllowed, match=f"{right}.*it is revoked"):
                guard.check(who, "model", b"1", request)
        else:
            guard.check(who, "model", b"1", request)


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
