"""The roster: every statement of a mesh, checked up to the root key.

What a roster shows is a function of the set of statements it was ever given, in any order: so two
nodes that have merged each other's rosters show the same members.  Statements are only added.
Of two for one place a fixed rule takes one:

    eviction    the root key's before an admitting key's, then the smaller body
    delegation  the smaller body
    member      a chain of entries, version 1, 2, 3...; of two chains the longer when it continues
                the other, else the one with the smaller body where they part

An eviction beats every entry of its node.  When the root key evicts a node that holds an
admitting key, entries signed by that key count only when the eviction lists them.

Pure: no clock, no file; signatures are checked by the function that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from meshcode.errors import BadRoster, BadValue
from meshcode.limits import (
    ROSTER_BYTES_MAX,
    ROSTER_DELEGATIONS_MAX,
    ROSTER_MEMBERS_MAX,
    ROTATIONS_MAX,
)
from meshcode.trust import signing
from meshcode.trust.statements import (
    FORMAT,
    Delegation,
    Entry,
    Eviction,
    Member,
    Statement,
    parse_delegation,
    parse_eviction,
    parse_member,
)
from meshcode.wire.codec import pack, unpack_map

Change = tuple[str, bytes]  # "added", "changed" or "evicted", and the node.
Check = Callable[[bytes, bytes, bytes], bool]  # public key, data, signature
Chain = tuple[Entry, ...]


@dataclass(slots=True)
class _State:
    """Statements with what they say; never changed once a roster holds it."""

    delegations: dict[bytes, tuple[Delegation, Statement]] = field(default_factory=dict)  # By key.
    evictions: dict[bytes, tuple[Eviction, Statement]] = field(default_factory=dict)  # By node.
    chains: dict[bytes, Chain] = field(default_factory=dict)  # By node.


class Roster:
    """The members of a mesh as one node knows them."""

    def __init__(self, root_key: bytes, *, check: Check = signing.check) -> None:
        """An empty roster of the mesh of `root_key` (Ed25519 public key, 32 bytes)."""
        self.root_key = root_key
        self.mesh = signing.mesh_id(root_key)
        self.members: dict[bytes, Member] = {}  # By node; no evicted one.
        self.evicted: dict[bytes, Eviction] = {}  # By node.
        self.digest = b""  # 16 bytes; equal for equal statements.
        self._check = check
        self._nodes_by_key: dict[bytes, list[bytes]] = {}
        self._install(_State())

    # Looking things up.

    def by_key(self, key: bytes, now_unix_ms: int) -> Member | None:
        """The member that a CURVE key belongs to now; never an evicted one."""
        found = [
            member
            for node in self._nodes_by_key.get(key, ())
            if (member := self.members.get(node)) and member.answers_to(key, now_unix_ms)
        ]
        if len(found) > 1:  # Whose first key it was, else the lowest id: the same on every node.
            owner = signing.node_id(key)
            found.sort(key=lambda member: (member.node != owner, member.node))
        return found[0] if found else None

    def by_name(self, name: str) -> Member | None:
        """The member of that name; of two that joined at two nodes at once, the lowest id."""
        found = [member for member in self.members.values() if member.name == name]
        return min(found, key=lambda member: member.node, default=None)

    def eviction_of_key(self, key: bytes) -> Eviction | None:
        """The eviction of the node that a CURVE key belongs or belonged to."""
        for node in self._nodes_by_key.get(key, ()):
            if node in self.evicted:
                return self.evicted[node]
        return None

    def may_admit(self, key: bytes) -> bool:
        """Whether the root key, or a key that it delegated and whose node is not evicted."""
        if key == self.root_key:
            return True
        found = self._state.delegations.get(key)
        return found is not None and found[0].node not in self.evicted

    def admitting_key_of(self, node: bytes) -> bytes | None:
        """The admitting key that was delegated to a node."""
        held = [d.key for d, _ in self._state.delegations.values() if d.node == node]
        return min(held, default=None)

    def entry_of(self, node: bytes) -> Entry | None:
        """The newest member statement of a node, evicted or not."""
        chain = self.chain_of(node)
        return chain[-1] if chain else None

    def entries_by(self, key: bytes) -> list[Statement]:
        """All member statements that an admitting key signed."""
        chains = self._state.chains.values()
        return [entry.statement for chain in chains for entry in chain if entry.by_key == key]

    def chain_of(self, node: bytes) -> Chain:
        """All entries of a node, version 1 first."""
        return self._state.chains.get(node, ())

    def admitting_keys(self) -> list[bytes]:
        """Every key that may admit: the root key, then the delegated ones."""
        return [self.root_key, *(k for k in sorted(self._state.delegations) if self.may_admit(k))]

    def delegations_for_keys(self, keys: set[bytes]) -> list[Statement]:
        """The delegations of these keys, as far as there are."""
        return [s for key, (_, s) in _items(self._state.delegations) if key in keys]

    def delegations_for(self, chain: Chain) -> list[Statement]:
        """The delegations that a chain hangs on."""
        return self.delegations_for_keys({entry.by_key for entry in chain})

    # To bytes and back.

    def pack(self) -> bytes:
        """All statements, in the order of their keys and nodes."""
        state = self._state
        return _pack(
            self.root_key,
            (statement for _, statement in _sorted(state.delegations)),
            (statement for _, statement in _sorted(state.evictions)),
            _sorted(state.chains),
        )

    def pack_eviction(self, node: bytes) -> bytes:
        """The eviction of a node with what its signature hangs on: to be sent to the evicted."""
        found, statement = self._state.evictions[node]
        delegation = self._state.delegations.get(found.by_key)
        return _pack(self.root_key, [delegation[1]] if delegation else [], [statement], [])

    def merge(self, packed: bytes) -> list[Change]:
        """Take in what another roster knows.

        Returns:
            What is now otherwise, in the order of node ids; empty when all was known.

        Raises:
            BadRoster: something in it is malformed, of another mesh, wrongly signed, or over a
                limit; the text says which entry, and this roster is unchanged.
        """
        state = self._state
        delegations, evictions, chains = _shape(packed, self.root_key)
        new = _State(dict(state.delegations), dict(state.evictions), dict(state.chains))
        for index, statement in enumerate(delegations):
            with_entry = f"delegation {index + 1} of {len(delegations)}"
            self._add_delegation(new, statement, with_entry)
        for index, statement in enumerate(evictions):
            self._add_eviction(new, statement, f"eviction {index + 1} of {len(evictions)}")
        for index, statements in enumerate(chains):
            self._add_chain(new, statements, f"member {index + 1} of {len(chains)}")
        self._drop_void(new)
        _refuse_too_many(new)
        before, out = self.members, self.evicted
        self._install(new)
        return _differences(before, self.members, out, self.evicted)

    # One statement each; `new` is changed, and thrown away when a later one is bad.

    def _add_delegation(self, new: _State, statement: Statement, which: str) -> None:
        with _Naming(which):
            found = parse_delegation(statement, self.mesh)
            old = new.delegations.get(found.key)
            if old is not None and old[1] == statement:
                return
            self._verify(self.root_key, statement, "the root key")
        if old is None or statement.body < old[1].body:
            new.delegations[found.key] = (found, statement)

    def _add_eviction(self, new: _State, statement: Statement, which: str) -> None:
        with _Naming(which):
            found = parse_eviction(statement, self.mesh)
            old = new.evictions.get(found.node)
            if old is not None and old[1] == statement:
                return
            self._verify_admitting(new, found.by_key, statement)
        if old is None or self._rank(found, statement) < self._rank(*old):
            new.evictions[found.node] = (found, statement)

    def _rank(self, eviction: Eviction, statement: Statement) -> tuple[bool, bytes]:
        return eviction.by_key != self.root_key, statement.body

    def _add_chain(self, new: _State, statements: list[Statement], which: str) -> None:
        chain: list[Entry] = []
        with _Naming(which):
            known = self._known_chain(statements)
            for index, statement in enumerate(statements):
                if index < len(known):
                    chain.append(known[index])
                    continue
                entry = parse_member(statement, self.mesh)
                self._verify_admitting(new, entry.by_key, statement)
                self._verify_step(chain[-1] if chain else None, entry)
                chain.append(entry)
        node = chain[0].member.node
        new.chains[node] = _better(tuple(chain), new.chains.get(node, ()))

    def _known_chain(self, statements: list[Statement]) -> Chain:
        """The beginning of a chain that was verified before, byte for byte."""
        try:
            node = parse_member(statements[0], self.mesh).member.node
        except BadRoster:
            return ()  # The caller meets the fault again, and names the entry.
        known = self._state.chains.get(node, ())
        both = zip(known, statements, strict=False)
        same = takewhile(lambda pair: pair[0].statement == pair[1], both)
        return tuple(entry for entry, _ in same)

    def _verify_step(self, last: Entry | None, entry: Entry) -> None:
        """Whether an entry may follow `last`: the same node, one version on, by its old key."""
        member = entry.member
        if last is None:
            if member.version != 1 or entry.statement.old_signature:
                raise BadRoster(
                    f"its chain begins with version {member.version}, expected 1 without a"
                    " signature of an old key; nothing was changed"
                )
            return
        old = last.member
        if (member.node, member.name, member.kind) != (old.node, old.name, old.kind):
            raise BadRoster("a rotation changes node, name or class; nothing was changed")
        if member.version != old.version + 1 or member.old_key != old.key:
            raise BadRoster(
                f"version {member.version} does not follow version {old.version} and its key;"
                " nothing was changed"
            )
        if not self._check(old.sign_key, entry.statement.body, entry.statement.old_signature):
            raise BadRoster(
                f"version {member.version} is not signed by the key of version {old.version};"
                " nothing was changed"
            )

    def _verify_admitting(self, new: _State, key: bytes, statement: Statement) -> None:
        if key != self.root_key and key not in new.delegations:
            raise BadRoster(
                f"it is signed by {key.hex()[:8]}, which the root key never let admit or evict;"
                " nothing was changed"
            )
        self._verify(key, statement, f"the admitting key {key.hex()[:8]}")

    def _verify(self, key: bytes, statement: Statement, who: str) -> None:
        if not self._check(key, statement.body, statement.signature):
            raise BadRoster(f"its signature is not that of {who}; nothing was changed")

    # What the statements come to.

    def _drop_void(self, new: _State) -> None:
        """Cut chains at the first entry that the root key no longer lets count."""
        void: dict[bytes, frozenset[bytes]] = {}
        for delegation, _ in new.delegations.values():
            out = new.evictions.get(delegation.node)
            if out is not None and out[0].by_key == self.root_key:
                void[delegation.key] = frozenset(out[0].keeps)
        if not void:
            return
        for node, chain in list(new.chains.items()):
            kept = tuple(_valid_part(chain, void))
            if kept:
                new.chains[node] = kept
            else:
                del new.chains[node]

    def _install(self, state: _State) -> None:
        self._state = state
        self.evicted = {node: found for node, (found, _) in _items(state.evictions)}
        self.members = {
            node: chain[-1].member
            for node, chain in _items(state.chains)
            if node not in self.evicted
        }
        index: dict[bytes, list[bytes]] = {}
        for node, chain in _items(state.chains):
            for key in {entry.member.key for entry in chain}:
                index.setdefault(key, []).append(node)
        self._nodes_by_key = index
        ids = [statement.id() for _, statement in state.delegations.values()]
        ids += [statement.id() for _, statement in state.evictions.values()]
        ids += [entry.statement.id() for chain in state.chains.values() for entry in chain]
        self.digest = signing.digest(b"mesh roster", self.root_key + b"".join(sorted(ids)))


class _Naming:
    """Puts the name of the entry before the text of a BadRoster."""

    def __init__(self, which: str) -> None:
        self.which = which

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, BadRoster):
            raise BadRoster(f"{self.which}: {error.text}", entry=self.which, **error.fields)


def _better(left: Chain, right: Chain) -> Chain:
    """The longer chain when it continues the other, else the smaller body where they part."""
    for one, other in zip(left, right, strict=False):
        if one.statement.body != other.statement.body:
            return left if one.statement.body < other.statement.body else right
    return left if len(left) > len(right) else right


def _valid_part(chain: Chain, void: dict[bytes, frozenset[bytes]]) -> Iterable[Entry]:
    for entry in chain:
        keeps = void.get(entry.by_key)
        if keeps is not None and entry.statement.id() not in keeps:
            return
        yield entry


def _items(table: dict[bytes, Any]) -> Iterable[tuple[bytes, Any]]:
    return sorted(table.items(), key=lambda item: item[0])


def _sorted(table: dict[bytes, Any]) -> Iterable[Any]:
    return (value for _, value in _items(table))


def _differences(
    before: dict[bytes, Member],
    after: dict[bytes, Member],
    out_before: dict[bytes, Eviction],
    out_after: dict[bytes, Eviction],
) -> list[Change]:
    changes: list[Change] = []
    for node in sorted({*before, *after, *out_after}):
        if node not in after:
            if node in before or (node in out_after and node not in out_before):
                changes.append(("evicted", node))
        elif node not in before:
            changes.append(("added", node))
        elif before[node] != after[node]:
            changes.append(("changed", node))
    return changes


def _refuse_too_many(state: _State) -> None:
    members = len({*state.chains, *state.evictions})
    for what, found, limit in (
        ("members", members, ROSTER_MEMBERS_MAX),
        ("delegations", len(state.delegations), ROSTER_DELEGATIONS_MAX),
    ):
        if found > limit:
            raise BadRoster(
                f"the roster would have {found} {what}, the limit is {limit}; nothing was changed",
                found=found,
                limit=limit,
            )


def _pack(
    root_key: bytes,
    delegations: Iterable[Statement],
    evictions: Iterable[Statement],
    chains: Iterable[Chain],
) -> bytes:
    return pack({
        "f": FORMAT,
        "root": root_key,
        "delegations": [list(statement) for statement in delegations],
        "evictions": [list(statement) for statement in evictions],
        "members": [[list(entry.statement) for entry in chain] for chain in chains],
    })  # fmt: skip


def pack_statements(
    root_key: bytes,
    *,
    delegations: Iterable[Statement] = (),
    evictions: Iterable[Statement] = (),
    chains: Iterable[Chain] = (),
) -> bytes:
    """A part of a roster, to be merged into one."""
    return _pack(root_key, delegations, evictions, chains)


Shape = tuple[list[Statement], list[Statement], list[list[Statement]]]


def _map_of(packed: bytes) -> dict[str, Any]:
    if type(packed) is not bytes:
        raise BadRoster(f"a roster is bytes, found {type(packed).__name__}; nothing was changed")
    if len(packed) > ROSTER_BYTES_MAX:
        raise BadRoster(
            f"a roster of {len(packed)} bytes is over the limit of {ROSTER_BYTES_MAX}; nothing was"
            " changed",
            found=len(packed),
            limit=ROSTER_BYTES_MAX,
        )
    try:
        found = unpack_map(packed)
    except BadValue as error:
        raise BadRoster(f"a roster that cannot be read: {error}; nothing was changed") from None
    if found.get("f") != FORMAT or type(found.get("f")) is not int:
        raise BadRoster(
            f"a roster of format {found.get('f')!r:.40}, this version reads {FORMAT}; nothing was"
            " changed; bring both nodes to one version"
        )
    return found


def _shape(packed: bytes, root_key: bytes) -> Shape:
    """The statements of a packed roster, in their places, not yet looked at."""
    found = _map_of(packed)
    root = _bytes_of(found.get("root"), "root", 32)
    if root != root_key:
        mine, other = signing.mesh_id(root_key).hex()[:8], signing.mesh_id(root).hex()[:8]
        raise BadRoster(f"a roster of mesh {other}, this is mesh {mine}; nothing was changed")
    chains = [
        [_statement(item, "members") for item in _list_of(chain, "members", ROTATIONS_MAX, 1)]
        for chain in _list_of(found.get("members"), "members", ROSTER_MEMBERS_MAX)
    ]
    delegations = _list_of(found.get("delegations"), "delegations", ROSTER_DELEGATIONS_MAX)
    evictions = _list_of(found.get("evictions"), "evictions", ROSTER_MEMBERS_MAX)
    return (
        [_statement(item, "delegations") for item in delegations],
        [_statement(item, "evictions") for item in evictions],
        chains,
    )


def _statement(item: Any, part: str) -> Statement:
    if type(item) is not list or len(item) != 3 or not all(type(b) is bytes for b in item):
        raise BadRoster(f"{part!r} of a roster holds what is no statement; nothing was changed")
    body, signature, old_signature = item
    _bytes_of(signature, f"{part}: signature", signing.SIGNATURE_BYTES)
    if old_signature:
        _bytes_of(old_signature, f"{part}: old signature", signing.SIGNATURE_BYTES)
        if part != "members":
            raise BadRoster(f"{part!r}: an old signature has no place here; nothing was changed")
    return Statement(body, signature, old_signature)


def _list_of(value: Any, part: str, most: int, least: int = 0) -> list[Any]:
    if type(value) is not list or not least <= len(value) <= most:
        found = len(value) if type(value) is list else type(value).__name__
        raise BadRoster(
            f"{part!r} of a roster must be a list of {least} to {most}, found {found}; nothing was"
            " changed"
        )
    return value


def _bytes_of(value: Any, part: str, size: int) -> bytes:
    if type(value) is not bytes or len(value) != size:
        found = f"{len(value)} bytes" if type(value) is bytes else type(value).__name__
        raise BadRoster(f"{part} must be {size} bytes, found {found}; nothing was changed")
    return value
