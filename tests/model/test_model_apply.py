"""Many steps on a real database: all or none, one number, and only on the model they were for."""

from __future__ import annotations

import pytest

from meshcode.errors import BadRequest, CallerError, WrongState
from meshcode.model.plan import plan_file, plan_removal
from meshcode.model.snapshot import shown
from meshcode.model.steps import model_of

WANTED = {
    "network": {"n": {}},
    "node": {"here": {"network": "n", "cpus": 2}},
    "queue": {"lost": {}, "orders": {"overflow": "dead-letter", "dead_letter": "keep"}},
    "processor": {"shop": {"git": "/srv/shop", "module": "shop", "env": {"A": "b"}}},
    "socket": {
        "clean": {"processor": "shop", "task": "clean", "queue": "orders"},
        "keep": {"processor": "shop", "task": "keep", "queue": "lost"},
    },
    "deployment": {"shop-here": {"processor": "shop", "cpus": 2}},
    "plug": {"p": {"source": "clean", "target": "keep"}},
    "gate": {"g": {"plug": "p", "mode": "closed"}},
}


def run(model, plan_of):
    """Plan from what the model says and apply it."""
    found = model.ask("snapshot")
    plan = plan_of(model_of(found))
    assert plan.problems == []
    steps = [step.row() for step in plan.steps]
    return model.ask("apply", base=found["number"], steps=steps)


def test_a_file_is_one_change_of_the_model(model):
    done = run(model, lambda current: plan_file(current, WANTED))

    assert done == {"added": 10, "changed": 0, "deleted": 0}
    assert [snapshot["number"] for snapshot in model.published] == [0, 1]
    assert model.ask("snapshot") == shown(model.published[-1])
    assert model.ask("get", "queue", "orders")["dead_letter"] == "keep"
    row = model.ask("get", "processor", "shop")
    assert (row["env"], row["owner"], row["revision"]) == ({"A": "b"}, "ann", 1)
    assert (row["created_ms"], row["restarted"], row["status"]) == (model.now_ms, 0, "ready")


def test_nothing_to_do_is_no_new_number(model):
    run(model, lambda current: plan_file(current, WANTED))

    done = run(model, lambda current: plan_file(current, WANTED))

    assert done == {"added": 0, "changed": 0, "deleted": 0}
    assert model.number == 1


def test_a_row_that_changes_counts_a_revision_and_the_others_stay(model):
    run(model, lambda current: plan_file(current, WANTED))
    before = model.ask("get", "queue", "lost")
    model.now_ms += 5
    wanted = {"queue": {**WANTED["queue"], "lost": {"max_length": 7}}}

    done = run(model, lambda current: plan_file(current, wanted))

    after = model.ask("get", "queue", "lost")
    assert done == {"added": 0, "changed": 1, "deleted": 0}
    assert after == before | {"max_length": 7, "revision": 2, "updated_ms": model.now_ms}
    assert model.ask("get", "queue", "orders")["revision"] == 1


def test_options_of_every_type_change(model):
    run(model, lambda current: plan_file(current, WANTED))
    shop = {"git": "/srv/other", "module": "shop", "env": {"C": "d"}, "workers": 3}
    wanted = {
        "processor": {"shop": {**shop, "retry_delay_ms": 5}},
        "node": {"here": {}},
        "gate": {"g": {"plug": "p", "mode": "task", "socket": "keep"}},
    }

    done = run(model, lambda current: plan_file(current, wanted))

    row = model.ask("get", "processor", "shop")
    assert done == {"added": 0, "changed": 3, "deleted": 0}
    assert (row["git"], row["env"], row["workers"]) == ("file:///srv/other", {"C": "d"}, 3)
    assert (row["retry_delay_ms"], row["revision"], row["restarted"]) == (5, 2, 0)
    node = model.ask("get", "node", "here")
    assert (node["network"], node["cpus"]) == (None, None)
    assert shown(model.published[-1]) == model.ask("snapshot")


def test_all_of_it_goes_in_one_change(model):
    run(model, lambda current: plan_file(current, WANTED))
    names = [(kind, name) for kind, objects in WANTED.items() for name in objects]

    done = run(model, lambda current: plan_removal(current, names))

    assert done == {"added": 0, "changed": 0, "deleted": 10}
    assert model.number == 2
    assert all(not model.published[-1][kind + "s"] for kind in WANTED)


def test_a_plan_of_an_older_model_is_refused_with_both_numbers(model):
    steps = [["add", "queue", "mine", {}]]
    base = model.ask("snapshot")["number"]
    model.ask("add", "queue", "theirs")

    with pytest.raises(WrongState) as caught:
        model.ask("apply", base=base, steps=steps)

    assert caught.value.text == (
        "the model is at number 1 and the plan was made from 0; nothing was changed;"
        " make the plan again"
    )
    assert caught.value.fields == {"number": 1, "base": 0}
    assert list(model.ask("snapshot")["queues"]) == ["theirs"]


def test_a_wrong_step_undoes_those_before_it(model):
    model.refresh()
    steps = [["add", "queue", "a", {}], ["add", "queue", "b", {"max_length": 0}]]

    with pytest.raises(CallerError):
        model.ask("apply", base=0, steps=steps)

    assert model.ask("list", "queue") == []
    assert model.number == 0


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "the base is None; it must be the number of a snapshot; nothing was changed"),
        ({"base": True}, "the base is True; it must be the number of a snapshot; nothing was"
         " changed"),
        ({"base": 0, "steps": 3}, "the steps are 3; they must be a list; nothing was changed"),
        ({"base": 0, "steps": [], "force": 1}, "this request takes no option 'force'; it has:"
         " base, steps; nothing was changed"),
    ],
)  # fmt: skip
def test_a_request_that_is_none_is_refused(model, fields, text):
    with pytest.raises(BadRequest) as caught:
        model.ask("apply", **fields)

    assert caught.value.text == text


def test_who_applies_owns_what_is_added(model):
    model.refresh()
    steps = [["add", "queue", "q", {}]]
    request = {"do": "apply", "fields": {"base": 0, "steps": steps}, "by": "bob"}

    model.publisher.request(request, model.now_ms)

    assert model.ask("get", "queue", "q")["owner"] == "bob"
