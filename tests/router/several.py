"""Several routers with logs, workers and a network that loses and doubles: for tests of streams.

Nothing takes time but what a test lets pass; everything random comes from one seed.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import IntEnum
from random import Random
from typing import Any

from meshcode.ids import NO_ID, make_ids
from meshcode.replica.instance import ENDED
from meshcode.router import events, heard, streams
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of
from meshcode.router.records import outcome_of, split_done, split_open
from meshcode.wire.codec import pack, pack_call, unpack, unpack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

from .driver import NOW

_ITEMS = int(Kind.ITEMS)
SOURCE, SINK = "source", "sink"


def as_sent(entry: list[Any]) -> list[Any]:
    """Something for a peer as it reads it: the numbers of kinds are plain ones."""
    return [
        as_sent(one) if type(one) is list else int(one) if isinstance(one, IntEnum) else one
        for one in entry
    ]


class Generator:
    """A generator that runs: it yields 0, 1, 2 ... as far as it has credit."""

    def __init__(self, id: bytes, attempt: int, count: int) -> None:
        self.id = id
        self.attempt = attempt
        self.count = count
        self.next = 0
        self.credit = streams.limits.STREAM_WINDOW
        self.done = False


class Member:
    """One node: its router, its log, and the generators of its one worker."""

    def __init__(self, net: Several, index: int) -> None:
        self.net = net
        self.index = index
        self.id = bytes([index + 1]) * 16
        self.boot = 0
        self.log: dict[str, dict[bytes, bytes]] = {
            table: {} for table in ("open", "state", "done", "vote", "failed", "socket")
        }
        self.up = False
        self.router: Router
        self.running: dict[bytes, Generator] = {}
        self.inbox: deque[Any] = deque()
        self.held: list[tuple[bytes, int, bytes]] = []  # Calls of the sink not run yet.

    def start(self) -> None:
        """Begin a life with what the log has."""
        self.boot += 1
        self.up = True
        self.running.clear()
        self.held.clear()
        self.inbox.clear()
        self.router = Router(self.id, self.boot, Random(self.boot))
        self.post(events.ModelChanged(self.net.snapshot))
        for other in self.net.nodes:
            if other is not self and other.up:
                self.post(events.PeerChanged(other.id, "alive", other.boot))
        self.run()
        opens, states, votes = (sorted(self.log[t].items()) for t in ("open", "state", "vote"))
        self.take(self.router.recover(opens, states, self.net.now, votes))
        for number, processor in enumerate(self.net.workers[self.index], 1):
            self.post(events.WorkerJoined(number, processor, 1))

    def post(self, event: Any) -> None:
        """Something happens next."""
        self.inbox.append(event)

    def run(self) -> bool:
        """Let happen what has come; whether there was anything."""
        busy = bool(self.inbox)
        while self.up and self.inbox:
            event = self.inbox.popleft()
            if isinstance(event, events.Yielded):
                wanted = streams.unsure(self.router, event.items)
                event.ended = {id for id in wanted if id in self.log["done"]}
            self.take(self.router.step(event, self.net.now))
        if busy:
            self.router.check()
        return busy

    def take(self, effects: Effects) -> None:
        """What the shell does."""
        for table, key, value in effects.records:
            if value is None:
                self.log[table].pop(key, None)
            else:
                self.log[table][key] = value
        for node, kind, entry in (*effects.early, *effects.peer):
            self.net.say(self, node, kind, entry)
        for _, id, attempt, units in effects.credits:
            found = self.running.get(id)
            if found is not None and found.attempt == attempt and not units:
                del self.running[id]
            elif found is not None and found.attempt == attempt:
                found.credit = max(found.credit, units)
        for _, batch in effects.starts:
            for id, attempt, _, submit in batch:
                assert submit is not None
                self.begin(id, attempt, submit)
        for worker, id, _ in effects.interrupts:
            gone = self.running.pop(id, None)
            if gone is not None:
                self.report(worker, id, gone.attempt, Outcome.CANCELLED, {})
        if effects.reads:
            self.post(events.Read([self.read(*one) for one in effects.reads]))
        if effects.lookups:
            found = [(node, id, self.outcome(id)) for node, id in effects.lookups]
            self.post(events.LookedUp(found))
        assert not effects.fetches

    def is_quiet(self) -> bool:
        """Whether nothing is open here, and everything that ended is in the history."""
        kept = self.router.replica.by_key.values()
        return (
            not self.router.calls
            and not self.router.guests
            and not self.router.reports
            and not self.router.streams.tracked
            and not self.router.streams.sending
            and all(inst.role == ENDED and inst.filed for inst in kept)
        )

    def outcome(self, id: bytes) -> bytes:
        """The OUTCOME of an ended call, empty when there is none."""
        record = self.log["done"].get(id)
        return b"" if record is None else outcome_of(record)

    def read(self, sequence: int, id: bytes) -> tuple[int, int, bytes, bytes]:
        """What replication asks for."""
        record = self.log["open"].get(sequence.to_bytes(8, "big"))
        custody, submit = ({"accepted_ms": 0}, b"") if record is None else split_open(record)
        return (sequence, custody["accepted_ms"], submit, self.outcome(id))

    def begin(self, id: bytes, attempt: int, submit: bytes) -> None:
        """A worker begins a call."""
        name = submit[80 : 80 + submit[15]].decode()
        args, _ = unpack_call(body_of(submit), False)
        if name == SOURCE:
            self.running[id] = Generator(id, attempt, args[0])
        else:
            self.held.append((id, attempt, args[0]))

    def worker(self, processor: str) -> int:
        """The number of this node's worker of a processor."""
        return self.net.workers[self.index].index(processor) + 1

    def work(self, batch: int) -> bool:
        """The generators yield some, the sink takes some; whether anything happened."""
        busy = False
        for found in list(self.running.values()):
            room = min(batch, found.credit - found.next, found.count - found.next)
            items = [
                (found.id, found.attempt, n, pack(n), b"", 0)
                for n in range(found.next, found.next + room)
            ]
            if items:
                found.next += room
                self.post(events.Yielded(self.worker("sources"), items))
                busy = True
            if found.next == found.count and found.next < found.credit:
                del self.running[found.id]
                body = {"items": found.count}
                worker = self.worker("sources")
                self.report(worker, found.id, found.attempt, Outcome.DONE, body, pack(body))
                busy = True
        for _ in range(min(batch, len(self.held))):
            id, attempt, value = self.held.pop(0)
            self.net.used[value] += 1
            self.report(self.worker("sinks"), id, attempt, Outcome.DONE, value)
            busy = True
        return busy

    def report(
        self, worker: int, id: bytes, attempt: int, code: int, value: Any, meta: bytes = b""
    ) -> None:
        """A worker reports an outcome."""
        data = envelope(
            Kind.OUTCOME, id=id, code=code, attempt=attempt, body=pack(value), meta=meta
        )
        self.post(events.Finished(worker, [(id, attempt, int(code), False, 200, 0, data)]))


