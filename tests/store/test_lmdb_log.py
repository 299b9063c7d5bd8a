"""The durable log alone: its folder, its checks, its growth, and what harm does to it."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from meshcode.cli import salvage
from meshcode.errors import DiskFull, FolderInUse, LogDamaged, NodeError
from meshcode.store import opening
from meshcode.store.blobs import BlobFolder, refer
from meshcode.store.contract import DONE, META, OPEN, STATE
from meshcode.store.lmdb_log import LmdbLog

MIB = 1 << 20

pytestmark = pytest.mark.usefixtures("engine")


def number(n: int) -> bytes:
    return n.to_bytes(8, "big")


def write(log: LmdbLog, *ops: tuple[str, bytes, bytes | None]) -> None:
    log.stage(list(ops))
    log.sync()


def power_cut(folder: Path) -> None:
    """Make the folder look as if the system went down while the log was open."""
    (folder / "lock").write_text("1 another-boot-of-the-system\n")


def change_bytes(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def make(folder: Path, count: int = 3) -> None:
    """A closed log with records 1 to `count`, each with a value of its own."""
    with LmdbLog(folder) as log:
        write(log, *[(OPEN, number(n), b"record %d here" % n) for n in range(1, count + 1)])


# The folder.


def test_the_folder_is_private(tmp_path: Path):
    with LmdbLog(tmp_path / "a" / "b") as log:
        assert stat.S_IMODE(log.folder.stat().st_mode) == 0o700
        for name in ("data.mdb", "lock"):
            assert stat.S_IMODE((log.folder / name).stat().st_mode) & 0o077 == 0


def test_a_folder_in_use_names_the_process(tmp_path: Path):
    with LmdbLog(tmp_path), pytest.raises(FolderInUse, match=f"open in process {os.getpid()};"):
        LmdbLog(tmp_path)


def test_a_fork_cannot_use_the_log_and_does_not_harm_it(tmp_path: Path):
    with LmdbLog(tmp_path) as log:
        write(log, (META, b"k", b"v"))
        child = os.fork()
        if not child:
            refused = 0
            for use in (lambda: log.get(META, b"k"), log.sync, lambda: log.scan(META)):
                try:
                    use()
                except NodeError as error:
                    refused += f"fork {os.getpid()}" in str(error)
            log.close()
            os._exit(0 if refused == 3 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

        write(log, (META, b"l", b"w"))

        assert log.scan(META) == [(b"k", b"v"), (b"l", b"w")]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(NodeError, match="cannot be opened"):
        LmdbLog(tmp_path / "file" / "log")


def test_a_log_of_a_newer_format_is_refused_and_kept(tmp_path: Path, monkeypatch):
    make(tmp_path)
    monkeypatch.setattr(opening, "FORMAT", opening.FORMAT + 1)
    LmdbLog(tmp_path).close()
    monkeypatch.undo()

    with pytest.raises(NodeError, match=r"format 3, this version knows 2"):
        LmdbLog(tmp_path)

    monkeypatch.setattr(opening, "FORMAT", opening.FORMAT + 1)
    with LmdbLog(tmp_path) as log:
        assert (log.boot, log.count(OPEN)) == (3, 3)


def test_what_is_no_log_is_refused_and_kept(tmp_path: Path):
    (tmp_path / "data.mdb").write_bytes(b"my diary" * 5000)

    with pytest.raises(LogDamaged, match="nothing was changed"):
        LmdbLog(tmp_path)

    assert (tmp_path / "data.mdb").read_bytes() == b"my diary" * 5000


# What went before.


def test_how_the_log_was_left_is_known(tmp_path: Path):
    before = []
    with LmdbLog(tmp_path) as log:
        before.append(log.opened.before)
    with LmdbLog(tmp_path) as log:
        before.append(log.opened.before)
        mine = (tmp_path / "lock").read_text()
    (tmp_path / "lock").write_text(mine)  # As a process leaves it that was killed.
    with LmdbLog(tmp_path) as log:
        before.append(log.opened.before)
    power_cut(tmp_path)
    with LmdbLog(tmp_path) as log:
        before.append(log.opened.before)
        assert log.opened.verified
    (tmp_path / "lock").unlink()
    with LmdbLog(tmp_path) as log:
        before.append(log.opened.before)
    (tmp_path / "suspect").write_text("I/O error")
    with LmdbLog(tmp_path) as log:
        before.append(log.opened.before)
    with LmdbLog(tmp_path) as log:
        before.append(log.opened.before)

    assert before == ["new", "clean", "killed", "power", "copied", "suspect", "clean"]


def test_after_a_power_cut_all_records_are_verified(tmp_path: Path):
    make(tmp_path, 1000)
    power_cut(tmp_path)
    change_bytes(tmp_path / "data.mdb", b"record 500 here", b"record 50O here")

    with LmdbLog(tmp_path) as log:
        assert (log.opened.verified, log.opened.records) == (True, 999)
        assert log.damaged() == [(OPEN, number(500))]


def test_a_first_open_that_was_cut_short_is_begun_again(tmp_path: Path):
    """The mark `new` stands until the first open is done: a broken file from before is nobody's."""
    (tmp_path / "new").touch()
    (tmp_path / "data.mdb").write_bytes(bytes(5000))

    with LmdbLog(tmp_path) as log:
        assert (log.boot, log.opened.before) == (1, "new")
    assert not (tmp_path / "new").exists()


