"""What a peer says of its workers is looked at before a client gets it."""

from __future__ import annotations

import pytest

from meshcode.node.meshworkers import _names, _rows, commits_of

GOOD = {"id": 3, "pid": 71, "calls": 0, "holds": 1, "resident": 9, "processor": "p",
        "state": "ready", "cpu": None, "commit": "abc"}  # fmt: skip


def test_known_names_with_plain_values_come_through():
    assert _rows([{**GOOD, "more": b"x"}, {**GOOD, "cpu": 2}]) == [GOOD, {**GOOD, "cpu": 2}]
    assert _rows([{**GOOD, "cpu": "two"}]) == [GOOD]
    older = {name: value for name, value in GOOD.items() if name != "commit"}
    assert _rows([older]) == _rows([{**GOOD, "commit": 7}]) == [{**GOOD, "commit": ""}]
    assert _names(["a", 1, None, "b"]) == ["a", "b"]


@pytest.mark.parametrize(
    "told", [None, {}, "workers", [1], [{}], [{**GOOD, "pid": "71"}], [{**GOOD, "id": True}],
             [{**GOOD, "processor": None}]],
)  # fmt: skip
def test_what_is_no_list_of_workers_counts_as_no_answer(told):
    assert _rows(told) is None


def test_of_its_processors_the_commits_come_through_that_it_has_workers_of():
    row = {"name": "p", "workers": 2, "commit": "abc", "problem": ""}
    none = [{**row, "workers": 0}, {**row, "commit": None}, {**row, "name": 7}, "p", None]

    assert commits_of([row, *none, {**row, "name": "r"}]) == {"p": "abc", "r": "abc"}
    assert commits_of(None) == commits_of({"p": "abc"}) == {}


def test_an_older_peer_says_nothing_of_declared_nodes():
    assert _names(None) == []
