"""A call alone beside what its links and its sync take without any Python, in turns.

`floor.c` is the same way in C over the same libzmq: client, node, worker, node, a write and a sync,
client.  The pump is that way in Python, with the log and the frames of the mesh, and nothing else.
What the mesh takes more than the pump is what it does for a call; what the pump takes more than the
floor is Python.

    python -m bench.floor [--turns 3] [--calls 1000]

It needs gcc; a libzmq that pyzmq loads as a library of its own, as its wheels do, is linked.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import zmq

from bench import machine, pump
from bench.world import SOCKET, nop_node
from meshcode.client import connect

SOURCE = Path(__file__).with_suffix(".c")
WARM_CALLS = 200
ANSWER_SECONDS = 300


def libzmq() -> Path | None:
    """The library that this process has loaded; None: it is a part of pyzmq's own module."""
    assert zmq.zmq_version_info(), "it is loaded now"
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[-1]
        if "libzmq" in path.rpartition("/")[2]:
            return Path(path)
    return None


def build(folder: Path) -> Path:
    """Compile `floor.c`.

    Raises:
        SystemExit: there is no gcc, or no libzmq to link.
    """
    library = libzmq()
    if library is None:
        raise SystemExit("pyzmq has no libzmq of its own here; there is nothing to link floor.c to")
    program = folder / "floor"
    command = [
        *("gcc", "-O2", "-Wall", "-o", str(program), str(SOURCE), str(library)),
        f"-Wl,-rpath,{library.parent}",
    ]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"floor.c could not be compiled: {error}") from error
    return program


def floor_ms(program: Path, folder: Path, calls: int, *, syncs: bool) -> list[float]:
    """Milliseconds of each call in C."""
    run = subprocess.run(
        [str(program), str(folder), str(calls), str(int(syncs))],
        stdout=subprocess.PIPE, text=True, check=True, timeout=ANSWER_SECONDS,
    )  # fmt: skip
    times = [float(line) / 1e3 for line in run.stdout.split()]
    assert len(times) == calls, (len(times), calls)
    return times


def mesh_ms(calls: int, call: Callable[[int], int]) -> list[float]:
    """Milliseconds of each call of the mesh."""
    times = []
    for number in range(WARM_CALLS + calls):
        begin = time.perf_counter()
        assert call(number) == number
        times.append((time.perf_counter() - begin) * 1e3)
    return times[WARM_CALLS:]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--calls", type=int, default=1_000)
    args = parser.parse_args(arguments)
    print(machine.describe())
    print(f"{'p50 ms of a call':18} {'in C, no sync':>14} {'in C':>8} {'pump':>8} {'mesh':>8}")
    with (
        tempfile.TemporaryDirectory(prefix="floor-") as name,
        nop_node() as mesh, connect(mesh.address) as client,
    ):  # fmt: skip
        folder = Path(name)
        program = build(folder)
        socket = client.socket(SOCKET)
        list(islice(socket.map(range(WARM_CALLS)), WARM_CALLS))
        for turn in range(args.turns):
            p50 = [
                machine.percentile(times, 0.5)
                for times in (
                    floor_ms(program, folder, args.calls, syncs=False),
                    floor_ms(program, folder, args.calls, syncs=True),
                    pump.singles_ms(args.calls),
                    mesh_ms(args.calls, socket),
                )
            ]
            print(f"turn {turn + 1:<13} {p50[0]:14.3f} {p50[1]:8.3f} {p50[2]:8.3f} {p50[3]:8.3f}")


if __name__ == "__main__":
    main()
