"""`async def` functions in a simulated mesh: awaiting lets simulated time pass, nothing else."""

from __future__ import annotations

import asyncio
import functools
import gc
import time
from collections.abc import AsyncIterator

import pytest

from meshcode import errors
from meshcode.client import parallel, pipeline
from meshcode.limits import ASYNC_CALLS_MAX
from meshcode.testing.world import World
from meshcode.worker.context import current_call


async def wait_an_hour(value: int) -> int:
    await asyncio.sleep(3600)
    return value + 1


@pytest.fixture
def world() -> World:
    """One node, so that one worker has all calls."""
    return World(nodes=1, seed=5)


def test_an_hour_of_sleep_passes_in_the_world_alone(world):
    began = time.monotonic()
    world.serve("slow", wait_an_hour)
    call = world.submit("slow", 1)

    assert world.result(call, 4000) == 2
    assert 3600 <= world.now < 3601
    assert time.monotonic() - began < 5


def test_the_current_call_is_known_before_and_after_what_is_awaited(world):
    async def who(n: int) -> list[object]:
        before = current_call()
        await asyncio.sleep(n)
        after = current_call()
        return [before == after, after.id_text, after.attempt, after.socket, after.key]

    def plain() -> list[object]:
        return [current_call().id_text, current_call().key]

    world.serve("who", who)
    world.serve("plain", plain)
    calls = [world.submit(world.socket("who").options(key=f"k{n}"), n) for n in (3, 1, 2)]
    keyed = world.submit(world.socket("plain").options(key="ann"))

    assert [world.result(call) for call in calls] == [
        [True, call.id, 1, "who", f"k{n}"] for call, n in zip(calls, (3, 1, 2), strict=True)
    ]
    assert world.result(keyed) == [keyed.id, "ann"]
    with pytest.raises(RuntimeError, match="no current call"):
        current_call()


def test_many_calls_are_awaited_at_once_in_one_worker_up_to_its_limit(world):
    at_once: list[int] = []
    running: set[int] = set()

    async def one(n: int) -> int:
        running.add(n)
        at_once.append(len(running))
        await asyncio.sleep(10)
        running.remove(n)
        return n

    world.serve("one", one)
    calls = [world.submit("one", n) for n in range(ASYNC_CALLS_MAX + 10)]

    assert [world.result(call) for call in calls] == list(range(ASYNC_CALLS_MAX + 10))
    assert max(at_once) == ASYNC_CALLS_MAX
    assert 20 <= world.now < 30  # Two rounds, not one after the other.


def test_tasks_groups_timeouts_threads_and_queues_work_inside(world):
    async def work() -> list[object]:
        queue: asyncio.Queue[int] = asyncio.Queue()

        async def put(n: int) -> None:
            await asyncio.sleep(n)
            await queue.put(n)

        async with asyncio.TaskGroup() as group:
            for n in (3, 1, 2):
                group.create_task(put(n))
        found: list[object] = [queue.get_nowait() for _ in range(3)]
        try:
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        except TimeoutError:
            found.append("late")
        found.append(await asyncio.to_thread(sum, [1, 2]))
        return found

    world.serve("work", work)

    assert world.result(world.submit("work")) == [1, 2, 3, "late", 3]
    assert 8 <= world.now < 9


def test_an_async_generator_gives_the_list_of_its_items(world):
    async def items(count: int) -> AsyncIterator[int]:
        for n in range(count):
            await asyncio.sleep(1)
            yield n

    world.serve("items", items)

    assert world.result(world.submit("items", 3)) == [0, 1, 2]
    assert 3 <= world.now < 4


def test_what_has_an_async_call_is_asynchronous_too(world):
    class Adder:
        async def __call__(self, a: int, b: int) -> int:
            await asyncio.sleep(1)
            return a + b

    world.serve("adder", Adder())
    world.serve("partial", functools.partial(Adder(), 10))
    world.serve("bound", Adder().__call__)

    assert world.result(world.submit("adder", 1, 2)) == 3
    assert world.result(world.submit("partial", 2)) == 12
    assert world.result(world.submit("bound", 3, 4)) == 7


def test_a_flow_of_both_kinds_survives_its_nodes():
    world = World(seed=11, loss=0.05)
    world.serve("slow", wait_an_hour)
    world.serve("total", sum)
    slow = world.socket("slow")
    flow = world.submit(pipeline(parallel(slow.p(1), slow.p(2)), world.socket("total").p()))
    world.advance(60)
    for node in world.nodes:
        world.kill(node)
        world.advance(10)
        world.start(node)
        world.advance(60)

    assert world.result(flow, 20_000) == 5


