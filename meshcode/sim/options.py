"""What one world is like: every option drawn from the seed, many of them off in most worlds.

Leaving whole features out of a world (swarm testing) finds more than always having a little of
everything: a rate limit that is always there hides what happens without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from meshcode.router import events
from meshcode.sim import plugacts

Snapshot = dict[str, Any]

PHASE_MS_MIN = 300
PHASE_MS_MAX = 6_000


@dataclass(slots=True)
class Options:
    """One world.  Times are milliseconds, chances are 0 to 1, the rest are counts of acts."""

    phase_ms: int  # How long faults happen; after it all is calm.
    snapshot: Snapshot
    workers_max: int  # Per processor.
    slots: int  # Calls one worker runs at once.
    clients: int
    frames: int
    frame_calls_max: int
    body_bytes_max: int
    memory_bytes_max: int | None  # Of envelopes in memory; None = the usual limit.
    link_ms_max: int
    sync_ms: tuple[int, int]
    sync_slow_chance: float
    run_ms: tuple[int, int]
    raise_chance: float
    die_chance: float
    long_chance: float  # A run of many seconds.
    deaf_chance: float  # A worker does not listen to interrupts.
    begun_known_chance: float  # The control page of a dead worker tells what it had begun.
    ready_ms_max: int  # From the start of a worker process to its first call.
    option_chance: float  # A call has options of its own.
    repeat_chance: float  # A call or frame is sent once more.
    fresh: bool  # Clients mark first submits.
    signed: bool  # The node knows the signature of the task.
    at_once: bool  # If it knows: workers with many slots run its calls beside each other.
    listening: bool
    crashes: int
    crash_kept_chance: float  # What was being written reached the disk.
    drains: int
    worker_deaths: int
    worker_recycles: int
    worker_stops: int
    disk_fulls: int
    disk_suspects: int
    disk_levels: int
    model_changes: int
    blind_boot_chance: float  # The node boots before it knows the model.
    clock_steps: bool
    client_crashes: int
    cancels: int
    retries: int
    watches: int
    flows: int = 0
    flow_steps_max: int = 0
    flow_wrong_chance: float = 0.0  # A plan is spoiled, and must be refused as a whole.
    flow_option_chance: float = 0.0  # A step has options of its own.
    flow_cancels: int = 0
    flow_retries: int = 0
    rewirings: int = 0
    bursts: int = 0  # Calls that a client makes as part of one flow.
    routers: frozenset[str] | None = None  # Sockets whose results choose plugs; None = no plugs.
    generators: frozenset[str] = frozenset()  # Sockets whose tasks stream.
    casts: int = 0
    crew: dict[str, int] | None = None  # Workers there are to be; None = no broadcasts.
    crew_changes: int = 0
    stream_calls: int = 0
    stream_window: int = 0  # Units of a stream in flight.
    stream_items_max: int = 0


def draw(rng: Random) -> Options:
    """Draw the options of a world."""

    def sometimes(chance: float, count: int) -> int:
        return rng.randint(1, count) if rng.random() < chance else 0

    def chance(on: float, high: float) -> float:
        return rng.random() * high if rng.random() < on else 0.0

    crowded = rng.random() < 0.1
    run_low = rng.choice((0, 0, 1, 5))
    sync_low = rng.choice((0, 0, 1, 3))
    options = Options(
        phase_ms=rng.randint(PHASE_MS_MIN, PHASE_MS_MAX),
        snapshot=draw_snapshot(rng),
        workers_max=rng.choice((1, 1, 2, 3)),
        slots=rng.choice((1, 1, 1, 2, 8)),
        clients=rng.choice((1, 2, 3)),
        frames=rng.randint(2, 12),
        frame_calls_max=rng.choice((1, 2, 4, 8)),
        body_bytes_max=rng.choice((0, 20, 300)),
        memory_bytes_max=rng.choice((None, None, None, 0, 200, 1_000)),
        link_ms_max=rng.choice((0, 1, 5)),
        sync_ms=(sync_low, sync_low + rng.choice((0, 1, 5, 20))),
        sync_slow_chance=chance(0.2, 0.2),
        run_ms=(run_low, run_low + rng.choice((0, 2, 10, 100, 600))),
        raise_chance=chance(0.4, 0.4),
        die_chance=chance(0.35, 0.35),
        long_chance=chance(0.35, 0.2),
        deaf_chance=chance(0.3, 1.0),
        begun_known_chance=rng.choice((0.0, 0.5, 1.0)),
        ready_ms_max=rng.choice((1, 20, 300)),
        option_chance=chance(0.6, 1.0),
        repeat_chance=chance(0.5, 0.4),
        fresh=rng.random() < 0.7,
        signed=rng.random() < 0.3,
        at_once=rng.random() < 0.6,
        listening=rng.random() < 0.3,
        crashes=sometimes(0.5, 3),
        crash_kept_chance=rng.choice((0.0, 0.5, 1.0)),
        drains=sometimes(0.12, 1),
        worker_deaths=sometimes(0.3, 4),
        worker_recycles=sometimes(0.25, 3),
        worker_stops=sometimes(0.15, 2),
        disk_fulls=sometimes(0.15, 3),
        disk_suspects=sometimes(0.1, 1),
        disk_levels=sometimes(0.15, 3),
        model_changes=sometimes(0.4, 5),
        blind_boot_chance=chance(0.2, 1.0),
        clock_steps=rng.random() < 0.3,
        client_crashes=sometimes(0.3, 3),
        cancels=sometimes(0.4, rng.choice((3, 25))),
        retries=sometimes(0.3, 5),
        watches=sometimes(0.3, 3),
    )
    if crowded:
        _crowd(rng, options)
    return options


def draw_flows(rng: Random, options: Options) -> None:
    """Half of the worlds have flows; drawn apart, so that the other half is what it was."""
    if rng.random() < 0.5:
        return
    options.flows = rng.randint(1, 6)
    options.flow_steps_max = rng.choice((3, 8, 8, 20))
    options.flow_wrong_chance = rng.choice((0.0, 0.1, 0.3))
    options.flow_option_chance = rng.choice((0.0, 0.0, 0.2, 0.5))
    options.flow_cancels = rng.choice((0, 0, 1, 2))
    options.flow_retries = rng.choice((0, 0, 1, 2))
    if rng.random() < 0.5:  # Else most flows end because something of them waited too long.
        for queue in options.snapshot["queues"].values():
            queue["message_ttl_ms"] = queue["expires_ms"] = queue["max_length"] = None
        if rng.random() < 0.4:
            _wear_out(rng, options)


def draw_plugs(rng: Random, options: Options, unix_ms: int) -> None:
    """Half of the worlds have plugs; drawn apart, like flows."""
    if rng.random() < 0.5:
        return
    snapshot = options.snapshot
    processors = list(snapshot["processors"])
    queues = list(snapshot["queues"])
    options.routers = frozenset(
        plugacts.draw_model(rng, snapshot, lambda: _socket(rng, processors, queues))
    )
    options.rewirings = rng.choice((0, 0, 2, 6))
    options.bursts = rng.choice((0, 1, 3))
    options.blind_boot_chance = 0.0  # A node knows its wiring from its own log.
    if rng.random() < 0.7:  # Else most values expire on their way.
        for name, queue in snapshot["queues"].items():
            if name != "pq":
                queue["message_ttl_ms"] = queue["expires_ms"] = queue["max_length"] = None
    for name, socket in snapshot["sockets"].items():
        if name[0] == "w" and snapshot["queues"][socket["queue"]].get("dead_letter"):
            socket["queue"] = ""  # Its dead letters would go round.
    if rng.random() < 0.3:
        options.crashes = 3
    if rng.random() < 0.4:
        sockets = list(snapshot["sockets"])
        interval_ms = rng.choice((100, 400, 1_000))
        plugacts.draw_schedules(rng, snapshot, unix_ms, sockets, interval_ms=interval_ms)


def _wear_out(rng: Random, options: Options) -> None:
    """Steps die under their workers, wait for another try or a person, and the node dies too."""
    options.die_chance, options.raise_chance = 0.4, 0.1
    options.crashes, options.retries = 3, 12
    options.flows = 6
    options.phase_ms = PHASE_MS_MAX
    for socket in options.snapshot["sockets"].values():
        socket["retries"] = rng.choice((0, 1, 2))
        socket["retry_delay_ms"] = rng.choice((300, 2_000))


def _crowd(rng: Random, options: Options) -> None:
    """Many calls, few workers, limits per key, and people who cancel: lines wait for each other."""
    options.frames, options.frame_calls_max = 12, 8
    options.workers_max = rng.choice((2, 3))
    options.run_ms = (20, 400)
    options.option_chance = 1.0
    options.cancels = 25
    options.model_changes = 0
    for socket in options.snapshot["sockets"].values():
        socket["key_concurrency"] = rng.choice((1, 1, 2))
        socket["time_limit_ms"] = None
    for queue in options.snapshot["queues"].values():
        queue["max_length"] = queue["max_length_bytes"] = None


def draw_snapshot(rng: Random) -> Snapshot:
    """Draw the first model of a world."""
    processors = {f"p{n}": _processor(rng) for n in range(rng.choice((1, 1, 2)))}
    queues = {f"q{n}": _queue(rng) for n in range(rng.choice((1, 2)))}
    sockets = {
        f"s{n}": _socket(rng, list(processors), list(queues))
        for n in range(rng.choice((1, 1, 2, 4)))
    }
    if rng.random() < 0.3:
        for queue in queues.values():
            queue["dead_letter"] = rng.choice((*sockets, "nowhere"))
    return {"number": 1, "queues": queues, "processors": processors, "sockets": sockets}


def change_snapshot(rng: Random, snapshot: Snapshot, first: Snapshot) -> Snapshot:
    """A newer snapshot: a limit changed, a socket gone, back or moved, a processor stopped..."""
    new = copy_of(snapshot)
    new["number"] += 1
    what = rng.randrange(6)
    if what == 0 and new["sockets"]:
        del new["sockets"][rng.choice(list(new["sockets"]))]
    elif what == 1:
        for name, fields in first["sockets"].items():
            new["sockets"].setdefault(name, dict(fields))
    elif what == 2 and new["sockets"]:
        name = rng.choice(list(new["sockets"]))
        new["sockets"][name] = _socket(rng, list(new["processors"]), list(new["queues"]))
    elif what == 3:
        name = rng.choice(list(new["queues"]))
        kept = new["queues"][name].get("dead_letter")
        new["queues"][name] = _queue(rng) | {"dead_letter": kept}
    else:
        name = rng.choice(list(new["processors"]))
        status = rng.choice(("start", "start", "pause", "stop"))
        new["processors"][name]["requested_status"] = status
    return new


def calm_snapshot(snapshot: Snapshot, first: Snapshot) -> Snapshot:
    """The snapshot under which every call can run: all sockets there, all processors started."""
    new = copy_of(snapshot)
    new["number"] += 1
    for name, fields in first["sockets"].items():
        new["sockets"].setdefault(name, dict(fields))
    for processor in new["processors"].values():
        processor["requested_status"] = "start"
    plugacts.calmed(new)
    return new


def copy_of(snapshot: Snapshot) -> Snapshot:
    """A copy that can be changed at the depth of single fields."""
    copy = {"number": snapshot["number"]}
    for kind in ("queues", "processors", "sockets"):
        copy[kind] = {name: dict(fields) for name, fields in snapshot[kind].items()}
    for kind in plugacts.KINDS:
        if kind in snapshot:
            copy[kind] = {name: dict(fields) for name, fields in snapshot[kind].items()}
    return copy


def model_changed(before: Snapshot, after: Snapshot) -> events.ModelChanged:
    """What a node hears that knows the snapshot before."""
    keys = [
        (kind.removesuffix("s"), name)
        for kind in sorted(after.keys() - {"number"})
        for name in sorted({*before.get(kind, ()), *after[kind]})
        if before.get(kind, {}).get(name) != after[kind].get(name)
    ]
    return events.ModelChanged(copy_of(after), keys)


def _maybe(rng: Random, chance: float, values: tuple[Any, ...]) -> Any:
    return rng.choice(values) if rng.random() < chance else None


def _processor(rng: Random) -> dict[str, Any]:
    return {
        "workers": 1,
        "retries": _maybe(rng, 0.2, (0, 1, 3)),
        "retry_delay_ms": _maybe(rng, 0.2, (0, 10, 400)),
        "time_limit_ms": _maybe(rng, 0.1, (50, 2_000)),
        "rate_limit": _maybe(rng, 0.05, ("5/s",)),
        "requested_status": "start",
    }


def _queue(rng: Random) -> dict[str, Any]:
    return {
        "type": "direct",
        "max_length": _maybe(rng, 0.25, (1, 3, 10)),
        "max_length_bytes": _maybe(rng, 0.1, (200, 1_000)),
        "message_ttl_ms": _maybe(rng, 0.2, (1, 50, 1_000)),
        "expires_ms": _maybe(rng, 0.1, (10, 2_000)),
        "overflow": rng.choice(("reject", "reject", "dead-letter")),
        "dead_letter": None,
    }


def _socket(rng: Random, processors: list[str], queues: list[str]) -> dict[str, Any]:
    return {
        "processor": rng.choice(processors),
        "task": "work",
        "queue": rng.choice(queues),
        "priority": _maybe(rng, 0.2, (0, 7)),
        "rate_limit": _maybe(rng, 0.2, ("1/s", "60/m", "20/s", "100/m", "2000/s")),
        "concurrency": _maybe(rng, 0.25, (1, 1, 2)),
        "key_concurrency": _maybe(rng, 0.25, (1, 1, 2)),
        "retries": _maybe(rng, 0.2, (0, 1, 2)),
        "retry_delay_ms": _maybe(rng, 0.2, (0, 5, 300)),
        "time_limit_ms": _maybe(rng, 0.2, (5, 100, 1_500)),
    }


def draw_call_options(rng: Random, now_unix_ms: int) -> dict[str, Any]:
    """Options of one call; now and then a wrong one, which must be refused."""
    options: dict[str, Any] = {}
    if rng.random() < 0.5:
        options["key"] = rng.choice(("k1", "k1", "k1", "k2"))
    if rng.random() < 0.25:
        options["priority"] = rng.choice((0, 3, 9))
    if rng.random() < 0.2:
        options["delay_ms"] = rng.choice((1, 100, 3_000))
    elif rng.random() < 0.1:
        options["eta_ms"] = now_unix_ms + rng.choice((-50, 20, 1_000))
    if rng.random() < 0.15:
        options["retries"] = rng.choice((0, 1, 4))
    if rng.random() < 0.1:
        options["retry_delay_ms"] = rng.choice((0, 30))
    if rng.random() < 0.15:
        options["expires_ms"] = rng.choice((1, 60, 2_500))
    if rng.random() < 0.15:
        options["time_limit_ms"] = rng.choice((1, 80, 3_000))
    if rng.random() < 0.03:
        options["priority"] = rng.choice((10, -1, "high", True))
    return options
