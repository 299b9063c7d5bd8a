"""Plugs, joins and gates in a mesh: how the model changes, and what must come of every outcome."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from meshcode.ids import child_id
from meshcode.replica.instance import read_record, value_data
from meshcode.router import events
from meshcode.router.records import split_done, split_open
from meshcode.router.states import State
from meshcode.sim import plugacts
from meshcode.sim.flowbook import body_of
from meshcode.sim.mesh import keepers
from meshcode.sim.mesh.options import Options
from meshcode.sim.plugbook import COLLECT, ITEM, JOIN, NOBODY, Known, closed_gates
from meshcode.sim.violation import require
from meshcode.wire.codec import unpack
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.router.effects import Effects
    from meshcode.sim.mesh.checks import MeshChecker
    from meshcode.sim.mesh.node import MeshNode
    from meshcode.sim.mesh.world import MeshWorld

WALL_MS = 1_700_000_000_000  # As the hosts' clocks say, but for those that are wrong.
_MOVED, _DONE = int(Outcome.MOVED), int(Outcome.DONE)


def draw(rng: Random, options: Options) -> None:
    """Half of the worlds have plugs; drawn apart: the others are what they were."""
    if rng.random() < 0.5:
        return

    def socket() -> dict[str, Any]:
        n = rng.randrange(2)  # Dead letters of `q0` would go round.
        return {
            "processor": f"p{n}", "task": "work", "queue": rng.choice(("", "", "", "q1")),
            "concurrency": rng.choice((None, None, None, 1)),
            "retries": rng.choice((None, None, 1)),
            "retry_delay_ms": rng.choice((None, 50)),
            "time_limit_ms": rng.choice((None, None, None, 1_000)),
        }  # fmt: skip

    options.routers = frozenset(plugacts.draw_model(rng, options.snapshot, socket))
    options.rewirings = rng.choice((0, 0, 1, 4))
    if rng.random() < 0.4:
        sockets = list(options.snapshot["sockets"])
        start_ms = WALL_MS + 12_000
        interval_ms = rng.choice((300, 1_000))
        # While nodes hear of an eviction, they do not agree on who keeps a tick.
        options.destroy = options.evict_living = options.custodians = 0.0
        plugacts.draw_schedules(rng, options.snapshot, start_ms, sockets, interval_ms=interval_ms)
    if options.counted:
        for one in options.snapshot["sockets"].values():
            one["retries"], one["retry_delay_ms"], one["time_limit_ms"] = 1, 50, None
    keepers.draw(rng, options)


# The model.


def rewire(world: MeshWorld) -> None:
    """An operator changes plugs and gates; every node hears of it in its own time."""
    if world.calm:
        return
    world.model = plugacts.rewired(world.plugs_rng, world.model)
    world.say("model %d", world.model["number"])
    for node in world.nodes:
        world.after(world.plugs_rng.choice((0, 10, 3_000)), hear, node, world.model)


def calm(world: MeshWorld) -> None:
    """All gates are opened, and every node hears of it."""
    world.model = plugacts.copied(world.model)
    world.model["number"] += 1
    plugacts.calmed(world.model)
    for node in world.nodes:
        hear(node, world.model)


def hear(node: MeshNode, model: dict[str, Any]) -> None:
    """A node hears of a model, or will when it starts."""
    if model["number"] <= node.model["number"]:
        return
    node.model = model
    if node.up:
        node.post(events.ModelChanged(plugacts.copied(model)))


def told(c: MeshChecker) -> None:
    """A node has taken over a model: what waits at gates that are open there may go on."""
    if c.plugs is not None:
        c.plugs.told(closed(c))


def closed(c: MeshChecker) -> set[str]:
    """The gates that are closed at all nodes that are up."""
    up = [closed_gates(node.told_model) for node in c.world.nodes if node.up]
    return set.intersection(*up) if up else set()


# Calls.


def opened(c: MeshChecker, submit: bytes) -> None:
    """A call is on a disk: somebody had a reason to make it."""
    book = c.plugs
    if book is None:
        return
    id, parent = submit[16:32], submit[48:64]
    if id in book.calls and not c.runs.get(id) and book.calls[id].submit != submit:
        del book.calls[id]  # What was thought at first went with a crash.
    shut = closed(c)
    book.opened(submit, shut)
    known = book.as_made(id, submit)
    if known.options.get("gate") not in shut:
        book.free.add(id)
    if known.name == COLLECT:
        if id not in book.made:
            keepers.collector_is_kept(c.world, submit)
        book.made.add(id)
    elif id in book.ticks:
        book.fired(known, max(node.now_ms for node in c.world.nodes if node.up or node.life))
    elif id == child_id(parent, b"dead-letter"):
        book.copy(id, parent)
    elif known.name != ITEM and id not in c.homes and id not in c.flows.steps:
        require(id in book.made, "plug", "nobody's outcome causes", id.hex(), known.name)


def booted(c: MeshChecker, node: MeshNode) -> None:
    """A node reads its log: of what it keeps alone only what is on its disk is left."""
    if c.plugs is None:
        return
    c.closing.pop(node.index, None)
    for at in [at for at in c.alone if at[0] == node.index]:
        del c.alone[at]
    for key, value in node.disk.tables["open"].values.items():
        if (id := kept_alone(node, value)) is not None:
            c.alone[(node.index, key)] = id


def is_twin(c: MeshChecker, id: bytes) -> bool:
    """Whether two nodes may have caused a call, or a value that it gets, each in its own form."""
    assert c.plugs is not None
    options = c.plugs.calls[id].options
    return c.is_twin(id) or ("named" in options and any(map(c.is_twin, options["feed"])))


def stepped(c: MeshChecker, node: MeshNode, effects: Effects) -> None:
    """Where one node alone keeps a call, what it causes is in the batch of its outcome."""
    book = c.plugs
    if book is None:
        return
    opens = [split_open(op[2])[1] for op in effects.records if op[0] == "open" and op[2]]
    for submit in opens:
        book.opened(submit, closed(c))
    ended: dict[bytes, tuple[bytes, bytes | None]] = {
        id: (outcome, None) for id, (_, outcome, _) in c.closing.get(node.index, {}).items()
    }
    for table, id, value in effects.records:
        if table == "done" and value is not None:
            done = split_done(value)
            ended[id] = (done["outcome"], done["submit"])
    for table, _, value in effects.records:
        if table == "vote" and value is not None:
            _decides_alone(c, node, value, ended)
    alone = _ended_alone(c, node, effects)
    for id, (outcome, submit) in ended.items():
        if id in alone and id in book.calls:
            children = [one for one in opens if _is_child(c, id, outcome, one)]
            _judge_once(c, node, outcome, children, submit)
    c.closing[node.index] = dict(node.router.closing)


def _ended_alone(c: MeshChecker, node: MeshNode, effects: Effects) -> set[bytes]:
    """The calls whose record goes in this step, of those that this node keeps without a voter.

    Other nodes may keep the same call (P14): what becomes of theirs is judged when it is proposed.
    """
    found = set()
    mine: dict[bytes, bytes] = {}  # What came in this step, by key.
    for table, key, value in effects.records:
        if table != "open":
            continue
        if value is None:
            found.add(mine.get(key, c.alone.get((node.index, key), b"")))
        elif (id := kept_alone(node, value)) is not None:
            mine[key] = id
        else:
            mine[key] = b""
    c.alone.update({(node.index, key): id for key, id in mine.items()})
    return found


def kept_alone(node: MeshNode, value: bytes) -> bytes | None:
    """The call of an `open` record that no other node votes on, unless it is another's copy."""
    custody, submit = split_open(value)
    return submit[16:32] if list(custody["voters"]) == [node.id] else None


