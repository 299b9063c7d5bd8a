"""Generators that stream: each item leaves at once, and only as many as the node lets come.

The node counts what is in flight and gives credit (STREAM).  A generator that has used up its
credit is put aside, and the main thread runs other calls until more comes; so the calls that its
items cause can run in the very worker that makes them.  One that has credit takes turns with what
is staged.  The worker keeps nothing of an item that was sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from meshcode.errors import BadValue, MeshError, TooLarge
from meshcode.limits import (
    STREAM_ITEM_BYTES_MAX,
    STREAM_SLICE_MS,
    STREAM_UNIT_BYTES,
    STREAM_WINDOW,
)
from meshcode.wire.codec import pack, unpack_map
from meshcode.worker import report
from meshcode.worker.context import CallInterrupted, Staged, generators, main_call
from meshcode.worker.control import ASYNC_ROWS, STREAM_ROWS

if TYPE_CHECKING:
    from meshcode.worker.loop import Worker

_SLICE_NS = STREAM_SLICE_MS * 1_000_000


class Stream:
    """What one attempt has yielded, and how much more it may."""

    __slots__ = ("attempt", "call", "count", "credit", "dropped", "row", "used")

    def __init__(self, call: Staged) -> None:
        """Nothing yet; the credit of the beginning needs no telling."""
        self.call = call
        self.row, _, self.attempt = call
        self.count = 0
        self.used = 0  # Units of the window, as the node counts them.
        self.credit = STREAM_WINDOW
        self.dropped = False  # Nobody wants it any more.

    def take_credit(self, units: int) -> None:
        """It may have sent so many in all; with 0 it is dropped."""
        self.credit = max(self.credit, units)
        self.dropped = self.dropped or not units

    def item(self, value: Any) -> bytes:
        """The ITEM draft of the next value.

        Raises:
            MeshError: it cannot travel; the items before it were sent.
        """
        value, meta = report.routed(value)
        body = pack(value, f"item {self.count}")
        size = len(body)
        if size > STREAM_ITEM_BYTES_MAX:
            raise TooLarge(
                f"item {self.count} has {size} bytes, the limit of an item of a stream is "
                f"{STREAM_ITEM_BYTES_MAX}; the items before it were sent; yield less at once, or "
                "references to large data",
                found=size,
                limit=STREAM_ITEM_BYTES_MAX,
            )
        number = self.count
        self.count += 1
        self.used += 1 + size // STREAM_UNIT_BYTES
        return report.item(self.row, self.attempt, number, body, code=1, meta=meta)

    def outcome(self, run_us: int) -> bytes:
        """The OUTCOME draft: how many items there are."""
        meta = pack({**unpack_map(report.who[0] or b"\x80"), "items": self.count})
        body = pack({"items": self.count, "stream": self.row.id})
        return report.outcome(self.row, self.attempt, report.DONE, body, run_us, meta=meta)


class _Running(Stream):
    """A generator of the main thread."""

    __slots__ = ("began_ns", "cancelled", "generator", "key", "page_row")

    def __init__(self, call: Staged, generator: Any, began_ns: int) -> None:
        super().__init__(call)
        self.generator = generator
        self.began_ns = began_ns
        self.cancelled = 0  # Why it shall end, while it is put aside.
        self.page_row = -1  # Of the control page, once it was put aside.
        self.key = self.row.id, self.attempt


class Streams:
    """The generators of the main thread that stream."""

    def __init__(self, worker: Worker) -> None:
        """None."""
        self.worker = worker
        self.by_id: dict[bytes, _Running] = {}
        self.free = list(range(ASYNC_ROWS, ASYNC_ROWS + STREAM_ROWS))  # Rows of the control page.

    def begin(self, call: Staged, generator: Any, began_ns: int) -> bytes | None:
        """Run a new generator; None when it was put aside."""
        old = self.by_id.pop(call[0].id, None)
        if old is not None:  # The node gave that attempt up.
            self._drop(old)
        stream = _Running(call, generator, began_ns)
        self.by_id[stream.row.id] = stream
        generators.add(stream.key)
        try:
            outcome = self._advance(stream)
        except BaseException:
            self.by_id.pop(stream.row.id, None)
            generators.discard(stream.key)
            raise
        if outcome is not None:
            del self.by_id[stream.row.id]
            generators.discard(stream.key)
        elif self.free:
            stream.page_row = self.free.pop()
            page = self.worker.page
            page.begin_async(stream.page_row, stream.row.id, stream.attempt, began_ns)
        return outcome

    def next(self) -> _Running | None:
        """The generator whose turn it is; None when all wait for credit."""
        for stream in self.by_id.values():
            if stream.used < stream.credit or stream.cancelled or stream.dropped:
                return stream
        return None

    def run(self, stream: _Running) -> None:
        """Go on with a generator that was put aside, for a while."""
        worker, call_id = self.worker, stream.row.id
        if stream.dropped:
            self._drop(self.by_id.pop(call_id))
            return
        self.by_id[call_id] = self.by_id.pop(call_id)  # The others come first next time.
        try:
            outcome = self._advance(stream)
        except BaseException as error:
            main_call[0] = None
            outcome = worker.ended_badly(stream.call, error, stream.began_ns)
        worker.leave_fork()
        if outcome is None:
            return
        del self.by_id[call_id]
        generators.discard(stream.key)
        if worker.outbox.capture.written or worker.outbox.capture.printed:
            worker.outbox.end_output(call_id, stream.attempt)
        worker.outbox.drafts.append(outcome)
        self._free_row(stream)

    def cancel(self, call_id: bytes, reason: int) -> bool:
        """End a generator that is put aside; False when it is not here.  By the signal handler."""
        stream = self.by_id.get(call_id)
        if stream is None:
            return False
        stream.cancelled = reason
        self.worker.wake_main()
        return True

    def credit(self, call_id: bytes, attempt: int, units: int) -> bool:
        """A generator may have sent so many units in all; False when it is not here."""
        stream = self.by_id.get(call_id)
        if stream is None or stream.attempt != attempt:
            return False
        stream.take_credit(units)
        return True

    def _drop(self, stream: _Running) -> None:
        """End a generator without a word to the node."""
        main_call[0] = stream.call
        with contextlib.suppress(BaseException):  # Of its own clean-up: there is nobody to tell.
            stream.generator.close()
        main_call[0] = None
        generators.discard(stream.key)
        self._free_row(stream)

    def _free_row(self, stream: _Running) -> None:
        if stream.page_row >= 0:
            self.worker.page.finish_async(stream.page_row)
            self.free.append(stream.page_row)

    def _advance(self, stream: _Running) -> bytes | None:
        """Take items until there are no more, or it is another's turn: then None."""
        worker, generator = self.worker, stream.generator
        drafts, patience = worker.outbox.drafts, worker.outbox.flush_ns
        now = monotonic_ns()
        deadline, turn_ends = now + patience, now + _SLICE_NS
        done = False
        try:
            for value in self._values(stream):
                worker.leave_fork()
                try:
                    drafts.append(stream.item(value))
                except MeshError as error:
                    raise report.OwnError(error) from None
                if monotonic_ns() >= deadline:
                    now = worker.turn()
                    deadline = now + patience
                    if now >= turn_ends and (worker.staged or len(self.by_id) > 1):
                        done = True
                        return None
            done = True
        finally:
            main_call[0] = None
            if not done:
                generator.close()
        if generator.gi_frame is not None:
            return None  # It has used up its credit.
        return stream.outcome((monotonic_ns() - stream.began_ns) // 1000)

    def _values(self, stream: _Running) -> Iterator[Any]:
        worker, generator, call = self.worker, stream.generator, stream.call
        while (stream.used < stream.credit or stream.cancelled) and not stream.dropped:
            try:
                main_call[0] = call
                if stream.cancelled:
                    generator.throw(CallInterrupted(stream.cancelled))
                    raise CallInterrupted(stream.cancelled)  # It has caught that, and goes on.
                if worker.cancels:  # One that came while an item was written.
                    worker.check_cancelled(call)
                value = next(generator)
            except StopIteration:
                return
            finally:
                main_call[0] = None
            yield value


def wanted(row: Any, frame: bytes, sockets: frozenset[bytes]) -> bool:
    """Whether a call streams: its socket has plugs, or whoever called it asked for it."""
    if frame[row.name_at : row.meta_at] in sockets:
        return True
    if row.meta_at == row.body_at:
        return False
    try:
        return unpack_map(frame[row.meta_at : row.body_at]).get("stream") is True
    except BadValue:
        return False
