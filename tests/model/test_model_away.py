"""Real model processes on a real Postgres: told of changes at once, and outliving the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshcode.model.client import ModelProcess
from meshcode.model.server import LISTENING_POLL_S
from tests.model.asking import Asker
from tests.model.postgres import empty_tables


@pytest.fixture
def start(server) -> Iterator[Callable[..., Asker]]:
    """Model processes on the private server, which these tests stop."""
    empty_tables(server.url)
    started: list[ModelProcess] = []

    def start_one(**options: Any) -> Asker:
        started.append(ModelProcess(server.url, **options))
        return Asker(started[-1])

    yield start_one
    for process in started:
        process.stop()


def test_changes_of_another_process_come_long_before_anybody_looks(start):
    """The ten of them would take 50 s if each were found by looking."""
    first, second = start(), start()
    second.process.start()
    second.until(second.snapshots)
    begun = time.monotonic()

    for n in range(10):
        first.ask("add", "queue", f"q{n}")
        second.until(lambda n=n: second.process.number == n + 1)

    assert time.monotonic() - begun < 5 * LISTENING_POLL_S
    assert second.snapshots()[-1] == first.snapshots()[-1]


def test_a_server_that_is_away_is_answered_and_when_it_is_back_all_goes_on(start, server):
    """No process dies of it, nobody starts one again, and whoever only listens hears again."""
    first, second = start(), start()
    first.ask("add", "queue", "before")
    second.ask("list", "queue")
    pids = (first.process.pid, second.process.pid)
    try:
        server.stop()
        refused = [first.answer(first.post("add", "queue", "q")) for _ in range(2)]
        second.until(lambda: [m for m in second.seen if "error" in m])
    finally:
        server.start()

    first.ask("add", "queue", "after")
    second.until(lambda: second.process.number == 2)

    assert {answer["error"]["code"] for answer in refused} == {"model_unavailable"}
    assert "nothing was changed and the node goes on" in refused[0]["error"]["text"]
    told = [m["error"] for m in second.seen if "error" in m]  # It may say that it ends or begins.
    assert {error["code"] for error in told} == {"model_unavailable"}
    assert len({error["text"] for error in told}) == len(told)
    assert set(second.snapshots()[-1]["queues"]) == {"before", "after"}
    assert (first.process.pid, second.process.pid) == pids
