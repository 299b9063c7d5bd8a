"""Three nodes on one machine beside one node, in one run: durable no-op calls and their latency.

    python -m bench.mesh [--seconds 3] [--runs 3] [--nodes 3]

The acknowledgement means a majority of three disks (here: three logs on one disk).  A call with its
result is two such writes, the call and its outcome; the last line counts the first alone, of calls
that nobody runs.  Messages and bytes between the nodes are counted by the links themselves.  All
processes share this machine's cores, so the rate says what agreement costs, not what three machines
would do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bench import machine
from bench.end_to_end import map_rate, singles_ms
from bench.world import MODULE, SOCKET, TASKS, nop_node
from meshcode.cli.demo.many.stage import Hosts, address_of
from meshcode.client import Client, connect, pipeline
from meshcode.errors import MeshError
from tests.live.harness import make_repository, until

WARM_CALLS = 1_000
WAITING_CALLS = 20_000  # Submitted while nobody runs them.
SINGLES = 300
STEPS, CHAINS = 10, 60


def one_node(seconds: float, runs: int) -> tuple[float, float]:
    """Rate and p50 of a node alone."""
    with nop_node() as mesh, connect(mesh.address) as client:
        return measure("1 node", client, seconds, runs)


def measure(name: str, client: Client, seconds: float, runs: int) -> tuple[float, float]:
    """Print rate and latency through one client; returns the median rate and p50."""
    socket = client.socket(SOCKET)
    assert sum(1 for _ in socket.map(range(WARM_CALLS))) == WARM_CALLS
    level = socket.submit(0)
    level.wait_accepted()
    latency = singles_ms(socket, SINGLES)
    rates = sorted(map_rate(socket, seconds)[0] for _ in range(runs))
    p50, p99 = (machine.percentile(latency, share) for share in (0.5, 0.99))
    print(f"{name:9} {machine.spread(rates)} calls/s; p50 {p50:.2f} ms, p99 {p99:.2f} ms; "
          f"acknowledged {level.accepted}")  # fmt: skip
    chain = pipeline([socket.p()] * STEPS)
    times = []
    for number in range(CHAINS):
        begin = time.perf_counter()
        assert chain(number).get(60) == number
        times.append((time.perf_counter() - begin) * 1e3)
    p50_chain, p99_chain = (machine.percentile(times, share) for share in (0.5, 0.99))
    print(f"          a pipeline of {STEPS} steps, alone: p50 {p50_chain:.1f} ms, "
          f"p99 {p99_chain:.1f} ms")  # fmt: skip
    return rates[len(rates) // 2], p50


def several_nodes(count: int, seconds: float, runs: int) -> tuple[float, float]:
    """The same through one node of a mesh; and what the nodes said to each other for it."""
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as name:
        hosts = Hosts(Path(name), count, quiet=True)
        try:
            hosts.assemble()
            repository = Path(name) / "repository"
            make_repository(repository, {f"{MODULE}.py": TASKS})
            first = hosts.first
            first.mesh("add", "queue", "-n", "bench")
            first.mesh("add", "processor", "-n", "bench", "-g", f"file://{repository}",
                       "-m", MODULE, "-br", "main")  # fmt: skip
            first.mesh("add", "socket", "-n", SOCKET, "-q", "bench", "-pn", "bench", "-t", "nop")
            with connect(address_of(first)) as client:
                until(lambda: _is_shared(client, count), 90, "calls are kept by several nodes")
                before = counted(client)
                begun = time.perf_counter()
                found = measure(f"{count} nodes", client, seconds, runs)
                after = counted(client)
                _print_words(before, after, found[0] * (time.perf_counter() - begun))
                first.mesh("proc", "pause", "-n", "bench")
                rates = sorted(accepted_rate(client, WAITING_CALLS) for _ in range(runs))
                print(f"          {machine.spread(rates)} calls/s acknowledged, not run: one write "
                      "to a quorum each")  # fmt: skip
                return found
        finally:
            hosts.close(keep=False)


def accepted_rate(client: Client, count: int) -> float:
    """Acknowledgements a second of `count` calls that wait."""
    submit = client.socket(SOCKET).submit
    begin = time.perf_counter()
    calls = [submit(number) for number in range(count)]
    levels = {call.wait_accepted(60) for call in calls}
    elapsed = time.perf_counter() - begin
    assert len(levels) == 1, levels
    return count / elapsed


def _is_shared(client: Client, count: int) -> bool:
    try:
        call = client.socket(SOCKET).submit(0)
        call.result(20)
        return call.accepted == ("quorum 2/3" if count >= 3 else "local 2/2")
    except MeshError:
        return False


def counted(client: Client) -> dict[str, int]:
    """Envelopes and bytes that the node sent to its peers so far, and calls it has kept."""
    status = client.ask("status")
    links = client.ask("nodes")["nodes"]  # Rows of all members, with the traffic of the links.
    found = {"done": int(status["done"])}
    for name in ("envelopes_out", "frames_out", "bytes_out"):
        found[name] = sum(int((row.get("traffic") or {}).get(name, 0)) for row in links)
    return found


def _print_words(before: dict[str, int], after: dict[str, int], calls: float) -> None:
    done = max(1, after["done"] - before["done"])
    for name in ("envelopes_out", "frames_out", "bytes_out"):
        each = (after[name] - before[name]) / done
        if each:
            print(f"          {name.replace('_', ' ')} to the peers: {each:.2f} per call")
    print(f"          {done} calls recorded, about {calls:.0f} asked for")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=3)
    args = parser.parse_args(arguments)
    print(machine.describe())
    alone, alone_ms = one_node(args.seconds, args.runs)
    shared, shared_ms = several_nodes(args.nodes, args.seconds, args.runs)
    ratio, times = shared / alone, shared_ms / alone_ms
    print(f"ratio     {ratio:.2f} of the rate, {times:.1f} times the latency")


if __name__ == "__main__":
    main()
