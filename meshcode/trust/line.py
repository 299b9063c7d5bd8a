"""An invitation as one line, to be sent to a person.

    mesh1:ID.SECRET@HOST:PORT[,HOST:PORT...]#FINGERPRINT

    ID           12 characters    6 random bytes and 3 check bytes
    SECRET       32 characters    21 random bytes and 3 check bytes
    HOST:PORT    the join links of the node that invites; an IPv6 address in brackets
    FINGERPRINT  52 characters    the CURVE key of that node, 3 check bytes, 4 of the whole line

The characters are those of base64url.  The check bytes find what was cut or mistyped and say where;
whoever alters a line on purpose meets the key, the secret and the proofs of the handshake instead.
Pure.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field

from meshcode.errors import BadInvitation
from meshcode.limits import INVITE_HOSTS_MAX, INVITE_LINE_BYTES_MAX
from meshcode.trust import signing
from meshcode.trust.signing import KEY_BYTES

SCHEME = "mesh1"
ID_BYTES = 6
SECRET_BYTES = 21
_CHECK_BYTES = 3
_LINE_CHECK_BYTES = 4

_BASE64 = re.compile(r"[A-Za-z0-9_-]*")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")


@dataclass(frozen=True, slots=True)
class Line:
    """What an invitation says."""

    id: bytes  # ID_BYTES, public.
    secret: bytes = field(repr=False)  # SECRET_BYTES.
    hosts: tuple[str, ...]  # HOST:PORT of join links.
    key: bytes  # CURVE public key of the node that invites.


def text_of(line: Line) -> str:
    """The line of an invitation.

    Raises:
        BadInvitation: a host is not HOST:PORT, or there are too many.
    """
    _check_hosts(line.hosts)
    head = (
        f"{SCHEME}:{_checked(b'invite id', line.id)}.{_checked(b'invite secret', line.secret)}"
        f"@{','.join(line.hosts)}"
    )
    fingerprint = line.key + _check(b"invite key", line.key)
    fingerprint += _line_check(head, fingerprint)
    return f"{head}#{_encode(fingerprint)}"


def parse(text: str) -> Line:
    """Read the line of an invitation.

    Raises:
        BadInvitation: it is not whole; the text says which part is wrong.
    """
    text = text.strip()
    if len(text) > INVITE_LINE_BYTES_MAX:
        raise _bad("line", f"has {len(text)} characters, the limit is {INVITE_LINE_BYTES_MAX}")
    scheme, colon, rest = text.partition(":")
    if not colon or scheme != SCHEME:
        raise _bad("beginning", f"is {scheme[:20]!r}, expected '{SCHEME}:'")
    head, hash_sign, fingerprint_text = rest.rpartition("#")
    if not hash_sign:
        raise _bad("fingerprint", "is missing: there is no '#'")
    token, at, hosts_text = head.partition("@")
    if not at:
        raise _bad("address", "is missing: there is no '@'")
    id_text, dot, secret_text = token.partition(".")
    if not dot:
        raise _bad("secret", "is missing: there is no '.'")
    found_id = _read("id", b"invite id", id_text, ID_BYTES)
    secret = _read("secret", b"invite secret", secret_text, SECRET_BYTES)
    hosts = tuple(hosts_text.split(","))
    _check_hosts(hosts)
    fingerprint = _decode("fingerprint", fingerprint_text, KEY_BYTES + _CHECK_BYTES, more=4)
    key, key_check = fingerprint[:KEY_BYTES], fingerprint[KEY_BYTES:-_LINE_CHECK_BYTES]
    if key_check != _check(b"invite key", key):
        raise _bad("fingerprint", "was mistyped: its check does not fit")
    if fingerprint[-_LINE_CHECK_BYTES:] != _line_check(
        f"{SCHEME}:{head}", fingerprint[:-_LINE_CHECK_BYTES]
    ):
        raise _bad("address", "does not belong to the rest: changed, or pasted from another line")
    return Line(found_id, secret, hosts, key)


def id_text(id: bytes) -> str:
    """The id of an invitation as it is in the line and in file names."""
    return _checked(b"invite id", id)


def parse_host(text: str) -> tuple[str, int]:
    """`HOST:PORT`, an IPv6 address in brackets.

    Raises:
        ValueError: it is something else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port[:6]) <= 65_535:
        raise ValueError(f"{text[:80]!r} is not HOST:PORT with a port of 1 to 65535")
    if _HOST.fullmatch(host) is None:
        raise ValueError(f"{host[:80]!r} is no host name or address; IPv6 goes in brackets")
    return host, int(port)


def _check_hosts(hosts: tuple[str, ...]) -> None:
    if not 1 <= len(hosts) <= INVITE_HOSTS_MAX:
        raise _bad("address", f"has {len(hosts)} hosts, expected 1 to {INVITE_HOSTS_MAX}")
    for host in hosts:
        try:
            parse_host(host)
        except ValueError as error:
            raise _bad("address", f"is wrong: {error}") from None


def _bad(part: str, why: str) -> BadInvitation:
    return BadInvitation(
        f"the {part} of the invitation {why}; nothing was sent and nothing was written; copy the"
        " whole line, in quotes, or ask for a new one: `mesh invite`",
        part=part,
    )


def _check(purpose: bytes, data: bytes) -> bytes:
    return signing.digest(purpose, data)[:_CHECK_BYTES]


def _line_check(head: str, fingerprint: bytes) -> bytes:
    return signing.digest(b"invite line", head.encode() + fingerprint)[:_LINE_CHECK_BYTES]


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _checked(purpose: bytes, data: bytes) -> str:
    return _encode(data + _check(purpose, data))


def _decode(part: str, text: str, size: int, more: int = 0) -> bytes:
    expected = (size + more) * 4 // 3
    expected += (size + more) * 4 % 3 > 0
    if not _BASE64.fullmatch(text):
        raise _bad(part, "holds characters that do not belong there")
    if len(text) != expected:
        raise _bad(part, f"has {len(text)} characters, expected {expected}")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _read(part: str, purpose: bytes, text: str, size: int) -> bytes:
    data = _decode(part, text, size + _CHECK_BYTES)
    if data[size:] != _check(purpose, data[:size]):
        raise _bad(part, "was mistyped: its check does not fit")
    return data[:size]
