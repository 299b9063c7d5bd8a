"""A real node in a folder of its own: started, asked, killed, started again.

Nothing of it is shared with other nodes of the machine, and only processes started here are ever
killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from meshcode import paths
from meshcode.errors import MeshError
from tests.live.rawlink import NoAnswer, RawLink

ROOT = Path(__file__).resolve().parent.parent.parent
START_S = 20.0
MOUNT_S = 60.0

GIT_WHO = (
    "-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false",
    "-c", "init.defaultBranch=main",
)  # fmt: skip


def until(
    condition: Callable[[], Any], seconds: float, what: str | Callable[[], str], every: float = 0.02
) -> Any:
    """The first true value of `condition()`, looked at every 20 ms.

    Raises:
        AssertionError: it was never true within `seconds`; the text says `what`.
    """
    end = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(
                f"not within {seconds} s: {what if isinstance(what, str) else what()}"
            )
        pause.wait(every)


def heard_until(
    events: Any, wanted: Callable[[dict[str, Any]], Any], what: str, seconds: float = 20.0
) -> list[dict[str, Any]]:
    """Events of a listener up to the one for which `wanted` is true.

    Raises:
        AssertionError: none came for `seconds`; the text says `what` was wanted.
    """
    found: list[dict[str, Any]] = []
    while True:
        assert events.wait(seconds), f"not within {seconds} s: {what}; {found}"
        found.append(next(events))
        if wanted(found[-1]):
            return found


def make_repository(folder: Path, files: dict[str, str], message: str = "begin") -> str:
    """Write `files` into a git repository at `folder` (made when it is not there); the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD").strip()


