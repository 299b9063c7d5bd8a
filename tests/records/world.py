"""Records of calls as a node writes them, put into the log of a home before its node starts."""

from __future__ import annotations

import time
from typing import Any

from meshcode import paths
from meshcode.ids import NO_ID, child_id, make_ids
from meshcode.router.records import custody_header, pack_done, sequence_key
from meshcode.store.contract import DONE, OPEN, Log
from meshcode.store.journaled import open_log
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

NODE = b"n" * 16
BEGAN_MS = (int(time.time()) // 60 - 240) * 60_000  # Four hours ago: still kept.


def submit(
    id: bytes, socket: str, *, flow: bytes = NO_ID, parent: bytes = NO_ID, **options: Any
) -> bytes:
    """The SUBMIT envelope of a call."""
    return envelope(
        Kind.SUBMIT, id=id, flow=flow if flow != NO_ID else id, parent=parent,
        name=socket.encode(), meta=pack(options) if options else b"", body=pack_call([1]),
    )  # fmt: skip


def done(
    data: bytes,
    value: Any = None,
    *,
    code: Outcome = Outcome.DONE,
    at_ms: int = BEGAN_MS,
    name: str = "",
) -> tuple[str, bytes, bytes]:
    """The `done` record of a SUBMIT envelope, as an op of the log."""
    id = data[16:32]
    body = pack(value)
    outcome = envelope(
        Kind.OUTCOME, id=id, flow=data[32:48], code=code, number=1500, body=body,
        name=name.encode(),
    )  # fmt: skip
    return (DONE, id, pack_done(code, 1, at_ms, at_ms + 1, at_ms + 3, 1, outcome, data, None))


def waiting(data: bytes, sequence: int, at_ms: int = BEGAN_MS) -> tuple[str, bytes, bytes]:
    """The `open` record of a SUBMIT envelope, as an op of the log."""
    return (OPEN, sequence_key(sequence), custody_header(NODE, 1, (NODE,), at_ms) + data)


def write(log: Log, *ops: Any) -> None:
    """One transaction."""
    log.stage(list(ops))
    log.sync()


def write_home(home: str, ops: list[Any]) -> None:
    """Put records into the log of a home that no node has open."""
    log = open_log(paths.data_dir(paths.make_folders(home)))
    try:
        write(log, *ops)
    finally:
        log.close()


def ids(count: int, unix_ms: int = BEGAN_MS) -> list[bytes]:
    """Fresh ids of that time, ascending."""
    return make_ids(count, unix_ms)


class Flow:
    """A flow as it stands in the records: its root and its steps, in the order they are added."""

    def __init__(self, unix_ms: int = BEGAN_MS) -> None:
        self.id = ids(1, unix_ms)[0]
        self.ops: list[Any] = []
        self.at_ms = unix_ms
        self.count = 0

    def step(
        self, socket: str, feed: Any = None, *, code: Outcome = Outcome.DONE, value: Any = None
    ) -> int:
        """Add a step that has ended; its number."""
        number = self.count
        self.count += 1
        options = {} if feed is None else {"feed": feed}
        id = child_id(self.id, b"%d" % number)
        data = submit(id, socket, flow=self.id, parent=self.id, **options)
        self.ops.append(done(data, value, code=code, at_ms=self.at_ms))
        return number

    def root(self, result: int) -> list[Any]:
        """All records; the root's outcome names the step whose result is that of the flow."""
        value = {"result": child_id(self.id, b"%d" % result), "steps": self.count}
        data = submit(self.id, "@flow")
        return [done(data, value, at_ms=self.at_ms, name="@flow"), *self.ops]
