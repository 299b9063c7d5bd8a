"""Power-loss images of the durable log: what any cut of the power could leave, opened and checked.

    python tests/crash/images.py --images 2000 --seed 7 [--turns 200] [--control NAME] [--log tree]

A workload runs on a disk that remembers (disk.c).  From its record, images are built: everything
that was synced is there; of what was written and not synced any part may be, sector by sector;
of names made, changed and removed but not synced any part may be, one by one.  Each image is opened
as the next start would, and must hold exactly what was acknowledged, or that and the one turn in
flight.  A control spoils the record or the log on purpose: its images must be caught.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECTOR = 512
OPENED = 1 << 40  # Marks from here on: the open with this boot returned.

Op = tuple[str, bytes, bytes | None]
State = dict[tuple[str, bytes], bytes]

LOGS = ("journaled", "tree")  # With a small journal, so that it is put into the tree often.
JOURNAL_BYTES = 96 << 10
# Control -> (which log, options of LMDB, entries of the record that never happened).
CONTROLS: dict[str, tuple[str, dict[str, bool], str]] = {
    "lmdb-sync-off": ("tree", {"sync": False}, ""),
    "lmdb-metasync-off": ("tree", {"metasync": False}, ""),
    "ack-before-sync": ("tree", {}, ""),
    "blob-files-not-synced": ("tree", {}, "S blobs"),
    "folders-not-synced": ("tree", {}, "F"),
    "journal-not-synced": ("journaled", {}, "S journal"),
    "tree-before-journal-is-reused-not-synced": ("journaled", {"sync": False}, ""),
    "journaled-ack-before-sync": ("journaled", {}, ""),
}


def turns(seed: int, count: int) -> list[list[Op]]:
    """The operations of each turn of the workload: a queue that fills and drains, some blobs."""
    rng = random.Random(seed)
    low = high = 0
    found: list[list[Op]] = []
    for turn in range(1, count + 1):
        ops: list[Op] = [("meta", b"turn", b"%d" % turn)]
        for _ in range(rng.randint(1, 12)):
            size = 70_000 if rng.random() < 0.01 else rng.randint(2, 3000)
            ops.append(("open", high.to_bytes(8, "big"), rng.randbytes(size)))
            high += 1
        while high - low > 40 and rng.random() < 0.85:
            key = low.to_bytes(8, "big")
            ops += [("open", key, None), ("done", rng.randbytes(16), rng.randbytes(100))]
            low += 1
        ops.append(("state", rng.randrange(20).to_bytes(8, "big"), rng.randbytes(40)))
        if rng.random() < 0.15:
            size = rng.choice([100, 80_000])
            ops.append(("output", b"%d" % rng.randrange(4), rng.randbytes(size)))
        if rng.random() < 0.03:  # Several blobs of one batch are written beside each other.
            for _ in range(rng.randint(2, 6)):
                ops.append(("open", high.to_bytes(8, "big"), rng.randbytes(70_000)))
                high += 1
        found.append(ops)
    return found


def open_log(kind: str, folder: str | Path, **options: Any) -> Any:
    """One of LOGS."""
    from meshcode.store import journal, journaled, lmdb_log

    journal.FILE_BYTES, journal.ENTRY_BYTES_MAX = JOURNAL_BYTES, JOURNAL_BYTES // 2
    opener = journaled.open_log if kind == "journaled" else lmdb_log.LmdbLog
    return opener(folder, map_size=256 << 10, ballast_bytes=0, **options)


def workload(folder: str, record: str, seed: int, count: int, control: str, kind: str) -> None:
    """Run under the remembering disk: three sessions, one turn a sync, a mark after each."""
    disk = ctypes.CDLL(os.environ["LD_PRELOAD"])
    disk.disk_mark.argtypes = [ctypes.c_uint64]
    disk.disk_watch(os.fsencode(folder))
    disk.disk_record(os.fsencode(record))
    options = CONTROLS[control][1] if control else {}
    rng = random.Random(seed)
    log = None
    for number, ops in enumerate(turns(seed, count), 1):
        if log is None:
            log = open_log(kind, folder, **options)
            disk.disk_mark(OPENED + log.boot)
        log.stage(ops)
        if rng.random() < 0.1:  # As a node does whose disk is nearly full.
            log.give_back()
        if control.endswith("ack-before-sync"):
            disk.disk_mark(number)
            log.sync()
        else:
            log.sync()
            disk.disk_mark(number)
        if number in (count // 3, count // 2):
            log.close()
            log = None
    # The process ends here with the log open, as a cut of the power would have it.


# The disk, rebuilt from its record.


@dataclass(slots=True, eq=False)
class File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: cut to `at`.


Names = dict[str, File | None]  # None: a folder.


def entries(record: bytes) -> Iterator[tuple[str, int, int, int, str, bytes]]:
    """The entries of a record: op, flag, inode, at, name, data."""
    at = 0
    while at < len(record):
        op, flag, inode, where, names, size = struct.unpack_from("<cBQQII", record, at)
        at += 26
        name, data = record[at : at + names], record[at + names : at + names + size]
        at += names + size
        yield op.decode(), flag, inode, where, os.fsdecode(name), data


def _apply(file: bytearray, at: int, data: bytes | None) -> None:
    if data is None:
        file[at:] = b"" if at <= len(file) else bytes(at - len(file))
        return
    if len(file) < at + len(data):
        file.extend(bytes(at + len(data) - len(file)))
    file[at : at + len(data)] = data


class Disk:
    """What is durable, and what is written or named but not synced."""

    def __init__(self) -> None:
        self.files: dict[int, File] = {}  # By inode.
        self.names: Names = {}  # Durable.
        self.pending: list[tuple[str, str, str, File | None]] = []  # Folder, op, name(s), file.
        self.live: Names = {}

    def step(self, op: str, flag: int, inode: int, at: int, name: str, data: bytes) -> None:
        """Take one entry of the record."""
        if op == "W" and flag:
            _apply(self.files[inode].durable, at, data)
        elif op in "WT":
            self.files[inode].pending.append((at, data if op == "W" else None))
        elif op == "S":
            file = self.files[inode]
            for where, part in file.pending:
                _apply(file.durable, where, part)
            file.pending.clear()
        elif op == "F":
            ours = [entry for entry in self.pending if entry[0] == name]
            self.pending = [entry for entry in self.pending if entry[0] != name]
            for _, what, names, file in ours:
                _rename(self.names, what, names, file)
        else:
            self._name(op, inode, name)

    def _name(self, op: str, inode: int, name: str) -> None:
        target = name.rsplit("\0", maxsplit=1)[-1]
        file: File | None = None
        if op == "C":
            file = self.files[inode] = File()
        elif op == "R":
            file = self.live[name.split("\0", maxsplit=1)[0]]
        _rename(self.live, op, name, file)
        self.pending.append((os.path.dirname(target), op, name, file))

    def image(self, rng: random.Random) -> dict[str, bytes | None]:
        """Name -> content of one thing the disk may hold after a cut now; None for a folder."""
        names = dict(self.names)
        mood = rng.random()
        for _, op, name, file in self.pending:
            if mood < 0.25 or (mood > 0.4 and rng.random() < 0.5):
                continue
            _rename(names, op, name, file)
        found: dict[str, bytes | None] = {}
        contents: dict[int, bytes] = {}
        for name, file in names.items():
            if file is None:
                found[name] = None
                continue
            if id(file) not in contents:
                contents[id(file)] = self._content(file, rng)
            found[name] = contents[id(file)]
        return found

    @staticmethod
    def _content(file: File, rng: random.Random) -> bytes:
        content = bytearray(file.durable)
        mood = rng.random()
        for at, data in file.pending:
            if mood < 0.2:
                break
            if data is None or mood < 0.3:
                if mood < 0.3 or rng.random() < 0.5:
                    _apply(content, at, data)
                continue
            for part in range(0, len(data), SECTOR):
                if rng.random() < 0.5:
                    _apply(content, at + part, data[part : part + SECTOR])
        return bytes(content)


def _rename(names: Names, op: str, name: str, file: File | None) -> None:
    if op == "U":
        names.pop(name, None)
    elif op == "R":
        before, after = name.split("\0")
        names.pop(before, None)
        names[after] = file
    else:
        names[name] = file


# Building and checking.


def write_image(image: dict[str, bytes | None], source: str, target: Path) -> None:
    """Put an image on the real disk, as found by a system that was started anew."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in sorted(image, key=lambda name: name.count("/")):
        content = image[name]
        path = target / os.path.relpath(name, source)
        if not path.parent.is_dir():
            continue  # The folder it was made in never became durable.
        if content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content)
    lock = target / "lock"
    if lock.exists() and (owner := lock.read_bytes().split()):
        lock.write_bytes(owner[0] + b" another-boot-of-the-system\n")


