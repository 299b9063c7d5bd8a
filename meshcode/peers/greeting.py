"""HELLO: what a node says of itself when it opens a direction, and what is checked of it.

- `version`: the protocol of the links, PROTOCOL.
- `node`, 16 bytes: the sender; `to`, 16 bytes: who the sender thinks it speaks to.
- `store`, 16 bytes: the sender's store; `boot`: how often it was opened.
- `life`, 16 random bytes: made for this boot; `commit`: the store's newest transaction when the
  boot began; `past`: the same of boots before (`lives.py`).  They tell a store that was restored
  from a copy (`memory.py`).
- `unix_ms`: the sender's wall clock.
- `frames`, `bytes`: the credit it grants.
- `about`: a map of the caller's, packed: name, addresses, versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from meshcode import limits
from meshcode.errors import BadData, BadValue
from meshcode.ids import ID_BYTES
from meshcode.peers import kinds
from meshcode.peers.lives import Life, unpack_lives
from meshcode.wire.codec import pack, unpack_map
from meshcode.wire.frame import envelope
from meshcode.wire.plainly import unpack_plain_map

PROTOCOL = 1
_IDS = ("node", "to", "store", "life")
_NUMBERS = ("version", "boot", "commit", "unix_ms", "frames", "bytes")


class Hello(NamedTuple):
    """A HELLO that was read and has the right shape; whether it is welcome is another question."""

    version: int
    node: bytes
    to: bytes
    store: bytes
    life: bytes
    boot: int
    commit: int
    unix_ms: int
    frames: int
    bytes: int
    past: tuple[Life, ...]
    about: dict[str, Any]

    def news(self) -> dict[str, Any]:
        """What the caller is told: `about`, with the facts of the session over it."""
        return {
            **self.about,
            "node": self.node,
            "store": self.store,
            "boot": self.boot,
            "version": self.version,
            "unix_ms": self.unix_ms,
        }


def pack_about(about: Mapping[str, Any]) -> bytes:
    """The caller's map, packed once.

    Raises:
        BadData: it is not plain data, or over PEER_ABOUT_BYTES_MAX.
    """
    data = pack(dict(about), "what this node says of itself")
    if len(data) > limits.PEER_ABOUT_BYTES_MAX:
        raise BadData(
            f"what this node says of itself has {len(data)} bytes, the limit is "
            f"{limits.PEER_ABOUT_BYTES_MAX}; tell peers less in HELLO and the rest by gossip"
        )
    return data


@dataclass(frozen=True, slots=True)
class Me:
    """What a node says of itself to every peer, the same in a whole boot."""

    node: bytes
    boot: int
    store: bytes
    life: bytes
    commit: int  # The newest transaction of the store when this boot began.
    about: bytes  # From `pack_about`.
    past: bytes = b""  # From `pack_lives`.


def write(me: Me, to: bytes, unix_ms: int) -> bytes:
    """The HELLO envelope towards node `to`."""
    body = {
        "version": PROTOCOL,
        "node": me.node,
        "to": to,
        "store": me.store,
        "life": me.life,
        "boot": me.boot,
        "commit": me.commit,
        "past": me.past,
        "unix_ms": unix_ms,
        "frames": limits.PEER_CREDIT_FRAMES,
        "bytes": limits.PEER_CREDIT_BYTES,
        "about": me.about,
    }
    return envelope(kinds.HELLO, body=pack(body))


def read(body: bytes) -> Hello:
    """Read the body of a HELLO.  Of a future version only `version` is looked at.

    Raises:
        BadValue: a field is missing or of the wrong kind.
    """
    fields = unpack_map(body)
    version = fields.get("version")
    if type(version) is int and version > PROTOCOL:
        return Hello(version, b"", b"", b"", b"", 0, 0, 0, 0, 0, (), {})
    for name in _IDS:
        value = fields.get(name)
        if type(value) is not bytes or len(value) != ID_BYTES:
            raise BadValue(f"HELLO has no good {name!r}: {ID_BYTES} bytes wanted; it was dropped")
    for name in _NUMBERS:
        value = fields.get(name)
        if type(value) is not int or not 0 <= value < 2**63:
            raise BadValue(f"HELLO has no good {name!r}: a whole number wanted; it was dropped")
    past = fields.get("past")
    if type(past) is not bytes:
        raise BadValue("HELLO has no good 'past': packed lives wanted; it was dropped")
    about = fields.get("about")
    if type(about) is not bytes or len(about) > limits.PEER_ABOUT_BYTES_MAX:
        raise BadValue(
            f"HELLO has no good 'about': at most {limits.PEER_ABOUT_BYTES_MAX} packed bytes wanted"
        )
    said = unpack_plain_map(about)
    plain = {name: fields[name] for name in (*_IDS, *_NUMBERS)}
    return Hello(**plain, past=unpack_lives(past), about=said)


def addresses_in(about: Mapping[str, Any]) -> list[str]:
    """The addresses a peer says it can be reached at; anything odd is left out."""
    found = about.get("addresses")
    if type(found) is not list:
        return []
    good = [a for a in found if type(a) is str and a.startswith("tcp://") and len(a) <= 256]
    return good[: limits.PEER_ADDRESSES_MAX]


def bye(code: str, text: str, statement: bytes = b"") -> bytes:
    """A BYE envelope: why a session ends or was refused."""
    body: dict[str, Any] = {"code": code, "text": text}
    if statement:
        body["statement"] = statement
    return envelope(kinds.BYE, body=pack(body))


def read_bye(body: bytes) -> tuple[str, str, bytes]:
    """The code, text and statement of a BYE.

    Raises:
        BadValue: other bytes.
    """
    fields = unpack_map(body)
    code, text = fields.get("code"), fields.get("text")
    statement = fields.get("statement", b"")
    if type(code) is not str or type(text) is not str or type(statement) is not bytes:
        raise BadValue("BYE has no good 'code', 'text' or 'statement'; it was dropped")
    return code[:64], text[:1024], statement
