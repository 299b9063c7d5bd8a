"""`mesh flow ls`: a page of flows from one node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode import Node, connect, pipeline
from meshcode.cli.flow import flow_page
from meshcode.client import Client
from meshcode.errors import BadRequest
from meshcode.node import requests
from tests.live.harness import refusal


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Of a node where three flows have ended."""
    with Node(str(tmp_path / "node")) as node, connect(node.address) as client:
        node.serve("math.add", lambda *numbers: sum(numbers))
        add = client.socket("math.add")
        for count in (1, 2, 3):
            assert pipeline([add.p(1) for _ in range(count)])().get(30) == count
        yield client


def test_a_page_has_the_newest_flows_and_how_far_each_is(client: Client):
    first, second = (client.ask("flow.list", page=page, rows=2) for page in (1, 2))

    assert [row["counts"] for row in first["calls"]] == [{"DONE": 3}, {"DONE": 2}]
    assert [row["total"] for row in second["calls"]] == [1]
    assert (first["more"], second["more"], second["total"]) == (True, False, 3)
    flow = client.ask("flow.get", id=first["calls"][0]["id"], limit=0)
    told = {name: first["calls"][0][name] for name in flow.keys() - {"steps", "silent"}}
    assert told == {name: flow[name] for name in told}


def test_a_node_of_an_older_version_is_asked_for_each_flow(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    fields = {"page": 1, "rows": 10}
    answer = flow_page(client, fields)

    monkeypatch.delitem(requests.OPERATIONS, "flow.list")  # The node is in this process.
    assert isinstance(refusal(lambda: client.ask("flow.list")), BadRequest)
    older = flow_page(client, fields)

    assert [row["counts"] for row in answer["calls"]] == [{"DONE": n} for n in (3, 2, 1)]
    names = answer["calls"][0].keys()
    assert [{name: row[name] for name in names} for row in older["calls"]] == answer["calls"]