def check_image(folder: Path, states: list[State], acked: int, boots: int, kind: str) -> str:
    """Open an image as the next start would; "" when it is right, else what is wrong."""
    from meshcode.errors import MeshError
    from meshcode.store.contract import TABLES

    try:
        with open_log(kind, folder) as log:
            if log.boot < boots + 1:
                return f"boot {log.boot} after {boots}"
            found: State = {}
            for table in TABLES:
                for key, value in log.scan(table, limit=1_000_000):
                    found[table, key] = value
            if log.damaged():
                return "damaged records"
            log.stage([("meta", b"after", b"1")])
            log.sync()
            if log.get("meta", b"after") != b"1":
                return "cannot be written"
    except MeshError as error:
        return f"{type(error).__name__} at the open"
    turn = int(found.get(("meta", b"turn"), b"0"))
    if turn < acked:
        return "an acknowledged turn is lost"
    if turn > acked + 1:
        return "a turn from the future"
    return "" if found == states[turn] else "a turn is half there"


def states_of(history: list[list[Op]]) -> list[State]:
    """The records after each turn, from none."""
    state: State = {}
    found = [{}]
    for ops in history:
        for table, key, value in ops:
            if value is None:
                state.pop((table, key), None)
            else:
                state[table, key] = value
        found.append(dict(state))
    return found


