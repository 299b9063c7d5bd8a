"""One instance of a call: who votes on it, what this node promised and accepted, what is chosen.

An *instance* is a call and a set of voters.  The same call on other voters (moved, or issued again
by its parent's voters) is another instance: the generation tells them apart.  Everything here that
must survive is in its `vote` record; the call itself is in the `open` record of the same sequence.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

from meshcode import native
from meshcode.ids import ID_BYTES, NO_ID
from meshcode.marks import mypyc_attr
from meshcode.native.layout import VOTE_HEAD, VOTE_VERSION
from meshcode.wire.codec import join_list, pack, unpack

KEY_BYTES: Final = 2 * ID_BYTES + 2
_GROUPS_KEPT: Final = 1_024
GENERATION_MAX: Final = 0xFFFF
MOVED_GENERATION_MAX: Final = (GENERATION_MAX - 1) // 2  # The last that can move (`moved_key`).
_FIRST: Final = bytes(2)  # Nearly all are of this one.
NOBODY: Final = NO_ID

# Counter, node, boot of the node.  Higher ones win; the boot says which life of the node it was.
Epoch = tuple[int, bytes, int]
NO_EPOCH: Final[Epoch] = (0, NOBODY, 0)


class Child(NamedTuple):
    """A call that an outcome causes."""

    id: bytes
    voters: tuple[bytes, ...]
    submit: bytes | None  # Its SUBMIT envelope; None = its parent's own (the call moved).


class Value(NamedTuple):
    """What is chosen for an instance: its outcome and, completely, the calls it causes."""

    code: int  # wire.kinds.Outcome
    outcome: bytes  # Sealed OUTCOME envelope; empty for MOVED.
    children: tuple[Child, ...] = ()
    note: dict[str, Any] | None = None  # For the history: attempt, started_ms, story.


class Parent(NamedTuple):
    """The instance whose outcome named this one."""

    key: bytes
    voters: tuple[bytes, ...]


def make_key(id: bytes, home: bytes, generation: int = 0) -> bytes:
    """The name of an instance: call id, home, generation; 34 bytes."""
    return id + home + generation.to_bytes(2, "big")


def generation_of(key: bytes) -> int:
    """The generation in a key."""
    number = key[2 * ID_BYTES :]
    return 0 if number == _FIRST else int.from_bytes(number, "big")


def moved_key(key: bytes) -> bytes | None:
    """The instance that a MOVED of `key` makes; None when it has moved too often.

    Generations are numbered like the nodes of a binary tree (left: moved, right: issued again), so
    no two histories of one call make the same key.
    """
    return _next_key(key, 1)


def reissued_key(key: bytes) -> bytes | None:
    """The instance that takes the place of `key`, whose voters were lost before they had it."""
    return _next_key(key, 2)


def _next_key(key: bytes, branch: int) -> bytes | None:
    generation = 2 * generation_of(key) + branch
    if generation > GENERATION_MAX:
        return None
    return key[: 2 * ID_BYTES] + generation.to_bytes(2, "big")


def majority(voters: tuple[bytes, ...]) -> int:
    """How many of the voters are more than half."""
    return len(voters) // 2 + 1


# What this node does for an instance.
IDLE: Final = 0  # A voter.
STORING: Final = 1  # Owns it by birth; waits until a majority has it.
PREPARING: Final = 2  # Claims it; waits for promises of a majority.
READING: Final = 3  # Owns it; its call is being read from the log, or asked of a voter.
OWNING: Final = 4  # Owns it; the router runs it.
PROPOSING: Final = 5  # Owns it; waits until a majority has accepted its outcome.
ENDED: Final = 6  # The outcome is chosen.


NOTHING_HEARD: Final[dict[bytes, Any]] = {}  # One for all, so nobody writes into it.


@mypyc_attr(acyclic=True)
class Instance:
    """What one voter knows of one instance."""

    __slots__ = (
        "_packed",
        "accepted",
        "agreed",
        "all_bits",
        "asked",
        "boot",
        "custodians",
        "due_ms",
        "epoch",
        "fates",
        "filed",
        "full",
        "handed",
        "have",
        "heard",
        "home",
        "id",
        "kept_seen",
        "key",
        "note",
        "parent",
        "payload",
        "promise",
        "release",
        "role",
        "seen",
        "sequence",
        "settled",
        "since_ms",
        "told_ms",
        "under",
        "value",
        "voters",
        "waiting",
    )

    def __init__(
        self,
        key: bytes,
        voters: tuple[bytes, ...],
        boot: int,
        sequence: int,
        parent: Parent | None = None,
    ) -> None:
        """An instance nobody has promised anything of.

        Args:
            boot: in which its home owns it from birth; 0 = born without an owner (a child).
            sequence: of its records in this node's log.
        """
        self.key = key
        self.id = key[:ID_BYTES]  # The call.
        self.home = key[ID_BYTES : 2 * ID_BYTES]  # The node that accepted it, or its root.
        self.voters = voters
        self.all_bits = (1 << len(voters)) - 1
        self.boot = boot
        self.sequence = sequence
        self.parent = parent
        self.payload = False  # The call itself is in the log of this node.
        self.promise = NO_EPOCH
        if boot:
            self.promise = _birth(self.home, boot)
            self.home = self.promise[1]  # The one object for all its calls.
        self.accepted: tuple[Epoch, Value] | None = None
        self.value: Value | None = None  # Chosen; None once ended when every voter has it.
        self.filed = False  # The outcome is in the history, and the `open` record is gone.
        self.handed = False  # A majority of every child's voters has the child.
        self.seen = 0  # Voters (bit n: voters[n]) that said: on disk here, and past hand-off.
        self.full = 0  # Voters that know that all have seen it.
        self.note: dict[str, Any] | None = None  # The owner's last word on its attempts and state.
        # Below: only in memory.
        self.under: Epoch | None = None  # Chosen under it: who accepted one since accepted this.
        self._packed: tuple[Value, bytes] | None = None
        self.kept_seen = 0  # `seen` as it is in the record.
        self.agreed = 0  # Voters that have accepted a plain outcome; not all know it is chosen.
        self.role = IDLE
        self.epoch: Epoch | None = None  # Under which this node owns or claims it.
        self.heard = NOTHING_HEARD  # Answers of voters in this phase, by node.
        self.have = 0  # Voters known to have the call itself.
        self.waiting: list[tuple[int, int, int]] | None = None  # Client, frame, copies it wants.
        self.since_ms = 0  # When this node began to keep it, in this life.
        self.due_ms = 0  # When this phase is looked at again.
        self.told_ms = 0  # How long until the next repeat; doubles.
        self.asked: set[bytes] | None = None  # Voters who want the call itself.
        self.custodians: dict[bytes, set[bytes]] | None = None  # By child key: who has it.
        self.fates: dict[bytes, dict[bytes, bool]] | None = None  # By child key: ended, by node.
        self.settled = (0, 0)  # With so many nodes evicted, so many first children are safe.
        self.release: tuple[int, dict[bytes, str]] | None = None  # Of the parent: round, answers.

    @property
    def majority(self) -> int:
        """How many voters decide."""
        return len(self.voters) // 2 + 1

    @property
    def is_birth(self) -> bool:
        """Whether its keepers make it by themselves: no outcome causes it, no node accepted it."""
        return self.parent is None and not self.boot

    @property
    def ended(self) -> bool:
        """Whether its outcome is chosen, as far as this node knows."""
        return self.role == ENDED

    def is_answered(self, me: bytes) -> bool:
        """Whether another voter has said to this node, its owner, that it knows the instance: then
        what this node wrote when it named it is on disk.
        """
        return self.promise[0] > 0 or self.have & ~self.bit(me) > 0

    def bit(self, node: bytes) -> int:
        """The bit of a voter in `seen` and `full`.

        Raises:
            ValueError: the node is none of them.
        """
        bit = 1
        for voter in self.voters:
            if voter == node:
                return bit
            bit <<= 1
        raise ValueError(f"{node.hex()} does not vote on {self.key.hex()}")

    def bits(self, nodes: Any) -> int:
        """The bits of several voters."""
        return sum(1 << n for n, voter in enumerate(self.voters) if voter in nodes)

    def record(self) -> bytes:
        """Its `vote` record (`native.layout.VOTE_HEAD`); its tail begins with the parent's key, how
        many voters and its voters, where there is one.  The rest, when there is any, is packed: the
        value that is chosen, the one that was accepted if it is another, and the note.
        """
        accepted, value, parent, note = self.accepted, self.value, self.parent, self.note
        epoch, other = NO_EPOCH, None
        flags = self.filed * _FILED | self.handed * _HANDED
        if accepted is not None:
            epoch = accepted[0]
            flags |= _ACCEPTED
            if accepted[1] is not value:
                other = accepted[1]
                flags |= _OTHER
        if self.role == ENDED:
            flags |= _ENDED
        tail = b""
        if parent is not None:
            flags |= _PARENT
            tail = parent.key + bytes((len(parent.voters),)) + join_voters(parent.voters)
        if value is not None or other is not None or note is not None:
            tail += _THREE + self._packed_value(value) + self._packed_value(other)
            tail += _NIL if note is None else pack(note)
        return native.pack_vote(
            flags, self.seen, self.full, self.boot, self.key, self.promise, epoch, self.voters,
            tail,
        )  # fmt: skip

    def _packed_value(self, value: Value | None) -> bytes:
        """A value as bytes; what is accepted is most often what is chosen, and packed once."""
        if value is None:
            return _NIL
        if self._packed is None or self._packed[0] is not value:
            self._packed = (value, pack(value_data(value)))
        return self._packed[1]


    def slim(self) -> None:
        """Let go of what is made anew or needed no more, once it is filed and handed over."""
        self._packed = None
        self.note = None
        if self.accepted is not None and self.accepted[0] == self.promise:
            self.accepted = (self.promise, self.accepted[1])


@lru_cache(_GROUPS_KEPT)
def _birth(home: bytes, boot: int) -> Epoch:
    """What is promised to the home of a call from its birth; one object for all its calls."""
    return (0, home, boot)


_FILED: Final = 1
_HANDED: Final = 2
_ENDED: Final = 4
_ACCEPTED: Final = 8
_OTHER: Final = 16
_PARENT: Final = 32
_NIL: Final = pack(None)
_THREE: Final = join_list([_NIL] * 3)[:1]  # The head of a list of so many.


def read_record(sequence: int, data: bytes) -> Instance:
    """The instance of a `vote` record, as a restarted node has it: it owns nothing yet (P6)."""
    (
        version, flags, seen, full, count, boot, key, counter, owner, owner_boot, *epoch,
    ) = VOTE_HEAD.unpack_from(data)  # fmt: skip
    assert version == VOTE_VERSION, version
    at = VOTE_HEAD.size + count * ID_BYTES
    voters = split_voters(data[VOTE_HEAD.size : at])
    parent = None
    if flags & _PARENT:
        group = at + KEY_BYTES + 1
        end = group + data[group - 1] * ID_BYTES
        parent = Parent(data[at : group - 1], split_voters(data[group:end]))
        at = end
    value, other, note = unpack(data[at:]) if at < len(data) else (None, None, None)
    inst = Instance(key, voters, boot, sequence, parent)
    inst.promise = (counter, owner, owner_boot)
    inst.value = None if value is None else value_of(value)
    if flags & _OTHER:
        inst.accepted = (epoch_of(epoch), value_of(other))
    elif flags & _ACCEPTED and inst.value is not None:
        inst.accepted = (epoch_of(epoch), inst.value)
    inst.role = ENDED if flags & _ENDED else IDLE
    inst.filed, inst.handed = bool(flags & _FILED), bool(flags & _HANDED)
    inst.seen, inst.full, inst.note = seen, full, note
    inst.kept_seen = seen
    return inst


@lru_cache(_GROUPS_KEPT)
def join_voters(voters: tuple[bytes, ...]) -> bytes:
    """The voters as a run of 16-byte node ids."""
    return b"".join(voters)


@lru_cache(_GROUPS_KEPT)
def split_voters(data: bytes) -> tuple[bytes, ...]:
    """The voters of a run of 16-byte node ids; the same groups of them come again and again."""
    return tuple(data[at : at + ID_BYTES] for at in range(0, len(data), ID_BYTES))


def epoch_of(data: Any) -> Epoch:
    """An epoch as it was packed; what peers say was looked at before (`router.heard`)."""
    counter, node, boot = data
    return counter, node, boot


def value_data(value: Value) -> list[Any]:
    """A value as plain data."""
    code, outcome, children, note = value
    if not children:
        return [code, outcome, [], note]
    named = [[child.id, join_voters(child.voters), child.submit] for child in children]
    return [code, outcome, named, note]


def value_of(data: Any) -> Value:
    """A value as it was packed; what peers say was looked at before (`router.heard`)."""
    code, outcome, children, note = data
    if not children:  # As Value(...) does, in a fifth of the time.
        plain: Value = tuple.__new__(Value, (code, outcome, (), note))
        return plain
    found = []
    for id, voters, submit in children:
        found.append(Child(bytes(id), split_voters(bytes(voters)), submit))
    return Value(code, outcome, tuple(found), note)
