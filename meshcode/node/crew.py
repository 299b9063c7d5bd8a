"""The worker processes of a node: started, spoken to, watched from outside, buried.

A worker is watched by its process descriptor and its control page, never by a heartbeat of the
interpreter that runs the code, so a task that holds that interpreter for an hour is just running.
"""

from __future__ import annotations

import array
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import zmq

from meshcode import limits
from meshcode.digest import compare_digest
from meshcode.errors import BadFrame, MeshError
from meshcode.node import descriptors, tails, workerwords
from meshcode.node.interrupts import Interrupts
from meshcode.peers.ready import next_message
from meshcode.router.effects import Assignment
from meshcode.router.events import (
    Event,
    Finished,
    NewItem,
    Report,
    Returned,
    WorkerJoined,
    WorkerLost,
    Yielded,
)
from meshcode.wire.codec import pack
from meshcode.wire.frame import Column, Row, cuts, envelope, frame, index, pick
from meshcode.wire.kinds import Flag, Kind
from meshcode.worker import configuration, launch
from meshcode.worker.control import ControlPage

# Plain numbers: arithmetic on enum members costs a microsecond.
_OUTCOME, _RETRY = int(Kind.OUTCOME), int(Flag.RETRY)
_REPORT = bytes([
    Column.ID, Column.ATTEMPT, Column.CODE, Column.FLAGS, Column.NUMBER, Column.ENVELOPE,
])  # fmt: skip
START_BYTES_MAX = limits.FRAME_BYTES_MAX // 2
START_CALLS_MAX = limits.FRAME_ENVELOPES_MAX - 1  # One envelope is START itself.
# Frames that wait for one worker: more than credit lets the node have under way, so one that reads
# at all never has so many.
SENT_MAX = 4 * limits.CREDIT_CALLS_MAX
ARRIVED_MAX = 64  # Frames of one worker that wait for the node, each perhaps a large one.
ROUND_BYTES_MAX = 2 * limits.FRAME_BYTES_MAX  # Taken in one round, and a frame more.
NAMES_OF_STREAMS = {1: "stdout", 2: "stderr"}


class Attempt(Protocol):
    """What the core has at a worker, as far as it matters here."""

    attempt: int  # From 1.


class WorkerProcess:
    """One worker process and what the node knows of it."""

    def __init__(self, id: int, processor: str, key: str, cpu: int | None) -> None:
        """A worker that is about to be started for environment `key` of `processor`."""
        self.id = id
        self.processor = processor
        self.key = key
        self.commit = ""  # The code it runs, as it is told.
        self.cpu = cpu
        self.token = os.urandom(16).hex()
        self.routing_id = b""
        self.sockets: dict[str, str] = {}  # What it was told to serve.
        self.streams: list[str] = []  # Of these: whose generators stream.
        self.state = "starting"  # starting, ready, leaving, gone
        self.stopping = ""  # Why the node stops it on purpose; "" = it does not.
        self.started_ms = 0
        self.ready_ms = 0
        self.kill_at_ms = 0  # It is stopping and killed then; 0 = not.
        self.interrupts = Interrupts()  # Calls told to end, or to be told.
        self.slots = self.slots_now = 1  # Calls at once, when it came; with the sockets it has now.
        self.setups = 0  # How often it was told of sockets and has not yet said that it has them.
        self.handed = 0  # Calls that it was told to begin.
        self.calls = 0  # Outcomes reported.
        self.returns = 0  # How often it gave back calls.
        self.who = b""  # The meta of its outcomes, as it was last: who ran the call.
        self.error = ""  # Why it could not load its code.
        self.broken = ""  # Why the node killed it, when it did.
        self.lied = ""  # The same, when it said what no worker says.
        self.output: dict[tuple[bytes, int], dict[str, bytes]] = {}
        self.printed: dict[tuple[bytes, int, str], int] = {}  # Bytes of it, those cut off too.
        self.left_out: dict[tuple[bytes, int, str], int] = {}  # Before what is kept of it.
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.page: ControlPage | None = None

    def kill_due_ms(self) -> int | None:
        """When it is to be killed, unless it or its interrupted call ends before."""
        overdue_ms = self.interrupts.overdue_ms()
        if overdue_ms is None or 0 < self.kill_at_ms < overdue_ms:
            return self.kill_at_ms or None
        return overdue_ms

    def due_ms(self) -> int | None:
        """When it is to be looked at, at the latest."""
        look_ms, kill_ms = self.interrupts.look_due_ms(), self.kill_due_ms()
        if look_ms is None or kill_ms is None:
            return kill_ms
        return min(look_ms, kill_ms)

    @property
    def pid(self) -> int:
        """The process id, 0 before the start."""
        return self.process.pid if self.process else 0