def _decides_alone(
    c: MeshChecker,
    node: MeshNode,
    value: bytes,
    ended: dict[bytes, tuple[bytes, bytes | None]],
) -> None:
    """What has one voter is proposed to nobody; it may have ended in the same step."""
    inst = read_record(0, value)
    if len(inst.voters) == 1:
        for found in (inst.value, inst.accepted[1] if inst.accepted is not None else None):
            if found is not None:
                _, submit = ended.get(inst.id, (b"", None))
                proposes(c, node, inst.key, value_data(found), submit)


def _is_child(c: MeshChecker, id: bytes, outcome: bytes, submit: bytes) -> bool:
    assert c.plugs is not None
    known = c.plugs.calls[id]
    if known.name == COLLECT and outcome[13] == _DONE:
        return bool(submit[16:32] == unpack(body_of(outcome))["call"])
    joined = "named" in Known(submit).options  # Its parent is one of its values.
    return not joined and submit[48:64] == id and submit[16:32] != child_id(id, b"dead-letter")


def proposes(
    c: MeshChecker, node: MeshNode, key: bytes, data: list[Any], submit: bytes | None = None
) -> None:
    """An outcome is proposed: its children are what the wiring says that its first proposer had.

    The call is what this node has open, or had as `submit`.
    """
    book = c.plugs
    if book is None or data[0] == _MOVED:
        return
    id, outcome = key[:16], data[1]
    call = node.router.calls.get(id)
    if id not in book.calls and call is not None and call.envelope is not None:
        book.opened(call.envelope, closed(c))
    if id in book.calls:
        children = [submit for one, _, submit in data[2] if one != child_id(id, b"dead-letter")]
        mine = call is not None and call.inst is not None and call.inst.key == key
        _judge_once(c, node, outcome, children, call.envelope if call and mine else submit)


