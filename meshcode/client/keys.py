"""The CURVE key pair with which a client shows itself to nodes over TCP.

The first of: the pair given by the caller, the file that the setting `client_key` names, also as
$MESH_CLIENT_KEY, the key of this home's node (`mesh/node.key`), a fresh pair, which a node may
refuse.  A file holds JSON: `{"public", "secret"}`, each 40 characters of Z85; or, as a node writes
its own, `{"secret"}` with 64 hexadecimal digits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from struct import error as StructError
from typing import Any, NamedTuple

import zmq
from zmq.utils import z85

from meshcode import config, paths
from meshcode.errors import BadRequest

_HEX_DIGITS = 64
Key = str | bytes  # 40 characters of Z85, or the 32 bytes themselves.


class KeyPair(NamedTuple):
    """Both halves in Z85."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"KeyPair({self.public.decode()}, secret)"  # No log may hold the other half.


def key_pair(given: Sequence[Key] | None) -> KeyPair:
    """The pair to connect with.

    Raises:
        BadRequest: the pair that was given, or in a file that is there, is none.
    """
    if given is not None:
        if isinstance(given, str | bytes) or not isinstance(given, Sequence) or len(given) != 2:
            raise BadRequest("curve is a pair of keys: (public, secret)")
        return _checked(given[0], given[1], "curve")
    named = str(config.value("client_key"))
    if named:
        return _read(named)
    own = os.path.join(paths.mesh_dir(), "node.key")
    if os.path.exists(own):
        return _read(own)
    return KeyPair(*zmq.curve_keypair())


def _read(path: str) -> KeyPair:
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(4096))
        public, secret = found.get("public"), found["secret"]
        if public is None:  # Written by `trust.identity`, whose other fields are not for clients.
            secret = z85.encode(_unhex(secret))
            public = zmq.curve_public(secret)
    except OSError as error:
        raise BadRequest(
            f"the key file {path} cannot be read: {error.strerror}; name another with "
            "MESH_CLIENT_KEY",
            path=path,
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadRequest(
            f'the key file {path} does not hold {{"public": ..., "secret": ...}} in Z85, nor '
            f'{{"secret": ...}} in {_HEX_DIGITS} hexadecimal digits as a node writes it',
            path=path,
        ) from None
    return _checked(public, secret, f"the key file {path}")


def _unhex(text: Any) -> bytes:
    data = bytes.fromhex(text)
    if len(data) != _HEX_DIGITS // 2:
        raise ValueError  # The caller says what is wrong, and shows nothing of it.
    return data


def _checked(public: Any, secret: Any, where: str) -> KeyPair:
    pair = KeyPair(_z85(public, f"{where}: the public key"), _z85(secret, f"{where}: the secret"))
    if zmq.curve_public(pair.secret) != pair.public:
        raise BadRequest(f"{where}: the public key does not belong to the secret")
    return pair


def _z85(key: Any, what: str) -> bytes:
    data = key.encode() if isinstance(key, str) else key
    if isinstance(data, bytes) and len(data) == 32:
        return bytes(z85.encode(data))
    try:
        if not isinstance(data, bytes) or len(data) != 40 or len(z85.decode(data)) != 32:
            raise ValueError(what)
    except (ValueError, KeyError, StructError):
        # What is wrong with it is not shown: it may be a secret.
        raise BadRequest(f"{what} is not 40 characters of Z85 or 32 bytes") from None
    return data
