"""The simulated mesh for tests of users: the core's own rules, on a clock that the test moves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from meshcode import errors
from meshcode.client import Socket, funnel, parallel, pipeline, segment
from meshcode.client.flows.evaluating import evaluate
from meshcode.testing.world import World
from tests.live.harness import ROOT


def add(*numbers: int) -> int:
    return sum(sum(n) if isinstance(n, list) else n for n in numbers)


def double(value: int, *, plus: int = 0) -> int:
    return value * 2 + plus


@pytest.fixture
def world() -> World:
    """Three nodes that serve `add` and `double`."""
    made = World(seed=3)
    made.serve("add", add)
    made.serve("double", double)
    return made


def test_a_call_runs_and_time_passes_only_in_the_world(world):
    call = world.submit("double", 4, plus=1)
    assert (call.state, world.now, world.ran) == ("SENT", 0.0, [])

    assert world.result(call) == 9
    assert call.state == "DONE" and call.result() == 9
    [ran] = world.ran
    assert (ran.socket, ran.args, ran.kwargs, ran.attempt) == ("double", [4], {"plus": 1}, 1)
    assert 0 < ran.at < world.now < 1


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s(1),
        lambda s: s.submit(1),
        lambda s: s.options(priority=1)(1),
        lambda s: s.broadcast(1),
        lambda s: list(s.map([1, 2])),
        lambda s: list(s.map(iter([1, object()]), propagate=False)),
        lambda s: s.describe(),
        lambda s: s.p(1)(),
        lambda s: parallel(s.p(1), pipeline(s, Socket("double"))).submit(),
        lambda s: segment(s, [1, 2], 1)(),
        lambda s: s.chunks([1, 2], 1)(),
    ],
)
def test_a_socket_of_a_world_never_asks_a_real_node(world, use, monkeypatch):
    monkeypatch.setattr("meshcode.client.default.default_client", pytest.fail)

    with pytest.raises(errors.BadRequest, match=r"no real node was asked; .* mesh_world\.submit"):
        use(world.socket("add"))

    assert world.calls == world.ran == []


def test_the_real_clock_and_chance_are_never_asked(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a simulated mesh has a clock and a source of chance of its own")

    for name in ("time", "monotonic", "perf_counter", "time_ns", "monotonic_ns", "sleep"):
        monkeypatch.setattr(time, name, refuse)
    monkeypatch.setattr(os, "urandom", refuse)
    world = World(seed=1)
    world.serve("add", add)
    value = world.result(world.submit(pipeline(world.socket("add").p(1), world.socket("add"))))
    monkeypatch.undo()

    assert value == 1


def test_an_hour_passes_when_it_is_told_to(world):
    at = world.now
    call = world.submit(world.socket("double").options(delay=3000), 1)
    world.advance(2990)
    assert not call.done() and world.now == at + 2990

    world.advance(20)
    assert call.result(0) == 2
    assert 3000 <= world.ran[0].at - at < 3001


def test_flows_have_the_value_that_they_mean(world):
    s = world.socket
    made = pipeline(
        s("add").p(1), parallel(s("double").p(), pipeline(s("double").p(plus=1), s("double").p())),
        s("add").p(100),
    )  # fmt: skip

    flow = world.submit(made, 2)

    assert world.result(flow) == evaluate(made, {"add": add, "double": double}, 2) == 120
    assert Counter(ran.socket for ran in world.ran) == {"add": 2, "double": 3}


def test_funnels_and_segments_join_what_they_fan_out(world):
    s = world.socket
    joined = world.submit(funnel([s("add").p(n) for n in range(5)], s("add").p()))
    chunks = world.submit(segment(s("double"), range(5), 2))

    assert world.result(joined) == 10
    assert world.result(chunks) == [[0, 2], [4, 6], [8]]


@pytest.mark.parametrize("seed", range(6))
def test_a_flow_survives_each_node_in_turn(seed):
    world = World(seed=seed, loss=0.05)
    world.serve("add", add, takes=(0.1, 2.0))
    s = world.socket("add")
    fan = parallel(s.p(1), s.p(2), s.p(3))
    flow = world.submit(pipeline(s.p(1), fan, s.p(), fan, s.p()))
    for node in world.nodes:
        world.advance(1.5)
        world.kill(node)
        world.advance(8)
        world.start(node)

    assert world.result(flow, 300) == 3 * (3 * 1 + 6) + 6


def test_a_flow_fails_with_the_error_of_its_step(world):
    world.serve("boom", lambda value: {}[value])
    flow = world.submit(pipeline(world.socket("add").p(1), world.socket("boom").p()))

    with pytest.raises(KeyError):
        world.result(flow)
    assert flow.state == "FAILED"


def test_a_killed_node_is_overtaken_and_what_ran_is_run_again(world):
    world.serve("slow", double, takes=5.0)
    call = world.submit_to("n1", "slow", 1)
    world.advance(1)
    first = world.ran[0].node

    world.kill(first)

    assert first not in world.up
    assert world.result(call) == 2
    assert [ran.node == first for ran in world.ran] == [True, False]
    world.start(first)
    world.run()
    assert world.up == ["n1", "n2", "n3"]


def test_the_side_that_has_most_nodes_goes_on(world):
    world.serve("slow", double, takes=0.5)
    call = world.submit_to("n1", "slow", 1)
    world.advance(0.1)
    world.partition(["n1"], ["n2", "n3"])
    lonely = world.submit_to("n1", world.socket("slow").options(ack="quorum"), 2)
    world.advance(30)
    assert not lonely.done()
    assert world.submit_to("n2", "slow", 3).result(10) == 6

    world.heal()

    assert (world.result(call), world.result(lonely)) == (2, 4)


def test_a_destroyed_node_is_done_without(world):
    call = world.submit_to("n1", "double", 1)
    world.advance(0.01)
    world.destroy("n1")
    world.advance(40)

    assert world.result(world.submit("double", 2)) == 4
    assert world.result(call) == 2
    assert world.nodes == ["n2", "n3"]
    with pytest.raises(errors.WrongState, match="n1 is destroyed"):
        world.start("n1")


def test_what_was_acknowledged_survives_a_power_cut(world):
    calls = [world.submit("double", n) for n in range(20)]
    while not all(call.done() or call.state == "ACCEPTED" for call in calls):
        world.advance(0.001)
    world.power_cut()

    assert [world.result(call) for call in calls] == [n * 2 for n in range(20)]


def test_a_worker_that_dies_is_tried_again(world):
    world.serve("slow", double, takes=1.0)
    call = world.submit("slow", 1)
    world.advance(0.5)

    assert world.kill_worker("slow") == world.ran[0].node
    assert world.result(call) == 2
    assert [ran.attempt for ran in world.ran] == [1, 2]


def test_a_call_that_kills_every_worker_ends(world):
    world.serve("poison", world.die, retries=1)
    call = world.submit("poison")

    with pytest.raises(errors.WaitTimeout, match="HELD on n"):
        world.result(call)
    assert len(world.ran) == 2


def test_failures_are_tried_again_as_the_socket_says(world):
    tried: list[float] = []

    def fragile() -> str:
        tried.append(world.now)
        if len(tried) < 3:
            raise OSError("not yet")
        return "now"

    world.serve("fragile", fragile, retries=5, retry_delay_ms=1000)
    call = world.submit("fragile")

    assert world.result(call) == "now"
    assert len(tried) == 3
    assert tried[1] - tried[0] >= 0.5 and tried[2] - tried[1] > tried[1] - tried[0]


def test_a_result_that_is_no_plain_data_is_told_as_a_node_tells_it(world):
    world.serve("unplain", lambda: {1}, retries=3)

    with pytest.raises(errors.BadResult, match=r"is a set, .* the call ran, its result was not"):
        world.result(world.submit("unplain"))

    assert [ran.attempt for ran in world.ran] == [1]


def test_a_time_limit_ends_what_takes_too_long(world):
    world.serve("slow", double, takes=10.0, time_limit_ms=500, retries=0)

    with pytest.raises(errors.MeshError, match="time limit"):
        world.result(world.submit("slow", 1))
    assert world.now < 5


def test_results_go_along_plugs_and_gates_hold_them_back(world):
    world.serve("seen", lambda value: value)
    world.plug("p", "double", "seen")
    world.submit("double", 1)
    world.run()
    assert [ran.args for ran in world.ran if ran.socket == "seen"] == [[2]]

    world.gate("g", "p", "closed")
    world.submit("double", 5)
    with pytest.raises(errors.WaitTimeout, match=r"not ended .* on n\d"):
        world.run(60)
    assert [ran.args for ran in world.ran if ran.socket == "seen"] == [[2]]

    world.gate("g", "p", "open")
    world.run()
    assert [ran.args for ran in world.ran if ran.socket == "seen"] == [[2], [10]]


def test_a_plug_delivers_once_whoever_dies():
    for seed in range(8):
        world = World(seed=seed)
        world.serve("a", lambda n: n, takes=(0.0, 0.2))
        world.serve("b", lambda n: n, takes=(0.0, 0.2))
        world.plug("p", "a", "b")
        calls = [world.submit("a", n) for n in range(5)]
        world.advance(0.1)
        world.kill("n2")
        world.advance(10)
        world.start("n2")
        world.run()
        assert all(call.done() for call in calls)
        assert {ran.args[0] for ran in world.ran if ran.socket == "b"} == set(range(5))


@pytest.mark.parametrize("seed", range(3))
def test_a_schedule_calls_once_at_each_tick_whoever_is_down(seed):
    world = World(seed=seed)
    world.serve("report", lambda what: what)
    world.schedule("s", "report", "five", cron="*/5 * * * *")
    began = world.utc
    for node in world.nodes:
        world.advance(300)
        world.kill(node)
        world.advance(300)
        world.start(node)
    world.power_cut()
    world.advance(300)
    world.run()

    ids = {id for node in world.sim.nodes for id in node.disk.tables["done"].values}
    assert (world.utc - began).seconds // 60 == 35
    assert len(ids) == 7
    # Two that stand by may both begin a tick; one outcome is recorded.
    assert {int(ran.at) // 300 for ran in world.ran} == set(range(7))
    assert {tuple(ran.args) for ran in world.ran} == {("five",)}


def test_refusals_are_errors_of_the_node(world):
    with pytest.raises(errors.UnknownSocket, match="did you mean 'double'"):
        world.result(world.submit("duble", 1))
    world.serve("one", double, queue={"max_length": 1}, takes=5.0)
    calls = [world.submit_to("n1", "one", n) for n in range(8)]
    world.run()
    assert Counter(call.state for call in calls)["REFUSED"] >= 1


def test_a_call_is_cancelled(world):
    world.serve("slow", double, takes=60.0)
    call = world.submit("slow", 1)
    world.advance(1)
    call.cancel()

    with pytest.raises(errors.CallCancelled):
        world.result(call)
    with pytest.raises(errors.WrongState, match="is CANCELLED already"):
        call.cancel()


def test_a_flow_is_cancelled_as_a_whole(world):
    world.serve("slow", double, takes=60.0)
    slow, add_ = world.socket("slow"), world.socket("add")
    flow = world.submit(funnel([pipeline([slow.p(n), add_.p(1)]) for n in range(3)], add_.p()))
    other = world.submit("slow", 7)
    world.advance(2)
    assert flow.state == "ACCEPTED"

    flow.cancel()

    with pytest.raises(errors.CallCancelled):
        world.result(flow, 10)
    with pytest.raises(errors.WrongState, match="is CANCELLED already"):
        flow.cancel()
    assert world.result(other) == 14, "a call beside it goes on"
    world.run()
    assert {ran.socket for ran in world.ran} == {"slow"}, "no step began that waited for another"


def test_a_flow_is_cancelled_although_a_node_dies(world):
    world.serve("slow", double, takes=60.0)
    slow = world.socket("slow")
    flow = world.submit_to("n1", pipeline([slow.p(1), slow.p(), slow.p()]))
    world.advance(2)
    world.kill("n1")
    flow.cancel()
    world.advance(1)
    world.start("n1")

    with pytest.raises(errors.CallCancelled):
        world.result(flow, 60)
    world.run()


def test_what_has_not_ended_says_so_with_its_seed(world):
    world.serve("slow", double, takes=60.0)
    call = world.submit("slow", 1)

    with pytest.raises(errors.WaitTimeout, match=r"is ACCEPTED after 2 simulated seconds.*seed 3"):
        world.result(call, 2)
    with pytest.raises(errors.WaitTimeout, match="not ended after 2 simulated seconds"):
        world.run(2)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (
            lambda w: w.serve("x", add, retry=1),
            "no option 'retry'; did you mean 'retries'[?]; it has: priority",
        ),
        (lambda w: w.serve("x", add, retries="a"), "retries is 'a'; it must be a whole number"),
        (lambda w: w.serve("x", add, queue={"max_length": 0}), "max_length is 0; it must be"),
        (lambda w: w.serve("x y", add), "the name of a socket is 'x y'"),
        (lambda w: w.serve("x", 5), "by 5, which cannot be called; give a function"),
        (lambda w: w.serve("x", add, takes=(9, 3)), r"takes is \(9, 3\): seconds from 0, or"),
        (lambda w: w.serve("x", add, takes=-1), "takes is -1: seconds from 0"),
        (lambda w: w.advance(-1), "time goes on by 0 seconds at least, not by -1"),
        (lambda w: w.schedule("s", "add", cron="nonsense"), "cron"),
        (lambda w: w.kill("n9"), "there is no node 'n9'; there are n1, n2, n3"),
        (lambda w: w.submit(7), "a socket or a composition is submitted, not 7"),
        (lambda w: World(nodes=0), "1 to 50 nodes, not 0"),
        (lambda w: World(loss=1), "loss is 0 to below 1"),
    ],
)
def test_mistakes_are_refused(world, act, said):
    with pytest.raises(errors.BadRequest, match=said):
        act(world)


@pytest.mark.parametrize(
    "act",
    [
        lambda w: w.submit("none"), lambda w: w.submit_to("n1", "none", 1),
        lambda w: w.socket("none"), lambda w: w.plug("p", "add", "none"),
        lambda w: w.schedule("s", "none", interval=1),
    ],
)  # fmt: skip
def test_what_nothing_serves_is_refused_with_what_is_served(world, act):
    """A command that lists sockets, as a node names it, would find none of them."""
    said = "^nothing serves 'none' in this world; served is add, double"
    with pytest.raises(errors.UnknownSocket, match=said):
        act(world)
    assert world.calls == []


STORY = """
from meshcode.client import parallel, pipeline
from meshcode.testing.world import World
import sys
world = World(seed=int(sys.argv[1]), loss=0.1, nodes=4)
world.serve("a", lambda *n: n and n[0] or 1, takes=(0.0, 3.0))
s = world.socket("a")
flow = world.submit(pipeline(s.p(1), parallel(s.p(), s.p(), s.p())))
world.advance(2)
world.kill("n1")
world.advance(9)
world.start("n1")
world.result(flow, 300)
print(world.ran, world.now)
"""


def test_one_seed_is_one_story_in_every_process():
    def told(seed: int, hashes: str) -> str:
        run = subprocess.run(
            [sys.executable, "-c", STORY, str(seed)], cwd=ROOT, capture_output=True, text=True,
            env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hashes}, timeout=60, check=True,
        )  # fmt: skip
        return run.stdout

    first = told(7, "1")

    assert first == told(7, "2")
    assert first != told(8, "1")
