"""What is synced for a submit, counted by strace; and what a kill -9 leaves.

Counted are the calls that return when data is on the disk: fsync, fdatasync, sync, syncfs, msync
with MS_SYNC, and writes to files opened with O_SYNC or O_DSYNC (LMDB's second write is one).
`sync_file_range` promises nothing about a crash and is counted apart.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.life import Life
from bench.peers.peer import Unavailable

SYNCING = ("fsync", "fdatasync", "sync", "syncfs")
WRITING = ("write", "writev", "pwrite64", "pwritev", "pwritev2")
TRACED = (*SYNCING, "msync", "sync_file_range", "openat", *WRITING)
CALL = re.compile(r"^(\d+)\s+(\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+)\s+<\.\.\. \w+ resumed>(.*)$")
FILE = re.compile(r"^(\d+<([^>]*)>)")
OPENED = re.compile(r"= (\d+<[^>]*>)")
RETURNED = re.compile(r"= (\d+)$")
SUBMITS = 100
ATTACH_S = 20.0


@dataclass
class Tally:
    """What a trace shows: calls that sync, by name, and the bytes written to files of a folder."""

    calls: dict[str, int] = field(default_factory=dict)
    written: int = 0

    @property
    def strong(self) -> int:
        """Those after which the data is on the disk."""
        return sum(n for name, n in self.calls.items() if name != "sync_file_range")

    def add(self, name: str) -> None:
        """One more."""
        self.calls[name] = self.calls.get(name, 0) + 1


@dataclass
class Count:
    """A tally of so many submits, which took so many seconds."""

    submits: int
    seconds: float
    tally: Tally

    @property
    def per_submit(self) -> float:
        """Synced writes a submit."""
        return self.tally.strong / self.submits

    @property
    def written(self) -> float:
        """Bytes a submit."""
        return self.tally.written / self.submits


def tally(lines: Iterable[str], folder: str, synced_files: Iterable[str] = ()) -> Tally:
    """What the lines of `strace -f -y` say; `synced_files` are as it writes them: `5</a/b>`.

    A call that strace shows in two halves is counted once: its sync by the first, what it wrote by
    the second, which alone has the number.
    """
    found, synced = Tally(), set(synced_files)
    halves: set[str] = set()  # Threads in the middle of a write to the folder.
    for line in lines:
        if resumed := RESUMED.match(line):
            if resumed[1] in halves and (returned := RETURNED.search(resumed[2])):
                found.written += int(returned[1])
            halves.discard(resumed[1])
            continue
        call = CALL.match(line)
        if call is None:
            continue
        thread, name, rest = call.groups()
        file = FILE.match(rest)
        if name == "openat":
            opened = OPENED.search(rest)
            if opened and ("O_SYNC" in rest or "O_DSYNC" in rest):
                synced.add(opened[1])
        elif name in WRITING:
            if file and file[2].startswith(folder):
                if returned := RETURNED.search(rest):
                    found.written += int(returned[1])
                else:
                    halves.add(thread)
            if (file and file[1] in synced) or "RWF_DSYNC" in rest or "RWF_SYNC" in rest:
                found.add("write O_DSYNC")
        elif name != "msync" or "MS_SYNC" in rest:
            found.add(name)
    return found


def synced_files(pids: Iterable[int]) -> list[str]:
    """Files that these processes have open so that each write is synced, as strace names them."""
    found = []
    for pid in pids:
        try:
            numbers = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for number in numbers:
            try:
                info = Path(f"/proc/{pid}/fdinfo/{number}").read_text()
                flags = int(re.search(r"flags:\s+(\d+)", info)[1], 8)  # type: ignore[index]
                target = os.readlink(f"/proc/{pid}/fd/{number}")
            except OSError:
                continue
            if flags & (os.O_SYNC | os.O_DSYNC):
                found.append(f"{number}<{target}>")
    return found


class Trace:
    """strace on running processes, all their threads and whatever they start."""

    def __init__(self, pids: list[int], folder: Path) -> None:
        """Returns when it is attached to all of them.

        Raises:
            Unavailable: there is no strace, or it may not attach.
        """
        program = shutil.which("strace")
        if program is None:
            raise Unavailable("strace is not installed; on Debian: apt-get install strace")
        self.folder = folder
        self.out, self.said = folder / "strace.out", folder / "strace.said"
        words = [program, "-f", "-y", "-s", "0", "-o", str(self.out), "-e", "signal=none"]
        words += ["-e", "trace=" + ",".join(TRACED)]
        for pid in pids:
            words += ["-p", str(pid)]
        self.files = synced_files(pids)
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        end = time.monotonic() + ATTACH_S
        while not all(f"Process {pid} attached" in self.said.read_text() for pid in pids):
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise Unavailable(f"strace: {self.said.read_text().strip()[-200:]}")
            time.sleep(0.01)

    def stop(self) -> Tally:
        """Detach; what was seen."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(ATTACH_S)
        lines = self.out.read_text(errors="replace").splitlines() if self.out.exists() else []
        return tally(lines, str(self.folder), self.files)


@dataclass
class Check:
    """What was found on disk."""

    count: Count | None = None
    kept: int | None = None
    submitted: int = 0
    note: str = ""

    @property
    def synced(self) -> bool:
        """Whether every submit was on disk before its acknowledgement, going by the count."""
        return self.count is not None and self.count.per_submit >= 0.98


def check(life: Life, submits: int = SUBMITS) -> Check:
    """Count the syncs of so many acknowledged submits, then kill what has them."""
    life.ask("start")
    facts = life.ask("facts")
    found = Check()
    life.ask("rest")
    try:
        trace = Trace(life.pids(), life.folder)
        try:
            seconds = life.ask("submits", count=submits)
        finally:
            seen = trace.stop()
        found.count = Count(submits, seconds, seen)
        found.submitted = submits
    except Unavailable as error:
        found.note = str(error)
    if facts["keeps"]:
        life.ask("submits", count=submits)
        life.ask("crash")
        found.submitted += submits
        found.kept = life.ask("waiting")
    return found
