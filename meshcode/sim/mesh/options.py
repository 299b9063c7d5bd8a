"""What one world of several nodes is like: every option drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

LEVELS: list[list[str | None]] = [
    [None],
    [None, "local"],
    [None, "all", "strict", "local", "quorum"],
]


@dataclass(slots=True)
class Options:
    """One world.  Times are milliseconds, chances 0 to 1."""

    nodes: int
    kinds: list[str]
    phase_ms: int  # How long faults happen.
    loss: float
    double: float
    late: float  # Messages that come 5 to 60 seconds late.
    delay_ms: int
    sync_ms: tuple[int, int]
    slow_sync: float
    frames: int
    frame_calls: int
    run_ms: tuple[int, int]
    raise_chance: float
    die_chance: float
    levels: list[str | None]
    crash: float  # Weights of what goes wrong next.
    power: float
    partition: float
    destroy: float
    evict_living: float
    suspect: float  # Somebody is wrongly believed dead.
    disk: float
    worker: float
    cancel: float
    fault_ms: int  # The longest time between two faults.
    again: float  # A client goes to another node, and that one could not ask whether it is known.
    hosts: dict[str, list[int]]
    dead_letters: bool
    clock_steps: bool
    owner: float  # Whoever owns a call crashes, and is away for long enough to be overtaken.
    custodians: float  # The chance that two voters of a child are destroyed as it is named.
    dies_proposing: float  # The chance that an owner crashes while its outcome is under way.
    poison: float  # Calls that kill every worker that runs them.
    core_of_two: bool  # After the faults one node stays away: two of three must do.
    counted: bool  # Nothing goes wrong but owners and workers: attempts are counted exactly.
    roll: float  # Every node is restarted, one after the other.
    snapshot: dict[str, Any]
    flows: int = 0
    flow_steps_max: int = 0
    flow_wrong: float = 0.0  # The chance that a plan is spoiled: it must be refused as a whole.
    flow_cancel: float = 0.0  # A weight, as above: all that is left of a flow is cancelled.
    flow_retries: int = 0
    routers: frozenset[str] | None = None  # Sockets whose results choose plugs; None = no plugs.
    rewirings: int = 0
    casts: int = 0
    crew: dict[int, dict[str, int]] | None = None  # Workers of each node; None = no broadcasts.
    scale: float = 0.0  # A weight, as above: another number of workers.
    generators: frozenset[str] = frozenset()
    stream_calls: int = 0  # Calls of generators by clients.
    stream_window: int = 0
    stream_items_max: int = 0
    movers: float = 0.0  # The chance that a voter of a collector is lost as this is made.


def draw(rng: Random) -> Options:
    """Draw the options of a world."""

    def maybe(chance: float, value: float) -> float:
        return value if rng.random() < chance else 0.0

    kinds = _kinds(rng)
    nodes = len(kinds)
    processors = ("p0", "p1")
    able = [n for n in range(nodes) if kinds[n] != "witness"]
    hosts = {name: rng.sample(able, min(len(able), rng.choice((1, 2, 3)))) for name in processors}
    dead_letters = rng.random() < 0.25
    run_low = rng.choice((0, 1, 20))
    sync_low = rng.choice((0, 1, 5))
    options = Options(
        nodes=nodes,
        kinds=kinds,
        phase_ms=rng.choice((4_000, 10_000, 20_000, 40_000)),
        loss=rng.choice((0.0, 0.01, 0.05, 0.2)),
        double=rng.choice((0.0, 0.02, 0.1)),
        late=rng.choice((0.0, 0.0, 0.01, 0.05)),
        delay_ms=rng.choice((1, 10, 100, 500)),
        sync_ms=(sync_low, sync_low + rng.choice((0, 2, 20))),
        slow_sync=rng.choice((0.0, 0.0, 0.1)),
        frames=rng.choice((2, 4, 8)),
        frame_calls=rng.choice((1, 2, 4)),
        run_ms=(run_low, run_low + rng.choice((0, 10, 300, 4_000))),
        raise_chance=maybe(0.3, 0.3),
        die_chance=maybe(0.25, 0.25),
        levels=rng.choice(LEVELS),
        crash=maybe(0.75, 3),
        power=maybe(0.4, 1),
        partition=maybe(0.6, 3),
        destroy=maybe(0.35, 1) if nodes >= 3 else 0,
        evict_living=maybe(0.12, 0.6) if nodes >= 4 else 0,
        suspect=maybe(0.4, 2),
        disk=maybe(0.15, 1),
        worker=maybe(0.3, 1),
        cancel=maybe(0.35, 2),
        fault_ms=rng.choice((1_000, 4_000, 8_000)),
        again=maybe(0.15, 0.3),
        hosts=hosts,
        dead_letters=dead_letters,
        clock_steps=rng.random() < 0.3,
        owner=maybe(0.25, 2),
        custodians=maybe(0.5, 0.5) if nodes >= 5 and dead_letters else 0,
        dies_proposing=maybe(0.2, 0.3),
        poison=maybe(0.05, 0.3),
        core_of_two=nodes >= 3 and rng.random() < 0.15,
        counted=False,
        roll=maybe(0.1, 0.5),
        snapshot=_snapshot(rng, dead_letters=dead_letters),
    )
    if nodes >= 3 and rng.random() < 0.04:
        _only_owners_die(options)
    return options


def _kinds(rng: Random) -> list[str]:
    """How many nodes there are, and what each is."""
    nodes = rng.choice((1, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 7))
    if rng.random() < 0.01:
        nodes = rng.choice((10, 15, 20, 50))
    kinds = ["core"] * nodes
    mixed = rng.random()
    if nodes >= 3 and mixed < 0.12:
        kinds[-1] = "witness"
    elif nodes >= 3 and mixed < 0.3:
        for n in range(rng.randint(1, nodes - 1)):
            kinds[-1 - n] = "edge"
    return kinds


def _only_owners_die(options: Options) -> None:
    """A world in which attempts can be counted exactly: nothing is lost but owners and workers."""
    options.loss = options.double = options.late = options.slow_sync = 0.0
    options.delay_ms = min(options.delay_ms, 10)
    options.power = options.partition = options.destroy = options.evict_living = 0
    options.suspect = options.disk = options.cancel = options.crash = options.custodians = 0
    options.worker = options.roll = options.again = options.dies_proposing = 0
    options.owner, options.poison, options.counted = 3, 0.5, True
    options.fault_ms, options.phase_ms = 20_000, 120_000
    for socket in options.snapshot["sockets"].values():
        socket["retries"], socket["retry_delay_ms"] = 1, 50
        socket["time_limit_ms"] = None


def _snapshot(rng: Random, *, dead_letters: bool) -> dict[str, Any]:
    queues: dict[str, Any] = {"q0": {}, "q1": {}}
    if dead_letters:
        queues["q0"] = {
            "message_ttl_ms": rng.choice((1, 300, 3_000)), "dead_letter": "s1",
            "max_length": rng.choice((None, 1, 3)),
            "overflow": rng.choice(("reject", "dead-letter")),
        }  # fmt: skip
    sockets = {
        f"s{n}": {
            "processor": f"p{n}", "task": "work", "queue": f"q{n}",
            "concurrency": rng.choice((None, None, None, 1)),
            "retries": rng.choice((None, None, 1)),
            "retry_delay_ms": rng.choice((None, 50)),
            "time_limit_ms": rng.choice((None, None, None, 1_000)),
        }
        for n in range(2)
    }  # fmt: skip
    processors = {f"p{n}": {"workers": 1, "requested_status": "start"} for n in range(2)}
    return {"number": 1, "queues": queues, "processors": processors, "sockets": sockets}
