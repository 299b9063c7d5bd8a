"""Making statements: who is let in, who is out, whose keys change.

Each function gives packed bytes for `Roster.merge`; nothing here changes a roster or reads a clock.
"""

from __future__ import annotations

from dataclasses import replace

from meshcode.errors import BadRoster, BadValue, NotAllowed, UnknownObject, WrongState
from meshcode.limits import (
    KEEPS_MAX,
    KEY_OVERLAP_EDGE_MS,
    KEY_OVERLAP_MS,
    ROTATIONS_MAX,
)
from meshcode.trust import signing
from meshcode.trust.identity import Identity, make_curve_pair
from meshcode.trust.roster import Roster, pack_statements
from meshcode.trust.signing import SigningKey
from meshcode.trust.statements import (
    REASON_CHARACTERS_MAX,
    Delegation,
    Entry,
    Eviction,
    Member,
    Statement,
    delegation_body,
    eviction_body,
    member_body,
    parse_member,
)
from meshcode.wire.codec import pack, unpack_map

_SKEW_MS = 5 * 60 * 1000  # Two clocks of one mesh; more is told to a person elsewhere.


def delegate(root: SigningKey, key: bytes, node: bytes, *, now_unix_ms: int) -> bytes:
    """Let the holder of `key` on `node` admit and evict; signed by the root key."""
    body = delegation_body(signing.mesh_id(root.public), Delegation(key, node, now_unix_ms))
    return pack_statements(root.public, delegations=[Statement(body, root.sign(body))])


def admit(roster: Roster, member: Member, by_key: SigningKey) -> bytes:
    """Let a new node in.

    Args:
        member: version 1, without an old key.
        by_key: the root key or one that it delegated.

    Raises:
        NotAllowed: the key may not admit.
    """
    _refuse_key(roster, by_key, "admit")
    body = member_body(roster.mesh, by_key.public, member)
    entry = Entry(member, by_key.public, Statement(body, by_key.sign(body)))
    return pack_statements(
        roster.root_key, delegations=_delegation(roster, by_key), chains=[(entry,)]
    )


def evict(
    roster: Roster, node: bytes, by_key: SigningKey, *, now_unix_ms: int, reason: str = ""
) -> bytes:
    """Put a node out, for good.

    Evicting a node that holds an admitting key ends that key too, and needs the root key: what it
    signed so far, as `roster` knows it, goes on counting, and nothing else of it.

    Raises:
        UnknownObject: no such member.
        WrongState: it is evicted already.
        NotAllowed: the key may not evict, or not this node.
    """
    entry = roster.entry_of(node)
    if entry is None:
        raise UnknownObject(
            f"no member has the id {node.hex()[:8]}; nobody was evicted; see `mesh ls nodes`"
        )
    old = roster.evicted.get(node)
    if old is not None and (old.by_key == roster.root_key or by_key.public != roster.root_key):
        raise WrongState(f"{old.name} ({node.hex()[:8]}) is evicted already; nothing was changed")
    _refuse_key(roster, by_key, "evict")
    held = roster.admitting_key_of(node)
    if held is not None and by_key.public != roster.root_key:
        raise NotAllowed(
            f"{entry.member.name} holds an admitting key, and only the root key can take that"
            " back; nobody was evicted; do it where root.key is"
        )
    keeps = sorted(statement.id() for statement in roster.entries_by(held)) if held else []
    if len(keeps) > KEEPS_MAX:
        raise WrongState(
            f"{entry.member.name} signed {len(keeps)} entries, the limit is {KEEPS_MAX}; nobody"
            " was evicted"
        )
    reason = " ".join(reason.split())[:REASON_CHARACTERS_MAX]
    reason = "".join(character for character in reason if character.isprintable())
    out = Eviction(node, entry.member.name, by_key.public, now_unix_ms, reason, tuple(keeps))
    body = eviction_body(roster.mesh, out)
    return pack_statements(
        roster.root_key,
        delegations=_delegation(roster, by_key),
        evictions=[Statement(body, by_key.sign(body))],
    )


