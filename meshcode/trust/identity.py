"""Who this node is in its mesh: its keys, its mesh, where it listens and whom it knows first.

    mesh/self.json       facts
    mesh/node.key        the CURVE secret and the seed of the signing key; changed by rotation
    mesh/node.key.next   the same for a rotation that has begun
    mesh/admit.key       only on a node that admits
    mesh/root.key        only until somebody moves it off-line
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshcode.store.filesystem import sync_folder, write_durably
from meshcode.trust import folder, signing
from meshcode.trust.signing import SigningKey
from meshcode.trust.statements import KINDS, Member, is_name

__all__ = ["Identity", "load", "save_next", "make_curve_pair"]

_ADDRESSES_MAX = 64  # In one list of self.json.


@dataclass(frozen=True, slots=True)
class Identity:
    """This node, as it shows itself to others."""

    node: bytes  # 16 bytes, from the first CURVE key; kept over rotation.
    name: str
    kind: str  # "core", "edge" or "witness".
    domain: str
    mesh: bytes  # 16 bytes.
    root_key: bytes  # Ed25519 public key of the mesh, 32 bytes.
    public: bytes  # CURVE public key, 32 bytes raw.
    secret: bytes = field(repr=False)  # CURVE secret key, 32 bytes raw.
    sign: SigningKey
    bind: tuple[str, ...]  # ZeroMQ addresses for peers: tcp://IP:PORT.
    advertise: tuple[str, ...]  # Where peers reach it: tcp://HOST:PORT.
    join: tuple[str, ...]  # ZeroMQ addresses of the join link.
    seeds: tuple[str, ...]  # Peers to try first: tcp://HOST:PORT.
    worked_out: bool = False  # `advertise` is what the interfaces had: `mesh up` looks again.

    @property
    def public_z85(self) -> bytes:
        """The CURVE public key as libzmq likes it, 40 characters."""
        return z85(self.public)

    @property
    def secret_z85(self) -> bytes:
        """The CURVE secret key as libzmq likes it, 40 characters."""
        return z85(self.secret)

    def member(self) -> Member:
        """The first entry of this node, as it will be signed."""
        return Member(
            node=self.node, name=self.name, kind=self.kind, key=self.public,
            sign_key=self.sign.public, domain=self.domain, version=1, old_key=None,
            old_key_until_ms=0,
        )  # fmt: skip


def make_curve_pair() -> tuple[bytes, bytes]:
    """A fresh CURVE pair: public and secret, 32 raw bytes each."""
    import zmq
    from zmq.utils import z85 as coding

    public, secret = zmq.curve_keypair()
    return coding.decode(public), coding.decode(secret)


def curve_public(secret: bytes) -> bytes:
    """The public key of a CURVE secret, both 32 raw bytes."""
    import zmq
    from zmq.utils import z85 as coding

    return bytes(coding.decode(zmq.curve_public(z85(secret))))


def z85(key: bytes) -> bytes:
    """A key of 32 bytes as 40 characters."""
    from zmq.utils import z85 as coding

    return bytes(coding.encode(key))


def load(base: str | None = None) -> Identity | None:
    """The identity in a home; None when it belongs to no mesh.

    When the roster beside it shows the keys of a rotation that had begun, they are taken now.

    Raises:
        TrustDamaged: a file is missing, damaged, or readable by others.
    """
    if not folder.has_mesh(base):
        return None
    where = folder.folder_of(base)
    _take_next(base, where)
    secret, seed = folder.read_key(where / folder.NODE_KEY, "secret", "sign_seed")
    return _read_self(where / folder.SELF, secret, seed)


def _read_self(path: Path, secret: bytes, seed: bytes) -> Identity:
    found = folder.read_json(path)
    for name, good in (
        ("name", is_name(found.get("name"))),
        ("kind", found.get("kind") in KINDS),
        ("domain", found.get("domain") == "" or is_name(found.get("domain"))),
    ):
        if not good:
            raise folder.damaged(path, f"field {name!r} is wrong: {found.get(name)!r:.80}")
    root_key = folder.hex_field(path, found, "root_key", 32)
    mesh = folder.hex_field(path, found, "mesh", 16)
    if mesh != signing.mesh_id(root_key):
        raise folder.damaged(path, "field 'mesh' does not belong to 'root_key'")
    return Identity(
        node=folder.hex_field(path, found, "node", 16),
        name=found["name"], kind=found["kind"], domain=found["domain"],
        mesh=mesh, root_key=root_key,
        public=curve_public(secret), secret=secret, sign=signing.from_seed(seed),
        bind=_addresses(path, found, "bind"), advertise=_addresses(path, found, "advertise"),
        join=_addresses(path, found, "join"), seeds=_addresses(path, found, "seeds"),
        worked_out=found.get("worked_out") is True,
    )  # fmt: skip


def _addresses(path: Path, found: dict[str, Any], field: str) -> tuple[str, ...]:
    value = found.get(field)
    if type(value) is not list or len(value) > _ADDRESSES_MAX:
        raise folder.damaged(path, f"field {field!r} is not a list of addresses")
    if not all(type(item) is str and item.startswith(("tcp://", "ipc://")) for item in value):
        raise folder.damaged(path, f"field {field!r} holds what is no address")
    return tuple(value)


def write(where: Path, identity: Identity) -> None:
    """Write `self.json` and `node.key` into a folder, durably."""
    write_key(where / folder.NODE_KEY, identity)
    write_self(where, identity)


def write_self(where: Path, identity: Identity) -> None:
    """Write `self.json`, durably: after addresses or seeds have changed."""
    folder.write_json(where / folder.SELF, {
        "node": identity.node.hex(), "name": identity.name, "kind": identity.kind,
        "domain": identity.domain, "mesh": identity.mesh.hex(),
        "root_key": identity.root_key.hex(), "bind": list(identity.bind),
        "advertise": list(identity.advertise), "join": list(identity.join),
        "seeds": list(identity.seeds), "worked_out": identity.worked_out,
    })  # fmt: skip


def write_key(path: Path, identity: Identity) -> None:
    """Write the secrets of an identity, durably."""
    seed = identity.sign.seed
    folder.write_json(path, {"secret": identity.secret.hex(), "sign_seed": seed.hex()})


def save_next(base: str | None, identity: Identity) -> None:
    """Keep the new keys of a rotation, durably, before anybody hears of them."""
    write_key(folder.need_mesh(base) / folder.NEXT_KEY, identity)


def _take_next(base: str | None, where: Path) -> None:
    """Finish a rotation whose statement is in the roster on disk."""
    path = where / folder.NEXT_KEY
    if not path.exists():
        return
    from meshcode.trust.rosterfile import RosterFile

    secret, _ = folder.read_key(path, "secret", "sign_seed")
    found = folder.read_json(where / folder.SELF)
    root_key = folder.hex_field(where / folder.SELF, found, "root_key", 32)
    node = folder.hex_field(where / folder.SELF, found, "node", 16)
    member = RosterFile(base, root_key).load().members.get(node)
    if member is not None and member.key == curve_public(secret):
        os.rename(path, where / folder.NODE_KEY)
        sync_folder(where)


def load_admit_key(base: str | None = None) -> SigningKey | None:
    """The admitting key of this node; None when it does not admit.

    Raises:
        TrustDamaged: the file is damaged, or readable by others.
    """
    return _load_signing_key(folder.folder_of(base) / folder.ADMIT_KEY)


def load_root_key(base: str | None = None) -> SigningKey | None:
    """The root key, while it is still here; None when it was moved away, as it should be.

    Raises:
        TrustDamaged: the file is damaged, or readable by others.
    """
    return _load_signing_key(folder.folder_of(base) / folder.ROOT_KEY)


def read_signing_key(path: Path) -> SigningKey:
    """A root or admitting key from any path, for instance a stick.

    Raises:
        TrustDamaged: the file is missing, damaged, or readable by others.
    """
    return signing.from_seed(folder.read_key(path, "seed")[0])


def _load_signing_key(path: Path) -> SigningKey | None:
    return read_signing_key(path) if path.exists() else None


def write_signing_key(path: Path, key: SigningKey, advice: str) -> None:
    """Write a root or admitting key, durably, with a word to whoever opens the file."""
    folder.write_json(path, {
        "advice": advice, "public": key.public.hex(), "seed": key.seed.hex(),
    })  # fmt: skip


def write_roster(where: Path, packed: bytes) -> None:
    """Write a roster file into a folder that is being made."""
    write_durably(where / folder.ROSTER, packed)
