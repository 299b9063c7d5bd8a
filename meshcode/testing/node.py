"""A real node with workers for one test, in processes of its own: the fixture `mesh`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

import meshcode
from meshcode import paths
from meshcode.client import Client, connect
from meshcode.client.flows.composition import Composition
from meshcode.client.flows.flow import Flow
from meshcode.client.socket import Socket
from meshcode.errors import BadRequest, MountFailed, NodeError, NoNode, WaitTimeout
from meshcode.listing import whole_page
from meshcode.testing import ownpython, worktree

START_S = 30.0
READY_S = 120.0  # Packages may have to be built.
STOP_S = 15.0
LOOK_S = 0.02
LOG_LINES = 30


class LocalMesh:
    """One node in a temporary folder that mounts the working tree as it is now."""

    def __init__(self, root: Path, *, build: bool = False) -> None:
        """Nothing runs yet.

        Args:
            root: what holds the modules; committed or not, without what git ignores.
            build: build the environment of the code as a real node does, from what the
                repository requires.  Else workers have the packages of this interpreter.
        """
        self.root = root
        self.build = build
        self._folder = tempfile.TemporaryDirectory(prefix="mesh-", ignore_cleanup_errors=True)
        self.home = Path(self._folder.name) / "home"
        self._repository = Path(self._folder.name) / "code.git"
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None
        self._declared: dict[str, str] = {}

    # What a test uses.

    @property
    def address(self) -> str:
        """Where clients connect."""
        return paths.clients_address(str(self.home))

    @property
    def git(self) -> str:
        """The address of the repository, for processors that a test declares itself."""
        return self._repository.as_uri()

    @property
    def client(self) -> Client:
        """A client of the node; it outlives `restart`."""
        if self._client is None:
            raise NodeError("this mesh is not started; use the fixture, or `with`")
        return self._client

    def socket(self, name: str, **fields: Any) -> Socket:
        """A socket for `module.function` of the working tree; declared and ready to run.

        Args:
            name: of the function, with its module; the socket has the same.
            fields: of the socket in the model: retries, concurrency, time_limit_ms, ...

        Raises:
            BadRequest: there is no such module, or it has no such function.
            MountFailed: the module cannot be imported; the text has the traceback.
        """
        module, _, task = name.rpartition(".") if isinstance(name, str) else ("", "", "")
        if not module:
            raise BadRequest(f"a socket is named module.function, not {name!r}")
        if name not in self._declared:
            self._mount(module)
            given = {"processor": module, "task": task, "queue": "tests", **fields}
            self._model("add", "socket", name, exists_ok=True, **given)
            self._declared[name] = module
            self._wait_ready(module)
            self._check_task(name, module, task)
        elif fields:
            self._model("update", "socket", name, **fields)
        return self.client.socket(name)

    def submit(self, composition: Composition, *args: Any, **kwargs: Any) -> Flow:
        """Submit a flow; its sockets must have been named with `socket`."""
        return self.client.submit(composition, *args, **kwargs)

    def calls(self, **wanted: Any) -> list[dict[str, Any]]:
        """The node's records of calls, newest first, as `mesh ls calls` has them.

        Args:
            wanted: as of the operation call.list: state, socket, rows, ...; 1,000 rows at most
                without one.
        """
        page = whole_page(self.client.ask, "call.list", {"rows": 1000, **wanted})
        rows: list[dict[str, Any]] = page["calls"]
        return rows

    # Faults.

    def kill_worker(self, name: str | None = None) -> int:
        """kill -9 of a worker, rather of one that runs a call; the node starts another.

        Args:
            name: of a socket or module; without it any worker.

        Returns:
            Its process id; the process is gone.

        Raises:
            NodeError: there is none.
        """
        module = self._declared.get(name or "", name)
        living: list[tuple[bool, psutil.Process]] = []  # Whether it holds calls.

        def found() -> bool:
            rows = [
                row for row in self.client.ask("status")["workers"]
                if module in (None, row["processor"]) and row["pid"]
            ]  # fmt: skip
            if not rows:
                whose = name or "anything"
                raise NodeError(f"there is no worker of {whose} to kill; nothing was done")
            own = {child.pid: child for child in self._children()}
            living[:] = [(bool(row["holds"]), own[row["pid"]]) for row in rows if row["pid"] in own]
            return bool(living)  # Else it has just ended by itself, and another one comes.

        _until(found, READY_S, lambda: f"no worker of {name or 'anything'} stays; nothing was done")
        _, worker = max(living, key=lambda one: one[0])
        worker.kill()
        psutil.wait_procs([worker], STOP_S)
        return int(worker.pid)

    def restart(self, *, kill: bool = True) -> None:
        """End the node and start it again on the same disk.

        Args:
            kill: kill -9; else it is asked to end, and lets calls that run end first.
        """
        self._end(kill=kill)
        self._start()

    # Life.

    def start(self) -> Self:
        """Commit the working tree aside, start the node and connect.

        Raises:
            NodeError: the node ended at once; the text has its log.
            BadRequest: git refuses.
        """
        paths.make_folders(str(self.home))
        worktree.commit_of(self.root, self._repository)
        self._start()
        self._client = connect(self.address, timeout=START_S)
        self._model("add", "queue", "tests", exists_ok=True)
        return self

    def stop(self) -> None:
        """End the node and all it started, and delete everything."""
        if self._client is not None:
            self._client.close(0)
            self._client = None
        try:
            self._end(kill=True)
        finally:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log(self, lines: int = LOG_LINES) -> str:
        """The end of what the node wrote to its log."""
        path = Path(paths.log_file(str(self.home)))
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _start(self) -> None:
        source = str(Path(meshcode.__file__).parent.parent)
        env = {k: v for k, v in os.environ.items() if not k.startswith("MESH_")}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [source, env.get("PYTHONPATH")]))
        env |= {"MESH_HOME": str(self.home), "MESH_MODEL": "", "MESH_MDNS": "0"}
        with open(paths.log_file(str(self.home)), "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "meshcode.node", "--home", str(self.home), "--foreground"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home, env=env,
                start_new_session=True,
            )  # fmt: skip
        _until(self._answers, START_S, lambda: f"the node does not answer; its log:\n{self.log()}")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            status = self._process.returncode
            raise NodeError(f"the node ended with status {status}; its log:\n{self.log()}")
        if not paths.listens(self.address):
            return False
        try:
            with connect(self.address, timeout=1.0) as client:
                return bool(client.node.get("pid") == self._process.pid)
        except NoNode:
            return False

    def _children(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _end(self, *, kill: bool) -> None:
        if self._process is None:
            return
        children = self._children()
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        for child in children:  # They end with their node; some look for it only now and then.
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()  # A handle, not a number: another process is never meant.
        psutil.wait_procs(children, timeout=STOP_S)

    # Mounting.

    def _model(self, do: str, kind: str, name: str, **fields: Any) -> Any:
        return self.client.ask("model", do=do, kind=kind, name=name, fields=fields)

    def _mount(self, module: str) -> None:
        if module in self._declared.values():
            return
        path = worktree.module_path(self.root, module)
        if not self.build:
            ownpython.provide(paths.code_dir(str(self.home)), self.git, path)
        fields = {"git": self.git, "module": module, "branch": "main"}
        if path:
            fields["module_path"] = path
        self._model("add", "processor", module, exists_ok=True, **fields)

    def _wait_ready(self, module: str) -> None:
        def ready() -> bool:
            rows = self.client.ask("status")["processors"]
            row: dict[str, Any] = next((row for row in rows if row["name"] == module), {})
            if row.get("problem") and not row.get("building"):
                raise MountFailed(str(row["problem"]), step="import", reason="test")
            return bool(row.get("ready") and row.get("current"))

        _until(ready, READY_S, lambda: f"module {module} is not mounted; log:\n{self.log()}")

    def _check_task(self, name: str, module: str, task: str) -> None:
        """A worker that is ready knows its functions; a call to another would wait for ever."""
        found = self.client.ask("socket.describe", name=name)
        if found.get("kind") is None:
            self._model("delete", "socket", name)
            del self._declared[name]
            raise BadRequest(f"module {module!r} has no function {task!r}; nothing was declared")


def _until(condition: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            raise WaitTimeout(f"not within {seconds:g} s: {what()}")
        pause.wait(LOOK_S)
