"""The node's side of the model process: starts it, asks it, survives it.  No SQLAlchemy here.

`ModelProcess` never blocks and has no thread: the node's poller watches `fileno()`, which stays
the same when the process is started again, and `receive()` gives what came.  The node also calls
`receive()` once a second, for restarts and for requests that nobody answers.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import site
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshcode.errors import BadFrame, BadValue, Busy, ModelUnavailable
from meshcode.model.delta import with_changes
from meshcode.model.pipe import ADOPT_ID, NODE_ID, READ_BYTES, MessageReader, pack_message

PENDING_MAX = 1_024  # Requests of one node without an answer.
ANSWER_S = 30.0  # A process that takes longer is hung: it is killed and started again.
RESTART_S_MIN = 1.0
RESTART_S_MAX = 60.0
STOP_S = 2.0  # From the end of its input, or its output, to the kill.

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Pending:
    what: str  # For error texts.
    deadline_s: float
    data: bytes


class ModelProcess:
    """One model process after the other, as one thing to ask."""

    def __init__(
        self,
        db_uri: str,
        on_message: Callable[[Message], None] | None = None,
        *,
        known: Mapping[str, Any] | None = None,
        idle_s: float = 300.0,
        answer_s: float = ANSWER_S,
    ) -> None:
        """Start nothing yet.

        Args:
            db_uri: path or SQLAlchemy URL of the model's database.
            on_message: called by `receive` with each message, in order; it may ask again.
            known: the snapshot the node booted with.  Every snapshot that comes is newer, and a
                database that is gone is made again from it.
            idle_s: the process ends after this many seconds without a request; 0 for never.
            answer_s: how long a request may take.
        """
        self._db_uri = db_uri
        self._on_message = on_message
        self._known = known
        self._idle_s = idle_s
        self._answer_s = answer_s
        # A selector is itself a thing to watch: one descriptor for all processes to come.
        self._selector = selectors.DefaultSelector()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = MessageReader()
        self._unsent = bytearray()
        self._pending: dict[bytes, _Pending] = {}
        self._undelivered: list[Message] = []
        self._adopting: Mapping[str, Any] = {}  # The snapshot last given to `adopt`.
        self._restart_at_s: float | None = None
        self._restart_s = RESTART_S_MIN
        self._stopped = False
        # While it has closed its output and not ended: what tells of its end, when it is killed.
        self._pidfd: int | None = None
        self._kill_at_s: float | None = None

    def fileno(self) -> int:
        """The descriptor to watch for reading; the same for the life of this object."""
        return self._selector.fileno()

    @property
    def pid(self) -> int | None:
        """Of the running model process."""
        return self._process.pid if self._process else None

    @property
    def pending(self) -> int:
        """Requests without an answer."""
        return len(self._pending)

    @property
    def number(self) -> int:
        """Of the newest snapshot the node has; 0 for none."""
        return int(self._known["number"]) if self._known else 0

    def start(self) -> None:
        """Start the process if none runs; its first message is the snapshot when it is newer."""
        if self._process is not None or self._stopped:
            return
        self._restart_at_s = None
        self._reader, self._unsent = MessageReader(), bytearray()
        # -P: a file of the folder the node was started in must not pass for a module.
        command = [sys.executable, "-P", "-m", "meshcode.model.server"]
        try:
            process = subprocess.Popen(
                [*command, "--idle", str(self._idle_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=environment_of(self._db_uri),
            )
        except OSError as exc:
            self._fail_all(f"the model process cannot be started: {exc}")
            self._plan_restart()
            return
        self._process = process
        assert process.stdin is not None and process.stdout is not None
        os.set_blocking(process.stdin.fileno(), False)
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ)
        if self._known is not None:
            fields = {"snapshot": self._known}
            self._write(pack_message({"id": NODE_ID, "do": "known", "fields": fields}))
        for pending in self._pending.values():
            self._write(pending.data)

    def request(self, request: Mapping[str, Any]) -> None:
        """Ask; the answer comes out of `receive` with the same id.

        Args:
            request: {"id": bytes, "do", "kind", "name", "fields", "by"}; docs/model.md.

        Raises:
            Busy: PENDING_MAX requests have no answer yet.
            BadData, TooLarge: the request cannot be written.
        """
        if len(self._pending) >= PENDING_MAX:
            raise Busy(
                f"{len(self._pending)} requests wait for the model process, the most is"
                f" {PENDING_MAX}; nothing was changed; try again later"
            )
        data = pack_message(dict(request))
        what = " ".join(str(request.get(field) or "") for field in ("do", "kind", "name"))
        deadline_s = time.monotonic() + self._answer_s
        self._pending[request["id"]] = _Pending(what.strip(), deadline_s, data)
        if self._process is None:
            self.start()  # Which writes all that is pending.
        else:
            self._write(data)

    def adopt(
        self, snapshot: Mapping[str, Any], base: int, changes: list[list[Any]] | None = None
    ) -> None:
        """Make the database equal to a merged snapshot; starts the process if none runs.

        It is done before any later request.  The answer comes out of `receive` with the id
        `ADOPT_ID`: the database is at the snapshot's number, or an error and it is as it was.
        After an error that is ModelUnavailable nobody knows; the next snapshot tells.

        Args:
            snapshot: newer than all that came from the process.
            base: number of the snapshot that the node last took from `receive`.
            changes: all that lead to the snapshot from that one (`delta.py`); None: nobody can
                tell.

        Raises:
            TooLarge: more than the pipe carries.
        """
        assert ADOPT_ID not in self._pending, "one snapshot is being adopted"
        fields: Message = {"snapshot": dict(snapshot), "base": base}
        if changes is not None:
            delta = {"base": base, "number": snapshot["number"], "changes": changes}
            fields = {"delta": delta, "base": base}
        data = pack_message({"id": ADOPT_ID, "do": "adopt", "fields": fields})
        deadline_s = time.monotonic() + self._answer_s
        self._pending[ADOPT_ID] = _Pending("adopt", deadline_s, data)
        self._adopting = dict(snapshot)
        if self._process is None:
            self.start()
        else:
            self._write(data)

    def receive(self) -> list[Message]:
        """Take what came, without waiting: answers, and snapshots or errors that nobody asked for.

        A snapshot in them is newer than any before; a message with a "delta" has the whole snapshot
        as well, and as "before" the one that the delta leads on from.  Call when `fileno()` is
        readable, and about once a second.
        """
        for key, _events in self._selector.select(timeout=0):
            if self._process is None:
                break
            if key.fileobj is self._process.stdin:
                self._write(b"")
            elif key.fileobj is self._process.stdout:
                self._read()
        now_s = time.monotonic()
        if self._kill_at_s is not None:
            self._see_end(overdue=now_s >= self._kill_at_s)
        if self._pending and min(p.deadline_s for p in self._pending.values()) <= now_s:
            self._give_up(f"did not answer within {self._answer_s:g} s and was killed", kill=True)
        if self._restart_at_s is not None and now_s >= self._restart_at_s:
            self.start()
        messages, self._undelivered = self._undelivered, []
        if self._on_message is not None:
            for message in messages:
                self._on_message(message)
        return messages

    def stop(self) -> None:
        """End the process and wait for it; for good.  A change being made is made or not at all."""
        self._stopped = True
        process, self._process = self._process, None
        if process is not None:
            self._close_pipes(process)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._selector.close()

    def _write(self, data: bytes) -> None:
        process = self._process
        assert process is not None and process.stdin is not None
        waited = bool(self._unsent)
        self._unsent += data
        try:
            while self._unsent:
                del self._unsent[: os.write(process.stdin.fileno(), self._unsent[:READ_BYTES])]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._unsent.clear()  # It ended; its output says so next.
        if self._unsent and not waited:
            self._selector.register(process.stdin, selectors.EVENT_WRITE)
        elif waited and not self._unsent:
            self._selector.unregister(process.stdin)

    def _read(self) -> None:
        process = self._process
        assert process is not None and process.stdout is not None
        try:
            while data := os.read(process.stdout.fileno(), READ_BYTES):
                for message in self._reader.feed(data):
                    self._take(message)
                    if self._process is not process:
                        return  # It was given up.
        except BlockingIOError:
            return
        except BadFrame as exc:
            self._give_up(f"was killed: {exc}", kill=True)
            return
        self._kill_at_s = time.monotonic() + STOP_S
        self._see_end(overdue=False)

    def _see_end(self, *, overdue: bool) -> None:
        """Its output is closed, so it is ending; it has nothing left that could hold it up."""
        process = self._process
        assert process is not None and process.stdout is not None
        if overdue or process.poll() is not None:
            self._give_up("", kill=overdue)
        elif process.stdout in self._selector.get_map():
            self._selector.unregister(process.stdout)
            with contextlib.suppress(OSError):  # No descriptor is left; the next second will do.
                self._pidfd = os.pidfd_open(process.pid)
                self._selector.register(self._pidfd, selectors.EVENT_READ)

    def _take(self, message: Message | BadValue) -> None:
        if isinstance(message, BadValue):
            message = {"error": message.to_data(), "number": self.number}
        if message.get("id") == NODE_ID and message.get("ok"):
            return  # The answer to our own "known".
        if "delta" in message and not self._follow(message):
            return
        snapshot = message.get("snapshot")
        if snapshot is not None:
            if self._known is not None and snapshot["number"] <= self.number:
                del message["snapshot"]
                if "id" not in message:
                    return
            else:
                self._known = snapshot
        if message.get("id") == ADOPT_ID and message.get("ok"):
            self._known = self._adopting
        if "id" in message:
            self._pending.pop(message["id"], None)
            self._restart_s = RESTART_S_MIN
        self._undelivered.append(message)

    def _follow(self, message: Message) -> bool:
        """Put the snapshot in the place of a delta; False when it does not lead on from ours."""
        delta, known = message["delta"], self._known
        if known is None or delta["base"] != known["number"]:
            self._give_up(
                f"went on from snapshot {delta['base']} and the node has {self.number}; it was"
                " killed", kill=True,
            )  # fmt: skip
            return False
        message["snapshot"] = with_changes(known, delta["number"], delta["changes"])
        message["before"] = known
        return True

    def _give_up(self, reason: str, *, kill: bool) -> None:
        """The process has ended, or is to: reap it, answer what it owed, plan the next."""
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        process.wait()
        self._close_pipes(process)
        status = process.returncode
        if not reason:
            reason = f"ended with signal {-status}" if status < 0 else f"ended with status {status}"
        if status == 0:
            # It ends so only between requests: what it has not answered, it has not begun.
            if self._pending:
                self.start()
            return
        self._plan_restart()
        self._fail_all(f"the model process {reason} before it answered")

    def _close_pipes(self, process: subprocess.Popen[bytes]) -> None:
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            if pipe in self._selector.get_map():
                self._selector.unregister(pipe)
            pipe.close()
        pidfd, self._pidfd, self._kill_at_s = self._pidfd, None, None
        if pidfd is not None:
            self._selector.unregister(pidfd)
            os.close(pidfd)

    def _plan_restart(self) -> None:
        if not self._stopped:
            self._restart_at_s = time.monotonic() + self._restart_s
            self._restart_s = min(2 * self._restart_s, RESTART_S_MAX)

    def _fail_all(self, reason: str) -> None:
        for request_id, pending in self._pending.items():
            error = ModelUnavailable(
                f"{reason} {pending.what!r}; a change was made whole or not at all, and the node"
                " goes on with the snapshot it has; look with `mesh ls` and ask again if need be"
            )
            answer = {"id": request_id, "ok": False, "error": error.to_data()}
            self._undelivered.append({**answer, "number": self.number})
        self._pending.clear()


def environment_of(db_uri: str) -> dict[str, str]:
    """For a child: our own, with the database, and the way to a meshcode not installed."""
    environment = {**os.environ, "MESH_MODEL": db_uri}  # Not an argument: it may hold a password.
    root = str(Path(__file__).resolve().parents[2])
    if root not in site.getsitepackages():
        paths = [path for path in (environment.get("PYTHONPATH"), root) if path]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment
