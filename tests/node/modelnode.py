"""A node of a mesh as far as its model goes: a share, and a database that is a snapshot."""

from __future__ import annotations

from typing import Any

from meshcode.model.delta import with_changes
from meshcode.model.fields import fill
from meshcode.model.kinds import KINDS, PLURALS
from meshcode.node.modelkeep import unpack_kept
from meshcode.node.modelshare import Change, ModelShare
from meshcode.node.series import Series
from meshcode.store.memory_log import MemoryDisk, MemoryLog
from meshcode.wire.codec import pack, unpack_map

A, B, C = (bytes([n]) * 16 for n in (1, 2, 3))
NAMES = {A: "ann", B: "bob", C: "cy"}


def queue(**options: Any) -> dict[str, Any]:
    return fill("queue", options)


def socket(**options: Any) -> dict[str, Any]:
    return fill("socket", {"processor": "shop", "task": "clean", "queue": "orders"} | options)


def processor(**options: Any) -> dict[str, Any]:
    return fill("processor", {"git": "file:///srv/shop", "module": "shop"} | options)


def deployment(**options: Any) -> dict[str, Any]:
    return fill("deployment", {"processor": "shop"} | options)


class Node:
    """A share with the database it has, as far as a snapshot is one."""

    def __init__(self, node: bytes, log: MemoryLog | None = None, **options: Any) -> None:
        self.log = MemoryLog(MemoryDisk()) if log is None else log
        self.kept = Series(b"share")
        self.share = ModelShare(node, *self.kept.read(self.log), **options)
        self.database: dict[str, Any] = {"number": 0, **{PLURALS[kind]: {} for kind in KINDS}}

    def declare(self, kind: str, name: str, fields: dict[str, Any] | None) -> Change:
        """A command on this node, with the database level first as `Adopter` has it."""
        self.level()
        return self.edit(kind, name, fields)

    def edit(self, kind: str, name: str, fields: dict[str, Any] | None) -> Change:
        """A change of the database, whatever it holds."""
        plural = PLURALS[kind]
        objects = {k: v for k, v in self.database[plural].items() if k != name}
        if fields is not None:
            objects[name] = fields
        base = self.database["number"]
        self.database = {**self.database, plural: objects, "number": base + 1}
        delta = {"base": base, "number": base + 1, "changes": [[kind, name, fields]]}
        return self.share.local_changed(self.database, delta)

    def level(self) -> None:
        """Hear of a database that adopted before a crash; then adopt what is new."""
        if self.share.base_number < self.database["number"]:
            assert self.share.local_changed(self.database).news == []
        self.adopt()

    def adopt(self) -> None:
        """What the model process does with an offer whose base is its number."""
        if self.share.behind:
            snapshot, base, changes = self.share.offer()
            assert base == self.database["number"] < snapshot["number"]
            if changes is not None:
                assert with_changes(self.database, snapshot["number"], changes) == snapshot
            self.database = snapshot
            self.share.adopted()
        assert content(self.database) == content(self.share.snapshot())

    def save(self) -> None:
        """What `Adopter.record` has written, on disk."""
        change = self.share.pack_change()
        ops = None if change is None else self.kept.add(change)
        self.log.stage(self.kept.replace(self.share.pack()) if ops is None else ops)
        self.log.sync()

    def restarted(self) -> Node:
        """The node after a crash: what was in its log, and its database as it is."""
        self.save()
        again = Node(self.share.node_id, self.log, host=self.share.host)
        assert unpack_kept(again.share.pack()) == unpack_kept(self.share.pack())
        again.database = self.database
        return again


def content(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in snapshot.items() if key != "number"}


def tell(change: Change, *nodes: Node) -> list[Change]:
    """Send what was new to others, as bytes."""
    return [
        node.share.receive(unpack_map(pack(message))) for message in change.news for node in nodes
    ]


def talk(first: Node, second: Node) -> None:
    """One round of the repair between two nodes, until nobody has anything to say."""
    todo = [(second, first.share.hello())]
    count = 0
    while todo:
        node, message = todo.pop(0)
        peer = first if node is second else second
        todo += [(peer, reply) for reply in node.share.receive(message).replies]
        count += 1
        assert count < 1_000
