"""A session that is over, however it ended, leaves nothing behind in the node."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshcode import Node, connect
from meshcode.ids import parse_id
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind
from tests.live.harness import until
from tests.live.rawlink import RawLink

CALLS = 100


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """It serves `quick`, and `slow`, which waits for the end of the test."""
    over = threading.Event()
    made = Node(str(tmp_path / "node"))
    made.serve("quick", int)
    made.serve("slow", lambda _number: over.wait(60), concurrency=1)
    with made:
        yield made
        over.set()
        for _ in range(2):  # What waits then need not be done.
            made._loop.stop()


def say_bye(link: RawLink, _speak: Callable[[], None]) -> None:
    link.send([envelope(Kind.BYE)])


def greet_again(link: RawLink, _speak: Callable[[], None]) -> None:
    link.open()


def go_without_a_word(link: RawLink, speak: Callable[[], None]) -> None:
    link.close()
    speak()  # The node sees that nobody is there when it tells of this.


@pytest.mark.parametrize("end", [say_bye, greet_again, go_without_a_word])
def test_what_a_session_waits_for_is_forgotten_when_it_ends(node: Node, end):
    """Else each return of a client that waits made the list of who is told of its calls longer."""
    router = node._loop.router
    with connect(node.address) as client:
        calls = [client.socket("slow").submit(number) for number in range(CALLS)]
        for call in calls:
            call.wait_accepted(20)
        ids = [parse_id(call.id) for call in calls]
        for _ in range(3):
            link = RawLink(node.address)
            link.open()
            link.ask("subscribe", channel="state")
            link.ask("call.watch", ids=ids)
            watched = router.watchers.by_call
            assert [len(watched[id]) for id in ids] == [1] * CALLS

            end(link, lambda: client.socket("quick").submit(1).result(20))

            until(lambda: not router.watchers.by_call, 20, "no call is watched")
            until(lambda: not router.listening, 20, "no events are made for it")
            link.close()