class Several:
    """All nodes, and the network between them."""

    def __init__(self, seed: int, *workers: tuple[str, ...], lost: float = 0.0) -> None:
        """One node for each tuple of the processors that it has a worker of."""
        self.rng = Random(seed)
        self.workers = workers
        self.lost = lost
        self.now = NOW
        self.used: Counter[int] = Counter()
        self.snapshot = {
            "number": 1,
            "sockets": {
                SOURCE: {"processor": "sources", "task": "t", "queue": "q"},
                SINK: {"processor": "sinks", "task": "t", "queue": "q"},
            },
            "queues": {"q": {}},
            "processors": {"sources": {}, "sinks": {}},
            "plugs": {"p": {"source": SOURCE, "target": SINK}},
        }
        self.nodes: list[Member] = []
        for index in range(len(workers)):
            self.nodes.append(Member(self, index))
        for node in self.nodes:
            node.up, node.boot = True, 0
        for node in self.nodes:
            node.up = False
            node.start()
        self.tell_all()

    def tell_all(self) -> None:
        """Membership is known to everybody."""
        for node in self.nodes:
            for other in self.nodes:
                if node is not other and node.up:
                    state = "alive" if other.up else "dead"
                    node.post(events.PeerChanged(other.id, state, other.boot))

    def say(self, sender: Member, to: bytes, kind: int, entry: list[Any]) -> None:
        """Something for a peer; it may be lost or come twice."""
        target = next(node for node in self.nodes if node.id == to)
        entry = as_sent(entry)
        for _ in range(1 + (self.rng.random() < self.lost)):
            if not target.up or self.rng.random() < self.lost:
                continue
            assert heard.good_of(kind, [entry]), (kind, entry)
            if kind == _ITEMS:
                target.post(events.Yielded(None, [tuple(entry)], node=sender.id))
            else:
                target.post(events.PeerSaid(sender.id, kind, [entry]))

    def submit(self, node: Member, count: int) -> bytes:
        """A generator of so many items."""
        [id] = make_ids(1, self.now)
        body = pack_call([count])
        data = envelope(Kind.SUBMIT, id=id, name=SOURCE.encode(), body=body, argc=1)
        node.post(events.Submitted(1, 1, [(id, NO_ID, NO_ID, SOURCE, 1, None, data)]))
        return id

    def turn(self, batch: int = 32) -> bool:
        """Everything that can happen now."""
        busy = False
        for node in self.nodes:
            if node.up:
                busy |= node.run()
                busy |= node.work(batch)
        return busy

    def settle(self, seconds: int = 120, batch: int = 32) -> None:
        """Until nothing happens any more, and time does not help."""
        for _ in range(seconds):
            while self.turn(batch):
                pass
            if all(node.is_quiet() for node in self.up()):
                return
            self.now += 1_000
            for node in self.up():
                node.post(events.Ticked())

    def up(self) -> list[Member]:
        """The nodes that live."""
        return [node for node in self.nodes if node.up]

    def kill(self, node: Member) -> None:
        """A node dies; all others are told."""
        node.up = False
        self.tell_all()

    def revive(self, node: Member) -> None:
        """It is started again."""
        node.start()
        self.tell_all()

    def items(self, id: bytes, count: int) -> list[Any]:
        """The values of the items of a stream, from whichever history has them."""
        found = []
        for number in range(count):
            item = streams.item_id(id, number)
            values = {node.outcome(item) for node in self.nodes} - {b""}
            assert values, f"item {number} is nowhere"
            found.append(unpack(body_of(values.pop())))
        return found

    def submits(self) -> Counter[bytes]:
        """How often each sink call is in the histories, at most once per node."""
        found: Counter[bytes] = Counter()
        for node in self.nodes:
            for id, record in node.log["done"].items():
                if split_done(record)["submit"][80:84] == SINK.encode():
                    found[id] += 1
        return found
