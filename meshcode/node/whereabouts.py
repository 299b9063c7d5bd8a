"""Where the other nodes are: what they say, what was announced, and the seeds.

And where clients of this node find them when it is gone.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from meshcode import limits, paths
from meshcode.router.effects import Effects
from meshcode.store.contract import META
from meshcode.store.filesystem import write_durably
from meshcode.wire.codec import pack, unpack

if TYPE_CHECKING:
    from meshcode.node.mesh import Mesh

_KEY = b"addresses"
_CLIENTS_MAX = 64  # Addresses for clients that are taken of one peer.


class Whereabouts:
    """The addresses of all members, as this node knows them."""

    def __init__(self, mesh: Mesh) -> None:
        """What peers said of themselves in earlier boots: they are tried there."""
        self._mesh = mesh
        kept = mesh.loop.log.get(META, _KEY)
        self.addresses: dict[bytes, list[str]] = {} if kept is None else unpack(kept)
        self._announced: dict[bytes, list[str]] = {}  # By mDNS, which says a thing once.
        self._via: dict[str, str] = json.loads(os.environ.get("MESH_PEER_VIA") or "{}")
        self._written = ""  # In `mesh/clients.json`.
        self._said = ""  # Why it could not be written.

    def seeds(self) -> list[str]:
        """Addresses for a node that joins: this node's own, then those of the other members."""
        found = list(self._mesh.identity.advertise)
        for node in self.addresses:
            found += self.known(node) if node in self._mesh.roster.members else []
        return list(dict.fromkeys(found))[: limits.INVITE_HOSTS_MAX]

    def known(self, node: bytes) -> list[str]:
        """Where a node is or was: as it said, then as was announced."""
        said, announced = self.addresses.get(node, []), self._announced.get(node, [])
        both = [*said, *(one for one in announced if one not in said)]
        return both[: limits.PEER_ADDRESSES_MAX]

    def of(self, node: bytes) -> list[str]:
        """Where to reach a node, as far as is known; one address, where that was set for it."""
        via = self._via.get(self._mesh.name_of(node))
        return [via] if via else self.known(node)

    def dial(self, node: bytes) -> None:
        """Let a peer be sought: where it is known to be, then at the seeds.

        One of the seeds leads to it, with luck; the others lead to peers that know where it is.
        """
        links = self._mesh.links
        assert links is not None
        via = self._via.get(self._mesh.name_of(node))
        known = [via] if via else [*self.known(node), *self._mesh.identity.seeds]
        if known:
            links.set_addresses(node, list(dict.fromkeys(known)), only=via is not None)

    def learn(self, node: bytes, addresses: list[str], *, certain: bool) -> None:
        """A member may be reached at these.

        What it says itself (`certain`) takes the place of what it said before; what anybody on
        the network may have announced comes behind it, so that it can keep nobody away.  It stays
        there: a node that was moved may say its old address for long, by who heard it then.
        """
        mesh = self._mesh
        if node == mesh.node or node not in mesh.roster.members:
            return
        good = [one for one in addresses if isinstance(one, str) and one.startswith("tcp://")]
        wanted = good[: limits.PEER_ADDRESSES_MAX]
        by_whom = self.addresses if certain else self._announced
        if wanted and wanted != by_whom.get(node):
            by_whom[node] = wanted
            if certain:
                record = (META, _KEY, pack(self.addresses))
                mesh.loop.turns.add(Effects(records=[record]))
            if node not in mesh.up:
                self.dial(node)

    # Where clients go when this node is gone.

    def write_clients(self) -> None:
        """Keep `mesh/clients.json`: the client addresses that the peers told of themselves.

        Where it cannot be written, the old one stays, and it is tried again with the next.
        """
        found = []
        for node, hello in sorted(self._mesh.up.items()):
            told = hello.get("clients")
            for address in told[:_CLIENTS_MAX] if isinstance(told, list) else []:
                if isinstance(address, str) and _is_usable(address):
                    found.append(_client_row(self._mesh, node, address))
        text = json.dumps(found, indent=1)
        if found and text != self._written:
            path = Path(paths.mesh_dir(str(self._mesh.loop.home))) / "clients.json"
            try:
                write_durably(path, text.encode())
            except OSError as error:  # The disk may be full, and the node goes on then.
                self._say(f"{path} cannot be written: {error.strerror}")
            else:
                self._written, self._said = text, ""

    def _say(self, why: str) -> None:
        if why != self._said:
            self._said = why
            self._mesh.say(
                f"{why}; the old one stays: clients of this node may not find the other nodes when"
                " it is gone; make room, it is tried again by itself"
            )


def _is_usable(address: str) -> bool:
    """An ipc address is of use only on the machine where its file is."""
    if address.startswith("ipc://"):
        return os.path.exists(address.removeprefix("ipc://"))
    return address.startswith("tcp://")


def _client_row(mesh: Mesh, node: bytes, address: str) -> dict[str, str]:
    from meshcode.trust.identity import z85

    row = {"node": node.hex(), "name": mesh.name_of(node), "address": address}
    if address.startswith("tcp://"):
        row["key"] = z85(mesh.roster.members[node].key).decode()
    return row
