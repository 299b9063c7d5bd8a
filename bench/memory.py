"""What an idle node costs: resident memory of each process, and CPU while nothing happens.

    python -m bench.memory [--seconds 20]
"""

from __future__ import annotations

import argparse
import time

from bench import machine
from bench.world import nop_node
from tests.live.harness import Mesh, until


def measure(mesh: Mesh, seconds: float) -> None:
    """Print the figures of a node that has one idle worker."""
    assert mesh.process is not None
    rows = {"node": mesh.process.pid}
    for number, pid in enumerate(mesh.worker_pids(), 1):
        rows[f"worker {number}"] = pid
    for child in mesh.children():
        if "meshcode.model.server" in " ".join(child.cmdline()):
            rows["model"] = child.pid
    before = {name: machine.cpu_s(pid) for name, pid in rows.items()}
    begin = time.monotonic()
    until(lambda: time.monotonic() - begin >= seconds, seconds + 5, "idle time passes", every=1.0)
    elapsed = time.monotonic() - begin
    for name, pid in rows.items():
        share = (machine.cpu_s(pid) - before[name]) / elapsed * 100
        own = machine.resident_mib(pid, "RssAnon")
        print(
            f"{name:<10} {machine.resident_mib(pid):6.1f} MiB resident, {own:.1f} MiB of its own, "
            f"{share:.2f} % CPU idle"
        )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args(arguments)
    print(machine.describe())
    with Mesh() as empty:
        assert empty.process is not None
        print(f"{'bare node':<10} {machine.resident_mib(empty.process.pid):6.1f} MiB resident")
    with nop_node() as mesh:
        measure(mesh, args.seconds)


if __name__ == "__main__":
    main()
