"""A mesh of two versions, and its upgrade, one node after the other.

    ./dev versions OTHER [--calls 2000]

OTHER is a checkout of this project of another version (`git clone`, `git checkout`; its C parts are
built here where that is lacking).  Three real nodes, once with one of them of the other version and
once with two: calls and pipelines through each node; kill -9 of an old node in the middle of calls
and its return; then each old node is stopped and started as this version.  In the end every history
has every call, and no node has anything left of agreeing about them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from meshcode.cli.demo.many.stage import Host, Hosts, address_of
from meshcode.client import connect, pipeline
from meshcode.errors import MeshError
from meshcode.store.contract import DONE, OPEN, VOTE
from meshcode.store.journaled import open_log
from tests.live.harness import make_repository, until

ROOT = Path(__file__).parents[2]
MODULE = "versions_tasks"
TASKS = "def nop(value=None):\n    return value\n"
SOCKET = "versions.nop"
OLD = ((1,), (0, 2))  # Which of the nodes are old, in each run.
STEPS, CHAINS = 5, 10
READY_S, CALLS_S, FORGOTTEN_S = 90, 300, 120


def source(host: Host, checkout: Path) -> None:
    """Let a node run from a checkout, from its next start on."""
    host._more["PYTHONPATH"] = str(checkout)


def runs_from(host: Host) -> Path:
    """The checkout that the process of a node has its code from."""
    assert host.node is not None
    variables = Path(f"/proc/{host.node.pid}/environ").read_bytes().split(b"\0")
    (found,) = [one for one in variables if one.startswith(b"PYTHONPATH=")]
    return Path(found.decode().partition("=")[2].partition(":")[0])


def stop(host: Host) -> None:
    """In good order; its process has ended when this returns."""
    host.mesh("down")
    assert host.node is not None
    host.node.wait(60)


def use(host: Host, calls: int) -> int:
    """Take calls and pipelines through one node; how many calls that were."""
    with connect(address_of(host)) as client:
        socket = client.socket(SOCKET)
        begin = time.monotonic()
        assert sorted(socket.map(range(calls))) == list(range(calls))
        rate = calls / (time.monotonic() - begin)
        chain = pipeline([socket.p()] * STEPS)
        for number in range(CHAINS):
            assert socket(number) == number
            assert chain(number).get(60) == number
    print(f"  {host.name} took {calls:,} calls, {rate:,.0f}/s, and {CHAINS} pipelines", flush=True)
    return calls + CHAINS * (1 + STEPS)


def keep_together(hosts: Hosts) -> None:
    """Until each node has its calls kept by three."""

    def is_kept(host: Host) -> bool:
        try:
            with connect(address_of(host)) as client:
                call = client.socket(SOCKET).submit(0)
                call.result(20)
                return call.accepted in ("quorum 2/3", "quorum 3/3")
        except MeshError:
            return False

    for host in hosts.all:
        until(lambda host=host: is_kept(host), READY_S, f"{host.name}: calls are kept by three")


def die_and_return(victim: Host, other: Host, calls: int) -> int:
    """kill -9 of a node while calls go through another one, and its return."""
    made: list[int] = []
    user = threading.Thread(target=lambda: made.append(use(other, calls)))
    user.start()
    victim.kill_node()
    victim.start_node()
    user.join(CALLS_S)
    assert made, f"the calls through {other.name} have not ended"
    print(f"  {victim.name} was killed meanwhile, and is back", flush=True)
    return made[0]


def left(host: Host) -> dict[str, int]:
    """What the log of a node that is stopped has."""
    (data,) = Path(host.home).rglob("data.mdb")
    log = open_log(data.parent, boot=False)
    try:
        return {table: log.count(table) for table in (VOTE, OPEN, DONE)}
    finally:
        log.close()


def all_is_recorded(hosts: Hosts, calls: int) -> None:
    """Every history has as many calls, and nothing else is left of them."""

    def found() -> list[dict[str, int]]:
        for host in hosts.all:
            stop(host)
        return [left(host) for host in hosts.all]

    end = time.monotonic() + FORGOTTEN_S
    rows = found()
    while any(kept[VOTE] or kept[OPEN] for kept in rows):
        assert time.monotonic() < end, rows
        for host in hosts.all:
            host.start_node()
        keep_together(hosts)
        rows = found()
    counts = {kept[DONE] for kept in rows}
    print(f"  every history has {', '.join(f'{count:,}' for count in counts)} calls", flush=True)
    assert len(counts) == 1 and min(counts) >= calls, (rows, calls)


def run(folder: Path, other: Path, old: tuple[int, ...], calls: int) -> None:
    """One mesh."""
    hosts = Hosts(folder, 3, quiet=True)
    print(f"nodes of the other version: {', '.join(hosts.all[n].name for n in old)}", flush=True)
    for number, host in enumerate(hosts.all):
        source(host, other if number in old else ROOT)
    try:
        hosts.assemble()
        repository = folder / "repository"
        make_repository(repository, {f"{MODULE}.py": TASKS})
        first = hosts.first
        first.mesh("add", "queue", "-n", "versions")
        first.mesh("add", "processor", "-n", "versions", "-g", f"file://{repository}",
                   "-m", MODULE, "-br", "main")  # fmt: skip
        first.mesh("add", "socket", "-n", SOCKET, "-q", "versions", "-pn", "versions", "-t", "nop")
        keep_together(hosts)
        for number, host in enumerate(hosts.all):
            assert runs_from(host) == (other if number in old else ROOT)
        made = sum(use(host, calls) for host in hosts.all)
        victim = hosts.all[old[0]]
        made += die_and_return(victim, hosts.all[old[0] - 1], calls)
        for number in old:
            host = hosts.all[number]
            stop(host)
            source(host, ROOT)
            host.start_node()
            keep_together(hosts)
            print(f"  {host.name} runs this version now", flush=True)
            made += sum(use(one, calls // 4) for one in hosts.all)
        all_is_recorded(hosts, made)
    finally:
        hosts.close(keep=False)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, help="a checkout of another version")
    parser.add_argument("--calls", type=int, default=2_000, help="through each node, each time")
    args = parser.parse_args(arguments)
    other = args.other.resolve()
    if not (other / "meshcode" / "node").is_dir():
        parser.error(f"{other} is no checkout of meshcode")
    if not list((other / "meshcode" / "native").glob("*.so")):
        subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=other,
                       check=False, stdout=subprocess.DEVNULL)  # fmt: skip
    for old in OLD:
        with tempfile.TemporaryDirectory(prefix="mesh-versions-") as folder:
            run(Path(folder), other, old, args.calls)
    print("OK: two versions in one mesh, and the upgrade of each node")


if __name__ == "__main__":
    main()
