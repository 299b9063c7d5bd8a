"""When turns go to disk: at once, with what comes, or when there is room.  Real turns."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from meshcode import limits
from meshcode.errors import DiskFull, LogSuspect
from meshcode.node.commits import FULL_RETRY_MS, REST_MS, Commits
from meshcode.node.committer import Committer
from meshcode.node.turn import Turns
from meshcode.replica.peers import ALIVE
from meshcode.router import events
from meshcode.router.effects import Effects
from meshcode.store.contract import DONE, META
from meshcode.store.memory_log import MemoryLog
from meshcode.wire.kinds import Kind
from tests.router.driver import NOW, Driver

PEERS = [bytes([number]) * 16 for number in (201, 202)]
AGREED, TOLD = int(Kind.AGREED), int(Kind.TOLD)


class Failing(MemoryLog):
    """A log in memory that fails as it is told."""

    def __init__(self) -> None:
        super().__init__(gate=threading.Lock())
        self.fails: list[Exception] = []

    def sync(self) -> None:
        if self.fails:
            raise self.fails.pop(0)
        super().sync()


class Node:
    """A router that keeps calls with two peers, and all between it and its log."""

    def __init__(self) -> None:
        self.driver = Driver()
        for peer in PEERS:
            self.driver.step(events.PeerChanged(peer, ALIVE, 1))
        self.driver.join()
        self.log = Failing()
        self.released: list[Effects] = []
        self.full = 0
        self.levels: list[int] = []  # Of the disk, as the core would be told.
        self.said: list[str] = []
        turns = Turns(self.driver.router, self.released.append)
        self.loop: Any = SimpleNamespace(
            turns=turns, committer=Committer(self.log), router=self.driver.router,
            mesh=SimpleNamespace(slow_disk=lambda *_: None),
            clock=SimpleNamespace(now_ms=lambda: NOW),
            history=SimpleNamespace(flows=SimpleNamespace(noted=lambda *_, **__: None)),
            keeping=SimpleNamespace(
                disk_full=self._note_full, handed_over=lambda: None, written=lambda: None,
                disk_full_no_more=self._note_room,
            ),
            say=self.said.append,
        )  # fmt: skip
        self.turns, self.commits = turns, Commits(self.loop)

    def _note_full(self) -> None:
        self.full += 1
        self.levels.append(self.commits.full_level)

    def _note_room(self) -> None:
        self.levels.append(self.commits.full_level)

    def proposed(self) -> list[Any]:
        """A call whose outcome is proposed; how a peer agrees to it: its key and the epoch."""
        (id,) = self.driver.submit()
        key = self.driver.router.calls[id].inst.key
        self.driver.step(events.PeerSaid(PEERS[0], int(Kind.STORED), [[key]]))
        _, _, entry = self.driver.finish(id).early[0]
        return [key, entry[4]]

    def hear(self, peer: bytes, kind: int, entry: Any) -> None:
        """One word of a peer."""
        self.turns.step(events.PeerSaid(peer, kind, [entry]), self.driver.now)

    def all_agreed(self) -> None:
        """Both peers have an outcome, and the last says so: one record, and words that nobody waits
        for.
        """
        agreed = self.proposed()
        self.driver.step(events.PeerSaid(PEERS[0], AGREED, [agreed]))
        self.hear(PEERS[1], AGREED, agreed)

    def wait(self, now_ms: int) -> None:
        """Until the batch under way has ended."""
        assert self.loop.committer.busy
        select.select([self.loop.committer.fileno()], [], [])
        self.commits.written(now_ms)


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.loop.committer.close()


def test_what_nobody_waits_for_goes_to_disk_alone_after_a_rest(node):
    node.all_agreed()
    assert node.turns.is_open
    assert not node.turns.pressing

    node.commits.commit(NOW)
    assert node.commits.next_due_ms(NOW) == NOW + REST_MS
    node.commits.commit(NOW + REST_MS - 1)
    assert not node.loop.committer.busy

    node.commits.commit(NOW + REST_MS)
    node.wait(NOW + REST_MS)
    assert [kind for out in node.released for _, kind, _ in out.peer] == [TOLD, TOLD]
    assert node.log.count("vote") == 1
    assert node.commits.next_due_ms(NOW) is None


def test_what_is_pressing_joins_it_and_takes_it_along(node):
    node.all_agreed()
    node.commits.commit(NOW)
    node.turns.add(Effects(records=[(DONE, b"i" * 16, b"record")], accepted=[(1, 1, 0, 1, 1)]))
    assert node.turns.pressing

    node.commits.commit(NOW + 1)
    node.wait(NOW + 1)

    assert [(len(out.peer), len(out.accepted)) for out in node.released] == [(2, 1)]
    assert node.log.count("vote") == node.log.count(DONE) == 1
    assert node.log.get(META, b"now") == (NOW + 1).to_bytes(8, "big")


def test_a_rest_begins_anew_after_each_batch(node):
    node.all_agreed()
    node.commits.commit(NOW)
    node.commits.commit(NOW + REST_MS)
    node.wait(NOW + REST_MS)

    node.all_agreed()
    node.commits.commit(NOW + 5_000)

    assert not node.loop.committer.busy
    assert node.commits.next_due_ms(NOW + 5_000) == NOW + 5_000 + REST_MS


def test_a_rest_goes_on_beside_a_sync(node):
    """The committer is at work when a turn has rested long enough: it is written next."""
    node.turns.add(Effects(records=[(DONE, b"i" * 16, b"record")]))
    node.commits.commit(NOW)
    node.all_agreed()
    node.commits.commit(NOW + 1)
    assert node.commits.next_due_ms(NOW + 1) == NOW + 1 + REST_MS

    node.commits.commit(NOW + 1 + REST_MS)
    assert (node.turns.is_open, node.turns.unsynced) == (False, 2)
    node.wait(NOW + 2 + REST_MS)
    node.commits.commit(NOW + 2 + REST_MS)
    node.wait(NOW + 3 + REST_MS)

    assert node.log.count("vote") == node.log.count(DONE) == 1


def test_many_turns_that_nobody_waits_for_are_one(node):
    """Else they would be more than a node may have before it leaves its links unread."""
    for number in range(2 * limits.TURNS_UNSYNCED_MAX):
        node.all_agreed()
        node.commits.commit(NOW + number)
    assert node.turns.unsynced == 0

    node.commits.commit(NOW + REST_MS)
    node.wait(NOW + REST_MS)
    assert node.log.count("vote") == 2 * limits.TURNS_UNSYNCED_MAX


def test_words_of_calls_that_go_on_are_pressing(node):
    (id,) = node.driver.submit()
    key = node.driver.router.calls[id].inst.key

    node.hear(PEERS[0], int(Kind.STORED), [key])

    assert node.turns.pressing


def test_an_agreement_that_decides_is_pressing(node):
    agreed = node.proposed()

    node.hear(PEERS[0], AGREED, agreed)

    assert node.turns.pressing


def test_a_word_of_what_is_over_is_pressing_when_it_makes_something_else_leave(node):
    """Told of a call that it does not know, a voter asks for its outcome."""
    key, epoch = node.proposed()
    other = Node()
    other.hear(PEERS[0], TOLD, [key, 1, epoch, False])

    assert other.turns.pressing
    other.commits.commit(NOW)

    assert [kind for out in other.released for _, kind, _ in out.peer] == [Kind.NEED]
    other.loop.committer.close()


def test_what_found_the_disk_full_is_tried_again_with_what_came(node):
    node.log.fails = [DiskFull("no room")]
    node.turns.add(Effects(records=[(DONE, b"i" * 16, b"record")], accepted=[(1, 1, 0, 1, 1)]))
    node.commits.commit(NOW)
    node.wait(NOW)
    assert node.full == 1
    assert node.released == []
    assert [line.split(":")[0] for line in node.said] == ["disk full"]
    assert node.commits.next_due_ms(NOW) == NOW + FULL_RETRY_MS

    node.turns.add(Effects(records=[(DONE, b"j" * 16, b"record")]))
    node.commits.commit(NOW + 1)
    assert not node.loop.committer.busy
    node.commits.commit(NOW + FULL_RETRY_MS)
    node.wait(NOW + FULL_RETRY_MS)

    assert len(node.released) == 2
    assert node.log.count(DONE) == 2
    assert [line.split(":")[0] for line in node.said] == ["disk full", "disk full no more"]
    assert not (node.commits.full_ms or node.turns.waits_for_room)


def test_much_that_waits_for_room_lets_nothing_begin_until_it_is_written(node):
    large = bytes(limits.DISK_WAITS_BYTES_MAX)
    node.log.fails = [DiskFull("no room")] * 2
    node.turns.add(Effects(records=[(DONE, b"i" * 16, b"record")]))
    node.commits.commit(NOW)
    node.wait(NOW)
    node.turns.add(Effects(records=[(DONE, b"j" * 16, large)]))
    for again in (1, 2):
        node.commits.commit(NOW + again * FULL_RETRY_MS)
        node.wait(NOW + again * FULL_RETRY_MS)

    assert node.levels == [2, limits.DISK_STUCK, 0]
    assert node.log.count(DONE) == 2


def test_what_waits_for_room_holds_up_no_refusal(node):
    """A call that is not taken is in no turn; what the turn has besides is told with it."""
    node.log.fails = [DiskFull("no room")] * 3
    node.turns.add(Effects(records=[(DONE, b"i" * 16, b"record")], accepted=[(1, 1, 0, 1, 1)]))
    node.commits.commit(NOW)
    node.wait(NOW)

    node.turns.add(Effects(refused=[(1, b"r" * 16, {})], accepted=[(1, 2, 0, 1, 1)]))

    assert [(out.refused, out.accepted) for out in node.released] == [([(1, b"r" * 16, {})], [])]
    for again in range(1, 3):
        node.commits.commit(NOW + again * FULL_RETRY_MS)
        node.wait(NOW + again * FULL_RETRY_MS)
    assert len(node.released) == 1
    assert len(node.said) == 1, "it is said once"
    node.commits.commit(NOW + 3 * FULL_RETRY_MS)
    node.wait(NOW + 3 * FULL_RETRY_MS)
    assert [out.accepted for out in node.released[1:]] == [[(1, 1, 0, 1, 1)], [(1, 2, 0, 1, 1)]]


@pytest.mark.parametrize(
    ("error", "said"), [(OSError("gone"), "gone"), (MemoryError(), "MemoryError")]
)
def test_a_disk_that_fails_ends_the_node(node, error, said):
    """As does a batch that fails otherwise: what was not written is said to nobody."""
    node.log.fails = [error]
    node.turns.add(Effects(records=[(DONE, b"i" * 16, b"record")], accepted=[(1, 1, 0, 1, 1)]))
    node.commits.commit(NOW)

    with pytest.raises(LogSuspect, match=f"could not be written: {said}; this node stops"):
        node.wait(NOW)
    assert node.released == []
