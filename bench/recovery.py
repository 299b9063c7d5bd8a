"""How long a node takes to come back with a million calls waiting.

    python -m bench.recovery [--calls 1000000]

The calls are accepted by the real core and written by the real log, without links; then a real
node is started on the folder, twice (the first start finds cold pages), and asked how many calls
it has.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from random import Random
from typing import Any

from bench import machine
from meshcode import paths
from meshcode.ids import make_ids
from meshcode.router.core import Router
from meshcode.router.events import ModelChanged, Submitted
from meshcode.store.contract import META, MODEL
from meshcode.store.journaled import open_log
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind
from tests.live.harness import Mesh

BATCH = 4_096
SOCKET = "bench.waits"


def snapshot() -> dict[str, Any]:
    """One socket of a stopped processor, so that the calls stay where they are."""
    processor = {
        "git": "file:///nowhere", "module": "bench", "branch": "main", "requested_status": "stop",
        "workers": 1, "restarted": 0, "env": {},
    }  # fmt: skip
    return {
        "number": 1, "queues": {"q": {"type": "direct"}}, "processors": {"bench": processor},
        "sockets": {SOCKET: {"processor": "bench", "task": "waits", "queue": "q"}},
        "deployments": {},
    }  # fmt: skip


def fill(home: Path, calls: int) -> float:
    """Write so many waiting calls; returns the seconds it took."""
    base = paths.make_folders(str(home))
    log = open_log(paths.data_dir(base))
    node = bytes(15) + b"\1"
    router = Router(node, log.boot, Random(1))
    router.bodies_bytes_max = 0  # Nothing is dispatched here: keep only the facts.
    model = snapshot()
    log.stage([(META, b"node", node), (MODEL, b"snapshot", pack(model))])
    now_ms = time.time_ns() // 1_000_000
    router.step(ModelChanged(model), now_ms)
    body = pack_call(["x" * 100, 7], {})
    begin = time.perf_counter()
    for at in range(0, calls, BATCH):
        new = [
            (id, id, bytes(16), SOCKET, 2, None,
             envelope(Kind.SUBMIT, id=id, flow=id, name=SOCKET.encode(), body=body, argc=2))
            for id in make_ids(min(BATCH, calls - at))
        ]  # fmt: skip
        log.stage(router.step(Submitted(1, at, new), now_ms).records)
        log.sync()
    log.close()
    return time.perf_counter() - begin


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    calls = parser.parse_args(arguments).calls
    print(machine.describe())
    mesh = Mesh()
    try:
        took = fill(mesh.home, calls)
        print(f"filled     {calls:,} calls in {took:.1f} s, {calls / took:,.0f}/s")
        for start in ("first", "second"):
            begin = time.perf_counter()
            mesh.start(seconds=600.0)
            ready_s = time.perf_counter() - begin
            status = mesh.ask("status")
            assert status["calls"]["open"] == calls, status["calls"]
            assert mesh.process is not None
            own, whole = (machine.resident_mib(mesh.process.pid, k) for k in ("RssAnon", "VmRSS"))
            print(
                f"{start:<10} ready with {status['calls']['open']:,} calls after {ready_s:.1f} s, "
                f"{own:.0f} MiB of its own, {own * 2**20 / calls:.0f} bytes per call; "
                f"{whole:.0f} MiB with mapped pages of the log"
            )
            mesh.kill()
    finally:
        mesh.remove()


if __name__ == "__main__":
    main()
