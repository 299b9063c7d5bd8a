"""The next message of a link, if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from meshcode.peers.ready import next_message


@pytest.fixture
def links() -> Iterator[tuple[Any, Any]]:
    context = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.bind("inproc://ready")
    dealer.connect("inproc://ready")
    yield router, dealer
    context.destroy(0)


def test_there_is_none_or_one(links):
    router, dealer = links
    assert next_message(router) is None

    dealer.send_multipart([b"a", b"b"])
    dealer.send(b"c")

    first, second = next_message(router), next_message(router)
    assert first is not None and first[1:] == [b"a", b"b"]
    assert second is not None and second[1:] == [b"c"]
    assert next_message(router) is None
    router.send_multipart([first[0], b"back"])
    assert next_message(dealer) == [b"back"]


def test_parts_can_be_had_as_frames(links):
    router, dealer = links
    dealer.send(b"a")

    frames = next_message(router, frames=True)

    assert frames is not None
    assert [type(frame) for frame in frames] == [zmq.Frame, zmq.Frame]
    assert frames[1].bytes == b"a"


def test_what_a_connection_that_is_gone_has_left_is_still_read(links):
    router, dealer = links
    dealer.send(b"last")
    dealer.close(0)

    found = next_message(router)

    assert found is not None and found[1:] == [b"last"]
    assert next_message(router) is None


def test_a_message_that_goes_after_the_question_is_none():
    """As when its connection ends in between: libzmq then has nothing to give."""

    class Late:
        def getsockopt(self, option: int) -> int:
            return zmq.POLLIN if option == zmq.EVENTS else 0

        def recv_multipart(self, flags: int, copy: bool) -> list[bytes]:
            assert flags == zmq.NOBLOCK and copy
            raise zmq.Again

    late: Any = Late()
    assert next_message(late) is None
