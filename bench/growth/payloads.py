"""Calls and bytes a second of payloads from 10 bytes to 10 MB, each there and back.

    python -m bench.growth.payloads [--sizes 10,100,1k,10k,100k,1M,10M] [--seconds 2] [--rounds 3]

The task returns what came, so a call brings its payload to the worker and back: MB/s are of one
way, and twice as much went through the node.  Results above 64 KiB are files of their own.
"""

from __future__ import annotations

import os
from functools import partial

from bench.growth.figures import figure, octets, told, whole_numbers
from bench.growth.plot import Bars
from bench.growth.report import Report, in_turns, options
from bench.growth.worlds import disk_bytes, node_bytes, rate
from bench.world import SOCKET, nop_node
from meshcode.client import connect


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = options(__doc__)
    sizes = [10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000]
    parser.add_argument("--sizes", type=whole_numbers, default=sizes)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(arguments)
    report = Report("payloads", args.out)
    with nop_node() as mesh, connect(mesh.address) as client:
        socket = client.socket(SOCKET)
        values = {size: os.urandom(size) for size in args.sizes}
        assert all(socket(value) == value for value in values.values())
        found = in_turns(
            {size: partial(rate, socket, args.seconds, value) for size, value in values.items()},
            args.rounds,
        )
        report.say(
            f"space      node {node_bytes(mesh) / 2**20:.0f} MiB of its own at the end; "
            f"{disk_bytes(mesh) / 2**20:,.0f} MiB on disk, all that ended is kept"
        )
    by_size = {octets(size): rates for size, rates in found.items()}
    moved = {octets(size): [one * size / 1e6 for one in rates] for size, rates in found.items()}
    report.show(Bars("calls with payloads there and back", "calls/s", {"": by_size}))
    report.show(Bars("payload moved, one way", "MB/s", {"": moved}))
    for name, values_s in moved.items():
        report.say(
            f"{name:>10} {told(figure(by_size[name]))} calls/s, {told(figure(values_s))} MB/s"
        )
    report.save()


if __name__ == "__main__":
    main()
