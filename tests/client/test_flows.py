"""Handles of flows, with a peer that is a real process and runs plans as docs/flows.md says."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from typing import Any

import pytest

import meshcode
from meshcode import connect, connect_async
from meshcode.client import Client, Flow, Socket, funnel, parallel, pipeline
from meshcode.client.flows import composition
from meshcode.client.flows.aio import AsyncFlow
from meshcode.client.flows.graph import Graph, GraphNode
from meshcode.errors import (
    BadRequest,
    CallCancelled,
    QueueFull,
    UnknownCall,
    WaitTimeout,
    WrongState,
)
from tests.client.conftest import ROOT, SOON_S, Peer, until
from tests.client.test_flow_plans import refused

Signatures = Any


@pytest.fixture
def sign(client: Client) -> Signatures:
    """Makes signatures: `sign("boom", 1)`."""
    return lambda name, *args, **kwargs: client.socket(name).p(*args, **kwargs)


def test_a_flow_is_run_and_gives_its_value(client: Client, sign: Signatures):
    flow = pipeline(sign("a", 1), parallel(sign("b", 2), sign("c", 3)), sign("d"))()

    assert isinstance(flow, Flow)
    assert flow.get(SOON_S) == "S(['S(S(1);2)', 'S(S(1);3)'])"
    assert flow.get() == flow.result() == "S(['S(S(1);2)', 'S(S(1);3)'])"
    assert flow.accepted == "local 1/1"
    assert flow.wait_accepted(SOON_S) == "local 1/1"
    assert flow.done() and flow.exception() is None
    assert flow.state == flow.status == "DONE"
    assert repr(flow) == f"<Flow {flow.id} DONE>"


def test_one_composition_is_run_many_times(client: Client, sign: Signatures):
    made = pipeline(sign("a"), sign("b", 2))

    flows = [made(n) for n in range(500)]

    assert [flow.get(SOON_S) for flow in flows] == [f"S(S({n});2)" for n in range(500)]
    assert len({flow.id for flow in flows}) == 500


def test_the_body_of_a_funnel_is_given_at_the_call(client: Client, sign: Signatures):
    made = funnel([sign("a", 1), sign("b", 2)])

    assert made(sign("c", 3)).get(SOON_S) == "S(['S(1)', 'S(2)'];3)"
    assert made(client.socket("c")).get(SOON_S) == "S(['S(1)', 'S(2)'])"
    assert "no body" in refused(BadRequest, made)
    assert client.ask("test.count")["submits"] == 2


def test_an_error_is_raised_and_with_propagate_off_stands_in_its_place(sign: Signatures):
    flow = parallel(sign("a", 1), sign("boom"), parallel(sign("boom"), sign("a", 2)))()

    with pytest.raises(ValueError, match="boom"):
        flow.get(SOON_S)
    first, second, (third, fourth) = flow.get(SOON_S, propagate=False)
    assert (first, fourth) == ("S(1)", "S(2)")
    assert isinstance(second, ValueError) and isinstance(third, ValueError)
    assert flow.status == "FAILED"
    assert isinstance(flow.exception(), ValueError)

    late = pipeline(parallel(sign("a", 1), sign("boom")), sign("a"))()
    assert isinstance(late.get(SOON_S, propagate=False), ValueError)


def test_iterating_gives_branches_as_they_stand(sign: Signatures):
    flow = parallel(sign("a", 1), parallel(sign("a", 2)), sign("boom"), sign("a", 4))()
    values = iter(flow)

    assert [next(values), next(values)] == ["S(1)", ["S(2)"]]
    with pytest.raises(ValueError, match="boom"):
        next(values)
    assert list(pipeline(sign("a", 1), sign("a"))()) == ["S(S(1))"]


def test_steps_parents_children_and_intermediate_results(sign: Signatures):
    flow = pipeline(sign("a", 1), parallel(sign("b", 2), sign("c", 3)), sign("d"))()

    assert [step.socket for step in flow.steps] == ["a", "b", "c", "d"]
    assert flow.children[0].get(SOON_S) == "S(1)"
    assert [step.get(SOON_S) for step in flow.parents] == ["S(S(1);2)", "S(S(1);3)"]
    assert flow.parent is None
    assert [step.number for step in flow.steps[0].children] == [1, 2]
    assert [step.number for step in flow.steps[3].parents] == [1, 2]
    values = ["S(1)", "S(S(1);2)", "S(S(1);3)", "S(['S(S(1);2)', 'S(S(1);3)'])"]
    assert [value for _, value in flow.results(SOON_S)] == values

    chain = pipeline(sign("a", 1), sign("boom"), sign("b"))()
    assert chain.parent is not None and chain.parent.socket == "boom"
    assert [type(value).__name__ for _, value in chain.results(SOON_S)] == [
        "str", "ValueError", "ValueError",
    ]  # fmt: skip


def test_progress_status_and_a_wait_that_ends_early(client: Client, sign: Signatures):
    flow = pipeline(parallel(sign("a", 1), sign("boom"), sign("later")), sign("b"))()
    flow.wait_accepted(SOON_S)

    assert flow.progress() == (1, 1, 0, 1, 1, 4, 0)
    assert "2 of the 4 steps" in refused(WrongState, flow.retry)
    assert flow.progress().total == 4
    assert flow.status == "RUNNING" and not flow.done()
    with pytest.raises(WaitTimeout, match=flow.id):
        flow.get(0.01)

    waiting = pipeline(sign("later"), sign("b"))()
    client.ask("test.release")
    with pytest.raises(ValueError, match="boom"):
        flow.get(SOON_S)
    assert waiting.get(SOON_S) == "S(S())"
    assert flow.progress() == (2, 2, 0, 0, 0, 4, 0)


def test_the_graph_is_drawn(sign: Signatures):
    flow = parallel(pipeline(sign("a", 1), sign('say "x"')), sign("boom"))()
    flow.exception(SOON_S)
    graph = flow.graph(states=True)

    assert graph.edges == [(0, 1), (1, 3), (2, 3)] and graph.result == 3
    assert [node.state for node in graph.nodes] == ["DONE", "DONE", "FAILED", "FAILED"]
    assert graph.nodes[1].id == flow.steps[1].id
    assert str(graph) == (
        '   0  a DONE\n   1  say "x" DONE  after 0\n   2  boom FAILED\n'
        "   3  gather FAILED  after 1, 2"
    )
    assert '  s1 [label="say \\"x\\" DONE"];' in graph.dot().splitlines()
    assert "  s1 -> s3;" in graph.dot().splitlines()
    assert '  s1["say #quot;x#quot; DONE"]' in graph.mermaid().splitlines()
    assert graph.mermaid().splitlines()[-1] == "  s2 --> s3"
    assert flow.graph().nodes[0].state == ""


def test_cancel_ends_what_has_not_ended(sign: Signatures):
    flow = parallel(sign("a", 1), pipeline(sign("later"), sign("b")))()
    flow.wait_accepted(SOON_S)

    flow.cancel(by="ann")

    with pytest.raises(CallCancelled, match="ann"):
        flow.get(SOON_S)
    one, two = flow.get(SOON_S, propagate=False)
    assert one == "S(1)" and isinstance(two, CallCancelled)
    assert flow.progress().cancelled == 3
    assert "all steps have ended" in refused(WrongState, flow.cancel)


def test_retry_makes_only_what_is_not_done(client: Client, sign: Signatures):
    flow = parallel(sign("a", 1), pipeline(sign("later", 2), sign("b")))()
    flow.wait_accepted(SOON_S)
    flow.cancel()
    client.ask("test.release")

    again = flow.retry()

    assert again.id != flow.id
    assert again.get(SOON_S) == ["S(1)", "S(S(2))"]
    assert again.steps[0].id == flow.steps[0].id, "it stands for the call that is done"
    assert again.steps[0].socket == ""
    assert "all 4 steps of flow" in refused(WrongState, again.retry)
    assert "are done; nothing was sent" in refused(WrongState, again.retry)


def test_retry_from_a_step_makes_what_comes_after_it_too(sign: Signatures):
    flow = pipeline(sign("a", 1), parallel(sign("b"), sign("c")), sign("d"))()
    value = flow.get(SOON_S)

    again = flow.retry(from_step=flow.steps[1])

    assert again.get(SOON_S) == value
    same = [old.id == new.id for old, new in zip(flow.steps, again.steps, strict=True)]
    assert same == [True, False, True, False]
    for wrong in ("x", 1.5, True):
        text = refused(BadRequest, lambda wrong=wrong: flow.retry(from_step=wrong))
        assert f"or its number, not {wrong!r}" in text
    assert "has steps 0 to 3, not 9" in refused(BadRequest, lambda: flow.retry(from_step=9))
    text = refused(WrongState, lambda: again.retry(from_step=0))
    assert "a call of an earlier run" in text


def test_a_list_that_is_too_large_is_an_error_and_not_a_list(sign: Signatures):
    """The last step fails by itself, and none of those that it needs."""
    flow = pipeline(parallel(sign("a"), sign("b")), sign("large"))()

    assert "17000000 bytes" in str(flow.get(SOON_S, propagate=False))


def test_a_refused_flow_says_so(client: Client):
    call = client.socket("refuse").submit()
    with pytest.raises(QueueFull):
        call.result(SOON_S)
    flow = Flow(client, client.fresh_id())
    with pytest.raises(UnknownCall):
        flow.get(SOON_S)


# From elsewhere.


def test_a_flow_is_found_by_its_id(client: Client, sign: Signatures, peer: Peer):
    sent = pipeline(sign("a", 1), parallel(sign("later"), sign("boom")))()
    sent.wait_accepted(SOON_S)

    with connect(peer.address, timeout=SOON_S) as other:
        found = other.flow(sent.id)
        assert (found.state, found.status) == ("UNKNOWN", "RUNNING")
        assert [step.socket for step in found.steps] == ["a", "later", "boom", "@gather"]
        client.ask("test.release")
        with pytest.raises(ValueError, match="boom"):
            found.get(SOON_S)
        done, failed = found.get(SOON_S, propagate=False)
        assert done == "S(S(1))" and isinstance(failed, ValueError)
        assert found.plan == sent.plan
        assert found.wait_accepted(SOON_S) == "accepted"
        assert other.flow(sent.id[:20]).get(SOON_S, propagate=False)[0] == "S(S(1))"
        with pytest.raises(ValueError, match="boom"):
            other.call(sent.id).result(SOON_S)


def test_another_process_collects_what_one_that_died_submitted(peer: Peer):
    program = (
        "import os; from meshcode import Socket, pipeline\n"
        "f = pipeline(Socket('a').p('x'), Socket('b').p())()\n"
        "f.wait_accepted(); print(f.id, flush=True); os.kill(os.getpid(), 9)"
    )
    collect = (
        "import sys, meshcode.client\nprint(meshcode.client.flow(sys.argv[1]).get(timeout=15))"
    )
    env = {"MESH_NODE": peer.address, "PYTHONPATH": str(ROOT), "PATH": ""}
    run = [sys.executable, "-c"]
    told: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60}

    sent = subprocess.run([*run, program], env=env, check=False, **told)
    got = subprocess.run([*run, collect, sent.stdout.strip()], env=env, check=False, **told)

    assert sent.returncode == -9
    assert got.stdout == "S(S(x))\n", got.stderr


def test_a_flow_outlives_a_restart_of_the_node(make_peer: Any):
    peer = make_peer().start()
    with connect(peer.address, timeout=SOON_S) as client:
        flow = pipeline(client.socket("later").p(), client.socket("b").p())()
        flow.wait_accepted(SOON_S)
        result = flow.steps[1]._id
        until(lambda: result in client.session.pending.calls, "the result step is followed")

        peer.kill()
        peer.start()
        client.ask("test.release", timeout=SOON_S)

        assert flow.get(SOON_S) is None


def test_many_handles_of_one_flow_end_together(client: Client, sign: Signatures):
    flow = pipeline(sign("later"), sign("b"))()
    flow.wait_accepted(SOON_S)
    others = [client.flow(flow.id) for _ in range(3)] + [client.call(flow.id)]
    assert not any(other.done() for other in others)

    client.ask("test.release")

    assert [other.result(SOON_S) for other in [flow, *others]] == ["S(S())"] * 5


def test_a_dropped_handle_leaves_nothing_behind(client: Client, sign: Signatures):
    flow = pipeline(sign("later"), sign("b"))()
    flow.wait_accepted(SOON_S)
    gone = weakref.ref(flow)

    del flow
    gc.collect()
    assert gone() is None
    client.session.pending.sweep()
    assert not client.session.pending.calls


async def steps_do_not_block(flow: AsyncFlow, wide: AsyncFlow) -> None:
    """What hands out steps hands out asynchronous ones, with all that a step has."""
    first, second = await flow.steps()
    assert repr(second).startswith(f"<AsyncStep 1 {second.id} b ")
    assert await second.get(SOON_S) == await second.result() == "S(S(1))"
    assert await second.exception() is None and await second.status() == "DONE"
    assert (second.number, second.socket, second.flow.id) == (1, "b", flow.id)
    assert [step.id for step in second.parents] == [first.id]
    assert [step.id for step in first.children] == [second.id]
    assert [await step.get() for step, _ in await flow.results()] == ["S(1)", "S(S(1))"]
    _, (inner, _), last = await wide.branches()
    assert [await inner.get(SOON_S), await last.get(SOON_S)] == ["S(2)", "S(4)"]


def test_the_branches_of_a_wide_flow_are_asked_for_together(client: Client, monkeypatch):
    """One question for each made 20,000 branches slow, also of a flow that has ended."""
    asked: list[int] = []
    real = client.session.watch_all
    monkeypatch.setattr(
        client.session, "watch_all", lambda calls: (asked.append(len(calls)), real(calls))
    )
    a = client.socket("a").p
    wide = parallel([a(n) for n in range(700)] + [parallel(a(n) for n in range(700, 1_300))])
    values = [f"S({n})" for n in range(1_300)]

    flow = wide()
    assert list(flow) == list(flow) == [*values[:700], values[700:]]

    async def main() -> list[Any]:
        return [value async for value in AsyncFlow(flow)]

    assert asyncio.run(main()) == [*values[:700], values[700:]]
    assert asked == [1_300] * 3


def test_a_graph_is_written_in_one_look_at_its_edges():
    class Edges(list):
        looks = 0

        def __iter__(self):
            self.looks += 1
            return super().__iter__()

    count = 1_000
    nodes = [GraphNode(number, "a", str(number), "") for number in range(count)]
    edges = Edges((number, count - 1) for number in range(count - 1))

    lines = str(Graph(nodes, edges, count - 1)).splitlines()

    assert lines[0] == "   0  a"
    assert lines[-1] == f" 999  a  after {', '.join(map(str, range(count - 1)))}"
    assert edges.looks == 1


def test_asyncio_has_the_same(peer: Peer):
    async def main() -> None:
        async with await connect_async(peer.address, timeout=SOON_S) as client:
            made = pipeline(client.socket("a").p(1), client.socket("b"))
            flow = await client.submit(made)
            assert await flow == await made() == "S(S(1))"
            assert await (await client.flow(flow.id)).get(SOON_S) == "S(S(1))"
            assert (await flow.progress()).done == 2
            assert await flow.status() == "DONE"
            assert [value for _, value in await flow.results(SOON_S)] == ["S(1)", "S(S(1))"]
            assert (await flow.graph()).edges == [(0, 1)]
            assert [await step for step in await flow.steps()] == ["S(1)", "S(S(1))"]

            a, b = client.socket("a").p, client.socket("b").p
            wide = await client.submit(parallel(a(1), parallel(a(2), a(3)), b(4)))
            found = [value async for value in wide]
            assert found == await wide == ["S(1)", ["S(2)", "S(3)"], "S(4)"]
            assert len(await wide.branches()) == 3 and await wide.exception() is None
            await steps_do_not_block(flow, wide)

            bad = await client.submit(funnel([client.socket("a").p(1)]), client.socket("boom"))
            assert isinstance(await bad.get(SOON_S, propagate=False), ValueError)
            with pytest.raises(ValueError, match="boom"):
                await bad
            again = await bad.retry()
            with pytest.raises(ValueError, match="boom"):
                await again

    asyncio.run(main())


# Clients.


def test_sockets_of_two_clients_are_refused_and_one_may_be_named(client: Client, peer: Peer):
    with connect(peer.address, timeout=SOON_S) as other:
        made = pipeline(client.socket("a").p(1), other.socket("b").p())
        assert "have 2 clients" in refused(BadRequest, made)
        assert other.submit(made).get(SOON_S) == "S(S(1))"


def test_the_process_wide_client_is_used_without_one(peer: Peer, monkeypatch: Any):
    monkeypatch.setenv("MESH_NODE", peer.address)

    flow = meshcode.pipeline(Socket("a").p(1), Socket("b").p())()

    try:
        assert flow.get(SOON_S) == "S(S(1))"
        assert meshcode.client.flow(flow.id).get(SOON_S) == "S(S(1))"
    finally:
        flow._client.close(0)


def test_a_result_in_the_place_of_a_signature_is_refused(client: Client, sign: Signatures):
    flow = sign("a", 1)()

    assert flow.get(SOON_S) == "S(1)"
    assert "not a Flow" in refused(BadRequest, lambda: parallel(flow))
    assert composition.Signature is type(sign("a"))