def test_the_mark_of_a_first_open_does_not_cost_a_sound_log(tmp_path: Path):
    make(tmp_path)
    (tmp_path / "new").touch()

    with LmdbLog(tmp_path) as log:
        assert (log.boot, log.count(OPEN)) == (2, 3)


# Damage.


def test_a_damaged_record_is_told_and_the_others_are_kept(tmp_path: Path):
    make(tmp_path)
    change_bytes(tmp_path / "data.mdb", b"record 2 here", b"record 2 hear")

    with LmdbLog(tmp_path) as log:
        kept = [(number(1), b"record 1 here"), (number(3), b"record 3 here")]
        assert log.scan(OPEN) == kept
        assert log.scan(OPEN, reverse=True) == kept[::-1]
        assert log.keys(OPEN) == [number(1), number(2), number(3)], "without their records"
        assert log.scan(OPEN, limit=2) == kept  # The limit counts good records.
        assert log.damaged() == [(OPEN, number(2))]
        with pytest.raises(LogDamaged, match=r"checksum [0-9a-f]{8} stored, [0-9a-f]{8} computed"):
            log.get(OPEN, number(2))
        write(log, (OPEN, number(2), b"made again"))
        assert log.get(OPEN, number(2)) == b"made again"


def test_a_record_under_the_key_of_another_is_damage(tmp_path: Path):
    """The checksum covers the key, so a value cannot wander."""
    make(tmp_path)
    data = (tmp_path / "data.mdb").read_bytes()
    one, two = data.rindex(number(1) + b"record"), data.rindex(number(2) + b"record")
    swapped = bytearray(data)
    for at, other in ((one, two), (two, one)):
        swapped[at + 8 : at + 25] = data[other + 8 : other + 25]  # Value and check, not the key.
    (tmp_path / "data.mdb").write_bytes(swapped)

    with LmdbLog(tmp_path) as log:
        assert log.scan(OPEN) == [(number(3), b"record 3 here")]
        assert sorted(log.damaged()) == [(OPEN, number(1)), (OPEN, number(2))]


def test_a_file_that_was_cut_is_refused_before_it_is_read(tmp_path: Path):
    """Reading beyond the end of a mapped file kills a process, so this must be found first."""
    make(tmp_path, 20_000)
    os.truncate(tmp_path / "data.mdb", (tmp_path / "data.mdb").stat().st_size // 2 & ~0xFFF)

    with pytest.raises(LogDamaged, match="breaks in its structure"):
        LmdbLog(tmp_path)


def test_a_broken_structure_is_refused_after_a_power_cut(tmp_path: Path):
    make(tmp_path, 2000)
    power_cut(tmp_path)
    data = bytearray((tmp_path / "data.mdb").read_bytes())
    for page in range(2 * 4096, len(data), 4096):
        struct.pack_into("<Q", data, page, 12345)  # Each page names itself; now wrongly.
    (tmp_path / "data.mdb").write_bytes(data)

    with pytest.raises(LogDamaged, match="breaks in its structure"):
        LmdbLog(tmp_path)

    assert (tmp_path / "data.mdb").read_bytes() == data


# Blobs.


def blob_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "blobs").rglob("*") if path.is_file())