def test_a_failure_is_that_of_the_function_and_is_tried_again(world):
    tried: list[float] = []

    async def fragile() -> str:
        tried.append(world.now)
        await asyncio.sleep(1)
        if len(tried) < 3:
            raise ValueError("not yet")
        return "now"

    world.serve("fragile", fragile, retries=3)
    world.serve("hopeless", fragile, retries=0)

    assert world.result(world.submit("fragile")) == "now"
    tried.clear()
    with pytest.raises(ValueError, match="not yet"):
        world.result(world.submit("hopeless"))


def test_cancel_and_time_limit_interrupt_what_is_awaited(world):
    cleaned: list[str] = []

    async def slow(what: str) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.1)
            cleaned.append(what)

    world.serve("slow", slow, retries=0)
    world.serve("short", slow, retries=0, time_limit_ms=500)
    call = world.submit("slow", "cancelled")
    world.advance(1)
    call.cancel()

    with pytest.raises(errors.CallCancelled):
        world.result(call)
    with pytest.raises(errors.TimeLimit):
        world.result(world.submit("short", "over"))
    assert cleaned == ["cancelled", "over"]


def test_who_does_not_let_itself_be_cancelled_is_killed(world):
    async def stubborn() -> str:
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                continue

    world.serve("stubborn", stubborn, retries=0)
    call = world.submit("stubborn")
    world.advance(1)
    call.cancel()

    with pytest.raises(errors.CallCancelled):
        world.result(call)
    assert 2 < world.now < 10


def test_a_killed_worker_cleans_nothing_up_and_the_call_runs_again(world):
    said: list[str] = []

    async def work() -> str:
        said.append("began")
        try:
            await asyncio.sleep(10)
            said.append("did")
        finally:
            said.append("left")
        return "done"

    world.serve("work", work)
    call = world.submit("work")
    world.advance(5)
    assert world.kill_worker("work") == "n1"
    world.advance(60)

    assert world.result(call) == "done"
    assert said == ["began", "began", "did", "left"]


def test_a_function_that_dies_takes_the_others_of_its_worker_with_it(world):
    lived: list[int] = []

    async def work(n: int) -> int:
        lived.append(n)
        await asyncio.sleep(n)
        if n == 1 and lived.count(1) == 1:
            world.die()
        return n

    world.serve("work", work)
    calls = [world.submit("work", n) for n in (1, 5)]

    assert [world.result(call) for call in calls] == [1, 5]
    assert sorted(lived) == [1, 1, 5, 5]


def test_who_looks_again_and_again_finds_that_time_has_passed(world):
    async def busy() -> float:
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.05
        while loop.time() < end:
            await asyncio.sleep(0)
        return loop.time() - end

    world.serve("busy", busy)

    assert 0 <= world.result(world.submit("busy")) < 0.01


def test_the_network_is_refused_and_says_what_to_do(world):
    async def fetch() -> None:
        await asyncio.open_connection("example.org", 80)

    world.serve("fetch", fetch, retries=0)

    with pytest.raises(errors.MeshError, match=r"has no network.*create_connection needs one"):
        world.result(world.submit("fetch"))


def test_a_world_is_used_in_a_test_that_is_asynchronous_itself(world):
    async def test() -> int:
        world.serve("slow", wait_an_hour)
        value: int = world.result(world.submit("slow", 1), 4000)
        await asyncio.sleep(0)
        return value

    assert asyncio.run(test()) == 2


def test_a_function_may_change_its_kind(world):
    world.serve("f", lambda n: n)
    assert world.result(world.submit("f", 1)) == 1

    world.serve("f", wait_an_hour)
    assert world.result(world.submit("f", 1), 4000) == 2

    world.serve("f", lambda n: -n)
    assert world.result(world.submit("f", 1)) == -1


def test_what_ends_a_test_ends_it_inside_of_a_coroutine_too(world):
    async def failing() -> None:
        await asyncio.sleep(1)
        pytest.fail("this order was charged twice")

    world.serve("failing", failing)

    with pytest.raises(pytest.fail.Exception, match="charged twice"):
        world.result(world.submit("failing"))


@pytest.mark.filterwarnings("error")
def test_what_never_ended_is_dropped_without_a_word(world):
    left: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1)
            left.append("never")

    world.serve("stubborn", stubborn)
    world.submit("stubborn")
    world.advance(5)
    world.kill("n1")
    world.close()
    del world
    gc.collect()

    assert left == []


def test_one_seed_is_one_story():
    def told() -> object:
        world = World(seed=9, loss=0.1, nodes=4)
        world.serve("slow", wait_an_hour, takes=(0.0, 3.0))
        calls = [world.submit("slow", n) for n in range(5)]
        world.advance(100)
        world.kill("n1")
        for call in calls:
            world.result(call, 20_000)
        return world.ran, world.now

    assert told() == told()
