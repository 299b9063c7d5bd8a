"""What every measurement begins with: machine, versions, commit, and how fast this moment is.

A figure from a shared machine means little alone.  The calibration loop is the same plain Python
each time; when it is slow, so was everything else in that run.  Compare ratios, not figures.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOOP_STEPS = 200_000
SYNCS = 50


def calibration_ms() -> float:
    """Milliseconds of a fixed loop of plain Python: the best of five."""
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        total, table = 0, {}
        for number in range(LOOP_STEPS):
            table[number & 1023] = total
            total = (total + table[number & 511 if number > 1024 else 0]) & 0xFFFFFFFF
        best = min(best, time.perf_counter() - begin)
    return best * 1e3


def sync_ms(folder: str | None = None) -> float:
    """Median milliseconds of one 4 KiB write and fdatasync in `folder`."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        times = []
        for _ in range(SYNCS):
            begin = time.perf_counter()
            os.pwrite(file.fileno(), bytes(4096), 0)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit of this checkout, `+` when files differ from it."""
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return run.stdout.strip() or "unknown"


def describe() -> str:
    """The lines that head every report."""
    import lmdb
    import zmq

    from meshcode import ahead, native
    from meshcode.store.binding import BINDING

    load = os.getloadavg()[0]
    return "\n".join([
        f"machine    {_cpu()}, {os.cpu_count()} cores, Linux {platform.release()}",
        f"versions   Python {platform.python_version()}, libzmq {zmq.zmq_version()}, "
        f"LMDB {'.'.join(map(str, lmdb.version()))} through {BINDING}, framing in {native.TWIN}, "
        f"core {'compiled' if ahead.folder() else 'from source'}",
        f"commit     {commit()}",
        f"moment     load {load:.1f}, calibration loop {calibration_ms():.1f} ms, "
        f"write and fdatasync {sync_ms():.2f} ms",
    ])  # fmt: skip


def spread(values: Iterable[float], form: str = "{:,.0f}") -> str:
    """Median, and the least and greatest of the runs."""
    ordered = sorted(values)
    parts = [form.format(v) for v in (statistics.median(ordered), ordered[0], ordered[-1])]
    return f"{parts[0]} (median of {len(ordered)}; {parts[1]} to {parts[2]})"


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cpu_s(pid: int) -> float:
    """CPU seconds a process has used, user and system, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int, kind: str = "VmRSS") -> float:
    """Resident memory of a process in MiB; `RssAnon` leaves out the pages of mapped files.

    The log is mapped, so VmRSS of a node also counts what the system caches of it and can take
    back at any moment.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(kind + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    print(describe())
