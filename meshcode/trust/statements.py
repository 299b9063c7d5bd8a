"""What is signed in a mesh: members, delegations, evictions.

A statement is a body, the signature of who makes it, and for a rotated member the signature of
its old signing key.  A body has exactly one way to be written, so equal facts are equal bytes.

    member      a node belongs to the mesh            signed by an admitting key
    delegation  this key may admit and evict          signed by the root key
    eviction    a node is out, for good               signed by an admitting key or the root key

Pure.  All times are Unix milliseconds of the node that signed.  The bytes are in docs/joining.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from meshcode.errors import BadRoster, BadValue
from meshcode.limits import KEEPS_MAX, NODE_NAME_BYTES_MAX, ROTATIONS_MAX
from meshcode.trust import signing
from meshcode.trust.signing import KEY_BYTES
from meshcode.wire.codec import pack, unpack_map

FORMAT = 1
KINDS = ("core", "edge", "witness")
ID_BYTES = 16
REASON_CHARACTERS_MAX = 200
TIME_MS_MAX = 1 << 48  # The year 10889; larger is no time.
SMALL_BODY_BYTES_MAX = 1_024  # Of a member or delegation; the longest has some 450.
EVICTION_BODY_BYTES_MAX = SMALL_BODY_BYTES_MAX + 4 * REASON_CHARACTERS_MAX + 18 * KEEPS_MAX

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NODE_NAME_BYTES_MAX - 1}}}")


class Statement(NamedTuple):
    """A signed body."""

    body: bytes
    signature: bytes  # 64 bytes.
    old_signature: bytes = b""  # 64 bytes, of a member's entry above version 1.

    def id(self) -> bytes:
        """16 bytes that stand for the body."""
        return signing.digest(b"mesh statement", self.body)


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a node: who it is, until the next version of it."""

    node: bytes  # 16 bytes.
    name: str
    kind: str  # One of KINDS.
    key: bytes  # CURVE public key, 32 bytes.
    sign_key: bytes  # Ed25519 public key of the node, 32 bytes.
    domain: str  # What fails together: a rack, a site; may be empty.
    version: int  # From 1; each rotation adds 1.
    old_key: bytes | None  # The CURVE key of the version before.
    old_key_until_ms: int  # Unix milliseconds; 0 without an old key.

    def answers_to(self, key: bytes, now_unix_ms: int) -> bool:
        """Whether a link with this CURVE key is this node now."""
        return key == self.key or (key == self.old_key and now_unix_ms < self.old_key_until_ms)


@dataclass(frozen=True, slots=True)
class Delegation:
    """A key that may admit and evict, and the node that holds it."""

    key: bytes
    node: bytes
    at_unix_ms: int


@dataclass(frozen=True, slots=True)
class Eviction:
    """A node is out; nothing takes it back.  The machine may join again as another node."""

    node: bytes
    name: str
    by_key: bytes
    at_unix_ms: int
    reason: str
    # Of the entries signed by the node's own admitting key, the ids of those that still count.
    # Weighed only when the root key signed.
    keeps: tuple[bytes, ...] = ()


class Entry(NamedTuple):
    """A parsed member statement."""

    member: Member
    by_key: bytes  # The admitting key that signed.
    statement: Statement


def is_name(text: Any) -> bool:
    """Whether a node or domain may be called so."""
    return type(text) is str and _NAME.fullmatch(text) is not None


def member_body(mesh: bytes, by_key: bytes, member: Member) -> bytes:
    """The bytes that are signed for a member."""
    return pack({
        "t": "member", "f": FORMAT, "mesh": mesh, "by": by_key, "node": member.node,
        "name": member.name, "kind": member.kind, "key": member.key, "sign": member.sign_key,
        "domain": member.domain, "version": member.version, "old": member.old_key or b"",
        "until": member.old_key_until_ms,
    })  # fmt: skip


def delegation_body(mesh: bytes, delegation: Delegation) -> bytes:
    """The bytes that are signed for a delegation."""
    return pack({
        "t": "delegation", "f": FORMAT, "mesh": mesh, "key": delegation.key,
        "node": delegation.node, "at": delegation.at_unix_ms,
    })  # fmt: skip


def eviction_body(mesh: bytes, eviction: Eviction) -> bytes:
    """The bytes that are signed for an eviction."""
    return pack({
        "t": "eviction", "f": FORMAT, "mesh": mesh, "by": eviction.by_key, "node": eviction.node,
        "name": eviction.name, "at": eviction.at_unix_ms, "reason": eviction.reason,
        "keeps": list(eviction.keeps),
    })  # fmt: skip


