"""When the turns of a node go to disk.

At once, most of them.  A moment later, what others are about to join: outcomes of quick calls that
have just begun, or anything else where nobody waits for what there is (docs/decisions/0035).
Again, what found the disk full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshcode import limits
from meshcode.errors import LogSuspect, MeshError
from meshcode.node.committer import is_full
from meshcode.store.contract import META

if TYPE_CHECKING:
    from meshcode.node.loop import Loop
    from meshcode.router.effects import Op

QUICK_US: Final = 300  # What is at a worker ends so soon that the log waits for its outcomes.
FULL_RETRY_MS: Final = 500
_OP_BYTES: Final = 256  # Of an op beside its key and value, with what is told once it is on disk.
REST_MS: Final = 20  # A turn that nobody waits for is closed after this, if nothing else joins it.


class Commits:
    """Hands closed turns to the committer, and lets them out when they are on disk."""

    def __init__(self, loop: Loop) -> None:
        """Nothing is under way; `loop` has the turns and the committer."""
        self._loop = loop
        self._begun_ms = 0  # When the batch under way was handed over.
        self._held: list[Op] | None = None  # The batch under way, or one that found the disk full.
        self._again_ms = 0  # When that is tried again.
        self.full_ms = 0  # Since when what is held waits for room; 0: it does not.
        self._held_bytes = 0  # Of what waits for room.
        self._came_bytes = 0  # Of outcomes that came since then, or since it was tried again.
        self._awaits = False  # What to write waits a moment for outcomes to go with it.
        self._rest_until_ms = 0  # The open turn may stay open until then; 0 = it does not.

    @property
    def full_level(self) -> int:
        """0: nothing waits for room; else the level of the disk (`events.DiskChanged`)."""
        if not self.full_ms:
            return 0
        waits = self._held_bytes + self._came_bytes
        return limits.DISK_STUCK if waits > limits.DISK_WAITS_BYTES_MAX else 2

    def came(self, outcomes: int, size: int) -> None:
        """So many outcomes, of so many bytes, are about to wait for room, too."""
        self._came_bytes += outcomes * _OP_BYTES + size
        self._loop.keeping.disk_full()

    def next_due_ms(self, now_ms: int) -> int | None:
        """When `commit` has something to do by time."""
        loop = self._loop
        if loop.committer.busy or (self._held is None and not loop.turns.unsynced):
            return self._rest_until_ms or None
        if self._held is not None:
            return self._again_ms
        return now_ms + 1 if self._awaits else now_ms

    def commit(self, now_ms: int) -> None:
        """Close the open turn, if it does not rest, and write what is to be written now."""
        loop = self._loop
        if self.full_ms and now_ms < self._again_ms:
            return  # Turns would only become many.
        self._close(now_ms)
        if loop.committer.busy:
            return
        ops = self._held
        if ops is not None:
            more = loop.turns.more_sync()
            ops.extend(more)
            self._held_bytes += _bytes_of(more)
            self._came_bytes = 0
        elif self._awaits_outcomes():
            return
        else:
            while (ops := loop.turns.begin_sync()) is None:
                self._close(now_ms)  # What was let out may have read envelopes back: go on at once.
                if not loop.turns.unsynced:
                    return
            loop.history.flows.noted(ops, always=loop.mesh is not None)
            ops.append((META, b"now", now_ms.to_bytes(8, "big")))
            loop.keeping.handed_over()
        self._held = ops
        self._begun_ms = now_ms
        if loop.committer.start(ops):
            self._on_disk(loop.clock.now_ms())
            self._close(now_ms)

    def _close(self, now_ms: int) -> None:
        """Close the open turn; one that nobody waits for stays open for others to join it."""
        turns = self._loop.turns
        if turns.is_open and not turns.pressing:
            self._rest_until_ms = self._rest_until_ms or now_ms + REST_MS
            if now_ms < self._rest_until_ms:
                return
        self._rest_until_ms = 0
        turns.close()

    def _awaits_outcomes(self) -> bool:
        """Whether to look at the links once more, for a millisecond at most, before the next sync.

        The outcomes of quick calls that have just begun then go to disk with what made them: one
        sync for both, and no open record at all.
        """
        loop = self._loop
        self._awaits = (
            not self._awaits
            and loop.turns.has_begun
            and all(worker.work_us <= QUICK_US for worker in loop.router.workers.values())
        )
        return self._awaits

    def written(self, now_ms: int) -> None:
        """The committer says that a batch has ended.

        Raises:
            LogSuspect: the log could not be written; nothing unsynced was said to anyone.
        """
        committer = self._loop.committer
        error = committer.finish()
        if committer.busy:
            return
        if error is None:
            self._on_disk(now_ms)
            return
        if is_full(error):  # Nothing of it was kept or said; it is tried again until there is room.
            self._again_ms = now_ms + FULL_RETRY_MS
            self._wait_for_room(error, now_ms)
            return
        if isinstance(error, MeshError):
            raise error
        why = str(error) or type(error).__name__
        raise LogSuspect(f"the log could not be written: {why}; this node stops") from error

    def _wait_for_room(self, error: BaseException, now_ms: int) -> None:
        if not self.full_ms:
            self.full_ms = now_ms
            self._held_bytes, self._came_bytes = _bytes_of(self._held or []), 0
            self._loop.turns.wait_for_room()
            self._loop.say(
                f"disk full: {error}; until then it takes no calls and tells no outcomes, and tries"
                f" again every {FULL_RETRY_MS} ms"
            )
        self._loop.keeping.disk_full()

    def _on_disk(self, now_ms: int) -> None:
        mesh, took_ms = self._loop.mesh, now_ms - self._begun_ms
        self._held = None
        self._loop.keeping.written()
        full_ms, self.full_ms = self.full_ms, 0
        if full_ms:
            self._loop.turns.waits_for_room = False
            waited_s = (now_ms - full_ms) / 1000
            self._loop.say(f"disk full no more: all that waited {waited_s:,.0f} s is written")
        if mesh is not None and took_ms > limits.SWIM_COMMIT_MS:
            mesh.slow_disk(took_ms, now_ms)
        self._loop.turns.synced()
        if full_ms:
            self._loop.keeping.disk_full_no_more()

    def finish(self) -> None:
        """Wait for the batch under way; the node stops."""
        committer = self._loop.committer
        if committer.busy and committer.wait() is None:
            self._held = None
            self._loop.turns.synced()


def _bytes_of(ops: list[Op]) -> int:
    """What ops take in memory, about."""
    return sum(_OP_BYTES + len(key) + len(value or b"") for _, key, value in ops)
