"""Flows that a node carries out, as `mesh ls call` shows them: while open, and from records."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from meshcode import Node, connect
from meshcode.client import Client
from meshcode.ids import child_id, parse_id, text_of
from meshcode.store.contract import DONE, FLOW
from meshcode.wire.codec import pack
from tests.cli.conftest import Shell
from tests.live.harness import until


def step(socket: str, *args: Any, feed: Any = None) -> list[Any]:
    return [socket, len(args), pack(list(args)), feed, None]


def result(client: Client, plan: dict[str, Any], seconds: float = 20) -> tuple[str, Any]:
    """Submit a plan; the id of the flow, and the value of its result step."""
    call = client.socket("@flow").submit(plan)
    return call.id, call.result(timeout=seconds)


PLAN = {
    "steps": [
        step("t.load", 3),
        *(step("t.part", n, feed=0) for n in range(6)),
        step("", feed=[{"from": 1, "count": 6}]),
        step("t.sum", feed=7),
    ],
    "result": 8,
}


def serve(node: Node) -> None:
    node.serve("t.load", lambda n: n)
    node.serve("t.part", lambda fed, n: fed * n)
    node.serve("t.sum", sum)


def test_a_flow_is_drawn_while_it_runs_and_from_its_records(tmp_path: Path):
    home, gate = str(tmp_path / "home"), threading.Event()
    shell = Shell(home)
    with Node(home) as node, connect(node.address) as client:
        serve(node)
        node.serve("t.load", lambda n: n if gate.wait(20) else None)
        call = client.socket("@flow").submit(PLAN)
        call.wait_accepted(20)
        open_now = shell("ls", "call", call.id, "--graph", "--ascii")[0].splitlines()
        listed = shell.json("ls", "calls", "--state", "GATHERING", "-r", "100")
        gate.set()
        steps = [text_of(child_id(parse_id(call.id), b"%d" % n)) for n in range(9)]
        assert client.call(steps[8]).result(timeout=20) == 45
    with Node(home) as node:
        serve(node)
        ended = shell("ls", "call", steps[4], "--graph", "--ascii")[0].splitlines()
        out = shell("ls", "call", call.id, "--result")[0]

    def drawn(states: list[str]) -> list[str]:
        names = ["@flow", "t.load", "t.part", "@gather", "t.sum"]
        which = [call.id, steps[0], "6 calls", steps[7], steps[8]]
        return [f"* {name} ({state}, {id})"
                for name, state, id in zip(names, states, which, strict=True)]  # fmt: skip

    assert open_now == drawn(["DONE", "RUNNING", "GATHERING", "GATHERING", "GATHERING"])
    assert len(listed) == 8 and {row["flow"] for row in listed} == {call.id}
    assert ended == drawn(["DONE"] * 5)
    assert f"result step: {steps[8]} (DONE)" in out and "\nResult\n45" in out


def test_a_flow_that_a_task_begins_is_part_of_the_flow_of_its_call(tmp_path: Path):
    home = str(tmp_path / "home")
    with Node(home) as node, connect(node.address) as client:
        serve(node)

        def outer() -> list[Any]:
            begun = time.time_ns() // 1_000_000
            until(lambda: time.time_ns() // 1_000_000 > begun + 1, 5, "ids have another time")
            return list(result(client, PLAN))

        node.serve("t.outer", outer)
        call = client.socket("t.outer").submit()
        inner, value = call.result(timeout=20)
        assert node._loop.log.count(FLOW) == 10  # The inner flow's call, and its nine steps.
    with Node(home):
        shell = Shell(home)
        graph = shell("ls", "call", call.id, "--graph", "--ascii")[0].splitlines()
        tree = shell.json("ls", "call", call.id, "--tree")
        inside = shell.json("ls", "call", inner, "--tree")

    assert value == 45
    assert [line.split(" (")[0] for line in graph] == [
        "* t.outer", "* @flow", "* t.load", "* t.part", "* @gather", "* t.sum",
    ]  # fmt: skip
    assert len(tree) == 11 and {row["flow"] for row in tree} == {call.id}
    assert [row["socket"] for row in inside[:2]] == ["@flow", "t.load"] and len(inside) == 10


def test_results_that_an_open_flow_needs_are_not_forgotten(tmp_path: Path):
    """The first step is long over its age when the last one asks for its result."""
    home, gate = str(tmp_path / "home"), threading.Event()
    with Node(home) as node, connect(node.address) as client:
        serve(node)
        node.serve("t.part", lambda fed, n: fed * n if n < 5 or gate.wait(30) else None)
        other = client.socket("t.load").submit(1)
        other.result(timeout=20)
        call = client.socket("@flow").submit(PLAN)
        call.wait_accepted(20)
        steps = [child_id(parse_id(call.id), b"%d" % n) for n in range(9)]
        for id in steps[:6]:
            client.call(text_of(id)).result(timeout=20)
        keeping, log = node._loop.keeping.retention, node._loop.log
        keeping.age_ms, keeping.young_ms, keeping._next_ms = 1, 0, 0
        until(lambda: log.get(DONE, parse_id(other.id)) is None, 20, "the old call is forgotten")
        kept = [log.get(DONE, id) is not None for id in [parse_id(call.id), *steps]]
        gate.set()
        value = client.call(text_of(steps[8])).result(timeout=20)
        keeping._next_ms = 0
        until(lambda: log.count(DONE) == 0, 20, "the flow is forgotten as a whole")

    assert kept == [True] * 7 + [False] * 3
    assert value == 45
