"""Flows in a mesh: submitted at one node, seen, collected and cancelled at another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode import connect
from meshcode.client import Client, funnel, parallel, pipeline
from meshcode.errors import CallCancelled, UnknownSocket
from tests.client import flow_tasks
from tests.client.test_real_flows import NAMES, WAIT_S
from tests.live.harness import make_repository, until
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that host the same tasks."""
    folder = tmp_path_factory.mktemp("trio")
    names = ["n1", "n2", "n3"]
    with Cluster(folder / "mesh", LoopbackNetwork(names), names) as cluster:
        cluster.assemble(names)
        make_repository(folder / "code", {"t.py": Path(flow_tasks.__file__).read_text()})
        cluster["n1"].offer("proc", folder / "code", "t", NAMES)
        cluster.wait_until_ready(processor="proc")
        yield cluster


@pytest.fixture
def clients(trio: Cluster) -> Iterator[list[Client]]:
    """A client of each node."""
    found = [connect(trio[name].address, timeout=WAIT_S) for name in ("n1", "n2", "n3")]
    yield found
    for client in found:
        client.close(0)


def sign(client: Client, name: str, *args: Any) -> Any:
    return client.socket(f"t.{name}").p(*args)


def test_a_flow_is_collected_at_any_node(clients: list[Client]):
    first, second, third = clients
    wide = [pipeline(sign(first, "do_this", n), sign(first, "do_something")) for n in range(50)]
    flow = funnel(wide, sign(first, "record"))()
    assert flow.wait_accepted(WAIT_S) in ("quorum 2/3", "quorum 3/3", "all 3/3")

    want = [[[f"S(T({n}))" for n in range(50)]], {}]
    assert second.flow(flow.id).get(WAIT_S) == want
    assert third.call(flow.id).result(WAIT_S) == want
    assert flow.get(WAIT_S) == want
    assert third.flow(flow.id).plan == flow.plan
    failed = parallel(sign(second, "boom"), sign(second, "do_this", 1))()
    failed.wait_accepted(WAIT_S)  # Else the third node may not know it yet, and says so.
    error, value = third.flow(failed.id).get(WAIT_S, propagate=False)
    assert isinstance(error, ValueError)
    assert value == "T(1)"


def test_steps_can_be_waited_for_before_the_flow_has_begun(clients: list[Client]):
    """They come into being when a majority has the flow; until then no node knows their ids."""
    first, second, third = clients
    made = pipeline(sign(first, "do_this", 1), parallel(*[sign(first, "do_something")] * 2))
    for _ in range(10):
        assert list(made()) == ["S(T(1))"] * 2
        flow = first.submit(made)
        assert [step.get(WAIT_S) for step in flow.steps][:2] == ["T(1)", "S(T(1))"]
        assert flow.wait_accepted(WAIT_S)
        found = second.flow(flow.id)
        assert found.steps[1].get(WAIT_S) == third.flow(flow.id).steps[2].get(WAIT_S) == "S(T(1))"
        assert found.get(WAIT_S) == ["S(T(1))"] * 2


@pytest.mark.filterwarnings("error")  # What a step has told needs no warning at the end.
def test_steps_of_a_flow_that_was_refused_end_with_its_error(clients: list[Client]):
    flow = pipeline(sign(clients[0], "do_this", 1), sign(clients[0], "nobody"))()

    with pytest.raises(UnknownSocket, match=r"step 1 of the flow: there is no socket 't\.nobody'"):
        flow.steps[0].get(WAIT_S)
    assert flow.steps[1].state == "UNKNOWN"
    with pytest.raises(UnknownSocket):
        flow.steps[1].get(WAIT_S)


def test_a_flow_is_cancelled_at_any_node(clients: list[Client], tmp_path: Path):
    first, _, third = clients
    gate = tmp_path / "gate"
    wait = pipeline(sign(first, "wait", 1, str(gate)), sign(first, "do_this"))
    flow = parallel(sign(first, "do_this", 0), wait, wait)()
    try:
        until(lambda: flow.progress().done == 1, WAIT_S, lambda: f"{flow.progress()}")

        assert third.flow(flow.id).cancel(by="ann")["done"] == "cancelled"

        with pytest.raises(CallCancelled):
            flow.get(WAIT_S)
        done, *others = third.flow(flow.id).get(WAIT_S, propagate=False)
        assert done == "T(0)"
        assert [type(error) for error in others] == [CallCancelled] * 2
    finally:
        gate.touch()
    again = third.flow(flow.id)
    until(lambda: again.progress().running == 0, WAIT_S, lambda: f"{again.progress()}")
    assert again.retry().get(WAIT_S) == ["T(0)", "T(1)", "T(1)"]


def test_a_flow_outlives_the_node_that_took_it(
    trio: Cluster, clients: list[Client], tmp_path: Path
):
    """Killed for good: the others have the flow, and go on with it."""
    _, second, third = clients
    gate = tmp_path / "gate"
    flow = pipeline(sign(third, "wait", 3, str(gate)), sign(third, "do_this"))()
    flow.wait_accepted(WAIT_S)
    found = second.flow(flow.id)
    assert not found.done()

    trio.kill("n3")
    gate.touch()

    assert found.get(WAIT_S) == "T(3)"
