"""A small node for the tests of workers: one ROUTER, real worker processes, nothing durable."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import zmq

from meshcode.ids import make_id, make_ids
from meshcode.wire.codec import pack, pack_call, unpack
from meshcode.wire.frame import envelope, frame, index
from meshcode.wire.kinds import Flag, Kind, Outcome
from meshcode.worker import configuration, launch
from meshcode.worker.control import ControlPage

WAIT_S = 20.0  # Nothing takes this long; a test that waits so long has failed.


class Told:
    """One envelope from a worker."""

    def __init__(self, data: bytes, row: Any) -> None:
        self.kind = Kind(row.kind)
        self.id, self.flow, self.code, self.flags = row.id, row.flow, row.code, row.flags
        self.attempt, self.number = row.attempt, row.number
        self.meta = data[row.meta_at : row.body_at]
        self.body = data[row.body_at : row.end]
        self.at = time.monotonic()

    @property
    def value(self) -> Any:
        return unpack(self.body)

    def __repr__(self) -> str:
        return f"<{self.kind.name} code={self.code} {self.body[:200]!r}>"


class Process:
    """One worker process and what it has told."""

    def __init__(self, node: MiniNode, popen: subprocess.Popen[bytes], page: ControlPage) -> None:
        self.node = node
        self.popen = popen
        self.page = page
        self.route = b""
        self.told: list[Told] = []
        self.frames = 0
        self.handed = 0  # Calls that were sent to it.
        self.log: Path
        self.ready: Told
        self.code = ""
        self.spoiled = False  # Not fit for another test.

    def send(self, data: bytes) -> None:
        self.node.link.send_multipart([self.route, data])

    def start(
        self, *calls: tuple[str, tuple[Any, ...], dict[str, Any]], **options: Any
    ) -> list[bytes]:
        """Send calls in one START frame: (socket, args, kwargs); returns their ids."""
        ids = options.get("ids") or make_ids(len(calls))
        attempts = options.get("attempts") or [1] * len(calls)
        meta = pack(options["meta"]) if options.get("meta") else b""
        head = envelope(Kind.START, body=b"".join(a.to_bytes(4, "little") for a in attempts))
        rows = [
            envelope(
                Kind.SUBMIT,
                id=call_id,
                flow=call_id,
                name=socket.encode(),
                meta=meta,
                body=pack_call(list(args), kwargs),
                flags=Flag.KWARGS if kwargs else 0,
                argc=len(args),
            )
            for call_id, (socket, args, kwargs) in zip(ids, calls, strict=True)
        ]
        self.send(frame([head, *rows]))
        self.handed += len(rows)
        return list(ids)

    def call(self, socket: str, *args: Any, **kwargs: Any) -> bytes:
        """Send one call; returns its id."""
        return self.start((socket, args, kwargs))[0]

    def outcome(self, call_id: bytes, attempt: int | None = None) -> Told:
        """Wait for the outcome of a call."""

        def found() -> list[Told]:
            return [
                t
                for t in self.told
                if t.kind == Kind.OUTCOME and t.id == call_id and attempt in (None, t.attempt)
            ]

        self.node.until(found, f"outcome of {call_id.hex()}")
        return found()[0]

    def result(self, socket: str, *args: Any, **kwargs: Any) -> Any:
        """Run one call and give its value."""
        told = self.outcome(self.call(socket, *args, **kwargs))
        assert told.code == Outcome.DONE, told.value
        return told.value

    def error(self, socket: str, *args: Any, **kwargs: Any) -> tuple[Told, dict[str, Any]]:
        """Run one call that fails; the outcome and its error data."""
        told = self.outcome(self.call(socket, *args, **kwargs))
        assert told.code == Outcome.FAILED, told
        return told, told.value

    def kinds(self, kind: Kind, call_id: bytes | None = None) -> list[Told]:
        return [t for t in self.told if t.kind == kind and call_id in (None, t.id)]

    def output(self, call_id: bytes, code: int = 1) -> str:
        told = [t.body for t in self.kinds(Kind.OUTPUT, call_id) if t.code == code]
        return b"".join(told).decode()

    def cancel(self, call_id: bytes, reason: str = "cancel") -> None:
        assert self.page.ask_cancel(call_id, reason)
        os.kill(self.popen.pid, signal.SIGUSR1)

    def recall(self, handed: int) -> list[bytes]:
        """Ask for what has not begun of so many calls that were sent; what comes back."""
        before = len(self.kinds(Kind.RETURNED))
        self.cancel(handed.to_bytes(16, "little"), "recall")
        self.node.until(lambda: len(self.kinds(Kind.RETURNED)) > before, "RETURNED")
        body = self.kinds(Kind.RETURNED)[before].body
        return [body[at : at + 16] for at in range(0, len(body), 16)]

    def until_running(self, call_id: bytes) -> None:
        self.node.until(lambda: any(r.id == call_id for r in self.page.running()), "running")

    def stop(self) -> int:
        """Send STOP and wait for the end; returns the exit status."""
        self.spoiled = True
        self.send(frame([envelope(Kind.STOP, id=make_id())]))
        return self.wait()

    def wait(self) -> int:
        self.node.until(lambda: self.popen.poll() is not None, "exit")
        self.node.poll(0)
        return int(self.popen.returncode)


class MiniNode:
    """The node's end of the workers link."""

    def __init__(self, folder: Path, lend: str) -> None:
        self.folder = folder
        self.lend = lend
        self.context = zmq.Context()
        self.link = self.context.socket(zmq.ROUTER)
        self.link.setsockopt(zmq.LINGER, 0)
        self.link.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.address = f"ipc://{folder}/w.ipc"
        self.link.bind(self.address)
        self.workers: list[Process] = []
        self.by_token: dict[str, Process] = {}
        self.by_route: dict[bytes, Process] = {}

    def worker(
        self,
        code: str = "",
        sockets: dict[str, str] | None = None,
        *,
        python: str = sys.executable,
        ready: bool = True,
        env: dict[str, str] | None = None,
        **config: Any,
    ) -> Process:
        """Start a worker on a module with this code; waits until it is ready."""
        number = len(self.workers)
        folder = self.folder / f"code{number}"
        folder.mkdir()
        (folder / "tasks.py").write_text(code)
        if sockets is None:
            names = [line.partition("def ")[2].partition("(")[0] for line in code.splitlines()]
            sockets = {f"s.{name}": name for name in names if name}
        control = str(self.folder / f"page{number}")
        token = secrets.token_hex(16)
        path = str(self.folder / f"config{number}")
        page = ControlPage.create(control)
        configuration.write(
            path,
            {
                "link": self.address,
                "worker": number,
                "token": token,
                "parent": os.getpid(),
                "processor": "proc",
                "module": "tasks",
                "import_path": [str(folder)],
                "sockets": sockets,
                "control": control,
                "lend": self.lend,
                "commit": "c" * 40,
                **config,
            },
        )
        log = self.folder / f"log{number}"
        with open(log, "ab") as stream:
            popen = subprocess.Popen(
                launch.command(python, self.lend, path),
                env=launch.environment(env),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        process = Process(self, popen, page)
        process.log = log
        process.code = code
        self.workers.append(process)
        self.by_token[token] = process
        if ready:
            self.until(lambda: process.route, "READY")
            process.ready = process.told[0]
        return process

    def fresh(self, code: str, sockets: dict[str, str] | None = None) -> Process:
        """A worker on this code as if just started: one of an earlier test when it is well."""
        for process in self.workers:
            if process.code == code and not process.spoiled and process.popen.poll() is None:
                self.poll(0)
                process.told = [process.ready]
                os.truncate(process.log, 0)
                return process
        return self.worker(code, sockets)

    def poll(self, timeout_ms: int = 20) -> None:
        """Take all frames that have come."""
        while self.link.poll(timeout_ms):
            route, data = self.link.recv_multipart()
            _head, rows = index(data)
            told = [Told(data, row) for row in rows]
            for one in told:
                if one.kind == Kind.READY:
                    self.by_route[route] = self.by_token[one.value["token"]]
                    self.by_route[route].route = route
            self.by_route[route].told += told
            self.by_route[route].frames += 1
            timeout_ms = 0

    def until(self, condition: Any, what: str) -> None:
        """Take frames until the condition holds."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            self.poll()
            if time.monotonic() > deadline:
                logs = [
                    f"{w.popen.poll()} {w.log.read_text()} {w.told[:3]}...{w.told[-3:]}"
                    for w in self.workers
                ]
                raise AssertionError(f"waited {WAIT_S} s for {what}; workers: {logs}")

    def close(self) -> None:
        for worker in self.workers:
            if worker.popen.poll() is None:
                worker.popen.kill()
                worker.popen.wait()
            worker.page.close()
        self.link.close()
        self.context.term()
