"""What rights cost a call: a declared user with privileges beside the owner, who is asked nothing.

    python -m bench.guard [--seconds 0.5] [--rounds 20] [--privileges 50]

Durable no-op calls with results back, one node, one worker.  Owner and user take turns, in turns of
order, so that a slow moment of the machine meets both; the ratio is of the two of one round.
Then what the guard itself takes: a socket it was asked about before, one it was not, and the first
call after a change of the model.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import machine
from bench.end_to_end import map_rate
from bench.world import SOCKET, nop_node
from meshcode.client import Client, connect
from meshcode.node.guard import Guard
from meshcode.node.who import Who
from tests.live.harness import Mesh
from tests.node.test_guard import Loop

PASSWORD = "a password of this bench"
WARM_CALLS = 2_000


def declare(owner: Client, privileges: int) -> None:
    """A user who may call the socket by the last of many privileges, some of them denials."""

    def add(kind: str, name: str, **fields: Any) -> None:
        owner.ask("model", do="add", kind=kind, name=name, fields=fields)

    add("role", "caller")
    add("user", "joe", roles=["caller"], password=PASSWORD)
    for at in range(privileges - 1):
        on = f"processor:other-{at}" if at % 2 else f"label:team=other-{at}"
        add("privilege", f"p{at:03}", right="RUN_TASK", role="caller", on=on, revoked=at % 5 == 0)
    add("privilege", "the-last", right="RUN_TASK", user="joe", on="processor:bench")


def login_file(mesh: Mesh) -> Path:
    """Where the user's login is, away from this machine's own."""
    return mesh.home / "login-of-joe"


def as_user(mesh: Mesh, owner: Client) -> Client:
    """A client on the same link, logged in."""
    login = login_file(mesh)
    login.touch(0o600)
    login.write_text(owner.ask("login", user="joe", password=PASSWORD)["login"])
    client = connect(mesh.address)
    assert client.ask("whoami")["user"] == "joe"
    return client


def measure(clients: dict[str, Client], seconds: float, rounds: int) -> dict[str, list[float]]:
    """Calls a second of each client, round by round."""
    rates: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(rounds):
        for name in list(clients)[:: 1 if number % 2 else -1]:
            rates[name].append(map_rate(clients[name].socket(SOCKET), seconds)[0])
    return rates


def each_us(what: Callable[[int], object], count: int) -> float:
    """Microseconds of one of many."""
    begin = time.perf_counter()
    for number in range(count):
        what(number)
    return (time.perf_counter() - begin) / count * 1e6


def inside(snapshot: dict[str, Any]) -> dict[str, float]:
    """Microseconds of the guard for one call, on the model of the node."""
    guard = Guard(Loop())
    guard.changed(snapshot)
    who = Who(None)
    who.become(guard.rights)
    who.user = "joe"

    def asked(_number: int) -> None:
        assert guard.run_problem(who, SOCKET) is None

    def not_asked(_number: int) -> None:
        who.may.clear()
        asked(0)

    return {
        "a socket asked before": each_us(asked, 100_000),
        "a socket not asked before": each_us(not_asked, 2_000),
        "a change of the model": each_us(lambda _: guard.changed(snapshot), 500),
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--privileges", type=int, default=50)
    args = parser.parse_args(arguments)
    print(machine.describe())
    with nop_node() as mesh:
        os.environ["MESH_LOGIN_FILE"] = str(login_file(mesh))  # Not there until it is written.
        with connect(mesh.address) as owner:
            assert owner.ask("whoami")["who"] == "owner"
            declare(owner, args.privileges)
            with as_user(mesh, owner) as user:
                clients = {"owner": owner, "user": user}
                for client in clients.values():
                    warm = client.socket(SOCKET).map(range(WARM_CALLS))
                    assert sum(1 for _ in warm) == WARM_CALLS
                rates = measure(clients, args.seconds, args.rounds)
                parts = inside(owner.ask("model", do="snapshot"))
    for name, found in rates.items():
        print(f"{name:10} {machine.spread(found)} durable calls/s, results back")
    ratios = [user / owner for user, owner in zip(rates["user"], rates["owner"], strict=True)]
    print(f"ratio      {machine.spread(ratios, '{:.3f}')} of the owner's")
    for name, found in parts.items():
        print(f"guard      {found:8.2f} us, {name}; {args.privileges} privileges")


if __name__ == "__main__":
    main()
