"""The committer: who stages, when `start` returns, and how what went wrong is told."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode.errors import DiskFull, LogSuspect
from meshcode.node.committer import (
    QUICK_US,
    SHY_US,
    SMALL_OPS,
    STALL_US,
    Committer,
    is_full,
)
from meshcode.store.contract import META, OPEN
from meshcode.store.lmdb_log import LmdbLog
from meshcode.store.memory_log import MemoryLog

MIB = 1 << 20


class Watched(MemoryLog):
    """A log that notes which thread does what, and can be told not to let others stage."""

    def __init__(self, apart: bool) -> None:
        super().__init__(gate=threading.Lock())
        self.apart = apart
        self.done: list[tuple[str, bool]] = []  # What, and whether by the test's own thread.
        self.fails: Exception | None = None
        self.fails_late: Exception | None = None  # In the sync.
        self.syncs_briefly = True
        self.now_us = 0  # The committer's clock; only syncs take time.
        self.takes_us: list[int] = []  # The syncs to come; 0 when there is none.

    @property
    def stages_apart(self) -> bool:
        return self.apart

    def stage(self, ops):
        self.done.append(("stage", threading.current_thread() is threading.main_thread()))
        if self.fails is not None:
            raise self.fails
        super().stage(ops)

    def sync(self):
        self.done.append(("sync", threading.current_thread() is threading.main_thread()))
        if self.fails_late is not None:
            raise self.fails_late
        self.now_us += self.takes_us.pop(0) if self.takes_us else 0
        super().sync()


@pytest.fixture(params=[True, False], ids=["apart", "together"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Watched:
    made = Watched(request.param)
    monkeypatch.setattr("meshcode.node.committer.monotonic_ns", lambda: made.now_us * 1_000)
    return made


@pytest.fixture
def committer(log: Watched) -> Iterator[Committer]:
    made = Committer(log)
    yield made
    made.close()


def test_a_batch_is_staged_when_start_returns_and_safe_when_it_ends(log, committer):
    committer.start([(META, b"k", b"v")])
    assert log.done[0] == ("stage", log.apart)

    assert committer.wait() is None
    assert log.done == [("stage", log.apart), ("sync", False)]
    assert not committer.busy
    assert log.get(META, b"k") == b"v"


def test_an_empty_batch_ends_as_any_other(log, committer):
    committer.start([])

    assert committer.wait() is None


ERRORS = [LogSuspect("the disk"), DiskFull("no room"), OSError("gone"), MemoryError("no room")]
errors = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


@errors
def test_what_goes_wrong_while_staging_is_told_at_the_end(log, committer, error):
    log.fails = error
    committer.start([(META, b"k", b"v")])
    assert committer.busy

    assert committer.wait() is error
    assert is_full(error) == isinstance(error, DiskFull)
    log.fails = None
    committer.start([(META, b"l", b"w")])
    assert committer.wait() is None
    assert log.scan(META) == [(b"l", b"w")]


@errors
def test_what_goes_wrong_in_the_sync_is_told_at_the_end(log, committer, error):
    """Whatever it is: a node that waits for a thread that has died says nothing for ever."""
    log.fails_late = error
    committer.start([(META, b"k", b"v")])
    assert select.select([committer], [], [], 10)[0], "nobody is told"
    assert committer.wait() is error

    log.fails_late = None
    committer.start([(META, b"l", b"w")])
    assert committer.wait() is None
    assert log.get(META, b"l") == b"w"


ONE = [(META, b"k", b"v")]


def written(committer: Committer, many: int) -> bool:
    """Write so many batches; whether the next one is on disk when `start` returns."""
    for _ in range(many):
        if not committer.start(ONE):
            assert committer.wait() is None
    at_once = committer.start([(META, b"l", b"w")])
    assert at_once is not committer.busy
    assert committer.wait() is None
    return at_once


def test_a_batch_on_a_quick_disk_is_on_disk_when_start_returns(log, committer):
    """From the time on when the disk has shown to be quick; the other thread is not woken."""
    assert written(committer, 100) is log.apart
    assert log.get(META, b"l") == b"w"
    assert log.done[0:2] == [("stage", log.apart), ("sync", False)]
    assert log.done[-1] == ("sync", log.apart)

    ops = [(META, b"%d" % n, b"v") for n in range(SMALL_OPS + 1)]
    assert committer.start(ops[:-1]) is log.apart
    assert committer.wait() is None
    assert not committer.start(ops), "beside a large one the next is thought"
    assert committer.wait() is None
    assert log.done[-1] == ("sync", False)
    assert log.count(META) == len(ops) + 2


apart = pytest.mark.parametrize("log", [True], indirect=True, ids=["apart"])


@apart
def test_what_the_log_may_take_long_for_goes_to_the_other_thread(log, committer):
    assert written(committer, 100)
    log.syncs_briefly = False

    assert not written(committer, 0)
    assert log.done[-1] == ("sync", False)
    log.syncs_briefly = True
    assert written(committer, 0)


@apart
def test_slow_syncs_send_the_next_ones_to_the_other_thread(log, committer):
    assert written(committer, 100)
    log.takes_us += [2 * QUICK_US] * 20
    assert written(committer, 4), "a few are no reason yet"

    assert not written(committer, 10)
    assert not written(committer, 0)
    assert log.done[-1] == ("sync", False)
    assert written(committer, 100), "it is quick again"


@apart
def test_a_disk_that_stalled_holds_up_the_node_once_a_minute_at_most(log, committer):
    assert written(committer, 100)
    log.takes_us.append(STALL_US)
    assert committer.start(ONE)

    assert not written(committer, 1_000)
    log.now_us += SHY_US - 1
    assert not written(committer, 0)
    log.now_us += 1
    assert written(committer, 0)


@apart
def test_a_batch_that_fails_at_once_is_told_as_any_other(log, committer):
    assert written(committer, 100)
    log.fails = OSError("gone")

    assert not committer.start(ONE)
    assert committer.busy
    assert committer.wait() is log.fails


def test_a_batch_without_room_may_be_grown_and_tried_again(engine: str, quick_folder: Path):
    """As the node does it: the ops it held, and those of what ended meanwhile."""
    with LmdbLog(quick_folder, map_size=MIB, map_limit=2 * MIB, ballast_bytes=0) as log:
        committer = Committer(log)
        ops = [(OPEN, n.to_bytes(8, "big"), bytes(60_000)) for n in range(50)]
        committer.start(ops)
        error = committer.wait()
        assert isinstance(error, DiskFull) and is_full(error)
        assert log.count(OPEN) == 0

        ops.extend([(OPEN, n.to_bytes(8, "big"), None) for n in range(40)])
        committer.start(ops)
        assert committer.wait() is None
        committer.close()

        assert log.stages_apart == (engine == "c")
        assert log.count(OPEN) == 10


def test_one_thread_stages_while_others_read(engine: str, quick_folder: Path):
    """Blobs too, whose references are looked up while a batch is staged, and a map that grows."""
    with LmdbLog(quick_folder, map_size=MIB, ballast_bytes=0) as log:
        committer, over = Committer(log), threading.Event()
        wrong: list[object] = []

        def read() -> None:
            while not over.is_set():
                rows = log.scan(OPEN, limit=100)
                found = log.get_many(OPEN, [key for key, _ in rows])
                wrong.extend(key for key, value in rows if value[:8] != key)
                wrong.extend(value for value in found if value is not None and not value)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for turn in range(60):
            ops = []
            for n in range(30):
                key = (turn * 30 + n).to_bytes(8, "big")
                old = ((turn - 2) * 30 + n).to_bytes(8, "big", signed=True)
                ops.append((OPEN, key, key * (10_000 if n == 7 else 100)))
                ops.append((OPEN, old, None))
            if turn < 2:
                ops = ops[::2]
            committer.start(ops)
            assert committer.wait() is None
        over.set()
        for reader in readers:
            reader.join()
        committer.close()

        assert wrong == []
        assert log.count(OPEN) == 60
        assert log.damaged() == []
