"""The worker's main thread: it takes staged calls, runs them in order, and reports them.

A no-op call costs a few microseconds here, so `run_staged` is written for that: names bound to
locals, one indexed frame for a whole batch of calls, control page stores without a lock, outcomes
as drafts that are sealed in one native call per flush.  Everything unusual (lazy results, failures,
cancels, output) is a call into a method below it.

Interrupts.  SIGUSR1 makes `handle_signal` run in the main thread, between two byte codes of
whatever runs.  It may raise only inside the window in which `main_call[0]` is set, which lies
wholly inside the `try` of `run_staged`, and at most once per attempt; so an interrupt never escapes
from the loop and never breaks the loop's own data.  A cancel for a call that is staged and not
begun waits in `cancels`, from where the flusher thread reports it even while another call runs for
an hour.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat
from time import monotonic_ns
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from meshcode.errors import BadFrame, BadValue, MeshError, TooLarge
from meshcode.limits import ASYNC_CALLS_MAX, BODY_BYTES_MAX, CANCEL_GRACE_MS
from meshcode.wire.codec import pack, unpack_call, unpack_map
from meshcode.wire.frame import check_envelope, draft, pick
from meshcode.wire.kinds import Flag, Kind
from meshcode.wire.mold import mold_of
from meshcode.worker import report, streaming
from meshcode.worker.context import (
    ID,
    STAGED,
    CallInterrupted,
    Staged,
    generators,
    main_call,
    named,
)
from meshcode.worker.control import REASON_RECALL, ControlPage
from meshcode.worker.outbox import Outbox
from meshcode.worker.report import DONE, KIND_OUTCOME, PLAIN, OwnError, is_of

_START, _SUBMIT, _STOP, _SETUP = map(int, (Kind.START, Kind.SUBMIT, Kind.STOP, Kind.SETUP))
_STREAM = int(Kind.STREAM)
KIND_RETURNED = int(Kind.RETURNED)
_KWARGS = int(Flag.KWARGS)
_LAZY = frozenset({GeneratorType, CoroutineType, AsyncGeneratorType})
_STALE_NS = CANCEL_GRACE_MS * 1_000_000  # A cancel nobody claimed for so long came too late.
_RESIDENT_EVERY_NS = 1_000_000_000
_LARGE_BYTES = 64 * 1024  # A result of this size is sent at once, so that few are in memory.


_CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x80, 0x200  # inspect.CO_*, without loading inspect.


def unwrap(function: Any) -> Any:
    """What decorators that use functools.wraps have wrapped."""
    for _ in range(64):
        function = getattr(function, "__wrapped__", getattr(function, "__func__", function))
    return function


class _Reported(BaseException):
    """The call was cancelled and reported by the flusher before it began."""


class Worker:
    """The calls of one worker process."""

    def __init__(
        self,
        page: ControlPage,
        outbox: Outbox,
        receive: Callable[[], Iterable[bytes]],
        load: Callable[[dict[str, str]], dict[str, Callable[..., Any]]],
        async_calls_max: int = ASYNC_CALLS_MAX,
    ) -> None:
        """Make a worker without any function yet; see `setup`.

        Args:
            receive: takes all frames that have arrived, without waiting; called with the outbox's
                lock held, by the main thread or the flusher.
            load: the functions of a socket -> task map; sockets without one are left out.
        """
        self.page = page
        self.outbox = outbox
        self.receive = receive
        self.load = load
        self.ready: Callable[[], bytes] = bytes  # Makes the READY draft; set by the runner.
        self.async_calls_max = async_calls_max
        self.targets: dict[bytes, Callable[..., Any]] = {}  # By socket; changed in place.
        self.absent: dict[bytes, str] = {}  # Sockets without a function: why.
        # Makes the OUTCOME of a call that returned; of `report.who`, which is known by now.
        self.returned = mold_of(KIND_OUTCOME, meta=report.who[0], code=DONE)
        self.staged: deque[Staged] = deque()  # Only the main thread takes from it.
        self.cancels: dict[bytes, tuple[int, int]] = {}  # Id -> reason, when; not begun yet.
        self.skip: set[tuple[bytes, int]] = set()  # Id, attempt: reported as cancelled.
        self.arrived = 0  # Calls that were ever staged.
        # The node wants the calls back that have not begun, once so many have arrived.
        self.recalled: int | None = None
        self.stopping = False
        self.interrupted: tuple[bytes, int] | None = None  # Id, attempt: once for each.
        self.forked: list[int] = []  # Not empty in a process that task code forked off.
        self.asynchronous: Any = None  # Made for the first coroutine; see asynchronous.py.
        self.streams = streaming.Streams(self)
        self.streaming: frozenset[bytes] = frozenset()  # Sockets whose generators stream.
        self.wake_main: Callable[[], None] = lambda: None  # Set by the runner.
        self.resident_at_ns = 0
        outbox.cancels_waiting = lambda: bool(self.cancels) or self.recalled is not None
        outbox.serve_cancels = self.serve_cancels
        os.register_at_fork(after_in_child=lambda: self.forked.append(os.getpid()))

    def setup(self, sockets: dict[str, str], streaming: Iterable[str] = ()) -> None:
        """Serve these sockets from now on; the caller tells the node which are there.

        Items of generators at the sockets `streaming` are calls of their own.
        """
        self.streaming = frozenset(name.encode() for name in streaming)
        found = {socket.encode(): function for socket, function in self.load(sockets).items()}
        self.targets.update(found)
        for name in self.targets.keys() - found.keys():
            del self.targets[name]

    @property
    def slots(self) -> int:
        """Calls it can run at once: more than one when a function is `async def`."""
        lazy = _CO_COROUTINE | _CO_ASYNC_GENERATOR
        for function in self.targets.values():
            code = getattr(unwrap(function), "__code__", None)
            if code is not None and code.co_flags & lazy:
                return self.async_calls_max
        return 1

    # What arrives.

    def take(self, frame: bytes) -> None:
        """Take one frame of the node: stage its calls, note its orders."""
        try:
            _head, rows, kinds, _flags = pick(frame, STAGED)
            at = 0
            while at < len(rows):
                kind, (start, _, body_at, end, *_) = kinds[at], rows[at]
                at += 1
                if kind == _START:
                    count = (end - body_at) // 4
                    calls = rows[at : at + count]
                    if len(calls) != count:
                        raise BadFrame(f"START tells {count} calls, {len(calls)} follow")
                    attempts = struct.unpack_from(f"<{count}I", frame, body_at)
                    self.staged.extend(zip(calls, repeat(frame), attempts, strict=False))
                    self.arrived += count
                    at += count
                elif kind == _STREAM:
                    self.take_credit(check_envelope(frame[start:end]))
                elif kind == _STOP:
                    self.stopping = True
                elif kind == _SETUP:
                    told = unpack_map(frame[body_at:end])
                    self.setup(told.get("sockets", {}), told.get("streams", ()))
                    self.outbox.drafts.append(self.ready())
                    self.outbox.wake()
        except (BadFrame, BadValue) as error:
            # The rest of the frame is dropped whole; the node sees those calls unreported.
            said = f"meshcode worker: dropped what the node sent: {error}\n"
            with contextlib.suppress(OSError):
                os.write(2, said.encode("utf-8", "backslashreplace"))

    def take_credit(self, row: Any) -> None:
        """A generator may go on."""
        here = self.streams.credit(row.id, row.attempt, row.number)
        if not here and self.asynchronous is not None:
            self.asynchronous.credit(row.id, row.attempt, row.number)

    def drain(self) -> None:
        """Take all frames that have arrived."""
        with self.outbox.lock:
            for frame in self.receive():
                self.take(frame)

    def turn(self) -> int:
        """Between two calls: report, take what arrived, show life.  Returns the time, ns."""
        now = monotonic_ns()
        outbox = self.outbox
        outbox.flushed_ns = now
        if outbox.dozing:
            outbox.wake()
        outbox.flush()
        self.drain()
        self.page.stamp(now)
        if now - self.resident_at_ns > _RESIDENT_EVERY_NS:
            self.resident_at_ns = now
            self.page.set_resident(resident_bytes())
        return monotonic_ns()

    # What is run.

    def run_staged(self) -> None:
        """Run all staged calls; returns when there is none left, or after STOP."""
        staged, popleft, target_of = self.staged, self.staged.popleft, self.targets.get
        append, begin, finish = self.outbox.drafts.append, self.page.begin, self.page.finish
        written, printed = self.outbox.capture.written, self.outbox.capture.printed
        cancels, skip, forked = self.cancels, self.skip, self.forked
        patience, returned = self.outbox.flush_ns, self.returned
        now = self.turn()
        deadline = now + patience
        while staged and not self.stopping:
            try:
                call = popleft()
            except IndexError:  # The flusher gave the last ones back just now.
                break
            row, frame, attempt = call
            _, flags, body_at, end, call_id, flow, name = row
            function = target_of(name)
            begin(call_id, attempt, now)
            try:
                if function is None:
                    raise OwnError(report.no_function(name, self.absent.get(name, "")))
                args, kwargs = unpack_call(frame[body_at:end], flags & _KWARGS)
                try:
                    main_call[0] = call
                    if cancels or skip:
                        self.check_cancelled(named(call))
                    value = function(*args, **kwargs)
                finally:
                    main_call[0] = None
                if type(value) not in PLAIN:
                    outcome = self.run_special(named(call), value, now)
                    after = monotonic_ns()
                else:
                    body = pack(value, "the result")
                    after = monotonic_ns()
                    outcome = returned(call_id, flow, body, attempt, (after - now) // 1000)
                    if len(body) > _LARGE_BYTES:
                        deadline = 0
            except BaseException as error:
                main_call[0] = None
                outcome = self.ended_badly(named(call), error, now)
                after = monotonic_ns()
            if forked:
                os._exit(0)  # The worker's other half reports this call.
            if outcome is not None:
                if written or printed:
                    self.outbox.end_output(call_id, attempt)
                append(outcome)
            finish()
            now = after
            if now >= deadline:
                now = self.turn()
                deadline = now + patience

    def check_cancelled(self, call: Staged) -> None:
        """Raise when the call was cancelled while it was staged."""
        row, _frame, attempt = call
        with self.outbox.lock:
            if (row.id, attempt) in self.skip:
                self.skip.discard((row.id, attempt))
                raise _Reported
            asked = self.cancels.pop(row.id, None)
        if asked is not None:
            raise CallInterrupted(asked[0])

    def run_special(self, call: Staged, value: Any, began_ns: int) -> bytes | None:
        """The outcome of a call whose result is not of a plain type; None when it comes later."""
        if type(value) in _LAZY:
            return self.run_lazy(call, value, began_ns)
        row, _frame, attempt = call
        return report.done(row, attempt, value, (monotonic_ns() - began_ns) // 1000)

    def run_lazy(self, call: Staged, value: Any, began_ns: int) -> bytes | None:
        """Finish what a generator or coroutine began; None when its outcome comes later."""
        if type(value) is GeneratorType:
            if self.streams_at(call):
                return self.streams.begin(call, value, began_ns)
            return self.run_generator(call, value, began_ns)
        if self.asynchronous is None:
            from meshcode.worker.asynchronous import AsyncCalls

            self.asynchronous = AsyncCalls(
                self.page, self.outbox, self.async_calls_max, self.streams_at, self.wake_main,
                self.leave_fork,
            )  # fmt: skip
        self.asynchronous.hand_over(call, value)
        if self.cancels:  # One that came when the call was neither here nor there.
            asked = self.cancels.pop(call[0].id, None)
            if asked is not None:
                self.asynchronous.cancel(call[0].id, asked[0])
        return None

    def run_generator(self, call: Staged, generator: Any, began_ns: int) -> bytes:
        """Send each yielded value as an ITEM; the outcome is the list of all."""
        row, _frame, attempt = call
        drafts, patience = self.outbox.drafts, self.outbox.flush_ns
        items = Items(row, attempt)
        deadline = began_ns + patience
        generators.add((row.id, attempt))
        try:
            while True:
                try:
                    main_call[0] = call
                    if self.cancels:  # One that came while an item was written.
                        self.check_cancelled(call)
                    value = next(generator)
                except StopIteration:
                    break
                finally:
                    main_call[0] = None
                self.leave_fork()
                drafts.append(items.add(value))
                if monotonic_ns() >= deadline:
                    deadline = self.turn() + patience
        finally:
            main_call[0] = None
            generator.close()
            generators.discard((row.id, attempt))
        return items.outcome((monotonic_ns() - began_ns) // 1000)

    def streams_at(self, call: Staged) -> bool:
        """Whether the items of a generator are calls of their own."""
        return streaming.wanted(call[0], call[1], self.streaming)

    @property
    def is_streaming(self) -> bool:
        """Whether a generator that has begun needs to hear more of the node."""
        return bool(self.streams.by_id or (self.asynchronous and self.asynchronous.streams))

    def leave_fork(self) -> None:
        """In a process that task code forked off: the worker's other half reports the call."""
        if self.forked:
            os._exit(0)

    def ended_badly(self, call: Staged, error: Any, began_ns: int) -> bytes | None:
        """The outcome of a call that raised; None when it was reported already."""
        if is_of(error, _Reported):
            return None
        row, frame, attempt = call
        run_us = (monotonic_ns() - began_ns) // 1000
        function = self.targets.get(frame[row.name_at : row.meta_at])
        return report.ended_badly(row, attempt, error, run_us, function, frame)

    # Cancels.

    def handle_signal(self, _number: int, _frame: Any) -> None:
        """SIGUSR1: take the cancels asked; interrupt the running call when it is one of them."""
        hit = 0
        call = main_call[0]
        for call_id, reason in self.page.take_cancels():
            if reason == REASON_RECALL:
                self.recalled = int.from_bytes(call_id, "little")
            elif call is not None and call[0][ID] == call_id:
                hit = reason
            elif not self.streams.cancel(call_id, reason) and (
                self.asynchronous is None or not self.asynchronous.cancel(call_id, reason)
            ):
                self.cancels[call_id] = (reason, monotonic_ns())
        if self.cancels or self.recalled is not None:
            self.outbox.wake()
        if call is not None and hit and self.interrupted != (call[0][ID], call[2]):
            self.interrupted = call[0][ID], call[2]
            raise CallInterrupted(hit)

    def serve_cancels(self) -> None:
        """By the flusher: report cancelled calls that are staged behind a running one."""
        with self.outbox.lock:
            for frame in self.receive():
                self.take(frame)
            for call in list(self.staged):
                if call[0][ID] not in self.cancels:
                    continue
                row, _frame, attempt = named(call)
                # First here, then there: the main thread must always see one of the two.
                self.skip.add((row.id, attempt))
                asked = self.cancels.pop(row.id, None)
                if asked is not None:
                    self.outbox.drafts.append(report.interrupted(row, attempt, asked[0], 0))
            # The calls of all others had ended before their cancel came; but it may also have been
            # faster than the call, so they are kept for a while.
            horizon = monotonic_ns() - _STALE_NS
            for call_id, (_reason, when) in list(self.cancels.items()):
                if when < horizon:
                    self.cancels.pop(call_id, None)
            if self.recalled is not None and self.arrived >= self.recalled:
                self.recalled = None
                self.give_back()

    def give_back(self) -> None:
        """By the flusher: calls staged behind one that runs long go back, for other workers.

        Also where there are none any more: until this answer the node hands it nothing, so that
        calls do not pass each other on the way.
        """
        returned: list[bytes] = []
        while True:
            try:
                row, _frame, attempt = self.staged.pop()
            except IndexError:
                break
            if (row[ID], attempt) in self.skip:
                self.skip.discard((row[ID], attempt))  # Reported as cancelled already.
            else:
                returned.append(row[ID])
        returned.reverse()
        self.outbox.drafts.append(draft(KIND_RETURNED, body=b"".join(returned)))

    def stop(self) -> None:
        """After STOP: let the async calls that run end, and report everything."""
        if self.asynchronous is not None:
            self.asynchronous.stop()
        self.outbox.close()


