"""A node inside another program: functions of the program itself, no code travels."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from meshcode import Node, connect
from meshcode.errors import FolderInUse, UnknownSocket, WaitTimeout
from tests.live.harness import ROOT


def test_functions_of_the_program_are_called_by_other_processes(tmp_path: Path):
    readings = [20.5, 21.0]
    with Node(str(tmp_path / "node")) as node:
        node.serve("device.read", lambda n: readings[n])
        code = (
            "import sys; from meshcode import connect;"
            "print(connect(sys.argv[1]).socket('device.read')(1))"
        )

        run = subprocess.run(
            [sys.executable, "-c", code, node.address],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

        assert run.stdout == "21.0\n", run.stderr


def test_an_exception_of_the_program_is_raised_at_the_caller(tmp_path: Path):
    def refuse() -> None:
        raise KeyError("no such sensor")

    with Node(str(tmp_path / "node")) as node, connect(node.address) as client:
        node.serve("device.refuse", refuse)

        with pytest.raises(KeyError, match="no such sensor"):
            client.socket("device.refuse")()
        with pytest.raises(UnknownSocket):
            client.socket("device.reed")()


def test_a_call_waits_for_a_function_that_is_served_after_the_restart(tmp_path: Path):
    """It was acknowledged, so it is kept, although nobody offers its socket for a while."""
    release = threading.Event()
    home = str(tmp_path / "node")
    with Node(home) as node, connect(node.address) as client:
        node.serve("device.slow", lambda: release.wait(0.2) and "early", concurrency=1)
        calls = [client.socket("device.slow").submit() for _ in range(5)]
        for call in calls:
            call.wait_accepted(20)
        ids = [call.id for call in calls]

    with Node(home) as node, connect(node.address) as client:
        left = [id for id in ids if client.ask("call.get", id=id)["state"] != "DONE"]
        assert left
        with pytest.raises(WaitTimeout):
            client.call(left[0]).result(0.2)

        node.serve("device.slow", lambda: "late")

        assert {client.call(id).result(30) for id in left} == {"late"}


def test_two_nodes_of_one_program_have_folders_of_their_own(tmp_path: Path):
    with Node(str(tmp_path / "one")) as one, Node(str(tmp_path / "two")) as two:
        one.serve("who", lambda: "one")
        two.serve("who", lambda: "two")
        with connect(one.address) as first, connect(two.address) as second:
            assert (first.socket("who")(), second.socket("who")()) == ("one", "two")

        with pytest.raises(FolderInUse):
            Node(str(tmp_path / "one")).start()


def test_a_temporary_node_leaves_nothing_behind():
    with Node() as node:
        node.serve("echo", lambda value: value)
        with connect(node.address) as client:
            assert list(client.socket("echo").map(range(100))) == list(range(100))
        home = Path(node.home)
        assert home.exists()

    assert not home.exists()
