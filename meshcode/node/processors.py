"""What the model asks of this node, and what is: code mounted, workers up, one pool per processor.

`reconcile` is called after every change and every second; it compares and does the next step.
Mounting (git, environment, inspection) runs in a child process, so this file knows nothing of git.
An environment that cannot be built leaves the old one running.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshcode.errors import MountFailed
from meshcode.model import placing
from meshcode.model.delta import Key
from meshcode.model.settingnames import values
from meshcode.node import waits, wear
from meshcode.node.affinity import cpu_for
from meshcode.node.codewarnings import warnings_of
from meshcode.node.crew import Crew, WorkerProcess
from meshcode.node.declared import Declared
from meshcode.node.mounting import TRIED_AGAIN, Mounting, is_scarce, why_not_begun
from meshcode.node.processor import CODE_FIELDS, NOT_MOUNTED, Processor, digest_of
from meshcode.node.secrets import Secrets
from meshcode.router.events import Event, ProcessorChanged, WorkerLeaving
from meshcode.worker import lend, override, policy

if TYPE_CHECKING:
    from meshcode.node.codeserve import Held, Send
    from meshcode.node.codeshare import CodeShare

STARTING = "its workers are starting"
_ASKING = "the other nodes are asked which commit of its code they run"
_NO_TURN = "its code is fetched when one of the {} mounts here has ended (the setting mounts_max)"
BACKOFF_MS = (0, 200, 1_000, 5_000, 15_000, 30_000)  # Before the next start of a crashing worker.


class Processors:
    """All processors of the model, as far as this node runs them."""

    def __init__(
        self,
        crew: Crew,
        code_dir: Path,
        host: str,
        emit: Callable[[Event], None],
        save: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """`emit` takes events for the core; `save` keeps a finished mount in the log."""
        self.crew = crew
        self.code_dir = code_dir
        self.host = host
        self.emit = emit
        self.save = save
        self.by_name: dict[str, Processor] = {}
        self.commits: dict[str, str] = {}
        self._all_cpus = sorted(os.sched_getaffinity(0))
        self.cpus = self._all_cpus  # Those that its workers are pinned to.
        self.stopping = False
        self.settings = values({})  # Of the mesh.
        self.secrets = Secrets(code_dir.parent)
        self.name = ""  # Of this node in its mesh.
        self.rules: list[dict[str, Any]] = []  # For repositories, by name.
        self.other_names: set[str] = set()  # Of its peers.
        self.names_here: list[str] = []  # The declared nodes that this one is.
        self.declared = Declared()
        self._shares: dict[str, dict[str, int]] = {}  # Of deployments: by node, from schedulers.
        self.peer_states: Callable[[], dict[str, str]] = dict  # Of the other nodes, by name.
        self._peer_states: dict[str, str] = {}
        self.share: CodeShare | None = None  # In a mesh: how commits come from peers.

    def restore(self, name: str, kept: dict[str, Any]) -> None:
        """A mount of an earlier boot: its workers can start without git or a database."""
        processor = self.by_name.setdefault(name, Processor(name))
        processor.mount = kept["mount"]
        processor.mounted_code = tuple(kept["code"])
        self.commits[name] = kept["mount"].get("label") or kept["mount"]["commit"]
        self.emit(ProcessorChanged(name, STARTING, _signatures(kept["mount"])))

    def apply(self, snapshot: dict[str, Any], keys: Iterable[Key] | None = None) -> None:
        """Take over a model snapshot.

        Args:
            snapshot: of the model.
            keys: kind and name of all objects that differ from the last one; None: anything may.
        """
        wanted = snapshot.get("processors", {})
        concerned = self.declared.take(snapshot, keys)
        if concerned is None:
            self._apply_common(snapshot)
            concerned = {*wanted, *self.by_name}
        said_of = policy.reader(self.rules)
        for name in sorted(concerned):
            if name in wanted:
                self._apply(name, wanted[name], said_of)
            elif name in self.by_name:
                self.by_name[name].count = self.by_name[name].places = 0
                self.by_name[name].declared = False

    def _apply_common(self, snapshot: dict[str, Any]) -> None:
        """What concerns all processors."""
        self.settings = values(snapshot)
        self.secrets.changed(snapshot)
        nodes = snapshot.get("nodes", {})
        self.names_here = placing.names_here(nodes, self.name, self.host, self.other_names)
        self.cpus = self._all_cpus[: placing.cpus_here(nodes, self.names_here)]
        repos = snapshot.get("repos", {})
        rows = [{"name": name, **self.secrets.rule(rule)} for name, rule in repos.items()]
        self.rules = sorted(rows, key=lambda row: row["name"])
        self._shares = placing.placed(snapshot)

    def places(self) -> dict[str, int]:
        """The places for workers that this node has, by processor."""
        return {name: one.places for name, one in self.by_name.items() if one.places}

    def _apply(
        self, name: str, fields: dict[str, Any], said_of: Callable[[str], tuple[str, str]]
    ) -> None:
        processor = self.by_name.setdefault(name, Processor(name))
        declared = self.declared
        processor.declared = True
        processor.fields = fields
        processor.refused, signers = said_of(fields["git"])
        deployments = declared.deployments.get(name, {}).items()
        cpus = [self._cpus_of(entry, self._shares.get(which, {})) for which, entry in deployments]
        processor.places = sum(cpus) if cpus else int(fields.get("workers") or 1)
        if processor.elsewhere and processor.places:
            self._explain(processor, STARTING if processor.mount else NOT_MOUNTED)
        processor.elsewhere = False  # It is looked at again.
        stopped = fields.get("requested_status") == "stop"
        processor.count = 0 if stopped else processor.places
        code = [fields.get(field) for field in CODE_FIELDS]
        sources = self.secrets.sources_of(fields.get("env"))
        processor.overrides = declared.overrides_of(name)
        more = [found for found in (sources, processor.overrides) if found]
        before, processor.wanted_code = processor.wanted_code, (*code, *more, signers)
        if processor.problem and processor.wanted_code != before:
            self._solved(processor)  # What failed is not wanted any more.
        sockets, streams = declared.sockets.get(name, {}), declared.streams_of(name)
        if (processor.sockets, processor.streams) != (sockets, streams):
            processor.sockets, processor.streams = sockets, streams
            for worker in self._workers(name):
                if worker.state == "ready":
                    self.crew.tell_sockets(worker, processor.sockets, streams)

    def status_of(self, name: str) -> str:
        """What a processor does here, in one word, for listings."""
        processor = self.by_name.get(name)
        if processor is None:
            return "unknown"
        requested = processor.fields.get("requested_status")
        if requested in ("stop", "pause"):
            return "stopped" if requested == "stop" else "paused"
        if self._has_turn(processor) or (self.share is not None and self.share.busy(name)):
            return "building"
        if processor.problem:
            return "failed"
        if any(worker.state == "ready" for worker in self._workers(name)):
            return "running"
        if processor.count:
            return "starting"
        return "elsewhere" if self.declared.is_deployed(name, self._shares) else "idle"

    def shown(self, name: str) -> dict[str, str]:
        """What a listing says of a processor beside what is declared."""
        one = self.by_name.get(name)
        doing = one.mounting.doing if one is not None and one.mounting is not None else ""
        reason = one.reason if one is not None and one.elsewhere and not one.places else ""
        return {
            "status": self.status_of(name),
            "reason": (one.problem or doing or reason) if one is not None else "",
            "warning": "; ".join(warnings_of(one)) if one is not None else "",
            "running_commit": self.commits.get(name) or "",
        }

    def progress(self, name: str) -> dict[str, Any]:
        """How far a processor is here: its status, workers that are ready, and those of old code.

        `current`: the code that is wanted is the one that is mounted; `old_ready`: of the workers
        of old code those that still take calls.
        """
        processor = self.by_name[name]
        is_current = processor.mount is not None and (
            processor.wanted_code == processor.mounted_code
        )
        key = self._code_key(processor) if is_current else ""
        workers = self._workers(name)
        serving = [w for w in workers if w.state == "ready" and not w.stopping]
        ready = sum(w.key == key for w in serving)
        return {
            "status": self.status_of(name), "current": is_current, "ready": ready,
            "old": sum(w.key != key or bool(w.stopping) for w in workers),
            "old_ready": len(serving) - ready,
        }  # fmt: skip

    def joined(self, worker_id: int) -> None:
        """A worker is ready: tell it the sockets that changed while it was starting.

        Before the core hears of it, so that no call for a new socket overtakes this.
        """
        worker = self.crew.by_id.get(worker_id)
        processor = self.by_name.get(worker.processor) if worker else None
        if worker is None or processor is None:
            return
        if (worker.sockets, worker.streams) != (processor.sockets, processor.streams):
            self.crew.tell_sockets(worker, processor.sockets, processor.streams)

    def _cpus_of(self, deployment: Mapping[str, Any], share: dict[str, int]) -> int:
        """How many CPUs of it are here; `share`: what a scheduler gives to each declared node."""
        if deployment.get("scheduler"):
            return sum(share.get(name, 0) for name in self.names_here)
        return int(deployment["cpus"]) if self._is_here(deployment.get("host")) else 0

    def _is_here(self, host: str | None) -> bool:
        if host in ("*", None, "") or host in self.names_here:
            return True
        return placing.means(host, self.name, self.host, self.other_names)

    def _workers(self, name: str) -> list[WorkerProcess]:
        return [worker for worker in self.crew.by_id.values() if worker.processor == name]

    def descriptors(self) -> dict[int, Processor | CodeShare]:
        """Descriptors to watch, with what `hear` wants: mounts, and children of the exchange."""
        found: dict[int, Processor | CodeShare] = {}
        if self.share is not None:
            found.update(dict.fromkeys(self.share.descriptors(), self.share))
        for processor in self.by_name.values():
            if processor.mounting is not None:
                found[processor.mounting.fileno()] = processor
        return found

    def reconcile(self, now_ms: int) -> None:
        """Do what is needed next for every processor."""
        turns = sum(map(self._has_turn, self.by_name.values()))
        states = self.peer_states()
        is_news, self._peer_states = states != self._peer_states, states
        for processor in self.by_name.values():
            if self.stopping:
                return
            running = processor.mounting
            if running and not (processor.count and running.code == processor.wanted_code):
                running.end(now_ms)  # It may hang, and what it makes is not wanted.
            if not processor.places and (is_news or not processor.elsewhere):
                self._is_elsewhere(processor)
            if processor.refused:
                self._refuse(processor, processor.refused, now_ms)
                continue
            if processor.count and processor.wanted_code != processor.mounted_code:
                has_turn = self._has_turn(processor)
                if running is None and (has_turn or turns < self.settings["mounts_max"]):
                    self._start_mount(processor, now_ms)
                    turns += self._has_turn(processor) - has_turn
                elif running is None:
                    self._waits(processor, _NO_TURN.format(turns))
            elif self.share is not None:
                self.share.forget(processor.name)
                self.share.others.forget(processor.name)
            self._match_workers(processor, now_ms)
        self._forget()

    def _is_elsewhere(self, processor: Processor) -> None:
        processor.elsewhere = True
        deployments = self.declared.deployments.get(processor.name)
        if deployments:
            here, states = self.name or self.host, self._peer_states
            found = waits.elsewhere(processor.name, deployments, self._shares, here, states)
            if found != processor.reason:
                self._explain(processor, found)

    def _forget(self) -> None:
        """Drop what is declared no more, once its workers and its mount have ended."""
        gone = [name for name, processor in self.by_name.items() if not processor.declared]
        for name in gone:
            if self.by_name[name].mounting is None and not self._workers(name):
                del self.by_name[name]
                self.commits.pop(name, None)

    # Mounting.

    def _has_turn(self, processor: Processor) -> bool:
        """Whether it is mounted, or the others are asked about it first."""
        if processor.mounting is not None:
            return True
        return self.share is not None and self.share.others.asks(processor.name)

    def _start_mount(self, processor: Processor, now_ms: int) -> None:
        if processor.mounting is not None:
            return
        failed_same = processor.tried == processor.wanted_code
        if failed_same and now_ms < processor.retry_ms:
            return
        if self.share is not None:
            if failed_same and self.share.busy(processor.name):
                return
            self.share.forget(processor.name)
        held = processor.held if failed_same else ""
        request = {name: processor.fields.get(name) for name in CODE_FIELDS}
        count = len(CODE_FIELDS)
        same = processor.mounted_code[:count] == processor.wanted_code[:count]
        if processor.mount is not None and same:
            # Only an override or a place of a secret is another: that brings no newer commit.
            request |= {"commit": processor.mount["commit"], "tag": None}
        running: dict[str, int] | None = {}
        alone = bool(held) or (failed_same and processor.alone)
        if self.share is not None and not alone and (request["tag"] or not request["commit"]):
            code = digest_of(processor.wanted_code)
            running = self.share.others.of(processor.name, code, now_ms)
        if running is None:  # It goes on when they have answered.
            self._waits(processor, _ASKING)
            return
        processor.held, processor.alone = "", False
        processor.tried = processor.wanted_code
        request |= {
            "name": processor.name, "cache": str(self.code_dir), "tasks": [], "allow_file": True,
            "in_use": self._in_use(), "held": held, "rules": self.rules, "running": running,
            "named": sorted(set(processor.sockets.values())),
            "overrides": processor.overrides, "import_ms": self.settings["import_ms"],
        }  # fmt: skip
        try:
            request["env"] = self.secrets.environment(processor.fields.get("env"))
            processor.mounting = Mounting(request, processor.wanted_code)
        except (MountFailed, OSError) as error:
            processor.held = held
            processor.retry_ms = now_ms + self.settings["mount_retry_ms"]
            self._failed(processor, why_not_begun(error))
            return
        self._waits(processor, processor.mounting.doing)

    def _in_use(self) -> dict[str, list[str]]:
        """What of the cache must stay, however old it is."""
        mounts = [other.mount for other in self.by_name.values() if other.mount is not None]
        return {
            "keys": [mount["key"] for mount in mounts],
            "worktrees": [mount["worktree"] for mount in mounts],
        }

    def _explain(self, processor: Processor, reason: str) -> None:
        processor.reason = reason
        self.emit(ProcessorChanged(processor.name, reason))

    def _waits(self, processor: Processor, reason: str) -> None:
        """Tell calls what they wait for; of a mount that failed before, that is why it failed."""
        if processor.mount is None and not processor.problem and processor.reason != reason:
            self._explain(processor, reason)

    def hear(self, processor: Processor | CodeShare, now_ms: int) -> None:
        """Read what a mount says; at its end, take over the result."""
        if not isinstance(processor, Processor):
            processor.hear(now_ms)
            return
        mounting = processor.mounting
        assert mounting is not None
        result = mounting.read()
        if result is None:
            self._waits(processor, mounting.doing)
            return
        processor.mounting = None
        if mounting.ending:  # Whatever it says: the next one is of what is wanted now.
            processor.tried = ()
            self._waits(processor, NOT_MOUNTED)
            self.reconcile(now_ms)
            return
        if result.get("ok"):
            self._mounted(processor, result, mounting, now_ms)
            return
        reason = f"its code could not be mounted ({result.get('step', 'start')}): {result['text']}"
        processor.retry_ms = now_ms + self.settings["mount_retry_ms"]
        if result.get("reason") in policy.REFUSED:
            self._refuse(processor, reason, now_ms)
            return
        self._failed(processor, reason)
        if self.share is not None and not mounting.held and self.share.helps(result):
            self.share.wanted({**processor.fields, "name": processor.name}, reason, now_ms)
        else:  # What the others run may be the reason.
            processor.alone = mounting.is_as_others

    def _failed(self, processor: Processor, reason: str) -> None:
        if processor.mount is not None:
            reason = f"{reason}; the code of commit {processor.mount['commit'][:12]} keeps running"
        processor.problem, processor.is_refused = reason, False
        self._explain(processor, reason)

    def _solved(self, processor: Processor) -> None:
        processor.problem = ""
        self._explain(processor, STARTING if processor.mount else NOT_MOUNTED)

    def _refuse(self, processor: Processor, why: str, now_ms: int) -> None:
        """Its code may not run here, not even what is mounted already: its calls wait."""
        processor.mount, processor.mounted_code = None, ()
        if processor.refused:  # Not asked again before the rules change.
            processor.tried, processor.retry_ms = (), 0
            if processor.mounting is not None:
                processor.mounting.end(now_ms)
        for worker in self._workers(processor.name):
            if not worker.stopping:
                self.leave(worker, "its code is refused", now_ms)
        if processor.problem != why:
            processor.problem, processor.is_refused = why, True
            self._explain(processor, why)

    def _mounted(
        self, processor: Processor, result: dict[str, Any], made: Mounting, now_ms: int
    ) -> None:
        processor.mount = result
        processor.mounted_code = made.code
        processor.crashes = 0
        processor.problem = ""
        processor.next_start_ms = 0
        processor.reason = STARTING
        result["overrides"], result["held"] = made.overrides, made.held
        result["label"] = override.label(result["commit"], made.overrides)
        self.commits[processor.name] = result["label"]
        self.save(processor.name, {"mount": result, "code": list(processor.mounted_code)})
        self.emit(ProcessorChanged(processor.name, processor.reason, _signatures(result)))
        self.reconcile(now_ms)

    # Code from peers.

    def share_with(
        self,
        send: Send,
        peers: Callable[[], list[bytes]],
        may_run: Callable[[str], list[bytes]],
        label: Callable[[bytes], str],
    ) -> CodeShare:
        """Exchange code with peers from now on.

        Args:
            send: hands a message to a peer; False when it could not be.
            peers: the alive ones, now.
            may_run: who may tell the commit of a processor; the best first.
            label: a peer as people call it.
        """
        from meshcode.node.codeothers import Others
        from meshcode.node.codeshare import CodeShare  # A node without peers never needs them.

        self.share = CodeShare(
            send, peers, self.code_dir, held=self.held, ready=self._from_peer, tell=self._tell,
            label=label, others=Others(send, may_run, self._runs, self.reconcile),
        )  # fmt: skip
        return self.share

    def _runs(self, name: str, code: str) -> str:
        processor = self.by_name.get(name)
        return processor.runs(code) if processor is not None else ""

    def held(self) -> list[Held]:
        """What is mounted here, for peers that look for it."""
        from meshcode.node.codeserve import Held, ref_of

        found = []
        for processor in self.by_name.values():
            mount = processor.mount
            if mount is not None and "url" in mount:
                code = dict(zip(CODE_FIELDS, processor.mounted_code, strict=False))
                branch, commit, tag = (code.get(key) or "" for key in ("branch", "commit", "tag"))
                found.append(Held(mount["url"], ref_of(branch, commit, tag), mount["commit"]))
        return found

    def _from_peer(self, name: str, commit: str, now_ms: int) -> None:
        """A peer gave the commit: mount it, whatever the git server does."""
        processor = self.by_name.get(name)
        if processor is not None and not self.stopping:
            processor.held = commit
            processor.retry_ms = 0
            self._start_mount(processor, now_ms)

    def _tell(self, name: str, text: str) -> None:
        processor = self.by_name.get(name)
        if processor is not None:
            self._failed(processor, text)

    # Workers.

    def _match_workers(self, processor: Processor, now_ms: int) -> None:
        if processor.mount is None:  # Then it has none, and among thousands that is quick to know.
            return
        live = [worker for worker in self._workers(processor.name) if not worker.stopping]
        code = self._code_key(processor)
        current = [worker for worker in live if worker.key == code]
        old = [worker for worker in live if worker.key != code]
        for worker in current[processor.count :]:
            self.leave(worker, "not wanted any more", now_ms)
        missing = processor.count - len(current)
        if processor.mounted_code[-1:] != processor.wanted_code[-1:]:
            missing = 0  # Other signers are asked for now: it is looked at again first.
        if missing > 0 and now_ms >= processor.next_start_ms:
            processor.next_start_ms = 0
            for _ in range(missing):
                self._spawn(processor, now_ms)
        ready = sum(1 for worker in current if worker.state == "ready")
        if old and ready >= min(processor.count, 1):  # The new code runs: the old may leave.
            for worker in old:
                self.leave(worker, "newer code took over", now_ms)
        if ready and processor.problem and processor.wanted_code == processor.mounted_code:
            self._solved(processor)  # A secret that was missing is there again.
        for worker in current:
            if worker.state != "ready":
                continue
            if why := wear.of_any_kind(worker, processor.fields, self.settings, now_ms):
                self.leave(worker, why, now_ms)

    def _code_key(self, processor: Processor) -> str:
        assert processor.mount is not None
        return f"{processor.mount['key']}/{processor.mount['commit']}/{processor.mounted_code!r}"

    def reported(self, worker_id: int, now_ms: int) -> bool:
        """Outcomes of a worker came: whether they were its last, as another takes its place.

        Before the core hears of them, so that it is handed nothing more.
        """
        worker = self.crew.by_id.get(worker_id)
        processor = self.by_name.get(worker.processor) if worker else None
        if worker is None or processor is None or worker.state != "ready" or self.stopping:
            return False
        why = wear.of_calls(worker, processor.fields, self.settings)
        if why:
            self.leave(worker, why, now_ms)
            self._match_workers(processor, now_ms)
        return bool(why)

    def _spawn(self, processor: Processor, now_ms: int) -> None:
        assert processor.mount is not None
        cpu = cpu_for(processor.name, self.cpus, self.crew.by_id.values())
        config: dict[str, Any] = {"sockets": processor.sockets, "streams": processor.streams}
        config["commit"] = processor.mount.get("label") or processor.mount["commit"]
        config["overrides"] = processor.mount.get("overrides")
        try:
            config["env"] = self.secrets.environment(processor.fields.get("env"))
        except MountFailed as error:
            processor.next_start_ms = now_ms + BACKOFF_MS[-1]
            self._failed(processor, error.text)
            return
        try:
            config["lend"] = lend.ensure(str(self.code_dir))
            worker = self.crew.spawn(processor.name, processor.mount, config, cpu, now_ms)
        except OSError as error:
            if not is_scarce(error):  # The environment is gone: build it again.
                processor.mounted_code = ()
            processor.next_start_ms = now_ms + BACKOFF_MS[-1]
            self._explain(processor, f"its workers cannot be started: {error}; {TRIED_AGAIN}")
            return
        worker.key = self._code_key(processor)

    def leave(self, worker: WorkerProcess, why: str, now_ms: int) -> None:
        """Let a worker finish what it runs and end; `reconcile` starts the one that is missing."""
        self.emit(WorkerLeaving(worker.id))
        self.crew.stop(worker, why, now_ms, self.settings["stop_grace_ms"])

    def lost(self, worker: WorkerProcess, reason: str, now_ms: int) -> None:
        """A worker is gone: count it when it died young, so that a crashing one is not a storm."""
        processor = self.by_name.get(worker.processor)
        if processor is None or worker.stopping:
            return
        young = not worker.ready_ms or (not worker.calls and now_ms - worker.ready_ms < 5_000)
        processor.crashes = processor.crashes + 1 if young else 0
        most = 2 if worker.handed else len(BACKOFF_MS) - 1  # A call's own attempts are counted, and
        processor.next_start_ms = now_ms + BACKOFF_MS[min(processor.crashes, most)]  # others wait.
        if worker.error:
            self._explain(processor, f"its code does not load: {worker.error}")
        elif processor.crashes > 1:
            self._explain(
                processor, f"its workers crash ({processor.crashes} in a row, last: {reason})"
            )

    def next_due_ms(self) -> int | None:
        """When `reconcile` has something to do that only time brings."""
        times = [
            processor.next_start_ms
            for processor in self.by_name.values()
            if processor.count and processor.mount and processor.next_start_ms
        ]
        return min(times) if times else None

    def stop_all(self, why: str, now_ms: int, grace_ms: int) -> None:
        """Let every worker finish what it runs and leave; running mounts are ended."""
        self.stopping = True
        if self.share is not None:
            self.share.close()
        for worker in list(self.crew.by_id.values()):
            self.crew.stop(worker, why, now_ms, grace_ms)
        running = [p.mounting for p in self.by_name.values() if p.mounting is not None]
        for mounting in running:
            mounting.end(now_ms)
        for mounting in running:
            mounting.close()
        for processor in self.by_name.values():
            processor.mounting = None


def _signatures(mount: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {**task["signature"], "at_once": task["kind"].startswith("async")}
        for name, task in mount.get("tasks", {}).items()
    }
