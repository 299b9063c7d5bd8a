"""Addresses of nodes: where a client may connect, and with which key.

    ipc:///run/mesh/clients.ipc          a node of this machine; its folder keeps others out
    tcp://10.0.0.7:7000?key=KEY          a node elsewhere; KEY is its CURVE public key

KEY is 40 characters of Z85, as they are or percent-encoded.  A text may hold several addresses with
commas between them; a comma that no address follows belongs to the one before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from struct import error as StructError
from typing import NamedTuple, NoReturn

from zmq.utils import z85

from meshcode import paths
from meshcode.errors import BadRequest

KEY_CHARACTERS = 40  # 32 bytes in Z85.
_IPC_PATH_BYTES_MAX = 107  # Of a Unix socket on Linux; elsewhere libzmq says what is too long.

_BETWEEN = re.compile(r"\s*,\s*(?=[a-z]+://)")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Za-z:.%]+\]|[^\s:/\[\]]+):([0-9]{1,5})")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")


class Seed(NamedTuple):
    """One address of a node."""

    address: str  # As libzmq takes it, and as people read it: without the key.
    key: bytes = b""  # Of the node, Z85; empty for ipc, which is not encrypted.


def seeds_of(addresses: str | Sequence[str] | None) -> list[Seed]:
    """The addresses that a caller named, else those of the environment, in order, each once.

    Raises:
        BadRequest: one is no address, or none was named; the text says what is wrong with it.
    """
    if addresses is None:
        return _default_seeds()
    texts = [addresses] if isinstance(addresses, str | bytes) else addresses
    texts = list(texts) if isinstance(texts, Iterable) else [texts]
    for text in texts:
        if not isinstance(text, str):
            _refuse(text, "an address is a text, several are a list of them")
    seeds = [seed_of(one) for text in texts for one in _BETWEEN.split(text.strip())]
    if not seeds:
        raise BadRequest("the list of addresses is empty; leave it out for the node of this home")
    return list(dict.fromkeys(seeds))


def _default_seeds() -> list[Seed]:
    first, *others = paths.clients_addresses()
    seeds = seeds_of(first)
    for text in others:  # The node wrote these; one that is wrong must not keep us from the rest.
        with suppress(BadRequest):
            seeds.append(seed_of(text))
    return list(dict.fromkeys(seeds))


def seed_of(text: str) -> Seed:
    """One address.

    Raises:
        BadRequest: it is none.
    """
    scheme, _, rest = text.partition("://")
    if scheme == "ipc":
        size = len(rest.encode())
        if not 0 < size <= _IPC_PATH_BYTES_MAX:
            _refuse(text, f"its path has {size} bytes, it needs 1 to {_IPC_PATH_BYTES_MAX}")
        return Seed(text)
    if scheme != "tcp":
        _refuse(text, "it begins neither with ipc:// nor with tcp://")
    return _tcp_seed(text, rest)


def _tcp_seed(text: str, rest: str) -> Seed:
    where, _, query = rest.partition("?")
    found = _HOST_AND_PORT.fullmatch(where)
    if found is None or not 1 <= int(found[2]) <= 65535:
        _refuse(text, "behind tcp:// comes HOST:PORT, with a port from 1 to 65535")
    name, _, key = query.partition("=")
    if name != "key":
        _refuse(text, "links over TCP are encrypted, and it has no ?key= of the node")
    if len(key) != KEY_CHARACTERS:  # An escape makes it longer, so there are no two readings.
        key = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), key)
    if len(key) != KEY_CHARACTERS:
        _refuse(text, f"its key has {len(key)} characters, it needs {KEY_CHARACTERS}")
    try:
        z85.decode(key)
    except (ValueError, KeyError, StructError):
        _refuse(text, "its key is not Z85")
    return Seed(f"tcp://{where}", key.encode())


def _refuse(text: object, why: str) -> NoReturn:
    raise BadRequest(
        f"{text!r:.200} cannot be connected to: {why}; an address is for instance "
        "ipc:///run/mesh/clients.ipc or tcp://HOST:PORT?key=KEY",
        address=text if isinstance(text, str) else repr(text),
    )
