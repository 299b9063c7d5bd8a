"""The way out of a worker: drafts of envelopes, sealed and sent in batches.

Any thread appends a draft to `drafts`; appending is atomic, so it costs the running call nothing.
`flush` takes the link's lock, seals all drafts into frames and sends them.  It is called by the
main thread between calls, by the loop of the async calls, and by the flusher thread, which sees to
it that a finished call is reported within FLUSH_MS also while the next one runs for an hour.

The flusher ticks only while there is something going on.  It dozes once the main thread has not
flushed for DOZE_NS and nothing waits; whoever makes something to send calls `wake`.  The main
thread stamps `flushed_ns` and then looks at `dozing`; the flusher sets `dozing` and then looks at
the stamp: so one of the two always sees the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic_ns

from meshcode.limits import FLUSH_MS, FRAME_ENVELOPES_MAX
from meshcode.wire.frame import cuts, seal_frame
from meshcode.worker.output import Capture

DOZE_NS = 50_000_000  # Twenty-five ticks: short enough to cost nothing, long enough to be rare.


class Outbox:
    """Drafts of one worker, and who sends them when."""

    def __init__(
        self,
        send: Callable[[bytes], None],
        *,
        flush_ms: float = FLUSH_MS,
        output_bytes_max: int | None = None,
    ) -> None:
        """`send` puts one frame on the link; it is only called with `lock` held."""
        self.send = send
        self.flush_ns = int(flush_ms * 1_000_000)
        self.drafts: list[bytes] = []
        self.lock = threading.Lock()  # Of the link and of everything `send` touches.
        self.sequence = 0
        self.flushed_ns = monotonic_ns()  # Written by the main thread only.
        self.dozing = False
        self.closed = False
        self.cancels_waiting: Callable[[], bool] = bool  # Set by the runner; see runner.py.
        self.serve_cancels: Callable[[], None] = lambda: None
        if output_bytes_max is None:
            self.capture = Capture(self.wake)
        else:
            self.capture = Capture(self.wake, output_bytes_max)
        self._doze = threading.Lock()  # Free when a dozing flusher shall tick.
        self._doze.acquire()
        self._ended = threading.Lock()  # Free when the flusher shall end.
        self._ended.acquire()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the flusher thread."""
        self._thread = threading.Thread(target=self._tick, name="meshcode-flusher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send what is left and end the flusher."""
        self.closed = True
        self._ended.release()
        self.wake(True)
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def wake(self, always: bool = False) -> None:
        """Make a dozing flusher tick.  Safe at any point, also in a signal handler."""
        if self.dozing or always:
            try:  # noqa: SIM105 - one call only, so that an interrupt cannot come in between
                self._doze.release()
            except RuntimeError:  # Someone else was first.
                pass

    def flush(self) -> None:
        """Seal and send all drafts and all output that is due."""
        drafts = self.drafts
        capture = self.capture
        if not (drafts or capture.written):
            return
        with self.lock:
            if capture.written:
                capture.collect(drafts)
            self._send_all()

    def end_output(self, call_id: bytes, attempt: int) -> None:
        """All that the call printed goes before what is appended from now on."""
        with self.lock:
            self.capture.end(call_id, attempt, self.drafts)

    def _send_all(self) -> None:
        drafts = self.drafts
        count = len(drafts)  # Others may append meanwhile; only to the end.
        batch = drafts[:count]
        del drafts[:count]
        for begin, end in cuts(batch, FRAME_ENVELOPES_MAX):
            self._send_frame(batch[begin:end])

    def _send_frame(self, batch: list[bytes]) -> None:
        self.sequence += 1
        self.send(seal_frame(batch, sequence=self.sequence))

    def _tick(self) -> None:
        capture = self.capture
        seconds = self.flush_ns / 1e9
        while not self._ended.acquire(timeout=seconds):
            if self.cancels_waiting():
                self.serve_cancels()
            self.flush()
            if capture.printed:
                with self.lock:
                    capture.collect(self.drafts)
                    self._send_all()
                    held = capture.held
                if held:
                    continue  # The rest is due within the second: stay awake.
            if self._quiet():
                self.dozing = True
                if self._quiet() and not self.closed:
                    self._doze.acquire()
                self.dozing = False

    def _quiet(self) -> bool:
        return (
            monotonic_ns() - self.flushed_ns > DOZE_NS
            and not self.drafts
            and not self.capture.written
            and not self.cancels_waiting()
        )
