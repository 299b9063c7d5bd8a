"""The compose files of ElasticCode, read as they are and made into our own document.

docs/files.md says what becomes of each key.  Three kinds of key: those that are read; those that
ElasticCode accepted and did nothing with, and those that mean nothing here, both of which are named
to the person and left out; and all others, which are mistakes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from meshcode.cli.files.document import Document, Problems, read_document
from meshcode.cli.files.reading import Source, Way
from meshcode.client.objects.schedule import INTERVAL_ARGUMENTS
from meshcode.model.checks import near, shown
from meshcode.model.kinds import PLURALS

_PARTS = ("scheduler", "queues", "processors", "nodes", "deployments", "plugs")
_IGNORED = ("version", "services", "work", "jobs", "executions", "status", "requested_status",
            "commit", "workers", "enabled", "resetonexecute", "parameters", "durable")  # fmt: skip
_POINTLESS = ("ssh", "path", "ini", "polar", "pyfirepo", "clean", "deploy", "beat", "detached",
              "container_image", "container_version", "use_container", "expires")  # fmt: skip
_PROCESSOR_KEYS = ("module", "branch", "gitrepo", "cpus", "sockets")


@dataclass(slots=True)
class Compose:
    """A compose file in our words."""

    document: Document
    placed: dict[str, set[str]] = field(default_factory=dict)  # Node -> the processors under it.
    implied: set[str] = field(default_factory=set)  # Queues that are named and not declared.
    # Key -> where it stood first, and how often: what was read over.
    ignored: dict[str, tuple[str, int]] = field(default_factory=dict)


def read_compose(source: Source, *, deploy: bool, nodes: Collection[str] = ()) -> Compose:
    """What a compose file declares.

    Args:
        source: the file.
        deploy: give the processors under a node a deployment there.
        nodes: leave out the processors under all other nodes; none are all.

    Raises:
        BadData: a key that no compose file has, a value that cannot be, or a processor that stands
            under two nodes with two meanings; with its file and line.
    """
    reader = _Reader(source, deploy, nodes)
    reader.read()
    reader.problems.check()
    made = {PLURALS[kind]: objects for kind, objects in reader.made.items()}
    lines = {(PLURALS[str(kind)], *rest): line for (kind, *rest), line in reader.lines.items()}
    document = read_document([Source(source.name, source.folder, made, lines)])
    declared = document.wanted.get("queue", {})
    return Compose(document, reader.placed, reader.queues - declared.keys(), reader.ignored)


class _Reader:
    def __init__(self, source: Source, deploy: bool, nodes: Collection[str]) -> None:
        self.source = source
        self.deploy = deploy
        self.nodes = nodes
        self.problems = Problems()
        self.made: dict[str, dict[str, dict[str, Any]]] = {}
        self.lines: dict[Way, int] = {}
        self.placed: dict[str, set[str]] = {}
        self.queues: set[str] = set()
        self.ignored: dict[str, tuple[str, int]] = {}
        self.network: str | None = None
        self.scheduler: str | None = None

    def read(self) -> None:
        """Read all of it."""
        top = self._map((), self.source.data, ("network", *_PARTS))
        inner = self._map(("network",), top.pop("network", None), ("name", *_PARTS))
        name = inner.pop("name", None)
        if name is not None:
            self.network = str(name)
            self._make("network", self.network, {}, ("network", "name"))
        for part in _PARTS:
            for way, parts in (((), top), (("network",), inner)):
                if parts.get(part) is not None:
                    getattr(self, f"_{part}")((*way, part), parts[part])

    def _scheduler(self, way: Way, value: Any) -> None:
        found = self._map(way, value, ("name", "strategy"))
        name = self._needed(way, found, "name")
        if name is not None:
            self.scheduler = str(name)
            options = self._in_network({"strategy": found.get("strategy")})
            self._make("scheduler", self.scheduler, options, (*way, "name"))

    def _queues(self, way: Way, value: Any) -> None:
        # `expires` deleted a queue that nobody used: no lifetime of calls, as `Queue(expires=)`.
        for name, at, options in self._each(way, value, ("message_ttl",)):
            made: dict[str, Any] = {}
            if options.get("message_ttl") is not None:  # Seconds, which RabbitMQ's are not.
                at_ttl = (*at, "message_ttl")
                made["message_ttl_ms"] = self._milliseconds(at_ttl, options["message_ttl"])
            self._make("queue", name, self._in_network(made), at)

    def _processors(self, way: Way, value: Any) -> None:
        for name, at, options in self._each(way, value, _PROCESSOR_KEYS):
            if self.nodes:
                continue
            cpus = options.get("cpus")
            self._processor(name, at, options)
            if self.deploy and self.scheduler is not None:
                made = {"processor": name, "scheduler": self.scheduler, "cpus": cpus}
                self._make("deployment", f"{name}@{self.scheduler}", made, at)

    def _processor(self, name: str, at: Way, options: dict[str, Any]) -> None:
        sockets = options.pop("sockets", None)
        given = {"git": options.get("gitrepo"), "module": options.get("module"),
                 "branch": options.get("branch"), "workers": options.get("cpus")}  # fmt: skip
        self._make("processor", name, given, at)
        keys = ("queue", "task", "interval")
        for socket, inside, found in self._each((*at, "sockets"), sockets, keys):
            queue = self._name_in((*inside, "queue"), found.get("queue"))
            task = self._map((*inside, "task"), found.get("task"), ("function",))
            function = self._map(
                (*inside, "task", "function"), task.get("function"), ("name", "arguments")
            )
            self._skip(function, "arguments", (*inside, "task", "function", "arguments"))
            if queue is not None:
                self.queues.add(queue)
            made = {"processor": name, "queue": queue, "task": function.get("name")}
            self._make("socket", socket, made, inside)
            self._interval(socket, inside, found.get("interval"))

    def _interval(self, socket: str, at: Way, seconds: Any) -> None:
        """As `Socket(interval=...)`: a schedule of the socket's name.  -1 is none."""
        if seconds is None or seconds == -1:
            return
        interval_ms = self._milliseconds((*at, "interval"), seconds)
        made = {"socket": socket, "interval_ms": interval_ms, "args": list(INTERVAL_ARGUMENTS)}
        self._make("schedule", socket, made, at)

    def _nodes(self, way: Way, value: Any) -> None:
        for name, at, options in self._each(way, value, ("hostname", "enabled", "agents")):
            self.placed.setdefault(name, set())
            if (self.nodes and name not in self.nodes) or options.get("enabled") is False:
                if options.get("enabled") is False:
                    self._note("enabled: false", (*at, "enabled"))
                continue
            made = {"host": options.get("hostname"), "scheduler": self.scheduler}
            self._make("node", name, self._in_network(made), at)
            for _agent, inside, agent in self._each(
                (*at, "agents"), options.get("agents"), ("build", "processors")
            ):
                if agent.get("build") is False:
                    self._note("build: false", (*inside, "build"))
                    continue
                self._placed(name, options.get("hostname"), inside, agent.get("processors"))

    def _placed(self, node: str, host: Any, at: Way, value: Any) -> None:
        for name, inside, options in self._each((*at, "processors"), value, _PROCESSOR_KEYS):
            self.placed[node].add(name)
            cpus = options.get("cpus")
            self._processor(name, inside, options)
            if self.deploy:
                made = {"processor": name, "host": host or node, "cpus": cpus}
                self._make("deployment", f"{name}@{node}", made, inside)

    def _deployments(self, way: Way, value: Any) -> None:
        for name, at, options in self._each(way, value, ("hostname", "cpus", "processor")):
            made = {"processor": options.get("processor"), "host": options.get("hostname"),
                    "cpus": options.get("cpus")}  # fmt: skip
            # The same CPUs declared by hand and by -d are not to be counted twice.
            twin = f"{made['processor']}@"
            for other, there in list(self.made.get("deployment", {}).items()):
                same = there.get("scheduler") or there.get("host") == made["host"]
                if other.startswith(twin) and same:
                    del self.made["deployment"][other]
            self._make("deployment", name, made, at)

    def _plugs(self, way: Way, value: Any) -> None:
        keys = ("source", "target", "queue", "argument", "type")
        for name, at, options in self._each(way, value, keys):
            queue = self._name_in((*at, "queue"), options.get("queue"))
            if queue is not None:
                self.queues.add(queue)
            self._make("plug", name, {**options, "queue": queue}, at)

    # What they share.

    def _each(
        self, way: Way, value: Any, keys: Collection[str]
    ) -> list[tuple[str, Way, dict[str, Any]]]:
        """The named maps of a map, each with the way to it."""
        if value is None:
            return []
        if not isinstance(value, dict):
            text = f"{way[-1]} is {shown(value)}; it must be a map of names"
            self.problems.add(self.source.where(way), text)
            return []
        return [
            (name, (*way, name), self._map((*way, name), inner, keys))
            for name, inner in value.items()
        ]

    def _map(self, way: Way, value: Any, keys: Collection[str]) -> dict[str, Any]:
        """The keys that are read; the others are noted or a problem."""
        what = way[-1] if way else "the file"
        if value is None:
            return {}
        if not isinstance(value, dict):
            text = f"{what} is {shown(value)}; it must be a map"
            self.problems.add(self.source.where(way), text)
            return {}
        found = {}
        for key, inner in value.items():
            if key in keys:
                found[key] = inner
            elif key in _IGNORED or key in _POINTLESS:
                self._note(key, (*way, key))
            else:
                known = (*keys, *_IGNORED, *_POINTLESS)
                text = f"{what} has no {key!r}{near(key, known)}; it has: {', '.join(keys)}"
                self.problems.add(self.source.where((*way, key)), text)
        return found

    def _note(self, key: str, way: Way) -> None:
        first, count = self.ignored.get(key, (self.source.where(way), 0))
        self.ignored[key] = (first, count + 1)

    def _skip(self, found: dict[str, Any], key: str, way: Way) -> None:
        if key in found:
            self._note(key, way)

    def _needed(self, way: Way, found: dict[str, Any], key: str) -> Any:
        if found.get(key) is None:
            self.problems.add(self.source.where(way), f"{way[-1]} has no {key}; give one")
        return found.get(key)

    def _name_in(self, way: Way, value: Any) -> str | None:
        """The name in `queue: {name: q}`, which may have the options of a queue beside it."""
        if value is None or isinstance(value, str):
            return value
        found = self._map(way, value, ("name", "message_ttl"))
        self._skip(found, "message_ttl", (*way, "message_ttl"))
        name = self._needed(way, found, "name")
        return None if name is None else str(name)

    def _milliseconds(self, way: Way, seconds: Any) -> Any:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
            text = f"{way[-1]} is {shown(seconds)}; it must be a number of seconds above 0"
            self.problems.add(self.source.where(way), text)
            return None
        return round(seconds * 1_000)

    def _in_network(self, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "network": self.network}

    def _make(self, kind: str, name: str, options: dict[str, Any], way: Way) -> None:
        given = {option: value for option, value in options.items() if value is not None}
        objects = self.made.setdefault(kind, {})
        where = self.source.where(way)
        if objects.get(name, given) != given:
            first = self.lines.get((kind, name))
            text = f"{kind} {name!r} stands in line {first} with other options"
            self.problems.add(where, text)
            return
        objects[name] = given
        line = self.source.lines.get(way)
        if line is not None:
            self.lines.setdefault((kind, name), line)
