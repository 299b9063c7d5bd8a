"""What a peer says of its workers is looked at before a client gets it."""

from __future__ import annotations

import pytest

from meshcode.node.meshworkers import _names, _rows

GOOD = {"id": 3, "pid": 71, "calls": 0, "holds": 1, "resident": 9, "processor": "p",
        "state": "ready", "cpu": None}  # fmt: skip


def test_known_names_with_plain_values_come_through():
    assert _rows([{**GOOD, "more": b"x"}, {**GOOD, "cpu": 2}]) == [GOOD, {**GOOD, "cpu": 2}]
    assert _rows([{**GOOD, "cpu": "two"}]) == [GOOD]
    assert _names(["a", 1, None, "b"]) == ["a", "b"]


@pytest.mark.parametrize(
    "told", [None, {}, "workers", [1], [{}], [{**GOOD, "pid": "71"}], [{**GOOD, "id": True}],
             [{**GOOD, "processor": None}]],
)  # fmt: skip
def test_what_is_no_list_of_workers_counts_as_no_answer(told):
    assert _rows(told) is None


def test_an_older_peer_says_nothing_of_declared_nodes():
    assert _names(None) == []
