"""The whole model for a user: what it may read, what is left out, and plans within its rights."""

from __future__ import annotations

from typing import Any

import pytest

from meshcode.errors import NotAllowed
from tests.model.conftest import NOW_MS, Model

REPO = {"git": "/srv/shop", "module": "m"}


def ask(model: Model, do: str, **fields: Any) -> Any:
    """As joe."""
    model.refresh()
    request = {"do": do, "fields": fields, "principal": "joe", "by": "joe"}
    data, snapshot = model.publisher.request(request, NOW_MS)
    if snapshot is not None:
        model.published.append(snapshot)
    return data


def give(model: Model, *privileges: tuple[Any, ...]) -> None:
    for at, (right, *rest) in enumerate(privileges):
        on, revoked = (*rest, None, None)[:2]
        given = {"right": right, "user": "joe", "on": on, "revoked": revoked}
        given = {name: value for name, value in given.items() if value is not None}
        model.ask("add", "privilege", f"p{at}", **given)


@pytest.fixture
def joe(model: Model) -> Model:
    model.ask("add", "user", "joe")
    model.ask("add", "user", "ann", password="correct horse")
    for name in ("q1", "q2", "bank"):
        model.ask("add", "queue", name)
    model.ask("add", "processor", "shop", **REPO)
    model.ask("add", "processor", "bank", **REPO, env={"KEY": "x"})
    model.ask("add", "file", "notes", content="secret")
    return model


@pytest.mark.parametrize(
    ("privileges", "seen", "left_out"),
    [
        ((), {"users": ["joe"]}, {"users": 1, "queues": 3, "processors": 2, "files": 1,
                                  "versions": 1}),
        ([("READ_QUEUE",)], {"users": ["joe"], "queues": ["bank", "q1", "q2"]},
         {"users": 1, "processors": 2, "files": 1, "versions": 1}),
        ([("LS_QUEUES",), ("READ_QUEUE", "queue:bank", True)],
         {"users": ["joe"], "queues": ["q1", "q2"]},
         {"users": 1, "queues": 1, "processors": 2, "files": 1, "versions": 1}),
        ([("READ", "processor:shop"), ("LS_FILES",)], {"users": ["joe"], "processors": ["shop"]},
         {"users": 1, "queues": 3, "processors": 1, "files": 1, "versions": 1}),
        ([("READ",), ("READ_FILE", None, True), ("READ_USER", "user:ann", True)],
         {"users": ["joe"], "queues": ["bank", "q1", "q2"], "processors": ["bank", "shop"],
          "versions": ["file:notes@1"]}, {"users": 1, "files": 1}),
    ],
)  # fmt: skip
def test_a_user_sees_of_the_model_what_it_may_read_and_how_much_it_does_not(
    joe, privileges, seen, left_out
):
    give(joe, *privileges)

    found = ask(joe, "snapshot")

    wanted = ("queues", "processors", "users", "files", "versions")
    names = {plural: sorted(found[plural]) for plural in wanted if found[plural]}
    assert names == seen
    told = {plural: found["left_out"].get(plural) for plural in wanted}
    assert {plural: count for plural, count in told.items() if count} == left_out
    assert found["number"] == joe.number
    assert "password_hash" not in str(found)
    assert "left_out" not in joe.ask("snapshot")


def test_a_plan_of_a_user_is_looked_at_row_by_row_here_as_well(joe):
    give(joe, ("ADD_QUEUE",), ("UPDATE_QUEUE",), ("UPDATE_QUEUE", "queue:bank", True))
    base = joe.number
    steps = [["add", "queue", "new", {}], ["update", "queue", "q1", {"max_length": 5}]]
    for wrong, right in (
        (["update", "queue", "bank", {"max_length": 5}], "UPDATE_QUEUE on queue 'bank'"),
        (["delete", "queue", "q2", {}], "DELETE_QUEUE on queue 'q2'"),
        (["add", "network", "n", {}], "ADD_NETWORK on network 'n'"),
    ):
        with pytest.raises(NotAllowed, match=f"may not {right}"):
            ask(joe, "apply", base=base, steps=[*steps, wrong])

    assert ask(joe, "apply", base=base, steps=steps) == {"added": 1, "changed": 1, "deleted": 0}
    assert joe.ask("get", "queue", "new")["owner"] == "joe"


def test_an_override_of_a_plan_is_in_the_name_of_who_applies_it(joe):
    give(joe, ("UPDATE_TASK", "processor:shop"))
    code = {"processor": "shop", "task": "do", "code": "def do(): pass", "by": "ann", "made_ms": 1}

    ask(joe, "apply", base=joe.number, steps=[["add", "override", "shop.do", code]])

    found = joe.ask("get", "override", "shop.do")
    assert (found["by"], found["made_ms"]) == ("joe", NOW_MS)
