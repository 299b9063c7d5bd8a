"""Who may do what: a table, and the laws that hold for every model."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.model.rightnames import CONTAINED_IN, RIGHTS
from meshcode.model.rights import Grant, Rights, allowed


def user(*roles, enabled=True, keys=()):
    return {"roles": list(roles), "enabled": enabled, "keys": list(keys)}


def privilege(right, user=None, role=None, on=None, revoked=False):
    return {"right": right, "user": user, "role": role, "on": on, "revoked": revoked}


def model(users, privileges, roles=("dev", "admin")):
    return {
        "users": users,
        "roles": {role: {} for role in roles},
        "privileges": {str(at): one for at, one in enumerate(privileges)},
        "processors": {"shop": {"labels": {"env": "prod", "team": "x"}}, "bank": {"labels": None}},
        "networks": {"n1": {"labels": {"zone": "eu"}}},
        "queues": {"q": {"network": "n1"}, "free": {"network": None}},
        "sockets": {
            "shop.sell": {"processor": "shop", "queue": "q"},
            "bank.pay": {"processor": "bank", "queue": "free", "labels": {"env": "test"}},
        },
    }


P = privilege
TABLE = [
    # given, who has them, right, socket, whether
    ([], (), "RUN_TASK", "shop.sell", False),
    ([P("RUN_TASK", "joe")], (), "RUN_TASK", "shop.sell", True),
    ([P("RUN_TASK", "ann")], (), "RUN_TASK", "shop.sell", False),
    ([P("RUN_TASK", "joe")], (), "CANCEL_TASK", "shop.sell", False),
    ([P("ALL", "joe")], (), "ADMIN_NODE", None, True),
    ([P("READ", "joe")], (), "LS_USERS", None, True),
    ([P("READ", "joe")], (), "ADD_USER", None, False),
    ([P("CREATE", "joe")], (), "ADD_USER", None, True),
    ([P("UPDATE", "joe")], (), "UPDATE_QUEUE", None, True),
    ([P("DELETE", "joe")], (), "DELETE_QUEUE", None, True),
    ([P("LS_USERS", "joe")], (), "READ", None, False),
    ([P("RUN_TASK", role="dev")], ("dev",), "RUN_TASK", "shop.sell", True),
    ([P("RUN_TASK", role="dev")], (), "RUN_TASK", "shop.sell", False),
    ([P("RUN_TASK", role="gone")], ("gone",), "RUN_TASK", "shop.sell", False),
    ([], ("admin",), "RUN_TASK", "shop.sell", True),
    ([], ("admin",), "ADMIN_NODE", None, True),
    ([P("RUN_TASK", "joe", revoked=True)], ("admin",), "RUN_TASK", "shop.sell", False),
    ([P("RUN_TASK", "joe", revoked=True)], ("admin",), "CANCEL_TASK", "shop.sell", True),
    ([P("ALL", role="dev", revoked=True)], ("admin", "dev"), "LS_USERS", None, False),
    ([P("RUN_TASK", "joe"), P("RUN_TASK", role="dev", revoked=True)], ("dev",), "RUN_TASK",
     "shop.sell", False),
    ([P("RUN_TASK", "joe"), P("READ", "joe", revoked=True)], (), "RUN_TASK", "shop.sell", True),
    ([P("RUN_TASK", "joe", on="processor:shop")], (), "RUN_TASK", "shop.sell", True),
    ([P("RUN_TASK", "joe", on="processor:shop")], (), "RUN_TASK", "bank.pay", False),
    ([P("RUN_TASK", "joe", on="processor:s*")], (), "RUN_TASK", "shop.sell", True),
    ([P("RUN_TASK", "joe", on="socket:shop.*")], (), "RUN_TASK", "shop.sell", True),
    ([P("RUN_TASK", "joe", on="socket:shop.*")], (), "RUN_TASK", "bank.pay", False),
    ([P("RUN_TASK", "joe", on="queue:q")], (), "RUN_TASK", "shop.sell", True),
    ([P("RUN_TASK", "joe", on="network:n1")], (), "RUN_TASK", "shop.sell", True),
    ([P("RUN_TASK", "joe", on="network:n1")], (), "RUN_TASK", "bank.pay", False),
    ([P("RUN_TASK", "joe", on="processor:SHOP")], (), "RUN_TASK", "shop.sell", False),
    ([P("RUN_TASK", "joe", on="processor:shop")], (), "RUN_TASK", None, False),
    ([P("RUN_TASK", "joe", on="label:env=prod")], (), "RUN_TASK", "shop.sell", True),
    ([P("RUN_TASK", "joe", on="label:env=prod")], (), "RUN_TASK", "bank.pay", False),
    ([P("RUN_TASK", "joe", on="label:env=test")], (), "RUN_TASK", "bank.pay", True),
    ([P("RUN_TASK", "joe", on="label:env=p*")], (), "RUN_TASK", "shop.sell", True),
    ([P("RUN_TASK", "joe", on="label:env=p")], (), "RUN_TASK", "shop.sell", False),
    ([P("RUN_TASK", "joe", on="label:team=prod")], (), "RUN_TASK", "shop.sell", False),
    ([P("RUN_TASK", "joe", on="label:zone=eu")], (), "RUN_TASK", "shop.sell", True),
    ([P("RUN_TASK", "joe", on="label:zone=eu")], (), "RUN_TASK", "bank.pay", False),
    ([P("RUN_TASK", "joe"), P("RUN_TASK", "joe", on="label:env=prod", revoked=True)], (),
     "RUN_TASK", "shop.sell", False),
    ([P("RUN_TASK", "joe"), P("RUN_TASK", "joe", on="label:env=prod", revoked=True)], (),
     "RUN_TASK", "bank.pay", True),
    ([P("RUN_TASK", "joe"), P("ALL", "joe", on="processor:bank", revoked=True)], (), "RUN_TASK",
     "bank.pay", False),
    ([P("RUN_TASK", "joe"), P("ALL", "joe", on="processor:bank", revoked=True)], (), "RUN_TASK",
     "shop.sell", True),
]  # fmt: skip


@pytest.mark.parametrize(("given_", "roles", "right", "socket", "whether"), TABLE)
def test_the_table(given_, roles, right, socket, whether):
    snapshot = model({"joe": user(*roles), "ann": user()}, given_)
    rights = Rights(snapshot)
    places = rights.places("socket", socket) if socket else frozenset()

    assert rights.allowed("joe", right, places) is whether
    assert allowed(snapshot, "joe", right, places) is whether


@pytest.mark.parametrize("snapshot", [
    {},
    model({"joe": user("admin", enabled=False)}, [P("ALL", "joe")]),
    model({"ann": user("admin")}, [P("ALL", "joe")]),
])  # fmt: skip
def test_who_is_gone_or_disabled_may_do_nothing(snapshot):
    assert not [right for right in RIGHTS if Rights(snapshot).allowed("joe", right)]


@pytest.mark.parametrize(
    ("mine", "grant", "may"),
    [
        ([P("RUN_TASK", "joe")], Grant("RUN_TASK", None), True),
        ([P("RUN_TASK", "joe")], Grant("RUN_TASK", "processor:x"), True),
        ([P("RUN_TASK", "joe", on="processor:x")], Grant("RUN_TASK", "processor:x"), True),
        ([P("RUN_TASK", "joe", on="processor:x")], Grant("RUN_TASK", None), False),
        ([P("RUN_TASK", "joe", on="processor:x")], Grant("RUN_TASK", "processor:*"), False),
        ([P("RUN_TASK", "joe")], Grant("ALL", None), False),
        ([P("ALL", "joe")], Grant("ALL", None), True),
        ([P("ALL", "joe"), P("LS_USERS", "joe", revoked=True)], Grant("ALL", None), False),
        ([P("ALL", "joe"), P("LS_USERS", "joe", revoked=True)], Grant("RUN_TASK", None), True),
        ([P("ADD_USER", "joe")], Grant("CREATE", None), False),
    ],
)
def test_nobody_gives_more_than_it_has(mine, grant, may):
    assert Rights(model({"joe": user()}, mine)).may_give("joe", grant) is may


@pytest.mark.parametrize(
    ("do", "kind", "name", "fields", "missing"),
    [
        ("add", "privilege", "x", {"right": "ALL", "user": "joe"}, "ALL"),
        ("add", "privilege", "x", {"right": "ADD_USER", "user": "joe"}, None),
        ("add", "privilege", "x", {"right": "ALL", "user": "ann", "revoked": True}, None),
        ("update", "privilege", "0", {"right": "ALL"}, "ALL"),
        ("delete", "privilege", "0", {}, None),
        ("delete", "privilege", "2", {}, "RUN_TASK"),  # A denial.
        ("update", "privilege", "2", {"revoked": False}, "RUN_TASK"),
        ("update", "user", "joe", {"roles": ["admin"]}, "ALL"),
        ("update", "user", "root", {"password": "12345678"}, "ALL"),
        ("update", "user", "root", {"keys": []}, "ALL"),
        ("update", "user", "ann", {"password": "12345678"}, None),
        ("add", "user", "eve", {"roles": ["admin"]}, "ALL"),
        ("add", "user", "eve", {"roles": ["dev"]}, "DELETE_QUEUE"),
        ("add", "user", "eve", {}, None),
        ("delete", "user", "root", {}, "ALL"),
    ],
)
def test_nobody_climbs_by_changing_users(do, kind, name, fields, missing):
    snapshot = model(
        {"joe": user(), "ann": user(), "root": user("admin")},
        [P("ADD_USER", "joe"), P("UPDATE_USER", "joe"), P("RUN_TASK", "joe", revoked=True),
         P("DELETE_QUEUE", role="dev"), P("ADD_USER", "ann")],
    )  # fmt: skip
    found = Rights(snapshot).missing_to_change("joe", do, kind, name, fields)

    assert (found.right if found else None) == missing


_ONS = st.sampled_from([None, "processor:shop", "processor:*", "socket:bank.pay", "network:n1"])
_RIGHTS = st.sampled_from(["ALL", "READ", "CREATE", "RUN_TASK", "LS_USERS", "ADD_USER"])
_PRIVILEGES = st.builds(
    lambda right, whose, on, revoked: privilege(right, **whose, on=on, revoked=revoked),
    _RIGHTS,
    st.sampled_from([{"user": "joe"}, {"role": "dev"}, {"user": "ann"}]),
    _ONS,
    st.booleans(),
)
_USERS = st.sampled_from([(), ("dev",), ("admin",), ("dev", "admin"), ("nowhere",)])
QUESTIONS = [
    (right, socket) for right in ("RUN_TASK", "LS_USERS", "ADD_USER", "ADMIN_NODE")
    for socket in (None, "shop.sell", "bank.pay")
]  # fmt: skip


def answers(roles, privileges):
    rights = Rights(model({"joe": user(*roles), "ann": user()}, privileges))
    return {
        (right, socket): rights.allowed(
            "joe", right, rights.places("socket", socket) if socket else frozenset()
        )
        for right, socket in QUESTIONS
    }


ON_PROD = P("RUN_TASK", "ann", on="label:env=prod")
NOT_ON_PROD = P("RUN_TASK", "ann", on="label:env=prod", revoked=True)


@pytest.mark.parametrize(
    ("mine", "others", "do", "name", "labels", "missing"),
    [
        # What comes under a label comes under what others were given on it.
        ([], [ON_PROD], "update", "bank.pay", {"env": "prod"}, "RUN_TASK"),
        ([], [ON_PROD], "add", "new", {"env": "prod"}, "RUN_TASK"),
        ([P("RUN_TASK", "joe")], [ON_PROD], "update", "bank.pay", {"env": "prod"}, None),
        ([P("RUN_TASK", "joe", on="socket:bank.*")], [ON_PROD], "update", "bank.pay",
         {"env": "prod"}, None),
        ([P("RUN_TASK", "joe", on="label:env=prod")], [], "update", "bank.pay", {"env": "prod"},
         "RUN_TASK"),
        ([], [ON_PROD], "update", "bank.pay", {"env": "dev"}, None),
        ([], [ON_PROD], "update", "prod.x", {"env": "prod"}, None),
        ([], [ON_PROD], "update", "prod.x", None, None),
        # What leaves a label leaves what is denied on it.
        ([], [NOT_ON_PROD], "update", "prod.x", None, "RUN_TASK"),
        ([], [NOT_ON_PROD], "update", "prod.x", {"env": "dev"}, "RUN_TASK"),
        ([], [NOT_ON_PROD], "update", "bank.pay", {"env": "prod"}, None),
        ([P("RUN_TASK", "joe")], [NOT_ON_PROD], "update", "prod.x", {}, None),
        ([P("RUN_TASK", "joe"), P("RUN_TASK", "joe", on="label:env=prod", revoked=True)], [],
         "update", "prod.x", {}, "RUN_TASK"),
        ([], [NOT_ON_PROD], "delete", "prod.x", {}, None),
        # Nothing that the model would refuse anyway is taken for a label.
        ([], [ON_PROD], "update", "bank.pay", {"env": ["prod"], 3: "prod"}, None),
        ([], [ON_PROD], "update", "bank.pay", "env=prod", None),
    ],
)  # fmt: skip
def test_a_label_hands_out_no_right_that_its_giver_has_not(mine, others, do, name, labels, missing):
    snapshot = model({"joe": user(), "ann": user()}, [*mine, *others])
    snapshot["sockets"]["prod.x"] = {"processor": "bank", "labels": {"env": "prod"}}

    found = Rights(snapshot).missing_to_change("joe", do, "socket", name, {"labels": labels})

    assert (found and found.right) == missing


ON_Q = P("RUN_TASK", "ann", on="queue:q")
NOT_ON_FREE = P("RUN_TASK", role="dev", on="queue:fre*", revoked=True)


@pytest.mark.parametrize(
    ("mine", "others", "kind", "name", "fields", "missing"),
    [
        # What comes to a place comes under what others, or oneself, were given there.
        ([], [ON_Q], "socket", "bank.pay", {"queue": "q"}, "RUN_TASK"),
        ([P("RUN_TASK", "joe", on="queue:q")], [], "socket", "bank.pay", {"queue": "q"},
         "RUN_TASK"),
        ([P("RUN_TASK", "joe", on="network:n1")], [], "queue", "free", {"network": "n1"},
         "RUN_TASK"),
        ([P("RUN_TASK", "joe", on="label:zone=eu")], [], "socket", "bank.pay", {"queue": "q"},
         "RUN_TASK"),
        ([], [P("READ_LOG", "ann", on="processor:shop")], "socket", "bank.pay",
         {"processor": "shop"}, "READ_LOG"),
        ([P("RUN_TASK", "joe")], [ON_Q], "socket", "bank.pay", {"queue": "q"}, None),
        ([P("RUN_TASK", "joe", on="processor:bank")], [ON_Q], "socket", "bank.pay",
         {"queue": "q"}, None),
        ([], [ON_Q], "socket", "bank.pay", {"queue": "elsewhere"}, None),
        ([], [ON_Q], "socket", "bank.pay", {"priority": 1}, None),
        ([], [ON_Q], "socket", "shop.sell", {"queue": "q"}, None),
        # What leaves a place leaves what is denied there.
        ([P("RUN_TASK", "joe")], [NOT_ON_FREE], "socket", "bank.pay", {"queue": "q"}, "RUN_TASK"),
        ([], [P("RUN_TASK", "ann", on="network:*", revoked=True)], "queue", "q",
         {"network": None}, "RUN_TASK"),
        ([P("RUN_TASK", "joe")], [P("RUN_TASK", "ann", on="queue:free", revoked=True)], "socket",
         "bank.pay", {"queue": "q"}, None),
        # Nothing that the model would refuse anyway is taken for a place.
        ([], [ON_Q], "socket", "bank.pay", {"queue": ["q"]}, None),
    ],
)  # fmt: skip
def test_moving_an_object_hands_out_no_right_that_its_mover_has_not(
    mine, others, kind, name, fields, missing
):
    """Joe is in role dev."""
    rights = Rights(model({"joe": user("dev"), "ann": user()}, [*mine, *others]))

    found = rights.missing_to_change("joe", "update", kind, name, fields)

    assert (found and found.right) == missing


@pytest.mark.parametrize(
    ("do", "kind", "name", "fields", "missing"),
    [
        ("update", "user", "ann", {"roles": []}, "RUN_TASK"),
        ("update", "user", "ann", {"roles": ["other"]}, "RUN_TASK"),
        ("update", "user", "ann", {"roles": ["dev", "other"]}, None),
        ("update", "user", "ann", {"email": "x@example.org"}, None),
        ("update", "role", "dev", {"description": "x"}, None),
        ("delete", "role", "dev", {}, "RUN_TASK"),
        ("delete", "role", "other", {}, None),
    ],
)
def test_who_takes_a_role_away_gives_what_the_role_denies(do, kind, name, fields, missing):
    users = {"joe": user(), "ann": user("dev")}
    privileges = [P("RUN_TASK", role="dev", on="queue:q", revoked=True)]
    rights = Rights(model(users, privileges, roles=("dev", "other")))

    found = rights.missing_to_change("joe", do, kind, name, fields)

    assert (found and found.right) == missing


@settings(max_examples=300)
@given(_USERS, st.lists(_PRIVILEGES, max_size=6), _PRIVILEGES)
def test_one_privilege_more_takes_rights_away_only_when_it_revokes(roles, privileges, more):
    before, after = answers(roles, privileges), answers(roles, [*privileges, more])

    for question in QUESTIONS:
        if more["revoked"]:
            assert after[question] <= before[question]
        else:
            assert after[question] >= before[question]


@settings(max_examples=300)
@given(_USERS, st.lists(_PRIVILEGES, max_size=6), _RIGHTS)
def test_a_revoked_right_is_gone_whatever_else_is_given(roles, privileges, right):
    found = answers(roles, [*privileges, privilege(right, "joe", revoked=True)])

    assert not [q for q in QUESTIONS if right in CONTAINED_IN[q[0]] and found[q]]


@settings(max_examples=300)
@given(_USERS, st.lists(_PRIVILEGES, max_size=6))
def test_nothing_is_allowed_that_nobody_gave(roles, privileges):
    mine = [
        p for p in privileges
        if not p["revoked"] and (p["user"] == "joe" or (p["role"] == "dev" and "dev" in roles))
    ]  # fmt: skip
    for (right, _), yes in answers(roles, privileges).items():
        if yes:
            assert "admin" in roles or any(p["right"] in CONTAINED_IN[right] for p in mine)


@settings(max_examples=200)
@given(_USERS, st.lists(_PRIVILEGES, max_size=6), _RIGHTS)
def test_everywhere_is_stronger_than_any_place_and_somewhere_is_weaker(roles, privileges, right):
    rights = Rights(model({"joe": user(*roles), "ann": user()}, privileges))
    for socket in ("shop.sell", "bank.pay"):
        here = rights.allowed("joe", right, rights.places("socket", socket))
        assert rights.allowed_everywhere("joe", right) <= here
        assert here <= rights.allowed_somewhere("joe", right)


def test_a_right_that_allows_nothing_says_so_and_its_name_stays():
    """A grant that names it is kept; nobody is to believe that it lets one change versions."""
    assert RIGHTS["DELETE_VERSION"] == "nothing: nobody may remove a version"
    assert RIGHTS["READ_VERSION"] == "see one version"
    assert not [right for right in RIGHTS if "nothing" in RIGHTS[right] and "VERSION" not in right]
