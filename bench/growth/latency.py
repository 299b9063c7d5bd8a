"""Latency under half of the load that can be borne, for minutes.

    python -m bench.growth.latency [--minutes 1] [--load 0.5 | --rate N] [--peak-runs 3]

First the peak: calls a second of `submit` with their results; `--rate` is so many calls a second
whatever the peak is, to compare two versions.  Then calls are sent at moments that
are fixed before (open loop), whether earlier ones have ended or not, and each is measured from the
moment it was meant to be sent: when the mesh or the generator stalls, all calls of that time pay
for it, as their callers would (no coordinated omission).  How late the generator itself sent is
said beside it.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from functools import partial

from bench.growth.figures import figure, percentiles, short, told
from bench.growth.plot import Bars, Lines
from bench.growth.report import Report, options
from bench.world import SOCKET, nop_node
from meshcode.client import Call, Socket, connect
from tests.live.harness import until

TICK_S = 0.001  # The generator looks at the clock so often.
FLIGHT = 4_000  # Of the peak: as many as a `map` has.
WAIT_S = 120.0  # For the last results.
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def peak(socket: Socket, seconds: float) -> float:
    """Calls a second of `submit`, with their results."""
    begin, calls = time.perf_counter(), 0
    flight: deque[Call] = deque()
    while time.perf_counter() - begin < seconds:
        flight.append(socket.submit())
        calls += 1
        if len(flight) >= FLIGHT:
            flight.popleft().result(60)
    while flight:
        flight.popleft().result(60)
    return calls / (time.perf_counter() - begin)


class Load:
    """So many calls a second, each at its moment."""

    def __init__(self, socket: Socket, rate: float, seconds: float) -> None:
        """Nothing is sent yet."""
        self.count = max(1, int(rate * seconds))
        self.rate = rate
        self.ended_s = array("d", bytes(8 * self.count))  # Since the beginning, by number of call.
        self.sent_s = array("d", bytes(8 * self.count))
        self._socket = socket
        self._flying: dict[int, Call] = {}  # A handle that is dropped is told of no end.

    def run(self) -> None:
        """Send all; returns when the last result is there."""
        begin = time.perf_counter()
        pause = threading.Event()
        sent = 0
        while sent < self.count:
            due = min(self.count, int((time.perf_counter() - begin) * self.rate) + 1)
            while sent < due:
                call = self._socket.submit()
                self.sent_s[sent] = time.perf_counter() - begin
                self._flying[sent] = call
                call._add_callback(partial(self._ended, sent, begin))
                sent += 1
            pause.wait(TICK_S)
        until(lambda: not self._flying, WAIT_S, lambda: f"{len(self._flying):,} calls end")

    def _ended(self, number: int, begin: float) -> None:
        self.ended_s[number] = time.perf_counter() - begin
        del self._flying[number]

    def meant_s(self, number: int) -> float:
        """When a call was meant to be sent, in seconds since the beginning."""
        return number / self.rate

    def latencies_ms(self) -> list[float]:
        """From the moment each was meant to be sent until its result was at the client."""
        return [(end - self.meant_s(n)) * 1e3 for n, end in enumerate(self.ended_s)]

    def lateness_ms(self) -> list[float]:
        """How late the generator was with each."""
        return [(sent - self.meant_s(n)) * 1e3 for n, sent in enumerate(self.sent_s)]


def by_second(latencies: list[float], rate: float) -> dict[str, list[tuple[float, float]]]:
    """p50 and p99 of the calls of each second."""
    found: dict[str, list[tuple[float, float]]] = {"p50": [], "99th percentile": []}
    step = max(1, int(rate))
    for second, at in enumerate(range(0, len(latencies), step)):
        p50, p99 = percentiles(latencies[at : at + step], (0.5, 0.99))
        found["p50"].append((second, p50))
        found["99th percentile"].append((second, p99))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = options(__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--load", type=float, default=0.5, help="share of the peak")
    parser.add_argument("--rate", type=float, help="calls a second, instead of a share")
    parser.add_argument("--peak-runs", type=int, default=3)
    args = parser.parse_args(arguments)
    report = Report("latency", args.out)
    with nop_node() as mesh, connect(mesh.address) as client:
        socket = client.socket(SOCKET)
        peak(socket, 1.0)
        peaks = figure([peak(socket, 2.0) for _ in range(args.peak_runs)])
        rate = args.rate or peaks.median * args.load
        load = Load(socket, rate, args.minutes * 60)
        load.run()
        done = mesh.ask("status")
        assert done["calls"]["open"] == 0
    latencies, late = load.latencies_ms(), load.lateness_ms()
    report.say(
        f"peak       {told(peaks)} calls/s by submit; load {rate:,.0f} calls/s for "
        f"{args.minutes:g} minutes, {load.count:,} calls"
    )
    values = dict(zip(SHARES, percentiles(latencies, list(SHARES.values())), strict=True))
    lags = dict(zip(SHARES, percentiles(late, list(SHARES.values())), strict=True))
    report.show(Bars(
        f"latency at {rate / peaks.median:.0%} of the peak, from the moment meant", "ms",
        {
            "until the result": {name: [value] for name, value in values.items()},
            "until sent by the generator": {name: [value] for name, value in lags.items()},
        },
    ))  # fmt: skip
    report.show(Lines("latency by second", "s", "ms", by_second(latencies, rate)))
    report.say(f"latency    {', '.join(f'{n} {short(v)} ms' for n, v in values.items())}")
    report.say(f"generator  {', '.join(f'{n} {short(v)} ms' for n, v in lags.items())} late")
    report.save()


if __name__ == "__main__":
    main()
