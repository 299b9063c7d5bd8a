"""The messages of a join and their proofs.  Pure.

    joiner                                     the node that invited (its key is pinned)
      hello      id, nonce              -->
                                        <--    challenge  mesh, nonce, class, name
      request    keys, name, ..., mac   -->
                                        <--    waiting    code            (only with --approve)
                                        <--    answer     root key, roster, seeds, mac
                                        <--    error      code, text      (instead of any of them)

Each is one map of plain data.  Both MACs are keyed with the hash of the secret and cover the
transcript: everything the two sides must agree on, both keys and both nonces among it.
"""

from __future__ import annotations

import re
from base64 import b32encode
from dataclasses import dataclass
from typing import Any

from meshcode import errors
from meshcode.errors import BadJoin, BadValue, JoinVersion, MeshError
from meshcode.limits import ROSTER_BYTES_MAX
from meshcode.trust import line as lines
from meshcode.trust import signing
from meshcode.trust.statements import KINDS, is_name
from meshcode.wire.codec import pack, unpack_map

VERSION = 1
NONCE_BYTES = 16
MAC_BYTES = 32
SEEDS_MAX = 16
TEXT_CHARACTERS_MAX = 1_000

# Message -> field -> the size of its bytes, or its type.
SHAPES: dict[str, dict[str, int | type]] = {
    "hello": {"id": lines.ID_BYTES, "nonce": NONCE_BYTES},
    "challenge": {"mesh": 16, "nonce": NONCE_BYTES, "kind": str, "name": str, "approve": bool},
    "request": {
        "id": lines.ID_BYTES, "nonce": NONCE_BYTES, "key": 32, "sign": 32, "name": str,
        "kind": str, "domain": str, "mesh": 16, "proof": signing.SIGNATURE_BYTES, "mac": MAC_BYTES,
    },
    "waiting": {"code": str},
    "answer": {"root": 32, "roster": bytes, "seeds": list, "mac": MAC_BYTES},
    "error": {"code": str, "text": str},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Transcript:
    """What both sides must have seen alike."""

    id: bytes
    seed_key: bytes  # CURVE keys, 32 bytes.
    key: bytes
    sign_key: bytes
    name: str
    kind: str
    domain: str
    mesh: bytes
    nonce: bytes  # The joiner's.
    seed_nonce: bytes

    def data(self) -> bytes:
        """The bytes that are signed and MACed."""
        return pack([
            "meshcode join", VERSION, self.id, self.seed_key, self.key, self.sign_key, self.name,
            self.kind, self.domain, self.mesh, self.nonce, self.seed_nonce,
        ])  # fmt: skip

    def code(self, verifier: bytes) -> str:
        """Six characters that both sides can show a person."""
        found = signing.digest(b"join code", self.data(), key=verifier)
        return b32encode(found).decode()[:6]


def write(message: str, /, **fields: Any) -> bytes:
    """A message."""
    assert fields.keys() == SHAPES[message].keys(), (message, fields.keys())
    return pack({"t": message, "v": VERSION, **fields})


def read(data: bytes, *kinds: str) -> tuple[str, dict[str, Any]]:
    """Read a message that is one of `kinds`.

    Raises:
        JoinVersion: the other side speaks another version.
        BadJoin: it is anything else; the text names the field.
    """
    try:
        fields = unpack_map(data)
    except BadValue as error:
        raise BadJoin(f"a message of a join cannot be read: {error}") from None
    version = fields.get("v")
    if type(version) is not int:
        raise _bad("v", "is no version number")
    if version != VERSION:
        raise JoinVersion(
            f"the other side joins by version {str(version)[:20]}, this one by {VERSION}; nothing"
            " was changed; bring both to one version of meshcode",
            found=version if abs(version) < 1 << 31 else 0,
            expected=VERSION,
        )
    kind = fields.get("t")
    if type(kind) is not str or kind not in kinds:
        raise _bad("t", f"is {kind!r:.40}, expected {' or '.join(kinds)}")
    for name, shape in SHAPES[kind].items():
        _check_field(name, fields.get(name), shape)
    return kind, fields


def _check_field(name: str, value: Any, shape: int | type) -> None:
    if type(shape) is int:
        if type(value) is not bytes or len(value) != shape:
            found = f"{len(value)} bytes" if type(value) is bytes else type(value).__name__
            raise _bad(name, f"must be {shape} bytes, found {found}")
    elif type(value) is not shape:
        assert isinstance(shape, type)
        raise _bad(name, f"must be {shape.__name__}, found {type(value).__name__}")
    elif type(value) is str and len(value) > TEXT_CHARACTERS_MAX:
        raise _bad(name, f"has {len(value)} characters, the limit is {TEXT_CHARACTERS_MAX}")


def _bad(field: str, why: str) -> BadJoin:
    return BadJoin(f"field {field!r} of a join message {why}; nothing was changed", field=field)


# Proofs.


def request_mac(verifier: bytes, transcript: Transcript) -> bytes:
    """The joiner knows the secret."""
    return signing.digest(b"join request", transcript.data(), size=MAC_BYTES, key=verifier)


def answer_mac(
    verifier: bytes, transcript: Transcript, root_key: bytes, roster: bytes, seeds: list[str]
) -> bytes:
    """The node that invited knows the secret too, and said this."""
    data = transcript.data() + pack([root_key, signing.digest(b"join roster", roster), seeds])
    return signing.digest(b"join answer", data, size=MAC_BYTES, key=verifier)


def write_request(transcript: Transcript, sign: signing.SigningKey, verifier: bytes) -> bytes:
    """The joiner's request with its proofs."""
    return write(
        "request", id=transcript.id, nonce=transcript.nonce, key=transcript.key,
        sign=transcript.sign_key, name=transcript.name, kind=transcript.kind,
        domain=transcript.domain, mesh=transcript.mesh, proof=sign.sign(transcript.data()),
        mac=request_mac(verifier, transcript),
    )  # fmt: skip


def transcript_of(fields: dict[str, Any], seed_key: bytes, seed_nonce: bytes) -> Transcript:
    """The transcript of a request as the node that invited sees it.

    Raises:
        BadJoin: a name or class is none.
    """
    if not is_name(fields["name"]):
        raise _bad("name", "is not a name of letters, digits, '.', '_' and '-'")
    if fields["domain"] and not is_name(fields["domain"]):
        raise _bad("domain", "is not a name of letters, digits, '.', '_' and '-'")
    if fields["kind"] not in KINDS:
        raise _bad("kind", f"is {fields['kind']!r:.40}, expected one of {', '.join(KINDS)}")
    return Transcript(
        id=fields["id"], seed_key=seed_key, key=fields["key"], sign_key=fields["sign"],
        name=fields["name"], kind=fields["kind"], domain=fields["domain"], mesh=fields["mesh"],
        nonce=fields["nonce"], seed_nonce=seed_nonce,
    )  # fmt: skip


def check_request(fields: dict[str, Any], transcript: Transcript, verifier: bytes) -> None:
    """Check both proofs of a request.

    Raises:
        BadJoin: the joiner does not know the secret, or the signing key is not its own.
    """
    if not signing.same(fields["mac"], request_mac(verifier, transcript)):
        raise BadJoin(
            "the proof of the secret is wrong: the secret is another, or the request was altered;"
            " nobody was admitted; copy the whole line again"
        )
    if not signing.check(transcript.sign_key, transcript.data(), fields["proof"]):
        raise BadJoin("the request is not signed by its signing key; nobody was admitted")


_SEED = re.compile(r"tcp://[\x21-\x7e]{3,260}")


def check_answer(fields: dict[str, Any], transcript: Transcript, verifier: bytes) -> None:
    """Check that an answer is from who invited, and as it was sent.

    Raises:
        BadJoin: it is not; nothing was written.
    """
    seeds = fields["seeds"]
    if len(seeds) > SEEDS_MAX or not all(type(s) is str and _SEED.fullmatch(s) for s in seeds):
        raise _bad("seeds", f"is no list of at most {SEEDS_MAX} addresses")
    if len(fields["roster"]) > ROSTER_BYTES_MAX:
        raise _bad("roster", f"has {len(fields['roster'])} bytes, the limit is {ROSTER_BYTES_MAX}")
    expected = answer_mac(verifier, transcript, fields["root"], fields["roster"], seeds)
    if not signing.same(fields["mac"], expected):
        raise BadJoin(
            "the answer does not prove that it knows the secret of the invitation; nothing was"
            " written; ask for a new invitation"
        )
    if signing.mesh_id(fields["root"]) != transcript.mesh:
        raise BadJoin("the answer has the root key of another mesh; nothing was written")


def write_error(error: MeshError) -> bytes:
    """Tell the joiner why not."""
    return write("error", code=error.code, text=error.text[:TEXT_CHARACTERS_MAX])


def error_of(fields: dict[str, Any]) -> MeshError:
    """The error that the node that invited sent."""
    kind = errors.ERRORS_BY_CODE.get(fields["code"], BadJoin)
    if not issubclass(kind, errors.CallerError | errors.PeerError | errors.NodeError):
        kind = BadJoin
    text = "".join(c if c.isprintable() else " " for c in fields["text"])
    return kind(text, code=fields["code"])
