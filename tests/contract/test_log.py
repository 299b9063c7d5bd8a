"""What every log owes the rest of meshcode.

The same tests hold the durable log, by either way to LMDB, and its twin in memory.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshcode.errors import FolderInUse, NodeError
from meshcode.limits import BLOB_BYTES_MIN
from meshcode.store import binding
from meshcode.store.contract import DONE, FULL, GOOD, KEY_BYTES_MAX, META, OPEN, STATE, TABLES, Log
from meshcode.store.engine_py import PyEngine
from meshcode.store.journaled import open_log as open_journaled
from meshcode.store.lmdb_log import LmdbLog
from meshcode.store.memory_log import MemoryDisk, MemoryLog

Opener = Callable[..., Log]


@pytest.fixture(params=["journaled", "lmdb", "lmdb-py", "memory"])
def open_log(
    request: pytest.FixtureRequest, quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Opener]:
    """Opens the log of this test; closed again at its end."""
    if request.param == "lmdb-py":
        monkeypatch.setattr(binding, "open_engine", PyEngine)
    elif request.param != "memory" and binding.BINDING == "py":
        pytest.skip("the C twin was not compiled here")
    disk = MemoryDisk()
    opened: list[Log] = []

    def open_it(*, boot: bool = True) -> Log:
        log: Log
        if request.param == "journaled":
            log = open_journaled(quick_folder / "data", boot=boot, map_size=1 << 20)
        elif request.param != "memory":
            log = LmdbLog(quick_folder / "data", boot=boot, map_size=1 << 20)
        else:
            log = MemoryLog(disk, boot=boot, gate=threading.Lock())
        opened.append(log)
        return log

    yield open_it
    for log in opened:
        log.close()


def number(n: int) -> bytes:
    return n.to_bytes(8, "big")


def write(log: Log, *ops: tuple[str, bytes, bytes | None]) -> None:
    log.stage(list(ops))
    log.sync()


def test_a_new_log_is_empty_and_has_an_identity(open_log: Opener):
    log = open_log()

    assert len(log.store_id) == 16
    assert log.boot == 1
    assert [log.count(table) for table in TABLES] == [0] * len(TABLES)
    assert [log.scan(table) for table in TABLES] == [[]] * len(TABLES)
    assert log.get(META, b"nothing") is None
    assert log.damaged() == []


def test_the_boots_are_counted_and_the_identity_stays(open_log: Opener):
    first = open_log()
    name = first.store_id
    first.close()
    second = open_log()
    second.close()

    third = open_log()

    assert (second.boot, third.boot) == (2, 3)
    assert third.store_id == name


def test_the_commit_number_only_goes_up_and_outlives_the_close(open_log: Opener):
    log = open_log()
    numbers = [log.commits]
    for n in range(1, 6):
        write(log, (OPEN, number(n), b"x" * n * (BLOB_BYTES_MIN // 2)))
        numbers.append(log.commits)
    write(log, (OPEN, number(1), None))
    numbers.append(log.commits)
    last = log.commits
    log.sync()
    log.stage([(OPEN, number(9), b"nine")])
    assert log.commits == last, "nothing new is on disk"
    log.close()
    again = open_log()
    numbers.append(again.commits)
    again.close()
    reader = open_log(boot=False)

    assert numbers == sorted(set(numbers)) and numbers[0] >= 1
    assert reader.commits == again.commits


def test_what_is_staged_cannot_be_seen_before_the_sync(open_log: Opener):
    log = open_log()

    log.stage([(OPEN, number(1), b"one")])
    before = log.get(OPEN, number(1)), log.count(OPEN), log.scan(OPEN)
    log.sync()

    assert before == (None, 0, [])
    assert log.get(OPEN, number(1)) == b"one"
    assert log.scan(OPEN) == [(number(1), b"one")]


def test_many_are_read_as_each_of_them_is(open_log: Opener):
    log = open_log()
    large = b"x" * (BLOB_BYTES_MIN + 1)
    write(log, (OPEN, number(1), b"one"), (OPEN, number(2), large), (OPEN, number(3), b""))
    keys = [number(n) for n in (2, 9, 3, 1, 1)] + [b"", b"k" * (KEY_BYTES_MAX + 1)]

    found = log.get_many(OPEN, keys)

    assert found == [large, None, b"", b"one", b"one", None, None]
    assert found == [log.get(OPEN, key) for key in keys]
    assert log.get_many(OPEN, []) == []


def test_several_stages_make_one_transaction_in_order(open_log: Opener):
    log = open_log()

    log.stage([(META, b"k", b"first"), (META, b"gone", b"x")])
    log.stage([(META, b"k", b"second"), (META, b"gone", None)])
    log.sync()

    assert log.scan(META) == [(b"k", b"second")]


def test_the_last_change_of_a_key_in_one_batch_wins(open_log: Opener):
    log = open_log()

    write(
        log,
        (STATE, b"a", b"1"),
        (STATE, b"a", None),
        (STATE, b"b", None),
        (STATE, b"b", b"2"),
        (STATE, b"c", b"3"),
        (STATE, b"c", b"4"),
    )

    assert log.scan(STATE) == [(b"b", b"2"), (b"c", b"4")]


def test_deleting_what_is_not_there_is_no_error(open_log: Opener):
    log = open_log()

    write(log, (DONE, b"never", None))

    assert log.count(DONE) == 0


def test_a_sync_with_nothing_staged_is_no_error(open_log: Opener):
    log = open_log()

    log.sync()
    log.stage([])
    log.sync()

    assert log.count(META) == 0


def test_synced_records_outlive_the_close_and_staged_ones_do_not(open_log: Opener):
    log = open_log()
    write(log, (OPEN, number(1), b"safe"))
    log.stage([(OPEN, number(2), b"not safe")])
    log.close()

    log = open_log()

    assert log.scan(OPEN) == [(number(1), b"safe")]


def test_tables_do_not_mix(open_log: Opener):
    log = open_log()

    write(log, *[(table, b"key", table.encode()) for table in TABLES])

    assert [log.get(table, b"key") for table in TABLES] == [table.encode() for table in TABLES]


def test_the_size_of_a_table_is_that_of_its_records_and_of_no_others(open_log: Opener):
    log = open_log()
    large = [bytes([n]) * (BLOB_BYTES_MIN + 10_000 * n) for n in range(1, 4)]
    total = sum(map(len, large))
    write(log, *[(DONE, number(n), value) for n, value in enumerate(large)])
    write(log, (DONE, number(0), large[0]), (META, b"other", large[2]))  # The same again.

    assert total <= log.size(DONE) < total + 32_768
    assert log.size(OPEN) < 4_097
    log.close()
    again = open_log()
    assert total <= again.size(DONE) < total + 32_768
    write(again, (DONE, number(0), b"small now"), (DONE, number(1), None))
    assert len(large[2]) <= again.size(DONE) < len(large[2]) + 32_768
    write(again, (DONE, number(0), None), (DONE, number(2), None))
    assert again.size(DONE) == 0


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 4096, BLOB_BYTES_MIN, BLOB_BYTES_MIN + 1, 300_000])
def test_values_of_any_size_come_back(open_log: Opener, size: int):
    """Above BLOB_BYTES_MIN the value has a file of its own; nobody can tell."""
    log = open_log()
    value = random.Random(size).randbytes(size)

    write(log, (DONE, b"k", value), (DONE, b"l", b"small"))
    log.close()
    log = open_log()

    assert log.get(DONE, b"k") == value
    assert log.scan(DONE) == [(b"k", value), (b"l", b"small")]


def test_a_large_value_can_be_replaced_deleted_and_written_again(open_log: Opener):
    log = open_log()
    big, other = b"a" * 100_000, b"b" * 100_000

    write(log, (DONE, b"k", big))
    write(log, (DONE, b"k", big))
    assert log.get(DONE, b"k") == big
    write(log, (DONE, b"k", other))
    assert log.get(DONE, b"k") == other
    write(log, (DONE, b"k", b"small"))
    assert log.get(DONE, b"k") == b"small"
    write(log, (DONE, b"k", big))
    log.stage([(DONE, b"k", None)])
    log.stage([(DONE, b"k", big)])
    log.sync()
    assert log.get(DONE, b"k") == big
    write(log, (DONE, b"k", None))
    assert log.get(DONE, b"k") is None


def test_a_scan_goes_in_key_order_from_start_on(open_log: Opener):
    log = open_log()
    write(log, *[(OPEN, number(n), b"%d" % n) for n in (5, 1, 3, 2, 4)])

    def found(**how: object) -> list[int]:
        rows = log.scan(OPEN, **how)  # type: ignore[arg-type]
        assert log.keys(OPEN, **how) == [key for key, _ in rows]  # type: ignore[arg-type]
        return [int(value) for _, value in rows]

    assert found() == [1, 2, 3, 4, 5]
    assert found(start=number(3)) == [3, 4, 5]
    assert found(start=number(3) + b"x") == [4, 5]
    assert found(start=number(9)) == []
    assert found(start=b"") == [1, 2, 3, 4, 5]
    assert found(limit=2) == [1, 2]
    assert found(limit=0) == []
    assert found(start=number(2), limit=2) == [2, 3]


def test_a_scan_goes_backwards_from_start_or_the_end(open_log: Opener):
    log = open_log()
    write(log, *[(OPEN, number(n), b"%d" % n) for n in range(1, 6)])

    def found(**how: object) -> list[int]:
        rows = log.scan(OPEN, reverse=True, **how)  # type: ignore[arg-type]
        keys = log.keys(OPEN, reverse=True, **how)  # type: ignore[arg-type]
        assert keys == [key for key, _ in rows]
        return [int(value) for _, value in rows]

    assert found() == [5, 4, 3, 2, 1]
    assert found(start=number(3)) == [3, 2, 1]
    assert found(start=number(3) + b"x") == [3, 2, 1]
    assert found(start=number(9)) == [5, 4, 3, 2, 1]
    assert found(start=number(0)) == []
    assert found(start=b"") == []
    assert found(start=number(4), limit=2) == [4, 3]


@pytest.mark.parametrize("key", [b"", b"k" * (KEY_BYTES_MAX + 1)])
def test_a_key_of_a_wrong_size_is_refused_and_nothing_else_lost(open_log: Opener, key: bytes):
    log = open_log()
    log.stage([(META, b"before", b"1")])

    with pytest.raises(ValueError, match=f"{len(key)} bytes, not 1 to {KEY_BYTES_MAX}"):
        log.stage([(META, b"with", b"2"), (META, key, b"3")])
    log.sync()

    assert log.scan(META) == [(b"before", b"1")]
    assert log.get(META, key) is None


def test_the_longest_key_is_kept(open_log: Opener):
    log = open_log()
    key = b"\xff" * KEY_BYTES_MAX

    write(log, (META, key, b"1"), (DONE, key, b"2" * 100_000))

    assert log.scan(META, start=key) == [(key, b"1")]
    assert log.scan(DONE, start=key, reverse=True) == [(key, b"2" * 100_000)]


def test_an_unknown_table_is_refused(open_log: Opener):
    log = open_log()

    with pytest.raises(ValueError, match="no table 'store'"):
        log.stage([("store", b"k", b"v")])

    log.sync()
    assert log.count(META) == 0


def test_one_log_at_a_time(open_log: Opener):
    log = open_log()

    with pytest.raises(FolderInUse):
        open_log()

    log.close()
    assert open_log().boot == 2


def test_a_closed_log_says_so(open_log: Opener):
    log = open_log()
    log.close()
    log.close()

    for use in (lambda: log.get(META, b"k"), lambda: log.stage([]), log.sync, log.usage):
        with pytest.raises(NodeError, match="closed"):
            use()


def test_a_log_opened_for_reading_counts_no_boot_and_takes_no_writes(open_log: Opener):
    log = open_log()
    write(log, (META, b"k", b"v"))
    log.close()

    reader = open_log(boot=False)
    assert reader.boot == 1
    assert reader.get(META, b"k") == b"v"
    with pytest.raises(NodeError, match="for reading only"):
        reader.stage([(META, b"k", b"w")])
    reader.close()

    assert open_log().boot == 2


def test_nothing_can_be_read_where_nothing_was_written(open_log: Opener):
    with pytest.raises(NodeError, match="no log"):
        open_log(boot=False)


def test_other_threads_read_only_whole_transactions(open_log: Opener):
    """Each transaction moves one unit between two records: a scan always sees the same sum."""
    log = open_log()
    write(log, (STATE, b"a", b"500"), (STATE, b"b", b"500"))
    sums: set[int] = set()
    reads = [0]
    ready, done = threading.Event(), threading.Event()

    def read() -> None:
        while not done.is_set():
            sums.add(sum(int(value) for _, value in log.scan(STATE)))
            reads[0] += 1
            ready.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert ready.wait(10)
    for n in range(1, 200):
        write(log, (STATE, b"a", b"%d" % (500 + n)), (STATE, b"b", b"%d" % (500 - n)))
    done.set()
    thread.join(10)

    assert sums == {1000}
    assert reads[0] > 1


def test_a_large_value_that_comes_and_goes_is_read_whole_or_not_at_all(open_log: Opener):
    """Its file is removed while others read; that must not look like damage."""
    log = open_log()
    values = [bytes([letter]) * 100_000 for letter in b"ab"]
    seen: set[bytes | None] = set()
    errors: list[Exception] = []
    ready, done = threading.Event(), threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                seen.add(log.get(DONE, b"k"))
                seen.update(value for _, value in log.scan(DONE))
                ready.set()
        except Exception as error:
            errors.append(error)
            ready.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert ready.wait(10)
    for n in range(150):
        write(log, (DONE, b"k", values[n % 2] if n % 3 else None))
    done.set()
    thread.join(10)

    assert errors == []
    assert seen <= {None, *values}
    assert log.damaged() == []


def test_a_random_history_ends_as_a_dictionary_says(open_log: Opener):
    """Puts, deletes, re-opens and lost stages of one seed, against plain dictionaries."""
    rng = random.Random(20261123)
    log = open_log()
    truth: dict[str, dict[bytes, bytes]] = {table: {} for table in TABLES}
    sizes = [0, 10, 300, 3000, 70_000]
    for _ in range(120):
        ops: list[tuple[str, bytes, bytes | None]] = []
        for _ in range(rng.randrange(12)):
            table, key = rng.choice(TABLES), number(rng.randrange(30))
            size = rng.choices(sizes, [4, 8, 8, 2, 1])[0]
            ops.append((table, key, None if rng.random() < 0.4 else rng.randbytes(size)))
        cut = rng.randrange(len(ops) + 1)
        log.stage(ops[:cut])
        log.stage(ops[cut:])
        if rng.random() < 0.1:
            log.close()
            log = open_log()
            continue
        log.sync()
        for table, key, value in ops:
            if value is None:
                truth[table].pop(key, None)
            else:
                truth[table][key] = value

    for table in TABLES:
        assert log.scan(table) == sorted(truth[table].items())
        assert log.scan(table, reverse=True) == sorted(truth[table].items(), reverse=True)
        assert log.count(table) == len(truth[table])


def test_usage_grows_with_what_is_kept_and_shrinks_again(open_log: Opener):
    log = open_log()
    empty = log.usage()
    write(log, *[(OPEN, number(n), os.urandom(1000)) for n in range(500)])
    some = log.usage()
    write(log, *[(OPEN, number(n), None) for n in range(500)])
    again = log.usage()

    assert some.map_used > empty.map_used + 400_000
    assert again.map_used < empty.map_used + 100_000
    assert some.map_used <= some.map_size <= some.map_limit
    assert 0 < some.disk_free <= some.disk_total
    assert GOOD <= some.level <= FULL
