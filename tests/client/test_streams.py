"""Streams of events."""

from __future__ import annotations

import asyncio
import copy
import threading

import pytest

from meshcode import errors
from meshcode.client import AsyncClient, Executor, connect, requests
from meshcode.client.aiowaits import events_of
from tests.client.conftest import SOON_S, until


def publish(client, *events: object, last: bool = False) -> None:
    until(lambda: client.ask("test.publish", events=[])["streams"], "the stream has begun")
    client.ask("test.publish", events=list(events), last=last)


def test_a_stream_gives_old_and_new_events_until_the_last(client):
    stream = client.ask_stream("subscribe", socket="shop.clean", tail=2)
    publish(client, {"text": "new"}, last=True)

    assert list(stream) == [{"old": 0}, {"old": 1}, {"text": "new"}]


def test_closing_a_stream_ends_the_subscription(client):
    with client.ask_stream("subscribe") as stream:
        publish(client, 1)
        assert next(stream) == 1

    until(lambda: client.ask("test.publish", events=[])["streams"] == 0, "it is unsubscribed")
    assert list(stream) == []


def test_dropping_a_stream_ends_the_subscription(client):
    stream = client.ask_stream("subscribe")
    publish(client, 1)
    assert next(stream) == 1

    del stream

    until(lambda: client.ask("test.publish", events=[2])["streams"] == 0, "it is unsubscribed")
    assert client.session._subscriptions == {}


def test_a_reader_that_is_too_slow_is_told_what_it_missed(client, monkeypatch):
    monkeypatch.setattr(requests, "SUBSCRIPTION_EVENTS_MAX", 10)
    stream = client.ask_stream("subscribe")
    publish(client, *range(24))
    publish(client, 24, last=True)

    assert list(stream) == [{"dropped": 15}, *range(15, 25)]


def test_a_word_of_losses_that_is_itself_missed_stands_for_all_of_them(client, monkeypatch):
    monkeypatch.setattr(requests, "SUBSCRIPTION_EVENTS_MAX", 10)
    stream = client.ask_stream("subscribe")
    publish(client, {"channel": "lost", "count": 500, "node": "n1"}, *range(14))
    publish(client, 14, last=True)

    assert list(stream) == [{"dropped": 505}, *range(5, 15)]


def test_what_waits_for_a_reader_is_bounded_in_bytes(client, monkeypatch):
    monkeypatch.setattr(requests, "SUBSCRIPTION_BYTES_MAX", 5_000)
    stream = client.ask_stream("subscribe")
    texts = [str(n) * 1_000 for n in range(9)]
    publish(client, *texts)
    publish(client, "end", last=True)

    assert list(stream) == [{"dropped": 5}, *texts[5:], "end"]


def test_a_stream_the_node_refuses_raises_its_error(client):
    with pytest.raises(errors.WrongState, match="no operation 'nonsense'"):
        next(client.ask_stream("nonsense"))


def test_a_stream_of_a_single_answer_gives_it(client):
    assert [answer["state"] for answer in client.ask_stream("call.retry", by="x")] == ["WAITING"]


def test_closing_the_client_ends_its_streams(client):
    stream = client.ask_stream("subscribe")
    publish(client, 1)
    client.close()

    assert next(stream) == 1
    with pytest.raises(errors.WrongState, match="closed"):
        next(stream)


def test_closing_a_stream_ends_whoever_reads_it(client):
    """A reader in another thread waited for ever."""
    stream = client.ask_stream("subscribe")
    publish(client, 1)
    read: list[object] = []
    threads = [threading.Thread(target=lambda: read.extend(stream)) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(stream.news) == 3, "all three wait")

    stream.close()

    for thread in threads:
        thread.join(SOON_S)
    assert not any(thread.is_alive() for thread in threads)
    assert read == [1]
    assert list(stream) == []


def test_each_event_goes_to_one_of_the_threads_that_read(client):
    stream = client.ask_stream("subscribe")
    got: list[list[int]] = [[], []]

    def read(mine: list[int]) -> None:
        mine.extend(stream)

    threads = [threading.Thread(target=read, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    until(lambda: len(stream.news) == 2, "both wait")
    for start in range(0, 500, 10):
        publish(client, *range(start, start + 10))
    publish(client, 500, last=True)

    for thread in threads:
        thread.join(SOON_S)
    assert sorted(got[0] + got[1]) == list(range(501))


def test_who_waits_in_vain_is_not_remembered(client):
    stream = client.ask_stream("subscribe")
    publish(client)
    for _ in range(10):
        assert not stream.wait(0.001)

    assert not stream.news


def test_closing_ends_a_task_that_reads(client):
    async def main() -> list[object]:
        stream = client.ask_stream("subscribe")
        publish(client, 1)

        async def read() -> list[object]:
            return [event async for event in events_of(stream)]

        task = asyncio.create_task(read())
        while not stream.news:
            await asyncio.sleep(0)
        stream.close()
        return await asyncio.wait_for(task, SOON_S)

    assert asyncio.run(main()) == [1]


def test_a_stream_keeps_its_client(peer):
    stream = connect(peer.address, timeout=SOON_S).ask_stream("subscribe", tail=1)

    assert next(stream) == {"old": 0}
    stream.close()


def test_what_there_is_has_a_name_and_stays_in_its_process(client):
    with client.ask_stream("subscribe") as stream:
        publish(client, 1)
        assert repr(stream) == "<Subscription subscribe open>"
    assert repr(stream) == "<Subscription subscribe ended>"
    wrapped = AsyncClient(client)
    assert repr(wrapped) == f"<AsyncClient {client.address} up>"
    assert repr(wrapped.socket("shop.clean")) == "AsyncSocket('shop.clean')"
    with Executor(client) as executor:
        assert repr(executor) == f"<Executor {client.address} open, 0 not done>"
    assert repr(executor) == f"<Executor {client.address} shut, 0 not done>"

    for thing, instead in ((client, "connect"), (stream, "ask_stream"), (wrapped, "connect")):
        with pytest.raises(TypeError, match=rf"belongs to a link of this process.*{instead}"):
            copy.deepcopy(thing)  # As pickle and multiprocessing do.
