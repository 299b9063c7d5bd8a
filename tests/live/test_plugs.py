"""Plugs, routers, gates, queues and schedules with real workers, through the library."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode.client import Client, connect
from meshcode.client.flows import parallel
from tests.live.harness import Mesh, offering, until

SOON_S = 30.0
TASKS = '''
"""Tasks of the tests of plugs."""

from meshcode.worker.context import Route


def emit_one(x=1):
    """As in the original's examples."""
    return x


def emit_two(x=5):
    """As in the original's examples."""
    return x


def add_two(one, two):
    """Add what came."""
    return int(one) + int(two)


def double(x):
    """Twice."""
    return 2 * x


def sort(x):
    """Choose the plug by the value."""
    return Route(x, plugs=["large" if x > 10 else "small"])


def is_even(x):
    """What a gate asks."""
    return x % 2 == 0


def fail(x):
    """Raise."""
    raise ValueError(f"no {x}")


def note(*args, **kwargs):
    """Whatever came."""
    return [list(args), kwargs]
'''
NAMES = ["emit_one", "emit_two", "add_two", "double", "sort", "is_even", "fail", "note"]


@pytest.fixture(scope="module")
def node() -> Iterator[Mesh]:
    """A node with the tasks above."""
    files = {"flow/__init__.py": "", "flow/tasks.py": TASKS}
    with offering("flow", files, "flow.tasks", NAMES) as made:
        yield made


@pytest.fixture
def client(node: Mesh) -> Iterator[Client]:
    """A client; all plugs, gates and schedules are taken away after the test."""
    with connect(node.address) as made:
        yield made
    for kind in ("gate", "plug", "schedule"):
        for name in [row["name"] for row in node.ask("model", do="list", kind=kind)]:
            node.ask("model", do="delete", kind=kind, name=name)


def plug(node: Mesh, name: str, source: str, target: str, **fields: Any) -> None:
    """Add a plug between two tasks."""
    node.add("plug", name, source=f"flow.tasks.{source}", target=f"flow.tasks.{target}", **fields)


def came(client: Client, flow: str, socket: str) -> Callable[[], list[dict[str, Any]]]:
    """The ended calls of one socket in a flow."""

    def found() -> list[dict[str, Any]]:
        rows = client.ask("mesh.flow", flow=flow)["calls"]
        return [r for r in rows if r["socket"] == f"flow.tasks.{socket}" and r["state"] == "DONE"]

    return found


def value_at(client: Client, flow: str, socket: str) -> Any:
    """The value of the one call of a socket that a flow caused."""
    found = came(client, flow, socket)
    until(lambda: len(found()) == 1, SOON_S, lambda: f"one call of {socket}: {found()}", every=0.05)
    return client.call(found()[0]["id"]).result(SOON_S)


def test_the_originals_join_adds_what_two_sockets_emit(node, client):
    plug(node, "one", "emit_one", "add_two", argument="one")
    plug(node, "two", "emit_two", "add_two", argument="two")

    flow = parallel(
        [client.socket("flow.tasks.emit_one").p(1), client.socket("flow.tasks.emit_two").p(4)]
    )()

    assert flow.get(SOON_S) == [1, 4]
    assert value_at(client, flow.id, "add_two") == 5


def test_a_router_chooses_where_its_result_goes(node, client):
    plug(node, "large", "sort", "double")
    plug(node, "small", "sort", "note")

    call = client.socket("flow.tasks.sort").submit(40)
    assert call.result(SOON_S) == 40
    assert value_at(client, call.id, "double") == 80
    assert came(client, call.id, "note")() == []

    call = client.socket("flow.tasks.sort").submit(4)
    assert value_at(client, call.id, "note") == [[4], {}]


def test_an_error_takes_its_plug_as_a_map(node, client):
    plug(node, "bad", "fail", "note", type="ERROR", argument="error")

    call = client.socket("flow.tasks.fail").submit(7)
    assert call.exception(SOON_S) is not None

    args, kwargs = value_at(client, call.id, "note")
    assert args == []
    assert kwargs["error"]["text"] == "ValueError: no 7"
    assert kwargs["error"]["fields"]["args"] == ["no 7"]


def test_gates_hold_ask_and_let_go(node, client):
    plug(node, "p", "double", "note")
    node.add("gate", "g", plug="p", mode="closed")
    held = client.socket("flow.tasks.double").submit(1)
    assert held.result(SOON_S) == 2
    waiting = client.ask("mesh.flow", flow=held.id)["calls"]
    assert [r["state"] for r in waiting if r["socket"] == "flow.tasks.note"] == ["GATHERING"]

    node.ask("model", do="update", kind="gate", name="g", fields={"mode": "open"})
    assert value_at(client, held.id, "note") == [[2], {}]

    plug(node, "q", "emit_one", "note")
    node.add("gate", "asks", plug="q", mode="task", socket="flow.tasks.is_even")
    good, bad = (client.socket("flow.tasks.emit_one").submit(n) for n in (6, 7))
    assert value_at(client, good.id, "note") == [[6], {}]
    assert value_at(client, bad.id, "is_even") is False
    assert came(client, bad.id, "note")() == []


def test_a_fanout_queue_gives_a_call_to_all_and_a_topic_queue_to_some(node, client):
    node.add("queue", "all", type="fanout")
    node.add("queue", "some", type="topic")
    for name, queue, topic in [
        ("all.a", "all", None), ("all.b", "all", None),
        ("some.a", "some", "order.*"), ("some.b", "some", "order.#"), ("some.c", "some", "bill"),
    ]:  # fmt: skip
        node.add("socket", name, processor="flow", task="double", queue=queue, topic=topic)
    node.wait_ready("flow")

    assert client.socket("all.b")(4) == [8, 8]
    assert client.socket("some.a").options(topic="order.new")(1) == [2, 2]
    assert client.socket("some.c").options(topic="order.new.eu")(1) == [2]
    assert client.socket("some.c")(1) == [], "its own name is the topic, and no pattern fits"


def test_a_schedule_fires_once_a_second_and_not_after_it_was_paused(node, client):
    began = time.time()
    node.add("schedule", "s", socket="flow.tasks.note", interval_ms=1000, args=["tick"])

    def ticks() -> list[dict[str, Any]]:
        rows = client.ask("call.list", socket="flow.tasks.note", limit=100)["calls"]
        return [row for row in rows if row["accepted_ms"] >= began * 1000]

    until(lambda: len(ticks()) >= 3, SOON_S, lambda: f"three ticks: {ticks()}", every=0.1)
    node.ask("model", do="update", kind="schedule", name="s",
             fields={"requested_status": "pause"})  # fmt: skip
    count = len(ticks())
    lasted = time.time() - began

    assert count <= lasted + 1
    assert len({row["accepted_ms"] // 1000 for row in ticks()}) == count


def test_wrong_ways_are_refused_and_nothing_is_kept(node, client, tmp_path: Path):
    for kind, name, fields, text in [
        ("queue", "x", {"type": "topics"}, "'direct' or 'topic' or 'fanout' or 'broadcast'"),
        ("socket", "x", {"processor": "flow", "task": "double", "queue": "q", "topic": "a..b"},
         "words of A-Z a-z 0-9 _ -"),
        ("socket", "@flow", {"processor": "flow", "task": "double", "queue": "q"},
         "without a leading - or @"),
        ("gate", "x", {"plug": "nothing"}, "no plug is named 'nothing'"),
    ]:  # fmt: skip
        with pytest.raises(Exception, match=r"nothing was changed|`mesh ls") as caught:
            node.add(kind, name, **fields)
        assert text in str(caught.value), (kind, fields)


def test_an_argument_that_the_target_does_not_have_is_told_when_the_plug_is_added(node, client):
    add = ("add", "plug", "-s", "flow.tasks.emit_one", "-t", "flow.tasks.add_two")
    wrong = node.mesh(*add, "-n", "wrong", "-a", "three")
    right = node.mesh(*add, "-n", "right", "-a", "two")

    assert wrong.returncode == right.returncode == 0  # The code may come later than the plug.
    assert "add_two(one, two) has no argument 'three'" in wrong.stderr
    assert "has no argument" not in right.stderr
    for name in ("wrong", "right"):
        node.mesh("delete", "plug", name, "-y")


def test_what_a_plain_call_begins_is_a_flow_to_look_at_and_to_stop(node, client):
    """A value waits at a join that nothing will complete: the doctor names it, a cancel ends it."""
    plug(node, "one", "emit_one", "add_two", argument="one")
    plug(node, "two", "emit_two", "add_two", argument="two")
    call = client.socket("flow.tasks.emit_one").submit(1)
    assert call.result(SOON_S) == 1
    until(lambda: client.ask("flow.get", id=call.id, rows=True, beside=True)["beside"], SOON_S,
          lambda: "an arrival", every=0.05)  # fmt: skip

    said = node.mesh("doctor", "flow", call.id)
    assert "waits with 'one' for all of one, two of socket flow.tasks.add_two" in said.stdout
    shown = client.ask("flow.get", id=call.id)
    assert (shown["state"], shown["counts"]) == ("DONE", {"DONE": 1})

    with pytest.raises(Exception, match="was not submitted as a flow; nothing was changed"):
        client.ask("flow.retry", id=call.id)
    stopped = client.ask("flow.cancel", id=call.id, by="ann")
    assert stopped["cancelled"] == 2, "the arrival and its collector"
    assert client.ask("flow.get", id=call.id, rows=True, beside=True)["beside"] == []
