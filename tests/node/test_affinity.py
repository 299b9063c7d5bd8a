"""The CPUs of a node's threads, beside those of its workers and other nodes on the machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode.node.affinity import Affinity, Neighbours, cpu_for
from meshcode.node.crew import WorkerProcess
from tests.node.scarcity import no_descriptors

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two CPUs and a system that lets threads choose",
)


@pytest.fixture
def place(tmp_path: Path) -> str:
    """An address of this test alone."""
    return f"\0meshcode/test/{os.getpid()}/{tmp_path.name}"


@pytest.fixture
def thread() -> Iterator[int]:
    """The id of another thread of this process."""
    is_over = threading.Event()
    other = threading.Thread(target=is_over.wait)
    other.start()
    assert other.native_id is not None
    yield other.native_id
    is_over.set()
    other.join()


def test_the_thread_leaves_the_cpus_of_workers_and_comes_back(place: str, thread: int):
    every = os.sched_getaffinity(0)
    affinity = Affinity(Neighbours(place))
    try:
        affinity.keep_off([min(every), None])
        assert os.sched_getaffinity(0) == every - {min(every)}
        assert os.sched_getaffinity(thread) == every, "others run where there is room"

        affinity.keep_off([])
        assert os.sched_getaffinity(0) == every
        affinity.keep_off([max(every)])
    finally:
        affinity.close()
    assert os.sched_getaffinity(0) == os.sched_getaffinity(thread) == every


def test_a_node_whose_workers_have_all_cpus_shares_them(place: str):
    every = os.sched_getaffinity(0)
    affinity = Affinity(Neighbours(place))
    try:
        affinity.keep_off(every)
        assert os.sched_getaffinity(0) == every
    finally:
        affinity.close()


def test_a_node_shares_all_cpus_as_long_as_another_one_is_on_the_machine(place: str):
    every = os.sched_getaffinity(0)
    affinity, other = Affinity(Neighbours(place)), Neighbours(place)
    try:
        affinity.keep_off([min(every)])
        assert os.sched_getaffinity(0) != every

        assert not other.is_alone()
        affinity.keep_off([min(every)])
        assert os.sched_getaffinity(0) == every

        other.close()
        affinity.keep_off([min(every)])
        assert os.sched_getaffinity(0) != every
    finally:
        affinity.close()


def test_who_came_second_is_the_first_once_that_has_gone(place: str):
    first, second, third = (Neighbours(place) for _ in range(3))
    assert first.is_alone()
    assert not second.is_alone()
    assert not third.is_alone()
    assert not first.is_alone()

    first.close()

    found = [second.is_alone(), third.is_alone(), second.is_alone()]
    assert found == [True, False, False]
    third.close()
    assert second.is_alone()
    second.close()


def test_a_node_whose_workers_have_all_cpus_is_known_to_the_others(place: str):
    affinity, other = Affinity(Neighbours(place)), Neighbours(place)
    try:
        affinity.keep_off(os.sched_getaffinity(0))
        assert not other.is_alone()
    finally:
        other.close()
        affinity.close()


def test_without_a_descriptor_left_it_is_asked_again(place: str):
    """For the meeting place, and for whoever comes there."""
    first, second = Neighbours(place), Neighbours(place)
    try:
        with no_descriptors():
            assert not first.is_alone()
        assert first.is_alone()
        assert not second.is_alone()
        with no_descriptors():
            assert first.is_alone(), "it does not know better"
        assert not first.is_alone()
    finally:
        first.close()
        second.close()


def test_a_worker_gets_the_cpu_that_has_the_fewest_of_its_kind():
    workers: list[WorkerProcess] = []

    def start(processor: str) -> int:
        cpu = cpu_for(processor, [4, 5, 6], workers)
        workers.append(WorkerProcess(len(workers), processor, "key", cpu))
        return cpu

    assert [start("a") for _ in range(3)] == [4, 5, 6]
    assert [start("b") for _ in range(2)] == [4, 5]
    assert start("c") == 6
    workers.pop(1)  # It died.
    assert start("a") == 5
    workers[0].stopping = "newer code took over"
    assert start("a") == 4
