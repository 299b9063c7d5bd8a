"""How long the history of calls is kept: by age, by number and by bytes; the oldest go first.

The calls of a flow go together: none while another one of its flow is open on this node, or too
young.  What is forgotten moves the horizon: an id made before it cannot be told from one that ran
(`router/accept.py`), so nothing that ended within RETENTION_MS_MIN is forgotten, whatever the
settings say.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshcode import config, limits
from meshcode.ids import ID_BYTES, unix_ms_of
from meshcode.node.excess import Excess
from meshcode.node.later import Job
from meshcode.node.outputs import Outputs
from meshcode.router.effects import Effects, Op
from meshcode.router.events import Forgotten
from meshcode.router.records import ended_well, finished_of
from meshcode.store.blobs import has_large
from meshcode.store.contract import DONE, FAILED, META, OUTPUT
from meshcode.units import parse_count, parse_duration, parse_size

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

_OUTPUTS_MAX = 20  # Records of captured output of one call, deleted with it.


class Retention:
    """What one node keeps of calls that have ended."""

    def __init__(self, loop: Loop) -> None:
        """Read the settings.

        Raises:
            CallerError: one of them cannot be.
        """
        self._loop = loop
        self.age_ms = parse_duration(config.value("retention_age"))  # 0: without end.
        self.calls_max = parse_count(config.value("retention_calls"))  # 0: any number.
        self.bytes_max = parse_size(config.value("retention_bytes"))  # 0: any number.
        self._own = (self.age_ms, self.calls_max, self.bytes_max)
        self.young_ms = limits.RETENTION_MS_MIN
        self._next_ms = 0
        self._is_looking = False
        self._cursor: bytes | None = None  # Where the next look begins; None: at the oldest.
        self._last: bytes | None = None  # The newest id forgotten by the last look.
        self._times: set[bytes] = set()  # At which calls were made that are open.
        self._times_ms = 0  # Until when that is good enough.
        self._excess = Excess(loop.log)
        self._outputs = Outputs(loop)

    def apply(self, settings: Mapping[str, Any]) -> None:
        """Take over the settings of the mesh; what they do not say this machine's own do."""
        said = [settings["retention_" + name] for name in ("age_ms", "calls", "bytes")]
        self.age_ms, self.calls_max, self.bytes_max = (
            own if given is None else given for own, given in zip(self._own, said, strict=True)
        )
        self._next_ms = 0
        self._excess.count_anew()

    def tick(self, now_ms: int) -> None:
        """Once a second: begin to forget, if the time for a look has come."""
        if now_ms >= self._next_ms and not self._is_looking:
            self._next_ms = now_ms + limits.RETENTION_LOOK_MS
            self._is_looking = True
            self._loop.later.begin(self._forget())

    def _forget(self) -> Job:
        """Look as long as there is more, a little at a time: the node has calls to run."""
        try:
            while True:
                begin = time.monotonic()
                if not self.look(self._loop.clock.now_ms()):
                    return
                took_ms = (time.monotonic() - begin) * 1000
                yield max(limits.RETENTION_PAUSE_MS, round((self._share() - 1) * took_ms))
        finally:
            self._is_looking = False

    def _share(self) -> int:
        """One part of how many of its time a node may forget in: of half as many, far behind."""
        is_far = self._excess.calls > self.calls_max // 10
        return limits.RETENTION_SHARE // 2 if is_far else limits.RETENTION_SHARE

    def facts(self) -> dict[str, Any]:
        """What is kept, since when, and the limits, for `status`."""
        log = self._loop.log
        oldest = log.scan(DONE, None, limit=1)
        return {
            "calls": log.count(DONE), "bytes": self._excess.size(),
            "since_ms": unix_ms_of(oldest[0][0]) if oldest else None,
            "horizon_ms": self._loop.router.horizon_ms or None, "age_ms": self.age_ms,
            "calls_max": self.calls_max, "bytes_max": self.bytes_max,
        }  # fmt: skip

    def look(self, now_ms: int) -> bool:
        """Forget what may be forgotten among the next calls; whether to look again at once."""
        log, flows = self._loop.log, self._loop.history.flows
        if self._last is not None and log.get(DONE, self._last) is not None:
            return True  # What was forgotten last is not on disk yet, so it would count again.
        self._last = None
        limit = limits.RETENTION_LOOK_CALLS
        batch = log.scan(DONE, self._cursor, limit=limit)
        self._excess.count(self.calls_max, self.bytes_max)
        due, is_last = self._due(batch, now_ms)
        is_over = is_last or len(batch) < limit
        self._cursor = None if is_over else batch[-1][0] + b"\0"
        records = self._deletions(due, now_ms)
        newest = max((key for _, key, _ in records), default=b"")
        if newest:
            wanted = {id for _, id, _ in records}
            gone = [row for row in batch if row[0] in wanted]
            records += self._deletions_of_output(wanted)
            records += [(FAILED, id, None) for id, value in gone if not ended_well(value)]
            self._excess.reduce([value for _, value in gone])
            if has_large([value for _, value in gone]):
                log.give_back()  # Else their files stay until the journal is full.
            self._last = newest
            before_ms = unix_ms_of(newest) + 1
            if before_ms > self._loop.router.horizon_ms:
                records.append((META, b"horizon", before_ms.to_bytes(8, "big")))
                self._loop.step(Forgotten(before_ms))
        if is_over:
            self._excess.count_anew()
        records += flows.sweep()
        records += self._loop.history.sockets.sweep(self._loop.router.horizon_ms)
        records += self._unknown_outputs(now_ms)
        if records:
            self._loop.turns.add(Effects(records=records))
        return not is_over or bool(newest)  # What it came to is known when it is on disk.

    def _deletions(self, due: dict[bytes, list[bytes]], now_ms: int) -> list[Op]:
        """What deletes the calls of those flows that nothing here needs any more."""
        if not due:
            return []
        needed = self._loop.router.needed.keys()  # Steps of other flows wait for these.
        flows = self._loop.history.flows
        if now_ms >= self._times_ms:  # A node that is behind has many thousand open calls.
            self._times, self._times_ms = flows.open_times(), now_ms + limits.RETENTION_TIMES_MS
        kept = flows.open_among(due, self._times)
        return [
            (DONE, id, None)
            for flow, ids in due.items() if flow not in kept and needed.isdisjoint(ids)
            for id in ids
        ]  # fmt: skip

    def _unknown_outputs(self, now_ms: int) -> list[Op]:
        """What deletes the output of calls that ran here for others, and that are due."""
        before_ms = self._loop.router.horizon_ms
        if self.age_ms:
            before_ms = max(before_ms, now_ms - self.age_ms)
        young_ms = now_ms - self.young_ms
        is_over = bool(self.bytes_max) and self._excess.size() > self.bytes_max
        return self._outputs.sweep(young_ms if is_over else min(before_ms, young_ms))

    def _due(
        self, batch: list[tuple[bytes, bytes]], now_ms: int
    ) -> tuple[dict[bytes, list[bytes]], bool]:
        """The calls whose time has come, by flow; and whether none after the batch can be."""
        over, over_bytes = self._excess.calls, self._excess.bytes
        room_of, old_ms = self._excess.room_of, now_ms - self.age_ms if self.age_ms else -1
        young_ms = now_ms - self.young_ms
        due: dict[bytes, list[bytes]] = {}
        kept: set[bytes] = set()  # Flows of which one stays.
        is_last = False
        for id, value in batch:
            finished_ms, flow = finished_of(value)
            flow = flow or id
            is_young = finished_ms > young_ms or unix_ms_of(id) > young_ms
            if is_young or not (finished_ms <= old_ms or over > 0 or over_bytes > 0):
                kept.add(flow)
                is_last = self._ends_at(id, now_ms, more=over > 0 or over_bytes > 0)
                if is_last:
                    break
            else:
                due.setdefault(flow, []).append(id)
                over -= 1
                if over_bytes > 0:
                    over_bytes -= room_of(value)
        return {flow: ids for flow, ids in due.items() if flow not in kept}, is_last

    def _ends_at(self, id: bytes, now_ms: int, *, more: bool) -> bool:
        """Whether nothing after this call, which stays, can be old enough to go."""
        made_ms = unix_ms_of(id)
        if made_ms + self.young_ms > now_ms:
            return True
        return not more and (not self.age_ms or made_ms + self.age_ms > now_ms)

    def _deletions_of_output(self, wanted: set[bytes]) -> list[Op]:
        """What deletes the captured output of calls; one look tells that most printed nothing."""
        log = self._loop.log
        rows = log.scan(OUTPUT, min(wanted) + bytes(4), limit=_OUTPUTS_MAX)
        found = [key for key, _ in rows if key[:ID_BYTES] in wanted]
        last = rows[-1][0][:ID_BYTES] if len(rows) == _OUTPUTS_MAX else max(wanted)
        for id in sorted(one for one in wanted if one >= last) if rows else ():
            more = log.scan(OUTPUT, id + bytes(4), limit=_OUTPUTS_MAX)
            found += [key for key, _ in more if key[:ID_BYTES] == id]
        return [(OUTPUT, key, None) for key in dict.fromkeys(found)]