def _judge_once(
    c: MeshChecker, node: MeshNode, outcome: bytes, children: list[bytes], submit: bytes | None
) -> None:
    """Judge what an outcome causes, unless it is what the same one was to cause before."""
    id = outcome[16:32]
    before = c.caused.setdefault((id, outcome), [])
    over = not children and (c.seen_of(id) or c.is_twin(id))  # Another instance has caused them.
    if children in before or over:
        return
    _judge(c, node, outcome, children, submit)
    before.append(children)


def _judge(
    c: MeshChecker, node: MeshNode, outcome: bytes, children: list[bytes], submit: bytes | None
) -> None:
    book, id = c.plugs, outcome[16:32]
    assert book is not None
    if id in c.flows.plans:
        return
    due = book.due(node.told_model, id, outcome, submit)
    book.caused(id, due, children, f"at {node}: outcome {outcome[13]}")
    c.allowed.setdefault(id, set()).update(one.id for one in due)


# The end.


def open_arrivals(c: MeshChecker) -> dict[bytes, list[Known]]:
    """Values that wait at a node that is there, as it has them."""
    found: dict[bytes, list[Known]] = {}
    for node in c.world.living():
        for id, call in node.router.calls.items() if node.up else ():
            if call.line.name == JOIN and call.state is State.GATHERING and call.envelope:
                found.setdefault(id, []).append(Known(call.envelope))
    return found


def _is_lost(c: MeshChecker, at: bytes) -> bool:
    """Whether those who should keep the collectors of a flow are gone."""
    voters = [at[n : n + 16] for n in range(16, len(at), 16)]
    gone = sum(
        c.world.nodes[voter[4]].lost or voter[4] == c.world.away for voter in voters
    )
    return bool(voters) and gone > (len(voters) - 1) // 2


def resting(c: MeshChecker) -> set[bytes]:
    """Arrivals that wait for others that nobody makes, and the collectors that wait for them."""
    book = c.plugs
    if book is None:
        return set()
    arrivals = open_arrivals(c)
    found = book.left(arrivals, arrivals)
    for id, known in book.calls.items():
        lost = id in arrivals and _is_lost(c, known.options.get("at", b""))
        if lost or (known.name == COLLECT and id not in c.recorded):
            found.add(id)
    return found


def may_wait(c: MeshChecker, id: bytes) -> bool:
    """Whether a call of plugs need not end: a value waits for others, or one of them is lost."""
    book = c.plugs
    if book is None or id not in book.calls:
        return False
    needs = book.calls[id].options.get("feed", []) if "named" in book.calls[id].options else []
    there = [node for node in c.world.living() if node.index != c.world.away]
    lost = any(not any(n in one.disk.tables["done"].values for one in there) for n in needs)
    return lost or id in resting(c)


def finish(c: MeshChecker) -> None:
    """No complete set of values is left, and each tick was fired once."""
    book = c.plugs
    if book is None:
        return
    lost = sum(node.lost for node in c.world.nodes)
    able = [node for node in c.world.living() if node.kind == "core" and node.up]
    until_ms = min((node.now_ms for node in able), default=0) - 10_000
    for id in book.must_fire(until_ms) if lost < 2 and len(able) > 1 else ():
        there = id in c.recorded or any(id in node.router.calls for node in able)
        require(there, "tick", "was not made", book.ticks[id][:2])
    for id, tick in book.ticks.items():
        homes = c.roots.get(id, set())
        require(len(homes) < 2, "tick", "is made twice", tick[:2], [one.hex() for one in homes])
    arrivals = open_arrivals(c)
    left = [id.hex() for id in arrivals.keys() - resting(c) if id not in c.recorded]
    require(not left, "join", "a complete set is left", left)
    for node in c.world.living():
        require(not node.router.gated, "gate", node, "is open, and calls wait at it")


__all__ = [
    "NOBODY", "booted", "calm", "draw", "finish", "hear", "is_twin", "may_wait", "opened",
    "proposes", "resting", "rewire", "stepped", "told",
]  # fmt: skip
