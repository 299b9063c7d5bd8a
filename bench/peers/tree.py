"""What a tree of processes uses, read from /proc: CPU and memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


def _fields(pid: int) -> list[str]:
    """The words of /proc/PID/stat behind the name; [] when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def tree_of(root: int) -> list[int]:
    """A process and everything below it, parents first; those that have ended are left out."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _fields(int(name))) and fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(name))
    found = [root]
    for pid in found:
        found += sorted(children.get(pid, []))
    return found


def is_alive(pid: int) -> bool:
    """Whether it runs: a process that only waits for its parent to notice has ended."""
    fields = _fields(pid)
    return bool(fields) and fields[0] not in "ZX"


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of these processes, user and system, and of their children that have ended."""
    total = 0
    for pid in pids:
        fields = _fields(pid)
        total += sum(int(word) for word in fields[11:15])
    return total / TICKS


class Memory(NamedTuple):
    """Memory of a tree in MiB.  `pss` counts a shared page once; None where it is not readable."""

    rss: float
    pss: float | None

    @property
    def best(self) -> float:
        """PSS when there is one."""
        return self.rss if self.pss is None else self.pss


def _kib(lines: Iterable[str], key: str) -> Iterator[int]:
    for line in lines:
        if line.startswith(key + ":"):
            yield int(line.split()[1])


def memory(pids: Iterable[int]) -> Memory:
    """The sum over these processes."""
    rss, pss, whole = 0, 0, True
    for pid in pids:
        try:
            rss += sum(_kib(Path(f"/proc/{pid}/status").read_text().splitlines(), "VmRSS"))
        except OSError:
            continue  # It has ended.
        try:
            pss += sum(_kib(Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines(), "Pss"))
        except PermissionError:
            whole = False
        except OSError:
            continue
    return Memory(rss / 1024, pss / 1024 if whole else None)


def folder_bytes(folder: Path) -> int:
    """Bytes that a folder takes on its disk."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
            except OSError:
                continue  # Deleted meanwhile.
    return total
