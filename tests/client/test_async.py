"""The asyncio client: the same calls, and the loop never blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from meshcode import connect_async, errors
from meshcode.client import AsyncClient, Call, Client, Socket, aio, aiowaits
from meshcode.client.flows.aio import AsyncFlow
from meshcode.client.flows.flow import Flow
from meshcode.client.mapping import FLIGHT_CALLS_MAX
from tests.client.conftest import SOON_S


@pytest.fixture
def run(peer) -> Callable[[Callable[[AsyncClient], Awaitable[Any]]], Any]:
    """Runs a coroutine function with a connected client, for at most SOON_S seconds."""

    async def main(body: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
        async with await connect_async(peer.address, timeout=SOON_S) as client:
            return await body(client)

    return lambda body: asyncio.run(asyncio.wait_for(main(body), SOON_S))


def test_awaiting_a_socket_gives_the_value(run):
    async def body(client):
        return await client.socket("echo")("some text")

    assert run(body) == "some text"


def test_a_call_is_a_handle_that_can_be_awaited(run):
    async def body(client):
        call = await client.socket("later").submit(5)
        assert await call.wait_accepted() == call.accepted == "local 1/1"
        assert (call.state, call.done()) == ("ACCEPTED", False)
        assert await call.status() == "RUNNING"
        assert await call.events() == [{"name": "received", "ms": 1, "note": ""}]
        assert (await call.output())["stdout"] == "printed"
        assert await call.retry(by="ann") is call
        await client.ask("test.release")
        assert repr(call).startswith(f"<AsyncCall {call.id} later ")
        assert await call.get(SOON_S) == 5
        assert await call.status() == "DONE"
        return await call, await call.result(), call.done()

    assert run(body) == (5, 5, True)


def test_errors_are_raised_where_they_are_awaited(run):
    async def body(client):
        with pytest.raises(KeyError):
            await client.socket("fail")("KeyError")
        with pytest.raises(errors.BadData):
            await client.socket("echo")({1})
        with pytest.raises(errors.QueueFull):
            await (await client.socket("refuse").submit()).wait_accepted()
        with pytest.raises(errors.WrongState, match="no operation"):
            await client.ask("nonsense")
        call = await client.socket("fail").submit("ValueError")
        return await call.result(propagate=False)

    assert isinstance(run(body), ValueError)


def test_many_waits_run_side_by_side(run):
    async def body(client):
        echo = client.socket("echo")
        return await asyncio.gather(*(echo(n) for n in range(2000)))

    assert run(body) == list(range(2000))


def test_a_wait_may_end_before_the_call(run):
    async def body(client):
        call = await client.socket("later").submit("x")
        with pytest.raises(errors.WaitTimeout):
            await call.result(timeout=0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call.result(), 0.01)
        with pytest.raises(errors.WaitTimeout):
            await client.ask("test.silence", timeout=0.01)
        assert not call.sync._callbacks
        await client.ask("test.release")
        return await call

    assert run(body) == "x"


def test_cancelling_a_wait_does_not_cancel_the_call(run):
    async def body(client):
        call = await client.socket("later").submit("x")
        task = asyncio.ensure_future(call.result())
        await call.wait_accepted()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.ask("test.release")
        return await call.result()

    assert run(body) == "x"


def test_cancelling_a_call_is_a_request_to_the_node(run):
    async def body(client):
        call = await client.socket("later").submit("x")
        await call.cancel(by="ann")
        with pytest.raises(errors.CallCancelled, match="cancelled by ann"):
            await call
        return call.state

    assert run(body) == "CANCELLED"


def test_items_come_one_by_one(run):
    async def body(client):
        call = await client.socket("items").submit(5)
        return [item async for item in call.items()]

    assert run(body) == [0, 1, 2, 3, 4]


def test_items_have_a_timeout_and_may_be_left(run):
    async def body(client):
        silent = await client.socket("later").submit("x")
        with pytest.raises(errors.WaitTimeout, match=r"has not ended within 0.01 s; it .*goes on"):
            async for _ in silent.items(timeout=0.01):
                raise AssertionError("nothing can come")
        call = await client.socket("items").submit(5)
        first = await anext(call.items(timeout=SOON_S))
        await client.ask("test.release")
        return first, await silent, await call

    assert run(body) == (0, "x", [0, 1, 2, 3, 4])


def test_items_of_many_calls_come_side_by_side(run):
    async def items_of(call):
        return [item async for item in call.items()]

    async def body(client):
        calls = [await client.socket("items").submit(n) for n in range(50)]
        return await asyncio.gather(*map(items_of, calls))

    assert run(body) == [list(range(n)) for n in range(50)]


def test_the_error_of_a_call_is_given_without_raising(run):
    async def body(client):
        bad = await client.socket("fail").submit("ValueError")
        good = await client.socket("echo").submit(1)
        late = await client.socket("later").submit(1)
        with pytest.raises(errors.WaitTimeout):
            await late.exception(timeout=0.01)
        return type(await bad.exception()), await good.exception(SOON_S), bad.socket

    kind, nothing, name = run(body)
    assert issubclass(kind, ValueError)
    assert (nothing, name) == (None, "fail")


def test_one_of_many_that_fails_leaves_the_others_alone(run):
    """gather raises the first error; a task group cancels its tasks, and no call."""

    async def body(client):
        later = [await client.socket("later").submit(n) for n in range(3)]
        with pytest.raises(KeyError):
            await asyncio.gather(*later, client.socket("fail")("KeyError"))
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                waits = [group.create_task(call.result()) for call in later]
                group.create_task(client.socket("fail")("KeyError"))
        assert caught.group_contains(KeyError) and all(task.cancelled() for task in waits)
        assert [call.state for call in later] == ["ACCEPTED"] * 3
        await client.ask("test.release")
        both = await asyncio.gather(
            *later, client.socket("fail")("KeyError"), return_exceptions=True
        )
        return both[:3], type(both[3]).__mro__

    values, kinds = run(body)
    assert values == [0, 1, 2] and KeyError in kinds


def test_a_timeout_of_the_program_leaves_the_call(run):
    async def body(client):
        call = await client.socket("later").submit("x")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await call
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                async for _ in call.items():
                    raise AssertionError("nothing can come")
        assert not call.sync._callbacks
        await client.ask("test.release")
        return await (await client.call(call.id))

    assert run(body) == "x"


def test_starmap_takes_sequences_and_sockets_tell_of_themselves(run):
    async def body(client):
        report = client.socket("echo")
        values = [value async for value in report.starmap([(1,), [2]], timeout=SOON_S)]
        return values, await report.describe(), report.chunks([1, 2, 3], 2)

    values, told, chunks = run(body)
    assert (values, told) == ([1, 2], {"name": "echo"})
    assert repr(chunks) == "segment(echo(), 3 items by 2)"


@pytest.mark.parametrize(
    ("mine", "blocking", "left_out"),
    [
        (aio.AsyncClient, Client, {"pid", "fresh_id", "session", "too_late"}),
        (aio.AsyncSocket, Socket, {"client"}),  # `sync.client`.
        (aio.AsyncCall, Call, set()),
        # Of the plan, which `sync` knows once it was asked for.
        (AsyncFlow, Flow, {"plan", "children", "parents", "parent"}),
    ],
)
def test_nothing_of_the_blocking_client_is_missing(mine, blocking, left_out):
    names = {name for name in dir(blocking) if not name.startswith("_")}

    assert names - set(dir(mine)) - left_out == set()
    assert not left_out & set(dir(mine)), "these are there by now"


def test_map_gives_results_in_order(run):
    async def body(client):
        values = [value async for value in client.socket("echo").map(range(3000))]
        mixed = client.socket("echo").map([1, {2}, 3], propagate=False)
        assert [getattr(value, "code", value) async for value in mixed] == [1, "bad_data", 3]
        with pytest.raises(errors.WaitTimeout):
            async for _ in client.socket("never").map(range(3), timeout=0.01):
                raise AssertionError("nothing can come")
        with pytest.raises(errors.BadRequest):
            async for _ in client.socket("echo").map([1], chunk=0):
                raise AssertionError("nothing can come")
        return values

    assert run(body) == list(range(3000))


def test_submit_waits_for_room_without_blocking_the_loop(make_peer):
    peer = make_peer(window=10).start()

    async def main() -> list[int]:
        client = await connect_async(peer.address, timeout=SOON_S)
        mute = client.socket("mute")
        calls = [await mute.submit(n) for n in range(10)]
        eleventh = asyncio.ensure_future(mute.submit(10))
        done, _ = await asyncio.wait([eleventh], timeout=0.05)
        assert not done
        peer.kill()
        peer.start()  # Now `mute` acknowledges what is sent again.
        values = [await call for call in calls]
        assert (await eleventh).state == "SENT"
        client.sync.session.stop(0)
        return values

    assert asyncio.run(asyncio.wait_for(main(), SOON_S)) == list(range(10))


def test_a_submit_that_is_cancelled_while_it_waits_for_room_sends_nothing(make_peer):
    peer = make_peer(window=10).start()

    async def main() -> tuple[list[int], int]:
        client = await connect_async(peer.address, timeout=SOON_S)
        mute = client.socket("mute")
        calls = [await mute.submit(n) for n in range(10)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(mute.submit(10), 0.05)
        peer.kill()
        peer.start()
        values = [await call for call in calls]
        calls.append(await mute.submit(11))  # There is room, and nothing in front of it.
        sent = (await client.ask("test.count"))["submits"]
        client.sync.session.stop(0)
        return values, sent

    assert asyncio.run(asyncio.wait_for(main(), SOON_S)) == (list(range(10)), 11)


def test_options_travel(run):
    async def body(client):
        socket = client.socket("report").options(priority=9, delay=1)
        assert socket.name == "report"
        return (await socket(x=1))["options"]

    assert run(body) == {"priority": 9, "delay_ms": 1000, "kw": ["x"]}


def test_a_call_is_found_again(run):
    async def body(client):
        call = await client.socket("later").submit("x")
        await call.wait_accepted()
        found = [await client.call(call.id), await client.call(call.id[:20])]
        await client.ask("test.release")
        return [await handle for handle in found]

    assert run(body) == ["x", "x"]


def test_a_stream_is_an_async_iterator(run):
    async def body(client):
        found = []
        async for event in client.ask_stream("subscribe", tail=2):
            found.append(event)
            if event == {"old": 1}:
                await client.ask("test.publish", events=["new"], last=True)
        return found

    assert run(body) == [{"old": 0}, {"old": 1}, "new"]


def test_a_call_of_the_blocking_client_can_be_awaited(client):
    async def main():
        return await client.socket("echo").submit("x")

    assert asyncio.run(main()) == "x"


def test_no_node_is_an_error_that_names_the_address(make_peer):
    address = make_peer().address

    with pytest.raises(errors.NoNode, match="no node answers at ipc"):
        asyncio.run(connect_async(address, timeout=0.05))
    with pytest.raises(errors.BadRequest, match="cannot be connected"):
        asyncio.run(connect_async("nonsense"))


def test_the_default_client_serves_a_socket_without_one(peer, monkeypatch):
    monkeypatch.setenv("MESH_NODE", peer.address)

    async def main():
        return await aio.AsyncSocket("echo")(1), await aio.AsyncSocket("echo")(2)

    assert asyncio.run(main()) == (1, 2)


def test_the_loop_is_woken_once_for_many_results():
    """A frame of results is one wake-up of the loop, not one for each."""

    async def main() -> tuple[int, bool]:
        loop = asyncio.get_running_loop()
        woken = []
        real = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *args: woken.append(real(*args))  # type: ignore
        bridge = aiowaits.Bridge(loop)
        futures = [loop.create_future() for _ in range(100)]
        for future in futures:
            bridge.push(future)
        await asyncio.gather(*futures)
        return len(woken), all(future.done() for future in futures)

    assert asyncio.run(main()) == (1, True)


async def numbers(count: int, fails: bool = False):
    for number in range(count):
        yield number
    if fails:
        raise LookupError("no more")


def test_a_map_takes_an_async_iterable(run):
    async def body(client):
        echo = client.socket("echo")
        assert [value async for value in echo.map(numbers(3000))] == list(range(3000))
        assert [value async for value in echo.map(numbers(0))] == []
        pairs = ((number,) async for number in numbers(5))
        assert [value async for value in echo.starmap(pairs, chunk=2)] == list(range(5))
        found = []
        with pytest.raises(LookupError, match="no more"):
            async for value in echo.map(numbers(5, fails=True)):
                found.append(value)
        mixed = (value async for value in _each([1, {2}, 3]))
        values = [value async for value in echo.map(mixed, propagate=False)]
        assert [type(value) for value in values] == [int, errors.BadData, int]
        with pytest.raises(errors.WaitTimeout, match="item 0"):
            async for _ in client.socket("never").map(numbers(3), timeout=0.01):
                pass
        return found

    assert run(body) == list(range(5))


async def _each(values):
    for value in values:
        yield value


def test_a_result_of_a_map_comes_before_the_next_item_does(run):
    """What makes the items may wait for results: with a sync iterable it cannot."""

    async def body(client):
        told: asyncio.Queue[int] = asyncio.Queue()

        async def asks():
            value = 1
            while value < 100:
                yield value
                value = 2 * await told.get()

        found = []
        async for value in client.socket("echo").map(asks()):
            found.append(value)
            told.put_nowait(value)
        return found

    assert run(body) == [1, 2, 4, 8, 16, 32, 64]


def test_a_map_reads_no_further_ahead_than_may_be_in_flight_and_stops_with_its_reader(run):
    async def body(client):
        read, ended = [], asyncio.Event()

        async def endless():
            try:
                while True:
                    read.append(1)
                    yield len(read)
                    await asyncio.sleep(0)
            finally:
                ended.set()

        values = client.socket("echo").map(endless(), chunk=10)
        async for value in values:
            if value == 50:
                break
        await values.aclose()
        await ended.wait()
        return len(read)

    assert 50 <= run(body) <= 50 + FLIGHT_CALLS_MAX + 10
