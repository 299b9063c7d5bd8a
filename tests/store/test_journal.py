"""The journal before the tree: its entries, what a crash leaves of it, and how both are one log."""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode import limits
from meshcode.errors import DiskFull, LogDamaged
from meshcode.limits import BLOB_BYTES_MIN
from meshcode.native import pure
from meshcode.store import binding, journal, journaled
from meshcode.store.ballast import ROOM_FACTOR
from meshcode.store.contract import DONE, META, OPEN, STATE, TABLES, Op
from meshcode.store.engine_py import PyEngine
from meshcode.store.journal import JournalFile
from meshcode.store.journaled import JournaledLog, open_log
from meshcode.store.lmdb_log import LmdbLog

STORE = bytes(range(16))
SMALL_BYTES = 32 << 10

keys = st.binary(min_size=1, max_size=40)
tables = st.dictionaries(
    st.sampled_from(TABLES),
    st.dictionaries(keys, st.none() | st.binary(max_size=200), min_size=1, max_size=8),
    max_size=4,
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """A journal of a few pages, so that a test fills it; its bytes."""
    monkeypatch.setattr(journal, "FILE_BYTES", SMALL_BYTES)
    monkeypatch.setattr(journal, "ENTRY_BYTES_MAX", SMALL_BYTES // 2)
    return SMALL_BYTES


@pytest.fixture
def opened(quick_folder: Path, small: int) -> Iterator[Callable[..., JournaledLog]]:
    """Opens the log of this test, with a small journal before it; closed at the end."""
    if binding.BINDING != "c":
        pytest.skip("the C twin was not compiled here")
    logs: list[Any] = []

    def open_it(folder: Path = quick_folder / "data", **options: Any) -> Any:
        log = open_log(folder, ballast_bytes=0, **options)
        logs.append(log)
        return log

    yield open_it
    for log in logs:
        log.close()


def number(n: int) -> bytes:
    return n.to_bytes(8, "big")


def write(log: JournaledLog | LmdbLog, *ops: Op) -> None:
    log.stage(list(ops))
    log.sync()


def killed(log: JournaledLog, target: Path) -> Path:
    """What the folder of a log is when its process dies now: a copy."""
    log._wait_for_mover()
    return Path(shutil.copytree(log.folder, target))


# Entries.


@given(st.lists(tables, min_size=1, max_size=3), st.integers(1, 2**60))
@settings(max_examples=60)
def test_an_entry_is_read_as_it_was_written_by_either_twin(batches: list[Any], number: int):
    bodies = [journal.body_of(changes) for changes in batches]
    entry = journal.entry_of(number, bodies)
    end = journal.HEAD.size + journal.HEAD.unpack_from(entry)[3]
    handle = os.memfd_create("journal")
    try:
        journal.native.append(handle, 4096, entry, end, crc32(STORE))
        written = os.pread(handle, len(entry) + 4096, 4096)
        pure.append(handle, 0, bytearray(entry), end, crc32(STORE))
        again = os.pread(handle, len(entry), 0)
    finally:
        os.close(handle)

    assert written == again
    assert len(entry) % journal.PAGE_BYTES == 0
    assert len(entry) == journal.size_of(bodies)
    (found,) = journal._batches(written, STORE)
    assert found.number == number
    merged: dict[Any, Any] = {}
    for changes in batches:
        for table, values in changes.items():
            merged.update({(table, key): value for key, value in values.items()})
    told = {
        (table, key): value
        for changes in found.changes
        for table, values in changes.items()
        for key, value in values.items()
    }
    assert told == merged
    assert not list(journal._batches(written, bytes(16))), "it is of another store"


@given(tables, st.integers(0, 2**32 - 1), st.integers(0, 255))
@settings(max_examples=60)
def test_an_entry_with_another_byte_in_it_is_none(changes: Any, place: int, byte: int):
    entry = journal.entry_of(7, [journal.body_of(changes)])
    end = journal.HEAD.size + journal.HEAD.unpack_from(entry)[3]
    handle = os.memfd_create("journal")
    journal.native.append(handle, 0, entry, end, crc32(STORE))
    os.close(handle)
    place %= end
    changed = bytearray(entry)
    changed[place] = byte

    found = list(journal._batches(bytes(changed), STORE))

    assert bool(found) == (changed == entry)


@given(st.lists(tables, max_size=4))
@settings(max_examples=40)
def test_both_twins_flatten_alike(batches: list[Any]):
    sections = [
        (n, 1, 7 * n, values)
        for n, changes in enumerate(batches)
        for values in changes.values()
    ]  # fmt: skip

    assert journal.native.flatten(sections) == pure.flatten(sections)


def test_an_append_that_fails_says_why(tmp_path: Path):
    entry = journal.entry_of(1, [journal.body_of({META: {b"k": b"v"}})])
    path = tmp_path / "read-only"
    path.write_bytes(b"")
    handle = os.open(path, os.O_RDONLY)
    try:
        for append in (journal.native.append, pure.append):
            with pytest.raises(OSError, match="Bad file descriptor"):
                append(handle, 0, entry, 40, 0)
    finally:
        os.close(handle)


# What is found.


def entries(folder: Path, name: str, *numbers: int) -> None:
    """Write a journal file of its own making, from its beginning."""
    file = JournalFile(folder / name, STORE)
    for one in numbers:
        file.append(
            journal.entry_of(one, [journal.body_of({META: {b"n": b"%d" % one}})])
        )  # fmt: skip
    file.close()


def numbers(folder: Path, applied: int) -> list[int]:
    return [batch.number for batch in journal.newer(folder, STORE, applied)]


def test_what_the_tree_has_is_left_out_and_both_files_are_one_row(tmp_path: Path, small: int):
    assert numbers(tmp_path, 0) == []
    entries(tmp_path, "journal.0", 11, 12)
    entries(tmp_path, "journal.1", 8, 9, 10)

    assert numbers(tmp_path, 7) == [8, 9, 10, 11, 12]
    assert numbers(tmp_path, 9) == [10, 11, 12]
    assert numbers(tmp_path, 12) == []
    assert (tmp_path / "journal.0").stat().st_size == small


def test_entries_of_a_former_use_of_the_file_are_left_out(tmp_path: Path, small: int):
    entries(tmp_path, "journal.0", 1, 2, 3, 4, 5)
    entries(tmp_path, "journal.0", 6, 7)

    assert numbers(tmp_path, 5) == [6, 7]
    assert small == SMALL_BYTES


def test_a_batch_that_is_missing_between_others_is_told(tmp_path: Path, small: int):
    entries(tmp_path, "journal.0", 1, 2, 3)
    path = tmp_path / "journal.0"
    data = bytearray(path.read_bytes())
    data[journal.PAGE_BYTES + 60] ^= 1
    path.write_bytes(data)

    with pytest.raises(LogDamaged, match="lacks batch 2, and has 2 from 1 to 3; nothing was chan"):
        numbers(tmp_path, 0)
    lacking: list[int] = []
    found = journal.newer(tmp_path, STORE, 0, lacking)
    assert ([batch.number for batch in found], lacking) == ([1, 3], [2]), "who asks gets the rest"
    data[2 * journal.PAGE_BYTES + 60] ^= 1  # As if the last two had never been whole.
    path.write_bytes(data)
    assert numbers(tmp_path, 0) == [1]
    assert small == SMALL_BYTES


def test_an_entry_that_was_taken_back_is_not_there_and_those_around_it_are(
    tmp_path: Path, small: int
):
    entries(tmp_path, "journal.0", 5, 6, 7)
    entries(tmp_path, "journal.1", 8, 9)
    path = tmp_path / "journal.1"
    file = JournalFile(path, STORE)
    file.at = journal.PAGE_BYTES  # As if the sync of the second had failed.
    entry = bytearray(path.read_bytes()[file.at : file.at + journal.PAGE_BYTES])
    before, other = path.read_bytes(), bytearray(entry)
    other[journal.HEAD.size] ^= 1  # As if not all of it had been written.

    file.take_back(other)
    assert path.read_bytes() == before
    file.take_back(entry)

    assert numbers(tmp_path, 4) == [5, 6, 7, 8]
    file.append(journal.entry_of(9, [journal.body_of({META: {b"n": b"again"}})]))
    file.close()
    assert numbers(tmp_path, 4) == [5, 6, 7, 8, 9]
    assert small == SMALL_BYTES


# One log.


def test_what_was_synced_is_there_after_the_process_died(
    opened: Callable[..., JournaledLog], tmp_path: Path
):
    log = opened()
    for n in range(40):
        write(log, (OPEN, number(n), os.urandom(500)), (META, b"n", b"%d" % n))
        if n > 3:
            write(log, (OPEN, number(n - 3), None))
    log.stage([(META, b"n", b"never synced")])
    rows, commits = log.scan(OPEN), log.commits

    again = opened(killed(log, tmp_path / "copy"))

    assert again.scan(OPEN) == rows
    assert again.get(META, b"n") == b"39"
    assert again.commits > commits
    assert again.boot == 2


def test_a_batch_is_in_the_tree_before_its_file_is_written_anew(
    opened: Callable[..., JournaledLog], small: int
):
    log = opened()
    for n in range(100):
        write(log, (DONE, number(n), bytes(3000)))
        unmoved = sum(len(layer.changes.get(DONE, ())) for layer in log._layers)
        assert unmoved * 4096 <= 2 * small

    assert log.count(DONE) == 100
    assert log.tree.count(DONE) > 80


def test_where_no_thread_is_to_be_had_the_tree_is_written_at_once(
    opened: Callable[..., JournaledLog], monkeypatch: pytest.MonkeyPatch
):
    log = opened()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for n in range(40):
        write(log, (DONE, number(n), bytes(3000)))

    assert log.count(DONE) == 40
    assert log.tree.count(DONE) > 20
    assert [key for key, _ in log.scan(DONE)] == [number(n) for n in range(40)]


@pytest.mark.parametrize("size", [BLOB_BYTES_MIN + 1, 1000])
def test_a_large_batch_goes_to_the_tree_with_all_before_it(
    opened: Callable[..., JournaledLog], size: int
):
    log = opened()
    write(log, (OPEN, number(1), b"before"), (OPEN, number(2), b"gone"))
    write(log, (OPEN, number(2), None))
    write(log, *[(OPEN, number(n), bytes(size)) for n in range(10, 40)])
    assert (log.tree.get(OPEN, number(1)), log.tree.get(OPEN, number(2))) == (b"before", None)
    write(log, (OPEN, number(39), b"small now"))

    assert log.tree.get(OPEN, number(39)) == bytes(size)
    assert log.get(OPEN, number(39)) == b"small now"
    assert log.get_many(OPEN, [number(1), number(2), number(10), number(39)]) == [
        b"before", None, bytes(size), b"small now",
    ]  # fmt: skip


def blob_files(log: JournaledLog) -> int:
    return sum(path.is_file() for path in (log.folder / "blobs").glob("*/*"))


def test_what_deletes_have_let_go_of_is_given_back_when_asked_for(
    opened: Callable[..., JournaledLog], tmp_path: Path
):
    log = opened()
    write(log, *[(DONE, number(n), bytes(BLOB_BYTES_MIN + 1)) for n in range(4)])
    assert not log.holds_back
    write(log, (DONE, number(0), None), (DONE, number(1), b"small now"))
    assert (blob_files(log), log.holds_back) == (4, True)

    log.give_back()
    assert not log.syncs_briefly, "the tree is written"
    write(log, (DONE, number(2), None), (META, b"k", b"v"))

    assert (blob_files(log), log.holds_back) == (1, False)
    write(log, (META, b"k", b"w"))
    assert log.tree.get(META, b"k") == b"v", "once"
    again = opened(killed(log, tmp_path / "copy"))
    assert [key for key, _ in again.scan(DONE)] == [number(1), number(3)]
    assert again.get(META, b"k") == b"w"


def test_a_tree_without_room_gives_nothing_back_and_the_journal_goes_on(
    opened: Callable[..., JournaledLog], monkeypatch: pytest.MonkeyPatch
):
    log = opened()
    write(log, (DONE, number(0), bytes(BLOB_BYTES_MIN + 1)))
    write(log, (DONE, number(0), None))

    def no_room() -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(log.tree, "_commit", no_room)
        log.give_back()
        write(log, (META, b"k", b"v"))
    assert (log.get(META, b"k"), log.get(DONE, number(0))) == (b"v", None)
    assert (blob_files(log), log.holds_back) == (1, True)

    log.give_back()
    write(log, (META, b"k", b"w"))
    assert (blob_files(log), log.get(META, b"k")) == (0, b"w")


def test_a_sync_is_brief_when_it_needs_no_more_than_the_journal(
    opened: Callable[..., JournaledLog], small: int
):
    log = opened()

    def is_brief(*sizes: int) -> bool:
        log.stage([(OPEN, number(n), bytes(size)) for n, size in enumerate(sizes)])
        brief = log.syncs_briefly
        log.sync()
        return brief

    assert log.syncs_briefly
    assert is_brief(100)
    assert not is_brief(BLOB_BYTES_MIN + 1), "it goes into a file of its own"
    assert is_brief(100)
    assert not is_brief(*[1_000] * (small // 1_000)), "it is more than a journal takes"
    assert is_brief(100)


def test_a_sync_that_would_wait_for_the_tree_is_not_brief(
    opened: Callable[..., JournaledLog], monkeypatch: pytest.MonkeyPatch
):
    log, go = opened(), threading.Event()
    move = log._move
    monkeypatch.setattr(log, "_move", lambda: (go.wait(60), move()))
    brief = []
    for n in range(100):
        log.stage([(OPEN, number(n), bytes(3_000))])
        brief.append(log.syncs_briefly)
        if not brief[-1]:
            break
        log.sync()

    assert not brief.pop()
    assert all(brief) and len(brief) > 10, "as long as one of both files has room"
    go.set()
    log.sync()
    assert log.count(OPEN) == len(brief) + 1


def test_a_log_that_is_only_read_shows_what_the_journal_has(
    opened: Callable[..., JournaledLog], tmp_path: Path
):
    log = opened()
    write(log, (OPEN, number(1), b"a"), (OPEN, number(2), b"b"))
    folder = killed(log, tmp_path / "copy")
    before = {path.name: path.read_bytes() for path in folder.glob("*.*")}

    for _ in range(2):
        reader = opened(folder, boot=False)
        assert reader.scan(OPEN, reverse=True) == [(number(2), b"b"), (number(1), b"a")]
        assert reader.count(OPEN) == 2
        assert reader.commits == log.commits
        reader.close()
    assert {path.name: path.read_bytes() for path in folder.glob("*.*")} == before


def test_without_our_c_the_journal_is_taken_over_and_no_other_is_written(
    opened: Callable[..., JournaledLog], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log = opened()
    for n in range(5):
        write(log, (OPEN, number(n), b"%d" % n))
    folder, commits = killed(log, tmp_path / "copy"), log.commits
    monkeypatch.setattr(binding, "open_engine", PyEngine)

    other = opened(folder)
    assert isinstance(other, LmdbLog)
    assert other.count(OPEN) == 5
    assert other.commits > commits
    write(other, (OPEN, number(0), None), (OPEN, number(7), b"7"))
    commits, rows = other.commits, other.scan(OPEN)
    other.close()
    monkeypatch.undo()

    again = opened(folder)
    assert isinstance(again, JournaledLog)
    assert again.scan(OPEN) == rows, "what the journal had does not come back over it"
    assert again.commits > commits


def test_a_disk_with_little_room_is_left_without_a_journal(
    opened: Callable[..., JournaledLog], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journaled, "disk_room", lambda _folder: (1 << 16, 1 << 40))
    log = opened()

    write(log, (META, b"k", b"v"))

    assert isinstance(log, LmdbLog)
    assert log.get(META, b"k") == b"v"


def test_from_what_free_room_on_there_is_a_ballast_is_told_as_it_is():
    ballast = journaled._BALLAST_FILES * journal.FILE_BYTES
    assert ROOM_FACTOR * ballast == limits.BALLAST_FREE_BYTES


def test_a_tree_without_room_refuses_the_batch_and_keeps_all_before(
    opened: Callable[..., JournaledLog], tmp_path: Path
):
    log = opened(map_size=256 << 10, map_limit=256 << 10)
    safe = 0
    with pytest.raises(DiskFull, match="nothing of this batch was kept, all before it is safe"):
        for n in range(1000):
            write(log, (OPEN, number(n), bytes(2000)))
            safe = n + 1
    assert log.count(OPEN) == safe > 50
    assert log.get(OPEN, number(safe)) is None

    again = opened(killed(log, tmp_path / "copy"), map_size=1 << 20)
    assert again.count(OPEN) == safe
    write(log, *[(OPEN, number(n), None) for n in range(safe)])  # What makes room may go on.
    assert log.count(OPEN) == 0
    write(log, (OPEN, number(1), b"new"))
    assert log.scan(OPEN) == [(number(1), b"new")]


@pytest.mark.parametrize("seed", range(6))
def test_journal_and_tree_are_one_log_to_all_who_read(
    opened: Callable[..., JournaledLog], tmp_path: Path, seed: int
):
    rng = random.Random(seed)
    log: Any = opened()
    truth: dict[str, dict[bytes, bytes]] = {OPEN: {}, STATE: {}}
    for turn in range(150):
        ops: list[Op] = []
        for _ in range(rng.randint(1, 12)):
            table = rng.choice([OPEN, STATE])
            key = b"%d" % rng.randrange(200)
            value = None if rng.random() < 0.4 else rng.randbytes(rng.randint(0, 400))
            ops.append((table, key, value))
            if value is None:
                truth[table].pop(key, None)
            else:
                truth[table][key] = value
        write(log, *ops)
        if turn % 37 == 20:
            log = opened(killed(log, tmp_path / f"copy{turn}"))
        elif turn % 37 == 30:
            folder = log.folder
            log.close()
            log = opened(folder)
        table = rng.choice([OPEN, STATE])
        expected = sorted(truth[table].items())
        assert log.count(table) == len(expected)
        assert log.scan(table) == expected
        assert log.scan(table, reverse=True) == expected[::-1]
        start, limit = b"%d" % rng.randrange(200), rng.randint(0, 20)
        assert log.scan(table, start, limit=limit) == [
            row for row in expected if row[0] >= start
        ][:limit]
        assert log.scan(table, start, reverse=True, limit=limit) == [
            row for row in expected[::-1] if row[0] <= start
        ][:limit]
        for way in (False, True):
            for at in (None, start):
                rows = log.scan(table, at, reverse=way, limit=limit)
                assert log.keys(table, at, reverse=way, limit=limit) == [key for key, _ in rows]
        asked = [b"%d" % rng.randrange(200) for _ in range(5)]
        assert log.get_many(table, asked) == [truth[table].get(key) for key in asked]
        assert [log.get(table, key) for key in asked] == [truth[table].get(key) for key in asked]
