"""Captured output: what the code of a call prints, sent beside its outcome.

`sys.stdout` and `sys.stderr` are replaced by streams that note which call is writing.  What is
written outside any call (while the module is imported, by threads that outlive their call) goes to
the worker's own descriptors, as does everything written to descriptors 1 and 2 directly, by
subprocesses or C code: those belong to the worker's log.

A call's output is streamed as it comes, up to nearly half of `OUTPUT_BYTES_MAX`.  After that only
as much of the newest is kept, and sent once a second and at the end, so a call that prints without
end costs a bounded amount of memory and link.  What was left out is told in between, and head, mark
and tail are no more than the node keeps.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from time import monotonic_ns

from meshcode.limits import OUTPUT_BYTES_MAX
from meshcode.wire.frame import draft
from meshcode.wire.kinds import Kind
from meshcode.worker.context import Staged, running_call

STDOUT, STDERR = 1, 2  # The codes of OUTPUT envelopes, and the descriptors.
TAIL_EVERY_NS = 1_000_000_000
CHUNK_BYTES_MAX = 128 * 1024  # Body of one OUTPUT envelope.
LINE_BYTES_MAX = 4096  # The tail begins with a whole line, if one begins within so many bytes.
MARK_BYTES_MAX = 64  # Of the line that tells what was left out.
IDLE_MAX = 1024  # Streams remembered although nothing of them waits.
_KIND_OUTPUT = int(Kind.OUTPUT)


class _Printed:
    """What one call printed to one stream and is not sent yet."""

    __slots__ = ("dropped", "due_ns", "parts", "sent", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.sent = 0
        self.dropped = 0
        self.due_ns = 0

    def add(self, data: bytes, gap: int, tail_max: int) -> None:
        """`gap` bytes before `data` were left out already; head and tail are on its two sides."""
        self.parts.append(data)
        self.size += len(data)
        self.dropped += gap
        # At twice the tail, so that a flood of short lines is not joined again for each of them.
        if self.size > 2 * tail_max and self.sent >= tail_max:
            self._cut(tail_max)

    def _cut(self, tail_max: int) -> None:
        whole = b"".join(self.parts)
        at = len(whole) - tail_max
        at = max(at, whole.find(b"\n", at, at + LINE_BYTES_MAX) + 1)
        self.dropped += at
        self.parts = [whole[at:]]
        self.size = len(whole) - at

    def take(self, tail_max: int) -> bytes:
        data = b"".join(self.parts)
        room = tail_max - self.sent
        if 0 < room < len(data):  # The head goes out now; the tail of the rest stays.
            self.sent = tail_max
            self.parts, self.size = [data[room:]], len(data) - room
            if self.size > tail_max:
                self._cut(tail_max)
            return data[:room]
        if self.size > tail_max:
            self._cut(tail_max)
            data = self.parts[0]
        if self.dropped:
            data = b"\n[%d bytes of output left out here]\n" % self.dropped + data
        self.sent += self.size
        self.parts, self.size, self.dropped = [], 0, 0
        return data


class Capture:
    """All streams of one worker.  `collect` and `end` are called under the outbox's lock."""

    def __init__(self, wake: Callable[[], None], bytes_max: int = OUTPUT_BYTES_MAX) -> None:
        """`wake` makes the flusher look soon; it is called from any thread, often."""
        self.wake = wake
        self.tail_max = max((bytes_max - MARK_BYTES_MAX) // 2, 1)
        # Appended to by any thread: data, and how much before it was left out.
        self.written: list[tuple[Staged, int, bytes, int]] = []
        self.printed: dict[tuple[bytes, int, int], _Printed] = {}  # By id, attempt, stream.

    def write(self, call: Staged, stream: int, data: bytes) -> None:
        """Take what a call printed."""
        gap = len(data) - 2 * self.tail_max
        if gap > 0:  # More at once than is kept: all that may become the head, and the tail.
            self.written.append((call, stream, data[: self.tail_max], 0))
            data = data[-self.tail_max :]
        self.written.append((call, stream, data, max(gap, 0)))
        self.wake()

    def collect(self, drafts: list[bytes]) -> None:
        """Move what is due into OUTPUT drafts."""
        count = len(self.written)
        batch = self.written[:count]
        del self.written[:count]
        for (row, _frame, attempt), stream, data, gap in batch:
            key = (row[4], attempt, stream)
            printed = self.printed.get(key)
            if printed is None:
                printed = self.printed[key] = _Printed()
            printed.add(data, gap, self.tail_max)
        if len(self.printed) > IDLE_MAX:  # Left by code that prints after its call has ended.
            for key in [key for key, printed in self.printed.items() if not printed.size]:
                del self.printed[key]
        now = 0
        for key, printed in self.printed.items():
            if not printed.size:
                continue
            if printed.sent >= self.tail_max:
                now = now or monotonic_ns()
                first = not printed.due_ns
                if not first and now < printed.due_ns:
                    continue
                printed.due_ns = now + TAIL_EVERY_NS
                if first:  # The head has just gone out.
                    continue
            self._send(key, printed, drafts)

    def end(self, call_id: bytes, attempt: int, drafts: list[bytes]) -> None:
        """The call ends: send all that is left of its output."""
        self.collect(drafts)
        for stream in (STDOUT, STDERR):
            printed = self.printed.pop((call_id, attempt, stream), None)
            while printed is not None and printed.size:
                self._send((call_id, attempt, stream), printed, drafts)

    def _send(self, key: tuple[bytes, int, int], printed: _Printed, drafts: list[bytes]) -> None:
        call_id, attempt, stream = key
        data = printed.take(self.tail_max)
        for at in range(0, len(data), CHUNK_BYTES_MAX):
            body = data[at : at + CHUNK_BYTES_MAX]
            drafts.append(draft(_KIND_OUTPUT, id=call_id, code=stream, attempt=attempt, body=body))

    @property
    def held(self) -> bool:
        """Output is waiting for its second to pass."""
        return any(printed.size for printed in self.printed.values())


class _Bytes(io.RawIOBase):
    """The `.buffer` of a captured stream."""

    def __init__(self, capture: Capture, stream: int) -> None:
        self.capture = capture
        self.stream = stream

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.stream

    def write(self, data) -> int:
        data = bytes(data)
        call = running_call()
        if call is not None:
            self.capture.write(call, self.stream, data)
        else:
            self._log(data)
        return len(data)

    def _log(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self.stream, data) :]
        except OSError:  # Nobody reads the worker's log any more; the calls go on.
            pass


class CallStream(io.TextIOBase):
    """What `sys.stdout` or `sys.stderr` is in a worker."""

    def __init__(self, capture: Capture, stream: int) -> None:
        self.buffer = _Bytes(capture, stream)
        self.stream = stream
        self.mode = "w"
        self.name = "<stdout>" if stream == STDOUT else "<stderr>"

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    line_buffering = True
    write_through = True

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The worker's own descriptor: what is written there lands in the worker's log."""
        return self.stream

    def isatty(self) -> bool:
        """Never."""
        return False

    def reconfigure(self, **_options) -> None:
        """Accepted and ignored: the stream is UTF-8 and never holds text back."""

    def write(self, text: str) -> int:
        """Take text printed by the running call."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self.buffer.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def close(self) -> None:
        """Kept open: the next call prints here too."""

    def detach(self) -> _Bytes:
        """The bytes stream below, as code that re-wraps `sys.stdout` wants it."""
        return self.buffer
