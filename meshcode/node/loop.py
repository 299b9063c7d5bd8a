"""The node's one thread: it owns the core, all links, and the order in which things happen.

Each round: wait until something is ready or due; take a bounded share of everything (frames of
clients and workers, deaths, mounts, the model, timers) as events; release what is on disk; have
`commits.py` close the turn, and hand closed turns to the committer when it is free.
"""

from __future__ import annotations

import os
import select
import signal
import socket as hostnames
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import zmq

import meshcode
from meshcode import limits, paths
from meshcode.limits import MODEL_OBJECTS_MAX
from meshcode.model.client import ModelProcess
from meshcode.model.delta import keys_of
from meshcode.model.settingnames import values
from meshcode.node import intake, meshmodel, threads, waits
from meshcode.node.adopter import Adopter
from meshcode.node.affinity import Affinity
from meshcode.node.asks import Asks
from meshcode.node.audit import Audit
from meshcode.node.clock import Clock
from meshcode.node.commits import Commits
from meshcode.node.committer import Committer
from meshcode.node.crew import Crew
from meshcode.node.descriptors import Descriptors
from meshcode.node.faults import Faults
from meshcode.node.feed import Feed
from meshcode.node.flowbook import FlowBook
from meshcode.node.frames import Frames
from meshcode.node.guard import Guard
from meshcode.node.history import History
from meshcode.node.hosted import Hosted
from meshcode.node.keeping import Keeping
from meshcode.node.keptmodel import KeptModel
from meshcode.node.later import Later
from meshcode.node.listeners import Listeners
from meshcode.node.modelproblem import ModelProblem
from meshcode.node.news import News
from meshcode.node.processors import Processors
from meshcode.node.release import Release
from meshcode.node.sessions import Sessions
from meshcode.node.streamops import Readers
from meshcode.node.turn import Turns
from meshcode.node.waker import Waker
from meshcode.router import ticking
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.events import (
    CrewChanged,
    Drained,
    Event,
    Forgotten,
    ModelChanged,
    Ticked,
)
from meshcode.store.contract import DONE, META, MODEL, OPEN, STATE, VOTE, Log
from meshcode.trust.identity import load as load_identity
from meshcode.wire.codec import pack, unpack

if TYPE_CHECKING:
    from meshcode.node.mesh import Mesh

TICK_MS = 1_000
EMPTY_SNAPSHOT: dict[str, Any] = {
    "number": 0, "queues": {}, "processors": {}, "sockets": {}, "deployments": {},
}  # fmt: skip