def test_a_blob_goes_when_its_record_does(tmp_path: Path):
    with LmdbLog(tmp_path) as log:
        write(log, (DONE, b"a", b"a" * 100_000), (DONE, b"b", b"b" * 100_000))
        assert len(blob_files(tmp_path)) == 2
        log.stage([(DONE, b"a", None)])
        assert len(blob_files(tmp_path)) == 2  # Not before the sync.
        log.sync()
        assert [path.read_bytes()[:1] for path in blob_files(tmp_path)] == [b"b"]
        write(log, (DONE, b"b", b"small"))
        assert blob_files(tmp_path) == []


def test_the_same_value_twice_has_two_files(tmp_path: Path):
    """One may go without the other."""
    with LmdbLog(tmp_path) as log:
        write(log, (DONE, b"a", b"x" * 100_000), (OPEN, b"a", b"x" * 100_000))
        write(log, (DONE, b"a", None))

        assert log.get(OPEN, b"a") == b"x" * 100_000


def test_many_blobs_of_one_batch_are_all_there_when_it_is_synced(tmp_path: Path):
    values = {b"%d" % n: bytes([n]) * (70_000 + n) for n in range(40)}
    with LmdbLog(tmp_path) as log:
        log.stage([("output", key, value) for key, value in values.items()])
        log.sync()
        assert len(blob_files(tmp_path)) == len(values)
    with LmdbLog(tmp_path) as log:
        assert dict(log.scan("output")) == values


def test_when_one_of_many_blobs_cannot_be_written_none_stays(tmp_path: Path):
    blobs = [(refer("output", b"%d" % n, bytes([n])), bytes([n])) for n in range(9)]
    folder = BlobFolder(tmp_path / "blobs")
    name = blobs[4][0][:32].hex()
    folder.folder.mkdir()
    (folder.folder / name[:2] / (name + ".new")).mkdir(parents=True)

    with pytest.raises(IsADirectoryError):
        folder.write(blobs)
    written = len(blob_files(tmp_path))  # All threads have ended their part by now.
    folder.remove(reference for reference, _ in blobs)

    assert written == len(blobs) - 1
    assert blob_files(tmp_path) == []


def test_blob_files_without_a_record_are_swept_at_the_open(tmp_path: Path):
    with LmdbLog(tmp_path) as log:
        write(log, (DONE, b"a", b"a" * 100_000))
    orphan = tmp_path / "blobs" / "00" / ("00" * 32)
    orphan.parent.mkdir(exist_ok=True)
    for path in (orphan, orphan.with_suffix(".new")):
        path.write_bytes(b"left by a crash")

    with LmdbLog(tmp_path) as log:
        assert (log.opened.swept, log.opened.blobs) == (2, 1)
        assert log.get(DONE, b"a") == b"a" * 100_000


@pytest.mark.parametrize("harm", ["missing", "changed", "cut"])
def test_a_blob_that_is_not_what_was_written_is_damage(tmp_path: Path, harm: str):
    with LmdbLog(tmp_path) as log:
        write(log, (DONE, b"a", b"a" * 100_000), (DONE, b"b", b"small"))
        (file,) = blob_files(tmp_path)
        if harm == "missing":
            file.unlink()
        elif harm == "changed":
            file.write_bytes(b"a" * 99_999 + b"A")
        else:
            os.truncate(file, 50_000)

        with pytest.raises(LogDamaged, match="its blob file is missing or was changed"):
            log.get(DONE, b"a")
        assert log.scan(DONE) == [(b"b", b"small")]
        assert log.damaged() == [(DONE, b"a")]
    if harm != "changed":  # The open looks at names and sizes only.
        with LmdbLog(tmp_path) as log:
            assert log.damaged() == [(DONE, b"a")]


