"""Listening in a mesh: a listener at one node hears all nodes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshcode.client import connect, pipeline
from tests.live.harness import heard_until, make_repository
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork

NAMES = ["n1", "n2", "n3"]
SOON_S = 30.0
TASKS = '''
"""Tasks of the listening tests."""


def echo(value):
    """Say what came, and give it back."""
    print("said", value)
    return value
'''


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes; only n2 runs the code."""
    repository = tmp_path_factory.mktemp("code")
    make_repository(repository, {"far/__init__.py": "", "far/tasks.py": TASKS})
    folder = Path(tempfile.mkdtemp(prefix="ml-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES)
        made["n1"].offer("far", repository, "far.tasks", ["echo"])
        made["n1"].add("deployment", "d1", processor="far", host="n2")
        made.wait_until_ready(processor="far", hosts=["n2"])
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def test_a_call_made_at_one_node_and_run_at_another_is_heard_once_at_a_third(cluster):
    with (
        connect(cluster["n3"].address) as here,
        connect(cluster["n1"].address) as there,
        here.listen("far") as events,
        here.listen("q.far", "log") as log,
    ):
        call = there.socket("far.tasks.echo").submit(5)
        assert call.result(SOON_S) == 5
        heard = heard_until(events, lambda event: event["state"] == "postrun", "the result")
        said = heard_until(log, lambda event: event["stream"] == "stdout", "what it printed")[-1]
        later = there.socket("far.tasks.echo").submit(6)
        heard += heard_until(events, lambda event: event["state"] == "postrun", "the next result")

    told = [(e["call"], e["state"], e["node"]) for e in heard]
    for one in (call, later):  # Each node in its own order; together by the time of each message.
        assert sorted(t[1:] for t in told if t[0] == one.id) == [
            ("postrun", "n1"), ("received", "n1"), ("running", "n2"),
        ]  # fmt: skip
    last = next(e for e in heard if e["state"] == "postrun")
    assert (last["result"], last["worker"].rpartition("/")[0]) == (5, "far")
    assert (said["text"], said["node"], said["call"]) == ("said 5", "n2", call.id)


def test_a_step_is_heard_received_once_like_a_call(cluster):
    """It is born without an owner, so the node that has it first took it over from nobody."""
    with connect(cluster["n1"].address) as there, connect(cluster["n3"].address) as here:
        echo = there.socket("far.tasks.echo")
        with here.listen("far") as events:
            flow = pipeline(echo.p(1), echo.p())()
            assert flow.get(SOON_S) == 1
            ended: set[str] = set()
            heard = heard_until(
                events,
                lambda e: e["state"] == "postrun" and (ended.add(e["call"]), len(ended) == 2)[1],
                "both results",
            )
        steps = [step.id for step in flow.steps]
    told = [(e["call"], e["state"]) for e in heard]
    assert sorted(told) == sorted(
        (step, state) for step in steps for state in ("received", "running", "postrun")
    )


def test_a_handle_at_a_third_node_has_all_that_is_known_of_its_call(cluster):
    with connect(cluster["n1"].address) as there:
        call = there.socket("far.tasks.echo").submit("kept")
        assert call.result(SOON_S) == "kept"
    with connect(cluster["n3"].address) as here:
        found = here.call(call.id)
        assert found.output() == {"stdout": "said kept\n", "stderr": ""}
        assert [event["name"] for event in found.events()] == ["received", "prerun", "postrun"]


def test_what_ran_at_another_node_is_told_from_the_past_with_its_output(cluster):
    begin = datetime.now(UTC)
    with connect(cluster["n1"].address) as there:
        call = there.socket("far.tasks.echo").submit("past")
        assert call.result(SOON_S) == "past"
    with (
        connect(cluster["n3"].address) as here,
        here.listen("far", since=begin) as events,
        here.listen("far", "log", since=begin) as log,
    ):
        heard = heard_until(events, lambda event: event["state"] == "postrun", "the result")
        said = heard_until(log, lambda event: event["stream"] == "stdout", "what it printed")[-1]

    assert [(e["call"], e["state"]) for e in heard] == [
        (call.id, state) for state in ("received", "running", "postrun")
    ]
    assert heard[-1]["result"] == "past" and all(e["past"] for e in heard)
    assert (said["text"], said["call"]) == ("said past", call.id)


def test_objects_are_told_once_and_workers_by_their_node(cluster):
    with (
        connect(cluster["n2"].address) as other,
        other.listen(channel="state"),  # It is told the same by its own node.
        connect(cluster["n3"].address) as here,
        here.listen(channel="state") as events,
    ):
        cluster["n1"].add("queue", "fresh")
        heard = heard_until(events, lambda e: e["name"] == "fresh", "a queue of another node")
        change = {"do": "update", "kind": "queue", "name": "fresh", "fields": {"max_length": 3}}
        cluster["n1"].ask("model", **change)
        heard += heard_until(
            events, lambda e: e["change"] == "changed" and e["name"] == "fresh", "its change"
        )
        first = cluster["n2"].ready_workers("far")[0]["id"]
        cluster["n2"].ask("worker.stop", id=first)
        heard += heard_until(
            events, lambda e: (e["kind"], e["change"]) == ("worker", "deleted"), "a worker is gone"
        )

    gone = heard[-1]
    of_queue = [(e["change"], e["node"]) for e in heard if e["name"] == "fresh"]
    assert of_queue == [("added", "n3"), ("changed", "n3")]
    assert (gone["name"], gone["processor"], gone["node"]) == (str(first), "far", "n2")


def test_each_node_tells_its_figures_and_its_queues(cluster):
    with (
        connect(cluster["n3"].address) as here,
        here.listen(channel="stats") as stats,
        here.listen("far", "queue") as queue,
    ):
        seen = some_of_all(stats)
        waiting = some_of_all(queue)

    assert {(row["nodes"], row["agents"]) for row in seen.values()} == {(3, 3)}
    assert {name: row["workers"] > 0 for name, row in seen.items()} == {
        "n1": False, "n2": True, "n3": False,
    }  # fmt: skip
    assert all(row["sockets"][0]["socket"] == "far.tasks.echo" for row in waiting.values())


def some_of_all(events):
    """The newest event of each node, once all have told one."""
    seen = {}
    heard_until(events, lambda e: seen.update({e["node"]: e}) or len(seen) == 3, "all three nodes")
    return seen


def test_a_node_that_was_killed_and_returns_is_heard_again(cluster):
    with connect(cluster["n3"].address) as here, here.listen("far") as events:
        cluster.kill("n1")
        cluster.start("n1")
        cluster.wait_until_ready(processor="far", hosts=["n2"])
        with connect(cluster["n1"].address) as there:
            heard = {}
            while "n1" not in heard:  # Its link may be up before n3 has said what it wants.
                call = there.socket("far.tasks.echo").submit(7)
                assert call.result(SOON_S) == 7
                while events.wait(0.5):
                    event = next(events)
                    heard.setdefault(event["node"], event)
    assert heard["n1"]["socket"] == "far.tasks.echo"
