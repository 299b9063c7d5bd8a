"""The story of the demo, in order: mount, run, kill a worker, kill the node, pipeline, verify."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshcode.cli.demo import repository
from meshcode.cli.demo.stage import READY_S, Stage, ready_workers, reason_of
from meshcode.cli.demo.textlib.count import measure
from meshcode.errors import MountFailed

if TYPE_CHECKING:
    from meshcode.client import Call, Client

WORDS = "words"  # Processor of textlib.count.
REPORT = "report"  # Processor of textlib.report, with a package more.
COUNT, ECHO, CAN_IMPORT = "textlib.count", "textlib.echo", "textlib.can_import"
LINE, MERGE = "textlib.line", "textlib.merge"
RESULT_S = 60.0  # For one result; the whole demo takes less.
ECHOES = 2_000
PIPELINE_FILES = 100
KILL_WORKER_AT = 0.25  # Of the results of the first batch.
KILL_NODE_AT = 0.25  # Of the results of the second batch.


@dataclass
class Facts:
    """What the demo did and measured; times in seconds."""

    commit: str = ""
    package: str = ""
    package_note: str = ""
    node_start_s: float = 0.0
    mount_s: float = 0.0
    files: int = 0
    file_bytes: int = 0
    local_s: float = 0.0
    killed_worker: int = 0
    open_at_worker_kill: int = 0
    worker_back_s: float = 0.0
    killed_node: int = 0
    open_at_node_kill: int = 0
    node_back_s: float = 0.0
    count_calls: int = 0
    count_s: float = 0.0
    echo_calls: int = 0
    echo_s: float = 0.0
    pipeline_calls: int = 0
    pipeline_s: float = 0.0
    report: dict[str, Any] = field(default_factory=dict)


class Story:
    """One run; `mismatches` is empty when all that was promised held."""

    def __init__(self, stage: Stage, *, files: int, offline: bool) -> None:
        """Args:
        files: how many files to count, each twice.
        offline: take the package that the repository brings, and do not ask the index.
        """
        self.stage = stage
        self.offline = offline
        self.facts = Facts()
        self.mismatches: list[str] = []
        self.files = repository.real_files(files)
        self.expected: dict[str, dict[str, Any]] = {}
        self.submitted: dict[str, str] = {}  # Id of every call made -> its key in the ledger.
        self.ledger = str(stage.folder / "ledger")
        self.results: dict[str, Any] = {}  # Key -> value.

    def check(self, good: bool, text: str) -> None:
        """Note a promise that was broken."""
        if not good:
            self.mismatches.append(text)

    def play(self) -> None:
        """Run the story to its end; the node is left running for the verification."""
        repo = self.stage.folder / "repo"
        self.facts.commit = repository.make_repository(repo)
        self.facts.files = len(self.files)
        self.facts.file_bytes = sum(os.path.getsize(path) for path in self.files)
        begun = time.monotonic()
        self.stage.start_node()
        self.facts.node_start_s = time.monotonic() - begun
        self._declare(repo)
        with self.stage.connect() as client:
            self._wait_for_code(client)
            self._check_environments(client)
            self._count_and_kill_a_worker(client)
            self._count_and_kill_the_node(client)
            self._pipeline(client)
            self._echo(client)

    # Declaring.

    def _declare(self, repo: Path) -> None:
        mesh, url = self.stage.mesh, repo.as_uri()
        wanted = "requirements-local.txt" if self.offline else "requirements.txt"
        # The one that takes longest to build goes first.
        mesh("add", "processor", "-n", REPORT, "-g", url, "-m", "textlib.report", "-rq", wanted)
        mesh("add", "processor", "-n", WORDS, "-g", url, "-m", "textlib.count", "-w", "2")
        mesh("add", "queue", "-n", "work", "-t", "direct")
        mesh("add", "queue", "-n", "small", "--max-length", "100000")
        mesh("add", "socket", "-n", COUNT, "-q", "work", "-pn", WORDS, "-t", "count")
        mesh("add", "socket", "-n", ECHO, "-q", "small", "-pn", WORDS, "-t", "echo")
        mesh("add", "socket", "-n", CAN_IMPORT, "-q", "small", "-pn", WORDS, "-t", "can_import")
        mesh("add", "socket", "-n", LINE, "-q", "work", "-pn", REPORT, "-t", "line")
        mesh("add", "socket", "-n", MERGE, "-q", "work", "-pn", REPORT, "-t", "merge")

    def _wait_for_code(self, client: Client) -> None:
        """Compute what is expected while the environments are built, then wait for both."""
        begun = time.monotonic()
        self.stage.say("  building two environments, and counting here what they will count")
        for path in self.files:
            self.expected[path] = measure(path)
        self.facts.local_s = time.monotonic() - begun
        self._wait_ready(client, WORDS, 2)
        fell_back = not self.offline and not self._try_ready(client, REPORT)
        if fell_back:
            self.stage.say(
                "  the package index is out of reach; taking the repository's own package"
            )
            self.stage.mesh(
                "update", "processor", "-n", REPORT, "-rq", "requirements-local.txt"
            )  # fmt: skip
        self._wait_ready(client, REPORT, 1)
        self.facts.mount_s = time.monotonic() - begun
        if self.offline or fell_back:
            why = "asked for" if self.offline else "the index is out of reach"
            self.facts.package_note = f"brought by the repository ({why})"
            self.facts.package = repository.LOCAL_PACKAGE
        else:
            self.facts.package_note = "from the package index"
            self.facts.package = repository.INDEX_PACKAGE

    def _try_ready(self, client: Client, processor: str) -> bool:
        """Wait for a processor; False when its environment cannot be built."""

        def ended(status: dict[str, Any]) -> bool:
            failed = "could not be mounted (environment)" in reason_of(status, processor)
            return failed or bool(ready_workers(status, processor))

        found = self.stage.wait(client, ended, f"mounting {processor}", READY_S)
        return bool(ready_workers(found, processor))

    def _wait_ready(self, client: Client, processor: str, count: int) -> None:
        def ended(status: dict[str, Any]) -> bool:
            reason = reason_of(status, processor)
            if "could not be mounted" in reason and "environment" not in reason:
                raise MountFailed(f"processor {processor}: {reason}")
            return len(ready_workers(status, processor)) >= count

        self.stage.wait(client, ended, f"mounting {processor}", READY_S)

    def _check_environments(self, client: Client) -> None:
        package = self.facts.package
        call = self._submit(client, CAN_IMPORT, "", package)
        self.check(
            call.result(RESULT_S) is False,
            f"processor {WORDS} can import {package}, which only {REPORT} asked for",
        )

    # Calling.

    def _submit(self, client: Client, socket: str, key: str, *args: Any) -> Call:
        call = client.socket(socket).submit(*args)
        self.submitted[call.id] = key
        return call

    def _submit_counts(self, client: Client, batch: str, files: list[str]) -> list[Call]:
        socket = client.socket(COUNT)
        calls = []
        for path in files:
            key = f"{batch}:{path}"
            calls.append(socket.submit(path, key, self.ledger))
            self.submitted[calls[-1].id] = key
        for call in calls:
            call.wait_accepted(RESULT_S)
        self.facts.count_calls += len(calls)
        return calls

    def _collect(self, calls: list[Call]) -> None:
        for call in calls:
            key = self.submitted[call.id]
            self.results[key] = call.result(RESULT_S)

    def _count_and_kill_a_worker(self, client: Client) -> None:
        """Half of the work; in its middle one of the two workers is killed."""
        begun = time.monotonic()
        calls = self._submit_counts(client, "a", self.files)
        middle = int(len(calls) * KILL_WORKER_AT)
        self._collect(calls[:middle])
        status = dict(client.ask("status"))
        victim = max(ready_workers(status, WORDS), key=lambda worker: worker.get("holds", 0))
        before = {worker["pid"] for worker in ready_workers(status, WORDS)}
        self.facts.killed_worker = int(victim["pid"])
        self.facts.open_at_worker_kill = int(status["calls"]["open"])
        self.check(
            self.facts.open_at_worker_kill > 0,
            "the worker was killed when nothing was open; give --files a larger number",
        )
        self.stage.look(status)
        self.stage.say(f"  $ kill -9 {victim['pid']}        (a worker, with calls in its hands)")
        os.kill(int(victim["pid"]), signal.SIGKILL)
        killed = time.monotonic()

        def replaced(status: dict[str, Any]) -> bool:
            pids = {worker["pid"] for worker in ready_workers(status, WORDS)}
            return len(pids) >= 2 and pids != before

        self.stage.wait(client, replaced, "replacing the worker", READY_S)
        self.facts.worker_back_s = time.monotonic() - killed
        self._collect(calls[middle:])
        self.facts.count_s += time.monotonic() - begun

    def _count_and_kill_the_node(self, client: Client) -> None:
        """The other half; in its middle the whole node is killed and started again."""
        begun = time.monotonic()
        calls = self._submit_counts(client, "b", self.files[::-1])
        middle = int(len(calls) * KILL_NODE_AT)
        self._collect(calls[:middle])
        status = dict(client.ask("status"))
        self.stage.look(status)
        self.facts.killed_node = int(status["pid"])
        self.facts.open_at_node_kill = int(status["calls"]["open"])
        self.check(
            self.facts.open_at_node_kill > 0,
            "the node was killed when nothing was open; give --files a larger number",
        )
        self.stage.say(f"  $ kill -9 {status['pid']}        (the node; its workers die with it)")
        self.stage.kill_node()
        killed = time.monotonic()
        again = self.stage.start_node()
        self.facts.node_back_s = time.monotonic() - killed
        self.check(
            int(again["boot"]) > int(status["boot"]),
            f"the node came back with boot {again['boot']}, it had {status['boot']} before",
        )
        # Half of what is left through the client that lived through it, half as a stranger would:
        # a new client that knows the ids and nothing else.
        rest = calls[middle:]
        half = len(rest) // 2
        self._collect(rest[:half])
        with self.stage.connect() as stranger:
            for call in rest[half:]:
                value = stranger.call(call.id).result(RESULT_S)
                self.results[self.submitted[call.id]] = value
        self.facts.count_s += time.monotonic() - begun

    def _pipeline(self, client: Client) -> None:
        """count -> line -> merge over real files, each stage fed by what the one before gave."""
        begun = time.monotonic()
        chosen = self.files[:PIPELINE_FILES]
        counted = self._submit_counts(client, "p", chosen)
        lines = []
        for call in counted:
            key = self.submitted[call.id]
            self.results[key] = call.result(RESULT_S)
            lines.append(
                self._submit(client, LINE, f"l:{key}", self.results[key], f"l:{key}", self.ledger)
            )
        merged = self._submit(client, MERGE, "", [call.result(RESULT_S) for call in lines])
        self.facts.report = merged.result(RESULT_S)
        self.facts.count_calls -= len(counted)
        self.facts.pipeline_calls = len(counted) + len(lines) + 1
        self.facts.pipeline_s = time.monotonic() - begun
        self.stage.look(client.ask("status"))

    def _echo(self, client: Client) -> None:
        """Empty calls, durable like all others: what the mesh itself costs."""
        begun = time.monotonic()
        socket = client.socket(ECHO)
        calls = [socket.submit(n) for n in range(ECHOES)]
        values = [call.result(RESULT_S) for call in calls]
        self.facts.echo_s = time.monotonic() - begun
        self.facts.echo_calls = len(calls)
        self.submitted.update((call.id, "") for call in calls)
        self.check(values == list(range(ECHOES)), f"the results of {ECHO} are not what was sent")
