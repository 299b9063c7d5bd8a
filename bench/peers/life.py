"""One life of one system, from outside: its process is started, given orders, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import machine
from bench.peers import tree
from bench.peers.peer import Unavailable

ORDER_S = 120.0  # No order takes longer when all is well.


class Life:
    """A driver process with a folder of its own; use it in a `with`."""

    def __init__(self, name: str, python: str, workers: int, folder: str | None = None) -> None:
        """Starts the process: `folder` is where its folder is made, by default the system's own.

        Raises:
            Unavailable: what it imports is not there.
        """
        self.name = name
        self.began = time.perf_counter()
        self.folder = Path(tempfile.mkdtemp(prefix="peer-", dir=folder))
        self._rest = b""
        path = os.pathsep.join([str(machine.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        words = [python, "-m", "bench.peers.drive", name, str(self.folder), str(workers)]
        with (self.folder / "driver.said").open("wb") as said:
            self.process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                cwd=machine.ROOT, env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
            )  # fmt: skip
        try:
            self._answer(ORDER_S)
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def ask(self, order: str, within: float = ORDER_S, **fields: Any) -> Any:
        """What came of an order.

        Raises:
            Unavailable: it failed, or took longer than `within` seconds.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": order, **fields}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Unavailable(f"its process ended: {self._said()}") from None
        try:
            return self._answer(within)
        except Unavailable as error:
            raise Unavailable(f"{order}: {error}") from None

    def _answer(self, seconds: float) -> Any:
        assert self.process.stdout is not None
        end = time.monotonic() + seconds
        number = self.process.stdout.fileno()
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([number], [], [], left)[0]:
                raise Unavailable(f"no answer within {seconds:.0f} s")
            data = os.read(number, 1 << 16)
            if not data:
                raise Unavailable(f"its process ended: {self._said()}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            words = " ".join(answer["error"].split())
            raise Unavailable(words if len(words) < 300 else f"{words[:80]} ... {words[-200:]}")
        return answer["value"]

    def _said(self) -> str:
        text = (self.folder / "driver.said").read_text(errors="replace").strip()
        return text.splitlines()[-1] if text else f"exit {self.process.poll()}"

    def pids(self) -> list[int]:
        """The whole stack: client, servers, workers."""
        return tree.tree_of(self.process.pid)

    def end(self) -> None:
        """Stop it in order, then kill what is left below it, and delete its folder."""
        if self.process.poll() is None:
            with contextlib.suppress(Unavailable):  # Then it is killed below.
                self.ask("stop", 30)
        left = self.pids()[1:] if self.process.poll() is None else []
        for pid in [*left, self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