def rotate(identity: Identity, roster: Roster, *, now_unix_ms: int) -> tuple[Identity, bytes]:
    """Begin to change a node's keys.

    Keep the new identity with `identity.save_next` before the draft leaves; have the draft
    countersigned; when the statement is merged, `identity.load` takes the new keys.

    Returns:
        The identity with its new keys, and a draft for `countersign`: the next entry without the
        key of who admits it, signed by the old signing key.

    Raises:
        WrongState: the node is no member, or at the limit of rotations.
    """
    old = roster.members.get(identity.node)
    if old is None or old.key != identity.public:
        raise WrongState(
            f"{identity.name} is not a member with its present key; its keys are unchanged"
        )
    if old.version >= ROTATIONS_MAX:
        raise WrongState(
            f"{identity.name} has changed its keys {ROTATIONS_MAX - 1} times, which is the limit;"
            " its keys are unchanged; evict it and let it join again"
        )
    public, secret = make_curve_pair()
    sign = signing.make_key()
    overlap_ms = KEY_OVERLAP_EDGE_MS if old.kind == "edge" else KEY_OVERLAP_MS
    member = replace(
        old, key=public, sign_key=sign.public, version=old.version + 1, old_key=old.key,
        old_key_until_ms=now_unix_ms + overlap_ms,
    )  # fmt: skip
    admitting = roster.entry_of(identity.node)
    assert admitting is not None
    draft = pack({
        "node": member.node, "key": member.key, "sign": member.sign_key,
        "until": member.old_key_until_ms, "version": member.version,
        # Each key that may admit gets its own body to countersign.
        "signed": {
            key.hex(): identity.sign.sign(member_body(roster.mesh, key, member))
            for key in roster.admitting_keys()
        },
    })  # fmt: skip
    return replace(identity, public=public, secret=secret, sign=sign), draft


def countersign(roster: Roster, draft: bytes, by_key: SigningKey, *, now_unix_ms: int) -> bytes:
    """Admit the new keys of a member.

    Raises:
        BadRoster: the draft is malformed, does not follow the member's newest entry, or is not
            signed by its old key.
        NotAllowed: `by_key` may not admit, or the member is evicted.
    """
    _refuse_key(roster, by_key, "admit")
    member, old_signature = _read_draft(roster, draft, by_key.public)
    others = [n for n, m in roster.members.items() if m.key == member.key and n != member.node]
    if others:
        raise BadRoster(f"the new key belongs to {others[0].hex()[:8]}; nothing was changed")
    overlap_ms = KEY_OVERLAP_EDGE_MS if member.kind == "edge" else KEY_OVERLAP_MS
    most = now_unix_ms + overlap_ms + _SKEW_MS
    if member.old_key_until_ms > most:
        raise BadRoster(
            f"the old key would be good for {member.old_key_until_ms - now_unix_ms} ms, the limit"
            f" is {overlap_ms}; nothing was changed; compare the clocks of both nodes"
        )
    body = member_body(roster.mesh, by_key.public, member)
    statement = Statement(body, by_key.sign(body), old_signature)
    chain = (*roster.chain_of(member.node), parse_entry(roster, statement))
    packed = pack_statements(
        roster.root_key, delegations=roster.delegations_for(chain), chains=[chain]
    )
    trial = Roster(roster.root_key)
    trial.merge(packed)  # Says what is wrong with it, and changes nothing here.
    return packed


def parse_entry(roster: Roster, statement: Statement) -> Entry:
    """The entry of a member statement of this roster's mesh."""
    return parse_member(statement, roster.mesh)


def _read_draft(roster: Roster, draft: bytes, by_key: bytes) -> tuple[Member, bytes]:
    try:
        fields = unpack_map(draft)
    except BadValue as error:
        raise BadRoster(f"a draft that cannot be read: {error}; nothing was changed") from None
    node, signed = fields.get("node"), fields.get("signed")
    old = roster.members.get(node) if type(node) is bytes else None
    if old is None:
        raise NotAllowed("the draft is of no member; nothing was changed")
    sizes = {"key": bytes, "sign": bytes, "until": int, "version": int, "signed": dict}
    wrong = [name for name, kind in sizes.items() if type(fields.get(name)) is not kind]
    if wrong:
        raise BadRoster(f"field {wrong[0]!r} of a draft is wrong; nothing was changed")
    member = replace(
        old, key=fields["key"], sign_key=fields["sign"], version=fields["version"],
        old_key=old.key, old_key_until_ms=fields["until"],
    )  # fmt: skip
    assert type(signed) is dict
    signature = signed.get(by_key.hex())
    if type(signature) is not bytes:
        raise NotAllowed(
            f"the draft is not made for the admitting key {by_key.hex()[:8]}; nothing was changed;"
            " begin again when both nodes have the same roster"
        )
    return member, signature


def _delegation(roster: Roster, key: SigningKey) -> list[Statement]:
    return roster.delegations_for_keys({key.public})


def _refuse_key(roster: Roster, key: SigningKey, what: str) -> None:
    if not roster.may_admit(key.public):
        raise NotAllowed(
            f"the key {key.public.hex()[:8]} may not {what}: the root key did not delegate it, or"
            " its node is evicted; nothing was changed; do it on a node that admits"
        )