def git(folder: Path, *words: str) -> str:
    """Run git there, away from the configuration of whoever runs the tests."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    run = subprocess.run(
        ["git", *GIT_WHO, *words], cwd=folder, env=env, capture_output=True, text=True, check=True
    )
    return run.stdout


class Mesh:
    """One node with its home folder."""

    def __init__(self, home: Path | None = None, python: str = sys.executable) -> None:
        """Nothing runs yet; without `home`, a short temporary folder that `remove` deletes."""
        self._temporary = None
        if home is None:
            self._temporary = tempfile.TemporaryDirectory(
                prefix="mesh-", ignore_cleanup_errors=True
            )
            home = Path(self._temporary.name)
        self.home = home
        self.python = python
        self.process: subprocess.Popen[bytes] | None = None
        self.said = home / "said.txt"  # What the node printed.
        self._link: RawLink | None = None

    def __enter__(self) -> Mesh:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def env(self) -> dict[str, str]:
        """The environment for everything that belongs to this node."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("MESH_")}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {**clean, "MESH_HOME": str(self.home), "PYTHONPATH": path}

    @property
    def address(self) -> str:
        """Where clients connect."""
        return paths.clients_address(str(self.home))

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a node process on this home and do not wait for it."""
        self.home.mkdir(parents=True, exist_ok=True)
        with self.said.open("ab") as out:
            return subprocess.Popen(
                [self.python, "-m", "meshcode.node", "--home", str(self.home), *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env, cwd=self.home,
                start_new_session=True,
            )  # fmt: skip

    def start(self, *arguments: str, seconds: float = START_S) -> Mesh:
        """Start the node and wait until it answers, for at most `seconds`."""
        assert self.process is None or self.process.poll() is not None
        self.process = self.spawn(*arguments)
        until(self._answers, seconds, lambda: f"the node answers; it said:\n{self.words()}")
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the node ended with {self.process.returncode}:\n{self.words()}")
        self._drop_link()
        link = RawLink(self.address)
        try:
            link.open(0.5)
        except NoAnswer:
            link.close()
            return False
        self._link = link
        return True

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def words(self) -> str:
        """What the node printed so far, and the end of its log."""
        texts = []
        for path in (self.said, Path(paths.log_file(str(self.home)))):
            if path.exists():
                texts.append(path.read_text(errors="replace")[-4_000:])
        return "\n".join(texts)

    def ask(self, operation: str, seconds: float = 20.0, **fields: Any) -> Any:
        """Ask the node; connects again when it restarted."""
        if self._link is None:
            until(self._answers, START_S, "the node answers")
        assert self._link is not None
        return self._link.ask(operation, seconds, **fields)

    def link(self) -> RawLink:
        """A link of the caller's own, with a session."""
        link = RawLink(self.address)
        link.open()
        return link

    # The model.

    def add(self, kind: str, name: str, **fields: Any) -> Any:
        """Add one object to the model."""
        return self.ask("model", do="add", kind=kind, name=name, fields=fields)

    def offer(
        self, processor: str, repository: Path, module: str, tasks: Iterable[str], **fields: Any
    ) -> None:
        """A processor of `repository` and a socket `module.task` on queue `q` for each task."""
        self.add("queue", "q", exists_ok=True)
        given = {"git": repository.as_uri(), "module": module, "branch": "main", **fields}
        self.add("processor", processor, **given)
        for task in tasks:
            self.add("socket", f"{module}.{task}", processor=processor, task=task, queue="q")

    def repository(self, files: dict[str, str]) -> Path:
        """A git repository with these files, in the home of the node."""
        folder = self.home / "repository"
        make_repository(folder, files)
        return folder

    def processor(self, name: str) -> dict[str, Any]:
        """What `status` says of one processor; {} when it says nothing."""
        rows = self.ask("status")["processors"]
        return next((row for row in rows if row["name"] == name), {})

    def ready_workers(self, processor: str | None = None) -> list[dict[str, Any]]:
        """Workers that can take calls."""
        return [
            worker
            for worker in self.ask("status")["workers"]
            if worker["state"] == "ready" and processor in (None, worker["processor"])
        ]

    def wait_ready(self, processor: str, workers: int = 1, seconds: float = MOUNT_S) -> None:
        """Wait until the code is mounted and so many workers are up."""
        until(
            lambda: len(self.ready_workers(processor)) >= workers,
            seconds,
            lambda: f"{workers} workers of {processor}: {self.processor(processor)} {self.words()}",
            every=0.1,
        )

    # Processes.

    def children(self) -> list[psutil.Process]:
        """Every process below the node, while it lives."""
        assert self.process is not None
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def worker_pids(self) -> list[int]:
        """Process ids of the node's workers, found from outside."""
        found = []
        for child in self.children():
            try:
                if any("bootstrap.py" in word for word in child.cmdline()):
                    found.append(child.pid)
            except psutil.Error:
                continue
        return found

    def kill(self) -> None:
        """kill -9 of the node; returns when it is gone."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._drop_link()

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM, which drains; the exit status.  Killed when it does not end in time."""
        if self.process is None:
            return 0
        self._drop_link()
        children = self.children()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        _, alive = psutil.wait_procs(children, timeout=5)
        for child in alive:
            child.kill()
        self.process = None
        assert not alive, f"these outlived their node: {alive}"
        return status

    def remove(self) -> None:
        """Stop the node and delete a temporary home."""
        try:
            self.stop()
        finally:
            self._drop_link()
            if self._temporary is not None:
                self._temporary.cleanup()

    def mesh(
        self, *words: str, given: str | None = None, seconds: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `mesh WORDS` against this node."""
        return subprocess.run(
            [self.python, "-m", "meshcode.cli", *words],
            input=given, stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True, text=True, env=self.env, cwd=self.home, timeout=seconds,
            check=False,
        )  # fmt: skip


@contextmanager
def offering(
    processor: str, code: Path | dict[str, str], module: str, tasks: Iterable[str], *,
    home: Path | None = None, **fields: Any,
) -> Iterator[Mesh]:  # fmt: skip
    """A node that offers tasks as `Mesh.offer` does, with all workers of the processor ready.

    Of a client as well: `with offering(...) as mesh, connect(mesh.address) as client`, which a
    failure closes in the right order, too.

    Args:
        code: a repository, or the files of one.
    """
    with Mesh(home) as mesh:
        repository = mesh.repository(code) if isinstance(code, dict) else code
        mesh.offer(processor, repository, module, tasks, **fields)
        mesh.wait_ready(processor, fields.get("workers", 1))
        yield mesh


def refusal(action: Callable[[], Any]) -> MeshError:
    """The error that `action` raises.

    Raises:
        AssertionError: it raises none.
    """
    try:
        value = action()
    except MeshError as error:
        return error
    raise AssertionError(f"it was not refused, it gave {value!r}")
