"""What people, clients, hosts and disks do in the first phase of a world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.router import events
from meshcode.router.plan import FLOW
from meshcode.router.room import kept
from meshcode.router.states import State
from meshcode.sim import casting, plugacts, streaming
from meshcode.sim import options as drawn
from meshcode.sim.books import Fact
from meshcode.sim.plans import Author, DrawnPlan

if TYPE_CHECKING:
    from meshcode.sim.actors import SimClient
    from meshcode.sim.world import World

_DRAIN_TRIES = 40


def submit(world: World) -> None:
    """A client sends a frame of calls, some of them twice."""
    rng, options = world.rng, world.options
    client = rng.choice(world.clients)
    if not client.alive:
        return
    names = _sockets(world)
    calls: list[tuple[bytes, int]] = []
    unix_ms = 1_700_000_000_000 + world.now
    for _ in range(rng.randint(1, options.frame_calls_max)):
        id = unix_ms.to_bytes(6, "big") + rng.randbytes(10)
        name = "s9" if rng.random() < 0.01 else rng.choice(names)
        own = drawn.draw_call_options(rng, unix_ms) if world.chance(options.option_chance) else None
        body = rng.randbytes(rng.randint(0, options.body_bytes_max))
        world.checker.facts[id] = Fact(id, name, own, body)
        calls.append((id, rng.choice((1, 1, 2, 255 if not options.signed else 3))))
    shared = world.chance(options.repeat_chance)  # Another client sends one of the ids too.
    client.submit(calls, fresh=options.fresh and not shared)
    if world.chance(options.repeat_chance):
        again = rng.choice(calls)
        client.submit([again, again], fresh=False)
    if shared:
        other = rng.choice(world.clients)
        if other.alive:
            other.submit([rng.choice(calls)], fresh=False)


def flow(world: World) -> None:
    """A client submits a flow, now and then as a task of another one would."""
    rng, options = world.rng, world.options
    client = rng.choice(world.clients)
    if not client.alive:
        return
    unix_ms = 1_700_000_000_000 + world.now

    def own() -> dict[str, Any] | None:
        chance = world.chance(options.flow_option_chance)
        return drawn.draw_call_options(rng, unix_ms) if chance else None

    book = world.checker.flows
    roots = _accepted_flows(world)
    known = [*roots, *(id for root in roots for id in book.members(root))]
    author = Author(rng, _sockets(world), known, own, options.flow_steps_max)
    plan = author.plan(wrong_chance=options.flow_wrong_chance)
    _submit_flow(world, client, plan, rng.choice(roots) if roots and rng.random() < 0.3 else b"")
    if world.chance(options.repeat_chance):
        client.submit([(list(book.plans)[-1], 1)], fresh=False)


def _submit_flow(world: World, client: SimClient, plan: DrawnPlan, outer: bytes) -> None:
    id = (1_700_000_000_000 + world.now).to_bytes(6, "big") + world.rng.randbytes(10)
    book = world.checker.flows
    fact = world.checker.facts[id] = Fact(id, FLOW, None, plan.body())
    fact.flow = book.groups[outer] if outer else id
    book.add(id, plan, fact.flow)
    world.say("client %d: flow %s of %d steps %s", client.number, id, len(plan.steps), plan.wrong)
    client.submit([(id, 1)], fresh=world.options.fresh)


def _sockets(world: World) -> list[str]:
    """Those that clients call."""
    return [name for name in world.first["sockets"] if name[0] not in "tg"]


def _accepted_flows(world: World) -> list[bytes]:
    """Flows that somebody was told of."""
    facts = world.checker.facts
    return [id for id in world.checker.flows.plans if id in facts and facts[id].told is not None]


def flow_cancel(world: World) -> None:
    """Someone wants all that is left of a flow to end."""
    roots = _accepted_flows(world)
    if not roots or world.node is None:
        return
    root = world.rng.choice(roots)
    for call in list(world.node.router.calls.values()):
        fact = world.checker.facts[call.id]
        if fact.flow == root:
            fact.cancel_asked = True
            world.requests += 1
            request = world.requests.to_bytes(16, "big")
            world.post(events.CancelAsked(0, request, call.id, "a person"))


def flow_retry(world: World) -> None:
    """Someone wants a flow tried again without what is done of it."""
    roots = _accepted_flows(world)
    client = world.rng.choice(world.clients)
    if not roots or not client.alive:
        return
    done = world.checker.durable.done
    root = world.rng.choice(roots)
    plan = world.checker.flows.retried(root, lambda one: one in done and done[one][1] == 1)
    _submit_flow(world, client, plan, b"")


def crash(world: World) -> None:
    """kill -9 of the node."""
    world.crash(keep=world.chance(world.options.crash_kept_chance))


def drain(world: World) -> None:
    """The node is asked to finish what runs and to stop."""
    if world.node is not None:
        world.say("node: drain")
        world.post(events.Drained())
        world.after(20, _drained, world, world.node, _DRAIN_TRIES)


def _drained(world: World, node: object, tries: int) -> None:
    here = world.node
    if here is None or here is not node:
        return
    running = any(call.state is State.RUNNING for call in here.router.calls.values())
    busy = running or here.inbox or here.turns.unsynced
    if busy and tries:
        world.after(20, _drained, world, node, tries - 1)
    else:
        world.crash(keep=False)


def worker_death(world: World) -> None:
    """The kernel or a person kills a worker."""
    if world.workers:
        worker = world.workers[world.rng.choice(list(world.workers))]
        world.kill_worker(worker, "signal 9")


def worker_recycle(world: World) -> None:
    """A worker has run long enough."""
    if world.workers:
        worker = world.workers[world.rng.choice(list(world.workers))]
        if not worker.leaving:
            world.leave(worker)


def worker_stop(world: World) -> None:
    """The node stops a worker on purpose, whatever it runs."""
    if world.workers:
        worker = world.workers[world.rng.choice(list(world.workers))]
        world.kill_worker(worker, "stopped", blame=False)


def disk_full(world: World) -> None:
    """The next write finds no room."""
    if world.node is not None:
        world.node.log.fail_next_sync("full")


def disk_suspect(world: World) -> None:
    """The next write fails."""
    if world.node is not None:
        world.suspect_kept = world.rng.random() < 0.5
        world.node.log.fail_next_sync("suspect", keep=world.suspect_kept)


def disk_level(world: World) -> None:
    """The disk fills, or is cleared; in every other world it may be the memory that fills."""
    level = world.rng.choice((0, 1, 2, 3))
    if level == 1 and world.seed % 2 and world.node is not None:
        world.post(events.RoomChanged(kept(world.node.router) + world.now % 4))
    else:
        world.post(events.DiskChanged(level))


def model_change(world: World) -> None:
    """An operator changes the model."""
    before = world.snapshot
    world.snapshot = drawn.change_snapshot(world.rng, before, world.first)
    if world.checker.plugs is not None:  # The model keeps the sockets of plugs.
        for name, fields in world.first["sockets"].items():
            world.snapshot["sockets"].setdefault(name, dict(fields))
    world.say("model: %d", world.snapshot["number"])
    world.post(drawn.model_changed(before, world.snapshot))
    if world.node is not None:
        world.staff()


def client_crash(world: World) -> None:
    """A client process dies; mostly it comes back and knows its ids."""
    client = world.rng.choice(world.clients)
    if not client.alive:
        return
    world.say("client %d: crash", client.number)
    if client.session and world.rng.random() < 0.7:
        world.to_node(client.session, events.ClientLeft(client.session))
    client.crash()
    if world.rng.random() < 0.8:
        world.after(world.rng.choice((1, 50, 1_000)), _client_returns, world, client)


def _client_returns(world: World, client: object) -> None:
    for mine in world.clients:
        if mine is client:
            mine.alive = True
            world.reconnect(mine)


def _any_id(world: World) -> bytes | None:
    ids = list(world.checker.facts)
    return world.rng.choice(ids[-20:]) if ids else None


def _next_id(world: World) -> bytes | None:
    """A call that is the next of its line: the one that others may be waiting for."""
    lines = world.node.router.lines.values() if world.node is not None else ()
    heads = [ready[0].id for line in lines for ready in line.ready.values() if ready]
    return world.rng.choice(heads) if heads else None


def cancel(world: World) -> None:
    """Someone wants a call to end."""
    id = _next_id(world) if world.rng.random() < 0.4 else _any_id(world)
    client = world.rng.choice(world.clients)
    if id is None or not client.session:
        return
    world.requests += 1
    world.say("client %d: cancel %s", client.number, id)
    world.checker.facts[id].cancel_asked = True
    request = world.requests.to_bytes(16, "big")
    world.to_node(client.session, events.CancelAsked(client.session, request, id, "a person"))


def retry(world: World) -> None:
    """Someone wants a call tried again: rather one that is HELD."""
    id = _any_id(world)
    held = [fact.id for fact in world.checker.facts.values() if fact.held]
    if held and world.rng.random() < 0.7:
        id = world.rng.choice(held)
    client = world.rng.choice(world.clients)
    if id is None or not client.session:
        return
    world.requests += 1
    world.say("client %d: retry %s", client.number, id)
    request = world.requests.to_bytes(16, "big")
    item = ("retry", client.session, request, id, "a person")
    world.to_node(client.session, item)
    if world.chance(world.options.repeat_chance):
        world.to_node(client.session, item)


def watch(world: World) -> None:
    """A client wants the outcomes of calls that others submitted."""
    client = world.rng.choice(world.clients)
    ids = [fact.id for fact in world.checker.facts.values() if fact.acked and not fact.held]
    if not ids or not client.session:
        return
    ids = [id for id in ids[-5:] if id not in client.got]
    for id in ids:
        client.waiting[id] = None
    world.to_node(client.session, ("watch", client.session, ids))


def rewire(world: World) -> None:
    """An operator changes plugs and gates."""
    before = world.snapshot
    world.snapshot = plugacts.rewired(world.plugs_rng, before)
    world.say("model: %d, rewired", world.snapshot["number"])
    world.post(drawn.model_changed(before, world.snapshot))


def burst(world: World) -> None:
    """A client makes several calls as part of one flow, as a task does."""
    rng = world.plugs_rng
    client = rng.choice(world.clients)
    if not client.alive:
        return
    calls: list[tuple[bytes, int]] = []
    flow = b""
    for _ in range(rng.randint(2, 6)):
        id = (1_700_000_000_000 + world.now).to_bytes(6, "big") + rng.randbytes(10)
        flow = flow or id
        fact = world.checker.facts[id] = Fact(id, rng.choice(_sockets(world)), None, b"\x90")
        fact.flow = flow
        calls.append((id, 1))
    client.submit(calls, fresh=world.options.fresh)


# Field of Options that counts them -> act.
ACTS = {
    "frames": submit,
    "crashes": crash,
    "drains": drain,
    "worker_deaths": worker_death,
    "worker_recycles": worker_recycle,
    "worker_stops": worker_stop,
    "disk_fulls": disk_full,
    "disk_suspects": disk_suspect,
    "disk_levels": disk_level,
    "model_changes": model_change,
    "client_crashes": client_crash,
    "cancels": cancel,
    "retries": retry,
    "watches": watch,
    "flows": flow,
    "flow_cancels": flow_cancel,
    "flow_retries": flow_retry,
    "rewirings": rewire,
    "bursts": burst,
    "stream_calls": streaming.submit,
    "casts": casting.submit,
    "crew_changes": casting.scale,
}
