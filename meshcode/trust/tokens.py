"""Logins: a token that says who a client is, signed by the node that saw the password.

Any node checks it without asking anyone: by the key of the signer, which the roster has, and by
the declared user.  Pure; times are Unix milliseconds of the node that signed.

    meshcode-login-BASE64    body and signature of 64 bytes
    {"f": 1, "id": 16 bytes, "mesh", "node", "user", "stamp", "at", "until"}
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from meshcode.errors import BadValue, MeshError
from meshcode.trust import signing
from meshcode.wire.codec import pack, unpack_map

FORMAT = 1
PREFIX = "meshcode-login-"
CHARACTERS_MAX = 1_024
FOR_MS = 8 * 3600 * 1000  # A working day.
FOR_MS_MAX = 30 * 24 * 3600 * 1000
SKEW_MS = 5 * 60 * 1000  # A token of the future is wrong, but clocks differ a little.
ID_BYTES = 16

_PURPOSE = b"meshcode login\0"  # So that no other signature of a node can pass for one.


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says."""

    id: bytes
    mesh: bytes  # 16 bytes; empty of a node without one.
    node: bytes  # Who signed.
    user: str
    stamp: bytes  # `stamp_of` the password's hash: another password makes it void.
    at_ms: int
    until_ms: int
    body: bytes
    signature: bytes

    def is_signed_by(self, public: bytes) -> bool:
        """Whether the owner of this Ed25519 key made it."""
        return signing.check(public, _PURPOSE + self.body, self.signature)

    def digest(self) -> bytes:
        """16 bytes that stand for it and do not tell it."""
        return signing.digest(b"mesh login id", self.id)


def stamp_of(password_hash: str | None) -> bytes:
    """16 bytes that change with the password."""
    return signing.digest(b"mesh login", (password_hash or "").encode())


def make(
    key: signing.SigningKey, *, id: bytes, mesh: bytes, node: bytes, user: str, stamp: bytes,
    at_ms: int, until_ms: int,
) -> str:  # fmt: skip
    """A token, as text."""
    body = pack({
        "f": FORMAT, "id": id, "mesh": mesh, "node": node, "user": user, "stamp": stamp,
        "at": at_ms, "until": until_ms,
    })  # fmt: skip
    data = body + key.sign(_PURPOSE + body)
    return PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=")


def read(text: object) -> Token:
    """The token in a text; its signature is not looked at.

    Raises:
        BadValue: it is none; the text is not shown.
    """
    if not isinstance(text, str) or not text.startswith(PREFIX) or len(text) > CHARACTERS_MAX:
        raise BadValue("the login that was sent is none")
    coded = text.removeprefix(PREFIX)
    try:
        data = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
        body, signature = data[: -signing.SIGNATURE_BYTES], data[-signing.SIGNATURE_BYTES :]
        found = unpack_map(body)
    except (binascii.Error, ValueError, MeshError):
        raise BadValue("the login that was sent is damaged") from None
    token = Token(
        id=_bytes(found, "id", ID_BYTES), mesh=_bytes(found, "mesh", 16, or_none=True),
        node=_bytes(found, "node", 16), user=str(found.get("user"))[:200],
        stamp=_bytes(found, "stamp", 16), at_ms=_time(found, "at"), until_ms=_time(found, "until"),
        body=body, signature=signature,
    )  # fmt: skip
    if found.get("f") != FORMAT:
        raise BadValue(f"the login has format {found.get('f')!r:.20}, this node reads {FORMAT}")
    return token


def _bytes(found: dict[str, object], name: str, size: int, *, or_none: bool = False) -> bytes:
    value = found.get(name)
    if not isinstance(value, bytes) or (len(value) != size and not (or_none and not value)):
        raise BadValue("the login that was sent is damaged")
    return value


def _time(found: dict[str, object], name: str) -> int:
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise BadValue("the login that was sent is damaged")
    return value
