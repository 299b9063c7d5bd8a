"""Flows in a mesh: how clients make them, and what must have come of each in the end."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from meshcode.router import events
from meshcode.router.plan import FLOW
from meshcode.router.states import State
from meshcode.sim.mesh.options import Options
from meshcode.sim.plans import Author, DrawnPlan
from meshcode.sim.violation import require
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.sim.mesh.checks import MeshChecker
    from meshcode.sim.mesh.node import MeshNode
    from meshcode.sim.mesh.world import MeshWorld

_REFUSED = ("busy", "queue_full", "wrong_arguments")  # Also where the plan is good.


def draw(rng: Random, options: Options) -> None:
    """More than half of the worlds have flows; drawn apart: the others are what they were."""
    if rng.random() < 0.4:
        return
    options.flows = rng.choice((1, 2, 2, 4, 6))
    options.flow_steps_max = rng.choice((3, 6, 6, 12))
    options.flow_wrong = rng.choice((0.0, 0.0, 0.2))
    options.flow_cancel = rng.choice((0.0, 0.0, 1.0))
    options.flow_retries = rng.choice((0, 0, 1, 2))
    if options.nodes >= 5 and not options.counted and rng.random() < 0.3:
        options.custodians = max(options.custodians, 0.3)
    if options.counted:
        options.flow_cancel = 0.0


def submit(world: MeshWorld, number: int) -> None:
    """A client makes a flow, now and then as a task of another one would."""
    rng, options = world.rng, world.options
    book = world.checker.flows
    roots = [root for root in book.plans if root in world.checker.told]
    known = [*roots, *(id for root in roots for id in book.members(root))]

    def own() -> dict[str, Any] | None:
        found = {}
        if rng.random() < 0.1:
            found["delay_ms"] = rng.choice((1, 500, 3_000))
        if rng.random() < 0.05:
            found["expires_ms"] = rng.choice((1, 500, 5_000))
        return found or None

    author = Author(rng, ["s0", "s1"], known, own, options.flow_steps_max)
    plan = author.plan(wrong_chance=options.flow_wrong)
    _send(world, number, plan, rng.choice(roots) if roots and rng.random() < 0.3 else b"")


def retry(world: MeshWorld, number: int) -> None:
    """Somebody wants a flow tried again without what is done of it."""
    checker = world.checker
    roots = [root for root in checker.flows.plans if root in checker.told]
    if not roots:
        return

    def is_done(id: bytes) -> bool:
        return any(outcome[13] == Outcome.DONE for outcome in checker.seen_of(id))

    _send(world, number, checker.flows.retried(world.rng.choice(roots), is_done), b"")


def _send(world: MeshWorld, number: int, plan: DrawnPlan, outer: bytes) -> None:
    rng = world.rng
    id = (1_600_000_000_000 + world.now).to_bytes(6, "big") + b"\x71" + number.to_bytes(9, "big")
    book = world.checker.flows
    flow = book.groups[outer] if outer else id
    book.add(id, plan, flow)
    for step in book.members(id):
        if world.options.poison and rng.random() < world.options.poison:
            world.poison.add(step)
    level = rng.choice(world.options.levels)
    options = {"ack": level} if level is not None else None
    data = envelope(
        Kind.SUBMIT, id=id, flow=flow, name=FLOW.encode(), meta=pack(options) if options else b"",
        body=plan.body(), argc=1,
    )  # fmt: skip
    world.say("flow %s of %d steps %s", id.hex(), len(plan.steps), plan.wrong)
    world.send([(id, flow, bytes(16), FLOW, 1, options, data)])


def cancel(world: MeshWorld) -> None:
    """Somebody wants all that is left of a flow to end."""
    roots = [root for root in world.checker.flows.plans if root in world.checker.told]
    if not roots:
        return
    root = world.rng.choice(roots)
    for node in world.nodes:
        for call in list(node.router.calls.values()) if node.up else ():
            if call.envelope is not None and call.envelope[32:48] == root:
                node.post(events.CancelAsked(0, bytes(16), call.id, "somebody"))


def refused(c: MeshChecker, id: bytes, data: dict[str, Any]) -> None:
    """A flow is refused for what is wrong with it, or because there is no room."""
    plan = c.flows.plans.get(id)
    if plan is not None:
        good = data["code"] in _REFUSED or (plan.code != "" and data["code"] == plan.code)
        require(good, "refusal", "without a true reason", data)


def waits_for_what_is_lost(c: MeshChecker, id: bytes) -> bool:
    """Whether a step needs a call of whose outcome nobody who is there knows.

    That one is judged for itself: it is HELD, waits for a person, or went with the only disk that
    had it.
    """
    if id not in c.flows.steps:
        return False
    there = [node for node in c.world.living() if node.index != c.world.away]
    return any(
        not any(need in node.disk.tables["done"].values for node in there)
        for need in c.flows.waits_for(id)
    )


def resting(world: MeshWorld, there: list[MeshNode]) -> set[bytes]:
    """Calls that wait for a person, and steps that need what does, or what is lost."""
    c = world.checker
    routers = [node.router for node in there if node.up]
    calls = [call for router in routers for call in router.calls.values()]
    found = {call.id for call in calls if call.state is State.HELD}
    known = {call.id for call in calls}
    known |= {
        inst.id
        for router in routers
        for inst in router.replica.by_key.values()
        if not router.replica.is_orphan(inst)
    }
    done = [node.disk.tables["done"].values for node in there]
    left = [call.id for call in calls if call.state is State.GATHERING and call.id in c.flows.steps]
    while True:
        more = [
            id
            for id in left
            if id not in found
            and any(
                (need in found or need not in known) and not any(need in table for table in done)
                for need in c.flows.waits_for(id)
            )
        ]
        if not more:
            return found
        found.update(more)


def finish(c: MeshChecker) -> None:
    """Every flow is there completely or not at all, and nobody has anything left of it."""
    for root, plan in c.flows.plans.items():
        members = c.flows.members(root)
        done = [one for one in c.seen_of(root) if one[13] == Outcome.DONE]
        require(not (done and plan.code), "flow", "a wrong one was accepted", root.hex())
        if not done:
            made = [id for id in members if id in c.roots]
            require(not made, "flow", "steps of what was not accepted", root.hex(), len(made))
    for key, value in c.chosen.items():
        root = key[:16]
        if root in c.flows.plans and value.code == Outcome.DONE and not c.is_twin(root):
            named = [child.id for child in value.children]
            require(named == c.flows.members(root), "flow", root.hex(), "names", len(named))
    for node in c.world.living():
        _nothing_is_left(node)


def _nothing_is_left(node: MeshNode) -> None:
    router = node.router
    plans = [id for id in router.plans if id not in router.calls]
    require(not router.ripe and not plans, "I15 memory", node, "keeps plans", len(plans))
    left = left_over(node)
    text = [need.hex() for need in left]
    require(not left, "I15 memory", node, "waits for what nobody needs", text)


def left_over(node: MeshNode) -> list[bytes]:
    """What a node asks for although nothing there needs it; looked at when it asks again."""
    router = node.router
    found = []
    for need, calls in router.needed.items():
        live = any(
            call.state is State.GATHERING and router.calls.get(call.id) is call for call in calls
        )
        if not live and need not in router.calls and need not in router.replica.by_id:
            found.append(need)
    return found


__all__ = [
    "cancel", "draw", "finish", "left_over", "refused", "resting", "retry", "submit",
    "waits_for_what_is_lost",
]  # fmt: skip
