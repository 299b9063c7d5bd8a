"""A scripted run of the log on a disk that fails at the n-th changing call; run by test_faults.py.

    LD_PRELOAD=disk.so python failing.py FOLDER FAULT LOG

For every n: open, write, close, with the n-th call failing (`eio`, `enospc`, `short`), two or three
in a row (`tight`, `full`), or it and all after it (`dead`).  Then the disk is well again: the next
open must find what was acknowledged and nothing half.  Nor is anything there of a turn that was
refused for lack of room, if the process dies then: that is tried with a copy of the folder.  LOG is
"tree" or "journaled": with a journal so small that it is put into the tree twice a run.  Prints one
JSON object of what happened.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from meshcode.errors import DiskFull, LogSuspect, NodeError
from meshcode.store import journal
from meshcode.store.contract import DONE, OPEN, Log
from meshcode.store.journaled import open_log
from meshcode.store.lmdb_log import LmdbLog

FAULTS = {
    "eio": (1, errno.EIO),
    "enospc": (1, errno.ENOSPC),
    "tight": (2, errno.ENOSPC),
    "full": (3, errno.ENOSPC),
    "short": (1, 0),
    "dead": (1_000_000, errno.EIO),
}
KIND = sys.argv[3]
TURNS = {"tree": 6, "journaled": 12}[KIND]
LARGE_EVERY = {"tree": 2, "journaled": 8}[KIND]  # What is large goes to the tree at once.
LARGE = 100_000
journal.FILE_BYTES, journal.ENTRY_BYTES_MAX = 48 << 10, 24 << 10


def turn(number: int) -> list[tuple[str, bytes, bytes | None]]:
    """Two records that belong together, one of them large; and the pair before last goes."""
    key, old = number.to_bytes(8, "big"), (number - 2).to_bytes(8, "big", signed=True)
    size = LARGE if number % LARGE_EVERY == 1 else 5_000
    ops: list[tuple[str, bytes, bytes | None]] = [
        (OPEN, key, b"o" * 3000),
        (DONE, key, b"%d" % number * size),  # One byte each, `size` times.
    ]
    if number > 2:
        ops += [(OPEN, old, None), (DONE, old, None)]
    return ops


def open_it(folder: Path) -> Log:
    """The log that is tried."""
    opener: Any = LmdbLog if KIND == "tree" else open_log
    log: Log = opener(folder, map_size=1 << 20)
    return log


def keys_after(number: int) -> list[int]:
    """The numbers whose pairs are kept after turn `number`."""
    return [n for n in (number - 1, number) if n > 0]


def run(folder: Path, seen: Counter[str]) -> tuple[int, int]:
    """One run on a disk that may fail: the last turn acknowledged, the last one tried."""
    acked = tried = 0
    try:
        with contextlib.closing(open_it(folder)) as log:
            for number in range(1, TURNS + 1):
                while acked < number:
                    tried = number
                    try:
                        log.stage(turn(number))
                        log.sync()
                        acked = number
                    except DiskFull:
                        seen["DiskFull"] += 1  # The log goes on: the same turn again.
                        check_killed(folder, acked)
                    except LogSuspect:
                        seen["LogSuspect"] += 1
                        refuses_writes(log)
                        return acked, tried
    except NodeError as error:
        seen[f"open: {type(error).__name__}"] += 1
    return acked, tried


def refuses_writes(log: Log) -> None:
    """After LogSuspect nothing may be written any more."""
    for write in (lambda: log.stage(turn(1)), log.sync):
        try:
            write()
        except LogSuspect:
            continue
        raise AssertionError("a suspect log took a write")


def check_killed(folder: Path, acked: int) -> None:
    """If the process died now, the next would find what was acknowledged, and no more."""
    copy = folder.with_name("killed")  # Not below the folder whose disk fails.
    shutil.copytree(folder, copy)
    try:
        check(copy, acked, acked)
    finally:
        shutil.rmtree(copy)


def check(folder: Path, acked: int, tried: int) -> None:
    """The disk is well again: all that was acknowledged is there, and nothing is half there."""
    with contextlib.closing(open_it(folder)) as log:
        found = {
            table: [int.from_bytes(key, "big") for key, _ in log.scan(table)]
            for table in (OPEN, DONE)
        }
        assert found[OPEN] == found[DONE], found
        assert found[OPEN] in (keys_after(acked), keys_after(tried)), (found, acked, tried)
        for number in found[DONE]:
            assert log.get(DONE, number.to_bytes(8, "big")) == turn(number)[1][2]
        assert log.damaged() == []
        log.stage(turn(TURNS + 1))
        log.sync()
        files = [path for path in (folder / "blobs").rglob("*") if path.is_file()]
        large = [key for key, value in log.scan(DONE) if len(value) == LARGE]
        assert len(files) == len(large), files


def main() -> None:
    folder, fault = Path(sys.argv[1]), sys.argv[2]
    disk = ctypes.CDLL(os.environ["LD_PRELOAD"])
    disk.disk_calls.restype = ctypes.c_long
    disk.disk_fail.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_int]
    disk.disk_watch(os.fsencode(folder))
    times, error = FAULTS[fault]
    seen: Counter[str] = Counter()
    point = 0
    while True:
        point += 1
        shutil.rmtree(folder, ignore_errors=True)
        disk.disk_fail(point, times, error)
        acked, tried = run(folder, seen)
        reached = disk.disk_calls() >= point
        disk.disk_fail(0, 0, 0)
        check(folder, acked, tried)
        if not reached:
            break
        seen["acknowledged all" if acked == TURNS else "stopped early"] += 1
    json.dump({"points": point - 1, **seen}, sys.stdout)


if __name__ == "__main__":
    main()
