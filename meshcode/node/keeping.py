"""Housekeeping of a node: captured output, how full disk and memory are, the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode.ids import text_of
from meshcode.node import tails
from meshcode.node.memory import Memory, own_bytes
from meshcode.node.retention import Retention
from meshcode.node.sessions import Session
from meshcode.node.subjects import Wanted
from meshcode.router.effects import Effects, Op
from meshcode.router.events import DiskChanged, Event, Finished, RoomChanged
from meshcode.router.room import kept
from meshcode.store.contract import DONE, META, OUTPUT
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.node.crew import WorkerProcess
    from meshcode.node.loop import Loop

_DONE = int(Outcome.DONE)
LOOK_BYTES = 1 << 20  # From clients, between two looks at the disk; a look takes 50 us.
UNWRITTEN_MIN = 2 << 20  # Of clients, however little room there is: the ballast is larger.
UNWRITTEN_RATIO = 16  # Of the room there is, one in so many may be taken and not yet written.


class Keeping:
    """What a node does beside its calls."""

    def __init__(self, loop: Loop) -> None:
        """For one loop."""
        self._loop = loop
        self.retention = Retention(loop)
        self.memory = Memory()
        router = loop.router
        router.bodies_bytes_max = min(router.bodies_bytes_max, self.memory.most // 4)
        self._said: dict[tuple[int, bytes, int, str], int] = {}  # Bytes already published.
        self._came = 0  # Bytes of clients since the last look at the disk.
        self._unwritten = [0, 0]  # The same: of turns, and of the batch under way.
        self._room = 1 << 62  # Of the disk, when it was last looked at.
        self.ran = [0, 0]  # Attempts that ended here, well and not, since the node was started.

    def before(self, event: Event) -> None:
        """Write the captured output of calls whose outcomes are about to be recorded."""
        if isinstance(event, Finished):
            good = [report[2] for report in event.reports].count(_DONE)
            self.ran = [self.ran[0] + good, self.ran[1] + len(event.reports) - good]
            if self._loop.commits.full_ms:
                sizes = [len(report[6]) for report in event.reports]
                self._loop.commits.came(len(sizes), sum(sizes))
            worker = self._loop.crew.by_id.get(event.worker)
            if worker is not None and worker.output:
                self.publish_output()
                self.save_output(worker, {report[0] for report in event.reports})

    def save_output(self, worker: WorkerProcess, ids: set[bytes] | None) -> None:
        """Record what a worker's calls printed; `ids` None = of all it still holds."""
        records: list[Op] = []
        for (id, attempt), streams in list(worker.output.items()):
            if ids is None or id in ids:
                told = {
                    name: tails.mark(worker.left_out.pop((id, attempt, name), 0)) + data
                    for name, data in streams.items()
                }
                records.append((OUTPUT, id + attempt.to_bytes(4, "big"), pack(told)))
                del worker.output[(id, attempt)]
                for name in streams:
                    self._said.pop((worker.id, id, attempt, name), None)
                    worker.printed.pop((id, attempt, name), None)
                self._loop.feed.output_ended(id, self._socket_of(id), worker.id, attempt)
        if records:
            self._loop.turns.add(Effects(records=records))

    def publish_output(self) -> None:
        """Send new captured output to whoever listens to the log channel."""
        listeners, feed = self._loop.listeners, self._loop.feed
        if not (listeners.wants("log") or feed.wants("log")):
            return
        now_ms = self._loop.clock.now_ms()
        for worker in self._loop.crew.by_id.values():
            for (id, attempt), streams in worker.output.items():
                socket = self._socket_of(id)
                for name, data in streams.items():
                    key = (worker.id, id, attempt, name)
                    printed = worker.printed[id, attempt, name]  # Of which `data` is the tail.
                    new = data[-min(printed - self._said.get(key, 0), len(data)) :]
                    if printed > self._said.get(key, 0):
                        self._said[key] = printed
                        text = new.decode(errors="replace")
                        event = {"stream": name, "text": text, "ms": now_ms, "attempt": attempt}
                        listeners.publish("log", id, socket, event)
                        feed.output(id, socket, worker.id, attempt, name, new)

    def _socket_of(self, id: bytes) -> str:
        """The socket of a call that runs here, also for a peer."""
        router = self._loop.router
        call = router.calls.get(id) or router.guests.get(id)
        return call.line.name if call else ""

    def send_tail(
        self, session: Session, request: bytes, wanted: Wanted, count: int
    ) -> None:
        """Send the newest kept output that it may hear to one new listener, oldest first."""
        loop = self._loop
        found = []
        for key, value in loop.log.scan(OUTPUT, None, reverse=True, limit=1_000):
            id = key[:16]
            call = loop.router.calls.get(id)
            if call is not None:
                socket, ms = call.line.name, call.accepted_ms
            else:
                done = loop.log.get(DONE, id)
                if done is None:
                    continue
                row = loop.history.done_row(id, done)
                socket, ms = row["socket"], row["finished_ms"]
            # The channel is not looked at: whoever asks for a tail gets what was printed.
            if not wanted._replace(channel="log").has("log", socket, id):
                continue
            if not loop.guard.may_hear(session, socket):
                continue
            for name, data in unpack(value).items():
                found.append({
                    "channel": "log", "call": text_of(id), "socket": socket, "stream": name,
                    "text": data.decode(errors="replace"), "ms": ms,
                    "attempt": int.from_bytes(key[16:], "big"),
                })  # fmt: skip
            if len(found) >= count:
                break
        events = [envelope(Kind.EVENT, id=request, body=pack(event)) for event in found[:count]]
        if events:
            loop.sessions.send(session, events[::-1])

    def tick(self, now_ms: int) -> None:
        """Once a second."""
        loop = self._loop
        self._look_at_disk()
        self._give_back(now_ms)
        calls_max = self.memory.calls_max(kept(loop.router), own_bytes())
        if calls_max != loop.router.calls_max:
            loop.step(RoomChanged(calls_max))
        self.retention.tick(now_ms)

    def _look_at_disk(self) -> None:
        """Let the core know when the disk is nearly full; what waits for room is that it is."""
        loop = self._loop
        usage = loop.log.usage()
        self._came, self._room = 0, usage.disk_free + usage.reusable
        level = loop.commits.full_level or usage.level
        if level or loop.router.disk_level:  # Who is refused is told how much there is now.
            loop.step(DiskChanged(level, *usage.for_calls))

    def _give_back(self, now_ms: int) -> None:
        """On a disk that is nearly full, give back what ended calls have let go of.

        No call comes that would make the log do it by itself.  What waits for room is tried again
        anyway, and takes all with it.
        """
        loop = self._loop
        if loop.router.disk_level and not loop.commits.full_ms and loop.log.holds_back:
            loop.log.give_back()
            loop.turns.add(Effects(records=[(META, b"now", now_ms.to_bytes(8, "big"))]))

    def came(self, size: int) -> None:
        """So many bytes of clients are about to be taken; a second is long for a small disk."""
        self._came += size
        self._unwritten[0] += size
        if self._came >= LOOK_BYTES:
            self._look_at_disk()

    def handed_over(self) -> None:
        """What was taken is a batch."""
        self._unwritten = [0, sum(self._unwritten)]

    def written(self) -> None:
        """The batch is on disk."""
        self._unwritten[1] = 0

    @property
    def may_take_more(self) -> bool:
        """Whether what others write meanwhile can be no reason that a batch waits for long.

        A batch that is small beside the room there is finds it, or what the ballast gives.
        """
        if not (self._loop.turns.is_open or self._loop.turns.unsynced):
            self._unwritten = [0, 0]  # What was refused is no batch.
        return sum(self._unwritten) <= max(UNWRITTEN_MIN, self._room // UNWRITTEN_RATIO)

    def disk_full(self) -> None:
        """A commit found no room: the core is told how full the disk is."""
        level = self._loop.commits.full_level
        if self._loop.router.disk_level < level:
            self._loop.step(DiskChanged(level, *self._loop.log.usage().for_calls))

    def disk_full_no_more(self) -> None:
        """All that waited for room is written: what waited for that goes on."""
        self._look_at_disk()
