"""Flows with a real node and real workers: the programs of the original, random graphs, kills."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from meshcode import connect
from meshcode.client import Client, funnel, parallel, pipeline
from meshcode.client.api import Socket as ApiSocket
from meshcode.client.decorators import ProcessorBase, processor, socket
from meshcode.client.default import default_client
from meshcode.client.flows.compiling import compile_flow
from meshcode.client.flows.composition import Composition
from meshcode.client.flows.evaluating import evaluate
from meshcode.errors import (
    CallCancelled,
    RemoteError,
    TooLarge,
    UnknownCall,
    UnknownSocket,
    WrongArguments,
    WrongState,
)
from tests.client import flow_tasks
from tests.client.test_flow_plans import EX5, EXAMPLES, compositions, refused, shown
from tests.live.harness import ROOT, Mesh, offering, until

PROGRAMS = ROOT / "tests/client/seed_programs"
MODULE = "pyfi.processors.sample"
NAMES = ("do_something", "do_this", "boom", "record", "wait", "count", "blob")
WAIT_S = 60.0

TASKS = Path(flow_tasks.__file__).read_text()
FUNCTIONS = {f"{MODULE}.{name}": getattr(flow_tasks, name) for name in NAMES}


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A node that offers TASKS."""
    empty = dict.fromkeys(("pyfi/__init__.py", "pyfi/processors/__init__.py"), "")
    files = {**empty, "pyfi/processors/sample.py": TASKS}
    with offering("proc1", files, MODULE, NAMES, workers=2) as node:
        yield node


