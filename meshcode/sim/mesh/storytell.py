"""What the stories of several nodes say: names in place of ids, messages and states as a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.ids import ID_BYTES, NO_ID
from meshcode.replica.instance import (
    ENDED,
    IDLE,
    OWNING,
    PREPARING,
    PROPOSING,
    READING,
    STORING,
    Instance,
    generation_of,
)
from meshcode.router.effects import Effects
from meshcode.router.plan import GATHER
from meshcode.router.records import read_envelope, split_open
from meshcode.router.work import PeerWorker
from meshcode.wire.codec import unpack
from meshcode.wire.frame import check_envelope
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.router.call import Call
    from meshcode.sim.mesh.storyworld import Packet, StoryNode

_ROLES = {
    IDLE: "votes", STORING: "brings it to its voters", PREPARING: "claims it",
    READING: "looks for it", OWNING: "owns it", PROPOSING: "proposes its outcome", ENDED: "ended",
}  # fmt: skip
_PHASES = ("not handed over yet", "seen", "seen by all")
_BY_ID = {
    Kind.RAN, Kind.TAKEN, Kind.INTERRUPT, Kind.GIVE_BACK, Kind.GAVE_BACK, Kind.HOLDS, Kind.KEPT,
    Kind.KEEP, Kind.DROP,
}  # fmt: skip


class Names:
    """What the story calls its calls."""

    def __init__(self) -> None:
        """No call is known."""
        self.by_id: dict[bytes, str] = {}

    def learn(self, effects: Effects) -> None:
        """Children are named after the call that caused them, when they are first heard of."""
        for table, _, value in effects.records:
            if table == "open" and value is not None:
                self._child(split_open(value)[1])
        for _, kind, entry in (*effects.early, *effects.peer):
            if kind == Kind.PROPOSE:
                for _, _, submit in entry[5][2]:
                    if submit is not None:
                        self._child(submit)

    def _child(self, submit: bytes) -> None:
        id, parent = bytes(submit[16:32]), bytes(submit[48:64])
        if id not in self.by_id and parent in self.by_id:
            name, options = read_envelope(submit)
            seat = (options or {}).get("seat")
            part = "gather" if name == GATHER else "child"
            if seat is not None:
                part = f"n{seat['node'][4]}-{seat['place']}"
            self.by_id[id] = f"{self.by_id[parent]}/{part}"

    def call(self, id: bytes) -> str:
        """The name of a call."""
        return self.by_id.get(bytes(id), bytes(id).hex()[-6:])

    def id(self, name: str) -> bytes:
        """The call of that name."""
        found = next((id for id, known in self.by_id.items() if known == name), None)
        assert found is not None, f"{name} is no call of this story"
        return found

    def instance(self, key: bytes) -> str:
        """The name of an instance: its call, and the generation where it is not the first."""
        generation = generation_of(key)
        return self.call(key[:ID_BYTES]) + (f" generation {generation}" if generation else "")


def who(node: bytes | None) -> str:
    """The name of a node by its id."""
    return "nobody" if node is None or node == NO_ID else f"n{node[4]}"


def epoch_text(epoch: Any) -> str:
    """`epoch 1 of n2`."""
    return f"epoch {epoch[0]} of {who(epoch[1])}"


def value_text(value: Any) -> str:
    """The outcome in a message or an instance: `DONE by n1`, `MOVED to n0 n1 n3`."""
    code, outcome, children = value[:3]
    if code == Outcome.MOVED:
        voters = children[0][1]
        if isinstance(voters, bytes):
            voters = [voters[at : at + ID_BYTES] for at in range(0, len(voters), ID_BYTES)]
        return "MOVED to " + " ".join(map(who, voters))
    text = ended_text(outcome)
    count = len(children)
    return text + (f" and {count} child{'ren' if count > 1 else ''}" if children else "")


def ended_text(data: bytes) -> str:
    """An OUTCOME envelope: `DONE by n1`, `FAILED it raised`."""
    row = check_envelope(data)
    body = unpack(data[row.body_at :])
    if row.code == Outcome.DONE:
        if isinstance(body, dict):
            return f"DONE a flow of {body['steps']} steps"
        return f"DONE by n{body[0]}" if body and isinstance(body[0], int) else f"DONE {body}"
    why = str(body["text"]).partition(";")[0].partition(":")[0]
    return f"{Outcome(row.code).name} ({why})"


def outcome_text(names: Names, data: bytes) -> str:
    """An OUTCOME envelope with the name of its call."""
    name, _, rest = ended_text(data).partition(" ")
    return f"{name} {names.call(data[16:32])} {rest}"


def message(names: Names, packet: Packet) -> str:
    """One message as a line."""
    kind = Kind(packet.kind)
    text = _detail(names, kind, packet.entry)
    return f"n{packet.sender} -> n{packet.to} {kind.name} {text}"


def _detail(names: Names, kind: Kind, entry: list[Any]) -> str:
    if kind == Kind.RUN:
        return f"{names.call(entry[1][16:32])} attempt {entry[0]}"
    if kind in _BY_ID:
        return names.call(entry[0]) + _more_by_id(kind, entry)
    if kind == Kind.PARENT:
        return f"of {names.instance(entry[1])}? round {entry[2]}"
    if kind == Kind.PARENT_SAYS:
        return f"to {names.instance(entry[0])}: {entry[2]}, round {entry[1]}"
    if kind == Kind.CHILD_SAYS:
        return f"{names.instance(entry[1])} {'has ended' if entry[2] else 'has not ended'}"
    return names.instance(entry[0]) + _more(kind, entry)


def _more_by_id(kind: Kind, entry: list[Any]) -> str:
    if kind == Kind.RAN:
        return " the worker died" if not entry[2] else f" {ended_text(entry[5])}"
    return f" {entry[1]}" if kind == Kind.INTERRUPT else ""


def _more(kind: Kind, entry: list[Any]) -> str:
    if kind in (Kind.PREPARE, Kind.PROPOSE):
        value = f": {value_text(entry[5])}" if kind == Kind.PROPOSE else ""
        return f" {epoch_text(entry[4])}{value}"
    if kind == Kind.PROMISE:
        found = f", who accepted {value_text(entry[2][1])}" if entry[2] is not None else ""
        return f" {epoch_text(entry[1])}{found}"
    if kind in (Kind.OVERTAKEN, Kind.AGREED):
        return f" {epoch_text(entry[1])}"
    if kind == Kind.NEED:
        return f": the {entry[1]}"
    if kind == Kind.TOLD:
        value = f", {value_text(entry[7])}" if len(entry) > 4 else ""
        return f" ended, {_PHASES[entry[1]]}{value}"
    return ""


def show(names: Names, node: StoryNode) -> list[str]:
    """What a node knows: its open calls, what it votes on, and outcomes on record."""
    if not node.up:
        return [f"{node}: {'gone for good' if node.lost else 'down'}"]
    lines = []
    for call in sorted(node.router.calls.values(), key=lambda one: one.sequence):
        lines.append(f"{node}: {names.call(call.id)} {_state(call)}")
    for inst in sorted(node.router.replica.by_key.values(), key=lambda one: one.sequence):
        lines.append(f"{node}: {names.instance(inst.key)} {_vote(inst)}")
    for id, copy in sorted(node.router.copies.items()):
        lines.append(f"{node}: {names.call(id)} a copy without a vote, for {who(copy.home)}")
    for id, value in sorted(node.done_codes().items()):
        lines.append(f"{node}: {names.call(id)} on record, {Outcome(value).name}")
    return lines or [f"{node}: nothing"]


def _state(call: Call) -> str:
    state = call.state.name
    if isinstance(call.worker, PeerWorker):
        return f"{state} at {who(call.worker.node)}, attempt {call.attempt}"
    return f"{state}, attempt {call.attempt}" + (f": {call.reason}" if call.reason else "")


def _vote(inst: Instance) -> str:
    if inst.role == ENDED:
        sides = [
            " ".join(who(node) for n, node in enumerate(inst.voters) if bits & 1 << n) or "nobody"
            for bits in (inst.seen, inst.full)
        ]
        return f"ended, seen by {sides[0]}; that all have seen it knows {sides[1]}"
    accepted = "" if inst.accepted is None else f", accepted {value_text(inst.accepted[1])}"
    has = "" if inst.payload else ", has not the call itself"
    voters = " ".join(map(who, inst.voters))
    return (
        f"voters {voters}: {_ROLES[inst.role]}, promised {epoch_text(inst.promise)}{accepted}{has}"
    )


__all__ = ["Names", "message", "outcome_text", "show"]
