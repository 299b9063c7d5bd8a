"""One turn of one system: everything that is measured of it, in a fresh life."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from bench.peers import tree
from bench.peers.life import Life
from bench.peers.peer import Unavailable

FIRST = 100  # Calls of the first, warming part.
SINGLES = 300
WIDTH = 1_000
WARM_WIDTH = 50


@dataclass
class Sample:
    """What one turn measured; None where the system has no such thing."""

    start_s: float
    idle: tree.Memory
    loaded: tree.Memory
    calls: int
    rate: float
    cpu_us: float
    singles_ms: list[float] = field(default_factory=list)
    chains: float | None = None
    fan_ms: float | None = None
    grown: float = 0.0  # Bytes a call by which its folder has grown.
    foreign: float = 0.0  # CPUs that processes outside this run kept busy meanwhile.
    note: str = ""  # Why a part of it is missing.


def enough(life: Life, order: str, seconds: float, first: int) -> int:
    """How many units of `order` take about `seconds`, found by doing ever more of them."""
    count = first
    while True:
        took: float = life.ask(order, count=count)
        if took >= seconds / 4:
            return max(1, round(count / took * seconds))
        count *= max(2, min(8, round(seconds / 3 / max(took, 1e-4))))


def machine_busy_s() -> float:
    """CPU seconds that all processes of the machine have used, since it started."""
    with open("/proc/stat") as file:
        words = file.readline().split()[1:]
    idle = int(words[3]) + int(words[4])
    return (sum(int(word) for word in words[:8]) - idle) / tree.TICKS


def take(life: Life, seconds: float, width: int = WIDTH) -> tuple[Sample, dict[str, Any]]:
    """Measure a life that has just begun: what it did, and what there is to say about it."""
    life.ask("start")
    start_s = time.perf_counter() - life.began
    facts: dict[str, Any] = life.ask("facts")
    idle = tree.memory(life.pids())
    life.ask("singles", count=20, seconds=seconds)
    singles = life.ask("singles", count=SINGLES, seconds=seconds)

    count = enough(life, "bulk", seconds, FIRST)
    before = life.pids()
    cpu, busy = tree.cpu_s(before), machine_busy_s()
    size = tree.folder_bytes(life.folder)
    took = life.ask("bulk", count=count)
    busy, after = machine_busy_s() - busy, life.pids()
    cpu = tree.cpu_s(after) - cpu
    grown = tree.folder_bytes(life.folder) - size

    sample = Sample(
        start_s=start_s, idle=idle, loaded=tree.memory(after), calls=count, rate=count / took,
        cpu_us=cpu / count * 1e6, singles_ms=singles, grown=grown / count,
        foreign=max(0.0, (busy - cpu) / took),
    )  # fmt: skip
    try:
        compositions(life, sample, facts, seconds, width)
    except Unavailable as error:  # What was measured before is good all the same.
        sample.note = str(error)
    return sample, facts


def compositions(
    life: Life, sample: Sample, facts: dict[str, Any], seconds: float, width: int
) -> None:
    """Chains and the fan-out, and the memory after them, into the sample."""
    if facts["chains"]:
        many = enough(life, "chains", seconds, 5)
        sample.chains = many / life.ask("chains", count=many)
    if facts["fan"]:
        life.ask("fan", width=min(width, WARM_WIDTH))
        sample.fan_ms = life.ask("fan", width=width) * 1e3
    sample.loaded = tree.memory(life.pids())