def _never_happened(op: str, inode: int, rule: str, names: dict[int, str]) -> bool:
    if rule == "F":
        return op == "F"
    return op == "S" and rule[:2] == "S " and f"/{rule[2:]}" in names.get(inode, "")


@dataclass(slots=True)
class Result:
    images: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def run(
    library: Path,
    images: int,
    *,
    seed: int = 1,
    count: int = 120,
    control: str = "",
    kind: str = LOGS[0],
) -> Result:
    """Record one workload and check `images` crash images of it.

    Args:
        library: disk.c, compiled.
        count: turns of the workload.
        control: one of CONTROLS, or "" for the log as it is.
        kind: one of LOGS; a control has its own.
    """
    shared = Path("/dev/shm")  # Syncs of the images cost nothing there.
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as temp:
        source, record = Path(temp) / "log", Path(temp) / "record"
        kind = CONTROLS[control][0] if control else kind
        words = [str(source), str(record), str(seed), str(count), control, kind]
        environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, __file__, "--workload", *words], env=environment, check=True
        )
        rule = CONTROLS[control][2] if control else ""
        return _check_all(record.read_bytes(), Path(temp), images, seed, count, rule, kind)


def _check_all(
    record: bytes, temp: Path, images: int, seed: int, count: int, rule: str, kind: str
) -> Result:
    states = states_of(turns(seed, count))
    rng = random.Random(seed)
    steps = list(entries(record))
    points = Counter(rng.randrange(len(steps) + 1) for _ in range(images))
    disk, result, begun = Disk(), Result(), time.perf_counter()
    acked = boots = 0
    made: dict[int, str] = {}  # Names of files, by inode.
    for number in range(len(steps) + 1):
        for _ in range(points[number]):
            write_image(disk.image(rng), str(temp / "log"), temp / "image")
            wrong = check_image(temp / "image", states, acked, boots, kind)
            result.images += 1
            if wrong:
                result.wrong[wrong] += 1
        if number == len(steps):
            break
        op, flag, inode, at, name, data = steps[number]
        if op == "C":
            made[inode] = name
        if op == "M":
            acked, boots = (acked, at - OPENED) if at >= OPENED else (at, boots)
        elif not _never_happened(op, inode, rule, made):
            disk.step(op, flag, inode, at, name, data)
    result.seconds = time.perf_counter() - begun
    return result


def build(target: Path) -> Path:
    """Compile disk.c with the system's C compiler.

    Raises:
        FileNotFoundError: there is none.
    """
    words = "-O2 -shared -fPIC -o".split()  # noqa: SIM905
    source = str(HERE / "disk.c")
    subprocess.run(["cc", *words, str(target), source, "-ldl", "-lpthread"], check=True)
    return target


def main() -> int:
    """The command line; 1 when an image was wrong (or, for a control, none was)."""
    if sys.argv[1:2] == ["--workload"]:
        folder, record, seed, count, control, kind = sys.argv[2:8]
        workload(folder, record, int(seed), int(count), control, kind)
        os._exit(0)  # The log stays open.
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--turns", type=int, default=120)
    parser.add_argument("--control", default="", choices=["", *CONTROLS])
    parser.add_argument("--log", default=LOGS[0], choices=LOGS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temp:
        library = build(Path(temp) / "disk.so")
        result = run(
            library, asked.images, seed=asked.seed, count=asked.turns, control=asked.control,
            kind=asked.log,
        )  # fmt: skip
    rate = result.images / result.seconds
    print(f"{result.images} images, {rate:.0f} a second, wrong: {dict(result.wrong) or 0}")
    return int(bool(result.wrong) != bool(asked.control))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
