"""What a timeout may be, wherever one is taken, and what is told when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from datetime import timedelta
from typing import Any

import pytest

from meshcode import connect_async, errors
from meshcode.client import AsyncClient, Client, connect
from meshcode.client.call import SECONDS_MAX
from meshcode.client.wake import Waiter
from tests.client.conftest import SOON_S

NOWHERE = "ipc:///nowhere/clients.ipc"
SHORT = timedelta(milliseconds=50)
SOON = timedelta(seconds=SOON_S)
LONG = [float("inf"), 10**30, None]
BAD = ["5s", float("nan"), object()]


def in_asyncio(peer, body) -> Any:
    async def main() -> Any:
        async with await connect_async(peer.address, timeout=SOON) as client:
            return await body(client)

    return asyncio.run(asyncio.wait_for(main(), SOON_S))


async def connect_and_close(address, timeout) -> None:
    await (await connect_async(address, timeout=timeout)).close(timeout)


def test_seconds_and_timedeltas_are_taken_everywhere(peer):
    for timeout in (SOON, *LONG):
        client = connect(peer.address, timeout=timeout)
        assert client.ask("status", timeout=timeout)
        client.socket("echo").submit(1)
        client.close(timeout)
        assert client.session.outbox.gone
        assert in_asyncio(peer, lambda c, timeout=timeout: c.ask("status", timeout=timeout))
        asyncio.run(asyncio.wait_for(connect_and_close(peer.address, timeout), SOON_S))


class Lock:
    """Waits for nothing, and remembers how long it should have."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def acquire(self, timeout: float) -> bool:
        self.asked.append(timeout)
        return False


def test_no_wait_is_over_before_its_time_however_long_it_is():
    waiter = Waiter()
    waiter._lock = lock = Lock()  # type: ignore[assignment]
    for seconds in (2_000_000.0, SECONDS_MAX, 1e300, -1.0):
        assert not waiter.wait(seconds)

    assert lock.asked == [2_000_000.0, SECONDS_MAX, threading.TIMEOUT_MAX, 0.0]


def test_no_node_in_time_is_told_in_seconds():
    with pytest.raises(errors.NoNode, match=r"within 0\.05 s"):
        connect(NOWHERE, timeout=SHORT)
    with pytest.raises(errors.NoNode, match=r"within 0\.05 s"):
        asyncio.run(connect_async(NOWHERE, timeout=SHORT))
    with contextlib.closing(Client(NOWHERE)) as client:
        with pytest.raises(errors.NoNode, match=r"within 0\.05 s"):
            client.ask("status", timeout=SHORT)
        with pytest.raises(errors.NoNode, match=r"within 0\.05 s"):
            client.listen("x", timeout=SHORT)


@pytest.mark.parametrize("timeout", BAD)
def test_what_is_no_time_is_refused_before_anything_is_done(peer, client, timeout):
    refused = pytest.raises(TypeError, match="timeout is seconds, a timedelta or None, not ")
    for ask in (
        lambda: connect(peer.address, timeout=timeout),
        lambda: client.ask("status", timeout=timeout),
        lambda: client.listen("x", timeout=timeout),
        lambda: client.close(timeout),
        lambda: client.socket("echo").submit(1).result(timeout),
        lambda: list(client.socket("echo").map([1], timeout=timeout)),
        lambda: asyncio.run(connect_async(peer.address, timeout=timeout)),
        lambda: in_asyncio(peer, lambda c: c.ask("status", timeout=timeout)),
        lambda: in_asyncio(peer, lambda c: c.listen("x", timeout=timeout)),
        lambda: in_asyncio(peer, lambda c: c.close(timeout)),
    ):
        with refused:
            ask()

    assert client.socket("echo")(1) == 1, "the client was not closed by half"


def test_an_error_that_ends_an_async_with_hides_no_call_that_is_not_acknowledged(capsys):
    """As `with` says it, on stderr: the error itself matters more."""

    async def main() -> None:
        async with AsyncClient(Client(NOWHERE)) as client:
            await client.socket("echo").submit(1)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(main())

    assert "meshcode: 1 call was not acknowledged by the node at" in capsys.readouterr().err


def test_a_map_that_is_late_names_the_item_and_the_time_it_had(client):
    late = pytest.raises(errors.WaitTimeout, match=r"^item 1 \(from 0\): call .* within 0\.3 s; ")

    def items():
        yield 0
        client.ask("test.release")
        yield 1

    with late:
        list(client.socket("later").map(items(), chunk=1, timeout=0.3))

    async def main() -> None:
        wrapped = AsyncClient(client)
        mapped = wrapped.socket("later").map(items(), chunk=1, timeout=timedelta(seconds=0.3))
        async for _ in mapped:
            pass

    with late as told:
        asyncio.run(main())
    assert told.value.fields["item"] == 1
    client.ask("test.release")


def test_a_wait_that_is_over_leaves_nothing_behind(client):
    """Whoever polls would pay with memory for each look."""
    done = client.socket("echo").submit(1)
    done.result(SOON_S)
    mute = client.socket("mute").submit(1)
    for _ in range(10):
        assert done.wait_accepted(0)
        with pytest.raises(errors.WaitTimeout):
            mute.wait_accepted(0.001)
        with pytest.raises(errors.WaitTimeout):
            next(mute.items(0.001))

    assert len(client.session.news) == 0
    client.session.stop(0)


def test_a_wait_that_is_over_leaves_nothing_behind_in_asyncio(make_peer):
    peer = make_peer(window=1).start()

    async def main() -> tuple[int, int]:
        client = await connect_async(peer.address, timeout=SOON_S)
        mute = client.socket("mute")
        call = await mute.submit(1)
        for _ in range(10):
            with pytest.raises(errors.WaitTimeout):
                await call.wait_accepted(0.001)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(mute.submit(2), 0.001)  # There is no room.
        client.sync.session.stop(0)
        return len(client.sync.session.news), len(client.sync.session.outbox.room)

    assert asyncio.run(asyncio.wait_for(main(), SOON_S)) == (0, 0)
