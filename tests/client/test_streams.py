"""Streams of events."""

from __future__ import annotations

import pytest

from meshcode import errors
from meshcode.client import requests
from tests.client.conftest import until


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
    assert client.session._streams == {}


def test_a_reader_that_is_too_slow_is_told_what_it_missed(client, monkeypatch):
    monkeypatch.setattr(requests, "STREAM_EVENTS_MAX", 10)
    stream = client.ask_stream("subscribe")
    publish(client, *range(24))
    publish(client, 24, last=True)

    assert list(stream) == [{"dropped": 15}, *range(15, 25)]


def test_a_word_of_losses_that_is_itself_missed_stands_for_all_of_them(client, monkeypatch):
    monkeypatch.setattr(requests, "STREAM_EVENTS_MAX", 10)
    stream = client.ask_stream("subscribe")
    publish(client, {"channel": "lost", "count": 500, "node": "n1"}, *range(14))
    publish(client, 14, last=True)

    assert list(stream) == [{"dropped": 505}, *range(5, 15)]


def test_what_waits_for_a_reader_is_bounded_in_bytes(client, monkeypatch):
    monkeypatch.setattr(requests, "STREAM_BYTES_MAX", 5_000)
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
