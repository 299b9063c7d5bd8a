"""Ed25519 signatures and keyed hashes; the only importer of nacl, and only when one is needed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from meshcode.digest import blake2b, compare_digest

KEY_BYTES = 32
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 pair."""

    public: bytes  # 32 bytes.
    seed: bytes = field(repr=False)  # 32 bytes, secret.

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`, 64 bytes; always the same for the same two."""
        from nacl.signing import SigningKey as NaclKey

        return bytes(NaclKey(self.seed).sign(data).signature)


def from_seed(seed: bytes) -> SigningKey:
    """The pair that belongs to a secret of 32 bytes."""
    from nacl.signing import SigningKey as NaclKey

    return SigningKey(bytes(NaclKey(seed).verify_key), seed)


def make_key() -> SigningKey:
    """A fresh pair from the system's random source."""
    return from_seed(os.urandom(KEY_BYTES))


def check(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `signature` of `data` was made by the owner of `public`; never raises."""
    from nacl.exceptions import CryptoError
    from nacl.signing import VerifyKey

    if len(public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        VerifyKey(public).verify(data, signature)
    except (CryptoError, ValueError):
        return False
    return True


def digest(purpose: bytes, data: bytes, *, size: int = 16, key: bytes = b"") -> bytes:
    """blake2b for one purpose (at most 16 bytes of text), so that no two uses can be confused.

    Args:
        key: makes it a MAC; 0 to 64 bytes.
    """
    return blake2b(data, digest_size=size, key=key, person=purpose).digest()


def same(left: bytes, right: bytes) -> bool:
    """Equality in constant time."""
    return compare_digest(left, right)


def node_id(curve_public: bytes) -> bytes:
    """The id of a node, from its first CURVE public key (32 bytes); kept over key rotation."""
    return blake2b(curve_public, digest_size=16).digest()


def mesh_id(root_public: bytes) -> bytes:
    """The id of a mesh: bound to its root key, so neither can be exchanged alone."""
    return digest(b"meshcode mesh", root_public)
