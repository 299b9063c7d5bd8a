"""The twin's own powers: crashes and faults, as the simulator asks for them."""

from __future__ import annotations

import pytest

from meshcode.errors import DiskFull, LogDamaged, LogSuspect, NodeError
from meshcode.store.contract import FULL, META, OPEN, STATE, Usage
from meshcode.store.memory_log import MemoryDisk, MemoryLog


def write(log: MemoryLog, *ops: tuple[str, bytes, bytes | None]) -> None:
    log.stage(list(ops))
    log.sync()


def test_a_crash_drops_what_was_staged():
    log = MemoryLog()
    write(log, (OPEN, b"1", b"safe"))
    log.stage([(OPEN, b"2", b"staged"), (OPEN, b"1", None)])

    disk = log.crash()

    with pytest.raises(NodeError, match="closed"):
        log.sync()
    log = MemoryLog(disk)
    assert log.boot == 2
    assert log.scan(OPEN) == [(b"1", b"safe")]


def test_a_crash_may_keep_a_batch_nobody_heard_of():
    log = MemoryLog()
    log.stage([(OPEN, b"1", b"a")])
    log.stage([(OPEN, b"2", b"b")])

    log = MemoryLog(log.crash(keep=True))

    assert log.scan(OPEN) == [(b"1", b"a"), (b"2", b"b")]


@pytest.mark.parametrize("keep", [False, True])
def test_a_suspect_log_takes_no_writes_and_the_batch_may_be_there(keep: bool):
    log = MemoryLog()
    write(log, (OPEN, b"1", b"safe"))
    log.fail_next_sync("suspect", keep=keep)
    log.stage([(OPEN, b"2", b"doubtful")])

    with pytest.raises(LogSuspect):
        log.sync()

    for again in (lambda: log.stage([]), log.sync):
        with pytest.raises(LogSuspect):
            again()
    assert log.get(OPEN, b"1") == b"safe"
    disk = log.crash(keep=True)
    assert disk.suspect
    log = MemoryLog(disk)
    assert log.count(OPEN) == 1 + keep
    assert not disk.suspect


def test_a_full_disk_drops_the_batch_and_goes_on():
    log = MemoryLog()
    log.fail_next_sync("full")
    log.stage([(OPEN, b"1", b"a")])

    with pytest.raises(DiskFull):
        log.sync()

    log.sync()
    assert log.count(OPEN) == 0
    write(log, (OPEN, b"2", b"b"))
    assert log.scan(OPEN) == [(b"2", b"b")]


def test_faults_queue_up_and_wait_for_a_sync_that_writes():
    log = MemoryLog()
    log.fail_next_sync("full")
    log.fail_next_sync("full")
    log.sync()

    for _ in range(2):
        log.stage([(OPEN, b"1", b"a")])
        with pytest.raises(DiskFull):
            log.sync()
    write(log, (OPEN, b"1", b"a"))

    assert log.count(OPEN) == 1


def test_a_limit_in_bytes_keeps_room_for_deletes():
    disk = MemoryDisk(bytes_limit=100_000)
    log = MemoryLog(disk)
    count = 0
    with pytest.raises(DiskFull, match="it may take 100,000 bytes"):
        while True:
            write(log, (OPEN, b"%06d" % count, bytes(1000)))
            count += 1
    assert log.usage().level == FULL

    for n in range(count):
        write(log, (OPEN, b"%06d" % n, None))

    assert count == 91
    assert (log.count(OPEN), disk.bytes_used) == (0, 0)


def test_a_damaged_record_is_told_until_it_is_written_again():
    disk = MemoryDisk()
    log = MemoryLog(disk)
    write(log, (STATE, b"a", b"1"), (STATE, b"b", b"2"))
    disk.damage(STATE, b"a")

    assert log.scan(STATE, limit=1) == [(b"b", b"2")]
    with pytest.raises(LogDamaged):
        log.get(STATE, b"a")
    assert log.damaged() == [(STATE, b"a")]
    write(log, (STATE, b"a", b"3"))
    assert log.get(STATE, b"a") == b"3"


def test_a_given_identity_is_kept():
    disk = MemoryDisk(store_id=b"i" * 16)

    MemoryLog(disk).close()

    assert (MemoryLog(disk).store_id, disk.boot) == (b"i" * 16, 2)


GIB = 1 << 30


@pytest.mark.parametrize(
    ("used", "free", "reusable", "level"),
    [
        (0, 200 * GIB, 0, 0),
        (0, 5 * GIB, 0, 0),  # 97.5 % of 200 GiB, but 5 GiB is room enough.
        (0, 3 * GIB, 0, 1),
        (0, GIB // 2, 0, 2),
        (0, 0, 0, 2),
        (0, 0, 2 * GIB, 1),  # Freed pages of the log's own file are room too.
        (0, 0, 5 * GIB, 0),
        (54 * GIB, 100 * GIB, 0, 0),
        (55 * GIB, 100 * GIB, 0, 1),
        (61 * GIB, 100 * GIB, 0, 2),
    ],
)
def test_the_level_of_usage(used: int, free: int, reusable: int, level: int):
    usage = Usage(
        map_used=used,
        map_size=64 * GIB,
        map_limit=64 * GIB,
        disk_free=free,
        disk_total=200 * GIB,
        reusable=reusable,
    )

    assert usage.level == level


def test_a_small_disk_that_is_nearly_empty_is_good():
    usage = Usage(map_used=1 << 20, map_size=GIB, map_limit=GIB, disk_free=GIB // 2, disk_total=GIB)

    assert usage.level == 0


def test_reads_of_one_table_do_not_see_another():
    log = MemoryLog()

    write(log, (META, b"k", b"v"))

    assert log.get(STATE, b"k") is None