class Crew:
    """All worker processes of a node and the link they speak to it on."""

    def __init__(
        self,
        context: zmq.Context[Any],
        address: str,
        run_dir: Path,
        boot: int,
        clients_address: str,
    ) -> None:
        """Bind the workers' link; control pages and configurations go into `run_dir`/workers.

        Workers are told `clients_address`, so that task code can make calls.
        """
        self.address = address
        self.clients_address = clients_address
        self.boot = boot
        self.folder = run_dir / "workers"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.link = context.socket(zmq.ROUTER)
        self.link.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.link.setsockopt(zmq.LINGER, 0)
        self.link.setsockopt(zmq.SNDHWM, SENT_MAX)
        self.link.setsockopt(zmq.RCVHWM, ARRIVED_MAX)
        self.link.setsockopt(zmq.MAXMSGSIZE, limits.FRAME_BYTES_MAX)
        self.link.bind(address)
        self.by_id: dict[int, WorkerProcess] = {}
        self._by_routing: dict[bytes, WorkerProcess] = {}
        self._by_pidfd: dict[int, WorkerProcess] = {}
        self._last_id = 0
        self.node = ""  # The name that outcomes give as who ran the call; "" in no mesh.
        self.log_file = run_dir.parent / "log" / "workers.log"
        # Set by whoever has them: sentences for people, exceptions that nobody foresaw, and the
        # calls that the core has at a worker.
        self.say: Callable[[str], None] = lambda _text: None
        self.failed: Callable[[str, str, Exception], None] | None = None
        self.held_by: Callable[[int], Mapping[bytes, Attempt]] = lambda _worker: {}

    # Starting and stopping.

    def spawn(
        self,
        processor: str,
        mount: dict[str, Any],
        config: dict[str, Any],
        cpu: int | None,
        now_ms: int,
    ) -> WorkerProcess:
        """Start one worker of a mounted processor.

        Args:
            mount: what `meshcode.worker.mount` gave: python, import_path, module, commit, key.
            config: further fields of the worker's configuration (sockets, env, lend).

        Raises:
            OSError: it cannot be started; nothing is left of it.
        """
        self._last_id += 1
        worker = WorkerProcess(self._last_id, processor, mount["key"], cpu)
        worker.commit = str(config.get("commit", mount["commit"]))
        stem = self.folder / f"{self.boot}-{worker.id}"
        page = worker.page = ControlPage.create(f"{stem}.page")
        body = {
            "link": self.address,
            "worker": worker.id,
            "token": worker.token,
            "processor": processor,
            "module": mount["module"],
            "import_path": mount["import_path"],
            "control": page.path,
            "lend": config["lend"],
            "cpu": cpu,
            "commit": worker.commit,
            "node": self.node,
            "overrides": config.get("overrides") or {},
            "sockets": config["sockets"],
            "streams": config.get("streams", []),
            "parent": os.getpid(),
        }
        try:
            configuration.write(f"{stem}.config", body)
            self._launch(worker, f"{stem}.config", mount, config)
        except OSError:
            _clear_away(page)
            raise
        worker.started_ms = now_ms
        worker.sockets = dict(config["sockets"])
        worker.streams = list(config.get("streams", ()))
        self.by_id[worker.id] = worker
        self._by_pidfd[worker.pidfd] = worker
        return worker

    def _launch(
        self, worker: WorkerProcess, path: str, mount: dict[str, Any], config: dict[str, Any]
    ) -> None:
        self.log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            worker.process = subprocess.Popen(
                launch.command(mount["python"], config["lend"], path),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=launch.environment(config.get("env"), self.clients_address),
                cwd=mount.get("worktree") or None,
                start_new_session=True,
            )
        try:
            worker.pidfd = os.pidfd_open(worker.process.pid)
            descriptors.give_back(worker.process.pid)
        except OSError:  # No descriptor is left to watch it by.
            worker.process.kill()
            worker.process.wait()
            raise

    def cut_log(self) -> None:
        """Keep of what workers write to their own descriptors only the newest."""
        tails.cut_file(self.log_file, limits.WORKERS_LOG_BYTES_MAX, limits.WORKERS_LOG_BYTES_KEPT)

    def stop(self, worker: WorkerProcess, why: str, now_ms: int, grace_ms: int) -> None:
        """Ask a worker to finish what runs and leave; it is killed after `grace_ms`."""
        worker.stopping = worker.stopping or why
        due_ms = now_ms + grace_ms
        worker.kill_at_ms = min(worker.kill_at_ms or due_ms, due_ms)
        worker.state = "leaving"
        if worker.routing_id:
            self._send(worker, [envelope(Kind.STOP)])
        else:
            self.signal(worker, signal.SIGTERM)

    def signal(self, worker: WorkerProcess, number: int) -> None:
        """Send a signal to the worker's process; it may have gone."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(worker.pidfd, number)

    def kill(self, worker: WorkerProcess) -> None:
        """End the worker and what it started, now."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)

    def kill_overdue(self, now_ms: int) -> None:
        """Kill the workers that did not stop, or did not stop their call, in their grace.

        Before, what had no room in a control page is asked of its worker if there is room now.
        """
        for worker in self.by_id.values():
            if worker.interrupts.waits:
                self._ask(worker, now_ms)
            due_ms = worker.kill_due_ms()
            if due_ms is not None and now_ms >= due_ms:
                worker.kill_at_ms = 0
                worker.interrupts.give_up()
                self.kill(worker)

    def next_kill_ms(self) -> int | None:
        """When `kill_overdue` has something to do."""
        times = [
            worker.due_ms()
            for worker in self.by_id.values()
            if worker.kill_at_ms or worker.interrupts.asked or worker.interrupts.waiting
        ]
        return min((time for time in times if time is not None), default=None) if times else None

    def bury(self, pidfd: int) -> tuple[WorkerProcess, WorkerLost]:
        """A process descriptor became readable: what died, and what it was doing."""
        worker = self._by_pidfd.pop(pidfd)
        assert worker.process is not None
        assert worker.page is not None
        self.kill(worker)  # What it started dies with it; the number is its own until it is reaped.
        code = worker.process.wait()
        os.close(pidfd)
        begun = list(dict.fromkeys(running.id for running in worker.page.running()))
        _clear_away(worker.page)
        del self.by_id[worker.id]
        self._by_routing.pop(worker.routing_id, None)
        was_ready = worker.state != "starting"
        worker.state = "gone"
        ended = f"signal {-code}" if code < 0 else f"exit {code}"
        reason = worker.lied or worker.stopping or worker.broken or ended
        blame = was_ready and (bool(worker.lied) or not worker.stopping)
        return worker, WorkerLost(worker.id, begun, reason, blame)

    # Speaking.

    def _send(self, worker: WorkerProcess, envelopes: list[bytes]) -> None:
        """Tell a worker something.  One that cannot be told is killed, and its calls come back."""
        try:
            self.link.send_multipart(
                [worker.routing_id, frame(envelopes, sender_boot=self.boot)], zmq.NOBLOCK
            )
        except zmq.ZMQError as error:
            assert error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH), error
            if error.errno == zmq.EAGAIN:  # Stopped by a signal, a debugger, a frozen group.
                worker.broken = f"it does not read: {SENT_MAX} messages wait for it, the most"
            # Else its link is gone, as it has ended or is about to; what it sent while it leaves
            # arrives all the same.
            if error.errno == zmq.EAGAIN or worker.state != "leaving":
                self.kill(worker)

    def start(self, worker_id: int, assignments: list[Assignment]) -> None:
        """Hand calls to a worker; every envelope is in memory by now."""
        worker = self.by_id.get(worker_id)
        if worker is None:
            return
        worker.handed += len(assignments)
        calls = [assignment[3] or b"" for assignment in assignments]
        assert all(calls), "every envelope is in memory by now"
        for begin, end in cuts(calls, START_CALLS_MAX, START_BYTES_MAX):
            attempts = array.array("I", [one[1] for one in assignments[begin:end]])
            if sys.byteorder == "big":
                attempts.byteswap()
            head = envelope(Kind.START, body=attempts.tobytes())
            self._send(worker, [head, *calls[begin:end]])

    def interrupt(self, worker_id: int, call: bytes, reason: str, now_ms: int) -> None:
        """Ask a worker to end one call; it is killed when the call does not end in its grace."""
        worker = self.by_id.get(worker_id)
        if worker is not None:
            worker.interrupts.want(call, reason)
            self._ask(worker, now_ms)

    def recall(self, worker_id: int, now_ms: int) -> None:
        """Ask a worker for the calls that it has not begun."""
        worker = self.by_id.get(worker_id)
        if worker is not None:
            worker.interrupts.want_recall(worker.handed)
            self._ask(worker, now_ms)

    def _ask(self, worker: WorkerProcess, now_ms: int) -> None:
        if worker.page is not None and worker.interrupts.ask(worker.page, now_ms):
            self.signal(worker, signal.SIGUSR1)

    def tell_sockets(
        self, worker: WorkerProcess, sockets: dict[str, str], streams: list[str]
    ) -> None:
        """Change which socket runs which function, and which stream, while it runs."""
        worker.sockets, worker.streams = dict(sockets), list(streams)
        body = pack({"sockets": sockets, "streams": streams})
        worker.setups += 1
        self._send(worker, [envelope(Kind.SETUP, body=body)])

    def credit(self, credits: list[tuple[int, bytes, int, int]]) -> None:
        """Let generators go on: worker, call, attempt, units of items it may send in all."""
        told: dict[int, list[bytes]] = {}
        for worker_id, call, attempt, units in credits:
            data = envelope(Kind.STREAM, id=call, attempt=attempt, number=units)
            told.setdefault(worker_id, []).append(data)
        for worker_id, envelopes in told.items():
            worker = self.by_id.get(worker_id)
            if worker is not None:
                self._send(worker, envelopes)

    # Listening.

    def receive(self, frames_max: int, now_ms: int) -> tuple[list[Event], list[bytes]]:
        """Up to `frames_max` frames: events for the core, and ITEM envelopes to pass on."""
        found: list[Event] = []
        items: list[bytes] = []
        size = 0
        while frames_max and size <= ROUND_BYTES_MAX:
            parts = next_message(self.link)
            if parts is None:
                break
            frames_max -= 1
            size += len(parts[-1])
            worker = self._by_routing.get(parts[0])
            try:
                self._hear(worker, parts, now_ms, found, items)
            except MeshError as error:
                self.distrust(worker, error.text)
            except Exception as error:
                self.fault(worker, error)
        return found, items

    def _hear(
        self,
        worker: WorkerProcess | None,
        parts: list[bytes],
        now_ms: int,
        found: list[Event],
        items: list[bytes],
    ) -> None:
        """Take a message of a worker, or of one that says who it is, or of nobody.

        Raises:
            MeshError: it is none.
        """
        if len(parts) != 2:
            raise BadFrame(f"a message of {len(parts) - 1} parts, expected 1", fault="parts")
        routing_id, data = parts
        if worker is not None:
            self._take(worker, data, now_ms, found, items)
            return
        joined = self._join(routing_id, data, now_ms)
        if joined is not None:
            found.append(joined)

    def distrust(self, worker: WorkerProcess | None, why: str) -> None:
        """End a worker that says what no worker says; of strangers nothing is taken anyway.

        Its calls come back as those of one that died: what had begun counts an attempt.
        """
        if worker is None or worker.lied:
            return
        worker.lied = f"it said what no worker says: {why:.400}"
        self._by_routing.pop(worker.routing_id, None)  # What more it has sent is not looked at.
        self.say(
            f"worker {worker.id} of processor {worker.processor} (pid {worker.pid}) is ended:"
            f" {worker.lied}; nothing of that was taken, and its calls are tried again"
        )
        self.kill(worker)

    def fault(self, worker: WorkerProcess | None, error: Exception) -> None:
        """Nobody foresaw what comes of what a worker said: it is ended, too.

        Raises:
            Exception: `error` itself, where it ends the node (`Faults.note`).
        """
        if self.failed is None:
            raise error
        whose = "a stranger" if worker is None else f"a worker of {worker.processor}"
        self.failed("words", whose, error)
        self.distrust(worker, f"the node failed at it ({type(error).__name__})")

    def _join(self, routing_id: bytes, data: bytes, now_ms: int) -> WorkerJoined | None:
        rows = index(data)[1]
        if not rows or rows[0].kind != Kind.READY:
            return None
        row = rows[0]
        body = workerwords.ready(data[row.body_at : row.end])
        worker = self.by_id.get(body["worker"])
        if worker is None or not compare_digest(body["token"].encode(), worker.token.encode()):
            return None
        if worker.routing_id or worker.lied:
            self.distrust(worker, "READY came twice")
            return None
        worker.routing_id = routing_id
        self._by_routing[routing_id] = worker
        if row.code:
            worker.error = workerwords.error_of(body)
            return None
        try:
            slots = workerwords.slots_of(body)
        except BadFrame as error:
            self.distrust(worker, error.text)
            return None
        if worker.state != "starting":
            return None
        worker.state = "ready"
        worker.ready_ms = now_ms
        worker.slots = worker.slots_now = slots
        return WorkerJoined(worker.id, worker.processor, slots)

    def _take(
        self,
        worker: WorkerProcess,
        data: bytes,
        now_ms: int,
        found: list[Event],
        items: list[bytes],
    ) -> None:
        """Take one frame of a worker.

        Raises:
            BadFrame: it is none, or says what no worker says.
        """
        _, rows, kinds, _ = pick(data, _REPORT)
        others = workerwords.check(data, worker, kinds, now_ms)
        worker.calls += kinds.count(_OUTCOME)
        workerwords.check_count(worker)
        yielded: list[NewItem] = []
        if others is not None:
            rows = [row for row, kind in zip(rows, kinds, strict=True) if kind == _OUTCOME]
            self._take_others(worker, others, data, found, yielded, items)
        reports: list[Report] = [
            # It tells how long it ran, in us: so it began that long before now.
            (id, attempt, code, flags & _RETRY != 0, us, now_ms - us // 1_000, outcome)
            for id, attempt, code, flags, us, outcome in rows
        ]
        if yielded:  # Before the outcome that counts them.
            found.append(Yielded(worker.id, yielded))
        if reports:
            if worker.interrupts.asked or worker.interrupts.waiting:
                for report in reports:
                    worker.interrupts.ended(report[0])
            found.append(Finished(worker.id, reports))
        if worker.interrupts.waits:  # It does something: it may have taken what it was asked.
            self._ask(worker, now_ms)

    def _take_others(
        self,
        worker: WorkerProcess,
        rows: list[Row],
        data: bytes,
        found: list[Event],
        yielded: list[NewItem],
        items: list[bytes],
    ) -> None:
        """Take of a frame what are no outcomes: output, items, calls given back, other sockets."""
        held = self.held_by(worker.id)
        for row in rows:
            kind, body = row.kind, data[row.body_at : row.end]
            if kind == Kind.RETURNED:
                ids = [body[at : at + 16] for at in range(0, len(body), 16)]
                for returned in ids:
                    worker.interrupts.ended(returned)
                found.append(Returned(worker.id, ids))
            elif kind == Kind.READY:
                worker.slots_now = workerwords.slots_of(workerwords.ready(body))
            elif (call := held.get(row.id)) is None or call.attempt != row.attempt:
                continue  # Of these it may say what is late; nobody waits for that.
            elif kind == Kind.OUTPUT:
                self._keep_output(worker, (row.id, row.attempt), row.code, body)
            elif kind == Kind.ITEM and row.code:
                meta = data[row.meta_at : row.body_at]
                yielded.append((row.id, row.attempt, row.number, body, meta, 0))
            elif kind == Kind.ITEM:
                items.append(data[row.start : row.end])

    @staticmethod
    def _keep_output(
        worker: WorkerProcess, attempt: tuple[bytes, int], stream: int, data: bytes
    ) -> None:
        streams = worker.output.setdefault(attempt, {})
        name = NAMES_OF_STREAMS.get(stream, "stdout")
        whole = streams.get(name, b"") + data
        streams[name], cut = tails.newest(whole, limits.OUTPUT_BYTES_MAX)
        key = (*attempt, name)
        worker.printed[key] = worker.printed.get(key, 0) + len(data)
        if cut:
            worker.left_out[key] = worker.left_out.get(key, 0) + cut

    def close(self) -> None:
        """Kill what is left and unbind."""
        for worker in list(self.by_id.values()):
            self.kill(worker)
            self.bury(worker.pidfd)
        self.link.close(0)


def _clear_away(page: ControlPage) -> None:
    """Remove the files of a worker that has ended, or never began."""
    page.close()
    for suffix in (".page", ".config"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{page.path.removesuffix('.page')}{suffix}")