class Items:
    """The values a generator has yielded so far."""

    def __init__(self, row: Any, attempt: int) -> None:
        self.row = row
        self.attempt = attempt
        self.values: list[Any] = []
        self.size = 0

    def add(self, value: Any) -> bytes:
        """Keep one value; returns its ITEM draft."""
        number = len(self.values)
        try:
            body = pack(value, f"item {number}")
        except MeshError as error:
            raise OwnError(error) from None
        self.size += len(body)
        if self.size > BODY_BYTES_MAX:
            raise OwnError(
                TooLarge(
                    f"the items of the call have {self.size} bytes up to item {number}, the limit"
                    f" of a result is {BODY_BYTES_MAX}; the items before it were sent; yield less,"
                    " or references to large data",
                    found=self.size,
                    limit=BODY_BYTES_MAX,
                )
            )
        self.values.append(value)
        return report.item(self.row, self.attempt, number, body)

    def outcome(self, run_us: int) -> bytes:
        """The OUTCOME draft: the list of all items."""
        try:
            body = pack(self.values, "the result")
        except MeshError as error:
            raise OwnError(error) from None
        return report.outcome(self.row, self.attempt, DONE, body, run_us)


def resident_bytes() -> int:
    """Resident memory of this process, in bytes; 0 where /proc does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