def test_a_blob_that_is_dropped_with_its_batch_leaves_no_file(tmp_path: Path):
    with LmdbLog(tmp_path, map_size=MIB, map_limit=MIB) as log:
        with pytest.raises(DiskFull):
            write(
                log,
                (DONE, b"a", b"a" * 100_000),
                *[(OPEN, number(n), bytes(60_000)) for n in range(100)],
            )

        assert blob_files(tmp_path) == []
        assert log.get(DONE, b"a") is None


# Growth and limits.


def test_the_map_grows_while_there_are_readers_and_up_to_its_limit(quick_folder: Path):
    with LmdbLog(quick_folder, map_size=MIB, map_limit=64 * MIB) as log:
        sizes = set()
        for turn in range(40):
            write(log, *[(OPEN, number(turn * 100 + n), bytes(5000)) for n in range(100)])
            sizes.add(log.usage().map_size)

        assert log.count(OPEN) == 4000
        assert {MIB, 2 * MIB, 4 * MIB, 8 * MIB, 16 * MIB} <= sizes
    with LmdbLog(quick_folder, map_size=MIB, map_limit=64 * MIB) as log:
        assert log.usage().map_size >= 16 * MIB
        assert log.get(OPEN, number(3999)) == bytes(5000)


def test_a_batch_larger_than_the_map_fits_after_growing(quick_folder: Path):
    with LmdbLog(quick_folder, map_size=MIB, map_limit=64 * MIB) as log:
        for part in range(4):
            log.stage([(OPEN, number(part * 1000 + n), bytes(3000)) for n in range(1000)])
        log.sync()

        assert log.count(OPEN) == 4000


def fill(log: LmdbLog) -> int:
    """Write turns of eight records until the log is full; how many records it has."""
    count = 0
    while True:
        try:
            write(log, *[(OPEN, number(count + n), bytes(1024)) for n in range(8)])
        except DiskFull as error:
            assert "nothing of this batch was kept" in str(error)
            return count
        count += 8


def test_a_full_log_keeps_what_it_has_and_can_be_drained(quick_folder: Path):
    """LMDB alone cannot delete from a map filled to its end: room is kept for that."""
    with LmdbLog(quick_folder, map_size=MIB, map_limit=16 * MIB) as log:
        count = fill(log)
        assert log.usage().level == 2
        assert log.count(OPEN) == count > 10_000

        for start in range(0, count, 64):
            write(log, *[(OPEN, number(n), None) for n in range(start, min(start + 64, count))])

        assert log.count(OPEN) == 0
        assert log.usage().level == 0
        assert fill(log) > 0.9 * count
        assert log.damaged() == []


def test_a_full_log_is_whole_after_it_is_opened_again(quick_folder: Path):
    with LmdbLog(quick_folder, map_size=MIB, map_limit=4 * MIB) as log:
        count = fill(log)
    power_cut(quick_folder)

    with LmdbLog(quick_folder, map_size=MIB, map_limit=4 * MIB) as log:
        assert log.opened.verified
        assert log.count(OPEN) == count
        write(log, *[(OPEN, number(n), None) for n in range(count)])
        assert log.count(OPEN) == 0


def test_a_steady_queue_does_not_grow_the_file(quick_folder: Path):
    with LmdbLog(quick_folder) as log:
        for turn in range(400):
            new = [(OPEN, number(turn * 20 + n), bytes(600)) for n in range(20)]
            old = [(OPEN, number((turn - 10) * 20 + n), None) for n in range(20 * (turn >= 10))]
            write(log, *new, *old, (STATE, b"turn", number(turn)))

        assert log.count(OPEN) == 200
        assert (quick_folder / "data.mdb").stat().st_size < 2 * MIB


