"""How long readers of streams wait: while the node is away, and for calls found by their id."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from meshcode.client import AsyncCall, Call, Client, connect, connect_async
from meshcode.errors import WaitTimeout
from tests.live.harness import Mesh, offering, until

SOON_S = 30.0
SHORT_S = 0.3

TASKS = """
import time


def count(n, pause=0.0):
    for number in range(n):
        yield number
        time.sleep(pause)
"""


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with offering("p", {"made.py": TASKS}, "made", ["count"]) as node:
        yield node


@pytest.fixture
def client(mesh: Mesh) -> Iterator[Client]:
    found = connect(mesh.address, timeout=SOON_S)
    yield found
    found.close(0)


def read_async(reading: Callable[[], AsyncIterator[Any]]) -> list[Any]:
    async def main() -> list[Any]:
        return [item async for item in reading()]

    return asyncio.run(main())


WAYS = {
    "ended": lambda ended, going: list(ended.stream(timeout=SHORT_S)),
    "open": lambda ended, going: list(going.stream(timeout=timedelta(seconds=SHORT_S))),
    "found": lambda ended, going: list(ended._client.call(ended.id).stream(timeout=SHORT_S)),
    "items": lambda ended, going: list(ended.items(timeout=SHORT_S)),
    "async": lambda ended, going: read_async(lambda: AsyncCall(ended).stream(timeout=SHORT_S)),
    "async items": lambda ended, going: read_async(lambda: AsyncCall(ended).items(SHORT_S)),
}


def test_readers_wait_no_longer_than_they_say_while_the_node_is_away(client: Client, mesh: Mesh):
    count = client.socket("made.count").options(stream=True)
    ended: Call = count.submit(3)
    ended.result(SOON_S)
    open_call = count.submit(1_000, 0.05)
    reading = open_call.stream(timeout=SHORT_S)
    assert next(reading) == 0
    mesh.kill()
    try:
        until(lambda: not client.is_linked, SOON_S, "the link is down")
        begin = time.monotonic()
        for name, way in WAYS.items():
            with pytest.raises(WaitTimeout, match=rf"within {SHORT_S} s; the node at .* is away"):
                way(ended, open_call)
                pytest.fail(name)
        with pytest.raises(WaitTimeout, match=r"is away: when it is back, ask again with stream"):
            list(reading)
        assert time.monotonic() - begin < SOON_S
    finally:
        mesh.start()

    assert list(ended.stream(timeout=SOON_S)) == [0, 1, 2]
    open_call.cancel()


def test_an_item_that_does_not_come_ends_the_wait_and_no_call(client: Client):
    call = client.socket("made.count").options(stream=True).submit(2, SOON_S)
    reading = call.stream(timeout=SOON_S)
    assert next(reading) == 0

    with pytest.raises(WaitTimeout, match=rf"item 1 of call .* within {SHORT_S} s; the call goes"):
        next(call.stream(1, timeout=SHORT_S))
    with pytest.raises(WaitTimeout, match=rf"item 1 of call .* within {SHORT_S} s; the call goes"):
        read_async(lambda: AsyncCall(call).stream(1, timeout=SHORT_S))
    call.cancel()


def test_a_call_that_asyncio_finds_by_its_id_is_read_too(client: Client, mesh: Mesh):
    """It waited for a word of the node that is only said of calls that are submitted."""
    call = client.socket("made.count").options(stream=True).submit(3)
    call.result(SOON_S)

    async def main() -> list[Any]:
        async with await connect_async(mesh.address, timeout=SOON_S) as found:
            again = await found.call(call.id)
            assert await again.wait_accepted(SOON_S) == "accepted"
            return [item async for item in again.stream(timeout=float("inf"))]

    assert asyncio.run(asyncio.wait_for(main(), SOON_S)) == [0, 1, 2]
    assert list(call.stream(timeout=float("inf"))) == [0, 1, 2]
