"""Plugs, gates and schedules of a world: how they are drawn, and how people change them.

All of it comes from a random source of its own, so that worlds without plugs are what they were.
Plugs lead from earlier to later sockets only: what one outcome causes has an end.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

Snapshot = dict[str, Any]
PLUGS_MAX = 12
KINDS = ("plugs", "gates", "schedules")  # Of objects, besides those that every world has.
_ARGUMENTS = (None, None, "a", "a", "b", "c")


def draw_model(
    rng: Random, snapshot: Snapshot, make_socket: Callable[[], dict[str, Any]]
) -> set[str]:
    """Add sockets, plugs, gates and queues to the model of a world; the sockets that are routers.

    Args:
        rng: of the plugs of the world.
        snapshot: is changed.
        make_socket: draws the fields of one.
    """
    sockets = snapshot["sockets"]
    for n in range(rng.randint(2, 5)):
        sockets[f"w{n}"] = make_socket() | {"wait_for_all": rng.random() < 0.15}
    snapshot["queues"]["pq"] = {"type": "direct", "message_ttl_ms": rng.choice((1, 200, 5_000))}
    snapshot["plugs"], snapshot["gates"] = {}, {}
    for n in range(rng.randint(2, 7)):
        snapshot["plugs"][f"p{n}"] = _plug(rng, snapshot)
    if rng.random() < 0.7:
        _join(rng, snapshot)
    if rng.random() < 0.4:
        for n in range(rng.randint(1, 3)):
            snapshot["gates"][f"g{n}"] = _gate(rng, snapshot)
    return {name for name in sockets if rng.random() < 0.1}


def _plug(rng: Random, snapshot: Snapshot) -> dict[str, Any]:
    target = rng.choice([name for name in snapshot["sockets"] if name[0] in "wt"])
    before = [name for name in snapshot["sockets"] if name < target]
    return {
        "source": rng.choice(before),
        "target": target,
        "type": "ERROR" if rng.random() < 0.2 else "RESULT",
        "argument": rng.choice(_ARGUMENTS),
        "queue": "pq" if rng.random() < 0.08 else None,
    }


def _join(rng: Random, snapshot: Snapshot) -> None:
    """Two or three plugs to as many arguments of one socket."""
    target = rng.choice([name for name in snapshot["sockets"] if name[0] == "w"])
    for n, argument in enumerate(rng.choice(("ab", "ab", "abc"))):
        name = f"p{9 + n}"
        snapshot["plugs"][name] = _plug(rng, snapshot) | {
            "source": rng.choice([name for name in snapshot["sockets"] if name < target]),
            "target": target, "type": "RESULT", "argument": argument, "queue": None,
        }  # fmt: skip


def _gate(rng: Random, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "plug": rng.choice(list(snapshot["plugs"])),
        "mode": rng.choice(("open", "closed", "closed", "task")),
        "socket": rng.choice([name for name in snapshot["sockets"] if name[0] == "w"]),
        "when_closed": rng.choice(("hold", "hold", "reject")),
    }


def draw_schedules(
    rng: Random, snapshot: Snapshot, start_ms: int, sockets: list[str], *, interval_ms: int
) -> None:
    """Add one or two schedules with some ticks; they never change, so that all ticks are known.

    Args:
        rng: of the plugs of the world.
        snapshot: is changed.
        start_ms: Unix milliseconds before which none has a tick.
        sockets: that may be called.
        interval_ms: between ticks, at least.
    """
    snapshot["schedules"] = {}
    for n in range(rng.choice((1, 1, 2))):
        interval_ms *= rng.choice((1, 3))
        first_ms = start_ms + rng.randrange(2_000)
        snapshot["schedules"][f"k{n}"] = {
            "socket": rng.choice(sockets),
            "interval_ms": interval_ms,
            "start_ms": first_ms,
            "end_ms": first_ms + rng.randint(1, 12) * interval_ms,
            "jitter_ms": rng.choice((0, 0, interval_ms // 2)),
            "catch_up": rng.choice(("all", "all", "last", "none")),
            "args": [n],
        }


def rewired(rng: Random, snapshot: Snapshot) -> Snapshot:
    """A newer snapshot: a plug added, gone or turned elsewhere, a gate opened or closed..."""
    new = copied(snapshot)
    new["number"] += 1
    plugs, gates = new["plugs"], new["gates"]
    what = rng.randrange(6)
    if what <= 2 and gates:
        gate = gates[rng.choice(list(gates))]
        gate["mode"] = rng.choice(("open", "open", "closed", "task"))
    elif what == 3 and len(plugs) > 1:
        name = rng.choice(list(plugs))
        del plugs[name]
        for gate in [name_ for name_, one in gates.items() if one["plug"] == name]:
            del gates[gate]
    elif what == 4 and plugs:
        plugs[rng.choice(list(plugs))] = _plug(rng, new)
    else:
        plugs[f"p{rng.randrange(PLUGS_MAX)}"] = _plug(rng, new)
    return new


def copied(snapshot: Snapshot) -> Snapshot:
    """A copy that shares nothing."""
    return deepcopy(snapshot)


def calmed(snapshot: Snapshot) -> None:
    """Every gate is opened: what waits at one goes on."""
    for gate in snapshot.get("gates", {}).values():
        if gate["mode"] == "closed":
            gate["mode"] = "open"


__all__ = ["KINDS", "calmed", "copied", "draw_model", "draw_schedules", "rewired"]