class _Fields:
    """The map of a body, read field by field; every fault is a BadRoster that names the field."""

    def __init__(self, body: bytes, kind: str, mesh: bytes) -> None:
        self.kind = kind
        limit = EVICTION_BODY_BYTES_MAX if kind == "eviction" else SMALL_BODY_BYTES_MAX
        if len(body) > limit:
            raise self.bad("body", f"has {len(body)} bytes, the limit is {limit}")
        try:
            self.map = unpack_map(body)
        except BadValue as error:
            raise self.bad("body", f"cannot be read: {error}") from None
        if self.map.get("t") != kind:
            raise self.bad("t", f"is {self.map.get('t')!r:.40}, expected {kind!r}")
        if self.integer("f", 1, 1 << 31) != FORMAT:
            raise self.bad(
                "f", f"is {self.map['f']}, this version reads {FORMAT}; bring this node up to date"
            )
        if self.exact("mesh", ID_BYTES) != mesh:
            raise self.bad("mesh", f"is {self.map['mesh'].hex()[:8]}, this is {mesh.hex()[:8]}")

    def bad(self, field: str, why: str) -> BadRoster:
        """The error about a field."""
        text = f"a statement of kind {self.kind}: field {field!r} {why}; nothing was changed"
        return BadRoster(text, kind=self.kind, field=field)

    def exact(self, field: str, size: int) -> bytes:
        """Bytes of one size."""
        value = self.map.get(field)
        if type(value) is not bytes or len(value) != size:
            found = f"{len(value)} bytes" if type(value) is bytes else type(value).__name__
            raise self.bad(field, f"must be {size} bytes, found {found}")
        return value

    def integer(self, field: str, least: int, most: int) -> int:
        """A number within bounds."""
        value = self.map.get(field)
        if type(value) is not int or not least <= value <= most:
            found = value if type(value) is int else type(value).__name__
            raise self.bad(field, f"must be {least} to {most}, found {found!r:.40}")
        return value

    def name(self, field: str, *, empty: bool = False) -> str:
        """A name of a node or domain."""
        value = self.map.get(field)
        if not is_name(value) and not (empty and value == ""):
            raise self.bad(field, "is not a name of letters, digits, '.', '_' and '-'")
        return str(value)

    def canonical(self, body: bytes, again: bytes) -> None:
        """Refuse a body that writes the same facts in another way, or more than them."""
        if body != again:
            raise self.bad("body", "is not in the one form that is signed")


def parse_member(statement: Statement, mesh: bytes) -> Entry:
    """Read a member entry of this mesh; signatures are not looked at.

    Raises:
        BadRoster: a field is missing, wrong, or of another mesh; the text names it.
    """
    fields = _Fields(statement.body, "member", mesh)
    version = fields.integer("version", 1, ROTATIONS_MAX)
    kind = fields.map.get("kind")
    if kind not in KINDS:
        raise fields.bad("kind", f"is {kind!r:.40}, expected one of {', '.join(KINDS)}")
    first = version == 1
    old_key = fields.exact("old", 0 if first else KEY_BYTES)
    member = Member(
        node=fields.exact("node", ID_BYTES),
        name=fields.name("name"),
        kind=str(kind),
        key=fields.exact("key", KEY_BYTES),
        sign_key=fields.exact("sign", KEY_BYTES),
        domain=fields.name("domain", empty=True),
        version=version,
        old_key=old_key or None,
        old_key_until_ms=fields.integer("until", 0 if first else 1, 0 if first else TIME_MS_MAX),
    )
    by_key = fields.exact("by", KEY_BYTES)
    if first and signing.node_id(member.key) != member.node:
        raise fields.bad("node", "does not belong to the key")
    fields.canonical(statement.body, member_body(mesh, by_key, member))
    return Entry(member, by_key, statement)


def parse_delegation(statement: Statement, mesh: bytes) -> Delegation:
    """Read a delegation of this mesh; the signature is not looked at.

    Raises:
        BadRoster: a field is missing, wrong, or of another mesh; the text names it.
    """
    fields = _Fields(statement.body, "delegation", mesh)
    found = Delegation(
        key=fields.exact("key", KEY_BYTES),
        node=fields.exact("node", ID_BYTES),
        at_unix_ms=fields.integer("at", 0, TIME_MS_MAX),
    )
    fields.canonical(statement.body, delegation_body(mesh, found))
    return found


def parse_eviction(statement: Statement, mesh: bytes) -> Eviction:
    """Read an eviction of this mesh; the signature is not looked at.

    Raises:
        BadRoster: a field is missing, wrong, or of another mesh; the text names it.
    """
    fields = _Fields(statement.body, "eviction", mesh)
    reason = fields.map.get("reason")
    if type(reason) is not str or len(reason) > REASON_CHARACTERS_MAX or not _one_line(reason):
        raise fields.bad("reason", f"must be one line of at most {REASON_CHARACTERS_MAX}")
    keeps = fields.map.get("keeps")
    if type(keeps) is not list or len(keeps) > KEEPS_MAX:
        raise fields.bad("keeps", f"must be a list of at most {KEEPS_MAX}")
    if not all(type(item) is bytes and len(item) == ID_BYTES for item in keeps):
        raise fields.bad("keeps", f"holds something that is not {ID_BYTES} bytes")
    if any(left >= right for left, right in pairwise(keeps)):
        raise fields.bad("keeps", "is not in order")
    found = Eviction(
        node=fields.exact("node", ID_BYTES),
        name=fields.name("name"),
        by_key=fields.exact("by", KEY_BYTES),
        at_unix_ms=fields.integer("at", 0, TIME_MS_MAX),
        reason=reason,
        keeps=tuple(keeps),
    )
    fields.canonical(statement.body, eviction_body(mesh, found))
    return found


def _one_line(text: str) -> bool:
    return text == "" or text.isprintable()
