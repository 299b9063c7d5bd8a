"""Broadcasts in a mesh: how clients make them, whom they reach, and what must have come of each.

Every node has its own number of workers for each processor, which people change.  The last
broadcast of a world is made when all is calm, and must reach every worker there is.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from meshcode.ids import child_id
from meshcode.router import events
from meshcode.router.effects import Effects
from meshcode.router.plan import GATHER
from meshcode.router.records import read_envelope, split_open
from meshcode.router.states import State
from meshcode.sim.flowbook import body_of
from meshcode.sim.mesh.options import Options
from meshcode.sim.violation import require
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.sim.mesh.checks import MeshChecker
    from meshcode.sim.mesh.node import MeshNode
    from meshcode.sim.mesh.world import MeshWorld

_DONE, _FAILED = int(Outcome.DONE), int(Outcome.FAILED)
_CREW_MAX = 3
_NODES_MAX = 10  # Of a world with broadcasts: where calls wait for a person it goes on for long.
LAST_MS = 20_000  # After the calm: by then everybody has told of its workers.
LAST = 90  # The number of the last broadcast.


def draw(rng: Random, options: Options) -> None:
    """A third of the worlds without plugs have broadcasts; drawn apart."""
    if options.routers is not None or options.counted or options.nodes > _NODES_MAX:
        return
    if rng.random() < 0.4:
        return
    options.casts = rng.choice((1, 2, 4))
    options.scale = rng.choice((0.0, 0.5, 2.0))
    options.crew = {
        n: {name: rng.randint(0, _CREW_MAX) for name, hosts in options.hosts.items() if n in hosts}
        for n in range(options.nodes)
    }


def submit(world: MeshWorld, number: int) -> None:
    """A client calls every worker of a socket."""
    rng = world.casts_rng
    id = (1_600_000_000_000 + world.now).to_bytes(6, "big") + b"\x72" + number.to_bytes(9, "big")
    name = rng.choice(("s0", "s1"))
    options: dict[str, Any] = {"broadcast": True}
    level = rng.choice(world.options.levels)
    if level is not None:
        options["ack"] = level
    if number != LAST and rng.random() < 0.15:
        options["delay_ms"] = rng.choice((1, 500, 3_000))
    if number != LAST and rng.random() < 0.1:
        options["expires_ms"] = rng.choice((500, 5_000))
    data = envelope(
        Kind.SUBMIT, id=id, flow=id, name=name.encode(), meta=pack(options), body=pack([number]),
        argc=1,
    )  # fmt: skip
    world.sockets[id] = name
    world.checker.casts.names[id] = name
    if number == LAST:
        world.checker.casts.last = id
    world.say("broadcast %s to %s", id.hex(), name)
    world.send([(id, id, bytes(16), name, 1, options, data)])


def scale(world: MeshWorld) -> None:
    """An operator wants more or fewer workers on a node."""
    rng = world.casts_rng
    node = rng.choice(world.nodes)
    if node.crew:
        node.scale(rng.choice(sorted(node.crew)), rng.randint(0, _CREW_MAX))


def calm(world: MeshWorld) -> None:
    """Every node has the workers that it is to have, one at least."""
    if world.options.crew is None:
        return
    for node in world.nodes:
        for name, count in node.crew.items():
            if not count:
                node.scale(name, 1)
    world.after(LAST_MS, submit, world, LAST)


class Heard:
    """What a node was told of a peer in its present life."""

    def __init__(self) -> None:
        self.state = ""
        self.boot = 0
        self.crew: dict[str, int] | None = None  # None: it has said nothing in that life of it.


def hears(node: MeshNode, event: Any) -> None:
    """A node is about to be told this."""
    if isinstance(event, events.PeerChanged):
        known = node.heard.setdefault(event.node[4], Heard())
        known.state = event.state
        if known.boot and event.boot > known.boot:
            known.crew = None
        known.boot = max(event.boot, known.boot)
    elif isinstance(event, events.PeerSaid) and event.kind == Kind.SEATS:
        known = node.heard.setdefault(event.node[4], Heard())
        known.crew = event.entries[-1][0]
    elif isinstance(event, events.CrewChanged):
        node.told_crew = event.seats


class Seated:
    """Where a copy is to run."""

    def __init__(self, cast: bytes, name: str, node: int, place: int) -> None:
        self.cast = cast
        self.name = name
        self.node = node
        self.place = place


class CastBook:
    """All broadcasts of a world."""

    def __init__(self, checker: MeshChecker) -> None:
        """None yet."""
        self.c = checker
        self.names: dict[bytes, str] = {}  # Broadcasts: the sockets.
        self.last = b""
        self.copies: dict[bytes, Seated] = {}
        self.gathers: dict[bytes, list[bytes]] = {}
        self.gone: set[tuple[int, str, int]] = set()  # Places that were gone at some time.

    def scaled(self, node: MeshNode) -> None:
        """A node is told how many workers it is to have."""
        for name, count in node.crew.items():
            self.gone |= {(node.index, name, place) for place in range(count, _CREW_MAX)}

    # What comes into being.

    def stepped(self, node: MeshNode, effects: Effects) -> None:
        """Where one node alone keeps a broadcast, its copies are in the batch of its outcome.

        Perhaps it looks into the history in between: it chose the seats before that.
        """
        if not self.names:
            return
        for id, (code, _, children) in node.router.closing.items():
            if id in self.names and code == _DONE and children:
                self._born(node, id, [one.submit for one in children if one.submit is not None])
        opens = [split_open(op[2])[1] for op in effects.records if op[0] == "open" and op[2]]
        for op in effects.records:
            if op[0] == "done" and op[1] in self.names:
                mine = [one for one in opens if _is_part(one, op[1])]
                if mine:  # Else others had them first.
                    self._born(node, op[1], mine)

    def proposes(self, node: MeshNode, key: bytes, data: list[Any]) -> None:
        """The outcome of a broadcast is proposed, with its children."""
        if key[:16] in self.names and data[0] == _DONE:
            self._born(node, key[:16], [submit for _, _, submit in data[2]])

    def _born(self, node: MeshNode, cast: bytes, submits: list[bytes]) -> None:
        """All copies of a broadcast, and what gathers them; the same again says nothing new."""
        text, ids = cast.hex(), [submit[16:32] for submit in submits]
        allowed = self.c.allowed.setdefault(cast, set())
        if set(ids) <= allowed:
            return
        *copies, gather = submits
        for submit in copies:
            name, options = read_envelope(submit)
            seat = (options or {}).get("seat")
            require(seat is not None, "cast", text, "names what is no copy")
            assert seat is not None
            one = Seated(cast, name, seat["node"][4], seat["place"])
            require(body_of(submit) == self._body(cast), "I6 content", "body of a copy", text)
            known = self.copies.setdefault(submit[16:32], one)
            same = (known.name, known.node, known.place) == (one.name, one.node, one.place)
            require(same, "cast", "one id for two seats", submit[16:32].hex())
        name, options = read_envelope(gather)
        good = name == GATHER and (options or {}).get("seats") is True and len(copies) > 0
        require(good, "cast", text, "is not gathered")
        assert options is not None
        [feed] = options["feed"]
        numbered = [child_id(options["plan"], b"%d" % n) for n in range(feed["count"])]
        require(numbered == ids[:-1], "cast", text, "gathers", len(numbered), "of", len(copies))
        (rows,) = unpack(body_of(gather))
        seats = [self.copies[id] for id in numbered]
        told = [[one.name, f"n{one.node}", one.place] for one in seats]
        require(rows == told, "cast", text, "says", rows, "is", told)
        self.gathers[gather[16:32]] = numbered
        allowed.update(ids)
        self._reaches(node, cast, seats)

    def _body(self, cast: bytes) -> bytes:
        for client in self.c.world.clients():
            if cast in client.calls:
                return body_of(client.calls[cast][6])
        raise AssertionError(cast)

    def _reaches(self, node: MeshNode, cast: bytes, seats: list[Seated]) -> None:
        """Each seat once; those of the node that chose them as they are, no others than there were.

        The last broadcast, in the calm, reaches every worker of every node.
        """
        name = self.names[cast]
        processor = self.c.world.options.snapshot["sockets"][name]["processor"]
        pairs = [(one.node, one.place) for one in seats]
        require(len(set(pairs)) == len(pairs), "cast", "a seat twice", cast.hex(), pairs)
        own = sorted(place for n, place in pairs if n == node.index)
        require(own == list(range(node.told_crew.get(processor, 0))), "cast", node, "names", own)
        for n, known in node.heard.items():
            if known.state == "alive":
                require(known.crew is not None, "cast", node, "does not know the workers of", n)
                count = (known.crew or {}).get(processor, 0)
                named = sorted(place for one, place in pairs if one == n)
                require(named == list(range(count)), "cast", node, "names", named, "of", n, count)
        for n, place in pairs:
            other = self.c.world.nodes[n]
            good = processor in other.crew and place < _CREW_MAX
            require(good, "cast", "names", other, place, "which never was")
        if cast != self.last:
            return
        wanted = {
            (one.index, place)
            for one in self.c.world.living()
            if one.index != self.c.world.away
            for place in range(one.crew.get(processor, 0))
        }
        missed = sorted(wanted - set(pairs))
        require(not missed, "cast", "in the calm", node, "does not reach", missed)
        more = {n for n, _ in set(pairs) - wanted} - {self.c.world.away}
        require(not more, "cast", "in the calm", node, "reaches", sorted(more))

    # Who runs it, and how it ends.

    def starts(self, node: MeshNode, worker: int, submit: bytes | None) -> None:
        """A call is handed to a worker: a copy only to who sits at its seat."""
        seat = None if submit is None else (read_envelope(submit)[1] or {}).get("seat")
        if seat is None or submit is None:
            return
        name = self.c.world.options.snapshot["sockets"][read_envelope(submit)[0]]["processor"]
        sits = node.places.sits.get((name, seat["place"]))
        good = seat["node"] == node.id and sits == worker
        require(good, "cast", "a copy for", seat, "runs at", node, worker, "there sits", sits)

    def runs(self, to: bytes, submit: bytes) -> None:
        """A call is given to a peer: a copy only to the node of its seat."""
        seat = (read_envelope(submit)[1] or {}).get("seat")
        require(seat is None or seat["node"] == to, "cast", "a copy for", seat, "goes to", to)

    def ended(self, id: bytes, outcome: bytes, *, made: bool) -> bool:
        """A call ended; whether that is explained by a broadcast."""
        if id in self.copies and outcome[13] == _DONE:
            require(made, "I6 content", "nobody made it", id.hex())
            ran = unpack(body_of(outcome))[0]
            require(ran == self.copies[id].node, "cast", id.hex(), "ran at", ran)
            return True
        if id in self.copies and outcome[13] == _FAILED and not made:
            return self._is_gone(id, outcome)
        if outcome[13] != _DONE:
            return False
        if id in self.names:
            result = unpack(body_of(outcome))["result"]
            require(result in self.gathers and not made, "cast", id.hex(), "leads nowhere")
            return True
        if id in self.gathers:
            self._gathered(id, unpack(body_of(outcome)))
            return True
        return False

    def _is_gone(self, id: bytes, outcome: bytes) -> bool:
        if unpack(body_of(outcome))["code"] != "seat_gone":
            return False
        seat = self.copies[id]
        processor = self.c.world.options.snapshot["sockets"][seat.name]["processor"]
        gone = (seat.node, processor, seat.place) in self.gone
        lost = self.c.world.nodes[seat.node].lost
        require(gone or lost, "cast", id.hex(), "its seat is there:", seat.node, seat.place)
        return True

    def _gathered(self, id: bytes, value: list[dict[str, Any]]) -> None:
        copies = self.gathers[id]
        require(len(value) == len(copies), "cast", "gathers", len(value), "of", len(copies))
        for copy, reply in zip(copies, value, strict=True):
            seat = self.copies[copy]
            told = {"socket": seat.name, "node": f"n{seat.node}", "place": seat.place}
            known = [
                {**told, ("value" if one[13] == _DONE else "error"): unpack(body_of(one))}
                for one in self.c.seen_of(copy)
            ]
            require(reply in known, "cast", "gathers", reply, "known are", known)

    # The end.

    def may_wait(self, id: bytes) -> bool:
        """Whether a copy, or what gathers them, need not end: its node is away, or it is lost."""
        world = self.c.world
        seat = self.copies.get(id)
        if seat is not None:
            return seat.node == world.away
        there = [node for node in world.living() if node.index != world.away and node.up]
        return any(
            not any(copy in node.disk.tables["done"].values for node in there)
            and (self.may_wait(copy) or _is_held_or_lost(there, copy))
            for copy in self.gathers.get(id, ())
        )

    def resting(self) -> set[bytes]:
        """Those of them that are open."""
        return {id for id in (*self.copies, *self.gathers) if self.may_wait(id)}

    def socket_of(self, id: bytes) -> str | None:
        """The socket of a copy, or of what gathers."""
        seat = self.copies.get(id)
        return seat.name if seat is not None else GATHER if id in self.gathers else None

    def finish(self) -> None:
        """The last broadcast was made when all was calm, and somebody had it."""
        for node in self.c.world.living():
            if node.up:
                left = [line.name for line in node.router.seats.lines.values() if line.guest
                        and line.depth]  # fmt: skip
                require(not left, "I15 memory", node, "keeps copies of others", left)


def _is_held_or_lost(there: list[MeshNode], id: bytes) -> bool:
    """Whether a call waits for a person, or nobody who is there can go on with it."""
    calls = [call for node in there if (call := node.router.calls.get(id)) is not None]
    if any(call.state is State.HELD for call in calls):
        return True
    insts = [
        (node, inst)
        for node in there
        for inst in node.router.replica.by_key.values()
        if inst.id == id
    ]
    kept_alone = any(call.inst is None for call in calls)
    return not kept_alone and all(node.router.replica.is_orphan(inst) for node, inst in insts)


def _is_part(submit: bytes, cast: bytes) -> bool:
    options = read_envelope(submit)[1] or {}
    return submit[48:64] == cast and ("seat" in options or "seats" in options)


__all__ = ["CastBook", "calm", "draw", "scale", "submit"]
