"""What wakes the node's thread: readable when woken, and nothing at all when the node is gone."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from meshcode.node.waker import Waker


def is_woken(waker: Waker) -> bool:
    return bool(select.select([waker], [], [], 0)[0])


def test_it_is_readable_until_it_is_cleared_however_often_it_was_woken():
    waker = Waker()
    assert not is_woken(waker)

    for _ in range(100_000):  # More than a pipe holds.
        waker.wake()
    assert is_woken(waker)
    waker.clear()
    assert not is_woken(waker)
    waker.wake()
    assert is_woken(waker)
    waker.close()


def test_nothing_is_written_into_what_has_its_descriptors_after_it(tmp_path: Path):
    waker = Waker()
    read = waker.fileno()
    waker.close()
    opened = [os.open(tmp_path / str(n), os.O_CREAT | os.O_RDWR) for n in range(8)]
    assert read in opened, "the number is taken"

    waker.wake()

    assert [os.fstat(fd).st_size for fd in opened] == [0] * 8
    for fd in opened:
        os.close(fd)


def test_a_signal_may_wake_it_while_its_thread_does(monkeypatch):
    """`Loop.stop` is called by signal handlers of the node's own thread."""
    waker, write = Waker(), os.write
    before = signal.signal(signal.SIGUSR1, lambda *_: waker.wake())

    def interrupted(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        signal.raise_signal(signal.SIGUSR1)
        return write(fd, data)

    monkeypatch.setattr(os, "write", interrupted)
    try:
        waker.wake()
        assert is_woken(waker)
    finally:
        signal.signal(signal.SIGUSR1, before)
        waker.close()
