"""Back-pressure and map: never more in flight than the window, results in order."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading

import pytest

from meshcode import errors
from meshcode.client import AsyncClient, connect, mapping
from meshcode.client.batch import BATCH_CALLS_MAX, split
from meshcode.limits import FRAME_BYTES_GOAL
from tests.client.conftest import SOON_S, until


def test_submit_waits_when_the_window_is_full(make_peer):
    """The node said 100 calls: the 101st waits until one was acknowledged."""
    peer = make_peer(window=100).start()
    client = connect(peer.address, timeout=SOON_S)
    mute = client.socket("mute")
    handed = []

    def submit() -> None:
        with contextlib.suppress(errors.WrongState):  # Closed below, before the last.
            for n in range(150):
                handed.append(mute.submit(n))

    thread = threading.Thread(target=submit)
    thread.start()
    until(lambda: len(handed) == 100, "the window is full")
    until(lambda: client.session.outbox.unacked_calls == 100, "nothing more is taken")
    assert thread.is_alive()

    peer.kill()
    peer.start()  # Now the calls are sent again, which `mute` acknowledges.
    until(lambda: len(handed) >= 101, "there is room again")
    client.close(0)
    thread.join(SOON_S)

    assert not thread.is_alive()
    assert len(handed) >= 101


def test_one_call_larger_than_the_window_passes_alone(make_peer):
    peer = make_peer(window=1).start()
    with connect(peer.address, timeout=SOON_S) as client:
        client.session.outbox.window_bytes = 10
        assert client.socket("echo")(b"x" * 1000) == b"x" * 1000
        assert list(client.socket("echo").map(range(5))) == [0, 1, 2, 3, 4]


def test_closing_lets_go_who_waits_for_room(make_peer):
    peer = make_peer(window=1).start()
    client = connect(peer.address, timeout=SOON_S)
    client.socket("mute").submit()
    caught: list[Exception] = []

    def submit() -> None:
        try:
            client.socket("mute").submit()
        except errors.MeshError as error:
            caught.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    client.close(0)
    thread.join(SOON_S)

    assert "the client is closed" in str(caught[0])


def test_map_gives_results_in_order(client):
    echo = client.socket("echo")

    assert list(echo.map(range(3000))) == list(range(3000))
    assert list(echo.map(range(10), chunk=3)) == list(range(10))
    assert list(echo.map([])) == []
    assert [r["args"] for r in client.socket("report").starmap([(1, 2), (), (3,)])] == [
        [1, 2],
        [],
        [3],
    ]


def test_map_sends_its_first_calls_at_once(client):
    """As Executor.map does; the rest follows as results are taken."""
    results = client.socket("echo").map(range(5))
    until(lambda: not client.session.outbox.unacked_calls, "all are acknowledged")

    assert client.ask("test.count")["submits"] == 5
    assert list(results) == [0, 1, 2, 3, 4]


def test_map_of_an_endless_iterable_is_bounded(client):
    read = itertools.count()
    results = client.socket("echo").map(read)

    assert list(itertools.islice(results, 10_000)) == list(range(10_000))
    assert next(read) <= 10_000 + mapping.FLIGHT_CALLS_MAX


def test_map_keeps_fewer_large_results_in_flight(client, monkeypatch):
    monkeypatch.setattr(mapping, "FLIGHT_BYTES_MAX", 1_000_000)
    read = itertools.count(100_000)
    results = client.socket("bytes").map((n - n % 100_000 for n in read), chunk=4)

    assert all(len(next(results)) == 100_000 for _ in range(200))
    assert next(read) - 100_000 <= 200 + 10 + 4


def test_map_raises_an_error_in_its_place(client):
    results = client.socket("fail").map(["ValueError", "KeyError"])

    with pytest.raises(ValueError, match="boom"):
        next(results)
    kept = list(client.socket("fail").map(["ValueError", "KeyError"], propagate=False))
    assert [isinstance(kept[0], ValueError), isinstance(kept[1], KeyError)] == [True, True]


def test_map_gives_the_results_before_an_item_that_cannot_be_sent(client):
    results = client.socket("echo").map([1, 2, {3}, 4])

    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(errors.BadData, match=r"^item 2 \(from 0\): .* not sent") as bad:
        next(results)
    assert bad.value.fields["item"] == 2


def test_map_without_raising_goes_on_after_an_item_that_cannot_be_sent(client):
    """Also when a chunk has no other, and when the largest one is the reason."""
    items = list(range(6000))
    bad = [0, *range(1000, 2000), 5000, 5999]
    for n in bad:
        items[n] = {n}
    items[5000] = bytes(17 << 20)
    values = list(client.socket("echo").map(items, chunk=7, propagate=False))

    assert [n for n, value in enumerate(values) if value != n] == bad
    assert [values[n].fields["item"] for n in bad] == bad
    assert isinstance(values[0], errors.BadData) and isinstance(values[5000], errors.TooLarge)
    assert client.ask("test.count")["submits"] == 6000 - len(bad)
    assert next(client.socket("echo").map([{1}], propagate=False)).fields["item"] == 0


def test_map_gives_the_results_before_an_iterable_that_fails(client):
    def items():
        yield 1
        raise ZeroDivisionError

    results = client.socket("echo").map(items())

    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    results = client.socket("echo").map(items(), propagate=False)
    with pytest.raises(ZeroDivisionError):
        list(results)


def test_map_may_be_waited_for_only_so_long(client):
    with pytest.raises(errors.WaitTimeout):
        list(client.socket("never").map(range(3), timeout=0.05))


@pytest.mark.parametrize("chunk", [0, 1.5, "x", None, True])
def test_a_chunk_has_at_least_one_item(client, chunk):
    async def main() -> None:
        async for _ in AsyncClient(client).socket("echo").map([1], chunk=chunk):
            pass

    wrong = pytest.raises(errors.BadRequest, match=f"at least 1 item, not {chunk!r}")
    with wrong:
        client.socket("echo").map([1], chunk=chunk)
    with wrong:
        asyncio.run(main())


def test_an_item_without_arguments_is_told_with_its_number(client):
    """As one that is no plain data: the others are called."""
    items = [[1], 2, [3]]
    wrong = r"item 1 \(from 0\): an item of starmap is a list or tuple of arguments, not 2; this"
    with pytest.raises(errors.BadData, match=wrong):
        list(client.socket("echo").starmap(items))
    first, second, third = client.socket("echo").starmap(items, propagate=False)

    assert (first, third) == (1, 3)
    assert second.fields["item"] == 1


def test_batches_are_cut_by_calls_and_by_bytes():
    """A frame closes at 512 calls or 256 KiB; one larger call is a frame of its own."""

    def sizes(drafts: list[bytes]) -> list[int]:
        batches = list(split(list(drafts), drafts, sum(map(len, drafts))))  # type: ignore[arg-type]
        assert [draft for batch in batches for draft in batch.drafts] == drafts
        assert all(batch.size == sum(map(len, batch.drafts)) for batch in batches)
        return [len(batch.drafts) for batch in batches]

    assert sizes([b"x"] * BATCH_CALLS_MAX) == [512]
    assert sizes([b"x"] * (2 * BATCH_CALLS_MAX + 1)) == [512, 512, 1]
    half = FRAME_BYTES_GOAL // 2
    assert sizes([bytes(half), bytes(half), b"x"]) == [2, 1]
    assert sizes([b"x", bytes(3 * half), b"y"]) == [1, 1, 1]


def test_large_calls_go_through(client):
    big = [bytes([n]) * 5_000_000 for n in range(6)]

    assert list(client.socket("echo").map(big)) == big