def test_the_ballast_is_a_quarter_of_the_log_within_its_bounds(quick_folder: Path):
    with LmdbLog(quick_folder, ballast_bytes=2 * MIB) as log:
        assert (quick_folder / "ballast").stat().st_size == MIB
        write(log, *[(OPEN, number(n), bytes(2000)) for n in range(8000)])
    with LmdbLog(quick_folder, ballast_bytes=2 * MIB) as log:
        assert (quick_folder / "ballast").stat().st_size == 2 * MIB
        assert log.count(OPEN) == 8000


def test_no_ballast_when_none_is_asked_for(quick_folder: Path):
    with LmdbLog(quick_folder, ballast_bytes=0):
        assert not (quick_folder / "ballast").exists()


def break_page(folder: Path, at: bytes) -> None:
    """Let the record of a key be one with pages of its own, with a number that none has."""
    file = folder / "data.mdb"
    data = bytearray(file.read_bytes())
    found = data.find(at)
    assert found > 0
    while found > 0:
        data[found - 4] |= 1  # F_BIGDATA, in the flags of its node.
        found = data.find(at, found + 1)
    file.write_bytes(data)


def test_a_broken_page_is_told_and_the_next_start_verifies(tmp_path: Path):
    """It says what is broken, and no error of the engine gets out."""
    folder = tmp_path / "data"
    with LmdbLog(folder) as log:
        log.stage([(DONE, b"%016d" % n, b"\xff" * 300) for n in range(2_000)])
        log.sync()
    break_page(folder, b"%016d" % 1_000)

    with LmdbLog(folder) as log:
        with pytest.raises(LogDamaged, match="its file is unchanged; the next start of its node"):
            log.scan(DONE, limit=5_000)
        assert log.get(DONE, b"%016d" % 7) == b"\xff" * 300

    with pytest.raises(LogDamaged, match="breaks in its structure, first: main/done DB"):
        LmdbLog(folder)


def test_salvage_reads_what_lies_on_both_sides_of_a_broken_page(tmp_path: Path):
    folder = tmp_path / "data"
    with LmdbLog(folder) as log:
        log.stage([(DONE, b"%016d" % n, b"\xff" * 300) for n in range(2_000)])
        log.sync()
    break_page(folder, b"%016d" % 1_000)

    lost: list[str] = []
    with LmdbLog(folder, boot=False) as log:
        found = {int(key) for key, _ in salvage.records(log, DONE, lost)}
        with pytest.raises(LogDamaged, match="nothing was changed"):
            list(salvage.records(log, DONE))

    missing = set(range(2_000)) - found
    assert 1_000 in missing
    assert len(missing) < 40, "a page or two"
    assert len(lost) == 1
    assert lost[0].startswith(f"table done: {len(missing)} of 2000 records lie behind broken pages")


UNDER_LIMIT = """
import resource, sys
from meshcode.errors import NodeError
from meshcode.store.contract import META
from meshcode.store.lmdb_log import LmdbLog
pages = int(open("/proc/self/statm").read().split()[0])
limit = int(sys.argv[2]) or pages * resource.getpagesize() + 8_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
try:
    with LmdbLog(sys.argv[1], ballast_bytes=0) as log:
        log.stage([(META, b"k", b"v")])
        log.sync()
        print(limit, log.usage().map_limit)
except NodeError as error:
    print(limit, error)
"""


def under_limit(folder: Path, limit: int) -> tuple[int, str]:
    """The limit of its address space, and what a process says that opens a log under it."""
    words = [sys.executable, "-c", UNDER_LIMIT, str(folder), str(limit)]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    limit_, _, said = found.stdout.strip().partition(" ")
    return int(limit_), said


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not kept elsewhere")
def test_a_limited_address_space_gets_a_smaller_map(tmp_path: Path):
    """Half of it is left for all else; how full the log is counts against what there is."""
    assert under_limit(tmp_path / "log", 800 * MIB)[1] == str(400 * MIB)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not kept elsewhere")
def test_a_log_without_address_space_says_so_and_nothing_of_the_disk(tmp_path: Path):
    """What the process has left is less than half of what it may have."""
    limit, said = under_limit(tmp_path / "log", 0)

    assert f"bytes of address space, and `ulimit -v` gives this process {limit:,}; not" in said
    assert "disk" not in said
