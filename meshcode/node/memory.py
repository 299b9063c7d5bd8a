"""How much memory this node's process may take, and for how many open calls that is enough.

What is measured is the process, not a sum over its calls, so whatever takes memory counts: calls,
copies of those of other nodes, envelopes, outcomes that clients are slow to take.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from meshcode import config
from meshcode.errors import CallerError
from meshcode.limits import CALL_BYTES, MEMORY_BYTES_MIN, OPEN_CALLS_MAX, OPEN_CALLS_MIN
from meshcode.units import parse_size

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_STATM_BYTES = 256  # Seven numbers.


def bytes_of_machine(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> int:
    """What the machine has, or less where the control group of this process may take less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _limits(groups, own):
        try:
            text = file.read_text()
        except OSError:
            continue
        if text.strip().isdigit():  # Else it is "max".
            found.append(int(text))
    return min(found)


def _limits(groups: Path, own: Path) -> Iterator[Path]:
    """The files that may have a limit: of the groups this process is in, and of what holds them."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/", "0:memory:/"]:
        _, kinds, name = line.split(":", 2)
        folder = groups if not kinds else groups / "memory"  # Version 2 has one tree, 1 many.
        if kinds and "memory" not in kinds.split(","):
            continue
        place = Path(name.lstrip("/"))
        for part in (place, *place.parents):
            yield folder / part / ("memory.limit_in_bytes" if kinds else "memory.max")


@cache
def _statm() -> int:
    """Opened once and kept: a node asks every second, also when it can open nothing more."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def own_bytes() -> int:
    """Memory of this process: without what it maps of files, such as the pages of its log."""
    _, resident, shared, *_ = os.pread(_statm(), _STATM_BYTES, 0).split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def address_space_bytes() -> int:
    """What this process has of what `ulimit -v` limits."""
    return int(os.pread(_statm(), _STATM_BYTES, 0).split()[0]) * os.sysconf("SC_PAGE_SIZE")


def most_bytes(setting: str) -> int:
    """The setting `memory` in bytes; 0 stands for half of the machine's.

    Raises:
        CallerError: less than MEMORY_BYTES_MIN.
    """
    most = parse_size(setting)
    if 0 < most < MEMORY_BYTES_MIN:
        raise CallerError(
            f"memory is {setting!r}, {most} bytes; a node needs {MEMORY_BYTES_MIN} at least; 0 "
            "stands for half of the machine's"
        )
    return most or max(bytes_of_machine() // 2, MEMORY_BYTES_MIN)


class Memory:
    """What a node may take, and what it has learned of how many calls fit into it."""

    def __init__(self, most: int | None = None) -> None:
        """`most`: bytes; None = as the settings say.

        Raises:
            CallerError: the setting cannot be.
        """
        self.most = most_bytes(config.value("memory")) if most is None else most
        self._fit = OPEN_CALLS_MIN  # So many it has held, or may hold whatever else there is.
        self._peak = self.most  # The most it took since it was over its limit.

    def calls_max(self, kept: int, used: int) -> int:
        """How many open calls may be kept.

        Memory of calls that have ended is used again and seldom given back, so what is used says
        only how many more fit: as many as were ever kept within the limit fit again.

        Args:
            kept: open calls now.
            used: bytes that the process takes now.
        """
        if used <= self.most:
            self._peak = self.most
            self._fit = max(self._fit, kept)
            fit = max(self._fit, kept + (self.most - used) // CALL_BYTES)
            return min(fit, OPEN_CALLS_MAX)
        if used > self._peak:  # It grows: these are too many.
            self._peak = used
            self._fit = max(min(self._fit, kept), OPEN_CALLS_MIN)
        return self._fit

    def facts(self, calls_max: int) -> dict[str, int]:
        """What `mesh status` shows, in bytes; `calls_max` is in force."""
        return {"used": own_bytes(), "limit": self.most, "calls_max": calls_max}


__all__ = ["Memory", "address_space_bytes", "bytes_of_machine", "most_bytes", "own_bytes"]
