"""Messages of the membership protocol: plain dicts with short keys, checked before believed.

    k   kind             "ping", "ack", "ask", "nack", "news", "sync", "push"
    b   int >= 1         boot of the sender
    i   int >= 0         incarnation of the sender
    u   list             claims, at most 64 and 8 KiB (see below); may be absent
    q   int              ping, ack, ask, nack: sequence number of whoever asked first
    t   16 bytes         ask: the member to be probed
    w   int >= 1         ask: milliseconds until a nack is due
    d   8 bytes          sync: digest of the sender's table
    r   bool             push: send yours too

A claim is a list of six: node (16 bytes), state (0 alive, 1 leaving, 2 suspect, 3 dead, 4 left),
boot, incarnation, detail, meta.  Detail is the list of accusers of a suspect, the milliseconds left
to one that is leaving, else None.  Meta is None or [boot, counter, dict].
"""

from __future__ import annotations

from typing import Any

from meshcode import limits
from meshcode.membership.member import Member, State

Claim = list[Any]

NODE_BYTES = 16
DIGEST_BYTES = 8
_HEAD_BYTES = 40  # Of a packed claim without accusers and meta, at its largest.
_ACCUSER_BYTES = 18
_META_HEAD_BYTES = 19

_FIELDS = {
    "ping": {"q"}, "ack": {"q"}, "nack": {"q"}, "ask": {"q", "t", "w"},
    "news": set(), "sync": {"d"}, "push": {"r"},
}  # fmt: skip
_COMMON = {"k", "b", "i"}


def plain_bytes(value: Any, depth: int = limits.SWIM_META_DEPTH_MAX) -> int | None:
    """An upper bound of the packed size; None when it is not small plain data."""
    kind = type(value)
    if value is None or kind is bool:
        return 1
    if kind is int:
        return 9 if -(2**63) <= value < 2**63 else None
    if kind is float:
        return 9
    if kind is str:
        try:
            return 5 + len(value.encode())
        except UnicodeEncodeError:  # A lone surrogate: no UTF-8, so it could not be sent on.
            return None
    if kind is bytes:
        return 5 + len(value)
    if kind not in (list, dict) or depth <= 0:
        return None
    if kind is list:
        items = value
    elif all(type(key) is str for key in value):
        items = [*value.keys(), *value.values()]
    else:
        return None
    total = 5
    for item in items:
        size = plain_bytes(item, depth - 1)
        if size is None:
            return None
        total += size
        if total > limits.SWIM_META_BYTES_MAX:  # Nobody needs to know by how much.
            return total
    return total


def meta_bytes(meta: Any) -> int | None:
    """The size of a member's meta, or None when it is no meta or too large."""
    size = plain_bytes(meta) if type(meta) is dict else None
    return size if size is not None and size <= limits.SWIM_META_BYTES_MAX else None


def is_node(value: Any) -> bool:
    """Whether it has the shape of a node id."""
    return type(value) is bytes and len(value) == NODE_BYTES


def _is_number(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def claim_of(member: Member, now_ms: int, *, with_meta: bool) -> Claim:
    """What this node would say of a member."""
    detail: Any = None
    if member.state == State.SUSPECT:
        detail = list(member.accusers)
    elif member.state == State.LEAVING:
        left_ms = member.leaving_until_ms - now_ms
        detail = min(max(left_ms, 0), limits.SWIM_LEAVING_MS_MAX)
    meta = [*member.meta_version, member.meta] if with_meta and member.meta_version[0] else None
    return [member.node, int(member.state), member.boot, member.incarnation, detail, meta]


def claim_bytes(member: Member, *, with_meta: bool) -> int:
    """An upper bound of the packed size of `claim_of`."""
    size = _HEAD_BYTES + _ACCUSER_BYTES * len(member.accusers)
    return size + _META_HEAD_BYTES + member.meta_bytes if with_meta else size


def trouble_with(message: Any) -> str:
    """Why a message cannot be believed to be one of ours; empty when it can.

    Only shapes and bounds: whether the nodes it names are members is for the core to say.
    """
    if type(message) is not dict:
        return f"is a {type(message).__name__}, not a dict"
    kind = message.get("k")
    fields = _FIELDS.get(kind) if type(kind) is str else None
    if fields is None:
        return "has no known kind"
    given = {key for key in message if type(key) is str}
    if len(given) != len(message) or given - {"u"} != _COMMON | fields:
        return f"has not the fields of a {kind}"
    if not _is_number(message["b"], 1, limits.SWIM_NUMBER_MAX):
        return "has no boot"
    if not _is_number(message["i"], 0, limits.SWIM_INCARNATION_MAX):
        return "has no incarnation"
    if "q" in fields and not _is_number(message["q"], 1, limits.SWIM_NUMBER_MAX):
        return "has no sequence number"
    if kind == "ask" and not (
        is_node(message["t"]) and _is_number(message["w"], 1, limits.SWIM_RELAY_MS_MAX)
    ):
        return "asks for no member, or with no time"
    digest = message.get("d", bytes(DIGEST_BYTES))
    if type(digest) is not bytes or len(digest) != DIGEST_BYTES:
        return "has no digest"
    if type(message.get("r", False)) is not bool:
        return "wants neither an answer nor none"
    return _trouble_with_claims(message.get("u", []))


def _trouble_with_claims(claims: Any) -> str:
    if type(claims) is not list or len(claims) > limits.SWIM_UPDATES_MAX:
        return f"has more than {limits.SWIM_UPDATES_MAX} claims, or no list of them"
    total = 0
    for claim in claims:
        size = _bytes_of_good(claim)
        if size is None:
            return "has a claim that is none"
        total += size
    if total > limits.SWIM_BYTES_MAX:
        return f"has claims of {total} bytes, the limit is {limits.SWIM_BYTES_MAX}"
    return ""


def _bytes_of_good(claim: Any) -> int | None:
    """The size of one claim; None when it is wrong in any way."""
    if type(claim) is not list or len(claim) != 6:
        return None
    node, state, boot, incarnation, detail, meta = claim
    if not (is_node(node) and _is_number(state, 0, State.LEFT)):
        return None
    if not _is_number(boot, 1, limits.SWIM_NUMBER_MAX):
        return None
    # The highest incarnation can only be alive: any other must leave room for its refutation.
    if not _is_number(incarnation, 0, limits.SWIM_INCARNATION_MAX - (state != State.ALIVE)):
        return None
    size = _HEAD_BYTES
    if state == State.SUSPECT:
        if type(detail) is not list or not 1 <= len(detail) <= limits.SWIM_ACCUSERS_MAX:
            return None
        if not all(is_node(accuser) for accuser in detail) or len(set(detail)) != len(detail):
            return None
        size += _ACCUSER_BYTES * len(detail)
    elif state == State.LEAVING:
        if not _is_number(detail, 0, limits.SWIM_LEAVING_MS_MAX):
            return None
    elif detail is not None:
        return None
    if meta is None:
        return size
    if type(meta) is not list or len(meta) != 3:
        return None
    if not (_is_number(meta[0], 1, boot) and _is_number(meta[1], 1, limits.SWIM_NUMBER_MAX)):
        return None
    extra = meta_bytes(meta[2])
    return None if extra is None else size + _META_HEAD_BYTES + extra
