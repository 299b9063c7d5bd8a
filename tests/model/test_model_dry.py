"""A dry run: checked as the real one is, and undone."""

from __future__ import annotations

import pytest

from meshcode.errors import BadRequest, MeshError, WrongState


def ask(model, do, kind, name, *, dry=True, **fields):
    request = {"do": do, "kind": kind, "name": name, "fields": fields, "dry": dry}
    return model.publisher.request(request, model.now_ms)


@pytest.mark.parametrize(
    ("do", "kind", "name", "fields"),
    [
        ("add", "queue", "new", {"max_length": 5}),
        ("update", "queue", "orders", {"max_length": 5}),
        ("delete", "deployment", "shop-here", {}),
        ("stop", "processor", "shop", {}),
        ("restart", "processor", "shop", {}),
    ],
)
def test_it_answers_as_the_real_one_and_changes_nothing(model, do, kind, name, fields):
    model.shop()
    before = {k: model.ask("list", k) for k in ("queue", "processor", "deployment")}
    number = model.number

    answer, snapshot = ask(model, do, kind, name, **fields)

    assert snapshot is None
    assert model.refresh() is None
    assert model.number == number
    assert {k: model.ask("list", k) for k in ("queue", "processor", "deployment")} == before
    real = model.ask(do, kind, name, **fields)
    unlike = ("id",)  # A new object gets one of its own each time.
    assert {k: v for k, v in answer.items() if k not in unlike} == {
        k: v for k, v in real.items() if k not in unlike
    }


def test_what_is_refused_is_refused_in_a_dry_run(model):
    model.shop()
    for do, kind, name, fields in (
        ("delete", "queue", "orders", {}), ("add", "queue", "orders", {}),
        ("add", "socket", "s", {"processor": "none", "task": "t", "queue": "orders"}),
    ):  # fmt: skip
        with pytest.raises(MeshError) as dry:
            ask(model, do, kind, name, **fields)
        with pytest.raises(MeshError) as real:
            ask(model, do, kind, name, dry=False, **fields)
        assert dry.value.text == real.value.text


def test_a_later_change_is_not_held_up(model):
    model.shop()
    ask(model, "delete", "deployment", "shop-here")

    with pytest.raises(WrongState):
        model.ask("delete", "queue", "orders")

    assert model.ask("add", "queue", "second")["name"] == "second"


def test_dry_is_true_or_false(model):
    model.shop()

    with pytest.raises(BadRequest, match="dry is 'yes'"):
        ask(model, "add", "queue", "new", dry="yes")
