"""`localhost` in a deployment is the node that is asked, once it has a name."""

from __future__ import annotations

import pytest

from meshcode.node.requests import name_localhost


def of(kind, host):
    return {"kind": kind, "name": "x", "options": {"host": host}}


@pytest.mark.parametrize("do", ["add", "update"])
def test_in_one_object(do):
    asked = {"do": do, "kind": "deployment", "name": "d", "fields": {"host": "localhost"}}

    name_localhost(asked, "n1")

    assert asked["fields"] == {"host": "n1"}


def test_in_objects_of_a_class_and_nothing_else_of_them():
    rows = [of("deployment", "localhost"), of("node", "localhost"), of("deployment", "h2")]

    name_localhost({"do": "declare", "fields": {"objects": rows}}, "n1")

    assert [row["options"]["host"] for row in rows] == ["n1", "localhost", "h2"]


@pytest.mark.parametrize(
    "asked",
    [
        {"do": "add", "kind": "deployment"}, {"do": "add", "kind": "deployment", "fields": 5},
        {"do": "declare", "fields": {"objects": 5}}, {"do": "declare", "fields": {"objects": [5]}},
        {"do": "declare", "fields": {"objects": [{"kind": "deployment", "options": 5}]}},
        {"do": "add", "kind": "queue", "fields": {"host": "localhost"}},
    ],
)  # fmt: skip
def test_what_is_none_is_left_to_the_model(asked):
    before = repr(asked)

    name_localhost(asked, "n1")

    assert repr(asked) == before
