"""Which calls belong to a flow, on this node.

The calls that a flow makes by itself (steps, dead letters, retries) have the time of their root in
their ids, so they lie beside it (`ids.child_id`).  Calls that a task makes have ids of their own
time; for these the table `flow` has an entry, written with their `open` record: flow and id, 16
bytes each, and no value.  What an entry leads to may be gone; `sweep` deletes it then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from meshcode.ids import ID_BYTES
from meshcode.node.choosing import is_of_flow
from meshcode.node.turn import Turns
from meshcode.replica.instance import ENDED
from meshcode.router.core import Router
from meshcode.router.effects import Op
from meshcode.router.records import accepted_call, submit_of_done
from meshcode.store.contract import DONE, FLOW, OPEN, Log
from meshcode.wire.frame import AT_FLOW, AT_ID

TIME_BYTES = 6  # Of an id: when it was made.
OPEN_LOOKED_MAX = 1_000_000  # 0.1 s; of more, those accepted first, where old flows begin.
_BATCH = 256


def entries(ops: Iterable[Op]) -> list[Op]:
    """The entries for those calls in a batch of the log that need one."""
    found: list[Op] = []
    for table, _key, value in ops:
        if table == OPEN and value is not None:
            submit = accepted_call(value)[1]
            id, flow = submit[AT_ID], submit[AT_FLOW]
            if flow[:TIME_BYTES] != id[:TIME_BYTES] and any(flow):
                found.append((FLOW, flow + id, b""))
    return found


def is_kept(router: Router, id: bytes) -> bool:
    """Whether a call is open at another node, as far as this one, which keeps it, knows."""
    inst = router.replica.by_id.get(id)
    return (inst is not None and inst.role != ENDED) or id in router.copies


class Flows:
    """The calls of flows that one node knows."""

    def __init__(self, router: Router, turns: Turns, log: Log) -> None:
        """Nothing is read yet."""
        self._router = router
        self._turns = turns
        self._log = log
        self._swept = b""  # Where the next sweep begins.
        # Whether tasks make calls here at all: who has none pays nothing for the entries.
        self.wanted = log.count(FLOW) > 0

    def noted(self, ops: list[Op], *, always: bool) -> None:
        """Add the entries that a batch needs; `always`: peers may have brought calls, too."""
        if self.wanted or always:
            ops.extend(entries(ops))

    def ended(self, flow: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Id and `done` record of every call of the flow that has ended here, in no order."""
        time = flow[:TIME_BYTES]
        fresh = self._turns.fresh_done()
        for id, value in fresh.items():
            if is_of_flow(id, submit_of_done(value), flow):
                yield id, value
        start, skip = time.ljust(ID_BYTES, b"\0"), 0
        while True:
            batch = self._log.scan(DONE, start, limit=_BATCH)
            for id, value in batch[skip:]:
                if id[:TIME_BYTES] != time:
                    break
                if id not in fresh and is_of_flow(id, submit_of_done(value), flow):
                    yield id, value
            else:
                if len(batch) == _BATCH:
                    start, skip = batch[-1][0], 1
                    continue
            break
        for id in self._entered(flow):
            done = None if id in fresh else self._log.get(DONE, id)
            if done is not None:
                yield id, done

    def _entered(self, flow: bytes) -> Iterator[bytes]:
        """Ids of the entries of a flow."""
        start, skip = flow + bytes(ID_BYTES), 0
        while True:
            batch = self._log.scan(FLOW, start, limit=_BATCH)
            for key, _ in batch[skip:]:
                if key[:ID_BYTES] != flow:
                    return
                yield key[ID_BYTES:]
            if len(batch) < _BATCH:
                return
            start, skip = batch[-1][0], 1

    def beside(self, flow: bytes) -> set[bytes]:
        """Ids of open and kept calls that may belong to the flow: of its time, or entered."""
        time, router = flow[:TIME_BYTES], self._router
        known = (router.calls, router.replica.by_id, router.copies)
        found = {id for table in known for id in table if id[:TIME_BYTES] == time}
        entered = (id for id in self._entered(flow) if any(id in table for table in known))
        return found.union(entered)

    def open_among(self, flows: Iterable[bytes], times: set[bytes]) -> set[bytes]:
        """Those of these flows of which a call may be open here: one that was made at their time,
        one of `times`, or one that a task made.
        """
        found = {flow for flow in flows if flow[:TIME_BYTES] in times}
        entered = self._having_entries(sorted(set(flows) - found))
        return found.union(flow for flow in entered if any(map(self._is_open, self._entered(flow))))

    def open_times(self) -> set[bytes]:
        """The times in the ids of all open calls, the first OPEN_LOOKED_MAX of them."""
        router = self._router
        kept = (id for id, inst in router.replica.by_id.items() if inst.role != ENDED)
        every = chain(router.calls, kept, router.copies)
        return {id[:TIME_BYTES] for id in islice(every, OPEN_LOOKED_MAX)}

    def _having_entries(self, flows: list[bytes]) -> Iterator[bytes]:
        """Those of some flows, in order, that have entries: one look finds the next that has."""
        at = b""
        for flow in flows:
            if flow >= at:
                rows = self._log.scan(FLOW, flow + bytes(ID_BYTES), limit=1)
                if not rows:
                    return
                at = rows[0][0][:ID_BYTES]
            if flow == at:
                yield flow

    def _is_open(self, id: bytes) -> bool:
        return id in self._router.calls or is_kept(self._router, id)

    def sweep(self) -> list[Op]:
        """Deletions of entries that lead to nothing, among the next few."""
        batch = self._log.scan(FLOW, self._swept or None, limit=_BATCH)
        self._swept = batch[-1][0] + b"\0" if len(batch) == _BATCH else b""
        return [
            (FLOW, key, None)
            for key, _ in batch
            if not self._is_open(key[ID_BYTES:]) and self._log.get(DONE, key[ID_BYTES:]) is None
        ]
