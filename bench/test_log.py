"""How fast the durable log is: staging, syncing, scanning, getting.

pytest bench/test_log.py --benchmark-only
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode.store.contract import DONE, OPEN, STATE, Op
from meshcode.store.lmdb_log import LmdbLog

VALUE = os.urandom(300)
SCANNED = 200_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LmdbLog]:
    with LmdbLog(tmp_path / "log") as opened:
        yield opened


def key(n: int) -> bytes:
    return n.to_bytes(8, "big")


@pytest.mark.parametrize("batch", [1, 64, 512])
def test_accept(benchmark, log: LmdbLog, batch: int):
    """New calls: appended, one sync a batch."""
    turn = iter(range(10**9))

    def accept() -> None:
        start = next(turn) * batch
        log.stage([(OPEN, key(start + n), VALUE) for n in range(batch)])
        log.sync()

    benchmark(accept)
    benchmark.extra_info["calls_per_second"] = round(batch / benchmark.stats.stats.median)
    assert log.count(OPEN) % batch == 0


@pytest.mark.parametrize("batch", [64, 512])
def test_stage_only(benchmark, log: LmdbLog, batch: int):
    """The part that holds the interpreter lock."""
    turn = iter(range(10**9))

    def prepare() -> tuple[tuple[list[Op]], dict[str, object]]:
        log.sync()
        start = next(turn) * batch
        return ([(OPEN, key(start + n), VALUE) for n in range(batch)],), {}

    benchmark.pedantic(log.stage, setup=prepare, rounds=200)
    benchmark.extra_info["us_per_record"] = benchmark.stats.stats.median / batch * 1e6
    assert log.damaged() == []


@pytest.mark.parametrize("batch", [64, 512])
def test_life_of_calls(benchmark, log: LmdbLog, batch: int):
    """New calls beside the end of as many older ones: put, put outcome, delete."""
    turn = iter(range(10**9))
    ids = os.urandom(8)

    def live() -> None:
        start = next(turn) * batch
        ops: list[Op] = [(OPEN, key(start + n), VALUE) for n in range(batch)]
        for n in range(start - 10 * batch, start - 9 * batch):
            if n >= 0:
                ops += [(DONE, key(n) + ids, VALUE), (OPEN, key(n), None), (STATE, key(n), None)]
        log.stage(ops)
        log.sync()

    benchmark(live)
    benchmark.extra_info["calls_per_second"] = round(batch / benchmark.stats.stats.median)
    assert log.count(OPEN) <= 10 * batch


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LmdbLog]:
    with LmdbLog(tmp_path_factory.mktemp("filled")) as opened:
        for start in range(0, SCANNED, 4000):
            opened.stage([(OPEN, key(start + n), VALUE) for n in range(4000)])
            opened.sync()
        yield opened


def test_recovery_scan(benchmark, filled: LmdbLog):
    """All open calls, as a node reads them when it starts; every checksum is checked."""

    def scan() -> int:
        count, start = 0, b""
        while page := filled.scan(OPEN, start, limit=4096):
            count += len(page)
            start = page[-1][0] + b"\0"
        return count

    assert benchmark.pedantic(scan, rounds=3) == SCANNED
    benchmark.extra_info["records_per_second"] = round(SCANNED / benchmark.stats.stats.median)


def test_get(benchmark, filled: LmdbLog):
    turn = iter(range(10**9))

    value = benchmark(lambda: filled.get(OPEN, key(next(turn) * 7919 % SCANNED)))

    assert value == VALUE


def test_usage(benchmark, filled: LmdbLog):
    assert benchmark(filled.usage).level == 0


def test_open_and_close(benchmark, tmp_path: Path):
    def reopen() -> int:
        with LmdbLog(tmp_path / "log") as log:
            return log.boot

    assert benchmark(reopen) > 0
