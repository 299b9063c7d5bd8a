"""Which file systems may keep a log, by mount tables as the kernel writes them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from meshcode.errors import DiskFull, UnfitFileSystem
from meshcode.store import journal
from meshcode.store.contract import DONE, OPEN, Log
from meshcode.store.filesystem import (
    mount_of,
    read_mounts,
    refuse_unfit,
    write_all,
    write_durably,
)
from meshcode.store.journaled import JournaledLog, open_log
from meshcode.store.lmdb_log import LmdbLog

Opener = Callable[[], LmdbLog | JournaledLog]

TABLE = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 0:50 / /mnt/share rw,relatime - nfs4 server:/export rw,vers=4.2
41 27 0:51 / /mnt/with\040space rw - cifs //server/share rw
42 27 8:17 / /media/card rw,nosuid shared:9 master:1 - exfat /dev/sdb1 rw
43 27 0:52 / /host rw - 9p drvfs rw
44 27 8:18 / /mnt/share/local rw - xfs /dev/sdc1 rw
45 27 0:53 / /run rw - tmpfs tmpfs rw
46 27 8:19 / /twice rw - vfat /dev/sdd1 rw
47 27 8:20 / /twice rw - ext4 /dev/sde1 rw
48 27 0:54 / /flash rw - jffs2 mtd:data rw
broken line
"""


def kind_at(folder: str) -> str:
    mount = mount_of(folder, read_mounts(TABLE))
    assert mount is not None
    return mount.kind


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/home/ann", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/er", "nfs4"),
        ("/mnt/shared", "ext4"),
        ("/mnt/share/local/x", "xfs"),
        ("/mnt/with space/x", "cifs"),
        ("/twice/x", "ext4"),
        ("/run/user", "tmpfs"),
    ],
)
def test_a_path_is_on_the_longest_mount_point_above_it(folder: str, kind: str):
    assert kind_at(folder) == kind


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("/mnt/share/mesh", "on nfs4 .mounted at /mnt/share.*on the network"),
        ("/mnt/with space/mesh", "on cifs .*on the network"),
        ("/media/card/mesh", "on exfat .*no sparse files"),
        ("/host/mesh", "on 9p .*on the network"),
        ("/flash/mesh", "on jffs2 .*no shared writable maps"),
    ],
)
def test_a_file_system_that_breaks_logs_is_refused(folder: str, why: str):
    with pytest.raises(UnfitFileSystem, match=why):
        refuse_unfit(Path(folder), read_mounts(TABLE))


@pytest.mark.parametrize("folder", ["/home/ann", "/run/mesh", "/twice/mesh"])
def test_a_local_one_is_taken(folder: str):
    assert refuse_unfit(Path(folder), read_mounts(TABLE)) in ("ext4", "tmpfs")


def test_a_small_file_is_written_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "mark"
    write_durably(path, b"one")
    write_durably(path, b"two")

    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["mark"]


def test_a_short_write_is_continued():
    """A pipe takes what fits; the rest must follow."""
    reader, writer = os.pipe()
    os.set_blocking(writer, True)
    data = os.urandom(200_000)
    child = os.fork()
    if not child:
        os.close(reader)
        write_all(writer, data)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == data
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 24 MiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    point = tmp_path / "disk"
    point.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(point)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield point
    subprocess.run(["umount", "-l", str(point)], check=True)


def key(n: int) -> bytes:
    return n.to_bytes(8, "big")


def fill(path: Path) -> None:
    """Write into a file until there is no byte left on its disk."""
    for step in (1 << 16, 1 << 12, 1):
        with path.open("ab", buffering=0) as film, contextlib.suppress(OSError):
            while film.write(bytes(step)) == step:
                pass


@pytest.fixture(params=["journaled", "tree"])
def open_it(
    request: pytest.FixtureRequest, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> Opener:
    """Opens the log on the small disk, with a small journal before it or without one."""
    monkeypatch.setattr(journal, "FILE_BYTES", 256 << 10)
    monkeypatch.setattr(journal, "ENTRY_BYTES_MAX", 128 << 10)
    opener = LmdbLog if request.param == "tree" else open_log
    return lambda: opener(small_disk / "data")


def ballast_for_ends(log: Log) -> int:
    """What is kept of the ballast of a log for batches that delete."""
    tree = log.tree if isinstance(log, JournaledLog) else log
    assert isinstance(tree, LmdbLog)
    return tree._ballast.bytes_for_ends


def add_until_full(log: Log, start: int) -> int:
    """Add calls until the disk is full; the number after the last one that was taken."""
    at = start
    while True:
        log.stage([(OPEN, key(at + n), bytes(1000)) for n in range(20)])
        try:
            log.sync()
        except DiskFull as error:
            assert "the disk under" in str(error)
            return at
        at += 20


def test_a_full_disk_stops_new_calls_only(small_disk: Path, open_it: Opener):
    """Nothing accepted is lost, calls still end, and it goes on when there is room again."""
    log = open_it()
    assert log.volatile
    first = add_until_full(log, 0)
    assert first > 10_000
    assert log.usage().level == 2
    ballast = small_disk / "data" / "ballast"
    assert ballast.stat().st_size == ballast_for_ends(log)  # Not all for batches that only add.

    for n in range(200):  # Calls end: an outcome comes, the call goes.
        log.stage([(DONE, key(n), bytes(100)), (OPEN, key(n), None)])
        log.sync()

    assert [int.from_bytes(k, "big") for k, _ in log.scan(OPEN, limit=30_000)] == [
        *range(200, first)
    ]
    for n in range(200, first, 100):
        log.stage([(OPEN, key(m), None) for m in range(n, min(n + 100, first))])
        log.sync()
    assert log.count(DONE) == 200
    assert add_until_full(log, first) > first + 10_000
    log.close()

    with open_it() as log:
        assert log.count(DONE) == 200
        assert log.damaged() == []


def test_a_disk_filled_by_others_stops_the_log_only_while_it_is_full(
    small_disk: Path, open_it: Opener
):
    with open_it() as log:
        log.stage([(OPEN, key(1), bytes(1000))])
        log.sync()
        filler = small_disk / "film"
        fill(filler)
        full = add_until_full(log, 2)
        log.stage([(DONE, b"blob", bytes(200_000))])
        with pytest.raises(DiskFull):
            log.sync()
        filler.unlink()

        assert add_until_full(log, full) > full + 10_000
        assert log.get(OPEN, key(1)) == bytes(1000)
        assert log.get(DONE, b"blob") is None
        names = [path.name for path in (small_disk / "data" / "blobs").rglob("*")]
        assert not any(len(name) > 2 for name in names)


def test_a_log_on_a_full_disk_can_still_be_opened(small_disk: Path, open_it: Opener):
    """The ballast of the last run gives the room to count the boot."""
    with open_it() as log:
        last = add_until_full(log, 0)
    fill(small_disk / "film")

    with open_it() as log:
        assert (log.boot, log.count(OPEN)) == (2, last)
