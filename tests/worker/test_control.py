"""The control page: what each side reads of the other, and the cancel ring."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from meshcode.ids import make_id
from meshcode.worker.control import (
    ASYNC_ROWS,
    CANCEL_ROWS,
    PAGE_BYTES,
    REASON_CANCEL,
    REASON_TIME_LIMIT,
    ControlPage,
    Running,
)


@pytest.fixture
def sides(tmp_path: Path):
    path = str(tmp_path / "page")
    node = ControlPage.create(path)
    worker = ControlPage.open(path)
    yield node, worker
    worker.close()
    node.close()


def test_a_call_is_seen_from_begin_to_finish(sides):
    node, worker = sides
    first, second = make_id(), make_id()
    assert node.current() is None

    worker.begin(first, 3, 1000)
    assert node.current() == Running(first, 3, 1000)
    assert (node.begun, node.finished) == (1, 0)

    worker.finish()
    assert node.current() is None
    worker.begin(second, 1, 2000)
    assert node.running() == [Running(second, 1, 2000)]
    assert (node.begun, node.finished) == (2, 1)


def test_a_reader_never_sees_half_a_call(sides):
    """Id, attempt and start belong together in every read, while another thread writes."""
    node, worker = sides
    done = threading.Event()

    def write() -> None:
        for number in range(1, 20_000):
            worker.begin(number.to_bytes(16, "big"), number & 0xFFFF, number)
            worker.finish()
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = 0
    while not done.is_set():
        current = node.current()
        if current is not None:
            seen += 1
            number = int.from_bytes(current.id, "big")
            assert (current.attempt, current.started_ns) == (number & 0xFFFF, number)
    thread.join()
    assert node.begun == node.finished == 19_999
    assert seen >= 0


def test_async_calls_have_rows_of_their_own(sides):
    node, worker = sides
    ids = [make_id() for _ in range(ASYNC_ROWS)]
    for row, call_id in enumerate(ids):
        worker.begin_async(row, call_id, 1, row)
    worker.finish_async(5)

    running = node.running()

    assert [r.id for r in running] == ids[:5] + ids[6:]
    assert (node.begun, node.finished) == (ASYNC_ROWS, 1)


def test_cancels_arrive_in_order_and_once(sides):
    node, worker = sides
    ids = [make_id() for _ in range(CANCEL_ROWS)]
    for number, call_id in enumerate(ids):
        assert node.ask_cancel(call_id, "time limit" if number % 2 else "cancel")

    assert not node.ask_cancel(make_id(), "cancel"), "the ring is full"
    reasons = [REASON_CANCEL, REASON_TIME_LIMIT] * (CANCEL_ROWS // 2)
    assert worker.take_cancels() == list(zip(ids, reasons, strict=True))
    assert worker.take_cancels() == []
    assert node.ask_cancel(ids[0], "cancel")
    assert worker.take_cancels() == [(ids[0], REASON_CANCEL)]


def test_the_page_outlives_the_worker(tmp_path: Path):
    """A process that is killed between two stores leaves the evidence of what it was doing."""
    path = str(tmp_path / "page")
    node = ControlPage.create(path)
    call_id = make_id()
    pid = os.fork()
    if not pid:
        page = ControlPage.open(path)
        page.set_pid(os.getpid())
        page.begin(call_id, 2, 77)
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)

    assert node.pid == pid
    assert node.running() == [Running(call_id, 2, 77)]
    node.close()


def test_words_the_worker_shows(sides):
    node, worker = sides
    worker.stamp(123)
    worker.set_resident(456)
    assert (node.stamp_ns, node.resident) == (123, 456)


def test_only_its_owner_may_read_a_page(sides):
    node, _worker = sides
    assert os.stat(node.path).st_mode & 0o777 == 0o600
    assert os.stat(node.path).st_size == PAGE_BYTES


def test_another_file_is_refused(tmp_path: Path):
    path = tmp_path / "other"
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"begins with b'hello' and has 5 bytes, wanted .* 4096"):
        ControlPage.open(str(path))
    with pytest.raises(FileNotFoundError):
        ControlPage.open(str(tmp_path / "none"))
