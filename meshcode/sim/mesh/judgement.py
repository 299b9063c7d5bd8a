"""The end of a world, after the calm: what was promised came about, and nothing is left over.

Where one node stays away for a while longer (*the core of two*), what two of three voters can do
is judged before it comes back, and all the rest after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode.ids import child_id
from meshcode.replica.instance import ENDED, OWNING, STORING, moved_key, read_record
from meshcode.router.records import split_open
from meshcode.router.states import State
from meshcode.sim.books import index_is_true
from meshcode.sim.mesh import flows, plugs
from meshcode.sim.violation import require
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.replica.instance import Instance
    from meshcode.sim.mesh.checks import MeshChecker
    from meshcode.sim.mesh.node import MeshNode


def alive(c: MeshChecker) -> None:
    """All that was acknowledged, and every child of it, has ended (I4, I5)."""
    for id in c.acked:
        _has_ended(c, id, "I4 liveness", "acknowledged")
    for id in c.recovered:
        _has_ended(c, id, "I4 liveness", "recovered by a person", again=True)
    for key, value in c.chosen.items():
        if not is_lost(c, key):
            for child in value.children:
                _has_ended(c, child.id, "I5 child", "named by an outcome")


def finish(c: MeshChecker) -> None:
    """The same, and nobody has anything left of what is over (I7), and clients know (I18)."""
    alive(c)
    for node in c.world.living():
        _votes_are_forgotten(c, node)
        _records_belong(c, node)
        index_is_true(node.disk)
        _memory_is_clean(c, node)
        _voters_are_whole(c, node)
    _clients_know(c)
    flows.finish(c)
    plugs.finish(c)
    c.casts.finish()
    c.streams.finish()


def is_lost(c: MeshChecker, key: bytes) -> bool:
    """Whether the majority of the voters of an instance is gone."""
    voters = c.voters.get(key, ())
    gone = sum(_is_gone(c, voter[4]) for voter in voters)
    return gone > (len(voters) - 1) // 2


def cannot_go_on(c: MeshChecker, inst: Instance) -> bool:
    """Whether an outcome waits for a person: most of its voters are gone, and most of those that
    should keep what it causes.
    """
    if inst.value is None or not inst.ended or inst.handed or not is_lost(c, inst.key):
        return False
    groups = [child.voters for child in inst.value.children]
    return all(2 * sum(_is_gone(c, one[4]) for one in group) > len(group) for group in groups)


def _has_moved(c: MeshChecker, key: bytes) -> bool:
    """Whether other voters have the call since: what became of these tells nothing of it."""
    return key in c.chosen and c.chosen[key].code == Outcome.MOVED


def _is_kept(c: MeshChecker, id: bytes) -> bool:
    """Whether a node that is there has the call open, and may end it alone or with others."""
    calls = [node.router.calls.get(id) for node in c.world.living() if node.up]
    return any(
        call is not None and (call.inst is None or not is_lost(c, call.inst.key)) for call in calls
    )


def _is_bare(c: MeshChecker, key: bytes) -> bool:
    """Whether no disk that is there ever had the call of an instance."""
    return all(_is_gone(c, n) for n in c.had.get(key, ()))


def _is_gone(c: MeshChecker, index: int) -> bool:
    return c.world.nodes[index].lost or index == c.world.away


def _has_ended(c: MeshChecker, id: bytes, rule: str, what: str, *, again: bool = False) -> None:
    world = c.world
    for node in world.living():
        if id in node.disk.tables["done"].values:
            return
        call = node.router.calls.get(id) if node.up else None
        if call is not None and call.state is State.HELD:
            return
        copy = node.router.copies.get(id) if node.up and not again else None
        if copy is not None and _is_gone(c, copy.home[4]):
            return  # It waits for a person.
    keys = [key for key in c.voters if key[:16] == id]
    keys = [key for key in keys if not _has_moved(c, key)] or keys
    if again:
        keys = [key for key in keys if not is_lost(c, key)]
    elif keys and all(is_lost(c, key) for key in keys):
        return
    holders = c.copies.get(id, set())
    if again:
        pass
    elif not keys and all(_is_gone(c, n) for n in holders | c.acked_by.get(id, set())):
        return  # Kept by one node, and that was told.
    elif not keys and all(_is_gone(c, n) for n in c.homes.get(id, set())):
        return  # The other node has a copy without a vote: it waits for a person.
    elif keys and not _is_kept(c, id) and all(is_lost(c, k) or _is_bare(c, k) for k in keys):
        told = c.acked.get(id, (0, 0))[0]
        may_be = world.away >= 0 or told <= sum(node.lost for node in world.nodes)
        require(may_be, rule, what, "every copy is gone", id.hex())
        return
    if flows.waits_for_what_is_lost(c, id) or plugs.may_wait(c, id) or c.casts.may_wait(id):
        return
    if id in c.streams.resting():
        return
    name = _socket(c, id)
    addressed = id in c.casts.copies  # It ends when its node is evicted.
    if name[0] != "@" and not addressed and all(_is_gone(c, n) for n in _hosts(c, name)):
        return  # Nobody can run it: it is PARKED.
    if _waits_for_a_keeper(c, id):
        return
    where = [
        (str(node), inst.role, inst.promise, inst.payload)
        for node in world.living()
        if node.up
        for inst in node.router.replica.by_key.values()
        if inst.id == id
    ]
    require(False, rule, what, id.hex(), where, holders)


def _hosts(c: MeshChecker, name: str) -> list[int]:
    options = c.world.options
    return options.hosts[options.snapshot["sockets"][name]["processor"]]


def _waits_for_a_keeper(c: MeshChecker, id: bytes) -> bool:
    """With a witness among its voters a call does not begin before both others have it (P2)."""
    if c.world.away < 0:
        return False
    return any(
        inst.id == id
        and inst.role == STORING
        and any(c.world.nodes[voter[4]].kind == "witness" for voter in inst.voters)
        for node in c.world.living()
        if node.up
        for inst in node.router.replica.by_key.values()
    )


def _socket(c: MeshChecker, id: bytes) -> str:
    for node in c.world.nodes:
        for value in node.disk.tables["open"].values.values():
            submit = split_open(value)[1]
            if submit[16:32] == id:
                return submit[80 : 80 + submit[15]].decode()
    if (name := c.casts.socket_of(id)) is not None:
        return name
    step = c.flows.steps.get(id)
    if c.plugs is not None and id in c.plugs.calls:
        return c.plugs.calls[id].name
    return c.world.sockets.get(id, "s1" if step is None else step.socket or "@gather")


def goes_on_elsewhere(c: MeshChecker, inst: Instance) -> bool:
    """Whether a call that its keepers make by themselves has moved and not ended: each of them has
    to remember that, or would make it again (P10).
    """
    if inst.parent is not None or inst.boot or inst.value is None:
        return False
    there = [node for node in c.world.living() if node.index != c.world.away]
    over = any(inst.id in node.disk.tables["done"].values for node in there)
    return inst.value.code == Outcome.MOVED and inst.role == ENDED and not over


def _votes_are_forgotten(c: MeshChecker, node: MeshNode) -> None:
    for value in node.disk.tables["vote"].values.values():
        inst = read_record(0, value)
        if inst.role == ENDED:
            parent = inst.parent  # Nobody can say any more that it has handed over.
            lost = is_lost(c, inst.key) or (parent is not None and is_lost(c, parent.key))
            lost = lost or goes_on_elsewhere(c, inst)
            require(
                lost, "I7 forgotten", node, inst.key.hex()[:40], inst.seen,
                inst.full, inst.handed, inst.filed,
            )  # fmt: skip


def _records_belong(c: MeshChecker, node: MeshNode) -> None:
    """Every record is of something that is open: a leftover would begin again one day (I7)."""
    router = node.router
    opens = node.disk.tables["open"].values
    known = {call.sequence for call in router.calls.values()} | set(router.replica.by_sequence)
    known |= {copy.sequence for copy in router.copies.values()}
    for key, value in opens.items():
        number = int.from_bytes(key, "big")
        inst = router.replica.by_sequence.get(number)
        over = inst is not None and inst.filed and not is_lost(c, inst.key)
        require(
            number in known and not over, "I7 forgotten", node, "keeps a call that is over",
            split_open(value)[1][16:32].hex(),
        )  # fmt: skip
    for copy in router.copies.values():
        over = copy.id in c.recorded and not c.is_twin(copy.id)  # Else its twin may be HELD.
        over = over and not _is_gone(c, copy.home[4])
        require(not over, "I7 forgotten", node, "keeps a copy of what is over", copy.id.hex())
    for key in node.disk.tables["state"].values:
        require(key in opens, "I7 forgotten", node, "keeps the state of a call that is over")


def _memory_is_clean(c: MeshChecker, node: MeshNode) -> None:
    router = node.router
    reports = {id: owner for id, (owner, _) in router.reports.items() if not _is_gone(c, owner[4])}
    require(not reports, "I15 memory", node, "keeps reports that were taken", len(reports))
    guests = router.guests.keys() - c.streams.resting()
    require(not guests, "I15 memory", node, "keeps guests", len(guests))
    for call in router.calls.values():  # What is PARKED uses up no attempts (I12).
        if call.state in (State.WAITING, State.DELAYED):
            handed = c.dispatched.get(call.id, 0)
            require(call.attempt <= handed, "I12 PARKED", node, call.id.hex(), call.attempt, handed)
    twins = [id for id in router.twins if id not in router.calls]
    require(not twins, "I15 memory", node, "keeps twins of nothing", len(twins))
    for parent in router.replica.children.values():
        require(not parent.handed, "I15 memory", node, "keeps children that are handed over")


def _voters_are_whole(c: MeshChecker, node: MeshNode) -> None:
    """A call that waits has moved away from evicted voters where there are others (P9)."""
    world = c.world
    cores = [one for one in world.living() if one.kind == "core"]
    if len(cores) < 3 or node.kind == "witness":
        return
    for own in node.router.calls.values():
        alone = own.inst is None and own.owner is None
        require(not alone, "P9 upgrade", node, own.id.hex(), "is kept by this node alone")
    for inst in to_be_moved(c, node):
        require(False, "P9 repair", node, inst.id.hex(), "stays with a lost voter")


def to_be_moved(c: MeshChecker, node: MeshNode) -> list[Instance]:
    """What a node owns that waits, and has a voter that is lost for ever; what has handed on items
    stays with those who keep these.
    """
    found = []
    for inst in node.router.replica.by_key.values():
        if inst.role == OWNING and _has_evicted(c, inst) and moved_key(inst.key) is not None:
            call = node.router.calls.get(inst.id)
            waits = call is not None and call.inst is inst and call.state is not State.RUNNING
            if waits and child_id(inst.id, b"item/0") not in c.roots:
                found.append(inst)
    return found


def _has_evicted(c: MeshChecker, inst: Instance) -> bool:
    return len(inst.voters) == 3 and any(c.world.nodes[one[4]].lost for one in inst.voters)


def _clients_know(c: MeshChecker) -> None:
    """Whoever stayed and was told that a call is accepted was told how it ended (I18)."""
    for client in c.world.clients():
        for id in client.waiting:
            ended = [node for node in c.world.living() if id in node.disk.tables["done"].values]
            require(not ended, "I18 history", "a client was never told of", id.hex())


__all__ = ["alive", "cannot_go_on", "finish", "goes_on_elsewhere", "to_be_moved"]
