"""Broadcasts of a simulated world: how they are drawn and called, and how many workers there are.

All of it comes from a random source of its own, so that worlds without broadcasts are what they
were.  They are in worlds without plugs, which are busy enough.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from meshcode.router import events
from meshcode.sim.books import Fact

if TYPE_CHECKING:
    from meshcode.sim.options import Options
    from meshcode.sim.world import World

_CREW_MAX = 4


def draw(rng: Random, options: Options) -> None:
    """Half of the worlds without plugs have broadcasts."""
    if options.routers is not None or rng.random() < 0.5:
        return
    options.casts = rng.randint(1, 8)
    options.crew = {
        name: rng.choice((0, 1, 2, 3, _CREW_MAX)) for name in options.snapshot["processors"]
    }
    options.crew_changes = rng.choice((0, 1, 2, 6))
    options.worker_recycles += rng.choice((0, 0, 3))
    if rng.random() < 0.6:  # Else most copies expire on their way.
        for queue in options.snapshot["queues"].values():
            queue["message_ttl_ms"] = queue["expires_ms"] = queue["max_length"] = None


def submit(world: World) -> None:
    """A client calls every worker of a socket."""
    rng = world.casts_rng
    client = rng.choice(world.clients)
    if not client.alive:
        return
    calls: list[tuple[bytes, int]] = []
    for _ in range(rng.choice((1, 1, 2))):
        id = (1_700_000_000_000 + world.now).to_bytes(6, "big") + rng.randbytes(10)
        name = rng.choice(list(world.first["sockets"]))
        body = b"\x91\xc4" + bytes([rng.randint(0, 60)])
        body += rng.randbytes(body[2])
        world.checker.facts[id] = Fact(id, name, _options(rng), body)
        calls.append((id, 1))
    client.submit(calls, fresh=world.options.fresh)


def _options(rng: Random) -> dict[str, Any]:
    options: dict[str, Any] = {"broadcast": True}
    if rng.random() < 0.2:
        options["delay_ms"] = rng.choice((1, 200, 2_000))
    if rng.random() < 0.2:
        options["expires_ms"] = rng.choice((60, 1_000, 5_000))
    if rng.random() < 0.2:
        options["retries"] = rng.choice((0, 2))
    if rng.random() < 0.2:
        options["time_limit_ms"] = rng.choice((30, 2_000))
    if rng.random() < 0.2:
        options["key"] = "k1"
    if rng.random() < 0.2:
        options["priority"] = rng.choice((0, 9))
    return options


def scale(world: World) -> None:
    """An operator wants more or fewer workers of a processor."""
    rng = world.casts_rng
    name = rng.choice(list(world.crew))
    world.crew[name] = rng.randint(0, _CREW_MAX)
    world.say("crew: %s", world.crew)
    tell(world)


def tell(world: World) -> None:
    """Let the node know of the crew there is to be, and look after its workers."""
    if world.node is not None and world.crew:
        crew = {name: count for name, count in world.crew.items() if count}
        world.post(events.CrewChanged(crew))
        world.staff()


def be_calm(world: World) -> None:
    """Every processor has a worker at least."""
    for name, count in world.crew.items():
        world.crew[name] = max(1, count)
    tell(world)


def wanted(world: World, name: str, here: int) -> int:
    """How many workers of a processor the supervisor has now: all, or fewer for a while.

    One too many when others are to take over.
    """
    count = world.crew[name]
    if world.calm:
        return count
    return min(max(here, world.casts_rng.randint(0, count)), count + 1)


__all__ = ["be_calm", "draw", "scale", "submit", "tell", "wanted"]