@pytest.fixture
def client(mesh: Mesh) -> Iterator[Client]:
    """A client of it."""
    found = connect(mesh.address, timeout=WAIT_S)
    yield found
    found.close(0)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that calls of `wait` wait for; made at the end, so that no worker stays busy."""
    path = tmp_path / "gate"
    yield path
    path.touch()


@pytest.fixture
def sign(client: Client) -> Any:
    """Makes signatures: `sign("boom", 1)`."""
    return lambda name, *args, **kwargs: client.socket(f"{MODULE}.{name}").p(*args, **kwargs)


# The original's programs.


def printed_by(mesh: Mesh, program: str) -> str:
    run = subprocess.run(
        [sys.executable, str(PROGRAMS / program)], env=mesh.env,
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_parallel_workflow_of_the_original_runs_as_printed(mesh: Mesh):
    """Worked example 8, in declared order and with its nesting kept."""
    want = f"S([S(Eight)|{EX5}|S(Nine)];Four)"

    assert printed_by(mesh, "parallel_workflow.py") == f"FUNNEL:  {want}\n"


def test_the_lambda_flow_of_the_original_runs_as_printed(mesh: Mesh):
    """Worked example 9, with do_this as T."""
    pipe = "T([T(S(S(One);Two);Four)|T(S(S(One);Two);Five)];Three)"
    side = f"[{pipe}|S(Six)|S(Seven)]"
    first, second = f"S([S(Eight)|{side}|S(Nine)];A)", f"S([{side}|S(Ten)];B)"

    out = printed_by(mesh, "lambda_flow.py")

    assert out == f"{pipe}\nFUNNEL:  S([{first}|{second}];Eleven)\n"


@pytest.mark.parametrize(("name", "composition", "want"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_worked_examples(client: Client, name: str, composition: Composition, want: str):
    assert shown(client.submit(renamed(composition)).get(WAIT_S)) == want


def renamed(composition: Any) -> Any:
    """The same with the sockets of this mesh."""
    names = {"something": "do_something", "this": "do_this"}
    for signature in composition.signatures():
        name = signature.socket.name
        if not name.startswith(MODULE):
            signature.socket = type(signature.socket)(f"{MODULE}.{names.get(name, name)}")
    return composition


# Random compositions.

def test_the_mesh_gives_what_plain_python_gives(client: Client):
    """All at once, so that their steps are mixed in the workers."""
    drawn: list[Composition] = []

    @settings(max_examples=300, database=None, derandomize=True)
    @given(compositions(["do_something", "do_this", "record", "record", "boom"], f"{MODULE}."))
    def draw(composition: Composition) -> None:
        if not waits_without_value(composition):
            drawn.append(composition)

    draw()
    flows = [client.submit(composition) for composition in drawn]

    assert len(drawn) >= 200
    ended = {"value": 0, "error": 0}
    for composition, flow in zip(drawn, flows, strict=True):
        want = outcome(lambda c=composition: evaluate(c, FUNCTIONS))
        got = outcome(lambda f=flow: f.get(WAIT_S))
        assert got == want, composition
        ended[got[0]] += 1
    assert min(ended.values()) > 20


def waits_without_value(composition: Composition) -> bool:
    """Whether a parallel of nothing comes after something: nodes do not wait for that yet."""
    feeds = [step[3] for step in compile_flow(composition).steps]
    return '"count": 0' in json.dumps(feeds)


def outcome(work: Any) -> Any:
    try:
        return "value", work()
    except ValueError as error:
        return "error", str(error).removeprefix("ValueError: ")


# What a node does with them.


def test_steps_that_cannot_be_are_refused_before_anything_runs(client: Client, sign: Any):
    lost = pipeline(sign("do_this", 1), client.socket("nowhere").p())
    text = refused(UnknownSocket, lambda: lost().get(WAIT_S))
    assert text.startswith("step 1 of the flow: there is no socket 'nowhere'")
    assert text.endswith("nothing was accepted")
    text = refused(WrongArguments, lambda: pipeline(sign("count"), sign("count", 2))().get(WAIT_S))
    assert "step 0 of the flow" in text
    flow = parallel(sign("do_this", 1), client.socket("nowhere").p())()
    with pytest.raises(UnknownSocket):
        flow.wait_accepted(WAIT_S)
    assert flow.state == "REFUSED"


def test_an_error_comes_with_its_traceback_and_the_step_that_failed(client: Client, sign: Any):
    flow = pipeline(sign("do_this", 1), sign("boom"), sign("count"))()

    with pytest.raises(ValueError, match="boom") as found:
        flow.get(WAIT_S)
    assert isinstance(found.value, RemoteError)
    assert 'raise ValueError("boom")' in found.value.traceback_text
    assert found.value.fields["step"] == flow.steps[1].id
    with pytest.raises(ValueError, match="boom"):
        client.call(flow.id).result(WAIT_S)


def test_errors_stand_in_the_places_of_the_branches(sign: Any, gate: Path):
    """Also of those that end after the flow has failed."""
    late = pipeline(sign("wait", "late", str(gate)), sign("do_this"))
    flow = parallel(sign("boom"), late, parallel(sign("do_this", 1), sign("boom")))()
    with pytest.raises(ValueError, match="boom"):
        flow.get(WAIT_S)

    gate.touch()
    first, second, (third, fourth) = flow.get(WAIT_S, propagate=False)

    assert (second, third) == ("T(late)", "T(1)")
    assert [type(error).__name__ for error in (first, fourth)] == ["ValueError", "ValueError"]


def test_a_list_that_is_too_large_says_so(sign: Any):
    """Each value fits a call, the two together do not; the branches are there all the same."""
    flow = parallel(sign("blob", 9 << 20), sign("blob", 9 << 20))()

    text = refused(TooLarge, lambda: flow.get(WAIT_S))
    assert "18874" in text and "16777216" in text
    assert isinstance(flow.get(WAIT_S, propagate=False), TooLarge)
    assert [len(value) for value in flow] == [9 << 20, 9 << 20]


def test_branches_are_given_as_they_end(sign: Any, gate: Path):
    flow = parallel(sign("do_this", 1), sign("wait", 2, str(gate)))()
    values = iter(flow)

    assert next(values) == "T(1)"
    assert not flow.done()
    gate.touch()
    assert list(values) == [2]
    assert flow.get(WAIT_S) == ["T(1)", 2]


def test_a_flow_is_seen_cancelled_and_made_again(
    mesh: Mesh, client: Client, sign: Any, gate: Path
):
    wait = pipeline(sign("wait", 1, str(gate)), sign("do_this"))
    flow = parallel(sign("do_this", 0), wait, wait, wait)()
    until(lambda: flow.progress()[:4] == (1, 0, 0, 2), WAIT_S, lambda: f"{flow.progress()}")
    assert flow.progress() == (1, 0, 0, 2, 5, 8, 0)
    assert flow.status == "RUNNING"

    with connect(mesh.address, timeout=WAIT_S) as other:
        found = other.flow(flow.id[:23])
        assert found.plan == flow.plan
        states = [node.state for node in found.graph(states=True).nodes]
        assert states.count("RUNNING") == 2
        assert "7 of the 8 steps" in refused(WrongState, found.retry)
        assert found.cancel(by="ann")["done"] == "cancelled"
        with pytest.raises(CallCancelled, match="ann"):
            found.get(WAIT_S)
    with pytest.raises(CallCancelled):
        flow.get(WAIT_S)
    until(lambda: flow.progress().running == 0, WAIT_S, lambda: f"{flow.progress()}")
    done, *others = flow.get(WAIT_S, propagate=False)
    assert done == "T(0)"
    assert all(isinstance(error, CallCancelled) for error in others)
    assert "all 8 steps of flow" in refused(WrongState, flow.cancel)

    gate.touch()
    again = flow.retry()
    assert again.get(WAIT_S) == ["T(0)", "T(1)", "T(1)", "T(1)"]
    assert again.progress() == (8, 0, 0, 0, 0, 8, 0)
    assert again.steps[0].id == flow.steps[0].id
    assert client.flow(again.id).graph().nodes[0].socket == ""
    last = again.retry(from_step=2)
    assert last.get(WAIT_S) == again.get()
    assert [a.id == b.id for a, b in zip(again.steps, last.steps, strict=True)] == [
        True, True, False, True, True, True, True, False,
    ]  # fmt: skip


def test_a_plain_call_is_a_flow_of_one_step(client: Client):
    call = client.socket(f"{MODULE}.count").submit([1])
    assert call.result(WAIT_S) == 1

    progress = client.flow(call.id).progress()
    assert (progress.done, progress.total) == (1, 1)
    assert client.flow(call.id).get(WAIT_S) == 1
    with pytest.raises(UnknownCall):
        client.flow(client.fresh_id()).progress()


def test_a_thousand_branches_and_a_funnel(sign: Any):
    wide = [pipeline(sign("do_this", n), sign("record")) for n in range(1000)]

    assert funnel(wide, sign("count"))().get(WAIT_S) == 1000


def test_the_client_may_die_and_the_node_too(mesh: Mesh, client: Client, gate: Path):
    """The flow is submitted by a process that is killed, the node is killed in its middle."""
    program = (
        "import os, sys; from meshcode import Socket, pipeline, parallel\n"
        "s = lambda n: Socket('pyfi.processors.sample.' + n).p\n"
        "f = pipeline(s('do_this')('x'), parallel(s('wait')(sys.argv[1]), s('record')(2)),"
        " s('count')())()\n"
        "f.wait_accepted(); print(f.id, flush=True); os.kill(os.getpid(), 9)"
    )
    sent = subprocess.run(
        [sys.executable, "-c", program, str(gate)], env=mesh.env, capture_output=True, text=True,
        timeout=WAIT_S, check=False,
    )  # fmt: skip
    flow = client.flow(sent.stdout.strip())
    before = client.call(flow.id)
    assert not before.done()

    mesh.kill()
    mesh.start()
    gate.touch()

    assert flow.get(WAIT_S) == before.result(WAIT_S) == 2


# Other ways to make them.


def test_methods_of_decorated_classes_make_signatures(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MESH_NODE", mesh.address)
    try:

        @processor(name="proc1", module=MODULE)
        class Sample(ProcessorBase):
            @socket(name=f"{MODULE}.record", queue={"name": "q"})
            def record(*args): ...

        made = pipeline(Sample().record.p(1), Sample.record.p(2, k=3))
        assert made().get(WAIT_S) == [[[[1], {}], 2], {"k": 3}]
        assert made(0).get(WAIT_S) == [[[[0, 1], {}], 2], {"k": 3}]
    finally:
        default_client().close(0)


def test_calls_are_spread_step_by_step(mesh: Mesh, client: Client):
    """A socket of the object API that stands for several."""
    mesh.add("socket", "second.do_this", processor="proc1", task="do_this", queue="q")
    both = ApiSocket(f"{MODULE}.do_this", client, loadbalanced=True)

    flow = parallel([both.p(n) for n in range(4)])()

    assert flow.get(WAIT_S) == ["T(0)", "T(1)", "T(2)", "T(3)"]
    assert [step.socket for step in flow.steps[:4]] == [
        f"{MODULE}.do_this", "second.do_this", f"{MODULE}.do_this", "second.do_this",
    ]  # fmt: skip


def test_the_shell_runs_documents(mesh: Mesh, tmp_path: Path):
    document = {
        "pipeline": [
            f"{MODULE}.do_this",
            {"parallel": [{"call": f"{MODULE}.record", "args": [n]} for n in range(2)]},
        ]
    }
    file = tmp_path / "flow.json"
    file.write_text(json.dumps(document))

    ran = mesh.mesh("run", "--flow", str(file), "x", "-o", "json", seconds=WAIT_S)
    streamed = mesh.mesh("run", "--flow", str(file), "x", "--stream", seconds=WAIT_S)
    kept = mesh.mesh("run", "--flow", str(file), "x", "--no-wait", seconds=WAIT_S)
    got = mesh.mesh("call", "get", kept.stdout.strip(), "-o", "json", seconds=WAIT_S)

    value = [[["T(x)", 0], {}], [["T(x)", 1], {}]]
    assert json.loads(ran.stdout) == json.loads(got.stdout) == value, ran.stderr + got.stderr
    assert [json.loads(line) for line in streamed.stdout.splitlines()] == value
    file.write_text(json.dumps({"pipeline": []}))
    bad = mesh.mesh("run", "--flow", str(file), seconds=WAIT_S)
    assert bad.returncode == 2
    assert "a pipeline has 1 stage at least, this has 0" in bad.stderr
