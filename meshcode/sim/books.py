"""What the checker of one node writes down: of each call, and of each table of the log."""

from __future__ import annotations

from typing import Any

from meshcode.router.effects import Op
from meshcode.router.records import CUSTODY, ended_well, socket_of, stretch_of, submit_of_done
from meshcode.sim.violation import require
from meshcode.store.memory_log import MemoryDisk

_ID_AT = CUSTODY.size + 16 + 16  # Of the call id in an `open` record with one voter.


def index_is_true(disk: MemoryDisk) -> None:
    """The index of what has not ended well has exactly those records; that of sockets, all."""
    done, failed = disk.tables["done"].values, disk.tables["failed"].values
    wanted = {id for id, record in done.items() if not ended_well(record)}
    wrong = sorted(id.hex() for id in wanted ^ failed.keys())
    require(not wrong, "index", "wrong for", len(wrong), *wrong[:1])
    places = disk.tables["socket"].values
    for id, record in done.items():
        name = socket_of(submit_of_done(record)).encode()
        there = not name or name + b"\0" + stretch_of(id) in places
        require(there, "index", "of sockets lacks", id.hex(), name)


class Fact:
    """What the world outside the node knows of one call id."""

    __slots__ = (
        "accepted_ms",
        "acked",
        "body",
        "cancel_asked",
        "cancelled_told",
        "deaths",
        "edge",
        "ended_ms",
        "executed",
        "flow",
        "held",
        "id",
        "name",
        "options",
        "parent",
        "refused",
        "told",
    )

    def __init__(self, id: bytes, name: str, options: dict[str, Any] | None, body: bytes) -> None:
        self.id = id
        self.name = name
        self.options = options or {}
        self.body = body
        self.accepted_ms = 0
        self.acked = False
        self.refused = False  # By its last answer.
        self.executed: list[bytes] = []  # OUTCOME envelopes that workers really made.
        self.cancel_asked = False
        self.cancelled_told = False
        self.held = False
        self.deaths = 0  # Workers that died under it since it was accepted or asked to be retried.
        self.told: bytes | None = None  # The outcome somebody was told.
        self.parent: bytes | None = None
        self.edge = b""  # Why its parent caused it: b"dead-letter", b"retry", b"step".
        self.flow = b""  # What it names as its flow; empty = itself.
        self.ended_ms = 0


class Books:
    """Tables of the log as ids and sequences: open calls, their state records, outcomes."""

    __slots__ = ("done", "open", "open_ids", "passing", "state")

    def __init__(self) -> None:
        self.passing: set[bytes] = set()  # Keys of items of streams, which are never open.
        self.open: dict[bytes, bytes] = {}  # Sequence key -> id.
        self.open_ids: dict[bytes, bytes] = {}  # Id -> sequence key.
        self.state: dict[bytes, bytes] = {}
        self.done: dict[bytes, bytes] = {}

    def copy(self) -> Books:
        """The same, to be changed apart."""
        new = Books()
        new.open, new.open_ids = dict(self.open), dict(self.open_ids)
        new.state, new.done = dict(self.state), dict(self.done)
        return new

    def apply(self, op: Op) -> None:
        """Enter one change; what cannot follow from what is there is a violation."""
        table, key, value = op
        if table == "open":
            if value is None and key in self.passing:
                self.passing.discard(key)
            elif value is None:
                require(key in self.open, "I2 one outcome", "no open record to remove", key.hex())
                del self.open_ids[self.open.pop(key)]
            else:
                id = value[_ID_AT : _ID_AT + 16]
                require(key not in self.open, "log", "sequence used twice", key.hex())
                require(id not in self.open_ids, "I2 one outcome", "accepted twice", id.hex())
                require(id not in self.done, "I9 no resurrection", id.hex())
                self.open[key] = id
                self.open_ids[id] = key
        elif table == "done":
            require(value is not None, "log", "a done record is removed", key.hex())
            require(key not in self.done, "I2 one outcome", "a second one for", key.hex())
            assert value is not None
            self.done[key] = value
        elif table == "state":
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value


__all__ = ["Books", "Fact"]