class Loop:
    """One running node."""

    affinity: Affinity | None = None  # Only where the process is the node's own.

    def __init__(self, home: str, log: Log) -> None:
        """Recover from the log and bind the links; `run` does the rest.

        Args:
            home: the node's folder, made by `paths.make_folders` and `paths.make_ipc_dir`.
            log: open, and this node's alone.
        """
        self.home = Path(home)
        self.log = log
        self.committer = Committer(log)
        self.identity = load_identity(home)
        self.node_id = self._identity()
        self.clock = Clock(int.from_bytes(log.get(META, b"now") or b"", "big"))
        kind = self.identity.kind if self.identity else "core"
        self.router = Router(self.node_id, log.boot, Random(os.urandom(16)), kind)
        self.waker = Waker()
        self.context = threads.zmq_context()
        welcome = {
            "node": self.node_id, "boot": log.boot, "version": meshcode.__version__,
            "pid": os.getpid(), "window_calls": limits.WINDOW_CALLS,
            "window_bytes": limits.WINDOW_BYTES, "body_bytes_max": limits.BODY_BYTES_MAX,
        }  # fmt: skip
        boot32 = log.boot & 0xFFFFFFFF
        self.sessions = Sessions(self.context, paths.clients_address(home), boot32, welcome)
        self.crew = Crew(
            self.context,
            paths.workers_address(home),
            Path(paths.run_dir(home)),
            boot32,
            paths.clients_address(home),
        )
        self.hosted = Hosted(self.waker.wake)
        self.listeners, self.frames = Listeners(self.sessions), Frames(self)
        self.news, self.feed = News(self), Feed(self)
        self.release = Release(self)
        self.turns = Turns(self.router, self.release, self.release.begin)
        self.faults, self.commits = Faults(self.turns), Commits(self)
        here = (Path(paths.code_dir(home)), hostnames.gethostname())
        self.processors = Processors(self.crew, *here, self.step, self._save_mount)
        self.processors.peer_states = lambda: waits.peer_states(self)
        self.history = History(self.router, self.turns, log, self.processors.commits)
        self.keeping, self.readers = Keeping(self), Readers(self)
        self.sessions.outboxes.fit(self.keeping.memory.most)
        self.later, self.asks, self.descriptors = Later(), Asks(), Descriptors(self)
        self.flows = FlowBook(self)
        self.snapshot, self.kept_model = EMPTY_SNAPSHOT, KeptModel()
        self.mesh = self._join_mesh()
        self.audit, self.guard = Audit(self.home), Guard(self)
        self.sessions.identify, self.sessions.failed = self.guard.identify, self.faults.note
        intake.attend(self)
        self.listeners.may_hear = self.guard.may_hear
        self._recover()
        self.model, self.model_problem = self._model_process(), ModelProblem(self.say)
        self._model_uri_given = "MESH_MODEL" in os.environ
        self._model_requests: dict[bytes, tuple[int, Any]] = {}
        self._signals = self._drain_until_ms = 0
        self._next_tick_ms = 0
        self._poller, self._watched = zmq.Poller(), set[int]()
        self.reading_clients = False  # Else their frames wait in the link.
        self.stopped_by = ""

    def _identity(self) -> bytes:
        """This node's id: in a mesh that of its key, else one made at its first boot.

        It is durable before it is used.
        """
        if self.identity is not None:
            return self.identity.node
        node_id = self.log.get(META, b"node")
        if node_id is None:
            node_id = os.urandom(16)
            self.committer.start([(META, b"node", node_id)])
            error = self.committer.wait()
            if error is not None:
                raise error
        return node_id

    def _join_mesh(self) -> Mesh | None:
        """This node's part among others, when its home belongs to a mesh."""
        if self.identity is None:
            return None
        from meshcode.node.mesh import Mesh  # A node without peers never needs it.

        self.processors.name = self.router.name = self.crew.node = self.identity.name
        return Mesh(self, self.identity)

    def _model_process(self) -> ModelProcess:
        known = self.snapshot if self.snapshot["number"] else None
        if self.mesh is not None:
            known = self.mesh.share.base_snapshot()
        model = ModelProcess(paths.model_uri(str(self.home)), known=known)
        if self.mesh is not None:
            self.mesh.adopter = Adopter(self.mesh.share, model, self.mesh.kept_share)
        return model

    def _recover(self) -> None:
        """Take over what earlier boots left: model, mounts, open calls."""
        kept = self.kept_model.read(self.log)
        horizon_ms = int.from_bytes(self.log.get(META, b"horizon") or b"", "big")
        self.router.step(Forgotten(horizon_ms), self.clock.now_ms())
        snapshot = EMPTY_SNAPSHOT if kept is None else kept
        if self.mesh is not None:
            if kept is not None and not self.mesh.share.number:  # It was alone until now.
                self.mesh.share.local_changed(snapshot)
            snapshot = self.mesh.share.snapshot()
            self.mesh.tell_roster()
        ticking.restore(self.router, self.log.scan(META, ticking.KEPT, limit=MODEL_OBJECTS_MAX))
        self.apply_snapshot(snapshot, save=False)
        for key, value in self.log.scan(MODEL, b"processor/", limit=100_000):
            name = key.removeprefix(b"processor/").decode()
            if name in self.snapshot["processors"] and key.startswith(b"processor/"):
                self.processors.restore(name, unpack(value))
        now_ms = self.clock.now_ms()
        votes = self._all(VOTE) if self.log.count(VOTE) else ()
        self.turns.add(self.router.recover(self._all(OPEN), self._all(STATE), now_ms, votes))
        self.later.begin(self.history.failed.complete())
        self.later.begin(self.history.sockets.complete())

    def _all(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        start: bytes | None = None
        while True:
            batch = self.log.scan(table, start, limit=4_096)
            yield from batch
            if len(batch) < 4_096:
                return
            start = (int.from_bytes(batch[-1][0], "big") + 1).to_bytes(8, "big")

    # What the other parts of the shell call.

    def step(self, event: Event) -> None:
        """Let the core take an event now."""
        self.turns.step(event, self.clock.now_ms())

    def ended(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """OUTCOME envelopes of those of `ids` that have ended, be it on disk yet or not."""
        if not ids:
            return {}
        return self.turns.ended(ids, self._kept(ids).get)

    def has_ended(self, ids: Sequence[bytes]) -> bool:
        """Whether one of these calls has ended, be it on disk yet or not."""
        return self.turns.has_fresh(ids) or any(self.log.get_many(DONE, ids))

    def done_records(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """Their whole records."""
        return self.turns.done_records(ids, self._kept(ids).get) if ids else {}

    def _kept(self, ids: Sequence[bytes]) -> dict[bytes, bytes | None]:
        return dict(zip(ids, self.log.get_many(DONE, ids), strict=True))

    def say(self, text: str) -> None:
        """A sentence for people, in the node's log file."""
        if self.mesh is not None:
            self.mesh.say(text)
        else:
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)

    def hear_calls(self) -> None:
        """Let the core make events of calls while somebody listens to them, and only then."""
        wants = self.listeners.wants
        self.router.listening = wants("state") or wants("task") or self.feed.wants("task")

    def ask_model(
        self, client: int, request: bytes, fields: dict[str, Any], answer: Any = None
    ) -> None:
        """Pass a request to the model process; the client is answered when it is in force.

        Args:
            client: who asks.
            request: this node's number of what it asks (`asks.py`).
            fields: of the request.
            answer: what the client is told when it was done, instead of what the process says.
        """
        fields["id"] = request
        if self.mesh is not None and self.mesh.adopter is not None:
            self.mesh.adopter.request(fields)
            meshmodel.save(self.mesh)
        else:
            self.model.request(fields)
        self._model_requests[request] = (client, answer)
        self.watch()

    def apply_snapshot(
        self, snapshot: dict[str, Any], changes: list[Any] | None = None, *, save: bool = True
    ) -> None:
        """Take over a model snapshot, with the functions this program serves itself on top.

        Args:
            snapshot: of the model.
            changes: all that lead to it from the one before, as in `model/delta.py`; None: nobody
                can tell.
            save: whether it is kept in the log.
        """
        before, keys = self.snapshot, None if changes is None else keys_of(changes)
        self.news.model_changed(before, snapshot, keys)
        self.feed.model_changed(before, snapshot, keys)
        self.snapshot = snapshot
        self.guard.changed(snapshot, keys)
        self.step(ModelChanged(self.hosted.overlay(snapshot), keys))
        self.place_workers(keys)
        if keys is None or any(kind == "setting" for kind, _name in keys):
            self.keeping.retention.apply(values(snapshot))
        if save:
            self.turns.add(Effects(records=self.kept_model.records(snapshot, changes)))

    def place_workers(self, keys: Iterable[tuple[str, str]] | None = None) -> None:
        """Work out which workers belong here, and let the core know their places.

        `keys`: what of the model has changed, kind and name; None = perhaps all of it.
        """
        self.processors.apply(self.snapshot, keys)
        places = {**self.processors.places(), **self.hosted.places()}
        if places != self.router.seats.own:
            self.step(CrewChanged(places))

    def _save_mount(self, name: str, kept: dict[str, Any]) -> None:
        self.turns.add(Effects(records=[(MODEL, b"processor/" + name.encode(), pack(kept))]))

    # Stopping.

    @property
    def is_ending(self) -> bool:
        """Whether it drains to end; `mesh node drain` drains a node that stays."""
        return bool(self._drain_until_ms)

    @property
    def keeps_no_calls(self) -> bool:
        """Whether this node is a witness, which takes none of clients."""
        return self.mesh is not None and self.mesh.identity.kind == "witness"

    def drain(self, why: str, grace_ms: int = 60_000) -> None:
        """Take no new calls, begin none, let what runs finish, then end."""
        if not self._drain_until_ms:
            self.stopped_by = why
            self._drain_until_ms = self.clock.now_ms() + grace_ms
            self.step(Drained())

    def install_signals(self) -> None:
        """Let SIGTERM and SIGINT call `stop` (not in an embedded node)."""
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        signal.signal(signal.SIGINT, lambda *_: self.stop())

    def stop(self) -> None:
        """From any thread or signal: the first call drains the node, the second stops it."""
        self._signals += 1
        self.waker.wake()

    # The rounds.

    def run(self, opened: Callable[[], None] | None = None) -> None:
        """Run until drained or stopped; `opened` is called when every address is bound.

        Raises:
            LogSuspect: the log could not be written; nothing unsynced was said to anyone.
        """
        committed, modelled = self.committer.fileno(), self.model.fileno()
        for watched in (self.waker.fileno(), committed, modelled):
            self._poller.register(watched, select.POLLIN)
        self._poller.register(self.crew.link, zmq.POLLIN)
        self._poller.register(self.descriptors.monitor, zmq.POLLIN)
        if self._model_uri_given or self.model.number or os.path.exists(self.model_file()):
            self.model.start()
        self.watch()
        if self.mesh is not None:
            self.mesh.open(self.clock.now_ms())
        if opened is not None:
            opened()
        while not self._is_over():
            self._round(committed, modelled)

    def model_file(self) -> str:
        """The SQLite file of the model, whether it exists or not."""
        return str(self.home / "model" / "model.db")

    def _round(self, committed: int, modelled: int) -> None:
        """One round; the descriptors of the committer and of the model are always the same."""
        now_ms = self.clock.now_ms()
        self._read_clients(self._is_open_to_clients(now_ms))
        if self.mesh is not None:
            self.mesh.register(self._poller)
        due_ms = self._due_ms(now_ms)
        ready = {key for key, _ in self._poller.poll(max(0, due_ms - now_ms))}
        now_ms = self.clock.now_ms()
        if committed in ready:
            self.commits.written(now_ms)
        if self.waker.fileno() in ready:
            self._woken()
        if self.reading_clients:
            intake.go_on(self)
            if self.sessions.link in ready:
                intake.receive(self, now_ms)
        if self.mesh is not None and self.turns.unsynced < limits.TURNS_UNSYNCED_MAX:
            self.mesh.turn(now_ms)
        if self.crew.link in ready:
            self.take_workers(now_ms)
        if self.hosted.ready:
            for event in self.hosted.receive():
                self.keeping.before(event)
                self.step(event)
        for fd in ready & self._watched:
            self._descriptor(fd, now_ms)
        if self.descriptors.monitor in ready:
            self.descriptors.look(now_ms)
        if modelled in ready:
            self._hear_model()
        self._on_time(now_ms, due_ms)
        intake.forget_gone(self)
        self.news.look(now_ms)
        self.feed.look(now_ms)
        self.later.run(now_ms)
        self.commits.commit(now_ms)
        self.feed.flush()
        if self.sessions.backlog:
            self.sessions.flush()

    def _is_open_to_clients(self, now_ms: int) -> bool:
        if self.commits.full_ms:
            return True  # For what is answered and refused at once.
        if self.turns.unsynced >= limits.TURNS_UNSYNCED_MAX or not self.keeping.may_take_more:
            return False  # The disk is behind: clients feel it, as their frames wait in the link.
        return self.mesh is None or not self.mesh.is_gathering(now_ms)

    def _read_clients(self, wanted: bool) -> None:
        """Take the clients' frames, or leave them in the link."""
        if wanted != self.reading_clients:
            self.reading_clients = wanted
            if wanted:
                self._poller.register(self.sessions.link, zmq.POLLIN)
            else:
                self._poller.unregister(self.sessions.link)

    def _due_ms(self, now_ms: int) -> int:
        """When a round must be made though nothing is ready."""
        times = [self._next_tick_ms]
        due = (
            self.router.next_due_ms(), self.crew.next_kill_ms(), self.news.next_due_ms(),
            self.feed.looks.next_due_ms(),
            self.later.next_due_ms(now_ms), self.readers.next_due_ms(),
            self.commits.next_due_ms(now_ms),
        )  # fmt: skip
        for due_ms in due:
            if due_ms is not None:
                times.append(due_ms)
        if self.mesh is not None:
            times.append(self.mesh.next_due_ms(now_ms))
        if self.sessions.backlog:
            times.append(now_ms + 5)
        if self.frames.count and self.reading_clients:
            times.append(now_ms)
        return min(times)

    def _woken(self) -> None:
        self.waker.clear()
        if untold := self.hosted.take_changes():
            self.apply_snapshot(self.snapshot, save=False)
            for event in self.hosted.joins():
                self.step(event)
            for known in untold:
                known.set()
        if self._signals == 1:
            self.drain("asked to stop")

    def take_workers(self, now_ms: int) -> None:
        """Take what workers sent: outcomes, items, output."""
        found, items = self.crew.receive(4 * limits.TURN_EVENTS_MAX, now_ms)
        intake.take_of_workers(self, found, now_ms)
        if items:
            self.turns.add(Effects(outcomes=intake.items_for_clients(self.router, items)))
        self.keeping.publish_output()

    def _descriptor(self, fd: int, now_ms: int) -> None:
        processor = self.processors.descriptors().get(fd)
        if processor is not None:
            self.processors.hear(processor, now_ms)
        else:
            self.take_workers(now_ms)  # What it sent before it died goes first.
            worker, lost = self.crew.bury(fd)
            self.keeping.save_output(worker, None)
            self.step(lost)
            self.processors.lost(worker, lost.reason, now_ms)
            self.processors.reconcile(now_ms)
        self.watch()

    def watch(self) -> None:
        """Keep the poller's descriptors those of the live workers and mounts."""
        wanted = {worker.pidfd for worker in self.crew.by_id.values()}
        wanted.update(self.processors.descriptors())
        for fd in self._watched - wanted:
            self._poller.unregister(fd)
        for fd in wanted - self._watched:
            self._poller.register(fd, select.POLLIN)
        self._watched = wanted

    def _hear_model(self) -> None:
        answers = []
        for message in self.model.receive():
            snapshot = message.get("snapshot")
            self.model_problem.hear(message, self.clock.now_ms())
            if self.mesh is not None:
                meshmodel.hear_process(self.mesh, message)
            elif snapshot is not None and snapshot["number"] >= self.snapshot["number"]:
                leads_on = message.get("before") is self.snapshot
                self.apply_snapshot(snapshot, message["delta"]["changes"] if leads_on else None)
            answers += self._model_answer(message)
        if answers:
            self.turns.add(Effects(answers=answers))
        self.processors.reconcile(self.clock.now_ms())
        self.watch()

    def _model_answer(self, message: dict[str, Any]) -> list[tuple[int, bytes, bool, Any]]:
        found = self._model_requests.pop(message.get("id") or b"", None)
        if found is None:
            return []
        client, answer = found
        good = bool(message.get("ok"))
        data = (answer or message.get("data")) if good else message.get("error")
        if self.guard.logins.is_login(message["id"]):
            return [self.guard.logins.answered(client, message["id"], good, data)]
        data = self.guard.seen(message["id"], good, data)
        self.audit.answered(message["id"], good, data)
        self._show_status(data)
        return [(client, message["id"], good, data)]

    def model_saved(self, serial: int) -> None:
        """What the model's adopter wanted kept is on disk: it goes on."""
        assert self.mesh is not None and self.mesh.adopter is not None
        answers: list[Any] = []
        for message in self.mesh.adopter.synced(serial):
            answers += self._model_answer(message)
        meshmodel.save(self.mesh)
        if answers:
            self.turns.add(Effects(answers=answers))

    def _show_status(self, data: Any) -> None:
        """Rows of processors say what this node knows of them now; the database cannot know it."""
        for row in data if isinstance(data, list) else [data]:
            if isinstance(row, dict) and row.get("kind") == "processor" and "status" in row:
                row.update(self.processors.shown(str(row["name"])))

    def _on_time(self, now_ms: int, due_ms: int) -> None:
        """What is due by time; `due_ms` is what this round had to be made for, if for anything."""
        if now_ms >= self._next_tick_ms:
            self._next_tick_ms = now_ms + TICK_MS
            self.step(Ticked())
            self._hear_model()
            self.descriptors.look(now_ms)
            self.keeping.tick(now_ms)
            self.crew.cut_log()
            self.feed.tick()
            self.audit.tick()
            if self.affinity is not None:
                self.affinity.keep_off(worker.cpu for worker in self.crew.by_id.values())
        else:
            core_due_ms = self.router.next_due_ms()
            if core_due_ms is not None and core_due_ms <= now_ms:
                self.step(Ticked())
        if now_ms >= due_ms:
            self.crew.kill_overdue(now_ms)
            self.readers.tick(now_ms)

    def _is_over(self) -> bool:
        if self._signals >= 2:
            return True
        if not self._drain_until_ms:
            return False
        busy = any(worker.held for worker in self.router.workers.values())
        is_here = self.router.replica.peers.is_here
        busy = busy or any(is_here(owner) for owner, _ in self.router.reports.values())
        if busy and self.clock.now_ms() < self._drain_until_ms:
            return False
        if self.commits.full_ms:
            return True  # Nobody was told of what waits for room.
        return not (self.turns.is_open or self.turns.unsynced or self.committer.busy)

    def close(self) -> None:
        """End workers, mounts and the model process, sync what is left, give up the folder."""
        now_ms = self.clock.now_ms()
        if self.affinity is not None:
            self.affinity.close()
        self.processors.stop_all("the node stops", now_ms, 0)
        self.commits.finish()
        if self.mesh is not None:
            self.mesh.go(now_ms)
            self.mesh.unregister(self._poller)
            self.mesh.close()
        self.crew.close()
        self.model.stop()
        self.hosted.close()
        self.committer.close()
        self.audit.close()
        self.descriptors.close()
        self.sessions.link.close(200)
        self.context.term()
        paths.drop_ipc_dir(str(self.home))
        self.log.close()
        self.waker.close()
